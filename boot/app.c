/* SPDX-License-Identifier: MIT */
/*
 * The application in flash, as the host sees it.
 *
 * The host is shown what it wrote: the reset vector in word 1, although the stub's stands there;
 * 0xFF in a page that it erased, although the erase waits. An erase is only noted. What is written
 * gathers in RAM, a page at a time, and goes to flash when the page is full, another one is begun or
 * the download is finished; what is in flash already is not written again. Before the first change the
 * journal's record is zeroed, after the last one a new record is programmed: in between the board
 * starts into DFU.
 */
#include "boot.h"

/* S->pages[n]: what is to be known of a page. */
enum {
    WAITS = 1,   /* it is to be erased */
    SUSPECT = 2, /* power failed while flash was changed: what it reads as is not to be relied on */
};

/* Is [addr, addr + size) the application's? size: less than all that it may have. */
INLINE bool in_app(uint32_t addr, uint32_t size)
{
    return addr - FLASH_BASE <= S->app_size - size;
}

static uint8_t *page_at(uint32_t addr)
{
    return &S->pages[(addr - FLASH_BASE) / S->page_size];
}

/* A word of memory as the host sees it. addr is a multiple of 4. */
static uint32_t app_word(uint32_t addr)
{
    if (in_app(addr, 1)) {
        if (addr - S->open < S->page_size)
            return *(uint32_t *)(void *)(S->page + (addr - S->open));
        if (*page_at(addr))
            return 0xFFFFFFFF;
        if (addr == FLASH_BASE + 4)
            return S->reset;
    }
    return *(const volatile uint32_t *)addr;
}

static void app_read(uint8_t *to, uint32_t addr, unsigned size)
{
    for (; size--; addr++)
        *to++ = (uint8_t)(app_word(addr & ~3U) >> addr % 4 * 8);
}

/* --- pages -------------------------------------------------------------------------------------- */

/* Before flash is changed: the application is none until it is complete again. */
static void invalidate(void)
{
    if (S->intact)
        S->status = S->intact = (uint8_t)stub_journal_clear();
    if (S->status == DFU_OK)
        S->valid = false;
}

/* Data are missing from now on. */
INLINE void tear(void)
{
    S->torn = true;
    S->first = NOWHERE;
}

static void app_session(void);

/* Makes flash what the open page is. */
static void close_page(void)
{
    uint32_t page = S->open;
    const volatile uint16_t *have = (const volatile uint16_t *)page;
    uint16_t *want = (uint16_t *)(void *)S->page;
    uint32_t *vector = (uint32_t *)(void *)S->page + 1;

    S->open = 0;
    if (!page)
        return;
    if (S->status != DFU_OK) {
        tear();
        return;
    }
    if (page == FLASH_BASE) {
        const uint32_t *image = (const uint32_t *)(const void *)S->page;
        if (image[NAME] == stub_vectors[NAME] && image[LAYOUT] != stub_vectors[LAYOUT]) {
            S->status = DFU_ERR_FILE; /* another bootloader of ours: it would not find its stub */
            app_session();
            return;
        }
        S->reset = *vector;
        *vector = S->stub + ENTRY;
    }
    uint8_t *mark = page_at(page);
    unsigned erase = *mark & SUSPECT, differs = erase;
    *mark = 0;
    for (unsigned i = 0; i < S->page_size / 2; i++) {
        unsigned was = have[i];
        if (want[i] != was) {
            differs = 1;
            if (want[i] && was != 0xFFFF)
                erase = 1;
        }
    }
    if (differs)
        invalidate();
    if (erase && S->status == DFU_OK)
        S->status = (uint8_t)stub_flash_erase(page);
    /* i ^ 2: the second word first. In page 0 that is the reset vector: the page-0 window ends. */
    for (unsigned i = 0; i < S->page_size / 2 && S->status == DFU_OK; i++)
        if (want[i ^ 2] != have[i ^ 2])
            S->status = (uint8_t)stub_flash_program((uint32_t)(have + (i ^ 2)), want[i ^ 2]);
    if (S->status != DFU_OK)
        tear();
}

static void open_page(uint32_t addr)
{
    addr &= ~(S->page_size - 1);
    if (addr == S->open)
        return;
    close_page();
    for (uint32_t i = 0; i < S->page_size; i += 4)
        *(uint32_t *)(void *)(S->page + i) = app_word(addr + i);
    S->open = addr;
    uint8_t *mark = page_at(addr);
    if (*mark & WAITS && S->lacking)
        S->lacking--;
    *mark &= SUSPECT;
}

