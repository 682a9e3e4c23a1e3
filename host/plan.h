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
 *
 * Every function starts with an empty plan and leaves an empty one behind when it fails: with -1, when what
 * is wanted cannot be, or with PLAN_NO_MEMORY, when nothing need be wrong with it.
 */
#ifndef HOST_PLAN_H
#define HOST_PLAN_H

#include "host/device.h"
#include "image/image.h"

enum { PLAN_ERROR_SIZE = 512, PLAN_ANY_ALT = -1, PLAN_NO_MEMORY = -2 };

enum step_kind {
    STEP_ERASE,
    STEP_WRITE,
    STEP_VERIFY,
    STEP_READ,
    STEP_LEAVE,
    STEP_MASS_ERASE, /* of all that the board thinks fit, its bootloader included if it is in flash */
    STEP_UNPROTECT, /* Read Unprotect: the board erases itself and resets (AN3156 §5.4) */
    STEP_KINDS
};

struct plan_step {
    enum step_kind kind;
    uint8_t alt;
    bool may_end; /* READ: memory may end earlier than the map says */
    uint32_t addr,
        size; /* ERASE: a sector; WRITE, VERIFY, READ: at most wTransferSize; LEAVE: the base */
    const uint8_t *data; /* WRITE, VERIFY: the plan's or the image's; READ: NULL, or only a look is
                          * taken: is it this, is it blank, or is it something else? */
    uint8_t *into;       /* READ: the caller's */
    uint32_t unit; /* of looks: something else in one makes the others of the same unit needless */
};

/* A sector that the image touches, and what becomes of it. Neither erased nor written: it is right. */
struct plan_page {
    uint32_t addr, size;
    uint8_t alt;
    bool erase, write;
    uint32_t covered; /* bytes that are the image's */
    uint32_t kept;    /* bytes that are not, hold something, and are written back */
    uint32_t lost; /* bytes that are not, and will be erased because nobody knows what they hold */
};

struct plan {
    struct plan_step *steps;
    size_t count;
    uint64_t bytes[STEP_KINDS]; /* how much there is to do of each kind */
    struct plan_page *pages;    /* FLASH: in the order of addresses, page_count of them */
    size_t page_count;
    bool unverifiable; /* verification was wanted, but the board cannot be read */
    unsigned habits;   /* enum device_habit: those that it relies on; it verifies afterwards */
    unsigned
        lookahead; /* looks are over when so many units in a row hold something else; 0: never */
    bool failed;   /* for lack of memory; no plan is handed out then */
    bool plain;    /* DFU 1.1 without addresses: a step's addr is an offset in the file */
    void **owned;  /* what steps point to, owned_count of them */
    size_t owned_count;
};

struct plan_options {
    int alt; /* PLAN_ANY_ALT: as the file says, else by address */
    bool verify, leave;
    uint32_t start; /* LEAVE: the application's vector table */
    const struct image
        *contents;       /* what the board holds, as plan_survey() had it read; NULL: unknown */
    bool thorough;       /* plan_survey(): look at all of it, so that the plan tells exactly */
    bool rewrite;        /* erase and write what is right already, too; rely on no habits */
    bool distrust_blank; /* erase what reads as blank too: an erase may have been interrupted */
};

/* What to read before flashing, so that what is right already can be left alone and the rest of a
 * sector that the image covers partly can be preserved. Of the latter all is read; at the others looks are
 * taken, until it shows that the board holds another program, and none to rewrite. *contents becomes an
 * image with room for all that the image touches, which the plan's run fills; what is not read holds there
 * something else than what is wanted. The caller frees it after the plan. Without segments: nothing of it
 * can be read. 0, or -1 and why, if the image does not fit the board. */
int plan_survey(struct plan *plan, struct image *contents, const struct device *device,
    const struct image *image, const struct plan_options *options, char why[PLAN_ERROR_SIZE]);

/* Erases the sectors of the image that hold something else, all before the first byte is written (so
 * that a device can tell a finished download from a torn one), writes them, compares them and what lies
 * beside them, leaves. On a board with DEVICE_REWRITES the sector that is written last is the only one to be
 * erased, first of all: that too tells a torn download. Never touches what the map calls read-only, and no sector that the image has no byte of. Of a
 * board that holds the image already nothing is left to do but to leave. 0, or -1 and why. */
int plan_flash(struct plan *plan, const struct device *device, const struct image *image,
    const struct plan_options *options, char why[PLAN_ERROR_SIZE]);

/* Compares all of the image with what the board holds. 0, or -1 and why. */
int plan_verify(struct plan *plan, const struct device *device, const struct image *image, int alt,
    char why[PLAN_ERROR_SIZE]);

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

/* Removes the read protection, which erases all of the board's flash. */
int plan_unprotect(
    struct plan *plan, const struct device *device, int alt, char why[PLAN_ERROR_SIZE]);

void plan_free(struct plan *plan);

#endif
