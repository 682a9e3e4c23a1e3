/* SPDX-License-Identifier: MIT */
/*
 * A stage on which a scripted USB device plays before real programs: they see it through
 * caboose-with-board as they see the simulated board. It is a control channel that knows "usbip", "sysfs"
 * and "sleep", and a USB/IP server, both in a thread of the test's; time is virtual.
 *
 *     struct stage *stage = stage_open(&player);
 *     struct outcome o = on_board(&stage->session, "dfu-util -l");
 *     stage_close(stage);
 */
#ifndef TESTS_USB_STAGE_H
#define TESTS_USB_STAGE_H

#include "tests/session.h"

#include <pthread.h>

enum { STAGE_CONFIG = 256, STAGE_FACES = 2, STAGE_FIRST_NUMBER = 5, STAGE_CONNECTIONS = 16 };

/* What the computer knows of a device that is plugged in. One that changes its descriptors is seen as
 * another one at another port: face 0 is number 5 at 1-1, face 1 is number 6 at 1-2. */
struct stage_face {
    uint8_t device[18];
    uint8_t config[STAGE_CONFIG];
    unsigned config_size;
};

struct stage_player {
    struct stage_face faces[STAGE_FACES];
    unsigned face_count;
    /* The face that can be opened now, or -1. */
    int (*face)(void *self);
    /* One control transfer: the count of bytes or enum transfer_error. */
    int (*transfer)(void *self, const uint8_t setup[8], uint8_t *data);
    void (*sleep)(void *self, uint64_t ns);
    void *self;
};

struct stage {
    struct session session; /* for run() and on_board() only */
    struct stage_player player;
    pthread_t thread;
    int control, usbip, quit[2]; /* listening sockets; a pipe that ends the thread */
    unsigned port;
    struct stage_connection {
        int fd;   /* -1: free */
        int kind; /* 0: control channel, 1: USB/IP before, 2: after the import */
        int face; /* kind 2 */
        char line[128];
        unsigned used;
    } connections[STAGE_CONNECTIONS];
};

struct stage *stage_open(const struct stage_player *player);
void stage_close(struct stage *stage);

#endif
