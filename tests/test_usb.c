/* SPDX-License-Identifier: MIT */
/*
 * Promises of the USB peripheral and of the host at the other end of the cable. The first half
 * drives the peripheral's registers as firmware would, on a board whose CPU idles; the second runs
 * tests/firmware/usb.c. The rules are those of RM0008 ch. 23 and USB 2.0 ch. 8.
 */
#include "sim/board_state.h"
#include "sim/usb_host.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { CNTR = 0x40, ISTR = 0x44, FNR = 0x48, DADDR = 0x4C, BTABLE = 0x50 };
enum { DISABLED, STALL, NAK, VALID };
enum { CONTROL = 0x200, BULK = 0, DOUBLE = 0x100 };
enum { TX = 64, RX = 128 };

static struct board *new_board(bool lenient)
{
    return board_new(&(struct board_config){.part = "stm32f103c8", .seed = 1, .lenient = lenient});
}

static void store(struct board *b, uint32_t reg, uint32_t value)
{
    usb_device_registers.write(b, &usb_device_registers, reg, 2, value);
}

static uint32_t load(struct board *b, uint32_t reg)
{
    return usb_device_registers.read(b, &usb_device_registers, reg, 2) & 0xFFFF;
}

static void store_pma(struct board *b, unsigned at, uint32_t value)
{
    usb_device_memory.write(b, &usb_device_memory, 2 * at, 2, value);
}

static uint32_t load_pma(struct board *b, unsigned at)
{
    return usb_device_memory.read(b, &usb_device_memory, 2 * at, 2) & 0xFFFF;
}

static void set_rcc(struct board *b, uint32_t offset, uint32_t value)
{
    rcc_device.write(b, &rcc_device, offset, 4, value);
}

/* A board that runs `b .`, with USB's clocks as asked for. */
static struct board *idle_board(bool lenient, bool pll)
{
    static const uint32_t image[] = {0x20001000, 0x08000009, 0xE7FEE7FE};
    struct board *b = new_board(lenient);
    board_load(b, 0x08000000, image, sizeof image);
    board_power(b, true);
    board_run_for(b, 5 * BOARD_MS);
    set_rcc(b, 0x00, 0x83 | 1 << 16); /* HSEON */
    board_run_for(b, 5 * BOARD_MS);
    set_rcc(b, 0x04, 1 << 22 | 4 << 18 | 1 << 16); /* USBPRE, PLL: 6 times HSE */
    if (pll)
        set_rcc(b, 0x00, 0x83 | 1 << 16 | 1 << 24);
    board_run_for(b, BOARD_MS);
    set_rcc(b, 0x1C, 1 << 23);
    store(b, CNTR, 0);
    store(b, ISTR, 0);
    return b;
}

/* The same, with endpoint 0 ready for SETUP. */
static struct board *ready_board(bool lenient)
{
    struct board *b = idle_board(lenient, true);
    store(b, BTABLE, 0);
    store_pma(b, 0, TX);
    store_pma(b, 2, 0);
    store_pma(b, 4, RX);
    store_pma(b, 6, 0x8400);
    store(b, 0, CONTROL | VALID << 12 | NAK << 4);
    store(b, DADDR, 0x80);
    return b;
}

static enum usb_answer token(struct board *b, enum usb_token t, unsigned data1, unsigned size)
{
    struct usb_packet packet = {.data1 = (uint8_t)data1, .size = (uint16_t)size};
    for (unsigned i = 0; i < size; i++)
        packet.data[i] = (uint8_t)(i + 1);
    enum usb_answer answer = usb_device_token(b, t, 0, 0, &packet);
    usb_device_complete(b);
    return answer;
}

static void set_stat(struct board *b, unsigned rx, unsigned tx)
{
    uint32_t now = load(b, 0);
    store(b, 0, (now & 0x070F) | 0x8080 | ((now ^ rx << 12) & 0x3000) | ((now ^ tx << 4) & 0x0030));
}

Test(usb_device, a_setup_packet_puts_the_endpoint_into_its_state)
{
    struct board *b = ready_board(false);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_ACK);
    cr_assert_eq(load(b, 0), 0x8000 | 0x4000 | NAK << 12 | 0x800 | CONTROL | 0x40 | NAK << 4);
    cr_assert_eq(load_pma(b, 6), 0x8408);
    cr_assert_eq(load_pma(b, RX), 0x0201);
    cr_assert_eq(load_pma(b, RX + 6), 0x0807);
    board_free(b);
}

Test(usb_device, a_setup_packet_gets_no_handshake_while_ctr_rx_is_pending)
{
    struct board *b = ready_board(false);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_ACK);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_SILENCE);
    store(b, 0, CONTROL | 0x0080);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_ACK, "also in NAK");
    board_free(b);
}

