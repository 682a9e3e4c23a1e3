/* SPDX-License-Identifier: MIT */
/*
 * The campaign of things that happen on the cable: at every transaction of a whole session each
 * kind of event, and what it leads to (P6). make torture can run all of it,
 * tests/test_usb_events.c runs a slice.
 *
 * Three sessions: an enumeration, a download as dfu-util does it (SET_INTERFACE, erase, 3 KB,
 * ABORT, leave) and an upload of the same size. The transactions of a session are counted first,
 * NAKed ones once; then the session is run again for each of them with the event there. The board
 * that is left is judged:
 *
 * - no stray write: outside of the application and the journal flash is what it was;
 * - with the power gone at that moment it starts an application that is complete, old or new, or
 *   none;
 * - the next session succeeds: without a new enumeration if nothing but the host's software was at
 *   fault, else after one, and after the reset button only if an application runs; it downloads a
 *   third application, which then runs;
 * - every request in it is answered within 5 s (USB 2.0 §9.2.6.1), and the worst time is reported.
 *
 * After a packet or a handshake that got lost, and after a suspend, the session itself goes on and
 * must succeed: the bus repairs these (USB 2.0 §8.5.3.3, §8.6). The one case that is not judged
 * so, only counted, is a lost ACK of a SETUP: the peripheral does not hear the repetition while
 * CTR_RX is set (RM0008 §23.4.2).
 *
 *     struct cable_order o = {.part = "stm32f103c8", .seed = 1, .every = 1, .silence_ms = 3000};
 *     struct cable_tally t = {0};
 *     cable_events(&o, &t);
 */
#ifndef TESTS_USB_EVENTS_H
#define TESTS_USB_EVENTS_H

#include "dfu_host.h"

#include <stdio.h>

enum cable_event {
    EVENT_UNPLUG,      /* in the middle of it, for 300 ms; the board has power from elsewhere */
    EVENT_BUS_RESET,   /* soon after it */
    EVENT_NEW_SETUP,   /* soon after it: the host gives the transfer up and begins another one */
    EVENT_LOST_PACKET, /* what the host sends arrives broken */
    EVENT_LOST_ACK,
    EVENT_EARLY_END, /* the data stage ends with it: OUT by a short packet, IN by a status stage */
    EVENT_SILENCE,   /* no more transactions, for long */
    EVENT_SUSPEND,   /* soon after it; resumed after 20 ms */
    EVENT_KINDS
};
extern const char *const cable_event_names[EVENT_KINDS];

enum cable_session { SESSION_ENUMERATION, SESSION_DOWNLOAD, SESSION_UPLOAD, SESSIONS };
extern const char *const cable_session_names[SESSIONS];

enum { CABLE_FAILURES = 16 };

struct cable_tally { /* no pointers: workers hand it over through shared memory */
    uint64_t transactions[SESSIONS];
    uint64_t trials[EVENT_KINDS];
    uint64_t survived[EVENT_KINDS]; /* of them: the session itself went on to its end */
    uint64_t setup_acks_lost, setup_acks_survived;
    uint64_t setups_unheard;             /* three times no answer: CTR_RX was set still */
    uint64_t stalled_early_ends;         /* the others were NAKed until the host gave up */
    uint64_t ran_old, ran_new, ran_none; /* with the power gone at that moment; but … */
    uint64_t in_window;                  /* … page 0 was being rewritten: not judged */
    uint64_t worst_answer_us;            /* of a request in a next session */
    uint64_t failures;
    struct {
        char what[100], replay[60]; /* "session event transaction seed" */
    } failure[CABLE_FAILURES];      /* the first */
};

struct cable_order {
    const char *part;
    uint64_t seed;  /* of where events fall between transactions, and which new SETUP it is */
    uint64_t every; /* each n-th transaction of each event … */
    uint64_t first; /* … from this one on, counted from 0: shares for several workers */
    uint64_t every_silence; /* the same for EVENT_SILENCE; 0: never */
    unsigned silence_ms;
    uint64_t until_s; /* of time(): stop when it has come; 0: never */
    /* Replay: this event alone; transaction 0: all. */
    enum cable_session only_session;
    enum cable_event only_event;
    uint64_t only;
    FILE *log; /* failures as they are found; NULL: silent */
};

/* False: the time was up before the end. */
bool cable_events(const struct cable_order *o, struct cable_tally *t);
void cable_tally_add(struct cable_tally *to, const struct cable_tally *from);

#endif
