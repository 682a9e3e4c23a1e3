/* SPDX-License-Identifier: MIT */
#include "clock.h"

#include <stdbool.h>

#include "stm32f103.h"

/* HSE takes 2 ms, PLL 200 µs (DS5319); a turn of the loop takes 8 to 10 cycles of 8 MHz. */
#define READY_TURNS 65536U

static bool wait_ready(uint32_t flag)
{
    for (uint32_t turns = 0; turns < READY_TURNS; turns++)
        if (RCC->CR & flag)
            return true;
    return false;
}

uint32_t clock_init(void)
{
    RCC->CR |= RCC_CR_HSEON;
    if (!wait_ready(RCC_CR_HSERDY)) {
        RCC->CR &= ~RCC_CR_HSEON;
        return CLOCK_HSI_HZ;
    }
    FLASH->ACR = FLASH_ACR_PRFTBE | FLASH_ACR_LATENCY_2;
    RCC->CFGR = RCC_CFGR_PLLSRC_HSE | RCC_CFGR_PLLMUL_9 | RCC_CFGR_PPRE1_DIV2;
    RCC->CR |= RCC_CR_PLLON;
    if (!wait_ready(RCC_CR_PLLRDY))
        return CLOCK_HSI_HZ;
    RCC->CFGR |= RCC_CFGR_SW_PLL;
    while ((RCC->CFGR & RCC_CFGR_SWS) != RCC_CFGR_SWS_PLL)
        ;
    return CLOCK_PLL_HZ;
}
