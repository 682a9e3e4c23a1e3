/* SPDX-License-Identifier: MIT */
/*
 * What the simulated board promises, tried from inside: a small guest (firmware/board_poke.c) does
 * the accesses that a test orders, one after the other, from flash or from RAM.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/board.h"
#include "tests/firmware/board_poke.h"

/* Criterion's own macros store an int in a bit-field. */
#pragma GCC diagnostic ignored "-Wconversion"

/* --- the guest ---------------------------------------------------------------------------------- */

#define FLASH  UINT32_C(0x08000000)
#define OPTION UINT32_C(0x1FFFF800)
#define RAM    UINT32_C(0x20000000)

enum { /* registers, by the manuals */
    RCC_CR = 0x40021000,
    RCC_CFGR = 0x40021004,
    RCC_APB2RSTR = 0x4002100C,
    RCC_AHBENR = 0x40021014,
    RCC_APB2ENR = 0x40021018,
    RCC_APB1ENR = 0x4002101C,
    RCC_BDCR = 0x40021020,
    RCC_CSR = 0x40021024,
    FLASH_ACR = 0x40022000,
    FLASH_KEYR = 0x40022004,
    FLASH_OPTKEYR = 0x40022008,
    FLASH_SR = 0x4002200C,
    FLASH_CR = 0x40022010,
    FLASH_AR = 0x40022014,
    FLASH_OBR = 0x4002201C,
    FLASH_WRPR = 0x40022020,
    GPIOA = 0x40010800,
    GPIOC = 0x40011000,
    AFIO_MAPR = 0x40010004,
    EXTI = 0x40010400,
    PWR_CR = 0x40007000,
    BKP_DR1 = 0x40006C04,
    BKP_DR10 = 0x40006C28,
    BKP_DR11 = 0x40006C40,
    IWDG = 0x40003000,
    WWDG = 0x40002C00,
    USART1 = 0x40013800,
    CRC = 0x40023000,
    TIM2 = 0x40000000,
    DMA1 = 0x40020000,
    ADC1 = 0x40012400,
};
enum { /* FLASH_CR */
    PG = 1,
    PER = 2,
    MER = 4,
    OPTPG = 0x10,
    OPTER = 0x20,
    STRT = 0x40,
    LOCK = 0x80,
    OPTWRE = 0x200
};
enum { BSY = 1, PGERR = 4, WRPRTERR = 0x10, EOP = 0x20 }; /* FLASH_SR */
#define KEY1 UINT32_C(0x45670123)
#define KEY2 UINT32_C(0xCDEF89AB)
enum {
    PINRSTF = 0x04,
    PORRSTF = 0x08,
    SFTRSTF = 0x10,
    IWDGRSTF = 0x20,
    WWDGRSTF = 0x40
}; /* CSR >> 24 */

/* A free place in flash, far from the guest. */
#define PLACE (FLASH + 0x8000)

static struct board *b;
static enum board_stop stop; /* how the last access ended */
static bool from_ram;
static char uart_text[64];
static unsigned uart_length;
static char pin_text[256];
static uint64_t trace_hash;

static void on_uart(void *context, unsigned usart, uint8_t byte)
{
    (void)context;
    cr_assert(eq(uint, usart, 1));
    uart_text[uart_length++ % sizeof uart_text] = (char)byte;
}

static void on_pin(void *context, char port, unsigned pin, bool level)
{
    char one[16];
    (void)context;
    snprintf(one, sizeof one, "%c%u=%d ", port, pin, level);
    strncat(pin_text, one, sizeof pin_text - strlen(pin_text) - 1);
}

static void on_log(void *context, const char *line)
{
    (void)context;
    if (getenv("BOARD_LOG"))
        fprintf(stderr, "%s\n", line);
}

static void on_trace(void *context, const char *line)
{
    (void)context;
    for (; *line; line++)
        trace_hash = (trace_hash ^ (uint8_t)*line) * UINT64_C(0x100000001B3);
}

static uint8_t *read_file(const char *path, size_t *size)
{
    static uint8_t bytes[65536];
    FILE *f = fopen(path, "rb");
    cr_assert(ne(ptr, f, NULL), "%s: run make check", path);
    *size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    return bytes;
}

static void load_guest(struct board *board)
{
    size_t size;
    uint8_t *guest = read_file("build/tests/firmware/board_poke.bin", &size);
    cr_assert(eq(int, board_load(board, FLASH, guest, size), 0));
}

static struct board_config config(void)
{
    return (struct board_config){
        .part = "stm32f103c8", .uart = on_uart, .pin = on_pin, .log = on_log, .trace = on_trace};
}

static void load32(uint32_t addr, uint32_t value)
{
    cr_assert(eq(int, board_load(b, addr, &value, 4), 0));
}

static void forget_faults(void)
{
    load32(MAILBOX_ADDR + 8, 0);
}

static void start_with(struct board_config c)
{
    b = board_new(&c);
    cr_assert(ne(ptr, b, NULL));
    load_guest(b);
    board_power(b, true);
    cr_assert(eq(int, board_run_for(b, 5 * BOARD_MS), BOARD_DONE));
    forget_faults(); /* RAM is anything at power-on */
}

static void start(void)
{
    start_with(config());
}

static void start_lenient(void)
{
    struct board_config c = config();
    c.lenient = true;
    start_with(c);
}

static void start_part(const char *part)
{
    struct board_config c = config();
    c.part = part;
    start_with(c);
}

static uint32_t peek32(uint32_t addr)
{
    uint32_t value;
    cr_assert(eq(int, board_peek(b, addr, &value, 4), 0));
    return value;
}

static uint16_t peek16(uint32_t addr)
{
    uint16_t value;
    cr_assert(eq(int, board_peek(b, addr, &value, 2), 0));
    return value;
}

static bool idle(void)
{
    return peek32(MAILBOX_ADDR) == 0;
}

/* Lets the guest do the steps, which get their results. Time passes in microseconds. */
static void orders(struct poke *steps, unsigned count)
{
    struct mailbox box = {.go = from_ram ? POKE_GO_RAM : POKE_GO_FLASH,
        .count = count,
        .faults = peek32(MAILBOX_ADDR + 8)};
    memcpy(box.step, steps, count * sizeof *steps);
    board_load(b, MAILBOX_ADDR, &box, sizeof box);
    stop = BOARD_DONE;
    for (unsigned us = 0; us < 100000 && !idle() && stop != BOARD_CUT; us++) {
        enum board_stop why = board_run_for(b, BOARD_US);
        if (why != BOARD_DONE)
            stop = why;
    }
    board_peek(b, MAILBOX_ADDR, &box, sizeof box);
    memcpy(steps, box.step, count * sizeof *steps);
}

static uint32_t order(uint32_t op, uint32_t addr, uint32_t value, uint32_t addr2)
{
    struct poke step = {op, addr, value, addr2};
    orders(&step, 1);
    return step.value;
}

static uint32_t read32(uint32_t addr)
{
    return order(POKE_READ32, addr, 0, 0);
}
static void write32(uint32_t addr, uint32_t value)
{
    order(POKE_WRITE32, addr, value, 0);
}
static void write16(uint32_t addr, uint32_t value)
{
    order(POKE_WRITE16, addr, value, 0);
}
static void write8(uint32_t addr, uint32_t value)
{
    order(POKE_WRITE8, addr, value, 0);
}

static uint32_t faults(void)
{
    return peek32(MAILBOX_ADDR + 8);
}

static bool broke_rule(const char *words)
{
    const struct board_complaint *c = board_complaint(b);
    if (stop == BOARD_ERROR && c && strstr(c->rule, words))
        return true;
    cr_log_error("stop %d, rule: %s", stop, c ? c->rule : "none");
    return false;
}

static void unlock(void)
{
    write32(FLASH_KEYR, KEY1);
    write32(FLASH_KEYR, KEY2);
    cr_assert(eq(u32, read32(FLASH_CR) & LOCK, 0));
}

static void unlock_options(void)
{
    unlock();
    write32(FLASH_OPTKEYR, KEY1);
    write32(FLASH_OPTKEYR, KEY2);
}

static void program(uint32_t addr, uint16_t value)
{
    write32(FLASH_CR, PG);
    write16(addr, value);
    order(POKE_WAIT_CLEAR, FLASH_SR, BSY, 0);
    write32(FLASH_CR, 0);
}

static void erase_page(uint32_t addr)
{
    write32(FLASH_CR, PER);
    write32(FLASH_AR, addr);
    write32(FLASH_CR, PER | STRT);
    order(POKE_WAIT_CLEAR, FLASH_SR, BSY, 0);
    write32(FLASH_CR, 0);
}

static void erase_options(void)
{
    write32(FLASH_CR, OPTWRE | OPTER);
    write32(FLASH_CR, OPTWRE | OPTER | STRT);
    order(POKE_WAIT_CLEAR, FLASH_SR, BSY, 0);
    write32(FLASH_CR, OPTWRE);
}

static void program_option(uint32_t offset, uint8_t value)
{
    write32(FLASH_CR, OPTWRE | OPTPG);
    write16(OPTION + offset, value);
    order(POKE_WAIT_CLEAR, FLASH_SR, BSY, 0);
    write32(FLASH_CR, OPTWRE);
}

static void reset(void)
{
    board_press_reset(b, BOARD_MS);
    cr_assert(eq(int, board_run_for(b, 2 * BOARD_MS), BOARD_DONE));
}

static void software_reset(void)
{
    struct mailbox box = {
        .go = POKE_GO_FLASH, .count = 1, .step[0] = {POKE_WRITE32, 0xE000ED0C, 0x05FA0004, 0}
    };
    struct board_counts before, after;
    board_load(b, MAILBOX_ADDR, &box, sizeof box);
    board_counts(b, &before);
    do {
        board_run_for(b, BOARD_US);
        board_counts(b, &after);
    } while (before.resets == after.resets);
    load32(MAILBOX_ADDR, 0);
    board_run_for(b, BOARD_MS);
}

static uint32_t reset_flags(void)
{
    return read32(RCC_CSR) >> 24;
}

static struct board_counts counts(void)
{
    struct board_counts c;
    board_counts(b, &c);
    return c;
}

static void to_72_mhz(void)
{
    write32(RCC_CR, 0x10083); /* HSE */
    order(POKE_READ32, RCC_CR, 0, 0);
    board_run_for(b, 3 * BOARD_MS);
    write32(FLASH_ACR, 0x32);
    write32(RCC_CFGR, 0x001D0400); /* PLL: HSE × 9; PCLK1 = HCLK / 2 */
    write32(RCC_CR, 0x01010083);
    board_run_for(b, BOARD_MS);
    write32(RCC_CFGR, 0x001D0402);
    cr_assert(eq(u32, read32(RCC_CFGR) >> 2 & 3, 2));
}

static void finish(void)
{
    board_free(b);
    b = NULL;
}

/* --- flash -------------------------------------------------------------------------------------- */

TestSuite(flash, .fini = finish, .timeout = 60);

Test(flash, byte_store_to_flash_is_a_bus_fault)
{
    start_lenient();
    unlock();
    write32(FLASH_CR, PG);
    write8(PLACE, 0x12);
    cr_assert(eq(u32, faults(), 1));
    cr_assert(eq(u32, peek32(PLACE), UINT32_MAX));
}

Test(flash, word_store_to_flash_is_a_bus_fault)
{
    start_lenient();
    unlock();
    write32(FLASH_CR, PG);
    write32(PLACE, 0x12345678);
    cr_assert(eq(u32, faults(), 1));
    cr_assert(eq(u32, peek32(PLACE), UINT32_MAX));
}

