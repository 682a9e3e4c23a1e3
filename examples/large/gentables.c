/* SPDX-License-Identifier: MIT */
/* Runs on the PC: gentables VERSION > tables.c */
#include "tables.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TURN 6.283185307179586

/* CRC-32 as in RM0008: polynomial 0x04C11DB7, from all ones, words, highest bit first. */
static uint32_t crc_add(uint32_t crc, uint32_t word)
{
    crc ^= word;
    for (int bit = 0; bit < 32; bit++)
        crc = crc & 0x80000000U ? crc << 1 ^ 0x04C11DB7U : crc << 1;
    return crc;
}

static uint32_t xorshift32(uint32_t x)
{
    x ^= x << 13;
    x ^= x >> 17;
    return x ^ x << 5;
}

int main(int argc, char **argv)
{
    const uint32_t version = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    if (version == 0) {
        fprintf(stderr, "usage: gentables VERSION (1 or more)\n");
        return 64;
    }
    uint32_t crc = 0xFFFFFFFFU;

    printf("#include \"tables.h\"\n\nconst struct tables tables = {\n    .sine = {");
    uint16_t low = 0;
    for (int i = 0; i < SINE_STEPS; i++) {
        const long value = lround(32767.0 * sin(TURN * i / SINE_STEPS));
        printf("%s%ld,", i % 12 ? " " : "\n        ", value);
        if (i % 2)
            crc = crc_add(crc, (uint32_t)(uint16_t)value << 16 | low);
        low = (uint16_t)value;
    }
    printf("\n    },\n    .noise = {");
    uint32_t noise = version;
    for (int i = 0; i < NOISE_WORDS; i++) {
        noise = xorshift32(noise);
        printf("%s0x%08X,", i % 6 ? " " : "\n        ", (unsigned)noise);
        crc = crc_add(crc, noise);
    }
    printf("\n    },\n};\n\nconst uint32_t tables_crc = 0x%08X;\n", (unsigned)crc);
    return 0;
}
