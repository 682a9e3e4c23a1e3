/* SPDX-License-Identifier: MIT */
/*
 * Thumb and Thumb-2 as the Cortex-M3 knows them: two half-words in, a struct cpu_insn out. Follows
 * the tables of DDI 0403 chapter A5, one function per table.
 */
#include "sim/cpu_insn.h"

#include <string.h>

/* count bits of word from bit low up; at most eight. */
static inline uint8_t bits(uint32_t word, unsigned low, unsigned count)
{
    return (uint8_t)(word >> low & ((1u << count) - 1));
}

static inline bool bit(uint32_t word, unsigned number)
{
    return word >> number & 1;
}

static uint32_t sign_extend(uint32_t value, unsigned width)
{
    uint32_t sign = 1u << (width - 1);
    return (value ^ sign) - sign;
}

/* A5.3.2 ThumbExpandImm_C: the twelve bits i:imm3:abcdefgh. */
static void set_expanded_immediate(struct cpu_insn *d, uint32_t imm12)
{
    uint32_t byte = imm12 & 0xff;

    if (imm12 >> 10 == 0) {
        static const uint32_t spread[4] = {0x00000001, 0x00010001, 0x01000100, 0x01010101};
        d->imm = byte * spread[imm12 >> 8];
        return;
    }
    unsigned rotation = imm12 >> 7; /* 8 … 31 */
    byte |= 0x80;
    d->imm = byte >> rotation | byte << (32 - rotation);
    d->carry = (uint8_t)(d->imm >> 31);
}

/* A7.4.2 DecodeImmShift. */
static void set_shift(struct cpu_insn *d, unsigned type, unsigned amount)
{
    if (amount == 0 && (type == SHIFT_LSR || type == SHIFT_ASR))
        amount = 32;
    if (amount == 0 && type == SHIFT_ROR) {
        type = SHIFT_RRX;
        amount = 1;
    }
    d->shift = (uint8_t)type;
    d->amount = (uint8_t)amount;
}

/* imm3:imm2 of the 32-bit encodings. */
static unsigned imm5_of(uint32_t h2)
{
    return (h2 >> 10 & 0x1c) | (h2 >> 6 & 3);
}

static void set_register_list(struct cpu_insn *d, uint32_t list)
{
    d->imm = list;
    d->cycles = (uint8_t)(1 + __builtin_popcount(list));
}

static uint8_t hint_op(unsigned hint)
{
    switch (hint) {
    case 2:
        return OP_WFE;
    case 3:
        return OP_WFI;
    case 4:
        return OP_SEV;
    default:
        return OP_NOP;
    }
}

/* ---- 16 bits ----------------------------------------------------------------------------------*/

/* A5.2.1, 00xxxx: shift by immediate, add, subtract, move, compare. */
static void shift_add_subtract_move(struct cpu_insn *d, uint32_t h)
{
    switch (h >> 11) {
    case 3:
        d->imm = d->rm;
        if (bit(h, 10))
            d->op = bit(h, 9) ? OP_SUB_I : OP_ADD_I;
        else
            d->op = bit(h, 9) ? OP_SUB_R : OP_ADD_R;
        return;
    case 4:
    case 5:
    case 6:
    case 7: {
        static const uint8_t ops[4] = {OP_MOV_I, OP_CMP_I, OP_ADD_I, OP_SUB_I};
        d->op = ops[h >> 11 & 3];
        d->rd = d->rn = bits(h, 8, 3);
        d->imm = h & 0xff;
        if (d->op == OP_CMP_I)
            d->how = HOW_FLAGS;
        return;
    }
    default:
        d->rm = d->rn;
        set_shift(d, h >> 11, h >> 6 & 31);
        d->op = d->shift == SHIFT_LSL && d->amount == 0 ? OP_MOV_R : OP_MOV_S;
    }
}

