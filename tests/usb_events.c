/* SPDX-License-Identifier: MIT */
#include "usb_events.h"

#include "sim/usb_state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const cable_event_names[EVENT_KINDS] = {
    "unplug",
    "bus-reset",
    "new-setup",
    "lost-packet",
    "lost-ack",
    "early-end",
    "silence",
    "suspend",
};
const char *const cable_session_names[SESSIONS] = {"enumeration", "download", "upload"};

enum {
    STEPS_MAX = 1000,
    PACKET = 64,
    APP_SIZE = 3 * PAGE,
    TIMEOUT_MS = 5000,
    EARLY_END_MS = 300, /* how long the host waits for the end of a transfer that it has spoilt */
    ADDRESS = 9,
    LEAVES_WITHIN_MS = 4000, /* a host that said leave and nothing more is waited for */
};

struct trial {
    const struct cable_order *o;
    struct cable_tally *tally;
    struct app old, new, next;
    struct board *start[SESSIONS], *scratch, *b;
    uint8_t *before, *now; /* flash */
    uint8_t back[APP_SIZE];
    /* The session without an event: transactions before each of its control transfers. */
    uint64_t begins[STEPS_MAX + 1];
    unsigned steps;
    bool counting;
    /* The session under way. */
    enum cable_session session;
    enum cable_event event;
    uint64_t nth, base, chance;
    unsigned step;
    bool dead;   /* the host's program */
    bool waited; /* nothing is known of the device but that it has had the time to leave */
};

