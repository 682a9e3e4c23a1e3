/* SPDX-License-Identifier: MIT */
/* Conversations with a scripted device, well and ill behaved, in virtual time. */
#include "core/dfu.h"
#include "host/vectors.h"
#include "tests/mock_device.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct mock mock;
static struct device device;
static struct image image;
static struct plan plan;
static struct engine engine;
static char why[PLAN_ERROR_SIZE];

/* A program of this size: a sane vector table, then bytes that differ. */
static void make_program(uint32_t addr, uint32_t size)
{
    uint8_t *data = malloc(size);
    for (uint32_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    if (size >= 8) {
        transfer_put32(data, 0x20005000);
        transfer_put32(data + 4, addr + 0x145);
    }
    image_init(&image, IMAGE_RAW);
    cr_assert(image_add(&image, IMAGE_ANY_ALT, addr, data, size) == 0);
    free(data);
}

static void set_up(void)
{
    mock_init(&mock);
    mock_describe(&device);
    make_program(MOCK_BASE, 5000);
}

static void tear_down(void)
{
    plan_free(&plan);
    image_free(&image);
}

TestSuite(engine, .init = set_up, .fini = tear_down, .timeout = 20);
TestSuite(plan, .init = set_up, .fini = tear_down, .timeout = 20);
TestSuite(vectors, .init = set_up, .fini = tear_down, .timeout = 20);
TestSuite(inspect, .init = set_up, .fini = tear_down, .timeout = 20);

static const struct plan_options all = {
    .alt = PLAN_ANY_ALT, .verify = true, .leave = true, .start = MOCK_BASE};
static const struct plan_options no_leave = {.alt = PLAN_ANY_ALT, .verify = true};

static enum engine_failure flash(const struct plan_options *options)
{
    cr_assert(plan_flash(&plan, &device, &image, options, why) == 0, "%s", why);
    engine_run(&engine, &device, &plan);
    return mock_run(&mock, &engine);
}

static bool flash_holds_image(void)
{
    for (size_t i = 0; i < image.count; i++)
        if (memcmp(mock.flash + (image.segments[i].addr - MOCK_BASE), image.segments[i].data,
                image.segments[i].size))
            return false;
    return true;
}

static void expect_in(const char *text, const char *part)
{
    cr_expect(strstr(text, part), "\"%s\" does not say \"%s\"", text, part);
}

/* --- a device as it should be -------------------------------------------------------------------- */

Test(engine, flashes_verifies_and_leaves)
{
    cr_assert(flash(&all) == ENGINE_OK, "%s", engine.message);
    cr_expect(flash_holds_image());
    cr_expect(!mock.violation, "%s", mock.violation);
    cr_expect(engine.departure == ENGINE_LEFT);
    cr_expect(engine.received == 5000);
}

Test(engine, erases_each_touched_page_once_and_no_other)
{
    cr_assert(flash(&all) == ENGINE_OK);
    for (int page = 0; page < MOCK_PAGES; page++)
        cr_expect(mock.erases[page] == (page < 5), "page %d: %u erases", page, mock.erases[page]);
}

Test(engine, every_size_around_a_block_arrives_whole)
{
    static const uint32_t sizes[] = {1, 2, 7, 1023, 1024, 1025, 2047, 2048, 2049, 51199, 51200};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        tear_down();
        mock_init(&mock);
        make_program(MOCK_BASE, sizes[i]);
        cr_expect(flash(&no_leave) == ENGINE_OK, "%u bytes: %s", sizes[i], engine.message);
        cr_expect(flash_holds_image(), "%u bytes", sizes[i]);
        cr_expect(!mock.violation, "%u bytes: %s", sizes[i], mock.violation);
        cr_expect(mock.state == DFU_IDLE, "left in state %u", mock.state);
    }
}

Test(engine, an_image_that_begins_within_a_page_arrives_whole)
{
    tear_down();
    make_program(MOCK_BASE + 0x280, 3000);
    cr_assert(flash(&no_leave) == ENGINE_OK, "%s", engine.message);
    cr_expect(flash_holds_image());
    cr_expect(!mock.violation, "%s", mock.violation);
}

