/* SPDX-License-Identifier: MIT */
/*
 * FPEC: the flash program and erase controller, the option bytes and the protections.
 *
 * An operation changes the cells when it begins, for nobody can read them before it ends: the CPU
 * stalls until then. What it found is kept, so that a reset or a power cut on the way can leave
 * something between.
 *
 * Sources: PM0075 Rev 2 (all rules), DS5319 table 28 (times).
 */
#include "board_state.h"

#include <string.h>

enum {
    ACR = 0x00,
    KEYR = 0x04,
    OPTKEYR = 0x08,
    SR = 0x0C,
    CR = 0x10,
    AR = 0x14,
    OBR = 0x1C,
    WRPR = 0x20
};

enum {
    ACR_LATENCY = 7,
    ACR_HLFCYA = 1 << 3,
    ACR_PRFTBE = 1 << 4,
    ACR_PRFTBS = 1 << 5,
    SR_BSY = 1 << 0,
    SR_PGERR = 1 << 2,
    SR_WRPRTERR = 1 << 4,
    SR_EOP = 1 << 5,
    CR_PG = 1 << 0,
    CR_PER = 1 << 1,
    CR_MER = 1 << 2,
    CR_OPTPG = 1 << 4,
    CR_OPTER = 1 << 5,
    CR_STRT = 1 << 6,
    CR_LOCK = 1 << 7,
    CR_OPTWRE = 1 << 9,
    CR_ERRIE = 1 << 10,
    CR_EOPIE = 1 << 12,
    CR_MODES = CR_PG | CR_PER | CR_MER | CR_OPTPG | CR_OPTER,
    OBR_OPTERR = 1 << 0,
    OBR_RDPRT = 1 << 1,
    IRQ_FLASH = 4,
    WRP_UNIT = 4096,           /* bytes that one bit of WRPR protects, in every density */
    RDP_PROTECTED_SIZE = 4096, /* RDP write-protects that much (PM0075 §2.4.1) */
};

#define KEY1 UINT32_C(0x45670123)
#define KEY2 UINT32_C(0xCDEF89AB)

// clang-format off
static const struct reg regs[] = {
    {"ACR",     ACR,     0x00000030, 0x0000001F},
    {"KEYR",    KEYR,    0,          0},
    {"OPTKEYR", OPTKEYR, 0,          0},
    {"SR",      SR,      0,          0},
    {"CR",      CR,      0x00000080, 0x00001437},
    {"AR",      AR,      0,          0xFFFFFFFF},
    {"OBR",     OBR,     0x03FFFFFC, 0},
    {"WRPR",    WRPR,    0xFFFFFFFF, 0},
};

/* DS5319 table 28, ns. */
static const struct {
    uint32_t halfword, erase;
} times[] = {
    [BOARD_TYPICAL] = {52500, 30000000},
    [BOARD_FASTEST] = {40000, 20000000},
    [BOARD_SLOWEST] = {70000, 40000000},
};
// clang-format on

/* --- what stands in flash ----------------------------------------------------------------------- */

/* Would a reset find a way? The word at 4 leads into flash, in Thumb state. */
static bool vector_stands(const struct board *b)
{
    const uint8_t *at = b->flash + 4;
    uint32_t vector = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    uint32_t target = vector & ~1U;
    return vector & 1 && (target - FLASH_BASE < flash_size(b) || target < flash_size(b));
}

uint64_t flash_open_ns(const struct board *b)
{
    return b->fpec.open ? board_now(b) - b->fpec.open_since : 0;
}

static void close_window(struct board *b)
{
    b->counts.page0_open_ns += flash_open_ns(b);
    b->fpec.open = false;
}

/* --- operations --------------------------------------------------------------------------------- */

static uint8_t *cells(struct board *b)
{
    return b->fpec.of_options ? b->fpec.option : b->flash;
}

static void cells_changed(struct board *b)
{
    if (!b->fpec.of_options)
        cpu_flash_changed(&b->bus, b->fpec.offset, b->fpec.size);
}

/* --- cells that are neither --- */

