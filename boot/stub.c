/* SPDX-License-Identifier: MIT */
/*
 * The permanent stub: one page that stands at the end of flash for ever, and at 0x08000000 before
 * the first application. It decides at reset what runs, starts it, and installs the bootloader.
 *
 * The same bytes run at both places: nothing here depends on its address, calls nothing outside this
 * file, and the way to the application uses neither RAM nor stack (promise P8: its RAM is byte-equal
 * after a normal start; the build checks that reset_entry() needs no stack).
 */
#include "stub.h"

/* Where reset_entry() stands in the image, as a Thumb address; the linker script asserts it. */
enum { ENTRY = 0x35 };

/* Words 2 to 6 are no vectors: nothing here enables an exception. 4 is a sum of the proper (the linker
 * script puts it), so that stubs differ where propers do. 7 and 8 stay zero, so that bootloaders that
 * park an application's vectors there can install this image. */
__attribute__((section(".stub.vectors"), used)) const uint32_t stub_vectors[4] = {
    STACK_TOP,
    FLASH_BASE + ENTRY, /* reset_entry(), as installer */
    0x6F626163,         /* "caboose\0" */
    0x0065736F,
};

/* What the bootloader proper may call (stub.h): these places are for ever. */
__asm(".section .stub.services, \"ax\"\n"
      ".macro service name\n"
      ".global stub_\\name\n"
      ".thumb_func\n"
      "stub_\\name: b.w \\name\n"
      ".endm\n"
      "service flash_erase\n"
      "service flash_program\n"
      "service journal_clear\n"
      "service journal_write\n"
      ".text\n");
#define SERVICE static __attribute__((used)) enum dfu_status

/* Where this code stands now. */
static inline uint32_t here(void)
{
    return (uint32_t)stub_vectors;
}

static inline uint32_t journal(void)
{
    return journal_of(here(), page_size(here()));
}

static inline uint32_t journal_end(void)
{
    return journal() + page_size(here());
}

static _Noreturn inline void jump(uint32_t code, uint32_t argument)
{
    register uint32_t r0 __asm("r0") = argument;
    __asm volatile("bx %0" : : "r"(code | 1), "r"(r0));
    __builtin_unreachable();
}

/* Into DFU. r: the valid record, or NULL. */
static _Noreturn inline void start_proper(uint32_t stub, const struct record *r)
{
    __asm volatile("msr msp, %0" : : "r"(STACK_TOP));
    jump(stub - PROPER_SIZE, (uint32_t)r);
}

/* --- flash: erase and program in place, read back ----------------------------------------------- */

static void begin(uint32_t cr)
{
    if (FLASH_REGS->CR & FLASH_CR_LOCK) { /* since reset; PM0075 §2.3.1 */
        FLASH_REGS->KEYR = FLASH_KEY1;
        FLASH_REGS->KEYR = FLASH_KEY2;
    }
    FLASH_REGS->SR = FLASH_SR_PGERR | FLASH_SR_WRPRTERR | FLASH_SR_EOP;
    FLASH_REGS->CR = cr;
}

/* The CPU stands still at its next instruction while flash is busy (PM0075 §1.1), so this finds the
 * work done; a watchdog that option bytes started is fed. */
static enum dfu_status end(bool good, enum dfu_status status)
{
    IWDG_KR = IWDG_KR_RELOAD;
    if (FLASH_REGS->SR & FLASH_SR_WRPRTERR)
        return DFU_ERR_WRITE;
    return good ? DFU_OK : status;
}

static void wait(void)
{
    for (unsigned i = 0; i < 1U << 23 && FLASH_REGS->SR & FLASH_SR_BSY; i++) {
    }
}

SERVICE flash_erase(uint32_t page)
{
    begin(FLASH_CR_PER); /* PM0075 §2.3.4 */
    FLASH_REGS->AR = page;
    FLASH_REGS->CR = FLASH_CR_PER | FLASH_CR_STRT;
    (void)FLASH_REGS->SR; /* BSY rises one cycle late (errata sheet of F10xx8/B) */
    wait();
    uint32_t all = 0xFFFFFFFF;
    for (uint32_t i = 0; i < page_size(here() | page); i += 4)
        all &= *(const volatile uint32_t *)(page + i);
    return end(all == 0xFFFFFFFF, DFU_ERR_ERASE);
}

SERVICE flash_program(uint32_t addr, uint16_t value)
{
    volatile uint16_t *cell = (volatile uint16_t *)addr;

    begin(FLASH_CR_PG); /* PM0075 §2.3.3 */
    *cell = value;
    wait();
    return end(*cell == value, FLASH_REGS->SR & FLASH_SR_PGERR ? DFU_ERR_PROG : DFU_ERR_VERIFY);
}

/* --- the journal -------------------------------------------------------------------------------- */

