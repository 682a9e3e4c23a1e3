/* SPDX-License-Identifier: MIT */
/* Slices of the campaign (campaign.h) as tests: run, told, and no failure found. */
#ifndef TESTS_SLICES_H
#define TESTS_SLICES_H

#include "campaign.h"

/* None, or each kind told with what shows the first again. */
void check_failures(const struct tally *t);
/* The cuts of o->every, one known state in 64 judged all the same. */
struct tally check_cuts(
    const char *flow, const char *part, uint64_t seed, const uint64_t every[BOARD_TORN_KINDS]);
/* The same, but what a cut in the last operation leaves. */
struct tally check_cuts_but_the_last(
    const char *flow, const char *part, uint64_t seed, const uint64_t every[BOARD_TORN_KINDS]);
/* About each n-th operation of the flow with each fault of flash, different ones for different faults: the host is
 * told errors, more often than OK. */
struct tally check_faults(const char *flow, const char *part, uint64_t seed, uint64_t nth);

#endif
