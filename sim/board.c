/* SPDX-License-Identifier: MIT */
/*
 * The board: memory map, virtual clock, resets, power, snapshots. What the chip does is in the
 * peripherals' files; this one only wires them.
 *
 * Sources: RM0008 (memory map, RCC), PM0075 (flash), DS5319.
 */
#include "board.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board_state.h"

/* --- the devices -------------------------------------------------------------------------------- */

static const struct device *const devices[] = {
    /* At one moment they are served in this order. */
    &rcc_device,
    &flash_device,
    &usb_device_registers,
    &usb_device_memory,
    &pwr_device,
    &bkp_device,
    &rtc_device,
    &iwdg_device,
    &wwdg_device,
    &afio_device,
    &exti_device,
    &gpio_devices[0],
    &gpio_devices[1],
    &gpio_devices[2],
    &gpio_devices[3],
    &gpio_devices[4],
    &gpio_devices[5],
    &gpio_devices[6],
    &usart_devices[0],
    &usart_devices[1],
    &usart_devices[2],
    &tim_devices[0],
    &tim_devices[1],
    &tim_devices[2],
    &tim_devices[3],
    &tim_devices[4],
    &tim_devices[5],
    &tim_devices[6],
    &tim_devices[7],
    &dma_devices[0],
    &dma_devices[1],
    &adc_devices[0],
    &adc_devices[1],
    &adc_devices[2],
    &crc_device,
    &dbgmcu_device,
};
enum { DEVICES = sizeof devices / sizeof devices[0] };

/* The row in b->deadline. */
static unsigned row_of(const struct device *d)
{
    for (unsigned i = 0; i < DEVICES; i++)
        if (devices[i] == d)
            return i;
    return DEVICES + (unsigned)(d - plain_devices);
}

static const struct device *device_of(unsigned row)
{
    return row < DEVICES ? devices[row] : &plain_devices[row - DEVICES];
}

static unsigned rows(void)
{
    return DEVICES + plain_device_count;
}

static bool part_has(const struct board *b, const struct device *d)
{
    return !d->density || d->density & b->part->density;
}

/* Devices of the APB and AHB buses begin at multiples of 1 KB and have no more: b->slot finds them. */
static void make_slots(struct board *b)
{
    for (unsigned i = 0; i < rows(); i++) {
        uint32_t at = device_of(i)->base - UINT32_C(0x40000000);
        if (at / 1024 < DEVICE_SLOTS && part_has(b, device_of(i)))
            b->slot[at / 1024] = (uint8_t)(i + 1);
    }
}

static const struct device *device_at(const struct board *b, uint32_t addr)
{
    uint32_t at = addr - UINT32_C(0x40000000);
    const struct device *d = NULL;
    if (at / 1024 < DEVICE_SLOTS)
        d = b->slot[at / 1024] ? device_of(b->slot[at / 1024] - 1U) : NULL;
    else
        for (unsigned i = 0; i < rows() && !d; i++)
            if (addr - device_of(i)->base < device_of(i)->size && part_has(b, device_of(i)))
                d = device_of(i);
    return d && addr - d->base < d->size ? d : NULL;
}

const struct reg *reg_find(const struct reg *regs, unsigned count, uint32_t offset)
{
    for (unsigned i = 0; i < count; i++)
        if (regs[i].offset == offset)
            return &regs[i];
    return NULL;
}

/* --- time --------------------------------------------------------------------------------------- */

uint64_t board_cycles(const struct board *b)
{
    return b->cpu.cycles;
}

uint64_t board_time_of(const struct board *b, uint64_t cycles)
{
    const struct clock *c = &b->clock;
    if (cycles <= c->cycles)
        return c->ns;
    uint64_t run = cycles - c->cycles;
    return c->ns + run / c->hz * BOARD_S + (run % c->hz * BOARD_S + c->part) / c->hz;
}

uint64_t board_now(const struct board *b)
{
    return board_time_of(b, b->cpu.cycles);
}

/* The first cycle count at which that time is reached. */
static uint64_t cycles_at(const struct board *b, uint64_t when_ns)
{
    const struct clock *c = &b->clock;
    if (when_ns <= c->ns)
        return c->cycles;
    uint64_t wait = when_ns - c->ns;
    if (wait / BOARD_S > NEVER / 2 / c->hz)
        return NEVER;
    uint64_t rest = wait % BOARD_S * c->hz;
    rest = rest > c->part ? (rest - c->part + BOARD_S - 1) / BOARD_S : 0;
    return c->cycles + wait / BOARD_S * c->hz + rest;
}

