/* SPDX-License-Identifier: MIT */
/*
 * Handlers in all words that ARMv7-M reserves, as the tables of ChibiOS and NuttX have them. Looks
 * whether the table in flash is still the one that was linked, then lives by TIM2's interrupt.
 */
#include "clock.h"
#include "startup.h"
#include "stm32f103.h"
#include "uart.h"
#include "version.h"

#define NAME    "vectors " VERSION_TEXT
#define TABLE   ((const volatile uint32_t *)0x08000000)
#define TICK_HZ 100U

static volatile uint32_t tim2_interrupts;
static volatile uint32_t reserved_seen; /* also keeps the compiler from merging the handlers */

// clang-format off
void reserved_1c_handler(void) { reserved_seen = 0x1C; }
void reserved_20_handler(void) { reserved_seen = 0x20; }
void reserved_24_handler(void) { reserved_seen = 0x24; }
void reserved_28_handler(void) { reserved_seen = 0x28; }
void reserved_34_handler(void) { reserved_seen = 0x34; }

static const struct {
    uint32_t offset;
    void (*handler)(void);
} reserved[] = {
    {0x1C, reserved_1c_handler},
    {0x20, reserved_20_handler},
    {0x24, reserved_24_handler},
    {0x28, reserved_28_handler},
    {0x34, reserved_34_handler},
};
// clang-format on

static void check_reserved_vectors(void)
{
    uint32_t wrong = 0;
    for (unsigned i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        const uint32_t found = TABLE[reserved[i].offset / 4U];
        const uint32_t expected = (uint32_t)reserved[i].handler;
        if (found == expected)
            continue;
        wrong++;
        uart_puts(NAME ": error: word ");
        uart_put_word(reserved[i].offset);
        uart_puts(" is ");
        uart_put_word(found);
        uart_puts(", not ");
        uart_put_word(expected);
        uart_puts("\r\n");
    }
    if (!wrong)
        uart_puts(NAME ": reserved vectors intact\r\n");
}

void tim2_handler(void)
{
    TIM2->SR = ~TIM_SR_UIF;
    tim2_interrupts++;
}

/* The timers of APB1 run at the core's clock: PCLK1 at half of it is doubled for them. */
static void tim2_init(uint32_t core_hz)
{
    RCC->APB1ENR |= RCC_APB1ENR_TIM2EN;
    TIM2->PSC = core_hz / 10000U - 1U;
    TIM2->ARR = 10000U / TICK_HZ - 1U;
    TIM2->EGR = TIM_EGR_UG; /* takes the prescaler over, and raises UIF */
    TIM2->SR = ~TIM_SR_UIF;
    TIM2->DIER = TIM_DIER_UIE;
    irq_enable(IRQ_TIM2);
    TIM2->CR1 = TIM_CR1_CEN;
}

int main(void)
{
    const uint32_t hz = clock_init();
    uart_init(hz);
    check_reserved_vectors();
    tim2_init(hz);

    for (uint32_t next = TICK_HZ;; next += TICK_HZ) {
        while (tim2_interrupts < next)
            wait_for_interrupt();
        uart_puts(NAME ": ");
        uart_put_number(next);
        uart_puts(" TIM2 interrupts\r\n");
    }
}
