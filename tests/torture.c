/* SPDX-License-Identifier: MIT */
/*
 * The campaign (campaign.h) as a program: make torture.
 *
 *   torture [--minutes N] [--workers N] [--firmware FILE] [--commit ID] [--report FILE]
 *   torture --replay FLOW PART OPERATION TORN SEED [OPERATION TORN]
 *   torture --replay FLOW PART chain 0 SEED
 *
 * First every cut of every flow on every part; then all pairs of cuts on the smallest part; then
 * sequences of two and three cuts at random places until the time is up. Exits 0 when nothing failed
 * outside of the published window, 1 when something did, 2 when it could not run.
 */
#include "campaign.h"

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
    GEOMETRIES = 4, /* of them; the last is for pairs */
    PAIR_JOBS = 24,
    FLOWS_MAX = 16,
    WORKERS_MAX = 8,
    SEED = 20263,
};

struct row { /* of the report: one flow on one part */
    struct tally tally;
    atomic_bool finished;
};

struct shared {
    atomic_uint next_job, next_pair;
    atomic_ullong next_chain;
    atomic_uint pairs_done;
    atomic_flag lock;
    struct row rows[FLOWS_MAX][GEOMETRIES];
    struct tally pairs, chains[FLOWS_MAX][GEOMETRIES];
};

struct options {
    unsigned minutes, workers;
    const char *commit, *report;
    time_t begun;
};