/* Begins a new stretch of the clock now. */
static void rebase(struct board *b, uint32_t hz)
{
    struct clock *c = &b->clock;
    uint64_t run = b->cpu.cycles - c->cycles;
    uint64_t part = (run % c->hz * BOARD_S + c->part) % c->hz;
    c->ns = board_now(b);
    c->cycles = b->cpu.cycles;
    c->part = part * hz / c->hz;
    c->hz = hz;
}

static bool clock_runs(const struct board *b)
{
    return b->halt == HALT_NONE || b->halt == HALT_LOCKUP;
}

/* Lets time pass without the CPU. */
static void pass_until(struct board *b, uint64_t when_ns)
{
    if (when_ns <= board_now(b))
        return;
    if (clock_runs(b)) {
        b->cpu.cycles = cycles_at(b, when_ns);
    } else {
        rebase(b, b->clock.hz);
        b->clock.ns = when_ns;
        b->clock.part = 0;
    }
}

static uint64_t next_deadline(const struct board *b)
{
    uint64_t when = NEVER;
    for (unsigned i = 0; i < rows(); i++)
        if (b->deadline[i] < when)
            when = b->deadline[i];
    return when;
}

/* Tells the CPU when to look up from its work. */
static void schedule(struct board *b)
{
    uint64_t when = next_deadline(b);
    if (b->limit < when)
        when = b->limit;
    b->bus.board_event = when == NEVER ? UINT64_MAX : cycles_at(b, when);
    if (b->error) /* the run ends before the next instruction */
        b->bus.board_event = b->cpu.cycles;
    cpu_poke(&b->cpu);
}

void board_set_deadline(struct board *b, const struct device *d, uint64_t when_ns)
{
    uint64_t *deadline = &b->deadline[row_of(d)];
    if (*deadline == when_ns)
        return;
    *deadline = when_ns;
    schedule(b);
}

/* Serves what is due, the earliest first. */
static void serve(struct board *b)
{
    uint64_t now = board_now(b);
    for (;;) {
        unsigned first = 0;
        for (unsigned i = 1; i < rows(); i++)
            if (b->deadline[i] < b->deadline[first])
                first = i;
        if (b->deadline[first] > now)
            break;
        b->deadline[first] = NEVER;
        device_of(first)->tick(b, device_of(first));
    }
    if (now >= b->limit || b->error)
        b->bus.stop = true;
    schedule(b);
}

static void catch_up(struct board *b)
{
    if (b->cpu.cycles >= b->bus.board_event)
        serve(b);
}

void board_set_hclk(struct board *b, uint32_t hz)
{
    rebase(b, hz);
    flash_clock_changed(b);
    schedule(b);
}

uint32_t board_hclk_hz(const struct board *b)
{
    return b->clock.hz;
}

/* --- words -------------------------------------------------------------------------------------- */

void board_log(struct board *b, const char *format, ...)
{
    if (!b->config.log)
        return;
    char line[320];
    uint64_t us = board_now(b) / BOARD_US;
    int used = snprintf(line, sizeof line, "%6llu.%03llu ms  ", (unsigned long long)(us / 1000),
        (unsigned long long)(us % 1000));
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + used, sizeof line - (size_t)used, format, arguments);
    va_end(arguments);
    b->config.log(b->config.context, line);
}

bool board_tracing(const struct board *b, unsigned what)
{
    return b->config.trace && b->config.trace_what & what;
}

void board_trace(struct board *b, const char *format, ...)
{
    if (!b->config.trace)
        return;
    char line[320];
    int used = snprintf(
        line, sizeof line, "%llu %08x ", (unsigned long long)board_now(b), (unsigned)board_pc(b));
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + used, sizeof line - (size_t)used, format, arguments);
    va_end(arguments);
    b->config.trace(b->config.context, line);
}

void board_tell_transfer(struct board *b, const struct usb_transfer *transfer)
{
    if (b->config.usb)
        b->config.usb(b->config.context, transfer);
}

void board_break_rule(struct board *b, uint32_t addr, const char *format, ...)
{
    struct board_complaint *c = &b->complaint;
    /* One run ends with its first complaint; what follows from it would only hide it. */
    if (!b->error || b->config.lenient) {
        c->when_ns = board_now(b);
        c->pc = board_pc(b);
        c->addr = addr;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(c->rule, sizeof c->rule, format, arguments);
        va_end(arguments);
        board_log(b, "broken rule at pc 0x%08x, address 0x%08x: %s", (unsigned)c->pc,
            (unsigned)addr, c->rule);
    }
    b->counts.complaints++;
    b->complained = true;
    if (b->config.lenient)
        return;
    b->error = true;
    schedule(b);
}

void board_bus_fault(struct board *b)
{
    b->fault = true;
}

