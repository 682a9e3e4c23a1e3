/* SPDX-License-Identifier: MIT */
/* What a build leaves behind is usable: the simulator as a program, an installation elsewhere, the
 * bootloader in all its file formats; and QEMU, an emulator that knows nothing of us, starts the flash
 * that a download leaves. */
#include "session.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(simulator, .fini = session_end_all, .timeout = 60);
TestSuite(build, .fini = session_end_all, .timeout = 120);
TestSuite(witness, .fini = session_end_all, .timeout = 60);

#define TAIL   "build/firmware/bluepill-tail"
#define BLINKY "build/examples/blinky.bin"

/* A directory to work in; its board is not used. */
static struct session *desk(void)
{
    return session_bare("--load " BLINKY);
}

static json_t *json_of(struct session *s, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    json_t *all = json_load_file(path, 0, NULL);
    cr_assert_not_null(all, "%s is not JSON", path);
    return all;
}

static long long number(json_t *all, const char *group, const char *name)
{
    json_t *n = json_object_get(group ? json_object_get(all, group) : all, name);
    cr_assert(json_is_integer(n), "there is no %s", name);
    return json_integer_value(n);
}

static const char *text(json_t *all, const char *name)
{
    const char *value = json_string_value(json_object_get(all, name));
    return value ? value : "(none)";
}

/* --- caboose-sim ---------------------------------------------------------------------------------- */

#define SIM "build/bin/caboose-sim "

Test(simulator, stops_at_a_broken_rule_with_pc_address_and_section)
{
    struct session *s = desk();
    struct outcome o = run(s, SIM "-l build/tests/firmware/rule.bin -u - -j @/json --run 100");
    cr_expect_eq(o.code, 1);
    const char *where = strstr(o.out, "breaks it at ");
    cr_assert(where, "%s", o.out);
    unsigned long function = strtoul(where + 13, NULL, 16) & ~1UL /* Thumb */;
    const char *pc = strstr(o.err, "pc 0x");
    cr_assert(pc, "%s", o.err);
    unsigned long at = strtoul(pc + 3, NULL, 16);
    cr_expect(at >= function && at < function + 16, "%s is not in 0x%lx", pc, function);
    cr_expect(strstr(o.err, "address 0x40022010"), "%s", o.err);
    cr_expect(strstr(o.err, "FLASH_CR written while LOCK is set"), "%s", o.err);
    cr_expect(strstr(o.err, "(PM0075 §"), "%s", o.err);
    cr_expect_null(strstr(o.out, "goes on"));

    json_t *all = json_of(s, "json"), *complaint = json_object_get(all, "complaint");
    cr_expect_str_eq(text(all, "stop"), "error");
    cr_expect_str_eq(text(complaint, "address"), "0x40022010");
    cr_expect_eq(strtoul(text(complaint, "pc"), NULL, 16), at);
}

Test(simulator, lenient_reports_a_broken_rule_and_goes_on)
{
    struct session *s = desk();
    struct outcome o =
        run(s, SIM "--lenient -l build/tests/firmware/rule.bin -u - -j @/json --run 100");
    cr_expect_eq(o.code, 0);
    cr_expect(strstr(o.out, "goes on"), "%s", o.out);
    cr_expect(strstr(o.err, "FLASH_CR written while LOCK is set"), "%s", o.err);
    json_t *all = json_of(s, "json");
    cr_expect_str_eq(text(all, "stop"), "done");
    cr_expect_eq(number(all, "counts", "complaints"), 1);
}

Test(simulator, power_cycles_and_the_reset_button_start_the_firmware_again)
{
    struct session *s = desk();
    struct outcome o =
        run(s, SIM "-l " BLINKY " --press-reset 100 --power-cycle 300:50 --press-reset 600:20 -u - "
                   "-j @/json --run 1000");
    cr_expect_eq(o.code, 0, "%s", o.err);
    unsigned starts = 0;
    for (const char *p = o.out; (p = strstr(p, "hello")) != NULL; p++)
        starts++;
    cr_expect_eq(starts, 4, "%s", o.out);
    json_t *all = json_of(s, "json");
    cr_expect_eq(number(all, "counts", "resets"), 4);
    cr_expect_eq(number(all, NULL, "time_ns"), 1000000000);
}

Test(simulator, cuts_the_power_in_the_operation_that_was_asked_for)
{
    struct session *s = desk();
    for (unsigned n = 1; n <= 1500; n += 499) {
        struct outcome o =
            run(s, SIM "-l " TAIL ".bin --run 1000 --cut %u -j @/json --flash-out @/cut", n);
        cr_expect_eq(o.code, 0, "%s", o.err);
        json_t *all = json_of(s, "json");
        cr_expect_str_eq(text(all, "stop"), "cut");
        cr_expect_eq(number(all, "counts", "flash_operations"), n);
        cr_expect(json_is_false(json_object_get(all, "powered")));
        /* What was left installs itself all the same. */
        o = run(s, SIM "--flash-in @/cut --run 1000 -j @/json");
        cr_expect_eq(o.code, 0, "%s", o.err);
    }
}

