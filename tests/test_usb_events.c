/* SPDX-License-Identifier: MIT */
/* A slice of the campaign of events on the cable (usb_events.h; P6): a share of the transactions
 * for each event, and the session after each. */
#include "usb_events.h"

#include <criterion/criterion.h>
#include <string.h>

enum { PART_OF_ALL = 24 };

static struct cable_tally slice(uint64_t silence, unsigned silence_ms)
{
    struct cable_order o = {.part = "stm32f103c8",
        .seed = 20265,
        .every = silence ? 0 : PART_OF_ALL,
        .every_silence = silence,
        .first = 1,
        .silence_ms = silence_ms};
    struct cable_tally t = {0};

    cable_events(&o, &t);
    for (unsigned i = 0; i < SESSIONS; i++)
        printf("%s: %llu transactions; ", cable_session_names[i],
            (unsigned long long)t.transactions[i]);
    for (unsigned i = 0; i < EVENT_KINDS; i++)
        printf("%s%llu × %s", i ? ", " : "", (unsigned long long)t.trials[i], cable_event_names[i]);
    printf("; %llu of %llu SETUPs without ACK did no harm, %llu SETUPs unheard, %llu of the early "
           "ends STALLed, slowest answer %llu µs, seed %llu\n",
        (unsigned long long)t.setup_acks_survived, (unsigned long long)t.setup_acks_lost,
        (unsigned long long)t.setups_unheard, (unsigned long long)t.stalled_early_ends,
        (unsigned long long)t.worst_answer_us, (unsigned long long)o.seed);
    for (unsigned i = 0; i < t.failures && i < CABLE_FAILURES; i++)
        cr_expect(false, "%s: %s", t.failure[i].replay, t.failure[i].what);
    cr_expect_eq(t.failures, 0);
    return t;
}

Test(usb_events, after_any_event_on_the_cable_the_next_session_succeeds, .timeout = 200)
{
    struct cable_tally t = slice(0, 0);

    for (unsigned i = 0; i < EVENT_KINDS; i++)
        cr_expect(t.trials[i] >= 3 || i == EVENT_SILENCE, "%s", cable_event_names[i]);
    cr_expect_eq(t.survived[EVENT_LOST_PACKET], t.trials[EVENT_LOST_PACKET]);
    cr_expect_eq(t.survived[EVENT_SUSPEND], t.trials[EVENT_SUSPEND]);
    cr_expect_leq(t.worst_answer_us, 500000, "USB 2.0 §9.2.6.4");
    cr_expect_geq(t.ran_old, 10);
    cr_expect_geq(t.ran_new, 1);
}

/* The host is silent in one place of the download and comes back as if nothing had been; a minute
 * of it: make torture. */
Test(usb_events, a_host_that_was_silent_for_ten_seconds_finds_the_device_as_it_was, .timeout = 200)
{
    struct cable_tally t = slice(120, 10000);

    cr_expect_geq(t.trials[EVENT_SILENCE], 1);
}

/* However soon after a transfer the next one comes, whatever the firmware does just then. */
Test(usb_events, a_setup_at_any_moment_after_a_transfer_is_answered)
{
    struct host h = host_on_new_board("stm32f103c8");

    for (uint64_t ns = 0; ns < 60 * BOARD_US; ns += 50) {
        uint8_t data[18];
        usb_set_turnaround(h.board, ns);
        cr_assert_eq(dfu_getstate(&h), DFU_IDLE, "after %llu ns", (unsigned long long)ns);
        cr_assert_eq(host_control(&h, 0x80, 6, 0x0100, 0, data, sizeof data), sizeof data);
        cr_assert_eq(host_control(&h, 0x00, 9, 1, 0, NULL, 0), 0);
    }
}

/* The host does not hear that its SETUP was taken, and sends it again at once (USB 2.0 §8.6.4). */
static int with_setup_twice(
    struct host *h, uint8_t type, uint8_t request, uint16_t wValue, uint8_t *data, uint16_t wLength)
{
    usb_fault_at(h->board, 1, USB_FAULT_LOST_ACK);
    return host_control(h, type, request, wValue, 0, data, wLength);
}

/* With CTR_RX set a SETUP gets no handshake, and the third is an error (RM0008 §23.4.2): so its eight bytes are taken
 * and CTR_RX cleared before what they ask for is done. And GETSTATUS must say dfuDNBUSY to both, after a block,
 * which is long in the making, and after a command, which is done when the second one comes. */
Test(usb_events, a_setup_whose_ack_was_lost_is_answered_as_if_it_had_come_once)
{
    struct app app = app_build(2 * PAGE, 1, 0);
    struct host h = host_in_dfu("stm32f103c8", &app, BOARD_TYPICAL);
    uint8_t data[XFER], status[DFU_STATUS_SIZE];

    cr_expect_eq(with_setup_twice(&h, 0x80, 6, 0x0100, data, 18), 18);
    cr_expect_eq(with_setup_twice(&h, 0x01, 11, 0, NULL, 0), 0);
    cr_expect_eq(with_setup_twice(&h, 0xA1, DFU_UPLOAD, 2, data, XFER), XFER);
    cr_expect_arr_eq(data, app.data, XFER);
    cr_expect_eq(with_setup_twice(&h, 0xA1, DFU_UPLOAD, 3, data, XFER), XFER);
    cr_expect_arr_eq(data, app.data + XFER, XFER);
    cr_expect_eq(with_setup_twice(&h, 0x21, DFU_ABORT, 0, NULL, 0), 0);
    memset(data, 0x5A, sizeof data);
    cr_expect_eq(with_setup_twice(&h, 0x21, DFU_DNLOAD, 2, data, XFER), XFER);
    cr_expect_eq(with_setup_twice(&h, 0xA1, DFU_GETSTATUS, 0, status, sizeof status), 6);
    cr_expect_eq(status[4], DFU_DNBUSY);
    host_sleep(&h, (status[1] | (uint64_t)status[2] << 8) * BOARD_MS);
    cr_expect_eq(with_setup_twice(&h, 0xA1, DFU_GETSTATUS, 0, status, sizeof status), 6);
    cr_expect_eq(status[0], DFU_OK);
    cr_expect_eq(status[4], DFU_DNLOAD_IDLE);
    cr_expect(dfu_dnload(&h, 0, (uint8_t[]){DFUSE_SET_ADDRESS, 0, 0, 0, 8}, 5) == 5);
    cr_expect_eq(with_setup_twice(&h, 0xA1, DFU_GETSTATUS, 0, status, sizeof status), 6);
    cr_expect_eq(status[4], DFU_DNBUSY);
    cr_expect_eq(with_setup_twice(&h, 0xA1, DFU_GETSTATUS, 0, status, sizeof status), 6);
    cr_expect_eq(status[4], DFU_DNLOAD_IDLE);
    app_free(&app);
}
