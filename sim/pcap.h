/* SPDX-License-Identifier: MIT */
/*
 * A capture of the board's USB cable that Wireshark and tshark read: pcap-ng, each transfer as the
 * two events of Linux's usbmon. Times are virtual: nanoseconds since the board was made; 0 is 1970.
 *
 *     caboose-sim ... --pcap flashing.pcapng      // and, live: --pcap - | wireshark -k -i -
 */
#ifndef SIM_PCAP_H
#define SIM_PCAP_H

#include "sim/usb_host.h"

#include <stdio.h>

/* The head of the file; then each transfer that board_config.usb tells, written at once. What could
 * not be written shows in ferror(). */
void pcap_begin(FILE *f);
void pcap_write(FILE *f, const struct usb_transfer *t);

#endif
