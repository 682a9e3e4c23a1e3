/* SPDX-License-Identifier: MIT */
/* Hosts that mean another board, do things in an order of their own, or go on where they should begin anew:
 * no half of a program is ever started, and nobody is told OK for what was not written. */
#include "bootloaders.h"
#include "checks.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define PART "stm32f103cb"

static const char *const tails[] = {"bluepill-tail", "bluepill-full-tail", "maple-mini-tail",
    "f103-12mhz-tail", "f103-16mhz-tail", "f103-hsi-tail"};
enum { TAILS = sizeof tails / sizeof *tails, CHUNKS = 8 };

/* Another crystal, another pin for the pull-up, another place: it would never be heard of again. */
Test(disorder, an_image_for_another_board_is_errFILE, .timeout = 60)
{
    for (unsigned on = 0; on < TAILS; on++)
        for (unsigned of = 0; of < TAILS; of++) {
            char path[64];
            if (of == on)
                continue;
            use_bootloader(tails[on]);
            struct host h = host_on_new_board(PART);
            snprintf(path, sizeof path, "build/firmware/%s.bin", tails[of]);
            struct app image = app_load(path);
            cr_expect_not(flash_application(&h, &image), "%s takes %s", tails[on], tails[of]);
            cr_expect_eq(h.last.status, DFU_ERR_FILE, "%s, %s: status %u", tails[on], tails[of],
                h.last.status);
            power_cycle(h.board);
            cr_expect(host_enumerate(&h), "%s is dead after %s", tails[on], tails[of]);
            app_free(&image);
            board_free(h.board);
        }
}

/* While a block waits for its GETSTATUS another program lists the devices. */
static void all_descriptors(struct host *h)
{
    uint8_t data[255];

    host_control(h, 0xC0, 4, 0, 7, data, 162); /* Microsoft OS 2.0, where there is that */
    for (unsigned type = 1; type <= 2; type++)
        cr_expect_gt(host_control(h, 0x80, 6, (uint16_t)(type << 8), 0, data, sizeof data), 0);
    for (unsigned index = 0; index < 6; index++)
        host_control(h, 0x80, 6, (uint16_t)(3 << 8 | index), index ? 0x0409 : 0, data, sizeof data);
}

static void a_block_that_waits_is_not_changed_by_descriptors(const struct bootloader *on)
{
    for (unsigned locked = 0; locked <= (on->base != FLASH); locked++) {
        struct app old = app_build(4096, 1, 0), new = app_build(4096, 7, 0);
        struct host h = host_with_application(PART, &old);
        static const uint8_t protected[] = {0xFF, 0xFF};
        if (locked)
            board_load(h.board, OPTION_BYTES, protected, sizeof protected);
        board_power(h.board, true);
        cr_assert(hears(h.board, old.tag, 100));
        cr_assert(press_reset(&h));
        check_dfu(dfu_open(&h), &h);
        for (uint32_t at = 0; at < new.size; at += XFER) {
            check_dfu(dfu_erase(&h, app_base + at), &h);
            check_dfu(dfu_set_address(&h, app_base + at), &h);
            cr_expect_geq(dfu_dnload(&h, 2, new.data + at, XFER), 0);
            all_descriptors(&h);
            do
                dfu_getstatus(&h);
            while (h.last.state == DFU_DNBUSY);
            cr_expect_eq(h.last.status, DFU_OK);
        }
        check_leaves(&h, &new);
        app_free(&old);
        app_free(&new);
        board_free(h.board);
    }
}
PROMISE(disorder, full, "bluepill-full-tail", a_block_that_waits_is_not_changed_by_descriptors)
PROMISE(disorder, tail, "bluepill-tail", a_block_that_waits_is_not_changed_by_descriptors)
PROMISE(disorder, head, "bluepill-head", a_block_that_waits_is_not_changed_by_descriptors)

