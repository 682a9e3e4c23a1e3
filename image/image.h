/* SPDX-License-Identifier: MIT */
/*
 * Firmware images: bytes at addresses, read from the files that toolchains make. The format is told
 * by the content, never by the name.
 *
 *     struct image image;
 *     char why[IMAGE_ERROR_SIZE];
 *     if (image_read(&image, "fw.elf", 0x08000000, why)) { fprintf(stderr, "%s\n", why); … }
 *     … image.segments[i].addr, .size, .data …
 *     image_free(&image);
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

enum image_format { IMAGE_RAW, IMAGE_ELF, IMAGE_HEX, IMAGE_DFUSE };
enum { IMAGE_ERROR_SIZE = 256 };

enum { IMAGE_ANY_ALT = 0xFF };

struct image_segment { /* sorted by alt, then address; not overlapping, not touching */
    uint32_t addr, size;
    uint8_t *data;
    uint8_t alt; /* the alternate setting that a .dfu file names; of other files IMAGE_ANY_ALT */
};

struct image {
    enum image_format format;
    struct image_segment *segments;
    size_t count;
    uint16_t vendor, product; /* of a .dfu file's suffix; 0xFFFF: any */
};

/* Reads a file; "-" is standard input. A raw file is placed at raw_addr. ELF: what PT_LOAD puts at
 * physical addresses. 0, or -1 with one line in why: what, where, why, what to do. */
int image_read(
    struct image *image, const char *path, uint32_t raw_addr, char why[IMAGE_ERROR_SIZE]);
/* The same from memory; name is for messages. */
int image_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    uint32_t raw_addr, char why[IMAGE_ERROR_SIZE]);
void image_free(struct image *image);

/* The whole of a file, unparsed; the caller frees *data. So a caller can tell a file that cannot be
 * read from one that makes no sense. */
int image_load(const char *path, uint8_t **data, size_t *size, char why[IMAGE_ERROR_SIZE]);

/* For those who make images: starts an empty one, adds bytes (copied) in any order, and, at last, sorts
 * and joins. image_settle() fails if there are no bytes or if two parts overlap. */
void image_init(struct image *image, enum image_format format);
int image_add(struct image *image, uint8_t alt, uint32_t addr, const uint8_t *data, size_t size);
int image_settle(struct image *image, const char *name, char why[IMAGE_ERROR_SIZE]);
const char *image_format_name(enum image_format format);

/* Writes; 0, or -1 with one line in why. A raw file needs a single segment. */
int image_write_raw(const char *path, const uint8_t *data, size_t size, char why[IMAGE_ERROR_SIZE]);

#endif
