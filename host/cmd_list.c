/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/report.h"
#include "host/session.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static const char *mode_of(const struct session_seen *s)
{
    if (s->error)
        return "unknown";
    return s->device.runtime ? "application" : "dfu";
}

/* --- for people ---------------------------------------------------------------------------------- */

static void print_board(const struct session_seen *s)
{
    char ranges[512];
    printf("%04x:%04x path=%s", s->where.vendor, s->where.product, s->where.path);
    if (s->error) {
        printf(" (%s)\n", s->error == TRANSFER_DENIED
                              ? "no permission; caboose info tells how to get it"
                          : s->error == TRANSFER_BUSY ? "in use by another program"
                                                      : "does not answer");
        return;
    }
    printf(" serial=\"%s\" name=\"%s\"", s->device.serial, s->device.name);
    if (s->device.runtime) {
        printf(" (runs its application)\n");
        return;
    }
    device_ranges(&s->device, MEMORY_WRITE, ranges, sizeof ranges);
    printf(" writable=%s\n", ranges);
}

/* --- for programs -------------------------------------------------------------------------------- */

static json_t *runs_json(const struct memory_map *map)
{
    json_t *all = json_array();
    for (size_t i = 0; i < map->count; i++) {
        const struct memory_run *run = &map->runs[i];
        json_array_append_new(
            all, json_pack("{s:I, s:I, s:I, s:b, s:b, s:b}", "address", (json_int_t)run->addr,
                     "count", (json_int_t)run->count, "size", (json_int_t)run->size, "readable",
                     !!(run->flags & MEMORY_READ), "erasable", !!(run->flags & MEMORY_ERASE),
                     "writable", !!(run->flags & MEMORY_WRITE)));
    }
    return all;
}

/* Text from a device may be anything; what is not UTF-8 is left out. */
static json_t *text_json(const char *text)
{
    json_t *value = json_string(text);
    return value ? value : json_string("");
}

static json_t *alts_json(const struct device *d)
{
    json_t *all = json_array();
    for (size_t i = 0; i < d->alt_count; i++)
        json_array_append_new(
            all, json_pack("{s:i, s:o, s:o}", "number", d->alts[i].number, "name",
                     text_json(d->alts[i].text), "memory", runs_json(&d->alts[i].map)));
    return all;
}

static json_t *board_json(const struct session_seen *s)
{
    char vendor[8], product[8];
    snprintf(vendor, sizeof vendor, "%04x", s->where.vendor);
    snprintf(product, sizeof product, "%04x", s->where.product);
    json_t *board = json_pack("{s:s, s:s, s:s, s:s}", "vendor", vendor, "product", product, "path",
        s->where.path, "mode", mode_of(s));
    const struct device *d = &s->device;
    if (s->error)
        return board;
    json_object_set_new(board, "serial", text_json(d->serial));
    json_object_set_new(board, "name", text_json(d->name));
    json_object_set_new(board, "manufacturer", text_json(d->manufacturer));
    json_object_set_new(board, "bcdDevice", json_integer(d->version));
    json_object_set_new(board, "bcdDFUVersion", json_integer(d->dfu_version));
    json_object_set_new(board, "bmAttributes", json_integer(d->attributes));
    json_object_set_new(board, "wTransferSize", json_integer(d->transfer_size));
    json_object_set_new(board, "alternates", alts_json(d));
    return board;
}

static void print_json(const struct session_seen *seen, int count)
{
    json_t *all = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(all, board_json(&seen[i]));
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

int cmd_list(const struct options *options)
{
    struct session_seen *seen;
    int count = session_look(options, &seen);
    if (count < 0)
        return -count;
    if (options->json)
        print_json(seen, count);
    for (int i = 0; i < count && !options->json; i++)
        print_board(&seen[i]);
    if (count == 0 && !options->json)
        report_note(
            "no DFU device found; start a board's bootloader (button or jumper, then reset)");
    free(seen);
    return 0;
}
