/* SPDX-License-Identifier: MIT */
/* The requests of dfu-util, in its order, and what must come back. It asks for more than it should here
 * (a first GETSTATUS that says dfuDNBUSY, never a STALL) and waits for ever there: what is kept is what
 * it sends, every wait has a bound, and a board that obeyed a leave request by leaving has done well. */
#include "core/dfu.h"
#include "host/dfu_util_parts.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum {
    CONTROL_MS = 5000,
    BUSY_MS = 120000,  /* the longest mass erase of any STM32 takes half of this */
    ZERO_POLLS = 5000, /* bwPollTimeout 0 while busy: a board that is stuck (Black Magic Probe) */
    MASS_ERASE_LIE_MS = 100, /* what the STM32F405's ROM says instead of … */
    MASS_ERASE_MS = 35000,
    STALLS = 10, /* the L4's ROM STALLs GETSTATUS while it erases */
    STALL_MS = 50,
    READY_TRIES = 16,
    LEAVE_MS = 2000, /* how long after leave another state than dfuMANIFEST is waited out */
    LEAVE_POLL_MS = 50,
    LEAVE_BLOCK = 2, /* wValue of the empty DNLOAD; any will do, this is dfu-util's */
};

/* --- words -------------------------------------------------------------------------------------- */

const char *wire_error(int error)
{
    switch ((enum transfer_error)error) {
    case TRANSFER_STALL:
        return "LIBUSB_ERROR_PIPE";
    case TRANSFER_TIMEOUT:
        return "LIBUSB_ERROR_TIMEOUT";
    case TRANSFER_GONE:
        return "LIBUSB_ERROR_NO_DEVICE";
    case TRANSFER_DENIED:
        return "LIBUSB_ERROR_ACCESS";
    case TRANSFER_BUSY:
        return "LIBUSB_ERROR_BUSY";
    case TRANSFER_IO:
        break;
    }
    return "LIBUSB_ERROR_IO";
}

static const char *state_name(uint8_t state)
{
    static const char *const names[] = {"appIDLE", "appDETACH", "dfuIDLE", "dfuDNLOAD-SYNC",
        "dfuDNBUSY", "dfuDNLOAD-IDLE", "dfuMANIFEST-SYNC", "dfuMANIFEST", "dfuMANIFEST-WAIT-RESET",
        "dfuUPLOAD-IDLE", "dfuERROR"};
    return state < sizeof names / sizeof names[0] ? names[state] : "INVALID";
}

/* DFU 1.1 §6.1.2 says it in these words, and dfu-util after it. */
static const char *status_text(uint8_t status)
{
    static const char *const texts[] = {
        [DFU_OK] = "No error condition is present",
        [DFU_ERR_TARGET] = "File is not targeted for use by this device",
        [DFU_ERR_FILE] = "File is for this device but fails some vendor-specific test",
        [DFU_ERR_WRITE] = "Device is unable to write memory",
        [DFU_ERR_ERASE] = "Memory erase function failed",
        [DFU_ERR_CHECK_ERASED] = "Memory erase check failed",
        [DFU_ERR_PROG] = "Program memory function failed",
        [DFU_ERR_VERIFY] = "Programmed memory failed verification",
        [DFU_ERR_ADDRESS] = "Cannot program memory due to received address that is out of range",
        [DFU_ERR_NOTDONE] = "Received DFU_DNLOAD with wLength = 0, but device does not think that "
                            "it has all data yet",
        [DFU_ERR_FIRMWARE] =
            "Device's firmware is corrupt. It cannot return to run-time (non-DFU) operations",
        [DFU_ERR_VENDOR] = "iString indicates a vendor specific error",
        [DFU_ERR_USBR] = "Device detected unexpected USB reset signalling",
        [DFU_ERR_POR] = "Device detected unexpected power on reset",
        [DFU_ERR_UNKNOWN] = "Something went wrong, but the device does not know what it was",
        [DFU_ERR_STALLEDPKT] = "Device stalled an unexpected request",
    };
    return status < sizeof texts / sizeof texts[0] ? texts[status] : "INVALID";
}

void wire_tell(const struct dfu_util_wire *wire, bool error)
{
    fprintf(error ? stderr : stdout, "DFU state(%u) = %s, status(%u) = %s\n", wire->state,
        state_name(wire->state), wire->status, status_text(wire->status));
}

/* --- single requests ---------------------------------------------------------------------------- */

