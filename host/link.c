/* SPDX-License-Identifier: MIT */
#include "host/link.h"

int link_list(struct link *link, struct link_device **devices)
{
    link->why[0] = '\0';
    return link->table->list(link, devices);
}

int link_open(struct link *link, const struct link_device *device)
{
    link->why[0] = '\0';
    return link->table->open(link, device);
}

int link_control(
    struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms)
{
    int result = link_submit(link, setup, data, timeout_ms);
    while (!result && !link_over(link, &result)) {
        struct pollfd fds[LINK_DESCRIPTORS];
        int wait_ms = -1, count = link_descriptors(link, fds, LINK_DESCRIPTORS, &wait_ms);
        poll(fds, (nfds_t)count, wait_ms);
    }
    return result;
}

int link_submit(
    struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms)
{
    return link->table->submit(link, setup, data, timeout_ms);
}

bool link_over(struct link *link, int *result)
{
    return link->table->over(link, result);
}

int link_descriptors(struct link *link, struct pollfd *fds, int room, int *timeout_ms)
{
    return link->table->descriptors(link, fds, room, timeout_ms);
}

int link_reset(struct link *link)
{
    return link->table->reset(link);
}

void link_close(struct link *link)
{
    link->table->close(link);
}

void link_free(struct link *link)
{
    if (link) {
        link->table->close(link);
        link->table->free(link);
    }
}

const char *link_why(const struct link *link)
{
    return link->why;
}
