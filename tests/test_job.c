/* SPDX-License-Identifier: MIT */
/* Orders carried out on strict scripted devices, each with the habits of a device in the field, in virtual
 * time and with a deadline: what libcaboose promises. */
#include "core/dfu.h"
#include "mock_job.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(job, .init = mock_job_set_up, .fini = mock_job_tear_down, .timeout = 120);

/* --- memory that runs out -------------------------------------------------------------------------- */

static unsigned allocations, fails_at; /* the n-th one fails; 0: none */

/* These take the place of the C library's in this program; under AddressSanitizer its own must stay, and
 * nothing fails. */
#ifndef __SANITIZE_ADDRESS__
extern void *__libc_malloc(size_t size), *__libc_calloc(size_t count, size_t size),
    *__libc_realloc(void *old, size_t size);

static bool runs_out(void)
{
    return ++allocations == fails_at;
}

void *malloc(size_t size)
{
    return runs_out() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return runs_out() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return runs_out() ? NULL : __libc_realloc(old, size);
}
#endif

static enum caboose_error command(enum caboose_verb verb)
{
    return order((struct caboose_order){.verb = verb, .image = &image, .alt = PLAN_ANY_ALT});
}

/* --- every verb, every personality ---------------------------------------------------------------- */

static void expect_flashed(enum mock_personality who)
{
    cr_expect(order(flash_it) == CABOOSE_OK, "%s: %s", mock_name(who), report->message);
    cr_expect(holds_image(), "%s", mock_name(who));
    cr_expect(who == MOCK_LIAR || who == MOCK_NAMESAKE || !mock.violation, "%s: %s", mock_name(who),
        mock.violation);
}

Test(job, every_personality_is_flashed)
{
    for (enum mock_personality who = 0; who < MOCK_PERSONALITIES; who++) {
        mock_init_as(&mock, who);
        expect_flashed(who);
        cr_expect(report->plan.bytes[STEP_VERIFY] >= PROGRAM, "%s", mock_name(who));
        cr_expect(who == MOCK_TEXTBOOK || mock.leaving || mock.gone, "%s", mock_name(who));
    }
}

Test(job, every_personality_is_flashed_again_with_another_program)
{
    for (enum mock_personality who = 0; who < MOCK_PERSONALITIES; who++) {
        mock_init_as(&mock, who);
        make_program(MOCK_BASE, PROGRAM, 0);
        expect_flashed(who);
        mock_replug(&mock);
        make_program(MOCK_BASE, PROGRAM + 2000, 99);
        expect_flashed(who);
    }
}

Test(job, every_personality_is_read_and_verified)
{
    for (enum mock_personality who = 0; who < MOCK_PERSONALITIES; who++) {
        mock_init_as(&mock, who);
        for (unsigned i = 0; i < MOCK_SIZE; i++)
            mock.flash[i] = (uint8_t)(i * 13 + i / 1024);
        cr_expect(command(CABOOSE_READ) == CABOOSE_OK, "%s: %s", mock_name(who), report->message);
        cr_expect(report->size == MOCK_SIZE, "%s: %u", mock_name(who), report->size);
        cr_expect(memcmp(report->data, mock.flash, MOCK_SIZE) == 0, "%s", mock_name(who));
        cr_expect(command(CABOOSE_VERIFY) == CABOOSE_MISMATCH, "%s", mock_name(who));
        memcpy(mock.flash, image.segments[0].data, PROGRAM);
        cr_expect(command(CABOOSE_VERIFY) == CABOOSE_OK, "%s: %s", mock_name(who), report->message);
        cr_expect(!mock.violation, "%s: %s", mock_name(who), mock.violation);
        cr_expect(all_erases() == 0 && mock.blocks == 0, "%s was changed", mock_name(who));
    }
}

