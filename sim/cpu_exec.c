/* SPDX-License-Identifier: MIT */
/*
 * The executor: memory, instructions and the run loop.
 *
 * The loop has a fast path of one comparison: as long as cpu->cycles is below cpu->next_event,
 * nothing can happen but the next instruction. Whatever may change that (a pended interrupt, a
 * mask, a deadline, a stop) lowers next_event, and service() looks at everything in one place.
 *
 * An instruction that cannot complete is left by longjmp to cpu_run(). So that it can be begun
 * again, every operation does all its bus accesses before it writes a register.
 */
#include "sim/cpu_insn.h"

#include <stdlib.h>
#include <string.h>

enum {
    RAM_BASE = 0x20000000,

    CYCLES_TAKEN_BRANCH = 2, /* refilling the pipeline */

    LOADED_FROM_NOWHERE = 0x0BADF00D, /* what a load gets that fails and goes on */

    LEFT_BY_FAULT = 1, /* a handler was entered */
    LEFT_TO_RETRY = 2, /* the instruction has not happened */
};

/* ---- leaving an instruction -------------------------------------------------------------------*/

/* As if the present instruction had not begun. */
static _Noreturn void retry(struct cpu *cpu, struct cpu_bus *bus)
{
    cpu->it = cpu->it_now;
    cpu->next_pc = cpu->pc;
    cpu->next_event = 0;
    longjmp(*bus->fault_exit, LEFT_TO_RETRY);
}

static _Noreturn void wait_for_flash(struct cpu *cpu, struct cpu_bus *bus)
{
    cpu->stalled = true;
    retry(cpu, bus);
}

/* The present instruction faults. */
static _Noreturn NOINLINE void fault(
    struct cpu *cpu, struct cpu_bus *bus, unsigned exception, uint32_t cfsr)
{
    if (cpu_flash_stalls(cpu, bus, cpu->vtor))
        wait_for_flash(cpu, bus);
    cpu->cfsr |= cfsr;
    cpu->it = cpu->it_now;
    cpu_take_fault(cpu, bus, exception);
    longjmp(*bus->fault_exit, LEFT_BY_FAULT);
}

static _Noreturn void usage_fault(struct cpu *cpu, struct cpu_bus *bus, uint32_t cfsr)
{
    fault(cpu, bus, EXC_USAGE_FAULT, cfsr);
}

/* ---- memory -----------------------------------------------------------------------------------*/

static inline uint32_t get(const uint8_t *p, unsigned size)
{
    uint32_t word;
    uint16_t half;

    switch (size) {
    case 4:
        memcpy(&word, p, 4);
        return word;
    case 2:
        memcpy(&half, p, 2);
        return half;
    default:
        return *p;
    }
}

static inline void put(uint8_t *p, unsigned size, uint32_t value)
{
    uint16_t half = (uint16_t)value;

    switch (size) {
    case 4:
        memcpy(p, &value, 4);
        return;
    case 2:
        memcpy(p, &half, 2);
        return;
    default:
        *p = (uint8_t)value;
    }
}

/* Where [addr, addr + size) lies in RAM; NULL when it does not, or not wholly. */
static inline uint8_t *ram_at(const struct cpu_bus *bus, uint32_t addr, unsigned size)
{
    uint32_t offset = addr - RAM_BASE;
    return LIKELY(offset <= bus->ram_size - size) ? bus->ram + offset : NULL;
}

/* The same for flash and its alias. */
static inline const uint8_t *flash_at(const struct cpu_bus *bus, uint32_t addr, unsigned size)
{
    uint32_t offset = addr - bus->flash_base;
    if (offset > bus->flash_size - size && bus->alias_flash)
        offset = addr;
    return offset <= bus->flash_size - size ? bus->flash + offset : NULL;
}

static inline bool flash_busy(const struct cpu *cpu, const struct cpu_bus *bus)
{
    return UNLIKELY(bus->flash_busy_until > cpu->cycles);
}

bool cpu_flash_stalls(const struct cpu *cpu, const struct cpu_bus *bus, uint32_t addr)
{
    return flash_busy(cpu, bus) && flash_at(bus, addr, 2);
}

/* The board has been called: what has it changed that the fast path must know? */
static void after_board(struct cpu *cpu, struct cpu_bus *bus)
{
    if (bus->stop)
        cpu->next_event = 0;
    else if (bus->board_event < cpu->next_event)
        cpu->next_event = bus->board_event;
    if (flash_busy(cpu, bus))
        bus->fetch_limit = 0;
}

/* DDI 0337 §4.2: a word in 0x22000000 or 0x42000000 (32 MB each) for each bit of the megabyte at
 * 0x20000000 or 0x40000000. */
static bool is_bit_band(uint32_t addr)
{
    return addr >> 25 == 0x11 || addr >> 25 == 0x21;
}

/* The access of the same size that holds the bit, and the bit's place in it. */
static uint32_t bit_band_target(uint32_t addr, unsigned size, unsigned *bit)
{
    *bit = addr >> 2 & (size * 8 - 1);
    return ((addr & 0xe0000000) | (addr & 0x01ffffff) >> 5) & ~(size - 1);
}

static bool is_ppb(uint32_t addr)
{
    return addr >> 18 == 0xe0000000 >> 18;
}

