/* SPDX-License-Identifier: MIT */
#include "requests.h"

#include "core/dfu_state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BOUNDARY_VALUES = 8, BOUNDARY_INDICES = 4, BOUNDARY_LENGTHS = 8 };

static const uint16_t values[] = {0, 1, 2, 3, 0x0100, 0x0200, 0x8000, 0xFFFF};
static const uint16_t indices[] = {0, 1, 0x0100, 0xFFFF};
static const uint16_t lengths[] = {0, 1, 6, 64, 1023, 1024, 1025, 0xFFFF};

static void fail(struct request_tally *t, FILE *log, enum dfu_state state, const struct request *r,
    const char *what)
{
    struct request_failure *f = t->failure;

    t->failures++;
    while (f < t->failure + REQUEST_FAILURES && f->count &&
           (f->state != state || f->request.bmRequestType != r->bmRequestType ||
               f->request.bRequest != r->bRequest))
        f++;
    if (f == t->failure + REQUEST_FAILURES)
        return;
    if (!f->count++) {
        f->state = state;
        f->request = *r;
        snprintf(f->what, sizeof f->what, "%s", what);
    }
    if (log && f->count == 1)
        fprintf(log, "FAILURE in state %d: %02x %02x %04x %04x %04x: %s\n", (int)state,
            r->bmRequestType, r->bRequest, r->wValue, r->wIndex, r->wLength, what);
}

/* --- core --------------------------------------------------------------------------------------- */

/* What a device does that leaves to core/ what is a class request to its interface, and refuses the
 * direction that the request does not have and more than it can take. */
static bool core_allows(const struct verdict *v, enum dfu_state state, const struct request *r)
{
    static const bool in[] = {
        [DFU_UPLOAD] = true, [DFU_GETSTATUS] = true, [DFU_GETSTATE] = true, [DFU_ABORT] = false};
    bool well_formed = r->bRequest <= DFU_ABORT && in[r->bRequest] == (r->bmRequestType >> 7) &&
                       r->wLength <= XFER;
    uint16_t same = (uint16_t)(1U << state);

    switch (dfu_react(state, well_formed ? r->bRequest : DFU_ABORT + 1U)) {
    case DFU_REFUSE:
        return v->after[ANSWER_STALL] & 1 << DFU_ERROR;
    case DFU_IGNORE:
        return v->after[ANSWER_STALL] & same;
    case DFU_DOWNLOAD:
        return v->after[ANSWER_TAKEN] &
               (r->wLength ? 1 << DFU_DNLOAD_SYNC : 1 << DFU_MANIFEST_SYNC);
    case DFU_SEND:
        return (v->after[ANSWER_DATA] | v->after[ANSWER_TAKEN]) &
               (1 << DFU_IDLE | 1 << DFU_UPLOAD_IDLE);
    case DFU_TELL:
        return (v->after[ANSWER_DATA] | v->after[ANSWER_TAKEN]) & states_told(state);
    case DFU_STATE:
        return (v->after[ANSWER_DATA] | v->after[ANSWER_TAKEN]) & same;
    case DFU_TO_IDLE:
    case DFU_STOP:
        return v->after[ANSWER_TAKEN] & 1 << DFU_IDLE;
    case DFU_GO:
        return v->gone;
    }
    return false;
}

void requests_in_core(uint64_t every, struct request_tally *t)
{
    const struct device_facts d = {
        .has_bos = true, .transfer_size = XFER, .flash_end = FLASH + 65536};

    for (int state = 0; state < DFU_STATES; state++)
        for (unsigned pair = 0; pair < 65536; pair += (unsigned)every)
            for (unsigned i = 0; i < BOUNDARY_VALUES * BOUNDARY_INDICES * BOUNDARY_LENGTHS; i++) {
                struct request r = {(uint8_t)pair, (uint8_t)(pair >> 8),
                    values[i % BOUNDARY_VALUES], indices[i / BOUNDARY_VALUES % BOUNDARY_INDICES],
                    lengths[i / BOUNDARY_VALUES / BOUNDARY_INDICES]};
                struct verdict v = request_verdict(&d, (enum dfu_state)state, &r);
                bool ours = (r.bmRequestType & 0x7F) == 0x21 && r.wIndex == 0;
                bool answers = v.after[ANSWER_STALL] | v.after[ANSWER_DATA] | v.after[ANSWER_TAKEN];
                t->requests++;
                t->in_state[state]++;
                if (!answers || (ours && !core_allows(&v, (enum dfu_state)state, &r)))
                    fail(t, NULL, (enum dfu_state)state, &r, "not as the model has it");
            }
}

