/* SPDX-License-Identifier: MIT */
/*
 * The head layout: the bootloader in 4 KB at the start of flash, the application behind it, valid by its
 * own first two words. What the tail layout promises holds here, and nothing that a cut of power leaves
 * keeps a board from starting (P1 to P8); with read-out protection on, the application can be replaced
 * and not be read.
 */
#include "as_reset.h"
#include "checks.h"
#include "finder.h"
#include "guarded.h"
#include "option_bytes.h"
#include "session.h"
#include "sim/board_state.h"
#include "slices.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(head, .timeout = 300, .fini = session_end_all);

enum { OWN = 4096 }; /* the bootloader's own bytes */
#define PART  "stm32f103cb"
#define LARGE "stm32f103rc" /* pages of 2 KB */
#define U(x)  ((unsigned long long)(x))

/* A promise that every board keeps; each in a process of its own. */
#define ON_EACH_BOARD(promise)                                                                     \
    static void promise(const struct bootloader *d);                                               \
    PROMISE(head, bluepill, "bluepill-head", promise)                                              \
    PROMISE(head, maple_mini, "maple-mini-head", promise)                                          \
    PROMISE(head, f103_16mhz, "f103-16mhz-head", promise)                                          \
    static void promise(const struct bootloader *d)

/* Into DFU by what every board knows, from an application that runs. */
static void enter(struct host *h)
{
    board_uart_send(h->board, 1, 'T');
    board_run_for(h->board, 50 * BOARD_MS);
    cr_assert(host_enumerate(h), "pc %08x", board_pc(h->board));
    check_dfu(dfu_open(h), h);
}

static struct host in_dfu(const char *part, const struct app *app)
{
    struct host h = running(part, app);

    enter(&h);
    return h;
}

static void leave(struct host *h)
{
    check_dfu(dfu_leave(h, 2), h);
}

static void starts_into_dfu(struct host *h, const char *why)
{
    power_cycle(h->board);
    cr_assert(host_enumerate(h), "%s: no DFU; '%s', pc %08x", why, heard(), board_pc(h->board));
    check_dfu(dfu_open(h), h);
}

/* Data that are no application. */
static struct app noise(size_t size, uint64_t seed)
{
    struct app data = app_build(size, seed, 0);

    memset(data.data, 0xEE, 8);
    return data;
}

/* --- it fits, enumerates, takes an application, runs it ------------------------------------------ */

ON_EACH_BOARD(fits_4_kb_and_every_size_of_flash)
{
    struct app image = app_load(bootloader_path);

    cr_assert(image.size && image.size <= d->kb * 1024, "%zu bytes", image.size);
    for (unsigned i = 0; i < ALL_PARTS; i++) {
        struct app app = app_build(3000, i, IMAGE_FILLS_RESERVED_VECTORS);
        struct host h = host_on_new_board(all_parts[i]);
        if (FLASH + board_flash_size(h.board) <=
            d->base) { /* no place for an application: see below */
            board_free(h.board);
            continue;
        }
        cr_assert(usb_configured(h.board), "%s: no DFU device", all_parts[i]);
        uint32_t page = board_page_size(h.board), first = (d->base - FLASH) / page;
        char text[128], want[128];
        host_memory_string(&h, text);
        snprintf(want, sizeof want, "@Internal Flash  /0x08000000/%03u*00%uKa,%03u*00%uKg", first,
            page / 1024, board_flash_size(h.board) / page - first, page / 1024);
        cr_expect_str_eq(text, want, "%s", all_parts[i]);
        check_dfu(flash_application(&h, &app), &h);
        check_leaves(&h, &app);
        check_runs_again(&h, &app);
        check_board(h.board);
        board_free(h.board);
    }
}

ON_EACH_BOARD(takes_one_application_after_another_and_each_runs_after_leave_and_power_up)
{
    struct host h = host_on_new_board(PART);
    (void)d;

    for (unsigned i = 0; i < 6; i++) {
        struct app app = app_build(i % 2 ? 9001 : 3000 + i, i, i % 3 == 0);
        check_dfu((i % 2 ? dfu_download_counting : dfu_download_like_dfu_util)(
                      &h, app_base, app.data, app.size),
            &h);
        check_reads(&h, app_base, app.data, app.size);
        if (i != 3)
            leave(&h);
        else
            power_cycle(h.board); /* the ABORT has finished it */
        check_runs(&h, &app, 1000);
        check_runs_again(&h, &app);
        enter(&h);
        check_reads(&h, app_base, app.data, app.size);
        app_free(&app);
    }
    check_board(h.board);
}

ON_EACH_BOARD(largest_application_fills_all_that_the_memory_map_offers)
{
    const char *of[] = {"stm32f103c8", LARGE};
    (void)d;

    for (unsigned i = 0; i < 2; i++) {
        struct host h = host_on_new_board(of[i]);
        struct app app = app_build(app_room(h.board), 5, 0);
        check_dfu(flash_application(&h, &app), &h);
        check_leaves(&h, &app);
        enter(&h);
        check_reads(&h, app_base, app.data, app.size);
        check_board(h.board);
        board_free(h.board);
        app_free(&app);
    }
}

/* The two words that make it valid are shown as the host wrote them, when flash does not hold them yet, too. */
Test(head, what_was_written_so_far_is_read_back_with_its_first_two_words)
{
    use_bootloader("bluepill-head");
    const char *of[] = {PART, LARGE};

    for (unsigned i = 0; i < 2; i++) {
        struct app old = app_build(6000, 1, 0), app = app_build(6000, 2, 0);
        struct host h = in_dfu(of[i], &old);
        uint32_t page = board_page_size(h.board);
        for (uint32_t at = 0; at < app.size; at += page) {
            size_t so_far = at + page < app.size ? at + page : app.size;
            check_dfu(dfu_write_all(&h, app_base + at, app.data + at, so_far - at), &h);
            check_reads(&h, app_base, app.data, so_far);
            check_reads(&h, app_base + (uint32_t)so_far, old.data + so_far, old.size - so_far);
        }
        check_leaves(&h, &app);
        check_board(h.board);
        board_free(h.board);
    }
}

/* A tool need not begin with the first page, nor erase. */
Test(head, pages_may_come_in_any_order)
{
    use_bootloader("bluepill-head");
    for (unsigned order = 0; order < 6; order++) {
        struct app old = app_build(7000, 1, 0), app = app_build(7000, 10 + order, 0);
        struct host h = order & 1 ? in_dfu(PART, &old) : host_on_new_board(PART);
        for (unsigned i = 0; i < 7; i++) {
            unsigned page = order < 2 ? 6 - i : order < 4 ? (i + 3) % 7 : i * 3 % 7;
            uint32_t at = page * PAGE;
            check_dfu(dfu_write(&h, app_base + at, app.data + at,
                          app.size - at < XFER ? app.size - at : XFER),
                &h);
        }
        check_dfu(dfu_to_idle(&h), &h);
        check_reads(&h, app_base, app.data, app.size);
        check_runs_again(&h, &app);
        check_board(h.board);
        board_free(h.board);
    }
}

