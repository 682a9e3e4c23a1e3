/* SPDX-License-Identifier: MIT */
/*
 * What QEMU 7.2 gets wrong, and the programs therefore avoid:
 *   SSAT16, USAT16, SXTAH and their like are executed on its Cortex-M3;
 *   STREX does not look at alignment while the monitor is clear;
 *   with T clear, a PC that is not a multiple of 4 counts as an unaligned access, not as INVSTATE;
 *   a division that traps forgets what the straight line before it has written;
 *   BFAR of an unaligned access is the word it lies in (the guest compares words).
 */
#include "tests/differential.h"

#include "tests/firmware/differential.h"

#include <stdlib.h>
#include <string.h>

enum {
    SP = 13,
    LR = 14,
    PC = 15,
    NONE = -1,

    MAX_JUMPS = 32, /* forward branches whose target does not stand yet */
};

/* ---- the encodings ----------------------------------------------------------------------------*/

/* One encoding: bits from the top, of a 32-bit one the first half-word first. 0 and 1 stand for
 * themselves, x for either. A letter is a register's number: d, n, m, t, a as the manual names them,
 * p one that holds an address, o one that is added to it. Three places: R0 to R7. */
struct encoding {
    const char *bits;
    enum kind {
        PLAIN,
        NOT_IN_IT = 1, /* UNPREDICTABLE in an IT block */
        NO_FAULT = 2,  /* cannot fault, whatever the state */
        READS = 4,     /* of memory only: may aim at flash */
        EXCLUSIVE = 8, /* of memory: always aligned, never a bit-band alias */
        DIVIDES = 16,  /* when it traps, QEMU 7.2 forgets what the same straight line has written */
        TRAPS = 32,    /* always; made rare, or exceptions would be all there is */
        UNPRIVILEGED = 64, /* accesses memory as if it were */
    } kind;
};

