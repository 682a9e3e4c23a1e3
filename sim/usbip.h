/* SPDX-License-Identifier: MIT */
/*
 * The USB/IP protocol's messages, as bytes. No sockets here.
 *
 * Source: Linux, Documentation/usb/usbip_protocol.rst. Version 0x0111. All numbers are big-endian
 * on the wire but for the setup packet, which keeps USB's own order.
 */
#ifndef SIM_USBIP_H
#define SIM_USBIP_H

#include "usb_host.h"

enum {
    USBIP_VERSION = 0x0111,
    USBIP_REQ_DEVLIST = 0x8005,
    USBIP_REP_DEVLIST = 0x0005,
    USBIP_REQ_IMPORT = 0x8003,
    USBIP_REP_IMPORT = 0x0003,
    USBIP_CMD_SUBMIT = 1,
    USBIP_CMD_UNLINK = 2,
    USBIP_RET_SUBMIT = 3,
    USBIP_RET_UNLINK = 4,
};
enum {
    USBIP_OP_SIZE = 8,      /* version, code, status */
    USBIP_BUSID_SIZE = 32,  /* follows in REQ_IMPORT */
    USBIP_HEADER_SIZE = 48, /* of CMD_… and RET_… */
    USBIP_DEVICE_SIZE = 312,
    USBIP_ISO_SIZE = 16,
};
#define USBIP_BUSID "1-1"

/* A CMD_… as it arrives, in the host's byte order. */
struct usbip_command {
    uint32_t command, seqnum, direction, endpoint; /* direction: 1 is IN */
    uint32_t flags, length, packets;               /* CMD_SUBMIT */
    uint8_t setup[8];
    uint32_t unlink; /* CMD_UNLINK: the seqnum that is no longer wanted */
};
enum { USBIP_ZERO_PACKET = 0x40 }; /* in flags: URB_ZERO_PACKET */

void usbip_put16(uint8_t *p, uint16_t value);
void usbip_put32(uint8_t *p, uint32_t value);
uint16_t usbip_get16(const uint8_t *p);
uint32_t usbip_get32(const uint8_t *p);

void usbip_parse_command(const uint8_t header[USBIP_HEADER_SIZE], struct usbip_command *c);
/* status: 0 or a negative errno of Linux. length: RET_SUBMIT's count of bytes. */
void usbip_make_return(uint8_t header[USBIP_HEADER_SIZE], uint32_t code, uint32_t seqnum,
    int32_t status, uint32_t length);
void usbip_make_op(uint8_t op[USBIP_OP_SIZE], uint16_t code, uint32_t status);
/* The description of the device, and of its interfaces (4 bytes each, at most max of them): how
 * many there are. */
void usbip_make_device(
    uint8_t text[USBIP_DEVICE_SIZE], const struct usb_descriptors *d, uint8_t address);
unsigned usbip_make_interfaces(uint8_t (*text)[4], unsigned max, const struct usb_descriptors *d);

#endif
