/* SPDX-License-Identifier: MIT */
/*
 * The head layout: the bootloader in 4 KB at the start of flash, the application behind it, valid by its
 * own first two words. What the tail layout promises holds here, and nothing that a cut of power leaves
 * keeps a board from starting (P1 to P8); with read-out protection on, the application can be replaced
 * and not be read.
 */
#include "campaign.h"
#include "finder.h"
#include "session.h"
#include "sim/board_state.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(head, .timeout = 300, .fini = session_end_all);

enum { HOLD = 20 * 1000000 }; /* ns */
enum { OWN = 4096 };          /* the bootloader's own bytes */
#define PART  "stm32f103cb"
#define LARGE "stm32f103rc" /* pages of 2 KB */
#define U(x)  ((unsigned long long)(x))

static const struct design {
    const char *name;
    uint32_t base;
    uint32_t hse_hz;
    char pull_up_port;
    unsigned pull_up_pin;
    bool button;     /* the reset button leads into DFU … */
    char pin_port;   /* … or the pin that is high at reset does; 0: none */
    unsigned pin;    /* … */
    unsigned resets; /* in a row without the application's word; 0: never */
    bool protects;   /* write-protects itself */
    char text[3];    /* word 6 */
} designs[] = {
    {"bluepill",   FLASH + 0x1000, 8000000,  0,   0, true,  0,   0, 0, false, "h4"},
    {"maple-mini", FLASH + 0x2000, 8000000,  'B', 9, false, 'B', 8, 0, false, "h8"},
    {"f103-16mhz", FLASH + 0x8000, 16000000, 0,   0, true,  0,   0, 5, true,  "h3"},
};

static const struct design *design(const char *name)
{
    static char path[80];
    const struct design *d = designs;

    while (strcmp(d->name, name) != 0)
        d++;
    snprintf(path, sizeof path, "build/firmware/%s-head.bin", name);
    bootloader_path = path;
    app_base = d->base;
    board_design = (struct board_config){
        .hse_hz = d->hse_hz, .pull_up_port = d->pull_up_port, .pull_up_pin = d->pull_up_pin};
    return d;
}

