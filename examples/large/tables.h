/* SPDX-License-Identifier: MIT */
/* The tables that large/gentables.c writes at build. Sizes are whole words: CRC takes words. */
#ifndef TABLES_H
#define TABLES_H

#include <stdint.h>

#define SINE_STEPS  6144 /* of one turn */
#define NOISE_WORDS 2048

struct tables {
    int16_t sine[SINE_STEPS];    /* × 32767; the same in every VERSION */
    uint32_t noise[NOISE_WORDS]; /* xorshift32 seeded with VERSION */
};

extern const struct tables tables;
extern const uint32_t tables_crc; /* as the CRC peripheral computes it over all words */

#endif
