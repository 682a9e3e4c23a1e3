/* SPDX-License-Identifier: MIT */
/*
 * Chapter 9 of USB 2.0 as the USB-IF's command verifier tests it (USB Command Verifier Compliance
 * Test Specification, test descriptions TD 9.1 to TD 9.19), those that apply to a full-speed
 * device with nothing but endpoint 0: in the default, the address and the configured state. Not
 * here: TD 9.6 (SuperSpeed companions), TD 9.8 (hubs), 9.14, 9.15 and 9.17, which are reserved.
 */
#include "sim/usb_state.h"

#include "dfu_host.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum standard_request {
    GET_STATUS = 0,
    CLEAR_FEATURE = 1,
    SET_FEATURE = 3,
    SET_ADDRESS = 5,
    GET_DESCRIPTOR = 6,
    GET_CONFIGURATION = 8,
    SET_CONFIGURATION = 9,
    GET_INTERFACE = 10,
    SET_INTERFACE = 11,
};
enum descriptor_type {
    DEVICE = 1,
    CONFIGURATION = 2,
    STRING = 3,
    INTERFACE = 4,
    ENDPOINT = 5,
    DEVICE_QUALIFIER = 6,
    OTHER_SPEED_CONFIGURATION = 7,
    INTERFACE_ASSOCIATION = 11,
    BOS = 15,
    DEVICE_CAPABILITY = 16,
};
enum { TO_DEVICE = 0x00, TO_INTERFACE = 0x01, TO_ENDPOINT = 0x02, IN = 0x80 };
enum { ADDRESS_GIVEN = 5, RECOVERY_MS = 2 };

enum device_state { DEFAULT, ADDRESS, CONFIGURED, DEVICE_STATES };
static const char *const state_names[] = {"default", "address", "configured"};

static int request(struct host *h, unsigned type, unsigned code, unsigned wValue, unsigned wIndex,
    void *data, unsigned wLength)
{
    return host_control(h, (uint8_t)type, (uint8_t)code, (uint16_t)wValue, (uint16_t)wIndex, data,
        (uint16_t)wLength);
}

static int get_descriptor(struct host *h, unsigned type, unsigned index, void *data, unsigned size)
{
    return request(
        h, IN, GET_DESCRIPTOR, type << 8 | index, type == STRING && index ? 0x0409 : 0, data, size);
}

static int set_address(struct host *h, unsigned address)
{
    int result = request(h, TO_DEVICE, SET_ADDRESS, address, 0, NULL, 0);

    if (result == 0)
        board_usb(h->board)->host.address = (uint8_t)address;
    host_sleep(h, RECOVERY_MS * BOARD_MS); /* §9.2.6.3 */
    return result;
}

static int set_configuration(struct host *h, unsigned value)
{
    return request(h, TO_DEVICE, SET_CONFIGURATION, value, 0, NULL, 0);
}

static int get_configuration(struct host *h)
{
    uint8_t value = 0xFF;
    int n = request(h, IN, GET_CONFIGURATION, 0, 0, &value, 1);

    return n == 1 ? value : n < 0 ? n : USB_ERROR;
}

/* The device, fresh from a bus reset, in that state. */
static void bring_into(struct host *h, enum device_state state)
{
    cr_assert_eq(usb_bus_reset(h->board), 0);
    if (state >= ADDRESS)
        cr_assert_eq(set_address(h, ADDRESS_GIVEN), 0);
    if (state == CONFIGURED)
        cr_assert_eq(set_configuration(h, 1), 0);
}

static unsigned get16(const uint8_t *from)
{
    return from[0] | (unsigned)from[1] << 8;
}

static void expect_alive(struct host *h)
{
    uint8_t data[18];

    cr_expect_eq(get_descriptor(h, DEVICE, 0, data, sizeof data), 18, "it answers afterwards");
}