Test(engine, two_segments_on_one_page_erase_it_once)
{
    cr_assert(
        image_add(&image, IMAGE_ANY_ALT, MOCK_BASE + 5100, (const uint8_t *)"second", 6) == 0);
    cr_assert(flash(&no_leave) == ENGINE_OK, "%s", engine.message);
    cr_expect(flash_holds_image());
    cr_expect(mock.erases[4] == 1);
    cr_expect(!mock.violation, "%s", mock.violation);
}

Test(engine, sets_the_address_once_for_blocks_that_follow_each_other)
{
    tear_down();
    make_program(MOCK_BASE, 10 * MOCK_XFER);
    cr_assert(flash(&no_leave) == ENGINE_OK);
    cr_expect(mock.blocks == 10);
    cr_expect(mock.set_addresses == 2, "%u: one to write, one to verify", mock.set_addresses);
}

Test(engine, a_short_last_block_gets_an_address_of_its_own)
{
    cr_assert(flash(&no_leave) == ENGINE_OK); /* 4 blocks and 904 bytes */
    cr_expect(mock.set_addresses == 4, "%u", mock.set_addresses);
}

Test(engine, reads_what_is_there)
{
    uint8_t *data = malloc(MOCK_SIZE);
    uint32_t size = 0;
    for (size_t i = 0; i < MOCK_SIZE; i++)
        mock.flash[i] = (uint8_t)(i * 13 + i / 1024);
    cr_assert(plan_read(&plan, &device, PLAN_ANY_ALT, MOCK_BASE, &size, why) == 0, "%s", why);
    cr_assert(size == MOCK_SIZE);
    plan_read_into(&plan, data);
    engine_run(&engine, &device, &plan);
    cr_assert(mock_run(&mock, &engine) == ENGINE_OK, "%s", engine.message);
    cr_expect(engine.received == MOCK_SIZE && memcmp(data, mock.flash, MOCK_SIZE) == 0);
    cr_expect(!mock.violation, "%s", mock.violation);
    free(data);
}

Test(engine, leave_alone_needs_no_download)
{
    cr_assert(plan_leave(&plan, &device, PLAN_ANY_ALT, MOCK_BASE, why) == 0);
    engine_run(&engine, &device, &plan);
    cr_assert(mock_run(&mock, &engine) == ENGINE_OK, "%s", engine.message);
    cr_expect(mock.pointer == MOCK_BASE && mock.leaving && engine.departure == ENGINE_LEFT);
}

Test(engine, erase_of_everything_spares_what_is_not_writable)
{
    cr_assert(plan_erase(&plan, &device, PLAN_ANY_ALT, 0, 0, why) == 0);
    engine_run(&engine, &device, &plan);
    cr_assert(mock_run(&mock, &engine) == ENGINE_OK, "%s", engine.message);
    for (int page = 0; page < MOCK_PAGES; page++)
        cr_expect(mock.erases[page] == (page < MOCK_WRITABLE));
    cr_expect(mock.state == DFU_IDLE && !mock.violation);
}

Test(engine, the_same_question_until_it_is_answered)
{
    cr_assert(plan_leave(&plan, &device, PLAN_ANY_ALT, MOCK_BASE, why) == 0);
    engine_run(&engine, &device, &plan);
    const struct engine_ask first = *engine_next(&engine);
    cr_expect(memcmp(&first, engine_next(&engine), sizeof first) == 0);
}

/* --- states found at the beginning --------------------------------------------------------------- */

Test(engine, begins_in_any_state_that_another_program_left)
{
    static const uint8_t states[] = {DFU_IDLE, DFU_DNLOAD_IDLE, DFU_UPLOAD_IDLE, DFU_ERROR};
    for (size_t i = 0; i < sizeof states; i++) {
        mock_init(&mock);
        mock.state = states[i];
        mock.status = states[i] == DFU_ERROR ? DFU_ERR_VENDOR : DFU_OK;
        plan_free(&plan);
        cr_expect(flash(&no_leave) == ENGINE_OK, "state %u: %s", states[i], engine.message);
        cr_expect(!mock.violation, "state %u: %s", states[i], mock.violation);
    }
}

