/* SPDX-License-Identifier: MIT */
#include "uart.h"

#include "stm32f103.h"

#define BAUD     115200U
#define PA9(cfg) ((cfg) << 4)

void uart_init(uint32_t pclk2_hz)
{
    RCC->APB2ENR |= RCC_APB2ENR_IOPAEN | RCC_APB2ENR_USART1EN;
    GPIOA->CRH = (GPIOA->CRH & ~PA9(0xFU)) | PA9(GPIO_ALTERNATE_10MHZ);
    USART1->BRR = (pclk2_hz + BAUD / 2) / BAUD;
    USART1->CR1 = USART_CR1_UE | USART_CR1_TE;
}

void uart_putc(char c)
{
    while (!(USART1->SR & USART_SR_TXE))
        ;
    USART1->DR = (unsigned char)c;
}

void uart_puts(const char *text)
{
    while (*text)
        uart_putc(*text++);
}

void uart_put_number(uint32_t number)
{
    char digits[11];
    char *p = digits + sizeof digits;
    *--p = '\0';
    do {
        *--p = (char)('0' + number % 10U);
        number /= 10U;
    } while (number);
    uart_puts(p);
}

void uart_put_word(uint32_t word)
{
    uart_puts("0x");
    for (int shift = 28; shift >= 0; shift -= 4)
        uart_putc("0123456789ABCDEF"[word >> shift & 0xFU]);
}
