/* SPDX-License-Identifier: MIT */
/*
 * Does a program belong where it is going to be written? Its vector table tells: the initial stack
 * pointer is in RAM, the reset vector is a Thumb address within the program (ARMv7-M §B1.5.3).
 */
#ifndef HOST_VECTORS_H
#define HOST_VECTORS_H

#include "image/image.h"

#include <stdbool.h>

enum { VECTORS_ERROR_SIZE = 384 };

/* Looks at the table at the start of the image's first segment. True if it fits; else the reason. */
bool vectors_fit(const struct image *image, char why[VECTORS_ERROR_SIZE]);

#endif
