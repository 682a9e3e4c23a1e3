/* SPDX-License-Identifier: MIT */
/* An application comes over DFU, runs as if from reset, is replaced by another, and is never torn
 * (P1, P2, P3, P8). */
#include "checks.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PART "stm32f103c8"
/* --- an application comes, and runs ------------------------------------------------------------- */

Test(update, application_runs_after_leave)
{
    const uint16_t wValues[] = {2, 0, 7, 0xFFFF}; /* each tool has its own */

    for (unsigned i = 0; i < 4; i++) {
        struct app app = app_build(5000 + i, i, 0);
        struct host h = host_on_new_board(PART);
        check_dfu(flash_application(&h, &app), &h);
        check_dfu(dfu_leave(&h, wValues[i]), &h);
        cr_expect(hears(h.board, app.tag, 1000), "wValue %u", wValues[i]);
        cr_expect(flash_holds(h.board, &app));
        check_board(h.board);
    }
}

Test(update, application_runs_after_leave_with_set_address_before_it)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = host_on_new_board(PART);

    check_dfu(flash_application(&h, &app), &h);
    check_dfu(dfu_set_address(&h, FLASH), &h);
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, app.tag, 1000));
}

Test(update, application_runs_after_a_power_cycle_without_leave)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = host_on_new_board(PART);

    check_dfu(flash_application(&h, &app), &h);
    power_cycle(h.board);
    cr_expect(hears(h.board, app.tag, 20));
    check_board(h.board);
}

Test(update, application_runs_after_each_power_cycle)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = host_with_application(PART, &app);

    for (unsigned i = 0; i < 5; i++) {
        struct work before = work_so_far(h.board);
        power_cycle(h.board);
        cr_expect(hears(h.board, app.tag, 20), "power-up %u", i);
        struct work done = work_since(h.board, before);
        cr_expect(done.erases == 0 && done.halfwords == 0);
    }
}

/* dfu-util -R: DETACH, then libusb_reset_device(), which wants the same device behind the bus reset; a
 * board that is gone by then makes dfu-util 0.11 exit with 251. */
Test(update, application_runs_after_detach_and_bus_reset)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = host_on_new_board(PART);

    check_dfu(flash_application(&h, &app), &h);
    cr_expect_geq(dfu_detach(&h), 0);
    uint64_t begun = board_now(h.board);
    cr_expect_eq(usb_reset_device(h.board), 0, "the host finds another device, or none");
    cr_expect(hears(h.board, app.tag, 700), "%s", heard());
    cr_expect_lt(board_now(h.board) - begun, 500 * BOARD_MS);
    check_board(h.board);
}

Test(update, application_runs_after_leave_then_detach_and_bus_reset)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = host_on_new_board(PART);

    check_dfu(flash_application(&h, &app), &h);
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect_geq(dfu_detach(&h), 0, "DETACH is refused");
    cr_expect_eq(usb_reset_device(h.board), 0);
    cr_expect(hears(h.board, app.tag, 700));
}

Test(update, leave_answers_for_250_to_500_ms)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = host_on_new_board(PART);

    check_dfu(flash_application(&h, &app), &h);
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(h.last.poll_ms <= 20, "poll %u", h.last.poll_ms);
    uint64_t begun = board_now(h.board);
    while (dfu_getstatus(&h).result > 0) {
        cr_assert_eq(h.last.state, DFU_MANIFEST);
        host_sleep(&h, 5 * BOARD_MS);
    }
    uint64_t stayed = (board_now(h.board) - begun) / BOARD_MS;
    printf("after leave it stays on the bus for %llu ms\n", (unsigned long long)stayed);
    cr_expect(stayed >= 250 && stayed <= 510, "%llu ms", (unsigned long long)stayed);
    cr_expect(hears(h.board, app.tag, 100));
}

/* "leave for the application, if there is one" */
Test(update, detach_without_an_application_comes_back)
{
    struct host h = host_on_new_board(PART);

    dfu_detach(&h);
    host_sleep(&h, BOARD_S);
    cr_expect(host_enumerate(&h), "it is gone");
    check_dfu(dfu_open(&h), &h);
}

