/* SPDX-License-Identifier: MIT */
/* What tests of the bootloader assert of a board and of what the host was told; each failure names the line
 * of the test. */
#ifndef TESTS_CHECKS_H
#define TESTS_CHECKS_H

#include "dfu_host.h"

/* The firmware has broken no rule of the chip. */
void check_board(const struct board *b);

/* `did`, a request or a sequence (dfu_host.h), was as a tool wants it. */
#define check_dfu(did, h) check_dfu_at(__LINE__, did, h)
void check_dfu_at(int line, bool did, const struct host *h);

/* `did` ended in dfuERROR with this status, which is cleared. */
#define check_refused(did, h, error) check_refused_at(__LINE__, did, h, error)
void check_refused_at(int line, bool did, struct host *h, enum dfu_status error);

/* The application says its tag in time, and flash holds it. */
#define check_runs(h, app, ms) check_runs_at(__LINE__, h, app, ms)
void check_runs_at(int line, const struct host *h, const struct app *app, unsigned ms);

/* So it is after a power cycle. */
#define check_runs_again(h, app) check_runs_again_at(__LINE__, h, app)
void check_runs_again_at(int line, const struct host *h, const struct app *app);

/* Leave is answered as it should be, and leads to the application. */
#define check_leaves(h, app) check_leaves_at(__LINE__, h, app)
void check_leaves_at(int line, struct host *h, const struct app *app);

/* Not a byte of flash is another than in this flash_dump(). */
#define check_flash(b, was) check_flash_at(__LINE__, b, was)
void check_flash_at(int line, const struct board *b, const uint8_t *was);

/* The host is shown these bytes. */
#define check_reads(h, addr, data, size) check_reads_at(__LINE__, h, addr, data, size)
void check_reads_at(int line, struct host *h, uint32_t addr, const void *data, size_t size);

/* The application found this cause (CAUSE_…), and beside it the pin at most, in r0. */
#define check_cause(h, cause) check_cause_at(__LINE__, h, cause)
void check_cause_at(int line, const struct host *h, uint32_t cause);

/* Of a board that was just powered: that, then a software reset and the watchdog's, each handed over alone. */
#define check_causes(h, app) check_causes_at(__LINE__, h, app)
void check_causes_at(int line, struct host *h, const struct app *app);

/* host_with_application(), powered: it runs, the cable is plugged. */
#define running(part, app) running_at(__LINE__, part, app)
struct host running_at(int line, const char *part, const struct app *app);

/* Fails: what an explored cut (explore()) has left is not as it must be. */
void complain(const struct explorer *e, const struct board *b, const char *what);

#endif
