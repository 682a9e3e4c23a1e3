/* SPDX-License-Identifier: MIT */
/*
 * What is fuzzed: each parser of foreign bytes, with the promises that hold for any input. A broken one
 * ends the process. `make fuzz` runs each under libFuzzer; tests/test_corpus.c runs them over the corpus.
 */
#ifndef TESTS_FUZZ_TARGETS_H
#define TESTS_FUZZ_TARGETS_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_target {
    const char *name; /* also the corpus' directory */
    int (*run)(const uint8_t *data, size_t size);
};

enum { FUZZ_TARGETS = 9 };
extern const struct fuzz_target fuzz_targets[FUZZ_TARGETS];

int fuzz_any(const uint8_t *data, size_t size); /* whatever it looks like */
int fuzz_elf(const uint8_t *data, size_t size);
int fuzz_hex(const uint8_t *data, size_t size);
int fuzz_srec(const uint8_t *data, size_t size);
int fuzz_dfuse(const uint8_t *data, size_t size);
int fuzz_uf2(const uint8_t *data, size_t size);
int fuzz_suffix(const uint8_t *data, size_t size); /* raw files, and what may end them */
int fuzz_memory_map(const uint8_t *data, size_t size);
int fuzz_dfu_state(const uint8_t *data, size_t size);

#endif
