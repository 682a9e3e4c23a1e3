/* SPDX-License-Identifier: MIT */
/* What a host may not do, what it may do oddly, and what the answers say (P4, P5, P6, P7). */
#include "checks.h"
#include "guarded.h"
#include "option_bytes.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PART "stm32f103c8"

static struct host in_dfu_with(const struct app *app)
{
    return host_in_dfu(PART, app, BOARD_TYPICAL);
}

/* --- the bootloader's own pages ----------------------------------------------------------------- */

static void protects_itself_on(const char *part)
{
    struct app app = app_build(5000, 1, 0);
    struct guarded g = {.h = running(part, &app)};

    check_dfu(press_reset(&g.h), &g.h);
    g.flash = flash_dump(g.h.board);
    uint32_t end = FLASH + board_flash_size(g.h.board), own = FLASH + app_room(g.h.board);

    nothing_reaches_elsewhere(&g);
    nothing_reaches_pages(&g, own, end); /* journal, proper, stub */
    write_is_refused(&g, own - 1, 2);    /* over the border */
    write_is_refused(&g, own - 2, 3);
    write_is_refused(&g, own - 512, XFER);
    write_is_refused(&g, own - XFER + 1, XFER);
    nothing_counts_up_to(&g, own - XFER, own);
    nothing_counts_up_to(&g, own - XFER, end - PAGE);
    for (unsigned block = 2 + (own - FLASH) / XFER; block < 2 + (end - FLASH) / XFER + 2; block++)
        block_is_refused(&g, FLASH, block, XFER);

    /* The length of block 2 is the stride of those that follow: here a byte. */
    cr_assert(dfu_set_address(&g.h, own - 2));
    cr_assert(dfu_download(&g.h, 2, g.flash + (own - 2 - FLASH), 1));
    cr_expect_not(dfu_download(&g.h, 4, "x", 1));
    guarded_check(&g, DFU_ERR_TARGET, "stride 1, border", own);
    cr_expect_not(dfu_download(&g.h, 3, "xy", 2));
    guarded_check(&g, DFU_ERR_TARGET, "stride 1, over the border", own);
    cr_expect_not(dfu_download(&g.h, 0xFFFF, "xy", 2));
    guarded_check(&g, DFU_ERR_TARGET, "stride 1, far", own);

    printf("%s: %u attempts refused, not a byte changed\n", part, g.refused);
    check_board(g.h.board);
    power_cycle(g.h.board);
    cr_expect(hears(g.h.board, app.tag, 20), "the application is no longer valid");
}

Test(protection, no_erase_or_write_reaches_the_bootloader_on_64_kb)
{
    protects_itself_on("stm32f103c8");
}

Test(protection, no_erase_or_write_reaches_the_bootloader_on_128_kb)
{
    protects_itself_on("stm32f103cb");
}

Test(protection, no_erase_or_write_reaches_the_bootloader_on_16_and_32_kb)
{
    protects_itself_on("stm32f103c4");
    protects_itself_on("stm32f103c6");
}

Test(protection, no_erase_or_write_reaches_the_bootloader_on_256_to_512_kb)
{
    protects_itself_on("stm32f103rc");
    protects_itself_on("stm32f103rd");
    protects_itself_on("stm32f103re");
}

static void random_requests_on(const char *part)
{
    const uint64_t seed = 77;
    struct app app = app_build(3000, 1, 0);
    struct host h = host_in_dfu(part, &app, BOARD_TYPICAL);
    uint8_t *was = flash_dump(h.board);
    uint32_t own = app_room(h.board), size = board_flash_size(h.board);

    random_requests(&h, seed, 2000, FLASH + own + 0x1000);
    uint8_t *now = flash_dump(h.board);
    uint32_t fixed = own + board_page_size(h.board); /* behind the journal */
    cr_expect_arr_eq(
        now + fixed, was + fixed, size - fixed, "%s, seed %llu", part, (unsigned long long)seed);
    check_board(h.board);
    check_dfu(flash_application(&h, &app), &h);
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, app.tag, 1000));
}

Test(protection, random_requests_never_change_the_bootloader)
{
    random_requests_on(PART);
    random_requests_on("stm32f103re");
}

Test(protection, mass_erase_spares_the_bootloader)
{
    struct app app = app_build(50000, 1, 0), next = app_build(2000, 2, 0);
    struct host h = in_dfu_with(&app);
    uint8_t *was = flash_dump(h.board), *back = malloc(app_room(h.board));
    uint32_t own = app_room(h.board), size = board_flash_size(h.board);

    check_dfu(dfu_open(&h), &h);
    check_dfu(dfu_mass_erase(&h), &h);
    check_dfu(dfu_to_idle(&h), &h);
    check_dfu(dfu_read(&h, FLASH, back, own, XFER), &h);
    for (uint32_t i = 0; i < own; i++)
        cr_assert_eq(back[i], 0xFF, "byte %u of the application is still to be read", i);
    host_sleep(&h, 4 * BOARD_S);
    uint8_t *now = flash_dump(h.board);
    cr_expect_arr_eq(now + own + PAGE, was + own + PAGE, size - own - PAGE);
    power_cycle(h.board);
    cr_assert(host_enumerate(&h));
    check_dfu(dfu_read(&h, FLASH, back, own, XFER), &h);
    unsigned left = 0;
    for (uint32_t i = 8; i < own; i++)
        left += back[i] != 0xFF;
    cr_expect_eq(left, 0, "%u bytes of the application are there again after a power cycle", left);
    check_dfu(flash_application(&h, &next), &h);
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, next.tag, 1000));
    check_board(h.board);
}

