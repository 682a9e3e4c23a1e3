/* SPDX-License-Identifier: MIT */
/* A job is a few engine runs one after the other: inspect the board, look at what it holds, do what the
 * plan says; and, if that fails in a way that has a cure, once more from the beginning. */
#include "host/caboose.h"
#include "core/dfu.h"
#include "host/engine.h"
#include "host/vectors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FLASH_BASE =
        0x08000000, /* where the program of every STM32 starts that does not say otherwise */
    ATTEMPTS = 20,  /* a board that goes away more often has a bad cable */
    REOPEN_MS = 60000,
};

enum stage {
    STAGE_INSPECT,
    STAGE_LOOK, /* at what the board holds */
    STAGE_WORK,
    STAGE_REOPEN,
    STAGE_END,
};

struct caboose_job {
    struct caboose_order order;
    struct caboose_report report;
    struct caboose_ask ask;
    enum stage stage;
    bool begun; /* this stage */

    struct engine engine;
    struct plan look;      /* of STAGE_LOOK */
    struct image contents; /* what it read; segments NULL: nothing is known */
    uint8_t table[VECTORS_SIZE];
    struct image placed; /* the order's image at its address: its bytes are the order's */
    bool fits;           /* there is a program to start */
    bool rewrite;        /* what looks right is not to be trusted */
    uint8_t *data;       /* READ */
    char serial[DEVICE_TEXT];
};

/* --- reporting ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void fail(
    struct caboose_job *job, enum caboose_error error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(job->report.message, sizeof job->report.message, format, args);
    va_end(args);
    job->report.error = error;
    job->stage = STAGE_END;
}

__attribute__((format(printf, 2, 3))) static void note(
    struct caboose_job *job, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(job->report.note, sizeof job->report.note, format, args);
    va_end(args);
    job->report.notes++;
}

/* err: of a function of plan.h. */
static void fail_plan(struct caboose_job *job, int err, const char *why)
{
    fail(job, err == PLAN_NO_MEMORY ? CABOOSE_MEMORY : CABOOSE_UNFIT, "%s", why);
}

static void fail_memory(struct caboose_job *job)
{
    fail(job, CABOOSE_MEMORY, "this computer's memory is full; end other programs and try again");
}

static enum caboose_error error_of(enum engine_failure failure)
{
    switch (failure) {
    case ENGINE_OK:
        return CABOOSE_OK;
    case ENGINE_LINK:
        return CABOOSE_GONE;
    case ENGINE_DENIED:
        return CABOOSE_DENIED;
    case ENGINE_REFUSED:
        return CABOOSE_REFUSED;
    case ENGINE_PROTOCOL:
        return CABOOSE_PROTOCOL;
    case ENGINE_MISMATCH:
        return CABOOSE_MISMATCH;
    }
    return CABOOSE_PROTOCOL;
}

static enum caboose_phase phase_of(const struct caboose_job *job)
{
    if (job->stage == STAGE_INSPECT)
        return CABOOSE_INSPECTING;
    if (job->stage == STAGE_LOOK)
        return job->order.verb == CABOOSE_FLASH ? CABOOSE_COMPARING : CABOOSE_INSPECTING;
    switch (job->engine.phase) {
    case STEP_ERASE:
    case STEP_MASS_ERASE:
    case STEP_UNPROTECT:
        return CABOOSE_ERASING;
    case STEP_WRITE:
        return CABOOSE_WRITING;
    case STEP_VERIFY:
        return CABOOSE_VERIFYING;
    case STEP_READ:
        return CABOOSE_READING;
    case STEP_LEAVE:
        return CABOOSE_LEAVING;
    case STEP_KINDS:
        break;
    }
    return CABOOSE_WRITING;
}

static void report_progress(struct caboose_job *job)
{
    struct caboose_report *r = &job->report;
    r->phase = phase_of(job);
    r->found = job->engine.found;
    r->found_state = job->engine.found_state;
    r->found_status = job->engine.found_status;
    r->done = r->phase == CABOOSE_INSPECTING ? 0 : job->engine.done;
    r->total = r->phase == CABOOSE_INSPECTING ? 0 : job->engine.total;
    bool work = r->phase == CABOOSE_ERASING || r->phase == CABOOSE_WRITING;
    r->changed |= job->stage == STAGE_WORK && work && r->total;
}

