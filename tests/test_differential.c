/* SPDX-License-Identifier: MIT */
/*
 * The CPU core against QEMU's: random programs run on both, and whatever they leave (registers,
 * flags, fault status, exception frames, memory) must be the same.
 *
 *     INSTRUCTIONS=1000000000 SEED=1 build/tests/test_differential     // make differential
 *
 * A difference is boiled down to the fewest instructions that still show it, and these are printed.
 */
#include "sim/cpu.h"
#include "tests/differential.h"
#include "tests/firmware/differential.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    RAM_SIZE = 8 * 1024, /* as QEMU's stm32vldiscovery */
    OUTPUT_SIZE = 64 * 1024,
    RUNS = 64,  /* of each program */
    EXTRA = 64, /* half-words between two programs, for what they read behind their end */
};
#define USART1_SR  0x40013800u
#define USART1_DR  0x40013804u
#define MAX_CYCLES UINT64_C(2000000000)
#define FEW_CYCLES UINT64_C(20000000) /* one program alone */

/* ---- our side ---------------------------------------------------------------------------------*/

static struct machine {
    struct cpu cpu;
    struct cpu_bus bus;
    uint8_t flash[IMAGE_SIZE], ram[RAM_SIZE];
    char output[OUTPUT_SIZE];
    size_t printed;
    uint64_t entered;       /* cpu.instructions when the program was entered last */
    uint64_t own;           /* instructions of the guest's own in each stay in a program */
    uint64_t stays, inside; /* how often and how long programs ran */
} m;

static uint32_t board_read(void *context, uint32_t addr, unsigned size, bool *fault)
{
    (void)context, (void)size;
    *fault = addr >> 16 < 0x4000 || addr >> 16 > 0x4002;
    return addr == USART1_SR ? 0xc0 : 0;
}

static void mark(uint32_t value)
{
    if (value) {
        m.entered = m.cpu.instructions;
        return;
    }
    uint64_t stay = m.cpu.instructions - m.entered;
    if (!m.own) /* the first program is empty but for its SVC */
        m.own = stay - 1;
    m.stays++;
    m.inside += stay - m.own;
}

static void board_write(void *context, uint32_t addr, unsigned size, uint32_t value, bool *fault)
{
    (void)context, (void)size;
    *fault = addr >> 16 < 0x4000 || addr >> 16 > 0x4002;
    if (addr == MARKER_ADDR)
        mark(value);
    else if (addr == USART1_DR && m.printed < OUTPUT_SIZE - 1)
        m.output[m.printed++] = (char)value;
}

static void board_flash_write(
    void *context, uint32_t addr, unsigned size, uint32_t value, bool *fault)
{
    (void)context, (void)addr, (void)size, (void)value, (void)fault;
}

/* Runs the image; what it prints is in m.output. */
static enum cpu_stop run_here(const uint8_t *image, uint64_t cycles)
{
    memset(&m, 0, sizeof m);
    memcpy(m.flash, image, IMAGE_SIZE);
    m.bus = (struct cpu_bus){.flash = m.flash,
        .flash_base = IMAGE_BASE,
        .flash_size = IMAGE_SIZE,
        .alias_flash = true,
        .ram = m.ram,
        .ram_size = RAM_SIZE,
        .read = board_read,
        .write = board_write,
        .flash_write = board_flash_write,
        .board_event = UINT64_MAX};
    cr_assert_eq(cpu_bus_init(&m.bus), 0);
    cpu_reset(&m.cpu, &m.bus);
    enum cpu_stop why = cpu_run(&m.cpu, &m.bus, cycles);
    cpu_bus_free(&m.bus);
    return why;
}

/* ---- QEMU's side ------------------------------------------------------------------------------*/

static char image_path[] = "/tmp/differential.XXXXXX";

static void write_image(const uint8_t *image)
{
    FILE *f = fopen(image_path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(image, 1, IMAGE_SIZE, f), IMAGE_SIZE);
    cr_assert_eq(fclose(f), 0);
}

static FILE *start_qemu(const uint8_t *image, unsigned seconds)
{
    char command[512];

    write_image(image);
    snprintf(command, sizeof command,
        "exec timeout %u qemu-system-arm -M stm32vldiscovery -display none -monitor none "
        "-serial stdio -no-reboot -kernel '%s' </dev/null 2>&1",
        seconds, image_path);
    FILE *qemu = popen(command, "r");
    cr_assert_not_null(qemu);
    return qemu;
}

static void read_all(FILE *from, char *text)
{
    size_t size = fread(text, 1, OUTPUT_SIZE - 1, from);
    text[size] = 0;
    pclose(from);
}

