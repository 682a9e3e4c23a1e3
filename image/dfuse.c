/* SPDX-License-Identifier: MIT */
#include "image/dfuse.h"
#include "image/bytes.h"
#include "image/suffix.h"
#include "image/why.h"

#include <stdio.h>
#include <string.h>

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
    TARGETS_MAX = 255,
};

static const char signature[] = "DfuSe";

bool dfuse_detect(const uint8_t *data, size_t size)
{
    return size >= sizeof signature - 1 && resembles(data, signature, sizeof signature - 1);
}

/* Reads the elements of one target from *at on; end is where the suffix begins. */
static int parse_elements(struct image *image, const char *name, const uint8_t *data, size_t *at,
    size_t end, const uint8_t *target, char why[IMAGE_ERROR_SIZE])
{
    size_t begin = *at;
    for (uint32_t n = get32(target + TARGET_ELEMENTS); n; n--) {
        if (end - *at < ELEMENT_SIZE)
            return why_byte(why, name, *at,
                "its target announces %u elements and has fewer; the file is damaged",
                get32(target + TARGET_ELEMENTS));
        uint32_t addr = get32(data + *at), size = get32(data + *at + 4);
        if (size > end - *at - ELEMENT_SIZE)
            return why_byte(why, name, *at,
                "an element of %u bytes for 0x%08x ends behind the file's; the file is damaged",
                size, addr);
        if (size > (uint64_t)UINT32_MAX + 1 - addr)
            return why_byte(why, name, *at,
                "an element of %u bytes for 0x%08x ends behind the last address; the file is "
                "damaged",
                size, addr);
        *at += ELEMENT_SIZE;
        if (image_add(image, target[TARGET_ALT], addr, data + *at, size))
            return why_memory(why, name);
        *at += size;
    }
    if (*at - begin != get32(target + TARGET_BYTES))
        return why_byte(why, name, begin,
            "a target of %u bytes has elements of %zu; the file is damaged",
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
            return why_byte(why, name, at,
                "the file announces %u targets and has fewer; it is damaged", data[PREFIX_TARGETS]);
        if (target[TARGET_ALT] == IMAGE_ANY_ALT)
            return why_byte(why, name, at + TARGET_ALT,
                "a target for alternate setting 255, which no device has; the file is damaged");
        at += TARGET_SIZE;
        int err = parse_elements(image, name, data, &at, end, target, why);
        if (err)
            return err;
    }
    if (at != end)
        return why_byte(
            why, name, at, "%zu bytes after the last element; the file is damaged", end - at);
    return 0;
}

static int check_prefix(struct image *image, const char *name, const uint8_t *data, size_t size,
    size_t suffix, char why[IMAGE_ERROR_SIZE])
{
    if (memcmp(data, signature, sizeof signature - 1))
        return why_byte(why, name, 0, "not quite \"DfuSe\"; the file is damaged");
    if (data[PREFIX_VERSION] != 1)
        return why_byte(why, name, PREFIX_VERSION, "DfuSe file version %u; only version 1 is known",
            data[PREFIX_VERSION]);
    uint32_t announced = get32(data + PREFIX_IMAGE_SIZE);
    if (announced != size && announced != size - suffix)
        return why_byte(why, name, PREFIX_IMAGE_SIZE,
            "the file announces %u bytes and has %zu; it is cut short or damaged, copy it again",
            announced, size);
    if (announced == size)
        snprintf(image->note, sizeof image->note,
            "DFUImageSize counts the suffix too, as dfuse-pack does; fwupd refuses such files");
    return 0;
}

int dfuse_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE])
{
    size_t suffix = 0;
    enum suffix_state state = suffix_read(image, data, size, &suffix);
    if (state == SUFFIX_DAMAGED)
        return suffix_complain(name, data, size, why);
    if (state == SUFFIX_NONE)
        return why_byte(why, name, size,
            "the file ends here, and not with a DFU suffix; it is cut short, copy it again");
    if (size - suffix < PREFIX_SIZE)
        return why_byte(why, name, size, "the file ends here, too soon; copy it again");
    if (check_prefix(image, name, data, size, suffix, why))
        return -1;
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

static uint64_t elements_size(const struct image_segment *segments, size_t count)
{
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += ELEMENT_SIZE + (uint64_t)segments[i].size;
    return size;
}

static void add_target(struct out *out, const struct image_segment *segments, size_t count)
{
    uint8_t target[TARGET_SIZE] = "Target", element[ELEMENT_SIZE];
    target[TARGET_ALT] = segments[0].alt == IMAGE_ANY_ALT ? 0 : segments[0].alt;
    target[TARGET_NAMED] = 1;
    memcpy(target + TARGET_NAME, "ST...", 5); /* what everybody's packer writes; nobody reads it */
    put32(target + TARGET_BYTES, (uint32_t)elements_size(segments, count));
    put32(target + TARGET_ELEMENTS, (uint32_t)count);
    out_add(out, target, sizeof target);
    for (size_t i = 0; i < count; i++) {
        put32(element, segments[i].addr);
        put32(element + 4, segments[i].size);
        out_add(out, element, sizeof element);
        out_add(out, segments[i].data, segments[i].size);
    }
}

int dfuse_make(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE])
{
    const struct image_segment *s = image->segments;
    uint64_t size = PREFIX_SIZE + elements_size(s, image->count);
    size_t targets = 0;
    for (size_t i = 0; i < image->count; i += target_length(s + i, image->count - i), targets++)
        size += TARGET_SIZE;
    if (targets > TARGETS_MAX || size > UINT32_MAX - SUFFIX_SIZE)
        return why_file(why, name, "cannot be made: too large for a .dfu file");
    uint8_t prefix[PREFIX_SIZE] = "DfuSe\x01";
    put32(prefix + PREFIX_IMAGE_SIZE, (uint32_t)size);
    prefix[PREFIX_TARGETS] = (uint8_t)targets;
    out_add(out, prefix, sizeof prefix);
    for (size_t i = 0, n; i < image->count; i += n) {
        n = target_length(s + i, image->count - i);
        add_target(out, s + i, n);
    }
    suffix_add(out, image, SUFFIX_DFUSE);
    return 0;
}
