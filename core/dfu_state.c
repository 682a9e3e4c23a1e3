/* SPDX-License-Identifier: MIT */
#include "dfu_state.h"

#include <stdint.h>

/* A row: four bits for each request, DETACH lowest. */
#define ROW(detach, dnload, upload, getstatus, clrstatus, getstate, abort)                         \
    ((uint32_t)(detach) | (uint32_t)(dnload) << 4 | (uint32_t)(upload) << 8 |                      \
        (uint32_t)(getstatus) << 12 | (uint32_t)(clrstatus) << 16 | (uint32_t)(getstate) << 20 |   \
        (uint32_t)(abort) << 24)

enum { ROWS_FROM = DFU_IDLE, ROWS_TO = DFU_ERROR };

// clang-format off
static const uint32_t table[ROWS_TO - ROWS_FROM + 1] = {
    /*                          DETACH  DNLOAD        UPLOAD      GETSTATUS CLRSTATUS    GETSTATE   ABORT */
    /* dfuIDLE              */ ROW(DFU_GO, DFU_DOWNLOAD, DFU_SEND,   DFU_TELL, DFU_TO_IDLE, DFU_STATE, DFU_STOP),
    /* dfuDNLOAD-SYNC       */ ROW(DFU_STOP, DFU_REFUSE,   DFU_REFUSE, DFU_TELL, DFU_STOP, DFU_STATE, DFU_STOP),
    /* dfuDNBUSY            */ ROW(DFU_GO, DFU_REFUSE,   DFU_REFUSE, DFU_TELL, DFU_TO_IDLE, DFU_STATE, DFU_STOP),
    /* dfuDNLOAD-IDLE       */ ROW(DFU_GO, DFU_DOWNLOAD, DFU_REFUSE, DFU_TELL, DFU_TO_IDLE, DFU_STATE, DFU_STOP),
    /* dfuMANIFEST-SYNC     */ ROW(DFU_GO, DFU_REFUSE,   DFU_REFUSE, DFU_TELL, DFU_TO_IDLE, DFU_STATE, DFU_STOP),
    /* dfuMANIFEST          */ ROW(DFU_GO, DFU_IGNORE,   DFU_IGNORE, DFU_TELL, DFU_IGNORE,  DFU_STATE, DFU_IGNORE),
    /* dfuMANIFEST-WAIT-RST */ ROW(DFU_GO, DFU_IGNORE,   DFU_IGNORE, DFU_TELL, DFU_IGNORE,  DFU_STATE, DFU_IGNORE),
    /* dfuUPLOAD-IDLE       */ ROW(DFU_GO, DFU_REFUSE,   DFU_SEND,   DFU_TELL, DFU_TO_IDLE, DFU_STATE, DFU_STOP),
    /* dfuERROR             */ ROW(DFU_GO, DFU_IGNORE,   DFU_IGNORE, DFU_TELL, DFU_TO_IDLE, DFU_STATE, DFU_IGNORE),
};
// clang-format on

enum dfu_reaction dfu_react(enum dfu_state state, unsigned request)
{
    unsigned row = (unsigned)state - ROWS_FROM;

    if (row > ROWS_TO - ROWS_FROM || request > DFU_ABORT)
        return DFU_REFUSE;
    return (enum dfu_reaction)(table[row] >> request * 4 & 15);
}
