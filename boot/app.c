/* SPDX-License-Identifier: MIT */
/*
 * The application in flash, as the host sees it.
 *
 * The host is shown what it wrote: the reset vector in word 1, although the stub's stands there;
 * 0xFF in a page that it erased, although the erase waits. An erase is only noted; it happens when
 * the page's data come and differ, or when the download is finished. What is in flash already is not
 * written again. Before the first change the journal's record is zeroed, after the last one a new
 * record is programmed: in between the board starts into DFU.
 */
#include "boot.h"

/* S->waiting[page]: an erase that waits. The bytes below the count have come from the host since and
 * are what flash holds. */
enum waiting {
    NOTHING = 0xFFFF,
    OPTIONAL =
        0x8000, /* added: mass erase, or a session that is over: the page need not be filled */
    ERASED = 0,
};
#define FILLED(w) ((w)&0x7FFFU)

static uint32_t page_of(uint32_t addr)
{
    return (addr - FLASH_BASE) / S->page_size;
}

/* Before flash is changed: the application is none until it is complete again. */
static void invalidate(void)
{
    if (!S->dirty) {
        S->status = (uint8_t)stub_journal_clear();
        S->dirty = S->status == DFU_OK;
    }
    S->valid = false;
}

static bool startable(void)
{
    uint32_t sp = *(const volatile uint32_t *)FLASH_BASE;
    return !S->torn && (sp & 0xFFFE0003U) == SRAM_BASE && (S->reset & 1) &&
           S->reset - FLASH_BASE < S->app_end - FLASH_BASE;
}

/* --- pages -------------------------------------------------------------------------------------- */

/* A word of memory as the host sees it. addr is a multiple of 4. */
static uint32_t app_word(uint32_t addr)
{
    uint32_t word = *(const volatile uint32_t *)addr;
    unsigned w = S->waiting[page_of(addr)];

    if (addr == FLASH_BASE + 4 && S->reset)
        word = S->reset;
    if (w != NOTHING) {
        int filled = (int)(FILLED(w) - (addr & (S->page_size - 1)));
        if (filled < 4)
            word |= filled <= 0 ? 0xFFFFFFFF : 0xFFFFFFFF << filled * 8;
    }
    return word;
}

void app_read(uint8_t *to, uint32_t addr, unsigned size)
{
    for (; size--; addr++)
        *to++ = (uint8_t)(app_word(addr & ~3U) >> addr % 4 * 8);
}

/* Makes a page of flash what S->page is. Returns the work that is, in half-words (boot.h). */
static unsigned settle(uint32_t page, bool go)
{
    const volatile uint16_t *have = (const volatile uint16_t *)page;
    const uint16_t *want = (const uint16_t *)(const void *)S->page;
    unsigned differ = 0, solid = 0;
    bool erase = false;

    for (unsigned i = 0; i < S->page_size / 2; i++) {
        solid += want[i] != 0xFFFF;
        if (want[i] != have[i]) {
            differ++;
            erase |= want[i] && have[i] != 0xFFFF;
        }
    }
    if (go && differ) {
        invalidate();
        if (erase && S->status == DFU_OK)
            S->status = (uint8_t)stub_flash_erase(page);
        /* i ^ 2: the second word first. In page 0 that is the reset vector: the page-0 window ends. */
        for (unsigned i = 0; i < S->page_size / 2 && S->status == DFU_OK; i++)
            if (want[i ^ 2] != have[i ^ 2])
                S->status = (uint8_t)stub_flash_program(page + (i ^ 2) * 2, want[i ^ 2]);
    }
    return !differ ? 0 : (S->dirty ? 0 : REVOKE_WORK) + (erase ? ERASE_WORK + solid : differ);
}

/* The host's bytes for [addr, addr + size), within a page; none: settle what waits there. */
static unsigned put(uint32_t addr, const uint8_t *from, unsigned size, bool go)
{
    unsigned at = (addr & (S->page_size - 1)), work = 0;
    uint32_t page = addr - at;
    uint16_t *w = &S->waiting[page_of(addr)];
    bool known = size && *w != NOTHING && FILLED(*w) == at;

    for (uint32_t i = 0; i < S->page_size && size < S->page_size; i += 4)
        *(uint32_t *)(void *)(S->page + i) = app_word(page + i);
    for (unsigned i = 0; i < size; i++)
        S->page[at + i] = from[i];
    if (page == FLASH_BASE) {
        uint32_t *word = (uint32_t *)(void *)S->page + 1;
        if (go)
            S->reset = *word;
        *word = (uint32_t)reset_entry;
    }
    for (unsigned i = at; known && i < at + size; i++)
        known = S->page[i] == *(const volatile uint8_t *)(page + i);
    if (!known)
        work = settle(page, go);
    if (go)
        *w = known && at + size < S->page_size ? (uint16_t)(*w + size) : NOTHING;
    return work;
}

void app_erase(uint32_t addr)
{
    S->fresh |= TOUCHED;
    S->waiting[page_of(addr)] = ERASED;
}

void app_mass_erase(void)
{
    for (uint32_t p = page_of(S->app_end); p--;)
        S->waiting[p] = ERASED | OPTIONAL;
    S->fresh |= TOUCHED;
}

unsigned app_write(uint32_t addr, bool go)
{
    const uint8_t *from = S->block;
    unsigned left = S->length, work = 0;

    if (go && addr == FLASH_BASE)
        S->torn = false; /* it begins anew */
    while (left) {
        unsigned n = S->page_size - (addr & (S->page_size - 1));
        if (n > left)
            n = left;
        work += put(addr, from, n, go);
        addr += n;
        from += n;
        left -= n;
    }
    if (go)
        S->fresh |= WRITTEN;
    return work;
}

/* --- sessions ----------------------------------------------------------------------------------- */

void app_session(void)
{
    if (S->finishing)
        return; /* that download was complete */
    S->fresh = 0;
    S->torn |= S->dirty;
    for (uint32_t p = 0; p < PAGES_MAX; p++)
        if (S->waiting[p] != NOTHING) {
            S->waiting[p] |= OPTIONAL;
            S->torn = true;
        }
}

void app_finish(bool sure)
{
    for (uint32_t p = 0; p < PAGES_MAX && !sure; p++)
        if (S->waiting[p] == ERASED) {
            if (S->fresh & WRITTEN)
                return;
            S->torn = true; /* it only erased: so be it, but what is left is no application */
        }
    S->finishing = S->fresh;
}

/* One step of finishing; or, without go, how much work all of it is. */
unsigned app_finish_step(bool go)
{
    unsigned work = 0;

    for (uint32_t p = page_of(S->app_end); p--;)
        if (S->waiting[p] != NOTHING) {
            unsigned more = put(FLASH_BASE + p * S->page_size, 0, 0, go);
            if (go)
                return 0;
            work += more + (more ? PAGE_WORK : LOOK_WORK);
        }
    if (!go)
        return work + RECORD_WORK;

    S->finishing = S->fresh = 0;
    if (S->status != DFU_OK || (S->valid && S->reset == S->recorded))
        return 0;
    invalidate();
    if (S->status == DFU_OK && startable()) {
        S->status = (uint8_t)stub_journal_write(S->reset);
        S->valid = S->status == DFU_OK;
        S->recorded = S->reset;
    }
    S->dirty &= S->status != DFU_OK;
    return 0;
}
