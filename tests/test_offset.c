/* SPDX-License-Identifier: MIT */
/*
 * Firmware that is linked for an address behind the start of flash is uploaded there and runs,
 * unmodified (P1, P2, P3); a zero-offset application takes over; mere data change nothing.
 */
#include "bootloaders.h"
#include "checks.h"
#include "finder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PART "stm32f103c8"

static void use_full(void)
{
    use_bootloader("bluepill-full-tail");
}
TestSuite(offset, .init = use_full, .timeout = 3000);

enum { SP = RAM + 0x2800, SIZE = 6000 };

static const char *const parts[] = {"stm32f103c8", "stm32f103cb", "stm32f103rc", "stm32f103re"};
static const uint32_t bases[] = {FLASH + 0x2000, FLASH + 0x5000, FLASH + 0x800};
#define EACH(i, array) (unsigned i = 0; i < sizeof(array) / sizeof *(array); i++)

static struct app linked_for(uint32_t base, uint64_t seed)
{
    return finder_build(base, SP, SIZE, seed);
}

/* As dfu-util -s <base> does it, and with :leave. */
static void upload(struct host *h, uint32_t base, const struct app *image)
{
    check_dfu(dfu_open(h) && dfu_download_like_dfu_util(h, base, image->data, image->size), h);
}

static void upload_and_leave(struct host *h, uint32_t base, const struct app *image)
{
    upload(h, base, image);
    check_dfu(dfu_set_address(h, base), h);
    check_dfu(dfu_leave(h, 2), h);
}

static void button(struct host *h)
{
    check_dfu(press_reset(h), h);
    check_dfu(dfu_open(h), h);
}

#define check_starts(h, image, base, ms) check_starts_at(__LINE__, h, image, base, ms)
static void check_starts_at(
    int line, struct host *h, const struct app *image, uint32_t base, unsigned ms)
{
    bool runs = hears(h->board, image->tag, ms);

    cr_expect(
        runs, "line %d: %08x does not run: '%s', pc %08x", line, base, heard(), board_pc(h->board));
    if (runs && base != FLASH) {
        const char *complaint = finder_complaint(h->board, base, SP);
        cr_expect(!complaint, "line %d: %08x: %s", line, base, complaint);
    }
}

#define check_starts_again(h, image, base) check_starts_again_at(__LINE__, h, image, base)
static void check_starts_again_at(int line, struct host *h, const struct app *image, uint32_t base)
{
    power_cycle(h->board);
    check_starts_at(line, h, image, base, 50);
}

/* In DFU, with an image that runs. */
static struct host with_image(const char *part, uint32_t base, const struct app *image)
{
    struct host h = host_on_new_board(part);

    upload_and_leave(&h, base, image);
    check_starts(&h, image, base, 1000);
    button(&h);
    return h;
}

/* --- it runs ------------------------------------------------------------------------------------ */

static void runs_on(const char *part)
{
    for
        EACH(i, bases)
        {
            uint32_t base = bases[i];
            struct app image = linked_for(base, 10 + i),
                       app = app_build(5000, 3, IMAGE_FILLS_RESERVED_VECTORS);
            struct host h = host_on_new_board(part);
            upload_and_leave(&h, base, &image);
            check_starts(&h, &image, base, 1000);
            check_cause(&h, CAUSE_SOFTWARE);
            for (unsigned k = 0; k < 2; k++) {
                check_starts_again(&h, &image, base);
                check_cause(&h, CAUSE_POWER);
            }
            button(&h);
            check_reads(&h, base, image.data, image.size);
            check_dfu(
                dfu_leave(&h, 0), &h); /* reading has moved the pointer; that changes nothing */
            check_starts(&h, &image, base, 1000);
            button(&h);
            check_dfu(flash_application(&h, &app), &h); /* a zero-offset one takes over */
            check_dfu(dfu_leave(&h, 2), &h);
            check_starts(&h, &app, FLASH, 1000);
            check_starts_again(&h, &app, FLASH);
            cr_expect(flash_holds(h.board, &app));
            button(&h);
            check_reads(&h, FLASH, app.data, app.size);
            check_board(h.board);
            board_free(h.board);
            app_free(&image);
        }
}

