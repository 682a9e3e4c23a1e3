/* SPDX-License-Identifier: MIT */
/* ST's .dfu files, DfuSe 1.1a (ST UM0391): targets (alternate settings) of elements (bytes at an address),
 * and a DFU suffix at the end. */
#ifndef IMAGE_DFUSE_H
#define IMAGE_DFUSE_H

#include "image/image.h"
#include "image/out.h"

bool dfuse_detect(const uint8_t *data, size_t size);
/* Adds to an initialised image, the suffix's ids included; the caller settles it. DFUImageSize is
 * accepted with and without the suffix, as both are in use. 0, or -1 with one line in why. */
int dfuse_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);

/* One target for each alternate setting (IMAGE_ANY_ALT: 0), one element for each segment; DFUImageSize
 * without the suffix, which every tool accepts. 0, or -1 with one line in why. */
int dfuse_make(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE]);

#endif