/* The host that erases nothing beforehand meets an error half-way, clears it and says that it is done. */
static void a_download_with_a_block_that_was_refused_starts_nothing(const struct bootloader *on)
{
    struct app old = app_build(CHUNKS * XFER, 1, 0), new = app_build(CHUNKS * XFER, 7, 0);
    struct host h = host_in_dfu(PART, &old, BOARD_TYPICAL);

    check_dfu(dfu_open(&h), &h);
    for (uint32_t at = 0; at < new.size / 2; at += XFER)
        check_dfu(dfu_write(&h, app_base + at, new.data + at, XFER), &h);
    uint32_t outside = app_base + app_room(h.board);
    check_refused(on->base == FLASH && dfu_write(&h, outside, new.data, XFER), &h, DFU_ERR_TARGET);
    check_dfu(dfu_to_idle(&h), &h);
    host_sleep(&h, BOARD_S);
    power_cycle(h.board);
    cr_expect_not(hears(h.board, new.tag, 300), "half of it is started");
    cr_expect(host_enumerate(&h));
    cr_expect(flash_application(&h, &new));
    check_leaves(&h, &new);
    app_free(&old);
    app_free(&new);
    board_free(h.board);
}
PROMISE(disorder, tail, "bluepill-tail", a_download_with_a_block_that_was_refused_starts_nothing)

/* The rest of a program, and where it begins an image of ours that does not fit. */
Test(disorder, old_vectors_are_not_started_with_the_rest_of_another)
{
    use_bootloader("bluepill-tail");
    struct app old = app_build(CHUNKS * XFER, 1, 0), new = app_build(CHUNKS * XFER, 7, 0),
               image = app_load(HEAD_BOOTLOADER);
    struct host h = host_in_dfu(PART, &old, BOARD_TYPICAL);

    check_dfu(dfu_open(&h), &h);
    for (uint32_t at = XFER; at < new.size; at += XFER)
        check_dfu(dfu_write(&h, FLASH + at, new.data + at, XFER), &h);
    check_dfu(dfu_write(&h, FLASH, image.data, 512), &h);
    check_dfu(dfu_set_address(&h, FLASH), &h);
    cr_expect_not(dfu_leave(&h, 2));
    cr_expect_eq(h.last.status, DFU_ERR_FILE);
    dfu_clrstatus(&h);
    cr_expect_not(dfu_leave(&h, 2), "now it is an application?");
    host_sleep(&h, BOARD_S);
    power_cycle(h.board);
    cr_expect_not(hears(h.board, old.tag, 300), "the old vectors, the new rest");
    cr_expect(host_enumerate(&h));
    app_free(&old);
    app_free(&new);
    app_free(&image);
    board_free(h.board);
}

/* Power fails over a page, which then reads blank, by chance. */
static struct host with_a_page_that_reads_blank(uint64_t seed, uint32_t *page)
{
    struct app old = app_build(CHUNKS * XFER, 1, 0), new = app_build(CHUNKS * XFER, 7, 0);
    struct host h = host_in_dfu(PART, &old, BOARD_TYPICAL);

    *page = app_base + 6 * XFER;
    check_dfu(dfu_open(&h), &h);
    for (uint32_t at = 0; at < 6 * XFER; at += XFER)
        check_dfu(dfu_write(&h, app_base + at, new.data + at, XFER), &h);
    board_cut_at(h.board, 1, BOARD_TORN_MARGINAL, seed);
    dfu_write(&h, *page, new.data + 6 * XFER, XFER);
    cr_assert_not(board_powered(h.board));
    board_power(h.board, true);
    cr_assert(host_enumerate(&h));
    app_free(&old);
    app_free(&new);
    return h;
}

static bool reads_blank(const struct board *b, uint32_t at, uint32_t size)
{
    for (uint32_t i = 0; i < size; i += 4)
        if (flash_word(b, at + i) != 0xFFFFFFFF)
            return false;
    return true;
}

static void a_mass_erase_takes_what_only_reads_blank(const struct bootloader *on)
{
    struct app small = app_build(2048, 9, 0);
    unsigned met = 0;

    (void)on;
    for (uint64_t seed = 1; seed < 20; seed++) {
        uint32_t page;
        struct host h = with_a_page_that_reads_blank(seed, &page);
        bool blank = reads_blank(h.board, page, XFER) && undecided(h.board, page, XFER);
        met += blank;
        check_dfu(dfu_open(&h), &h);
        check_dfu(dfu_mass_erase(&h), &h);
        check_dfu(dfu_download_like_dfu_util(&h, app_base, small.data, small.size), &h);
        check_leaves(&h, &small);
        cr_expect_not(undecided(h.board, page, XFER), "seed %llu: later firmware would go over it",
            (unsigned long long)seed);
        board_free(h.board);
    }
    cr_expect_geq(met, 1, "no page that reads blank");
    app_free(&small);
}
PROMISE(disorder, tail, "bluepill-tail", a_mass_erase_takes_what_only_reads_blank)
PROMISE(disorder, head, "bluepill-head", a_mass_erase_takes_what_only_reads_blank)

/* The next firmware is a small one that does not reach that page, and is complete; so nobody remembers the cut when, days
 * later, a larger one comes. */