/* TD 9.1 */
Test(chapter9, td_9_1_device_descriptor_is_well_formed_in_every_state)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint8_t first[18], d[64];

    for (enum device_state state = DEFAULT; state < DEVICE_STATES; state++) {
        bring_into(&h, state);
        memset(d, 0xAA, sizeof d);
        cr_assert_eq(
            get_descriptor(&h, DEVICE, 0, d, sizeof d), 18, "state: %s", state_names[state]);
        cr_expect_eq(d[0], 18);
        cr_expect_eq(d[1], DEVICE);
        cr_expect(get16(d + 2) == 0x0200 || get16(d + 2) == 0x0201 || get16(d + 2) == 0x0210);
        cr_expect_eq(d[3] & 0xF0, 0, "BCD");
        cr_expect(d[4] != 0 || (d[5] == 0 && d[6] == 0), "no subclass without a class");
        cr_expect_eq(d[7], 64);
        cr_expect_neq(get16(d + 8), 0);
        cr_expect(d[12] < 0xA0 && (d[12] & 15) < 10 && d[13] < 0xA0 && (d[13] & 15) < 10,
            "bcdDevice is BCD");
        cr_expect_eq(d[17], 1, "bNumConfigurations");
        if (state)
            cr_expect_arr_eq(d, first, sizeof first, "the same in every state");
        memcpy(first, d, sizeof first);
    }
}

/* Walks over a configuration's descriptors and counts those of each type. */
static void count_types(const uint8_t *config, unsigned size, unsigned counts[256])
{
    memset(counts, 0, 256 * sizeof *counts);
    for (unsigned at = 0; at < size; at += config[at]) {
        cr_assert_geq(config[at], 2, "a descriptor without a length, at %u", at);
        cr_assert_leq(at + config[at], size, "a descriptor beyond the end, at %u", at);
        counts[config[at + 1]]++;
    }
}

/* TD 9.2 */
Test(chapter9, td_9_2_configuration_descriptor_is_well_formed_in_every_state)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint8_t head[9], all[255];
    unsigned counts[256];

    for (enum device_state state = DEFAULT; state < DEVICE_STATES; state++) {
        bring_into(&h, state);
        cr_assert_eq(get_descriptor(&h, CONFIGURATION, 0, head, sizeof head), 9, "state: %s",
            state_names[state]);
        cr_expect_eq(head[0], 9);
        cr_expect_eq(head[1], CONFIGURATION);
        unsigned total = get16(head + 2);
        cr_assert_eq(get_descriptor(&h, CONFIGURATION, 0, all, sizeof all), (int)total);
        cr_assert_eq(get_descriptor(&h, CONFIGURATION, 0, all, total), (int)total);
        count_types(all, total, counts);
        cr_expect_eq(counts[CONFIGURATION], 1);
        cr_expect_eq(all[4], 1, "bNumInterfaces");
        cr_expect_geq(counts[INTERFACE], 1, "alternate settings of one interface");
        cr_expect_eq(all[5], 1, "bConfigurationValue is not 0");
        cr_expect_eq(all[7] & 0x9F, 0x80, "bmAttributes: D7 is one, D4 to D0 are zero");
        cr_expect_leq(all[8], 250, "bMaxPower: 500 mA");
        cr_expect_eq(
            get_descriptor(&h, OTHER_SPEED_CONFIGURATION, 0, all, sizeof all), USB_STALL, "§9.6.2");
        expect_alive(&h);
    }
}

/* §9.4.3: a descriptor that is not supported is an error. */
Test(chapter9, td_9_10_a_second_configuration_or_device_is_refused)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint8_t data[255];

    bring_into(&h, CONFIGURED);
    cr_expect_eq(get_descriptor(&h, CONFIGURATION, 1, data, sizeof data), USB_STALL);
    cr_expect_eq(get_descriptor(&h, DEVICE, 1, data, sizeof data), USB_STALL);
    expect_alive(&h);
}

/* TD 9.3 */
Test(chapter9, td_9_3_there_is_no_interface_association_for_a_single_interface)
{
    struct host h = host_on_new_board("stm32f103c8");
    const struct usb_descriptors *d = usb_descriptors(h.board);
    unsigned counts[256];

    count_types(d->config, d->config_size, counts);
    cr_expect_eq(counts[INTERFACE_ASSOCIATION], 0);
}

