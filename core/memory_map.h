/* SPDX-License-Identifier: MIT */
/*
 * The memory of a DfuSe board as its alternate settings' names tell it (ST UM0424 §4.3.2):
 *
 *     @Internal Flash  /0x08000000/04*016Kg,01*064Kg,07*128Kg
 *
 * is a name, then zones of an address and runs of equal sectors. Boards in the field bend this
 * grammar; whatever any tool reads is read here, and `odd` says that the text was outside of it.
 * What would mislead is refused: no zone, a run of nothing, an end behind the last address.
 *
 *     struct memory_map map;
 *     if (memory_map_parse(&map, name) == MEMORY_MAP_OK && memory_map_find(&map, addr, &sector)) …
 */
#ifndef CORE_MEMORY_MAP_H
#define CORE_MEMORY_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MEMORY_MAP_RUNS = 64,
    MEMORY_MAP_SECTORS_MAX = 65536
}; /* 126 characters hold some 25 runs */

enum memory_flag { /* the low three bits of the type letter 'a' to 'g' */
    MEMORY_READ = 1,
    MEMORY_ERASE = 2,
    MEMORY_WRITE = 4,
};

struct memory_run { /* count sectors of size bytes, one after the other from addr on */
    uint32_t addr, count, size;
    uint8_t flags;
};

struct memory_map {
    struct memory_run runs[MEMORY_MAP_RUNS];
    size_t count;
    size_t name_at, name_size; /* the name's place in the text, without padding */
    bool odd;                  /* read, but not what UM0424 describes */
};

struct memory_sector {
    uint32_t addr, size;
    uint8_t flags;
};

enum memory_map_error {
    MEMORY_MAP_OK,
    MEMORY_MAP_NO_ZONE,  /* there is no "/address/" */
    MEMORY_MAP_ADDRESS,  /* an address that is none, or too large */
    MEMORY_MAP_RUN,      /* a run that is none: not count*size and a type letter */
    MEMORY_MAP_ZERO,     /* no sectors, or sectors of no bytes */
    MEMORY_MAP_OVERFLOW, /* the run ends behind the last address, or has absurdly many sectors */
    MEMORY_MAP_TOO_MANY, /* more runs than MEMORY_MAP_RUNS */
};

/* Reads NUL-terminated text. On an error the map is empty, but its name is set. */
enum memory_map_error memory_map_parse(struct memory_map *map, const char *text);

/* The sector that holds addr; false if there is none. */
bool memory_map_find(const struct memory_map *map, uint32_t addr, struct memory_sector *sector);

/* The end (exclusive, so up to 2^32) of the contiguous memory around addr that has all these flags;
 * addr itself if it is not in such memory. */
uint64_t memory_map_reach(const struct memory_map *map, uint32_t addr, uint8_t flags);

#endif
