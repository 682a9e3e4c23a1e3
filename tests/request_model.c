/* SPDX-License-Identifier: MIT */
#include "request_model.h"

#define IN(state) (uint16_t)(1U << (state))

enum {
    ANY_STATE = 0x7FF,
    FLASH_BASE = 0x08000000,
    DESCRIPTOR_LENGTH_MAX = 1024,
};

/* --- answers ------------------------------------------------------------------------------------ */

static struct verdict refused(uint16_t after)
{
    return (struct verdict){.after = {[ANSWER_STALL] = after}};
}

static struct verdict taken(uint16_t after)
{
    return (struct verdict){.after = {[ANSWER_TAKEN] = after}};
}

/* At most wLength, however much there is (USB 2.0 §9.4.3). */
static struct verdict data(const struct request *r, uint16_t after, unsigned least, unsigned most)
{
    struct verdict v = {.after = {[ANSWER_DATA] = after}};

    v.least = (uint16_t)(least < r->wLength ? least : r->wLength);
    v.most = (uint16_t)(most < r->wLength ? most : r->wLength);
    return v;
}

static struct verdict either(struct verdict a, struct verdict b)
{
    for (unsigned i = 0; i < ANSWERS; i++)
        a.after[i] |= b.after[i];
    if (b.after[ANSWER_DATA] && b.most > a.most)
        a.most = b.most;
    if (b.after[ANSWER_DATA] && b.least < a.least)
        a.least = b.least;
    return a;
}

/* Not specified: anything that the host can take, and the device goes on. */
static struct verdict open(const struct request *r, uint16_t after)
{
    struct verdict v = {
        .after = {after, after, after},
          .most = r->wLength
    };

    return v;
}

static bool is_in(const struct request *r)
{
    return r->bmRequestType & 0x80;
}

/* An IN request without room for data, which no standard knows. */
static bool asks_for_nothing(const struct request *r)
{
    return is_in(r) && !r->wLength;
}

/* --- DFU 1.1 ------------------------------------------------------------------------------------ */

/* A request that the state does not know: STALL, dfuERROR (A.2.3 to A.2.10). Once dfuMANIFEST was
 * told, nothing changes the mind (core/dfu_state.h), whatever state is told then; in dfuERROR it
 * is an error already (A.2.11). The states of the run-time are not ours: refused, however. */
static struct verdict unknown(enum dfu_state state)
{
    if (state == DFU_APP_IDLE || state == DFU_APP_DETACH)
        return refused(ANY_STATE);
    if (state == DFU_MANIFEST || state == DFU_MANIFEST_WAIT_RESET)
        return refused((uint16_t)(IN(state) | IN(DFU_ERROR)));
    return refused(IN(DFU_ERROR));
}

/* Is it a request at all? Wrong direction, other interface: a refusal for certain, an error of the
 * DFU state machine perhaps. */
static struct verdict malformed(enum dfu_state state)
{
    return refused((uint16_t)(IN(state) | unknown(state).after[ANSWER_STALL]));
}

static struct verdict download(
    const struct device_facts *d, enum dfu_state state, const struct request *r)
{
    if (state != DFU_IDLE && state != DFU_DNLOAD_IDLE)
        return unknown(state);
    if (!r->wLength) /* leave, with any wValue: DESIGN.md */
        return taken(IN(DFU_MANIFEST_SYNC));
    if (r->wLength > d->transfer_size)
        return malformed(state);
    return taken(IN(DFU_DNLOAD_SYNC));
}

/* How many bytes there are in memory behind the address pointer for this block: a step is a whole
 * transfer, behind the end of flash there is nothing (DESIGN.md). */
static unsigned there_are(const struct device_facts *d, const struct request *r)
{
    uint32_t from = FLASH_BASE + (r->wValue - (uint32_t)DFUSE_FIRST_BLOCK) * d->transfer_size;
    uint32_t left = from < d->flash_end ? d->flash_end - from : 0;

    return left < r->wLength ? left : r->wLength;
}

