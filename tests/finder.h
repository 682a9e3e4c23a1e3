/* SPDX-License-Identifier: MIT */
/* An application for any address that keeps what it finds at its first instruction. */
#ifndef TESTS_FINDER_H
#define TESTS_FINDER_H

#include "dfu_host.h"

enum { FINDER_AT = 0x220, FINDER_SMALLEST = 0x280 }; /* its first instruction; its size */

/* As app_build(), but linked for `base`, in flash or RAM, with this initial stack pointer. */
struct app finder_build(uint32_t base, uint32_t sp, size_t size, uint64_t seed);

enum finding {
    FOUND_SP,
    FOUND_VTOR,
    FOUND_RCC_CR,
    FOUND_RCC_CFGR,
    FOUND_APB1ENR,
    FOUND_APB2ENR,
    FOUND_MASKS, /* PRIMASK | FAULTMASK | CONTROL */
    FOUND_FLASH_ACR,
    FOUND_FLASH_CR,
    FOUND_SYST_CSR,
};
uint32_t finder_found(const struct board *b, enum finding what);

/* NULL: the image at base was started as if from reset (RM0008 §7.3). Else what was not so. */
const char *finder_complaint(const struct board *b, uint32_t base, uint32_t sp);

#endif