/* TD 9.4, the descriptors; and the DFU functional descriptor, DFU 1.1 §4.2.4. */
Test(chapter9, td_9_4_interface_descriptors_are_well_formed)
{
    struct host h = host_on_new_board("stm32f103c8");
    const struct usb_descriptors *d = usb_descriptors(h.board);
    unsigned alternate = 0, functional = 0;

    for (unsigned at = 0; at < d->config_size; at += d->config[at]) {
        const uint8_t *i = d->config + at;
        if (i[1] == DFU_FUNCTIONAL_DESCRIPTOR) {
            functional++;
            cr_expect_eq(i[0], 9);
            cr_expect_eq(get16(i + 5), XFER);
            cr_expect_eq(get16(i + 7), DFU_VERSION_DFUSE);
        }
        if (i[1] != INTERFACE)
            continue;
        cr_expect_eq(i[0], 9);
        cr_expect_eq(i[2], 0, "bInterfaceNumber");
        cr_expect_eq(i[3], alternate++, "bAlternateSetting counts from 0");
        cr_expect_eq(i[4], 0, "bNumEndpoints");
        cr_expect_eq(i[5], DFU_CLASS);
        cr_expect_eq(i[6], DFU_SUBCLASS);
        cr_expect_eq(i[7], DFU_PROTOCOL_DFU);
        cr_expect_neq(i[8], 0, "each memory has a name");
    }
    cr_expect_geq(alternate, 1);
    cr_expect_eq(functional, 1);
}

/* TD 9.4, the requests. */
Test(chapter9, td_9_4_the_interface_is_selected_and_told)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint8_t setting = 0xFF, status[2] = {0xFF, 0xFF};

    bring_into(&h, CONFIGURED);
    cr_expect_eq(request(&h, TO_INTERFACE, SET_INTERFACE, 0, 0, NULL, 0), 0);
    cr_expect_eq(request(&h, IN | TO_INTERFACE, GET_INTERFACE, 0, 0, &setting, 1), 1);
    cr_expect_eq(setting, 0);
    cr_expect_eq(request(&h, IN | TO_INTERFACE, GET_STATUS, 0, 0, status, 2), 2);
    cr_expect_eq(get16(status), 0);
    cr_expect_eq(request(&h, TO_INTERFACE, SET_INTERFACE, 0, 1, NULL, 0), USB_STALL,
        "there is no interface 1");
    cr_expect_eq(request(&h, TO_INTERFACE, SET_INTERFACE, 99, 0, NULL, 0), USB_STALL,
        "there is no alternate setting 99");
    expect_alive(&h);
}

/* TD 9.4: interfaces and endpoints that do not exist (USB 2.0 §9.4.4, §9.4.5, §9.4.10: Request Error). In the
 * address state the interface answers, too: DESIGN.md. */
Test(chapter9, td_9_4_an_interface_that_does_not_exist_is_an_error)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint8_t data[2];

    bring_into(&h, CONFIGURED);
    cr_expect_eq(request(&h, IN | TO_INTERFACE, GET_STATUS, 0, 1, data, 2), USB_STALL);
    cr_expect_eq(request(&h, IN | TO_INTERFACE, GET_INTERFACE, 0, 1, data, 1), USB_STALL);
    cr_expect_eq(request(&h, IN | TO_ENDPOINT, GET_STATUS, 0, 0x81, data, 2), USB_STALL);
    expect_alive(&h);
}

/* TD 9.5 */
Test(chapter9, td_9_5_there_is_no_endpoint_but_endpoint_0)
{
    struct host h = host_on_new_board("stm32f103c8");
    const struct usb_descriptors *d = usb_descriptors(h.board);
    unsigned counts[256];

    count_types(d->config, d->config_size, counts);
    cr_expect_eq(counts[ENDPOINT], 0);
    for (enum device_state state = ADDRESS; state < DEVICE_STATES; state++) {
        uint8_t status[2] = {0xFF, 0xFF};
        bring_into(&h, state);
        for (unsigned endpoint = 0; endpoint <= 0x80; endpoint += 0x80) {
            cr_expect_eq(request(&h, IN | TO_ENDPOINT, GET_STATUS, 0, endpoint, status, 2), 2);
            cr_expect_eq(get16(status), 0);
        }
    }
}

/* The set that a Microsoft OS 2.0 platform capability announces. */
static void expect_ms_os_2_set(struct host *h, const uint8_t *capability)
{
    uint8_t set[512] = {0};
    unsigned total = get16(capability + 24);

    cr_assert_leq(total, sizeof set);
    cr_expect_eq(request(h, 0xC0, capability[26], 0, 7, set, 512), (int)total);
    cr_expect_eq(get16(set), 10, "the header's length");
    cr_expect_eq(get16(set + 2), 0, "and type");
    cr_expect_eq(get16(set + 8), total);
    for (unsigned at = 0; at < total; at += get16(set + at)) {
        cr_assert_geq(get16(set + at), 4, "at %u", at);
        cr_assert_leq(at + get16(set + at), total, "at %u", at);
    }
}

