/* SPDX-License-Identifier: MIT */
#include "host/engine.h"
#include "core/dfu.h"
#include "host/engine_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    CONTROL_MS = 5000, /* USB 2.0 §9.2.6.1: the longest that any request may take */
    /* A device may do the work inside GETSTATUS, and say nothing meanwhile: fwupd allows 35 s. */
    STATUS_MS = 35000,
    ERASE_BUSY_MS = 35000, /* one sector: 128 KB take an F4 up to 4 s at low voltage */
    WRITE_BUSY_MS = 20000,
    COMMAND_BUSY_MS = 10000,
    MASS_BUSY_MS = 120000, /* 2 MB of an F4 take up to 32 s; external flash minutes */
    F405_POLL_MS = 100, /* what the F405's ROM names for a mass erase, during which it does not … */
    F405_MASS_MS = 35000, /* … answer; this long dfu-util has been waiting since 0.8 */
    KICK_MS = 10000, /* no sector takes so long; after that the H7's ROM never ends by itself */
    KICK_TRIES = 4,
    STALLED_STATUS_TRIES = 10, /* the L4's ROM STALLs while it erases: 50 ms, 100, 200, … */
    STALLED_STATUS_MS = 50,
    STALLED_STATUS_MAX_MS = 1000,
    IDLE_TRIES = 16,
    LEAVE_STATUS_MS = 1000,
    LEAVE_POLL_MS = 50,
    LEAVE_BUSY_MS = 2000, /* how long after leave another state than dfuMANIFEST is waited out */
    REASON_MS = 1000,
    REASON_MAX = 160, /* bytes of a device's own words that are shown */
};

enum { STATUS_STRING = 5 }; /* where in the answer to GETSTATUS iString stands, DFU 1.1 §6.1.2 */

enum turn { /* what the current task is waiting for */
    TURN_REQUEST,
    TURN_STATUS,
    TURN_PAUSE,
    TURN_REPAIR, /* CLRSTATUS or ABORT */
    TURN_RESET,
};

/* --- saying what is wanted ----------------------------------------------------------------------- */

static void ask_transfer(struct engine *e, uint8_t type, uint8_t request, uint16_t value,
    uint16_t index, uint8_t *data, uint16_t size, unsigned timeout_ms, enum turn turn)
{
    e->ask = (struct engine_ask){
        .kind = ENGINE_TRANSFER, .setup = {type, request},
             .data = data, .ms = timeout_ms
    };
    transfer_put16(e->ask.setup + 2, value);
    transfer_put16(e->ask.setup + 4, index);
    transfer_put16(e->ask.setup + 6, size);
    e->turn = (uint8_t)turn;
    e->asked = true;
}

static void ask_dfu(struct engine *e, enum dfu_request request, enum turn turn)
{
    ask_transfer(e, USB_CLASS | USB_INTERFACE, (uint8_t)request, 0, e->device->interface, NULL, 0,
        CONTROL_MS, turn);
}

static void ask_status(struct engine *e, unsigned timeout_ms)
{
    memset(e->reply, 0, sizeof e->reply);
    ask_transfer(e, USB_IN | USB_CLASS | USB_INTERFACE, DFU_GETSTATUS, 0, e->device->interface,
        e->reply, DFU_STATUS_SIZE, timeout_ms, TURN_STATUS);
}

static void ask_pause(struct engine *e, unsigned ms)
{
    e->ask = (struct engine_ask){.kind = ENGINE_WAIT, .ms = ms};
    e->waited_ms += ms;
    e->turn = TURN_PAUSE;
    e->asked = true;
}

void engine_fail(struct engine *e, enum engine_failure failure, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    e->failure = failure;
    e->ask = (struct engine_ask){.kind = ENGINE_FAILED};
    e->asked = true;
}

static void task_done(struct engine *e)
{
    e->task_at++;
}

void engine_add_task(struct engine *e, struct engine_task task)
{
    e->tasks[e->task_count++] = task;
}

/* --- words for messages -------------------------------------------------------------------------- */

const char *engine_state_name(uint8_t state)
{
    static const char *const names[] = {"appIDLE", "appDETACH", "dfuIDLE", "dfuDNLOAD-SYNC",
        "dfuDNBUSY", "dfuDNLOAD-IDLE", "dfuMANIFEST-SYNC", "dfuMANIFEST", "dfuMANIFEST-WAIT-RESET",
        "dfuUPLOAD-IDLE", "dfuERROR"};
    return state < sizeof names / sizeof names[0] ? names[state] : "an unknown state";
}

