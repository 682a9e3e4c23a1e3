/* SPDX-License-Identifier: MIT */
/* Attempts to change what is not the application's: each is refused, and not a byte of flash is another. */
#ifndef TESTS_GUARDED_H
#define TESTS_GUARDED_H

#include "dfu_host.h"

struct guarded {
    struct host h;
    uint8_t *flash; /* as it was: flash_dump() */
    unsigned refused;
};

/* The last request has ended in dfuERROR with this status, and changed nothing; CLRSTATUS leads back. */
void guarded_check(struct guarded *g, enum dfu_status status, const char *what, uint32_t value);

/* errTARGET, each: an erase; a write; block wBlockNum, counted from this pointer. */
void erase_is_refused(struct guarded *g, uint32_t addr);
void write_is_refused(struct guarded *g, uint32_t addr, size_t size);
void block_is_refused(struct guarded *g, uint32_t pointer, unsigned wBlockNum, size_t size);

/* errTARGET wherever there is no memory that a host may write, and over the end of flash. */
void nothing_reaches_elsewhere(struct guarded *g);
/* Page by page, from `from` on. */
void nothing_reaches_pages(struct guarded *g, uint32_t from, uint32_t to);
/* wBlockNums far from the pointer: from the start of flash, from `last`, from the end of flash; and such that
 * count up to `own`, from where there is no memory: SET_ADDRESS is refused, and the pointer is what it was. */
void nothing_counts_up_to(struct guarded *g, uint32_t last, uint32_t own);

/* `count` requests near `around`, whatever they are; no rule of the chip is broken. */
void random_requests(struct host *h, uint64_t seed, unsigned count, uint32_t around);

#endif
