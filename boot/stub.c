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

/* journal_clear() in the table of services, as a Thumb address. */
enum { CLEAR = 0x2D };

/* Words 2 to 6 are no vectors: nothing here enables an exception. 4 is a sum of the proper (the linker
 * script puts it), so that stubs differ where propers do. 7 and 8 stay zero, so that bootloaders that
 * park an application's vectors there can install this image. */
__attribute__((section(".stub.vectors"), used)) const uint32_t stub_vectors[] = {
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

static __attribute__((noinline)) struct record *journal(void)
{
    return (struct record *)journal_of(here(), page_size(here()));
}

/* code: odd, for Thumb. */
static _Noreturn inline void jump(uint32_t code, uint32_t argument)
{
    register uint32_t r0 __asm("r0") = argument;
    __asm volatile("bx %0" : : "r"(code), "r"(r0));
    __builtin_unreachable();
}

/* The application, as if from reset, with the reset's cause in r0. */
static _Noreturn inline void start(const uint32_t *vectors, uint32_t reset, uint32_t cause)
{
    register uint32_t r0 __asm("r0") = cause;
    SCB_VTOR = (uint32_t)vectors - FLASH_BASE; /* flash stands at 0, too */
    __asm volatile("msr msp, %0\n bx %1" : : "r"(vectors[0]), "r"(reset), "r"(r0));
    __builtin_unreachable();
}

/* --- flash: erase and program in place, read back ----------------------------------------------- */

/* FLASH_CR_PER or FLASH_CR_PG. The CPU stands still at its next instruction while flash is busy
 * (PM0075 §1.1), so the loop finds the work done; a watchdog that option bytes started is fed. */
static enum dfu_status operate(uint32_t addr, unsigned value, uint32_t cr)
{
    if (FLASH_REGS->CR & FLASH_CR_LOCK) { /* since reset; PM0075 §2.3.1 */
        FLASH_REGS->KEYR = FLASH_KEY1;
        FLASH_REGS->KEYR = FLASH_KEY2;
    }
    FLASH_REGS->SR = FLASH_SR_PGERR | FLASH_SR_WRPRTERR | FLASH_SR_EOP;
    FLASH_REGS->CR = cr;
    if (cr == FLASH_CR_PG) { /* PM0075 §2.3.3 */
        *(volatile uint16_t *)addr = (uint16_t)value;
    } else { /* PM0075 §2.3.4 */
        FLASH_REGS->AR = addr;
        FLASH_REGS->CR = FLASH_CR_PER | FLASH_CR_STRT;
    }
    uint32_t sr = FLASH_REGS->SR; /* BSY rises one cycle late (errata sheet of F10xx8/B) */
    for (unsigned i = 0; i < 1U << 23; i++) {
        sr = FLASH_REGS->SR;
        if (!(sr & FLASH_SR_BSY))
            break;
    }
    IWDG_KR = IWDG_KR_RELOAD;
    return sr & FLASH_SR_WRPRTERR ? DFU_ERR_WRITE : DFU_OK;
}

SERVICE flash_erase(uint32_t page)
{
    enum dfu_status status = operate(page, 0, FLASH_CR_PER);

    for (uint32_t i = 0; i < page_size(here() | page); i += 4)
        if (*(const volatile uint32_t *)(page + i) != 0xFFFFFFFF && status == DFU_OK)
            status = DFU_ERR_ERASE;
    return status;
}

SERVICE flash_program(uint32_t addr, unsigned value)
{
    enum dfu_status status = operate(addr, value, FLASH_CR_PG);

    if (*(const volatile uint16_t *)addr != value && status == DFU_OK)
        status = DFU_ERR_VERIFY;
    return status;
}

/* --- the journal -------------------------------------------------------------------------------- */

/* The first record behind the last that was ever used. */
static struct record *journal_free(void)
{
    struct record *start = journal(), *r = start + JOURNAL_RECORDS;

    while (r > start && (r[-1].reset & r[-1].check) == 0xFFFFFFFF)
        r--;
    return r;
}

static enum dfu_status program_record(struct record *at, uint32_t reset, uint32_t check)
{
    uint16_t half[4] = {
        (uint16_t)reset, (uint16_t)(reset >> 16), (uint16_t)check, (uint16_t)(check >> 16)};
    enum dfu_status status = DFU_OK;

    for (unsigned i = 0; i < 4 && status == DFU_OK; i++)
        status = flash_program((uint32_t)at + 2 * i, half[i]);
    return status;
}

/* The last record is zeroed whatever it reads as: a cut may have left it half written, half zeroed.
 * Without any, the first is: from now on the journal is not blank. */
SERVICE journal_clear(void)
{
    struct record *r = journal_free();

    if (r != journal())
        r--;
    flash_program((uint32_t)r + 6, 0);
    return program_record(r, 0, 0);
}

SERVICE journal_write(uint32_t reset, uint32_t check)
{
    struct record *r = journal_free();
    enum dfu_status status = DFU_OK;

    if (r == journal() + JOURNAL_RECORDS) {
        r = journal();
        status = flash_erase((uint32_t)r);
    }
    return status == DFU_OK ? program_record(r, reset, check) : status;
}

/* --- installing --------------------------------------------------------------------------------- */

static bool copy(uint32_t to, uint32_t from, uint32_t size)
{
    uint32_t page = page_size(here() | to);
    bool good = true;

    for (uint32_t at = to & ~(page - 1); at < to + size && good; at += 2) {
        if (!(at & (page - 1)))
            good = flash_erase(at) == DFU_OK;
        if (at >= to && good)
            good = flash_program(at, *(const uint16_t *)(from + (at - to))) == DFU_OK;
    }
    return good;
}

/*
 * Runs from 0x08000000 as long as page 0 is the image's. A probe has put it there, or another
 * bootloader: everything is moved to the end of flash, page by page. First the stub's
 * page is erased, and the journal, so that no record of former times speaks for the application; then
 * comes the bootloader proper, last the stub. Page 0 is not touched: wherever power fails, it leads here again.
 *
 * Or the caboose at the end of flash has taken the image for an application: then page 0 leads to its
 * stub, which stays, with its journal. Only the proper is replaced, and then the record, which leads
 * here until that is done, is zeroed.
 *
 * Where anything differs all is written again: what power failed over is not what it looks like. An
 * image whose sum is wrong was partly overwritten by the next application.
 */
static _Noreturn void install(void)
{
    uint32_t low = here(), end = low + FLASH_SIZE_KB * 1024U, page = page_size(end - 1);
    uint32_t stub = end - page, sum = 0;
    bool resident = ((const uint32_t *)low)[1] == stub + ENTRY, same = !resident;

    for (uint32_t i = 0; i < IMAGE_SIZE; i += 4) {
        uint32_t word = *(const uint32_t *)(low + i), there = stub + i;
        if (i >= STUB_SIZE) {
            there -= IMAGE_SIZE;
            sum += word;
        } else if (resident) {
            continue;
        }
        if (word != *(const uint32_t *)there)
            same = false;
    }
    while (!same && sum == ((const uint32_t *)low)[4]) {
        same = true;
        if (!resident) {
            flash_erase(stub); /* once more, and checked, by copy() */
            same = flash_erase(journal_of(stub, page)) == DFU_OK;
        }
        same = same && copy(stub - PROPER_SIZE, low + STUB_SIZE, PROPER_SIZE) &&
               (resident || copy(stub, low, STUB_SIZE));
    }
    if (resident)
        ((enum dfu_status(*)(void))(stub + CLEAR))();
    jump(stub + ENTRY, 0);
}

/*
 * What runs now? The reset button (the pin without any other cause; RM0008 §7.3.10) and a request in
 * a backup register or in RAM ask for DFU, and what else the board chose. Otherwise the application
 * whose record is valid, with the reset's cause (RCC_CSR as it was) in r0: the flags themselves must be
 * cleared at each boot or the button would not be told from what came before. Nothing valid: DFU.
 */
_Noreturn __attribute__((section(".stub.entry"))) void reset_entry(void)
{
    if (here() == FLASH_BASE)
        jump((uint32_t)install, 0);

    bool dfu = RAM_REQUEST->word == REQUEST_RAM, button = false; /* the proper clears it */
    if (ENTER_PORT) {
        RCC->APB2ENR = RCC_APB2ENR_IOPEN(ENTER_PORT);
        dfu |= (GPIO(ENTER_PORT)->IDR >> ENTER_PIN & 1) == ENTER_LEVEL;
        RCC->APB2ENR = 0;
    }
    uint32_t cause = RCC->CSR;
    if (ENTER_BY_RESET) {
        RCC->CSR = RCC_CSR_RMVF;
        button =
            (cause & (RCC_CSR_LPWRRSTF | RCC_CSR_WWDGRSTF | RCC_CSR_IWDGRSTF | RCC_CSR_SFTRSTF |
                         RCC_CSR_PORRSTF | RCC_CSR_PINRSTF)) == RCC_CSR_PINRSTF;
        if (ENTER_BY_RESET == 1)
            dfu |= button;
    }

    RCC->APB1ENR = RCC_APB1ENR_PWREN | RCC_APB1ENR_BKPEN;
    unsigned asked = BKP_DR(10) == REQUEST_DR10 ? 10 : 0;
    if (ENTER_BY_DR1 && !asked && BKP_DR(1) == REQUEST_DR1)
        asked = 1;
    if (asked) {
        PWR_CR = PWR_CR_DBP;
        BKP_DR(asked) = 0; /* once */
        dfu = true;
    } else if (ENTER_BY_RESET == 2 && button) { /* another press in time finds a request */
        PWR_CR = PWR_CR_DBP;
        BKP_DR(10) = REQUEST_DR10;
        for (unsigned i = TAP_MS * 2000U; i; i--) /* 4 cycles of 8 MHz */
            __asm volatile("");
        BKP_DR(10) = 0;
        PWR_CR = 0;
    }
    if (ENTER_AFTER_RESETS) {
        uint32_t resets = BKP_DR(7) + 1;
        dfu |= resets > ENTER_AFTER_RESETS;
        PWR_CR = PWR_CR_DBP;
        BKP_DR(7) = dfu ? 0 : resets;
        PWR_CR = 0;
    }
    RCC->APB1ENR = 0;

    const struct record *r = (const struct record *)journal_of(here(), page_size(here()));
    while (!record_valid(r))
        if (!((uint32_t)++r & (sizeof(struct record) * JOURNAL_RECORDS - 1))) {
            r = 0;
            goto proper;
        }

    const uint32_t *vectors = record_vectors(r);
    uint32_t reset = vectors[1];
    if (vectors == (const uint32_t *)FLASH_BASE) /* no other than ours, if no probe was here */
        reset = reset == here() + ENTRY ? r->reset : 0;
    if (reset >> 20 != FLASH_BASE >> 20) {
        r = 0;
        goto proper;
    }
    if (!dfu || reset == FLASH_BASE + ENTRY) /* a self-update is first of all finished */
        start(vectors, reset, cause);
proper:
    __asm volatile("msr msp, %0" : : "r"(STACK_TOP));
    jump(here() - PROPER_SIZE + 1, (uint32_t)r);
}