Test(usb_device, a_setup_packet_without_handshake_changes_nothing)
{
    struct board *b = ready_board(false);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_ACK);
    set_stat(b, STALL, VALID);
    uint32_t epr = load(b, 0), count = load_pma(b, 6);
    struct usb_packet other = {
        .size = 8, .data = {99, 98, 97, 96, 95, 94, 93, 92}
    };
    cr_assert_eq(usb_device_token(b, USB_SETUP, 0, 0, &other), USB_SILENCE);
    usb_device_complete(b);
    cr_assert_eq(load(b, 0), epr, "toggles, states, SETUP");
    cr_assert_eq(load_pma(b, 6), count);
    cr_assert_eq(load_pma(b, RX), 0x0201, "the one that waits is still the first");
    board_free(b);
}

Test(usb_device, a_garbled_packet_reaches_the_buffer_and_nothing_tells_of_it)
{
    struct board *b = ready_board(false);
    struct usb_packet packet = {
        .size = 4, .data = {1, 2, 3, 4}
    };
    uint32_t epr = load(b, 0);
    store_pma(b, RX, 0x5555);
    usb_device_token(b, USB_OUT, 0, 0, &packet);
    usb_device_no_handshake(b);
    cr_assert_eq(load(b, 0), epr, "no CTR, no toggle, still valid");
    cr_assert_eq(load_pma(b, 6), 0x8400, "no count");
    cr_assert(load(b, ISTR) & 0x2000, "ERR");
    cr_assert_neq(load_pma(b, RX), 0x5555);
    cr_assert_neq(load_pma(b, RX), 0x0201);
    set_stat(b, NAK, NAK);
    store_pma(b, RX, 0x5555);
    usb_device_token(b, USB_OUT, 0, 0, &packet);
    usb_device_no_handshake(b);
    cr_assert_eq(load_pma(b, RX), 0x5555, "a buffer that is not offered is not touched");
    board_free(b);
}

Test(usb_device, a_setup_packet_is_heard_in_stall_but_not_by_a_disabled_endpoint)
{
    struct board *b = ready_board(false);
    set_stat(b, STALL, STALL);
    cr_assert_eq(token(b, USB_IN, 0, 0), USB_STALLED);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_ACK);
    store(b, 0, CONTROL | 0x0080);
    set_stat(b, DISABLED, NAK);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_SILENCE);
    board_free(b);
}

Test(usb_device, bus_reset_clears_address_and_endpoints_but_not_ctr)
{
    struct board *b = ready_board(false);
    token(b, USB_SETUP, 0, 8);
    store(b, 4, BULK | 1 | VALID << 12);
    store(b, DADDR, 0x85);
    usb_device_bus_reset(b);
    cr_assert_eq(load(b, 0), 0x8000);
    cr_assert_eq(load(b, 4), 0);
    cr_assert_eq(load(b, DADDR), 0);
    cr_assert_eq(load(b, ISTR) & 0x8400, 0x8400);
    board_free(b);
}

Test(usb_device, nothing_is_answered_before_the_reset_flag_is_cleared)
{
    struct board *b = ready_board(false);
    usb_device_bus_reset(b);
    store(b, 0, CONTROL | VALID << 12 | NAK << 4);
    store(b, DADDR, 0x80);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_SILENCE);
    store(b, ISTR, 0xFFFF & ~0x400);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_ACK);
    board_free(b);
}

Test(usb_device, nothing_is_answered_without_ef_or_at_another_address)
{
    struct board *b = ready_board(false);
    store(b, DADDR, 0);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_SILENCE);
    store(b, DADDR, 0x81);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_SILENCE);
    store(b, DADDR, 0x80);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_ACK);
    board_free(b);
}

Test(usb_device, nothing_is_answered_in_power_down_in_reset_or_without_the_peripherals_clock)
{
    struct board *b = ready_board(false);
    set_rcc(b, 0x1C, 0);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_SILENCE);
    set_rcc(b, 0x1C, 1 << 23);
    store(b, CNTR, 2);
    cr_assert_eq(token(b, USB_SETUP, 0, 8), USB_SILENCE);
    store(b, CNTR, 1);
    cr_assert_eq(load(b, 0), 0, "FRES resets as the bus does");
    store(b, 0, CONTROL | VALID << 12);
    cr_assert_eq(load(b, 0), 0, "and holds");
    cr_assert(load(b, ISTR) & 0x400);
    board_free(b);
}

