/* SPDX-License-Identifier: MIT */
/*
 * The USB full-speed device peripheral of the STM32F102/F103 and its packet memory.
 *
 * Sources: RM0008 ch. 23; RM0091 ch. 30 (the same cell).
 * Isochronous endpoints are not modelled: they never answer.
 */
#include "machine.h"
#include "usb_state.h"
#include <string.h>

/* Bits of EPnR (RM0091 §30.6.2). STAT and DTOG toggle on 1, CTR is cleared by 0. */
enum {
    EP_CTR_RX = 0x8000,
    EP_DTOG_RX = 0x4000,
    EP_STAT_RX = 0x3000,
    EP_SETUP = 0x0800,
    EP_TYPE = 0x0600,
    EP_KIND = 0x0100,
    EP_CTR_TX = 0x0080,
    EP_DTOG_TX = 0x0040,
    EP_STAT_TX = 0x0030,
    EP_EA = 0x000F,
    EP_CTR = EP_CTR_RX | EP_CTR_TX,
    EP_TOGGLE = EP_DTOG_RX | EP_STAT_RX | EP_DTOG_TX | EP_STAT_TX,
    EP_PLAIN = EP_TYPE | EP_KIND | EP_EA,
    TYPE_BULK = 0x0000,
    TYPE_CONTROL = 0x0200,
    TYPE_ISOCHRONOUS = 0x0400,
};
enum { STAT_DISABLED, STAT_STALL, STAT_NAK, STAT_VALID };

/* Bits of CNTR; 15:8 are the masks of ISTR's flags. */
enum {
    CNTR_RESUME = 0x10,
    CNTR_FSUSP = 0x08,
    CNTR_LP_MODE = 0x04,
    CNTR_PDWN = 0x02,
    CNTR_FRES = 0x01,
    CNTR_BITS = 0xFF1F,
};
enum {
    ISTR_CTR = 0x8000,
    ISTR_PMAOVR = 0x4000,
    ISTR_ERR = 0x2000,
    ISTR_WKUP = 0x1000,
    ISTR_SUSP = 0x0800,
    ISTR_RESET = 0x0400,
    ISTR_SOF = 0x0200,
    ISTR_ESOF = 0x0100,
    ISTR_DIR = 0x0010,
    ISTR_FLAGS = 0x7F00,
};
enum { DADDR_EF = 0x80 };
enum { REG_CNTR = 0x40, REG_ISTR = 0x44, REG_FNR = 0x48, REG_DADDR = 0x4C, REG_BTABLE = 0x50 };
enum { IRQ_HIGH = 19, IRQ_LOW = 20 };
enum { PMA_SIZE = 2 * USB_PMA_WORDS, FULL_SPEED_PACKET = 64, SLOWEST_PCLK1 = 8000000 };

static uint32_t pma_address(unsigned at)
{
    return usb_device_memory.base + 2 * (at & ~1U) + (at & 1);
}

static uint32_t ep_address(unsigned index)
{
    return usb_device_registers.base + 4 * index;
}

static unsigned stat_rx(uint16_t epr)
{
    return (epr & EP_STAT_RX) >> 12;
}

static unsigned stat_tx(uint16_t epr)
{
    return (epr & EP_STAT_TX) >> 4;
}

static bool is_double(uint16_t epr)
{
    return (epr & (EP_TYPE | EP_KIND)) == (TYPE_BULK | EP_KIND);
}

/* The end of the first transaction after DBL_BUF was set begins the flow control of two buffers. That first one
 * looks at STAT alone, whichever buffer SW_BUF names, and ends in NAK as any other (RM0008 §23.4.3). */
static bool swaps(const struct usb_device_state *u, unsigned index)
{
    return is_double(u->epr[index]) && u->swapping >> index & 1;
}

static void set_bits(uint16_t *reg, unsigned mask, unsigned value)
{
    *reg = (uint16_t)((*reg & ~mask) | (value & mask));
}

/* --- flags and interrupts ---------------------------------------------------------------------- */

