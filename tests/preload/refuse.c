/* SPDX-License-Identifier: MIT */
/* A library to load in front of the C library: what the operating system refuses a program that wants a USB
 * device. REFUSE says how: permission, gone (at the device's node), claim (somebody else has the interface),
 * driver (as libusb has it on Windows when the driver is not WinUSB). */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libusb-1.0/libusb.h>
#include <linux/usbdevice_fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static int refuses(const char *what)
{
    const char *refuse = getenv("REFUSE");
    return refuse && !strcmp(refuse, what);
}

/* What would be called if this library were not there. */
static void next(const char *name, void *function)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(function, &found, sizeof found);
}

static int refuses_node(const char *path, int flags)
{
    if (strncmp(path, "/dev/bus/usb/", 13) || (flags & O_ACCMODE) != O_RDWR)
        return 0;
    errno = refuses("permission") ? EACCES : refuses("gone") ? ENODEV : 0;
    return errno;
}

#define WRAP_OPEN(name)                                                                            \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        int (*real)(const char *path, int flags, ...);                                             \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;                                  \
        va_end(args);                                                                              \
        next(#name, &real);                                                                        \
        return refuses_node(path, flags) ? -1 : real(path, flags, mode);                           \
    }

#define WRAP_OPEN_2(name)                                                                          \
    int name(const char *path, int flags);                                                         \
    int name(const char *path, int flags)                                                          \
    {                                                                                              \
        int (*real)(const char *path, int flags);                                                  \
        next(#name, &real);                                                                        \
        return refuses_node(path, flags) ? -1 : real(path, flags);                                 \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_OPEN_2(__open_2) /* of programs built with _FORTIFY_SOURCE */
WRAP_OPEN_2(__open64_2)

int ioctl(int fd, unsigned long request, ...)
{
    int (*real)(int fd, unsigned long request, ...);
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    next("ioctl", &real);
    if (request != USBDEVFS_CLAIMINTERFACE || !refuses("claim"))
        return real(fd, request, argument);
    errno = EBUSY;
    return -1;
}

int LIBUSB_CALL libusb_open(libusb_device *device, libusb_device_handle **handle)
{
    int (*real)(libusb_device * device, libusb_device_handle * *handle);
    next("libusb_open", &real);
    return refuses("driver") ? LIBUSB_ERROR_NOT_SUPPORTED : real(device, handle);
}
