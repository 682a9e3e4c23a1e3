/* SPDX-License-Identifier: MIT */
/* Takes a file apart: each part goes to a file of its own, with its address in the name. */
#include "host/cmd.h"
#include "host/json.h"
#include "host/load.h"
#include "host/pack_kinds.h"
#include "host/report.h"
#include "image/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

struct unpacking {
    const struct options *options;
    const struct image *image;
    const struct pack_kind *kind;
    char prefix[PATH_SIZE - 64];
    bool to_standard_output;
    json_t *written; /* an object for each part */
};

/* By -o, else FILE's own name without its directory and ending. */
static void choose_prefix(struct unpacking *u)
{
    const char *file = u->options->args[0], *slash = strrchr(file, '/');
    const char *name = strcmp(file, "-") == 0 ? "image" : slash ? slash + 1 : file;
    const char *prefix = u->options->output ? u->options->output : name;
    snprintf(u->prefix, sizeof u->prefix, "%s", prefix);
    char *dot = u->options->output ? NULL : strrchr(u->prefix, '.');
    if (dot && dot != u->prefix)
        *dot = '\0';
}

static bool has_alts(const struct image *image)
{
    return image->segments[0].alt != image->segments[image->count - 1].alt;
}

static void name_part(
    const struct unpacking *u, const struct image_segment *s, char path[PATH_SIZE])
{
    char alt[16] = "";
    if (has_alts(u->image))
        snprintf(alt, sizeof alt, "alt%u-", s->alt);
    if (u->to_standard_output)
        snprintf(path, PATH_SIZE, "-");
    else
        snprintf(path, PATH_SIZE, "%s-%s%08x%s", u->prefix, alt, s->addr, u->kind->endings[0]);
}

static int write_part(const struct unpacking *u, struct image_segment *s)
{
    char why[IMAGE_ERROR_SIZE], path[PATH_SIZE];
    uint8_t *data;
    size_t size;
    struct image part = *u->image;
    part.segments = s;
    part.count = 1;
    part.suffix = u->kind->suffix;
    name_part(u, s, path);
    if (!u->options->force && !u->to_standard_output && access(path, F_OK) == 0) {
        report_error("%s is there already; --force writes over it, -o NAME writes elsewhere", path);
        return EX_CANTCREAT;
    }
    int err = image_make(&part, path, u->kind->format, &data, &size, why);
    if (err) {
        report_error("%s", why);
        return load_code(err, EX_DATAERR);
    }
    err = image_write_raw(path, data, size, why);
    free(data);
    if (err) {
        report_error("%s", why);
        return load_code(err, EX_CANTCREAT);
    }
    json_array_append_new(u->written, json_pack("{sosIsI}", "file", json_text(path), "address",
                                          (json_int_t)s->addr, "size", (json_int_t)s->size));
    report_result("0x%08x-0x%08x  %u bytes  %s", s->addr, s->addr + s->size - 1, s->size, path);
    return 0;
}

static int unpack(struct unpacking *u)
{
    if (u->to_standard_output && u->image->count != 1) {
        report_error("%s has %zu parts and there is one standard output; give -o NAME",
            u->options->args[0], u->image->count);
        return EX_USAGE;
    }
    choose_prefix(u);
    int error = 0;
    for (size_t i = 0; i < u->image->count && !error; i++)
        error = write_part(u, &u->image->segments[i]);
    return error;
}

int cmd_unpack(const struct options *o)
{
    struct image image;
    struct unpacking u = {.options = o,
        .image = &image,
        .kind = pack_kind_named(o->format ? o->format : "raw"),
        .to_standard_output = o->output && strcmp(o->output, "-") == 0};
    if (!u.kind) {
        report_error("unpack: --format %s is none of raw, hex, srec, uf2, dfu, suffix (raw with a "
                     "DFU suffix)",
            o->format);
        return EX_USAGE;
    }
    if (u.to_standard_output && o->json) {
        report_error("unpack: standard output takes the file or --json, not both");
        return EX_USAGE;
    }
    report_setup(o->quiet || o->json, u.to_standard_output);
    int error = load_image(&image, o);
    if (error)
        return error;
    u.written = json_array();
    error = unpack(&u);
    if (!error && o->json)
        json_print(json_pack("{sbsO}", "ok", true, "parts", u.written));
    json_decref(u.written);
    image_free(&image);
    return error;
}