Test(update, leave_without_an_application_is_an_error_and_stays)
{
    struct host h = host_on_new_board(PART);

    cr_expect_not(dfu_leave(&h, 2));
    cr_expect_eq(h.last.state, DFU_ERROR);
    cr_expect_eq(h.last.status, DFU_ERR_FIRMWARE);
    host_sleep(&h, BOARD_S);
    cr_expect_geq(dfu_clrstatus(&h), 0, "it is gone");
    dfu_getstatus(&h);
    cr_expect(h.last.state == DFU_IDLE && h.last.status == DFU_OK);
}

/* --- which reset leads where -------------------------------------------------------------------- */

Test(update, reset_button_returns_to_dfu)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = running(PART, &app);

    for (unsigned i = 0; i < 3; i++) { /* the button again while in DFU: still DFU */
        board_press_reset(h.board, RESET_HOLD);
        cr_expect(host_enumerate(&h), "press %u", i);
    }
    power_cycle(h.board);
    cr_expect(hears(h.board, app.tag, 20), "a power cycle runs it again");
    check_board(h.board);
}

Test(update, software_and_watchdog_resets_start_the_application)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = running(PART, &app);

    cr_expect(app_obeys(&h, &app, 'R'), "software reset");
    cr_expect(app_obeys(&h, &app, 'R'), "software reset again");
    cr_expect(app_obeys(&h, &app, 'W'), "watchdog");
    cr_expect(app_obeys(&h, &app, 'R'), "software reset after the watchdog's");
    struct board_counts n;
    board_counts(h.board, &n);
    cr_expect_eq(n.watchdog_resets, 1);
    check_board(h.board);
}

Test(update, reset_cause_is_handed_over_in_r0)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = running(PART, &app);

    check_causes(&h, &app);
    cr_assert(app_obeys(&h, &app, 'R'));
    check_cause(&h, CAUSE_SOFTWARE); /* and not the watchdog's: flags accumulate */
    check_dfu(press_reset(&h), &h);
    check_dfu(dfu_leave(&h, 0), &h);
    cr_assert(hears(h.board, app.tag, 1000));
    check_cause(&h, CAUSE_SOFTWARE);
}

static void request_enters_dfu_once(char order)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = running(PART, &app);

    board_uart_send(h.board, 1, (uint8_t)order);
    cr_expect_not(hears(h.board, app.tag, 50));
    cr_assert(host_enumerate(&h), "'%c' is no request", order);
    check_dfu(dfu_leave(&h, 0), &h);
    cr_expect(hears(h.board, app.tag, 1000), "'%c' was not for once", order);
    cr_expect(app_obeys(&h, &app, 'R'));
    check_board(h.board);
}

Test(update, request_in_bkp_dr10_enters_dfu_once)
{
    request_enters_dfu_once('T');
}
Test(update, request_in_bkp_dr1_enters_dfu_once)
{
    request_enters_dfu_once('1');
}

/* --- as from reset ------------------------------------------------------------------------------ */

/* The whole RAM from the moment before the processor runs to the application's first instruction. */
static void check_launch_keeps_ram(struct board *b, const char *what)
{
    uint32_t size = board_ram_size(b);
    uint8_t *before = malloc(size), *after = malloc(size);

    board_peek(b, RAM, before, size);
    cr_assert_eq(
        board_run_for(b, 100 * BOARD_MS), BOARD_BREAK, "%s: no BKPT; pc %08x", what, board_pc(b));
    board_peek(b, RAM, after, size);
    cr_expect_eq(board_pc(b) & ~1U, APP_ENTRY & ~1U, "%s: pc %08x", what, board_pc(b));
    cr_expect_arr_eq(before, after, size, "%s: RAM is not what it was", what);
    free(before);
    free(after);
}

Test(update, starting_the_application_touches_no_byte_of_ram)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct app app = app_build(3000, seed, IMAGE_BREAKS);
        struct host h = host_with_application(PART, &app);
        board_power(h.board, true);
        check_launch_keeps_ram(h.board, "power-up");
        board_free(h.board);
        app_free(&app);
    }
}

/* --- read-back ---------------------------------------------------------------------------------- */

static void reads_back(struct host *h, const struct app *app, unsigned block)
{
    uint8_t *back = calloc(1, app->size);

    check_dfu(dfu_read(h, FLASH, back, app->size, block), h);
    cr_expect_arr_eq(back, app->data, app->size, "in blocks of %u it differs", block);
    free(back);
}