Test(protection, mass_erase_then_download_works_as_dfu_util_does_it)
{
    struct app app = app_build(20000, 1, 0), next = app_build(5000, 2, 0);
    struct host h = in_dfu_with(&app);

    check_dfu(dfu_open(&h), &h);
    check_dfu(dfu_mass_erase(&h), &h);
    check_dfu(dfu_write_all(&h, FLASH, next.data, next.size), &h);
    check_dfu(dfu_to_idle(&h), &h);
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, next.tag, 5000));
    cr_expect(flash_holds(h.board, &next));
    uint8_t *now = flash_dump(h.board);
    for (uint32_t i = 5 * PAGE; i < app_room(h.board); i++)
        cr_assert_eq(now[i], 0xFF, "byte %u was not erased", i);
}

Test(protection, read_unprotect_is_refused_as_vendor_error)
{
    struct app app = app_build(5000, 1, 0);
    struct guarded g = {.h = in_dfu_with(&app)};

    g.flash = flash_dump(g.h.board);
    dfu_dnload(&g.h, 0, &(uint8_t){DFUSE_READ_UNPROTECT}, 1);
    dfu_getstatus(&g.h); /* already the first one: dfu-util looks no further */
    guarded_check(&g, DFU_ERR_VENDOR, "read unprotect", 0);
    power_cycle(g.h.board);
    cr_expect(hears(g.h.board, app.tag, 20));
}

/* A board's choice (WITH_UNPROTECT), and what AN3156 §4.5 says of it: the chip is open again, and empty, of this
 * bootloader too. */
static struct host unprotecting(const struct app *app, const uint8_t options[OPTIONS])
{
    bootloader_path = "build/firmware/unprotect-tail.bin";
    struct host h = host_with_application(PART, app);

    dfu_with_options(&h, app, options);
    dfu_dnload(&h, 0, &(uint8_t){DFUSE_READ_UNPROTECT}, 1);
    dfu_getstatus(&h);
    board_run_for(h.board, 200 * BOARD_MS);
    return h;
}

Test(protection, read_unprotect_if_it_is_enabled_opens_and_empties_a_protected_chip)
{
    uint8_t options[OPTIONS] = OPTIONS_SHIPPED;
    options[RDP] = RDP_ON;
    struct app app = app_build(5000, 1, 0);
    struct host h = unprotecting(&app, options);
    uint8_t rdp[2];

    board_peek(h.board, OPTION_BYTES, rdp, sizeof rdp);
    cr_expect(rdp[0] == 0xA5 && rdp[1] == 0x5A, "RDP %02x %02x", rdp[0], rdp[1]);
    uint8_t *flash = flash_dump(h.board);
    for (uint32_t i = 0; i < board_flash_size(h.board); i++)
        cr_assert_eq(flash[i], 0xFF, "%08x was not erased", FLASH + i);
    power_cycle(h.board);
    cr_expect_not(host_enumerate(&h), "without a bootloader?");
}

Test(protection, read_unprotect_if_it_is_enabled_leaves_the_flash_of_an_open_chip)
{
    static const uint8_t shipped[OPTIONS] = OPTIONS_SHIPPED;
    uint8_t options[OPTIONS] = OPTIONS_SHIPPED;
    options[DATA0] = 0x12;
    struct app app = app_build(5000, 1, 0);
    struct host h = unprotecting(&app, options);

    check_options(h.board, shipped);
    cr_expect(hears(h.board, app.tag, 1000), "it was reset, and the application is there");
    cr_expect(flash_holds(h.board, &app));
}

/* An address that SET_ADDRESS refuses must not be what the next request uses. */
Test(protection, refused_address_is_no_trap)
{
    const uint32_t addresses[] = {0, 4, FLASH - PAGE, FLASH - 4, 0x04000000, RAM,
        OPTION_BYTES - 0x20, OPTION_BYTES, 0x40000000, 0x60000000, 0xE000E000, 0xFFFFFFFC};
    struct app app = app_build(5000, 1, 0);
    struct host h = in_dfu_with(&app);
    uint8_t data[XFER];

    for (unsigned i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        if (!dfu_set_address(&h, addresses[i]))
            dfu_clrstatus(&h);
        for (unsigned block = 2; block < 4; block++) {
            dfu_upload_block(&h, (uint16_t)block, data, 64);
            cr_assert(!board_complaint(h.board), "upload from %08x: pc %08x, %08x: %s",
                addresses[i], board_complaint(h.board)->pc, board_complaint(h.board)->addr,
                board_complaint(h.board)->rule);
        }
        forget();
        cr_assert_geq(dfu_clrstatus(&h), 0, "%08x: no answer any more; pc %08x, USART1 says '%s'",
            addresses[i], board_pc(h.board), heard());
    }
    check_reads(&h, FLASH, app.data, app.size);
}

/* --- blocks, lengths, addresses ------------------------------------------------------------------ */

