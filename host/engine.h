/* SPDX-License-Identifier: MIT */
/*
 * The conversation with a DFU device, without the cable: a state machine that says what it wants next
 * (a control transfer, a pause) and is told the outcome. It owns no link, no clock and no thread, so
 * the same machine runs over libusb, over USB/IP, and against a scripted device in virtual time.
 *
 *     engine_run(&engine, &device, &plan);
 *     for (;;) {
 *         const struct engine_ask *ask = engine_next(&engine);
 *         switch (ask->kind) {
 *         case ENGINE_TRANSFER: engine_result(&engine, link_control(…ask…)); break;
 *         case ENGINE_WAIT:     sleep_ms(ask->ms); engine_result(&engine, 0); break;
 *         case ENGINE_RESET:    engine_result(&engine, link_reset(…)); break;
 *         case ENGINE_DONE:     return 0;
 *         case ENGINE_FAILED:   puts(engine.message); return engine.failure;
 *         }
 *     }
 *
 * Every wait has a bound, whatever the device says. What the devices in the field do wrong, and what
 * is forgiven, stands beside the code that forgives it.
 */
#ifndef HOST_ENGINE_H
#define HOST_ENGINE_H

#include "host/device.h"
#include "host/plan.h"
#include "host/transfer.h"

enum engine_ask_kind { ENGINE_TRANSFER, ENGINE_WAIT, ENGINE_RESET, ENGINE_DONE, ENGINE_FAILED };

struct engine_ask {
    enum engine_ask_kind kind;
    uint8_t setup[USB_SETUP_SIZE]; /* TRANSFER */
    uint8_t *data;                 /* TRANSFER: wLength bytes, in or out by setup's direction bit */
    unsigned ms;                   /* TRANSFER: timeout; WAIT: how long */
};

enum engine_failure { /* what kind of thing went wrong */
    ENGINE_OK,
    ENGINE_LINK,     /* the device is gone or the bus failed */
    ENGINE_DENIED,   /* the operating system does not let us */
    ENGINE_REFUSED,  /* the device said no and why */
    ENGINE_PROTOCOL, /* the device said something that makes no sense */
    ENGINE_MISMATCH, /* verification: the memory does not hold what was written */
};

enum engine_departure { /* what was seen of a device after leave */
    ENGINE_STAYED,
    ENGINE_ANNOUNCED, /* it said that it would start the application, and was still there after that */
    ENGINE_LEFT,      /* it went away, or stopped answering, as it should */
};

enum { ENGINE_TASKS = 6, ENGINE_MESSAGE = 512, ENGINE_SETTLE_MS = 1000 };

struct engine_task { /* one exchange; engine.c has a table of how each kind goes */
    enum engine_task_kind {
        TASK_SELECT,     /* SET_INTERFACE */
        TASK_IDLE,       /* whatever state it is in, to dfuIDLE */
        TASK_DNLOAD,     /* DNLOAD and polling until it is done */
        TASK_UPLOAD,     /* UPLOAD */
        TASK_LEAVE,      /* DNLOAD of nothing, and seeing it off */
        TASK_UNPROTECT,  /* a command after which the device erases itself and resets */
        TASK_DESCRIPTOR, /* GET_DESCRIPTOR, for inspect.c */
    } kind;
    uint16_t value; /* wValue: block, or descriptor type and index */
    uint16_t index; /* wIndex of GET_DESCRIPTOR */
    uint16_t size;
    uint8_t command[5]; /* DNLOAD of block 0 */
    const uint8_t *data;
    uint32_t busy_ms; /* DNLOAD: how long it may stay busy */
    const char *what; /* for messages: "write to" */
    bool blank;       /* UPLOAD: only to see whether an erase has happened */
};

struct engine {
    /* For the caller to look at. */
    enum step_kind phase; /* what is being done … */
    uint64_t done, total; /* … and how many bytes of it */
    enum engine_failure failure;
    char message[ENGINE_MESSAGE];
    uint32_t received;               /* READ: bytes that came */
    enum engine_departure departure; /* LEAVE, UNPROTECT */
    uint8_t state, status;           /* bState and bStatus as last heard or concluded */
    bool found;                      /* GETSTATUS was answered; the first time with */
    uint8_t found_state, found_status;

    /* Its own. */
    struct engine_ask ask;
    bool asked;
    const struct device *device;
    const struct plan *plan;
    struct device *inspected; /* being filled; NULL while a plan runs */
    unsigned inspect_stage;
    uint8_t inspect_item;
    size_t step, current; /* the next step, and the one that the tasks are for */
    bool working, closed;
    struct engine_task tasks[ENGINE_TASKS];
    uint8_t task_count, task_at;
    uint8_t turn;       /* where in the current task */
    uint8_t tries;      /* of this task: repetitions that must end */
    bool refused;       /* of this task: the request was STALLed */
    uint32_t waited_ms; /* of this task */
    bool again;         /* of this task: a busy device that names no time was asked again at once */
    bool kicked;        /* of this task: CLRSTATUS was sent to end a busy that does not end */
    bool explaining;    /* all is over but for the device's own words, which message gets */
    int alt;            /* selected; -1: none yet */
    uint32_t others; /* units in a row, of those that were looked at, that hold something else … */
    uint32_t other;  /* … and the last one of these */
    bool based;      /* the device's address pointer is known: base, */
    uint32_t base;
    uint32_t next_block; /* and the next block of counting */
    uint16_t language;   /* wIndex for strings */
    uint8_t reply[6];
    uint8_t buffer[DEVICE_TRANSFER_MAX];
};

/* Reads the descriptors into device, which is valid when done; a device without a DFU interface is no
 * failure (device->dfu is false). Nothing on the device changes. */
void engine_inspect(struct engine *engine, struct device *device);

/* Carries out a plan. device and plan must stay. */
void engine_run(struct engine *engine, const struct device *device, const struct plan *plan);

/* Carries out another plan on a device that nobody else has spoken to since. What the run before knew of it
 * when it ended well need not be found out again. */
void engine_go_on(struct engine *engine, const struct device *device, const struct plan *plan);

/* What to do next. The same answer until engine_result() is called. */
const struct engine_ask *engine_next(struct engine *engine);

/* The outcome of what was asked: TRANSFER: count of bytes or enum transfer_error; RESET: 0 or
 * enum transfer_error; WAIT: anything. */
void engine_result(struct engine *engine, int result);

/* bState in words, as the standard has them: "dfuIDLE". */
const char *engine_state_name(uint8_t state);

#endif
