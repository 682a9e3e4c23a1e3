/* SPDX-License-Identifier: MIT */
/*
 * usbtest NODE TEST ITERATIONS [QUEUE]: has the kernel's usbtest driver, bound to interface 0 of the
 * device at NODE (/dev/bus/usb/001/002), run one of its tests.
 *
 * Test 9 asks what USB 2.0 chapter 9 wants of every device, so often; test 10 keeps QUEUE control
 * requests under way at once, some of which a device must stall.
 *
 * The request is the driver's, drivers/usb/misc/usbtest.c: struct usbtest_param_32 and
 * USBTEST_REQUEST_32; it has no header for programs. usbfs hands it through (USBDEVFS_IOCTL,
 * linux/usbdevice_fs.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

struct test {
    uint32_t number, iterations, length, vary, queue; /* in */
    int32_t seconds, microseconds;                    /* out: it took so long */
};
#define RUN_TEST _IOWR('U', 100, struct test)

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: usbtest NODE TEST ITERATIONS [QUEUE]\n");
        return 64;
    }
    struct test test = {
        .number = (uint32_t)strtoul(argv[2], NULL, 0),
        .iterations = (uint32_t)strtoul(argv[3], NULL, 0),
        .length = 64,
        .queue = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 0) : 1,
    };
    struct usbdevfs_ioctl call = {.ifno = 0, .ioctl_code = (int)RUN_TEST, .data = &test};
    int node = open(argv[1], O_RDWR);
    if (node < 0 || ioctl(node, USBDEVFS_IOCTL, &call) < 0) {
        fprintf(stderr, "usbtest %s: %s\n", argv[2], strerror(errno));
        return 1;
    }
    printf("usbtest %s: %d.%06d s\n", argv[2], test.seconds, test.microseconds);
    return 0;
}
