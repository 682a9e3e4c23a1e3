/* SPDX-License-Identifier: MIT */
/*
 * The exception model, scene by scene. Each scene notes what it sees (which handler ran,
 * EXC_RETURN, status registers, stacked state) and prints one line. Nothing depends on timing, so
 * the lines must be the same on every core that follows the architecture.
 */
#include "tests/firmware/guest.h"

#define SYST_CSR  REG(0xe000e010)
#define SYST_RVR  REG(0xe000e014)
#define SYST_CVR  REG(0xe000e018)
#define NVIC_ISER REG(0xe000e100)
#define NVIC_ICER REG(0xe000e180)
#define NVIC_ISPR REG(0xe000e200)
#define NVIC_ICPR REG(0xe000e280)
#define NVIC_IABR REG(0xe000e300)
#define NVIC_IPR  REG(0xe000e400)
#define IPR(irq)  REG8(0xe000e400 + (irq))
#define ICSR      REG(0xe000ed04)
#define VTOR      REG(0xe000ed08)
#define AIRCR     REG(0xe000ed0c)
#define CCR       REG(0xe000ed14)
#define SHPR(exc) REG8(0xe000ed14 + (exc))
#define SHCSR     REG(0xe000ed24)
#define CFSR      REG(0xe000ed28)
#define UFSR      (*(volatile uint16_t *)0xe000ed2a)
#define HFSR      REG(0xe000ed2c)
#define BFAR      REG(0xe000ed38)
#define STIR      REG(0xe000ef00)

#define AIRCR_KEY        0x05fa0000u
#define CCR_USERSETMPEND (1u << 1)
#define CCR_UNALIGN_TRP  (1u << 3)
#define CCR_DIV_0_TRP    (1u << 4)
#define CCR_STKALIGN     (1u << 9)
#define ICSR_NMIPENDSET  (1u << 31)
#define ICSR_PENDSVSET   (1u << 28)
#define ICSR_PENDSVCLR   (1u << 27)
#define ICSR_PENDSTSET   (1u << 26)
#define XPSR_IT          0x0600fc00u
#define XPSR_T           (1u << 24)
#define BFARVALID        (1u << 15)
#define NOWHERE          0x60000000u /* answers with a bus error */

enum { R0, R1, R2, R3, R12, LR, PC, XPSR }; /* of an exception frame */

extern uint32_t stack_top[]; /* 32 words before the end of RAM */

/* ---- notes ------------------------------------------------------------------------------------*/

enum { MAX_NOTES = 40 };
static volatile uint32_t notes[MAX_NOTES];
static volatile unsigned count;

static void note(uint32_t value)
{
    if (count < MAX_NOTES)
        notes[count++] = value;
}

static void report(const char *scene)
{
    print(scene);
    for (unsigned n = 0; n < count; n++) {
        print_char(' ');
        print_hex(notes[n]);
    }
    print_char('\n');
    count = 0;
}

static inline void barrier(void)
{
    __asm volatile("dsb\n isb" ::: "memory");
}

#define READ_SPECIAL(name)                                                                         \
    ({                                                                                             \
        uint32_t value_;                                                                           \
        __asm volatile("mrs %0, " name : "=r"(value_)::"memory");                                  \
        value_;                                                                                    \
    })
#define WRITE_SPECIAL(name, value)                                                                 \
    __asm volatile("msr " name ", %0\n isb" ::"r"((uint32_t)(value)) : "memory")

static uint32_t process_stack[64] __attribute__((aligned(8)));

/* ---- handlers ---------------------------------------------------------------------------------*/

/* What a scene wants the handlers to do. */
enum act {
    PLAIN,
    NEST_IN_IRQ0,     /* irq0 pends irq1 and irq2 */
    FAULT_IN_IRQ1,    /* irq1 executes an undefined instruction */
    NMI_IN_FAULT,     /* the fault handler pends NMI */
    BAD_RETURN,       /* SVC: EXC_RETURN ends in 3 */
    RETURN_TOO_FAR,   /* irq0, above irq1: EXC_RETURN to thread mode */
    WRONG_MODE_FRAME, /* SVC: the frame claims to be a handler's */
    LOSE_PSP,         /* SVC: PSP points nowhere at return */
    SET_FAULTMASK,    /* SVC: with FAULTMASK set at return */
};
static volatile enum act act;

