/* SPDX-License-Identifier: MIT */
/*
 * AN3156 table 3, row by row: each command, on each memory, with each protection; then what the note
 * and the manuals say of a memory alone. On the image with a proper of 4 KB.
 *
 * Deviations that are ours and wanted: a write-protected page answers errWRITE (AN3156: no error);
 * Read Unprotect answers errVENDOR (it would erase this bootloader, too).
 */
#include "bootloaders.h"
#include "checks.h"
#include "finder.h"
#include "option_bytes.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PART "stm32f103c8"

static const struct bootloader *full;

static void use_full(void)
{
    full = use_bootloader("bluepill-full-tail");
}
TestSuite(an3156, .init = use_full, .timeout = 120);

enum {
    TARGET = FLASH + 0x1000, /* WRP0 bit 1 protects these 4 KB on every density (PM0075 table 9) */
    APP_SIZE = 8192,
    RAM_TARGET = RAM + 0x2000,
    PROTECTED_TEXT = 4, /* iString of errVENDOR */
};

/* --- boards with protections -------------------------------------------------------------------- */

enum protection { NONE, WRITE, READ, PROTECTIONS };
static const char *const protection_names[] = {"none", "write", "read"};
static const uint8_t protections[PROTECTIONS][OPTIONS] = {
    OPTIONS_SHIPPED,
    {RDP_OFF, 0xFF, 0xFF, 0xFF, 0xFD, 0xFF, 0xFF, 0xFF},
    {RDP_ON,  0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
};

/* In DFU by the reset button, the application valid; without one if app is NULL. */
static struct host in_dfu(const char *part, const struct app *app, enum protection p)
{
    struct host h = app ? host_with_application(part, app) : host_on_new_board(part);

    if (app) {
        dfu_with_options(&h, app, protections[p]);
        return h;
    }
    power_with_options(h.board, protections[p]);
    cr_assert(host_enumerate(&h), "%s", part);
    check_dfu(dfu_open(&h), &h);
    return h;
}

static void check_as_from_reset(const struct host *h, uint32_t base, uint32_t sp)
{
    const char *complaint = finder_complaint(h->board, base, sp);

    cr_expect(!complaint, "%s", complaint);
}

/* --- table 3 -------------------------------------------------------------------------------------- */

enum memory { IN_FLASH, IN_RAM, IN_OPTIONS, IN_SYSTEM };
static const uint32_t targets[] = {TARGET, RAM_TARGET, OPTION_BYTES, SYSTEM_MEMORY};
static const char *const memory_names[] = {"flash", "RAM", "option bytes", "system memory"};
enum command { UPLOAD, GET, DOWNLOAD, ERASE, MASS_ERASE, READ_UNPROTECT, POINT, LEAVE };
static const char *const command_names[] = {"Read Memory", "Get", "Write Memory", "Erase",
    "mass Erase", "Read Unprotect", "Set Address Pointer", "Leave"};

enum { OK = DFU_OK, TARGET_ERROR = DFU_ERR_TARGET, VENDOR = DFU_ERR_VENDOR };
static const struct row {
    enum command command;
    enum memory memory;
    uint8_t status[PROTECTIONS];
} table3[] = {
    {UPLOAD,         IN_FLASH,   {OK, OK, VENDOR}                    },
    {UPLOAD,         IN_RAM,     {OK, OK, VENDOR}                    },
    {UPLOAD,         IN_OPTIONS, {OK, OK, VENDOR}                    },
    {UPLOAD,         IN_SYSTEM,  {OK, OK, VENDOR}                    },
    {GET,            IN_FLASH,   {OK, OK, OK}                        },
    {GET,            IN_RAM,     {OK, OK, OK}                        },
    {GET,            IN_OPTIONS, {OK, OK, OK}                        },
    {GET,            IN_SYSTEM,  {OK, OK, OK}                        },
    {DOWNLOAD,       IN_FLASH,   {OK, DFU_ERR_WRITE, VENDOR}         },
    {DOWNLOAD,       IN_RAM,     {OK, OK, VENDOR}                    },
    {DOWNLOAD,       IN_OPTIONS, {OK, OK, VENDOR}                    },
    {DOWNLOAD,       IN_SYSTEM,  {TARGET_ERROR, TARGET_ERROR, VENDOR}},
    {ERASE,          IN_FLASH,   {OK, DFU_ERR_WRITE, VENDOR}         },
    {ERASE,          IN_RAM,     {TARGET_ERROR, TARGET_ERROR, VENDOR}},
    {ERASE,          IN_OPTIONS, {TARGET_ERROR, TARGET_ERROR, VENDOR}},
    {ERASE,          IN_SYSTEM,  {TARGET_ERROR, TARGET_ERROR, VENDOR}},
    {MASS_ERASE,     IN_FLASH,   {OK, DFU_ERR_WRITE, VENDOR}         },
    {READ_UNPROTECT, IN_FLASH,   {VENDOR, VENDOR, VENDOR}            },
    {POINT,          IN_FLASH,   {OK, OK, OK}                        },
    {POINT,          IN_RAM,     {OK, OK, OK}                        },
    {POINT,          IN_OPTIONS, {OK, OK, OK}                        },
    {POINT,          IN_SYSTEM,  {OK, OK, OK}                        },
    {LEAVE,          IN_FLASH,   {OK, OK, OK}                        },
    {LEAVE,          IN_RAM,     {OK, OK, OK}                        },
    {LEAVE,          IN_OPTIONS, {OK, OK, OK}                        },
    {LEAVE,          IN_SYSTEM,  {OK, OK, OK}                        },
};

struct memories { /* all that a command might change */
    uint8_t *flash, option[16], ram[2048];
};

static struct memories memories_of(const struct board *b)
{
    struct memories m = {.flash = flash_dump(b)};

    board_peek(b, OPTION_BYTES, m.option, sizeof m.option);
    board_peek(b, RAM_TARGET, m.ram, sizeof m.ram);
    return m;
}

static void check_unchanged(
    const struct board *b, const struct memories *was, const char *command, const char *memory)
{
    struct memories now = memories_of(b);

    cr_expect(memcmp(now.flash, was->flash, board_flash_size(b)) == 0, "%s, %s: flash was changed",
        command, memory);
    cr_expect_arr_eq(now.option, was->option, 16, "%s, %s: option bytes", command, memory);
    cr_expect_arr_eq(now.ram, was->ram, sizeof now.ram, "%s, %s: RAM", command, memory);
    free(now.flash);
}

/* What dfu_work() still does after an ABORT shows in a GETSTATUS that follows. */
static void finish(struct host *h)
{
    dfu_abort(h);
    for (unsigned i = 0; i < 400 && dfu_getstatus(h).result > 0 && h->last.status == DFU_OK &&
                         (i < 2 || h->last.poll_ms > 1);
         i++)
        host_sleep(h, h->last.poll_ms * BOARD_MS + BOARD_MS);
}

static uint8_t block[2048]; /* what is downloaded */

/* Gives the command; h->last is the last answer. */
static void give(struct host *h, const struct row *r, uint8_t *data, int *got)
{
    uint32_t at = targets[r->memory], page = board_page_size(h->board);

    *got = 0;
    if (r->command != ERASE && r->command != MASS_ERASE && r->command != READ_UNPROTECT) {
        bool pointed = dfu_set_address(h, at);
        cr_assert(pointed, "Set Address Pointer to %08x: state %u, status %u", at, h->last.state,
            h->last.status);
    }
    switch (r->command) {
    case UPLOAD:
    case GET:
        dfu_abort(h);
        *got = dfu_upload_block(h, r->command == GET ? 0 : 2, data,
            r->command == GET         ? 64
            : r->memory == IN_OPTIONS ? 16
                                      : XFER);
        dfu_getstatus(h);
        break;
    case DOWNLOAD:
        if (r->memory != IN_FLASH) {
            dfu_download(h, 2, block, r->memory == IN_OPTIONS ? 16 : XFER);
            break;
        }
        for (uint32_t i = 0; i < page; i += XFER)
            if (!dfu_write(h, at + i, block + i, XFER))
                return;
        break;
    case ERASE:
    case MASS_ERASE:
        if (r->command == ERASE ? dfu_erase(h, at) : dfu_mass_erase(h))
            finish(h);
        break;
    case READ_UNPROTECT:
        dfu_dnload(h, 0, &(uint8_t){DFUSE_READ_UNPROTECT}, 1);
        dfu_getstatus(h);
        break;
    case LEAVE:
        dfu_leave(h, 0);
        break;
    case POINT:
        break;
    }
}

/* It was allowed: what must be so now. */
static void check_done(struct host *h, const struct row *r, const struct memories *was,
    const struct app *app, const struct app *in_ram, const uint8_t *data, int got)
{
    uint32_t at = targets[r->memory], page = board_page_size(h->board);
    uint8_t expected[2048], blank[2048];
    const char *name = command_names[r->command], *memory = memory_names[r->memory];

    memset(blank, 0xFF, sizeof blank);
    switch (r->command) {
    case UPLOAD:
        board_peek(h->board, at, expected, XFER);
        cr_assert_eq(got, r->memory == IN_OPTIONS ? 16 : XFER, "%s, %s: %d", name, memory, got);
        if (r->memory == IN_OPTIONS)
            board_peek(h->board, at, expected, 16);
        cr_expect_arr_eq(data, expected, (size_t)got, "%s, %s", name, memory);
        check_unchanged(h->board, was, name, memory);
        break;
    case GET:
        cr_assert_eq(got, 4, "Get: %d bytes", got);
        cr_expect_arr_eq(data, ((uint8_t[]){0x00, 0x21, 0x41, 0x92}), 4, "Get");
        check_unchanged(h->board, was, name, memory);
        break;
    case DOWNLOAD:
        if (r->memory == IN_OPTIONS)
            break; /* below */
        finish(h);
        board_peek(h->board, at, expected, r->memory == IN_FLASH ? page : XFER);
        cr_expect_arr_eq(
            expected, block, r->memory == IN_FLASH ? page : XFER, "%s, %s", name, memory);
        break;
    case ERASE:
        board_peek(h->board, at, expected, page);
        cr_expect_arr_eq(expected, blank, page, "%s: it is not blank", name);
        break;
    case MASS_ERASE:
        for (uint32_t i = FLASH; i < FLASH + app_room(h->board); i += page) {
            board_peek(h->board, i, expected, page);
            if (i == FLASH)
                memset(expected + 4, 0xFF, 4);
            cr_expect_arr_eq(expected, blank, page, "mass Erase: %08x is not blank", i);
        }
        break;
    case LEAVE:
        if (r->memory == IN_RAM) {
            cr_expect(hears(h->board, in_ram->tag, 1000),
                "Leave: the image in RAM does not start: "
                "'%s', pc %08x",
                heard(), board_pc(h->board));
            check_as_from_reset(h, RAM_TARGET, RAM_TARGET + 0x800);
            power_cycle(h->board);
            cr_expect(hears(h->board, app->tag, 20), "the application is no longer valid");
        } else {
            cr_expect(hears(h->board, app->tag, 1000), "Leave, %s: '%s', pc %08x", memory, heard(),
                board_pc(h->board));
        }
        break;
    case POINT:
        check_unchanged(h->board, was, name, memory);
        break;
    case READ_UNPROTECT:
        break;
    }
    if (r->memory == IN_FLASH && r->command == DOWNLOAD)
        return; /* another application now, or none */
    if (r->command <= GET || r->command == POINT) {
        power_cycle(h->board);
        cr_expect(hears(h->board, app->tag, 20), "%s, %s: the application is no longer valid", name,
            memory);
    }
}

static void check_row(
    const struct host *base, const struct row *r, enum protection p, const struct app *app)
{
    struct host h = {.board = board_copy(base->board)};
    const char *name = command_names[r->command], *memory = memory_names[r->memory];
    struct app in_ram = finder_build(RAM_TARGET, RAM_TARGET + 0x800, 0, 7);
    uint8_t data[XFER] = {0}, status = r->status[p];
    int got;

    board_load(h.board, RAM_TARGET, in_ram.data, in_ram.size);
    struct memories was = memories_of(h.board);
    option_bytes(block, protections[NONE]);
    for (unsigned i = 16; i < sizeof block; i++)
        block[i] = (uint8_t)(i * 7 + i / 256);
    give(&h, r, data, &got);
    cr_expect(h.last.result == DFU_STATUS_SIZE && h.last.status == status,
        "%s, %s, protection: %s: answer %d, status %u, not %u", name, memory, protection_names[p],
        h.last.result, h.last.status, status);
    cr_expect_eq(h.last.state == DFU_ERROR, status != OK, "%s, %s, protection: %s: state %u", name,
        memory, protection_names[p], h.last.state);
    cr_expect_eq(h.last.string, status == VENDOR ? PROTECTED_TEXT : 0,
        "%s, %s, protection: %s: iString %u", name, memory, protection_names[p], h.last.string);
    if (h.last.status == OK) {
        check_done(&h, r, &was, app, &in_ram, data, got);
    } else {
        if (r->command == UPLOAD)
            cr_expect_eq(got, USB_STALL, "%s, %s: %d bytes", name, memory, got);
        if (status != DFU_ERR_WRITE) {
            check_unchanged(h.board, &was, name, memory);
        } else { /* pages that are not protected may have been erased, and the application be gone */
            uint8_t now[4096];
            board_peek(h.board, TARGET, now, sizeof now);
            cr_expect_arr_eq(now, was.flash + (TARGET - FLASH), sizeof now, "%s: protected", name);
        }
        cr_expect_geq(dfu_clrstatus(&h), 0);
        cr_expect_eq(dfu_getstate(&h), DFU_IDLE, "%s, %s: CLRSTATUS", name, memory);
        power_cycle(h.board);
        if (status != DFU_ERR_WRITE)
            cr_expect(hears(h.board, app->tag, 20),
                "%s, %s, protection: %s: the application is no longer valid", name, memory,
                protection_names[p]);
        else
            cr_expect(hears(h.board, app->tag, 20) ? flash_holds(h.board, app) : host_enumerate(&h),
                "%s, %s: neither the application nor DFU", name, memory);
    }
    check_board(h.board);
    free(was.flash);
    board_free(h.board);
    app_free(&in_ram);
}

static void table3_on(const char *part, enum protection p)
{
    struct app app = app_build(APP_SIZE, 1, 0);
    struct host base = in_dfu(part, &app, p);

    for (unsigned i = 0; i < sizeof table3 / sizeof *table3; i++)
        check_row(&base, &table3[i], p, &app);
    printf("%s, protection: %s: %zu rows\n", part, protection_names[p],
        sizeof table3 / sizeof *table3);
}

Test(an3156, table_3_without_protection_on_1_kb_pages)
{
    table3_on("stm32f103c8", NONE);
}
Test(an3156, table_3_with_write_protection_on_1_kb_pages)
{
    table3_on("stm32f103c8", WRITE);
}
Test(an3156, table_3_with_read_protection_on_1_kb_pages)
{
    table3_on("stm32f103c8", READ);
}
Test(an3156, table_3_without_protection_on_2_kb_pages)
{
    table3_on("stm32f103rc", NONE);
}
Test(an3156, table_3_with_write_protection_on_2_kb_pages)
{
    table3_on("stm32f103rc", WRITE);
}
Test(an3156, table_3_with_read_protection_on_2_kb_pages)
{
    table3_on("stm32f103rc", READ);
}

Test(an3156, read_protection_is_told_in_words)
{
    struct app app = app_build(APP_SIZE, 1, 0);
    struct host h = in_dfu(PART, &app, READ);
    uint8_t text[255] = {0};

    cr_expect_not(dfu_mass_erase(&h));
    cr_assert_eq(h.last.string, PROTECTED_TEXT);
    int n = host_control(&h, 0x80, 6, 0x0300 | PROTECTED_TEXT, 0x0409, text, sizeof text);
    cr_assert(n >= 2 + 2 * 6 && n == text[0] && text[1] == 3, "%d bytes", n);
    for (int i = 2; i < n; i += 2)
        cr_expect(text[i] >= ' ' && text[i] <= '~' && !text[i + 1], "character %d: %02x%02x", i / 2,
            text[i + 1], text[i]);
}

/* Commands that are none are not told from protected ones; but nothing is ever done. */
Test(an3156, read_protection_lets_no_download_begin)
{
    struct app app = app_build(APP_SIZE, 1, 0), next = app_build(4096, 2, 0);
    struct host h = in_dfu(PART, &app, READ);
    uint8_t *was = flash_dump(h.board);

    for (unsigned i = 0; i < 3; i++) {
        cr_expect_not(flash_application(&h, &next));
        cr_expect_eq(h.last.status, VENDOR);
    }
    check_dfu(dfu_open(&h), &h);
    for (unsigned i = 0; i < 4; i++) {
        cr_expect_not(dfu_download(&h, (uint16_t)(2 + i), next.data, XFER));
        cr_expect_eq(h.last.status, VENDOR);
        dfu_clrstatus(&h);
    }
    finish(&h);
    check_flash(h.board, was);
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, app.tag, 1000));
    check_board(h.board);
}

