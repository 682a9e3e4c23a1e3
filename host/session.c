/* SPDX-License-Identifier: MIT */
#include "host/session.h"
#include "host/json.h"
#include "host/progress.h"
#include "host/report.h"
#include "host/udev.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

enum { WAIT_STEP_MS = 200 };

static void sleep_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left))
        ;
}

static struct link *make_link(const char *server)
{
    return server ? link_usbip(server) : link_libusb();
}

/* --- looking ------------------------------------------------------------------------------------- */

/* Where boards are looked for, a link each: servers, or this computer. */
struct places {
    struct link *links[OPTIONS_SERVERS];
    const char *servers[OPTIONS_SERVERS];
    int count;
};

static struct places make_places(const struct options *o)
{
    struct places p = {.count = o->usbip_count ? o->usbip_count : 1};
    for (int i = 0; i < p.count; i++) {
        p.servers[i] = o->usbip_count ? o->usbip[i] : NULL;
        p.links[i] = make_link(p.servers[i]);
    }
    return p;
}

static void free_places(struct places *p)
{
    for (int i = 0; i < p->count; i++)
        link_free(p->links[i]);
    p->count = 0;
}

static int error_of(enum caboose_error error)
{
    return error == CABOOSE_OK ? 0 : error == CABOOSE_DENIED ? TRANSFER_DENIED : TRANSFER_IO;
}

static void inspect(struct link *link, struct session_seen *seen)
{
    const struct caboose_order order = {.verb = CABOOSE_INSPECT};
    struct fleet_member member = {.link = link, .job = caboose_job_new(&order)};
    struct fleet fleet = {.members = &member, .count = 1};
    if (!member.job)
        abort();
    seen->error = link_open(link, &seen->where);
    if (seen->error) {
        snprintf(seen->why, sizeof seen->why, "%s", link_why(link));
    } else {
        fleet_run(&fleet);
        seen->device = caboose_job_report(member.job)->board;
        seen->error = error_of(caboose_job_report(member.job)->error);
    }
    caboose_job_free(member.job);
}

/* Whether it may stay in the list after it was looked at. What cannot be looked at stays, unless somebody
 * else is meant. */
static bool is_meant(const struct options *o, const struct session_seen *s)
{
    if (s->error)
        return !o->device || o->vendor != OPTIONS_ANY || options_mean(o, &s->where, "");
    return s->device.dfu && options_mean(o, &s->where, s->device.serial);
}

/* Appends to *seen, count so far; the new count, or enum transfer_error if there is not even a list. */
static int look_at(
    struct places *p, int place, const struct options *o, struct session_seen **seen, int count)
{
    struct link_device *devices;
    int there = link_list(p->links[place], &devices);
    if (there < 0)
        return there;
    *seen = realloc(*seen, (size_t)(count + there + 1) * sizeof **seen);
    if (!*seen)
        abort();
    for (int i = 0; i < there; i++) {
        struct session_seen *s = &(*seen)[count];
        if (!devices[i].dfu || !options_may_mean(o, &devices[i]))
            continue;
        *s = (struct session_seen){.server = p->servers[place], .where = devices[i]};
        inspect(p->links[place], s);
        count += is_meant(o, s);
    }
    free(devices);
    return count;
}

/* All places. A server that cannot be reached ends it: count is then enum transfer_error, and *why its
 * words. */
static int look(
    struct places *p, const struct options *o, struct session_seen **seen, const char **why)
{
    int count = 0;
    *seen = NULL;
    for (int i = 0; i < p->count && count >= 0; i++) {
        *why = link_why(p->links[i]);
        count = look_at(p, i, o, seen, count);
    }
    return count;
}

int session_look(const struct options *options, struct session_seen **seen)
{
    struct places places = make_places(options);
    const char *why;
    int count = look(&places, options, seen, &why);
    if (count < 0)
        report_error("%s", why);
    free_places(&places);
    return count < 0 ? -EX_UNAVAILABLE : count;
}

/* --- choosing ------------------------------------------------------------------------------------ */

static bool is_usable(const struct session_seen *s)
{
    return !s->error && !s->device.runtime;
}

static int count_usable(const struct session_seen *seen, int count)
{
    int usable = 0;
    for (int i = 0; i < count; i++)
        usable += is_usable(&seen[i]);
    return usable;
}

static int complain_many(const struct session_seen *seen, int count)
{
    report_error("several boards are in DFU mode; choose one with --device, or give --all:");
    for (int i = 0; i < count; i++)
        if (is_usable(&seen[i]))
            fprintf(stderr, "    --device %-20s or --device %-10s %04x:%04x %s\n",
                seen[i].device.serial[0] ? seen[i].device.serial : "(no serial)",
                seen[i].where.path, seen[i].where.vendor, seen[i].where.product,
                seen[i].device.name);
    return EX_USAGE;
}

static int complain_permission(const struct link_device *d)
{
    report_error("no permission to use the board %04x:%04x at %s; install this udev rule and plug "
                 "the board in again:",
        d->vendor, d->product, d->path);
    udev_advise(stderr, d->vendor, d->product);
    return EX_NOPERM;
}

