/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/report.h"
#include "host/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* Whether the file could be written, without touching what is in it: better known before the board has
 * been read than after. */
static int probe(const char *path)
{
    if (strcmp(path, "-") == 0)
        return 0;
    bool existed = access(path, F_OK) == 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        report_error("cannot write %s: %s", path, strerror(errno));
        return EX_CANTCREAT;
    }
    close(fd);
    if (!existed)
        unlink(path);
    return 0;
}

static int write_file(const char *path, const uint8_t *data, uint32_t size, uint32_t addr)
{
    char why[IMAGE_ERROR_SIZE];
    if (image_write_raw(path, data, size, why)) {
        report_error("%s", why);
        return EX_CANTCREAT;
    }
    report_result("read 0x%08x-0x%08x, %u bytes, to %s", addr, addr + size - 1, size,
        strcmp(path, "-") ? path : "standard output");
    return 0;
}

static int read_range(
    struct session *session, struct plan *plan, uint32_t addr, uint32_t size, const char *path)
{
    struct engine *engine = calloc(1, sizeof *engine);
    uint8_t *data = malloc(size);
    if (!engine || !data)
        abort();
    plan_read_into(plan, data);
    int error = session_run(session, engine, plan);
    if (!error && engine->received == 0) {
        report_error("the board gave nothing at 0x%08x", addr);
        error = EX_IOERR;
    }
    if (!error)
        error = write_file(path, data, engine->received, addr);
    free(data);
    free(engine);
    return error;
}

static int read_board(struct session *session, const struct options *o)
{
    struct plan plan;
    char why[PLAN_ERROR_SIZE];
    uint32_t addr = o->address, size = o->size;
    if (!o->has_address && !device_first(&session->device, MEMORY_READ, &addr)) {
        report_error("the board has no memory that can be read");
        return EX_DATAERR;
    }
    if (plan_read(&plan, &session->device, o->alt, addr, &size, why)) {
        report_error("%s", why);
        return EX_DATAERR;
    }
    int error = read_range(session, &plan, addr, size, o->output);
    plan_free(&plan);
    return error;
}

int cmd_read(const struct options *options)
{
    struct session session;
    struct options o = *options;
    if (!o.output)
        o.output = o.arg_count ? o.args[0] : NULL;
    if (!o.output) {
        report_error("read: where to? Give a file, or - for standard output");
        return EX_USAGE;
    }
    report_setup(o.quiet, strcmp(o.output, "-") == 0);
    int error = probe(o.output);
    if (!error)
        error = session_open(&session, &o);
    if (error)
        return error;
    error = read_board(&session, &o);
    session_close(&session);
    return error;
}
