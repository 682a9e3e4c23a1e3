/* SPDX-License-Identifier: MIT */
#include "parts.h"

#include <strings.h>

/* Flash, page: PM0075 §2.1. RAM: DS5319 and its like. DEV_ID: RM0008 §31.6.1. Backup registers: RM0008
 * §6. IRQs: RM0008 §10.1. The last letter but one is the package; what it leaves out is not modelled. */
// clang-format off
const struct part parts[] = {
    /*                flash  page  RAM  density         BKP IRQs DEV_ID */
    {"stm32f103t4",   16,  1024,   6, DENSITY_LOW,    10, 43, 0x412},
    {"stm32f103c4",   16,  1024,   6, DENSITY_LOW,    10, 43, 0x412},
    {"stm32f103r4",   16,  1024,   6, DENSITY_LOW,    10, 43, 0x412},
    {"stm32f103t6",   32,  1024,  10, DENSITY_LOW,    10, 43, 0x412},
    {"stm32f103c6",   32,  1024,  10, DENSITY_LOW,    10, 43, 0x412},
    {"stm32f103r6",   32,  1024,  10, DENSITY_LOW,    10, 43, 0x412},
    {"stm32f103t8",   64,  1024,  20, DENSITY_MEDIUM, 10, 43, 0x410},
    {"stm32f103c8",   64,  1024,  20, DENSITY_MEDIUM, 10, 43, 0x410},
    {"stm32f103r8",   64,  1024,  20, DENSITY_MEDIUM, 10, 43, 0x410},
    {"stm32f103v8",   64,  1024,  20, DENSITY_MEDIUM, 10, 43, 0x410},
    {"stm32f103tb",  128,  1024,  20, DENSITY_MEDIUM, 10, 43, 0x410},
    {"stm32f103cb",  128,  1024,  20, DENSITY_MEDIUM, 10, 43, 0x410},
    {"stm32f103rb",  128,  1024,  20, DENSITY_MEDIUM, 10, 43, 0x410},
    {"stm32f103vb",  128,  1024,  20, DENSITY_MEDIUM, 10, 43, 0x410},
    {"stm32f103rc",  256,  2048,  48, DENSITY_HIGH,   42, 60, 0x414},
    {"stm32f103vc",  256,  2048,  48, DENSITY_HIGH,   42, 60, 0x414},
    {"stm32f103zc",  256,  2048,  48, DENSITY_HIGH,   42, 60, 0x414},
    {"stm32f103rd",  384,  2048,  64, DENSITY_HIGH,   42, 60, 0x414},
    {"stm32f103vd",  384,  2048,  64, DENSITY_HIGH,   42, 60, 0x414},
    {"stm32f103zd",  384,  2048,  64, DENSITY_HIGH,   42, 60, 0x414},
    {"stm32f103re",  512,  2048,  64, DENSITY_HIGH,   42, 60, 0x414},
    {"stm32f103ve",  512,  2048,  64, DENSITY_HIGH,   42, 60, 0x414},
    {"stm32f103ze",  512,  2048,  64, DENSITY_HIGH,   42, 60, 0x414},
};
// clang-format on
const size_t part_count = sizeof parts / sizeof parts[0];

const struct part *part_find(const char *name)
{
    for (size_t i = 0; i < part_count; i++)
        if (strcasecmp(parts[i].name, name) == 0)
            return &parts[i];
    return NULL;
}