// clang-format off
static const struct { const char *name, *meaning; } statuses[] = { /* DFU 1.1 §6.1.2, AN3156 */
    [DFU_OK]                = {"OK", "no reason given"},
    [DFU_ERR_TARGET]        = {"errTARGET", "that address is not for this"},
    [DFU_ERR_FILE]          = {"errFILE", "the file is not for this board"},
    [DFU_ERR_WRITE]         = {"errWRITE", "the memory cannot be written; is it write-protected?"},
    [DFU_ERR_ERASE]         = {"errERASE", "the memory cannot be erased; is it write-protected?"},
    [DFU_ERR_CHECK_ERASED]  = {"errCHECK_ERASED", "the memory was not blank after erasing"},
    [DFU_ERR_PROG]          = {"errPROG", "programming failed; is the flash worn or the supply low?"},
    [DFU_ERR_VERIFY]        = {"errVERIFY", "the memory did not take what was written"},
    [DFU_ERR_ADDRESS]       = {"errADDRESS", "the address is out of range"},
    [DFU_ERR_NOTDONE]       = {"errNOTDONE", "it expected more data"},
    [DFU_ERR_FIRMWARE]      = {"errFIRMWARE", "it holds no complete program to start; flash one"},
    [DFU_ERR_VENDOR]        = {"errVENDOR", "the memory is protected against reading and writing"},
    [DFU_ERR_USBR]          = {"errUSBR", "it saw an unexpected bus reset"},
    [DFU_ERR_POR]           = {"errPOR", "it saw an unexpected power-on"},
    [DFU_ERR_UNKNOWN]       = {"errUNKNOWN", "it does not say what went wrong"},
    [DFU_ERR_STALLEDPKT]    = {"errSTALLEDPKT", "it did not expect this request"},
};
// clang-format on

/* The address that the current step is about. */
static uint32_t step_addr(const struct engine *e)
{
    return e->plan->steps[e->current].addr;
}

static const struct engine_task *task_of(const struct engine *e)
{
    return &e->tasks[e->task_at];
}

/* How much of a text fits into so many bytes without cutting a character apart. */
static int fitting(const char *text, size_t most)
{
    size_t n = strlen(text);
    if (n <= most)
        return (int)n;
    for (n = most; n && (text[n] & 0xC0) == 0x80;)
        n--;
    return (int)n;
}

static bool has_words(const char *text)
{
    while (*text == ' ')
        text++;
    return *text;
}

/* The device's own words for the status that it has just told. */
static void ask_reason(struct engine *e)
{
    memset(e->buffer, 0, sizeof e->buffer);
    ask_transfer(e, USB_IN, USB_GET_DESCRIPTOR,
        (uint16_t)(USB_DESCRIPTOR_STRING << 8 | e->reply[STATUS_STRING]), ENGINE_ENGLISH, e->buffer,
        ENGINE_STRING_SIZE, REASON_MS, TURN_REQUEST);
    e->explaining = true;
}

/* They came, or not: the run ends with the failure that is known already. */
static void take_reason(struct engine *e, int result)
{
    char text[DEVICE_TEXT];
    size_t used = strlen(e->message);
    inspect_text(e->buffer, result, text);
    if (has_words(text))
        snprintf(e->message + used, sizeof e->message - used, "; the device says: \"%.*s\"",
            fitting(text, REASON_MAX), text);
    e->ask = (struct engine_ask){.kind = ENGINE_FAILED};
    e->asked = true;
}

static void fail_refused(struct engine *e)
{
    const char *name = "an unknown status", *meaning = "no reason known";
    if (e->status < sizeof statuses / sizeof statuses[0]) {
        name = statuses[e->status].name;
        meaning = statuses[e->status].meaning;
    }
    engine_fail(e, ENGINE_REFUSED, "the board refused to %s 0x%08x: %s (%s)", task_of(e)->what,
        step_addr(e), name, meaning);
    if (e->reply[STATUS_STRING])
        ask_reason(e);
}

static void fail_link(struct engine *e, int error)
{
    const char *what = task_of(e)->what;
    switch ((enum transfer_error)error) {
    case TRANSFER_DENIED:
        engine_fail(e, ENGINE_DENIED, "no permission to use the board");
        return;
    case TRANSFER_BUSY:
        engine_fail(e, ENGINE_LINK, "another program is using the board; close it and try again");
        return;
    case TRANSFER_GONE:
        engine_fail(e, ENGINE_LINK,
            "the board went away while it should %s 0x%08x; check the cable and "
            "start again",
            what, step_addr(e));
        return;
    case TRANSFER_TIMEOUT:
        engine_fail(e, ENGINE_LINK,
            "the board stopped answering while it should %s 0x%08x; unplug it, plug "
            "it in and start again",
            what, step_addr(e));
        return;
    case TRANSFER_STALL:
        engine_fail(e, ENGINE_PROTOCOL, "the board refused to %s 0x%08x and does not say why", what,
            step_addr(e));
        return;
    case TRANSFER_IO:
        break;
    }
    engine_fail(e, ENGINE_LINK,
        "the USB transfer failed while the board should %s 0x%08x; check the cable "
        "and start again",
        what, step_addr(e));
}

