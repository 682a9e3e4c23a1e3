/* SPDX-License-Identifier: MIT */
/*
 * What people read: errors on standard error, one line each; progress and results on standard output,
 * as a bar on a terminal and as plain lines elsewhere.
 */
#ifndef HOST_REPORT_H
#define HOST_REPORT_H

#include <stdbool.h>
#include <stdint.h>

/* quiet: nothing but errors. to_stderr: standard output carries data. */
void report_setup(bool quiet, bool to_stderr);

__attribute__((format(printf, 1, 2))) void report_error(const char *format, ...); /* "caboose: …" */
__attribute__((format(printf, 1, 2))) void report_note(
    const char *format, ...); /* unasked, stderr */
__attribute__((format(printf, 1, 2))) void report_result(const char *format, ...);

/* How far something is. A new verb begins a new bar; done == total ends it. */
void report_progress(const char *verb, uint64_t done, uint64_t total);
/* Ends a bar that will not be completed. */
void report_interrupted(void);

#endif
