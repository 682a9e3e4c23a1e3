/* SPDX-License-Identifier: MIT */
/*
 * TIM1 … TIM8 as counters: up or down, prescaler, auto-reload, repetition, one-pulse, update and
 * compare events with their interrupts. Input capture, slave modes and the pins are not modelled.
 *
 * Nothing is counted: CNT is computed from the CPU's cycles since it was last known.
 *
 * Sources: RM0008 §14, §15, §17; SVD.
 */
#include "board_state.h"

enum {
    CR1 = 0x00,
    CR2 = 0x04,
    SMCR = 0x08,
    DIER = 0x0C,
    SR = 0x10,
    EGR = 0x14,
    CNT = 0x24,
    PSC = 0x28,
    ARR = 0x2C,
    RCR = 0x30,
    CCR1 = 0x34
};
enum {
    CR1_CEN = 1 << 0,
    CR1_UDIS = 1 << 1,
    CR1_URS = 1 << 2,
    CR1_OPM = 1 << 3,
    CR1_DIR = 1 << 4,
    CR1_CMS = 3 << 5,
    CR1_ARPE = 1 << 7,
    SR_UIF = 1 << 0,
    EGR_UG = 1 << 0,
};

// clang-format off
static const struct reg full_regs[] = {
    {"CR1",   CR1,  0, 0x03FF}, {"CR2",   CR2,  0, 0x7FFD}, {"SMCR",  SMCR, 0, 0xFFF7},
    {"DIER",  DIER, 0, 0x7FFF}, {"SR",    SR,   0, 0x1EFF}, {"EGR",   EGR,  0, 0x00FF},
    {"CCMR1", 0x18, 0, 0xFFFF}, {"CCMR2", 0x1C, 0, 0xFFFF}, {"CCER",  0x20, 0, 0x3FFF},
    {"CNT",   CNT,  0, 0xFFFF}, {"PSC",   PSC,  0, 0xFFFF}, {"ARR",   ARR,  0, 0xFFFF},
    {"RCR",   RCR,  0, 0x00FF}, {"CCR1",  CCR1, 0, 0xFFFF}, {"CCR2",  0x38, 0, 0xFFFF},
    {"CCR3",  0x3C, 0, 0xFFFF}, {"CCR4",  0x40, 0, 0xFFFF}, {"BDTR",  0x44, 0, 0xFFFF},
    {"DCR",   0x48, 0, 0x1F1F}, {"DMAR",  0x4C, 0, 0xFFFF},
};
static const struct reg basic_regs[] = {
    {"CR1", CR1, 0, 0x008F}, {"CR2", CR2, 0, 0x0070}, {"DIER", DIER, 0, 0x0101},
    {"SR",  SR,  0, 0x0001}, {"EGR", EGR, 0, 0x0001}, {"CNT",  CNT,  0, 0xFFFF},
    {"PSC", PSC, 0, 0xFFFF}, {"ARR", ARR, 0, 0xFFFF},
};

/* Interrupts of the update and compare events (RM0008 §10.1.2; SVD). */
static const struct {
    uint8_t update, compare, channels;
    bool apb2, repeats;
} wiring[TIMERS] = {
    {25, 27, 4, true,  true },  {28, 28, 4, false, false}, {29, 29, 4, false, false},
    {30, 30, 4, false, false},  {50, 50, 4, false, false}, {54, 54, 0, false, false},
    {55, 55, 0, false, false},  {44, 46, 4, true,  true },
};
// clang-format on

static uint32_t *at(struct tim_state *t, uint32_t offset)
{
    return &t->r[offset / 4];
}

static void update_irq(struct board *b, unsigned i)
{
    struct tim_state *t = &b->tim[i];
    uint32_t active = *at(t, SR) & *at(t, DIER);
    if (wiring[i].update == wiring[i].compare) {
        board_irq(b, wiring[i].update, active & 0x5F);
    } else {
        board_irq(b, wiring[i].update, active & SR_UIF);
        board_irq(b, wiring[i].compare, active & 0x1E);
    }
}

/* CPU cycles for one step of the counter. Timers never run faster than HCLK. */
static uint64_t step_cycles(const struct board *b, unsigned i)
{
    uint32_t ratio = board_hclk_hz(b) / rcc_timer_hz(b, wiring[i].apb2);
    return (uint64_t)(ratio ? ratio : 1) * (b->tim[i].psc + 1);
}

