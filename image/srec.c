/* SPDX-License-Identifier: MIT */
#include "image/srec.h"
#include "image/records.h"
#include "image/why.h"

#include <string.h>

enum kind { KIND_HEADER, KIND_DATA, KIND_COUNT, KIND_END, KIND_UNKNOWN };

// clang-format off
static const struct type { enum kind kind; unsigned width; /* address bytes */ } types[10] = {
    ['0' - '0'] = {KIND_HEADER,  2},
    ['1' - '0'] = {KIND_DATA,    2},
    ['2' - '0'] = {KIND_DATA,    3},
    ['3' - '0'] = {KIND_DATA,    4},
    ['4' - '0'] = {KIND_UNKNOWN, 0}, /* reserved */
    ['5' - '0'] = {KIND_COUNT,   2},
    ['6' - '0'] = {KIND_COUNT,   3},
    ['7' - '0'] = {KIND_END,     4},
    ['8' - '0'] = {KIND_END,     3},
    ['9' - '0'] = {KIND_END,     2},
};
// clang-format on

enum { LINE_BYTES = 16, COUNT_MAX = 0xFFFFFF };

struct reader {
    struct image *image;
    const char *name;
    char *why;
    struct records records;
    unsigned first_line; /* that is not blank; 0: none yet */
    uint32_t data_records;
    bool counted; /* the last record was a count */
    bool ended;
    struct content { /* of the last data record: address and data */
        unsigned width, size, line;
        uint8_t begin[4];
    } last;
};

bool srec_detect(const uint8_t *data, size_t size)
{
    return records_detect(data, size, 'S', true);
}

#define complain(reader, ...)                                                                      \
    why_line((reader)->why, (reader)->name, (reader)->records.line, __VA_ARGS__)

/* Turns "S3…" into bytes behind its type: count, address, data, checksum. 0, or -1. */
static int decode(
    const struct reader *r, const uint8_t *text, size_t size, uint8_t record[RECORDS_BYTES])
{
    if (text[0] != 'S' || size < 2 || text[1] < '0' || text[1] > '9')
        return complain(r, "a record must begin with S and a digit; the file is damaged");
    const struct type *type = &types[text[1] - '0'];
    if (type->kind == KIND_UNKNOWN)
        return complain(r, "S4 is no record type; the file is damaged");
    int length = records_decode(text + 2, size - 2, record);
    if (length < 0)
        return complain(r, "not pairs of hexadecimal digits; the file is damaged or cut short");
    if (length < (int)type->width + 2)
        return complain(r, "the record is too short; the file is damaged or cut short");
    if (record[0] != length - 1)
        return complain(
            r, "the record says %u bytes and has %d; the file is damaged", record[0], length - 1);
    uint8_t sum = 0xFF;
    for (int i = 0; i < length - 1; i++)
        sum = (uint8_t)(sum - record[i]);
    if (sum != record[length - 1])
        return complain(r, "the checksum is 0x%02x and should be 0x%02x; the file is damaged",
            record[length - 1], sum);
    return 0;
}

static uint32_t get_address(const uint8_t *bytes, unsigned width)
{
    uint32_t addr = 0;
    for (unsigned i = 0; i < width; i++)
        addr = addr << 8 | bytes[i];
    return addr;
}

/* The one character that no checksum covers is the type: a damaged S3 is a good S0, S5, S7 but for what those
 * may hold, and for where they may stand. */
static int check_kind(const struct reader *r, char digit, const uint8_t *record)
{
    const struct type *type = &types[digit - '0'];
    if ((type->kind == KIND_COUNT || type->kind == KIND_END) && record[0] != type->width + 1)
        return complain(r, "an S%c holds no data; the file is damaged", digit);
    if (type->kind != KIND_HEADER)
        return 0;
    if (r->records.line != r->first_line || get_address(record + 1, type->width))
        return complain(r, "an S0 comes first and for address 0; the file is damaged");
    return 0;
}

static uint32_t start_of(const struct content *c, unsigned width)
{
    return get_address(c->begin, width);
}

/* Whether b, with that many address bytes, goes on where a ends with so many. */
static bool follows(
    const struct content *a, unsigned a_width, const struct content *b, unsigned b_width)
{
    return a->size >= a_width && b->size >= b_width &&
           start_of(b, b_width) == start_of(a, a_width) + a->size - a_width;
}

/* A damaged S3 is a good S2, too, for another address: of two records of different types, one is damaged if
 * they would fit together as of the same. */