/* Pieces of any length at any address, against a copy on the host. */
Test(head, pieces_at_unaligned_addresses_change_nothing_else)
{
    use_bootloader("bluepill-head");
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct app app = app_build(8 * PAGE, seed, 0);
        struct host h = in_dfu(seed & 1 ? PART : LARGE, &app);
        uint64_t random = seed;
        for (unsigned i = 0; i < 60; i++) {
            struct piece p = random_piece(&random, i, APP_SMALLEST, app.size);
            if (i % 20 == 19) { /* the stack pointer alone, odd pieces of it */
                p.at = i % 4;
                p.size = 4 - p.at;
                put32(app.data, RAM + 0x2000);
            } else {
                memcpy(app.data + p.at, p.data, p.size);
            }
            check_dfu(dfu_write(&h, app_base + p.at, app.data + p.at, p.size), &h);
            if (p.at < 4) /* the rest of it */
                check_dfu(dfu_write(&h, app_base, app.data, 4), &h);
        }
        check_dfu(dfu_to_idle(&h), &h);
        check_reads(&h, app_base, app.data, app.size);
        check_runs_again(&h, &app);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, a_reset_vector_of_any_half_word_and_a_stack_pointer_of_any_ram_are_kept)
{
    static const uint32_t stacks[] = {
        RAM + 4, RAM + 0x100, RAM + 0x1800, RAM + 0x5000, RAM + 0xFFFC, RAM + 0x10000};

    use_bootloader("bluepill-head");
    for (unsigned i = 0; i < sizeof stacks / sizeof *stacks; i++) {
        struct app app = finder_build(app_base, stacks[i], 3000, i);
        struct host h = host_on_new_board("stm32f103re"); /* it has 64 KB */
        check_dfu(flash_application(&h, &app), &h);
        check_leaves(&h, &app);
        const char *complaint = finder_complaint(h.board, app_base, stacks[i]);
        cr_expect(!complaint, "%08x: %s", stacks[i], complaint);
        check_board(h.board);
        board_free(h.board);
    }
}

/* As its users do it, with dfu-util as Debian ships it. */
Test(head, stock_dfu_util_lists_flashes_reads_and_is_kept_off_the_bootloader)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(9000, 3, IMAGE_FILLS_RESERVED_VECTORS);
    struct session *s = session_bare("--load " HEAD_BOOTLOADER);
    char path[64];
    session_say(s, "wait-device 3s");
    cr_assert(session_in_dfu(s));
    const uint8_t *before = session_flash(s, 0);
    snprintf(path, sizeof path, "%s/app.bin", s->dir);
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(app.data, 1, app.size, f) == app.size && !fclose(f));

    struct outcome o = on_board(s, "dfu-util -l");
    cr_expect(strstr(o.out, "@Internal Flash  /0x08000000/004*001Ka,060*001Kg"), "%s", o.out);
    o = on_board(s, "dfu-util -a 0 -s 0x08000000 -D @/app.bin");
    cr_expect_neq(o.code, 0, "%s", o.out);
    cr_expect(memcmp(session_flash(s, 1), before, OWN) == 0);
    o = on_board(s, "dfu-util -a 0 -s 0x08001000:leave -D @/app.bin");
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    session_sleep(s, "1s");
    const char *said = session_say(s, "uart 1");
    cr_expect(strstr(said, app.tag), "'%s'", said);
    session_press_reset(s);
    cr_assert(session_in_dfu(s));
    o = on_board(s, "dfu-util -a 0 -s 0x08001000:%zu -U @/back.bin", app.size);
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    cr_expect_eq(run(s, "cmp @/back.bin @/app.bin").code, 0);
    o = on_board(s, "build/bin/caboose flash -q --at 0x08001000 @/app.bin");
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    cr_expect(memcmp(session_flash(s, 1), before, OWN) == 0);
}

/* --- what the application finds ------------------------------------------------------------------ */

ON_EACH_BOARD(starts_the_application_with_all_as_a_reset_leaves_it)
{
    const char *of[] = {"stm32f103c8", PART, LARGE};

    for (unsigned i = 0; i < 3; i++) {
        struct app app = app_build(3000, 1, IMAGE_BREAKS);
        struct host h = host_with_application(of[i], &app);
        board_power(h.board, true);
        check_starts_as_from_reset(d, h.board, &app);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, reset_cause_is_handed_over_in_r0)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    check_causes(&h, &app);
    enter(&h);
    check_leaves(&h, &app);
    check_cause(&h, CAUSE_SOFTWARE);
}

/* --- the ways in, and no other ------------------------------------------------------------------- */

ON_EACH_BOARD(enters_dfu_by_button_pin_and_requests_as_it_says)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    for (unsigned way = 0; way < 5; way++) {
        bool wanted = true;
        if (way == 0) {
            wanted = d->presses != 0;
            board_press_reset(h.board, RESET_HOLD);
            board_run_for(h.board, RESET_HOLD);
        } else if (way == 1) {
            wanted = d->pb8;
            board_drive_pin(h.board, 'B', 8, true);
            board_uart_send(h.board, 1, 'R');
        } else if (way == 2) {
            request_in_ram(h.board, 0);
            board_uart_send(h.board, 1, 'R');
        } else {
            board_uart_send(h.board, 1, way == 3 ? 'T' : '1');
        }
        forget();
        board_run_for(h.board, 50 * BOARD_MS);
        board_drive_pin(h.board, 'B', 8, false);
        cr_expect_eq(strstr(heard(), app.tag) == NULL, wanted, "way %u: '%s'", way, heard());
        if (wanted) {
            cr_assert(host_enumerate(&h), "way %u", way);
            check_leaves(&h, &app); /* it was for once */
        }
        cr_expect(app_obeys(&h, &app, 'W'), "way %u: a watchdog reset", way);
        check_runs_again(&h, &app);
    }
    check_board(h.board);
}

ON_EACH_BOARD(enters_dfu_after_so_many_resets_as_it_says)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    for (unsigned round = 0; round < 2; round++) {
        unsigned n = 0;
        while (n < 12 && (n++, app_obeys(&h, &app, 'R')))
            ;
        cr_expect_eq(n, d->resets ? d->resets : 12, "round %u: %u", round, n);
        if (!d->resets)
            break;
        cr_assert(host_enumerate(&h));
        check_leaves(&h, &app);
    }
    check_board(h.board);
}

ON_EACH_BOARD(without_its_crystal_starts_the_application_or_tries_until_there_is_one)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    h.board->config.hse_hz = BOARD_NO_CRYSTAL;
    check_runs_again(&h, &app);
    board_uart_send(h.board, 1, 'T');
    check_runs(&h, &app, 2000);
    check_board(h.board);
    board_free(h.board);

    board_design.hse_hz = BOARD_NO_CRYSTAL;
    h = (struct host){.board = new_board(PART, 1)};
    board_power(h.board, true);
    usb_plug(h.board);
    board_run_for(h.board, 3 * BOARD_S);
    cr_expect_not(usb_configured(h.board));
    h.board->config.hse_hz = d->hse_hz; /* it begins to oscillate after all */
    board_run_for(h.board, BOARD_S);
    cr_expect(host_enumerate(&h));
    check_board(h.board);
}

/* --- what is the application's, and what is not -------------------------------------------------- */

