/* SPDX-License-Identifier: MIT */
#include "option_bytes.h"

#include <criterion/criterion.h>

void option_bytes(uint8_t bytes[OPTION_BYTES_SIZE], const uint8_t options[OPTIONS])
{
    for (unsigned i = 0; i < OPTIONS; i++) {
        bytes[2 * i] = options[i];
        bytes[2 * i + 1] = 0;
    }
}

static void with_complements(uint8_t bytes[OPTION_BYTES_SIZE], const uint8_t options[OPTIONS])
{
    for (unsigned i = 0; i < OPTIONS; i++) {
        bytes[2 * i] = options[i];
        bytes[2 * i + 1] = (uint8_t)~options[i];
    }
}

void load_options(struct board *b, const uint8_t options[OPTIONS])
{
    uint8_t bytes[OPTION_BYTES_SIZE];

    with_complements(bytes, options);
    cr_assert_eq(board_load(b, OPTION_BYTES, bytes, sizeof bytes), 0);
}

void power_with_options(struct board *b, const uint8_t options[OPTIONS])
{
    board_power(b, false);
    load_options(b, options);
    board_power(b, true);
}

void dfu_with_options(struct host *h, const struct app *app, const uint8_t options[OPTIONS])
{
    power_with_options(h->board, options);
    cr_assert(hears(h->board, app->tag, 20), "it does not run: pc %08x", board_pc(h->board));
    cr_assert(press_reset(h), "no DFU: pc %08x", board_pc(h->board));
    cr_assert(dfu_open(h), "state %u, status %u", h->last.state, h->last.status);
}

void check_options_at(int line, const struct board *b, const uint8_t options[OPTIONS])
{
    uint8_t now[OPTION_BYTES_SIZE], want[OPTION_BYTES_SIZE];

    board_peek(b, OPTION_BYTES, now, sizeof now);
    with_complements(want, options);
    for (unsigned i = 0; i < OPTION_BYTES_SIZE; i++)
        cr_expect_eq(now[i], want[i], "line %d: byte %u of the option bytes is %02x, not %02x",
            line, i, now[i], want[i]);
}