Test(offset, image_runs_after_leave_and_each_power_cycle_until_a_zero_offset_one_comes_64_kb)
{
    runs_on(parts[0]);
}
Test(offset, image_runs_after_leave_and_each_power_cycle_until_a_zero_offset_one_comes_128_kb)
{
    runs_on(parts[1]);
}
Test(offset, image_runs_after_leave_and_each_power_cycle_until_a_zero_offset_one_comes_256_kb)
{
    runs_on(parts[2]);
}
Test(offset, image_runs_after_leave_and_each_power_cycle_until_a_zero_offset_one_comes_512_kb)
{
    runs_on(parts[3]);
}

/* dfu-util without leave: there is no zero-offset application, so this is the one. */
Test(offset, image_runs_after_a_download_without_leave_when_there_is_nothing_else)
{
    for
        EACH(p, parts)
        {
            uint32_t base = bases[p % 3];
            struct app image = linked_for(base, 20 + p);
            struct host h = host_on_new_board(parts[p]);
            upload(&h, base, &image);
            check_reads(&h, base, image.data, image.size);
            check_starts_again(&h, &image, base);
            check_board(h.board);
            board_free(h.board);
        }
}

Test(offset, image_of_another_version_replaces_the_first_with_and_without_leave)
{
    struct host h = host_on_new_board(PART);

    for (unsigned i = 0; i < 6; i++) {
        uint32_t base = bases[i / 2];
        struct app image = linked_for(base, 30 + i);
        if (i & 1) {
            upload(&h, base, &image);
            power_cycle(h.board);
        } else {
            upload_and_leave(&h, base, &image);
        }
        check_starts(&h, &image, base, 1000);
        button(&h);
        check_reads(&h, base, image.data, image.size);
    }
    check_board(h.board);
}

/* P8. But for 8 bytes below 0x20001800 while page 0 still is the installer's: nothing was ever downloaded
 * there, and it needs a stack to compare itself with what it installed. */
Test(offset, starting_the_image_touches_no_byte_of_ram)
{
    for
        EACH(i, bases)
    for (unsigned with = 0; with < 2; with++) {
        struct app image = linked_for(bases[i], 60), app = app_build(APP_SMALLEST, 3, 0);
        struct host h = with ? host_in_dfu(PART, &app, BOARD_TYPICAL) : host_on_new_board(PART);
        uint32_t size = board_ram_size(h.board), code = bases[i] + FINDER_AT;
        uint8_t *before = malloc(size), *after = malloc(size);
        put32(image.data + FINDER_AT, 0xBE00BE00); /* BKPT */
        upload(&h, bases[i], &image);
        check_dfu(dfu_set_address(&h, bases[i]), &h);
        check_dfu(dfu_leave(&h, 2), &h);
        host_sleep(&h, 10 * BOARD_MS);
        board_power(h.board, false);
        board_power(h.board, true);
        board_peek(h.board, RAM, before, size);
        cr_assert_eq(board_run_for(h.board, 100 * BOARD_MS), BOARD_BREAK, "no BKPT; pc %08x",
            board_pc(h.board));
        board_peek(h.board, RAM, after, size);
        cr_expect_eq(board_pc(h.board) & ~1U, code, "pc %08x", board_pc(h.board));
        unsigned changed = 0;
        uint32_t last = 0;
        for (uint32_t at = 0; at < size; at++)
            if (before[at] != after[at] && (with || at < 0x17F8 || at >= 0x1800)) {
                changed++;
                last = RAM + at;
            }
        cr_expect_eq(changed, 0,
            "%08x, %s zero-offset application: %u bytes of RAM were changed, the last at %08x",
            bases[i], with ? "once with a" : "never a", changed, last);
        free(before);
        free(after);
        board_free(h.board);
        app_free(&image);
    }
}

