/* SPDX-License-Identifier: MIT */
/*
 * The CPU core. QEMU is the judge of what instructions and exceptions do: images run on both and
 * must print the same. What QEMU does not model (time, the flash controller's stalls, stops inside
 * an instruction, snapshots) is tested here on a board of nothing but memory.
 */
#include "sim/cpu.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FLASH_SIZE = 128 * 1024, /* as QEMU's stm32vldiscovery */
    RAM_SIZE = 8 * 1024,
    MAX_ACCESSES = 16,
    MAX_CONSOLE = 64 * 1024,
};
#define FLASH       0x08000000u
#define RAM         0x20000000u
#define PERIPHERALS 0x40000000u
#define CODE        (FLASH + 0x200) /* where boot() puts the program */
#define HANDLER     (FLASH + 0x400) /* where all vectors but reset point */
#define STACK       (RAM + 0x1000)
#define USART1_SR   0x40013800u
#define USART1_DR   0x40013804u
#define BILLION     UINT64_C(1000000000)

/* ---- a board ----------------------------------------------------------------------------------*/

struct access {
    uint32_t addr, value;
    unsigned size;
    uint64_t cycle;
};

static struct machine {
    struct cpu cpu;
    struct cpu_bus bus;
    uint8_t flash[FLASH_SIZE], ram[RAM_SIZE];
    char console[MAX_CONSOLE];
    size_t printed;

    struct access writes[MAX_ACCESSES]; /* to flash and peripherals, the console's apart */
    size_t writes_made;
    uint32_t peripheral; /* what all other peripheral registers read */
    uint64_t busy_for;   /* cycles that a store to flash takes */
    size_t stop_at;      /* this write stops the machine; 1: the first */
    uint64_t tick_period, ticked_at[MAX_ACCESSES];
    size_t ticks, traced;
    uint32_t traced_pc[MAX_ACCESSES];
} m;

static uint32_t board_read(void *context, uint32_t addr, unsigned size, bool *fault)
{
    (void)context, (void)size;
    *fault = addr < PERIPHERALS || addr >= PERIPHERALS + 0x30000;
    return addr == USART1_SR ? 0xc0 : m.peripheral;
}

static void note_write(uint32_t addr, unsigned size, uint32_t value)
{
    if (m.writes_made < MAX_ACCESSES)
        m.writes[m.writes_made] = (struct access){addr, value, size, m.cpu.cycles};
    m.writes_made++;
    if (m.writes_made == m.stop_at)
        m.bus.stop = true;
}

static void board_write(void *context, uint32_t addr, unsigned size, uint32_t value, bool *fault)
{
    (void)context;
    *fault = addr < PERIPHERALS || addr >= PERIPHERALS + 0x30000;
    if (addr == USART1_DR && m.printed < MAX_CONSOLE - 1)
        m.console[m.printed++] = (char)value;
    else if (!*fault)
        note_write(addr, size, value);
}

static void board_flash_write(
    void *context, uint32_t addr, unsigned size, uint32_t value, bool *fault)
{
    (void)context, (void)fault;
    note_write(addr, size, value);
    if (m.busy_for)
        m.bus.flash_busy_until = m.cpu.cycles + m.busy_for;
}

static void board_tick(void *context)
{
    (void)context;
    if (m.ticks < MAX_ACCESSES)
        m.ticked_at[m.ticks] = m.cpu.cycles;
    m.ticks++;
    m.bus.board_event += m.tick_period;
}

static void board_trace(void *context)
{
    (void)context;
    if (m.traced < MAX_ACCESSES)
        m.traced_pc[m.traced] = m.cpu.pc;
    m.traced++;
}

static void put16(uint32_t addr, uint16_t value)
{
    uint8_t *p = addr < RAM ? &m.flash[addr - FLASH] : &m.ram[addr - RAM];
    memcpy(p, &value, 2);
}

static void put32(uint32_t addr, uint32_t value)
{
    put16(addr, (uint16_t)value);
    put16(addr + 2, (uint16_t)(value >> 16));
}

static uint32_t ram_word(uint32_t addr)
{
    uint32_t value;
    memcpy(&value, &m.ram[addr - RAM], 4);
    return value;
}

static void power_on(void)
{
    m.bus = (struct cpu_bus){.flash = m.flash,
        .flash_base = FLASH,
        .flash_size = FLASH_SIZE,
        .alias_flash = true,
        .ram = m.ram,
        .ram_size = RAM_SIZE,
        .read = board_read,
        .write = board_write,
        .flash_write = board_flash_write,
        .tick = board_tick,
        .board_event = UINT64_MAX};
    cr_assert_eq(cpu_bus_init(&m.bus), 0);
    cpu_reset(&m.cpu, &m.bus);
}

static void power_off(void)
{
    cpu_bus_free(&m.bus);
}
TestSuite(cpu, .fini = power_off);

