/* SPDX-License-Identifier: MIT */
/*
 * The bootloader proper: what runs when the stub decided for DFU.
 *
 *   main.c         clocks, the loop, leaving
 *   usb.c          endpoint 0: control transfers, chapter 9
 *   descriptors.c  what the device says of itself
 *   dfu.c          DFU and DfuSe requests
 *   app.c          the application in flash, as the host sees it: erases put off
 *   commit.c       what makes it valid, last of all (head layout: head.c)
 *   options.c      option bytes
 *
 * It polls; there are no interrupts. All state is one struct at a fixed place in RAM, so that the
 * code may stand anywhere (see regs.h).
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include "stub.h"

#define VERSION "1.0"

/* pointer = where a constant stands: the bootloader may stand anywhere. In 4 bytes, where gcc 12.2
 * would take 8. */
#define FIND(pointer, constant)                                                                    \
    __asm(".reloc ., R_ARM_THM_ALU_PREL_11_0, %c1\n\tsubw %0, pc, #4"                              \
          : "=r"(pointer)                                                                          \
          : "X"(constant))

/* Found by trying, all together with the flags in boot.mk. */
#define INLINE   static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))

enum {
    TRANSFER_SIZE = 1024, /* wTransferSize */
    PAGES_MAX = 256,
};

/* Memory that is written as bytes and read as words, or the other way around. */
typedef uint16_t __attribute__((may_alias)) half_word;
typedef uint32_t __attribute__((may_alias)) word;

struct setup {        /* a SETUP packet; USB 2.0 §9.3 */
    uint16_t request; /* bmRequestType | bRequest << 8 */
    uint16_t wValue, wIndex, wLength;
};
#define REQUEST(bmRequestType, bRequest) ((bmRequestType) | (bRequest) << 8)

enum stage { STAGE_IDLE, STAGE_IN, STAGE_OUT, STAGE_STATUS };

/* How long an erase that is still to be done takes, when there are some (DS5319: 20 to 40 ms). */
enum { ERASE_MS = 32 };

/* How long the host has to see dfuMANIFEST and say -R before the application is started: 0.3 s. In ticks of
 * 2 ms, which makes numbers that are short to load. */
enum {
    TICK_MS = 2,
    LEAVE_TICKS = 300 / TICK_MS,
    LEAVE_UNASKED_TICKS = 2000 / TICK_MS, /* it said leave and never asked for the status */
};

struct state { /* what is used most stands first: short offsets make short instructions */
    union {
        struct {
            uint8_t dfu, status; /* dfu.c: enum dfu_state, enum dfu_status */
        };
        uint16_t dfu_status; /* both at once: a state, and 0 above it, DFU_OK */
    };
    uint8_t valid;  /* app.c: the journal vouches for the application in flash */
    uint8_t intact; /* not 0: flash was not changed since it was said what the journal says now */
    uint8_t torn;   /* data may be missing: what becomes an application is written from its start */
    uint8_t finishing; /* what was put off is being done, then comes the record */
    uint8_t stage;     /* usb.c: enum stage */
    uint8_t last_sent; /* size of the packet under way */
    uint8_t address;   /* from SET_ADDRESS, in force after its status stage */
    uint8_t configuration;
    uint8_t locked; /* flash is protected against reading: the chip refuses to write, AN3156 wants
                       everything refused */
    struct setup setup;
    uint16_t wBlockNum; /* of the download in block[] … */
    uint16_t length;    /* … and its size */
    uint16_t stride;    /* bytes that a step of wBlockNum stands for */
    const uint8_t *tx;  /* what is still to be sent */
    uint32_t tx_left;
    uint32_t received; /* bytes of the data stage that have come */
    uint32_t lacking;  /* pages that were erased one by one and have got no data yet */
    uint32_t leaving;  /* ticks, counts down to the start of the application; 0: staying */
    uint32_t pointer;  /* AN3156: address pointer … */
    uint32_t limit;    /* … and the end of the memory that it is in */
    uint32_t stub;     /* where it stands */
    uint32_t page_size;
    uint32_t end;     /* of flash */
    uint32_t app_end; /* of what may be the application's; behind it is the bootloader */
    uint32_t ram_end;
    int blank; /* the journal's first word. -1: the chip is new, what reads blank is so (app.c) */
    uint32_t open;  /* the page that page[] is; 0: none */
    uint32_t reset; /* the reset vector of the image at APP_START; even: there is none */
    uint32_t sp;    /* and its stack pointer (head layout) */
    /* Where the application may begin, tried in this order: */
    uint32_t asked; /* leave named it */
    uint32_t base;  /* it does */
    uint32_t zero;  /* FLASH_BASE: shorter to load than as a constant */
    uint32_t first; /* the lowest address that data came for; NOWHERE: none */

    union {
        uint32_t reply[48]; /* the longest is descriptor_set()'s, 162 */
        uint16_t text[96];  /* the same, in UTF-16 */
    };
    uint8_t block[TRANSFER_SIZE + 64]; /* what the host sends, or is sent by UPLOAD */
    union {
        uint8_t page[PAGE_SIZE_MAX];
        uint32_t words[PAGE_SIZE_MAX / 4];
    };
    uint8_t pages[PAGES_MAX];
};
/* In a register throughout the bootloader proper, set by dfu_main(): short loads and stores. */
register struct state *S __asm("r7");
/* It stands at the start of RAM. An address in terms of it: often shorter than as a constant. */
#define FROM_S(address) ((uint32_t)S + ((address)-SRAM_BASE))

/* main.c */
_Noreturn void restart(
    void); /* off the bus, and reset: the stub starts the application if it can */

/* usb.c */
enum { USB_STALL = -1, USB_RECEIVE = -2 };
void usb_start(void);
static void usb_poll(void);

enum { PROTECTED = 4, VENDOR_CODE = 4 }; /* the string behind errVENDOR; bRequest for Windows */
/* descriptors.c: puts a descriptor into S->reply or points S->tx at it. Its size, or USB_STALL. */
int descriptor(unsigned wValue);
int descriptor_set(void); /* Microsoft OS 2.0 */

/* dfu.c */
/* A class request. Count of bytes to send from S->tx, 0, USB_STALL or USB_RECEIVE. */
int dfu_request(void);
static void dfu_session(void); /* a host begins anew: bus reset, SET_CONFIGURATION, SET_INTERFACE */
void dfu_work(void);           /* no transfer is under way: go on with finishing */

/* app.c */
#define NOWHERE ((uint32_t)S) /* no address in flash; it is at hand in a register */
/* options.c */
enum dfu_status options_write(void); /* S->block */

#endif