Test(protection, pointer_that_was_never_set_is_the_start_of_flash)
{
    struct app app = app_build(3 * PAGE, 1, 0);
    struct host h = host_on_new_board(PART);

    for (unsigned i = 0; i < 3; i++)
        check_dfu(dfu_download(&h, (uint16_t)(2 + i), app.data + i * XFER, XFER), &h);
    check_dfu(dfu_to_idle(&h), &h);
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, app.tag, 1000));
    cr_expect(flash_holds(h.board, &app));
}

Test(protection, block_1_is_refused)
{
    struct app app = app_build(5000, 1, 0);
    struct guarded g = {.h = in_dfu_with(&app)};
    uint8_t data[64] = {0};

    g.flash = flash_dump(g.h.board);
    cr_assert(dfu_set_address(&g.h, FLASH));
    cr_expect_not(dfu_download(&g.h, 1, data, sizeof data));
    guarded_check(&g, DFU_ERR_STALLEDPKT, "download of block", 1);
    cr_expect_eq(dfu_upload_block(&g.h, 1, data, sizeof data), USB_STALL);
    dfu_getstatus(&g.h);
    guarded_check(&g, DFU_ERR_STALLEDPKT, "upload of block", 1);
}

Test(protection, last_block_may_have_any_length)
{
    for (unsigned counting = 0; counting < 2; counting++)
        for (size_t size = 2 * PAGE + 1; size <= 2 * PAGE + 1023;
             size += size < 2 * PAGE + 8 ? 1 : 203) {
            struct app app = app_build(size, size, 0);
            struct host h = host_on_new_board(PART);
            check_dfu(dfu_open(&h), &h);
            check_dfu((counting ? dfu_download_counting : dfu_download_like_dfu_util)(
                          &h, FLASH, app.data, app.size),
                &h);
            check_reads(&h, FLASH, app.data, app.size);
            uint8_t after[16];
            size_t end = (size + 1) & ~(size_t)1; /* an odd last byte takes a half-word */
            board_peek(h.board, FLASH + (uint32_t)end, after, sizeof after);
            for (unsigned i = 0; i < sizeof after && (end + i) / PAGE == size / PAGE; i++)
                cr_expect_eq(after[i], 0xFF, "%zu bytes: something stands behind the end", size);
            power_cycle(h.board);
            cr_expect(hears(h.board, app.tag, 20), "%zu bytes", size);
            board_free(h.board);
            app_free(&app);
        }
}

Test(protection, blocks_of_any_size_may_be_counted)
{
    const unsigned blocks[] = {512, 64, 128, 100, 101, 1000, 1023, 33};

    for (unsigned i = 0; i < 8; i++)
        for (unsigned erase = 0; erase < 2; erase++) {
            struct app old = app_build(4000, 90, 0), app = app_build(3500, i, i & 1);
            struct host h = in_dfu_with(&old);
            unsigned n = blocks[i];
            check_dfu(dfu_open(&h), &h);
            for (uint32_t page = 0; erase && page < 4; page++)
                check_dfu(dfu_erase(&h, FLASH + page * PAGE), &h);
            check_dfu(dfu_set_address(&h, FLASH), &h);
            for (size_t at = 0, block = 2; at < app.size; at += n, block++)
                check_dfu(dfu_download(&h, (uint16_t)block, app.data + at,
                              app.size - at < n ? app.size - at : n),
                    &h);
            check_dfu(dfu_to_idle(&h), &h);
            check_reads(&h, FLASH, app.data, app.size);
            check_dfu(dfu_leave(&h, 0), &h);
            cr_expect(hears(h.board, app.tag, 2000), "blocks of %u, erase %u", n, erase);
            check_board(h.board);
            board_free(h.board);
        }
}

/* Pieces of any length at any address, against a copy on the host: what is written is there, what
 * was not written is what it was. */
Test(protection, pieces_at_unaligned_addresses_change_nothing_else)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct app app = app_build(8 * PAGE, seed, 0);
        struct host h = in_dfu_with(&app);
        uint64_t random = seed;
        for (unsigned i = 0; i < 60; i++) {
            struct piece p = random_piece(&random, i, APP_SMALLEST, app.size);
            memcpy(app.data + p.at, p.data, p.size);
            check_dfu(dfu_write(&h, FLASH + p.at, p.data, p.size), &h);
        }
        check_dfu(dfu_to_idle(&h), &h);
        check_reads(&h, FLASH, app.data, app.size);
        power_cycle(h.board);
        cr_expect(hears(h.board, app.tag, 20), "seed %llu", (unsigned long long)seed);
        cr_expect(flash_holds(h.board, &app), "seed %llu", (unsigned long long)seed);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(protection, erase_at_any_address_means_its_page)
{
    struct app app = app_build(6 * PAGE, 1, 0);
    struct host h = in_dfu_with(&app);

    check_dfu(dfu_open(&h), &h);
    check_dfu(dfu_erase(&h, FLASH + 2 * PAGE + 1) && dfu_erase(&h, FLASH + 2 * PAGE + 1023), &h);
    check_dfu(dfu_erase(&h, FLASH + 4 * PAGE + 511) && dfu_erase(&h, FLASH + 4 * PAGE), &h);
    memset(app.data + 2 * PAGE, 0xFF, PAGE);
    memset(app.data + 4 * PAGE, 0xFF, PAGE);
    check_dfu(dfu_leave(&h, 0), &h);
    cr_expect(hears(h.board, app.tag, 1000));
    cr_expect(flash_holds(h.board, &app));
}