Test(job, every_personality_is_erased_and_no_byte_that_is_read_only)
{
    for (enum mock_personality who = 0; who < MOCK_PERSONALITIES; who++) {
        mock_init_as(&mock, who);
        enum caboose_error error = command(CABOOSE_ERASE);
        if (who == MOCK_TEXTBOOK) {
            cr_expect(error == CABOOSE_UNFIT);
            expect_in(report->message, "plain DFU");
            continue;
        }
        cr_expect(error == CABOOSE_OK, "%s: %s", mock_name(who), report->message);
        for (unsigned i = 0; i < MOCK_SIZE; i++)
            cr_assert((mock.flash[i] == 0xFF) == (i < MOCK_WRITABLE * MOCK_PAGE), "%s at %u",
                mock_name(who), i);
        cr_expect(!mock.violation, "%s: %s", mock_name(who), mock.violation);
    }
}

Test(job, every_personality_leaves)
{
    for (enum mock_personality who = 0; who < MOCK_PERSONALITIES; who++) {
        mock_init_as(&mock, who);
        memcpy(mock.flash, image.segments[0].data, PROGRAM);
        enum caboose_error error = command(CABOOSE_LEAVE);
        if (who == MOCK_TEXTBOOK) {
            cr_expect(error == CABOOSE_UNFIT);
            continue;
        }
        cr_expect(error == CABOOSE_OK, "%s: %s", mock_name(who), report->message);
        cr_expect(report->departure == CABOOSE_LEFT, "%s", mock_name(who));
        cr_expect(mock.leaving && mock.pointer == MOCK_BASE && !mock.violation, "%s: %s",
            mock_name(who), mock.violation);
    }
}

Test(job, unprotecting_erases_and_a_board_that_vanishes_then_obeyed)
{
    for (enum mock_personality who = 0; who < MOCK_PERSONALITIES; who++) {
        mock_init_as(&mock, who);
        mock.protects = true;
        if (who == MOCK_TEXTBOOK)
            continue;
        cr_expect(
            command(CABOOSE_UNPROTECT) == CABOOSE_OK, "%s: %s", mock_name(who), report->message);
        cr_expect(!mock.protects && report->departure == CABOOSE_LEFT, "%s", mock_name(who));
        cr_expect(!mock.violation, "%s: %s", mock_name(who), mock.violation);
    }
}

Test(job, an_erase_that_never_ends_is_ended_by_two_clrstatus_and_looked_at)
{
    mock_init_as(&mock, MOCK_H7_ROM);
    cr_expect(order(flash_it) == CABOOSE_OK, "%s", report->message);
    cr_expect(mock.clears == 2 * 5, "%u CLRSTATUS for five erases", mock.clears);
    cr_expect(mock.now_ms < 5 * 15000, "%llu ms", (unsigned long long)mock.now_ms);
}

Test(job, an_erase_that_was_ended_by_force_and_did_nothing_is_noticed)
{
    mock_init_as(&mock, MOCK_H7_ROM);
    mock.erase_size = 0; /* it erases nothing at all */
    cr_expect(command(CABOOSE_ERASE) == CABOOSE_PROTOCOL);
    expect_in(report->message, "did not finish erasing");
}

Test(job, the_f405_is_left_alone_during_a_mass_erase)
{
    static struct engine engine;
    static struct device device;
    mock_init_as(&mock, MOCK_F405_ROM);
    mock_describe(&device);
    struct plan_step step = {.kind = STEP_MASS_ERASE, .addr = MOCK_BASE, .size = MOCK_SIZE};
    struct plan plan = {.steps = &step, .count = 1};
    engine_run(&engine, &device, &plan);
    cr_expect(mock_run(&mock, &engine) == ENGINE_OK, "%s", engine.message);
    cr_expect(!mock.violation, "%s", mock.violation);
    cr_expect(mock.flash[0] == 0xFF && mock.now_ms < 60000);
}

/* --- only what differs ---------------------------------------------------------------------------- */

Test(job, the_same_program_again_erases_and_writes_nothing)
{
    memcpy(mock.flash, image.segments[0].data, PROGRAM);
    cr_expect(order(flash_it) == CABOOSE_OK, "%s", report->message);
    cr_expect(all_erases() == 0 && mock.blocks == 0 && mock.leaving);
}