Test(update, read_back_equals_the_file)
{
    for (unsigned kind = 0; kind <= IMAGE_FILLS_RESERVED_VECTORS; kind++) {
        struct app app = app_build(7001, 5 + kind, kind);
        struct host h = host_on_new_board(PART);
        check_dfu(flash_application(&h, &app), &h);
        check_reads(&h, FLASH, app.data, app.size); /* in the same session */
        power_cycle(h.board);
        cr_assert(hears(h.board, app.tag, 20));
        check_dfu(press_reset(&h), &h);
        const unsigned blocks[] = {XFER, 512, 64, 100, 1, 3, 5};
        for (unsigned i = 0; i < 7; i++)
            if (blocks[i] > 5)
                reads_back(&h, &app, blocks[i]);
        uint8_t vectors[64];
        for (unsigned i = 4; i < 7; i++) {
            check_dfu(dfu_read(&h, FLASH, vectors, sizeof vectors, blocks[i]), &h);
            cr_expect_arr_eq(vectors, app.data, sizeof vectors);
        }
        power_cycle(h.board);
        cr_expect(hears(h.board, app.tag, 20), "reading changed something");
        check_board(h.board);
    }
}

Test(update, read_back_before_abort_is_what_was_written_so_far)
{
    struct app app = app_build(4096, 5, 0);
    struct host h = host_on_new_board(PART);
    uint8_t blank[PAGE];

    memset(blank, 0xFF, sizeof blank);
    check_dfu(dfu_open(&h), &h);
    check_dfu(dfu_erase(&h, FLASH) && dfu_erase(&h, FLASH + PAGE), &h);
    check_dfu(dfu_write(&h, FLASH, app.data, PAGE), &h);
    check_reads(&h, FLASH, app.data, PAGE);
    check_reads(&h, FLASH + PAGE, blank, PAGE); /* erased: blank in the host's eyes */
}

Test(update, largest_image_fills_all_that_the_memory_map_offers)
{
    const char *parts[] = {"stm32f103c8", "stm32f103cb"};

    for (unsigned i = 0; i < 2; i++) {
        struct host h = host_on_new_board(parts[i]);
        struct app app = app_build(app_room(h.board), 9, IMAGE_FILLS_RESERVED_VECTORS);
        check_dfu(flash_application(&h, &app), &h);
        check_reads(&h, FLASH, app.data, app.size);
        check_leaves(&h, &app);
        check_board(h.board);
    }
}

Test(update, image_that_lacks_a_page_in_the_middle_is_read_back_with_0xff_there)
{
    struct app app = app_build(4 * PAGE, 9, 0), old = app_build(4 * PAGE, 8, 0);
    struct host h = running(PART, &old);

    check_dfu(press_reset(&h), &h);
    check_dfu(dfu_open(&h), &h);
    for (uint32_t page = 0; page < 4; page++)
        check_dfu(dfu_erase(&h, FLASH + page * PAGE), &h);
    for (uint32_t page = 0; page < 4; page++)
        if (page != 2)
            check_dfu(dfu_write(&h, FLASH + page * PAGE, app.data + page * PAGE, PAGE), &h);
    memset(app.data + 2 * PAGE, 0xFF, PAGE);
    check_reads(&h, FLASH, app.data, app.size);
    check_leaves(&h, &app);
}

/* --- again, and differently --------------------------------------------------------------------- */

static struct host in_dfu_with(const struct app *app)
{
    return host_in_dfu(PART, app, BOARD_TYPICAL);
}

Test(update, another_application_replaces_the_first)
{
    const size_t sizes[] = {8192, 3333, 12000, 1024, 1025};
    struct app app = app_build(5000, 100, 0);
    struct host h = in_dfu_with(&app);

    for (unsigned i = 0; i < 5; i++) {
        struct app next = app_build(sizes[i], 101 + i, i & 1);
        check_dfu(flash_application(&h, &next), &h);
        check_dfu(dfu_leave(&h, 2), &h);
        cr_expect(hears(h.board, next.tag, 1000), "%zu bytes", sizes[i]);
        cr_expect(flash_holds(h.board, &next));
        check_dfu(press_reset(&h), &h);
        check_reads(&h, FLASH, next.data, next.size);
    }
    check_board(h.board);
}

/* What a record takes, at most: the former one zeroed, a half-word of it twice, the stub's last one with it, and the
 * new one. */
enum { RECORD = 10 };