/* A piece of page 0 that is not its beginning does not make an application of a torn one. */
Test(protection, a_piece_of_page_0_does_not_complete_a_torn_application)
{
    struct app app = app_build(6 * PAGE, 1, 0), other = app_build(6 * PAGE, 2, 0);
    struct host h = in_dfu_with(&app);

    check_dfu(dfu_open(&h), &h);
    for (unsigned page = 0; page < 6; page++)
        check_dfu(dfu_erase(&h, FLASH + page * PAGE), &h);
    for (unsigned page = 0; page < 2; page++) /* and then the host is killed */
        check_dfu(dfu_write(&h, FLASH + page * PAGE, other.data + page * PAGE, PAGE), &h);
    check_dfu(dfu_open(&h), &h);
    check_dfu(dfu_write(&h, FLASH + 0x300, app.data + 0x300, 64), &h);
    check_dfu(dfu_to_idle(&h), &h);
    power_cycle(h.board);
    cr_expect(host_enumerate(&h), "it starts a torn application");
    check_board(h.board);
}

/* The obvious thing to try: the bootloader's own image, downloaded like any other. It runs low, finds
 * itself led to by a stub that stands, and changes nothing of it. */
Test(protection, its_own_image_as_an_application_changes_nothing_of_it)
{
    struct app app = app_build(6 * PAGE, 1, 0), own = app_load(BOOTLOADER);
    struct host h = in_dfu_with(&app);
    uint32_t room = app_room(h.board), size = board_flash_size(h.board);
    uint8_t *before = flash_dump(h.board);

    check_dfu(flash_application(&h, &own) && dfu_leave(&h, 2), &h);
    board_run_for(h.board, BOARD_S);
    cr_expect(host_enumerate(&h), "it does not come back");
    uint8_t *after = flash_dump(h.board);
    cr_expect_arr_eq(before + room + PAGE, after + room + PAGE, size - room - PAGE);
    check_dfu(flash_application(&h, &app) && dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, app.tag, 1000));
    check_board(h.board);
    free(before);
    free(after);
}

/* A tool that only erases and says ABORT after each command: what is left is no application. */
Test(protection, erased_pages_without_data_leave_no_application_behind)
{
    struct app app = app_build(6 * PAGE, 1, 0);
    struct host h = in_dfu_with(&app);

    check_dfu(dfu_open(&h), &h);
    check_dfu(dfu_erase(&h, FLASH + 2 * PAGE) && dfu_to_idle(&h), &h);
    check_dfu(dfu_erase(&h, FLASH + 3 * PAGE) && dfu_to_idle(&h), &h);
    memset(app.data + 2 * PAGE, 0xFF, 2 * PAGE);
    check_reads(&h, FLASH, app.data, app.size);
    power_cycle(h.board);
    cr_expect(host_enumerate(&h));
    check_dfu(flash_application(&h, &app), &h);
}

Test(protection, reading_behind_the_end_gives_less_or_nothing)
{
    struct host h = host_on_new_board(PART);
    uint32_t end = FLASH + board_flash_size(h.board);
    uint8_t data[XFER];

    check_dfu(dfu_set_address(&h, end - 100), &h);
    dfu_to_idle(&h);
    cr_expect_eq(dfu_upload_block(&h, 2, data, XFER), 100, "short at the end");
    cr_expect_eq(dfu_getstate(&h), DFU_IDLE, "a short answer ends the upload");
    check_dfu(dfu_set_address(&h, end - XFER), &h);
    dfu_to_idle(&h);
    cr_expect_eq(dfu_upload_block(&h, 2, data, XFER), XFER);
    cr_expect_eq(dfu_upload_block(&h, 3, data, XFER), 0, "fwupd reads one block more");
    cr_expect_eq(dfu_getstate(&h), DFU_IDLE);
    cr_expect_eq(dfu_upload_block(&h, 0xFFFF, data, XFER), 0);
    check_board(h.board);
}

Test(protection, get_lists_the_commands)
{
    const uint8_t want[] = {DFUSE_GET, DFUSE_SET_ADDRESS, DFUSE_ERASE, DFUSE_READ_UNPROTECT};
    const uint16_t lengths[] = {4, 5, 64, XFER};
    struct host h = host_on_new_board(PART);
    uint8_t data[XFER];

    for (unsigned i = 0; i < 4; i++) {
        cr_expect_eq(dfu_upload_block(&h, 0, data, lengths[i]), 4, "wLength %u", lengths[i]);
        cr_expect_arr_eq(data, want, sizeof want);
        check_dfu(dfu_to_idle(&h), &h);
    }
    cr_expect_eq(dfu_upload_block(&h, 0, data, 2), 2, "never more than wLength");
    check_dfu(dfu_to_idle(&h), &h);
}

Test(protection, more_than_wTransferSize_is_stalled)
{
    const unsigned sizes[] = {XFER + 1, 2048, 4096, 65535};
    struct app app = app_build(5000, 1, 0);
    struct guarded g = {.h = in_dfu_with(&app)};
    uint8_t *data = calloc(1, 65536);

    g.flash = flash_dump(g.h.board);
    for (unsigned i = 0; i < 4; i++) {
        cr_expect_eq(dfu_dnload(&g.h, 2, data, sizes[i]), USB_STALL, "download of %u", sizes[i]);
        dfu_getstatus(&g.h);
        guarded_check(&g, DFU_ERR_STALLEDPKT, "download, wLength", sizes[i]);
        cr_expect_eq(
            dfu_upload_block(&g.h, 2, data, sizes[i]), USB_STALL, "upload of %u", sizes[i]);
        dfu_getstatus(&g.h);
        guarded_check(&g, DFU_ERR_STALLEDPKT, "upload, wLength", sizes[i]);
    }
}

