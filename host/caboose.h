/* SPDX-License-Identifier: MIT */
/*
 * libcaboose: flashing USB devices that speak DfuSe or DFU 1.1, without the USB.
 *
 * A job is one order (flash this image, read that memory …) for one device. It does no I/O, takes no
 * clock, starts no thread, prints nothing and ends no program: it says which control transfer or pause
 * comes next and is handed the outcome. So one loop drives one board or a hundred, over any link, and a
 * test drives it in no time at all.
 *
 *     struct image image;
 *     char why[IMAGE_ERROR_SIZE];
 *     if (image_parse_plain(&image, "fw.hex", data, size, 0, why)) … why …
 *     struct caboose_order order = {.verb = CABOOSE_FLASH, .image = &image, .alt = PLAN_ANY_ALT};
 *     struct caboose_job *job = caboose_job_new(&order);
 *     for (;;) {
 *         const struct caboose_ask *ask = caboose_job_next(job);
 *         switch (ask->want) {
 *         case CABOOSE_TRANSFER: caboose_job_answer(job, control(ask->setup, ask->data, ask->ms)); break;
 *         case CABOOSE_WAIT:     sleep_ms(ask->ms); caboose_job_answer(job, 0); break;
 *         case CABOOSE_RESET:    caboose_job_answer(job, reset_port()); break;
 *         case CABOOSE_REOPEN:   caboose_job_answer(job, find_it_again(ask->ms)); break;
 *         case CABOOSE_DONE:
 *         case CABOOSE_FAILED:   … caboose_job_report(job)->message … caboose_job_free(job); return;
 *         }
 *     }
 *
 * There is no global state: jobs are independent of each other. Memory is only taken between the stages of
 * a job; when it runs out, the job fails and says so.
 *
 * Build with -lcaboose, which needs nothing but the C library. ELF files are read by the command, not here:
 * they need libelf. Where this header is installed every name in it begins with caboose_ or CABOOSE_
 * (struct caboose_image, caboose_image_free()); in this project the short ones stand.
 */
#ifndef HOST_CABOOSE_H
#define HOST_CABOOSE_H

#include "host/device.h"
#include "host/plan.h"
#include "host/transfer.h"
#include "image/image.h"

enum caboose_verb {
    CABOOSE_INSPECT, /* read the descriptors; a board that runs its application is no failure then */
    CABOOSE_FLASH,   /* write what differs, compare, start the program */
    CABOOSE_VERIFY,  /* compare */
    CABOOSE_READ,    /* read memory */
    CABOOSE_ERASE,   /* erase sectors */
    CABOOSE_LEAVE,   /* start the program */
    CABOOSE_UNPROTECT, /* remove the read protection, and with it all that flash holds */
};

struct caboose_order {
    enum caboose_verb verb;
    const struct image *image;  /* FLASH, VERIFY: the caller's, for as long as the job lives */
    const struct device *board; /* what an INSPECT job just reported of this one; NULL: not known */
    int alt;                    /* alternate setting, 0 to 255; PLAN_ANY_ALT: by file and address */
    bool has_addr;
    uint32_t
        addr; /* FLASH, VERIFY: where a raw image goes (else: the first writable byte); READ, ERASE:
                     * the first byte; LEAVE: the program's vector table */
    uint32_t size;  /* READ, ERASE: bytes; 0: as far as it goes; ERASE: all that can be written */
    bool no_verify; /* FLASH: do not compare after writing */
    bool no_leave;  /* FLASH: stay in the bootloader */
    bool rewrite;   /* FLASH: write all, whatever is there already */
    bool force;     /* although the image or the address looks wrong for the board */
    bool dry_run;   /* look, plan, and change nothing: see the report's plan */
    bool resume;    /* when the board goes away: ask for it again (CABOOSE_REOPEN) and go on */
};

enum caboose_want {
    CABOOSE_TRANSFER, /* a control transfer */
    CABOOSE_WAIT,     /* a pause */
    CABOOSE_RESET,    /* a reset of the device's port */
    CABOOSE_REOPEN,   /* the board went away; find it, open it. Only if the order says resume */
    CABOOSE_DONE,     /* the end; what came of it is in the report */
    CABOOSE_FAILED,   /* the end; what went wrong is in the report */
};