Test(job, a_byte_that_differs_costs_its_page_only)
{
    memcpy(mock.flash, image.segments[0].data, PROGRAM);
    mock.flash[2 * MOCK_PAGE + 7] ^= 1;
    cr_expect(order(flash_it) == CABOOSE_OK, "%s", report->message);
    cr_expect(holds_image());
    for (unsigned page = 0; page < MOCK_PAGES; page++)
        cr_expect(mock.erases[page] == (page == 2), "page %u", page);
    cr_expect(mock.blocks == 1);
}

/* dfu-util erases, points to and writes each of 50 pages there: 150 times 100 ms. */
Test(job, one_changed_page_on_a_board_with_polls_of_100_ms_costs_less_than_a_tenth)
{
    struct caboose_order o = flash_it;
    o.no_leave = true;
    make_program(MOCK_BASE, MOCK_WRITABLE * MOCK_PAGE, 0);
    mock.poll_ms = mock.busy_ms = 100;
    memcpy(mock.flash, image.segments[0].data, MOCK_WRITABLE * MOCK_PAGE);
    mock.flash[20 * MOCK_PAGE] ^= 1;
    cr_expect(order(o) == CABOOSE_OK && holds_image(), "%s", report->message);
    cr_expect(mock.now_ms <= 1500, "%llu ms", (unsigned long long)mock.now_ms);
    cr_log_info("%llu ms in %u transfers", (unsigned long long)mock.now_ms, mock.transfers);
}

Test(job, rewrite_writes_what_is_there_already)
{
    struct caboose_order o = flash_it;
    o.rewrite = true;
    memcpy(mock.flash, image.segments[0].data, PROGRAM);
    cr_expect(order(o) == CABOOSE_OK, "%s", report->message);
    cr_expect(all_erases() == 5 && mock.blocks == 5);
    expect_rest_kept();
}

Test(job, a_blank_board_is_not_erased)
{
    memset(mock.flash, 0xFF, sizeof mock.flash);
    cr_expect(order(flash_it) == CABOOSE_OK, "%s", report->message);
    cr_expect(holds_image() && all_erases() == 0 && !mock.violation, "%s", mock.violation);
}

Test(job, blank_blocks_of_a_blank_board_are_not_written)
{
    memset(mock.flash, 0xFF, sizeof mock.flash);
    memset(image.segments[0].data + 1024, 0xFF, 2048);
    cr_expect(order(flash_it) == CABOOSE_OK, "%s", report->message);
    cr_expect(holds_image() && mock.blocks == 3, "%u blocks", mock.blocks);
}

Test(job, the_rest_of_a_partly_covered_page_is_kept)
{
    cr_expect(order(flash_it) == CABOOSE_OK, "%s", report->message); /* over 0xA5 everywhere */
    cr_expect(holds_image());
    expect_rest_kept();
    cr_expect(report->plan.pages[4].kept == 5 * MOCK_PAGE - PROGRAM);
}

Test(job, the_rest_before_and_between_is_kept_too)
{
    make_program(MOCK_BASE + 0x280, 300, 0); /* in the middle of a page */
    cr_assert(image_add(&image, IMAGE_ANY_ALT, MOCK_BASE + 0x3C0, (const uint8_t *)"x", 1) == 0);
    struct caboose_order o = flash_it;
    o.force = true; /* it is no place for a vector table */
    cr_expect(order(o) == CABOOSE_OK, "%s", report->message);
    cr_expect(holds_image() && mock.flash[0x3C0] == 'x' && !mock.violation, "%s", mock.violation);
    for (unsigned i = 0; i < MOCK_SIZE; i++)
        if ((i < 0x280 || i >= 0x280 + 300) && i != 0x3C0)
            cr_assert(mock.flash[i] == 0xA5, "at 0x%x", i);
}