// clang-format off
static const struct encoding encodings[] = {
    /* A5.2.1 shift by immediate, add, subtract, move, compare */
    {"0000000000mmmddd", NOT_IN_IT | NO_FAULT}, /* MOVS Rd, Rm */
    {"00000xxxxxmmmddd", NO_FAULT},
    {"00001xxxxxmmmddd", NO_FAULT},
    {"00010xxxxxmmmddd", NO_FAULT},
    {"000110xmmmnnnddd", NO_FAULT},
    {"000111xxxxnnnddd", NO_FAULT},
    {"00100dddxxxxxxxx", NO_FAULT},
    {"00101nnnxxxxxxxx", NO_FAULT},
    {"0011xdddxxxxxxxx", NO_FAULT},
    /* A5.2.2 data processing */
    {"010000xxxxmmmddd", NO_FAULT},
    /* A5.2.3 special data; SP and PC as operands */
    {"01000100dmmmmddd", NO_FAULT},
    {"01000101nmmmmnnn", NO_FAULT},
    {"01000110dmmmmddd", NO_FAULT},
    {"01000100d1101ddd", NO_FAULT},
    {"01000110d1101ddd", NO_FAULT},
    {"01000100d1111ddd", NO_FAULT},
    {"01000110d1111ddd", NO_FAULT},
    {"010001011mmmm101", NO_FAULT}, /* CMP SP, Rm */
    /* A5.2.4 loads and stores; relative to SP (near ones, it is the stack) and to PC */
    {"0101000ooopppttt", PLAIN},
    {"0101001ooopppttt", PLAIN},
    {"0101010ooopppttt", PLAIN},
    {"0101011ooopppttt", READS},
    {"01011xxooopppttt", READS},
    {"01100xxxxxpppttt", PLAIN},
    {"01101xxxxxpppttt", READS},
    {"01110xxxxxpppttt", PLAIN},
    {"01111xxxxxpppttt", READS},
    {"10000xxxxxpppttt", PLAIN},
    {"10001xxxxxpppttt", READS},
    {"10010tttxxxxxxxx", PLAIN},
    {"10011tttxxxxxxxx", PLAIN},
    {"01001tttxxxxxxxx", PLAIN},
    {"10100dddxxxxxxxx", NO_FAULT},
    {"10101dddxxxxxxxx", NO_FAULT},
    /* A5.2.5 miscellaneous */
    {"10110010xxmmmddd", NO_FAULT},
    {"1011101000mmmddd", NO_FAULT},
    {"1011101001mmmddd", NO_FAULT},
    {"1011101011mmmddd", NO_FAULT},
    {"1011101010mmmddd", TRAPS}, /* UNDEFINED on this core: HLT of later ones */
    {"1011111100000000", NO_FAULT},
    {"1011111100010000", NO_FAULT},
    {"1011111101000000", NO_FAULT}, /* SEV */
    {"101111111xxx0000", NO_FAULT}, /* unallocated hints */
    {"11000pppxxxxxxxx", PLAIN},
    {"11001pppxxxxxxxx", READS},
    {"11011110xxxxxxxx", TRAPS}, /* UDF */
    {"11011111xxxxxxxx", TRAPS}, /* SVC */
    /* A5.3.1 data processing, modified immediate */
    {"11110x000xxxnnnn0xxxddddxxxxxxxx", NO_FAULT},
    {"11110x00100xnnnn0xxxddddxxxxxxxx", NO_FAULT},
    {"11110x01000xnnnn0xxxddddxxxxxxxx", NO_FAULT},
    {"11110x01010xnnnn0xxxddddxxxxxxxx", NO_FAULT},
    {"11110x01011xnnnn0xxxddddxxxxxxxx", NO_FAULT},
    {"11110x01101xnnnn0xxxddddxxxxxxxx", NO_FAULT},
    {"11110x01110xnnnn0xxxddddxxxxxxxx", NO_FAULT},
    {"11110x00101xnnnn0xxxddddxxxxxxxx", TRAPS}, /* five are not allocated */
    {"11110x0011xxnnnn0xxxddddxxxxxxxx", TRAPS},
    {"11110x01001xnnnn0xxxddddxxxxxxxx", TRAPS},
    {"11110x01100xnnnn0xxxddddxxxxxxxx", TRAPS},
    {"11110x01111xnnnn0xxxddddxxxxxxxx", TRAPS},
    {"11110x00010x11110xxxddddxxxxxxxx", NO_FAULT},
    {"11110x00011x11110xxxddddxxxxxxxx", NO_FAULT},
    {"11110x000001nnnn0xxx1111xxxxxxxx", NO_FAULT},
    {"11110x001001nnnn0xxx1111xxxxxxxx", NO_FAULT},
    {"11110x010001nnnn0xxx1111xxxxxxxx", NO_FAULT},
    {"11110x011011nnnn0xxx1111xxxxxxxx", NO_FAULT},
    {"11110x01000x11010xxxddddxxxxxxxx", NO_FAULT}, /* ADD Rd, SP */
    {"11110x01101x11010xxxddddxxxxxxxx", NO_FAULT},
    {"11110x01101111010xxx1111xxxxxxxx", NO_FAULT},
    {"11110x01000111010xxx1111xxxxxxxx", NO_FAULT},
    /* A5.3.11 data processing, shifted register */
    {"111010100xxxnnnn0xxxddddxxxxmmmm", NO_FAULT},
    {"11101010100xnnnn0xxxddddxxxxmmmm", NO_FAULT},
    {"11101011000xnnnn0xxxddddxxxxmmmm", NO_FAULT},
    {"11101011010xnnnn0xxxddddxxxxmmmm", NO_FAULT},
    {"11101011011xnnnn0xxxddddxxxxmmmm", NO_FAULT},
    {"11101011101xnnnn0xxxddddxxxxmmmm", NO_FAULT},
    {"11101011110xnnnn0xxxddddxxxxmmmm", NO_FAULT},
    {"11101010101xnnnn0xxxddddxxxxmmmm", TRAPS}, /* not allocated */
    {"11101010111xnnnn0xxxddddxxxxmmmm", TRAPS},
    {"11101011001xnnnn0xxxddddxxxxmmmm", TRAPS},
    {"11101011100xnnnn0xxxddddxxxxmmmm", TRAPS},
    {"11101011111xnnnn0xxxddddxxxxmmmm", TRAPS},
    {"11101010010x11110xxxddddxxxxmmmm", NO_FAULT},
    {"11101010011x11110xxxddddxxxxmmmm", NO_FAULT},
    {"111010100001nnnn0xxx1111xxxxmmmm", NO_FAULT},
    {"111010101001nnnn0xxx1111xxxxmmmm", NO_FAULT},
    {"111010110001nnnn0xxx1111xxxxmmmm", NO_FAULT},
    {"111010111011nnnn0xxx1111xxxxmmmm", NO_FAULT},
    {"11101011000x11010xxxddddxxxxmmmm", NO_FAULT},
    {"11101011101x11010xxxddddxxxxmmmm", NO_FAULT},
    {"11101010110xnnnn0xxxddddxxxxmmmm", TRAPS}, /* PKH: not in this core */
    /* A5.3.3 plain immediate */
    {"11110x100000nnnn0xxxddddxxxxxxxx", NO_FAULT},
    {"11110x101010nnnn0xxxddddxxxxxxxx", NO_FAULT},
    {"11110x10000011110xxxddddxxxxxxxx", NO_FAULT},
    {"11110x10101011110xxxddddxxxxxxxx", NO_FAULT},
    {"11110x10000011010xxxddddxxxxxxxx", NO_FAULT},
    {"11110x10101011010xxxddddxxxxxxxx", NO_FAULT},
    {"11110x100100xxxx0xxxddddxxxxxxxx", NO_FAULT},
    {"11110x101100xxxx0xxxddddxxxxxxxx", NO_FAULT},
    {"1111001100x0nnnn0xxxddddxx0xxxxx", NO_FAULT},
    {"1111001110x0nnnn0xxxddddxx0xxxxx", NO_FAULT},
    {"111100110100nnnn0xxxddddxx0xxxxx", NO_FAULT},
    {"111100111100nnnn0xxxddddxx0xxxxx", NO_FAULT},
    {"111100110110nnnn0xxxddddxx0xxxxx", NO_FAULT},
    {"11110011011011110xxxddddxx0xxxxx", NO_FAULT},
    /* A5.3.4 hints, barriers, special registers */
    {"11110011101011111000000000000000", NO_FAULT},
    {"11110011101011111000000000000001", NO_FAULT},
    {"1111001110101111100000001111xxxx", NO_FAULT}, /* DBG */
    {"11110011101111111000111101000xxx", NO_FAULT}, /* DSB */
    {"111100111011111110001111010111xx", NO_FAULT}, /* DMB */
    {"11110011101111111000111101101111", NO_FAULT}, /* ISB */
    {"11110011101111111000111100101111", NO_FAULT}, /* CLREX */
    {"11110011111011111000dddd00000xxx", NO_FAULT}, /* MRS xPSR */
    {"11110011111011111000dddd0000100x", NO_FAULT}, /* MSP PSP */
    {"11110011111011111000dddd000100xx", NO_FAULT}, /* PRIMASK BASEPRI FAULTMASK */
    {"11110011111011111000dddd00010100", NO_FAULT}, /* CONTROL */
    {"111100111000nnnn1000100000000000", NO_FAULT}, /* MSR APSR */
    {"111100111000nnnn1000100000000011", NO_FAULT},
    /* A5.3.5 multiple; A5.3.6 dual, exclusive */
    {"1110100010x0pppp0x0xxxxxxxxxxxxx", PLAIN},
    {"1110100100x0pppp0x0xxxxxxxxxxxxx", PLAIN},
    {"1110100010x1pppp0x0xxxxxxxxxxxxx", READS},
    {"1110100100x1pppp0x0xxxxxxxxxxxxx", READS},
    {"1110100xx1x0ppppttttaaaaxxxxxxxx", PLAIN},
    {"1110100xx1x1ppppttttaaaaxxxxxxxx", READS},
    {"1110100xx10111110tttaaaaxxxxxxxx", PLAIN},
    {"111010000101pppptttt1111xxxxxxxx", EXCLUSIVE},
    {"111010001101pppptttt111101001111", EXCLUSIVE},
    {"111010001101pppptttt111101011111", EXCLUSIVE},
    /* A5.3.7 to A5.3.10: imm12, imm8, with and without write-back, unprivileged, register,
     * literal */
    {"111110001xx0ppppttttxxxxxxxxxxxx", PLAIN},
    {"1111100x1xx1ppppttttxxxxxxxxxxxx", READS},
    {"111110000xx0pppptttt1xxxxxxxxxxx", PLAIN},
    {"1111100x0xx1pppptttt1xxxxxxxxxxx", READS},
    {"111110000xx0pppptttt1110xxxxxxxx", UNPRIVILEGED},
    {"1111100x0xx1pppptttt1110xxxxxxxx", READS | UNPRIVILEGED},
    {"111110000xx0pppptttt000000xxoooo", PLAIN},
    {"1111100x0xx1pppptttt000000xxoooo", READS},
    {"1111100xxxx11111ttttxxxxxxxxxxxx", PLAIN},
    {"111110001001nnnn1111xxxxxxxxxxxx", NO_FAULT}, /* PLD, from anywhere */
    {"111110000001nnnn11111100xxxxxxxx", NO_FAULT},
    {"111110000001nnnn1111000000xxmmmm", NO_FAULT},
    {"11111000x00111111111xxxxxxxxxxxx", NO_FAULT},
    {"111110011001nnnn1111xxxxxxxxxxxx", NO_FAULT}, /* PLI */
    {"111110010001nnnn11111100xxxxxxxx", NO_FAULT},
    /* A5.3.12 to A5.3.15 shifts, extension, reversal */
    {"111110100xxxnnnn1111dddd0000mmmm", NO_FAULT},
    {"111110100x0x11111111dddd10xxmmmm", NO_FAULT},
    {"111110101001mmmm1111dddd10xxmmmm", NO_FAULT},
    {"111110101011mmmm1111dddd1000mmmm", NO_FAULT},
    {"111110101xxxnnnn1111dddd0xxxmmmm", TRAPS}, /* parallel addition: not in this core */
    {"111110101000nnnn1111dddd10xxmmmm", TRAPS}, /* QADD … */
    /* A5.3.16, A5.3.17 multiplication, division */
    {"111110110000nnnn1111dddd0000mmmm", NO_FAULT},
    {"111110110000nnnnaaaadddd000xmmmm", NO_FAULT},
    {"111110111000nnnnaaaadddd0000mmmm", NO_FAULT},
    {"111110111010nnnnaaaadddd0000mmmm", NO_FAULT},
    {"111110111100nnnnaaaadddd0000mmmm", NO_FAULT},
    {"111110111110nnnnaaaadddd0000mmmm", NO_FAULT},
    {"111110111001nnnn1111dddd1111mmmm", DIVIDES},
    {"111110111011nnnn1111dddd1111mmmm", DIVIDES},
    {"111110110001nnnnaaaadddd00xxmmmm", TRAPS}, /* SMLAxy: not in this core */
    {"111110111110nnnnaaaadddd0110mmmm", TRAPS}, /* UMAAL: neither */
    /* not allocated in these tables: UNDEFINED */
    {"111101111111xxxx1010xxxxxxxxxxxx", TRAPS}, /* UDF.W */
    {"11111000x11xnnnnttttxxxxxxxxxxxx", TRAPS},
    {"11111001x11xnnnnttttxxxxxxxxxxxx", TRAPS},
    {"11111001x101nnnnttttxxxxxxxxxxxx", TRAPS},
    {"11111001xxx0nnnnttttxxxxxxxxxxxx", TRAPS},
    {"11111010xxxxnnnn0xxxddddxxxxmmmm", TRAPS},
    {"111110110000nnnnaaaadddd001xmmmm", TRAPS},
    {"111110110000nnnnaaaadddd1xxxmmmm", TRAPS},
    {"111110110000nnnnaaaadddd01xxmmmm", TRAPS},
    {"11111011100xnnnnaaaadddd0xx1mmmm", TRAPS},
    {"111110111x10nnnnaaaadddd0x10mmmm", TRAPS},
    /* A5.3.18 coprocessors: there are none */
    {"11101110xxxxxxxxxxxxxxxxxxxxxxxx", TRAPS},
    {"11101101xxxxxxxxxxxxxxxxxxxxxxxx", TRAPS},
    {"11101100xxxxxxxxxxxxxxxxxxxxxxxx", TRAPS},
    {"1111110xxxxxxxxxxxxxxxxxxxxxxxxx", TRAPS},
    {"11111110xxxxxxxxxxxxxxxxxxxxxxxx", TRAPS},
    {"111x1111xxxxxxxxxxxxxxxxxxxxxxxx", TRAPS},
};
// clang-format on
enum { ENCODINGS = sizeof encodings / sizeof *encodings };

