/* SPDX-License-Identifier: MIT */
/*
 * A way to USB devices: the computer's own ports (libusb), or a server's over the network (USB/IP): a
 * simulated board, or a board on another machine. A link has one device open at a time; who wants
 * several makes a link for each.
 *
 *     struct link *link = link_usbip("127.0.0.1:3240");
 *     int count = link_list(link, &devices);      a negative count: enum transfer_error, link_why(link)
 *     if (link_open(link, &devices[0]) == 0) … link_control(link, setup, data, 5000) …
 *     link_close(link); link_free(link);
 */
#ifndef HOST_LINK_H
#define HOST_LINK_H

#include "host/transfer.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

struct link_device {
    char path[64]; /* where it is plugged in, "1-2.3" */
    uint16_t vendor, product;
    bool dfu;       /* has a DFU interface */
    uint8_t number; /* its address on the bus */
};

struct link;

struct link_table { /* what a kind of link implements; see the functions of the same names */
    int (*list)(struct link *link, struct link_device **devices);
    int (*open)(struct link *link, const struct link_device *device);
    int (*submit)(
        struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms);
    bool (*over)(struct link *link, int *result);
    int (*descriptors)(struct link *link, struct pollfd *fds, int room, int *timeout_ms);
    int (*reset)(struct link *link);
    void (*close)(struct link *link);
    void (*free)(struct link *link);
};

enum { LINK_DESCRIPTORS = 8 }; /* more than any link has for one device */

struct link {
    const struct link_table *table;
    char why[256];
};

struct link *link_libusb(void);
/* server: HOST or HOST:PORT or [HOST]:PORT; the port is 3240 if not given. */
struct link *link_usbip(const char *server);

/* All devices that could be seen, DFU or not; *devices is the caller's to free. The count or an error. */
int link_list(struct link *link, struct link_device **devices);

/* Opens one for transfers; one at a time. 0 or an error. */
int link_open(struct link *link, const struct link_device *device);

/* One control transfer; the count of data bytes or an error. Takes what the transfer's interface needs
 * (a claim) as it comes. */
int link_control(
    struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms);

/* The same in two halves, so that one loop serves many links. Begins a transfer; one at a time on each
 * link; data stays the link's until it is over. 0, or an error, and then nothing was begun. */
int link_submit(
    struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms);
/* Whether the transfer is over, and then its result as link_control() gives it. Does not block. */
bool link_over(struct link *link, int *result);
/* What poll(2) shall wait for before link_over() is worth asking again: at most room descriptors, and a
 * time in ms if that is sooner than *timeout_ms (negative: for ever). The count of descriptors. */
int link_descriptors(struct link *link, struct pollfd *fds, int room, int *timeout_ms);

/* A bus reset. 0, or an error; TRANSFER_GONE if another device answers after it, or none. */
int link_reset(struct link *link);

void link_close(struct link *link); /* the device; does nothing if none is open */
void link_free(struct link *link);

/* What made the last list or open fail, in words. */
const char *link_why(const struct link *link);

#endif
