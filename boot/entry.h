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
    SCB_VTOR = (uint32_t)vectors - FLASH_BASE; /* flash stands at 0, too */
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
    if (ENTER_PORT) {
        RCC->APB2ENR = RCC_APB2ENR_IOPEN(ENTER_PORT);
        (void)RCC->APB2ENR; /* two cycles until the port answers (errata sheet of F10xx8/B) */
        dfu |= (GPIO(ENTER_PORT)->IDR >> ENTER_PIN & 1) == ENTER_LEVEL;
        RCC->APB2ENR = 0;
    }
    *cause = RCC->CSR;
    if (ENTER_BY_RESET) {
        RCC->CSR = RCC_CSR_RMVF;
        button =
            (*cause & (RCC_CSR_LPWRRSTF | RCC_CSR_WWDGRSTF | RCC_CSR_IWDGRSTF | RCC_CSR_SFTRSTF |
                          RCC_CSR_PORRSTF | RCC_CSR_PINRSTF)) == RCC_CSR_PINRSTF;
        if (ENTER_BY_RESET == 1)
            dfu |= button;
    }

    RCC->APB1ENR = RCC_APB1ENR_PWREN | RCC_APB1ENR_BKPEN;
    volatile uint32_t *request = &BKP_DR(10);
    bool asked = *request == REQUEST_DR10;
    if (ENTER_BY_DR1 && !asked) {
        request = &BKP_DR(1);
        asked = *request == REQUEST_DR1;
    }
    if (asked) {
        PWR_CR = PWR_CR_DBP;
        *request = 0; /* once */
        dfu = true;
    } else if (ENTER_BY_RESET == 2 && button) { /* another press in time finds a request */
        PWR_CR = PWR_CR_DBP;
        BKP_DR(10) = REQUEST_DR10;
        for (unsigned i = TAP_MS * 2000U; i; i--) /* 4 cycles of 8 MHz */
            __asm volatile("");
        BKP_DR(10) = 0;
        PWR_CR = 0;
    }
    if (ENTER_AFTER_RESETS) {
        uint32_t resets = BKP_DR(7) + 1;
        dfu |= resets > ENTER_AFTER_RESETS;
        PWR_CR = PWR_CR_DBP;
        BKP_DR(7) = dfu ? 0 : resets;
        PWR_CR = 0;
    }
    RCC->APB1ENR = 0;
    return dfu;
}

#endif
