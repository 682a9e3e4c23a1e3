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
enum { DETACHED_TICKS = 20 / TICK_MS };

_Noreturn void dfu_main(const struct record *r);

/* Has a tick passed? */
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
    for (unsigned ticks = DETACHED_TICKS; ticks; ticks -= tick()) {
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
    if (WITH_RAM && ram_startable()) {
        uint32_t image = S->pointer;
        volatile struct request *request = (void *)S; /* the first word of RAM */
        request->word = REQUEST_RAM;
        request->image = image;
    }
    SCB_AIRCR = SCB_AIRCR_SYSRESETREQ;
    for (;;) {
    }
}

/* Waits until a bit is set: a crystal takes 2 ms, the PLL 0.2 ms (DS5319). In vain: the stub again,
 * which starts the application, if there is one, or comes back here. Takes from patience. */
INLINE void await(volatile uint32_t *reg, uint32_t bit, unsigned *patience)
{
    while (!(*reg & bit))
        if (!--*patience)
            restart();
}

static void clock_start(void)
{
    unsigned patience = 1U << 17; /* some 200 ms at 8 MHz, for all of it */

    if (!HSE_MHZ)
        RCC->CFGR = RCC_CFGR_USBPRE; /* before USB has its clock (RM0008 §7.3.2) */
    RCC->APB1ENR = RCC_APB1ENR_USBEN;
    RCC->CR = RCC_CR_HSION | RCC_CR_HSITRIM_RESET | (HSE_MHZ ? RCC_CR_HSEON : 0);
    SYSTICK->LOAD =
        TICK_MS * CORE_MHZ * 1000 - 1; /* restart() wants it and USB's clock, in vain or not */
    SYSTICK->CTRL = SYSTICK_CTRL_ENABLE | SYSTICK_CTRL_HCLK;
    if (HSE_MHZ)
        await(&RCC->CR, RCC_CR_HSERDY, &patience);
    FLASH_REGS->ACR = FLASH_ACR_PRFTBE | FLASH_ACR_LATENCY_2;
    RCC->CFGR = CLOCK;
    RCC->CR |= RCC_CR_PLLON;
    await(&RCC->CFGR, RCC_CFGR_SWS_PLL, &patience);
}

/* The end of RAM, found by reading: from now on faults go unheeded (PM0056 §4.4.6), but one is noted
 * where there is no RAM. */
static uint32_t find_ram_end(void)
{
    uint32_t end = FROM_S(STACK_TOP);
    volatile struct scb_regs *scb;

    __asm("" : "=r"(scb) : "0"(SCB)); /* gcc 12.2 would compute its address twice */
    scb->CCR = SCB_CCR_BFHFNMIGN;
    __asm volatile("cpsid f");
    do { /* some clones show theirs again behind 64 KB */
        (void)*(volatile uint32_t *)end;
        if (scb->CFSR)
            break;
        end += 1024;
    } while (end & 0xFFFF);
    return end;
}

/* Entered by the stub, on a fresh stack, with the journal's valid record, or NULL. */
__attribute__((section(".proper.entry"), used)) _Noreturn void dfu_main(const struct record *r)
{
    __asm volatile("mov %0, %1" : "=r"(S) : "i"(SRAM_BASE));
    volatile struct request *request = (void *)S; /* the first words of RAM */
    if (WITH_RAM && request->word == REQUEST_RAM) {
        uint32_t image = request->image;
        if (image - FROM_S(STACK_TOP) < 0x10000) {
            const uint32_t *vectors = (const uint32_t *)image;
            request->word = 0;
            SCB->VTOR = image;
            __asm volatile("msr msp, %0; bx %1" : : "r"(vectors[0]), "r"(vectors[1]));
        }
    }
    unsigned left = sizeof *S;
    do {
        left -= 4;
        *(word *)((uint32_t)S + left) = 0;
    } while (left);
    FIND(S->stub, stub_vectors);
#if HEAD
    S->page_size = FLASH_SIZE_KB > 128 ? 2048 : 1024;
    S->app_end = S->end = FLASH_BASE + FLASH_SIZE_KB * 1024U;
#else
    S->page_size = page_size(S->stub);
    S->end = S->stub + S->page_size;
    uint32_t journal = journal_of(S->stub);
    S->app_end = journal;
    int blank = *(const volatile int *)journal;
    S->blank = blank;
#endif
    if (WITH_RAM) {
        uint32_t ram_end = find_ram_end();
        S->ram_end = ram_end;
    }
    S->pointer = S->base = S->zero = S->reset = APP_START;
    S->limit = S->end;
    S->intact = true;
    S->locked = FLASH_REGS->OBR & FLASH_OBR_RDPRT;
    S->stride = TRANSFER_SIZE; /* S->dfu: by the first bus reset */
    if (r) {
        S->valid = true;
        S->reset = r->reset;
#if HEAD
        S->sp = r->sp;
    } else {
#else
        S->base = (uint32_t)record_vectors(r);
    } else if (blank != -1) { /* not the first time */
#endif
        for (int i = PAGES_MAX - 1; i >= 0; i--)
            S->pages[i] = SUSPECT;
        S->torn = true;
    }
    if (PROTECT_ITSELF)
        options_protect();
#if !HEAD
    uint32_t entered = ((const volatile uint32_t *)FLASH_BASE)[1] - ENTRY;
    if (entered != S->stub && entered != S->zero) { /* another bootloader has put it there */
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
        if (tick() && S->leaving && !S->finishing && !--S->leaving)
            restart();
    }
}
