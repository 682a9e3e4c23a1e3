/* SPDX-License-Identifier: MIT */
/* Debian's dfu-util on Debian's libusb, both as they are, against the simulated board: what somebody
 * who has never heard of us types. Ordinary firmware, linked for 0x08000000, that knows nothing of a
 * bootloader (examples/). */
#include "session.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(dfu_util, .fini = session_end_all, .timeout = 120);

struct example {
    const char *name;
    const char *banner, *banner2; /* when all of it works, in under a second */
};
static const struct example blinky = {
    "blinky", "blinky 1: hello from 0x08000000", "blinky 2: hello from 0x08000000"};
static const struct example vectors = {
    "vectors", "vectors 1: reserved vectors intact", "vectors 2: reserved vectors intact"};
static const struct example usbdev = {"usbdev", "usbdev 1: configured", "usbdev 2: configured"};
static const struct example large = {
    "large", "large 1: 20480 bytes, crc ok", "large 2: 20480 bytes, crc ok"};
static const struct example hsi = {"hsi", "hsi 1: interrupts work", "hsi 2: interrupts work"};

#define AT "0x08000000"

static const char *file_of(const struct example *e, const char *version)
{
    static char path[64];
    snprintf(path, sizeof path, "build/examples/%s%s.bin", e->name, version);
    return path;
}

/* --- what is in flash --------------------------------------------------------------------------- */

/* As the chip has it: all but the reset vector, which is ours. */
static bool flash_holds(struct session *s, const char *path)
{
    size_t size;
    uint8_t *file = file_read(path, &size);
    const uint8_t *flash = session_flash(s, 0);
    bool same = !memcmp(file, flash, 4) && !memcmp(file + 8, flash + 8, size - 8);
    free(file);
    return same;
}

/* As dfu-util reads it, which is as it was written. */
static void expect_reads_back(struct session *s, const char *path)
{
    size_t size, read;
    uint8_t *file = file_read(path, &size), *back;
    char to[64];
    snprintf(to, sizeof to, "%s/back", s->dir);
    remove(to);
    struct outcome o = on_board(s, "dfu-util -a 0 -s " AT ":%zu -U %s", size, to);
    cr_assert_eq(o.code, 0, "%s", o.err);
    back = file_read(to, &read);
    cr_expect(read == size && !memcmp(file, back, size), "%s is not read back", path);
    free(back);
    free(file);
}

static void expect_runs(struct session *s, const char *banner, const char *when)
{
    session_sleep(s, "900ms");
    cr_expect(session_heard(s, banner), "%s: instead of '%s' the firmware says: %s", when, banner,
        session_text(s));
    session_forget(s);
}

/* --- the board is there ------------------------------------------------------------------------- */

Test(dfu_util, lists_the_board_and_its_memory)
{
    struct session *s = session_new("");
    struct outcome o = on_board(s, "dfu-util -l");
    cr_expect_eq(o.code, 0);
    const char *found = strstr(o.out, "Found DFU: ");
    cr_assert(found, "%s%s", o.out, o.err);
    cr_expect(strstr(found, "Found DFU: [0483:df11] ver=0100, devnum="), "%s", found);
    cr_expect(strstr(found, ", cfg=1, intf=0, path=\"1-1\", alt=0, name=\"@Internal Flash  "
                            "/0x08000000/059*001Kg,005*001Ka\", serial=\""),
        "%s", found);
    const char *serial = strstr(found, "serial=\"");
    cr_expect(
        serial && strspn(serial + 8, "0123456789ABCDEF") == 24 && serial[32] == '"', "%s", found);
    cr_expect_null(strstr(found + 1, "Found DFU: "), "there are two");
}

Test(dfu_util, lists_123_pages_of_the_128_kb_part)
{
    struct session *s = session_new("--board stm32f103cb");
    struct outcome o = on_board(s, "dfu-util -l");
    cr_expect(
        strstr(o.out, "name=\"@Internal Flash  /0x08000000/123*001Kg,005*001Ka\""), "%s", o.out);
}