Test(update, identical_application_costs_no_erase_and_nothing_but_its_record)
{
    for (unsigned kind = 0; kind <= IMAGE_FILLS_RESERVED_VECTORS; kind++) {
        struct app app = app_build(9001, 3 + kind, kind);
        struct host h = in_dfu_with(&app);
        struct work before = work_so_far(h.board);
        check_dfu(flash_application(&h, &app), &h);
        check_reads(&h, FLASH, app.data, app.size);
        check_dfu(dfu_leave(&h, 2), &h);
        cr_expect(hears(h.board, app.tag, 1000));
        struct work done = work_since(h.board, before);
        printf("identical re-flash of %zu bytes: %llu erases, %llu half-words\n", app.size,
            (unsigned long long)done.erases, (unsigned long long)done.halfwords);
        cr_expect_eq(done.erases, 0);
        cr_expect_leq(
            done.halfwords, RECORD, "it is written anew once: a cut may have weakened it");
    }
}

Test(update, identical_application_in_counted_blocks_costs_no_more)
{
    struct app app = app_build(9001, 3, 0);
    struct host h = in_dfu_with(&app);
    struct work before = work_so_far(h.board);

    check_dfu(dfu_open(&h), &h);
    check_dfu(dfu_download_counting(&h, FLASH, app.data, app.size), &h);
    check_dfu(dfu_leave(&h, 0), &h);
    cr_expect(hears(h.board, app.tag, 1000));
    struct work done = work_since(h.board, before);
    cr_expect(done.erases == 0 && done.halfwords <= RECORD, "%llu erases, %llu half-words",
        (unsigned long long)done.erases, (unsigned long long)done.halfwords);
}

Test(update, one_changed_page_costs_one_erase_and_leaves_page_0_closed)
{
    struct app app = app_build(16384, 3, 0);
    struct host h = in_dfu_with(&app);
    struct work before = work_so_far(h.board);
    struct board_counts n0, n1;

    board_counts(h.board, &n0);
    app.data[9 * PAGE + 17] ^= 0x55;
    check_dfu(flash_application(&h, &app), &h);
    struct work done = work_since(h.board, before);
    board_counts(h.board, &n1);
    cr_expect_eq(done.erases, 1);
    cr_expect_leq(done.halfwords, PAGE / 2 + RECORD);
    cr_expect_eq(n1.page0_windows, n0.page0_windows, "page 0 was opened");
    check_runs_again(&h, &app);
}

Test(update, changed_settings_page_keeps_the_application)
{
    struct app app = app_build(5000, 3, 0);
    uint8_t settings[PAGE];

    for (unsigned erased = 0; erased < 2; erased++) {
        struct host h = in_dfu_with(&app);
        for (unsigned round = 0; round < 3; round++) {
            memset(settings, (int)(0x11 * round + 1), sizeof settings);
            check_dfu(dfu_open(&h), &h);
            if (erased)
                check_dfu(dfu_erase(&h, FLASH + 40 * PAGE), &h);
            check_dfu(dfu_write(&h, FLASH + 40 * PAGE, settings, sizeof settings), &h);
            check_dfu(dfu_to_idle(&h), &h);
            power_cycle(h.board);
            cr_assert(hears(h.board, app.tag, 20), "round %u: the application is lost", round);
            cr_expect(flash_holds(h.board, &app));
            check_dfu(press_reset(&h), &h);
            check_reads(&h, FLASH, app.data, app.size);
            check_reads(&h, FLASH + 40 * PAGE, settings, PAGE);
        }
        check_board(h.board);
    }
}

Test(update, application_survives_a_session_that_only_reads)
{
    struct app app = app_build(5000, 3, 0);
    struct host h = in_dfu_with(&app);
    struct work before = work_so_far(h.board);

    check_reads(&h, FLASH, app.data, app.size);
    check_dfu(dfu_to_idle(&h), &h);
    power_cycle(h.board);
    cr_expect(hears(h.board, app.tag, 20));
    struct work done = work_since(h.board, before);
    cr_expect(done.erases == 0 && done.halfwords == 0);
}

