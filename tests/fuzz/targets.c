/* SPDX-License-Identifier: MIT */
#include "targets.h"
#include "core/dfu_state.h"
#include "core/memory_map.h"
#include "image/bytes.h"
#include "image/dfuse.h"
#include "image/elf.h"
#include "image/file.h"
#include "image/hex.h"
#include "image/raw.h"
#include "image/srec.h"
#include "image/uf2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

// clang-format off
const struct fuzz_target fuzz_targets[FUZZ_TARGETS] = {
    {"any", fuzz_any}, {"elf", fuzz_elf}, {"hex", fuzz_hex}, {"srec", fuzz_srec},
    {"dfuse", fuzz_dfuse}, {"uf2", fuzz_uf2}, {"suffix", fuzz_suffix},
    {"memory_map", fuzz_memory_map}, {"dfu_state", fuzz_dfu_state},
};
// clang-format on

/* Not assert(): this must hold in every build. */
#define promise(condition)                                                                         \
    ((condition)                                                                                   \
            ? (void)0                                                                              \
            : (fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition), abort()))

/* --- images -------------------------------------------------------------------------------------- */

static void check_settled(const struct image *image)
{
    promise(image->count > 0);
    for (size_t i = 0; i < image->count; i++) {
        const struct image_segment *s = &image->segments[i], *before = s - 1;
        promise(s->size > 0 && s->addr <= UINT32_MAX - (s->size - 1));
        promise(i == 0 || before->alt < s->alt ||
                (before->alt == s->alt && (uint64_t)before->addr + before->size < s->addr));
    }
}

static void check_equal(const struct image *a, const struct image *b)
{
    promise(a->count == b->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct image_segment *s = &a->segments[i], *t = &b->segments[i];
        promise(s->addr == t->addr && s->size == t->size);
        promise(memcmp(s->data, t->data, s->size) == 0);
    }
}

/* What was read can be written and read again. */
static void check_round_trip(const struct image *image, enum image_format format)
{
    uint8_t *data;
    size_t size;
    char why[IMAGE_ERROR_SIZE];
    struct image again;
    if (image_make(image, "again", format, &data, &size, why))
        return; /* the format cannot tell it */
    promise(image_detect(data, size) == format);
    promise(image_parse_plain(&again, "again", data, size, image->segments[0].addr, why) == 0);
    free(data);
    check_equal(image, &again);
    promise(again.format != IMAGE_UF2 || again.family == image->family);
    image_free(&again);
}

static void check_error(const char *why)
{
    size_t length = strnlen(why, IMAGE_ERROR_SIZE);
    promise(length > 4 && length < IMAGE_ERROR_SIZE);
    promise(strncmp(why, "file", 4) == 0);
}

typedef int parse_function(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE]);

/* Ends with image freed. */
static void check_parsed(struct image *image, int err, const char *why, enum image_format format)
{
    if (err)
        check_error(why);
    else
        check_settled(image);
    if (!err)
        check_round_trip(image, format);
    image_free(image);
}

static int parse_with(
    parse_function *parse, enum image_format format, const uint8_t *data, size_t size)
{
    struct image image;
    char why[IMAGE_ERROR_SIZE] = "";
    image_init(&image, format);
    int err = parse(&image, "file", data, size, why);
    if (!err)
        err = image_settle(&image, "file", why);
    check_parsed(&image, err, why, format == IMAGE_ELF ? IMAGE_HEX : format);
    return 0;
}

int fuzz_any(const uint8_t *data, size_t size)
{
    struct image image;
    char why[IMAGE_ERROR_SIZE] = "";
    int err = image_parse(&image, "file", data, size, 0x08000000, why);
    promise(!err || image.count == 0);
    check_parsed(&image, err, why, IMAGE_DFUSE);
    return 0;
}

int fuzz_elf(const uint8_t *data, size_t size)
{
    return parse_with(elf_parse, IMAGE_ELF, data, size);
}