Test(simulator, a_broken_rule_ends_the_server_too)
{
    struct session *s = session_bare("-l build/tests/firmware/rule.bin");
    char path[64];
    struct outcome o = run(s, "build/bin/caboose-sim-ctl %s sleep 100ms", s->control);
    (void)o;
    o = run(s, "build/bin/caboose-sim-ctl %s now", s->control);
    cr_expect_eq(o.code, 2, "it is still there");
    snprintf(path, sizeof path, "%s/sim.err", s->dir);
    char *said = (char *)file_read(path, NULL);
    cr_expect(strstr(said, "FLASH_CR written while LOCK is set"), "%s", said);
}

/* As the kernel's do: lsusb takes the last byte off. */
Test(simulator, strings_in_sysfs_are_lines)
{
    struct session *s = session_new("");
    struct outcome o = on_board(s, "cat /sys/bus/usb/devices/1-1/product");
    const char *end = strchr(o.out, '\n');
    cr_expect(!strncmp(o.out, "caboose", 7) && end && !end[1], "'%s' %s", o.out, o.err);
}

/* --- the bootloader's files ------------------------------------------------------------------------ */

Test(build, elf_has_nothing_but_the_image_at_the_start_of_flash)
{
    size_t size, bytes;
    uint8_t *file = file_read(TAIL ".elf", &size), *bin = file_read(TAIL ".bin", &bytes);
    const Elf32_Ehdr *elf = (const void *)file;
    cr_assert(size > sizeof *elf && !memcmp(elf->e_ident, ELFMAG, SELFMAG));
    cr_expect_eq(elf->e_machine, EM_ARM);
    const Elf32_Phdr *p = (const void *)(file + elf->e_phoff);
    uint32_t next = 0x08000000;
    for (unsigned i = 0; i < elf->e_phnum; i++, p++) {
        if (p->p_type != PT_LOAD)
            continue;
        cr_expect_eq(p->p_paddr, next, "a segment at 0x%08x", p->p_paddr);
        cr_expect_eq(p->p_filesz, p->p_memsz, "there is memory to be cleared");
        cr_expect(!memcmp(file + p->p_offset, bin + (next - 0x08000000), p->p_filesz));
        next += p->p_filesz;
    }
    cr_expect_eq(
        next - 0x08000000, bytes, "the .elf has %u bytes, the .bin %zu", next - 0x08000000, bytes);
}

Test(build, every_file_format_gives_the_same_flash_and_installs)
{
    static const char *const formats[] = {"bin", "hex", "elf", "dfu"};
    struct session *s = desk();
    for (unsigned i = 0; i < 4; i++) {
        struct outcome o =
            run(s, SIM "-l " TAIL ".%s --run 0 --flash-out @/%s", formats[i], formats[i]);
        cr_expect_eq(o.code, 0, "%s", o.err);
        o = run(s, "cmp @/bin @/%s", formats[i]);
        cr_expect_eq(o.code, 0, "%s: %s", formats[i], o.out);
        char options[64];
        snprintf(options, sizeof options, "-l " TAIL ".%s", formats[i]);
        struct session *board = session_bare(options);
        session_say(board, "wait-device 3s");
        cr_expect(session_in_dfu(board), "the .%s", formats[i]);
    }
}

Test(build, dfu_file_passes_dfu_suffix)
{
    struct session *s = desk();
    struct outcome o = run(s, "dfu-suffix -c " TAIL ".dfu");
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    cr_expect(strstr(o.out, "0x0483") && strstr(o.out, "0xDF11"), "%s", o.out);
}

/* --- installed elsewhere --------------------------------------------------------------------------- */

Test(build, what_is_installed_elsewhere_works_there)
{
    struct session *s = desk();
    struct outcome o =
        run(s, "env -u MAKEFLAGS -u MAKELEVEL make install DESTDIR=@/root PREFIX=/usr");
    cr_assert_eq(o.code, 0, "%s", o.err);
    o = run(s, "sh -c 'cd @/root/usr && ls bin include lib lib/caboose share/man/man1'");
    cr_expect_str_eq(o.out,
        "bin:\ncaboose\ncaboose-sim\ncaboose-sim-ctl\ncaboose-with-board\n\n"
        "include:\ncaboose.h\n\nlib:\ncaboose\nlibcaboose.a\n\n"
        "lib/caboose:\ncaboose-usbfs.so\n\n"
        "share/man/man1:\ncaboose-dfu-util.1\ncaboose-sim.1\ncaboose.1\n",
        "%s", o.out);
    /* From another directory, through a symbolic link, as a user of the package would. */
    o = run(s, "sh -c 'mkdir @/home && ln -s @/root/usr/bin @/home/bin && cd @/home && "
               "PATH=@/home/bin:$PATH && export PATH && "
               "caboose-sim --load @/root/usr/share/caboose/firmware/bluepill-tail.hex --usbip=0 "
               "--control=@/home/c --clock=virtual --uart=@/home/uart >/dev/null & "
               "ctl=\"@/home/bin/caboose-sim-ctl @/home/c\"; "
               "while ! $ctl now 2>/dev/null; do sleep 0.02; done; $ctl wait-device 3s && "
               "@/home/bin/caboose-with-board @/home/c -- @/home/bin/caboose flash " BLINKY " && "
               "$ctl sleep 1s; $ctl quit; wait; cat @/home/uart'");
    cr_expect_eq(o.code, 0, "%s", o.err);
    cr_expect(strstr(o.out, "hello from 0x08000000"), "%s%s", o.out, o.err);
}