/* --- each example: flashed, started, read back, flashed again ----------------------------------- */

static const struct way {
    const char *name, *options;
    bool then_power_cycle;
} ways[] = {
    {"leave",        "-s " AT ":leave",    false},
    {"-R",           "-s " AT " -R",       false},
    {"leave and -R", "-s " AT ":leave -R", false},
    {"power cycle",  "-s " AT,             true },
};

static void flash_and_run(struct session *s, const struct way *w, const struct example *e)
{
    struct outcome o = on_board(s, "dfu-util -a 0 %s -D %s", w->options, file_of(e, ""));
    cr_expect_eq(o.code, 0, "%s, %s: exit code %d\n%s", e->name, w->name, o.code, o.err);
    cr_expect(strstr(o.out, "File downloaded successfully"), "%s", o.out);
    if (w->then_power_cycle) {
        session_sleep(s, "1s");
        cr_expect_str_eq(session_text(s), "", "it starts without having been told to");
        cr_expect(session_in_dfu(s));
        session_power_cycle(s);
    }
    expect_runs(s, e->banner, w->name);
}

static void works(const struct example *e)
{
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct session *s = session_new("");
        flash_and_run(s, &ways[i], e);

        session_press_reset(s);
        cr_assert(session_in_dfu(s), "the reset button does not lead to DFU");
        expect_reads_back(s, file_of(e, ""));
        session_forget(s);
        session_power_cycle(s);
        expect_runs(s, e->banner, "power cycle after the bootloader");
        session_power_cycle(s);
        expect_runs(s, e->banner, "another power cycle");

        session_press_reset(s);
        session_forget(s);
        struct outcome o = on_board(s, "dfu-util -a 0 %s -D %s", ways[i].options, file_of(e, "-2"));
        cr_expect_eq(o.code, 0, "%s", o.err);
        if (ways[i].then_power_cycle)
            session_power_cycle(s);
        expect_runs(s, e->banner2, "the second version");
        cr_expect(flash_holds(s, file_of(e, "-2")));
        session_press_reset(s);
        expect_reads_back(s, file_of(e, "-2"));
        cr_expect_eq(session_end(s), 0);
    }
}

Test(dfu_util, flashes_blinky_and_it_runs_after_leave_or_reset_or_power_cycle)
{
    works(&blinky);
}

Test(dfu_util, flashes_all_reserved_vectors_and_they_arrive)
{
    works(&vectors);
}

Test(dfu_util, flashes_a_usb_device_and_it_runs)
{
    works(&usbdev);
}

Test(dfu_util, flashes_52_kb_and_it_runs)
{
    works(&large);
}

Test(dfu_util, flashes_firmware_without_a_crystal_and_it_runs)
{
    works(&hsi);
}

Test(dfu_util, blinky_blinks_after_each_way_to_start_it)
{
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct session *s = session_new("");
        flash_and_run(s, &ways[i], &blinky);
        unsigned toggles = session_toggles(s, "PC13", 1000);
        cr_expect(toggles >= 9 && toggles <= 11, "%s: PC13 toggles %u times in a second",
            ways[i].name, toggles);
        session_end(s);
    }
}

Test(dfu_util, a_usb_device_enumerates_as_itself_after_each_way_to_start_it)
{
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct session *s = session_new("");
        flash_and_run(s, &ways[i], &usbdev);
        cr_expect_str_eq(session_ids(s), "1209:0001", "%s: '%s'", ways[i].name, session_ids(s));
        session_press_reset(s);
        cr_expect(session_in_dfu(s));
        session_power_cycle(s);
        cr_expect_str_eq(session_ids(s), "1209:0001");
        session_end(s);
    }
}

Test(dfu_util, without_a_firmware_that_is_complete_there_is_no_leaving)
{
    struct session *s = session_new("");
    on_board(s, "dfu-util -a 0 -s :leave");
    session_sleep(s, "1s");
    cr_expect(session_in_dfu(s));
}

