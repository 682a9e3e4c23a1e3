/* SPDX-License-Identifier: MIT */
/* What `caboose flash` costs on a board with our bootloader, beside stock dfu-util, and what it leaves behind
 * when it is killed. */
#include "host/caboose.h"
#include "host/link.h"
#include "image/file.h"
#include "session.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(flash_ours, .fini = session_end_all, .timeout = 120);

/* --- beside dfu-util ----------------------------------------------------------------------------- */

#define FIRST   "build/examples/large.bin"
#define CHANGED "build/examples/large-2.bin" /* one function changed */
#define OTHER   "@/other.bin"

struct cost {
    uint64_t ns, transfers;
};

/* Both stay in the bootloader, and neither is waited for. */
static struct cost flash(struct session *s, bool caboose, const char *file)
{
    struct cost before = {session_count(s, "now_ns"), session_count(s, "usb_transfers")};
    struct outcome o =
        caboose ? on_board(s, "build/bin/caboose flash --no-leave --at 0x08000000 %s", file)
                : on_board(s, "dfu-util -a 0 -s 0x08000000 -D %s", file);
    cr_assert_eq(o.code, 0, "%s%s", o.out, o.err);
    return (struct cost){session_count(s, "now_ns") - before.ns,
        session_count(s, "usb_transfers") - before.transfers};
}

/* A program that has no page in common with the first one. */
static void make_other(const struct session *s)
{
    size_t size;
    char path[64];
    uint8_t *data = file_read(FIRST, &size);
    for (size_t i = 8; i < size; i++)
        data[i] ^= 0x5A;
    snprintf(path, sizeof path, "%s/other.bin", s->dir);
    FILE *file = fopen(path, "wb");
    cr_assert(file && fwrite(data, size, 1, file) == 1 && fclose(file) == 0);
    free(data);
}

Test(flash_ours, caboose_reads_and_verifies_and_is_not_slower_than_dfu_util_that_does_neither)
{
    static const char *const files[] = {FIRST, OTHER, FIRST, CHANGED, CHANGED};
    static const char *const cases[] = {"blank", "different", "", "changed function", "identical"};
    static const double most[] = {1, 1, 2, 0.95, 0.5};
    struct cost costs[2][5];
    for (int caboose = 0; caboose < 2; caboose++) {
        struct session *s = session_new("");
        make_other(s);
        for (int i = 0; i < 5; i++)
            costs[caboose][i] = flash(s, caboose, files[i]);
        session_end(s);
    }
    for (int i = 0; i < 5; i++)
        cr_expect((double)costs[1][i].ns <= most[i] * (double)costs[0][i].ns &&
                      costs[1][i].transfers < costs[0][i].transfers,
            "%s: %.3f s in %llu transfers, dfu-util %.3f s in %llu", cases[i],
            (double)costs[1][i].ns / 1e9, (unsigned long long)costs[1][i].transfers,
            (double)costs[0][i].ns / 1e9, (unsigned long long)costs[0][i].transfers);
}

/* --- when it is killed --------------------------------------------------------------------------- */

/* Killed after so many blocks, and then comes a host that begins with ABORT, as some do. */
Test(flash_ours, a_download_that_was_killed_half_way_is_not_finished_by_the_next_host)
{
    struct session *s = session_new("");
    struct image image;
    struct link_device *devices;
    char why[IMAGE_ERROR_SIZE];
    uint8_t *data, status[6], abort[USB_SETUP_SIZE] = {0x21, 6},
                              getstatus[USB_SETUP_SIZE] = {0xA1, 3, 0, 0, 0, 0, sizeof status};
    size_t size;
    cr_assert(image_load("build/examples/large.bin", &data, &size, why) == 0, "%s", why);
    cr_assert(image_parse(&image, "large.bin", data, size, 0x08000000, why) == 0, "%s", why);
    struct link *link = link_usbip(s->usbip);
    cr_assert(link_list(link, &devices) == 1 && link_open(link, devices) == 0, "%s", link->why);
    struct caboose_order order = {.verb = CABOOSE_FLASH, .image = &image, .alt = PLAN_ANY_ALT};
    struct caboose_job *job = caboose_job_new(&order);
    for (unsigned blocks = 0, size_high = 0; blocks < 20;) {
        const struct caboose_ask *ask = caboose_job_next(job);
        cr_assert(ask->want == CABOOSE_TRANSFER, "%s", caboose_job_report(job)->message);
        blocks += ask->setup[1] == 3 && size_high == 4; /* GETSTATUS after DNLOAD of 1,024 bytes */
        size_high = ask->setup[1] == 1 ? ask->setup[7] : 0;
        caboose_job_answer(job, link_control(link, ask->setup, ask->data, ask->ms));
    }
    caboose_job_free(job);
    cr_expect(link_control(link, abort, NULL, 1000) == 0);
    cr_expect(link_control(link, getstatus, status, 1000) == 6 && status[4] == 2);
    link_free(link);
    session_sleep(s, "1s");
    session_power_cycle(s);
    cr_expect(session_in_dfu(s), "20 pages of 52 were taken for a program");
    image_free(&image);
    free(devices);
    free(data);
}