/* A5.2.2, 010000. */
static void data_processing16(struct cpu_insn *d, uint32_t h)
{
    static const uint8_t ops[16] = {OP_AND_R, OP_EOR_R, OP_SHIFT, OP_SHIFT, OP_SHIFT, OP_ADC_R,
        OP_SBC_R, OP_SHIFT, OP_TST_R, OP_RSB_I, OP_CMP_R, OP_CMN_R, OP_ORR_R, OP_MUL, OP_BIC_R,
        OP_MVN_R};
    unsigned number = h >> 6 & 15;

    d->op = ops[number];
    d->rm = d->rn;
    if (d->op != OP_RSB_I)
        d->rn = d->rd;
    if (d->op == OP_SHIFT)
        d->shift = (uint8_t)(number == 7 ? SHIFT_ROR : number - 2);
    if (d->op == OP_TST_R || d->op == OP_CMP_R || d->op == OP_CMN_R)
        d->how = HOW_FLAGS;
}

/* A5.2.3, 010001: all sixteen registers, and BX. */
static void special_data(struct cpu_insn *d, uint32_t h)
{
    d->rd = d->rn = (uint8_t)(bits(h, 0, 3) | bits(h, 7, 1) << 3);
    d->rm = bits(h, 3, 4);
    d->how = 0;
    switch (h >> 8 & 3) {
    case 0:
        d->op = d->rd == 15 ? OP_ADD_PC : OP_ADD_R;
        return;
    case 1:
        d->op = OP_CMP_R;
        d->how = HOW_FLAGS;
        return;
    case 2:
        d->op = d->rd == 15 ? OP_MOV_PC : OP_MOV_R;
        return;
    default:
        d->op = bit(h, 7) ? OP_BLX : OP_BX;
    }
}

/* A5.2.4, 0101xx to 1001xx. */
static void load_store16(struct cpu_insn *d, uint32_t h)
{
    static const uint8_t indexed[8] = {
        OP_STR_R, OP_STRH_R, OP_STRB_R, OP_LDRSB_R, OP_LDR_R, OP_LDRH_R, OP_LDRB_R, OP_LDRSH_R};
    uint32_t imm5 = h >> 6 & 31;
    bool load = bit(h, 11);

    d->cycles = 2;
    switch (h >> 12) {
    case 5:
        d->op = indexed[h >> 9 & 7];
        return;
    case 6:
        d->op = load ? OP_LDR_I : OP_STR_I;
        d->imm = imm5 * 4;
        return;
    case 7:
        d->op = load ? OP_LDRB_I : OP_STRB_I;
        d->imm = imm5;
        return;
    case 8:
        d->op = load ? OP_LDRH_I : OP_STRH_I;
        d->imm = imm5 * 2;
        return;
    default:
        d->op = load ? OP_LDR_I : OP_STR_I;
        d->rd = bits(h, 8, 3);
        d->rn = 13;
        d->imm = (h & 0xff) * 4;
    }
}

/* A5.2.5, 1011xx. */
static void miscellaneous16(struct cpu_insn *d, uint32_t h)
{
    d->rm = d->rn;
    switch (h >> 8 & 15) {
    case 0x0:
        d->op = bit(h, 7) ? OP_SUB_I : OP_ADD_I;
        d->rd = d->rn = 13;
        d->imm = (h & 0x7f) * 4;
        d->how = 0;
        return;
    case 0x1:
    case 0x3:
    case 0x9:
    case 0xb:
        d->op = OP_CBZ;
        d->rn = d->rd;
        d->condition = bits(h, 11, 1);
        d->imm = (h >> 3 & 31) * 2 + (bit(h, 9) ? 64 : 0);
        return;
    case 0x2: {
        static const uint8_t ops[4] = {OP_SXTH, OP_SXTB, OP_UXTH, OP_UXTB};
        d->op = ops[h >> 6 & 3];
        return;
    }
    case 0x4:
    case 0x5:
        d->op = OP_STM;
        d->rn = 13;
        d->how = HOW_BEFORE | HOW_WRITE_BACK;
        set_register_list(d, (h & 0xff) | (bit(h, 8) ? 1u << 14 : 0));
        return;
    case 0x6:
        d->op = (h & 0xe8) == 0x60 ? OP_CPS : OP_UNDEFINED;
        d->imm = h;
        return;
    case 0xa: {
        static const uint8_t ops[4] = {OP_REV, OP_REV16, OP_UNDEFINED, OP_REVSH};
        d->op = ops[h >> 6 & 3];
        return;
    }
    case 0xc:
    case 0xd:
        d->op = OP_LDM;
        d->rn = 13;
        d->how = HOW_WRITE_BACK;
        set_register_list(d, (h & 0xff) | (bit(h, 8) ? 1u << 15 : 0));
        return;
    case 0xe:
        d->op = OP_BKPT;
        d->imm = h & 0xff;
        return;
    case 0xf:
        d->op = h & 15 ? OP_IT : hint_op(h >> 4 & 15);
        d->imm = h & 0xff;
        return;
    default:
        d->op = OP_UNDEFINED;
    }
}

