/* SPDX-License-Identifier: MIT */
#include "host/session.h"
#include "host/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

enum { WAIT_STEP_MS = 200 };

/* --- the loop ------------------------------------------------------------------------------------ */

static void sleep_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left))
        ;
}

static const char *const verbs[STEP_KINDS] = {
    [STEP_ERASE] = "erasing",
    [STEP_WRITE] = "writing",
    [STEP_VERIFY] = "verifying",
    [STEP_READ] = "reading",
};

struct shown { /* what the reader has seen */
    bool any;
    enum step_kind phase;
    uint64_t total;
};

static void show_end(const struct shown *shown)
{
    if (shown->any && verbs[shown->phase])
        report_progress(verbs[shown->phase], shown->total, shown->total);
}

/* The last step of a phase is seen to be done only when the next phase begins. */
static void show(struct shown *shown, const struct engine *e)
{
    if (e->total == 0 && e->phase != STEP_LEAVE)
        return;
    if (shown->any && shown->phase != e->phase)
        show_end(shown);
    *shown = (struct shown){true, e->phase, e->total};
    if (verbs[e->phase] && e->done < e->total)
        report_progress(verbs[e->phase], e->done, e->total);
}

/* Lets the engine talk until it is done; what it failed of, or ENGINE_OK. */
static enum engine_failure drive(struct link *link, struct engine *e, bool visible)
{
    struct shown shown = {0};
    for (;;) {
        const struct engine_ask *ask = engine_next(e);
        if (visible)
            show(&shown, e);
        switch (ask->kind) {
        case ENGINE_TRANSFER:
            engine_result(e, link_control(link, ask->setup, ask->data, ask->ms));
            break;
        case ENGINE_WAIT:
            sleep_ms(ask->ms);
            engine_result(e, 0);
            break;
        case ENGINE_RESET:
            engine_result(e, link_reset(link));
            break;
        case ENGINE_DONE:
            show_end(&shown);
            return ENGINE_OK;
        case ENGINE_FAILED:
            report_interrupted();
            return e->failure;
        }
    }
}

/* --- finding the board --------------------------------------------------------------------------- */

static bool may_match(const struct options *o, const struct link_device *d)
{
    if (o->vendor != OPTIONS_ANY && (o->vendor != d->vendor || o->product != d->product))
        return false;
    return d->dfu && (!o->path || strcmp(o->path, d->path) == 0);
}

static struct link *make_link(const struct options *o)
{
    return o->usbip ? link_usbip(o->usbip) : link_libusb();
}

static int inspect(struct link *link, struct session_seen *seen)
{
    static struct engine engine;
    int error = link_open(link, &seen->where);
    if (error)
        return error;
    engine_inspect(&engine, &seen->device);
    enum engine_failure failure = drive(link, &engine, false);
    return failure == ENGINE_OK ? 0 : failure == ENGINE_DENIED ? TRANSFER_DENIED : TRANSFER_IO;
}

static void advise_permission(const struct link_device *d)
{
    report_error("no permission to use the board %04x:%04x at %s; install this udev rule and plug "
                 "the board in "
                 "again:",
        d->vendor, d->product, d->path);
    fprintf(stderr,
        "    echo 'SUBSYSTEM==\"usb\", ATTRS{idVendor}==\"%04x\", ATTRS{idProduct}==\"%04x\", "
        "MODE=\"0660\", "
        "TAG+=\"uaccess\"' | sudo tee /etc/udev/rules.d/70-caboose.rules\n"
        "    sudo udevadm control --reload\n",
        d->vendor, d->product);
}

/* Fills *seen; count, or enum transfer_error if not even a list could be had. */
static int look(struct session *session, const struct options *o, struct session_seen **seen)
{
    struct link *link = session->link;
    struct link_device *devices;
    int count = link_list(link, &devices), matches = 0;
    *seen = NULL;
    if (count < 0)
        return count;
    *seen = calloc((size_t)count + 1, sizeof **seen);
    if (!*seen)
        abort();
    for (int i = 0; i < count; i++) {
        struct session_seen *s = &(*seen)[matches];
        if (!may_match(o, &devices[i]))
            continue;
        *s = (struct session_seen){.where = devices[i]};
        s->error = inspect(link, s);
        session->opened = (struct link_device){0};
        if (!s->error)
            session->opened = s->where;
        if (!s->error && o->serial && strcmp(o->serial, s->device.serial))
            continue;
        if (!s->error && !s->device.dfu)
            continue;
        matches++;
    }
    free(devices);
    return matches;
}

int session_look(const struct options *options, struct session_seen **seen)
{
    struct session session = {.link = make_link(options)};
    int count = look(&session, options, seen);
    if (count < 0)
        report_error("%s", link_why(session.link));
    session_close(&session);
    return count < 0 ? -EX_UNAVAILABLE : count;
}

static bool is_usable(const struct session_seen *s)
{
    return !s->error && !s->device.runtime;
}