ON_EACH_BOARD(nothing_but_the_applications_pages_can_be_written_or_erased)
{
    const char *of[] = {"stm32f103c8", PART, LARGE, "stm32f103re"};

    for (unsigned p = 0; p < 4; p++) {
        struct app app = app_build(5000, 1, 0);
        struct guarded g = {.h = in_dfu(of[p], &app)};
        g.flash = flash_dump(g.h.board);
        uint32_t base = d->base;
        nothing_reaches_elsewhere(&g);
        nothing_reaches_pages(&g, FLASH, base);
        write_is_refused(&g, base - 1, 1); /* over the border */
        write_is_refused(&g, base - 1, XFER);
        write_is_refused(&g, base - XFER + 1, XFER);
        write_is_refused(&g, base - 4, 8);
        nothing_counts_up_to(&g, base, FLASH);
        nothing_counts_up_to(&g, base, base - XFER);
        block_is_refused(&g, FLASH, 2, XFER);
        block_is_refused(&g, FLASH, 3, XFER);
        printf("%s, %s: %u attempts refused\n", d->name, of[p], g.refused);
        check_board(g.h.board);
        check_reads(&g.h, app_base, app.data, app.size);
        power_cycle(g.h.board);
        check_runs(&g.h, &app, 20);
        board_free(g.h.board);
        free(g.flash);
    }
}

ON_EACH_BOARD(random_requests_never_change_the_bootloader)
{
    const char *of[] = {PART, "stm32f103re"};

    for (uint64_t seed = 0; seed < 2; seed++) {
        struct app app = app_build(3000, 1, 0);
        struct host h = in_dfu(of[seed], &app);
        uint8_t *was = flash_dump(h.board);
        random_requests(&h, 77 + seed, 600, d->base);
        uint8_t *now = flash_dump(h.board);
        cr_expect(memcmp(now, was, d->base - FLASH) == 0, "%s, seed %llu", of[seed], U(seed));
        check_dfu(flash_application(&h, &app), &h);
        check_leaves(&h, &app);
        check_board(h.board);
        free(was);
        free(now);
        board_free(h.board);
    }
}

Test(head, mass_erase_takes_the_application_and_spares_the_bootloader)
{
    const char *of[] = {"stm32f103c8", LARGE};

    use_bootloader("bluepill-head");
    for (unsigned i = 0; i < 2; i++) {
        struct app app = app_build(40000, 1, 0), next = app_build(5000, 2, 0);
        struct host h = in_dfu(of[i], &app);
        uint32_t room = app_room(h.board);
        uint8_t *was = flash_dump(h.board), *blank = malloc(room);
        memset(blank, 0xFF, room);
        check_dfu(dfu_mass_erase(&h) && dfu_to_idle(&h), &h);
        check_reads(&h, app_base, blank, room);
        host_sleep(&h, 4 * BOARD_S);
        uint8_t *now = flash_dump(h.board);
        cr_expect_arr_eq(now, was, OWN);
        cr_expect_arr_eq(now + OWN, blank, room);
        starts_into_dfu(&h, "after a mass erase");
        check_reads(&h, app_base, blank, room);
        check_dfu(dfu_mass_erase(&h), &h);
        check_dfu(dfu_download_counting(&h, app_base, next.data, next.size), &h);
        leave(&h);
        check_runs(&h, &next, 5000);
        check_board(h.board);
        board_free(h.board);
    }
}

/* --- when a download counts ---------------------------------------------------------------------- */

enum end { SAYS_ABORT, SAYS_UPLOAD, SAYS_LEAVE, SAYS_DETACH, SETS_INTERFACE, CONFIGURES, RESETS };

static void say(struct host *h, enum end end)
{
    uint8_t data[64];

    switch (end) {
    case SAYS_ABORT:
        check_dfu(dfu_to_idle(h), h);
        break;
    case SAYS_UPLOAD:
        dfu_clrstatus(h); /* dfuIDLE; the pointer is where the last block went */
        cr_expect_gt(dfu_upload_block(h, 2, data, sizeof data), 0);
        break;
    case SAYS_LEAVE:
        dfu_leave(h, 2);
        break;
    case SAYS_DETACH:
        cr_expect_geq(dfu_detach(h), 0);
        break;
    case SETS_INTERFACE:
        cr_expect_geq(dfu_set_interface(h), 0);
        break;
    case CONFIGURES:
        cr_expect_geq(host_control(h, 0x00, 9, 1, 0, NULL, 0), 0);
        break;
    case RESETS:
        cr_expect_eq(usb_reset_device(h->board), 0);
        break;
    }
    host_sleep(h, 100 * BOARD_MS);
}

/* Each page that was erased has its data, but for `lacking` of them. */
static void ends_with(enum end end, unsigned lacking, bool counts)
{
    struct app old = app_build(6000, 1, 0), new = app_build(5500, 2, 0);
    struct host h = in_dfu(PART, &old);
    unsigned pages = (unsigned)(new.size + PAGE - 1) / PAGE;

    for (unsigned i = 0; i < pages; i++)
        check_dfu(dfu_erase(&h, app_base + i * PAGE), &h);
    for (unsigned i = 0; i < pages - lacking; i++)
        check_dfu(dfu_write(&h, app_base + i * PAGE, new.data + i *PAGE,
                      new.size - i *PAGE < PAGE ? new.size - i *PAGE : PAGE),
            &h);
    say(&h, end);
    if (!counts) { /* nor does what the next session says of it */
        if (!usb_configured(h.board))
            cr_assert(host_enumerate(&h));
        check_dfu(dfu_open(&h) && dfu_to_idle(&h), &h);
    }
    power_cycle(h.board);
    if (counts) {
        check_runs(&h, &new, 20);
    } else {
        cr_expect(host_enumerate(&h), "end %u, lacking %u: '%s'", end, lacking, heard());
        check_dfu(flash_application(&h, &new), &h);
        check_leaves(&h, &new);
    }
    check_board(h.board);
    board_free(h.board);
}

Test(head, a_download_counts_when_it_is_finished_and_complete)
{
    use_bootloader("bluepill-head");
    ends_with(SAYS_ABORT, 0, true);
    ends_with(SAYS_UPLOAD, 0, true);
    ends_with(SAYS_LEAVE, 0, true);
    ends_with(SAYS_DETACH, 0, true);
    ends_with(SAYS_ABORT, 1, false);
    ends_with(SETS_INTERFACE, 0, false);
    ends_with(CONFIGURES, 0, false);
    ends_with(RESETS, 0, false);
    ends_with(SETS_INTERFACE, 2, false);
    ends_with(RESETS, 2, false);
}

static void check_whole(struct host *h, const struct app *old, const struct app *new,
    const uint8_t *old_flash, uint64_t stop, const char *how)
{
    power_cycle(h->board);
    if (hears(h->board, old->tag, 20)) {
        uint8_t *now = flash_dump(h->board);
        cr_expect(memcmp(now, old_flash, board_flash_size(h->board)) == 0,
            "%s after transfer %llu: the old application runs and is not complete", how, U(stop));
        free(now);
        enter(h);
    } else {
        cr_expect_not(
            strstr(heard(), new->tag), "%s after transfer %llu: torn, and runs", how, U(stop));
        cr_assert(host_enumerate(h), "%s after transfer %llu: neither old nor DFU", how, U(stop));
    }
    check_dfu(flash_application(h, new), h);
    check_leaves(h, new);
}

enum stop { KILLED, ANOTHER_OPENS, UNPLUGGED, POWER_FAILS, SETTINGS_COME, STOPS };
static const char *const stop_names[] = {
    "killed", "killed, then another", "unplugged and back", "power cut", "killed, then settings"};