/* Leave may name what it wants: under read protection it writes nothing. */
Test(an3156, read_protection_leave_that_names_another_image_changes_nothing)
{
    struct app app = app_build(2 * PAGE, 1, 0),
               other = finder_build(FLASH + 0x5000, RAM + 0x2000, 2000, 3);
    struct host h = in_dfu(PART, &app, NONE);

    check_dfu(dfu_download_like_dfu_util(&h, FLASH + 0x5000, other.data, other.size), &h);
    dfu_with_options(&h, &app, protections[READ]);
    uint8_t *was = flash_dump(h.board);
    check_dfu(dfu_set_address(&h, FLASH + 0x5000), &h);
    dfu_leave(&h, 0);
    host_sleep(&h, BOARD_S);
    check_flash(h.board, was);
    power_cycle(h.board);
    cr_expect(hears(h.board, app.tag, 20), "'%s'", heard());
    check_board(h.board);
}

/* --- option bytes ----------------------------------------------------------------------------------- */

enum { OPTION_RESET_MS = 400 }; /* "about 300" */

/* Data0, Data1, WRP0 and WRP2 of a board as it is shipped are others than these. */
static const uint8_t new_options[OPTIONS] = {RDP_OFF, 0xFF, 0x12, 0x34, 0xFD, 0xFF, 0x7F, 0xFF};

