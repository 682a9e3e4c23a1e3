/* SPDX-License-Identifier: MIT */
/*
 * Does a program belong where it is going to be written, or started? Its vector table tells: the initial
 * stack pointer is in RAM, the reset vector is a Thumb address within the program (ARMv7-M §B1.5.3).
 */
#ifndef HOST_VECTORS_H
#define HOST_VECTORS_H

#include "core/memory_map.h"
#include "image/image.h"

#include <stdbool.h>

enum { VECTORS_ERROR_SIZE = 384, VECTORS_SIZE = 8 };

/* A word of the table. */
uint32_t vectors_word(const uint8_t *p);

/* Looks at the table at the start of the image's first segment. True if it fits; else the reason. */
bool vectors_fit(const struct image *image, char why[VECTORS_ERROR_SIZE]);

/* The same of a table that was read from a board at addr, whose memory map tells what can be code. */
bool vectors_fit_board(const uint8_t table[VECTORS_SIZE], uint32_t addr,
    const struct memory_map *map, char why[VECTORS_ERROR_SIZE]);

/* Whether the image is this project's bootloader: "caboose" and a NUL stand behind its first two
 * vectors. */
bool vectors_are_bootloader(const struct image *image);

#endif
