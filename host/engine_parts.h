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

enum { ENGINE_ENGLISH = 0x0409, ENGINE_STRING_SIZE = 255 }; /* wIndex and wLength for strings */

/* A string descriptor of size bytes as UTF-8 that a terminal can be given: what would move its cursor or
 * turn its text around becomes '?'. Empty if it is none; size may be an enum transfer_error. */
void inspect_text(const uint8_t *descriptor, int size, char text[DEVICE_TEXT]);

/* Adds the next descriptor to ask for; false when all are known. */
bool inspect_next(struct engine *e);
/* A descriptor came: size bytes in e->buffer, or enum transfer_error. */
void inspect_result(struct engine *e, int size);

#endif
