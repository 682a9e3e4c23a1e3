/* SPDX-License-Identifier: MIT */
/* Many boards at once: one loop, one virtual clock, each board for itself. */
#include "host/fleet.h"
#include "tests/mock_link.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { BOARDS = 16, PROGRAM = 20000 };

static struct mock mocks[BOARDS];
static struct fleet_member members[BOARDS];
static struct fleet fleet;
static struct image image;

/* The clock of all. */
static void pass(uint64_t us)
{
    for (unsigned i = 0; i < BOARDS; i++)
        mocks[i].now_ms += (us + 999) / 1000;
}

static void give_orders(bool resume)
{
    const struct caboose_order order = {
        .verb = CABOOSE_FLASH, .image = &image, .alt = PLAN_ANY_ALT, .resume = resume};
    for (unsigned i = 0; i < BOARDS; i++) {
        members[i] = (struct fleet_member){
            .link = mock_link(&mocks[i]),
            .where = {.path = "mock", .dfu = true},
            .job = caboose_job_new(&order)
        };
    }
    fleet = (struct fleet){.members = members, .count = BOARDS, .sleep_us = pass};
}

static void set_up(void)
{
    uint8_t data[PROGRAM];
    for (unsigned i = 0; i < PROGRAM; i++)
        data[i] = (uint8_t)(i * 11 + i / 512);
    transfer_put32(data, 0x20005000);
    transfer_put32(data + 4, MOCK_BASE + 0x101);
    image_init(&image, IMAGE_HEX);
    image.vendor = image.product = IMAGE_ANY_ID;
    cr_assert(image_add(&image, IMAGE_ANY_ALT, MOCK_BASE, data, sizeof data) == 0);
    for (unsigned i = 0; i < BOARDS; i++)
        mock_init(&mocks[i]);
}

static void tear_down(void)
{
    for (unsigned i = 0; i < BOARDS; i++) {
        caboose_job_free(members[i].job);
        link_free(members[i].link);
    }
    image_free(&image);
}

TestSuite(fleet, .init = set_up, .fini = tear_down, .timeout = 30);

static const struct caboose_report *report_of(unsigned i)
{
    return caboose_job_report(members[i].job);
}

static bool holds_image(unsigned i)
{
    return memcmp(mocks[i].flash, image.segments[0].data, PROGRAM) == 0;
}

Test(fleet, sixteen_boards_take_as_long_as_one)
{
    give_orders(false);
    fleet.count = 1;
    fleet_run(&fleet);
    uint64_t one = mocks[0].now_ms;
    for (unsigned i = 0; i < BOARDS; i++)
        mock_init(&mocks[i]);
    tear_down();
    set_up();
    give_orders(false);
    fleet_run(&fleet);
    for (unsigned i = 0; i < BOARDS; i++) {
        cr_expect(report_of(i)->error == CABOOSE_OK, "board %u: %s", i, report_of(i)->message);
        cr_expect(holds_image(i) && !mocks[i].violation, "board %u: %s", i, mocks[i].violation);
    }
    cr_expect(mocks[0].now_ms <= one, "%llu ms, one alone %llu ms",
        (unsigned long long)mocks[0].now_ms, (unsigned long long)one);
}

Test(fleet, waits_as_long_as_the_board_asks_and_no_longer)
{
    give_orders(false);
    mock_run_job(&mocks[1], members[1].job, 100000);
    uint64_t alone = mocks[1].now_ms;
    fleet.count = 1;
    fleet_run(&fleet);
    cr_expect_eq(mocks[0].now_ms, alone, "%llu ms instead of %llu",
        (unsigned long long)mocks[0].now_ms, (unsigned long long)alone);
}

Test(fleet, boards_that_fail_do_not_disturb_the_others)
{
    mocks[3].unplug_after = 40;
    mocks[7].flips_at = MOCK_BASE + 5000;
    mocks[11].leave = MOCK_REFUSES;
    mocks[15].protects = true;
    give_orders(false);
    fleet_run(&fleet);
    for (unsigned i = 0; i < BOARDS; i++) {
        enum caboose_error wanted = i == 3               ? CABOOSE_GONE
                                    : i == 7             ? CABOOSE_MISMATCH
                                    : i == 11 || i == 15 ? CABOOSE_REFUSED
                                                         : CABOOSE_OK;
        cr_expect(report_of(i)->error == wanted, "board %u: %s", i, report_of(i)->message);
        cr_expect(wanted != CABOOSE_OK || holds_image(i), "board %u", i);
    }
}

Test(fleet, every_kind_of_board_at_once)
{
    for (unsigned i = 0; i < BOARDS; i++)
        mock_init_as(&mocks[i], (enum mock_personality)(i % MOCK_PERSONALITIES));
    give_orders(false);
    fleet_run(&fleet);
    for (unsigned i = 0; i < BOARDS; i++)
        cr_expect(report_of(i)->error == CABOOSE_OK && holds_image(i), "%s: %s",
            mock_name((enum mock_personality)(i % MOCK_PERSONALITIES)), report_of(i)->message);
}

Test(fleet, boards_that_come_back_are_finished)
{
    for (unsigned i = 0; i < BOARDS; i++) {
        mocks[i].unplug_after = 20 + 9 * i;
        mocks[i].comes_back = true;
    }
    give_orders(true);
    fleet_run(&fleet);
    for (unsigned i = 0; i < BOARDS; i++) {
        cr_expect(report_of(i)->error == CABOOSE_OK && holds_image(i), "board %u: %s", i,
            report_of(i)->message);
        cr_expect(report_of(i)->attempts == 2, "board %u", i);
    }
}

Test(fleet, a_board_that_stays_away_is_given_up)
{
    mocks[0].unplug_after = 30;
    give_orders(true);
    fleet.count = 1;
    fleet.patience_ms = 5000;
    fleet_run(&fleet);
    cr_expect(report_of(0)->error == CABOOSE_GONE);
    cr_expect(mocks[0].now_ms < 10000, "%llu ms", (unsigned long long)mocks[0].now_ms);
}
