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
    return link->table->control(link, setup, data, timeout_ms);
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