static void app_erase(uint32_t addr)
{
    uint8_t *mark = page_at(addr);

    if (mark == page_at(S->open))
        S->open = 0;
    if (!(*mark & WAITS))
        S->lacking++;
    *mark |= WAITS;
}

/* Pages that are blank need no erase; one that power failed over is erased when data come for it. */
static void app_mass_erase(void)
{
    S->open = 0;
    S->lacking = 0;
    for (uint32_t addr = FLASH_BASE; in_app(addr, 4); addr += 4)
        if (*(const volatile uint32_t *)addr != 0xFFFFFFFF)
            *page_at(addr) |= WAITS;
}

static void app_write(uint32_t addr)
{
    if (addr < S->first)
        S->first = addr;
    for (unsigned i = 0; i < S->length && S->status == DFU_OK; i++) {
        open_page(addr);
        S->page[addr - S->open] = S->block[i];
        if (!(++addr & (S->page_size - 1)))
            close_page();
    }
}

/* --- sessions ----------------------------------------------------------------------------------- */

/* A host begins anew: what was not finished never will be, and what it left is torn. */
static void app_session(void)
{
    if (S->finishing)
        return; /* that download was complete */
    S->first = NOWHERE;
    S->torn = !S->valid;
    S->lacking = 0;
    S->open = 0;
    for (unsigned i = 0; i < PAGES_MAX; i++)
        S->pages[i] &= SUSPECT;
}

/* A download is over. asked: where leave says that the application begins; NOWHERE: nobody said that it is
 * over, so only if it looks complete. */
static void app_finish(uint32_t asked)
{
    S->asked = asked;
    if (asked == NOWHERE && S->lacking) {
        if (S->first != NOWHERE)
            return;
        tear(); /* it only erased: so be it, but what is left is no application */
    }
    S->finishing = true;
}

/* How many pages are still to be erased. */
static unsigned app_left(void)
{
    unsigned left = 0;

    for (unsigned i = 0; i < PAGES_MAX; i++)
        left += S->pages[i] & WAITS;
    return left;
}

/* Does an image begin at base, as far as can be told: a stack pointer in the first 128 KB of RAM (more than
 * any part has), a reset vector behind the table? */
static bool startable(uint32_t base)
{
    if (base & (BASE_UNIT - 1))
        return false;
    uint32_t reset = app_word(base + 4);
    return (app_word(base) & 0xFFFE0003U) == SRAM_BASE && (reset & 1) && reset > base &&
           (!WITH_RAM || base < SRAM_BASE || (reset < S->ram_end && app_word(base) <= S->ram_end));
}

/* One step of finishing: a page, or at the end the record. */
static void app_finish_step(void)
{
    close_page();
    for (uint32_t addr = FLASH_BASE; in_app(addr, 4); addr += S->page_size)
        if (*page_at(addr) & WAITS) {
            open_page(addr);
            close_page();
            return;
        }
    S->finishing = false;
    if (S->status != DFU_OK || (WITH_ALL && FLASH_REGS->OBR & FLASH_OBR_RDPRT))
        return;

    /* Which image is the application? The one that leave named; the one that was, or begins at the
     * start of flash and was just written; else what there is. In what is torn, only one that came
     * again from its beginning. */
    if (S->first == FLASH_BASE)
        S->base = FLASH_BASE;
    uint32_t *base = &S->asked;
    while (!in_app(*base, 4) || !startable(*base) || !in_app(app_word(*base + 4), 1) ||
           (S->torn && S->first != *base))
        if (base++ == &S->first) {
            S->intact = true;
            return;
        }
    struct record record = {S->reset, S->reset ^ RECORD_MAGIC ^ (*base - FLASH_BASE) / BASE_UNIT};
    S->base = *base;
    if (S->valid && record.reset == S->recorded.reset && record.check == S->recorded.check)
        return;
    invalidate();
    if (S->status != DFU_OK)
        return;
    S->status = (uint8_t)stub_journal_write(record.reset, record.check);
    S->recorded = record;
    S->intact = true;
    S->torn = false;
    S->valid = S->status == DFU_OK;
}
