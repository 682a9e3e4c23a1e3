/* SPDX-License-Identifier: MIT */
/*
 * A client of USB/IP 1.1.1 (Linux Documentation/usb/usbip_protocol.rst): everything that a control
 * transfer needs, in the open, without a kernel module or root. All numbers are big endian but the
 * setup's.
 */
#include "core/dfu.h"
#include "host/link.h"
#include "host/report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    VERSION = 0x0111,
    OP_REQ_DEVLIST = 0x8005,
    OP_REP_DEVLIST = 0x0005,
    OP_REQ_IMPORT = 0x8003,
    OP_REP_IMPORT = 0x0003,
    CMD_SUBMIT = 1,
    CMD_UNLINK = 2,
    RET_SUBMIT = 3,
    RET_UNLINK = 4,
};

enum { /* sizes, and offsets in a device's record */
    OP_HEAD = 8,
    BUSID = 32,
    RECORD = 312,
    RECORD_BUSID = 256,
    RECORD_BUSNUM = 288,
    RECORD_DEVNUM = 292,
    RECORD_VENDOR = 300,
    RECORD_PRODUCT = 302,
    RECORD_INTERFACES = 311,
    INTERFACE = 4,
    URB_HEAD = 48,
};

enum {
    DEVICES_MAX = 1024,
    DIAL_S = 5,
    ANSWER_S = 10,
    UNLINK_MS = 5000,
    BUSY_MS = 50,
    BUSY_TRIES = 10
};

struct usbip_link {
    struct link link; /* first: a pointer to it is a pointer to this */
    char host[256], port[16];
    int fd; /* of the imported device, or -1 */
    uint32_t devid, seqnum;

    /* The transfer that is under way. */
    bool in, unlinked; /* unlinked: its time was up, the server was told */
    uint8_t *data;
    uint16_t size;
    uint32_t submitted; /* its number */
    int result;         /* if it is over although it was unlinked */
    int64_t deadline;
    size_t have; /* bytes of the reply */
    uint8_t reply[URB_HEAD + TRANSFER_MAX];
};