static bool write_options(struct host *h, const uint8_t options[OPTIONS])
{
    uint8_t bytes[OPTION_BYTES_SIZE];

    option_bytes(bytes, options);
    return dfu_write(h, OPTION_BYTES, bytes, sizeof bytes);
}

/* Without the question after it. */
static int begin_options(struct host *h, const uint8_t options[OPTIONS])
{
    uint8_t bytes[OPTION_BYTES_SIZE];

    option_bytes(bytes, options);
    cr_assert(dfu_set_address(h, OPTION_BYTES));
    return dfu_dnload(h, DFUSE_FIRST_BLOCK, bytes, sizeof bytes);
}

Test(an3156, option_bytes_are_written_and_take_effect_by_a_reset)
{
    const char *parts[] = {"stm32f103c8", "stm32f103rc"};

    for (unsigned i = 0; i < 2; i++) {
        struct app app = app_build(APP_SIZE, 1, 0);
        struct host h = in_dfu(parts[i], &app, NONE);
        uint8_t *was = flash_dump(h.board), back[16];
        struct board_counts before, after;

        board_counts(h.board, &before);
        cr_assert_geq(begin_options(&h, new_options), 0);
        dfu_getstatus(&h);
        cr_expect(h.last.status == OK && h.last.state == DFU_DNBUSY, "status %u, state %u",
            h.last.status, h.last.state);
        uint64_t written = board_now(h.board);
        check_options(h.board, new_options);
        board_counts(h.board, &after);
        cr_expect_eq(after.option_erases - before.option_erases, 1);
        cr_expect_eq(after.resets, before.resets, "no time to tell the host");
        forget();
        while (after.resets == before.resets && board_now(h.board) < written + 2 * BOARD_S) {
            board_run_for(h.board, BOARD_MS);
            board_counts(h.board, &after);
        }
        uint64_t ms = (board_now(h.board) - written) / BOARD_MS;
        printf(
            "%s: reset %llu ms after the option bytes stood\n", parts[i], (unsigned long long)ms);
        cr_expect(ms >= 100 && ms <= OPTION_RESET_MS, "%llu ms", (unsigned long long)ms);
        board_run_for(h.board, 20 * BOARD_MS);
        cr_expect(strstr(heard(), app.tag), "the application does not run: '%s'", heard());
        check_flash(h.board, was);

        check_dfu(press_reset(&h), &h);
        check_dfu(dfu_open(&h), &h);
        check_dfu(dfu_read(&h, OPTION_BYTES, back, 16, 16), &h);
        cr_expect_eq(back[4], 0x12);
        cr_expect_eq(back[5], 0xED);
        for (uint32_t at = 0; at < board_page_size(h.board); at += XFER)
            if (!dfu_write(&h, TARGET + at, block, XFER))
                break;
        cr_expect_eq(h.last.status, DFU_ERR_WRITE, "they are not in force: WRP0");
        check_board(h.board);
    }
}

