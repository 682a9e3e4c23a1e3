/* SPDX-License-Identifier: MIT */
/*
 * UF2 ("USB Flashing Format", github.com/microsoft/uf2, README.md): blocks of 512 bytes, each with its own
 * address. There is no checksum: a damaged byte of the program cannot be told.
 */
#ifndef IMAGE_UF2_H
#define IMAGE_UF2_H

#include "image/image.h"
#include "image/out.h"

bool uf2_detect(const uint8_t *data, size_t size);
/* Adds to an initialised image, family and target included; the caller settles it. Blocks may stand in any
 * order; each number of a family must come exactly once. Of programs for several families the only one whose
 * chips have bootloaders that speak DfuSe is taken; if there are more, uf2_choose() must have said which.
 * Blocks that are not for the main flash are left out. 0, or -1 with one line in why. */
int uf2_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);
/* Marks the blocks of all other families as not for the main flash. False, and nothing is changed, if there is
 * none of this family. */
bool uf2_choose(uint8_t *data, size_t size, uint32_t family);
/* Blocks of 256 bytes at multiples of 256, but where a segment begins or ends between them. */
int uf2_make(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE]);

/* "STM32F1", or NULL for a family that is not an STM32's or known otherwise; and the reverse: 0 if there is
 * none of that name. */
const char *uf2_family_name(uint32_t family);
uint32_t uf2_family(const char *name);

#endif
