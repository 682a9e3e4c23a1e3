/* SPDX-License-Identifier: MIT */
/*
 * The power fails, and fails again while the board is being put right, twice: a sample on the smallest
 * part (P3). All pairs, and chains on larger parts, are in make torture.
 */
#include "slices.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define U(x) ((unsigned long long)(x))

static void three_cuts(const char *flow, uint64_t first, uint64_t second, uint64_t third)
{
    struct order o = {
        .flow = flow_find(flow),
        .part = "stm32f103c4",
        .seed = 20266,
        .every = {first,  first, first, first, 0},
        .sparse = {second, third    },
        .sample = 512,
        .download = 16
    };
    struct tally t = {0};

    cr_assert(o.flow);
    trial_triples(&o, &t);
    printf(
        "%s, three cuts in a row: %llu, then %llu, then %llu; %llu different flashes: %llu run the "
        "old, %llu the new, %llu DFU, %llu in the page-0 window; %llu powered up, %llu downloads; "
        "%.1f s; seed %llu\n",
        flow, U(t.cuts), U(t.pairs), U(t.triples), U(t.states), U(t.old_runs), U(t.new_runs),
        U(t.dfu), U(t.window), U(t.powered), U(t.downloads), t.seconds, U(o.seed));
    check_failures(&t);
    cr_expect_gt(t.triples, 1000);
}

Test(cuts_in_a_row, three_of_an_update_never_run_a_torn_application, .timeout = 120)
{
    three_cuts("update", 139, 89, 7);
}

Test(cuts_in_a_row, nor_three_of_an_offset_image, .timeout = 120)
{
    three_cuts("offset", 139, 89, 7);
}

Test(cuts_in_a_row, three_of_an_installation_are_never_fatal, .timeout = 120)
{
    three_cuts("install", 1500, 1009, 61);
}
