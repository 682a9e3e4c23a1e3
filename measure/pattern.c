/* SPDX-License-Identifier: MIT */
/*
 * Writes a made-up application of a size, the same for the same seed: pattern SIZE SEED [ADDRESS] > file
 *
 * Its vector table names a stack in RAM and a reset handler that sleeps for ever; the rest is noise
 * in which no half-word is 0xFFFF, so that all of it has to be programmed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void put32(uint32_t word)
{
    for (int i = 0; i < 4; i++)
        putchar((int)(word >> i * 8 & 0xFF));
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4 || atol(argv[1]) < 16) {
        fprintf(stderr, "usage: pattern SIZE SEED [ADDRESS] > file; at least 16 bytes\n");
        return 64;
    }
    uint32_t base = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 0) : 0x08000000;
    uint64_t state = strtoull(argv[2], NULL, 0) * 2 + 1;
    put32(0x20005000);
    put32(base + 9);
    put32(0xE7FDBF30); /* wfi; b . - 2 */
    for (long at = 12; at < atol(argv[1]); at++) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        putchar((int)(state >> 33 & 0x7F));
    }
    return 0;
}