static void fail_state(struct engine *e)
{
    engine_fail(e, ENGINE_PROTOCOL,
        "the board is in state %u (%s) when it should %s 0x%08x; unplug it, plug "
        "it in and start again",
        e->state, engine_state_name(e->state), task_of(e)->what, step_addr(e));
}

/* --- GETSTATUS ----------------------------------------------------------------------------------- */

static uint32_t poll_ms(const struct engine *e)
{
    return e->reply[1] | (uint32_t)e->reply[2] << 8 | (uint32_t)e->reply[3] << 16;
}

static bool take_status(struct engine *e, int result)
{
    if (result < DFU_STATUS_SIZE)
        return false;
    e->status = e->reply[0];
    e->state = e->reply[4];
    if (!e->found) {
        e->found = true;
        e->found_state = e->state;
        e->found_status = e->status;
    }
    return true;
}

/* Waits as long as the device asks for and never past the bound. One that names no time is asked again at
 * once, mostly it has done the work before it answered; but no more often than once in 1 ms from then on. */
static void pause_or_give_up(struct engine *e, uint32_t bound_ms)
{
    if (poll_ms(e) == 0 && !e->again) {
        e->again = true;
        ask_status(e, STATUS_MS);
        return;
    }
    uint32_t left = e->waited_ms < bound_ms ? bound_ms - e->waited_ms : 0;
    uint32_t ms = poll_ms(e) ? poll_ms(e) : 1;
    if (left == 0) {
        engine_fail(e, ENGINE_PROTOCOL,
            "the board is still busy (%s) %u s after it was asked to %s 0x%08x; "
            "unplug it, plug it in and start again",
            engine_state_name(e->state), bound_ms / 1000, task_of(e)->what, step_addr(e));
        return;
    }
    ask_pause(e, ms < left ? ms : left);
}

/* A STALLed GETSTATUS may mean that the device is too busy to answer. */
static void forgive_stalled_status(struct engine *e)
{
    if (e->tries >= STALLED_STATUS_TRIES) {
        fail_link(e, TRANSFER_STALL);
        return;
    }
    unsigned ms = (unsigned)STALLED_STATUS_MS << (e->tries < 5 ? e->tries : 5);
    e->tries++;
    ask_pause(e, ms < STALLED_STATUS_MAX_MS ? ms : STALLED_STATUS_MAX_MS);
}

/* --- tasks --------------------------------------------------------------------------------------- */

static void select_begin(struct engine *e)
{
    ask_transfer(e, USB_INTERFACE, USB_SET_INTERFACE, task_of(e)->value, e->device->interface, NULL,
        0, CONTROL_MS, TURN_REQUEST);
}

static void select_result(struct engine *e, int result)
{
    /* With a single alternate setting a STALL is permitted (USB 2.0 §9.4.10) and means nothing. */
    if (result < 0 && !(result == TRANSFER_STALL && e->device->alt_count == 1)) {
        fail_link(e, result);
        return;
    }
    e->alt = task_of(e)->value;
    task_done(e);
}

static void idle_begin(struct engine *e)
{
    if (e->state == DFU_DNLOAD_IDLE || e->state == DFU_UPLOAD_IDLE)
        ask_dfu(e, DFU_ABORT, TURN_REPAIR);
    else
        ask_status(e, CONTROL_MS);
}

/* CLRSTATUS only in dfuERROR and ABORT only where the standard has it: elsewhere they STALL on some
 * devices and make an error on others. */
static void idle_repair(struct engine *e)
{
    if (e->tries++ == IDLE_TRIES) {
        fail_state(e);
        return;
    }
    switch ((enum dfu_state)e->state) {
    case DFU_IDLE:
    case DFU_ERROR:
        ask_dfu(e, DFU_CLRSTATUS, TURN_REPAIR);
        return;
    case DFU_DNLOAD_IDLE:
    case DFU_UPLOAD_IDLE:
        ask_dfu(e, DFU_ABORT, TURN_REPAIR);
        return;
    case DFU_DNLOAD_SYNC:
    case DFU_DNBUSY:
    case DFU_MANIFEST_SYNC:
    case DFU_MANIFEST:
        /* It may still be busy with what another program began. If it never ends, try the rest. */
        if (e->tries <= IDLE_TRIES / 2)
            ask_pause(e, poll_ms(e) == 0 ? 1 : poll_ms(e) < CONTROL_MS ? poll_ms(e) : CONTROL_MS);
        else
            ask_dfu(e, e->tries % 2 ? DFU_ABORT : DFU_CLRSTATUS, TURN_REPAIR);
        return;
    case DFU_APP_IDLE:
    case DFU_APP_DETACH:
        engine_fail(e, ENGINE_PROTOCOL,
            "the board runs its application, not its bootloader; start the bootloader (button, "
            "jumper) first");
        return;
    case DFU_MANIFEST_WAIT_RESET:
        engine_fail(e, ENGINE_PROTOCOL,
            "the board waits for a reset after another download; unplug it, plug it in and start "
            "again");
        return;
    }
    fail_state(e);
}

