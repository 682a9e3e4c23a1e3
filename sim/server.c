/* SPDX-License-Identifier: MIT */
/*
 * USB/IP server and control channel.
 *
 * The control channel: one line, one line of answer, "ok …" or "error …". Durations are a number
 * and a unit, ns us ms s: "sleep 1500us".
 *
 *     now                      virtual time: "ok 12003456" (ns)
 *     sleep DURATION           lets time pass; the answer comes when it has
 *     wait-device DURATION     lets time pass until a device is enumerated, at most so long
 *     plug, unplug             the USB cable
 *     power on|off             the board's supply
 *     reset [DURATION]         the reset button, held for so long (10ms)
 *     bus-reset                a USB port reset, as libusb_reset_device()
 *     suspend on|off           no SOFs
 *     cut N [TORN [SEED]]      power fails at the Nth flash operation; TORN: not-begun half random done marginal (half)
 *     fault N KIND             the Nth transaction fails; KIND: lost-packet lost-ack unplug
 *     turnaround DURATION      from one control transfer to the next
 *     pin PC13                 the level on a pin: "ok 0"
 *     drive PC13 0|1           from outside
 *     counts                   JSON object
 *     devices                  JSON array of what is on the bus: descriptors as hex, strings
 *     sysfs                    the same as a description for umockdev, newlines written as \n, \ as \\
 *     usbip                    where the USB/IP server listens: "ok 127.0.0.1:3240"
 *     help, quit
 *
 * Virtual clock: time passes while a transfer is under way (a control transfer is given up after
 * 5 s with -ETIMEDOUT; a NAKed IN of another endpoint waits without time passing after 100 ms, until
 * something else makes it pass), in sleep, wait-device, reset, bus-reset, and for the enumeration of
 * a device that has just come.
 */
#include "server.h"
#include "usb_host.h"
#include "usbip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 32,
    MAX_LENGTH = 1 << 24, /* of a transfer: usbfs' own limit */
    ANSWER_SIZE = 8192,
    LINE_SIZE = 4096,
    CONTROL_TIMEOUT_MS = 5000,
    ENUMERATIONS = 8, /* devices that come and go while one is being enumerated */
};
#define IDLE_IN_NS  (100 * BOARD_MS) /* virtual clock: a NAKed IN lets time pass for so long */
#define IDLE_OUT_NS (6 * BOARD_S)
#define WALL_LEAD   (20 * BOARD_MS) /* wall clock: transfers may run ahead of it */
#define WALL_STEP   (5 * BOARD_MS)
#define WALL_LAG    (200 * BOARD_MS) /* more than that behind: the lost time is dropped */

enum kind { FREE, USBIP, CONTROL };

struct connection {
    enum kind kind;
    int fd;
    bool attached;   /* USB/IP: the device was imported */
    bool sleeping;   /* control: answers when it is time */
    bool for_device; /* … or when a device is there */
    uint64_t wake;
    uint8_t *in;
    size_t used, room;
};

struct urb {
    struct urb *next;
    struct connection *owner;
    uint32_t seqnum;
    uint8_t endpoint; /* bit 7: IN */
    uint8_t setup[8];
    bool zero_packet;
    int handle; /* of usb_submit(); -1: not begun */
    size_t size, done, piece;
    uint8_t data[];
};

struct server {
    struct board *b;
    const struct server_options *options;
    int usbip, control;
    uint16_t port;
    char address[INET_ADDRSTRLEN];
    struct connection connections[MAX_CONNECTIONS];
    struct urb *urbs;            /* in the order of arrival */
    unsigned changes;            /* usb_device_changes() that were dealt with */
    bool pending;                /* what is attached was not enumerated yet */
    uint8_t device;              /* its address; 0: none */
    uint64_t progress;           /* virtual time when something last moved */
    uint64_t wall, wall_virtual; /* wall time, and virtual time then */
    bool quit;
    int rc;
};

static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

static uint64_t wall_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * BOARD_S + (uint64_t)t.tv_nsec;
}

/* --- the board ---------------------------------------------------------------------------------- */

/* Why the board stopped. A broken rule ends the server; a power cut was ordered. */
static void note_stop(struct server *s, enum board_stop why)
{
    const struct board_complaint *c = board_complaint(s->b);
    if (why != BOARD_ERROR && why != BOARD_BREAK)
        return;
    if (why == BOARD_BREAK || !c)
        fprintf(stderr, "caboose-sim: the firmware stopped at 0x%08" PRIx32 "\n", board_pc(s->b));
    else
        fprintf(stderr,
            "caboose-sim: rule broken at %" PRIu64 ".%06" PRIu64 " ms, pc 0x%08" PRIx32
            ", address 0x%08" PRIx32 ": %s\n",
            c->when_ns / BOARD_MS, c->when_ns % BOARD_MS, c->pc, c->addr, c->rule);
    s->quit = true;
    s->rc = -1;
}

static void note_result(struct server *s, int result)
{
    if (result == USB_BOARD)
        note_stop(s, usb_board_stop(s->b));
}

/* --- sockets ------------------------------------------------------------------------------------ */

static void forget_urbs(struct server *s, const struct connection *c)
{
    for (struct urb **p = &s->urbs; *p;) {
        struct urb *u = *p;
        if (u->owner != c) {
            p = &u->next;
            continue;
        }
        if (u->handle >= 0)
            usb_cancel(s->b, u->handle);
        *p = u->next;
        free(u);
    }
}

