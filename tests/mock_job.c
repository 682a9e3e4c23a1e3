/* SPDX-License-Identifier: MIT */
#include "mock_job.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct mock mock;
struct image image;
struct caboose_job *job;
const struct caboose_report *report;
uint64_t deadline_ms = 900000;

const struct caboose_order flash_it = {.verb = CABOOSE_FLASH, .image = &image, .alt = PLAN_ANY_ALT};

void make_program(uint32_t addr, uint32_t size, uint8_t seed)
{
    uint8_t *data = malloc(size);
    for (uint32_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 7 + i / 256 + seed);
    transfer_put32(data, 0x20005000);
    transfer_put32(data + 4, addr + 0x145);
    image_free(&image);
    image_init(&image, IMAGE_HEX);
    image.vendor = image.product = IMAGE_ANY_ID;
    cr_assert(image_add(&image, IMAGE_ANY_ALT, addr, data, size) == 0);
    free(data);
}

void mock_job_set_up(void)
{
    mock_init(&mock);
    make_program(MOCK_BASE, PROGRAM, 0);
}

void mock_job_tear_down(void)
{
    caboose_job_free(job);
    job = NULL;
    image_free(&image);
}

enum caboose_error order(struct caboose_order o)
{
    caboose_job_free(job);
    job = caboose_job_new(&o);
    report = caboose_job_report(job);
    return mock_run_job(&mock, job, deadline_ms);
}

bool holds_image(void)
{
    return memcmp(mock.flash + (image.segments[0].addr - MOCK_BASE), image.segments[0].data,
               image.segments[0].size) == 0;
}

unsigned all_erases(void)
{
    unsigned all = 0;
    for (unsigned i = 0; i < MOCK_PAGES; i++)
        all += mock.erases[i];
    return all;
}

void expect_rest_kept(void)
{
    for (unsigned i = PROGRAM; i < MOCK_SIZE; i++)
        cr_assert(mock.flash[i] == 0xA5, "the rest of a page was lost at %u", i);
}

void expect_in(const char *text, const char *part)
{
    cr_expect(strstr(text, part), "\"%s\" does not say \"%s\"", text, part);
}