static int complain_seen(const struct session_seen *s)
{
    const struct link_device *d = &s->where;
    if (s->error == TRANSFER_DENIED)
        return complain_permission(d);
    if (!s->error) {
        report_error("the board %04x:%04x at %s runs its application; start its bootloader (button "
                     "or jumper, then reset)",
            d->vendor, d->product, d->path);
        return EX_UNAVAILABLE;
    }
    report_error("cannot use the board %04x:%04x at %s: %s", d->vendor, d->product, d->path,
        s->why[0] ? s->why : "it does not answer; unplug it and plug it in again");
    return EX_IOERR;
}

static int complain_none(const struct options *o)
{
    report_error("no board in DFU mode%s%s%s%s; %s", o->device ? " is " : " found",
        o->device ? o->device : "", o->usbip_count ? " at " : "", o->usbip_count ? o->usbip[0] : "",
        o->device ? "caboose list shows what is there"
                  : "start its bootloader (button or jumper, then reset) and check the cable");
    return EX_UNAVAILABLE;
}

/* --- opening ------------------------------------------------------------------------------------- */

static void add_member(struct fleet *fleet, struct link *link, const struct session_seen *seen)
{
    struct fleet_member *m = &fleet->members[fleet->count++];
    *m = (struct fleet_member){.link = link, .where = seen->where, .server = seen->server};
    memcpy(m->serial, seen->device.serial, sizeof m->serial);
}

/* The board that was looked at last is open still; closing it and opening it again at once is more than
 * some USB/IP servers can do. So a link stays with the last one of its place. */
static struct link *take_link(
    struct places *p, const struct session_seen *seen, int count, int which)
{
    for (int i = which + 1; i < count; i++)
        if (seen[i].server == seen[which].server)
            return make_link(seen[which].server);
    for (int i = 0; i < p->count; i++)
        if (p->servers[i] == seen[which].server && p->links[i]) {
            struct link *link = p->links[i];
            p->links[i] = NULL;
            return link;
        }
    return make_link(seen[which].server);
}

static bool is_last_of_place(const struct session_seen *seen, int count, int which)
{
    for (int i = which + 1; i < count; i++)
        if (seen[i].server == seen[which].server)
            return false;
    return true;
}

/* Makes members of all usable boards. */
static int enlist(
    struct session *session, struct places *places, struct session_seen *seen, int count)
{
    session->fleet.members = calloc((size_t)count, sizeof *session->fleet.members);
    if (!session->fleet.members)
        abort();
    for (int i = 0; i < count; i++) {
        if (!is_usable(&seen[i]))
            continue;
        struct link *link = take_link(places, seen, count, i);
        add_member(&session->fleet, link, &seen[i]);
        if (!is_last_of_place(seen, count, i))
            seen[i].error = link_open(link, &seen[i].where);
        if (seen[i].error) {
            snprintf(seen[i].why, sizeof seen[i].why, "%s", link_why(link));
            return complain_seen(&seen[i]);
        }
    }
    return 0;
}

/* One attempt; the exit code. Silent about there being no board: waiting could change that. */
static int find(struct session *session, struct places *places, bool silent)
{
    const struct options *o = session->options;
    struct session_seen *seen;
    const char *why;
    int count = look(places, o, &seen, &why), error = 0;
    int usable = count_usable(seen, count);
    if (usable == 1 || (usable > 1 && o->all)) {
        error = enlist(session, places, seen, count);
    } else if (silent && usable == 0) {
        error = EX_UNAVAILABLE;
    } else if (usable > 1) {
        error = complain_many(seen, count);
    } else if (count < 0) {
        report_error("%s", why);
        error = EX_UNAVAILABLE;
    } else {
        error = count ? complain_seen(&seen[0]) : complain_none(o);
    }
    free(seen);
    for (int i = 0; i < places->count && error; i++)
        if (places->links[i])
            link_close(places->links[i]); /* others may want it while we wait */
    return error;
}

static int find_patiently(struct session *session, struct places *places)
{
    const struct options *o = session->options;
    int64_t left = o->wait_s == OPTIONS_FOREVER ? INT64_MAX : (int64_t)o->wait_s * 1000;
    int error = o->wait ? find(session, places, true) : EX_UNAVAILABLE;
    bool told = false;
    for (; o->wait && error == EX_UNAVAILABLE && left > 0; left -= WAIT_STEP_MS) {
        if (!told)
            report_note("waiting for a board in DFU mode");
        told = true;
        sleep_ms(WAIT_STEP_MS);
        error = find(session, places, true);
    }
    return error == EX_UNAVAILABLE ? find(session, places, false) : error;
}

int session_open(struct session *session, const struct options *options)
{
    *session = (struct session){.options = options};
    struct places places = make_places(options);
    int error = find_patiently(session, &places);
    free_places(&places);
    if (error)
        session_close(session);
    return error;
}

void session_close(struct session *session)
{
    for (size_t i = 0; i < session->fleet.count; i++) {
        caboose_job_free(session->fleet.members[i].job);
        link_free(session->fleet.members[i].link);
    }
    free(session->fleet.members);
    session->fleet = (struct fleet){0};
}

