/* SPDX-License-Identifier: MIT */
#include "tests/mock_device.h"
#include "core/dfu.h"

#include <criterion/criterion.h>
#include <string.h>

enum { PATIENCE = 200000, ANNOUNCED_MS = 300, REASON = 5 /* its string */ };

#define MOCK_MAP "@Internal Flash  /0x08000000/50*001Kg,14*001Ka"

void mock_init(struct mock *mock)
{
    *mock = (struct mock){.poll_ms = 5,
        .busy_ms = 5,
        .erase_size = MOCK_PAGE,
        .state = DFU_IDLE,
        .pointer = MOCK_BASE,
        .patience_ms = UINT32_MAX,
        .map = MOCK_MAP};
    memset(mock->flash, 0xA5, sizeof mock->flash);
}

// clang-format off
static const struct {
    const char *name;
    enum mock_leave leave;
    uint32_t poll_ms, busy_ms, nak_ms, erase_size, word;
    bool plain, sync_first, stalls_while_busy, stuck_erase, deaf_mass_erase, rewrites, does_first;
    const char *product;
} personalities[] = {
    [MOCK_CABOOSE]  = {.name = "caboose",  .leave = MOCK_ANNOUNCES,
                       .rewrites = true, .does_first = true, .product = "caboose 1.0"},
    [MOCK_NAMESAKE] = {.name = "namesake", .leave = MOCK_ANNOUNCES,        .busy_ms = 20,
                       .product = "caboose 1.0"},
    [MOCK_USUAL]    = {.name = "usual",    .leave = MOCK_ANNOUNCES,        .poll_ms = 30, .busy_ms = 30},
    [MOCK_TEXTBOOK] = {.name = "textbook", .leave = MOCK_TOLERANT,         .poll_ms = 20, .busy_ms = 20,
                       .plain = true, .sync_first = true},
    [MOCK_F4_ROM]   = {.name = "F4 ROM",   .leave = MOCK_VANISHES_AT_ONCE, .poll_ms = 50, .busy_ms = 40},
    [MOCK_L4_ROM]   = {.name = "L4 ROM",   .leave = MOCK_VANISHES,         .poll_ms = 1,  .busy_ms = 700,
                       .stalls_while_busy = true, .word = 8},
    [MOCK_H7_ROM]   = {.name = "H7 ROM",   .leave = MOCK_SILENT,           .poll_ms = 10, .busy_ms = 10,
                       .stuck_erase = true, .word = 32},
    [MOCK_F405_ROM] = {.name = "F405 ROM", .leave = MOCK_VANISHES_AT_ONCE, .poll_ms = 100, .busy_ms = 90,
                       .deaf_mass_erase = true},
    [MOCK_GD32]     = {.name = "GD32",     .leave = MOCK_VANISHES,         .poll_ms = 5,  .busy_ms = 50},
    [MOCK_SLOW]     = {.name = "slow NAK", .leave = MOCK_ANNOUNCES,        .poll_ms = 1,  .busy_ms = 1,
                       .nak_ms = 6000},
    [MOCK_LIAR]     = {.name = "liar",     .leave = MOCK_ANNOUNCES,        .poll_ms = 5,  .busy_ms = 5,
                       .erase_size = 2 * MOCK_PAGE},
};
// clang-format on

const char *mock_name(enum mock_personality personality)
{
    return personalities[personality].name;
}

void mock_init_as(struct mock *mock, enum mock_personality personality)
{
    mock_init(mock);
    mock->leave = personalities[personality].leave;
    mock->poll_ms = personalities[personality].poll_ms;
    mock->busy_ms = personalities[personality].busy_ms;
    mock->nak_ms = personalities[personality].nak_ms;
    mock->word = personalities[personality].word;
    mock->plain = personalities[personality].plain;
    mock->sync_first = personalities[personality].sync_first;
    mock->stalls_while_busy = personalities[personality].stalls_while_busy;
    mock->stuck_erase = personalities[personality].stuck_erase;
    mock->deaf_mass_erase = personalities[personality].deaf_mass_erase;
    mock->rewrites = personalities[personality].rewrites;
    mock->does_first = personalities[personality].does_first;
    mock->name = personalities[personality].product;
    if (personalities[personality].erase_size)
        mock->erase_size = personalities[personality].erase_size;
}

