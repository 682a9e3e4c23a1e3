/* SPDX-License-Identifier: MIT */
/* What programs read, on standard output; by jansson: one value, an object or an array of them. */
#ifndef HOST_JSON_H
#define HOST_JSON_H

#include "host/fleet.h"
#include "host/protection.h"
#include "host/session.h"

#include <jansson.h>

/* Before anything else: from then on the program ends when there is no memory for JSON. */
void json_setup(void);

/* Text from a device or a file's name may be anything; of what is not UTF-8 only the ASCII is kept. */
json_t *json_text(const char *text);

/* Prints a value, and forgets it. */
void json_print(json_t *value);

/* What stands there if a command fails before it has anything else to print: "ok" is false, "exit" the code,
 * "message" the last error's; in an array, if the command would print one. Nothing if something was
 * printed. */
void json_print_failure(int code, bool in_array);

/* An array with an object for each board that was seen. */
void json_print_boards(const struct session_seen *seen, int count);

/* One board with its state, its program, and its protection unless that is NULL: not known. */
void json_print_info(const struct fleet_member *member, const struct protection *protection);

/* An array with an object for each board that was given an order. code: the exit code of an error. */
void json_print_results(
    const struct fleet *fleet, session_success *success, int (*code)(enum caboose_error error));

#endif
