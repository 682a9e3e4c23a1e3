/* SPDX-License-Identifier: MIT */
/* USART1 on PA9, transmit only, 115200 8N1, polled. */
#ifndef UART_H
#define UART_H

#include <stdint.h>

/* pclk2_hz: the clock of APB2, equal to the core's in all examples. */
void uart_init(uint32_t pclk2_hz);
void uart_putc(char c);
void uart_puts(const char *text);
void uart_put_number(uint32_t number); /* decimal */
void uart_put_word(uint32_t word);     /* 0x and eight digits */

#endif
