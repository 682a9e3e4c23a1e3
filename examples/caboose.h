/* SPDX-License-Identifier: MIT */
/*
 * What an application on an STM32F1 may say to the caboose that it rides with. Copy this file; it needs
 * no other, is C and C++, and does no harm where there is no caboose.
 *
 *     if (button_held)
 *         caboose_enter_dfu();              // the board comes back as 0483:df11
 *
 * Registers and bits are those of RM0008: RCC §7.3, PWR §5.4, BKP §6.4; AIRCR: PM0056 §4.4.5.
 */
#ifndef CABOOSE_H
#define CABOOSE_H

#include <stdint.h>

#define CABOOSE_REG(address) (*(volatile uint32_t *)(address))

/* Writes backup register n, 1 to 10: it survives a reset. Backup registers stay writable afterwards. */
static inline void caboose_backup(unsigned n, uint16_t value)
{
    CABOOSE_REG(0x4002101C) |= 3U << 27;     /* RCC_APB1ENR: BKPEN, PWREN */
    CABOOSE_REG(0x40007000) |= 1U << 8;      /* PWR_CR: DBP */
    CABOOSE_REG(0x40006C00 + 4 * n) = value; /* BKP_DRn */
}

__attribute__((noreturn)) static inline void caboose_reset(void)
{
    __asm__ volatile("dsb" ::: "memory"); /* what was written has arrived */
    CABOOSE_REG(0xE000ED0C) = 0x05FA0004; /* SCB_AIRCR: VECTKEY, SYSRESETREQ */
    for (;;) {
    }
}

/* Enters the bootloader, once: the next reset starts the application again. A USB cable may stay in, the
 * bootloader holds D+ low for some time. Every board with caboose. */
__attribute__((noreturn)) static inline void caboose_enter_dfu(void)
{
    caboose_backup(10, 0x424C);
    caboose_reset();
}

/* The same without a backup register: by the first two words of RAM, whatever stands there. */
__attribute__((noreturn)) static inline void caboose_enter_dfu_by_ram(void)
{
    __asm__ volatile("cpsid i" ::: "memory"); /* a handler may want what stands there */
    CABOOSE_REG(0x20000000) = 0x6F626163;     /* "cabo" */
    CABOOSE_REG(0x20000004) = 0;              /* no image in RAM to be started instead */
    caboose_reset();
}

/* "All is well", for boards on which some resets in a row end in DFU unless this was said in between
 * (ENTER_AFTER_RESETS in boot/choices.h); elsewhere without effect. */
static inline void caboose_healthy(void)
{
    caboose_backup(7, 0);
}

/*
 * Why the chip was reset, as RCC_CSR tells: bit 26 pin, 27 power, 28 software, 29 and 30 the watchdogs,
 * 31 low power. caboose clears these bits and leaves them in r0, the first argument of a function: call
 * the reset handler
 *
 *     void Reset_Handler(uint32_t r0)
 *
 * and keep caboose_reset_cause(r0) until main(); in assembly keep r0 before it is used for anything else.
 * Started without caboose, RCC_CSR itself tells.
 */
static inline uint32_t caboose_reset_cause(uint32_t r0)
{
    uint32_t csr = CABOOSE_REG(0x40021024);
    return csr >> 26 ? csr : r0;
}

/*
 * Where the part of caboose stands that is never replaced, a whole kilobyte from the start of flash, found by the
 * reset vector of flash, which leads into it; 0: there is none. Words 2 and 3 of it are "caboose", 5 tells
 * how far from its start the version stands, 6 is the layout as text: "t38" for the end of flash, 3 KB and
 * the stub, a crystal of 8 MHz; "h48" for the start, the application behind 4 KB. Behind it the pin for D+, '0' if none.
 */
static inline const int32_t *caboose_stub(void)
{
    uint32_t stub = CABOOSE_REG(0x08000004) & ~1023U;
    if (stub >> 20 != 0x080 || CABOOSE_REG(stub + 8) != 0x6F626163)
        return 0;
    return (const int32_t *)stub;
}

/* "caboose 1.0", or 0. */
static inline const char *caboose_version(void)
{
    const int32_t *stub = caboose_stub();
    return stub ? (const char *)stub + stub[5] : 0;
}

#endif
