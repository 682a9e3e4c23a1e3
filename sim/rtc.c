/* SPDX-License-Identifier: MIT */
/*
 * RTC: a counter in the backup domain. It counts, its alarm and second flags rise and interrupt;
 * the divider's value is not modelled.
 *
 * Source: RM0008 §18.
 */
#include "board_state.h"

enum {
    CRH = 0x00,
    CRL = 0x04,
    PRLH = 0x08,
    PRLL = 0x0C,
    DIVH = 0x10,
    DIVL = 0x14,
    CNTH = 0x18,
    CNTL = 0x1C,
    ALRH = 0x20,
    ALRL = 0x24
};
enum {
    CRL_SECF = 1 << 0,
    CRL_ALRF = 1 << 1,
    CRL_RSF = 1 << 3,
    CRL_CNF = 1 << 4,
    CRL_RTOFF = 1 << 5,
    IRQ_RTC = 3,
    EXTI_ALARM = 17,
};

// clang-format off
static const struct reg regs[] = {
    {"CRH",  CRH,  0,      0x0007}, {"CRL",  CRL,  0x20, 0x001F},
    {"PRLH", PRLH, 0,      0x000F}, {"PRLL", PRLL, 0x8000, 0xFFFF},
    {"DIVH", DIVH, 0,      0},      {"DIVL", DIVL, 0x8000, 0},
    {"CNTH", CNTH, 0,      0xFFFF}, {"CNTL", CNTL, 0,      0xFFFF},
    {"ALRH", ALRH, 0xFFFF, 0xFFFF}, {"ALRL", ALRL, 0xFFFF, 0xFFFF},
};
// clang-format on

static uint64_t step_ns(const struct board *b)
{
    uint64_t hz = rcc_rtc_hz(b);
    return hz ? (b->rtc.prl + UINT64_C(1)) * BOARD_S / hz : 0;
}

static void update_irq(struct board *b)
{
    board_irq(b, IRQ_RTC, b->rtc.crl & b->rtc.crh & 7);
}

static void sync(struct board *b)
{
    struct rtc_state *r = &b->rtc;
    uint64_t step = step_ns(b), now = board_now(b);
    uint64_t steps = step ? (now - r->since) / step : 0;
    if (!step || r->crl & CRL_CNF) {
        r->since = now;
        return;
    }
    if (!steps)
        return;
    r->crl |= CRL_SECF;
    if (r->alarm - r->count - 1 < steps) {
        r->crl |= CRL_ALRF;
        exti_edge(b, EXTI_ALARM, true);
    }
    r->count += (uint32_t)steps;
    r->since += steps * step;
}

static void settle(struct board *b)
{
    bool wanted =
        step_ns(b) && !(b->rtc.crl & CRL_CNF) && (b->rtc.crh || b->exti.imr >> EXTI_ALARM);
    board_set_deadline(b, &rtc_device, wanted ? b->rtc.since + step_ns(b) : NEVER);
    update_irq(b);
}

static void rtc_tick(struct board *b, const struct device *d)
{
    (void)d;
    sync(b);
    settle(b);
}

static uint32_t rtc_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)d;
    (void)size;
    sync(b);
    const struct rtc_state *r = &b->rtc;
    switch (offset) {
    case CRH:
        return r->crh;
    case CRL:
        return r->crl | CRL_RTOFF | CRL_RSF;
    case CNTH:
        return r->count >> 16;
    case CNTL:
        return r->count & 0xFFFF;
    default:
        return 0; /* PRL and ALR are write-only */
    }
}

static uint32_t halves(uint32_t old, uint32_t value, bool high)
{
    return high ? (old & 0xFFFF) | value << 16 : (old & 0xFFFF0000) | (value & 0xFFFF);
}

static void rtc_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    struct rtc_state *r = &b->rtc;
    (void)size;
    sync(b);
    if (!pwr_backup_writable(b)) {
        board_log(b, "write to RTC is lost: PWR_CR.DBP is 0");
        return;
    }
    if (offset == CRH) {
        r->crh = value & 7;
    } else if (offset == CRL) { /* flags: write 0 to clear */
        r->crl = (r->crl & value & 0xF) | (value & CRL_CNF);
    } else if (!(r->crl & CRL_CNF)) {
        board_break_rule(b, d->base + offset,
            "RTC register written without CRL.CNF "
            "(RM0008 §18.3.4)");
    } else if (offset == PRLH || offset == PRLL) {
        r->prl = halves(r->prl, value, offset == PRLH) & 0xFFFFF;
    } else if (offset == CNTH || offset == CNTL) {
        r->count = halves(r->count, value, offset == CNTH);
    } else if (offset == ALRH || offset == ALRL) {
        r->alarm = halves(r->alarm, value, offset == ALRH);
    }
    settle(b);
}

void rtc_reset_domain(struct board *b)
{
    b->rtc = (struct rtc_state){.prl = 0x8000, .alarm = UINT32_MAX, .since = board_now(b)};
}

/* A system reset leaves all but the interrupt enables (RM0008 §18.4). */
static void rtc_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    if (kind == RESET_POWER)
        rtc_reset_domain(b);
    b->rtc.crh = 0;
    update_irq(b);
}

const struct device rtc_device = {
    .name = "RTC",
    .base = UINT32_C(0x40002800),
    .size = 0x400,
    .read = rtc_read,
    .write = rtc_write,
    .reset = rtc_reset,
    .tick = rtc_tick,
    .regs = regs,
    .reg_count = sizeof regs / sizeof regs[0],
};