/* A read that is not unaligned, unless in RAM or flash. False: bus error. */
static bool read_once(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size, uint32_t *value)
{
    const uint8_t *ram = ram_at(bus, addr, size), *flash = flash_at(bus, addr, size);
    bool error = false;

    *value = 0;
    if (ram) {
        *value = get(ram, size);
    } else if (flash) {
        if (flash_busy(cpu, bus))
            cpu->cycles = bus->flash_busy_until;
        *value = get(flash, size);
    } else if (is_bit_band(addr)) {
        unsigned bit;
        uint32_t target = bit_band_target(addr, size, &bit);
        error = !read_once(cpu, bus, target, size, value);
        *value = *value >> bit & 1;
    } else if (is_ppb(addr)) {
        error = !cpu_ppb_read(cpu, addr, size, value);
    } else {
        *value = bus->read(bus->context, addr, size, &error);
        if (size < 4)
            *value &= (1u << size * 8) - 1;
        after_board(cpu, bus);
    }
    return !error;
}

static bool write_once(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size, uint32_t value)
{
    uint8_t *ram = ram_at(bus, addr, size);
    bool error = false;

    if (bus->stop) /* the machine has stopped: nothing reaches the bus any more */
        return true;
    if (ram) {
        put(ram, size, value);
    } else if (is_bit_band(addr)) {
        unsigned bit;
        uint32_t target = bit_band_target(addr, size, &bit), old;
        error = !read_once(cpu, bus, target, size, &old) ||
                !write_once(cpu, bus, target, size, (old & ~(1u << bit)) | (value & 1) << bit);
    } else if (is_ppb(addr)) {
        error = !cpu_ppb_write(cpu, addr, size, value);
    } else {
        (flash_at(bus, addr, size) ? bus->flash_write : bus->write)(
            bus->context, addr, size, value, &error);
        after_board(cpu, bus);
    }
    return !error;
}

/* The first of the aligned accesses that the bus matrix makes of an unaligned one. */
static unsigned first_part(uint32_t addr, unsigned left)
{
    return addr & 1 || left < 2 ? 1 : 2;
}

bool cpu_try_read(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size, uint32_t *value)
{
    if (!(addr & (size - 1)))
        return read_once(cpu, bus, addr, size, value);
    *value = 0;
    for (unsigned done = 0; done < size;) {
        unsigned part = first_part(addr + done, size - done);
        uint32_t some;
        if (!read_once(cpu, bus, addr + done, part, &some))
            return false;
        *value |= some << done * 8;
        done += part;
    }
    return true;
}

bool cpu_try_write(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size, uint32_t value)
{
    if (!(addr & (size - 1)))
        return write_once(cpu, bus, addr, size, value);
    for (unsigned done = 0; done < size;) {
        unsigned part = first_part(addr + done, size - done);
        uint32_t some = value >> done * 8;
        if (part < 4)
            some &= (1u << part * 8) - 1;
        if (!write_once(cpu, bus, addr + done, part, some))
            return false;
        done += part;
    }
    return true;
}

/* B3.2.8, PM0056 §4.4.6: with CCR.BFHFNMIGN what runs at negative priority (NMI, HardFault,
 * FAULTMASK) goes on; only the status bits tell. */
static bool goes_on(const struct cpu *cpu)
{
    return cpu->ccr & CCR_BFHFNMIGN && cpu_execution_priority(cpu) < 0;
}

static void data_bus_error(struct cpu *cpu, struct cpu_bus *bus, uint32_t addr)
{
    cpu->bfar = addr;
    if (goes_on(cpu))
        cpu->cfsr |= CFSR_PRECISERR | CFSR_BFARVALID;
    else
        fault(cpu, bus, EXC_BUS_FAULT, CFSR_PRECISERR | CFSR_BFARVALID);
}

static NOINLINE uint32_t load_slowly(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size)
{
    uint32_t value;
    if (!cpu_try_read(cpu, bus, addr, size, &value)) {
        data_bus_error(cpu, bus, addr);
        value = LOADED_FROM_NOWHERE & UINT32_MAX >> (32 - size * 8);
    }
    return value;
}

/* A store outside of the core waits in the write buffer (DDI 0337 §1.2): its error comes when the core
 * is past it. Where that is taken at once, this core is kinder and tells which store it was; where
 * the core goes on it is not: the fault waits until priorities allow it. */
static NOINLINE void store_slowly(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size, uint32_t value)
{
    if (cpu_try_write(cpu, bus, addr, size, value))
        return;
    if (goes_on(cpu) && !is_ppb(addr))
        cpu_pend_bus_fault(cpu);
    else
        data_bus_error(cpu, bus, addr);
}

static inline void check_alignment(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size, bool always)
{
    if (UNLIKELY(addr & (size - 1)) && (always || cpu->ccr & CCR_UNALIGN_TRP))
        usage_fault(cpu, bus, CFSR_UNALIGNED);
}

static ALWAYS_INLINE uint32_t load(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size)
{
    check_alignment(cpu, bus, addr, size, false);
    const uint8_t *p = ram_at(bus, addr, size);
    if (LIKELY(p != NULL))
        return get(p, size);
    p = flash_at(bus, addr, size);
    if (UNLIKELY(p == NULL))
        return load_slowly(cpu, bus, addr, size);
    if (flash_busy(cpu, bus))
        wait_for_flash(cpu, bus);
    return get(p, size);
}

static ALWAYS_INLINE void store(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size, uint32_t value)
{
    check_alignment(cpu, bus, addr, size, false);
    uint8_t *p = ram_at(bus, addr, size);
    if (LIKELY(p != NULL))
        put(p, size, value);
    else
        store_slowly(cpu, bus, addr, size, value);
}

/* ---- flags, shifts, registers -----------------------------------------------------------------*/

static inline void set_nz(struct cpu *cpu, uint32_t x)
{
    cpu->n = x >> 31;
    cpu->z = x == 0;
}

/* A2.2.1 AddWithCarry. */
static inline uint32_t add(struct cpu *cpu, uint32_t a, uint32_t b, uint32_t carry, bool set)
{
    uint64_t sum = (uint64_t)a + b + carry;
    uint32_t x = (uint32_t)sum;
    if (set) {
        set_nz(cpu, x);
        cpu->c = (uint32_t)(sum >> 32);
        cpu->v = (~(a ^ b) & (a ^ x)) >> 31;
    }
    return x;
}

