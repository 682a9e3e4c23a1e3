/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/report.h"
#include "host/session.h"

#include <stdio.h>
#include <sysexits.h>

static void success(const struct caboose_report *r, char *text, size_t size)
{
    snprintf(text, size, "%s",
        r->departure == CABOOSE_LEFT
            ? "the board removes its read protection, erases its flash and starts anew"
            : "the board has removed its read protection; what its flash held is gone");
}

static void planned(const struct caboose_report *r, char *text, size_t size)
{
    (void)r;
    snprintf(
        text, size, "would remove the read protection and erase all flash; nothing was changed");
}

int cmd_unprotect(const struct options *options)
{
    const struct caboose_order order = session_order(options, CABOOSE_UNPROTECT);
    if (!options->force && !options->dry_run) {
        report_error("unprotect erases all flash of the board, a bootloader in it included (then "
                     "only a probe helps); give --force if that is meant");
        return EX_USAGE;
    }
    return session_do(options, &order, options->dry_run ? planned : success);
}