const struct board_complaint *board_complaint(const struct board *b)
{
    return b->complained ? &b->complaint : NULL;
}

uint32_t board_pc(const struct board *b)
{
    return b->cpu.pc;
}

uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

uint64_t board_random(struct board *b)
{
    return random_next(&b->random);
}

void board_irq(struct board *b, unsigned irq, bool level)
{
    if (irq < b->part->irqs)
        cpu_irq(&b->cpu, irq, level);
}

/* --- accesses to devices ------------------------------------------------------------------------ */

static uint32_t mask_of(unsigned size)
{
    return size == 4 ? UINT32_MAX : (1U << size * 8) - 1;
}

static bool in_reset(const struct board *b, const struct device *d)
{
    return d->clock && rcc_reset_register(b, d->clock >> 8) >> (d->clock & 0xFF) & 1;
}

bool board_clocked(const struct board *b, const struct device *d)
{
    if (!d->clock)
        return true;
    return rcc_enable_register(b, d->clock >> 8) >> (d->clock & 0xFF) & 1 && !in_reset(b, d);
}

/* What reaches a device without clock is lost in silence: say so once. */
static bool lost(struct board *b, const struct device *d, bool write)
{
    if (board_clocked(b, d))
        return false;
    uint64_t bit = UINT64_C(1) << row_of(d);
    if (!(b->lost_told & bit))
        board_log(b, "%s %s at pc 0x%08x is lost: its clock is off or it is held in reset in RCC",
            write ? "write to" : "read of", d->name, (unsigned)board_pc(b));
    b->lost_told |= bit;
    return true;
}

static const struct reg *register_at(struct board *b, const struct device *d, uint32_t offset)
{
    const struct reg *r = reg_find(d->regs, d->reg_count, offset & ~3U);
    if (!r)
        board_break_rule(b, d->base + offset, "%s has no register at offset 0x%02x (RM0008)",
            d->name, (unsigned)offset);
    return r;
}

static void trace_access(struct board *b, const struct device *d, const struct reg *r,
    uint32_t offset, unsigned size, bool write, uint32_t value)
{
    char name[40];
    if (r)
        snprintf(name, sizeof name, "%s.%s", d->name, r->name);
    else
        snprintf(name, sizeof name, "%s+0x%03x", d->name, (unsigned)offset);
    board_trace(b, "%-16s %s %0*x", name, write ? "<-" : "->", (int)size * 2, (unsigned)value);
}

static uint32_t device_read(struct board *b, const struct device *d, uint32_t addr, unsigned size)
{
    uint32_t offset = addr - d->base;
    if (lost(b, d, false))
        return 0;
    const struct reg *r = NULL;
    uint32_t value;
    if (d->regs) {
        r = register_at(b, d, offset);
        if (!r)
            return 0;
        value = d->read(b, d, offset & ~3U, size) >> (offset & 3) * 8 & mask_of(size);
    } else {
        value = d->read(b, d, offset, size);
    }
    if (board_tracing(b, BOARD_TRACE_REGISTERS))
        trace_access(b, d, r, offset, size, false, value);
    return value;
}

/* A narrow store as the bus makes a word of it. */
static uint32_t widen(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    if (size == 4)
        return value;
    if (d->base < UINT32_C(0x40018000)) /* APB: the bridge replicates (RM0008 §2.1) */
        return size == 1 ? (value & 0xFF) * UINT32_C(0x01010101)
                         : (value & 0xFFFF) * UINT32_C(0x00010001);
    uint32_t mask = mask_of(size) << (offset & 3) * 8;
    return (d->read(b, d, offset & ~3U, 4) & ~mask) | (value << (offset & 3) * 8 & mask);
}

static void device_write(
    struct board *b, const struct device *d, uint32_t addr, unsigned size, uint32_t value)
{
    uint32_t offset = addr - d->base;
    if (lost(b, d, true))
        return;
    const struct reg *r = d->regs ? register_at(b, d, offset) : NULL;
    if (d->regs && !r)
        return;
    if (board_tracing(b, BOARD_TRACE_REGISTERS))
        trace_access(b, d, r, offset, size, true, value & mask_of(size));
    if (d->regs)
        d->write(b, d, offset & ~3U, size, widen(b, d, offset, size, value));
    else
        d->write(b, d, offset, size, value);
}

void board_reset_devices(struct board *b, uint16_t clock)
{
    for (unsigned i = 0; i < rows(); i++)
        if (device_of(i)->clock == clock && device_of(i)->reset) {
            b->deadline[i] = NEVER;
            device_of(i)->reset(b, device_of(i), RESET_SYSTEM);
        }
    schedule(b);
}

