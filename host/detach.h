/* SPDX-License-Identifier: MIT */
/*
 * From an application that offers a DFU interface to its bootloader: DFU 1.1 §5.1. The device leaves the bus
 * and comes back as another one; who wants that one looks for it.
 */
#ifndef HOST_DETACH_H
#define HOST_DETACH_H

#include "host/link.h"

enum {
    DETACH_MS = 1000, /* for how long the device is to remember the request, if it needs a reset */
    DETACH_S = 5,     /* how long it may take to come back */
    DETACH_STEP_MS = 100,
};

/* Sends DETACH to the run-time interface of the device that link has open, and resets the bus where the
 * device waits for that (attributes: bmAttributes without bitWillDetach). 0 or enum transfer_error: of the
 * reset, where there is one, as that alone may do it; else of DETACH, where a device that went away before it
 * acknowledged has obeyed. */
int detach(struct link *link, uint8_t interface, uint8_t attributes);

#endif
