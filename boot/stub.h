/* SPDX-License-Identifier: MIT */
/*
 * What the permanent stub offers to the bootloader proper, which a self-update replaces: hence never
 * to be changed. The stub keeps the journal, because it reads it at every reset. In the head layout, both are one.
 */
#ifndef BOOT_STUB_H
#define BOOT_STUB_H

#include "core/dfu.h"

#include "layout.h"
#include "regs.h"

#define STUB __attribute__((visibility("hidden")))

/* The stub, where it stands in relation to this code. */
extern const uint32_t stub_vectors[] STUB;
_Noreturn void reset_entry(void) STUB;
enum {
    ENTRY = 0x41, /* reset_entry() in it, as a Thumb address; the linker script asserts it */
    NAME = 2,     /* its words 2 and 3: "caboose\0" */
    TEXT = 5,   /* … where, from its start, a text stands that tells the version of the proper */
    LAYOUT = 6, /* LAYOUT_TEXT: images of another do not fit here */
};

/* Unlock flash as needed. DFU_OK, or what went wrong: DFU_ERR_WRITE (write-protected), DFU_ERR_ERASE
 * (not blank), DFU_ERR_VERIFY (reads back otherwise, also because it was not erased). */
enum dfu_status stub_flash_operate(
    uint32_t addr, unsigned value, uint32_t cr) STUB;                   /* reads nothing back */
enum dfu_status stub_flash_erase(uint32_t page) STUB;                   /* 20 to 40 ms (DS5319) */
enum dfu_status stub_flash_program(uint32_t addr, unsigned value) STUB; /* 40 to 70 µs */

/* Text in UTF-16: size characters, at least one; a number in so many digits, in base 10 or 16. They return where it
 * goes on. Here because there is room. */
uint16_t *stub_put_text(uint16_t *to, const char *text, unsigned size) STUB;
uint16_t *stub_put_number(uint16_t *to, uint32_t number, unsigned digits, unsigned base) STUB;

/* There is no valid application from now on. */
enum dfu_status stub_journal_clear(void) STUB;
/* There is one, says the record of these two words (layout.h). The last write of a download. */
enum dfu_status stub_journal_write(uint32_t word0, uint32_t word1) STUB;

#endif