/* The text formats are read only once they were recognised, so that they have a first byte. */
int fuzz_hex(const uint8_t *data, size_t size)
{
    return parse_with(hex_parse, IMAGE_HEX, data, size);
}

int fuzz_srec(const uint8_t *data, size_t size)
{
    return parse_with(srec_parse, IMAGE_SREC, data, size);
}

/* Of programs for several chips that for the last block's, as --family chooses it. */
static void choose_chip(const uint8_t *data, size_t size)
{
    enum { BLOCK = 512, FLAGS = 8, FAMILY = 28, HAS_FAMILY = 0x2000 };
    struct image image;
    char why[IMAGE_ERROR_SIZE] = "";
    uint8_t *copy = size >= BLOCK ? malloc(size) : NULL;
    if (!copy)
        return;
    memcpy(copy, data, size);
    const uint8_t *last = copy + (size / BLOCK - 1) * BLOCK;
    uint32_t family = get32(last + FLAGS) & HAS_FAMILY ? get32(last + FAMILY) : 0;
    promise(uf2_choose(copy, size, family));
    image_init(&image, IMAGE_UF2);
    int err = uf2_parse(&image, "file", copy, size, why);
    if (!err)
        err = image_settle(&image, "file", why);
    promise(err || image.family == family);
    check_parsed(&image, err, why, IMAGE_UF2);
    free(copy);
}

int fuzz_uf2(const uint8_t *data, size_t size)
{
    if (!uf2_detect(data, size))
        return 0;
    choose_chip(data, size);
    return parse_with(uf2_parse, IMAGE_UF2, data, size);
}

/* As it is, and with a checksum that is right, which no fuzzer would find. */
static void with_checksum(
    int (*run)(const uint8_t *data, size_t size), const uint8_t *data, size_t size)
{
    run(data, size);
    uint8_t *copy = size >= 4 ? malloc(size) : NULL;
    if (!copy)
        return;
    memcpy(copy, data, size);
    put32(copy + size - 4, ~(uint32_t)crc32_z(0, data, size - 4));
    run(copy, size);
    free(copy);
}

static int run_dfuse(const uint8_t *data, size_t size)
{
    return dfuse_detect(data, size) ? parse_with(dfuse_parse, IMAGE_DFUSE, data, size) : 0;
}

int fuzz_dfuse(const uint8_t *data, size_t size)
{
    with_checksum(run_dfuse, data, size);
    return 0;
}

static int run_suffix(const uint8_t *data, size_t size)
{
    struct image image;
    char why[IMAGE_ERROR_SIZE] = "";
    image_init(&image, IMAGE_RAW);
    if (raw_parse(&image, "file", data, size, 0xFFFFF000, why)) {
        check_error(why);
    } else if (image.count) {
        promise(image.count == 1 && image.segments[0].size <= size);
        promise(image.segments[0].size == size || image.suffix);
        promise(memcmp(image.segments[0].data, data, image.segments[0].size) == 0);
    }
    image_free(&image);
    return 0;
}

int fuzz_suffix(const uint8_t *data, size_t size)
{
    with_checksum(run_suffix, data, size);
    return 0;
}

/* --- the memory map ------------------------------------------------------------------------------- */

static void check_run(const struct memory_map *map, const struct memory_run *run)
{
    struct memory_sector s;
    uint64_t end = run->addr + (uint64_t)run->count * run->size;
    promise(run->count && run->size && run->flags <= 7 && end <= UINT64_C(0x100000000));
    promise(memory_map_find(map, run->addr, &s) && s.addr <= run->addr && s.size);
    promise(memory_map_find(map, (uint32_t)(end - 1), &s) && s.addr + (uint64_t)s.size >= end);
    uint64_t reach = memory_map_reach(map, run->addr, MEMORY_READ);
    promise(reach >= run->addr && reach <= UINT64_C(0x100000000));
}

