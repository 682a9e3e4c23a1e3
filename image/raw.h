/* SPDX-License-Identifier: MIT */
/* Raw bytes, for an address that the caller knows; with a DFU suffix behind them, or without. */
#ifndef IMAGE_RAW_H
#define IMAGE_RAW_H

#include "image/image.h"
#include "image/out.h"

/* Adds to an initialised image; the caller settles it. 0, or -1 with one line in why. */
int raw_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    uint32_t addr, char why[IMAGE_ERROR_SIZE]);
/* One segment's bytes, and a suffix if the image has one. 0, or -1 with one line in why. */
int raw_make(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE]);

#endif
