/* SPDX-License-Identifier: MIT */
/*
 * The command line: one table of options, of which each command names those that it takes.
 */
#ifndef HOST_OPTIONS_H
#define HOST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum { OPTIONS_ANY = -1, OPTIONS_FOREVER = -1 };

struct options {
    const char *usbip;         /* HOST[:PORT]; NULL: this computer's USB */
    int vendor, product;       /* OPTIONS_ANY */
    const char *serial, *path; /* NULL: any */
    int alt;                   /* OPTIONS_ANY */
    bool has_address;
    uint32_t address, size; /* size 0: not given */
    bool no_verify, no_leave, force, quiet, json, help;
    bool wait;
    int wait_s;         /* OPTIONS_FOREVER */
    const char *output; /* NULL: none */
    char **args;        /* what is left, arg_count of them */
    int arg_count;
};

/* letters: those of the table that the command takes, by their id. 0, or EX_USAGE with a message. */
int options_parse(
    struct options *options, const char *command, const char *letters, int argc, char **argv);

/* Prints the options of these letters, one a line. */
void options_help(const char *letters);

/* "0x08000000"; false if it is not an address. */
bool options_address(const char *text, uint32_t *addr);

#endif
