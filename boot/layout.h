/* SPDX-License-Identifier: MIT */
/*
 * Where things stand in flash, in the tail layout, with 1 KB pages:
 *
 *     0x08000000   the application; word 1 of its page 0 (the reset vector) names the stub
 *     …
 *     end − 5 KB   the journal: what the application's own reset vector was, and that it is valid
 *     end − 4 KB   the bootloader proper (3 KB), replaced by a self-update
 *     end − 1 KB   the stub: reset entry, boot decision, launch, installer; never replaced
 *
 * The image as shipped is the stub first, then the bootloader proper: flashed to 0x08000000 it
 * starts there as the installer.
 */
#ifndef BOOT_LAYOUT_H
#define BOOT_LAYOUT_H

#include <stdbool.h>

#include "regs.h"

enum {
    PAGE_SIZE = 1024,
    STUB_SIZE = 1024,
    PROPER_SIZE = 3072,
    JOURNAL_SIZE = PAGE_SIZE,
    TAKEN = STUB_SIZE + PROPER_SIZE + JOURNAL_SIZE, /* of flash, when installed */
    STACK_TOP = 0x20001800,                         /* the end of the smallest part's RAM: 6 KB */
};

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
