/* SPDX-License-Identifier: MIT */
/*
 * Each image of boot/boards/ on a board that is as it says: its crystal, its way of attaching to USB,
 * its ways into DFU and no other; and on every size of flash.
 */
#include "as_reset.h"
#include "checks.h"
#include "option_bytes.h"
#include "sim/board_state.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(boards, .timeout = 120);

#define PART "stm32f103cb"

/* A promise that every board keeps; each in a process of its own. */
#define ON_EACH_BOARD(promise)                                                                     \
    static void promise(const struct bootloader *d);                                               \
    PROMISE(boards, bluepill, "bluepill-tail", promise)                                            \
    PROMISE(boards, bluepill_full, "bluepill-full-tail", promise)                                  \
    PROMISE(boards, maple_mini, "maple-mini-tail", promise)                                        \
    PROMISE(boards, f103_12mhz, "f103-12mhz-tail", promise)                                        \
    PROMISE(boards, f103_16mhz, "f103-16mhz-tail", promise)                                        \
    PROMISE(boards, f103_hsi, "f103-hsi-tail", promise)                                            \
    static void promise(const struct bootloader *d)

static bool starts_application(struct host *h, const struct app *app, unsigned timeout_ms)
{
    return hears(h->board, app->tag, timeout_ms) && !usb_configured(h->board);
}

/* Into DFU by what every board knows. */
static bool enter_by_request(struct host *h)
{
    board_uart_send(h->board, 1, 'T');
    board_run_for(h->board, 50 * BOARD_MS);
    return host_enumerate(h);
}

static bool leaves(struct host *h, const struct app *app)
{
    return dfu_leave(h, 2) && hears(h->board, app->tag, 1000);
}

/* --- every board -------------------------------------------------------------------------------- */

ON_EACH_BOARD(installs_enumerates_takes_an_application_and_runs_it)
{
    struct app app = app_build(9001, 1, IMAGE_FILLS_RESERVED_VECTORS);
    struct app next = app_build(5000, 2, 0);
    struct host h = host_on_new_board(PART);

    cr_assert(usb_configured(h.board), "%s: no DFU device", d->name);
    cr_assert(flash_application(&h, &app));
    check_reads(&h, FLASH, app.data, app.size);
    cr_assert(leaves(&h, &app));
    cr_expect(flash_holds(h.board, &app));
    cr_assert(enter_by_request(&h), "a request in BKP_DR10");
    check_reads(&h, FLASH, app.data, app.size);
    cr_assert(flash_application(&h, &next));
    cr_assert(leaves(&h, &next), "%s", heard());
    power_cycle(h.board);
    cr_expect(hears(h.board, next.tag, 20));
    check_board(h.board);
}

ON_EACH_BOARD(fits_every_size_of_flash)
{
    for (unsigned i = 0; i < ALL_PARTS; i++) {
        struct host h = host_on_new_board(all_parts[i]);
        struct app app = app_build(3000, i, 0);
        uint32_t page = board_page_size(h.board), all = board_flash_size(h.board) / page;
        uint32_t own = (d->kb * 1024 + page - 1) / page + 1 + (page == 2048 && d->kb % 2 == 0);
        char text[128], want[128];
        host_memory_string(&h, text);
        snprintf(want, sizeof want, "@Internal Flash  /0x08000000/%03u*00%uKg,%03u*00%uKa",
            all - own, page / 1024, own, page / 1024);
        cr_expect(
            strncmp(text, want, strlen(want)) == 0, "%s: '%s', not '%s'", all_parts[i], text, want);
        cr_assert(flash_application(&h, &app) && leaves(&h, &app), "%s", all_parts[i]);
        cr_expect(flash_holds(h.board, &app), "%s", all_parts[i]);
        check_board(h.board);
        board_free(h.board);
    }
}

/* --- the way in, and no other ------------------------------------------------------------------- */

static bool dfu_after_presses(struct host *h, unsigned presses, uint64_t apart)
{
    for (unsigned i = 0; i < presses; i++) {
        if (i)
            board_run_for(h->board, apart);
        board_press_reset(h->board, RESET_HOLD);
        board_run_for(h->board, RESET_HOLD);
    }
    forget();
    return host_enumerate(h);
}

ON_EACH_BOARD(enters_dfu_by_its_reset_button_as_it_says)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    if (d->presses != 1) { /* once restarts the application; twice, slowly, does too */
        for (unsigned i = 0; i < 2; i++) {
            board_press_reset(h.board, RESET_HOLD);
            board_run_for(h.board, RESET_HOLD);
            uint64_t released = board_now(h.board);
            cr_assert(starts_application(&h, &app, 700), "press %u", i);
            printf("%s: the application runs %.1f ms after the button\n", d->name,
                (double)(board_now(h.board) - released) / 1e6);
            board_run_for(h.board, 600 * BOARD_MS);
        }
    }
    if (d->presses == 0) {
        board_press_reset(h.board, RESET_HOLD);
        board_run_for(h.board, RESET_HOLD + 100 * BOARD_MS);
        board_press_reset(h.board, RESET_HOLD);
        cr_expect(starts_application(&h, &app, 700), "two quick presses");
    } else {
        cr_assert(dfu_after_presses(&h, d->presses, 150 * BOARD_MS));
        cr_assert(leaves(&h, &app));
    }
    check_board(h.board);
}