/* A promise that every board keeps; each in a process of its own. */
#define ON_EACH_BOARD(promise)                                                                     \
    static void promise(const struct design *d);                                                   \
    Test(head, bluepill_##promise)                                                                 \
    {                                                                                              \
        promise(design("bluepill"));                                                               \
    }                                                                                              \
    Test(head, maple_mini_##promise)                                                               \
    {                                                                                              \
        promise(design("maple-mini"));                                                             \
    }                                                                                              \
    Test(head, f103_16mhz_##promise)                                                               \
    {                                                                                              \
        promise(design("f103-16mhz"));                                                             \
    }                                                                                              \
    static void promise(const struct design *d)

static void check_board(const struct board *b)
{
    const struct board_complaint *c = board_complaint(b);

    cr_assert(!c, "pc %08x, %08x: %s", c->pc, c->addr, c->rule);
}

#define check_dfu(did, h) check_dfu_at(__LINE__, did, h)
static void check_dfu_at(int line, bool did, const struct host *h)
{
    const struct board_complaint *c = board_complaint(h->board);

    cr_assert(did, "line %d: last answer %d: status %u, state %u, poll %u; transfer %llu; %s", line,
        h->last.result, h->last.status, h->last.state, h->last.poll_ms, U(h->transfers),
        c ? c->rule : "no complaint");
}

#define check_refused(did, h, error) check_refused_at(__LINE__, did, h, error)
static void check_refused_at(int line, bool did, struct host *h, enum dfu_status error)
{
    cr_expect(!did && h->last.state == DFU_ERROR && h->last.status == error,
        "line %d: state %u, status %u, not %u", line, h->last.state, h->last.status, error);
    dfu_clrstatus(h);
}

#define check_runs(h, app, ms) check_runs_at(__LINE__, h, app, ms)
static void check_runs_at(int line, struct host *h, const struct app *app, unsigned ms)
{
    cr_assert(hears(h->board, app->tag, ms), "line %d: it does not run: '%s', pc %08x", line,
        heard(), board_pc(h->board));
    cr_expect(flash_holds(h->board, app), "line %d: flash does not hold it", line);
}

#define check_reads(h, addr, data, size) check_reads_at(__LINE__, h, addr, data, size)
static void check_reads_at(
    int line, struct host *h, uint32_t addr, const uint8_t *data, size_t size)
{
    uint8_t *back = calloc(1, size);

    check_dfu_at(line, dfu_read(h, addr, back, size, XFER), h);
    for (size_t i = 0; i < size; i++)
        if (back[i] != data[i]) {
            cr_expect(false, "line %d: byte %08x reads as %02x, not %02x", line, addr + (uint32_t)i,
                back[i], data[i]);
            break;
        }
    free(back);
}

/* Into DFU by what every board knows, from an application that runs. */
static void enter(struct host *h)
{
    board_uart_send(h->board, 1, 'T');
    board_run_for(h->board, 50 * BOARD_MS);
    cr_assert(host_enumerate(h), "pc %08x", board_pc(h->board));
    check_dfu(dfu_open(h), h);
}

/* Powered, running its application, the cable plugged. */
static struct host running(const char *part, const struct app *app)
{
    struct host h = host_with_application(part, app);

    board_power(h.board, true);
    check_runs(&h, app, 20);
    return h;
}

static struct host in_dfu(const char *part, const struct app *app)
{
    struct host h = running(part, app);

    enter(&h);
    return h;
}

static void leave(struct host *h)
{
    check_dfu(dfu_leave(h, 2), h);
}

static void starts_into_dfu(struct host *h, const char *why)
{
    power_cycle(h->board);
    cr_assert(host_enumerate(h), "%s: no DFU; '%s', pc %08x", why, heard(), board_pc(h->board));
    check_dfu(dfu_open(h), h);
}

/* Data that are no application. */
static struct app noise(size_t size, uint64_t seed)
{
    struct app data = app_build(size, seed, 0);

    memset(data.data, 0xEE, 8);
    return data;
}

/* --- it fits, enumerates, takes an application, runs it ------------------------------------------ */

static void memory_string(struct board *b, char text[128])
{
    struct host h = {.board = b};
    uint8_t string[255], iInterface = usb_descriptors(b)->config[9 + 8];
    int n = host_control(&h, 0x80, 6, 0x0300 | iInterface, 0x0409, string, sizeof string);

    memset(text, 0, 128);
    for (int c = 2; c + 1 < n; c += 2)
        text[c / 2 - 1] = (char)string[c];
}

ON_EACH_BOARD(fits_4_kb_and_every_size_of_flash)
{
    static const char *const sizes[] = {"stm32f103c4", "stm32f103c6", "stm32f103c8", "stm32f103cb",
        "stm32f103rc", "stm32f103rd", "stm32f103re"};
    struct app image = app_load(bootloader_path);

    cr_assert(image.size && image.size <= OWN, "%zu bytes", image.size);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct app app = app_build(3000, i, IMAGE_FILLS_RESERVED_VECTORS);
        struct host h = host_on_new_board(sizes[i]);
        if (FLASH + board_flash_size(h.board) <=
            d->base) { /* no place for an application: see below */
            board_free(h.board);
            continue;
        }
        cr_assert(usb_configured(h.board), "%s: no DFU device", sizes[i]);
        uint32_t page = board_page_size(h.board), first = (d->base - FLASH) / page;
        char text[128], want[128];
        memory_string(h.board, text);
        snprintf(want, sizeof want, "@Internal Flash  /0x08000000/%03u*00%uKa,%03u*00%uKg", first,
            page / 1024, board_flash_size(h.board) / page - first, page / 1024);
        cr_expect_str_eq(text, want, "%s", sizes[i]);
        check_dfu(flash_application(&h, &app), &h);
        leave(&h);
        check_runs(&h, &app, 1000);
        power_cycle(h.board);
        check_runs(&h, &app, 20);
        check_board(h.board);
        board_free(h.board);
    }
}

ON_EACH_BOARD(takes_one_application_after_another_and_each_runs_after_leave_and_power_up)
{
    struct host h = host_on_new_board(PART);
    (void)d;

    for (unsigned i = 0; i < 6; i++) {
        struct app app = app_build(i % 2 ? 9001 : 3000 + i, i, i % 3 == 0);
        check_dfu((i % 2 ? dfu_download_counting : dfu_download_like_dfu_util)(
                      &h, app_base, app.data, app.size),
            &h);
        check_reads(&h, app_base, app.data, app.size);
        if (i != 3)
            leave(&h);
        else
            power_cycle(h.board); /* the ABORT has finished it */
        check_runs(&h, &app, 1000);
        power_cycle(h.board);
        check_runs(&h, &app, 20);
        enter(&h);
        check_reads(&h, app_base, app.data, app.size);
        app_free(&app);
    }
    check_board(h.board);
}

ON_EACH_BOARD(largest_application_fills_all_that_the_memory_map_offers)
{
    const char *of[] = {"stm32f103c8", LARGE};
    (void)d;

    for (unsigned i = 0; i < 2; i++) {
        struct host h = host_on_new_board(of[i]);
        struct app app = app_build(app_room(h.board), 5, 0);
        check_dfu(flash_application(&h, &app), &h);
        leave(&h);
        check_runs(&h, &app, 1000);
        enter(&h);
        check_reads(&h, app_base, app.data, app.size);
        check_board(h.board);
        board_free(h.board);
        app_free(&app);
    }
}

/* The two words that make it valid are shown as the host wrote them, when flash does not hold them yet, too. */
Test(head, what_was_written_so_far_is_read_back_with_its_first_two_words)
{
    design("bluepill");
    const char *of[] = {PART, LARGE};

    for (unsigned i = 0; i < 2; i++) {
        struct app old = app_build(6000, 1, 0), app = app_build(6000, 2, 0);
        struct host h = in_dfu(of[i], &old);
        uint32_t page = board_page_size(h.board);
        for (uint32_t at = 0; at < app.size; at += page) {
            for (uint32_t k = at; k < at + page && k < app.size; k += XFER)
                check_dfu(dfu_write(&h, app_base + k, app.data + k,
                              app.size - k < XFER ? app.size - k : XFER),
                    &h);
            size_t so_far = at + page < app.size ? at + page : app.size;
            check_reads(&h, app_base, app.data, so_far);
            check_reads(&h, app_base + (uint32_t)so_far, old.data + so_far, old.size - so_far);
        }
        leave(&h);
        check_runs(&h, &app, 1000);
        check_board(h.board);
        board_free(h.board);
    }
}

/* A tool need not begin with the first page, nor erase. */
Test(head, pages_may_come_in_any_order)
{
    design("bluepill");
    for (unsigned order = 0; order < 6; order++) {
        struct app old = app_build(7000, 1, 0), app = app_build(7000, 10 + order, 0);
        struct host h = order & 1 ? in_dfu(PART, &old) : host_on_new_board(PART);
        for (unsigned i = 0; i < 7; i++) {
            unsigned page = order < 2 ? 6 - i : order < 4 ? (i + 3) % 7 : i * 3 % 7;
            uint32_t at = page * PAGE;
            check_dfu(dfu_write(&h, app_base + at, app.data + at,
                          app.size - at < XFER ? app.size - at : XFER),
                &h);
        }
        check_dfu(dfu_to_idle(&h), &h);
        check_reads(&h, app_base, app.data, app.size);
        power_cycle(h.board);
        check_runs(&h, &app, 20);
        check_board(h.board);
        board_free(h.board);
    }
}

/* Pieces of any length at any address, against a copy on the host. */
Test(head, pieces_at_unaligned_addresses_change_nothing_else)
{
    design("bluepill");
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct app app = app_build(8 * PAGE, seed, 0);
        struct host h = in_dfu(seed & 1 ? PART : LARGE, &app);
        uint64_t random = seed;
        for (unsigned i = 0; i < 60; i++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            uint32_t size = 1 + (uint32_t)(random >> 40 & 1023) / (i % 3 ? 1 : 64);
            uint32_t at = (uint32_t)(random >> 20) % (uint32_t)(app.size - size);
            struct app other = app_build(2048, random, 0);
            if (i % 20 == 19) { /* the stack pointer alone, odd pieces of it */
                at = i % 4;
                size = 4 - at;
                memcpy(app.data, "\0\x20\0\x20", 4);
            } else if (at < APP_SMALLEST) {
                at = APP_SMALLEST;
            }
            if (at >= APP_SMALLEST)
                memcpy(app.data + at, other.data + 0x300, size);
            check_dfu(dfu_write(&h, app_base + at, app.data + at, size), &h);
            if (at < 4) /* the rest of it */
                check_dfu(dfu_write(&h, app_base, app.data, 4), &h);
            app_free(&other);
        }
        check_dfu(dfu_to_idle(&h), &h);
        check_reads(&h, app_base, app.data, app.size);
        power_cycle(h.board);
        check_runs(&h, &app, 20);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, a_reset_vector_of_any_half_word_and_a_stack_pointer_of_any_ram_are_kept)
{
    static const uint32_t stacks[] = {
        RAM + 4, RAM + 0x100, RAM + 0x1800, RAM + 0x5000, RAM + 0xFFFC, RAM + 0x10000};

    design("bluepill");
    for (unsigned i = 0; i < sizeof stacks / sizeof *stacks; i++) {
        struct app app = finder_build(app_base, stacks[i], 3000, i);
        struct host h = host_on_new_board("stm32f103re"); /* it has 64 KB */
        check_dfu(flash_application(&h, &app), &h);
        leave(&h);
        check_runs(&h, &app, 1000);
        const char *complaint = finder_complaint(h.board, app_base, stacks[i]);
        cr_expect(!complaint, "%08x: %s", stacks[i], complaint);
        check_board(h.board);
        board_free(h.board);
    }
}

/* As its users do it, with dfu-util as Debian ships it. */
Test(head, stock_dfu_util_lists_flashes_reads_and_is_kept_off_the_bootloader)
{
    design("bluepill");
    struct app app = app_build(9000, 3, IMAGE_FILLS_RESERVED_VECTORS);
    struct session *s = session_bare("--load build/firmware/bluepill-head.bin");
    char path[64];
    session_say(s, "wait-device 3s");
    cr_assert(session_in_dfu(s));
    const uint8_t *before = session_flash(s, 0);
    snprintf(path, sizeof path, "%s/app.bin", s->dir);
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(app.data, 1, app.size, f) == app.size && !fclose(f));

    struct outcome o = on_board(s, "dfu-util -l");
    cr_expect(strstr(o.out, "@Internal Flash  /0x08000000/004*001Ka,060*001Kg"), "%s", o.out);
    o = on_board(s, "dfu-util -a 0 -s 0x08000000 -D @/app.bin");
    cr_expect_neq(o.code, 0, "%s", o.out);
    cr_expect(memcmp(session_flash(s, 1), before, OWN) == 0);
    o = on_board(s, "dfu-util -a 0 -s 0x08001000:leave -D @/app.bin");
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    session_sleep(s, "1s");
    const char *said = session_say(s, "uart 1");
    cr_expect(strstr(said, app.tag), "'%s'", said);
    session_press_reset(s);
    cr_assert(session_in_dfu(s));
    o = on_board(s, "dfu-util -a 0 -s 0x08001000:%zu -U @/back.bin", app.size);
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    cr_expect_eq(run(s, "cmp @/back.bin @/app.bin").code, 0);
    o = on_board(s, "build/bin/caboose flash -q --at 0x08001000 @/app.bin");
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    cr_expect(memcmp(session_flash(s, 1), before, OWN) == 0);
}

/* --- what the application finds ------------------------------------------------------------------ */

/* All that the manuals call reset values, of what the bootloader might have touched and did not; RCC_CSR, if
 * it needs its flags, and the count of resets are its own. */
static void compare_peripherals(const struct design *d, struct board *was, struct board *is)
{
    is->rcc.csr = d->button ? was->rcc.csr : is->rcc.csr;
    is->backup.dr[7] = d->resets ? was->backup.dr[7] : is->backup.dr[7];
#define SAME(what) cr_expect(memcmp(&was->what, &is->what, sizeof is->what) == 0, #what)
    SAME(rcc);
    SAME(gpio);
    SAME(afio);
    SAME(exti);
    SAME(pwr_cr);
    SAME(pwr_csr);
    SAME(backup);
    SAME(iwdg);
    SAME(wwdg);
    SAME(usart);
    SAME(tim);
    SAME(dma);
    SAME(rtc);
    SAME(adc);
    SAME(crc_dr);
    SAME(crc_idr);
    SAME(plain);
    SAME(usb);
#undef SAME
    cr_expect(is->fpec.acr == was->fpec.acr && is->fpec.cr == was->fpec.cr &&
              is->fpec.sr == was->fpec.sr && is->fpec.ar == was->fpec.ar &&
              is->fpec.key == was->fpec.key && is->fpec.option_key == was->fpec.option_key);
}

static void compare_core(const struct cpu *was, const struct cpu *is)
{
    cr_expect_eq(is->scr, was->scr);
    cr_expect_eq(is->ccr, was->ccr);
    cr_expect_eq(is->shcsr, was->shcsr);
    cr_expect_eq(is->cfsr, was->cfsr);
    cr_expect_eq(is->hfsr, was->hfsr);
    cr_expect_eq(is->systick_csr, was->systick_csr);
    cr_expect_eq(is->systick_rvr, was->systick_rvr);
    cr_expect(is->primask == was->primask && is->faultmask == was->faultmask &&
              is->basepri == was->basepri && is->control == was->control && is->ipsr == was->ipsr);
    cr_expect_arr_eq(is->priority, was->priority, sizeof is->priority);
    cr_expect_arr_eq(is->enabled, was->enabled, sizeof is->enabled);
    cr_expect_arr_eq(is->pending, was->pending, sizeof is->pending);
    cr_expect_arr_eq(is->active, was->active, sizeof is->active);
}

/* The reset under way ends; then the application's first instruction, BKPT, finds all as that left it. */
static void starts_as_from_reset(const struct design *d, struct board *b, const struct app *app)
{
    cr_assert_eq(board_run_until(b, b->release_at), BOARD_DONE);
    struct board *before = board_copy(b);
    cr_assert_eq(board_run_for(b, 700 * BOARD_MS), BOARD_BREAK, "pc %08x", board_pc(b));
    struct board *after = board_copy(b);

    cr_expect_eq(b->cpu.pc, (APP_ENTRY & ~1U) + (d->base - FLASH));
    cr_expect_eq(b->cpu.vtor, d->base - FLASH, "flash stands at 0, too");
    cr_expect_eq(b->cpu.r[13], (uint32_t)(app->data[0] | app->data[1] << 8 | app->data[2] << 16) |
                                   (uint32_t)app->data[3] << 24);
    cr_expect_eq(b->cpu.r[0] & 0xFC000000, before->rcc.csr & 0xFC000000, "r0: the reset's cause");
    cr_expect_arr_eq(after->ram, before->ram, board_ram_size(b), "RAM was written to");
    compare_core(&before->cpu, &after->cpu);
    compare_peripherals(d, before, after);
    printf("%s: %.3f ms after the reset\n", d->name, (double)(board_now(b) - b->release_at) / 1e6);
    board_free(before);
    board_free(after);
}

ON_EACH_BOARD(starts_the_application_with_all_as_a_reset_leaves_it)
{
    const char *of[] = {"stm32f103c8", PART, LARGE};

    for (unsigned i = 0; i < 3; i++) {
        struct app app = app_build(3000, 1, IMAGE_BREAKS);
        struct host h = host_with_application(of[i], &app);
        board_power(h.board, true);
        starts_as_from_reset(d, h.board, &app);
        check_board(h.board);
        board_free(h.board);
    }
}

static bool obeys(struct host *h, const struct app *app, char order)
{
    board_uart_send(h->board, 1, (uint8_t)order);
    return hears(h->board, app->tag, 700);
}

static void hands_over(const struct host *h, uint32_t flag, const char *what)
{
    uint32_t cause = flash_word(h->board, APP_KEEPS_R0) & 0xFC000000 & ~(uint32_t)RCC_CSR_PINRSTF;

    cr_expect_eq(cause, flag, "%s: r0 is %08x", what, cause);
}

Test(head, reset_cause_is_handed_over_in_r0)
{
    design("bluepill");
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    hands_over(&h, RCC_CSR_PORRSTF, "power-up");
    cr_assert(obeys(&h, &app, 'R'));
    hands_over(&h, RCC_CSR_SFTRSTF, "software");
    cr_assert(obeys(&h, &app, 'W'));
    hands_over(&h, RCC_CSR_IWDGRSTF, "watchdog");
    enter(&h);
    leave(&h);
    check_runs(&h, &app, 1000);
    hands_over(&h, RCC_CSR_SFTRSTF, "leave");
}

/* --- the ways in, and no other ------------------------------------------------------------------- */

ON_EACH_BOARD(enters_dfu_by_button_pin_and_requests_as_it_says)
{
    static const uint32_t request[2] = {0x6F626163, 0}; /* "cabo" */
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    for (unsigned way = 0; way < 5; way++) {
        bool wanted = true;
        if (way == 0) {
            wanted = d->button;
            board_press_reset(h.board, HOLD);
            board_run_for(h.board, HOLD);
        } else if (way == 1) {
            wanted = d->pin_port != 0;
            board_drive_pin(h.board, 'B', 8, true);
            board_uart_send(h.board, 1, 'R');
        } else if (way == 2) {
            board_load(h.board, RAM, request, sizeof request);
            board_uart_send(h.board, 1, 'R');
        } else {
            board_uart_send(h.board, 1, way == 3 ? 'T' : '1');
        }
        forget();
        board_run_for(h.board, 50 * BOARD_MS);
        board_drive_pin(h.board, 'B', 8, false);
        cr_expect_eq(strstr(heard(), app.tag) == NULL, wanted, "way %u: '%s'", way, heard());
        if (wanted) {
            cr_assert(host_enumerate(&h), "way %u", way);
            leave(&h);
            check_runs(&h, &app, 1000); /* it was for once */
        }
        cr_expect(obeys(&h, &app, 'W'), "way %u: a watchdog reset", way);
        power_cycle(h.board);
        check_runs(&h, &app, 20);
    }
    check_board(h.board);
}

ON_EACH_BOARD(enters_dfu_after_so_many_resets_as_it_says)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    for (unsigned round = 0; round < 2; round++) {
        unsigned n = 0;
        while (n < 12 && (n++, obeys(&h, &app, 'R')))
            ;
        cr_expect_eq(n, d->resets ? d->resets : 12, "round %u: %u", round, n);
        if (!d->resets)
            break;
        cr_assert(host_enumerate(&h));
        leave(&h);
        check_runs(&h, &app, 1000);
    }
    check_board(h.board);
}