static void drop(struct server *s, struct connection *c)
{
    if (c->kind == FREE)
        return;
    forget_urbs(s, c);
    close(c->fd);
    free(c->in);
    *c = (struct connection){.kind = FREE};
}

static void send_all(struct server *s, struct connection *c, const void *data, size_t size)
{
    const char *p = data;
    while (size && c->kind != FREE) {
        ssize_t n = send(c->fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            drop(s, c);
            return;
        }
        p += n;
        size -= (size_t)n;
    }
}

/* The device has left: whoever had imported it is told by the end of the connection. */
static void drop_attached(struct server *s)
{
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        if (s->connections[i].attached)
            drop(s, &s->connections[i]);
    }
}

/* --- the device comes and goes ------------------------------------------------------------------ */

static void note_changes(struct server *s)
{
    unsigned changes = usb_device_changes(s->b);
    if (changes == s->changes)
        return;
    s->changes = changes;
    s->pending = true;
    s->device = 0;
    drop_attached(s);
}

/* Takes in a device that has come. Time passes. */
static void enumerate(struct server *s)
{
    note_changes(s);
    for (int i = 0; i < ENUMERATIONS && s->pending && usb_attached(s->b) && !s->quit; i++) {
        s->pending = false;
        int address = usb_enumerate(s->b, 0);
        note_result(s, address);
        note_changes(s);
        s->device = address > 0 && usb_configured(s->b) ? (uint8_t)address : 0;
        s->progress = board_now(s->b);
    }
}

/* --- URBs --------------------------------------------------------------------------------------- */

static int32_t status_of(int result)
{
    switch (result) {
    case USB_STALL:
        return -EPIPE;
    case USB_TIMEOUT:
        return -ETIMEDOUT;
    case USB_GONE:
        return -ESHUTDOWN;
    default:
        return result < 0 ? -EPROTO : 0;
    }
}

static void answer_urb(struct server *s, struct urb *u, int32_t status)
{
    uint8_t header[USBIP_HEADER_SIZE];
    struct connection *c = u->owner;
    bool in = u->endpoint & 0x80;
    usbip_make_return(header, USBIP_RET_SUBMIT, u->seqnum, status, (uint32_t)u->done);
    for (struct urb **p = &s->urbs; *p; p = &(*p)->next) {
        if (*p == u) {
            *p = u->next;
            break;
        }
    }
    send_all(s, c, header, sizeof header);
    if (in && u->done)
        send_all(s, c, u->data, u->done);
    free(u);
    s->progress = board_now(s->b);
}

static bool is_port_reset(const struct urb *u)
{
    static const uint8_t setup[] = {0x23, 3, 4, 0}; /* SET_FEATURE(PORT_RESET) */
    return !(u->endpoint & 0x7F) && !memcmp(u->setup, setup, sizeof setup);
}

/* The address is given by our host, not by the client's. */
static bool is_set_address(const struct urb *u)
{
    return !(u->endpoint & 0x7F) && u->setup[0] == 0 && u->setup[1] == 5;
}

static bool waits_for_another(const struct server *s, const struct urb *u)
{
    for (const struct urb *v = s->urbs; v != u; v = v->next) {
        if (v->endpoint == u->endpoint || !((v->endpoint | u->endpoint) & 0x7F))
            return true;
    }
    return false;
}

static void reset_device(struct server *s, struct urb *u)
{
    int rc = usb_reset_device(s->b);
    note_result(s, rc);
    answer_urb(s, u, rc == USB_GONE ? -ENODEV : status_of(rc));
    note_changes(s);
}

/* False: it is no longer in the list. */
static bool begin_urb(struct server *s, struct urb *u)
{
    bool control = !(u->endpoint & 0x7F);
    if (is_port_reset(u)) {
        reset_device(s, u);
        return false;
    }
    if (is_set_address(u)) {
        answer_urb(s, u, 0);
        return false;
    }
    u->piece = u->size - u->done;
    if (!control && u->piece > USB_TRANSFER_MAX)
        u->piece = USB_TRANSFER_MAX;
    unsigned timeout = control && s->options->virtual_clock ? CONTROL_TIMEOUT_MS : 0;
    int handle = usb_submit(
        s->b, u->endpoint, control ? u->setup : NULL, u->data + u->done, u->piece, timeout);
    if (handle == USB_PENDING)
        return true;
    if (handle < 0) {
        answer_urb(s, u, status_of(handle));
        return false;
    }
    u->handle = handle;
    s->progress = board_now(s->b);
    return true;
}

static void begin_urbs(struct server *s)
{
    for (struct urb *u = s->urbs; u;) {
        if (u->handle >= 0 || waits_for_another(s, u) || begin_urb(s, u))
            u = u->next;
        else
            u = s->urbs; /* the list has changed */
    }
}

static void end_urb(struct server *s, struct urb *u, int result)
{
    usb_take(s->b, u->handle, u->data + u->done, u->piece);
    u->handle = -1;
    if (result > 0)
        u->done += (size_t)result;
    bool whole = result >= 0 && (size_t)result == u->piece;
    bool more = u->endpoint & 0x7F && whole && u->done < u->size;
    if (!more && u->zero_packet && whole && u->size && u->size % 64 == 0) {
        u->zero_packet = false;
        more = true;
    }
    if (!more)
        answer_urb(s, u, status_of(result));
}

