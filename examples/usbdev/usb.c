/* SPDX-License-Identifier: MIT */
/* RM0008 chapter 23; USB 2.0 chapter 9. No answer is longer than one packet. */
#include "usb.h"

#include "startup.h"
#include "stm32f103.h"

#define PACKET 64U

/* Packet memory, in the peripheral's count of bytes; the buffer table is at 0. */
#define EP0_TX 0x40U
#define EP0_RX 0x80U
#define EP1_TX 0xC0U
#define EP1_RX 0x100U

/* COUNT_RX: what is allowed (64 bytes: two blocks of 32), and what came. */
#define RX_ALLOW_64 0x8400U
#define RX_COUNT    0x03FFU

/* bRequest, with bmRequestType above it */
enum request {
    GET_STATUS_DEVICE = 0x8000,
    GET_STATUS_INTERFACE = 0x8100,
    GET_STATUS_ENDPOINT = 0x8200,
    CLEAR_FEATURE_ENDPOINT = 0x0201,
    SET_FEATURE_ENDPOINT = 0x0203,
    SET_ADDRESS = 0x0005,
    GET_DESCRIPTOR = 0x8006,
    GET_CONFIGURATION = 0x8008,
    SET_CONFIGURATION = 0x0009,
    GET_INTERFACE = 0x810A,
    SET_INTERFACE = 0x010B,
};

#define ENDPOINT_HALT 0U
#define EP1_IN        0x81U
#define EP1_OUT       0x01U

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
    0xFF, 0, 0,    /* vendor class */
    PACKET,        /* bMaxPacketSize0 */
    0x09, 0x12,    /* idVendor 0x1209: pid.codes */
    0x01, 0x00,    /* idProduct 0x0001: for tests */
    0x00, VERSION, /* bcdDevice */
    1, 2, 0,       /* iManufacturer, iProduct, iSerialNumber */
    1,             /* bNumConfigurations */
};

static const uint8_t configuration_descriptor[] = {
    9, 2, 32, 0, 1, 1, 0, 0x80, 50,   /* CONFIGURATION 1: one interface, bus powered, 100 mA */
    9, 4, 0, 0, 2, 0xFF, 0, 0, 0,     /* INTERFACE 0: two endpoints, vendor class */
    7, 5, EP1_IN, 2, PACKET, 0, 0,    /* ENDPOINT, bulk */
    7, 5, EP1_OUT, 2, PACKET, 0, 0,   /* ENDPOINT, bulk */
};
// clang-format on

static_assert(sizeof device_descriptor == 18, "bLength");
static_assert(sizeof configuration_descriptor == 32, "wTotalLength");

