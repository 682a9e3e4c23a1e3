/* SPDX-License-Identifier: MIT */
/* What is wrong with a file, in one line: which file, where in it, what, what to do. Each returns -1, but the
 * last. */
#ifndef IMAGE_WHY_H
#define IMAGE_WHY_H

#include "image/image.h"

/* "NAME …": of the file as a whole. */
__attribute__((format(printf, 3, 4))) int why_file(
    char why[IMAGE_ERROR_SIZE], const char *name, const char *format, ...);
/* "NAME, byte 0x1c: …": of a binary file, with the offset as hex dumps show it. */
__attribute__((format(printf, 4, 5))) int why_byte(
    char why[IMAGE_ERROR_SIZE], const char *name, size_t offset, const char *format, ...);
/* "NAME, line 3: …": of a text file. */
__attribute__((format(printf, 4, 5))) int why_line(
    char why[IMAGE_ERROR_SIZE], const char *name, unsigned line, const char *format, ...);
/* Nothing, as far as is known, but this computer's memory is full: IMAGE_NO_MEMORY. */
int why_memory(char why[IMAGE_ERROR_SIZE], const char *name);

#endif