/* At each transfer, or each so many-th, but the ABORT and the question after it. */
static void stopped(const char *part, bool over_another, uint64_t step)
{
    struct app old = app_build(5000, 41, 0), new = app_build(5000, 42, 0);
    struct app settings = noise(PAGE, 43);
    struct host base = over_another ? in_dfu(part, &old) : host_on_new_board(part);
    struct host count = {.board = board_copy(base.board)};
    uint8_t *old_flash = flash_dump(base.board);

    check_dfu(flash_application(&count, &new), &count);
    for (uint64_t stop = 1; stop <= count.transfers - 2; stop += step) {
        enum stop how = (enum stop)(stop % STOPS);
        struct host h = {.board = board_copy(base.board), .give_up_after = stop};
        cr_assert_not(flash_application(&h, &new));
        h.give_up_after = 0;
        if (how == KILLED)
            board_run_for(h.board, 1200 * BOARD_MS);
        if (how == UNPLUGGED) {
            usb_unplug(h.board);
            board_run_for(h.board, 1200 * BOARD_MS);
            usb_plug(h.board);
            cr_assert(host_enumerate(&h));
        }
        if (how == ANOTHER_OPENS || how == UNPLUGGED)
            for (unsigned i = 0; i < 2; i++)
                check_dfu(dfu_open(&h) && dfu_to_idle(&h), &h);
        if (how == SETTINGS_COME) { /* nor do these make a torn one valid */
            uint32_t at = app_base + 8 * PAGE;
            check_dfu(dfu_open(&h), &h);
            check_dfu(dfu_download_like_dfu_util(&h, at, settings.data, settings.size), &h);
            power_cycle(h.board);
            if (hears(h.board, old.tag, 20)) {
                uint8_t *now = flash_dump(h.board);
                cr_expect(
                    memcmp(now, old_flash, app_base - FLASH + 8 * PAGE) == 0, "torn, and runs");
                free(now);
            } else {
                cr_expect_not(strstr(heard(), new.tag), "transfer %llu: torn, and runs", U(stop));
                cr_expect(host_enumerate(&h));
            }
            board_free(h.board);
            continue;
        }
        check_whole(&h, &old, &new, old_flash, stop, stop_names[how]);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, an_update_that_stops_at_any_transfer_never_runs)
{
    use_bootloader("bluepill-head");
    stopped("stm32f103c8", true, 1);
}

Test(head, a_first_download_that_stops_never_runs)
{
    use_bootloader("bluepill-head");
    stopped("stm32f103c4", false, 3);
}

Test(head, an_update_on_2_kb_pages_that_stops_never_runs)
{
    use_bootloader("bluepill-head");
    stopped(LARGE, true, 3);
}

ON_EACH_BOARD(settings_beside_the_application_keep_it_valid)
{
    const char *of[] = {PART, LARGE};
    (void)d;

    for (unsigned i = 0; i < 12; i++) {
        struct app app = app_build(5000, 3, 0), settings = noise(i < 6 ? 2048 : 100, 4 + i);
        struct host h = in_dfu(of[i & 1], &app);
        uint32_t at = i % 3 == 0   ? app_base + app_room(h.board) - 2048
                      : i % 3 == 1 ? app_base + 0x4000
                                   : app_base + 6 * PAGE; /* the page behind it */
        check_dfu(dfu_download_like_dfu_util(&h, at, settings.data, settings.size), &h);
        if (i < 8) {
            check_dfu(dfu_set_address(&h, at), &h);
            leave(&h); /* the pointer is at the settings: the application starts all the same */
        } else {
            power_cycle(h.board);
        }
        check_runs(&h, &app, 1000);
        enter(&h);
        check_reads(&h, at, settings.data, settings.size);
        check_reads(&h, app_base, app.data, app.size);
        check_board(h.board);
        board_free(h.board);
    }
}

/* A piece in the middle of the application: what is there then is what the host wanted there. */
Test(head, a_piece_in_the_middle_of_the_application_keeps_it_valid)
{
    use_bootloader("bluepill-head");
    for (unsigned i = 0; i < 4; i++) {
        struct app app = app_build(7000, 3, 0), piece = noise(700, 9);
        uint32_t at = i < 2 ? 3000 : APP_SMALLEST; /* in another page, in the first */
        struct host h = in_dfu(i & 1 ? PART : LARGE, &app);
        check_dfu(dfu_write(&h, app_base + at, piece.data, piece.size) && dfu_to_idle(&h), &h);
        memcpy(app.data + at, piece.data, piece.size);
        check_reads(&h, app_base, app.data, app.size);
        check_runs_again(&h, &app);
        check_board(h.board);
        board_free(h.board);
    }
}

static struct work identical_again(unsigned i)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(20000, 3, 0);
    struct host h = in_dfu(i & 1 ? PART : LARGE, &app);
    struct work before = work_so_far(h.board);

    check_dfu((i < 2 ? dfu_download_like_dfu_util : dfu_download_counting)(
                  &h, app_base, app.data, app.size),
        &h);
    check_reads(&h, app_base, app.data, app.size);
    check_leaves(&h, &app);
    check_board(h.board);
    struct work done = work_since(h.board, before);
    board_free(h.board);
    app_free(&app);
    return done;
}

/* What makes it valid may be written anew: power may have failed over it, and it reads right by chance. */
Test(head, identical_application_costs_the_first_page_at_most)
{
    for (unsigned i = 0; i < 4; i++) {
        struct work done = identical_again(i);
        cr_expect(done.erases <= 1 && done.halfwords <= (i & 1 ? PAGE : 2 * PAGE) / 2 + 8,
            "%llu erases, %llu half-words", U(done.erases), U(done.halfwords));
    }
}

Test(head, a_session_that_only_reads_writes_nothing)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(5000, 3, 0);
    struct host h = in_dfu(PART, &app);
    struct work before = work_so_far(h.board);
    uint8_t image[OWN];

    board_peek(h.board, FLASH, image, OWN);
    check_reads(&h, app_base, app.data, app.size);
    check_reads(&h, FLASH, image, OWN);
    for (unsigned i = 0; i < 3; i++) {
        check_runs_again(&h, &app);
        enter(&h);
    }
    struct work done = work_since(h.board, before);
    cr_expect(done.erases == 0 && done.halfwords == 0);
}

Test(head, one_changed_page_costs_that_page_and_the_first)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(20000, 3, 0);
    struct host h = in_dfu(PART, &app);

    app.data[9 * PAGE + 3] ^= 0x55;
    struct work before = work_so_far(h.board);
    check_dfu(flash_application(&h, &app), &h);
    check_leaves(&h, &app);
    struct work done = work_since(h.board, before);
    cr_expect(done.erases == 2, "%llu erases, %llu half-words", U(done.erases), U(done.halfwords));
}

/* What is erased alone, and already blank, changes nothing; what comes after does not suffer. */
Test(head, a_blank_page_that_is_erased_again_leaves_the_application_valid)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(5000, 3, 0), settings = noise(PAGE, 4);
    struct host h = in_dfu(PART, &app);

    check_dfu(dfu_erase(&h, app_base + 30 * PAGE) && dfu_to_idle(&h), &h);
    check_runs_again(&h, &app);
    enter(&h);
    check_dfu(dfu_erase(&h, app_base + 30 * PAGE) && dfu_to_idle(&h), &h);
    check_dfu(
        dfu_write(&h, app_base + 30 * PAGE, settings.data, settings.size) && dfu_to_idle(&h), &h);
    check_runs_again(&h, &app);
}

/* --- what is no application ---------------------------------------------------------------------- */

