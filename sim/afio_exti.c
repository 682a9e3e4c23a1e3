/* SPDX-License-Identifier: MIT */
/*
 * AFIO: pin remapping and the choice of pins for EXTI. EXTI: edges become interrupts.
 *
 * Sources: RM0008 §9.4 (AFIO), §10.2 (EXTI).
 */
#include "board_state.h"

/* --- AFIO --------------------------------------------------------------------------------------- */

enum { EVCR = 0x00, MAPR = 0x04, EXTICR1 = 0x08, EXTICR4 = 0x14, MAPR2 = 0x1C };
#define MAPR_SWJ_CFG UINT32_C(0x07000000)

// clang-format off
static const struct reg afio_regs[] = {
    {"EVCR",    EVCR,    0, 0x000000FF},
    {"MAPR",    MAPR,    0, 0x071FFFFF},
    {"EXTICR1", 0x08,    0, 0x0000FFFF},
    {"EXTICR2", 0x0C,    0, 0x0000FFFF},
    {"EXTICR3", 0x10,    0, 0x0000FFFF},
    {"EXTICR4", EXTICR4, 0, 0x0000FFFF},
    {"MAPR2",   MAPR2,   0, 0x000007E0},
};
// clang-format on

uint32_t afio_mapr(const struct board *b)
{
    return b->afio.mapr;
}

static uint32_t *afio_storage(struct board *b, uint32_t offset)
{
    struct afio_state *a = &b->afio;
    if (offset >= EXTICR1 && offset <= EXTICR4)
        return &a->exticr[(offset - EXTICR1) / 4];
    return offset == EVCR ? &a->evcr : offset == MAPR ? &a->mapr : &a->mapr2;
}

static uint32_t afio_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)d;
    (void)size;
    uint32_t value = *afio_storage(b, offset);
    if (offset == MAPR) /* SWJ_CFG is write-only: what it reads as is chance (RM0008 §9.4.2) */
        value = (value & ~MAPR_SWJ_CFG) | ((uint32_t)board_random(b) & MAPR_SWJ_CFG);
    return value;
}

static void afio_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    (void)size;
    *afio_storage(b, offset) = value & reg_find(d->regs, d->reg_count, offset)->writable;
}

static void afio_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    (void)kind;
    b->afio = (struct afio_state){0};
}

const struct device afio_device = {
    .name = "AFIO",
    .base = UINT32_C(0x40010000),
    .size = 0x400,
    .clock = 0x18 << 8 | 0,
    .read = afio_read,
    .write = afio_write,
    .reset = afio_reset,
    .regs = afio_regs,
    .reg_count = sizeof afio_regs / sizeof afio_regs[0],
};

/* --- EXTI --------------------------------------------------------------------------------------- */

enum { IMR = 0x00, EMR = 0x04, RTSR = 0x08, FTSR = 0x0C, SWIER = 0x10, PR = 0x14 };
#define LINES UINT32_C(0x0007FFFF) /* 0 … 15 pins, 16 PVD, 17 RTC alarm, 18 USB wake-up */

// clang-format off
static const struct reg exti_regs[] = {
    {"IMR",   IMR,   0, LINES},
    {"EMR",   EMR,   0, LINES},
    {"RTSR",  RTSR,  0, LINES},
    {"FTSR",  FTSR,  0, LINES},
    {"SWIER", SWIER, 0, LINES},
    {"PR",    PR,    0, LINES},
};

/* Which interrupt a group of lines raises (RM0008 table 63). */
static const struct {
    uint32_t lines;
    uint8_t irq;
} interrupts[] = {
    {0x00001, 6}, {0x00002, 7}, {0x00004, 8}, {0x00008, 9}, {0x00010, 10},
    {0x003E0, 23}, {0x0FC00, 40}, {0x10000, 1}, {0x20000, 41}, {0x40000, 42},
};
// clang-format on

static void exti_update(struct board *b)
{
    uint32_t active = b->exti.pr & b->exti.imr;
    for (unsigned i = 0; i < sizeof interrupts / sizeof interrupts[0]; i++)
        board_irq(b, interrupts[i].irq, active & interrupts[i].lines);
}

static void trigger(struct board *b, uint32_t line)
{
    b->exti.pr |= line & (b->exti.imr | b->exti.emr);
    if (line & b->exti.emr) { /* an event wakes WFE */
        b->cpu.event = true;
        cpu_poke(&b->cpu);
    }
    exti_update(b);
}

void exti_edge(struct board *b, unsigned line, bool rising)
{
    uint32_t bit = UINT32_C(1) << line;
    if (bit & (rising ? b->exti.rtsr : b->exti.ftsr))
        trigger(b, bit);
}

void exti_pin_edge(struct board *b, unsigned port, unsigned pin, bool rising)
{
    if ((b->afio.exticr[pin / 4] >> pin % 4 * 4 & 15) == port)
        exti_edge(b, pin, rising);
}

static uint32_t *exti_storage(struct board *b, uint32_t offset)
{
    struct exti_state *e = &b->exti;
    uint32_t *at[] = {&e->imr, &e->emr, &e->rtsr, &e->ftsr, &e->swier, &e->pr};
    return at[offset / 4];
}

static uint32_t exti_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)d;
    (void)size;
    return *exti_storage(b, offset);
}

static void exti_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    (void)d;
    (void)size;
    struct exti_state *e = &b->exti;
    value &= LINES;
    if (offset == PR) { /* write 1 to clear; clears SWIER's bit too */
        e->pr &= ~value;
        e->swier &= ~value;
    } else if (offset == SWIER) {
        uint32_t risen = value & ~e->swier;
        e->swier |= value;
        trigger(b, risen);
    } else {
        *exti_storage(b, offset) = value;
    }
    exti_update(b);
}

static void exti_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    (void)kind;
    b->exti = (struct exti_state){0};
    exti_update(b);
}

const struct device exti_device = {
    .name = "EXTI",
    .base = UINT32_C(0x40010400),
    .size = 0x400,
    .read = exti_read,
    .write = exti_write,
    .reset = exti_reset,
    .regs = exti_regs,
    .reg_count = sizeof exti_regs / sizeof exti_regs[0],
};