Test(flash, a_strict_board_stops_at_a_byte_store)
{
    start();
    unlock();
    write32(FLASH_CR, PG);
    write8(PLACE, 0x12);
    cr_assert(broke_rule("byte store to flash"));
    cr_assert(eq(u32, board_complaint(b)->addr, PLACE));
    cr_assert(eq(u32, board_complaint(b)->pc >> 16, 0x0800));
}

Test(flash, store_without_pg_breaks_a_rule)
{
    start();
    unlock();
    write16(PLACE, 0x1234);
    cr_assert(broke_rule("PG clear"));
    cr_assert(eq(u32, peek32(PLACE), UINT32_MAX));
}

Test(flash, store_through_the_alias_breaks_a_rule)
{
    start();
    unlock();
    write32(FLASH_CR, PG);
    write16(PLACE - FLASH, 0x1234);
    cr_assert(broke_rule("alias"));
}

Test(flash, wrong_key_locks_flash_until_reset)
{
    start_lenient();
    write32(FLASH_KEYR, 0xBADC0DE);
    cr_assert(eq(u32, faults(), 1));
    write32(FLASH_KEYR, KEY1);
    write32(FLASH_KEYR, KEY2);
    cr_assert(eq(u32, read32(FLASH_CR) & LOCK, LOCK));
    reset();
    forget_faults();
    unlock();
    cr_assert(eq(u32, faults(), 0));
}

Test(flash, wrong_second_key_is_a_bus_fault_too)
{
    start_lenient();
    write32(FLASH_KEYR, KEY1);
    cr_assert(eq(u32, faults(), 0));
    write32(FLASH_KEYR, KEY1);
    cr_assert(eq(u32, faults(), 1));
}

Test(flash, it_can_be_locked_and_unlocked_again)
{
    start();
    unlock();
    write32(FLASH_CR, LOCK);
    cr_assert(eq(u32, read32(FLASH_CR) & LOCK, LOCK));
    unlock();
    cr_assert(eq(int, stop, BOARD_DONE));
}

Test(flash, cr_cannot_be_written_while_locked)
{
    start_lenient();
    write32(FLASH_CR, PG);
    cr_assert(eq(u32, read32(FLASH_CR), LOCK));
    cr_assert(eq(u64, counts().complaints, 1));
}

Test(flash, its_registers_take_words_only)
{
    start();
    write16(FLASH_CR, PG);
    cr_assert(broke_rule("words only"));
}

Test(flash, a_half_word_takes_its_time_and_sets_eop)
{
    static const struct {
        enum board_timing timing;
        uint64_t ns;
    } cases[] = {
        {BOARD_TYPICAL, 52500},
        {BOARD_FASTEST, 40000},
        {BOARD_SLOWEST, 70000}
    };
    for (unsigned i = 0; i < 3; i++) {
        struct board_config c = config();
        c.timing = cases[i].timing;
        start_with(c);
        unlock();
        write32(FLASH_CR, PG);
        uint64_t before = board_now(b);
        write16(PLACE, 0xBEEF);
        uint64_t took = board_now(b) - before;
        cr_assert(
            took >= cases[i].ns && took < cases[i].ns + 20000, "%llu ns", (unsigned long long)took);
        cr_assert(eq(u32, read32(FLASH_SR), EOP));
        cr_assert(eq(u16, peek16(PLACE), 0xBEEF));
        finish();
    }
}

Test(flash, programming_over_a_programmed_cell_sets_pgerr_and_changes_nothing)
{
    start();
    unlock();
    program(PLACE, 0x1234);
    write32(FLASH_SR, EOP);
    program(PLACE, 0x1230); /* only clears bits */
    cr_assert(eq(u32, read32(FLASH_SR), PGERR));
    write32(FLASH_SR, PGERR);
    program(PLACE, 0x1234); /* changes nothing */
    cr_assert(eq(u32, read32(FLASH_SR), PGERR));
    cr_assert(eq(u16, peek16(PLACE), 0x1234));
    cr_assert(eq(u64, counts().flash_operations, 1));
}

Test(flash, zero_may_be_programmed_over_anything)
{
    start();
    unlock();
    program(PLACE, 0x1234);
    program(PLACE, 0);
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
    cr_assert(eq(u16, peek16(PLACE), 0));
    program(PLACE, 0);
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
}

Test(flash, flags_stay_until_one_is_written)
{
    start();
    unlock();
    program(PLACE, 0x1234);
    program(PLACE, 0x4321);
    program(PLACE + 2, 0x4321);
    cr_assert(eq(u32, read32(FLASH_SR), EOP | PGERR));
    write32(FLASH_SR, 0);
    cr_assert(eq(u32, read32(FLASH_SR), EOP | PGERR));
    write32(FLASH_SR, EOP);
    cr_assert(eq(u32, read32(FLASH_SR), PGERR));
    write32(FLASH_SR, PGERR);
    cr_assert(eq(u32, read32(FLASH_SR), 0));
}

Test(flash, a_page_erase_clears_exactly_one_page)
{
    static const struct {
        const char *part;
        uint32_t page;
    } cases[] = {
        {"stm32f103c8", 1024},
        {"stm32f103rc", 2048}
    };
    for (unsigned i = 0; i < 2; i++) {
        start_part(cases[i].part);
        uint32_t page = cases[i].page;
        load32(PLACE - 4, 1);
        load32(PLACE, 2);
        load32(PLACE + page - 4, 3);
        load32(PLACE + page, 4);
        unlock();
        erase_page(PLACE + 100);
        cr_assert(eq(u32, read32(FLASH_SR), EOP));
        cr_assert(eq(u32, peek32(PLACE - 4), 1));
        cr_assert(eq(u32, peek32(PLACE), UINT32_MAX));
        cr_assert(eq(u32, peek32(PLACE + page - 4), UINT32_MAX));
        cr_assert(eq(u32, peek32(PLACE + page), 4));
        cr_assert(eq(u32, board_page_wear(b, 0x8000 / page), 1));
        finish();
    }
}

Test(flash, strt_and_bsy_fall_when_the_erase_ends)
{
    struct poke steps[] = {
        {POKE_WRITE32,    FLASH_CR, PER | STRT, 0},
        {POKE_READ32,     FLASH_CR, 0,          0},
        {POKE_READ32,     FLASH_SR, 0,          0},
        {POKE_WAIT_CLEAR, FLASH_SR, BSY,        0},
        {POKE_READ32,     FLASH_CR, 0,          0},
        {POKE_READ32,     FLASH_SR, 0,          0},
    };
    start();
    from_ram = true;
    unlock();
    write32(FLASH_CR, PER);
    write32(FLASH_AR, PLACE);
    orders(steps, 6);
    cr_assert(eq(u32, steps[1].value, PER | STRT));
    cr_assert(eq(u32, steps[2].value, BSY));
    cr_assert(eq(u32, steps[4].value, PER));
    cr_assert(eq(u32, steps[5].value, EOP));
}

Test(flash, flash_fetch_stalls_while_an_erase_runs)
{
    start();
    unlock();
    write32(FLASH_CR, PER);
    write32(FLASH_AR, PLACE);
    uint64_t before = board_now(b);
    write32(FLASH_CR, PER | STRT);
    cr_assert(ge(u64, board_now(b) - before, 30 * BOARD_MS));
    cr_assert(eq(u32, read32(FLASH_SR), EOP)); /* it never sees BSY */
}

Test(flash, code_in_ram_goes_on_while_an_erase_runs)
{
    start();
    from_ram = true;
    unlock();
    write32(FLASH_CR, PER);
    write32(FLASH_AR, PLACE);
    uint64_t before = board_now(b);
    uint32_t sr = order(POKE_WRITE_READ, FLASH_CR, PER | STRT, FLASH_SR);
    cr_assert(eq(u32, sr, 0), "BSY must rise one instruction late (erratum)");
    cr_assert(lt(u64, board_now(b) - before, BOARD_MS));
}

Test(flash, registers_refuse_writes_while_busy)
{
    start_lenient();
    struct poke steps[] = {
        {POKE_WRITE32,    FLASH_CR, PER | STRT, 0},
        {POKE_WRITE32,    FLASH_CR, 0,          0},
        {POKE_WRITE32,    FLASH_AR, 0,          0},
        {POKE_WRITE16,    PLACE,    0,          0},
        {POKE_WAIT_CLEAR, FLASH_SR, BSY,        0},
        {POKE_READ32,     FLASH_CR, 0,          0},
    };
    from_ram = true;
    unlock();
    write32(FLASH_CR, PER);
    write32(FLASH_AR, PLACE);
    orders(steps, 6);
    cr_assert(eq(u64, counts().complaints, 3));
    cr_assert(eq(u32, steps[5].value, PER));
    cr_assert(eq(u32, peek32(PLACE), UINT32_MAX));
}

Test(flash, write_protected_pages_refuse)
{
    static const uint8_t options[16] = {
        0xA5, 0x5A, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFE, 0x01, 0xFF, 0, 0xFF, 0};
    start();
    board_load(b, OPTION, options, sizeof options); /* WRP1 bit 0: pages 32 … 35 */
    reset();
    cr_assert(eq(u32, read32(FLASH_WRPR), 0xFFFFFEFF));
    unlock();
    load32(PLACE, 0x1234);
    erase_page(PLACE);
    cr_assert(eq(u32, read32(FLASH_SR), WRPRTERR));
    cr_assert(eq(u32, peek32(PLACE), 0x1234));
    program(PLACE + 0xFFE, 0);
    cr_assert(eq(u16, peek16(PLACE + 0xFFE), 0xFFFF));
    write32(FLASH_SR, WRPRTERR);
    program(PLACE + 0x1000, 0); /* page 36 */
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
    write32(FLASH_CR, MER);
    write32(FLASH_CR, MER | STRT);
    cr_assert(eq(u32, read32(FLASH_SR), EOP | WRPRTERR));
}

Test(flash, option_bytes_count_only_after_reset)
{
    start();
    unlock_options();
    erase_options();
    program_option(0, 0xA5);
    program_option(4, 0x42);
    cr_assert(eq(u32, peek32(OPTION), 0xFFFF5AA5)); /* the hardware adds the complement */
    cr_assert(eq(u32, peek32(OPTION + 4), 0xFFFFBD42));
    cr_assert(eq(u32, read32(FLASH_OBR), 0x03FFFFFC));
    reset();
    cr_assert(eq(u32, read32(FLASH_OBR), (0x03FFFFFC & ~0x3FC00U) | 0x42 << 10));
}

Test(flash, erased_option_bytes_mean_read_protection_but_no_mass_erase)
{
    start();
    unlock_options();
    erase_options();
    reset();
    cr_assert(eq(u32, read32(FLASH_OBR), 0x03FFFFFE));
    cr_assert(eq(u64, counts().mass_erases, 0));
}

Test(flash, an_option_byte_without_its_complement_counts_as_0xff)
{
    static const uint8_t options[16] = {
        0xA5, 0x5A, 0xFF, 0, 0x12, 0x34, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0};
    start();
    board_load(b, OPTION, options, sizeof options);
    reset();
    cr_assert(eq(u32, read32(FLASH_OBR), 0x03FFFFFD));
}

Test(flash, option_bytes_need_their_own_key)
{
    start();
    unlock();
    write32(FLASH_CR, OPTPG);
    write16(OPTION + 4, 0x12);
    cr_assert(broke_rule("OPTWRE"));
}

static void protect(void)
{
    uint8_t options[16];
    memset(options, 0xFF, sizeof options);
    board_load(b, OPTION, options, sizeof options);
    reset();
    cr_assert(eq(u32, read32(FLASH_OBR) & 2, 2));
}