/* --- working ------------------------------------------------------------------------------------- */

struct caboose_order session_order(const struct options *o, enum caboose_verb verb)
{
    return (struct caboose_order){.verb = verb,
        .alt = o->alt,
        .has_addr = o->has_address,
        .addr = o->address,
        .size = o->size,
        .no_verify = o->no_verify,
        .no_leave = o->no_leave,
        .rewrite = o->rewrite,
        .force = o->force,
        .dry_run = o->dry_run,
        .resume = o->wait};
}

static int exit_code(enum caboose_error error)
{
    switch (error) {
    case CABOOSE_OK:
        return 0;
    case CABOOSE_GONE:
    case CABOOSE_REFUSED:
    case CABOOSE_MISMATCH:
        return EX_IOERR;
    case CABOOSE_DENIED:
        return EX_NOPERM;
    case CABOOSE_PROTOCOL:
        return EX_PROTOCOL;
    case CABOOSE_UNFIT:
        return EX_DATAERR;
    case CABOOSE_MEMORY:
        return EX_OSERR;
    case CABOOSE_NOT_DFU:
        return EX_UNAVAILABLE;
    }
    return EX_SOFTWARE;
}

/* What to know about flash after a failure. */
static void tell_state(const struct caboose_report *r)
{
    if (r->phase == CABOOSE_LEAVING && r->plan.bytes[STEP_WRITE])
        report_note("The file was written%s.", r->plan.bytes[STEP_VERIFY] ? " and verified" : "");
    else if (r->changed)
        report_note("What was on the board may be incomplete now: flash again before using it.");
}

static int tell_failure(const struct session *session, const struct fleet_member *m)
{
    const struct caboose_report *r = caboose_job_report(m->job);
    bool named = r->error == CABOOSE_UNFIT && session->file;
    if (r->error == CABOOSE_DENIED)
        return complain_permission(&m->where);
    report_error("%s%s%s", named ? session->file : "", named ? ": " : "", r->message);
    tell_state(r);
    return exit_code(r->error);
}

static int tell_one(const struct session *session, session_success *success)
{
    const struct fleet_member *m = &session->fleet.members[0];
    const struct caboose_report *r = caboose_job_report(m->job);
    char text[512];
    if (r->error)
        return tell_failure(session, m);
    success(r, text, sizeof text);
    report_result("%s", text);
    return 0;
}

/* A line each, then how many. */
static int tell_many(const struct session *session, session_success *success)
{
    size_t good = 0, count = session->fleet.count;
    int code = 0;
    for (size_t i = 0; i < count; i++) {
        const struct fleet_member *m = &session->fleet.members[i];
        const struct caboose_report *r = caboose_job_report(m->job);
        char text[512];
        good += r->error == CABOOSE_OK;
        if (!code)
            code = exit_code(r->error);
        if (r->error)
            snprintf(text, sizeof text, "%s", r->message);
        else
            success(r, text, sizeof text);
        report_row(!r->error, m->server ? m->server : "", m->where.path, m->serial, text);
    }
    report_result("%zu of %zu boards done%s", good, count, good < count ? ", the rest failed" : "");
    return code;
}

static int tell_json(const struct session *session, session_success *success)
{
    int code = 0;
    for (size_t i = session->fleet.count; i-- > 0;) {
        int one = exit_code(caboose_job_report(session->fleet.members[i].job)->error);
        code = one ? one : code;
    }
    json_print_results(&session->fleet, success, exit_code);
    return code;
}

static void give_order(struct session *session, const struct caboose_order *order)
{
    struct fleet *fleet = &session->fleet;
    const struct options *o = session->options;
    session->file = order->image ? o->args[0] : NULL;
    for (size_t i = 0; i < fleet->count; i++) {
        fleet->members[i].activity = FLEET_ASKING;
        fleet->members[i].job = caboose_job_new(order);
        if (!fleet->members[i].job)
            abort();
    }
    fleet->patience_ms = o->wait_s > 0 && o->wait_s < 1000000 ? (unsigned)o->wait_s * 1000 : 0;
}

int session_run(
    struct session *session, const struct caboose_order *order, session_success *success)
{
    give_order(session, order);
    progress_run(&session->fleet);
    if (session->options->json)
        return tell_json(session, success);
    return session->fleet.count == 1 ? tell_one(session, success) : tell_many(session, success);
}

int session_run_silently(struct session *session, const struct caboose_order *order)
{
    give_order(session, order);
    fleet_run(&session->fleet);
    const struct fleet_member *m = &session->fleet.members[0];
    enum caboose_error error = caboose_job_report(m->job)->error;
    return error && error != CABOOSE_UNFIT ? tell_failure(session, m) : 0;
}

int session_do(
    const struct options *options, const struct caboose_order *order, session_success *success)
{
    struct session session;
    int error = session_open(&session, options);
    if (error)
        return error;
    error = session_run(&session, order, success);
    session_close(&session);
    return error;
}