/* Erased flash, nothing noted. */
static void new_board(void)
{
    power_off();
    memset(&m, 0, sizeof m);
    memset(m.flash, 0xff, sizeof m.flash);
}

/* ---- little programs --------------------------------------------------------------------------*/

#define MOVS(rd, imm)        (uint16_t)(0x2000 | (rd) << 8 | (imm))
#define ADDS(rd, imm)        (uint16_t)(0x3000 | (rd) << 8 | (imm))
#define LDR(rt, rn)          (uint16_t)(0x6800 | (rn) << 3 | (rt))
#define STR(rt, rn)          (uint16_t)(0x6000 | (rn) << 3 | (rt))
#define STRH(rt, rn)         (uint16_t)(0x8000 | (rn) << 3 | (rt))
#define STRB(rt, rn)         (uint16_t)(0x7000 | (rn) << 3 | (rt))
#define STMIA(rn, registers) (uint16_t)(0xc000 | (rn) << 8 | (registers))
#define LDMIA(rn, registers) (uint16_t)(0xc800 | (rn) << 8 | (registers))
#define NOP                  0xbf00
#define IT_EQ                0xbf08
#define WFE                  0xbf20
#define WFI                  0xbf30
#define SEV                  0xbf40
#define BKPT                 0xbe00
#define UDF                  0xde00
#define SVC                  0xdf00
#define CPSID_I              0xb672
#define CPSIE_I              0xb662
#define BX_LR                0x4770
#define BX(rm)               (uint16_t)(0x4700 | (rm) << 3)
#define LOOP                 0xe7fe /* b . */

#define PROGRAM(...) ((const uint16_t[]){__VA_ARGS__}), sizeof((const uint16_t[]){__VA_ARGS__})

static void place(uint32_t addr, const uint16_t *code, size_t size)
{
    for (size_t n = 0; n < size / 2; n++)
        put16(addr + (uint32_t)n * 2, code[n]);
}

/* A machine about to execute the program at CODE; all handlers are a BKPT. */
static void boot(const uint16_t *code, size_t size)
{
    new_board();
    put32(FLASH, STACK);
    put32(FLASH + 4, CODE | 1);
    for (uint32_t exception = 2; exception < CPU_EXCEPTIONS; exception++)
        put32(FLASH + exception * 4, HANDLER | 1);
    place(CODE, code, size);
    put16(HANDLER, BKPT);
    power_on();
}

static enum cpu_stop run(void)
{
    return cpu_run(&m.cpu, &m.bus, m.cpu.cycles + BILLION);
}

/* Runs single instructions. */
static void step(unsigned count)
{
    for (uint64_t end = m.cpu.instructions + count; m.cpu.instructions < end;)
        cpu_run(&m.cpu, &m.bus, m.cpu.cycles + 1);
}

/* A word store, as a debugger's. */
static void poke_register(uint32_t addr, uint32_t value)
{
    struct cpu saved = m.cpu;
    uint16_t old[2];
    memcpy(old, &m.ram[0x1f00], 4);
    put16(RAM + 0x1f00, STR(1, 0));
    m.cpu.r[0] = addr;
    m.cpu.r[1] = value;
    m.cpu.pc = RAM + 0x1f00;
    step(1);
    memcpy(&m.ram[0x1f00], old, 4);
    memcpy(m.cpu.r, saved.r, sizeof saved.r);
    m.cpu.pc = saved.pc;
    m.cpu.cycles = saved.cycles;
    m.cpu.instructions = saved.instructions;
}

#define SYST_CSR  0xe000e010u
#define SYST_RVR  0xe000e014u
#define SYST_CVR  0xe000e018u
#define NVIC_ISER 0xe000e100u
#define NVIC_ICPR 0xe000e280u
#define CPUID     0xe000ed00u
#define AIRCR     0xe000ed0cu
#define VTOR      0xe000ed08u
#define CCR       0xe000ed14u
#define CFSR      0xe000ed28u
#define DEMCR     0xe000edfcu
#define DWT_CTRL  0xe0001000u
#define CYCCNT    0xe0001004u

/* ---- against QEMU -----------------------------------------------------------------------------*/

static const char *image_path(const char *name)
{
    static char path[512];
    const char *folder = getenv("FIRMWARE_DIR");
    snprintf(path, sizeof path, "%s/%s.bin", folder ? folder : "build/tests/firmware", name);
    return path;
}

static void boot_image(const char *name)
{
    new_board();
    FILE *f = fopen(image_path(name), "rb");
    cr_assert_not_null(f, "%s is missing: make %s", image_path(name), image_path(name));
    cr_assert(fread(m.flash, 1, sizeof m.flash, f) > 0);
    fclose(f);
    power_on();
}

/* Runs an image to its end. */
static void run_image(const char *name)
{
    boot_image(name);
    enum cpu_stop why = cpu_run(&m.cpu, &m.bus, 10 * BILLION);
    cr_assert_eq(why, CPU_RESETREQ, "%s stopped at 0x%08x", name, m.cpu.pc);
}

