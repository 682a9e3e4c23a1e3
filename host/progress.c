/* SPDX-License-Identifier: MIT */
#include "host/progress.h"
#include "host/report.h"

#include <stdlib.h>

static const char *const verbs[] = {
    [CABOOSE_INSPECTING] = "looking",
    [CABOOSE_COMPARING] = "comparing",
    [CABOOSE_ERASING] = "erasing",
    [CABOOSE_WRITING] = "writing",
    [CABOOSE_VERIFYING] = "verifying",
    [CABOOSE_READING] = "reading",
    [CABOOSE_LEAVING] = "starting",
};

struct shown { /* what the reader has seen of the one board */
    const struct fleet *fleet;
    bool any;
    enum caboose_phase phase;
    uint64_t total;
    unsigned *notes; /* of each member */
    struct report_bar *bars;
};

static void end_phase(const struct shown *shown)
{
    if (shown->any)
        report_progress(verbs[shown->phase], shown->total, shown->total);
}

/* The last step of a phase is seen to be done only when the next phase begins. */
static void show_one(struct shown *shown, const struct caboose_report *r)
{
    bool over = shown->fleet->members[0].activity == FLEET_ENDED;
    if (over && r->error) {
        report_interrupted();
        return;
    }
    if (shown->any && (over || shown->phase != r->phase)) {
        end_phase(shown);
        shown->any = false;
    }
    if (over || r->total == 0 || r->done >= r->total)
        return;
    shown->any = true;
    shown->phase = r->phase;
    shown->total = r->total;
    report_progress(verbs[r->phase], r->done, r->total);
}

static void show_many(struct shown *shown)
{
    for (size_t i = 0; i < shown->fleet->count; i++) {
        const struct fleet_member *m = &shown->fleet->members[i];
        const struct caboose_report *r = caboose_job_report(m->job);
        bool over = m->activity == FLEET_ENDED;
        shown->bars[i] = (struct report_bar){m->where.path,
            over ? r->error ? "FAILED" : "done" : verbs[r->phase], over ? 1 : r->done,
            over ? 1 : r->total};
    }
    report_bars(shown->bars, (unsigned)shown->fleet->count);
}

static void seen(void *context, size_t member)
{
    struct shown *shown = context;
    const struct fleet_member *m = &shown->fleet->members[member];
    const struct caboose_report *r = caboose_job_report(m->job);
    bool many = shown->fleet->count > 1;
    if (shown->notes[member] != r->notes)
        report_note("%s%s%s", many ? m->where.path : "", many ? ": " : "", r->note);
    shown->notes[member] = r->notes;
    if (many)
        show_many(shown);
    else
        show_one(shown, r);
}

void progress_run(struct fleet *fleet)
{
    struct shown shown = {.fleet = fleet,
        .notes = calloc(fleet->count, sizeof *shown.notes),
        .bars = calloc(fleet->count, sizeof *shown.bars)};
    if (!shown.notes || !shown.bars)
        report_no_memory();
    fleet->seen = seen;
    fleet->context = &shown;
    fleet_run(fleet);
    report_interrupted();
    fleet->seen = NULL;
    fleet->context = NULL;
    free(shown.notes);
    free(shown.bars);
}