/* The first record behind the last that was ever used. */
static uint32_t journal_free(void)
{
    uint32_t r = journal_end();

    while (r > journal() && (((const uint32_t *)r)[-1] & ((const uint32_t *)r)[-2]) == 0xFFFFFFFF)
        r -= sizeof(struct record);
    return r;
}

static enum dfu_status program_record(uint32_t at, uint32_t reset, uint32_t check)
{
    uint16_t half[4] = {
        (uint16_t)reset, (uint16_t)(reset >> 16), (uint16_t)check, (uint16_t)(check >> 16)};
    enum dfu_status status = DFU_OK;

    for (unsigned i = 0; i < 4 && status == DFU_OK; i++)
        status = flash_program(at + 2 * i, half[i]);
    return status;
}

/* The last record is zeroed whatever it reads as: a cut may have left it half written, half zeroed. */
SERVICE journal_clear(void)
{
    uint32_t r = journal_free();
    return r > journal() ? program_record(r - sizeof(struct record), 0, 0) : DFU_OK;
}

SERVICE journal_write(uint32_t reset)
{
    uint32_t r = journal_free();

    if (r == journal_end()) {
        r = journal();
        enum dfu_status status = flash_erase(r);
        if (status != DFU_OK)
            return status;
    }
    return program_record(r, reset, record_check(reset));
}

/* --- installing --------------------------------------------------------------------------------- */

/*
 * Runs from 0x08000000 and moves everything to the end of flash, page by page: first the journal is
 * cleared, so that no record of former times speaks for the application, then the bootloader proper,
 * and last the stub. So a stub that stands complete says that everything does. A power cut anywhere
 * before starts this again; page 0 is not touched, it leads here, and when all stands, on into DFU:
 * as long as page 0 is the installer's there is no application, whatever the journal says (a probe may
 * have put the image over page 0 of one).
 */
static _Noreturn void install(void)
{
    uint32_t low = here(), end = low + FLASH_SIZE_KB * 1024U, page = page_size(end - 1);
    uint32_t stub = end - page;
    bool installed = true;

    for (uint32_t i = 0; i < STUB_SIZE; i += 4)
        installed &= *(const uint32_t *)(stub + i) == *(const uint32_t *)(low + i);
    if (installed || ((const uint32_t *)low)[1] == stub + ENTRY)
        start_proper(stub, 0);

    for (uint32_t at = journal_of(stub, page); at < end;) {
        enum dfu_status status = DFU_OK;
        if (!(at & (page - 1)))
            status = flash_erase(at);
        uint32_t from = at - stub; /* in the image: the stub first */
        if (from >= STUB_SIZE)
            from += IMAGE_SIZE;
        if (from >= STUB_SIZE || at >= stub) {
            uint16_t value = from < IMAGE_SIZE ? *(const uint16_t *)(low + from) : 0xFFFF;
            if (value != 0xFFFF && status == DFU_OK)
                status = flash_program(at, value);
        }
        at += 2;
        if (status != DFU_OK)
            at = (at - 2) & ~(page - 1); /* once more */
    }
    SCB_AIRCR = SCB_AIRCR_SYSRESETREQ;
    for (;;) {
    }
}

/*
 * What runs now? The reset button (the pin without any other cause; RM0008 §7.3.10) and a request in
 * a backup register ask for DFU. Otherwise the application whose record is valid, with the reset's
 * cause (RCC_CSR as it was) in r0: the flags themselves must be cleared at each boot or the button
 * would not be told from what came before. Nothing valid: DFU.
 */
_Noreturn __attribute__((section(".stub.entry"))) void reset_entry(void)
{
    if (here() == FLASH_BASE)
        jump((uint32_t)install, 0);

    uint32_t cause = RCC->CSR;
    RCC->CSR = RCC_CSR_RMVF;
    bool dfu = (cause & (RCC_CSR_LPWRRSTF | RCC_CSR_WWDGRSTF | RCC_CSR_IWDGRSTF | RCC_CSR_SFTRSTF |
                            RCC_CSR_PORRSTF | RCC_CSR_PINRSTF)) == RCC_CSR_PINRSTF;

    RCC->APB1ENR = RCC_APB1ENR_PWREN | RCC_APB1ENR_BKPEN;
    unsigned asked = BKP_DR(10) == REQUEST_DR10 ? 10 : BKP_DR(1) == REQUEST_DR1 ? 1 : 0;
    if (asked) {
        PWR_CR = PWR_CR_DBP;
        BKP_DR(asked) = 0; /* once */
        dfu = true;
    }
    RCC->APB1ENR = 0;

    const struct record *r = (const struct record *)journal();
    while (!record_valid(r))
        if ((uint32_t)++r == journal_end()) {
            r = 0;
            break;
        }
    if (!dfu && r)
        jump(r->reset, cause); /* the stack pointer is the application's: word 0 is its own */
    start_proper(here(), r);
}
