/* SPDX-License-Identifier: MIT */
/* Drawings for people, on standard output: texts, memory maps and plans. */
#ifndef HOST_DRAW_H
#define HOST_DRAW_H

#include "host/device.h"
#include "host/plan.h"

/* A label, and beside it a text that stays in its column, which begins at indent, and within 80. */
void draw_text(const char *label, int indent, const char *text);

/* The memories of a board: a line for each run of equal sectors. */
void draw_memory(const struct device *device);

/* What a plan would do: a character for each sector of the image, and what is not the image's. */
void draw_plan(const struct plan *plan);

#endif