static struct verdict upload(
    const struct device_facts *d, enum dfu_state state, const struct request *r)
{
    if (state != DFU_IDLE && state != DFU_UPLOAD_IDLE)
        return unknown(state);
    if (r->wValue == 1 || !r->wLength) /* reserved; nothing asked for */
        return either(open(r, IN(DFU_IDLE) | IN(DFU_UPLOAD_IDLE)), unknown(state));
    if (!r->wValue) /* Get: AN3156 §4.2 */
        return r->wLength <= d->transfer_size
                   ? data(r, IN(DFU_IDLE) | IN(DFU_UPLOAD_IDLE), 4, 4)
                   : either(data(r, IN(DFU_IDLE) | IN(DFU_UPLOAD_IDLE), 4, 4), malformed(state));
    unsigned n = there_are(d, r);
    struct verdict v = data(r, n < r->wLength ? IN(DFU_IDLE) : IN(DFU_UPLOAD_IDLE), n, n);
    return r->wLength <= d->transfer_size ? v : either(v, malformed(state));
}

uint16_t states_told(enum dfu_state state)
{
    switch (state) {
    case DFU_DNLOAD_SYNC: /* AN3156 §5: the first must be dfuDNBUSY, or an error occurred */
        return IN(DFU_DNBUSY) | IN(DFU_ERROR);
    case DFU_DNBUSY: /* answered, and done as soon as it is done: DESIGN.md */
        return IN(DFU_DNBUSY) | IN(DFU_DNLOAD_IDLE) | IN(DFU_ERROR);
    case DFU_MANIFEST_SYNC: /* A.2.7; or there is no application: AN3156 §5.5, errFIRMWARE */
        return IN(DFU_MANIFEST) | IN(DFU_MANIFEST_SYNC) | IN(DFU_ERROR);
    case DFU_APP_IDLE:
    case DFU_APP_DETACH:
    case DFU_IDLE:
    case DFU_DNLOAD_IDLE:
    case DFU_MANIFEST:
    case DFU_MANIFEST_WAIT_RESET:
    case DFU_UPLOAD_IDLE:
    case DFU_ERROR:
        break;
    }
    return IN(state);
}

uint16_t states_soon(uint16_t states)
{
    if (states & IN(DFU_DNBUSY))
        states |= IN(DFU_DNLOAD_SYNC) | IN(DFU_DNLOAD_IDLE) | IN(DFU_ERROR);
    return states;
}

/* CLRSTATUS: dfuIDLE from every state but dfuMANIFEST (DESIGN.md). */
static struct verdict clear_status(enum dfu_state state)
{
    if (state == DFU_MANIFEST || state == DFU_MANIFEST_WAIT_RESET)
        return unknown(state);
    return taken(IN(DFU_IDLE));
}

/* ABORT: A.2, and DESIGN.md's for dfuDNLOAD-SYNC, dfuDNBUSY, dfuMANIFEST-SYNC. */
static struct verdict abort_it(enum dfu_state state)
{
    if (state == DFU_ERROR || state == DFU_MANIFEST || state == DFU_MANIFEST_WAIT_RESET)
        return unknown(state);
    return taken(IN(DFU_IDLE));
}

