/* SPDX-License-Identifier: MIT */
#include "boot.h"

/* What the PLL is fed and gives, in MHz. USB wants 48 of it, or of two thirds (RM0008 §7.2). */
enum {
    PLL_IN = HSE_MHZ == 16 ? 8
             : HSE_MHZ     ? HSE_MHZ
                           : 4,
    CORE_MHZ = HSE_MHZ ? 72 : 48,
    CLOCK = (HSE_MHZ ? RCC_CFGR_PLLSRC_HSE : RCC_CFGR_USBPRE) |
            (HSE_MHZ == 16 ? RCC_CFGR_PLLXTPRE_DIV2 : 0) | RCC_CFGR_PLLMUL(CORE_MHZ / PLL_IN) |
            RCC_CFGR_PPRE1_DIV2 | RCC_CFGR_SW_PLL, /* as soon as it is ready */
};
_Static_assert(CORE_MHZ % PLL_IN == 0 && CORE_MHZ / PLL_IN <= 16, "RM0008 §7.3.2, PLLMUL");

/* Attached for good, the pull-up tells the host nothing: SE0 for a while does (USB 2.0 §7.1.7.3). */
enum { DETACHED_MS = 20 };

_Noreturn void dfu_main(const struct record *r);

/* Has a millisecond passed? */
NOINLINE bool tick(void)
{
    IWDG_KR = IWDG_KR_RELOAD;
    return SYSTICK->CTRL & SYSTICK_CTRL_COUNTFLAG;
}

/* The host sees the device go: D+ (PA12) is driven low, or its pull-up switched off. */
static void detach(void)
{
    if (CONNECT_PORT) {
        RCC->APB2ENR = RCC_APB2ENR_IOPEN(CONNECT_PORT);
        GPIO(CONNECT_PORT)->CRH = GPIO_CRH_RESET;
    } else {
        RCC->APB2ENR = RCC_APB2ENR_IOPEN('A');
        GPIO('A')->CRH = GPIO_CRH_OUTPUT_2MHZ(12);
    }
    for (unsigned ms = DETACHED_MS; ms; ms -= tick()) {
    }
}

static void attach(void)
{
    if (CONNECT_PORT) /* it drives low */
        GPIO(CONNECT_PORT)->CRH = GPIO_CRH_OUTPUT_2MHZ(CONNECT_PIN);
    else
        GPIO('A')->CRH = GPIO_CRH_RESET;
}

/* Off the bus, and reset: the stub starts the application if it can; or we an image in RAM. */
_Noreturn void restart(void)
{
    USB->CNTR = USB_CNTR_FRES | USB_CNTR_PDWN;
    detach();
    if (WITH_RAM && S->pointer >= SRAM_BASE && startable(S->pointer)) {
        uint32_t image = S->pointer;
        RAM_REQUEST->word = REQUEST_RAM;
        RAM_REQUEST->image = image;
    }
    SCB_AIRCR = SCB_AIRCR_SYSRESETREQ;
    for (;;) {
    }
}

/* Waits until a bit is set: a crystal takes 2 ms, the PLL 0.2 ms (DS5319). In vain: the stub again,
 * which starts the application, if there is one, or comes back here. */
INLINE void await(volatile uint32_t *reg, uint32_t bit)
{
    for (unsigned i = 0; !(*reg & bit); i++)
        if (i > 100000) /* some 200 ms at 8 MHz */
            restart();
}

static void clock_start(void)
{
    SYSTICK->LOAD = CORE_MHZ * 1000 - 1; /* restart() wants it and USB's clock, in vain or not */
    SYSTICK->CTRL = SYSTICK_CTRL_ENABLE | SYSTICK_CTRL_HCLK;
    if (!HSE_MHZ)
        RCC->CFGR = RCC_CFGR_USBPRE; /* before USB has its clock (RM0008 §7.3.2) */
    RCC->APB1ENR = RCC_APB1ENR_USBEN;
    RCC->CR = RCC_CR_HSION | RCC_CR_HSITRIM_RESET | (HSE_MHZ ? RCC_CR_HSEON : 0);
    if (HSE_MHZ)
        await(&RCC->CR, RCC_CR_HSERDY);
    FLASH_REGS->ACR = FLASH_ACR_PRFTBE | FLASH_ACR_LATENCY_2;
    RCC->CFGR = CLOCK;
    RCC->CR |= RCC_CR_PLLON;
    await(&RCC->CFGR, RCC_CFGR_SWS_PLL);
}