Test(engine, a_device_that_stays_busy_from_before_is_given_up)
{
    mock.state = DFU_DNBUSY;
    mock.never_ready = true;
    cr_expect(flash(&no_leave) == ENGINE_PROTOCOL);
    cr_expect(mock.now_ms < 120000);
}

Test(engine, an_application_is_not_mistaken_for_a_bootloader)
{
    mock.state = DFU_APP_IDLE;
    cr_expect(flash(&no_leave) == ENGINE_PROTOCOL);
    expect_in(engine.message, "runs its application");
}

/* It says dfuDNBUSY without a time, as ours does for others' sake, and is: what belongs to its pages' rest is
 * not read from where it pointed before. */
Test(engine, a_board_that_has_only_the_name_is_read_where_it_should_be)
{
    struct image contents;
    mock_init_as(&mock, MOCK_NAMESAKE);
    mock.poll_ms = 0;
    for (uint32_t i = 0; i < MOCK_SIZE; i++)
        mock.flash[i] = (uint8_t)(i / MOCK_PAGE);
    strcpy(device.name, mock.name);
    tear_down();
    make_program(MOCK_BASE + 8 * MOCK_PAGE, 100);
    cr_assert(plan_survey(&plan, &contents, &device, &image, &all, why) == 0, "%s", why);
    engine_run(&engine, &device, &plan);
    cr_expect(plan.habits && mock_run(&mock, &engine) == ENGINE_OK, "%s", engine.message);
    cr_expect_eq(contents.segments[0].data[500], 8);
    image_free(&contents);
}

/* --- one run after another ---------------------------------------------------------------------- */

/* Transfers for an erase of the first page after a verification, that fails if it shall. */
static uint32_t transfers_to_erase(
    void (*begin)(struct engine *e, const struct device *d, const struct plan *p), bool fails)
{
    mock_init(&mock);
    memcpy(mock.flash, image.segments[0].data, image.segments[0].size);
    mock.flash[4000] ^= fails;
    cr_assert(plan_verify(&plan, &device, &image, PLAN_ANY_ALT, why) == 0);
    engine_run(&engine, &device, &plan);
    cr_expect(mock_run(&mock, &engine) == (fails ? ENGINE_MISMATCH : ENGINE_OK));
    plan_free(&plan);
    uint32_t before = mock.transfers;
    cr_assert(plan_erase(&plan, &device, PLAN_ANY_ALT, MOCK_BASE, MOCK_PAGE, why) == 0);
    begin(&engine, &device, &plan);
    cr_expect(mock_run(&mock, &engine) == ENGINE_OK, "%s", engine.message);
    cr_expect(mock.erases[0] == 1 && !mock.violation, "%s", mock.violation);
    plan_free(&plan);
    return mock.transfers - before;
}

Test(engine, going_on_needs_no_second_look_at_a_device_that_was_left_idle)
{
    uint32_t whole = transfers_to_erase(engine_run, false);
    cr_expect_eq(transfers_to_erase(engine_go_on, false), whole - 2, "SET_INTERFACE, GETSTATUS");
}

Test(engine, going_on_after_a_failure_begins_from_the_beginning)
{
    cr_expect_eq(transfers_to_erase(engine_go_on, true), transfers_to_erase(engine_run, true));
}

/* --- devices in the field ------------------------------------------------------------------------ */

Test(engine, a_poll_timeout_of_zero_does_not_spin)
{
    mock.poll_ms = 0;
    mock.busy_ms = 50;
    cr_expect(flash(&all) == ENGINE_OK, "%s", engine.message);
    cr_expect(flash_holds_image());
}

