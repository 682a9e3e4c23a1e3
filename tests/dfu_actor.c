/* SPDX-License-Identifier: MIT */
#include "tests/dfu_actor.h"
#include "core/dfu.h"
#include "host/transfer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PORT_RESET_TYPE = 0x23, PORT_FEATURE = 3, WRITABLE = 50 * 1024 };
enum { SERIAL = 1, FIRST_NAME = 2, NS_PER_MS = 1000000 };

void actor_init(struct actor *a)
{
    memset(a, 0, sizeof *a);
    a->names[0] = "@Internal Flash  /0x08000000/50*001Kg,14*001Ka";
    a->alts = 1;
    a->serial = "00A1B2C3";
    a->dfu_version = DFU_VERSION_DFUSE;
    a->transfer_size = 1024;
    a->detach_timeout = 255;
    a->attributes = DFU_CAN_DNLOAD | DFU_CAN_UPLOAD | DFU_WILL_DETACH;
    a->protocol = DFU_PROTOCOL_DFU;
    a->max_packet = 64;
    a->poll_ms = 5;
    a->busy = 1;
    a->state = DFU_IDLE;
    a->pointer = ACTOR_BASE;
    for (size_t i = 0; i < sizeof a->flash; i++)
        a->flash[i] = (uint8_t)(i * 31 + i / 256);
}

__attribute__((format(printf, 2, 3))) static void note(struct actor *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = sizeof a->log - a->log_used;
    int n = vsnprintf(a->log + a->log_used, room, format, args);
    if (n > 0 && (size_t)n < room)
        a->log_used += (size_t)n;
    va_end(args);
}

/* --- descriptors -------------------------------------------------------------------------------- */

static uint16_t product_of(const struct actor *a, unsigned face)
{
    return a->runtime && face == 0 ? 0x5740 : 0xDF11;
}

static unsigned put_interface(
    const struct actor *a, uint8_t *at, unsigned alt, uint8_t protocol, bool application)
{
    bool named = !application && a->names[alt][0];
    const uint8_t text[9] = {9, USB_DESCRIPTOR_INTERFACE, 0, (uint8_t)alt, 0, DFU_CLASS,
        DFU_SUBCLASS, protocol, named ? (uint8_t)(FIRST_NAME + alt) : 0};
    memcpy(at, text, sizeof text);
    return sizeof text;
}

static unsigned put_functional(const struct actor *a, uint8_t *at)
{
    uint8_t size = a->short_functional ? 7 : 9;
    at[0] = size;
    at[1] = DFU_FUNCTIONAL_DESCRIPTOR;
    at[2] = a->attributes;
    transfer_put16(at + 3, a->detach_timeout);
    transfer_put16(at + 5, a->transfer_size);
    transfer_put16(at + 7, a->dfu_version);
    return size;
}

static void make_face(const struct actor *a, unsigned index, struct stage_face *f)
{
    bool application = a->runtime && index == 0;
    uint8_t device[18] = {18, USB_DESCRIPTOR_DEVICE, 0, 2, 0, 0, 0, a->max_packet, 0x83, 0x04, 0, 0,
        0x00, 0x22, 0, 0, a->serial[0] ? SERIAL : 0, 1};
    uint8_t config[9] = {9, USB_DESCRIPTOR_CONFIG, 0, 0, 1, 1, 0, 0x80, 50};
    transfer_put16(device + 10, product_of(a, index));
    unsigned size = sizeof config;
    for (unsigned alt = 0; alt < (application ? 1 : a->alts); alt++)
        size += put_interface(a, f->config + size, alt,
            application ? (uint8_t)DFU_PROTOCOL_RUNTIME : a->protocol, application);
    if (!a->no_functional)
        size += put_functional(a, f->config + size);
    transfer_put16(config + 2, (uint16_t)size);
    memcpy(f->device, device, sizeof device);
    memcpy(f->config, config, sizeof config);
    f->config_size = size;
}

static int give(uint8_t *data, uint16_t size, const uint8_t *from, size_t length)
{
    size_t n = length < size ? length : size;
    memcpy(data, from, n);
    return (int)n;
}

static int give_text(uint8_t *data, uint16_t size, const char *text)
{
    uint8_t descriptor[256] = {(uint8_t)(2 + 2 * strlen(text)), USB_DESCRIPTOR_STRING};
    for (size_t i = 0; text[i]; i++)
        descriptor[2 + 2 * i] = (uint8_t)text[i];
    return give(data, size, descriptor, descriptor[0]);
}

