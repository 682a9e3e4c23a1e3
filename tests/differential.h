/* SPDX-License-Identifier: MIT */
/*
 * Random Thumb-2 programs for an ARMv7-M core without MPU, FPU and DSP: what one core makes of them,
 * every other must make of them. They use every encoding of the Cortex-M3 but BKPT, in straight
 * lines, loops, IT blocks, jumps of every kind and faults; they contain nothing that the
 * architecture leaves open (UNPREDICTABLE, UNKNOWN, IMPLEMENTATION DEFINED), so that there is one
 * right outcome.
 *
 * Sources: ARMv7-M Architecture Reference Manual (DDI 0403), chapters A5 and A7.
 */
#ifndef DIFFERENTIAL_PROGRAMS_H
#define DIFFERENTIAL_PROGRAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PROGRAM_HALFWORDS = 1024,
    PROGRAM_FILL = PROGRAM_HALFWORDS - 128, /* generation stops when a program is that long */
};

struct program {
    uint32_t address; /* where it will lie; a multiple of 4 */
    bool privileged;
    uint16_t code[PROGRAM_HALFWORDS];
    size_t length;                  /* in half-words */
    bool begins[PROGRAM_HALFWORDS]; /* an instruction begins here (not: a table, a second half) */
};

/* The program of that seed for that address: the same on every machine. */
void program_generate(struct program *p, uint64_t seed, uint32_t address);

/* The program that only ends. */
void program_empty(struct program *p, uint32_t address);

/* How many encodings (rows of the tables of chapter A5, and what takes several instructions) the
 * generator knows; the name of one, and how often it has been used since the process began. */
size_t program_encodings(void);
const char *program_encoding(size_t number, uint64_t *times);

#endif
