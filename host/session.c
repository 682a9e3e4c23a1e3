/* SPDX-License-Identifier: MIT */
#include "host/session.h"
#include "host/detach.h"
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
    char open[OPTIONS_SERVERS]
             [sizeof(((struct link_device *)0)->path)]; /* the device that is open */
    int count;
    struct session_seen
        *called;      /* those whose applications were asked to give way, called_count: */
    int called_count; /* only they are meant when they come back; 0: whom the options mean */
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
    free(p->called);
    *p = (struct places){0};
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
        report_no_memory();
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

/* A board that comes back as its bootloader is where it was, or has the serial number that it had; not all
 * have the same in both. */
static bool was_called(const struct places *p, const struct session_seen *s)
{
    for (int i = 0; i < p->called_count; i++) {
        const struct session_seen *c = &p->called[i];
        bool same = strcmp(c->device.serial, s->device.serial) == 0 && c->device.serial[0];
        if (c->server == s->server && (same || strcmp(c->where.path, s->where.path) == 0))
            return s->device.dfu && !s->device.runtime;
    }
    return false;
}

/* Whether it may stay in the list after it was looked at. What cannot be looked at stays, unless somebody
 * else is meant. */
static bool is_meant(const struct places *p, const struct options *o, const struct session_seen *s)
{
    if (p->called_count)
        return !s->error && was_called(p, s);
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
        report_no_memory();
    for (int i = 0; i < there; i++) {
        struct session_seen *s = &(*seen)[count];
        if (!devices[i].dfu || !(p->called_count || options_may_mean(o, &devices[i])))
            continue;
        *s = (struct session_seen){.server = p->servers[place], .where = devices[i]};
        inspect(p->links[place], s);
        memcpy(p->open[place], s->error ? "" : s->where.path, sizeof p->open[place]);
        count += is_meant(p, o, s);
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
    report_error("no permission to use the board %04x:%04x at %s; install a udev rule and plug the "
                 "board in again (caboose udev prints one for all boards, this is for yours)",
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

static int complain_lost(void)
{
    report_error(
        "the program was asked to give way to the bootloader, and after %d s there is none; "
        "start it by hand (button or jumper, then reset)",
        DETACH_S);
    return EX_UNAVAILABLE;
}

/* --- opening ------------------------------------------------------------------------------------- */

static void add_member(struct fleet *fleet, struct link *link, const struct session_seen *seen)
{
    struct fleet_member *m = &fleet->members[fleet->count++];
    *m = (struct fleet_member){.link = link, .where = seen->where, .server = seen->server};
    m->board = seen->device;
}

/* A link that has the board open: 0 or enum transfer_error. The board that was looked at last is open still
 * (it need not be one of those that are meant); closing it and opening it again at once is more than some
 * USB/IP servers can do. */
static int take_link(struct places *p, const struct session_seen *seen, struct link **link)
{
    for (int i = 0; i < p->count; i++)
        if (p->servers[i] == seen->server && p->links[i] &&
            strcmp(p->open[i], seen->where.path) == 0) {
            *link = p->links[i];
            p->links[i] = NULL;
            return 0;
        }
    *link = make_link(seen->server);
    return link_open(*link, &seen->where);
}

/* Makes members of all usable boards. */
static int enlist(
    struct session *session, struct places *places, struct session_seen *seen, int count)
{
    session->fleet.members = calloc((size_t)count, sizeof *session->fleet.members);
    if (!session->fleet.members)
        report_no_memory();
    for (int i = 0; i < count; i++) {
        if (!is_usable(&seen[i]))
            continue;
        struct link *link;
        seen[i].error = take_link(places, &seen[i], &link);
        add_member(&session->fleet, link, &seen[i]);
        if (seen[i].error) {
            snprintf(seen[i].why, sizeof seen[i].why, "%s", link_why(link));
            return complain_seen(&seen[i]);
        }
    }
    return 0;
}

/* --- calling bootloaders -------------------------------------------------------------------------- */

/* Whoever only wants to look at a board, or to start its application, does not end that. */
static bool may_interrupt(const struct options *o)
{
    return !o->dry_run && strcmp(o->command, "info") && strcmp(o->command, "leave");
}

static bool gives_way(const struct session_seen *s)
{
    return !s->error && s->device.runtime;
}

/* As dfu-util does: the one that is meant, or the only device with anything of DFU that there is. */
static bool is_to_be_called(const struct options *o, const struct session_seen *seen, int count)
{
    int applications = 0;
    for (int i = 0; i < count; i++)
        applications += gives_way(&seen[i]);
    return may_interrupt(o) && (o->all ? applications > 0 : applications == 1 && count == 1);
}

/* Asks the application of a board for its bootloader: 0 or enum transfer_error. */
static int call(struct places *p, const struct session_seen *s)
{
    struct link *link;
    int error = take_link(p, s, &link);
    if (!error)
        error = detach(link, s->device.interface, s->device.attributes);
    link_close(link);
    for (int i = 0; i < p->count; i++)
        if (p->servers[i] == s->server && !p->links[i]) {
            p->links[i] = link;
            p->open[i][0] = '\0';
            return error;
        }
    link_free(link);
    return error;
}

/* Asks those that run their applications, and waits until they are back as bootloaders, all of them or as long
 * as that may take. *seen are then those that are, the count as of look(). */
static int call_all(struct places *p, const struct options *o, struct session_seen **seen,
    int count, const char **why)
{
    for (int i = 0; i < count; i++)
        if (gives_way(&(*seen)[i]) && call(p, &(*seen)[i]) == 0)
            (*seen)[p->called_count++] = (*seen)[i];
    p->called = *seen;
    report_note("asked the program on the board%s to give way to the bootloader",
        p->called_count == 1 ? "" : "s");
    int back = 0, ms = 0;
    for (*seen = NULL; back != p->called_count && ms < DETACH_S * 1000; ms += DETACH_STEP_MS) {
        sleep_ms(DETACH_STEP_MS);
        free(*seen);
        back = look(p, o, seen, why);
    }
    free(p->called);
    p->called = NULL;
    p->called_count = 0;
    return back;
}

/* One attempt; the exit code. Silent about there being no board: waiting could change that. */
static int find(struct session *session, struct places *places, bool silent)
{
    const struct options *o = session->options;
    struct session_seen *seen;
    const char *why = "";
    int count = look(places, o, &seen, &why), error = 0;
    bool called = count_usable(seen, count) == 0 && is_to_be_called(o, seen, count);
    if (called)
        count = call_all(places, o, &seen, count, &why);
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
        error = called ? complain_lost() : count ? complain_seen(&seen[0]) : complain_none(o);
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
        report_row(!r->error, m->server ? m->server : "", m->where.path, m->board.serial, text);
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
        struct caboose_order one = *order;
        one.board = fleet->members[i].board.dfu ? &fleet->members[i].board : NULL;
        fleet->members[i].job = caboose_job_new(&one);
        if (!fleet->members[i].job)
            report_no_memory();
    }
    fleet->patience_ms = o->wait_s > 0 && o->wait_s < 1000000 ? (unsigned)o->wait_s * 1000 : 0;
}

void session_work(struct session *session, const struct caboose_order *order)
{
    give_order(session, order);
    progress_run(&session->fleet);
}

int session_tell(const struct session *session, session_success *success)
{
    if (session->options->json)
        return tell_json(session, success);
    return session->fleet.count == 1 ? tell_one(session, success) : tell_many(session, success);
}

int session_run(
    struct session *session, const struct caboose_order *order, session_success *success)
{
    session_work(session, order);
    return session_tell(session, success);
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