Test(usb_device, toggle_bits_toggle_and_ctr_bits_are_only_cleared)
{
    struct board *b = ready_board(false);
    store(b, 0, CONTROL | 0x8080 | 0x4040 | 0x3030);
    cr_assert_eq(
        load(b, 0), CONTROL | 0x4040 | (VALID ^ 3) << 12 | (NAK ^ 3) << 4, "CTR cannot be set");
    store(b, 0, CONTROL | 0x0800);
    cr_assert_eq(load(b, 0) & 0x0800, 0, "SETUP is read-only");
    cr_assert_eq(load(b, 0) & 0x4040, 0x4040, "0 leaves toggles alone");
    board_free(b);
}

Test(usb_device, istr_flags_are_cleared_by_zeros_only)
{
    struct board *b = ready_board(false);
    usb_device_bus_reset(b);
    usb_device_no_sof(b);
    store(b, ISTR, 0xFFFF & ~0x100);
    cr_assert_eq(load(b, ISTR), 0x400);
    board_free(b);
}

Test(usb_device, the_lowest_endpoint_is_reported_first_and_double_buffers_before_all)
{
    struct board *b = ready_board(false);
    b->usb.device.epr[3] = BULK | 3 | 0x0080;
    b->usb.device.epr[5] = BULK | 5 | 0x8080;
    cr_assert_eq(load(b, ISTR), 0x8003);
    b->usb.device.epr[5] |= DOUBLE;
    cr_assert_eq(load(b, ISTR), 0x8015);
    board_free(b);
}

Test(usb_device, interrupt_20_is_a_level_of_what_is_flagged_and_enabled)
{
    struct board *b = ready_board(false);
    token(b, USB_SETUP, 0, 8);
    cr_assert_not(b->cpu.line[20]);
    store(b, CNTR, 0x8000);
    cr_assert(b->cpu.line[20]);
    store(b, 0, CONTROL | 0x0080);
    cr_assert_not(b->cpu.line[20]);
    cr_assert_not(b->cpu.line[19]);
    board_free(b);
}

Test(usb_device, an_in_goes_out_once_and_then_naks)
{
    struct board *b = ready_board(false);
    struct usb_packet packet;
    store_pma(b, TX, 0xBBAA);
    store_pma(b, TX + 2, 0xCC);
    store_pma(b, 2, 3);
    set_stat(b, VALID, VALID);
    cr_assert_eq(usb_device_token(b, USB_IN, 0, 0, &packet), USB_DATA);
    usb_device_no_handshake(b);
    cr_assert_eq(load(b, 0) & 0x00F0, VALID << 4, "no ACK: it stays as it is");
    cr_assert(load(b, ISTR) & 0x2000);
    cr_assert_eq(usb_device_token(b, USB_IN, 0, 0, &packet), USB_DATA);
    usb_device_complete(b);
    cr_assert_eq(packet.size, 3);
    cr_assert_arr_eq(packet.data, ((uint8_t[]){0xAA, 0xBB, 0xCC}), 3);
    cr_assert_eq(load(b, 0) & 0x00F0, 0x80 | 0x40 | NAK << 4);
    cr_assert_eq(token(b, USB_IN, 0, 0), USB_NAK);
    board_free(b);
}

Test(usb_device, a_repeated_out_is_acknowledged_but_not_delivered)
{
    struct board *b = ready_board(false);
    cr_assert_eq(token(b, USB_OUT, 0, 4), USB_ACK);
    cr_assert_eq(token(b, USB_OUT, 1, 4), USB_NAK);
    store(b, 0, CONTROL | 0x0080);
    set_stat(b, VALID, NAK);
    cr_assert_eq(token(b, USB_OUT, 0, 4), USB_ACK, "the same PID again");
    cr_assert_eq(load(b, 0) & 0xF000, 0x4000 | VALID << 12);
    cr_assert_eq(token(b, USB_OUT, 1, 4), USB_ACK);
    cr_assert_eq(load(b, 0) & 0xF000, 0x8000 | NAK << 12);
    board_free(b);
}

Test(usb_device, the_setup_bit_is_frozen_while_ctr_rx_is_set)
{
    struct board *b = ready_board(false);
    token(b, USB_SETUP, 0, 8);
    set_stat(b, VALID, NAK);
    cr_assert_eq(token(b, USB_OUT, 1, 2), USB_ACK);
    cr_assert(load(b, 0) & 0x0800);
    board_free(b);
}

Test(usb_device, an_out_longer_than_its_buffer_is_stalled_and_not_stored)
{
    struct board *b = ready_board(false);
    store_pma(b, 6, 8 << 10); /* 16 bytes */
    store_pma(b, RX + 16, 0x5555);
    cr_assert_eq(token(b, USB_OUT, 0, 17), USB_STALLED);
    cr_assert_eq(token(b, USB_OUT, 0, 15), USB_ACK);
    cr_assert_eq(load_pma(b, 6), 8 << 10 | 15);
    cr_assert_eq(load_pma(b, RX + 16), 0x5555, "nor does the CRC go beyond");
    board_free(b);
}

