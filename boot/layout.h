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
 * In the head layout: the bootloader from 0x08000000 to 0x08001000, the application at APP_START; its first
 * two words are what says that it is valid.
 *
 * The stub follows the proper everywhere, so that they reach each other. The image as shipped is the
 * stub first, then the proper: flashed to 0x08000000 it starts there as the installer.
 */
#ifndef BOOT_LAYOUT_H
#define BOOT_LAYOUT_H

#include <stdbool.h>

#include "choices.h"
#include "regs.h"

enum {
    PAGE_SIZE_MAX = 2048,
    APP_START = FLASH_BASE + APP_AT,
    STUB_SIZE = 1024,
    PROPER_SIZE = PROPER_KB * 1024,
    IMAGE_SIZE = STUB_SIZE + PROPER_SIZE,
    BASE_UNIT = 512, /* what a vector table of this chip is aligned to (PM0056 §4.4.4) */
    JOURNAL_RECORDS = 128,
    JOURNAL_SIZE = 1024,
    STACK_TOP = 0x20001800, /* the end of the smallest part's RAM: 6 KB */
};

/*
 * What an image must share with the one that it replaces, as a text of four characters: the layout; KB of the
 * proper (head layout: of what is before the application); the crystal's MHz; the pin that switches the pull-up.
 */
#define DIGIT(n) ((n) < 10 ? (n) + '0' : (n) < 36 ? (n)-10 + 'A' : (n)-36 + 'a')
enum {
    LAYOUT_TEXT = (HEAD ? 'h' : 't') | DIGIT(HEAD ? APP_AT / 1024 : PROPER_KB) << 8 |
                  DIGIT(HSE_MHZ) << 16 |
                  DIGIT(CONNECT_PORT ? (CONNECT_PORT - 'A') * 8 + CONNECT_PIN - 7 : 0) << 24,
};
/* For the linker script, from within a function. */
#define TELL_LAYOUT() __asm volatile(".global layout\n\t.set layout, %c0" : : "i"(LAYOUT_TEXT))

/* Are pages 2 KB, not 1 KB? That is so on high density, where the stub stands behind 128 KB (PM0075
 * §2.1). */
static inline bool large_pages(uint32_t stub)
{
    return stub & 0x60000;
}

static inline uint32_t page_size(uint32_t stub)
{
    return large_pages(stub) ? 2048 : 1024;
}

/* From the journal's page to the stub: the proper, in whole pages, and the journal. */
#define JOURNAL_AND_PROPER(page) ((PROPER_SIZE + (page)-1) / (page) * (page) + (page))

static inline uint32_t journal_of(uint32_t stub)
{
    return stub - (large_pages(stub) ? JOURNAL_AND_PROPER(2048) : JOURNAL_AND_PROPER(1024));
}

#if HEAD
/*
 * What says that there is a valid application, and is its first two words: programmed last, all of it; zeroed
 * before anything of it is changed (PM0075 §2.3.3 lets 0x0000 be programmed over anything).
 */
struct record {
    uint32_t sp, reset;
};

/* The upper half of sp comes last: no other value of it fits. 64 KB is the most RAM that there is. */
static inline __attribute__((always_inline)) bool record_valid(const struct record *r)
{
    return r->sp - SRAM_BASE - 1 < 0x10000 && r->sp % 4 == 0 &&
           r->reset >> 20 == FLASH_BASE >> 20 && r->reset & 1;
}

#else
/*
 * A record of the journal: two words. A record is valid when they fit each other; it is programmed
 * after everything that it vouches for, its last half-word last, and zeroed, that one first, before
 * anything of that is changed (PM0075 §2.3.3 lets 0x0000 be programmed over anything). Its first is the upper
 * half of the reset vector: if power fails over it and it reads blank, the next record goes over it and finishes it,
 * as it is the same in most; if not, what stands then is invalid. At most one record is valid.
 */
struct record {
    uint32_t
        reset; /* what the host wrote into word 1 of flash: an image's reset vector, as a rule */
    uint32_t check; /* the same, XORed with RECORD_MAGIC and with where the application's vectors
                       stand, from FLASH_BASE in BASE_UNITs */
};

/* Neither an erased nor a zeroed record shows it, and one of which some bits are lost practically
 * never does. */
#define RECORD_MAGIC (0xCAB0U << 10)
#define RECORD_BASE  0x3FFU

static inline bool record_valid(const struct record *r)
{
    return (r->reset ^ r->check) >> 10 == RECORD_MAGIC >> 10;
}

/* The vector table of the application that the record vouches for. */
static inline const uint32_t *record_vectors(const struct record *r)
{
    return (const uint32_t *)(FLASH_BASE + ((r->reset ^ r->check) & RECORD_BASE) * BASE_UNIT);
}
#endif

/* What asks for the bootloader through a backup register, once: the words of the STM32duino
 * bootloader (and QMK) and of dapboot. */
enum {
    REQUEST_DR10 = 0x424C,
    REQUEST_DR1 = 0x4F42,
};
/* And through RAM, in its first word: two of them there, the second 0, or the address of an image in
 * RAM that is to be started as if from reset. */
#define REQUEST_RAM 0x6F626163U /* "cabo" */
struct request {
    uint32_t word, image;
};
#define RAM_REQUEST ((volatile struct request *)SRAM_BASE)

#endif
