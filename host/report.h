/* SPDX-License-Identifier: MIT */
/*
 * What people read: errors on standard error, one line each; progress and results on standard output,
 * as a bar on a terminal and as plain lines elsewhere.
 */
#ifndef HOST_REPORT_H
#define HOST_REPORT_H

#include <stdbool.h>
#include <stdint.h>

/* quiet: nothing but errors. to_stderr: standard output carries data. Colours are for terminals, and not
 * if NO_COLOR is set (no-color.org). */
void report_setup(bool quiet, bool to_stderr);

__attribute__((format(printf, 1, 2))) void report_error(const char *format, ...); /* "caboose: …" */
__attribute__((format(printf, 1, 2))) void report_note(
    const char *format, ...); /* unasked, stderr */
__attribute__((format(printf, 1, 2))) void report_result(const char *format, ...);

/* What report_error() said last; empty: nothing. */
const char *report_last_error(void);

/* Says that memory is short and ends the program with EX_OSERR. For the command's own small things; what an
 * order needs is asked for before the board is touched, and its lack fails the order. */
_Noreturn void report_no_memory(void);

/* A line of the table that ends an order to many boards; red if it failed, on a terminal. server may be
 * empty. */
void report_row(
    bool good, const char *server, const char *path, const char *serial, const char *text);

/* Several things at once, on a terminal: a row each, drawn over the last time's. */
struct report_bar {
    const char *name, *verb;
    uint64_t done, total;
};
void report_bars(const struct report_bar *bars, unsigned count);

/* How far something is. A new verb begins a new bar; done == total ends it. */
void report_progress(const char *verb, uint64_t done, uint64_t total);
/* Ends a bar that will not be completed. */
void report_interrupted(void);

#endif