/* A handler gets the frame and EXC_RETURN, and returns the EXC_RETURN to use. */
#define HANDLER(name, function)                                                                    \
    __attribute__((naked)) void name(void)                                                         \
    {                                                                                              \
        __asm volatile("mov r1, lr\n"                                                              \
                       "tst lr, #4\n"                                                              \
                       "ite eq\n"                                                                  \
                       "mrseq r0, msp\n"                                                           \
                       "mrsne r0, psp\n"                                                           \
                       "push {r4, lr}\n"                                                           \
                       "bl " #function "\n"                                                        \
                       "pop {r4, lr}\n"                                                            \
                       "bx r0\n");                                                                 \
    }

uint32_t handle_svc(uint32_t *frame, uint32_t exc_return)
{
    uint8_t number = ((const uint8_t *)frame[PC])[-2];

    note(0x5c000000 | number);
    note(exc_return);
    switch (number) {
    case 1: /* arguments and result */
        frame[R0] = frame[R0] + frame[R1] * 16 + frame[R2] * 256 + frame[R3] * 4096;
        break;
    case 2: /* PendSV is less urgent and waits */
        ICSR = ICSR_PENDSVSET;
        barrier();
        note(0x5c0000ff);
        break;
    case 3: /* back to privileged */
        WRITE_SPECIAL("control", 0);
        break;
    case 4:
        note(frame[XPSR] & XPSR_IT);
        break;
    case 5:
        note(SHCSR);
        break;
    default:
        break;
    }
    if (act == BAD_RETURN)
        return 0xfffffff3;
    if (act == WRONG_MODE_FRAME)
        frame[XPSR] |= 16;
    if (act == LOSE_PSP)
        WRITE_SPECIAL("psp", NOWHERE);
    if (act == SET_FAULTMASK)
        __asm volatile("cpsid f");
    return exc_return;
}
HANDLER(svc, handle_svc)

/* Moves the frame past the instruction that faulted, its IT block included. */
static void skip_instruction(uint32_t *frame)
{
    uint16_t insn = *(const uint16_t *)frame[PC];
    uint32_t xpsr = frame[XPSR];
    uint32_t it = (xpsr >> 25 & 3) | (xpsr >> 8 & 0xfc);

    it = it & 7 ? (it & 0xe0) | (it << 1 & 0x1f) : 0;
    frame[PC] += insn >> 11 >= 29 ? 4 : 2;
    frame[XPSR] = (xpsr & ~XPSR_IT) | (it & 3) << 25 | (it & 0xfc) << 8;
}

static int is_code(uint32_t addr)
{
    return addr - 0x08000000 < 0x20000;
}

uint32_t handle_fault(uint32_t *frame, uint32_t exc_return)
{
    uint32_t cfsr = CFSR;

    note(0xfa000000 | READ_SPECIAL("ipsr"));
    note(cfsr);
    note(HFSR);
    note(exc_return);
    if (cfsr & BFARVALID)
        note(BFAR);
    CFSR = cfsr;
    HFSR = HFSR;
    if (act == NMI_IN_FAULT) {
        ICSR = ICSR_NMIPENDSET;
        barrier();
        note(0xfa0000ff);
    }
    if (cfsr & (1u << 11 | 1u << 12)) { /* UNSTKERR, STKERR: there is no frame; make one */
        frame = &process_stack[40];
        for (int n = 0; n < 6; n++)
            frame[n] = 0;
        extern void after_lost_stack(void);
        frame[PC] = (uint32_t)after_lost_stack & ~1u;
        frame[XPSR] = XPSR_T;
        WRITE_SPECIAL("psp", frame);
        return exc_return;
    }
    if (cfsr & 1u << 18) { /* INVPC: the frame is that of the failed return. Now do it right. */
        uint32_t right = act == RETURN_TOO_FAR ? 0xfffffff1 : 0xfffffff9;
        note(frame[XPSR] & 0x1ff);
        if (act == WRONG_MODE_FRAME)
            frame[XPSR] &= ~0x1ffu;
        act = PLAIN;
        return right;
    }
    if (frame[XPSR] & XPSR_T && is_code(frame[PC])) {
        note(*(const uint16_t *)frame[PC]);
        note(frame[XPSR] & XPSR_IT);
        skip_instruction(frame);
    } else { /* a branch to nowhere, or without T: as if it had been a call that returns */
        note(frame[PC]);
        frame[XPSR] = (frame[XPSR] & ~XPSR_IT) | XPSR_T;
        frame[PC] = frame[LR] & ~1u;
    }
    return exc_return;
}
HANDLER(bus_fault, handle_fault)
HANDLER(usage_fault, handle_fault)
HANDLER(mem_manage, handle_fault)

