/* SPDX-License-Identifier: MIT */
/*
 * The campaigns as a program: make torture.
 *
 *   torture [--minutes N] [--workers N] [--firmware FILE] [--head FILE] [--commit ID]
 *           [--report FILE]
 *   torture --replay FLOW PART OPERATION TORN SEED [OPERATION TORN]
 *   torture --replay FLOW PART chain 0 SEED
 *   torture --replay SESSION EVENT TRANSACTION SEED
 *
 * One after another, each with its share of the time; what one leaves is for the next:
 *
 *   cuts       every cut of every flow on every part (campaign.h); in less than an hour some
 *   pairs      all pairs of cuts on the smallest part
 *   triples    three cuts in a row there, some of all
 *   faults     flash that fails, at some of the operations
 *   cable      an event at each transaction (usb_events.h)
 *   requests   control requests, in core/ and on the board (requests.h)
 *   chains     two or three cuts at random places until the time is up
 *
 * Exits 0 when nothing failed outside of the published windows, 1 when something did, 2 when it could
 * not run.
 */
#include "campaign.h"
#include "requests.h"
#include "usb_events.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const parts[] = {
    "stm32f103c8", "stm32f103cb", "stm32f103rc", "stm32f103re", "stm32f103c4"};
enum {
    PARTS = sizeof parts / sizeof *parts,
    GEOMETRIES = 4, /* of them; the last is for pairs and triples */
    PAIR_JOBS = 24,
    CABLE_JOBS = 24,    /* each with its share of the transactions */
    WHOLE_MINUTES = 60, /* what every cut takes, and the rest */
    SILENCE_MS = 3000,  /* the longest that the firmware waits for anything are 2 s */
    REQUESTS_AT_ONCE = 10000,
    FLOWS_MAX = 24,
    WORKERS_MAX = 8,
    SEED = 20263,
};

enum phase { CUTS, PAIRS, TRIPLES, FAULTS_OF_FLASH, CABLE, REQUESTS, CHAINS, PHASES };
static const unsigned weights[PHASES] = {
    [CUTS] = 38,
    [PAIRS] = 24,
    [TRIPLES] = 10,
    [FAULTS_OF_FLASH] = 4,
    [CABLE] = 10,
    [REQUESTS] = 5,
    [CHAINS] = 9,
};

/* Of which flows; those of the triples and the faults begin at their first cut again and again. */
static const struct {
    const char *flow;
    uint64_t cut, second, third;
} rows_of_cuts[] = {
    {"update",      23,  29,  5 },
    {"install",     401, 307, 31},
    {"offset",      29,  31,  5 },
    {"first",       31,  29,  5 },
    {"head-update", 23,  29,  5 },
};
static const struct {
    const char *flow;
    unsigned part;
    uint64_t every;
} failing[] = {
    {"update",          4, 2 },
    {"settings",        4, 9 },
    {"mass-erase",      4, 1 },
    {"offset",          4, 5 },
    {"update",          0, 61},
    {"first",           2, 61},
    {"mass-first",      3, 61},
    {"offset-first",    1, 61},
    {"offset-beside",   2, 61},
    {"journal-full",    3, 61},
    {"install",         0, 61},
    {"install-former",  2, 61},
    {"head-update",     4, 2 },
    {"head-settings",   4, 9 },
    {"head-mass-first", 2, 61},
};
enum {
    TRIPLE_JOBS = sizeof rows_of_cuts / sizeof *rows_of_cuts,
    FAULT_JOBS = sizeof failing / sizeof *failing,
};

struct row { /* of the report: one flow on one part */
    struct tally tally;
    atomic_bool finished;
};

struct shared {
    atomic_uint next[PHASES];
    atomic_uint done[PHASES]; /* jobs to their end */
    atomic_flag lock;
    struct row rows[FLOWS_MAX][GEOMETRIES];
    struct tally pairs, chains[FLOWS_MAX][GEOMETRIES];
    struct tally triples[TRIPLE_JOBS], faults[FAULT_JOBS];
    struct cable_tally cable;
    struct request_tally in_core, on_board;
    double cable_s, in_core_s, on_board_s; /* of the processor */
};