/* TD 9.7: a device that claims USB 2.01 has a BOS; one that does not refuses to be asked. */
Test(chapter9, td_9_7_bos_is_well_formed_in_every_state)
{
    static const uint8_t ms_os_2[] = {0xDF, 0x60, 0xDD, 0xD8, 0x89, 0x45, 0xC7, 0x4C, 0x9C, 0xD2,
        0x65, 0x9D, 0x9E, 0x64, 0x8A, 0x9F};
    struct host h = host_on_new_board("stm32f103c8");
    bool has_bos = get16(usb_descriptors(h.board)->device + 2) >= 0x0201;
    uint8_t head[5], all[255];

    for (enum device_state state = DEFAULT; state < DEVICE_STATES; state++) {
        bring_into(&h, state);
        int n = get_descriptor(&h, BOS, 0, head, sizeof head);
        if (!has_bos) {
            cr_expect_eq(n, USB_STALL);
            expect_alive(&h);
            continue;
        }
        cr_assert_eq(n, 5, "state: %s", state_names[state]);
        cr_expect_eq(head[0], 5);
        cr_expect_eq(head[1], BOS);
        unsigned total = get16(head + 2), capabilities = 0;
        cr_assert_leq(total, sizeof all);
        cr_assert_eq(get_descriptor(&h, BOS, 0, all, sizeof all), (int)total);
        for (unsigned at = 5; at < total; at += all[at], capabilities++) {
            cr_assert_geq(all[at], 3);
            cr_assert_leq(at + all[at], total);
            cr_expect_eq(all[at + 1], DEVICE_CAPABILITY);
            if (all[at + 2] == 5 && memcmp(all + at + 4, ms_os_2, sizeof ms_os_2) == 0 &&
                state == CONFIGURED)
                expect_ms_os_2_set(&h, all + at);
        }
        cr_expect_eq(capabilities, all[4], "bNumDeviceCaps");
    }
}

/* TD 9.9 is for interrupt and bulk endpoints. Endpoint 0 may refuse to be halted (§9.4.5); if it
 * does not, it still answers. */
Test(chapter9, td_9_9_halting_endpoint_0_does_not_silence_it)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint8_t status[2] = {0xFF, 0xFF};

    for (enum device_state state = ADDRESS; state < DEVICE_STATES; state++) {
        bring_into(&h, state);
        int halted = request(&h, TO_ENDPOINT, SET_FEATURE, 0, 0, NULL, 0);
        cr_expect(halted == 0 || halted == USB_STALL);
        expect_alive(&h);
        cr_expect_eq(request(&h, TO_ENDPOINT, CLEAR_FEATURE, 0, 0, NULL, 0), halted);
        cr_expect_eq(request(&h, IN | TO_ENDPOINT, GET_STATUS, 0, 0, status, 2), 2);
        cr_expect_eq(get16(status), 0);
    }
}

/* TD 9.10; with 0x42 as the verifier has it, and every other type that does not exist. */
Test(chapter9, td_9_10_a_bad_descriptor_type_is_refused_in_every_state)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint8_t data[255];

    for (enum device_state state = DEFAULT; state < DEVICE_STATES; state++) {
        bring_into(&h, state);
        for (unsigned type = 0; type < 256; type++) {
            bool exists = type == DEVICE || type == CONFIGURATION || type == STRING ||
                          type == BOS || type == DFU_FUNCTIONAL_DESCRIPTOR;
            if (!exists)
                cr_expect_eq(get_descriptor(&h, type, 0, data, sizeof data), USB_STALL, "%u", type);
        }
        for (unsigned index = 16; index < 0xEE; index++)
            cr_expect_eq(get_descriptor(&h, STRING, index, data, sizeof data), USB_STALL,
                "there is no string %u", index);
        expect_alive(&h);
    }
}

/* TD 9.11; with 0x66 as the verifier has it, and every feature that a device without remote wake-up
 * and test modes does not have. */
Test(chapter9, td_9_11_a_bad_feature_is_refused)
{
    static const unsigned features[] = {0x66, 0, 1, 2, 3, 4, 48, 0xFFFF};
    struct host h = host_on_new_board("stm32f103c8");

    for (enum device_state state = ADDRESS; state < DEVICE_STATES; state++) {
        bring_into(&h, state);
        for (unsigned i = 0; i < sizeof features / sizeof *features; i++)
            for (unsigned to = TO_DEVICE; to <= TO_INTERFACE; to++) {
                cr_expect_eq(request(&h, to, SET_FEATURE, features[i], 0, NULL, 0), USB_STALL,
                    "set feature %u of recipient %u", features[i], to);
                cr_expect_eq(request(&h, to, CLEAR_FEATURE, features[i], 0, NULL, 0), USB_STALL,
                    "clear feature %u of recipient %u", features[i], to);
            }
        expect_alive(&h);
    }
}

