/* SPDX-License-Identifier: MIT */
/*
 * Private to the core: what the decoder hands to the executor, and what cpu_exec.c (instructions,
 * memory) and cpu_scs.c (exceptions, system registers) ask of each other.
 *
 * Section numbers are those of the ARMv7-M Architecture Reference Manual, DDI 0403.
 */
#ifndef SIM_CPU_INSN_H
#define SIM_CPU_INSN_H

#include "sim/cpu.h"

#define LIKELY(x)     __builtin_expect(!!(x), 1)
#define UNLIKELY(x)   __builtin_expect(!!(x), 0)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NOINLINE      __attribute__((noinline))

/* ---- decoded instructions ---------------------------------------------------------------------*/

/* An instruction, unpacked. It does not depend on where it lies nor on the state it runs in: the
 * same bytes are executed at 0 and at 0x08000000, inside IT blocks and outside. */
struct cpu_insn {
    uint8_t op;             /* enum cpu_op */
    uint8_t length;         /* 2 or 4 bytes */
    uint8_t rd, rn, rm, ra; /* as the manual names them; Rt is rd, Rt2, Ra and RdLo are ra */
    uint8_t how;            /* HOW_… */
    uint8_t shift, amount;  /* constant shift: enum cpu_shift; access size of exclusives and LDRT in
                              amount */
    uint8_t carry;          /* carry out of an immediate: 0, 1 or CARRY_KEPT */
    uint8_t condition;      /* of a branch; for CBZ 0, CBNZ 1 */
    uint8_t cycles;         /* without what a taken branch costs */
    uint32_t imm;           /* immediate, offset, register list, special register */
};

enum {
    HOW_FLAGS = 1,            /* sets the flags */
    HOW_FLAGS_OUTSIDE_IT = 2, /* sets the flags, but not in an IT block: 16-bit forms */
    HOW_BEFORE = 4,           /* the offset is added before the access (P); LDM/STM: DB, not IA */
    HOW_WRITE_BACK = 8,
    HOW_SIGNED = 16, /* LDRT: LDRSBT, LDRSHT */

    CARRY_KEPT = 2,
};

enum cpu_shift { SHIFT_LSL, SHIFT_LSR, SHIFT_ASR, SHIFT_ROR, SHIFT_RRX };

/* Data processing: each has three ops, by the second operand: _I immediate, _R register,
 * _S register shifted by a constant. */
#define CPU_ALU_OPS(X)                                                                             \
    X(AND)                                                                                         \
    X(BIC)                                                                                         \
    X(ORR)                                                                                         \
    X(ORN) X(EOR) X(MOV) X(MVN) X(TST) X(TEQ) X(ADD) X(ADC) X(SBC) X(SUB) X(RSB) X(CMN) X(CMP)

/* Loads and stores: four ops each, by the address: _I Rn + imm, _X the same with write-back (before
 * or after), _R Rn + (Rm << amount), _L relative to PC. */
#define CPU_MEMORY_OPS(X) X(LDR) X(LDRB) X(LDRH) X(LDRSB) X(LDRSH) X(STR) X(STRB) X(STRH)

// clang-format off
enum cpu_alu {
#define X(name) ALU_##name,
    CPU_ALU_OPS(X)
#undef X
};

enum cpu_op {
    OP_NONE, /* not decoded yet */
#define X(name) OP_##name##_I, OP_##name##_R, OP_##name##_S,
    CPU_ALU_OPS(X)
#undef X
#define X(name) OP_##name##_I, OP_##name##_X, OP_##name##_R, OP_##name##_L,
    CPU_MEMORY_OPS(X)
#undef X
    OP_SHIFT, /* by a register */
    OP_ADD_PC, OP_MOV_PC, /* ADD and MOV to PC */
    OP_ADR, OP_MOVT, OP_BFI, OP_BFC, OP_UBFX, OP_SBFX, OP_SSAT, OP_USAT,
    OP_SXTB, OP_SXTH, OP_UXTB, OP_UXTH, OP_REV, OP_REV16, OP_REVSH, OP_RBIT, OP_CLZ,
    OP_MUL, OP_MLA, OP_MLS, OP_SMULL, OP_UMULL, OP_SMLAL, OP_UMLAL, OP_SDIV, OP_UDIV,
    OP_LDRD, OP_STRD, OP_LDM, OP_STM, OP_LDREX, OP_STREX, OP_CLREX, OP_TABLE_BRANCH,
    OP_LDRT, OP_STRT, /* of any size */
    OP_B, OP_B_IF, OP_BL, OP_BX, OP_BLX, OP_CBZ,
    OP_IT, OP_NOP, OP_WFI, OP_WFE, OP_SEV, OP_SVC, OP_BKPT, OP_CPS, OP_MRS, OP_MSR,
    OP_UNDEFINED, OP_NO_COPROCESSOR,
};
// clang-format on