static int count_usable(
    const struct session_seen *seen, int count, const struct session_seen **which)
{
    int usable = 0;
    for (int i = 0; i < count; i++)
        if (is_usable(&seen[i])) {
            *which = &seen[i];
            usable++;
        }
    return usable;
}

static int complain_many(const struct session_seen *seen, int count)
{
    report_error("several boards are in DFU mode; choose one with --serial or --path:");
    for (int i = 0; i < count; i++)
        if (is_usable(&seen[i]))
            fprintf(stderr, "    %04x:%04x  --path %s  --serial %s\n", seen[i].where.vendor,
                seen[i].where.product, seen[i].where.path, seen[i].device.serial);
    return EX_USAGE;
}

static int complain_seen(const struct session_seen *s, const struct link *link)
{
    if (s->error == TRANSFER_DENIED) {
        advise_permission(&s->where);
        return EX_NOPERM;
    }
    if (!s->error) {
        report_error("the board %04x:%04x at %s runs its application; start its bootloader (button "
                     "or jumper, then "
                     "reset)",
            s->where.vendor, s->where.product, s->where.path);
        return EX_UNAVAILABLE;
    }
    report_error("cannot use the board %04x:%04x at %s: %s", s->where.vendor, s->where.product,
        s->where.path,
        link_why(link)[0] ? link_why(link) : "it does not answer; unplug it and plug it in again");
    return EX_IOERR;
}

static int complain_none(const struct options *o)
{
    bool picky = o->vendor != OPTIONS_ANY || o->serial || o->path;
    report_error("no board in DFU mode%s%s%s; %s",
        picky ? " matches --device, --serial or --path" : " found", o->usbip ? " at " : "",
        o->usbip ? o->usbip : "",
        picky ? "caboose list shows what is there"
              : "start its bootloader (button or jumper, then reset) and check the cable");
    return EX_UNAVAILABLE;
}

/* One attempt; the exit code, and whether waiting could change it. */
static int find(struct session *session, const struct options *o, bool silent)
{
    struct session_seen *seen;
    const struct session_seen *which = NULL;
    int count = look(session, o, &seen);
    int usable = count_usable(seen, count, &which), error = 0;
    if (usable == 1) {
        session->where = which->where;
        session->device = which->device;
    } else if (silent && usable == 0) {
        error = EX_UNAVAILABLE;
    } else if (usable > 1) {
        error = complain_many(seen, count);
    } else if (count < 0) {
        report_error("%s", link_why(session->link));
        error = EX_UNAVAILABLE;
    } else {
        error = count ? complain_seen(&seen[0], session->link) : complain_none(o);
    }
    free(seen);
    if (error)
        link_close(session->link); /* others may want it while we wait */
    return error;
}

static int find_patiently(struct session *session, const struct options *o)
{
    int64_t left = o->wait_s == OPTIONS_FOREVER ? INT64_MAX : (int64_t)o->wait_s * 1000;
    int error = o->wait ? find(session, o, true) : EX_UNAVAILABLE;
    bool told = false;
    for (; o->wait && error == EX_UNAVAILABLE && left > 0; left -= WAIT_STEP_MS) {
        if (!told)
            report_note("waiting for a board in DFU mode");
        told = true;
        sleep_ms(WAIT_STEP_MS);
        error = find(session, o, true);
    }
    return error == EX_UNAVAILABLE ? find(session, o, false) : error;
}

/* The board that was looked at last is open still; closing it and opening it again at once is more than
 * some USB/IP servers can do. */
static int reopen(struct session *session)
{
    if (strcmp(session->opened.path, session->where.path) == 0)
        return 0;
    return link_open(session->link, &session->where);
}

int session_open(struct session *session, const struct options *options)
{
    *session = (struct session){0};
    session->link = make_link(options);
    int error = find_patiently(session, options);
    if (!error && !device_is_dfuse(&session->device)) {
        report_error("the board %04x:%04x speaks plain DFU, without addresses; caboose needs DfuSe",
            session->where.vendor, session->where.product);
        error = EX_PROTOCOL;
    }
    int refused = error ? 0 : reopen(session);
    if (refused) {
        struct session_seen seen = {.where = session->where, .error = refused};
        error = complain_seen(&seen, session->link);
    }
    if (error)
        session_close(session);
    return error;
}

void session_close(struct session *session)
{
    link_free(session->link);
    session->link = NULL;
}

int session_run(struct session *session, struct engine *engine, const struct plan *plan)
{
    engine_run(engine, &session->device, plan);
    switch (drive(session->link, engine, true)) {
    case ENGINE_OK:
        return 0;
    case ENGINE_DENIED:
        advise_permission(&session->where);
        return EX_NOPERM;
    case ENGINE_PROTOCOL:
        report_error("%s", engine->message);
        return EX_PROTOCOL;
    case ENGINE_LINK:
    case ENGINE_REFUSED:
    case ENGINE_MISMATCH:
        break;
    }
    report_error("%s", engine->message);
    return EX_IOERR;
}
