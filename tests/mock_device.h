/* SPDX-License-Identifier: MIT */
/*
 * A scripted DFU device in virtual time: strict about the standard's states, with the misbehaviour of
 * devices in the field to be switched on, and a record of what a host did that it should not. The
 * personalities are those that field reports tell of.
 */
#ifndef TESTS_MOCK_DEVICE_H
#define TESTS_MOCK_DEVICE_H

#include "host/caboose.h"
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

enum mock_personality {
    MOCK_CABOOSE, /* ours: merges what is written with what is there, and is done when it says dfuDNBUSY */
    MOCK_NAMESAKE, /* says that it is ours, and is not */
    MOCK_USUAL,    /* DfuSe as it should be; announces that it leaves */
    MOCK_TEXTBOOK, /* DFU 1.1 without DfuSe, manifestation tolerant: dfuDNLOAD-SYNC, blocks from 0 */
    MOCK_F4_ROM,   /* gone at once when told to leave; a leave without a GETSTATUS would do */
    MOCK_L4_ROM,   /* names too short a time and STALLs GETSTATUS until it has erased */
    MOCK_H7_ROM,   /* stays dfuDNBUSY after an erase until two CLRSTATUS */
    MOCK_F405_ROM, /* names 100 ms for a mass erase of 20 s, and answers nothing meanwhile */
    MOCK_GD32,     /* vanishes at the GETSTATUS after leave */
    MOCK_SLOW,     /* NAKs GETSTATUS for 6 s while it works */
    MOCK_LIAR,     /* erases twice the sector that its map tells of */
    MOCK_PERSONALITIES
};

struct mock {
    /* The script. */
    bool plain;           /* DFU 1.1: blocks counted from 0, no commands */
    bool stuck_erase;     /* an erase ends only by two CLRSTATUS */
    bool deaf_mass_erase; /* no answer during a mass erase */
    bool rewrites;        /* needs no erases, and programs what differs only */
    bool does_first;      /* executes at the first GETSTATUS, which says dfuDNBUSY all the same */
    const char *name;     /* iProduct; NULL: "mock" */
    uint32_t nak_ms;      /* the GETSTATUS that ends a work is not answered so long */
    uint32_t erase_size;  /* what an erase really erases; 0: nothing */
    uint32_t word;        /* what is programmed at once, and once after an erase; 0: any byte */
    uint32_t fail_nth;    /* this transfer, counted from 1, … */
    int fail_with;        /* … ends so, and does nothing */
    bool protects;        /* memory cannot be read or written before Read Unprotect */
    bool wants_page_0;    /* was torn: leave is refused unless page 0 was written since */
    const char *serial;   /* NULL: "0001" */
    bool comes_back;      /* after it has been gone, when it is looked for */
    enum mock_leave leave;
    uint32_t poll_ms;       /* bwPollTimeout while busy */
    uint32_t busy_ms;       /* how long it is really busy */
    bool never_ready;       /* stays dfuDNBUSY */
    bool sync_first;        /* textbook DFU: dfuDNLOAD-SYNC, not dfuDNBUSY */
    bool done_at_once;      /* the first GETSTATUS already says dfuDNLOAD-IDLE */
    bool stalls_while_busy; /* GETSTATUS is STALLed then, as the L4's ROM does */
    uint32_t fail_write_at; /* errors: the address of a block that … */
    uint8_t fail_status;    /* … fails so; DFU_OK: none */
    const char *reason;     /* iString of any error; NULL: none */
    int reason_result;      /* … but asked for, it ends so; 0: it is told */
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
    bool executing, page_0_written;
    bool programmed[MOCK_SIZE];
    uint8_t kicks; /* CLRSTATUS while it is stuck */
    bool is_stuck;
    uint32_t patience_ms; /* the host's, for the present transfer */

    /* What was done to it. */
    uint32_t left_at; /* the transfer that told it to leave */
    uint32_t transfers, erases[MOCK_PAGES], set_addresses, blocks, resets, aborts, clears, statuses,
        uploads, reasons,  /* how often the reason of an error was asked for */
        changes;           /* bytes that were programmed */
    const char *violation; /* the first rule that the host broke */
};

void mock_init(struct mock *mock);
void mock_init_as(struct mock *mock, enum mock_personality personality);
const char *mock_name(enum mock_personality personality);
/* What inspection would find. */
void mock_describe(struct device *device);

int mock_transfer(struct mock *mock, const uint8_t setup[8], uint8_t *data);

/* Lets the engine talk to it until it is done; engine->failure. */
enum engine_failure mock_run(struct mock *mock, struct engine *engine);

/* The same for a job, until its end; the error. Fails the test if that is not before the deadline. */
enum caboose_error mock_run_job(struct mock *mock, struct caboose_job *job, uint64_t deadline_ms);

/* Plugged in again, as after a reset: what it holds in flash stays. */
void mock_replug(struct mock *mock);

#endif