/* A vector that could not be read: its interrupt is still pending. */
uint32_t handle_hard_fault(uint32_t *frame, uint32_t exc_return)
{
    if (!(HFSR & 2))
        return handle_fault(frame, exc_return);
    note(0xfa000000 | READ_SPECIAL("ipsr"));
    note(CFSR);
    note(HFSR & 2); /* QEMU sets FORCED too, as ARMv8-M would have it */
    note(exc_return);
    HFSR = HFSR;
    NVIC_ICPR = 1u << 16;
    VTOR = 0;
    barrier();
    return exc_return;
}
HANDLER(hard_fault, handle_hard_fault)

void nmi(void)
{
    note(0xff000000 | READ_SPECIAL("ipsr"));
    note(ICSR & 0x1ff);
}

void pendsv(void)
{
    note(0x9e000000 | READ_SPECIAL("ipsr"));
}

static volatile unsigned ticks;
void systick(void)
{
    ticks++;
}

uint32_t handle_irq0(uint32_t *frame, uint32_t exc_return)
{
    (void)frame;
    note(0xa0);
    if (act == NEST_IN_IRQ0) {
        NVIC_ISPR = 1u << 1 | 1u << 2;
        barrier();
        note(NVIC_IABR);
    }
    note(0xa1);
    return act == RETURN_TOO_FAR ? 0xfffffff9 : exc_return;
}
HANDLER(irq0, handle_irq0)

void irq1(void)
{
    note(0xb0);
    note(NVIC_IABR);
    if (act == FAULT_IN_IRQ1)
        __asm volatile("udf #9");
    if (act == RETURN_TOO_FAR) {
        NVIC_ISPR = 1;
        barrier();
    }
    note(0xb1);
}

void irq2(void)
{
    note(0xc0);
    note(ICSR & 0x1ff);
}

/* ---- scenes -----------------------------------------------------------------------------------*/

static uint32_t call_svc1(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    register uint32_t r0 __asm("r0") = a, r1 __asm("r1") = b, r2 __asm("r2") = c,
                         r3 __asm("r3") = d;
    __asm volatile("svc 1" : "+r"(r0) : "r"(r1), "r"(r2), "r"(r3) : "memory");
    return r0;
}

static void pend_irqs(uint32_t mask)
{
    NVIC_ISPR = mask;
    barrier();
}

static void set_priorities(uint8_t irq0_, uint8_t irq1_, uint8_t irq2_)
{
    IPR(0) = irq0_;
    IPR(1) = irq1_;
    IPR(2) = irq2_;
}

static void supervisor_calls(void)
{
    note(call_svc1(1, 2, 3, 4));
    report("svc");
    SHPR(11) = 0x80;
    SHPR(14) = 0xf0;
    __asm volatile("svc 2" ::: "memory");
    report("pendsv after svc");
    ICSR = ICSR_PENDSTSET;
    barrier();
    note(ticks);
    __asm volatile("cpsid i");
    ICSR = ICSR_PENDSVSET;
    note(ICSR >> 28 & 1);
    ICSR = ICSR_PENDSVCLR;
    note(ICSR >> 28 & 1);
    __asm volatile("cpsie i\n isb" ::: "memory");
    report("pend and unpend");
}

static void interrupts(void)
{
    set_priorities(0x80, 0x40, 0xc0);
    NVIC_ISER = 7;
    act = NEST_IN_IRQ0;
    pend_irqs(1);
    report("nesting and tail-chaining");
    act = PLAIN;
    note(NVIC_IPR);
    note(NVIC_ISER);
    note(SHCSR);
    report("registers");
    STIR = 2;
    barrier();
    report("stir");
    NVIC_ICER = 4;
    pend_irqs(4);
    note(NVIC_ISPR & 7);
    NVIC_ICPR = 4;
    NVIC_ISER = 4;
    barrier();
    report("disabled");
    set_priorities(0x60, 0x60, 0x60);
    __asm volatile("cpsid i");
    pend_irqs(7);
    __asm volatile("cpsie i\n isb" ::: "memory");
    report("equal priorities");
    set_priorities(0x70, 0x40, 0x50);
    AIRCR = AIRCR_KEY | 6u << 8;
    act = NEST_IN_IRQ0;
    pend_irqs(1);
    act = PLAIN;
    note(AIRCR);
    AIRCR = AIRCR_KEY;
    AIRCR = 7u << 8; /* without the key */
    note(AIRCR);
    report("one group does not preempt");
    ICSR = ICSR_NMIPENDSET;
    barrier();
    report("nmi");
}

