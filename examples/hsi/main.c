/* SPDX-License-Identifier: MIT */
/*
 * Runs as the chip comes out of reset: no crystal, no PLL, no ready flag waited for, 8 KB of RAM.
 * So it also runs where there is no clock controller: qemu-system-arm -M stm32vldiscovery.
 */
#include "clock.h"
#include "startup.h"
#include "stm32f103.h"
#include "tick.h"
#include "uart.h"
#include "version.h"

#define NAME "hsi " VERSION_TEXT

int main(void)
{
    uart_init(CLOCK_HSI_HZ);
    uart_puts(NAME ": hello\r\n");
    tick_init(CLOCK_HSI_HZ);
    tick_wait_ms(100);
    uart_puts(NAME ": interrupts work\r\n");
    for (;;)
        wait_for_interrupt();
}