void mock_replug(struct mock *mock)
{
    mock->gone = mock->leaving = mock->executing = mock->is_stuck = false;
    mock->gone_ms = 0;
    mock->unplug_after = 0;
    mock->state = DFU_IDLE;
    mock->status = DFU_OK;
    mock->pointer = MOCK_BASE;
}

void mock_describe(struct device *device)
{
    *device = (struct device){.vendor = 0x0483,
        .product = 0xDF11,
        .dfu = true,
        .attributes = DFU_CAN_DNLOAD | DFU_CAN_UPLOAD | DFU_WILL_DETACH,
        .transfer_size = MOCK_XFER,
        .dfu_version = DFU_VERSION_DFUSE,
        .alt_count = 1};
    strcpy(device->alts[0].text, MOCK_MAP);
    device->alts[0].map_error = memory_map_parse(&device->alts[0].map, MOCK_MAP);
}

static void violate(struct mock *m, const char *rule)
{
    if (!m->violation)
        m->violation = rule;
}

static int stall(struct mock *m, const char *rule)
{
    violate(m, rule);
    m->state = DFU_ERROR;
    m->status = DFU_ERR_STALLEDPKT;
    return TRANSFER_STALL;
}

static uint32_t job_addr(const struct mock *m)
{
    return (uint32_t)m->job[1] | (uint32_t)m->job[2] << 8 | (uint32_t)m->job[3] << 16 |
           (uint32_t)m->job[4] << 24;
}

/* --- the work ------------------------------------------------------------------------------------ */

static uint8_t erase(struct mock *m, uint32_t addr)
{
    uint32_t page = (addr - MOCK_BASE) / MOCK_PAGE;
    if (page >= MOCK_WRITABLE) {
        violate(m, "an erase outside of what is writable");
        return DFU_ERR_TARGET;
    }
    m->erases[page]++;
    if (m->erase_size) {
        uint32_t begin = page * MOCK_PAGE / m->erase_size * m->erase_size;
        memset(m->flash + begin, 0xFF, m->erase_size);
        memset(m->programmed + begin, 0, m->erase_size);
    }
    m->is_stuck = m->stuck_erase;
    return DFU_OK;
}

static void erase_all(struct mock *m)
{
    for (unsigned page = 0; page < MOCK_WRITABLE; page++)
        m->erases[page]++;
    memset(m->flash, 0xFF, (size_t)MOCK_WRITABLE * MOCK_PAGE);
    memset(m->programmed, 0, sizeof m->programmed);
}

static uint8_t command(struct mock *m)
{
    if (m->job_size == 5 && m->job[0] == DFUSE_SET_ADDRESS) {
        m->pointer = job_addr(m);
        m->set_addresses++;
        return DFU_OK;
    }
    if (m->job_size == 5 && m->job[0] == DFUSE_ERASE) {
        uint32_t addr = job_addr(m);
        if (m->fail_status && addr == m->fail_write_at)
            return m->fail_status;
        m->pointer = addr; /* as ST's own device library does */
        return erase(m, addr);
    }
    if (m->job_size == 1 && m->job[0] == DFUSE_ERASE) {
        erase_all(m);
        return DFU_OK;
    }
    if (m->job_size == 1 && m->job[0] == DFUSE_READ_UNPROTECT) {
        m->protects = false;
        erase_all(m);
        m->gone = true;
        return DFU_OK;
    }
    violate(m, "a command that is none");
    return DFU_ERR_STALLEDPKT;
}

static uint64_t block_addr(const struct mock *m, uint16_t block)
{
    if (m->plain)
        return MOCK_BASE + (uint64_t)block * MOCK_XFER;
    return (uint64_t)m->pointer + (uint64_t)(block - DFUSE_FIRST_BLOCK) * MOCK_XFER;
}

