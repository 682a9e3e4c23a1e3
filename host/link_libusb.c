/* SPDX-License-Identifier: MIT */
#include "core/dfu.h"
#include "host/link.h"
#include "host/report.h"

#include <libusb-1.0/libusb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct libusb_link {
    struct link link; /* first: a pointer to it is a pointer to this */
    libusb_context *context;
    libusb_device_handle *handle;
    int claimed; /* interface number, or -1 */
    struct libusb_transfer *transfer;
    uint8_t buffer[USB_SETUP_SIZE + TRANSFER_MAX], *data;
    int completed; /* libusb's callback was called */
    bool settled;  /* there is a result without a transfer */
    int result;
};

static struct libusb_link *mine(struct link *link)
{
    return (struct libusb_link *)(void *)link;
}

static int translate(int error)
{
    switch ((enum libusb_error)error) {
    case LIBUSB_ERROR_PIPE:
        return TRANSFER_STALL;
    case LIBUSB_ERROR_TIMEOUT:
        return TRANSFER_TIMEOUT;
    case LIBUSB_ERROR_NO_DEVICE:
    case LIBUSB_ERROR_NOT_FOUND:
        return TRANSFER_GONE;
    case LIBUSB_ERROR_ACCESS:
        return TRANSFER_DENIED;
    case LIBUSB_ERROR_BUSY:
        return TRANSFER_BUSY;
    case LIBUSB_ERROR_NO_MEM:
        report_no_memory();
    case LIBUSB_SUCCESS:
    case LIBUSB_ERROR_IO:
    case LIBUSB_ERROR_INVALID_PARAM:
    case LIBUSB_ERROR_OVERFLOW:
    case LIBUSB_ERROR_INTERRUPTED:
    case LIBUSB_ERROR_NOT_SUPPORTED:
    case LIBUSB_ERROR_OTHER:
        break;
    }
    return TRANSFER_IO;
}

static int complain(struct libusb_link *l, const char *what, int error)
{
    snprintf(l->link.why, sizeof l->link.why, "%s: %s", what, libusb_strerror(error));
    return translate(error);
}

/* Each of these has its own cure. */
static int complain_open(struct libusb_link *l, int error)
{
    const char *what = NULL;
    if (error == LIBUSB_ERROR_ACCESS)
        what = "the operating system does not let you; caboose udev prints the rule that does";
    else if (error == LIBUSB_ERROR_BUSY)
        what = "another program is using it; close that and try again";
    else if (error == LIBUSB_ERROR_NO_DEVICE || error == LIBUSB_ERROR_NOT_FOUND)
        what = "it went away; check the cable";
    else if (error == LIBUSB_ERROR_NOT_SUPPORTED)
        what = "its driver is not WinUSB; give it that one (with Zadig, https://zadig.akeo.ie) and "
               "plug it in again";
    if (what)
        snprintf(l->link.why, sizeof l->link.why, "%s", what);
    else
        snprintf(l->link.why, sizeof l->link.why,
            "it cannot be opened (%s); unplug it and plug it in again", libusb_strerror(error));
    return translate(error);
}

/* The context is made late, so that nothing but a use of USB can fail for lack of USB. */
static int start(struct libusb_link *l)
{
    int error = l->context ? 0 : libusb_init(&l->context);
    return error ? complain(l, "cannot use the computer's USB", error) : 0;
}

static void describe_path(libusb_device *device, char *path, size_t size)
{
    uint8_t ports[8];
    int count = libusb_get_port_numbers(device, ports, sizeof ports);
    int used = snprintf(path, size, "%u", libusb_get_bus_number(device));
    for (int i = 0; i < count && used > 0 && (size_t)used < size; i++)
        used += snprintf(path + used, size - (size_t)used, "%c%u", i ? '.' : '-', ports[i]);
}

static bool has_dfu(libusb_device *device)
{
    struct libusb_config_descriptor *config;
    if (libusb_get_active_config_descriptor(device, &config) &&
        libusb_get_config_descriptor(device, 0, &config))
        return false;
    bool found = false;
    for (int i = 0; i < config->bNumInterfaces; i++)
        for (int a = 0; a < config->interface[i].num_altsetting; a++) {
            const struct libusb_interface_descriptor *d = &config->interface[i].altsetting[a];
            found |= d->bInterfaceClass == DFU_CLASS && d->bInterfaceSubClass == DFU_SUBCLASS;
        }
    libusb_free_config_descriptor(config);
    return found;
}

static void describe(libusb_device *device, struct link_device *info)
{
    struct libusb_device_descriptor descriptor = {0};
    libusb_get_device_descriptor(device, &descriptor); /* cached: cannot fail */
    info->vendor = descriptor.idVendor;
    info->product = descriptor.idProduct;
    info->dfu = has_dfu(device);
    info->number = libusb_get_device_address(device);
    describe_path(device, info->path, sizeof info->path);
}

static int list(struct link *link, struct link_device **devices)
{
    struct libusb_link *l = mine(link);
    *devices = NULL;
    int error = start(l);
    if (error)
        return error;
    libusb_device **all;
    ssize_t count = libusb_get_device_list(l->context, &all);
    if (count < 0)
        return complain(l, "cannot list USB devices", (int)count);
    *devices = calloc((size_t)count + 1, sizeof **devices);
    if (!*devices)
        report_no_memory();
    for (ssize_t i = 0; i < count; i++)
        describe(all[i], &(*devices)[i]);
    libusb_free_device_list(all, 1);
    return (int)count;
}

static void close_device(struct link *link)
{
    struct libusb_link *l = mine(link);
    if (l->handle && l->claimed >= 0)
        libusb_release_interface(l->handle, l->claimed);
    if (l->handle)
        libusb_close(l->handle);
    l->handle = NULL;
    l->claimed = -1;
}