/* The distance from one count to another in the direction of counting. */
static uint32_t steps_to(struct tim_state *t, uint32_t from, uint32_t to)
{
    uint32_t length = t->arr + 1;
    if (*at(t, CR1) & CR1_DIR)
        return from >= to ? from - to : from + length - to;
    return to >= from ? to - from : to + length - from;
}

/* Steps until the counter overflows (or underflows) and the update event comes. */
static uint32_t steps_to_update(struct tim_state *t)
{
    uint32_t count = *at(t, CNT);
    if (*at(t, CR1) & CR1_DIR)
        return count + 1;
    if (count > t->arr) /* set beyond: runs on to 0xFFFF */
        return 0x10000 - count;
    return t->arr - count + 1;
}

static void load_shadows(struct tim_state *t)
{
    t->psc = *at(t, PSC);
    t->arr = *at(t, ARR);
    t->rcr = *at(t, RCR);
}

static void update_event(struct board *b, unsigned i)
{
    struct tim_state *t = &b->tim[i];
    if (*at(t, CR1) & CR1_UDIS)
        return;
    if (wiring[i].repeats && t->rcr) {
        t->rcr--;
        return;
    }
    load_shadows(t);
    *at(t, SR) |= SR_UIF;
    if (*at(t, CR1) & CR1_OPM) {
        *at(t, CR1) &= ~(uint32_t)CR1_CEN;
        t->running = false;
    }
}

/* Goes that many steps, which must not lead past the next update. */
static void go(struct board *b, unsigned i, uint32_t steps)
{
    struct tim_state *t = &b->tim[i];
    bool down = *at(t, CR1) & CR1_DIR;
    uint32_t from = *at(t, CNT), left = steps_to_update(t);
    for (unsigned c = 0; c < wiring[i].channels; c++) {
        uint32_t match = t->r[CCR1 / 4 + c];
        uint32_t distance = steps_to(t, from, match);
        if (match <= t->arr && distance && distance <= steps)
            *at(t, SR) |= 2U << c;
    }
    t->since += steps * step_cycles(b, i);
    if (steps < left) {
        *at(t, CNT) = (down ? from - steps : from + steps) & 0xFFFF;
    } else {
        update_event(b, i);
        *at(t, CNT) = down ? t->arr : 0;
    }
}

/* Whole rounds at once, when nothing but flags that are set again come of them. */
static void skip_rounds(struct board *b, unsigned i, uint64_t steps)
{
    struct tim_state *t = &b->tim[i];
    uint64_t rounds = steps / (t->arr + 1);
    bool same = t->psc == *at(t, PSC) && t->arr == *at(t, ARR) && !t->rcr && !*at(t, RCR);
    if (rounds < 2 || !same || *at(t, CR1) & (CR1_OPM | CR1_UDIS) || *at(t, CNT) > t->arr)
        return;
    t->since += rounds * (t->arr + 1) * step_cycles(b, i);
    *at(t, SR) |= SR_UIF;
    for (unsigned c = 0; c < wiring[i].channels; c++)
        if (t->r[CCR1 / 4 + c] <= t->arr)
            *at(t, SR) |= 2U << c;
}

/* Brings CNT and the flags up to now. */
static void sync(struct board *b, unsigned i)
{
    struct tim_state *t = &b->tim[i];
    if (t->running && !t->arr) /* blocked (RM0008 §15.4.12) */
        t->since = board_cycles(b);
    while (t->running) {
        skip_rounds(b, i, (board_cycles(b) - t->since) / step_cycles(b, i));
        uint64_t steps = (board_cycles(b) - t->since) / step_cycles(b, i);
        uint32_t left = steps_to_update(t);
        if (!steps)
            break;
        go(b, i, steps < left ? (uint32_t)steps : left);
    }
}

/* The next moment at which a flag may rise that somebody waits for. */
static void set_deadline(struct board *b, unsigned i)
{
    struct tim_state *t = &b->tim[i];
    if (!t->running || !t->arr) {
        board_set_deadline(b, &tim_devices[i], NEVER);
        return;
    }
    uint32_t steps = steps_to_update(t);
    for (unsigned c = 0; c < wiring[i].channels; c++) {
        uint32_t match = t->r[CCR1 / 4 + c];
        uint32_t distance = steps_to(t, *at(t, CNT), match);
        if (*at(t, DIER) & 2U << c && match <= t->arr && distance && distance < steps)
            steps = distance;
    }
    /* A flag without interrupt is computed when it is read. */
    bool wanted = *at(t, DIER) & 0x1F || *at(t, CR1) & CR1_OPM;
    uint64_t when = board_time_of(b, t->since + steps * step_cycles(b, i));
    board_set_deadline(b, &tim_devices[i], wanted ? when : NEVER);
}