Test(head, what_can_be_no_application_is_errFIRMWARE_and_never_started)
{
    use_bootloader("bluepill-head");
    const struct {
        uint32_t word, value;
        const char *what;
    } nonsense[] = {
        {0, 0,                 "no stack pointer"      },
        {0, 0xFFFFFFFF,        "a blank stack pointer" },
        {0, RAM,               "a stack without room"  },
        {0, RAM + 0x5001,      "an odd stack pointer"  },
        {0, RAM + 0x5002,      "an unaligned one"      },
        {0, RAM + 0x10004,     "a stack beyond all RAM"},
        {0, FLASH + 0x2000,    "a stack in flash"      },
        {0, 0x10005000,        "a stack elsewhere"     },
        {4, 0,                 "no reset vector"       },
        {4, 0xFFFFFFFF,        "a blank reset vector"  },
        {4, app_base + 0x150,  "an even reset vector"  },
        {4, RAM + 0x151,       "a reset vector in RAM" },
        {4, SYSTEM_MEMORY + 1, "one in system memory"  },
        {4, FLASH - 1,         "one before flash"      },
        {4, FLASH + 0x100151,  "one behind all flash"  },
    };

    for (unsigned i = 0; i < 2 * sizeof nonsense / sizeof *nonsense; i++) {
        struct app old = app_build(3000, 1, 0), app = app_build(4000, 2, 0);
        struct host h = i & 1 ? in_dfu(PART, &old) : host_on_new_board(PART);
        put32(app.data + nonsense[i / 2].word, nonsense[i / 2].value);
        check_dfu(flash_application(&h, &app), &h);
        check_reads(&h, app_base, app.data, app.size);
        cr_expect_not(dfu_leave(&h, 2), "%s", nonsense[i / 2].what);
        cr_expect(h.last.state == DFU_ERROR && h.last.status == DFU_ERR_FIRMWARE, "%s: status %u",
            nonsense[i / 2].what, h.last.status);
        starts_into_dfu(&h, nonsense[i / 2].what);
        check_dfu(flash_application(&h, &old), &h);
        check_leaves(&h, &old);
        check_board(h.board);
        board_free(h.board);
    }
}

/* The likeliest mistake: firmware linked for another address, the start of flash above all. */
Test(head, an_application_linked_for_another_address_is_errFIRMWARE)
{
    const uint32_t links[] = {FLASH, FLASH + 0x800, FLASH + 0x800000};

    use_bootloader("bluepill-head");
    for (unsigned i = 0; i < 3; i++) {
        struct app old = app_build(3000, 1, 0), app = finder_build(links[i], RAM + 0x2800, 4000, 2);
        struct host h = in_dfu(PART, &old);
        check_dfu(flash_application(&h, &app), &h);
        cr_expect_not(dfu_leave(&h, 2), "linked for %08x", links[i]);
        cr_expect(h.last.status == DFU_ERR_FIRMWARE, "linked for %08x: status %u", links[i],
            h.last.status);
        starts_into_dfu(&h, "linked for another address");
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, a_reset_vector_behind_the_flash_of_the_part_is_errFIRMWARE)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(4000, 2, 0);
    struct host h = host_on_new_board("stm32f103c8");

    put32(app.data + 4, FLASH + 0x10151);
    check_dfu(flash_application(&h, &app), &h);
    cr_expect_not(dfu_leave(&h, 2));
    cr_expect_eq(h.last.status, DFU_ERR_FIRMWARE);
    starts_into_dfu(&h, "a reset vector behind flash");
}

Test(head, leave_without_an_application_is_errFIRMWARE_and_stays)
{
    use_bootloader("bluepill-head");
    struct host h = host_on_new_board(PART);

    check_refused(dfu_leave(&h, 2), &h, DFU_ERR_FIRMWARE);
    host_sleep(&h, BOARD_S);
    dfu_getstatus(&h);
    cr_expect(h.last.state == DFU_IDLE && h.last.status == DFU_OK);
    dfu_detach(&h);
    host_sleep(&h, BOARD_S);
    cr_expect(host_enumerate(&h), "DETACH: it came not back");
}

/* A bootloader of ours, of whatever layout, downloaded as an application: refused before anything is changed. */
Test(head, an_image_of_ours_is_errFILE_and_the_application_stays)
{
    const char *images[] = {
        HEAD_BOOTLOADER, "build/firmware/maple-mini-head.bin", BOOTLOADER, FULL_BOOTLOADER};

    for (unsigned i = 0; i < 8; i++) {
        use_bootloader(i % 3 == 2 ? "maple-mini-head" : "bluepill-head");
        struct app app = app_build(7000, 1, 0), ours = app_load(images[i / 2]);
        struct host h = in_dfu(i & 1 ? PART : LARGE, &app);
        uint8_t *was = flash_dump(h.board);
        cr_assert(ours.size);
        check_refused(flash_application(&h, &ours), &h, DFU_ERR_FILE);
        check_flash(h.board, was);
        check_reads(&h, app_base, app.data, app.size); /* and the host goes on */
        cr_expect(dfu_leave(&h, 2), "%s: status %u", images[i / 2], h.last.status);
        check_runs(&h, &app, 1000);
        check_runs_again(&h, &app);
        free(was);
        board_free(h.board);
    }
}

/* --- protections of the chip ---------------------------------------------------------------------- */

/* Data0 and Data1 are what nobody else would write. */
static const uint8_t unreadable[OPTIONS] = {RDP_ON, 0xFF, 0x12, 0x34, 0xFF, 0xFF, 0xFF, 0xFF};

/* In DFU with read-out protection on, and an application. */
static struct host read_protected(const char *part, const struct app *app)
{
    struct host h = host_with_application(part, app);

    power_with_options(h.board, unreadable);
    check_runs(&h, app, 20);
    enter(&h);
    return h;
}

ON_EACH_BOARD(read_protected_takes_applications_and_shows_nothing)
{
    const char *of[] = {"stm32f103c8", PART, LARGE};

    for (unsigned i = 0; i < 3; i++) {
        struct app app = app_build(5000, 1, 0), next = app_build(9000, 2, 0),
                   settings = noise(PAGE, 3);
        struct host h = read_protected(of[i], &app);
        const uint32_t readable[] = {
            app_base, app_base + 0x1000, FLASH, SYSTEM_MEMORY, OPTION_BYTES};
        for (unsigned k = 0; k < 5; k++) {
            uint8_t data[64] = {0}, zeros[64] = {0}, text[64] = {0};
            check_dfu(dfu_set_address(&h, readable[k]) && dfu_to_idle(&h), &h);
            cr_expect_eq(
                dfu_upload_block(&h, 2, data, sizeof data), USB_STALL, "%08x", readable[k]);
            cr_expect_arr_eq(data, zeros, sizeof data);
            dfu_getstatus(&h);
            cr_expect(h.last.state == DFU_ERROR && h.last.status == DFU_ERR_VENDOR, "%08x: %u",
                readable[k], h.last.status);
            cr_assert_neq(h.last.string, 0, "no word of the reason");
            int n = host_control(&h, 0x80, 6, 0x0300 | h.last.string, 0x0409, text, sizeof text);
            cr_expect(n == 2 + 2 * 6 && memcmp(text + 2, "l\0o\0c\0k\0e\0d", 11) == 0);
            cr_assert_geq(dfu_clrstatus(&h), 0);
        }
        check_dfu(flash_application(&h, &next), &h);
        check_leaves(&h, &next);
        enter(&h);
        check_dfu(dfu_open(&h), &h);
        check_dfu(
            dfu_download_like_dfu_util(&h, app_base + 0x4000, settings.data, settings.size), &h);
        check_dfu(
            dfu_mass_erase(&h) && dfu_download_counting(&h, app_base, app.data, app.size), &h);
        leave(&h);
        check_runs(&h, &app, 5000);
        check_runs_again(&h, &app);
        (void)d;
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, read_protection_is_said_by_the_functional_descriptor)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(5000, 1, 0);
    struct host h = in_dfu(PART, &app);
    enum { ATTRIBUTES = 9 + 9 + 2, CAN_UPLOAD = 2 };

    cr_expect_eq(usb_descriptors(h.board)->config[ATTRIBUTES], 0x0B);
    power_with_options(h.board, unreadable);
    check_runs(&h, &app, 20);
    enter(&h);
    cr_expect_eq(usb_descriptors(h.board)->config[ATTRIBUTES], 0x0B & ~CAN_UPLOAD);
}

