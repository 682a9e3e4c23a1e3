/* SPDX-License-Identifier: MIT */
/* Which DFU devices there are, and which of them the options mean. */
#include "core/dfu.h"
#include "host/dfu_util_parts.h"
#include "host/report.h"
#include "host/udev.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum {
    CONTROL_MS = 1000,
    DEVICE_SIZE = 18,
    CONFIG_SIZE = 9,
    INTERFACE_SIZE = 9,
    FUNCTIONAL_SIZE = 9,
    FUNCTIONAL_SIZE_1_0 = 7, /* DFU 1.0 has no bcdDFUVersion */
    STRING_SIZE = 255,
};

struct search {
    struct link *link;
    const struct dfu_util_options *options;
    struct dfu_util_list *list;
    struct link_device where;
    uint8_t device[DEVICE_SIZE];
    uint8_t functional[FUNCTIONAL_SIZE];
    uint16_t language; /* 0: not asked for yet */
};

/* --- descriptors -------------------------------------------------------------------------------- */

static int get_descriptor(
    struct search *s, uint8_t type, uint8_t index, uint16_t language, uint8_t *data, uint16_t size)
{
    uint8_t setup[USB_SETUP_SIZE] = {USB_IN, USB_GET_DESCRIPTOR, index, type};
    transfer_put16(setup + 4, language);
    transfer_put16(setup + 6, size);
    return link_control(s->link, setup, data, CONTROL_MS);
}

/* As dfu-util shows them: what is not in one byte is a question mark. "UNKNOWN" if there is none. */
static void get_text(struct search *s, uint8_t index, char text[DFU_UTIL_TEXT])
{
    uint8_t data[STRING_SIZE];
    size_t used = 0;
    if (index && !s->language)
        s->language = get_descriptor(s, USB_DESCRIPTOR_STRING, 0, 0, data, STRING_SIZE) >= 4
                          ? transfer_get16(data + 2)
                          : 0x0409; /* English */
    int size =
        index ? get_descriptor(s, USB_DESCRIPTOR_STRING, index, s->language, data, STRING_SIZE) : 0;
    if (size >= 2 && data[1] == USB_DESCRIPTOR_STRING)
        for (int i = 2; i + 1 < size && i + 1 < data[0]; i += 2)
            text[used++] = data[i + 1] ? '?' : (char)data[i];
    text[used] = '\0';
    if (!text[0])
        strcpy(text, "UNKNOWN");
}

static bool is_dfu(const uint8_t *interface)
{
    return interface[0] >= INTERFACE_SIZE && interface[5] == DFU_CLASS &&
           interface[6] == DFU_SUBCLASS;
}

/* The next descriptor in a configuration, or NULL; at NULL: the first. */
static const uint8_t *next(const uint8_t *config, size_t size, const uint8_t *at)
{
    const uint8_t *end = config + size;
    at = at ? at + at[0] : config;
    return end - at >= 2 && at[0] >= 2 && end - at >= at[0] ? at : NULL;
}

/* It stands behind one of the DFU interface's alternate settings, ST's behind the last one, or before
 * all interfaces, or nowhere. */
static bool find_functional(struct search *s, const uint8_t *config, size_t size)
{
    bool ours = true;
    memset(s->functional, 0, sizeof s->functional);
    for (const uint8_t *at = NULL; (at = next(config, size, at)) != NULL;) {
        if (at[1] == USB_DESCRIPTOR_INTERFACE)
            ours = is_dfu(at);
        if (at[1] != DFU_FUNCTIONAL_DESCRIPTOR || !ours)
            continue;
        memcpy(s->functional, at, at[0] < FUNCTIONAL_SIZE ? at[0] : FUNCTIONAL_SIZE);
        return true;
    }
    return get_descriptor(s, DFU_FUNCTIONAL_DESCRIPTOR, 0, 0, s->functional, FUNCTIONAL_SIZE) > 0;
}

/* --- what is meant ------------------------------------------------------------------------------ */

static bool matches_ids(const struct dfu_util_ids *wanted, const struct dfu_util_alt *a)
{
    return (wanted->vendor == DFU_UTIL_ANY || wanted->vendor == a->vendor) &&
           (wanted->product == DFU_UTIL_ANY || wanted->product == a->product);
}

/* All but what needs strings. */
static bool matches(const struct dfu_util_options *o, const struct dfu_util_alt *a)
{
    if ((o->interface != DFU_UTIL_ANY && o->interface != a->interface) ||
        (o->configuration > 0 && o->configuration != a->configuration))
        return false;
    if (a->dfu_mode && o->alt != DFU_UTIL_ANY && o->alt != a->alt)
        return false;
    return matches_ids(a->dfu_mode ? &o->dfu : &o->runtime, a);
}

static bool matches_text(const struct dfu_util_options *o, const struct dfu_util_alt *a)
{
    const char *serial = a->dfu_mode ? o->serial_dfu : o->serial;
    if (a->dfu_mode && o->alt_name && strcmp(o->alt_name, a->name))
        return false;
    return !serial || strcmp(serial, a->serial) == 0;
}

/* --- one device --------------------------------------------------------------------------------- */

static void add(struct dfu_util_list *list, const struct dfu_util_alt *alt)
{
    list->alts = realloc(list->alts, (list->count + 1) * sizeof *list->alts);
    if (!list->alts)
        report_no_memory();
    /* dfu-util lists what was found last first, and scripts take the first line. */
    memmove(list->alts + 1, list->alts, list->count * sizeof *list->alts);
    list->alts[0] = *alt;
    list->count++;
}

