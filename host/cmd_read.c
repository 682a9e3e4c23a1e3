/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/load.h"
#include "host/report.h"
#include "host/session.h"
#include "image/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

static void success(const struct caboose_report *r, char *text, size_t size)
{
    snprintf(text, size, "read 0x%08x-0x%08x, %u bytes", r->addr, r->addr + r->size - 1, r->size);
}

static int save(const struct session *session, const char *path)
{
    char why[IMAGE_ERROR_SIZE];
    const struct caboose_report *r = caboose_job_report(session->fleet.members[0].job);
    int err = image_write_raw(path, r->data, r->size, why);
    if (err)
        report_error("%s", why);
    return load_code(err, EX_CANTCREAT);
}

int cmd_read(const struct options *options)
{
    struct session session;
    const char *path = options->args[0];
    const struct caboose_order order = session_order(options, CABOOSE_READ);
    bool to_standard_output = strcmp(path, "-") == 0;
    if (to_standard_output && options->json) {
        report_error("read: standard output takes the memory or --json, not both");
        return EX_USAGE;
    }
    report_setup(options->quiet || options->json, to_standard_output);
    int error = probe(path);
    if (!error)
        error = session_open(&session, options);
    if (error)
        return error;
    session_work(&session, &order);
    if (!caboose_job_report(session.fleet.members[0].job)->error)
        error = save(&session, path);
    if (!error)
        error = session_tell(&session, success);
    session_close(&session);
    return error;
}