/* A2.2.1 Shift_C. amount is 0 … 255; *carry is the carry before, then the carry out. */
static inline uint32_t shift(uint32_t x, unsigned type, unsigned amount, uint32_t *carry)
{
    uint32_t in = *carry;

    if (amount == 0)
        return x;
    switch (type) {
    case SHIFT_LSL:
        *carry = amount < 33 ? x >> (32 - amount) & 1 : 0;
        return amount < 32 ? x << amount : 0;
    case SHIFT_LSR:
        *carry = amount < 33 ? x >> (amount - 1) & 1 : 0;
        return amount < 32 ? x >> amount : 0;
    case SHIFT_ASR:
        if (amount > 31) {
            *carry = x >> 31;
            return 0 - *carry;
        }
        *carry = x >> (amount - 1) & 1;
        return x >> amount | (x >> 31 ? ~(UINT32_MAX >> amount) : 0);
    case SHIFT_ROR:
        amount &= 31;
        if (amount)
            x = x >> amount | x << (32 - amount);
        *carry = x >> 31;
        return x;
    default: /* SHIFT_RRX */
        *carry = x & 1;
        return in << 31 | x >> 1;
    }
}

/* A7.3.1 ConditionPassed. */
static inline bool passes(const struct cpu *cpu, unsigned condition)
{
    bool truth;

    switch (condition >> 1) {
    case 0:
        truth = cpu->z;
        break;
    case 1:
        truth = cpu->c;
        break;
    case 2:
        truth = cpu->n;
        break;
    case 3:
        truth = cpu->v;
        break;
    case 4:
        truth = cpu->c && !cpu->z;
        break;
    case 5:
        truth = cpu->n == cpu->v;
        break;
    case 6:
        truth = cpu->n == cpu->v && !cpu->z;
        break;
    default:
        return true;
    }
    return truth != (condition & 1);
}

/* SP's two low bits read as zero whatever is written. */
static inline void set_register(struct cpu *cpu, unsigned number, uint32_t x)
{
    cpu->r[number] = UNLIKELY(number == 13) ? x & ~3u : x;
}

/* ---- branches ---------------------------------------------------------------------------------*/

static inline uint32_t branch(struct cpu *cpu, const struct cpu_bus *bus, uint32_t target)
{
    cpu->cycles += CYCLES_TAKEN_BRANCH + (target < RAM_BASE ? bus->flash_wait : 0);
    return target & ~1u;
}

/* BX and loads of PC: bit 0 is the new T, and in handler mode 0xF… ends an exception. */
static inline uint32_t branch_exchange(struct cpu *cpu, struct cpu_bus *bus, uint32_t target)
{
    if (UNLIKELY(target >= 0xf0000000) && cpu->ipsr) {
        cpu_exception_return(cpu, bus, target);
        return cpu->next_pc;
    }
    cpu->t = target & 1;
    if (UNLIKELY(!cpu->t))
        cpu->next_event = 0; /* INVSTATE, before the next instruction */
    return branch(cpu, bus, target);
}

/* ---- instructions -----------------------------------------------------------------------------*/

static ALWAYS_INLINE void alu(struct cpu *cpu, const struct cpu_insn *i, bool set, enum cpu_alu op,
    uint32_t b, uint32_t carry)
{
    uint32_t a = cpu->r[i->rn], x = 0;

    switch (op) {
    case ALU_AND:
    case ALU_TST:
        x = a & b;
        break;
    case ALU_BIC:
        x = a & ~b;
        break;
    case ALU_ORR:
        x = a | b;
        break;
    case ALU_ORN:
        x = a | ~b;
        break;
    case ALU_EOR:
    case ALU_TEQ:
        x = a ^ b;
        break;
    case ALU_MOV:
        x = b;
        break;
    case ALU_MVN:
        x = ~b;
        break;
    case ALU_ADD:
    case ALU_CMN:
        x = add(cpu, a, b, 0, set);
        break;
    case ALU_ADC:
        x = add(cpu, a, b, cpu->c, set);
        break;
    case ALU_SBC:
        x = add(cpu, a, ~b, cpu->c, set);
        break;
    case ALU_SUB:
    case ALU_CMP:
        x = add(cpu, a, ~b, 1, set);
        break;
    case ALU_RSB:
        x = add(cpu, ~a, b, 1, set);
        break;
    }
    if (op <= ALU_TEQ && set) {
        set_nz(cpu, x);
        cpu->c = carry;
    }
    if (op != ALU_TST && op != ALU_TEQ && op != ALU_CMN && op != ALU_CMP)
        set_register(cpu, i->rd, x);
}

static ALWAYS_INLINE uint32_t load_extended(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size, bool is_signed)
{
    uint32_t x = load(cpu, bus, addr, size);
    if (is_signed)
        x = size == 1 ? (uint32_t)(int8_t)x : (uint32_t)(int16_t)x;
    return x;
}

/* Puts what was loaded into Rt. Returns the next PC. */
static ALWAYS_INLINE uint32_t put_loaded(
    struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i, uint32_t x, uint32_t next)
{
    if (UNLIKELY(i->rd == 15))
        return branch_exchange(cpu, bus, x);
    set_register(cpu, i->rd, x);
    return next;
}

static inline uint32_t pc_base(const struct cpu *cpu)
{
    return cpu->r[15] & ~3u;
}

static inline uint32_t index_address(const struct cpu *cpu, const struct cpu_insn *i)
{
    return cpu->r[i->rn] + (cpu->r[i->rm] << i->amount);
}