/* What a vector table of this chip is aligned to is enough (PM0056 §4.4.4); it need not be a page. */
Test(offset, image_at_a_multiple_of_512_and_at_the_very_end_runs)
{
    for
        EACH(p, parts)
        {
            struct host room = {.board = new_board(parts[p], 1)};
            const uint32_t odd[] = {FLASH + 0x2200, FLASH + 0x600, FLASH + 0x4A00,
                FLASH + app_room(room.board) - 0x2000};
        for
            EACH(i, odd)
            {
                struct app image = finder_build(odd[i], SP, i == 3 ? 0x2000 : 3001, 11 + i);
                struct host h = host_on_new_board(parts[p]);
                upload_and_leave(&h, odd[i], &image);
                check_starts(&h, &image, odd[i], 1000);
                check_starts_again(&h, &image, odd[i]);
                button(&h);
                check_reads(&h, odd[i], image.data, image.size);
                check_board(h.board);
                board_free(h.board);
                app_free(&image);
            }
        board_free(room.board);
        }
}

/* --- beside an application ------------------------------------------------------------------------ */

static struct host with_application(const char *part, const struct app *app)
{
    struct host h = host_in_dfu(part, app, BOARD_TYPICAL);

    check_dfu(dfu_open(&h), &h);
    return h;
}

