/* SPDX-License-Identifier: MIT */
/* The command caboose as its users start it, on Debian's libusb and directly over USB/IP, against the
 * simulated board. */
#include "session.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

TestSuite(caboose, .fini = session_end_all, .timeout = 120);

TestSuite(completion, .fini = session_end_all, .timeout = 60);

enum link { LIBUSB, USBIP, LINKS };
static const char *const link_names[] = {"libusb", "USB/IP"};

/* caboose COMMAND ARGUMENTS */
__attribute__((format(printf, 4, 5))) static struct outcome caboose(
    struct session *s, enum link link, const char *command, const char *format, ...)
{
    char arguments[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(arguments, sizeof arguments, format, args);
    va_end(args);
    if (link == LIBUSB)
        return on_board(s, "build/bin/caboose %s %s", command, arguments);
    return run(s, "build/bin/caboose %s --usbip %s %s", command, s->usbip, arguments);
}

#define HSI    "build/examples/hsi.bin"
#define BLINKY "build/examples/blinky.elf"
#define HELLO  "blinky 1: hello from 0x08000000"

static void back_to_dfu(struct session *s)
{
    session_press_reset(s);
    cr_assert(session_in_dfu(s));
    session_forget(s);
}

static void expect_good(struct outcome o, const char *what, enum link link)
{
    cr_expect_eq(
        o.code, 0, "%s over %s: exit code %d\n%s%s", what, link_names[link], o.code, o.out, o.err);
}

Test(caboose, lists_the_board)
{
    for (enum link link = 0; link < LINKS; link++) {
        struct session *s = session_new("");
        struct outcome o = caboose(s, link, "list", "%s", "");
        expect_good(o, "list", link);
        cr_expect(strstr(o.out, "0483:df11 "), "%s", o.out);
        cr_expect(strstr(o.out, "writable=0x08000000-0x0800ebff (59 KiB)"), "%s", o.out);
        cr_expect(strchr(o.out, '\n') && !strchr(o.out, '\n')[1], "more than one line: %s", o.out);
        o = caboose(s, link, "list", "--json");
        expect_good(o, "list --json", link);
        cr_expect(strstr(o.out, "\"product\": \"df11\""), "%s", o.out);
        o = caboose(s, link, "info", "%s", "");
        expect_good(o, "info", link);
        cr_expect(strstr(o.out, "0x0800ec00-0x0800ffff"), "%s", o.out);
    }
}

Test(caboose, flashes_elf_and_raw_files_verifies_and_starts_them)
{
    static const struct {
        const char *file, *banner;
    } files[] = {
        {"build/examples/large.elf",    "large 1: 20480 bytes, crc ok"},
        {HSI,                           "hsi 1: interrupts work"      },
        {"build/examples/vectors.bin",  "vectors 1: reserved vectors" },
        {"build/examples/usbdev-2.elf", "usbdev 2: configured"        },
        {BLINKY,                        HELLO                         },
    };
    for (enum link link = 0; link < LINKS; link++) {
        struct session *s = session_new("");
        for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
            struct outcome o = caboose(s, link, "flash", "%s", files[i].file);
            expect_good(o, files[i].file, link);
            cr_expect(strstr(o.out, "verified"), "%s", o.out);
            session_sleep(s, "900ms");
            cr_expect(session_heard(s, files[i].banner), "%s over %s says: %s", files[i].file,
                link_names[link], session_text(s));
            session_power_cycle(s);
            cr_expect(!session_in_dfu(s));
            back_to_dfu(s);
        }
    }
}

Test(caboose, same_image_again_changes_nothing)
{
    for (enum link link = 0; link < LINKS; link++) {
        struct session *s = session_new("");
        expect_good(caboose(s, link, "flash", "%s", BLINKY), "flash", link);
        session_sleep(s, "500ms");
        back_to_dfu(s);
        uint64_t before = session_count(s, "flash_operations");
        expect_good(caboose(s, link, "flash", "%s", BLINKY), "flash again", link);
        session_sleep(s, "900ms");
        cr_expect(session_heard(s, HELLO));
        cr_expect_eq(session_count(s, "flash_operations") - before, 0);
    }
}

Test(caboose, reads_back_what_was_written_and_leaves)
{
    for (enum link link = 0; link < LINKS; link++) {
        struct session *s = session_new("");
        char path[64];
        size_t size, n;
        expect_good(caboose(s, link, "flash", "--no-leave %s", HSI), "flash --no-leave", link);
        session_sleep(s, "1s");
        cr_expect_str_eq(session_text(s), "", "it was started");
        uint8_t *file = file_read(HSI, &n), *back;

        expect_good(caboose(s, link, "read", "@/all"), "read", link);
        snprintf(path, sizeof path, "%s/all", s->dir);
        back = file_read(path, &size);
        cr_assert_eq(size, (size_t)SESSION_FLASH);
        cr_expect_arr_eq(back, file, n);
        cr_expect_arr_eq(back + 0xF000, session_flash(s, 0) + 0xF000, 4096);

        expect_good(
            caboose(s, link, "read", "--address 0x08000010 --size 100 @/part"), "read", link);
        snprintf(path, sizeof path, "%s/part", s->dir);
        back = file_read(path, &size);
        cr_assert_eq(size, (size_t)100);
        cr_expect_arr_eq(back, file + 16, 100);

        expect_good(caboose(s, link, "leave", "%s", ""), "leave", link);
        session_sleep(s, "900ms");
        cr_expect(session_heard(s, "hsi 1: interrupts work"));
    }
}

Test(caboose, what_was_erased_is_gone)
{
    for (enum link link = 0; link < LINKS; link++) {
        struct session *s = session_new("");
        expect_good(caboose(s, link, "flash", "%s", "build/examples/large.bin"), "flash", link);
        session_sleep(s, "900ms");
        back_to_dfu(s);
        uint8_t boot[4096];
        memcpy(boot, session_flash(s, 0) + 0xF000, sizeof boot);
        expect_good(caboose(s, link, "erase", "%s", ""), "erase", link);
        session_sleep(s, "4s");
        session_power_cycle(s);
        cr_expect(
            session_in_dfu(s), "erased over %s, it runs: %s", link_names[link], session_text(s));
        const uint8_t *flash = session_flash(s, 0);
        size_t left = 0;
        for (size_t i = 8; i < 59 * 1024; i++)
            left += flash[i] != 0xFF;
        cr_expect_eq(left, 0, "%zu bytes are left", left);
        cr_expect_arr_eq(boot, flash + 0xF000, sizeof boot);
    }
}

