/* SPDX-License-Identifier: MIT */
/*
 * The USB peripheral's and the host controller's state, for struct board, and what the two ends of
 * the cable say to each other. No pointers: a copy of the board is a snapshot.
 *
 * Time. The bus is a list of events with nominal times (start of frame, begin and end of a
 * transaction, end of a reset …). usb_catch_up() performs, in order, all events up to board_now().
 * It is called by the board at the deadline that it sets and before each access of the firmware to
 * the peripheral, so the firmware never sees the bus late, however coarsely the board runs.
 *
 * A NAKed transaction is tried again at once, as host controllers do. Nothing but a write of the
 * firmware can change the answer, so the host "parks": it computes the retries that would have been
 * and begins again with the first one after such a write, or in the next frame.
 */
#ifndef SIM_USB_STATE_H
#define SIM_USB_STATE_H

#include "usb_host.h"

enum {
    USB_ENDPOINTS = 8,   /* EPnR registers */
    USB_PMA_WORDS = 256, /* 512 bytes */
    USB_PIPES = 8,       /* 0: control; others as they are needed */
    USB_CONTROL_SIZE = 65536,
    USB_PIPE_SIZE = 4096,
};

enum usb_token { USB_SETUP, USB_OUT, USB_IN };
enum usb_answer {
    USB_SILENCE, /* no handshake, no data */
    USB_NAK,
    USB_STALLED,
    USB_ACK, /* to OUT and SETUP */
    USB_DATA /* to IN: struct usb_packet */
};

struct usb_packet {
    uint8_t data1; /* PID: 1 for DATA1 */
    uint16_t size;
    uint8_t data[1024];
};

/* The transaction that the peripheral is in. */
struct usb_latch {
    uint8_t token, index; /* enum usb_token, EPnR's index */
    bool valid;           /* a completion changes registers */
    bool second;          /* double-buffered: buffer 1 */
    uint16_t size;        /* of the data received */
    uint8_t data[1024];
};

struct usb_device_state {
    uint16_t epr[USB_ENDPOINTS], cntr, istr, frame, daddr, btable;
    uint16_t pma[USB_PMA_WORDS];
    uint8_t swapping; /* a bit for each EPnR that swaps its two buffers: usb_device.c, swaps() */
    bool low_irq, high_irq;  /* levels as last told */
    uint8_t lost_sofs, sofs; /* FNR.LSOF; SOFs since reset (2: FNR.LCK) */
    bool clock_told;         /* the complaint about 48 MHz was made */
    struct usb_latch latch;
};

enum usb_port { USB_PORT_EMPTY, USB_PORT_ATTACHED, USB_PORT_ENABLED };
enum usb_bus { USB_BUS_IDLE, USB_BUS_BUSY, USB_BUS_RESET, USB_BUS_RESUME };
enum usb_pipe_state { USB_PIPE_FREE, USB_PIPE_ACTIVE, USB_PIPE_DONE };
enum usb_stage { USB_STAGE_SETUP, USB_STAGE_DATA, USB_STAGE_STATUS };

/* One transfer. */
struct usb_pipe {
    uint8_t state, stage, endpoint; /* endpoint: bit 7 for IN; 0 is control */
    uint8_t setup[8];
    uint8_t address, toggle, errors;
    uint16_t max_packet;
    uint8_t interval; /* interrupt endpoints: frames between polls; else 0 */
    uint32_t size, done;
    uint64_t id;
    int result;
    uint64_t ready; /* not before */
    uint64_t deadline;
    uint64_t ended;
};

struct usb_host_state {
    bool made, plugged, suspended, configured;
    uint8_t port, bus;             /* enum usb_port, enum usb_bus */
    uint8_t address, last_address; /* of the device now; last one given */
    uint8_t max_packet0;
    uint16_t toggles_in, toggles_out; /* data toggle of each endpoint but 0 */
    unsigned changes;
    uint64_t turnaround;
    uint64_t next_frame, next_look; /* start of the next frame; next look at D+ */
    uint64_t low_since;             /* D+ is low since; 0: is not */
    uint64_t attached_at;
    uint64_t bus_at;      /* next event on the bus */
    uint64_t bus_free;    /* end of what was last on it */
    uint64_t reset_seen;  /* the device sees SE0 as a reset at; UINT64_MAX: has */
    uint64_t control_end; /* end of the last control transfer */
    uint64_t time;        /* the host software's time when it returned … */
    uint64_t returned;    /* … and the board's then */
    uint8_t stop;         /* enum board_stop: why the board last stopped but at its time */
    /* The transaction under way. */
    uint8_t pipe, answer, last_pipe;
    uint64_t began;
    bool device_changed; /* since it began */
    bool orphaned;       /* its transfer was given up meanwhile */
    struct usb_packet packet;
    /* Parking. */
    bool parked;
    uint8_t nak_streak;
    uint64_t nak_time, park_from, park_cycle;
    struct usb_pipe pipes[USB_PIPES];
    uint8_t control_data[USB_CONTROL_SIZE];
    uint8_t pipe_data[USB_PIPES][USB_PIPE_SIZE]; /* [0] is not used */
    struct usb_descriptors descriptors;
    struct usb_counts counts;
    uint64_t submitted;       /* transfers */
    uint64_t fault_at;        /* in counts.transactions; 0: none */
    uint8_t fault, fault_now; /* enum usb_fault: ordered; of this transaction */
};

struct usb_state {
    struct usb_device_state device;
    struct usb_host_state host;
};

/* The state within a board. */
struct usb_state *board_usb(struct board *b);

/* --- sim/usb_device.c, for the host's end --------------------------------------------------------
 * A transaction has two halves: usb_device_token() at its begin decides the answer (data holds what
 * SETUP and OUT bring, or what IN takes), usb_device_complete() at its end changes registers, if the
 * handshake arrived. */
enum usb_answer usb_device_token(struct board *b, enum usb_token token, uint8_t address,
    uint8_t endpoint, struct usb_packet *packet);
void usb_device_complete(struct board *b);
void usb_device_no_handshake(struct board *b); /* the host's ACK to an IN did not arrive */
void usb_device_sof(struct board *b, uint16_t frame);
void usb_device_no_sof(struct board *b);
void usb_device_bus_reset(struct board *b);
void usb_device_resume(struct board *b);   /* the host drives K */
bool usb_device_has_line(struct board *b); /* the transceiver, not the GPIO, drives PA12 */

/* --- sim/usb_host.c, for the device's end ------------------------------------------------------ */
void usb_catch_up(struct board *b);
void usb_deadline_came(struct board *b);
void usb_device_has_changed(struct board *b);  /* the firmware wrote a register */
void usb_device_lost_power(struct board *b);   /* and with it the pull-up, for however short */
void usb_device_wants_resume(struct board *b); /* remote wake-up */

#endif
