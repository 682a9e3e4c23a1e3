/* SPDX-License-Identifier: MIT */
#include "core/dfu.h"
#include "host/link.h"

#include <libusb-1.0/libusb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct libusb_link {
    struct link link; /* first: a pointer to it is a pointer to this */
    libusb_context *context;
    libusb_device_handle *handle;
    int claimed; /* interface number, or -1 */
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
    case LIBUSB_SUCCESS:
    case LIBUSB_ERROR_IO:
    case LIBUSB_ERROR_INVALID_PARAM:
    case LIBUSB_ERROR_OVERFLOW:
    case LIBUSB_ERROR_INTERRUPTED:
    case LIBUSB_ERROR_NO_MEM:
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
    for (ssize_t i = 0; *devices && i < count; i++)
        describe(all[i], &(*devices)[i]);
    libusb_free_device_list(all, 1);
    return *devices ? (int)count : TRANSFER_IO;
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
    return error ? complain(l, "cannot open the board", error) : 0;
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

static int control(
    struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms)
{
    struct libusb_link *l = mine(link);
    uint16_t value = transfer_get16(setup + 2), index = transfer_get16(setup + 4);
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
        return error ? translate(error) : 0;
    }
    int result = libusb_control_transfer(
        l->handle, setup[0], setup[1], value, index, data, transfer_get16(setup + 6), timeout_ms);
    return result < 0 ? translate(result) : result;
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
    if (l->context)
        libusb_exit(l->context);
    free(l);
}

struct link *link_libusb(void)
{
    static const struct link_table table = {
        list, open_device, control, reset, close_device, free_link};
    struct libusb_link *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    l->link.table = &table;
    l->claimed = -1;
    return &l->link;
}