/* The journal takes a record for each update; when it is full its page is erased. */
Test(update, hundreds_of_updates_in_a_row_all_take)
{
    struct app app[2] = {app_build(600, 1, 0), app_build(600, 2, 0)};
    struct host h = host_on_new_board(PART);

    for (unsigned i = 0; i < 300; i++) {
        check_dfu(flash_application(&h, &app[i & 1]), &h);
        if (i % 16 == 0 || (i > 120 && i < 136)) {
            power_cycle(h.board);
            cr_assert(hears(h.board, app[i & 1].tag, 20), "update %u", i);
            check_dfu(press_reset(&h), &h);
        }
    }
    unsigned journal = app_room(h.board) / PAGE;
    printf("300 updates: journal erased %u times, page 0 %u times\n",
        board_page_wear(h.board, journal), board_page_wear(h.board, 0));
    cr_expect_leq(board_page_wear(h.board, journal), 1 + 3);
    check_board(h.board);
}

/* --- examples as a user builds them ------------------------------------------------------------- */

Test(update, examples_run_and_read_back)
{
    const char *paths[] = {"build/examples/blinky.bin", "build/examples/blinky-2.bin",
        "build/examples/vectors.bin", "build/examples/usbdev.bin", "build/examples/large.bin",
        "build/examples/hsi.bin"};
    struct host h = host_on_new_board(PART);

    for (unsigned i = 0; i < 6; i++) {
        struct app app = app_load(paths[i]);
        cr_assert_gt(app.size, 0, "%s is missing: make examples", paths[i]);
        check_dfu(flash_application(&h, &app), &h);
        check_dfu(dfu_leave(&h, 2), &h);
        cr_expect(hears(h.board, "\n", 3000), "%s says nothing", paths[i]);
        printf("%-28s %6zu bytes: %s", paths[i], app.size, heard());
        cr_expect(flash_holds(h.board, &app));
        check_dfu(press_reset(&h), &h);
        check_reads(&h, FLASH, app.data, app.size);
        check_board(h.board);
        app_free(&app);
    }
}

/* --- never torn --------------------------------------------------------------------------------- */

struct survey {
    const struct app *old, *new;
    uint8_t *old_flash, *new_flash; /* the whole flash before and after */
    uint64_t old_runs, new_runs, dfu, window, tried, downloads;
    struct { /* what decisions are known to lead to */
        uint64_t key;
        const struct app *runs; /* NULL: DFU */
    } known[256];
    unsigned known_count;
};

/* Powers it up and sees: an application, or DFU. */
static const struct app *try_it(struct explorer *e, struct board *b)
{
    struct survey *s = e->context;
    struct host h = {.board = b};
    const struct app *app = NULL;

    s->tried++;
    board_power(b, true);
    if (hears(b, s->old->tag, 8))
        app = s->old;
    else if (strstr(heard(), s->new->tag))
        app = s->new;
    else if (!host_enumerate(&h))
        complain(e, b, "it neither runs nor enumerates");
    if (s->tried % 16 == 0) {
        board_press_reset(b, BOARD_MS);
        if (!host_enumerate(&h) || !flash_application(&h, s->new) || !dfu_leave(&h, 0) ||
            !hears(b, s->new->tag, 1000) || !flash_holds(b, s->new))
            complain(e, b, "a normal download does not help");
        s->downloads++;
    }
    return app;
}

static void runs_old_or_new_or_enumerates(struct explorer *e, struct board *b)
{
    struct survey *s = e->context;
    const struct app *runs = NULL;
    unsigned i = 0;

    if (page0_open(b)) {
        s->window++;
        return;
    }
    uint64_t key = decision(b);
    uint8_t *flash = flash_dump(b);
    while (i < s->known_count && s->known[i].key != key)
        i++;
    if (i == s->known_count || e->checks % 48 == 0)
        runs = try_it(e, b);
    else
        runs = s->known[i].runs;
    if (i == s->known_count && i < 256) {
        s->known[i].key = key;
        s->known[i].runs = runs;
        s->known_count++;
    }
    if (runs) { /* two with one tag are told from flash alone */
        bool was = memcmp(flash, s->old_flash, app_room(b)) == 0;
        bool is = memcmp(flash, s->new_flash, app_room(b)) == 0;
        bool alike = memcmp(s->old->tag, s->new->tag, 4) == 0;
        if (!(was && (alike || runs == s->old)) && !(is && (alike || runs == s->new)))
            complain(e, b, "it runs an application that is not complete");
        *(was ? &s->old_runs : &s->new_runs) += 1;
    } else {
        s->dfu++;
    }
    free(flash);
}

