/* SPDX-License-Identifier: MIT */
#include "host/vectors.h"

#include <stdio.h>
#include <string.h>

enum { TABLE_ALIGN = 128, GUESS_ALIGN = 0x1000 };

uint32_t vectors_word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Wide on purpose: core-coupled RAM of the F4, and anything in the RAM region of the architecture; the
 * stack may begin at the very end. A narrow test refuses programs that work. */
static bool is_stack(uint32_t sp)
{
    return sp % 4 == 0 &&
           ((sp > 0x10000000 && sp <= 0x10100000) || (sp > 0x20000000 && sp <= 0x40000000));
}

static bool is_within(const struct image *image, uint32_t addr)
{
    for (size_t i = 0; i < image->count; i++)
        if (addr >= image->segments[i].addr &&
            addr - image->segments[i].addr < image->segments[i].size)
            return true;
    return false;
}

/* Some programs are linked for 0, where the flash shows as well while the chip boots from it. */
static bool is_within_alias(const struct image *image, uint32_t addr)
{
    return image->segments[0].addr == 0x08000000 && addr < image->segments[0].size;
}

static bool no(char why[VECTORS_ERROR_SIZE], uint32_t addr, const char *what)
{
    snprintf(why, VECTORS_ERROR_SIZE, "there is no program at 0x%08x: %s", addr, what);
    return false;
}

static void advise(char why[VECTORS_ERROR_SIZE], const char *advice)
{
    size_t used = strlen(why);
    snprintf(why + used, VECTORS_ERROR_SIZE - used, "%s", advice);
}

/* What is wrong with the table whatever it belongs to; false, and nothing in why, if nothing is. */
static bool is_no_table(const uint8_t *table, uint32_t addr, char why[VECTORS_ERROR_SIZE])
{
    char what[160];
    uint32_t sp = vectors_word(table), reset = vectors_word(table + 4);
    if (addr % TABLE_ALIGN) {
        no(why, addr, "a vector table begins at a multiple of 128");
    } else if (sp == UINT32_MAX && reset == UINT32_MAX) {
        no(why, addr, "it is blank");
    } else if (!is_stack(sp)) {
        snprintf(what, sizeof what,
            "its initial stack pointer would be 0x%08x, which is not in RAM", sp);
        no(why, addr, what);
    } else if (!(reset & 1)) {
        snprintf(what, sizeof what, "its reset vector would be 0x%08x, which is even", reset);
        no(why, addr, what);
    } else {
        return false;
    }
    return true;
}

/* The same of an image; the advice is the caller's. */
static bool fits(const struct image *image, char why[VECTORS_ERROR_SIZE])
{
    const struct image_segment *first = &image->segments[0];
    if (first->size < VECTORS_SIZE)
        return no(why, first->addr, "it is too short for a vector table");
    if (is_no_table(first->data, first->addr, why))
        return false;
    uint32_t entry = vectors_word(first->data + 4) & ~UINT32_C(1);
    if (is_within(image, entry) || is_within_alias(image, entry))
        return true;
    snprintf(why, VECTORS_ERROR_SIZE,
        "the program does not fit its address: written to 0x%08x-0x%08x, but it starts at 0x%08x; "
        "it was linked for another address (about 0x%08x?)",
        first->addr, first->addr + first->size - 1, entry, entry & ~(uint32_t)(GUESS_ALIGN - 1));
    return false;
}

bool vectors_fit(const struct image *image, char why[VECTORS_ERROR_SIZE])
{
    if (fits(image, why))
        return true;
    advise(why, "; give the right file or address, or --force to write it all the same");
    return false;
}

/* The same of a table on a board; the advice is the caller's. */
static bool fits_board(const uint8_t table[VECTORS_SIZE], uint32_t addr,
    const struct memory_map *map, char why[VECTORS_ERROR_SIZE])
{
    struct memory_sector sector;
    char what[160];
    if (is_no_table(table, addr, why))
        return false;
    uint32_t reset = vectors_word(table + 4);
    /* Below the memory lies its alias at 0, for which some programs are linked. */
    if (reset < addr || memory_map_find(map, reset, &sector))
        return true;
    snprintf(what, sizeof what, "its reset vector would be 0x%08x, where the board has no memory",
        reset);
    return no(why, addr, what);
}

bool vectors_fit_board(const uint8_t table[VECTORS_SIZE], uint32_t addr,
    const struct memory_map *map, char why[VECTORS_ERROR_SIZE])
{
    if (fits_board(table, addr, map, why))
        return true;
    advise(why, "; flash a program, or --force to start it all the same");
    return false;
}

bool vectors_are_bootloader(const struct image *image)
{
    static const char mark[8] = "caboose";
    const struct image_segment *first = &image->segments[0];
    return first->size >= VECTORS_SIZE + sizeof mark &&
           memcmp(first->data + VECTORS_SIZE, mark, sizeof mark) == 0;
}
