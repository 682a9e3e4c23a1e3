/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/report.h"
#include "host/session.h"

#include <stdio.h>
#include <sysexits.h>

static void success(const struct caboose_report *r, char *text, size_t size)
{
    snprintf(text, size, "erased %zu sectors, %llu bytes", r->plan.count,
        (unsigned long long)r->plan.bytes[STEP_ERASE]);
}

static void planned(const struct caboose_report *r, char *text, size_t size)
{
    const struct plan *plan = &r->plan;
    if (!plan->count)
        snprintf(text, size, "there is nothing to erase");
    else
        snprintf(text, size,
            "would erase %zu sectors, 0x%08x-0x%08x, %llu bytes; nothing was changed", plan->count,
            plan->steps[0].addr,
            plan->steps[plan->count - 1].addr + plan->steps[plan->count - 1].size - 1,
            (unsigned long long)plan->bytes[STEP_ERASE]);
}

int cmd_erase(const struct options *options)
{
    const struct caboose_order order = session_order(options, CABOOSE_ERASE);
    if (options->has_address != (options->size != 0)) {
        report_error(
            "erase: give --at and --size, or neither to erase everything that can be written");
        return EX_USAGE;
    }
    return session_do(options, &order, options->dry_run ? planned : success);
}