/* What the generator puts together itself. */
enum form {
    FORM_B,
    FORM_B_W,
    FORM_B_IF,
    FORM_B_IF_W,
    FORM_CBZ,
    FORM_BL,
    FORM_BX,
    FORM_BLX,
    FORM_MOV_PC,
    FORM_ADD_PC,
    FORM_LDR_PC,
    FORM_LDR_PC_POST,
    FORM_POP_PC,
    FORM_LDM_PC,
    FORM_TBB,
    FORM_TBH,
    FORM_BX_EVEN,
    FORM_BX_NOWHERE,
    FORM_IT,
    FORM_LOOP,
    FORM_PUSH_POP,
    FORM_SP_ARITHMETIC,
    FORM_EXCLUSIVE,
    FORM_EXCLUSIVE_BYTE,
    FORM_EXCLUSIVE_HALF,
    FORM_PRIMASK,
    FORM_FAULTMASK,
    FORM_BASEPRI,
    FORM_PENDSV,
    FORM_PENDSV_WFI,
    FORM_PSP,
    FORM_CONTROL,
    FORM_SEV_WFE,
    FORMS
};
static const char *const form_names[FORMS] = {"B", "B.W", "B<c>", "B<c>.W", "CBZ", "BL", "BX",
    "BLX", "MOV PC", "ADD PC", "LDR PC", "LDR PC, [], #", "POP {PC}", "LDM {PC}", "TBB", "TBH",
    "BX to an even address", "BX to nowhere", "IT", "loop", "PUSH, POP", "SP arithmetic",
    "LDREX, STREX", "LDREXB, STREXB", "LDREXH, STREXH", "CPS i", "CPS f", "BASEPRI", "PendSV",
    "PendSV, WFI", "MSR PSP", "MSR CONTROL", "SEV, WFE"};
static uint64_t used[ENCODINGS + FORMS];

size_t program_encodings(void)
{
    return ENCODINGS + FORMS;
}

const char *program_encoding(size_t number, uint64_t *times)
{
    *times = used[number];
    return number < ENCODINGS ? encodings[number].bits : form_names[number - ENCODINGS];
}

/* ---- what the architecture leaves open --------------------------------------------------------*/

static unsigned field(uint32_t word, unsigned low, unsigned count)
{
    return word >> low & ((1u << count) - 1);
}

static bool special_register(unsigned number)
{
    return number == SP || number == PC;
}

