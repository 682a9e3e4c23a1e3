/* SPDX-License-Identifier: MIT */
/* What test_board.c and its guest agree on. */
#ifndef BOARD_POKE_H
#define BOARD_POKE_H

#include <stdint.h>

#define MAILBOX_ADDR UINT32_C(0x20003000)

enum {
    POKE_READ32,
    POKE_READ16,
    POKE_READ8,
    POKE_WRITE32,
    POKE_WRITE16,
    POKE_WRITE8,
    POKE_WAIT_CLEAR,  /* until no bit of value is set at addr */
    POKE_PROBE,       /* with FAULTMASK set: loads addr */
    POKE_PROBE_STORE, /* with FAULTMASK set: stores value there */
    POKE_WRITE_READ,  /* stores value at addr, loads addr2 with the next instruction */
    POKE_STEPS = 32,
    POKE_GO_FLASH = 0x464C4153, /* run the steps from flash … */
    POKE_GO_RAM = 0x52414D52,   /* … from RAM */
};

struct poke {
    uint32_t op, addr, value, addr2;
};

struct mailbox {
    uint32_t go; /* 0 again when done */
    uint32_t count, faults;
    struct poke step[POKE_STEPS];
};

#endif