Test(caboose, same_session_twice_takes_the_same_time_and_the_same_steps)
{
    for (enum link link = 0; link < LINKS; link++) {
        char *trace[2];
        uint64_t now[2];
        for (unsigned i = 0; i < 2; i++) {
            char path[64];
            struct session *s = session_new("--trace usb,flash --trace-file @/trace");
            caboose(s, link, "flash", "%s", "build/examples/usbdev.elf");
            session_sleep(s, "500ms");
            now[i] = session_now(s);
            session_end(s);
            snprintf(path, sizeof path, "%s/trace", s->dir);
            trace[i] = (char *)file_read(path, NULL);
        }
        cr_expect_eq(now[0], now[1], "%s: %llu ns, %llu ns", link_names[link],
            (unsigned long long)now[0], (unsigned long long)now[1]);
        cr_assert(strlen(trace[0]) > 10000);
        cr_expect(!strcmp(trace[0], trace[1]), "%s: the traces differ", link_names[link]);
    }
}

/* --- bad input ---------------------------------------------------------------------------------- */

/* One line that says what and what to do; an exit code; and the board is as it was. */
static void expect_refused(struct session *s, struct outcome o, const char *what, const char *says,
    const char *advises, uint64_t operations)
{
    cr_expect(o.code > 0 && o.code < 124, "%s: exit code %d", what, o.code);
    cr_expect(o.one_line_of_error, "%s: not one line: %s", what, o.err);
    cr_expect(!strncmp(o.err, "caboose: ", 9), "%s: who says: %s", what, o.err);
    cr_expect(strstr(o.err, says), "%s: '%s' is missing: %s", what, says, o.err);
    cr_expect(strstr(o.err, advises), "%s: '%s' is missing: %s", what, advises, o.err);
    cr_expect_eq(session_count(s, "flash_operations"), operations, "%s: flash was changed", what);
}

static void make(struct session *s, const char *command)
{
    struct outcome o = run(s, "sh -c '%s'", command);
    cr_assert_eq(o.code, 0, "%s: %s", command, o.err);
}

Test(caboose, bad_files_and_addresses_are_refused_in_one_line_and_change_nothing)
{
    static const struct {
        const char *what, *arguments, *says, *advises;
    } cases[] = {
        {"no such file",        "@/none.bin",                "@/none.bin: No such file",                   ""                   },
        {"unreadable file",     "@/",                        "cannot read @/: Is a directory",             ""                   },
        {"empty file",          "@/empty",                   "@/empty is empty",                           "did the build fail?"},
        {"too large",           "@/huge",                    "@/huge: too large by 9584 bytes",            "0x0800ebff"         },
        {"too large by one",    "@/one",                     "@/one: too large by 1 byte",                 "0x0800ebff"         },
        {"forced too large",    "--force @/huge",            "@/huge: too large by 9584 bytes",            "0x0800ebff"         },
        {"another machine",     "/bin/true",                 "/bin/true, byte 0x12: a program for x86-64",
         "arm-none-eabi-gcc"                                                                                                    },
        {"corrupt hex",         "@/bad.hex",                 "@/bad.hex, line 2: the checksum",            "damaged"            },
        {"truncated hex",       "@/cut.hex",                 "@/cut.hex",                                  ""                   },
        {"corrupt .dfu",        "@/bad.dfu",                 "@/bad.dfu, byte",                            "copy it again"      },
        {"truncated .dfu",      "@/cut.dfu",                 "@/cut.dfu",                                  ""                   },
        {"truncated ELF",       "@/cut.elf",                 "@/cut.elf",                                  ""                   },
        {".dfu for another",    "@/other.dfu",               "is for 1209:0001",                           "--force"            },
        {"no vectors",          "README.md",                 "README.md: there is no program",             "--force"            },
        {"another address",     "--address 0x08001000 " HSI, HSI ": the program does not fit",
         "--force"                                                                                                              },
        {"a zero is missing",   "--address 0x0800000 " HSI,  "0x0800000 is not an address",
         "did you mean 0x08000000?"                                                                                             },
        {"into the bootloader", "--address 0x0800f000 " HSI, "0x0800f000 is not writable",
         "0x0800ebff"                                                                                                           },
        {"into the RAM",        "--address 0x20000000 " HSI, "0x20000000 is not",                          "writable"           },
        {"not an address",      "--address here " HSI,       "here is not ADDR",                           "0x08000000"         },
        {"no file",             "",                          "usage",                                      "caboose help flash" },
        {"another board",       "-d 1209:0001 " HSI,         "",                                           ""                   },
        {"another serial",      "-d 123 " HSI,               "",                                           ""                   },
        {"no such alternate",   "-a 3 " HSI,                 "3",                                          ""                   },
    };
    for (enum link link = 0; link < LINKS; link++) {
        struct session *s = session_new("");
        const uint8_t *before = session_flash(s, 1);
        make(s, ": >@/empty");
        make(s, "head -c 70000 /dev/zero | tr \"\\0\" a >@/huge");
        make(s, "head -c 60417 build/examples/large.bin >@/one; truncate -s 60417 @/one");
        make(s, "arm-none-eabi-objcopy -O ihex " BLINKY " @/good.hex");
        make(s, "sed \"2s/^:10/:11/\" @/good.hex >@/bad.hex; sed \\$d @/good.hex >@/cut.hex");
        make(s, "sed \"2s/^\\(:.\\{12\\}\\)./\\1F/;2s/^\\(:.\\{20\\}\\)./\\10/\" @/good.hex "
                ">@/bad.hex");
        make(s, "build/bin/caboose pack -q @/bad.dfu --address 0x08000000 " HSI);
        make(s, "head -c 600 @/bad.dfu >@/cut.dfu; head -c 600 " BLINKY " >@/cut.elf");
        make(s, "printf xxxx | dd of=@/bad.dfu bs=1 seek=400 conv=notrunc 2>&1");
        make(s, "build/bin/caboose pack -q @/other.dfu -d 1209:0001 --address 0x08000000 " HSI);
        uint64_t operations = session_count(s, "flash_operations");
        for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            char says[128];
            const char *rest = cases[i].says, *at = strchr(rest, '@');
            snprintf(says, sizeof says, "%.*s%s%s", (int)(at ? at - rest : 0), rest,
                at ? s->dir : "", at ? at + 1 : rest);
            struct outcome o = caboose(s, link, "flash", "%s", cases[i].arguments);
            expect_refused(s, o, cases[i].what, says, cases[i].advises, operations);
        }
        cr_expect_arr_eq(before, session_flash(s, 0), SESSION_FLASH);
        cr_expect(session_in_dfu(s));
        expect_good(caboose(s, link, "flash", "%s", BLINKY), "flash afterwards", link);
    }
}

