/* SPDX-License-Identifier: MIT */
/*
 * How fast is the core? Runs a flash image (build/tests/firmware/mix.bin) on nothing but memory and
 * a console, and prints what it printed and the speed: by the CPU's time, so that what else the
 * machine does changes little.
 *
 *     build/measure/mips [image [times]]      // the best of `times` runs counts; 5
 */
#include "sim/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    FLASH_SIZE = 128 * 1024,
    RAM_SIZE = 8 * 1024,
};
#define USART1_SR  0x40013800u
#define USART1_DR  0x40013804u
#define MAX_CYCLES UINT64_C(10000000000)

struct console {
    bool echo;
};

static uint32_t console_read(void *context, uint32_t addr, unsigned size, bool *fault)
{
    (void)context, (void)size, (void)fault;
    return addr == USART1_SR ? 0xc0 : 0;
}

static void console_write(void *context, uint32_t addr, unsigned size, uint32_t value, bool *fault)
{
    const struct console *console = context;
    (void)size, (void)fault;
    if (addr == USART1_DR && console->echo)
        putchar((int)value);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Runs to the image's reset request. Returns MIPS, or 0. */
static double measure(struct cpu_bus *bus)
{
    struct cpu cpu = {0};

    cpu_reset(&cpu, bus);
    double begin = seconds();
    enum cpu_stop why = cpu_run(&cpu, bus, MAX_CYCLES);
    double taken = seconds() - begin;
    if (why != CPU_RESETREQ) {
        fprintf(stderr, "mips: the image stopped with %d at 0x%08x\n", (int)why, cpu.pc);
        return 0;
    }
    double mips = (double)cpu.instructions / taken * 1e-6;
    printf("%llu instructions, %llu cycles, %.3f s: %.1f MIPS\n",
        (unsigned long long)cpu.instructions, (unsigned long long)cpu.cycles, taken, mips);
    return mips;
}

int main(int argc, char **argv)
{
    static uint8_t flash[FLASH_SIZE], ram[RAM_SIZE];
    const char *path = argc > 1 ? argv[1] : "build/tests/firmware/mix.bin";
    int times = argc > 2 ? atoi(argv[2]) : 5;
    struct console console = {.echo = true};
    struct cpu_bus bus = {.context = &console,
        .flash = flash,
        .flash_base = 0x08000000,
        .flash_size = FLASH_SIZE,
        .alias_flash = true,
        .ram = ram,
        .ram_size = RAM_SIZE,
        .read = console_read,
        .write = console_write,
        .flash_write = console_write,
        .board_event = UINT64_MAX};
    double best = 0;

    memset(flash, 0xff, sizeof flash);
    FILE *f = fopen(path, "rb");
    if (!f || !fread(flash, 1, sizeof flash, f)) {
        perror(path);
        return 1;
    }
    fclose(f);
    if (cpu_bus_init(&bus) < 0) {
        fprintf(stderr, "mips: no memory\n");
        return 1;
    }
    for (int n = 0; n < times; n++) {
        double mips = measure(&bus);
        if (mips > best)
            best = mips;
        console.echo = false;
    }
    cpu_bus_free(&bus);
    printf("best: %.1f MIPS\n", best);
    return best > 0 ? 0 : 1;
}
