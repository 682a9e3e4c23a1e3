/* SPDX-License-Identifier: MIT */
/* Every control request against a model of its own (requests.h; P6): all of them through core/, a
 * sample through the firmware. */
#include "requests.h"

#include <criterion/criterion.h>

static void expect_none(const struct request_tally *t)
{
    for (unsigned i = 0; i < REQUEST_FAILURES; i++) {
        const struct request_failure *f = &t->failure[i];
        cr_expect_eq(f->count, 0, "in state %d: %02x %02x %04x %04x %04x: %s (%llu like it)",
            (int)f->state, f->request.bmRequestType, f->request.bRequest, f->request.wValue,
            f->request.wIndex, f->request.wLength, f->what, (unsigned long long)f->count);
    }
    cr_expect_eq(t->failures, 0);
}

Test(requests, core_reacts_to_every_request_in_every_state_as_the_standards_say, .timeout = 60)
{
    struct request_tally t = {0};

    requests_in_core(1, &t);
    printf("%llu requests through core/\n", (unsigned long long)t.requests);
    cr_expect_eq(t.requests, 184549376);
    expect_none(&t);
}

static struct request_tally on_board(struct request_order *o)
{
    struct request_tally t = {0};

    o->part = "stm32f103c8";
    requests_on_board(o, &t);
    printf("%llu requests: %llu STALLed, %llu answered with data, %llu taken, %llu not as they "
           "should be, but known; the slowest took %llu µs; seed %llu\n",
        (unsigned long long)t.requests, (unsigned long long)t.stalled,
        (unsigned long long)t.answered, (unsigned long long)t.taken, (unsigned long long)t.excused,
        (unsigned long long)t.slowest_us, (unsigned long long)o->seed);
    expect_none(&t);
    return t;
}

Test(requests, firmware_answers_any_request_in_any_state_as_the_standards_say, .timeout = 120)
{
    struct request_order o = {.seed = 20266, .count = 50000, .wanted_data_only = true};
    struct request_tally t = on_board(&o);

    cr_expect_eq(t.requests, o.count);
    for (unsigned i = DFU_IDLE; i < DFU_STATES; i++)
        cr_expect(t.in_state[i] > o.count / 10 || i == DFU_MANIFEST_WAIT_RESET, "state %u", i);
    cr_expect_gt(t.stalled, o.count / 20);
    cr_expect_gt(t.answered, o.count / 20);
    cr_expect_gt(t.taken, o.count / 20);
    cr_expect_leq(t.slowest_us, 500000, "USB 2.0 §9.2.6.4");
}

/* CLRSTATUS, ABORT, DETACH, SET_CONFIGURATION and others with wLength. */
Test(requests, a_data_stage_that_a_request_does_not_have_is_refused)
{
    on_board(&(struct request_order){.seed = 20268, .count = 2000});
}
