/* SPDX-License-Identifier: MIT */
/*
 * Peripherals whose registers only store, so that firmware which sets them up goes on. The log says
 * so at the first access. SPI answers each byte at once with 0xFF, as with nothing on MISO but a
 * pull-up.
 *
 * Sources: SVD; RM0008 §25 (SPI).
 */
#include "board_state.h"

// clang-format off
static const struct reg spi_regs[] = {
    {"CR1",    0x00, 0, 0xFFFF}, {"CR2",     0x04, 0, 0x00E7}, {"SR",      0x08, 2, 0x0010},
    {"DR",     0x0C, 0, 0xFFFF}, {"CRCPR",   0x10, 7, 0xFFFF}, {"RXCRCR",  0x14, 0, 0},
    {"TXCRCR", 0x18, 0, 0},      {"I2SCFGR", 0x1C, 0, 0x0FBF}, {"I2SPR",   0x20, 2, 0x03FF},
};
static const struct reg i2c_regs[] = {
    {"CR1", 0x00, 0, 0xFBFB}, {"CR2", 0x04, 0, 0x1F3F}, {"OAR1", 0x08, 0, 0xC3FF},
    {"OAR2", 0x0C, 0, 0x00FF}, {"DR", 0x10, 0, 0x00FF}, {"SR1", 0x14, 0, 0xDF00},
    {"SR2", 0x18, 0, 0}, {"CCR", 0x1C, 0, 0xCFFF}, {"TRISE", 0x20, 2, 0x003F},
};
static const struct reg uart_regs[] = {
    {"SR", 0x00, 0xC0, 0}, {"DR", 0x04, 0, 0}, {"BRR", 0x08, 0, 0xFFFF},
    {"CR1", 0x0C, 0, 0x3FFF}, {"CR2", 0x10, 0, 0x7F6F}, {"CR3", 0x14, 0, 0x07FF},
};
static const struct reg dac_regs[] = {
    {"CR", 0x00, 0, 0x1FFF1FFF}, {"SWTRIGR", 0x04, 0, 0}, {"DHR12R1", 0x08, 0, 0xFFF},
    {"DHR12L1", 0x0C, 0, 0xFFF0}, {"DHR8R1", 0x10, 0, 0xFF}, {"DHR12R2", 0x14, 0, 0xFFF},
    {"DHR12L2", 0x18, 0, 0xFFF0}, {"DHR8R2", 0x1C, 0, 0xFF}, {"DHR12RD", 0x20, 0, 0x0FFF0FFF},
    {"DHR12LD", 0x24, 0, 0xFFF0FFF0}, {"DHR8RD", 0x28, 0, 0xFFFF}, {"DOR1", 0x2C, 0, 0},
    {"DOR2", 0x30, 0, 0},
};
static const struct reg can_regs[] = { /* no filters: it cannot be used beside USB anyway */
    {"MCR", 0x00, 0x10002, 0x180FF}, {"MSR", 0x04, 0xC02, 0}, {"TSR", 0x08, 0x1C000000, 0},
    {"RF0R", 0x0C, 0, 0}, {"RF1R", 0x10, 0, 0}, {"IER", 0x14, 0, 0x38F7F}, {"ESR", 0x18, 0, 0x70},
    {"BTR", 0x1C, 0x01230000, 0xC37F03FF},
};
static const struct reg fsmc_regs[] = {
    {"BCR1", 0x00, 0x30D0, 0xFFFFF}, {"BTR1", 0x04, 0x0FFFFFFF, 0x3FFFFFFF},
    {"BCR2", 0x08, 0x30D0, 0xFFFFF}, {"BTR2", 0x0C, 0x0FFFFFFF, 0x3FFFFFFF},
    {"BCR3", 0x10, 0x30D0, 0xFFFFF}, {"BTR3", 0x14, 0x0FFFFFFF, 0x3FFFFFFF},
    {"BCR4", 0x18, 0x30D0, 0xFFFFF}, {"BTR4", 0x1C, 0x0FFFFFFF, 0x3FFFFFFF},
};
static const struct reg sdio_regs[] = {
    {"POWER", 0x00, 0, 3}, {"CLKCR", 0x04, 0, 0x7FFF}, {"ARG", 0x08, 0, 0xFFFFFFFF},
    {"CMD", 0x0C, 0, 0x7FFF}, {"DTIMER", 0x24, 0, 0xFFFFFFFF}, {"DLEN", 0x28, 0, 0x1FFFFFF},
    {"DCTRL", 0x2C, 0, 0xFFF}, {"STA", 0x34, 0, 0}, {"ICR", 0x38, 0, 0}, {"MASK", 0x3C, 0, 0xFFFFFF},
};
// clang-format on