int wire_request(
    struct dfu_util_wire *wire, uint8_t request, uint16_t value, uint8_t *data, uint16_t size)
{
    bool in = request == DFU_UPLOAD || request == DFU_GETSTATUS || request == DFU_GETSTATE;
    uint8_t setup[USB_SETUP_SIZE] = {
        (uint8_t)((in ? USB_IN : 0) | USB_CLASS | USB_INTERFACE), request};
    transfer_put16(setup + 2, value);
    transfer_put16(setup + 4, wire->interface);
    transfer_put16(setup + 6, size);
    return link_control(wire->link, setup, data, CONTROL_MS);
}

int wire_status(struct dfu_util_wire *wire)
{
    uint8_t reply[DFU_STATUS_SIZE] = {0};
    int size = wire_request(wire, DFU_GETSTATUS, 0, reply, sizeof reply);
    if (size < DFU_STATUS_SIZE)
        return size < 0 ? size : TRANSFER_IO;
    wire->status = reply[0];
    wire->poll_ms = transfer_get16(reply + 1) | (uint32_t)reply[3] << 16;
    wire->state = reply[4];
    return 0;
}

/* GETSTATUS of a board that may be too busy to answer. */
static int patient_status(struct dfu_util_wire *wire)
{
    int error = wire_status(wire);
    for (unsigned i = 0; error == TRANSFER_STALL && i < STALLS; i++) {
        fprintf(stderr, "* Device stalled USB pipe, reusing last poll timeout\n");
        dfu_util_sleep(wire->poll_ms ? wire->poll_ms : STALL_MS);
        error = wire_status(wire);
    }
    return error;
}

int wire_select(struct dfu_util_wire *wire, uint8_t alt)
{
    uint8_t setup[USB_SETUP_SIZE] = {USB_INTERFACE, USB_SET_INTERFACE, alt};
    printf("Setting Alternate Interface #%u ...\n", alt);
    transfer_put16(setup + 4, wire->interface);
    int error = link_control(wire->link, setup, NULL, CONTROL_MS);
    if (error >= 0)
        return 0;
    dfu_util_say("Cannot set alternate interface: %s", wire_error(error));
    return EX_IOERR;
}

/* --- to a known state --------------------------------------------------------------------------- */

static int repair(struct dfu_util_wire *wire, enum dfu_request request, const char *complaint)
{
    int error = wire_request(wire, (uint8_t)request, 0, NULL, 0);
    if (error < 0)
        dfu_util_say("%s (%s)", complaint, wire_error(error));
    return error < 0 ? EX_IOERR : 0;
}

static int clear_status(struct dfu_util_wire *wire)
{
    printf("Clearing status\n");
    return repair(wire, DFU_CLRSTATUS, "error clear_status");
}

/* After the state has been looked at: an exit code, or 0; *again: look once more. */
static int make_ready(struct dfu_util_wire *wire, bool *again)
{
    switch ((enum dfu_state)wire->state) {
    case DFU_APP_IDLE:
    case DFU_APP_DETACH:
        dfu_util_say("Device still in Run-Time Mode!");
        return EX_PROTOCOL;
    case DFU_ERROR:
        *again = true;
        return clear_status(wire);
    case DFU_DNLOAD_IDLE:
    case DFU_UPLOAD_IDLE:
        *again = true;
        printf("Aborting previous incomplete transfer\n");
        return repair(wire, DFU_ABORT, "can't send DFU_ABORT");
    case DFU_IDLE:
    case DFU_DNLOAD_SYNC:
    case DFU_DNBUSY:
    case DFU_MANIFEST_SYNC:
    case DFU_MANIFEST:
    case DFU_MANIFEST_WAIT_RESET:
        break;
    }
    *again = wire->status != DFU_OK;
    return *again ? clear_status(wire) : 0;
}

int wire_ready(struct dfu_util_wire *wire)
{
    bool again = true;
    int error = 0;
    for (unsigned i = 0; again && !error && i < READY_TRIES; i++) {
        printf("Determining device status...\n");
        int result = wire_status(wire);
        if (result) {
            dfu_util_say("error get_status: %s", wire_error(result));
            return EX_IOERR;
        }
        wire_tell(wire, false);
        dfu_util_sleep(wire->poll_ms);
        again = false;
        error = make_ready(wire, &again);
    }
    if (!error && again) {
        dfu_util_say("Status is not OK: %u; the board stays in %s. Unplug it, plug it in and start "
                     "again",
            wire->status, state_name(wire->state));
        return EX_PROTOCOL;
    }
    return error;
}

int wire_abort(struct dfu_util_wire *wire)
{
    int error = wire_request(wire, DFU_ABORT, 0, NULL, 0);
    if (error < 0) {
        dfu_util_say("Error sending dfu abort request (%s)", wire_error(error));
        return EX_IOERR;
    }
    error = patient_status(wire);
    if (error) {
        dfu_util_say("Error during abort get_status (%s)", wire_error(error));
        return EX_IOERR;
    }
    if (wire->state != DFU_IDLE) {
        dfu_util_say(
            "Failed to enter idle state on abort: the board is in %s", state_name(wire->state));
        return EX_IOERR;
    }
    dfu_util_sleep(wire->poll_ms);
    return 0;
}