/* ISTR with its read-only half: CTR, DIR and EP_ID of the completion to be served first. */
static uint16_t istr(const struct usb_device_state *u)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < USB_ENDPOINTS; i++) {
            bool first = is_double(u->epr[i]) || (u->epr[i] & EP_TYPE) == TYPE_ISOCHRONOUS;
            if ((u->epr[i] & EP_CTR) && first == (pass == 0)) {
                unsigned dir = u->epr[i] & EP_CTR_RX ? ISTR_DIR : 0;
                return (uint16_t)(u->istr | ISTR_CTR | dir | i);
            }
        }
    }
    return u->istr;
}

static void update_irq(struct board *b, struct usb_device_state *u)
{
    uint16_t flags = istr(u);
    bool low = (flags & u->cntr & 0xFF00) != 0;
    bool high = false;
    for (unsigned i = 0; i < USB_ENDPOINTS; i++) {
        if ((u->epr[i] & EP_CTR) && is_double(u->epr[i]))
            high = (u->cntr & ISTR_CTR) != 0;
    }
    if (low != u->low_irq)
        board_irq(b, IRQ_LOW, low);
    if (high != u->high_irq)
        board_irq(b, IRQ_HIGH, high);
    u->low_irq = low;
    u->high_irq = high;
}

static void raise_flag(struct board *b, unsigned flag)
{
    struct usb_device_state *u = &board_usb(b)->device;
    u->istr |= (uint16_t)flag;
    update_irq(b, u);
}

/* --- packet memory ----------------------------------------------------------------------------- */

static uint8_t pma_get(const struct usb_device_state *u, unsigned at)
{
    return (uint8_t)(u->pma[at / 2 % USB_PMA_WORDS] >> 8 * (at & 1));
}

static void pma_put(struct usb_device_state *u, unsigned at, uint8_t byte)
{
    uint16_t *word = &u->pma[at / 2 % USB_PMA_WORDS];
    *word = at & 1 ? (uint16_t)(byte << 8 | (*word & 0xFF)) : (uint16_t)((*word & 0xFF00) | byte);
}

/* A buffer descriptor: {address, count} for buffer 0 (or transmission) and 1 (or reception). */
struct buffer {
    unsigned at, count, entry; /* entry: where its count stands in packet memory */
};

static bool find_buffer(struct board *b, unsigned index, bool second, struct buffer *buffer)
{
    const struct usb_device_state *u = &board_usb(b)->device;
    unsigned entry = u->btable + 8 * index + (second ? 4 : 0);
    if (entry + 4 > PMA_SIZE) {
        board_break_rule(b, ep_address(index),
            "descriptor of EP%uR at %u is beyond the 512 bytes of packet memory (RM0008 USB)",
            index, entry);
        return false;
    }
    buffer->at = u->pma[entry / 2];
    buffer->count = u->pma[entry / 2 + 1];
    buffer->entry = entry + 2;
    if (buffer->at & 1) {
        board_break_rule(b, pma_address(entry),
            "odd buffer address %u for EP%uR (RM0008 USB_ADDRn)", buffer->at, index);
        return false;
    }
    return true;
}

/* Bytes allocated to reception: BL_SIZE and NUM_BLOCK (RM0091 §30.6.3). */
static unsigned allocation(unsigned count)
{
    unsigned blocks = count >> 10 & 31;
    return count & 0x8000 ? (blocks + 1) * 32 : blocks * 2;
}

/* The bytes [at, at + size) were received: do they hit a descriptor in use? */
static void check_overlap(struct board *b, unsigned index, unsigned at, unsigned size)
{
    const struct usb_device_state *u = &board_usb(b)->device;
    for (unsigned i = 0; i < USB_ENDPOINTS; i++) {
        unsigned entry = u->btable + 8 * i;
        if ((stat_rx(u->epr[i]) || stat_tx(u->epr[i]) || i == index) && at < entry + 8 &&
            entry < at + size)
            board_break_rule(b, pma_address(at),
                "EP%uR receives into %u..%u, over the descriptor of EP%uR at %u "
                "(RM0008 USB, buffer description table)",
                index, at, at + size - 1, i, entry);
    }
}

