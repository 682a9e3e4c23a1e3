/* SPDX-License-Identifier: MIT */
#include "core/dfu.h"
#include "host/cmd.h"
#include "host/session.h"

#include <stdio.h>

static void print_memory(const struct device_alt *alt)
{
    printf("memory %u       %s%s\n", alt->number, alt->text,
        alt->map_error ? "  (cannot be understood)"
        : alt->map.odd ? "  (unusual, but understood)"
                       : "");
    for (size_t i = 0; i < alt->map.count; i++) {
        const struct memory_run *run = &alt->map.runs[i];
        uint64_t end = run->addr + (uint64_t)run->count * run->size;
        printf("    0x%08x-0x%08llx  %u sectors of %u bytes  %c%c%c\n", run->addr,
            (unsigned long long)end - 1, run->count, run->size,
            run->flags & MEMORY_READ ? 'r' : '-', run->flags & MEMORY_WRITE ? 'w' : '-',
            run->flags & MEMORY_ERASE ? 'e' : '-');
    }
}

int cmd_info(const struct options *options)
{
    struct session session;
    int error = session_open(&session, options);
    if (error)
        return error;
    const struct device *d = &session.device;
    printf("board          %04x:%04x version %04x at %s\n", d->vendor, d->product, d->version,
        session.where.path);
    printf("name           %s%s%s\n", d->manufacturer, d->manufacturer[0] ? ", " : "", d->name);
    printf("serial         %s\n", d->serial);
    printf("DFU            version %04x, transfers of %u bytes, %s, %s\n", d->dfu_version,
        d->transfer_size, d->attributes & DFU_CAN_DNLOAD ? "can be written" : "cannot be written",
        d->attributes & DFU_CAN_UPLOAD ? "can be read" : "cannot be read");
    for (size_t i = 0; i < d->alt_count; i++)
        print_memory(&d->alts[i]);
    session_close(&session);
    return 0;
}