static struct usbip_link *mine(struct link *link)
{
    return (struct usbip_link *)(void *)link;
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

__attribute__((format(printf, 3, 4))) static int complain(
    struct usbip_link *l, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(l->link.why, sizeof l->link.why, format, args);
    va_end(args);
    return error;
}

/* --- the connection ------------------------------------------------------------------------------ */

static int send_all(int fd, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return TRANSFER_GONE;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int receive_all(int fd, uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = recv(fd, data, size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return TRANSFER_GONE;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

/* Sending, and so connecting, and receiving are bounded: a server may hang. */
static int connect_one(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int one = 1;
    struct timeval dial = {.tv_sec = DIAL_S}, answer = {.tv_sec = ANSWER_S};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &dial, sizeof dial);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer, sizeof answer);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return fd;
    int error = errno == EINPROGRESS ? ETIMEDOUT : errno;
    close(fd);
    errno = error;
    return -1;
}

static int dial(struct usbip_link *l)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
    int error = getaddrinfo(l->host, l->port, &hints, &all);
    if (error == EAI_MEMORY)
        report_no_memory();
    if (error)
        return complain(l, -1, "cannot find %s port %s: %s", l->host, l->port, gai_strerror(error));
    int fd = -1;
    for (const struct addrinfo *a = all; a && fd < 0; a = a->ai_next)
        fd = connect_one(a);
    if (fd < 0)
        complain(l, -1, "cannot connect to %s port %s: %s; is caboose-sim or usbipd running there?",
            l->host, l->port, strerror(errno));
    freeaddrinfo(all);
    return fd;
}

/* Sends an operation's request and takes the head of its reply. */
static int operation(
    struct usbip_link *l, int fd, uint16_t code, uint16_t reply, const uint8_t *body, size_t size)
{
    uint8_t head[OP_HEAD] = {0};
    put16(head, VERSION);
    put16(head + 2, code);
    if (send_all(fd, head, sizeof head) || send_all(fd, body, size) ||
        receive_all(fd, head, sizeof head))
        return complain(l, TRANSFER_GONE,
            "%s port %s closed the connection or does not answer; is it a "
            "USB/IP server?",
            l->host, l->port);
    if (get16(head + 2) != reply)
        return complain(l, TRANSFER_IO, "%s port %s does not speak USB/IP", l->host, l->port);
    if (get32(head + 4))
        return complain(l, TRANSFER_BUSY,
            "%s port %s does not give the board away; somebody else uses it, or "
            "it has gone",
            l->host, l->port);
    return 0;
}

/* --- devices ------------------------------------------------------------------------------------- */

static int receive_device(int fd, struct link_device *device)
{
    uint8_t record[RECORD], interface[INTERFACE];
    if (receive_all(fd, record, sizeof record))
        return TRANSFER_GONE;
    memcpy(device->path, record + RECORD_BUSID, BUSID - 1);
    device->vendor = get16(record + RECORD_VENDOR);
    device->product = get16(record + RECORD_PRODUCT);
    device->number = (uint8_t)get32(record + RECORD_DEVNUM);
    for (int n = record[RECORD_INTERFACES]; n; n--) {
        if (receive_all(fd, interface, sizeof interface))
            return TRANSFER_GONE;
        device->dfu |= interface[0] == DFU_CLASS && interface[1] == DFU_SUBCLASS;
    }
    return 0;
}

static int receive_list(struct usbip_link *l, int fd, struct link_device **devices)
{
    uint8_t number[4];
    int error = operation(l, fd, OP_REQ_DEVLIST, OP_REP_DEVLIST, NULL, 0);
    if (!error)
        error = receive_all(fd, number, sizeof number);
    if (error)
        return error;
    uint32_t count = get32(number);
    if (count > DEVICES_MAX)
        return complain(l, TRANSFER_IO, "%s port %s offers %u devices; is it a USB/IP server?",
            l->host, l->port, count);
    *devices = calloc(count + 1, sizeof **devices);
    if (!*devices)
        report_no_memory();
    for (uint32_t i = 0; i < count && !error; i++)
        error = receive_device(fd, &(*devices)[i]);
    return error ? error : (int)count;
}

static int list(struct link *link, struct link_device **devices)
{
    struct usbip_link *l = mine(link);
    *devices = NULL;
    int fd = dial(l);
    if (fd < 0)
        return TRANSFER_GONE;
    int count = receive_list(l, fd, devices);
    close(fd);
    if (count < 0) {
        free(*devices);
        *devices = NULL;
        if (!l->link.why[0])
            complain(l, 0, "%s port %s cut its answer short", l->host, l->port);
    }
    return count;
}

static void close_device(struct link *link)
{
    struct usbip_link *l = mine(link);
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

static int import(struct usbip_link *l, const struct link_device *device)
{
    uint8_t busid[BUSID] = {0}, record[RECORD];
    int fd = dial(l);
    if (fd < 0)
        return TRANSFER_GONE;
    memcpy(busid, device->path, strnlen(device->path, BUSID - 1));
    int error = operation(l, fd, OP_REQ_IMPORT, OP_REP_IMPORT, busid, sizeof busid);
    if (!error)
        error = receive_all(fd, record, sizeof record);
    if (error) {
        close(fd);
        return error;
    }
    l->fd = fd;
    l->devid = get32(record + RECORD_BUSNUM) << 16 | get32(record + RECORD_DEVNUM);
    return 0;
}

/* A server may take a moment to notice that the client before us has gone. */
static int open_device(struct link *link, const struct link_device *device)
{
    const struct timespec moment = {.tv_nsec = BUSY_MS * 1000000L};
    struct usbip_link *l = mine(link);
    close_device(link);
    int error = import(l, device);
    for (int tries = BUSY_TRIES; error == TRANSFER_BUSY && tries; tries--) {
        nanosleep(&moment, NULL);
        error = import(l, device);
    }
    return error;
}

/* --- transfers ----------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int send_submit(
    struct usbip_link *l, const uint8_t setup[USB_SETUP_SIZE], const uint8_t *data)
{
    uint8_t head[URB_HEAD] = {0};
    bool in = setup[0] & USB_IN;
    uint16_t size = transfer_get16(setup + 6);
    put32(head, CMD_SUBMIT);
    put32(head + 4, ++l->seqnum);
    put32(head + 8, l->devid);
    put32(head + 12, in);
    put32(head + 24, size);
    put32(head + 32, UINT32_MAX); /* number of packets: not isochronous */
    memcpy(head + 40, setup, USB_SETUP_SIZE);
    if (send_all(l->fd, head, sizeof head))
        return TRANSFER_GONE;
    return in ? 0 : send_all(l->fd, data, size);
}

static int send_unlink(struct usbip_link *l, uint32_t submitted)
{
    uint8_t head[URB_HEAD] = {0};
    put32(head, CMD_UNLINK);
    put32(head + 4, ++l->seqnum);
    put32(head + 8, l->devid);
    put32(head + 20, submitted);
    return send_all(l->fd, head, sizeof head);
}

/* The status of RET_SUBMIT is a negative errno of Linux, whatever this machine is. */
static int translate(uint32_t status)
{
    switch ((int32_t)status) {
    case 0:
        return 0;
    case -32: /* EPIPE */
        return TRANSFER_STALL;
    case -19:  /* ENODEV */
    case -108: /* ESHUTDOWN */
        return TRANSFER_GONE;
    case -110: /* ETIMEDOUT */
        return TRANSFER_TIMEOUT;
    default:
        return TRANSFER_IO;
    }
}

static int begin(
    struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms)
{
    struct usbip_link *l = mine(link);
    if (l->fd < 0)
        return TRANSFER_GONE;
    int error = send_submit(l, setup, data);
    if (error) {
        close_device(link);
        return error;
    }
    l->in = setup[0] & USB_IN;
    l->data = data;
    l->size = transfer_get16(setup + 6);
    l->submitted = l->seqnum;
    l->unlinked = false;
    l->result = TRANSFER_TIMEOUT;
    l->have = 0;
    l->deadline = now_ms() + timeout_ms;
    return 0;
}

/* How many bytes the reply has that is coming in; more than there may be if it makes no sense. */
static size_t reply_size(const struct usbip_link *l)
{
    if (l->have < URB_HEAD || get32(l->reply) != RET_SUBMIT || !l->in)
        return URB_HEAD;
    return URB_HEAD + (size_t)get32(l->reply + 24);
}

/* Takes what has come. 1: a whole reply; 0: not yet; or TRANSFER_GONE. */
static int receive_some(struct usbip_link *l)
{
    while (l->have < reply_size(l)) {
        if (reply_size(l) > URB_HEAD + (size_t)l->size)
            return TRANSFER_GONE;
        ssize_t n = recv(l->fd, l->reply + l->have, reply_size(l) - l->have, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0)
            return TRANSFER_GONE;
        l->have += (size_t)n;
    }
    return 1;
}

/* What RET_SUBMIT says. */
static int take_reply(struct usbip_link *l)
{
    uint32_t actual = get32(l->reply + 24);
    int error = translate(get32(l->reply + 20));
    if (actual > l->size)
        return TRANSFER_GONE;
    if (l->in && actual)
        memcpy(l->data, l->reply + URB_HEAD, actual);
    return error ? error : l->in ? (int)actual : l->size;
}

/* Time is up: the transfer is taken back. Either the server does that, or its answer was under way and
 * comes first. */
static bool late(struct usbip_link *l, int *result)
{
    if (now_ms() < l->deadline)
        return false;
    if (!l->unlinked && !send_unlink(l, l->submitted)) {
        l->unlinked = true;
        l->deadline = now_ms() + UNLINK_MS;
        return false;
    }
    *result = TRANSFER_GONE;
    return true;
}

/* One reply; true if it was the last. */
static bool take(struct usbip_link *l, int *result)
{
    uint32_t code = get32(l->reply), number = get32(l->reply + 4);
    l->have = 0;
    if (code == RET_UNLINK && l->unlinked && number == l->seqnum) {
        *result = l->result;
        return true;
    }
    *result = TRANSFER_GONE; /* not what was asked: out of step for good */
    if (code != RET_SUBMIT || number != l->submitted)
        return true;
    *result = l->result = take_reply(l);
    return !l->unlinked || l->result == TRANSFER_GONE;
}

static bool over(struct link *link, int *result)
{
    struct usbip_link *l = mine(link);
    bool finished = false;
    while (!finished) {
        int whole = receive_some(l);
        if (whole == 0 && !late(l, result))
            return false;
        finished = whole != 1 || take(l, result);
        if (whole < 0)
            *result = whole;
    }
    if (*result == TRANSFER_GONE)
        close_device(link);
    return true;
}

static int descriptors(struct link *link, struct pollfd *fds, int room, int *timeout_ms)
{
    struct usbip_link *l = mine(link);
    int64_t left = l->deadline - now_ms();
    if (left < 0)
        left = 0;
    if (*timeout_ms < 0 || left < *timeout_ms)
        *timeout_ms = (int)left;
    if (room < 1 || l->fd < 0)
        return 0;
    fds[0] = (struct pollfd){.fd = l->fd, .events = POLLIN};
    return 1;
}

/* Linux's server takes a hub's request for a port reset (SET_FEATURE, PORT_RESET) as one for this device. */
static int reset(struct link *link)
{
    static const uint8_t setup[USB_SETUP_SIZE] = {0x23, 3, 4, 0, 0, 0, 0, 0};
    int result = link_control(link, setup, NULL, 5000);
    return result < 0 ? result : 0;
}

static void free_link(struct link *link)
{
    free(mine(link));
}

static void split(struct usbip_link *l, const char *server)
{
    const char *host = server, *end = server + strlen(server), *colon = strrchr(server, ':');
    if (server[0] == '[' && strchr(server, ']')) {
        host++;
        end = strchr(server, ']');
        colon = end[1] == ':' ? end + 1 : NULL;
    } else if (colon && strchr(server, ':') == colon) {
        end = colon;
    } else {
        colon = NULL; /* no port, or a bare IPv6 address */
    }
    snprintf(l->host, sizeof l->host, "%.*s", (int)(end - host), host);
    snprintf(l->port, sizeof l->port, "%s", colon && colon[1] ? colon + 1 : "3240");
}

struct link *link_usbip(const char *server)
{
    static const struct link_table table = {
        list, open_device, begin, over, descriptors, reset, close_device, free_link};
    struct usbip_link *l = calloc(1, sizeof *l);
    if (!l)
        report_no_memory();
    l->link.table = &table;
    l->fd = -1;
    split(l, server);
    return &l->link;
}
