/* SPDX-License-Identifier: MIT */
#include "host/detach.h"
#include "core/dfu.h"

enum { CONTROL_MS = 5000 }; /* USB 2.0 §9.2.6.1 */

int detach(struct link *link, uint8_t interface, uint8_t attributes)
{
    uint8_t setup[USB_SETUP_SIZE] = {USB_CLASS | USB_INTERFACE, DFU_DETACH};
    transfer_put16(setup + 2, DETACH_MS);
    transfer_put16(setup + 4, interface);
    int error = link_control(link, setup, NULL, CONTROL_MS);
    if (!(attributes & DFU_WILL_DETACH))
        error = link_reset(link);
    return error >= 0 || error == TRANSFER_GONE ? 0 : error;
}
