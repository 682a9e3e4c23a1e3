/* SPDX-License-Identifier: MIT */
/*
 * Exceptions, and the system control space that steers them: NVIC, SCB, SysTick, DWT's cycle
 * counter. Follows the pseudo-code of DDI 0403 B1.5 and the register tables of B3.2 to B3.4.
 */
#include "sim/cpu_insn.h"

#include <string.h>

enum {
    PRIORITY_NONE = 256,
    FRAME_WORDS = 8,

    CYCLES_ENTRY = 12,
    CYCLES_RETURN = 9,

    SCR_SLEEPONEXIT = 1 << 1,
    SCR_SEVONPEND = 1 << 4,
    AIRCR_SYSRESETREQ = 1 << 2,
    AIRCR_PRIGROUP = 7 << 8,
    HFSR_VECTTBL = 1 << 1,
    HFSR_FORCED = 1 << 30,
    XPSR_ALIGN = 1 << 9, /* the frame was padded: B1.5.7 */

    SYSTICK_ENABLE = 1 << 0,
    SYSTICK_TICKINT = 1 << 1,
    SYSTICK_CLKSOURCE = 1 << 2, /* HCLK; else HCLK / 8 */
    SYSTICK_COUNTFLAG = 1 << 16,

    DEMCR_TRCENA = 1 << 24,
    DWT_CYCCNTENA = 1 << 0,
};

/* Table B1-8. The hardware looks at bits 27:0 only. */
#define EXC_RETURN_HANDLER    0xfffffff1u
#define EXC_RETURN_THREAD_MSP 0xfffffff9u
#define EXC_RETURN_THREAD_PSP 0xfffffffdu

/* ---- program status and mode ------------------------------------------------------------------*/

uint32_t cpu_flags(const struct cpu *cpu)
{
    return cpu->n << 31 | cpu->z << 30 | cpu->c << 29 | cpu->v << 28 | cpu->q << 27;
}

void cpu_set_flags(struct cpu *cpu, uint32_t apsr)
{
    cpu->n = apsr >> 31;
    cpu->z = apsr >> 30 & 1;
    cpu->c = apsr >> 29 & 1;
    cpu->v = apsr >> 28 & 1;
    cpu->q = apsr >> 27 & 1;
}

uint32_t cpu_xpsr(const struct cpu *cpu)
{
    return cpu_flags(cpu) | (cpu->it & 3) << 25 | (cpu->it >> 2) << 10 | cpu->t << 24 | cpu->ipsr;
}

static bool uses_psp(uint32_t ipsr, uint32_t control)
{
    return control & CONTROL_SPSEL && !ipsr;
}

/* The one place where the stack pointers change places. */
static void set_mode(struct cpu *cpu, uint32_t ipsr, uint32_t control)
{
    if (uses_psp(cpu->ipsr, cpu->control) != uses_psp(ipsr, control)) {
        uint32_t sp = cpu->r[13];
        cpu->r[13] = cpu->other_sp;
        cpu->other_sp = sp;
    }
    cpu->ipsr = ipsr;
    cpu->control = control;
}

/* SPSEL cannot be written in handler mode (B5.2.3). */
void cpu_set_control(struct cpu *cpu, uint32_t value)
{
    uint32_t spsel = cpu->ipsr ? cpu->control : value;
    set_mode(cpu, cpu->ipsr, (value & CONTROL_NPRIV) | (spsel & CONTROL_SPSEL));
}

void cpu_poke(struct cpu *cpu)
{
    cpu->next_event = 0;
}

/* ---- priorities -------------------------------------------------------------------------------*/

/* Without the subpriority: B1.5.4. */
static int grouped(const struct cpu *cpu, uint32_t priority)
{
    uint32_t sub = (cpu->aircr >> 8 & 7) + 1;
    return (int)(priority >> sub << sub);
}

static uint32_t priority_of(const struct cpu *cpu, unsigned exception)
{
    /* cppcheck-suppress arrayIndexOutOfBoundsCond ; it sees the loops' end come in here */
    return cpu->priority[exception];
}

static int group_priority(const struct cpu *cpu, unsigned exception)
{
    if (exception <= EXC_HARD_FAULT)
        return (int)exception - 4; /* NMI -2, HardFault -1 */
    return grouped(cpu, priority_of(cpu, exception));
}

static int lower(int a, int b)
{
    return a < b ? a : b;
}

static int priority_but_for_primask(const struct cpu *cpu)
{
    int priority = PRIORITY_NONE;

    for (unsigned e = EXC_NMI; e < CPU_EXCEPTIONS; e++)
        if (cpu->active[e])
            priority = lower(priority, group_priority(cpu, e));
    if (cpu->basepri)
        priority = lower(priority, grouped(cpu, cpu->basepri));
    if (cpu->faultmask)
        priority = lower(priority, -1);
    return priority;
}

