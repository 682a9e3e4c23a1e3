#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Flashes as MicroPython's pydfu.py does, request by request; written anew from what it sends.

    pydfu.py list | flash FILE | erase-and-flash FILE | flash-only FILE | leave

flash leaves at its end; flash-only does not, as if it had been killed then.

What is particular about it, and what a device must put up with:
- SET_CONFIGURATION each time, never SET_INTERFACE;
- every command is DNLOAD, GETSTATUS, GETSTATUS without any sleep: dfuDNBUSY, then dfuDNLOAD-IDLE,
  exactly; the second may be kept waiting;
- block 2 behind a Set Address for each piece;
- after a mass erase it erases no page;
- it leaves by Set Address 0x08000000, a DNLOAD of no length with wValue 0, and one GETSTATUS: to
  anything but dfuMANIFEST it says "Failed to reset device", and ends well all the same.
"""
import re
import struct
import sys

import usb.core
import usb.util

DETACH, DNLOAD, UPLOAD, GETSTATUS, CLRSTATUS, GETSTATE, ABORT = range(7)
IDLE, DNBUSY, DNLOAD_IDLE, MANIFEST, UPLOAD_IDLE, ERROR = 2, 4, 5, 7, 9, 10
BASE = 0x08000000
TO_DEVICE, FROM_DEVICE = 0x21, 0xA1  # class request to the interface
TIMEOUT, STATUS_TIMEOUT = 4000, 20000  # ms


class Board:
    def __init__(self):
        self.usb = usb.core.find(idVendor=0x0483, idProduct=0xDF11)
        if self.usb is None:
            raise SystemExit("no board in DFU mode")
        self.usb.set_configuration()
        self.interface = self.usb.get_active_configuration()[(0, 0)]
        usb.util.claim_interface(self.usb, 0)
        for _ in range(4):
            state = self.state()
            if state == IDLE:
                return
            self.send(ABORT if state in (DNLOAD_IDLE, UPLOAD_IDLE) else CLRSTATUS)
        raise SystemExit("the board does not become idle")

    def send(self, request, value=0, data=None):
        self.usb.ctrl_transfer(TO_DEVICE, request, value, 0, data, TIMEOUT)

    def state(self):
        return self.usb.ctrl_transfer(FROM_DEVICE, GETSTATUS, 0, 0, 6, STATUS_TIMEOUT)[4]

    def expect(self, state, after):
        found = self.state()
        if found != state:
            raise SystemExit("%s: state %d instead of %d" % (after, found, state))

    def download(self, block, data, what):
        self.send(DNLOAD, block, data)
        self.expect(DNBUSY, what)
        self.expect(DNLOAD_IDLE, what)

    def set_address(self, address):
        self.download(0, struct.pack("<BI", 0x21, address), "set address")

    def erase_page(self, address):
        self.download(0, struct.pack("<BI", 0x41, address), "page erase")

    def erase_all(self):
        self.download(0, b"\x41", "mass erase")

    def leave(self):
        self.set_address(BASE)
        self.send(DNLOAD, 0, None)
        state = self.state()
        print("leave: state %d" % state)
        if state != MANIFEST:
            print("Failed to reset device")

    def memory(self):
        """The name of the memory, and (address, size, kind) of each page: UM0424 §4.3.2."""
        text = usb.util.get_string(self.usb, self.interface.iInterface)
        name, address, groups = re.match(r"@(.*?) *\/0x([0-9A-Fa-f]{8})\/(.*)", text).groups()
        at, pages = int(address, 16), []
        for group in groups.split(","):
            count, size, unit, kind = re.match(r"(\d+)\*(\d+)([ KM])([a-g])", group).groups()
            size = int(size) << {" ": 0, "K": 10, "M": 20}[unit]
            for _ in range(int(count)):
                pages.append((at, size, kind))
                at += size
        return name, pages

    def transfer_size(self):
        functional = bytes(self.interface.extra_descriptors)
        assert functional[1] == 0x21, "no DFU functional descriptor"
        return struct.unpack_from("<H", functional, 5)[0]

    def flash(self, data, address=BASE, erased=False):
        most = self.transfer_size()
        for at, size, kind in self.memory()[1]:
            begin, end = max(at, address), min(at + size, address + len(data))
            if begin >= end:
                continue
            if kind not in "efg":
                raise SystemExit("0x%08x is read-only" % at)
            if not erased:
                self.erase_page(at)
            for piece in range(begin, end, most):
                self.set_address(piece)
                self.download(2, data[piece - address:min(piece + most, end) - address], "write")


def main(what, *words):
    board = Board()
    if what == "list":
        name, pages = board.memory()
        print(name, "%d pages from 0x%08x" % (len(pages), pages[0][0]))
    elif what in ("flash", "erase-and-flash", "flash-only"):
        if what == "erase-and-flash":
            board.erase_all()
        with open(words[0], "rb") as file:
            board.flash(file.read(), erased=what == "erase-and-flash")
        if what != "flash-only":
            board.leave()
    elif what == "leave":
        board.leave()
    else:
        raise SystemExit(__doc__)


main(*sys.argv[1:])