static void idle_result(struct engine *e, int result)
{
    switch ((enum turn)e->turn) {
    case TURN_STATUS:
        if (result == TRANSFER_STALL && e->tries < IDLE_TRIES) {
            e->tries++;
            ask_pause(e, STALLED_STATUS_MS);
        } else if (result < 0) {
            fail_link(e, result);
        } else if (!take_status(e, result)) {
            fail_state(e);
        } else if (e->state == DFU_IDLE && e->status == DFU_OK && poll_ms(e) && e->tries == 0) {
            /* ABORT was answered, and it does what had been put off: let it. Once: some boards always
             * name a time. */
            e->tries++;
            ask_pause(e, poll_ms(e) < CONTROL_MS ? poll_ms(e) : CONTROL_MS);
        } else if (e->state == DFU_IDLE && e->status == DFU_OK) {
            task_done(e);
        } else {
            idle_repair(e);
        }
        return;
    case TURN_REPAIR:
        if (result < 0 && result != TRANSFER_STALL)
            fail_link(e, result);
        else
            ask_status(e, CONTROL_MS);
        return;
    case TURN_PAUSE:
    case TURN_REQUEST:
    case TURN_RESET:
        ask_status(e, CONTROL_MS);
        return;
    }
}

static void add_blank_check(struct engine *e);

static void dnload_begin(struct engine *e)
{
    const struct engine_task *task = task_of(e);
    memcpy(e->buffer, task->data ? task->data : task->command, task->size);
    ask_transfer(e, USB_CLASS | USB_INTERFACE, DFU_DNLOAD, task->value, e->device->interface,
        e->buffer, task->size, CONTROL_MS, TURN_REQUEST);
}

static bool is_erase(const struct engine_task *task, uint16_t size)
{
    return !task->data && task->command[0] == DFUSE_ERASE && task->size == size;
}

/* The H7's ROM stays dfuDNBUSY for ever after erasing a sector of its second bank. CLRSTATUS brings it to
 * dfuERROR and another one to dfuIDLE; the erase has happened, which is looked at. */
static bool wants_kick(const struct engine *e)
{
    return is_erase(task_of(e), 5) && !e->kicked && e->waited_ms >= KICK_MS;
}

static void kick(struct engine *e)
{
    e->kicked = true;
    e->tries = 0;
    ask_dfu(e, DFU_CLRSTATUS, TURN_REPAIR);
}

/* True if the status belongs to a device that was kicked, and was dealt with. */
static bool kicked_status(struct engine *e)
{
    if (!e->kicked)
        return false;
    if (e->state == DFU_ERROR && e->tries++ < KICK_TRIES) {
        ask_dfu(e, DFU_CLRSTATUS, TURN_REPAIR);
        return true;
    }
    if (e->state != DFU_IDLE)
        return false;
    e->status = DFU_OK;
    add_blank_check(e);
    task_done(e);
    return true;
}

/* What comes next is refused by a device that is busy after all. But it is asked again before a read, of which
 * nothing would tell that it came from elsewhere. */
static bool said_for_others(const struct engine *e)
{
    bool reads = e->task_at + 1 < e->task_count && task_of(e)[1].kind == TASK_IDLE;
    return e->plan->habits & DEVICE_DOES_FIRST && !reads && poll_ms(e) == 0 &&
           e->state == DFU_DNBUSY && e->waited_ms == 0;
}

static void believe(struct engine *e)
{
    e->state = DFU_DNLOAD_IDLE;
    task_done(e);
}

static void dnload_status(struct engine *e)
{
    if (kicked_status(e))
        return;
    if (e->state == DFU_ERROR || e->status != DFU_OK) {
        fail_refused(e);
        return;
    }
    if (e->refused) {
        fail_link(e, TRANSFER_STALL);
        return;
    }
    /* dfuDNBUSY is the rule; dfuDNLOAD-SYNC is what a device after the letter of DFU 1.1 says; one that
     * is done already may say so. */
    bool busy = e->state == DFU_DNBUSY || e->state == DFU_DNLOAD_SYNC;
    if (busy && is_erase(task_of(e), 1) && poll_ms(e) == F405_POLL_MS && !e->waited_ms)
        ask_pause(e, F405_MASS_MS);
    else if (busy && wants_kick(e))
        kick(e);
    else if (busy && said_for_others(e))
        believe(e);
    else if (busy)
        pause_or_give_up(e, task_of(e)->busy_ms);
    else if (e->state == DFU_DNLOAD_IDLE || e->state == DFU_IDLE)
        task_done(e);
    else
        fail_state(e);
}