/*
 * A cell whose programming or erase was cut short may hold a charge near the sense amplifier's
 * threshold: it reads as 0 today and 1 tomorrow. Such bits are a mask beside the
 * cells. What they read as is drawn at each power-up: often all alike, for they share voltage and
 * temperature, so that a cut operation looks complete, or never begun. A bit is decided by the
 * next erase of its page, and by being programmed to 0; a 1 in a value that is programmed does
 * nothing to it. That they do not change between power-ups is a choice: cheaper, and no kinder, for
 * code that reads twice is no safer from what comes at the next power-up.
 */
static uint8_t *marginal_cells(struct board *b)
{
    return b->fpec.of_options ? b->fpec.marginal_option : b->marginal;
}

static void draw(uint8_t *cells, const uint8_t *mask, uint32_t size, unsigned how, uint64_t *random)
{
    for (uint32_t i = 0; i < size; i++)
        if (mask[i]) {
            uint8_t bits = how == 0 ? 0 : how == 1 ? 0xFF : (uint8_t)random_next(random);
            cells[i] = (uint8_t)((cells[i] & ~mask[i]) | (bits & mask[i]));
        }
}

static bool any_marginal(const uint8_t *mask, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        if (mask[i])
            return true;
    return false;
}

static void draw_all(struct board *b)
{
    struct flash_state *f = &b->fpec;
    uint32_t from = f->marginal_from, size = f->marginal_to - from;
    bool flash = size, options = any_marginal(f->marginal_option, OPTION_SIZE);
    if (!flash && !options)
        return;
    unsigned how = (unsigned)(random_next(&f->marginal_random) >> 32) % 4;
    draw(b->flash + from, b->marginal + from, size, how, &f->marginal_random);
    draw(f->option, f->marginal_option, OPTION_SIZE, how, &f->marginal_random);
    if (flash)
        cpu_flash_changed(&b->bus, from, size);
}

void flash_gain_power(struct board *b)
{
    draw_all(b);
}

/* The operation under way has done its work on the bits that are not kept. */
static void decide(struct board *b, uint32_t i, uint8_t keep)
{
    const struct flash_state *f = &b->fpec;
    uint8_t works_on = f->size == 2 ? (uint8_t)~cells(b)[f->offset + i] : 0xFF;
    marginal_cells(b)[f->offset + i] &= (uint8_t)(keep | ~works_on);
}

/* The range becomes empty again when nothing in it is undecided. */
static void forget_marginal_range(struct board *b)
{
    struct flash_state *f = &b->fpec;
    if (f->marginal_from < f->marginal_to &&
        !any_marginal(b->marginal + f->marginal_from, f->marginal_to - f->marginal_from))
        f->marginal_from = f->marginal_to = 0;
}

static void decide_all(struct board *b)
{
    const struct flash_state *f = &b->fpec;
    if (!f->of_options && f->marginal_from == f->marginal_to)
        return;
    if (f->struck != BOARD_FLASH_GOOD && f->struck != BOARD_FLASH_BUSY)
        return; /* it did not work on all of them */
    for (uint32_t i = 0; i < f->size; i++)
        decide(b, i, 0);
    forget_marginal_range(b);
}

void flash_loaded(struct board *b, uint32_t offset, uint32_t size)
{
    struct flash_state *f = &b->fpec;
    if (f->marginal_from == f->marginal_to)
        return;
    memset(b->marginal + offset, 0, size);
    forget_marginal_range(b);
}

static void leave_marginal(struct board *b)
{
    struct flash_state *f = &b->fpec;
    const uint8_t *now = cells(b) + f->offset, *old = b->undo + f->offset;
    for (uint32_t i = 0; i < f->size; i++)
        marginal_cells(b)[f->offset + i] |= old[i] ^ now[i];
    if (!f->of_options) {
        bool none = f->marginal_from == f->marginal_to;
        uint32_t end = f->offset + f->size;
        f->marginal_from = none || f->offset < f->marginal_from ? f->offset : f->marginal_from;
        f->marginal_to = none || end > f->marginal_to ? end : f->marginal_to;
        forget_marginal_range(b);
    }
    f->marginal_random = b->cut_random;
    draw_all(b);
    cells_changed(b);
}

