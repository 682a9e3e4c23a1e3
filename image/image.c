/* SPDX-License-Identifier: MIT */
#include "image/image.h"
#include "image/dfuse.h"
#include "image/elf.h"
#include "image/hex.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_SIZE_MAX = 256 << 20 }; /* nothing that is flashed is larger; keeps /dev/zero away */

/* Formats that are recognised only to be refused: flashed as raw bytes they leave a dead board. */
static bool srec_detect(const uint8_t *data, size_t size)
{
    if (size < 10 || data[0] != 'S' || data[1] < '0' || data[1] > '9')
        return false;
    for (size_t i = 2; i < 10; i++)
        if (!memchr("0123456789ABCDEFabcdef", data[i], 22))
            return false;
    return true;
}

static bool uf2_detect(const uint8_t *data, size_t size)
{
    return size >= 8 && memcmp(data, "UF2\n\x57\x51\x5D\x9E", 8) == 0;
}

typedef int parse_function(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);

// clang-format off
static const struct format {
    enum image_format format;
    bool (*detect)(const uint8_t *data, size_t size);
    parse_function *parse; /* NULL: known, and refused */
    const char *refusal;
} formats[] = {
    {IMAGE_ELF,   elf_detect,   elf_parse,   NULL},
    {IMAGE_DFUSE, dfuse_detect, dfuse_parse, NULL},
    {IMAGE_HEX,   hex_detect,   hex_parse,   NULL},
    {IMAGE_RAW,   srec_detect,  NULL, "is a Motorola S-record file, which is not supported; give the ELF "
                                      "file, or objcopy -I srec -O ihex"},
    {IMAGE_RAW,   uf2_detect,   NULL, "is a UF2 file, which is not supported; give the ELF, HEX or .bin "
                                      "file that it was made from"},
};
// clang-format on

const char *image_format_name(enum image_format format)
{
    static const char *const names[] = {[IMAGE_RAW] = "raw",
        [IMAGE_ELF] = "ELF",
        [IMAGE_HEX] = "Intel HEX",
        [IMAGE_DFUSE] = "DfuSe"};
    return names[format];
}

void image_init(struct image *image, enum image_format format)
{
    *image = (struct image){.format = format, .vendor = 0xFFFF, .product = 0xFFFF};
}

void image_free(struct image *image)
{
    for (size_t i = 0; i < image->count; i++)
        free(image->segments[i].data);
    free(image->segments);
    image->segments = NULL;
    image->count = 0;
}

/* Appends to a segment; -1 when memory is short. */
static int extend(struct image_segment *segment, const uint8_t *data, size_t size)
{
    uint8_t *grown = realloc(segment->data, segment->size + size);
    if (!grown)
        return -1;
    memcpy(grown + segment->size, data, size);
    segment->data = grown;
    segment->size += (uint32_t)size;
    return 0;
}

static bool continues(const struct image_segment *s, uint8_t alt, uint32_t addr)
{
    return s->alt == alt && (uint64_t)s->addr + s->size == addr;
}

int image_add(struct image *image, uint8_t alt, uint32_t addr, const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (size > (uint64_t)UINT32_MAX + 1 - addr || size > UINT32_MAX)
        return -1;
    if (image->count && continues(&image->segments[image->count - 1], alt, addr))
        return extend(&image->segments[image->count - 1], data, size);
    struct image_segment *grown =
        realloc(image->segments, (image->count + 1) * sizeof image->segments[0]);
    if (!grown)
        return -1;
    image->segments = grown;
    struct image_segment *segment = &grown[image->count];
    *segment = (struct image_segment){.addr = addr, .alt = alt};
    if (extend(segment, data, size))
        return -1;
    image->count++;
    return 0;
}

static int by_alt_and_address(const void *left, const void *right)
{
    const struct image_segment *a = left, *b = right;
    if (a->alt != b->alt)
        return a->alt < b->alt ? -1 : 1;
    return (a->addr > b->addr) - (a->addr < b->addr);
}