/* --- the memory map ----------------------------------------------------------------------------- */

uint32_t flash_size(const struct board *b)
{
    return (uint32_t)b->part->flash_kb * 1024;
}

static uint32_t load_le(const uint8_t *at, unsigned size)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)at[i] << i * 8;
    return value;
}

/* Where the bytes at an address are, if they are memory of length `size` there: flash, RAM, system
 * memory, option bytes; by their own addresses. */
static uint8_t *memory_at(struct board *b, uint32_t addr, size_t size)
{
    const struct {
        uint32_t base, size;
        uint8_t *bytes;
    } map[] = {
        {FLASH_BASE,         flash_size(b),      b->flash        },
        {RAM_BASE,           board_ram_size(b),  b->ram          },
        {SYSTEM_MEMORY_BASE, SYSTEM_MEMORY_SIZE, b->system_memory},
        {OPTION_BASE,        OPTION_SIZE,        b->fpec.option  },
    };
    for (unsigned i = 0; i < sizeof map / sizeof map[0]; i++)
        if (addr >= map[i].base && addr - map[i].base <= map[i].size &&
            size <= map[i].size - (addr - map[i].base))
            return map[i].bytes + (addr - map[i].base);
    return NULL;
}

/* Undoes the alias at 0 (RM0008 §3.4). Beyond the aliased memory there is nothing. */
static uint32_t unalias(const struct board *b, uint32_t addr)
{
    const struct {
        uint32_t base, size;
    } shown[] = {
        [BOOT_FLASH] = {FLASH_BASE,         flash_size(b)     },
        [BOOT_SYSTEM] = {SYSTEM_MEMORY_BASE, SYSTEM_MEMORY_SIZE},
        [BOOT_RAM] = {RAM_BASE,           board_ram_size(b) },
    };
    return addr < shown[b->boot].size ? addr + shown[b->boot].base : addr;
}

/* The two APB bridges' address range, where this part has no peripheral. That a bridge answers 0 and
 * drops writes there is inferred, from firmware that does it on purpose and from APB 2.0 having no
 * error signal: UNVERIFIED; RM0008 §3.3 says "reserved". A broken rule in any case. */
static bool apb_hole(struct board *b, uint32_t addr)
{
    if (addr < UINT32_C(0x40000000) || addr >= UINT32_C(0x40018000))
        return false;
    board_break_rule(b, addr, "%s has no peripheral there (RM0008 §3.3)", b->part->name);
    return true;
}

static uint32_t read_any(struct board *b, uint32_t addr, unsigned size)
{
    const struct device *d = device_at(b, addr);
    if (d)
        return device_read(b, d, addr, size);
    if (apb_hole(b, addr))
        return 0;
    addr = unalias(b, addr);
    const uint8_t *bytes = memory_at(b, addr, size);
    if (!bytes) {
        board_bus_fault(b);
        return 0;
    }
    if (addr - SYSTEM_MEMORY_BASE < SYSTEM_MEMORY_SIZE && unalias(b, b->cpu.pc) == (addr & ~1U) &&
        !b->rom_loaded)
        board_break_rule(b, addr,
            "execution of system memory: this board has no copy of the ROM "
            "bootloader (AN2606)");
    return load_le(bytes, size);
}

static void write_any(struct board *b, uint32_t addr, unsigned size, uint32_t value)
{
    const struct device *d = device_at(b, addr);
    if (d) {
        device_write(b, d, addr, size, value);
        return;
    }
    if (apb_hole(b, addr))
        return;
    addr = unalias(b, addr);
    if (addr - OPTION_BASE < OPTION_SIZE) {
        flash_store_option(b, addr, size, value);
        return;
    }
    if (addr - FLASH_BASE < flash_size(b)) {
        flash_store(b, addr, size, value);
        return;
    }
    uint8_t *bytes = addr >= RAM_BASE ? memory_at(b, addr, size) : NULL;
    if (!bytes) {
        board_bus_fault(b);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> i * 8);
}

static void tell_fault(struct board *b, const char *what, uint32_t addr, unsigned size)
{
    board_log(b, "bus fault: %u-byte %s 0x%08x at pc 0x%08x", size, what, (unsigned)addr,
        (unsigned)board_pc(b));
}

static uint32_t bus_read(void *context, uint32_t addr, unsigned size, bool *fault)
{
    struct board *b = context;
    catch_up(b);
    b->fault = false;
    uint32_t value = read_any(b, addr, size);
    if (b->fault) {
        *fault = true;
        tell_fault(b, "read of", addr, size);
    }
    return value;
}

