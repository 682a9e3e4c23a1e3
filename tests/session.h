/* SPDX-License-Identifier: MIT */
/*
 * For tests of the programs as their users start them: a caboose-sim of the test's own, in virtual
 * time, and commands that see its board on their USB.
 *
 *     struct session *s = session_new("");                   // installed, in DFU
 *     struct outcome o = on_board(s, "dfu-util -a 0 -s 0x08000000:leave -D %s", file);
 *     cr_expect_eq(o.code, 0, "%s", o.err);
 *     session_sleep(s, "1s"), session_heard(s, "hello")
 *
 * What must work for there to be a test at all is asserted here. Each test suite that uses this has
 * .fini = session_end_all; what a crashed test leaves is killed by the kernel.
 */
#ifndef TESTS_SESSION_H
#define TESTS_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct session {
    char dir[32]; /* for its files, and the tests' */
    char control[48], uart[48];
    char usbip[32]; /* HOST:PORT */
    pid_t sim;
    size_t heard; /* of the UART, at the last session_forget() */
};

/* A simulated board with the bootloader just put at 0x08000000, powered and plugged in; runs until
 * it is enumerated as a DFU device. `options`: more for caboose-sim. */
struct session *session_new(const char *options);
/* The same, of whatever `options` load; runs for no time. */
struct session *session_bare(const char *options);
/* Ends caboose-sim as "quit" does: its exit code. */
int session_end(struct session *s);
void session_end_all(void);

/* One line to the control channel; the answer without its "ok ". */
__attribute__((format(printf, 2, 3))) const char *session_say(
    struct session *s, const char *format, ...);
void session_sleep(struct session *s, const char *duration);
uint64_t session_now(struct session *s);                     /* virtual ns */
uint64_t session_count(struct session *s, const char *what); /* "halfwords"; see sim/server.c */
const char *session_ids(struct session *s); /* on the USB: "0483:df11", or "" for nothing */
bool session_in_dfu(struct session *s);     /* 0483:df11 */
unsigned session_toggles(struct session *s, const char *pin, unsigned ms); /* seen each 10 ms */
void session_power_cycle(struct session *s);                               /* then 500 ms */
void session_press_reset(struct session *s);                               /* then 500 ms */

/* What the firmware has said since session_forget(). */
const char *session_text(struct session *s);
bool session_heard(struct session *s, const char *text);
void session_forget(struct session *s);

/* All of flash; the same memory each time, until the next call with the same `slot` (0, 1). */
const uint8_t *session_flash(struct session *s, unsigned slot);
enum { SESSION_FLASH = 65536 }; /* of the stm32f103c8 */

struct outcome {
    int code; /* as the shell's $?; 124 when it did not end */
    const char *out, *err;
    bool one_line_of_error; /* and nothing else on stderr */
};

/* Runs a shell command in at most 60 s. @ is the session's directory. */
__attribute__((format(printf, 2, 3))) struct outcome run(
    struct session *s, const char *format, ...);
/* The same with the board on its USB, through caboose-with-board. */
__attribute__((format(printf, 2, 3))) struct outcome on_board(
    struct session *s, const char *format, ...);

/* A whole file; size may be NULL. Never NULL: that fails the test. */
uint8_t *file_read(const char *path, size_t *size);

#endif