static void dnload_result(struct engine *e, int result)
{
    switch ((enum turn)e->turn) {
    case TURN_REQUEST:
        e->refused = result == TRANSFER_STALL;
        if (result < 0 && !e->refused)
            fail_link(e, result);
        else
            ask_status(e, STATUS_MS);
        return;
    case TURN_STATUS:
        if (result == TRANSFER_STALL && !e->refused)
            forgive_stalled_status(e);
        else if (result < 0)
            fail_link(e, result);
        else if (take_status(e, result))
            dnload_status(e);
        else
            fail_state(e);
        return;
    case TURN_REPAIR:
        if (result < 0 && result != TRANSFER_STALL) {
            fail_link(e, result);
            return;
        }
        ask_status(e, STATUS_MS);
        return;
    case TURN_PAUSE:
    case TURN_RESET:
        ask_status(e, STATUS_MS);
        return;
    }
}

static void upload_begin(struct engine *e)
{
    ask_transfer(e, USB_IN | USB_CLASS | USB_INTERFACE, DFU_UPLOAD, task_of(e)->value,
        e->device->interface, e->buffer, task_of(e)->size, CONTROL_MS, TURN_REQUEST);
}

static void compare(struct engine *e, const struct plan_step *step, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        if (e->buffer[i] != step->data[i]) {
            engine_fail(e, ENGINE_MISMATCH,
                "verification failed: 0x%08x holds 0x%02x and should hold 0x%02x; "
                "flash it again",
                step->addr + i, e->buffer[i], step->data[i]);
            return;
        }
}

static bool is_blank(const uint8_t *data, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        if (data[i] != 0xFF)
            return false;
    return true;
}

/* READ with data: is it what is wanted, or, where an erase can be saved, blank? Whatever else it is comes to
 * the same. */
static void look_at(struct engine *e, const struct plan_step *step)
{
    bool same = memcmp(e->buffer, step->data, step->size) == 0;
    if (same || (!(e->plan->habits & DEVICE_REWRITES) && is_blank(e->buffer, step->size))) {
        e->others = 0;
        return;
    }
    e->others++;
    e->other = step->unit;
}

/* A look after which nothing would be known that matters. */
static bool is_needless(const struct engine *e, const struct plan_step *step)
{
    uint32_t enough = e->plan->lookahead;
    return step->kind == STEP_READ && step->data && e->others &&
           (step->unit == e->other || (enough && e->others >= enough));
}

/* Erased memory is all ones, on some chips all zeros. */
static void check_blank(struct engine *e, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        if (e->buffer[i] != e->buffer[0] || (e->buffer[0] != 0xFF && e->buffer[0] != 0)) {
            engine_fail(e, ENGINE_PROTOCOL,
                "the board did not finish erasing the sector at 0x%08x; unplug it, plug it in and "
                "start again",
                step_addr(e));
            return;
        }
    e->state = DFU_UPLOAD_IDLE;
    task_done(e);
}

static void upload_done(struct engine *e, uint32_t size)
{
    const struct plan_step *step = &e->plan->steps[e->current];
    if (task_of(e)->blank) {
        check_blank(e, size);
        return;
    }
    e->state = size < step->size ? DFU_IDLE : DFU_UPLOAD_IDLE;
    if (size < step->size && !step->may_end) {
        engine_fail(e, ENGINE_PROTOCOL, "the board gave only %u of %u bytes at 0x%08x", size,
            step->size, step->addr);
        return;
    }
    e->received += size;
    if (step->kind == STEP_VERIFY)
        compare(e, step, size);
    else
        memcpy(step->into, e->buffer, size);
    if (step->kind == STEP_READ && step->data)
        look_at(e, step);
    if (size < step->size) /* the end of its memory: nothing more to ask for */
        e->step = e->plan->count;
    if (e->failure == ENGINE_OK)
        task_done(e);
}

static void upload_result(struct engine *e, int result)
{
    if (e->turn == TURN_REQUEST) {
        if (result >= 0)
            upload_done(e, (uint32_t)result);
        else if (result == TRANSFER_STALL)
            ask_status(e, STATUS_MS);
        else
            fail_link(e, result);
        return;
    }
    if (take_status(e, result) && (e->state == DFU_ERROR || e->status != DFU_OK))
        fail_refused(e);
    else
        fail_link(e, TRANSFER_STALL);
}

/*
 * Leaving. The request for it is obeyed in as many ways as there are bootloaders: an announcement
 * (dfuMANIFEST), a STALL, silence, or an empty place on the bus. All of them mean that the application
 * has been started; dfuERROR alone is a refusal. Whoever announces is watched for a second, so that it
 * can be said whether it really went.
 */
static void leave_begin(struct engine *e)
{
    ask_transfer(e, USB_CLASS | USB_INTERFACE, DFU_DNLOAD, task_of(e)->value, e->device->interface,
        NULL, 0, CONTROL_MS, TURN_REQUEST);
}

static void left(struct engine *e, enum engine_departure departure)
{
    e->departure = departure;
    task_done(e);
}

