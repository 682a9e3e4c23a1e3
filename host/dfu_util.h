/* SPDX-License-Identifier: MIT */
/*
 * caboose in the place of dfu-util 0.11: its options, the lines that other programs read, its exit codes
 * and the requests that it sends, in its order. What is different on purpose stands in caboose-dfu-util(1)
 * with the reason, and tests/test_dfu_util_twin.c runs both programs side by side.
 */
#ifndef HOST_DFU_UTIL_H
#define HOST_DFU_UTIL_H

#include <stdbool.h>

/* True if a program of this name (argv[0]) is to be dfu-util. */
bool dfu_util_is(const char *program);

/* argv[0] is skipped. An exit code of sysexits.h; everything has been said. */
int dfu_util(int argc, char **argv);

#endif