/* The literal's closing zero has the size of the two bytes in front of the text. */
#define STRING_DESCRIPTOR(name, text)                                                              \
    static const struct {                                                                          \
        uint8_t bLength, bDescriptorType;                                                          \
        uint16_t wText[sizeof(text) / 2 - 1];                                                      \
    } name = {sizeof(text), 3, text};                                                              \
    static_assert(sizeof name == sizeof(text) && sizeof name < PACKET, #name)

STRING_DESCRIPTOR(languages, u"\x0409");
STRING_DESCRIPTOR(manufacturer, u"caboose");
STRING_DESCRIPTOR(product, u"caboose example");

static volatile uint8_t configuration;
static int address_to_set; /* after the status stage; -1: none */
static bool echo_received; /* a packet waits in EP1_RX */
static bool echo_sending;  /* a packet waits in EP1_TX */
static uint8_t reply[2];

static uint16_t pma_read(unsigned offset)
{
    return (uint16_t)USB_PMA[offset / 2];
}

static void pma_write(unsigned offset, unsigned value)
{
    USB_PMA[offset / 2] = value & 0xFFFFU;
}

/* Writes EPnR so that the completions in `done` are cleared and the toggle bits of `mask` become
 * `wanted`; everything else stays, also what the peripheral changes meanwhile. */
static void ep_update(unsigned n, uint32_t done, uint32_t mask, uint32_t wanted)
{
    const uint32_t epr = USB->EPR[n];
    const uint32_t keep = epr & (USB_EP_TYPE | USB_EP_KIND | USB_EP_EA);
    const uint32_t ctr = (USB_EP_CTR_RX | USB_EP_CTR_TX) & ~done;
    USB->EPR[n] = keep | ctr | ((epr ^ wanted) & mask);
}

static void ep_open(unsigned n, uint32_t type, unsigned tx, unsigned rx)
{
    pma_write(8 * n + 0, tx);
    pma_write(8 * n + 2, 0);
    pma_write(8 * n + 4, rx);
    pma_write(8 * n + 6, RX_ALLOW_64);
    const uint32_t toggles = USB_EP_STAT_RX | USB_EP_STAT_TX | USB_EP_DTOG_RX | USB_EP_DTOG_TX;
    const uint32_t wanted = USB_EP_RX_VALID | USB_EP_TX_NAK;
    USB->EPR[n] = n | type | ((USB->EPR[n] ^ wanted) & toggles);
}

/* Completions go too: EPnR keeps them over a bus reset. Until it is so: see ep1_halt(). */
static void ep_close(unsigned n)
{
    const uint32_t stat = USB_EP_STAT_RX | USB_EP_STAT_TX;
    do
        ep_update(n, USB_EP_CTR_RX | USB_EP_CTR_TX, stat, USB_EP_RX_DISABLED | USB_EP_TX_DISABLED);
    while (USB->EPR[n] & (stat | USB_EP_CTR_RX | USB_EP_CTR_TX));
}

static void echo(void)
{
    if (!echo_received || echo_sending)
        return;
    const unsigned size = pma_read(8 + 6) & RX_COUNT;
    for (unsigned i = 0; i < size; i += 2)
        pma_write(EP1_TX + i, pma_read(EP1_RX + i));
    pma_write(8 + 2, size);
    echo_received = false;
    echo_sending = true;
    ep_update(1, 0, USB_EP_STAT_TX | USB_EP_STAT_RX, USB_EP_TX_VALID | USB_EP_RX_VALID);
}

static void ep1_interrupt(void)
{
    const uint32_t epr = USB->EPR[1];
    ep_update(1, epr & (USB_EP_CTR_RX | USB_EP_CTR_TX), 0, 0);
    if (epr & USB_EP_CTR_TX)
        echo_sending = false;
    if (epr & USB_EP_CTR_RX)
        echo_received = true;
    echo();
}

static void configure(uint8_t value)
{
    ep_close(1);
    echo_received = echo_sending = false;
    if (value)
        ep_open(1, USB_EP_BULK, EP1_TX, EP1_RX);
    configuration = value;
}

static bool ep1_halted(unsigned endpoint)
{
    return endpoint == EP1_IN ? (USB->EPR[1] & USB_EP_STAT_TX) == USB_EP_TX_STALL
                              : (USB->EPR[1] & USB_EP_STAT_RX) == USB_EP_RX_STALL;
}

/* Until it is so: a packet may arrive between ep_update()'s read and its write. */
static void ep1_halt(unsigned endpoint)
{
    while (!ep1_halted(endpoint)) {
        if (endpoint == EP1_IN)
            ep_update(1, 0, USB_EP_STAT_TX, USB_EP_TX_STALL);
        else
            ep_update(1, 0, USB_EP_STAT_RX, USB_EP_RX_STALL);
    }
}

/* By way of STALL, in which the peripheral changes nothing: halted or not, DATA0 comes next and
 * what was in the buffer is dropped. */
static void ep1_resume(unsigned endpoint)
{
    ep1_halt(endpoint);
    if (endpoint == EP1_IN) {
        echo_sending = false;
        ep_update(1, USB_EP_CTR_TX, USB_EP_STAT_TX | USB_EP_DTOG_TX, USB_EP_TX_NAK);
    } else {
        echo_received = false;
        ep_update(1, USB_EP_CTR_RX, USB_EP_STAT_RX | USB_EP_DTOG_RX, USB_EP_RX_VALID);
    }
    echo();
}

static struct answer answer_bytes(uint8_t first, uint8_t second, unsigned size)
{
    reply[0] = first;
    reply[1] = second;
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
    default:
        return STALL;
    }
}