static void leave_status(struct engine *e)
{
    if (e->state == DFU_ERROR) {
        e->departure = ENGINE_STAYED;
        fail_refused(e);
        return;
    }
    if (e->state == DFU_MANIFEST)
        e->departure = ENGINE_ANNOUNCED;
    if (e->state == DFU_MANIFEST_WAIT_RESET) {
        e->ask = (struct engine_ask){.kind = ENGINE_RESET};
        e->turn = TURN_RESET;
        e->asked = true;
        return;
    }
    if (e->plan->plain &&
        e->state == DFU_IDLE) { /* a manifestation-tolerant device is ready again */
        left(e, ENGINE_STAYED);
        return;
    }
    bool announced = e->departure == ENGINE_ANNOUNCED;
    if (e->waited_ms >= (announced ? (uint32_t)ENGINE_SETTLE_MS : (uint32_t)LEAVE_BUSY_MS)) {
        if (announced)
            left(e, ENGINE_ANNOUNCED);
        else
            engine_fail(e, ENGINE_PROTOCOL,
                "the board stays in its bootloader (%s) although it was told to "
                "start the program at 0x%08x; reset it by hand",
                engine_state_name(e->state), step_addr(e));
        return;
    }
    uint32_t ms = poll_ms(e) > LEAVE_POLL_MS ? poll_ms(e) : LEAVE_POLL_MS;
    ask_pause(e, ms < ENGINE_SETTLE_MS ? ms : ENGINE_SETTLE_MS);
}

static void leave_result(struct engine *e, int result)
{
    switch ((enum turn)e->turn) {
    case TURN_REQUEST:
        e->refused = result == TRANSFER_STALL;
        if (result == TRANSFER_DENIED || result == TRANSFER_BUSY)
            fail_link(e, result);
        else if (result < 0 && !e->refused)
            left(e, ENGINE_LEFT);
        else
            ask_status(e, LEAVE_STATUS_MS);
        return;
    case TURN_STATUS:
        if (result >= 0 && take_status(e, result))
            leave_status(e);
        else
            left(e, ENGINE_LEFT);
        return;
    case TURN_RESET: /* it asked for the reset, and now starts the application */
        left(e, result == 0 ? ENGINE_ANNOUNCED : ENGINE_LEFT);
        return;
    case TURN_PAUSE:
    case TURN_REPAIR:
        ask_status(e, LEAVE_STATUS_MS);
        return;
    }
}

/* Read Unprotect: dfuDNBUSY, then the device erases itself and comes back as a new one; how much of that
 * it announces differs. */
static void unprotect_status(struct engine *e)
{
    if (e->state == DFU_ERROR || e->refused)
        fail_refused(e);
    else if (e->state == DFU_DNBUSY || e->state == DFU_DNLOAD_SYNC)
        pause_or_give_up(e, MASS_BUSY_MS);
    else
        left(e, ENGINE_STAYED);
}

static void unprotect_result(struct engine *e, int result)
{
    switch ((enum turn)e->turn) {
    case TURN_REQUEST:
        e->refused = result == TRANSFER_STALL;
        if (result < 0 && !e->refused)
            fail_link(e, result);
        else
            ask_status(e, STATUS_MS);
        return;
    case TURN_STATUS:
        if (result >= 0 && take_status(e, result))
            unprotect_status(e);
        else if (e->refused)
            fail_link(e, TRANSFER_STALL);
        else if (result == TRANSFER_STALL && e->tries < STALLED_STATUS_TRIES)
            forgive_stalled_status(e);
        else
            left(e, ENGINE_LEFT);
        return;
    case TURN_PAUSE:
    case TURN_REPAIR:
    case TURN_RESET:
        ask_status(e, STATUS_MS);
        return;
    }
}

static void descriptor_begin(struct engine *e)
{
    memset(e->buffer, 0, sizeof e->buffer);
    ask_transfer(e, USB_IN, USB_GET_DESCRIPTOR, task_of(e)->value, task_of(e)->index, e->buffer,
        task_of(e)->size, 1000, TURN_REQUEST);
}

static void descriptor_result(struct engine *e, int result)
{
    inspect_result(e, result);
    if (e->failure == ENGINE_OK)
        task_done(e);
}

static const struct {
    void (*begin)(struct engine *e);
    void (*result)(struct engine *e, int result);
} task_table[] = {
    [TASK_SELECT] = {select_begin,     select_result    },
    [TASK_IDLE] = {idle_begin,       idle_result      },
    [TASK_DNLOAD] = {dnload_begin,     dnload_result    },
    [TASK_UPLOAD] = {upload_begin,     upload_result    },
    [TASK_LEAVE] = {leave_begin,      leave_result     },
    [TASK_UNPROTECT] = {dnload_begin,     unprotect_result },
    [TASK_DESCRIPTOR] = {descriptor_begin, descriptor_result},
};

/* --- steps: each becomes a few tasks ------------------------------------------------------------- */

static void add_idle(struct engine *e)
{
    engine_add_task(e, (struct engine_task){.kind = TASK_IDLE, .what = "get ready for"});
}