/* journal: records that were there before, all void. */
static void update_with_cuts(
    const struct app *old, const struct app *new, bool leave, unsigned journal, uint64_t seed)
{
    struct host h = in_dfu_with(old);
    if (journal) {
        board_power(h.board, false);
        journal_use(h.board, journal);
        board_power(h.board, true);
        cr_assert(hears(h.board, old->tag, 20), "the record was moved");
        check_dfu(press_reset(&h), &h);
    }
    struct survey s = {.old = old, .new = new, .old_flash = flash_dump(h.board)};
    struct board *dry = board_copy(h.board);
    struct host rehearsal = {.board = dry};
    check_dfu(flash_application(&rehearsal, new), &rehearsal);
    s.new_flash = flash_dump(dry);

    struct explorer e = {
        .check = runs_old_or_new_or_enumerates, .context = &s, .seed = seed, .every = {1, 1, 1, 1}
    };
    struct board_counts before, after;
    board_counts(h.board, &before);
    explore(&e, &h);
    check_dfu(flash_application(&h, new), &h);
    if (leave)
        check_dfu(dfu_leave(&h, 2), &h);
    explore_end(&e, &h);
    board_counts(h.board, &after);
    printf(
        "update of %zu bytes over %zu: %llu operations, %llu cuts, %llu different flashes: %llu "
        "run "
        "the old, %llu the new, %llu DFU, %llu in the page-0 window; %llu powered up (%u different "
        "decisions), %llu followed by a download; window: %llu, %.2f ms; seed %llu\n",
        new->size, old->size, (unsigned long long)e.operations, (unsigned long long)e.cuts,
        (unsigned long long)e.checks, (unsigned long long)s.old_runs,
        (unsigned long long)s.new_runs, (unsigned long long)s.dfu, (unsigned long long)s.window,
        (unsigned long long)s.tried, s.known_count, (unsigned long long)s.downloads,
        (unsigned long long)(after.page0_windows - before.page0_windows),
        (double)(after.page0_open_ns - before.page0_open_ns) / 1e6, (unsigned long long)seed);
    bool opens = memcmp(old->data, new->data, PAGE) != 0;
    cr_expect_eq(after.page0_windows - before.page0_windows, opens);
    cr_expect_leq(s.window, opens ? 10 : 0, "more than an erase and two half-words");
    cr_expect_geq(s.old_runs, 1);
    cr_expect_geq(s.new_runs, 1);
    cr_expect_gt(s.dfu, 100);
    check_board(h.board);
}

Test(update, power_cut_at_any_flash_operation_never_runs_a_torn_application, .timeout = 120)
{
    struct app old = app_build(8192, 21, 0), new = app_build(8192, 22, 0);

    update_with_cuts(&old, &new, false, 0, 31);
}

Test(update, power_cut_never_runs_a_torn_application_of_another_size_with_leave, .timeout = 120)
{
    struct app old = app_build(6001, 23, IMAGE_FILLS_RESERVED_VECTORS),
               new = app_build(2999, 24, 0);

    update_with_cuts(&old, &new, true, 3, 32);
}

Test(update, power_cut_while_the_journal_is_full_never_runs_a_torn_application, .timeout = 120)
{
    struct app old = app_build(2048, 25, 0), new = app_build(2048, 26, 0);

    update_with_cuts(&old, &new, false, 127, 33);
}

/* Only the middle differs: page 0 stays closed, and so no cut is fatal. */
Test(update, power_cut_is_never_fatal_while_page_0_is_unchanged, .timeout = 120)
{
    struct app old = app_build(4096, 27, 0), new = app_build(4096, 27, 0);

    for (unsigned i = 0; i < 1500; i++)
        new.data[1500 + i] ^= 0x5A;
    update_with_cuts(&old, &new, false, 0, 34);
}

/* --- stopped half-way --------------------------------------------------------------------------- */

static uint64_t transfers_of(const struct app *old, const struct app *new)
{
    struct host h = in_dfu_with(old);
    uint64_t before = h.transfers;

    check_dfu(flash_application(&h, new), &h);
    board_free(h.board);
    return h.transfers - before;
}

/* After power-up: the complete old application where nothing was changed, else DFU, and then a
 * download as usual. */