/* ---- images -----------------------------------------------------------------------------------*/

static uint8_t guest[BATCH_ADDR - IMAGE_BASE];

static void load_guest(void)
{
    char path[512];
    const char *folder = getenv("FIRMWARE_DIR");

    snprintf(path, sizeof path, "%s/differential.bin", folder ? folder : "build/tests/firmware");
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "%s is missing: make %s", path, path);
    memset(guest, 0xff, sizeof guest);
    cr_assert(fread(guest, 1, sizeof guest, f) > 0);
    cr_assert_eq(fgetc(f), EOF, "the guest has grown beyond BATCH_ADDR");
    fclose(f);
}

static void put(uint8_t *image, uint32_t address, const void *data, size_t size)
{
    memcpy(image + (address - IMAGE_BASE), data, size);
}

/* An image with nothing in it yet; returns where the first program goes. */
static uint32_t begin_image(uint8_t *image)
{
    memset(image, 0xff, IMAGE_SIZE); /* else QEMU shows zeros */
    memcpy(image, guest, sizeof guest);
    return BATCH_ADDR + sizeof(struct batch);
}

static void add_program(uint8_t *image, struct batch *batch, const struct program *p)
{
    put(image, p->address, p->code, p->length * 2);
    batch->entry[batch->programs++] = p->address | (p->privileged ? PROGRAM_PRIVILEGED : 0);
}

/* As many programs as there is room for; the first is the empty one. */
static void make_image(uint8_t *image, struct batch *batch, uint64_t seed)
{
    static struct program p;
    uint32_t address = begin_image(image);

    *batch = (struct batch){.runs = RUNS, .seed = (uint32_t)seed};
    program_empty(&p, address);
    while (address + sizeof p.code <= IMAGE_BASE + IMAGE_SIZE && batch->programs < MAX_PROGRAMS) {
        add_program(image, batch, &p);
        address = (address + (uint32_t)p.length * 2 + EXTRA + 3) & ~3u;
        program_generate(&p, seed << 16 | batch->programs, address);
    }
    put(image, BATCH_ADDR, batch, sizeof *batch);
}

/* ---- a difference -----------------------------------------------------------------------------*/

/* One program alone, with the registers it had as number `place` of its batch. */
static void make_single_image(
    uint8_t *image, const struct program *p, uint32_t seed, uint32_t place, bool show)
{
    struct batch batch = {.runs = RUNS, .seed = seed + place, .show = show};

    begin_image(image);
    add_program(image, &batch, p);
    put(image, BATCH_ADDR, &batch, sizeof batch);
}

static bool differs(const struct program *p, uint32_t seed, uint32_t place)
{
    static uint8_t image[IMAGE_SIZE];
    static char theirs[OUTPUT_SIZE];

    make_single_image(image, p, seed, place, false);
    if (run_here(image, FEW_CYCLES) != CPU_RESETREQ)
        return false; /* something else has become of it */
    read_all(start_qemu(image, 2), theirs);
    return strcmp(theirs, m.output) != 0;
}

/* MOVW, MOVT, ADR, ORR #1, barriers: without them the difference might become another. */
static bool must_stay(const uint16_t *code)
{
    return code[0] == 0xf3bf || (code[0] & 0xfb70) == 0xf240 || (code[0] & 0xfbff) == 0xf20f ||
           ((code[0] & 0xfff0) == 0xf040 && (code[1] & 0xf0ff) == 1);
}

/* NOPs in place of the instructions that begin in [from, to). */
static void clear(struct program *p, size_t from, size_t to)
{
    for (size_t n = from; n < to && n < p->length - 2; n++) {
        if (!p->begins[n] || must_stay(&p->code[n]))
            continue;
        bool wide = p->code[n] >> 11 >= 29;
        p->code[n] = wide ? 0xf3af : 0xbf00;
        if (wide)
            p->code[n + 1] = 0x8000;
    }
}

/* Replaces whatever the difference does not need, in ever smaller pieces. */
static void boil_down(struct program *p, uint32_t seed, uint32_t place)
{
    static struct program shorter;

    for (size_t piece = p->length / 2; piece > 0; piece /= 2) {
        for (size_t from = 0; from + 2 < p->length; from += piece) {
            shorter = *p;
            clear(&shorter, from, from + piece);
            if (memcmp(&shorter, p, sizeof *p) != 0 && differs(&shorter, seed, place))
                *p = shorter;
        }
    }
}

static bool is_nop(const struct program *p, size_t n)
{
    return p->code[n] == 0xbf00 || (p->code[n] == 0xf3af && p->code[n + 1] == 0x8000);
}