static int open_device(struct link *link, const struct link_device *device)
{
    struct libusb_link *l = mine(link);
    int error = start(l);
    if (error)
        return error;
    close_device(link);
    libusb_device **all;
    ssize_t count = libusb_get_device_list(l->context, &all);
    if (count < 0)
        return complain(l, "cannot list USB devices", (int)count);
    error = LIBUSB_ERROR_NO_DEVICE;
    for (ssize_t i = 0; i < count; i++) {
        struct link_device info;
        describe(all[i], &info);
        if (info.vendor == device->vendor && info.product == device->product &&
            strcmp(info.path, device->path) == 0)
            error = libusb_open(all[i], &l->handle);
    }
    libusb_free_device_list(all, 1);
    return error ? complain_open(l, error) : 0;
}

static int claim(struct libusb_link *l, int interface)
{
    if (l->claimed == interface)
        return 0;
    int error = libusb_claim_interface(l->handle, interface);
    if (error)
        return translate(error);
    l->claimed = interface;
    return 0;
}

/* Answers that need no waiting are kept for over(). */
static int settle(struct libusb_link *l, int result)
{
    l->settled = true;
    l->result = result;
    return 0;
}

static void LIBUSB_CALL finished(struct libusb_transfer *transfer)
{
    *(int *)transfer->user_data = 1;
}

static int submit(
    struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms)
{
    struct libusb_link *l = mine(link);
    uint16_t value = transfer_get16(setup + 2), index = transfer_get16(setup + 4);
    uint16_t size = transfer_get16(setup + 6);
    if (!l->handle)
        return TRANSFER_GONE;
    if ((setup[0] & USB_RECIPIENT) == USB_INTERFACE) {
        int error = claim(l, index & 0xFF);
        if (error)
            return error;
    }
    /* The operating system keeps account of alternate settings, so it must hear of this one. */
    if (setup[0] == USB_INTERFACE && setup[1] == USB_SET_INTERFACE) {
        int error = libusb_set_interface_alt_setting(l->handle, index, value);
        return error ? translate(error) : settle(l, 0);
    }
    memcpy(l->buffer, setup, USB_SETUP_SIZE);
    if (!(setup[0] & USB_IN) && size)
        memcpy(l->buffer + USB_SETUP_SIZE, data, size);
    l->data = data;
    l->completed = 0;
    libusb_fill_control_transfer(
        l->transfer, l->handle, l->buffer, finished, &l->completed, timeout_ms);
    int error = libusb_submit_transfer(l->transfer);
    return error ? translate(error) : 0;
}

static int outcome(const struct libusb_transfer *transfer)
{
    switch (transfer->status) {
    case LIBUSB_TRANSFER_COMPLETED:
        return transfer->actual_length;
    case LIBUSB_TRANSFER_STALL:
        return TRANSFER_STALL;
    case LIBUSB_TRANSFER_TIMED_OUT:
        return TRANSFER_TIMEOUT;
    case LIBUSB_TRANSFER_NO_DEVICE:
        return TRANSFER_GONE;
    case LIBUSB_TRANSFER_ERROR:
    case LIBUSB_TRANSFER_CANCELLED:
    case LIBUSB_TRANSFER_OVERFLOW:
        break;
    }
    return TRANSFER_IO;
}

static bool over(struct link *link, int *result)
{
    struct libusb_link *l = mine(link);
    struct timeval now = {0};
    if (l->settled) {
        l->settled = false;
        *result = l->result;
        return true;
    }
    libusb_handle_events_timeout_completed(l->context, &now, &l->completed);
    if (!l->completed)
        return false;
    *result = outcome(l->transfer);
    if (*result > 0 && l->buffer[0] & USB_IN)
        memcpy(l->data, l->buffer + USB_SETUP_SIZE, (size_t)*result);
    return true;
}

/* libusb tells its time-outs through a descriptor of their own where the system has such a thing. */
static int descriptors(struct link *link, struct pollfd *fds, int room, int *timeout_ms)
{
    struct libusb_link *l = mine(link);
    struct timeval next;
    int count = 0;
    const struct libusb_pollfd **all = l->context ? libusb_get_pollfds(l->context) : NULL;
    for (int i = 0; all && all[i] && count < room; i++)
        fds[count++] = (struct pollfd){.fd = all[i]->fd, .events = all[i]->events};
    libusb_free_pollfds(all);
    if (l->context && libusb_get_next_timeout(l->context, &next) == 1) {
        int ms = (int)(next.tv_sec * 1000 + (next.tv_usec + 999) / 1000);
        if (*timeout_ms < 0 || ms < *timeout_ms)
            *timeout_ms = ms;
    }
    if (l->settled)
        *timeout_ms = 0;
    return count;
}

static int reset(struct link *link)
{
    struct libusb_link *l = mine(link);
    int error = l->handle ? libusb_reset_device(l->handle) : LIBUSB_ERROR_NO_DEVICE;
    return error ? translate(error) : 0;
}

static void free_link(struct link *link)
{
    struct libusb_link *l = mine(link);
    libusb_free_transfer(l->transfer);
    if (l->context)
        libusb_exit(l->context);
    free(l);
}

struct link *link_libusb(void)
{
    static const struct link_table table = {
        list, open_device, submit, over, descriptors, reset, close_device, free_link};
    struct libusb_link *l = calloc(1, sizeof *l);
    if (!l || !(l->transfer = libusb_alloc_transfer(0)))
        report_no_memory();
    l->link.table = &table;
    l->claimed = -1;
    return &l->link;
}
