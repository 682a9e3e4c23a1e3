/* SPDX-License-Identifier: MIT */
#include "host/vectors.h"

#include <stdio.h>

enum { TABLE_ALIGN = 128, GUESS_ALIGN = 0x1000 };

static uint32_t word(const uint8_t *p)
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
    snprintf(why, VECTORS_ERROR_SIZE,
        "there is no program at 0x%08x: %s; give the right file or address, or --force if it is "
        "data",
        addr, what);
    return false;
}

bool vectors_fit(const struct image *image, char why[VECTORS_ERROR_SIZE])
{
    const struct image_segment *first = &image->segments[0];
    char what[160];
    if (first->size < 8)
        return no(why, first->addr, "it is too short for a vector table");
    if (first->addr % TABLE_ALIGN)
        return no(why, first->addr, "a vector table begins at a multiple of 128");
    uint32_t sp = word(first->data), reset = word(first->data + 4), entry = reset & ~UINT32_C(1);
    if (!is_stack(sp)) {
        snprintf(what, sizeof what,
            "its initial stack pointer would be 0x%08x, which is not in RAM", sp);
        return no(why, first->addr, what);
    }
    if (!(reset & 1)) {
        snprintf(what, sizeof what, "its reset vector would be 0x%08x, which is even", reset);
        return no(why, first->addr, what);
    }
    if (is_within(image, entry) || is_within_alias(image, entry))
        return true;
    snprintf(why, VECTORS_ERROR_SIZE,
        "the program does not fit its address: written to 0x%08x-0x%08x, but it starts at 0x%08x; "
        "it was "
        "linked for another address (about 0x%08x?); --force writes it all the same",
        first->addr, first->addr + first->size - 1, entry, entry & ~(uint32_t)(GUESS_ALIGN - 1));
    return false;
}