Test(protection, unknown_commands_are_refused)
{
    static const struct {
        uint8_t data[8];
        size_t size;
    } commands[] = {
        {{0x00},                             1}, /* Get, but as a download */
        {{0x20, 0, 0, 0, 8},                 5}, /* no such command */
        {{0x99},                             1},
        {{0xFF, 0, 0, 0, 8},                 5},
        {{DFUSE_SET_ADDRESS},                1}, /* lengths that are wrong */
        {{DFUSE_SET_ADDRESS, 0, 0, 8},       4},
        {{DFUSE_SET_ADDRESS, 0, 0, 0, 8, 0}, 6},
        {{DFUSE_ERASE, 0},                   2},
        {{DFUSE_ERASE, 0, 0, 8},             4},
        {{DFUSE_ERASE, 0, 0, 0, 8, 0},       6},
        {{DFUSE_READ_UNPROTECT, 0},          2},
    };
    struct app app = app_build(5000, 1, 0);
    struct guarded g = {.h = in_dfu_with(&app)};

    g.flash = flash_dump(g.h.board);
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
        cr_expect_not(dfu_download(&g.h, 0, commands[i].data, commands[i].size), "command %u", i);
        guarded_check(&g, DFU_ERR_STALLEDPKT, "command", i);
    }
    power_cycle(g.h.board);
    cr_expect(hears(g.h.board, app.tag, 20));
}

/* --- states -------------------------------------------------------------------------------------- */

/* DFU 1.1 §A.2, with what this project adds: CLRSTATUS leads to dfuIDLE from everywhere, and ABORT, but from
 * dfuERROR; GETSTATUS and GETSTATE are answered everywhere; the zero-length download is leave in dfuIDLE, too. */
enum { OK, STALLS };
enum {
    N_DNLOAD,
    N_LEAVE,
    N_UPLOAD,
    N_GETSTATUS,
    N_CLRSTATUS,
    N_GETSTATE,
    N_ABORT,
    N_UNKNOWN,
    N_WRONG
};
static const char *const names[] = {"DNLOAD", "leave", "UPLOAD", "GETSTATUS", "CLRSTATUS",
    "GETSTATE", "ABORT", "request 7", "GETSTATUS as OUT"};

struct expected {
    int answer;
    enum dfu_state next;
};

// clang-format off
#define ERR {STALLS, DFU_ERROR}
#define ST(s) {OK, s}
static const struct {
    enum dfu_state state;
    struct expected on[9];
} table[] = {
    /*                     DNLOAD                leave                    UPLOAD                GETSTATUS             CLRSTATUS     GETSTATE              ABORT         unknown, wrong direction */
    {DFU_IDLE,          {ST(DFU_DNLOAD_SYNC),  ST(DFU_MANIFEST_SYNC),   ST(DFU_UPLOAD_IDLE),  ST(DFU_IDLE),         ST(DFU_IDLE), ST(DFU_IDLE),         ST(DFU_IDLE), ERR, ERR}},
    {DFU_DNLOAD_SYNC,   {ERR,                  ERR,                     ERR,                  ST(DFU_DNLOAD_IDLE),  ST(DFU_IDLE), ST(DFU_DNLOAD_SYNC),  ST(DFU_IDLE), ERR, ERR}},
    {DFU_DNLOAD_IDLE,   {ST(DFU_DNLOAD_SYNC),  ST(DFU_MANIFEST_SYNC),   ERR,                  ST(DFU_DNLOAD_IDLE),  ST(DFU_IDLE), ST(DFU_DNLOAD_IDLE),  ST(DFU_IDLE), ERR, ERR}},
    {DFU_MANIFEST_SYNC, {ERR,                  ERR,                     ERR,                  ST(DFU_MANIFEST),     ST(DFU_IDLE), ST(DFU_MANIFEST_SYNC), ST(DFU_IDLE), ERR, ERR}},
    {DFU_UPLOAD_IDLE,   {ERR,                  ERR,                     ST(DFU_UPLOAD_IDLE),  ST(DFU_UPLOAD_IDLE),  ST(DFU_IDLE), ST(DFU_UPLOAD_IDLE),  ST(DFU_IDLE), ERR, ERR}},
    {DFU_ERROR,         {ERR,                  ERR,                     ERR,                  ST(DFU_ERROR),        ST(DFU_IDLE), ST(DFU_ERROR),        ERR,          ERR, ERR}},
};
// clang-format on

static bool bring_to(struct host *h, enum dfu_state state)
{
    const uint8_t set_address[5] = {DFUSE_SET_ADDRESS, 0, 0, 0, 8};
    uint8_t data[64];

    switch (state) {
    case DFU_DNLOAD_SYNC:
        dfu_dnload(h, 0, set_address, 5);
        break;
    case DFU_DNLOAD_IDLE:
        dfu_download(h, 0, set_address, 5);
        break;
    case DFU_MANIFEST_SYNC:
        dfu_dnload(h, 2, NULL, 0);
        break;
    case DFU_MANIFEST:
        dfu_leave(h, 2);
        break;
    case DFU_UPLOAD_IDLE:
        dfu_upload_block(h, 2, data, sizeof data);
        break;
    case DFU_ERROR:
        dfu_dnload(h, 1, set_address, 1);
        dfu_getstatus(h);
        break;
    case DFU_IDLE:
    case DFU_APP_IDLE:
    case DFU_APP_DETACH:
    case DFU_DNBUSY:
    case DFU_MANIFEST_WAIT_RESET:
        break;
    }
    return dfu_getstate(h) == (int)state;
}