int cpu_execution_priority(const struct cpu *cpu)
{
    int priority = priority_but_for_primask(cpu);
    return cpu->primask ? lower(priority, 0) : priority;
}

/* Would a be taken before b? Equal priorities: the lower number. */
static bool precedes(const struct cpu *cpu, unsigned a, unsigned b)
{
    int group_a = group_priority(cpu, a), group_b = group_priority(cpu, b);

    if (group_a != group_b)
        return group_a < group_b;
    if (group_a >= 0 && priority_of(cpu, a) != priority_of(cpu, b))
        return priority_of(cpu, a) < priority_of(cpu, b);
    return a < b;
}

static bool is_deliverable(const struct cpu *cpu, unsigned exception)
{
    /* cppcheck-suppress arrayIndexOutOfBoundsCond ; as above */
    bool is_enabled = exception < EXC_IRQ0 || cpu->enabled[exception];
    return is_enabled && cpu->pending[exception];
}

/* The exception that is next in line, or 0. */
static unsigned most_urgent_pending(const struct cpu *cpu)
{
    unsigned best = 0;

    for (unsigned e = EXC_NMI; e < CPU_EXCEPTIONS; e++)
        if (is_deliverable(cpu, e) && (best == 0 || precedes(cpu, e, best)))
            best = e;
    return best;
}

bool cpu_may_preempt(const struct cpu *cpu)
{
    unsigned e = most_urgent_pending(cpu);
    return e && group_priority(cpu, e) < cpu_execution_priority(cpu);
}

bool cpu_wakes(const struct cpu *cpu)
{
    unsigned e = most_urgent_pending(cpu);
    return e && group_priority(cpu, e) < priority_but_for_primask(cpu);
}

static void pend(struct cpu *cpu, unsigned exception)
{
    if (!cpu->pending[exception] && cpu->scr & SCR_SEVONPEND)
        cpu->event = true;
    cpu->pending[exception] = true;
    cpu_poke(cpu);
}

/* An input that is high cannot be unpended. */
static void unpend(struct cpu *cpu, unsigned exception)
{
    cpu->pending[exception] = exception >= EXC_IRQ0 && cpu->line[exception - EXC_IRQ0];
}

void cpu_irq(struct cpu *cpu, unsigned irq, bool level)
{
    if (irq >= CPU_IRQS || cpu->line[irq] == level)
        return;
    cpu->line[irq] = level;
    if (level)
        pend(cpu, EXC_IRQ0 + irq);
}

/* IPSR can be any number: software may change it in a frame. */
static bool is_active(const struct cpu *cpu, unsigned exception)
{
    return exception < CPU_EXCEPTIONS && cpu->active[exception];
}

/* The handler has returned: B3.4.1 for the inputs. */
static void deactivate(struct cpu *cpu, unsigned exception)
{
    if (is_active(cpu, exception)) {
        cpu->active[exception] = false;
        if (exception >= EXC_IRQ0 && cpu->line[exception - EXC_IRQ0])
            pend(cpu, exception);
    }
    if (exception != EXC_NMI)
        cpu->faultmask = 0;
}

/* ---- exception entry --------------------------------------------------------------------------*/

static void lock_up(struct cpu *cpu)
{
    cpu->halt = CPU_LOCKUP;
    cpu->next_pc = cpu->pc;
    cpu_poke(cpu);
}

static bool fault_enabled(const struct cpu *cpu, unsigned exception)
{
    if (exception < EXC_MEM_MANAGE || exception > EXC_USAGE_FAULT)
        return true;
    return cpu->shcsr >> (16 + exception - EXC_MEM_MANAGE) & 1;
}

/* What a synchronous exception becomes at the present priority: itself, HardFault, or 0 for lockup
 * (B1.5.3, B1.5.15). */
static unsigned escalate(struct cpu *cpu, unsigned exception)
{
    int now = cpu_execution_priority(cpu);

    if (fault_enabled(cpu, exception) && group_priority(cpu, exception) < now)
        return exception;
    if (now < 0)
        return 0;
    cpu->hfsr |= HFSR_FORCED;
    return EXC_HARD_FAULT;
}