Test(job, two_parts_in_one_flash_word_are_programmed_as_one)
{
    mock_init_as(&mock, MOCK_H7_ROM);
    make_program(MOCK_BASE, 1000, 0); /* ends within a word of 32 bytes … */
    cr_assert(image_add(&image, IMAGE_ANY_ALT, MOCK_BASE + 1010, (const uint8_t *)"next", 4) == 0);
    cr_assert(image_add(&image, IMAGE_ANY_ALT, MOCK_BASE + 1020, (const uint8_t *)"last", 4) == 0);
    memset(mock.flash, 0xFF, sizeof mock.flash); /* … with nothing between that would be kept */
    cr_expect(order(flash_it) == CABOOSE_OK, "%s", report->message);
    cr_expect(holds_image() && memcmp(mock.flash + 1010, "next", 4) == 0);
    cr_expect(!mock.violation, "%s", mock.violation);
}

Test(job, what_reads_as_blank_after_an_interruption_is_erased_again)
{
    struct caboose_order o = flash_it;
    o.resume = true;
    order(o);
    uint32_t all = mock.transfers;
    mock_init(&mock);
    mock.comes_back = true;
    for (uint32_t n = 20; n < all; n++) { /* until all pages are erased and none is written */
        mock_init(&mock);
        mock.comes_back = true;
        mock.unplug_after = n;
        cr_expect(order(o) == CABOOSE_OK, "%s", report->message);
        for (unsigned page = 0; page < 5; page++)
            cr_expect(mock.erases[page] >= 1 && mock.erases[page] <= 2);
        if (all_erases() == 10)
            return;
    }
    cr_expect(false, "blank pages were believed");
}

Test(job, a_dry_run_plans_and_changes_nothing)
{
    struct caboose_order o = flash_it;
    o.dry_run = true;
    memcpy(mock.flash, image.segments[0].data, 2048);
    cr_expect(order(o) == CABOOSE_OK, "%s", report->message);
    cr_expect(report->plan.page_count == 5);
    cr_expect(!report->plan.pages[1].write && report->plan.pages[2].erase);
    cr_expect(all_erases() == 0 && mock.blocks == 0 && !mock.leaving && !mock.gone);
}

Test(job, a_board_that_lies_about_its_sectors_ends_up_right)
{
    mock_init_as(&mock, MOCK_LIAR);
    memcpy(mock.flash, image.segments[0].data, PROGRAM);
    mock.flash[MOCK_PAGE] ^= 1; /* erasing page 1 takes page 0 with it */
    cr_expect(order(flash_it) == CABOOSE_OK, "%s", report->message);
    cr_expect(holds_image());
    expect_in(report->note, "everything is written again");
}

Test(job, a_board_that_was_torn_is_written_completely_when_it_refuses_to_leave)
{
    mock.wants_page_0 = true;
    memcpy(mock.flash, image.segments[0].data, PROGRAM);
    mock.flash[2 * MOCK_PAGE] ^= 1;
    cr_expect(order(flash_it) == CABOOSE_OK, "%s", report->message);
    cr_expect(holds_image() && mock.page_0_written && mock.leaving);
}

/* --- what may go wrong ----------------------------------------------------------------------------- */

/* How many transfers it takes to flash this one. */
static uint32_t transfers_of(enum mock_personality who)
{
    mock_init_as(&mock, who);
    order(flash_it);
    return mock.transfers;
}

Test(job, any_transfer_that_fails_ends_in_success_or_in_words)
{
    static const int errors[] = {
        TRANSFER_STALL, TRANSFER_TIMEOUT, TRANSFER_GONE, TRANSFER_IO, TRANSFER_DENIED, 0, 1};
    unsigned runs = 0;
    make_program(MOCK_BASE, 2500, 0);
    for (enum mock_personality who = 0; who < MOCK_PERSONALITIES; who++)
        for (uint32_t n = 1, all = transfers_of(who); n <= all; n++)
            for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++, runs++) {
                mock_init_as(&mock, who);
                mock.fail_nth = n;
                mock.fail_with = errors[i];
                enum caboose_error error = order(flash_it);
                if (error == CABOOSE_OK)
                    cr_expect(holds_image(), "%s, transfer %u, %d: success is claimed",
                        mock_name(who), n, errors[i]);
                else
                    cr_expect(report->message[0], "%s, transfer %u, %d: no words", mock_name(who),
                        n, errors[i]);
            }
    cr_log_info("%u runs", runs);
    cr_expect(runs > 1000, "%u runs", runs);
}

