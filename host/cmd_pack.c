/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/report.h"
#include "image/dfuse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { ST_VENDOR = 0x0483, ST_DFU_PRODUCT = 0xDF11 };

/* Takes "@0x08001000" off a file's name; false if there is none. */
static bool split(char *argument, uint32_t *addr)
{
    char *at = strrchr(argument, '@');
    if (!at || at == argument || !options_address(at + 1, addr))
        return false;
    *at = '\0';
    return true;
}

static int read_part(struct image *part, const char *argument, const struct options *o)
{
    char why[IMAGE_ERROR_SIZE];
    uint8_t *data;
    size_t size;
    uint32_t addr = o->address;
    char *path = strdup(argument);
    if (!path)
        abort();
    bool placed = split(path, &addr) || o->has_address;
    int error = image_load(path, &data, &size, why) ? EX_NOINPUT : 0;
    if (!error) {
        error = image_parse(part, path, data, size, addr, why) ? EX_DATAERR : 0;
        free(data);
    }
    if (error) {
        report_error("%s", why);
    } else if ((part->format == IMAGE_RAW) != placed) {
        report_error(
            placed ? "%s says itself where it goes; leave the address away"
                   : "%s is a raw file: say where it goes, FILE@0x08000000 or --address 0x08000000",
            path);
        image_free(part);
        error = EX_USAGE;
    }
    free(path);
    return error;
}

static void take_over(struct image *whole, const struct image *part, const struct options *o)
{
    for (size_t i = 0; i < part->count; i++) {
        const struct image_segment *s = &part->segments[i];
        uint8_t alt = o->alt != OPTIONS_ANY     ? (uint8_t)o->alt
                      : s->alt == IMAGE_ANY_ALT ? 0
                                                : s->alt;
        if (image_add(whole, alt, s->addr, s->data, s->size))
            abort();
    }
}

static int write_whole(struct image *whole, const struct options *o)
{
    char why[IMAGE_ERROR_SIZE];
    uint16_t vendor = o->vendor == OPTIONS_ANY ? ST_VENDOR : (uint16_t)o->vendor;
    uint16_t product = o->product == OPTIONS_ANY ? ST_DFU_PRODUCT : (uint16_t)o->product;
    uint64_t bytes = 0;
    if (image_settle(whole, o->output, why)) {
        report_error("%s", why);
        return EX_DATAERR;
    }
    if (dfuse_write(o->output, vendor, product, whole->segments, whole->count, why)) {
        report_error("%s", why);
        return EX_CANTCREAT;
    }
    for (size_t i = 0; i < whole->count; i++)
        bytes += whole->segments[i].size;
    report_result("packed %llu bytes in %zu part%s for %04x:%04x into %s",
        (unsigned long long)bytes, whole->count, whole->count == 1 ? "" : "s", vendor, product,
        o->output);
    return 0;
}

int cmd_pack(const struct options *options)
{
    struct image whole;
    struct options o = *options;
    image_init(&whole, IMAGE_DFUSE);
    if (!o.output) { /* pack OUT.dfu FILE … */
        o.output = o.args[0];
        o.args++;
        o.arg_count--;
    }
    if (o.arg_count == 0) {
        report_error("pack: pack what? Give the file to make and the files to put in");
        return EX_USAGE;
    }
    report_setup(o.quiet, strcmp(o.output, "-") == 0);
    int error = 0;
    for (int i = 0; i < o.arg_count && !error; i++) {
        struct image part;
        error = read_part(&part, o.args[i], &o);
        if (error)
            break;
        take_over(&whole, &part, &o);
        image_free(&part);
    }
    if (!error)
        error = write_whole(&whole, &o);
    image_free(&whole);
    return error;
}
