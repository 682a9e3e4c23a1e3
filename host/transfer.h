/* SPDX-License-Identifier: MIT */
/*
 * A control transfer as engine and links see it: eight bytes of setup in the USB's own byte order,
 * then wLength bytes of data, in or out by the direction bit. Its result is the count of data bytes
 * that moved, or one of these.
 */
#ifndef HOST_TRANSFER_H
#define HOST_TRANSFER_H

#include <stdint.h>

enum transfer_error {
    TRANSFER_STALL = -1,   /* the device refused */
    TRANSFER_TIMEOUT = -2, /* no answer in time; the transfer was taken back */
    TRANSFER_GONE = -3,    /* no device (any more), or no connection to its server */
    TRANSFER_IO = -4,      /* the bus or the host's driver failed */
    TRANSFER_DENIED = -5,  /* the operating system does not permit it */
    TRANSFER_BUSY = -6,    /* somebody else has the device or its interface */
};

enum usb_request_type { /* bmRequestType: direction, type, recipient; USB 2.0 table 9-2 */
    USB_IN = 0x80,
    USB_CLASS = 0x20,
    USB_INTERFACE = 0x01,
    USB_RECIPIENT = 0x1F,
};

enum usb_request { /* USB 2.0 table 9-4 */
    USB_GET_DESCRIPTOR = 6,
    USB_SET_INTERFACE = 11,
};

enum usb_descriptor { /* USB 2.0 table 9-5 */
    USB_DESCRIPTOR_DEVICE = 1,
    USB_DESCRIPTOR_CONFIG = 2,
    USB_DESCRIPTOR_STRING = 3,
    USB_DESCRIPTOR_INTERFACE = 4,
};

enum {
    USB_SETUP_SIZE = 8,
    TRANSFER_MAX = 4096, /* wLength: Linux moves no more in a control transfer */
};

static inline uint16_t transfer_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline void transfer_put16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static inline void transfer_put32(uint8_t *p, uint32_t value)
{
    transfer_put16(p, (uint16_t)value);
    transfer_put16(p + 2, (uint16_t)(value >> 16));
}

#endif
