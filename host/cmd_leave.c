/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/report.h"
#include "host/session.h"

#include <stdlib.h>
#include <sysexits.h>

static int leave(struct session *session, const struct options *o)
{
    struct plan plan;
    char why[PLAN_ERROR_SIZE];
    uint32_t base = o->address;
    /* A board whose map cannot be read is started where every STM32 starts. */
    if (!o->has_address && !device_first(&session->device, MEMORY_WRITE, &base))
        base = 0x08000000;
    if (plan_leave(&plan, &session->device, o->alt, base, why)) {
        report_error("%s", why);
        return EX_USAGE;
    }
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        abort();
    int error = session_run(session, engine, &plan);
    if (!error)
        report_result(engine->departure == ENGINE_LEFT
                          ? "the program at 0x%08x was started, the bootloader has gone"
                          : "the program at 0x%08x is being started",
            base);
    free(engine);
    plan_free(&plan);
    return error;
}

int cmd_leave(const struct options *options)
{
    struct session session;
    int error = session_open(&session, options);
    if (error)
        return error;
    error = leave(&session, options);
    session_close(&session);
    return error;
}