static void compare_with_qemu(const char *name)
{
    char command[1024], theirs[512];
    const char *ours = m.console;

    if (system("command -v qemu-system-arm >/dev/null 2>&1") != 0)
        cr_skip_test("qemu-system-arm is not installed");
    run_image(name);
    snprintf(command, sizeof command,
        "timeout 120 qemu-system-arm -M stm32vldiscovery -display none -monitor none "
        "-serial stdio -no-reboot -kernel '%s' </dev/null",
        image_path(name));
    FILE *qemu = popen(command, "r");
    cr_assert_not_null(qemu);
    for (unsigned line = 1; fgets(theirs, sizeof theirs, qemu); line++) {
        size_t length = strcspn(ours, "\n") + 1;
        cr_assert(strncmp(ours, theirs, length) == 0 && theirs[length] == 0,
            "%s line %u\nqemu: %sours: %.*s", name, line, theirs, (int)length, ours);
        ours += length;
    }
    cr_assert_eq(pclose(qemu), 0);
    cr_assert_eq(*ours, 0, "%s goes on after QEMU's end", name);
    cr_assert_not_null(strstr(m.console, "\nDONE\n"));
}

Test(cpu, every_random_instruction_does_what_qemu_does, .timeout = 150)
{
    compare_with_qemu("rand");
}

Test(cpu, exceptions_nest_and_return_as_qemu_says, .timeout = 150)
{
    compare_with_qemu("exc");
}

Test(cpu, compiled_programs_print_what_they_print_on_qemu, .timeout = 150)
{
    compare_with_qemu("mix");
}

/* ---- found by, or beyond, the random programs of test_differential.c --------------------------*/

#define CFSR_BFAR      0x8200u /* BFARVALID, PRECISERR */
#define CFSR_UNDEFINED (1u << 16)
#define CFSR_NO_CP     (1u << 19)

/* Of one 32-bit instruction, with R0 = address. */
static uint32_t cfsr_of(uint32_t instruction, uint32_t address)
{
    boot(PROGRAM((uint16_t)(instruction >> 16), (uint16_t)instruction, BKPT));
    m.cpu.r[0] = address;
    run();
    return m.cpu.cfsr;
}

Test(cpu, unprivileged_loads_and_stores_may_not_touch_system_registers)
{
    static const uint32_t forms[] = {0xf8101e00, 0xf8301e00, 0xf8501e00, 0xf9101e00, 0xf9301e00,
        0xf8001e00, 0xf8201e00, 0xf8401e00}; /* LDRBT LDRHT LDRT LDRSBT LDRSHT STRBT STRHT STRT */
    for (size_t n = 0; n < sizeof forms / sizeof *forms; n++) {
        cr_expect_eq(cfsr_of(forms[n], CCR), CFSR_BFAR, "%08x", forms[n]);
        cr_expect_eq(m.cpu.bfar, CCR, "%08x", forms[n]);
        cr_expect_eq(cfsr_of(forms[n], RAM), 0, "%08x", forms[n]);
    }
    cr_expect_eq(cfsr_of(0xf8d01000, CCR), 0, "LDR may, with privilege");
}

Test(cpu, unprivileged_loads_extend_what_they_load)
{
    boot(PROGRAM(0xf910, 0x1e01, 0xf930, 0x2e02, 0xf830, 0x3e02, BKPT));
    m.cpu.r[0] = RAM;
    put32(RAM, 0x8765c321);
    run();
    cr_assert_eq(m.cpu.r[1], 0xffffffc3);
    cr_assert_eq(m.cpu.r[2], 0xffff8765);
    cr_assert_eq(m.cpu.r[3], 0x00008765);
}

Test(cpu, coprocessor_instructions_that_are_nobodys_are_undefined)
{
    cr_expect_eq(cfsr_of(0xee000000, 0), CFSR_NO_CP); /* CDP */
    cr_expect_eq(cfsr_of(0xfe100010, 0), CFSR_NO_CP); /* MRC2 */
    cr_expect_eq(cfsr_of(0xed900000, 0), CFSR_NO_CP); /* LDC */
    cr_expect_eq(cfsr_of(0xef000000, 0), CFSR_UNDEFINED);
    cr_expect_eq(cfsr_of(0xff000000, 0), CFSR_UNDEFINED);
}

/* QEMU 7.2 has these on its Cortex-M3, too. */
Test(cpu, instructions_of_later_cores_are_undefined)
{
    static const uint32_t later[] = {0xf3200001, 0xf3a00001, 0xfa01f080, 0xfa11f080, 0xfa21f080,
        0xfa51f080}; /* SSAT16 USAT16 SXTAH UXTAH SXTAB16 UXTAB */
    for (size_t n = 0; n < sizeof later / sizeof *later; n++)
        cr_expect_eq(cfsr_of(later[n], 0), CFSR_UNDEFINED, "%08x", later[n]);
}

