/* SPDX-License-Identifier: MIT */
/*
 * Runs the programs that tests/differential.c has put behind this image, each from many states, and
 * folds into a hash whatever becomes visible: all registers, flags, fault status, exception frames,
 * memory. One line for each program; equal lines mean equal behaviour, whoever runs the image.
 *
 * A program that faults goes on behind the instruction at fault, as if that had been skipped.
 */
#include "tests/firmware/differential.h"
#include "tests/firmware/guest.h"

#define ICSR  REG(0xe000ed04)
#define CCR   REG(0xe000ed14)
#define SHPR1 REG(0xe000ed18)
#define SHPR2 REG(0xe000ed1c)
#define SHPR3 REG(0xe000ed20)
#define SHCSR REG(0xe000ed24)
#define CFSR  REG(0xe000ed28)
#define HFSR  REG(0xe000ed2c)
#define MMFAR REG(0xe000ed34)
#define BFAR  REG(0xe000ed38)

enum {
    EXCEPTION_PENDSV = 14,

    CFSR_IACCVIOL = 1 << 0,
    CFSR_MMARVALID = 1 << 7,
    CFSR_IBUSERR = 1 << 8,
    CFSR_BFARVALID = 1 << 15,
    CFSR_INVSTATE = 1 << 17,

    CCR_TRAPS = 3 << 3, /* UNALIGN_TRP, DIV_0_TRP */
    CCR_STKALIGN = 1 << 9,
    XPSR_T = 1 << 24,
    XPSR_IT = 0x0600fc00,
};

#define batch ((const volatile struct batch *)BATCH_ADDR)

/* An exception frame (DDI 0403 B1.5.6). */
struct frame {
    uint32_t r0, r1, r2, r3, r12, lr, pc, xpsr;
};

/* ---- chance and hash --------------------------------------------------------------------------*/

static uint32_t state, hash;

static uint32_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static uint32_t random_value(void)
{
    static const uint32_t edges[16] = {0, 1, 2, 31, 32, 33, 0x55, 0xff, 0x100, 0x8000, 0xffff,
        0x7fffffff, 0x80000000, 0xaaaaaaaa, 0xfffffffe, 0xffffffff};
    uint32_t chance = next_random();

    if ((chance & 3) == 0)
        return edges[chance >> 2 & 15];
    return (chance & 3) == 1 ? chance >> 8 & 63 : next_random();
}

static void mix(uint32_t x)
{
    hash = (hash ^ x) * 16777619u;
    hash ^= hash >> 15;
}

static void mix_words(const uint32_t *words, unsigned count)
{
    while (count--)
        mix(*words++);
}

/* ---- leaving a program ------------------------------------------------------------------------*/

static void show_words(const uint32_t *words, unsigned count)
{
    while (count--)
        print_char(' '), print_hex(*words++);
}

static void show(const struct frame *frame, const uint32_t *r4_to_lr, uint32_t ipsr, uint32_t cfsr)
{
    print("  exception "), print_hex(ipsr);
    print(" cfsr "), print_hex(cfsr);
    print(" hfsr "), print_hex(HFSR);
    print(" bfar "), print_hex(cfsr & CFSR_BFARVALID ? BFAR : 0);
    print(" psp "), print_hex((uint32_t)frame);
    print("\n    r0-r3, r12, lr, pc, xpsr:"), show_words(&frame->r0, 8);
    print("\n    r4-r11, exc_return:"), show_words(r4_to_lr, 9);
    print_char('\n');
}

/* B1.4.2 ITAdvance, on a stacked xPSR. */
static uint32_t advance_it(uint32_t xpsr)
{
    uint32_t it = (xpsr >> 25 & 3) | (xpsr >> 8 & 0xfc);
    it = it & 7 ? (it & 0xe0) | (it << 1 & 0x1f) : 0;
    return (xpsr & ~(uint32_t)XPSR_IT) | (it & 3) << 25 | (it & 0xfc) << 8;
}

static void skip_instruction(struct frame *frame)
{
    uint32_t first = *(const uint16_t *)frame->pc;
    frame->pc += first >> 11 >= 29 ? 4 : 2;
    frame->xpsr = advance_it(frame->xpsr);
}

/* B1.5.3: an SVC that its priority forbids is a HardFault and nothing else is noted. Its return
 * address is behind it. */
static int is_escalated_svc(uint32_t ipsr, uint32_t cfsr)
{
    return ipsr == 3 && cfsr == 0;
}

static void set_thread_unprivileged(uint32_t yes)
{
    uint32_t control;
    __asm volatile("mrs %0, control" : "=r"(control));
    __asm volatile("msr control, %0\n isb" ::"r"((control & ~1u) | yes) : "memory");
}

