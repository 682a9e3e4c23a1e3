/* SPDX-License-Identifier: MIT */
/*
 * The campaign: what happens to a board whose power fails in any flash operation of anything that
 * can be done to it (P3). tests/torture.c runs all of it, tests/test_torture.c a slice.
 *
 * A *trial* is a flow on a part: the board is prepared, then the flow's session is explored
 * (dfu_host.h): each flash operation is cut with each torn outcome, and the board that is left is
 * judged: powered up again it runs a complete application, old or new, or enumerates as DFU, and
 * takes a normal download after which it runs the new application and holds no undecided bit.
 *
 * **Judged once.** What is equal is not judged twice, on two levels.
 *
 * 1. Equal flash. A board without power is its flash, its option bytes
 *    and its undecided bits: RAM and registers are lost, backup registers too (no VBAT). So two cuts
 *    that leave the same flash leave the same board, but for the garbage in its RAM. The hash is of
 *    64 bits over all of that; boards with undecided bits are told apart by cut.
 * 2. Equal decisions. Until a host downloads something, or an application runs, the bootloader reads
 *    its own pages, the journal, and words 0 and 1 of flash; where word 1 still leads to the
 *    installer in page 0, all of the image there
 *    (the installation itself and a self-update have rules of their own: judge_installation(),
 *    judge_self_update()). So boards with equal decision() are alike until then: one of them, and a sample of the others, is powered
 *    up. An application that runs by that judgement must be complete, which is seen in the flash of
 *    each board. A class with undecided bits is not one: each such board is powered up, repeatedly.
 *
 * **Idle time** is skipped by the simulator where it is exact: the CPU stands still while flash is
 * busy, so a page erase costs what computing its end costs. Polling loops are not guessed at.
 *
 * The *window*: page 0 was erased and its reset vector does not stand yet, or not surely. Boards in
 * it are counted, not judged: but where undecided bits happen to lead to DFU, and a download then is
 * said to have succeeded, it must have. In a flow that does not change page 0 they are failures.
 *
 * The window of the option bytes: they are erased, and the word that says "not protected" does not
 * stand yet, or not surely. The part is read-protected then: the application must still run, and the
 * bootloader enumerate, but it cannot take a download (in the head layout it can); counted.
 *
 * In the **head layout** what the bootloader reads at power-up is its own 4 KB and the first two words of the
 * application. There is no window of page 0: a board that could not be started would be a failure.
 *
 * A **self-update** ends in the old or the new bootloader, whole, that takes a download; a board whose
 * application was **linked for another address** takes both kinds in turn.
 *
 * **Flash that fails** (trial_faults()): one operation of a whole session fails, and nobody pulls the
 * plug. Success is told only if it is one; each request is answered (but where BSY stays set for
 * ever, for then the core stands still) and the next session begins in dfuIDLE; and with flash good
 * again, after a power cycle, the board is judged like one whose power was cut.
 */
#ifndef TESTS_CAMPAIGN_H
#define TESTS_CAMPAIGN_H

#include "dfu_host.h"

#include <stdio.h>

enum { FAILURE_KINDS = 20 };

struct failure {
    char what[120], replay[160]; /* of the first */
    bool marginal;               /* with undecided bits; without them it is a kind of its own */
    uint64_t count;
};

struct tally { /* no pointers: workers hand it over through shared memory */
    uint64_t operations, cuts, states, decisions, powered, downloads;
    uint64_t old_runs, new_runs, dfu, window; /* the states, judged */
    uint64_t marginal;                        /* of the cuts: with marginal outcome */
    uint64_t pairs, triples;              /* cuts of the recovery, and of the recovery from that */
    uint64_t chains_of_2, chains_of_3;    /* the same at random */
    uint64_t faults, told_ok, told_error; /* sessions with failing flash, and what the host heard */
    uint64_t windows, window_ns;          /* of the session without a cut */
    double seconds;
    struct failure failures[FAILURE_KINDS];
};
uint64_t failures_of(const struct tally *t);
uint64_t marginal_failures_of(const struct tally *t);
void tally_add(struct tally *to, const struct tally *from);

/* The images that the boards carry: the tail layout's, and the one of the head layout, with applications at HEAD_BASE. */
extern const char *plain_bootloader, *head_bootloader;
enum { HEAD_BASE = FLASH + 0x1000 };

struct flow {
    const char *name, *what;
    bool opens_page0; /* may */
    bool installs;    /* the installation itself is cut */
    bool writes_options;
    bool head; /* with head_bootloader: the flow behind "head-" in the name, there */
};
extern const struct flow flows[];
extern const unsigned flow_count;
const struct flow *flow_find(const char *name);

/* What one operation of a session suffers from. */
struct fault {
    const char *name;
    enum board_flash_fault kind;
    uint64_t busy_ns;
};
enum { FAULTS = 7 };
extern const struct fault faults[FAULTS];

struct order {
    const struct flow *flow;
    const char *part;
    uint64_t seed;
    uint64_t every[BOARD_TORN_KINDS]; /* as in struct explorer */
    bool but_the_last; /* trial_cuts(): what a cut in the last operation leaves is not judged */
    uint64_t only;     /* replay: this operation … */
    int only_torn;
    uint64_t second; /* … and of the recovery this one */
    int second_torn;
    uint64_t every_fault[FAULTS]; /* trial_faults(): at each n-th operation, 0: never */
    int only_fault;               /* … with `only`: this fault there */
    uint64_t sparse[2];           /* trial_triples(): of the second and the third cut; from 1 */
    uint64_t sample; /* of each so many states one is powered up although its class is known … */
    uint64_t download; /* … and of so many powered up one takes a download */
    uint64_t until_s;  /* of time(): stop when it has come; 0: never */
    FILE *log;         /* failures as they are found; NULL: silent */
};

/* Every cut of the flow. False: the time was up before the end. */
bool trial_cuts(const struct order *o, struct tally *t);
/* All pairs: every cut of the flow, and after each that left another flash every cut of the
 * recovery; here the n-th of `of` such shares. For small parts and small applications. */
bool trial_pairs(const struct order *o, struct tally *t, unsigned n, unsigned of);
/* Three cuts in a row: those of o->every in the flow; after each that left another flash a sample of
 * those of the recovery; after each that left another flash than any before it a sample of those of
 * the recovery from that. o->sparse says how dense: n takes each n-th to (2n - 1)-th operation, by
 * chance; 1 and 1 are all. */
bool trial_triples(const struct order *o, struct tally *t);
/* The flow's session with each of the faults at each of its operations. */
bool trial_faults(const struct order *o, struct tally *t);
/* One sequence of two or three cuts at random places, from the seed alone. */
void trial_chain(const struct order *o, struct tally *t);

#endif
