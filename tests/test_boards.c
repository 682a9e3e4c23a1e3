/* SPDX-License-Identifier: MIT */
/*
 * Each image of boot/boards/ on a board that is as it says: its crystal, its way of attaching to USB,
 * its ways into DFU and no other; and on every size of flash.
 */
#include "dfu_host.h"
#include "sim/board_state.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(boards, .timeout = 120);

enum { HOLD = 20 * 1000000 }; /* ns */

static const struct design {
    const char *name;
    uint32_t hse_hz;
    char pull_up_port;
    unsigned pull_up_pin;
    unsigned presses; /* of the reset button, in quick succession, that lead into DFU; 0: none do */
    char button_port; /* the pin that does when it is high at reset; 0: none */
    unsigned button_pin;
    unsigned resets; /* in a row without the application's word */
    bool dr1;        /* a request in BKP_DR1 */
    unsigned kb;     /* of the image */
} designs[] = {
    {"bluepill",      8000000,          0,   0, 1, 0,   0, 0, true,  4},
    {"bluepill-full", 8000000,          0,   0, 1, 0,   0, 0, true,  5},
    {"maple-mini",    8000000,          'B', 9, 0, 'B', 8, 0, true,  4},
    {"f103-12mhz",    12000000,         0,   0, 1, 0,   0, 0, true,  5},
    {"f103-16mhz",    16000000,         0,   0, 1, 0,   0, 5, false, 5},
    {"f103-hsi",      BOARD_NO_CRYSTAL, 0,   0, 2, 0,   0, 0, false, 4},
};

static const struct design *design(const char *name)
{
    static char path[80];
    const struct design *d = designs;

    while (strcmp(d->name, name) != 0)
        d++;
    snprintf(path, sizeof path, "build/firmware/%s-tail.bin", name);
    bootloader_path = path;
    board_design = (struct board_config){.hse_hz = d->hse_hz,
        .usb_on_hsi = d->hse_hz == BOARD_NO_CRYSTAL,
        .pull_up_port = d->pull_up_port,
        .pull_up_pin = d->pull_up_pin};
    return d;
}

