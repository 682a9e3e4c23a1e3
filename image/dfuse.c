/* SPDX-License-Identifier: MIT */
#include "image/dfuse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { /* sizes and offsets of UM0391; all numbers little endian, nothing aligned */
    PREFIX_SIZE = 11,
    PREFIX_VERSION = 5,
    PREFIX_IMAGE_SIZE = 6,
    PREFIX_TARGETS = 10,
    TARGET_SIZE = 274,
    TARGET_ALT = 6,
    TARGET_NAMED = 7,
    TARGET_NAME = 11,
    TARGET_BYTES = 266,
    TARGET_ELEMENTS = 270,
    ELEMENT_SIZE = 8,
    SUFFIX_SIZE = 16, /* offsets in the suffix */
    SUFFIX_PRODUCT = 2,
    SUFFIX_VENDOR = 4,
    SUFFIX_DFU = 6,
    SUFFIX_SIGNATURE = 8,
    SUFFIX_LENGTH = 11,
    SUFFIX_CRC = 12,
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)v);
    put16(p + 2, (uint16_t)(v >> 16));
}

static uint32_t suffix_crc(const uint8_t *data, size_t size)
{
    return ~(uint32_t)crc32_z(0, data, size);
}

__attribute__((format(printf, 3, 4))) static int complain(
    char why[IMAGE_ERROR_SIZE], const char *name, const char *format, ...)
{
    int n = snprintf(why, IMAGE_ERROR_SIZE, "%s ", name);
    va_list args;
    va_start(args, format);
    if (n > 0 && n < IMAGE_ERROR_SIZE)
        vsnprintf(why + n, (size_t)(IMAGE_ERROR_SIZE - n), format, args);
    va_end(args);
    return -1;
}

bool dfuse_detect(const uint8_t *data, size_t size)
{
    return size >= 5 && memcmp(data, "DfuSe", 5) == 0;
}

/* The suffix without regard to its CRC; its length, or 0. */
static size_t suffix_length(const uint8_t *data, size_t size)
{
    if (size < SUFFIX_SIZE)
        return 0;
    const uint8_t *suffix = data + size - SUFFIX_SIZE;
    size_t length = suffix[SUFFIX_LENGTH];
    if (memcmp(suffix + SUFFIX_SIGNATURE, "UFD", 3) || length < SUFFIX_SIZE || length > size)
        return 0;
    return length;
}

size_t dfuse_suffix(const uint8_t *data, size_t size, uint16_t *vendor, uint16_t *product)
{
    size_t length = suffix_length(data, size);
    if (!length || suffix_crc(data, size - 4) != get32(data + size - 4))
        return 0;
    *vendor = get16(data + size - SUFFIX_SIZE + SUFFIX_VENDOR);
    *product = get16(data + size - SUFFIX_SIZE + SUFFIX_PRODUCT);
    return length;
}

/* Reads the elements of one target from *at on; end is where the suffix begins. */
static int parse_elements(struct image *image, const char *name, const uint8_t *data, size_t *at,
    size_t end, const uint8_t *target, char why[IMAGE_ERROR_SIZE])
{
    size_t begin = *at;
    for (uint32_t n = get32(target + TARGET_ELEMENTS); n; n--) {
        if (end - *at < ELEMENT_SIZE)
            return complain(why, name, "announces more elements than it has; the file is damaged");
        uint32_t addr = get32(data + *at), size = get32(data + *at + 4);
        *at += ELEMENT_SIZE;
        if (size > end - *at)
            return complain(why, name,
                "has an element of %u bytes for 0x%08x that ends behind the "
                "file's; the file is damaged",
                size, addr);
        if (size > (uint64_t)UINT32_MAX + 1 - addr)
            return complain(why, name,
                "has an element of %u bytes for 0x%08x, which ends behind the "
                "last address; the file is damaged",
                size, addr);
        if (image_add(image, target[TARGET_ALT], addr, data + *at, size))
            return complain(why, name, ": out of memory");
        *at += size;
    }
    if (*at - begin != get32(target + TARGET_BYTES))
        return complain(why, name,
            "has a target of %u bytes whose elements take %zu; the file is damaged",
            get32(target + TARGET_BYTES), *at - begin);
    return 0;
}

static int parse_targets(struct image *image, const char *name, const uint8_t *data, size_t end,
    char why[IMAGE_ERROR_SIZE])
{
    size_t at = PREFIX_SIZE;
    for (unsigned n = data[PREFIX_TARGETS]; n; n--) {
        const uint8_t *target = data + at;
        if (end - at < TARGET_SIZE || memcmp(target, "Target", 6))
            return complain(why, name, "announces %u targets and has fewer; the file is damaged",
                data[PREFIX_TARGETS]);
        at += TARGET_SIZE;
        if (parse_elements(image, name, data, &at, end, target, why))
            return -1;
    }
    if (at != end)
        return complain(
            why, name, "has %zu bytes after its last element; the file is damaged", end - at);
    return 0;
}

