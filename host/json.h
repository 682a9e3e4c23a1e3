/* SPDX-License-Identifier: MIT */
/* What programs read, on standard output; by jansson. */
#ifndef HOST_JSON_H
#define HOST_JSON_H

#include "host/fleet.h"
#include "host/session.h"

/* An array with an object for each board that was seen. */
void json_print_boards(const struct session_seen *seen, int count);

/* One board with its state and its program. */
void json_print_info(const struct fleet_member *member);

/* An array with an object for each board that was given an order. code: the exit code of an error. */
void json_print_results(
    const struct fleet *fleet, session_success *success, int (*code)(enum caboose_error error));

#endif
