/* SPDX-License-Identifier: MIT */
/*
 * ELF executables for ARM (TIS ELF 1.2; "ELF for the Arm Architecture"): what PT_LOAD puts at
 * physical addresses, which is what a programmer writes: initialised data stands where the startup
 * code fetches it from, not where it runs. The only file that needs libelf.
 */
#ifndef IMAGE_ELF_H
#define IMAGE_ELF_H

#include "image/image.h"

/* Adds to an initialised image, entry and target (the core that it was compiled for) included; the caller
 * settles it. 0, or -1 with one line in why. */
int elf_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);

#endif