struct options {
    unsigned minutes, workers;
    unsigned every; /* n-th operation of a flow is cut, so that all flows have their turn */
    const char *commit, *report;
    time_t begun;
};

static void lock(struct shared *s)
{
    while (atomic_flag_test_and_set(&s->lock))
        usleep(100);
}

static void unlock(struct shared *s)
{
    atomic_flag_clear(&s->lock);
}

static void add(struct shared *s, struct tally *to, const struct tally *from)
{
    lock(s);
    tally_add(to, from);
    unlock(s);
}

#define U(x) ((unsigned long long)(x))

static void say(const struct options *o, const char *flow, const char *part, const struct tally *t)
{
    printf(
        "%5lld s  %-14s %-11s %6llu operations %7llu cuts %6llu states %4llu decisions  old %llu "
        "new %llu DFU %llu  window %llu (%.2f ms)  %llu powered up, %llu downloads  %llu "
        "failures  (%.0f s)\n",
        (long long)(time(NULL) - o->begun), flow, part, U(t->operations), U(t->cuts), U(t->states),
        U(t->decisions), U(t->old_runs), U(t->new_runs), U(t->dfu), U(t->window),
        t->windows ? (double)t->window_ns / 1e6 / (double)t->windows : 0, U(t->powered),
        U(t->downloads), U(failures_of(t)), t->seconds);
    fflush(stdout);
}

/* --- the phases --------------------------------------------------------------------------------- */

struct worker {
    struct shared *s;
    const struct options *o;
    struct order order;
};

static bool in_time(const struct worker *w)
{
    return (uint64_t)time(NULL) < w->order.until_s;
}

/* The next job of a phase of so many; false: there is none, or no time. */
static bool next(struct worker *w, enum phase phase, unsigned jobs, unsigned *job)
{
    *job = 0;
    return in_time(w) && (*job = atomic_fetch_add(&w->s->next[phase], 1)) < jobs;
}

static void done(struct worker *w, enum phase phase, bool all)
{
    if (all)
        atomic_fetch_add(&w->s->done[phase], 1);
}

static void cuts(struct worker *w)
{
    unsigned job;

    /* All flows on one part, then on the next. */
    while (next(w, CUTS, flow_count * GEOMETRIES, &job)) {
        struct row *row = &w->s->rows[job % flow_count][job / flow_count];
        struct tally t = {0};
        w->order.flow = &flows[job % flow_count];
        w->order.part = parts[job / flow_count];
        bool all_cuts = w->o->every == 1 || w->order.flow->writes_options; /* these are 9 */
        for (unsigned i = 0; i < BOARD_TORN_KINDS; i++)
            w->order.every[i] = all_cuts ? 1 : w->o->every + i;
        bool all = trial_cuts(&w->order, &t);
        add(w->s, &row->tally, &t);
        atomic_store(&row->finished, all);
        say(w->o, w->order.flow->name, w->order.part, &t);
    }
}

static void pairs(struct worker *w)
{
    unsigned job;

    w->order.flow = flow_find("update");
    w->order.part = parts[GEOMETRIES];
    w->order.sample = 1024;
    w->order.download = 16;
    while (next(w, PAIRS, PAIR_JOBS, &job)) {
        struct tally t = {0};
        done(w, PAIRS, trial_pairs(&w->order, &t, job, PAIR_JOBS));
        add(w->s, &w->s->pairs, &t);
        say(w->o, "pairs", w->order.part, &t);
    }
}

static void triples(struct worker *w)
{
    unsigned job;

    w->order.part = parts[GEOMETRIES];
    while (next(w, TRIPLES, TRIPLE_JOBS, &job)) {
        struct tally t = {0};
        w->order.flow = flow_find(rows_of_cuts[job].flow);
        for (unsigned i = 0; i < BOARD_TORN_KINDS; i++)
            w->order.every[i] = rows_of_cuts[job].cut + i;
        w->order.sparse[0] = rows_of_cuts[job].second;
        w->order.sparse[1] = rows_of_cuts[job].third;
        done(w, TRIPLES, trial_triples(&w->order, &t));
        add(w->s, &w->s->triples[job], &t);
        say(w->o, "triples", w->order.flow->name, &t);
    }
}