/* A5.2.6, 1101xx: conditional branch, SVC. */
static void conditional_branch16(struct cpu_insn *d, uint32_t h)
{
    d->condition = bits(h, 8, 4);
    d->imm = h & 0xff;
    if (d->condition == 15) {
        d->op = OP_SVC;
    } else if (d->condition == 14) {
        d->op = OP_UNDEFINED;
    } else {
        d->op = OP_B_IF;
        d->imm = sign_extend(h & 0xff, 8) * 2;
    }
}

/* A5.2: by the first five bits. */
static void decode16(struct cpu_insn *d, uint32_t h)
{
    d->length = 2;
    d->how = HOW_FLAGS_OUTSIDE_IT;
    d->rd = bits(h, 0, 3);
    d->rn = bits(h, 3, 3);
    d->rm = bits(h, 6, 3);

    switch (h >> 11) {
    case 0x08:
        if (bit(h, 10))
            special_data(d, h);
        else
            data_processing16(d, h);
        return;
    case 0x09: /* LDR, literal */
        d->op = OP_LDR_L;
        d->rd = bits(h, 8, 3);
        d->imm = (h & 0xff) * 4;
        d->cycles = 2;
        return;
    case 0x14: /* ADR */
    case 0x15: /* ADD Rd, SP */
        d->op = h >> 11 == 0x14 ? OP_ADR : OP_ADD_I;
        d->rd = bits(h, 8, 3);
        d->rn = 13;
        d->imm = (h & 0xff) * 4;
        d->how = 0;
        return;
    case 0x16:
    case 0x17:
        miscellaneous16(d, h);
        return;
    case 0x18: /* STM */
    case 0x19: /* LDM: no write-back when the base is loaded */
        d->op = bit(h, 11) ? OP_LDM : OP_STM;
        d->rn = bits(h, 8, 3);
        d->how = d->op == OP_STM || !bit(h, d->rn) ? HOW_WRITE_BACK : 0;
        set_register_list(d, h & 0xff);
        return;
    case 0x1a:
    case 0x1b:
        conditional_branch16(d, h);
        return;
    case 0x1c:
        d->op = OP_B;
        d->imm = sign_extend(h & 0x7ff, 11) * 2;
        return;
    default:
        if (h >> 11 < 8)
            shift_add_subtract_move(d, h);
        else
            load_store16(d, h);
    }
}

/* ---- 32 bits ----------------------------------------------------------------------------------*/

/* The four bits op of A5.3.1 and A5.3.11. kind is the distance from the _I op: _R 1, _S 2. */
static void data_processing32(struct cpu_insn *d, uint32_t h1, unsigned kind)
{
    static const uint8_t ops[16] = {OP_AND_I, OP_BIC_I, OP_ORR_I, OP_ORN_I, OP_EOR_I, OP_NONE,
        OP_NONE, OP_NONE, OP_ADD_I, OP_NONE, OP_ADC_I, OP_SBC_I, OP_NONE, OP_SUB_I, OP_RSB_I,
        OP_NONE};
    static const uint8_t without_result[16] = {
        [0] = OP_TST_I, [4] = OP_TEQ_I, [8] = OP_CMN_I, [13] = OP_CMP_I};
    static const uint8_t without_operand[16] = {[2] = OP_MOV_I, [3] = OP_MVN_I};
    unsigned number = h1 >> 5 & 15;
    uint8_t op = ops[number];

    if (op == OP_NONE) /* PKH is not in the M3 */
        return;
    d->how = bit(h1, 4) ? HOW_FLAGS : 0;
    if (d->rd == 15 && d->how && without_result[number] != OP_NONE)
        op = without_result[number];
    else if (d->rn == 15 && without_operand[number] != OP_NONE)
        op = without_operand[number];
    d->op = (uint8_t)(op + kind);
}