static int descriptor(const struct actor *a, const uint8_t setup[8], uint8_t *data)
{
    static const uint8_t languages[4] = {4, USB_DESCRIPTOR_STRING, 9, 4};
    uint16_t size = transfer_get16(setup + 6);
    struct stage_face face;
    make_face(a, a->dfu_face, &face);
    switch (setup[3]) {
    case USB_DESCRIPTOR_DEVICE:
        return give(data, size, face.device, sizeof face.device);
    case USB_DESCRIPTOR_CONFIG:
        return give(data, size, face.config, face.config_size);
    case USB_DESCRIPTOR_STRING:
        if (setup[2] == 0)
            return give(data, size, languages, sizeof languages);
        if (setup[2] == SERIAL)
            return give_text(data, size, a->serial);
        if (setup[2] < FIRST_NAME + a->alts)
            return give_text(data, size, a->names[setup[2] - FIRST_NAME]);
        return TRANSFER_STALL;
    default:
        return TRANSFER_STALL;
    }
}

/* --- the memories ------------------------------------------------------------------------------- */

static uint8_t *memory_at(struct actor *a, uint64_t addr, uint64_t size)
{
    if (addr >= ACTOR_BASE && addr + size <= ACTOR_BASE + ACTOR_SIZE)
        return a->flash + (addr - ACTOR_BASE);
    if (addr >= ACTOR_OPTIONS && addr + size <= ACTOR_OPTIONS + ACTOR_OPTIONS_SIZE)
        return a->options + (addr - ACTOR_OPTIONS);
    return NULL;
}

static bool writable(const struct actor *a, uint64_t addr, uint64_t size)
{
    (void)a;
    return (addr >= ACTOR_BASE && addr + size <= ACTOR_BASE + WRITABLE) || addr >= ACTOR_OPTIONS;
}

static uint8_t erase(struct actor *a, uint32_t addr)
{
    uint32_t page = addr & ~1023U;
    uint8_t *at = memory_at(a, page, 1024);
    if (!at || !writable(a, page, 1024))
        return DFU_ERR_TARGET;
    memset(at, 0xFF, 1024);
    return DFU_OK;
}

static uint8_t command(struct actor *a, const uint8_t *data, uint16_t size)
{
    uint32_t addr =
        size == 5 ? transfer_get16(data + 1) | (uint32_t)transfer_get16(data + 3) << 16 : 0;
    a->mass = size == 1 && data[0] == DFUSE_ERASE;
    if (a->mass) {
        memset(a->flash, 0xFF, WRITABLE);
        return DFU_OK;
    }
    if (size == 5 && data[0] == DFUSE_SET_ADDRESS) {
        a->pointer = addr;
        return DFU_OK;
    }
    if (size == 5 && data[0] == DFUSE_ERASE)
        return a->fails_with && addr == a->fails_at ? a->fails_with : erase(a, addr);
    if (size == 1 && data[0] == DFUSE_READ_UNPROTECT) {
        a->gone_after = a->requests + 1; /* GETSTATUS is answered, and that was it */
        return DFU_OK;
    }
    return DFU_ERR_STALLEDPKT;
}

static uint8_t write_block(struct actor *a, uint16_t block, const uint8_t *data, uint16_t size)
{
    uint64_t addr = a->pointer + (uint64_t)(block - DFUSE_FIRST_BLOCK) * a->transfer_size;
    uint8_t *at = memory_at(a, addr, size);
    if (!at || !writable(a, addr, size))
        return DFU_ERR_ADDRESS;
    if (a->fails_with && addr == a->fails_at)
        return a->fails_with;
    memcpy(at, data, size);
    return DFU_OK;
}

/* --- requests ----------------------------------------------------------------------------------- */

static int stall(struct actor *a)
{
    a->state = DFU_ERROR;
    a->status = DFU_ERR_STALLEDPKT;
    return TRANSFER_STALL;
}

static void begin(struct actor *a, uint8_t result)
{
    a->job = true;
    a->job_status = result;
    a->left_busy = a->busy;
    a->left_stalls = a->stalls_busy;
    a->state = DFU_DNLOAD_SYNC;
}

static int leave(struct actor *a)
{
    if (a->leave == ACTOR_STALLS_LEAVE)
        return stall(a);
    a->leaving = true;
    a->gone = a->leave == ACTOR_GOES_AT_ONCE;
    a->state = DFU_MANIFEST_SYNC;
    return a->gone ? TRANSFER_GONE : 0;
}