/* --- a witness ------------------------------------------------------------------------------------- */

/* QEMU's machines have other sizes of flash than the board (128 KB, 1 MB), 8 KB of RAM at least, and an RCC that
 * reads 0: no reset flag, which is a power-up. Their first USARTs are at different places. */
static const struct machine {
    const char *name, *console, *variant;
} machines[] = {
    {"stm32vldiscovery", "-serial stdio",              ""       },
    {"netduino2",        "-serial null -serial stdio", "-usart2"},
};

/* What a flash image says there until it asks for a reset, which ends QEMU. */
static char *says_in_qemu(struct session *s, const struct machine *m, const char *image)
{
    struct outcome o = run(s,
        "timeout 50 qemu-system-arm -M %s %s -display none -monitor none -no-reboot -kernel %s",
        m->name, m->console, image);
    cr_expect_eq(o.code, 0, "%s on %s: %s%s", image, m->name, o.out, o.err);
    return strdup(o.out);
}

static void boots_what_dfu_util_leaves(const char *application)
{
    if (system("command -v qemu-system-arm >/dev/null"))
        cr_skip_test("qemu-system-arm is not installed");
    for (const struct machine *m = machines; m < machines + 2; m++) {
        char image[64];
        snprintf(image, sizeof image, "build/tests/firmware/%s%s.bin", application, m->variant);
        struct session *s = session_new("--flash-out @/dump");
        struct outcome o = on_board(s, "dfu-util -a 0 -s 0x08000000 -D %s", image);
        cr_assert_eq(o.code, 0, "%s", o.err);
        cr_assert_eq(session_end(s), 0);
        o = run(s, "cmp -n 8 @/dump %s", image);
        cr_expect_eq(o.code, 1, "page 0 does not lead to the bootloader");
        char *alone = says_in_qemu(s, m, image), *dump = says_in_qemu(s, m, "@/dump");
        cr_expect(strstr(alone, "DONE"), "%s says: %s", image, alone);
        cr_expect_str_eq(dump, alone, "%s under the bootloader", image);
        free(alone);
        free(dump);
    }
}

Test(witness, qemus_machines_boot_the_flash_with_a_program_that_computes)
{
    boots_what_dfu_util_leaves("mix");
}

Test(witness, qemus_machines_boot_the_flash_with_a_program_that_fills_it)
{
    boots_what_dfu_util_leaves("table");
}

Test(witness, qemus_machines_boot_the_flash_with_a_program_that_is_interrupted)
{
    boots_what_dfu_util_leaves("ticks");
}

/* As an application for the board would be: it never ends, and says hello. */
Test(witness, qemu_boots_the_flash_that_dfu_util_leaves)
{
    if (system("command -v qemu-system-arm >/dev/null"))
        cr_skip_test("qemu-system-arm is not installed");
    static const char *const versions[] = {"", "-2"}, *const banners[] = {
                                                          "hsi 1: hello", "hsi 2: hello"};
    for (unsigned i = 0; i < 2; i++) {
        struct session *s = session_new("--flash-out @/dump");
        struct outcome o = on_board(
            s, "dfu-util -a 0 -s 0x08000000:leave -D build/examples/hsi%s.bin", versions[i]);
        cr_assert_eq(o.code, 0, "%s", o.err);
        session_sleep(s, "500ms");
        cr_assert_eq(session_end(s), 0);
        o = run(s,
            "sh -c 'head -c 65536 /dev/zero | tr \"\\0\" \"\\377\" >>@/dump; stat -c %%s @/dump'");
        cr_assert_str_eq(o.out, "131072\n");
        /* It runs for ever: until the banner is there, at most 20 s. */
        o = run(s,
            "timeout 20 sh -c 'qemu-system-arm -M stm32vldiscovery -display none -monitor none "
            "-serial file:@/serial -no-reboot -kernel @/dump & "
            "until grep -q \"interrupts work\" @/serial; do sleep 0.05; done 2>/dev/null; "
            "kill $!; cat @/serial'");
        cr_expect(strstr(o.out, banners[i]) && strstr(o.out, "interrupts work"), "QEMU says: %s%s",
            o.out, o.err);
    }
}