/* Their erase would lift the protection, or could not be undone: never. */
static struct host option_bytes_refused(void)
{
    uint8_t options[OPTION_BYTES_SIZE];

    use_bootloader("bluepill-head");
    struct app app = app_build(5000, 1, 0);
    struct host h = read_protected(PART, &app);
    option_bytes(options, (const uint8_t[OPTIONS]){RDP_OFF, 0xFF, 1, 2, 0xFF, 0xFF, 0xFF, 0xFF});
    cr_expect_not(dfu_write(&h, OPTION_BYTES, options, sizeof options));
    return h;
}

Test(head, read_protection_lets_no_option_byte_be_written)
{
    struct host h = option_bytes_refused();
    struct board_counts n;

    cr_expect_eq(h.last.state, DFU_ERROR);
    dfu_clrstatus(&h);
    check_refused(dfu_download(&h, 0, &(uint8_t){DFUSE_READ_UNPROTECT}, 1), &h, DFU_ERR_VENDOR);
    board_counts(h.board, &n);
    uint64_t resets = n.resets;
    host_sleep(&h, BOARD_S);
    board_counts(h.board, &n);
    cr_expect(n.option_erases == 0 && n.resets == resets);
    check_options(h.board, unreadable);
    leave(&h);
    check_board(h.board);
}

/* AN3156 §5.1; it tells in words, too, that it is the protection. */
Test(head, read_protection_answers_errVENDOR_to_option_bytes)
{
    struct host h = option_bytes_refused();

    cr_expect_eq(h.last.status, DFU_ERR_VENDOR, "status %u", h.last.status);
}

/* The chip itself protects pages 0 to 3 then: what writes there is refused, and an update needs none of it. */
Test(head, read_protection_write_protects_exactly_the_bootloader)
{
    use_bootloader("bluepill-head");
    const char *of[] = {"stm32f103c8", LARGE};

    for (unsigned i = 0; i < 2; i++) {
        struct app app = app_build(5000, 1, 0);
        struct host h = read_protected(of[i], &app);
        uint8_t *was = flash_dump(h.board);
        for (uint32_t page = FLASH; page < app_base; page += PAGE) {
            check_refused(dfu_erase(&h, page), &h, DFU_ERR_TARGET);
            check_refused(dfu_write(&h, page, was, PAGE), &h, DFU_ERR_TARGET);
        }
        check_flash(h.board, was);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, read_protected_board_with_nothing_on_it_takes_its_first_application)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(5000, 1, 0);
    struct host h = host_on_new_board(PART);

    power_with_options(h.board, unreadable);
    cr_assert(host_enumerate(&h));
    check_dfu(flash_application(&h, &app), &h);
    check_leaves(&h, &app);
    check_board(h.board);
}

/* The page of the application that is protected, or its first: the old stays what it was, as long as it can. */
Test(head, write_protected_page_is_errWRITE)
{
    use_bootloader("bluepill-head");
    for (unsigned first = 0; first < 2; first++) {
        struct app app = app_build(3 * PAGE, 1, 0), next = app_build(6 * PAGE, 2, 0);
        struct host h = host_with_application(PART, &app);
        uint8_t options[OPTIONS] = OPTIONS_SHIPPED;
        options[WRP0] = first ? 0xFD : 0xFB; /* pages 4 to 7, 8 to 11 */
        power_with_options(h.board, options);
        check_runs(&h, &app, 20);
        enter(&h);
        uint8_t *was = flash_dump(h.board);
        check_refused(flash_application(&h, &next), &h, DFU_ERR_WRITE);
        cr_expect_geq(dfu_clrstatus(&h), 0);
        uint8_t *now = flash_dump(h.board);
        if (first) { /* not a bit of it could be changed */
            cr_expect_arr_eq(now, was, board_flash_size(h.board));
            check_dfu(dfu_open(&h), &h);
            check_reads(&h, app_base, app.data, app.size);
            check_leaves(&h, &app);
        } else {
            starts_into_dfu(&h, "half of it is there");
            check_dfu(flash_application(&h, &app), &h); /* one that fits runs */
            check_leaves(&h, &app);
        }
        check_board(h.board);
        board_free(h.board);
        free(was);
        free(now);
    }
}

/* --- memory other than flash ---------------------------------------------------------------------- */

Test(head, system_memory_option_bytes_and_ram_can_be_read)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(3000, 1, 0);
    struct host h = in_dfu(PART, &app);
    uint8_t option[16], system[2048];

    board_peek(h.board, OPTION_BYTES, option, sizeof option);
    check_reads(&h, OPTION_BYTES, option, sizeof option);
    board_peek(h.board, SYSTEM_MEMORY, system, sizeof system);
    check_reads(&h, SYSTEM_MEMORY, system, sizeof system);
    check_dfu(dfu_to_idle(&h) && dfu_write(&h, RAM + 0x2000, system, XFER), &h);
    check_dfu(dfu_to_idle(&h), &h);
    check_reads(&h, RAM + 0x2000, system, XFER);
    check_dfu(dfu_to_idle(&h), &h);
    check_refused(dfu_set_address(&h, RAM), &h, DFU_ERR_TARGET); /* the bootloader's own */
    check_refused(dfu_set_address(&h, OPTION_BYTES_END), &h, DFU_ERR_TARGET);
    check_board(h.board);
}

