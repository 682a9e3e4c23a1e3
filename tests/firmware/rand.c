/* SPDX-License-Identifier: MIT */
/*
 * Random instructions in random states. Each test makes an instruction in RAM, maybe in an IT
 * block, runs it in thread mode on the process stack with random registers, and folds everything
 * that came of it (registers, flags, memory, which fault) into a hash. Equal lines mean equal
 * behaviour, whoever runs the image.
 *
 * To find a difference, build with -DSHOW_FROM=a -DSHOW_TO=b: those tests are printed in full.
 */
#include "tests/firmware/guest.h"

#ifndef COUNT
#define COUNT 100000
#endif
#ifndef SEED
#define SEED 2463534242u
#endif
#ifndef SHOW_FROM
#define SHOW_FROM 0
#define SHOW_TO   0
#endif

#define CCR   REG(0xe000ed14)
#define SHCSR REG(0xe000ed24)
#define CFSR  REG(0xe000ed28)

enum {
    DATA_WORDS = 128, /* pointers aim at its second quarter: -64 … +252 bytes are data too */
    STACK_WORDS = 64,
    LINE_EVERY = 5000,
    SVC = 11,
};

/* What the instruction starts from and what came of it; the handler below knows the layout. */
uint32_t before[16], after[16], flags_before, xpsr_after, ended_by;
uint32_t main_registers[9];
uint16_t code[8] __attribute__((aligned(8)));
static uint32_t data[DATA_WORDS] __attribute__((aligned(8)));
static uint32_t stack[STACK_WORDS] __attribute__((aligned(8)));

/* ---- chance -----------------------------------------------------------------------------------*/

