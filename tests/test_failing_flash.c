/* SPDX-License-Identifier: MIT */
/*
 * Flash that fails in one operation of a session: an error flag, nothing done in silence, weak cells,
 * a stuck bit, BSY for long or for ever. The host is never told OK with wrong bytes in flash, nothing
 * hangs, and on good flash the board takes a normal download (P3, P5, P6).
 */
#include "campaign.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define U(x) ((unsigned long long)(x))

/* About each n-th operation of the flow with each fault, different ones for different faults. */
static void each_nth(const char *flow, const char *part, uint64_t nth)
{
    struct order o = {
        .flow = flow_find(flow), .part = part, .seed = 20265, .sample = 64, .download = 8};
    struct tally t = {0};

    cr_assert(o.flow);
    for (unsigned i = 0; i < FAULTS; i++)
        o.every_fault[i] = nth + i;
    trial_faults(&o, &t);
    printf("%s on %s: %llu operations, %llu sessions in which one fails; the host is told OK %llu "
           "times, an error %llu times; then %llu run the old, %llu the new, %llu DFU, %llu in the "
           "page-0 window; %llu downloads; %.1f s; seed %llu\n",
        flow, part, U(t.operations), U(t.faults), U(t.told_ok), U(t.told_error), U(t.old_runs),
        U(t.new_runs), U(t.dfu), U(t.window), U(t.downloads), t.seconds, U(o.seed));
    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        cr_expect_eq(t.failures[i].count, 0, "%llu × %s, first %s", U(t.failures[i].count),
            t.failures[i].what, t.failures[i].replay);
    cr_expect_gt(t.told_error, t.told_ok);
    cr_expect_gt(t.faults, 20);
}

Test(failing_flash, is_never_ok_with_wrong_bytes_in_an_update, .timeout = 120)
{
    each_nth("update", "stm32f103c4", 7);
    each_nth("update", "stm32f103c8", 397);
}

Test(failing_flash, nor_with_pages_of_2_kb, .timeout = 120)
{
    each_nth("first", "stm32f103rc", 499);
    each_nth("mass-first", "stm32f103re", 499);
}

Test(failing_flash, nor_when_data_come_beside_an_application, .timeout = 120)
{
    each_nth("settings", "stm32f103c4", 61);
}

Test(failing_flash, nor_with_an_image_linked_for_another_address, .timeout = 120)
{
    each_nth("offset", "stm32f103c4", 11);
    each_nth("offset-beside", "stm32f103rc", 997);
}

Test(failing_flash, puts_an_installation_off_until_it_is_good_again, .timeout = 120)
{
    each_nth("install", "stm32f103c8", 401);
    each_nth("install-former", "stm32f103rc", 401);
}

Test(failing_flash, is_never_ok_when_a_mass_erase_left_a_page, .timeout = 120)
{
    each_nth("mass-erase", "stm32f103c4", 1);
}
