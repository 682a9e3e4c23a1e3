/* SPDX-License-Identifier: MIT */
#include "image/uf2.h"
#include "image/bytes.h"
#include "image/why.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { /* offsets in a block */
    BLOCK_START = 0,
    BLOCK_START_2 = 4,
    BLOCK_FLAGS = 8,
    BLOCK_ADDR = 12,
    BLOCK_BYTES = 16,
    BLOCK_NUMBER = 20,
    BLOCK_COUNT = 24,
    BLOCK_FAMILY = 28,
    BLOCK_DATA = 32,
    BLOCK_DATA_MAX = 476,
    BLOCK_END = 508,
    BLOCK_SIZE = 512,
    CHUNK = 256, /* what every bootloader takes */
};

static const uint32_t start = 0x0A324655, start_2 = 0x9E5D5157, end = 0x0AB16F30;

enum flags {
    FLAG_NOT_FLASH = 0x0001,
    FLAG_FILES = 0x1000,
    FLAG_FAMILY = 0x2000,
};

// clang-format off
static const struct { uint32_t family; const char *name; } families[] = { /* utils/uf2families.json */
    {0x647824b6, "STM32F0"},    {0x5ee21072, "STM32F1"},      {0x5d1a0a2e, "STM32F2"},
    {0x6b846188, "STM32F3"},    {0x57755a57, "STM32F4"},      {0x6d0922fa, "STM32F407"},
    {0x8fb060fe, "STM32F407VG"}, {0x2dc309c5, "STM32F411xE"}, {0x06d1097b, "STM32F411xC"},
    {0x53b80f00, "STM32F7"},    {0x300f5633, "STM32G0"},      {0x4c71240a, "STM32G4"},
    {0x4e8f1c5d, "STM32H5"},    {0x6db66082, "STM32H7"},      {0x202e3a91, "STM32L0"},
    {0x1e1f432d, "STM32L1"},    {0x00ff6919, "STM32L4"},      {0x04240bdf, "STM32L5"},
    {0x70d16653, "STM32WB"},    {0x21460ff0, "STM32WL"},      {0x31d228c6, "GD32F350"},
    {0x9af03e33, "GD32VF103"},  {0xa0c97b8e, "AT32F415"},     {0x699b62ec, "CH32V"},
    {0xe48bff56, "RP2040"},     {0xe48bff59, "RP2350"},       {0xada52840, "NRF52840"},
    {0x68ed2b88, "SAMD21"},     {0x55114460, "SAMD51"},       {0xbfdd4eee, "ESP32S2"},
    {0xc47e5767, "ESP32S3"},
};
// clang-format on

enum { FAMILIES = sizeof families / sizeof families[0] };

const char *uf2_family_name(uint32_t family)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (families[i].family == family)
            return families[i].name;
    return NULL;
}

uint32_t uf2_family(const char *name)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcasecmp(families[i].name, name) == 0)
            return families[i].family;
    return 0;
}

/* The first mark, or in a whole block two of the three. */
bool uf2_detect(const uint8_t *data, size_t size)
{
    bool first = size >= 4 && get32(data + BLOCK_START) == start;
    return first || (size >= BLOCK_SIZE && get32(data + BLOCK_START_2) == start_2 &&
                        get32(data + BLOCK_END) == end);
}

struct reader {
    struct image *image;
    const char *name;
    char *why;
    size_t at;     /* where the block begins */
    size_t count;  /* blocks in the file */
    uint8_t *seen; /* one for each block number */
    bool ordered;
};

static uint32_t family_of(const uint8_t *block)
{
    return get32(block + BLOCK_FLAGS) & FLAG_FAMILY ? get32(block + BLOCK_FAMILY) : 0;
}

#define complain(reader, field, ...)                                                               \
    why_byte((reader)->why, (reader)->name, (reader)->at + (field), __VA_ARGS__)

static int check_mark(const struct reader *r, const uint8_t *block, size_t field, uint32_t mark)
{
    if (get32(block + field) == mark)
        return 0;
    return complain(r, field, "the mark is 0x%08x and should be 0x%08x; the file is damaged",
        get32(block + field), mark);
}

