/* SPDX-License-Identifier: MIT */
/* Milliseconds by the SysTick interrupt. */
#ifndef TICK_H
#define TICK_H

#include <stdint.h>

void tick_init(uint32_t core_hz);
uint32_t tick_now_ms(void);
void tick_wait_ms(uint32_t ms); /* at least; sleeps */

#endif
