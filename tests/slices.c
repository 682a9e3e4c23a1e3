/* SPDX-License-Identifier: MIT */
#include "slices.h"

#include <criterion/criterion.h>
#include <string.h>

#define U(x) ((unsigned long long)(x))

static struct order order_of(const char *flow, const char *part, uint64_t seed)
{
    struct order o = {
        .flow = flow_find(flow), .part = part, .seed = seed, .sample = 64, .download = 8};

    cr_assert(o.flow, "%s is no flow", flow);
    return o;
}

void check_failures(const struct tally *t)
{
    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        cr_expect_eq(t->failures[i].count, 0, "%llu × %s: build/tests/torture %s",
            U(t->failures[i].count), t->failures[i].what, t->failures[i].replay);
}

static struct tally cuts(struct order o, const uint64_t every[BOARD_TORN_KINDS])
{
    struct tally t = {0};

    memcpy(o.every, every, sizeof o.every);
    trial_cuts(&o, &t);
    printf("%s on %s: %llu operations, %llu cuts, %llu different flashes: %llu run the old, %llu "
           "the new, %llu DFU, %llu in the window; %llu powered up, %llu followed by a download; "
           "%.1f s; seed %llu\n",
        o.flow->name, o.part, U(t.operations), U(t.cuts), U(t.states), U(t.old_runs), U(t.new_runs),
        U(t.dfu), U(t.window), U(t.powered), U(t.downloads), t.seconds, U(o.seed));
    check_failures(&t);
    return t;
}

struct tally check_cuts(
    const char *flow, const char *part, uint64_t seed, const uint64_t every[BOARD_TORN_KINDS])
{
    return cuts(order_of(flow, part, seed), every);
}

struct tally check_cuts_but_the_last(
    const char *flow, const char *part, uint64_t seed, const uint64_t every[BOARD_TORN_KINDS])
{
    struct order o = order_of(flow, part, seed);

    o.but_the_last = true;
    return cuts(o, every);
}

struct tally check_faults(const char *flow, const char *part, uint64_t seed, uint64_t nth)
{
    struct order o = order_of(flow, part, seed);
    struct tally t = {0};

    for (unsigned i = 0; i < FAULTS; i++)
        o.every_fault[i] = nth + i;
    trial_faults(&o, &t);
    printf("%s on %s: %llu operations, %llu sessions in which one fails; the host is told OK %llu "
           "times, an error %llu times; then %llu run the old, %llu the new, %llu DFU, %llu in the "
           "page-0 window; %llu downloads; %.1f s; seed %llu\n",
        o.flow->name, o.part, U(t.operations), U(t.faults), U(t.told_ok), U(t.told_error),
        U(t.old_runs), U(t.new_runs), U(t.dfu), U(t.window), U(t.downloads), t.seconds, U(o.seed));
    check_failures(&t);
    cr_expect_gt(t.told_error, t.told_ok);
    return t;
}