static int check_block(const struct reader *r, const uint8_t *block)
{
    uint32_t number = get32(block + BLOCK_NUMBER), bytes = get32(block + BLOCK_BYTES);
    if (check_mark(r, block, BLOCK_START, start) || check_mark(r, block, BLOCK_START_2, start_2) ||
        check_mark(r, block, BLOCK_END, end))
        return -1;
    if (get32(block + BLOCK_FLAGS) & FLAG_FILES)
        return complain(r, BLOCK_FLAGS, "the block holds a file for a disk, not a program");
    if (family_of(block) != r->image->family)
        return complain(r, BLOCK_FAMILY,
            "a block for family 0x%08x after those for 0x%08x: programs for several chips; give "
            "one that is for the board alone",
            family_of(block), r->image->family);
    if (get32(block + BLOCK_COUNT) != r->count)
        return complain(r, BLOCK_COUNT,
            "the block says there are %u and there are %zu; the file is cut short or damaged",
            get32(block + BLOCK_COUNT), r->count);
    if (number >= r->count)
        return complain(r, BLOCK_NUMBER, "block %u of %zu; the file is damaged", number, r->count);
    if (r->seen[number])
        return complain(r, BLOCK_NUMBER,
            "block %u comes again, another is missing; the file is damaged", number);
    if (bytes > BLOCK_DATA_MAX)
        return complain(r, BLOCK_BYTES, "a block of %u bytes; the file is damaged", bytes);
    if (bytes && get32(block + BLOCK_ADDR) > UINT32_MAX - (bytes - 1))
        return complain(r, BLOCK_ADDR, "it ends behind the last address; the file is damaged");
    return 0;
}

static int read_block(struct reader *r, const uint8_t *block)
{
    if (check_block(r, block))
        return -1;
    uint32_t number = get32(block + BLOCK_NUMBER);
    r->seen[number] = 1;
    r->ordered &= number == r->at / BLOCK_SIZE;
    if (get32(block + BLOCK_FLAGS) & FLAG_NOT_FLASH)
        return 0;
    if (image_add(r->image, IMAGE_ANY_ALT, get32(block + BLOCK_ADDR), block + BLOCK_DATA,
            get32(block + BLOCK_BYTES)))
        return why_file(r->why, r->name, "is too large: out of memory");
    return 0;
}

static void tell_target(struct image *image)
{
    const char *known = uf2_family_name(image->family);
    if (known)
        snprintf(image->target, sizeof image->target, "%s", known);
}

int uf2_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE])
{
    struct reader r = {
        .image = image, .name = name, .why = why, .count = size / BLOCK_SIZE, .ordered = true};
    if (size % BLOCK_SIZE)
        return why_byte(why, name, size - size % BLOCK_SIZE,
            "the last block has %zu of %d bytes; the file is cut short, copy it again",
            size % BLOCK_SIZE, BLOCK_SIZE);
    r.seen = calloc(r.count, 1);
    if (!r.seen)
        return why_file(why, name, "is too large: out of memory");
    image->family = family_of(data);
    tell_target(image);
    int err = 0;
    for (; r.at < size && !err; r.at += BLOCK_SIZE)
        err = read_block(&r, data + r.at);
    free(r.seen);
    if (!err && !r.ordered)
        snprintf(
            image->note, sizeof image->note, "its blocks are not in the order of their numbers");
    return err;
}

/* --- making -------------------------------------------------------------------------------------- */

/* The size of the block that begins at offset at of a segment: up to the next multiple of CHUNK. */
static uint32_t chunk_at(const struct image_segment *s, uint32_t at)
{
    uint32_t n = CHUNK - (s->addr + at) % CHUNK;
    return n < s->size - at ? n : s->size - at;
}

static uint32_t count_blocks(const struct image *image)
{
    uint32_t count = 0;
    for (size_t i = 0; i < image->count; i++)
        for (uint32_t at = 0; at < image->segments[i].size; at += chunk_at(&image->segments[i], at))
            count++;
    return count;
}

static void add_block(struct out *out, const struct image *image, const struct image_segment *s,
    uint32_t at, uint32_t number, uint32_t count)
{
    uint8_t block[BLOCK_SIZE] = {0};
    uint32_t n = chunk_at(s, at);
    put32(block + BLOCK_START, start);
    put32(block + BLOCK_START_2, start_2);
    put32(block + BLOCK_FLAGS, image->family ? FLAG_FAMILY : 0);
    put32(block + BLOCK_ADDR, s->addr + at);
    put32(block + BLOCK_BYTES, n);
    put32(block + BLOCK_NUMBER, number);
    put32(block + BLOCK_COUNT, count);
    put32(block + BLOCK_FAMILY, image->family);
    memcpy(block + BLOCK_DATA, s->data + at, n);
    put32(block + BLOCK_END, end);
    out_add(out, block, sizeof block);
}

int uf2_make(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE])
{
    uint32_t count = count_blocks(image), number = 0;
    (void)name, (void)why; /* every image can be told in UF2 */
    for (size_t i = 0; i < image->count; i++) {
        const struct image_segment *s = &image->segments[i];
        for (uint32_t at = 0; at < s->size; at += chunk_at(s, at))
            add_block(out, image, s, at, number++, count);
    }
    return 0;
}
