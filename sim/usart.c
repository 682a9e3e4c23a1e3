/* SPDX-License-Identifier: MIT */
/*
 * USART1 … USART3, asynchronous: bytes take their time, flags and interrupts as on the chip. What
 * is sent goes to the board's uart function; what comes in waits in a queue and arrives at the
 * receiver's own pace. Parity, LIN, smartcard and flow control are not modelled.
 *
 * Source: RM0008 §27.
 */
#include "board_state.h"

enum { SR = 0x00, DR = 0x04, BRR = 0x08, CR1 = 0x0C, CR2 = 0x10, CR3 = 0x14, GTPR = 0x18 };
enum {
    SR_ORE = 1 << 3,
    SR_IDLE = 1 << 4,
    SR_RXNE = 1 << 5,
    SR_TC = 1 << 6,
    SR_TXE = 1 << 7,
    CR1_RE = 1 << 2,
    CR1_TE = 1 << 3,
    CR1_IDLEIE = 1 << 4, /* the interrupt enables 4 … 7 stand where SR's flags stand */
    CR1_RXNEIE = 1 << 5,
    CR1_M = 1 << 12,
    CR1_UE = 1 << 13,
    CR3_DMAR = 1 << 6,
    CR3_DMAT = 1 << 7,
};

// clang-format off
static const struct reg regs[] = {
    {"SR",   SR,   0xC0, 0x0360},
    {"DR",   DR,   0,    0x01FF},
    {"BRR",  BRR,  0,    0xFFFF},
    {"CR1",  CR1,  0,    0x3FFF},
    {"CR2",  CR2,  0,    0x7F6F},
    {"CR3",  CR3,  0,    0x07FF},
    {"GTPR", GTPR, 0,    0xFFFF},
};

/* Wiring: interrupt, pin of TX (plain and remapped, RM0008 §9.3.8), DMA1's channels. */
static const struct {
    uint8_t irq;
    bool apb2;
    struct {
        char port;
        uint8_t pin;
    } tx[4]; /* by the remap field of AFIO_MAPR */
    uint8_t remap_shift, remap_mask;
    uint8_t dma_tx, dma_rx;
} wiring[USARTS] = {
    {37, true,  {{'A', 9},  {'B', 6}},                        2, 1, 4, 5},
    {38, false, {{'A', 2},  {'D', 5}},                        3, 1, 7, 6},
    {39, false, {{'B', 10}, {'C', 10}, {'B', 10}, {'D', 8}},  4, 3, 2, 3},
};
// clang-format on

static void update(struct board *b, unsigned i)
{
    const struct usart_state *u = &b->usart[i];
    bool level = u->sr & u->cr1 & 0xF0;
    if (u->cr1 & CR1_RXNEIE && u->sr & SR_ORE)
        level = true;
    board_irq(b, wiring[i].irq, level);
    uint64_t first = u->tx_end < u->rx_end ? u->tx_end : u->rx_end;
    board_set_deadline(b, &usart_devices[i], first);
}

static uint64_t frame_ns(const struct board *b, unsigned i)
{
    static const uint8_t half_stop_bits[4] = {2, 1, 4, 3};
    const struct usart_state *u = &b->usart[i];
    uint64_t pclk = wiring[i].apb2 ? board_pclk2_hz(b) : board_pclk1_hz(b);
    uint64_t half_bits = (u->cr1 & CR1_M ? 20U : 18U) + half_stop_bits[u->cr2 >> 12 & 3];
    return half_bits * u->brr * BOARD_S / (2 * pclk); /* baud = PCLK / BRR */
}

static bool on(const struct usart_state *u, uint32_t which)
{
    return u->cr1 & CR1_UE && u->cr1 & which && u->brr >= 16;
}

/* --- sending ------------------------------------------------------------------------------------ */

static void tell_if_pin_is_closed(struct board *b, unsigned i)
{
    uint32_t remap = afio_mapr(b) >> wiring[i].remap_shift & wiring[i].remap_mask;
    char port = wiring[i].tx[remap].port;
    unsigned pin = wiring[i].tx[remap].pin;
    if (b->usart[i].told || gpio_is_alternate_output(b, port, pin))
        return;
    b->usart[i].told = true;
    board_log(b,
        "USART%u sends, but its pin P%c%u is not an alternate function output: on a chip "
        "nothing comes out",
        i + 1, port, pin);
}

static void begin_frame(struct board *b, unsigned i)
{
    struct usart_state *u = &b->usart[i];
    if (u->shifting || u->sr & SR_TXE || !on(u, CR1_TE))
        return;
    tell_if_pin_is_closed(b, i);
    u->shift = u->tdr;
    u->shifting = true;
    u->sr |= SR_TXE;
    u->tx_end = board_now(b) + frame_ns(b, i);
}

static void end_frame(struct board *b, unsigned i)
{
    struct usart_state *u = &b->usart[i];
    u->shifting = false;
    uint64_t ended = u->tx_end;
    u->tx_end = NEVER;
    if (b->config.uart)
        b->config.uart(b->config.context, i + 1, u->shift);
    begin_frame(b, i);
    if (u->shifting)
        u->tx_end = ended + frame_ns(b, i); /* back to back, however late this is looked at */
    else
        u->sr |= SR_TC;
}

