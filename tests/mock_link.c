/* SPDX-License-Identifier: MIT */
#include "tests/mock_link.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct mock_link {
    struct link link; /* first: a pointer to it is a pointer to this */
    struct mock *mock;
    int result;
    bool busy;
};

static struct mock_link *mine(struct link *link)
{
    return (struct mock_link *)(void *)link;
}

static int list(struct link *link, struct link_device **devices)
{
    struct mock *m = mine(link)->mock;
    *devices = calloc(1, sizeof **devices);
    if (m->gone && !m->comes_back)
        return 0;
    strcpy((*devices)->path, "mock");
    (*devices)->dfu = true;
    return 1;
}

static int open_device(struct link *link, const struct link_device *device)
{
    struct mock *m = mine(link)->mock;
    (void)device;
    if (m->gone)
        mock_replug(m);
    return 0;
}

static int submit(
    struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms)
{
    struct mock_link *l = mine(link);
    cr_assert(!l->busy, "two transfers at once on one link");
    l->mock->patience_ms = timeout_ms;
    l->result = mock_transfer(l->mock, setup, data);
    l->busy = true;
    return 0;
}

static bool over(struct link *link, int *result)
{
    *result = mine(link)->result;
    mine(link)->busy = false;
    return true;
}

static int descriptors(struct link *link, struct pollfd *fds, int room, int *timeout_ms)
{
    (void)link, (void)fds, (void)room;
    *timeout_ms = 0;
    return 0;
}

static int reset(struct link *link)
{
    mine(link)->mock->resets++;
    mine(link)->mock->gone = true;
    return TRANSFER_GONE;
}

static void close_device(struct link *link)
{
    (void)link;
}

static void free_link(struct link *link)
{
    free(mine(link));
}

struct link *mock_link(struct mock *mock)
{
    static const struct link_table table = {
        list, open_device, submit, over, descriptors, reset, close_device, free_link};
    struct mock_link *l = calloc(1, sizeof *l);
    cr_assert(l);
    l->link.table = &table;
    l->mock = mock;
    return &l->link;
}