int dfuse_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE])
{
    size_t suffix = suffix_length(data, size);
    if (size < PREFIX_SIZE + SUFFIX_SIZE || !suffix)
        return complain(why, name, "has no DFU suffix at its end; it is cut short, copy it again");
    if (!dfuse_suffix(data, size, &image->vendor, &image->product))
        return complain(why, name,
            "has a wrong checksum (0x%08x, should be 0x%08x); the file is damaged, "
            "copy it again",
            get32(data + size - 4), suffix_crc(data, size - 4));
    if (data[PREFIX_VERSION] != 1)
        return complain(why, name, "is of DfuSe file version %u; only version 1 is known",
            data[PREFIX_VERSION]);
    if (suffix > size - PREFIX_SIZE)
        return complain(why, name, "has a suffix longer than itself; the file is damaged");
    uint32_t announced = get32(data + PREFIX_IMAGE_SIZE);
    if (announced != size && announced != size - suffix)
        return complain(why, name,
            "announces %u bytes and has %zu; it is cut short or damaged, copy it "
            "again",
            announced, size);
    return parse_targets(image, name, data, size - suffix, why);
}

/* How many of the segments from the first on are for the same alternate setting. */
static size_t target_length(const struct image_segment *segments, size_t count)
{
    size_t n = 1;
    while (n < count && segments[n].alt == segments[0].alt)
        n++;
    return n;
}

static uint8_t *put_target(uint8_t *at, const struct image_segment *segments, size_t count)
{
    uint8_t *target = at;
    memset(target, 0, TARGET_SIZE);
    memcpy(target, "Target", 6);
    target[TARGET_ALT] = segments[0].alt == IMAGE_ANY_ALT ? 0 : segments[0].alt;
    target[TARGET_NAMED] = 1;
    memcpy(target + TARGET_NAME, "ST...", 5); /* what everybody's packer writes; nobody reads it */
    put32(target + TARGET_ELEMENTS, (uint32_t)count);
    at += TARGET_SIZE;
    for (size_t i = 0; i < count; i++) {
        put32(at, segments[i].addr);
        put32(at + 4, segments[i].size);
        memcpy(at + ELEMENT_SIZE, segments[i].data, segments[i].size);
        at += ELEMENT_SIZE + segments[i].size;
    }
    put32(target + TARGET_BYTES, (uint32_t)(at - target - TARGET_SIZE));
    return at;
}

static void put_suffix(uint8_t *suffix, size_t before, uint16_t vendor, uint16_t product)
{
    put16(suffix, 0xFFFF);
    put16(suffix + SUFFIX_PRODUCT, product);
    put16(suffix + SUFFIX_VENDOR, vendor);
    put16(suffix + SUFFIX_DFU, 0x011A);
    memcpy(suffix + SUFFIX_SIGNATURE, "UFD", 3);
    suffix[SUFFIX_LENGTH] = SUFFIX_SIZE;
    put32(suffix + SUFFIX_CRC, suffix_crc(suffix - before, before + SUFFIX_CRC));
}

int dfuse_write(const char *path, uint16_t vendor, uint16_t product,
    const struct image_segment *segments, size_t count, char why[IMAGE_ERROR_SIZE])
{
    uint64_t size = PREFIX_SIZE;
    unsigned targets = 0;
    for (size_t i = 0, n; i < count; i += n, targets++) {
        n = target_length(segments + i, count - i);
        size += TARGET_SIZE;
        for (size_t k = i; k < i + n; k++)
            size += ELEMENT_SIZE + (uint64_t)segments[k].size;
    }
    uint8_t *file =
        targets && targets <= 255 && size <= UINT32_MAX ? malloc(size + SUFFIX_SIZE) : NULL;
    if (!file)
        return complain(
            why, path, "cannot be written: %s", targets ? "too large" : "nothing to put in");
    memcpy(file, "DfuSe\x01", 6);
    put32(file + PREFIX_IMAGE_SIZE, (uint32_t)size);
    file[PREFIX_TARGETS] = (uint8_t)targets;
    uint8_t *at = file + PREFIX_SIZE;
    for (size_t i = 0, n; i < count; i += n) {
        n = target_length(segments + i, count - i);
        at = put_target(at, segments + i, n);
    }
    put_suffix(at, size, vendor, product);
    int err = image_write_raw(path, file, size + SUFFIX_SIZE, why);
    free(file);
    return err;
}
