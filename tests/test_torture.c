/* SPDX-License-Identifier: MIT */
/* A slice of the campaign of power cuts (make torture), on the parts with pages of 2 KB above all (P3). */
#include "slices.h"

#include <criterion/criterion.h>

enum { SEED = 20264 };

static void check_window(const char *flow, const struct tally *t)
{
    const struct flow *f = flow_find(flow);

    cr_expect(t->cuts > 500 || f->writes_options);
    cr_expect_eq(t->windows, f->opens_page0 || f->writes_options);
}

static void slice(const char *flow, const char *part, const uint64_t every[BOARD_TORN_KINDS])
{
    struct tally t = check_cuts(flow, part, SEED, every);

    check_window(flow, &t);
}

static void slice_but_the_last(
    const char *flow, const char *part, const uint64_t every[BOARD_TORN_KINDS])
{
    struct tally t = check_cuts_but_the_last(flow, part, SEED, every);

    check_window(flow, &t);
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
    slice_but_the_last("update", "stm32f103rc", marginal);
    slice_but_the_last("install", "stm32f103c8", marginal);
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