Test(caboose, reading_and_erasing_elsewhere_is_refused)
{
    static const struct {
        const char *command, *arguments, *says, *advises;
    } cases[] = {
        {"read",  "@/x --address 0x0800000 --size 16",    "0x0800000 is not an address", "0x08000000?"},
        {"read",  "@/x --address 0x0800fff0 --size 17",   "only 16 of 17 bytes",         "readable"   },
        {"read",  "@/x --size 0",                         "--size 0",                    "help"       },
        {"read",  "/nonexistent/x",                       "cannot write /nonexistent/x", ""           },
        {"erase", "--address 0x0800f000 --size 1024",     "0x0800f000 is not",           "0x0800ebff" },
        {"erase", "--address 0x08000000",                 "--size",                      "neither"    },
        {"erase", "--address 0x0800e800 --size 0x800000", "",                            ""           },
        {"flash", "--frobnicate " HSI,                    "frobnicate",                  "help"       },
        {"frob",  "",                                     "frob is not a command",       "flash"      },
    };
    struct session *s = session_new("");
    uint64_t operations = session_count(s, "flash_operations");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_refused(s, caboose(s, USBIP, cases[i].command, "%s", cases[i].arguments),
            cases[i].arguments, cases[i].says, cases[i].advises, operations);
}

Test(caboose, no_board_is_one_line_that_says_what_to_do)
{
    struct session *s = session_new("");
    uint64_t operations = session_count(s, "flash_operations");
    session_say(s, "unplug");
    for (enum link link = 0; link < LINKS; link++) {
        expect_refused(s, caboose(s, link, "flash", "%s", HSI), "flash", "no board in DFU mode",
            "start its bootloader", operations);
        expect_refused(s, caboose(s, link, "info", "%s", ""), "info", "no board in DFU mode",
            "start its bootloader", operations);
        expect_refused(s, caboose(s, link, "leave", "%s", ""), "leave", "no board in DFU mode",
            "start its bootloader", operations);
        expect_refused(s, caboose(s, link, "read", "@/x"), "read", "no board in DFU mode",
            "start its bootloader", operations);
        expect_refused(s, caboose(s, link, "erase", "%s", ""), "erase", "no board in DFU mode",
            "start its bootloader", operations);
    }
}

Test(caboose, a_board_that_runs_its_firmware_is_not_written_to)
{
    struct session *s = session_new("");
    caboose(s, USBIP, "flash", "%s", "build/examples/usbdev.elf");
    session_sleep(s, "1s");
    cr_assert_str_eq(session_ids(s), "1209:0001");
    uint64_t operations = session_count(s, "flash_operations");
    for (enum link link = 0; link < LINKS; link++)
        expect_refused(s, caboose(s, link, "flash", "%s", HSI), "flash", "no board in DFU mode",
            "start its bootloader", operations);
}

Test(caboose, a_refused_connection_is_one_line_that_says_what_to_do)
{
    struct session *s = session_new("");
    uint64_t operations = session_count(s, "flash_operations");
    struct outcome o = run(s, "build/bin/caboose flash --usbip 127.0.0.1:1 " HSI);
    expect_refused(s, o, "refused", "cannot connect to 127.0.0.1 port 1: Connection refused",
        "is caboose-sim or usbipd running", operations);
    o = run(s, "build/bin/caboose flash --usbip 127.0.0.1:none " HSI);
    expect_refused(s, o, "no port", "none", "", operations);
}

/* The board's flash operations are few before the first change, so what happened can be told from them. */
Test(caboose, a_cable_pulled_half_way_is_told_and_the_next_time_it_works)
{
    static const unsigned transactions[] = {60, 900}; /* while comparing; while writing */
    for (enum link link = 0; link < LINKS; link++)
        for (unsigned i = 0; i < 2; i++) {
            struct session *s = session_new("");
            uint64_t operations = session_count(s, "flash_operations");
            session_say(s, "fault %u unplug", transactions[i]);
            struct outcome o = caboose(s, link, "flash", "%s", "build/examples/large.bin");
            cr_expect_eq(o.code, 74, "%s: exit code %d", link_names[link], o.code);
            const char *error = strstr(o.err, "caboose: ");
            cr_expect(error && strstr(error, "went away"), "%s: %s", link_names[link], o.err);
            bool changed = session_count(s, "flash_operations") != operations;
            cr_expect_eq(changed, i == 1, "%u: %s", transactions[i], o.err);
            cr_expect_eq(changed, !!strstr(o.err, "flash again"), "%s", o.err);
            session_say(s, "plug");
            session_power_cycle(s);
            cr_assert(session_in_dfu(s));
            expect_good(caboose(s, link, "flash", "%s", "build/examples/large.bin"), "flash", link);
            session_sleep(s, "1s");
            cr_expect(session_heard(s, "large 1: 20480 bytes, crc ok"));
            session_end(s);
        }
}

Test(caboose, with_wait_a_cable_pulled_half_way_only_costs_time)
{
    struct session *s = session_new("");
    session_say(s, "fault 900 unplug"); /* while writing */
    struct outcome o = run(s,
        "sh -c '(sleep 2; build/bin/caboose-sim-ctl %s plug; build/bin/caboose-sim-ctl %s sleep "
        "1s) "
        ">/dev/null 2>&1 & build/bin/caboose flash --wait=20 --usbip %s build/examples/large.bin'",
        s->control, s->control, s->usbip);
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    cr_expect(strstr(o.err, "Waiting for it to come back"), "%s", o.err);
    session_sleep(s, "1s");
    cr_expect(session_heard(s, "large 1: 20480 bytes, crc ok"), "%s", session_text(s));
}