static void take_interface(struct search *s, const uint8_t *config, const uint8_t *interface)
{
    const uint8_t *f = s->functional;
    struct dfu_util_alt a = {
        .where = s->where,
        .vendor = transfer_get16(s->device + 8),
        .product = transfer_get16(s->device + 10),
        .version = transfer_get16(s->device + 12),
        .max_packet = s->device[7],
        .configuration = config[5],
        .interface = interface[2],
        .alt = interface[3],
        .attributes = f[2],
        .detach_timeout_ms = transfer_get16(f + 3),
        .transfer_size = f[0] >= FUNCTIONAL_SIZE_1_0 ? transfer_get16(f + 5) : 0,
        .dfu_version = f[0] >= FUNCTIONAL_SIZE ? transfer_get16(f + 7) : 0x0100,
    };
    /* Some devices of ST's forget the protocol. */
    a.dfu_mode = interface[7] == DFU_PROTOCOL_DFU ||
                 (interface[7] == 0 && a.dfu_version == DFU_VERSION_DFUSE);
    if (!matches(s->options, &a))
        return;
    get_text(s, interface[8], a.name);
    get_text(s, s->device[16], a.serial);
    if (matches_text(s->options, &a))
        add(s->list, &a);
}

static void take_configuration(struct search *s, const uint8_t *config, size_t size)
{
    bool any = false;
    for (const uint8_t *at = NULL; (at = next(config, size, at)) != NULL;)
        any |= at[1] == USB_DESCRIPTOR_INTERFACE && is_dfu(at);
    if (!any)
        return;
    if (!find_functional(s, config, size)) {
        dfu_util_say("Device has DFU interface, but has no DFU functional descriptor");
        s->functional[0] = FUNCTIONAL_SIZE_1_0;
    }
    if (s->functional[0] == FUNCTIONAL_SIZE_1_0)
        printf("Deducing device DFU version from functional descriptor length\n");
    for (const uint8_t *at = NULL; (at = next(config, size, at)) != NULL;)
        if (at[1] == USB_DESCRIPTOR_INTERFACE && is_dfu(at))
            take_interface(s, config, at);
}

static void take_device(struct search *s)
{
    uint8_t config[TRANSFER_MAX];
    if (get_descriptor(s, USB_DESCRIPTOR_DEVICE, 0, 0, s->device, DEVICE_SIZE) < DEVICE_SIZE)
        return;
    for (uint8_t i = 0; i < s->device[17]; i++) {
        int size = get_descriptor(s, USB_DESCRIPTOR_CONFIG, i, 0, config, CONFIG_SIZE);
        uint16_t total = size >= CONFIG_SIZE ? transfer_get16(config + 2) : 0;
        if (total > sizeof config)
            total = sizeof config;
        size = total ? get_descriptor(s, USB_DESCRIPTOR_CONFIG, i, 0, config, total) : 0;
        if (size >= CONFIG_SIZE)
            take_configuration(s, config, (size_t)size);
    }
}

/* Would it be meant, for all that is known without opening it? */
static bool might_match(const struct dfu_util_options *o, const struct link_device *where)
{
    const struct dfu_util_alt a = {.vendor = where->vendor, .product = where->product};
    return (matches_ids(&o->dfu, &a) || matches_ids(&o->runtime, &a)) &&
           (!o->path || strcmp(o->path, where->path) == 0) &&
           (o->number == DFU_UTIL_ANY || o->number == where->number);
}

/* Other programs look for the first sentence. */
static void complain(const struct link *link, const struct link_device *where, int error)
{
    dfu_util_say("Cannot open DFU device %04x:%04x found on devnum %u (%s)", where->vendor,
        where->product, where->number, wire_error(error));
    if (link_why(link)[0])
        dfu_util_say("%s", link_why(link));
    if (error == TRANSFER_DENIED)
        udev_advise(stderr, where->vendor, where->product);
}

int dfu_util_find(
    struct link *link, const struct dfu_util_options *options, struct dfu_util_list *list)
{
    struct link_device *devices;
    *list = (struct dfu_util_list){0};
    int count = link_list(link, &devices);
    if (count < 0) {
        dfu_util_say("unable to initialize USB: %s", link_why(link));
        return EX_IOERR;
    }
    for (int i = 0; i < count; i++) {
        struct search s = {.link = link, .options = options, .list = list, .where = devices[i]};
        if (!devices[i].dfu || !might_match(options, &devices[i]))
            continue;
        int error = link_open(link, &devices[i]);
        if (error) {
            if (!options->silent)
                complain(link, &devices[i], error);
            continue;
        }
        take_device(&s);
        link_close(link);
    }
    free(devices);
    return 0;
}

void dfu_util_free(struct dfu_util_list *list)
{
    free(list->alts);
    *list = (struct dfu_util_list){0};
}

void dfu_util_print(const struct dfu_util_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct dfu_util_alt *a = &list->alts[i];
        printf("Found %s: [%04x:%04x] ver=%04x, devnum=%u, cfg=%u, intf=%u, path=\"%s\", alt=%u, "
               "name=\"%s\", serial=\"%s\"\n",
            a->dfu_mode ? "DFU" : "Runtime", a->vendor, a->product, a->version, a->where.number,
            a->configuration, a->interface, a->where.path, a->alt, a->name, a->serial);
    }
}