static void print_program(const struct program *p)
{
    for (size_t n = 0; n + 2 < p->length; n++) {
        if (!p->begins[n] || is_nop(p, n) || must_stay(&p->code[n]))
            continue;
        fprintf(stderr, "    %08x: %04x", p->address + (unsigned)n * 2, p->code[n]);
        if (p->code[n] >> 11 >= 29)
            fprintf(stderr, " %04x", p->code[n + 1]);
        fprintf(stderr, "\n");
    }
}

/* The first stay that ends differently, on either side; or the end, if what differs is memory. */
static void print_first_difference(const char *ours, const char *theirs)
{
    size_t same = 0, begin = 0;

    while (ours[same] && ours[same] == theirs[same])
        if (ours[same++] == '\n' && strncmp(ours + same, "  exception", 11) == 0)
            begin = same;
    size_t our_end = same + strcspn(ours + same, "\n"),
           their_end = same + strcspn(theirs + same, "\n");
    fprintf(stderr, "ours:\n%.*s\nqemu:\n%.*s\n", (int)(our_end - begin), ours + begin,
        (int)(their_end - begin), theirs + begin);
}

static void explain(uint64_t seed, uint32_t place, const struct batch *batch)
{
    static struct program p;
    static uint8_t image[IMAGE_SIZE];
    static char theirs[OUTPUT_SIZE];

    program_generate(&p, seed << 16 | place, batch->entry[place] & ~1u);
    if (!differs(&p, (uint32_t)seed, place)) {
        fprintf(stderr, "alone, program %u of seed %llu makes no difference\n", place,
            (unsigned long long)seed);
        return;
    }
    boil_down(&p, (uint32_t)seed, place);
    fprintf(stderr, "seed %llu, program %u%s, what the difference needs:\n",
        (unsigned long long)seed, place, p.privileged ? " (privileged)" : "");
    print_program(&p);
    make_single_image(image, &p, (uint32_t)seed, place, true);
    run_here(image, MAX_CYCLES);
    read_all(start_qemu(image, 20), theirs);
    if (strcmp(theirs, m.output) != 0)
        print_first_difference(m.output, theirs);
}

/* The number of the first line that differs; every program prints one. -1: none. */
static int first_difference(const char *ours, const char *theirs)
{
    int line = 0;
    size_t n = 0;

    for (; ours[n] && ours[n] == theirs[n]; n++)
        line += ours[n] == '\n';
    return ours[n] == theirs[n] ? -1 : line;
}

/* ---- the promise ------------------------------------------------------------------------------*/

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void remove_image(void)
{
    unlink(image_path);
}
TestSuite(differential, .fini = remove_image);

Test(differential, the_programs_use_every_encoding)
{
    static struct program p;

    for (uint64_t seed = 1; seed <= 200; seed++)
        program_generate(&p, seed, BATCH_ADDR);
    for (size_t n = 0; n < program_encodings(); n++) {
        uint64_t times;
        const char *name = program_encoding(n, &times);
        cr_expect(times > 0, "%s is never generated", name);
    }
}

Test(differential, random_programs_leave_on_this_core_what_they_leave_on_qemus)
{
    static uint8_t image[IMAGE_SIZE];
    static char theirs[OUTPUT_SIZE];
    uint64_t wanted = number_from("INSTRUCTIONS", 2000000), seed = number_from("SEED", 1);
    uint64_t run = 0, stays = 0, programs = 0;

    if (system("command -v qemu-system-arm >/dev/null 2>&1") != 0)
        cr_skip_test("qemu-system-arm is not installed (tools/setup check)");
    int file = mkstemp(image_path);
    cr_assert(file >= 0);
    close(file);
    load_guest();
    for (; run < wanted; seed++) {
        struct batch batch;
        make_image(image, &batch, seed);
        FILE *qemu = start_qemu(image, 20);
        enum cpu_stop why = run_here(image, MAX_CYCLES);
        read_all(qemu, theirs);
        int line = first_difference(m.output, theirs);
        if (line >= 0 && (unsigned)line < batch.programs)
            explain(seed, (uint32_t)line, &batch);
        cr_assert(line < 0, "seed %llu: program %d is a different one on QEMU",
            (unsigned long long)seed, line);
        cr_assert_eq(why, CPU_RESETREQ);
        run += m.inside;
        stays += m.stays;
        programs += batch.programs - 1;
    }
    fprintf(stderr,
        "differential: %llu instructions of %llu random programs, %llu stays: as on QEMU\n",
        (unsigned long long)run, (unsigned long long)programs, (unsigned long long)stays);
}