static uint64_t chance(struct trial *t) /* splitmix64 */
{
    uint64_t z = t->chance += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static void fail(struct trial *t, const char *what)
{
    struct cable_tally *tally = t->tally;
    const struct board_complaint *c = board_complaint(t->b);
    char replay[60];

    snprintf(replay, sizeof replay, "%s %s %llu %llu", cable_session_names[t->session],
        cable_event_names[t->event], (unsigned long long)t->nth, (unsigned long long)t->o->seed);
    if (tally->failures < CABLE_FAILURES) {
        snprintf(tally->failure[tally->failures].what, sizeof tally->failure->what, "%s%s%.60s",
            what, c ? ": " : "", c ? c->rule : "");
        snprintf(
            tally->failure[tally->failures].replay, sizeof tally->failure->replay, "%s", replay);
    }
    tally->failures++;
    if (t->o->log)
        fprintf(t->o->log, "FAILURE %s: %s; pc %08x; %s\n", replay, what, board_pc(t->b),
            c ? c->rule : "no complaint");
}

static uint64_t transactions(const struct board *b)
{
    struct usb_counts n;

    usb_counts(b, &n);
    return n.transactions;
}

static unsigned length_of(const struct step *s)
{
    return s->setup[6] | (unsigned)s->setup[7] << 8;
}

/* --- the event ---------------------------------------------------------------------------------- */

static int finish(struct board *b, int handle, uint8_t *data, size_t size)
{
    int result = usb_result(b, handle);

    while (result == USB_PENDING) {
        if (usb_run(b, USB_STEP_NS) != BOARD_DONE) {
            usb_cancel(b, handle);
            return USB_BOARD;
        }
        result = usb_result(b, handle);
    }
    usb_take(b, handle, data, size);
    return result;
}

/* The nth transaction has been, and a little time has passed: the firmware is anywhere in what it
 * does about it. */
static void run_into(struct trial *t, int handle)
{
    const struct usb_host_state *host = &board_usb(t->b)->host;
    static const uint64_t soon[] = {0, 2000, 5000, 10000, 20000, 50000, 100000, 300000};

    while (usb_result(t->b, handle) == USB_PENDING &&
           (transactions(t->b) - t->base < t->nth || host->bus == USB_BUS_BUSY))
        if (usb_run(t->b, 2 * BOARD_US) != BOARD_DONE)
            return;
    board_run_for(t->b, soon[chance(t) % 8]);
    while (host->bus == USB_BUS_BUSY) /* no host ends a transaction in its middle */
        if (usb_run(t->b, 2 * BOARD_US) != BOARD_DONE)
            return;
}

/* The first request after an event. A SETUP that the peripheral does not take, because the firmware
 * has not dealt with the last one, is counted, and tried again for as long as a request may take
 * (USB 2.0 §9.2.6.4). */
static int first_request(struct trial *t, const struct step *s)
{
    int result = step_do(t->b, s);

    for (unsigned ms = 0; ms < 500 && result == USB_ERROR; ms += 10) {
        t->tally->setups_unheard++;
        usb_wait_until(t->b, usb_host_now(t->b) + 10 * BOARD_MS);
        result = step_do(t->b, s);
    }
    return result;
}

/* Another request in mid-transfer: the device must take it (USB 2.0 §8.5.3). */
static void new_setup(struct trial *t, const struct step *old)
{
    static const struct step requests[] = {
        {.setup = {0xA1, DFU_GETSTATUS, 0, 0, 0, 0, DFU_STATUS_SIZE}},
        {.setup = {0xA1, DFU_GETSTATE, 0, 0, 0, 0, 1}},
        {.setup = {0x80, 6, 0, 1, 0, 0, 18}},
        {.setup = {0x80, 6, 0, 2, 0, 0, 255}},
        {.setup = {0x80, 0, 0, 0, 0, 0, 2}},
        {.setup = {0x21, DFU_CLRSTATUS}},
        {.setup = {0x21, DFU_ABORT}},
        {.setup = {0x01, 11}},
    };
    uint8_t data[255];
    struct step s = requests[chance(t) % (sizeof requests / sizeof *requests)];

    s.data = data;
    if (old->setup[0] == 0 && old->setup[1] == 5) {
        step_do(t->b, &s); /* SET_ADDRESS: at which address is it heard? */
        return;
    }
    int result = first_request(t, &s);
    bool may_stall = t->session == SESSION_ENUMERATION || s.setup[0] == 0x21;
    if (result < 0 && !(result == USB_STALL && may_stall) && !strstr(heard(), t->new.tag))
        fail(t, "a new SETUP in mid-transfer is not answered");
}

/* The data stage ends with the nth transaction. False: it cannot. */
static bool end_early(struct trial *t, const struct step *s, uint64_t packet)
{
    size_t length = length_of(s), size = packet * PACKET;
    bool in = s->setup[0] & 0x80;

    if (!in)
        size -= 1 + chance(t) % PACKET; /* a short one, an empty one */
    if (!packet || size >= length)
        return false;
    int handle = usb_submit(t->b, 0, s->setup, s->data, size, EARLY_END_MS);
    uint8_t data[APP_SIZE];
    int result = handle < 0 ? handle : finish(t->b, handle, data, size);
    t->tally->stalled_early_ends += result == USB_STALL;
    if (result == USB_BOARD)
        fail(t, "the board stopped");
    return true;
}

static int interrupted(struct trial *t, const struct step *s, uint64_t packet)
{
    static const uint64_t turnarounds[] = {0, 5, 50, USB_TURNAROUND_NS / 1000};

    if (t->event == EVENT_EARLY_END) {
        t->dead = end_early(t, s, packet);
        return t->dead ? USB_GONE : step_do(t->b, s);
    }
    int handle = usb_submit(t->b, 0, s->setup, s->data, length_of(s), TIMEOUT_MS);
    if (handle < 0)
        return handle;
    run_into(t, handle);
    t->dead = t->event != EVENT_SUSPEND;
    usb_set_turnaround(t->b, turnarounds[chance(t) % 4] * BOARD_US);
    if (t->event == EVENT_SUSPEND) {
        usb_suspend(t->b, true);
        board_run_for(t->b, 20 * BOARD_MS);
        usb_suspend(t->b, false);
        return finish(t->b, handle, s->data, length_of(s));
    }
    usb_cancel(t->b, handle);
    if (t->event == EVENT_BUS_RESET)
        usb_bus_reset(t->b);
    else if (t->event == EVENT_NEW_SETUP)
        new_setup(t, s);
    else
        usb_wait_until(t->b, usb_host_now(t->b) + t->o->silence_ms * BOARD_MS);
    return USB_GONE;
}

static bool is_fault(enum cable_event event)
{
    return event == EVENT_UNPLUG || event == EVENT_LOST_PACKET || event == EVENT_LOST_ACK;
}

static int perform(struct host *h, const struct step *s)
{
    struct trial *t = h->context;

    if (s->sleep_ns || t->dead)
        return t->dead ? USB_GONE : step_do(h->board, s);
    if (t->counting) {
        if (t->steps < STEPS_MAX)
            t->begins[t->steps++] = transactions(h->board) - t->base;
        return step_do(h->board, s);
    }
    unsigned n = t->step++;
    bool here = n < t->steps && t->begins[n] < t->nth && t->nth <= t->begins[n + 1];
    if (here && !is_fault(t->event))
        return interrupted(t, s, t->nth - t->begins[n] - 1);
    int result = step_do(h->board, s);
    t->dead = t->dead || (t->event == EVENT_UNPLUG && !usb_attached(h->board));
    return result;
}

/* --- sessions ----------------------------------------------------------------------------------- */

static int read_descriptor(
    struct host *h, unsigned type, unsigned index, uint8_t *data, unsigned size)
{
    return host_control(h, 0x80, 6, (uint16_t)(type << 8 | index), type == 3 && index ? 0x0409 : 0,
        data, (uint16_t)size);
}

static int get_descriptor(struct host *h, unsigned type, unsigned index, unsigned size)
{
    uint8_t data[255];

    return read_descriptor(h, type, index, data, size);
}

/* As usb_enumerate(), but each transfer is a step of this host. */
static bool enumerate_once(struct host *h)
{
    struct usb_host_state *host = &board_usb(h->board)->host;
    uint8_t device[18];
    int n;

    if (usb_bus_reset(h->board) < 0 || get_descriptor(h, 1, 0, PACKET) < 8 ||
        usb_bus_reset(h->board) < 0 || host_control(h, 0x00, 5, ADDRESS, 0, NULL, 0) < 0)
        return false;
    host->address = ADDRESS;
    host_sleep(h, 10 * BOARD_MS);
    if (read_descriptor(h, 1, 0, device, sizeof device) != sizeof device)
        return false;
    if ((n = get_descriptor(h, 6, 0, 10)) < 0 && n != USB_STALL)
        return false;
    if ((n = get_descriptor(h, 15, 0, 255)) < 0 && n != USB_STALL)
        return false;
    if (get_descriptor(h, 2, 0, 9) != 9 || get_descriptor(h, 2, 0, 255) < 27)
        return false;
    if (get_descriptor(h, 3, 0, 255) < 4)
        return false;
    for (unsigned i = 14; i <= 16; i++) /* manufacturer, product, serial number */
        if (device[i] && get_descriptor(h, 3, device[i], 255) < 4)
            return false;
    return host_control(h, 0x00, 9, 1, 0, NULL, 0) == 0;
}

/* Hosts try again: where the ACK of SET_ADDRESS's status stage is lost, device and host are of
 * different minds, which only a reset can repair. */
static bool enumerate(struct host *h)
{
    return enumerate_once(h) || enumerate_once(h);
}

static bool run_session(struct trial *t, struct host *h)
{
    switch (t->session) {
    case SESSION_ENUMERATION:
        return enumerate(h);
    case SESSION_DOWNLOAD:
        return flash_application(h, &t->new) && dfu_leave(h, 2);
    case SESSION_UPLOAD:
        return dfu_open(h) && dfu_read(h, FLASH, t->back, t->old.size, XFER);
    case SESSIONS:
        break;
    }
    return false;
}

/* --- the board is judged ------------------------------------------------------------------------ */

static bool runs_an_application(const struct trial *t)
{
    return strstr(heard(), t->old.tag) || strstr(heard(), t->new.tag);
}

/* Outside of the application and the journal nothing has changed. */
static void judge_flash(struct trial *t)
{
    uint32_t room = app_room(t->b), rest = room + board_page_size(t->b);

    board_peek(t->b, FLASH, t->now, board_flash_size(t->b));
    if (memcmp(t->now + APP_SIZE, t->before + APP_SIZE, room - APP_SIZE) != 0)
        fail(t, "a stray write behind the application");
    if (memcmp(t->now + rest, t->before + rest, board_flash_size(t->b) - rest) != 0)
        fail(t, "a stray write to the bootloader");
}

/* What a power cut at this moment would have led to. */
static void judge_power_up(struct trial *t)
{
    char so_far[4096];

    snprintf(so_far, sizeof so_far, "%s", heard());
    if (page0_open(t->b)) { /* the published window: nothing is promised */
        t->tally->in_window++;
        return;
    }
    board_restore(t->scratch, t->b);
    power_cycle(t->scratch);
    forget();
    board_run_for(t->scratch, 8 * BOARD_MS);
    bool old = strstr(heard(), t->old.tag), new = strstr(heard(), t->new.tag);
    t->tally->ran_old += old;
    t->tally->ran_new += new;
    t->tally->ran_none += !old && !new;
    if ((old && !flash_holds(t->scratch, &t->old)) || (new && !flash_holds(t->scratch, &t->new)))
        fail(t, "after power-up a torn application runs");
    if (board_complaint(t->scratch))
        fail(t, board_complaint(t->scratch)->rule);
    forget();
    if (strstr(so_far, t->old.tag) || strstr(so_far, t->new.tag))
        t->waited = true; /* it runs on the board itself already */
}

/* A DFU device that is open for a new session. */
static bool reopened(struct trial *t, struct host *h, bool enumerated)
{
    if (!t->waited && !runs_an_application(t)) {
        if ((enumerated || host_enumerate(h)) && dfu_open(h))
            return true;
        if (board_complaint(t->b))
            return false;
        /* It may be leaving. */
        for (unsigned ms = 0; ms < LEAVES_WITHIN_MS && !runs_an_application(t); ms += 10)
            if (board_run_for(t->b, 10 * BOARD_MS) != BOARD_DONE)
                return false;
        if (!runs_an_application(t))
            return false;
    }
    if (!flash_holds(t->b, &t->old) && !flash_holds(t->b, &t->new))
        fail(t, "a torn application runs");
    board_press_reset(t->b, 20 * BOARD_MS);
    return host_enumerate(h) && dfu_open(h);
}

/* Each request of a next session, with its time. */
static int timed(struct host *h, const struct step *s)
{
    struct trial *t = h->context;
    uint64_t begin = usb_host_now(h->board);
    int result = h->transfers == 1 && !s->sleep_ns ? first_request(t, s) : step_do(h->board, s);
    uint64_t took_us = (usb_host_now(h->board) - begin) / BOARD_US;

    if (!s->sleep_ns && took_us > t->tally->worst_answer_us)
        t->tally->worst_answer_us = took_us;
    return result;
}

/* A torn download is not completed by a smaller one: a host that writes a little elsewhere and says
 * leave gets a complete application, or an error. */
static void judge_finishing(struct trial *t)
{
    struct host h = {.board = t->scratch};
    char so_far[4096];

    snprintf(so_far, sizeof so_far, "%s", heard());
    board_restore(t->scratch, t->b);
    forget();
    if (dfu_open(&h) && dfu_write(&h, FLASH + app_room(t->b) - PAGE, "settings", 8) &&
        dfu_to_idle(&h))
        dfu_leave(&h, 0);
    board_run_for(t->scratch, 400 * BOARD_MS);
    bool old = strstr(heard(), t->old.tag), new = strstr(heard(), t->new.tag);
    if ((old && !flash_holds(t->scratch, &t->old)) || (new && !flash_holds(t->scratch, &t->new)))
        fail(t, "leave starts a torn application");
    forget();
    if (strstr(so_far, t->old.tag) || strstr(so_far, t->new.tag))
        t->waited = true;
}

/* One host in four says leave, which takes long; behind the others the power is switched. */
static bool next_runs(struct trial *t, struct host *h)
{
    if (chance(t) % 4 == 0) {
        if (!dfu_leave(h, 2))
            return false;
    } else {
        power_cycle(t->b);
    }
    return hears(t->b, t->next.tag, 3000) && flash_holds(t->b, &t->next);
}

static void judge_next_session(struct trial *t, bool enumerated)
{
    struct host h = {.board = t->b, .context = t, .perform = timed};

    usb_set_turnaround(t->b, USB_TURNAROUND_NS);
    if (t->session == SESSION_DOWNLOAD && enumerated && !t->waited)
        judge_finishing(t);
    if (!reopened(t, &h, enumerated))
        fail(t, "no next session");
    else if (!dfu_download_like_dfu_util(&h, FLASH, t->next.data, t->next.size))
        fail(t, "the next session does not succeed");
    else if (!next_runs(t, &h))
        fail(t, "the next application does not run");
    else
        judge_flash(t);
}

/* Did the session reach its end, and what it was for? */
static bool succeeded(struct trial *t, struct host *h, bool done)
{
    if (!done || t->dead)
        return false;
    if (t->session == SESSION_ENUMERATION)
        return dfu_open(h);
    if (t->session == SESSION_DOWNLOAD)
        return hears(h->board, t->new.tag, 3000) && flash_holds(h->board, &t->new);
    return memcmp(t->back, t->old.data, t->old.size) == 0;
}

static bool is_setup(const struct trial *t)
{
    for (unsigned i = 0; i < t->steps; i++)
        if (t->begins[i] + 1 == t->nth)
            return true;
    return false;
}

static void note_survival(struct trial *t, bool survived)
{
    bool repairs =
        t->event == EVENT_LOST_PACKET || t->event == EVENT_LOST_ACK || t->event == EVENT_SUSPEND;

    t->tally->survived[t->event] += survived;
    if (t->event == EVENT_LOST_ACK && is_setup(t)) {
        t->tally->setup_acks_lost++;
        t->tally->setup_acks_survived += survived;
    } else if (repairs && !survived) {
        fail(t, "the session does not survive what the bus repairs");
    }
}

static void begin(struct trial *t, struct host *h)
{
    board_restore(t->b, t->start[t->session]);
    forget();
    t->base = transactions(t->b);
    t->step = 0;
    t->dead = t->waited = false;
    *h = (struct host){.board = t->b, .context = t, .perform = perform};
}

static void try_event(struct trial *t)
{
    struct host h;
    static const enum usb_fault faults[EVENT_KINDS] = {
        [EVENT_UNPLUG] = USB_FAULT_UNPLUG,
        [EVENT_LOST_PACKET] = USB_FAULT_LOST_PACKET,
        [EVENT_LOST_ACK] = USB_FAULT_LOST_ACK,
    };

    begin(t, &h);
    t->chance = t->o->seed + t->nth * EVENT_KINDS + t->event;
    if (is_fault(t->event))
        usb_fault_at(t->b, t->nth, faults[t->event]);
    bool done = run_session(t, &h);
    bool happened = t->dead || t->event == EVENT_SUSPEND || is_fault(t->event);
    if (!happened)
        return; /* there is no such event at this transaction */
    t->tally->trials[t->event]++;
    judge_flash(t);
    if (t->session != SESSION_DOWNLOAD && memcmp(t->now, t->before, board_flash_size(t->b)) != 0)
        fail(t, "a session that writes nothing has written");
    t->dead = t->dead || t->event == EVENT_UNPLUG;
    judge_power_up(t);
    if (!t->dead)
        note_survival(t, succeeded(t, &h, done));
    if (t->session == SESSION_DOWNLOAD && done)
        t->waited = true; /* it has left */
    if (t->event == EVENT_UNPLUG) {
        board_run_for(t->b, 300 * BOARD_MS);
        usb_plug(t->b);
    }
    bool enumerated = t->session != SESSION_ENUMERATION && t->event != EVENT_UNPLUG &&
                      t->event != EVENT_BUS_RESET;
    if (t->session == SESSION_ENUMERATION && done && !t->dead)
        enumerated = true;
    judge_next_session(t, enumerated);
}

/* --- the whole ---------------------------------------------------------------------------------- */

/* The boards that the sessions begin with: in DFU, an old application in flash; about to be
 * enumerated, and enumerated. */
static bool prepare(struct trial *t)
{
    struct host h = host_in_dfu(t->o->part, &t->old, BOARD_TYPICAL);

    if (!usb_configured(h.board))
        return false;
    t->before = flash_dump(h.board);
    t->now = flash_dump(h.board);
    t->b = board_copy(h.board);
    t->scratch = board_copy(h.board);
    t->start[SESSION_DOWNLOAD] = board_copy(h.board);
    t->start[SESSION_UPLOAD] = board_copy(h.board);
    usb_unplug(h.board);
    board_run_for(h.board, 100 * BOARD_MS);
    usb_plug(h.board);
    board_run_for(h.board, 100 * BOARD_MS); /* debounced */
    t->start[SESSION_ENUMERATION] = h.board;
    return true;
}

static bool count_transactions(struct trial *t)
{
    struct host h;

    begin(t, &h);
    t->counting = true;
    t->steps = 0;
    bool done = run_session(t, &h);
    t->counting = false;
    t->begins[t->steps] = transactions(t->b) - t->base;
    t->tally->transactions[t->session] = t->begins[t->steps];
    h.perform = NULL;
    return succeeded(t, &h, done);
}

static bool wanted(const struct trial *t)
{
    const struct cable_order *o = t->o;
    uint64_t every = t->event == EVENT_SILENCE ? o->every_silence : o->every;

    if (o->only)
        return t->session == o->only_session && t->event == o->only_event && t->nth == o->only;
    /* Not the same transactions for each event. */
    return every && (t->nth + 3 * t->event) % every == o->first % every;
}

static bool try_all(struct trial *t)
{
    for (t->nth = 1; t->nth <= t->tally->transactions[t->session]; t->nth++)
        for (int event = 0; event < EVENT_KINDS; event++) {
            t->event = (enum cable_event)event;
            if (!wanted(t))
                continue;
            if (t->o->until_s && (uint64_t)time(NULL) >= t->o->until_s)
                return false;
            try_event(t);
        }
    return true;
}

bool cable_events(const struct cable_order *o, struct cable_tally *tally)
{
    struct trial *t = calloc(1, sizeof *t);
    bool in_time = true;

    t->o = o;
    t->tally = tally;
    t->old = app_build(APP_SIZE - 70, o->seed, 0);
    t->new = app_build(APP_SIZE, o->seed + 1, 0);
    t->next = app_build(APP_SIZE - 500, o->seed + 2, 0);
    if (!prepare(t)) {
        tally->failures++;
        snprintf(
            tally->failure[0].what, sizeof tally->failure->what, "no board in DFU to begin with");
        return true;
    }
    for (int session = 0; session < SESSIONS && in_time; session++) {
        t->session = (enum cable_session)session;
        if (!count_transactions(t))
            fail(t, "the session does not succeed even without an event");
        else
            in_time = try_all(t);
    }
    for (unsigned i = 0; i < SESSIONS; i++)
        board_free(t->start[i]);
    board_free(t->b);
    board_free(t->scratch);
    app_free(&t->old);
    app_free(&t->new);
    app_free(&t->next);
    free(t->before);
    free(t->now);
    free(t);
    return in_time;
}

void cable_tally_add(struct cable_tally *to, const struct cable_tally *from)
{
    for (unsigned i = 0; i < SESSIONS; i++)
        to->transactions[i] = from->transactions[i];
    for (unsigned i = 0; i < EVENT_KINDS; i++) {
        to->trials[i] += from->trials[i];
        to->survived[i] += from->survived[i];
    }
    to->setup_acks_lost += from->setup_acks_lost;
    to->setup_acks_survived += from->setup_acks_survived;
    to->setups_unheard += from->setups_unheard;
    to->stalled_early_ends += from->stalled_early_ends;
    to->ran_old += from->ran_old;
    to->ran_new += from->ran_new;
    to->ran_none += from->ran_none;
    to->in_window += from->in_window;
    if (from->worst_answer_us > to->worst_answer_us)
        to->worst_answer_us = from->worst_answer_us;
    for (uint64_t i = 0; i < from->failures && i < CABLE_FAILURES; i++)
        if (to->failures + i < CABLE_FAILURES)
            to->failure[to->failures + i] = from->failure[i];
    to->failures += from->failures;
}