static uint16_t crc16(const uint8_t *data, unsigned size)
{
    uint16_t crc = 0xFFFF;
    for (unsigned i = 0; i < size; i++) {
        crc = (uint16_t)(crc ^ data[i]);
        for (unsigned bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 1 ? crc >> 1 ^ 0xA001 : crc >> 1);
    }
    return (uint16_t)~crc;
}

/* What was received goes to memory: the data, the CRC as far as there is room, the count. */
static void store_received(struct board *b, const struct usb_latch *l)
{
    struct usb_device_state *u = &board_usb(b)->device;
    struct buffer buffer;
    if (!find_buffer(b, l->index, l->second, &buffer))
        return;
    unsigned room = allocation(buffer.count), crc = crc16(l->data, l->size), written = 0;
    for (; written < l->size + 2U && written < room; written++) {
        unsigned at = buffer.at + written;
        if (at >= PMA_SIZE) {
            if (written < l->size)
                board_break_rule(b, ep_address(l->index),
                    "EP%uR receives %u bytes at %u, beyond the 512 bytes of packet memory "
                    "(RM0008 USB)",
                    l->index, l->size, buffer.at);
            break;
        }
        uint8_t byte =
            written < l->size ? l->data[written] : (uint8_t)(crc >> 8 * (written - l->size));
        pma_put(u, at, byte);
    }
    check_overlap(b, l->index, buffer.at, written);
    set_bits(&u->pma[buffer.entry / 2], 0x3FF, l->size);
}

/* --- the wire ---------------------------------------------------------------------------------- */

/* Has the peripheral its clock, and is it neither off nor held in reset? */
static bool running(struct board *b)
{
    const struct usb_device_state *u = &board_usb(b)->device;
    return board_powered(b) && board_clocked(b, &usb_device_registers) &&
           !(u->cntr & (CNTR_PDWN | CNTR_FRES));
}

/* Can it make sense of what is on the wire? */
static bool hears(struct board *b, bool complain)
{
    struct usb_device_state *u = &board_usb(b)->device;
    if (!running(b))
        return false;
    const char *fault = board_usb_clock_fault(b);
    if (!fault && board_pclk1_hz(b) < SLOWEST_PCLK1)
        fault = "PCLK1 is below 8 MHz";
    if (!complain)
        return !fault;
    if (fault && !u->clock_told)
        board_break_rule(b, usb_device_registers.base + REG_CNTR,
            "USB in use without its 48 MHz clock: %s (DS5319, USB2.0 §7.1.11)", fault);
    u->clock_told = fault != NULL;
    return !fault;
}

bool usb_device_has_line(struct board *b)
{
    const struct usb_device_state *u = &board_usb(b)->device;
    return board_clocked(b, &usb_device_registers) && !(u->cntr & CNTR_PDWN);
}

/* The EPnR that serves an endpoint's direction; -1: none. */
static int find_endpoint(struct board *b, enum usb_token token, uint8_t endpoint)
{
    const struct usb_device_state *u = &board_usb(b)->device;
    int found = -1;
    for (unsigned i = 0; i < USB_ENDPOINTS; i++) {
        uint16_t epr = u->epr[i];
        unsigned stat = token == USB_IN ? stat_tx(epr) : stat_rx(epr);
        if ((epr & EP_EA) != endpoint || stat == STAT_DISABLED)
            continue;
        if (found >= 0) {
            board_break_rule(b, ep_address(i),
                "EP%dR and EP%uR both serve endpoint %u, %s (RM0008 USB_EPnR)", found, i, endpoint,
                token == USB_IN ? "IN" : "OUT");
            return found;
        }
        found = (int)i;
    }
    return found;
}

static enum usb_answer answer_setup(struct usb_device_state *u, struct usb_latch *l)
{
    uint16_t epr = u->epr[l->index];
    if ((epr & EP_TYPE) != TYPE_CONTROL || (epr & EP_CTR_RX))
        return USB_SILENCE;
    l->valid = true;
    return USB_ACK;
}

