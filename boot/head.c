/* SPDX-License-Identifier: MIT */
/*
 * Head layout: the bootloader at the start of flash, in one piece, and the application behind it, at
 * APP_START. Nothing is moved, nothing of the application is replaced, and no cut of power can take
 * away what a reset finds. An application is valid by its own first two words (layout.h).
 */
#include "entry.h"
#include "proper.c"

__attribute__((section(".stub.vectors"), used)) const uint32_t stub_vectors[] = {
    STACK_TOP,
    FLASH_BASE + ENTRY, /* reset_entry() */
    0x6F626163,         /* "caboose\0" */
    0x0065736F,
};

#define SERVICE       enum dfu_status
#define flash_operate stub_flash_operate
#define flash_erase   stub_flash_erase
#define flash_program stub_flash_program
#include "flash.h"
#define SERVICE_TEXT
#define put_text   stub_put_text
#define put_number stub_put_number
#include "text.h"

static uint32_t page_size_at(uint32_t addr)
{
    (void)addr;
    return S->page_size;
}

#define MARK ((struct record *)APP_START)

enum dfu_status stub_journal_clear(void)
{
    return clear_record(MARK);
}

enum dfu_status stub_journal_write(uint32_t sp, uint32_t reset)
{
    return program_record(MARK, sp, reset);
}

/* What is in flash now is complete: its first two words become valid, if they can be those of an application;
 * in what was torn only if it came again from its beginning. After a download that changed nothing, too: the
 * mark that there is may be one that power failed over and that reads right by chance. */
static void commit(void)
{
    struct record mark = {S->sp, S->reset};

    if (S->valid) {
        S->torn = false; /* nothing was changed */
        if (S->first == NOWHERE)
            return;
    }
    if (!startable(APP_START) || !in_app(S->reset) || !record_valid(&mark) ||
        (S->torn && S->first != APP_START)) {
        S->intact = true;
        return;
    }
    invalidate();
    if (*(const volatile uint32_t *)MARK != 0xFFFFFFFF) { /* zeroed since the page was written */
        open_page(APP_START);
        *page_at(APP_START) = SUSPECT;
        close_page();
    }
    if (S->status != DFU_OK)
        return; /* torn, if that page failed */
    S->status = (uint8_t)stub_journal_write(S->sp, S->reset);
    S->intact = true;
    S->torn = false;
    S->first = NOWHERE;
    S->valid = S->status == DFU_OK;
}

/* What runs now? DFU if it is asked for, or if there is no application. */
_Noreturn __attribute__((section(".stub.entry"), used)) void reset_entry(void)
{
    TELL_LAYOUT();
    const struct record *mark = MARK;
    uint32_t cause;
    bool dfu = dfu_asked(&cause);

    if (!record_valid(mark))
        mark = 0;
    else if (!dfu)
        start((const uint32_t *)mark, mark->reset, cause);
    __asm volatile("msr msp, %0" : : "r"(STACK_TOP));
    register const struct record *r0 __asm("r0") = mark;
    __asm volatile("b dfu_main" : : "r"(r0));
    __builtin_unreachable();
}
