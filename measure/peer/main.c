/* SPDX-License-Identifier: MIT */
/*
 * A DfuSe bootloader of the usual kind, to compare ours with: it sits at the beginning of flash, and
 * carries out each command when it comes, an erase for each page that the host wants erased, each
 * half-word that it sends. It gives back what it holds, does nothing else, and trusts the host. It announces
 *
 *   POLL_MS 100   100 ms whatever the command, as bootloaders of this kind mostly do
 *   POLL_MS 0     what the command takes on typical cells
 *
 * Sources: AN3156; DFU 1.1 §6; USB 2.0 §9; RM0008 §23; PM0075 §2.3.
 */
#include "clock.h"
#include "startup.h"
#include "stm32f103.h"

#include <stdbool.h>

enum {
    PACKET = 64,
    BLOCK = 1024, /* wTransferSize, and a page */
    EP0_TX = 0x40,
    EP0_RX = 0x80,
    ERASE_MS = 31,
    HALF_WORDS_PER_MS = 19, /* of 52.5 µs */

    FLASH_SR_BSY = 1 << 0,
    FLASH_CR_PG = 1 << 0,
    FLASH_CR_PER = 1 << 1,
    FLASH_CR_STRT = 1 << 6,

    DFU_IDLE = 2,
    DFU_DNLOAD_SYNC = 3,
    DFU_DNBUSY = 4,
    DFU_DNLOAD_IDLE = 5,
    DFU_UPLOAD_IDLE = 9,
};

/* bRequest, with bmRequestType above it */
enum request {
    SET_ADDRESS = 0x0005,
    SET_CONFIGURATION = 0x0009,
    SET_INTERFACE = 0x010B,
    GET_DESCRIPTOR = 0x8006,
    DFU_DNLOAD = 0x2101,
    DFU_UPLOAD = 0xA102,
    DFU_GETSTATUS = 0xA103,
    DFU_CLRSTATUS = 0x2104,
    DFU_GETSTATE = 0xA105,
    DFU_ABORT = 0x2106,
};

// clang-format off
static const uint8_t device_descriptor[] = {
    18, 1, 0x00, 0x02, 0, 0, 0, PACKET, 0x83, 0x04, 0x11, 0xDF, 0x00, 0x01, 0, 1, 1, 1};
static const uint8_t configuration_descriptor[] = {
    9, 2, 27, 0, 1, 1, 0, 0x80, 50,
    9, 4, 0, 0, 0, 0xFE, 1, 2, 2,
    9, 0x21, 0x0B, 255, 0, BLOCK & 0xFF, BLOCK >> 8, 0x1A, 0x01};
// clang-format on

#define STRING_DESCRIPTOR(name, text)                                                              \
    static const struct {                                                                          \
        uint8_t bLength, bDescriptorType;                                                          \
        uint16_t wText[sizeof(text) / 2 - 1];                                                      \
    } name = {sizeof(text), 3, text}
STRING_DESCRIPTOR(languages, u"\x0409");
STRING_DESCRIPTOR(product, u"peer");
STRING_DESCRIPTOR(memory, u"@Internal Flash  /0x08000000/8*001Ka,56*001Kg");

static uint8_t block[BLOCK], status[6] = {[4] = DFU_IDLE};
static uint16_t block_number, block_size;
static uint32_t pointer;

/* The control transfer under way. */
static const uint8_t *sending; /* what is left to send; NULL: nothing */
static unsigned to_send, received, to_receive;
static int address; /* to take after the status stage; -1: none */
static uint16_t request;

/* ---- flash ------------------------------------------------------------------------------------*/

static void flash_wait(void)
{
    while (FLASH->SR & FLASH_SR_BSY)
        continue;
}

static void erase(uint32_t page)
{
    FLASH->CR = FLASH_CR_PER;
    FLASH->AR = page;
    FLASH->CR = FLASH_CR_PER | FLASH_CR_STRT;
    flash_wait();
    FLASH->CR = 0;
}

