/* SPDX-License-Identifier: MIT */
/* CRC: polynomial 0x04C11DB7 over words, most significant bit first. Source: RM0008 §4. */
#include "board_state.h"

enum { DR = 0x00, IDR = 0x04, CR = 0x08 };

static const struct reg regs[] = {
    {"DR",  DR,  0xFFFFFFFF, 0xFFFFFFFF},
    {"IDR", IDR, 0,          0xFF      },
    {"CR",  CR,  0,          1         },
};

static uint32_t crc_step(uint32_t crc, uint32_t word)
{
    crc ^= word;
    for (unsigned i = 0; i < 32; i++)
        crc = crc << 1 ^ (crc >> 31 ? UINT32_C(0x04C11DB7) : 0);
    return crc;
}

static uint32_t crc_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)d;
    (void)size;
    return offset == DR ? b->crc_dr : offset == IDR ? b->crc_idr : 0;
}

static void crc_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    if (offset == DR && size != 4)
        board_break_rule(b, d->base, "CRC_DR takes words only (RM0008 §4.4)");
    if (offset == DR)
        b->crc_dr = crc_step(b->crc_dr, value);
    else if (offset == IDR)
        b->crc_idr = value & 0xFF; /* not touched by CR.RESET */
    else if (value & 1)
        b->crc_dr = UINT32_MAX;
}

static void crc_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    (void)kind;
    b->crc_dr = UINT32_MAX;
    b->crc_idr = 0;
}

const struct device crc_device = {
    .name = "CRC",
    .base = UINT32_C(0x40023000),
    .size = 0x400,
    .clock = 0x14 << 8 | 6,
    .read = crc_read,
    .write = crc_write,
    .reset = crc_reset,
    .regs = regs,
    .reg_count = sizeof regs / sizeof regs[0],
};
