/* SPDX-License-Identifier: MIT */
/*
 * WWDG: resets when its 7-bit counter passes 0x40, or when it is refreshed too early.
 *
 * Source: RM0008 §20.
 */
#include "board_state.h"

enum { CR = 0x00, CFR = 0x04, SR = 0x08 };
enum { CR_WDGA = 1 << 7, CFR_EWI = 1 << 9, SR_EWIF = 1, IRQ_WWDG = 0 };

static const struct reg regs[] = {
    {"CR",  CR,  0x7F, 0xFF },
    {"CFR", CFR, 0x7F, 0x3FF},
    {"SR",  SR,  0,    1    },
};

/* One step of the counter, ns: 4096 · 2^WDGTB clocks of PCLK1. */
static uint64_t step_ns(const struct board *b)
{
    return (UINT64_C(4096) << (b->wwdg.cfr >> 7 & 3)) * BOARD_S / board_pclk1_hz(b);
}

static uint32_t counter(const struct board *b)
{
    const struct wwdg_state *w = &b->wwdg;
    if (!w->running)
        return w->counter;
    return (uint32_t)(w->counter - (board_now(b) - w->since) / step_ns(b)) & 0x7F;
}

static void set_deadline(struct board *b)
{
    const struct wwdg_state *w = &b->wwdg;
    uint32_t next = w->counter > 0x40 ? 0x40 : 0x3F; /* early wake-up first */
    board_set_deadline(
        b, &wwdg_device, w->running ? w->since + (w->counter - next) * step_ns(b) : NEVER);
}

static void update_irq(struct board *b)
{
    board_irq(b, IRQ_WWDG, b->wwdg.sr & SR_EWIF && b->wwdg.cfr & CFR_EWI);
}

static void wwdg_tick(struct board *b, const struct device *d)
{
    struct wwdg_state *w = &b->wwdg;
    if (w->counter > 0x40) {
        w->since += (w->counter - 0x40) * step_ns(b);
        w->counter = 0x40;
        w->sr |= SR_EWIF;
        update_irq(b);
        board_set_deadline(b, d, w->since + step_ns(b));
    } else {
        board_ask_reset(b, RCC_CSR_WWDGRSTF);
    }
}

static uint32_t wwdg_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    const struct wwdg_state *w = &b->wwdg;
    (void)d;
    (void)size;
    if (offset == CR)
        return counter(b) | (w->running ? CR_WDGA : 0);
    return offset == CFR ? w->cfr : w->sr;
}

static void write_cr(struct board *b, uint32_t value)
{
    struct wwdg_state *w = &b->wwdg;
    uint32_t window = w->cfr & 0x7F;
    if (w->running && counter(b) > window) {
        board_log(b, "WWDG refreshed outside of its window");
        board_ask_reset(b, RCC_CSR_WWDGRSTF);
        return;
    }
    w->running = w->running || value & CR_WDGA;
    w->counter = value & 0x7F;
    w->since = board_now(b);
    if (w->running && w->counter < 0x40)
        board_ask_reset(b, RCC_CSR_WWDGRSTF);
}

static void wwdg_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    struct wwdg_state *w = &b->wwdg;
    (void)d;
    (void)size;
    if (offset == CR) {
        write_cr(b, value);
    } else if (offset == CFR) {
        uint32_t now = counter(b);
        w->cfr = (value & 0x3FF) | (w->cfr & CFR_EWI); /* EWI is cleared by reset only */
        w->counter = now;
        w->since = board_now(b);
    } else {
        w->sr &= value; /* write 0 to clear */
    }
    set_deadline(b);
    update_irq(b);
}

static void wwdg_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    (void)kind;
    b->wwdg = (struct wwdg_state){.cfr = 0x7F, .counter = 0x7F};
    update_irq(b);
}

const struct device wwdg_device = {
    .name = "WWDG",
    .base = UINT32_C(0x40002C00),
    .size = 0x400,
    .clock = 0x1C << 8 | 11,
    .read = wwdg_read,
    .write = wwdg_write,
    .reset = wwdg_reset,
    .tick = wwdg_tick,
    .regs = regs,
    .reg_count = sizeof regs / sizeof regs[0],
};