static void end_urbs(struct server *s)
{
    for (struct urb *u = s->urbs, *next; u; u = next) {
        next = u->next;
        int result = u->handle >= 0 ? usb_result(s->b, u->handle) : USB_PENDING;
        if (result == USB_PENDING)
            continue;
        end_urb(s, u, result);
        next = s->urbs; /* answering may have dropped the connection, and others with it */
    }
}

/* Does a transfer let time pass now? */
static bool urbs_run(const struct server *s)
{
    uint64_t patience = 0;
    for (const struct urb *u = s->urbs; u; u = u->next) {
        bool idle_in = u->endpoint & 0x80 && u->endpoint & 0x7F;
        uint64_t own = idle_in ? IDLE_IN_NS : IDLE_OUT_NS;
        if (own > patience)
            patience = own;
    }
    return patience && (!s->options->virtual_clock || board_now(s->b) < s->progress + patience);
}

/* --- time --------------------------------------------------------------------------------------- */

/* One step of virtual time with all that belongs to it. */
static void step_until(struct server *s, uint64_t when)
{
    begin_urbs(s);
    if (s->urbs)
        note_stop(s, usb_run(s->b, when - usb_host_now(s->b)));
    else
        note_stop(s, usb_wait_until(s->b, when));
    end_urbs(s);
    note_changes(s);
}

static bool time_is_up(const struct server *s)
{
    return s->options->until_ns && board_now(s->b) >= s->options->until_ns;
}

/* Lets time pass up to `when`, or until a device is there. */
static void sleep_until(struct server *s, uint64_t when, bool for_device)
{
    while (!s->quit && !stopped && !time_is_up(s)) {
        enumerate(s);
        uint64_t now = usb_host_now(s->b);
        if (now >= when || (for_device && s->device))
            break;
        step_until(s, when - now > BOARD_MS ? now + BOARD_MS : when);
    }
    s->progress = board_now(s->b);
}

/* --- USB/IP ------------------------------------------------------------------------------------- */

static void answer_devlist(struct server *s, struct connection *c)
{
    uint8_t op[USBIP_OP_SIZE + 4], device[USBIP_DEVICE_SIZE], interfaces[32][4] = {{0}};
    enumerate(s);
    const struct usb_descriptors *d = usb_descriptors(s->b);
    usbip_make_op(op, USBIP_REP_DEVLIST, 0);
    usbip_put32(op + USBIP_OP_SIZE, s->device != 0);
    send_all(s, c, op, sizeof op);
    if (s->device) {
        usbip_make_device(device, d, s->device);
        usbip_make_interfaces(interfaces, 32, d);
        send_all(s, c, device, sizeof device);
        send_all(s, c, interfaces, 4 * (size_t)(d->config[4] < 32 ? d->config[4] : 32));
    }
    drop(s, c);
}

static void answer_import(struct server *s, struct connection *c, const uint8_t *busid)
{
    uint8_t op[USBIP_OP_SIZE], device[USBIP_DEVICE_SIZE];
    enumerate(s);
    bool ours = s->device && !strncmp((const char *)busid, USBIP_BUSID, USBIP_BUSID_SIZE);
    usbip_make_op(op, USBIP_REP_IMPORT, ours ? 0 : 1);
    send_all(s, c, op, sizeof op);
    if (!ours) {
        drop(s, c);
        return;
    }
    usbip_make_device(device, usb_descriptors(s->b), s->device);
    send_all(s, c, device, sizeof device);
    c->attached = c->kind != FREE;
}

/* The bytes of an operation that are complete, or 0. */
static size_t take_operation(struct server *s, struct connection *c)
{
    if (c->used < USBIP_OP_SIZE)
        return 0;
    uint16_t code = usbip_get16(c->in + 2);
    if (usbip_get16(c->in) != USBIP_VERSION ||
        (code != USBIP_REQ_DEVLIST && code != USBIP_REQ_IMPORT)) {
        drop(s, c);
        return 0;
    }
    if (code == USBIP_REQ_DEVLIST) {
        answer_devlist(s, c);
        return USBIP_OP_SIZE;
    }
    if (c->used < USBIP_OP_SIZE + USBIP_BUSID_SIZE)
        return 0;
    answer_import(s, c, c->in + USBIP_OP_SIZE);
    return USBIP_OP_SIZE + USBIP_BUSID_SIZE;
}

static void unlink_urb(struct server *s, struct connection *c, const struct usbip_command *command)
{
    uint8_t header[USBIP_HEADER_SIZE];
    int32_t status = 0; /* it was answered before */
    for (struct urb **p = &s->urbs; *p; p = &(*p)->next) {
        struct urb *u = *p;
        if (u->owner != c || u->seqnum != command->unlink)
            continue;
        if (u->handle >= 0)
            usb_cancel(s->b, u->handle);
        *p = u->next;
        free(u);
        status = -ECONNRESET;
        break;
    }
    usbip_make_return(header, USBIP_RET_UNLINK, command->seqnum, status, 0);
    send_all(s, c, header, sizeof header);
}