/* Called by the handlers with what the program has left. Returns 1 when it has ended. */
__attribute__((used)) static uint32_t leave(struct frame *frame, const uint32_t *r4_to_lr)
{
    uint32_t ipsr, cfsr = CFSR;

    REG(MARKER_ADDR) = 0;
    __asm volatile("mrs %0, ipsr" : "=r"(ipsr));
    if (batch->show)
        show(frame, r4_to_lr, ipsr, cfsr);
    mix(ipsr);
    mix(cfsr);
    mix(HFSR);
    if (cfsr & CFSR_BFARVALID) /* of an unaligned access QEMU tells the word it lies in */
        mix(BFAR & ~3u);
    if (cfsr & CFSR_MMARVALID)
        mix(MMFAR);
    mix((uint32_t)frame);
    mix_words(&frame->r0, 8);
    mix_words(r4_to_lr, 9);
    CFSR = UINT32_MAX;
    HFSR = UINT32_MAX;

    uint32_t svc = 0;
    if (ipsr == 11 || is_escalated_svc(ipsr, cfsr)) {
        svc = *(const uint8_t *)(frame->pc - 2);
        if (svc == SVC_UNPRIVILEGED || svc == SVC_PRIVILEGED)
            set_thread_unprivileged(svc == SVC_UNPRIVILEGED);
    } else if (cfsr & (CFSR_IACCVIOL | CFSR_IBUSERR)) {
        svc = SVC_END; /* nowhere to go */
    } else if (cfsr & CFSR_INVSTATE) {
        frame->xpsr |= XPSR_T;
    } else if (ipsr != EXCEPTION_PENDSV) {
        skip_instruction(frame);
    }
    if (svc != SVC_END)
        REG(MARKER_ADDR) = 1;
    return svc == SVC_END;
}

/* From main, by SVC: leaves r4 to r11 on the main stack and enters the program whose registers are in
 * `start`. From the program: on, or back to main. */
uint32_t start[10]; /* r4 … r11, PSP, CONTROL */

__attribute__((naked)) void svc(void)
{
    __asm volatile("tst lr, #4\n"
                   "bne 1f\n"
                   "push {r4-r11}\n"
                   "ldr r0, =start\n"
                   "ldmia r0!, {r4-r11}\n"
                   "ldmia r0, {r1, r2}\n"
                   "msr psp, r1\n"
                   "msr control, r2\n"
                   "mvn lr, #2\n" /* 0xfffffffd */
                   "bx lr\n"
                   "1: push {r4-r11, lr}\n"
                   "mrs r0, psp\n"
                   "mov r1, sp\n"
                   "bl leave\n"
                   "cbnz r0, 2f\n"
                   "pop {r4-r11, pc}\n"
                   "2: add sp, #36\n"
                   "pop {r4-r11}\n"
                   "mov r0, #0\n"
                   "msr control, r0\n"
                   "mvn lr, #6\n" /* 0xfffffff9 */
                   "bx lr\n"
                   ".ltorg\n");
}
void hard_fault(void) __attribute__((alias("svc")));
void mem_manage(void) __attribute__((alias("svc")));
void bus_fault(void) __attribute__((alias("svc")));
void usage_fault(void) __attribute__((alias("svc")));
void pendsv(void) __attribute__((alias("svc")));

/* ---- running one ------------------------------------------------------------------------------*/

static void prepare(uint32_t entry)
{
    uint32_t *data = (uint32_t *)DATA_ADDR, chance = next_random();
    /* 4 bytes off, half the time: so that STKALIGN shows */
    struct frame *frame = (struct frame *)(PROCESS_STACK - (chance & 4)) - 1;

    for (int n = 0; n < 8; n++)
        start[n] = random_value();
    start[8] = (uint32_t)frame;
    start[9] = !(entry & PROGRAM_PRIVILEGED);
    *frame = (struct frame){.r0 = random_value(),
        .r1 = random_value(),
        .r2 = random_value(),
        .r3 = random_value(),
        .r12 = random_value(),
        .lr = random_value(),
        .pc = entry & ~1u,
        .xpsr = (chance & 0xf8000000) | XPSR_T};
    for (int n = 0; n < 4; n++)
        data[next_random() % (DATA_SIZE / 4)] = next_random();

    uint32_t traps = chance & 0x600 ? 0 : next_random() & CCR_TRAPS;
    CCR = traps | (chance & 0x800 ? CCR_STKALIGN : 0);
    SHPR1 = next_random() & 0x00f0f0f0;
    SHPR2 = next_random() & 0xf0000000;
    SHPR3 = next_random() & 0x00f00000;
}

static void run(uint32_t entry)
{
    prepare(entry);
    CFSR = UINT32_MAX;
    HFSR = UINT32_MAX;
    REG(MARKER_ADDR) = 1;
    __asm volatile("dsb\n isb\n svc 1" ::: "memory");
    mix_words((const uint32_t *)PROCESS_STACK - 16, 16);
}

int main(void)
{
    SHCSR = 7u << 16;
    for (uint32_t n = 0; n < batch->programs; n++) {
        hash = 2166136261u;
        state = (batch->seed + n) * 2654435761u | 1;
        for (uint32_t count = 0; count < batch->runs; count++)
            run(batch->entry[n]);
        mix_words((const uint32_t *)DATA_ADDR, DATA_SIZE / 4);
        print_hex(n), print_char(' ');
        print_hex(hash), print_char('\n');
    }
    return 0;
}