/* A job of its own, as the failing allocation may be its. */
static enum caboose_error order_without_memory(struct caboose_order o, unsigned n, unsigned *used)
{
    struct caboose_job *starved;
    mock_init(&mock);
    allocations = 0;
    fails_at = n;
    starved = caboose_job_new(&o);
    enum caboose_error error = starved ? mock_run_job(&mock, starved, deadline_ms) : CABOOSE_MEMORY;
    fails_at = 0;
    *used = allocations;
    if (starved && error && n)
        expect_in(caboose_job_report(starved)->message, "memory");
    caboose_job_free(starved);
    return error;
}

Test(job, any_allocation_that_fails_fails_the_job_in_words_and_no_board)
{
    static const enum caboose_verb verbs[] = {CABOOSE_FLASH, CABOOSE_VERIFY, CABOOSE_READ,
        CABOOSE_ERASE, CABOOSE_LEAVE, CABOOSE_UNPROTECT};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        struct caboose_order o = {.verb = verbs[i], .image = &image, .alt = PLAN_ANY_ALT};
        unsigned all, used;
        cr_expect(order_without_memory(o, 0, &all) != CABOOSE_MEMORY);
        for (unsigned n = 1; n <= all; n++) {
            enum caboose_error error = order_without_memory(o, n, &used);
            cr_expect(
                error == CABOOSE_MEMORY, "verb %u, allocation %u: error %u", verbs[i], n, error);
            cr_expect(all_erases() == 0 && mock.blocks == 0, "verb %u, allocation %u", verbs[i], n);
        }
    }
}

Test(job, a_board_that_dies_at_any_transfer_is_a_board_that_went_away)
{
    for (enum mock_personality who = 0; who < MOCK_PERSONALITIES; who++) {
        mock_init_as(&mock, who);
        struct caboose_order o = flash_it;
        o.no_leave = true;
        order(o);
        for (uint32_t n = 1, all = mock.transfers; n < all; n++) {
            mock_init_as(&mock, who);
            mock.unplug_after = n;
            enum caboose_error error = order(o);
            bool over = who == MOCK_TEXTBOOK && error == CABOOSE_OK; /* it was told to manifest */
            cr_expect(over || error == CABOOSE_GONE, "%s, after %u: %s", mock_name(who), n,
                report->message);
        }
    }
}

Test(job, what_was_unplugged_anywhere_is_resumed_and_nothing_right_is_written_again)
{
    struct caboose_order o = flash_it;
    o.resume = true;
    mock_init_as(&mock, MOCK_CABOOSE);
    order(o);
    for (uint32_t n = 10, all = mock.left_at - 1; n < all; n++) {
        mock_init_as(&mock, MOCK_CABOOSE);
        mock.comes_back = true;
        mock.unplug_after = n;
        cr_expect(order(o) == CABOOSE_OK, "after %u: %s", n, report->message);
        cr_expect(holds_image() && !mock.violation, "after %u: %s", n, mock.violation);
        cr_expect(report->attempts == 2, "after %u", n);
        /* At worst the page that was being written, and those that were erased already. */
        cr_expect(mock.blocks <= 6, "after %u: %u blocks", n, mock.blocks);
    }
}