/* B1.5.6 PushStack. SP moves even when a store fails. */
static bool push_frame(struct cpu *cpu, struct cpu_bus *bus, uint32_t return_to, uint32_t xpsr)
{
    uint32_t sp = cpu->r[13];
    bool pad = cpu->ccr & CCR_STKALIGN && sp & 4, ok = true;
    const uint32_t frame[FRAME_WORDS] = {cpu->r[0], cpu->r[1], cpu->r[2], cpu->r[3], cpu->r[12],
        cpu->r[14], return_to, pad ? xpsr | XPSR_ALIGN : xpsr};

    sp -= pad ? FRAME_WORDS * 4 + 4 : FRAME_WORDS * 4;
    cpu->r[13] = sp;
    for (unsigned n = 0; n < FRAME_WORDS && ok; n++)
        ok = cpu_try_write(cpu, bus, sp + n * 4, 4, frame[n]);
    return ok;
}

/* B1.5.6 ExceptionTaken: the frame is in place, lr is the EXC_RETURN value for it. */
static void start_handler(struct cpu *cpu, struct cpu_bus *bus, unsigned exception, uint32_t lr)
{
    uint32_t vector;

    if (!cpu_try_read(cpu, bus, cpu->vtor + exception * 4, 4, &vector)) {
        cpu->hfsr |= HFSR_VECTTBL;
        if (exception > EXC_HARD_FAULT)
            start_handler(cpu, bus, EXC_HARD_FAULT, lr);
        else
            lock_up(cpu);
        return;
    }
    set_mode(cpu, exception, cpu->control);
    cpu->r[14] = lr;
    cpu->t = vector & 1;
    cpu->it = 0;
    cpu->next_pc = vector & ~1u;
    cpu->active[exception] = true;
    cpu->pending[exception] = false;
    cpu->exclusive = false;
    cpu->event = true;
    cpu->cycles += CYCLES_ENTRY + bus->flash_wait;
    cpu_poke(cpu);
}

/* Stacks, then starts the handler of `exception`, or of what stacking leads to. */
static void enter_as(struct cpu *cpu, struct cpu_bus *bus, unsigned exception, uint32_t return_to,
    uint32_t xpsr, uint32_t lr)
{
    cpu->pending[exception] = true;
    if (!push_frame(cpu, bus, return_to, xpsr)) {
        /* B1.5.15: a derived exception. The more urgent of the two is taken, the other waits. */
        cpu->cfsr |= CFSR_STKERR;
        unsigned derived = escalate(cpu, EXC_BUS_FAULT);
        if (derived) {
            cpu->pending[derived] = true;
            if (precedes(cpu, derived, exception))
                exception = derived;
        }
    }
    start_handler(cpu, bus, exception, lr);
}

static void enter(struct cpu *cpu, struct cpu_bus *bus, unsigned exception, uint32_t return_to)
{
    uint32_t lr = EXC_RETURN_THREAD_MSP;

    if (cpu->ipsr)
        lr = EXC_RETURN_HANDLER;
    else if (cpu->control & CONTROL_SPSEL)
        lr = EXC_RETURN_THREAD_PSP;
    enter_as(cpu, bus, exception, return_to, cpu_xpsr(cpu), lr);
}

/* Takes a synchronous exception, or what it escalates to. */
static void take(struct cpu *cpu, struct cpu_bus *bus, unsigned exception, uint32_t return_to)
{
    unsigned taken = escalate(cpu, exception);
    if (taken)
        enter(cpu, bus, taken, return_to);
    else
        lock_up(cpu);
}

void cpu_take_fault(struct cpu *cpu, struct cpu_bus *bus, unsigned exception)
{
    take(cpu, bus, exception, cpu->pc);
}

/* PM0056, CFSR.IMPRECISERR: pending until nothing more urgent runs. A BusFault that is not enabled
 * waits as HardFault (B1.5.4). */
void cpu_pend_bus_fault(struct cpu *cpu)
{
    bool enabled = fault_enabled(cpu, EXC_BUS_FAULT);

    cpu->cfsr |= CFSR_IMPRECISERR;
    if (!enabled)
        cpu->hfsr |= HFSR_FORCED;
    pend(cpu, enabled ? EXC_BUS_FAULT : EXC_HARD_FAULT);
}

void cpu_take_svc(struct cpu *cpu, struct cpu_bus *bus, uint32_t return_to)
{
    take(cpu, bus, EXC_SVC, return_to);
}

void cpu_take_pending(struct cpu *cpu, struct cpu_bus *bus)
{
    enter(cpu, bus, most_urgent_pending(cpu), cpu->pc);
    cpu->pc = cpu->next_pc;
}

/* ---- exception return -------------------------------------------------------------------------*/

static unsigned count_active(const struct cpu *cpu)
{
    unsigned count = 0;
    for (unsigned e = EXC_NMI; e < CPU_EXCEPTIONS; e++)
        count += cpu->active[e];
    return count;
}

