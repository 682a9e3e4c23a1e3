/* SPDX-License-Identifier: MIT */
/* The bootloader's image at 0x08000000 of a chip moves itself to the end of flash, and no power cut
 * on the way there, nor in the first download, leaves a board that does not enumerate (P3). */
#include "checks.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INSTALL_MS = 400 }; /* it takes less than 300 */

static struct app bootloader(void)
{
    return app_load(BOOTLOADER);
}

/* The stub, then the bootloader proper in the image; the other way round at the end of flash. */
static bool installed(const struct board *b)
{
    struct app image = bootloader();
    uint8_t *dump = flash_dump(b), *stub = dump + (stub_at(b) - FLASH);
    bool there = memcmp(stub, image.data, PAGE) == 0 &&
                 memcmp(stub - (image.size - PAGE), image.data + PAGE, image.size - PAGE) == 0;

    free(dump);
    app_free(&image);
    return there;
}

static void installs_on(const char *part)
{
    struct host h = {.board = new_board(part, 1)};
    struct app image = bootloader();

    board_power(h.board, true);
    usb_plug(h.board);
    cr_assert(host_enumerate(&h), "%s does not enumerate", part);
    cr_expect(installed(h.board), "%s: it does not stand at the end of flash", part);

    uint8_t page0[PAGE];
    board_peek(h.board, FLASH, page0, sizeof page0);
    cr_expect_arr_eq(page0, image.data, PAGE, "%s: page 0 was touched", part);
    cr_expect_eq(board_page_wear(h.board, 0), 0);
    struct work done = work_so_far(h.board);
    /* The stub's page twice: what stood there says nothing from the first moment on. */
    cr_expect_eq(done.erases, taken_by_bootloader(h.board) / board_page_size(h.board) + 1);
    printf("%s: installed with %llu erases, %llu half-words\n", part,
        (unsigned long long)done.erases, (unsigned long long)done.halfwords);
    check_board(h.board);
    board_free(h.board);
    app_free(&image);
}

Test(install, moves_to_the_end_of_64_kb_and_enumerates)
{
    installs_on("stm32f103c8");
}

Test(install, moves_to_the_end_of_128_kb_and_enumerates)
{
    installs_on("stm32f103cb");
}

Test(install, moves_to_the_end_of_16_and_32_kb_and_enumerates)
{
    installs_on("stm32f103c4");
    installs_on("stm32f103c6");
}

Test(install, moves_to_the_end_of_256_to_512_kb_with_2_kb_pages_and_enumerates)
{
    installs_on("stm32f103rc");
    installs_on("stm32f103rd");
    installs_on("stm32f103re");
}

static void is_done_once_on(const char *part)
{
    struct host h = host_on_new_board(part);

    for (unsigned i = 0; i < 3; i++) {
        struct work before = work_so_far(h.board);
        power_cycle(h.board);
        cr_assert(host_enumerate(&h));
        struct work done = work_since(h.board, before);
        cr_expect(done.erases == 0 && done.halfwords == 0, "power-up %u changes flash", i);
    }
}

Test(install, is_done_once)
{
    is_done_once_on("stm32f103c8");
    is_done_once_on("stm32f103c4");
    is_done_once_on("stm32f103re");
}

Test(install, works_without_a_usb_cable)
{
    struct host h = {.board = new_board("stm32f103c8", 1)};

    board_power(h.board, true);
    board_run_for(h.board, BOARD_S);
    cr_expect(installed(h.board));
    usb_plug(h.board);
    cr_expect(host_enumerate(&h));
    check_board(h.board);
}

/* What the flash was used for before must not matter: here a journal that vouches for something. */
static void forgets_a_former_journal_on(const char *part)
{
    struct app app = app_build(4096, 1, 0);
    struct host h = host_with_application(part, &app);
    struct app image = bootloader();

    board_load(h.board, FLASH, image.data, image.size); /* a probe, again */
    memset(image.data, 0, 4);
    board_load(h.board, stub_at(h.board), image.data, 4); /* another stub */
    board_power(h.board, true);
    cr_assert(host_enumerate(&h), "%s: it starts an application that is not there", part);
    cr_expect(installed(h.board));
    check_board(h.board);
}

Test(install, forgets_what_a_former_journal_said)
{
    forgets_a_former_journal_on("stm32f103c8");
    forgets_a_former_journal_on("stm32f103rc");
}

/* A probe that does not erase the whole chip leaves a bootloader that stands there, its journal, and
 * no application: the installer's own page 0. */
static void again_over_an_application_on(const char *part)
{
    struct app app = app_build(4096, 1, 0);
    struct host h = host_with_application(part, &app);
    struct app image = bootloader();

    board_load(h.board, FLASH, image.data, image.size);
    board_power(h.board, true);
    cr_assert(host_enumerate(&h), "%s: no DFU device: pc %08x", part, board_pc(h.board));
    check_board(h.board);
}

