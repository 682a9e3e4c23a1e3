/* SPDX-License-Identifier: MIT */
/* Tail layout: which image is the application, and the record that makes it valid. */
#include "boot.h"

/* Does an image begin at base, as far as can be told: a stack pointer in the first 128 KB of RAM (more than
 * any part has), a reset vector behind the table? */
bool startable(uint32_t base)
{
    if (base & (BASE_UNIT - 1))
        return false;
    uint32_t reset = app_word(base + 4);
    return (app_word(base) & 0xFFFE0003U) == SRAM_BASE && (reset & 1) && reset > base &&
           (!WITH_RAM || base < SRAM_BASE || (reset < S->ram_end && app_word(base) <= S->ram_end));
}

static void commit(void)
{
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