Test(engine, a_device_that_names_no_time_is_asked_again_at_once_and_then_each_millisecond)
{
    mock.poll_ms = mock.busy_ms = 0;
    cr_expect(flash(&no_leave) == ENGINE_OK, "%s", engine.message);
    cr_expect(mock.now_ms == 0, "%llu ms were waited for nothing", (unsigned long long)mock.now_ms);
    mock_init(&mock);
    mock.poll_ms = 0;
    mock.never_ready = true;
    plan_free(&plan);
    cr_expect(flash(&no_leave) == ENGINE_PROTOCOL);
    cr_expect(mock.statuses <= mock.now_ms + 10, "%u", mock.statuses);
}

Test(engine, waits_as_long_as_the_device_asks)
{
    mock.poll_ms = mock.busy_ms = 700;
    cr_expect(flash(&no_leave) == ENGINE_OK, "%s", engine.message);
    /* 5 erases, 5 blocks, 4 addresses; the first GETSTATUS says how long and the second that it is done. */
    cr_expect(mock.now_ms == 14 * 700, "%llu", (unsigned long long)mock.now_ms);
}

Test(engine, textbook_dfu_with_dnload_sync_works)
{
    mock.sync_first = true;
    cr_expect(flash(&no_leave) == ENGINE_OK, "%s", engine.message);
    cr_expect(flash_holds_image());
}

Test(engine, a_device_that_is_done_at_once_works)
{
    mock.done_at_once = true;
    cr_expect(flash(&no_leave) == ENGINE_OK, "%s", engine.message);
    cr_expect(flash_holds_image());
}

Test(engine, a_status_stalled_while_busy_is_asked_again)
{
    mock.poll_ms = 1;
    mock.busy_ms = 900;
    mock.stalls_while_busy = true;
    cr_expect(flash(&no_leave) == ENGINE_OK, "%s", engine.message);
    cr_expect(flash_holds_image());
}

Test(engine, a_device_that_stays_busy_is_given_up)
{
    mock.never_ready = true;
    cr_expect(flash(&all) == ENGINE_PROTOCOL);
    expect_in(engine.message, "still busy");
    cr_expect(mock.now_ms <= 60000, "%llu ms", (unsigned long long)mock.now_ms);
}

Test(engine, an_absurd_poll_timeout_is_not_slept)
{
    mock.never_ready = true;
    mock.poll_ms = 0xFFFFFF; /* 4.6 hours */
    cr_expect(flash(&all) == ENGINE_PROTOCOL);
    cr_expect(mock.now_ms <= 60000, "%llu ms", (unsigned long long)mock.now_ms);
}

Test(engine, an_error_at_write_is_told_with_its_address_and_reason)
{
    mock.fail_write_at = MOCK_BASE + 2048;
    mock.fail_status = DFU_ERR_WRITE;
    tear_down();
    make_program(MOCK_BASE, 2500);
    device.alts[0].map.runs[0].flags = MEMORY_READ | MEMORY_WRITE; /* no erases: the write fails */
    memset(mock.flash, 0xFF, sizeof mock.flash);
    cr_expect(flash(&all) == ENGINE_REFUSED);
    expect_in(engine.message, "write 0x08000800");
    expect_in(engine.message, "errWRITE");
    cr_expect(!mock.leaving, "the program was started although it is not complete");
}

Test(engine, an_error_at_erase_is_told_and_nothing_is_written)
{
    mock.fail_write_at = MOCK_BASE + 1024;
    mock.fail_status = DFU_ERR_VENDOR;
    cr_expect(flash(&all) == ENGINE_REFUSED);
    expect_in(engine.message, "erase the sector at 0x08000400");
    expect_in(engine.message, "protected");
    cr_expect(mock.blocks == 0 && !mock.leaving);
}

/* --- the device's own words for it ---------------------------------------------------------------- */