Test(usb_device, the_crc_is_stored_behind_the_data_where_there_is_room)
{
    struct board *b = ready_board(false);
    store_pma(b, RX + 2, 0x5555);
    cr_assert_eq(token(b, USB_OUT, 0, 2), USB_ACK);
    cr_assert_neq(load_pma(b, RX + 2), 0x5555);
    board_free(b);
}

Test(usb_device, status_out_takes_an_empty_packet_only)
{
    struct board *b = ready_board(false);
    store(b, 0, CONTROL | 0x100 | 0x8080);
    cr_assert_eq(token(b, USB_OUT, 0, 1), USB_STALLED);
    cr_assert_eq(token(b, USB_OUT, 0, 0), USB_ACK);
    board_free(b);
}

Test(usb_device, odd_byte_stores_reach_both_halves_of_a_packet_memory_word)
{
    struct board *b = ready_board(false);
    store_pma(b, 200, 0x1234);
    usb_device_memory.write(b, &usb_device_memory, 2 * 200 + 1, 1, 0x56);
    cr_assert_eq(load_pma(b, 200), 0x5656);
    cr_assert_eq(usb_device_memory.read(b, &usb_device_memory, 2 * 200 + 1, 1) & 0xFF, 0x56);
    usb_device_memory.write(b, &usb_device_memory, 2 * 200, 4, 0xFFFF9ABC);
    cr_assert_eq(load_pma(b, 200), 0x9ABC);
    board_free(b);
}

Test(usb_device, a_double_buffered_endpoint_naks_when_the_firmware_has_the_next_buffer)
{
    struct board *b = ready_board(false);
    struct usb_packet packet = {
        .size = 2, .data = {1, 2}
    };
    store_pma(b, 8, 256);
    store_pma(b, 10, 0x8400);
    store_pma(b, 12, 320);
    store_pma(b, 14, 0x8400);
    store(b, 4, BULK | DOUBLE | 1 | VALID << 12 | 0x40); /* SW_BUF 1, the peripheral has 0 */
    cr_assert_eq(usb_device_token(b, USB_OUT, 0, 1, &packet), USB_ACK);
    usb_device_complete(b);
    cr_assert_eq(load_pma(b, 256), 0x0201);
    cr_assert_eq(load(b, 4) & 0xF000, 0x8000 | 0x4000 | NAK << 12, "the first one ends as any");
    store(b, 4, BULK | DOUBLE | 1 | 1 << 12); /* NAK to VALID, CTR_RX is cleared */
    packet.data1 = 1;
    cr_assert_eq(usb_device_token(b, USB_OUT, 0, 1, &packet), USB_NAK);
    store(b, 4, BULK | DOUBLE | 1 | 0x40 | 0x80); /* swap */
    cr_assert_eq(usb_device_token(b, USB_OUT, 0, 1, &packet), USB_ACK);
    usb_device_complete(b);
    cr_assert_eq(load_pma(b, 320), 0x0201);
    cr_assert_eq(load(b, 4) & 0xF000, 0x8000 | VALID << 12, "the others change no STAT");
    board_free(b);
}

/* So begins ST's HAL: both bits 0. */
Test(usb_device, the_first_packet_for_two_buffers_is_taken_whichever_the_firmware_has)
{
    struct board *b = ready_board(false);
    struct usb_packet packet = {
        .size = 2, .data = {1, 2}
    };
    store_pma(b, 8, 256);
    store_pma(b, 10, 0x8400);
    store(b, 4, BULK | DOUBLE | 1 | VALID << 12);
    cr_assert_eq(usb_device_token(b, USB_OUT, 0, 1, &packet), USB_ACK);
    usb_device_complete(b);
    cr_assert_eq(load_pma(b, 256), 0x0201);
    store(b, 4, BULK | DOUBLE | 1 | 1 << 12 | 0x40); /* VALID again, SW_BUF is DTOG now */
    packet.data1 = 1;
    cr_assert_eq(usb_device_token(b, USB_OUT, 0, 1, &packet), USB_NAK);
    board_free(b);
}

