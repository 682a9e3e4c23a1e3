/* SPDX-License-Identifier: MIT */
/*
 * Every control request, in every DFU state, against request_model.h: the whole of it through
 * core/'s state machine, a dense sample through the compiled firmware on a simulated board. make
 * torture can run both as long as it likes, tests/test_requests.c runs a slice.
 *
 * On the board: it is brought into each state once and copied; for each request the copy is put
 * back, the request made, and then: its answer (STALL, bytes, taken) and its bytes, where they are
 * known, are the model's; GETSTATE and GETSTATUS tell a state that the model allows; no flash
 * operation has begun; no rule of the hardware is broken.
 */
#ifndef TESTS_REQUESTS_H
#define TESTS_REQUESTS_H

#include "dfu_host.h"
#include "request_model.h"

#include <stdio.h>

enum { REQUEST_FAILURES = 24, DFU_STATES = DFU_ERROR + 1 };

struct request_failure {
    enum dfu_state state;
    struct request request;
    char what[100];
    uint64_t count; /* of those with the same state, bmRequestType, bRequest */
};

struct request_tally { /* no pointers: workers hand it over through shared memory */
    uint64_t requests, excused, stalled, answered, taken; /* answered: with data */
    uint64_t in_state[DFU_STATES];
    uint64_t slowest_us; /* until the answer is complete */
    uint64_t failures;
    struct request_failure failure[REQUEST_FAILURES]; /* the first of their kinds */
};

struct request_order {
    const char *part;
    uint64_t seed, count;
    bool wanted_data_only; /* no OUT data stage but DNLOAD's */
    bool (*excused)(
        const struct request *r); /* what is known to be wrong is only counted; NULL: nothing is */
    uint64_t until_s;             /* of time(): stop when it has come; 0: never */
    FILE *log;                    /* failures as they are found; NULL: silent */
};

/* Replay: this request in this state. */
void request_try(const struct request_order *o, enum dfu_state state, const struct request *r,
    struct request_tally *t);
/* count requests, chosen by the seed, spread over the states. False: the time was up before. */
bool requests_on_board(const struct request_order *o, struct request_tally *t);
/* Through core/dfu_state.c: 11 states × 65,536 (bmRequestType, bRequest) × 8 wValue × 4 wIndex ×
 * 8 wLength: 184,549,376; or of those each n-th pair. */
void requests_in_core(uint64_t every, struct request_tally *t);
void request_tally_add(struct request_tally *to, const struct request_tally *from);

#endif