static bool is_open16(uint32_t h)
{
    unsigned base = field(h, 8, 3), list = h & 0xff;

    switch (h >> 11) {
    case 0x08:
        return h >> 8 == 0x45 && !(h & 0x80) && !(h & 0x40); /* CMP T2 of two low registers */
    case 0x17:
        return h >> 8 == 0xbf && h & 0x0f; /* IT: not from the table */
    case 0x18: /* the value stored for a base that is not the lowest is UNKNOWN */
        return !list || (list >> base & 1);
    case 0x19:
        return !list;
    case 0x1b: /* SVC: these numbers have a meaning of their own */
        return h >> 8 == 0xdf && list >= SVC_PRIVILEGED;
    default:
        return false;
    }
}

static bool is_open_multiple(uint32_t h1, uint32_t h2)
{
    bool write_back = h1 & 0x20;
    return !(h2 & (h2 - 1)) || (write_back && h2 >> (h1 & 15) & 1);
}

static bool is_open_dual(uint32_t h1, uint32_t h2)
{
    unsigned n = h1 & 15, t = h2 >> 12, t2 = field(h2, 8, 4);
    bool before = h1 & 0x100, write_back = h1 & 0x20, load = h1 & 0x10;

    if (!before && !write_back) /* exclusive: by another row of the table */
        return true;
    return special_register(t) || special_register(t2) || (load && t == t2) ||
           (write_back && (n == PC || n == t || n == t2));
}

static bool is_open_single(uint32_t h1, uint32_t h2)
{
    unsigned n = h1 & 15, t = h2 >> 12, size = field(h1, 5, 2);
    bool imm12 = h1 & 0x80, load = h1 & 0x10, is_signed = h1 & 0x100;

    if (size == 3 || (size == 2 && is_signed) || (!load && is_signed))
        return true;
    if (t == PC)
        return !(load && size == 0); /* PLD PLI; LDR PC is a jump */
    if (t == SP)
        return true;
    if (n == PC || imm12 || !(h2 & 0x800))
        return false;
    bool before = h2 & 0x400, up = h2 & 0x200, write_back = h2 & 0x100;
    if (before && up && !write_back) /* LDRT, STRT */
        return false;
    return (!before && !write_back) || (write_back && n == t);
}

/* A5.3.2: 00XY00XY and its like of a byte that is zero. */
static bool is_open_immediate(uint32_t insn)
{
    bool modified = (insn & 0xfa008000) == 0xf0000000;
    return modified && !(insn & 0x04004000) && insn & 0x3000 && !(insn & 0xff);
}

static bool is_open32(uint32_t insn)
{
    uint32_t h1 = insn >> 16, h2 = insn & 0xffff;
    uint32_t lsb = (h2 >> 10 & 0x1c) | (h2 >> 6 & 3), last = h2 & 31;

    if ((h1 & 0xfe40) == 0xe800)
        return is_open_multiple(h1, h2);
    if ((h1 & 0xfe40) == 0xe840)
        return is_open_dual(h1, h2);
    if ((h1 & 0xfe00) == 0xf800)
        return is_open_single(h1, h2);
    if ((h1 & 0xff70) == 0xf320 && !(h2 & 0x8000)) /* SSAT16 USAT16: QEMU has them on the M3 */
        return lsb == 0;
    if ((h1 & 0xfbf0) == 0xf360) /* BFI BFC: msb below lsb */
        return last < lsb;
    if ((h1 & 0xfff0) == 0xf340 || (h1 & 0xfff0) == 0xf3c0) /* SBFX UBFX beyond bit 31 */
        return lsb + last > 31;
    if ((h1 & 0xff80) == 0xfb80 && (h1 & 0x10) == 0) /* long multiplication: one register twice */
        return h2 >> 12 == field(h2, 8, 4);
    return is_open_immediate(insn);
}

/* ---- a program in the making ------------------------------------------------------------------*/

enum jump_kind {
    JUMP_CBZ,
    JUMP_NARROW_IF,
    JUMP_NARROW,
    JUMP_WIDE,
    JUMP_WIDE_IF,
    JUMP_LINK,
    JUMP_ADR, /* no branch: the address for one */
    JUMP_ADR_EVEN,
};

struct jump {
    enum jump_kind kind;
    size_t at;      /* half-word index of the branch */
    unsigned items; /* it goes behind so many more */
};

struct maker {
    struct program *p;
    uint64_t random;
    struct jump jumps[MAX_JUMPS];
    unsigned jump_count;
    uint32_t locked; /* registers not to be changed now */
};

static uint32_t next_random(struct maker *m)
{
    m->random = m->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint32_t x = (uint32_t)(m->random >> 32);
    return (x ^ x >> 15) * 0x2c1b3c6du ^ x >> 7;
}

static uint32_t below(struct maker *m, uint32_t limit)
{
    return (uint32_t)((uint64_t)next_random(m) * limit >> 32);
}

static bool one_in(struct maker *m, uint32_t count)
{
    return below(m, count) == 0;
}

static void emit16(struct maker *m, uint32_t h)
{
    struct program *p = m->p;

    if (p->length >= PROGRAM_HALFWORDS)
        abort();
    p->begins[p->length] = true;
    p->code[p->length++] = (uint16_t)h;
}

static void emit32(struct maker *m, uint32_t insn)
{
    emit16(m, insn >> 16);
    emit16(m, insn & 0xffff);
    m->p->begins[m->p->length - 1] = false;
}

static void emit_table_entry(struct maker *m, uint32_t h)
{
    emit16(m, h);
    m->p->begins[m->p->length - 1] = false;
}

static void emit(struct maker *m, const struct encoding *e, uint32_t insn)
{
    used[e - encodings]++;
    if (strlen(e->bits) == 16)
        emit16(m, insn);
    else
        emit32(m, insn);
}

/* A free register, R0 to R7 when low. */
static unsigned choose_register(struct maker *m, bool low)
{
    for (;;) {
        unsigned number = below(m, low ? 8 : 15);
        if (number != SP && !(m->locked >> number & 1))
            return number;
    }
}

static unsigned choose_and_lock(struct maker *m, bool low)
{
    unsigned number = choose_register(m, low);
    m->locked |= 1u << number;
    return number;
}

static void unlock(struct maker *m, unsigned number)
{
    m->locked &= ~(1u << number);
}

/* MOVW and, where needed, MOVT: A7.7.76, A7.7.79. */
static void emit_constant(struct maker *m, unsigned rd, uint32_t value)
{
    for (unsigned half = 0; half < 2; half++) {
        uint32_t imm = value >> half * 16 & 0xffff;
        if (half == 1 && imm == 0)
            return;
        emit32(m, (half ? 0xf2c00000 : 0xf2400000) | (imm & 0x800) << 15 | (imm & 0xf000) << 4 |
                      (imm & 0x700) << 4 | (imm & 0xff) | rd << 8);
    }
}

