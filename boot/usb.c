/* SPDX-License-Identifier: MIT */
/*
 * Endpoint 0 of the STM32F10x USB full-speed device (RM0008 §23), polled, and the standard requests
 * (USB 2.0 §9.4).
 */
#include "boot.h"

enum {
    PACKET = 64,  /* bMaxPacketSize0 */
    TX_AT = 0x40, /* in packet memory */
    RX_AT = 0x80,
    COUNT_RX_64 = 0x8400, /* BL_SIZE, NUM_BLOCK: room for 64 bytes (RM0008 §23.5.3) */
};

/* Sets both STAT fields. `keep` is USB_EPR_CTR_RX where a packet that may just have come must stay
 * announced, 0 where the one announced has been dealt with. */
static void endpoint(uint32_t stat, uint32_t keep)
{
    USB->EPR[0] =
        ((USB->EPR[0] ^ stat) & USB_EPR_STAT) | keep | USB_EPR_CTR_TX | USB_EPR_TYPE_CONTROL;
}

void usb_start(void)
{
    USB->CNTR = USB_CNTR_FRES; /* PDWN off; tSTARTUP: 1 µs (DS5319) */
    USB->CNTR = 0;
}

static void bus_reset(void)
{
    USB->ISTR = (uint32_t)~USB_ISTR_RESET;
    USB->BTABLE = 0;
    USB_PMA[0] = TX_AT;
    USB_PMA[2] = RX_AT;
    USB_PMA[3] = COUNT_RX_64;
    endpoint(USB_EPR_TX_NAK | USB_EPR_RX_VALID, 0);
    USB->DADDR = USB_DADDR_EF;
    S->stage = STAGE_IDLE;
    S->configuration = 0;
    S->address = 0;
    dfu_session();
    if (S->leave_ms)
        S->leave_ms =
            LEAVE_MS; /* dfu-util -R: the host now looks whether it is still the same device */
}

/* Puts the next packet of the reply into packet memory. */
static void load_packet(void)
{
    unsigned size = S->tx_left < PACKET ? S->tx_left : PACKET;
    volatile uint32_t *to = USB_PMA + TX_AT / 2;

    for (unsigned i = 0; i < size; i += 2)
        *to++ = *(const uint16_t *)(const void *)(S->tx + i); /* at odd addresses, too: ARMv7-M */
    USB_PMA[1] = size;
    S->tx += size;
    S->tx_left = (uint16_t)(S->tx_left - size);
    S->last_sent = (uint8_t)size;
}

static int standard_request(void)
{
    unsigned wValue = S->setup.wValue;

    switch (S->setup.request) {
    case REQUEST(0x80, 0): /* GET_STATUS: bus-powered, no wake-up; not halted */
    case REQUEST(0x81, 0):
    case REQUEST(0x82, 0):
        return 2;
    case REQUEST(0x00, 5): /* SET_ADDRESS */
        S->address = USB_DADDR_EF | (wValue & 0x7F);
        return 0;
    case REQUEST(0x80, 6): /* GET_DESCRIPTOR */
        return descriptor(wValue);
    case REQUEST(0x80, 8): /* GET_CONFIGURATION */
        S->reply[0] = S->configuration;
        return 1;
    case REQUEST(0x00, 9): /* SET_CONFIGURATION */
        if ((uint8_t)wValue > 1)
            break;
        S->configuration = (uint8_t)wValue;
        dfu_session();
        return 0;
    case REQUEST(0xC0, VENDOR_CODE):
        return WITH_WINDOWS ? descriptor_set() : USB_STALL;
    case REQUEST(0x81, 10): /* GET_INTERFACE */
        return 1;
    case REQUEST(0x01, 11): /* SET_INTERFACE */
        if (wValue | S->setup.wIndex)
            break;
        dfu_session();
        return 0;
    }
    return USB_STALL;
}

static void take_packet(uint16_t *to, unsigned half_words)
{
    volatile uint32_t *from = USB_PMA + RX_AT / 2;
    do
        *to++ = (uint16_t)*from++;
    while (--half_words);
}

INLINE void on_setup(void)
{
    int n;
    take_packet(&S->setup.request, 4);
    USB->EPR[0] = USB_EPR_TYPE_CONTROL | USB_EPR_CTR_TX; /* ready for it again */
    S->stage = STAGE_IDLE;
    S->address = 0;
    S->received = 0;
    S->tx = S->reply; /* the reply, if it is not elsewhere: zeros, if nothing else is put there */
    *(uint32_t *)(void *)S->reply = 0;
    if ((uint8_t)(S->setup.request | 0x80) == 0xA1 && S->setup.wIndex == 0)
        n = dfu_request();
    else
        n = standard_request();

    uint32_t stat = USB_EPR_TX_STALL | USB_EPR_RX_STALL;
    if (n == USB_RECEIVE) {
        S->stage = STAGE_OUT;
        stat = USB_EPR_TX_NAK | USB_EPR_RX_VALID;
    } else if (n != USB_STALL) {
        S->tx_left = (uint16_t)n;
        S->stage = S->setup.wLength ? STAGE_IN : STAGE_STATUS;
        S->short_reply = n < S->setup.wLength;
        if (!S->short_reply)
            S->tx_left = S->setup.wLength;
        load_packet();
        stat = USB_EPR_TX_VALID | USB_EPR_RX_VALID;
    }
    /* A SETUP that came meanwhile is the same, its acknowledgement was lost; or the host gave up. */
    if (WITH_ALL && USB->EPR[0] & USB_EPR_CTR_RX &&
        (uint16_t)USB_PMA[RX_AT / 2] != S->setup.request)
        return;
    endpoint(stat, 0);
}

static void on_out(void)
{
    uint32_t stat = USB_EPR_TX_NAK | USB_EPR_RX_VALID;

    if (S->stage == STAGE_OUT) {
        take_packet((uint16_t *)(void *)(S->block + S->received), PACKET / 2);
        S->received = (uint16_t)(S->received + (USB_PMA[3] & 0x3FF));
        if (S->received >= S->length) {
            S->dfu = DFU_DNLOAD_SYNC;
            S->stage = STAGE_STATUS;
            S->tx_left = 0;
            load_packet();
            stat = USB_EPR_TX_VALID | USB_EPR_RX_VALID;
        }
    } else {
        S->stage = STAGE_IDLE; /* the status stage of a reply */
    }
    endpoint(stat, 0);
}

static void on_sent(void)
{
    if (S->stage == STAGE_IN) {
        if (S->last_sent == PACKET && (S->tx_left || S->short_reply)) {
            load_packet();
            endpoint(USB_EPR_TX_VALID | USB_EPR_RX_VALID, USB_EPR_CTR_RX);
        }
    } else {
        if (S->address)
            USB->DADDR = S->address;
        S->stage = STAGE_IDLE;
    }
}

void usb_poll(void)
{
    if (USB->ISTR & USB_ISTR_RESET)
        bus_reset();
    uint32_t epr = USB->EPR[0];
    if (epr & USB_EPR_CTR_TX) { /* first: it is older than a SETUP that has come as well */
        USB->EPR[0] = USB_EPR_TYPE_CONTROL | USB_EPR_CTR_RX;
        if (!(epr & USB_EPR_CTR_RX) || S->stage == STAGE_STATUS)
            on_sent();
    }
    if (epr & USB_EPR_CTR_RX) {
        if (epr & USB_EPR_SETUP)
            on_setup();
        else
            on_out();
    }
}