int image_settle(struct image *image, const char *name, char why[IMAGE_ERROR_SIZE])
{
    if (image->count == 0) {
        snprintf(why, IMAGE_ERROR_SIZE, "%s holds nothing to write", name);
        return -1;
    }
    qsort(image->segments, image->count, sizeof image->segments[0], by_alt_and_address);
    size_t kept = 0;
    for (size_t i = 1; i < image->count; i++) {
        struct image_segment *last = &image->segments[kept], *next = &image->segments[i];
        if (last->alt == next->alt && (uint64_t)last->addr + last->size > next->addr) {
            snprintf(why, IMAGE_ERROR_SIZE,
                "%s puts two parts at 0x%08x (0x%08x-0x%08x and 0x%08x-0x%08x); build it again",
                name, next->addr, last->addr, last->addr + last->size - 1, next->addr,
                next->addr + next->size - 1);
            return -1;
        }
        if (!continues(last, next->alt, next->addr)) {
            struct image_segment moved = *next;
            next->data = NULL;
            image->segments[++kept] = moved;
            continue;
        }
        if (extend(last, next->data, next->size)) {
            snprintf(why, IMAGE_ERROR_SIZE, "%s: out of memory", name);
            return -1;
        }
        free(next->data);
        next->data = NULL;
    }
    image->count = kept + 1;
    return 0;
}

/* A file of unknown content is bytes for raw_addr; a DFU suffix, which some build systems append to
 * their .bin, is not part of them. */
static int raw_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    uint32_t raw_addr, char why[IMAGE_ERROR_SIZE])
{
    size -= dfuse_suffix(data, size, &image->vendor, &image->product);
    if (size > (uint64_t)UINT32_MAX + 1 - raw_addr) {
        snprintf(why, IMAGE_ERROR_SIZE, "%s (%zu bytes) at 0x%08x ends behind the last address",
            name, size, raw_addr);
        return -1;
    }
    if (image_add(image, IMAGE_ANY_ALT, raw_addr, data, size)) {
        snprintf(why, IMAGE_ERROR_SIZE, "%s: out of memory", name);
        return -1;
    }
    return 0;
}

static int parse_as(struct image *image, const struct format *format, const char *name,
    const uint8_t *data, size_t size, char why[IMAGE_ERROR_SIZE])
{
    image->format = format->format;
    if (format->parse)
        return format->parse(image, name, data, size, why);
    snprintf(why, IMAGE_ERROR_SIZE, "%s %s", name, format->refusal);
    return -1;
}

int image_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    uint32_t raw_addr, char why[IMAGE_ERROR_SIZE])
{
    image_init(image, IMAGE_RAW);
    if (size == 0) {
        snprintf(why, IMAGE_ERROR_SIZE, "%s is empty; did the build fail?", name);
        return -1;
    }
    const struct format *format = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0] && !format; i++)
        if (formats[i].detect(data, size))
            format = &formats[i];
    int err = format ? parse_as(image, format, name, data, size, why)
                     : raw_parse(image, name, data, size, raw_addr, why);
    if (!err)
        err = image_settle(image, name, why);
    if (err)
        image_free(image);
    return err;
}

/* Reads to the end of the file. A file that grows past all bounds is given up. */
static int slurp(FILE *file, uint8_t **data, size_t *size)
{
    size_t room = 1 << 16, used = 0;
    uint8_t *buffer = malloc(room);
    while (buffer) {
        used += fread(buffer + used, 1, room - used, file);
        if (used < room)
            break;
        errno = EFBIG;
        uint8_t *grown = room < FILE_SIZE_MAX ? realloc(buffer, room *= 2) : NULL;
        if (!grown)
            free(buffer);
        buffer = grown;
    }
    if (buffer && ferror(file)) {
        free(buffer);
        buffer = NULL;
    }
    *data = buffer;
    *size = used;
    return buffer ? 0 : -1;
}

int image_load(const char *path, uint8_t **data, size_t *size, char why[IMAGE_ERROR_SIZE])
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    int err = file ? slurp(file, data, size) : -1;
    if (err)
        snprintf(why, IMAGE_ERROR_SIZE, "cannot read %s: %s", standard ? "standard input" : path,
            strerror(errno));
    if (file && !standard)
        fclose(file);
    return err;
}

int image_read(struct image *image, const char *path, uint32_t raw_addr, char why[IMAGE_ERROR_SIZE])
{
    uint8_t *data;
    size_t size;
    image_init(image, IMAGE_RAW);
    if (image_load(path, &data, &size, why))
        return -1;
    const char *name = strcmp(path, "-") ? path : "standard input";
    int err = image_parse(image, name, data, size, raw_addr, why);
    free(data);
    return err;
}

int image_write_raw(const char *path, const uint8_t *data, size_t size, char why[IMAGE_ERROR_SIZE])
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdout : fopen(path, "wb");
    bool good = file && fwrite(data, 1, size, file) == size && fflush(file) == 0;
    int error = errno;
    if (file && !standard && fclose(file) && good) {
        good = false;
        error = errno;
    }
    if (!good)
        snprintf(why, IMAGE_ERROR_SIZE, "cannot write %s: %s", standard ? "standard output" : path,
            strerror(error));
    return good ? 0 : -1;
}
