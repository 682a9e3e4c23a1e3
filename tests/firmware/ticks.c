/* SPDX-License-Identifier: MIT */
/* Ten interrupts of SysTick, waited for asleep: an application that needs its own vector table. */
#include "tests/firmware/guest.h"

#define SYST_CSR REG(0xe000e010)
#define SYST_RVR REG(0xe000e014)
#define SYST_CVR REG(0xe000e018)

static volatile uint32_t ticks;

void systick(void)
{
    ticks = ticks + 1;
}

int main(void)
{
    uint32_t seen = 0;

    SYST_RVR = 79999;
    SYST_CVR = 0;
    SYST_CSR = 7; /* of the core's clock, with its interrupt */
    while (seen < 10) {
        while (ticks == seen)
            __asm volatile("wfi");
        seen++;
        print("tick ");
        print_hex(seen);
        print("\n");
    }
    return 0;
}