Test(flash, read_protection_locks_the_first_pages_and_code_in_ram)
{
    start();
    protect();
    unlock();
    program(FLASH + 0xFFE, 0); /* page 3 */
    cr_assert(eq(u32, read32(FLASH_SR), WRPRTERR));
    write32(FLASH_SR, WRPRTERR);
    program(FLASH + 0x1000, 0);
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
    write32(FLASH_SR, EOP);
    from_ram = true;
    program(PLACE, 0);
    cr_assert(eq(u32, read32(FLASH_SR), WRPRTERR));
    cr_assert(eq(u32, peek32(PLACE), UINT32_MAX));
}

Test(flash, rdp_removal_mass_erases)
{
    start();
    protect();
    load32(PLACE, 0x1234);
    from_ram = true; /* the guest's loop in flash will be gone */
    unlock_options();
    erase_options();
    cr_assert(eq(u32, peek32(PLACE), 0x1234));
    struct poke steps[] = {
        {POKE_WRITE32,    FLASH_CR, OPTWRE | OPTPG, 0},
        {POKE_WRITE16,    OPTION,   0xA5,           0},
        {POKE_WAIT_CLEAR, FLASH_SR, BSY,            0},
    };
    orders(steps, 3);
    cr_assert(eq(u32, peek32(PLACE), UINT32_MAX));
    cr_assert(eq(u32, peek32(FLASH), UINT32_MAX));
    cr_assert(eq(u16, peek16(OPTION), 0x5AA5));
    cr_assert(eq(u64, counts().mass_erases, 1));
}

Test(flash, removing_no_protection_keeps_the_contents)
{
    start();
    load32(PLACE, 0x1234);
    unlock_options();
    erase_options();
    program_option(0, 0xA5);
    cr_assert(eq(u32, peek32(PLACE), 0x1234));
    reset();
    cr_assert(eq(u32, read32(FLASH_OBR), 0x03FFFFFC));
}

Test(flash, it_needs_the_hsi)
{
    start();
    to_72_mhz();
    write32(RCC_CR, 0x01010082);
    unlock();
    write32(FLASH_CR, PG);
    write16(PLACE, 0);
    cr_assert(broke_rule("HSI"));
}

Test(flash, too_few_wait_states_break_a_rule)
{
    start();
    to_72_mhz();
    write32(FLASH_ACR, 0x31);
    cr_assert(broke_rule("wait states"));
}

Test(flash, a_reset_in_an_erase_leaves_neither_the_old_nor_the_new)
{
    uint8_t old[1024], now[1024], erased[1024];
    start();
    memset(old, 0, sizeof old);
    memset(erased, 0xFF, sizeof erased);
    board_load(b, PLACE, old, sizeof old);
    from_ram = true;
    unlock();
    write32(FLASH_CR, PER);
    write32(FLASH_AR, PLACE);
    order(POKE_WRITE_READ, FLASH_CR, PER | STRT, FLASH_SR);
    reset();
    board_peek(b, PLACE, now, sizeof now);
    cr_assert(memcmp(now, old, sizeof now) && memcmp(now, erased, sizeof now));
    cr_assert(eq(u32, read32(FLASH_SR), 0));
}

/* --- the power cut ------------------------------------------------------------------------------ */

TestSuite(cut, .fini = finish, .timeout = 60);

/* Cuts the power in the erase of a page full of zeros and returns what it holds then. */
static void cut_an_erase(enum board_torn torn, uint8_t page[1024])
{
    start();
    memset(page, 0, 1024);
    board_load(b, PLACE, page, 1024);
    unlock();
    write32(FLASH_CR, PER);
    write32(FLASH_AR, PLACE);
    board_cut_at(b, 1, torn, 1);
    write32(FLASH_CR, PER | STRT);
    cr_assert(eq(int, stop, BOARD_CUT));
    cr_assert(not(board_powered(b)));
    board_peek(b, PLACE, page, 1024);
}

static unsigned count_of(const uint8_t *bytes, size_t size, uint8_t value)
{
    unsigned n = 0;
    for (size_t i = 0; i < size; i++)
        n += bytes[i] == value;
    return n;
}

Test(cut, before_the_operation_leaves_the_old)
{
    uint8_t page[1024];
    cut_an_erase(BOARD_TORN_NOT_BEGUN, page);
    cr_assert(eq(uint, count_of(page, 1024, 0), 1024));
}

Test(cut, power_cut_half_way_leaves_half)
{
    uint8_t page[1024];
    cut_an_erase(BOARD_TORN_HALF, page);
    cr_assert(eq(uint, count_of(page, 512, 0xFF), 512));
    cr_assert(eq(uint, count_of(page + 512, 512, 0), 512));
}

Test(cut, by_chance_leaves_about_half_of_the_bits)
{
    uint8_t page[1024];
    unsigned ones = 0;
    cut_an_erase(BOARD_TORN_RANDOM, page);
    for (unsigned i = 0; i < 1024; i++)
        ones += (unsigned)__builtin_popcount(page[i]);
    cr_assert(ones > 3800 && ones < 4400, "%u", ones);
}

Test(cut, after_the_operation_leaves_the_new)
{
    uint8_t page[1024];
    cut_an_erase(BOARD_TORN_DONE, page);
    cr_assert(eq(uint, count_of(page, 1024, 0xFF), 1024));
}

Test(cut, half_a_half_word_is_its_low_byte)
{
    start();
    unlock();
    program(PLACE, 0x1111);
    write32(FLASH_CR, PG);
    board_cut_at(b, 1, BOARD_TORN_HALF, 0);
    write16(PLACE + 2, 0x1234);
    cr_assert(eq(int, stop, BOARD_CUT));
    cr_assert(eq(u32, peek32(PLACE), 0xFF341111));
}

Test(cut, half_a_mass_erase_leaves_the_second_half_of_flash)
{
    start();
    load32(FLASH + 0x10000 - 4, 0x1234);
    unlock();
    write32(FLASH_CR, MER);
    board_cut_at(b, 1, BOARD_TORN_HALF, 0);
    write32(FLASH_CR, MER | STRT);
    cr_assert(eq(int, stop, BOARD_CUT));
    cr_assert(eq(u32, peek32(FLASH), UINT32_MAX));
    cr_assert(eq(u32, peek32(FLASH + 0x10000 - 4), 0x1234));
    cr_assert(eq(u64, counts().page0_windows, 1));
}

Test(cut, nothing_is_programmed_after_it)
{
    start();
    unlock();
    write32(FLASH_CR, PG);
    board_cut_at(b, 1, BOARD_TORN_DONE, 0);
    struct poke steps[] = {
        {POKE_WRITE16, PLACE,     0x1111, 0},
        {POKE_WRITE16, PLACE + 2, 0x2222, 0},
    };
    from_ram = true;
    orders(steps, 2);
    cr_assert(eq(int, stop, BOARD_CUT));
    cr_assert(eq(u32, peek32(PLACE), 0xFFFF1111));
}

Test(cut, the_board_starts_again_after_it)
{
    uint8_t page[1024];
    cut_an_erase(BOARD_TORN_HALF, page);
    uint64_t then = board_now(b);
    cr_assert(eq(int, board_run_for(b, BOARD_MS), BOARD_DONE));
    cr_assert(eq(u64, board_now(b), then + BOARD_MS));
    board_power(b, true);
    cr_assert(eq(int, board_run_for(b, 10 * BOARD_MS), BOARD_DONE));
    cr_assert(eq(u32, reset_flags(), PINRSTF | PORRSTF));
}

Test(cut, only_operations_that_begin_are_counted)
{
    start();
    unlock();
    program(PLACE, 0x1234);
    board_cut_at(b, 2, BOARD_TORN_DONE, 0);
    program(PLACE, 0x1233); /* PGERR */
    cr_assert(eq(int, stop, BOARD_DONE));
    program(PLACE + 2, 0x1233);
    cr_assert(eq(int, stop, BOARD_DONE));
    write32(FLASH_CR, PG);
    write16(PLACE + 4, 0x1233);
    cr_assert(eq(int, stop, BOARD_CUT));
}

/* --- marginal: cells that a cut left undecided -------------------------------------------------- */

static void power_cycle(void)
{
    board_power(b, false);
    board_power(b, true);
    cr_assert(eq(int, board_run_for(b, 10 * BOARD_MS), BOARD_DONE));
}

static uint32_t undecided_at(uint32_t addr)
{
    uint32_t mask;
    cr_assert(eq(int, board_peek_marginal(b, addr, &mask, sizeof mask), 0));
    return mask;
}

Test(cut, marginal_page_reads_as_something_else_at_each_power_up_until_it_is_erased)
{
    uint8_t page[1024], next[1];
    unsigned old = 0, blank = 0, noise = 0;
    cut_an_erase(BOARD_TORN_MARGINAL, page);
    for (unsigned i = 0; i < 40; i++) {
        power_cycle();
        board_peek(b, PLACE, page, sizeof page);
        board_peek(b, PLACE + 1024, next, sizeof next);
        cr_assert(eq(u8, next[0], 0xFF));
        if (count_of(page, 1024, 0) == 1024)
            old++;
        else if (count_of(page, 1024, 0xFF) == 1024)
            blank++;
        else
            noise++;
    }
    cr_assert(old > 2 && blank > 2 && noise > 10, "%u %u %u", old, blank, noise);
    cr_assert(eq(u32, undecided_at(PLACE), UINT32_MAX));
    cr_assert(eq(u32, undecided_at(PLACE + 1024), 0));
    unlock();
    erase_page(PLACE);
    cr_assert(eq(u32, undecided_at(PLACE), 0));
    for (unsigned i = 0; i < 10; i++) {
        power_cycle();
        board_peek(b, PLACE, page, sizeof page);
        cr_assert(eq(uint, count_of(page, 1024, 0xFF), 1024));
    }
}

/* Only the bits that were being programmed; a 1 programmed over an undecided bit does not decide it. */
Test(cut, marginal_half_word_is_undecided_until_its_bits_are_programmed)
{
    start();
    unlock();
    write32(FLASH_CR, PG);
    board_cut_at(b, 1, BOARD_TORN_MARGINAL, 7);
    write16(PLACE, 0xFF5A);
    cr_assert(eq(int, stop, BOARD_CUT));
    cr_assert(eq(u32, undecided_at(PLACE), 0xA5));
    unsigned seen = 0;
    for (unsigned i = 0; i < 40 || peek32(PLACE) != UINT32_MAX; i++) {
        power_cycle();
        uint32_t now = peek32(PLACE);
        cr_assert(eq(u32, now | 0xA5, UINT32_MAX));
        seen |= now == UINT32_MAX ? 1 : now == 0xFFFFFF5A ? 2 : 4;
    }
    cr_assert(eq(uint, seen, 7));
    unlock();
    program(PLACE, 0xFFF0); /* it reads as blank: FPEC takes it */
    cr_assert(eq(u32, peek32(PLACE), 0xFFFFFFF0));
    cr_assert(eq(u32, undecided_at(PLACE), 0xA0));
    program(PLACE, 0);
    cr_assert(eq(u32, undecided_at(PLACE), 0));
    for (unsigned i = 0; i < 10; i++) {
        power_cycle();
        cr_assert(eq(u32, peek32(PLACE), 0xFFFF0000));
    }
}