static void masks(void)
{
    __asm volatile("cpsid i");
    pend_irqs(1);
    note(1);
    note(ICSR >> 12 & 0x1ff);
    note(READ_SPECIAL("primask"));
    __asm volatile("cpsie i\n isb" ::: "memory");
    note(2);
    report("primask");

    WRITE_SPECIAL("basepri", 0x60);
    pend_irqs(1);
    note(1);
    pend_irqs(2);
    note(2);
    WRITE_SPECIAL("basepri_max", 0x90);
    note(READ_SPECIAL("basepri"));
    WRITE_SPECIAL("basepri_max", 0x30);
    note(READ_SPECIAL("basepri"));
    WRITE_SPECIAL("basepri", 0);
    report("basepri");

    __asm volatile("cpsid f");
    pend_irqs(2);
    note(READ_SPECIAL("faultmask"));
    __asm volatile("cpsie f\n isb" ::: "memory");
    report("faultmask");
    act = SET_FAULTMASK;
    __asm volatile("svc 6" ::: "memory");
    act = PLAIN;
    note(READ_SPECIAL("faultmask"));
    report("return clears faultmask");
}

static void stacks(void)
{
    WRITE_SPECIAL("psp", &process_stack[63]);
    WRITE_SPECIAL("control", 2);
    note(call_svc1(4, 3, 2, 1));
    uint32_t psp = READ_SPECIAL("psp");
    WRITE_SPECIAL("control", 0);
    note(psp - (uint32_t)process_stack);
    report("process stack");

    uint32_t moved;
    __asm volatile("mov r4, sp\n sub sp, #4\n svc 7\n mov %0, sp\n mov sp, r4\n sub %0, r4, %0"
                   : "=r"(moved)::"r4", "memory");
    note(moved);
    report("stack alignment");

    WRITE_SPECIAL("psp", 0x20000103);
    note(READ_SPECIAL("psp"));
    report("low bits of sp");
}

static void unprivileged(void)
{
    uint32_t primask, control, psp;
    __asm volatile("msr control, %3\n isb\n"
                   "cpsid i\n"
                   "mrs %0, primask\n"
                   "mrs %1, psp\n"
                   "svc 3\n"
                   "mrs %2, control"
                   : "=&r"(primask), "=&r"(psp), "=&r"(control)
                   : "r"(1)
                   : "memory");
    note(primask);
    note(psp);
    note(control);
    report("no privilege, no masks");

    SHCSR = 7u << 16;
    WRITE_SPECIAL("control", 1);
    (void)ICSR;
    STIR = 0;
    barrier();
    __asm volatile("svc 3" ::: "memory");
    report("no privilege, no system registers");
    CCR |= CCR_USERSETMPEND;
    WRITE_SPECIAL("control", 1);
    STIR = 0;
    barrier();
    __asm volatile("svc 3" ::: "memory");
    CCR &= ~CCR_USERSETMPEND;
    report("stir for everyone");
    SHCSR = 0;
}

static void usage_faults(void)
{
    uint32_t value;

    __asm volatile("udf #1");
    report("udf becomes hard fault");
    SHCSR = 7u << 16;
    CCR |= CCR_UNALIGN_TRP | CCR_DIV_0_TRP;
    __asm volatile("udf #2");
    report("udf");
    __asm volatile("udf.w #2");
    report("udf.w");
    __asm volatile("movs r0, #0\n udiv r1, r0, r0" ::: "r0", "r1");
    report("division by zero");
    __asm volatile("ldr r0, [%0, #1]" ::"r"(process_stack) : "r0", "memory");
    report("unaligned trap");
    CCR &= ~CCR_UNALIGN_TRP;
    __asm volatile("ldrd r0, r1, [%0]" ::"r"((char *)process_stack + 2) : "r0", "r1", "memory");
    report("unaligned ldrd");
    __asm volatile("ldmia %0!, {r0, r1}" ::"r"((char *)process_stack + 1) : "r0", "r1", "memory");
    report("unaligned ldm");
    __asm volatile("mcr p15, 0, r0, c0, c0, 0");
    report("no coprocessor");
    __asm volatile("blx %0" ::"r"(0x08000100) : "lr", "r0", "r1", "r2", "r3", "r12", "memory");
    report("invalid state");
    __asm volatile("cmp r0, r0\n"
                   "itte eq\n"
                   "moveq %0, #1\n"
                   "udfeq #3\n"
                   "movne %0, #2"
                   : "=r"(value)::"cc");
    note(value);
    report("udf in an IT block");
    act = NMI_IN_FAULT;
    __asm volatile("udf #4");
    act = PLAIN;
    report("nmi in a fault handler");
    SHPR(6) = 0x80; /* usage fault, less urgent than irq1 */
    act = FAULT_IN_IRQ1;
    pend_irqs(2);
    act = PLAIN;
    report("fault that cannot preempt");
    SHPR(6) = 0;
    __asm volatile("cpsid i\n udf #5\n cpsie i");
    report("udf under primask");
    __asm volatile("cpsid i\n svc 6\n nop\n cpsie i" ::: "memory");
    report("svc under primask");
    SHCSR = 7u << 16;
}