static void failing_flash(struct worker *w)
{
    unsigned job;

    w->order.sample = 64;
    w->order.download = 8;
    while (next(w, FAULTS_OF_FLASH, FAULT_JOBS, &job)) {
        struct tally t = {0};
        w->order.flow = flow_find(failing[job].flow);
        w->order.part = parts[failing[job].part];
        for (unsigned i = 0; i < FAULTS; i++)
            w->order.every_fault[i] = failing[job].every + (failing[job].every > 1 ? i : 0);
        done(w, FAULTS_OF_FLASH, trial_faults(&w->order, &t));
        add(w->s, &w->s->faults[job], &t);
        say(w->o, "faults", w->order.flow->name, &t);
    }
}

static void cable(struct worker *w)
{
    struct cable_order order = {.part = parts[0],
        .seed = SEED,
        .every = CABLE_JOBS,
        .every_silence = CABLE_JOBS,
        .silence_ms = SILENCE_MS,
        .until_s = w->order.until_s,
        .log = stderr};
    unsigned job;

    while (next(w, CABLE, CABLE_JOBS, &job)) {
        struct cable_tally t = {0};
        clock_t begun = clock();
        order.first = job;
        done(w, CABLE, cable_events(&order, &t));
        lock(w->s);
        cable_tally_add(&w->s->cable, &t);
        w->s->cable_s += (double)(clock() - begun) / CLOCKS_PER_SEC;
        unlock(w->s);
    }
}

static void requests(struct worker *w)
{
    unsigned job;

    while (next(w, REQUESTS, UINT32_MAX, &job)) {
        struct request_tally t = {0};
        struct request_order order = {.part = parts[0],
            .seed = SEED + job,
            .count = job % 8 == 1 ? REQUESTS_AT_ONCE / 20 : REQUESTS_AT_ONCE,
            .wanted_data_only = job % 8 != 1, /* a host waits 5 s where that is not answered */
            .until_s = w->order.until_s};
        clock_t begun = clock();
        if (job)
            requests_on_board(&order, &t);
        else
            requests_in_core(1, &t);
        double seconds = (double)(clock() - begun) / CLOCKS_PER_SEC;
        lock(w->s);
        request_tally_add(job ? &w->s->on_board : &w->s->in_core, &t);
        *(job ? &w->s->on_board_s : &w->s->in_core_s) += seconds;
        unlock(w->s);
    }
}

static void chains(struct worker *w)
{
    unsigned long long job = atomic_fetch_add(&w->s->next[CHAINS], 1);

    for (; in_time(w); job = atomic_fetch_add(&w->s->next[CHAINS], 1)) {
        unsigned long long group = job / 64; /* preparing a board takes longer than a chain */
        unsigned flow = (unsigned)(group % flow_count);
        unsigned part = (unsigned)(group / flow_count % GEOMETRIES);
        struct tally t = {0};
        w->order.flow = &flows[flow];
        w->order.part = parts[part];
        w->order.seed = SEED + 1 + job;
        trial_chain(&w->order, &t);
        add(w->s, &w->s->chains[flow][part], &t);
    }
}

static void work(struct shared *s, const struct options *o)
{
    static void (*const phases[PHASES])(struct worker * w) = {
        cuts, pairs, triples, failing_flash, cable, requests, chains};
    unsigned all = 0, so_far = 0;

    for (unsigned i = 0; i < PHASES; i++)
        all += weights[i];
    for (unsigned i = 0; i < PHASES; i++) {
        so_far += weights[i];
        struct worker w = {
            s, o,
            {.seed = SEED,
                 .every = {1, 1, 1, 1, 1},
                 .sample = 64,
                 .download = 4,
                 .until_s = (uint64_t)o->begun + 60 * o->minutes * so_far / all,
                 .log = stderr}
        };
        bootloader_path = plain_bootloader;
        app_base = FLASH;
        phases[i](&w);
    }
}

