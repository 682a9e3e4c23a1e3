/* SPDX-License-Identifier: MIT */
/* The descriptors of a device, one request at a time: device, configuration, strings, and, if it stands
 * nowhere else, the DFU functional descriptor. */
#include "core/dfu.h"
#include "host/engine_parts.h"

#include <string.h>

enum stage {
    STAGE_DEVICE,
    STAGE_CONFIG,
    STAGE_FUNCTIONAL,
    STAGE_LANGUAGE,
    STAGE_SERIAL,
    STAGE_NAME,
    STAGE_MANUFACTURER,
    STAGE_ALTS,
    STAGE_END,
};

enum {
    FUNCTIONAL_SIZE = 9,
    INTERFACE_SIZE = 9,
    CONFIG_SIZE = 1024,
};

/* While the strings are awaited, the first byte of their text holds their index. */
static void remember(char text[DEVICE_TEXT], uint8_t index)
{
    text[0] = (char)index;
    text[1] = '\0';
}

static void ask_descriptor(
    struct engine *e, uint8_t type, uint8_t number, uint16_t index, uint16_t size)
{
    engine_add_task(e, (struct engine_task){.kind = TASK_DESCRIPTOR,
                           .value = (uint16_t)(type << 8 | number),
                           .index = index,
                           .size = size,
                           .what = "describe itself"});
}

static char *awaited_text(struct engine *e)
{
    struct device *d = e->inspected;
    switch ((enum stage)e->inspect_stage) {
    case STAGE_SERIAL:
        return d->serial;
    case STAGE_NAME:
        return d->name;
    case STAGE_MANUFACTURER:
        return d->manufacturer;
    case STAGE_ALTS:
        return e->inspect_item < d->alt_count ? d->alts[e->inspect_item].text : NULL;
    case STAGE_DEVICE:
    case STAGE_CONFIG:
    case STAGE_FUNCTIONAL:
    case STAGE_LANGUAGE:
    case STAGE_END:
        return NULL;
    }
    return NULL;
}

static void advance(struct engine *e)
{
    if (e->inspect_stage == STAGE_ALTS && ++e->inspect_item < e->inspected->alt_count)
        return;
    e->inspect_stage++;
}

/* Asks for the awaited string; false if there is none, and then it is empty. */
static bool ask_text(struct engine *e)
{
    char *text = awaited_text(e);
    if (!text || !text[0])
        return false;
    ask_descriptor(e, USB_DESCRIPTOR_STRING, (uint8_t)text[0], e->language, ENGINE_STRING_SIZE);
    return true;
}

bool inspect_next(struct engine *e)
{
    for (; e->inspect_stage != STAGE_END; advance(e)) {
        switch ((enum stage)e->inspect_stage) {
        case STAGE_DEVICE:
            ask_descriptor(e, USB_DESCRIPTOR_DEVICE, 0, 0, 18);
            return true;
        case STAGE_CONFIG:
            ask_descriptor(e, USB_DESCRIPTOR_CONFIG, 0, 0, CONFIG_SIZE);
            return true;
        case STAGE_FUNCTIONAL:
            if (!e->inspected->dfu || e->inspected->dfu_version)
                continue;
            ask_descriptor(
                e, DFU_FUNCTIONAL_DESCRIPTOR, 0, e->inspected->interface, FUNCTIONAL_SIZE);
            return true;
        case STAGE_LANGUAGE:
            ask_descriptor(e, USB_DESCRIPTOR_STRING, 0, 0, ENGINE_STRING_SIZE);
            return true;
        case STAGE_SERIAL:
        case STAGE_NAME:
        case STAGE_MANUFACTURER:
        case STAGE_ALTS:
            if (ask_text(e))
                return true;
            continue;
        case STAGE_END:
            break;
        }
    }
    return false;
}

/* --- what came ----------------------------------------------------------------------------------- */

static void take_device(struct engine *e, int size)
{
    const uint8_t *p = e->buffer;
    struct device *d = e->inspected;
    if (size < 18) {
        engine_fail(e, ENGINE_PROTOCOL, "the board's device descriptor is cut short");
        return;
    }
    d->vendor = transfer_get16(p + 8);
    d->product = transfer_get16(p + 10);
    d->version = transfer_get16(p + 12);
    remember(d->manufacturer, p[14]);
    remember(d->name, p[15]);
    remember(d->serial, p[16]);
}

/* wTransferSize 0 and 0xFFFF are in the field; Linux moves at most 4,096 bytes in a control transfer. */
static uint16_t usable_size(uint16_t size)
{
    if (size == 0)
        return 64;
    if (size == 0xFFFF)
        return 1024;
    return size < DEVICE_TRANSFER_MAX ? size : DEVICE_TRANSFER_MAX;
}

static void take_functional(struct device *d, const uint8_t *p, int size)
{
    if (size < 7 || p[1] != DFU_FUNCTIONAL_DESCRIPTOR)
        return;
    d->attributes = p[2];
    d->detach_timeout_ms = transfer_get16(p + 3);
    d->transfer_size = usable_size(transfer_get16(p + 5));
    d->dfu_version =
        size >= FUNCTIONAL_SIZE ? transfer_get16(p + 7) : 0x0100; /* DFU 1.0 had no version */
}

