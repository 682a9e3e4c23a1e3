/* SPDX-License-Identifier: MIT */
/* What the device says of itself: USB 2.0 §9.6, DFU 1.1 §4.2, UM0424 §4.3.2 (the memory map). */
#include "boot.h"

enum { DEVICE = 1, CONFIGURATION = 2, STRING = 3, BOS = 15 };
enum { ATTRIBUTES = 20 };                     /* of DFU, in the configuration */
enum { PRODUCT = 1, SERIAL = 2, MEMORY = 3 }; /* string indices; PROTECTED: boot.h */

enum { SET_SIZE = 10 + 20 + (WITH_WINDOWS > 1 ? 132 : 0) }; /* of the set for Windows, below */

#define TEXT(name, text) static const char name[sizeof(text) - 1] = text
#define LE16(x)          (uint8_t)(x), (uint8_t)((x) >> 8)

/* What GET_DESCRIPTOR gets as it stands here: its size, then the descriptor; 0 behind the last. */
static const uint8_t descriptors[] = {
    18,
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

    27,
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

#if WITH_WINDOWS
    33,
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
#endif
    0,
};

/*
 * "Microsoft OS 2.0 Descriptors Specification": Windows 8.1 and up ask for the set that the platform
 * capability names, and load WinUSB. Optionally (2) they register the interface under a GUID.
 */
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
#if WITH_WINDOWS > 1
    LE16(132),
    LE16(4), /* registry property */
    LE16(7), /* REG_MULTI_SZ */
    LE16(42),
#endif
};
#if WITH_WINDOWS > 1
/* In UTF-16: the property's name, its size (80), the GUID. */
TEXT(set_rest, "DeviceInterfaceGUIDs\0P{3E5E9AB1-D6A4-4E3C-9C0F-5B1C7E20A3D4}\0\0");
#endif

TEXT(map_start, "@Internal Flash  /0x08000000/");
/* Pages of 1 KB that are the bootloader's, the journal's among them. */
#if PROPER_KB == 3
#define TAKEN "5"
#else
#define TAKEN "6"
#endif
#if HEAD
TEXT(map_own, "*001Ka,");
TEXT(map_end, "*001Kg");
#else
TEXT(map_end, "*001Kg,00" TAKEN "*001Ka");
#endif
TEXT(protected, "locked");

/* Its place is for ever: the stub leads to it (link.ld). */
__attribute__((section(".proper.text"), used, visibility("hidden"))) const char proper_text[12] =
    "caboose " VERSION;

/* Into S->reply, to be completed there. Not S->block: a block may wait there for its GETSTATUS. */
static void to_reply(const uint8_t *from, unsigned size)
{
    S->tx = (const uint8_t *)S->reply;
    while (size--)
        ((uint8_t *)S->reply)[size] = from[size];
}

int descriptor_set(void)
{
    const uint8_t *start;

    FIND(start, set_start);
    S->tx = start;
#if WITH_WINDOWS > 1
    const char *rest;
    to_reply(start, sizeof set_start);
    FIND(rest, set_rest);
    stub_put_text(S->text + sizeof set_start / 2, rest, sizeof set_rest);
#endif
    return SET_SIZE;
}

INLINE int string(unsigned index)
{
    uint16_t *to = S->text + 1, *sectors;
    const char *text;
    const uint32_t *id;

    switch (index) {
    case 0:
        *S->reply = 4 | STRING << 8 | 0x0409 << 16; /* LANGID: English (United States) */
        return 4;
    case PRODUCT:
        FIND(text, proper_text);
        to = stub_put_text(to, text, sizeof proper_text - 1);
        break;
    case SERIAL:
        id = (const uint32_t *)FROM_S(UNIQUE_ID);
        for (unsigned words = 3; words; words--)
            to = stub_put_number(to, *id++, 8, 16);
        break;
    case MEMORY:
        FIND(text, map_start);
        to = stub_put_text(to, text, sizeof map_start);
#if HEAD
        to = stub_put_number(to, APP_AT / S->page_size, 3, 10);
        FIND(text, map_own);
        to = stub_put_text(to, text, sizeof map_own);
#endif
        sectors = stub_put_number(to,
            HEAD ? (S->app_end - APP_START) / S->page_size : (uint8_t)(S->app_end / S->page_size),
            3, 10);
        FIND(text, map_end);
        to = stub_put_text(sectors, text, sizeof map_end);
        if (S->page_size != 1024) { /* "*002Kg,004*002Ka", in fewer bytes than a second text */
            sectors[3] = '2';
            if (HEAD) {
                sectors[-7] = '2';
            } else {
                sectors[9] = '4';
                sectors[13] = '2';
            }
        }
        break;
    case PROTECTED:
        if (!WITH_TEXT)
            return USB_STALL;
        FIND(text, protected);
        to = stub_put_text(to, text, sizeof protected);
        break;
    default:
        return USB_STALL;
    }
    unsigned size = (unsigned)((uint8_t *)to - (uint8_t *)S->text);
    S->text[0] = (uint16_t)(size | STRING << 8);
    return (int)size;
}

int descriptor(unsigned wValue)
{
    const uint8_t *d;

    if (wValue >> 8 == STRING)
        return string(wValue & 0xFF);
    FIND(d, descriptors);
    for (unsigned size; (size = *d++) != 0; d += size)
        if (d[1] << 8 == (int)wValue) { /* the only one of its type */
            if (HEAD && S->locked && d[1] == CONFIGURATION) {
                to_reply(d, size);
                ((uint8_t *)S->reply)[ATTRIBUTES] = DFU_CAN_DNLOAD | DFU_WILL_DETACH;
            } else {
                S->tx = d;
            }
            return (int)size;
        }
    return USB_STALL;
}