static struct answer answer_endpoint(unsigned request, const struct setup *setup)
{
    const unsigned endpoint = setup->wIndex;
    const bool control = (endpoint & 0x7FU) == 0;
    if (!control && (!configuration || (endpoint != EP1_IN && endpoint != EP1_OUT)))
        return STALL;
    if (request == GET_STATUS_ENDPOINT)
        return answer_bytes(!control && ep1_halted(endpoint), 0, 2);
    if (setup->wValue != ENDPOINT_HALT)
        return STALL;
    if (!control && request == SET_FEATURE_ENDPOINT)
        ep1_halt(endpoint);
    else if (!control)
        ep1_resume(endpoint);
    return OK;
}

static struct answer answer_configuration(uint16_t wValue)
{
    if ((wValue & 0xFFU) > 1)
        return STALL;
    configure(wValue & 0xFFU);
    return OK;
}

static struct answer answer_interface(unsigned request, const struct setup *setup)
{
    if (!configuration || setup->wIndex != 0)
        return STALL;
    if (request == GET_STATUS_INTERFACE)
        return answer_bytes(0, 0, 2);
    if (request == GET_INTERFACE)
        return answer_bytes(0, 0, 1);
    if (setup->wValue != 0)
        return STALL;
    configure(configuration); /* SET_INTERFACE: toggles and halts start anew */
    return OK;
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
        return answer_configuration(setup->wValue);
    case GET_CONFIGURATION:
        return answer_bytes(configuration, 0, 1);
    case GET_STATUS_DEVICE:
        return answer_bytes(0, 0, 2);
    case GET_STATUS_INTERFACE:
    case GET_INTERFACE:
    case SET_INTERFACE:
        return answer_interface(request, setup);
    case GET_STATUS_ENDPOINT:
    case CLEAR_FEATURE_ENDPOINT:
    case SET_FEATURE_ENDPOINT:
        return answer_endpoint(request, setup);
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
    ep_update(0, USB_EP_CTR_RX, USB_EP_STAT_TX | USB_EP_STAT_RX, wanted);
}

/* Both at once: the packet that was sent is the older one, its address counts before the SETUP. */
static void ep0_interrupt(void)
{
    const uint32_t epr = USB->EPR[0];
    if (epr & USB_EP_CTR_TX) {
        ep_update(0, USB_EP_CTR_TX, 0, 0);
        if (address_to_set >= 0)
            USB->DADDR = USB_DADDR_EF | (uint32_t)address_to_set;
        address_to_set = -1;
    }
    if (!(epr & USB_EP_CTR_RX))
        return;
    if (epr & USB_EP_SETUP)
        ep0_setup();
    else
        ep_update(0, USB_EP_CTR_RX, USB_EP_STAT_RX, USB_EP_RX_VALID);
}

static void bus_reset(void)
{
    USB->ISTR = ~USB_ISTR_RESET;
    configure(0);
    address_to_set = -1;
    ep_open(0, USB_EP_CONTROL, EP0_TX, EP0_RX);
    USB->DADDR = USB_DADDR_EF;
}

void usb_lp_handler(void)
{
    if (USB->ISTR & USB_ISTR_RESET)
        bus_reset();
    for (;;) {
        const uint32_t istr = USB->ISTR;
        if (!(istr & USB_ISTR_CTR))
            return;
        if (istr & USB_ISTR_EP_ID)
            ep1_interrupt();
        else
            ep0_interrupt();
    }
}

void usb_init(void)
{
    RCC->APB1ENR |= RCC_APB1ENR_USBEN;
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