static int ask(struct host *h, unsigned request)
{
    const uint8_t set_address[5] = {DFUSE_SET_ADDRESS, 0, 0, 0, 8};
    uint8_t data[64] = {0};

    switch (request) {
    case N_DNLOAD:
        return dfu_dnload(h, 0, set_address, 5);
    case N_LEAVE:
        return dfu_dnload(h, 0, NULL, 0);
    case N_UPLOAD:
        return dfu_upload_block(h, 2, data, sizeof data);
    case N_GETSTATUS:
        return dfu_getstatus(h).result;
    case N_CLRSTATUS:
        return dfu_clrstatus(h);
    case N_GETSTATE:
        return dfu_getstate(h);
    case N_ABORT:
        return dfu_abort(h);
    case N_UNKNOWN:
        return host_control(h, 0x21, 7, 0, 0, data, 0);
    default:
        return host_control(h, 0x21, DFU_GETSTATUS, 0, 0, data, 6);
    }
}

Test(protection, every_request_in_every_state_does_what_the_standard_says)
{
    struct app app = app_build(2000, 1, 0);
    struct host base = in_dfu_with(&app);

    for (unsigned row = 0; row < sizeof table / sizeof *table; row++)
        for (unsigned request = N_DNLOAD; request <= N_WRONG; request++) {
            struct host h = {.board = board_copy(base.board)};
            struct expected want = table[row].on[request];
            cr_assert(
                bring_to(&h, table[row].state), "state %u cannot be reached", table[row].state);
            int answer = ask(&h, request), next = dfu_getstate(&h);
            cr_expect(want.answer == STALLS ? answer == USB_STALL : answer >= 0,
                "state %u, %s: answer %d", table[row].state, names[request], answer);
            cr_expect_eq(next, (int)want.next, "state %u, %s: then state %d, not %u",
                table[row].state, names[request], next, want.next);
            if (want.answer == STALLS) {
                dfu_getstatus(&h);
                cr_expect_eq(h.last.state, DFU_ERROR);
                cr_expect_neq(h.last.status, DFU_OK, "an error that is none");
            }
            check_board(h.board);
            board_free(h.board);
        }
}

Test(protection, clrstatus_or_abort_leads_from_every_state_to_idle)
{
    struct app app = app_build(2000, 1, 0);
    struct host base = in_dfu_with(&app);

    for (unsigned row = 0; row < sizeof table / sizeof *table; row++) {
        struct host h = {.board = board_copy(base.board)};
        cr_assert(bring_to(&h, table[row].state));
        cr_expect_geq(dfu_clrstatus(&h), 0);
        cr_expect_eq(dfu_getstate(&h), DFU_IDLE, "CLRSTATUS in %u", table[row].state);
        dfu_getstatus(&h);
        cr_expect_eq(h.last.status, DFU_OK);
        if (table[row].state != DFU_ERROR) {
            cr_assert(bring_to(&h, table[row].state));
            cr_expect_geq(dfu_abort(&h), 0);
            cr_expect_eq(dfu_getstate(&h), DFU_IDLE, "ABORT in %u", table[row].state);
        }
        board_free(h.board);
    }
}

/* Leaving, it answers GETSTATUS and GETSTATE, and goes whatever else is asked. */
Test(protection, manifest_is_left_for_the_application_whatever_is_asked)
{
    struct app app = app_build(2000, 1, 0);
    struct host base = in_dfu_with(&app);

    for (unsigned request = N_DNLOAD; request <= N_WRONG; request++) {
        struct host h = {.board = board_copy(base.board)};
        cr_assert(bring_to(&h, DFU_MANIFEST));
        ask(&h, request);
        cr_expect(hears(h.board, app.tag, 1000), "%s in dfuMANIFEST", names[request]);
        board_free(h.board);
    }
}

Test(protection, status_text_index_is_zero_and_the_pointer_survives)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = in_dfu_with(&app);
    uint8_t data[16];

    check_dfu(dfu_set_address(&h, FLASH + 0x400), &h);
    cr_expect_eq(h.last.string, 0);
    dfu_clrstatus(&h);
    dfu_abort(&h);
    cr_expect_eq(dfu_upload_block(&h, 2, data, sizeof data), (int)sizeof data);
    cr_expect_arr_eq(data, app.data + 0x400, sizeof data, "the pointer did not survive");
}

/* --- success means verified ----------------------------------------------------------------------- */

static struct host in_dfu_protected(const struct app *app, uint8_t wrp0, uint8_t wrp1)
{
    struct host h = host_with_application(PART, app);
    uint8_t options[OPTIONS] = OPTIONS_SHIPPED;

    options[WRP0] = wrp0;
    options[WRP1] = wrp1;
    dfu_with_options(&h, app, options);
    return h;
}