/* Where QEMU 7.2 tells the word that it lies in. */
Test(cpu, an_unaligned_access_that_faults_tells_its_own_address)
{
    cr_expect_eq(cfsr_of(0xf8d01000, 0x60000001), CFSR_BFAR);
    cr_expect_eq(m.cpu.bfar, 0x60000001);
}

/* ---- time -------------------------------------------------------------------------------------*/

Test(cpu, a_run_ends_at_the_first_instruction_boundary_after_its_limit)
{
    boot(PROGRAM(NOP, NOP, NOP, LDR(0, 1), NOP));
    m.cpu.r[1] = RAM;
    cr_assert_eq(cpu_run(&m.cpu, &m.bus, 2), CPU_UNTIL);
    cr_assert_eq(m.cpu.cycles, 2);
    cr_assert_eq(m.cpu.instructions, 2);
    cpu_run(&m.cpu, &m.bus, 2);
    cr_assert_eq(m.cpu.instructions, 2, "nothing is left to run");
    cpu_run(&m.cpu, &m.bus, 4); /* the load, from 3 to 5, is on its way at 4 */
    cr_assert_eq(m.cpu.cycles, 5);
}

Test(cpu, board_events_come_at_their_cycle)
{
    boot(PROGRAM(NOP, NOP, NOP, NOP, NOP, NOP, NOP, NOP, WFI, BKPT));
    m.bus.board_event = 3;
    m.tick_period = 1000;
    cr_assert_eq(cpu_run(&m.cpu, &m.bus, 5000), CPU_UNTIL);
    cr_assert_eq(m.ticked_at[0], 3);
    cr_assert_eq(m.ticked_at[1], 1003);
    cr_assert_eq(m.ticked_at[2], 2003);
    cr_assert_eq(m.cpu.cycles, 5000, "a core asleep stops exactly at the limit");
    cr_assert_eq(m.cpu.instructions, 9);
}

Test(cpu, systick_fires_at_its_deadline_and_every_period_after)
{
    static const uint32_t reload = 99;

    boot(PROGRAM(WFI, 0xe7fd)); /* b back */
    put16(HANDLER, ADDS(4, 1));
    put16(HANDLER + 2, BX_LR);
    poke_register(SYST_RVR, reload);
    poke_register(SYST_CVR, 0);
    poke_register(SYST_CSR, 7);
    /* one cycle to reload, then `reload` to zero; entry takes 12 */
    uint64_t begin = m.cpu.systick_base;
    cpu_run(&m.cpu, &m.bus, begin + reload);
    cr_assert_eq(m.cpu.ipsr, 0);
    cpu_run(&m.cpu, &m.bus, begin + reload + 1);
    cpu_run(&m.cpu, &m.bus, begin + reload + 2);
    cr_assert_eq(m.cpu.ipsr, 15);
    cr_assert_eq(m.cpu.cycles, begin + reload + 1 + 12);
    cpu_run(&m.cpu, &m.bus, begin + 1000 * (reload + 1) + 50);
    cr_assert_eq(m.cpu.r[4], 1000);
}

Test(cpu, systick_counts_eighths_without_clksource)
{
    boot(PROGRAM(LOOP));
    poke_register(SYST_RVR, 9);
    poke_register(SYST_CVR, 0);
    poke_register(SYST_CSR, 1);
    uint64_t begin = m.cpu.systick_base;
    cpu_run(&m.cpu, &m.bus, begin + 79);
    cpu_run(&m.cpu, &m.bus, begin + 80);
    cr_assert(m.cpu.systick_csr >> 16 & 1);
    cr_assert_geq(m.cpu.systick_base, begin + 80);
    cr_assert_eq((m.cpu.systick_base - begin) % 80, 0);
}

Test(cpu, systick_reads_down_to_zero_and_reloads)
{
    boot(PROGRAM(STR(1, 0), LDR(2, 0), LDR(3, 0), LDR(4, 0), LDR(5, 0), BKPT));
    poke_register(SYST_RVR, 5);
    poke_register(SYST_CSR, 5);
    m.cpu.r[0] = SYST_CVR;
    run();
    cr_assert_eq(m.cpu.r[2], 4); /* the store ends at 0, loads at 2, 4, 6, 8 */
    cr_assert_eq(m.cpu.r[3], 2);
    cr_assert_eq(m.cpu.r[4], 0);
    cr_assert_eq(m.cpu.r[5], 4);
}

Test(cpu, the_cycle_counter_counts_cycles)
{
    boot(PROGRAM(LDR(2, 0), NOP, NOP, NOP, LDR(3, 0), BKPT));
    m.cpu.r[0] = CYCCNT;
    run();
    cr_assert_eq(m.cpu.r[3], 0, "not before it is turned on");
    poke_register(DEMCR, 1u << 24);
    poke_register(DWT_CTRL, 1);
    m.cpu.pc = CODE;
    run();
    cr_assert_eq(m.cpu.r[3] - m.cpu.r[2], 5);
}

