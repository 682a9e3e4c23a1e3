/* SPDX-License-Identifier: MIT */
/* The size of the image, and that runs repeat. */
#include "dfu_host.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- size ---------------------------------------------------------------------------------------- */

Test(size, image_is_at_most_4096_bytes_and_takes_at_most_5_pages)
{
    struct app image = app_load(BOOTLOADER);

    cr_assert_gt(image.size, 0, BOOTLOADER " is missing: make firmware");
    printf("image: %zu bytes\n", image.size);
    cr_expect_leq(image.size, 4096);

    /* What it takes of a part: what the memory map does not offer, and what installing touches. */
    const char *parts[] = {"stm32f103c8", "stm32f103cb"};
    for (unsigned i = 0; i < 2; i++) {
        struct host h = host_on_new_board(parts[i]);
        unsigned pages = board_flash_size(h.board) / PAGE, touched = 0;
        for (unsigned page = 0; page < pages; page++)
            touched += board_page_wear(h.board, page) != 0;
        printf("%s: takes %u pages of 1 KB\n", parts[i], touched);
        cr_expect_leq(touched, 5);
    }
}

static void memory_map(struct host *h, char *text, size_t size)
{
    const uint8_t *config = usb_descriptors(h->board)->config;
    uint8_t data[255] = {0}, index = config[9 + 8];
    int n = host_control(h, 0x80, 6, (uint16_t)(3 << 8 | index), 0x0409, data, sizeof data);

    memset(text, 0, size);
    for (int i = 2; i + 1 < n && (size_t)i / 2 < size; i += 2)
        text[i / 2 - 1] = (char)data[i];
}

Test(size, memory_map_offers_all_but_5_pages)
{
    char text[128];
    struct host h = host_on_new_board("stm32f103c8");
    memory_map(&h, text, sizeof text);
    cr_expect_str_eq(text, "@Internal Flash  /0x08000000/059*001Kg,005*001Ka");
    h = host_on_new_board("stm32f103cb");
    memory_map(&h, text, sizeof text);
    cr_expect_str_eq(text, "@Internal Flash  /0x08000000/123*001Kg,005*001Ka");
}

/* --- determinism ---------------------------------------------------------------------------------- */

struct transcript {
    uint64_t hash, lines, bytes;
    char *text; /* the first of them, for reports */
    size_t text_size;
};

static void on_line(void *context, const char *line)
{
    struct transcript *t = context;
    size_t size = strlen(line);

    for (size_t i = 0; i <= size; i++)
        t->hash = (t->hash ^ (uint8_t)line[i]) * UINT64_C(0x100000001B3);
    t->lines++;
    t->bytes += size + 1;
}

static struct transcript session(uint64_t seed, uint8_t **flash, uint64_t *ended)
{
    struct transcript t = {.hash = UINT64_C(0xCBF29CE484222325)};
    struct app bootloader = app_load(BOOTLOADER), app = app_build(5000, 4, 0);
    struct host h = {.board = board_new(&(struct board_config){.part = "stm32f103c8",
                         .seed = seed,
                         .context = &t,
                         .trace = on_line,
                         .trace_what = BOARD_TRACE_REGISTERS | BOARD_TRACE_USB | BOARD_TRACE_FLASH |
                                       BOARD_TRACE_INSTRUCTIONS})};

    board_load(h.board, FLASH, bootloader.data, bootloader.size);
    board_power(h.board, true);
    usb_plug(h.board);
    cr_assert(host_enumerate(&h));
    cr_assert(flash_application(&h, &app));
    cr_assert(dfu_leave(&h, 2));
    board_run_for(h.board, 350 * BOARD_MS);
    *flash = flash_dump(h.board);
    *ended = board_now(h.board);
    board_free(h.board);
    app_free(&bootloader);
    app_free(&app);
    return t;
}

Test(determinism, one_session_twice_gives_one_trace_and_one_flash, .timeout = 120)
{
    uint8_t *flash[2];
    uint64_t ended[2];
    struct transcript a = session(1, &flash[0], &ended[0]), b = session(1, &flash[1], &ended[1]);

    printf("a session's trace: %llu lines, %llu bytes\n", (unsigned long long)a.lines,
        (unsigned long long)a.bytes);
    cr_expect_gt(a.lines, 100000);
    cr_expect_eq(a.lines, b.lines);
    cr_expect_eq(a.bytes, b.bytes);
    cr_expect_eq(a.hash, b.hash, "the traces differ");
    cr_expect_eq(ended[0], ended[1]);
    cr_expect_arr_eq(flash[0], flash[1], 64 * 1024);
}

/* A board that was copied goes on as the other does. */
Test(determinism, copied_board_goes_on_alike)
{
    struct app app = app_build(5000, 4, 0);
    struct host a = host_on_new_board("stm32f103c8"), b = {.board = board_copy(a.board)};

    cr_assert(flash_application(&a, &app) && dfu_leave(&a, 2) && hears(a.board, app.tag, 1000));
    cr_assert(flash_application(&b, &app) && dfu_leave(&b, 2) && hears(b.board, app.tag, 1000));
    struct board_counts m, n;
    board_counts(a.board, &m);
    board_counts(b.board, &n);
    cr_expect_eq(m.instructions, n.instructions);
    cr_expect_eq(m.cycles, n.cycles);
    cr_expect_eq(board_now(a.board), board_now(b.board));
}
