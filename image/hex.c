/* SPDX-License-Identifier: MIT */
#include "image/hex.h"
#include "image/records.h"
#include "image/why.h"

#include <string.h>

enum record_type {
    RECORD_DATA,
    RECORD_END,
    RECORD_SEGMENT,
    RECORD_SEGMENT_ENTRY,
    RECORD_LINEAR,
    RECORD_LINEAR_ENTRY,
    RECORD_TYPES,
};

enum { RECORD_HEAD = 4 /* count, address, type */, LINE_BYTES = 16 };

struct reader {
    struct image *image;
    const char *name;
    char *why;
    struct records records;
    uint32_t base;
    bool segmented; /* offsets wrap at 64 KiB (type 02), else at 4 GiB (type 04) */
    bool ended;
};

bool hex_detect(const uint8_t *data, size_t size)
{
    return records_detect(data, size, ':', false);
}

#define complain(reader, ...)                                                                      \
    why_line((reader)->why, (reader)->name, (reader)->records.line, __VA_ARGS__)

/* Turns ":10…" into bytes; their count, or -1. */
static int decode(
    const struct reader *r, const uint8_t *text, size_t size, uint8_t record[RECORDS_BYTES])
{
    if (text[0] != ':')
        return complain(r, "a record must begin with ':'; the file is damaged");
    int length = records_decode(text + 1, size - 1, record);
    if (length < 0)
        return complain(r, "not pairs of hexadecimal digits; the file is damaged or cut short");
    if (length < RECORD_HEAD + 1)
        return complain(r, "the record is too short; the file is damaged or cut short");
    return length;
}

static int check(const struct reader *r, const uint8_t *record, int size)
{
    if (size != RECORD_HEAD + record[0] + 1)
        return complain(r, "the record says %u data bytes and has %d; the file is damaged",
            record[0], size - RECORD_HEAD - 1);
    uint8_t sum = 0;
    for (int i = 0; i < size - 1; i++)
        sum = (uint8_t)(sum - record[i]);
    if (sum != record[size - 1])
        return complain(r, "the checksum is 0x%02x and should be 0x%02x; the file is damaged",
            record[size - 1], sum);
    // clang-format off
    static const int lengths[RECORD_TYPES] = {
        [RECORD_DATA] = -1, [RECORD_END] = 0, [RECORD_SEGMENT] = 2, [RECORD_SEGMENT_ENTRY] = 4,
        [RECORD_LINEAR] = 2, [RECORD_LINEAR_ENTRY] = 4,
    };
    // clang-format on
    if (record[3] >= RECORD_TYPES)
        return complain(r, "record type %02x is unknown; the file is damaged", record[3]);
    if (lengths[record[3]] >= 0 && record[0] != lengths[record[3]])
        return complain(r,
            "a record of type %02x has %u data bytes and not %d; the file is damaged", record[3],
            record[0], lengths[record[3]]);
    return 0;
}

static int add_data(struct reader *r, uint32_t offset, const uint8_t *data, uint32_t size)
{
    uint32_t before_wrap = r->segmented && offset + size > 0x10000 ? 0x10000 - offset : size;
    uint64_t end = (uint64_t)r->base + offset + before_wrap;
    if (end > (uint64_t)UINT32_MAX + 1)
        return complain(r, "the data ends behind the last address; the file is damaged");
    if (image_add(r->image, IMAGE_ANY_ALT, r->base + offset, data, before_wrap) ||
        image_add(r->image, IMAGE_ANY_ALT, r->base, data + before_wrap, size - before_wrap))
        return why_memory(r->why, r->name);
    return 0;
}

static int apply(struct reader *r, const uint8_t *record)
{
    uint32_t offset = (uint32_t)(record[1] << 8 | record[2]);
    uint32_t high = (uint32_t)(record[4] << 8 | record[5]);
    uint32_t low = (uint32_t)(record[6] << 8 | record[7]);
    switch ((enum record_type)record[3]) {
    case RECORD_DATA:
        return add_data(r, offset, record + RECORD_HEAD, record[0]);
    case RECORD_SEGMENT:
        r->base = high << 4;
        r->segmented = true;
        return 0;
    case RECORD_SEGMENT_ENTRY: /* CS:IP */
        r->image->entry = (high << 4) + low;
        return 0;
    case RECORD_LINEAR:
        r->base = high << 16;
        r->segmented = false;
        return 0;
    case RECORD_LINEAR_ENTRY:
        r->image->entry = high << 16 | low;
        return 0;
    case RECORD_END:
    case RECORD_TYPES: /* refused by check() */
        break;
    }
    r->ended = true;
    return 0;
}

static int read_line(struct reader *r, const uint8_t *text, size_t size)
{
    uint8_t record[RECORDS_BYTES] = {0};
    if (r->ended)
        return complain(
            r, "there is more after the end record; two files joined? Give them one by one");
    int length = decode(r, text, size, record);
    if (length < 0 || check(r, record, length))
        return -1;
    return apply(r, record);
}

int hex_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE])
{
    struct reader r = {
        .image = image, .name = name, .why = why, .records = {.at = data, .end = data + size}
    };
    const uint8_t *text;
    size_t length;
    int err = 0;
    while (!err && records_next(&r.records, &text, &length))
        err = read_line(&r, text, length);
    if (err)
        return err;
    if (!r.ended)
        return complain(&r, "the end record is missing; the file is cut short, copy it again");
    return 0;
}

/* --- making -------------------------------------------------------------------------------------- */

static void add_record(
    struct out *out, enum record_type type, uint32_t offset, const uint8_t *data, uint32_t size)
{
    char text[1 + 2 * (RECORD_HEAD + LINE_BYTES + 1) + 1] = ":";
    uint8_t record[RECORD_HEAD + LINE_BYTES + 1] = {
        (uint8_t)size, (uint8_t)(offset >> 8), (uint8_t)offset, (uint8_t)type};
    if (size)
        memcpy(record + RECORD_HEAD, data, size);
    uint8_t sum = 0;
    for (uint32_t i = 0; i < RECORD_HEAD + size; i++)
        sum = (uint8_t)(sum - record[i]);
    record[RECORD_HEAD + size] = sum;
    char *end = records_encode(text + 1, record, RECORD_HEAD + size + 1);
    *end++ = '\n';
    out_add(out, text, (size_t)(end - text));
}

static void add_address(struct out *out, enum record_type type, uint32_t value, uint32_t size)
{
    uint8_t bytes[4];
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> 8 * (size - 1 - i));
    add_record(out, type, 0, bytes, size);
}

/* A record ends where the next multiple of its length begins, so that none straddles 64 KiB. */
static void add_segment(struct out *out, const struct image_segment *s, uint32_t *base)
{
    for (uint32_t at = 0, n; at < s->size; at += n) {
        uint32_t addr = s->addr + at;
        n = LINE_BYTES - addr % LINE_BYTES;
        if (n > s->size - at)
            n = s->size - at;
        if (addr >> 16 != *base)
            add_address(out, RECORD_LINEAR, *base = addr >> 16, 2);
        add_record(out, RECORD_DATA, addr & 0xFFFF, s->data + at, n);
    }
}

int hex_make(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE])
{
    uint32_t base = 0;
    (void)name, (void)why; /* every image can be told in HEX */
    for (size_t i = 0; i < image->count; i++)
        add_segment(out, &image->segments[i], &base);
    if (image->entry)
        add_address(out, RECORD_LINEAR_ENTRY, image->entry, 4);
    add_record(out, RECORD_END, 0, NULL, 0);
    return 0;
}
