/* SPDX-License-Identifier: MIT */
/*
 * At reset: who asks for DFU, and how an application is started. The way there uses neither RAM nor
 * stack (promise P8: an application's RAM is byte-equal after a normal start; the build checks that
 * reset_entry() needs no stack).
 */
#ifndef BOOT_ENTRY_H
#define BOOT_ENTRY_H

#include "stub.h"

/* code: odd, for Thumb. */
static _Noreturn inline void jump(uint32_t code, uint32_t argument)
{
    register uint32_t r0 __asm("r0") = argument;
    __asm volatile("bx %0" : : "r"(code), "r"(r0));
    __builtin_unreachable();
}

/* The application, as if from reset, with the reset's cause in r0. */
static _Noreturn inline void start(const uint32_t *vectors, uint32_t reset, uint32_t cause)
{
    register uint32_t r0 __asm("r0") = cause;
    SCB->VTOR = (uint32_t)vectors - FLASH_BASE; /* flash stands at 0, too */
    __asm volatile("msr msp, %0\n bx %1" : : "r"(vectors[0]), "r"(reset), "r"(r0));
    __builtin_unreachable();
}

/*
 * Does the reset button (the pin without any other cause; RM0008 §7.3.10) ask for DFU, or a word in RAM
 * or in a backup register, or what else the board chose? *cause becomes the reset's cause, RCC_CSR as it
 * was: the flags themselves must be cleared at each boot or the button would not be told from what came
 * before.
 */
static inline bool dfu_asked(uint32_t *cause)
{
    bool dfu = RAM_REQUEST->word == REQUEST_RAM, button = false; /* the proper clears it */
    volatile struct rcc_regs *rcc = RCC;
    volatile uint32_t *dr = &BKP_DR(0), *request;
    __asm("" : "+r"(rcc), "+r"(dr)); /* gcc would spell out each address, in 6 bytes and more */
#define PWR_CR dr[PWR_CR_FROM_BKP]

    if (ENTER_PORT) {
        rcc->APB2ENR = RCC_APB2ENR_IOPEN(ENTER_PORT);
        (void)rcc->APB2ENR; /* the port answers a little later */
        dfu |= (GPIO(ENTER_PORT)->IDR >> ENTER_PIN & 1) == ENTER_LEVEL;
        rcc->APB2ENR = 0;
    }
    *cause = rcc->CSR;
    if (ENTER_BY_RESET) {
        rcc->CSR = RCC_CSR_RMVF;
        button =
            (*cause & (RCC_CSR_LPWRRSTF | RCC_CSR_WWDGRSTF | RCC_CSR_IWDGRSTF | RCC_CSR_SFTRSTF |
                          RCC_CSR_PORRSTF | RCC_CSR_PINRSTF)) == RCC_CSR_PINRSTF;
        if (ENTER_BY_RESET == 1)
            dfu |= button;
    }

    rcc->APB1ENR = RCC_APB1ENR_PWREN | RCC_APB1ENR_BKPEN;
    request = dr + 10;
    if (*request == REQUEST_DR10 || (ENTER_BY_DR1 && (request = dr + 1, *request == REQUEST_DR1))) {
        PWR_CR = PWR_CR_DBP;
        *request = 0; /* once */
        dfu = true;
    } else if (ENTER_BY_RESET == 2 && button) { /* another press in time finds a request */
        PWR_CR = PWR_CR_DBP;
        dr[10] = REQUEST_DR10;
        for (unsigned i = TAP_LOOPS; i; i--)
            __asm volatile("");
        dr[10] = 0;
        PWR_CR = 0;
    }
    if (ENTER_AFTER_RESETS) {
        uint32_t resets = dr[7] + 1;
        dfu |= resets > ENTER_AFTER_RESETS;
        PWR_CR = PWR_CR_DBP;
        dr[7] = dfu ? 0 : resets;
        PWR_CR = 0;
    }
    rcc->APB1ENR = 0;
    return dfu;
#undef PWR_CR
}

#endif