static void refuse_urb(
    struct server *s, struct connection *c, const struct usbip_command *command, int32_t status)
{
    uint8_t header[USBIP_HEADER_SIZE];
    usbip_make_return(header, USBIP_RET_SUBMIT, command->seqnum, status, 0);
    send_all(s, c, header, sizeof header);
}

static void add_urb(struct server *s, struct connection *c, const struct usbip_command *command,
    const uint8_t *data)
{
    struct urb *u = calloc(1, sizeof *u + command->length);
    struct urb **last = &s->urbs;
    bool control = !command->endpoint;
    size_t length = control ? (size_t)(command->setup[6] | command->setup[7] << 8) : 0;
    bool in = control ? command->setup[0] & 0x80 : command->direction != 0;
    if (!u || command->endpoint > 15 || (control && length > command->length)) {
        free(u);
        refuse_urb(s, c, command, -EINVAL);
        return;
    }
    u->owner = c;
    u->seqnum = command->seqnum;
    u->endpoint = (uint8_t)(command->endpoint | (in ? 0x80U : 0));
    u->size = control ? length : command->length;
    u->zero_packet = !control && !in && command->flags & USBIP_ZERO_PACKET;
    u->handle = -1;
    memcpy(u->setup, command->setup, sizeof u->setup);
    if (!in && command->length)
        memcpy(u->data, data, command->length);
    while (*last)
        last = &(*last)->next;
    *last = u;
    s->progress = board_now(s->b);
}

/* The bytes of a command that are complete, or 0. */
static size_t take_command(struct server *s, struct connection *c)
{
    struct usbip_command command;
    if (c->used < USBIP_HEADER_SIZE)
        return 0;
    usbip_parse_command(c->in, &command);
    if (command.command == USBIP_CMD_UNLINK) {
        unlink_urb(s, c, &command);
        return USBIP_HEADER_SIZE;
    }
    if (command.command != USBIP_CMD_SUBMIT || command.length > MAX_LENGTH) {
        drop(s, c);
        return 0;
    }
    bool isochronous = command.packets != 0 && command.packets != UINT32_MAX;
    size_t more = command.direction ? 0 : command.length;
    if (isochronous) {
        if (command.packets > 1024) {
            drop(s, c);
            return 0;
        }
        more += command.packets * (size_t)USBIP_ISO_SIZE;
    }
    if (c->used < USBIP_HEADER_SIZE + more)
        return 0;
    if (isochronous)
        refuse_urb(s, c, &command, -EINVAL);
    else
        add_urb(s, c, &command, c->in + USBIP_HEADER_SIZE);
    return USBIP_HEADER_SIZE + more;
}

/* --- control channel ---------------------------------------------------------------------------- */

