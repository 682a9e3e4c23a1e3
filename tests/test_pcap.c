/* SPDX-License-Identifier: MIT */
/*
 * caboose-sim --pcap: what stock dfu-util and the board say to each other, as a capture. Its blocks are
 * walked here; what they mean, tshark must find by itself (skipped where it is not installed).
 */
#include "session.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char capture[] = "/tmp/caboose-pcap.XXXXXX";

static void end(void)
{
    session_end_all();
    unlink(capture);
}
TestSuite(pcap, .fini = end, .timeout = 120);

/* Enumerates, downloads and leaves; returns what was captured. */
static uint8_t *capture_download(size_t *size)
{
    char options[64];
    int file = mkstemp(capture);

    cr_assert(file >= 0);
    close(file);
    snprintf(options, sizeof options, "--pcap %s", capture);
    struct session *s = session_new(options);
    struct outcome o =
        on_board(s, "dfu-util -a 0 -s 0x08000000:leave -D build/examples/blinky.bin");
    cr_assert_eq(o.code, 0, "%s", o.err);
    session_end(s);
    return file_read(capture, size);
}

static uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- the file itself --------------------------------------------------------------------------*/

enum { BLOCK_PACKET = 6, MAX_TRANSFERS = 4096 };

struct seen {
    size_t submitted, completed, answered, stalled, downloaded; /* downloaded: bytes of DNLOAD */
    uint64_t begun[MAX_TRANSFERS];                              /* ns, by id */
};

static void see_packet(struct seen *seen, const uint8_t *block, size_t length)
{
    const uint8_t *event = block + 28;
    uint64_t when = (uint64_t)word(block + 12) << 32 | word(block + 16);
    uint32_t id = word(event), captured = word(event + 36);
    int32_t status = (int32_t)word(event + 28);

    cr_assert_eq(word(block + 20), 64 + captured);
    cr_assert(28 + 64 + captured + 4 <= length);
    cr_assert(id > 0 && id < MAX_TRANSFERS);
    cr_assert_eq((uint64_t)word(event + 16) * 1000000 + word(event + 24), when / 1000,
        "usbmon's time and the block's are one");
    if (event[8] == 'S') {
        cr_assert_eq(status, -115, "EINPROGRESS");
        seen->submitted++;
        seen->begun[id] = when + 1;
        if (event[14] == 0 && event[40] == 0x21 && event[41] == 1)
            seen->downloaded += captured;
    } else {
        cr_assert_eq(event[8], 'C');
        cr_assert(seen->begun[id] && when >= seen->begun[id] - 1, "transfer %u ends first", id);
        seen->begun[id] = 0;
        /* EPIPE: a STALL. EPROTO: nobody there yet, the installer is at work. */
        cr_assert(status == 0 || status == -32 || (status == -71 && !seen->answered), "%d", status);
        seen->stalled += status == -32;
        seen->answered += status == 0;
        seen->completed++;
    }
}

Test(pcap, every_transfer_is_captured_at_its_begin_and_its_end)
{
    static struct seen seen;
    size_t size, blinky;
    uint8_t *file = capture_download(&size);

    cr_assert(size > 28 && word(file) == 0x0A0D0D0A && word(file + 8) == 0x1A2B3C4D);
    cr_assert_eq(word(file + 28 + 8), 220, "LINKTYPE_USB_LINUX_MMAPPED");
    for (size_t at = 0; at < size;) {
        uint32_t length = word(file + at + 4);
        cr_assert(length >= 12 && length % 4 == 0 && at + length <= size);
        cr_assert_eq(word(file + at + length - 4), length);
        if (word(file + at) == BLOCK_PACKET)
            see_packet(&seen, file + at, length);
        at += length;
    }
    cr_expect(seen.submitted > 40);
    cr_expect_eq(seen.submitted, seen.completed);
    cr_expect(seen.stalled > 0, "a full-speed device refuses DEVICE_QUALIFIER");
    free(file_read("build/examples/blinky.bin", &blinky));
    /* and 5 bytes for each address or erase command, of which there are as many as it takes */
    cr_expect(seen.downloaded > blinky && seen.downloaded < blinky + 200);
    free(file);
}

/* ---- what tshark makes of it ------------------------------------------------------------------ */

/* Its output for the capture, as it would be shown for a DFU device. */
static char *tshark(const char *options)
{
    static char text[1 << 16];
    char command[512];

    if (system("command -v tshark >/dev/null 2>&1") != 0)
        cr_skip_test("tshark is not installed");
    snprintf(command, sizeof command,
        "tshark -r %s -d usb.product==0x0483df11,usbdfu %s 2>/dev/null", capture, options);
    FILE *f = popen(command, "r");
    cr_assert_not_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    cr_assert_eq(pclose(f), 0, "%s", command);
    return text;
}

static size_t lines(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

Test(pcap, tshark_finds_nothing_malformed)
{
    size_t size;
    free(capture_download(&size));
    cr_expect_str_empty(tshark("--disable-protocol usbdfu -Y _ws.malformed"));
    /* Wireshark 4.0 takes a download without data, with which DFU 1.1 §6.1.1.1 ends one, for a broken
     * one: request and answer of the single one here. */
    cr_expect(lines(tshark("-Y _ws.malformed")) <= 2);
    cr_expect_str_empty(tshark("-Y '_ws.malformed && usb.urb_type == 83 && usbdfu.length > 0'"));
}

Test(pcap, tshark_names_the_states_that_the_board_goes_through)
{
    static const char *const states[] = {
        "dfuIdle", "dfuDownloadBusy", "dfuDownloadIdle", "dfuManifest"};
    size_t size;
    free(capture_download(&size));
    const char *text = tshark("-Y usbdfu");
    for (size_t n = 0; n < sizeof states / sizeof *states; n++)
        cr_expect(strstr(text, states[n]), "no %s in:\n%s", states[n], text);
    cr_expect(strstr(text, "Download Block Number=2"), "%s", text);
    cr_expect_not(strstr(text, "dfuError"), "%s", text);
}

Test(pcap, tshark_reads_the_descriptors)
{
    size_t size;
    free(capture_download(&size));
    const char *text = tshark("-Y usb.idProduct -T fields -e usb.idVendor -e usb.idProduct");
    cr_expect(strstr(text, "0x0483\t0xdf11"), "%s", text);
    text = tshark("-Y usb.bString -T fields -e usb.bString");
    cr_expect(strstr(text, "@Internal Flash"), "%s", text);
}
