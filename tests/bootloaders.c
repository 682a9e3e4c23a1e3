/* SPDX-License-Identifier: MIT */
#include "bootloaders.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const struct bootloader bootloaders[] = {
    {"bluepill-tail",      4, "t380", FLASH,          8000000,          0,   0, 1, false, 0, true },
    {"bluepill-full-tail", 5, "t480", FLASH,          8000000,          0,   0, 1, false, 0, true },
    {"maple-mini-tail",    4, "t38A", FLASH,          8000000,          'B', 9, 0, true,  0, true },
    {"f103-12mhz-tail",    5, "t4C0", FLASH,          12000000,         0,   0, 1, false, 0, true },
    {"f103-16mhz-tail",    5, "t4G0", FLASH,          16000000,         0,   0, 1, false, 5, false},
    {"f103-hsi-tail",      4, "t300", FLASH,          BOARD_NO_CRYSTAL, 0,   0, 2, false, 0, false},
    {"bluepill-head",      4, "h480", FLASH + 0x1000, 8000000,          0,   0, 1, false, 0, true },
    {"maple-mini-head",    4, "h88A", FLASH + 0x2000, 8000000,          'B', 9, 0, true,  0, true },
    {"f103-16mhz-head",    4, "hWG0", FLASH + 0x8000, 16000000,         0,   0, 1, false, 5, true },
};

const struct bootloader *use_bootloader(const char *name)
{
    static char paths[sizeof bootloaders / sizeof *bootloaders][48];
    const struct bootloader *b = bootloaders, *end = b + sizeof bootloaders / sizeof *b;

    while (b < end && strcmp(b->name, name) != 0)
        b++;
    cr_assert(b < end, "%s is no image of boot/boards/", name);
    snprintf(paths[b - bootloaders], sizeof *paths, "build/firmware/%s.bin", name);
    bootloader_path = paths[b - bootloaders];
    app_base = b->base;
    board_design = (struct board_config){.hse_hz = b->hse_hz,
        .usb_on_hsi = b->hse_hz == BOARD_NO_CRYSTAL,
        .pull_up_port = b->pull_up_port,
        .pull_up_pin = b->pull_up_pin};
    return b;
}