static void load_dual(struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i)
{
    uint32_t base = i->rn == 15 ? pc_base(cpu) : cpu->r[i->rn], moved = base + i->imm;
    uint32_t addr = i->how & HOW_BEFORE ? moved : base;

    check_alignment(cpu, bus, addr, 4, true);
    uint32_t first = load(cpu, bus, addr, 4), second = load(cpu, bus, addr + 4, 4);
    if (i->how & HOW_WRITE_BACK)
        set_register(cpu, i->rn, moved);
    cpu->r[i->rd] = first;
    cpu->r[i->ra] = second;
}

static void store_dual(struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i)
{
    uint32_t base = cpu->r[i->rn], moved = base + i->imm;
    uint32_t addr = i->how & HOW_BEFORE ? moved : base;

    check_alignment(cpu, bus, addr, 4, true);
    store(cpu, bus, addr, 4, cpu->r[i->rd]);
    if (!bus->stop)
        store(cpu, bus, addr + 4, 4, cpu->r[i->ra]);
    if (i->how & HOW_WRITE_BACK)
        set_register(cpu, i->rn, moved);
}

/* Returns the next PC. */
static inline uint32_t load_multiple(
    struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i, uint32_t next)
{
    uint32_t list = i->imm, base = cpu->r[i->rn];
    uint32_t size = (uint32_t)__builtin_popcount(list) * 4;
    uint32_t addr = i->how & HOW_BEFORE ? base - size : base;
    uint32_t loaded[16] = {0};
    unsigned n = 0;

    check_alignment(cpu, bus, addr, 4, true);
    for (uint32_t left = list; left; left &= left - 1)
        loaded[n] = load(cpu, bus, addr + n * 4, 4), n++;
    if (i->how & HOW_WRITE_BACK)
        set_register(cpu, i->rn, i->how & HOW_BEFORE ? addr : base + size);
    n = 0;
    for (uint32_t left = list & 0x7fff; left; left &= left - 1)
        set_register(cpu, (unsigned)__builtin_ctz(left), loaded[n++]);
    return list & 0x8000 ? branch_exchange(cpu, bus, loaded[n]) : next;
}

static inline void store_multiple(struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i)
{
    uint32_t list = i->imm, base = cpu->r[i->rn];
    uint32_t size = (uint32_t)__builtin_popcount(list) * 4;
    uint32_t addr = i->how & HOW_BEFORE ? base - size : base;
    uint32_t moved = i->how & HOW_BEFORE ? addr : base + size;

    check_alignment(cpu, bus, addr, 4, true);
    for (uint32_t left = list; left && !bus->stop; left &= left - 1, addr += 4)
        store(cpu, bus, addr, 4, cpu->r[__builtin_ctz(left)]);
    if (i->how & HOW_WRITE_BACK)
        set_register(cpu, i->rn, moved);
}

/* A3.4: a local monitor of one address. */
static void load_exclusive(struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i)
{
    uint32_t addr = cpu->r[i->rn] + i->imm;

    check_alignment(cpu, bus, addr, i->amount, true);
    cpu->r[i->rd] = load(cpu, bus, addr, i->amount);
    cpu->exclusive = true;
    cpu->exclusive_addr = addr;
}

static void store_exclusive(struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i)
{
    uint32_t addr = cpu->r[i->rn] + i->imm;
    bool mine = cpu->exclusive && cpu->exclusive_addr == addr;

    check_alignment(cpu, bus, addr, i->amount, true);
    if (mine)
        store(cpu, bus, addr, i->amount, cpu->r[i->rm]);
    cpu->exclusive = false;
    cpu->r[i->rd] = !mine;
}

/* The address of a load or store as if without privilege (A7.7.66): the system registers are out of
 * bounds for those (B3.1.1). There is no MPU that would forbid more. */
static uint32_t unprivileged_address(struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i)
{
    uint32_t addr = cpu->r[i->rn] + i->imm;

    check_alignment(cpu, bus, addr, i->amount, false);
    if (is_ppb(addr))
        data_bus_error(cpu, bus, addr);
    return addr;
}

static uint32_t load_unprivileged(struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i)
{
    uint32_t x = load(cpu, bus, unprivileged_address(cpu, bus, i), i->amount);
    unsigned unused = 32 - i->amount * 8u;
    return i->how & HOW_SIGNED ? (uint32_t)((int32_t)(x << unused) >> unused) : x;
}

static uint32_t table_branch(struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i)
{
    uint32_t base = cpu->r[i->rn], index = cpu->r[i->rm];
    uint32_t halfwords =
        i->amount ? load(cpu, bus, base + index * 2, 2) : load(cpu, bus, base + index, 1);
    return branch(cpu, bus, cpu->r[15] + halfwords * 2);
}

static uint32_t divide(struct cpu *cpu, struct cpu_bus *bus, uint32_t a, uint32_t b, bool is_signed)
{
    if (b == 0) {
        if (cpu->ccr & CCR_DIV_0_TRP)
            usage_fault(cpu, bus, CFSR_DIVBYZERO);
        return 0;
    }
    /* through 64 bits: -2^31 / -1 is -2^31 again */
    return is_signed ? (uint32_t)((int64_t)(int32_t)a / (int32_t)b) : a / b;
}

static uint32_t saturate(struct cpu *cpu, int64_t x, int64_t least, int64_t most)
{
    if (x < least || x > most) {
        cpu->q = 1;
        x = x < least ? least : most;
    }
    return (uint32_t)x;
}

/* What SSAT and USAT saturate. */
static int64_t shifted_signed(const struct cpu *cpu, const struct cpu_insn *i)
{
    uint32_t carry = 0;
    return (int32_t)shift(cpu->r[i->rn], i->shift, i->amount, &carry);
}