static void bus_write(void *context, uint32_t addr, unsigned size, uint32_t value, bool *fault)
{
    struct board *b = context;
    catch_up(b);
    if (b->cut)
        return;
    b->fault = false;
    write_any(b, addr, size, value);
    if (b->fault) {
        *fault = true;
        tell_fault(b, "write to", addr, size);
    }
}

static void bus_flash_write(
    void *context, uint32_t addr, unsigned size, uint32_t value, bool *fault)
{
    struct board *b = context;
    catch_up(b);
    if (b->cut)
        return;
    b->fault = false;
    flash_store(b, addr, size, value);
    if (b->fault) {
        *fault = true;
        tell_fault(b, "write to", addr, size);
    }
}

static void bus_tick(void *context)
{
    struct board *b = context;
    if (b->cpu.sleeping && b->cpu.scr & 4) /* SLEEPDEEP */
        board_break_rule(b, b->cpu.pc, "Stop and Standby are not modelled (RM0008 §5.3)");
    serve(b);
}

static void bus_trace(void *context)
{
    struct board *b = context;
    uint8_t code[4] = {0};
    uint32_t pc = unalias(b, b->cpu.pc);
    if (board_peek(b, pc, code, 4))
        board_peek(b, pc, code, 2);
    uint32_t low = load_le(code, 2), high = load_le(code + 2, 2);
    const uint32_t *r = b->cpu.r;
    char wide[8] = "    ";
    if (low >= 0xE800)
        snprintf(wide, sizeof wide, "%04x", (unsigned)high);
    board_trace(b, "%04x %s  %08x %08x %08x %08x sp %08x lr %08x", (unsigned)low, wide,
        (unsigned)r[0], (unsigned)r[1], (unsigned)r[2], (unsigned)r[3], (unsigned)r[13],
        (unsigned)r[14]);
}

bool board_dma_read(struct board *b, uint32_t addr, unsigned size, uint32_t *value)
{
    bool fault = b->fault;
    b->fault = false;
    if (addr < FLASH_BASE) /* the alias at 0 is the CPU's */
        board_bus_fault(b);
    else
        *value = read_any(b, addr, size);
    bool good = !b->fault;
    b->fault = fault;
    return good;
}

bool board_dma_write(struct board *b, uint32_t addr, unsigned size, uint32_t value)
{
    bool fault = b->fault;
    b->fault = false;
    if (addr < RAM_BASE) /* flash is programmed by the CPU only (PM0075 §2.3) */
        board_bus_fault(b);
    else
        write_any(b, addr, size, value);
    bool good = !b->fault;
    b->fault = fault;
    return good;
}

/* --- memory as a probe sees it ------------------------------------------------------------------ */

int board_load(struct board *b, uint32_t addr, const void *data, size_t size)
{
    uint8_t *bytes = memory_at(b, addr, size);
    if (!bytes)
        return -1;
    memcpy(bytes, data, size);
    if (addr - FLASH_BASE < flash_size(b)) {
        cpu_flash_changed(&b->bus, addr - FLASH_BASE, (uint32_t)size);
        flash_loaded(b, addr - FLASH_BASE, (uint32_t)size);
    }
    if (addr - OPTION_BASE < OPTION_SIZE)
        memset(b->fpec.marginal_option + (addr - OPTION_BASE), 0, size);
    if (addr == SYSTEM_MEMORY_BASE)
        b->rom_loaded = true;
    return 0;
}

int board_peek(const struct board *b, uint32_t addr, void *data, size_t size)
{
    /* memory_at() changes nothing; it is not const because board_load() writes through it. */
    const uint8_t *bytes = memory_at((struct board *)(uintptr_t)b, addr, size);
    if (!bytes)
        return -1;
    memcpy(data, bytes, size);
    return 0;
}

int board_peek_marginal(const struct board *b, uint32_t addr, void *mask, size_t size)
{
    if (addr >= FLASH_BASE && addr - FLASH_BASE <= flash_size(b) &&
        size <= flash_size(b) - (addr - FLASH_BASE))
        memcpy(mask, b->marginal + (addr - FLASH_BASE), size);
    else if (addr >= OPTION_BASE && addr - OPTION_BASE <= OPTION_SIZE &&
             size <= OPTION_SIZE - (addr - OPTION_BASE))
        memcpy(mask, b->fpec.marginal_option + (addr - OPTION_BASE), size);
    else
        return -1;
    return 0;
}

uint32_t board_flash_size(const struct board *b)
{
    return flash_size(b);
}
uint32_t board_page_size(const struct board *b)
{
    return b->part->page_size;
}
uint32_t board_ram_size(const struct board *b)
{
    return (uint32_t)b->part->ram_kb * 1024;
}

