/* SPDX-License-Identifier: MIT */
/*
 * Loaded in front of fwupdtool: when the address that a netlink socket wants is taken, the kernel
 * chooses another.
 *
 * fwupd 2.0.20 binds its uevent socket to the process's number, which libusb 1.0.26 in the same
 * process has bound before it; then `fwupdtool install-blob` sees no USB device at all
 * (https://github.com/fwupd/fwupd/issues/8083).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

typedef int (*bind_fn)(int, const struct sockaddr *, socklen_t);

int bind(int fd, const struct sockaddr *address, socklen_t size)
{
    bind_fn next = (bind_fn)dlsym(RTLD_NEXT, "bind");
    int rc = next(fd, address, size);
    if (!rc || errno != EADDRINUSE || address->sa_family != AF_NETLINK ||
        size < sizeof(struct sockaddr_nl))
        return rc;
    struct sockaddr_nl any;
    memcpy(&any, address, sizeof any);
    any.nl_pid = 0;
    return next(fd, (const struct sockaddr *)&any, sizeof any);
}