struct answer {
    char text[ANSWER_SIZE];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void say(struct answer *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(a->text + a->used, sizeof a->text - a->used, format, args);
    va_end(args);
    if (n > 0)
        a->used += (size_t)n;
    if (a->used >= sizeof a->text)
        a->used = sizeof a->text - 1;
}

static bool parse_number(const char *word, uint64_t *value)
{
    char *end;
    if (!word || *word < '0' || *word > '9')
        return false;
    errno = 0;
    *value = strtoull(word, &end, 0);
    return !errno && !*end;
}

/* "1500us" in ns. */
static bool parse_duration(const char *word, uint64_t *ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {
        {"ns", 1       },
        {"us", BOARD_US},
        {"ms", BOARD_MS},
        {"s",  BOARD_S }
    };
    char *end;
    if (!word || *word < '0' || *word > '9')
        return false;
    errno = 0;
    uint64_t value = strtoull(word, &end, 10);
    for (unsigned i = 0; i < sizeof units / sizeof units[0] && !errno; i++) {
        if (!strcmp(end, units[i].name) && value <= UINT64_C(1000000000) * BOARD_S / units[i].ns) {
            *ns = value * units[i].ns;
            return true;
        }
    }
    return false;
}

static bool parse_pin(const char *word, char *port, unsigned *pin)
{
    char extra;
    return word && sscanf(word, "P%c%u%c", port, pin, &extra) == 2 && *port >= 'A' &&
           *port <= 'G' && *pin < 16;
}

/* Index of a word in a list that NULL ends; -1. */
static int find_word(const char *word, const char *const *list)
{
    for (int i = 0; word && list[i]; i++) {
        if (!strcmp(word, list[i]))
            return i;
    }
    return -1;
}

enum { WORDS = 4 };
typedef bool (*command_fn)(
    struct server *s, struct connection *c, char *words[WORDS], struct answer *a);

static bool do_now(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c, (void)words;
    say(a, "%" PRIu64, usb_host_now(s->b));
    return true;
}

/* With the wall clock, the answer comes later. */
static bool pass_time(
    struct server *s, struct connection *c, uint64_t ns, bool for_device, struct answer *a)
{
    uint64_t when = usb_host_now(s->b) + ns;
    if (s->options->virtual_clock) {
        sleep_until(s, when, for_device);
        if (for_device && !s->device)
            return say(a, "no device"), false;
        return do_now(s, c, NULL, a);
    }
    c->sleeping = true;
    c->for_device = for_device;
    c->wake = when;
    return true;
}

static bool do_sleep(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    uint64_t ns;
    if (!parse_duration(words[1], &ns))
        return say(a, "sleep DURATION, as 1500us or 5ms"), false;
    return pass_time(s, c, ns, false, a);
}

static bool do_wait_device(
    struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    uint64_t ns;
    if (!parse_duration(words[1], &ns))
        return say(a, "wait-device DURATION, as 3s"), false;
    return pass_time(s, c, ns, true, a);
}

static bool do_plug(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c, (void)a;
    if (words[0][0] == 'p')
        usb_plug(s->b);
    else
        usb_unplug(s->b);
    return true;
}

static bool on_or_off(const char *word, bool *on)
{
    static const char *const words[] = {"off", "on", NULL};
    int i = find_word(word, words);
    *on = i == 1;
    return i >= 0;
}

static bool do_power(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c;
    bool on;
    if (!on_or_off(words[1], &on))
        return say(a, "power on|off"), false;
    board_power(s->b, on);
    return true;
}

static bool do_suspend(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c;
    bool on;
    if (!on_or_off(words[1], &on))
        return say(a, "suspend on|off"), false;
    usb_suspend(s->b, on);
    return true;
}

static bool do_reset(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c;
    uint64_t hold = 10 * BOARD_MS;
    if (words[1] && !parse_duration(words[1], &hold))
        return say(a, "reset [DURATION]"), false;
    board_press_reset(s->b, hold);
    return true;
}

static bool do_bus_reset(
    struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c, (void)words;
    int rc = usb_configured(s->b) ? usb_reset_device(s->b) : usb_bus_reset(s->b);
    note_result(s, rc);
    if (rc)
        say(a, rc == USB_GONE ? "the device is gone" : "the device does not answer");
    return !rc;
}

static bool do_cut(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c;
    static const char *const torn[] = {"not-begun", "half", "random", "done", "marginal", NULL};
    uint64_t nth, seed = 0;
    int how = words[2] ? find_word(words[2], torn) : BOARD_TORN_HALF;
    if (!parse_number(words[1], &nth) || how < 0 || (words[3] && !parse_number(words[3], &seed)))
        return say(a, "cut N [not-begun|half|random|done|marginal [SEED]]"), false;
    board_cut_at(s->b, nth, (enum board_torn)how, seed);
    return true;
}

static bool do_fault(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c;
    static const char *const kinds[] = {"none", "lost-packet", "lost-ack", "unplug", NULL};
    uint64_t nth;
    int kind = find_word(words[2], kinds);
    if (!parse_number(words[1], &nth) || kind < 0)
        return say(a, "fault N lost-packet|lost-ack|unplug"), false;
    usb_fault_at(s->b, nth, (enum usb_fault)kind);
    return true;
}

static bool do_turnaround(
    struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c;
    uint64_t ns;
    if (!parse_duration(words[1], &ns))
        return say(a, "turnaround DURATION"), false;
    usb_set_turnaround(s->b, ns);
    return true;
}

static bool do_pin(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c;
    char port;
    unsigned pin;
    uint64_t level = 0;
    bool drive = words[0][0] == 'd';
    if (!parse_pin(words[1], &port, &pin) ||
        (drive && (!parse_number(words[2], &level) || level > 1)))
        return say(a, drive ? "drive PIN 0|1" : "pin PIN, as PC13"), false;
    if (drive)
        board_drive_pin(s->b, port, pin, level);
    else
        say(a, "%d", board_pin(s->b, port, pin));
    return true;
}

static bool do_counts(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c, (void)words;
    struct board_counts n;
    struct usb_counts u;
    board_counts(s->b, &n);
    usb_counts(s->b, &u);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"now_ns",           board_now(s->b)   },
        {"instructions",     n.instructions    },
        {"cycles",           n.cycles          },
        {"flash_operations", n.flash_operations},
        {"page_erases",      n.page_erases     },
        {"mass_erases",      n.mass_erases     },
        {"option_erases",    n.option_erases   },
        {"halfwords",        n.halfwords       },
        {"resets",           n.resets          },
        {"watchdog_resets",  n.watchdog_resets },
        {"complaints",       n.complaints      },
        {"page0_open_ns",    n.page0_open_ns   },
        {"page0_windows",    n.page0_windows   },
        {"usb_transactions", u.transactions    },
        {"usb_naks",         u.naks            },
        {"usb_transfers",    u.transfers       },
        {"usb_stalls",       u.stalls          },
        {"usb_errors",       u.errors          },
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++)
        say(a, "%s\"%s\":%" PRIu64, i ? "," : "{", rows[i].name, rows[i].value);
    say(a, "}");
    return true;
}

static void say_hex(struct answer *a, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        say(a, "%02x", (unsigned)data[i]);
}

static void say_json_string(struct answer *a, const char *name, const char *text)
{
    say(a, ",\"%s\":\"", name);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            say(a, "\\%c", c);
        else if (c < ' ')
            say(a, "\\u%04x", (unsigned)c);
        else
            say(a, "%c", c);
    }
    say(a, "\"");
}

