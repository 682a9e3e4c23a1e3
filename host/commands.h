/* SPDX-License-Identifier: MIT */
/* The commands, a row each: what main() runs, what help shows and what completion knows. */
#ifndef HOST_COMMANDS_H
#define HOST_COMMANDS_H

#include "host/options.h"

#include <stddef.h>

struct command {
    const char *name;
    int (*run)(const struct options *options);
    const char *arguments;
    int least, most;     /* how many arguments */
    const char *letters; /* its options, see options.c */
    const char *summary;
};

extern const struct command commands[];
extern const size_t command_count;

#endif