Test(cut, marginal_cells_go_with_a_copy_and_come_back_with_restore)
{
    uint8_t page[1024], copied[1024];
    cut_an_erase(BOARD_TORN_MARGINAL, page);
    struct board *copy = board_copy(b), *original = b;
    for (unsigned i = 0; i < 8; i++) {
        power_cycle();
        board_peek(b, PLACE, page, sizeof page);
        b = copy;
        power_cycle();
        b = original;
        board_peek(copy, PLACE, copied, sizeof copied);
        cr_assert(eq(int, memcmp(page, copied, sizeof page), 0));
    }
    unlock();
    erase_page(PLACE);
    board_restore(b, copy);
    cr_assert(eq(u32, undecided_at(PLACE + 512), UINT32_MAX));
    memset(page, 0x33, sizeof page);
    board_load(b, PLACE, page, sizeof page); /* a probe erases and programs */
    cr_assert(eq(u32, undecided_at(PLACE + 512), 0));
    power_cycle();
    board_peek(b, PLACE, page, sizeof page);
    cr_assert(eq(uint, count_of(page, 1024, 0x33), 1024));
    board_free(copy);
}

Test(cut, marginal_option_bytes_are_undecided_too)
{
    start();
    unlock_options();
    write32(FLASH_CR, OPTER | OPTWRE);
    board_cut_at(b, 1, BOARD_TORN_MARGINAL, 3);
    write32(FLASH_CR, OPTER | OPTWRE | STRT);
    cr_assert(eq(int, stop, BOARD_CUT));
    cr_assert(eq(u32, undecided_at(0x1FFFF800), ~UINT32_C(0x00FF5AA5)));
}

/* --- flash that fails --------------------------------------------------------------------------- */

TestSuite(failing, .fini = finish, .timeout = 60);

static void fail_flash(struct board_flash_failure failure)
{
    board_fail_flash(b, &failure);
}

/* The page at PLACE full of that half-word, flash unlocked. */
static void start_with_page(uint16_t value)
{
    uint16_t page[512];
    for (unsigned i = 0; i < 512; i++)
        page[i] = value;
    start();
    board_load(b, PLACE, page, sizeof page);
    unlock();
}

/* Zeros left in the page at PLACE. */
static unsigned zeros_left(void)
{
    uint8_t page[1024];
    unsigned ones = 0;
    board_peek(b, PLACE, page, sizeof page);
    for (unsigned i = 0; i < sizeof page; i++)
        ones += (unsigned)__builtin_popcount(page[i]);
    return 8 * 1024 - ones;
}

Test(failing, an_error_flag_comes_and_nothing_is_done)
{
    static const struct {
        enum board_flash_fault fault;
        uint32_t sr;
    } cases[] = {
        {BOARD_FLASH_WRPRTERR, WRPRTERR},
        {BOARD_FLASH_PGERR,    PGERR   }
    };
    for (unsigned i = 0; i < 2; i++) {
        start_with_page(0x1234);
        fail_flash((struct board_flash_failure){.fault = cases[i].fault});
        erase_page(PLACE);
        cr_assert(eq(u32, read32(FLASH_SR), cases[i].sr));
        cr_assert(eq(u32, peek32(PLACE), 0x12341234));
        write32(FLASH_SR, cases[i].sr);
        program(PLACE, 0);
        cr_assert(eq(u32, read32(FLASH_SR), cases[i].sr));
        cr_assert(eq(u32, peek32(PLACE), 0x12341234));
        cr_assert(eq(u32, read32(FLASH_CR), 0), "STRT must not stay");
        cr_assert(eq(u64, counts().flash_operations, 0));
        cr_assert(eq(u64, counts().flash_faults, 2));
        cr_assert(eq(u32, board_page_wear(b, 32), 0));
        finish();
    }
}

Test(failing, a_silent_no_op_looks_like_success)
{
    start_with_page(0x1234);
    fail_flash((struct board_flash_failure){.fault = BOARD_FLASH_NO_OP});
    uint64_t before = board_now(b);
    erase_page(PLACE);
    cr_assert(ge(u64, board_now(b) - before, 30 * BOARD_MS));
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
    cr_assert(eq(u32, peek32(PLACE), 0x12341234));
    write32(FLASH_SR, EOP);
    program(PLACE + 2, 0);
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
    cr_assert(eq(u32, peek32(PLACE), 0x12341234));
}

Test(failing, a_bit_that_sticks_at_1_is_never_programmed)
{
    start_with_page(0xFFFF);
    fail_flash((struct board_flash_failure){
        .fault = BOARD_FLASH_STUCK, .addr = PLACE + 2, .size = 2, .bits = 0x0101});
    program(PLACE, 0x1234);
    program(PLACE + 2, 0x1234);
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
    cr_assert(eq(u32, peek32(PLACE), 0x13351234));
    program(PLACE + 2, 0);
    cr_assert(eq(u32, peek32(PLACE), 0x01011234));
    power_cycle();
    cr_assert(eq(u32, peek32(PLACE), 0x01011234));
}

Test(failing, a_bit_that_sticks_at_0_is_never_erased)
{
    start_with_page(0);
    fail_flash((struct board_flash_failure){
        .fault = BOARD_FLASH_STUCK, .addr = PLACE + 6, .size = 2, .bits = 0x8000});
    for (unsigned i = 0; i < 2; i++) {
        erase_page(PLACE);
        cr_assert(eq(u32, read32(FLASH_SR), EOP));
        cr_assert(eq(uint, zeros_left(), 1));
        cr_assert(eq(u32, peek32(PLACE + 4), 0x7FFFFFFF));
    }
    write32(FLASH_SR, EOP);
    program(PLACE + 6, 0x1234); /* it does not read as erased */
    cr_assert(eq(u32, read32(FLASH_SR), PGERR));
}

Test(failing, a_bit_that_begins_to_stick_stays_stuck)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        start_with_page(0xFFFF);
        fail_flash(
            (struct board_flash_failure){.fault = BOARD_FLASH_STUCK, .nth = 2, .seed = seed});
        program(PLACE, 0x0F0F);
        program(PLACE + 2, 0x0F0F);
        uint32_t stuck = peek32(PLACE) ^ 0x0F0F0F0F;
        cr_assert(stuck & 0xF0F00000 && !(stuck & (stuck - 1)), "%08x", stuck);
        program(PLACE + 2, 0);
        cr_assert(eq(u32, peek32(PLACE), stuck | 0x0F0F));
        program(PLACE + 4, 0);
        cr_assert(eq(u16, peek16(PLACE + 4), 0));
        finish();
    }
}

Test(failing, a_weak_erase_leaves_some_bits_and_a_second_one_none)
{
    start_with_page(0);
    fail_flash((struct board_flash_failure){.fault = BOARD_FLASH_WEAK, .nth = 1, .seed = 5});
    erase_page(PLACE);
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
    unsigned left = zeros_left();
    cr_assert(left > 400 && left < 624, "%u", left); /* 8192 / 16 = 512, sd 22 */
    erase_page(PLACE);
    cr_assert(eq(uint, zeros_left(), 0));
}

Test(failing, weak_programming_leaves_at_least_one_bit)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        start_with_page(0xFFFF);
        fail_flash((struct board_flash_failure){.fault = BOARD_FLASH_WEAK, .seed = seed});
        program(PLACE, 0x5A5A);
        cr_assert(eq(u32, read32(FLASH_SR), EOP));
        cr_assert(ne(u16, peek16(PLACE), 0x5A5A));
        cr_assert(eq(u16, peek16(PLACE) & 0x5A5A, 0x5A5A));
        finish();
    }
}

Test(failing, a_long_operation_keeps_code_in_flash_waiting)
{
    start_with_page(0);
    fail_flash((struct board_flash_failure){
        .fault = BOARD_FLASH_BUSY, .nth = 1, .busy_ns = 270 * BOARD_MS});
    struct mailbox box = {
        .go = POKE_GO_FLASH, .count = 1, .step[0] = {POKE_WRITE32, FLASH_CR, PER | STRT, 0}
    };
    write32(FLASH_CR, PER);
    write32(FLASH_AR, PLACE);
    board_load(b, MAILBOX_ADDR, &box, sizeof box);
    board_run_for(b, 299 * BOARD_MS);
    cr_assert(not(idle()));
    board_run_for(b, 2 * BOARD_MS);
    cr_assert(idle());
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
    cr_assert(eq(uint, zeros_left(), 0));
}

/* Begins an erase of the page at PLACE that never ends. */
static void erase_for_ever(void)
{
    start_with_page(0);
    fail_flash((struct board_flash_failure){
        .fault = BOARD_FLASH_BUSY, .nth = 1, .busy_ns = BOARD_FOR_EVER});
    write32(FLASH_CR, PER);
    write32(FLASH_AR, PLACE);
}

Test(failing, busy_for_ever_stops_code_in_flash_and_its_interrupts_until_a_reset)
{
    erase_for_ever();
    struct poke steps[] = {
        {POKE_WRITE32, 0xE000E014, 799,        0}, /* SysTick, its handler in flash */
        {POKE_WRITE32, 0xE000E010, 7,          0},
        {POKE_WRITE32, FLASH_CR,   PER | STRT, 0},
        {POKE_READ32,  FLASH_SR,   0,          0},
    };
    orders(steps, 4);
    cr_assert(not(idle()));
    uint64_t before = counts().instructions;
    board_run_for(b, 10 * BOARD_S);
    cr_assert(eq(u64, counts().instructions, before));
    load32(MAILBOX_ADDR, 0);
    reset();
    cr_assert(eq(u32, read32(FLASH_SR), 0));
    cr_assert(gt(uint, zeros_left(), 0));
    unlock();
    erase_page(PLACE); /* only that one failed */
    cr_assert(eq(uint, zeros_left(), 0));
}

Test(failing, busy_for_ever_lets_code_in_ram_go_on)
{
    erase_for_ever();
    from_ram = true;
    struct poke steps[] = {
        {POKE_WRITE32, FLASH_CR, PER | STRT, 0},
        {POKE_READ32,  FLASH_CR, 0,          0},
        {POKE_READ32,  FLASH_SR, 0,          0},
    };
    orders(steps, 3);
    cr_assert(eq(u32, steps[2].value, BSY));
}

Test(failing, a_watchdog_ends_busy_for_ever)
{
    erase_for_ever();
    write32(IWDG, 0xCCCC);
    write32(FLASH_CR, PER | STRT);
    load32(MAILBOX_ADDR, 0);
    cr_assert(eq(int, board_run_for(b, 500 * BOARD_MS), BOARD_DONE));
    cr_assert(eq(u64, counts().watchdog_resets, 1));
    cr_assert(eq(u32, read32(FLASH_SR), 0));
}

Test(failing, only_the_nth_operation_on_the_range_fails)
{
    start_with_page(0xFFFF);
    fail_flash((struct board_flash_failure){
        .fault = BOARD_FLASH_NO_OP, .nth = 2, .addr = PLACE + 4, .size = 4});
    for (unsigned at = 0; at < 16; at += 2)
        program(PLACE + at, 0);
    for (unsigned at = 0; at < 16; at += 2)
        cr_assert(eq(u16, peek16(PLACE + at), at == 6 ? 0xFFFF : 0), "at %u", at);
    program(PLACE + 6, 0);
    cr_assert(eq(u16, peek16(PLACE + 6), 0));
}

Test(failing, each_operation_on_the_range_fails_until_flash_is_good_again)
{
    start_with_page(0xFFFF);
    fail_flash(
        (struct board_flash_failure){.fault = BOARD_FLASH_NO_OP, .addr = PLACE + 4, .size = 2});
    struct board *copy = board_copy(b);
    for (unsigned i = 0; i < 3; i++) {
        program(PLACE + 4, 0);
        cr_assert(eq(u16, peek16(PLACE + 4), 0xFFFF));
        power_cycle();
        unlock();
    }
    program(PLACE + 6, 0);
    cr_assert(eq(u16, peek16(PLACE + 6), 0));
    board_fail_flash(b, NULL);
    program(PLACE + 4, 0);
    cr_assert(eq(u16, peek16(PLACE + 4), 0));
    board_restore(b, copy);
    program(PLACE + 4, 0);
    cr_assert(eq(u16, peek16(PLACE + 4), 0xFFFF), "it goes with a copy");
    board_free(copy);
}

