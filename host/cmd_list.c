/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/json.h"
#include "host/report.h"
#include "host/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static void print_board(const struct session_seen *s)
{
    char ranges[512];
    printf("%04x:%04x path=%s", s->where.vendor, s->where.product, s->where.path);
    if (s->error) {
        printf(" (%s)\n", s->error == TRANSFER_DENIED
                              ? "no permission; caboose info tells how to get it"
                          : s->why[0] ? s->why
                                      : "does not answer");
        return;
    }
    printf(" serial=\"%s\" name=\"%s\"", s->device.serial, s->device.name);
    if (s->device.runtime) {
        printf(" (runs its application)\n");
        return;
    }
    device_ranges(&s->device, MEMORY_WRITE, ranges, sizeof ranges);
    printf(" writable=%s\n", device_is_dfuse(&s->device) ? ranges : "(plain DFU)");
}

int cmd_list(const struct options *options)
{
    struct session_seen *seen;
    int count = session_look(options, &seen);
    if (count < 0)
        return -count;
    if (options->json)
        json_print_boards(seen, count);
    for (int i = 0; i < count && !options->json; i++)
        print_board(&seen[i]);
    free(seen);
    if (count)
        return 0;
    report_error("no DFU device found; start a board's bootloader (button or jumper, then reset) "
                 "and check the cable");
    return EX_UNAVAILABLE;
}
