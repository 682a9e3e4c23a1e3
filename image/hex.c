/* SPDX-License-Identifier: MIT */
#include "image/hex.h"

#include <stdarg.h>
#include <stdio.h>
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

enum {
    RECORD_HEAD = 4,
    RECORD_MAX = RECORD_HEAD + 255 + 1
}; /* count, address, type; data; checksum */

struct reader {
    struct image *image;
    const char *name;
    char *why;
    unsigned line;
    uint32_t base;
    bool segmented; /* offsets wrap at 64 KiB (type 02), else at 4 GiB (type 04) */
    bool ended;
};

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The first line that is not blank is text and begins with a colon; what follows may be damaged. */
bool hex_detect(const uint8_t *data, size_t size)
{
    size_t i = 0;
    while (i < size && is_space(data[i]))
        i++;
    if (i == size || data[i] != ':')
        return false;
    for (size_t end = i + 64; i < size && i < end && data[i] != '\n' && data[i] != '\r'; i++)
        if (data[i] < ' ' || data[i] > '~')
            return false;
    return true;
}

__attribute__((format(printf, 2, 3))) static int complain(
    const struct reader *r, const char *format, ...)
{
    int n = snprintf(r->why, IMAGE_ERROR_SIZE, "%s, line %u: ", r->name, r->line);
    va_list args;
    va_start(args, format);
    if (n > 0 && n < IMAGE_ERROR_SIZE)
        vsnprintf(r->why + n, (size_t)(IMAGE_ERROR_SIZE - n), format, args);
    va_end(args);
    return -1;
}

static int digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* Turns ":10…" into bytes; their count, or -1. */
static int decode(
    const struct reader *r, const uint8_t *text, size_t size, uint8_t record[RECORD_MAX])
{
    if (text[0] != ':')
        return complain(r, "a record must begin with ':'; the file is damaged");
    if (size % 2 == 0 || size < 1 + 2 * (RECORD_HEAD + 1) || size > 1 + 2 * RECORD_MAX)
        return complain(r, "the record has an impossible length; the file is damaged or cut short");
    for (size_t i = 1; i < size; i += 2) {
        int high = digit(text[i]), low = digit(text[i + 1]);
        if (high < 0 || low < 0)
            return complain(r, "a character is no hexadecimal digit; the file is damaged");
        record[i / 2] = (uint8_t)(high << 4 | low);
    }
    return (int)(size / 2);
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
        return complain(r, "out of memory");
    return 0;
}

static int apply(struct reader *r, const uint8_t *record)
{
    uint32_t offset = (uint32_t)(record[1] << 8 | record[2]);
    uint32_t value = (uint32_t)(record[4] << 8 | record[5]);
    switch ((enum record_type)record[3]) {
    case RECORD_DATA:
        return add_data(r, offset, record + RECORD_HEAD, record[0]);
    case RECORD_END:
        r->ended = true;
        return 0;
    case RECORD_SEGMENT:
        r->base = value << 4;
        r->segmented = true;
        return 0;
    case RECORD_LINEAR:
        r->base = value << 16;
        r->segmented = false;
        return 0;
    case RECORD_SEGMENT_ENTRY:
    case RECORD_LINEAR_ENTRY:
    case RECORD_TYPES:
        return 0;
    }
    return 0;
}

static int read_line(struct reader *r, const uint8_t *text, size_t size)
{
    uint8_t record[RECORD_MAX] = {0};
    while (size && is_space(text[size - 1]))
        size--;
    while (size && is_space(text[0])) {
        text++;
        size--;
    }
    if (size == 0)
        return 0;
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
    struct reader r = {.image = image, .name = name, .why = why};
    for (size_t at = 0; at < size;) {
        const uint8_t *newline = memchr(data + at, '\n', size - at);
        size_t length = newline ? (size_t)(newline - data) - at : size - at;
        r.line++;
        if (read_line(&r, data + at, length))
            return -1;
        at += length + 1;
    }
    if (!r.ended)
        return complain(&r, "the end record is missing; the file is cut short, copy it again");
    return 0;
}