struct caboose_ask {
    enum caboose_want want;
    uint8_t setup[USB_SETUP_SIZE]; /* TRANSFER: as on the wire */
    uint8_t *data; /* TRANSFER: wLength bytes, to fill or to send by setup[0]'s bit 7 */
    unsigned ms;   /* TRANSFER: give up after; WAIT: sleep; REOPEN: look for so long */
};

enum caboose_error {
    CABOOSE_OK,
    CABOOSE_GONE,     /* the device is gone or the bus failed */
    CABOOSE_DENIED,   /* the operating system does not let us */
    CABOOSE_REFUSED,  /* the device said no, and why: see status */
    CABOOSE_PROTOCOL, /* the device said something that makes no sense */
    CABOOSE_MISMATCH, /* the memory does not hold what it should */
    CABOOSE_UNFIT,    /* the image or the address is not for this board; nothing was changed */
    CABOOSE_MEMORY,   /* there is not enough of it on this computer */
    CABOOSE_NOT_DFU,  /* the device runs its application, or has no DFU interface */
};

enum caboose_phase {
    CABOOSE_INSPECTING,
    CABOOSE_COMPARING, /* reading what is there, before anything is changed */
    CABOOSE_ERASING,
    CABOOSE_WRITING,
    CABOOSE_VERIFYING,
    CABOOSE_READING,
    CABOOSE_LEAVING,
};

enum caboose_departure { /* what was seen of a device that was told to leave */
    CABOOSE_STAYED,
    CABOOSE_ANNOUNCED, /* it said that it would go, and was still there a second after that */
    CABOOSE_LEFT,      /* it went away, or stopped answering, as it should */
};

enum { CABOOSE_TEXT = 512 };

struct caboose_report {
    enum caboose_phase phase;
    uint64_t done, total; /* bytes of this phase */
    enum caboose_error error;
    char message
        [CABOOSE_TEXT]; /* of the error: what, where, why, what to do; one line, no full stop */
    char note[CABOOSE_TEXT]; /* something to know that is no error; notes counts the changes */
    unsigned notes;
    bool changed;        /* something on the board may have been changed */
    uint8_t status;      /* REFUSED: the device's bStatus, DFU 1.1 §6.1.2 */
    struct device board; /* valid after INSPECTING */
    struct plan plan;    /* valid after COMPARING; FLASH: pages tells the fate of every sector */
    uint32_t addr;       /* of the program, or of what was read */
    const uint8_t *data; /* READ: what was read, size bytes */
    uint32_t size;
    bool found;                        /* the device was asked for its state, which was first: */
    uint8_t found_state, found_status; /* bState and bStatus, DFU 1.1 §6.1.2 */
    bool unreadable;                   /* memory that should be readable was refused: status */
    bool has_program;                  /* LEAVE: the vector table at addr could be read: */
    uint32_t stack, entry;             /* its initial stack pointer and reset vector */
    bool left;                         /* the plan's last step was to leave */
    enum caboose_departure departure;  /* LEAVE, UNPROTECT, FLASH */
    unsigned attempts;                 /* how often it was begun: 1, or more with resume */
};

struct caboose_job;

/* NULL if there is no memory. What order->image points to must outlive the job. */
struct caboose_job *caboose_job_new(const struct caboose_order *order);
void caboose_job_free(struct caboose_job *job); /* at any time; NULL is fine */

/* What to do next. The same answer until caboose_job_answer() is called; DONE and FAILED are for good. */
const struct caboose_ask *caboose_job_next(struct caboose_job *job);

/* The outcome. TRANSFER: the count of bytes that moved, or an enum transfer_error (negative); RESET and
 * REOPEN: 0 or an enum transfer_error; WAIT: anything. */
void caboose_job_answer(struct caboose_job *job, int result);

/* How it stands; may be read at any time, the job's own until it is freed. */
const struct caboose_report *caboose_job_report(const struct caboose_job *job);

/* bState in the standard's words: "dfuIDLE". */
const char *caboose_state_name(uint8_t state);

#endif