/* --- the other verbs ------------------------------------------------------------------------------ */

Test(caboose, one_changed_function_costs_its_pages_only)
{
    for (enum link link = 0; link < LINKS; link++) {
        struct session *s = session_new("");
        expect_good(caboose(s, link, "flash", "build/examples/large.elf"), "flash", link);
        session_sleep(s, "500ms");
        back_to_dfu(s);
        uint64_t before = session_count(s, "page_erases");
        struct outcome o = caboose(s, link, "flash", "--dry-run build/examples/large-2.elf");
        expect_good(o, "dry run", link);
        cr_expect(
            strstr(o.out, "nothing was changed") && strstr(o.out, "0x08000000  w"), "%s", o.out);
        cr_expect_eq(session_count(s, "page_erases"), before, "a dry run erased");
        o = caboose(s, link, "flash", "build/examples/large-2.elf");
        expect_good(o, "flash", link);
        cr_expect(strstr(o.out, "of 52 sectors written"), "%s", o.out);
        uint64_t erased = session_count(s, "page_erases") - before;
        cr_expect(erased < 20, "%llu pages were erased", (unsigned long long)erased);
        session_sleep(s, "1s");
        cr_expect(session_heard(s, "large 2"), "%s", session_text(s));
    }
}

Test(caboose, verify_tells_equal_from_different_and_changes_nothing)
{
    for (enum link link = 0; link < LINKS; link++) {
        struct session *s = session_new("");
        expect_good(caboose(s, link, "flash", "--no-leave " BLINKY), "flash", link);
        uint64_t operations = session_count(s, "flash_operations");
        expect_good(caboose(s, link, "verify", BLINKY), "verify", link);
        struct outcome o = caboose(s, link, "verify", HSI);
        cr_expect_eq(o.code, 74, "%s", o.err);
        cr_expect(strstr(o.err, "0x08000") && strstr(o.err, "should hold"), "%s", o.err);
        cr_expect_eq(session_count(s, "flash_operations"), operations);
    }
}

Test(caboose, leave_knows_a_program_from_a_function_and_from_nothing)
{
    struct session *s = session_new("");
    uint64_t operations = session_count(s, "flash_operations");
    expect_refused(s, caboose(s, USBIP, "leave", "0x0800ba65"), "the forum's address",
        "looks like a function", "did you mean 0x08000000?", operations);
    expect_refused(s, caboose(s, USBIP, "leave", "0x0800000"), "a zero short", "", "", operations);
    expect_refused(s, caboose(s, USBIP, "leave", "0x08004000"), "blank memory", "it is blank",
        "flash a program", operations);
    cr_expect(session_in_dfu(s));
    expect_good(caboose(s, USBIP, "flash", "--no-leave " HSI), "flash", USBIP);
    expect_good(caboose(s, USBIP, "leave", "0x08000000"), "leave", USBIP);
    session_sleep(s, "900ms");
    cr_expect(session_heard(s, "hsi 1: interrupts work"));
}

/* Our bootloader on a chip whose flash is protected against reading (PM0075 §2.4.1), for which its image
 * says "locked". */
static struct session *protected_board(void)
{
    struct session *open = session_new("");
    session_flash(open, 0);
    make(open, "printf \"\\377\\000%.0s\" 1 2 3 4 5 6 7 8 >@/options");
    char options[128];
    snprintf(options, sizeof options, "--flash-in %s/flash --options-in %s/options", open->dir,
        open->dir);
    struct session *s = session_bare(options);
    session_say(s, "wait-device 3s");
    cr_assert(session_in_dfu(s));
    return s;
}

Test(caboose, what_a_protected_board_says_of_its_refusal_is_told)
{
    static const char *const commands[] = {"read", "verify", "flash", "erase"};
    static const char *const files[] = {"@/x", HSI, HSI, ""};
    struct session *s = protected_board();
    uint64_t operations = session_count(s, "flash_operations");
    for (enum link link = 0; link < LINKS; link++)
        for (unsigned i = 0; i < sizeof commands / sizeof commands[0]; i++) {
            struct outcome o = caboose(s, link, commands[i], "%s", files[i]);
            cr_expect_eq(o.code, EX_IOERR, "%s: %d\n%s", commands[i], o.code, o.err);
            cr_expect(strstr(o.err, "errVENDOR (the memory is protected against reading and "
                                    "writing); the device says: \"locked\"\n"),
                "%s: %s", commands[i], o.err);
        }
    cr_expect_eq(session_count(s, "flash_operations") - operations, 0);
}

Test(caboose, unprotect_wants_force_and_our_bootloader_refuses_it)
{
    struct session *s = session_new("");
    struct outcome o = caboose(s, USBIP, "unprotect", "%s", "");
    cr_expect_eq(o.code, 64);
    cr_expect(strstr(o.err, "--force"), "%s", o.err);
    o = caboose(s, USBIP, "unprotect", "--force");
    cr_expect_eq(o.code, 74, "%s%s", o.out, o.err);
    cr_expect(strstr(o.err, "errVENDOR"), "%s", o.err);
    cr_expect(session_in_dfu(s));
}

Test(caboose, flashing_the_bootloader_itself_says_what_happens_to_the_program)
{
    struct session *s = session_new("");
    struct outcome o = caboose(s, USBIP, "flash", "--dry-run build/firmware/bluepill-tail.elf");
    cr_expect_eq(o.code, 0, "%s", o.err);
    cr_expect(strstr(o.err, "gone until you flash one again"), "%s", o.err);
}

static void expect_json(struct outcome o, const char *what)
{
    json_error_t error;
    json_t *all = json_loads(o.out, 0, &error);
    cr_expect(all, "%s: %s in %s", what, error.text, o.out);
    json_decref(all);
}

