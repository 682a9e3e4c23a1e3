/* SPDX-License-Identifier: MIT */
/* The chips that the simulated board can carry: one row each, facts only. */
#ifndef SIM_PARTS_H
#define SIM_PARTS_H

#include <stddef.h>
#include <stdint.h>

/* Density classes of the F103 line (PM0075 §1); bits, so that a device can name those that have it. */
enum {
    DENSITY_LOW = 1,
    DENSITY_MEDIUM = 2,
    DENSITY_HIGH = 4,
};

struct part {
    const char *name;
    uint16_t flash_kb;
    uint16_t page_size; /* bytes that one page erase clears */
    uint16_t ram_kb;
    uint8_t density;
    uint8_t backup_registers; /* BKP_DR1 … */
    uint8_t irqs;             /* interrupt inputs that the NVIC has */
    uint16_t dev_id;          /* DBGMCU_IDCODE[11:0], as a debugger sees it */
};

extern const struct part parts[];
extern const size_t part_count;

/* The row of that name, or NULL. Upper and lower case are the same. */
const struct part *part_find(const char *name);

#endif