Test(install, again_over_an_application_starts_into_dfu)
{
    again_over_an_application_on("stm32f103c8");
    again_over_an_application_on("stm32f103re");
}

Test(install, goes_over_a_flash_full_of_noise)
{
    const char *parts[] = {"stm32f103c8", "stm32f103rc", "stm32f103c4", "stm32f103re"};

    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct board *b = new_board(parts[seed % 4], seed);
        struct app noise = app_build(board_flash_size(b), seed, 0), image = bootloader();
        struct host h = {.board = b};
        board_load(b, FLASH, noise.data, noise.size);
        board_load(b, FLASH, image.data, image.size);
        board_power(b, true);
        usb_plug(b);
        cr_assert(host_enumerate(&h), "seed %llu", (unsigned long long)seed);
        cr_expect(installed(b), "seed %llu", (unsigned long long)seed);
        check_board(b);
        board_free(b);
        app_free(&noise);
    }
}

/* --- power cuts --------------------------------------------------------------------------------- */

struct survey {
    uint64_t dfu, application, window, second_cuts, downloads;
    struct app app;
    uint8_t *finished; /* the whole flash after it */
    uint64_t into_dfu; /* the last decision that was seen to lead there */
};

/* The power fails again while the installation is taken up again. */
static void cut_again(struct explorer *e, struct board *b)
{
    struct survey *s = e->context;

    board_power(b, true);
    board_cut_at(b, 1 + (e->operations * 7919) % 1500, e->torn, e->seed);
    board_run_for(b, INSTALL_MS * BOARD_MS);
    board_cut_at(b, 0, BOARD_TORN_NOT_BEGUN, 0);
    board_power(b, false);
    s->second_cuts++;
}

static void enumerates(struct explorer *e, struct board *b)
{
    struct survey *s = e->context;
    struct host h = {.board = b};

    if (e->checks % 4 == 0)
        cut_again(e, b);
    board_power(b, true);
    for (unsigned ms = 0; ms < INSTALL_MS && board_pc(b) < FLASH + app_room(b); ms += 5)
        board_run_for(b, 5 * BOARD_MS);
    uint8_t *now = flash_dump(b);
    if (memcmp(now, s->finished, board_flash_size(b)) != 0)
        complain(e, b, "it is not what an installed board is");
    free(now);
    s->dfu++;
    if (e->checks % 16 != 0)
        return;
    power_cycle(b);
    if (!host_enumerate(&h))
        complain(e, b, "it does not enumerate");
    if (e->checks % 128 == 0) {
        if (!flash_application(&h, &s->app) || !dfu_leave(&h, 0) || !hears(b, s->app.tag, 1000))
            complain(e, b, "the first application cannot be flashed");
        s->downloads++;
    }
}

/* What the flash holds before: nothing, or the wreck of a former bootloader and its application.
 * Marginal outcomes: make torture. */
static void install_with_cuts(const uint8_t *former, uint64_t seed, const uint64_t every[4])
{
    struct survey s = {.app = app_build(2048, 11, 0)};
    struct host h = {.board = new_board("stm32f103c8", 1)};
    struct explorer e = {.check = enumerates, .context = &s, .seed = seed};
    struct app image = bootloader();

    memcpy(e.every, every, 4 * sizeof *every);
    if (former)
        board_load(h.board, FLASH, former, board_flash_size(h.board));
    board_load(h.board, FLASH, image.data, image.size);
    struct host whole = {.board = board_copy(h.board)};
    board_power(whole.board, true);
    usb_plug(whole.board);
    cr_assert(host_enumerate(&whole));
    s.finished = flash_dump(whole.board);

    board_power(h.board, true);
    usb_plug(h.board);
    explore(&e, &h);
    for (unsigned ms = 0; ms < 400; ms += 20)
        host_sleep(&h, 20 * BOARD_MS);
    explore_end(&e, &h);
    printf("installation%s: %llu operations, %llu cuts, %llu different flashes, %llu with a second "
           "cut, %llu followed by a download; all complete (seed %llu)\n",
        former ? " over a former one" : "", (unsigned long long)e.operations,
        (unsigned long long)e.cuts, (unsigned long long)e.checks, (unsigned long long)s.second_cuts,
        (unsigned long long)s.downloads, (unsigned long long)e.seed);
    cr_expect(installed(h.board));
    cr_expect_gt(e.operations, 1000);
}

Test(install, power_cut_at_any_flash_operation_leaves_a_board_that_enumerates, .timeout = 120)
{
    install_with_cuts(NULL, 20261, (const uint64_t[4]){16, 8, 1, 8});
}