static void check_is_errWRITE(const struct host *h)
{
    cr_expect(h->last.state == DFU_ERROR && h->last.status == DFU_ERR_WRITE, "state %u, status %u",
        h->last.state, h->last.status);
}

Test(protection, write_protected_page_is_errWRITE)
{
    struct app app = app_build(3 * PAGE, 1, 0), next = app_build(6 * PAGE, 2, 0);
    struct host h = in_dfu_protected(&app, 0xFD, 0xFF); /* 4 to 7 */
    uint8_t data[PAGE] = {1, 2, 3};

    check_dfu(dfu_open(&h), &h);
    cr_expect_not(dfu_write(&h, FLASH + 5 * PAGE, data, sizeof data), "blank, protected");
    check_is_errWRITE(&h);
    dfu_clrstatus(&h);
    check_dfu(dfu_write(&h, FLASH + 8 * PAGE, data, sizeof data), &h);

    check_dfu(dfu_open(&h), &h);
    cr_expect_not(dfu_download_like_dfu_util(&h, FLASH, next.data, next.size));
    check_is_errWRITE(&h);
    power_cycle(h.board);
    cr_expect_not(hears(h.board, next.tag, 20), "half of it runs");
    cr_assert(host_enumerate(&h));
    check_dfu(flash_application(&h, &app), &h); /* one that fits runs */
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, app.tag, 1000));
}

Test(protection, write_protected_content_that_is_not_blank_is_errWRITE)
{
    struct app app = app_build(6 * PAGE, 1, 0), next = app_build(6 * PAGE, 2, 0);
    struct host h = in_dfu_protected(&app, 0xFD, 0xFF);

    check_dfu(flash_application(&h, &app), &h); /* what is there already needs no writing */
    check_dfu(dfu_open(&h), &h);
    cr_expect_not(dfu_download_like_dfu_util(&h, FLASH, next.data, next.size));
    check_is_errWRITE(&h);
    cr_expect_geq(dfu_clrstatus(&h), 0);
    check_dfu(flash_application(&h, &app), &h);
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, app.tag, 1000));
}

/* The error of an erase that was put off is told, when it is made good at the end. */
Test(protection, write_protected_page_that_is_only_erased_is_an_error_at_the_end)
{
    struct app app = app_build(6 * PAGE, 1, 0);
    struct host h = in_dfu_protected(&app, 0xFD, 0xFF);

    check_dfu(dfu_open(&h), &h);
    dfu_erase(&h, FLASH + 5 * PAGE);
    dfu_leave(&h, 2);
    check_is_errWRITE(&h);
}

Test(protection, page_0_that_is_write_protected_is_errWRITE)
{
    struct app app = app_build(3 * PAGE, 1, 0), next = app_build(3 * PAGE, 2, 0);
    struct host h = in_dfu_protected(&app, 0xFE, 0xFF);

    cr_expect_not(flash_application(&h, &next));
    check_is_errWRITE(&h);
    power_cycle(h.board);
    if (!hears(h.board, app.tag, 20))
        cr_expect(host_enumerate(&h));
}

Test(protection, bootloader_whose_pages_are_write_protected_works)
{
    struct app app = app_build(3 * PAGE, 1, 0), next = app_build(3 * PAGE, 2, 0);
    struct host h = in_dfu_protected(&app, 0xFF, 0x7F); /* 60 to 63 */

    check_dfu(flash_application(&h, &next), &h);
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, next.tag, 1000));
    check_board(h.board);
}

/* --- how long a host waits ------------------------------------------------------------------------ */

/* Flash is worked on while the host waits for the answer to GETSTATUS: it must have it, and each other
 * answer, in 500 ms (USB 2.0 §9.2.6.4). A page of 2 KB that is full takes 40 ms and 72 at most. */
enum { ANSWER_MS = 500, PAGE_MAX_MS = 2 * 112 };

static void check_answers(const char *part, const char *what, uint64_t slowest_ns)
{
    printf("%s, %s: slowest answer %.2f ms\n", part, what, (double)slowest_ns / 1e6);
    cr_expect_lt(slowest_ns, ANSWER_MS * BOARD_MS, "%s, %s", part, what);
    cr_expect_lt(slowest_ns, PAGE_MAX_MS * BOARD_MS, "%s, %s", part, what);
}

static void answers_in_time_for_applications(const char *part)
{
    const size_t sizes[] = {8192, 5001, 1024, 1060, 20000};
    struct app first = app_build(3000, 7, 0);
    struct host h = host_in_dfu(part, &first, BOARD_SLOWEST);

    for (unsigned i = 0; i < 10; i++) { /* on blank, on different, on identical content */
        struct app app = app_build(sizes[i / 2], 300 + i / 2, 0);
        check_dfu(flash_application(&h, &app), &h);
        app_free(&app);
    }
    check_answers(part, "applications", h.slowest_ns);
    board_free(h.board);
}

Test(protection, every_answer_comes_in_the_time_that_usb_allows_for_applications)
{
    answers_in_time_for_applications("stm32f103c8");
    answers_in_time_for_applications("stm32f103rc");
}

