/* SPDX-License-Identifier: MIT */
/*
 * ST's .dfu files, DfuSe 1.1a (ST UM0391), and the DFU 1.1 suffix (appendix B) that ends them and may
 * end any file. The suffix's dwCRC is zlib's crc32 without its final inversion.
 */
#ifndef IMAGE_DFUSE_H
#define IMAGE_DFUSE_H

#include "image/image.h"

#include <stdbool.h>

bool dfuse_detect(const uint8_t *data, size_t size);
/* Adds to an initialised image, vendor and product included; the caller settles it. DFUImageSize is
 * accepted with and without the suffix, as both are in use. 0, or -1 with one line in why. */
int dfuse_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);

/* The length of a valid DFU suffix at the end of any file, else 0; then the ids are set. */
size_t dfuse_suffix(const uint8_t *data, size_t size, uint16_t *vendor, uint16_t *product);

/* Writes a .dfu file: one target for each alternate setting, one element for each segment
 * (IMAGE_ANY_ALT: alternate setting 0); DFUImageSize without the suffix, which every tool accepts.
 * The segments are ordered as image_settle() leaves them. 0, or -1 with one line in why. */
int dfuse_write(const char *path, uint16_t vendor, uint16_t product,
    const struct image_segment *segments, size_t count, char why[IMAGE_ERROR_SIZE]);

#endif
