/* SPDX-License-Identifier: MIT */
/* The file of an order. */
#ifndef HOST_LOAD_H
#define HOST_LOAD_H

#include "host/options.h"
#include "image/image.h"

/* Of a UF2 file in memory, leaves --family's program only. 0, or an exit code with its message in why. */
int load_choose(const struct options *options, const char *name, uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);

/* Reads the file that the first argument names ("-": standard input). 0, or an exit code with its message
 * printed. */
int load_image(struct image *image, const struct options *options);

/* The exit code of what a function of image.h returned: code, or EX_OSERR if memory was short. */
int load_code(int err, int code);

#endif
