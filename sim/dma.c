/* SPDX-License-Identifier: MIT */
/*
 * DMA1 and DMA2. A transfer takes no time; memory-to-memory blocks are done when they are enabled.
 *
 * Sources: RM0008 §13; SVD (whose channel 4 … 7 offsets are 4 too high).
 */
#include "board_state.h"

enum { ISR = 0x00, IFCR = 0x04, CCR1 = 0x08, CHANNEL_SIZE = 0x14 };
enum { CCR = 0x00, CNDTR = 0x04, CPAR = 0x08, CMAR = 0x0C };
enum {
    CCR_EN = 1 << 0,
    CCR_TCIE = 1 << 1,
    CCR_HTIE = 1 << 2,
    CCR_TEIE = 1 << 3,
    CCR_DIR = 1 << 4, /* 1: from memory */
    CCR_CIRC = 1 << 5,
    CCR_PINC = 1 << 6,
    CCR_MINC = 1 << 7,
    CCR_MEM2MEM = 1 << 14,
    FLAG_G = 1,
    FLAG_TC = 2,
    FLAG_HT = 4,
    FLAG_TE = 8,
};

// clang-format off
#define CHANNEL(n)                                                                                 \
    {"CCR" #n,   CCR1 + CHANNEL_SIZE * (n - 1) + CCR,   0, 0x7FFF},                                \
    {"CNDTR" #n, CCR1 + CHANNEL_SIZE * (n - 1) + CNDTR, 0, 0xFFFF},                                \
    {"CPAR" #n,  CCR1 + CHANNEL_SIZE * (n - 1) + CPAR,  0, 0xFFFFFFFF},                            \
    {"CMAR" #n,  CCR1 + CHANNEL_SIZE * (n - 1) + CMAR,  0, 0xFFFFFFFF}
static const struct reg regs[] = {
    {"ISR", ISR, 0, 0}, {"IFCR", IFCR, 0, 0x0FFFFFFF},
    CHANNEL(1), CHANNEL(2), CHANNEL(3), CHANNEL(4), CHANNEL(5), CHANNEL(6), CHANNEL(7),
};

static const struct {
    uint8_t channels, irq[7];
} wiring[2] = {
    {7, {11, 12, 13, 14, 15, 16, 17}},
    {5, {56, 57, 58, 59, 59}},
};
// clang-format on

static void update_irq(struct board *b, unsigned n)
{
    const struct dma_state *s = &b->dma[n];
    for (unsigned c = 0; c < wiring[n].channels; c++) {
        uint32_t flags = s->isr >> c * 4, enabled = s->channel[c].ccr & 0xE;
        bool level = flags & enabled;
        if (c + 1 < wiring[n].channels && wiring[n].irq[c] == wiring[n].irq[c + 1])
            continue; /* DMA2's last two share a line */
        if (c && wiring[n].irq[c] == wiring[n].irq[c - 1])
            level = level || (s->isr >> (c - 1) * 4 & s->channel[c - 1].ccr & 0xE);
        board_irq(b, wiring[n].irq[c], level);
    }
}

static void raise(struct board *b, unsigned n, unsigned c, uint32_t flag)
{
    b->dma[n].isr |= (flag | FLAG_G) << c * 4;
}

/* One transfer. The write may bring about the next request, so all is counted before it. */
static void transfer(struct board *b, unsigned n, unsigned c)
{
    struct dma_channel *ch = &b->dma[n].channel[c];
    static const uint8_t sizes[4] = {1, 2, 4, 4};
    unsigned psize = sizes[ch->ccr >> 8 & 3], msize = sizes[ch->ccr >> 10 & 3];
    uint32_t periph = ch->cpar + (ch->ccr & CCR_PINC ? ch->at * psize : 0);
    uint32_t memory = ch->cmar + (ch->ccr & CCR_MINC ? ch->at * msize : 0);
    bool out = ch->ccr & CCR_DIR;
    uint32_t value = 0;
    ch->at++;
    bool half = --ch->left == ch->cndtr / 2, last = !ch->left;
    if (last && ch->ccr & CCR_CIRC) {
        ch->left = ch->cndtr;
        ch->at = 0;
    }
    bool good = board_dma_read(b, out ? memory : periph, out ? msize : psize, &value) &&
                board_dma_write(b, out ? periph : memory, out ? psize : msize, value);
    if (!good) {
        ch->ccr &= ~(uint32_t)CCR_EN;
        raise(b, n, c, FLAG_TE);
        board_log(b, "DMA%u channel %u: bus error", n + 1, c + 1);
        return;
    }
    if (half)
        raise(b, n, c, FLAG_HT);
    if (last)
        raise(b, n, c, FLAG_TC);
}

void dma_request(struct board *b, unsigned dma, unsigned channel)
{
    struct dma_channel *ch = &b->dma[dma].channel[channel - 1];
    if (!(ch->ccr & CCR_EN) || !ch->left || !board_clocked(b, &dma_devices[dma]))
        return;
    transfer(b, dma, channel - 1);
    update_irq(b, dma);
}

static uint32_t dma_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    const struct dma_state *s = &b->dma[d->index];
    (void)size;
    if (offset < CCR1)
        return offset == ISR ? s->isr : 0;
    const struct dma_channel *ch = &s->channel[(offset - CCR1) / CHANNEL_SIZE];
    switch ((offset - CCR1) % CHANNEL_SIZE) {
    case CCR:
        return ch->ccr;
    case CNDTR:
        return ch->left;
    case CPAR:
        return ch->cpar;
    default:
        return ch->cmar;
    }
}

static void enable(struct board *b, unsigned n, unsigned c)
{
    struct dma_channel *ch = &b->dma[n].channel[c];
    ch->cndtr = ch->left;
    ch->at = 0;
    if (ch->ccr & CCR_MEM2MEM)
        while (ch->ccr & CCR_EN && ch->left)
            transfer(b, n, c);
}

static void dma_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    struct dma_state *s = &b->dma[d->index];
    (void)size;
    if (offset == IFCR) {
        for (unsigned c = 0; c < 7; c++) /* CGIF clears all of the channel's */
            if (value >> c * 4 & FLAG_G)
                value |= 0xFU << c * 4;
        s->isr &= ~value;
        for (unsigned c = 0; c < 7; c++)
            if (!(s->isr >> c * 4 & 0xE))
                s->isr &= ~(1U << c * 4);
        update_irq(b, d->index);
    }
    if (offset < CCR1)
        return;
    unsigned c = (offset - CCR1) / CHANNEL_SIZE;
    struct dma_channel *ch = &s->channel[c];
    uint32_t what = (offset - CCR1) % CHANNEL_SIZE;
    if (c >= wiring[d->index].channels)
        return;
    if (ch->ccr & CCR_EN && what != CCR)
        board_break_rule(b, d->base + offset,
            "DMA channel set up while it is enabled "
            "(RM0008 §13.4)");
    else if (what == CNDTR)
        ch->left = value & 0xFFFF;
    else if (what == CPAR)
        ch->cpar = value;
    else if (what == CMAR)
        ch->cmar = value;
    if (what != CCR)
        return;
    bool rises = value & ~ch->ccr & CCR_EN;
    ch->ccr = value & 0x7FFF;
    if (rises) {
        enable(b, d->index, c);
        usart_dma_ready(b);
    }
    update_irq(b, d->index);
}

static void dma_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)kind;
    b->dma[d->index] = (struct dma_state){0};
    update_irq(b, d->index);
}

const struct device dma_devices[2] = {
    {.name = "DMA1",
     .base = UINT32_C(0x40020000),
     .size = 0x400,
     .clock = 0x14 << 8 | 0,
     .read = dma_read,
     .write = dma_write,
     .reset = dma_reset,
     .index = 0,
     .regs = regs,
     .reg_count = 30                                },
    { .name = "DMA2",
     .base = UINT32_C(0x40020400),
     .size = 0x400,
     .clock = 0x14 << 8 | 1,
     .read = dma_read,
     .write = dma_write,
     .reset = dma_reset,
     .index = 1,
     .regs = regs,
     .reg_count = 22, /* five channels */
        .density = DENSITY_HIGH},
};