Test(head, option_bytes_are_written_and_take_effect_by_a_reset)
{
    static const uint8_t want[OPTIONS] = {RDP_OFF, 0xFF, 0x56, 0x78, 0xFB, 0xFF, 0xFF, 0xFF};
    uint8_t options[OPTION_BYTES_SIZE];

    use_bootloader("bluepill-head");
    option_bytes(options, want);
    for (unsigned i = 0; i < 2; i++) {
        struct app app = app_build(3000, 1, 0);
        struct host h = i ? in_dfu(PART, &app) : host_on_new_board(PART);
        uint8_t data[PAGE] = {1};
        check_dfu(dfu_write(&h, OPTION_BYTES, options, sizeof options), &h);
        check_options(h.board, want);
        if (i) {
            check_runs(&h, &app, 500);
            enter(&h);
        } else { /* there is nothing to start: it comes back */
            host_sleep(&h, 500 * BOARD_MS);
            cr_assert(host_enumerate(&h));
        }
        check_refused(dfu_write(&h, FLASH + 8 * PAGE, data, PAGE), &h, DFU_ERR_WRITE);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, words_2_to_6_lead_to_name_version_and_layout)
{
    static const char *const names[] = {"bluepill-head", "maple-mini-head", "f103-16mhz-head"};

    for (unsigned i = 0; i < 3; i++) {
        const struct bootloader *d = use_bootloader(names[i]);
        struct host h = host_on_new_board(PART);
        char name[8] = "", text[12] = "", layout[5] = "";
        board_peek(h.board, FLASH + NAME_AT, name, sizeof name);
        board_peek(h.board, FLASH + flash_word(h.board, FLASH + TEXT_AT), text, sizeof text);
        board_peek(h.board, FLASH + LAYOUT_AT, layout, 4);
        cr_expect_str_eq(name, "caboose");
        cr_expect(strncmp(text, "caboose ", 8) == 0, "%.12s", text);
        cr_expect_str_eq(layout, d->layout);
        board_free(h.board);
    }
}

/* --- it write-protects itself --------------------------------------------------------------------- */

static const uint8_t shipped[OPTIONS] = OPTIONS_SHIPPED,
                     guarded_0[OPTIONS] = {RDP_OFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0xFF, 0xFF};

Test(head, protecting_itself_changes_one_bit_once)
{
    const char *of[] = {"stm32f103c8", PART, LARGE, "stm32f103re"};

    use_bootloader("f103-16mhz-head");
    for (unsigned i = 0; i < 4; i++) {
        struct board *b = new_board(of[i], 1);
        struct host h = {.board = b};
        struct app app = app_build(3000, 1, 0);
        check_options(b, shipped);
        board_power(b, true);
        usb_plug(b);
        cr_assert(host_enumerate(&h));
        check_options(b, guarded_0);
        cr_expect_eq(option_erases(b), 1);
        check_dfu(flash_application(&h, &app), &h);
        for (unsigned k = 0; k < 4; k++) {
            check_leaves(&h, &app);
            power_cycle(b);
            check_runs(&h, &app, 20);
            cr_expect_eq(b->fpec.wrpr, 0xFFFFFFFE, "%s: WRPR %08x", of[i], b->fpec.wrpr);
            enter(&h);
        }
        cr_expect_eq(option_erases(b), 1, "%s: written %llu times", of[i], U(option_erases(b)));
        check_board(b);
        board_free(b);
    }
}

Test(head, protecting_itself_keeps_all_other_option_bytes)
{
    static const uint8_t custom[OPTIONS] = {RDP_OFF, 0xFD, 0x12, 0x34, 0xF7, 0x7F, 0xFE, 0xBF},
                         want[OPTIONS] = {RDP_OFF, 0xFD, 0x12, 0x34, 0xF6, 0x7F, 0xFE, 0xBF};

    use_bootloader("f103-16mhz-head");
    struct host h = {.board = new_board(PART, 1)};
    load_options(h.board, custom);
    board_power(h.board, true);
    usb_plug(h.board);
    cr_assert(host_enumerate(&h));
    check_options(h.board, want);
    check_board(h.board);
}

/* With read protection on, the chip protects these pages itself. However it reads, the protection and what it
 * protects stay: RDP that is 0xA5 without its complement is protection, too, and writing 0xA5 then would erase the
 * chip (PM0075 §2.4.2). */
Test(head, protecting_itself_keeps_the_read_protection_and_what_it_protects)
{
    static const uint8_t rdp[][2] = {
        {0x00, 0xFF},
        {0xFF, 0x00},
        {0xFF, 0xFF},
        {0xA5, 0xFF},
        {0xA5, 0x5B}
    };

    use_bootloader("f103-16mhz-head");
    for (unsigned i = 0; i < sizeof rdp / sizeof *rdp; i++) {
        struct app app = app_build(3000, 1, 0);
        struct host h = host_with_application(PART, &app);
        uint8_t *was = flash_dump(h.board);
        power_with_options(h.board, unreadable);
        board_power(h.board, false);
        board_load(h.board, OPTION_BYTES, rdp[i], 2);
        board_power(h.board, true);
        check_runs(&h, &app, 20);
        board_uart_send(h.board, 1, 'T');
        board_run_for(h.board, 300 * BOARD_MS);
        check_flash(h.board, was);
        cr_expect_eq(flash_word(h.board, OPTION_BYTES + 4), 0xCB34ED12);
        cr_assert(host_enumerate(&h));
        check_dfu(dfu_open(&h), &h);
        check_leaves(&h, &app);
        cr_expect(
            h.board->fpec.obr & 2, "RDP %02x %02x: the protection is gone", rdp[i][0], rdp[i][1]);
        check_board(h.board);
        board_free(h.board);
        free(was);
    }
}

/* What an application could do to it: nothing any more. (The host cannot anyway.) */
Test(head, protected_by_itself_its_pages_are_refused_by_the_chip)
{
    use_bootloader("f103-16mhz-head");
    struct app app = app_build(3000, 1, 0);
    struct host h = in_dfu(PART, &app);

    for (uint32_t at = 0; at < board_flash_size(h.board); at += 4096)
        cr_expect_eq(!(h.board->fpec.wrpr >> at / 4096 & 1), at == 0, "%08x", FLASH + at);
}

/* The option bytes that power failed over. WRP0 is what the chip takes it for, not what it reads as. */
static void cut_while_protecting(const struct app *app, const struct app *next, struct board *fresh)
{
    struct board *whole = board_copy(fresh);
    struct host h = {.board = whole};
    struct board_counts n;
    unsigned cuts = 0, window = 0;

    board_power(whole, true);
    if (app)
        board_run_for(whole, 20 * BOARD_MS), board_uart_send(whole, 1, 'T');
    board_run_for(whole, 300 * BOARD_MS);
    struct board_counts before;
    board_counts(fresh, &before);
    board_counts(whole, &n);
    uint64_t operations = n.flash_operations - before.flash_operations;
    cr_assert_eq(operations, 9, "%llu", U(operations));
    for (uint64_t nth = 1; nth <= operations; nth++)
        for (unsigned k = 0; k < 3 * BOARD_TORN_KINDS; k++) {
            enum board_torn torn = (enum board_torn)(k % BOARD_TORN_KINDS);
            if (k >= BOARD_TORN_KINDS && torn != BOARD_TORN_RANDOM && torn != BOARD_TORN_MARGINAL)
                continue; /* no other seed leaves anything else */
            h = (struct host){.board = board_copy(fresh)};
            struct board *b = h.board;
            board_cut_at(b, nth, torn, k);
            board_power(b, true);
            if (app)
                board_run_for(b, 20 * BOARD_MS), board_uart_send(b, 1, 'T');
            board_run_for(b, 300 * BOARD_MS);
            cr_assert_not(board_powered(b), "operation %llu did not come", U(nth));
            cuts++;
            for (unsigned times = 0; times < 3; times++) {
                power_cycle(b);
                if (app)
                    cr_assert(hears(b, app->tag, 20), "cut at %llu, %s, %u: it does not run",
                        U(nth), torn_name(torn), k);
            }
            if (app)
                board_uart_send(b, 1, 'T'), board_run_for(b, 100 * BOARD_MS);
            cr_assert(
                host_enumerate(&h), "cut at %llu, %s, %u: no DFU", U(nth), torn_name(torn), k);
            bool locked = b->fpec.obr & 2;
            window += locked;
            if (locked)
                cr_expect_leq(nth, 2, "cut at %llu: RDP is not the first", U(nth));
            if (locked || cuts % 4 == 0) {
                check_dfu(flash_application(&h, next), &h);
                check_leaves(&h, next);
            } else {
                power_cycle(b);
                board_run_for(b, BOARD_MS);
            }
            if (torn != BOARD_TORN_MARGINAL) /* that may read as protected while it looks */
                cr_expect(!(b->fpec.wrpr & 1) || b->fpec.obr & 2,
                    "cut at %llu, %s, %u: its pages are not protected, for good", U(nth),
                    torn_name(torn), k);
            check_board(b);
            board_free(b);
        }
    printf("%s: %u cuts while it protects itself, %u left the part read-protected\n",
        app ? "with an application" : "a fresh board", cuts, window);
    cr_expect_gt(window, 0);
    board_free(whole);
}

/* A cut in RDP can leave 0xA5 without its complement: to program 0xA5 again would make the chip erase itself. */
Test(head, power_cut_while_it_protects_itself_leaves_a_board_that_boots_updates_and_is_protected)
{
    use_bootloader("f103-16mhz-head");
    struct app app = app_build(3000, 1, 0), next = app_build(4000, 2, 0);
    struct board *fresh = new_board(PART, 1);

    usb_plug(fresh);
    cut_while_protecting(NULL, &next, fresh);
    board_free(fresh);
    struct host h = host_with_application(PART, &app);
    load_options(
        h.board, (const uint8_t[OPTIONS]){RDP_OFF, 0xFF, 0x12, 0x34, 0xFF, 0xFF, 0xFF, 0xFF});
    cut_while_protecting(&app, &next, h.board);
}

/* --- the power fails, and flash does -------------------------------------------------------------- */

static void slice(const char *flow, const char *part, const uint64_t every[BOARD_TORN_KINDS])
{
    struct tally t = check_cuts(flow, part, 20270, every);
    bool writes_options = flow_find(flow)->writes_options;

    cr_expect_gt(t.cuts, writes_options ? 40 : 50);
    if (!writes_options)
        cr_expect(t.windows == 0 && t.window == 0, "a window in the head layout");
}

static const uint64_t all[BOARD_TORN_KINDS] = {1, 1, 1, 1, 1};
static const uint64_t sparse[BOARD_TORN_KINDS] = {32, 24, 14, 28, 10};

Test(head, power_cut_in_a_first_download_never_runs_a_torn_application)
{
    slice("head-first", LARGE, sparse);
}

Test(head, power_cut_in_an_update_never_runs_a_torn_application)
{
    slice("head-update", "stm32f103c4", all);
    slice("head-update", LARGE, sparse);
}

Test(head, power_cut_in_an_update_that_leaves_the_first_page_never_runs_a_torn_application)
{
    slice("head-same-page-0", "stm32f103c8", sparse);
}

Test(head, power_cut_while_settings_are_written_never_runs_a_torn_application)
{
    slice("head-settings", "stm32f103c8", sparse);
}

Test(head, power_cut_in_a_mass_erase_never_runs_a_torn_application)
{
    slice("head-mass-erase", LARGE, all);
    slice("head-mass-first", "stm32f103c8", sparse);
}

Test(head, power_cut_while_option_bytes_are_written_leaves_the_application_and_dfu)
{
    slice("head-options", "stm32f103c8", all);
}

/* The half-word that comes last: as long as it is not all that it will be, whatever bits of it have come, nothing is
 * started. All of the values that it may have meanwhile. */
static void half_written_with(uint32_t sp)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = host_on_new_board("stm32f103re");
    struct work before = work_so_far(h.board);
    uint8_t got[8];
    unsigned last = 0, tried = 0;

    put32(app.data, sp);
    struct host whole = {.board = board_copy(h.board)};
    check_dfu(flash_application(&whole, &app), &whole);
    host_sleep(&whole, BOARD_S);
    struct work all_of_it = work_since(whole.board, before);
    board_cut_at(h.board, all_of_it.erases + all_of_it.halfwords, BOARD_TORN_NOT_BEGUN, 1);
    flash_application(&h, &app);
    host_sleep(&h, BOARD_S);
    cr_assert_not(board_powered(h.board));
    board_peek(h.board, app_base, got, sizeof got);
    while (last < sizeof got && memcmp(got + last, app.data + last, 2) == 0)
        last += 2;
    cr_assert(last < sizeof got && got[last] == 0xFF && got[last + 1] == 0xFF);
    unsigned final = app.data[last] | (unsigned)app.data[last + 1] << 8;

    struct board *scratch = board_copy(h.board);
    for (unsigned value = final; value <= 0xFFFF; value = (value + 1) | final) {
        uint8_t half[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
        board_restore(scratch, h.board);
        board_load(scratch, app_base + last, half, sizeof half);
        board_power(scratch, true);
        board_run_until(scratch, scratch->release_at + 100 * BOARD_US);
        bool starts = board_pc(scratch) >= app_base;
        if (starts != (value == final))
            cr_assert(false, "half-word %u is %04x, not %04x: pc %08x", last / 2, value, final,
                board_pc(scratch));
        tried++;
    }
    printf("half-word %u of the application comes last: none of %u values but the last starts it\n",
        last / 2, tried);
    board_free(scratch);
    board_free(h.board);
    board_free(whole.board);
}

Test(head, a_mark_that_is_not_all_written_never_starts_the_application)
{
    use_bootloader("bluepill-head");
    half_written_with(RAM + 0x5000);
    half_written_with(RAM + 0x10000);
}

Test(head, flash_that_fails_is_never_ok_with_wrong_bytes)
{
    check_faults("head-update", "stm32f103c4", 20271, 7);
    check_faults("head-update", LARGE, 20271, 499);
    check_faults("head-settings", "stm32f103c4", 20271, 61);
    check_faults("head-mass-erase", "stm32f103c4", 20271, 1);
}

/* Where flash fails while the application's first page is written again, and the host goes on in the same
 * session with what it told. */
Test(head, a_host_that_goes_on_after_an_error_does_not_make_a_torn_application_valid)
{
    use_bootloader("bluepill-head");
    struct app app = app_build(5000, 1, 0), settings = noise(PAGE, 2);
    struct host base = in_dfu("stm32f103c8", &app);
    struct host whole = {.board = board_copy(base.board)};
    uint32_t at = app_base + 30 * PAGE;
    struct work before = work_so_far(base.board);
    check_dfu(dfu_download_like_dfu_util(&whole, at, settings.data, settings.size), &whole);
    host_sleep(&whole, BOARD_S);
    struct work all_of_it = work_since(whole.board, before);
    unsigned runs = 0, stays = 0;

    for (uint64_t nth = 1; nth <= all_of_it.erases + all_of_it.halfwords; nth += 41) {
        struct host h = {.board = board_copy(base.board)};
        board_fail_flash(h.board,
            &(struct board_flash_failure){.fault = BOARD_FLASH_WEAK, .nth = nth, .seed = nth});
        dfu_download_like_dfu_util(&h, at, settings.data, settings.size);
        host_sleep(&h, BOARD_S);
        board_fail_flash(h.board, NULL);
        for (unsigned i = 0; i < 2; i++) {
            dfu_clrstatus(&h);
            dfu_leave(&h, 2);
        }
        host_sleep(&h, BOARD_S);
        power_cycle(h.board);
        if (hears(h.board, app.tag, 20)) {
            runs++;
            cr_expect(
                flash_holds(h.board, &app), "operation %llu: it runs, and is not complete", U(nth));
        } else {
            stays++;
            cr_expect(host_enumerate(&h), "operation %llu: it neither runs nor enumerates", U(nth));
        }
        board_free(h.board);
    }
    printf("%u run the application, %u start into DFU\n", runs, stays);
    cr_expect(runs && stays);
}
