/* SPDX-License-Identifier: MIT */
/*
 * A way to USB devices: the computer's own ports (libusb), or a server's over the network (USB/IP): a
 * simulated board, or a board on another machine.
 *
 *     struct link *link = link_usbip("127.0.0.1:3240");
 *     int count = link_list(link, &devices);      a negative count: enum transfer_error, link_why(link)
 *     if (link_open(link, &devices[0]) == 0) … link_control(link, setup, data, 5000) …
 *     link_close(link); link_free(link);
 */
#ifndef HOST_LINK_H
#define HOST_LINK_H

#include "host/transfer.h"

#include <stdbool.h>
#include <stddef.h>

struct link_device {
    char path[64]; /* where it is plugged in, "1-2.3" */
    uint16_t vendor, product;
    bool dfu; /* has a DFU interface */
};

struct link;

struct link_table { /* what a kind of link implements; see the functions of the same names */
    int (*list)(struct link *link, struct link_device **devices);
    int (*open)(struct link *link, const struct link_device *device);
    int (*control)(
        struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms);
    int (*reset)(struct link *link);
    void (*close)(struct link *link);
    void (*free)(struct link *link);
};

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

/* A bus reset. 0, or an error; TRANSFER_GONE if another device answers after it, or none. */
int link_reset(struct link *link);

void link_close(struct link *link); /* the device; does nothing if none is open */
void link_free(struct link *link);

/* What made the last list or open fail, in words. */
const char *link_why(const struct link *link);

#endif