/* --- what else it can ----------------------------------------------------------------------------- */

static struct session *with(const struct example *e)
{
    struct session *s = session_new("");
    struct outcome o = on_board(s, "dfu-util -a 0 -s " AT ":leave -D %s", file_of(e, ""));
    cr_assert_eq(o.code, 0, "%s", o.err);
    session_sleep(s, "500ms");
    session_press_reset(s);
    cr_assert(session_in_dfu(s));
    session_forget(s);
    return s;
}

Test(dfu_util, same_image_again_changes_nothing_but_its_record)
{
    enum { ROOM = 59 * 1024, RECORD = 10 }; /* test_update.c */
    struct session *s = with(&large);
    const uint8_t *before = session_flash(s, 1);
    uint64_t halfwords = session_count(s, "halfwords"), erases = session_count(s, "page_erases");
    struct outcome o = on_board(s, "dfu-util -a 0 -s " AT ":leave -D %s", file_of(&large, ""));
    cr_expect_eq(o.code, 0, "%s", o.err);
    expect_runs(s, large.banner, "again");
    cr_expect_leq(session_count(s, "halfwords") - halfwords, RECORD);
    cr_expect_eq(session_count(s, "page_erases") - erases, 0);
    cr_expect_arr_eq(before, session_flash(s, 0), ROOM);
}

Test(dfu_util, uploads_to_the_end_of_the_firmwares_memory_without_a_length)
{
    struct session *s = with(&blinky);
    size_t size, n;
    uint8_t *file = file_read(file_of(&blinky, ""), &n), *back;
    char to[64];
    snprintf(to, sizeof to, "%s/all", s->dir);
    struct outcome o = on_board(s, "dfu-util -a 0 -s " AT " -U %s", to);
    cr_expect_eq(o.code, 0, "%s", o.err);
    back = file_read(to, &size);
    cr_assert_eq(size, 59U * 1024U);
    cr_expect_arr_eq(file, back, n);
    for (size_t i = 4096; i < size; i++) /* below: what is left of the installer */
        cr_assert(back[i] == 0xFF, "0x%zx is %02x", i, back[i]);
    o = on_board(s, "dfu-util -a 0 -s 0x08000100:0x123 -U @/part");
    cr_expect_eq(o.code, 0, "%s", o.err);
    snprintf(to, sizeof to, "%s/part", s->dir);
    back = file_read(to, &size);
    cr_assert_eq(size, (size_t)0x123);
    cr_expect_arr_eq(file + 0x100, back, 0x123);
}

Test(dfu_util, reads_the_bootloader_too)
{
    struct session *s = session_new("");
    size_t size;
    char to[64];
    snprintf(to, sizeof to, "%s/boot", s->dir);
    struct outcome o = on_board(s, "dfu-util -a 0 -s 0x0800ec00:5120 -U %s", to);
    cr_assert_eq(o.code, 0, "%s", o.err);
    uint8_t *back = file_read(to, &size);
    cr_assert_eq(size, (size_t)5120);
    cr_expect_arr_eq(back, session_flash(s, 0) + 0xEC00, 5120);
}

static void expect_blank(struct session *s)
{
    const uint8_t *flash = session_flash(s, 0);
    for (size_t i = 0; i < 59 * 1024; i++)
        cr_assert(flash[i] == 0xFF || (i >= 4 && i < 8), "0x%zx is %02x", i, flash[i]);
}

Test(dfu_util, mass_erase_leaves_the_bootloader_alone)
{
    struct session *s = with(&large);
    uint8_t before[4096];
    memcpy(before, session_flash(s, 0) + 0xF000, sizeof before);
    struct outcome o = on_board(s, "dfu-util -a 0 -s " AT ":mass-erase:force");
    cr_expect_eq(o.code, 0, "%s", o.err);
    session_sleep(s, "4s");
    expect_blank(s);
    cr_expect_arr_eq(before, session_flash(s, 0) + 0xF000, sizeof before);
    session_power_cycle(s);
    cr_expect(session_in_dfu(s));
    cr_expect_str_eq(session_text(s), "", "what was erased runs");
}