/* A5.3.3: plain binary immediate, bit fields, saturation. */
static void plain_immediate(struct cpu_insn *d, uint32_t h1, uint32_t h2, uint32_t imm12)
{
    unsigned lsb = imm5_of(h2), field = h2 & 31; /* a width - 1, or a msb */
    uint32_t imm16 = (uint32_t)d->rn << 12 | imm12;

    switch (h1 >> 4 & 31) {
    case 0x00:
        d->op = d->rn == 15 ? OP_ADR : OP_ADD_I;
        d->imm = imm12;
        return;
    case 0x0a:
        d->op = d->rn == 15 ? OP_ADR : OP_SUB_I;
        d->imm = d->rn == 15 ? 0 - imm12 : imm12;
        return;
    case 0x04:
        d->op = OP_MOV_I;
        d->imm = imm16;
        return;
    case 0x0c:
        d->op = OP_MOVT;
        d->imm = imm16;
        return;
    case 0x10:
    case 0x12:
    case 0x18:
    case 0x1a:
        if (bit(h1, 5) && lsb == 0) /* SSAT16 and USAT16 are not in the M3 */
            return;
        d->op = bit(h1, 7) ? OP_USAT : OP_SSAT;
        set_shift(d, bit(h1, 5) ? SHIFT_ASR : SHIFT_LSL, lsb);
        d->imm = bit(h1, 7) ? field : field + 1;
        return;
    case 0x14:
    case 0x1c:
        if (lsb + field > 31)
            return;
        d->op = bit(h1, 7) ? OP_UBFX : OP_SBFX;
        d->amount = (uint8_t)lsb;
        d->imm = field + 1;
        return;
    case 0x16:
        if (field < lsb)
            return;
        d->op = d->rn == 15 ? OP_BFC : OP_BFI;
        d->amount = (uint8_t)lsb;
        d->imm = field - lsb + 1;
        return;
    default:
        return;
    }
}

/* A5.3.4, second half: MSR, MRS, hints, barriers. */
static void control32(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    switch (h1 >> 4 & 0x7f) {
    case 0x38:
        d->op = OP_MSR;
        d->imm = h2 & 0xfff;
        return;
    case 0x3a:
        if (!(h2 & 0x700))
            d->op = hint_op(h2 & 0xff);
        return;
    case 0x3b:
        switch (h2 >> 4 & 15) {
        case 2:
            d->op = OP_CLREX;
            return;
        case 4: /* DSB */
        case 5: /* DMB */
        case 6: /* ISB */
            d->op = OP_NOP;
            return;
        default:
            return;
        }
    case 0x3e:
        d->op = OP_MRS;
        d->imm = h2 & 0xff;
        return;
    default:
        return;
    }
}

/* A5.3.4: branches and miscellaneous control. */
static void branch32(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    bool s = bit(h1, 10), j1 = bit(h2, 13), j2 = bit(h2, 11);
    uint32_t far = (uint32_t)s << 24 | (uint32_t)(j1 == s) << 23 | (uint32_t)(j2 == s) << 22 |
                   (h1 & 0x3ff) << 12 | (h2 & 0x7ff) << 1;
    uint32_t near = (uint32_t)s << 20 | (uint32_t)j2 << 19 | (uint32_t)j1 << 18 |
                    (h1 & 0x3f) << 12 | (h2 & 0x7ff) << 1;

    switch (h2 >> 12 & 5) {
    case 1:
        d->op = OP_B;
        d->imm = sign_extend(far, 25);
        return;
    case 5:
        d->op = OP_BL;
        d->imm = sign_extend(far, 25);
        return;
    case 4: /* BLX to ARM code */
        return;
    default:
        d->condition = bits(h1, 6, 4);
        if (d->condition >= 14) {
            control32(d, h1, h2);
            return;
        }
        d->op = OP_B_IF;
        d->imm = sign_extend(near, 21);
    }
}

/* A5.3.5: load and store multiple. */
static void load_store_multiple(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    unsigned mode = h1 >> 7 & 3;

    if (mode == 0 || mode == 3)
        return;
    d->op = bit(h1, 4) ? OP_LDM : OP_STM;
    d->how = (uint8_t)((mode == 2 ? HOW_BEFORE : 0) | (bit(h1, 5) ? HOW_WRITE_BACK : 0));
    set_register_list(d, h2);
}