static void check_not_torn(struct host *h, const struct app *old, const struct app *new,
    const uint8_t *old_flash, uint64_t stopped_at, const char *how, bool may_be_whole)
{
    power_cycle(h->board);
    if (hears(h->board, old->tag, 20)) {
        uint8_t *now = flash_dump(h->board);
        cr_expect(memcmp(now, old_flash, app_room(h->board)) == 0,
            "%s after transfer %llu: the old application runs and is not complete", how,
            (unsigned long long)stopped_at);
        free(now);
        board_press_reset(h->board, RESET_HOLD);
    }
    if (strstr(heard(), new->tag)) { /* only the last word's answer was lost */
        cr_expect(may_be_whole && flash_holds(h->board, new),
            "%s after transfer %llu: half of the new one runs", how,
            (unsigned long long)stopped_at);
        return;
    }
    cr_assert(host_enumerate(h), "%s after transfer %llu: neither old nor DFU", how,
        (unsigned long long)stopped_at);
    check_dfu(flash_application(h, new), h);
    check_dfu(dfu_leave(h, 2), h);
    cr_expect(hears(h->board, new->tag, 1000));
    cr_expect(flash_holds(h->board, new));
}

enum how_it_stops { KILLED, KILLED_AND_SECOND, UNPLUGGED, UNPLUGGED_AND_BACK, POWER_CUT };