/* Puts back a part of what the operation under way found. */
static void tear(struct board *b, enum board_torn torn, uint64_t *random)
{
    struct flash_state *f = &b->fpec;
    uint8_t *now = cells(b) + f->offset;
    const uint8_t *old = b->undo + f->offset;
    for (uint32_t i = 0; i < f->size; i++) {
        uint8_t keep = 0; /* bits that have not changed */
        if (torn == BOARD_TORN_NOT_BEGUN || (torn == BOARD_TORN_HALF && i >= f->size / 2))
            keep = 0xFF;
        else if (torn == BOARD_TORN_RANDOM)
            keep = (uint8_t)random_next(random);
        decide(b, i, keep);
        now[i] = (uint8_t)((old[i] & keep) | (now[i] & ~keep));
    }
    forget_marginal_range(b);
    cells_changed(b);
}

/* --- cells that fail --- */

void board_fail_flash(struct board *b, const struct board_flash_failure *failure)
{
    b->fpec.failure = failure ? *failure : (struct board_flash_failure){.fault = BOARD_FLASH_GOOD};
}

static uint32_t operation_addr(const struct board *b)
{
    return (b->fpec.of_options ? OPTION_BASE : FLASH_BASE) + b->fpec.offset;
}

/* What the operation that is about to begin suffers from. The n-th alone, if there is a count; but
 * bits that stick there stay stuck. */
static enum board_flash_fault strike(struct board *b)
{
    struct board_flash_failure *x = &b->fpec.failure;
    uint32_t addr = operation_addr(b), size = b->fpec.size;
    if (x->size && (addr + size <= x->addr || addr >= x->addr + x->size))
        return BOARD_FLASH_GOOD;
    if (x->nth > 1) {
        x->nth--;
        return BOARD_FLASH_GOOD;
    }
    enum board_flash_fault fault = x->fault;
    if (x->nth == 1) {
        x->nth = 0;
        x->addr = addr;
        x->size = size;
        if (fault != BOARD_FLASH_STUCK)
            x->fault = BOARD_FLASH_GOOD;
    }
    b->counts.flash_faults += fault != BOARD_FLASH_GOOD;
    return fault;
}

/* One of the bits that this operation changes, as its number from the first cell; of all bits if it
 * changes none. */
static uint32_t any_bit(const uint8_t *old, const uint8_t *now, uint32_t size, uint64_t *random)
{
    uint32_t from = (uint32_t)(random_next(random) % (size * 8));
    for (uint32_t i = 0; i < size * 8; i++) {
        uint32_t bit = (from + i) % (size * 8);
        if ((old[bit / 8] ^ now[bit / 8]) >> bit % 8 & 1)
            return bit;
    }
    return from;
}

/* The failure's one bit is chosen. */
static void choose_stuck_bit(struct board *b, const uint8_t *old, const uint8_t *now)
{
    struct board_flash_failure *x = &b->fpec.failure;
    uint32_t bit = any_bit(old, now, b->fpec.size, &x->seed);
    x->addr = operation_addr(b) + bit / 16 * 2;
    x->size = 2;
    x->bits = (uint16_t)(1U << bit % 16);
}

static uint8_t stuck_bits(const struct board *b, uint32_t addr)
{
    const struct board_flash_failure *x = &b->fpec.failure;
    bool there = !x->size || addr - x->addr < x->size;
    return there ? (uint8_t)(x->bits >> (addr & 1) * 8) : 0;
}

/* One of 16 by chance. */
static uint8_t few_bits(uint64_t *random)
{
    uint64_t chance = random_next(random);
    return (uint8_t)(chance & chance >> 8 & chance >> 16 & chance >> 24);
}

/* Puts back the bits that the operation, done by now, could not change. */
static void spoil(struct board *b)
{
    struct flash_state *f = &b->fpec;
    uint8_t *now = cells(b) + f->offset;
    const uint8_t *old = b->undo + f->offset;
    uint32_t weak = UINT32_MAX;
    if (f->struck == BOARD_FLASH_STUCK && !f->failure.bits)
        choose_stuck_bit(b, old, now);
    if (f->struck == BOARD_FLASH_WEAK)
        weak = any_bit(old, now, f->size, &f->failure.seed);
    for (uint32_t i = 0; i < f->size; i++) {
        uint8_t keep = 0; /* bits that have not changed */
        if (f->struck == BOARD_FLASH_NO_OP)
            keep = 0xFF;
        else if (f->struck == BOARD_FLASH_STUCK)
            keep = stuck_bits(b, operation_addr(b) + i);
        else if (f->struck == BOARD_FLASH_WEAK)
            keep = (uint8_t)(few_bits(&f->failure.seed) | (weak / 8 == i ? 1U << weak % 8 : 0));
        now[i] = (uint8_t)((old[i] & keep) | (now[i] & ~keep));
    }
}