/* AN3156 §5.1: "at the end of the command the bootloader generates a system reset" — always. */
Test(an3156, option_bytes_take_effect_by_a_reset_without_an_application_too)
{
    struct host h = in_dfu(PART, NULL, NONE);
    struct board_counts before, after;

    board_counts(h.board, &before);
    cr_assert_geq(begin_options(&h, new_options), 0);
    dfu_getstatus(&h);
    host_sleep(&h, 500 * BOARD_MS);
    check_options(h.board, new_options);
    board_counts(h.board, &after);
    cr_expect_eq(after.resets - before.resets, 1, "no reset");
    cr_assert(host_enumerate(&h));
    check_dfu(dfu_open(&h), &h);
    dfu_write(&h, TARGET, block, XFER);
    cr_expect_eq(h.last.status, DFU_ERR_WRITE, "they are not in force: WRP0");
    check_board(h.board);
}

/* USER bit 0 clear: the watchdog runs from each reset on, some 400 ms (RM0008 §19.3.1). */
Test(an3156, hardware_watchdog_that_option_bytes_start_is_fed)
{
    struct app app = app_build(APP_SIZE, 1, 0), next = app_build(8192, 2, 0);
    struct host h = in_dfu(PART, &app, NONE);
    uint8_t options[OPTIONS];
    struct board_counts before, after;

    memcpy(options, new_options, sizeof options);
    options[USER] = 0xFE;
    options[WRP0] = 0xFF;
    write_options(&h, options);
    cr_expect(hears(h.board, app.tag, OPTION_RESET_MS), "the application does not run");
    check_dfu(press_reset(&h), &h);
    board_counts(h.board, &before);
    host_sleep(&h, 2 * BOARD_S);
    check_dfu(flash_application(&h, &next), &h);
    check_dfu(dfu_mass_erase(&h) && dfu_to_idle(&h), &h);
    host_sleep(&h, 2 * BOARD_S);
    check_dfu(flash_application(&h, &next), &h);
    check_dfu(write_options(&h, protections[NONE]), &h);
    board_counts(h.board, &after);
    cr_expect_eq(after.watchdog_resets, before.watchdog_resets);
    check_board(h.board);
}

/* Everything is write-protected, the journal too: nothing changes, and nothing is lost. */
Test(an3156, write_protection_of_all_pages_keeps_the_application)
{
    static const uint8_t all[OPTIONS] = {RDP_OFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0};
    struct app app = app_build(APP_SIZE, 1, 0), next = app_build(4096, 2, 0);
    struct host h = in_dfu(PART, &app, NONE);
    uint8_t *was = flash_dump(h.board);

    dfu_with_options(&h, &app, all);
    for (unsigned i = 0; i < 2; i++) {
        cr_expect_not(flash_application(&h, &next));
        cr_expect_eq(h.last.status, DFU_ERR_WRITE, "status %u", h.last.status);
        dfu_clrstatus(&h);
    }
    check_flash(h.board, was);
    check_dfu(dfu_open(&h), &h);
    cr_expect(
        dfu_leave(&h, 2), "Leave: status %u, although the application is whole", h.last.status);
    cr_expect(hears(h.board, app.tag, 1000));
    power_cycle(h.board);
    cr_expect(hears(h.board, app.tag, 20));
    check_board(h.board);
}

/* In the middle of a download: the reset comes all the same, and nothing torn runs. */
Test(an3156, option_bytes_written_before_a_download_is_finished_take_effect_too)
{
    struct app app = app_build(APP_SIZE, 1, 0), next = app_build(4 * PAGE, 2, 0);
    struct host h = in_dfu(PART, &app, NONE);
    struct board_counts before, after;

    for (uint32_t at = 0; at < 3 * PAGE; at += PAGE)
        check_dfu(dfu_erase(&h, FLASH + at) && dfu_write(&h, FLASH + at, next.data + at, PAGE), &h);
    board_counts(h.board, &before);
    check_dfu(write_options(&h, new_options), &h);
    host_sleep(&h, 500 * BOARD_MS);
    board_counts(h.board, &after);
    cr_expect_eq(after.resets - before.resets, 1, "no reset");
    cr_expect_not(hears(h.board, next.tag, 20), "three pages of four run");
    cr_expect(host_enumerate(&h));
    check_board(h.board);
}

