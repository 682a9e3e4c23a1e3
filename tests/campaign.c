/* SPDX-License-Identifier: MIT */
#include "campaign.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- flows -------------------------------------------------------------------------------------- */

enum flow_name {
    BLANK,
    FORMER,
    NOISE,
    FIRST,
    UPDATE,
    SHORTER,
    PAGE0,
    JOURNAL,
    SETTINGS,
    MASS,
    ERASE,
    OFFSET_FIRST,
    OFFSET,
    OFFSET_BESIDE,
    SELF,
    OPTIONS
};

const char *plain_bootloader = BOOTLOADER;
const char *head_bootloader = HEAD_BOOTLOADER;

// clang-format off
const struct flow flows[] = {
    [BLANK]         = {"install", "installation on a blank chip", .installs = true},
    [FORMER]        = {"install-former", "installation over a former one and its application",
                       .installs = true},
    [NOISE]         = {"install-noise", "installation over noise", .installs = true},
    [FIRST]         = {"first", "first download", .opens_page0 = true},
    [UPDATE]        = {"update", "update as dfu-util does it, erases put off", .opens_page0 = true},
    [SHORTER]       = {"shorter", "update by a shorter image, reserved vectors filled",
                       .opens_page0 = true},
    [PAGE0]         = {"same-page-0", "update that leaves page 0 as it is"},
    [JOURNAL]       = {"journal-full", "update with the journal full", .opens_page0 = true},
    [SETTINGS]      = {"settings", "a settings page beside the application"},
    [MASS]          = {"mass-first", "update that begins with a mass erase", .opens_page0 = true},
    [ERASE]         = {"mass-erase", "mass erase alone", .opens_page0 = true},
    [OFFSET_FIRST]  = {"offset-first", "first download of an image linked for 0x08002000"},
    [OFFSET]        = {"offset", "update of such an image, leave names it"},
    [OFFSET_BESIDE] = {"offset-beside", "such an image takes over beside one at 0x08000000"},
    [SELF]          = {"self-update", "download of another version of the bootloader, and its move",
                       .opens_page0 = true},
    [OPTIONS]       = {"options", "the option bytes are written", .writes_options = true},
    {"head-first",       "head layout: first download", .head = true},
    {"head-update",      "head layout: update, erases put off", .head = true},
    {"head-same-page-0", "head layout: update that leaves the application's first page", .head = true},
    {"head-settings",    "head layout: a settings page beside the application", .head = true},
    {"head-mass-first",  "head layout: update that begins with a mass erase", .head = true},
    {"head-mass-erase",  "head layout: mass erase alone", .head = true},
    {"head-options",     "head layout: the option bytes are written", .writes_options = true, .head = true},
};
// clang-format on
const unsigned flow_count = sizeof flows / sizeof *flows;

const struct flow *flow_find(const char *name)
{
    for (unsigned i = 0; i < flow_count; i++)
        if (strcmp(flows[i].name, name) == 0)
            return &flows[i];
    return NULL;
}

/* The flow itself, in whatever layout. */
static enum flow_name name_of(const struct flow *flow)
{
    return (enum flow_name)((flow->head ? flow_find(flow->name + strlen("head-")) : flow) - flows);
}

// clang-format off
const struct fault faults[FAULTS] = {
    {"WRPRTERR",           BOARD_FLASH_WRPRTERR, 0},
    {"PGERR",              BOARD_FLASH_PGERR,    0},
    {"silent no-op",       BOARD_FLASH_NO_OP,    0},
    {"weak cells",         BOARD_FLASH_WEAK,     0},
    {"stuck bit",          BOARD_FLASH_STUCK,    0},
    {"busy 400 ms longer", BOARD_FLASH_BUSY,     400 * BOARD_MS}, /* the slowest of the clones */
    {"busy for ever",      BOARD_FLASH_BUSY,     BOARD_FOR_EVER},
};
// clang-format on

/* --- tallies ------------------------------------------------------------------------------------ */

uint64_t failures_of(const struct tally *t)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        n += t->failures[i].count;
    return n;
}

uint64_t marginal_failures_of(const struct tally *t)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        n += t->failures[i].marginal ? t->failures[i].count : 0;
    return n;
}

/* The last place takes what is too much. */
static struct failure *failure_of(struct tally *t, const char *what, bool marginal)
{
    unsigned i = 0;

    while (i < FAILURE_KINDS - 1 && t->failures[i].count &&
           (strcmp(t->failures[i].what, what) != 0 || t->failures[i].marginal != marginal))
        i++;
    return &t->failures[i];
}

void tally_add(struct tally *to, const struct tally *from)
{
    uint64_t *a = &to->operations;
    const uint64_t *b = &from->operations;

    for (unsigned i = 0; i < offsetof(struct tally, seconds) / sizeof *a; i++)
        a[i] += b[i];
    to->seconds += from->seconds;
    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        if (from->failures[i].count) {
            struct failure *f = failure_of(to, from->failures[i].what, from->failures[i].marginal);
            uint64_t count = f->count + from->failures[i].count;
            if (!f->count)
                *f = from->failures[i];
            f->count = count;
        }
}

/* --- trials ------------------------------------------------------------------------------------- */

enum { CUTS_IN_A_ROW = 3 };
enum { MARK_SIZE = 8 }; /* in the head layout the application's first two words make it valid */
enum { DECISIONS_MAX = 4096, POWER_UPS = 4, START_MS = 8, INSTALL_MS = 400, MOVE_MS = 1000 };
enum outcome { RUNS_OLD, RUNS_NEW, ENUMERATES, DEAD };

struct trial {
    const struct order *o;
    struct tally *t;
    enum flow_name flow;
    struct app old, new, settings;
    struct app low;   /* new, linked for 0x08000000; when new is not */
    struct app image; /* of another version of the bootloader */
    uint32_t base;    /* of old and new; but in OFFSET_BESIDE old stands at 0x08000000 */
    bool moving;      /* a board in the middle of a self-update's move was judged */
    uint64_t opened;  /* when the window of the option bytes did, or 0 */
    struct host h;    /* the board before the flow's session */
    uint8_t *old_flash, *new_flash; /* all of flash before and after it */
    uint8_t *now;                   /* scratch */
    struct {
        uint64_t key;
        enum outcome outcome;
    } known[DECISIONS_MAX];
    unsigned known_count;
    uint64_t chance; /* generator of what is chosen at random */
    bool late;       /* the time is up */
    /* Cuts in a row: the one under way is the n-th; those before it, for the replay line; the flash
     * that each n-th cut has led to. */
    unsigned cuts_so_far, cuts_in_a_row;
    const struct explorer *row[CUTS_IN_A_ROW];
    struct {
        uint64_t *known;
        size_t known_size;
    } met[CUTS_IN_A_ROW];
    unsigned share, shares;
    uint64_t outer;
    bool chain, any_marginal;                   /* one of the cuts of the chain was */
    const struct fault *fault;                  /* that the session suffers from; NULL: none */
    uint64_t operations, transfers, session_ns; /* of the session, without a cut */
};

