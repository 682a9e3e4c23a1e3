/* SPDX-License-Identifier: MIT */
/* An application that gives way to the bootloader when it is asked: by dfu-util, over its run-time
 * interface (examples/runtime), and in each way that examples/caboose.h offers (tests/firmware/asks.c). */
#include "session.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(runtime, .fini = session_end_all, .timeout = 120);
TestSuite(header, .fini = session_end_all, .timeout = 120);

#define LEAVE   "-a 0 -s 0x08000000:leave"
#define RUNTIME "build/examples/runtime.bin"
#define NEWER   "build/examples/runtime-2.bin"
#define ASKS    "build/tests/firmware/asks.bin"

static void flash(struct session *s, const char *path)
{
    struct outcome o = on_board(s, "dfu-util " LEAVE " -D %s", path);
    cr_assert_eq(o.code, 0, "%s", o.err);
    session_sleep(s, "500ms");
}

static void expect_says(struct session *s, const char *text, const char *when)
{
    cr_expect(session_heard(s, text), "%s: instead of '%s' the firmware says: %s", when, text,
        session_text(s));
    session_forget(s);
}

/* What is behind `key` in the output of dfu-util -l, up to the next quotation mark. */
static char *listed(struct session *s, const char *key)
{
    struct outcome o = on_board(s, "dfu-util -l");
    const char *at = strstr(o.out, key);
    cr_assert(at, "%s is not in: %s", key, o.out);
    return strndup(at + strlen(key), strcspn(at + strlen(key), "\""));
}

/* --- the run-time interface ----------------------------------------------------------------------- */

static struct session *running(void)
{
    struct session *s = session_new("");
    flash(s, RUNTIME);
    cr_assert(session_heard(s, "runtime 1: configured"), "%s", session_text(s));
    session_forget(s);
    return s;
}

Test(runtime, dfu_util_finds_it_with_the_number_that_the_bootloader_shows)
{
    struct session *s = session_new("");
    char *number = listed(s, "serial=\"");
    flash(s, RUNTIME);
    struct outcome o = on_board(s, "dfu-util -l");
    const char *found = strstr(o.out, "Found Runtime: [1209:0002] ver=0100, ");
    cr_assert(found, "%s%s", o.out, o.err);
    cr_expect(strstr(found, number), "not %s: %s", number, found);
    cr_expect_null(strstr(o.out, "Found DFU"));
}

Test(runtime, detach_leads_into_the_bootloader_once)
{
    static const char *const ways[] = {"dfu-util -e", "dfu-util -e -d 1209:0002",
        "dfu-util -e -d 1209:0002,0483:df11", "build/bin/caboose dfu-util -e"};
    struct session *s = running();
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct outcome o = on_board(s, "%s", ways[i]);
        cr_expect_eq(o.code, 0, "%s: %s", ways[i], o.err);
        cr_expect(strstr(o.out, "state(0) = appIDLE, status(0) = No error"), "%s", o.out);
        cr_expect(strstr(o.out, "Device will detach and reattach"), "%s", o.out);
        session_sleep(s, "1s");
        cr_expect(session_in_dfu(s), "%s", ways[i]);
        expect_says(s, "runtime 1: detach", ways[i]);
        o = on_board(s, "dfu-util -a 0 -s :leave");
        cr_expect_eq(o.code, 0, "%s", o.err);
        session_sleep(s, "500ms");
        expect_says(s, "runtime 1: configured", ways[i]);
    }
}

/* DETACH and the request before it: four transactions. What the host takes for done may be news to the
 * device, and the other way round. */
