/* SPDX-License-Identifier: MIT */
/*
 * A board offered over USB/IP, and a control channel beside it. Part of the program caboose-sim, not
 * of the library: it owns sockets and, when asked to, the host's clock.
 *
 * With the virtual clock, time passes only while a transfer is under way and when the control
 * channel says "sleep": a run is deterministic and takes no longer than computing it. With the wall
 * clock, virtual time follows real time while nothing is asked.
 *
 * The control channel is lines of text over a Unix socket; each gets one line of answer, "ok …" or
 * "error …": see sim/server.c.
 */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include "board.h"

struct server_options {
    const char *address;      /* to listen on for USB/IP; NULL: 127.0.0.1 */
    uint16_t port;            /* 0: any free one, reported through ready() */
    const char *control_path; /* Unix socket of the control channel; NULL: none */
    bool virtual_clock;
    uint64_t until_ns; /* virtual time when to end; 0: never */
    /* Called once when listening. */
    void (*ready)(void *context, const char *address, uint16_t port);
    /* Called for control lines that the server does not know (uart, save …): writes an answer
     * without newline, returns false if it does not know the line either. */
    bool (*command)(void *context, const char *line, char *answer, size_t size);
    void *context;
};

/* Serves until the control channel says "quit", until_ns, SIGINT or SIGTERM comes, or the board breaks
 * a rule. 0, or -1 with a message on stderr. */
int server_run(struct board *b, const struct server_options *options);

#endif