static void stop_at_20_points(enum how_it_stops how, const char *name, size_t size, unsigned points)
{
    struct app old = app_build(size, 41, 0), new = app_build(size, 42, 0);
    struct host base = in_dfu_with(&old);
    uint8_t *old_flash = flash_dump(base.board);
    uint64_t all = transfers_of(&old, &new);

    for (unsigned i = 0; i < points; i++) {
        struct host h = {.board = board_copy(base.board)};
        /* The last two are ABORT, GETSTATUS: with the ABORT the download is finished. */
        uint64_t stop = 1 + (all - 3) * i / (points - 1);
        h.give_up_after = stop;
        cr_assert_not(flash_application(&h, &new));
        h.give_up_after = 0;
        if (how == UNPLUGGED || how == UNPLUGGED_AND_BACK) {
            usb_unplug(h.board);
            board_run_for(h.board, 1200 * BOARD_MS);
        }
        if (how == UNPLUGGED_AND_BACK) {
            usb_plug(h.board);
            cr_assert(host_enumerate(&h));
        }
        if (how == KILLED_AND_SECOND || how == UNPLUGGED_AND_BACK) {
            check_dfu(dfu_open(&h), &h);
            check_dfu(dfu_to_idle(&h), &h);
            check_dfu(dfu_open(&h), &h);
            check_dfu(dfu_to_idle(&h), &h);
        }
        if (how == KILLED)
            board_run_for(h.board, 1200 * BOARD_MS);
        usb_plug(h.board);
        check_not_torn(&h, &old, &new, old_flash, stop, name, false);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(update, killed_download_never_runs)
{
    stop_at_20_points(KILLED, "killed", 6000, 20);
}

Test(update, killed_download_is_not_finished_by_the_next_session)
{
    stop_at_20_points(KILLED_AND_SECOND, "killed, then a second dfu-util", 6000, 20);
}

Test(update, unplugged_download_never_runs)
{
    stop_at_20_points(UNPLUGGED, "unplugged", 6000, 20);
}

Test(update, unplugged_download_is_not_finished_by_plugging_in_again)
{
    stop_at_20_points(UNPLUGGED_AND_BACK, "unplugged and back", 6000, 20);
}

Test(update, power_cut_between_transfers_never_runs_a_torn_one)
{
    stop_at_20_points(POWER_CUT, "power cut", 6000, 20);
}

/* A session that writes something else must not vouch for what a torn one left. */
Test(update, settings_page_does_not_make_a_torn_application_valid)
{
    struct app old = app_build(6000, 41, 0), new = app_build(6000, 42, 0);
    struct host base = in_dfu_with(&old);
    uint64_t all = transfers_of(&old, &new);
    uint8_t settings[PAGE] = {1, 2, 3}, *old_flash = flash_dump(base.board);

    for (unsigned i = 0; i < 40; i++) {
        struct host h = {.board = board_copy(base.board)};
        h.give_up_after = 1 + (all - 3) * (i / 2) / 19;
        flash_application(&h, &new);
        h.give_up_after = 0;
        if (i & 1) {
            power_cycle(h.board);
            if (hears(h.board, old.tag, 20))
                board_press_reset(h.board, RESET_HOLD);
            cr_assert(host_enumerate(&h));
        }
        check_dfu(dfu_open(&h), &h);
        check_dfu(dfu_erase(&h, FLASH + 40 * PAGE), &h);
        check_dfu(dfu_write(&h, FLASH + 40 * PAGE, settings, sizeof settings), &h);
        check_dfu(dfu_to_idle(&h), &h);
        power_cycle(h.board);
        if (hears(h.board, old.tag, 20)) {
            uint8_t *now = flash_dump(h.board);
            cr_expect_arr_eq(now, old_flash, 40 * PAGE, "point %u: torn, and runs", i);
            free(now);
        } else {
            cr_expect_not(strstr(heard(), new.tag), "point %u: torn, and runs", i);
            cr_expect(host_enumerate(&h), "point %u", i);
        }
        board_free(h.board);
    }
}

/* The same without power cycle: the second dfu-util simply does its download. */
Test(update, second_session_on_the_heels_of_a_killed_one_succeeds)
{
    struct app old = app_build(4000, 51, 0), new = app_build(4000, 52, 0);
    struct host base = in_dfu_with(&old);
    uint64_t all = transfers_of(&old, &new);

    for (uint64_t stop = 1; stop < all; stop++) {
        struct host h = {.board = board_copy(base.board)};
        h.give_up_after = stop;
        flash_application(&h, &new);
        h.give_up_after = 0;
        check_dfu(flash_application(&h, &new), &h);
        check_dfu(dfu_leave(&h, 2), &h);
        cr_expect(hears(h.board, new.tag, 1000), "after %llu transfers", (unsigned long long)stop);
        cr_expect(flash_holds(h.board, &new));
        board_free(h.board);
    }
}

/* A packet that is lost, at many places: the host repeats it. Three times in vain, while the CPU stands still for
 * flash and a SETUP that was heard is not cleared away, and the transfer has failed. Then the next session must
 * do. */
Test(update, lost_packets_do_no_harm)
{
    struct app old = app_build(2500, 61, 0), new = app_build(2500, 62, 0);
    struct host base = in_dfu_with(&old);
    struct usb_counts n0, n1;
    struct host count = {.board = board_copy(base.board)};

    usb_counts(count.board, &n0);
    check_dfu(flash_application(&count, &new), &count);
    usb_counts(count.board, &n1);
    uint64_t all = n1.transactions - n0.transactions;
    unsigned tries = 0, again = 0;
    for (int fault = USB_FAULT_LOST_PACKET; fault <= USB_FAULT_LOST_ACK; fault++)
        for (uint64_t nth = 1; nth <= all; nth += 3) {
            struct host h = {.board = board_copy(base.board)};
            usb_fault_at(h.board, nth, (enum usb_fault)fault);
            bool at_once = flash_application(&h, &new);
            again += !at_once;
            tries++;
            if (!at_once) {
                host_sleep(&h, 10 * BOARD_MS);
                check_dfu(flash_application(&h, &new), &h);
            }
            cr_expect(
                flash_holds(h.board, &new), "fault %d at %llu", fault, (unsigned long long)nth);
            check_board(h.board);
            board_free(h.board);
        }
    printf("one packet lost in each of %u downloads: %u transfers failed\n", tries, again);
    cr_expect_leq(again, tries / 10);
}

Test(update, cable_pulled_in_any_transaction_leaves_no_torn_application)
{
    struct app old = app_build(2500, 61, 0), new = app_build(2500, 62, 0);
    struct host base = in_dfu_with(&old);
    uint8_t *old_flash = flash_dump(base.board);

    for (uint64_t nth = 1; nth <= 300; nth += 7) {
        struct host h = {.board = board_copy(base.board)};
        usb_fault_at(h.board, nth, USB_FAULT_UNPLUG);
        if (flash_application(&h, &new)) {
            board_free(h.board);
            break;
        }
        board_run_for(h.board, 100 * BOARD_MS);
        usb_plug(h.board);
        cr_assert(
            host_enumerate(&h), "it does not come back, transaction %llu", (unsigned long long)nth);
        check_not_torn(&h, &old, &new, old_flash, nth, "pulled", true);
        board_free(h.board);
    }
}