/* ---- single instructions ----------------------------------------------------------------------*/

/* An encoding with its free bits and registers chosen. */
struct choice {
    const struct encoding *encoding;
    uint32_t insn;
    int pointer, offset; /* registers, or NONE */
    uint32_t registers;  /* all that it may change, a bit each, and more */
};

/* LDM's registers. */
static uint32_t loaded_list(uint32_t insn, bool wide)
{
    if (wide)
        return (insn >> 16 & 0xfe50) == 0xe810 ? insn & 0x7fff : 0;
    return insn >> 11 == 0x19 ? insn & 0xff : 0;
}

static bool fill_in(struct maker *m, const struct encoding *e, struct choice *choice)
{
    unsigned places[128] = {0}, chosen[128] = {0}, seen[128] = {0};
    bool wide = strlen(e->bits) == 32;

    *choice = (struct choice){.encoding = e, .pointer = NONE, .offset = NONE};
    for (const char *bit = e->bits; *bit; bit++)
        places[(unsigned)*bit]++;
    for (const char *letter = "ndmtapo"; *letter; letter++) {
        unsigned count = places[(unsigned)*letter];
        if (count) {
            chosen[(unsigned)*letter] = choose_register(m, count == 3);
            choice->registers |= 1u << chosen[(unsigned)*letter];
        }
    }
    for (const char *bit = e->bits; *bit; bit++) {
        unsigned letter = (unsigned)*bit, count = places[letter] == 3 ? 3 : 4;
        uint32_t value = letter == 'x' ? next_random(m) >> 7 & 1
                                       : chosen[letter] >> (count - 1 - seen[letter]++ % count) & 1;
        if (letter == '0' || letter == '1')
            value = letter - '0';
        choice->insn = choice->insn << 1 | value;
    }
    if (places['p'])
        choice->pointer = (int)chosen['p'];
    if (places['o'])
        choice->offset = (int)chosen['o'];
    if (choice->pointer != NONE && choice->pointer == choice->offset)
        return false;
    bool is_settled = wide && e->kind & (EXCLUSIVE | TRAPS); /* by its fixed bits */
    if (!is_settled && (wide ? is_open32(choice->insn) : is_open16(choice->insn)))
        return false;
    choice->registers |= loaded_list(choice->insn, wide);
    return !(choice->registers & m->locked);
}

/* What an instruction adds to its base before the access, but for an offset register. */
static uint32_t displacement(uint32_t insn, bool wide)
{
    static const unsigned scale[4] = {0, 2, 0, 1}; /* by the 16-bit group 5 … 8 */
    uint32_t h1 = insn >> 16, imm8 = insn & 0xff;

    if (!wide) {
        unsigned group = insn >> 12;
        return group >= 6 && group <= 8 ? field(insn, 6, 5) << scale[group - 5] : 0;
    }
    if ((h1 & 0xfe40) == 0xe800) /* multiple: DB begins below */
        return h1 & 0x100 ? 0 - (uint32_t)__builtin_popcount(insn & 0xffff) * 4 : 0;
    if ((h1 & 0xfff0) == 0xe850)
        return imm8 * 4;
    if ((h1 & 0xfe40) == 0xe840) {
        if (!(h1 & 0x100))
            return 0;
        return h1 & 0x80 ? imm8 * 4 : 0 - imm8 * 4;
    }
    if (h1 & 0x80)
        return insn & 0xfff;
    if (!(insn & 0x800) || !(insn & 0x400))
        return 0;
    return insn & 0x200 ? imm8 : 0 - imm8;
}

/* Where an access may go. Almost always to the programs' data. */
static uint32_t choose_target(struct maker *m, const struct encoding *e)
{
    static const uint32_t nowhere[4] = {0x10000000, 0x30000000, 0x60000000, 0x90000000};
    uint32_t data = DATA_ADDR + 0x80 + (below(m, DATA_SIZE - 0x100) & ~3u);

    switch (below(m, 64)) {
    case 0:
        return nowhere[below(m, 4)] + (next_random(m) & 0xfffc);
    case 1: /* through the bit-band alias */
        if (!(e->kind & EXCLUSIVE))
            return 0x22000000 + (data - 0x20000000) * 32 + below(m, 32) * 4;
        return data;
    case 2: /* system registers: a BusFault for the unprivileged */
        if (!m->p->privileged || e->kind & UNPRIVILEGED)
            return 0xe000ed14;
        return data;
    case 3:
    case 4: /* this program, or through the alias at 0 the same */
        if (e->kind & READS)
            return m->p->address + (below(m, 0x400) & ~3u) - (one_in(m, 2) ? IMAGE_BASE : 0);
        return data;
    case 5:
    case 6:
    case 7:
        return e->kind & EXCLUSIVE ? data : data + below(m, 4);
    default:
        return data;
    }
}

/* What a choice needs in front: values in its address and offset registers, a barrier. */
static void emit_needs(struct maker *m, const struct choice *c)
{
    if (c->encoding->kind & DIVIDES)
        emit32(m, 0xf3bf8f6f); /* ISB: begins a new block of QEMU's */
    if (c->pointer == NONE)
        return;
    bool wide = strlen(c->encoding->bits) == 32;
    uint32_t base = choose_target(m, c->encoding) - displacement(c->insn, wide), offset = 0;

    if (c->offset != NONE) {
        offset = one_in(m, 4) ? next_random(m) : below(m, 64);
        emit_constant(m, (unsigned)c->offset, offset);
        base -= offset << (wide ? field(c->insn, 4, 2) : 0);
    }
    emit_constant(m, (unsigned)c->pointer, base);
}

static struct choice choose(struct maker *m, unsigned without, unsigned with)
{
    for (;;) {
        const struct encoding *e = &encodings[below(m, ENCODINGS)];
        struct choice choice;
        if (e->kind & without || (e->kind & with) != with)
            continue;
        if (e->kind & TRAPS && !one_in(m, 12))
            continue;
        if (fill_in(m, e, &choice))
            return choice;
    }
}

/* One instruction, with what it needs in front. */
static void make_single(struct maker *m, unsigned with)
{
    struct choice choice = choose(m, 0, with);
    emit_needs(m, &choice);
    emit(m, choice.encoding, choice.insn);
}

static void make_some(struct maker *m, unsigned at_most, unsigned with)
{
    for (unsigned left = below(m, at_most + 1); left; left--)
        make_single(m, with);
}