static bool do_devices(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c, (void)words;
    enumerate(s);
    const struct usb_descriptors *d = usb_descriptors(s->b);
    if (!s->device)
        return say(a, "[]"), true;
    say(a, "[{\"busid\":\"" USBIP_BUSID "\",\"busnum\":1,\"devnum\":%u,\"speed\":12",
        (unsigned)s->device);
    say(a, ",\"device\":\"");
    say_hex(a, d->device, sizeof d->device);
    say(a, "\",\"config\":\"");
    say_hex(a, d->config, d->config_size);
    say(a, "\"");
    say_json_string(a, "manufacturer", d->manufacturer);
    say_json_string(a, "product", d->product);
    say_json_string(a, "serial", d->serial);
    say(a, "}]");
    return true;
}

/* A string as an attribute, which ends with the end of a line (umockdev wants it as "\\n"): lsusb takes the last
 * byte off. What the shell or umockdev would take for an escape is left out. */
static void say_attribute(struct answer *a, const char *name, const char *text)
{
    if (!*text)
        return;
    say(a, "A: %s=", name);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        say(a, "%c", c < ' ' || c == '\\' || c == '%' ? '?' : c);
    }
    say(a, "\\\\n\\n");
}

#define SYS_PATH "/devices/pci0000:00/0000:00:14.0/usb1/" USBIP_BUSID

static void say_interfaces(struct answer *a, const struct usb_descriptors *d)
{
    for (unsigned at = 0; at + 9 <= d->config_size && d->config[at] >= 2; at += d->config[at]) {
        const uint8_t *p = d->config + at;
        if (p[1] != 4 || p[3] != 0)
            continue;
        say(a, "P: " SYS_PATH "/" USBIP_BUSID ":%u.%u\\n", (unsigned)d->config[5], (unsigned)p[2]);
        say(a, "E: SUBSYSTEM=usb\\nE: DEVTYPE=usb_interface\\nE: INTERFACE=%u/%u/%u\\n",
            (unsigned)p[5], (unsigned)p[6], (unsigned)p[7]);
        say(a, "A: bInterfaceNumber=%02x\\nA: bAlternateSetting= 0\\nA: bNumEndpoints=%02x\\n",
            (unsigned)p[2], (unsigned)p[4]);
        say(a,
            "A: bInterfaceClass=%02x\\nA: bInterfaceSubClass=%02x\\nA: "
            "bInterfaceProtocol=%02x\\n\\n",
            (unsigned)p[5], (unsigned)p[6], (unsigned)p[7]);
    }
}

static bool do_sysfs(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c, (void)words;
    enumerate(s);
    if (!s->device)
        return true;
    const struct usb_descriptors *d = usb_descriptors(s->b);
    const uint8_t *dev = d->device;
    unsigned vendor = (unsigned)(dev[8] | dev[9] << 8),
             product = (unsigned)(dev[10] | dev[11] << 8);
    unsigned bcd = (unsigned)(dev[12] | dev[13] << 8), number = s->device;
    say(a, "P: " SYS_PATH "\\nN: bus/usb/001/%03u\\nE: DEVNAME=/dev/bus/usb/001/%03u\\n", number,
        number);
    say(a, "E: SUBSYSTEM=usb\\nE: DEVTYPE=usb_device\\nE: BUSNUM=001\\nE: DEVNUM=%03u\\n", number);
    say(a, "E: MAJOR=189\\nE: MINOR=%u\\nE: PRODUCT=%x/%x/%x\\nE: TYPE=%u/%u/%u\\n", number - 1,
        vendor, product, bcd, (unsigned)dev[4], (unsigned)dev[5], (unsigned)dev[6]);
    say(a, "E: ID_VENDOR_ID=%04x\\nE: ID_MODEL_ID=%04x\\n", vendor, product);
    say(a, "A: idVendor=%04x\\nA: idProduct=%04x\\nA: bcdDevice=%04x\\n", vendor, product, bcd);
    say(a, "A: busnum=1\\nA: devnum=%u\\nA: devpath=1\\nA: speed=12\\nA: version= %x.%02x\\n",
        number, (unsigned)dev[3], (unsigned)dev[2]);
    say(a, "A: bConfigurationValue=%u\\nA: bNumConfigurations=%u\\nA: bNumInterfaces=%2u\\n",
        (unsigned)d->config[5], (unsigned)dev[17], (unsigned)d->config[4]);
    say(a, "A: bDeviceClass=%02x\\nA: bDeviceSubClass=%02x\\nA: bDeviceProtocol=%02x\\n",
        (unsigned)dev[4], (unsigned)dev[5], (unsigned)dev[6]);
    say(a, "A: bMaxPacketSize0=%u\\n", (unsigned)dev[7]);
    say_attribute(a, "manufacturer", d->manufacturer);
    say_attribute(a, "product", d->product);
    say_attribute(a, "serial", d->serial);
    say(a, "H: descriptors=");
    say_hex(a, dev, sizeof d->device);
    say_hex(a, d->all, d->all_size);
    say(a, "\\n\\n");
    say_interfaces(a, d);
    return true;
}

static bool do_usbip(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c, (void)words;
    say(a, "%s:%u", s->address, (unsigned)s->port);
    return true;
}

static bool do_quit(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)c, (void)words, (void)a;
    s->quit = true;
    return true;
}

static bool do_help(struct server *s, struct connection *c, char *words[WORDS], struct answer *a);

