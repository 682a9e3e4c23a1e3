/* SPDX-License-Identifier: MIT */
/* Vector table and reset entry, for any of the examples. */
#include "startup.h"

#include "stm32f103.h"

/* Of the linker script. */
extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];

#define OR_DEFAULT __attribute__((weak, alias("default_handler")))
#define OR_ZERO    __attribute__((weak))

void nmi_handler(void) OR_DEFAULT;
void hard_fault_handler(void) OR_DEFAULT;
void mem_manage_handler(void) OR_DEFAULT;
void bus_fault_handler(void) OR_DEFAULT;
void usage_fault_handler(void) OR_DEFAULT;
void svc_handler(void) OR_DEFAULT;
void debug_mon_handler(void) OR_DEFAULT;
void pend_sv_handler(void) OR_DEFAULT;
void systick_handler(void) OR_DEFAULT;
void tim2_handler(void) OR_DEFAULT;
void usb_lp_handler(void) OR_DEFAULT;

void reserved_1c_handler(void) OR_ZERO;
void reserved_20_handler(void) OR_ZERO;
void reserved_24_handler(void) OR_ZERO;
void reserved_28_handler(void) OR_ZERO;
void reserved_34_handler(void) OR_ZERO;

struct vector_table {
    uint32_t *stack;
    void (*core[15])(void); /* 1 … 15 by exception number, less one */
    void (*irq[43])(void);  /* low and medium density end with USBWakeUp, 42 */
};
static_assert(sizeof(struct vector_table) == 59 * 4, "one for each vector, RM0008 §10.1.2");

extern const struct vector_table vectors;

// clang-format off
__attribute__((section(".vectors"), used))
const struct vector_table vectors = {
    .stack = stack_top,
    .core = {
        reset_handler,       nmi_handler,         hard_fault_handler,  mem_manage_handler,
        bus_fault_handler,   usage_fault_handler, reserved_1c_handler, reserved_20_handler,
        reserved_24_handler, reserved_28_handler, svc_handler,         debug_mon_handler,
        reserved_34_handler, pend_sv_handler,     systick_handler,
    },
    .irq = {
        [0 ... IRQ_USB_LP - 1] = default_handler,
        [IRQ_USB_LP] = usb_lp_handler,
        [IRQ_USB_LP + 1 ... IRQ_TIM2 - 1] = default_handler,
        [IRQ_TIM2] = tim2_handler,
        [IRQ_TIM2 + 1 ... 42] = default_handler,
    },
};
// clang-format on

void reset_handler(void)
{
    *SCB_CCR |= SCB_CCR_STKALIGN; /* r1p1 resets with frames aligned to 4 only */
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to != data_end; to++)
        *to = *from++;
    for (uint32_t *to = bss_start; to != bss_end; to++)
        *to = 0;
    main();
    default_handler();
}

void default_handler(void)
{
    for (;;)
        ;
}