/* imm bits from bit amount up. */
static inline uint32_t field_mask(const struct cpu_insn *i)
{
    return UINT32_MAX >> (32 - i->imm) << i->amount;
}

static inline uint32_t extract(uint32_t x, const struct cpu_insn *i)
{
    return x << (32 - i->amount - i->imm);
}

static inline uint32_t rotate(uint32_t x, unsigned amount)
{
    return amount ? x >> amount | x << (32 - amount) : x;
}

static uint32_t reverse_bits(uint32_t x)
{
    x = (x >> 1 & 0x55555555) | (x & 0x55555555) << 1;
    x = (x >> 2 & 0x33333333) | (x & 0x33333333) << 2;
    x = (x >> 4 & 0x0f0f0f0f) | (x & 0x0f0f0f0f) << 4;
    return __builtin_bswap32(x);
}

static inline void put_long(struct cpu *cpu, const struct cpu_insn *i, uint64_t x)
{
    cpu->r[i->ra] = (uint32_t)x;
    cpu->r[i->rd] = (uint32_t)(x >> 32);
}

static inline uint64_t get_long(const struct cpu *cpu, const struct cpu_insn *i)
{
    return (uint64_t)cpu->r[i->rd] << 32 | cpu->r[i->ra];
}

static inline uint64_t multiply(uint32_t a, uint32_t b, bool is_signed)
{
    return is_signed ? (uint64_t)((int64_t)(int32_t)a * (int32_t)b) : (uint64_t)a * b;
}

/* B5.1.1: the numbers of the special registers. */
enum {
    SYSM_MSP = 8,
    SYSM_PSP = 9,
    SYSM_PRIMASK = 16,
    SYSM_BASEPRI = 17,
    SYSM_BASEPRI_MAX = 18,
    SYSM_FAULTMASK = 19,
    SYSM_CONTROL = 20,
};

/* The register that holds MSP or PSP now. */
static uint32_t *stack_pointer(struct cpu *cpu, unsigned sysm)
{
    bool process = cpu->control & CONTROL_SPSEL && !cpu->ipsr;
    return process == (sysm == SYSM_PSP) ? &cpu->r[13] : &cpu->other_sp;
}

/* B5.2.2. */
static uint32_t read_special(struct cpu *cpu, unsigned sysm)
{
    if (sysm < 8)
        return (sysm & 4 ? 0 : cpu_flags(cpu)) | (sysm & 1 ? cpu->ipsr : 0);
    if (sysm == SYSM_CONTROL)
        return cpu->control;
    if (!cpu_privileged(cpu))
        return 0;
    switch (sysm) {
    case SYSM_MSP:
    case SYSM_PSP:
        return *stack_pointer(cpu, sysm);
    case SYSM_PRIMASK:
        return cpu->primask;
    case SYSM_BASEPRI:
    case SYSM_BASEPRI_MAX:
        return cpu->basepri;
    case SYSM_FAULTMASK:
        return cpu->faultmask;
    default:
        return 0;
    }
}

static void set_faultmask(struct cpu *cpu, uint32_t value)
{
    if (!value || cpu_execution_priority(cpu) > -1)
        cpu->faultmask = value;
}

/* B5.2.3. which: mask in bits 11:10, SYSm in bits 7:0. */
static void write_special(struct cpu *cpu, uint32_t which, uint32_t value)
{
    unsigned sysm = which & 0xff;
    uint32_t priority = value & 0xf0;

    if (sysm < 4) {
        if (which & 0x800)
            cpu_set_flags(cpu, value);
        return;
    }
    if (!cpu_privileged(cpu))
        return;
    switch (sysm) {
    case SYSM_MSP:
    case SYSM_PSP:
        *stack_pointer(cpu, sysm) = value & ~3u;
        break;
    case SYSM_PRIMASK:
        cpu->primask = value & 1;
        break;
    case SYSM_BASEPRI:
        cpu->basepri = priority;
        break;
    case SYSM_BASEPRI_MAX:
        if (priority && (!cpu->basepri || priority < cpu->basepri))
            cpu->basepri = priority;
        break;
    case SYSM_FAULTMASK:
        set_faultmask(cpu, value & 1);
        break;
    case SYSM_CONTROL:
        cpu_set_control(cpu, value);
        break;
    default:
        break;
    }
    cpu_poke(cpu);
}

/* B5.2.1 CPS. imm: bit 4 disables, bit 1 PRIMASK, bit 0 FAULTMASK. */
static void change_state(struct cpu *cpu, uint32_t imm)
{
    uint32_t value = imm >> 4 & 1;

    if (!cpu_privileged(cpu))
        return;
    if (imm & 2)
        cpu->primask = value;
    if (imm & 1)
        set_faultmask(cpu, value);
    cpu_poke(cpu);
}

static void sleep_until(struct cpu *cpu, bool event)
{
    cpu->sleeping = true;
    cpu->sleeping_wfe = event;
    cpu->next_event = 0;
}