static void go(struct caboose_job *job, enum stage stage)
{
    job->stage = stage;
    job->begun = false;
}

/* --- the image and the board --------------------------------------------------------------------- */

static bool is_for(const struct image *image, const struct device *d)
{
    return (image->vendor == IMAGE_ANY_ID || image->vendor == d->vendor) &&
           (image->product == IMAGE_ANY_ID || image->product == d->product);
}

/* The image with its own list of segments: a raw one goes where the order says, else where the board's
 * writable memory begins. */
static bool place_image(struct caboose_job *job)
{
    const struct image *image = job->order.image;
    struct image_segment *own = job->placed.segments;
    uint32_t addr;
    if (!own)
        own = malloc(image->count * sizeof *own);
    if (!own) {
        fail_memory(job);
        return false;
    }
    job->placed = *image;
    memcpy(own, image->segments, image->count * sizeof *own);
    job->placed.segments = own;
    if (image->format == IMAGE_RAW && job->order.has_addr)
        own[0].addr = job->order.addr;
    else if (image->format == IMAGE_RAW && device_first(&job->report.board, MEMORY_WRITE, &addr))
        own[0].addr = addr;
    job->report.addr = own[0].addr;
    return true;
}

/* Our own bootloader, as a file: written like a program, it replaces the program and, started, the
 * bootloader. A board that has it is the only one where nothing but the program is at stake. */
static bool check_bootloader(struct caboose_job *job)
{
    const struct device *d = &job->report.board;
    uint32_t first;
    bool ours = strstr(d->name, "caboose") || strstr(d->manufacturer, "caboose");
    bool same = ours && device_first(d, MEMORY_WRITE, &first) && first == job->report.addr;
    if (!vectors_are_bootloader(&job->placed))
        return true;
    if (!same && !job->order.force) {
        fail(job, CABOOSE_UNFIT,
            "this is the caboose bootloader itself, and the board has another bootloader or "
            "another "
            "layout: it would be installed over what is there, and the program on the board is "
            "lost; --force if that is meant");
        return false;
    }
    note(job,
        "This is the caboose bootloader itself: it replaces the one on the board. The program "
        "on the board is gone until you flash one again.");
    return true;
}

static struct plan_options flash_options(const struct caboose_job *job)
{
    return (struct plan_options){.alt = job->order.alt,
        .verify = !job->order.no_verify,
        .leave = !job->order.no_leave && job->fits,
        .start = job->placed.segments[0].addr,
        .contents = job->contents.count ? &job->contents : NULL,
        .thorough = job->order.dry_run,
        .rewrite = job->rewrite,
        .distrust_blank = job->report.attempts > 1};
}

/* Everything that can be known to be wrong with the image before the board is touched. */
static bool check_image(struct caboose_job *job, char why[PLAN_ERROR_SIZE])
{
    const struct device *d = &job->report.board;
    char misfit[VECTORS_ERROR_SIZE];
    if (!place_image(job))
        return false;
    if (!job->order.force && !is_for(&job->placed, d)) {
        fail(job, CABOOSE_UNFIT,
            "the file is for %04x:%04x and the board is %04x:%04x; give the right file, or --force",
            job->placed.vendor, job->placed.product, d->vendor, d->product);
        return false;
    }
    const struct plan_options options = flash_options(job);
    int err = plan_survey(&job->look, &job->contents, d, &job->placed, &options, why);
    if (err) {
        fail_plan(job, err, why);
        return false;
    }
    job->fits = !device_is_dfuse(d) || vectors_fit(&job->placed, misfit);
    if (!job->fits && !job->order.force) {
        fail(job, CABOOSE_UNFIT, "%s", misfit);
        return false;
    }
    return check_bootloader(job);
}

/* --- orders: what to look at, and what to do ------------------------------------------------------ */

static void plan_work(struct caboose_job *job);

