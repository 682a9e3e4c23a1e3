/* SPDX-License-Identifier: MIT */
/*
 * The edge of image/: what reads and writes files, and what needs libelf. A program that has the bytes
 * already and no ELF files does without. Errors as image/image.h has them.
 */
#ifndef IMAGE_FILE_H
#define IMAGE_FILE_H

#include "image/image.h"

/* Reads a file of any format; "-" is standard input. */
int image_read(
    struct image *image, const char *path, uint32_t raw_addr, char why[IMAGE_ERROR_SIZE]);
/* As image_parse_plain(), and ELF too: what PT_LOAD puts at physical addresses. */
int image_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    uint32_t raw_addr, char why[IMAGE_ERROR_SIZE]);

/* The whole of a file, unparsed; the caller frees *data. So a caller can tell a file that cannot be
 * read from one that makes no sense. */
int image_load(const char *path, uint8_t **data, size_t *size, char why[IMAGE_ERROR_SIZE]);

/* Writes bytes as they are; "-" is standard output. */
int image_write_raw(const char *path, const uint8_t *data, size_t size, char why[IMAGE_ERROR_SIZE]);

#endif