/* ---- flash that is busy -----------------------------------------------------------------------*/

Test(cpu, a_fetch_from_busy_flash_waits_until_it_is_idle)
{
    boot(PROGRAM(STRH(1, 0), NOP, BKPT));
    m.cpu.r[0] = FLASH + 0x8000;
    m.busy_for = 1000;
    run();
    uint64_t begun = m.writes[0].cycle;
    cr_assert_eq(m.cpu.cycles, begun + 1000 + 1 + 1); /* NOP, BKPT */
}

Test(cpu, a_run_may_end_within_a_stall_and_go_on)
{
    boot(PROGRAM(STRH(1, 0), NOP, BKPT));
    m.cpu.r[0] = FLASH + 0x8000;
    m.busy_for = 1000;
    m.bus.board_event = 300;
    m.tick_period = 300;
    cr_assert_eq(cpu_run(&m.cpu, &m.bus, 500), CPU_UNTIL);
    cr_assert_eq(m.cpu.cycles, 500);
    cr_assert_eq(m.cpu.instructions, 1);
    cr_assert_eq(m.ticked_at[0], 300, "board time goes on");
    run();
    cr_assert_eq(m.cpu.cycles, m.writes[0].cycle + 1000 + 1 + 1);
}

Test(cpu, code_in_ram_runs_on_and_its_load_from_busy_flash_waits)
{
    boot(PROGRAM(BKPT));
    place(RAM + 0x100, PROGRAM(STRH(1, 0), NOP, NOP, LDR(2, 0), ADDS(3, 1), BKPT));
    m.cpu.pc = RAM + 0x100;
    m.cpu.r[0] = FLASH + 0x8000;
    m.busy_for = 1000;
    step(3);
    uint64_t begun = m.writes[0].cycle;
    cr_assert_eq(m.cpu.cycles, begun + 2);
    cpu_run(&m.cpu, &m.bus, begun + 400);
    cr_assert_eq(m.cpu.cycles, begun + 400);
    cr_assert_eq(m.cpu.instructions, 3);
    cr_assert_eq(m.cpu.r[2], 0);
    run();
    cr_assert_eq(m.cpu.r[2], UINT32_MAX);
    cr_assert_eq(m.cpu.r[3], 1);
    cr_assert_eq(m.cpu.cycles, begun + 1000 + 2 + 1 + 1); /* LDR, ADDS, BKPT */
}

Test(cpu, an_interrupt_waits_for_its_vector_in_busy_flash)
{
    boot(PROGRAM(BKPT));
    place(RAM + 0x100, PROGRAM(STRH(1, 0), LOOP));
    m.cpu.pc = RAM + 0x100;
    m.cpu.r[0] = FLASH + 0x8000;
    m.busy_for = 1000;
    poke_register(NVIC_ISER, 1);
    step(2);
    cpu_irq(&m.cpu, 0, true);
    cr_assert_eq(run(), CPU_BREAKPOINT);
    cr_assert_eq(m.cpu.cycles, m.writes[0].cycle + 1000 + 12 + 1);
}

Test(cpu, handlers_in_ram_run_while_flash_is_busy)
{
    boot(PROGRAM(BKPT));
    place(RAM + 0x100, PROGRAM(STRH(1, 0), LOOP));
    put32(RAM + 0x400 + 16 * 4, RAM + 0x201);
    place(RAM + 0x200, PROGRAM(BKPT));
    m.cpu.pc = RAM + 0x100;
    m.cpu.r[0] = FLASH + 0x8000;
    m.busy_for = 1000;
    poke_register(NVIC_ISER, 1);
    poke_register(VTOR, RAM + 0x400);
    step(2);
    cpu_irq(&m.cpu, 0, true);
    cr_assert_eq(run(), CPU_BREAKPOINT);
    cr_assert_lt(m.cpu.cycles, m.writes[0].cycle + 100);
}

Test(cpu, taken_branches_into_flash_pay_the_wait_states)
{
    boot(PROGRAM(0xe7fe));
    step(1);
    uint64_t fast = m.cpu.cycles;
    boot(PROGRAM(0xe7fe));
    m.bus.flash_wait = 2;
    step(1);
    cr_assert_eq(m.cpu.cycles, fast + 2);
}

/* ---- changed flash ----------------------------------------------------------------------------*/

static void change_flash(uint32_t addr, uint16_t value)
{
    put16(addr, value);
    cpu_flash_changed(&m.bus, addr - FLASH, 2);
}

Test(cpu, changed_flash_is_decoded_anew)
{
    boot(PROGRAM(MOVS(0, 1), BKPT));
    run();
    cr_assert_eq(m.cpu.r[0], 1);
    change_flash(CODE, MOVS(0, 2));
    m.cpu.pc = CODE;
    run();
    cr_assert_eq(m.cpu.r[0], 2);
}