enum { SPI_SR = 0x08, SPI_DR = 0x0C, SPI_SR_RXNE = 1 << 0 };

static bool is_spi(const struct device *d)
{
    return d->regs == spi_regs;
}

static uint32_t *storage(struct board *b, const struct device *d, uint32_t offset)
{
    return &b->plain[d->index].r[reg_find(d->regs, d->reg_count, offset) - d->regs];
}

static void tell(struct board *b, const struct device *d)
{
    if (!b->plain[d->index].told)
        board_log(b, "%s is not modelled: its registers only store", d->name);
    b->plain[d->index].told = true;
}

static uint32_t plain_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)size;
    tell(b, d);
    if (is_spi(d) && offset == SPI_DR) {
        *storage(b, d, SPI_SR) &= ~(uint32_t)SPI_SR_RXNE;
        return 0xFF;
    }
    return *storage(b, d, offset);
}

static void plain_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    (void)size;
    tell(b, d);
    uint32_t *reg = storage(b, d, offset);
    uint32_t writable = reg_find(d->regs, d->reg_count, offset)->writable;
    *reg = (*reg & ~writable) | (value & writable);
    if (is_spi(d) && offset == SPI_DR)
        *storage(b, d, SPI_SR) |= SPI_SR_RXNE;
}

static void plain_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)kind;
    b->plain[d->index].told = false;
    for (unsigned i = 0; i < d->reg_count; i++)
        b->plain[d->index].r[i] = d->regs[i].reset;
}

#define PLAIN(label, number, address, bit, table, densities)                                       \
    {                                                                                              \
        .name = (label), .base = UINT32_C(address), .size = 0x400, .clock = (bit),                 \
        .read = plain_read, .write = plain_write, .reset = plain_reset, .index = (number),         \
        .regs = (table), .reg_count = sizeof(table) / sizeof(table)[0], .density = (densities)     \
    }

const struct device plain_devices[] = {
    PLAIN("SPI1", 0, 0x40013000, 0x18 << 8 | 12, spi_regs, 0),
    PLAIN("SPI2", 1, 0x40003800, 0x1C << 8 | 14, spi_regs, DENSITY_MEDIUM | DENSITY_HIGH),
    PLAIN("SPI3", 2, 0x40003C00, 0x1C << 8 | 15, spi_regs, DENSITY_HIGH),
    PLAIN("I2C1", 3, 0x40005400, 0x1C << 8 | 21, i2c_regs, 0),
    PLAIN("I2C2", 4, 0x40005800, 0x1C << 8 | 22, i2c_regs, DENSITY_MEDIUM | DENSITY_HIGH),
    PLAIN("CAN1", 5, 0x40006400, 0x1C << 8 | 25, can_regs, 0),
    PLAIN("UART4", 6, 0x40004C00, 0x1C << 8 | 19, uart_regs, DENSITY_HIGH),
    PLAIN("UART5", 7, 0x40005000, 0x1C << 8 | 20, uart_regs, DENSITY_HIGH),
    PLAIN("DAC", 8, 0x40007400, 0x1C << 8 | 29, dac_regs, DENSITY_HIGH),
    PLAIN("SDIO", 9, 0x40018000, 0x14 << 8 | 10, sdio_regs, DENSITY_HIGH),
    PLAIN("FSMC", 10, 0xA0000000, 0x14 << 8 | 8, fsmc_regs, DENSITY_HIGH),
};
const unsigned plain_device_count = sizeof plain_devices / sizeof plain_devices[0];
