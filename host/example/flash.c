/* SPDX-License-Identifier: MIT */
/* Flashes the first board in DFU mode: flash FILE. All of it is libcaboose but the USB, which is libusb's:
 * cc flash.c -lcaboose -lusb-1.0 */
#include <caboose.h>
#include <libusb-1.0/libusb.h>
#include <stdio.h>
#include <unistd.h>

static int control(libusb_device_handle *usb, const struct caboose_ask *ask)
{
    const uint8_t *s = ask->setup;
    int n = libusb_control_transfer(usb, s[0], s[1], caboose_transfer_get16(s + 2),
        caboose_transfer_get16(s + 4), ask->data, caboose_transfer_get16(s + 6), ask->ms);
    return n >= 0                        ? n
           : n == LIBUSB_ERROR_PIPE      ? CABOOSE_TRANSFER_STALL
           : n == LIBUSB_ERROR_TIMEOUT   ? CABOOSE_TRANSFER_TIMEOUT
           : n == LIBUSB_ERROR_NO_DEVICE ? CABOOSE_TRANSFER_GONE
                                         : CABOOSE_TRANSFER_IO;
}

int main(int argc, char **argv)
{
    static uint8_t file[1 << 22];
    char why[CABOOSE_IMAGE_ERROR_SIZE];
    struct caboose_image image;
    FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
    size_t size = f ? fread(file, 1, sizeof file, f) : 0;
    if (!f || caboose_image_parse_plain(&image, argv[1], file, size, 0x08000000, why))
        return fprintf(stderr, "flash: %s\n", f ? why : "give a file"), 1;
    libusb_init(NULL);
    libusb_device_handle *usb = libusb_open_device_with_vid_pid(NULL, 0x0483, 0xDF11);
    if (!usb || libusb_claim_interface(usb, 0))
        return fprintf(stderr, "flash: no board in DFU mode that may be used\n"), 1;
    const struct caboose_order order = {
        .verb = CABOOSE_FLASH, .image = &image, .alt = CABOOSE_PLAN_ANY_ALT};
    struct caboose_job *job = caboose_job_new(&order);
    const struct caboose_ask *ask;
    while ((ask = caboose_job_next(job))->want < CABOOSE_DONE)
        if (ask->want == CABOOSE_TRANSFER)
            caboose_job_answer(job, control(usb, ask));
        else if (ask->want == CABOOSE_WAIT)
            caboose_job_answer(job, usleep(ask->ms * 1000));
        else
            caboose_job_answer(job, CABOOSE_TRANSFER_GONE);
    const struct caboose_report *report = caboose_job_report(job);
    puts(report->error ? report->message : "flashed, verified and started");
    return report->error != CABOOSE_OK;
}
