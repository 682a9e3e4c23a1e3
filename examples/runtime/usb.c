/* SPDX-License-Identifier: MIT */
/* RM0008 chapter 23; USB 2.0 chapter 9; DFU 1.1 chapters 4 and 5. No answer is longer than one packet. */
#include "usb.h"

#include "startup.h"
#include "stm32f103.h"
#include "tick.h"

#define PACKET    64U
#define PA12(cfg) ((cfg) << 16) /* in CRH */

/* Packet memory, in the peripheral's count of bytes; the buffer table is at 0. */
#define EP0_TX 0x40U
#define EP0_RX 0x80U

#define RX_ALLOW_64 0x8400U /* COUNT_RX: two blocks of 32 bytes */

/* bRequest, with bmRequestType above it */
enum request {
    GET_STATUS_DEVICE = 0x8000,
    GET_STATUS_INTERFACE = 0x8100,
    GET_STATUS_ENDPOINT = 0x8200,
    SET_ADDRESS = 0x0005,
    GET_DESCRIPTOR = 0x8006,
    GET_CONFIGURATION = 0x8008,
    SET_CONFIGURATION = 0x0009,
    GET_INTERFACE = 0x810A,
    SET_INTERFACE = 0x010B,
    DFU_DETACH = 0x2100,
    DFU_GETSTATUS = 0xA103,
    DFU_GETSTATE = 0xA105,
};

enum state { APP_IDLE, APP_DETACH };

struct setup {
    uint8_t bmRequestType, bRequest;
    uint16_t wValue, wIndex, wLength;
};

/* What to send for a request: maybe nothing, or STALL. */
struct answer {
    const void *data;
    unsigned size;
    bool stall;
};

static const struct answer OK = {0};
static const struct answer STALL = {.stall = true};

// clang-format off
static const uint8_t device_descriptor[] = {
    18, 1,         /* bLength, DEVICE */
    0x00, 0x02,    /* bcdUSB 2.00 */
    0, 0, 0,       /* the class is the interface's */
    PACKET,        /* bMaxPacketSize0 */
    0x09, 0x12,    /* idVendor 0x1209: pid.codes */
    0x02, 0x00,    /* idProduct 0x0002: for tests */
    0x00, VERSION, /* bcdDevice */
    1, 2, 3,       /* iManufacturer, iProduct, iSerialNumber */
    1,             /* bNumConfigurations */
};

/* A device that does something has its own interfaces in front of this one, and its number in wIndex. */
static const uint8_t configuration_descriptor[] = {
    9, 2, 27, 0, 1, 1, 0, 0x80, 50,   /* CONFIGURATION 1: one interface, bus powered, 100 mA */
    9, 4, 0, 0, 0, 0xFE, 1, 1, 0,     /* INTERFACE 0: application specific, DFU, run-time (§4.1.2) */
    9, 0x21, 0x0B,                    /* DFU FUNCTIONAL (§4.1.3): bitCanDnload, bitCanUpload, bitWillDetach */
    255, 0,                           /* wDetachTimeOut, ms */
    0x00, 0x04,                       /* wTransferSize of the bootloader, 1024 */
    0x1A, 0x01,                       /* bcdDFUVersion 1.1a: DfuSe */
};
// clang-format on

static_assert(sizeof device_descriptor == 18, "bLength");
static_assert(sizeof configuration_descriptor == 27, "wTotalLength");