static void add(struct shared *s, struct tally *to, const struct tally *from)
{
    while (atomic_flag_test_and_set(&s->lock))
        usleep(100);
    tally_add(to, from);
    atomic_flag_clear(&s->lock);
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

static bool in_time(const struct order *order)
{
    return (uint64_t)time(NULL) < order->until_s;
}

static void work(struct shared *s, const struct options *o)
{
    struct order order = {
        .seed = SEED,
        .every = {1, 1, 1, 1, 1},
        .sample = 64,
        .download = 4,
        .until_s = (uint64_t)o->begun + 60 * o->minutes,
        .log = stderr
    };
    unsigned job;
    unsigned long long n;

    while (in_time(&order) && (job = atomic_fetch_add(&s->next_job, 1)) < flow_count * GEOMETRIES) {
        struct row *row = &s->rows[job / GEOMETRIES][job % GEOMETRIES];
        struct tally t = {0};
        order.flow = &flows[job / GEOMETRIES];
        order.part = parts[job % GEOMETRIES];
        bool all = trial_cuts(&order, &t);
        add(s, &row->tally, &t);
        atomic_store(&row->finished, all);
        say(o, order.flow->name, order.part, &t);
    }
    order.flow = flow_find("update");
    order.part = parts[GEOMETRIES];
    order.sample = 1024;
    order.download = 16;
    order.until_s -= 9 * o->minutes; /* the last 15 % of the time are for chains */
    while (in_time(&order) && (job = atomic_fetch_add(&s->next_pair, 1)) < PAIR_JOBS) {
        struct tally t = {0};
        if (trial_pairs(&order, &t, job, PAIR_JOBS))
            atomic_fetch_add(&s->pairs_done, 1);
        add(s, &s->pairs, &t);
        say(o, "pairs", order.part, &t);
    }
    order.until_s += 9 * o->minutes;
    while ((n = atomic_fetch_add(&s->next_chain, 1)), in_time(&order)) {
        unsigned long long group = n / 64; /* preparing a board takes longer than a chain */
        unsigned flow = (unsigned)(group % flow_count);
        unsigned part = (unsigned)(group / flow_count % GEOMETRIES);
        struct tally t = {0};
        order.flow = &flows[flow];
        order.part = parts[part];
        order.seed = SEED + 1 + n;
        trial_chain(&order, &t);
        add(s, &s->chains[flow][part], &t);
    }
}

/* --- the report --------------------------------------------------------------------------------- */

static void sum(const struct shared *s, struct tally *cuts, struct tally *chains, struct tally *all)
{
    for (unsigned f = 0; f < flow_count; f++)
        for (unsigned p = 0; p < GEOMETRIES; p++) {
            tally_add(cuts, &s->rows[f][p].tally);
            tally_add(chains, &s->chains[f][p]);
        }
    tally_add(all, cuts);
    tally_add(all, chains);
    tally_add(all, &s->pairs);
    all->cuts += s->pairs.pairs;
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

static void write_failures(FILE *f, const struct tally *all)
{
    if (!failures_of(all)) {
        fputs("None outside of the window.\n", f);
        return;
    }
    fprintf(f,
        "%llu with undecided (marginal) bits, %llu without.\n\n| what | marginal | count | the "
        "first, "
        "to see again with `build/tests/torture` |\n|---|---|--:|---|\n",
        U(marginal_failures_of(all)), U(failures_of(all) - marginal_failures_of(all)));
    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        if (all->failures[i].count)
            fprintf(f, "| %s | %s | %llu | `%s` |\n", all->failures[i].what,
                all->failures[i].marginal ? "yes" : "no", U(all->failures[i].count),
                all->failures[i].replay);
}

static void write_report(FILE *f, const struct shared *s, const struct options *o)
{
    struct tally cuts = {0}, chains = {0}, all = {0};
    time_t now = time(NULL);
    double hours = (double)(now - o->begun) / 3600;
    char date[32];

    sum(s, &cuts, &chains, &all);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", gmtime(&now));
    fprintf(f,
        "# Reliability\n\nWritten by `make torture` (tests/torture.c): the numbers of its last "
        "run, the "
        "bad ones too. %s, commit %s, %lld s on %u processes.\n\n"
        "**Promise P3, never bricked, never torn**: the power fails at any instant; at the next "
        "power-up the board runs a complete application (the old or the new) or enumerates as DFU, "
        "and a normal download makes it right for good. The compiled firmware runs in the "
        "simulated "
        "board; the power is cut in *every* flash operation with each of five outcomes: not begun, "
        "half done, random bits, done, and marginal (the bits read as something else at each "
        "power-up until they are erased or programmed).\n\n",
        date, o->commit, (long long)(now - o->begun), o->workers);
    fputs("| promise | test | count | failures | CPU s |\n|---|---|--:|--:|--:|\n", f);
    fprintf(f, "| P3 | every cut: %u flows × %u parts × %u outcomes | %llu | %llu | %.0f |\n",
        flow_count, (unsigned)GEOMETRIES, (unsigned)BOARD_TORN_KINDS, U(cuts.cuts),
        U(failures_of(&cuts)), cuts.seconds);
    fprintf(f,
        "| P3 | the recovery cut too: all pairs, %s, an application of %u bytes (%u of %u shares) "
        "| "
        "%llu | %llu | %.0f |\n",
        parts[GEOMETRIES], (unsigned)APP_SMALLEST, s->pairs_done, (unsigned)PAIR_JOBS,
        U(s->pairs.pairs), U(failures_of(&s->pairs)), s->pairs.seconds);
    fprintf(f, "| P3 | two cuts, then three, at random places | %llu + %llu | %llu | %.0f |\n",
        U(chains.chains_of_2), U(chains.chains_of_3), U(failures_of(&chains)), chains.seconds);
    fprintf(f,
        "\n%llu cuts made, %llu of them marginal among single cuts; %llu distinct flash states "
        "judged; "
        "%llu power-ups, %llu downloads after. %.0f cuts an hour.\n\nHow equal states are told, "
        "and why "
        "that is right: tests/campaign.h.\n\n## Failures\n\n",
        U(all.cuts), U(cuts.marginal), U(all.states), U(all.powered), U(all.downloads),
        (double)all.cuts / hours);
    write_failures(f, &all);
    fputs(
        "\n## Windows\n\nPage 0 is erased and its reset vector does not stand yet, or not surely: "
        "a cut "
        "then leaves no way into the bootloader. Counted, timed (typical times, DS5319 table 28); "
        "judged only where undecided bits happen to lead to DFU. In flows that leave page 0 as it "
        "is they would be failures.\n\n## Every "
        "cut\n\n",
        f);
    write_flows(f, s);
    for (unsigned i = 0; i < flow_count; i++)
        fprintf(f, "%s*%s*: %s", i ? "; " : "\n", flows[i].name, flows[i].what);
    fputs(".\n\n## Not in the campaign yet\n\nSelf-update; option bytes; offset images; the head "
          "layout; "
          "from and to the seed's bootloader. They do not exist yet.\n",
        f);
}

/* --- command line ------------------------------------------------------------------------------- */

static int usage(void)
{
    fputs(
        "usage: torture [--minutes N] [--workers N] [--firmware FILE] [--commit ID] "
        "[--report FILE]\n       torture --replay FLOW PART OPERATION TORN SEED [OPERATION TORN]\n"
        "       torture --replay FLOW PART chain 0 SEED\n",
        stderr);
    return 2;
}

static int replay(int argc, char **argv)
{
    struct order o = {.sample = 1, .download = 1, .log = stderr};
    struct tally t = {0};
    uint64_t n[5] = {0};

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
    struct tally cuts = {0}, chains = {0}, all = {0};
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
            bootloader_path = argv[i + 1];
        else if (strcmp(argv[i], "--commit") == 0)
            o.commit = argv[i + 1];
        else if (strcmp(argv[i], "--report") == 0)
            o.report = argv[i + 1];
        else
            return usage();
    }
    if (s == MAP_FAILED || !o.workers || o.workers > WORKERS_MAX)
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
    sum(s, &cuts, &chains, &all);
    say(&o, "pairs", parts[GEOMETRIES], &s->pairs);
    say(&o, "chains", "all", &chains);
    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        if (all.failures[i].count)
            printf("%llu × %s%s: %s\n", U(all.failures[i].count),
                all.failures[i].marginal ? "marginal: " : "", all.failures[i].what,
                all.failures[i].replay);
    printf("%llu cuts, %llu states, %llu failures\n", U(all.cuts), U(all.states),
        U(failures_of(&all)));
    FILE *f = o.report && !status ? fopen(o.report, "w") : NULL;
    if (f) {
        write_report(f, s, &o);
        fclose(f);
    }
    return status ? status : failures_of(&all) ? 1 : 0;
}
