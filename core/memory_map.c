/* SPDX-License-Identifier: MIT */
#include "core/memory_map.h"

struct cursor {
    const char *at;
    bool odd;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static void skip_odd_spaces(struct cursor *c)
{
    while (*c->at == ' ') {
        c->at++;
        c->odd = true;
    }
}

/* "0x" is the rule; "0X" and nothing at all occur. */
static bool read_address(struct cursor *c, uint32_t *addr)
{
    skip_odd_spaces(c);
    if (c->at[0] == '0' && (c->at[1] == 'x' || c->at[1] == 'X')) {
        c->odd |= c->at[1] == 'X';
        c->at += 2;
    } else {
        c->odd = true;
    }
    uint64_t value = 0;
    int digits = 0;
    for (int d; (d = hex_digit(*c->at)) >= 0 && value <= UINT32_MAX; c->at++, digits++)
        value = value << 4 | (uint64_t)d;
    *addr = (uint32_t)value;
    return digits && value <= UINT32_MAX;
}

/* An address, or ST's "0xBASE-0xALIAS"; ends behind the slash. */
static bool read_zone(struct cursor *c, uint32_t *addr)
{
    uint32_t alias;
    if (!read_address(c, addr))
        return false;
    if (*c->at == '-') {
        c->odd = true;
        c->at++;
        if (!read_address(c, &alias))
            return false;
    }
    skip_odd_spaces(c);
    return *c->at++ == '/';
}

static bool read_number(struct cursor *c, uint64_t *value)
{
    const char *begin = c->at;
    for (*value = 0; is_digit(*c->at) && c->at - begin < 10; c->at++)
        *value = *value * 10 + (uint64_t)(*c->at - '0');
    c->odd |= c->at - begin > 4;
    return c->at != begin && !is_digit(*c->at);
}

static uint32_t multiplier(char c)
{
    switch (c) {
    case ' ':
    case 'B':
        return 1;
    case 'K':
    case 'k':
        return 1024;
    case 'M':
    case 'm':
        return 1024 * 1024;
    default:
        return 0;
    }
}

/* The multiplier may be missing; what stands in its place is then the type already. */
static uint32_t read_multiplier(struct cursor *c)
{
    uint32_t factor = multiplier(*c->at);
    if (!factor) {
        c->odd = true;
        return 1;
    }
    c->odd |= *c->at == 'k' || *c->at == 'm';
    bool space = *c->at++ == ' ';
    if (space && multiplier(*c->at)) { /* "16 Kg" */
        c->odd = true;
        factor = multiplier(*c->at++);
    }
    skip_odd_spaces(c);
    return factor;
}

static bool read_type(struct cursor *c, uint8_t *flags)
{
    char letter = *c->at;
    char lower = (char)(letter >= 'A' && letter <= 'Z' ? letter - 'A' + 'a' : letter);
    if (lower < 'a' || lower > 'h')
        return false;
    c->odd |= letter != lower || lower == 'h';
    *flags = (uint8_t)(letter & 7);
    c->at++;
    return true;
}

static enum memory_map_error read_run(struct cursor *c, struct memory_run *run, uint64_t *next)
{
    uint64_t count, size;
    skip_odd_spaces(c);
    if (!read_number(c, &count))
        return MEMORY_MAP_RUN;
    skip_odd_spaces(c);
    if (*c->at++ != '*')
        return MEMORY_MAP_RUN;
    skip_odd_spaces(c);
    if (!read_number(c, &size))
        return MEMORY_MAP_RUN;
    size *= read_multiplier(c);
    if (!read_type(c, &run->flags))
        return MEMORY_MAP_RUN;
    if (count == 0 || size == 0)
        return MEMORY_MAP_ZERO;
    /* count has at most 10 digits and size at most 10 and a factor of 2^20, so first by themselves. */
    if (count > MEMORY_MAP_SECTORS_MAX || size > UINT32_MAX ||
        count * size > (uint64_t)UINT32_MAX + 1 - *next)
        return MEMORY_MAP_OVERFLOW;
    run->addr = (uint32_t)*next;
    run->count = (uint32_t)count;
    run->size = (uint32_t)size;
    *next += count * size;
    return MEMORY_MAP_OK;
}

/* Runs up to the end of the zone. */
static enum memory_map_error read_runs(struct cursor *c, struct memory_map *map, uint32_t addr)
{
    uint64_t next = addr;
    for (;;) {
        struct memory_run run = {0};
        enum memory_map_error err =
            next > UINT32_MAX ? MEMORY_MAP_OVERFLOW : read_run(c, &run, &next);
        if (err)
            return err;
        if (map->count == MEMORY_MAP_RUNS)
            return MEMORY_MAP_TOO_MANY;
        map->runs[map->count++] = run;
        while (*c->at && *c->at != ',' && *c->at != '/') { /* junk behind the type letter */
            c->odd = true;
            c->at++;
        }
        if (*c->at != ',')
            return MEMORY_MAP_OK;
        c->at++;
    }
}

static void read_name(struct cursor *c, struct memory_map *map, const char *text)
{
    if (*c->at == '@')
        c->at++;
    else
        c->odd = true;
    map->name_at = (size_t)(c->at - text);
    while (*c->at && *c->at != '/')
        c->at++;
    map->name_size = (size_t)(c->at - text) - map->name_at;
    while (map->name_size && text[map->name_at + map->name_size - 1] == ' ')
        map->name_size--;
    c->odd |= map->name_size == 0;
}

/* ROMs of the F4 give this one the wrong letter: it cannot be erased. */
static bool is_device_feature(const struct memory_map *map, const char *text)
{
    static const char name[] = "Device Feature";
    if (map->name_size != sizeof name - 1)
        return false;
    for (size_t i = 0; i < map->name_size; i++)
        if (text[map->name_at + i] != name[i])
            return false;
    return true;
}

static enum memory_map_error read_zones(struct cursor *c, struct memory_map *map)
{
    if (*c->at != '/')
        return MEMORY_MAP_NO_ZONE;
    while (*c->at == '/') {
        c->at++;
        if (*c->at == '\0' && map->count) { /* a slash at the end */
            c->odd = true;
            break;
        }
        uint32_t addr;
        if (!read_zone(c, &addr))
            return MEMORY_MAP_ADDRESS;
        enum memory_map_error err = read_runs(c, map, addr);
        if (err)
            return err;
    }
    return MEMORY_MAP_OK;
}

enum memory_map_error memory_map_parse(struct memory_map *map, const char *text)
{
    struct cursor c = {.at = text};
    map->count = 0;
    read_name(&c, map, text);
    enum memory_map_error err = read_zones(&c, map);
    map->odd = c.odd;
    if (err)
        map->count = 0;
    if (is_device_feature(map, text))
        for (size_t i = 0; i < map->count; i++)
            map->runs[i].flags = MEMORY_READ | MEMORY_WRITE;
    return err;
}

static const struct memory_run *run_at(const struct memory_map *map, uint32_t addr)
{
    for (size_t i = 0; i < map->count; i++) {
        const struct memory_run *run = &map->runs[i];
        if (addr >= run->addr && (addr - run->addr) / run->size < run->count)
            return run;
    }
    return NULL;
}

bool memory_map_find(const struct memory_map *map, uint32_t addr, struct memory_sector *sector)
{
    const struct memory_run *run = run_at(map, addr);
    if (!run)
        return false;
    uint32_t offset = (addr - run->addr) / run->size * run->size;
    *sector = (struct memory_sector){run->addr + offset, run->size, run->flags};
    return true;
}

uint64_t memory_map_reach(const struct memory_map *map, uint32_t addr, uint8_t flags)
{
    uint64_t end = addr;
    const struct memory_run *run;
    /* Each turn ends behind where it began, as the run holds the address. */
    while (end <= UINT32_MAX && (run = run_at(map, (uint32_t)end)) && (run->flags & flags) == flags)
        end = run->addr + (uint64_t)run->count * run->size;
    return end;
}