static uint64_t chance(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static bool is_offset(const struct trial *t)
{
    return t->flow == OFFSET_FIRST || t->flow == OFFSET || t->flow == OFFSET_BESIDE;
}

/* Flash holds the image, all of it; at 0x08000000 but for the reset vector. */
static bool holds(const struct trial *t, const struct board *b, const struct app *app)
{
    if (app->data != t->new.data || t->base == app_base)
        return flash_holds(b, app);
    board_peek(b, t->base, t->now, app->size);
    return memcmp(t->now, app->data, app->size) == 0;
}

static bool time_is_up(struct trial *t)
{
    t->late = t->late || (t->o->until_s && (uint64_t)time(NULL) >= t->o->until_s);
    return t->late;
}

static void fail(struct trial *t, const struct explorer *e, const struct board *b, const char *what)
{
    bool marginal = t->chain ? t->any_marginal : e->torn == BOARD_TORN_MARGINAL;
    for (unsigned i = 0; i + 1 < t->cuts_so_far; i++)
        marginal |= t->row[i]->torn == BOARD_TORN_MARGINAL;
    struct failure *f = failure_of(t->t, what, marginal);
    struct failure now = {.count = f->count + 1, .marginal = marginal};
    const struct board_complaint *c = board_complaint(b);
    const struct order *o = t->o;
    int n = snprintf(now.replay, sizeof now.replay, "--replay %s %s ", o->flow->name, o->part);
    char *at = now.replay + n;
    size_t room = sizeof now.replay - (size_t)n;

    snprintf(now.what, sizeof now.what, "%s", what);
    if (t->fault)
        snprintf(now.replay, sizeof now.replay, "%s, %s: %s in operation %llu, seed %llu",
            o->flow->name, o->part, t->fault->name, (unsigned long long)e->operations,
            (unsigned long long)o->seed);
    else if (t->chain)
        snprintf(at, room, "chain 0 %llu", (unsigned long long)o->seed);
    else if (t->cuts_so_far == 2)
        snprintf(at, room, "%llu %d %llu %llu %d", (unsigned long long)t->row[0]->operations,
            (int)t->row[0]->torn, (unsigned long long)o->seed, (unsigned long long)e->operations,
            (int)e->torn);
    else if (t->cuts_so_far == 3)
        snprintf(now.replay, sizeof now.replay,
            "%s, %s: cut in operation %llu (%s), then %llu (%s), then %llu (%s), seed %llu",
            o->flow->name, o->part, (unsigned long long)t->row[0]->operations,
            torn_name(t->row[0]->torn), (unsigned long long)t->row[1]->operations,
            torn_name(t->row[1]->torn), (unsigned long long)e->operations, torn_name(e->torn),
            (unsigned long long)o->seed);
    else
        snprintf(at, room, "%llu %d %llu", (unsigned long long)e->operations, (int)e->torn,
            (unsigned long long)o->seed);
    if (f->count)
        f->count++;
    else
        *f = now;
    if (o->log && now.count <= 3)
        fprintf(o->log, "FAILURE %s, %s, %s: %s; pc %08x; %s; %s\n", o->flow->name, o->part,
            t->fault   ? t->fault->name
            : t->chain ? "several cuts"
                       : torn_name(e->torn),
            what, board_pc(b), c ? c->rule : "no complaint", now.replay);
}

/* --- a board is judged -------------------------------------------------------------------------- */

/* Goes on from a power-up: an application that says its tag, or a DFU device. */
static enum outcome powered_up_now(struct trial *t, struct board *b)
{
    struct host h = {.board = b};

    t->t->powered++;
    forget();
    for (unsigned ms = 0; ms < START_MS; ms++) {
        if (board_run_for(b, BOARD_MS) != BOARD_DONE)
            return DEAD;
        if (strstr(heard(), t->new.tag))
            return RUNS_NEW;
        if (t->old.size && strstr(heard(), t->old.tag))
            return RUNS_OLD;
    }
    return host_enumerate(&h) ? ENUMERATES : DEAD;
}

static enum outcome powered_up(struct trial *t, struct board *b)
{
    power_cycle(b);
    return powered_up_now(t, b);
}

/* What the bootloader decides by at power-up may read otherwise at the next. */
static bool unsure_of(const struct board *b)
{
    if (app_base != FLASH)
        return undecided(b, FLASH, taken_by_bootloader(b) + MARK_SIZE);
    return undecided(b, FLASH, 8) || undecided(b, FLASH + app_room(b), taken_by_bootloader(b));
}

/* In the application, but for what makes it valid. */
static bool undecided_in_app(const struct board *b)
{
    uint32_t mark = app_base != FLASH ? MARK_SIZE : 0;

    return undecided(b, app_base + mark, app_room(b) - mark);
}

/* What runs must be the whole of the old or of the new, and stay so. */
static bool complete(struct trial *t, const struct board *b, enum outcome o)
{
    uint32_t room = app_room(b), at = app_base - FLASH;
    bool alike = t->old.size && memcmp(t->old.tag, t->new.tag, 4) == 0;

    board_peek(b, app_base, t->now, room);
    bool was = t->old.size && memcmp(t->now, t->old_flash + at, room) == 0;
    bool is = memcmp(t->now, t->new_flash + at, room) == 0;
    *(was ? &t->t->old_runs : &t->t->new_runs) += 1;
    return (was && (alike || o == RUNS_OLD)) || (is && (alike || o == RUNS_NEW));
}

/* After a success there is nothing that may read otherwise tomorrow: application, bootloader. */
static const char *unsound(struct trial *t, struct board *b, uint32_t base, const struct app *app)
{
    bool head = app_base != FLASH;
    uint32_t room = app_room(b), page = board_page_size(b), taken = taken_by_bootloader(b);
    uint32_t own = head ? FLASH : FLASH + room + page, own_size = head ? taken : taken - page;
    uint32_t mark = head ? base : FLASH + room, mark_size = head ? MARK_SIZE : page;
    uint32_t body = head ? base + MARK_SIZE : base;

    if (undecided(b, FLASH, 8))
        return "success reported; undecided bits in the first two words of flash";
    if (undecided(b, body, base + (uint32_t)app->size - body))
        return "success reported; undecided bits in the application";
    if (undecided(b, own, own_size))
        return "success reported; undecided bits in the bootloader";
    if (!undecided(b, mark, mark_size))
        return NULL;
    for (unsigned i = 0; i < 2 * POWER_UPS; i++)
        if (powered_up(t, b) != RUNS_NEW)
            return "success reported; later it does not run: undecided bits in the journal";
    return NULL;
}

/* As dfu-util -s ADDRESS:leave does it. */
static bool upload_and_leave(struct host *h, uint32_t base, const struct app *app)
{
    uint32_t page = board_page_size(h->board), size = (uint32_t)app->size;

    for (uint32_t at = 0; at < size; at += page)
        if (!dfu_erase(h, base + at))
            return false;
    for (uint32_t at = 0; at < size; at += XFER)
        if (!dfu_write(h, base + at, app->data + at, size - at < XFER ? size - at : XFER))
            return false;
    return dfu_set_address(h, base) && dfu_leave(h, 2);
}

/* The read protection is on, or may be: the bootloader writes nothing. */
static bool protected(const struct board *b)
{
    uint8_t rdp[2];

    board_peek(b, OPTION_BYTES, rdp, sizeof rdp);
    return rdp[0] != 0xA5 || rdp[1] != 0x5A || undecided(b, OPTION_BYTES, sizeof rdp);
}

static bool in_a_window(const struct board *b)
{
    return page0_open(b) || undecided(b, FLASH + 4, 4) || protected(b);
}

/* The same download as that of the flow, where there is one, as it puts a board right. */
static bool download(const struct trial *t, struct host *h)
{
    if (is_offset(t))
        return dfu_open(h) && upload_and_leave(h, t->base, &t->new);
    return flash_application(h, &t->new);
}

/* From DFU, or an application that runs: a normal download must do, and last. */
static void takes_a_download(struct trial *t, struct explorer *e, struct board *b, enum outcome o)
{
    struct host h = {.board = b};

    t->t->downloads++;
    if (o != ENUMERATES) {
        board_press_reset(b, 20 * BOARD_MS);
        if (!host_enumerate(&h)) {
            fail(t, e, b, "the reset button does not lead to DFU");
            return;
        }
    }
    const struct app *app = is_offset(t) && t->t->downloads % 2 ? &t->low : &t->new;
    if (app == &t->low ? !flash_application(&h, app) : !download(t, &h)) {
        fail(t, e, b, "a normal download fails");
        return;
    }
    bool leave = t->t->downloads % 8 == 0 && !is_offset(t);
    if (leave ? !dfu_leave(&h, 0) || !hears(b, t->new.tag, 2000) : powered_up(t, b) != RUNS_NEW) {
        fail(t, e, b,
            page0_open(b) ? "DEAD: success reported; later its reset vector reads otherwise"
                          : "what was downloaded normally does not run");
        return;
    }
    if (!holds(t, b, app)) {
        fail(t, e, b, "what was downloaded normally is not what flash holds");
        return;
    }
    const char *what = unsound(t, b, app == &t->low ? app_base : t->base, app);
    if (what)
        fail(t, e, b, what);
}

/* Power-up, once or, with undecided bits, repeatedly. */
static enum outcome try_it(struct trial *t, struct explorer *e, struct board *b, unsigned times)
{
    enum outcome o = DEAD;

    for (unsigned i = 0; i < times; i++) {
        o = powered_up(t, b);
        if (o == DEAD) {
            fail(t, e, b, "it neither runs nor enumerates");
            return DEAD;
        }
        bool app = o != ENUMERATES;
        if (app && !complete(t, b, o)) {
            fail(t, e, b, "it runs an application that is not complete");
            return DEAD;
        }
        if (app && undecided_in_app(b)) {
            fail(t, e, b, "it runs an application with undecided bits");
            return DEAD;
        }
    }
    return o;
}

/* The worst that undecided bits can do is to look as if the operation were complete, at the next
 * power-up, and not at a later one. Powers up until they do, if chance will have it. */
static void draw_the_worst(const struct trial *t, struct board *b)
{
    uint32_t size = board_flash_size(b);
    uint8_t *mask = malloc(size);
    bool alike = false;

    board_peek_marginal(b, FLASH, mask, size);
    for (unsigned i = 0; i < 16 && !alike; i++) {
        board_power(b, false);
        board_power(b, true);
        board_peek(b, FLASH, t->now, size);
        alike = true;
        for (uint32_t at = 0; at < size; at++)
            alike &= !((t->now[at] ^ t->new_flash[at]) & mask[at]);
    }
    free(mask);
}

/* The window: counted. Where an undecided vector happens to lead to DFU, a download must end it. */
static void in_window(struct trial *t, struct explorer *e, struct board *b)
{
    t->t->window++;
    if (!t->o->flow->opens_page0) {
        fail(t, e, b, "page 0 is open in a flow that does not change it");
        return;
    }
    if (!undecided(b, FLASH, 8))
        return;
    draw_the_worst(t, b);
    if (!page0_open(b) && powered_up_now(t, b) == ENUMERATES)
        takes_a_download(t, e, b, ENUMERATES);
}

static void judge(struct explorer *e, struct board *b)
{
    struct trial *t = e->context;
    unsigned i = 0;

    t->t->states++;
    if (time_is_up(t))
        e->only = UINT64_MAX; /* no more cuts */
    if (page0_open(b) || undecided(b, FLASH + 4, 4)) {
        in_window(t, e, b);
        return;
    }
    bool unsure = unsure_of(b);
    bool waits = undecided(b, app_base, app_room(b)); /* somewhere in the pages being written */
    uint64_t key = decision(b);
    while (i < t->known_count && t->known[i].key != key)
        i++;
    bool new = i == t->known_count, sampled = t->o->sample && t->t->states % t->o->sample == 0;
    enum outcome o;
    if (new || unsure || sampled) {
        o = try_it(t, e, b, unsure ? POWER_UPS : 1);
        if (unsure || (waits && o == ENUMERATES)) {
            draw_the_worst(t, b);
            o = powered_up_now(t, b);
        }
        if (o == DEAD)
            return;
        t->t->dfu += o == ENUMERATES;
        if (new && !unsure && i < DECISIONS_MAX) {
            t->known[i].key = key;
            t->known[i].outcome = o;
            t->known_count++;
            t->t->decisions++;
        } else if (!unsure && !new && t->known[i].outcome != o) {
            fail(t, e, b, "a board decides otherwise than others of its class");
        }
        bool single = t->cuts_so_far == 1;
        if (((waits || new) && single) || unsure || t->t->powered % t->o->download == 0)
            takes_a_download(t, e, b, o);
        return;
    }
    o = t->known[i].outcome;
    t->t->dfu += o == ENUMERATES;
    if (o != ENUMERATES && (!complete(t, b, o) || undecided_in_app(b)))
        fail(t, e, b, "it would run an application that is not complete");
}

/* Until the installed bootloader runs: from there on nothing changes flash by itself. */
static void run_installer(struct board *b)
{
    board_run_for(b, START_MS * BOARD_MS); /* reset is over: the PC is that of now */
    for (unsigned ms = 0; ms < INSTALL_MS && board_pc(b) < FLASH + app_room(b); ms++)
        board_run_for(b, BOARD_MS);
}

/* Is the stub at the end of flash what it will be? Then the installer goes on into DFU, else it begins
 * at its beginning and reads nothing of what it finds there: a class of its own. */
static bool stub_stands(struct trial *t, const struct board *b)
{
    uint32_t at = stub_at(b);

    board_peek(b, at, t->now, PAGE);
    return memcmp(t->now, t->new_flash + (at - FLASH), PAGE) == 0;
}

/* Whatever the cut left, power-up makes an installed board of it. */
static void judge_installation(struct explorer *e, struct board *b)
{
    struct trial *t = e->context;
    uint32_t size = board_flash_size(b), taken = taken_by_bootloader(b),
             from = FLASH + size - taken;

    t->t->states++;
    if (time_is_up(t))
        e->only = UINT64_MAX;
    if (!stub_stands(t, b) && !undecided(b, stub_at(b), PAGE) && t->known_count &&
        t->t->states % t->o->sample != 0) {
        t->t->dfu++;
        return;
    }
    t->known_count = 1;
    t->t->powered++;
    draw_the_worst(t, b);
    board_power(b, true);
    run_installer(b);
    board_peek(b, FLASH, t->now, size);
    if (memcmp(t->now, t->new_flash, size) != 0) {
        fail(t, e, b, "it is not what an installed board is");
        return;
    }
    t->t->dfu++;
    bool unsure = undecided(b, from, taken);
    if (t->t->powered % 8 != 0 && !unsure)
        return;
    struct host h = {.board = b}; /* of this power-up: the next draws undecided bits anew */
    if (!host_enumerate(&h)) {
        fail(t, e, b, "it is installed, and does not enumerate");
        return;
    }
    if (!unsure && t->t->powered % t->o->download)
        return;
    takes_a_download(t, e, b, ENUMERATES);
    if (unsure)
        for (unsigned i = 0; i < 4 * POWER_UPS; i++)
            if (powered_up(t, b) == DEAD) {
                fail(t, e, b, "DEAD: installed and flashed, later its stub reads otherwise");
                return;
            }
}

/* --- a self-update ------------------------------------------------------------------------------ */

enum proper { OLD_PROPER, NEW_PROPER, TORN_PROPER };

/* What stands of the bootloader before the stub. */
static enum proper proper_of(const struct trial *t, const struct board *b)
{
    uint32_t size = (uint32_t)t->image.size - PAGE, at = stub_at(b) - FLASH - size;

    board_peek(b, FLASH + at, t->now, size);
    return memcmp(t->now, t->old_flash + at, size) == 0      ? OLD_PROPER
           : memcmp(t->now, t->image.data + PAGE, size) == 0 ? NEW_PROPER
                                                             : TORN_PROPER;
}

/* The download is complete: the image of the other version stands where an application does. */
static bool image_stands(const struct trial *t, const struct board *b)
{
    uint32_t room = app_room(b);

    board_peek(b, FLASH, t->now, room);
    return memcmp(t->now, t->new_flash, room) == 0 && !undecided(b, FLASH, room);
}

/* The old or the new bootloader, all of it. While the proper is neither, what moves it begins at its
 * beginning and reads nothing of what it finds there: a class of its own. */
static void judge_self_update(struct explorer *e, struct board *b)
{
    struct trial *t = e->context;
    uint32_t room = app_room(b), taken = taken_by_bootloader(b);

    if (!image_stands(t, b)) {
        judge(e, b);
        return;
    }
    t->t->states++;
    if (time_is_up(t))
        e->only = UINT64_MAX;
    bool unsure = undecided(b, FLASH + room, taken), torn = proper_of(t, b) == TORN_PROPER;
    if (torn && !unsure && t->moving && t->t->states % t->o->sample != 0) {
        t->t->dfu++;
        return;
    }
    t->moving |= torn;
    t->t->powered++;
    draw_the_worst(t, b);
    board_power(b, true);
    run_installer(b);
    board_peek(b, FLASH, t->now, board_flash_size(b));
    bool moved = memcmp(t->now, t->new_flash, board_flash_size(b)) == 0;
    t->t->dfu++;
    bool still = undecided(b, FLASH + room, taken);
    if (moved && t->t->powered % 8 != 0 && !still)
        return;
    struct host h = {.board = b};
    if (!host_enumerate(&h)) {
        fail(t, e, b, "neither the old nor the new bootloader enumerates");
        return;
    }
    if (proper_of(t, b) == TORN_PROPER) {
        fail(t, e, b, "a bootloader enumerates that is neither the old nor the new one");
        return;
    }
    if (still || t->t->powered % t->o->download == 0)
        takes_a_download(t, e, b, ENUMERATES);
    for (unsigned i = 0; still && i < 4 * POWER_UPS; i++)
        if (powered_up(t, b) == DEAD) {
            fail(t, e, b, "DEAD: updated and flashed, later its bootloader reads otherwise");
            return;
        }
}

/* --- option bytes ------------------------------------------------------------------------------- */

/* Data bytes that an application might keep there; no protection. */
static const uint8_t wanted_options[OPTION_BYTES_SIZE] = {
    0xA5, 0, 0xFF, 0, 0x12, 0, 0x34, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0};

static bool write_options(struct host *h)
{
    return dfu_open(h) && dfu_write(h, OPTION_BYTES, wanted_options, sizeof wanted_options);
}

static bool options_stand(const struct board *b)
{
    uint8_t now[OPTION_BYTES_SIZE];

    board_peek(b, OPTION_BYTES, now, sizeof now);
    for (unsigned i = 0; i < sizeof now; i += 2)
        if (now[i] != wanted_options[i] || (now[i] ^ now[i + 1]) != 0xFF)
            return false;
    return !undecided(b, OPTION_BYTES, sizeof now);
}

/* Whatever the option bytes are, the application runs and the button leads to DFU. */
static void judge_options(struct explorer *e, struct board *b)
{
    struct trial *t = e->context;
    struct host h = {.board = b};
    bool window = protected(b);

    t->t->states++;
    if (e->operations == 1 && e->torn == BOARD_TORN_NOT_BEGUN)
        t->opened = board_now(b);
    else if (!window && t->opened) { /* it stands now */
        t->t->windows = 1;
        t->t->window_ns = board_now(b) - t->opened;
        t->opened = 0;
    }
    for (unsigned i = 0; i < 2 * POWER_UPS; i++) {
        enum outcome o = powered_up(t, b);
        if (o != RUNS_OLD || !complete(t, b, o)) {
            fail(t, e, b, "the application does not run after a cut of the option bytes");
            return;
        }
    }
    board_press_reset(b, 20 * BOARD_MS);
    if (!host_enumerate(&h) || !dfu_open(&h)) {
        fail(t, e, b, "the reset button does not lead to DFU after a cut of the option bytes");
        return;
    }
    if (window) {
        t->t->window++;
        if (e->operations > 2) /* the erase, RDP */
            fail(t, e, b, "read-protected, although other option bytes were being written");
        bool takes_it = flash_application(&h, &t->new);
        if (!takes_it && h.last.status != DFU_ERR_VENDOR)
            fail(t, e, b, "read-protected, but that is not what it says");
        if (t->o->flow->head && (!takes_it || powered_up(t, b) != RUNS_NEW))
            fail(t, e, b, "read-protected, it does not take and run an application");
        return;
    }
    if (!write_options(&h) || !options_stand(b)) {
        fail(t, e, b, "the option bytes cannot be written again");
        return;
    }
    host_sleep(&h, BOARD_S);
    takes_a_download(t, e, b, RUNS_OLD);
}

/* What judges a board that the flow was cut on. */
static void (*judge_of(const struct trial *t))(struct explorer *e, struct board *b)
{
    return t->o->flow->installs ? judge_installation
           : t->flow == SELF    ? judge_self_update
           : t->flow == OPTIONS ? judge_options
                                : judge;
}

/* --- preparing ---------------------------------------------------------------------------------- */

static void press_into_dfu(struct host *h)
{
    board_press_reset(h->board, 20 * BOARD_MS);
    if (!host_enumerate(h))
        fprintf(stderr, "preparing: the reset button does not lead to DFU\n");
}

/* All records of the journal used, the last one valid. */
static void fill_journal(struct host *h)
{
    enum { SIZE = 128 * 8 };
    uint32_t at = FLASH + app_room(h->board);
    uint8_t *records = calloc(1, SIZE);

    board_power(h->board, false);
    board_peek(h->board, at + 8, records + SIZE - 8, 8); /* behind that of the first download */
    board_load(h->board, at, records, SIZE);
    board_power(h->board, true);
    board_run_for(h->board, 20 * BOARD_MS);
    press_into_dfu(h);
    free(records);
}

static struct host installer(const char *part, const uint8_t *former)
{
    struct host h = {.board = new_board(part, 1)};
    struct app image = app_load(bootloader_path);

    if (former)
        board_load(h.board, FLASH, former, board_flash_size(h.board));
    board_load(h.board, FLASH, image.data, image.size);
    app_free(&image);
    return h;
}

static struct host installer_over(struct trial *t)
{
    const char *part = t->o->part;
    struct host h = installer(part, NULL);
    uint8_t *former = NULL;
    uint32_t size = board_flash_size(h.board), taken = taken_by_bootloader(h.board);

    if (t->flow == NOISE) {
        former = app_build(size, t->o->seed, 0).data;
    } else if (t->flow == FORMER) {
        struct app app = app_build(size / 2, 14, 0);
        struct host was = host_with_application(part, &app);
        former = flash_dump(was.board);
        for (uint32_t at = size - taken + board_page_size(h.board); at < size; at += 5)
            former[at] ^= 0x24; /* another version */
        board_free(was.board);
        app_free(&app);
    }
    board_free(h.board);
    h = installer(part, former);
    free(former);
    return h;
}

static size_t size_of_app(const struct trial *t)
{
    return strcmp(t->o->part, "stm32f103c4") == 0 ? APP_SMALLEST : 8192;
}

/* app_build() lets every vector lead to the entry, so that a wild reset vector would run the
 * application by way of its HardFault. Here faults end in a loop, as in most firmware. */
static void let_faults_hang(struct app *app)
{
    enum { B_SELF = 0xE7FE, HARD_FAULT = 3, USAGE_FAULT = 6 };
    size_t at = APP_ENTRY - 1 - FLASH;

    if (!app->size)
        return;
    while (app->data[at] != (B_SELF & 0xFF) || app->data[at + 1] != B_SELF >> 8)
        at += 2;
    at += app_base - FLASH;
    for (unsigned i = HARD_FAULT; i <= USAGE_FAULT; i++) {
        app->data[4 * i] = (uint8_t)(at + 1);
        app->data[4 * i + 1] = (uint8_t)(at >> 8);
    }
}

/* An image for 0x08000000 becomes one for another address: its code does not mind. */
static void link_for(struct app *app, uint32_t base)
{
    enum { VECTORS = 0x150 };

    for (unsigned i = 4; i < VECTORS; i += 4) {
        uint32_t vector = app->data[i] | (uint32_t)app->data[i + 1] << 8 | FLASH;
        vector += vector == FLASH ? 0 : base - FLASH;
        app->data[i] = (uint8_t)vector;
        app->data[i + 1] = (uint8_t)(vector >> 8);
    }
}

/* The image that the boards carry, as version 1.1: another text at its end, the sum right. */
static struct app another_version(void)
{
    enum { SUM_AT = 0x10, DIGIT_FROM_END = 2 };
    struct app image = app_load(bootloader_path);
    uint32_t sum = 0;

    image.data[image.size - DIGIT_FROM_END]++;
    for (size_t i = PAGE; i < image.size; i++)
        sum += (uint32_t)image.data[i] << i % 4 * 8;
    for (unsigned i = 0; i < 4; i++)
        image.data[SUM_AT + i] = (uint8_t)(sum >> 8 * i);
    return image;
}

static void prepare_apps(struct trial *t)
{
    size_t size = size_of_app(t);

    t->new = app_build(size, 22, t->flow == SHORTER ? IMAGE_FILLS_RESERVED_VECTORS : 0);
    if (t->flow == PAGE0 || t->flow == SETTINGS) {
        t->old = app_build(size, 22, 0);
        for (size_t i = 2048; i < size && t->flow == PAGE0; i++)
            t->old.data[i] ^= 0x5A;
    } else if (t->flow == ERASE) {
        t->old = app_build(3 * size, 21, 0);
    } else if (t->flow != FIRST && t->flow != OFFSET_FIRST && !t->o->flow->installs) {
        t->old = app_build(t->flow == SHORTER ? size + 3001 : size, 21, 0);
        t->old.data[1]--; /* in the head layout that tells their boards' decisions apart */
    }
    let_faults_hang(&t->old);
    let_faults_hang(&t->new);
    t->settings = app_build(2048, 99, 0);
    t->base = app_base;
    if (is_offset(t)) {
        t->base += 0x2000;
        t->low = app_build(size, 22, 0);
        let_faults_hang(&t->low);
        link_for(&t->new, t->base);
        if (t->flow == OFFSET)
            link_for(&t->old, t->base);
    }
    if (t->flow == SELF)
        t->image = another_version();
}

static uint32_t settings_at(const struct board *b)
{
    return app_base + app_room(b) - 2048;
}

/* What the host does, from opening the device to its last word. */
static bool session(struct trial *t, struct host *h)
{
    switch (t->flow) {
    case BLANK:
    case FORMER:
    case NOISE:
        for (unsigned ms = 0; ms < INSTALL_MS; ms += 20)
            host_sleep(h, 20 * BOARD_MS);
        return true;
    case SETTINGS:
        return dfu_open(h) && dfu_download_like_dfu_util(
                                  h, settings_at(h->board), t->settings.data, t->settings.size);
    case MASS:
        return dfu_open(h) && dfu_mass_erase(h) &&
               dfu_download_counting(h, app_base, t->new.data, t->new.size);
    case ERASE:
        return dfu_open(h) && dfu_mass_erase(h) && dfu_to_idle(h);
    case SELF:
        if (!flash_application(h, &t->image) || !dfu_leave(h, 2))
            return false;
        for (unsigned ms = 0; ms < MOVE_MS; ms += 20)
            host_sleep(h, 20 * BOARD_MS);
        return true;
    case OPTIONS:
        return write_options(h);
    case OFFSET_FIRST:
    case OFFSET:
    case OFFSET_BESIDE:
    case FIRST:
    case UPDATE:
    case SHORTER:
    case PAGE0:
    case JOURNAL:
        break;
    }
    return download(t, h);
}

static struct host host_with_offset_image(const struct trial *t)
{
    struct host h = host_on_new_board(t->o->part);

    if (!dfu_open(&h) || !upload_and_leave(&h, t->base, &t->old) ||
        !hears(h.board, t->old.tag, 2000))
        fprintf(stderr, "preparing: the first image does not run at %08x\n", t->base);
    press_into_dfu(&h);
    return h;
}

static bool settle(struct board *b)
{
    board_run_for(b, 2 * BOARD_S); /* what ABORT left to be done */
    return true;
}

static bool prepare(struct trial *t, const struct order *o, struct tally *tally)
{
    *t = (struct trial){.o = o, .t = tally, .chance = o->seed, .shares = 1, .cuts_so_far = 1};
    t->flow = name_of(o->flow);
    bootloader_path = o->flow->head ? head_bootloader : plain_bootloader;
    app_base = o->flow->head ? HEAD_BASE : FLASH;
    prepare_apps(t);
    if (o->flow->installs)
        t->h = installer_over(t);
    else if (t->flow == FIRST || t->flow == OFFSET_FIRST)
        t->h = host_on_new_board(o->part);
    else if (t->flow == OFFSET)
        t->h = host_with_offset_image(t);
    else
        t->h = host_in_dfu(o->part, &t->old, BOARD_TYPICAL);
    if (t->flow == JOURNAL)
        fill_journal(&t->h);
    if (o->flow->installs) {
        board_power(t->h.board, true);
        usb_plug(t->h.board);
    }
    t->old_flash = flash_dump(t->h.board);
    t->now = flash_dump(t->h.board);

    struct host rehearsal = {.board = board_copy(t->h.board)};
    struct board_counts before, after;
    uint64_t begun = board_now(rehearsal.board);
    board_counts(rehearsal.board, &before);
    bool did = session(t, &rehearsal) && settle(rehearsal.board);
    board_counts(rehearsal.board, &after);
    t->transfers = rehearsal.transfers;
    t->session_ns = board_now(rehearsal.board) - begun;
    t->operations = after.flash_operations - before.flash_operations;
    tally->windows += after.page0_windows - before.page0_windows;
    tally->window_ns += after.page0_open_ns - before.page0_open_ns;
    t->new_flash = flash_dump(rehearsal.board);
    board_free(rehearsal.board);
    if (!did)
        fprintf(stderr, "%s on %s: the session fails without any cut\n", o->flow->name, o->part);
    return did;
}

static void unprepare(struct trial *t)
{
    board_free(t->h.board);
    app_free(&t->old);
    app_free(&t->new);
    app_free(&t->settings);
    app_free(&t->low);
    app_free(&t->image);
    free(t->old_flash);
    free(t->new_flash);
    free(t->now);
}

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

/* --- every cut ---------------------------------------------------------------------------------- */

static void judge_but_the_last(struct explorer *e, struct board *b)
{
    struct trial *t = e->context;

    if (e->operations != t->operations)
        judge_of(t)(e, b);
}

static struct explorer explorer_of(struct trial *t)
{
    struct explorer e = {.context = t,
        .seed = t->o->seed,
        .only = t->o->only,
        .only_torn = t->o->only_torn,
        .check = t->o->but_the_last ? judge_but_the_last : judge_of(t)};

    memcpy(e.every, t->o->every, sizeof e.every);
    return e;
}

static void explore_session(struct trial *t, struct explorer *e)
{
    explore(e, &t->h);
    if (!session(t, &t->h))
        fail(t, e, t->h.board, "the session fails without any cut");
    host_sleep(&t->h, 2 * BOARD_S); /* what ABORT left to be done */
    explore_end(e, &t->h);
    t->t->operations += e->operations;
    t->t->cuts += e->cuts;
}

static void cut_the_recovery(struct explorer *e, struct board *b);
static bool run(struct trial *t, const struct order *o, struct tally *tally, bool pairs);

bool trial_cuts(const struct order *o, struct tally *tally)
{
    static struct trial t;
    double begun = cpu_seconds();

    if (!prepare(&t, o, tally)) {
        struct explorer none = {.seed = 0};
        fail(&t, &none, t.h.board, "the session fails without any cut");
    }
    bool all = run(&t, o, tally, false);
    unprepare(&t);
    tally->seconds += cpu_seconds() - begun;
    return all;
}

static bool run(struct trial *t, const struct order *o, struct tally *tally, bool pairs)
{
    struct explorer e = explorer_of(t);
    uint64_t marginals = o->every[BOARD_TORN_MARGINAL];

    if (pairs)
        e.check = cut_the_recovery;
    explore_session(t, &e);
    if (marginals)
        tally->marginal += e.operations / marginals;
    return !t->late;
}

/* --- flash that fails --------------------------------------------------------------------------- */

/* A host gives a request up after 5 s, and the tool then ends. */
enum { PATIENCE_MS = 10000 };

static bool for_ever(const struct fault *f)
{
    return f->busy_ns == BOARD_FOR_EVER;
}

/* Told that all went well: does flash hold it, and does it run? */
static void told_ok(struct trial *t, struct explorer *e, struct board *b)
{
    uint32_t room = app_room(b);

    t->t->told_ok++;
    board_peek(b, app_base, t->now, room);
    if (memcmp(t->now, t->new_flash + (app_base - FLASH), room) != 0) {
        fail(t, e, b, "told OK, but flash holds something else");
        return;
    }
    enum outcome o = powered_up(t, b);
    if (o != (t->flow == ERASE ? ENUMERATES : RUNS_NEW))
        fail(t, e, b, "told OK, but at power-up it does not run");
    else if (t->t->told_ok % t->o->download == 0)
        takes_a_download(t, e, b, o);
}

/* Told of an error, or of nothing. Flash is good again. */
static void told_error(struct trial *t, struct explorer *e, struct board *b)
{
    t->t->told_error++;
    board_power(b, false);
    judge_of(t)(e, b);
}

/* The same for an installation: whatever failed, with good flash it comes about. */
static void installs_at_last(struct trial *t, struct explorer *e, struct board *b)
{
    struct host h = {.board = b};

    t->t->told_error++;
    power_cycle(b);
    run_installer(b);
    board_peek(b, FLASH, t->now, board_flash_size(b));
    if (memcmp(t->now, t->new_flash, board_flash_size(b)) != 0)
        fail(t, e, b, "with good flash it is not installed");
    else if (!host_enumerate(&h))
        fail(t, e, b, "it is installed, and does not enumerate");
    else if (t->t->told_error % t->o->download == 0)
        takes_a_download(t, e, b, ENUMERATES);
}

/* The host's last question. After a mass erase there is nothing to leave to; while dfuIDLE comes with a
 * bwPollTimeout, pages are still to be erased. */
static bool all_is_well(const struct trial *t, struct host *h)
{
    if (t->o->flow->installs)
        return false;
    if (is_offset(t)) /* it has left */
        return true;
    if (t->flow != ERASE)
        return dfu_leave(h, 0);
    for (unsigned tries = 0; tries < 8; tries++) {
        dfu_getstatus(h);
        if (h->last.result != DFU_STATUS_SIZE || h->last.status != DFU_OK)
            return false;
        if (!h->last.poll_ms)
            return true;
        host_sleep(h, h->last.poll_ms * BOARD_MS);
    }
    return false;
}

/* One session, the flash failing in its operation e->operations. */
static void suffer(struct trial *t, struct explorer *e, struct board *b)
{
    struct host h = {.board = b, .give_up_after = 2 * t->transfers + 100}, next = {.board = b};
    uint64_t begun = board_now(b);

    board_fail_flash(b, &(struct board_flash_failure){.fault = t->fault->kind,
                            .nth = e->operations,
                            .busy_ns = t->fault->busy_ns,
                            .seed = t->o->seed + e->operations});
    t->t->faults++;
    bool ok = session(t, &h) && all_is_well(t, &h);
    bool answers = ok || t->o->flow->installs || for_ever(t->fault) || dfu_open(&next);
    if (!ok && answers && !for_ever(t->fault) &&
        e->operations % 2) /* some tools go on: what starts must be complete */
        dfu_leave(&next, 0);
    const struct board_complaint *c = board_complaint(b);
    board_fail_flash(b, NULL);
    if (c)
        fail(t, e, b, "the firmware breaks a rule of the hardware");
    else if (h.transfers >= h.give_up_after)
        fail(t, e, b, "the host asks for ever");
    else if (board_now(b) - begun > t->session_ns + PATIENCE_MS * BOARD_MS)
        fail(t, e, b, "the host waits too long");
    else if (!answers)
        fail(t, e, b, "after the error it does not lead back to dfuIDLE");
    else if (ok)
        told_ok(t, e, b);
    else if (t->o->flow->installs)
        installs_at_last(t, e, b);
    else
        told_error(t, e, b);
}

bool trial_faults(const struct order *o, struct tally *tally)
{
    static struct trial t;
    double begun = cpu_seconds();
    struct explorer e = {.seed = o->seed, .context = &t};

    prepare(&t, o, tally);
    struct board *base = board_copy(t.h.board);
    tally->operations += t.operations;
    for (e.operations = 1; e.operations <= t.operations && !time_is_up(&t); e.operations++)
        for (int i = 0; i < FAULTS; i++)
            if (o->only ? o->only == e.operations && o->only_fault == i
                        : o->every_fault[i] && e.operations % o->every_fault[i] == 0) {
                board_restore(t.h.board, base);
                t.fault = &faults[i];
                suffer(&t, &e, t.h.board);
            }
    board_free(base);
    unprepare(&t);
    tally->seconds += cpu_seconds() - begun;
    return !t.late;
}

/* --- cuts in a row ------------------------------------------------------------------------------ */

/* The host's next try on a board that was cut, from its power-up on. False: it cannot begin. */
static bool begin_recovery(struct trial *t, struct explorer *e, struct host *h)
{
    if (t->o->flow->installs) {
        board_power(h->board, true);
        return true;
    }
    if (in_a_window(h->board)) {
        t->t->window++;
        return false;
    }
    enum outcome o = try_it(t, e, h->board, 1);
    if (o != ENUMERATES && o != DEAD)
        press_into_dfu(h);
    return o != DEAD;
}

static bool recover(struct trial *t, struct host *h)
{
    return t->o->flow->installs ? session(t, h) : download(t, h);
}

/* What cuts the recovery from the cut of e. Equal flash is met once, whatever led to it. */
static struct explorer explorer_after(struct trial *t, const struct explorer *e)
{
    unsigned cuts = t->cuts_so_far + 1;
    const struct order *o = t->o;
    struct explorer next = {
        .context = t,
        .seed = o->seed + e->operations * 5 + e->torn,
        .only = cuts == 2 ? o->second : 0,
        .only_torn = o->second_torn,
        .check = cuts < t->cuts_in_a_row ? cut_the_recovery : judge_of(t),
        .every = {1, 1, 1, 1, 1},
        .known = t->met[cuts - 1].known,
        .known_size = t->met[cuts - 1].known_size
    };

    for (unsigned i = 0; i < BOARD_TORN_KINDS && t->cuts_in_a_row > 2; i++) {
        uint64_t sparse = o->sparse[cuts - 2];
        next.every[i] = o->every[i] ? sparse + chance(&t->chance) % sparse : 0;
    }
    return next;
}

/* The board is e's, and e may not see it change before the next cut: it is restored then. */
static void cut_the_recovery(struct explorer *e, struct board *b)
{
    struct trial *t = e->context;
    struct host h = {.board = b};

    if (t->cuts_so_far == 1 && t->outer++ % t->shares != t->share && !t->o->only)
        return;
    if (time_is_up(t)) {
        e->only = UINT64_MAX;
        return;
    }
    if (!begin_recovery(t, e, &h))
        return;
    struct explorer next = explorer_after(t, e);
    t->row[t->cuts_so_far - 1] = e;
    t->cuts_so_far++;
    explore(&next, &h);
    if (!recover(t, &h))
        fail(t, &next, b, "a normal download fails");
    host_sleep(&h, 100 * BOARD_MS);
    *(t->cuts_so_far == 2 ? &t->t->pairs : &t->t->triples) += next.cuts;
    t->cuts_so_far--;
    t->met[t->cuts_so_far].known = next.known;
    t->met[t->cuts_so_far].known_size = next.known_size;
    next.known = NULL;
    explore_end(&next, &h);
}

static bool in_a_row(struct trial *t, const struct order *o, struct tally *tally, unsigned cuts)
{
    double begun = cpu_seconds();

    t->cuts_in_a_row = cuts;
    bool all = run(t, o, tally, true);
    for (unsigned i = 0; i < CUTS_IN_A_ROW; i++) {
        free(t->met[i].known);
        t->met[i].known = NULL;
    }
    unprepare(t);
    tally->seconds += cpu_seconds() - begun;
    return all;
}

bool trial_pairs(const struct order *o, struct tally *tally, unsigned n, unsigned of)
{
    static struct trial t;

    prepare(&t, o, tally);
    t.share = n;
    t.shares = of;
    return in_a_row(&t, o, tally, 2);
}

bool trial_triples(const struct order *o, struct tally *tally)
{
    static struct trial t;

    prepare(&t, o, tally);
    return in_a_row(&t, o, tally, 3);
}

/* --- chains ------------------------------------------------------------------------------------- */

static enum board_torn any_torn(struct trial *t)
{
    return (enum board_torn)(chance(&t->chance) % BOARD_TORN_KINDS);
}

/* Power fails somewhere in what comes next; if that has fewer operations, after it. */
static void cut_somewhere(struct trial *t, struct board *b, uint64_t operations)
{
    uint64_t nth = 1 + chance(&t->chance) % operations;
    enum board_torn torn = any_torn(t);

    board_cut_at(b, nth, torn, chance(&t->chance));
    if (getenv("CABOOSE_LOG"))
        fprintf(stderr, "power is to fail in operation %llu, %s\n", (unsigned long long)nth,
            torn_name(torn));
    t->any_marginal |= torn == BOARD_TORN_MARGINAL;
}

/* 1 if the cut that was ordered has come; else the power is switched off now. */
static unsigned fails_now(struct board *b)
{
    bool cut = !board_powered(b);

    board_cut_at(b, 0, BOARD_TORN_NOT_BEGUN, 0);
    board_power(b, false);
    return cut;
}

void trial_chain(const struct order *o, struct tally *tally)
{
    static struct trial t; /* kept while flow and part stay the same */
    static struct board *base;
    static const struct flow *flow;
    static const char *part;
    double begun = cpu_seconds();

    if (flow != o->flow || part != o->part) {
        struct tally none = {0};
        if (base) {
            board_free(base);
            unprepare(&t);
        }
        prepare(&t, o, &none);
        base = board_copy(t.h.board);
        flow = o->flow;
        part = o->part;
    }
    t.o = o;
    t.t = tally;
    t.chance = o->seed;
    t.chain = true;
    t.any_marginal = false;
    struct board *b = t.h.board;
    struct explorer e = {.seed = o->seed};
    unsigned cuts = 2 + chance(&t.chance) % 2;
    uint64_t operations = t.new.size / 2 + 20;

    board_restore(b, base);
    struct host h = {.board = b};
    cut_somewhere(&t, b, t.operations);
    session(&t, &h);
    unsigned made = fails_now(b);
    for (unsigned i = 1; i < cuts; i++) {
        if (in_a_window(b)) {
            tally->window++;
            goto done;
        }
        if (o->flow->installs || (t.flow == SELF && i == 1)) {
            cut_somewhere(&t, b, 2100);
            board_power(b, true);
            run_installer(b);
        } else {
            enum outcome was = powered_up(&t, b);
            if (was == DEAD) {
                fail(&t, &e, b, "it neither runs nor enumerates");
                goto done;
            }
            if (was != ENUMERATES)
                press_into_dfu(&h);
            cut_somewhere(&t, b, operations);
            download(&t, &h);
        }
        made += fails_now(b);
    }
    tally->chains_of_2 += made == 2;
    tally->chains_of_3 += made == 3;
    if (in_a_window(b)) {
        tally->window++;
        goto done;
    }
    enum outcome was = powered_up(&t, b);
    if (was == DEAD)
        fail(&t, &e, b, "it neither runs nor enumerates");
    else if (was == RUNS_NEW && !o->flow->installs && !holds(&t, b, &t.new) &&
             (!t.old.size || !holds(&t, b, &t.old)))
        fail(&t, &e, b, "it runs an application that is not complete");
    else if (was == RUNS_OLD && !holds(&t, b, &t.old))
        fail(&t, &e, b, "it runs an application that is not complete");
    else
        takes_a_download(&t, &e, b, was);
    tally->states++;
done:
    tally->cuts += made;
    tally->seconds += cpu_seconds() - begun;
}
