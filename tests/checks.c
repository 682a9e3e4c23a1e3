/* SPDX-License-Identifier: MIT */
#include "checks.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define U(x) ((unsigned long long)(x))

static const char *rule_broken(const struct board *b)
{
    const struct board_complaint *c = board_complaint(b);

    return c ? c->rule : "no complaint";
}

void check_board(const struct board *b)
{
    const struct board_complaint *c = board_complaint(b);

    cr_assert(!c, "pc %08x, %08x: %s", c->pc, c->addr, c->rule);
}

void check_dfu_at(int line, bool did, const struct host *h)
{
    cr_assert(did,
        "line %d: last answer %d: status %u, state %u, poll %u; transfer %llu; pc %08x, %s", line,
        h->last.result, h->last.status, h->last.state, h->last.poll_ms, U(h->transfers),
        board_pc(h->board), rule_broken(h->board));
}

void check_refused_at(int line, bool did, struct host *h, enum dfu_status error)
{
    cr_expect(!did && h->last.state == DFU_ERROR && h->last.status == error,
        "line %d: state %u, status %u, not %u", line, h->last.state, h->last.status, error);
    cr_expect_geq(dfu_clrstatus(h), 0, "line %d: CLRSTATUS", line);
}

void check_runs_at(int line, const struct host *h, const struct app *app, unsigned ms)
{
    unsigned kb = board_flash_size(h->board) / 1024;

    cr_assert(hears(h->board, app->tag, ms), "line %d, %u KB: it does not run: '%s', pc %08x", line,
        kb, heard(), board_pc(h->board));
    cr_expect(flash_holds(h->board, app), "line %d, %u KB: flash does not hold it", line, kb);
}

void check_runs_again_at(int line, const struct host *h, const struct app *app)
{
    power_cycle(h->board);
    check_runs_at(line, h, app, 20);
}

void check_leaves_at(int line, struct host *h, const struct app *app)
{
    check_dfu_at(line, dfu_leave(h, 2), h);
    check_runs_at(line, h, app, 1000);
}

void check_flash_at(int line, const struct board *b, const uint8_t *was)
{
    uint8_t *now = flash_dump(b);
    uint32_t at = 0, size = board_flash_size(b);

    while (at < size && now[at] == was[at])
        at++;
    cr_expect(at == size, "line %d: flash was changed: %08x", line, FLASH + at);
    free(now);
}

void check_reads_at(int line, struct host *h, uint32_t addr, const void *data, size_t size)
{
    const uint8_t *want = data;
    uint8_t *back = calloc(1, size);
    size_t i = 0;

    check_dfu_at(line, dfu_read(h, addr, back, size, XFER), h);
    while (i < size && back[i] == want[i])
        i++;
    if (i < size)
        cr_expect(false, "line %d: byte %08x reads as %02x, not %02x", line, addr + (uint32_t)i,
            back[i], want[i]);
    free(back);
}

void check_cause_at(int line, const struct host *h, uint32_t cause)
{
    uint32_t r0 = flash_word(h->board, APP_KEEPS_R0);

    cr_expect_eq(r0 & CAUSES & ~(uint32_t)CAUSE_PIN, cause, "line %d: r0 is %08x", line, r0);
}

void check_causes_at(int line, struct host *h, const struct app *app)
{
    check_cause_at(line, h, CAUSE_POWER);
    cr_assert(app_obeys(h, app, 'R'), "line %d: a software reset", line);
    check_cause_at(line, h, CAUSE_SOFTWARE);
    cr_assert(app_obeys(h, app, 'W'), "line %d: a watchdog's reset", line);
    check_cause_at(line, h, CAUSE_WATCHDOG);
}

struct host running_at(int line, const char *part, const struct app *app)
{
    struct host h = host_with_application(part, app);

    board_power(h.board, true);
    check_runs_at(line, &h, app, 20);
    return h;
}

void complain(const struct explorer *e, const struct board *b, const char *what)
{
    cr_assert(false, "cut at operation %llu (%s), seed %llu: %s; '%s', pc %08x; %s",
        U(e->operations), torn_name(e->torn), U(e->seed), what, heard(), board_pc(b),
        rule_broken(b));
}