Test(job, another_board_that_comes_back_is_not_written_to)
{
    struct caboose_order o = flash_it;
    o.resume = true;
    mock.comes_back = true;
    mock.unplug_after = 30;
    caboose_job_free(job);
    job = caboose_job_new(&o);
    report = caboose_job_report(job);
    while (caboose_job_next(job)->want != CABOOSE_REOPEN) {
        const struct caboose_ask *ask = caboose_job_next(job);
        caboose_job_answer(
            job, ask->want == CABOOSE_TRANSFER ? mock_transfer(&mock, ask->setup, ask->data) : 0);
        mock.now_ms += ask->ms;
    }
    unsigned blocks = mock.blocks, erases = all_erases();
    mock.serial = "0002";
    cr_expect(mock_run_job(&mock, job, deadline_ms) == CABOOSE_UNFIT);
    expect_in(report->message, "0002");
    cr_expect(mock.blocks == blocks && all_erases() == erases);
}

Test(job, memory_that_cannot_be_read_is_told_and_not_taken_for_another)
{
    mock.protects = true;
    cr_expect(order(flash_it) == CABOOSE_REFUSED);
    expect_in(report->message, "protected");
    cr_expect(report->unreadable && report->status == DFU_ERR_VENDOR);
    cr_expect(command(CABOOSE_READ) == CABOOSE_REFUSED);
    expect_in(report->message, "protected");
}

Test(job, a_page_that_is_stuck_fails_verification_after_everything_was_tried)
{
    mock.flips_at = MOCK_BASE + 1234;
    cr_expect(order(flash_it) == CABOOSE_MISMATCH);
    expect_in(report->message, "0x080004d2");
    cr_expect(!mock.leaving, "a program that is wrong was started");
}