Test(caboose, json_is_json_and_nothing_else_on_standard_output)
{
    static const char *const commands[][2] = {
        {"list",      ""               },
        {"info",      ""               },
        {"flash",     "--dry-run " HSI },
        {"flash",     "--no-leave " HSI},
        {"verify",    HSI              },
        {"verify",    BLINKY           }, /* fails */
        {"erase",     "--dry-run"      },
        {"read",      "--size 1K @/x"  },
        {"unprotect", "--dry-run"      },
        {"leave",     ""               },
    };
    struct session *s = session_new("");
    for (unsigned i = 0; i < sizeof commands / sizeof commands[0]; i++)
        expect_json(caboose(s, USBIP, commands[i][0], "--json %s", commands[i][1]), commands[i][0]);
}

Test(caboose, list_without_a_board_fails_with_advice)
{
    struct session *s = session_new("");
    session_say(s, "unplug");
    for (enum link link = 0; link < LINKS; link++) {
        struct outcome o = caboose(s, link, "list", "%s", "");
        cr_expect_eq(o.code, 69, "exit code %d", o.code);
        cr_expect(o.one_line_of_error && strstr(o.err, "start a board's bootloader"), "%s", o.err);
        o = caboose(s, link, "list", "--json");
        cr_expect_eq(o.code, 69);
        cr_expect_str_eq(o.out, "[]\n");
    }
}

/* In columns: a character of UTF-8 has one byte that is not a continuation. */
static unsigned width_of(const char *line, const char *end)
{
    unsigned width = 0;
    for (; line < end; line++)
        width += (*line & 0xC0) != 0x80;
    return width;
}

/* How many lines; none is wider than a terminal. */
static unsigned expect_narrow(const char *text, const char *what)
{
    unsigned lines = 0;
    for (const char *p = text, *end; (end = strchr(p, '\n')) != NULL; p = end + 1, lines++)
        cr_expect(width_of(p, end) <= 80, "%s: %.*s", what, (int)(end - p), p);
    cr_expect(lines > 0, "%s says nothing", what);
    return lines;
}

Test(caboose, every_help_fits_a_screen)
{
    struct session *s = session_bare("--load " BLINKY);
    struct outcome o = run(s, "build/bin/caboose help");
    cr_expect(expect_narrow(o.out, "help") <= 24);
    char names[32][16];
    unsigned count = 0;
    for (const char *p = o.out; (p = strstr(p, "\n  caboose ")) != NULL && count < 32; count++)
        sscanf(p += 11, "%15s", names[count]);
    cr_assert(count >= 12, "%s", o.out);
    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(names[i], "dfu-util") || !strcmp(names[i], "help"))
            continue;
        o = run(s, "build/bin/caboose %s --help", names[i]);
        cr_expect_eq(o.code, 0, "%s: %s", names[i], o.err);
        cr_expect(expect_narrow(o.out, names[i]) <= 24, "%s", names[i]);
    }
    o = run(s, "build/bin/caboose dfu-util --help"); /* of as many lines as dfu-util's own */
    expect_narrow(o.err, "dfu-util");
}

Test(caboose, what_is_shown_to_people_is_no_wider_than_a_terminal)
{
    static const char *const files[] = {BLINKY, "README.md", "@/x.dfu",
        "build/firmware/bluepill-tail.bin", "build/firmware/bluepill-tail.elf"};
    struct session *s = session_new("");
    run(s, "build/bin/caboose pack -q @/x.dfu " BLINKY);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        expect_narrow(run(s, "build/bin/caboose inspect %s", files[i]).out, files[i]);
    expect_narrow(caboose(s, USBIP, "info", "%s", "").out, "info");
    struct outcome o = caboose(s, USBIP, "flash", "--dry-run build/examples/large.bin");
    const char *drawn = strstr(o.out, "\n    0x"); /* below what was to be said in one line */
    cr_assert(drawn, "%s", o.out);
    expect_narrow(drawn + 1, "a plan");
    struct session *large = session_bare(
        "--board stm32f103re --hse 12000000 --load build/firmware/f103-12mhz-tail.bin");
    session_say(large, "wait-device 3s");
    expect_narrow(caboose(large, USBIP, "info", "%s", "").out, "info");
}

Test(caboose, its_manual_pages_are_well_formed_and_no_wider_than_a_terminal)
{
    static const char *const pages[] = {"caboose", "caboose-dfu-util", "caboose-sim"};
    struct session *s = session_bare("--load " BLINKY);
    if (run(s, "groff --version").code != 0)
        cr_skip_test("groff is not installed");
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        struct outcome o =
            run(s, "sh -c 'groff -ww -mandoc -Tutf8 -P-cbou -rLL=80n docs/%s.1'", pages[i]);
        cr_expect_str_eq(o.err, "", "%s: %s", pages[i], o.err);
        cr_expect(expect_narrow(o.out, pages[i]) > 20);
    }
}

/* A line as it stands when the tab key is pressed, and what is to become of it. */
static const struct completion {
    const char *line, *gives;
} completions[] = {
    {"caboose fl",             "caboose flash"                },
    {"caboose dfu",            "caboose dfu-util"             },
    {"caboose flash --dry",    "caboose flash --dry-run"      },
    {"caboose erase --siz",    "caboose erase --size"         },
    {"caboose flash firm",     "caboose flash firmware.hex"   },
    {"caboose flash -n firm",  "caboose flash -n firmware.hex"},
    {"caboose list --no-leav", "caboose list --no-leav"       }, /* it has no such option */
    {"caboose help unpa",      "caboose help unpack"          },
    {"caboose completion fi",  "caboose completion fish"      },
};
enum { COMPLETIONS = sizeof completions / sizeof completions[0] };

/* A directory with the scripts, named as the shells want them, and a file. */
static struct session *with_scripts(void)
{
    struct session *s = session_bare("--load " BLINKY);
    make(s, ": >@/firmware.hex");
    make(s, "build/bin/caboose completion bash >@/bash");
    make(s, "build/bin/caboose completion zsh >@/_caboose");
    make(s, "build/bin/caboose completion fish >@/fish");
    return s;
}