/* The same for endpoints (§9.4.1, §9.4.9). Disabled until the firmware looks at wValue and wIndex,
 * or refuses to halt endpoint 0 as well. */
Test(chapter9, td_9_11_a_bad_feature_of_an_endpoint_is_refused)
{
    struct host h = host_on_new_board("stm32f103c8");

    bring_into(&h, CONFIGURED);
    cr_expect_eq(request(&h, TO_ENDPOINT, SET_FEATURE, 0x66, 0, NULL, 0), USB_STALL);
    cr_expect_eq(request(&h, TO_ENDPOINT, CLEAR_FEATURE, 0x66, 0, NULL, 0), USB_STALL);
    cr_expect_eq(request(&h, TO_ENDPOINT, SET_FEATURE, 0, 0x81, NULL, 0), USB_STALL);
    cr_expect_eq(request(&h, TO_ENDPOINT, CLEAR_FEATURE, 0, 0x81, NULL, 0), USB_STALL);
    expect_alive(&h);
}

/* TD 9.12, remote wake-up: what is not announced cannot be enabled, and is never done. */
Test(chapter9, td_9_12_the_device_does_not_wake_the_host)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint8_t status[2] = {0xFF, 0xFF};

    bring_into(&h, CONFIGURED);
    cr_expect_eq(usb_descriptors(h.board)->config[7] & 0x20, 0, "bmAttributes, D5");
    cr_expect_eq(request(&h, TO_DEVICE, SET_FEATURE, 1, 0, NULL, 0), USB_STALL);
    cr_expect_eq(request(&h, IN, GET_STATUS, 0, 0, status, 2), 2);
    cr_expect_eq(status[0] & 2, 0);
    usb_suspend(h.board, true);
    for (unsigned ms = 0; ms < 300; ms++) {
        board_run_for(h.board, BOARD_MS);
        cr_assert_neq(board_usb(h.board)->host.bus, USB_BUS_RESUME, "after %u ms", ms);
    }
}

/* USB 2.0 §9.1.1.6: a suspended device keeps its address and its configuration. */
Test(chapter9, a_resumed_device_is_where_it_was)
{
    struct host h = host_on_new_board("stm32f103c8");

    for (enum device_state state = ADDRESS; state < DEVICE_STATES; state++) {
        bring_into(&h, state);
        for (unsigned ms = 1; ms <= 100; ms *= 10) {
            usb_suspend(h.board, true);
            board_run_for(h.board, ms * BOARD_MS);
            usb_suspend(h.board, false);
            cr_expect_eq(get_configuration(&h), state == CONFIGURED, "after %u ms", ms);
        }
    }
}

/* TD 9.13 */
Test(chapter9, td_9_13_configuration_is_set_1_0_1)
{
    struct host h = host_on_new_board("stm32f103c8");
    static const uint8_t sequence[] = {1, 1, 0, 1, 0, 0, 1};

    bring_into(&h, ADDRESS);
    cr_expect_eq(get_configuration(&h), 0, "in the address state");
    for (unsigned i = 0; i < sizeof sequence; i++) {
        cr_expect_eq(set_configuration(&h, sequence[i]), 0);
        cr_expect_eq(get_configuration(&h), sequence[i]);
    }
    for (unsigned bad = 2; bad < 256; bad++)
        cr_expect_eq(set_configuration(&h, bad), USB_STALL, "there is no configuration %u", bad);
    cr_expect_eq(get_configuration(&h), 1, "a refused request changes nothing");
}

