/* SPDX-License-Identifier: MIT */
/*
 * DBGMCU: on every F101 and F103 its registers answer in debug mode only; user code reads 0 and
 * writes nothing (errata sheets, quoted in HAL-F1).
 */
#include "board_state.h"

static const struct reg regs[] = {
    {"IDCODE", 0x00, 0, 0},
    {"CR",     0x04, 0, 0},
};

static uint32_t dbgmcu_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)d;
    (void)size;
    (void)offset;
    board_log(b, "DBGMCU is read by the firmware: 0, as without a debugger");
    return 0;
}

static void dbgmcu_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    (void)b;
    (void)d;
    (void)offset;
    (void)size;
    (void)value;
}

const struct device dbgmcu_device = {
    .name = "DBGMCU",
    .base = UINT32_C(0xE0042000),
    .size = 0x400,
    .read = dbgmcu_read,
    .write = dbgmcu_write,
    .regs = regs,
    .reg_count = sizeof regs / sizeof regs[0],
};