/* ---- jumps forward ----------------------------------------------------------------------------*/

/* The instruction at jump->at is to lead here; when it cannot reach that far, to do nothing. */
static void land(struct maker *m, const struct jump *jump)
{
    static const uint32_t reach[] = {
        [JUMP_CBZ] = 126, [JUMP_NARROW_IF] = 254, [JUMP_NARROW] = 2046};
    uint16_t *code = &m->p->code[jump->at];

    if (jump->kind == JUMP_ADR_EVEN && m->p->length & 1)
        emit16(m, 0xbf00); /* with T clear, QEMU looks at the alignment of PC first */
    uint32_t distance = (uint32_t)(m->p->length - jump->at) * 2 - 4;

    if (jump->kind <= JUMP_NARROW && distance > reach[jump->kind]) {
        *code = 0xbf00;
        return;
    }
    switch (jump->kind) {
    case JUMP_CBZ:
        code[0] |= (uint16_t)((distance & 0x40) << 3 | (distance & 0x3e) << 2);
        break;
    case JUMP_NARROW_IF:
        code[0] |= (uint16_t)(distance >> 1 & 0xff);
        break;
    case JUMP_NARROW:
        code[0] |= (uint16_t)(distance >> 1 & 0x7ff);
        break;
    case JUMP_WIDE: /* J1 = J2 = 1 when I1 = I2 = S = 0 */
    case JUMP_LINK:
        code[0] |= (uint16_t)(distance >> 12 & 0x3ff);
        code[1] |= (uint16_t)(0x2800 | (distance >> 1 & 0x7ff));
        break;
    case JUMP_WIDE_IF:
        code[0] |= (uint16_t)(distance >> 12 & 0x3f);
        code[1] |= (uint16_t)(distance >> 1 & 0x7ff);
        break;
    case JUMP_ADR_EVEN:
    case JUMP_ADR: /* its base is PC aligned down to a word */
        distance += jump->at & 1 ? 2 : 0;
        code[0] |= (uint16_t)((distance & 0x800) >> 1);
        code[1] |= (uint16_t)((distance & 0x700) << 4 | (distance & 0xff));
        break;
    }
}

/* Between two items: lets jumps land that have gone far enough. all: every one. */
static void land_jumps(struct maker *m, bool all)
{
    unsigned kept = 0;

    for (unsigned n = 0; n < m->jump_count; n++) {
        struct jump *jump = &m->jumps[n];
        if (all || jump->items == 0) {
            land(m, jump);
        } else {
            jump->items--;
            m->jumps[kept++] = *jump;
        }
    }
    m->jump_count = kept;
}

/* The instruction about to be emitted jumps forward. */
static void note_jump(struct maker *m, enum jump_kind kind)
{
    if (m->jump_count == MAX_JUMPS)
        land_jumps(m, true);
    m->jumps[m->jump_count++] = (struct jump){kind, m->p->length, below(m, 5)};
}

/* A register that holds the address of some instruction to come, with bit 0 set. */
static unsigned emit_code_pointer(struct maker *m, bool low)
{
    unsigned rd = choose_and_lock(m, low);
    note_jump(m, JUMP_ADR);
    emit32(m, 0xf20f0000 | rd << 8);            /* ADR.W */
    emit32(m, 0xf0400001 | rd << 16 | rd << 8); /* ORR #1 */
    unlock(m, rd);
    return rd;
}

/* A register that points to a word of data with a code pointer in it. */
static unsigned emit_stored_code_pointer(struct maker *m)
{
    unsigned code = emit_code_pointer(m, true), pointer;
    do
        pointer = choose_register(m, true);
    while (pointer == code);
    emit_constant(m, pointer, DATA_ADDR + 0x80 + (below(m, DATA_SIZE - 0x100) & ~3u));
    emit16(m, 0x6000 | pointer << 3 | code); /* STR */
    return pointer;
}

static void make_table_branch(struct maker *m, bool halfwords)
{
    enum { ENTRIES = 4 };
    unsigned index = choose_register(m, true), bytes = halfwords ? ENTRIES * 2 : ENTRIES;

    emit16(m, 0x2000 | index << 8 | below(m, ENTRIES));
    emit32(m, 0xe8dff000 | (halfwords ? 0x10 : 0) | index);
    for (unsigned n = 0; n < bytes / 2; n++) {
        uint32_t to = bytes / 2 + below(m, 4);
        emit_table_entry(m, halfwords ? to : to | (bytes / 2 + below(m, 4)) << 8);
    }
    for (unsigned n = 0; n < 3; n++)
        emit16(m, 0x3000 | choose_register(m, true) << 8 | n);
}

/* Jumps of a kind that leads to where a register or memory says. */
static void make_indirect_jump(struct maker *m, enum form form)
{
    unsigned r;

    switch ((int)form) {
    case FORM_BX:
    case FORM_BLX:
        r = emit_code_pointer(m, false);
        emit16(m, 0x4700 | (form == FORM_BLX ? 0x80 : 0) | r << 3);
        return;
    case FORM_MOV_PC:
        r = emit_code_pointer(m, false);
        emit16(m, 0x4687 | r << 3);
        return;
    case FORM_ADD_PC: /* over up to three half-words */
        r = choose_register(m, true);
        emit16(m, 0x2000 | r << 8 | below(m, 4) * 2);
        emit16(m, 0x4487 | r << 3);
        for (unsigned n = 0; n < 5; n++)
            emit16(m, 0x3000 | choose_register(m, true) << 8 | n);
        return;
    case FORM_LDR_PC:
        r = emit_stored_code_pointer(m);
        emit32(m, 0xf8d0f000 | r << 16);
        return;
    case FORM_LDR_PC_POST:
        r = emit_stored_code_pointer(m);
        emit32(m, 0xf850fb00 | r << 16 | 4); /* LDR PC, [Rn], #4 */
        return;
    case FORM_POP_PC:
        r = emit_code_pointer(m, true);
        emit16(m, 0xb400 | 1u << r);
        emit16(m, 0xbd00);
        return;
    case FORM_LDM_PC:
        r = emit_code_pointer(m, true);
        emit16(m, 0xb082);               /* SUB SP, #8 */
        emit16(m, 0x9001 | r << 8);      /* STR Rr, [SP, #4] */
        emit32(m, 0xe8bd8000 | 1u << r); /* LDM SP!, {Rr, PC} */
        return;
    case FORM_BX_EVEN:
        r = choose_register(m, false);
        note_jump(m, JUMP_ADR_EVEN);
        emit32(m, 0xf20f0000 | r << 8);
        emit16(m, 0x4700 | r << 3);
        return;
    case FORM_BX_NOWHERE:
        r = choose_register(m, false);
        emit_constant(m, r, one_in(m, 2) ? 0x30000101 : 0x60000203);
        emit16(m, 0x4700 | r << 3);
        return;
    default:
        return;
    }
}