/* B1.5.8: does EXC_RETURN fit what is active? */
static bool return_is_valid(const struct cpu *cpu, uint32_t exc_return)
{
    bool nested = count_active(cpu) > 1;

    if (!is_active(cpu, cpu->ipsr))
        return false;
    switch (0xf0000000 | exc_return) {
    case EXC_RETURN_HANDLER:
        return nested;
    case EXC_RETURN_THREAD_MSP:
    case EXC_RETURN_THREAD_PSP:
        return !nested || cpu->ccr & CCR_NONBASETHRDENA;
    default:
        return false;
    }
}

static bool read_frame(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t sp, uint32_t frame[FRAME_WORDS])
{
    bool ok = true;
    for (unsigned n = 0; n < FRAME_WORDS && ok; n++)
        ok = cpu_try_read(cpu, bus, sp + n * 4, 4, &frame[n]);
    return ok;
}

/* All of it but IPSR. */
static void restore_frame(struct cpu *cpu, uint32_t sp, const uint32_t frame[FRAME_WORDS])
{
    uint32_t xpsr = frame[7];
    bool padded = cpu->ccr & CCR_STKALIGN && xpsr & XPSR_ALIGN;

    memcpy(cpu->r, frame, 4 * sizeof *cpu->r);
    cpu->r[12] = frame[4];
    cpu->r[14] = frame[5];
    cpu->r[13] = (sp + FRAME_WORDS * 4) | (padded ? 4 : 0);
    cpu->next_pc = frame[6] & ~1u;
    cpu_set_flags(cpu, xpsr);
    cpu->it = (xpsr >> 25 & 3) | (xpsr >> 8 & 0xfc);
    cpu->t = xpsr >> 24 & 1;
}

/* A fault during the return, on the frame that is still there. */
static void fail_return(
    struct cpu *cpu, struct cpu_bus *bus, unsigned exception, uint32_t exc_return)
{
    unsigned taken = escalate(cpu, exception);
    if (taken)
        start_handler(cpu, bus, taken, exc_return);
    else
        lock_up(cpu);
}

/* The frame belongs to another mode, which shows only when it is gone: on a new one. */
static void fail_integrity(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t frame_xpsr, uint32_t exc_return)
{
    cpu->cfsr |= CFSR_INVPC;
    unsigned taken = escalate(cpu, EXC_USAGE_FAULT);
    if (taken)
        enter_as(cpu, bus, taken, cpu->next_pc, frame_xpsr & ~(uint32_t)XPSR_ALIGN, exc_return);
    else
        lock_up(cpu);
}

static void sleep_on_exit(struct cpu *cpu)
{
    cpu->sleeping = true;
    cpu->sleeping_wfe = false;
}

void cpu_exception_return(struct cpu *cpu, struct cpu_bus *bus, uint32_t exc_return)
{
    bool valid = return_is_valid(cpu, exc_return);
    uint32_t kind = 0xf0000000 | exc_return;
    bool to_handler = kind == EXC_RETURN_HANDLER, to_psp = kind == EXC_RETURN_THREAD_PSP;
    uint32_t sp = to_psp ? cpu->other_sp : cpu->r[13], frame[FRAME_WORDS];

    deactivate(cpu, cpu->ipsr);
    if (!valid) {
        cpu->cfsr |= CFSR_INVPC;
        fail_return(cpu, bus, EXC_USAGE_FAULT, kind);
        return;
    }
    if (!read_frame(cpu, bus, sp, frame)) {
        cpu->cfsr |= CFSR_UNSTKERR;
        fail_return(cpu, bus, EXC_BUS_FAULT, kind);
        return;
    }
    if (!to_handler)
        set_mode(cpu, 0, (cpu->control & CONTROL_NPRIV) | (to_psp ? CONTROL_SPSEL : 0));
    restore_frame(cpu, sp, frame);
    uint32_t ipsr = frame[7] & 0x1ff;
    if (to_handler != (ipsr != 0)) {
        fail_integrity(cpu, bus, frame[7], kind);
        return;
    }
    cpu->ipsr = ipsr;
    cpu->exclusive = false;
    cpu->event = true;
    cpu->cycles += CYCLES_RETURN + bus->flash_wait;
    if (cpu->scr & SCR_SLEEPONEXIT && !to_handler)
        sleep_on_exit(cpu);
    cpu_poke(cpu);
}

/* ---- SysTick: a start value and when it was right, not a counter ------------------------------*/

/* B3.3. At cpu->systick_base the counter is systick_start ticks away from zero; 0: it stands still
 * at zero. After a reload that is RVR + 1, since zero itself lasts a tick. */