/* A command alone, or, with an address, one of five bytes. */
static struct engine_task bare_command(
    enum engine_task_kind kind, enum dfuse_command command, uint32_t busy_ms, const char *what)
{
    return (struct engine_task){
        .kind = kind, .size = 1, .command = {(uint8_t)command}, .busy_ms = busy_ms, .what = what};
}

static void add_command(
    struct engine *e, enum dfuse_command command, uint32_t addr, uint32_t busy_ms, const char *what)
{
    struct engine_task task = bare_command(TASK_DNLOAD, command, busy_ms, what);
    task.size = sizeof task.command;
    transfer_put32(task.command + 1, addr);
    engine_add_task(e, task);
}

/* Sets the address pointer; a download may follow. */
static void add_set_address(struct engine *e, uint32_t addr)
{
    if (e->state == DFU_UPLOAD_IDLE)
        add_idle(e);
    add_command(e, DFUSE_SET_ADDRESS, addr, COMMAND_BUSY_MS, "go to");
    e->based = true;
    e->base = addr;
    e->next_block = DFUSE_FIRST_BLOCK;
}

/* Whether the next counted block falls where the step wants it. Only full blocks are counted: AN3156
 * and the devices disagree about what a short one is multiplied with. */
static bool counts(const struct engine *e, const struct plan_step *step, enum dfu_state state)
{
    uint64_t at =
        e->base + (uint64_t)(e->next_block - DFUSE_FIRST_BLOCK) * e->device->transfer_size;
    return e->based && e->state == state && e->next_block > DFUSE_FIRST_BLOCK &&
           e->next_block <= UINT16_MAX && at == step->addr &&
           step->size == e->device->transfer_size;
}

/* A short block ends the counting. */
static uint16_t take_block(struct engine *e, const struct plan_step *step)
{
    uint16_t block = (uint16_t)e->next_block++;
    e->based = step->size == e->device->transfer_size;
    return block;
}

/* Without DfuSe a file's blocks are counted from 0, and so found; a block's place is all that it has. */
static uint16_t plain_block(const struct engine *e, const struct plan_step *step)
{
    return (uint16_t)(step->addr / e->device->transfer_size);
}

static void begin_plain(struct engine *e, const struct plan_step *step)
{
    bool down = step->kind == STEP_WRITE;
    if (step->addr == 0 && e->state != DFU_IDLE)
        add_idle(e);
    engine_add_task(e, (struct engine_task){.kind = down ? TASK_DNLOAD : TASK_UPLOAD,
                           .value = plain_block(e, step),
                           .size = (uint16_t)step->size,
                           .data = step->data,
                           .busy_ms = WRITE_BUSY_MS,
                           .what = down ? "write" : "read"});
}

static void begin_write(struct engine *e, const struct plan_step *step)
{
    if (!counts(e, step, DFU_DNLOAD_IDLE))
        add_set_address(e, step->addr);
    engine_add_task(e, (struct engine_task){.kind = TASK_DNLOAD,
                           .value = take_block(e, step),
                           .size = (uint16_t)step->size,
                           .data = step->data,
                           .busy_ms = WRITE_BUSY_MS,
                           .what = "write"});
}

/* The address is set once more also where it should be right still: had it not been set when this was
 * written, it would be compared where it was written. */
static void begin_read(struct engine *e, const struct plan_step *step)
{
    if (!counts(e, step, DFU_UPLOAD_IDLE)) {
        add_set_address(e, step->addr);
        add_idle(e); /* an upload begins in dfuIDLE */
    }
    engine_add_task(e, (struct engine_task){.kind = TASK_UPLOAD,
                           .value = take_block(e, step),
                           .size = (uint16_t)step->size,
                           .what = "read"});
}

static void begin_erase(struct engine *e, const struct plan_step *step)
{
    if (e->state == DFU_UPLOAD_IDLE)
        add_idle(e);
    add_command(e, DFUSE_ERASE, step->addr, ERASE_BUSY_MS, "erase the sector at");
    e->based = false; /* some devices point to the erased sector now */
}

static void begin_mass_erase(struct engine *e)
{
    if (e->state == DFU_UPLOAD_IDLE)
        add_idle(e);
    engine_add_task(e, bare_command(TASK_DNLOAD, DFUSE_ERASE, MASS_BUSY_MS, "erase all from"));
    e->based = false;
}

/* After an erase that had to be ended by force: is the sector's beginning blank? */
static void add_blank_check(struct engine *e)
{
    const struct plan_step *step = &e->plan->steps[e->current];
    uint32_t most = e->device->transfer_size;
    if (!(e->device->attributes & DFU_CAN_UPLOAD))
        return;
    add_set_address(e, step->addr);
    add_idle(e);
    engine_add_task(e, (struct engine_task){.kind = TASK_UPLOAD,
                           .value = DFUSE_FIRST_BLOCK,
                           .size = (uint16_t)(step->size < most ? step->size : most),
                           .blank = true,
                           .what = "read"});
    e->based = false;
}

