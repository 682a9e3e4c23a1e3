/* SPDX-License-Identifier: MIT */
#include "guarded.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t zeros[XFER];

void guarded_check(struct guarded *g, enum dfu_status status, const char *what, uint32_t value)
{
    struct host *h = &g->h;
    uint8_t *now = flash_dump(h->board);

    cr_expect(
        h->last.result == DFU_STATUS_SIZE && h->last.state == DFU_ERROR && h->last.status == status,
        "%s %08x: answer %d, state %u, status %u", what, value, h->last.result, h->last.state,
        h->last.status);
    cr_assert(memcmp(now, g->flash, board_flash_size(h->board)) == 0, "%s %08x: flash was changed",
        what, value);
    free(now);
    cr_assert_geq(dfu_clrstatus(h), 0);
    cr_assert_eq(dfu_getstate(h), DFU_IDLE);
    g->refused++;
}

void erase_is_refused(struct guarded *g, uint32_t addr)
{
    cr_expect_not(dfu_erase(&g->h, addr), "erase at %08x", addr);
    guarded_check(g, DFU_ERR_TARGET, "erase at", addr);
}

void write_is_refused(struct guarded *g, uint32_t addr, size_t size)
{
    cr_expect_not(dfu_write(&g->h, addr, zeros, size), "write of %zu bytes at %08x", size, addr);
    guarded_check(g, DFU_ERR_TARGET, "write at", addr);
}

void block_is_refused(struct guarded *g, uint32_t pointer, unsigned wBlockNum, size_t size)
{
    if (!dfu_set_address(&g->h, pointer))
        dfu_clrstatus(&g->h); /* refused there already; go on with whatever it points to now */
    cr_expect_not(dfu_download(&g->h, (uint16_t)wBlockNum, zeros, size), "block %u from %08x",
        wBlockNum, pointer);
    guarded_check(g, DFU_ERR_TARGET, "block from", pointer);
}

void nothing_reaches_elsewhere(struct guarded *g)
{
    uint32_t end = FLASH + board_flash_size(g->h.board);
    const uint32_t elsewhere[] = {end, end + PAGE, FLASH - 1, FLASH - PAGE, 0, RAM, RAM + 0x100,
        SYSTEM_MEMORY, OPTION_BYTES, OPTION_BYTES + 2, 0x40022000, 0x80000000, 0x88000000,
        0xFFFFFC00, 0xFFFFFFFF};

    for (unsigned i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
        erase_is_refused(g, elsewhere[i]);
        write_is_refused(g, elsewhere[i], 4);
        write_is_refused(g, elsewhere[i], XFER);
    }
    write_is_refused(g, end - 1, 2);
    write_is_refused(g, end - 1, XFER);
    write_is_refused(g, end - XFER + 1, XFER);
    block_is_refused(g, 0xFFFFFFFF, 3, XFER);
    block_is_refused(g, 0xFFFFFC00, 0xFFFF, XFER);
}

void nothing_reaches_pages(struct guarded *g, uint32_t from, uint32_t to)
{
    for (uint32_t page = from; page < to; page += PAGE) {
        erase_is_refused(g, page);
        erase_is_refused(g, page + 1);
        erase_is_refused(g, page + PAGE - 1);
        write_is_refused(g, page, 1);
        write_is_refused(g, page, XFER);
        write_is_refused(g, page + PAGE - 2, 2);
    }
}

void nothing_counts_up_to(struct guarded *g, uint32_t last, uint32_t own)
{
    static const unsigned far[] = {
        0x1FFF, 0x2000, 0x4001, 0x4002, 0x7FFF, 0x8000, 0x8002, 0xFFFE, 0xFFFF};
    uint32_t end = FLASH + board_flash_size(g->h.board);

    for (unsigned i = 0; i < sizeof far / sizeof *far; i++) {
        uint32_t distance = (far[i] - DFUSE_FIRST_BLOCK) * XFER;
        block_is_refused(g, FLASH, far[i], XFER);
        block_is_refused(g, last, far[i], 2);
        block_is_refused(g, end - 4, far[i], XFER);
        block_is_refused(g, own - distance, far[i], XFER);
        block_is_refused(g, own - distance, far[i], 16);
    }
}

static void random_request(struct host *h, uint32_t r, uint32_t addr)
{
    uint8_t data[XFER];

    for (unsigned k = 0; k < XFER; k++)
        data[k] = (uint8_t)(r >> (k & 15));
    switch (r & 7) {
    case 0:
        dfu_erase(h, addr);
        break;
    case 1:
    case 2:
        dfu_write(h, addr, data, 1 + (r >> 4 & 1023));
        break;
    case 3:
        dfu_set_address(h, addr);
        break;
    case 4:
        dfu_download(h, (uint16_t)(r >> 20 & 15), data, 1 + (r >> 4 & 1023));
        break;
    case 5:
        dfu_upload_block(h, (uint16_t)(r >> 20), data, 1 + (r >> 4 & 1023));
        break;
    case 6:
        dfu_abort(h);
        break;
    default:
        dfu_open(h);
        break;
    }
}

void random_requests(struct host *h, uint64_t seed, unsigned count, uint32_t around)
{
    uint64_t random = seed;

    for (unsigned i = 0; i < count; i++) {
        uint32_t r = (uint32_t)(random64(&random) >> 32);
        random_request(h, r, around + (r >> 8 & 0x3FFF) - 0x2000);
        const struct board_complaint *c = board_complaint(h->board);
        cr_assert(!c, "request %u, seed %llu: %s", i, (unsigned long long)seed, c->rule);
        if (dfu_getstatus(h).result > 0 && h->last.state == DFU_ERROR)
            dfu_clrstatus(h);
    }
}
