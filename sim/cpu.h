/* SPDX-License-Identifier: MIT */
/*
 * An ARMv7-M core without MPU, FPU or DSP: the Cortex-M3 r1p1 of the STM32F103.
 *
 * struct cpu is the whole architectural state: no pointers, so a copy is a snapshot. struct cpu_bus
 * is what the core is wired to; it belongs to the board. Time is a count of CPU cycles; the board
 * turns it into nanoseconds. Nothing here performs I/O, allocates (but for the decode cache) or
 * knows a chip.
 *
 * Sources: ARMv7-M Architecture Reference Manual (DDI 0403), Cortex-M3 TRM r1p1 (DDI 0337).
 */
#ifndef SIM_CPU_H
#define SIM_CPU_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    CPU_IRQS = 68,
    CPU_EXCEPTIONS = 16 + CPU_IRQS,
};

enum cpu_stop {
    CPU_RUNNING,
    CPU_UNTIL,     /* the cycle count asked for was reached */
    CPU_STOPPED,   /* the bus asked: bus->stop was set */
    CPU_RESETREQ,  /* AIRCR.SYSRESETREQ was written (DDI 0403 B3.2.6) */
    CPU_LOCKUP,    /* a fault at priority -1 or higher; cpu->pc, cfsr and hfsr tell */
    CPU_BREAKPOINT /* BKPT; cpu->pc is its address */
};

struct cpu {
    uint32_t r[16];      /* r13: the stack pointer in use; r15: the address of this instruction + 4 */
    uint32_t pc;         /* address of the instruction about to execute, bit 0 clear */
    uint32_t next_pc;
    uint32_t n, z, c, v, q; /* each 0 or 1 */
    uint32_t it, it_now;    /* ITSTATE, and its value at the present instruction */
    uint32_t t;             /* EPSR.T */
    uint32_t ipsr, primask, basepri, faultmask, control;
    uint32_t other_sp; /* the banked stack pointer that is not in r13 */
    bool event, sleeping;
    bool sleeping_wfe; /* by WFE: the event register wakes it too */
    bool stalled;      /* a load waits until flash is idle; then its instruction is begun again */
    enum cpu_stop halt; /* CPU_RUNNING, or RESETREQ, LOCKUP, BREAKPOINT: why it cannot go on */
    bool exclusive;
    uint32_t exclusive_addr;

    uint64_t instructions, cycles;
    uint64_t next_event; /* leave the fast path when cycles reach this */

    uint32_t vtor, aircr, scr, ccr, shcsr, cfsr, hfsr, mmfar, bfar;
    uint8_t priority[CPU_EXCEPTIONS];
    bool enabled[CPU_EXCEPTIONS], pending[CPU_EXCEPTIONS], active[CPU_EXCEPTIONS];
    bool line[CPU_IRQS]; /* level of each interrupt input */
    uint32_t systick_csr, systick_rvr, systick_start;
    uint64_t systick_base;
    uint32_t demcr, dwt_ctrl, cyccnt;
    uint64_t cyccnt_base; /* cycles when cyccnt was right */
};

struct cpu_insn; /* a decoded instruction; private */

/* The wiring. The board fills it in; cpu.c keeps the decode cache in it. */
struct cpu_bus {
    void *context;           /* handed to the functions below */
    const uint8_t *flash;    /* read and fetched directly, at flash_base and through the alias at 0 */
    uint32_t flash_base, flash_size; /* sizes: multiples of 4, not 0 */
    bool alias_flash;        /* address 0 shows flash (else reads there go to read()) */
    uint8_t *ram;            /* at 0x20000000, read and written directly */
    uint32_t ram_size;

    /* The flash controller is busy until this cycle count: a fetch or load from flash stalls until
     * then (PM0075 §1.1). 0: idle. */
    uint64_t flash_busy_until;
    uint32_t flash_wait; /* extra cycles for each taken branch into flash: the wait states */

    /* All other addresses, DBGMCU and its neighbours (0xE0040000 on) among them. size is 1, 2 or 4
     * and addr is a multiple of it. *fault = true makes the access a precise BusFault. Neither may
     * call back into cpu_run(). */
    uint32_t (*read)(void *context, uint32_t addr, unsigned size, bool *fault);
    void (*write)(void *context, uint32_t addr, unsigned size, uint32_t value, bool *fault);
    /* A store to flash, address as the program wrote it (0x0800_xxxx or the alias). */
    void (*flash_write)(void *context, uint32_t addr, unsigned size, uint32_t value, bool *fault);
    /* Board time: called from the slow path whenever cycles >= board_event; it advances the
     * peripherals and sets board_event (in cycles; UINT64_MAX: never). */
    void (*tick)(void *context);
    uint64_t board_event;
    /* Called before each instruction when not NULL (then the fast path is off): tracing. */
    void (*trace)(void *context);
    /* Set by the board: return CPU_STOPPED at the next instruction boundary. What is left of the
     * present instruction stores nothing. cpu_run() clears it when it returns CPU_STOPPED. */
    bool stop;

    struct cpu_insn *decoded; /* one per flash half-word; cpu_bus_init() makes it */
    uint32_t fetch_limit;     /* flash bytes that may be fetched without looking: 0 while busy */
    jmp_buf *fault_exit;
};

/* Allocates the decode cache for bus->flash_size bytes. 0, or -1 without memory. */
int cpu_bus_init(struct cpu_bus *bus);
void cpu_bus_free(struct cpu_bus *bus);

/* Flash bytes [offset, offset + length) have changed: forgets what was decoded there (and one
 * half-word before, where a 32-bit instruction may begin). */
void cpu_flash_changed(struct cpu_bus *bus, uint32_t offset, uint32_t length);

/* Reset as DDI 0403 B1.5.5: registers to their reset values, MSP and PC fetched from address 0 and
 * 4. Keeps cycles and instructions. All interrupt inputs count as low until the board says
 * otherwise. */
void cpu_reset(struct cpu *cpu, struct cpu_bus *bus);

/* Runs until cpu->cycles >= until, or a reason to stop. WFI and WFE skip idle time. */
enum cpu_stop cpu_run(struct cpu *cpu, struct cpu_bus *bus, uint64_t until);

/* An interrupt input changes its level. High pends it; still high when its handler returns pends it
 * again (DDI 0403 B3.4.1). irq is 0 … CPU_IRQS - 1. */
void cpu_irq(struct cpu *cpu, unsigned irq, bool level);

/* Something outside changed what may be delivered: look again before the next instruction. */
void cpu_poke(struct cpu *cpu);

/* xPSR as an exception would stack it. */
uint32_t cpu_xpsr(const struct cpu *cpu);

#endif
