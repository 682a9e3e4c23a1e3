/* SPDX-License-Identifier: MIT */
/*
 * What a board may choose, as -DNAME=value in boot/boards/<board>.mk, and what it gets if it says
 * nothing. Only HSE_MHZ must be said.
 */
#ifndef BOOT_CHOICES_H
#define BOOT_CHOICES_H

/* The crystal: 8, 12 or 16 MHz; 0: there is none, USB runs on the internal oscillator. That is out of
 * specification: 1 % at 25 °C, up to 2.5 % when it is hot or cold (DS5319), where USB allows 0.25 %. */
#ifndef HSE_MHZ
#error "the board must say HSE_MHZ"
#endif

/* A pin that switches the pull-up of D+ on when it is low, as on the Maples: port 'A' to 'E' and number,
 * 8 to 15. 0: D+ is pulled up for good. */
#ifndef CONNECT_PORT
#define CONNECT_PORT 0
#define CONNECT_PIN  8
#endif

/*
 * What leads into DFU, besides that there is no valid application. All of it is the stub's, which is
 * never replaced.
 *
 * The reset button. 1: whenever it is pressed; 2: twice within TAP_LOOPS (the application starts that much
 * later after a reset by button; BKP_DR10 remembers the first); 0: not at all, and RCC_CSR is left as it
 * was.
 */
#ifndef ENTER_BY_RESET
#define ENTER_BY_RESET 1
#endif
#ifndef TAP_LOOPS
/* Of 4 cycles at 8 MHz: 262 ms. A watchdog that option bytes started is not fed: it bites after 409 (273
 * at worst). */
#define TAP_LOOPS 0x80000U
#endif

/* A pin with a resistor of its own, that is at ENTER_LEVEL after a reset: port 'A' to 'E', or 0: none. */
#ifndef ENTER_PORT
#define ENTER_PORT  0
#define ENTER_PIN   0
#define ENTER_LEVEL 0
#endif

/* So many resets without the application writing 0 to BKP_DR7 in between. 0: never. */
#ifndef ENTER_AFTER_RESETS
#define ENTER_AFTER_RESETS 0
#endif

/* The word of dapboot in BKP_DR1, beside that of STM32duino in BKP_DR10. */
#ifndef ENTER_BY_DR1
#define ENTER_BY_DR1 1
#endif

/* Where the application stands, from the start of flash. 0: at the start, and the bootloader at the end (tail
 * layout). Else the bootloader is at the start (head layout), and what is said here is the board's HEAD_KB in its
 * .mk file. */
#ifndef APP_AT
#define APP_AT 0
#endif
#define HEAD (APP_AT != 0)

/* Head layout: write-protect the bootloader's 4 KB by option bytes, when DFU starts (the chip heeds them from the
 * next reset on). The application cannot destroy it then, nor anything but a probe change it. */
#ifndef PROTECT_ITSELF
#define PROTECT_ITSELF 0
#endif

/* The size of the bootloader proper in the tail layout: 3, or 4 for choices that need it (it takes a page of 1 KB
 * more; with pages of 2 KB nothing). */
#ifndef PROPER_KB
#define PROPER_KB 3
#endif

/* Memory other than flash: RAM (and to start an image there), system memory, option bytes. */
#ifndef WITH_RAM
#define WITH_RAM 1
#endif
#ifndef WITH_SYSTEM
#define WITH_SYSTEM 1
#endif
#ifndef WITH_OPTIONS
#define WITH_OPTIONS 1
#endif

/* Read Unprotect (AN3156 §4.5) is obeyed, not refused: all option bytes are erased, protection against
 * reading is taken away. If there was one, the chip erases all of its flash with it, and this bootloader. */
#ifndef WITH_UNPROTECT
#define WITH_UNPROTECT 0
#endif

/* A refusal because of protection says so in words (iString). */
#ifndef WITH_TEXT
#define WITH_TEXT 1
#endif

/* 1: Windows loads WinUSB by itself, which is all that libusb wants, and so dfu-util and caboose. 2: it also
 * registers the interface under a GUID, by which other programs find it. */
#ifndef WITH_WINDOWS
#define WITH_WINDOWS (PROPER_KB > 3 || HEAD ? 2 : 1)
#endif

#endif
