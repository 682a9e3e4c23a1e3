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
    GROUPS = 16, /* chips that a file is for */
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

/* The blocks for one chip: they are numbered from 0 on and each says how many they are, so that files for
 * several chips can just be joined. */
struct group {
    uint32_t family; /* 0: not told */
    uint32_t blocks;
    bool program;  /* some of it goes to flash */
    uint8_t *seen; /* one for each block number */
};

struct reader {
    struct image *image;
    const char *name;
    char *why;
    size_t at; /* where the block begins */
    struct group groups[GROUPS];
    size_t group_count;
    const struct group *chosen;
    uint8_t *seen; /* of all groups */
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

/* --- for which chips ----------------------------------------------------------------------------- */

/* The group of this family, made if need be; NULL: there are too many. */
static struct group *group_of(struct reader *r, uint32_t family)
{
    for (size_t i = 0; i < r->group_count; i++)
        if (r->groups[i].family == family)
            return &r->groups[i];
    if (r->group_count == GROUPS)
        return NULL;
    r->groups[r->group_count].family = family;
    return &r->groups[r->group_count++];
}

static int count_block(struct reader *r, const uint8_t *block)
{
    if (check_mark(r, block, BLOCK_START, start) || check_mark(r, block, BLOCK_START_2, start_2) ||
        check_mark(r, block, BLOCK_END, end))
        return -1;
    if (get32(block + BLOCK_FLAGS) & FLAG_FILES)
        return complain(r, BLOCK_FLAGS, "the block holds a file for a disk, not a program");
    struct group *group = group_of(r, family_of(block));
    if (!group)
        return complain(r, BLOCK_FAMILY,
            "a block for yet another family, 0x%08x; the file is damaged", family_of(block));
    group->blocks++;
    group->program |= !(get32(block + BLOCK_FLAGS) & FLAG_NOT_FLASH) && get32(block + BLOCK_BYTES);
    return 0;
}

/* Chips that have, or may have, a bootloader that speaks DfuSe. */
static bool is_flashed_by_dfuse(const struct group *group)
{
    static const char *const makers[] = {"STM32", "GD32", "AT32"};
    const char *name = uf2_family_name(group->family);
    for (size_t i = 0; name && i < sizeof makers / sizeof makers[0]; i++)
        if (strncmp(name, makers[i], strlen(makers[i])) == 0)
            return true;
    return false;
}

/* How many groups can be meant; *group is the last of them. */
static size_t candidates(struct reader *r, bool by_dfuse, const struct group **group)
{
    size_t count = 0;
    for (size_t i = 0; i < r->group_count; i++)
        if (r->groups[i].program && (!by_dfuse || is_flashed_by_dfuse(&r->groups[i]))) {
            *group = &r->groups[i];
            count++;
        }
    return count;
}

static void put_names(const struct reader *r, char *text, size_t size)
{
    text[0] = '\0';
    for (size_t i = 0, used = 0; i < r->group_count && used < size; i++) {
        char number[16];
        const char *name = uf2_family_name(r->groups[i].family);
        snprintf(number, sizeof number, "0x%08x", r->groups[i].family);
        if (r->groups[i].program)
            used += (size_t)snprintf(
                text + used, size - used, "%s%s", used ? ", " : "", name ? name : number);
    }
}

/* Of programs for several chips the only one that a DfuSe bootloader could want is taken. */
static int choose(struct reader *r)
{
    char names[96];
    r->chosen = &r->groups[0];
    size_t programs = candidates(r, false, &r->chosen);
    put_names(r, names, sizeof names);
    if (programs > 1 && candidates(r, true, &r->chosen) != 1)
        return why_file(r->why, r->name,
            "holds programs for several chips (%s); say for which, with --family", names);
    if (programs > 1)
        snprintf(r->image->note, sizeof r->image->note, "of the programs for %.90s", names);
    return 0;
}

/* --- blocks -------------------------------------------------------------------------------------- */

static int check_block(const struct reader *r, const struct group *group, const uint8_t *block)
{
    uint32_t number = get32(block + BLOCK_NUMBER), bytes = get32(block + BLOCK_BYTES);
    if (get32(block + BLOCK_COUNT) != group->blocks)
        return complain(r, BLOCK_COUNT,
            "the block says there are %u and there are %u of its family; the file is cut short or "
            "damaged",
            get32(block + BLOCK_COUNT), group->blocks);
    if (number >= group->blocks)
        return complain(
            r, BLOCK_NUMBER, "block %u of %u; the file is damaged", number, group->blocks);
    if (group->seen[number])
        return complain(r, BLOCK_NUMBER,
            "block %u comes again, another is missing; the file is damaged", number);
    if (bytes > BLOCK_DATA_MAX)
        return complain(r, BLOCK_BYTES, "a block of %u bytes; the file is damaged", bytes);
    if (bytes && get32(block + BLOCK_ADDR) > UINT32_MAX - (bytes - 1))
        return complain(r, BLOCK_ADDR, "it ends behind the last address; the file is damaged");
    return 0;
}

static int note_block(struct reader *r, const uint8_t *block)
{
    struct group *group = group_of(r, family_of(block));
    if (!group || check_block(r, group, block)) /* there is one: the block was counted */
        return -1;
    uint32_t number = get32(block + BLOCK_NUMBER);
    r->ordered &= number == 0 || group->seen[number - 1];
    group->seen[number] = 1;
    return 0;
}

static int add_block(struct reader *r, const uint8_t *block)
{
    if (family_of(block) != r->chosen->family || get32(block + BLOCK_FLAGS) & FLAG_NOT_FLASH)
        return 0;
    if (image_add(r->image, IMAGE_ANY_ALT, get32(block + BLOCK_ADDR), block + BLOCK_DATA,
            get32(block + BLOCK_BYTES)))
        return why_memory(r->why, r->name);
    return 0;
}

static int each_block(struct reader *r, const uint8_t *data, size_t size,
    int (*visit)(struct reader *r, const uint8_t *block))
{
    int err = 0;
    for (r->at = 0; r->at < size && !err; r->at += BLOCK_SIZE)
        err = visit(r, data + r->at);
    return err;
}

/* Room for what was seen; the groups in a row. */
static int make_room(struct reader *r, size_t count)
{
    r->seen = calloc(count, 1);
    if (!r->seen)
        return why_memory(r->why, r->name);
    for (size_t i = 0, used = 0; i < r->group_count; used += r->groups[i++].blocks)
        r->groups[i].seen = r->seen + used;
    return 0;
}

static void tell_target(struct reader *r)
{
    struct image *image = r->image;
    image->family = r->chosen->family;
    const char *known = uf2_family_name(image->family);
    if (known)
        snprintf(image->target, sizeof image->target, "%s", known);
    if (image->note[0]) {
        size_t used = strlen(image->note);
        snprintf(image->note + used, sizeof image->note - used, " that for %s is taken",
            known ? known : "this one");
    } else if (!r->ordered)
        snprintf(
            image->note, sizeof image->note, "its blocks are not in the order of their numbers");
}

int uf2_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE])
{
    struct reader r = {.image = image, .name = name, .why = why, .ordered = true};
    if (size % BLOCK_SIZE)
        return why_byte(why, name, size - size % BLOCK_SIZE,
            "the last block has %zu of %d bytes; the file is cut short, copy it again",
            size % BLOCK_SIZE, BLOCK_SIZE);
    int err = each_block(&r, data, size, count_block);
    if (!err)
        err = make_room(&r, size / BLOCK_SIZE);
    if (!err)
        err = each_block(&r, data, size, note_block);
    if (!err)
        err = choose(&r);
    if (!err)
        err = each_block(&r, data, size, add_block);
    free(r.seen);
    if (!err)
        tell_target(&r);
    return err;
}

static bool has_family(const uint8_t *data, size_t size, uint32_t family)
{
    for (size_t at = 0; at + BLOCK_SIZE <= size; at += BLOCK_SIZE)
        if (family_of(data + at) == family)
            return true;
    return false;
}

bool uf2_choose(uint8_t *data, size_t size, uint32_t family)
{
    if (!has_family(data, size, family))
        return false;
    for (uint8_t *block = data; block + BLOCK_SIZE <= data + size; block += BLOCK_SIZE)
        if (family_of(block) != family)
            put32(block + BLOCK_FLAGS, get32(block + BLOCK_FLAGS) | FLAG_NOT_FLASH);
    return true;
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

static void put_block(struct out *out, const struct image *image, const struct image_segment *s,
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
            put_block(out, image, s, at, number++, count);
    }
    return 0;
}
