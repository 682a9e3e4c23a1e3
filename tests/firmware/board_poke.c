/* SPDX-License-Identifier: MIT */
/*
 * For test_board.c: does accesses that the test orders, from flash or from RAM, and counts the
 * faults that they cause. The mailbox stands behind the RAM that the linker script knows.
 */
#include "tests/firmware/board_poke.h"

#include "tests/firmware/guest.h"

#define MAILBOX ((volatile struct mailbox *)MAILBOX_ADDR)

/* Skips the instruction that faulted. */
__attribute__((used)) void skip(uint32_t *frame)
{
    uint16_t code = *(uint16_t *)frame[6];
    frame[6] += code >> 11 >= 0x1D ? 4 : 2;
    MAILBOX->faults++;
}

__attribute__((naked)) void hard_fault(void)
{
    __asm__("mrs r0, msp\n\tb skip");
}

/* A store and, with nothing between, a load. */
#define STORE_LOAD(store, load, store_addr, value, result)                                         \
    __asm__ volatile("str %1, [%2]\n\tldr %0, [%3]"                                                \
                     : "=&r"(result)                                                               \
                     : "r"(value), "r"(store), "r"(load)                                           \
                     : "memory")

/* The handler of what has waited for the end skips one NOP. */
#define WITH_FAULTMASK(code, ...)                                                                  \
    __asm__ volatile("cpsid f\n\t" code "\n\tdsb\n\tcpsie f\n\tisb\n\tnop\n\tnop"                  \
                     : __VA_ARGS__                                                                 \
                     : "memory")

/* Narrow stores from a register whose upper bits are not zero, if the test says so. */
#define DO(step)                                                                                   \
    switch ((step)->op) {                                                                          \
    case POKE_READ32:                                                                              \
        (step)->value = *(volatile uint32_t *)(step)->addr;                                        \
        break;                                                                                     \
    case POKE_READ16:                                                                              \
        (step)->value = *(volatile uint16_t *)(step)->addr;                                        \
        break;                                                                                     \
    case POKE_READ8:                                                                               \
        (step)->value = *(volatile uint8_t *)(step)->addr;                                         \
        break;                                                                                     \
    case POKE_WRITE32:                                                                             \
        *(volatile uint32_t *)(step)->addr = (step)->value;                                        \
        break;                                                                                     \
    case POKE_WRITE16:                                                                             \
        __asm__ volatile("strh %0, [%1]" : : "r"((step)->value), "r"((step)->addr) : "memory");    \
        break;                                                                                     \
    case POKE_WRITE8:                                                                              \
        __asm__ volatile("strb %0, [%1]" : : "r"((step)->value), "r"((step)->addr) : "memory");    \
        break;                                                                                     \
    case POKE_WAIT_CLEAR:                                                                          \
        while (*(volatile uint32_t *)(step)->addr & (step)->value)                                 \
            continue;                                                                              \
        break;                                                                                     \
    case POKE_PROBE: {                                                                             \
        uint32_t result;                                                                           \
        WITH_FAULTMASK("ldr %0, [%1]", "=&r"(result) : "r"((step)->addr));                         \
        (step)->value = result;                                                                    \
        break;                                                                                     \
    }                                                                                              \
    case POKE_PROBE_STORE:                                                                         \
        WITH_FAULTMASK("str %0, [%1]", : "r"((step)->value), "r"((step)->addr));                   \
        break;                                                                                     \
    case POKE_WRITE_READ: {                                                                        \
        uint32_t result;                                                                           \
        STORE_LOAD((step)->addr, (step)->addr2, (step)->addr, (step)->value, result);              \
        (step)->value = result;                                                                    \
        break;                                                                                     \
    }                                                                                              \
    default:                                                                                       \
        break;                                                                                     \
    }

#define RUN                                                                                        \
    for (uint32_t i = 0; i < MAILBOX->count; i++) {                                                \
        volatile struct poke *step = &MAILBOX->step[i];                                            \
        DO(step)                                                                                   \
    }

static __attribute__((noinline)) void run_in_flash(void)
{
    RUN MAILBOX->go = 0;
}

/* In RAM; a jump table would be in flash. The rest of the section's name keeps GCC's own flags from
 * the assembler. */
#define IN_RAM section(".data.run,\"awx\",%progbits @")
__attribute__((IN_RAM, noinline, long_call, optimize("no-jump-tables"))) static void run_in_ram(
    void)
{
    RUN MAILBOX->go = 0;
}

int main(void)
{
    for (;;) {
        if (MAILBOX->go == POKE_GO_FLASH)
            run_in_flash();
        else if (MAILBOX->go == POKE_GO_RAM)
            run_in_ram();
    }
}
