/* SPDX-License-Identifier: MIT */
/*
 * Firmware images: bytes at addresses, read from the files that toolchains make. The format is told
 * by the content, never by the name. What is sparse stays sparse: a gap is no bytes.
 *
 *     struct image image;
 *     char why[IMAGE_ERROR_SIZE];
 *     if (image_parse_plain(&image, "fw.hex", data, size, 0x08000000, why)) { … why … }
 *     … image.segments[i].addr, .size, .data …
 *     image_free(&image);
 *
 * Functions that can fail return 0, or -1 with one line in why: which file, where in it (the byte or the
 * line), what is wrong, what to do; or IMAGE_NO_MEMORY, likewise, when nothing need be wrong with the file.
 * Nothing here does I/O or prints; files and ELF are image/file.h's.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum image_format { IMAGE_RAW, IMAGE_ELF, IMAGE_HEX, IMAGE_DFUSE, IMAGE_SREC, IMAGE_UF2 };
enum { IMAGE_ERROR_SIZE = 256, IMAGE_NOTE_SIZE = 128, IMAGE_TARGET_SIZE = 32 };

enum { IMAGE_ANY_ALT = 0xFF, IMAGE_ANY_ID = 0xFFFF, IMAGE_NO_MEMORY = -2 };

struct image_segment { /* sorted by alt, then address; not overlapping, not touching */
    uint32_t addr, size;
    uint8_t *data;
    uint8_t alt; /* the alternate setting that a .dfu file names; of other files IMAGE_ANY_ALT */
};

struct image {
    enum image_format format;
    struct image_segment *segments;
    size_t count;
    bool suffix;                      /* a DFU suffix ends the file, DFU 1.1 appendix B; it says: */
    uint16_t vendor, product, device; /* idVendor, idProduct, bcdDevice; IMAGE_ANY_ID: any */
    uint32_t entry;  /* where an ELF, HEX or S-record file begins to run; 0: not told */
    uint32_t family; /* of a UF2 file; 0: not told */
    char target[IMAGE_TARGET_SIZE]; /* the chip or core that the file says it is for, else empty */
    char note[IMAGE_NOTE_SIZE];     /* what is odd and was accepted all the same, else empty */
};

/* Reads a file that is in memory, of every format but ELF; name is for messages. A raw file is placed at
 * raw_addr; a DFU suffix at its end is not part of it. */
int image_parse_plain(struct image *image, const char *name, const uint8_t *data, size_t size,
    uint32_t raw_addr, char why[IMAGE_ERROR_SIZE]);
void image_free(struct image *image);

/* What the content looks like, though it may be damaged; IMAGE_RAW if it looks like nothing known. */
enum image_format image_detect(const uint8_t *data, size_t size);
const char *image_format_name(enum image_format format);

/* Makes a file of a settled image: the inverse of reading it. The caller frees *data. Fails if the format
 * cannot tell what the image holds (raw: several segments; all but DfuSe: several alternate settings), for
 * ELF, and when memory is short. name is for messages. */
int image_make(const struct image *image, const char *name, enum image_format format,
    uint8_t **data, size_t *size, char why[IMAGE_ERROR_SIZE]);

/* For those who make images: starts an empty one, adds bytes (copied) in any order, and, at last, sorts
 * and joins. image_settle() fails if there are no bytes or if two parts overlap; image_add() without a
 * message, if memory is short or the bytes end behind the last address. */
void image_init(struct image *image, enum image_format format);
int image_add(struct image *image, uint8_t alt, uint32_t addr, const uint8_t *data, size_t size);
int image_settle(struct image *image, const char *name, char why[IMAGE_ERROR_SIZE]);

#endif
