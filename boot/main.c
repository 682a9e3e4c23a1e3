/* SPDX-License-Identifier: MIT */
#include "boot.h"

enum { CORE_MHZ = 72 }; /* a multiple of the board's HSE_MHZ */
_Static_assert(CORE_MHZ % HSE_MHZ == 0 && CORE_MHZ / HSE_MHZ <= 16, "RM0008 §7.3.2, PLLMUL");

/* Attached for good, the pull-up tells the host nothing: SE0 for a while does (USB 2.0 §7.1.7.3). */
enum { DETACHED_MS = 20 };

_Noreturn void dfu_main(const struct record *r);

/* Has a millisecond passed? */
static bool tick(void)
{
    IWDG_KR = IWDG_KR_RELOAD;
    return SYSTICK->CTRL & SYSTICK_CTRL_COUNTFLAG;
}

/* Drives D+ (PA12) low: the host sees the device go. */
static void detach(void)
{
    RCC->APB2ENR = RCC_APB2ENR_IOPAEN;
    GPIOA->CRH = GPIO_CRH_OUTPUT_2MHZ(12);
    for (unsigned ms = DETACHED_MS; ms; ms -= tick()) {
    }
}

_Noreturn void restart(void)
{
    USB->CNTR = USB_CNTR_FRES | USB_CNTR_PDWN;
    detach();
    SCB_AIRCR = SCB_AIRCR_SYSRESETREQ;
    for (;;) {
    }
}

/* Waits until a bit is set: a crystal takes 2 ms, the PLL 0.2 ms (DS5319). In vain: the stub again,
 * which starts the application, if there is one, or comes back here. */
static void await(volatile uint32_t *reg, uint32_t bit)
{
    for (unsigned i = 0; !(*reg & bit); i++)
        if (i > 100000) /* some 200 ms at 8 MHz */
            SCB_AIRCR = SCB_AIRCR_SYSRESETREQ;
}

/* 72 MHz for the core, from the crystal, two thirds of it for USB (RM0008 §7.2). */
static void clock_start(void)
{
    RCC->CR = RCC_CR_HSION | RCC_CR_HSITRIM_RESET | RCC_CR_HSEON;
    await(&RCC->CR, RCC_CR_HSERDY);
    FLASH_REGS->ACR = FLASH_ACR_PRFTBE | FLASH_ACR_LATENCY_2;
    RCC->CFGR = RCC_CFGR_PLLSRC_HSE | RCC_CFGR_PLLMUL(CORE_MHZ / HSE_MHZ) | RCC_CFGR_PPRE1_DIV2 |
                RCC_CFGR_SW_PLL; /* as soon as it is ready */
    RCC->CR |= RCC_CR_PLLON;
    await(&RCC->CFGR, RCC_CFGR_SWS_PLL);
    SYSTICK->LOAD = CORE_MHZ * 1000 - 1;
    SYSTICK->CTRL = SYSTICK_CTRL_ENABLE | SYSTICK_CTRL_HCLK;
    RCC->APB1ENR = RCC_APB1ENR_USBEN;
}

/* Entered by the stub, on a fresh stack, with the journal's valid record, or NULL. */
__attribute__((section(".proper.entry"), used)) _Noreturn void dfu_main(const struct record *r)
{
    S = (struct state *)SRAM_BASE;
    for (uint32_t *word = (uint32_t *)SRAM_BASE; word < (uint32_t *)(S + 1); word++)
        *word = word < (uint32_t *)(void *)S->waiting ? 0 : 0xFFFFFFFF; /* NOTHING waits */
    S->page_size = page_size((uint32_t)stub_vectors);
    S->end = (uint32_t)stub_vectors + S->page_size;
    S->app_end = journal_of((uint32_t)stub_vectors, S->page_size);
    S->pointer = FLASH_BASE;
    S->stride = TRANSFER_SIZE; /* S->dfu: by the first bus reset */
    if (r) {
        S->valid = true;
        S->reset = S->recorded = r->reset;
    }
    clock_start();
    detach();
    GPIOA->CRH = GPIO_CRH_RESET;
    usb_start();
    for (;;) {
        usb_poll();
        if (S->stage == STAGE_IDLE)
            dfu_work();
        if (tick() && S->leave_ms && !S->finishing && !--S->leave_ms && S->valid)
            restart();
    }
}