Test(completion, bash_completes_commands_options_and_files)
{
    struct session *s = with_scripts();
    for (unsigned i = 0; i < COMPLETIONS; i++) {
        const char *line = completions[i].line, *last = strrchr(line, ' ') + 1;
        unsigned words = 0;
        for (const char *p = line; (p = strchr(p, ' ')) != NULL; p++)
            words++;
        struct outcome o = run(s,
            "bash -c 'cd @; . @/bash; COMP_WORDS=(%s); COMP_CWORD=%u; _caboose; "
            "echo \"${COMPREPLY[*]}\"'",
            line, words);
        const char *wanted = completions[i].gives + (last - line);
        if (!strcmp(line, completions[i].gives))
            wanted = "";
        cr_expect(!strncmp(o.out, wanted, strlen(wanted)) && o.out[strlen(wanted)] == '\n',
            "%s: %s%s", line, o.out, o.err);
    }
}

Test(completion, zsh_completes_commands_options_and_files)
{
    struct session *s = with_scripts();
    if (run(s, "zsh --version").code != 0)
        cr_skip_test("zsh is not installed");
    struct outcome o = run(s, "zsh -n @/_caboose");
    cr_expect(o.code == 0 && !o.err[0], "%s", o.err);
    char lines[1024] = "";
    for (unsigned i = 0; i < COMPLETIONS; i++)
        snprintf(lines + strlen(lines), sizeof lines - strlen(lines), " '%s'", completions[i].line);
    o = run(s, "tests/zsh_completes @%s", lines);
    const char *line = o.out;
    for (unsigned i = 0; i < COMPLETIONS && line; i++) {
        size_t n = strlen(completions[i].gives);
        cr_expect(!strncmp(line, completions[i].gives, n) && strchr(" =|", line[n]), "%s: %.*s",
            completions[i].line, (int)strcspn(line, "\n"), line);
        line = strchr(line, '\n');
        line += line != NULL;
    }
    cr_expect(line && !*line, "%s%s", o.out, o.err);
}

Test(completion, fish_completes_commands_options_and_files)
{
    struct session *s = with_scripts();
    if (run(s, "fish --version").code != 0)
        cr_skip_test("fish is not installed");
    struct outcome o = run(s, "fish -n @/fish");
    cr_expect(o.code == 0 && !o.err[0], "%s", o.err);
    for (unsigned i = 0; i < COMPLETIONS; i++) {
        const char *line = completions[i].line;
        o = run(s, "env HOME=@ fish -c 'cd @; source @/fish; complete -C \"%s\"'", line);
        const char *wanted = strrchr(completions[i].gives, ' ') + 1;
        size_t n = strcmp(line, completions[i].gives) ? strlen(wanted) : 0;
        cr_expect(!strncmp(o.out, wanted, n) && (n ? strchr("\t\n", o.out[n]) != NULL : !o.out[0]),
            "%s: %s%s", line, o.out, o.err);
    }
}

Test(caboose, the_example_of_the_library_flashes_a_board)
{
    struct session *s = session_new("");
    struct outcome o = on_board(s, "build/example/flash build/examples/hsi.bin");
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    session_sleep(s, "900ms");
    cr_expect(session_heard(s, "hsi 1: interrupts work"), "%s", session_text(s));
}

/* --- exit codes, and what programs read ------------------------------------------------------------- */

/* sysexits.h; EX_OSERR is test_starved's, EX_NOPERM test_refused's, EX_PROTOCOL test_scripted's. */
Test(caboose, every_kind_of_failure_has_its_exit_code)
{
    static const struct {
        int code;
        const char *command;
    } cases[] = {
        {0,              "list"                            },
        {EX_USAGE,       "frob"                            },
        {EX_USAGE,       "flash --frob " HSI               },
        {EX_USAGE,       "flash"                           },
        {EX_USAGE,       "flash " HSI " " HSI              },
        {EX_USAGE,       "read -s 1G @/x"                  },
        {EX_USAGE,       "leave 0800"                      },
        {EX_USAGE,       "leave --at"                      },
        {EX_USAGE,       "erase --at 0x08000000"           },
        {EX_USAGE,       "unprotect"                       },
        {EX_USAGE,       "flash --at 0x08000000 " BLINKY   },
        {EX_USAGE,       "completion csh"                  },
        {EX_USAGE,       "read --json -"                   },
        {EX_DATAERR,     "flash README.md"                 },
        {EX_DATAERR,     "verify /bin/true"                },
        {EX_DATAERR,     "inspect /bin/true"               },
        {EX_DATAERR,     "leave 0x0800ba65"                },
        {EX_DATAERR,     "erase --at 0x20000000 --size 1K" },
        {EX_DATAERR,     "flash --family STM32F1 " BLINKY  },
        {EX_NOINPUT,     "flash @/none"                    },
        {EX_NOINPUT,     "inspect @/"                      },
        {EX_NOINPUT,     "unpack @/none"                   },
        {EX_NOINPUT,     "pack @/x @/none@0x08000000"      },
        {EX_UNAVAILABLE, "flash -d 1209:0001 " HSI         },
        {EX_UNAVAILABLE, "info -d nobody"                  },
        {EX_UNAVAILABLE, "flash --wait=1 -d 1209:0001 " HSI},
        {EX_CANTCREAT,   "read /nonexistent/x"             },
        {EX_CANTCREAT,   "read --size 1K /dev/full"        },
        {EX_CANTCREAT,   "pack /dev/full " BLINKY          },
        {EX_IOERR,       "verify " HSI                     },
        {EX_IOERR,       "unprotect --force"               },
    };
    struct session *s = session_new("");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char command[16], *rest = strchr(cases[i].command, ' ');
        snprintf(command, sizeof command, "%.*s", (int)(rest ? rest - cases[i].command : 15),
            cases[i].command);
        bool files = strstr("inspect pack unpack completion frob", command);
        struct outcome o = files ? run(s, "build/bin/caboose %s", cases[i].command)
                                 : caboose(s, USBIP, command, "%s", rest ? rest : "");
        cr_expect_eq(o.code, cases[i].code, "%s: exit code %d, not %d\n%s", cases[i].command,
            o.code, cases[i].code, o.err);
        cr_expect((o.code == 0) == (o.err[0] == '\0'), "%s: %s", cases[i].command, o.err);
    }
    session_say(s, "unplug");
    cr_expect_eq(caboose(s, USBIP, "list", "%s", "").code, EX_UNAVAILABLE);
}