Test(install, power_cut_at_any_flash_operation_over_a_former_installation_does_too, .timeout = 120)
{
    struct app app = app_build(50000, 14, 0);
    struct host h = host_with_application("stm32f103c8", &app);
    uint8_t *former = flash_dump(h.board);

    for (uint32_t at = board_flash_size(h.board) - taken_by_bootloader(h.board) + PAGE;
         at < board_flash_size(h.board); at += 5)
        former[at] ^= 0x24; /* another version */
    install_with_cuts(former, 20263, (const uint64_t[4]){0, 8, 2, 8});
}

/* --- the first download ------------------------------------------------------------------------- */

static void enumerates_or_runs_what_is_complete(struct explorer *e, struct board *b)
{
    struct survey *s = e->context;
    struct host h = {.board = b};

    if (page0_open(b)) {
        s->window++; /* published */
        return;
    }
    if (decision(b) == s->into_dfu && e->checks % 64 != 0) {
        s->dfu++;
        return;
    }
    s->into_dfu = decision(b);
    board_power(b, true);
    if (hears(b, s->app.tag, 8)) {
        uint8_t *now = flash_dump(b);
        if (memcmp(now, s->finished, app_room(b)) != 0)
            complain(e, b, "it runs an application that is not complete");
        free(now);
        s->into_dfu = 0;
        s->application++;
        return;
    }
    if (!host_enumerate(&h))
        complain(e, b, "it does not enumerate");
    s->dfu++;
    if (e->checks % 256 == 0) {
        if (!flash_application(&h, &s->app) || !dfu_leave(&h, 0) || !hears(b, s->app.tag, 1000))
            complain(e, b, "the application cannot be flashed again");
        s->downloads++;
    }
}

Test(install, power_cut_at_any_flash_operation_of_the_first_download_leaves_a_board_that_enumerates,
    .timeout = 120)
{
    struct survey s = {.app = app_build(4500, 12, IMAGE_FILLS_RESERVED_VECTORS)};
    struct host done = host_with_application("stm32f103c8", &s.app),
                h = host_on_new_board("stm32f103c8");
    struct explorer e = {
        .check = enumerates_or_runs_what_is_complete,
        .context = &s,
        .seed = 20262,
        .every = {1, 1, 1, 1}
    };
    struct board_counts n;

    s.finished = flash_dump(done.board);
    explore(&e, &h);
    cr_assert(flash_application(&h, &s.app));
    explore_end(&e, &h);
    board_counts(h.board, &n);
    printf(
        "first download: %llu operations, %llu cuts, %llu different flashes: %llu DFU, %llu run, "
        "%llu in the page-0 window; %llu followed by a download; window: %llu, %.1f ms\n",
        (unsigned long long)e.operations, (unsigned long long)e.cuts, (unsigned long long)e.checks,
        (unsigned long long)s.dfu, (unsigned long long)s.application, (unsigned long long)s.window,
        (unsigned long long)s.downloads, (unsigned long long)n.page0_windows,
        (double)n.page0_open_ns / 1e6);
    cr_expect_leq(n.page0_windows, 1);
    cr_expect_leq(s.window, 9, "the window is longer than the erase and two half-words");
    cr_expect_gt(s.dfu, 1000);
    cr_expect_geq(s.application, 1);
}

static void first_application_on(const char *part)
{
    struct app app = app_build(6000, 3, 0);
    struct host h = host_on_new_board(part);

    cr_assert(flash_application(&h, &app), "%s", part);
    cr_expect_eq(board_page_wear(h.board, 0), 1, "%s", part);
    cr_expect(dfu_leave(&h, 2), "%s", part);
    check_runs(&h, &app, 1000);
    check_dfu(press_reset(&h), &h);
    check_reads(&h, FLASH, app.data, app.size);
    check_board(h.board);
    board_free(h.board);
    app_free(&app);
}

Test(install, the_first_application_erases_page_0_once_runs_and_reads_back_on_every_size)
{
    for (unsigned i = 0; i < ALL_PARTS; i++)
        first_application_on(all_parts[i]);
}

Test(install, the_largest_application_fills_all_that_is_left_on_every_size)
{
    const char *parts[] = {"stm32f103c4", "stm32f103rc", "stm32f103re"};

    for (unsigned i = 0; i < 3; i++) {
        struct host h = host_on_new_board(parts[i]);
        struct app app = app_build(app_room(h.board), 9, IMAGE_FILLS_RESERVED_VECTORS);
        cr_assert(flash_application(&h, &app), "%s", parts[i]);
        check_reads(&h, FLASH, app.data, app.size);
        check_runs_again(&h, &app);
        cr_expect(installed(h.board), "%s", parts[i]);
        check_board(h.board);
        board_free(h.board);
        app_free(&app);
    }
}
