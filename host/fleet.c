/* SPDX-License-Identifier: MIT */
#include "host/fleet.h"
#include "host/report.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEARCH_STEP_MS = 200 };

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void sleep_us(uint64_t us)
{
    struct timespec left = {
        .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    while (nanosleep(&left, &left))
        ;
}

/* --- one member ---------------------------------------------------------------------------------- */

/* Looks whether the board is back where it was plugged in, and opens it: 0 or enum transfer_error. */
static int search(struct fleet_member *m)
{
    struct link_device *devices;
    int count = link_list(m->link, &devices), error = TRANSFER_GONE;
    for (int i = 0; i < count && error; i++)
        if (devices[i].dfu && strcmp(devices[i].path, m->where.path) == 0)
            error = link_open(m->link, &devices[i]);
    free(devices);
    return error;
}

static void answer(struct fleet_member *m, int result)
{
    m->activity = FLEET_ASKING;
    caboose_job_answer(m->job, result);
}

static void begin_search(const struct fleet *fleet, struct fleet_member *m, unsigned ms)
{
    link_close(m->link);
    m->activity = FLEET_SEARCH;
    m->left_us = 0;
    m->search_us = (uint64_t)(fleet->patience_ms ? fleet->patience_ms : ms) * 1000;
}

static void begin(const struct fleet *fleet, struct fleet_member *m, const struct caboose_ask *ask)
{
    int error;
    switch (ask->want) {
    case CABOOSE_TRANSFER:
        m->activity = FLEET_TRANSFER;
        error = link_submit(m->link, ask->setup, ask->data, ask->ms);
        if (error)
            answer(m, error);
        return;
    case CABOOSE_WAIT:
        m->activity = FLEET_WAIT;
        m->left_us = (uint64_t)ask->ms * 1000;
        return;
    case CABOOSE_RESET:
        answer(m, link_reset(m->link));
        return;
    case CABOOSE_REOPEN:
        begin_search(fleet, m, ask->ms);
        return;
    case CABOOSE_DONE:
    case CABOOSE_FAILED:
        m->activity = FLEET_ENDED;
        return;
    }
}

static void go_on_searching(struct fleet_member *m)
{
    int error = search(m);
    if (error == 0 || m->search_us == 0)
        answer(m, error);
    m->left_us = (uint64_t)SEARCH_STEP_MS * 1000;
    if (m->left_us > m->search_us)
        m->left_us = m->search_us;
}

/* Goes on as far as it can without waiting. */
static void advance(const struct fleet *fleet, struct fleet_member *m)
{
    int result;
    switch (m->activity) {
    case FLEET_ASKING:
        begin(fleet, m, caboose_job_next(m->job));
        return;
    case FLEET_TRANSFER:
        if (link_over(m->link, &result))
            answer(m, result);
        return;
    case FLEET_WAIT:
        if (m->left_us == 0)
            answer(m, 0);
        return;
    case FLEET_SEARCH:
        if (m->left_us == 0)
            go_on_searching(m);
        return;
    case FLEET_ENDED:
        return;
    }
}

static bool is_waiting(const struct fleet_member *m)
{
    return (m->activity == FLEET_WAIT || m->activity == FLEET_SEARCH) && m->left_us;
}

/* --- all of them ---------------------------------------------------------------------------------- */

/* Every member as far as it goes. False: all have ended. */
static bool advance_all(const struct fleet *fleet)
{
    bool any = false;
    for (size_t i = 0; i < fleet->count; i++) {
        struct fleet_member *m = &fleet->members[i];
        enum fleet_activity before;
        do {
            before = m->activity;
            advance(fleet, m);
            if (fleet->seen)
                fleet->seen(fleet->context, i);
        } while (m->activity != FLEET_ENDED && (m->activity != before || before == FLEET_ASKING) &&
                 !is_waiting(m));
        any |= m->activity != FLEET_ENDED;
    }
    return any;
}

static void pass(const struct fleet *fleet, uint64_t us)
{
    for (size_t i = 0; i < fleet->count; i++) {
        struct fleet_member *m = &fleet->members[i];
        if (m->activity != FLEET_WAIT && m->activity != FLEET_SEARCH)
            continue;
        m->left_us -= us < m->left_us ? us : m->left_us;
        m->search_us -= us < m->search_us ? us : m->search_us;
    }
}

/* The shortest wait; UINT64_MAX if nobody waits. */
static uint64_t shortest(const struct fleet *fleet)
{
    uint64_t us = UINT64_MAX;
    for (size_t i = 0; i < fleet->count; i++)
        if (is_waiting(&fleet->members[i]) && fleet->members[i].left_us < us)
            us = fleet->members[i].left_us;
    return us;
}

/* Until the first transfer may be over or the first wait is. Waits alone are slept exactly, so that two
 * runs in simulated time are the same. */
static void pause_all(const struct fleet *fleet, struct pollfd *fds)
{
    uint64_t us = shortest(fleet), begun = now_us();
    int count = 0, ms = us / 1000 < INT_MAX ? (int)((us + 999) / 1000) : -1;
    bool transfers = false;
    for (size_t i = 0; i < fleet->count; i++) {
        if (fleet->members[i].activity != FLEET_TRANSFER)
            continue;
        transfers = true;
        count += link_descriptors(fleet->members[i].link, fds + count, LINK_DESCRIPTORS, &ms);
    }
    if (transfers) {
        poll(fds, (nfds_t)count, ms);
        pass(fleet, now_us() - begun);
    } else if (us != UINT64_MAX) {
        (fleet->sleep_us ? fleet->sleep_us : sleep_us)(us);
        pass(fleet, us);
    }
}

void fleet_run(struct fleet *fleet)
{
    struct pollfd *fds = calloc(fleet->count * LINK_DESCRIPTORS + 1, sizeof *fds);
    if (!fds)
        report_no_memory();
    while (advance_all(fleet))
        pause_all(fleet, fds);
    free(fds);
}