static void program(uint32_t addr)
{
    FLASH->CR = FLASH_CR_PG;
    for (unsigned n = 0; n + 1 < block_size; n += 2) {
        *(volatile uint16_t *)(addr + n) = (uint16_t)(block[n] | block[n + 1] << 8);
        flash_wait();
    }
    FLASH->CR = 0;
}

static uint32_t operand(void)
{
    return (uint32_t)block[1] | (uint32_t)block[2] << 8 | (uint32_t)block[3] << 16 |
           (uint32_t)block[4] << 24;
}

static bool is_erase(void)
{
    return block_number == 0 && block[0] == 0x41;
}

static uint8_t poll_ms(void)
{
    if (POLL_MS)
        return POLL_MS;
    if (is_erase())
        return ERASE_MS;
    return (uint8_t)(block_number ? 1 + block_size / 2 / HALF_WORDS_PER_MS : 1);
}

static void carry_out(void)
{
    if (block_number)
        program(pointer + (block_number - 2U) * BLOCK);
    else if (is_erase())
        erase(operand());
    else
        pointer = operand();
    status[4] = DFU_DNLOAD_IDLE;
}

/* ---- endpoint 0 -------------------------------------------------------------------------------*/

/* Takes completions off and sets both directions. */
static void ep0_update(uint32_t done, uint32_t mask, uint32_t wanted)
{
    const uint32_t epr = USB->EPR[0];
    const uint32_t ctr = (USB_EP_CTR_RX | USB_EP_CTR_TX) & ~done;
    USB->EPR[0] = (epr & (USB_EP_TYPE | USB_EP_KIND | USB_EP_EA)) | ctr | ((epr ^ wanted) & mask);
}

static void go_on(uint32_t wanted)
{
    ep0_update(0, USB_EP_STAT_TX | USB_EP_STAT_RX, wanted);
}

/* The next packet of what is to be sent; none is the status stage's. */
static void send_packet(void)
{
    const unsigned size = to_send < PACKET ? to_send : PACKET;

    for (unsigned n = 0; n < size; n += 2)
        USB_PMA[(EP0_TX + n) / 2] = sending[n] | (n + 1 < size ? (uint32_t)sending[n + 1] << 8 : 0);
    USB_PMA[1] = size;
    sending += size;
    to_send -= size;
    go_on(USB_EP_TX_VALID | USB_EP_RX_VALID);
}

static void send(const void *data, unsigned size, unsigned wLength)
{
    sending = data;
    to_send = size < wLength ? size : wLength;
    send_packet();
}

static void stall(void)
{
    go_on(USB_EP_TX_STALL | USB_EP_RX_STALL);
}

static void get_descriptor(uint16_t which, uint16_t wLength)
{
    switch (which) {
    case 0x0100:
        send(device_descriptor, sizeof device_descriptor, wLength);
        return;
    case 0x0200:
        send(configuration_descriptor, sizeof configuration_descriptor, wLength);
        return;
    case 0x0300:
        send(&languages, sizeof languages, wLength);
        return;
    case 0x0301:
        send(&product, sizeof product, wLength);
        return;
    case 0x0302:
        send(&memory, sizeof memory, wLength);
        return;
    default:
        stall();
    }
}

static void get_status(uint16_t wLength)
{
    const bool busy = status[4] == DFU_DNLOAD_SYNC;
    status[1] = busy ? poll_ms() : 0;
    if (busy)
        status[4] = DFU_DNBUSY;
    send(status, sizeof status, wLength);
}

static void download(uint16_t wValue, uint16_t wLength)
{
    if (wLength == 0 || wLength > BLOCK) {
        stall();
        return;
    }
    block_number = wValue;
    to_receive = block_size = wLength;
    go_on(USB_EP_TX_NAK | USB_EP_RX_VALID);
}

static void upload(uint16_t wValue, uint16_t wLength)
{
    if (wValue < 2 || wLength > BLOCK) {
        stall();
        return;
    }
    status[4] = DFU_UPLOAD_IDLE;
    send((const uint8_t *)(pointer + (wValue - 2U) * BLOCK), wLength, wLength);
}

