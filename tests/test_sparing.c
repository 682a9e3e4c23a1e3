/* SPDX-License-Identifier: MIT */
/* What a job spares: reading what would change nothing, erases that a board does by itself, questions that are
 * answered already. And that nothing is lost by that, also where a board is not what its name says. */
#include "core/dfu.h"
#include "mock_job.h"

#include <criterion/criterion.h>
#include <string.h>

/* All that can be written: fifty pages. */
static void make_full_program(void)
{
    make_program(MOCK_BASE, MOCK_WRITABLE * MOCK_PAGE, 0);
}

static void set_up(void)
{
    mock_job_set_up();
    deadline_ms = 100000;
}

TestSuite(looks, .init = set_up, .fini = mock_job_tear_down, .timeout = 60);
TestSuite(habits, .init = set_up, .fini = mock_job_tear_down, .timeout = 60);

/* --- looks ----------------------------------------------------------------------------------------- */

/* Flashes; how many blocks were read before. */
static unsigned looks(struct caboose_order o)
{
    mock.uploads = 0;
    cr_expect(order(o) == CABOOSE_OK && (o.dry_run || holds_image()), "%s", report->message);
    cr_expect(!mock.violation, "%s", mock.violation);
    return mock.uploads - (o.dry_run ? 0 : (unsigned)(report->plan.bytes[STEP_VERIFY] / MOCK_XFER));
}

Test(looks, end_when_the_board_is_seen_to_hold_another_program)
{
    make_full_program();
    mock_init_as(&mock, MOCK_USUAL);
    cr_expect(looks(flash_it) == 8);
    cr_expect(all_erases() == MOCK_WRITABLE);
    mock_init_as(&mock, MOCK_CABOOSE);
    cr_expect(looks(flash_it) == 2);
}

Test(looks, go_on_while_there_is_something_to_spare)
{
    make_full_program();
    mock_init_as(&mock, MOCK_USUAL);
    memcpy(mock.flash, image.segments[0].data, MOCK_WRITABLE * MOCK_PAGE);
    for (unsigned page = 20; page < 20 + 7; page++)
        mock.flash[page * MOCK_PAGE] ^= 1;
    cr_expect(looks(flash_it) == MOCK_WRITABLE);
    cr_expect(all_erases() == 7 && mock.blocks == 7);
    mock_init_as(&mock, MOCK_USUAL); /* every other one: never eight in a row */
    memcpy(mock.flash, image.segments[0].data, MOCK_WRITABLE * MOCK_PAGE);
    for (unsigned page = 1; page < 30; page += 2)
        mock.flash[page * MOCK_PAGE] ^= 1;
    cr_expect(looks(flash_it) == MOCK_WRITABLE);
    cr_expect(all_erases() == 15 && mock.blocks == 15);
    mock_init_as(&mock, MOCK_USUAL); /* a blank sector needs no erase */
    memset(mock.flash, 0xFF, sizeof mock.flash);
    cr_expect(looks(flash_it) == MOCK_WRITABLE);
    cr_expect(all_erases() == 0);
}

Test(looks, at_a_blank_board_that_erases_by_itself_are_few)
{
    make_full_program();
    mock_init_as(&mock, MOCK_CABOOSE);
    memset(mock.flash, 0xFF, sizeof mock.flash);
    cr_expect(looks(flash_it) == 2);
}

Test(looks, at_a_large_sector_end_with_the_first_difference)
{
    make_program(MOCK_BASE, 3 * 16384, 0);
    mock.map = "@Internal Flash  /0x08000000/03*016Kg,16*001Ka";
    mock.erase_size = 16384;
    memcpy(mock.flash, image.segments[0].data, 3 * 16384);
    mock.flash[16384 + 3000] ^= 1; /* its third block */
    cr_expect(looks(flash_it) == 16 + 3 + 16);
    cr_expect(all_erases() == 1 && mock.blocks == 16);
}

Test(looks, that_were_not_taken_leave_nothing_unwritten_whatever_the_program_has_there)
{
    static const uint8_t fills[] = {0x00, 0xFF, 0xAA, 0x55, 0x01, 0xA5};
    make_full_program();
    for (size_t i = 0; i < sizeof fills; i++)
        memset(image.segments[0].data + (40 + i) * MOCK_PAGE, fills[i], MOCK_PAGE);
    for (int caboose = 0; caboose < 2; caboose++) {
        mock_init_as(&mock, caboose ? MOCK_CABOOSE : MOCK_USUAL);
        cr_expect(order(flash_it) == CABOOSE_OK && holds_image(), "%s", report->message);
        cr_expect(report->attempts == 1);
        cr_expect(report->plan.bytes[STEP_VERIFY] == MOCK_WRITABLE * MOCK_PAGE);
    }
}