Test(dfu_util, mass_erase_before_a_download)
{
    struct session *s = with(&large);
    struct outcome o =
        on_board(s, "dfu-util -a 0 -s " AT ":mass-erase:force:leave -D %s", file_of(&hsi, ""));
    cr_expect_eq(o.code, 0, "%s", o.err);
    expect_runs(s, hsi.banner, "after a mass erase");
    cr_expect(flash_holds(s, file_of(&hsi, "")));
    const uint8_t *flash = session_flash(s, 0);
    for (size_t i = 1024; i < 59 * 1024; i++)
        cr_assert(flash[i] == 0xFF, "0x%zx is left of the old firmware", i);
    session_press_reset(s);
    o = on_board(s, "dfu-util -a 0 -s " AT ":mass-erase:force -D %s", file_of(&blinky, ""));
    cr_expect_eq(o.code, 0, "%s", o.err);
    session_power_cycle(s);
    expect_runs(s, blinky.banner, "after a mass erase and a power cycle");
}

Test(dfu_util, detach_starts_the_firmware)
{
    struct session *s = with(&blinky);
    struct outcome o = on_board(s, "dfu-util -e");
    cr_expect_eq(o.code, 0, "%s", o.err);
    expect_runs(s, blinky.banner, "-e");
}

Test(dfu_util, leave_alone_starts_the_firmware)
{
    static const char *const leaves[] = {":leave", AT ":leave", "0x08001234:leave"};
    struct session *s = with(&blinky);
    for (unsigned i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        struct outcome o = on_board(s, "dfu-util -a 0 -s %s", leaves[i]);
        cr_expect_eq(o.code, 0, "%s", o.err);
        expect_runs(s, blinky.banner, leaves[i]);
        session_press_reset(s);
        session_forget(s);
    }
}

Test(dfu_util, flashes_a_dfu_file_with_and_without_leave)
{
    static const char *const options[] = {"", "-s :leave", "-R"};
    for (unsigned i = 0; i < sizeof options / sizeof options[0]; i++) {
        struct session *s = session_new("");
        struct outcome o =
            run(s, "build/bin/caboose pack -q @/v.dfu --address " AT " %s", file_of(&vectors, ""));
        cr_assert_eq(o.code, 0, "%s", o.err);
        o = on_board(s, "dfu-util -a 0 %s -D @/v.dfu", options[i]);
        cr_expect_eq(o.code, 0, "%s: %s", options[i], o.err);
        if (!*options[i])
            session_power_cycle(s);
        expect_runs(s, vectors.banner, "a .dfu file");
        session_press_reset(s);
        expect_reads_back(s, file_of(&vectors, ""));
        session_end(s);
    }
}

Test(dfu_util, refuses_what_reaches_into_the_bootloader)
{
    struct session *s = with(&blinky);
    const uint8_t *before = session_flash(s, 1);
    static const char *const places[] = {"0x0800e800", "0x0800ec00", "0x0800f000", "0x0800fc00",
        "0x08010000", "0x20000000", "0x1ffff800"};
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct outcome o =
            on_board(s, "dfu-util -a 0 -s %s:force -D %s", places[i], file_of(&blinky, ""));
        cr_expect_neq(o.code, 0, "%s", places[i]);
        session_power_cycle(s);
        session_press_reset(s);
    }
    /* The part of the first that fits may be written; the bootloader, journal and page 0 may not. */
    cr_expect_arr_eq(before, session_flash(s, 0), 58 * 1024);
    cr_expect_arr_eq(before + 60 * 1024, session_flash(s, 0) + 60 * 1024, 4096);
}

/* --- stopped half-way ----------------------------------------------------------------------------- */

enum fate { IN_DFU, RUNS_OLD, RUNS_NEW, DEAD };
static const char *const fates[] = {"in DFU", "runs the old", "runs the new", "DEAD or torn"};
enum { POINTS = 20 };