ON_EACH_BOARD(without_its_crystal_starts_the_application_or_tries_until_there_is_one)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = running(PART, &app);

    h.board->config.hse_hz = BOARD_NO_CRYSTAL;
    power_cycle(h.board);
    check_runs(&h, &app, 20);
    board_uart_send(h.board, 1, 'T');
    check_runs(&h, &app, 2000);
    check_board(h.board);
    board_free(h.board);

    board_design.hse_hz = BOARD_NO_CRYSTAL;
    h = (struct host){.board = new_board(PART, 1)};
    board_power(h.board, true);
    usb_plug(h.board);
    board_run_for(h.board, 3 * BOARD_S);
    cr_expect_not(usb_configured(h.board));
    h.board->config.hse_hz = d->hse_hz; /* it begins to oscillate after all */
    board_run_for(h.board, BOARD_S);
    cr_expect(host_enumerate(&h));
    check_board(h.board);
}

/* --- what is the application's, and what is not -------------------------------------------------- */

struct guarded {
    struct host h;
    uint8_t *flash; /* as it was */
    unsigned refused;
};

static void check_untouched(struct guarded *g, bool did, const char *what, uint32_t value)
{
    struct host *h = &g->h;
    uint8_t *now = flash_dump(h->board);

    cr_expect(!did && h->last.state == DFU_ERROR && h->last.status == DFU_ERR_TARGET,
        "%s %08x: state %u, status %u", what, value, h->last.state, h->last.status);
    cr_assert(memcmp(now, g->flash, board_flash_size(h->board)) == 0, "%s %08x: flash was changed",
        what, value);
    free(now);
    cr_assert_geq(dfu_clrstatus(h), 0);
    g->refused++;
}

static void keep_off(struct guarded *g, uint32_t addr, size_t size)
{
    static const uint8_t zeros[XFER];

    check_untouched(g, dfu_write(&g->h, addr, zeros, size), "write", addr);
}

static void keep_blocks_off(struct guarded *g, uint32_t pointer, unsigned block, size_t size)
{
    static const uint8_t zeros[XFER];

    if (!dfu_set_address(&g->h, pointer))
        dfu_clrstatus(&g->h); /* refused there already; on with whatever it points to now */
    check_untouched(g, dfu_download(&g->h, (uint16_t)block, zeros, size), "block from", pointer);
}

ON_EACH_BOARD(nothing_but_the_applications_pages_can_be_written_or_erased)
{
    const char *of[] = {"stm32f103c8", PART, LARGE, "stm32f103re"};

    for (unsigned p = 0; p < 4; p++) {
        struct app app = app_build(5000, 1, 0);
        struct guarded g = {.h = in_dfu(of[p], &app)};
        g.flash = flash_dump(g.h.board);
        uint32_t end = FLASH + board_flash_size(g.h.board), base = d->base;
        const uint32_t elsewhere[] = {end, end + PAGE, FLASH - 1, FLASH - PAGE, 0, RAM, RAM + 0x100,
            0x1FFFF000, OPTION_BYTES + 2, 0x40022000, 0x80000000, 0x88000000, 0xFFFFFC00,
            0xFFFFFFFF};
        for (unsigned i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
            check_untouched(&g, dfu_erase(&g.h, elsewhere[i]), "erase", elsewhere[i]);
            keep_off(&g, elsewhere[i], 4);
            keep_off(&g, elsewhere[i], XFER);
        }
        for (uint32_t page = FLASH; page < base; page += PAGE) {
            check_untouched(&g, dfu_erase(&g.h, page), "erase", page);
            check_untouched(&g, dfu_erase(&g.h, page + PAGE - 1), "erase", page);
            keep_off(&g, page, 1);
            keep_off(&g, page, XFER);
        }
        keep_off(&g, base - 1, 1); /* over the borders */
        keep_off(&g, base - 1, XFER);
        keep_off(&g, base - XFER + 1, XFER);
        keep_off(&g, base - 4, 8);
        keep_off(&g, end - 1, 2);
        keep_off(&g, end - 1, XFER);
        keep_off(&g, end - XFER + 1, XFER);
        const unsigned far[] = {
            0x1FFF, 0x2000, 0x4001, 0x4002, 0x7FFF, 0x8000, 0x8002, 0xFFFE, 0xFFFF};
        for (unsigned i = 0; i < sizeof far / sizeof *far; i++) {
            keep_blocks_off(&g, FLASH, far[i], XFER);
            keep_blocks_off(&g, base, far[i], 2);
            keep_blocks_off(&g, end - 4, far[i], XFER);
            keep_blocks_off(&g, FLASH - (far[i] - 2) * XFER, far[i], XFER); /* counts up into it */
            keep_blocks_off(&g, base - XFER - (far[i] - 2) * XFER, far[i], 16);
        }
        keep_blocks_off(&g, FLASH, 2, XFER);
        keep_blocks_off(&g, FLASH, 3, XFER);
        keep_blocks_off(&g, 0xFFFFFFFF, 3, XFER);
        keep_blocks_off(&g, 0xFFFFFC00, 0xFFFF, XFER);
        printf("%s, %s: %u attempts refused\n", d->name, of[p], g.refused);
        check_board(g.h.board);
        check_reads(&g.h, app_base, app.data, app.size);
        power_cycle(g.h.board);
        check_runs(&g.h, &app, 20);
        board_free(g.h.board);
        free(g.flash);
    }
}

