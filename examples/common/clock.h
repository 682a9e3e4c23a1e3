/* SPDX-License-Identifier: MIT */
/* The clock tree of a board with a crystal of 8 MHz. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

#define CLOCK_HSI_HZ 8000000U
#define CLOCK_PLL_HZ 72000000U

/* From reset: HSE × 9, PCLK1 at half of it. Returns the core's frequency: CLOCK_PLL_HZ, or
 * CLOCK_HSI_HZ when the crystal does not start within some 70 ms. */
uint32_t clock_init(void);

#endif
