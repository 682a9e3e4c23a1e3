/* SPDX-License-Identifier: MIT */
/*
 * A USB device of its own: 1209:0001, one vendor interface that echoes endpoint 1 OUT to
 * endpoint 1 IN, packet by packet.
 */
#include "clock.h"
#include "startup.h"
#include "stm32f103.h"
#include "tick.h"
#include "uart.h"
#include "usb.h"
#include "version.h"

#define NAME      "usbdev " VERSION_TEXT
#define PA12(cfg) ((cfg) << 16) /* in CRH */

/* The pull-up of D+ is fixed, so the host believes that the device from before the reset is still
 * there. D+ held low is an unplugged cable to it. */
static void drop_off_the_bus(void)
{
    const uint32_t others = GPIOA->CRH & ~PA12(0xFU);
    GPIOA->BRR = 1U << 12;
    GPIOA->CRH = others | PA12(GPIO_OUTPUT_2MHZ);
    tick_wait_ms(10);
    GPIOA->CRH = others | PA12(GPIO_INPUT_FLOATING);
}

int main(void)
{
    const uint32_t hz = clock_init();
    uart_init(hz);
    tick_init(hz);
    uart_puts(NAME ": hello\r\n");
    if (hz != CLOCK_PLL_HZ) {
        uart_puts(NAME ": error: no crystal, no USB\r\n");
        default_handler();
    }
    drop_off_the_bus();
    usb_init();

    bool told = false;
    for (;;) {
        const bool configured = usb_configured();
        if (configured != told)
            uart_puts(configured ? NAME ": configured\r\n" : NAME ": not configured\r\n");
        told = configured;
        wait_for_interrupt();
    }
}