/* The three forms of a data-processing operation. */
#define ALU(name)                                                                                  \
    case OP_##name##_I:                                                                            \
        alu(cpu, i, set, ALU_##name, i->imm, i->carry == CARRY_KEPT ? cpu->c : i->carry);          \
        break;                                                                                     \
    case OP_##name##_R:                                                                            \
        alu(cpu, i, set, ALU_##name, r[i->rm], cpu->c);                                            \
        break;                                                                                     \
    case OP_##name##_S: {                                                                          \
        uint32_t carry = cpu->c, b = shift(r[i->rm], i->shift, i->amount, &carry);                 \
        alu(cpu, i, set, ALU_##name, b, carry);                                                    \
        break;                                                                                     \
    }

/* The four addressing forms of a load … */
#define LOAD(name, size, is_signed)                                                                \
    case OP_##name##_I:                                                                            \
        x = load_extended(cpu, bus, r[i->rn] + i->imm, size, is_signed);                           \
        next = put_loaded(cpu, bus, i, x, next);                                                   \
        break;                                                                                     \
    case OP_##name##_R:                                                                            \
        x = load_extended(cpu, bus, index_address(cpu, i), size, is_signed);                       \
        next = put_loaded(cpu, bus, i, x, next);                                                   \
        break;                                                                                     \
    case OP_##name##_L:                                                                            \
        x = load_extended(cpu, bus, pc_base(cpu) + i->imm, size, is_signed);                       \
        next = put_loaded(cpu, bus, i, x, next);                                                   \
        break;                                                                                     \
    case OP_##name##_X: {                                                                          \
        uint32_t base = r[i->rn], moved = base + i->imm;                                           \
        x = load_extended(cpu, bus, i->how & HOW_BEFORE ? moved : base, size, is_signed);          \
        set_register(cpu, i->rn, moved);                                                           \
        next = put_loaded(cpu, bus, i, x, next);                                                   \
        break;                                                                                     \
    }

/* … and of a store. There is none relative to PC. */
#define STORE(name, size)                                                                          \
    case OP_##name##_I:                                                                            \
        store(cpu, bus, r[i->rn] + i->imm, size, r[i->rd]);                                        \
        break;                                                                                     \
    case OP_##name##_R:                                                                            \
        store(cpu, bus, index_address(cpu, i), size, r[i->rd]);                                    \
        break;                                                                                     \
    case OP_##name##_X: {                                                                          \
        uint32_t base = r[i->rn], moved = base + i->imm;                                           \
        store(cpu, bus, i->how &HOW_BEFORE ? moved : base, size, r[i->rd]);                        \
        set_register(cpu, i->rn, moved);                                                           \
        break;                                                                                     \
    }

/* One instruction. next is the address after it; returns the next PC. */
static ALWAYS_INLINE uint32_t execute(
    struct cpu *cpu, struct cpu_bus *bus, const struct cpu_insn *i, uint32_t next)
{
    uint32_t *const r = cpu->r;
    uint8_t sets = HOW_FLAGS | HOW_FLAGS_OUTSIDE_IT;
    uint32_t x;

    cpu->it_now = cpu->it;
    if (UNLIKELY(cpu->it)) {
        /* Advanced before, not after: an exception return inside the block brings a new ITSTATE
         * that must stay as it is. */
        unsigned condition = cpu->it >> 4;
        cpu->it = cpu->it & 7 ? (cpu->it & 0xe0) | (cpu->it << 1 & 0x1f) : 0;
        sets = HOW_FLAGS;
        if (!passes(cpu, condition) && i->op != OP_BKPT) { /* BKPT ignores conditions: A7.7.17 */
            cpu->cycles++;
            return next;
        }
    }
    bool set = i->how & sets;
    cpu->cycles += i->cycles;

