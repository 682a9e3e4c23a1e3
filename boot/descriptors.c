/* SPDX-License-Identifier: MIT */
/* What the device says of itself: USB 2.0 §9.6, DFU 1.1 §4.2, UM0424 §4.3.2 (the memory map). */
#include "boot.h"

enum { DEVICE = 1, CONFIGURATION = 2, STRING = 3, BOS = 15 };
enum { PRODUCT = 1, SERIAL = 2, MEMORY = 3 }; /* string indices; PROTECTED: boot.h */

#define LE16(x) (uint8_t)(x), (uint8_t)((x) >> 8)

static const uint8_t device[] = {
    18,
    DEVICE,
    LE16(WITH_WINDOWS ? 0x0201 : 0x0200), /* is there a BOS descriptor? */
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

enum { ATTRIBUTES = 20 };
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
    DFU_CAN_DNLOAD | DFU_CAN_UPLOAD | DFU_WILL_DETACH, /* at ATTRIBUTES */
    LE16(255),
    LE16(TRANSFER_SIZE),
    LE16(DFU_VERSION_DFUSE),
};

/*
 * "Microsoft OS 2.0 Descriptors Specification": Windows 8.1 and up ask for the set that the platform
 * capability names, load WinUSB, and register the interface under the GUID that libusb looks for.
 */
enum { SET_SIZE = 10 + 20 + 132 };

static const uint8_t bos[] = {
    5,
    BOS,
    LE16(33),
    1,
    28, /* a platform capability (USB 3.2 §9.6.2.4) */
    16,
    5,
    0,
    0xDF, /* {D8DD60DF-4589-4CC7-9CD2-659D9E648A9F} */
    0x60,
    0xDD,
    0xD8,
    0x89,
    0x45,
    0xC7,
    0x4C,
    0x9C,
    0xD2,
    0x65,
    0x9D,
    0x9E,
    0x64,
    0x8A,
    0x9F,
    LE16(0),
    LE16(0x0603), /* Windows 8.1 */
    LE16(SET_SIZE),
    VENDOR_CODE,
    0,
};

static const uint8_t set_start[] = {
    LE16(10),
    LE16(0), /* set header */
    LE16(0),
    LE16(0x0603),
    LE16(SET_SIZE),
    LE16(20),
    LE16(3), /* compatible ID */
    'W',
    'I',
    'N',
    'U',
    'S',
    'B',
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    LE16(132),
    LE16(4), /* registry property */
    LE16(7), /* REG_MULTI_SZ */
    LE16(42),
};
/* In UTF-16: the property's name, its size (80), the GUID. */
static const char set_rest[] = "DeviceInterfaceGUIDs\0P{3E5E9AB1-D6A4-4E3C-9C0F-5B1C7E20A3D4}\0";

/* Pages of 1 KB that are the bootloader's, the journal's among them. */
#if PROPER_KB == 3
#define TAKEN "5"
#else
#define TAKEN "6"
#endif

static uint16_t *put_text(uint16_t *to, const char *text, unsigned size)
{
    while (size--)
        *to++ = (uint8_t)*text++;
    return to;
}
#define PUT(to, text) put_text(to, text, sizeof(text) - 1)

/* Its place is for ever: the stub leads to it (link.ld). */
__attribute__((section(".proper.text"), used, visibility("hidden"))) const char proper_text[12] =
    "caboose " VERSION;

int descriptor_set(void)
{
    for (unsigned i = 0; i < sizeof set_start; i++)
        S->reply[i] = set_start[i];
    put_text((uint16_t *)(void *)(S->reply + sizeof set_start), set_rest, sizeof set_rest);
    return SET_SIZE;
}

static uint16_t *put_number(uint16_t *to, uint32_t number, unsigned digits, unsigned base)
{
    for (unsigned i = digits; i--; number /= base) {
        unsigned digit = number % base;
        to[i] = (uint16_t)(digit + (digit < 10 ? '0' : 'A' - 10));
    }
    return to + digits;
}

static int string(unsigned index)
{
    uint16_t *start = (uint16_t *)(void *)S->reply, *to = start + 1;

    switch (index) {
    case 0:
        *to++ = 0x0409; /* LANGID: English (United States) */
        break;
    case PRODUCT:
        to = PUT(to, proper_text);
        break;
    case SERIAL:
        for (unsigned i = 0; i < 3; i++)
            to = put_number(to, UNIQUE_ID[i], 8, 16);
        break;
    case MEMORY:
        to = PUT(to, "@Internal Flash  /0x08000000/");
        if (HEAD) {
            to = put_number(to, APP_AT / S->page_size, 3, 10);
            to = PUT(to, "*001Ka,");
            to = put_number(to, S->app_size / S->page_size, 3, 10);
            to = PUT(to, "*001Kg");
        } else {
            to = put_number(to, S->app_size / S->page_size, 3, 10);
            to = PUT(to, "*001Kg,00" TAKEN "*001Ka");
        }
        if (S->page_size != 1024) { /* "*002Kg,004*002Ka", in fewer bytes than a second text */
            to[-13] = '2';
            if (!HEAD)
                to[-7] = '4';
            to[-3] = '2';
        }
        break;
    case PROTECTED:
        if (!WITH_TEXT)
            return USB_STALL;
        to = PUT(to, "protected");
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
        if (!HEAD) {
            S->tx = configuration;
            return sizeof configuration;
        }
        for (unsigned i = 0; i < sizeof configuration; i++)
            S->reply[i] = configuration[i];
        if (locked())
            S->reply[ATTRIBUTES] = DFU_CAN_DNLOAD | DFU_WILL_DETACH;
        return sizeof configuration;
    case BOS:
        if (!WITH_WINDOWS)
            break;
        S->tx = bos;
        return sizeof bos;
    case STRING:
        return string(wValue & 0xFF);
    }
    return USB_STALL;
}