static void make_direct_jump(struct maker *m, enum form form)
{
    uint32_t condition = below(m, 14);

    switch ((int)form) {
    case FORM_B:
        note_jump(m, JUMP_NARROW);
        emit16(m, 0xe000);
        break;
    case FORM_B_W:
        note_jump(m, JUMP_WIDE);
        emit32(m, 0xf0009000);
        break;
    case FORM_B_IF:
        note_jump(m, JUMP_NARROW_IF);
        emit16(m, 0xd000 | condition << 8);
        break;
    case FORM_B_IF_W:
        note_jump(m, JUMP_WIDE_IF);
        emit32(m, 0xf0008000 | condition << 22);
        break;
    case FORM_CBZ:
        note_jump(m, JUMP_CBZ);
        emit16(m, 0xb100 | below(m, 2) << 11 | choose_register(m, true));
        break;
    case FORM_BL:
        note_jump(m, JUMP_LINK);
        emit32(m, 0xf000d000);
        break;
    default:
        break;
    }
    emit16(m, 0x3000 | choose_register(m, true) << 8 | 1); /* none can jump to the very next */
}

/* ---- what needs several instructions ----------------------------------------------------------*/

static void make_jump(struct maker *m, enum form form)
{
    if (form <= FORM_BL)
        make_direct_jump(m, form);
    else if (form == FORM_TBB || form == FORM_TBH)
        make_table_branch(m, form == FORM_TBH);
    else
        make_indirect_jump(m, form);
}

/* An IT block of one to four instructions; what they need is set up in front and kept. */
static void make_it(struct maker *m)
{
    struct choice choices[4];
    unsigned count = 1 + below(m, 4), condition = below(m, 15);
    uint32_t locked = m->locked, mask = 1u << (4 - count), changed = 0, needed;

    for (unsigned n = 0; n < count; n++) {
        do {
            choices[n] = choose(m, count > 1 ? NOT_IN_IT | DIVIDES : NOT_IN_IT, 0);
            needed = choices[n].pointer == NONE ? 0 : 1u << choices[n].pointer;
            needed |= choices[n].offset == NONE ? 0 : 1u << choices[n].offset;
        } while (needed & changed);
        emit_needs(m, &choices[n]);
        changed |= choices[n].registers;
        m->locked |= needed;
    }
    for (unsigned n = 1; n < count; n++) /* AL has no ELSE */
        mask |= (condition == 14 ? 0 : (condition & 1) ^ below(m, 2)) << (4 - n);
    emit16(m, 0xbf00 | condition << 4 | mask);
    for (unsigned n = 0; n < count; n++)
        emit(m, choices[n].encoding, choices[n].insn);
    m->locked = locked;
}

static void make_item(struct maker *m);

static void make_loop(struct maker *m)
{
    land_jumps(m, true); /* none may come in past the counter's start */
    unsigned counter = choose_and_lock(m, true);
    emit16(m, 0x2000 | counter << 8 | (2 + below(m, 6)));
    size_t top = m->p->length;
    for (unsigned left = 2 + below(m, 6); left; left--) {
        land_jumps(m, false);
        make_item(m);
    }
    emit16(m, 0x3800 | counter << 8 | 1); /* SUBS */
    uint32_t back = (uint32_t)(top - m->p->length - 2);
    emit32(m, 0xf440a800 | (back >> 11 & 0x3f) << 16 | (back & 0x7ff)); /* BNE.W */
    unlock(m, counter);
}

static void make_push_pop(struct maker *m)
{
    uint32_t list, other;

    do {
        list = next_random(m) & 0xff;
        other = next_random(m) & 0xff & ~m->locked;
    } while (!list || __builtin_popcount(list) != __builtin_popcount(other));
    if (one_in(m, 2)) {
        emit16(m, 0xb400 | list);
        make_some(m, 2, NO_FAULT);
        emit16(m, 0xbc00 | other);
    } else { /* with LR, the 32-bit forms */
        emit32(m, 0xe92d4000 | list);
        make_some(m, 2, NO_FAULT);
        emit32(m, 0xe8bd4000 | other);
    }
}

/* SP - imm, something, and back: all forms. */
static void make_sp_arithmetic(struct maker *m)
{
    unsigned r = choose_and_lock(m, false);
    uint32_t bytes = below(m, 32) * 4;

    switch (below(m, 5)) {
    case 0:
        emit16(m, 0xb080 | bytes / 4);
        make_some(m, 2, 0);
        emit16(m, 0xb000 | bytes / 4);
        break;
    case 1:
        emit32(m, 0xf1ad0d00 | bytes);
        make_some(m, 2, 0);
        emit32(m, 0xf10d0d00 | bytes);
        break;
    case 2:
        emit32(m, 0xf2ad0d00 | bytes);
        make_some(m, 2, 0);
        emit32(m, 0xf20d0d00 | bytes);
        break;
    case 3:
        emit_constant(m, r, 0 - bytes);
        emit16(m, 0x4485 | r << 3); /* ADD SP, Rm */
        make_some(m, 2, 0);
        emit32(m, 0xebad0d00 | r); /* SUB SP, SP, Rm */
        break;
    default:
        emit16(m, 0x4668 | (r & 8) << 4 | (r & 7)); /* MOV Rd, SP */
        emit16(m, 0xb080 | bytes / 4);
        make_some(m, 2, 0);
        emit16(m, 0x4685 | r << 3); /* MOV SP, Rm */
    }
    unlock(m, r);
}