static void bus_faults(void)
{
    __asm volatile("ldr r0, [%0]" ::"r"(NOWHERE) : "r0", "memory");
    report("load from nowhere");
    __asm volatile("strb r0, [%0, #3]" ::"r"(NOWHERE) : "memory");
    report("store to nowhere");
    __asm volatile("mov r2, %0\n"
                   "movs r3, #0x55\n"
                   "ldmia r2!, {r3, r4}\n"
                   "mov %0, r2\n"
                   : "=r"((uint32_t){0})
                   : "0"(NOWHERE)
                   : "r2", "r3", "r4", "memory");
    report("ldm from nowhere");
    uint32_t base = NOWHERE, loaded = 0x55;
    __asm volatile("ldr %1, [%0], #4" : "+r"(base), "+r"(loaded)::"memory");
    note(base);
    note(loaded);
    report("a faulting load changes nothing");
    __asm volatile("blx %0" ::"r"(0x10000001) : "lr", "r0", "r1", "r2", "r3", "r12", "memory");
    report("branch to nowhere");
    __asm volatile("blx %0" ::"r"(0x40000001) : "lr", "r0", "r1", "r2", "r3", "r12", "memory");
    report("branch to a peripheral");
    __asm volatile("blx %0" ::"r"(0xfffffff9) : "lr", "r0", "r1", "r2", "r3", "r12", "memory");
    report("EXC_RETURN in thread mode");
}

static void failed_returns(void)
{
    act = BAD_RETURN;
    __asm volatile("svc 8" ::: "memory");
    report("return of no kind");
    act = WRONG_MODE_FRAME;
    __asm volatile("svc 8" ::: "memory");
    report("return with another mode's frame");
    set_priorities(0x40, 0x80, 0xc0);
    act = RETURN_TOO_FAR;
    pend_irqs(2);
    report("return past a handler");
    note(NVIC_IABR);
    note(SHCSR);
    report("what stays active");
}

/* Runs on the process stack until its stack is lost; goes on in after_lost_stack(). */
static void on_process_stack(uint32_t psp, const char *scene)
{
    __asm volatile("push {r4-r11, lr}\n"
                   "mov r4, %0\n"
                   "mov r5, %1\n"
                   "msr psp, r4\n"
                   "movs r6, #2\n"
                   "msr control, r6\n"
                   "isb\n"
                   "svc 9\n"
                   "after_lost_stack:\n"
                   ".thumb_func\n"
                   "nop\n"
                   "movs r6, #0\n"
                   "msr control, r6\n"
                   "isb\n"
                   "pop {r4-r11, lr}\n" ::"r"(psp),
                   "r"(scene)
                   : "r0", "r1", "r2", "r3", "r12", "cc", "memory");
    report(scene);
}

static void lost_stacks(void)
{
    on_process_stack((uint32_t)&process_stack[60], "a stack as it should be");
    act = LOSE_PSP;
    on_process_stack((uint32_t)&process_stack[60], "unstacking fails");
    act = PLAIN;
    on_process_stack(NOWHERE, "stacking fails");
}

static void lost_vector(void)
{
    uint32_t *table = stack_top; /* ends before IRQ 16 */
    for (int n = 0; n < 32; n++)
        table[n] = REG(0x08000000 + 4 * n);
    VTOR = (uint32_t)table;
    barrier();
    NVIC_ISER = 1u << 16;
    pend_irqs(1u << 16);
    note(VTOR);
    NVIC_ICER = 1u << 16;
    report("a vector that cannot be read");
}