Test(runtime, detach_takes_though_a_packet_or_its_acknowledgement_is_lost)
{
    static const char *const kinds[] = {"lost-packet", "lost-ack"};
    struct session *s = running();
    uint64_t before = session_count(s, "usb_transactions");
    on_board(s, "dfu-util -e");
    unsigned whole = (unsigned)(session_count(s, "usb_transactions") - before);
    cr_assert_geq(whole, 4);
    for (unsigned i = 0; i < 8; i++) {
        unsigned n = whole - i / 2;
        session_sleep(s, "1s");
        on_board(s, "dfu-util -a 0 -s :leave");
        session_sleep(s, "500ms");
        cr_assert(session_heard(s, "runtime 1: configured"));
        session_say(s, "fault %u %s", n, kinds[i % 2]);
        struct outcome o = on_board(s, "dfu-util -e");
        session_sleep(s, "1s");
        cr_expect_eq(o.code, 0, "%s of transaction %u: %s", kinds[i % 2], n, o.err);
        cr_expect(session_in_dfu(s), "%s of transaction %u", kinds[i % 2], n);
        cr_expect(session_heard(s, "runtime 1: detach"));
        session_forget(s);
    }
}

/* caboose-with-board shows what was on the bus at the start. So here both faces of the board are there from
 * the start, as two devices of which one can be opened at any time: the application as it is now, and the
 * bootloader, as it was, as the next number at another port. */
static char *sysfs_of(struct session *s)
{
    struct outcome o = run(s, "build/bin/caboose-sim-ctl -e %s sysfs", s->control);
    cr_assert(o.code == 0 && *o.out, "%s", o.err);
    return strdup(o.out);
}

static void write_sysfs(struct session *s, const char *name, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    FILE *f = fopen(path, "w");
    cr_assert(f && fputs(text, f) >= 0 && !fclose(f));
}

static void show_both(struct session *s, const char *bootloader)
{
    unsigned number = 0;
    char *application = sysfs_of(s);
    cr_assert(sscanf(strstr(application, "DEVNUM="), "DEVNUM=%u", &number) == 1);
    write_sysfs(s, "application", application);
    write_sysfs(s, "bootloader", bootloader);
    struct outcome o = run(s,
        "sed -i '/^P:/ s/1-1/1-2/g; s/devpath=.*/devpath=2/; s/devnum=.*/devnum=%u/; "
        "s/DEVNUM=.*/DEVNUM=%03u/; s|usb/001/.*|usb/001/%03u|; s/MINOR=.*/MINOR=%u/' @/bootloader",
        number + 1, number + 1, number + 1, number);
    cr_assert_eq(o.code, 0, "%s", o.err);
    free(application);
}

static struct outcome on_both(struct session *s, const char *command)
{
    return run(s,
        "env CABOOSE_CONTROL=%s CABOOSE_USBIP=%s umockdev-run -d @/application -d @/bootloader -- "
        "sh -c 'LD_PRELOAD=$PWD/build/lib/caboose-usbfs.so:$LD_PRELOAD exec %s'",
        s->control, s->usbip, command);
}

/* What was said by `command`, which flashed this version with both faces of the board there; it runs now. */
static struct outcome updates_to(
    struct session *s, const char *bootloader, unsigned version, const char *command)
{
    char says[32];
    snprintf(says, sizeof says, "runtime %u: configured", version);
    show_both(s, bootloader);
    session_forget(s);
    struct outcome o = on_both(s, command);
    cr_expect_eq(o.code, 0, "%s: %s%s", command, o.out, o.err);
    session_sleep(s, "500ms");
    expect_says(s, says, command);
    return o;
}

Test(runtime, dfu_util_updates_the_application_that_runs)
{
    static const char *const programs[] = {"dfu-util", "build/bin/caboose dfu-util"};
    struct session *s = session_new("");
    char *bootloader = sysfs_of(s), *number = listed(s, "serial=\""), by_number[64];
    snprintf(by_number, sizeof by_number, "-S %s", number);
    const char *const choices[] = {"", "-d 1209:0002,0483:df11", by_number};
    flash(s, RUNTIME);
    for (unsigned i = 0; i < 6; i++) {
        char command[256];
        snprintf(command, sizeof command, "%s %s " LEAVE " -D %s", programs[i % 2], choices[i / 2],
            i % 2 ? RUNTIME : NEWER);
        struct outcome o = updates_to(s, bootloader, i % 2 ? 1 : 2, command);
        cr_expect(strstr(o.out, "Device really in Run-Time Mode"), "%s", o.out);
    }
}

