/* SPDX-License-Identifier: MIT */
/* Makes one file of several, or of one of another kind. */
#include "host/cmd.h"
#include "host/json.h"
#include "host/load.h"
#include "host/pack_kinds.h"
#include "host/report.h"
#include "image/file.h"
#include "image/uf2.h"

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

/* Whether the address that was given, or not, is what such a file needs. */
static bool check_placed(const struct image *part, const char *name, bool placed, bool to_raw)
{
    bool raw = part->format == IMAGE_RAW;
    if (raw == placed || (raw && to_raw))
        return true;
    report_error(placed ? "%s says itself where it goes; leave the address away"
                        : "%s is a raw file: say where it goes, FILE@0x08000000 or --at 0x08000000",
        name);
    return false;
}

static int read_part(struct image *part, const char *argument, const struct options *o, bool to_raw)
{
    char why[IMAGE_ERROR_SIZE];
    uint8_t *data;
    size_t size;
    uint32_t addr = o->address;
    char *path = strdup(argument);
    if (!path)
        report_no_memory();
    bool placed = split(path, &addr) || o->has_address;
    const char *name = strcmp(path, "-") ? path : "standard input";
    int error = load_code(image_load(path, &data, &size, why), EX_NOINPUT);
    if (!error) {
        if (o->family && image_detect(data, size) == IMAGE_UF2)
            uf2_choose(data, size, o->family); /* else it is what the file shall be for */
        error = load_code(image_parse(part, name, data, size, addr, why), EX_DATAERR);
        free(data);
    }
    if (error) {
        report_error("%s", why);
    } else if (!check_placed(part, name, placed, to_raw)) {
        image_free(part);
        error = EX_USAGE;
    }
    free(path);
    return error;
}

/* What a file says besides its bytes is kept if nothing said it before. */
static void take_over(struct image *whole, struct image *part, const struct options *o)
{
    for (size_t i = 0; i < part->count; i++) {
        struct image_segment *s = &part->segments[i];
        s->alt = o->alt != OPTIONS_ANY ? (uint8_t)o->alt : s->alt == IMAGE_ANY_ALT ? 0 : s->alt;
        if (whole->count && image_add(whole, s->alt, s->addr, s->data, s->size))
            report_no_memory();
    }
    if (!whole->count) { /* mostly there is one part, and nothing to be copied */
        whole->segments = part->segments;
        whole->count = part->count;
        part->segments = NULL;
        part->count = 0;
    }
    if (!whole->entry)
        whole->entry = part->entry;
    if (!whole->family)
        whole->family = part->family;
}

static void tell(const struct image *whole, const struct pack_kind *kind, const struct options *o)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < whole->count; i++)
        bytes += whole->segments[i].size;
    bool has_ids = kind->format == IMAGE_DFUSE || kind->suffix;
    char ids[24] = "";
    if (has_ids)
        snprintf(ids, sizeof ids, " for %04x:%04x", whole->vendor, whole->product);
    if (o->json)
        json_print(json_pack("{sbsosssIsI}", "ok", true, "file", json_text(o->output), "format",
            image_format_name(kind->format), "bytes", (json_int_t)bytes, "parts",
            (json_int_t)whole->count));
    report_result("packed %llu bytes in %zu part%s%s into %s (%s)", (unsigned long long)bytes,
        whole->count, whole->count == 1 ? "" : "s", ids, o->output,
        image_format_name(kind->format));
}

static int write_file(const uint8_t *data, size_t size, const struct options *o)
{
    char why[IMAGE_ERROR_SIZE];
    int err = image_write_raw(o->output, data, size, why);
    if (err)
        report_error("%s", why);
    return load_code(err, EX_CANTCREAT);
}

static int make_and_write(
    const struct image *whole, const struct pack_kind *kind, const struct options *o)
{
    char why[IMAGE_ERROR_SIZE];
    uint8_t *data;
    size_t size;
    int err = image_make(whole, o->output, kind->format, &data, &size, why);
    if (err) {
        report_error("%s", why);
        return load_code(err, EX_DATAERR);
    }
    err = write_file(data, size, o);
    free(data);
    return err;
}

static int write_whole(struct image *whole, const struct pack_kind *kind, const struct options *o)
{
    char why[IMAGE_ERROR_SIZE];
    whole->vendor = o->vendor == OPTIONS_ANY ? ST_VENDOR : (uint16_t)o->vendor;
    whole->product = o->product == OPTIONS_ANY ? ST_DFU_PRODUCT : (uint16_t)o->product;
    whole->suffix = kind->suffix;
    int err = image_settle(whole, o->output, why);
    if (err) {
        report_error("%s", why);
        return load_code(err, EX_DATAERR);
    }
    const struct image_segment *only = whole->segments;
    if (kind->format == IMAGE_RAW && !kind->suffix && whole->count == 1) /* it is the file */
        err = write_file(only->data, only->size, o);
    else
        err = make_and_write(whole, kind, o);
    if (!err)
        tell(whole, kind, o);
    return err;
}

/* By --format, else by the name of the file to be made. */
static const struct pack_kind *choose_kind(const struct options *o)
{
    if (!o->format)
        return pack_kind_of_file(o->output);
    const struct pack_kind *kind = pack_kind_named(o->format);
    if (!kind)
        report_error(
            "pack: --format %s is none of dfu, hex, srec, uf2, raw, suffix (raw with a DFU suffix)",
            o->format);
    return kind;
}

static int pack(struct image *whole, const struct options *o)
{
    const struct pack_kind *kind = choose_kind(o);
    if (!kind)
        return EX_USAGE;
    whole->family = o->family;
    for (int i = 0; i < o->arg_count; i++) {
        struct image part;
        int error = read_part(&part, o->args[i], o, kind->format == IMAGE_RAW);
        if (error)
            return error;
        take_over(whole, &part, o);
        image_free(&part);
    }
    return write_whole(whole, kind, o);
}

int cmd_pack(const struct options *options)
{
    struct image whole;
    struct options o = *options;
    if (!o.output) { /* pack OUT FILE … */
        o.output = o.args[0];
        o.args++;
        o.arg_count--;
    }
    if (o.arg_count == 0) {
        report_error("pack: pack what? Give the file to make and the files to put in");
        return EX_USAGE;
    }
    bool to_standard_output = strcmp(o.output, "-") == 0;
    if (to_standard_output && o.json) {
        report_error("pack: standard output takes the file or --json, not both");
        return EX_USAGE;
    }
    report_setup(o.quiet || o.json, to_standard_output);
    image_init(&whole, IMAGE_DFUSE);
    int error = pack(&whole, &o);
    image_free(&whole);
    return error;
}
