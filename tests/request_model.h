/* SPDX-License-Identifier: MIT */
/*
 * What a DFU device must answer to any control request in any DFU state, as a table of its own:
 * written from USB 2.0 §9.4, DFU 1.1 §3 and appendix A.2, AN3156, and the deviations that
 * DESIGN.md names, not from core/ or boot/. Where the standards leave it open, all that they allow
 * is allowed.
 *
 *     struct verdict v = request_verdict(&device, DFU_IDLE, &setup);
 *     v.after[ANSWER_STALL] & 1 << DFU_ERROR       // it may refuse, and is in dfuERROR then
 */
#ifndef TESTS_REQUEST_MODEL_H
#define TESTS_REQUEST_MODEL_H

#include "core/dfu.h"

#include <stdbool.h>
#include <stdint.h>

struct request { /* a SETUP packet; USB 2.0 §9.3 */
    uint8_t bmRequestType, bRequest;
    uint16_t wValue, wIndex, wLength;
};

struct device_facts {    /* what a host knows from the descriptors */
    bool has_bos;        /* bcdUSB >= 0x0201 */
    uint16_t strings;    /* those that a descriptor names, as bits */
    uint8_t vendor_code; /* of the MS OS 2.0 set; 0: none */
    uint16_t transfer_size;
    uint32_t flash_end; /* of the part; the address pointer stands at 0x08000000 */
};

enum answer {
    ANSWER_STALL,
    ANSWER_DATA,  /* IN: bytes, of which the host has asked for at least one */
    ANSWER_TAKEN, /* no data stage, or OUT and all of it taken */
    ANSWERS
};

struct verdict {
    uint16_t after
        [ANSWERS]; /* states that the device may be in after that answer, as bits; 0: it must not
                                answer so */
    uint16_t least, most; /* bytes of ANSWER_DATA */
    bool gone; /* nothing is promised after it: the device leaves, or has another address */
};

/* state: 0 … 10, enum dfu_state. The device is configured. */
struct verdict request_verdict(
    const struct device_facts *d, enum dfu_state state, const struct request *r);

/* The states that GETSTATUS may tell in a state, and GETSTATE a moment later. */
uint16_t states_told(enum dfu_state state);
uint16_t states_soon(uint16_t states);

#endif