/* --- option bytes ------------------------------------------------------------------------------- */

TestSuite(options, .fini = finish, .timeout = 60);

static void power_up(void)
{
    board_power(b, true);
    cr_assert(eq(int, board_run_for(b, 10 * BOARD_MS), BOARD_DONE));
}

Test(options, a_byte_is_programmed_only_when_it_is_erased)
{
    start();
    unlock_options();
    erase_options();
    program_option(4, 0x42);
    write32(FLASH_SR, EOP);
    program_option(4, 0x40); /* only clears bits */
    cr_assert(eq(u32, read32(FLASH_SR), PGERR));
    cr_assert(eq(u16, peek16(OPTION + 4), 0xBD42));
}

Test(options, all_of_them_are_loaded_at_reset)
{
    static const uint8_t values[8] = {0xA5, 0xFD, 0x12, 0x34, 0xEF, 0xBE, 0xAD, 0x5E};
    start();
    unlock_options();
    erase_options();
    for (unsigned i = 0; i < 8; i++)
        program_option(2 * i, values[i]);
    reset();
    cr_assert(eq(u32, read32(FLASH_OBR), 0x34 << 18 | 0x12 << 10 | 0xFD << 2));
    cr_assert(eq(u32, read32(FLASH_WRPR), 0x5EADBEEF));
}

Test(options, optwre_that_was_cleared_needs_the_keys_again)
{
    start();
    unlock_options();
    write32(FLASH_CR, 0);
    cr_assert(eq(u32, read32(FLASH_CR), 0));
    write32(FLASH_CR, OPTWRE);
    cr_assert(eq(u32, read32(FLASH_CR), 0), "software cannot set it");
    write32(FLASH_OPTKEYR, KEY1);
    write32(FLASH_OPTKEYR, KEY2);
    cr_assert(eq(u32, read32(FLASH_CR), OPTWRE));
    cr_assert(eq(u64, counts().complaints, 0));
}

Test(options, a_wrong_option_key_locks_them_until_reset)
{
    start_lenient();
    unlock();
    write32(FLASH_OPTKEYR, KEY2);
    cr_assert(eq(u32, faults(), 1));
    write32(FLASH_OPTKEYR, KEY1);
    write32(FLASH_OPTKEYR, KEY2);
    cr_assert(eq(u32, read32(FLASH_CR), 0));
}

Test(options, read_protected_flash_is_read_by_code_in_it)
{
    start();
    load32(PLACE, 0x12345678);
    protect();
    cr_assert(eq(u32, read32(PLACE), 0x12345678));
    cr_assert(eq(u32, faults(), 0));
}

Test(options, read_protection_locks_two_pages_of_2_kb)
{
    start_part("stm32f103rc");
    protect();
    unlock();
    erase_page(FLASH + 0x800); /* page 1 */
    cr_assert(eq(u32, read32(FLASH_SR), WRPRTERR));
    write32(FLASH_SR, WRPRTERR);
    erase_page(FLASH + 0x1000); /* page 2 */
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
}

Test(options, the_last_protection_bit_of_high_density_covers_the_rest)
{
    static const uint8_t options[16] = {
        0xA5, 0x5A, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0x7F, 0x80};
    static const struct {
        unsigned page;
        bool locked;
    } cases[] = {
        {61,  false},
        {62,  true },
        {127, true },
        {255, true },
    };
    start_part("stm32f103re");
    board_load(b, OPTION, options, sizeof options);
    reset();
    unlock();
    for (unsigned i = 0; i < 4; i++) {
        erase_page(FLASH + cases[i].page * 2048);
        cr_assert(
            eq(u32, read32(FLASH_SR), cases[i].locked ? WRPRTERR : EOP), "page %u", cases[i].page);
        write32(FLASH_SR, WRPRTERR | EOP);
    }
}

Test(options, a_protected_chip_stays_so_with_any_rdp_but_a5)
{
    start();
    protect();
    load32(PLACE, 0x1234);
    unlock_options();
    program_option(0, 0xA4);
    cr_assert(eq(u32, peek32(PLACE), 0x1234));
    write32(FLASH_SR, EOP);
    program_option(0, 0xA5); /* it is not erased: no way round the mass erase, nor into it */
    cr_assert(eq(u32, read32(FLASH_SR), PGERR));
    cr_assert(eq(u32, peek32(PLACE), 0x1234));
    reset();
    cr_assert(eq(u32, read32(FLASH_OBR) & 2, 2));
    cr_assert(eq(u64, counts().mass_erases, 0));
}

static void cut_option_erase(enum board_torn torn)
{
    start();
    unlock_options();
    write32(FLASH_CR, OPTWRE | OPTER);
    board_cut_at(b, 1, torn, 9);
    write32(FLASH_CR, OPTWRE | OPTER | STRT);
    cr_assert(eq(int, stop, BOARD_CUT));
}

Test(options, power_cut_in_their_erase_is_torn_like_that_of_a_page)
{
    static const uint8_t shipped[4] = {0xA5, 0x5A, 0xFF, 0x00};
    uint8_t now[16];
    cut_option_erase(BOARD_TORN_NOT_BEGUN);
    cr_assert(eq(u32, peek32(OPTION), 0x00FF5AA5));
    power_up();
    cr_assert(eq(u32, read32(FLASH_OBR), 0x03FFFFFC));
    finish();

    cut_option_erase(BOARD_TORN_HALF);
    board_peek(b, OPTION, now, sizeof now);
    cr_assert(eq(uint, count_of(now, 8, 0xFF), 8));
    cr_assert(eq(u32, peek32(OPTION + 8), 0x00FF00FF));
    power_up();
    cr_assert(eq(u32, read32(FLASH_OBR), 0x03FFFFFE));
    finish();

    cut_option_erase(BOARD_TORN_RANDOM);
    board_peek(b, OPTION, now, sizeof now);
    for (unsigned i = 0; i < 16; i++) {
        uint8_t old = i < 2 ? shipped[i] : shipped[2 + (i & 1)];
        cr_assert(eq(u8, now[i] & old, old), "byte %u", i);
    }
    cr_assert(eq(uint, count_of(now, 16, 0xFF) < 16, 1));
    cr_assert(ne(u32, peek32(OPTION), 0x00FF5AA5));
    power_up();
    cr_assert(eq(u32, read32(FLASH_OBR) & 2, 2), "no pair but A5 5A is unprotected");
    finish();

    cut_option_erase(BOARD_TORN_DONE);
    board_peek(b, OPTION, now, sizeof now);
    cr_assert(eq(uint, count_of(now, 16, 0xFF), 16));
}

Test(options, power_cut_while_rdp_is_written_leaves_a_protected_chip)
{
    start();
    unlock_options();
    erase_options();
    write32(FLASH_CR, OPTWRE | OPTPG);
    board_cut_at(b, 1, BOARD_TORN_HALF, 0);
    write16(OPTION, 0xA5);
    cr_assert(eq(int, stop, BOARD_CUT));
    cr_assert(eq(u16, peek16(OPTION), 0xFFA5)); /* not the complement */
    power_up();
    cr_assert(eq(u32, read32(FLASH_OBR), 0x03FFFFFF)); /* OPTERR, RDPRT */
}

Test(options, power_cut_in_the_mass_erase_of_unprotecting_leaves_a_protected_chip)
{
    static const uint64_t cut_in[] = {1, 2}; /* the mass erase, RDP itself */
    for (unsigned i = 0; i < 2; i++) {
        start();
        protect();
        from_ram = true;
        unlock_options();
        write32(FLASH_CR, OPTWRE | OPTPG);
        board_cut_at(b, cut_in[i], BOARD_TORN_HALF, 0);
        write16(OPTION, 0xA5);
        if (stop == BOARD_DONE)
            stop = board_run_for(b, 50 * BOARD_MS);
        cr_assert(eq(int, stop, BOARD_CUT));
        cr_assert(eq(u16, peek16(OPTION), i ? 0xFFA5 : 0xFFFF));
        cr_assert(eq(u32, peek32(FLASH), UINT32_MAX));
        from_ram = false;
        load_guest(b);
        power_up();
        cr_assert(eq(u32, read32(FLASH_OBR) & 2, 2));
        finish();
    }
}

Test(options, undecided_bits_of_them_are_read_at_reset_and_decided_by_an_erase)
{
    unsigned open = 0, closed = 0;
    cut_option_erase(BOARD_TORN_MARGINAL);
    for (unsigned i = 0; i < 40; i++) {
        power_cycle();
        *(read32(FLASH_OBR) & 2 ? &closed : &open) += 1;
    }
    cr_assert(open > 2 && closed > 2, "%u %u", open, closed);
    forget_faults();
    unlock_options();
    erase_options();
    cr_assert(eq(u32, undecided_at(OPTION), 0));
}

Test(options, what_a_probe_writes_is_decided)
{
    static const uint32_t options[4] = {0x00FF5AA5, 0x00FF00FF, 0x00FF00FF, 0x00FF00FF};
    cut_option_erase(BOARD_TORN_MARGINAL);
    board_load(b, OPTION, options, sizeof options);
    cr_assert(eq(u32, undecided_at(OPTION), 0));
    power_cycle();
    cr_assert(eq(u32, peek32(OPTION), options[0]));
}

Test(options, they_fail_as_flash_does)
{
    start();
    unlock_options();
    fail_flash((struct board_flash_failure){
        .fault = BOARD_FLASH_NO_OP, .addr = OPTION, .size = 16, .nth = 1});
    program(PLACE, 0); /* not theirs */
    cr_assert(eq(u16, peek16(PLACE), 0));
    write32(FLASH_OPTKEYR, KEY1);
    write32(FLASH_OPTKEYR, KEY2);
    erase_options();
    cr_assert(eq(u32, peek32(OPTION), 0x00FF5AA5));
    erase_options();
    cr_assert(eq(u32, peek32(OPTION), UINT32_MAX));
}

Test(options, a_mass_erase_that_is_refused_does_not_unprotect)
{
    start();
    protect();
    load32(PLACE, 0x1234);
    unlock_options();
    fail_flash((struct board_flash_failure){.fault = BOARD_FLASH_WRPRTERR, .nth = 1});
    program_option(0, 0xA5);
    cr_assert(eq(u32, read32(FLASH_SR), WRPRTERR));
    write32(FLASH_CR, 0);
    program(PLACE + 0x1000, 0);
    cr_assert(eq(u16, peek16(OPTION), 0xFFFF));
    cr_assert(eq(u32, peek32(PLACE), 0x1234));
}

/* --- page 0 ------------------------------------------------------------------------------------- */

TestSuite(page0, .fini = finish, .timeout = 60);