uint32_t board_page_wear(const struct board *b, unsigned page)
{
    return page < flash_size(b) / b->part->page_size ? b->fpec.wear[page] : 0;
}

void board_uart_send(struct board *b, unsigned usart, uint8_t byte)
{
    if (usart >= 1 && usart <= USARTS)
        usart_receive(b, usart - 1, byte);
}

/* --- reset and power ---------------------------------------------------------------------------- */

/* DS5319 table 12: reset temporization after power-up. */
static const uint64_t power_up_ns[] = {
    [BOARD_TYPICAL] = 2500000, [BOARD_FASTEST] = 1000000, [BOARD_SLOWEST] = 4500000};
/* Every internal source drives NRST low for at least that long (RM0008 §7.1). */
enum { RESET_PULSE_NS = 20000 };

static void reset_devices(struct board *b, enum reset_kind kind)
{
    for (unsigned i = 0; i < rows(); i++) {
        b->deadline[i] = NEVER;
        if (device_of(i)->reset)
            device_of(i)->reset(b, device_of(i), kind);
    }
}

static void begin_reset(struct board *b, enum reset_kind kind, uint64_t hold_ns)
{
    rebase(b, b->clock.hz);
    b->halt = HALT_RESET;
    b->release_at = board_now(b) + hold_ns;
    b->reset_asked = 0;
    reset_devices(b, kind);
    for (unsigned i = 0; i < b->part->irqs; i++)
        cpu_irq(&b->cpu, i, false);
    b->bus.flash_busy_until = 0;
    schedule(b);
}

static void system_reset(struct board *b, uint32_t flag, uint64_t hold_ns)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } causes[] = {
        {0,                "pin"     },
        {RCC_CSR_SFTRSTF,  "software"},
        {RCC_CSR_IWDGRSTF, "IWDG"    },
        {RCC_CSR_WWDGRSTF, "WWDG"    },
    };
    for (unsigned i = 0; i < sizeof causes / sizeof causes[0]; i++)
        if (causes[i].flag == flag)
            board_log(b, "reset: %s", causes[i].name);
    if (flag == RCC_CSR_IWDGRSTF || flag == RCC_CSR_WWDGRSTF)
        b->counts.watchdog_resets++;
    begin_reset(b, RESET_SYSTEM, hold_ns);
    rcc_set_reset_flags(b, RCC_CSR_PINRSTF | flag);
}

/* Reset is over: the BOOT pins are sampled (RM0008 §3.4) and the CPU fetches SP and PC. */
static void release(struct board *b)
{
    b->halt = HALT_NONE;
    b->counts.resets++;
    bool boot1 = b->config.boot1;
    if (b->gpio[1].driven & 1 << 2) /* PB2 */
        boot1 = b->gpio[1].driven_high >> 2 & 1;
    b->boot = !b->config.boot0 ? BOOT_FLASH : boot1 ? BOOT_RAM : BOOT_SYSTEM;
    b->bus.alias_flash = b->boot == BOOT_FLASH;
    if (b->boot == BOOT_SYSTEM && !b->rom_loaded)
        board_break_rule(b, SYSTEM_MEMORY_BASE,
            "BOOT0 = 1 and BOOT1 = 0 start the ROM bootloader, of which this board has no copy");
    if (b->boot == BOOT_RAM && b->fpec.obr & 2)
        board_log(b, "read protection is on and the board starts from RAM: on a chip flash cannot "
                     "be read now (PM0075 §2.4.1); here it can");
    cpu_reset(&b->cpu, &b->bus);
    schedule(b);
}

void board_ask_reset(struct board *b, uint32_t rcc_csr_flag)
{
    b->reset_asked = rcc_csr_flag;
    b->bus.stop = true;
}

void board_press_reset(struct board *b, uint64_t hold_ns)
{
    if (b->halt != HALT_OFF)
        system_reset(b, 0, hold_ns < RESET_PULSE_NS ? RESET_PULSE_NS : hold_ns);
}

void board_set_boot(struct board *b, bool boot0, bool boot1)
{
    b->config.boot0 = boot0;
    b->config.boot1 = boot1;
}

static void power_on(struct board *b)
{
    board_log(b, "power on");
    for (uint32_t i = 0; i < board_ram_size(b); i += 8) {
        uint64_t garbage = board_random(b);
        memcpy(b->ram + i, &garbage, 8);
    }
    flash_gain_power(b);
    begin_reset(b, RESET_POWER, power_up_ns[b->config.timing]);
    rcc_set_reset_flags(b, RCC_CSR_PINRSTF | RCC_CSR_PORRSTF);
}