static enum fate fate_of(struct session *s, const struct example *old, const struct example *new)
{
    session_say(s, "plug");
    session_forget(s);
    session_power_cycle(s);
    session_sleep(s, "500ms");
    if (session_in_dfu(s))
        return *session_text(s) ? DEAD : IN_DFU;
    if (session_heard(s, old->banner) && flash_holds(s, file_of(old, "")))
        return RUNS_OLD;
    if (session_heard(s, new->banner) && flash_holds(s, file_of(new, "")))
        return RUNS_NEW;
    return DEAD;
}

/* The next download works, and brings the old firmware back for the next point. */
static void put_back(struct session *s, const struct example *old, unsigned point)
{
    session_press_reset(s);
    struct outcome o =
        on_board(s, "dfu-util -a 0 -s " AT ":mass-erase:force:leave -D %s", file_of(old, ""));
    cr_assert_eq(o.code, 0, "point %u: no download afterwards: %s", point, o.err);
    session_sleep(s, "500ms");
    session_forget(s);
    session_power_cycle(s);
    session_sleep(s, "500ms");
    cr_assert(session_heard(s, old->banner), "point %u: the next download does not run", point);
    session_press_reset(s);
}

static void check_fate(
    enum fate fate, unsigned point, bool finished, unsigned count[DEAD + 1], const char *how)
{
    count[fate]++;
    bool good = fate == IN_DFU || fate == RUNS_OLD || (fate == RUNS_NEW && finished);
    cr_expect(good, "%s, point %u: %s", how, point, fates[fate]);
}

static void tell(const char *how, const unsigned count[DEAD + 1])
{
    printf("%s: %u times in DFU, %u times the old firmware, %u times the new one\n", how,
        count[IN_DFU], count[RUNS_OLD], count[RUNS_NEW]);
}

/* dfu-util dies at the n-th byte of its output, by SIGXFSZ: it shows each page that it erases and
 * each block that it writes as soon as it has done so. */
static struct outcome killed_at(struct session *s, const char *file, size_t n)
{
    return on_board(s, "prlimit --fsize=%zu --core=0 dfu-util -a 0 -s " AT ":leave -D %s", n, file);
}

/* What is run on its heels, with the board still as it was left. */
static const char *const heels[] = {"", "dfu-util -l", "dfu-util -a 0 -s " AT ":256 -U @/heel",
    "dfu-util -a 0 -s :leave", "dfu-util -e", "dfu-util -a 0 -s " AT " -R -U @/heel"};

static void is_killed(const struct example *old, const struct example *new)
{
    struct session *s = with(old);
    unsigned count[DEAD + 1] = {0};
    struct outcome whole = killed_at(s, file_of(new, ""), 1000000);
    cr_assert_eq(whole.code, 0, "%s", whole.err);
    size_t end = strlen(whole.out);
    size_t first = (size_t)(strstr(whole.out, "Erase") - whole.out);
    session_sleep(s, "1s");
    put_back(s, old, 0);
    for (unsigned point = 0; point < POINTS; point++) {
        size_t n = first + (end - first) * point / POINTS;
        struct outcome o = killed_at(s, file_of(new, ""), n);
        cr_assert(o.code != 0 && o.code != 124, "point %u: not killed, %d", point, o.code);
        cr_assert_eq(strlen(o.out), n);
        const char *heel = heels[point % (sizeof heels / sizeof heels[0])];
        if (*heel) {
            on_board(s, "rm -f @/heel");
            on_board(s, "%s", heel);
        }
        bool finished = strstr(o.out, "Download done.") != NULL; /* all but ABORT */
        check_fate(fate_of(s, old, new), point, finished, count, "killed");
        put_back(s, old, point);
    }
    cr_expect_eq(count[IN_DFU] > 0 && count[RUNS_OLD] > 0, true, "the points are badly chosen");
    tell("dfu-util killed", count);
}

Test(dfu_util, killed_at_20_points_leaves_the_old_firmware_or_dfu)
{
    is_killed(&blinky, &large);
}

