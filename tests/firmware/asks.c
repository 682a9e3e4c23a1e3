/* SPDX-License-Identifier: MIT */
/* An application that does what it is told on USART1, a word on a line, with what examples/caboose.h
 * offers, and says what it learned from there. It needs r0 as it was at reset, so its own vectors stand in
 * front of startup.c's. */
#include "examples/caboose.h"
#include "tests/firmware/guest.h"

#define RCC_APB2ENR REG(0x40021018)
#define GPIOA_CRH   REG(0x40010804)
#define USART1_SR   REG(0x40013800)
#define USART1_DR   REG(0x40013804)
#define USART1_BRR  REG(0x40013808)
#define USART1_CR1  REG(0x4001380c)

extern uint32_t stack_top;
void entry(uint32_t r0);

__attribute__((section(".vectors"), used)) static const void *const own_vectors[16] = {
    [0] = &stack_top,
    [1] = entry,
};

/* The first letter of a line. */
static char read_order(void)
{
    for (char order = 0, c;; order = order ? order : c) {
        while (!(USART1_SR & 0x20)) /* RXNE */
            continue;
        c = (char)USART1_DR;
        if (c == '\r')
            return order;
    }
}

static void obey(char order)
{
    switch (order) {
    case 'b': /* backup */
        caboose_enter_dfu();
    case 'r': /* ram */
        caboose_enter_dfu_by_ram();
    case 'h': /* healthy */
        caboose_healthy();
        print("healthy\n");
        break;
    case 'c': /* crash */
        caboose_reset();
    default:
        print("?\n");
    }
}

void entry(uint32_t r0)
{
    uint32_t cause = caboose_reset_cause(r0);
    const char *version = caboose_version();
    RCC_APB2ENR = 0x4005;   /* USART1, GPIOA, AFIO */
    GPIOA_CRH = 0x444444b4; /* PA9: alternate function; PA10: floating */
    USART1_BRR = 8000000 / 115200;
    USART1_CR1 = 0x200c; /* UE, TE, RE */
    print("asks: cause ");
    print_hex(cause);
    print(", on ");
    print(version ? version : "its own");
    print("\n");
    for (;;)
        obey(read_order());
}

int main(void)
{
    return 0;
}
