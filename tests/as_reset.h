/* SPDX-License-Identifier: MIT */
/* An application is started as if from reset: what its first instruction finds, against what the reset left. */
#ifndef TESTS_AS_RESET_H
#define TESTS_AS_RESET_H

#include "bootloaders.h"

/* The reset under way ends; then the application's first instruction, which is BKPT (IMAGE_BREAKS), finds all of
 * RAM, the core and each peripheral as that left it: but r0, VTOR, and what this bootloader says it changes, the
 * flags in RCC_CSR and its count of resets. */
void check_starts_as_from_reset(const struct bootloader *d, struct board *b, const struct app *app);

#endif
