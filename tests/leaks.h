/* SPDX-License-Identifier: MIT */
/* Memory that was lost, told by AddressSanitizer; without it nothing is known, and nothing happens. */
#ifndef TESTS_LEAKS_H
#define TESTS_LEAKS_H

/* Fails the test if it lost memory so far. To be called when it holds none on purpose: as the last word. */
void leaks_expect_none(void);

#endif