static uint64_t duration(const struct board *b)
{
    bool erase = b->fpec.size > 2;
    return erase ? times[b->config.timing].erase : times[b->config.timing].halfword;
}

static void cut(struct board *b)
{
    static const uint8_t halves[] = {[BOARD_TORN_NOT_BEGUN] = 0,
        [BOARD_TORN_HALF] = 1,
        [BOARD_TORN_RANDOM] = 1,
        [BOARD_TORN_DONE] = 2,
        [BOARD_TORN_MARGINAL] = 1};
    if (b->cut_torn == BOARD_TORN_MARGINAL)
        leave_marginal(b);
    else
        tear(b, b->cut_torn, &b->cut_random);
    board_log(
        b, "power is cut in flash operation %llu", (unsigned long long)b->counts.flash_operations);
    board_cut(b, board_now(b) + duration(b) * halves[b->cut_torn] / 2);
}

static void trace(struct board *b)
{
    const struct flash_state *f = &b->fpec;
    uint32_t addr = operation_addr(b);
    const uint8_t *now = cells(b) + f->offset;
    if (!board_tracing(b, BOARD_TRACE_FLASH))
        return;
    if (f->size == 2)
        board_trace(b, "flash program %08x <- %02x%02x", (unsigned)addr, now[1], now[0]);
    else
        board_trace(b, "flash erase %08x, %u bytes", (unsigned)addr, (unsigned)f->size);
}

/* Which cells the next operation is about. */
static void aim(struct board *b, bool of_options, uint32_t offset, uint32_t size)
{
    b->fpec.of_options = of_options;
    b->fpec.offset = offset;
    b->fpec.size = size;
}

static void update_irq(struct board *b)
{
    const struct flash_state *f = &b->fpec;
    bool level = (f->cr & CR_EOPIE && f->sr & SR_EOP) ||
                 (f->cr & CR_ERRIE && f->sr & (SR_PGERR | SR_WRPRTERR));
    board_irq(b, IRQ_FLASH, level);
}

static void refuse(struct board *b, uint32_t flag)
{
    b->fpec.sr |= flag;
    update_irq(b);
}

static void count_operation(struct board *b)
{
    const struct flash_state *f = &b->fpec;
    uint32_t page = b->part->page_size;
    b->counts.flash_operations++;
    if (f->size == 2)
        b->counts.halfwords++;
    else if (f->of_options)
        b->counts.option_erases++;
    else if (f->size == page)
        b->counts.page_erases++;
    else
        b->counts.mass_erases++;
    if (!f->of_options)
        for (uint32_t i = 0; i < f->size / page; i++)
            b->fpec.wear[f->offset / page + i]++;
}

/* Begins the operation on the cells aimed at: value, or an erase. */
static void begin(struct board *b, uint16_t value)
{
    struct flash_state *f = &b->fpec;
    uint8_t *now = cells(b) + f->offset;
    bool stood = vector_stands(b);
    f->struck = strike(b);
    if (f->struck == BOARD_FLASH_WRPRTERR || f->struck == BOARD_FLASH_PGERR) {
        refuse(b, f->struck == BOARD_FLASH_PGERR ? SR_PGERR : SR_WRPRTERR);
        return;
    }
    count_operation(b);
    memcpy(b->undo + f->offset, now, f->size);
    if (f->size == 2) {
        now[0] = (uint8_t)value;
        now[1] = (uint8_t)(value >> 8);
    } else {
        memset(now, 0xFF, f->size);
    }
    if (f->struck != BOARD_FLASH_GOOD)
        spoil(b);
    cells_changed(b);
    trace(b);
    if (stood && !vector_stands(b) && !f->open) {
        f->open = true;
        f->open_since = board_now(b);
        b->counts.page0_windows++;
    }
    if (b->cut_after && --b->cut_after == 0) {
        cut(b);
        return;
    }
    f->busy = true;
    f->busy_is_late = false;
    f->end = board_now(b) + duration(b);
    if (f->struck == BOARD_FLASH_BUSY)
        f->end = f->failure.busy_ns == BOARD_FOR_EVER ? NEVER : f->end + f->failure.busy_ns;
    board_set_deadline(b, &flash_device, f->end);
    flash_clock_changed(b);
}