Test(cpu, a_changed_second_half_word_counts_too)
{
    boot(PROGRAM(0xf04f, 0x0055, BKPT)); /* mov.w r0, #0x55 */
    run();
    cr_assert_eq(m.cpu.r[0], 0x55);
    change_flash(CODE + 2, 0x0066);
    m.cpu.pc = CODE;
    run();
    cr_assert_eq(m.cpu.r[0], 0x66);
}

Test(cpu, flash_runs_at_its_alias_too)
{
    boot(PROGRAM(MOVS(0, 1), BKPT));
    m.cpu.pc = CODE - FLASH;
    cr_assert_eq(run(), CPU_BREAKPOINT);
    cr_assert_eq(m.cpu.pc, CODE - FLASH + 2);
    cr_assert_eq(m.cpu.r[0], 1);
    m.bus.alias_flash = false;
    m.cpu.pc = CODE - FLASH;
    run();
    cr_assert_eq(m.cpu.cfsr, 1u << 8, "IBUSERR when something else is mapped there");
}

/* ---- stops ------------------------------------------------------------------------------------*/

Test(cpu, a_stop_within_stm_stores_no_later_word)
{
    boot(PROGRAM(STMIA(0, 0x1e), NOP)); /* r1 to r4 */
    m.cpu.r[0] = FLASH + 0x8000;
    m.stop_at = 2;
    cr_assert_eq(run(), CPU_STOPPED);
    cr_assert_eq(m.writes_made, 2);
    cr_assert_eq(m.cpu.instructions, 1);
    cr_assert_eq(m.cpu.pc, CODE + 2);
    cr_assert_not(m.bus.stop, "the stop is taken back when it is reported");
}

Test(cpu, a_stop_keeps_the_rest_of_the_instruction_from_ram_too)
{
    boot(
        PROGRAM(0xe9c0, 0x1200, NOP)); /* strd r1, r2, [r0]; the last flash word would be next to */
    m.cpu.r[0] = PERIPHERALS;
    m.stop_at = 1;
    cr_assert_eq(run(), CPU_STOPPED);
    cr_assert_eq(m.writes_made, 1);
}

Test(cpu, a_stop_within_an_unaligned_store_ends_it)
{
    boot(PROGRAM(STR(1, 0), NOP));
    m.cpu.r[0] = PERIPHERALS + 1;
    m.stop_at = 1;
    cr_assert_eq(run(), CPU_STOPPED);
    cr_assert_eq(m.writes_made, 1);
    cr_assert_eq(m.writes[0].size, 1);
}

Test(cpu, a_reset_request_is_reported_at_the_next_instruction)
{
    boot(PROGRAM(STR(1, 0), MOVS(2, 1)));
    m.cpu.r[0] = AIRCR;
    m.cpu.r[1] = 0x05fa0004;
    cr_assert_eq(run(), CPU_RESETREQ);
    cr_assert_eq(m.cpu.instructions, 1);
    cr_assert_eq(run(), CPU_RESETREQ, "until the board resets the core");
    cpu_reset(&m.cpu, &m.bus);
    cr_assert_eq(m.cpu.pc, CODE);
    cr_assert_eq(m.cpu.instructions, 1, "counters survive");
}

Test(cpu, a_breakpoint_stops_before_itself)
{
    boot(PROGRAM(MOVS(0, 1), 0x2800 /* cmp r0, #0 */, IT_EQ, BKPT, MOVS(1, 1)));
    cr_assert_eq(run(), CPU_BREAKPOINT, "though its condition fails");
    cr_assert_eq(m.cpu.pc, CODE + 6);
    cr_assert_eq(m.cpu.instructions, 3);
}

Test(cpu, a_fault_in_a_fault_handler_is_a_lockup)
{
    boot(PROGRAM(NOP, UDF));
    put16(HANDLER, UDF);
    cr_assert_eq(run(), CPU_LOCKUP);
    cr_assert_eq(m.cpu.pc, HANDLER);
    cr_assert_eq(m.cpu.cfsr, 1u << 16);
    cr_assert_eq(m.cpu.hfsr, 1u << 30);
    cr_assert_eq(run(), CPU_LOCKUP, "for good");
}

Test(cpu, reset_without_a_vector_table_is_a_lockup)
{
    boot(PROGRAM(NOP));
    m.bus.alias_flash = false;
    cpu_reset(&m.cpu, &m.bus);
    cr_assert_eq(run(), CPU_LOCKUP);
}

/* ---- interrupts -------------------------------------------------------------------------------*/

Test(cpu, an_interrupt_input_that_stays_high_pends_again)
{
    boot(PROGRAM(LOOP));
    put16(HANDLER, ADDS(4, 1));
    put16(HANDLER + 2, BX_LR);
    poke_register(NVIC_ISER + 8, 1u << 3); /* IRQ 67 */
    cpu_irq(&m.cpu, 67, true);
    step(8);
    cr_assert_geq(m.cpu.r[4], 3);
    cpu_irq(&m.cpu, 67, false);
    step(8);
    uint32_t calls = m.cpu.r[4];
    step(20);
    cr_assert_eq(m.cpu.r[4], calls);
    cr_assert_eq(m.cpu.ipsr, 0);
}