/* --- the report --------------------------------------------------------------------------------- */

struct sums {
    struct tally cuts, chains, triples, faults, all;
};

static struct sums sum(const struct shared *s)
{
    struct sums n = {0};

    for (unsigned f = 0; f < flow_count; f++)
        for (unsigned p = 0; p < GEOMETRIES; p++) {
            tally_add(&n.cuts, &s->rows[f][p].tally);
            tally_add(&n.chains, &s->chains[f][p]);
        }
    for (unsigned i = 0; i < TRIPLE_JOBS; i++)
        tally_add(&n.triples, &s->triples[i]);
    for (unsigned i = 0; i < FAULT_JOBS; i++)
        tally_add(&n.faults, &s->faults[i]);
    tally_add(&n.all, &n.cuts);
    tally_add(&n.all, &n.chains);
    tally_add(&n.all, &n.triples);
    tally_add(&n.all, &s->pairs);
    n.all.cuts += s->pairs.pairs + n.triples.pairs + n.triples.triples;
    return n;
}

static uint64_t all_failures(const struct shared *s, const struct sums *n)
{
    return failures_of(&n->all) + failures_of(&n->faults) + s->cable.failures +
           s->in_core.failures + s->on_board.failures;
}

static void write_flows(FILE *f, const struct shared *s)
{
    fputs(
        "| flow | part | operations | cuts | of them marginal | distinct flash states | decisions "
        "| "
        "ran the old | ran the new | DFU | in the window | window, virtual ms | downloads after | "
        "failures |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        f);
    for (unsigned i = 0; i < flow_count; i++)
        for (unsigned p = 0; p < GEOMETRIES; p++) {
            const struct row *row = &s->rows[i][p];
            const struct tally *t = &row->tally;
            char window[32] = "none";
            if (!t->operations)
                continue;
            if (t->windows)
                snprintf(window, sizeof window, "%llu × %.2f", U(t->windows),
                    (double)t->window_ns / 1e6 / (double)t->windows);
            fprintf(f,
                "| %s | %s | %llu | %llu | %llu | %llu | %llu | %llu | %llu | %llu | %llu | %s | "
                "%llu | %llu%s |\n",
                flows[i].name, parts[p], U(t->operations), U(t->cuts), U(t->marginal), U(t->states),
                U(t->decisions), U(t->old_runs), U(t->new_runs), U(t->dfu), U(t->window), window,
                U(t->downloads), U(failures_of(t)), row->finished ? "" : " (not finished)");
        }
}

static unsigned not_reached(const struct shared *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < flow_count; i++)
        for (unsigned p = 0; p < GEOMETRIES; p++)
            n += !s->rows[i][p].tally.operations;
    return n;
}

static void write_failures(FILE *f, const struct tally *all)
{
    if (!failures_of(all)) {
        fputs("No failures outside of the windows.\n", f);
        return;
    }
    fprintf(f,
        "%llu with undecided (marginal) bits, %llu without.\n\n| what | marginal | count | the "
        "first, to see again with `build/tests/torture` |\n|---|---|--:|---|\n",
        U(marginal_failures_of(all)), U(failures_of(all) - marginal_failures_of(all)));
    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        if (all->failures[i].count)
            fprintf(f, "| %s | %s | %llu | `%s` |\n", all->failures[i].what,
                all->failures[i].marginal ? "yes" : "no", U(all->failures[i].count),
                all->failures[i].replay);
}

static uint64_t trials_of(const struct cable_tally *t)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < EVENT_KINDS; i++)
        n += t->trials[i];
    return n;
}

