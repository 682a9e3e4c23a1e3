/* SPDX-License-Identifier: MIT */
/*
 * From a command line to open boards, and an order carried out by all of them. Messages have been printed
 * when these return; the numbers are sysexits.h's.
 */
#ifndef HOST_SESSION_H
#define HOST_SESSION_H

#include "host/fleet.h"
#include "host/options.h"

struct session {
    const struct options *options;
    struct fleet fleet; /* the boards that were chosen; their links have them open */
    const char *file;   /* what the order is about, for messages; may be NULL */
};

struct session_seen {   /* a DFU device that was looked at */
    const char *server; /* NULL: at this computer */
    struct link_device where;
    struct device device;
    int error; /* 0, or the enum transfer_error that kept us from looking: then only `where` is known */
    char why[256]; /* of the error; may be empty */
};

/* Looks at every DFU device that the options select. *seen is the caller's to free; count >= 0, or minus
 * an exit code. */
int session_look(const struct options *options, struct session_seen **seen);

/* Opens the one board in DFU mode that the options select, or, with --all, every one; none is an error,
 * and so are several without --all. */
int session_open(struct session *session, const struct options *options);
void session_close(struct session *session);

/* Says in one line what an order that succeeded has done. */
typedef void session_success(const struct caboose_report *report, char *text, size_t size);

/* Gives every board the order and lets all of them work, with progress. The members' jobs are left for their
 * reports. */
void session_work(struct session *session, const struct caboose_order *order);

/* Says how each fared, as text or JSON. 0, or the exit code of the first that failed. */
int session_tell(const struct session *session, session_success *success);

/* Both. */
int session_run(
    struct session *session, const struct caboose_order *order, session_success *success);

/* The same, and says only what kept it from looking at the board; what does not fit is in the report. */
int session_run_silently(struct session *session, const struct caboose_order *order);

/* Opens, runs, closes. */
int session_do(
    const struct options *options, const struct caboose_order *order, session_success *success);

/* The order that the options give; the verb and the rest are the command's. */
struct caboose_order session_order(const struct options *options, enum caboose_verb verb);

#endif