Test(page0, window_is_from_the_erase_until_both_halves_of_the_vector_stand)
{
    start();
    uint32_t vector = peek32(FLASH + 4);
    /* The guest does it all from RAM in one go: its own loop is in the page that is erased. */
    struct poke steps[] = {
        {POKE_WRITE32,    FLASH_KEYR, KEY1,            0},
        {POKE_WRITE32,    FLASH_KEYR, KEY2,            0},
        {POKE_WRITE32,    FLASH_CR,   PER,             0},
        {POKE_WRITE32,    FLASH_AR,   FLASH,           0},
        {POKE_WRITE32,    FLASH_CR,   PER | STRT,      0},
        {POKE_READ32,     FLASH_CR,   0,               0},
        {POKE_WAIT_CLEAR, FLASH_SR,   BSY,             0},
        {POKE_WRITE32,    FLASH_CR,   0,               0},
        {POKE_WRITE32,    FLASH_CR,   PG,              0},
        {POKE_WRITE16,    FLASH + 4,  vector & 0xFFFF, 0},
        {POKE_WAIT_CLEAR, FLASH_SR,   BSY,             0},
        {POKE_WRITE16,    FLASH + 6,  vector >> 16,    0},
        {POKE_WAIT_CLEAR, FLASH_SR,   BSY,             0},
        {POKE_WRITE32,    FLASH_CR,   0,               0},
    };
    from_ram = true;
    orders(steps, 14);
    uint64_t open = counts().page0_open_ns;
    uint64_t least = 30 * BOARD_MS + 2 * 52500;
    cr_assert(open >= least && open < least + 100 * BOARD_US, "%llu", (unsigned long long)open);
    cr_assert(eq(u64, counts().page0_windows, 1));
}

Test(page0, erasing_another_page_opens_nothing)
{
    start();
    unlock();
    erase_page(PLACE);
    cr_assert(eq(u64, counts().page0_windows, 0));
    cr_assert(eq(u64, counts().page0_open_ns, 0));
}

/* --- reset and power ---------------------------------------------------------------------------- */

TestSuite(reset, .fini = finish, .timeout = 60);

Test(reset, power_on_sets_porrstf_and_pinrstf)
{
    start();
    cr_assert(eq(u32, reset_flags(), PORRSTF | PINRSTF));
}

Test(reset, pin_reset_sets_only_pinrstf)
{
    start();
    write32(RCC_CSR, 0x01000000);
    cr_assert(eq(u32, reset_flags(), 0));
    reset();
    cr_assert(eq(u32, reset_flags(), PINRSTF));
}

Test(reset, flags_accumulate_until_rmvf)
{
    start();
    software_reset();
    reset();
    cr_assert(eq(u32, reset_flags(), PORRSTF | PINRSTF | SFTRSTF));
}

Test(reset, software_reset_sets_sftrstf_too)
{
    start();
    write32(RCC_CSR, 0x01000000);
    software_reset();
    cr_assert(eq(u32, reset_flags(), PINRSTF | SFTRSTF));
}

Test(reset, ram_survives_system_reset_and_not_power)
{
    start();
    load32(RAM + 0x4000, 0xCAFEBABE);
    reset();
    cr_assert(eq(u32, read32(RAM + 0x4000), 0xCAFEBABE));
    board_power(b, false);
    board_power(b, true);
    board_run_for(b, 5 * BOARD_MS);
    cr_assert(ne(u32, read32(RAM + 0x4000), 0xCAFEBABE));
}

Test(reset, the_button_holds_the_board)
{
    start();
    uint64_t before = counts().instructions;
    board_press_reset(b, 50 * BOARD_MS);
    board_run_for(b, 49 * BOARD_MS);
    cr_assert(eq(u64, counts().instructions, before));
    board_run_for(b, 2 * BOARD_MS);
    cr_assert(gt(u64, counts().instructions, before));
}

Test(reset, backup_registers_need_dbp)
{
    start();
    write32(RCC_APB1ENR, 3 << 27);
    write16(BKP_DR10, 0x424C);
    cr_assert(eq(u32, read32(BKP_DR10), 0));
    write32(PWR_CR, 0x100);
    write16(BKP_DR10, 0x424C);
    cr_assert(eq(u32, read32(BKP_DR10), 0x424C));
}

Test(reset, backup_registers_survive_reset_and_not_power)
{
    start();
    write32(RCC_APB1ENR, 3 << 27);
    write32(PWR_CR, 0x100);
    write32(BKP_DR1, 0x12344F42);
    reset();
    write32(RCC_APB1ENR, 3 << 27);
    cr_assert(eq(u32, read32(BKP_DR1), 0x4F42));
    write16(BKP_DR1, 0);
    cr_assert(eq(u32, read32(BKP_DR1), 0x4F42), "DBP must be cleared by a reset");
    board_power(b, false);
    board_power(b, true);
    board_run_for(b, 5 * BOARD_MS);
    write32(RCC_APB1ENR, 3 << 27);
    cr_assert(eq(u32, read32(BKP_DR1), 0));
}

Test(reset, the_backup_domain_reset_clears_them)
{
    start();
    write32(RCC_APB1ENR, 3 << 27);
    write32(PWR_CR, 0x100);
    write32(BKP_DR1, 1);
    write32(RCC_BDCR, 0x10000);
    write32(RCC_BDCR, 0);
    cr_assert(eq(u32, read32(BKP_DR1), 0));
}

Test(reset, medium_density_has_ten_backup_registers)
{
    start();
    write32(RCC_APB1ENR, 3 << 27);
    read32(BKP_DR11);
    cr_assert(broke_rule("no backup register"));
}

Test(reset, boot0_without_a_rom_is_said)
{
    struct board_config c = config();
    c.boot0 = true;
    b = board_new(&c);
    board_power(b, true);
    stop = board_run_for(b, 5 * BOARD_MS);
    cr_assert(broke_rule("ROM bootloader"));
}

Test(reset, boot0_and_boot1_start_from_ram)
{
    start();
    static const uint16_t loop[] = {0x3000, 0x2000, 0x0009, 0x2000, 0xE7FE}; /* SP, PC, b . */
    board_load(b, RAM, loop, sizeof loop);
    board_set_boot(b, true, true);
    reset();
    cr_assert(eq(u32, board_pc(b), RAM + 8));
}

Test(reset, a_blank_board_locks_up)
{
    struct board_config c = config();
    b = board_new(&c);
    board_power(b, true);
    stop = board_run_for(b, 5 * BOARD_MS);
    cr_assert(broke_rule("lockup"));
}

/* --- watchdogs ---------------------------------------------------------------------------------- */

TestSuite(watchdog, .fini = finish, .timeout = 60);

Test(watchdog, iwdg_cannot_be_stopped)
{
    start();
    write32(RCC_CSR, 0x01000000);
    write32(IWDG, 0xCCCC);
    write32(IWDG, 0);
    board_run_for(b, 409 * BOARD_MS);
    cr_assert(eq(u64, counts().watchdog_resets, 0));
    board_run_for(b, 2 * BOARD_MS);
    cr_assert(eq(u64, counts().watchdog_resets, 1));
    cr_assert(eq(u32, reset_flags(), PINRSTF | IWDGRSTF));
    board_run_for(b, BOARD_S); /* the reset stopped it */
    cr_assert(eq(u64, counts().watchdog_resets, 1));
}

Test(watchdog, iwdg_can_be_fed_and_set)
{
    start();
    write32(IWDG, 0x5555);
    write32(IWDG + 4, 2);   /* ÷16 */
    write32(IWDG + 8, 249); /* 100 ms */
    cr_assert(eq(u32, read32(IWDG + 12), 3));
    board_run_for(b, BOARD_MS);
    cr_assert(eq(u32, read32(IWDG + 12), 0));
    write32(IWDG, 0xCCCC);
    for (unsigned i = 0; i < 20; i++) {
        board_run_for(b, 90 * BOARD_MS);
        write32(IWDG, 0xAAAA);
    }
    cr_assert(eq(u64, counts().watchdog_resets, 0));
    board_run_for(b, 101 * BOARD_MS);
    cr_assert(eq(u64, counts().watchdog_resets, 1));
}

Test(watchdog, iwdg_settings_need_the_key)
{
    start();
    write32(IWDG + 8, 1);
    cr_assert(broke_rule("0x5555"));
}

Test(watchdog, iwdg_runs_by_option_byte)
{
    static const uint8_t options[16] = {
        0xA5, 0x5A, 0xFE, 1, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0};
    start();
    board_load(b, OPTION, options, sizeof options);
    reset();
    board_run_for(b, 415 * BOARD_MS);
    cr_assert(eq(u64, counts().watchdog_resets, 1));
    board_run_for(b, 415 * BOARD_MS);
    cr_assert(eq(u64, counts().watchdog_resets, 2));
}

Test(watchdog, iwdg_by_option_byte_waits_for_the_button_to_be_let_go)
{
    static const uint8_t options[16] = {
        0xA5, 0x5A, 0xFE, 1, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0};
    start();
    write32(RCC_CSR, 0x01000000);
    board_load(b, OPTION, options, sizeof options);
    board_press_reset(b, 5 * BOARD_S);
    board_run_for(b, 5 * BOARD_S + BOARD_MS);
    cr_assert(eq(u64, counts().watchdog_resets, 0));
    cr_assert(eq(u32, reset_flags(), PINRSTF));
    board_run_for(b, 407 * BOARD_MS);
    cr_assert(eq(u64, counts().watchdog_resets, 0));
    board_run_for(b, 3 * BOARD_MS);
    cr_assert(eq(u64, counts().watchdog_resets, 1), "409.6 ms from its release");
}

Test(watchdog, wwdg_resets_below_its_limit)
{
    start();
    write32(RCC_CSR, 0x01000000);
    write32(RCC_APB1ENR, 1 << 11);
    write32(WWDG, 0xFF); /* 64 steps of 4096 cycles at 8 MHz: 32.8 ms */
    board_run_for(b, 32 * BOARD_MS);
    cr_assert(eq(u64, counts().watchdog_resets, 0));
    board_run_for(b, 2 * BOARD_MS);
    cr_assert(eq(u32, reset_flags(), PINRSTF | WWDGRSTF));
}

/* --- clocks ------------------------------------------------------------------------------------- */

TestSuite(clock, .fini = finish, .timeout = 60);

Test(clock, the_crystal_needs_two_milliseconds)
{
    start();
    write32(RCC_CR, 0x10083);
    board_run_for(b, 1900 * BOARD_US);
    cr_assert(eq(u32, read32(RCC_CR) & 0x20000, 0));
    board_run_for(b, 100 * BOARD_US);
    cr_assert(eq(u32, read32(RCC_CR) & 0x20000, 0x20000));
}

Test(clock, without_a_crystal_hse_never_becomes_ready)
{
    struct board_config c = config();
    c.hse_hz = BOARD_NO_CRYSTAL;
    start_with(c);
    write32(RCC_CR, 0x10083);
    board_run_for(b, BOARD_S);
    cr_assert(eq(u32, read32(RCC_CR) & 0x20000, 0));
}

Test(clock, time_goes_on_at_the_new_pace)
{
    start();
    to_72_mhz();
    uint64_t cycles = counts().cycles, time = board_now(b);
    board_run_until(b, time + 100 * BOARD_MS);
    uint64_t ran = counts().cycles - cycles, passed = board_now(b) - time;
    cr_assert(passed >= 100 * BOARD_MS && passed < 100 * BOARD_MS + 1000);
    cr_assert(ran >= 7200000 && ran < 7200100, "%llu", (unsigned long long)ran);
}

Test(clock, pclk1_has_a_limit)
{
    start();
    write32(RCC_CR, 0x10083);
    board_run_for(b, 3 * BOARD_MS);
    write32(FLASH_ACR, 0x32);
    write32(RCC_CFGR, 0x001D0000);
    write32(RCC_CR, 0x01010083);
    board_run_for(b, BOARD_MS);
    write32(RCC_CFGR, 0x001D0002);
    cr_assert(broke_rule("PCLK1"));
}