Test(usb_device, three_frames_without_sof_are_a_suspend_and_fsusp_ends_the_looking)
{
    struct board *b = ready_board(false);
    board_run_for(b, 2 * BOARD_MS);
    store(b, ISTR, 0);
    board_run_for(b, 4 * BOARD_MS);
    cr_assert_eq(load(b, ISTR) & 0x0900, 0x0900);
    store(b, CNTR, 8);
    store(b, ISTR, 0);
    board_run_for(b, 4 * BOARD_MS);
    cr_assert_eq(load(b, ISTR), 0);
    store(b, CNTR, 12);
    usb_device_resume(b);
    cr_assert_eq(load(b, ISTR) & 0x1000, 0x1000);
    cr_assert_eq(load(b, CNTR) & 4, 0, "LP_MODE is cleared by activity");
    board_free(b);
}

static const char *complaint(struct board *b)
{
    const struct board_complaint *c = board_complaint(b);
    return c ? c->rule : "";
}

Test(usb_device, no_48_mhz_means_no_answer_and_a_complaint)
{
    struct board *b = idle_board(true, false);
    usb_device_bus_reset(b);
    cr_assert_eq(load(b, ISTR) & 0x400, 0);
    cr_assert(strstr(complaint(b), "48 MHz"), "%s", complaint(b));
    board_free(b);
}

Test(usb_device, a_packet_of_more_than_64_bytes_is_a_complaint)
{
    struct board *b = ready_board(true);
    struct usb_packet packet;
    store_pma(b, 2, 65);
    set_stat(b, VALID, VALID);
    usb_device_token(b, USB_IN, 0, 0, &packet);
    cr_assert(strstr(complaint(b), "65 bytes"), "%s", complaint(b));
    board_free(b);
}

Test(usb_device, a_buffer_beyond_packet_memory_is_a_complaint)
{
    struct board *b = ready_board(true);
    store_pma(b, 4, 508);
    token(b, USB_OUT, 0, 8);
    cr_assert(strstr(complaint(b), "beyond"), "%s", complaint(b));
    board_free(b);
}

Test(usb_device, receiving_over_the_descriptor_table_is_a_complaint)
{
    struct board *b = ready_board(true);
    store_pma(b, 4, 0);
    token(b, USB_SETUP, 0, 8);
    cr_assert(strstr(complaint(b), "descriptor of EP0R"), "%s", complaint(b));
    board_free(b);
}

Test(usb_device, byte_stores_to_registers_and_unknown_registers_are_complaints)
{
    struct board *b = ready_board(true);
    usb_device_registers.write(b, &usb_device_registers, DADDR, 1, 0x80);
    cr_assert(strstr(complaint(b), "half-words"), "%s", complaint(b));
    load(b, 0x54);
    cr_assert(strstr(complaint(b), "0x54"), "%s", complaint(b));
    board_free(b);
}

Test(usb_device, two_registers_for_one_endpoint_are_a_complaint)
{
    struct board *b = ready_board(true);
    store(b, 4, CONTROL | VALID << 12);
    token(b, USB_SETUP, 0, 8);
    cr_assert(strstr(complaint(b), "both serve"), "%s", complaint(b));
    board_free(b);
}

/* --- the host, with firmware ---------------------------------------------------------------------- */

static struct board *guest_board(void)
{
    static uint8_t image[65536];
    FILE *f = fopen("build/tests/firmware/usb.bin", "rb");
    cr_assert(f, "build/tests/firmware/usb.bin is missing");
    size_t size = fread(image, 1, sizeof image, f);
    fclose(f);
    struct board *b = new_board(false);
    board_load(b, 0x08000000, image, size);
    board_power(b, true);
    usb_plug(b);
    return b;
}

static struct board *enumerated_board(void)
{
    struct board *b = guest_board();
    cr_assert_eq(usb_enumerate(b, 1000), 1, "%s", complaint(b));
    return b;
}

static int vendor(struct board *b, unsigned code, unsigned value, unsigned timeout_ms)
{
    const uint8_t setup[8] = {0x40, (uint8_t)code, (uint8_t)value, (uint8_t)(value >> 8)};
    return usb_control(b, setup, NULL, timeout_ms);
}

static int put(struct board *b, uint8_t *data, unsigned size)
{
    const uint8_t setup[8] = {0x40, 1, 0, 0, 0, 0, (uint8_t)size, (uint8_t)(size >> 8)};
    return usb_control(b, setup, data, 1000);
}

/* The device has `size` bytes, the host asks for `asked`. */
static int get(struct board *b, uint8_t *data, unsigned size, unsigned asked)
{
    const uint8_t setup[8] = {
        0xC0, 2, (uint8_t)size, (uint8_t)(size >> 8), 0, 0, (uint8_t)asked, (uint8_t)(asked >> 8)};
    return usb_control(b, setup, data, 1000);
}

static void fill(uint8_t *data, unsigned size, unsigned seed)
{
    for (unsigned i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8) + seed);
}