/* The end of RAM, found by reading: the fault where there is none goes unheeded (PM0056 §4.4.6). */
static uint32_t find_ram_end(void)
{
    uint32_t end = STACK_TOP;

    SCB_CCR |= SCB_CCR_BFHFNMIGN;
    __asm volatile("cpsid f");
    for (;; end += 1024) {
        (void)*(volatile uint32_t *)end;
        if (SCB_CFSR)
            break;
    }
    SCB_CFSR = SCB_CFSR;
    __asm volatile("cpsie f");
    return end;
}

/* Entered by the stub, on a fresh stack, with the journal's valid record, or NULL. */
__attribute__((section(".proper.entry"), used)) _Noreturn void dfu_main(const struct record *r)
{
    if (WITH_RAM && RAM_REQUEST->word == REQUEST_RAM && RAM_REQUEST->image >= STACK_TOP &&
        !(RAM_REQUEST->image & ~0x1FE00U & ~SRAM_BASE)) {
        const uint32_t *vectors = (const uint32_t *)RAM_REQUEST->image;
        RAM_REQUEST->word = 0;
        SCB_VTOR = (uint32_t)vectors;
        __asm volatile("msr msp, %0; bx %1" : : "r"(vectors[0]), "r"(vectors[1]));
    }
    __asm volatile("mov %0, %1" : "=r"(S) : "i"(SRAM_BASE));
    for (uint32_t *word = (uint32_t *)SRAM_BASE; word < (uint32_t *)SRAM_BASE + sizeof *S / 4;
         word++)
        *word = 0;
#if HEAD
    S->page_size = FLASH_SIZE_KB > 128 ? 2048 : 1024;
    S->end = FLASH_BASE + FLASH_SIZE_KB * 1024U;
    S->app_size = S->end - APP_START;
#else
    S->stub = (uint32_t)stub_vectors;
    S->page_size = page_size(S->stub);
    S->end = S->stub + S->page_size;
    uint32_t journal = journal_of(S->stub);
    S->app_size = journal - FLASH_BASE;
#endif
    S->ram_end = WITH_RAM ? find_ram_end() : SRAM_BASE;
    S->pointer = S->base = S->zero = S->reset = APP_START;
    S->limit = S->end;
    S->intact = true;
    S->stride = TRANSFER_SIZE; /* S->dfu: by the first bus reset */
    if (r) {
        S->valid = true;
        S->reset = r->reset;
#if HEAD
        S->sp = r->sp;
    } else {
#else
        S->recorded = *r;
        S->base = (uint32_t)record_vectors(r);
    } else if (*(const volatile uint32_t *)journal != 0xFFFFFFFF) { /* not the first time */
#endif
        for (unsigned i = 0; i < PAGES_MAX; i++)
            S->pages[i] = SUSPECT;
        S->torn = true;
    }
    if (PROTECT_ITSELF)
        options_protect();
#if !HEAD
    uint32_t reset = ((const volatile uint32_t *)FLASH_BASE)[1];
    if (reset != S->stub + ENTRY &&
        reset != FLASH_BASE + ENTRY) { /* another bootloader has put it there */
        open_page(FLASH_BASE);
        close_page();
    }
#endif
    clock_start();
    detach();
    attach();
    usb_start();
    for (;;) {
        usb_poll();
        if (S->stage == STAGE_IDLE)
            dfu_work();
        if (tick() && S->leave_ms && !S->finishing && !--S->leave_ms &&
            (dfu_can_leave() || (WITH_OPTIONS && S->options)))
            restart();
    }
}
