/* SPDX-License-Identifier: MIT */
/* VERSION, a number from the command line, as the text of a banner: "blinky " VERSION_TEXT. */
#ifndef VERSION_H
#define VERSION_H

#define VERSION_QUOTE(number)  #number
#define VERSION_EXPAND(number) VERSION_QUOTE(number)
#define VERSION_TEXT           VERSION_EXPAND(VERSION)

#endif