static void exclusive(struct cpu_insn *d, bool load, uint8_t status, uint32_t offset, uint8_t size)
{
    d->op = load ? OP_LDREX : OP_STREX;
    d->rd = load ? d->ra : status; /* ra is Rt here */
    d->rm = d->ra;
    d->imm = offset;
    d->amount = size;
}

/* A5.3.6: load and store dual, exclusives, table branch. */
static void dual_exclusive(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    bool before = bit(h1, 8), up = bit(h1, 7), write_back = bit(h1, 5), load = bit(h1, 4);
    unsigned op3 = h2 >> 4 & 15;

    d->cycles = 2;
    if (before || write_back) {
        d->op = load ? OP_LDRD : OP_STRD;
        d->rd = bits(h2, 12, 4);
        d->ra = bits(h2, 8, 4);
        d->imm = up ? (h2 & 0xff) * 4 : 0 - (h2 & 0xff) * 4;
        d->how = (uint8_t)((before ? HOW_BEFORE : 0) | (write_back ? HOW_WRITE_BACK : 0));
        d->cycles = 3;
    } else if (!up) {
        exclusive(d, load, bits(h2, 8, 4), (h2 & 0xff) * 4, 4);
    } else if (load && op3 < 2) {
        d->op = OP_TABLE_BRANCH;
        d->amount = (uint8_t)op3;
    } else if (op3 == 4 || op3 == 5) {
        exclusive(d, load, bits(h2, 0, 4), 0, op3 == 4 ? 1 : 2);
    }
}

/* A5.3.7 to A5.3.10: single data item. */
static void load_store32(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    static const uint8_t ops[2][2][3] = {
        {{OP_STRB_I, OP_STRH_I, OP_STR_I}, {OP_LDRB_I, OP_LDRH_I, OP_LDR_I} },
        {{OP_NONE, OP_NONE, OP_NONE},      {OP_LDRSB_I, OP_LDRSH_I, OP_NONE}},
    };
    unsigned size = h1 >> 5 & 3;
    bool load = bit(h1, 4), is_signed = bit(h1, 8), imm12 = bit(h1, 7);
    uint8_t op = size < 3 ? ops[is_signed][load][size] : OP_NONE;

    if (op == OP_NONE)
        return;
    d->rd = bits(h2, 12, 4);
    d->cycles = 2;
    if (load && d->rd == 15 && size != 2) { /* PLD, PLI and unallocated hints */
        d->op = OP_NOP;
    } else if (d->rn == 15) {
        if (!load)
            return;
        d->op = (uint8_t)(op + OP_LDR_L - OP_LDR_I);
        d->imm = imm12 ? h2 & 0xfff : 0 - (h2 & 0xfff);
    } else if (imm12) {
        d->op = op;
        d->imm = h2 & 0xfff;
    } else if (bit(h2, 11)) {
        bool before = bit(h2, 10), up = bit(h2, 9), write_back = bit(h2, 8);
        if (!before && !write_back)
            return;
        d->op = write_back ? (uint8_t)(op + OP_LDR_X - OP_LDR_I) : op;
        d->how = before ? HOW_BEFORE : 0;
        d->imm = up ? h2 & 0xff : 0 - (h2 & 0xff);
        if (before && up && !write_back) {
            d->op = load ? OP_LDRT : OP_STRT;
            d->how = is_signed ? HOW_SIGNED : 0;
            d->amount = (uint8_t)(1 << size);
        }
    } else if (!(h2 & 0xfc0)) {
        d->op = (uint8_t)(op + OP_LDR_R - OP_LDR_I);
        d->amount = bits(h2, 4, 2);
    }
}