static int dnload(struct actor *a, uint16_t block, const uint8_t *data, uint16_t size)
{
    if (a->state != DFU_IDLE && a->state != DFU_DNLOAD_IDLE)
        return stall(a);
    if (size == 0)
        return leave(a);
    if (a->plain) {
        if (a->plain_at + size > sizeof a->flash)
            return stall(a);
        memcpy(a->flash + a->plain_at, data, size);
        bool fails = a->fails_with && a->plain_at == a->fails_at;
        a->plain_at += size;
        begin(a, fails ? a->fails_with : (uint8_t)DFU_OK);
        return size;
    }
    if ((a->transfer_size && size > a->transfer_size) || block == 1 ||
        (block == 0 && a->refuses_commands))
        return stall(a);
    if (a->stalls_at && a->pointer == a->fails_at && block)
        return stall(a);
    begin(a, block ? write_block(a, block, data, size) : command(a, data, size));
    return size;
}

static int upload(struct actor *a, uint16_t block, uint8_t *data, uint16_t size)
{
    if ((a->state != DFU_IDLE && a->state != DFU_UPLOAD_IDLE) || a->stalls_upload)
        return stall(a);
    uint64_t addr = a->plain
                        ? ACTOR_BASE + (uint64_t)block * size
                        : a->pointer + (uint64_t)(block - DFUSE_FIRST_BLOCK) * a->transfer_size;
    uint64_t end = a->plain      ? ACTOR_BASE + a->plain_size
                   : a->short_at ? a->short_at
                                 : ACTOR_BASE + ACTOR_SIZE;
    if (addr < ACTOR_BASE || addr > end)
        return stall(a);
    uint16_t n = end - addr < size ? (uint16_t)(end - addr) : size;
    memcpy(data, a->flash + (addr - ACTOR_BASE), n);
    a->state = n < size ? DFU_IDLE : DFU_UPLOAD_IDLE;
    return n;
}

static int tell(const struct actor *a, uint8_t *data, uint32_t poll_ms)
{
    const uint8_t status[DFU_STATUS_SIZE] = {a->status, (uint8_t)poll_ms, (uint8_t)(poll_ms >> 8),
        (uint8_t)(poll_ms >> 16), a->state, 0};
    memcpy(data, status, sizeof status);
    return DFU_STATUS_SIZE;
}

static int leaving_status(struct actor *a, uint8_t *data)
{
    switch (a->leave) {
    case ACTOR_ANNOUNCES:
        a->state = a->plain && a->state == DFU_MANIFEST ? DFU_IDLE : DFU_MANIFEST;
        break;
    case ACTOR_GOES_LATER:
        a->gone_after = a->requests;
        a->state = DFU_MANIFEST;
        break;
    case ACTOR_GOES_AT_ONCE:
    case ACTOR_GOES:
        a->gone = true;
        return TRANSFER_GONE;
    case ACTOR_STALLS_STATUS:
    case ACTOR_STALLS_LEAVE:
        return TRANSFER_STALL;
    case ACTOR_SILENT:
        return TRANSFER_TIMEOUT;
    case ACTOR_REFUSES:
        a->state = DFU_ERROR;
        a->status = DFU_ERR_FIRMWARE;
        break;
    case ACTOR_STAYS_IDLE:
        a->state = DFU_IDLE;
        break;
    case ACTOR_STAYS_BUSY:
        a->state = DFU_DNBUSY;
        break;
    case ACTOR_WAITS_FOR_RESET:
        a->state = DFU_MANIFEST_WAIT_RESET;
        break;
    case ACTOR_DNLOAD_IDLE:
        a->state = DFU_DNLOAD_IDLE;
        break;
    }
    return tell(a, data, 1);
}

static int busy_status(struct actor *a, uint8_t *data)
{
    if (a->state == DFU_DNBUSY && a->left_stalls) {
        a->left_stalls--;
        return TRANSFER_STALL;
    }
    uint32_t poll_ms = a->poll_ms;
    if (a->mass && a->erase_poll_ms && a->state == DFU_DNLOAD_SYNC)
        poll_ms = a->erase_poll_ms;
    if (a->left_busy) {
        a->left_busy -= a->left_busy != ACTOR_NEVER;
        a->state = a->plain ? DFU_DNLOAD_SYNC : DFU_DNBUSY;
        return tell(a, data, poll_ms);
    }
    a->job = false;
    a->status = a->job_status;
    a->state = a->status ? DFU_ERROR : DFU_DNLOAD_IDLE;
    return tell(a, data, 0);
}

static int getstatus(struct actor *a, uint8_t *data)
{
    if (a->runtime && !a->dfu_face && a->stalls_status)
        return TRANSFER_STALL;
    if (a->leaving)
        return leaving_status(a, data);
    return a->job ? busy_status(a, data) : tell(a, data, 0);
}

static int abort_or_clear(struct actor *a, enum dfu_request request)
{
    if (request == DFU_ABORT && a->stalls_abort)
        return stall(a);
    if (request == DFU_CLRSTATUS && a->error_sticks)
        return 0;
    a->job = false;
    a->status = DFU_OK;
    a->state = request == DFU_ABORT && a->abort_sticks ? DFU_DNLOAD_IDLE : DFU_IDLE;
    return 0;
}