static void write_promises(
    FILE *f, const struct shared *s, const struct options *o, const struct sums *n)
{
    const char *c = o->commit;

    fputs("| promise | test | count | failures | CPU s | commit |\n|---|---|--:|--:|--:|---|\n", f);
    char which[40] = "every cut";
    if (o->every > 1)
        snprintf(which, sizeof which, "each %u-th to %u-th cut", o->every,
            o->every + BOARD_TORN_KINDS - 1);
    fprintf(f, "| P3 | %s: %u flows × %u parts × %u outcomes | %llu | %llu | %.0f | %s |\n", which,
        flow_count, (unsigned)GEOMETRIES, (unsigned)BOARD_TORN_KINDS, U(n->cuts.cuts),
        U(failures_of(&n->cuts)), n->cuts.seconds, c);
    fprintf(f,
        "| P3 | the recovery cut too: all pairs, %s, an application of %u bytes (%u of %u shares) "
        "| %llu | %llu | %.0f | %s |\n",
        parts[GEOMETRIES], (unsigned)APP_SMALLEST, s->done[PAIRS], (unsigned)PAIR_JOBS,
        U(s->pairs.pairs), U(failures_of(&s->pairs)), s->pairs.seconds, c);
    fprintf(f,
        "| P3 | three cuts in a row, %s: some of the flow, of those some more, then the third (%u "
        "of %u "
        "flows to the end) | %llu + %llu + %llu | %llu | %.0f | %s |\n",
        parts[GEOMETRIES], s->done[TRIPLES], (unsigned)TRIPLE_JOBS, U(n->triples.cuts),
        U(n->triples.pairs), U(n->triples.triples), U(failures_of(&n->triples)), n->triples.seconds,
        c);
    fprintf(f, "| P3 | two cuts, and three, at random places | %llu + %llu | %llu | %.0f | %s |\n",
        U(n->chains.chains_of_2), U(n->chains.chains_of_3), U(failures_of(&n->chains)),
        n->chains.seconds, c);
    fprintf(f,
        "| P3, P5, P6 | flash that fails in one operation: %u faults, %u of %u flows to the end | "
        "%llu | %llu | %.0f | %s |\n",
        (unsigned)FAULTS, s->done[FAULTS_OF_FLASH], (unsigned)FAULT_JOBS, U(n->faults.faults),
        U(failures_of(&n->faults)), n->faults.seconds, c);
    fprintf(f,
        "| P6 | an event on the cable at each transaction: %u kinds (%u of %u shares) | %llu | "
        "%llu "
        "| %.0f | %s |\n",
        (unsigned)EVENT_KINDS, s->done[CABLE], (unsigned)CABLE_JOBS, U(trials_of(&s->cable)),
        U(s->cable.failures), s->cable_s, c);
    fprintf(f, "| P6 | every control request in every state, core/ | %llu | %llu | %.0f | %s |\n",
        U(s->in_core.requests), U(s->in_core.failures), s->in_core_s, c);
    fprintf(f, "| P6 | control requests on the board | %llu | %llu | %.0f | %s |\n",
        U(s->on_board.requests), U(s->on_board.failures), s->on_board_s, c);
}

static void write_windows(FILE *f, const struct shared *s)
{
    fputs(
        "\n## Windows\n\n*Page 0*: it is erased and its reset vector does not stand yet, or not "
        "surely: a cut then leaves no way into the bootloader. Judged only where undecided bits "
        "happen to lead to DFU; in flows that leave page 0 as it is they would be failures. "
        "*Option bytes*: they are erased and \"not protected\" does not stand yet, or not surely: "
        "the application runs and DFU enumerates, but downloads are refused until a probe "
        "removes the protection (in the head layout they are taken). Times are typical ones "
        "(DS5319 table 28).\n\n| window | flow | "
        "part | in a session | virtual ms each | boards in it |\n|---|---|---|--:|--:|--:|\n",
        f);
    for (unsigned i = 0; i < flow_count; i++)
        for (unsigned p = 0; p < GEOMETRIES; p++) {
            const struct tally *t = &s->rows[i][p].tally;
            if (t->windows)
                fprintf(f, "| %s | %s | %s | %llu | %.2f | %llu |\n",
                    flows[i].writes_options ? "option bytes" : "page 0", flows[i].name, parts[p],
                    U(t->windows), (double)t->window_ns / 1e6 / (double)t->windows, U(t->window));
        }
    fputs("\nThe other flows, as far as they are below, have none.\n", f);
}