/* --- downloads and their execution -------------------------------------------------------------- */

struct patience { /* with a busy board */
    uint32_t waited_ms;
    unsigned zero_polls;
};

static bool is_busy(const struct dfu_util_wire *wire)
{
    return wire->state == DFU_DNBUSY || wire->state == DFU_DNLOAD_SYNC;
}

/* Waits as long as it asks for; false when it has asked too often or for too much. */
static bool sit_out(const struct dfu_util_wire *wire, struct patience *p)
{
    uint32_t ms = wire->poll_ms < BUSY_MS ? wire->poll_ms : BUSY_MS;
    if (wire->verbose > 1)
        fprintf(stderr, "   Poll timeout %u ms\n", wire->poll_ms);
    if (!ms && !is_busy(wire))
        return true;
    p->zero_polls = ms ? 0 : p->zero_polls + 1;
    if (p->zero_polls >= ZERO_POLLS || p->waited_ms >= BUSY_MS)
        return false;
    dfu_util_sleep(ms ? ms : 1);
    p->waited_ms += ms;
    return true;
}

static const char *const command_names[] = {
    [DFU_UTIL_SET_ADDRESS] = "SET_ADDRESS",
    [DFU_UTIL_ERASE_PAGE] = "ERASE_PAGE",
    [DFU_UTIL_MASS_ERASE] = "MASS_ERASE",
    [DFU_UTIL_READ_UNPROTECT] = "READ_UNPROTECT",
};

static int send_command(struct dfu_util_wire *wire, enum dfu_util_command command, uint32_t addr)
{
    static const uint8_t codes[] = {[DFU_UTIL_SET_ADDRESS] = DFUSE_SET_ADDRESS,
        [DFU_UTIL_ERASE_PAGE] = DFUSE_ERASE,
        [DFU_UTIL_MASS_ERASE] = DFUSE_ERASE,
        [DFU_UTIL_READ_UNPROTECT] = DFUSE_READ_UNPROTECT};
    bool has_addr = command == DFU_UTIL_SET_ADDRESS || command == DFU_UTIL_ERASE_PAGE;
    uint8_t data[5] = {codes[command]};
    transfer_put32(data + 1, addr);
    int error = wire_request(wire, DFU_DNLOAD, 0, data, has_addr ? 5 : 1);
    if (error >= 0)
        return 0;
    dfu_util_say("Error during special command \"%s\" download (%s)", command_names[command],
        wire_error(error));
    return EX_IOERR;
}

/* A board after the letter of DFU 1.1 says dfuDNLOAD-SYNC, one that is done at once dfuDNLOAD-IDLE. */
static int check_state(
    const struct dfu_util_wire *wire, enum dfu_util_command command, uint32_t addr)
{
    if (wire->status != DFU_OK || wire->state == DFU_ERROR) {
        wire_tell(wire, true);
        if (command == DFU_UTIL_SET_ADDRESS || command == DFU_UTIL_ERASE_PAGE)
            dfu_util_say("%s not correctly executed at 0x%08x: %s", command_names[command], addr,
                status_text(wire->status));
        else
            dfu_util_say(
                "%s not correctly executed: %s", command_names[command], status_text(wire->status));
        return EX_IOERR;
    }
    if (wire->state == DFU_DNBUSY || wire->state == DFU_DNLOAD_SYNC ||
        wire->state == DFU_DNLOAD_IDLE || wire->state == DFU_IDLE)
        return 0;
    wire_tell(wire, true);
    dfu_util_say("Wrong state after command \"%s\" download", command_names[command]);
    return EX_PROTOCOL;
}

int wire_command(struct dfu_util_wire *wire, enum dfu_util_command command, uint32_t addr)
{
    struct patience patience = {0};
    int error = send_command(wire, command, addr);
    for (bool first = true; !error; first = false) {
        int result = patient_status(wire);
        if (result) {
            dfu_util_say("Error during special command \"%s\" get_status (%s)",
                command_names[command], wire_error(result));
            return EX_IOERR;
        }
        error = check_state(wire, command, addr);
        if (first && command == DFU_UTIL_MASS_ERASE && wire->poll_ms == MASS_ERASE_LIE_MS) {
            printf("Setting timeout to 35 seconds\n");
            wire->poll_ms = MASS_ERASE_MS;
        }
        if (error)
            return error;
        if (!sit_out(wire, &patience)) {
            dfu_util_say("Device stuck after special command request \"%s\"; unplug it, plug it "
                         "in and start again",
                command_names[command]);
            return EX_IOERR;
        }
        if (command == DFU_UTIL_READ_UNPROTECT || !is_busy(wire))
            return 0; /* a board that is being unprotected is not heard of again */
    }
    return error;
}

