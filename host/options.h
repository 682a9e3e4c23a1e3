/* SPDX-License-Identifier: MIT */
/*
 * The command line: one table of options, of which each command names those that it takes.
 */
#ifndef HOST_OPTIONS_H
#define HOST_OPTIONS_H

#include "host/link.h"

#include <stdbool.h>
#include <stdint.h>

enum { OPTIONS_ANY = -1, OPTIONS_FOREVER = -1, OPTIONS_SERVERS = 32 };

struct options {
    const char *command;
    const char *usbip[OPTIONS_SERVERS]; /* HOST[:PORT] each; none: this computer's USB */
    int usbip_count;
    const char *device;  /* SERIAL, VID:PID or PATH; NULL: any */
    int vendor, product; /* of VID:PID; OPTIONS_ANY */
    int alt;             /* OPTIONS_ANY */
    bool has_address;
    uint32_t address, size; /* size 0: not given */
    bool no_verify, no_leave, rewrite, force, quiet, json, json_array, help;
    bool all, dry_run, wait;
    int wait_s;         /* OPTIONS_FOREVER */
    const char *output; /* NULL: none */
    const char *format; /* of pack and unpack; NULL: not given */
    uint32_t family;    /* of a UF2 file; 0: not given */
    char **args;        /* what is left, arg_count of them */
    int arg_count;
};

/* letters: those of the table that the command takes, by their id. 0, or EX_USAGE with a message. */
int options_parse(
    struct options *options, const char *command, const char *letters, int argc, char **argv);

/* Prints the options of these letters, one a line. */
void options_help(const char *letters);

/* Calls visit with every option of these letters, in the table's order. short_form is 0 if there is none,
 * argument NULL if it takes none. */
typedef void options_visit(
    void *context, char short_form, const char *name, const char *argument, const char *help);
void options_each(const char *letters, options_visit *visit, void *context);

/* "0x08000000"; false if it is not an address. */
bool options_address(const char *text, uint32_t *addr);

/* Whether a device may be the one that --device names, as far as can be said without looking into it:
 * a serial number is known only later. */
bool options_may_mean(const struct options *options, const struct link_device *device);
/* The same when the serial number is known. */
bool options_mean(
    const struct options *options, const struct link_device *device, const char *serial);

#endif