static int check_type(struct reader *r, unsigned width, const uint8_t *record)
{
    const struct content last = r->last;
    r->last = (struct content){.width = width, .size = record[0] - 1U, .line = r->records.line};
    memcpy(r->last.begin, record + 1, sizeof r->last.begin);
    if (last.size == 0 || last.width == width)
        return 0;
    if (follows(&last, last.width, &r->last, last.width))
        return complain(r, "an S%u that goes on after an S%u if it is one; the file is damaged",
            width - 1, last.width - 1);
    if (follows(&last, width, &r->last, width))
        return complain(r, "an S%u that goes on after line %u if that is one; the file is damaged",
            width - 1, last.line);
    return 0;
}

static int add_data(struct reader *r, uint32_t addr, const uint8_t *data, uint32_t size)
{
    r->data_records++;
    if (size && addr > UINT32_MAX - (size - 1))
        return complain(r, "the data ends behind the last address; the file is damaged");
    if (image_add(r->image, IMAGE_ANY_ALT, addr, data, size))
        return why_memory(r->why, r->name);
    return 0;
}

/* The count has two or three bytes; of more records it holds what fits. */
static int check_count(struct reader *r, uint32_t count, unsigned width)
{
    uint32_t mask = (UINT32_C(1) << 8 * width) - 1;
    if (count != (r->data_records & mask))
        return complain(r, "there were %u data records and should be %u; lines are missing",
            r->data_records, count);
    r->counted = true;
    return 0;
}

static int apply(struct reader *r, const struct type *type, const uint8_t *record)
{
    uint32_t addr = get_address(record + 1, type->width);
    r->counted = false;
    switch (type->kind) {
    case KIND_DATA:
        if (check_type(r, type->width, record))
            return -1;
        return add_data(r, addr, record + 1 + type->width, record[0] - type->width - 1);
    case KIND_COUNT:
        return check_count(r, addr, type->width);
    case KIND_END:
        r->image->entry = addr;
        r->ended = true;
        return 0;
    case KIND_HEADER:  /* a name, for people */
    case KIND_UNKNOWN: /* refused by decode() */
        break;
    }
    return 0;
}

static int read_line(struct reader *r, const uint8_t *text, size_t size)
{
    uint8_t record[RECORDS_BYTES] = {0};
    if (r->first_line == 0)
        r->first_line = r->records.line;
    if (r->ended)
        return complain(
            r, "there is more after the end record; two files joined? Give them one by one");
    if (decode(r, text, size, record) || check_kind(r, (char)text[1], record))
        return -1;
    return apply(r, &types[text[1] - '0'], record);
}

int srec_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
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
    if (!r.ended && !r.counted)
        return complain(&r, "neither an end record nor a count of records follows; the file is cut "
                            "short, copy it again");
    return 0;
}

/* --- making -------------------------------------------------------------------------------------- */

static void add_record(
    struct out *out, char type, uint32_t addr, const uint8_t *data, uint32_t size)
{
    unsigned width = types[type - '0'].width;
    char text[2 + 2 * (1 + 4 + LINE_BYTES + 1) + 1] = {'S', type};
    uint8_t record[1 + 4 + LINE_BYTES + 1] = {(uint8_t)(width + size + 1)};
    for (unsigned i = 0; i < width; i++)
        record[1 + i] = (uint8_t)(addr >> 8 * (width - 1 - i));
    if (size)
        memcpy(record + 1 + width, data, size);
    uint8_t sum = 0xFF;
    for (unsigned i = 0; i < record[0]; i++)
        sum = (uint8_t)(sum - record[i]);
    record[record[0]] = sum;
    char *end = records_encode(text + 2, record, record[0] + 1U);
    *end++ = '\n';
    out_add(out, text, (size_t)(end - text));
}

/* Returns how many records it took. */
static uint32_t add_segment(struct out *out, char type, const struct image_segment *s)
{
    uint32_t count = 0;
    for (uint32_t at = 0, n; at < s->size; at += n, count++) {
        n = LINE_BYTES - (s->addr + at) % LINE_BYTES;
        if (n > s->size - at)
            n = s->size - at;
        add_record(out, type, s->addr + at, s->data + at, n);
    }
    return count;
}

static unsigned width_for(const struct image *image)
{
    const struct image_segment *last = &image->segments[image->count - 1];
    uint32_t highest = last->addr + (last->size - 1);
    if (image->entry > highest)
        highest = image->entry;
    return highest > 0xFFFFFF ? 4 : highest > 0xFFFF ? 3 : 2;
}

int srec_make(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE])
{
    unsigned width = width_for(image);
    uint32_t count = 0;
    (void)name, (void)why; /* every image can be told in S-records */
    add_record(out, '0', 0, NULL, 0);
    for (size_t i = 0; i < image->count; i++)
        count += add_segment(out, (char)('0' + width - 1), &image->segments[i]);
    if (count <= COUNT_MAX)
        add_record(out, count > 0xFFFF ? '6' : '5', count, NULL, 0);
    add_record(out, (char)('0' + 11 - width), image->entry, NULL, 0);
    return 0;
}
