/* SPDX-License-Identifier: MIT */
/* The udev rule without which Linux keeps users from DFU devices. */
#ifndef HOST_UDEV_H
#define HOST_UDEV_H

#include <stdio.h>

/* The rule for every device that has a DFU interface (udev's usb_id lists a device's interfaces as
 * ":fe0102:"), so that it serves every bootloader; before 73-seat-late.rules, which acts on uaccess. */
#define UDEV_FILE "/etc/udev/rules.d/70-caboose.rules"
#define UDEV_RULE                                                                                  \
    "SUBSYSTEM==\"usb\", ENV{DEVTYPE}==\"usb_device\", ENV{ID_USB_INTERFACES}==\"*:fe01??:*\", "   \
    "MODE=\"0660\", TAG+=\"uaccess\""

/* How to let users at the device of these ids: two lines of shell. */
static inline void udev_advise(FILE *file, unsigned vendor, unsigned product)
{
    fprintf(file,
        "    echo 'SUBSYSTEM==\"usb\", ATTRS{idVendor}==\"%04x\", ATTRS{idProduct}==\"%04x\", "
        "MODE=\"0660\", TAG+=\"uaccess\"' | sudo tee " UDEV_FILE "\n"
        "    sudo udevadm control --reload\n",
        vendor, product);
}

#endif