static void begin_leave(struct engine *e, const struct plan_step *step)
{
    uint16_t block = DFUSE_FIRST_BLOCK;
    if (e->plan->plain)
        block = plain_block(e, step);
    else
        add_set_address(e, step->addr);
    engine_add_task(e,
        (struct engine_task){.kind = TASK_LEAVE, .value = block, .what = "start the program at"});
}

static void begin_unprotect(struct engine *e)
{
    engine_add_task(e, bare_command(TASK_UNPROTECT, DFUSE_READ_UNPROTECT, MASS_BUSY_MS,
                           "remove the read protection of"));
    e->based = false;
}

/* Opens an alternate setting, in whatever state the device is. */
static void begin_alt(struct engine *e, uint8_t alt)
{
    e->state = DFU_APP_IDLE; /* not known */
    e->based = false;
    engine_add_task(
        e, (struct engine_task){.kind = TASK_SELECT, .value = alt, .what = "get ready for"});
    add_idle(e);
}

static void begin_step(struct engine *e, const struct plan_step *step)
{
    if (e->plan->plain && step->kind != STEP_LEAVE) {
        begin_plain(e, step);
        return;
    }
    switch (step->kind) {
    case STEP_ERASE:
        begin_erase(e, step);
        return;
    case STEP_WRITE:
        begin_write(e, step);
        return;
    case STEP_VERIFY:
    case STEP_READ:
        begin_read(e, step);
        return;
    case STEP_LEAVE:
        begin_leave(e, step);
        return;
    case STEP_MASS_ERASE:
        begin_mass_erase(e);
        return;
    case STEP_UNPROTECT:
        begin_unprotect(e);
        return;
    case STEP_KINDS:
        return;
    }
}

/* --- the whole ----------------------------------------------------------------------------------- */

static void begin(struct engine *e)
{
    *e = (struct engine){.alt = -1};
}

void engine_inspect(struct engine *e, struct device *device)
{
    begin(e);
    *device = (struct device){0};
    e->device = e->inspected = device;
}

void engine_run(struct engine *e, const struct device *device, const struct plan *plan)
{
    begin(e);
    e->device = device;
    e->plan = plan;
}

void engine_go_on(struct engine *e, const struct device *device, const struct plan *plan)
{
    const struct engine before = *e;
    engine_run(e, device, plan);
    if (before.ask.kind != ENGINE_DONE)
        return;
    e->alt = before.alt;
    e->state = before.state;
    e->found = before.found;
    e->found_state = before.found_state;
    e->found_status = before.found_status;
}

static void account(struct engine *e)
{
    if (e->working)
        e->done += e->plan->steps[e->current].size;
    e->working = false;
}

static void work(struct engine *e)
{
    const struct plan_step *step = &e->plan->steps[e->current];
    if (e->phase != step->kind || e->step == 0)
        e->done = 0;
    e->phase = step->kind;
    e->total = e->plan->bytes[step->kind];
    e->working = true;
    begin_step(e, step);
}

/* A run ends in dfuIDLE: that is dfu-util's last word too, and where some devices commit a download.
 * After a leave there is nobody to talk to. */
static bool close_run(struct engine *e)
{
    bool needless = e->closed || e->plan->count == 0 || e->phase == STEP_LEAVE ||
                    e->phase == STEP_UNPROTECT || e->state == DFU_IDLE;
    if (!needless)
        add_idle(e);
    e->closed = true;
    return !needless;
}

/* Fills the tasks of the next step; false at the end. */
static bool next_step(struct engine *e)
{
    e->task_count = e->task_at = 0;
    if (e->inspected)
        return inspect_next(e);
    account(e);
    while (e->step < e->plan->count && is_needless(e, &e->plan->steps[e->step]))
        e->done += e->plan->steps[e->step++].size;
    if (e->step == e->plan->count)
        return close_run(e);
    e->current = e->step;
    if (e->alt !=
        e->plan->steps[e->current].alt) { /* before the first step, too; the step comes again */
        begin_alt(e, e->plan->steps[e->current].alt);
        return true;
    }
    work(e);
    e->step++;
    return true;
}

static void begin_task(struct engine *e)
{
    e->tries = 0;
    e->refused = e->kicked = e->again = false;
    e->waited_ms = 0;
    task_table[task_of(e)->kind].begin(e);
}

const struct engine_ask *engine_next(struct engine *e)
{
    while (!e->asked) {
        if (e->task_at < e->task_count) {
            begin_task(e);
        } else if (!next_step(e)) {
            e->ask = (struct engine_ask){.kind = ENGINE_DONE};
            e->asked = true;
        }
    }
    return &e->ask;
}

void engine_result(struct engine *e, int result)
{
    if (e->ask.kind == ENGINE_DONE || e->ask.kind == ENGINE_FAILED)
        return;
    e->asked = false;
    if (e->explaining)
        take_reason(e, result);
    else
        task_table[task_of(e)->kind].result(e, result);
}