static void send(struct board *b, unsigned i, uint8_t byte)
{
    struct usart_state *u = &b->usart[i];
    if (!(u->sr & SR_TXE))
        board_log(b, "USART%u: a byte is overwritten before it was sent (TXE was 0)", i + 1);
    u->tdr = byte;
    u->sr &= ~(uint32_t)SR_TXE;
    if (u->sr_was_read)
        u->sr &= ~(uint32_t)SR_TC;
    begin_frame(b, i);
    if (u->shifting)
        u->sr &= ~(uint32_t)SR_TC;
}

/* --- receiving ---------------------------------------------------------------------------------- */

static void await_byte(struct board *b, unsigned i)
{
    struct usart_state *u = &b->usart[i];
    if (u->rx_end == NEVER && u->queue_in != u->queue_out && on(u, CR1_RE))
        u->rx_end = board_now(b) + frame_ns(b, i);
}

void usart_receive(struct board *b, unsigned index, uint8_t byte)
{
    struct usart_state *u = &b->usart[index];
    if ((uint16_t)(u->queue_in - u->queue_out) == UART_QUEUE) {
        board_log(b, "USART%u: the sender's queue is full, a byte is dropped", index + 1);
        return;
    }
    u->queue[u->queue_in++ % UART_QUEUE] = byte;
    await_byte(b, index);
    update(b, index);
}

static void arrive(struct board *b, unsigned i)
{
    struct usart_state *u = &b->usart[i];
    uint8_t byte = u->queue[u->queue_out++ % UART_QUEUE];
    u->rx_end = NEVER;
    if (u->sr & SR_RXNE) {
        u->sr |= SR_ORE; /* the new byte is lost (RM0008 §27.3.3) */
    } else {
        u->rdr = byte;
        u->sr |= SR_RXNE;
    }
    await_byte(b, i);
    if (u->rx_end == NEVER)
        u->sr |= SR_IDLE;
}

/* --- registers ---------------------------------------------------------------------------------- */

static void serve_dma(struct board *b, unsigned i)
{
    const struct usart_state *u = &b->usart[i];
    if (u->cr3 & CR3_DMAT && u->sr & SR_TXE && on(u, CR1_TE))
        dma_request(b, 0, wiring[i].dma_tx);
    if (u->cr3 & CR3_DMAR && u->sr & SR_RXNE)
        dma_request(b, 0, wiring[i].dma_rx);
}

void usart_dma_ready(struct board *b)
{
    for (unsigned i = 0; i < USARTS; i++)
        serve_dma(b, i);
}

static void usart_tick(struct board *b, const struct device *d)
{
    struct usart_state *u = &b->usart[d->index];
    uint64_t now = board_now(b);
    if (u->tx_end <= now)
        end_frame(b, d->index);
    if (u->rx_end <= now)
        arrive(b, d->index);
    update(b, d->index);
    serve_dma(b, d->index);
}

static uint32_t *storage(struct usart_state *u, uint32_t offset)
{
    uint32_t *at[] = {&u->sr, NULL, &u->brr, &u->cr1, &u->cr2, &u->cr3, &u->gtpr};
    return at[offset / 4];
}

static uint32_t usart_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    struct usart_state *u = &b->usart[d->index];
    (void)size;
    if (offset == SR) {
        u->sr_was_read = true;
        return u->sr;
    }
    if (offset != DR)
        return *storage(u, offset);
    uint32_t cleared = SR_RXNE;
    if (u->sr_was_read) /* the sequence "read SR, then DR" */
        cleared |= SR_ORE | SR_IDLE | 7;
    u->sr_was_read = false;
    u->sr &= ~cleared;
    update(b, d->index);
    return u->rdr;
}

static void usart_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    struct usart_state *u = &b->usart[d->index];
    (void)size;
    switch (offset) {
    case SR: /* write 0 to clear */
        u->sr &= value | ~(uint32_t)0x360;
        break;
    case DR:
        send(b, d->index, (uint8_t)value);
        break;
    default:
        *storage(u, offset) = value & regs[offset / 4].writable;
        begin_frame(b, d->index);
        await_byte(b, d->index);
        break;
    }
    update(b, d->index);
    serve_dma(b, d->index);
}

static void usart_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    struct usart_state *u = &b->usart[d->index];
    (void)kind;
    struct usart_state fresh = {.sr = 0xC0, .tx_end = NEVER, .rx_end = NEVER};
    *u = fresh; /* what was sent to it meanwhile is lost too */
    update(b, d->index);
}

#define USART(number, address, bit, densities)                                                     \
    {                                                                                              \
        .name = "USART" #number, .base = UINT32_C(address), .size = 0x400, .clock = (bit),         \
        .read = usart_read, .write = usart_write, .reset = usart_reset, .tick = usart_tick,        \
        .index = (number)-1, .regs = regs, .reg_count = sizeof regs / sizeof regs[0],              \
        .density = (densities)                                                                     \
    }

const struct device usart_devices[USARTS] = {
    USART(1, 0x40013800, 0x18 << 8 | 14, 0),
    USART(2, 0x40004400, 0x1C << 8 | 17, 0),
    USART(3, 0x40004800, 0x1C << 8 | 18, DENSITY_MEDIUM | DENSITY_HIGH),
};