/* The message of a download whose erase fails; reason: iString's text, NULL: none. */
static const char *refusal(const char *reason, int result)
{
    plan_free(&plan);
    mock_init(&mock);
    mock.reason = reason;
    mock.reason_result = result;
    mock.fail_write_at = MOCK_BASE;
    mock.fail_status = DFU_ERR_VENDOR;
    cr_expect(flash(&all) == ENGINE_REFUSED && engine.status == DFU_ERR_VENDOR);
    cr_expect(mock.reasons == (reason != NULL), "asked %u times", mock.reasons);
    cr_expect(!mock.leaving && !mock.violation);
    return engine.message;
}

#define REFUSAL                                                                                    \
    "the board refused to erase the sector at 0x08000000: errVENDOR (the memory is protected "     \
    "against reading and writing)"

Test(engine, what_the_device_says_of_its_error_is_told)
{
    cr_expect_str_eq(refusal("locked", 0), REFUSAL "; the device says: \"locked\"");
}

Test(engine, a_device_without_words_for_its_error_is_not_asked_for_any)
{
    cr_expect_str_eq(refusal(NULL, 0), REFUSAL);
}

Test(engine, words_that_do_not_come_change_nothing)
{
    static const int results[] = {
        TRANSFER_STALL, TRANSFER_TIMEOUT, TRANSFER_GONE, TRANSFER_IO, TRANSFER_DENIED, 1, 2};
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        cr_expect_str_eq(refusal("locked", results[i]), REFUSAL, "%d", results[i]);
    cr_expect_str_eq(refusal("", 0), REFUSAL);
    cr_expect_str_eq(refusal("  ", 0), REFUSAL);
}

Test(engine, the_words_of_a_device_cannot_play_with_the_terminal)
{
    cr_expect_str_eq(refusal("\033[2J\n\r\x7F\x9B"
                             "2J \xE9",
                         0),
        REFUSAL "; the device says: \"?[2J????2J \xC3\xA9\"");
}

Test(engine, long_words_are_cut_between_characters)
{
    char words[127] = "a";
    memset(words + 1, 0xE9, 125); /* two bytes each in UTF-8 */
    const char *end = strstr(refusal(words, 0), "says: \"a");
    cr_assert(end);
    size_t length = strlen(end);
    cr_expect(length == strlen("says: \"\"") + 159, "%zu", length);
    cr_expect_str_eq(end + length - 3, "\xC3\xA9\"");
}

Test(engine, memory_that_does_not_hold_is_noticed)
{
    mock.flips_at = MOCK_BASE + 1234;
    cr_expect(flash(&all) == ENGINE_MISMATCH);
    expect_in(engine.message, "0x080004d2");
    cr_expect(!mock.leaving, "a program that is wrong was started");
}

Test(engine, a_short_read_fails_verification)
{
    mock.short_read_at = MOCK_BASE + 4500;
    cr_expect(flash(&all) == ENGINE_PROTOCOL);
    expect_in(engine.message, "gave only");
}

Test(engine, a_short_read_ends_a_read_of_everything)
{
    uint8_t *data = malloc(MOCK_SIZE);
    uint32_t size = 0;
    mock.short_read_at = MOCK_BASE + 4500;
    cr_assert(plan_read(&plan, &device, PLAN_ANY_ALT, MOCK_BASE, &size, why) == 0);
    plan_read_into(&plan, data);
    engine_run(&engine, &device, &plan);
    cr_expect(mock_run(&mock, &engine) == ENGINE_OK, "%s", engine.message);
    cr_expect(engine.received == 4500, "%u", engine.received);
    free(data);
}

Test(engine, a_short_read_fails_a_read_of_so_many_bytes)
{
    uint8_t data[5000];
    uint32_t size = sizeof data;
    mock.short_read_at = MOCK_BASE + 4500;
    cr_assert(plan_read(&plan, &device, PLAN_ANY_ALT, MOCK_BASE, &size, why) == 0);
    plan_read_into(&plan, data);
    engine_run(&engine, &device, &plan);
    cr_expect(mock_run(&mock, &engine) == ENGINE_PROTOCOL);
}