static void write_rows_of_cuts(FILE *f, const struct shared *s)
{
    fprintf(f,
        "\n## Cuts in a row\n\n| flow, %s | first cuts | second | third | distinct flash states | "
        "ran the old | ran the new | DFU | in a window | failures |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        parts[GEOMETRIES]);
    for (unsigned i = 0; i <= TRIPLE_JOBS; i++) {
        const struct tally *t = i < TRIPLE_JOBS ? &s->triples[i] : &s->pairs;
        fprintf(f, "| %s | %llu | %llu | %llu | %llu | %llu | %llu | %llu | %llu | %llu |\n",
            i < TRIPLE_JOBS ? rows_of_cuts[i].flow : "update, all pairs", U(t->cuts), U(t->pairs),
            U(t->triples), U(t->states), U(t->old_runs), U(t->new_runs), U(t->dfu), U(t->window),
            U(failures_of(t)));
    }
}

static void write_faults(FILE *f, const struct shared *s, const struct tally *all)
{
    fputs("\n## Flash that fails\n\nOne operation of a session fails: ", f);
    for (unsigned i = 0; i < FAULTS; i++)
        fprintf(f, "%s%s", i ? ", " : "", faults[i].name);
    fputs(
        ". The host is told OK only if all bytes are right and it runs; every request is answered "
        "(but where BSY stays for ever); with flash good again the board is put right.\n\n"
        "| flow | part | operations | each so many-th | sessions | told OK | told of an error | "
        "failures |\n|---|---|--:|--:|--:|--:|--:|--:|\n",
        f);
    for (unsigned i = 0; i < FAULT_JOBS; i++) {
        const struct tally *t = &s->faults[i];
        if (!t->operations)
            continue;
        fprintf(f, "| %s | %s | %llu | %llu | %llu | %llu | %llu | %llu |\n", failing[i].flow,
            parts[failing[i].part], U(t->operations), U(failing[i].every), U(t->faults),
            U(t->told_ok), U(t->told_error), U(failures_of(t)));
    }
    fputs("\n", f);
    write_failures(f, all);
}

static void write_cable(FILE *f, const struct cable_tally *t)
{
    fputs("\n## Events on the cable\n\nAt each transaction of a session (", f);
    for (unsigned i = 0; i < SESSIONS; i++)
        fprintf(f, "%s%s: %llu", i ? ", " : "", cable_session_names[i], U(t->transactions[i]));
    fputs(
        " transactions) each kind of event; the next session must succeed, flash must hold nothing "
        "astray (tests/usb_events.h).\n\n| event | trials | the session itself went on |\n"
        "|---|--:|--:|\n",
        f);
    for (unsigned i = 0; i < EVENT_KINDS; i++)
        fprintf(
            f, "| %s | %llu | %llu |\n", cable_event_names[i], U(t->trials[i]), U(t->survived[i]));
    fprintf(f,
        "\nOf %llu SETUPs whose ACK was lost %llu did no harm; %llu SETUPs went unheard; slowest "
        "answer of a next session %.1f ms; with the power gone at that moment %llu ran the old "
        "application, %llu the new, %llu none; %llu were in the page-0 window. %llu failures.\n",
        U(t->setup_acks_lost), U(t->setup_acks_survived), U(t->setups_unheard),
        (double)t->worst_answer_us / 1000, U(t->ran_old), U(t->ran_new), U(t->ran_none),
        U(t->in_window), U(t->failures));
    for (uint64_t i = 0; i < t->failures && i < CABLE_FAILURES; i++)
        fprintf(
            f, "%s- %s: `--replay %s`\n", i ? "" : "\n", t->failure[i].what, t->failure[i].replay);
}

static void write_requests(FILE *f, const struct request_tally *core, const struct request_tally *t)
{
    fprintf(f,
        "\n## Control requests\n\nAgainst a model of its own (tests/request_model.h). Through "
        "core/: "
        "%llu requests, %llu failures. On the board, at random: %llu requests, %llu STALLed, %llu "
        "answered with data, %llu taken; the slowest took %.1f ms; %llu failures.\n",
        U(core->requests), U(core->failures), U(t->requests), U(t->stalled), U(t->answered),
        U(t->taken), (double)t->slowest_us / 1000, U(t->failures));
    if (t->failures)
        fputs(
            "\n| in state | bmRequestType | bRequest | wValue | wIndex | wLength | what | like it "
            "|\n|--:|---|---|---|---|---|---|--:|\n",
            f);
    for (unsigned i = 0; i < REQUEST_FAILURES; i++) {
        const struct request_failure *x = &t->failure[i];
        if (x->count)
            fprintf(f, "| %d | %02x | %02x | %04x | %04x | %04x | %s | %llu |\n", (int)x->state,
                x->request.bmRequestType, x->request.bRequest, x->request.wValue, x->request.wIndex,
                x->request.wLength, x->what, U(x->count));
    }
}

static void write_report(FILE *f, const struct shared *s, const struct options *o)
{
    struct sums n = sum(s);
    time_t now = time(NULL);
    char date[32];

    strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", gmtime(&now));
    fprintf(f,
        "# Reliability\n\nWritten by `make torture` (tests/torture.c): the numbers of its last "
        "run, the bad ones too. %s, commit %s, %lld s on %u processes.\n\n"
        "**P3, never bricked, never torn**: the power fails at any instant; at the next "
        "power-up the board runs a complete application (the old or the new) or enumerates as DFU, "
        "and a normal download makes it right for good. The compiled firmware runs in the "
        "simulated board; the power is cut in flash operations with each of five outcomes: "
        "not begun, half done, random bits, done, and marginal (the bits read as something else at "
        "each power-up until they are erased or programmed). **P5**: success means that it was "
        "verified. **P6**: no host and no cable confuses it for long.\n\n",
        date, o->commit, (long long)(now - o->begun), o->workers);
    write_promises(f, s, o, &n);
    fprintf(f,
        "\n%llu cuts made, %llu of them marginal among single cuts; %llu distinct flash states "
        "judged; %llu power-ups, %llu downloads after.\n\nHow equal states are told, and why that "
        "is right: tests/campaign.h.\n\n## Failures after power cuts\n\n",
        U(n.all.cuts), U(n.cuts.marginal), U(n.all.states), U(n.all.powered), U(n.all.downloads));
    write_failures(f, &n.all);
    write_windows(f, s);
    fputs("\n## Cuts of each flow\n\n", f);
    write_flows(f, s);
    for (unsigned i = 0; i < flow_count; i++)
        fprintf(f, "%s*%s*: %s", i ? "; " : "\n", flows[i].name, flows[i].what);
    fprintf(f, ". Flows on parts that there was no time for: %u.\n", not_reached(s));
    write_rows_of_cuts(f, s);
    write_faults(f, s, &n.faults);
    write_cable(f, &s->cable);
    write_requests(f, &s->in_core, &s->on_board);
    fputs("\n## Not in the campaign\n\nFrom and to bootloaders of others.\n", f);
}

/* --- command line ------------------------------------------------------------------------------- */

static int usage(void)
{
    fputs("usage: torture [--minutes N] [--workers N] [--firmware FILE] [--head FILE] "
          "[--commit ID] [--report FILE]\n       torture --replay FLOW PART OPERATION TORN SEED "
          "[OPERATION TORN]\n"
          "       torture --replay FLOW PART chain 0 SEED\n"
          "       torture --replay SESSION EVENT TRANSACTION SEED\n",
        stderr);
    return 2;
}

static unsigned find(const char *name, const char *const names[], unsigned count)
{
    unsigned i = 0;

    while (i < count && strcmp(names[i], name) != 0)
        i++;
    return i;
}

static int replay_cable(char **argv)
{
    unsigned session = find(argv[0], cable_session_names, SESSIONS),
             event = find(argv[1], cable_event_names, EVENT_KINDS);
    struct cable_order o = {.part = parts[0],
        .silence_ms = SILENCE_MS,
        .only_session = (enum cable_session)session,
        .only_event = (enum cable_event)event,
        .only = strtoull(argv[2], NULL, 0),
        .seed = strtoull(argv[3], NULL, 0),
        .log = stderr};
    struct cable_tally t = {0};

    if (session == SESSIONS || event == EVENT_KINDS || !o.only)
        return usage();
    cable_events(&o, &t);
    printf("%llu events, %llu failures\n", U(trials_of(&t)), U(t.failures));
    return t.failures ? 1 : 0;
}

static int replay(int argc, char **argv)
{
    struct order o = {.sample = 1, .download = 1, .log = stderr};
    struct tally t = {0};
    uint64_t n[5] = {0};

    if (argc == 4)
        return replay_cable(argv);
    if (argc != 5 && argc != 7)
        return usage();
    o.flow = flow_find(argv[0]);
    o.part = argv[1];
    for (int i = 2; i < argc; i++)
        n[i - 2] = strtoull(argv[i], NULL, 0);
    o.only = n[0];
    o.only_torn = (int)n[1];
    o.seed = n[2];
    o.second = n[3];
    o.second_torn = (int)n[4];
    if (!o.flow)
        return usage();
    if (strcmp(argv[2], "chain") == 0)
        trial_chain(&o, &t);
    else if (o.second)
        trial_pairs(&o, &t, 0, 1);
    else
        trial_cuts(&o, &t);
    printf("%llu cuts, %llu pairs, %llu states: old %llu, new %llu, DFU %llu, window %llu; %llu "
           "downloads; %llu failures\n",
        U(t.cuts), U(t.pairs), U(t.states), U(t.old_runs), U(t.new_runs), U(t.dfu), U(t.window),
        U(t.downloads), U(failures_of(&t)));
    return failures_of(&t) ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct options o = {.minutes = 60, .workers = 2, .commit = "unknown", .begun = time(NULL)};
    struct shared *s =
        mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = 0;

    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--replay") == 0)
            return replay(argc - i - 1, argv + i + 1);
        if (i + 1 == argc)
            return usage();
        if (strcmp(argv[i], "--minutes") == 0)
            o.minutes = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--workers") == 0)
            o.workers = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--firmware") == 0)
            plain_bootloader = argv[i + 1];
        else if (strcmp(argv[i], "--head") == 0)
            head_bootloader = argv[i + 1];
        else if (strcmp(argv[i], "--commit") == 0)
            o.commit = argv[i + 1];
        else if (strcmp(argv[i], "--report") == 0)
            o.report = argv[i + 1];
        else
            return usage();
    }
    o.every = o.minutes && o.minutes < WHOLE_MINUTES ? WHOLE_MINUTES / o.minutes : 1;
    if (s == MAP_FAILED || !o.minutes || !o.workers || o.workers > WORKERS_MAX)
        return usage();
    for (unsigned i = 0; i < o.workers; i++)
        if (fork() == 0) {
            work(s, &o);
            _exit(0);
        }
    for (unsigned i = 0; i < o.workers; i++) {
        int how = 0;
        wait(&how);
        if (how)
            status = 2; /* a worker died: nothing it found may be lost in silence */
    }
    struct sums n = sum(s);
    say(&o, "pairs", parts[GEOMETRIES], &s->pairs);
    say(&o, "triples", parts[GEOMETRIES], &n.triples);
    say(&o, "faults", "all", &n.faults);
    say(&o, "chains", "all", &n.chains);
    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        if (n.all.failures[i].count)
            printf("%llu × %s%s: %s\n", U(n.all.failures[i].count),
                n.all.failures[i].marginal ? "marginal: " : "", n.all.failures[i].what,
                n.all.failures[i].replay);
    printf(
        "%llu cuts, %llu states, %llu sessions with failing flash, %llu events on the cable, %llu "
        "requests on the board: %llu failures\n",
        U(n.all.cuts), U(n.all.states), U(n.faults.faults), U(trials_of(&s->cable)),
        U(s->on_board.requests), U(all_failures(s, &n)));
    FILE *f = o.report && !status ? fopen(o.report, "w") : NULL;
    if (f) {
        write_report(f, s, &o);
        fclose(f);
    }
    return status ? status : all_failures(s, &n) ? 1 : 0;
}
