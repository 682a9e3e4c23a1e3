/* SPDX-License-Identifier: MIT */
/*
 * Sources: PCAP Next Generation capture file format (draft-ietf-opsawg-pcapng §3, §4);
 * LINKTYPE_USB_LINUX_MMAPPED (tcpdump.org/linktypes.html); Linux, Documentation/usb/usbmon.rst,
 * "Raw binary format and API".
 */
#include "sim/pcap.h"

#include <string.h>

enum {
    BLOCK_SECTION = 0x0A0D0D0A,
    BLOCK_INTERFACE = 1,
    BLOCK_PACKET = 6,
    BYTE_ORDER_MAGIC = 0x1A2B3C4D,
    LINKTYPE_USB_LINUX_MMAPPED = 220,
    OPTION_NAME = 2,    /* if_name */
    OPTION_TSRESOL = 9, /* if_tsresol: 10^-n s */
    NANOSECONDS = 9,

    EVENT_SIZE = 64, /* struct usbmon_packet */
    BUS = 1,
    TYPE_INTERRUPT = 1,
    TYPE_CONTROL = 2,
    TYPE_BULK = 3,

    /* Of Linux, negated, in usbmon's status. */
    ENOENT_LINUX = 2,
    EPIPE_LINUX = 32,
    EPROTO_LINUX = 71,
    ESHUTDOWN_LINUX = 108,
    EINPROGRESS_LINUX = 115,
};

/* Both formats have the byte order of the machine that writes, and say which; here it is little. */
static void put(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned n = 0; n < bytes; n++)
        to[n] = (uint8_t)(value >> n * 8);
}

static size_t padded(size_t size)
{
    return (size + 3) & ~(size_t)3;
}

/* A block of two pieces: type, length, what is in it, padding, length. */
static void write_block(FILE *f, uint32_t type, const uint8_t *head, size_t head_size,
    const uint8_t *data, size_t data_size)
{
    static const uint8_t zeros[4];
    size_t length = 12 + padded(head_size + data_size);
    uint8_t frame[8];

    put(frame, type, 4);
    put(frame + 4, length, 4);
    fwrite(frame, 1, 8, f);
    fwrite(head, 1, head_size, f);
    if (data_size)
        fwrite(data, 1, data_size, f);
    fwrite(zeros, 1, padded(head_size + data_size) - head_size - data_size, f);
    fwrite(frame + 4, 1, 4, f);
    fflush(f); /* somebody may be watching */
}

static void write_section(FILE *f)
{
    uint8_t section[16];

    put(section, BYTE_ORDER_MAGIC, 4);
    put(section + 4, 1, 2); /* version 1.0 */
    put(section + 6, 0, 2);
    put(section + 8, UINT64_MAX, 8); /* length not known */
    write_block(f, BLOCK_SECTION, section, sizeof section, NULL, 0);
}

static void write_interface(FILE *f)
{
    static const char name[8] = "caboose";
    uint8_t interface[32] = {0};

    put(interface, LINKTYPE_USB_LINUX_MMAPPED, 2);
    put(interface + 8, OPTION_NAME, 2);
    put(interface + 10, sizeof name - 1, 2);
    memcpy(interface + 12, name, sizeof name);
    put(interface + 20, OPTION_TSRESOL, 2);
    put(interface + 22, 1, 2);
    interface[24] = NANOSECONDS; /* then padding, and the end of the options: zeros */
    write_block(f, BLOCK_INTERFACE, interface, sizeof interface, NULL, 0);
}

void pcap_begin(FILE *f)
{
    write_section(f);
    write_interface(f);
}

/* What Linux's host controller drivers report. */
static int status_of(const struct usb_transfer *t)
{
    if (!t->ended)
        return -EINPROGRESS_LINUX;
    switch (t->result) {
    case USB_STALL:
        return -EPIPE_LINUX;
    case USB_TIMEOUT: /* taken back by who submitted it */
        return -ENOENT_LINUX;
    case USB_ERROR:
        return -EPROTO_LINUX;
    default:
        return t->result < 0 ? -ESHUTDOWN_LINUX : 0;
    }
}

static uint8_t type_of(const struct usb_transfer *t)
{
    if (!(t->endpoint & 15))
        return TYPE_CONTROL;
    return t->interval ? TYPE_INTERRUPT : TYPE_BULK;
}

void pcap_write(FILE *f, const struct usb_transfer *t)
{
    uint8_t head[20 + EVENT_SIZE] = {0}, *event = head + 20;
    bool in = t->endpoint & 0x80;
    size_t shown = in == t->ended ? t->size : 0; /* data is told where it is new */

    put(event, t->id, 8);
    event[8] = t->ended ? 'C' : 'S';
    event[9] = type_of(t);
    event[10] = t->endpoint;
    event[11] = t->address;
    put(event + 12, BUS, 2);
    event[14] = t->setup && !t->ended ? 0 : '-';
    if (in != t->ended)
        event[15] = in ? '<' : '>';
    put(event + 16, t->when_ns / BOARD_S, 8);
    put(event + 24, t->when_ns % BOARD_S / BOARD_US, 4);
    put(event + 28, (uint64_t)(int64_t)status_of(t), 4);
    put(event + 32, t->size, 4);
    put(event + 36, shown, 4);
    if (t->setup && !t->ended)
        memcpy(event + 40, t->setup, 8);
    put(event + 48, t->interval, 4);

    put(head + 4, t->when_ns >> 32, 4); /* interface 0 */
    put(head + 8, t->when_ns, 4);
    put(head + 12, EVENT_SIZE + shown, 4);
    put(head + 16, EVENT_SIZE + shown, 4);
    write_block(f, BLOCK_PACKET, head, sizeof head, t->data, shown);
}
