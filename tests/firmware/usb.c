/* SPDX-License-Identifier: MIT */
/*
 * A USB device for tests of the simulated board: polled, as plain as it can be.
 *
 * Vendor requests (wValue v): 01 OUT stores, 02 IN gives back what was stored (v bytes, whatever
 * wLength says less), 03 answers after v ms, 04 leaves the bus for v ms and comes back, 05 is
 * silent for ever, 06 erases the last page before it answers, 07 makes endpoint 2 send v.
 * Endpoint 1 sends back what it receives; endpoint 2 is an interrupt endpoint.
 */
#include "tests/firmware/guest.h"
#include <stdbool.h>

#define RCC_CR      REG(0x40021000)
#define RCC_CFGR    REG(0x40021004)
#define RCC_APB2ENR REG(0x40021018)
#define RCC_APB1ENR REG(0x4002101C)
#define FLASH_ACR   REG(0x40022000)
#define FLASH_KEYR  REG(0x40022004)
#define FLASH_SR    REG(0x4002200C)
#define FLASH_CR    REG(0x40022010)
#define FLASH_AR    REG(0x40022014)
#define GPIOA_CRH   REG(0x40010804)
#define GPIOA_BRR   REG(0x40010814)
#define STK_CTRL    REG(0xE000E010)
#define STK_LOAD    REG(0xE000E014)

#define HALF(addr) (*(volatile uint16_t *)(addr))
#define EPR(n)     HALF(0x40005C00 + 4 * (n))
#define CNTR       HALF(0x40005C40)
#define ISTR       HALF(0x40005C44)
#define DADDR      HALF(0x40005C4C)
#define BTABLE     HALF(0x40005C50)
#define PMA(at)    HALF(0x40006000 + 2 * (at))

enum { DISABLED, STALL, NAK, VALID };
enum { CONTROL = 0x200, BULK = 0x000, INTERRUPT = 0x600 };
enum { TX0 = 64, RX0 = 128, TX1 = 192, RX1 = 256, TX2 = 320 };

static const uint8_t device[18] = {
    18, 1, 0, 2, 255, 0, 0, 64, 0x09, 0x12, 0x01, 0x00, 0x34, 0x12, 1, 2, 3, 1};
static const uint8_t config[] = {9, 2, 39, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 3, 255, 0, 0, 0, 7, 5,
    0x01, 2, 64, 0, 0, 7, 5, 0x81, 2, 64, 0, 0, 7, 5, 0x82, 3, 8, 0, 10};
static const char *const strings[] = {"", "Makers", "USB guest", "0042"};

static uint8_t store[4096], text[64];
static const uint8_t *source; /* of an IN data stage */
static uint32_t left, stored; /* bytes to go in the data stage */
static bool zero_packet, receiving;
static uint8_t new_address, setup[8];

static uint32_t value(void)
{
    return setup[2] | setup[3] << 8;
}

static uint32_t length(void)
{
    return setup[6] | setup[7] << 8;
}

static void wait_ms(uint32_t ms)
{
    STK_LOAD = 72000 - 1;
    STK_CTRL = 5;
    REG(0xE000E018) = 0;
    while (ms--)
        while (!(STK_CTRL & 0x10000))
            continue;
}

static void start_clock(void)
{
    FLASH_ACR = 0x12;
    RCC_CR |= 1 << 16;
    while (!(RCC_CR & 1 << 17))
        continue;
    RCC_CFGR = 7 << 18 | 1 << 16 | 4 << 8;
    RCC_CR |= 1 << 24;
    while (!(RCC_CR & 1 << 25))
        continue;
    RCC_CFGR |= 2;
    while ((RCC_CFGR & 0xC) != 8)
        continue;
}

static void set_endpoint(unsigned n, unsigned type, unsigned rx, unsigned tx)
{
    unsigned now = EPR(n);
    EPR(n) = (uint16_t)(0x8080 | type | n | ((now ^ rx << 12) & 0x3000) | ((now ^ tx << 4) & 0x30));
}

static unsigned type_of(unsigned n)
{
    return EPR(n) & 0x600;
}

static void set_rx(unsigned n, unsigned stat)
{
    unsigned now = EPR(n);
    EPR(n) = (uint16_t)(0x8080 | type_of(n) | n | ((now ^ stat << 12) & 0x3000));
}

static void set_tx(unsigned n, unsigned stat)
{
    unsigned now = EPR(n);
    EPR(n) = (uint16_t)(0x8080 | type_of(n) | n | ((now ^ stat << 4) & 0x30));
}

static void copy_in(unsigned at, const uint8_t *data, unsigned n)
{
    for (unsigned i = 0; i < n; i += 2)
        PMA(at + i) = (uint16_t)(data[i] | (i + 1 < n ? data[i + 1] : 0) << 8);
}

static unsigned copy_out(unsigned at, unsigned count_at, uint8_t *data, unsigned room)
{
    unsigned n = PMA(count_at) & 0x3FF;
    for (unsigned i = 0; i < n && i < room; i++)
        data[i] = (uint8_t)(PMA(at + (i & ~1U)) >> 8 * (i & 1));
    return n;
}

static void start(void)
{
    CNTR = 1;
    CNTR = 0;
    ISTR = 0;
    BTABLE = 0;
}

static void bus_reset(void)
{
    ISTR = (uint16_t)~0x400;
    PMA(0) = TX0, PMA(4) = RX0, PMA(6) = 0x8400;
    PMA(8) = TX1, PMA(12) = RX1, PMA(14) = 0x8400;
    PMA(16) = TX2;
    for (unsigned n = 0; n < 8; n++)
        EPR(n) = 0; /* completions of before */
    set_endpoint(0, CONTROL, VALID, NAK);
    DADDR = 0x80;
}