static void begin_erase(struct board *b, bool of_options, uint32_t offset, uint32_t size)
{
    aim(b, of_options, offset, size);
    begin(b, 0);
}

static void flash_tick(struct board *b, const struct device *d)
{
    (void)d;
    struct flash_state *f = &b->fpec;
    f->busy = false;
    b->bus.flash_busy_until = 0;
    decide_all(b);
    if (f->open && vector_stands(b))
        close_window(b);
    if (f->then_option) {
        f->then_option = false;
        aim(b, true, f->then_offset, 2);
        begin(b, f->then_value);
        return;
    }
    f->cr &= ~(uint32_t)CR_STRT;
    f->sr |= SR_EOP;
    update_irq(b);
}

void flash_clock_changed(struct board *b)
{
    if (!b->fpec.busy)
        return;
    /* The first cycle count at which the end is reached. */
    uint64_t left = b->fpec.end - board_now(b), hz = board_hclk_hz(b);
    uint64_t cycles = left / BOARD_S * hz + (left % BOARD_S * hz + BOARD_S - 1) / BOARD_S;
    b->bus.flash_busy_until = board_cycles(b) + cycles;
}

/* A reset in the middle leaves anything. */
static void interrupt_operation(struct board *b)
{
    if (!b->fpec.busy)
        return;
    uint64_t random = board_random(b);
    tear(b, BOARD_TORN_RANDOM, &random);
    b->fpec.busy = false;
    b->fpec.then_option = false;
    b->bus.flash_busy_until = 0;
    board_log(b, "a flash operation was interrupted: the cells it was about hold anything");
}

void flash_lose_power(struct board *b)
{
    interrupt_operation(b);
    close_window(b);
}

/* --- who may --------------------------------------------------------------------------------- */

static bool read_protected(const struct board *b)
{
    return b->fpec.obr & OBR_RDPRT;
}

static bool wrpr_protects(const struct board *b, uint32_t offset)
{
    uint32_t bit = offset / WRP_UNIT;
    if (bit > 31)
        bit = 31; /* high density: the last bit has all the rest (PM0075 table 9) */
    return !(b->fpec.wrpr >> bit & 1);
}

static bool runs_from_flash(const struct board *b)
{
    uint32_t pc = b->cpu.pc;
    return pc - FLASH_BASE < flash_size(b) || (b->bus.alias_flash && pc < flash_size(b));
}

/* Page erase and programming (PM0075 §2.4). */
static bool write_protected(const struct board *b, uint32_t offset)
{
    if (wrpr_protects(b, offset))
        return true;
    return read_protected(b) && (offset < RDP_PROTECTED_SIZE || !runs_from_flash(b));
}

static bool anything_protected(const struct board *b)
{
    for (uint32_t at = 0; at < flash_size(b); at += WRP_UNIT)
        if (wrpr_protects(b, at))
            return true;
    return false;
}

/* --- programming -------------------------------------------------------------------------------- */

static bool one_of(uint32_t modes)
{
    return modes && !(modes & (modes - 1));
}

/* What every operation needs. */
static bool conditions_hold(struct board *b, uint32_t addr)
{
    if (!one_of(b->fpec.cr & CR_MODES)) {
        board_break_rule(b, addr,
            "FLASH_CR 0x%04x: exactly one of PG, PER, MER, OPTPG, OPTER may be "
            "set at an operation (PM0075 §2.3)",
            (unsigned)b->fpec.cr);
        return false;
    }
    if (!rcc_hsi_runs(b)) {
        board_break_rule(b, addr, "flash operation with HSI off: FPEC needs it (PM0075 §1)");
        return false;
    }
    return true;
}

