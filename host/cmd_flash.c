/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/report.h"
#include "host/session.h"
#include "host/vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { FLASH_BASE = 0x08000000 };

static int read_file(struct image *image, const struct options *o, const char *path)
{
    char why[IMAGE_ERROR_SIZE];
    uint8_t *data;
    size_t size;
    if (image_load(path, &data, &size, why)) {
        report_error("%s", why);
        return EX_NOINPUT;
    }
    const char *name = strcmp(path, "-") ? path : "standard input";
    int error = image_parse(image, name, data, size, o->has_address ? o->address : FLASH_BASE, why);
    free(data);
    if (error) {
        report_error("%s", why);
        return EX_DATAERR;
    }
    if (image->format != IMAGE_RAW && o->has_address) {
        report_error("%s is an %s file and says itself where it goes; leave --address away", path,
            image_format_name(image->format));
        image_free(image);
        return EX_USAGE;
    }
    return 0;
}

static bool is_for(const struct image *image, const struct device *device)
{
    return (image->vendor == 0xFFFF || image->vendor == device->vendor) &&
           (image->product == 0xFFFF || image->product == device->product);
}

/* Without an address a raw file goes where the board's writable memory begins. */
static void place_raw(struct image *image, const struct options *o, const struct device *device)
{
    uint32_t addr;
    if (image->format == IMAGE_RAW && !o->has_address && device_first(device, MEMORY_WRITE, &addr))
        image->segments[0].addr = addr;
}

struct job {
    struct image image;
    struct plan plan;
    struct plan_options plan_options;
    bool fits; /* there is a program to start */
    char misfit[VECTORS_ERROR_SIZE];
};

/* Everything that can be known to be wrong before the board is touched. */
static int prepare(
    struct job *job, const struct options *o, const struct device *device, const char *path)
{
    char why[PLAN_ERROR_SIZE];
    place_raw(&job->image, o, device);
    if (!o->force && !is_for(&job->image, device)) {
        report_error(
            "%s is for %04x:%04x and the board is %04x:%04x; give the right file, or --force", path,
            job->image.vendor, job->image.product, device->vendor, device->product);
        return EX_DATAERR;
    }
    job->fits = vectors_fit(&job->image, job->misfit);
    job->plan_options = (struct plan_options){.alt = o->alt,
        .verify = !o->no_verify,
        .leave = !o->no_leave && job->fits,
        .start = job->image.segments[0].addr};
    if (plan_flash(&job->plan, device, &job->image, &job->plan_options, why)) {
        report_error("%s: %s", path, why);
        return EX_DATAERR;
    }
    if (!o->force && !job->fits) {
        report_error("%s: %s", path, job->misfit);
        return EX_DATAERR;
    }
    return 0;
}

static const char *departure_text(const struct job *job, const struct engine *engine)
{
    if (!job->plan_options.leave)
        return "; the board stays in its bootloader";
    return engine->departure == ENGINE_LEFT ? "; the program was started, the bootloader has gone"
                                            : "; the program is being started";
}

static void report_success(const struct job *job, const struct engine *engine, const char *path)
{
    bool verified = job->plan.bytes[STEP_VERIFY] == job->plan.bytes[STEP_WRITE];
    report_result("flashed %s: %llu bytes at 0x%08x, %s%s", path,
        (unsigned long long)job->plan.bytes[STEP_WRITE], job->image.segments[0].addr,
        verified                 ? "verified"
        : job->plan.unverifiable ? "not verified (the board cannot be read)"
                                 : "not verified",
        departure_text(job, engine));
}

static int flash(struct job *job, struct session *session, const char *path)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        abort();
    int error = session_run(session, engine, &job->plan);
    if (!error)
        report_success(job, engine, path);
    else if (engine->phase == STEP_ERASE || engine->phase == STEP_WRITE)
        report_note("What was on the board may be incomplete now: flash again before using it.");
    else if (engine->phase == STEP_LEAVE)
        report_note("The file was written%s.", job->plan.bytes[STEP_VERIFY] ? " and verified" : "");
    free(engine);
    return error;
}

int cmd_flash(const struct options *options)
{
    struct job job = {0};
    struct session session;
    const char *path = options->args[0];
    int error = read_file(&job.image, options, path);
    if (error)
        return error;
    error = session_open(&session, options);
    if (!error) {
        error = prepare(&job, options, &session.device, path);
        if (!error)
            error = flash(&job, &session, path);
        plan_free(&job.plan);
        session_close(&session);
    }
    image_free(&job.image);
    return error;
}