static enum usb_answer answer_out(
    struct board *b, struct usb_latch *l, const struct usb_packet *packet)
{
    const struct usb_device_state *u = &board_usb(b)->device;
    uint16_t epr = u->epr[l->index];
    struct buffer buffer;

    if (stat_rx(epr) != STAT_VALID)
        return stat_rx(epr) == STAT_NAK ? USB_NAK : USB_STALLED;
    bool toggle = (epr & EP_DTOG_RX) != 0;
    if (is_double(epr)) {
        if (swaps(u, l->index) && toggle == ((epr & EP_DTOG_TX) != 0))
            return USB_NAK; /* the firmware has the other buffer still */
        l->second = toggle;
    }
    if ((epr & EP_TYPE) == TYPE_CONTROL && (epr & EP_KIND) && packet->size)
        return USB_STALLED; /* STATUS_OUT: only an empty packet is welcome */
    if (!find_buffer(b, l->index, l->second, &buffer))
        return USB_SILENCE;
    if (!allocation(buffer.count))
        board_break_rule(b, pma_address(buffer.entry),
            "EP%uR is to receive into a buffer of no blocks (RM0008 USB_COUNTn_RX)", l->index);
    if (packet->size > allocation(buffer.count))
        return USB_STALLED;
    l->valid = packet->data1 == toggle; /* else the host missed our ACK and repeats itself */
    return USB_ACK;
}

static enum usb_answer answer_in(struct board *b, struct usb_latch *l, struct usb_packet *packet)
{
    const struct usb_device_state *u = &board_usb(b)->device;
    uint16_t epr = u->epr[l->index];
    struct buffer buffer;

    if (stat_tx(epr) != STAT_VALID)
        return stat_tx(epr) == STAT_NAK ? USB_NAK : USB_STALLED;
    bool toggle = (epr & EP_DTOG_TX) != 0;
    if (is_double(epr)) {
        if (swaps(u, l->index) && toggle == ((epr & EP_DTOG_RX) != 0))
            return USB_NAK;
        l->second = toggle;
    }
    if (!find_buffer(b, l->index, l->second, &buffer))
        return USB_SILENCE;
    unsigned size = buffer.count & 0x3FF;
    if (size > FULL_SPEED_PACKET)
        board_break_rule(b, pma_address(buffer.entry),
            "EP%uR sends a packet of %u bytes; full speed allows 64 (USB2.0 §5.5.3)", l->index,
            size);
    if (buffer.at + size > PMA_SIZE) {
        board_break_rule(b, ep_address(l->index),
            "EP%uR sends %u bytes from %u, beyond the 512 bytes of packet memory (RM0008 USB)",
            l->index, size, buffer.at);
    }
    packet->size = (uint16_t)size;
    packet->data1 = toggle;
    for (unsigned i = 0; i < size; i++)
        packet->data[i] = pma_get(u, buffer.at + i);
    l->valid = true;
    return USB_DATA;
}

/* Activity on the bus ends a suspend's low-power mode. */
static void note_activity(struct board *b)
{
    struct usb_device_state *u = &board_usb(b)->device;
    if (u->cntr & CNTR_FSUSP) {
        set_bits(&u->cntr, CNTR_LP_MODE, 0);
        raise_flag(b, ISTR_WKUP);
    }
}

enum usb_answer usb_device_token(struct board *b, enum usb_token token, uint8_t address,
    uint8_t endpoint, struct usb_packet *packet)
{
    struct usb_device_state *u = &board_usb(b)->device;
    struct usb_latch *l = &u->latch;

    l->valid = false;
    if (!running(b) || !(u->daddr & DADDR_EF) || !hears(b, true))
        return USB_SILENCE;
    if ((u->istr & ISTR_RESET) || (u->cntr & CNTR_FSUSP) || (u->daddr & 0x7F) != address)
        return USB_SILENCE;
    int index = find_endpoint(b, token, endpoint);
    if (index < 0 || (u->epr[index] & EP_TYPE) == TYPE_ISOCHRONOUS)
        return USB_SILENCE;
    l->token = (uint8_t)token;
    l->index = (uint8_t)index;
    if (token == USB_IN) {
        l->second = false;
        return answer_in(b, l, packet);
    }
    l->second = true; /* the descriptor's reception half */
    l->size = packet->size;
    memcpy(l->data, packet->data, packet->size);
    return token == USB_SETUP ? answer_setup(u, l) : answer_out(b, l, packet);
}

