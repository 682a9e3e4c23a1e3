/* SPDX-License-Identifier: MIT */
/* What test_dfu_util_twin.c cannot show with two programs: a computer that does not permit, and uploads
 * for which block numbers do not suffice. Over a link that is a function. */
#include "core/dfu.h"
#include "host/dfu_util_parts.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(dfu_util_parts, .timeout = 60);

enum { BLOCK = 64, BASE = 0x08000000 };

static struct {
    struct link link;
    int opens; /* what open() gives */
    uint32_t pointer, set_addresses;
    uint8_t state;
    bool busy; /* a command waits for GETSTATUS */
    int result;
} fake;

static int fake_list(struct link *link, struct link_device **devices)
{
    (void)link;
    *devices = calloc(1, sizeof **devices);
    cr_assert_not_null(*devices);
    **devices = (struct link_device){
        .path = "1-2", .vendor = 0x0483, .product = 0xDF11, .dfu = true, .number = 9};
    return 1;
}

static int fake_open(struct link *link, const struct link_device *device)
{
    (void)link, (void)device;
    return fake.opens;
}

static uint8_t byte_at(uint32_t addr)
{
    return (uint8_t)(addr ^ addr >> 8 ^ addr >> 16);
}

/* DfuSe as far as an upload needs it; a block number that wraps round is a command to it. */
static int answer(const uint8_t setup[USB_SETUP_SIZE], uint8_t *data)
{
    uint16_t value = transfer_get16(setup + 2), size = transfer_get16(setup + 6);
    if (setup[1] == DFU_GETSTATUS) {
        const uint8_t status[DFU_STATUS_SIZE] = {DFU_OK, fake.busy, 0, 0, fake.state};
        memcpy(data, status, sizeof status);
        fake.state = fake.busy ? DFU_DNLOAD_IDLE : fake.state;
        fake.busy = false;
        return DFU_STATUS_SIZE;
    }
    if (setup[1] == DFU_ABORT) {
        fake.state = DFU_IDLE;
        return 0;
    }
    if (setup[1] == DFU_DNLOAD && value == 0 && data[0] == DFUSE_SET_ADDRESS) {
        fake.pointer = transfer_get16(data + 1) | (uint32_t)transfer_get16(data + 3) << 16;
        fake.set_addresses++;
        fake.busy = true;
        fake.state = DFU_DNBUSY;
        return size;
    }
    cr_assert(setup[1] == DFU_UPLOAD && value >= DFUSE_FIRST_BLOCK, "request %u, value %u",
        setup[1], value);
    for (uint16_t i = 0; i < size; i++)
        data[i] = byte_at(fake.pointer + (uint32_t)(value - DFUSE_FIRST_BLOCK) * BLOCK + i);
    fake.state = DFU_UPLOAD_IDLE;
    return size;
}

static int fake_submit(
    struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms)
{
    (void)link, (void)timeout_ms;
    fake.result = answer(setup, data);
    return 0;
}

static bool fake_over(struct link *link, int *result)
{
    (void)link;
    *result = fake.result;
    return true;
}

static void fake_close(struct link *link)
{
    (void)link;
}

static const struct link_table table = {
    .list = fake_list,
    .open = fake_open,
    .submit = fake_submit,
    .over = fake_over,
    .close = fake_close,
};

static struct link *fake_link(void)
{
    memset(&fake, 0, sizeof fake);
    fake.link.table = &table;
    fake.state = DFU_IDLE;
    return &fake.link;
}

Test(dfu_util_parts, without_permission_it_says_so_as_dfu_util_and_names_the_udev_rule)
{
    static char said[4096];
    const struct dfu_util_options any = {
        .runtime = {DFU_UTIL_ANY, DFU_UTIL_ANY},
        .dfu = {DFU_UTIL_ANY, DFU_UTIL_ANY},
        .number = DFU_UTIL_ANY,
        .alt = DFU_UTIL_ANY,
        .interface = DFU_UTIL_ANY,
        .configuration = DFU_UTIL_ANY
    };
    struct dfu_util_list list;
    cr_redirect_stderr();
    struct link *link = fake_link();
    fake.opens = TRANSFER_DENIED;
    cr_expect_eq(dfu_util_find(link, &any, &list), 0);
    cr_expect_eq(list.count, (size_t)0);
    fflush(stderr);
    FILE *heard = cr_get_redirected_stderr();
    said[fread(said, 1, sizeof said - 1, heard)] = '\0';
    cr_expect(strstr(said, "Cannot open DFU device 0483:df11 found on devnum 9 "
                           "(LIBUSB_ERROR_ACCESS)\n"),
        "%s", said);
    cr_expect(
        strstr(said, "ATTRS{idVendor}==\"0483\", ATTRS{idProduct}==\"df11\", MODE="), "%s", said);
}

Test(dfu_util_parts, an_upload_of_more_blocks_than_there_are_numbers_is_whole)
{
    enum { SIZE = 65534 * BLOCK + 1000 };
    FILE *f = tmpfile();
    cr_assert_not_null(f);
    struct dfu_util_wire wire = {.link = fake_link(), .transfer_size = BLOCK};
    const struct dfu_util_alt alt = {.name = "@Flash  /0x08000000/64*128Kg"};
    const struct dfu_util_options o = {.has_address = true, .address = BASE, .length = SIZE};
    cr_redirect_stdout();
    cr_expect_eq(dfuse_upload(&wire, &alt, &o, fileno(f)), 0);
    uint8_t *read = malloc(SIZE + 1);
    rewind(f);
    cr_assert(read && fread(read, 1, SIZE + 1, f) == SIZE);
    for (uint32_t i = 0; i < SIZE; i++)
        cr_assert(read[i] == byte_at(BASE + i), "byte 0x%x", i);
    cr_expect_eq(fake.set_addresses, 2U);
    free(read);
    fclose(f);
}