/* With nothing to look at the work begins at once. */
static void look_or_work(struct caboose_job *job)
{
    if (job->look.count)
        go(job, STAGE_LOOK);
    else
        plan_work(job);
}

static void prepare_flash(struct caboose_job *job)
{
    char why[PLAN_ERROR_SIZE];
    if (check_image(job, why))
        look_or_work(job);
}

/* The vector table of what shall be started is looked at, if it can be read. */
static void prepare_leave(struct caboose_job *job)
{
    char why[PLAN_ERROR_SIZE];
    const struct device *d = &job->report.board;
    uint32_t size = sizeof job->table;
    job->report.addr = job->order.addr;
    if (!job->order.has_addr && !device_first(d, MEMORY_WRITE, &job->report.addr))
        job->report.addr = FLASH_BASE;
    int err = 0;
    if (!job->order.force && device_is_dfuse(d) && job->report.addr % 4 == 0)
        err = plan_read(&job->look, d, job->order.alt, job->report.addr, &size, why);
    plan_read_into(&job->look, job->table);
    if (err == PLAN_NO_MEMORY)
        fail_plan(job, err, why);
    else /* what cannot be read is started unseen */
        look_or_work(job);
}

static void prepare(struct caboose_job *job)
{
    plan_free(&job->look);
    image_free(&job->contents);
    switch (job->order.verb) {
    case CABOOSE_FLASH:
        prepare_flash(job);
        return;
    case CABOOSE_LEAVE:
        prepare_leave(job);
        return;
    case CABOOSE_VERIFY:
        if (!place_image(job))
            return;
        break;
    case CABOOSE_READ:
    case CABOOSE_ERASE:
    case CABOOSE_INSPECT:
    case CABOOSE_UNPROTECT:
        break;
    }
    plan_work(job);
}

static int plan_the_flash(struct caboose_job *job, char why[PLAN_ERROR_SIZE])
{
    const struct plan_options options = flash_options(job);
    job->report.left = options.leave;
    return plan_flash(&job->report.plan, &job->report.board, &job->placed, &options, why);
}

static int plan_the_read(struct caboose_job *job, char why[PLAN_ERROR_SIZE])
{
    struct caboose_report *r = &job->report;
    r->addr = job->order.addr;
    r->size = job->order.size;
    if (!job->order.has_addr && device_is_dfuse(&r->board) &&
        !device_first(&r->board, MEMORY_READ, &r->addr)) {
        snprintf(why, PLAN_ERROR_SIZE, "the board has no memory that can be read");
        return -1;
    }
    int err = plan_read(&r->plan, &r->board, job->order.alt, r->addr, &r->size, why);
    if (err)
        return err;
    free(job->data);
    job->data = malloc(r->size ? r->size : 1);
    if (!job->data) {
        snprintf(why, PLAN_ERROR_SIZE,
            "%u bytes do not fit into this computer's memory; read less at once, with --size",
            r->size);
        return PLAN_NO_MEMORY;
    }
    plan_read_into(&r->plan, job->data);
    return 0;
}

static int plan_the_leave(struct caboose_job *job, char why[PLAN_ERROR_SIZE])
{
    const struct device *d = &job->report.board;
    char misfit[VECTORS_ERROR_SIZE];
    const struct device_alt *alt = device_alt_at(d, job->report.addr, MEMORY_READ);
    job->report.left = true;
    job->report.has_program = job->look.count;
    job->report.stack = vectors_word(job->table);
    job->report.entry = vectors_word(job->table + 4);
    if (job->look.count && alt &&
        !vectors_fit_board(job->table, job->report.addr, &alt->map, misfit)) {
        snprintf(why, PLAN_ERROR_SIZE, "%s", misfit);
        return -1;
    }
    return plan_leave(&job->report.plan, d, job->order.alt, job->report.addr, why);
}