static struct verdict dfu_request(
    const struct device_facts *d, enum dfu_state state, const struct request *r)
{
    static const bool in[] = {
        [DFU_UPLOAD] = true, [DFU_GETSTATUS] = true, [DFU_GETSTATE] = true, [DFU_ABORT] = false};
    struct verdict v;

    if (state == DFU_APP_IDLE || state == DFU_APP_DETACH)
        return unknown(state);
    if (r->bRequest > DFU_ABORT || in[r->bRequest] != is_in(r))
        return malformed(state);
    switch ((enum dfu_request)r->bRequest) {
    case DFU_DETACH: /* accepted in DFU mode, and leaves: DESIGN.md */
        v = taken(ANY_STATE);
        v.gone = true;
        break;
    case DFU_DNLOAD:
        return download(d, state, r);
    case DFU_UPLOAD:
        return upload(d, state, r);
    case DFU_GETSTATUS:
        v = data(r, states_told(state), DFU_STATUS_SIZE, DFU_STATUS_SIZE);
        break;
    case DFU_GETSTATE:
        v = data(r, IN(state), 1, 1);
        break;
    case DFU_CLRSTATUS:
        v = clear_status(state);
        break;
    case DFU_ABORT:
    default:
        v = abort_it(state);
        break;
    }
    /* They have no wValue, and no wLength but the one they are defined with (table 3.2). */
    unsigned defined = r->bRequest == DFU_GETSTATUS ? DFU_STATUS_SIZE : r->bRequest == DFU_GETSTATE;
    bool detach = r->bRequest == DFU_DETACH;
    if ((r->wValue && !detach) || r->wLength != defined)
        v = either(v, malformed(state));
    if (asks_for_nothing(r) || (!is_in(r) && r->wLength))
        v = either(v, open(r, (uint16_t)(IN(state) | v.after[ANSWER_DATA] | v.after[ANSWER_TAKEN] |
                                         v.after[ANSWER_STALL])));
    v.gone = detach;
    return v;
}

/* --- USB 2.0 chapter 9 -------------------------------------------------------------------------- */

enum standard_request { /* table 9-4 */
    GET_STATUS = 0,
    CLEAR_FEATURE = 1,
    SET_FEATURE = 3,
    SET_ADDRESS = 5,
    GET_DESCRIPTOR = 6,
    SET_DESCRIPTOR = 7,
    GET_CONFIGURATION = 8,
    SET_CONFIGURATION = 9,
    GET_INTERFACE = 10,
    SET_INTERFACE = 11,
    SYNCH_FRAME = 12,
};
enum { DEVICE = 1, CONFIGURATION = 2, STRING = 3, BOS = 15 };
enum { ENDPOINT_HALT = 0 };

static struct verdict get_descriptor(
    const struct device_facts *d, enum dfu_state state, const struct request *r)
{
    unsigned type = r->wValue >> 8, index = r->wValue & 0xFF;
    uint16_t same = IN(state);
    struct verdict any = data(r, same, 1, DESCRIPTOR_LENGTH_MAX);

    switch (type) {
    case DEVICE: /* "index is only for configurations and strings": others are not specified */
        return index ? either(data(r, same, 18, 18), refused(same)) : data(r, same, 18, 18);
    case CONFIGURATION:
        if (index) /* bNumConfigurations is 1 */
            return either(any, refused(same));
        return data(r, same, 27, DESCRIPTOR_LENGTH_MAX);
    case STRING:
        return !index || (index < 16 && d->strings >> index & 1) ? data(r, same, 4, 255)
                                                                 : either(any, refused(same));
    case BOS:
        return d->has_bos && !index ? data(r, same, 5, DESCRIPTOR_LENGTH_MAX)
                                    : either(any, refused(same));
    case DFU_FUNCTIONAL_DESCRIPTOR: /* a class descriptor: may be asked for (§9.4.3) */
        return either(data(r, same, 9, 9), refused(same));
    default: /* qualifiers too: full speed only (§9.6.2); interfaces and endpoints never alone */
        return refused(same);
    }
}

/* Bit 7 of an endpoint is its direction; that an interface's is not looked at either is a named deviation
 * (DESIGN.md). */
static bool is_number_0(const struct request *r)
{
    return !(r->wIndex & 0x7F);
}

/* GET_STATUS: device, the one interface, the one endpoint (§9.4.5). */
static struct verdict get_status(enum dfu_state state, const struct request *r)
{
    unsigned recipient = r->bmRequestType & 31;
    bool there = recipient == 0 || (recipient <= 2 && is_number_0(r));

    return there ? data(r, IN(state), 2, 2) : refused(IN(state));
}

/* Features: only a halt of endpoint 0 may be had (§9.4.5: "neither required nor recommended"). */
static struct verdict feature(enum dfu_state state, const struct request *r)
{
    bool halt = (r->bmRequestType & 31) == 2 && r->wValue == ENDPOINT_HALT && is_number_0(r);

