/* SPDX-License-Identifier: MIT */
#include "host/device.h"
#include "core/dfu.h"

#include <stdio.h>
#include <string.h>

const struct device_alt *device_alt(const struct device *device, int number)
{
    for (size_t i = 0; i < device->alt_count; i++)
        if (device->alts[i].number == number)
            return &device->alts[i];
    return NULL;
}

const struct device_alt *device_alt_at(const struct device *device, uint32_t addr, uint8_t flags)
{
    const struct device_alt *found = NULL;
    struct memory_sector sector;
    for (size_t i = 0; i < device->alt_count; i++) {
        const struct device_alt *alt = &device->alts[i];
        if (!memory_map_find(&alt->map, addr, &sector))
            continue;
        if ((sector.flags & flags) == flags)
            return alt;
        if (!found)
            found = alt;
    }
    return found;
}

bool device_is_dfuse(const struct device *device)
{
    if (!device->dfu)
        return false;
    /* 0x011A; ST's own tools take anything up to 0x011F. */
    if (device->dfu_version >= DFU_VERSION_DFUSE && device->dfu_version <= 0x011F)
        return true;
    return device->alt_count && device->alts[0].map.count && device->alts[0].text[0] == '@';
}

static const struct {
    const char *name; /* what iProduct begins with */
    unsigned habits;
} habits[] = {
    {"caboose", DEVICE_REWRITES | DEVICE_DOES_FIRST},
};

unsigned device_habits(const struct device *device)
{
    for (size_t i = 0; i < sizeof habits / sizeof habits[0]; i++)
        if (strncmp(device->name, habits[i].name, strlen(habits[i].name)) == 0)
            return habits[i].habits;
    return 0;
}

static void put_range(uint64_t begin, uint64_t end, char *text, size_t size)
{
    size_t used = strlen(text);
    uint64_t length = end - begin;
    bool kib = length >= 1024 && length % 1024 == 0;
    snprintf(text + used, size - used, "%s0x%08llx-0x%08llx (%llu %s)", used ? ", " : "",
        (unsigned long long)begin, (unsigned long long)end - 1,
        (unsigned long long)(kib ? length / 1024 : length), kib ? "KiB" : "bytes");
}

void device_ranges(const struct device *device, uint8_t flags, char *text, size_t size)
{
    text[0] = '\0';
    for (size_t a = 0; a < device->alt_count; a++) {
        const struct memory_map *map = &device->alts[a].map;
        uint64_t told = 0; /* runs are told together with the ones that they touch */
        for (size_t i = 0; i < map->count; i++) {
            uint64_t end = memory_map_reach(map, map->runs[i].addr, flags);
            if (end != map->runs[i].addr && end != told)
                put_range(map->runs[i].addr, end, text, size);
            if (end != map->runs[i].addr)
                told = end;
        }
    }
    if (!text[0])
        snprintf(text, size, "none");
}

bool device_first(const struct device *device, uint8_t flags, uint32_t *addr)
{
    for (size_t a = 0; a < device->alt_count; a++)
        for (size_t i = 0; i < device->alts[a].map.count; i++)
            if ((device->alts[a].map.runs[i].flags & flags) == flags) {
                *addr = device->alts[a].map.runs[i].addr;
                return true;
            }
    return false;
}