/* A promise that every board keeps; each in a process of its own. */
#define ON_EACH_BOARD(promise)                                                                     \
    static void promise(const struct design *d);                                                   \
    Test(boards, bluepill_##promise)                                                               \
    {                                                                                              \
        promise(design("bluepill"));                                                               \
    }                                                                                              \
    Test(boards, bluepill_full_##promise)                                                          \
    {                                                                                              \
        promise(design("bluepill-full"));                                                          \
    }                                                                                              \
    Test(boards, maple_mini_##promise)                                                             \
    {                                                                                              \
        promise(design("maple-mini"));                                                             \
    }                                                                                              \
    Test(boards, f103_12mhz_##promise)                                                             \
    {                                                                                              \
        promise(design("f103-12mhz"));                                                             \
    }                                                                                              \
    Test(boards, f103_16mhz_##promise)                                                             \
    {                                                                                              \
        promise(design("f103-16mhz"));                                                             \
    }                                                                                              \
    Test(boards, f103_hsi_##promise)                                                               \
    {                                                                                              \
        promise(design("f103-hsi"));                                                               \
    }                                                                                              \
    static void promise(const struct design *d)

#define PART "stm32f103cb"

static void check_board(const struct board *b)
{
    const struct board_complaint *c = board_complaint(b);

    cr_assert(!c, "pc %08x, %08x: %s", c->pc, c->addr, c->rule);
}

/* Powered, running its application, the cable plugged. */
static struct host running(const char *part, const struct app *app)
{
    struct host h = host_with_application(part, app);

    board_power(h.board, true);
    cr_assert(
        hears(h.board, app->tag, 20), "the application does not run: pc %08x", board_pc(h.board));
    return h;
}

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
    uint8_t back[9001];

    cr_assert(usb_configured(h.board), "%s: no DFU device", d->name);
    cr_assert(flash_application(&h, &app));
    cr_assert(dfu_read(&h, FLASH, back, app.size, XFER));
    cr_expect_arr_eq(back, app.data, app.size);
    cr_assert(leaves(&h, &app));
    cr_expect(flash_holds(h.board, &app));
    cr_assert(enter_by_request(&h), "a request in BKP_DR10");
    cr_assert(dfu_read(&h, FLASH, back, app.size, XFER));
    cr_expect_arr_eq(back, app.data, app.size);
    cr_assert(flash_application(&h, &next));
    cr_assert(leaves(&h, &next), "%s", heard());
    power_cycle(h.board);
    cr_expect(hears(h.board, next.tag, 20));
    check_board(h.board);
}

ON_EACH_BOARD(fits_every_size_of_flash)
{
    static const char *const sizes[] = {"stm32f103c4", "stm32f103c6", "stm32f103c8", "stm32f103cb",
        "stm32f103rc", "stm32f103rd", "stm32f103re"};

    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct host h = host_on_new_board(sizes[i]);
        struct app app = app_build(3000, i, 0);
        uint32_t page = board_page_size(h.board), all = board_flash_size(h.board) / page;
        uint32_t own = (d->kb * 1024 + page - 1) / page + 1 + (page == 2048 && d->kb % 2 == 0);
        uint8_t string[255];
        char text[128] = "", want[128];
        uint8_t iInterface = usb_descriptors(h.board)->config[9 + 8];
        int n = host_control(&h, 0x80, 6, 0x0300 | iInterface, 0x0409, string, sizeof string);
        for (int c = 2; c + 1 < n; c += 2)
            text[c / 2 - 1] = (char)string[c];
        snprintf(want, sizeof want, "@Internal Flash  /0x08000000/%03u*00%uKg,%03u*00%uKa",
            all - own, page / 1024, own, page / 1024);
        cr_expect(
            strncmp(text, want, strlen(want)) == 0, "%s: '%s', not '%s'", sizes[i], text, want);
        cr_assert(flash_application(&h, &app) && leaves(&h, &app), "%s", sizes[i]);
        cr_expect(flash_holds(h.board, &app), "%s", sizes[i]);
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
        board_press_reset(h->board, HOLD);
        board_run_for(h->board, HOLD);
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
            board_press_reset(h.board, HOLD);
            board_run_for(h.board, HOLD);
            uint64_t released = board_now(h.board);
            cr_assert(starts_application(&h, &app, 700), "press %u", i);
            printf("%s: the application runs %.1f ms after the button\n", d->name,
                (double)(board_now(h.board) - released) / 1e6);
            board_run_for(h.board, 600 * BOARD_MS);
        }
    }
    if (d->presses == 0) {
        board_press_reset(h.board, HOLD);
        board_run_for(h.board, HOLD + 100 * BOARD_MS);
        board_press_reset(h.board, HOLD);
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
    if (d->button_port == 'B') {
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
    static const uint32_t request[2] = {0x6F626163, 0}; /* "cabo" */
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);
    (void)d;

    board_load(h.board, RAM, request, sizeof request);
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
        board_uart_send(h.board, 1, 'W');
        cr_assert(starts_application(&h, &app, 700), "watchdog reset %u", i);
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
    design("f103-16mhz");
    struct app app = app_that_clears_dr7();
    struct host h = running(PART, &app);

    cr_expect_eq(resets_until_dfu(&h, &app), 0);
    check_board(h.board);
}

/* WDG_SW = 0: the watchdog runs from reset on, for 409.6 ms; the wait for a second press is longer. */
Test(boards, f103_hsi_one_press_restarts_the_application_with_a_hardware_watchdog_too)
{
    static const uint8_t options[16] = {
        0xA5, 0x5A, 0xFE, 1, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0};
    design("f103-hsi");
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    board_load(h.board, OPTION_BYTES, options, sizeof options);
    board_press_reset(h.board, HOLD);
    cr_expect(starts_application(&h, &app, 1200), "pc %08x", board_pc(h.board));
    check_board(h.board);
}

Test(boards, maple_mini_is_attached_only_while_the_bootloader_runs)
{
    design("maple-mini");
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    board_run_for(h.board, 10 * BOARD_MS);
    cr_expect_not(usb_attached(h.board), "PB9 floats");
    cr_assert(enter_by_request(&h));
    cr_expect(usb_attached(h.board));
    board_press_reset(h.board, HOLD);
    board_run_for(h.board, BOARD_MS);
    cr_expect_not(usb_attached(h.board), "a reset lets PB9 float");
    check_board(h.board);
}

/* --- what the application finds ------------------------------------------------------------------ */

/* Registers that may be otherwise than a reset leaves them. */
static bool excepted(const struct design *d, const char *device, const char *reg)
{
    if (strcmp(device, "RCC") == 0 && strcmp(reg, "CSR") == 0)
        return d->presses != 0; /* the cause is in r0 instead */
    return d->resets && strcmp(device, "BKP") == 0 && strcmp(reg, "DR7") == 0;
}

// clang-format off
static const struct reg usb_regs[] = {
    {"EP0R", 0x00, 0, 0}, {"EP1R", 0x04, 0, 0}, {"EP2R",  0x08, 0, 0}, {"EP3R",   0x0C, 0, 0},
    {"EP4R", 0x10, 0, 0}, {"EP5R", 0x14, 0, 0}, {"EP6R",  0x18, 0, 0}, {"EP7R",   0x1C, 0, 0},
    {"CNTR", 0x40, 0, 0}, {"ISTR", 0x44, 0, 0}, {"DADDR", 0x4C, 0, 0}, {"BTABLE", 0x50, 0, 0},
};
static const struct reg bkp_regs[] = {
    {"DR1", 0x04, 0, 0}, {"DR2", 0x08, 0, 0}, {"DR3", 0x0C, 0, 0}, {"DR4",  0x10, 0, 0},
    {"DR5", 0x14, 0, 0}, {"DR6", 0x18, 0, 0}, {"DR7", 0x1C, 0, 0}, {"DR8",  0x20, 0, 0},
    {"DR9", 0x24, 0, 0}, {"DR10", 0x28, 0, 0}, {"CR", 0x30, 0, 0}, {"CSR",  0x34, 0, 0},
};
// clang-format on

static unsigned compare_device(
    const struct design *d, const struct device *device, struct board *before, struct board *after)
{
    const struct reg *regs = device->regs;
    unsigned count = device->reg_count;

    if (device == &usb_device_registers) {
        regs = usb_regs;
        count = sizeof usb_regs / sizeof *usb_regs;
    } else if (device == &bkp_device) {
        regs = bkp_regs;
        count = sizeof bkp_regs / sizeof *bkp_regs;
    }
    cr_assert_gt(count, 0, "%s", device->name);
    for (unsigned i = 0; i < count; i++) {
        uint32_t was = device->read(before, device, regs[i].offset, 4);
        uint32_t is = device->read(after, device, regs[i].offset, 4);
        cr_expect(was == is || excepted(d, device->name, regs[i].name),
            "%s: %s.%s is %08x, not %08x", d->name, device->name, regs[i].name, is, was);
    }
    return count;
}

static void compare_core(const struct cpu *was, const struct cpu *is)
{
    cr_expect_eq(is->vtor, was->vtor);
    cr_expect_eq(is->scr, was->scr);
    cr_expect_eq(is->ccr, was->ccr);
    cr_expect_eq(is->shcsr, was->shcsr);
    cr_expect_eq(is->cfsr, was->cfsr);
    cr_expect_eq(is->hfsr, was->hfsr);
    cr_expect_eq(is->demcr, was->demcr);
    cr_expect_eq(is->systick_csr, was->systick_csr);
    cr_expect_eq(is->systick_rvr, was->systick_rvr);
    cr_expect(is->primask == was->primask && is->faultmask == was->faultmask &&
              is->basepri == was->basepri && is->control == was->control && is->ipsr == was->ipsr);
    cr_expect_arr_eq(is->priority, was->priority, sizeof is->priority);
    cr_expect_arr_eq(is->enabled, was->enabled, sizeof is->enabled);
    cr_expect_arr_eq(is->pending, was->pending, sizeof is->pending);
    cr_expect_arr_eq(is->active, was->active, sizeof is->active);
}

/* The reset under way ends; then the application's first instruction, BKPT, finds all as that left it. */
static void starts_as_from_reset(const struct design *d, struct board *b, const struct app *app)
{
    cr_assert_eq(board_run_until(b, b->release_at), BOARD_DONE);
    struct board *before = board_copy(b);
    cr_assert_eq(board_run_for(b, 700 * BOARD_MS), BOARD_BREAK, "pc %08x", board_pc(b));
    struct board *after = board_copy(b);

    cr_expect_eq(b->cpu.pc, (APP_ENTRY & ~1U));
    cr_expect_eq(b->cpu.r[13], (uint32_t)(app->data[0] | app->data[1] << 8 | app->data[2] << 16) |
                                   (uint32_t)app->data[3] << 24);
    cr_expect_arr_eq(after->ram, before->ram, board_ram_size(b), "RAM was written to");
    cr_expect_eq(b->cpu.r[0] & 0xFC000000, before->rcc.csr & 0xFC000000, "r0: the reset's cause");
    compare_core(&before->cpu, &after->cpu);
    const struct device *one[] = {&rcc_device, &flash_device, &afio_device, &exti_device,
        &pwr_device, &bkp_device, &iwdg_device, &wwdg_device, &crc_device, &rtc_device,
        &dbgmcu_device, &usb_device_registers};
    unsigned count = 0;
    for (unsigned i = 0; i < sizeof one / sizeof *one; i++)
        count += compare_device(d, one[i], before, after);
    for (unsigned i = 0; i < PORTS; i++)
        count += compare_device(d, &gpio_devices[i], before, after);
    for (unsigned i = 0; i < USARTS; i++)
        count += compare_device(d, &usart_devices[i], before, after);
    for (unsigned i = 0; i < TIMERS; i++)
        count += compare_device(d, &tim_devices[i], before, after);
    for (unsigned i = 0; i < 2; i++)
        count += compare_device(d, &dma_devices[i], before, after);
    for (unsigned i = 0; i < 3; i++)
        count += compare_device(d, &adc_devices[i], before, after);
    for (unsigned i = 0; i < plain_device_count; i++)
        count += compare_device(d, &plain_devices[i], before, after);
    printf("%s: %u registers as at reset, %.3f ms after it\n", d->name, count,
        (double)(board_now(b) - b->release_at) / 1e6);
    board_free(before);
    board_free(after);
}

ON_EACH_BOARD(starts_the_application_with_all_as_a_reset_leaves_it)
{
    struct app app = app_build(3000, 1, IMAGE_BREAKS);
    struct host h = host_with_application(PART, &app);

    board_power(h.board, true);
    starts_as_from_reset(d, h.board, &app);
    check_board(h.board);
    if (d->presses != 1) {
        board_press_reset(h.board, HOLD);
        starts_as_from_reset(d, h.board, &app);
    }
}

Test(boards, maple_mini_leaves_the_flags_of_the_reset_alone)
{
    design("maple-mini");
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    cr_expect_eq(h.board->rcc.csr & 0xFC000000, RCC_CSR_PORRSTF | RCC_CSR_PINRSTF);
    board_uart_send(h.board, 1, 'R');
    cr_assert(hears(h.board, app.tag, 50));
    cr_expect_eq(
        h.board->rcc.csr & 0xFC000000, RCC_CSR_PORRSTF | RCC_CSR_PINRSTF | RCC_CSR_SFTRSTF);
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
    struct host h;
    struct board_counts then, now;

    if (d->hse_hz == BOARD_NO_CRYSTAL)
        return;
    board_design.hse_hz = BOARD_NO_CRYSTAL;
    h.board = new_board(PART, 1);
    h = (struct host){.board = h.board};
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

static const char *rule_broken_by(const char *image, uint32_t hse_hz)
{
    design(image);
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
    const char *rule = rule_broken_by("f103-hsi", BOARD_NO_CRYSTAL);
    cr_expect(strstr(rule, "HSI"), "%s", rule);
}

Test(boards, an_image_for_another_crystal_breaks_a_rule)
{
    const char *rule = rule_broken_by("bluepill", 12000000);
    cr_expect(strstr(rule, "108000000 Hz"), "%s", rule);
    rule = rule_broken_by("f103-12mhz", 8000000);
    cr_expect(strstr(rule, "48 MHz"), "%s", rule);
}
