/* SPDX-License-Identifier: MIT */
/* The file of an order. */
#ifndef HOST_LOAD_H
#define HOST_LOAD_H

#include "host/options.h"
#include "image/image.h"

/* Reads the file that the first argument names ("-": standard input). 0, or an exit code with its message
 * printed. */
int load_image(struct image *image, const struct options *options);

#endif