/* Unpacks the instruction that starts with half-word h1; h2 counts when it is a 32-bit one.
 * UNDEFINED and, mostly, UNPREDICTABLE encodings become OP_UNDEFINED. */
void cpu_decode(struct cpu_insn *insn, uint16_t h1, uint16_t h2);

/* A5.1: does this half-word begin a 32-bit instruction? */
static inline bool cpu_is_wide(uint16_t h1)
{
    return h1 >> 11 >= 29;
}

/* ---- exceptions and system registers: cpu_scs.c -----------------------------------------------*/

enum {
    EXC_NMI = 2,
    EXC_HARD_FAULT = 3,
    EXC_MEM_MANAGE = 4,
    EXC_BUS_FAULT = 5,
    EXC_USAGE_FAULT = 6,
    EXC_SVC = 11,
    EXC_DEBUG_MONITOR = 12,
    EXC_PENDSV = 14,
    EXC_SYSTICK = 15,
    EXC_IRQ0 = 16,
};

/* B3.2.15: the bits of CFSR. */
#define CFSR_IACCVIOL    (1u << 0)
#define CFSR_IBUSERR     (1u << 8)
#define CFSR_PRECISERR   (1u << 9)
#define CFSR_IMPRECISERR (1u << 10)
#define CFSR_UNSTKERR    (1u << 11)
#define CFSR_STKERR      (1u << 12)
#define CFSR_BFARVALID   (1u << 15)
#define CFSR_UNDEFINSTR  (1u << 16)
#define CFSR_INVSTATE    (1u << 17)
#define CFSR_INVPC       (1u << 18)
#define CFSR_NOCP        (1u << 19)
#define CFSR_UNALIGNED   (1u << 24)
#define CFSR_DIVBYZERO   (1u << 25)

/* B3.2.8: the bits of CCR. */
#define CCR_NONBASETHRDENA (1u << 0)
#define CCR_USERSETMPEND   (1u << 1)
#define CCR_UNALIGN_TRP    (1u << 3)
#define CCR_DIV_0_TRP      (1u << 4)
#define CCR_BFHFNMIGN      (1u << 8)
#define CCR_STKALIGN       (1u << 9)

#define CONTROL_NPRIV (1u << 0)
#define CONTROL_SPSEL (1u << 1)

/* In handler mode, or in thread mode with CONTROL.nPRIV clear. */
static inline bool cpu_privileged(const struct cpu *cpu)
{
    return cpu->ipsr != 0 || !(cpu->control & CONTROL_NPRIV);
}

/* B1.5.4: of what runs now; lower is more urgent, 256 when nothing is active or masked. */
int cpu_execution_priority(const struct cpu *cpu);

/* Enters the handler of a fault of the instruction at cpu->pc, or locks up. next_pc says where. */
void cpu_take_fault(struct cpu *cpu, struct cpu_bus *bus, unsigned exception);
/* An asynchronous bus fault: becomes pending, and is taken when the priority allows. */
void cpu_pend_bus_fault(struct cpu *cpu);
/* The same for SVC; return_to is the instruction after it. */
void cpu_take_svc(struct cpu *cpu, struct cpu_bus *bus, uint32_t return_to);
/* B1.5.8: a branch to the EXC_RETURN value in handler mode. */
void cpu_exception_return(struct cpu *cpu, struct cpu_bus *bus, uint32_t exc_return);

/* May something that is pending preempt what runs now? And, if so, its handler is entered. */
bool cpu_may_preempt(const struct cpu *cpu);
void cpu_take_pending(struct cpu *cpu, struct cpu_bus *bus);
/* Would WFI return now? PRIMASK does not count (B1.5.17). */
bool cpu_wakes(const struct cpu *cpu);

void cpu_set_control(struct cpu *cpu, uint32_t value);
void cpu_set_flags(struct cpu *cpu, uint32_t apsr);
uint32_t cpu_flags(const struct cpu *cpu);

/* Lets SysTick catch up with cpu->cycles, and when it will reach zero next (UINT64_MAX: never). */
void cpu_systick_run(struct cpu *cpu);
uint64_t cpu_systick_due(const struct cpu *cpu);

/* The private peripheral bus inside the core, 0xE0000000 to 0xE003FFFF. False: BusFault. */
bool cpu_ppb_read(struct cpu *cpu, uint32_t addr, unsigned size, uint32_t *value);
bool cpu_ppb_write(struct cpu *cpu, uint32_t addr, unsigned size, uint32_t value);

/* ---- memory: cpu_exec.c -----------------------------------------------------------------------*/

/* Data accesses of any alignment that report a bus error with false instead of taking the fault.
 * They wait for a busy flash on the spot. */
bool cpu_try_read(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size, uint32_t *value);
bool cpu_try_write(
    struct cpu *cpu, struct cpu_bus *bus, uint32_t addr, unsigned size, uint32_t value);

/* Is there flash at addr, and is it busy? */
bool cpu_flash_stalls(const struct cpu *cpu, const struct cpu_bus *bus, uint32_t addr);

#endif
