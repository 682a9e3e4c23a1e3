/* SPDX-License-Identifier: MIT */
/* What the device says of itself: USB 2.0 §9.6, DFU 1.1 §4.2, UM0424 §4.3.2 (the memory map). */
#include "boot.h"

enum { DEVICE = 1, CONFIGURATION = 2, STRING = 3 };
enum { PRODUCT = 1, SERIAL = 2, MEMORY = 3 }; /* string indices */

#define LE16(x) (uint8_t)(x), (uint8_t)((x) >> 8)

static const uint8_t device[] = {
    18,
    DEVICE,
    LE16(0x0200),
    0,
    0,
    0,
    64, /* class in the interface */
    LE16(0x0483),
    LE16(0xDF11),
    LE16(0x0100),
    0,
    PRODUCT,
    SERIAL,
    1,
};

static const uint8_t configuration[] = {
    9,
    CONFIGURATION,
    LE16(27),
    1,
    1,
    0,
    0x80,
    50, /* bus-powered, 100 mA */
    9,
    4,
    0,
    0,
    0,
    DFU_CLASS,
    DFU_SUBCLASS,
    DFU_PROTOCOL_DFU,
    MEMORY,
    9,
    DFU_FUNCTIONAL_DESCRIPTOR,
    DFU_CAN_DNLOAD | DFU_CAN_UPLOAD | DFU_WILL_DETACH,
    LE16(255),
    LE16(TRANSFER_SIZE),
    LE16(DFU_VERSION_DFUSE),
};

static uint16_t *put_text(uint16_t *to, const char *text)
{
    while (*text)
        *to++ = (uint8_t)*text++;
    return to;
}

static int string(unsigned index)
{
    uint16_t *start = (uint16_t *)(void *)S->page, *to = start + 1;

    switch (index) {
    case 0:
        *to++ = 0x0409; /* LANGID: English (United States) */
        break;
    case PRODUCT:
        to = put_text(to, "caboose");
        break;
    case SERIAL:
        for (unsigned i = 0; i < 24; i++) {
            unsigned digit = UNIQUE_ID[i / 2] >> (i & 1 ? 0 : 4) & 15;
            *to++ = (uint16_t)(digit + (digit < 10 ? '0' : 'A' - 10));
        }
        break;
    case MEMORY:
        to = put_text(to, "@Internal Flash  /0x08000000/");
        for (unsigned unit = 100; unit; unit /= 10)
            *to++ = (uint16_t)('0' + (S->app_end - FLASH_BASE) / S->page_size / unit % 10);
        to = put_text(to, "*001Kg,005*001Ka");
        if (S->page_size != 1024) { /* "*002Kg,004*002Ka", in fewer bytes than a second text */
            to[-13] = '2';
            to[-7] = '4';
            to[-3] = '2';
        }
        break;
    default:
        return USB_STALL;
    }
    int size = (int)((uint8_t *)to - (uint8_t *)start);
    *start = (uint16_t)(size | STRING << 8);
    return size;
}

int descriptor(unsigned wValue)
{
    switch (wValue >> 8) {
    case DEVICE:
        S->tx = device;
        return sizeof device;
    case CONFIGURATION:
        S->tx = configuration;
        return sizeof configuration;
    case STRING:
        return string(wValue & 0xFF);
    }
    return USB_STALL;
}