static void settle(struct board *b, unsigned i)
{
    set_deadline(b, i);
    update_irq(b, i);
}

void tim_before_clock_change(struct board *b)
{
    for (unsigned i = 0; i < TIMERS; i++)
        sync(b, i);
}

void tim_after_clock_change(struct board *b)
{
    for (unsigned i = 0; i < TIMERS; i++)
        if (b->tim[i].running)
            settle(b, i);
}

static void tim_tick(struct board *b, const struct device *d)
{
    sync(b, d->index);
    settle(b, d->index);
}

static uint32_t tim_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)size;
    sync(b, d->index);
    return offset == EGR ? 0 : *at(&b->tim[d->index], offset);
}

static void tell_limits(struct board *b, const struct device *d)
{
    struct tim_state *t = &b->tim[d->index];
    if (t->told || !(*at(t, SMCR) & 7 || *at(t, CR1) & CR1_CMS))
        return;
    t->told = true;
    board_log(b, "%s: slave modes and center-aligned counting are not modelled", d->name);
}

static void write_cr1(struct board *b, unsigned i, uint32_t value)
{
    struct tim_state *t = &b->tim[i];
    *at(t, CR1) = value;
    bool run = value & CR1_CEN;
    if (run && !t->running)
        t->since = board_cycles(b);
    t->running = run;
}

static void generate(struct board *b, unsigned i, uint32_t events)
{
    struct tim_state *t = &b->tim[i];
    *at(t, SR) |= events & 0x5E;
    if (!(events & EGR_UG))
        return;
    load_shadows(t);
    *at(t, CNT) = *at(t, CR1) & CR1_DIR ? t->arr : 0;
    t->since = board_cycles(b);
    if (!(*at(t, CR1) & (CR1_URS | CR1_UDIS)))
        *at(t, SR) |= SR_UIF;
}

static void tim_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    unsigned i = d->index;
    struct tim_state *t = &b->tim[i];
    (void)size;
    sync(b, i);
    value &= reg_find(d->regs, d->reg_count, offset)->writable;
    switch (offset) {
    case CR1:
        write_cr1(b, i, value);
        break;
    case SR: /* write 0 to clear */
        *at(t, SR) &= value;
        break;
    case EGR:
        generate(b, i, value);
        break;
    case CNT:
        *at(t, CNT) = value;
        t->since = board_cycles(b);
        break;
    default:
        *at(t, offset) = value;
        break;
    }
    if (offset == ARR && !(*at(t, CR1) & CR1_ARPE))
        t->arr = value;
    tell_limits(b, d);
    settle(b, i);
}

static void tim_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)kind;
    b->tim[d->index] = (struct tim_state){0};
    settle(b, d->index);
}

#define TIMER(number, address, bit, table, densities)                                              \
    {                                                                                              \
        .name = "TIM" #number, .base = UINT32_C(address), .size = 0x400, .clock = (bit),           \
        .read = tim_read, .write = tim_write, .reset = tim_reset, .tick = tim_tick,                \
        .index = (number)-1, .regs = (table), .reg_count = sizeof(table) / sizeof(table)[0],       \
        .density = (densities)                                                                     \
    }

const struct device tim_devices[TIMERS] = {
    TIMER(1, 0x40012C00, 0x18 << 8 | 11, full_regs, 0),
    TIMER(2, 0x40000000, 0x1C << 8 | 0, full_regs, 0),
    TIMER(3, 0x40000400, 0x1C << 8 | 1, full_regs, 0),
    TIMER(4, 0x40000800, 0x1C << 8 | 2, full_regs, DENSITY_MEDIUM | DENSITY_HIGH),
    TIMER(5, 0x40000C00, 0x1C << 8 | 3, full_regs, DENSITY_HIGH),
    TIMER(6, 0x40001000, 0x1C << 8 | 4, basic_regs, DENSITY_HIGH),
    TIMER(7, 0x40001400, 0x1C << 8 | 5, basic_regs, DENSITY_HIGH),
    TIMER(8, 0x40013400, 0x18 << 8 | 13, full_regs, DENSITY_HIGH),
};