Test(cpu, a_pulse_on_an_interrupt_input_is_remembered)
{
    boot(PROGRAM(CPSID_I, NOP, CPSIE_I, LOOP));
    put16(HANDLER, ADDS(4, 1));
    put16(HANDLER + 2, BX_LR);
    poke_register(NVIC_ISER, 1);
    step(1);
    cpu_irq(&m.cpu, 0, true);
    cpu_irq(&m.cpu, 0, false);
    step(20);
    cr_assert_eq(m.cpu.r[4], 1);
}

Test(cpu, an_input_that_is_high_cannot_be_unpended)
{
    boot(PROGRAM(LOOP));
    cpu_irq(&m.cpu, 5, true);
    poke_register(NVIC_ICPR, 1u << 5);
    cr_assert(m.cpu.pending[16 + 5]);
    cpu_irq(&m.cpu, 5, false);
    poke_register(NVIC_ICPR, 1u << 5);
    cr_assert_not(m.cpu.pending[16 + 5]);
}

Test(cpu, wfi_sleeps_through_events_and_wfe_does_not)
{
    boot(PROGRAM(SEV, WFI, NOP));
    cpu_run(&m.cpu, &m.bus, 1000);
    cr_assert_eq(m.cpu.instructions, 2);
    boot(PROGRAM(SEV, WFE, NOP, WFE, NOP));
    cpu_run(&m.cpu, &m.bus, 1000);
    cr_assert_eq(m.cpu.instructions, 4);
    cr_assert_eq(m.cpu.cycles, 1000);
}

Test(cpu, an_interrupt_ends_sleep_even_when_masked)
{
    boot(PROGRAM(CPSID_I, WFI, MOVS(0, 1), BKPT));
    poke_register(NVIC_ISER, 1);
    cpu_run(&m.cpu, &m.bus, 100);
    cr_assert(m.cpu.sleeping);
    cpu_irq(&m.cpu, 0, true);
    cr_assert_eq(run(), CPU_BREAKPOINT);
    cr_assert_eq(m.cpu.r[0], 1);
    cr_assert_eq(m.cpu.ipsr, 0);
}

/* ---- memory -----------------------------------------------------------------------------------*/

Test(cpu, bit_band_words_are_single_bits)
{
    boot(PROGRAM(STR(1, 0), LDR(2, 0), STRB(1, 3), STRH(1, 4), BKPT));
    put32(RAM + 0x100, 0x0f);
    m.cpu.r[0] = 0x22000000 + 0x100 * 32 + 9 * 4;
    m.cpu.r[1] = 1;
    m.cpu.r[3] = 0x42000000 + 0x400 * 32 + 9 * 4;
    m.cpu.r[4] = 0x42000000 + 0x400 * 32 + 31 * 4;
    m.peripheral = 0x10;
    run();
    cr_assert_eq(ram_word(RAM + 0x100), 0x20f);
    cr_assert_eq(m.cpu.r[2], 1);
    cr_assert_eq(m.writes[0].addr, PERIPHERALS + 0x401, "a peripheral sees the size used");
    cr_assert_eq(m.writes[0].size, 1);
    cr_assert_eq(m.writes[0].value, 0x12);
    cr_assert_eq(m.writes[1].addr, PERIPHERALS + 0x402);
    cr_assert_eq(m.writes[1].size, 2);
    cr_assert_eq(m.writes[1].value, 0x8010);
}

Test(cpu, unaligned_stores_reach_the_bus_in_aligned_parts)
{
    boot(PROGRAM(STR(1, 0), STR(1, 2), BKPT));
    m.cpu.r[0] = PERIPHERALS + 1;
    m.cpu.r[1] = 0x44332211;
    m.cpu.r[2] = PERIPHERALS + 0x12;
    run();
    static const struct access expected[] = {
        {PERIPHERALS + 1,    0x11,   1, 0},
        {PERIPHERALS + 2,    0x3322, 2, 0},
        {PERIPHERALS + 4,    0x44,   1, 0},
        {PERIPHERALS + 0x12, 0x2211, 2, 0},
        {PERIPHERALS + 0x14, 0x4433, 2, 0}
    };
    cr_assert_eq(m.writes_made, 5);
    for (size_t n = 0; n < 5; n++) {
        cr_assert_eq(m.writes[n].addr, expected[n].addr);
        cr_assert_eq(m.writes[n].value, expected[n].value);
        cr_assert_eq(m.writes[n].size, expected[n].size);
    }
}