Test(engine, unplugging_at_any_transfer_ends_in_a_link_failure)
{
    cr_assert(flash(&no_leave) == ENGINE_OK);
    uint32_t transfers = mock.transfers;
    for (uint32_t n = 1; n < transfers; n++) {
        mock_init(&mock);
        mock.unplug_after = n;
        plan_free(&plan);
        cr_expect(flash(&no_leave) == ENGINE_LINK, "after %u transfers", n);
        expect_in(engine.message, "went away");
    }
}

/* --- leaving ------------------------------------------------------------------------------------- */

// clang-format off
static const struct {
    enum mock_leave leave;
    enum engine_failure failure;
    enum engine_departure departure;
    const char *message;
} leaves[] = {
    {MOCK_ANNOUNCES,        ENGINE_OK,       ENGINE_LEFT,      ""},
    {MOCK_ANNOUNCES_STAYS,  ENGINE_OK,       ENGINE_ANNOUNCED, ""},
    {MOCK_TOLERANT,         ENGINE_OK,       ENGINE_ANNOUNCED, ""},
    {MOCK_VANISHES_AT_ONCE, ENGINE_OK,       ENGINE_LEFT,      ""},
    {MOCK_VANISHES,         ENGINE_OK,       ENGINE_LEFT,      ""},
    {MOCK_STALLS_STATUS,    ENGINE_OK,       ENGINE_LEFT,      ""},
    {MOCK_SILENT,           ENGINE_OK,       ENGINE_LEFT,      ""},
    {MOCK_WAITS_FOR_RESET,  ENGINE_OK,       ENGINE_LEFT,      ""},
    {MOCK_REFUSES,          ENGINE_REFUSED,  ENGINE_STAYED,    "no complete program"},
    {MOCK_STAYS_IDLE,       ENGINE_PROTOCOL, ENGINE_STAYED,    "reset it by hand"},
};
// clang-format on

Test(engine, leaving_is_judged_rightly_whatever_the_device_does)
{
    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        mock_init(&mock);
        mock.leave = leaves[i].leave;
        plan_free(&plan);
        cr_expect(flash(&all) == leaves[i].failure, "case %zu: %s", i, engine.message);
        cr_expect(engine.departure == leaves[i].departure, "case %zu", i);
        expect_in(engine.message, leaves[i].message);
        cr_expect(flash_holds_image(), "case %zu", i);
        cr_expect(mock.resets == (leaves[i].leave == MOCK_WAITS_FOR_RESET), "case %zu", i);
        cr_expect(mock.now_ms < 10000, "case %zu took %llu ms", i, (unsigned long long)mock.now_ms);
    }
}

/* --- what is refused before anything is sent ----------------------------------------------------- */

static void expect_no_plan(const struct plan_options *options, const char *part)
{
    cr_expect(plan_flash(&plan, &device, &image, options, why) != 0);
    expect_in(why, part);
    cr_expect(plan.count == 0);
}

Test(plan, too_large_is_told_with_by_how_much_and_what_fits)
{
    tear_down();
    make_program(MOCK_BASE, 51200 + 77);
    expect_no_plan(&all, "too large by 77 bytes");
    expect_in(why, "0x08000000-0x0800c7ff (50 KiB)");
}

Test(plan, what_is_not_writable_is_refused)
{
    tear_down();
    make_program(MOCK_BASE + 50 * 1024, 100);
    expect_no_plan(&all, "0x0800c800 is not writable");
}

Test(plan, an_address_one_zero_short_is_recognised)
{
    tear_down();
    make_program(0x0800000, 5000);
    expect_no_plan(&all, "did you mean 0x08000000?");
}

Test(plan, a_function_address_is_no_start)
{
    struct plan_options o = all;
    o.start = 0x0800BA65; /* the forum's */
    expect_no_plan(&o, "looks like a function's address");
}

Test(plan, a_map_that_makes_no_sense_stops_writing_but_not_leaving)
{
    device.alts[0].map.count = 0;
    expect_no_plan(&all, "memory map");
    cr_expect(plan_leave(&plan, &device, PLAN_ANY_ALT, MOCK_BASE, why) == 0);
}

