/* SPDX-License-Identifier: MIT */
/* The images of boot/boards/, and boards that are as each of them says. */
#ifndef TESTS_BOOTLOADERS_H
#define TESTS_BOOTLOADERS_H

#include "dfu_host.h"

struct bootloader {
    const char *name; /* of its file: build/firmware/<name>.bin */
    unsigned kb;      /* of the image, at most */
    char layout[5];   /* word 6, LAYOUT_TEXT of boot/layout.h */
    uint32_t base;    /* where applications begin */
    uint32_t hse_hz;
    char pull_up_port; /* the pin that switches D+'s pull-up; 0: it is there for good */
    unsigned pull_up_pin;
    unsigned presses; /* of the reset button, in quick succession, that lead into DFU; 0: none do */
    bool pb8;         /* leads into DFU when it is high at reset: a button there */
    unsigned resets;  /* in a row without the application's word, that do; 0: never */
    bool dr1;         /* so does a request in BKP_DR1 */
};

/* From now on boards carry the image of this name, and are as it says. */
const struct bootloader *use_bootloader(const char *name);

/* A promise of one image, in a process of its own: promise(use_bootloader(name)). */
#define PROMISE(suite, board, name, promise)                                                       \
    Test(suite, board##_##promise)                                                                 \
    {                                                                                              \
        promise(use_bootloader(name));                                                             \
    }

/* What stands at fixed places from the start of an image, and of its stub: a sum of the proper (tail layout);
 * where, from here, the text "caboose <version>" stands; the layout. boot/stub.h. */
enum { NAME_AT = 0x08, SUM_AT = 0x10, TEXT_AT = 0x14, LAYOUT_AT = 0x18, STUB_SIZE = 1024 };

#endif
