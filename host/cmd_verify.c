/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/load.h"
#include "host/session.h"

#include <stdio.h>

static void success(const struct caboose_report *r, char *text, size_t size)
{
    snprintf(text, size, "the board holds the file: %llu bytes at 0x%08x",
        (unsigned long long)r->plan.bytes[STEP_VERIFY], r->addr);
}

int cmd_verify(const struct options *options)
{
    struct image image;
    struct caboose_order order = session_order(options, CABOOSE_VERIFY);
    int error = load_image(&image, options);
    if (error)
        return error;
    order.image = &image;
    error = session_do(options, &order, success);
    image_free(&image);
    return error;
}