int fuzz_memory_map(const uint8_t *data, size_t size)
{
    struct memory_map map;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    enum memory_map_error error = memory_map_parse(&map, text);
    promise(error <= MEMORY_MAP_TOO_MANY);
    promise((error == MEMORY_MAP_OK) == (map.count > 0));
    promise(map.count <= MEMORY_MAP_RUNS);
    promise(map.name_at <= strlen(text) && map.name_size <= strlen(text) - map.name_at);
    for (size_t i = 0; i < map.count; i++)
        check_run(&map, &map.runs[i]);
    free(text);
    return 0;
}

/* --- the state machine ---------------------------------------------------------------------------- */

static void check_reaction(enum dfu_state state, unsigned request, enum dfu_reaction reaction)
{
    bool known = state >= DFU_IDLE && state <= DFU_ERROR && request <= DFU_ABORT;
    bool leaving = state == DFU_MANIFEST || state == DFU_MANIFEST_WAIT_RESET;
    promise(reaction <= DFU_IGNORE);
    promise(known || reaction == DFU_REFUSE);
    if (!known)
        return;
    promise(request != DFU_GETSTATUS || reaction == DFU_TELL);
    promise(request != DFU_GETSTATE || reaction == DFU_STATE);
    bool unasked = state == DFU_DNLOAD_SYNC; /* a block that is dropped by these two, as by ABORT */
    promise(request != DFU_DETACH || reaction == (unasked ? DFU_STOP : DFU_GO));
    promise(request != DFU_CLRSTATUS || reaction == (leaving      ? DFU_IGNORE
                                                        : unasked ? DFU_STOP
                                                                  : DFU_TO_IDLE));
    promise(reaction != DFU_DOWNLOAD || state == DFU_IDLE || state == DFU_DNLOAD_IDLE);
    promise(reaction != DFU_SEND || state == DFU_IDLE || state == DFU_UPLOAD_IDLE);
    promise(!leaving || (reaction != DFU_REFUSE && reaction != DFU_TO_IDLE));
}

/* Where a device of DFU 1.1's appendix A goes; what it does by itself is the choice's second bit. */
static enum dfu_state follow(enum dfu_state state, enum dfu_reaction reaction, unsigned choice)
{
    switch (reaction) {
    case DFU_REFUSE:
        return DFU_ERROR;
    case DFU_DOWNLOAD:
        return choice & 1 ? DFU_DNLOAD_SYNC : DFU_MANIFEST_SYNC;
    case DFU_SEND:
        return choice & 1 ? DFU_UPLOAD_IDLE : DFU_IDLE;
    case DFU_TELL:
        if (state == DFU_DNLOAD_SYNC || state == DFU_DNBUSY)
            return choice & 1 ? DFU_DNBUSY : DFU_DNLOAD_IDLE;
        return state == DFU_MANIFEST_SYNC ? DFU_MANIFEST : state;
    case DFU_TO_IDLE:
    case DFU_STOP:
        return DFU_IDLE;
    case DFU_IGNORE:
    case DFU_STATE:
    case DFU_GO:
        break;
    }
    return state;
}

/* The first byte is a state to begin in, or one that does not exist; then pairs of request and choice. */
int fuzz_dfu_state(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    for (unsigned request = 0; request < 256; request++)
        check_reaction(
            (enum dfu_state)data[0], request, dfu_react((enum dfu_state)data[0], request));
    enum dfu_state state = DFU_IDLE + data[0] % (DFU_ERROR - DFU_IDLE + 1);
    for (size_t i = 1; i + 1 < size; i += 2) {
        enum dfu_reaction reaction = dfu_react(state, data[i]);
        check_reaction(state, data[i], reaction);
        state = follow(state, reaction, data[i + 1]);
        promise(state >= DFU_IDLE && state <= DFU_ERROR);
    }
    bool leaving = state == DFU_MANIFEST || state == DFU_MANIFEST_WAIT_RESET;
    promise(leaving || follow(state, dfu_react(state, DFU_CLRSTATUS), 0) == DFU_IDLE);
    return 0;
}
