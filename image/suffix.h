/* SPDX-License-Identifier: MIT */
/*
 * The DFU suffix, DFU 1.1 appendix B: sixteen bytes that end a .dfu file and may end any file. Its dwCRC is
 * over all that comes before it.
 */
#ifndef IMAGE_SUFFIX_H
#define IMAGE_SUFFIX_H

#include "image/image.h"
#include "image/out.h"

enum { SUFFIX_SIZE = 16, SUFFIX_DFU_1_0 = 0x0100, SUFFIX_DFUSE = 0x011A };

enum suffix_state {
    SUFFIX_NONE,    /* the file ends like any other */
    SUFFIX_GOOD,    /* image->suffix and the ids are set */
    SUFFIX_DAMAGED, /* there was one: its checksum is wrong, or one of its marks */
};

/* Looks at the end of a file. *length is that of the suffix: bLength, which may be more than sixteen. */
enum suffix_state suffix_read(
    struct image *image, const uint8_t *data, size_t size, size_t *length);
/* Of a file that ends with a damaged suffix: says how it is damaged. -1. */
int suffix_complain(const char *name, const uint8_t *data, size_t size, char why[IMAGE_ERROR_SIZE]);

/* Ends what is in out with a suffix of the image's ids; version is bcdDFU. */
void suffix_add(struct out *out, const struct image *image, uint16_t version);

#endif