static uint32_t systick_divider(const struct cpu *cpu)
{
    return cpu->systick_csr & SYSTICK_CLKSOURCE ? 1 : 8;
}

static bool systick_counts(const struct cpu *cpu)
{
    return cpu->systick_csr & SYSTICK_ENABLE && cpu->systick_start;
}

uint64_t cpu_systick_due(const struct cpu *cpu)
{
    if (!systick_counts(cpu))
        return UINT64_MAX;
    return cpu->systick_base + (uint64_t)cpu->systick_start * systick_divider(cpu);
}

static uint32_t systick_reload(const struct cpu *cpu)
{
    return cpu->systick_rvr ? cpu->systick_rvr + 1 : 0;
}

void cpu_systick_run(struct cpu *cpu)
{
    for (uint64_t due; (due = cpu_systick_due(cpu)) <= cpu->cycles;) {
        cpu->systick_base = due;
        cpu->systick_start = systick_reload(cpu);
        cpu->systick_csr |= SYSTICK_COUNTFLAG;
        if (cpu->systick_csr & SYSTICK_TICKINT)
            pend(cpu, EXC_SYSTICK);
    }
}

static uint32_t systick_current(struct cpu *cpu)
{
    cpu_systick_run(cpu);
    if (!systick_counts(cpu))
        return cpu->systick_start;
    uint64_t ticks = (cpu->cycles - cpu->systick_base) / systick_divider(cpu);
    if (ticks == 0 && cpu->systick_start > cpu->systick_rvr)
        return 0; /* before the reload */
    return cpu->systick_start - (uint32_t)ticks;
}

static uint32_t read_systick_csr(struct cpu *cpu)
{
    cpu_systick_run(cpu);
    uint32_t value = cpu->systick_csr;
    cpu->systick_csr &= ~(uint32_t)SYSTICK_COUNTFLAG;
    return value;
}

/* From now on, from this value. */
static void set_systick(struct cpu *cpu, uint32_t current)
{
    bool on = cpu->systick_csr & SYSTICK_ENABLE;
    cpu->systick_base = cpu->cycles;
    cpu->systick_start = current || !on ? current : systick_reload(cpu);
}

static void write_systick_csr(struct cpu *cpu, uint32_t value)
{
    uint32_t current = systick_current(cpu), old = cpu->systick_csr;
    uint32_t rate = SYSTICK_ENABLE | SYSTICK_CLKSOURCE;

    cpu->systick_csr = (old & SYSTICK_COUNTFLAG) | (value & 7);
    if ((old ^ value) & rate)
        set_systick(cpu, current);
}

static void write_systick_rvr(struct cpu *cpu, uint32_t value)
{
    cpu_systick_run(cpu);
    cpu->systick_rvr = value & 0xffffff;
    if (!systick_counts(cpu)) /* one that stands at zero starts */
        set_systick(cpu, cpu->systick_start);
}

static void write_systick_cvr(struct cpu *cpu)
{
    cpu_systick_run(cpu);
    set_systick(cpu, 0);
    cpu->systick_csr &= ~(uint32_t)SYSTICK_COUNTFLAG;
}

/* ---- DWT: only the cycle counter --------------------------------------------------------------*/

static uint32_t read_cyccnt(const struct cpu *cpu)
{
    bool on = cpu->demcr & DEMCR_TRCENA && cpu->dwt_ctrl & DWT_CYCCNTENA;
    return cpu->cyccnt + (on ? (uint32_t)(cpu->cycles - cpu->cyccnt_base) : 0);
}

/* Before and after anything that starts or stops it. */
static void set_cyccnt(struct cpu *cpu, uint32_t value)
{
    cpu->cyccnt = value;
    cpu->cyccnt_base = cpu->cycles;
}

/* ---- registers --------------------------------------------------------------------------------*/

#define DWT_CTRL   0xe0001000u
#define DWT_CYCCNT 0xe0001004u
#define ICTR       0xe000e004u
#define SYST_CSR   0xe000e010u
#define SYST_RVR   0xe000e014u
#define SYST_CVR   0xe000e018u
#define SYST_CALIB 0xe000e01cu
#define NVIC_ISER  0xe000e100u
#define NVIC_ICER  0xe000e180u
#define NVIC_ISPR  0xe000e200u
#define NVIC_ICPR  0xe000e280u
#define NVIC_IABR  0xe000e300u
#define NVIC_IPR   0xe000e400u
#define CPUID      0xe000ed00u
#define ICSR       0xe000ed04u
#define VTOR       0xe000ed08u
#define AIRCR      0xe000ed0cu
#define SCR        0xe000ed10u
#define CCR        0xe000ed14u
#define SHPR       0xe000ed18u
#define SHCSR      0xe000ed24u
#define CFSR       0xe000ed28u
#define HFSR       0xe000ed2cu
#define MMFAR      0xe000ed34u
#define BFAR       0xe000ed38u
#define DEMCR      0xe000edfcu
#define STIR       0xe000ef00u

