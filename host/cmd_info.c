/* SPDX-License-Identifier: MIT */
#include "core/dfu.h"
#include "host/cmd.h"
#include "host/draw.h"
#include "host/json.h"
#include "host/session.h"

#include <stdio.h>
#include <stdlib.h>

static void print_state(const struct caboose_report *r)
{
    if (r->found)
        printf("state           %s%s\n", caboose_state_name(r->found_state),
            r->found_status ? ", with an error that will be cleared" : "");
    printf("protection      %s\n", r->unreadable
                                       ? "the memory cannot be read; is the read protection on?"
                                   : r->has_program ? "none against reading"
                                                    : "not known");
}

static void print_program(const struct caboose_report *r)
{
    if (r->error)
        printf("program         %s\n", r->message);
    else if (r->has_program)
        printf("program         at 0x%08x, stack from 0x%08x down, starts at 0x%08x\n", r->addr,
            r->stack, r->entry & ~1u);
}

static void print_info(const struct fleet_member *m, const struct caboose_report *r)
{
    const struct device *d = &r->board;
    printf("board           %04x:%04x version %04x at %s\n", d->vendor, d->product, d->version,
        m->where.path);
    printf("name            %s%s%s\n", d->manufacturer, d->manufacturer[0] ? ", " : "", d->name);
    printf("serial          %s\n", d->serial);
    printf("DFU             version %04x%s, transfers of %u bytes, %s, %s\n", d->dfu_version,
        device_is_dfuse(d) ? " (DfuSe)" : "", d->transfer_size,
        d->attributes & DFU_CAN_DNLOAD ? "can be written" : "cannot be written",
        d->attributes & DFU_CAN_UPLOAD ? "can be read" : "cannot be read");
    print_state(r);
    print_program(r);
    draw_memory(d);
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
    if (!error && options->json)
        json_print_info(&session.fleet.members[0]);
    else if (!error)
        print_info(&session.fleet.members[0], caboose_job_report(session.fleet.members[0].job));
    session_close(&session);
    return error;
}
