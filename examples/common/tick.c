/* SPDX-License-Identifier: MIT */
#include "tick.h"

#include "startup.h"
#include "stm32f103.h"

static volatile uint32_t now_ms;

void systick_handler(void)
{
    now_ms++;
}

void tick_init(uint32_t core_hz)
{
    SYSTICK->LOAD = core_hz / 1000U - 1U;
    SYSTICK->VAL = 0;
    SYSTICK->CTRL = SYSTICK_CTRL_CLKSOURCE | SYSTICK_CTRL_TICKINT | SYSTICK_CTRL_ENABLE;
}

uint32_t tick_now_ms(void)
{
    return now_ms;
}

void tick_wait_ms(uint32_t ms)
{
    uint32_t start = now_ms;
    while (now_ms - start <= ms) /* the first one had begun already */
        wait_for_interrupt();
}