/* A5.3.12 to A5.3.15: register shifts, extension, reversal. */
static void data_processing_register(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    static const uint8_t extensions[8] = {
        OP_SXTH, OP_UXTH, OP_UNDEFINED, OP_UNDEFINED, OP_SXTB, OP_UXTB, OP_UNDEFINED, OP_UNDEFINED};
    static const uint8_t reversals[4] = {OP_REV, OP_REV16, OP_RBIT, OP_REVSH};

    if ((h2 & 0xf000) != 0xf000)
        return;
    if (!bit(h1, 7) && !(h2 & 0xf0)) {
        d->op = OP_SHIFT;
        d->shift = bits(h1, 5, 2);
        d->how = bit(h1, 4) ? HOW_FLAGS : 0;
    } else if (!bit(h1, 7) && bit(h2, 7) && !bit(h2, 6) && d->rn == 15) {
        d->op = extensions[h1 >> 4 & 7];
        d->amount = (uint8_t)(bits(h2, 4, 2) * 8);
    } else if (bit(h1, 7) && !bit(h1, 6) && (h2 & 0xc0) == 0x80) {
        if ((h1 & 0x30) == 0x10)
            d->op = reversals[h2 >> 4 & 3];
        else if ((h1 & 0x30) == 0x30 && !(h2 & 0x30))
            d->op = OP_CLZ;
    }
}

/* A5.3.16 and A5.3.17. */
static void multiply_divide(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    unsigned op2 = h2 >> 4 & 15;

    if (!bit(h1, 7)) {
        if (h1 & 0x70)
            return;
        if (op2 == 0)
            d->op = d->ra == 15 ? OP_MUL : OP_MLA;
        else if (op2 == 1)
            d->op = OP_MLS;
        d->cycles = d->op == OP_MUL ? 1 : 2;
        return;
    }
    d->cycles = 4;
    switch ((h1 & 0x70) | op2) {
    case 0x00:
        d->op = OP_SMULL;
        return;
    case 0x1f:
        d->op = OP_SDIV;
        return;
    case 0x20:
        d->op = OP_UMULL;
        return;
    case 0x3f:
        d->op = OP_UDIV;
        return;
    case 0x40:
        d->op = OP_SMLAL;
        return;
    case 0x60:
        d->op = OP_UMLAL;
        return;
    default:
        return;
    }
}

/* A5.3.18: op1 = 11xxxx is nobody's. */
static uint8_t coprocessor_op(uint32_t h1)
{
    return (h1 & 0x300) == 0x300 ? OP_UNDEFINED : OP_NO_COPROCESSOR;
}

/* A5.3, op1 = 1. */
static void decode32_1(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    if (bit(h1, 10)) {
        d->op = coprocessor_op(h1);
    } else if (bit(h1, 9)) {
        set_shift(d, h2 >> 4 & 3, imm5_of(h2));
        data_processing32(d, h1, d->shift == SHIFT_LSL && d->amount == 0 ? 1 : 2);
    } else if (bit(h1, 6)) {
        dual_exclusive(d, h1, h2);
    } else {
        load_store_multiple(d, h1, h2);
    }
}

/* op1 = 2. */
static void decode32_2(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    uint32_t imm12 = (h1 & 0x400) << 1 | (h2 >> 4 & 0x700) | (h2 & 0xff);

    if (bit(h2, 15)) {
        branch32(d, h1, h2);
    } else if (bit(h1, 9)) {
        plain_immediate(d, h1, h2, imm12);
    } else {
        set_expanded_immediate(d, imm12);
        data_processing32(d, h1, 0);
    }
}

/* op1 = 3. */
static void decode32_3(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    if (bit(h1, 10))
        d->op = coprocessor_op(h1);
    else if (!bit(h1, 9))
        load_store32(d, h1, h2);
    else if (bit(h1, 8))
        multiply_divide(d, h1, h2);
    else
        data_processing_register(d, h1, h2);
}

static void decode32(struct cpu_insn *d, uint32_t h1, uint32_t h2)
{
    d->op = OP_UNDEFINED;
    d->length = 4;
    d->rn = bits(h1, 0, 4);
    d->rd = bits(h2, 8, 4);
    d->rm = bits(h2, 0, 4);
    d->ra = bits(h2, 12, 4);

    switch (h1 >> 11 & 3) {
    case 1:
        decode32_1(d, h1, h2);
        return;
    case 2:
        decode32_2(d, h1, h2);
        return;
    default:
        decode32_3(d, h1, h2);
    }
}

void cpu_decode(struct cpu_insn *insn, uint16_t h1, uint16_t h2)
{
    memset(insn, 0, sizeof *insn);
    insn->cycles = 1;
    insn->carry = CARRY_KEPT;
    if (cpu_is_wide(h1))
        decode32(insn, h1, h2);
    else
        decode16(insn, h1);
}