Test(clock, the_pll_is_set_up_while_it_is_off)
{
    start();
    to_72_mhz();
    write32(RCC_CFGR, 0x00150402);
    cr_assert(broke_rule("PLL set up"));
    cr_assert(eq(u32, read32(RCC_CFGR), 0x001D040A));
}

Test(clock, a_running_clock_cannot_be_turned_off)
{
    start();
    write32(RCC_CR, 0x82);
    cr_assert(broke_rule("HSI turned off"));
}

Test(clock, a_device_without_clock_reads_0_and_ignores_writes)
{
    start();
    write32(GPIOC + 4, 0x11111111);
    cr_assert(eq(u32, read32(GPIOC + 4), 0));
    write32(RCC_APB2ENR, 1 << 4);
    cr_assert(eq(u32, read32(GPIOC + 4), 0x44444444));
    write32(GPIOC + 4, 0x11111111);
    cr_assert(eq(u32, read32(GPIOC + 4), 0x11111111));
    write32(RCC_APB2ENR, 0);
    cr_assert(eq(u32, read32(GPIOC + 4), 0));
    write32(RCC_APB2ENR, 1 << 4);
    cr_assert(eq(u32, read32(GPIOC + 4), 0x11111111));
}

Test(clock, a_reset_bit_resets_the_device)
{
    start();
    write32(RCC_APB2ENR, 1 << 4);
    write32(GPIOC + 4, 0x11111111);
    write32(RCC_APB2RSTR, 1 << 4);
    write32(RCC_APB2RSTR, 0);
    cr_assert(eq(u32, read32(GPIOC + 4), 0x44444444));
}

/* --- the rest of the bus ------------------------------------------------------------------------ */

TestSuite(bus, .fini = finish, .timeout = 60);

Test(bus, undefined_addresses_are_bus_faults)
{
    static const uint32_t nothing[] = {0x00010000, 0x08010000, 0x20005000, 0x40018400, 0x1FFFF810,
        0x1FFFE000, 0x60000000, 0x40040000, 0x00000000 + 0x1FFF0};
    start();
    for (unsigned i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
        read32(nothing[i]);
        cr_assert(eq(u32, faults(), 2 * i + 1), "%08x", nothing[i]);
        write32(nothing[i], 0);
        cr_assert(eq(u32, faults(), 2 * i + 2), "%08x", nothing[i]);
    }
    cr_assert(eq(int, stop, BOARD_DONE));
}

Test(bus, undefined_registers_break_a_rule)
{
    start();
    read32(0x40021050);
    cr_assert(broke_rule("RCC has no register at offset 0x50"));
}

Test(bus, low_density_lacks_some_devices)
{
    start();
    read32(0x40000C00); /* TIM5 is on high density */
    cr_assert(broke_rule("stm32f103c8 has no peripheral there"));
}

Test(bus, the_chip_tells_its_size_and_id)
{
    start();
    cr_assert(eq(u32, read32(0x1FFFF7E0) & 0xFFFF, 64));
    uint32_t id = read32(0x1FFFF7E8);
    finish();
    struct board_config c = config();
    c.seed = 7;
    start_with(c);
    cr_assert(ne(u32, read32(0x1FFFF7E8), id));
}

Test(bus, dbgmcu_reads_0_without_a_debugger)
{
    start();
    cr_assert(eq(u32, read32(0xE0042000), 0));
}

Test(bus, a_narrow_store_to_apb_is_replicated)
{
    start();
    write32(RCC_APB2ENR, 1 << 2);
    write8(GPIOA + 0x0C, 0x5A);
    cr_assert(eq(u32, read32(GPIOA + 0x0C), 0x5A5A));
}

Test(bus, crc_is_the_polynomial_of_ethernet)
{
    start();
    write32(RCC_AHBENR, 0x54);
    write32(CRC + 8, 1);
    write32(CRC, 0x12345678);
    cr_assert(eq(u32, read32(CRC), 0xDF8A8A2B)); /* as RM0008's hardware, well known */
}

/* As ChibiOS reads a buffer's address there. */
Test(bus, a_slot_of_packet_memory_reads_as_its_16_bits)
{
    enum { PACKET_MEMORY = 0x40006000 };
    start();
    write32(RCC_APB1ENR, 1 << 23);
    write32(PACKET_MEMORY + 8, 0x1234ABCD);
    cr_assert(eq(u32, read32(PACKET_MEMORY + 8), 0xABCD));
}

Test(bus, dma_copies_memory)
{
    start();
    write32(RCC_AHBENR, 0x15);
    load32(RAM + 0x4000, 0x01020304);
    load32(RAM + 0x4004, 0x05060708);
    write32(DMA1 + 0x0C, 2);
    write32(DMA1 + 0x10, RAM + 0x4000);
    write32(DMA1 + 0x14, RAM + 0x4100);
    write32(DMA1 + 0x08, 0x4AC1); /* MEM2MEM, words, both increment */
    cr_assert(eq(u32, read32(DMA1) & 0xF, 7));
    cr_assert(eq(u32, peek32(RAM + 0x4104), 0x05060708));
}

/* --- probing for memory ------------------------------------------------------------------------- */

TestSuite(probe, .fini = finish, .timeout = 60);

enum {
    SCB_CCR = 0xE000ED14,
    SCB_CFSR = 0xE000ED28,
    SCB_BFAR = 0xE000ED38,
    CCR_UNALIGN_TRP = 1 << 3,
    CCR_BFHFNMIGN = 1 << 8,
    CFSR_PRECISERR = 1 << 9,
    CFSR_IMPRECISERR = 1 << 10,
    CFSR_BFARVALID = 1 << 15,
    CFSR_UNALIGNED = 1 << 24,
};

static void start_probing(const char *part)
{
    start_part(part);
    write32(SCB_CCR, CCR_BFHFNMIGN);
}

/* Loads from there with FAULTMASK set: is there something? */
static bool probe(uint32_t addr, uint32_t *value)
{
    write32(SCB_CFSR, UINT32_MAX);
    *value = order(POKE_PROBE, addr, 0, 0);
    uint32_t cfsr = read32(SCB_CFSR);
    cr_assert(eq(u32, faults(), 0));
    if (cfsr == 0)
        return true;
    cr_assert(eq(u32, cfsr, CFSR_PRECISERR | CFSR_BFARVALID), "%08x", addr);
    cr_assert(eq(u32, read32(SCB_BFAR), addr));
    return false;
}

Test(probe, a_load_of_nothing_goes_on_with_garbage)
{
    uint32_t value;
    start_probing("stm32f103c8");
    load32(RAM + 0x4FFC, 0x12345678);
    cr_assert(probe(RAM + 0x4FFC, &value));
    cr_assert(eq(u32, value, 0x12345678));
    cr_assert(not(probe(RAM + 0x5000, &value)));
    cr_assert(eq(u32, value, 0x0BADF00D));
}

Test(probe, memory_ends_where_it_ends)
{
    static const struct {
        const char *part;
        uint32_t ram, flash;
    } cases[] = {
        {"stm32f103c8", 20, 64 },
        {"stm32f103cb", 20, 128},
        {"stm32f103rc", 48, 256},
        {"stm32f103re", 64, 512},
    };
    uint32_t value;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t ram = cases[i].ram * 1024, flash = cases[i].flash * 1024;
        start_probing(cases[i].part);
        cr_assert(probe(RAM + ram - 4, &value));
        cr_assert(not(probe(RAM + ram, &value)), "%s", cases[i].part);
        cr_assert(not(probe(RAM + 0x10000 * (1 + ram / 0x10000), &value)), "%s", cases[i].part);
        cr_assert(probe(FLASH + flash - 4, &value));
        cr_assert(not(probe(FLASH + flash, &value)), "%s", cases[i].part);
        cr_assert(probe(flash - 4, &value), "the alias");
        cr_assert(not(probe(flash, &value)), "%s", cases[i].part);
        finish();
    }
}

Test(probe, holes_are_not_memory)
{
    static const uint32_t holes[] = {0x1FFFEFFC, 0x1FFFF810, 0x22000000 + 0x5000 * 32, 0x40018000,
        0x40024000, 0x60000000, 0x9FFFFFFC, 0xE0100000, 0xFFFFFFFC};
    static const uint32_t memory[] = {0x1FFFF000, 0x1FFFF7FC, 0x1FFFF800, 0x1FFFF80C, 0x20000000,
        0x22000000 + 0x4FFC * 32, 0x40022000, 0xE000ED00};
    uint32_t value;
    start_probing("stm32f103c8");
    for (unsigned i = 0; i < sizeof holes / sizeof holes[0]; i++)
        cr_assert(not(probe(holes[i], &value)), "%08x", holes[i]);
    for (unsigned i = 0; i < sizeof memory / sizeof memory[0]; i++)
        cr_assert(probe(memory[i], &value), "%08x", memory[i]);
}

Test(probe, without_bfhfnmign_it_is_a_lockup)
{
    start();
    order(POKE_PROBE, RAM + 0x5000, 0, 0);
    cr_assert(broke_rule("lockup"));
    cr_assert(eq(u32, board_complaint(b)->addr, RAM + 0x5000));
}

Test(probe, bfhfnmign_alone_ignores_nothing)
{
    start_probing("stm32f103c8");
    read32(RAM + 0x5000);
    cr_assert(eq(u32, faults(), 1));
}

Test(probe, a_store_to_nothing_is_an_error_that_waits)
{
    start_probing("stm32f103c8");
    write32(SCB_CFSR, UINT32_MAX);
    load32(RAM + 0x4FFC, 0);
    struct poke steps[] = {
        {POKE_PROBE_STORE, RAM + 0x5000, 0x1234, 0},
        {POKE_WRITE32,     RAM + 0x4FFC, 0x1234, 0},
    };
    orders(steps, 2);
    cr_assert(eq(u32, faults(), 1), "it is taken when FAULTMASK falls");
    cr_assert(eq(u32, read32(SCB_CFSR), CFSR_IMPRECISERR));
    cr_assert(eq(u32, peek32(RAM + 0x4FFC), 0x1234), "execution goes on");
}

Test(probe, status_is_cleared_by_ones_in_the_bytes_that_are_written)
{
    uint32_t value;
    start_probing("stm32f103c8");
    write32(SCB_CFSR, UINT32_MAX);
    order(POKE_PROBE, RAM + 0x5000, 0, 0);
    write32(SCB_CCR, CCR_UNALIGN_TRP);
    order(POKE_READ16, RAM + 1, 0, 0);
    write32(SCB_CCR, 0);
    cr_assert(eq(u32, faults(), 1));
    cr_assert(eq(u32, read32(SCB_CFSR), CFSR_UNALIGNED | CFSR_BFARVALID | CFSR_PRECISERR));
    write8(SCB_CFSR + 1, UINT32_C(0xFFFFFF02));
    cr_assert(eq(u32, read32(SCB_CFSR), CFSR_UNALIGNED | CFSR_BFARVALID));
    write32(SCB_CFSR, CFSR_UNALIGNED);
    cr_assert(eq(u32, read32(SCB_CFSR), CFSR_BFARVALID));
    write16(SCB_CFSR, 0xFFFF);
    cr_assert(eq(u32, read32(SCB_CFSR), 0));
    forget_faults();
    write32(SCB_CCR, CCR_BFHFNMIGN);
    cr_assert(probe(RAM, &value));
}

/* --- pins, timers, serial ----------------------------------------------------------------------- */

TestSuite(pins, .fini = finish, .timeout = 60);