    return halt ? either(taken(IN(state)), refused(IN(state))) : refused(IN(state));
}

/* A host's session begins anew: dfuIDLE, but nothing calls back one that leaves. */
static struct verdict session(enum dfu_state state)
{
    bool leaving = state == DFU_MANIFEST_SYNC || state == DFU_MANIFEST;

    return taken((uint16_t)(IN(DFU_IDLE) | (leaving ? IN(state) : 0)));
}

static struct verdict standard_request(
    const struct device_facts *d, enum dfu_state state, const struct request *r)
{
    uint16_t same = IN(state);
    struct verdict v = refused(same);
    uint16_t wValue = 0, wIndex = r->wIndex, wLength = r->wLength; /* those it is defined with */
    bool left_open = false;

    switch (r->bmRequestType << 8 | r->bRequest) {
    case 0x8000 | GET_STATUS:
        wIndex = 0;
        wLength = 2;
        v = get_status(state, r);
        break;
    case 0x8100 | GET_STATUS:
    case 0x8200 | GET_STATUS:
        wLength = 2;
        wIndex = r->wIndex & 0xFF;
        v = get_status(state, r);
        break;
    case 0x0000 | CLEAR_FEATURE:
    case 0x0100 | CLEAR_FEATURE:
    case 0x0200 | CLEAR_FEATURE:
    case 0x0000 | SET_FEATURE:
    case 0x0100 | SET_FEATURE:
    case 0x0200 | SET_FEATURE:
        wValue = r->wValue;
        wLength = 0;
        v = feature(state, r);
        break;
    case 0x0000 | SET_ADDRESS: /* configured: not specified (§9.4.6) */
        v = open(r, ANY_STATE);
        v.gone = true;
        return v;
    case 0x8000 | GET_DESCRIPTOR:
        wValue = r->wValue;
        v = get_descriptor(d, state, r);
        break;
    case 0x8000 | GET_CONFIGURATION:
        wIndex = 0;
        wLength = 1;
        v = data(r, same, 1, 1);
        break;
    case 0x0000 | SET_CONFIGURATION: /* the upper byte is reserved */
        wValue = r->wValue & 0xFF;
        wIndex = wLength = 0;
        v = wValue > 1 ? refused(same) : session(state);
        break;
    case 0x8100 | GET_INTERFACE:
        wIndex = r->wIndex & 0xFF;
        wLength = 1;
        v = is_number_0(r) ? data(r, same, 1, 1) : refused(same);
        break;
    case 0x0100 | SET_INTERFACE:
        wValue = r->wValue;
        wIndex = r->wIndex & 0xFF;
        wLength = 0;
        v = is_number_0(r) && !wValue ? session(state) : refused(same);
        break;
    default: /* SET_DESCRIPTOR is optional, SYNCH_FRAME needs an isochronous endpoint */
        return v;
    }
    left_open =
        r->wValue != wValue || r->wIndex != wIndex || r->wLength != wLength || asks_for_nothing(r);
    if (left_open) /* "not as specified above: the behaviour of the device is not specified" */
        v = either(open(r, (uint16_t)(same | v.after[ANSWER_TAKEN])), refused(same));
    return v;
}

struct verdict request_verdict(
    const struct device_facts *d, enum dfu_state state, const struct request *r)
{
    uint16_t same = IN(state);

    switch (r->bmRequestType & 0x60) {
    case 0x00:
        return standard_request(d, state, r);
    case 0x20:
        if ((r->bmRequestType & 31) != 1)
            return refused(same);
        if (r->wIndex == 0)
            return dfu_request(d, state, r);
        if ((r->wIndex & 0xFF) == 0) { /* the upper byte is reserved */
            struct verdict v = dfu_request(d, state, r);
            bool gone = v.gone;
            v = either(v, malformed(state));
            v.gone = gone;
            return v;
        }
        return malformed(state);
    case 0x40:
        if (d->vendor_code && r->bRequest == d->vendor_code && is_in(r))
            return either(open(r, same), refused(same));
        return refused(same);
    default:
        return refused(same);
    }
}
