/* SPDX-License-Identifier: MIT */
/*
 * The application in flash, as the host sees it.
 *
 * The host is shown what it wrote: the reset vector in word 1, although the stub's stands there;
 * 0xFF in a page that it erased, although the erase waits. An erase is only noted. What is written
 * gathers in RAM, a page at a time, and goes to flash when the page is full, another one is begun or
 * the download is finished; what is in flash already is not written again. Before the first change the
 * journal's record is zeroed, after the last one a new record is programmed: in between the board
 * starts into DFU. (In the head layout the record is the first two words at APP_START: they are shown, too,
 * as they were written, and kept back until everything else stands.)
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
    return addr - APP_START <= S->app_size - size;
}

static uint8_t *page_at(uint32_t addr)
{
    return &S->pages[(addr - APP_START) / S->page_size];
}

/* A word of memory as the host sees it. addr is a multiple of 4. */
static uint32_t app_word(uint32_t addr)
{
    if (in_app(addr, 1)) {
        if (addr - S->open < S->page_size)
            return *(uint32_t *)(void *)(S->page + (addr - S->open));
        if (*page_at(addr))
            return 0xFFFFFFFF;
        if (HEAD && addr == APP_START)
            return S->sp;
        if (addr == APP_START + 4)
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
static void commit(void); /* commit.c, head.c */

/* Makes flash what the open page is. */
static void close_page(void)
{
    uint32_t page = S->open;
    const volatile uint16_t *have = (const volatile uint16_t *)page;
    uint16_t *want = (uint16_t *)(void *)S->page;

    S->open = 0;
    if (!page)
        return;
    if (S->status != DFU_OK) {
        tear();
        return;
    }
    if (page == APP_START) {
        uint32_t *image = (uint32_t *)(void *)S->page;
        if (image[NAME] == stub_vectors[NAME] &&
            (HEAD || image[LAYOUT] != stub_vectors[LAYOUT] || FLASH_REGS->WRPR != 0xFFFFFFFF)) {
            /* A bootloader of ours that would not find its stub, or could not replace us. */
            S->status = DFU_ERR_FILE;
            app_session();
            return;
        }
        S->sp = image[0];
        S->reset = image[1];
        if (!HEAD)
            image[1] = S->stub + ENTRY;
        else if (!S->valid)
            image[0] = image[1] = 0xFFFFFFFF;
    }
    uint8_t *mark = page_at(page);
    bool erase = *mark & SUSPECT, differs = erase;
    *mark = 0;
    for (unsigned i = 0; i < S->page_size / 2; i++) {
        unsigned was = have[i];
        if (want[i] != was) {
            differs = true;
            if (want[i] && was != 0xFFFF)
                erase = true;
        }
    }
    if (differs) {
        invalidate();
        if (HEAD && page == APP_START) { /* the mark is zeroed now */
            *(uint64_t *)(void *)S->page = ~0ULL;
            erase = true;
        }
    }
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
    for (uint32_t addr = APP_START; in_app(addr, 4); addr += 4)
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

/* One step of finishing: a page, or at the end the record. */
static void app_finish_step(void)
{
    close_page();
    for (uint32_t addr = APP_START; in_app(addr, 4); addr += S->page_size)
        if (*page_at(addr) & WAITS) {
            open_page(addr);
            close_page();
            return;
        }
    S->finishing = false;
    if (S->status != DFU_OK || (WITH_ALL && !HEAD && FLASH_REGS->OBR & FLASH_OBR_RDPRT))
        return;
    commit();
}
