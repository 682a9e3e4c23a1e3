/* SPDX-License-Identifier: MIT */
/*
 * Motorola S-records (M68000 Family Programmer's Reference Manual, appendix C): S19, S28 and S37 files,
 * named for their data and end records of two, three and four address bytes.
 */
#ifndef IMAGE_SREC_H
#define IMAGE_SREC_H

#include "image/image.h"
#include "image/out.h"

bool srec_detect(const uint8_t *data, size_t size);
/* Adds to an initialised image; the caller settles it. An end record (S7, S8, S9) or a count of the data
 * records (S5, S6) must end the file: without either nothing tells a file that was cut short. 0, or -1
 * with one line in why. */
int srec_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);
/* S1, S2 or S3 records of sixteen bytes, the shortest whose addresses reach; a count; an end record. */
int srec_make(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE]);

#endif
