/* SPDX-License-Identifier: MIT */
/*
 * Host controller, hub port and the few steps of an operating system. See usb_host.h for what it
 * promises, usb_state.h for how time is kept.
 *
 * Sources: USB 2.0 §5.11, §7.1, §8.4–8.6, §9; Linux, drivers/usb/core/hub.c (the order of
 * requests by which it takes in a device).
 */
#include "machine.h"
#include "usb_state.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NEVER UINT64_MAX

enum {
    /* Lengths in half bit times: sync 8, PID 8, address and CRC5 16, CRC16 16, EOP 3 bits. */
    TOKEN = 2 * 35,
    DATA = 2 * 35, /* and 16 for each byte */
    HANDSHAKE = 2 * 19,
    GAPS_2 = 2 * 3,     /* turn-arounds of a transaction with two packets … */
    GAPS_3 = 13,        /* … and with three */
    NO_ANSWER = 2 * 18, /* USB 2.0 §7.1.19 */
};
enum {
    SOF_NS = 3000,       /* the frame's first packet, and its gap */
    EOF_GUARD_NS = 3000, /* nothing may be under way at the frame's end (USB 2.0 §11.2.5) */
    LOOK_NS = 100000,    /* how often the hub looks at D+ unless told that it changed */
    SE0_NS = 2500,       /* disconnect, reset: USB 2.0 §7.1.7.3, §7.1.7.5 */
    RESET_NS = 10000000,
    RECOVERY_NS = 10000000,
    RESUME_NS = 20000000,
    DEBOUNCE_NS = 100000000,
    STEP_MIN_NS = 5000,
    TRIES = 3, /* a transaction without an answer: USB 2.0 §8.6 */
    ENUMERATION_TRIES = 4,
    ENUMERATION_MS = 5000,
    FULL_SPEED_PACKET = 64,
};

static struct usb_host_state *host(const struct board *b)
{
    /* The state is the board's; only looking at it may catch up with time. */
    struct usb_host_state *h = &board_usb((struct board *)(uintptr_t)b)->host;
    if (!h->made) {
        h->made = true;
        h->turnaround = USB_TURNAROUND_NS;
        h->max_packet0 = FULL_SPEED_PACKET;
        h->next_frame = (board_now(b) / BOARD_MS + 1) * BOARD_MS;
        h->next_look = h->bus_at = h->reset_seen = NEVER;
        h->returned = NEVER;
    }
    return h;
}

static uint64_t half_bits(unsigned n)
{
    return (uint64_t)n * 125 / 3;
}

