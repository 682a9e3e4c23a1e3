/* SPDX-License-Identifier: MIT */
/* Lets a fleet run, with its progress shown: one board as a bar after the other, several as a row each. */
#ifndef HOST_PROGRESS_H
#define HOST_PROGRESS_H

#include "host/fleet.h"

void progress_run(struct fleet *fleet);

#endif