/* The literal's closing zero has the size of the two bytes in front of the text. */
#define STRING_DESCRIPTOR(name, text)                                                              \
    static const struct {                                                                          \
        uint8_t bLength, bDescriptorType;                                                          \
        uint16_t wText[sizeof(text) / 2 - 1];                                                      \
    } name = {sizeof(text), 3, text};                                                              \
    static_assert(sizeof name == sizeof(text) && sizeof name < PACKET, #name)

STRING_DESCRIPTOR(languages, u"\x0409");
STRING_DESCRIPTOR(manufacturer, u"caboose");
STRING_DESCRIPTOR(product, u"caboose run-time example");
static uint16_t serial[1 + 24];

static volatile uint8_t configuration;
static volatile enum state state;
static int address_to_set; /* after the status stage; -1: none */
static uint8_t reply[6];

static uint16_t pma_read(unsigned offset)
{
    return (uint16_t)USB_PMA[offset / 2];
}

static void pma_write(unsigned offset, unsigned value)
{
    USB_PMA[offset / 2] = value & 0xFFFFU;
}

/* Writes EP0R so that the completions in `done` are cleared and the toggle bits of `mask` become
 * `wanted`; everything else stays, also what the peripheral changes meanwhile. */
static void ep0_update(uint32_t done, uint32_t mask, uint32_t wanted)
{
    const uint32_t epr = USB->EPR[0];
    const uint32_t keep = epr & (USB_EP_TYPE | USB_EP_KIND | USB_EP_EA);
    const uint32_t ctr = (USB_EP_CTR_RX | USB_EP_CTR_TX) & ~done;
    USB->EPR[0] = keep | ctr | ((epr ^ wanted) & mask);
}

static void ep0_open(void)
{
    pma_write(0, EP0_TX);
    pma_write(2, 0);
    pma_write(4, EP0_RX);
    pma_write(6, RX_ALLOW_64);
    const uint32_t toggles = USB_EP_STAT_RX | USB_EP_STAT_TX | USB_EP_DTOG_RX | USB_EP_DTOG_TX;
    const uint32_t wanted = USB_EP_RX_VALID | USB_EP_TX_NAK;
    USB->EPR[0] = USB_EP_CONTROL | ((USB->EPR[0] ^ wanted) & toggles);
}

/* Up to as many bytes of `reply`, of which only the first may be other than 0. */
static struct answer answer_byte(unsigned byte, unsigned size)
{
    reply[0] = (uint8_t)byte;
    return (struct answer){.data = reply, .size = size};
}

static struct answer answer_descriptor(uint16_t type_and_index)
{
    switch (type_and_index) {
    case 0x0100:
        return (struct answer){.data = device_descriptor, .size = sizeof device_descriptor};
    case 0x0200:
        return (struct answer){
            .data = configuration_descriptor, .size = sizeof configuration_descriptor};
    case 0x0300:
        return (struct answer){.data = &languages, .size = sizeof languages};
    case 0x0301:
        return (struct answer){.data = &manufacturer, .size = sizeof manufacturer};
    case 0x0302:
        return (struct answer){.data = &product, .size = sizeof product};
    case 0x0303:
        return (struct answer){.data = serial, .size = sizeof serial};
    default:
        return STALL;
    }
}

static struct answer answer_interface(unsigned request, const struct setup *setup)
{
    if (!configuration || setup->wIndex != 0)
        return STALL;
    switch (request) {
    case GET_STATUS_INTERFACE:
        return answer_byte(0, 2);
    case GET_INTERFACE:
        return answer_byte(0, 1);
    case SET_INTERFACE:
        return setup->wValue == 0 ? OK : STALL;
    case DFU_DETACH:
        state = APP_DETACH;
        return OK;
    case DFU_GETSTATUS: /* bStatus OK, bwPollTimeout 0, bState, iString 0 */
        answer_byte(0, 0);
        reply[4] = (uint8_t)state;
        return (struct answer){.data = reply, .size = 6};
    default: /* DFU_GETSTATE */
        return answer_byte(state, 1);
    }
}

static struct answer answer_request(const struct setup *setup)
{
    const unsigned request = (unsigned)setup->bmRequestType << 8 | setup->bRequest;
    switch (request) {
    case GET_DESCRIPTOR:
        return answer_descriptor(setup->wValue);
    case SET_ADDRESS:
        address_to_set = setup->wValue & 0x7F;
        return OK;
    case SET_CONFIGURATION:
        if ((setup->wValue & 0xFFU) > 1)
            return STALL;
        configuration = setup->wValue & 0xFFU;
        return OK;
    case GET_CONFIGURATION:
        return answer_byte(configuration, 1);
    case GET_STATUS_DEVICE:
        return answer_byte(0, 2);
    case GET_STATUS_ENDPOINT:
        return setup->wIndex & 0x7FU ? STALL : answer_byte(0, 2);
    case GET_STATUS_INTERFACE:
    case GET_INTERFACE:
    case SET_INTERFACE:
    case DFU_DETACH:
    case DFU_GETSTATUS:
    case DFU_GETSTATE:
        return answer_interface(request, setup);
    default:
        return STALL;
    }
}

/* The answer into EP0's buffer, cut to what the host asked for. */
static void ep0_load(const struct answer *answer, unsigned wLength)
{
    const uint8_t *data = answer->data;
    const unsigned size = answer->size < wLength ? answer->size : wLength;
    for (unsigned i = 0; i < size; i += 2)
        pma_write(EP0_TX + i, data[i] | (i + 1 < size ? (unsigned)data[i + 1] << 8 : 0));
    pma_write(2, size);
}

/* One write sets both directions and takes the SETUP off: while CTR_RX stands nothing arrives. */
static void ep0_setup(void)
{
    const uint16_t request = pma_read(EP0_RX);
    const struct setup setup = {
        .bmRequestType = (uint8_t)request,
        .bRequest = (uint8_t)(request >> 8),
        .wValue = pma_read(EP0_RX + 2),
        .wIndex = pma_read(EP0_RX + 4),
        .wLength = pma_read(EP0_RX + 6),
    };
    address_to_set = -1;
    const struct answer answer = answer_request(&setup);
    uint32_t wanted = USB_EP_TX_STALL | USB_EP_RX_STALL;
    if (!answer.stall) {
        ep0_load(&answer, setup.wLength);
        wanted = USB_EP_TX_VALID | USB_EP_RX_VALID;
    }
    ep0_update(USB_EP_CTR_RX, USB_EP_STAT_TX | USB_EP_STAT_RX, wanted);
}

/* Both at once: the packet that was sent is the older one, its address counts before the SETUP. */
static void ep0_interrupt(void)
{
    const uint32_t epr = USB->EPR[0];
    if (epr & USB_EP_CTR_TX) {
        ep0_update(USB_EP_CTR_TX, 0, 0);
        if (address_to_set >= 0)
            USB->DADDR = USB_DADDR_EF | (uint32_t)address_to_set;
        address_to_set = -1;
    }
    if (!(epr & USB_EP_CTR_RX))
        return;
    if (epr & USB_EP_SETUP)
        ep0_setup();
    else
        ep0_update(USB_EP_CTR_RX, USB_EP_STAT_RX, USB_EP_RX_VALID);
}

static void bus_reset(void)
{
    USB->ISTR = ~USB_ISTR_RESET;
    configuration = 0;
    address_to_set = -1;
    ep0_open();
    USB->DADDR = USB_DADDR_EF;
}

void usb_lp_handler(void)
{
    if (USB->ISTR & USB_ISTR_RESET)
        bus_reset();
    while (USB->ISTR & USB_ISTR_CTR)
        ep0_interrupt();
}

/* 24 hexadecimal digits: the chip's unique number, as the bootloader shows it. */
static void make_serial(void)
{
    serial[0] = sizeof serial | 3U << 8;
    for (unsigned i = 0; i < 24; i++)
        serial[1 + i] = (uint8_t) "0123456789ABCDEF"[UNIQUE_ID[i / 8] >> (28 - i % 8 * 4) & 0xFU];
}

/* D+ held low is an unplugged cable to the host: the pull-up of D+ is fixed. */
void usb_leave(void)
{
    const uint32_t others = GPIOA->CRH & ~PA12(0xFU);
    RCC->APB1ENR |= RCC_APB1ENR_USBEN;
    USB->CNTR = USB_CNTR_FRES | USB_CNTR_PDWN;
    GPIOA->BRR = 1U << 12;
    GPIOA->CRH = others | PA12(GPIO_OUTPUT_2MHZ);
    tick_wait_ms(10);
    GPIOA->CRH = others | PA12(GPIO_INPUT_FLOATING);
}

void usb_init(void)
{
    make_serial();
    usb_leave();               /* the host may believe in the device from before the reset */
    USB->CNTR = USB_CNTR_FRES; /* power on; still in reset */
    for (unsigned turns = 0; turns < 72; turns++)
        __asm__ volatile("nop"); /* tSTARTUP, 1 µs (DS5319) */
    USB->CNTR = 0;
    USB->ISTR = 0;
    USB->BTABLE = 0;
    USB->CNTR = USB_CNTR_RESETM | USB_CNTR_CTRM;
    irq_enable(IRQ_USB_LP);
}

bool usb_configured(void)
{
    return configuration != 0;
}

bool usb_detach_asked(void)
{
    return state == APP_DETACH;
}
