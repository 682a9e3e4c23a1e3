/* SPDX-License-Identifier: MIT */
/* Text for descriptors.c, in UTF-16. In the tail layout it stands in the stub, where there was room. */
#ifndef BOOT_TEXT_H
#define BOOT_TEXT_H

#include "stub.h"

SERVICE_TEXT uint16_t *put_text(uint16_t *to, const char *text, unsigned size)
{
    do
        *to++ = (uint8_t)*text++;
    while (--size);
    return to;
}

SERVICE_TEXT uint16_t *put_number(uint16_t *to, uint32_t number, unsigned digits, unsigned base)
{
    for (unsigned i = digits; i--; number /= base) {
        unsigned digit = number % base;
        to[i] = (uint16_t)(digit + (digit < 10 ? '0' : 'A' - 10));
    }
    return to + digits;
}

#endif
