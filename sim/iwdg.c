/* SPDX-License-Identifier: MIT */
/*
 * IWDG: the watchdog that nothing but a reset stops.
 *
 * Source: RM0008 §19. The LSI runs at its nominal 40 kHz.
 */
#include "board_state.h"

enum { KR = 0x00, PR = 0x04, RLR = 0x08, SR = 0x0C };
enum {
    KEY_START = 0xCCCC,
    KEY_UNLOCK = 0x5555,
    KEY_RELOAD = 0xAAAA,
    LSI_PERIOD_NS = 25000,
    UPDATE_NS = 5 * LSI_PERIOD_NS, /* "up to 5 RC cycles": RM0008 §19.4.4 */
};

// clang-format off
static const struct reg regs[] = {
    {"KR",  KR,  0,     0x0000FFFF},
    {"PR",  PR,  0,     0x00000007},
    {"RLR", RLR, 0xFFF, 0x00000FFF},
    {"SR",  SR,  0,     0},
};
// clang-format on

/* From then on it counts RLR down to 0 and resets with the next step. */
static void reload(struct board *b, uint64_t when)
{
    struct iwdg_state *w = &b->iwdg;
    uint32_t shift = w->pr > 6 ? 6 : w->pr;
    w->end = when + (uint64_t)(w->rlr + 1) * (UINT64_C(4) << shift) * LSI_PERIOD_NS;
    board_set_deadline(b, &iwdg_device, w->end);
}

static void start(struct board *b, uint64_t when)
{
    b->iwdg.running = true;
    rcc_start_lsi(b);
    reload(b, when);
}

static void iwdg_tick(struct board *b, const struct device *d)
{
    (void)d;
    board_ask_reset(b, RCC_CSR_IWDGRSTF);
}

static uint32_t iwdg_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    const struct iwdg_state *w = &b->iwdg;
    uint64_t now = board_now(b);
    (void)d;
    (void)size;
    switch (offset) {
    case PR:
        return w->pr;
    case RLR:
        return w->rlr;
    case SR:
        return (now < w->pr_busy ? 1U : 0U) | (now < w->rlr_busy ? 2U : 0U);
    default:
        return 0;
    }
}

static void write_key(struct board *b, uint32_t value)
{
    struct iwdg_state *w = &b->iwdg;
    w->open = value == KEY_UNLOCK;
    if (value == KEY_START && !w->running)
        start(b, board_now(b));
    else if (value == KEY_RELOAD && w->running)
        reload(b, board_now(b));
}

static void write_setting(
    struct board *b, uint32_t addr, uint32_t *setting, uint64_t *busy, uint32_t value)
{
    if (!b->iwdg.open) {
        board_break_rule(b, addr,
            "IWDG setting written without key 0x5555: no effect "
            "(RM0008 §19.3.2)");
        return;
    }
    if (board_now(b) < *busy) {
        board_break_rule(b, addr,
            "IWDG setting written before the last one has arrived: wait for "
            "IWDG_SR = 0 (RM0008 §19.4.4)");
        return;
    }
    *setting = value;
    *busy = board_now(b) + UPDATE_NS;
}

static void iwdg_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    struct iwdg_state *w = &b->iwdg;
    (void)size;
    if (offset == KR)
        write_key(b, value & 0xFFFF);
    else if (offset == PR)
        write_setting(b, d->base + PR, &w->pr, &w->pr_busy, value & 7);
    else if (offset == RLR)
        write_setting(b, d->base + RLR, &w->rlr, &w->rlr_busy, value & 0xFFF);
}

/* WDG_SW = 0 in the option bytes: runs from the end of the reset on, however long the button holds it
 * (PM0075 table 8; RM0008 §19.3.1). */
static void iwdg_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    (void)kind;
    b->iwdg = (struct iwdg_state){.rlr = 0xFFF};
    if (!(b->fpec.obr & 1 << 2) && board_powered(b))
        start(b, b->release_at);
}

const struct device iwdg_device = {
    .name = "IWDG",
    .base = UINT32_C(0x40003000),
    .size = 0x400,
    .read = iwdg_read,
    .write = iwdg_write,
    .reset = iwdg_reset,
    .tick = iwdg_tick,
    .regs = regs,
    .reg_count = sizeof regs / sizeof regs[0],
};