Test(caboose, json_is_json_when_the_command_line_is_wrong)
{
    static const struct {
        const char *command, *says;
        bool array;
    } cases[] = {
        {"flash --frob --json " HSI,        "--frob is not an option",   true },
        {"flash --json --frob " HSI,        "--frob is not an option",   true },
        {"flash " HSI " -x --json",         "-x is not an option",       true },
        {"flash " HSI " --json --at",       "--at needs an argument",    true },
        {"flash --at 08000000 --json " HSI, "--at 08000000 is not ADDR", true },
        {"flash --at --json " HSI,          "--at --json is not ADDR",   true },
        {"list --frob --json",              "--frob is not an option",   true },
        {"info --frob --json",              "--frob is not an option",   false},
        {"inspect --size 1 --json " HSI,    "--size is not an option",   false},
        {"pack --size 1 --json @/x " HSI,   "--size is not an option",   false},
        {"flash --json",                    "usage: caboose flash",      true },
        {"inspect --json",                  "usage: caboose inspect",    false},
        {"unpack --json " HSI " " HSI,      "usage: caboose unpack",     false},
    };
    struct session *s = session_new("");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outcome o = run(s, "build/bin/caboose %s", cases[i].command);
        json_t *all = json_loads(o.out, 0, NULL);
        json_t *one = cases[i].array ? json_array_get(all, 0) : all;
        const char *message = json_string_value(json_object_get(one, "message"));
        cr_expect(o.code == EX_USAGE && o.one_line_of_error, "%s: %d", cases[i].command, o.code);
        cr_expect(message && strstr(message, cases[i].says), "%s: %s", cases[i].command, o.out);
        cr_expect(message && strstr(o.err, message), "%s: %s", cases[i].command, o.err);
        cr_expect(json_is_false(json_object_get(one, "ok")), "%s", o.out);
        cr_expect_eq(json_integer_value(json_object_get(one, "exit")), o.code, "%s", o.out);
        json_decref(all);
    }
    cr_expect_str_eq(run(s, "build/bin/caboose flash --frob -- --json").out, "", "it is a file");
    cr_expect_str_eq(run(s, "build/bin/caboose flash --frob " HSI).out, "");
}

/* An array where a success would be one, else an object; the words are in it. */
Test(caboose, json_is_json_when_a_command_fails)
{
    static const struct {
        const char *command, *arguments;
        bool board, array;
    } cases[] = {
        {"info",      "",                      true,  false},
        {"flash",     HSI,                     true,  true },
        {"flash",     "--all " HSI,            true,  true },
        {"flash",     "@/none",                true,  true },
        {"flash",     "",                      true,  true },
        {"verify",    HSI,                     true,  true },
        {"read",      "@/x",                   true,  true },
        {"erase",     "",                      true,  true },
        {"erase",     "--size 1K",             true,  true },
        {"leave",     "",                      true,  true },
        {"leave",     "here",                  true,  true },
        {"unprotect", "",                      true,  true },
        {"unprotect", "--force",               true,  true },
        {"inspect",   "@/none",                false, false},
        {"pack",      "@/x @/none@0x08000000", false, false},
        {"unpack",    "@/none",                false, false},
    };
    struct session *s = session_new("");
    session_say(s, "unplug");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outcome o = run(s, "build/bin/caboose %s --json %s %s %s", cases[i].command,
            cases[i].board ? "--usbip" : "", cases[i].board ? s->usbip : "", cases[i].arguments);
        json_t *all = json_loads(o.out, 0, NULL);
        json_t *one = cases[i].array ? json_array_get(all, 0) : all;
        const char *message = json_string_value(json_object_get(one, "message"));
        cr_expect(o.code != 0 && message && message[0], "%s %s: %s", cases[i].command,
            cases[i].arguments, o.out);
        cr_expect(json_is_false(json_object_get(one, "ok")), "%s", o.out);
        cr_expect_eq(json_integer_value(json_object_get(one, "exit")), o.code, "%s", o.out);
        json_decref(all);
    }
}

/* --- which board ------------------------------------------------------------------------------------ */

Test(caboose, a_board_is_chosen_by_its_number_its_path_or_its_ids)
{
    struct session *s = session_new("");
    struct outcome o = caboose(s, USBIP, "list", "--json");
    json_t *all = json_loads(o.out, 0, NULL);
    const char *serial = json_string_value(json_object_get(json_array_get(all, 0), "serial"));
    const char *path = json_string_value(json_object_get(json_array_get(all, 0), "path"));
    cr_assert(serial && path, "%s", o.out);
    const char *const good[] = {serial, path, "0483:df11", "0483:DF11"};
    const char *const bad[] = {"1C7D90B2", "1-2", "0483:df12", "df11"};
    for (enum link link = 0; link < LINKS; link++)
        for (unsigned i = 0; i < 4; i++) {
            expect_good(caboose(s, link, "info", "--device %s", good[i]), good[i], link);
            o = caboose(s, link, "info", "-d %s", bad[i]);
            cr_expect_eq(o.code, EX_UNAVAILABLE, "%s: %s", bad[i], o.out);
            cr_expect(strstr(o.err, bad[i]) && strstr(o.err, "caboose list"), "%s", o.err);
        }
    json_decref(all);
}

Test(caboose, an_application_with_a_dfu_interface_is_not_taken_for_a_second_board)
{
    struct session *runs = session_new(""), *waits = session_new("");
    expect_good(caboose(runs, USBIP, "flash", "build/examples/runtime.bin"), "flash", USBIP);
    session_sleep(runs, "1s");
    cr_assert(!session_in_dfu(runs));
    struct outcome o =
        run(waits, "build/bin/caboose list --usbip %s --usbip %s", runs->usbip, waits->usbip);
    cr_expect(strstr(o.out, "runs its application") && strstr(o.out, "writable="), "%s", o.out);
    o = run(
        waits, "build/bin/caboose flash --usbip %s --usbip %s " BLINKY, runs->usbip, waits->usbip);
    expect_good(o, "flash", USBIP);
    session_sleep(waits, "900ms");
    cr_expect(session_heard(waits, HELLO));
    cr_expect(!session_in_dfu(runs) && !session_heard(runs, HELLO), "%s", session_text(runs));
}

