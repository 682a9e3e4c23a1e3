/* SPDX-License-Identifier: MIT */
#include "usbip.h"
#include <string.h>

enum { SPEED_FULL = 2 }; /* enum usb_device_speed of Linux */

void usbip_put16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

void usbip_put32(uint8_t *p, uint32_t value)
{
    usbip_put16(p, (uint16_t)(value >> 16));
    usbip_put16(p + 2, (uint16_t)value);
}

uint16_t usbip_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t usbip_get32(const uint8_t *p)
{
    return (uint32_t)usbip_get16(p) << 16 | usbip_get16(p + 2);
}

void usbip_parse_command(const uint8_t header[USBIP_HEADER_SIZE], struct usbip_command *c)
{
    c->command = usbip_get32(header);
    c->seqnum = usbip_get32(header + 4);
    c->direction = usbip_get32(header + 12);
    c->endpoint = usbip_get32(header + 16);
    c->flags = c->unlink = usbip_get32(header + 20);
    c->length = usbip_get32(header + 24);
    c->packets = usbip_get32(header + 32);
    memcpy(c->setup, header + 40, sizeof c->setup);
}

void usbip_make_return(uint8_t header[USBIP_HEADER_SIZE], uint32_t code, uint32_t seqnum,
    int32_t status, uint32_t length)
{
    memset(header, 0, USBIP_HEADER_SIZE);
    usbip_put32(header, code);
    usbip_put32(header + 4, seqnum);
    usbip_put32(header + 20, (uint32_t)status);
    usbip_put32(header + 24, length);
}

void usbip_make_op(uint8_t op[USBIP_OP_SIZE], uint16_t code, uint32_t status)
{
    usbip_put16(op, USBIP_VERSION);
    usbip_put16(op + 2, code);
    usbip_put32(op + 4, status);
}

void usbip_make_device(
    uint8_t text[USBIP_DEVICE_SIZE], const struct usb_descriptors *d, uint8_t address)
{
    static const char path[] = "/sys/devices/pci0000:00/0000:00:14.0/usb1/" USBIP_BUSID;
    const uint8_t *dev = d->device;
    memset(text, 0, USBIP_DEVICE_SIZE);
    memcpy(text, path, sizeof path);
    memcpy(text + 256, USBIP_BUSID, sizeof USBIP_BUSID);
    usbip_put32(text + 288, 1);
    usbip_put32(text + 292, address);
    usbip_put32(text + 296, SPEED_FULL);
    usbip_put16(text + 300, (uint16_t)(dev[8] | dev[9] << 8));
    usbip_put16(text + 302, (uint16_t)(dev[10] | dev[11] << 8));
    usbip_put16(text + 304, (uint16_t)(dev[12] | dev[13] << 8));
    memcpy(text + 306, dev + 4, 3); /* class, subclass, protocol */
    text[309] = d->config[5];
    text[310] = dev[17];
    text[311] = d->config[4];
}

unsigned usbip_make_interfaces(uint8_t (*text)[4], unsigned max, const struct usb_descriptors *d)
{
    unsigned n = 0;
    for (unsigned at = 0; at + 9 <= d->config_size && d->config[at] >= 2; at += d->config[at]) {
        const uint8_t *p = d->config + at;
        if (p[1] != 4 || p[3] != 0 || n >= max) /* INTERFACE, alternate setting 0 */
            continue;
        memcpy(text[n], p + 5, 3);
        text[n][3] = 0;
        n++;
    }
    return n;
}