static const struct {
    const char *name;
    command_fn run;
} commands[] = {
    {"now",         do_now        },
    {"sleep",       do_sleep      },
    {"wait-device", do_wait_device},
    {"plug",        do_plug       },
    {"unplug",      do_plug       },
    {"power",       do_power      },
    {"reset",       do_reset      },
    {"bus-reset",   do_bus_reset  },
    {"suspend",     do_suspend    },
    {"cut",         do_cut        },
    {"fault",       do_fault      },
    {"turnaround",  do_turnaround },
    {"pin",         do_pin        },
    {"drive",       do_pin        },
    {"counts",      do_counts     },
    {"devices",     do_devices    },
    {"sysfs",       do_sysfs      },
    {"usbip",       do_usbip      },
    {"quit",        do_quit       },
    {"help",        do_help       },
};

static bool do_help(struct server *s, struct connection *c, char *words[WORDS], struct answer *a)
{
    (void)s, (void)c, (void)words;
    for (unsigned i = 0; i < sizeof commands / sizeof commands[0]; i++)
        say(a, "%s%s", i ? " " : "", commands[i].name);
    return true;
}

static bool run_command(struct server *s, struct connection *c, const char *line, struct answer *a)
{
    char copy[LINE_SIZE], *words[WORDS + 1] = {NULL}, *rest = NULL;
    memcpy(copy, line, strlen(line) + 1);
    unsigned n = 0;
    for (char *w = strtok_r(copy, " \t", &rest); w && n < WORDS; w = strtok_r(NULL, " \t", &rest))
        words[n++] = w;
    for (unsigned i = 0; n && i < sizeof commands / sizeof commands[0]; i++) {
        if (!strcmp(words[0], commands[i].name))
            return commands[i].run(s, c, words, a);
    }
    say(a, "unknown command: help lists them");
    return false;
}

static void finish_line(struct server *s, struct connection *c, bool good, const struct answer *a)
{
    char out[ANSWER_SIZE + 16];
    int n =
        snprintf(out, sizeof out, "%s%s%s\n", good ? "ok" : "error", a->used ? " " : "", a->text);
    send_all(s, c, out, (size_t)n);
}

static void do_line(struct server *s, struct connection *c, const char *line)
{
    struct answer a = {.used = 0};
    struct answer extra = {.used = 0};
    const struct server_options *o = s->options;
    bool good = run_command(s, c, line, &a);
    if (!good && !strncmp(a.text, "unknown command", 15) && o->command &&
        o->command(o->context, line, extra.text, sizeof extra.text)) {
        /* It says itself whether it is good. */
        good = strncmp(extra.text, "error", 5) != 0;
        bool marked = !good || !strncmp(extra.text, "ok", 2);
        a.used = 0;
        say(&a, "%s", extra.text + (marked ? strcspn(extra.text, " ") : 0));
        if (marked && a.used) /* the blank is put in again */
            memmove(a.text, a.text + 1, a.used--);
    }
    note_changes(s);
    if (!c->sleeping)
        finish_line(s, c, good, &a);
}

static size_t take_line(struct server *s, struct connection *c)
{
    if (c->sleeping || !c->used)
        return 0;
    char *end = memchr(c->in, '\n', c->used);
    if (!end) {
        if (c->used > LINE_SIZE)
            drop(s, c);
        return 0;
    }
    char line[LINE_SIZE];
    size_t length = (size_t)(end - (char *)c->in);
    size_t kept = length < sizeof line - 1 ? length : sizeof line - 1;
    memcpy(line, c->in, kept);
    line[kept] = 0;
    if (kept && line[kept - 1] == '\r')
        line[kept - 1] = 0;
    do_line(s, c, line);
    return length + 1;
}

static void wake_sleepers(struct server *s)
{
    struct answer a = {.used = 0};
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *c = &s->connections[i];
        bool there = c->for_device && s->device;
        if (c->kind != CONTROL || !c->sleeping || (!there && board_now(s->b) < c->wake))
            continue;
        c->sleeping = false;
        a.used = 0;
        bool good = there || !c->for_device;
        if (good)
            do_now(s, c, NULL, &a);
        else
            say(&a, "no device");
        finish_line(s, c, good, &a);
    }
}

/* --- input -------------------------------------------------------------------------------------- */

static size_t take(struct server *s, struct connection *c)
{
    if (c->kind == CONTROL)
        return take_line(s, c);
    if (c->kind == USBIP)
        return c->attached ? take_command(s, c) : take_operation(s, c);
    return 0;
}

static void take_all(struct server *s, struct connection *c)
{
    size_t n;
    while ((n = take(s, c)) != 0 && c->kind != FREE) {
        c->used -= n;
        memmove(c->in, c->in + n, c->used);
    }
}

static void receive(struct server *s, struct connection *c)
{
    if (c->room - c->used < 4096) {
        size_t room = c->room ? 2 * c->room : 65536;
        uint8_t *in = realloc(c->in, room);
        if (!in) {
            drop(s, c);
            return;
        }
        c->in = in;
        c->room = room;
    }
    ssize_t n = recv(c->fd, c->in + c->used, c->room - c->used, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        drop(s, c);
        return;
    }
    c->used += (size_t)n;
    take_all(s, c);
}

static void accept_one(struct server *s, int listener, enum kind kind)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct timeval patience = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (kind == USBIP)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        if (s->connections[i].kind == FREE) {
            s->connections[i] = (struct connection){.kind = kind, .fd = fd};
            return;
        }
    }
    close(fd);
}