Test(looks, of_a_dry_run_are_all_taken_so_that_it_tells_exactly)
{
    struct caboose_order o = flash_it;
    o.dry_run = true;
    make_full_program();
    mock_init_as(&mock, MOCK_CABOOSE);
    memcpy(mock.flash + 30 * MOCK_PAGE, image.segments[0].data + 30 * MOCK_PAGE, 20 * MOCK_PAGE);
    cr_expect(looks(o) == MOCK_WRITABLE);
    for (unsigned i = 0; i < MOCK_WRITABLE; i++)
        cr_expect(report->plan.pages[i].write == (i < 30), "page %u", i);
}

Test(looks, are_not_taken_to_rewrite_but_what_must_be_kept_is_read)
{
    struct caboose_order o = flash_it;
    o.rewrite = true;
    cr_expect(order(o) == CABOOSE_OK && holds_image(), "%s", report->message);
    cr_expect(mock.uploads == 1 + 5, "the last page; and to verify; not %u", mock.uploads);
    expect_rest_kept();
    make_full_program();
    mock_init(&mock);
    cr_expect(looks(o) == 0);
}

Test(looks, at_what_the_board_is_are_taken_once)
{
    struct caboose_order o = flash_it;
    struct device board;
    cr_expect(order((struct caboose_order){.verb = CABOOSE_INSPECT}) == CABOOSE_OK);
    board = report->board;
    unsigned asked = mock.transfers;
    mock_init(&mock);
    cr_expect(order(o) == CABOOSE_OK, "%s", report->message);
    unsigned all = mock.transfers;
    mock_init(&mock);
    o.board = &board;
    cr_expect(order(o) == CABOOSE_OK && holds_image(), "%s", report->message);
    cr_expect(mock.transfers == all - asked, "%u, not %u", mock.transfers, all - asked);
}

/* --- habits ---------------------------------------------------------------------------------------- */

/* That erase makes a download that is cut short differ from one that is finished, for those who come later. */
Test(habits, one_erase_of_what_is_written_last_comes_first_of_all)
{
    mock_init_as(&mock, MOCK_CABOOSE);
    cr_expect(order(flash_it) == CABOOSE_OK && holds_image(), "%s", report->message);
    cr_expect(report->plan.steps[0].kind == STEP_ERASE);
    cr_expect(report->plan.steps[0].addr == MOCK_BASE + 4 * MOCK_PAGE);
    cr_expect(all_erases() == 1 && !mock.violation, "%s", mock.violation);
    expect_rest_kept();
}

Test(habits, a_board_that_is_done_when_it_answers_is_asked_once_a_block)
{
    struct caboose_order o = flash_it;
    o.no_leave = true;
    make_full_program();
    mock_init_as(&mock, MOCK_CABOOSE);
    cr_expect(order(o) == CABOOSE_OK && holds_image(), "%s", report->message);
    cr_expect(mock.statuses < MOCK_WRITABLE + 20, "%u", mock.statuses);
}

Test(habits, a_board_that_has_only_the_name_ends_up_right)
{
    for (int announces = 0; announces < 2; announces++) { /* found out by a STALL, or by reading */
        mock_init_as(&mock, MOCK_NAMESAKE);
        mock.poll_ms = announces ? mock.busy_ms : 0;
        cr_expect(order(flash_it) == CABOOSE_OK && holds_image(), "%s", report->message);
        cr_expect(report->attempts == 2 && mock.leaving);
        expect_in(report->note, "everything is written again");
        expect_rest_kept();
    }
}

Test(habits, are_not_relied_on_where_nothing_is_verified)
{
    struct caboose_order o = flash_it;
    o.no_verify = true;
    mock_init_as(&mock, MOCK_NAMESAKE);
    cr_expect(order(o) == CABOOSE_OK && holds_image(), "%s", report->message);
    cr_expect(report->attempts == 1 && all_erases() == 5 && !mock.violation, "%s", mock.violation);
}

Test(habits, a_refused_write_is_told_as_such)
{
    mock_init_as(&mock, MOCK_CABOOSE);
    mock.fail_write_at = MOCK_BASE + 2 * MOCK_PAGE;
    mock.fail_status = DFU_ERR_WRITE;
    cr_expect(order(flash_it) == CABOOSE_REFUSED);
    expect_in(report->message, "errWRITE");
    cr_expect(!mock.leaving);
}
