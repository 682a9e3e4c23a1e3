/* SPDX-License-Identifier: MIT */
/* Tail layout: which image is the application, and the record that makes it valid. */
#include "boot.h"

NOINLINE void commit(void)
{
    if (S->valid)
        S->torn = false; /* nothing was changed */
    /* Which image is the application? The one that leave named; the one that was, or begins at the
     * start of flash and was just written; else what there is. In what is torn, only one that came
     * again from its beginning. */
    if (S->first == FLASH_BASE)
        S->base = FLASH_BASE;
    uint32_t *base = &S->asked;
    while (!in_app(*base) || !startable(*base) || !in_app(app_word(*base + 4)) ||
           (S->torn && S->first != *base))
        if (base++ == &S->first) {
            S->intact = true;
            return;
        }
    /* The record that there is may be one that power failed over and that reads right by chance: after a
     * download it is written anew, though nothing was changed. */
    if (S->valid && S->first == NOWHERE && S->base == *base)
        return;
    invalidate();
    if (S->status != DFU_OK)
        return;
    S->base = *base;
    enum dfu_status status = stub_journal_write(
        S->reset, S->reset ^ S->base / BASE_UNIT ^ (RECORD_MAGIC ^ FLASH_BASE / BASE_UNIT));
    S->status = (uint8_t)status;
    S->intact = true;
    S->torn = false;
    S->first = NOWHERE;
    if (status == DFU_OK)
        S->valid = true;
}