Test(cpu, a_load_multiple_that_faults_changes_no_register)
{
    boot(PROGRAM(LDMIA(0, 0x0e)));
    m.cpu.r[0] = RAM + RAM_SIZE - 4;
    m.cpu.r[1] = 0x11;
    cr_assert_eq(run(), CPU_BREAKPOINT); /* in the handler */
    cr_assert_eq(m.cpu.r[0], RAM + RAM_SIZE - 4);
    cr_assert_eq(m.cpu.r[1], 0x11);
    cr_assert_eq(m.cpu.bfar, RAM + RAM_SIZE);
    cr_assert_eq(m.cpu.cfsr, 0x8200);
}

/* ---- the STM32F103's revision -----------------------------------------------------------------*/

Test(cpu, it_is_a_cortex_m3_r1p1)
{
    boot(PROGRAM(LDR(0, 4), LDR(1, 5), BKPT));
    m.cpu.r[4] = CPUID;
    m.cpu.r[5] = CCR;
    cr_assert_eq(m.cpu.r[14], UINT32_MAX);
    run();
    cr_assert_eq(m.cpu.r[0], 0x411fc231);
    cr_assert_eq(m.cpu.r[1], 0, "STKALIGN is 0 after reset");
}

Test(cpu, frames_are_word_aligned_without_stkalign)
{
    boot(PROGRAM(SVC));
    m.cpu.r[13] = STACK - 4;
    run();
    cr_assert_eq(m.cpu.r[13], STACK - 4 - 32);
}

Test(cpu, a_priority_has_four_bits)
{
    boot(PROGRAM(STR(1, 0), LDR(2, 0), BKPT));
    m.cpu.r[0] = 0xe000e400;
    m.cpu.r[1] = 0xffffffff;
    run();
    cr_assert_eq(m.cpu.r[2], 0xf0f0f0f0);
}

Test(cpu, fault_status_bytes_are_cleared_one_by_one)
{
    boot(PROGRAM(STRB(1, 0), BKPT));
    m.cpu.cfsr = 0x01018282;
    m.cpu.r[0] = CFSR + 1;
    m.cpu.r[1] = 0xff;
    run();
    cr_assert_eq(m.cpu.cfsr, 0x01010082);
}

/* ---- determinism ------------------------------------------------------------------------------*/

/* Registers, time and everything else that a program could notice. */
static void expect_same_core(const struct cpu *a, const struct cpu *b)
{
    cr_assert_arr_eq(a->r, b->r, 15 * sizeof *a->r);
    cr_assert_eq(a->pc, b->pc);
    cr_assert_eq(cpu_xpsr(a), cpu_xpsr(b));
    cr_assert_eq(a->cycles, b->cycles);
    cr_assert_eq(a->instructions, b->instructions);
    cr_assert_eq(a->other_sp, b->other_sp);
    cr_assert_eq(memcmp(a->active, b->active, sizeof a->active), 0);
    cr_assert_eq(memcmp(a->pending, b->pending, sizeof a->pending), 0);
}

Test(cpu, a_copied_core_replays_the_same_run)
{
    static uint8_t ram_then[RAM_SIZE], ram_end[RAM_SIZE];

    boot_image("mix");
    cpu_run(&m.cpu, &m.bus, 5000000);
    struct cpu then = m.cpu;
    memcpy(ram_then, m.ram, sizeof m.ram);
    cpu_run(&m.cpu, &m.bus, 9000000);
    struct cpu end = m.cpu;
    memcpy(ram_end, m.ram, sizeof m.ram);

    m.cpu = then;
    memcpy(m.ram, ram_then, sizeof m.ram);
    cpu_run(&m.cpu, &m.bus, 9000000);
    expect_same_core(&m.cpu, &end);
    cr_assert_eq(memcmp(m.ram, ram_end, sizeof m.ram), 0);
}

Test(cpu, a_run_in_slices_is_the_same_run)
{
    run_image("exc");
    struct cpu whole = m.cpu;
    size_t printed = m.printed;

    boot_image("exc");
    enum cpu_stop why = CPU_UNTIL;
    for (uint64_t slice = 1; why == CPU_UNTIL; slice = slice % 97 + 1)
        why = cpu_run(&m.cpu, &m.bus, m.cpu.cycles + slice);
    cr_assert_eq(why, CPU_RESETREQ);
    expect_same_core(&m.cpu, &whole);
    cr_assert_eq(m.printed, printed);
}

Test(cpu, tracing_sees_each_instruction_and_changes_nothing)
{
    run_image("exc");
    struct cpu plain = m.cpu;

    boot_image("exc");
    m.bus.trace = board_trace;
    cpu_run(&m.cpu, &m.bus, BILLION);
    expect_same_core(&m.cpu, &plain);
    cr_assert_geq((uint64_t)m.traced, m.cpu.instructions - 100); /* INVSTATE has none */
    cr_assert_leq((uint64_t)m.traced, m.cpu.instructions);

    boot(PROGRAM(NOP, SVC));
    m.bus.trace = board_trace;
    run();
    cr_assert_eq(m.traced_pc[0], CODE);
    cr_assert_eq(m.traced_pc[1], CODE + 2);
    cr_assert_eq(m.traced_pc[2], HANDLER);
}
