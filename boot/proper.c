/* SPDX-License-Identifier: MIT */
/*
 * The bootloader proper as one translation unit: a register that is kept for one thing in all of it,
 * the pointer to the state (boot.h), cannot be said to a link-time optimiser. It is worth 200 bytes.
 */
// clang-format off
#include "boot.h"

#include "core/dfu_state.c"
#include "app.c"
#if !HEAD
#include "commit.c"
#endif
#include "options.c"
#include "dfu.c"
#include "descriptors.c"
#include "usb.c"
#include "main.c"
// clang-format on
