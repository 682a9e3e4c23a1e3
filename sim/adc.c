/* SPDX-License-Identifier: MIT */
/*
 * ADC1 … ADC3, so far that firmware which measures something goes on: calibration and conversions,
 * regular or injected, are done at once, and every channel measures half of the supply. Timers and
 * pins start none.
 *
 * Source: RM0008 §11.
 */
#include "board_state.h"

enum {
    SR = 0x00,
    CR1 = 0x04,
    CR2 = 0x08,
    JOFR1 = 0x14,
    SQR1 = 0x2C,
    JSQR = 0x38,
    JDR1 = 0x3C,
    DR = 0x4C
};
enum {
    SR_EOC = 1 << 1,
    SR_JEOC = 1 << 2,
    SR_JSTRT = 1 << 3,
    SR_STRT = 1 << 4,
    CR1_EOCIE = 1 << 5,
    CR1_JEOCIE = 1 << 7,
    CR1_JAUTO = 1 << 10,
    CR2_ADON = 1 << 0,
    CR2_CONT = 1 << 1,
    CR2_CAL = 1 << 2,
    CR2_RSTCAL = 1 << 3,
    CR2_ALIGN = 1 << 11,
    CR2_JSWSTART = 1 << 21,
    CR2_SWSTART = 1 << 22,
    HALF_SUPPLY = 0x800,
};

// clang-format off
static const struct reg regs[] = {
    {"SR",    SR,   0,     0x0000001F}, {"CR1",   CR1,  0, 0x00CFFFFF},
    {"CR2",   CR2,  0,     0x00FEF90F}, {"SMPR1", 0x0C, 0, 0x00FFFFFF},
    {"SMPR2", 0x10, 0,     0x3FFFFFFF}, {"JOFR1", JOFR1, 0, 0x00000FFF},
    {"JOFR2", 0x18, 0,     0x00000FFF}, {"JOFR3", 0x1C, 0, 0x00000FFF},
    {"JOFR4", 0x20, 0,     0x00000FFF}, {"HTR",   0x24, 0xFFF, 0x00000FFF},
    {"LTR",   0x28, 0,     0x00000FFF}, {"SQR1",  SQR1, 0, 0x00FFFFFF},
    {"SQR2",  0x30, 0,     0x3FFFFFFF}, {"SQR3",  0x34, 0, 0x3FFFFFFF},
    {"JSQR",  JSQR, 0,     0x003FFFFF}, {"JDR1",  JDR1, 0, 0},
    {"JDR2",  0x40, 0,     0},          {"JDR3",  0x44, 0, 0},
    {"JDR4",  0x48, 0,     0},          {"DR",    DR,   0, 0},
};
static const uint8_t irqs[3] = {18, 18, 47};
// clang-format on

static bool wants(const struct board *b, unsigned i)
{
    uint32_t sr = b->adc[i].r[SR / 4], cr1 = b->adc[i].r[CR1 / 4];
    return (sr & SR_EOC && cr1 & CR1_EOCIE) || (sr & SR_JEOC && cr1 & CR1_JEOCIE);
}

static void update_irq(struct board *b, unsigned i)
{
    /* ADC1 and ADC2 share a line */
    board_irq(b, irqs[i], wants(b, i) || (i < 2 && wants(b, 1 - i)));
}

/* JSQR.JL + 1 channels; of each, its offset is subtracted, and what is below zero is so with all its
 * upper bits (RM0008 §11.12.12). Left-aligned, the sign is bit 15 (§11.5). */
static void convert_injected(struct board *b, unsigned i)
{
    uint32_t *r = b->adc[i].r;
    r[SR / 4] |= SR_JEOC | SR_JSTRT;
    for (unsigned n = 0; n <= (r[JSQR / 4] >> 20 & 3); n++) {
        uint32_t value = HALF_SUPPLY - r[JOFR1 / 4 + n];
        r[JDR1 / 4 + n] = (r[CR2 / 4] & CR2_ALIGN ? value << 3 : value) & 0xFFFF;
    }
}

static void convert(struct board *b, unsigned i)
{
    uint32_t *r = b->adc[i].r;
    r[SR / 4] |= SR_EOC | SR_STRT;
    r[DR / 4] = r[CR2 / 4] & CR2_ALIGN ? HALF_SUPPLY << 4 : HALF_SUPPLY;
    if (r[CR1 / 4] & CR1_JAUTO)
        convert_injected(b, i);
}

static uint32_t adc_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    uint32_t *r = b->adc[d->index].r;
    (void)size;
    if (offset == DR) {
        r[SR / 4] &= ~(uint32_t)SR_EOC;
        if (r[CR2 / 4] & CR2_CONT)
            convert(b, d->index);
        update_irq(b, d->index);
    }
    return r[offset / 4];
}

static void adc_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    uint32_t *r = b->adc[d->index].r, old = r[offset / 4];
    (void)size;
    value &= reg_find(d->regs, d->reg_count, offset)->writable;
    if (offset == SR) { /* write 0 to clear */
        r[SR / 4] &= value;
    } else if (offset == CR2) {
        r[CR2 / 4] = value & ~(uint32_t)(CR2_CAL | CR2_RSTCAL | CR2_JSWSTART | CR2_SWSTART);
        /* ADON written again without any other change starts too (RM0008 §11.12.3) */
        bool again = value & old & CR2_ADON && value == old;
        if ((value & CR2_SWSTART && value & CR2_ADON) || again)
            convert(b, d->index);
        if (value & CR2_JSWSTART && value & CR2_ADON)
            convert_injected(b, d->index);
    } else if (offset != DR) {
        r[offset / 4] = value;
    }
    update_irq(b, d->index);
}

static void adc_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)kind;
    b->adc[d->index] = (struct adc_state){0};
    b->adc[d->index].r[0x24 / 4] = 0xFFF;
    update_irq(b, d->index);
}

#define ADC(number, address, bit, densities)                                                       \
    {                                                                                              \
        .name = "ADC" #number, .base = UINT32_C(address), .size = 0x400,                           \
        .clock = 0x18 << 8 | (bit), .read = adc_read, .write = adc_write, .reset = adc_reset,      \
        .index = (number)-1, .regs = regs, .reg_count = sizeof regs / sizeof regs[0],              \
        .density = (densities)                                                                     \
    }

const struct device adc_devices[3] = {
    ADC(1, 0x40012400, 9, 0),
    ADC(2, 0x40012800, 10, 0),
    ADC(3, 0x40013C00, 15, DENSITY_HIGH),
};