Test(job, what_keeps_a_program_from_a_board_is_told_apart)
{
    static const struct {
        int fails_with;
        enum caboose_error error;
        const char *says;
    } cases[] = {
        {TRANSFER_DENIED,  CABOOSE_DENIED, "no permission"      },
        {TRANSFER_BUSY,    CABOOSE_GONE,   "another program is" },
        {TRANSFER_GONE,    CABOOSE_GONE,   "went away"          },
        {TRANSFER_TIMEOUT, CABOOSE_GONE,   "stopped answering"  },
        {TRANSFER_IO,      CABOOSE_GONE,   "USB transfer failed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mock_init(&mock);
        mock.fail_nth = 8; /* the first that is not a descriptor's: SET_INTERFACE */
        mock.fail_with = cases[i].fails_with;
        cr_expect(order(flash_it) == cases[i].error, "case %zu: %s", i, report->message);
        expect_in(report->message, cases[i].says);
        cr_expect(all_erases() == 0 && mock.blocks == 0);
    }
}

/* --- leaving, and what is no program ---------------------------------------------------------------- */

static enum caboose_error leave_to(uint32_t addr, bool force)
{
    return order((struct caboose_order){.verb = CABOOSE_LEAVE,
        .alt = PLAN_ANY_ALT,
        .has_addr = true,
        .addr = addr,
        .force = force});
}

Test(job, leave_explains_what_is_no_program)
{
    static const struct {
        uint32_t addr, stack, reset;
        const char *says;
    } cases[] = {
        {MOCK_BASE,  0xFFFFFFFF, 0xFFFFFFFF, "it is blank"            },
        {MOCK_BASE,  0x12345678, 0x08000145, "not in RAM"             },
        {MOCK_BASE,  0x20005000, 0x08000144, "even"                   },
        {MOCK_BASE,  0x20005000, 0x09000001, "no memory"              },
        {0x0800BA65, 0,          0,          "did you mean 0x08000000"},
        {0x08000004, 0,          0,          "multiple of 128"        },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mock_init(&mock);
        transfer_put32(mock.flash, cases[i].stack);
        transfer_put32(mock.flash + 4, cases[i].reset);
        cr_expect(leave_to(cases[i].addr, false) == CABOOSE_UNFIT, "case %zu", i);
        expect_in(report->message, cases[i].says);
        cr_expect(!mock.leaving, "case %zu was started", i);
    }
    cr_expect(leave_to(MOCK_BASE, true) == CABOOSE_OK, "%s", report->message);
    cr_expect(mock.leaving);
}

Test(job, leave_goes_where_the_memory_cannot_be_read)
{
    mock.protects = true;
    cr_expect(leave_to(MOCK_BASE, false) == CABOOSE_REFUSED || mock.leaving);
    mock_init(&mock);
    cr_expect(leave_to(0x20000000, false) == CABOOSE_OK, "%s", report->message);
    cr_expect(mock.leaving && mock.pointer == 0x20000000);
}

Test(job, the_bootloader_itself_is_recognised)
{
    memcpy(image.segments[0].data + 8, "caboose", 8);
    cr_expect(order(flash_it) == CABOOSE_OK, "%s", report->message); /* the mock says it is one */
    expect_in(report->note, "gone until you flash one again");
}

Test(job, the_bootloader_itself_elsewhere_wants_force)
{
    struct caboose_order o = flash_it;
    make_program(MOCK_BASE + 0x2000, PROGRAM, 0); /* another layout */
    memcpy(image.segments[0].data + 8, "caboose", 8);
    cr_expect(order(o) == CABOOSE_UNFIT);
    expect_in(report->message, "--force");
    cr_expect(all_erases() == 0);
    o.force = true;
    cr_expect(order(o) == CABOOSE_OK, "%s", report->message);
}

/* --- inspection ------------------------------------------------------------------------------------- */

Test(job, an_application_with_a_dfu_interface_can_be_inspected_but_not_flashed)
{
    mock.plain = false;
    cr_expect(command(CABOOSE_INSPECT) == CABOOSE_OK);
    cr_expect_str_eq(report->board.serial, "0001");
    mock.state = DFU_APP_IDLE;
    cr_expect(order(flash_it) == CABOOSE_PROTOCOL);
    expect_in(report->message, "runs its application");
}

Test(job, the_state_that_the_board_was_found_in_is_told)
{
    struct caboose_order o = {.verb = CABOOSE_LEAVE, .alt = PLAN_ANY_ALT, .dry_run = true};
    memcpy(mock.flash, image.segments[0].data, PROGRAM);
    mock.state = DFU_ERROR;
    mock.status = DFU_ERR_VENDOR;
    cr_expect(order(o) == CABOOSE_OK, "%s", report->message);
    cr_expect(report->found && report->found_state == DFU_ERROR);
    cr_expect(report->has_program && report->stack == 0x20005000 && report->entry == 0x08000145);
    cr_expect(!mock.leaving);
}

/* Turn by turn, so that whatever one left behind the other would find. */
Test(job, jobs_know_nothing_of_each_other)
{
    static struct mock other;
    struct caboose_job *jobs[2];
    struct image first = image;
    struct caboose_order orders[2] = {flash_it, flash_it};
    mock_init_as(&other, MOCK_L4_ROM);
    image = (struct image){0};
    make_program(MOCK_BASE + 0x800, 3000, 99);
    orders[0].image = &first;
    for (int i = 0; i < 2; i++)
        jobs[i] = caboose_job_new(&orders[i]);
    for (bool any = true; any;) {
        any = false;
        for (int i = 0; i < 2; i++) {
            struct mock *m = i ? &other : &mock;
            const struct caboose_ask *ask = caboose_job_next(jobs[i]);
            if (ask->want >= CABOOSE_DONE)
                continue;
            any = true;
            if (ask->want == CABOOSE_TRANSFER)
                caboose_job_answer(jobs[i], mock_transfer(m, ask->setup, ask->data));
            else
                m->now_ms += ask->ms, caboose_job_answer(jobs[i], 0);
        }
    }
    for (int i = 0; i < 2; i++) {
        cr_expect(caboose_job_report(jobs[i])->error == CABOOSE_OK);
        caboose_job_free(jobs[i]);
    }
    cr_expect(memcmp(mock.flash, first.segments[0].data, PROGRAM) == 0);
    cr_expect(memcmp(other.flash + 0x800, image.segments[0].data, 3000) == 0);
    image_free(&first);
}