Test(runtime, caboose_updates_the_application_that_runs)
{
    struct session *s = session_new("");
    char *bootloader = sysfs_of(s), *number = listed(s, "serial=\""), by_number[64];
    snprintf(by_number, sizeof by_number, "--device %s", number);
    const char *const choices[] = {by_number, "--device 1209:0002"};
    flash(s, RUNTIME);
    for (unsigned i = 0; i < 2; i++) {
        char command[256];
        snprintf(command, sizeof command, "build/bin/caboose flash %s %s", choices[i],
            i % 2 ? RUNTIME : NEWER);
        struct outcome o = updates_to(s, bootloader, i % 2 ? 1 : 2, command);
        cr_expect(strstr(o.err, "asked the program on the board to give way"), "%s", o.err);
    }
}

/* Here nobody's sleep passes in the board's time, which is let pass from beside, from so many seconds on. */
static struct outcome over_usbip(struct session *s, const char *seconds, const char *command)
{
    return run(s,
        "sh -c '(sleep %s; for i in 1 2 3 4 5 6 7 8; do sleep 0.1; build/bin/caboose-sim-ctl %s "
        "sleep 300ms; done) >/dev/null 2>&1 & build/bin/caboose %s --usbip %s'",
        seconds, s->control, command, s->usbip);
}

Test(runtime, caboose_updates_it_over_usbip_too_and_reads_and_verifies_it)
{
    static const char *const commands[] = {
        "flash " NEWER, "verify --at 0x08000000 " NEWER, "read @/read"};
    struct session *s = running();
    for (unsigned i = 0; i < 3; i++) {
        struct outcome o = over_usbip(s, "0", commands[i]);
        cr_expect_eq(o.code, 0, "%s: %s%s", commands[i], o.out, o.err);
        session_sleep(s, "500ms");
        cr_expect_eq(session_in_dfu(s), i > 0, "%s", commands[i]);
        expect_says(s, i ? "runtime 2: detach" : "runtime 2: configured", commands[i]);
        if (i > 0)
            on_board(s, "dfu-util -a 0 -s :leave");
        session_sleep(s, "500ms");
        session_forget(s);
    }
}

/* It is seen where it was, still running, before it is gone. */
Test(runtime, caboose_waits_for_an_application_that_takes_its_time_to_give_way)
{
    struct session *s = running();
    struct outcome o = over_usbip(s, "1", "flash " NEWER);
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    session_sleep(s, "500ms");
    expect_says(s, "runtime 2: configured", "updated");
}

Test(runtime, who_only_looks_leaves_the_application_running)
{
    static const char *const commands[] = {"info", "leave", "flash --dry-run " NEWER, "list"};
    struct session *s = running();
    for (unsigned i = 0; i < 4; i++) {
        struct outcome o = on_board(s, "build/bin/caboose %s", commands[i]);
        cr_expect_eq(o.code == 0, i == 3, "%s", commands[i]);
        cr_expect(i == 3 || strstr(o.err, "runs its application"), "%s: %s", commands[i], o.err);
        session_sleep(s, "500ms");
        cr_expect_str_eq(session_ids(s), "1209:0002", "%s", commands[i]);
        cr_expect_str_eq(session_text(s), "", "%s", commands[i]);
    }
}

Test(runtime, a_bootloader_that_does_not_come_is_told)
{
    struct session *s = running(); /* caboose-with-board shows what was there at the start */
    struct outcome o = on_board(s, "build/bin/caboose flash " NEWER);
    cr_expect_eq(o.code, 69, "%s", o.err);
    cr_expect(strstr(o.err, "after 5 s there is none; start it by hand"), "%s", o.err);
}

/* --- the header ----------------------------------------------------------------------------------- */