static void complete_setup(struct board *b, struct usb_device_state *u, const struct usb_latch *l)
{
    struct buffer buffer;
    if (find_buffer(b, l->index, true, &buffer) && allocation(buffer.count) < 8)
        board_break_rule(b, pma_address(buffer.entry),
            "EP%uR receives SETUP into a buffer of %u bytes (RM0008 USB_COUNTn_RX)", l->index,
            allocation(buffer.count));
    store_received(b, l);
    uint16_t *epr = &u->epr[l->index];
    *epr |= EP_DTOG_RX | EP_DTOG_TX | EP_SETUP | EP_CTR_RX;
    set_bits(epr, EP_STAT_RX, STAT_NAK << 12);
    set_bits(epr, EP_STAT_TX, STAT_NAK << 4);
}

static void end_transaction(
    struct usb_device_state *u, unsigned index, unsigned status, unsigned nak)
{
    if (!swaps(u, index))
        set_bits(&u->epr[index], status, nak);
    if (is_double(u->epr[index]))
        u->swapping |= (uint8_t)(1U << index);
}

static void complete_out(struct board *b, struct usb_device_state *u, const struct usb_latch *l)
{
    uint16_t *epr = &u->epr[l->index];
    store_received(b, l);
    if (!(*epr & EP_CTR_RX))
        set_bits(epr, EP_SETUP, 0); /* frozen while CTR_RX is set */
    *epr = (uint16_t)((*epr ^ EP_DTOG_RX) | EP_CTR_RX);
    end_transaction(u, l->index, EP_STAT_RX, STAT_NAK << 12);
}

static void complete_in(struct usb_device_state *u, const struct usb_latch *l)
{
    uint16_t *epr = &u->epr[l->index];
    *epr = (uint16_t)((*epr ^ EP_DTOG_TX) | EP_CTR_TX);
    end_transaction(u, l->index, EP_STAT_TX, STAT_NAK << 4);
}

void usb_device_complete(struct board *b)
{
    struct usb_device_state *u = &board_usb(b)->device;
    if (!u->latch.valid || !running(b))
        return;
    u->latch.valid = false;
    if (u->latch.token == USB_SETUP)
        complete_setup(b, u, &u->latch);
    else if (u->latch.token == USB_OUT)
        complete_out(b, u, &u->latch);
    else
        complete_in(u, &u->latch);
    update_irq(b, u);
}

/* A packet with a wrong CRC goes to memory as it comes, however wrong; nothing else tells of it
 * (RM0008 §23.4.2, "OUT and SETUP packets"). */
static void store_garbled(struct board *b, const struct usb_latch *l)
{
    struct usb_device_state *u = &board_usb(b)->device;
    struct buffer buffer;
    if (!find_buffer(b, l->index, l->second, &buffer))
        return;
    for (unsigned i = 0; i < l->size && i < allocation(buffer.count); i++)
        if (buffer.at + i < PMA_SIZE)
            pma_put(u, buffer.at + i, (uint8_t)~l->data[i]);
}

void usb_device_no_handshake(struct board *b)
{
    struct usb_device_state *u = &board_usb(b)->device;
    if (u->latch.valid && running(b)) {
        if (u->latch.token != USB_IN)
            store_garbled(b, &u->latch);
        raise_flag(b, ISTR_ERR);
    }
    u->latch.valid = false;
}

void usb_device_sof(struct board *b, uint16_t frame)
{
    struct usb_device_state *u = &board_usb(b)->device;
    if (!hears(b, false))
        return;
    note_activity(b);
    u->lost_sofs = 0;
    if (u->istr & ISTR_RESET)
        return;
    u->frame = frame & 0x7FF;
    if (u->sofs < 2)
        u->sofs++;
    raise_flag(b, ISTR_SOF);
}