    switch (i->op) {
        // clang-format off
    CPU_ALU_OPS(ALU)
    LOAD(LDR, 4, false) LOAD(LDRB, 1, false) LOAD(LDRH, 2, false)
    LOAD(LDRSB, 1, true) LOAD(LDRSH, 2, true)
    STORE(STR, 4) STORE(STRB, 1) STORE(STRH, 2)
            // clang-format on

            case OP_SHIFT:
        {
            uint32_t carry = cpu->c;
            x = shift(r[i->rn], i->shift, r[i->rm] & 0xff, &carry);
            if (set) {
                set_nz(cpu, x);
                cpu->c = carry;
            }
            set_register(cpu, i->rd, x);
            break;
        }
    case OP_ADD_PC:
        next = branch(cpu, bus, r[15] + r[i->rm]);
        break;
    case OP_MOV_PC:
        next = branch(cpu, bus, r[i->rm]);
        break;
    case OP_ADR:
        r[i->rd] = pc_base(cpu) + i->imm;
        break;
    case OP_MOVT:
        r[i->rd] = (r[i->rd] & 0xffff) | i->imm << 16;
        break;
    case OP_BFI:
        x = field_mask(i);
        r[i->rd] = (r[i->rd] & ~x) | (r[i->rn] << i->amount & x);
        break;
    case OP_BFC:
        r[i->rd] &= ~field_mask(i);
        break;
    case OP_UBFX:
        r[i->rd] = extract(r[i->rn], i) >> (32 - i->imm);
        break;
    case OP_SBFX:
        r[i->rd] = (uint32_t)((int32_t)extract(r[i->rn], i) >> (32 - i->imm));
        break;
    case OP_SSAT: {
        int64_t half = INT64_C(1) << (i->imm - 1);
        r[i->rd] = saturate(cpu, shifted_signed(cpu, i), -half, half - 1);
        break;
    }
    case OP_USAT:
        r[i->rd] = saturate(cpu, shifted_signed(cpu, i), 0, (INT64_C(1) << i->imm) - 1);
        break;
    case OP_SXTB:
        r[i->rd] = (uint32_t)(int8_t)rotate(r[i->rm], i->amount);
        break;
    case OP_SXTH:
        r[i->rd] = (uint32_t)(int16_t)rotate(r[i->rm], i->amount);
        break;
    case OP_UXTB:
        r[i->rd] = rotate(r[i->rm], i->amount) & 0xff;
        break;
    case OP_UXTH:
        r[i->rd] = rotate(r[i->rm], i->amount) & 0xffff;
        break;
    case OP_REV:
        r[i->rd] = __builtin_bswap32(r[i->rm]);
        break;
    case OP_REV16:
        x = r[i->rm];
        r[i->rd] = (x >> 8 & 0x00ff00ff) | (x << 8 & 0xff00ff00);
        break;
    case OP_REVSH:
        r[i->rd] = (uint32_t)(int16_t)__builtin_bswap16((uint16_t)r[i->rm]);
        break;
    case OP_RBIT:
        r[i->rd] = reverse_bits(r[i->rm]);
        break;
    case OP_CLZ:
        r[i->rd] = r[i->rm] ? (uint32_t)__builtin_clz(r[i->rm]) : 32;
        break;
    case OP_MUL:
        r[i->rd] = x = r[i->rn] * r[i->rm];
        if (set)
            set_nz(cpu, x);
        break;
    case OP_MLA:
        r[i->rd] = r[i->ra] + r[i->rn] * r[i->rm];
        break;
    case OP_MLS:
        r[i->rd] = r[i->ra] - r[i->rn] * r[i->rm];
        break;
    case OP_SMULL:
        put_long(cpu, i, multiply(r[i->rn], r[i->rm], true));
        break;
    case OP_UMULL:
        put_long(cpu, i, multiply(r[i->rn], r[i->rm], false));
        break;
    case OP_SMLAL:
        put_long(cpu, i, get_long(cpu, i) + multiply(r[i->rn], r[i->rm], true));
        break;
    case OP_UMLAL:
        put_long(cpu, i, get_long(cpu, i) + multiply(r[i->rn], r[i->rm], false));
        break;
    case OP_SDIV:
        r[i->rd] = divide(cpu, bus, r[i->rn], r[i->rm], true);
        break;
    case OP_UDIV:
        r[i->rd] = divide(cpu, bus, r[i->rn], r[i->rm], false);
        break;

    case OP_LDRD:
        load_dual(cpu, bus, i);
        break;
    case OP_STRD:
        store_dual(cpu, bus, i);
        break;
    case OP_LDM:
        next = load_multiple(cpu, bus, i, next);
        break;
    case OP_STM:
        store_multiple(cpu, bus, i);
        break;
    case OP_LDREX:
        load_exclusive(cpu, bus, i);
        break;
    case OP_STREX:
        store_exclusive(cpu, bus, i);
        break;
    case OP_LDRT:
        set_register(cpu, i->rd, load_unprivileged(cpu, bus, i));
        break;
    case OP_STRT:
        store(cpu, bus, unprivileged_address(cpu, bus, i), i->amount, r[i->rd]);
        break;
    case OP_CLREX:
        cpu->exclusive = false;
        break;

    case OP_TABLE_BRANCH:
        next = table_branch(cpu, bus, i);
        break;
    case OP_B:
        next = branch(cpu, bus, r[15] + i->imm);
        break;
    case OP_B_IF:
        if (passes(cpu, i->condition))
            next = branch(cpu, bus, r[15] + i->imm);
        break;
    case OP_BL:
        r[14] = next | 1;
        next = branch(cpu, bus, r[15] + i->imm);
        break;
    case OP_BX:
        next = branch_exchange(cpu, bus, r[i->rm]);
        break;
    case OP_BLX:
        x = r[i->rm];
        r[14] = next | 1;
        next = branch_exchange(cpu, bus, x);
        break;
    case OP_CBZ:
        if ((r[i->rn] != 0) == i->condition)
            next = branch(cpu, bus, r[15] + i->imm);
        break;

    case OP_IT:
        cpu->it = i->imm;
        break;
    case OP_NOP:
        break;
    case OP_WFI:
        if (!cpu_wakes(cpu))
            sleep_until(cpu, false);
        break;
    case OP_WFE:
        if (!cpu->event)
            sleep_until(cpu, true);
        cpu->event = false;
        break;
    case OP_SEV:
        cpu->event = true;
        break;
    case OP_SVC:
        if (cpu_flash_stalls(cpu, bus, cpu->vtor))
            wait_for_flash(cpu, bus);
        cpu_take_svc(cpu, bus, next);
        return cpu->next_pc;
    case OP_BKPT:
        cpu->halt = CPU_BREAKPOINT;
        retry(cpu, bus);
    case OP_CPS:
        change_state(cpu, i->imm);
        break;
    case OP_MRS:
        r[i->rd] = read_special(cpu, i->imm);
        break;
    case OP_MSR:
        write_special(cpu, i->imm, r[i->rn]);
        break;
    case OP_NO_COPROCESSOR:
        usage_fault(cpu, bus, CFSR_NOCP);
    default:
        usage_fault(cpu, bus, CFSR_UNDEFINSTR);
    }
    return next;
}

/* ---- the run loop -----------------------------------------------------------------------------*/

/* B3.1: the default memory map forbids execution from peripherals and the system region. */
static bool is_never_executed(uint32_t addr)
{
    return addr >> 29 == 2 || addr >> 29 >= 5;
}

static _Noreturn void fetch_fault(struct cpu *cpu, struct cpu_bus *bus, uint32_t addr)
{
    if (is_never_executed(addr))
        fault(cpu, bus, EXC_MEM_MANAGE, CFSR_IACCVIOL);
    fault(cpu, bus, EXC_BUS_FAULT, CFSR_IBUSERR);
}

/* Decodes the instruction at pc, into the cache or, from RAM, into *uncached. NULL: flash is busy.
 */
