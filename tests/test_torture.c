/* SPDX-License-Identifier: MIT */
/* A slice of the campaign of power cuts (make torture), on the parts with pages of 2 KB above all (P3). */
#include "campaign.h"

#include <criterion/criterion.h>

/* Each operation is cut with bits left to chance, some with the other outcomes. */
static void slice_of(
    const char *flow, const char *part, const uint64_t every[BOARD_TORN_KINDS], bool but_the_last)
{
    struct order o = {.flow = flow_find(flow),
        .part = part,
        .seed = 20264,
        .sample = 64,
        .download = 8,
        .but_the_last = but_the_last};
    struct tally t = {0};

    cr_assert(o.flow);
    for (unsigned i = 0; i < BOARD_TORN_KINDS; i++)
        o.every[i] = every[i];
    trial_cuts(&o, &t);
    printf(
        "%s on %s: %llu operations, %llu cuts, %llu different flashes: %llu run the old, %llu the "
        "new, %llu DFU, %llu in the window; %llu powered up, %llu followed by a download; "
        "seed %llu\n",
        flow, part, (unsigned long long)t.operations, (unsigned long long)t.cuts,
        (unsigned long long)t.states, (unsigned long long)t.old_runs,
        (unsigned long long)t.new_runs, (unsigned long long)t.dfu, (unsigned long long)t.window,
        (unsigned long long)t.powered, (unsigned long long)t.downloads, (unsigned long long)o.seed);
    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        cr_expect_eq(t.failures[i].count, 0, "%llu × %s: build/tests/torture %s",
            (unsigned long long)t.failures[i].count, t.failures[i].what, t.failures[i].replay);
    cr_expect(t.cuts > 500 || o.flow->writes_options);
    cr_expect_eq(t.windows, o.flow->opens_page0 || o.flow->writes_options);
}

static void slice(const char *flow, const char *part, const uint64_t every[BOARD_TORN_KINDS])
{
    slice_of(flow, part, every, false);
}

static const uint64_t dense[BOARD_TORN_KINDS] = {16, 12, 1, 14, 0};
static const uint64_t sparse[BOARD_TORN_KINDS] = {16, 12, 3, 14, 12};
static const uint64_t all[BOARD_TORN_KINDS] = {1, 1, 1, 1, 1};
static const uint64_t marginal[BOARD_TORN_KINDS] = {0, 0, 0, 0, 3};

Test(torture, installation_with_2_kb_pages_is_never_fatal, .timeout = 120)
{
    slice("install", "stm32f103rc", dense);
    slice("install-noise", "stm32f103re", dense);
}

Test(torture, update_with_2_kb_pages_never_runs_a_torn_application, .timeout = 120)
{
    slice("update", "stm32f103rc", dense);
    slice("update", "stm32f103re", dense);
}

Test(torture, update_with_2_kb_pages_and_a_full_journal_does_not_either, .timeout = 120)
{
    slice("journal-full", "stm32f103rc", dense);
}

Test(torture, first_download_with_2_kb_pages_does_not_either, .timeout = 120)
{
    slice("first", "stm32f103re", dense);
}

Test(torture, update_of_an_offset_image_never_runs_a_torn_one, .timeout = 120)
{
    slice("offset", "stm32f103rc", sparse);
    slice("offset-first", "stm32f103c8", sparse);
    slice("offset-beside", "stm32f103re", sparse);
}

Test(torture, self_update_leaves_the_old_or_the_new_bootloader, .timeout = 120)
{
    slice("self-update", "stm32f103c8", sparse);
    slice("self-update", "stm32f103rc", sparse);
}

/* The window, in which the part is read-protected: the application runs all the same. */
Test(torture, option_bytes_that_a_cut_left_keep_the_application_running, .timeout = 120)
{
    slice("options", "stm32f103c8", all);
    slice("options", "stm32f103re", all);
}

/* Cells that read otherwise at each power-up: what looks as wanted in the next session is not relied on. */
Test(torture, marginal_cells_that_a_cut_left_are_written_again, .timeout = 120)
{
    slice_of("update", "stm32f103rc", marginal, true);
    slice_of("install", "stm32f103c8", marginal, true);
    slice("self-update", "stm32f103cb", marginal);
}

/* Of a record: it reads as valid, the same image comes again, nothing needs to be written; later it would read
 * as not valid. And of the stub: the installation looks done. */
Test(torture, the_last_half_word_that_a_cut_left_is_written_again, .timeout = 120)
{
    static const uint64_t each[BOARD_TORN_KINDS] = {0, 0, 0, 0, 1};

    slice("settings", "stm32f103c8", each);
    slice("install", "stm32f103c8", each);
}