static int plan_order(struct caboose_job *job, char why[PLAN_ERROR_SIZE])
{
    struct caboose_report *r = &job->report;
    switch (job->order.verb) {
    case CABOOSE_INSPECT:
        return 0;
    case CABOOSE_FLASH:
        return plan_the_flash(job, why);
    case CABOOSE_VERIFY:
        return plan_verify(&r->plan, &r->board, &job->placed, job->order.alt, why);
    case CABOOSE_READ:
        return plan_the_read(job, why);
    case CABOOSE_ERASE:
        return plan_erase(
            &r->plan, &r->board, job->order.alt, job->order.addr, job->order.size, why);
    case CABOOSE_LEAVE:
        return plan_the_leave(job, why);
    case CABOOSE_UNPROTECT:
        return plan_unprotect(&r->plan, &r->board, job->order.alt, why);
    }
    return 0;
}

static void plan_work(struct caboose_job *job)
{
    char why[PLAN_ERROR_SIZE];
    plan_free(&job->report.plan);
    int err = plan_order(job, why);
    if (err)
        fail_plan(job, err, why);
    else
        go(job, job->order.dry_run || !job->report.plan.count ? STAGE_END : STAGE_WORK);
}

/* --- what comes of a stage ------------------------------------------------------------------------ */

static void inspected(struct caboose_job *job)
{
    struct device *d = &job->report.board;
    if (job->order.verb == CABOOSE_INSPECT) {
        go(job, STAGE_END);
    } else if (!d->dfu || d->runtime) {
        fail(job, CABOOSE_NOT_DFU,
            d->dfu ? "the board runs its application; start its bootloader (button or jumper, then "
                     "reset)"
                   : "the device has no DFU interface; is it the right one?");
    } else if (job->report.attempts > 1 && strcmp(job->serial, d->serial)) {
        fail(job, CABOOSE_UNFIT, "another board came back: its serial number is %s, not %s",
            d->serial, job->serial);
    } else {
        memcpy(job->serial, d->serial, sizeof job->serial);
        prepare(job);
    }
}

static bool may_resume(const struct caboose_job *job)
{
    return job->engine.failure == ENGINE_LINK && job->order.resume &&
           job->report.attempts < ATTEMPTS && job->engine.phase != STEP_UNPROTECT;
}

/* What is there was believed, and that was wrong: a board that was torn from an earlier download says at
 * leave that it holds no complete program, one that lies about its sectors has lost one, one has not the habits
 * that its name promises. Erasing and writing everything cures all three. */
static bool may_rewrite(const struct caboose_job *job)
{
    const struct engine *e = &job->engine;
    bool incomplete =
        e->failure == ENGINE_REFUSED && e->phase == STEP_LEAVE && e->status == DFU_ERR_FIRMWARE;
    bool hearsay =
        e->failure == ENGINE_REFUSED && e->phase == STEP_WRITE && job->report.plan.habits;
    return job->order.verb == CABOOSE_FLASH && !job->rewrite && job->contents.count &&
           (incomplete || hearsay || e->failure == ENGINE_MISMATCH);
}

static void look_failed(struct caboose_job *job)
{
    if (job->engine.failure == ENGINE_DENIED || job->engine.failure == ENGINE_LINK) {
        fail(job, error_of(job->engine.failure), "%s", job->engine.message);
        return;
    }
    plan_free(&job->look);
    image_free(&job->contents);
    job->report.unreadable = true;
    if (job->order.verb == CABOOSE_FLASH)
        note(job, "What is on the board cannot be read (%s): everything is written.",
            job->engine.message);
    plan_work(job);
}

static void begin_again(struct caboose_job *job)
{
    job->report.attempts++;
    go(job, STAGE_REOPEN);
}

static void failed(struct caboose_job *job)
{
    const struct engine *e = &job->engine;
    job->report.status = e->status;
    if (may_resume(job)) {
        note(job, "%s. Waiting for it to come back …", e->message);
        begin_again(job);
    } else if (job->stage == STAGE_LOOK) {
        look_failed(job);
    } else if (may_rewrite(job)) {
        note(job, "The board does not hold what it showed (%s): everything is written again.",
            e->message);
        job->rewrite = true;
        job->report.attempts++;
        plan_work(job); /* what it held beside the image was seen before anything was changed */
    } else {
        fail(job, error_of(e->failure), "%s", e->message);
    }
}