/* With ECC a word is programmed whole, and not a second time. */
static void program_words(struct mock *m, uint32_t at, uint32_t size)
{
    if (!m->word)
        return;
    for (uint32_t word = at / m->word; word <= (at + size - 1) / m->word; word++) {
        if (m->programmed[word * m->word])
            violate(m, "a flash word programmed twice");
        m->programmed[word * m->word] = true;
    }
}

static uint8_t write_block(struct mock *m)
{
    uint64_t addr = block_addr(m, m->job_block);
    m->blocks++;
    m->page_0_written |= addr == MOCK_BASE;
    if (m->plain && addr + m->job_size <= MOCK_BASE + MOCK_WRITABLE * MOCK_PAGE)
        memset(m->flash + (addr - MOCK_BASE), 0xFF, m->job_size); /* its own affair */
    if (addr < MOCK_BASE || addr + m->job_size > MOCK_BASE + MOCK_WRITABLE * MOCK_PAGE) {
        violate(m, "a write outside of what is writable");
        return DFU_ERR_TARGET;
    }
    if (m->fail_status && addr == m->fail_write_at)
        return m->fail_status;
    uint8_t *at = m->flash + (addr - MOCK_BASE);
    program_words(m, (uint32_t)(addr - MOCK_BASE), m->job_size);
    for (size_t i = 0; i < m->job_size; i++) {
        if (at[i] != 0xFF && !m->rewrites)
            violate(m, "a write to flash that is not blank");
        m->changes += at[i] != m->job[i];
        at[i] = m->rewrites ? m->job[i] : at[i] & m->job[i];
    }
    return DFU_OK;
}

static void execute(struct mock *m)
{
    bool is_command = m->job_block == 0 && !m->plain;
    bool open = is_command && (m->job[0] == DFUSE_SET_ADDRESS || m->job[0] == DFUSE_READ_UNPROTECT);
    uint8_t status = m->protects && !open ? DFU_ERR_VENDOR
                     : is_command         ? command(m)
                                          : write_block(m);
    m->status = status;
    m->state = status ? DFU_ERROR : m->is_stuck ? DFU_DNBUSY : DFU_DNLOAD_IDLE;
    m->executing = false;
}

/* --- requests ------------------------------------------------------------------------------------ */

static int leave(struct mock *m)
{
    m->leaving = true;
    m->left_at = m->transfers;
    m->state = DFU_MANIFEST_SYNC;
    if (m->wants_page_0 && !m->page_0_written) {
        m->leaving = false;
        m->state = DFU_ERROR;
        m->status = DFU_ERR_FIRMWARE;
        return 0;
    }
    m->gone = m->leave == MOCK_VANISHES_AT_ONCE;
    return m->gone ? TRANSFER_GONE : 0;
}

static int dnload(struct mock *m, uint16_t block, const uint8_t *data, uint16_t size)
{
    if (m->state != DFU_IDLE && m->state != DFU_DNLOAD_IDLE)
        return stall(m, "DNLOAD neither in dfuIDLE nor in dfuDNLOAD-IDLE");
    if (size == 0)
        return leave(m);
    if (size > MOCK_XFER || (block == 1 && !m->plain))
        return stall(m, "a block too long, or block 1");
    memcpy(m->job, data, size);
    m->job_block = block;
    m->job_size = size;
    m->executing = true;
    m->state = DFU_DNLOAD_SYNC;
    return 0;
}

static int upload(struct mock *m, uint16_t block, uint8_t *data, uint16_t size)
{
    if (m->state != DFU_IDLE && m->state != DFU_UPLOAD_IDLE)
        return stall(m, "UPLOAD neither in dfuIDLE nor in dfuUPLOAD-IDLE");
    if (m->protects) {
        m->state = DFU_ERROR;
        m->status = DFU_ERR_VENDOR;
        return TRANSFER_STALL;
    }
    if (size > MOCK_XFER || (block < DFUSE_FIRST_BLOCK && !m->plain))
        return stall(m, "an upload too long, or of no data block");
    m->uploads++;
    uint32_t end = m->short_read_at ? m->short_read_at : MOCK_BASE + MOCK_SIZE;
    uint64_t addr = block_addr(m, block);
    if (addr < MOCK_BASE || addr > end)
        return stall(m, "an upload outside of the memory");
    uint16_t n = end - addr < size ? (uint16_t)(end - addr) : size;
    memcpy(data, m->flash + (addr - MOCK_BASE), n);
    if (m->flips_at >= addr && m->flips_at < addr + n)
        data[m->flips_at - addr] ^= 1;
    m->state = n < size ? DFU_IDLE : DFU_UPLOAD_IDLE;
    return n;
}