static uint64_t frame_start(uint64_t t)
{
    return t - t % BOARD_MS;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When a transaction that takes at most `longest` can begin: from t on, clear of SOF and frame end. */
static uint64_t fit(uint64_t t, uint64_t longest)
{
    uint64_t frame = frame_start(t);
    t = later(t, frame + SOF_NS);
    return t + longest + EOF_GUARD_NS > frame + BOARD_MS ? frame + BOARD_MS + SOF_NS : t;
}

/* --- trace ------------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void trace(
    struct board *b, uint64_t t, const char *format, ...)
{
    char text[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    board_trace(b, "%" PRIu64 ".%06" PRIu64 " ms  %s", t / BOARD_MS, t % BOARD_MS, text);
}

static void trace_transaction(
    struct board *b, const struct usb_host_state *h, const struct usb_pipe *p, enum usb_token token)
{
    static const char *const answers[] = {"no answer", "NAK", "STALL", "ACK", "ACK"};
    char text[100] = "";
    size_t used = 0;
    const struct usb_packet *packet = &h->packet;
    unsigned endpoint = p->endpoint & 15;

    if (token == USB_SETUP) {
        const uint8_t *s = p->setup;
        trace(b, h->began, "SETUP %u %02x %02x %02x%02x %02x%02x %02x%02x %s", endpoint, s[0], s[1],
            s[3], s[2], s[5], s[4], s[7], s[6], answers[h->answer]);
        return;
    }
    if (token == USB_OUT || h->answer == USB_DATA) {
        used = (size_t)snprintf(
            text, sizeof text, " DATA%u %u:", (unsigned)packet->data1, (unsigned)packet->size);
        for (unsigned i = 0; i < packet->size && i < 16; i++)
            used += (size_t)snprintf(
                text + used, sizeof text - used, " %02x", (unsigned)packet->data[i]);
        snprintf(text + used, sizeof text - used, "%s", packet->size > 16 ? " .." : "");
    }
    trace(b, h->began, "%s %u%s %s", token == USB_IN ? "IN" : "OUT", endpoint, text,
        answers[h->answer]);
}

/* --- transfers --------------------------------------------------------------------------------- */

static uint8_t *data_of(struct usb_host_state *h, const struct usb_pipe *p)
{
    return p->endpoint & 0x7F ? h->pipe_data[p - h->pipes] : h->control_data;
}

static bool is_control(const struct usb_pipe *p)
{
    return !(p->endpoint & 0x7F);
}

/* The token that a transfer needs next. */
static enum usb_token next_token(const struct usb_pipe *p)
{
    if (!is_control(p))
        return p->endpoint & 0x80 ? USB_IN : USB_OUT;
    if (p->stage == USB_STAGE_SETUP)
        return USB_SETUP;
    bool data_in = p->setup[0] & 0x80 && p->size;
    return data_in == (p->stage == USB_STAGE_DATA) ? USB_IN : USB_OUT;
}

static uint16_t next_size(const struct usb_pipe *p)
{
    if (is_control(p) && p->stage == USB_STAGE_STATUS)
        return 0;
    uint32_t left = p->size - p->done;
    return (uint16_t)(left < p->max_packet ? left : p->max_packet);
}

static uint64_t longest(const struct usb_pipe *p)
{
    unsigned bytes = p->max_packet;
    if (next_token(p) == USB_SETUP)
        bytes = 8;
    else if (next_token(p) == USB_OUT)
        bytes = next_size(p);
    return half_bits(TOKEN + DATA + 16 * bytes + HANDSHAKE + GAPS_3);
}

static uint64_t duration(enum usb_token token, uint8_t answer, unsigned bytes)
{
    unsigned sent = TOKEN + (token == USB_IN ? 0 : DATA + 16 * bytes);
    if (answer == USB_SILENCE)
        return half_bits(sent + GAPS_2 + NO_ANSWER);
    if (answer == USB_DATA)
        return half_bits(sent + DATA + 16 * bytes + HANDSHAKE + GAPS_3);
    return half_bits(sent + HANDSHAKE + (token == USB_IN ? GAPS_2 : GAPS_3));
}

/* Does an endpoint descriptor of this address stand in the configuration? */
static const uint8_t *find_endpoint(const struct usb_host_state *h, uint8_t endpoint)
{
    const uint8_t *config = h->descriptors.config;
    unsigned size = h->descriptors.config_size;
    for (unsigned at = 0; at + 2 <= size && config[at] >= 2; at += config[at]) {
        if (config[at + 1] == 5 && at + 7 <= size && config[at + 2] == endpoint)
            return config + at;
    }
    return NULL;
}

static void clear_toggle(struct usb_host_state *h, uint8_t endpoint)
{
    uint16_t *toggles = endpoint & 0x80 ? &h->toggles_in : &h->toggles_out;
    *toggles = (uint16_t)(*toggles & ~(1U << (endpoint & 15)));
}

/* The descriptors of that configuration become the selected ones; nothing if there are none. */
static void select_config(struct usb_descriptors *d, uint8_t value)
{
    for (unsigned at = 0; at + 9 <= d->all_size;) {
        unsigned total = (unsigned)(d->all[at + 2] | d->all[at + 3] << 8);
        if (d->all[at + 5] == value) {
            memset(d->config, 0, sizeof d->config);
            memcpy(d->config, d->all + at, total);
            d->config_size = (uint16_t)total;
            return;
        }
        at += total;
    }
}

/* Requests that set data toggles back (USB 2.0 §9.1.1.5, §9.4.5). */
static void note_request(struct usb_host_state *h, const uint8_t setup[8])
{
    if (setup[0] == 0x00 && setup[1] == 9)
        select_config(&h->descriptors, setup[2]);
    const uint8_t *config = h->descriptors.config;
    unsigned size = h->descriptors.config_size, interface = 256;
    if (setup[0] == 0x00 && setup[1] == 9)
        h->toggles_in = h->toggles_out = 0;
    if (setup[0] == 0x02 && setup[1] == 1 && setup[2] == 0)
        clear_toggle(h, setup[4]);
    if (setup[0] != 0x01 || setup[1] != 11)
        return;
    for (unsigned at = 0; at + 3 <= size && config[at] >= 2; at += config[at]) {
        if (config[at + 1] == 4)
            interface = config[at + 2];
        if (config[at + 1] == 5 && interface == setup[4])
            clear_toggle(h, config[at + 2]);
    }
}

/* The transfer is at its end: a transaction of it that is under way is nobody's any more. */
static void end_transfer(struct usb_host_state *h, struct usb_pipe *p)
{
    p->state = USB_PIPE_DONE;
    if (h->bus == USB_BUS_BUSY && p == &h->pipes[h->pipe])
        h->orphaned = true;
}

static void finish(struct usb_host_state *h, struct usb_pipe *p, int result, uint64_t t)
{
    end_transfer(h, p);
    p->result = result;
    p->ended = t;
    h->counts.transfers++;
    if (result == USB_STALL)
        h->counts.stalls++;
    if (result == USB_ERROR)
        h->counts.errors++;
    if (!is_control(p))
        return;
    h->control_end = t;
    if (result >= 0)
        note_request(h, p->setup);
}

static void finish_all(struct usb_host_state *h, int result, uint64_t t)
{
    for (unsigned i = 0; i < USB_PIPES; i++) {
        if (h->pipes[i].state == USB_PIPE_ACTIVE)
            finish(h, &h->pipes[i], result, t);
    }
    h->parked = false;
    h->bus_at = NEVER;
    h->bus = USB_BUS_IDLE;
}

/* --- what happens on the bus ------------------------------------------------------------------- */

/* Sets the time of the next transaction. */
static void plan(struct usb_host_state *h)
{
    if (h->bus != USB_BUS_IDLE || h->parked)
        return;
    h->bus_at = NEVER;
    if (h->port != USB_PORT_ENABLED || h->suspended)
        return;
    for (unsigned i = 0; i < USB_PIPES; i++) {
        if (h->pipes[i].state == USB_PIPE_ACTIVE)
            h->bus_at = sooner(h->bus_at, later(h->pipes[i].ready, h->bus_free));
    }
}

/* Every transaction goes through here, once for each that is not a NAKed repetition. */
static enum usb_token transact(struct board *b, struct usb_host_state *h, struct usb_pipe *p)
{
    enum usb_token token = next_token(p);
    struct usb_packet *packet = &h->packet;
    packet->size = 0;
    packet->data1 = 0;
    if (token == USB_SETUP) {
        packet->size = 8;
        memcpy(packet->data, p->setup, 8);
    } else if (token == USB_OUT) {
        packet->size = next_size(p);
        packet->data1 = p->toggle;
        memcpy(packet->data, data_of(h, p) + p->done, packet->size);
    }
    h->fault_now = USB_FAULT_NONE;
    h->answer = (uint8_t)usb_device_token(b, token, p->address, p->endpoint & 15, packet);
    if (h->answer == USB_NAK) {
        h->counts.naks++;
        return token;
    }
    h->counts.transactions++;
    if (h->counts.transactions == h->fault_at)
        h->fault_now = h->fault;
    if (h->fault_now == USB_FAULT_LOST_PACKET) {
        h->answer = USB_SILENCE;
        usb_device_no_handshake(b);
    }
    return token;
}

static void begin_transaction(struct board *b, struct usb_host_state *h, uint64_t t)
{
    unsigned i = h->last_pipe;
    unsigned tries = 0;
    do {
        i = (i + 1) % USB_PIPES;
        tries++;
    } while (tries <= USB_PIPES && (h->pipes[i].state != USB_PIPE_ACTIVE || h->pipes[i].ready > t));
    struct usb_pipe *p = &h->pipes[i];
    if (tries > USB_PIPES) {
        plan(h);
        return;
    }
    uint64_t fits = fit(t, longest(p));
    if (fits > t) {
        h->bus_at = fits;
        return;
    }
    h->last_pipe = h->pipe = (uint8_t)i;
    h->began = t;
    h->device_changed = h->orphaned = false;
    enum usb_token token = transact(b, h, p);
    h->bus = USB_BUS_BUSY;
    h->bus_at = t + duration(token, h->answer, h->packet.size);
    if (board_tracing(b, BOARD_TRACE_USB))
        trace_transaction(b, h, p, token);
}

static unsigned waiting_pipes(const struct usb_host_state *h, uint64_t t)
{
    unsigned n = 0;
    for (unsigned i = 0; i < USB_PIPES; i++)
        n +=
            h->pipes[i].state == USB_PIPE_ACTIVE && !h->pipes[i].interval && h->pipes[i].ready <= t;
    return n;
}

/* NAK: again at once, or at the interval of an interrupt endpoint. When all that wait were NAKed
 * and the firmware has done nothing in between, the answers will stay the same until it does. */
static void naked(struct usb_host_state *h, struct usb_pipe *p, uint64_t t)
{
    if (p->interval) {
        p->ready = frame_start(h->began) + p->interval * BOARD_MS;
        return;
    }
    if (h->device_changed) {
        h->nak_streak = 0;
        h->nak_time = 0;
        return;
    }
    h->nak_streak++;
    h->nak_time += t - h->began;
    if (h->nak_streak < waiting_pipes(h, t))
        return;
    h->parked = true;
    h->park_from = t;
    h->park_cycle = h->nak_time;
    h->bus_at = frame_start(t) + BOARD_MS + SOF_NS;
}

/* The first retry at or after t; counts those that were skipped. */
static void unpark(struct board *b, struct usb_host_state *h, uint64_t t)
{
    uint64_t end = frame_start(h->park_from) + BOARD_MS;
    uint64_t last = h->park_from + longest(&h->pipes[h->pipe]) + EOF_GUARD_NS;
    uint64_t slots = last > end ? 0 : (end - last) / h->park_cycle + 1;
    uint64_t gone = t <= h->park_from ? 0 : (t - h->park_from + h->park_cycle - 1) / h->park_cycle;
    uint64_t skipped = sooner(gone, slots);
    h->parked = false;
    h->bus_free = gone >= slots ? end + SOF_NS : h->park_from + gone * h->park_cycle;
    h->counts.naks += skipped * h->nak_streak;
    if (skipped && board_tracing(b, BOARD_TRACE_USB))
        trace(b, h->bus_free, "... NAK %" PRIu64 " times more", skipped * h->nak_streak);
    h->nak_streak = 0;
    h->nak_time = 0;
    plan(h);
}

static void next_stage(struct usb_pipe *p)
{
    p->stage = p->stage == USB_STAGE_SETUP && p->size ? USB_STAGE_DATA : USB_STAGE_STATUS;
    p->toggle = 1;
}

/* A packet of n bytes has gone over, in or out. */
static void advance(struct usb_host_state *h, struct usb_pipe *p, unsigned n, uint64_t t)
{
    bool data = !is_control(p) || p->stage == USB_STAGE_DATA;
    bool in = next_token(p) == USB_IN;
    if (!data) {
        if (p->stage == USB_STAGE_STATUS)
            finish(h, p, (int)p->done, t);
        else
            next_stage(p);
        return;
    }
    p->done += n;
    p->toggle ^= 1;
    if (!is_control(p)) {
        uint16_t *toggles = in ? &h->toggles_in : &h->toggles_out;
        *toggles = (uint16_t)(*toggles ^ 1U << (p->endpoint & 15));
    }
    if (p->done < p->size && !(in && n < p->max_packet))
        return;
    if (is_control(p))
        next_stage(p);
    else
        finish(h, p, (int)p->done, t);
}

static void received(struct board *b, struct usb_host_state *h, struct usb_pipe *p, uint64_t t)
{
    const struct usb_packet *packet = &h->packet;
    bool again = packet->data1 != p->toggle; /* the device missed our ACK and repeats itself */
    if (packet->size > p->max_packet || (!again && packet->size > next_size(p))) {
        usb_device_no_handshake(b); /* babble: more than was asked for */
        finish(h, p, USB_ERROR, t);
        return;
    }
    if (h->fault_now == USB_FAULT_LOST_ACK)
        usb_device_no_handshake(b);
    else
        usb_device_complete(b);
    if (again)
        return;
    if (packet->size)
        memcpy(data_of(h, p) + p->done, packet->data, packet->size);
    advance(h, p, packet->size, t);
}

static void disconnect(struct board *b, struct usb_host_state *h, uint64_t t);

static void end_transaction(struct board *b, struct usb_host_state *h, uint64_t t)
{
    struct usb_pipe *p = &h->pipes[h->pipe];
    h->bus = USB_BUS_IDLE;
    h->bus_free = t;
    if (h->fault_now == USB_FAULT_UNPLUG) {
        h->plugged = false;
        usb_device_no_handshake(b);
        disconnect(b, h, t);
        return;
    }
    if (h->orphaned) { /* by now the pipe may be another transfer's */
        usb_device_complete(b);
        plan(h);
        return;
    }
    if (h->answer != USB_NAK)
        h->nak_streak = 0, h->nak_time = 0;
    if (h->answer == USB_ACK && h->fault_now == USB_FAULT_LOST_ACK) {
        usb_device_complete(b);
        h->answer = USB_SILENCE;
    }
    if (h->answer != USB_SILENCE)
        p->errors = 0;
    switch ((enum usb_answer)h->answer) {
    case USB_SILENCE:
        if (++p->errors >= TRIES)
            finish(h, p, USB_ERROR, t);
        break;
    case USB_NAK:
        naked(h, p, t);
        break;
    case USB_STALLED:
        finish(h, p, USB_STALL, t);
        break;
    case USB_ACK:
        usb_device_complete(b);
        advance(h, p, h->packet.size, t);
        break;
    case USB_DATA:
        received(b, h, p, t);
        break;
    }
    plan(h);
}

/* --- the hub's port ---------------------------------------------------------------------------- */

static void disconnect(struct board *b, struct usb_host_state *h, uint64_t t)
{
    finish_all(h, USB_GONE, t);
    h->port = USB_PORT_EMPTY;
    h->configured = false;
    h->suspended = false;
    h->address = 0;
    h->low_since = 0;
    h->reset_seen = NEVER;
    h->changes++;
    board_log(b, "USB: device gone");
}

/* Looks at D+, now = t. */
static void look(struct board *b, struct usb_host_state *h, uint64_t t)
{
    bool there = h->plugged && board_powered(b);
    bool high =
        there && gpio_pulls_up_usb(b) && (usb_device_has_line(b) || !gpio_drives_low(b, 'A', 12));
    h->next_look = h->plugged ? t + LOOK_NS : NEVER;
    if (high) {
        h->low_since = 0;
        if (h->port == USB_PORT_EMPTY) {
            h->port = USB_PORT_ATTACHED;
            h->attached_at = t;
            h->changes++;
            board_log(b, "USB: device attached");
        }
        return;
    }
    if (h->port == USB_PORT_EMPTY || (there && h->bus == USB_BUS_RESET))
        return;
    if (!h->low_since)
        h->low_since = later(t, 1);
    if (!there || t >= h->low_since + SE0_NS)
        disconnect(b, h, t);
    else
        h->next_look = h->low_since + SE0_NS;
}

static void bus_event(struct board *b, struct usb_host_state *h, uint64_t t)
{
    switch ((enum usb_bus)h->bus) {
    case USB_BUS_IDLE:
        if (h->parked)
            unpark(b, h, t);
        else
            begin_transaction(b, h, t);
        break;
    case USB_BUS_BUSY:
        end_transaction(b, h, t);
        break;
    case USB_BUS_RESET:
        h->bus = USB_BUS_IDLE;
        h->port = USB_PORT_ENABLED;
        h->bus_free = t;
        plan(h);
        look(b, h, t);
        break;
    case USB_BUS_RESUME:
        h->bus = USB_BUS_IDLE;
        h->suspended = false;
        h->bus_free = t + RECOVERY_NS;
        plan(h);
        break;
    }
}

static void start_frame(struct board *b, struct usb_host_state *h, uint64_t t)
{
    h->next_frame = t + BOARD_MS;
    if (h->bus == USB_BUS_RESET || h->bus == USB_BUS_RESUME)
        return;
    if (h->port == USB_PORT_ENABLED && !h->suspended)
        usb_device_sof(b, (uint16_t)(t / BOARD_MS % 2048));
    else
        usb_device_no_sof(b);
}

static uint64_t next_event(const struct usb_host_state *h)
{
    uint64_t t = sooner(sooner(h->next_frame, h->next_look), sooner(h->bus_at, h->reset_seen));
    for (unsigned i = 0; i < USB_PIPES; i++) {
        if (h->pipes[i].state == USB_PIPE_ACTIVE)
            t = sooner(t, h->pipes[i].deadline);
    }
    return t;
}

static void expire(struct usb_host_state *h, uint64_t t)
{
    for (unsigned i = 0; i < USB_PIPES; i++) {
        struct usb_pipe *p = &h->pipes[i];
        if (p->state == USB_PIPE_ACTIVE && p->deadline <= t)
            finish(h, p, USB_TIMEOUT, t);
    }
    if (h->parked && !waiting_pipes(h, t)) {
        h->parked = false;
        h->bus_free = t;
    }
    plan(h);
}

static void perform(struct board *b, struct usb_host_state *h, uint64_t t)
{
    if (t == h->next_frame) {
        start_frame(b, h, t);
    } else if (t == h->reset_seen) {
        h->reset_seen = NEVER;
        usb_device_bus_reset(b);
    } else if (t == h->bus_at) {
        bus_event(b, h, t);
    } else if (t == h->next_look) {
        look(b, h, t);
    } else {
        expire(h, t);
    }
}

static void set_deadline(struct board *b, const struct usb_host_state *h)
{
    board_set_deadline(b, &usb_device_registers, next_event(h));
}

void usb_catch_up(struct board *b)
{
    struct usb_host_state *h = host(b);
    uint64_t now = board_now(b), t = next_event(h);
    if (t > now)
        return;
    if (!board_powered(b)) { /* nobody to hear frames */
        look(b, h, now);
        h->next_frame = frame_start(now) + BOARD_MS;
    }
    for (t = next_event(h); t <= now; t = next_event(h))
        perform(b, h, t);
    set_deadline(b, h);
}

void usb_deadline_came(struct board *b)
{
    usb_catch_up(b);
    set_deadline(b, host(b));
}

/* --- what the device's end tells ---------------------------------------------------------------- */

void usb_device_has_changed(struct board *b)
{
    struct usb_host_state *h = host(b);
    h->device_changed = true;
    if (h->parked)
        unpark(b, h, board_now(b));
    set_deadline(b, h);
}

void usb_pin_changed(struct board *b)
{
    struct usb_host_state *h = host(b);
    if (!h->plugged)
        return;
    h->next_look = board_now(b); /* not at once: what happens to the board may not be complete */
    set_deadline(b, h);
}

void usb_device_lost_power(struct board *b)
{
    struct usb_host_state *h = host(b);
    uint64_t now = board_now(b);
    if (h->port != USB_PORT_EMPTY)
        disconnect(b, h, now);
    h->next_frame = frame_start(now) + BOARD_MS;
    h->next_look =
        h->plugged ? now + SE0_NS : NEVER; /* by then it is known whether it comes back */
    set_deadline(b, h);
}

static void start_resume(struct board *b, struct usb_host_state *h, uint64_t t)
{
    if (!h->suspended || h->bus == USB_BUS_RESET || h->bus == USB_BUS_RESUME)
        return;
    h->bus = USB_BUS_RESUME;
    h->bus_at = t + RESUME_NS;
    usb_device_resume(b);
    set_deadline(b, h);
}

void usb_device_wants_resume(struct board *b)
{
    start_resume(b, host(b), board_now(b));
}

/* --- the host's software: time ------------------------------------------------------------------ */

/* The time at which a call of the host's software begins: the board may have run further while the
 * CPU stood still, but the host did not. */
static uint64_t enter(struct board *b)
{
    usb_catch_up(b);
    const struct usb_host_state *h = host(b);
    return board_now(b) == h->returned ? h->time : board_now(b);
}

static void leave(struct board *b, uint64_t t)
{
    struct usb_host_state *h = host(b);
    h->time = t;
    h->returned = board_now(b);
}

uint64_t usb_host_now(struct board *b)
{
    return enter(b);
}

enum board_stop usb_wait_until(struct board *b, uint64_t t)
{
    struct usb_host_state *h = host(b);
    enum board_stop stop = t > board_now(b) ? board_run_until(b, t) : BOARD_DONE;
    if (stop != BOARD_DONE)
        h->stop = (uint8_t)stop;
    usb_catch_up(b);
    leave(b, t);
    return stop;
}

enum board_stop usb_board_stop(const struct board *b)
{
    return (enum board_stop)host(b)->stop;
}

/* The board runs in steps that end before the host would begin another transfer. */
enum board_stop usb_run(struct board *b, uint64_t at_most_ns)
{
    const struct usb_host_state *h = host(b);
    uint64_t begin = board_now(b);
    uint64_t step = sooner(later(h->turnaround, STEP_MIN_NS), USB_STEP_NS);
    enum board_stop stop = usb_wait_until(b, begin + sooner(step, at_most_ns));
    uint64_t heard = 0;
    for (unsigned i = 0; i < USB_PIPES; i++) {
        const struct usb_pipe *p = &h->pipes[i];
        if (p->state == USB_PIPE_DONE && p->ended >= begin)
            heard = later(heard, p->ended);
    }
    if (heard)
        leave(b, heard);
    return stop;
}

/* Lets time pass. 0 or USB_BOARD. */
static int wait_until(struct board *b, uint64_t t)
{
    return usb_wait_until(b, t) == BOARD_DONE ? 0 : USB_BOARD;
}

static int wait_for(struct board *b, uint64_t ns)
{
    return wait_until(b, enter(b) + ns);
}

/* --- the host's software: transfers ------------------------------------------------------------- */

static void prepare_pipe(struct usb_host_state *h, struct usb_pipe *p, uint8_t endpoint)
{
    memset(p, 0, sizeof *p);
    p->state = USB_PIPE_ACTIVE;
    p->endpoint = endpoint;
    p->address = h->address;
    p->max_packet = h->max_packet0;
    if (is_control(p))
        return;
    const uint8_t *descriptor = find_endpoint(h, endpoint);
    unsigned max = descriptor ? (unsigned)(descriptor[4] | descriptor[5] << 8) : FULL_SPEED_PACKET;
    p->max_packet = (uint16_t)(max && max <= FULL_SPEED_PACKET ? max : FULL_SPEED_PACKET);
    if (descriptor && (descriptor[3] & 3) == 3)
        p->interval = descriptor[6] ? descriptor[6] : 1;
    uint16_t toggles = endpoint & 0x80 ? h->toggles_in : h->toggles_out;
    p->toggle = toggles >> (endpoint & 15) & 1;
}

/* Tells who watches that a transfer begins, or that it has ended. */
static void tell(struct board *b, struct usb_host_state *h, const struct usb_pipe *p, uint64_t when)
{
    bool ended = p->state == USB_PIPE_DONE;
    bool in = is_control(p) ? p->setup[0] & 0x80 : p->endpoint & 0x80;
    struct usb_transfer t = {.id = p->id,
        .when_ns = when,
        .ended = ended,
        .address = p->address,
        .endpoint = (uint8_t)((p->endpoint & 15) | (in ? 0x80 : 0)),
        .interval = p->interval,
        .setup = is_control(p) ? p->setup : NULL,
        .data = data_of(h, p),
        .size = ended ? p->done : p->size,
        .result = p->result};
    board_tell_transfer(b, &t);
}

static int free_pipe(const struct usb_host_state *h, uint8_t endpoint)
{
    int found = -1;
    if (!(endpoint & 0x7F))
        return h->pipes[0].state == USB_PIPE_FREE ? 0 : -1;
    for (int i = USB_PIPES - 1; i > 0; i--) {
        if (h->pipes[i].state == USB_PIPE_FREE)
            found = i;
        else if (h->pipes[i].endpoint == endpoint)
            return -1;
    }
    return found;
}

int usb_submit(struct board *b, uint8_t endpoint, const uint8_t *setup, const uint8_t *data,
    size_t size, unsigned timeout_ms)
{
    uint64_t now = enter(b);
    struct usb_host_state *h = host(b);
    if (h->port != USB_PORT_ENABLED || size > (setup ? USB_CONTROL_SIZE : USB_PIPE_SIZE))
        return USB_GONE;
    int i = free_pipe(h, endpoint);
    if (i < 0)
        return USB_PENDING;
    struct usb_pipe *p = &h->pipes[i];
    prepare_pipe(h, p, endpoint);
    p->size = (uint32_t)size;
    p->ready = now;
    bool out = setup ? !(setup[0] & 0x80) : !(endpoint & 0x80);
    if (out && size)
        memcpy(data_of(h, p), data, size);
    if (setup) {
        memcpy(p->setup, setup, sizeof p->setup);
        p->ready = h->control_end ? later(now, h->control_end + h->turnaround) : now;
        if (h->turnaround < STEP_MIN_NS)
            p->ready = later(p->ready, board_now(b));
    }
    p->deadline = timeout_ms ? p->ready + timeout_ms * BOARD_MS : NEVER;
    p->id = ++h->submitted;
    tell(b, h, p, p->ready);
    if (h->parked)
        unpark(b, h, now);
    plan(h);
    set_deadline(b, h);
    return i;
}

int usb_result(struct board *b, int handle)
{
    usb_catch_up(b);
    const struct usb_pipe *p = &host(b)->pipes[handle];
    return p->state == USB_PIPE_DONE ? p->result : USB_PENDING;
}

void usb_take(struct board *b, int handle, uint8_t *data, size_t size)
{
    struct usb_host_state *h = host(b);
    struct usb_pipe *p = &h->pipes[handle];
    bool in = is_control(p) ? p->setup[0] & 0x80 : p->endpoint & 0x80;
    if (in && p->result > 0 && data)
        memcpy(data, data_of(h, p), size < (size_t)p->result ? size : (size_t)p->result);
    if (p->state == USB_PIPE_DONE)
        tell(b, h, p, p->ended);
    p->state = USB_PIPE_FREE;
}

void usb_cancel(struct board *b, int handle)
{
    usb_catch_up(b);
    struct usb_host_state *h = host(b);
    struct usb_pipe *p = &h->pipes[handle];
    if (p->state == USB_PIPE_ACTIVE) {
        if (is_control(p))
            h->control_end = later(h->control_end, board_now(b));
        end_transfer(h, p);
        p->result = USB_TIMEOUT;
        p->ended = later(p->ready, board_now(b));
    }
    if (p->state == USB_PIPE_DONE)
        tell(b, h, p, p->ended);
    p->state = USB_PIPE_FREE;
    if (h->parked)
        unpark(b, h, board_now(b));
    plan(h);
    set_deadline(b, h);
}

static int complete(struct board *b, int handle)
{
    for (;;) {
        enum board_stop stop = usb_run(b, USB_STEP_NS);
        if (stop != BOARD_DONE) {
            usb_cancel(b, handle);
            return USB_BOARD;
        }
        int result = usb_result(b, handle);
        if (result != USB_PENDING)
            return result;
    }
}

static int transfer(struct board *b, uint8_t endpoint, const uint8_t *setup, const uint8_t *out,
    uint8_t *in, size_t size, unsigned timeout_ms)
{
    int handle = usb_submit(b, endpoint, setup, out, size, timeout_ms);
    if (handle == USB_PENDING)
        return USB_ERROR;
    if (handle < 0)
        return handle;
    int result = complete(b, handle);
    usb_take(b, handle, in, size);
    return result;
}

int usb_control(struct board *b, const uint8_t setup[8], uint8_t *data, unsigned timeout_ms)
{
    size_t size = (size_t)(setup[6] | setup[7] << 8);
    return transfer(b, 0, setup, setup[0] & 0x80 ? NULL : data, data, size, timeout_ms);
}

int usb_in(struct board *b, uint8_t endpoint, uint8_t *data, size_t size, unsigned timeout_ms)
{
    size_t done = 0;
    for (;;) {
        size_t piece = size - done < USB_PIPE_SIZE ? size - done : USB_PIPE_SIZE;
        int n = transfer(b, endpoint | 0x80, NULL, NULL, data + done, piece, timeout_ms);
        if (n < 0)
            return done && n == USB_TIMEOUT ? (int)done : n;
        done += (size_t)n;
        if ((size_t)n < piece || done == size)
            return (int)done;
    }
}

int usb_out(
    struct board *b, uint8_t endpoint, const uint8_t *data, size_t size, unsigned timeout_ms)
{
    size_t done = 0;
    do {
        size_t piece = size - done < USB_PIPE_SIZE ? size - done : USB_PIPE_SIZE;
        int n = transfer(b, endpoint & 0x7F, NULL, data + done, NULL, piece, timeout_ms);
        if (n < 0)
            return n;
        done += (size_t)n;
    } while (done < size);
    return (int)done;
}

/* --- the cable ---------------------------------------------------------------------------------- */

static void set_plug(struct board *b, bool plugged)
{
    usb_catch_up(b);
    struct usb_host_state *h = host(b);
    h->plugged = plugged;
    look(b, h, board_now(b));
    set_deadline(b, h);
}

void usb_plug(struct board *b)
{
    set_plug(b, true);
}

void usb_unplug(struct board *b)
{
    set_plug(b, false);
}

static struct board *unconst(const struct board *b)
{
    return (struct board *)(uintptr_t)b; /* to catch up with time */
}

bool usb_attached(const struct board *b)
{
    usb_pin_changed(unconst(b));
    usb_catch_up(unconst(b));
    return host(b)->port != USB_PORT_EMPTY;
}

void usb_set_turnaround(struct board *b, uint64_t ns)
{
    host(b)->turnaround = ns;
}

int usb_bus_reset(struct board *b)
{
    uint64_t now = enter(b);
    struct usb_host_state *h = host(b);
    if (h->port == USB_PORT_EMPTY)
        return USB_GONE;
    finish_all(h, USB_ERROR, now);
    h->bus = USB_BUS_RESET;
    h->reset_seen = now + SE0_NS;
    h->bus_at = now + RESET_NS;
    h->suspended = false;
    h->configured = false;
    h->address = 0;
    h->toggles_in = h->toggles_out = 0;
    set_deadline(b, h);
    board_log(b, "USB: bus reset");
    if (wait_until(b, now + RESET_NS + RECOVERY_NS))
        return USB_BOARD;
    return h->port == USB_PORT_ENABLED ? 0 : USB_GONE;
}

void usb_suspend(struct board *b, bool suspended)
{
    usb_catch_up(b);
    struct usb_host_state *h = host(b);
    if (suspended) {
        h->suspended = h->port == USB_PORT_ENABLED;
        plan(h);
        set_deadline(b, h);
    } else {
        start_resume(b, h, board_now(b));
    }
}

/* --- enumeration -------------------------------------------------------------------------------- */

static int request(struct board *b, uint8_t type, uint8_t code, uint16_t value, uint16_t index,
    uint8_t *data, uint16_t length)
{
    const uint8_t setup[8] = {type, code, (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)index,
        (uint8_t)(index >> 8), (uint8_t)length, (uint8_t)(length >> 8)};
    return usb_control(b, setup, data, ENUMERATION_MS);
}

static int get_descriptor(
    struct board *b, uint8_t type, uint8_t index, uint16_t language, uint8_t *data, uint16_t length)
{
    return request(b, 0x80, 6, (uint16_t)(type << 8 | index), language, data, length);
}

/* UTF-16LE to UTF-8; what does not fit is left out. */
static void to_utf8(const uint8_t *utf16, int bytes, char *text, size_t size)
{
    size_t used = 0;
    for (int i = 0; i + 1 < bytes; i += 2) {
        uint32_t c = (uint32_t)(utf16[i] | utf16[i + 1] << 8);
        if (c >= 0xD800 && c < 0xDC00 && i + 3 < bytes) {
            uint32_t low = (uint32_t)(utf16[i + 2] | utf16[i + 3] << 8);
            c = 0x10000 + ((c & 0x3FF) << 10) + (low & 0x3FF);
            i += 2;
        }
        unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        static const uint8_t lead[] = {0, 0xC0, 0xE0, 0xF0};
        if (!c || used + more + 1 >= size)
            break;
        text[used++] = (char)(lead[more] | c >> 6 * more);
        while (more--)
            text[used++] = (char)(0x80 | (c >> 6 * more & 0x3F));
    }
    text[used] = 0;
}

/* A string that the device may refuse. 0, or an error that ends the enumeration. */
static int get_string(struct board *b, uint8_t index, uint16_t language, char *text, size_t size)
{
    uint8_t data[255];
    text[0] = 0;
    if (!index)
        return 0;
    int n = get_descriptor(b, 3, index, language, data, sizeof data);
    if (n < 0)
        return n == USB_STALL ? 0 : n;
    if (n >= 2 && data[1] == 3)
        to_utf8(data + 2, (n < data[0] ? n : data[0]) - 2, text, size);
    return 0;
}

static int get_strings(struct board *b, struct usb_descriptors *d)
{
    uint8_t data[255];
    if (!d->device[14] && !d->device[15] && !d->device[16])
        return 0;
    int n = get_descriptor(b, 3, 0, 0, data, sizeof data);
    if (n == USB_STALL)
        return 0;
    if (n < 0)
        return n;
    uint16_t language = n >= 4 ? (uint16_t)(data[2] | data[3] << 8) : 0x0409;
    int rc = get_string(b, d->device[15], language, d->product, sizeof d->product);
    if (!rc)
        rc = get_string(b, d->device[14], language, d->manufacturer, sizeof d->manufacturer);
    if (!rc)
        rc = get_string(b, d->device[16], language, d->serial, sizeof d->serial);
    return rc;
}

/* Things that a full-speed-only device may refuse, and that must not upset it. */
static int ask_extras(struct board *b, const struct usb_descriptors *d)
{
    uint8_t data[255];
    unsigned bcd_usb = (unsigned)(d->device[2] | d->device[3] << 8);
    int n = USB_STALL;
    for (int i = 0; i < 3 && n == USB_STALL && bcd_usb >= 0x0200; i++)
        n = get_descriptor(b, 6, 0, 0, data, 10);
    if (n >= 0)
        board_log(b, "USB: a full-speed device has a DEVICE_QUALIFIER (USB2.0 §9.6.2)");
    if (n < 0 && n != USB_STALL)
        return n;
    if (bcd_usb < 0x0201)
        return 0;
    n = get_descriptor(b, 15, 0, 0, data, 5);
    if (n == 5) {
        unsigned total = (unsigned)(data[2] | data[3] << 8);
        n = get_descriptor(
            b, 15, 0, 0, data, (uint16_t)(total < sizeof data ? total : sizeof data));
    }
    return n < 0 && n != USB_STALL ? n : 0;
}

/* One configuration, behind those that were read before. */
static int get_config(struct board *b, struct usb_descriptors *d, uint8_t index)
{
    uint8_t *to = d->all + d->all_size;
    unsigned room = sizeof d->all - d->all_size;
    uint8_t head[9];
    int n = get_descriptor(b, 2, index, 0, head, sizeof head);
    if (n < 0)
        return n;
    unsigned total = (unsigned)(head[2] | head[3] << 8);
    if (n < 9 || head[1] != 2 || total < 9 || total > sizeof d->config || total > room)
        return USB_ERROR;
    n = get_descriptor(b, 2, index, 0, to, (uint16_t)total);
    if (n < 0)
        return n;
    if ((unsigned)n != total || to[2] != head[2] || to[3] != head[3])
        return USB_ERROR;
    d->all_size = (uint16_t)(d->all_size + total);
    return 0;
}

static int get_configs(struct board *b, struct usb_descriptors *d)
{
    unsigned count = d->device[17];
    int rc = count ? 0 : USB_ERROR;
    for (unsigned i = 0; i < count && !rc; i++)
        rc = get_config(b, d, (uint8_t)i);
    if (!rc)
        select_config(d, d->all[5]);
    return rc;
}

/* Reset, the first descriptor at address 0, reset, the address. */
static int give_address(struct board *b, uint8_t address)
{
    struct usb_host_state *h = host(b);
    uint8_t data[64];
    int rc = usb_bus_reset(b);
    if (rc)
        return rc;
    h->max_packet0 = FULL_SPEED_PACKET;
    int n = get_descriptor(b, 1, 0, 0, data, sizeof data);
    if (n < 0)
        return n;
    uint8_t max = data[7];
    if (n < 8 || data[1] != 1 || (max != 8 && max != 16 && max != 32 && max != 64))
        return USB_ERROR;
    rc = usb_bus_reset(b);
    if (rc)
        return rc;
    h->max_packet0 = max;
    rc = request(b, 0x00, 5, address, 0, NULL, 0);
    if (rc < 0)
        return rc;
    h->address = address;
    return wait_for(b, 10 * BOARD_MS);
}

static int take_in(struct board *b, uint8_t address, struct usb_descriptors *d)
{
    struct usb_host_state *h = host(b);
    memset(d, 0, sizeof *d);
    int rc = give_address(b, address);
    if (rc)
        return rc;
    rc = get_descriptor(b, 1, 0, 0, d->device, sizeof d->device);
    if (rc != (int)sizeof d->device)
        return rc < 0 ? rc : USB_ERROR;
    rc = ask_extras(b, d);
    if (!rc)
        rc = get_configs(b, d);
    if (!rc)
        rc = get_strings(b, d);
    if (rc)
        return rc;
    h->descriptors = *d;
    rc = request(b, 0x00, 9, d->config[5], 0, NULL, 0);
    if (rc < 0)
        return rc;
    h->configured = true;
    return 0;
}

/* Several tries, as Linux makes; not when there is nobody, or somebody else now. */
static int take_in_patiently(struct board *b, uint8_t address, struct usb_descriptors *d)
{
    const struct usb_host_state *h = host(b);
    unsigned changes = h->changes;
    int rc = USB_ERROR;
    for (int i = 0; i < ENUMERATION_TRIES; i++) {
        if (i && wait_for(b, DEBOUNCE_NS))
            return USB_BOARD;
        if (h->changes != changes)
            return USB_GONE;
        rc = take_in(b, address, d);
        if (!rc || rc == USB_GONE || rc == USB_BOARD)
            break;
    }
    return rc;
}

/* Waits for a device that stays for the debounce time. */
static int wait_for_device(struct board *b, uint64_t deadline)
{
    const struct usb_host_state *h = host(b);
    for (;;) {
        uint64_t now = enter(b);
        bool there = h->port != USB_PORT_EMPTY;
        if (there && now >= h->attached_at + DEBOUNCE_NS)
            return 0;
        if (!there && now >= deadline)
            return USB_GONE;
        if (wait_until(b, now + BOARD_MS))
            return USB_BOARD;
    }
}

int usb_enumerate(struct board *b, unsigned timeout_ms)
{
    uint64_t deadline = enter(b) + timeout_ms * BOARD_MS;
    struct usb_host_state *h = host(b);
    struct usb_descriptors d;
    int rc;
    do {
        rc = wait_for_device(b, deadline);
        if (rc)
            return rc;
        h->last_address = (uint8_t)(h->last_address % 127 + 1);
        rc = take_in_patiently(b, h->last_address, &d);
    } while (rc == USB_GONE && board_now(b) < deadline);
    if (rc)
        board_log(b, "USB: the device does not enumerate (%d)", rc);
    else
        board_log(b, "USB: device %02x%02x:%02x%02x at address %u", d.device[9], d.device[8],
            d.device[11], d.device[10], h->address);
    return rc ? rc : h->address;
}

int usb_reset_device(struct board *b)
{
    struct usb_host_state *h = host(b);
    struct usb_descriptors before = h->descriptors, after;
    uint8_t address = h->address;
    usb_catch_up(b);
    if (!h->configured)
        return USB_GONE;
    int rc = take_in_patiently(b, address, &after);
    if (rc == USB_BOARD)
        return rc;
    uint8_t selected = before.config[5];
    if (!rc && selected != after.config[5]) { /* the host puts back the one it had */
        select_config(&after, selected);
        rc = request(b, 0x00, 9, selected, 0, NULL, 0);
        if (rc == USB_BOARD)
            return rc;
    }
    if (!rc && !memcmp(&before, &after, sizeof before))
        return 0;
    h->configured = false; /* it is another one now */
    h->changes++;
    return USB_GONE;
}

/* --- what is known ------------------------------------------------------------------------------ */

bool usb_configured(const struct board *b)
{
    usb_catch_up(unconst(b));
    return host(b)->configured;
}

unsigned usb_device_changes(const struct board *b)
{
    usb_catch_up(unconst(b));
    return host(b)->changes;
}

const struct usb_descriptors *usb_descriptors(const struct board *b)
{
    static const struct usb_descriptors none;
    return usb_configured(b) ? &host(b)->descriptors : &none;
}

void usb_counts(const struct board *b, struct usb_counts *counts)
{
    usb_catch_up(unconst(b));
    *counts = host(b)->counts;
}

void usb_fault_at(struct board *b, uint64_t nth, enum usb_fault fault)
{
    struct usb_host_state *h = host(b);
    usb_catch_up(b);
    h->fault_at = h->counts.transactions + nth;
    h->fault = (uint8_t)fault;
}