ON_EACH_BOARD(random_requests_never_change_the_bootloader)
{
    const char *of[] = {PART, "stm32f103re"};

    for (uint64_t seed = 0; seed < 2; seed++) {
        struct app app = app_build(3000, 1, 0);
        struct host h = in_dfu(of[seed], &app);
        uint8_t *was = flash_dump(h.board), data[XFER];
        uint64_t random = 77 + seed;
        for (unsigned i = 0; i < 600; i++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            uint32_t r = (uint32_t)(random >> 32);
            uint32_t addr = d->base + (r >> 8 & 0x3FFF) - 0x2000;
            for (unsigned k = 0; k < XFER; k++)
                data[k] = (uint8_t)(r >> (k & 15));
            switch (r & 7) {
            case 0:
                dfu_erase(&h, addr);
                break;
            case 1:
            case 2:
                dfu_write(&h, addr, data, 1 + (r >> 4 & 1023));
                break;
            case 3:
                dfu_set_address(&h, addr);
                break;
            case 4:
                dfu_download(&h, (uint16_t)(r >> 20 & 15), data, 1 + (r >> 4 & 1023));
                break;
            case 5:
                dfu_upload_block(&h, (uint16_t)(r >> 20), data, 1 + (r >> 4 & 1023));
                break;
            case 6:
                dfu_abort(&h);
                break;
            default:
                dfu_open(&h);
                break;
            }
            cr_assert(!board_complaint(h.board), "request %u, seed %llu: %s", i, U(77 + seed),
                board_complaint(h.board)->rule);
            if (dfu_getstatus(&h).result > 0 && h.last.state == DFU_ERROR)
                dfu_clrstatus(&h);
        }
        uint8_t *now = flash_dump(h.board);
        cr_expect(memcmp(now, was, d->base - FLASH) == 0, "%s, seed %llu", of[seed], U(seed));
        check_dfu(flash_application(&h, &app), &h);
        leave(&h);
        check_runs(&h, &app, 1000);
        check_board(h.board);
        free(was);
        free(now);
        board_free(h.board);
    }
}

Test(head, mass_erase_takes_the_application_and_spares_the_bootloader)
{
    const char *of[] = {"stm32f103c8", LARGE};

    design("bluepill");
    for (unsigned i = 0; i < 2; i++) {
        struct app app = app_build(40000, 1, 0), next = app_build(5000, 2, 0);
        struct host h = in_dfu(of[i], &app);
        uint32_t room = app_room(h.board);
        uint8_t *was = flash_dump(h.board), *blank = malloc(room);
        memset(blank, 0xFF, room);
        check_dfu(dfu_mass_erase(&h) && dfu_to_idle(&h), &h);
        check_reads(&h, app_base, blank, room);
        host_sleep(&h, 4 * BOARD_S);
        uint8_t *now = flash_dump(h.board);
        cr_expect_arr_eq(now, was, OWN);
        cr_expect_arr_eq(now + OWN, blank, room);
        starts_into_dfu(&h, "after a mass erase");
        check_reads(&h, app_base, blank, room);
        check_dfu(dfu_mass_erase(&h), &h);
        check_dfu(dfu_download_counting(&h, app_base, next.data, next.size), &h);
        leave(&h);
        check_runs(&h, &next, 5000);
        check_board(h.board);
        board_free(h.board);
    }
}

/* --- when a download counts ---------------------------------------------------------------------- */

enum end { SAYS_ABORT, SAYS_UPLOAD, SAYS_LEAVE, SAYS_DETACH, SETS_INTERFACE, CONFIGURES, RESETS };

static void say(struct host *h, enum end end)
{
    uint8_t data[64];

    switch (end) {
    case SAYS_ABORT:
        check_dfu(dfu_to_idle(h), h);
        break;
    case SAYS_UPLOAD:
        dfu_clrstatus(h); /* dfuIDLE; the pointer is where the last block went */
        cr_expect_gt(dfu_upload_block(h, 2, data, sizeof data), 0);
        break;
    case SAYS_LEAVE:
        dfu_leave(h, 2);
        break;
    case SAYS_DETACH:
        cr_expect_geq(dfu_detach(h), 0);
        break;
    case SETS_INTERFACE:
        cr_expect_geq(dfu_set_interface(h), 0);
        break;
    case CONFIGURES:
        cr_expect_geq(host_control(h, 0x00, 9, 1, 0, NULL, 0), 0);
        break;
    case RESETS:
        cr_expect_eq(usb_reset_device(h->board), 0);
        break;
    }
    host_sleep(h, 100 * BOARD_MS);
}

/* Each page that was erased has its data, but for `lacking` of them. */
static void ends_with(enum end end, unsigned lacking, bool counts)
{
    struct app old = app_build(6000, 1, 0), new = app_build(5500, 2, 0);
    struct host h = in_dfu(PART, &old);
    unsigned pages = (unsigned)(new.size + PAGE - 1) / PAGE;

    for (unsigned i = 0; i < pages; i++)
        check_dfu(dfu_erase(&h, app_base + i * PAGE), &h);
    for (unsigned i = 0; i < pages - lacking; i++)
        check_dfu(dfu_write(&h, app_base + i * PAGE, new.data + i *PAGE,
                      new.size - i *PAGE < PAGE ? new.size - i *PAGE : PAGE),
            &h);
    say(&h, end);
    if (!counts) { /* nor does what the next session says of it */
        if (!usb_configured(h.board))
            cr_assert(host_enumerate(&h));
        check_dfu(dfu_open(&h) && dfu_to_idle(&h), &h);
    }
    power_cycle(h.board);
    if (counts) {
        check_runs(&h, &new, 20);
    } else {
        cr_expect(host_enumerate(&h), "end %u, lacking %u: '%s'", end, lacking, heard());
        check_dfu(flash_application(&h, &new), &h);
        leave(&h);
        check_runs(&h, &new, 1000);
    }
    check_board(h.board);
    board_free(h.board);
}

Test(head, a_download_counts_when_it_is_finished_and_complete)
{
    design("bluepill");
    ends_with(SAYS_ABORT, 0, true);
    ends_with(SAYS_UPLOAD, 0, true);
    ends_with(SAYS_LEAVE, 0, true);
    ends_with(SAYS_DETACH, 0, true);
    ends_with(SAYS_ABORT, 1, false);
    ends_with(SETS_INTERFACE, 0, false);
    ends_with(CONFIGURES, 0, false);
    ends_with(RESETS, 0, false);
    ends_with(SETS_INTERFACE, 2, false);
    ends_with(RESETS, 2, false);
}

static void check_whole(struct host *h, const struct app *old, const struct app *new,
    const uint8_t *old_flash, uint64_t stop, const char *how)
{
    power_cycle(h->board);
    if (hears(h->board, old->tag, 20)) {
        uint8_t *now = flash_dump(h->board);
        cr_expect(memcmp(now, old_flash, board_flash_size(h->board)) == 0,
            "%s after transfer %llu: the old application runs and is not complete", how, U(stop));
        free(now);
        enter(h);
    } else {
        cr_expect_not(
            strstr(heard(), new->tag), "%s after transfer %llu: torn, and runs", how, U(stop));
        cr_assert(host_enumerate(h), "%s after transfer %llu: neither old nor DFU", how, U(stop));
    }
    check_dfu(flash_application(h, new), h);
    leave(h);
    check_runs(h, new, 1000);
}

enum stop { KILLED, ANOTHER_OPENS, UNPLUGGED, POWER_FAILS, SETTINGS_COME, STOPS };
static const char *const stop_names[] = {
    "killed", "killed, then another", "unplugged and back", "power cut", "killed, then settings"};

