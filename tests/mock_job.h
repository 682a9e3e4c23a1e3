/* SPDX-License-Identifier: MIT */
/* One job of libcaboose at a time, on one scripted device (mock_device.h), with a program of noise. */
#ifndef TESTS_MOCK_JOB_H
#define TESTS_MOCK_JOB_H

#include "mock_device.h"

enum { PROGRAM = 5000 }; /* bytes: five pages, the last of them partly */

extern struct mock mock;
extern struct image image; /* the program */
extern struct caboose_job *job;
extern const struct caboose_report *report; /* of the last order() */
extern uint64_t deadline_ms; /* for an order, in virtual time: 900 s, for the slowest of all */

/* .init and .fini of a test suite: a device of the usual kind, and PROGRAM bytes for its start. */
void mock_job_set_up(void);
void mock_job_tear_down(void);

/* The image becomes a program linked for addr; another with each seed. */
void make_program(uint32_t addr, uint32_t size, uint8_t seed);

extern const struct caboose_order flash_it; /* the image, wherever the device takes it */
/* Carries it out to the end, or to the deadline. */
enum caboose_error order(struct caboose_order o);

bool holds_image(void); /* the device, its first segment */
unsigned all_erases(void);
void expect_rest_kept(void); /* what stood behind the program in its last page, and behind that */
void expect_in(const char *text, const char *part);

#endif