static void power_off(struct board *b)
{
    flash_lose_power(b);
    board_log(b, "power off");
    rebase(b, b->clock.hz);
    b->halt = HALT_OFF;
    reset_devices(b, RESET_POWER);
    b->bus.flash_busy_until = 0;
    schedule(b);
}

void board_power(struct board *b, bool on)
{
    if (on == board_powered(b))
        return;
    if (on)
        power_on(b);
    else
        power_off(b);
}

bool board_powered(const struct board *b)
{
    return b->halt != HALT_OFF;
}

void board_cut_at(struct board *b, uint64_t nth, enum board_torn torn, uint64_t seed)
{
    b->cut_after = nth;
    b->cut_torn = torn;
    b->cut_random = seed;
}

void board_cut(struct board *b, uint64_t when_ns)
{
    b->cut = true;
    b->cut_time = when_ns;
    b->bus.stop = true;
}

/* --- running ------------------------------------------------------------------------------------ */

static void lock_up(struct board *b)
{
    b->halt = HALT_LOCKUP;
    board_break_rule(b, b->cpu.bfar,
        "lockup: a fault while faults are masked or handled, CFSR 0x%08x, HFSR 0x%08x "
        "(DDI 0403 B1.5.15)",
        (unsigned)b->cpu.cfsr, (unsigned)b->cpu.hfsr);
}

/* Lets the CPU run until the limit or until something ends it. False: BKPT. */
static bool run_cpu(struct board *b)
{
    b->bus.stop = false;
    schedule(b);
    enum cpu_stop stop = cpu_run(&b->cpu, &b->bus, UINT64_MAX);
    switch (stop) {
    case CPU_RESETREQ:
        if (!b->cut)
            system_reset(b, RCC_CSR_SFTRSTF, RESET_PULSE_NS);
        break;
    case CPU_LOCKUP:
        lock_up(b);
        break;
    case CPU_BREAKPOINT:
        return false;
    case CPU_RUNNING:
    case CPU_UNTIL:
    case CPU_STOPPED:
        break;
    }
    return true;
}

/* The same while the CPU does not run. */
static void run_without_cpu(struct board *b)
{
    uint64_t when = next_deadline(b);
    if (b->limit < when)
        when = b->limit;
    if (b->halt == HALT_RESET && b->release_at < when)
        when = b->release_at;
    pass_until(b, when);
    serve(b);
    if (b->halt == HALT_RESET && board_now(b) >= b->release_at)
        release(b);
}

static void perform_cut(struct board *b)
{
    b->cut = false;
    pass_until(b, b->cut_time);
    power_off(b);
}

enum board_stop board_run_until(struct board *b, uint64_t when_ns)
{
    b->error = false;
    b->limit = when_ns;
    while (board_now(b) < when_ns) {
        bool go_on = true;
        if (b->halt == HALT_NONE)
            go_on = run_cpu(b);
        else
            run_without_cpu(b);
        if (b->cut) {
            perform_cut(b);
            return BOARD_CUT;
        }
        if (b->error)
            return BOARD_ERROR;
        if (b->reset_asked)
            system_reset(b, b->reset_asked, RESET_PULSE_NS);
        if (!go_on)
            return BOARD_BREAK;
    }
    return BOARD_DONE;
}

enum board_stop board_run_for(struct board *b, uint64_t ns)
{
    return board_run_until(b, board_now(b) + ns);
}

void board_counts(const struct board *b, struct board_counts *counts)
{
    *counts = b->counts;
    counts->instructions = b->cpu.instructions;
    counts->cycles = b->cpu.cycles;
    counts->page0_open_ns += flash_open_ns(b);
}

/* --- life --------------------------------------------------------------------------------------- */

struct usb_state *board_usb(struct board *b)
{
    return &b->usb;
}

/* What the ROM area shows: a vector table that leads to a loop, then the flash size (0x1FFFF7E0) and
 * the unique id (0x1FFFF7E8): RM0008 §30. */
static void make_system_memory(struct board *b)
{
    static const uint8_t rom[] = {
        0x00, 0x02, 0x00, 0x20,                 /* SP 0x20000200 */
        0x11, 0xF0, 0xFF, 0x1F,                 /* reset: 0x1FFFF010 */
        'N', 'O', ' ', 'R', 'O', 'M', ' ', ' ', /* for who looks at a dump */
        0xFE, 0xE7,                             /* b . */
    };
    memset(b->system_memory, 0xFF, sizeof b->system_memory);
    memcpy(b->system_memory, rom, sizeof rom);
    b->system_memory[0x7E0] = (uint8_t)b->part->flash_kb;
    b->system_memory[0x7E1] = (uint8_t)(b->part->flash_kb >> 8);
    uint64_t state = b->config.seed ^ UINT64_C(0x554944); /* a stream of its own */
    for (unsigned i = 0; i < 12; i++)
        b->system_memory[0x7E8 + i] = (uint8_t)random_next(&state);
}

