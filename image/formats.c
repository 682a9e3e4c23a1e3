/* SPDX-License-Identifier: MIT */
/* The formats, and what each can do: a row each. ELF is only recognised here (see image/file.h). */
#include "image/bytes.h"
#include "image/dfuse.h"
#include "image/hex.h"
#include "image/raw.h"
#include "image/srec.h"
#include "image/uf2.h"
#include "image/why.h"

#include <stdlib.h>

/* TIS ELF 1.2, figure 1-4. */
static bool elf_detect(const uint8_t *data, size_t size)
{
    return size >= 4 && resembles(data,
                            "\x7F"
                            "ELF",
                            4);
}

typedef int parse_function(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);
typedef int make_function(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE]);

// clang-format off
static const struct format {
    const char *name;
    bool (*detect)(const uint8_t *data, size_t size);
    parse_function *parse;
    make_function *make;
} formats[] = {
    [IMAGE_RAW]   = {"raw",       NULL,         NULL,        raw_make},
    [IMAGE_ELF]   = {"ELF",       elf_detect,   NULL,        NULL},
    [IMAGE_HEX]   = {"Intel HEX", hex_detect,   hex_parse,   hex_make},
    [IMAGE_DFUSE] = {"DfuSe",     dfuse_detect, dfuse_parse, dfuse_make},
    [IMAGE_SREC]  = {"S-record",  srec_detect,  srec_parse,  srec_make},
    [IMAGE_UF2]   = {"UF2",       uf2_detect,   uf2_parse,   uf2_make},
};
// clang-format on

enum { FORMATS = sizeof formats / sizeof formats[0] };

const char *image_format_name(enum image_format format)
{
    return formats[format].name;
}

enum image_format image_detect(const uint8_t *data, size_t size)
{
    for (unsigned i = 0; i < FORMATS; i++)
        if (formats[i].detect && formats[i].detect(data, size))
            return (enum image_format)i;
    return IMAGE_RAW;
}

static int parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    uint32_t raw_addr, char why[IMAGE_ERROR_SIZE])
{
    if (size == 0)
        return why_file(why, name, "is empty; did the build fail?");
    const struct format *format = &formats[image->format];
    if (format->parse)
        return format->parse(image, name, data, size, why);
    if (image->format == IMAGE_ELF)
        return why_file(why, name, "is an ELF file, which is not read here; give the HEX file");
    return raw_parse(image, name, data, size, raw_addr, why);
}

int image_parse_plain(struct image *image, const char *name, const uint8_t *data, size_t size,
    uint32_t raw_addr, char why[IMAGE_ERROR_SIZE])
{
    image_init(image, image_detect(data, size));
    int err = parse(image, name, data, size, raw_addr, why);
    if (!err)
        err = image_settle(image, name, why);
    if (err)
        image_free(image);
    return err;
}

/* Only a .dfu file names alternate settings; elsewhere the parts of two would become one memory. */
static bool has_one_alt(const struct image *image)
{
    for (size_t i = 1; i < image->count; i++)
        if (image->segments[i].alt != image->segments[0].alt)
            return false;
    return true;
}

static int make(const struct image *image, const char *name, enum image_format format,
    struct out *out, char why[IMAGE_ERROR_SIZE])
{
    if (image->count == 0)
        return why_file(why, name, "cannot be made of nothing");
    if (format != IMAGE_DFUSE && !has_one_alt(image))
        return why_file(why, name,
            "would need several alternate settings, which only a .dfu file can name; unpack");
    if (!formats[format].make)
        return why_file(why, name, "cannot be made: ELF files come from the linker");
    int err = formats[format].make(image, name, out, why);
    return !err && out->failed ? why_memory(why, name) : err;
}

int image_make(const struct image *image, const char *name, enum image_format format,
    uint8_t **data, size_t *size, char why[IMAGE_ERROR_SIZE])
{
    struct out out = {0};
    int err = make(image, name, format, &out, why);
    if (err) {
        free(out.data);
        return err;
    }
    *data = out.data;
    *size = out.size;
    return 0;
}
