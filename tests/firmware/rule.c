/* SPDX-License-Identifier: MIT */
/* Breaks a rule of the hardware: stores to FLASH_CR although LOCK is set. Says where it is going to
 * do so, and whether it came back from there. */
#include "tests/firmware/guest.h"

#define RCC_APB2ENR REG(0x40021018)
#define GPIOA_CRH   REG(0x40010804)
#define USART1_SR   REG(0x40013800)
#define USART1_BRR  REG(0x40013808)
#define USART1_CR1  REG(0x4001380c)
#define FLASH_CR    REG(0x40022010)

__attribute__((noinline)) static void break_rule(void)
{
    FLASH_CR = 1; /* PG */
}

int main(void)
{
    RCC_APB2ENR = 0x4005;   /* USART1, GPIOA, AFIO */
    GPIOA_CRH = 0x444444b4; /* PA9: alternate function */
    USART1_BRR = 8000000 / 115200;
    USART1_CR1 = 0x2008; /* UE, TE */
    print("breaks it at ");
    print_hex((uint32_t)break_rule);
    print("\n");
    while (!(USART1_SR & 0x40)) /* TC: all of it has left */
        continue;
    break_rule();
    print("goes on\n");
    for (;;)
        continue;
}