static int answer(struct mock *m, uint8_t *data, uint32_t poll_ms)
{
    uint8_t status[DFU_STATUS_SIZE] = {m->status, (uint8_t)poll_ms, (uint8_t)(poll_ms >> 8),
        (uint8_t)(poll_ms >> 16), m->state, m->reason && m->status ? REASON : 0};
    memcpy(data, status, sizeof status);
    return DFU_STATUS_SIZE;
}

static int leaving_status(struct mock *m, uint8_t *data)
{
    switch (m->leave) {
    case MOCK_ANNOUNCES:
        if (m->state == DFU_MANIFEST_SYNC)
            m->gone_ms = m->now_ms + ANNOUNCED_MS;
        m->state = DFU_MANIFEST;
        break;
    case MOCK_ANNOUNCES_STAYS:
        m->state = DFU_MANIFEST;
        break;
    case MOCK_TOLERANT:
        m->state = m->state == DFU_MANIFEST_SYNC ? DFU_MANIFEST : DFU_IDLE;
        m->leaving = m->state != DFU_IDLE;
        break;
    case MOCK_VANISHES_AT_ONCE:
    case MOCK_VANISHES:
        m->gone = true;
        return TRANSFER_GONE;
    case MOCK_STALLS_STATUS:
        return TRANSFER_STALL;
    case MOCK_SILENT:
        return TRANSFER_TIMEOUT;
    case MOCK_REFUSES:
        m->leaving = false;
        m->state = DFU_ERROR;
        m->status = DFU_ERR_FIRMWARE;
        break;
    case MOCK_STAYS_IDLE:
        m->state = DFU_IDLE;
        break;
    case MOCK_WAITS_FOR_RESET:
        m->state = DFU_MANIFEST_WAIT_RESET;
        break;
    }
    return answer(m, data, 1);
}

/* A request that is not answered for so long; false if the host's patience ends before. */
static bool outlasts(struct mock *m, uint32_t ms)
{
    uint32_t passes = ms < m->patience_ms ? ms : m->patience_ms;
    m->now_ms += passes;
    return passes == ms;
}

static bool is_deaf(const struct mock *m)
{
    return m->deaf_mass_erase && m->state == DFU_DNBUSY && m->executing && m->job_size == 1 &&
           m->job_block == 0 && m->job[0] == DFUSE_ERASE;
}

static int getstatus(struct mock *m, uint8_t *data)
{
    m->statuses++;
    if (is_deaf(m) && m->now_ms < m->ready_ms) {
        violate(m, "a GETSTATUS during a mass erase, which it does not survive");
        m->gone = true;
        return TRANSFER_IO;
    }
    if (m->executing && m->state == DFU_DNBUSY && m->nak_ms && !outlasts(m, m->nak_ms))
        return TRANSFER_TIMEOUT;
    if (m->leaving)
        return leaving_status(m, data);
    if (m->state == DFU_DNLOAD_SYNC && m->executing) {
        m->ready_ms = m->now_ms + m->busy_ms;
        if (m->deaf_mass_erase && m->job_size == 1 && m->job[0] == DFUSE_ERASE)
            m->ready_ms = m->now_ms + 20000;
        m->state = m->sync_first ? DFU_DNLOAD_SYNC : DFU_DNBUSY;
        if (m->does_first) {
            execute(m);
            uint8_t after = m->state;
            m->state = after == DFU_DNLOAD_IDLE ? DFU_DNBUSY : after;
            answer(m, data, 0);
            m->state = after;
            return DFU_STATUS_SIZE;
        }
        if (m->done_at_once || (m->sync_first && !m->busy_ms))
            execute(m);
        else if (m->sync_first) {
            m->busy_ms = 0;
            return answer(m, data, m->poll_ms);
        }
        return answer(m, data, m->state == DFU_DNBUSY ? m->poll_ms : 0);
    }
    if (m->state == DFU_DNBUSY && !m->never_ready && !m->is_stuck) {
        if (m->now_ms >= m->ready_ms)
            execute(m);
        if (m->gone)
            return TRANSFER_GONE;
        if (m->state == DFU_DNBUSY && m->stalls_while_busy)
            return TRANSFER_STALL;
    }
    return answer(m, data, m->state == DFU_DNBUSY ? m->poll_ms : 0);
}

