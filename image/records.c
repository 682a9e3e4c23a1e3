/* SPDX-License-Identifier: MIT */
#include "image/records.h"

enum {
    LOOK_AT = 1024,   /* bytes from the beginning that decide what a file is */
    LEAST_DIGITS = 9, /* of the shortest records, S9030000FC and :00000001FF, behind the mark */
};

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// clang-format off
static const uint8_t digit_plus_one[256] = { /* 0: none */
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7, ['7'] = 8, ['8'] = 9, ['9'] = 10,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
    ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};
// clang-format on

bool records_next(struct records *r, const uint8_t **text, size_t *size)
{
    while (r->at < r->end) {
        const uint8_t *begin = r->at, *end = begin;
        while (end < r->end && *end != '\n' && *end != '\r')
            end++;
        bool crlf = r->end - end >= 2 && end[0] == '\r' && end[1] == '\n';
        r->at = end == r->end ? end : end + (crlf ? 2 : 1);
        r->line++;
        while (begin < end && is_space(*begin))
            begin++;
        while (begin < end && is_space(end[-1]))
            end--;
        *text = begin;
        *size = (size_t)(end - begin);
        if (*size)
            return true;
    }
    return false;
}

int records_decode(const uint8_t *text, size_t size, uint8_t bytes[RECORDS_BYTES])
{
    if (size % 2 || size > 2 * RECORDS_BYTES)
        return -1;
    for (size_t i = 0; i < size; i += 2) {
        unsigned high = digit_plus_one[text[i]], low = digit_plus_one[text[i + 1]];
        if (!high || !low)
            return -1;
        bytes[i / 2] = (uint8_t)((high - 1) << 4 | (low - 1));
    }
    return (int)(size / 2);
}

char *records_encode(char *text, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < size; i++) {
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 15];
    }
    return text;
}

static size_t count_digits(const uint8_t *text, size_t size)
{
    size_t n = 0;
    while (n < size && digit_plus_one[text[n]])
        n++;
    return n;
}

static size_t count_strange(const uint8_t *text, const uint8_t *end)
{
    size_t n = 0;
    for (; text < end; text++)
        n += !is_space(*text) && (*text < ' ' || *text > '~');
    return n;
}

static bool has_mark(const uint8_t *text, size_t size, char mark, bool typed)
{
    return text[0] == (uint8_t)mark && (!typed || (size > 1 && text[1] >= '0' && text[1] <= '9'));
}

/* For the first line it is enough to begin like a record: what follows may be damaged. */
static bool begins_like_one(const uint8_t *text, size_t size, size_t digits, bool typed)
{
    size_t shown = size < 64 ? size : 64;
    return count_strange(text, text + shown) <= 1 && (!typed || digits >= 4 || digits + 1 == size);
}

bool records_detect(const uint8_t *data, size_t size, char mark, bool typed)
{
    struct records records = {.at = data, .end = data + (size < LOOK_AT ? size : LOOK_AT)};
    const uint8_t *text, *counted = data;
    size_t length, strange = 0;
    for (bool first = true; records_next(&records, &text, &length); first = false) {
        strange += count_strange(counted, text);
        if (strange > 1)
            return false;
        counted = text;
        if (!has_mark(text, length, mark, typed))
            continue;
        size_t digits = count_digits(text + 1, length - 1);
        if (first ? begins_like_one(text, length, digits, typed)
                  : digits + 1 == length && digits >= LEAST_DIGITS)
            return true;
    }
    return false;
}
