/* SPDX-License-Identifier: MIT */
/*
 * Endpoint 0 of the STM32F10x USB full-speed device (RM0008 §23), polled, and the standard requests
 * (USB 2.0 §9.4).
 */
#include "boot.h"

enum {
    PACKET = 64,  /* bMaxPacketSize0 */
    TX_AT = 0x08, /* in packet memory, behind the descriptor table */
    RX_AT = 0x80,
    COUNT_RX_64 = 0x8400, /* BL_SIZE, NUM_BLOCK: room for 64 bytes (RM0008 §23.5.3) */
};

/* What endpoint 0 does next. With USB_EPR_CTR_RX added, a packet that may just have come stays announced;
 * else the one announced has been dealt with. */
enum {
    DEALT = USB_EPR_TYPE_CONTROL | USB_EPR_CTR_TX,
    RECEIVE = DEALT | USB_EPR_TX_NAK | USB_EPR_RX_VALID,
    ANSWER = DEALT | USB_EPR_TX_VALID | USB_EPR_RX_VALID,
    STALL = DEALT | USB_EPR_TX_STALL | USB_EPR_RX_STALL,
};

static void endpoint(uint32_t next)
{
    USB->EPR[0] = (USB->EPR[0] & USB_EPR_STAT) ^ next; /* STAT: written 1s toggle */
}

void usb_start(void)
{
    USB->CNTR = USB_CNTR_FRES; /* PDWN off; tSTARTUP: 1 µs (DS5319) */
    USB->CNTR = 0;
}

static void bus_reset(void)
{
    USB->ISTR = 0; /* the others do not matter; BTABLE is 0, since reset */
    USB_PMA[0] = TX_AT;
    USB_PMA[2] = RX_AT;
    USB_PMA[3] = COUNT_RX_64;
    endpoint(RECEIVE);
    USB->DADDR = USB_DADDR_EF;
    S->stage = STAGE_IDLE;
    S->configuration = 0;
    dfu_session();
    if (S->leaving) /* dfu-util -R: the host now looks whether it is still the same device */
        S->leaving = LEAVE_TICKS;
}

/* Puts the next packet of the reply into packet memory. */
static void load_packet(void)
{
    unsigned size = S->tx_left < PACKET ? S->tx_left : PACKET;
    const uint8_t *from = S->tx;
    volatile uint32_t *to = USB_PMA;

    S->tx += size;
    S->tx_left -= size;
    to[1] = size;
    for (; from < S->tx; from += 2, to++) /* from odd addresses, too: ARMv7-M */
        to[TX_AT / 2] = *(const half_word *)(const void *)from;
    S->last_sent = (uint8_t)size;
}

/* bRequest; USB 2.0 table 9-4 */
enum {
    GET_STATUS,
    SET_ADDRESS = 5,
    GET_DESCRIPTOR,
    GET_CONFIGURATION = 8,
    SET_CONFIGURATION,
    GET_INTERFACE,
    SET_INTERFACE,
    NONE = 0xFF
};

/* The bmRequestType that a bRequest comes with. GET_STATUS may ask an interface and endpoint, too. */
static const uint8_t types[] = {
    [GET_STATUS] = 0x80,
    [1] = NONE,
    [2] = NONE,
    [3] = NONE,
    [VENDOR_CODE] = WITH_WINDOWS ? 0xC0 : NONE,
    [SET_ADDRESS] = 0x00,
    [GET_DESCRIPTOR] = 0x80,
    [7] = NONE,
    [GET_CONFIGURATION] = 0x80,
    [SET_CONFIGURATION] = 0x00,
    [GET_INTERFACE] = 0x81,
    [SET_INTERFACE] = 0x01,
};