static int simple(struct mock *m, uint8_t request)
{
    if (request == DFU_CLRSTATUS) {
        m->clears++;
        if (m->is_stuck && m->kicks++ == 0) { /* the first brings it to an error, the second out */
            m->state = DFU_ERROR;
            m->status = DFU_ERR_UNKNOWN;
            return 0;
        }
        m->is_stuck = false;
        m->kicks = 0;
        if (m->state != DFU_ERROR)
            return stall(m, "CLRSTATUS outside of dfuERROR");
    } else {
        m->aborts++;
        if (m->state != DFU_IDLE && m->state != DFU_DNLOAD_IDLE && m->state != DFU_UPLOAD_IDLE)
            return stall(m, "ABORT in a state that does not have it");
    }
    m->state = DFU_IDLE;
    m->status = DFU_OK;
    return 0;
}

static int class_request(struct mock *m, const uint8_t setup[8], uint8_t *data)
{
    uint16_t value = transfer_get16(setup + 2), size = transfer_get16(setup + 6);
    switch ((enum dfu_request)setup[1]) {
    case DFU_DNLOAD:
        return dnload(m, value, data, size);
    case DFU_UPLOAD:
        return upload(m, value, data, size);
    case DFU_GETSTATUS:
        return getstatus(m, data);
    case DFU_CLRSTATUS:
    case DFU_ABORT:
        return simple(m, setup[1]);
    case DFU_GETSTATE:
    case DFU_DETACH:
        break;
    }
    return stall(m, "a request that is not in the script");
}

/* --- descriptors --------------------------------------------------------------------------------- */

static const uint8_t device_descriptor[18] = {
    18, 1, 0, 2, 0, 0, 0, 64, 0x83, 0x04, 0x11, 0xDF, 0, 0x22, 1, 2, 3, 1};
static const uint8_t config_descriptor[27] = {9, 2, 27, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 0, 0xFE,
    1, 2, 4, 9, 0x21, 0x0B, 0xFF, 0, 0, 4, 0x1A, 0x01};

static int give(uint8_t *data, uint16_t size, const uint8_t *from, size_t length)
{
    size_t n = length < size ? length : size;
    memcpy(data, from, n);
    return (int)n;
}

static int give_text(uint8_t *data, uint16_t size, const char *text)
{
    uint8_t descriptor[256] = {(uint8_t)(2 + 2 * strlen(text)), 3};
    for (size_t i = 0; text[i]; i++)
        descriptor[2 + 2 * i] = (uint8_t)text[i];
    return give(data, size, descriptor, descriptor[0]);
}

static int descriptor(struct mock *m, const uint8_t setup[8], uint8_t *data)
{
    static const uint8_t languages[4] = {4, 3, 9, 4};
    uint8_t config[sizeof config_descriptor];
    uint16_t size = transfer_get16(setup + 6);
    const char *const texts[] = {"", "caboose", m->name ? m->name : "mock",
        m->serial ? m->serial : "0001", m->plain ? "Firmware" : m->map};
    switch (setup[3]) {
    case USB_DESCRIPTOR_DEVICE:
        return give(data, size, device_descriptor, sizeof device_descriptor);
    case USB_DESCRIPTOR_CONFIG:
        memcpy(config, config_descriptor, sizeof config);
        if (m->plain) { /* manifestation tolerant, DFU 1.1 */
            config[20] = DFU_CAN_DNLOAD | DFU_CAN_UPLOAD | DFU_MANIFESTATION_TOLERANT;
            config[25] = 0x10;
        }
        return give(data, size, config, sizeof config);
    case USB_DESCRIPTOR_STRING:
        m->reasons += setup[2] == REASON;
        if (setup[2] == REASON && m->reason && transfer_get16(setup + 4) == 0x0409)
            return m->reason_result ? m->reason_result : give_text(data, size, m->reason);
        if (m->gives_no_string || setup[2] > 4)
            return TRANSFER_STALL;
        return setup[2] ? give_text(data, size, texts[setup[2]]) : give(data, size, languages, 4);
    default:
        return TRANSFER_STALL;
    }
}