enum {
    IRQ_WORDS = (CPU_IRQS + 31) / 32,

    ICSR_RETTOBASE = 1 << 11,
    ICSR_ISRPENDING = 1 << 22,
    ICSR_PENDSTCLR = 1 << 25,
    ICSR_PENDSTSET = 1 << 26,
    ICSR_PENDSVCLR = 1 << 27,
    ICSR_PENDSVSET = 1 << 28,
};
#define ICSR_NMIPENDSET (1u << 31)

/* Which of the registers with a bit for each interrupt, at `base`, is addr? -1: none. */
static int irq_word(uint32_t addr, uint32_t base)
{
    return addr - base < IRQ_WORDS * 4 ? (int)(addr - base) / 4 : -1;
}

static uint32_t read_irq_bits(const bool *by_exception, int word)
{
    uint32_t value = 0;
    for (unsigned n = 0; n < 32; n++) {
        unsigned irq = (unsigned)word * 32 + n;
        if (irq < CPU_IRQS)
            value |= (uint32_t)by_exception[EXC_IRQ0 + irq] << n;
    }
    return value;
}

/* Applies to each exception whose bit is one. */
static void for_irq_bits(
    struct cpu *cpu, int word, uint32_t bits, void (*apply)(struct cpu *cpu, unsigned exception))
{
    for (; bits; bits &= bits - 1) {
        unsigned irq = (unsigned)word * 32 + (unsigned)__builtin_ctz(bits);
        if (irq < CPU_IRQS)
            apply(cpu, EXC_IRQ0 + irq);
    }
}

static void enable(struct cpu *cpu, unsigned exception)
{
    cpu->enabled[exception] = true;
}
static void disable(struct cpu *cpu, unsigned exception)
{
    cpu->enabled[exception] = false;
}

/* B3.2.4. */
static uint32_t read_icsr(const struct cpu *cpu)
{
    uint32_t value = cpu->ipsr | most_urgent_pending(cpu) << 12;

    if (count_active(cpu) <= 1)
        value |= ICSR_RETTOBASE;
    if (memchr(&cpu->pending[EXC_IRQ0], 1, CPU_IRQS))
        value |= ICSR_ISRPENDING;
    if (cpu->pending[EXC_SYSTICK])
        value |= ICSR_PENDSTSET;
    if (cpu->pending[EXC_PENDSV])
        value |= ICSR_PENDSVSET;
    if (cpu->pending[EXC_NMI])
        value |= ICSR_NMIPENDSET;
    return value;
}

static void write_icsr(struct cpu *cpu, uint32_t value)
{
    if (value & ICSR_NMIPENDSET)
        pend(cpu, EXC_NMI);
    if (value & ICSR_PENDSVSET)
        pend(cpu, EXC_PENDSV);
    if (value & ICSR_PENDSVCLR)
        unpend(cpu, EXC_PENDSV);
    if (value & ICSR_PENDSTSET)
        pend(cpu, EXC_SYSTICK);
    if (value & ICSR_PENDSTCLR)
        unpend(cpu, EXC_SYSTICK);
}

/* B3.2.13: active and pending bits of the system exceptions. */
static const struct {
    uint8_t bit, exception;
} shcsr_active[] =
    {
        {0,  EXC_MEM_MANAGE   },
        {1,  EXC_BUS_FAULT    },
        {3,  EXC_USAGE_FAULT  },
        {7,  EXC_SVC          },
        {8,  EXC_DEBUG_MONITOR},
        {10, EXC_PENDSV       },
        {11, EXC_SYSTICK      }
},
  shcsr_pending[] = {
      {12, EXC_USAGE_FAULT}, {13, EXC_MEM_MANAGE}, {14, EXC_BUS_FAULT}, {15, EXC_SVC}};

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static uint32_t read_shcsr(const struct cpu *cpu)
{
    uint32_t value = cpu->shcsr;
    for (size_t n = 0; n < COUNT_OF(shcsr_active); n++)
        value |= (uint32_t)cpu->active[shcsr_active[n].exception] << shcsr_active[n].bit;
    for (size_t n = 0; n < COUNT_OF(shcsr_pending); n++)
        value |= (uint32_t)cpu->pending[shcsr_pending[n].exception] << shcsr_pending[n].bit;
    return value;
}

