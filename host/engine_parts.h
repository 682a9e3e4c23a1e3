/* SPDX-License-Identifier: MIT */
/* Between engine.c and inspect.c only. */
#ifndef HOST_ENGINE_PARTS_H
#define HOST_ENGINE_PARTS_H

#include "host/engine.h"

/* Appends a task to those of the current step. */
void engine_add_task(struct engine *e, struct engine_task task);

/* Ends the run with a message. */
__attribute__((format(printf, 3, 4))) void engine_fail(
    struct engine *e, enum engine_failure failure, const char *format, ...);

/* Adds the next descriptor to ask for; false when all are known. */
bool inspect_next(struct engine *e);
/* A descriptor came: size bytes in e->buffer, or enum transfer_error. */
void inspect_result(struct engine *e, int size);

#endif
