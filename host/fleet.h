/* SPDX-License-Identifier: MIT */
/*
 * Jobs for boards that are plugged in: one loop and no thread lets all of them talk, each over a link of
 * its own, until every job is at its end.
 */
#ifndef HOST_FLEET_H
#define HOST_FLEET_H

#include "host/caboose.h"
#include "host/link.h"

enum fleet_activity { FLEET_ASKING, FLEET_TRANSFER, FLEET_WAIT, FLEET_SEARCH, FLEET_ENDED };

struct fleet_member {
    struct link *link; /* with its device open */
    struct link_device where;
    const char *server; /* NULL: this computer */
    struct device
        board; /* what it said of itself when it was found; dfu is false: nothing is known */
    struct caboose_job *job;

    enum fleet_activity activity;
    uint64_t left_us;   /* WAIT, SEARCH: until it goes on */
    uint64_t search_us; /* SEARCH: until it is given up */
};

struct fleet {
    struct fleet_member *members;
    size_t count;
    unsigned
        patience_ms; /* how long a board that went away is looked for; 0: as long as the job says */
    /* After each thing that a member did. */
    void (*seen)(void *context, size_t member);
    void *context;
    /* Lets time pass while nobody waits for USB; NULL: nanosleep(). For tests, whose time is their own. */
    void (*sleep_us)(uint64_t us);
};

/* Runs until all jobs are at their end; their reports tell what came of them. */
void fleet_run(struct fleet *fleet);

#endif
