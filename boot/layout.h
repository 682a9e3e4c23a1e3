/* SPDX-License-Identifier: MIT */
/*
 * Where things stand in flash, in the tail layout:
 *
 *     1 KB pages       2 KB pages (256 KB of flash and up)
 *     0x08000000       0x08000000   the application; word 1 of its page 0 (the reset vector) names the stub
 *     …                …
 *     end − 5 KB       end − 8 KB   the journal, a page: the application's own reset vector, and that it is valid
 *     end − 4 KB       end − 5 KB   the bootloader proper (3 KB), replaced by a self-update
 *     end − 1 KB       end − 2 KB   the stub, at the start of the last page: reset entry, boot
 *                                   decision, launch, installer; never replaced
 *
 * The stub follows the proper everywhere, so that they reach each other. The image as shipped is the
 * stub first, then the proper: flashed to 0x08000000 it starts there as the installer.
 */
#ifndef BOOT_LAYOUT_H
#define BOOT_LAYOUT_H

#include <stdbool.h>

#include "regs.h"

enum {
    PAGE_SIZE_MAX = 2048,
    STUB_SIZE = 1024,
    PROPER_SIZE = 3072,
    IMAGE_SIZE = STUB_SIZE + PROPER_SIZE,
    STACK_TOP = 0x20001800, /* the end of the smallest part's RAM: 6 KB */
};

/* The size of a page, from where the stub stands: 2 KB on high density, where flash ends behind
 * 128 KB (PM0075 §2.1). */
static inline uint32_t page_size(uint32_t stub)
{
    return stub < FLASH_BASE + 128 * 1024 ? 1024 : 2048;
}

static inline uint32_t journal_of(uint32_t stub, uint32_t page)
{
    return ((stub - PROPER_SIZE) & ~(page - 1)) - page;
}

/*
 * A record of the journal: two words. A record is valid when its check fits; it is programmed after
 * everything that it vouches for, and zeroed before anything of that is changed (PM0075 §2.3.3 lets
 * 0x0000 be programmed over anything). At most one record is valid.
 */
struct record {
    uint32_t reset; /* the application's own reset vector */
    uint32_t check; /* low half: 0 (page of the vector table; later); high half: see below */
};

/* The four half-words of a valid record cancel out to this. Neither an erased nor a zeroed record
 * does, and a record of which some bits are lost practically never does. */
#define RECORD_MAGIC 0xCAB0U

static inline bool record_valid(const struct record *r)
{
    uint32_t x = r->reset ^ r->check;
    return (uint16_t)(x ^ x >> 16) == RECORD_MAGIC && (r->reset >> 20) == FLASH_BASE >> 20 &&
           (r->reset & 1);
}

static inline uint32_t record_check(uint32_t reset)
{
    return (reset << 16) ^ (reset & 0xFFFF0000U) ^ RECORD_MAGIC << 16;
}

/* What asks for the bootloader through a backup register, once: the words of the STM32duino
 * bootloader (and QMK) and of dapboot. */
enum {
    REQUEST_DR10 = 0x424C,
    REQUEST_DR1 = 0x4F42,
};

#endif