Test(usb_host, enumeration_reads_what_the_device_says)
{
    struct board *b = enumerated_board();
    const struct usb_descriptors *d = usb_descriptors(b);
    cr_assert(usb_configured(b));
    cr_assert_str_eq(d->manufacturer, "Makers");
    cr_assert_str_eq(d->product, "USB guest");
    cr_assert_str_eq(d->serial, "0042");
    cr_assert_eq(d->config_size, 39);
    cr_assert_eq(d->device[8] | d->device[9] << 8, 0x1209);
    board_free(b);
}

Test(usb_host, control_data_of_every_length_goes_there_and_back)
{
    struct board *b = enumerated_board();
    uint8_t data[4096], back[8191];
    for (unsigned size = 0; size <= sizeof data; size += size < 200 ? 1 : 487) {
        fill(data, size, size);
        cr_assert_eq(put(b, data, size), (int)size);
        cr_assert_eq(
            get(b, back, size, sizeof back), (int)size, "short, with ZLP at multiples of 64");
        cr_assert_eq(memcmp(data, back, size), 0);
        cr_assert_eq(get(b, back, size, size), (int)size, "exactly what was asked for");
    }
    board_free(b);
}

Test(usb_host, a_refused_request_is_a_stall_and_the_next_one_works)
{
    struct board *b = enumerated_board();
    cr_assert_eq(vendor(b, 99, 0, 1000), USB_STALL);
    cr_assert_eq(vendor(b, 3, 0, 1000), 0);
    board_free(b);
}

Test(usb_host, one_lost_packet_or_handshake_anywhere_does_no_harm)
{
    struct board *b = enumerated_board();
    uint8_t data[200], back[255];
    for (unsigned kind = USB_FAULT_LOST_PACKET; kind <= USB_FAULT_LOST_ACK; kind++) {
        for (unsigned nth = 1; nth <= 8; nth++) {
            fill(data, sizeof data, nth);
            usb_fault_at(b, nth, (enum usb_fault)kind);
            cr_assert_eq(put(b, data, sizeof data), sizeof data, "kind %u at %u", kind, nth);
            usb_fault_at(b, nth, (enum usb_fault)kind);
            /* Lost at the very SETUP's ACK, the request comes twice; the guest can bear it. */
            cr_assert_eq(
                get(b, back, sizeof data, sizeof back), sizeof data, "kind %u at %u", kind, nth);
            cr_assert_arr_eq(data, back, sizeof data);
        }
    }
    board_free(b);
}

Test(usb_host, unplugging_in_the_middle_ends_the_transfer_and_plugging_in_is_another_device)
{
    struct board *b = enumerated_board();
    uint8_t data[200] = {0};
    unsigned changes = usb_device_changes(b);
    usb_fault_at(b, 3, USB_FAULT_UNPLUG);
    cr_assert_eq(put(b, data, sizeof data), USB_GONE);
    cr_assert_not(usb_attached(b));
    cr_assert_not(usb_configured(b));
    cr_assert_eq(vendor(b, 3, 0, 1000), USB_GONE);
    usb_plug(b);
    cr_assert_eq(usb_device_changes(b), changes + 2);
    cr_assert_eq(usb_enumerate(b, 1000), 2);
    cr_assert_eq(put(b, data, sizeof data), sizeof data);
    board_free(b);
}

Test(usb_host, a_slow_device_is_nakked_until_it_answers_and_every_nak_is_counted)
{
    struct board *b = enumerated_board();
    struct usb_counts before, after;
    usb_counts(b, &before);
    uint64_t begin = usb_host_now(b);
    cr_assert_eq(vendor(b, 3, 100, 1000), 0);
    uint64_t took = usb_host_now(b) - begin;
    usb_counts(b, &after);
    cr_assert(took > 99 * BOARD_MS && took < 102 * BOARD_MS, "%f ms", (double)took / 1e6);
    /* A frame has room for (1000 - 3 - 3 - 50.6) / 4.75 retries and one. */
    uint64_t naks = after.naks - before.naks;
    cr_assert(naks > 100 * 197 && naks < 101 * 201, "%lu", (unsigned long)naks);
    cr_assert_eq(after.transactions - before.transactions, 2);
    board_free(b);
}

Test(usb_host, a_transfer_that_takes_too_long_is_given_up_and_the_next_setup_aborts_it)
{
    struct board *b = enumerated_board();
    uint64_t begin = usb_host_now(b);
    cr_assert_eq(vendor(b, 3, 100, 50), USB_TIMEOUT);
    uint64_t took = usb_host_now(b) - begin;
    cr_assert(took >= 50 * BOARD_MS && took < 51 * BOARD_MS);
    cr_assert_eq(vendor(b, 3, 1, 500), 0);
    board_free(b);
}

