/* SPDX-License-Identifier: MIT */
/* Numbers in files: little endian, at any offset. */
#ifndef IMAGE_BYTES_H
#define IMAGE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get32(const uint8_t *p)
{
    return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static inline void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)v);
    put16(p + 2, (uint16_t)(v >> 16));
}

/* Whether size bytes are those of mark, or all but one of them: a file whose mark is damaged is a damaged file
 * and not raw bytes, which would be flashed as they are. */
static inline bool resembles(const uint8_t *data, const char *mark, size_t size)
{
    size_t different = 0;
    for (size_t i = 0; i < size; i++)
        different += data[i] != (uint8_t)mark[i];
    return different <= 1;
}

#endif