Test(offset, data_beside_an_application_leave_it_in_charge)
{
    for
        EACH(p, parts)
    for (unsigned leave = 0; leave < 2; leave++) {
        struct app app = app_build(5000, 3, 0), settings = app_build(2048, 4, 0);
        struct host h = with_application(parts[p], &app);
        uint32_t at = FLASH + 0x8000;
        put32(settings.data, 0x12345678);
        upload(&h, at, &settings);
        if (leave) {
            check_dfu(dfu_set_address(&h, at), &h);
            check_dfu(dfu_leave(&h, 2), &h);
        } else {
            power_cycle(h.board);
        }
        check_starts(&h, &app, FLASH, 1000);
        cr_expect(flash_holds(h.board, &app));
        button(&h);
        check_reads(&h, at, settings.data, settings.size);
        check_reads(&h, FLASH, app.data, app.size);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(offset, second_image_takes_over_only_if_leave_names_it)
{
    for
        EACH(p, parts)
        {
            uint32_t base = FLASH + 0x5000;
            struct app app = app_build(5000, 3, 0), image = linked_for(base, 5);
            struct host h = with_application(parts[p], &app);
            upload(&h, base, &image);
            check_starts_again(&h, &app, FLASH);
            button(&h);
            check_dfu(dfu_leave(&h, 2), &h); /* the pointer was never set: the start of flash */
            check_starts(&h, &app, FLASH, 1000);
            button(&h);
            check_dfu(dfu_set_address(&h, base), &h);
            check_dfu(dfu_leave(&h, 2), &h);
            check_starts(&h, &image, base, 1000);
            check_starts_again(&h, &image, base);
            button(&h);
            check_reads(&h, FLASH, app.data, app.size);
            check_reads(&h, base, image.data, image.size);
            check_dfu(dfu_set_address(&h, FLASH), &h); /* and back */
            check_dfu(dfu_leave(&h, 2), &h);
            check_starts(&h, &app, FLASH, 1000);
            check_starts_again(&h, &app, FLASH);
            check_board(h.board);
            board_free(h.board);
        }
}

/* Somebody's own bootloader at 0x08000000 and its application behind it, one session each, in either order. */
Test(offset, two_parts_of_one_firmware_come_in_either_order)
{
    for (unsigned order = 0; order < 2; order++) {
        uint32_t base = FLASH + 0x2000;
        struct app first = app_build(5000, 3, IMAGE_FILLS_RESERVED_VECTORS),
                   second = linked_for(base, 6);
        struct host h = host_on_new_board(PART);
        for (unsigned i = 0; i < 2; i++)
            upload(&h, i == order ? FLASH : base, i == order ? &first : &second);
        check_starts_again(&h, &first, FLASH);
        button(&h);
        check_reads(&h, FLASH, first.data, first.size);
        check_reads(&h, base, second.data, second.size);
        check_board(h.board);
        board_free(h.board);
    }
}

/* P2: page 0 may hold anything, a table or noise, or nothing. */
Test(offset, page_0_reads_back_as_written_beside_an_offset_image)
{
    const uint32_t words[] = {
        0xFFFFFFFF, 0, 0x12345678, APP_ENTRY, APP_ENTRY - 1, 0x20000001, FLASH + 0xF001};

    for
        EACH(w, words)
    for (unsigned first = 0; first < 2; first++) {
        uint32_t base = FLASH + 0x2000;
        struct app page0 = app_build(PAGE, 3, IMAGE_FILLS_RESERVED_VECTORS),
                   image = linked_for(base, 7);
        struct host h = host_on_new_board(PART);
        put32(page0.data, 0xDEADBEEF); /* no stack pointer: no application */
        put32(page0.data + 4, words[w]);
        upload(&h, first ? FLASH : base, first ? &page0 : &image);
        upload(&h, first ? base : FLASH, first ? &image : &page0);
        check_reads(&h, FLASH, page0.data, page0.size);
        check_dfu(dfu_set_address(&h, base), &h);
        check_dfu(dfu_leave(&h, 2), &h);
        check_starts(&h, &image, base, 1000);
        check_starts_again(&h, &image, base);
        button(&h);
        check_reads(&h, base, image.data, image.size);
        uint8_t back[PAGE];
        check_dfu(dfu_read(&h, FLASH, back, PAGE, XFER), &h);
        cr_expect(memcmp(back, page0.data, PAGE) == 0,
            "word 1 was written as %08x and reads as %02x%02x%02x%02x", words[w], back[7], back[6],
            back[5], back[4]);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(offset, page_0_that_was_erased_reads_as_erased_beside_an_offset_image)
{
    uint32_t base = FLASH + 0x2000;
    struct app app = app_build(5000, 3, 0), image = linked_for(base, 8);
    struct host h = with_application(PART, &app);
    uint8_t back[PAGE], blank[PAGE];

    memset(blank, 0xFF, sizeof blank);
    check_dfu(dfu_mass_erase(&h), &h);
    check_dfu(dfu_write_all(&h, base, image.data, image.size), &h);
    check_dfu(dfu_to_idle(&h), &h);
    host_sleep(&h, 3 * BOARD_S);
    check_reads(&h, FLASH, blank, PAGE);
    check_starts_again(&h, &image, base);
    button(&h);
    check_dfu(dfu_read(&h, FLASH, back, PAGE, XFER), &h);
    cr_expect(memcmp(back, blank, PAGE) == 0,
        "after a power cycle word 1 reads as %02x%02x%02x%02x", back[7], back[6], back[5], back[4]);
    check_board(h.board);
}

/* --- stopped ------------------------------------------------------------------------------------ */

Test(offset, killed_upload_never_runs)
{
    uint32_t base = FLASH + 0x2000;
    struct app old = linked_for(base, 40), new = linked_for(base, 41);
    struct host first = with_image(PART, base, &old);
    struct host count = {.board = board_copy(first.board)};
    upload(&count, base, &new);
    for (uint64_t stop = 1; stop < count.transfers - 1; stop += 1 + count.transfers / 12) {
        struct host h = {.board = board_copy(first.board)};
        h.give_up_after = stop;
        cr_assert_not(dfu_open(&h) && dfu_download_like_dfu_util(&h, base, new.data, new.size));
        h.give_up_after = 0;
        check_dfu(dfu_open(&h) && dfu_to_idle(&h), &h);
        power_cycle(h.board);
        if (hears(h.board, old.tag, 20)) {
            uint8_t now[SIZE];
            board_peek(h.board, base, now, SIZE);
            cr_expect_arr_eq(now, old.data, SIZE, "stopped after %llu: torn, and runs",
                (unsigned long long)stop);
        } else {
            cr_expect_not(strstr(heard(), new.tag), "stopped after %llu: torn, and runs",
                (unsigned long long)stop);
            cr_assert(host_enumerate(&h), "stopped after %llu", (unsigned long long)stop);
            upload_and_leave(&h, base, &new);
            check_starts(&h, &new, base, 1000);
        }
        board_free(h.board);
    }
}

/* A piece of it that comes later does not make it whole; nor does leave that names it. */
Test(offset, leave_that_names_a_torn_image_does_not_start_it)
{
    uint32_t base = FLASH + 0x2000;
    struct app old = linked_for(base, 42), new = linked_for(base, 43);
    struct host h = with_image(PART, base, &old);

    for (uint32_t at = 0; at < SIZE; at += PAGE)
        check_dfu(dfu_erase(&h, base + at), &h);
    check_dfu(dfu_write_all(&h, base, new.data, 3 * PAGE), &h);
    power_cycle(h.board);
    cr_assert(host_enumerate(&h), "'%s'", heard());
    check_dfu(dfu_open(&h), &h);
    check_dfu(dfu_set_address(&h, base), &h);
    dfu_leave(&h, 2);
    host_sleep(&h, BOARD_S);
    cr_expect_not(hears(h.board, new.tag, 100), "torn, and runs");
    power_cycle(h.board);
    cr_expect_not(hears(h.board, new.tag, 100), "torn, and runs");
}

/* --- the power fails ---------------------------------------------------------------------------- */

struct survey {
    uint32_t base, app_at; /* the image; what was in charge before: FLASH, or base again */
    const struct app *old, *new;
    uint64_t old_runs, new_runs, dfu, window, powered, downloads;
    uint64_t known[64];
    unsigned known_count;
    uint64_t total; /* operations */
};

/* Each operation at the beginning and the end, where the records are; a part of the others, or with
 * CABOOSE_EXHAUSTIVE in the environment all. */
static void sample(struct explorer *e)
{
    const struct survey *s = e->context;
    bool dense = e->operations < 8 || e->operations + 16 > s->total || getenv("CABOOSE_EXHAUSTIVE");

    memcpy(e->every, dense ? (const uint64_t[]){1, 1, 1, 1, 1} : (const uint64_t[]){7, 7, 4, 7, 11},
        sizeof e->every);
}

static bool stands_at(const struct board *b, uint32_t base, const struct app *image)
{
    uint8_t *now = malloc(image->size);
    size_t skip = base == FLASH ? 8 : 0;

    board_peek(b, base, now, image->size);
    bool same = memcmp(now + skip, image->data + skip, image->size - skip) == 0;
    free(now);
    return same && !undecided(b, base, (uint32_t)image->size);
}

static void runs_complete_or_enumerates(struct explorer *e, struct board *b)
{
    struct survey *s = e->context;
    struct host h = {.board = b};
    bool unsure = undecided(b, FLASH, board_flash_size(b));
    uint64_t key = decision(b);

    sample(e);
    if (page0_open(b)) {
        s->window++;
        return;
    }
    for (unsigned i = 0; i < s->known_count && !unsure && e->checks % 64; i++)
        if (s->known[i] == key) {
            s->dfu++;
            return;
        }
    for (unsigned times = 0; times < (unsure ? 3 : 1); times++) {
        power_cycle(b);
        s->powered++;
        if (hears(b, s->old->tag, 12)) {
            if (!stands_at(b, s->app_at, s->old))
                complain(e, b, "the old application runs, and is not complete");
            s->old_runs++;
            return;
        }
        if (strstr(heard(), s->new->tag)) {
            if (!stands_at(b, s->base, s->new))
                complain(e, b, "the new image runs, and is not complete");
            s->new_runs++;
            return;
        }
        if ((!unsure || times == 2) && !host_enumerate(&h))
            complain(e, b, "it neither runs nor enumerates");
    }
    s->dfu++;
    if (!unsure && s->known_count < 64)
        s->known[s->known_count++] = key;
    if (e->checks % 16)
        return;
    if (!dfu_open(&h) || !dfu_download_like_dfu_util(&h, s->base, s->new->data, s->new->size) ||
        !dfu_set_address(&h, s->base) || !dfu_leave(&h, 2) || !hears(b, s->new->tag, 1000) ||
        !stands_at(b, s->base, s->new))
        complain(e, b, "a normal upload does not help");
    s->downloads++;
}

static void upload_with_cuts(
    const char *part, uint32_t base, bool over_itself, bool leave, uint64_t seed)
{
    struct app old = over_itself ? finder_build(base, SP, 2600, 50) : app_build(2600, 50, 0),
               new = finder_build(base, SP, 2200, 51);
    struct survey s = {
        .base = base, .app_at = over_itself ? base : FLASH, .old = &old, .new = &new};
    struct host h = over_itself ? with_image(part, base, &old) : with_application(part, &old);
    struct explorer e = {.check = runs_complete_or_enumerates, .context = &s, .seed = seed};
    struct board_counts before, after;

    board_counts(h.board, &before);
    struct host whole = {.board = board_copy(h.board)};
    upload(&whole, base, &new);
    if (leave)
        check_dfu(dfu_set_address(&whole, base) && dfu_leave(&whole, 2), &whole);
    host_sleep(&whole, 5 * BOARD_MS);
    board_counts(whole.board, &after);
    s.total = after.flash_operations - before.flash_operations;
    sample(&e);
    explore(&e, &h);
    upload(&h, base, &new);
    if (leave) {
        check_dfu(dfu_set_address(&h, base), &h);
        check_dfu(dfu_leave(&h, 2), &h);
    }
    host_sleep(&h, 5 * BOARD_MS);
    explore_end(&e, &h);
    board_counts(h.board, &after);
    printf("offset update of %08x on %s: %llu operations, %llu cuts, %llu different states: %llu "
           "run the old, %llu the "
           "new, %llu DFU, %llu in the page-0 window (%llu); %llu powered up, %llu followed by an "
           "upload; seed %llu\n",
        base, part, (unsigned long long)e.operations, (unsigned long long)e.cuts,
        (unsigned long long)e.checks, (unsigned long long)s.old_runs,
        (unsigned long long)s.new_runs, (unsigned long long)s.dfu, (unsigned long long)s.window,
        (unsigned long long)(after.page0_windows - before.page0_windows),
        (unsigned long long)s.powered, (unsigned long long)s.downloads, (unsigned long long)seed);
    cr_expect_eq(s.window, 0, "page 0 needs no erase");
    cr_expect_eq(after.page0_windows, before.page0_windows);
    cr_expect_gt(s.dfu, 100);
    cr_expect_gt(s.old_runs, 0);
    cr_expect_gt(s.new_runs, 0);
    check_board(h.board);
}

Test(offset, power_cut_in_an_update_of_the_image_never_runs_a_torn_one)
{
    upload_with_cuts(PART, FLASH + 0x2000, true, false, 71);
}
Test(offset, power_cut_in_an_update_of_an_image_over_the_installers_pages_never_runs_a_torn_one)
{
    upload_with_cuts(PART, FLASH + 0x800, true, true, 72);
}
Test(offset, power_cut_in_an_upload_beside_an_application_never_runs_a_torn_one)
{
    upload_with_cuts(PART, FLASH + 0x5000, false, true, 73);
}
Test(offset, power_cut_in_an_update_of_the_image_on_2_kb_pages_never_runs_a_torn_one)
{
    upload_with_cuts("stm32f103rc", FLASH + 0x5000, true, true, 74);
}