static void ship_option_bytes(struct board *b)
{
    static const uint8_t shipped[OPTION_SIZE] = {0xA5, 0x5A, 0xFF, 0x00, 0xFF, 0x00, 0xFF, 0x00,
        0xFF, 0x00, 0xFF, 0x00, 0xFF, 0x00, 0xFF, 0x00};
    memcpy(b->fpec.option, shipped, OPTION_SIZE);
}

/* Allocates what the pointers point to. */
static bool allocate(struct board *b)
{
    b->flash = malloc(flash_size(b));
    b->undo = malloc(flash_size(b));
    b->marginal = calloc(1, flash_size(b));
    b->ram = malloc(board_ram_size(b));
    b->bus = (struct cpu_bus){
        .context = b,
        .flash = b->flash,
        .flash_base = FLASH_BASE,
        .flash_size = flash_size(b),
        .alias_flash = true,
        .ram = b->ram,
        .ram_size = board_ram_size(b),
        .read = bus_read,
        .write = bus_write,
        .flash_write = bus_flash_write,
        .tick = bus_tick,
        .trace = board_tracing(b, BOARD_TRACE_INSTRUCTIONS) ? bus_trace : NULL,
    };
    return b->flash && b->undo && b->marginal && b->ram && cpu_bus_init(&b->bus) == 0;
}

struct board *board_new(const struct board_config *config)
{
    const struct part *part = config->part ? part_find(config->part) : NULL;
    struct board *b = part ? calloc(1, sizeof *b) : NULL;
    if (!b)
        return NULL;
    b->config = *config;
    b->part = part;
    b->config.part = part->name;
    if (!b->config.hse_hz)
        b->config.hse_hz = 8000000;
    b->random = config->seed;
    if (!allocate(b)) {
        board_free(b);
        return NULL;
    }
    memset(b->flash, 0xFF, flash_size(b));
    memset(b->ram, 0, board_ram_size(b));
    b->clock.hz = 8000000;
    b->limit = NEVER;
    b->halt = HALT_OFF;
    make_slots(b);
    make_system_memory(b);
    ship_option_bytes(b);
    reset_devices(b, RESET_POWER);
    schedule(b);
    return b;
}

void board_free(struct board *b)
{
    if (!b)
        return;
    cpu_bus_free(&b->bus);
    free(b->flash);
    free(b->undo);
    free(b->marginal);
    free(b->ram);
    free(b);
}

/* Takes the state of another board of the same part, but not its memories and its owner. */
static void take_state(struct board *b, const struct board *from)
{
    enum { OWN = offsetof(struct board, cpu) };
    const struct flash_state *f = &b->fpec;
    memset(b->marginal + f->marginal_from, 0, f->marginal_to - f->marginal_from);
    f = &from->fpec;
    memcpy(b->marginal + f->marginal_from, from->marginal + f->marginal_from,
        f->marginal_to - f->marginal_from);
    memcpy((char *)b + OWN, (const char *)from + OWN, sizeof *b - OWN);
    b->config.boot0 = from->config.boot0;
    b->config.boot1 = from->config.boot1;
    b->bus.alias_flash = from->bus.alias_flash;
    b->bus.flash_busy_until = from->bus.flash_busy_until;
    b->bus.flash_wait = from->bus.flash_wait;
    b->bus.board_event = from->bus.board_event;
    b->bus.stop = from->bus.stop;
    b->bus.fetch_limit = 0; /* look first: flash may be busy */
    memcpy(b->ram, from->ram, board_ram_size(b));
    if (b->fpec.busy)
        memcpy(b->undo + b->fpec.offset, from->undo + b->fpec.offset, b->fpec.size);
}

void board_restore(struct board *b, const struct board *saved)
{
    if (b == saved || b->part != saved->part)
        return;
    uint32_t page = b->part->page_size;
    for (uint32_t at = 0; at < flash_size(b); at += page)
        if (memcmp(b->flash + at, saved->flash + at, page) != 0) {
            memcpy(b->flash + at, saved->flash + at, page);
            cpu_flash_changed(&b->bus, at, page);
        }
    take_state(b, saved);
}

struct board *board_copy(const struct board *b)
{
    struct board *copy = malloc(sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *b;
    if (!allocate(copy)) {
        board_free(copy);
        return NULL;
    }
    memcpy(copy->flash, b->flash, flash_size(b));
    take_state(copy, b);
    return copy;
}