static NOINLINE const struct cpu_insn *fetch(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t pc, struct cpu_insn *uncached)
{
    const uint8_t *ram = ram_at(bus, pc, 2), *flash = ram ? NULL : flash_at(bus, pc, 2);
    struct cpu_insn *insn = uncached;

    cpu->it_now = cpu->it;
    if (flash) {
        if (flash_busy(cpu, bus)) {
            cpu->next_event = 0;
            return NULL;
        }
        bus->fetch_limit = bus->flash_size;
        insn = &bus->decoded[(flash - bus->flash) / 2];
        if (insn->op != OP_NONE)
            return insn;
    } else if (!ram) {
        fetch_fault(cpu, bus, pc);
    }

    uint16_t h1 = (uint16_t)get(ram ? ram : flash, 2), h2 = 0;
    if (cpu_is_wide(h1)) {
        const uint8_t *rest = ram ? ram_at(bus, pc + 2, 2) : flash_at(bus, pc + 2, 2);
        if (!rest)
            fetch_fault(cpu, bus, pc + 2);
        h2 = (uint16_t)get(rest, 2);
    }
    cpu_decode(insn, h1, h2);
    return insn;
}

/* What the core waits for, if anything, until the cycle count `due`. True: time has passed. */
static bool wait(struct cpu *cpu, struct cpu_bus *bus, uint64_t due)
{
    if (due <= cpu->cycles)
        due = cpu->cycles + 1;
    if (flash_busy(cpu, bus) && (cpu->stalled || flash_at(bus, cpu->pc, 2))) {
        cpu->cycles = due < bus->flash_busy_until ? due : bus->flash_busy_until;
        return true;
    }
    cpu->stalled = false;
    if (!cpu->sleeping)
        return false;
    bool by_event = cpu->sleeping_wfe && cpu->event;
    if (!by_event && !cpu_wakes(cpu)) {
        cpu->cycles = due;
        return true;
    }
    if (by_event)
        cpu->event = false;
    cpu->sleeping = false;
    return false;
}

static enum cpu_stop reason_to_stop(struct cpu *cpu, struct cpu_bus *bus, uint64_t until)
{
    enum cpu_stop why = cpu->halt;

    if (bus->stop) {
        bus->stop = false;
        return CPU_STOPPED;
    }
    if (why == CPU_BREAKPOINT)
        cpu->halt = CPU_RUNNING;
    if (why != CPU_RUNNING)
        return why;
    return cpu->cycles >= until ? CPU_UNTIL : CPU_RUNNING;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The slow path, between two instructions: lets board and SysTick catch up, passes idle time, takes
 * exceptions, and finds out how long the fast path may run. */
static NOINLINE enum cpu_stop service(struct cpu *cpu, struct cpu_bus *bus, uint64_t until)
{
    for (;;) {
        if (cpu->cycles >= bus->board_event && bus->tick && !bus->stop)
            bus->tick(bus->context);
        cpu_systick_run(cpu);

        enum cpu_stop why = reason_to_stop(cpu, bus, until);
        if (why != CPU_RUNNING)
            return why;

        uint64_t due = earlier(until, earlier(bus->board_event, cpu_systick_due(cpu)));
        if (wait(cpu, bus, due))
            continue;
        if (cpu_may_preempt(cpu)) {
            if (cpu_flash_stalls(cpu, bus, cpu->vtor))
                cpu->stalled = true; /* the vector cannot be read yet */
            else
                cpu_take_pending(cpu, bus);
            continue;
        }
        cpu->next_event = due;
        if (flash_busy(cpu, bus))
            bus->fetch_limit = 0;
        return CPU_RUNNING;
    }
}

static enum cpu_stop run(struct cpu *cpu, struct cpu_bus *bus, uint64_t until)
{
    struct cpu_insn uncached;

    for (;;) {
        if (UNLIKELY(cpu->cycles >= cpu->next_event)) {
            enum cpu_stop why = service(cpu, bus, until);
            if (why != CPU_RUNNING)
                return why;
            if (bus->trace) {
                bus->trace(bus->context);
                cpu->next_event = 0;
                if (bus->stop)
                    continue;
            }
            cpu->it_now = cpu->it;
            if (!cpu->t)
                usage_fault(cpu, bus, CFSR_INVSTATE);
        }
        uint32_t pc = cpu->pc, offset = pc - bus->flash_base;
        const struct cpu_insn *insn = NULL;
        if (LIKELY(offset < bus->fetch_limit))
            insn = &bus->decoded[offset >> 1];
        if (UNLIKELY(!insn || insn->op == OP_NONE)) {
            insn = fetch(cpu, bus, pc, &uncached);
            if (!insn)
                continue;
        }
        cpu->r[15] = pc + 4;
        cpu->pc = execute(cpu, bus, insn, pc + insn->length);
        cpu->instructions++;
    }
}

enum cpu_stop cpu_run(struct cpu *cpu, struct cpu_bus *bus, uint64_t until)
{
    jmp_buf fault_exit;

    /* cppcheck-suppress autoVariables ; taken back before this returns */
    bus->fault_exit = &fault_exit;
    switch (setjmp(fault_exit)) {
    case LEFT_BY_FAULT:
        cpu->pc = cpu->next_pc;
        cpu->cycles++;
        cpu->instructions++;
        break;
    case LEFT_TO_RETRY:
        break;
    default:
        cpu->next_event = 0;
    }
    enum cpu_stop why = run(cpu, bus, until);
    bus->fault_exit = NULL;
    return why;
}

/* ---- the decode cache -------------------------------------------------------------------------*/

int cpu_bus_init(struct cpu_bus *bus)
{
    bus->decoded = calloc(bus->flash_size / 2, sizeof *bus->decoded);
    bus->fetch_limit = 0;
    return bus->decoded ? 0 : -1;
}

void cpu_bus_free(struct cpu_bus *bus)
{
    free(bus->decoded);
    bus->decoded = NULL;
}

void cpu_flash_changed(struct cpu_bus *bus, uint32_t offset, uint32_t length)
{
    uint32_t first = offset / 2, end = (offset + length + 1) / 2;

    if (first > 0)
        first--;
    if (end > bus->flash_size / 2)
        end = bus->flash_size / 2;
    for (; first < end; first++)
        bus->decoded[first].op = OP_NONE;
}
