/* SPDX-License-Identifier: MIT */
/* The LED of a Blue Pill, by the SysTick interrupt; the time since start on USART1. */
#include "clock.h"
#include "startup.h"
#include "stm32f103.h"
#include "uart.h"
#include "version.h"

#define NAME      "blinky " VERSION_TEXT
#define LED       13U /* PC13, lit by a low level */
#define TOGGLE_MS 100U

static volatile uint32_t uptime_ms;

static void led_init(void)
{
    RCC->APB2ENR |= RCC_APB2ENR_IOPCEN;
    GPIOC->BSRR = 1U << LED;
    const unsigned shift = (LED - 8U) * 4U;
    GPIOC->CRH = (GPIOC->CRH & ~(0xFU << shift)) | GPIO_OUTPUT_2MHZ << shift;
}

static void led_toggle(void)
{
    const uint32_t lit = ~GPIOC->ODR & 1U << LED;
    GPIOC->BSRR = lit ? 1U << LED : 1U << (LED + 16U);
}

void systick_handler(void)
{
    uptime_ms++;
    if (uptime_ms % TOGGLE_MS == 0)
        led_toggle();
}

int main(void)
{
    const uint32_t hz = clock_init();
    uart_init(hz);
    uart_puts(NAME ": hello from 0x08000000\r\n");
    if (hz == CLOCK_HSI_HZ)
        uart_puts(NAME ": no crystal, 8 MHz from HSI\r\n");
    led_init();
    SYSTICK->LOAD = hz / 1000U - 1U;
    SYSTICK->VAL = 0;
    SYSTICK->CTRL = SYSTICK_CTRL_CLKSOURCE | SYSTICK_CTRL_TICKINT | SYSTICK_CTRL_ENABLE;

    for (uint32_t seconds = 1;; seconds++) {
        while (uptime_ms < seconds * 1000U)
            wait_for_interrupt();
        uart_puts(NAME ": up ");
        uart_put_number(seconds);
        uart_puts(" s\r\n");
    }
}