/* A millisecond without a SOF. Three of them: suspend, which is looked for again until FSUSP. */
void usb_device_no_sof(struct board *b)
{
    struct usb_device_state *u = &board_usb(b)->device;
    if (!running(b) || (u->cntr & CNTR_FSUSP))
        return;
    if (u->lost_sofs < 3)
        u->lost_sofs++;
    raise_flag(b, u->lost_sofs < 3 ? ISTR_ESOF : ISTR_ESOF | ISTR_SUSP);
}

/* What a bus reset and FRES do to the registers: all of EPnR but CTR, and DADDR. */
static void reset_function(struct usb_device_state *u)
{
    for (unsigned i = 0; i < USB_ENDPOINTS; i++)
        u->epr[i] &= EP_CTR;
    u->swapping = 0;
    u->daddr = 0;
    u->sofs = 0;
    u->lost_sofs = 0;
    u->latch.valid = false;
}

void usb_device_bus_reset(struct board *b)
{
    if (!hears(b, true))
        return;
    note_activity(b);
    reset_function(&board_usb(b)->device);
    raise_flag(b, ISTR_RESET);
}

void usb_device_resume(struct board *b)
{
    struct usb_device_state *u = &board_usb(b)->device;
    if (!running(b))
        return;
    u->sofs = 0;
    note_activity(b);
}

/* --- registers --------------------------------------------------------------------------------- */

static uint16_t fnr(const struct board *b, const struct usb_device_state *u)
{
    const struct usb_host_state *h = &board_usb((struct board *)(uintptr_t)b)->host;
    unsigned lines = 0x8000; /* J, idle: D+ is pulled up */
    if (u->cntr & CNTR_PDWN || !gpio_pulls_up_usb(b))
        lines = 0;
    else if (h->bus == USB_BUS_RESET)
        lines = 0;
    else if (h->bus == USB_BUS_RESUME)
        lines = 0x4000;
    unsigned locked = u->sofs >= 2 ? 0x2000 : 0;
    return (uint16_t)(lines | locked | (unsigned)u->lost_sofs << 11 | u->frame);
}

static uint32_t read_register(
    struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)size;
    usb_catch_up(b);
    const struct usb_device_state *u = &board_usb(b)->device;
    uint32_t value = 0;
    uint32_t reg = offset & ~3U;
    if (reg < 4 * USB_ENDPOINTS)
        value = u->epr[reg / 4];
    else if (reg == REG_CNTR)
        value = u->cntr;
    else if (reg == REG_ISTR)
        value = istr(u);
    else if (reg == REG_FNR)
        value = fnr(b, u);
    else if (reg == REG_DADDR)
        value = u->daddr;
    else if (reg == REG_BTABLE)
        value = u->btable;
    else
        board_break_rule(
            b, d->base + offset, "no USB register at offset 0x%02x (RM0008 USB)", (unsigned)offset);
    return value >> 8 * (offset & 3);
}

static void write_endpoint(struct usb_device_state *u, unsigned index, uint16_t value)
{
    if (u->cntr & (CNTR_FRES | CNTR_PDWN))
        return; /* held in reset */
    uint16_t old = u->epr[index];
    unsigned toggled = (old ^ value) & EP_TOGGLE;
    unsigned kept = old & EP_SETUP;
    unsigned ctr = old & value & EP_CTR;
    u->epr[index] = (uint16_t)(toggled | kept | ctr | (value & EP_PLAIN));
    if (!is_double(u->epr[index]))
        u->swapping &= (uint8_t) ~(1U << index);
}

static void write_cntr(struct board *b, struct usb_device_state *u, uint16_t value)
{
    uint16_t old = u->cntr;
    u->cntr = value & CNTR_BITS;
    if (old & CNTR_FSUSP && !(value & CNTR_FSUSP))
        u->lost_sofs = 0; /* the look-out for a suspend begins anew */
    if (value & CNTR_FRES) {
        reset_function(u);
        u->istr |= ISTR_RESET;
    }
    if (old & CNTR_PDWN && !(value & CNTR_PDWN))
        u->clock_told = false;
    if ((value & ~old & CNTR_RESUME) && (value & CNTR_FSUSP))
        usb_device_wants_resume(b);
    usb_pin_changed(b);
}

