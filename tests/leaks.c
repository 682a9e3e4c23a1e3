/* SPDX-License-Identifier: MIT */
#include "leaks.h"

#ifdef __SANITIZE_ADDRESS__

#include <criterion/criterion.h>
#include <sanitizer/lsan_interface.h>

const char *__asan_default_options(void);

/* Not at the end of the process: the test framework's own would count, and ours would come too late. */
const char *__asan_default_options(void)
{
    return "leak_check_at_exit=0";
}

void leaks_expect_none(void)
{
    cr_expect(__lsan_do_recoverable_leak_check() == 0, "memory was lost");
}

#else

void leaks_expect_none(void) {}

#endif