/* --- the loop ----------------------------------------------------------------------------------- */

/* Where the wall clock says that virtual time is. */
static uint64_t wall_target(const struct server *s)
{
    return s->wall_virtual + (wall_now() - s->wall);
}

static void set_wall(struct server *s)
{
    s->wall = wall_now();
    s->wall_virtual = board_now(s->b);
}

static void follow_wall(struct server *s)
{
    uint64_t target = wall_target(s), now = board_now(s->b);
    if (target > now + WALL_LAG) {
        set_wall(s);
        target = now + WALL_STEP;
    }
    if (urbs_run(s) && now < target + WALL_LEAD)
        step_until(s, now + USB_STEP_NS);
    else if (now < target)
        step_until(s, target - now > WALL_STEP ? now + WALL_STEP : target);
    enumerate(s);
    wake_sleepers(s);
}

static int wait_ms(const struct server *s)
{
    if (s->options->virtual_clock)
        return urbs_run(s) ? 0 : -1;
    uint64_t now = board_now(s->b), target = wall_target(s);
    bool behind = now < target || (urbs_run(s) && now < target + WALL_LEAD);
    return behind ? 0 : 1;
}

static void poll_sockets(struct server *s)
{
    struct pollfd fds[MAX_CONNECTIONS + 2];
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++)
        fds[i] = (struct pollfd){
            .fd = s->connections[i].kind == FREE ? -1 : s->connections[i].fd, .events = POLLIN};
    fds[MAX_CONNECTIONS] = (struct pollfd){.fd = s->usbip, .events = POLLIN};
    fds[MAX_CONNECTIONS + 1] = (struct pollfd){.fd = s->control, .events = POLLIN};
    if (poll(fds, MAX_CONNECTIONS + 2, wait_ms(s)) <= 0)
        return;
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *c = &s->connections[i];
        if (fds[i].revents && c->kind != FREE && c->fd == fds[i].fd)
            receive(s, c);
    }
    if (fds[MAX_CONNECTIONS].revents)
        accept_one(s, s->usbip, USBIP);
    if (fds[MAX_CONNECTIONS + 1].revents)
        accept_one(s, s->control, CONTROL);
}

static void serve(struct server *s)
{
    set_wall(s);
    while (!s->quit && !stopped && !time_is_up(s)) {
        poll_sockets(s);
        for (unsigned i = 0; i < MAX_CONNECTIONS; i++)
            take_all(s, &s->connections[i]); /* lines that waited for a sleep's end */
        note_changes(s);
        if (!s->options->virtual_clock)
            follow_wall(s);
        else if (urbs_run(s))
            step_until(s, board_now(s->b) + USB_STEP_NS);
    }
}

static int listen_usbip(struct server *s)
{
    const char *address = s->options->address ? s->options->address : "127.0.0.1";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(s->options->port)};
    socklen_t size = sizeof at;
    snprintf(s->address, sizeof s->address, "%s", address);
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1) {
        fprintf(stderr, "caboose-sim: %s is not an IPv4 address\n", address);
        return -1;
    }
    s->usbip = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(s->usbip, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (s->usbip < 0 || bind(s->usbip, (struct sockaddr *)&at, size) || listen(s->usbip, 8) ||
        getsockname(s->usbip, (struct sockaddr *)&at, &size)) {
        fprintf(stderr, "caboose-sim: %s port %u: %s\n", address, (unsigned)s->options->port,
            strerror(errno));
        return -1;
    }
    s->port = ntohs(at.sin_port);
    return 0;
}

static int listen_control(struct server *s)
{
    const char *path = s->options->control_path;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (!path)
        return 0;
    if (strlen(path) >= sizeof at.sun_path) {
        fprintf(stderr, "caboose-sim: %s: too long for a socket's name\n", path);
        return -1;
    }
    memcpy(at.sun_path, path, strlen(path) + 1);
    unlink(path); /* of a run that was killed */
    s->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->control < 0 || bind(s->control, (struct sockaddr *)&at, sizeof at) ||
        listen(s->control, 8)) {
        fprintf(stderr, "caboose-sim: %s: %s\n", path, strerror(errno));
        return -1;
    }
    return 0;
}

static void close_all(struct server *s)
{
    for (unsigned i = 0; i < MAX_CONNECTIONS; i++)
        drop(s, &s->connections[i]);
    if (s->usbip >= 0)
        close(s->usbip);
    if (s->control >= 0) {
        close(s->control);
        unlink(s->options->control_path);
    }
}

int server_run(struct board *b, const struct server_options *options)
{
    struct server *s = calloc(1, sizeof *s);
    struct sigaction on_signal = {.sa_handler = stop}, old_int, old_term;
    if (!s) {
        fprintf(stderr, "caboose-sim: no memory\n");
        return -1;
    }
    s->b = b;
    s->options = options;
    s->usbip = s->control = -1;
    stopped = 0;
    sigaction(SIGINT, &on_signal, &old_int);
    sigaction(SIGTERM, &on_signal, &old_term);
    if (listen_usbip(s) || listen_control(s)) {
        s->rc = -1;
    } else {
        if (options->ready)
            options->ready(options->context, s->address, s->port);
        serve(s);
    }
    close_all(s);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    int rc = s->rc;
    free(s);
    return rc;
}
