/* SPDX-License-Identifier: MIT */
/*
 * What a DFU device says of itself in its descriptors: everything that a plan is made from.
 */
#ifndef HOST_DEVICE_H
#define HOST_DEVICE_H

#include "core/memory_map.h"
#include "host/transfer.h"

#include <stdbool.h>
#include <stdint.h>

enum { DEVICE_ALTS = 16, DEVICE_TEXT = 384, DEVICE_TRANSFER_MAX = TRANSFER_MAX };

/* What is known of a device by its name only. Whoever relies on one of these looks afterwards whether all is
 * as it should be, and then does without. */
enum device_habit {
    /* What is written need not be erased before: it does that by itself where it must, keeps the rest of
     * the sector, and leaves alone what is right already. */
    DEVICE_REWRITES = 1,
    /* The work is done before GETSTATUS is answered: dfuDNBUSY without a time to wait is said for the sake
     * of other hosts. */
    DEVICE_DOES_FIRST = 2,
};

struct device_alt { /* an alternate setting: one memory */
    uint8_t number;
    char text[DEVICE_TEXT]; /* iInterface, UTF-8 */
    struct memory_map map;
    enum memory_map_error map_error;
};

struct device {
    uint16_t vendor, product, version;
    char manufacturer[DEVICE_TEXT], name[DEVICE_TEXT], serial[DEVICE_TEXT]; /* UTF-8; empty: none */
    bool dfu;           /* has a DFU interface; else all that follows is zero */
    bool runtime;       /* it runs its application and offers DFU only on request */
    uint8_t interface;  /* bInterfaceNumber */
    uint8_t attributes; /* enum dfu_attribute */
    uint16_t detach_timeout_ms;
    uint16_t transfer_size; /* wTransferSize as it is used: 1 to DEVICE_TRANSFER_MAX */
    uint16_t dfu_version;
    uint8_t alt_count;
    struct device_alt alts[DEVICE_ALTS];
};

/* The alternate setting of this number, or NULL. */
const struct device_alt *device_alt(const struct device *device, int number);

/* The alternate setting whose memory map has addr, one where all flags are set if there is one, or
 * NULL. */
const struct device_alt *device_alt_at(const struct device *device, uint32_t addr, uint8_t flags);

/* True if it speaks ST's extension of DFU, by version or by its memory map. */
bool device_is_dfuse(const struct device *device);

/* The ranges of memory that have all flags, as text for people: "0x08000000-0x0800c7ff (50 KiB)". */
void device_ranges(const struct device *device, uint8_t flags, char *text, size_t size);

/* The habits of this one: enum device_habit, or 0. */
unsigned device_habits(const struct device *device);

/* The first address with all flags; false if there is none. */
bool device_first(const struct device *device, uint8_t flags, uint32_t *addr);

#endif