/* A pair on one address; sometimes what clears the monitor between. */
static void make_exclusive(struct maker *m, enum form form)
{
    unsigned n = choose_and_lock(m, false), t = choose_register(m, false), d;
    uint32_t addr = DATA_ADDR + 0x80 + (below(m, DATA_SIZE - 0x500) & ~3u), imm8 = below(m, 256);
    do
        d = choose_register(m, false);
    while (d == t);

    if (form == FORM_EXCLUSIVE) {
        emit_constant(m, n, addr);
        emit32(m, 0xe8500f00 | n << 16 | t << 12 | imm8);
    } else {
        emit_constant(m, n, addr + (form == FORM_EXCLUSIVE_BYTE ? below(m, 4) : below(m, 2) * 2));
        emit32(m, 0xe8d00f4f | n << 16 | t << 12 | (form == FORM_EXCLUSIVE_HALF ? 0x10 : 0));
    }
    make_some(m, 2, NO_FAULT);
    if (one_in(m, 4))
        emit16(m, 0xdf00);
    if (one_in(m, 8))
        emit32(m, 0xf3bf8f2f);
    for (unsigned left = one_in(m, 4) ? 2 : 1; left; left--) { /* the second fails */
        if (form == FORM_EXCLUSIVE)
            emit32(m, 0xe8400000 | n << 16 | t << 12 | d << 8 | imm8);
        else
            emit32(
                m, 0xe8c00f40 | n << 16 | t << 12 | (form == FORM_EXCLUSIVE_HALF ? 0x10 : 0) | d);
    }
    unlock(m, n);
}

/* Pends PendSV. Masked until the barriers are over, so that no core can take it early or late.
 * sleep: WFI, which a masked exception ends too. */
static void emit_pend(struct maker *m, bool sleep)
{
    unsigned pointer = choose_and_lock(m, true), value = choose_register(m, true);
    emit_constant(m, pointer, 0xe000ed04);
    emit32(m, 0xf04f5080 | value << 8); /* MOV #0x10000000 */
    emit16(m, 0xb672);                  /* CPSID i */
    emit16(m, 0x6000 | pointer << 3 | value);
    emit32(m, 0xf3bf8f4f); /* DSB */
    emit32(m, 0xf3bf8f6f); /* ISB */
    if (sleep)
        emit16(m, 0xbf30);
    emit16(m, 0xb662);
    unlock(m, pointer);
}

/* MRS of a mask; then maybe what it lets happen, or makes a HardFault. */
static void look_at_mask(struct maker *m, uint32_t sysm)
{
    emit32(m, 0xf3ef8000 | choose_register(m, false) << 8 | sysm);
    if (one_in(m, 3))
        emit16(m, one_in(m, 2) ? 0xdf00 : 0xde00); /* SVC, UDF */
    make_some(m, 3, 0);
}

static void make_masked(struct maker *m, enum form form)
{
    unsigned r;

    switch ((int)form) {
    case FORM_PRIMASK:
        emit16(m, 0xb672); /* CPSID i */
        look_at_mask(m, 16);
        emit16(m, 0xb662);
        return;
    case FORM_FAULTMASK: /* a fault would be the end of it */
        emit16(m, 0xb671);
        emit32(m, 0xf3ef8013 | choose_register(m, false) << 8); /* MRS FAULTMASK */
        make_some(m, 3, NO_FAULT);
        emit16(m, 0xb661);
        return;
    case FORM_BASEPRI:
        r = choose_register(m, false);
        emit_constant(m, r, next_random(m) & 0xf0);
        emit32(m, 0xf3808811 | r << 16);
        look_at_mask(m, 17);
        if (one_in(m, 2))
            emit_pend(m, false);
        r = choose_register(m, false);
        emit_constant(m, r, next_random(m) & 0xf0);
        emit32(m, 0xf3808812 | r << 16); /* BASEPRI_MAX */
        look_at_mask(m, 18);
        r = choose_register(m, false);
        emit_constant(m, r, 0);
        emit32(m, 0xf3808811 | r << 16);
        return;
    case FORM_PENDSV:
        emit_pend(m, false);
        return;
    case FORM_PENDSV_WFI: /* without privilege, nothing would be pending */
        if (m->p->privileged)
            emit_pend(m, true);
        return;
    default:
        return;
    }
}

static void make_special(struct maker *m, enum form form)
{
    unsigned r = choose_register(m, false);

    switch ((int)form) {
    case FORM_PSP:
        emit32(m, 0xf3ef8009 | r << 8);
        if (m->p->privileged) /* else it has read 0, and writes nothing */
            emit32(m, 0xf3808809 | r << 16);
        return;
    case FORM_CONTROL: /* SVC leads back to where the program was */
        emit_constant(m, r, m->p->privileged ? 3 : 2);
        emit32(m, 0xf3808814 | r << 16);
        emit32(m, 0xf3bf8f6f);
        make_some(m, 3, NO_FAULT);
        emit16(m, 0xdf00 | (m->p->privileged ? SVC_PRIVILEGED : SVC_UNPRIVILEGED));
        return;
    case FORM_SEV_WFE:
        emit16(m, 0xbf40);
        emit16(m, 0xbf20);
        return;
    default:
        return;
    }
}

static void make_form(struct maker *m, enum form form)
{
    used[ENCODINGS + form]++;
    if (form <= FORM_BX_NOWHERE)
        make_jump(m, form);
    else if (form == FORM_IT)
        make_it(m);
    else if (form == FORM_PUSH_POP)
        make_push_pop(m);
    else if (form == FORM_SP_ARITHMETIC)
        make_sp_arithmetic(m);
    else if (form <= FORM_EXCLUSIVE_HALF)
        make_exclusive(m, form);
    else if (form <= FORM_PENDSV_WFI)
        make_masked(m, form);
    else
        make_special(m, form);
}

static void make_item(struct maker *m)
{
    uint32_t chance = below(m, 16);
    enum form form = (enum form)below(m, FORMS);

    if (chance < 11) {
        make_single(m, 0);
    } else if (chance < 13) {
        make_form(m, FORM_IT);
    } else if (form != FORM_LOOP && (form != FORM_BX_NOWHERE || one_in(m, 64))) {
        make_form(m, form);
    }
}

static void make_end(struct maker *m)
{
    land_jumps(m, true);
    emit16(m, 0xdf00 | SVC_END);
    emit16(m, 0xe7fd); /* B back to it: should the SVC be skipped */
}

static void begin(struct program *p, uint32_t address, bool privileged)
{
    memset(p, 0, sizeof *p);
    p->address = address;
    p->privileged = privileged;
}

void program_empty(struct program *p, uint32_t address)
{
    struct maker m = {.p = p};
    begin(p, address, false);
    make_end(&m);
}

void program_generate(struct program *p, uint64_t seed, uint32_t address)
{
    struct maker m = {.p = p, .random = seed * UINT64_C(0x9e3779b97f4a7c15)};

    begin(p, address, next_random(&m) & 1);
    while (p->length < PROGRAM_FILL) {
        land_jumps(&m, false);
        if (one_in(&m, 24)) {
            used[ENCODINGS + FORM_LOOP]++;
            make_loop(&m);
        } else {
            make_item(&m);
        }
    }
    make_end(&m);
}