int mock_transfer(struct mock *m, const uint8_t setup[8], uint8_t *data)
{
    m->transfers++;
    m->gone |= m->gone_ms && m->now_ms >= m->gone_ms;
    m->gone |= m->unplug_after && m->transfers > m->unplug_after;
    if (m->gone)
        return TRANSFER_GONE;
    if (m->fail_nth && m->transfers == m->fail_nth)
        return m->fail_with;
    if ((setup[0] & ~USB_IN) == (USB_CLASS | USB_INTERFACE))
        return class_request(m, setup, data);
    if (setup[0] == USB_INTERFACE && setup[1] == USB_SET_INTERFACE)
        return transfer_get16(setup + 2) == 0 ? 0 : TRANSFER_STALL;
    if (setup[0] == USB_IN && setup[1] == USB_GET_DESCRIPTOR)
        return descriptor(m, setup, data);
    return stall(m, "an unknown request");
}

enum engine_failure mock_run(struct mock *mock, struct engine *engine)
{
    for (int i = 0; i < PATIENCE; i++) {
        const struct engine_ask *ask = engine_next(engine);
        switch (ask->kind) {
        case ENGINE_TRANSFER:
            mock->patience_ms = ask->ms;
            engine_result(engine, mock_transfer(mock, ask->setup, ask->data));
            break;
        case ENGINE_WAIT:
            cr_assert(ask->ms > 0, "a wait of nothing");
            mock->now_ms += ask->ms;
            engine_result(engine, 0);
            break;
        case ENGINE_RESET:
            mock->resets++;
            mock->gone = true;
            engine_result(engine, TRANSFER_GONE);
            break;
        case ENGINE_DONE:
            return ENGINE_OK;
        case ENGINE_FAILED:
            return engine->failure;
        }
    }
    cr_assert(false, "the engine never ends");
    return ENGINE_OK;
}

static int come_back(struct mock *mock, unsigned ms)
{
    mock->now_ms += ms < 1000 ? ms : 1000;
    if (!mock->comes_back)
        return TRANSFER_GONE;
    mock_replug(mock);
    return 0;
}

enum caboose_error mock_run_job(struct mock *mock, struct caboose_job *job, uint64_t deadline_ms)
{
    uint64_t end = mock->now_ms + deadline_ms;
    for (int i = 0; i < PATIENCE; i++) {
        const struct caboose_ask *ask = caboose_job_next(job);
        cr_assert(mock->now_ms <= end, "not done after %llu ms", (unsigned long long)deadline_ms);
        switch (ask->want) {
        case CABOOSE_TRANSFER:
            mock->patience_ms = ask->ms;
            caboose_job_answer(job, mock_transfer(mock, ask->setup, ask->data));
            break;
        case CABOOSE_WAIT:
            cr_assert(ask->ms > 0, "a wait of nothing");
            mock->now_ms += ask->ms;
            caboose_job_answer(job, 0);
            break;
        case CABOOSE_RESET:
            mock->resets++;
            mock->gone = true;
            caboose_job_answer(job, TRANSFER_GONE);
            break;
        case CABOOSE_REOPEN:
            caboose_job_answer(job, come_back(mock, ask->ms));
            break;
        case CABOOSE_DONE:
        case CABOOSE_FAILED:
            return caboose_job_report(job)->error;
        }
    }
    cr_assert(false, "the job never ends");
    return CABOOSE_PROTOCOL;
}