static void write_shcsr(struct cpu *cpu, uint32_t value)
{
    cpu->shcsr = value & 7u << 16;
    for (size_t n = 0; n < COUNT_OF(shcsr_active); n++)
        cpu->active[shcsr_active[n].exception] = value >> shcsr_active[n].bit & 1;
    for (size_t n = 0; n < COUNT_OF(shcsr_pending); n++)
        cpu->pending[shcsr_pending[n].exception] = value >> shcsr_pending[n].bit & 1;
}

static void write_aircr(struct cpu *cpu, uint32_t value)
{
    if (value >> 16 != 0x05fa) /* VECTKEY */
        return;
    cpu->aircr = value & AIRCR_PRIGROUP;
    if (value & AIRCR_SYSRESETREQ)
        cpu->halt = CPU_RESETREQ;
}

/* The priority byte at addr, of SHPR1 … 3 and the IPRs. NULL: not implemented, reads 0. */
static uint8_t *priority_at(struct cpu *cpu, uint32_t addr)
{
    if (addr - NVIC_IPR < CPU_IRQS)
        return &cpu->priority[EXC_IRQ0 + addr - NVIC_IPR];
    if (addr - SHPR >= 12)
        return NULL;
    switch (addr - SHPR + 4) {
    case EXC_MEM_MANAGE:
    case EXC_BUS_FAULT:
    case EXC_USAGE_FAULT:
    case EXC_SVC:
    case EXC_DEBUG_MONITOR:
    case EXC_PENDSV:
    case EXC_SYSTICK:
        return &cpu->priority[addr - SHPR + 4];
    default:
        return NULL;
    }
}

static bool has_priorities(uint32_t addr)
{
    return addr - NVIC_IPR < CPU_IRQS || addr - SHPR < 12;
}

static uint32_t read_priorities(struct cpu *cpu, uint32_t addr)
{
    uint32_t value = 0;
    for (unsigned n = 0; n < 4; n++) {
        const uint8_t *priority = priority_at(cpu, addr + n);
        if (priority)
            value |= (uint32_t)*priority << n * 8;
    }
    return value;
}

/* Four priority bits are implemented. */
static void write_priorities(struct cpu *cpu, uint32_t addr, unsigned size, uint32_t value)
{
    for (unsigned n = 0; n < size; n++) {
        uint8_t *priority = priority_at(cpu, addr + n);
        if (priority)
            *priority = (uint8_t)(value >> n * 8 & 0xf0);
    }
}

static uint32_t read_register(struct cpu *cpu, uint32_t addr)
{
    switch (addr) {
    case DWT_CTRL:
        return cpu->dwt_ctrl | 4u << 28; /* four comparators, which do nothing here */
    case DWT_CYCCNT:
        return read_cyccnt(cpu);
    case ICTR:
        return IRQ_WORDS - 1;
    case SYST_CSR:
        return read_systick_csr(cpu);
    case SYST_RVR:
        return cpu->systick_rvr;
    case SYST_CVR:
        return systick_current(cpu);
    case SYST_CALIB:
        return 9000; /* PM0056 §4.5.4 */
    case CPUID:
        return 0x411fc231; /* Cortex-M3 r1p1 */
    case ICSR:
        return read_icsr(cpu);
    case VTOR:
        return cpu->vtor;
    case AIRCR:
        return 0xfa050000 | cpu->aircr;
    case SCR:
        return cpu->scr;
    case CCR:
        return cpu->ccr;
    case SHCSR:
        return read_shcsr(cpu);
    case CFSR:
        return cpu->cfsr;
    case HFSR:
        return cpu->hfsr;
    case MMFAR:
        return cpu->mmfar;
    case BFAR:
        return cpu->bfar;
    case DEMCR:
        return cpu->demcr;
    default:
        break;
    }
    if (has_priorities(addr))
        return read_priorities(cpu, addr);

    if (irq_word(addr, NVIC_ISER) >= 0)
        return read_irq_bits(cpu->enabled, irq_word(addr, NVIC_ISER));
    if (irq_word(addr, NVIC_ICER) >= 0)
        return read_irq_bits(cpu->enabled, irq_word(addr, NVIC_ICER));
    if (irq_word(addr, NVIC_ISPR) >= 0)
        return read_irq_bits(cpu->pending, irq_word(addr, NVIC_ISPR));
    if (irq_word(addr, NVIC_ICPR) >= 0)
        return read_irq_bits(cpu->pending, irq_word(addr, NVIC_ICPR));
    if (irq_word(addr, NVIC_IABR) >= 0)
        return read_irq_bits(cpu->active, irq_word(addr, NVIC_IABR));
    return 0;
}