Test(plan, a_file_for_an_alternate_setting_that_is_missing_is_refused)
{
    image.segments[0].alt = 3;
    expect_no_plan(&all, "no alternate setting 3");
}

Test(plan, the_alternate_setting_is_the_one_that_has_the_address)
{
    device.alt_count = 2;
    device.alts[1] = device.alts[0];
    device.alts[1].number = 1;
    cr_assert(memory_map_parse(&device.alts[0].map, "@Option Bytes  /0x1FFFF800/01*016 e") ==
              MEMORY_MAP_OK);
    cr_assert(plan_flash(&plan, &device, &image, &no_leave, why) == 0, "%s", why);
    for (size_t i = 0; i < plan.count; i++)
        cr_expect(plan.steps[i].alt == 1);
}

Test(plan, a_board_that_cannot_be_read_is_not_verified)
{
    device.attributes = DFU_CAN_DNLOAD;
    cr_assert(plan_flash(&plan, &device, &image, &no_leave, why) == 0);
    cr_expect(plan.unverifiable && plan.bytes[STEP_VERIFY] == 0);
    uint32_t size = 0;
    plan_free(&plan);
    cr_expect(plan_read(&plan, &device, PLAN_ANY_ALT, MOCK_BASE, &size, why) != 0);
}

Test(plan, all_erases_come_before_the_first_write)
{
    cr_assert(
        image_add(&image, IMAGE_ANY_ALT, MOCK_BASE + 0x4000, (const uint8_t *)"data", 4) == 0);
    cr_assert(plan_flash(&plan, &device, &image, &all, why) == 0);
    for (size_t i = 1; i < plan.count; i++)
        cr_expect(plan.steps[i].kind >= plan.steps[i - 1].kind);
    cr_expect(plan.steps[plan.count - 1].kind == STEP_LEAVE);
}

/* A board of four sectors of 16 KiB that is blank, and an image that is blank in its middle. */
Test(plan, a_blank_sector_is_not_erased_and_its_blank_blocks_are_not_written)
{
    struct image contents;
    cr_assert(memory_map_parse(&device.alts[0].map, "@Flash /0x08000000/04*016Kg") == 0);
    tear_down();
    make_program(MOCK_BASE, 16384);
    memset(image.segments[0].data + 4096, 0xFF, 8192);
    cr_assert(plan_survey(&plan, &contents, &device, &image, &all, why) == 0, "%s", why);
    cr_expect(plan.bytes[STEP_READ] == 16384);
    plan_free(&plan);
    memset(contents.segments[0].data, 0xFF, 16384);
    struct plan_options o = no_leave;
    o.contents = &contents;
    cr_assert(plan_flash(&plan, &device, &image, &o, why) == 0, "%s", why);
    cr_expect(plan.bytes[STEP_ERASE] == 0);
    cr_expect(plan.bytes[STEP_WRITE] == 8192, "%llu", (unsigned long long)plan.bytes[STEP_WRITE]);
    cr_expect(plan.bytes[STEP_VERIFY] == 16384);
    image_free(&contents);
}

Test(plan, reading_and_erasing_stay_within_the_map)
{
    uint32_t size = MOCK_SIZE + 1;
    cr_expect(plan_read(&plan, &device, PLAN_ANY_ALT, MOCK_BASE, &size, why) != 0);
    expect_in(why, "only 65536 of 65537");
    size = 16;
    cr_expect(plan_read(&plan, &device, PLAN_ANY_ALT, 0xFFFFFFF0, &size, why) != 0);
    cr_expect(plan_erase(&plan, &device, PLAN_ANY_ALT, MOCK_BASE + 49 * 1024, 2048, why) != 0);
    cr_expect(plan_erase(&plan, &device, PLAN_ANY_ALT, MOCK_BASE + 100, 1024, why) == 0);
    cr_expect(plan.count == 2, "both sectors that it touches");
}