static void send_part(void)
{
    unsigned n = left < 64 ? left : 64;
    copy_in(TX0, source, n);
    PMA(2) = (uint16_t)n;
    source += n;
    left -= n;
    if (n < 64)
        zero_packet = false;
    set_tx(0, VALID);
}

static void send(const void *data, uint32_t n)
{
    source = data;
    left = n < length() ? n : length();
    zero_packet = left < length() && left % 64 == 0;
    send_part();
}

static void acknowledge(void)
{
    PMA(2) = 0;
    set_tx(0, VALID);
}

static void refuse(void)
{
    set_endpoint(0, CONTROL, STALL, STALL);
    set_rx(0, STALL);
}

static void describe(void)
{
    unsigned type = setup[3], index = setup[2];
    if (type == 1) {
        send(device, sizeof device);
    } else if (type == 2) {
        send(config, sizeof config);
    } else if (type == 3 && index < 4) {
        unsigned n = 2;
        if (!index)
            text[2] = 0x09, text[3] = 0x04, n = 4;
        for (const char *s = strings[index]; *s; s++)
            text[n++] = (uint8_t)*s, text[n++] = 0;
        text[0] = (uint8_t)n;
        text[1] = 3;
        send(text, n);
    } else {
        refuse();
    }
}

static void erase(void)
{
    FLASH_KEYR = 0x45670123;
    FLASH_KEYR = 0xCDEF89AB;
    FLASH_CR = 2;
    FLASH_AR = 0x0800FC00;
    FLASH_CR = 0x42;
    while (FLASH_SR & 1)
        continue;
    FLASH_CR = 0x80;
}

static void leave_bus(uint32_t ms)
{
    acknowledge();
    wait_ms(5);
    CNTR = 3;
    GPIOA_BRR = 1 << 12;
    GPIOA_CRH = (GPIOA_CRH & ~0xF0000U) | 0x20000;
    wait_ms(ms);
    GPIOA_CRH = (GPIOA_CRH & ~0xF0000U) | 0x40000;
    start();
}

static void vendor(void)
{
    switch (setup[1]) {
    case 1:
        stored = 0;
        receiving = length() != 0;
        left = length();
        if (!receiving)
            acknowledge();
        break;
    case 2:
        send(store, value());
        break;
    case 3:
        wait_ms(value());
        acknowledge();
        break;
    case 4:
        leave_bus(value());
        break;
    case 5:
        for (;;)
            continue;
    case 6:
        erase();
        acknowledge();
        break;
    case 7:
        PMA(TX2) = (uint16_t)value();
        PMA(18) = 2;
        set_tx(2, VALID);
        acknowledge();
        break;
    default:
        refuse();
    }
}

static void standard(void)
{
    switch (setup[1]) {
    case 5:
        new_address = setup[2];
        acknowledge();
        break;
    case 6:
        describe();
        break;
    case 9:
        EPR(1) = 0, EPR(2) = 0;
        EPR(1) = EPR(1) & 0x7070; /* toggles and states to 0 */
        EPR(2) = EPR(2) & 0x7070;
        set_endpoint(1, BULK, VALID, NAK);
        set_endpoint(2, INTERRUPT, DISABLED, NAK);
        acknowledge();
        break;
    case 11:
        acknowledge();
        break;
    default:
        refuse();
    }
}

static void take_setup(void)
{
    copy_out(RX0, 6, setup, 8);
    left = 0;
    receiving = zero_packet = false;
    EPR(0) = (uint16_t)(0x0080 | CONTROL); /* CTR_RX off */
    if (setup[0] & 0x40)
        vendor();
    else
        standard();
    if (receiving || setup[0] & 0x80)
        set_rx(0, (EPR(0) & 0x3000) == 0x1000 ? STALL : VALID);
}

static void take_out(void)
{
    if (receiving) {
        unsigned n = copy_out(RX0, 6, store + stored, sizeof store - stored);
        stored += n;
        left -= n;
        receiving = left && n == 64;
        if (!receiving)
            acknowledge();
    }
    EPR(0) = (uint16_t)(0x0080 | CONTROL);
    set_rx(0, VALID);
}

static void sent(void)
{
    EPR(0) = (uint16_t)(0x8000 | CONTROL);
    if (new_address) {
        DADDR = (uint16_t)(0x80 | new_address);
        new_address = 0;
    }
    if (left || zero_packet)
        send_part();
    else
        set_rx(0, VALID);
}

static void loop_back(void)
{
    static uint8_t packet[64];
    if (EPR(1) & 0x8000) {
        unsigned n = copy_out(RX1, 14, packet, 64);
        EPR(1) = 0x0080 | 1;
        copy_in(TX1, packet, n);
        PMA(10) = (uint16_t)n;
        set_tx(1, VALID);
    }
    if (EPR(1) & 0x0080) {
        EPR(1) = 0x8000 | 1;
        set_rx(1, VALID);
    }
    if (EPR(2) & 0x0080)
        EPR(2) = 0x8000 | INTERRUPT | 2;
}

int main(void)
{
    start_clock();
    RCC_APB2ENR |= 1 << 2;
    RCC_APB1ENR |= 1 << 23;
    start();
    for (;;) {
        if (ISTR & 0x400)
            bus_reset();
        if (EPR(0) & 0x0080)
            sent();
        if (EPR(0) & 0x8000) {
            if (EPR(0) & 0x0800)
                take_setup();
            else
                take_out();
        }
        loop_back();
    }
}
