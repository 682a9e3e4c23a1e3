/* SPDX-License-Identifier: MIT */
/*
 * The permanent stub: one page that stands at the end of flash for ever, and at 0x08000000 before
 * the first application. It decides at reset what runs, starts it, and installs the bootloader.
 *
 * The same bytes run at both places: nothing here depends on its address or calls anything outside.
 */
#include "entry.h"

/* journal_clear() in the table of services, as a Thumb address. */
enum { CLEAR = 0x31 };

/* Words 2 to 6 are no vectors: nothing here enables an exception. 4 is a sum of the proper (the linker
 * script puts it), so that stubs differ where propers do. 7 and 8 stay zero, so that bootloaders that
 * park an application's vectors there can install this image. */
__attribute__((section(".stub.vectors"), used)) const uint32_t stub_vectors[] = {
    STACK_TOP,
    FLASH_BASE + ENTRY, /* reset_entry(), as installer */
    0x6F626163,         /* "caboose\0" */
    0x0065736F,
};

/* What the bootloader proper may call (stub.h): these places are for ever. */
__asm(".section .stub.services, \"ax\"\n"
      ".macro service name\n"
      ".global stub_\\name\n"
      ".thumb_func\n"
      "stub_\\name: b.w \\name\n"
      ".endm\n"
      "service flash_operate\n"
      "service flash_erase\n"
      "service flash_program\n"
      "service journal_clear\n"
      "service journal_write\n"
      "service put_text\n"
      "service put_number\n"
      ".text\n");
#define SERVICE static __attribute__((used)) enum dfu_status
#include "flash.h"
#define SERVICE_TEXT static __attribute__((used))
#include "text.h"

/* Where this code stands now. gcc would take twice the bytes. */
static inline uint32_t here(void)
{
    uint32_t address;
    __asm(".reloc ., R_ARM_THM_ALU_PREL_11_0, stub_vectors\n subw %0, pc, #4" : "=r"(address));
    return address;
}

static __attribute__((noinline)) uint32_t page_size_at(uint32_t addr)
{
    return page_size(here() | addr); /* one of them is near the end of flash */
}

static __attribute__((noinline)) uint32_t journal_at(uint32_t stub)
{
    return journal_of(stub);
}

static inline struct record *journal(void)
{
    return (struct record *)journal_at(here());
}

/* --- the journal -------------------------------------------------------------------------------- */

/* The last record that was ever used; the first, if none was. */
static struct record *journal_last(void)
{
    struct record *start = journal(), *r = start + JOURNAL_RECORDS - 1;

    while (r > start && (r->reset & r->check) == 0xFFFFFFFF)
        r--;
    return r;
}

/* The last record is zeroed. Without any, the first is: from now on the journal is not blank. The stub's last
 * half-word may have been left undecided by a cut in the installation, which ended with it: zero again. */
SERVICE journal_clear(void)
{
    flash_program(here() + STUB_SIZE - 2, 0);
    struct record *r = journal_last();
    if (r->reset == 0xFFFFFFFF) /* blank, perhaps by chance: a cut in its erase */
        flash_erase((uint32_t)r);
    return clear_record(r);
}

/* journal_clear() came first, so that one was used. */
SERVICE journal_write(uint32_t reset, uint32_t check)
{
    struct record *r = journal_last() + 1;
    enum dfu_status status = DFU_OK;

    if (!((uint32_t)r % JOURNAL_SIZE)) { /* it is full */
        r -= JOURNAL_RECORDS;
        status = flash_erase((uint32_t)r);
    }
    return status == DFU_OK ? program_record(r, reset, check) : status;
}

/* --- installing --------------------------------------------------------------------------------- */

static enum dfu_status copy(uint32_t to, uint32_t from, uint32_t size)
{
    uint32_t page = page_size_at(to);
    enum dfu_status status = DFU_OK;

    for (uint32_t at = to & -page; at < to + size && status == DFU_OK; at += 2) {
        if (!(at & (page - 1)))
            status = flash_erase(at);
        if (at >= to && status == DFU_OK)
            status = flash_program(at, *(const uint16_t *)(from + (at - to)));
    }
    return status;
}

/*
 * Runs from 0x08000000 as long as page 0 is the image's. A probe has put it there, or another
 * bootloader: everything is moved to the end of flash, page by page. First the stub's
 * page is erased, and the journal, so that no record of former times speaks for the application; then
 * comes the bootloader proper, last the stub. Page 0 is not touched: wherever power fails, it leads here again.
 *
 * Or the caboose at the end of flash has taken the image for an application: then page 0 leads to its
 * stub, which stays, with its journal. Only the proper is replaced, and then the record, which leads
 * here until that is done, is zeroed.
 *
 * Where anything differs all is written again: what power failed over is not what it looks like. An
 * image whose sum is wrong was partly overwritten by the next application.
 */
static __attribute__((used)) _Noreturn void install(void)
{
    uint32_t low = here(), end = low + FLASH_SIZE_KB * 1024U, page = page_size_at(end - 1);
    uint32_t stub = end - page, sum = 0;
    bool resident = ((const uint32_t *)low)[1] == stub + ENTRY, differs = resident;

    for (uint32_t i = 0; i < IMAGE_SIZE; i += 4) {
        uint32_t word = *(const uint32_t *)(low + i), there = stub + i;
        if (i >= STUB_SIZE) {
            there -= IMAGE_SIZE;
            sum += word;
        }
        if (word != *(const uint32_t *)there)
            differs = true;
    }
    while (differs && sum == ((const uint32_t *)low)[4]) {
        if (!resident) {
            flash_erase(stub); /* once more, and checked, by copy() */
            if (flash_erase(journal_at(stub)) != DFU_OK)
                continue;
        }
        differs = copy(stub - PROPER_SIZE, low + STUB_SIZE, PROPER_SIZE) != DFU_OK ||
                  (!resident && copy(stub, low, STUB_SIZE) != DFU_OK);
    }
    if (resident)
        ((enum dfu_status(*)(void))(stub + CLEAR))();
    jump(stub + ENTRY, 0);
}

/*
 * What runs now? DFU if it is asked for. Otherwise the application whose record is valid. Nothing valid: DFU.
 */
_Noreturn __attribute__((section(".stub.entry"))) void reset_entry(void)
{
    if (here() == FLASH_BASE) {
        __asm volatile("b install"); /* a call would use the stack */
        __builtin_unreachable();
    }

    TELL_LAYOUT();
    uint32_t cause;
    bool dfu = dfu_asked(&cause);
    const struct record *r = (const struct record *)journal_of(here());
    while (!record_valid(r))
        if (!((uint32_t)++r % JOURNAL_SIZE)) {
            r = 0;
            goto proper;
        }

    const uint32_t *vectors = record_vectors(r);
    uint32_t reset = vectors[1];
    if (vectors == (const uint32_t *)FLASH_BASE) /* no other than ours, if no probe was here */
        reset = reset == here() + ENTRY ? r->reset : 0;
    if (reset >> 20 != FLASH_BASE >> 20) {
        r = 0;
        goto proper;
    }
    if (!dfu || reset == FLASH_BASE + ENTRY) /* a self-update is first of all finished */
        start(vectors, reset, cause);
proper:
    __asm volatile("msr msp, %0" : : "r"(*(const uint32_t *)here()));
    jump(here() - PROPER_SIZE + 1, (uint32_t)r);
}
