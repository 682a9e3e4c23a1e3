/* SPDX-License-Identifier: MIT */
/*
 * The application in flash, as the host sees it.
 *
 * The host is shown what it wrote: the reset vector in word 1, although the stub's stands there;
 * 0xFF in a page that it erased, although the erase waits. An erase is only noted. What is written
 * gathers in RAM, a page at a time, and goes to flash when the page is full, another one is begun or
 * the download is finished; what is in flash already is not written again. A page that is written is erased first, also
 * if it reads blank: a cut that nobody remembers may have left it so. A new chip's are believed.
 *
 * Before the first change the journal's record is zeroed, after the last one a new record is programmed: in between the
 * board starts into DFU. (In the head layout the record is the first two words at APP_START: they are shown, too, as they
 * were written, and kept back until everything else stands.)
 */
#include "boot.h"

/* S->pages[n]: what is to be known of a page. */
enum {
    WAITS = 1,   /* it is to be erased */
    SUSPECT = 2, /* power failed while flash was changed: what it reads as is not to be relied on */
};

/* Is addr, which is not below flash, the application's? */
INLINE bool in_app(uint32_t addr)
{
    return addr < S->app_end && (!HEAD || addr >= S->zero);
}

static uint8_t *page_at(uint32_t addr)
{
    return &S->pages[(uint8_t)(addr / S->page_size)]; /* FLASH_BASE / page_size % 256 is 0 */
}

/* A word of memory as the host sees it. addr is a multiple of 4. */
static uint32_t app_word(uint32_t addr)
{
    if (in_app(addr)) {
        if (addr - S->open < S->page_size)
            return *(word *)(void *)(S->page + (addr - S->open));
        if (*page_at(addr))
            return 0xFFFFFFFF;
        if (HEAD && addr == S->zero)
            return S->sp;
        if (addr == S->zero + 4)
            return S->reset;
    }
    return *(const volatile uint32_t *)addr;
}

/* Memory as the host sees it, for usb.c to send: the words that [addr, addr + size) is in. */
INLINE void app_read(uint32_t addr, unsigned size)
{
    word *to = (word *)(void *)S->block;

    S->tx = S->block + addr % 4;
    for (uint32_t at = addr & ~3U; at < addr + size; at += 4)
        *to++ = app_word(at);
}

/* --- pages -------------------------------------------------------------------------------------- */

/* Before flash is changed: the application is none until it is complete again. */
static void invalidate(void)
{
    if (S->intact) {
        enum dfu_status status = stub_journal_clear();
        S->status = S->intact = (uint8_t)status;
    }
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

    S->open = 0;
    if (!page)
        return;
    if (S->status != DFU_OK)
        return;
    if (page == APP_START) {
        const uint32_t *stub = (const uint32_t *)S->stub;
        if (S->words[NAME] == stub[NAME] &&
            (HEAD || S->words[LAYOUT] != stub[LAYOUT] || FLASH_REGS->WRPR != 0xFFFFFFFF)) {
            /* A bootloader of ours that would not find its stub, or could not replace us. */
            S->status = DFU_ERR_FILE;
            app_session();
            return;
        }
        if (HEAD)
            S->sp = S->words[0];
        S->reset = S->words[1];
        if (!HEAD)
            S->words[1] = S->stub + ENTRY;
        else if (!S->valid)
            S->words[0] = S->words[1] = 0xFFFFFFFF;
    }
    uint8_t *mark = page_at(page);
    typedef int16_t __attribute__((may_alias)) signed_half; /* erased it is -1 */
    enum { CHANGE = 1, ERASE = 2 };                         /* SUSPECT: so it is erased */
    unsigned needs = *mark & SUSPECT;
    *mark = 0;
    /* What reads blank is believed of a new chip only: else S->blank is not -1, and & with it never gives -1. */
    for (uint32_t at = 0; at < S->page_size; at += 2) {
        int was = *(signed_half *)(page + at), want = *(signed_half *)(void *)(S->page + at);
        if (want != was)
            needs |= (was & S->blank) != -1 ? CHANGE | ERASE : CHANGE;
    }
    if (needs)
        invalidate();
    if (HEAD && needs && page == APP_START) { /* the mark is zeroed now */
        S->words[0] = S->words[1] = 0xFFFFFFFF;
        needs = ERASE;
    }
    if (needs & ERASE && S->status == DFU_OK)
        S->status = (uint8_t)stub_flash_erase(page);
    /* at ^ 4: the second word first. In page 0 that is the reset vector: the page-0 window ends. */
    for (uint32_t at = 0; at < S->page_size && S->status == DFU_OK; at += 2) {
        uint16_t *to = (uint16_t *)(page + (at ^ 4)),
                 want = *(half_word *)(void *)(S->page + (at ^ 4));
        if (want != *to)
            S->status = (uint8_t)stub_flash_program((uint32_t)to, want);
    }
}

static void open_page(uint32_t addr)
{
    addr &= ~(S->page_size - 1);
    if (addr == S->open)
        return;
    close_page();
    for (uint32_t i = 0; i < S->page_size; i += 4)
        *(word *)(void *)(S->page + i) = app_word(addr + i);
    S->open = addr;
    uint8_t *mark = page_at(addr);
    unsigned was = *mark;
    *mark = was & SUSPECT;
    if (was & WAITS && S->lacking)
        S->lacking--;
}

static void app_erase(uint32_t addr)
{
    if (addr - S->open < S->page_size)
        S->open = 0;
    uint8_t *mark = page_at(addr);
    unsigned was = *mark;
    S->lacking += WAITS & ~was;
    *mark = (uint8_t)(was | WAITS);
}

/* Pages that are blank need no erase, but those that power failed over: they may only read so. */
INLINE void app_mass_erase(void)
{
    S->open = 0;
    S->lacking = 0;
    for (uint32_t addr = S->zero; in_app(addr); addr += 4)
        if (*(const volatile uint32_t *)addr != 0xFFFFFFFF || *page_at(addr))
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
    S->torn = S->valid ^ 1;
    S->lacking = 0;
    S->open = 0;
    for (int i = PAGES_MAX - 1; i >= 0; i--)
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

    for (int i = PAGES_MAX - 1; i >= 0; i--)
        left += S->pages[i] & WAITS;
    return left;
}

/* Does an image begin at base, as far as can be told: a stack pointer in the first 128 KB of RAM (more than
 * any part has), a reset vector behind the table? */
static bool startable(uint32_t base)
{
    if (base & (BASE_UNIT - 1))
        return false;
    uint32_t reset = app_word(base + 4), stack = app_word(base);
    uint32_t words = (stack - SRAM_BASE) >> 2 | (stack - SRAM_BASE) << 30; /* huge, if not whole */
    return words < 0x20000 / 4 && (reset & 1) && reset > base &&
           (!WITH_RAM || base < (uint32_t)S || (reset < S->limit && stack <= S->limit));
}

/* Does the address pointer name an image in RAM? */
INLINE bool ram_startable(void)
{
    if (S->pointer < (uint32_t)S)
        return false;
    return startable(S->pointer);
}

/* One step of finishing: a page, or at the end the record. */
INLINE void app_finish_step(void)
{
    close_page();
    for (uint32_t addr = S->zero; in_app(addr); addr += S->page_size)
        if (*page_at(addr) & WAITS) {
            open_page(addr);
            close_page();
            return;
        }
    S->finishing = false;
    if (S->status != DFU_OK || (!HEAD && S->locked))
        return;
    commit();
}