/* As a tool does that knows the note: after the write it asks no more, or goes on asking. */
Test(an3156, option_bytes_can_be_written_again_and_again)
{
    struct app app = app_build(APP_SIZE, 1, 0);
    struct host h = in_dfu(PART, &app, NONE);

    for (unsigned i = 0; i < 6; i++) {
        uint8_t options[OPTIONS] = OPTIONS_SHIPPED;
        options[DATA0] = (uint8_t)i;
        options[DATA1] = (uint8_t)(7 * i);
        check_dfu(write_options(&h, options), &h);
        check_options(h.board, options);
        if (i & 1) { /* without waiting for its reset first */
            cr_expect(hears(h.board, app.tag, OPTION_RESET_MS), "round %u", i);
            check_dfu(press_reset(&h), &h);
            check_dfu(dfu_open(&h), &h);
        }
        check_board(h.board);
    }
}

Test(an3156, read_protection_can_be_set_and_then_holds)
{
    struct app app = app_build(APP_SIZE, 1, 0);
    struct host h = in_dfu(PART, &app, NONE);
    uint8_t data[64];

    write_options(&h, protections[READ]);
    cr_expect(hears(h.board, app.tag, OPTION_RESET_MS), "the application does not run");
    check_dfu(press_reset(&h), &h);
    check_dfu(dfu_open(&h), &h);
    cr_expect_eq(dfu_upload_block(&h, 2, data, sizeof data), USB_STALL);
    dfu_getstatus(&h);
    cr_expect_eq(h.last.status, VENDOR);
    check_board(h.board);
}

Test(an3156, option_bytes_are_written_by_16_bytes_at_their_start_only)
{
    struct app app = app_build(APP_SIZE, 1, 0);
    struct host base = in_dfu(PART, &app, NONE);
    const struct {
        uint32_t pointer;
        uint16_t wBlockNum, size;
    } wrong[] = {
        {OPTION_BYTES,      2, 1   },
        {OPTION_BYTES,      2, 2   },
        {OPTION_BYTES,      2, 8   },
        {OPTION_BYTES,      2, 15  },
        {OPTION_BYTES,      2, 17  },
        {OPTION_BYTES,      2, 32  },
        {OPTION_BYTES,      2, 1024},
        {OPTION_BYTES,      3, 16  },
        {OPTION_BYTES + 2,  2, 16  },
        {OPTION_BYTES + 8,  2, 8   },
        {OPTION_BYTES - 1,  2, 16  },
        {OPTION_BYTES - 16, 2, 16  },
        {OPTION_BYTES - 16, 2, 32  },
        {OPTION_BYTES - 16, 3, 16  }, /* counts up to it: the pointer is elsewhere */
    };
    struct board_counts before, after;

    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct host h = {.board = board_copy(base.board)};
        board_counts(h.board, &before);
        cr_assert(dfu_set_address(&h, wrong[i].pointer), "%08x", wrong[i].pointer);
        if (wrong[i].wBlockNum == 3) { /* the stride is the block's size then: 16 */
            uint8_t bytes[OPTION_BYTES_SIZE];
            option_bytes(bytes, new_options);
            dfu_download(&h, 2, bytes, sizeof bytes);
            if (wrong[i].pointer == OPTION_BYTES)
                continue; /* that was right */
            dfu_clrstatus(&h);
        }
        cr_expect_not(dfu_download(&h, wrong[i].wBlockNum, block, wrong[i].size));
        cr_expect(h.last.status == TARGET_ERROR && h.last.state == DFU_ERROR,
            "%u bytes at %08x, block %u: status %u", wrong[i].size, wrong[i].pointer,
            wrong[i].wBlockNum, h.last.status);
        board_counts(h.board, &after);
        cr_expect_eq(after.option_erases, before.option_erases,
            "%u bytes at %08x, block %u: written", wrong[i].size, wrong[i].pointer,
            wrong[i].wBlockNum);
        check_options(h.board, protections[NONE]);
        check_board(h.board);
        board_free(h.board);
    }
}

/* Power fails at each operation, with each outcome. RDP erased, or not surely 0xA5, means protected:
 * the window that no order of operations can avoid (PM0075 §2.3.5). */
Test(an3156, power_cut_while_option_bytes_are_written_leaves_the_application_and_dfu)
{
    struct app app = app_build(APP_SIZE, 1, 0), next = app_build(4096, 2, 0);
    struct host base = in_dfu(PART, &app, NONE);
    uint8_t *was = flash_dump(base.board);
    unsigned cuts = 0, window = 0, window_ops = 0;
    uint64_t opened = 0, closed = 0;
    struct board_counts n0, n1;

    cr_assert_geq(begin_options(&base, new_options), 0);
    struct host whole = {.board = board_copy(base.board)};
    board_counts(whole.board, &n0);
    dfu_getstatus(&whole);
    board_run_for(whole.board, BOARD_S);
    board_counts(whole.board, &n1);
    uint64_t operations = n1.flash_operations - n0.flash_operations;
    for (uint64_t nth = 1; nth <= operations; nth++) {
        unsigned in_window = 0;
        for (int torn = BOARD_TORN_NOT_BEGUN; torn < BOARD_TORN_KINDS; torn++)
            for (uint64_t seed = 1;
                 seed <= (torn == BOARD_TORN_MARGINAL || torn == BOARD_TORN_RANDOM ? 6 : 1);
                 seed++) {
                struct host h = {.board = board_copy(base.board)};
                uint8_t now[16];
                board_cut_at(h.board, nth, (enum board_torn)torn, seed);
                dfu_getstatus(&h);
                cr_assert_not(
                    board_powered(h.board), "operation %llu did not come", (unsigned long long)nth);
                if (torn == BOARD_TORN_NOT_BEGUN && nth == 1)
                    opened = board_now(h.board);
                if (torn == BOARD_TORN_DONE && nth == 2)
                    closed = board_now(h.board);
                cuts++;
                board_power(h.board, true);
                board_peek(h.board, OPTION_BYTES, now, sizeof now);
                bool locked = now[0] != 0xA5 || now[1] != 0x5A;
                bool runs = hears(h.board, app.tag, 20);
                cr_expect(runs, "operation %llu, %s: the application does not run; pc %08x",
                    (unsigned long long)nth, torn_name((enum board_torn)torn), board_pc(h.board));
                uint8_t *flash = flash_dump(h.board);
                cr_expect(memcmp(flash, was, board_flash_size(h.board)) == 0, "operation %llu",
                    (unsigned long long)nth);
                free(flash);
                board_press_reset(h.board, RESET_HOLD);
                cr_expect(host_enumerate(&h), "operation %llu, %s: no DFU; RDP %02x %02x",
                    (unsigned long long)nth, torn_name((enum board_torn)torn), now[0], now[1]);
                check_dfu(dfu_open(&h), &h);
                if (locked) {
                    window++;
                    in_window = 1;
                    cr_expect_leq(
                        nth, 2, "operation %llu: RDP is not the first", (unsigned long long)nth);
                    cr_expect_not(flash_application(&h, &next));
                    cr_expect_eq(h.last.status, VENDOR);
                } else if (nth == operations || torn == BOARD_TORN_MARGINAL) {
                    check_dfu(dfu_write(&h, FLASH + 0x3000, block, XFER), &h);
                    check_dfu(write_options(&h, new_options), &h);
                    check_options(h.board, new_options);
                }
                check_board(h.board);
                board_free(h.board);
            }
        window_ops += in_window;
    }
    printf("option bytes: %llu operations, %u cuts; %u left the part read-protected, in %u "
           "operations, %.2f ms\n",
        (unsigned long long)operations, cuts, window, window_ops, (double)(closed - opened) / 1e6);
    cr_expect_eq(operations, 9, "an erase and eight half-words");
    cr_expect(window_ops >= 1 && window_ops <= 2);
}