/* At each transfer, or each so many-th, but the ABORT and the question after it. */
static void stopped(const char *part, bool over_another, uint64_t step)
{
    struct app old = app_build(5000, 41, 0), new = app_build(5000, 42, 0);
    struct app settings = noise(PAGE, 43);
    struct host base = over_another ? in_dfu(part, &old) : host_on_new_board(part);
    struct host count = {.board = board_copy(base.board)};
    uint8_t *old_flash = flash_dump(base.board);

    check_dfu(flash_application(&count, &new), &count);
    for (uint64_t stop = 1; stop <= count.transfers - 2; stop += step) {
        enum stop how = (enum stop)(stop % STOPS);
        struct host h = {.board = board_copy(base.board), .give_up_after = stop};
        cr_assert_not(flash_application(&h, &new));
        h.give_up_after = 0;
        if (how == KILLED)
            board_run_for(h.board, 1200 * BOARD_MS);
        if (how == UNPLUGGED) {
            usb_unplug(h.board);
            board_run_for(h.board, 1200 * BOARD_MS);
            usb_plug(h.board);
            cr_assert(host_enumerate(&h));
        }
        if (how == ANOTHER_OPENS || how == UNPLUGGED)
            for (unsigned i = 0; i < 2; i++)
                check_dfu(dfu_open(&h) && dfu_to_idle(&h), &h);
        if (how == SETTINGS_COME) { /* nor do these make a torn one valid */
            uint32_t at = app_base + 8 * PAGE;
            check_dfu(dfu_open(&h), &h);
            check_dfu(dfu_download_like_dfu_util(&h, at, settings.data, settings.size), &h);
            power_cycle(h.board);
            if (hears(h.board, old.tag, 20)) {
                uint8_t *now = flash_dump(h.board);
                cr_expect(
                    memcmp(now, old_flash, app_base - FLASH + 8 * PAGE) == 0, "torn, and runs");
                free(now);
            } else {
                cr_expect_not(strstr(heard(), new.tag), "transfer %llu: torn, and runs", U(stop));
                cr_expect(host_enumerate(&h));
            }
            board_free(h.board);
            continue;
        }
        check_whole(&h, &old, &new, old_flash, stop, stop_names[how]);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, an_update_that_stops_at_any_transfer_never_runs)
{
    design("bluepill");
    stopped("stm32f103c8", true, 1);
}

Test(head, a_first_download_that_stops_never_runs)
{
    design("bluepill");
    stopped("stm32f103c4", false, 3);
}

Test(head, an_update_on_2_kb_pages_that_stops_never_runs)
{
    design("bluepill");
    stopped(LARGE, true, 3);
}

ON_EACH_BOARD(settings_beside_the_application_keep_it_valid)
{
    const char *of[] = {PART, LARGE};
    (void)d;

    for (unsigned i = 0; i < 12; i++) {
        struct app app = app_build(5000, 3, 0), settings = noise(i < 6 ? 2048 : 100, 4 + i);
        struct host h = in_dfu(of[i & 1], &app);
        uint32_t at = i % 3 == 0   ? app_base + app_room(h.board) - 2048
                      : i % 3 == 1 ? app_base + 0x4000
                                   : app_base + 6 * PAGE; /* the page behind it */
        check_dfu(dfu_download_like_dfu_util(&h, at, settings.data, settings.size), &h);
        if (i < 8) {
            check_dfu(dfu_set_address(&h, at), &h);
            leave(&h); /* the pointer is at the settings: the application starts all the same */
        } else {
            power_cycle(h.board);
        }
        check_runs(&h, &app, 1000);
        enter(&h);
        check_reads(&h, at, settings.data, settings.size);
        check_reads(&h, app_base, app.data, app.size);
        check_board(h.board);
        board_free(h.board);
    }
}

/* A piece in the middle of the application: what is there then is what the host wanted there. */
Test(head, a_piece_in_the_middle_of_the_application_keeps_it_valid)
{
    design("bluepill");
    for (unsigned i = 0; i < 4; i++) {
        struct app app = app_build(7000, 3, 0), piece = noise(700, 9);
        uint32_t at = i < 2 ? 3000 : APP_SMALLEST; /* in another page, in the first */
        struct host h = in_dfu(i & 1 ? PART : LARGE, &app);
        check_dfu(dfu_write(&h, app_base + at, piece.data, piece.size) && dfu_to_idle(&h), &h);
        memcpy(app.data + at, piece.data, piece.size);
        check_reads(&h, app_base, app.data, app.size);
        power_cycle(h.board);
        check_runs(&h, &app, 20);
        check_board(h.board);
        board_free(h.board);
    }
}

static struct work identical_again(unsigned i)
{
    design("bluepill");
    struct app app = app_build(20000, 3, 0);
    struct host h = in_dfu(i & 1 ? PART : LARGE, &app);
    struct work before = work_so_far(h.board);

    check_dfu((i < 2 ? dfu_download_like_dfu_util : dfu_download_counting)(
                  &h, app_base, app.data, app.size),
        &h);
    check_reads(&h, app_base, app.data, app.size);
    leave(&h);
    check_runs(&h, &app, 1000);
    check_board(h.board);
    struct work done = work_since(h.board, before);
    board_free(h.board);
    app_free(&app);
    return done;
}

/* What makes it valid may be written anew: power may have failed over it, and it reads right by chance. */
Test(head, identical_application_costs_the_first_page_at_most)
{
    for (unsigned i = 0; i < 4; i++) {
        struct work done = identical_again(i);
        cr_expect(done.erases <= 1 && done.halfwords <= (i & 1 ? PAGE : 2 * PAGE) / 2 + 8,
            "%llu erases, %llu half-words", U(done.erases), U(done.halfwords));
    }
}

Test(head, a_session_that_only_reads_writes_nothing)
{
    design("bluepill");
    struct app app = app_build(5000, 3, 0);
    struct host h = in_dfu(PART, &app);
    struct work before = work_so_far(h.board);
    uint8_t image[OWN];

    board_peek(h.board, FLASH, image, OWN);
    check_reads(&h, app_base, app.data, app.size);
    check_reads(&h, FLASH, image, OWN);
    for (unsigned i = 0; i < 3; i++) {
        power_cycle(h.board);
        check_runs(&h, &app, 20);
        enter(&h);
    }
    struct work done = work_since(h.board, before);
    cr_expect(done.erases == 0 && done.halfwords == 0);
}

Test(head, one_changed_page_costs_that_page_and_the_first)
{
    design("bluepill");
    struct app app = app_build(20000, 3, 0);
    struct host h = in_dfu(PART, &app);

    app.data[9 * PAGE + 3] ^= 0x55;
    struct work before = work_so_far(h.board);
    check_dfu(flash_application(&h, &app), &h);
    leave(&h);
    check_runs(&h, &app, 1000);
    struct work done = work_since(h.board, before);
    cr_expect(done.erases == 2, "%llu erases, %llu half-words", U(done.erases), U(done.halfwords));
}

/* What is erased alone, and already blank, changes nothing; what comes after does not suffer. */
Test(head, a_blank_page_that_is_erased_again_leaves_the_application_valid)
{
    design("bluepill");
    struct app app = app_build(5000, 3, 0), settings = noise(PAGE, 4);
    struct host h = in_dfu(PART, &app);

    check_dfu(dfu_erase(&h, app_base + 30 * PAGE) && dfu_to_idle(&h), &h);
    power_cycle(h.board);
    check_runs(&h, &app, 20);
    enter(&h);
    check_dfu(dfu_erase(&h, app_base + 30 * PAGE) && dfu_to_idle(&h), &h);
    check_dfu(
        dfu_write(&h, app_base + 30 * PAGE, settings.data, settings.size) && dfu_to_idle(&h), &h);
    power_cycle(h.board);
    check_runs(&h, &app, 20);
}

/* --- what is no application ---------------------------------------------------------------------- */

Test(head, what_can_be_no_application_is_errFIRMWARE_and_never_started)
{
    design("bluepill");
    const struct {
        uint32_t word, value;
        const char *what;
    } nonsense[] = {
        {0, 0,                "no stack pointer"      },
        {0, 0xFFFFFFFF,       "a blank stack pointer" },
        {0, RAM,              "a stack without room"  },
        {0, RAM + 0x5001,     "an odd stack pointer"  },
        {0, RAM + 0x5002,     "an unaligned one"      },
        {0, RAM + 0x10004,    "a stack beyond all RAM"},
        {0, FLASH + 0x2000,   "a stack in flash"      },
        {0, 0x10005000,       "a stack elsewhere"     },
        {4, 0,                "no reset vector"       },
        {4, 0xFFFFFFFF,       "a blank reset vector"  },
        {4, app_base + 0x150, "an even reset vector"  },
        {4, RAM + 0x151,      "a reset vector in RAM" },
        {4, 0x1FFFF001,       "one in system memory"  },
        {4, FLASH - 1,        "one before flash"      },
        {4, FLASH + 0x100151, "one behind all flash"  },
    };

    for (unsigned i = 0; i < 2 * sizeof nonsense / sizeof *nonsense; i++) {
        struct app old = app_build(3000, 1, 0), app = app_build(4000, 2, 0);
        struct host h = i & 1 ? in_dfu(PART, &old) : host_on_new_board(PART);
        put32(app.data + nonsense[i / 2].word, nonsense[i / 2].value);
        check_dfu(flash_application(&h, &app), &h);
        check_reads(&h, app_base, app.data, app.size);
        cr_expect_not(dfu_leave(&h, 2), "%s", nonsense[i / 2].what);
        cr_expect(h.last.state == DFU_ERROR && h.last.status == DFU_ERR_FIRMWARE, "%s: status %u",
            nonsense[i / 2].what, h.last.status);
        starts_into_dfu(&h, nonsense[i / 2].what);
        check_dfu(flash_application(&h, &old), &h);
        leave(&h);
        check_runs(&h, &old, 1000);
        check_board(h.board);
        board_free(h.board);
    }
}

/* The likeliest mistake: firmware linked for another address, the start of flash above all. */
Test(head, an_application_linked_for_another_address_is_errFIRMWARE)
{
    const uint32_t links[] = {FLASH, FLASH + 0x800, FLASH + 0x800000};

    design("bluepill");
    for (unsigned i = 0; i < 3; i++) {
        struct app old = app_build(3000, 1, 0), app = finder_build(links[i], RAM + 0x2800, 4000, 2);
        struct host h = in_dfu(PART, &old);
        check_dfu(flash_application(&h, &app), &h);
        cr_expect_not(dfu_leave(&h, 2), "linked for %08x", links[i]);
        cr_expect(h.last.status == DFU_ERR_FIRMWARE, "linked for %08x: status %u", links[i],
            h.last.status);
        starts_into_dfu(&h, "linked for another address");
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, a_reset_vector_behind_the_flash_of_the_part_is_errFIRMWARE)
{
    design("bluepill");
    struct app app = app_build(4000, 2, 0);
    struct host h = host_on_new_board("stm32f103c8");

    put32(app.data + 4, FLASH + 0x10151);
    check_dfu(flash_application(&h, &app), &h);
    cr_expect_not(dfu_leave(&h, 2));
    cr_expect_eq(h.last.status, DFU_ERR_FIRMWARE);
    starts_into_dfu(&h, "a reset vector behind flash");
}

Test(head, leave_without_an_application_is_errFIRMWARE_and_stays)
{
    design("bluepill");
    struct host h = host_on_new_board(PART);

    check_refused(dfu_leave(&h, 2), &h, DFU_ERR_FIRMWARE);
    host_sleep(&h, BOARD_S);
    dfu_getstatus(&h);
    cr_expect(h.last.state == DFU_IDLE && h.last.status == DFU_OK);
    dfu_detach(&h);
    host_sleep(&h, BOARD_S);
    cr_expect(host_enumerate(&h), "DETACH: it came not back");
}

/* A bootloader of ours, of whatever layout, downloaded as an application: refused before anything is changed. */
Test(head, an_image_of_ours_is_errFILE_and_the_application_stays)
{
    const char *images[] = {"build/firmware/bluepill-head.bin",
        "build/firmware/maple-mini-head.bin", "build/firmware/bluepill-tail.bin",
        "build/firmware/bluepill-full-tail.bin"};

    for (unsigned i = 0; i < 8; i++) {
        design(i % 3 == 2 ? "maple-mini" : "bluepill");
        struct app app = app_build(7000, 1, 0), ours = app_load(images[i / 2]);
        struct host h = in_dfu(i & 1 ? PART : LARGE, &app);
        uint8_t *was = flash_dump(h.board);
        cr_assert(ours.size);
        check_refused(flash_application(&h, &ours), &h, DFU_ERR_FILE);
        uint8_t *now = flash_dump(h.board);
        cr_expect(memcmp(now, was, board_flash_size(h.board)) == 0, "%s", images[i / 2]);
        check_reads(&h, app_base, app.data, app.size); /* and the host goes on */
        cr_expect(dfu_leave(&h, 2), "%s: status %u", images[i / 2], h.last.status);
        check_runs(&h, &app, 1000);
        power_cycle(h.board);
        check_runs(&h, &app, 20);
        free(was);
        free(now);
        board_free(h.board);
    }
}

/* --- protections of the chip ---------------------------------------------------------------------- */

enum { RDP_ON = 0x00, RDP_OFF = 0xA5 };

static void load_options(struct board *b, uint8_t rdp, uint8_t wrp0)
{
    uint8_t option[16] = {rdp, (uint8_t)~rdp, 0xFF, 0, 0x12, 0xED, 0x34, 0xCB, wrp0, (uint8_t)~wrp0,
        0xFF, 0, 0xFF, 0, 0xFF, 0};

    board_power(b, false);
    cr_assert_eq(board_load(b, OPTION_BYTES, option, sizeof option), 0);
    board_power(b, true);
}

static bool options_are(const struct board *b, const uint8_t low[8])
{
    uint8_t now[16];

    board_peek(b, OPTION_BYTES, now, sizeof now);
    for (unsigned i = 0; i < 8; i++)
        if (now[2 * i] != low[i] || (now[2 * i] ^ now[2 * i + 1]) != 0xFF)
            return false;
    return true;
}

/* In DFU with read-out protection on, and an application. */
static struct host read_protected(const char *part, const struct app *app)
{
    struct host h = host_with_application(part, app);

    load_options(h.board, RDP_ON, 0xFF);
    check_runs(&h, app, 20);
    enter(&h);
    return h;
}

ON_EACH_BOARD(read_protected_takes_applications_and_shows_nothing)
{
    const char *of[] = {"stm32f103c8", PART, LARGE};

    for (unsigned i = 0; i < 3; i++) {
        struct app app = app_build(5000, 1, 0), next = app_build(9000, 2, 0),
                   settings = noise(PAGE, 3);
        struct host h = read_protected(of[i], &app);
        const uint32_t readable[] = {app_base, app_base + 0x1000, FLASH, 0x1FFFF000, OPTION_BYTES};
        for (unsigned k = 0; k < 5; k++) {
            uint8_t data[64] = {0}, zeros[64] = {0}, text[64] = {0};
            check_dfu(dfu_set_address(&h, readable[k]) && dfu_to_idle(&h), &h);
            cr_expect_eq(
                dfu_upload_block(&h, 2, data, sizeof data), USB_STALL, "%08x", readable[k]);
            cr_expect_arr_eq(data, zeros, sizeof data);
            dfu_getstatus(&h);
            cr_expect(h.last.state == DFU_ERROR && h.last.status == DFU_ERR_VENDOR, "%08x: %u",
                readable[k], h.last.status);
            cr_assert_neq(h.last.string, 0, "no word of the reason");
            int n = host_control(&h, 0x80, 6, 0x0300 | h.last.string, 0x0409, text, sizeof text);
            cr_expect(n == 2 + 2 * 6 && memcmp(text + 2, "l\0o\0c\0k\0e\0d", 11) == 0);
            cr_assert_geq(dfu_clrstatus(&h), 0);
        }
        check_dfu(flash_application(&h, &next), &h);
        leave(&h);
        check_runs(&h, &next, 1000);
        enter(&h);
        check_dfu(dfu_open(&h), &h);
        check_dfu(
            dfu_download_like_dfu_util(&h, app_base + 0x4000, settings.data, settings.size), &h);
        check_dfu(
            dfu_mass_erase(&h) && dfu_download_counting(&h, app_base, app.data, app.size), &h);
        leave(&h);
        check_runs(&h, &app, 5000);
        power_cycle(h.board);
        check_runs(&h, &app, 20);
        (void)d;
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, read_protection_is_said_by_the_functional_descriptor)
{
    design("bluepill");
    struct app app = app_build(5000, 1, 0);
    struct host h = in_dfu(PART, &app);
    enum { ATTRIBUTES = 9 + 9 + 2, CAN_UPLOAD = 2 };

    cr_expect_eq(usb_descriptors(h.board)->config[ATTRIBUTES], 0x0B);
    load_options(h.board, RDP_ON, 0xFF);
    check_runs(&h, &app, 20);
    enter(&h);
    cr_expect_eq(usb_descriptors(h.board)->config[ATTRIBUTES], 0x0B & ~CAN_UPLOAD);
}

/* Their erase would lift the protection, or could not be undone: never. */
static struct host option_bytes_refused(void)
{
    static const uint8_t options[16] = {
        0xA5, 0, 0xFF, 0, 1, 0, 2, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0};

    design("bluepill");
    struct app app = app_build(5000, 1, 0);
    struct host h = read_protected(PART, &app);
    cr_expect_not(dfu_write(&h, OPTION_BYTES, options, sizeof options));
    return h;
}

Test(head, read_protection_lets_no_option_byte_be_written)
{
    static const uint8_t was[8] = {RDP_ON, 0xFF, 0x12, 0x34, 0xFF, 0xFF, 0xFF, 0xFF};
    struct host h = option_bytes_refused();
    struct board_counts n;

    cr_expect_eq(h.last.state, DFU_ERROR);
    dfu_clrstatus(&h);
    check_refused(dfu_download(&h, 0, &(uint8_t){DFUSE_READ_UNPROTECT}, 1), &h, DFU_ERR_VENDOR);
    board_counts(h.board, &n);
    uint64_t resets = n.resets;
    host_sleep(&h, BOARD_S);
    board_counts(h.board, &n);
    cr_expect(n.option_erases == 0 && n.resets == resets);
    cr_expect(options_are(h.board, was));
    leave(&h);
    check_board(h.board);
}

/* AN3156 §5.1; it tells in words, too, that it is the protection. */
Test(head, read_protection_answers_errVENDOR_to_option_bytes)
{
    struct host h = option_bytes_refused();

    cr_expect_eq(h.last.status, DFU_ERR_VENDOR, "status %u", h.last.status);
}

/* The chip itself protects pages 0 to 3 then: what writes there is refused, and an update needs none of it. */
Test(head, read_protection_write_protects_exactly_the_bootloader)
{
    design("bluepill");
    const char *of[] = {"stm32f103c8", LARGE};

    for (unsigned i = 0; i < 2; i++) {
        struct app app = app_build(5000, 1, 0);
        struct host h = read_protected(of[i], &app);
        uint8_t *was = flash_dump(h.board);
        for (uint32_t page = FLASH; page < app_base; page += PAGE) {
            check_refused(dfu_erase(&h, page), &h, DFU_ERR_TARGET);
            check_refused(dfu_write(&h, page, was, PAGE), &h, DFU_ERR_TARGET);
        }
        uint8_t *now = flash_dump(h.board);
        cr_expect_arr_eq(now, was, board_flash_size(h.board));
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, read_protected_board_with_nothing_on_it_takes_its_first_application)
{
    design("bluepill");
    struct app app = app_build(5000, 1, 0);
    struct host h = host_on_new_board(PART);

    load_options(h.board, RDP_ON, 0xFF);
    cr_assert(host_enumerate(&h));
    check_dfu(flash_application(&h, &app), &h);
    leave(&h);
    check_runs(&h, &app, 1000);
    check_board(h.board);
}

/* The page of the application that is protected, or its first: the old stays what it was, as long as it can. */
Test(head, write_protected_page_is_errWRITE)
{
    design("bluepill");
    for (unsigned first = 0; first < 2; first++) {
        struct app app = app_build(3 * PAGE, 1, 0), next = app_build(6 * PAGE, 2, 0);
        struct host h = host_with_application(PART, &app);
        load_options(h.board, RDP_OFF, first ? 0xFD : 0xFB); /* pages 4 to 7, 8 to 11 */
        check_runs(&h, &app, 20);
        enter(&h);
        uint8_t *was = flash_dump(h.board);
        check_refused(flash_application(&h, &next), &h, DFU_ERR_WRITE);
        cr_expect_geq(dfu_clrstatus(&h), 0);
        uint8_t *now = flash_dump(h.board);
        if (first) { /* not a bit of it could be changed */
            cr_expect_arr_eq(now, was, board_flash_size(h.board));
            check_dfu(dfu_open(&h), &h);
            check_reads(&h, app_base, app.data, app.size);
            leave(&h);
            check_runs(&h, &app, 1000);
        } else {
            starts_into_dfu(&h, "half of it is there");
            check_dfu(flash_application(&h, &app), &h); /* one that fits runs */
            leave(&h);
            check_runs(&h, &app, 1000);
        }
        check_board(h.board);
        board_free(h.board);
        free(was);
        free(now);
    }
}

/* --- memory other than flash ---------------------------------------------------------------------- */

Test(head, system_memory_option_bytes_and_ram_can_be_read)
{
    design("bluepill");
    struct app app = app_build(3000, 1, 0);
    struct host h = in_dfu(PART, &app);
    uint8_t option[16], system[2048];

    board_peek(h.board, OPTION_BYTES, option, sizeof option);
    check_reads(&h, OPTION_BYTES, option, sizeof option);
    board_peek(h.board, 0x1FFFF000, system, sizeof system);
    check_reads(&h, 0x1FFFF000, system, sizeof system);
    check_dfu(dfu_to_idle(&h) && dfu_write(&h, RAM + 0x2000, system, XFER), &h);
    check_dfu(dfu_to_idle(&h), &h);
    check_reads(&h, RAM + 0x2000, system, XFER);
    check_dfu(dfu_to_idle(&h), &h);
    check_refused(dfu_set_address(&h, RAM), &h, DFU_ERR_TARGET); /* the bootloader's own */
    check_refused(dfu_set_address(&h, OPTION_BYTES + 16), &h, DFU_ERR_TARGET);
    check_board(h.board);
}

Test(head, option_bytes_are_written_and_take_effect_by_a_reset)
{
    static const uint8_t options[16] = {0xA5, 0, 0xFF, 0, 0x56, 0, 0x78, 0, 0xFB, 0, 0xFF, 0, 0xFF,
        0, 0xFF, 0},
                         want[8] = {0xA5, 0xFF, 0x56, 0x78, 0xFB, 0xFF, 0xFF, 0xFF};

    design("bluepill");
    for (unsigned i = 0; i < 2; i++) {
        struct app app = app_build(3000, 1, 0);
        struct host h = i ? in_dfu(PART, &app) : host_on_new_board(PART);
        uint8_t data[PAGE] = {1};
        check_dfu(dfu_write(&h, OPTION_BYTES, options, sizeof options), &h);
        cr_expect(options_are(h.board, want));
        if (i) {
            check_runs(&h, &app, 500);
            enter(&h);
        } else { /* there is nothing to start: it comes back */
            host_sleep(&h, 500 * BOARD_MS);
            cr_assert(host_enumerate(&h));
        }
        check_refused(dfu_write(&h, FLASH + 8 * PAGE, data, PAGE), &h, DFU_ERR_WRITE);
        check_board(h.board);
        board_free(h.board);
    }
}

Test(head, words_2_to_6_lead_to_name_version_and_layout)
{
    for (unsigned i = 0; i < 3; i++) {
        const struct design *d = design(designs[i].name);
        struct host h = host_on_new_board(PART);
        char name[8] = "", text[12] = "", layout[5] = "";
        board_peek(h.board, FLASH + 8, name, sizeof name);
        board_peek(h.board, FLASH + flash_word(h.board, FLASH + 0x14), text, sizeof text);
        board_peek(h.board, FLASH + 0x18, layout, 4);
        cr_expect_str_eq(name, "caboose");
        cr_expect(strncmp(text, "caboose ", 8) == 0, "%.12s", text);
        cr_expect_str_eq(layout, d->text);
        board_free(h.board);
    }
}

/* --- it write-protects itself --------------------------------------------------------------------- */

static const uint8_t shipped[8] = {0xA5, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
                     guarded_0[8] = {0xA5, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0xFF, 0xFF};

static uint64_t option_erases(const struct board *b)
{
    struct board_counts n;

    board_counts(b, &n);
    return n.option_erases;
}

Test(head, protecting_itself_changes_one_bit_once)
{
    const char *of[] = {"stm32f103c8", PART, LARGE, "stm32f103re"};

    design("f103-16mhz");
    for (unsigned i = 0; i < 4; i++) {
        struct board *b = new_board(of[i], 1);
        struct host h = {.board = b};
        struct app app = app_build(3000, 1, 0);
        cr_assert(options_are(b, shipped));
        board_power(b, true);
        usb_plug(b);
        cr_assert(host_enumerate(&h));
        cr_expect(options_are(b, guarded_0), "%s", of[i]);
        cr_expect_eq(option_erases(b), 1);
        check_dfu(flash_application(&h, &app), &h);
        for (unsigned k = 0; k < 4; k++) {
            leave(&h);
            check_runs(&h, &app, 1000);
            power_cycle(b);
            check_runs(&h, &app, 20);
            cr_expect_eq(b->fpec.wrpr, 0xFFFFFFFE, "%s: WRPR %08x", of[i], b->fpec.wrpr);
            enter(&h);
        }
        cr_expect_eq(option_erases(b), 1, "%s: written %llu times", of[i], U(option_erases(b)));
        check_board(b);
        board_free(b);
    }
}

Test(head, protecting_itself_keeps_all_other_option_bytes)
{
    static const uint8_t custom[16] = {0xA5, 0x5A, 0xFD, 0x02, 0x12, 0xED, 0x34, 0xCB, 0xF7, 0x08,
        0x7F, 0x80, 0xFE, 0x01, 0xBF, 0x40},
                         want[8] = {0xA5, 0xFD, 0x12, 0x34, 0xF6, 0x7F, 0xFE, 0xBF};

    design("f103-16mhz");
    struct host h = {.board = new_board(PART, 1)};
    board_load(h.board, OPTION_BYTES, custom, sizeof custom);
    board_power(h.board, true);
    usb_plug(h.board);
    cr_assert(host_enumerate(&h));
    cr_expect(options_are(h.board, want));
    check_board(h.board);
}

/* With read protection on, the chip protects these pages itself. However it reads, the protection and what it
 * protects stay: RDP that is 0xA5 without its complement is protection, too, and writing 0xA5 then would erase the
 * chip (PM0075 §2.4.2). */
Test(head, protecting_itself_keeps_the_read_protection_and_what_it_protects)
{
    static const uint8_t rdp[][2] = {
        {0x00, 0xFF},
        {0xFF, 0x00},
        {0xFF, 0xFF},
        {0xA5, 0xFF},
        {0xA5, 0x5B}
    };

    design("f103-16mhz");
    for (unsigned i = 0; i < sizeof rdp / sizeof *rdp; i++) {
        struct app app = app_build(3000, 1, 0);
        struct host h = host_with_application(PART, &app);
        uint8_t *was = flash_dump(h.board);
        load_options(h.board, RDP_ON, 0xFF);
        board_power(h.board, false);
        board_load(h.board, OPTION_BYTES, rdp[i], 2);
        board_power(h.board, true);
        check_runs(&h, &app, 20);
        board_uart_send(h.board, 1, 'T');
        board_run_for(h.board, 300 * BOARD_MS);
        uint8_t *now = flash_dump(h.board);
        cr_assert(memcmp(now, was, board_flash_size(h.board)) == 0,
            "RDP %02x %02x: flash was changed", rdp[i][0], rdp[i][1]);
        cr_expect_eq(flash_word(h.board, OPTION_BYTES + 4), 0xCB34ED12);
        cr_assert(host_enumerate(&h));
        check_dfu(dfu_open(&h), &h);
        leave(&h);
        check_runs(&h, &app, 1000);
        cr_expect(
            h.board->fpec.obr & 2, "RDP %02x %02x: the protection is gone", rdp[i][0], rdp[i][1]);
        check_board(h.board);
        board_free(h.board);
        free(was);
        free(now);
    }
}

/* What an application could do to it: nothing any more. (The host cannot anyway.) */
Test(head, protected_by_itself_its_pages_are_refused_by_the_chip)
{
    design("f103-16mhz");
    struct app app = app_build(3000, 1, 0);
    struct host h = in_dfu(PART, &app);

    for (uint32_t at = 0; at < board_flash_size(h.board); at += 4096)
        cr_expect_eq(!(h.board->fpec.wrpr >> at / 4096 & 1), at == 0, "%08x", FLASH + at);
}

/* The option bytes that power failed over. WRP0 is what the chip takes it for, not what it reads as. */
static void cut_while_protecting(const struct app *app, const struct app *next, struct board *fresh)
{
    struct board *whole = board_copy(fresh);
    struct host h = {.board = whole};
    struct board_counts n;
    unsigned cuts = 0, window = 0;

    board_power(whole, true);
    if (app)
        board_run_for(whole, 20 * BOARD_MS), board_uart_send(whole, 1, 'T');
    board_run_for(whole, 300 * BOARD_MS);
    struct board_counts before;
    board_counts(fresh, &before);
    board_counts(whole, &n);
    uint64_t operations = n.flash_operations - before.flash_operations;
    cr_assert_eq(operations, 9, "%llu", U(operations));
    for (uint64_t nth = 1; nth <= operations; nth++)
        for (unsigned k = 0; k < 3 * BOARD_TORN_KINDS; k++) {
            enum board_torn torn = (enum board_torn)(k % BOARD_TORN_KINDS);
            if (k >= BOARD_TORN_KINDS && torn != BOARD_TORN_RANDOM && torn != BOARD_TORN_MARGINAL)
                continue; /* no other seed leaves anything else */
            h = (struct host){.board = board_copy(fresh)};
            struct board *b = h.board;
            board_cut_at(b, nth, torn, k);
            board_power(b, true);
            if (app)
                board_run_for(b, 20 * BOARD_MS), board_uart_send(b, 1, 'T');
            board_run_for(b, 300 * BOARD_MS);
            cr_assert_not(board_powered(b), "operation %llu did not come", U(nth));
            cuts++;
            for (unsigned times = 0; times < 3; times++) {
                power_cycle(b);
                if (app)
                    cr_assert(hears(b, app->tag, 20), "cut at %llu, %s, %u: it does not run",
                        U(nth), torn_name(torn), k);
            }
            if (app)
                board_uart_send(b, 1, 'T'), board_run_for(b, 100 * BOARD_MS);
            cr_assert(
                host_enumerate(&h), "cut at %llu, %s, %u: no DFU", U(nth), torn_name(torn), k);
            bool locked = b->fpec.obr & 2;
            window += locked;
            if (locked)
                cr_expect_leq(nth, 2, "cut at %llu: RDP is not the first", U(nth));
            if (locked || cuts % 4 == 0) {
                check_dfu(flash_application(&h, next), &h);
                check_dfu(dfu_leave(&h, 2), &h);
                check_runs(&h, next, 1000);
            } else {
                power_cycle(b);
                board_run_for(b, BOARD_MS);
            }
            if (torn != BOARD_TORN_MARGINAL) /* that may read as protected while it looks */
                cr_expect(!(b->fpec.wrpr & 1) || b->fpec.obr & 2,
                    "cut at %llu, %s, %u: its pages are not protected, for good", U(nth),
                    torn_name(torn), k);
            check_board(b);
            board_free(b);
        }
    printf("%s: %u cuts while it protects itself, %u left the part read-protected\n",
        app ? "with an application" : "a fresh board", cuts, window);
    cr_expect_gt(window, 0);
    board_free(whole);
}

/* A cut in RDP can leave 0xA5 without its complement: to program 0xA5 again would make the chip erase itself. */
Test(head, power_cut_while_it_protects_itself_leaves_a_board_that_boots_updates_and_is_protected)
{
    design("f103-16mhz");
    struct app app = app_build(3000, 1, 0), next = app_build(4000, 2, 0);
    struct board *fresh = new_board(PART, 1);

    usb_plug(fresh);
    cut_while_protecting(NULL, &next, fresh);
    board_free(fresh);
    struct host h = host_with_application(PART, &app);
    load_options(h.board, RDP_OFF, 0xFF);
    board_power(h.board, false);
    cut_while_protecting(&app, &next, h.board);
}

/* --- the power fails, and flash does -------------------------------------------------------------- */

static void slice(const char *flow, const char *part, const uint64_t every[BOARD_TORN_KINDS])
{
    struct order o = {
        .flow = flow_find(flow), .part = part, .seed = 20270, .sample = 64, .download = 8};
    struct tally t = {0};

    cr_assert(o.flow, "%s", flow);
    memcpy(o.every, every, sizeof o.every);
    trial_cuts(&o, &t);
    printf("%s on %s: %llu operations, %llu cuts, %llu different flashes: %llu run the old, %llu "
           "the new, %llu DFU, %llu in the window; %llu powered up, %llu followed by a download; "
           "%.1f s; seed %llu\n",
        flow, part, U(t.operations), U(t.cuts), U(t.states), U(t.old_runs), U(t.new_runs), U(t.dfu),
        U(t.window), U(t.powered), U(t.downloads), t.seconds, U(o.seed));
    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        cr_expect_eq(t.failures[i].count, 0, "%llu × %s: build/tests/torture %s",
            U(t.failures[i].count), t.failures[i].what, t.failures[i].replay);
    cr_expect_gt(t.cuts, o.flow->writes_options ? 40 : 50);
    if (!o.flow->writes_options)
        cr_expect(t.windows == 0 && t.window == 0, "a window in the head layout");
}

static const uint64_t all[BOARD_TORN_KINDS] = {1, 1, 1, 1, 1};
static const uint64_t sparse[BOARD_TORN_KINDS] = {32, 24, 14, 28, 10};

Test(head, power_cut_in_a_first_download_never_runs_a_torn_application)
{
    slice("head-first", LARGE, sparse);
}

Test(head, power_cut_in_an_update_never_runs_a_torn_application)
{
    slice("head-update", "stm32f103c4", all);
    slice("head-update", LARGE, sparse);
}

Test(head, power_cut_in_an_update_that_leaves_the_first_page_never_runs_a_torn_application)
{
    slice("head-same-page-0", "stm32f103c8", sparse);
}

Test(head, power_cut_while_settings_are_written_never_runs_a_torn_application)
{
    slice("head-settings", "stm32f103c8", sparse);
}

Test(head, power_cut_in_a_mass_erase_never_runs_a_torn_application)
{
    slice("head-mass-erase", LARGE, all);
    slice("head-mass-first", "stm32f103c8", sparse);
}

Test(head, power_cut_while_option_bytes_are_written_leaves_the_application_and_dfu)
{
    slice("head-options", "stm32f103c8", all);
}

/* The half-word that comes last: as long as it is not all that it will be, whatever bits of it have come, nothing is
 * started. All of the values that it may have meanwhile. */
static void half_written_with(uint32_t sp)
{
    struct app app = app_build(3000, 1, 0);
    struct host h = host_on_new_board("stm32f103re");
    struct work before = work_so_far(h.board);
    uint8_t got[8];
    unsigned last = 0, tried = 0;

    put32(app.data, sp);
    struct host whole = {.board = board_copy(h.board)};
    check_dfu(flash_application(&whole, &app), &whole);
    host_sleep(&whole, BOARD_S);
    struct work all_of_it = work_since(whole.board, before);
    board_cut_at(h.board, all_of_it.erases + all_of_it.halfwords, BOARD_TORN_NOT_BEGUN, 1);
    flash_application(&h, &app);
    host_sleep(&h, BOARD_S);
    cr_assert_not(board_powered(h.board));
    board_peek(h.board, app_base, got, sizeof got);
    while (last < sizeof got && memcmp(got + last, app.data + last, 2) == 0)
        last += 2;
    cr_assert(last < sizeof got && got[last] == 0xFF && got[last + 1] == 0xFF);
    unsigned final = app.data[last] | (unsigned)app.data[last + 1] << 8;

    struct board *scratch = board_copy(h.board);
    for (unsigned value = final; value <= 0xFFFF; value = (value + 1) | final) {
        uint8_t half[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
        board_restore(scratch, h.board);
        board_load(scratch, app_base + last, half, sizeof half);
        board_power(scratch, true);
        board_run_until(scratch, scratch->release_at + 100 * BOARD_US);
        bool starts = board_pc(scratch) >= app_base;
        if (starts != (value == final))
            cr_assert(false, "half-word %u is %04x, not %04x: pc %08x", last / 2, value, final,
                board_pc(scratch));
        tried++;
    }
    printf("half-word %u of the application comes last: none of %u values but the last starts it\n",
        last / 2, tried);
    board_free(scratch);
    board_free(h.board);
    board_free(whole.board);
}

Test(head, a_mark_that_is_not_all_written_never_starts_the_application)
{
    design("bluepill");
    half_written_with(RAM + 0x5000);
    half_written_with(RAM + 0x10000);
}

static void failing(const char *flow, const char *part, uint64_t nth)
{
    struct order o = {
        .flow = flow_find(flow), .part = part, .seed = 20271, .sample = 64, .download = 8};
    struct tally t = {0};

    cr_assert(o.flow, "%s", flow);
    for (unsigned i = 0; i < FAULTS; i++)
        o.every_fault[i] = nth + i;
    trial_faults(&o, &t);
    printf("%s on %s: %llu operations, %llu sessions in which one fails; told OK %llu times, an "
           "error %llu times; then %llu run the old, %llu the new, %llu DFU; %.1f s\n",
        flow, part, U(t.operations), U(t.faults), U(t.told_ok), U(t.told_error), U(t.old_runs),
        U(t.new_runs), U(t.dfu), t.seconds);
    for (unsigned i = 0; i < FAILURE_KINDS; i++)
        cr_expect_eq(t.failures[i].count, 0, "%llu × %s, first %s", U(t.failures[i].count),
            t.failures[i].what, t.failures[i].replay);
    cr_expect_gt(t.told_error, t.told_ok);
}

Test(head, flash_that_fails_is_never_ok_with_wrong_bytes)
{
    failing("head-update", "stm32f103c4", 7);
    failing("head-update", LARGE, 499);
    failing("head-settings", "stm32f103c4", 61);
    failing("head-mass-erase", "stm32f103c4", 1);
}

/* Where flash fails while the application's first page is written again, and the host goes on in the same
 * session with what it told. */
Test(head, a_host_that_goes_on_after_an_error_does_not_make_a_torn_application_valid)
{
    design("bluepill");
    struct app app = app_build(5000, 1, 0), settings = noise(PAGE, 2);
    struct host base = in_dfu("stm32f103c8", &app);
    struct host whole = {.board = board_copy(base.board)};
    uint32_t at = app_base + 30 * PAGE;
    struct work before = work_so_far(base.board);
    check_dfu(dfu_download_like_dfu_util(&whole, at, settings.data, settings.size), &whole);
    host_sleep(&whole, BOARD_S);
    struct work all_of_it = work_since(whole.board, before);
    unsigned runs = 0, stays = 0;

    for (uint64_t nth = 1; nth <= all_of_it.erases + all_of_it.halfwords; nth += 41) {
        struct host h = {.board = board_copy(base.board)};
        board_fail_flash(h.board,
            &(struct board_flash_failure){.fault = BOARD_FLASH_WEAK, .nth = nth, .seed = nth});
        dfu_download_like_dfu_util(&h, at, settings.data, settings.size);
        host_sleep(&h, BOARD_S);
        board_fail_flash(h.board, NULL);
        for (unsigned i = 0; i < 2; i++) {
            dfu_clrstatus(&h);
            dfu_leave(&h, 2);
        }
        host_sleep(&h, BOARD_S);
        power_cycle(h.board);
        if (hears(h.board, app.tag, 20)) {
            runs++;
            cr_expect(
                flash_holds(h.board, &app), "operation %llu: it runs, and is not complete", U(nth));
        } else {
            stays++;
            cr_expect(host_enumerate(&h), "operation %llu: it neither runs nor enumerates", U(nth));
        }
        board_free(h.board);
    }
    printf("%u run the application, %u start into DFU\n", runs, stays);
    cr_expect(runs && stays);
}