Test(caboose, a_raw_file_needs_no_suffix_and_gets_no_warning)
{
    struct session *s = session_new("");
    struct outcome o = caboose(s, USBIP, "flash", HSI);
    expect_good(o, "flash", USBIP);
    cr_expect_str_eq(o.err, "");
    back_to_dfu(s);
    o = on_board(s, "build/bin/caboose dfu-util -a 0 -s 0x08000000:leave -D " HSI);
    cr_expect_eq(o.code, 0);
    cr_expect(!strstr(o.err, "suffix") && !strstr(o.out, "uffix"), "%s%s", o.out, o.err);
}

Test(caboose, standard_input_is_a_file)
{
    struct session *s = session_new("");
    struct outcome o =
        run(s, "sh -c 'build/bin/caboose flash --no-leave --usbip %s - <" BLINKY "'", s->usbip);
    expect_good(o, "flash -", USBIP);
    o = run(s, "sh -c 'build/bin/caboose verify --usbip %s - <" BLINKY "'", s->usbip);
    expect_good(o, "verify -", USBIP);
    o = run(s, "sh -c 'build/bin/caboose read --size 8 --usbip %s - | od -An -tx1'", s->usbip);
    cr_expect(strstr(o.out, " 20 "), "%s%s", o.out, o.err);
    o = run(s, "sh -c 'printf S1 | build/bin/caboose flash --usbip %s -'", s->usbip);
    cr_expect_eq(o.code, EX_DATAERR);
    cr_expect(strstr(o.err, "standard input"), "%s", o.err);
}

/* --- terminals and pipes ---------------------------------------------------------------------------- */

TestSuite(terminal, .fini = session_end_all, .timeout = 60);

/* On a terminal of its own: script(1) of bsdutils, which Debian always has. */
static struct outcome on_terminal(struct session *s, const char *environment, const char *command)
{
    return run(s, "env -u NO_COLOR %s script -qec \"build/bin/caboose %s --usbip %s\" /dev/null",
        environment, command, s->usbip);
}

Test(terminal, progress_is_drawn_on_a_terminal_and_told_in_a_pipe)
{
    struct session *s = session_new("");
    struct outcome o = on_terminal(s, "", "flash --no-leave build/examples/large.bin");
    cr_expect_eq(o.code, 0, "%s", o.out);
    cr_expect(strstr(o.out, "\rwriting   [=") && strstr(o.out, "100%") && strstr(o.out, "KiB/s"),
        "%s", o.out);
    for (const char *line = o.out; line; line = strchr(line, '\r') ? strchr(line, '\r') + 1 : NULL)
        cr_expect(strcspn(line, "\r\n") < 80 || strstr(line, "flashed"), "wraps: %.100s", line);
    o = on_terminal(s, "", "flash --quiet --rewrite --no-leave build/examples/large.bin");
    cr_expect_str_eq(o.out, "");
    o = caboose(s, USBIP, "flash", "--rewrite --no-leave build/examples/large.bin");
    cr_expect(strstr(o.out, "\nwriting: 5") && !strchr(o.out, '\r'), "%s", o.out);
}

Test(terminal, colours_are_for_terminals_and_not_with_no_color)
{
    struct session *s = session_new("");
    struct outcome o = on_terminal(s, "", "flash @/none");
    cr_expect(strstr(o.out, "\033[31mcaboose: \033[0m"), "%s", o.out);
    o = on_terminal(s, "NO_COLOR=1", "flash @/none");
    cr_expect(strstr(o.out, "caboose: ") && !strchr(o.out, '\033'), "%s", o.out);
    o = on_terminal(s, "NO_COLOR=", "flash @/none"); /* empty is as not set: no-color.org */
    cr_expect(strchr(o.out, '\033'), "%s", o.out);
    o = caboose(s, USBIP, "flash", "@/none");
    cr_expect(!strchr(o.err, '\033'), "%s", o.err);
}

/* --- many at once --------------------------------------------------------------------------------- */

enum { MANY = 16, UNPLUGGED = 5 };

Test(caboose, all_sixteen_boards_are_flashed_at_once_and_the_one_that_failed_is_named)
{
    struct session *sessions[MANY];
    char servers[MANY * 40] = "";
    for (unsigned i = 0; i < MANY; i++) {
        sessions[i] = session_new("");
        size_t used = strlen(servers);
        snprintf(servers + used, sizeof servers - used, " --usbip %s", sessions[i]->usbip);
    }
    struct session *s = sessions[0];
    struct outcome o = run(s, "build/bin/caboose flash%s " BLINKY, servers);
    cr_expect_eq(o.code, 64, "%s", o.err);
    cr_expect(strstr(o.err, "--all"), "%s", o.err);
    session_say(sessions[UNPLUGGED], "fault 150 unplug");
    o = run(s, "build/bin/caboose flash --all --json%s " BLINKY, servers);
    cr_expect_eq(o.code, 74, "%s", o.err);
    json_t *all = json_loads(o.out, 0, NULL);
    cr_assert(all && json_array_size(all) == MANY, "%s%s", o.out, o.err);
    for (unsigned i = 0; i < MANY; i++) {
        json_t *one = json_array_get(all, i);
        bool good = json_is_true(json_object_get(one, "ok"));
        cr_expect_eq(good, i != UNPLUGGED, "board %u: %s", i,
            json_string_value(json_object_get(one, "message")));
        cr_expect_eq(json_integer_value(json_object_get(one, "exit")), good ? 0 : 74);
        session_sleep(sessions[i], "900ms");
        cr_expect_eq(session_heard(sessions[i], HELLO), good, "board %u", i);
    }
    json_decref(all);
}

Test(caboose, a_table_ends_what_was_done_to_many)
{
    struct session *one = session_new(""), *two = session_new("");
    session_say(two, "fault 150 unplug");
    struct outcome o = run(
        one, "build/bin/caboose flash --all --usbip %s --usbip %s " BLINKY, one->usbip, two->usbip);
    cr_expect_eq(o.code, 74, "%s%s", o.out, o.err);
    cr_expect(strstr(o.out, "1 of 2 boards done"), "%s", o.out);
    cr_expect(strstr(o.out, " ok ") && strstr(o.out, " FAILED "), "%s", o.out);
}
