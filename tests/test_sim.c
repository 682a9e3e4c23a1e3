/* SPDX-License-Identifier: MIT */
/* The program caboose-sim, as somebody calls it. Its files are in a directory of the test's own. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Criterion's own macros store an int in a bit-field. */
#pragma GCC diagnostic ignored "-Wconversion"

#define BLINKY "build/examples/blinky.elf "

static char dir[] = "/tmp/caboose-sim-XXXXXX";

static void make_dir(void)
{
    cr_assert(ne(ptr, mkdtemp(dir), NULL));
}

static void remove_dir(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    cr_assert(eq(int, system(command), 0));
}

TestSuite(sim, .init = make_dir, .fini = remove_dir, .timeout = 60);

/* Runs caboose-sim in the shell; @ in the arguments is the directory. The exit code. */
static int sim(const char *arguments)
{
    char command[1024] = "build/bin/caboose-sim ";
    size_t n = strlen(command);
    for (const char *c = arguments; *c && n + sizeof dir + 32 < sizeof command; c++)
        if (*c == '@')
            n += (size_t)snprintf(command + n, sizeof command - n, "%s", dir);
        else
            command[n++] = *c;
    snprintf(command + n, sizeof command - n, " >%s/out 2>%s/err", dir, dir);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *text_of(const char *name)
{
    static char text[65536];
    char path[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    size_t size = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[size] = '\0';
    return text;
}

static bool says(const char *name, const char *words)
{
    if (strstr(text_of(name), words))
        return true;
    cr_log_error("%s: %s", name, text_of(name));
    return false;
}

static json_t *summary_in(const char *name)
{
    json_error_t error;
    json_t *all = json_loads(text_of(name), 0, &error);
    cr_assert(ne(ptr, all, NULL), "%s", error.text);
    return all;
}

static json_t *summary(void)
{
    return summary_in("out");
}

/* Writes a file there. */
static void put(const char *name, const void *bytes, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(bytes, size, 1, f) == 1);
    fclose(f);
}

Test(sim, runs_firmware_and_shows_its_uart)
{
    cr_assert(eq(int, sim("-l " BLINKY "-r 50 -u -"), 0));
    cr_assert(says("out", "hello from 0x08000000"));
    cr_assert(eq(int, strlen(text_of("err")), 0));
}

Test(sim, summary_is_json)
{
    cr_assert(eq(int, sim("-l " BLINKY "-r 500 --press-reset 300:20 -j -"), 0));
    json_t *all = summary();
    const char *stop, *uart;
    int resets, led;
    json_int_t time;
    cr_assert(eq(int,
        json_unpack(all, "{s:s,s:I,s:{s:i},s:{s:s},s:{s:{s:i}}}", "stop", &stop, "time_ns", &time,
            "counts", "resets", &resets, "uart", "1", &uart, "pins", "PC13", "changes", &led),
        0));
    cr_assert(eq(int, strcmp(stop, "done"), 0));
    cr_assert(time >= 500000000 && time < 500001000);
    cr_assert(eq(int, resets, 2));
    cr_assert(gt(int, led, 2));
    cr_assert(ne(ptr, (void *)(uintptr_t)strstr(uart + 1, "blinky"), NULL), "it starts twice");
    json_decref(all);
}

Test(sim, two_runs_write_the_same_trace)
{
    cr_assert(eq(int, sim("-l " BLINKY "-r 120 -t regs,insn,usb,flash --trace-file @/a"), 0));
    cr_assert(eq(int, sim("-l " BLINKY "-r 120 -t regs,insn,usb,flash --trace-file @/b"), 0));
    char command[128];
    snprintf(command, sizeof command, "cmp %s/a %s/b", dir, dir);
    cr_assert(eq(int, system(command), 0));
}

Test(sim, registers_have_names_in_the_trace)
{
    cr_assert(eq(int, sim("-l " BLINKY "-r 5 -t regs --trace-file @/trace"), 0));
    cr_assert(says("trace", "RCC.CR           -> "));
}

Test(sim, flash_goes_out_and_in)
{
    cr_assert(eq(int, sim("-l " BLINKY "-r 1 --flash-out @/flash"), 0));
    cr_assert(eq(int, sim("--flash-in @/flash -r 50 -u 1:-"), 0));
    cr_assert(says("out", "hello"));
}

Test(sim, a_blank_board_is_firmware_that_breaks_a_rule)
{
    cr_assert(eq(int, sim("-r 10"), 1));
    cr_assert(says("err", "lockup"));
    cr_assert(says("err", "pc 0xfffffffe"));
}

Test(sim, errors_say_what_to_do)
{
    cr_assert(eq(int, sim("--board stm32f999"), 64));
    cr_assert(says("err", "--list-parts"));
    cr_assert(eq(int, sim("firmware.elf"), 64));
    cr_assert(says("err", "--load"));
    cr_assert(eq(int, sim("--run soon"), 64));
    cr_assert(eq(int, sim("--trace everything"), 64));
    cr_assert(eq(int, sim("--load @/none"), 66));
    cr_assert(says("err", "No such file"));
    cr_assert(eq(int, sim("-b stm32f103c4 -l build/examples/large.elf"), 66));
    cr_assert(says("err", "--board"));
    cr_assert(eq(int, sim("-l " BLINKY "-r 1 -j @/none/x"), 73));
}

Test(sim, it_explains_itself)
{
    cr_assert(eq(int, sim("--help"), 0));
    cr_assert(says("out", "Usage: caboose-sim"));
    cr_assert(eq(int, sim("--version"), 0));
    cr_assert(says("out", "caboose-sim "));
    cr_assert(eq(int, sim("--list-parts"), 0));
    cr_assert(says("out", "stm32f103cb"));
}

Test(sim, option_bytes_come_from_a_file_and_go_to_one)
{
    static const char watchdog[] =
        "\xa5\x5a\xfe\x01\xff\0\xff\0\xff\0\xff\0\xff\0\xff"; /* WDG_SW = 0 */
    cr_assert(eq(int, sim("-l " BLINKY "-r 10 --options-out @/shipped"), 0));
    cr_assert(eq(int,
        memcmp(text_of("shipped"), "\xa5\x5a\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff", 16), 0));
    put("watchdog", watchdog, 16);
    cr_assert(
        eq(int, sim("-l " BLINKY "-r 500 --options-in @/watchdog --options-out @/same -v"), 0));
    cr_assert(says("err", "reset: IWDG"));
    cr_assert(eq(int, memcmp(text_of("same"), watchdog, 16), 0));
    put("short", watchdog, 15);
    cr_assert(eq(int, sim("-l " BLINKY "--options-in @/short"), 66));
    cr_assert(says("err", "less than 16 bytes"));
}

Test(sim, the_pin_that_pulls_d_plus_up_is_an_option)
{
    cr_assert(eq(int, sim("-l " BLINKY "-r 10 --pull-up PB9"), 0));
    cr_assert(eq(int, sim("-l " BLINKY "-r 10 --pull-up B9"), 64));
    cr_assert(eq(int, sim("-l " BLINKY "-r 10 --pull-up PB16"), 64));
    cr_assert(says("err", "PG15"));
}

static bool ended_at_500_ms(void)
{
    json_t *all = summary_in("json");
    json_int_t ns = json_integer_value(json_object_get(all, "time_ns"));
    json_decref(all);
    return ns >= 500000000 && ns < 520000000;
}

Test(sim, a_served_board_ends_when_its_time_is_up)
{
    cr_assert(eq(int, sim("-l " BLINKY "--usbip=0 -r 500 -j @/json"), 0));
    cr_assert(ended_at_500_ms());
    /* The virtual clock stands still until somebody sleeps. */
    cr_assert(eq(int,
        sim("-l " BLINKY "--usbip=0 --clock=virtual -r 500 --control @/c -j @/json & "
            "until [ -S @/c ]; do sleep 0.05; done; "
            "build/bin/caboose-sim-ctl @/c sleep 2s; wait $!"),
        0));
    cr_assert(ended_at_500_ms());
    cr_assert(eq(int, sim("-l " BLINKY "--usbip=0 --press-reset 100"), 64));
    cr_assert(says("err", "--control"));
}

Test(sim, flash_fails_by_order)
{
    cr_assert(
        eq(int, sim("-l build/firmware/bluepill-tail.bin -r 300 --flash-fault 2:busy:1 -j -"), 0));
    json_t *all = summary();
    json_t *faults = json_object_get(json_object_get(all, "counts"), "flash_faults");
    cr_assert(eq(int, (int)json_integer_value(faults), 1));
    json_decref(all);
    cr_assert(eq(int, sim("-l " BLINKY "--flash-fault 2:broken"), 64));
    cr_assert(says("err", "no-op weak stuck busy"));
}
