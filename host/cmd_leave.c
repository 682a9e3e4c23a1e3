/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/report.h"
#include "host/session.h"

#include <stdio.h>
#include <sysexits.h>

static void success(const struct caboose_report *r, char *text, size_t size)
{
    snprintf(text, size,
        r->departure == CABOOSE_LEFT ? "the program at 0x%08x was started, the bootloader has gone"
                                     : "the program at 0x%08x is being started",
        r->addr);
}

static void planned(const struct caboose_report *r, char *text, size_t size)
{
    if (r->has_program)
        snprintf(text, size,
            "would start the program at 0x%08x: stack from 0x%08x down, code at 0x%08x", r->addr,
            r->stack, r->entry & ~1u);
    else
        snprintf(text, size, "would start whatever is at 0x%08x, which cannot be read", r->addr);
}

int cmd_leave(const struct options *options)
{
    struct caboose_order order = session_order(options, CABOOSE_LEAVE);
    if (options->arg_count) {
        order.has_addr = true;
        if (!options_address(options->args[0], &order.addr)) {
            report_error("leave: %s is not an address; an address is hexadecimal: 0x08000000",
                options->args[0]);
            return EX_USAGE;
        }
    }
    return session_do(options, &order, options->dry_run ? planned : success);
}