/* --- vector tables ------------------------------------------------------------------------------- */

// clang-format off
static const struct {
    uint32_t addr, sp, reset;
    bool fits;
    const char *message;
} tables[] = {
    {0x08000000, 0x20005000, 0x08000145, true,  ""},
    {0x08000000, 0x20000400, 0x08000145, true,  ""},
    {0x08000000, 0x10010000, 0x08000145, true,  ""}, /* core-coupled RAM */
    {0x08000000, 0x24080000, 0x08000145, true,  ""}, /* H7's AXI RAM */
    {0x08000000, 0x40000000, 0x08000145, true,  ""}, /* the end of all RAM */
    {0x08000000, 0x20005000, 0x00000145, true,  ""}, /* linked for the alias at 0 */
    {0x08000000, 0xFFFFFFFF, 0xFFFFFFFF, false, "it is blank"},
    {0x08000000, 0x00000000, 0x08000145, false, "not in RAM"},
    {0x08000000, 0x20005001, 0x08000145, false, "not in RAM"},
    {0x08000000, 0x08000000, 0x08000145, false, "not in RAM"},
    {0x08000000, 0x20005000, 0x08000144, false, "even"},
    {0x08000000, 0x20005000, 0x08002145, false, "about 0x08002000"},
    {0x08002000, 0x20005000, 0x08000145, false, "about 0x08000000"},
    {0x08002000, 0x20005000, 0x00000145, false, "linked for another address"},
    {0x08000004, 0x20005000, 0x08000145, false, "multiple of 128"},
};
// clang-format on

Test(vectors, a_table_fits_or_the_reason_is_told)
{
    char text[VECTORS_ERROR_SIZE];
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        image.segments[0].addr = tables[i].addr;
        transfer_put32(image.segments[0].data, tables[i].sp);
        transfer_put32(image.segments[0].data + 4, tables[i].reset);
        text[0] = '\0';
        cr_expect(vectors_fit(&image, text) == tables[i].fits, "case %zu: %s", i, text);
        expect_in(text, tables[i].message);
    }
}

Test(vectors, a_few_bytes_are_no_program)
{
    char text[VECTORS_ERROR_SIZE];
    tear_down();
    make_program(MOCK_BASE, 7);
    cr_expect(!vectors_fit(&image, text));
}

/* --- inspection ---------------------------------------------------------------------------------- */

Test(inspect, finds_everything_that_a_plan_needs)
{
    static struct device found;
    engine_inspect(&engine, &found);
    cr_assert(mock_run(&mock, &engine) == ENGINE_OK, "%s", engine.message);
    cr_expect(found.vendor == 0x0483 && found.product == 0xDF11 && found.version == 0x2200);
    cr_expect_str_eq(found.serial, "0001");
    cr_expect_str_eq(found.manufacturer, "caboose");
    cr_expect_str_eq(found.name, "mock");
    cr_expect(
        found.dfu && !found.runtime && found.transfer_size == 1024 && found.dfu_version == 0x011A);
    cr_expect(found.alt_count == 1 && found.alts[0].map.count == 2);
    cr_expect(device_is_dfuse(&found));
    cr_expect(!mock.violation);
}

Test(inspect, a_device_without_strings_is_described_all_the_same)
{
    static struct device found;
    mock.gives_no_string = true;
    engine_inspect(&engine, &found);
    cr_assert(mock_run(&mock, &engine) == ENGINE_OK, "%s", engine.message);
    cr_expect_str_eq(found.serial, "");
    cr_expect(
        found.dfu && found.alts[0].map.count == 0 && found.alts[0].map_error != MEMORY_MAP_OK);
}

Test(inspect, a_device_that_goes_away_is_a_failure)
{
    static struct device found;
    for (uint32_t n = 1; n < 7; n++) {
        mock_init(&mock);
        mock.unplug_after = n;
        engine_inspect(&engine, &found);
        cr_expect(mock_run(&mock, &engine) == ENGINE_LINK, "after %u transfers", n);
    }
}
