/* SPDX-License-Identifier: MIT */
/* Much of the flash: tables made at build, and newlib's printf() with floating point. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "clock.h"
#include "startup.h"
#include "stm32f103.h"
#include "tables.h"
#include "tick.h"
#include "uart.h"

#define ROUNDS 16

static_assert(sizeof tables % 4 == 0, "CRC takes words");

static uint32_t crc_of_tables(void)
{
    const uint32_t *word = (const uint32_t *)(const void *)&tables;
    CRC->CR = CRC_CR_RESET;
    for (unsigned i = 0; i < sizeof tables / 4U; i++)
        CRC->DR = word[i];
    return CRC->DR;
}

static bool tables_are_good(void)
{
    RCC->AHBENR |= RCC_AHBENR_CRCEN;
    for (int round = 1; round <= ROUNDS; round++) {
        const uint32_t crc = crc_of_tables();
        if (crc != tables_crc) {
            printf("large %d: error: round %d: crc 0x%08lX, not 0x%08lX\r\n", VERSION, round,
                (unsigned long)crc, (unsigned long)tables_crc);
            return false;
        }
    }
    return true;
}

static double sine_rms(void)
{
    double sum = 0;
    for (unsigned i = 0; i < SINE_STEPS; i++) {
        const double value = tables.sine[i] / 32767.0;
        sum += value * value;
    }
    return sqrt(sum / SINE_STEPS);
}

int main(void)
{
    const uint32_t hz = clock_init();
    uart_init(hz);
    tick_init(hz);
    setvbuf(stdout, NULL, _IOLBF, 128);
    if (tables_are_good())
        printf("large %d: %u bytes, crc ok\r\n", VERSION, (unsigned)sizeof tables);
    printf("large %d: the sine's rms is %.4f\r\n", VERSION, sine_rms());
    for (uint32_t ms = 1000;; ms += 1000) {
        while (tick_now_ms() < ms)
            wait_for_interrupt();
        printf("large %d: up %.1f s\r\n", VERSION, ms / 1000.0);
    }
}