static void later_firmware_does_not_stand_on_what_only_reads_blank(const struct bootloader *on)
{
    struct app small = app_build(2048, 9, 0), large = app_build(CHUNKS * XFER, 11, 0);
    unsigned met = 0;

    (void)on;
    for (uint64_t seed = 1; seed < 20; seed++) {
        uint32_t page;
        struct host h = with_a_page_that_reads_blank(seed, &page);
        cr_expect(flash_application(&h, &small));
        check_leaves(&h, &small);
        power_cycle(h.board);
        cr_assert(hears(h.board, small.tag, 100));
        met += reads_blank(h.board, page, XFER) && undecided(h.board, page, XFER);
        cr_assert(press_reset(&h));
        cr_expect(flash_application(&h, &large));
        check_leaves(&h, &large);
        cr_expect_not(undecided(h.board, page, XFER), "seed %llu", (unsigned long long)seed);
        board_free(h.board);
    }
    cr_expect_geq(met, 1, "no page that reads blank");
    app_free(&small);
    app_free(&large);
}
PROMISE(disorder, tail, "bluepill-tail", later_firmware_does_not_stand_on_what_only_reads_blank)
PROMISE(disorder, head, "bluepill-head", later_firmware_does_not_stand_on_what_only_reads_blank)

/* The journal was full, and power failed over its erase: no record may stand on such cells. */
Test(disorder, a_journal_that_only_reads_blank_is_erased, .timeout = 60)
{
    unsigned met = 0;

    use_bootloader("bluepill-tail");
    for (uint64_t seed = 1; seed < 40 && met < 3; seed++) {
        struct app old = app_build(CHUNKS * XFER, 1, 0), new = app_build(CHUNKS * XFER, 7, 0);
        struct host h = host_with_application(PART, &old);
        uint32_t journal = app_base + app_room(h.board), room = XFER;
        journal_use(h.board, 127);
        board_power(h.board, true);
        cr_assert(hears(h.board, old.tag, 100));
        cr_assert(press_reset(&h));
        check_dfu(dfu_open(&h), &h);
        cr_assert(dfu_write_all(&h, FLASH, new.data, new.size));
        board_cut_at(h.board, 1, BOARD_TORN_MARGINAL, seed);
        dfu_leave(&h, 2);
        host_sleep(&h, BOARD_S);
        cr_assert_not(board_powered(h.board), "the journal was not full");
        board_power(h.board, true);
        cr_assert(host_enumerate(&h));
        if (reads_blank(h.board, journal, room) && undecided(h.board, journal, room)) {
            met++;
            cr_expect(flash_application(&h, &new));
            check_leaves(&h, &new);
            cr_expect_not(undecided(h.board, journal, room), "seed %llu", (unsigned long long)seed);
        }
        app_free(&old);
        app_free(&new);
        board_free(h.board);
    }
    cr_expect_geq(met, 1, "no journal that reads blank");
}

/* Killed behind its zero-length DNLOAD, without GETSTATUS; the next one comes at once, and takes longer than the two
 * seconds after which the bootloader leaves by itself. */
static void a_leave_that_nobody_asked_for_does_not_end_the_next_download(
    const struct bootloader *on)
{
    struct app old = app_build(CHUNKS * XFER, 1, 0), new = app_build(CHUNKS * XFER, 7, 0);
    struct host h = host_in_dfu(PART, &old, BOARD_TYPICAL);

    (void)on;
    for (unsigned how = 0; how < 2; how++) {
        cr_expect(flash_application(&h, &new));
        check_dfu(dfu_set_address(&h, app_base), &h);
        cr_expect_geq(dfu_dnload(&h, 0, NULL, 0), 0);
        if (how)
            cr_expect_geq(dfu_abort(&h), 0);
        else
            check_dfu(dfu_open(&h), &h);
        for (uint64_t begun = board_now(h.board); board_now(h.board) < begun + 3 * BOARD_S;)
            cr_assert(dfu_write_all(&h, app_base, new.data, new.size), "it has left");
        check_dfu(dfu_to_idle(&h), &h);
    }
    check_leaves(&h, &new);
    app_free(&old);
    app_free(&new);
    board_free(h.board);
}
PROMISE(
    disorder, tail, "bluepill-tail", a_leave_that_nobody_asked_for_does_not_end_the_next_download)
PROMISE(
    disorder, head, "bluepill-head", a_leave_that_nobody_asked_for_does_not_end_the_next_download)
