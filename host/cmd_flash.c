/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/draw.h"
#include "host/load.h"
#include "host/session.h"

#include <stdio.h>
#include <string.h>

static const char *departure_text(const struct caboose_report *r)
{
    if (!r->left)
        return "; the board stays in its bootloader";
    return r->departure == CABOOSE_LEFT ? "; the program was started, the bootloader has gone"
                                        : "; the program is being started";
}

static const char *verified_text(const struct plan *plan)
{
    if (!plan->bytes[STEP_WRITE] || plan->bytes[STEP_VERIFY])
        return "verified";
    return plan->unverifiable ? "not verified (the board cannot be read)" : "not verified";
}

/* "3 of 5 sectors written"; of a plain DFU device nothing is known. */
static void put_changes(const struct plan *plan, char *text, size_t size)
{
    size_t changed = 0, kept = 0;
    for (size_t i = 0; i < plan->page_count; i++) {
        changed += plan->pages[i].write;
        kept += plan->pages[i].kept;
    }
    text[0] = '\0';
    if (plan->page_count && !changed)
        snprintf(text, size, "all there already, ");
    else if (changed < plan->page_count)
        snprintf(text, size, "%zu of %zu sectors written, ", changed, plan->page_count);
    if (kept) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%zu other bytes of a sector kept, ", kept);
    }
}

static uint64_t image_bytes(const struct plan *plan)
{
    uint64_t bytes = plan->page_count ? 0 : plan->bytes[STEP_WRITE];
    for (size_t i = 0; i < plan->page_count; i++)
        bytes += plan->pages[i].covered;
    return bytes;
}

static void success(const struct caboose_report *r, char *text, size_t size)
{
    char changes[128];
    put_changes(&r->plan, changes, sizeof changes);
    snprintf(text, size, "flashed %llu bytes at 0x%08x, %s%s%s",
        (unsigned long long)image_bytes(&r->plan), r->addr, changes, verified_text(&r->plan),
        departure_text(r));
}

static void planned(const struct caboose_report *r, char *text, size_t size)
{
    const struct plan *plan = &r->plan;
    size_t changed = 0, erased = 0;
    for (size_t i = 0; i < plan->page_count; i++) {
        changed += plan->pages[i].write;
        erased += plan->pages[i].erase;
    }
    snprintf(text, size,
        "%zu of %zu sectors would be changed: %zu to erase, %llu bytes to write, %llu to compare; "
        "nothing was changed",
        changed, plan->page_count, erased, (unsigned long long)plan->bytes[STEP_WRITE],
        (unsigned long long)plan->bytes[STEP_VERIFY]);
}

static int flash(struct session *session, const struct options *o, const struct image *image)
{
    struct caboose_order order = session_order(o, CABOOSE_FLASH);
    order.image = image;
    int error = session_run(session, &order, o->dry_run ? planned : success);
    if (!error && o->dry_run && !o->json && !o->quiet && session->fleet.count == 1)
        draw_plan(&caboose_job_report(session->fleet.members[0].job)->plan);
    return error;
}

int cmd_flash(const struct options *options)
{
    struct image image;
    struct session session;
    int error = load_image(&image, options);
    if (error)
        return error;
    error = session_open(&session, options);
    if (!error) {
        error = flash(&session, options, &image);
        session_close(&session);
    }
    image_free(&image);
    return error;
}
