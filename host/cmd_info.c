/* SPDX-License-Identifier: MIT */
#include "core/dfu.h"
#include "host/cmd.h"
#include "host/draw.h"
#include "host/json.h"
#include "host/protection.h"
#include "host/report.h"
#include "host/session.h"

#include <stdio.h>
#include <stdlib.h>

enum { INDENT = 16 };

static void print_state(const struct caboose_report *r)
{
    if (r->found)
        printf("state           %s%s\n", caboose_state_name(r->found_state),
            r->found_status ? ", with an error that will be cleared" : "");
}

/* What its option bytes say, where it shows them; else what could be seen. */
static void describe_protection(
    const struct caboose_report *r, const struct protection *protection, char *text, size_t size)
{
    if (protection)
        protection_tell(protection, text, size);
    else if (r->unreadable && r->status == DFU_ERR_VENDOR)
        snprintf(text, size,
            "reading is not allowed (errVENDOR; caboose unprotect changes that, and erases all)");
    else if (r->unreadable)
        snprintf(text, size, "the memory cannot be read, and the board does not say why");
    else if (r->has_program)
        snprintf(text, size, "reading is allowed; of writing the board does not tell");
    else
        snprintf(text, size, "not known");
}

static void print_program(const struct caboose_report *r)
{
    char text[128];
    snprintf(text, sizeof text, "at 0x%08x, stack from 0x%08x down, starts at 0x%08x", r->addr,
        r->stack, r->entry & ~1u);
    if (r->error || r->has_program)
        draw_text("program", INDENT, r->error ? r->message : text);
}

static void print_info(const struct fleet_member *m, const struct caboose_report *r,
    const struct protection *protection)
{
    const struct device *d = &r->board;
    char text[1024];
    printf("board           %04x:%04x version %04x at %s\n", d->vendor, d->product, d->version,
        m->where.path);
    printf("name            %s%s%s\n", d->manufacturer, d->manufacturer[0] ? ", " : "", d->name);
    printf("serial          %s\n", d->serial);
    snprintf(text, sizeof text, "version %04x%s, transfers of %u bytes, %s, %s", d->dfu_version,
        device_is_dfuse(d) ? " (DfuSe)" : "", d->transfer_size,
        d->attributes & DFU_CAN_DNLOAD ? "can be written" : "cannot be written",
        d->attributes & DFU_CAN_UPLOAD ? "can be read" : "cannot be read");
    draw_text("DFU", INDENT, text);
    print_state(r);
    describe_protection(r, protection, text, sizeof text);
    draw_text("protection", INDENT, text);
    print_program(r);
    draw_memory(d);
}

/* Of the board that was just looked at; NULL if it does not show its option bytes, or not now. */
static const struct protection *read_protection(
    struct session *session, const struct device *device, struct protection *protection)
{
    struct caboose_order order = session_order(session->options, CABOOSE_READ);
    order.has_addr = true;
    order.alt = PLAN_ANY_ALT;
    order.size = PROTECTION_BYTES;
    if (!protection_find(device, &order.addr))
        return NULL;
    struct fleet_member again = session->fleet.members[0];
    struct fleet fleet = {.members = &again, .count = 1};
    again.activity = FLEET_ASKING;
    again.job = caboose_job_new(&order);
    if (!again.job)
        report_no_memory();
    fleet_run(&fleet);
    const struct caboose_report *r = caboose_job_report(again.job);
    bool read = !r->error && r->size == PROTECTION_BYTES;
    if (read)
        protection_decode(protection, device, order.addr, r->data);
    caboose_job_free(again.job);
    return read ? protection : NULL;
}

static void show(struct session *session)
{
    struct protection room;
    const struct fleet_member *m = &session->fleet.members[0];
    const struct caboose_report *r = caboose_job_report(m->job);
    const struct protection *protection = read_protection(session, &r->board, &room);
    if (session->options->json)
        json_print_info(m, protection);
    else
        print_info(m, r, protection);
}

/* A leave that is only planned looks at everything that there is to know: at the state, and at the program
 * that would be started. */
int cmd_info(const struct options *options)
{
    struct session session;
    struct caboose_order order = session_order(options, CABOOSE_LEAVE);
    order.dry_run = true;
    order.force = false;
    int error = session_open(&session, options);
    if (error)
        return error;
    error = session_run_silently(&session, &order);
    if (!error)
        show(&session);
    session_close(&session);
    return error;
}
