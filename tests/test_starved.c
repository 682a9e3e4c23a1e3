/* SPDX-License-Identifier: MIT */
/* The command caboose on a computer whose memory is full: every verb, each of its allocations failing once,
 * those of the libraries included. */
#include "session.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

TestSuite(starved, .fini = session_end_all, .timeout = 120);

#define BLINKY "build/examples/blinky.elf"

/* The n-th allocation fails; false if there is none. Whatever it was for, the command does what it does
 * otherwise, or says that memory is short. */
static bool starve(struct session *s, const char *command, unsigned n, const struct outcome *fed)
{
    char told[64];
    snprintf(told, sizeof told, "%s/told", s->dir);
    unlink(told);
    struct outcome o = run(s,
        "env STARVE_AT=%u STARVE_TOLD=%s LD_PRELOAD=build/tests/preload/starve.so "
        "build/bin/caboose %s",
        n, told, command);
    bool says = strstr(o.err, "memory") || strstr(o.out, "memory");
    bool good = o.code == EX_OSERR ? says : o.code == fed->code && !strcmp(o.out, fed->out);
    bool reached = access(told, F_OK) == 0;
    cr_expect(
        good, "%s, allocation %u of it: exit code %d\n%s%s", command, n, o.code, o.out, o.err);
    return reached;
}

/* How many allocations there are. */
static unsigned starve_all(struct session *s, const char *command)
{
    unsigned n = 1;
    struct outcome fed = run(s, "build/bin/caboose %s", command);
    cr_assert(fed.code == 0 || fed.code == EX_UNAVAILABLE, "%s: %s", command, fed.err);
    while (starve(s, command, n, &fed))
        n++;
    return n - 1;
}

Test(starved, a_lack_of_memory_is_told_by_every_verb_for_files)
{
    static const char *const commands[] = {"inspect " BLINKY, "inspect --json " BLINKY,
        "inspect @/a.hex", "inspect @/a.dfu", "inspect @/a.s19", "inspect @/a.uf2",
        "inspect @/a.bin", "pack @/b.hex @/a.dfu", "pack @/b.dfu @/a.hex", "pack @/b.uf2 @/a.s19",
        "pack --json @/b.s19 @/a.uf2", "pack --at 0x08000000 @/b.bin @/a.bin",
        "unpack --force -o @/c @/a.dfu", "unpack --json --force -o @/c @/a.hex", "completion bash",
        "udev", "help"};
    struct session *s = session_bare("--load " BLINKY);
    unsigned all = 0;
    run(s, "sh -c 'for kind in hex dfu s19 uf2 bin; do build/bin/caboose pack -q @/a.$kind " BLINKY
           "; done'");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        all += starve_all(s, commands[i]);
    printf("%u allocations, each failed once\n", all);
    cr_expect(all > 200, "%u", all);
}

Test(starved, a_lack_of_memory_is_told_by_every_verb_for_boards_and_changes_none)
{
    static const char *const commands[] = {"list", "list --json", "info", "info --json",
        "flash --dry-run " BLINKY, "flash --no-leave --json " BLINKY,
        "flash --all --no-leave " BLINKY, "verify " BLINKY, "read --size 4K @/d", "erase --dry-run",
        "leave --dry-run", "unprotect --dry-run"};
    struct session *s = session_new("");
    unsigned all = 0;
    run(s, "build/bin/caboose flash -q --no-leave --usbip %s " BLINKY, s->usbip);
    uint64_t operations = session_count(s, "flash_operations");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char command[128];
        snprintf(command, sizeof command, "%s --usbip %s", commands[i], s->usbip);
        all += starve_all(s, command);
    }
    printf("%u allocations, each failed once\n", all);
    cr_expect(all > 300, "%u", all);
    cr_expect_eq(session_count(s, "flash_operations"), operations);
}
