/* SPDX-License-Identifier: MIT */
/* What startup.c offers to the test images. */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

#define REG(addr)  (*(volatile uint32_t *)(addr))
#define REG8(addr) (*(volatile uint8_t *)(addr))

/* USART1: QEMU's stm32vldiscovery and the board of test_cpu.c both show it. */
void print_char(int c);
void print(const char *text);
void print_hex(uint32_t value);

/* Ends the run: prints DONE and asks for a system reset. */
_Noreturn void finish(void);

#endif
