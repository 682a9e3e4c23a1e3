/* SPDX-License-Identifier: MIT */
/* A file while it is made: bytes in memory that grow. Once memory is short it stays failed, so that only
 * the end need be checked. */
#ifndef IMAGE_OUT_H
#define IMAGE_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct out { /* starts as {0}; the caller frees data */
    uint8_t *data;
    size_t size, room;
    bool failed;
};

void out_add(struct out *out, const void *bytes, size_t size);

#endif
