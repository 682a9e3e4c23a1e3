/* SPDX-License-Identifier: MIT */
/* A board that is there and that the operating system keeps from us: each reason its own words, its own cure
 * and its exit code, through libusb as it is. */
#include "session.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

TestSuite(refused, .fini = session_end_all, .timeout = 60);

#define BLINKY "build/examples/blinky.elf"

static const char *const verbs[] = {"info", "flash " BLINKY, "flash --all " BLINKY,
    "flash --wait=5 " BLINKY, "verify " BLINKY, "read @/x", "erase", "leave", "unprotect --force"};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static struct outcome refused(struct session *s, const char *how, const char *arguments)
{
    return on_board(s,
        "sh -c 'REFUSE=%s LD_PRELOAD=build/tests/preload/refuse.so:$LD_PRELOAD exec "
        "build/bin/caboose %s'",
        how, arguments);
}

static void expect_words(struct session *s, const char *how, const char *arguments, int code,
    const char *says, const char *advises)
{
    struct outcome o = refused(s, how, arguments);
    cr_expect_eq(o.code, code, "%s, %s: exit code %d\n%s%s", how, arguments, o.code, o.out, o.err);
    cr_expect(strstr(o.err, says) && strstr(o.err, advises), "%s, %s: %s", how, arguments, o.err);
}

/* The message, as a program reads it. */
static void expect_json(struct session *s, const char *how, int code, const char *says)
{
    struct outcome o = refused(s, how, "flash --json " BLINKY);
    json_t *all = json_loads(o.out, 0, NULL), *one = json_array_get(all, 0);
    cr_assert(one, "%s: %s%s", how, o.out, o.err);
    const char *message = json_string_value(json_object_get(one, "message"));
    cr_expect(json_is_false(json_object_get(one, "ok")), "%s", o.out);
    cr_expect_eq(json_integer_value(json_object_get(one, "exit")), code, "%s", o.out);
    cr_expect(message && strstr(message, says), "%s", o.out);
    json_decref(all);
}

static void expect_listed(struct session *s, const char *how, const char *says)
{
    struct outcome o = refused(s, how, "list");
    cr_expect(
        o.code == 0 && strstr(o.out, "0483:df11") && strstr(o.out, says), "%s%s", o.out, o.err);
}

static void expect_everywhere(
    const char *how, int code, const char *says, const char *advises, const char *listed)
{
    struct session *s = session_new("");
    uint64_t operations = session_count(s, "flash_operations");
    for (size_t i = 0; i < VERBS; i++)
        expect_words(s, how, verbs[i], code, says, advises);
    expect_json(s, how, code, says);
    expect_listed(s, how, listed);
    cr_expect_eq(session_count(s, "flash_operations"), operations);
}

Test(refused, without_permission_the_rule_to_install_is_printed)
{
    expect_everywhere("permission", EX_NOPERM, "no permission to use the board 0483:df11 at 1-1",
        "ATTRS{idVendor}==\"0483\", ATTRS{idProduct}==\"df11\", MODE=\"0660\", TAG+=\"uaccess\"' | "
        "sudo tee /etc/udev/rules.d/70-caboose.rules",
        "no permission");
}

Test(refused, a_board_that_goes_away_as_it_is_opened_is_to_be_plugged_in_again)
{
    expect_everywhere("gone", EX_IOERR, "cannot use the board 0483:df11 at 1-1", "plug it in again",
        "plug it in again");
}

/* libusb knows this of Windows only. */
Test(refused, with_the_wrong_driver_the_right_one_is_named)
{
    expect_everywhere("driver", EX_IOERR, "its driver is not WinUSB", "Zadig", "not WinUSB");
}

/* Its descriptors can be read all the same, so that it is listed like any other. */
Test(refused, a_board_that_another_program_uses_is_said_to_be_so)
{
    expect_everywhere(
        "claim", EX_IOERR, "another program is using the board", "close it", "writable=0x08000000");
}

/* The first line is looked for by other programs; a list fails for no board. */
Test(refused, as_dfu_util_it_says_the_same_and_more)
{
    static const struct {
        const char *how, *advises;
    } cases[] = {
        {"permission", "70-caboose.rules"},
        {"driver",     "Zadig"           },
        {"gone",       "plug it in again"},
    };
    struct session *s = session_new("");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_words(s, cases[i].how, "dfu-util -l", 0, "Cannot open DFU device 0483:df11",
            cases[i].advises);
        expect_words(s, cases[i].how, "dfu-util -a 0 -D " BLINKY, EX_IOERR,
            "Cannot open DFU device 0483:df11", cases[i].advises);
    }
}

Test(refused, the_rule_that_is_printed_is_one_line_for_every_dfu_interface)
{
    struct session *s = session_bare("--load " BLINKY);
    struct outcome o = run(s, "sh -c 'build/bin/caboose udev | grep -v \"^#\"'");
    cr_expect_str_eq(o.out,
        "SUBSYSTEM==\"usb\", ENV{DEVTYPE}==\"usb_device\", ENV{ID_USB_INTERFACES}==\"*:fe01??:*\", "
        "MODE=\"0660\", TAG+=\"uaccess\"\n");
}
