/* SPDX-License-Identifier: MIT */
#include "finder.h"

#include <stdio.h>
#include <string.h>

/*
 *  ldr r1, =KEEPS            ldr r2, [r3, #0x1C]      ldr r3, =FLASH
 *  mov r2, sp                str r2, [r1, #16]        ldr r2, [r3]
 *  str r2, [r1]              ldr r2, [r3, #0x18]      str r2, [r1, #28]
 *  ldr r3, =VTOR             str r2, [r1, #20]        ldr r2, [r3, #0x10]
 *  ldr r2, [r3]              mrs r2, PRIMASK          str r2, [r1, #32]
 *  str r2, [r1, #4]          mrs r3, FAULTMASK        ldr r3, =SYST_CSR
 *  ldr r3, =RCC              orrs r2, r3              ldr r2, [r3]
 *  ldr r2, [r3]              mrs r3, CONTROL          str r2, [r1, #36]
 *  str r2, [r1, #8]          orrs r2, r3              b.w program
 *  ldr r2, [r3, #4]          str r2, [r1, #24]
 *  str r2, [r1, #12]
 */
// clang-format off
static const uint16_t finder[] = {
    0x4910, 0x466a, 0x600a, 0x4b10, 0x681a, 0x604a, 0x4b0f, 0x681a,
    0x608a, 0x685a, 0x60ca, 0x69da, 0x610a, 0x699a, 0x614a, 0xf3ef,
    0x8210, 0xf3ef, 0x8313, 0x431a, 0xf3ef, 0x8314, 0x431a, 0x618a,
    0x4b07, 0x681a, 0x61ca, 0x691a, 0x620a, 0x4b06, 0x681a, 0x624a,
    0xf7ff, 0xbf76, 0x0440, 0x2000, 0xed08, 0xe000, 0x1000, 0x4002,
    0x2000, 0x4002, 0xe010, 0xe000,
};
// clang-format on
enum { KEEPS = RAM + 0x440 };

struct app finder_build(uint32_t base, uint32_t sp, size_t size, uint64_t seed)
{
    struct app image = app_build(size < FINDER_SMALLEST ? FINDER_SMALLEST : size, seed, 0);

    for (unsigned i = 0; i < sizeof finder / 2; i++) {
        image.data[FINDER_AT + 2 * i] = (uint8_t)finder[i];
        image.data[FINDER_AT + 2 * i + 1] = (uint8_t)(finder[i] >> 8);
    }
    for (unsigned at = 4; at < APP_PROGRAM_AT; at += 4)
        if (at < 0x1C || at > 0x28) /* reserved: zero */
            put32(image.data + at, base + FINDER_AT + 1);
    put32(image.data, sp);
    return image;
}

uint32_t finder_found(const struct board *b, enum finding what)
{
    return flash_word(b, KEEPS + 4 * what);
}

const char *finder_complaint(const struct board *b, uint32_t base, uint32_t sp)
{
    static char text[80];
    const struct {
        const char *name;
        enum finding finding;
        uint32_t mask, value;
    } wanted[] = {
        {"SP",          FOUND_SP,        0xFFFFFFFF, sp  },
        {"RCC_CR",      FOUND_RCC_CR,    0x050D0001, 1   }, /* HSI alone */
        {"RCC_CFGR",    FOUND_RCC_CFGR,  0xFFFFFFFF, 0   },
        {"RCC_APB1ENR", FOUND_APB1ENR,   0xFFFFFFFF, 0   }, /* USB's clock is off */
        {"RCC_APB2ENR", FOUND_APB2ENR,   0xFFFFFFFF, 0   },
        {"masks",       FOUND_MASKS,     0xFFFFFFFF, 0   },
        {"FLASH_ACR",   FOUND_FLASH_ACR, 0x1F,       0x10},
        {"FLASH_CR",    FOUND_FLASH_CR,  0xFFFFFFFF, 0x80}, /* locked */
        {"SYST_CSR",    FOUND_SYST_CSR,  7,          0   },
    };
    uint32_t vtor = finder_found(b, FOUND_VTOR);

    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        uint32_t is = finder_found(b, wanted[i].finding);
        if ((is & wanted[i].mask) != wanted[i].value) {
            snprintf(text, sizeof text, "%s is %08x", wanted[i].name, is);
            return text;
        }
    }
    if (vtor == base ||
        (base - FLASH < 0x80000 && vtor == base - FLASH)) /* flash stands at 0, too */
        return NULL;
    snprintf(text, sizeof text, "VTOR is %08x", vtor);
    return text;
}
