/* SPDX-License-Identifier: MIT */
#include "host/cmd.h"
#include "host/udev.h"

int cmd_udev(const struct options *options)
{
    (void)options;
    puts("# " UDEV_FILE "\n"
         "# Lets whoever sits at this computer flash every device with a DFU interface:\n"
         "#     caboose udev | sudo tee " UDEV_FILE "\n"
         "#     sudo udevadm control --reload       and plug the board in again\n" UDEV_RULE);
    return 0;
}
