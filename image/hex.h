/* SPDX-License-Identifier: MIT */
/*
 * Intel HEX (Intel "Hexadecimal Object File Format", 1988): record types 00 to 05. Types 03 and 05
 * name an entry point, which a microcontroller takes from its vector table, and are ignored.
 */
#ifndef IMAGE_HEX_H
#define IMAGE_HEX_H

#include "image/image.h"

#include <stdbool.h>

bool hex_detect(const uint8_t *data, size_t size);
/* Adds to an initialised image; the caller settles it. 0, or -1 with one line in why. */
int hex_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);

#endif
