/* SPDX-License-Identifier: MIT */
/* The device on the bus. All happens in the interrupt USB_LP. */
#ifndef USB_H
#define USB_H

#include <stdbool.h>

/* Needs 48 MHz from the PLL; the host finds the device from now on. */
void usb_init(void);
bool usb_configured(void);

#endif