/* The common part of stores to main flash and option bytes: true if programming is next. */
static bool may_program(
    struct board *b, uint32_t addr, unsigned size, uint32_t mode, const char *mode_name)
{
    const struct flash_state *f = &b->fpec;
    if (f->busy) {
        board_break_rule(b, addr, "store to flash while BSY is set: wait for it (PM0075 §2.3.3)");
        return false;
    }
    if (!(f->cr & mode) || f->cr & CR_LOCK) {
        board_break_rule(b, addr,
            "store to flash with %s: not a programming operation "
            "(PM0075 §2.3.3)",
            f->cr & CR_LOCK ? "LOCK set" : mode_name);
        board_bus_fault(b);
        return false;
    }
    if (size != 2) {
        board_break_rule(b, addr, "%s store to flash with PG set: only half-words (PM0075 §2.3.3)",
            size == 1 ? "byte" : "word");
        board_bus_fault(b);
        return false;
    }
    return conditions_hold(b, addr);
}

void flash_store(struct board *b, uint32_t addr, unsigned size, uint32_t value)
{
    uint32_t offset = addr - FLASH_BASE;
    if (offset >= flash_size(b)) {
        board_break_rule(
            b, addr, "store to flash through the alias at 0: use 0x08000000 (PM0075 §2.1)");
        board_bus_fault(b);
        return;
    }
    if (!may_program(b, addr, size, CR_PG, "PG clear"))
        return;
    b->fpec.ar = addr;
    uint16_t found = (uint16_t)(b->flash[offset] | b->flash[offset + 1] << 8);
    if (write_protected(b, offset)) {
        refuse(b, SR_WRPRTERR);
    } else if (found != 0xFFFF && (value & 0xFFFF) != 0) {
        refuse(b, SR_PGERR);
    } else {
        aim(b, false, offset, 2);
        begin(b, (uint16_t)value);
    }
}

/* The value is in the low byte; FPEC makes the complement (PM0075 §2.3.5). */
void flash_store_option(struct board *b, uint32_t addr, unsigned size, uint32_t value)
{
    struct flash_state *f = &b->fpec;
    uint32_t offset = addr - OPTION_BASE;
    if (!may_program(b, addr, size, CR_OPTPG, "OPTPG clear"))
        return;
    if (!(f->cr & CR_OPTWRE)) {
        board_break_rule(b, addr, "store to the option bytes with OPTWRE clear (PM0075 §2.3.5)");
        return;
    }
    f->ar = addr;
    if (f->option[offset] != 0xFF || f->option[offset + 1] != 0xFF) {
        refuse(b, SR_PGERR);
        return;
    }
    uint16_t cell = (uint16_t)((value & 0xFF) | (~value & 0xFF) << 8);
    if (offset == 0 && (value & 0xFF) == 0xA5 && read_protected(b)) {
        /* Removing the read protection costs the contents (PM0075 §2.4.1). */
        board_log(b, "read protection is being removed: mass erase");
        f->then_offset = offset;
        f->then_value = cell;
        begin_erase(b, false, 0, flash_size(b));
        f->then_option = f->busy; /* else it was refused */
        return;
    }
    aim(b, true, offset, 2);
    begin(b, cell);
}

static void start(struct board *b)
{
    struct flash_state *f = &b->fpec;
    uint32_t addr = flash_device.base + CR, offset = f->ar - FLASH_BASE;
    if (!conditions_hold(b, addr))
        return;
    switch (f->cr & CR_MODES) {
    case CR_PER:
        if (offset >= flash_size(b)) {
            board_break_rule(b, f->ar, "page erase outside of flash (PM0075 §2.3.4)");
            return;
        }
        if (write_protected(b, offset)) {
            refuse(b, SR_WRPRTERR);
            return;
        }
        begin_erase(b, false, offset - offset % b->part->page_size, b->part->page_size);
        break;
    case CR_MER:
        if (anything_protected(b)) {
            refuse(b, SR_WRPRTERR);
            return;
        }
        begin_erase(b, false, 0, flash_size(b));
        break;
    case CR_OPTER:
        if (!(f->cr & CR_OPTWRE)) {
            board_break_rule(
                b, addr, "erase of the option bytes with OPTWRE clear (PM0075 §2.3.5)");
            return;
        }
        begin_erase(b, true, 0, OPTION_SIZE);
        break;
    default:
        board_break_rule(
            b, addr, "STRT with PG or OPTPG set: it starts erases only (PM0075 §2.3.4)");
        return;
    }
    if (!f->busy) /* it was refused */
        return;
    f->cr |= CR_STRT;
    f->busy_is_late = true;
    f->begun_at_insn = b->cpu.instructions;
}