static void worked(struct caboose_job *job)
{
    struct caboose_report *r = &job->report;
    r->departure = (enum caboose_departure)job->engine.departure;
    if (job->order.verb == CABOOSE_READ) {
        r->data = job->data;
        r->size = job->engine.received;
    }
    if (job->order.verb == CABOOSE_READ && r->size == 0)
        fail(job, CABOOSE_PROTOCOL, "the board gave nothing at 0x%08x", r->addr);
    else
        go(job, STAGE_END);
}

static void stage_done(struct caboose_job *job)
{
    if (job->engine.failure != ENGINE_OK) {
        failed(job);
        return;
    }
    switch (job->stage) {
    case STAGE_INSPECT:
        inspected(job);
        return;
    case STAGE_LOOK:
        plan_work(job);
        return;
    case STAGE_WORK:
        worked(job);
        return;
    case STAGE_REOPEN:
    case STAGE_END:
        return;
    }
}

/* --- the whole ------------------------------------------------------------------------------------ */

struct caboose_job *caboose_job_new(const struct caboose_order *order)
{
    struct caboose_job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->order = *order;
    job->rewrite = order->rewrite;
    job->report.attempts = 1;
    return job;
}

void caboose_job_free(struct caboose_job *job)
{
    if (!job)
        return;
    plan_free(&job->look);
    plan_free(&job->report.plan);
    image_free(&job->contents);
    free(job->placed.segments);
    free(job->data);
    free(job);
}

const struct caboose_report *caboose_job_report(const struct caboose_job *job)
{
    return &job->report;
}

const char *caboose_state_name(uint8_t state)
{
    return engine_state_name(state);
}

static void begin_stage(struct caboose_job *job)
{
    static const struct plan nothing;
    job->begun = true;
    switch (job->stage) {
    case STAGE_INSPECT:
        engine_inspect(&job->engine, &job->report.board);
        if (job->order.board && job->report.attempts == 1) {
            job->report.board = *job->order.board;
            engine_run(&job->engine, &job->report.board, &nothing);
        }
        return;
    case STAGE_LOOK:
        engine_run(&job->engine, &job->report.board, &job->look);
        return;
    case STAGE_WORK:
        engine_go_on(&job->engine, &job->report.board, &job->report.plan);
        return;
    case STAGE_REOPEN:
    case STAGE_END:
        return;
    }
}

/* The engine's question as the job's; false if there is none. */
static bool ask_engine(struct caboose_job *job)
{
    const struct engine_ask *ask = engine_next(&job->engine);
    report_progress(job);
    if (ask->kind == ENGINE_DONE || ask->kind == ENGINE_FAILED)
        return false;
    job->ask = (struct caboose_ask){.want = ask->kind == ENGINE_TRANSFER ? CABOOSE_TRANSFER
                                            : ask->kind == ENGINE_WAIT   ? CABOOSE_WAIT
                                                                         : CABOOSE_RESET,
        .data = ask->data,
        .ms = ask->ms};
    memcpy(job->ask.setup, ask->setup, sizeof job->ask.setup);
    return true;
}

const struct caboose_ask *caboose_job_next(struct caboose_job *job)
{
    for (;;) {
        if (job->stage == STAGE_END) {
            job->ask =
                (struct caboose_ask){.want = job->report.error ? CABOOSE_FAILED : CABOOSE_DONE};
            return &job->ask;
        }
        if (!job->begun)
            begin_stage(job);
        if (job->stage == STAGE_REOPEN) {
            job->ask = (struct caboose_ask){.want = CABOOSE_REOPEN, .ms = REOPEN_MS};
            return &job->ask;
        }
        if (ask_engine(job))
            return &job->ask;
        stage_done(job);
    }
}

void caboose_job_answer(struct caboose_job *job, int result)
{
    if (job->stage == STAGE_END)
        return;
    if (job->stage != STAGE_REOPEN)
        engine_result(&job->engine, result);
    else if (result == 0)
        go(job, STAGE_INSPECT);
    else
        fail(job, result == TRANSFER_DENIED ? CABOOSE_DENIED : CABOOSE_GONE, "%s",
            job->engine.message);
}