static void write_register(struct cpu *cpu, uint32_t addr, uint32_t value)
{
    switch (addr) {
    case DWT_CTRL:
        set_cyccnt(cpu, read_cyccnt(cpu));
        cpu->dwt_ctrl = value & DWT_CYCCNTENA;
        return;
    case DWT_CYCCNT:
        set_cyccnt(cpu, value);
        return;
    case DEMCR:
        set_cyccnt(cpu, read_cyccnt(cpu));
        cpu->demcr = value & DEMCR_TRCENA;
        return;
    case SYST_CSR:
        write_systick_csr(cpu, value);
        return;
    case SYST_RVR:
        write_systick_rvr(cpu, value);
        return;
    case SYST_CVR:
        write_systick_cvr(cpu);
        return;
    case ICSR:
        write_icsr(cpu, value);
        return;
    case VTOR:
        cpu->vtor = value & 0x3fffff80;
        return;
    case AIRCR:
        write_aircr(cpu, value);
        return;
    case SCR:
        cpu->scr = value & 0x16;
        return;
    case CCR:
        cpu->ccr = value & (CCR_NONBASETHRDENA | CCR_USERSETMPEND | CCR_UNALIGN_TRP |
                               CCR_DIV_0_TRP | CCR_BFHFNMIGN | CCR_STKALIGN);
        return;
    case SHCSR:
        write_shcsr(cpu, value);
        return;
    case CFSR: /* like HFSR, a one clears */
        cpu->cfsr &= ~value;
        return;
    case HFSR:
        cpu->hfsr &= ~value;
        return;
    case MMFAR:
        cpu->mmfar = value;
        return;
    case BFAR:
        cpu->bfar = value;
        return;
    case STIR:
        if ((value & 0x1ff) < CPU_IRQS)
            pend(cpu, EXC_IRQ0 + (value & 0x1ff));
        return;
    default:
        break;
    }
    if (irq_word(addr, NVIC_ISER) >= 0)
        for_irq_bits(cpu, irq_word(addr, NVIC_ISER), value, enable);
    if (irq_word(addr, NVIC_ICER) >= 0)
        for_irq_bits(cpu, irq_word(addr, NVIC_ICER), value, disable);
    if (irq_word(addr, NVIC_ISPR) >= 0)
        for_irq_bits(cpu, irq_word(addr, NVIC_ISPR), value, pend);
    if (irq_word(addr, NVIC_ICPR) >= 0)
        for_irq_bits(cpu, irq_word(addr, NVIC_ICPR), value, unpend);
}

bool cpu_ppb_read(struct cpu *cpu, uint32_t addr, unsigned size, uint32_t *value)
{
    *value = 0;
    if (!cpu_privileged(cpu))
        return false;
    *value = read_register(cpu, addr & ~3u) >> (addr & 3) * 8;
    if (size < 4)
        *value &= (1u << size * 8) - 1;
    return true;
}

/* Narrow writes are defined for the priorities and the fault status (B3.2.15: a one in the bytes that
 * are written clears). Elsewhere the other bytes are written as zero. */
bool cpu_ppb_write(struct cpu *cpu, uint32_t addr, unsigned size, uint32_t value)
{
    bool allowed = cpu_privileged(cpu) || (addr == STIR && cpu->ccr & CCR_USERSETMPEND);

    if (!allowed)
        return false;
    if (size < 4)
        value &= (1u << size * 8) - 1;
    if (has_priorities(addr))
        write_priorities(cpu, addr, size, value);
    else
        write_register(cpu, addr & ~3u, value << (addr & 3) * 8);
    cpu_poke(cpu);
    return true;
}

/* ---- reset ------------------------------------------------------------------------------------*/

void cpu_reset(struct cpu *cpu, struct cpu_bus *bus)
{
    uint64_t cycles = cpu->cycles, instructions = cpu->instructions;
    uint32_t sp = 0, pc = 0;

    memset(cpu, 0, sizeof *cpu);
    cpu->cycles = cycles;
    cpu->instructions = instructions;
    cpu->r[14] = UINT32_MAX;
    if (!cpu_try_read(cpu, bus, 0, 4, &sp) || !cpu_try_read(cpu, bus, 4, 4, &pc)) {
        cpu->hfsr = HFSR_VECTTBL;
        lock_up(cpu);
    }
    cpu->r[13] = sp & ~3u;
    cpu->pc = cpu->next_pc = pc & ~1u;
    cpu->t = pc & 1;
}
