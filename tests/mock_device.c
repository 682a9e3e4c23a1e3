/* SPDX-License-Identifier: MIT */
#include "tests/mock_device.h"
#include "core/dfu.h"

#include <criterion/criterion.h>
#include <string.h>

enum { PATIENCE = 200000, ANNOUNCED_MS = 300 };

#define MOCK_MAP "@Internal Flash  /0x08000000/50*001Kg,14*001Ka"

void mock_init(struct mock *mock)
{
    *mock = (struct mock){
        .poll_ms = 5, .busy_ms = 5, .state = DFU_IDLE, .pointer = MOCK_BASE, .map = MOCK_MAP};
    memset(mock->flash, 0xA5, sizeof mock->flash);
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
    memset(m->flash + page * MOCK_PAGE, 0xFF, MOCK_PAGE);
    return DFU_OK;
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
    violate(m, "a command that is none");
    return DFU_ERR_STALLEDPKT;
}

static uint8_t write_block(struct mock *m)
{
    uint64_t addr = (uint64_t)m->pointer + (uint64_t)(m->job_block - DFUSE_FIRST_BLOCK) * MOCK_XFER;
    m->blocks++;
    if (addr < MOCK_BASE || addr + m->job_size > MOCK_BASE + MOCK_WRITABLE * MOCK_PAGE) {
        violate(m, "a write outside of what is writable");
        return DFU_ERR_TARGET;
    }
    if (m->fail_status && addr == m->fail_write_at)
        return m->fail_status;
    uint8_t *at = m->flash + (addr - MOCK_BASE);
    for (size_t i = 0; i < m->job_size; i++) {
        if (at[i] != 0xFF)
            violate(m, "a write to flash that is not blank");
        at[i] &= m->job[i];
    }
    return DFU_OK;
}

static void execute(struct mock *m)
{
    uint8_t status = m->job_block ? write_block(m) : command(m);
    m->status = status;
    m->state = status ? DFU_ERROR : DFU_DNLOAD_IDLE;
    m->executing = false;
}

/* --- requests ------------------------------------------------------------------------------------ */

static int leave(struct mock *m)
{
    m->leaving = true;
    m->state = DFU_MANIFEST_SYNC;
    m->gone = m->leave == MOCK_VANISHES_AT_ONCE;
    return m->gone ? TRANSFER_GONE : 0;
}

static int dnload(struct mock *m, uint16_t block, const uint8_t *data, uint16_t size)
{
    if (m->state != DFU_IDLE && m->state != DFU_DNLOAD_IDLE)
        return stall(m, "DNLOAD neither in dfuIDLE nor in dfuDNLOAD-IDLE");
    if (size == 0)
        return leave(m);
    if (size > MOCK_XFER || block == 1)
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
    if (size > MOCK_XFER || block < DFUSE_FIRST_BLOCK)
        return stall(m, "an upload too long, or of no data block");
    uint32_t end = m->short_read_at ? m->short_read_at : MOCK_BASE + MOCK_SIZE;
    uint64_t addr = (uint64_t)m->pointer + (uint64_t)(block - DFUSE_FIRST_BLOCK) * MOCK_XFER;
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
        (uint8_t)(poll_ms >> 16), m->state, 0};
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

static int getstatus(struct mock *m, uint8_t *data)
{
    m->statuses++;
    if (m->leaving)
        return leaving_status(m, data);
    if (m->state == DFU_DNLOAD_SYNC && m->executing) {
        m->ready_ms = m->now_ms + m->busy_ms;
        m->state = m->sync_first ? DFU_DNLOAD_SYNC : DFU_DNBUSY;
        if (m->done_at_once || (m->sync_first && !m->busy_ms))
            execute(m);
        else if (m->sync_first) {
            m->busy_ms = 0;
            return answer(m, data, m->poll_ms);
        }
        return answer(m, data, m->state == DFU_DNBUSY ? m->poll_ms : 0);
    }
    if (m->state == DFU_DNBUSY && !m->never_ready) {
        if (m->now_ms >= m->ready_ms)
            execute(m);
        else if (m->stalls_while_busy)
            return TRANSFER_STALL;
    }
    return answer(m, data, m->state == DFU_DNBUSY ? m->poll_ms : 0);
}

static int simple(struct mock *m, uint8_t request)
{
    if (request == DFU_CLRSTATUS) {
        m->clears++;
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
    uint16_t size = transfer_get16(setup + 6);
    const char *const texts[] = {"", "caboose", "mock", "0001", m->map};
    switch (setup[3]) {
    case USB_DESCRIPTOR_DEVICE:
        return give(data, size, device_descriptor, sizeof device_descriptor);
    case USB_DESCRIPTOR_CONFIG:
        return give(data, size, config_descriptor, sizeof config_descriptor);
    case USB_DESCRIPTOR_STRING:
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
