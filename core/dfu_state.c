/* SPDX-License-Identifier: MIT */
#include "dfu_state.h"

#include <stdint.h>

#ifndef FIND /* the bootloader's is shorter (boot/boot.h) */
#define FIND(pointer, constant) ((pointer) = (constant))
#endif

/* What is done in a state, a bit for each request. What is not is refused, or ignored. */
#define ROW(detach, dnload, upload, getstatus, clrstatus, getstate, abort, ignores)                \
    ((detach) << DFU_DETACH | (dnload) << DFU_DNLOAD | (upload) << DFU_UPLOAD |                    \
        (getstatus) << DFU_GETSTATUS | (clrstatus) << DFU_CLRSTATUS | (getstate) << DFU_GETSTATE | \
        (abort) << DFU_ABORT | ((ignores) ? IGNORES : 0))
#define IGNORES 0x80

// clang-format off
static const uint8_t table[] = {
    /*                                DETACH DNLOAD UPLOAD GETSTATUS CLRSTATUS GETSTATE ABORT  ignores */
    [DFU_IDLE]                = ROW(1,     1,     1,     1,        1,        1,       1,     0),
    [DFU_DNLOAD_SYNC]         = ROW(1,     0,     0,     1,        1,        1,       1,     0),
    [DFU_DNBUSY]              = ROW(1,     0,     0,     1,        1,        1,       1,     0),
    [DFU_DNLOAD_IDLE]         = ROW(1,     1,     0,     1,        1,        1,       1,     0),
    [DFU_MANIFEST_SYNC]       = ROW(1,     0,     0,     1,        1,        1,       1,     0),
    [DFU_MANIFEST]            = ROW(1,     0,     0,     1,        0,        1,       0,     1),
    [DFU_MANIFEST_WAIT_RESET] = ROW(1,     0,     0,     1,        0,        1,       0,     1),
    [DFU_UPLOAD_IDLE]         = ROW(1,     0,     1,     1,        1,        1,       1,     0),
    [DFU_ERROR]               = ROW(1,     0,     0,     1,        1,        1,       0,     1),
};
// clang-format on

enum dfu_reaction dfu_react(enum dfu_state state, unsigned request)
{
    if ((unsigned)state > DFU_ERROR || request > DFU_ABORT)
        return DFU_REFUSE;
    const uint8_t *rows;
    FIND(rows, table);
    unsigned row = rows[state];
    if (!(row >> request & 1))
        return (enum dfu_reaction)(DFU_REFUSE + row / IGNORES); /* or, the next, DFU_IGNORE */
    if (state == DFU_DNLOAD_SYNC && request % 2 == 0)
        return DFU_STOP; /* DETACH, CLRSTATUS, ABORT: a block is under way */
    return (enum dfu_reaction)request;
}