/* A host quicker than the end of a transaction gives GET_DESCRIPTOR up after any microsecond, itself or
 * by its deadline, and asks for something else at once. */
static void gives_up_in_mid_transaction(bool by_deadline)
{
    static const uint8_t get_device[8] = {0x80, 6, 0, 1, 0, 0, 18},
                         get_config[8] = {0x80, 6, 0, 2, 0, 0, 9};
    struct board *b = enumerated_board();
    unsigned in_transaction = 0;
    usb_set_turnaround(b, 0);
    for (unsigned us = 1; us <= 150; us++) {
        int handle = usb_submit(b, 0, get_device, NULL, 18, 100);
        cr_assert_geq(handle, 0);
        struct usb_host_state *h = &b->usb.host;
        uint64_t end = h->pipes[handle].ready + us * BOARD_US;
        if (by_deadline)
            h->pipes[handle].deadline = end;
        usb_wait_until(b, end);
        in_transaction += h->bus == USB_BUS_BUSY;
        usb_cancel(b, handle);
        uint8_t config[9] = {0};
        int n = usb_control(b, get_config, config, 100);
        cr_assert(n == 9 && config[0] == 9 && config[1] == 2, "after %u µs: %d, %02x %02x", us, n,
            config[0], config[1]);
        board_run_for(b, BOARD_MS);
    }
    cr_assert_gt(in_transaction, 30, "%u", in_transaction);
    board_free(b);
}

Test(usb_host, a_transfer_cancelled_in_mid_transaction_leaves_the_next_none_of_its_answer)
{
    gives_up_in_mid_transaction(false);
}

Test(usb_host, a_transfer_timed_out_in_mid_transaction_leaves_the_next_none_of_its_answer)
{
    gives_up_in_mid_transaction(true);
}

Test(usb_host, usb_goes_on_while_an_erase_stalls_the_cpu)
{
    struct board *b = enumerated_board();
    uint64_t begin = usb_host_now(b);
    cr_assert_eq(vendor(b, 6, 0, 1000), 0, "%s", complaint(b));
    uint64_t took = usb_host_now(b) - begin;
    cr_assert(took > 29 * BOARD_MS && took < 32 * BOARD_MS, "%f ms", (double)took / 1e6);
    board_free(b);
}

Test(usb_host, a_silent_device_is_an_error_after_three_tries)
{
    struct board *b = enumerated_board();
    struct usb_counts before, after;
    cr_assert_eq(vendor(b, 5, 0, 10), USB_TIMEOUT);
    cr_assert_eq(
        vendor(b, 5, 0, 10), USB_TIMEOUT, "this SETUP is taken in by the peripheral alone");
    usb_counts(b, &before);
    cr_assert_eq(vendor(b, 5, 0, 10), USB_ERROR);
    usb_counts(b, &after);
    cr_assert_eq(after.transactions - before.transactions, 3);
    board_free(b);
}

Test(usb_host, d_plus_held_low_is_a_disconnect_and_the_device_comes_back)
{
    struct board *b = enumerated_board();
    unsigned changes = usb_device_changes(b);
    cr_assert_eq(vendor(b, 4, 20, 1000), 0);
    board_run_for(b, 15 * BOARD_MS);
    cr_assert_not(usb_attached(b));
    board_run_for(b, 20 * BOARD_MS);
    cr_assert(usb_attached(b));
    cr_assert_eq(usb_device_changes(b), changes + 2);
    cr_assert_eq(usb_enumerate(b, 1000), 2);
    board_free(b);
}

Test(usb_host, a_reset_device_keeps_its_address_and_works)
{
    struct board *b = enumerated_board();
    unsigned changes = usb_device_changes(b);
    cr_assert_eq(usb_reset_device(b), 0);
    cr_assert(usb_configured(b));
    cr_assert_eq(usb_device_changes(b), changes);
    cr_assert_eq(vendor(b, 3, 0, 1000), 0);
    board_free(b);
}

Test(usb_host, nothing_is_enumerated_without_power_cable_or_firmware)
{
    struct board *b = guest_board();
    usb_unplug(b);
    cr_assert_eq(usb_enumerate(b, 200), USB_GONE);
    usb_plug(b);
    board_power(b, false);
    cr_assert_not(usb_attached(b));
    cr_assert_eq(usb_enumerate(b, 200), USB_GONE);
    board_free(b);
    b = new_board(false);
    static const uint32_t image[] = {0x20001000, 0x08000009, 0xE7FEE7FE};
    board_load(b, 0x08000000, image, sizeof image);
    board_power(b, true);
    usb_plug(b);
    cr_assert(usb_attached(b), "the pull-up is on the board");
    cr_assert_eq(usb_enumerate(b, 200), USB_ERROR);
    cr_assert_not(usb_configured(b));
    board_free(b);
}

