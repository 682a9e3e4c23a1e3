/* SPDX-License-Identifier: MIT */
/*
 * The bootloader proper: what runs when the stub decided for DFU.
 *
 *   main.c         clocks, the loop, leaving
 *   usb.c          endpoint 0: control transfers, chapter 9
 *   descriptors.c  what the device says of itself
 *   dfu.c          DFU and DfuSe requests
 *   app.c          the application in flash, as the host sees it: erases put off, commit last
 *
 * It polls; there are no interrupts. All state is one struct at a fixed place in RAM, so that the
 * code may stand anywhere (see regs.h).
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include "stub.h"

enum {
    TRANSFER_SIZE = 1024, /* wTransferSize */
    PAGES_MAX = 256,
};

struct setup {        /* a SETUP packet; USB 2.0 §9.3 */
    uint16_t request; /* bmRequestType | bRequest << 8 */
    uint16_t wValue, wIndex, wLength;
};
#define REQUEST(bmRequestType, bRequest) ((bmRequestType) | (bRequest) << 8)

enum fresh { TOUCHED = 1, WRITTEN = 2 }; /* erased; data came */

enum stage { STAGE_IDLE, STAGE_IN, STAGE_OUT, STAGE_STATUS };

/* Work on flash is counted in half-words programmed: 52.5 µs each, typically (DS5319 table 28). */
enum {
    ERASE_WORK = 572, /* a page: 30 ms; 20 to 40 */
    REVOKE_WORK = 4,  /* the journal's record zeroed */
    PAGE_WORK = 20,   /* around it: the page composed, compared, read back */
    LOOK_WORK = 10,   /* a page composed and found to be right */
    RECORD_WORK = 8,  /* the journal: a record zeroed, one written */
};

/* How long the host has to see dfuMANIFEST and say -R before the application is started. */
enum {
    LEAVE_MS = 300,
    LEAVE_UNASKED_MS = 2000, /* it said leave and never asked for the status */
};

struct state {           /* what is used most stands first: short offsets make short instructions */
    uint8_t dfu, status; /* dfu.c: enum dfu_state, enum dfu_status */
    uint8_t valid;       /* app.c: the journal vouches for the application in flash */
    uint8_t dirty;       /* flash was changed since */
    uint8_t torn;        /* a page may lack data: no application until page 0 comes again */
    uint8_t fresh;       /* the host erased or wrote something since its session began */
    uint8_t finishing;   /* what was put off is being done, then comes the record */
    uint8_t stage;       /* usb.c: enum stage */
    uint8_t last_sent;   /* size of the packet under way */
    uint8_t short_reply; /* fewer bytes than wLength: the end must be a short packet */
    uint8_t address;     /* from SET_ADDRESS, in force after its status stage */
    uint8_t configuration;
    struct setup setup;
    uint16_t tx_left;
    uint16_t received;  /* bytes of the data stage that have come */
    uint16_t leave_ms;  /* counts down to the start of the application; 0: staying */
    uint16_t wBlockNum; /* of the download in block[] … */
    uint16_t length;    /* … and its size */
    uint16_t stride;    /* bytes that a step of wBlockNum stands for */
    const uint8_t *tx;  /* what is still to be sent */
    uint32_t pointer;   /* AN3156: address pointer */
    uint32_t page_size;
    uint32_t end;      /* of flash */
    uint32_t app_end;  /* where what belongs to the bootloader begins: the journal */
    uint32_t reset;    /* the application's own reset vector; 0: not known */
    uint32_t recorded; /* the one that the journal's valid record holds */

    uint8_t page[PAGE_SIZE_MAX]
        __attribute__((aligned(4))); /* scratch: a page being made, a reply */
    uint8_t block[TRANSFER_SIZE];
    uint16_t waiting[PAGES_MAX]; /* app.c, enum waiting */
};
/* In a register throughout the bootloader proper, set by dfu_main(): short loads and stores. */
register struct state *S __asm("r7");

/* main.c */
_Noreturn void restart(
    void); /* off the bus, and reset: the stub starts the application if it can */

/* usb.c */
enum { USB_STALL = -1, USB_RECEIVE = -2 };
void usb_start(void);
void usb_poll(void);

/* descriptors.c: puts a descriptor into S->page or points S->tx at it. Its size, or USB_STALL. */
int descriptor(unsigned wValue);

/* dfu.c */
/* A class request. Count of bytes to send from S->tx, 0, USB_STALL or USB_RECEIVE. */
int dfu_request(void);
void dfu_session(void); /* a host begins anew: bus reset, SET_CONFIGURATION, SET_INTERFACE */
void dfu_work(void);    /* no transfer is under way: do what a request left to be done */

/* app.c */
void app_session(void);                                   /* what was not finished never will be */
void app_read(uint8_t *to, uint32_t addr, unsigned size); /* as the host sees it */
void app_erase(uint32_t addr);
void app_mass_erase(void);
unsigned app_write(uint32_t addr, bool go); /* S->block, S->length; the work it is */
void app_finish(bool sure); /* a download is over; not sure: only if it looks complete */
unsigned app_finish_step(bool go);

#endif
