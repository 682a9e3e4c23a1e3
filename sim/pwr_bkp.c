/* SPDX-License-Identifier: MIT */
/*
 * PWR: only the lock of the backup domain is modelled. BKP: the registers behind that lock.
 *
 * The board has no battery: a power-on finds the backup domain reset. Sources: RM0008 §5.4, §6.4
 * (whose offsets are right where the SVD's are not).
 */
#include "board_state.h"

/* --- PWR ---------------------------------------------------------------------------------------- */

enum { PWR_CR = 0x00, PWR_CSR = 0x04, CR_DBP = 1 << 8, CSR_EWUP = 1 << 8 };

static const struct reg pwr_regs[] = {
    {"CR",  PWR_CR,  0, 0x000001F3}, /* CWUF and CSBF read 0 */
    {"CSR", PWR_CSR, 0, CSR_EWUP  },
};

bool pwr_backup_writable(const struct board *b)
{
    return b->pwr_cr & CR_DBP;
}

static uint32_t pwr_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)d;
    (void)size;
    return offset == PWR_CR ? b->pwr_cr : b->pwr_csr;
}

static void pwr_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    (void)d;
    (void)size;
    if (offset == PWR_CR)
        b->pwr_cr = value & 0x1F3;
    else
        b->pwr_csr = value & CSR_EWUP;
}

static void pwr_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    (void)kind;
    b->pwr_cr = b->pwr_csr = 0;
}

const struct device pwr_device = {
    .name = "PWR",
    .base = UINT32_C(0x40007000),
    .size = 0x400,
    .clock = 0x1C << 8 | 28,
    .read = pwr_read,
    .write = pwr_write,
    .reset = pwr_reset,
    .regs = pwr_regs,
    .reg_count = sizeof pwr_regs / sizeof pwr_regs[0],
};

/* --- BKP ---------------------------------------------------------------------------------------- */

enum { DR1 = 0x04, DR10 = 0x28, RTCCR = 0x2C, CR = 0x30, CSR = 0x34, DR11 = 0x40, DR42 = 0xBC };

/* The register at an offset, as this part has it; NULL: none. */
static uint16_t *bkp_storage(struct board *b, uint32_t offset)
{
    struct backup_state *s = &b->backup;
    unsigned number = 0;
    if (offset >= DR1 && offset <= DR10)
        number = (offset - DR1) / 4 + 1;
    else if (offset >= DR11 && offset <= DR42)
        number = (offset - DR11) / 4 + 11;
    if (number && number <= b->part->backup_registers)
        return &s->dr[number];
    return offset == RTCCR ? &s->rtccr : offset == CR ? &s->cr : offset == CSR ? &s->csr : NULL;
}

static uint16_t *bkp_at(struct board *b, const struct device *d, uint32_t offset)
{
    uint16_t *reg = bkp_storage(b, offset & ~3U);
    if (!reg)
        board_break_rule(b, d->base + offset,
            "no backup register at offset 0x%02x of this part "
            "(RM0008 §6.4)",
            (unsigned)offset);
    return reg;
}

static uint32_t bkp_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    const uint16_t *reg = bkp_at(b, d, offset);
    uint32_t value = reg && !(offset & 2) ? *reg : 0;
    value >>= (offset & 1) * 8;
    if (board_tracing(b, BOARD_TRACE_REGISTERS))
        board_trace(b, "BKP+0x%02x          -> %04x", (unsigned)offset, (unsigned)value);
    return size == 1 ? value & 0xFF : value;
}

static void bkp_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    uint16_t *reg = bkp_at(b, d, offset);
    if (board_tracing(b, BOARD_TRACE_REGISTERS))
        board_trace(b, "BKP+0x%02x          <- %04x", (unsigned)offset, (unsigned)value);
    if (!reg)
        return;
    if (!pwr_backup_writable(b)) {
        board_log(
            b, "write to backup register at 0x%02x is lost: PWR_CR.DBP is 0", (unsigned)offset);
        return;
    }
    if (size == 1)
        value = (value & 0xFF) * 0x101;
    *reg = (uint16_t)value;
}

void bkp_reset_domain(struct board *b)
{
    b->backup = (struct backup_state){0};
    rtc_reset_domain(b);
}

static void bkp_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    if (kind == RESET_POWER)
        bkp_reset_domain(b);
}

/* Without a register table: which registers there are depends on the part. */
const struct device bkp_device = {
    .name = "BKP",
    .base = UINT32_C(0x40006C00),
    .size = 0x400,
    .clock = 0x1C << 8 | 27,
    .read = bkp_read,
    .write = bkp_write,
    .reset = bkp_reset,
};
