/* SPDX-License-Identifier: MIT */
/*
 * The device on the bus: 1209:0002, with nothing but a run-time interface of DFU 1.1 (§4.1) and the serial
 * number that the bootloader shows, too. All happens in the interrupt USB_LP.
 */
#ifndef USB_H
#define USB_H

#include <stdbool.h>

/* Needs 48 MHz from the PLL and tick_init(); the host finds the device from now on. */
void usb_init(void);
bool usb_configured(void);

/* Has the host asked for the bootloader (DETACH)? It may still be waiting for the acknowledgement. */
bool usb_detach_asked(void);

/* The host sees the device go, as if the cable was pulled. */
void usb_leave(void);

#endif