static int standard_request(void)
{
    unsigned wValue = S->setup.wValue, request = S->setup.request >> 8;
    unsigned type = S->setup.request & 0xFF;
    const uint8_t *expected;

    /* There are interface 0 and endpoint 0, for both directions. */
    if (type & 3 && S->setup.wIndex & 0x7F)
        return USB_STALL;
    FIND(expected, types);
    if (S->setup.request - 0x80U <= 2)
        return 2; /* bus-powered, no wake-up; not halted */
    if (request > SET_INTERFACE || type != expected[request])
        return USB_STALL;
    switch (request) {
    case SET_ADDRESS:
        S->address = USB_DADDR_EF | (wValue & 0x7F);
        return 0;
    case GET_DESCRIPTOR:
        return descriptor(wValue);
    case GET_CONFIGURATION:
        *S->reply = S->configuration;
        return 1;
    case SET_CONFIGURATION:
        if ((uint8_t)wValue > 1)
            break;
        S->configuration = (uint8_t)wValue;
        dfu_session();
        return 0;
    case VENDOR_CODE:
        return WITH_WINDOWS ? descriptor_set() : USB_STALL;
    case GET_INTERFACE:
        return 1;
    case SET_INTERFACE:
        if (wValue)
            break;
        dfu_session();
        return 0;
    }
    return USB_STALL;
}

static void take_packet(half_word *to, unsigned half_words)
{
    volatile uint32_t *from = USB_PMA + RX_AT / 2;
    do
        *to++ = (half_word)*from++;
    while (--half_words);
}

INLINE void on_setup(void)
{
    int n;
    take_packet(&S->setup.request, 4);
    USB->EPR[0] = DEALT; /* ready for it again */
    S->stage = STAGE_IDLE;
    S->address = 0;
    S->received = 0;
    /* The reply, if it is not elsewhere: zeros, if nothing else is put there. */
    S->tx = (const uint8_t *)S->reply;
    *S->reply = 0;
    if ((uint8_t)(S->setup.request | 0x80) == 0xA1 && S->setup.wIndex == 0)
        n = dfu_request();
    else
        n = standard_request();

    uint32_t next = STALL;
    if (n == USB_RECEIVE) {
        S->stage = STAGE_OUT;
        next = RECEIVE;
    } else if (n != USB_STALL) {
        S->stage = S->setup.wLength ? STAGE_IN : STAGE_STATUS;
        S->tx_left = n < S->setup.wLength ? (unsigned)n : S->setup.wLength;
        load_packet();
        next = ANSWER;
    }
    /* A SETUP that came meanwhile is the same, its acknowledgement was lost; or the host gave up. */
    if (USB->EPR[0] & USB_EPR_CTR_RX && (uint16_t)USB_PMA[RX_AT / 2] != S->setup.request)
        return;
    endpoint(next);
}

static void on_out(void)
{
    if (S->stage == STAGE_OUT) {
        take_packet((half_word *)(void *)(S->block + S->received), PACKET / 2);
        S->received += USB_PMA[3] & 0x3FF;
        if (S->received >= S->length) {
            S->dfu = DFU_DNLOAD_SYNC;
            S->stage = STAGE_STATUS;
            S->tx_left = 0;
            load_packet();
            endpoint(ANSWER);
            return;
        }
    } else {
        S->stage =
            STAGE_IDLE; /* the status stage of a reply; or data for a request that takes none */
    }
    endpoint(S->stage == STAGE_OUT || S->setup.request & 0x80 ? RECEIVE : STALL);
}

/* Behind a full packet comes another, empty if need be: a host that has all that it asked for does not
 * take it. */
static void on_sent(uint32_t epr)
{
    if (S->stage == STAGE_STATUS) {
        if (S->address)
            USB->DADDR = S->address;
        S->stage = STAGE_IDLE;
    } else if (S->last_sent == PACKET && !(epr & USB_EPR_CTR_RX)) {
        load_packet();
        endpoint(ANSWER | USB_EPR_CTR_RX);
    }
}

NOINLINE void usb_poll(void)
{
    if (USB->ISTR & USB_ISTR_RESET)
        bus_reset();
    uint32_t epr = USB->EPR[0];
    if (epr & USB_EPR_CTR_TX) { /* first: it is older than a packet that has come as well */
        USB->EPR[0] = USB_EPR_TYPE_CONTROL | USB_EPR_CTR_RX;
        on_sent(epr);
    }
    if (epr & USB_EPR_CTR_RX) {
        if (epr & USB_EPR_SETUP)
            on_setup();
        else
            on_out();
    }
}
