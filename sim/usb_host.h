/* SPDX-License-Identifier: MIT */
/*
 * The other end of the simulated board's USB cable: a host controller with full-speed frames, and
 * the few steps by which an operating system takes in a device. It drives the board's virtual time:
 * every call runs the board until the bus is done.
 *
 * Timing (USB 2.0 §5.11, §7.1.18): 1 ms frames with SOF, transactions
 * back to back as long as they fit, NAKed ones retried, `turnaround` from the end of one control
 * transfer to the start of the next.
 */
#ifndef SIM_USB_HOST_H
#define SIM_USB_HOST_H

#include "board.h"

enum usb_result {
    USB_STALL = -1,
    USB_TIMEOUT = -2, /* NAKed for longer than allowed; the transfer was given up */
    USB_GONE = -3,    /* no device: unplugged, detached, without power */
    USB_ERROR = -4,   /* three times no answer, or a broken answer */
    USB_BOARD = -5,   /* the board stopped: see board_complaint() or the power cut */
};

enum { USB_TURNAROUND_NS = 250000 }; /* for published figures: 250 µs */

void usb_plug(struct board *b); /* the cable; time does not pass */
void usb_unplug(struct board *b);
bool usb_attached(const struct board *b); /* plugged and D+ pulled up: the hub sees a device */
void usb_set_turnaround(struct board *b, uint64_t ns);

/* Waits at most timeout_ms for the device to attach, debounces 100 ms, resets the bus, gives an
 * address, reads the descriptors as Linux does, selects the configuration. The address (>= 1), or an
 * error. usb_device_changes() counts attachments and detachments, so that a server can see that the
 * device is another one now. */
int usb_enumerate(struct board *b, unsigned timeout_ms);
bool usb_configured(const struct board *b); /* enumerated, and still there */
unsigned usb_device_changes(const struct board *b);

/* What enumeration read: bytes as on the wire; size 0 if nothing is enumerated. */
struct usb_descriptors {
    uint8_t device[18];
    uint8_t config[512]; /* the configuration that is selected: the first, until SET_CONFIGURATION */
    uint16_t config_size;
    uint8_t all[1024]; /* every configuration, one behind the other, as Linux shows them in sysfs */
    uint16_t all_size;
    char manufacturer[128], product[128], serial[128]; /* UTF-8; empty: none */
};
const struct usb_descriptors *usb_descriptors(const struct board *b);

/* One control transfer to the enumerated device (or to address 0 after usb_bus_reset()). setup has
 * the USB's own byte order; data is wLength bytes, filled or sent by the direction bit. Returns the
 * count of data bytes moved, or enum usb_result. */
int usb_control(struct board *b, const uint8_t setup[8], uint8_t *data, unsigned timeout_ms);

/* Other endpoints, for firmware that has them; max_packet from the endpoint's descriptor. */
int usb_in(struct board *b, uint8_t endpoint, uint8_t *data, size_t size, unsigned timeout_ms);
int usb_out(
    struct board *b, uint8_t endpoint, const uint8_t *data, size_t size, unsigned timeout_ms);

/* SE0 for 10 ms (a hub's port reset), then 10 ms of recovery. */
int usb_bus_reset(struct board *b);
/* As libusb_reset_device(): bus reset, then the same address and configuration again and a look
 * whether the descriptors are still the same. 0, USB_GONE if it is another device now. */
int usb_reset_device(struct board *b);
/* Stops or resumes SOFs: suspend. */
void usb_suspend(struct board *b, bool suspended);

/* transactions: those that were not NAKed; errors: transfers that ended with USB_ERROR. */
struct usb_counts {
    uint64_t transactions, naks, transfers, stalls, errors;
};
void usb_counts(const struct board *b, struct usb_counts *counts);

/* Something goes wrong on the cable in the nth transaction from now (1: the next) that is not
 * NAKed. */
enum usb_fault {
    USB_FAULT_NONE,
    USB_FAULT_LOST_PACKET, /* what the host sends is garbled: the device does not answer */
    USB_FAULT_LOST_ACK,    /* the handshake does not arrive; the sender repeats itself */
    USB_FAULT_UNPLUG,      /* the cable is pulled in the middle of it */
};
void usb_fault_at(struct board *b, uint64_t nth, enum usb_fault fault);

/* A transfer as the host's software sees it, told to board_config.usb twice: when it begins, and when
 * whoever submitted it has taken its result or has given it up. */
struct usb_transfer {
    uint64_t id; /* 1, 2 …: the same at both ends */
    uint64_t when_ns;
    bool ended;
    uint8_t address, endpoint; /* bit 7 of endpoint: IN, control transfers too */
    uint8_t interval;          /* frames, of an interrupt endpoint; else 0 */
    const uint8_t *setup;      /* 8 bytes; NULL: not a control transfer */
    const uint8_t *data;       /* what goes out, or has come in */
    size_t size;               /* asked for; when ended, moved */
    int result;                /* when ended: bytes moved, or enum usb_result */
};

/* Several transfers at once, for a server: one control transfer and one for each other endpoint.
 * usb_submit() only begins; then usb_run() until usb_result() is no longer USB_PENDING; then
 * usb_take() what an IN transfer brought, at most size bytes, which makes room for the next.
 * usb_cancel() gives one up. */
enum { USB_STEP_NS = 250000, USB_PENDING = -100, USB_TRANSFER_MAX = 4096 /* but control */ };
/* Handle >= 0, USB_GONE, or USB_PENDING: the endpoint is busy, later. setup is NULL unless endpoint
 * is 0. size is at most USB_TRANSFER_MAX but for control. timeout_ms 0: none. */
int usb_submit(struct board *b, uint8_t endpoint, const uint8_t *setup, const uint8_t *data,
    size_t size, unsigned timeout_ms);
int usb_result(struct board *b, int handle); /* bytes moved, or enum usb_result, or USB_PENDING */
void usb_take(struct board *b, int handle, uint8_t *data, size_t size);
void usb_cancel(struct board *b, int handle);
/* Runs the board for a short step, shorter than at_most_ns. */
enum board_stop usb_run(struct board *b, uint64_t at_most_ns);

/* The host software's time: the board may have run on a little after the end of a transfer, which
 * the host has noticed at once. Sleeps of the host begin here. */
uint64_t usb_host_now(struct board *b);
enum board_stop usb_wait_until(struct board *b, uint64_t when_ns);
/* Why the board stopped, after USB_BOARD. */
enum board_stop usb_board_stop(const struct board *b);

#endif
