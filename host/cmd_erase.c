/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/report.h"
#include "host/session.h"

#include <stdlib.h>
#include <sysexits.h>

static int erase(struct session *session, const struct options *o)
{
    struct plan plan;
    char why[PLAN_ERROR_SIZE];
    if (plan_erase(&plan, &session->device, o->alt, o->address, o->size, why)) {
        report_error("%s", why);
        return EX_DATAERR;
    }
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        abort();
    int error = session_run(session, engine, &plan);
    if (!error)
        report_result("erased %zu sectors, %llu bytes", plan.count,
            (unsigned long long)plan.bytes[STEP_ERASE]);
    free(engine);
    plan_free(&plan);
    return error;
}

int cmd_erase(const struct options *options)
{
    struct session session;
    if (options->has_address != (options->size != 0)) {
        report_error(
            "erase: give --address and --size, or neither to erase everything that can be written");
        return EX_USAGE;
    }
    int error = session_open(&session, options);
    if (error)
        return error;
    error = erase(&session, options);
    session_close(&session);
    return error;
}