static uint32_t next_random(void)
{
    static uint32_t state = SEED;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* Any register that an instruction may use freely: not SP, not PC. */
static unsigned random_register(void)
{
    for (;;) {
        unsigned number = next_random() & 15;
        if (number != 13 && number != 15)
            return number;
    }
}

static uint32_t random_value(void)
{
    static const uint32_t edges[16] = {0, 1, 2, 31, 32, 33, 0x55, 0xff, 0x100, 0x8000, 0xffff,
        0x7fffffff, 0x80000000, 0xaaaaaaaa, 0xfffffffe, 0xffffffff};
    switch (next_random() & 3) {
    case 0:
        return edges[next_random() & 15];
    case 1:
        return next_random() & 63;
    default:
        return next_random();
    }
}

/* ---- 32-bit instructions ----------------------------------------------------------------------*/

/* Bit patterns, first half-word first. 0 and 1 stand for themselves, x for either. A letter is a
 * register number: n, d, m, t and a as the manual names them, p one that points into data, o one
 * that holds a small offset. */
static const char *const patterns[] = {
    /* data processing, modified immediate */
    "11110x0xxxxxnnnn0xxxddddxxxxxxxx",
    "11110x00010x11110xxxddddxxxxxxxx",
    "11110x00011x11110xxxddddxxxxxxxx",
    "11110x000001nnnn0xxx1111xxxxxxxx",
    "11110x001001nnnn0xxx1111xxxxxxxx",
    "11110x010001nnnn0xxx1111xxxxxxxx",
    "11110x011011nnnn0xxx1111xxxxxxxx",
    /* data processing, shifted register */
    "1110101xxxxxnnnn0xxxddddxxxxmmmm",
    "11101010010x11110xxxddddxxxxmmmm",
    "11101010011x11110xxxddddxxxxmmmm",
    "111010100001nnnn0xxx1111xxxxmmmm",
    "111010101001nnnn0xxx1111xxxxmmmm",
    "111010110001nnnn0xxx1111xxxxmmmm",
    "111010111011nnnn0xxx1111xxxxmmmm",
    /* plain immediate: ADDW SUBW ADR MOVW MOVT SSAT USAT SBFX UBFX BFI BFC */
    "11110x100000nnnn0xxxddddxxxxxxxx",
    "11110x101010nnnn0xxxddddxxxxxxxx",
    "11110x10000011110xxxddddxxxxxxxx",
    "11110x10101011110xxxddddxxxxxxxx",
    "11110x100100xxxx0xxxddddxxxxxxxx",
    "11110x101100xxxx0xxxddddxxxxxxxx",
    "1111001100x0nnnn0xxxddddxx0xxxxx",
    "1111001110x0nnnn0xxxddddxx0xxxxx",
    "111100110100nnnn0xxxddddxx0xxxxx",
    "111100111100nnnn0xxxddddxx0xxxxx",
    "111100110110nnnn0xxxddddxx0xxxxx",
    "11110011011011110xxxddddxx0xxxxx",
    /* register: shifts, extension, reversal, CLZ, multiplication, division */
    "111110100xxxnnnn1111dddd0000mmmm",
    "111110100x0x11111111dddd10xxmmmm",
    "111110101001mmmm1111dddd10xxmmmm",
    "111110101011mmmm1111dddd1000mmmm",
    "111110110000nnnn1111dddd0000mmmm",
    "111110110000nnnnaaaadddd000xmmmm",
    "111110111000nnnnaaaadddd0000mmmm",
    "111110111010nnnnaaaadddd0000mmmm",
    "111110111100nnnnaaaadddd0000mmmm",
    "111110111110nnnnaaaadddd0000mmmm",
    "111110111001nnnn1111dddd1111mmmm",
    "111110111011nnnn1111dddd1111mmmm",
    /* MRS of the flags */
    "11110011111011111000dddd00000xxx",
    /* loads and stores: imm12, imm8, register, literal */
    "111110001xx0pppptttt000000xxxxxx",
    "1111100x1xx1pppptttt000000xxxxxx",
    "111110000xx0pppptttt1xxx00xxxxxx",
    "1111100x0xx1pppptttt1xxx00xxxxxx",
    "111110000xx0pppptttt000000xxoooo",
    "1111100x0xx1pppptttt000000xxoooo",
    "1111100x0xx11111tttt000xxxxxxxxx",
    /* LDRD STRD, LDM STM, LDREX STREX */
    "1110100xx1xxppppttttaaaa0000xxxx",
    "1110100xx0xxpppp0x0xxxxxxxxxxxxx",
    "111010000101pppptttt11110000xxxx",
    "111010000100ppppttttdddd0000xxxx",
    "111010001101pppptttt1111010x1111",
};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

struct test {
    uint32_t insn; /* of a 32-bit one the first half-word is on top */
    unsigned length;
    int pointer, offset; /* registers, or -1 */
};

/* Registers for the letters, such that no result is the base nor the other result. */
static void choose_registers(unsigned chosen[128])
{
    for (const char *letter = "ndmtapo"; *letter; letter++)
        chosen[(unsigned)*letter] = random_register();
    do {
        chosen['a'] = random_register();
        chosen['t'] = random_register();
        chosen['d'] = random_register();
    } while (
        chosen['a'] == chosen['d'] || chosen['a'] == chosen['t'] || chosen['d'] == chosen['t']);
    do
        chosen['p'] = random_register();
    while (chosen['p'] == chosen['t'] || chosen['p'] == chosen['a'] || chosen['p'] == chosen['d']);
    do
        chosen['o'] = random_register();
    while (chosen['o'] == chosen['p']);
}

static struct test fill_in(const char *pattern)
{
    struct test test = {.length = 4, .pointer = -1, .offset = -1};
    unsigned chosen[128], seen[128] = {0};

    choose_registers(chosen);
    for (const char *p = pattern; *p; p++) {
        uint32_t bit;
        if (*p == '0' || *p == '1')
            bit = *p - '0';
        else if (*p == 'x')
            bit = next_random() & 1;
        else
            bit = chosen[(unsigned)*p] >> (3 - seen[(unsigned)*p]++ % 4) & 1;
        if (*p == 'p')
            test.pointer = (int)chosen['p'];
        if (*p == 'o')
            test.offset = (int)chosen['o'];
        test.insn = test.insn << 1 | bit;
    }
    return test;
}

/* Of the 0xE84x … 0xE8Dx space only LDREX(B,H) with their should-be-one bits set, and STREX. */
static int is_good_exclusive(uint32_t h1, uint32_t h2)
{
    switch (h1 & 0xfff0) {
    case 0xe840:
        return 1;
    case 0xe850:
        return (h2 & 0xf00) == 0xf00;
    case 0xe8d0:
        return (h2 & 0xfe0) == 0xf40;
    default:
        return 0;
    }
}

/* UNPREDICTABLE, so that two cores may differ and both be right; and what QEMU 7.2 gets wrong. */
static int is_unpredictable(uint32_t insn)
{
    uint32_t h1 = insn >> 16, h2 = insn & 0xffff;
    uint32_t lsb = (h2 >> 10 & 0x1c) | (h2 >> 6 & 3), field = h2 & 31;

    if ((h1 & 0xfe40) == 0xe800) { /* LDM STM: base in the list, fewer than two, not IA nor DB */
        unsigned mode = h1 >> 7 & 3;
        return (h2 >> (h1 & 15) & 1) || !(h2 & (h2 - 1)) || mode == 0 || mode == 3;
    }
    if ((h1 & 0xff70) == 0xf320) /* SSAT16 USAT16: QEMU has them on the M3 */
        return lsb == 0;
    if ((h1 & 0xfbf0) == 0xf360) /* BFI BFC: msb below lsb */
        return field < lsb;
    if ((h1 & 0xfff0) == 0xf340 || (h1 & 0xfff0) == 0xf3c0) /* SBFX UBFX beyond bit 31 */
        return lsb + field > 31;
    if ((h1 & 0xfe40) == 0xe840 && !(h1 & 0x120))
        return !is_good_exclusive(h1, h2);
    if ((h1 & 0xfe00) == 0xf800 && (h1 & 15) != 15 && !(h1 & 0x80))
        return (h2 & 0xf00) == 0xe00; /* LDRT and its like: not this test's business */
    return 0;
}

static struct test random_wide(void)
{
    for (;;) {
        struct test test = fill_in(patterns[next_random() % PATTERNS]);
        if (!is_unpredictable(test.insn))
            return test;
    }
}

/* ---- 16-bit instructions ----------------------------------------------------------------------*/

/* 010001xx: not with SP or PC, no BX, no CMP of two low registers. */
static int is_good_special(uint32_t h)
{
    unsigned d = (h & 7) | (h >> 4 & 8), m = h >> 3 & 15, op = h >> 8 & 3;
    return d != 13 && d != 15 && m != 13 && m != 15 && op != 3 && !(op == 1 && d < 8 && m < 8);
}

/* Is it one to test? Fills in the registers that must hold addresses. */
static int suits(struct test *test)
{
    uint32_t h = test->insn;

    switch (h >> 12) {
    case 4:
        return (h & 0xfc00) != 0x4400 || is_good_special(h);
    case 5:
        test->pointer = h >> 3 & 7;
        test->offset = h >> 6 & 7;
        return test->pointer != test->offset;
    case 6:
    case 7:
    case 8:
        test->pointer = h >> 3 & 7;
        return 1;
    case 9: /* relative to SP: compiled code is full of it */
    case 13:
    case 14:
    case 15:
        return 0;
    case 11: /* extension and reversal */
        return (h & 0xff00) == 0xb200 || ((h & 0xff00) == 0xba00 && (h >> 6 & 3) != 2);
    case 12:
        test->pointer = h >> 8 & 7;
        return (h & 0xff) && !(h >> test->pointer & 1);
    default:
        return 1;
    }
}

static struct test random_narrow(void)
{
    for (;;) {
        struct test test = {
            .insn = next_random() & 0xffff, .length = 2, .pointer = -1, .offset = -1};
        if (suits(&test))
            return test;
    }
}

/* ---- running one ------------------------------------------------------------------------------*/

/* From main (MSP): saves its registers and enters the test through an exception return on PSP.
 * From the test, by SVC or a fault: collects everything and goes back to main. */
__attribute__((naked)) void svc(void)
{
    __asm volatile("tst lr, #4\n"
                   "bne 1f\n"
                   "ldr r0, =main_registers\n"
                   "stmia r0!, {r4-r11}\n"
                   "str lr, [r0]\n"
                   "ldr r1, =before\n"
                   "ldr r2, [r1, #52]\n"
                   "sub r2, #32\n"
                   "ldmia r1!, {r4-r7}\n"
                   "stmia r2!, {r4-r7}\n" /* r0 to r3 */
                   "ldr r3, [r1, #32]\n"  /* r12 */
                   "str r3, [r2, #0]\n"
                   "ldr r3, [r1, #40]\n" /* lr */
                   "str r3, [r2, #4]\n"
                   "ldr r3, =code\n"
                   "str r3, [r2, #8]\n"
                   "ldr r3, =flags_before\n"
                   "ldr r3, [r3]\n"
                   "str r3, [r2, #12]\n"
                   "sub r2, #16\n"
                   "msr psp, r2\n"
                   "ldmia r1, {r4-r11}\n"
                   "mvn lr, #2\n" /* 0xfffffffd */
                   "bx lr\n"
                   "1: ldr r0, =after\n"
                   "add r1, r0, #16\n"
                   "stmia r1, {r4-r11}\n"
                   "mrs r2, psp\n"
                   "str r2, [r0, #52]\n"
                   "ldmia r2!, {r4-r7}\n"
                   "stmia r0!, {r4-r7}\n" /* r0 to r3 */
                   "ldmia r2, {r4-r7}\n"  /* r12, lr, pc, xpsr */
                   "str r4, [r0, #32]\n"
                   "str r5, [r0, #40]\n"
                   "str r6, [r0, #44]\n"
                   "ldr r1, =xpsr_after\n"
                   "str r7, [r1]\n"
                   "mrs r3, ipsr\n"
                   "ldr r1, =ended_by\n"
                   "str r3, [r1]\n"
                   "ldr r0, =main_registers\n"
                   "ldmia r0!, {r4-r11}\n"
                   "ldr lr, [r0]\n"
                   "bx lr\n"
                   ".ltorg\n");
}
void usage_fault(void) __attribute__((alias("svc")));
void bus_fault(void) __attribute__((alias("svc")));

static void write_code(const struct test *test, int condition)
{
    unsigned n = 0;

    if (condition >= 0)
        code[n++] = (uint16_t)(0xbf08 | condition << 4); /* IT */
    if (test->length == 4)
        code[n++] = (uint16_t)(test->insn >> 16);
    code[n++] = (uint16_t)test->insn;
    code[n++] = 0xdf00; /* SVC 0 */
}

/* QEMU does not look at the alignment of STREX when the monitor is clear. */
static int must_be_aligned(uint32_t insn)
{
    return insn >> 21 == 0x742 || insn >> 20 == 0xe8d;
}

static void prepare_state(const struct test *test)
{
    for (int n = 0; n < 15; n++)
        before[n] = random_value();
    if (test->pointer >= 0) {
        uint32_t addr = (uint32_t)&data[DATA_WORDS / 4] + (next_random() & 0x7c);
        if ((next_random() & 7) == 0 && !must_be_aligned(test->insn))
            addr += next_random() & 3;
        before[test->pointer] = addr;
    }
    if (test->offset >= 0)
        before[test->offset] = next_random() & 31;
    before[13] = (uint32_t)&stack[STACK_WORDS - 16];
    flags_before = (next_random() & 0xf8000000) | 1u << 24;
    for (int n = 0; n < 4; n++)
        data[next_random() % DATA_WORDS] = next_random();
}

static uint32_t hash = 2166136261u;

static void mix(uint32_t x)
{
    hash = (hash ^ x) * 16777619u;
    hash ^= hash >> 15;
}

static void mix_outcome(uint32_t cfsr)
{
    mix(ended_by);
    mix(cfsr);
    if (ended_by != SVC)
        return;
    for (int n = 0; n < 16; n++)
        mix(after[n]);
    mix(xpsr_after & 0xfe00fc00);
    for (int n = 0; n < DATA_WORDS; n++)
        mix(data[n]);
}

static void show(uint32_t number, const struct test *test, int condition, uint32_t cfsr)
{
    const uint32_t columns[] = {
        number, test->insn, (uint32_t)condition, ended_by, cfsr, xpsr_after, hash};
    for (unsigned n = 0; n < sizeof columns / sizeof *columns; n++)
        print_hex(columns[n]), print_char(' ');
    for (int n = 0; n < 16; n++)
        print_hex(after[n]), print_char(n < 15 ? ' ' : '\n');
}

int main(void)
{
    const uint32_t show_from = SHOW_FROM, show_to = SHOW_TO;
    uint32_t faults = 0;

    SHCSR = 7u << 16;
    CCR |= 1u << 9; /* STKALIGN, as later revisions of the core have it from reset */
    for (uint32_t number = 0; number < COUNT; number++) {
        struct test test = next_random() % 3 ? random_wide() : random_narrow();
        int condition = next_random() & 3 ? -1 : (int)(next_random() % 14);

        write_code(&test, condition);
        prepare_state(&test);
        CFSR = UINT32_MAX;
        __asm volatile("dsb\n isb\n svc 1" ::: "memory");
        uint32_t cfsr = CFSR;
        mix_outcome(cfsr);
        faults += ended_by != SVC;
        if (number >= show_from && number < show_to)
            show(number, &test, condition, cfsr);
        if ((number + 1) % LINE_EVERY == 0) {
            print_hex(number + 1), print_char(' ');
            print_hex(hash), print_char(' ');
            print_hex(faults), print_char('\n');
        }
    }
    return 0;
}