Test(dfu_util, killed_with_another_on_its_heels_never_leaves_a_torn_firmware)
{
    is_killed(&vectors, &usbdev);
}

Test(dfu_util, cable_pulled_at_20_points_leaves_the_old_firmware_or_dfu)
{
    struct session *s = with(&usbdev);
    unsigned count[DEAD + 1] = {0};
    uint64_t before = session_count(s, "usb_transactions");
    struct outcome o = on_board(s, "dfu-util -a 0 -s " AT " -D %s", file_of(&vectors, ""));
    cr_assert_eq(o.code, 0, "%s", o.err);
    unsigned whole = (unsigned)(session_count(s, "usb_transactions") - before);
    put_back(s, &usbdev, 0);
    for (unsigned point = 0; point < POINTS; point++) {
        session_say(s, "fault %u unplug", 1 + (whole - 2) * point / (POINTS - 1));
        o = on_board(s, "dfu-util -a 0 -s " AT " -D %s", file_of(&vectors, ""));
        cr_expect_neq(o.code, 124, "point %u: it does not end", point);
        bool finished = strstr(o.out, "Download done.") != NULL;
        check_fate(fate_of(s, &usbdev, &vectors), point, finished, count, "cable pulled");
        put_back(s, &usbdev, point);
    }
    tell("cable pulled", count);
}

Test(dfu_util, power_cut_at_20_points_leaves_the_old_firmware_or_dfu)
{
    static const char *const torn[] = {"half", "not-begun", "random", "done"};
    struct session *s = with(&blinky);
    unsigned count[DEAD + 1] = {0};
    uint64_t before = session_count(s, "flash_operations");
    struct outcome o = on_board(s, "dfu-util -a 0 -s " AT " -D %s", file_of(&large, ""));
    cr_assert_eq(o.code, 0, "%s", o.err);
    unsigned whole = (unsigned)(session_count(s, "flash_operations") - before);
    put_back(s, &blinky, 0);
    for (unsigned point = 0; point < POINTS; point++) {
        unsigned nth = 1 + (whole - 1) * point / (POINTS - 1);
        session_say(s, "cut %u %s %u", nth, torn[point % 4], point);
        o = on_board(s, "dfu-util -a 0 -s " AT " -D %s", file_of(&large, ""));
        cr_expect_neq(o.code, 124, "point %u: it does not end", point);
        session_say(s, "cut 0");
        check_fate(fate_of(s, &blinky, &large), point, point == POINTS - 1, count, "power cut");
        put_back(s, &blinky, point);
    }
    tell("power cut", count);
}

/* --- the same run twice ------------------------------------------------------------------------- */

Test(dfu_util, same_session_twice_takes_the_same_time_and_the_same_steps)
{
    char *trace[2];
    uint64_t now[2];
    for (unsigned i = 0; i < 2; i++) {
        char path[64];
        struct session *s = session_new("--trace usb,flash --trace-file @/trace");
        on_board(s, "dfu-util -l");
        on_board(s, "dfu-util -a 0 -s " AT ":leave -D %s", file_of(&usbdev, ""));
        session_sleep(s, "500ms");
        session_press_reset(s);
        on_board(s, "dfu-util -a 0 -s " AT " -R -D %s", file_of(&large, ""));
        session_sleep(s, "500ms");
        now[i] = session_now(s);
        session_end(s);
        snprintf(path, sizeof path, "%s/trace", s->dir);
        trace[i] = (char *)file_read(path, NULL);
    }
    cr_expect_eq(
        now[0], now[1], "%llu ns, %llu ns", (unsigned long long)now[0], (unsigned long long)now[1]);
    cr_assert(strlen(trace[0]) > 10000);
    size_t same = 0;
    while (trace[0][same] && trace[0][same] == trace[1][same])
        same++;
    cr_expect(trace[0][same] == trace[1][same],
        "the traces differ at byte %zu:\n%.200s\n---\n%.200s", same, trace[0] + same,
        trace[1] + same);
}