static bool block_is_done(const struct dfu_util_wire *wire)
{
    return wire->state == DFU_DNLOAD_IDLE || wire->state == DFU_ERROR ||
           wire->state == DFU_MANIFEST || wire->status != DFU_OK ||
           (wire->will_reset && wire->state == DFU_DNBUSY);
}

int wire_block(struct dfu_util_wire *wire, uint16_t block, const uint8_t *data, uint16_t size)
{
    uint8_t copy[TRANSFER_MAX]; /* a link's buffer is not const */
    struct patience patience = {0};
    memcpy(copy, data, size);
    int error = wire_request(wire, DFU_DNLOAD, block, copy, size);
    if (error < 0) {
        dfu_util_say("Error during download (%s)", wire_error(error));
        return EX_IOERR;
    }
    do {
        error = patient_status(wire);
        if (error) {
            dfu_util_say("Error during download get_status (%s)", wire_error(error));
            return EX_IOERR;
        }
        if (!sit_out(wire, &patience)) {
            dfu_util_say("Device stuck after download; unplug it, plug it in and start again");
            return EX_IOERR;
        }
    } while (!block_is_done(wire));
    if (wire->status == DFU_OK)
        return 0;
    printf(" failed!\n");
    wire_tell(wire, !wire->plain); /* as dfu-util has it */
    dfu_util_say("Error during download: %s", status_text(wire->status));
    return EX_IOERR;
}

/* --- leaving ------------------------------------------------------------------------------------ */

static int refuse_leave(const struct dfu_util_wire *wire)
{
    printf(" failed!\n");
    wire_tell(wire, true);
    dfu_util_say("the board does not leave DFU mode: %s", status_text(wire->status));
    return EX_IOERR;
}

/* dfuIDLE and others may pass; dfu-util would wait for ever. 0, or an exit code; *again: not yet. */
static int judge_leave(struct dfu_util_wire *wire, bool *again)
{
    *again = false;
    if (wire->status != DFU_OK || wire->state == DFU_ERROR)
        return refuse_leave(wire);
    if (wire->state == DFU_MANIFEST)
        printf("Transitioning to dfuMANIFEST state\n");
    if (wire->state == DFU_MANIFEST || wire->state == DFU_DNLOAD_IDLE)
        return 0;
    if (wire->state == DFU_IDLE && wire->attributes & DFU_MANIFESTATION_TOLERANT)
        return 0;
    if (wire->state == DFU_MANIFEST_WAIT_RESET) {
        link_reset(wire->link); /* DFU 1.1 §7; that the board goes is the purpose */
        return 0;
    }
    *again = true;
    return 0;
}

int wire_leave(struct dfu_util_wire *wire)
{
    bool again = true;
    printf("Submitting leave request...\n");
    int error = wire_request(wire, DFU_DNLOAD, LEAVE_BLOCK, NULL, 0);
    if (error < 0 && error != TRANSFER_GONE && error != TRANSFER_TIMEOUT) {
        dfu_util_say(
            "Error during download: the board refused the leave request (%s)", wire_error(error));
        return EX_IOERR;
    }
    wire->left = true;
    for (uint32_t waited = 0; again && waited < LEAVE_MS; waited += LEAVE_POLL_MS) {
        if (wire_status(wire))
            return 0; /* it started its program instead of answering */
        error = judge_leave(wire, &again);
        if (error || !again)
            dfu_util_sleep(wire->poll_ms < LEAVE_MS ? wire->poll_ms : LEAVE_MS);
        else
            dfu_util_sleep(LEAVE_POLL_MS);
    }
    if (!again)
        return error;
    dfu_util_say("the board took the leave request and is still in DFU mode (%s) 2 s later; is "
                 "there a complete program on it?",
        state_name(wire->state));
    return EX_IOERR;
}

int wire_reset(struct dfu_util_wire *wire)
{
    int error = wire_request(wire, DFU_DETACH, DETACH_MS, NULL, 0);
    if (error < 0 && !wire->left)
        dfu_util_say("can't detach");
    printf("Resetting USB to switch back to Run-Time mode\n");
    error = link_reset(wire->link);
    if (error >= 0 || error == TRANSFER_GONE) /* gone: where it is to go */
        return 0;
    dfu_util_say("error resetting after download: %s", wire_error(error));
    return EX_IOERR;
}