static void answers_in_time_for_pieces(const char *part)
{
    struct app app = app_build(8 * PAGE, 5, 0);
    uint64_t slowest = 0;

    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct host h = host_in_dfu(part, &app, BOARD_SLOWEST);
        uint64_t random = seed;
        for (unsigned i = 0; i < 100; i++) {
            struct piece p = random_piece(&random, i, 0, app_room(h.board));
            check_dfu(dfu_write(&h, FLASH + p.at, p.data, p.size), &h);
        }
        if (h.slowest_ns > slowest)
            slowest = h.slowest_ns;
        board_free(h.board);
    }
    check_answers(part, "pieces", slowest);
}

Test(protection, every_answer_comes_in_the_time_that_usb_allows_for_pieces_of_any_length)
{
    answers_in_time_for_pieces("stm32f103c8");
    answers_in_time_for_pieces("stm32f103rc");
}

/* DS5319 table 28; with no page's programming. */
static double typical_ms(uint64_t erases)
{
    return 30.0 * (double)erases;
}

static double maximum_ms(uint64_t erases)
{
    return 40.0 * (double)erases;
}

/* A mass erase is made good after the ABORT: GETSTATUS says how much is left, and is never kept
 * waiting for long. */
static void finishes_honestly(bool leave, enum board_timing timing)
{
    struct app app = app_build(58 * PAGE, 1, 0), next = app_build(2 * PAGE, 2, 0);
    struct host h = host_in_dfu(PART, &app, timing);
    uint64_t worst_ns = 0;
    unsigned answers = 0;

    check_dfu(dfu_open(&h), &h);
    check_dfu(dfu_mass_erase(&h), &h);
    check_dfu(dfu_write_all(&h, FLASH, next.data, next.size), &h);
    struct { /* each answer, and what was done when it came */
        uint32_t poll;
        struct work at;
        uint8_t state;
    } seen[200];
    struct work begin = work_so_far(h.board);
    uint64_t begun = board_now(h.board);
    cr_assert_geq(leave ? dfu_dnload(&h, 2, NULL, 0) : dfu_abort(&h), 0);
    do {
        uint64_t asked = board_now(h.board);
        dfu_getstatus(&h);
        cr_assert_gt(h.last.result, 0);
        if (board_now(h.board) - asked > worst_ns)
            worst_ns = board_now(h.board) - asked;
        seen[answers].poll = h.last.poll_ms;
        seen[answers].state = h.last.state;
        seen[answers++].at = work_so_far(h.board);
        host_sleep(&h, h.last.poll_ms * BOARD_MS / 4 + BOARD_MS);
    } while (answers < 200 && (h.last.poll_ms > 1 || answers < 3) && h.last.state != DFU_MANIFEST);
    uint64_t took = board_now(h.board) - begun;
    host_sleep(&h, 100 * BOARD_MS);
    struct work end = work_so_far(h.board);
    printf(
        "%s after a mass erase, %s: %llu erases left, done in %.1f ms; longest wait for an answer "
        "%.1f ms; announced:",
        leave ? "leave" : "ABORT", timing == BOARD_SLOWEST ? "slowest flash" : "typical flash",
        (unsigned long long)(end.erases - begin.erases), (double)took / 1e6,
        (double)worst_ns / 1e6);
    for (unsigned i = 0; i < answers; i++) {
        uint64_t e = end.erases - seen[i].at.erases, hw = end.halfwords - seen[i].at.halfwords;
        printf(" %u (%llu left)", seen[i].poll, (unsigned long long)e);
        if (seen[i].state == DFU_MANIFEST || !(e + hw))
            continue;

        cr_expect(typical_ms(e) <= seen[i].poll && seen[i].poll <= maximum_ms(e) + 1,
            "answer %u: %u ms, %llu erases and %llu half-words are left", i, seen[i].poll,
            (unsigned long long)e, (unsigned long long)hw);
    }
    printf("\n");
    cr_expect_lt(worst_ns, ANSWER_MS * BOARD_MS);
    if (leave)
        cr_expect(hears(h.board, next.tag, 3000));
    else
        power_cycle(h.board);
    if (!leave)
        cr_expect(hears(h.board, next.tag, 50));
}

Test(protection, poll_timeout_is_honest_when_an_abort_finishes)
{
    finishes_honestly(false, BOARD_TYPICAL);
}

Test(protection, poll_timeout_is_honest_when_leave_finishes)
{
    finishes_honestly(true, BOARD_TYPICAL);
}

Test(protection, nobody_is_kept_waiting_by_the_slowest_flash)
{
    finishes_honestly(false, BOARD_SLOWEST);
}

/* The journal's page is full once in 128 updates: then the commit erases it. */
Test(protection, nobody_waits_long_when_the_journal_is_full)
{
    struct app app[2] = {app_build(600, 1, 0), app_build(600, 2, 0)};
    struct host h = host_on_new_board(PART);
    double worst = 0;

    for (unsigned i = 0; i < 140; i++) {
        check_dfu(dfu_open(&h), &h);
        check_dfu(dfu_erase(&h, FLASH), &h);
        check_dfu(dfu_write(&h, FLASH, app[i & 1].data, 600), &h);
        cr_assert_geq(dfu_abort(&h), 0);
        uint64_t begun = board_now(h.board);
        dfu_getstatus(&h);
        double waited = (double)(board_now(h.board) - begun) / 1e6;
        host_sleep(&h, 80 * BOARD_MS);
        if (waited > worst)
            worst = waited;
    }
    printf("commit of 140 updates: longest wait for GETSTATUS after ABORT %.2f ms\n", worst);
    cr_expect_lt(worst, ANSWER_MS);
}
