/* SPDX-License-Identifier: MIT */
#include "as_reset.h"

#include "sim/board_state.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

// clang-format off
static const struct reg usb_regs[] = {
    {"EP0R", 0x00, 0, 0}, {"EP1R", 0x04, 0, 0}, {"EP2R",  0x08, 0, 0}, {"EP3R",   0x0C, 0, 0},
    {"EP4R", 0x10, 0, 0}, {"EP5R", 0x14, 0, 0}, {"EP6R",  0x18, 0, 0}, {"EP7R",   0x1C, 0, 0},
    {"CNTR", 0x40, 0, 0}, {"ISTR", 0x44, 0, 0}, {"DADDR", 0x4C, 0, 0}, {"BTABLE", 0x50, 0, 0},
};
static const struct reg bkp_regs[] = {
    {"DR1", 0x04, 0, 0}, {"DR2", 0x08, 0, 0}, {"DR3", 0x0C, 0, 0}, {"DR4",  0x10, 0, 0},
    {"DR5", 0x14, 0, 0}, {"DR6", 0x18, 0, 0}, {"DR7", 0x1C, 0, 0}, {"DR8",  0x20, 0, 0},
    {"DR9", 0x24, 0, 0}, {"DR10", 0x28, 0, 0}, {"CR", 0x30, 0, 0}, {"CSR",  0x34, 0, 0},
};
// clang-format on

static unsigned compare_device(
    const struct device *device, struct board *before, struct board *after)
{
    const struct reg *regs = device->regs;
    unsigned count = device->reg_count;

    if (device == &usb_device_registers) {
        regs = usb_regs;
        count = sizeof usb_regs / sizeof *usb_regs;
    } else if (device == &bkp_device) {
        regs = bkp_regs;
        count = sizeof bkp_regs / sizeof *bkp_regs;
    }
    cr_assert_gt(count, 0, "%s", device->name);
    for (unsigned i = 0; i < count; i++) {
        uint32_t was = device->read(before, device, regs[i].offset, 4);
        uint32_t is = device->read(after, device, regs[i].offset, 4);
        cr_expect_eq(is, was, "%s.%s is %08x, not %08x", device->name, regs[i].name, is, was);
    }
    return count;
}

static void compare_core(const struct cpu *was, const struct cpu *is)
{
    cr_expect_eq(is->scr, was->scr);
    cr_expect_eq(is->ccr, was->ccr);
    cr_expect_eq(is->shcsr, was->shcsr);
    cr_expect_eq(is->cfsr, was->cfsr);
    cr_expect_eq(is->hfsr, was->hfsr);
    cr_expect_eq(is->demcr, was->demcr);
    cr_expect_eq(is->systick_csr, was->systick_csr);
    cr_expect_eq(is->systick_rvr, was->systick_rvr);
    cr_expect(is->primask == was->primask && is->faultmask == was->faultmask &&
              is->basepri == was->basepri && is->control == was->control && is->ipsr == was->ipsr);
    cr_expect_arr_eq(is->priority, was->priority, sizeof is->priority);
    cr_expect_arr_eq(is->enabled, was->enabled, sizeof is->enabled);
    cr_expect_arr_eq(is->pending, was->pending, sizeof is->pending);
    cr_expect_arr_eq(is->active, was->active, sizeof is->active);
}

/* What registers do not show, too: locks, keys, what counts. */
static void compare_state(const struct board *was, const struct board *is)
{
#define SAME(what) cr_expect(memcmp(&was->what, &is->what, sizeof is->what) == 0, #what)
    SAME(rcc);
    SAME(gpio);
    SAME(afio);
    SAME(exti);
    SAME(pwr_cr);
    SAME(pwr_csr);
    SAME(backup);
    SAME(iwdg);
    SAME(wwdg);
    SAME(usart);
    SAME(tim);
    SAME(dma);
    SAME(rtc);
    SAME(adc);
    SAME(crc_dr);
    SAME(crc_idr);
    SAME(plain);
    SAME(usb.device);
#undef SAME
    cr_expect(is->fpec.acr == was->fpec.acr && is->fpec.cr == was->fpec.cr &&
              is->fpec.sr == was->fpec.sr && is->fpec.ar == was->fpec.ar &&
              is->fpec.key == was->fpec.key && is->fpec.option_key == was->fpec.option_key);
}

static unsigned compare_registers(struct board *before, struct board *after)
{
    const struct device *one[] = {&rcc_device, &flash_device, &afio_device, &exti_device,
        &pwr_device, &bkp_device, &iwdg_device, &wwdg_device, &crc_device, &rtc_device,
        &dbgmcu_device, &usb_device_registers};
    unsigned count = 0;

    for (unsigned i = 0; i < sizeof one / sizeof *one; i++)
        count += compare_device(one[i], before, after);
    for (unsigned i = 0; i < PORTS; i++)
        count += compare_device(&gpio_devices[i], before, after);
    for (unsigned i = 0; i < USARTS; i++)
        count += compare_device(&usart_devices[i], before, after);
    for (unsigned i = 0; i < TIMERS; i++)
        count += compare_device(&tim_devices[i], before, after);
    for (unsigned i = 0; i < 2; i++)
        count += compare_device(&dma_devices[i], before, after);
    for (unsigned i = 0; i < 3; i++)
        count += compare_device(&adc_devices[i], before, after);
    for (unsigned i = 0; i < plain_device_count; i++)
        count += compare_device(&plain_devices[i], before, after);
    return count;
}

void check_starts_as_from_reset(const struct bootloader *d, struct board *b, const struct app *app)
{
    cr_assert_eq(board_run_until(b, b->release_at), BOARD_DONE);
    struct board *before = board_copy(b);
    cr_assert_eq(board_run_for(b, 700 * BOARD_MS), BOARD_BREAK, "pc %08x", board_pc(b));
    struct board *after = board_copy(b);

    cr_expect_eq(b->cpu.pc, (APP_ENTRY & ~1U) + (d->base - FLASH));
    cr_expect_eq(b->cpu.vtor, d->base - FLASH, "flash stands at 0, too");
    cr_expect_eq(b->cpu.r[13], get32(app->data));
    cr_expect_eq(b->cpu.r[0] & CAUSES, before->rcc.csr & CAUSES, "r0: the reset's cause");
    cr_expect_arr_eq(after->ram, before->ram, board_ram_size(b), "RAM was written to");
    if (d->presses) /* its flags are needed: the cause is in r0 instead */
        after->rcc.csr = before->rcc.csr;
    if (d->resets) /* it counts them */
        after->backup.dr[7] = before->backup.dr[7];
    compare_core(&before->cpu, &after->cpu);
    compare_state(before, after);
    unsigned count = compare_registers(before, after);
    printf("%s: %u registers as at reset, %.3f ms after it\n", d->name, count,
        (double)(board_now(b) - b->release_at) / 1e6);
    board_free(before);
    board_free(after);
}