static void order(struct session *s, const char *word)
{
    session_forget(s);
    session_say(s, "uart 1 send %s", word);
    session_sleep(s, "500ms");
}

enum { POWER = 0x0C000000, SOFTWARE = 0x14000000 }; /* RM0008 §7.3.10, with PINRSTF, as always */

/* The last 12 bytes of the image (boot/link.ld) are its version. */
static void expect_runs(struct session *s, unsigned cause, const char *when)
{
    char says[64];
    size_t size;
    uint8_t *image = file_read("build/firmware/bluepill-tail.bin", &size);
    snprintf(says, sizeof says, "asks: cause %08x, on %.12s\n", cause, image + size - 12);
    free(image);
    cr_expect(!session_in_dfu(s), "%s", when);
    expect_says(s, says, when);
}

Test(header, each_way_into_the_bootloader_is_for_once)
{
    static const char *const ways[] = {"backup", "ram"};
    struct session *s = session_new("");
    flash(s, ASKS);
    expect_runs(s, SOFTWARE, "left");
    for (unsigned i = 0; i < 4; i++) {
        order(s, ways[i % 2]);
        cr_expect(session_in_dfu(s), "%s", ways[i % 2]);
        cr_expect_str_eq(session_text(s), "");
        struct outcome o = on_board(s, "dfu-util -a 0 -s :leave");
        cr_expect_eq(o.code, 0, "%s", o.err);
        session_sleep(s, "500ms");
        expect_runs(s, SOFTWARE, ways[i % 2]);
        order(s, "crash");
        expect_runs(s, SOFTWARE, "the next reset");
    }
    session_power_cycle(s);
    expect_runs(s, POWER, "power cycle");
}

/* Wherever the end of flash is, with pages of 1 and 2 KB. */
Test(header, finds_the_bootloader_on_every_part)
{
    static const char *const boards[] = {
        "--board stm32f103c6 --load build/firmware/bluepill-tail.bin",
        "--board stm32f103cb --load build/firmware/bluepill-full-tail.bin",
        "--board stm32f103rc --load build/firmware/bluepill-tail.bin",
        "--board stm32f103re --hse 12000000 --load build/firmware/f103-12mhz-tail.bin"};
    for (unsigned i = 0; i < sizeof boards / sizeof boards[0]; i++) {
        struct session *s = session_bare(boards[i]);
        session_say(s, "wait-device 3s");
        flash(s, ASKS);
        expect_runs(s, SOFTWARE, boards[i]);
        order(s, "ram");
        cr_expect(session_in_dfu(s), "%s", boards[i]);
        session_end(s);
    }
}

Test(header, does_no_harm_without_a_bootloader)
{
    struct session *s = session_bare("--load " ASKS);
    session_sleep(s, "100ms");
    expect_says(s, "asks: cause 0c000000, on its own\n", "power-up");
    static const char *const ways[] = {"backup", "ram", "crash"};
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        order(s, ways[i]);
        /* Nobody has cleared the flag of the power-up. */
        expect_says(s, "asks: cause 1c000000, on its own\n", ways[i]);
    }
    order(s, "healthy");
    expect_says(s, "healthy\n", "healthy");
}

/* boot/boards/f103-16mhz.mk: five resets in a row. */
Test(header, an_application_that_is_healthy_may_be_reset_for_ever)
{
    struct session *s = session_bare("--hse 16000000 --load build/firmware/f103-16mhz-tail.bin");
    session_say(s, "wait-device 3s");
    flash(s, ASKS);
    for (unsigned i = 0; i < 12; i++) {
        expect_runs(s, SOFTWARE, "healthy");
        order(s, "healthy");
        order(s, "crash");
    }
    for (unsigned i = 0; i < 4; i++) {
        expect_runs(s, SOFTWARE, "not too often");
        order(s, "crash");
    }
    expect_runs(s, SOFTWARE, "the fifth");
    order(s, "crash");
    cr_expect(session_in_dfu(s), "the sixth");
}
