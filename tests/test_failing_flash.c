/* SPDX-License-Identifier: MIT */
/*
 * Flash that fails in one operation of a session: an error flag, nothing done in silence, weak cells,
 * a stuck bit, BSY for long or for ever. The host is never told OK with wrong bytes in flash, nothing
 * hangs, and on good flash the board takes a normal download (P3, P5, P6).
 */
#include "slices.h"

#include <criterion/criterion.h>

static void each_nth(const char *flow, const char *part, uint64_t nth)
{
    cr_expect_gt(check_faults(flow, part, 20265, nth).faults, 20);
}

Test(failing_flash, is_never_ok_with_wrong_bytes_in_an_update, .timeout = 120)
{
    each_nth("update", "stm32f103c4", 7);
    each_nth("update", "stm32f103c8", 397);
}

Test(failing_flash, nor_with_pages_of_2_kb, .timeout = 120)
{
    each_nth("first", "stm32f103rc", 499);
    each_nth("mass-first", "stm32f103re", 499);
}

Test(failing_flash, nor_when_data_come_beside_an_application, .timeout = 120)
{
    each_nth("settings", "stm32f103c4", 61);
}

Test(failing_flash, nor_with_an_image_linked_for_another_address, .timeout = 120)
{
    each_nth("offset", "stm32f103c4", 11);
    each_nth("offset-beside", "stm32f103rc", 997);
}

Test(failing_flash, puts_an_installation_off_until_it_is_good_again, .timeout = 120)
{
    each_nth("install", "stm32f103c8", 401);
    each_nth("install-former", "stm32f103rc", 401);
}

Test(failing_flash, is_never_ok_when_a_mass_erase_left_a_page, .timeout = 120)
{
    each_nth("mass-erase", "stm32f103c4", 1);
}