ON_EACH_BOARD(enters_dfu_by_its_pin_as_it_says)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    board_drive_pin(h.board, 'B', 8, true);
    board_uart_send(h.board, 1, 'R');
    if (d->pb8) {
        board_run_for(h.board, 50 * BOARD_MS);
        cr_assert(host_enumerate(&h));
        board_drive_pin(h.board, 'B', 8, false);
        cr_expect(leaves(&h, &app));
    } else {
        cr_expect(starts_application(&h, &app, 700));
    }
    check_board(h.board);
}

ON_EACH_BOARD(enters_dfu_by_a_request_in_bkp_dr1_as_it_says)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    board_uart_send(h.board, 1, '1');
    if (d->dr1) {
        board_run_for(h.board, 50 * BOARD_MS);
        cr_assert(host_enumerate(&h));
        cr_expect(leaves(&h, &app));
    } else {
        cr_expect(starts_application(&h, &app, 700));
    }
    check_board(h.board);
}

ON_EACH_BOARD(enters_dfu_once_by_the_word_in_ram)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);
    (void)d;

    request_in_ram(h.board, 0);
    board_uart_send(h.board, 1, 'R');
    board_run_for(h.board, 50 * BOARD_MS);
    cr_assert(host_enumerate(&h));
    cr_expect(leaves(&h, &app), "it was not for once");
    check_board(h.board);
}

ON_EACH_BOARD(starts_the_application_after_a_watchdog_reset)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);
    struct board_counts n;
    (void)d;

    for (unsigned i = 1; i <= 3; i++) {
        cr_assert(app_obeys(&h, &app, 'W') && !usb_configured(h.board), "watchdog reset %u", i);
        board_counts(h.board, &n);
        cr_expect_eq(n.watchdog_resets, i);
    }
    check_board(h.board);
}

/* An application that clears BKP_DR7 first. */
static struct app app_that_clears_dr7(void)
{
    static const uint16_t code[] = {0x4906, 0x4a07,
        0x600a, /* ldr r1, =RCC_APB1ENR; ldr r2, =PWREN | BKPEN; str r2, [r1] */
        0x4907, 0x2280, 0x0052, 0x600a, /* ldr r1, =PWR_CR; movs r2, #0x80; lsls r2, r2, #1; str */
        0x4906, 0x2200, 0x600a,         /* ldr r1, =BKP_DR7; movs r2, #0; str r2, [r1] */
        0x4b06, 0x4718, 0xbf00, 0xbf00, /* ldr r3, =start; bx r3 */
        0x101c, 0x4002, 0x0000, 0x1800, 0x7000, 0x4000, 0x6c1c, 0x4000, 0x0151, 0x0800};
    enum { AT = 0x300 };
    struct app app = app_build(3000, 7, 0);

    memcpy(app.data + AT, code, sizeof code);
    app.data[4] = (AT & 0xFF) | 1;
    app.data[5] = AT >> 8;
    return app;
}

/* How many resets by software until it is DFU, at most 12. */
static unsigned resets_until_dfu(struct host *h, const struct app *app)
{
    for (unsigned i = 1; i <= 12; i++) {
        board_uart_send(h->board, 1, 'R');
        if (!hears(h->board, app->tag, 50))
            return host_enumerate(h) ? i : 99;
    }
    return 0;
}

ON_EACH_BOARD(enters_dfu_after_so_many_resets_as_it_says)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    cr_expect_eq(resets_until_dfu(&h, &app), d->resets);
    if (d->resets) {
        cr_assert(leaves(&h, &app), "the count did not begin anew");
        cr_expect_eq(resets_until_dfu(&h, &app), d->resets, "the second time");
    }
    check_board(h.board);
}

Test(boards, f103_16mhz_an_application_that_clears_the_count_of_resets_never_gets_into_dfu)
{
    use_bootloader("f103-16mhz-tail");
    struct app app = app_that_clears_dr7();
    struct host h = running(PART, &app);

    cr_expect_eq(resets_until_dfu(&h, &app), 0);
    check_board(h.board);
}

/* WDG_SW = 0: the watchdog runs from reset on, for 409.6 ms; the wait for a second press is longer. */
Test(boards, f103_hsi_one_press_restarts_the_application_with_a_hardware_watchdog_too)
{
    uint8_t options[OPTIONS] = OPTIONS_SHIPPED;
    use_bootloader("f103-hsi-tail");
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    options[USER] = 0xFE;
    load_options(h.board, options);
    board_press_reset(h.board, RESET_HOLD);
    cr_expect(starts_application(&h, &app, 1200), "pc %08x", board_pc(h.board));
    check_board(h.board);
}

