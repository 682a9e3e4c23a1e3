/* SPDX-License-Identifier: MIT */
/* What a USB device of one's own needs for dfu-util to update it while it runs: on DETACH it gives way to
 * the bootloader. */
#include "caboose.h"
#include "clock.h"
#include "startup.h"
#include "stm32f103.h"
#include "tick.h"
#include "uart.h"
#include "usb.h"
#include "version.h"

#define NAME "runtime " VERSION_TEXT

/* From DETACH to leaving. The status stage is over long before, also if its ACK was lost: then the
 * peripheral would wait for ever to hear of it. Hosts get 255 ms promised. */
enum { ACKNOWLEDGE_MS = 20 };

int main(void)
{
    const uint32_t hz = clock_init();
    uart_init(hz);
    tick_init(hz);
    const char *version = caboose_version();
    uart_puts(NAME ": hello, on ");
    uart_puts(version ? version : "my own");
    uart_puts("\r\n");
    if (hz != CLOCK_PLL_HZ) {
        uart_puts(NAME ": error: no crystal, no USB\r\n");
        default_handler();
    }
    usb_init();

    bool told = false;
    while (!usb_detach_asked()) {
        const bool configured = usb_configured();
        if (configured != told)
            uart_puts(configured ? NAME ": configured\r\n" : NAME ": not configured\r\n");
        told = configured;
        wait_for_interrupt();
    }
    uart_puts(NAME ": detach\r\n");
    tick_wait_ms(ACKNOWLEDGE_MS);
    usb_leave();
    caboose_enter_dfu();
}