/* USB 2.0 §9.4.6: the status stage is at the old address, what follows at the new one alone. */
Test(chapter9, an_address_holds_after_the_status_stage_and_until_the_next)
{
    static const uint8_t addresses[] = {1, 2, 64, 127};
    struct host h = host_on_new_board("stm32f103c8");
    struct usb_host_state *host = &board_usb(h.board)->host;
    uint8_t data[18];

    bring_into(&h, DEFAULT);
    for (unsigned i = 0; i < sizeof addresses; i++) {
        unsigned old = host->address;
        cr_expect_eq(set_address(&h, addresses[i]), 0);
        cr_expect_eq(get_descriptor(&h, DEVICE, 0, data, 18), 18, "at %u", addresses[i]);
        host->address = (uint8_t)old;
        cr_expect_eq(get_descriptor(&h, DEVICE, 0, data, 18), USB_ERROR, "nobody at %u", old);
        host->address = addresses[i];
    }
    cr_expect_eq(set_address(&h, 0), 0, "back to the default state");
    cr_expect_eq(get_descriptor(&h, DEVICE, 0, data, 18), 18);
    cr_expect_eq(set_address(&h, ADDRESS_GIVEN), 0);
    expect_alive(&h);
}

/* TD 9.16, twenty times as the verifier does, at ever other moments. */
Test(chapter9, td_9_16_the_device_enumerates_20_times)
{
    struct host h = host_on_new_board("stm32f103c8");

    for (unsigned i = 0; i < 20; i++) {
        cr_expect(host_enumerate(&h), "time %u", i);
        cr_expect_eq(dfu_getstate(&h), DFU_IDLE);
        host_sleep(&h, 777 * i * BOARD_US);
    }
}

/* TD 9.18: what it says of its power is the same in both places. */
Test(chapter9, td_9_18_status_and_configuration_agree_on_power)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint8_t status[2] = {0xFF, 0xFF};

    for (enum device_state state = ADDRESS; state < DEVICE_STATES; state++) {
        bring_into(&h, state);
        cr_expect_eq(request(&h, IN, GET_STATUS, 0, 0, status, 2), 2);
        cr_expect_eq(status[0] & 1, usb_descriptors(h.board)->config[7] >> 6 & 1);
        cr_expect_eq(get16(status) & 0xFFFC, 0, "reserved");
        bring_into(&h, CONFIGURED);
    }
}

/* TD 9.19 */
Test(chapter9, td_9_19_there_is_no_device_qualifier_in_any_state)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint8_t data[10];

    for (enum device_state state = DEFAULT; state < DEVICE_STATES; state++) {
        bring_into(&h, state);
        cr_expect_eq(get_descriptor(&h, DEVICE_QUALIFIER, 0, data, sizeof data), USB_STALL,
            "§9.6.2: full speed only");
        expect_alive(&h);
    }
}

/* §9.6.7: string 0 lists languages, and every string that a descriptor names exists. */
Test(chapter9, every_string_that_is_named_exists_in_every_language)
{
    struct host h = host_on_new_board("stm32f103c8");
    const struct usb_descriptors *d = usb_descriptors(h.board);
    uint8_t named[8] = {d->device[14], d->device[15], d->device[16], d->config[6]};
    uint8_t languages[255], text[255];
    unsigned count = 4;

    for (unsigned at = 0; at < d->config_size && count < sizeof named; at += d->config[at])
        if (d->config[at + 1] == INTERFACE)
            named[count++] = d->config[at + 8];
    bring_into(&h, CONFIGURED);
    int n = get_descriptor(&h, STRING, 0, languages, sizeof languages);
    cr_assert_geq(n, 4);
    cr_expect_eq(languages[0], n);
    cr_expect_eq(languages[1], STRING);
    for (int at = 2; at < n; at += 2)
        for (unsigned i = 0; i < count; i++) {
            if (!named[i])
                continue;
            int size = request(&h, IN, GET_DESCRIPTOR, STRING << 8 | named[i],
                get16(languages + at), text, sizeof text);
            cr_assert_geq(size, 4, "string %u", named[i]);
            cr_expect_eq(text[0], size);
            cr_expect_eq(text[1], STRING);
            cr_expect_eq(size % 2, 0, "UTF-16");
            for (int c = 2; c < size; c += 2)
                cr_expect_neq(get16(text + c), 0, "no terminator (§9.6.7)");
        }
}