/* --- registers ---------------------------------------------------------------------------------- */

/* A wrong key locks until reset and is a bus error (PM0075 §2.3.2). */
static void take_key(struct board *b, enum flash_key *key, uint32_t value, uint32_t addr)
{
    if (*key == KEY_LOCKED && value == KEY1) {
        *key = KEY_FIRST;
    } else if (*key == KEY_FIRST && value == KEY2) {
        *key = KEY_OPEN;
    } else if (*key == KEY_OPEN) {
        board_break_rule(b, addr, "key written although unlocked: test LOCK (PM0075 §2.3.2)");
    } else {
        *key = KEY_DEAD;
        board_break_rule(b, addr, "wrong key 0x%08x: flash is locked until reset (PM0075 §2.3.2)",
            (unsigned)value);
        board_bus_fault(b);
    }
}

static void write_key(struct board *b, uint32_t value)
{
    struct flash_state *f = &b->fpec;
    take_key(b, &f->key, value, flash_device.base + KEYR);
    if (f->key == KEY_OPEN)
        f->cr &= ~(uint32_t)CR_LOCK;
}

static void write_option_key(struct board *b, uint32_t value)
{
    struct flash_state *f = &b->fpec;
    uint32_t addr = flash_device.base + OPTKEYR;
    if (f->cr & CR_LOCK) {
        board_break_rule(b, addr, "OPTKEYR written while LOCK is set (PM0075 §2.3.5)");
        return;
    }
    take_key(b, &f->option_key, value, addr);
    if (f->option_key == KEY_OPEN)
        f->cr |= CR_OPTWRE;
}

static void write_cr(struct board *b, uint32_t value)
{
    struct flash_state *f = &b->fpec;
    uint32_t addr = flash_device.base + CR;
    if (f->busy) {
        board_break_rule(b, addr, "FLASH_CR written while BSY is set: no effect (PM0075 §2.3.3)");
        return;
    }
    if (f->cr & CR_LOCK) {
        if ((value | CR_LOCK) != f->cr)
            board_break_rule(
                b, addr, "FLASH_CR written while LOCK is set: no effect (PM0075 §2.3.2)");
        return;
    }
    const uint32_t plain = CR_MODES | CR_ERRIE | CR_EOPIE;
    if (!(value & CR_OPTWRE)) {
        f->cr &= ~(uint32_t)CR_OPTWRE;
        if (f->option_key == KEY_OPEN)
            f->option_key = KEY_LOCKED;
    }
    f->cr = (f->cr & ~plain) | (value & plain);
    if (value & CR_STRT)
        start(b);
    if (value & CR_LOCK) {
        f->cr |= CR_LOCK;
        f->key = KEY_LOCKED;
    }
    update_irq(b);
}

static void write_acr(struct board *b, uint32_t value)
{
    struct flash_state *f = &b->fpec;
    uint32_t addr = flash_device.base + ACR, sysclk = rcc_sysclk_hz(b);
    bool divided = board_hclk_hz(b) != sysclk;
    if ((value ^ f->acr) & ACR_PRFTBE && (sysclk >= 24000000 || divided))
        board_break_rule(b, addr,
            "prefetch switched at SYSCLK %u Hz, HCLK %u Hz: only below 24 MHz and undivided "
            "(PM0075 §2.2)",
            (unsigned)sysclk, (unsigned)board_hclk_hz(b));
    if (value & ~f->acr & ACR_HLFCYA && (sysclk >= 8000000 || divided))
        board_break_rule(b, addr, "half-cycle access at 8 MHz or more (PM0075 §2.2)");
    f->acr = value & 0x1F;
    if (f->acr & ACR_PRFTBE)
        f->acr |= ACR_PRFTBS;
    b->bus.flash_wait = f->acr & ACR_LATENCY;
    flash_check_latency(b);
}