static void write_register(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    usb_catch_up(b);
    struct usb_device_state *u = &board_usb(b)->device;
    uint32_t reg = offset & ~3U;
    if (size == 1 || offset & 3)
        board_break_rule(b, d->base + offset,
            "USB registers are written as half-words or words, at multiples of 4 (RM0008 USB)");
    /* The bridge repeats a byte on all its data lines (RM0008 §2.1). */
    uint16_t half = (uint16_t)(size == 1 ? (value & 0xFF) * 0x101 : value);

    if (reg < 4 * USB_ENDPOINTS)
        write_endpoint(u, reg / 4, half);
    else if (reg == REG_CNTR)
        write_cntr(b, u, half);
    else if (reg == REG_ISTR)
        u->istr &= half & ISTR_FLAGS; /* 0 clears, 1 leaves alone */
    else if (reg == REG_DADDR)
        u->daddr = u->cntr & (CNTR_FRES | CNTR_PDWN) ? 0 : half & 0xFF;
    else if (reg == REG_BTABLE)
        u->btable = half & 0xFFF8;
    else if (reg != REG_FNR)
        board_break_rule(
            b, d->base + offset, "no USB register at offset 0x%02x (RM0008 USB)", (unsigned)offset);
    update_irq(b, u);
    usb_device_has_changed(b);
}

static void reset_registers(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    usb_catch_up(b);
    struct usb_device_state *u = &board_usb(b)->device;
    memset(u->epr, 0, sizeof u->epr);
    u->cntr = CNTR_PDWN | CNTR_FRES;
    u->istr = u->daddr = u->btable = u->frame = 0;
    u->sofs = u->lost_sofs = 0;
    u->clock_told = false;
    u->latch.valid = false;
    u->low_irq = u->high_irq = true; /* tell the levels, whatever they were */
    update_irq(b, u);
    if (kind == RESET_POWER)
        usb_device_lost_power(b);
    usb_device_has_changed(b);
}

static void tick(struct board *b, const struct device *d)
{
    (void)d;
    usb_deadline_came(b);
}

static uint32_t read_memory(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)d, (void)size;
    usb_catch_up(b);
    /* A slot's upper half reads as 0: ChibiOS (os/hal/ports/STM32/LLD/USBv1) takes the 32 bits of a buffer's
     * address as they are. */
    uint32_t slot = board_usb(b)->device.pma[offset / 4 % USB_PMA_WORDS];
    return slot >> 8 * (offset & 3);
}

static void write_memory(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    usb_catch_up(b);
    if (offset & 2)
        board_break_rule(b, d->base + offset,
            "store to the upper half of a packet memory slot: 16 bits in every 32 (RM0008 USB)");
    board_usb(b)->device.pma[offset / 4 % USB_PMA_WORDS] =
        (uint16_t)(size == 1 ? (value & 0xFF) * 0x101 : value);
}

static void reset_memory(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    if (kind != RESET_POWER)
        return;
    struct usb_device_state *u = &board_usb(b)->device;
    for (unsigned i = 0; i < USB_PMA_WORDS; i++)
        u->pma[i] = (uint16_t)board_random(b);
}

enum { CLOCK_USBEN = 0x1C << 8 | 23 }; /* RCC_APB1ENR */

const struct device usb_device_registers = {
    .name = "USB",
    .base = 0x40005C00,
    .size = 0x400,
    .clock = CLOCK_USBEN,
    .read = read_register,
    .write = write_register,
    .reset = reset_registers,
    .tick = tick,
};

const struct device usb_device_memory = {
    .name = "USB packet memory",
    .base = 0x40006000,
    .size = 0x400,
    .clock = CLOCK_USBEN,
    .read = read_memory,
    .write = write_memory,
    .reset = reset_memory,
};