static int detach(struct actor *a)
{
    if (a->stalls_detach)
        return TRANSFER_STALL;
    if (!a->runtime || a->dfu_face)
        return 0;
    a->detached = true;
    a->state = DFU_APP_DETACH;
    return 0;
}

static int class_request(struct actor *a, const uint8_t setup[8], uint8_t *data)
{
    uint16_t value = transfer_get16(setup + 2), size = transfer_get16(setup + 6);
    switch ((enum dfu_request)setup[1]) {
    case DFU_DETACH:
        return detach(a);
    case DFU_DNLOAD:
        return dnload(a, value, data, size);
    case DFU_UPLOAD:
        return upload(a, value, data, size);
    case DFU_GETSTATUS:
        return getstatus(a, data);
    case DFU_CLRSTATUS:
    case DFU_ABORT:
        return abort_or_clear(a, (enum dfu_request)setup[1]);
    case DFU_GETSTATE:
        data[0] = a->state;
        return 1;
    }
    return stall(a);
}

/* --- the record --------------------------------------------------------------------------------- */

static uint32_t digest(const uint8_t *data, size_t size)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 16777619U;
    return hash;
}

static void note_class_request(struct actor *a, const uint8_t setup[8], const uint8_t *data)
{
    static const char *const names[] = {
        "DETACH", "DNLOAD", "UPLOAD", "GETSTATUS", "CLRSTATUS", "GETSTATE", "ABORT"};
    uint16_t value = transfer_get16(setup + 2), size = transfer_get16(setup + 6);
    note(a, "%s", setup[1] < sizeof names / sizeof names[0] ? names[setup[1]] : "?");
    if (value || setup[1] == DFU_DNLOAD || setup[1] == DFU_UPLOAD)
        note(a, " %u", value);
    if (setup[1] == DFU_DNLOAD && value == 0 && size <= 5)
        for (unsigned i = 0; i < size; i++)
            note(a, " %02x", data[i]);
    else if (setup[1] == DFU_DNLOAD)
        note(a, " %u bytes #%08x", size, digest(data, size));
    else if (setup[1] == DFU_UPLOAD)
        note(a, " %u bytes", size);
    note(a, "\n");
}

/* The application's end, or the bootloader's. */
static void turn_over(struct actor *a)
{
    a->detached = false;
    if (a->never_returns)
        a->gone = true;
    else
        a->dfu_face = true;
    a->state = DFU_IDLE;
}

static int port_reset(struct actor *a)
{
    note(a, "RESET\n");
    if (a->detached)
        turn_over(a);
    else if (a->goes_at_reset)
        a->gone = true;
    else
        return 0;
    return TRANSFER_GONE;
}

static int transfer(void *self, const uint8_t setup[8], uint8_t *data)
{
    struct actor *a = self;
    if (setup[0] == (USB_IN | 0) && setup[1] == USB_GET_DESCRIPTOR)
        return descriptor(a, setup, data);
    if (setup[0] == PORT_RESET_TYPE && setup[1] == PORT_FEATURE)
        return port_reset(a);
    if (setup[0] == USB_INTERFACE && setup[1] == USB_SET_INTERFACE) {
        note(a, "SET_INTERFACE %u\n", transfer_get16(setup + 2));
        return a->stalls_select ? TRANSFER_STALL : 0;
    }
    if ((setup[0] & ~USB_IN) != (USB_CLASS | USB_INTERFACE)) {
        note(a, "another request: %02x %02x\n", setup[0], setup[1]);
        return TRANSFER_STALL;
    }
    note_class_request(a, setup, data);
    if (a->gone_after && a->requests >= a->gone_after) {
        a->gone = true;
        return TRANSFER_GONE;
    }
    a->requests++;
    int result = class_request(a, setup, data);
    if (a->detached && a->attributes & DFU_WILL_DETACH)
        turn_over(a);
    return result;
}

static int face(void *self)
{
    const struct actor *a = self;
    return a->gone || a->denied || a->now_ns < a->absent_ns ? -1 : a->dfu_face;
}

static void pass(void *self, uint64_t ns)
{
    ((struct actor *)self)->now_ns += ns;
}

void actor_player(struct actor *a, struct stage_player *player)
{
    memset(player, 0, sizeof *player);
    if (a->runtime)
        a->state = DFU_APP_IDLE;
    player->face_count = a->absent ? 0 : a->runtime ? 2 : 1;
    for (unsigned i = 0; i < player->face_count; i++)
        make_face(a, i, &player->faces[i]);
    player->face = face;
    player->transfer = transfer;
    player->sleep = pass;
    player->self = a;
}