/* --- RAM ------------------------------------------------------------------------------------------ */

static void ram_of(const char *part, unsigned kb)
{
    struct app app = app_build(APP_SMALLEST, 1, 0);
    struct host h = in_dfu(part, &app, NONE);
    uint32_t end = RAM + kb * 1024;
    const uint32_t none[] = {RAM, RAM + 4, RAM + 0x1000, OWN_RAM_END - 1, end, end + 1, end + 1023,
        end + 1024, RAM - 1, RAM + 0x20000, 0x22000000};
    uint8_t back[XFER];

    cr_assert_eq(board_ram_size(h.board), kb * 1024);
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++) {
        bool pointed = dfu_set_address(&h, none[i]);
        cr_expect(!pointed && h.last.status == TARGET_ERROR, "%s: Set Address %08x: status %u",
            part, none[i], h.last.status);
        dfu_clrstatus(&h);
    }
    if (end == OWN_RAM_END)
        goto done;
    const uint32_t good[] = {OWN_RAM_END, OWN_RAM_END + 1, end - XFER, end - 64, end - 1};
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        uint32_t room = end - good[i], n = room < XFER ? room : XFER;
        for (unsigned k = 0; k < n; k++)
            back[k] = (uint8_t)(k * 3 + i + kb);
        check_dfu(dfu_write(&h, good[i], back, n), &h);
        uint8_t now[XFER], read[XFER] = {0};
        board_peek(h.board, good[i], now, n);
        cr_expect_arr_eq(now, back, n, "%s: write at %08x", part, good[i]);
        check_dfu(dfu_set_address(&h, good[i]) && dfu_to_idle(&h), &h);
        int got = dfu_upload_block(&h, 2, read, XFER);
        cr_expect_eq(got, (int)n, "%s: read at %08x: %d bytes", part, good[i], got);
        cr_expect_arr_eq(read, back, n, "%s: read at %08x", part, good[i]);
        if (dfu_getstate(&h) == DFU_UPLOAD_IDLE) {
            got = dfu_upload_block(&h, 3, read, XFER);
            cr_expect(room <= XFER ? got == 0 : got > 0, "%s: behind the end: %d", part, got);
        }
        check_dfu(dfu_to_idle(&h), &h);
        if (n < XFER || good[i] + XFER == end) { /* a write over the end */
            struct memories was = memories_of(h.board);
            check_dfu(dfu_set_address(&h, end - 1), &h);
            cr_expect_not(dfu_download(&h, 2, back, 2));
            cr_expect_eq(h.last.status, TARGET_ERROR);
            dfu_clrstatus(&h);
            check_dfu(dfu_set_address(&h, end - XFER + 1), &h);
            cr_expect_not(dfu_download(&h, 2, back, XFER));
            cr_expect_eq(h.last.status, TARGET_ERROR);
            dfu_clrstatus(&h);
            cr_expect_not(dfu_download(&h, 0xFFFF, back, XFER));
            cr_expect_eq(h.last.status, TARGET_ERROR);
            dfu_clrstatus(&h);
            check_unchanged(h.board, &was, "write over the end", part);
        }
    }
done:
    check_board(h.board);
    cr_expect_geq(dfu_clrstatus(&h), 0, "%s: it is gone; pc %08x", part, board_pc(h.board));
    check_dfu(dfu_leave(&h, 2), &h);
    cr_expect(hears(h.board, app.tag, 1000), "%s", part);
    check_board(h.board);
}

Test(an3156, ram_of_6_kb_is_the_bootloaders_own)
{
    ram_of("stm32f103c4", 6);
}
Test(an3156, ram_ends_at_10_kb)
{
    ram_of("stm32f103c6", 10);
}
Test(an3156, ram_ends_at_20_kb)
{
    ram_of("stm32f103c8", 20);
    ram_of("stm32f103cb", 20);
}
Test(an3156, ram_ends_at_48_kb)
{
    ram_of("stm32f103rc", 48);
}
Test(an3156, ram_ends_at_64_kb)
{
    ram_of("stm32f103rd", 64);
    ram_of("stm32f103re", 64);
}

/* --- what lies outside --------------------------------------------------------------------------- */

Test(an3156, set_address_outside_all_memories_is_errTARGET)
{
    const char *parts[] = {"stm32f103c8", "stm32f103re"};

    for (unsigned p = 0; p < 2; p++) {
        struct app app = app_build(APP_SIZE, 1, 0);
        struct host h = in_dfu(parts[p], &app, NONE);
        uint32_t end = FLASH + board_flash_size(h.board);
        const uint32_t none[] = {0, 4, FLASH - 1, FLASH - 4, end, end + 4, 0x0FFFFFFF, 0x10000000,
            SYSTEM_MEMORY - 1, SYSTEM_MEMORY - 4, 0x1FFFE000, OPTION_BYTES_END,
            OPTION_BYTES_END + 4, 0x1FFFFFFF, 0x40000000, 0x40022000, 0x60000000, 0xE000ED00,
            0xE0042000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC};
        const uint32_t good[] = {FLASH, FLASH + 1, end - 1, SYSTEM_MEMORY, OPTION_BYTES - 1,
            OPTION_BYTES, OPTION_BYTES_END - 1, OWN_RAM_END, RAM + board_ram_size(h.board) - 1};
        for (unsigned i = 0; i < sizeof none / sizeof *none; i++) {
            bool pointed = dfu_set_address(&h, none[i]);
            cr_expect(!pointed && h.last.status == TARGET_ERROR && h.last.state == DFU_ERROR,
                "%08x: status %u, state %u", none[i], h.last.status, h.last.state);
            dfu_clrstatus(&h);
        }
        for (unsigned i = 0; i < sizeof good / sizeof *good; i++)
            cr_expect(dfu_set_address(&h, good[i]), "%08x: status %u", good[i], h.last.status);
        check_board(h.board);
    }
}

