/* SPDX-License-Identifier: MIT */
/* What option bytes say of protection, where a board's memory map offers them: those at 0x1FFFF800 (STM32F0,
 * F1, F3: PM0075 §2.3.5, RM0091, RM0316) and those at 0x1FFFC000 (F2, F4: RM0033, RM0090). */
#ifndef HOST_PROTECTION_H
#define HOST_PROTECTION_H

#include "host/device.h"

enum { PROTECTION_BYTES = 16, PROTECTION_RANGES = 32 };

enum protection_level {
    PROTECTION_OFF,
    PROTECTION_ON,       /* unprotect takes it away, and erases the flash */
    PROTECTION_FOR_EVER, /* "level 2" */
};

struct protection {
    enum protection_level reading;
    size_t count; /* of what is protected against writing, in the order of addresses: */
    struct {
        uint32_t begin, end; /* end is the first byte behind it */
    } ranges[PROTECTION_RANGES];
};

/* Where they are; false if the board's memory map does not say that they can be read. */
bool protection_find(const struct device *device, uint32_t *addr);

/* What they say, as they were read from addr. */
void protection_decode(struct protection *protection, const struct device *device, uint32_t addr,
    const uint8_t bytes[PROTECTION_BYTES]);

/* In words: "reading is allowed; writing is not to 0x08000000-0x08000fff". */
void protection_tell(const struct protection *protection, char *text, size_t size);

#endif