void flash_check_latency(struct board *b)
{
    uint32_t sysclk = rcc_sysclk_hz(b), addr = flash_device.base + ACR;
    uint32_t need = sysclk > 48000000 ? 2 : sysclk > 24000000 ? 1 : 0;
    uint32_t have = b->fpec.acr & ACR_LATENCY;
    if (have < need || have > 2)
        board_break_rule(b, addr, "%u wait states at SYSCLK %u Hz: %u needed (PM0075 §3.1)",
            (unsigned)have, (unsigned)sysclk, (unsigned)need);
    if (board_hclk_hz(b) != sysclk && !(b->fpec.acr & ACR_PRFTBE))
        board_break_rule(b, addr, "prefetch off with an AHB prescaler (PM0075 §2.2)");
}

static uint32_t flash_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    const struct flash_state *f = &b->fpec;
    if (size != 4)
        board_break_rule(b, d->base + offset,
            "%u-byte access to the flash registers: words only "
            "(PM0075 §3)",
            size);
    /* Erratum: BSY rises one cycle after STRT, so the very next instruction does not see it. */
    bool seen = f->busy && !(f->busy_is_late && b->cpu.instructions - f->begun_at_insn < 2);
    switch (offset) {
    case ACR:
        return f->acr;
    case SR:
        return f->sr | (seen ? SR_BSY : 0);
    case CR:
        return f->cr;
    case OBR:
        return f->obr;
    case WRPR:
        return f->wrpr;
    default:
        return 0; /* KEYR, OPTKEYR, AR are write-only */
    }
}

static void flash_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    struct flash_state *f = &b->fpec;
    if (size != 4)
        board_break_rule(b, d->base + offset,
            "%u-byte access to the flash registers: words only "
            "(PM0075 §3)",
            size);
    switch (offset) {
    case ACR:
        write_acr(b, value);
        break;
    case KEYR:
        write_key(b, value);
        break;
    case OPTKEYR:
        write_option_key(b, value);
        break;
    case SR: /* write 1 to clear */
        f->sr &= ~(value & (SR_PGERR | SR_WRPRTERR | SR_EOP));
        update_irq(b);
        break;
    case CR:
        write_cr(b, value);
        break;
    case AR:
        if (f->busy)
            board_break_rule(b, d->base + AR,
                "FLASH_AR written while BSY is set: no effect "
                "(PM0075 §3.6)");
        else
            f->ar = value;
        break;
    default:
        break;
    }
}

/* --- option byte loader ------------------------------------------------------------------------- */

/* A byte counts only with its complement (PM0075 §2.3.5); both 0xFF is the erased state. */
static uint32_t option_byte(struct board *b, unsigned index)
{
    const uint8_t *pair = b->fpec.option + index * 2;
    if ((pair[0] ^ pair[1]) == 0xFF)
        return pair[0];
    if (pair[0] != 0xFF || pair[1] != 0xFF)
        b->fpec.obr |= OBR_OPTERR;
    return 0xFF;
}

static void load_options(struct board *b)
{
    struct flash_state *f = &b->fpec;
    f->obr = 0;
    f->wrpr = 0;
    bool open = option_byte(b, 0) == 0xA5;
    f->obr |= open ? 0 : OBR_RDPRT;
    f->obr |= option_byte(b, 1) << 2 | option_byte(b, 2) << 10 | option_byte(b, 3) << 18;
    for (unsigned i = 0; i < 4; i++)
        f->wrpr |= option_byte(b, 4 + i) << i * 8;
}

static void flash_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    (void)kind;
    struct flash_state *f = &b->fpec;
    interrupt_operation(b);
    f->then_option = false;
    f->acr = 0x30;
    f->cr = CR_LOCK;
    f->sr = 0;
    f->ar = 0;
    f->key = f->option_key = KEY_LOCKED;
    b->bus.flash_wait = 0;
    load_options(b);
}

const struct device flash_device = {
    .name = "FLASH",
    .base = UINT32_C(0x40022000),
    .size = 0x400,
    .read = flash_read,
    .write = flash_write,
    .reset = flash_reset,
    .tick = flash_tick,
    .regs = regs,
    .reg_count = sizeof regs / sizeof regs[0],
};