Test(boards, maple_mini_is_attached_only_while_the_bootloader_runs)
{
    use_bootloader("maple-mini-tail");
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    board_run_for(h.board, 10 * BOARD_MS);
    cr_expect_not(usb_attached(h.board), "PB9 floats");
    cr_assert(enter_by_request(&h));
    cr_expect(usb_attached(h.board));
    board_press_reset(h.board, RESET_HOLD);
    board_run_for(h.board, BOARD_MS);
    cr_expect_not(usb_attached(h.board), "a reset lets PB9 float");
    check_board(h.board);
}

/* --- what the application finds ------------------------------------------------------------------ */

ON_EACH_BOARD(starts_the_application_with_all_as_a_reset_leaves_it)
{
    struct app app = app_build(3000, 1, IMAGE_BREAKS);
    struct host h = host_with_application(PART, &app);

    board_power(h.board, true);
    check_starts_as_from_reset(d, h.board, &app);
    check_board(h.board);
    if (d->presses != 1) {
        board_press_reset(h.board, RESET_HOLD);
        check_starts_as_from_reset(d, h.board, &app);
    }
}

Test(boards, maple_mini_leaves_the_flags_of_the_reset_alone)
{
    use_bootloader("maple-mini-tail");
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    cr_expect_eq(h.board->rcc.csr & CAUSES, RCC_CSR_PORRSTF | RCC_CSR_PINRSTF);
    board_uart_send(h.board, 1, 'R');
    cr_assert(hears(h.board, app.tag, 50));
    cr_expect_eq(h.board->rcc.csr & CAUSES, RCC_CSR_PORRSTF | RCC_CSR_PINRSTF | RCC_CSR_SFTRSTF);
}

/* --- without its crystal -------------------------------------------------------------------------- */

ON_EACH_BOARD(without_its_crystal_starts_the_application_all_the_same)
{
    struct app app = app_build(3000, 1, 0);

    if (d->hse_hz == BOARD_NO_CRYSTAL)
        return;
    struct host h = running(PART, &app);
    h.board->config.hse_hz = BOARD_NO_CRYSTAL;
    power_cycle(h.board);
    cr_assert(hears(h.board, app.tag, 20), "it asks for no crystal");
    board_uart_send(h.board, 1, 'T');
    uint64_t asked = board_now(h.board);
    cr_assert(hears(h.board, app.tag, 2000), "asked for DFU, it hangs: pc %08x", board_pc(h.board));
    printf("%s: no crystal: the application is back after %.0f ms\n", d->name,
        (double)(board_now(h.board) - asked) / 1e6);
    check_board(h.board);
}

ON_EACH_BOARD(without_its_crystal_and_application_tries_until_there_is_one)
{
    struct board_counts then, now;

    if (d->hse_hz == BOARD_NO_CRYSTAL)
        return;
    board_design.hse_hz = BOARD_NO_CRYSTAL;
    struct host h = {.board = new_board(PART, 1)};
    board_power(h.board, true);
    usb_plug(h.board);
    board_run_for(h.board, 2 * BOARD_S);
    for (unsigned i = 0; i < 3; i++) {
        board_counts(h.board, &then);
        board_run_for(h.board, BOARD_S);
        board_counts(h.board, &now);
        cr_expect_gt(now.resets, then.resets, "it has given up");
    }
    cr_expect_not(usb_configured(h.board));
    h.board->config.hse_hz = d->hse_hz; /* it begins to oscillate after all */
    board_run_for(h.board, BOARD_S);
    cr_expect(host_enumerate(&h));
    check_board(h.board);
}

/* --- on a board that is not as it says: the simulator says so ------------------------------------- */

static const char *rule_broken_by(const char *name, uint32_t hse_hz)
{
    use_bootloader(name);
    board_design.hse_hz = hse_hz;
    board_design.usb_on_hsi = false;
    struct host h = {.board = new_board(PART, 1)};
    board_power(h.board, true);
    usb_plug(h.board);
    host_enumerate(&h);
    const struct board_complaint *c = board_complaint(h.board);
    return c ? c->rule : "none";
}

Test(boards, usb_on_the_internal_oscillator_is_refused_unless_asked_for)
{
    const char *rule = rule_broken_by("f103-hsi-tail", BOARD_NO_CRYSTAL);
    cr_expect(strstr(rule, "HSI"), "%s", rule);
}

Test(boards, an_image_for_another_crystal_breaks_a_rule)
{
    const char *rule = rule_broken_by("bluepill-tail", 12000000);
    cr_expect(strstr(rule, "108000000 Hz"), "%s", rule);
    rule = rule_broken_by("f103-12mhz-tail", 8000000);
    cr_expect(strstr(rule, "48 MHz"), "%s", rule);
}