static void it_blocks(void)
{
    uint32_t value;

    __asm volatile("mov %0, #0\n"
                   "cmp %0, #0\n"
                   "ittet eq\n"
                   "addeq %0, #1\n"
                   "svceq 4\n"
                   "addne %0, #32\n"
                   "addeq %0, #4"
                   : "=&r"(value)::"cc", "memory");
    note(value);
    report("svc in an IT block");
    set_priorities(0x40, 0x40, 0x40);
    __asm volatile("movs r1, #0\n"
                   "movs r2, #1\n"
                   "cmp r1, #0\n"
                   "itttt eq\n"
                   "streq r2, [%1]\n"
                   "addeq r1, #1\n"
                   "addeq r1, #2\n"
                   "addeq r1, #4\n"
                   "mov %0, r1"
                   : "=r"(value)
                   : "r"(0xe000e200)
                   : "r1", "r2", "cc", "memory");
    note(value);
    report("interrupt in an IT block");
}

static void exclusives(void)
{
    uint32_t failed;

    __asm volatile("ldrex r0, [%1]\n adds r0, #1\n strex %0, r0, [%1]"
                   : "=&r"(failed)
                   : "r"(process_stack)
                   : "r0", "cc", "memory");
    note(failed);
    __asm volatile("ldrex r0, [%1]\n svc 6\n strex %0, r0, [%1]"
                   : "=&r"(failed)
                   : "r"(process_stack)
                   : "r0", "memory");
    note(failed);
    __asm volatile("ldrex r0, [%1]\n clrex\n strex %0, r0, [%1]"
                   : "=&r"(failed)
                   : "r"(process_stack)
                   : "r0", "memory");
    note(failed);
    report("exclusives");
}

static void sleep(void)
{
    ticks = 0;
    SYST_RVR = 999;
    SYST_CVR = 0;
    SYST_CSR = 7;
    while (ticks < 5)
        __asm volatile("wfi");
    SYST_CSR = 0;
    note(ticks >= 5);
    report("wfi and systick");
    __asm volatile("cpsid i");
    NVIC_ISPR = 1;
    __asm volatile("wfi");
    note(7);
    __asm volatile("cpsie i\n isb" ::: "memory");
    report("wfi under primask");
    __asm volatile("sev\n wfe");
    note(8);
    report("wfe");
}

static void handler_in_ram(void)
{
    note(0x4a4a4a4a);
}

static void vectors_in_ram(void)
{
    static uint32_t table[76] __attribute__((aligned(512)));
    for (int n = 0; n < 76; n++)
        table[n] = REG(0x08000000 + 4 * n);
    table[11] = (uint32_t)handler_in_ram;
    VTOR = (uint32_t)table;
    barrier();
    __asm volatile("svc 9" ::: "memory");
    VTOR = 0;
    barrier();
    report("vectors in ram");
}

static void bit_band(void)
{
    static uint32_t word;
    volatile uint32_t *alias =
        (volatile uint32_t *)(0x22000000 + ((uint32_t)&word - 0x20000000) * 32);

    word = 0xf0;
    alias[0] = 1;
    alias[4] = 0xfe;
    alias[31] = 0xff;
    note(word);
    note(alias[5]);
    note(alias[6] << 1 | alias[30]);
    note(*(volatile uint8_t *)&alias[31]);
    report("bit-band");
}

static void status_registers(void)
{
    CCR |= CCR_DIV_0_TRP;
    __asm volatile("cpsid i"); /* so that HFSR.FORCED and UFSR stay to be looked at */
    note(UFSR);
    __asm volatile("cpsie i");
    note(CFSR);
    note(HFSR);
    note(SHCSR);
    note(CCR);
    note(ICSR);
    note(NVIC_ISPR);
    report("status at the end");
}

int main(void)
{
    CCR |= CCR_STKALIGN; /* r1p1 resets it to 0, r2p0 to 1 */
    supervisor_calls();
    interrupts();
    masks();
    stacks();
    unprivileged();
    usage_faults();
    bus_faults();
    it_blocks();
    exclusives();
    bit_band();
    sleep();
    vectors_in_ram();
    lost_stacks();
    lost_vector();
    failed_returns();
    status_registers();
    return 0;
}
