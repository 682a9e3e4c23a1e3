/* SPDX-License-Identifier: MIT */
/*
 * What to do to a board, decided before anything is done: a list of steps, a pure function of the
 * board's memory map, the image and the options. Everything that can be known to be wrong is found
 * here, while the board is still as it was.
 *
 *     struct plan plan;
 *     char why[PLAN_ERROR_SIZE];
 *     if (plan_flash(&plan, &device, &image, &options, why)) { … why … }
 *     … engine_run(&engine, &device, &plan) …
 *     plan_free(&plan);
 */
#ifndef HOST_PLAN_H
#define HOST_PLAN_H

#include "host/device.h"
#include "image/image.h"

enum { PLAN_ERROR_SIZE = 512, PLAN_ANY_ALT = -1 };

enum step_kind { STEP_ERASE, STEP_WRITE, STEP_VERIFY, STEP_READ, STEP_LEAVE, STEP_KINDS };

struct plan_step {
    enum step_kind kind;
    uint8_t alt;
    bool may_end; /* READ: memory may end earlier than the map says */
    uint32_t addr,
        size; /* ERASE: a sector; WRITE, VERIFY, READ: at most wTransferSize; LEAVE: the base */
    const uint8_t *data; /* WRITE, VERIFY: borrowed from the image */
    uint8_t *into;       /* READ: the caller's */
};

struct plan {
    struct plan_step *steps;
    size_t count;
    uint64_t bytes[STEP_KINDS]; /* how much there is to do of each kind */
    bool unverifiable;          /* verification was wanted, but the board cannot be read */
};

struct plan_options {
    int alt; /* PLAN_ANY_ALT: as the file says, else by address */
    bool verify, leave;
    uint32_t start; /* LEAVE: the application's vector table */
};

/* Erases the sectors that the image touches, all before the first byte is written (so that a device
 * can tell a finished download from a torn one), writes, compares, leaves. 0, or -1 and why. */
int plan_flash(struct plan *plan, const struct device *device, const struct image *image,
    const struct plan_options *options, char why[PLAN_ERROR_SIZE]);

/* Reads size bytes from addr to into; 0: as far as readable memory goes (*size is set), with
 * *into still to be given by plan_read_into(). 0, or -1 and why. */
int plan_read(struct plan *plan, const struct device *device, int alt, uint32_t addr,
    uint32_t *size, char why[PLAN_ERROR_SIZE]);
void plan_read_into(struct plan *plan, uint8_t *into);

/* Erases every sector that [addr, addr+size) touches; size 0: every writable sector of the board. */
int plan_erase(struct plan *plan, const struct device *device, int alt, uint32_t addr,
    uint32_t size, char why[PLAN_ERROR_SIZE]);

/* Starts the application whose vector table is at base. */
int plan_leave(struct plan *plan, const struct device *device, int alt, uint32_t base,
    char why[PLAN_ERROR_SIZE]);

void plan_free(struct plan *plan);

#endif
