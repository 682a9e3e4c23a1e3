/* SPDX-License-Identifier: MIT */
/* Intel HEX (Intel "Hexadecimal Object File Format", 1988): record types 00 to 05. */
#ifndef IMAGE_HEX_H
#define IMAGE_HEX_H

#include "image/image.h"
#include "image/out.h"

bool hex_detect(const uint8_t *data, size_t size);
/* Adds to an initialised image; the caller settles it. 0, or -1 with one line in why. */
int hex_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);
/* Records of sixteen bytes, with linear addresses (types 04 and 05). */
int hex_make(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE]);

#endif