/* True if it is an alternate setting of the device's (first) DFU interface. */
static bool take_interface(struct device *d, const uint8_t *p)
{
    if (p[5] != DFU_CLASS || p[6] != DFU_SUBCLASS || (d->dfu && d->interface != p[2]))
        return false;
    d->dfu = true;
    d->interface = p[2];
    d->runtime = p[7] == DFU_PROTOCOL_RUNTIME;
    if (d->alt_count < DEVICE_ALTS) {
        struct device_alt *alt = &d->alts[d->alt_count++];
        alt->number = p[3];
        alt->map_error = MEMORY_MAP_NO_ZONE;
        remember(alt->text, p[8]);
    }
    return true;
}

/* The functional descriptor stands behind one of the alternate settings, ST's behind the last one; some
 * put it before the first. */
static void take_config(struct engine *e, int size)
{
    struct device *d = e->inspected;
    bool ours = true;
    for (int at = 0; at + 2 <= size && e->buffer[at] >= 2 && at + e->buffer[at] <= size;
         at += e->buffer[at]) {
        const uint8_t *p = e->buffer + at;
        if (p[1] == USB_DESCRIPTOR_INTERFACE && p[0] >= INTERFACE_SIZE)
            ours = take_interface(d, p);
        else if (p[1] == DFU_FUNCTIONAL_DESCRIPTOR && ours)
            take_functional(d, p, p[0]);
    }
    if (d->dfu && d->transfer_size == 0)
        d->transfer_size = usable_size(0);
}

/* Control characters (of eight bits, too: some terminals obey them), halves of pairs, and what breaks lines or
 * turns the direction of writing. */
static bool is_harmless(unsigned c)
{
    // clang-format off
    static const struct { unsigned first, last; } harmful[] = {
        {0, 0x1F}, {0x7F, 0x9F}, {0x200E, 0x200F}, {0x2028, 0x202E}, {0x2066, 0x2069},
        {0xD800, 0xDFFF}, {0xFEFF, 0xFEFF},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof harmful / sizeof harmful[0]; i++)
        if (c >= harmful[i].first && c <= harmful[i].last)
            return false;
    return true;
}

/* One character of UTF-16 to UTF-8; pairs become two question marks, which is good enough for names. */
static char *put_character(char *at, unsigned c)
{
    if (!is_harmless(c))
        c = '?';
    if (c < 0x80) {
        *at++ = (char)c;
    } else if (c < 0x800) {
        *at++ = (char)(0xC0 | c >> 6);
        *at++ = (char)(0x80 | (c & 0x3F));
    } else {
        *at++ = (char)(0xE0 | c >> 12);
        *at++ = (char)(0x80 | (c >> 6 & 0x3F));
        *at++ = (char)(0x80 | (c & 0x3F));
    }
    return at;
}

/* At most 126 characters of 3 bytes each: they fit. */
void inspect_text(const uint8_t *p, int size, char text[DEVICE_TEXT])
{
    char *at = text;
    if (size >= 2 && p[1] == USB_DESCRIPTOR_STRING)
        for (int i = 2, end = p[0] < size ? p[0] : size; i + 1 < end; i += 2)
            if (transfer_get16(p + i) != 0)
                at = put_character(at, transfer_get16(p + i));
    *at = '\0';
}

static void take_alt(struct device_alt *alt)
{
    alt->map_error = memory_map_parse(&alt->map, alt->text);
}

void inspect_result(struct engine *e, int size)
{
    enum stage stage = (enum stage)e->inspect_stage;
    /* Strings and the loose functional descriptor may be refused; the device and its configuration not. */
    if (size < 0 &&
        (stage <= STAGE_CONFIG || (size != TRANSFER_STALL && size != TRANSFER_TIMEOUT))) {
        engine_fail(e, size == TRANSFER_DENIED ? ENGINE_DENIED : ENGINE_LINK,
            "the board does not tell what it is%s", size == TRANSFER_GONE ? ": it went away" : "");
        return;
    }
    switch (stage) {
    case STAGE_DEVICE:
        take_device(e, size);
        break;
    case STAGE_CONFIG:
        take_config(e, size);
        break;
    case STAGE_FUNCTIONAL:
        take_functional(e->inspected, e->buffer, size);
        break;
    case STAGE_LANGUAGE:
        e->language = size >= 4 ? transfer_get16(e->buffer + 2) : ENGINE_ENGLISH;
        break;
    case STAGE_SERIAL:
    case STAGE_NAME:
    case STAGE_MANUFACTURER:
    case STAGE_ALTS:
        if (awaited_text(e))
            inspect_text(e->buffer, size, awaited_text(e));
        break;
    case STAGE_END:
        break;
    }
    if (stage == STAGE_ALTS)
        take_alt(&e->inspected->alts[e->inspect_item]);
    advance(e);
}