Test(an3156, reading_ends_with_the_memory)
{
    const char *parts[] = {"stm32f103c8", "stm32f103re"};

    for (unsigned p = 0; p < 2; p++) {
        struct app app = app_build(APP_SIZE, 1, 0);
        struct host h = in_dfu(parts[p], &app, NONE);
        const uint32_t ends[] = {
            FLASH + board_flash_size(h.board), OPTION_BYTES_END, RAM + board_ram_size(h.board)};
        uint8_t data[XFER], now[XFER];
        const unsigned before[] = {1, 2, 3, 16, 63, 64, 65, 100, 1000, 1023};
        for (unsigned e = 0; e < 3; e++)
            for (unsigned i = 0; i < sizeof before / sizeof *before; i++) {
                uint32_t at = ends[e] - before[i];
                check_dfu(dfu_set_address(&h, at) && dfu_to_idle(&h), &h);
                int got = dfu_upload_block(&h, 2, data, XFER);
                cr_expect_eq(got, (int)before[i], "%u before %08x: %d", before[i], ends[e], got);
                bool peeked = board_peek(h.board, at, now, before[i]) == 0;
                if (peeked) /* not one that lies in system memory and option bytes */
                    cr_expect_arr_eq(data, now, before[i], "%u before %08x", before[i], ends[e]);
                cr_expect_eq(
                    dfu_getstate(&h), DFU_IDLE, "a short packet is the last (DFU 1.1 §6.2)");
                const uint16_t blocks[] = {3, 4, 100, 0xFFFF};
                for (unsigned k = 0; k < 4; k++) {
                    got = dfu_upload_block(&h, blocks[k], data, XFER);
                    cr_expect_leq(
                        got, 0, "block %u behind %08x: %d bytes", blocks[k], ends[e], got);
                    if (dfu_getstatus(&h).state != DFU_IDLE)
                        dfu_clrstatus(&h);
                }
                check_board(h.board);
            }
    }
}

/* --- leave ------------------------------------------------------------------------------------------ */

Test(an3156, image_in_ram_is_downloaded_and_started)
{
    const char *parts[] = {"stm32f103c6", "stm32f103c8", "stm32f103rc", "stm32f103re"};

    for (unsigned p = 0; p < 4; p++)
        for (unsigned with = 0; with < 2; with++) {
            struct app app = app_build(APP_SIZE, 1, 0);
            uint32_t base = p == 0 ? (uint32_t)OWN_RAM_END : (uint32_t)RAM_TARGET;
            struct host h = in_dfu(parts[p], with ? &app : NULL, NONE);
            uint32_t sp = RAM + board_ram_size(h.board);
            struct app image = finder_build(base, sp, 0, 9);
            check_dfu(dfu_write_all(&h, base, image.data, image.size), &h);
            check_dfu(dfu_set_address(&h, base), &h);
            check_dfu(dfu_leave(&h, 0), &h);
            cr_expect(hears(h.board, image.tag, 1000), "%s, %s application: '%s', pc %08x",
                parts[p], with ? "with" : "without", heard(), board_pc(h.board));
            check_as_from_reset(&h, base, sp);
            check_board(h.board);
            board_uart_send(h.board, 1, 'R'); /* and then things are as ever */
            cr_expect_eq(hears(h.board, app.tag, 200), with, "%s", parts[p]);
            if (!with)
                cr_expect(host_enumerate(&h), "%s", parts[p]);
            board_free(h.board);
        }
}

/* In DFU, which is left for an image of one block that was just downloaded to RAM. The note: "the address pointer
 * can also be set through the last Write Memory". */
static struct host left_for_ram(struct app *image)
{
    struct app app = app_build(APP_SIZE, 1, 0);
    struct host h = in_dfu(PART, &app, NONE);

    *image = finder_build(RAM_TARGET, RAM + 0x5000, 0, 9);
    cr_assert_leq(image->size, XFER);
    check_dfu(dfu_write_all(&h, RAM_TARGET, image->data, image->size), &h);
    check_dfu(dfu_leave(&h, 0), &h);
    return h;
}

Test(an3156, image_in_ram_of_one_block_is_started_by_leave_alone)
{
    struct app image;
    struct host h = left_for_ram(&image);

    cr_expect(hears(h.board, image.tag, 1000), "'%s'", heard());
}

Test(an3156, image_in_ram_is_started_after_detach_too)
{
    struct app image;
    struct host h = left_for_ram(&image);

    dfu_detach(&h);
    usb_reset_device(h.board);
    cr_expect(hears(h.board, image.tag, 1000), "'%s'", heard());
    check_board(h.board);
}

static void ends_in_the_application(
    const struct host *base, const struct app *app, uint32_t pointer, const char *what)
{
    struct host h = {.board = board_copy(base->board)};

    check_dfu(dfu_set_address(&h, pointer), &h);
    dfu_leave(&h, 0);
    cr_expect(hears(h.board, app->tag, 1000), "%s, pointer %08x: '%s', pc %08x; %s", what, pointer,
        heard(), board_pc(h.board),
        board_complaint(h.board) ? board_complaint(h.board)->rule : "no complaint");
    if (board_complaint(h.board))
        cr_expect(false, "%s, pointer %08x: %s", what, pointer, board_complaint(h.board)->rule);
    cr_expect_eq(finder_found(h.board, FOUND_RCC_CFGR), 0,
        "%s, pointer %08x: not as from reset, but by a fault", what, pointer);
    cr_expect_eq(finder_found(h.board, FOUND_VTOR), 0, "%s, pointer %08x: VTOR is %08x", what,
        pointer, finder_found(h.board, FOUND_VTOR));
    power_cycle(h.board);
    cr_expect(hears(h.board, app->tag, 20), "%s, pointer %08x: then", what, pointer);
    board_free(h.board);
}

