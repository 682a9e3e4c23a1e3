/* SPDX-License-Identifier: MIT */
#include "host/protection.h"

#include <stdio.h>

enum { FLASH = 0x08000000, F1_BYTES = 0x1FFFF800, F4_BYTES = 0x1FFFC000 };

enum { /* 0x1FFFF800: each byte with its complement behind it */
    F1_RDP = 0,
    F1_WRP = 8,
    F1_WRITE_UNIT = 4096, /* of a bit, whatever the pages' size */
    F1_LAST_BIT = 31,     /* stands for all that is left */
};

enum { /* 0x1FFFC000 */
    F4_RDP = 1,
    F4_NWRP = 8,
    F4_SECTORS = 12,
    F4_SPRMOD = 0x8000, /* nWRP means something else then: PCROP */
};

bool protection_find(const struct device *device, uint32_t *addr)
{
    static const uint32_t places[] = {F1_BYTES, F4_BYTES};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const struct device_alt *alt = device_alt_at(device, places[i], MEMORY_READ);
        *addr = places[i];
        if (alt && memory_map_reach(&alt->map, *addr, MEMORY_READ) >= *addr + PROTECTION_BYTES)
            return true;
    }
    return false;
}

/* The end of the flash that the map shows, which may have parts of different kinds. */
static uint32_t flash_end(const struct device *device)
{
    const struct device_alt *alt = device_alt_at(device, FLASH, 0);
    struct memory_sector sector;
    uint32_t end = FLASH;
    while (alt && memory_map_find(&alt->map, end, &sector))
        end = sector.addr + sector.size;
    return end;
}

static void add_range(struct protection *p, uint32_t begin, uint32_t end)
{
    if (begin >= end)
        return;
    if (p->count && p->ranges[p->count - 1].end == begin) {
        p->ranges[p->count - 1].end = end;
    } else if (p->count < PROTECTION_RANGES) {
        p->ranges[p->count].begin = begin;
        p->ranges[p->count++].end = end;
    }
}

/* The chip takes a byte without its complement for 0xFF. */
static uint8_t checked(const uint8_t *byte)
{
    return (byte[0] ^ byte[1]) == 0xFF ? byte[0] : 0xFF;
}

static void decode_f1(struct protection *p, const struct device *device, const uint8_t *bytes)
{
    uint8_t rdp = checked(bytes + F1_RDP);
    uint32_t end = flash_end(device);
    p->reading = rdp == 0xA5 || rdp == 0xAA ? PROTECTION_OFF /* the F1's; the F0's and F3's */
                 : rdp == 0xCC              ? PROTECTION_FOR_EVER
                                            : PROTECTION_ON;
    for (uint32_t bit = 0; bit <= F1_LAST_BIT; bit++) {
        uint32_t begin = FLASH + bit * F1_WRITE_UNIT, next = begin + F1_WRITE_UNIT;
        if (checked(bytes + F1_WRP + bit / 8 * 2) >> bit % 8 & 1)
            continue;
        add_range(p, begin, bit == F1_LAST_BIT || next > end ? end : next);
    }
}

static void decode_f4(struct protection *p, const struct device *device, const uint8_t *bytes)
{
    const struct device_alt *alt = device_alt_at(device, FLASH, 0);
    unsigned nwrp = (unsigned)(bytes[F4_NWRP] | bytes[F4_NWRP + 1] << 8);
    struct memory_sector sector = {.addr = FLASH};
    p->reading = bytes[F4_RDP] == 0xAA   ? PROTECTION_OFF
                 : bytes[F4_RDP] == 0xCC ? PROTECTION_FOR_EVER
                                         : PROTECTION_ON;
    if (nwrp & F4_SPRMOD)
        return;
    for (unsigned i = 0; i < F4_SECTORS && alt; i++) {
        if (!memory_map_find(&alt->map, sector.addr + sector.size, &sector))
            return;
        if (!(nwrp >> i & 1))
            add_range(p, sector.addr, sector.addr + sector.size);
    }
}

void protection_decode(struct protection *protection, const struct device *device, uint32_t addr,
    const uint8_t bytes[PROTECTION_BYTES])
{
    *protection = (struct protection){.count = 0};
    if (addr == F1_BYTES)
        decode_f1(protection, device, bytes);
    else
        decode_f4(protection, device, bytes);
}

void protection_tell(const struct protection *p, char *text, size_t size)
{
    static const char *const reading[] = {[PROTECTION_OFF] = "reading is allowed",
        [PROTECTION_ON] = "reading is not allowed (caboose unprotect changes that, and erases all)",
        [PROTECTION_FOR_EVER] = "reading is not allowed, for ever (level 2)"};
    size_t used = (size_t)snprintf(text, size, "%s; writing is%s", reading[p->reading],
        p->count ? " not to" : ", too, everywhere");
    for (size_t i = 0; i < p->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s 0x%08x-0x%08x", i ? "," : "",
            p->ranges[i].begin, p->ranges[i].end - 1);
}
