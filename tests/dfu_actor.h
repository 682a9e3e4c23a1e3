/* SPDX-License-Identifier: MIT */
/*
 * A scripted DFU device for a stage (usb_stage.h): DfuSe or textbook DFU 1.1, with the misbehaviour of
 * devices in the field to be switched on, and a record of every request that matters, as text: what two
 * programs are compared by.
 */
#ifndef TESTS_DFU_ACTOR_H
#define TESTS_DFU_ACTOR_H

#include "tests/usb_stage.h"

enum {
    ACTOR_ALTS = 4,
    ACTOR_BASE = 0x08000000,
    ACTOR_SIZE = 0x10000,
    ACTOR_OPTIONS = 0x1FFFF800, /* the second memory */
    ACTOR_OPTIONS_SIZE = 0x400,
    ACTOR_NEVER = 0xFF,
};

enum actor_leave {         /* what it does when it is told to leave */
    ACTOR_ANNOUNCES,       /* dfuMANIFEST, and is still there for DETACH and a reset */
    ACTOR_GOES_LATER,      /* dfuMANIFEST, and is gone after it */
    ACTOR_GOES_AT_ONCE,    /* at the request */
    ACTOR_GOES,            /* at the GETSTATUS after it */
    ACTOR_STALLS_STATUS,   /* the GETSTATUS after it */
    ACTOR_SILENT,          /* the GETSTATUS after it times out */
    ACTOR_STALLS_LEAVE,    /* the request itself */
    ACTOR_REFUSES,         /* dfuERROR, errFIRMWARE */
    ACTOR_STAYS_IDLE,      /* dfuIDLE */
    ACTOR_STAYS_BUSY,      /* dfuDNBUSY for ever */
    ACTOR_WAITS_FOR_RESET, /* dfuMANIFEST-WAIT-RESET */
    ACTOR_DNLOAD_IDLE,     /* dfuDNLOAD-IDLE */
};

struct actor {
    /* The script. */
    const char *names[ACTOR_ALTS]; /* iInterface of each alternate setting; "": none */
    unsigned alts;
    const char *serial; /* "": none */
    uint16_t dfu_version, transfer_size, detach_timeout;
    uint8_t attributes, protocol, max_packet;
    bool no_functional;     /* no functional descriptor anywhere */
    bool short_functional;  /* one of 7 bytes */
    bool plain;             /* textbook DFU 1.1: blocks from 0, dfuDNLOAD-SYNC */
    uint32_t plain_size;    /* what a plain device uploads */
    bool runtime;           /* runs its application; DETACH leads to DFU mode (face 1) */
    bool never_returns;     /* … but does not */
    bool stalls_status;     /* GETSTATUS of the running application */
    uint64_t absent_ns;     /* cannot be opened before that time */
    bool absent;            /* is not plugged in at all */
    bool denied;            /* is there, but can never be opened */
    uint32_t poll_ms;       /* bwPollTimeout while busy */
    uint32_t erase_poll_ms; /* the first one of a mass erase, if not 0 */
    unsigned busy;          /* GETSTATUSes that say dfuDNBUSY; ACTOR_NEVER: for ever */
    unsigned stalls_busy;   /* GETSTATUSes after the first that are STALLed, as the L4's ROM does */
    enum actor_leave leave;
    uint32_t fails_at;     /* an erase or a write of this address fails … */
    uint8_t fails_with;    /* … so; 0: none */
    bool stalls_at;        /* … or is STALLed instead */
    bool refuses_commands; /* SET_ADDRESS and ERASE are STALLed */
    bool stalls_detach, stalls_abort, stalls_select;
    bool abort_sticks;  /* ABORT leads to dfuDNLOAD-IDLE */
    bool goes_at_reset; /* of the port */
    bool error_sticks;  /* CLRSTATUS does nothing */
    uint32_t short_at;  /* memory that can be read ends here; 0: at its end */
    bool stalls_upload;
    unsigned gone_after;   /* so many DFU requests; 0: never */
    uint8_t state, status; /* at the beginning */

    /* What it is. */
    uint8_t flash[ACTOR_SIZE], options[ACTOR_OPTIONS_SIZE];
    uint32_t pointer, plain_at;
    uint64_t now_ns;
    unsigned left_busy, left_stalls, requests;
    uint8_t job_status;
    bool job, leaving, mass, gone, dfu_face, detached;

    /* What was done to it. */
    char log[1 << 20];
    size_t log_used;
    unsigned statuses;
};

/* A DfuSe device with 50 writable pages of 1 KB and 14 that are read-only, one alternate setting. */
void actor_init(struct actor *a);
/* The player that is this actor; call when the script is written. */
void actor_player(struct actor *a, struct stage_player *player);

#endif
