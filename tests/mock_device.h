/* SPDX-License-Identifier: MIT */
/*
 * A scripted DfuSe device in virtual time: strict about the standard's states, with the misbehaviour of
 * devices in the field to be switched on, and a record of what a host did that it should not.
 */
#ifndef TESTS_MOCK_DEVICE_H
#define TESTS_MOCK_DEVICE_H

#include "host/engine.h"

enum {
    MOCK_BASE = 0x08000000,
    MOCK_PAGE = 1024,
    MOCK_PAGES = 64,
    MOCK_WRITABLE = 50,
    MOCK_XFER = 1024
};
enum { MOCK_SIZE = MOCK_PAGE * MOCK_PAGES };

enum mock_leave {          /* what it does when it is told to leave */
    MOCK_ANNOUNCES,        /* dfuMANIFEST, gone 300 ms later */
    MOCK_ANNOUNCES_STAYS,  /* dfuMANIFEST for ever */
    MOCK_VANISHES_AT_ONCE, /* at the request */
    MOCK_VANISHES,         /* at the GETSTATUS after it */
    MOCK_STALLS_STATUS,
    MOCK_SILENT,          /* GETSTATUS times out */
    MOCK_REFUSES,         /* dfuERROR, errFIRMWARE */
    MOCK_STAYS_IDLE,      /* takes no notice */
    MOCK_WAITS_FOR_RESET, /* dfuMANIFEST-WAIT-RESET */
    MOCK_TOLERANT,        /* dfuMANIFEST, then dfuIDLE */
};

struct mock {
    /* The script. */
    enum mock_leave leave;
    uint32_t poll_ms;       /* bwPollTimeout while busy */
    uint32_t busy_ms;       /* how long it is really busy */
    bool never_ready;       /* stays dfuDNBUSY */
    bool sync_first;        /* textbook DFU: dfuDNLOAD-SYNC, not dfuDNBUSY */
    bool done_at_once;      /* the first GETSTATUS already says dfuDNLOAD-IDLE */
    bool stalls_while_busy; /* GETSTATUS is STALLed then, as the L4's ROM does */
    uint32_t fail_write_at; /* errors: the address of a block that … */
    uint8_t fail_status;    /* … fails so; DFU_OK: none */
    uint32_t short_read_at; /* memory that can be read ends here; 0: at its end */
    uint32_t flips_at;      /* a byte that reads back wrong; 0: none */
    uint32_t unplug_after;  /* transfers until it is unplugged; 0: never */
    bool gives_no_string;
    const char *map; /* the alternate setting's name */

    /* What it is. */
    uint8_t flash[MOCK_SIZE];
    uint8_t state, status;
    uint32_t pointer;
    uint64_t now_ms, ready_ms, gone_ms;
    bool gone, leaving;
    uint8_t job[MOCK_XFER];
    uint16_t job_block, job_size;
    bool executing;

    /* What was done to it. */
    uint32_t transfers, erases[MOCK_PAGES], set_addresses, blocks, resets, aborts, clears, statuses;
    const char *violation; /* the first rule that the host broke */
};

void mock_init(struct mock *mock);
/* What inspection would find. */
void mock_describe(struct device *device);

int mock_transfer(struct mock *mock, const uint8_t setup[8], uint8_t *data);

/* Lets the engine talk to it until it is done; engine->failure. */
enum engine_failure mock_run(struct mock *mock, struct engine *engine);

#endif