Test(usb_host, losing_power_for_no_time_at_all_is_a_disconnect)
{
    struct board *b = enumerated_board();
    board_power(b, false);
    board_power(b, true);
    cr_assert_not(usb_configured(b));
    cr_assert(usb_enumerate(b, 1000) > 0);
    board_free(b);
}

Test(usb_host, other_endpoints_carry_data_with_toggles_and_packet_sizes)
{
    struct board *b = enumerated_board();
    uint8_t data[64], back[64];
    for (unsigned size = 1; size <= sizeof data; size += 7) {
        fill(data, size, size);
        cr_assert_eq(usb_out(b, 1, data, size, 1000), (int)size);
        cr_assert_eq(usb_in(b, 0x81, back, sizeof back, 1000), (int)size);
        cr_assert_arr_eq(data, back, size);
    }
    cr_assert_eq(usb_in(b, 0x82, back, 8, 50), USB_TIMEOUT);
    cr_assert_eq(vendor(b, 7, 0x1234, 1000), 0);
    cr_assert_eq(usb_in(b, 0x82, back, 8, 50), 2);
    cr_assert_eq(back[0] | back[1] << 8, 0x1234);
    board_free(b);
}

Test(usb_host, transfers_of_several_endpoints_are_under_way_at_once)
{
    struct board *b = enumerated_board();
    uint8_t data[8];
    int waiting = usb_submit(b, 0x82, NULL, NULL, 8, 0);
    cr_assert(waiting > 0);
    cr_assert_eq(usb_submit(b, 0x82, NULL, NULL, 8, 0), USB_PENDING);
    cr_assert_eq(vendor(b, 3, 30, 1000), 0);
    cr_assert_eq(usb_result(b, waiting), USB_PENDING);
    cr_assert_eq(vendor(b, 7, 0xABCD, 1000), 0);
    for (int i = 0; i < 100 && usb_result(b, waiting) == USB_PENDING; i++)
        usb_run(b, USB_STEP_NS);
    cr_assert_eq(usb_result(b, waiting), 2);
    usb_take(b, waiting, data, sizeof data);
    cr_assert_eq(data[0] | data[1] << 8, 0xABCD);
    board_free(b);
}

Test(usb_host, a_suspended_device_hears_no_sof_and_works_again_when_resumed)
{
    struct board *b = enumerated_board();
    usb_suspend(b, true);
    board_run_for(b, 10 * BOARD_MS);
    cr_assert(b->usb.device.istr & 0x0800);
    usb_suspend(b, false);
    cr_assert_eq(vendor(b, 3, 0, 1000), 0);
    cr_assert_eq(usb_device_changes(b), 1);
    board_free(b);
}

Test(usb_host, two_runs_and_a_copy_are_equal_to_the_nanosecond)
{
    uint8_t data[1000];
    struct board *b = enumerated_board(), *other = enumerated_board();
    struct board *copy = board_copy(b);
    struct board *boards[] = {b, other, copy};
    uint64_t ends[3];
    struct usb_counts counts[3];
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(put(boards[i], data, sizeof data), sizeof data);
        cr_assert_eq(vendor(boards[i], 6, 0, 1000), 0);
        ends[i] = board_now(boards[i]);
        usb_counts(boards[i], &counts[i]);
    }
    cr_assert_eq(ends[0], ends[1]);
    cr_assert_eq(ends[0], ends[2]);
    cr_assert_eq(memcmp(&counts[0], &counts[1], sizeof counts[0]), 0);
    cr_assert_eq(memcmp(&counts[0], &counts[2], sizeof counts[0]), 0);
    board_free(copy);
    board_free(other);
    board_free(b);
}

Test(usb_host, transfers_are_apart_by_the_turnaround)
{
    struct board *b = enumerated_board();
    uint64_t took[2];
    for (unsigned i = 0; i < 2; i++) {
        usb_set_turnaround(b, i ? 1000 * BOARD_US : 0);
        vendor(b, 3, 0, 1000);
        uint64_t begin = usb_host_now(b);
        for (unsigned k = 0; k < 10; k++)
            vendor(b, 3, 0, 1000);
        took[i] = usb_host_now(b) - begin;
    }
    cr_assert(took[1] >= 10 * BOARD_MS && took[1] < 11 * BOARD_MS);
    cr_assert(took[0] < BOARD_MS);
    board_free(b);
}