/* §9.4.3: any wLength is answered with as much as there is and no more. */
Test(chapter9, every_descriptor_is_answered_at_any_length)
{
    static const unsigned descriptors[][2] = {
        {DEVICE,        0},
        {CONFIGURATION, 0},
        {STRING,        0},
        {STRING,        1},
        {STRING,        2},
        {STRING,        3},
        {BOS,           0}
    };
    static const unsigned longer[] = {512, 1023, 1024, 4096, 65535};
    struct host h = host_on_new_board("stm32f103c8");
    static uint8_t whole[1024], part[65536];

    bring_into(&h, CONFIGURED);
    usb_set_turnaround(h.board, 50 * BOARD_US);
    for (unsigned i = 0; i < sizeof descriptors / sizeof *descriptors; i++) {
        unsigned type = descriptors[i][0], index = descriptors[i][1];
        int size = get_descriptor(&h, type, index, whole, sizeof whole);
        if (size == USB_STALL && (type == BOS || (type == STRING && index)))
            continue;
        cr_assert_gt(size, 0);
        for (unsigned length = 1; length <= 300; length++) {
            int want = (int)length < size ? (int)length : size;
            cr_assert_eq(get_descriptor(&h, type, index, part, length), want,
                "type %u, index %u, wLength %u", type, index, length);
            cr_assert_arr_eq(part, whole, (size_t)want);
        }
        for (unsigned k = 0; k < sizeof longer / sizeof *longer; k++)
            cr_expect_eq(get_descriptor(&h, type, index, part, longer[k]), size);
    }
    cr_expect_eq(get_descriptor(&h, DEVICE, 0, part, 0), 0, "nothing asked for");
    expect_alive(&h);
}

/* §8.5.3.2: fewer bytes than were asked for, in whole packets, end with an empty packet; as many as
 * were asked for do not. What lies behind the end of flash makes the answer short. */
Test(chapter9, a_short_answer_of_whole_packets_ends_with_an_empty_one)
{
    struct host h = host_on_new_board("stm32f103c8");
    uint32_t end = FLASH + board_flash_size(h.board);
    uint8_t block[XFER];
    struct usb_counts before, after;

    cr_assert(dfu_open(&h));
    for (unsigned size = 64; size < XFER; size += 64)
        for (unsigned asked = size; asked <= XFER; asked += XFER - size) {
            cr_assert(dfu_set_address(&h, end - size) && dfu_to_idle(&h));
            usb_counts(h.board, &before);
            cr_assert_eq(dfu_upload_block(&h, DFUSE_FIRST_BLOCK, block, asked), (int)size);
            usb_counts(h.board, &after);
            cr_expect_eq(after.transactions - before.transactions,
                1 + size / 64 + (size < asked) + 1, "%u bytes of %u", size, asked);
            cr_assert(dfu_to_idle(&h));
        }
}

/* §9.2.6: the slowest that a standard request may be is 50 ms without a data stage, 500 ms with
 * one. */
Test(chapter9, standard_requests_are_answered_in_time)
{
    static const uint8_t requests[][8] = {
        {0x80, GET_STATUS,        0,    0,  0, 0, 2,   0},
        {0x81, GET_STATUS,        0,    0,  0, 0, 2,   0},
        {0x80, GET_DESCRIPTOR,    0,    1,  0, 0, 18,  0},
        {0x80, GET_DESCRIPTOR,    0,    2,  0, 0, 255, 0},
        {0x80, GET_DESCRIPTOR,    2,    3,  9, 4, 255, 0},
        {0x80, GET_DESCRIPTOR,    3,    3,  9, 4, 255, 0},
        {0x80, GET_DESCRIPTOR,    0,    15, 0, 0, 255, 0},
        {0x80, GET_CONFIGURATION, 0,    0,  0, 0, 1,   0},
        {0x00, SET_CONFIGURATION, 1,    0,  0, 0, 0,   0},
        {0x81, GET_INTERFACE,     0,    0,  0, 0, 1,   0},
        {0x01, SET_INTERFACE,     0,    0,  0, 0, 0,   0},
        {0x00, SET_FEATURE,       0x66, 0,  0, 0, 0,   0},
    };
    struct host h = host_on_new_board("stm32f103c8");
    uint64_t slowest = 0;

    bring_into(&h, CONFIGURED);
    for (unsigned i = 0; i < sizeof requests / sizeof *requests; i++) {
        const uint8_t *r = requests[i];
        uint8_t data[255];
        host_sleep(&h, 10 * BOARD_MS);
        uint64_t begun = usb_host_now(h.board);
        request(&h, r[0], r[1], get16(r + 2), get16(r + 4), data, r[6]);
        uint64_t took = usb_host_now(h.board) - begun;
        cr_expect_lt(took, (r[6] ? 500 : 50) * BOARD_MS, "request %u", i);
        slowest = took > slowest ? took : slowest;
    }
    printf("the slowest standard request took %.3f ms\n", (double)slowest / 1e6);
}