static void setup(void)
{
    const uint16_t first = (uint16_t)USB_PMA[EP0_RX / 2];
    const uint16_t wValue = (uint16_t)USB_PMA[EP0_RX / 2 + 1];
    const uint16_t wLength = (uint16_t)USB_PMA[EP0_RX / 2 + 3];

    request = (uint16_t)(first << 8 | first >> 8);
    address = -1;
    received = to_receive = 0;
    switch (request) {
    case GET_DESCRIPTOR:
        get_descriptor(wValue, wLength);
        return;
    case SET_ADDRESS:
        address = wValue & 0x7F;
        send(NULL, 0, 0);
        return;
    case SET_CONFIGURATION:
    case SET_INTERFACE:
        send(NULL, 0, 0);
        return;
    case DFU_DNLOAD:
        download(wValue, wLength);
        return;
    case DFU_UPLOAD:
        upload(wValue, wLength);
        return;
    case DFU_GETSTATUS:
        get_status(wLength);
        return;
    case DFU_GETSTATE:
        send(status + 4, 1, wLength);
        return;
    case DFU_CLRSTATUS:
    case DFU_ABORT:
        status[4] = DFU_IDLE;
        send(NULL, 0, 0);
        return;
    default:
        stall();
    }
}

static void receive_packet(void)
{
    const unsigned size = USB_PMA[3] & 0x3FF;

    for (unsigned n = 0; n < size && received < to_receive; n++, received++)
        block[received] = (uint8_t)(USB_PMA[(EP0_RX + n) / 2] >> (n & 1 ? 8 : 0));
    if (received < to_receive) {
        go_on(USB_EP_TX_NAK | USB_EP_RX_VALID);
    } else if (to_receive) {
        status[4] = DFU_DNLOAD_SYNC;
        to_receive = 0;
        send(NULL, 0, 0);
    } else if (request == DFU_GETSTATUS && status[4] == DFU_DNBUSY) {
        carry_out(); /* the host has the status: only now may the CPU stand still */
    }
}

static void sent_packet(void)
{
    if (address >= 0)
        USB->DADDR = USB_DADDR_EF | (uint32_t)address;
    address = -1;
    if (to_send)
        send_packet();
}

static void bus_reset(void)
{
    const uint32_t toggles = USB_EP_STAT_RX | USB_EP_STAT_TX | USB_EP_DTOG_RX | USB_EP_DTOG_TX;

    USB->ISTR = ~USB_ISTR_RESET;
    USB_PMA[0] = EP0_TX;
    USB_PMA[1] = 0;
    USB_PMA[2] = EP0_RX;
    USB_PMA[3] = 0x8400; /* two blocks of 32 bytes */
    USB->EPR[0] = USB_EP_CONTROL | ((USB->EPR[0] ^ (USB_EP_RX_VALID | USB_EP_TX_NAK)) & toggles);
    USB->DADDR = USB_DADDR_EF;
    status[4] = DFU_IDLE;
}

static void poll_usb(void)
{
    if (USB->ISTR & USB_ISTR_RESET)
        bus_reset();
    const uint32_t epr = USB->EPR[0];
    if (epr & USB_EP_CTR_TX) {
        ep0_update(USB_EP_CTR_TX, 0, 0);
        sent_packet();
    }
    if (epr & USB_EP_CTR_RX) {
        ep0_update(USB_EP_CTR_RX, 0, 0);
        if (epr & USB_EP_SETUP)
            setup();
        else
            receive_packet();
    }
}

int main(void)
{
    clock_init();
    FLASH->KEYR = 0x45670123;
    FLASH->KEYR = 0xCDEF89AB;
    RCC->APB1ENR |= RCC_APB1ENR_USBEN;
    USB->CNTR = USB_CNTR_FRES;
    for (unsigned turns = 0; turns < 72; turns++)
        __asm__ volatile("nop"); /* tSTARTUP, 1 µs (DS5319) */
    USB->CNTR = 0;
    USB->ISTR = 0;
    USB->BTABLE = 0;
    for (;;)
        poll_usb();
}