/* --- the board ---------------------------------------------------------------------------------- */

struct bench {
    const struct request_order *o;
    struct request_tally *t;
    struct device_facts facts;
    struct app app;
    struct board *b, *in[DFU_STATES]; /* in[]: the board in each state; NULL: it is never there */
    uint8_t *memory;                  /* flash as a host sees it */
    uint8_t data[65536];
    uint64_t chance;
};

static uint64_t chance(struct bench *x) /* splitmix64 */
{
    uint64_t z = x->chance += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static uint64_t flash_operations(const struct board *b)
{
    struct board_counts n;

    board_counts(b, &n);
    return n.flash_operations;
}

static int make(struct bench *x, const struct request *r)
{
    struct host h = {.board = x->b};

    return host_control(
        &h, r->bmRequestType, r->bRequest, r->wValue, r->wIndex, x->data, r->wLength);
}

static enum answer answer_of(const struct request *r, int result)
{
    if (result == USB_STALL)
        return ANSWER_STALL;
    return r->bmRequestType & 0x80 && r->wLength ? ANSWER_DATA : ANSWER_TAKEN;
}

/* The bytes, where it is known which. */
static bool right_bytes(const struct bench *x, enum dfu_state state, const struct request *r, int n)
{
    static const uint8_t commands[] = {
        DFUSE_GET, DFUSE_SET_ADDRESS, DFUSE_ERASE, DFUSE_READ_UNPROTECT};
    uint32_t from = (r->wValue - (uint32_t)DFUSE_FIRST_BLOCK) * XFER;

    if (r->bmRequestType == 0xA1 && r->bRequest == DFU_UPLOAD && r->wIndex == 0) {
        if (r->wValue == 0)
            return memcmp(x->data, commands, (size_t)n) == 0;
        return r->wValue == 1 || memcmp(x->data, x->memory + from, (size_t)n) == 0;
    }
    if (r->bmRequestType == 0xA1 && r->bRequest == DFU_GETSTATE)
        return x->data[0] == state || states_soon((uint16_t)(1U << state)) >> x->data[0] & 1;
    if (r->bmRequestType == 0xA1 && r->bRequest == DFU_GETSTATUS && n > 4)
        return (x->data[0] != DFU_OK) == (x->data[4] == DFU_ERROR);
    if (r->bmRequestType == 0x80 && r->bRequest == 6) /* the descriptor says what it is */
        return n < 2 || x->data[1] == r->wValue >> 8;
    if (r->bmRequestType == 0x80 && r->bRequest == 8 && !r->wValue && !r->wIndex)
        return x->data[0] == 1;
    return true;
}

/* Would GETSTATUS now write to flash? */
static bool would_write(const struct bench *x, const struct request *r)
{
    uint32_t from = (r->wValue - (uint32_t)DFUSE_FIRST_BLOCK) * XFER;

    return r->bRequest == DFU_DNLOAD && r->wValue >= DFUSE_FIRST_BLOCK &&
           from < x->facts.flash_end - FLASH;
}

/* GETSTATE, then GETSTATUS: where is it now? */
static const char *lost(struct bench *x, const struct request *r, uint16_t states)
{
    struct host h = {.board = x->b};
    int state = dfu_getstate(&h);

    if (state < 0 || state > DFU_ERROR)
        return "GETSTATE behind it is not answered";
    if (!(states >> state & 1))
        return "GETSTATE behind it tells another state";
    if (state == DFU_DNLOAD_SYNC && would_write(x, r))
        return dfu_abort(&h) == 0 && dfu_getstate(&h) == DFU_IDLE ? NULL : "ABORT does not drop it";
    uint16_t told = states_soon(states_told((enum dfu_state)state));
    for (uint16_t soon = states_soon((uint16_t)(1U << state)), i = 0; i < DFU_STATES; i++)
        if (soon >> i & 1)
            told |= states_told((enum dfu_state)i);
    dfu_getstatus(&h);
    if (h.last.result != DFU_STATUS_SIZE)
        return "GETSTATUS behind it is not answered";
    if (h.last.state > DFU_ERROR || !(told >> h.last.state & 1))
        return "GETSTATUS behind it tells another state";
    if ((h.last.status == DFU_OK) == (h.last.state == DFU_ERROR))
        return "dfuERROR without an error, or an error without dfuERROR";
    return NULL;
}

static const char *wrong(struct bench *x, enum dfu_state state, const struct request *r)
{
    /* dfuDNBUSY ends when it ends: the request is one in that state or in what comes next. */
    uint16_t before = states_soon((uint16_t)(1U << state)), after = 0;
    unsigned least = 0xFFFF, most = 0;
    bool gone = false;
    uint64_t operations = flash_operations(x->b), begun = usb_host_now(x->b);

    memset(x->data, 0x7F, r->wLength); /* no command of DfuSe */
    int result = make(x, r);
    uint64_t took = usb_host_now(x->b) - begun;
    if (board_complaint(x->b))
        return board_complaint(x->b)->rule;
    if (took / BOARD_US > x->t->slowest_us)
        x->t->slowest_us = took / BOARD_US;
    if (result < 0 && result != USB_STALL)
        return "no answer";
    enum answer answer = answer_of(r, result);
    for (unsigned i = 0; i < DFU_STATES; i++)
        if (before >> i & 1) {
            struct verdict v = request_verdict(&x->facts, (enum dfu_state)i, r);
            after |= v.after[answer];
            gone |= v.gone;
            if (v.after[ANSWER_DATA] && v.least < least)
                least = v.least;
            if (v.after[ANSWER_DATA] && v.most > most)
                most = v.most;
        }
    x->t->stalled += answer == ANSWER_STALL;
    x->t->answered += answer == ANSWER_DATA;
    x->t->taken += answer == ANSWER_TAKEN;
    if (!after)
        return answer == ANSWER_STALL ? "refused" : "not refused";
    if (answer == ANSWER_DATA && ((unsigned)result < least || (unsigned)result > most))
        return "another count of bytes";
    if (answer == ANSWER_DATA && !right_bytes(x, state, r, result))
        return "other bytes";
    const char *what = gone ? NULL : lost(x, r, states_soon(after));
    if (board_complaint(x->b))
        return board_complaint(x->b)->rule;
    return !what && flash_operations(x->b) != operations ? "flash was written" : what;
}

static void try_one(struct bench *x, enum dfu_state state, const struct request *r)
{
    board_restore(x->b, x->in[state]);
    x->t->requests++;
    x->t->in_state[state]++;
    const char *what = wrong(x, state, r);
    if (what && x->o->excused && x->o->excused(r))
        x->t->excused++;
    else if (what)
        fail(x->t, x->o->log, state, r, what);
}

/* A data stage from the host that the request does not have. */
static bool brings_unwanted_data(const struct request *r)
{
    bool dnload = r->bmRequestType == 0x21 && r->bRequest == DFU_DNLOAD;

    return !(r->bmRequestType & 0x80) && r->wLength && !dnload;
}

/* The length that a request is defined with. */
static uint16_t proper_length(const struct request *r)
{
    static const uint16_t dfu[] = {0, 5, XFER, DFU_STATUS_SIZE, 0, 1, 0, 0},
                          standard[] = {2, 0, 0, 0, 0, 0, 255, 18, 1, 0, 1, 0, 2, 0};

    if ((r->bmRequestType & 0x60) == 0x20)
        return r->bRequest < sizeof dfu / sizeof *dfu ? dfu[r->bRequest] : 0;
    return r->bRequest < sizeof standard / sizeof *standard ? standard[r->bRequest] : 0;
}

/* A value that a request may be meant with. */
static uint16_t proper_value(const struct request *r, uint64_t how)
{
    bool dfu = (r->bmRequestType & 0x60) == 0x20;

    if (dfu)
        return r->bRequest == DFU_DNLOAD || r->bRequest == DFU_UPLOAD ? (uint16_t)(how % 80) : 0;
    if (r->bRequest == 6) /* GET_DESCRIPTOR */
        return (uint16_t)(how % 18 << 8 | how / 18 % 6);
    return r->bRequest == 0 || r->bRequest == 8 || r->bRequest == 10 ? 0 : (uint16_t)(how % 3);
}

/* Half of them DFU's, a quarter chapter 9's, the rest anything; most fields most of the time as
 * they should be, each of them sometimes at a boundary, sometimes anything. */
static struct request any_request(struct bench *x)
{
    static const uint8_t class_types[] = {0x21, 0xA1},
                         standard_types[] = {0x00, 0x01, 0x02, 0x80, 0x81, 0x82};
    uint64_t c = chance(x), how = chance(x);
    struct request r = {(uint8_t)(c >> 8), (uint8_t)(c >> 16), (uint16_t)(c >> 24),
        (uint16_t)(c >> 40), (uint16_t)(how >> 40)};

    if (c % 16 < 8) {
        r.bRequest = (uint8_t)((c >> 16) % (DFU_ABORT + 2));
        bool in =
            r.bRequest == DFU_UPLOAD || r.bRequest == DFU_GETSTATUS || r.bRequest == DFU_GETSTATE;
        r.bmRequestType = class_types[in ^ ((c >> 8) % 8 == 0)];
    } else if (c % 16 < 12) {
        r.bmRequestType = standard_types[(c >> 8) % 6];
        r.bRequest = (uint8_t)((c >> 16) % 14);
    }
    if (how % 8)
        r.wValue =
            how % 8 < 6 ? proper_value(&r, how >> 16) : values[(how >> 16) % BOUNDARY_VALUES];
    if (how >> 3 & 7)
        r.wIndex = (how >> 3 & 3) ? 0 : indices[(how >> 34) % BOUNDARY_INDICES];
    if (how >> 6 & 7)
        r.wLength = (how >> 6 & 3) ? proper_length(&r) : lengths[(how >> 40) % BOUNDARY_LENGTHS];
    return r;
}

/* --- the board, brought into each state --------------------------------------------------------- */

static void keep(struct bench *x, const struct host *h, enum dfu_state state)
{
    struct host copy = {.board = board_copy(h->board)};

    x->in[state] = board_copy(h->board);
    int now = dfu_getstate(&copy);
    if (now < 0 || !(states_soon((uint16_t)(1U << state)) >> now & 1)) {
        fprintf(stderr, "the board cannot be brought into state %d: %d\n", (int)state, now);
        board_free(x->in[state]);
        x->in[state] = NULL;
    }
    board_free(copy.board);
}

/* Nothing that is done here changes flash, nor leaves anything to be done. */
static void bring_into_states(struct bench *x, struct host *h)
{
    const uint8_t address[] = {DFUSE_SET_ADDRESS, 0, 0, 0, 8}, junk = 0x7F;
    uint8_t block[XFER];

    dfu_open(h);
    keep(x, h, DFU_IDLE);
    dfu_dnload(h, 0, address, sizeof address);
    keep(x, h, DFU_DNLOAD_SYNC);
    dfu_getstatus(h);
    keep(x, h, DFU_DNBUSY);
    host_sleep(h, (h->last.poll_ms + 1) * BOARD_MS);
    dfu_getstatus(h);
    keep(x, h, DFU_DNLOAD_IDLE);
    dfu_to_idle(h);
    dfu_upload_block(h, DFUSE_FIRST_BLOCK, block, sizeof block);
    keep(x, h, DFU_UPLOAD_IDLE);
    dfu_to_idle(h);
    dfu_download(h, 0, &junk, 1);
    keep(x, h, DFU_ERROR);
    dfu_clrstatus(h);
    dfu_getstatus(h);
    dfu_dnload(h, 0, NULL, 0);
    keep(x, h, DFU_MANIFEST_SYNC);
    for (unsigned i = 0; i < 50 && dfu_getstatus(h).state == DFU_MANIFEST_SYNC; i++)
        host_sleep(h, h->last.poll_ms * BOARD_MS);
    keep(x, h, DFU_MANIFEST);
}

/* BOS and the vendor code of the MS OS 2.0 set, as a host finds them. */
static void learn_facts(struct bench *x, struct host *h)
{
    static const uint8_t ms_os_2[] = {0xDF, 0x60, 0xDD, 0xD8, 0x89, 0x45, 0xC7, 0x4C, 0x9C, 0xD2,
        0x65, 0x9D, 0x9E, 0x64, 0x8A, 0x9F};
    uint8_t bos[255];
    const struct usb_descriptors *d = usb_descriptors(h->board);
    int n = host_control(h, 0x80, 6, 15 << 8, 0, bos, sizeof bos);

    x->facts.has_bos = (d->device[2] | d->device[3] << 8) >= 0x0201;
    for (unsigned i = 14; i <= 16; i++)
        x->facts.strings |= (uint16_t)(1U << (d->device[i] & 15));
    for (unsigned at = 0; at < d->config_size && d->config[at]; at += d->config[at])
        if (d->config[at + 1] == 4)
            x->facts.strings |= (uint16_t)(1U << (d->config[at + 8] & 15));
    x->facts.transfer_size = XFER;
    x->facts.flash_end = FLASH + board_flash_size(h->board);
    for (int at = 5; at + 28 <= n && bos[at] >= 4; at += bos[at])
        if (bos[at + 1] == 16 && bos[at + 2] == 5 && !memcmp(bos + at + 4, ms_os_2, sizeof ms_os_2))
            x->facts.vendor_code = bos[at + 26];
}

static struct bench *bench_new(const struct request_order *o, struct request_tally *t)
{
    struct bench *x = calloc(1, sizeof *x);

    x->o = o;
    x->t = t;
    x->chance = o->seed;
    x->app = app_build(3 * PAGE, o->seed, 0);
    struct host h = host_in_dfu(o->part, &x->app, BOARD_TYPICAL);
    x->b = board_copy(h.board);
    x->memory = flash_dump(h.board);
    memcpy(
        x->memory, x->app.data, x->app.size); /* as the host sees it: with its own reset vector */
    learn_facts(x, &h);
    usb_set_turnaround(h.board, 100 * BOARD_US);
    bring_into_states(x, &h);
    board_free(h.board);
    return x;
}

static void bench_free(struct bench *x)
{
    for (unsigned i = 0; i < DFU_STATES; i++)
        if (x->in[i])
            board_free(x->in[i]);
    board_free(x->b);
    app_free(&x->app);
    free(x->memory);
    free(x);
}

bool requests_on_board(const struct request_order *o, struct request_tally *t)
{
    struct bench *x = bench_new(o, t);
    bool in_time = true;

    for (uint64_t i = 0; i < o->count && in_time; i++) {
        struct request r = any_request(x);
        enum dfu_state state;
        if (o->wanted_data_only && brings_unwanted_data(&r))
            r.wLength = 0;
        do
            state = (enum dfu_state)(DFU_IDLE + chance(x) % (DFU_ERROR - DFU_IDLE + 1));
        while (!x->in[state] && x->in[DFU_IDLE]);
        if (!x->in[state]) {
            fail(t, o->log, state, &r, "no board in DFU to begin with");
            break;
        }
        try_one(x, state, &r);
        in_time = !o->until_s || i % 64 || (uint64_t)time(NULL) < o->until_s;
    }
    bench_free(x);
    return in_time;
}

void request_try(const struct request_order *o, enum dfu_state state, const struct request *r,
    struct request_tally *t)
{
    struct bench *x = bench_new(o, t);

    if (x->in[state])
        try_one(x, state, r);
    bench_free(x);
}

void request_tally_add(struct request_tally *to, const struct request_tally *from)
{
    to->requests += from->requests;
    to->excused += from->excused;
    to->stalled += from->stalled;
    to->answered += from->answered;
    to->taken += from->taken;
    for (unsigned i = 0; i < DFU_STATES; i++)
        to->in_state[i] += from->in_state[i];
    if (from->slowest_us > to->slowest_us)
        to->slowest_us = from->slowest_us;
    for (unsigned i = 0; i < REQUEST_FAILURES; i++)
        if (from->failure[i].count) {
            const struct request_failure *f = &from->failure[i];
            uint64_t others = f->count - 1;
            fail(to, NULL, f->state, &f->request, f->what);
            to->failures += others;
        }
}