Test(pins, outputs_are_told)
{
    start();
    write32(RCC_APB2ENR, 1 << 4);
    pin_text[0] = 0;
    write32(GPIOC + 4, 0x44244444);
    write32(GPIOC + 0x10, 1 << 13);
    write32(GPIOC + 0x10, UINT32_C(1) << 29);
    cr_assert(eq(str, pin_text, "C13=0 C13=1 C13=0 "));
    cr_assert(not(board_pin(b, 'C', 13)));
    reset();
    cr_assert(board_pin(b, 'C', 13), "the LED's resistor pulls up");
}

Test(pins, inputs_show_the_outside_or_their_pull)
{
    start();
    write32(RCC_APB2ENR, 1 << 2);
    write32(GPIOA, 0x44444448); /* PA0: input with pull */
    cr_assert(eq(u32, read32(GPIOA + 8) & 1, 0));
    write32(GPIOA + 0x10, 1);
    cr_assert(eq(u32, read32(GPIOA + 8) & 1, 1));
    board_drive_pin(b, 'A', 0, false);
    cr_assert(eq(u32, read32(GPIOA + 8) & 1, 0));
}

Test(pins, edges_become_pending)
{
    start();
    write32(RCC_APB2ENR, 1 << 2 | 1);
    write32(EXTI, 1);
    write32(EXTI + 8, 1);
    board_drive_pin(b, 'A', 0, true);
    cr_assert(eq(u32, read32(EXTI + 0x14), 1));
    write32(EXTI + 0x14, 1);
    board_drive_pin(b, 'A', 0, false);
    cr_assert(eq(u32, read32(EXTI + 0x14), 0));
}

Test(pins, locked_pins_keep_their_mode)
{
    start();
    write32(RCC_APB2ENR, 1 << 2);
    write32(GPIOA + 0x18, 0x10001);
    write32(GPIOA + 0x18, 0x00001);
    write32(GPIOA + 0x18, 0x10001);
    read32(GPIOA + 0x18);
    cr_assert(eq(u32, read32(GPIOA + 0x18), 0x10001));
    write32(GPIOA, 0x11111111);
    cr_assert(eq(u32, read32(GPIOA), 0x11111114));
}

Test(pins, swj_cfg_cannot_be_read_back)
{
    start();
    write32(RCC_APB2ENR, 1);
    uint32_t seen = 0;
    for (unsigned i = 0; i < 20; i++)
        seen |= read32(AFIO_MAPR);
    cr_assert(eq(u32, seen, 0x07000000));
}

static void open_usart1(void)
{
    write32(RCC_APB2ENR, 1 << 14 | 1 << 2);
    write32(GPIOA + 4, 0x444444B4);
    write32(USART1 + 8, 69);
    write32(USART1 + 12, 0x200C);
}

Test(pins, a_byte_takes_ten_bits_of_time)
{
    start();
    open_usart1();
    cr_assert(eq(u32, read32(USART1), 0xC0));
    uint64_t before = board_now(b);
    write32(USART1 + 4, 'A');
    order(POKE_WAIT_CLEAR, USART1 + 0x18, 1, 0);
    cr_assert(eq(u32, read32(USART1), 0x80));
    while (!(read32(USART1) & 0x40))
        continue;
    uint64_t took = board_now(b) - before; /* 10 · 69 / 8 MHz = 86.25 µs */
    cr_assert(took > 84 * BOARD_US && took < 130 * BOARD_US, "%llu", (unsigned long long)took);
    cr_assert(eq(uint, uart_length, 1));
    cr_assert(eq(chr, uart_text[0], 'A'));
}

Test(pins, received_bytes_wait_and_overrun)
{
    start();
    open_usart1();
    board_uart_send(b, 1, 'x');
    cr_assert(eq(u32, read32(USART1) & 0x20, 0));
    board_run_for(b, 100 * BOARD_US);
    cr_assert(eq(u32, read32(USART1) & 0x28, 0x20));
    cr_assert(eq(u32, read32(USART1 + 4), 'x'));
    cr_assert(eq(u32, read32(USART1) & 0x20, 0));
    board_uart_send(b, 1, 'y');
    board_uart_send(b, 1, 'z');
    board_run_for(b, 200 * BOARD_US);
    cr_assert(eq(u32, read32(USART1) & 0x28, 0x28));
    cr_assert(eq(u32, read32(USART1 + 4), 'y'));
}

Test(pins, dma_feeds_the_usart)
{
    start();
    open_usart1();
    write32(RCC_AHBENR, 0x15);
    board_load(b, RAM + 0x4000, "hello", 5);
    write32(DMA1 + 0x08 + 3 * 20 + 4, 5);
    write32(DMA1 + 0x08 + 3 * 20 + 8, USART1 + 4);
    write32(DMA1 + 0x08 + 3 * 20 + 12, RAM + 0x4000);
    write32(USART1 + 0x14, 0x80);
    write32(DMA1 + 0x08 + 3 * 20, 0x91);
    board_run_for(b, BOARD_MS);
    cr_assert(eq(uint, uart_length, 5));
    cr_assert(eq(int, memcmp(uart_text, "hello", 5), 0));
}

Test(pins, a_timer_counts_and_updates)
{
    start();
    write32(RCC_APB1ENR, 1);
    write32(TIM2 + 0x28, 7999); /* 1 kHz */
    write32(TIM2 + 0x2C, 99);
    write32(TIM2 + 0x14, 1);
    write32(TIM2 + 0x10, 0);
    write32(TIM2, 1);
    board_run_for(b, 50 * BOARD_MS + 500 * BOARD_US);
    cr_assert(eq(u32, read32(TIM2 + 0x24), 50));
    cr_assert(eq(u32, read32(TIM2 + 0x10) & 1, 0));
    board_run_for(b, 50 * BOARD_MS);
    cr_assert(eq(u32, read32(TIM2 + 0x10) & 1, 1));
    cr_assert(eq(u32, read32(TIM2 + 0x24), 0));
    board_run_for(b, 10 * BOARD_S);
    cr_assert(eq(u32, read32(TIM2 + 0x24), 0));
}

Test(pins, one_pulse_ends)
{
    start();
    write32(RCC_APB1ENR, 1);
    write32(TIM2 + 0x28, 7);
    write32(TIM2 + 0x2C, 999);
    write32(TIM2 + 0x14, 1);
    write32(TIM2 + 0x10, 0);
    write32(TIM2, 9);
    order(POKE_WAIT_CLEAR, TIM2, 1, 0);
    cr_assert(eq(u32, read32(TIM2 + 0x10) & 1, 1));
}

Test(pins, the_adc_calibrates_and_converts)
{
    start();
    write32(RCC_APB2ENR, 1 << 9);
    write32(ADC1 + 8, 1);
    write32(ADC1 + 8, 5);
    order(POKE_WAIT_CLEAR, ADC1 + 8, 4, 0);
    write32(ADC1 + 8, 0x5E0001);
    cr_assert(eq(u32, read32(ADC1) & 2, 2));
    cr_assert(eq(u32, read32(ADC1 + 0x4C), 0x800));
}

Test(pins, the_adc_converts_injected_channels_less_their_offsets)
{
    enum { JEOC = 4, JSTRT = 8, JSWSTART = 1 << 21 };
    start();
    write32(RCC_APB2ENR, 1 << 9);
    write32(ADC1 + 8, 1);
    write32(ADC1 + 0x18, 0x801);   /* JOFR2 */
    write32(ADC1 + 0x38, 1 << 20); /* two channels */
    write32(ADC1 + 8, 0xF001 | JSWSTART);
    cr_assert(eq(u32, read32(ADC1), JEOC | JSTRT));
    cr_assert(eq(u32, read32(ADC1 + 8), 0xF001));
    cr_assert(eq(u32, read32(ADC1 + 0x3C), 0x800));
    cr_assert(eq(u32, read32(ADC1 + 0x40), 0xFFFF));
    cr_assert(eq(u32, read32(ADC1 + 0x44), 0), "not asked for");
    write32(ADC1, (uint32_t)~JEOC);
    cr_assert(eq(u32, read32(ADC1) & JEOC, 0));
}

/* --- copies ------------------------------------------------------------------------------------- */

TestSuite(copy, .fini = finish, .timeout = 60);

static uint64_t hash_of_a_run(uint64_t seed)
{
    struct board_config c = config();
    c.seed = seed;
    c.trace_what = BOARD_TRACE_REGISTERS | BOARD_TRACE_INSTRUCTIONS | BOARD_TRACE_FLASH;
    trace_hash = UINT64_C(0xCBF29CE484222325);
    start_with(c);
    unlock();
    program(PLACE, 0x1234);
    reset();
    read32(0x1FFFF7E8); /* the seed shows in the id */
    finish();
    return trace_hash;
}

Test(copy, two_runs_give_byte_equal_traces)
{
    uint64_t first = hash_of_a_run(1);
    cr_assert(eq(u64, hash_of_a_run(1), first));
    cr_assert(ne(u64, hash_of_a_run(2), first));
}

/* Does something that touches flash, RAM, a timer and the clock, and tells how it ended. */
static uint64_t story(void)
{
    uint64_t hash;
    write32(RCC_APB1ENR, 1);
    write32(TIM2, 1);
    unlock();
    erase_page(PLACE);
    program(PLACE, 0x4321);
    write32(RAM + 0x4000, read32(TIM2 + 0x24));
    to_72_mhz();
    hash = board_now(b) ^ counts().cycles << 20 ^ counts().instructions << 40;
    hash ^= (uint64_t)peek32(RAM + 0x4000) << 7 ^ peek32(PLACE);
    write32(FLASH_CR, LOCK);
    return hash;
}

Test(copy, a_restored_copy_does_what_the_original_did)
{
    start();
    load32(PLACE, 0x11112222);
    struct board *saved = board_copy(b);
    uint64_t first = story();
    cr_assert(eq(u32, peek32(PLACE), 0xFFFF4321));
    board_restore(b, saved);
    cr_assert(eq(u32, peek32(PLACE), 0x11112222));
    cr_assert(eq(u64, board_now(b), board_now(saved)));
    cr_assert(eq(u64, story(), first));
    board_free(b);
    b = saved; /* the copy goes on by itself */
    cr_assert(eq(u64, story(), first));
}

Test(copy, a_restored_board_runs_the_restored_code)
{
    static const uint16_t loop[] = {0x3000, 0x2000, 0x0009, 0x0800, 0xE7FE};
    static const uint16_t reboot[] = {0x3000, 0x2000, 0x0009, 0x0800, 0xBF00, 0xE7FD};
    struct board_config c = config();
    b = board_new(&c);
    board_load(b, FLASH, loop, sizeof loop);
    board_power(b, true);
    board_run_for(b, 5 * BOARD_MS);
    struct board *saved = board_copy(b);
    board_load(b, FLASH, reboot, sizeof reboot); /* nop; b to it */
    uint64_t before = counts().instructions;
    board_run_for(b, BOARD_MS);
    uint64_t other = counts().instructions - before;
    board_restore(b, saved);
    board_run_for(b, BOARD_MS);
    cr_assert(ne(u64, counts().instructions - before, other));
    board_free(saved);
}

Test(copy, a_copy_in_the_middle_of_an_erase_ends_it_too)
{
    start();
    from_ram = true;
    unlock();
    write32(FLASH_CR, PER);
    write32(FLASH_AR, PLACE);
    order(POKE_WRITE_READ, FLASH_CR, PER | STRT, FLASH_SR);
    struct board *copy = board_copy(b);
    board_run_for(b, 40 * BOARD_MS);
    board_run_for(copy, 40 * BOARD_MS);
    cr_assert(eq(u64, board_now(b), board_now(copy)));
    cr_assert(eq(u32, read32(FLASH_SR), EOP));
    board_free(copy);
}
