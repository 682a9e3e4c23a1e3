/* SPDX-License-Identifier: MIT */
/*
 * From a command line to one open board, and the loop that lets an engine talk to it. Messages have
 * been printed when these return; the numbers are sysexits.h's.
 */
#ifndef HOST_SESSION_H
#define HOST_SESSION_H

#include "host/device.h"
#include "host/engine.h"
#include "host/link.h"
#include "host/options.h"

struct session {
    struct link *link;
    struct link_device where;
    struct link_device opened; /* which device the link has open; path "" if none */
    struct device device;
};

struct session_seen { /* a DFU device that was looked at */
    struct link_device where;
    struct device device;
    int error; /* 0, or the enum transfer_error that kept us from looking: then only `where` is known */
};

/* Looks at every DFU device that the options select. *seen is the caller's to free; count >= 0, or minus
 * an exit code. */
int session_look(const struct options *options, struct session_seen **seen);

/* Opens the one board in DFU mode that the options select; none and several are errors. */
int session_open(struct session *session, const struct options *options);
void session_close(struct session *session);

/* Carries out a plan, with progress; the engine is left for its results. */
int session_run(struct session *session, struct engine *engine, const struct plan *plan);

#endif
