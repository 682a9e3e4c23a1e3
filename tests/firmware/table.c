/* SPDX-License-Identifier: MIT */
/* An application that fills most of 59 KB, and sums all of it, from its vector table on. */
#include "tests/firmware/guest.h"

enum { WORDS = 54 * 256 };
static const uint32_t table[WORDS] = {[0 ... WORDS - 1] = 0xC0FFEE};
extern const uint32_t data_source;

int main(void)
{
    const volatile uint32_t *word = (const uint32_t *)0x08000000;
    uint32_t sum = 0;

    print_hex((uint32_t)sizeof table);
    for (word += 2; word < &data_source;
         word++) /* word 1 is the bootloader's, where there is one */
        sum = (sum << 1 | sum >> 31) ^ *word;
    print(" bytes, sum ");
    print_hex(sum ^ table[sum % WORDS]);
    return 0;
}