Test(an3156, leave_with_a_pointer_at_nonsense_starts_the_application)
{
    uint32_t end = RAM + 0x5000;
    struct app app = finder_build(FLASH, end, APP_SIZE, 1);
    struct host h = in_dfu(PART, &app, NONE);
    struct {
        const char *what;
        uint32_t sp, reset;
    } images[] = {
        {"SP in flash",           FLASH,         RAM_TARGET + FINDER_AT + 1},
        {"SP blank",              0xFFFFFFFF,    RAM_TARGET + FINDER_AT + 1},
        {"SP odd",                end - 3,       RAM_TARGET + FINDER_AT + 1},
        {"even reset vector",     end,           RAM_TARGET + FINDER_AT    },
        {"reset vector 0",        end,           0                         },
        {"reset before it",       end,           RAM_TARGET - 0x400 + 1    },
        {"reset in flash",        end,           APP_ENTRY                 },
        {"reset behind RAM",      end,           end + 1                   },
        {"reset in a peripheral", end,           0x40022001                },
        {"reset blank",           end,           0xFFFFFFFF                },
        {"SP behind RAM",         RAM + 0x10000, RAM_TARGET + FINDER_AT + 1},
    };

    for (unsigned i = 0; i < sizeof images / sizeof *images; i++) {
        struct app image = finder_build(RAM_TARGET, images[i].sp, 0, 9);
        put32(image.data + 4, images[i].reset);
        board_load(h.board, RAM_TARGET, image.data, image.size);
        ends_in_the_application(&h, &app, RAM_TARGET, images[i].what);
        app_free(&image);
    }
    struct app image = finder_build(RAM_TARGET, end, 0, 9);
    board_load(h.board, RAM_TARGET, image.data, image.size);
    const uint32_t pointers[] = {OWN_RAM_END, end - 1, end - 2, end - 3, end - 4, end - 8,
        end - 512, RAM_TARGET + 4, FLASH + 1, FLASH + 4, FLASH + 0x200, FLASH + 0x300,
        FLASH + 0x1000, FLASH + 0xFFFC, FLASH + 0xFFFF, FLASH + 0xE800, FLASH + 0xFC00,
        SYSTEM_MEMORY, SYSTEM_MEMORY + 0x7F0, OPTION_BYTES - 4, OPTION_BYTES, OPTION_BYTES_END - 1,
        OPTION_BYTES_END - 4};
    for (unsigned i = 0; i < sizeof pointers / sizeof *pointers; i++)
        ends_in_the_application(&h, &app, pointers[i], "pointer");
}

/* Without an application there is nothing to start: errFIRMWARE, and it stays, as ever. */
Test(an3156, leave_with_a_pointer_at_nonsense_and_no_application_stays)
{
    struct host base = in_dfu(PART, NULL, NONE);
    const uint32_t pointers[] = {RAM + 0x5000 - 4, RAM + 0x5000 - 1, OWN_RAM_END, SYSTEM_MEMORY,
        OPTION_BYTES, OPTION_BYTES_END - 4, FLASH + 0xFFFC, FLASH + 0x200};

    for (unsigned i = 0; i < sizeof pointers / sizeof *pointers; i++) {
        struct host h = {.board = board_copy(base.board)};
        check_dfu(dfu_set_address(&h, pointers[i]), &h);
        cr_expect_not(dfu_leave(&h, 0), "%08x", pointers[i]);
        cr_expect_eq(h.last.status, DFU_ERR_FIRMWARE, "%08x: answer %d, status %u", pointers[i],
            h.last.result, h.last.status);
        host_sleep(&h, BOARD_S);
        cr_expect_geq(dfu_clrstatus(&h), 0, "%08x: it is gone", pointers[i]);
        board_free(h.board);
    }
}

/* --- entry ------------------------------------------------------------------------------------------ */

static void check_request_in_ram(const char *part)
{
    struct app app = app_build(5000, 1, 0);
    struct host h = running(part, &app);

    request_in_ram(h.board, 0);
    board_uart_send(h.board, 1, 'R');
    cr_expect_not(hears(h.board, app.tag, 50), "%s: the request was not heard", part);
    cr_assert(host_enumerate(&h), "%s", part);
    check_dfu(dfu_open(&h), &h);
    check_dfu(dfu_leave(&h, 0), &h);
    cr_expect(hears(h.board, app.tag, 1000), "%s: it was not for once", part);
    board_uart_send(h.board, 1, 'R');
    cr_expect(hears(h.board, app.tag, 50), "%s: it was not for once", part);
    check_board(h.board);
}

Test(an3156, request_word_in_ram_enters_dfu_once)
{
    check_request_in_ram("stm32f103c8");
    check_request_in_ram("stm32f103re");
    check_request_in_ram("stm32f103c4");
}

/* Another second word than 0 or an image's address is the application's mistake: not for ever. */
Test(an3156, request_word_in_ram_with_an_image_that_is_none_is_forgotten_by_the_reset_button)
{
    const uint32_t images[] = {
        1, RAM, RAM + 0x1000, RAM + 0x5000, RAM + 0x4FFC, RAM + 0x3000, FLASH, 0xFFFFFFFF};
    struct app app = app_build(5000, 1, 0);
    struct host base = running(PART, &app);

    for (unsigned i = 0; i < sizeof images / sizeof *images; i++) {
        struct host h = {.board = board_copy(base.board)};
        request_in_ram(h.board, images[i]);
        board_uart_send(h.board, 1, 'R');
        if (!hears(h.board, app.tag, 50) && !host_enumerate(&h))
            printf(
                "a request with an image at %08x hangs: pc %08x\n", images[i], board_pc(h.board));
        board_press_reset(h.board, RESET_HOLD);
        cr_expect(host_enumerate(&h), "%08x: no DFU; pc %08x", images[i], board_pc(h.board));
        board_free(h.board);
    }
}

/* --- the pointer at a fixed place ------------------------------------------------------------------- */

Test(an3156, stub_leads_to_version_and_layout)
{
    const char *parts[] = {
        "stm32f103c4", "stm32f103c8", "stm32f103cb", "stm32f103rc", "stm32f103re"};

    for (unsigned i = 0; i < 5; i++) {
        struct host h = host_on_new_board(parts[i]);
        uint32_t stub = stub_at(h.board);
        char text[12] = "", layout[5] = "";
        cr_assert_eq(
            board_peek(h.board, stub + flash_word(h.board, stub + TEXT_AT), text, sizeof text), 0,
            "%s: word 5 is %08x", parts[i], flash_word(h.board, stub + TEXT_AT));
        cr_expect_str_eq(text, "caboose 1.0", "%s", parts[i]);
        board_peek(h.board, stub + LAYOUT_AT, layout, 4);
        cr_expect_str_eq(layout, full->layout, "%s", parts[i]);
        cr_expect_str_eq(
            usb_descriptors(h.board)->product, text, "%s: the product string is another", parts[i]);
        board_free(h.board);
    }
}
