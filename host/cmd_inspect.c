/* SPDX-License-Identifier: MIT */
/* What a file is and holds, and what is wrong with it. */
#include "host/cmd.h"
#include "host/draw.h"
#include "host/json.h"
#include "host/load.h"
#include "host/report.h"
#include "host/vectors.h"
#include "image/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { FLASH_BASE = 0x08000000, INDENT = 12 };

struct inspection {
    const char *name;
    const struct options *options;
    size_t size;
    enum image_format format;
    bool damaged;
    char why[IMAGE_ERROR_SIZE]; /* damaged: what is wrong */
    struct image image;         /* else */
};

/* "Intel HEX", "raw, with a DFU suffix". */
static void describe(const struct inspection *i, char text[64])
{
    bool suffixed = !i->damaged && i->image.suffix && i->format == IMAGE_RAW;
    snprintf(text, 64, "%s%s", image_format_name(i->format), suffixed ? ", with a DFU suffix" : "");
}

/* The first part's first two words, if it has them. */
static bool has_vectors(const struct image *image)
{
    return image->segments[0].size >= VECTORS_SIZE && image->segments[0].addr % 4 == 0;
}

/* --- for people ----------------------------------------------------------------------------------- */

static void print_id(const char *what, uint16_t id)
{
    if (id == IMAGE_ANY_ID)
        printf(" any %s", what);
    else
        printf(" %s %04x", what, id);
}

static void print_parts(const struct image *image)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < image->count; i++) {
        const struct image_segment *s = &image->segments[i];
        printf("  %-9s 0x%08x-0x%08x %10u bytes", i == 0 ? "parts" : "", s->addr,
            s->addr + s->size - 1, s->size);
        if (s->alt != IMAGE_ANY_ALT)
            printf("  alternate setting %u", s->alt);
        printf("\n");
        bytes += s->size;
    }
    if (image->count > 1)
        printf("  %-9s %33llu bytes\n", "", (unsigned long long)bytes);
}

static void print_vectors(const struct image *image)
{
    char why[VECTORS_ERROR_SIZE];
    const uint8_t *table = image->segments[0].data;
    if (has_vectors(image))
        printf("  %-9s at 0x%08x: stack 0x%08x, reset 0x%08x\n", "vectors", image->segments[0].addr,
            vectors_word(table), vectors_word(table + 4));
    if (vectors_fit(image, why))
        printf("  %-9s starts at 0x%08x%s\n", "program", vectors_word(table + 4) & ~UINT32_C(1),
            vectors_are_bootloader(image) ? "; it is the caboose bootloader" : "");
    else
        draw_text("  program", INDENT, why);
}

static void print_image(const struct inspection *i)
{
    const struct image *image = &i->image;
    if (image->target[0])
        printf("  %-9s %s\n", "for", image->target);
    if (image->family)
        printf("  %-9s 0x%08x\n", "family", image->family);
    if (image->suffix) {
        printf("  %-9s", "suffix");
        print_id("vendor", image->vendor);
        print_id("product", image->product);
        print_id("version", image->device);
        printf("\n");
    }
    if (image->entry)
        printf("  %-9s 0x%08x\n", "entry", image->entry);
    if (i->format == IMAGE_RAW && !i->options->has_address)
        printf("  %-9s not told; taken for 0x%08x, --at says otherwise\n", "address", FLASH_BASE);
    print_parts(image);
    print_vectors(image);
    if (image->note[0])
        draw_text("  note", INDENT, image->note);
}

static void print_all(const struct inspection *i)
{
    char format[64];
    describe(i, format);
    printf("%s: %s, %zu bytes\n", i->name, format, i->size);
    if (!i->damaged)
        print_image(i);
}

/* --- for programs --------------------------------------------------------------------------------- */

static void set_id(json_t *object, const char *name, uint16_t id)
{
    json_object_set_new(object, name, id == IMAGE_ANY_ID ? json_null() : json_integer(id));
}

static json_t *make_parts(const struct image *image)
{
    json_t *parts = json_array();
    for (size_t i = 0; i < image->count; i++) {
        const struct image_segment *s = &image->segments[i];
        json_t *part =
            json_pack("{sIsI}", "address", (json_int_t)s->addr, "size", (json_int_t)s->size);
        if (s->alt != IMAGE_ANY_ALT)
            json_object_set_new(part, "alt", json_integer(s->alt));
        json_array_append_new(parts, part);
    }
    return parts;
}

static json_t *make_program(const struct image *image)
{
    char why[VECTORS_ERROR_SIZE];
    bool fits = vectors_fit(image, why);
    json_t *program = json_pack("{sb}", "fits", fits);
    const uint8_t *table = image->segments[0].data;
    if (has_vectors(image)) {
        json_object_set_new(program, "stack", json_integer(vectors_word(table)));
        json_object_set_new(program, "reset", json_integer(vectors_word(table + 4)));
    }
    if (!fits)
        json_object_set_new(program, "why", json_string(why));
    return program;
}

static void add_image(json_t *object, const struct image *image)
{
    if (image->target[0])
        json_object_set_new(object, "target", json_string(image->target));
    if (image->family)
        json_object_set_new(object, "family", json_integer(image->family));
    if (image->entry)
        json_object_set_new(object, "entry", json_integer(image->entry));
    if (image->suffix) {
        json_t *suffix = json_object();
        set_id(suffix, "vendor", image->vendor);
        set_id(suffix, "product", image->product);
        set_id(suffix, "version", image->device);
        json_object_set_new(object, "suffix", suffix);
    }
    json_object_set_new(object, "parts", make_parts(image));
    json_object_set_new(object, "program", make_program(image));
    if (image->note[0])
        json_object_set_new(object, "note", json_string(image->note));
}

static void print_json(const struct inspection *i)
{
    json_t *object = json_pack("{sbsosssI}", "ok", !i->damaged, "file", json_text(i->name),
        "format", image_format_name(i->format), "size", (json_int_t)i->size);
    if (i->damaged)
        json_object_set_new(object, "error", json_text(i->why));
    else
        add_image(object, &i->image);
    json_print(object);
}

static int read_image(struct inspection *i, uint8_t *data)
{
    const struct options *o = i->options;
    uint32_t addr = o->has_address ? o->address : FLASH_BASE;
    int error = load_choose(o, i->name, data, i->size, i->why);
    i->format = image_detect(data, i->size);
    if (!error) {
        error = load_code(image_parse(&i->image, i->name, data, i->size, addr, i->why), EX_DATAERR);
        i->damaged = error == EX_DATAERR;
    }
    return error;
}

int cmd_inspect(const struct options *o)
{
    const char *path = o->args[0];
    struct inspection i = {.name = strcmp(path, "-") ? path : "standard input", .options = o};
    uint8_t *data;
    int error = load_code(image_load(path, &data, &i.size, i.why), EX_NOINPUT);
    if (!error) {
        error = read_image(&i, data);
        free(data);
    }
    if (error && !i.damaged) {
        report_error("%s", i.why);
        return error;
    }
    if (o->json)
        print_json(&i);
    else
        print_all(&i);
    fflush(stdout);
    if (!i.damaged) {
        image_free(&i.image);
        return 0;
    }
    if (!o->json)
        report_error("%s", i.why);
    return EX_DATAERR;
}
