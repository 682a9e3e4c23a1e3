/* SPDX-License-Identifier: MIT */
/*
 * Debian's dfu-util and caboose in its place, side by side: the same command line, the same scripted
 * device, twice. What the device was sent (every request of the DFU class, SET_INTERFACE and port resets,
 * in order, with their data), what its memory holds then, the exit code, the file that was read and every
 * line of standard output must be the same, but for the differences that are meant. Each of those stands
 * in its row, with the reason, and must really be there. caboose-dfu-util(1) lists them for users.
 */
#include "core/dfu.h"
#include "tests/dfu_actor.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#ifndef OURS
#define OURS "build/bin/caboose dfu-util"
#endif
#define STOCK "dfu-util"

TestSuite(dfu_util_twin, .timeout = 600);

/* --- files, made without any code of caboose ----------------------------------------------------- */

enum { RAW = 2500, ROOM = 65536 };

struct bytes {
    uint8_t data[ROOM];
    size_t size;
};

static void add(struct bytes *b, const void *data, size_t size)
{
    cr_assert(b->size + size <= sizeof b->data);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void add_number(struct bytes *b, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++, value >>= 8)
        add(b, &(uint8_t){(uint8_t)value}, 1);
}

static void add_pattern(struct bytes *b, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        add_number(b, (uint32_t)(i * 7 + i / 251 + seed) & 0xFF, 1);
}

/* DFU 1.1 appendix B. */
static void add_suffix(struct bytes *b, uint16_t vendor, uint16_t product, uint16_t version)
{
    add_number(b, 0xFFFF, 2);
    add_number(b, product, 2);
    add_number(b, vendor, 2);
    add_number(b, version, 2);
    add(b, "UFD\x10", 4);
    add_number(b, ~(uint32_t)crc32(0, b->data, (uInt)b->size), 4);
}

struct element {
    uint32_t addr;
    size_t size;
    unsigned alt;
};

/* ST UM0391: one target for each run of elements of one alternate setting. */
static void make_dfu(struct bytes *b, uint16_t vendor, uint16_t product, const struct element *all,
    unsigned count, bool suffix)
{
    unsigned targets = 0;
    size_t size = 11;
    for (unsigned i = 0; i < count; i++) {
        bool new = i == 0 || all[i].alt != all[i - 1].alt;
        targets += new;
        size += 8 + all[i].size + (new ? 274 : 0);
    }
    b->size = 0;
    add(b, "DfuSe\x01", 6);
    add_number(b, (uint32_t)size, 4);
    add_number(b, targets, 1);
    for (unsigned i = 0, n; i < count; i += n) {
        size_t bytes = 0;
        for (n = 0; i + n < count && all[i + n].alt == all[i].alt; n++)
            bytes += 8 + all[i + n].size;
        static const uint8_t name[255] = "twin";
        add(b, "Target", 6);
        add_number(b, all[i].alt, 1);
        add_number(b, 1, 4);
        add(b, name, sizeof name);
        add_number(b, (uint32_t)bytes, 4);
        add_number(b, n, 4);
        for (unsigned k = i; k < i + n; k++) {
            add_number(b, all[k].addr, 4);
            add_number(b, (uint32_t)all[k].size, 4);
            add_pattern(b, all[k].size, k);
        }
    }
    if (suffix)
        add_suffix(b, vendor, product, DFU_VERSION_DFUSE);
}

/* Intel HEX, 16 bytes a record. */
static void make_hex(struct bytes *b, uint32_t addr, size_t size)
{
    char line[64];
    struct bytes *raw = calloc(1, sizeof *raw);
    cr_assert_not_null(raw);
    add_pattern(raw, size, 0);
    b->size = 0;
    unsigned sum = 2 + 4 + (addr >> 24 & 0xFF) + (addr >> 16 & 0xFF);
    add(b, line, (size_t)sprintf(line, ":02000004%04X%02X\n", addr >> 16, -sum & 0xFF));
    for (size_t at = 0; at < size; at += 16) {
        size_t n = size - at < 16 ? size - at : 16;
        unsigned low = (unsigned)(addr + at) & 0xFFFF;
        sum = (unsigned)n + (low >> 8) + (low & 0xFF);
        add(b, line, (size_t)sprintf(line, ":%02zX%04X00", n, low));
        for (size_t i = at; i < at + n; i++) {
            sum += raw->data[i];
            add(b, line, (size_t)sprintf(line, "%02X", raw->data[i]));
        }
        add(b, line, (size_t)sprintf(line, "%02X\n", -sum & 0xFF));
    }
    add(b, ":00000001FF\n", 12);
    free(raw);
}

static void save(const char *dir, const char *name, const struct bytes *b)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(b->data, 1, b->size, f) == b->size && !fclose(f));
}

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void make_files(const char *dir)
{
    static const struct element one[] = {
        {ACTOR_BASE, RAW, 0}
    };
    static const struct element three[] = {
        {ACTOR_BASE,          1500, 0},
        {ACTOR_BASE + 0x1000, 700,  0},
        {ACTOR_BASE + 0x2100, 100,  0}
    };
    static const struct element mixed[] = {
        {ACTOR_BASE + 0x400, 300, 0},
        {ACTOR_BASE,         300, 0}
    };
    static const struct element touching[] = {
        {ACTOR_BASE,       300, 0},
        {ACTOR_BASE + 300, 300, 0}
    };
    static const struct element both[] = {
        {ACTOR_BASE,    RAW, 0},
        {ACTOR_OPTIONS, 16,  1}
    };
    static const struct element elsewhere[] = {
        {0x20000000, 100, 0}
    };
    static const struct element last_protected[] = {
        {ACTOR_BASE,          100, 0},
        {ACTOR_BASE + 0xC800, 100, 0}
    };
    struct bytes *b = calloc(1, sizeof *b);
    cr_assert_not_null(b);
    add_pattern(b, RAW, 0);
    save(dir, "f.bin", b);
    add_suffix(b, 0x0483, 0xDF11, 0x0110);
    save(dir, "suffix.bin", b);
    b->data[5] ^= 1;
    save(dir, "crc.bin", b);
    b->size = 0, add_pattern(b, RAW, 0), add_suffix(b, 0x1234, 0x5678, 0x0110);
    save(dir, "other.bin", b);
    b->size = 0, add_pattern(b, RAW, 0), add_suffix(b, 0xFFFF, 0xFFFF, 0x0110);
    save(dir, "any.bin", b);
    b->size = 0, add_pattern(b, RAW, 0), add_suffix(b, 0x0483, 0x5740, 0x0110);
    save(dir, "runtime.bin", b);
    b->size = 0;
    save(dir, "empty.bin", b);
    add_pattern(b, 16, 0);
    save(dir, "options.bin", b);
    b->size = 0, add_pattern(b, 50 * 1024, 0);
    save(dir, "full.bin", b);
    add_pattern(b, 1, 0);
    save(dir, "over.bin", b);
    make_dfu(b, 0x0483, 0xDF11, one, COUNT(one), true);
    save(dir, "one.dfu", b);
    b->data[1000] ^= 1;
    save(dir, "crc.dfu", b);
    make_dfu(b, 0x0483, 0xDF11, one, COUNT(one), false);
    save(dir, "nosuffix.dfu", b);
    make_dfu(b, 0x0483, 0xDF11, one, COUNT(one), false);
    b->size -= 200, add_suffix(b, 0x0483, 0xDF11, DFU_VERSION_DFUSE);
    save(dir, "cut.dfu", b);
    make_dfu(b, 0x1234, 0x5678, one, COUNT(one), true);
    save(dir, "other.dfu", b);
    make_dfu(b, 0xFFFF, 0xFFFF, one, COUNT(one), true);
    save(dir, "any.dfu", b);
    make_dfu(b, 0x0483, 0xDF11, three, COUNT(three), true);
    save(dir, "three.dfu", b);
    make_dfu(b, 0x0483, 0xDF11, mixed, COUNT(mixed), true);
    save(dir, "mixed.dfu", b);
    make_dfu(b, 0x0483, 0xDF11, touching, COUNT(touching), true);
    save(dir, "touching.dfu", b);
    make_dfu(b, 0x0483, 0xDF11, both, COUNT(both), true);
    save(dir, "both.dfu", b);
    make_dfu(b, 0x0483, 0xDF11, elsewhere, COUNT(elsewhere), true);
    save(dir, "elsewhere.dfu", b);
    make_dfu(b, 0x0483, 0xDF11, last_protected, COUNT(last_protected), true);
    save(dir, "protected.dfu", b);
    make_hex(b, ACTOR_BASE, RAW);
    save(dir, "f.hex", b);
    free(b);
}

/* --- devices ------------------------------------------------------------------------------------ */

typedef void script_function(struct actor *a);

#define SCRIPT(name, ...)                                                                          \
    static void name(struct actor *a)                                                              \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

SCRIPT(two_memories, a->names[1] = "@Option Bytes  /0x1FFFF800/01*016e"; a->alts = 2;)
SCRIPT(named, a->names[0] = "Main"; a->names[1] = "Second"; a->alts = 2; a->dfu_version = 0x0110;
       a->plain = true; a->plain_size = 100;)
SCRIPT(plain, a->plain = true; a->dfu_version = 0x0110; a->names[0] = "Firmware";
       a->plain_size = 3000; a->busy = 0;
       a->attributes = DFU_CAN_DNLOAD | DFU_CAN_UPLOAD | DFU_MANIFESTATION_TOLERANT;)
SCRIPT(plain_busy, plain(a); a->busy = 2;)
SCRIPT(plain_fails, plain(a); a->fails_at = 1024; a->fails_with = DFU_ERR_PROG;)
SCRIPT(plain_even, plain(a); a->plain_size = 2048;)
SCRIPT(plain_empty, plain(a); a->plain_size = 0;)
SCRIPT(plain_resets, plain(a); a->leave = ACTOR_WAITS_FOR_RESET;)
SCRIPT(plain_goes, plain(a); a->leave = ACTOR_GOES; a->attributes = DFU_CAN_DNLOAD;)
SCRIPT(plain_no_upload, plain(a); a->stalls_upload = true;)
SCRIPT(runtime, a->runtime = true;)
SCRIPT(runtime_reset, a->runtime = true; a->attributes = DFU_CAN_DNLOAD | DFU_CAN_UPLOAD;)
SCRIPT(runtime_dumb, a->runtime = true; a->stalls_status = true;)
SCRIPT(runtime_lost, a->runtime = true; a->never_returns = true;)
SCRIPT(runtime_refuses, a->runtime = true; a->stalls_detach = true;)
SCRIPT(absent, a->absent = true;)
SCRIPT(denied, a->denied = true;)
SCRIPT(late, a->absent_ns = 1000000000;)
SCRIPT(nameless, a->names[0] = ""; a->serial = "";)
SCRIPT(no_functional, a->no_functional = true;)
SCRIPT(short_functional, a->short_functional = true;)
SCRIPT(protocol_0, a->protocol = 0;)
SCRIPT(xfer_0, a->transfer_size = 0;)
SCRIPT(xfer_64, a->transfer_size = 64;)
SCRIPT(xfer_2048, a->transfer_size = 2048;)
SCRIPT(xfer_8192, a->transfer_size = 8192;)
SCRIPT(bad_map, a->names[0] = "nonsense";)
SCRIPT(in_error, a->state = DFU_ERROR; a->status = DFU_ERR_VENDOR;)
SCRIPT(in_dnload, a->state = DFU_DNLOAD_IDLE;)
SCRIPT(in_upload, a->state = DFU_UPLOAD_IDLE;)
SCRIPT(in_app, a->state = DFU_APP_IDLE;)
SCRIPT(in_manifest, a->state = DFU_MANIFEST_WAIT_RESET;)
SCRIPT(error_sticks, in_error(a); a->error_sticks = true;)
SCRIPT(no_select, a->stalls_select = true;)
SCRIPT(slow, a->poll_ms = 700; a->busy = 3;)
SCRIPT(done_at_once, a->busy = 0;)
SCRIPT(never_done, a->busy = ACTOR_NEVER; a->poll_ms = 1000;)
SCRIPT(stuck, a->busy = ACTOR_NEVER; a->poll_ms = 0;)
SCRIPT(stalls_twice, a->stalls_busy = 2;)
SCRIPT(stalls_5, a->stalls_busy = 5;)
SCRIPT(stalls_50, a->stalls_busy = 50;)
SCRIPT(erase_fails, a->fails_at = ACTOR_BASE + 0x400; a->fails_with = DFU_ERR_ERASE;)
SCRIPT(erase_protected, a->fails_at = ACTOR_BASE; a->fails_with = DFU_ERR_VENDOR;)
SCRIPT(write_fails, a->names[0] = "@RAM  /0x08000000/50*001Ke"; a->fails_at = ACTOR_BASE + 0x400;
       a->fails_with = DFU_ERR_PROG;)
SCRIPT(write_stalls, a->stalls_at = true; a->fails_at = ACTOR_BASE + 0x400;)
SCRIPT(no_commands, a->refuses_commands = true;)
SCRIPT(ram, a->names[0] = "@RAM  /0x08000000/50*001Ke";)
SCRIPT(hole, a->names[0] = "@Flash  /0x08000000/01*001Kg,01*001Ka,48*001Kg";)
SCRIPT(large_sectors, a->names[0] = "@Flash  /0x08000000/02*002Kg,10*004Kg";)
SCRIPT(lies_about_erase, a->erase_poll_ms = 100;)
SCRIPT(short_reads, a->short_at = ACTOR_BASE + 0xA00;)
SCRIPT(no_upload, a->stalls_upload = true;)
SCRIPT(no_detach, a->stalls_detach = true;)
SCRIPT(no_abort, a->stalls_abort = true;)
SCRIPT(abort_sticks, a->abort_sticks = true;)
SCRIPT(reset_goes, a->goes_at_reset = true;)
SCRIPT(gone_3, a->gone_after = 3;)
SCRIPT(gone_20, a->gone_after = 20;)
SCRIPT(leave_later, a->leave = ACTOR_GOES_LATER;)
SCRIPT(leave_at_once, a->leave = ACTOR_GOES_AT_ONCE;)
SCRIPT(leave_goes, a->leave = ACTOR_GOES;)
SCRIPT(leave_stalls_status, a->leave = ACTOR_STALLS_STATUS;)
SCRIPT(leave_silent, a->leave = ACTOR_SILENT;)
SCRIPT(leave_stalls, a->leave = ACTOR_STALLS_LEAVE;)
SCRIPT(leave_refuses, a->leave = ACTOR_REFUSES;)
SCRIPT(leave_idle, a->leave = ACTOR_STAYS_IDLE;)
SCRIPT(leave_tolerant, a->leave = ACTOR_STAYS_IDLE; a->attributes |= DFU_MANIFESTATION_TOLERANT;)
SCRIPT(leave_busy, a->leave = ACTOR_STAYS_BUSY;)
SCRIPT(leave_waits, a->leave = ACTOR_WAITS_FOR_RESET;)
SCRIPT(leave_dnload_idle, a->leave = ACTOR_DNLOAD_IDLE;)

/* --- what is meant to be different --------------------------------------------------------------- */

enum differs { CODE = 1, REQUESTS = 2, OUTPUT = 4, MEMORY = 8, UPLOADED = 16 };

/* The reasons, as caboose-dfu-util(1) tells them. */
#define LEFT "a board that obeys a leave request by vanishing has done what it was asked"
#define STAYED                                                                                     \
    "a leave request that was refused or not obeyed is an error, and the wait for it ends"
#define GONE_RESET "a board that is gone at -R, or comes back as another one, is where it was to go"
#define PATIENT                                                                                    \
    "a board too busy to answer GETSTATUS, or done sooner than dfu-util thinks right, is no error"
#define BOUNDED "every wait has an end"
#define EARLY   "what the command line or the file has wrong is said before a device is touched"
#define CHECKED "all of a file is checked against the memory map before anything is erased"
#define DAMAGED "a damaged file is not flashed, and has an exit code of its own (65)"
#define IDS     "a file for another device is refused, with or without -d"
#define START                                                                                      \
    "before :leave the pointer is set to the program's beginning: ROMs start what it points at"
#define WORDS    "the words of -s must be whole, and are not read past their end"
#define MODES    "-D with another mode after it is a mistake that dfu-util makes exit code 0 of"
#define FORMATS  "ELF and Intel HEX files are flashed to where they say, not as raw bytes"
#define ORDER    "elements are sorted and joined, so that none erases another one's page"
#define MEMORIES "one board with several memories is one device; the address says which memory"
#define NOTHING  "a .dfu file of which nothing is for the chosen memory is an error"
#define MAPLESS  "a mere command needs no memory map"
#define CLEANUP  "a failed upload leaves no file: else the next try fails because it exists"
#define WAIT     "--wait takes no argument, as -w"

enum { ANY = -1 };

struct twin {
    const char *name;
    script_function *script; /* NULL: a good DfuSe device */
    const char *arguments;   /* @: the directory with the files */
    int code;                /* dfu-util's exit code; 124: it never ends; ANY: whatever it is */
    unsigned differs;        /* enum differs */
    int ours;                /* our exit code, if CODE */
    const char *why;
};

#define AT    "-s 0x08000000"
#define FLASH AT ":leave -D @/f.bin"
#define READ  AT ":4096 -U @/up"

#define SAME(n, s, a, c)                                                                           \
    {                                                                                              \
        .name = n, .script = s, .arguments = a, .code = c                                          \
    }
#define OTHER(n, s, a, c, d, o, w)                                                                 \
    {                                                                                              \
        n, s, a, c, d, o, w                                                                        \
    }

/* --- running them ------------------------------------------------------------------------------- */

struct result {
    int code;
    char *out, *err;
    struct actor *actor;
    uint8_t *file; /* that was read, or NULL */
    size_t file_size;
};

static struct result run_one(const struct twin *t, const char *program)
{
    struct stage_player player;
    struct result r = {.actor = calloc(1, sizeof *r.actor)};
    char path[64];
    int limit_s = t->code == 124 && !strcmp(program, STOCK) ? 3 : 50;
    cr_assert_not_null(r.actor);
    actor_init(r.actor);
    if (t->script)
        t->script(r.actor);
    actor_player(r.actor, &player);
    struct stage *s = stage_open(&player);
    make_files(s->session.dir);
    struct outcome o =
        on_board(&s->session, "timeout %d sh -c \"%s %s\"", limit_s, program, t->arguments);
    r.code = o.code;
    r.out = strdup(o.out);
    r.err = strdup(o.err);
    snprintf(path, sizeof path, "%s/up", s->session.dir);
    FILE *f = fopen(path, "rb");
    if (f) {
        fclose(f);
        r.file = file_read(path, &r.file_size);
    }
    stage_close(s);
    return r;
}

static void free_result(struct result *r)
{
    free(r->out), free(r->err), free(r->file), free(r->actor);
}

static bool begins(const char *line, const char *with)
{
    return strncmp(line, with, strlen(with)) == 0;
}

/* The lines that one may compare: without dfu-util's imprint, and of a bar what is seen at its end. */
static void comparable(char *to, const char *out)
{
    while (*out) {
        size_t n = strcspn(out, "\n");
        const char *line = out;
        for (const char *p = out; p < out + n; p++)
            line = *p == '\r' ? p + 1 : line;
        if (n > 8 && strncmp(out + n - 8, " failed!", 8) == 0)
            line = out + n - 8; /* a bar that ends in the middle: dfu-util's is wrong there */
        if (line < out + n && !begins(line, "dfu-util 0.11") && !begins(line, "Copyright 20") &&
            !begins(line, "This program is Free") && !begins(line, "Please report bugs to") &&
            !begins(line, "libusb version") && !begins(line, "Target name:"))
            to += sprintf(to, "%.*s\n", (int)(out + n - line), line);
        out += n + (out[n] == '\n');
    }
    *to = '\0';
}

static bool same_output(const struct result *a, const struct result *b)
{
    char *x = malloc(strlen(a->out) + 2), *y = malloc(strlen(b->out) + 2);
    cr_assert(x && y);
    comparable(x, a->out);
    comparable(y, b->out);
    bool same = strcmp(x, y) == 0;
    free(x), free(y);
    return same;
}

static bool same_file(const struct result *a, const struct result *b)
{
    return !a->file == !b->file && a->file_size == b->file_size &&
           (!a->file || memcmp(a->file, b->file, a->file_size) == 0);
}

static unsigned differences(const struct result *stock, const struct result *ours)
{
    const struct actor *a = stock->actor, *b = ours->actor;
    return (stock->code != ours->code ? CODE : 0) | (strcmp(a->log, b->log) ? REQUESTS : 0) |
           (same_output(stock, ours) ? 0 : OUTPUT) |
           (memcmp(a->flash, b->flash, sizeof a->flash) ||
                       memcmp(a->options, b->options, sizeof a->options)
                   ? MEMORY
                   : 0) |
           (same_file(stock, ours) ? 0 : UPLOADED);
}

static void say_differences(char *text, unsigned differs)
{
    static const char *const names[] = {"code ", "requests ", "output ", "memory ", "file "};
    *text = '\0';
    for (unsigned i = 0; i < COUNT(names); i++)
        strcat(text, differs & 1U << i ? names[i] : "");
}

/* What other programs look for on standard error, and that a failure says something there. */
static void check_errors(
    const struct twin *t, const struct result *stock, const struct result *ours)
{
    static const char cannot[] = "Cannot open DFU device 0483:df11 found on devnum ";
    cr_expect(
        !strstr(stock->err, cannot) || strstr(ours->err, cannot), "%s: %s", t->name, ours->err);
    cr_expect(ours->code == 0 || *ours->err, "%s: it fails and says nothing", t->name);
}

static void run_twin(const struct twin *t)
{
    char found[64], meant[64];
    struct result stock = run_one(t, STOCK), ours = run_one(t, OURS);
    unsigned differs = differences(&stock, &ours);
    int code = t->differs & CODE ? t->ours : stock.code;
    say_differences(found, differs);
    say_differences(meant, t->differs);
    cr_expect(!t->differs == !t->why, "%s: a difference needs a reason", t->name);
    cr_expect(t->code == ANY || stock.code == t->code, "%s: dfu-util exits with %d\n%s", t->name,
        stock.code, stock.err);
    cr_expect_eq(ours.code, code, "%s: caboose exits with %d, should be %d\n%s%s", t->name,
        ours.code, code, ours.out, ours.err);
    cr_expect_eq(differs, t->differs,
        "%s: differs in: %s(meant: %s)\n--- dfu-util, %d:\n%.3000s%s--- caboose, %d:\n%.3000s%s"
        "--- dfu-util's requests\n%.2000s--- caboose's requests\n%.2000s",
        t->name, found, meant, stock.code, stock.out, stock.err, ours.code, ours.out, ours.err,
        stock.actor->log, ours.actor->log);
    check_errors(t, &stock, &ours);
    free_result(&stock);
    free_result(&ours);
}

static void run_twins(const struct twin *twins, size_t count)
{
    unsigned different = 0;
    for (size_t i = 0; i < count; i++) {
        run_twin(&twins[i]);
        different += twins[i].differs != 0;
    }
    printf("%zu cases, %u of them different on purpose\n", count, different);
}

// clang-format off

/* --- every option -------------------------------------------------------------------------------- */

static const struct twin options[] = {
    SAME("nothing",              NULL, "", 64),
    SAME("-h",                   NULL, "-h", 0),
    SAME("--help",               NULL, "--help", 0),
    SAME("-V",                   NULL, "-V", 0),
    SAME("--version",            NULL, "--version", 0),
    SAME("an unknown letter",    NULL, "-q", 64),
    SAME("an unknown word",      NULL, "--quiet", 64),
    SAME("a word begun",         NULL, "--lis", 0),
    SAME("an argument",          NULL, FLASH " x", 64),
    SAME("a missing value",      NULL, "-D", 64),
    SAME("-a alone",             NULL, "-a 0", 64),
    SAME("-l",                   NULL, "-l", 0),
    SAME("--list",               NULL, "--list", 0),
    SAME("-l -v",                NULL, "-l -v", 0),
    SAME("-l of two memories",   two_memories, "-l", 0),
    SAME("-l of a runtime",      runtime, "-l", 0),
    SAME("-l of a plain one",    plain, "-l", 0),
    SAME("-l of nothing",        absent, "-l", 0),
    SAME("-l, denied",           denied, "-l", 0),
    SAME("-l, nameless",         nameless, "-l", 0),
    SAME("-l, no functional",    no_functional, "-l", 0),
    SAME("-l, DFU 1.0",          short_functional, "-l", 0),
    SAME("-l, protocol 0",       protocol_0, "-l", 0),
    SAME("-l, unreadable map",   bad_map, "-l", 0),
    SAME("-d, matches",          NULL, "-l -d 0483:df11", 0),
    SAME("--device",             NULL, "-l --device 0483:DF11", 0),
    SAME("-d, 0x",               NULL, "-l -d 0x0483:0xDF11", 0),
    SAME("-d, other",            NULL, "-l -d 1234:5678", 0),
    SAME("-d, other DFU",        NULL, "-l -d ,1234:5678", 0),
    SAME("-d ,DFU",              NULL, "-l -d ,0483:df11", 0),
    SAME("-d both",              NULL, "-l -d 1234:5678,0483:df11", 0),
    SAME("-d list of PlatformIO", NULL, "-l -d 0x0483:0xDF11,0x0483:0xDF11", 0),
    SAME("-d inherits",          NULL, "-l -d 0483:1,:df11", 0),
    SAME("-d inherits nothing",  NULL, "-l -d 1234:df11,:df11", 0),
    SAME("-d ,",                 NULL, "-l -d ,", 0),
    SAME("-d *,-",               NULL, "-l -d '*,-'", 0),
    SAME("-d ,*:-",              NULL, "-l -d ',*:-'", 0),
    SAME("-d vendor",            NULL, "-l -d ,0483", 0),
    SAME("-d :product",          NULL, "-l -d ,:df11", 0),
    SAME("-d nonsense",          NULL, "-l -d ,xyz:uvw", 0),
    SAME("-d runtime",           runtime, "-l -d 0483:5740", 0),
    SAME("-d not runtime",       runtime, "-l -d 1234:5740", 0),
    SAME("-d -,",                runtime, "-l -d '-:-,'", 0),
    SAME("-n",                   NULL, "-l -n 5", 0),
    SAME("-n, other",            NULL, "-l -n 6", 0),
    SAME("--devnum",             NULL, "-l --devnum 5", 0),
    SAME("-p",                   NULL, "-l -p 1-1", 0),
    SAME("-p, other",            NULL, "-l -p 1-1.2", 0),
    SAME("--path",               NULL, "-l --path 1-1", 0),
    SAME("-c",                   NULL, "-l -c 1", 0),
    SAME("-c 0",                 NULL, "-l -c 0", 0),
    SAME("-c, other",            NULL, "-l --cfg 2", 0),
    SAME("--configuration",      NULL, "-l --configuration 1", 0),
    SAME("-i",                   NULL, "-l -i 0", 0),
    SAME("-i, other",            NULL, "-l --intf 1", 0),
    SAME("--interface",          NULL, "-l --interface 0", 0),
    SAME("-i nonsense",          NULL, "-l -i x", 64),
    SAME("-S",                   NULL, "-l -S 00A1B2C3", 0),
    SAME("-S, other",            NULL, "-l -S 00A1B2C4", 0),
    SAME("-S ,DFU",              NULL, "-l -S x,00A1B2C3", 0),
    SAME("-S runtime,",          NULL, "-l -S x,", 0),
    SAME("--serial",             NULL, "-l --serial 00A1B2C3", 0),
    SAME("-S of a runtime",      runtime, "-l -S 00A1B2C3,x", 0),
    SAME("-a 0",                 two_memories, "-l -a 0", 0),
    SAME("-a 1",                 two_memories, "-l -a 1", 0),
    SAME("-a 0x1",               two_memories, "-l --alt 0x1", 0),
    SAME("-a 2",                 two_memories, "-l --altsetting 2", 0),
    SAME("-a name",              named, "-l -a Second", 0),
    SAME("-a other name",        named, "-l -a Third", 0),
    SAME("-t",                   NULL, "-t 256 " FLASH, 0),
    SAME("--transfer-size",      NULL, "--transfer-size 0x100 " READ, 0),
    SAME("-t too small",         NULL, "-t 32 " AT ":100 -U @/up", 0),
    SAME("-t too large",         NULL, "-t 10000 " AT ":100 -U @/up", 0),
    SAME("-t nonsense",          NULL, "-t x " FLASH, 64),
    SAME("-t nothing",           NULL, "-t '' " FLASH, 64),
    SAME("-t for xfer 0",        xfer_0, "-t 512 " FLASH, 0),
    SAME("-v",                   NULL, "-v " READ, 0),
    SAME("-vv",                  NULL, "-v -v -U @/up " AT ":100", 0),
    SAME("-v -e",                runtime, "-v -e", 0),
    SAME("-w, there",            NULL, "-w " FLASH, 0),
    SAME("-w, later",            late, "-w " FLASH, 0),
    OTHER("--wait",               NULL, "--wait " FLASH, 64, CODE | REQUESTS | OUTPUT | MEMORY, 0, WAIT),
    SAME("--wait=1",             late, "--wait=1 " FLASH, 0),
    SAME("-Z",                   plain, "-Z 3000 -U @/up", 0),
    SAME("--upload-size, wrong", plain, "--upload-size 1234 -U @/up", 0),
    SAME("-E",                   runtime_lost, "-E 1 " FLASH, 74),
    SAME("--detach-delay",       runtime, "--detach-delay 2 " FLASH, 0),
    SAME("-E nonsense",          NULL, "-E 1s " FLASH, 64),
};

/* --- download ------------------------------------------------------------------------------------ */

static const struct twin downloads[] = {
    SAME("raw",                  NULL, AT " -D @/f.bin", 0),
    SAME("raw, long words",      NULL, "--dfuse-address 0x08000000 --download @/f.bin", 0),
    SAME("PlatformIO",           NULL, "-d 0x0483:0xDF11,0x0483:0xDF11 -a 0 " AT ":leave -D @/suffix.bin", 0),
    SAME("Klipper",              NULL, "-d 0483:df11 -R -a 0 -s 0x8000000:leave -D @/f.bin", 0),
    SAME("Klipper, path",        NULL, "-p 1-1 -R -a 0 -s 0x8000000:leave -D @/f.bin", 0),
    SAME("QMK",                  NULL, "-d 0483:DF11 -a 0 -s 0x08000000:leave -D @/f.bin", 0),
    SAME("Zephyr",               NULL, "-d ,0483:df11 -s 0x08000000:leave -a 0 -D @/f.bin", 0),
    SAME("RIOT",                 NULL, "--device 0483:df11 --alt 0 --download @/f.bin --dfuse-address 0x08000000:leave", 0),
    SAME("Arduino",              plain, "-d 0483:df11 -a 0 -D @/f.bin -R", 0),
    SAME("MicroPython",          NULL, "-a 0 -d 0483:df11 -D @/one.dfu", 0),
    SAME("raw and leave",        NULL, FLASH, 0),
    SAME("from stdin",           NULL, AT " -D - <@/f.bin", 0),
    SAME("decimal address",      NULL, "-s 134217728 -D @/f.bin", 0),
    SAME("in a page",            NULL, "-s 0x08000100 -D @/f.bin", 0),
    SAME("odd address",          NULL, "-s 0x08000101 -D @/f.bin", 0),
    SAME("all of it",            NULL, AT " -D @/full.bin", 0),
    SAME("blocks of 64",         xfer_64, FLASH, 0),
    SAME("blocks of 2048",       xfer_2048, FLASH, 0),
    SAME("blocks of 8192",       xfer_8192, FLASH, 0),
    SAME("large sectors",        large_sectors, "-s 0x08000400:leave -D @/full.bin", 64),
    SAME("large sectors, fits",  large_sectors, "-s 0x08000400:leave -D @/f.bin", 0),
    SAME("RAM",                  ram, FLASH, 0),
    SAME("slow",                 slow, FLASH, 0),
    SAME("suffix",               NULL, AT " -D @/suffix.bin", 0),
    SAME("suffix for any",       NULL, AT " -D @/any.bin", 0),
    SAME("force",                NULL, AT ":force -D @/f.bin", 0),
    SAME("force and leave",      NULL, AT ":force:leave -D @/f.bin", 0),
    SAME("unknown place, force", NULL, "-s 0x20000000:force -D @/f.bin", 74),
    SAME("protected, force",     NULL, "-s 0x0800c800:force -D @/options.bin", 74),
    SAME("words in any order",   NULL, "-s 0x08000000::leave:force: -D @/f.bin", 0),
    SAME("no such file",         NULL, AT " -D @/nothing", 66),
    OTHER("a directory",          NULL, AT " -D @", 70, CODE, 66, EARLY),
    OTHER("empty file",           NULL, AT " -D @/empty.bin", 64, CODE | REQUESTS | OUTPUT, 65, DAMAGED),
    SAME("no device",            absent, FLASH, 74),
    SAME("denied",               denied, FLASH, 74),
    SAME("other device",         NULL, "-d ,1234:5678 " FLASH, 74),
    SAME("other alt",            NULL, "-a 1 " FLASH, 74),
    SAME("no address",           NULL, "-D @/f.bin", 64),
    SAME("a 0 too few",          NULL, "-s 0x0800000:leave -D @/f.bin", 64),
    OTHER("no 0x",                NULL, "-s 08000000:leave -D @/f.bin", 64, REQUESTS | OUTPUT, 0, EARLY),
    OTHER("no number",            NULL, "-s flash:leave -D @/f.bin", 64, REQUESTS | OUTPUT, 0, EARLY),
    OTHER("no word",              NULL, AT ":reset -D @/f.bin", 64, REQUESTS | OUTPUT, 0, EARLY),
    OTHER("half a word",          NULL, AT ":lea -D @/f.bin", 64, REQUESTS | OUTPUT, 0, WORDS),
    SAME("behind the end",       NULL, "-s 0x0800c800 -D @/f.bin", 64),
    SAME("over the end",         NULL, "-s 0x0800c400 -D @/f.bin", 64),
    SAME("too long by one",      NULL, AT " -D @/over.bin", 64),
    OTHER("over a hole",          hole, AT " -D @/f.bin", 64, REQUESTS | OUTPUT | MEMORY, 0, CHECKED),
    SAME("unreadable map",       bad_map, FLASH, 74),
    OTHER("two memories",         two_memories, FLASH, 74, CODE | REQUESTS | OUTPUT | MEMORY, 0, MEMORIES),
    SAME("two memories, -a 0",   two_memories, "-a 0 " FLASH, 0),
    SAME("two memories, -a 1",   two_memories, "-a 1 " FLASH, 64),
    SAME("option bytes",         two_memories, "-a 1 -s 0x1FFFF800 -D @/options.bin", 0),
    OTHER("option bytes, no -a",  two_memories, "-s 0x1FFFF800 -D @/options.bin", 74, CODE | REQUESTS | OUTPUT | MEMORY, 0, MEMORIES),
    SAME("will-reset",           two_memories, "-a 1 -s 0x1FFFF800:will-reset -D @/options.bin", 0),
    OTHER("wrong CRC",            NULL, AT " -D @/crc.bin", 0, CODE | REQUESTS | OUTPUT | MEMORY, 65, DAMAGED),
    OTHER("file of another",      NULL, AT " -D @/other.bin", 0, CODE | REQUESTS | OUTPUT | MEMORY, 64, IDS),
    SAME("file of another, force", NULL, AT ":force -D @/other.bin", 0),
    SAME("file of another, -d",  NULL, "-d ,0483:df11 " AT " -D @/other.bin", 64),
    SAME("file of its runtime",  NULL, "-d 0483:5740,0483:df11 " AT " -D @/runtime.bin", 0),
    OTHER("Intel HEX",            NULL, "-D @/f.hex", 64, CODE | REQUESTS | OUTPUT | MEMORY, 0, FORMATS),
    OTHER("Intel HEX, address",   NULL, AT ":leave -D @/f.hex", 0, REQUESTS | OUTPUT | MEMORY, 0, FORMATS),
    OTHER("ELF",                  NULL, "-s :leave -D build/examples/blinky.elf", 64, CODE | REQUESTS | OUTPUT | MEMORY, 0, FORMATS),
    OTHER("-D -e",                NULL, "-a 0 -D @/one.dfu -e", 0, CODE | REQUESTS | OUTPUT, 64, MODES),
    OTHER("-D -U",                NULL, AT ":100 -D @/f.bin -U @/up", 0, CODE | REQUESTS | OUTPUT | UPLOADED, 64, MODES),
    SAME("-e -D",                NULL, "-e " FLASH, 0),
    SAME("-D -l",                NULL, FLASH " -l", 0),
    SAME("-R",                   NULL, AT " -D @/f.bin -R", 0),
    SAME("--reset",              NULL, AT " -D @/f.bin --reset", 0),
    SAME("-R, no detach",        no_detach, AT " -D @/f.bin -R", 0),
    OTHER("-R, another comes",    reset_goes, AT " -D @/f.bin -R", 251, CODE, 0, GONE_RESET),
};

static const struct twin dfu_files[] = {
    SAME("one element",          NULL, "-D @/one.dfu", 0),
    SAME("-a 0",                 NULL, "-a 0 -D @/one.dfu", 0),
    OTHER("leave",                NULL, "-s :leave -D @/one.dfu", 0, REQUESTS, 0, START),
    OTHER("force leave",          NULL, "-s :force:leave -D @/one.dfu", 0, REQUESTS, 0, START),
    SAME("three elements",       NULL, "-D @/three.dfu", 0),
    SAME("from stdin",           NULL, "-D - <@/three.dfu", 0),
    OTHER("out of order",         NULL, "-D @/mixed.dfu", 0, REQUESTS | OUTPUT, 0, ORDER),
    OTHER("touching",             NULL, "-D @/touching.dfu", 0, REQUESTS | OUTPUT, 0, ORDER),
    SAME("for any device",       NULL, "-D @/any.dfu", 0),
    OTHER("for another device",   NULL, "-D @/other.dfu", 0, CODE | REQUESTS | OUTPUT | MEMORY, 64, IDS),
    SAME("for another, -d",      NULL, "-d ,0483:df11 -D @/other.dfu", 64),
    SAME("for another, force",   NULL, "-s :force -D @/other.dfu", 0),
    SAME("with an address",      NULL, AT ":leave -D @/one.dfu", 64),
    OTHER("wrong CRC",            NULL, "-D @/crc.dfu", 64, CODE | REQUESTS | OUTPUT, 65, DAMAGED),
    OTHER("wrong CRC, address",   NULL, AT " -D @/crc.dfu", 0, CODE | REQUESTS | OUTPUT | MEMORY, 65, DAMAGED),
    OTHER("no suffix",            NULL, "-D @/nosuffix.dfu", 64, CODE | REQUESTS | OUTPUT, 65, DAMAGED),
    OTHER("no suffix, address",   NULL, AT " -D @/nosuffix.dfu", 0, CODE | REQUESTS | OUTPUT | MEMORY, 65, DAMAGED),
    OTHER("cut short",            NULL, "-D @/cut.dfu", 65, REQUESTS | OUTPUT, 0, DAMAGED),
    SAME("two memories",         two_memories, "-D @/both.dfu", 0),
    SAME("two memories, -a 0",   two_memories, "-a 0 -D @/both.dfu", 0),
    SAME("two memories, -a 1",   two_memories, "-a 1 -D @/both.dfu", 0),
    SAME("memory that is not there", NULL, "-D @/both.dfu", 0),
    OTHER("nothing for it",       two_memories, "-a 1 -D @/one.dfu", 0, CODE | REQUESTS | OUTPUT, 64, NOTHING),
    OTHER("for another place",   NULL, "-D @/elsewhere.dfu", 64, REQUESTS | OUTPUT, 0, CHECKED),
    OTHER("second one protected", NULL, "-D @/protected.dfu", 64, REQUESTS | OUTPUT | MEMORY, 0, CHECKED),
    OTHER("leave, vanishes",      leave_goes, "-s :leave -D @/one.dfu", 74, CODE | REQUESTS, 0, LEFT),
    SAME("-R",                   NULL, "-D @/one.dfu -R", 0),
    SAME("runtime, other ids",   runtime, "-D @/one.dfu", 74),
    SAME("runtime",              runtime, "-D @/any.dfu", 0),
    SAME("to a plain device",    plain, "-D @/one.dfu", 74),
};

/* --- upload -------------------------------------------------------------------------------------- */

static const struct twin uploads[] = {
    SAME("a length",             NULL, READ, 0),
    SAME("a short length",       NULL, AT ":100 -U @/up", 0),
    SAME("a hexadecimal length", NULL, AT ":0x123 --upload @/up", 0),
    SAME("odd",                  NULL, "-s 0x08000101:1023 -U @/up", 0),
    SAME("no length",            NULL, AT " -U @/up", 0),
    SAME("no length, second run", NULL, "-s 0x0800c800 -U @/up", 0),
    SAME("no length, in a run",  NULL, "-s 0x08000123 -U @/up", 0),
    SAME("no address",           NULL, "-U @/up", 0),
    SAME("no address, a length", NULL, "-s :1000 -U @/up", 0),
    SAME("-Z counts for nothing", NULL, "-Z 5 " READ, 0),
    SAME("leave",                NULL, AT ":100:leave -U @/up", 0),
    OTHER("leave, vanishes",      leave_goes, AT ":100:leave -U @/up", 74, CODE, 0, LEFT),
    SAME("-R",                   NULL, READ " -R", 0),
    SAME("blocks of 64",         xfer_64, READ, 0),
    SAME("blocks of 8192",       xfer_8192, AT ":10000 -U @/up", 0),
    SAME("ends short",           short_reads, READ, 0),
    SAME("ends short at a block", short_reads, "-s 0x08000200:4096 -U @/up", 0),
    SAME("file exists",          NULL, READ "x -U @/f.bin", 73),
    SAME("no such directory",    NULL, AT " -U @/no/up", 73),
    OTHER("no such memory",       NULL, "-s 0x20000000:16 -U @/up", 64, UPLOADED, 0, CLEANUP),
    OTHER("no such memory, force", NULL, "-s 0x20000000:16:force -U @/up", 74, UPLOADED, 0, CLEANUP),
    OTHER("refused",              no_upload, READ, 74, UPLOADED, 0, CLEANUP),
    OTHER("unplugged",            gone_3, READ, 74, UPLOADED, 0, CLEANUP),
    SAME("no device",            absent, READ, 74),
    OTHER("unreadable map",       bad_map, READ, 74, UPLOADED, 0, CLEANUP),
    OTHER("two memories",         two_memories, READ, 74, CODE | REQUESTS | OUTPUT | UPLOADED, 0, MEMORIES),
    SAME("two memories, -a 0",   two_memories, "-a 0 " READ, 0),
    SAME("two, no address",      two_memories, "-U @/up", 74),
    OTHER("abort refused",        no_abort, READ, 74, UPLOADED, 0, CLEANUP),
    SAME("plain",                plain, "-U @/up", 0),
    SAME("plain, even blocks",   plain_even, "-U @/up", 0),
    SAME("plain, nothing",       plain_empty, "-U @/up", 0),
    OTHER("plain, refused",       plain_no_upload, "-U @/up", 74, UPLOADED, 0, CLEANUP),
    SAME("plain, -R",            plain, "-U @/up -R", 0),
    SAME("plain, named",         named, "-a Second -U @/up", 0),
    SAME("runtime",              runtime, READ, 0),
};

/* --- commands, leaving, detaching ----------------------------------------------------------------- */

static const struct twin commands[] = {
    SAME("leave alone",          NULL, "-s :leave", 0),
    SAME("leave alone, -a 0",    NULL, "-a 0 -d 0483:DF11 " AT ":leave", 0),
    SAME("leave elsewhere",      NULL, "-s 0x08001234:leave", 0),
    OTHER("leave, two memories",  two_memories, "-s :leave", 74, CODE | REQUESTS | OUTPUT, 0, MEMORIES),
    OTHER("leave, bad map",       bad_map, "-s :leave", 74, CODE | REQUESTS | OUTPUT, 0, MAPLESS),
    SAME("nothing to do",        NULL, "-s :force", 0),
    SAME("only an address",      NULL, AT, 0),
    SAME("mass-erase",           NULL, "-s :mass-erase:force", 0),
    SAME("mass-erase, address",  NULL, AT ":mass-erase:force", 0),
    SAME("mass-erase, no force", NULL, AT ":mass-erase", 64),
    SAME("mass-erase, a lie",    lies_about_erase, "-s :mass-erase:force", 0),
    SAME("mass-erase, slow",     slow, "-s :mass-erase:force", 0),
    SAME("mass-erase and flash", NULL, AT ":mass-erase:force:leave -D @/f.bin", 0),
    SAME("mass-erase and .dfu",  NULL, "-s :mass-erase:force -D @/one.dfu", 0),
    SAME("mass-erase, refused",  no_commands, "-s :mass-erase:force", 74),
    SAME("unprotect",            NULL, "-s :unprotect:force", 0),
    SAME("unprotect, no force",  NULL, "-s :unprotect", 64),
    SAME("unprotect, refused",   no_commands, "-s :unprotect:force", 74),
    SAME("-e",                   NULL, "-e", 0),
    SAME("--detach",             NULL, "--detach", 0),
    SAME("-e, refused",          no_detach, "-e", 0),
    SAME("-e -R",                NULL, "-e -R", 0),
    SAME("-e -R, refused",       no_detach, "-e -R", 0),
    SAME("-e, no device",        absent, "-e", 74),
    SAME("-e, runtime",          runtime, "-e", 0),
    SAME("-e, runtime by reset", runtime_reset, "-e", 0),
    SAME("-e, runtime, dumb",    runtime_dumb, "-e", 0),
    SAME("-e, runtime refuses",  runtime_refuses, "-e", 0),
    SAME("runtime, flash",       runtime, FLASH, 0),
    SAME("runtime, reset, flash", runtime_reset, FLASH, 0),
    SAME("runtime, lost",        runtime_lost, FLASH, 74),
    SAME("runtime, ids",         runtime, "-d 0483:5740,0483:df11 " FLASH, 0),
    SAME("runtime, its suffix",  runtime, AT ":leave -D @/runtime.bin", 0),
    SAME("runtime, wrong file",  runtime, AT ":leave -D @/other.bin", 74),
    SAME("runtime, -R",          runtime, AT " -D @/f.bin -R", 0),
    SAME("leave, goes later",    leave_later, FLASH, 0),
    OTHER("leave, goes at once",  leave_at_once, FLASH, 74, CODE, 0, LEFT),
    OTHER("leave, goes",          leave_goes, FLASH, 74, CODE, 0, LEFT),
    OTHER("leave alone, goes",    leave_goes, "-s :leave", 74, CODE, 0, LEFT),
    OTHER("leave, STALL after",   leave_stalls_status, FLASH, 74, CODE, 0, LEFT),
    OTHER("leave, silence",       leave_silent, FLASH, 74, CODE, 0, LEFT),
    SAME("leave, STALL",         leave_stalls, FLASH, 74),
    OTHER("leave, refused",       leave_refuses, FLASH, 0, CODE, 74, STAYED),
    OTHER("leave, stays idle",    leave_idle, "-s :leave", 124, CODE | REQUESTS, 74, STAYED),
    OTHER("leave, tolerant",      leave_tolerant, FLASH, 124, CODE | REQUESTS, 0, BOUNDED),
    OTHER("leave, stays busy",    leave_busy, "-s :leave", 124, CODE | REQUESTS, 74, STAYED),
    OTHER("leave, waits for reset", leave_waits, FLASH, 124, CODE | REQUESTS, 0, BOUNDED),
    SAME("leave, dfuDNLOAD-IDLE", leave_dnload_idle, FLASH, 0),
    OTHER("leave -R, goes later", leave_later, FLASH " -R", ANY, CODE, 0, GONE_RESET),
    OTHER("leave -R, goes",       leave_goes, FLASH " -R", 74, CODE | OUTPUT, 0, LEFT),
    OTHER("leave -R, reset",      reset_goes, FLASH " -R", 251, CODE, 0, GONE_RESET),
};

/* --- devices as they are in the field ------------------------------------------------------------- */

static const struct twin devices[] = {
    SAME("in dfuERROR",          in_error, FLASH, 0),
    SAME("in dfuERROR, upload",  in_error, READ, 0),
    SAME("in dfuDNLOAD-IDLE",    in_dnload, FLASH, 0),
    SAME("in dfuUPLOAD-IDLE",    in_upload, READ, 0),
    SAME("in appIDLE",           in_app, FLASH, 76),
    SAME("in dfuMANIFEST-WAIT-RESET", in_manifest, FLASH, 74),
    OTHER("error sticks",         error_sticks, FLASH, 124, CODE | REQUESTS | OUTPUT, 76, BOUNDED),
    SAME("SET_INTERFACE refused", no_select, FLASH, 74),
    SAME("wTransferSize 0",      xfer_0, FLASH, 64),
    SAME("no functional",        no_functional, FLASH, 64),
    SAME("DFU 1.0 and DfuSe",    short_functional, FLASH, 0),
    OTHER("done at once",         done_at_once, FLASH, 76, CODE | REQUESTS | OUTPUT | MEMORY, 0, PATIENT),
    OTHER("never done",           never_done, FLASH, 124, CODE | REQUESTS, 74, BOUNDED),
    OTHER("stuck",                stuck, FLASH, 74, REQUESTS, 0, PATIENT),
    OTHER("STALLs twice (L4)",    stalls_twice, FLASH, 74, CODE | REQUESTS | OUTPUT | MEMORY, 0, PATIENT),
    OTHER("STALLs 5 times",       stalls_5, FLASH, 74, CODE | REQUESTS | OUTPUT | MEMORY, 0, PATIENT),
    OTHER("STALLs for ever",      stalls_50, FLASH, 74, REQUESTS, 0, PATIENT),
    SAME("erase fails",          erase_fails, FLASH, 74),
    SAME("protected",            erase_protected, FLASH, 74),
    SAME("write fails",          write_fails, FLASH, 74),
    SAME("write is refused",     write_stalls, FLASH, 74),
    SAME("commands are refused", no_commands, FLASH, 74),
    SAME("unplugged at erasing", gone_3, FLASH, 74),
    SAME("unplugged at writing", gone_20, FLASH, 74),
    SAME("ABORT refused",        no_abort, FLASH, 74),
    SAME("ABORT does not work",  abort_sticks, FLASH, 74),
    SAME("plain",                plain, "-D @/f.bin", 0),
    SAME("plain, suffix",        plain, "-D @/suffix.bin", 0),
    SAME("plain, busy",          plain_busy, "-D @/f.bin", 0),
    SAME("plain, fails",         plain_fails, "-D @/f.bin", 74),
    SAME("plain, 64",            plain, "-t 64 -D @/f.bin", 0),
    SAME("plain, waits for reset", plain_resets, "-D @/f.bin", 0),
    OTHER("plain, goes",          plain_goes, "-D @/f.bin", 74, CODE, 0, LEFT),
    SAME("plain, -s",            plain, FLASH, 74),
    OTHER("plain, HEX",           plain, "-D @/f.hex", 0, REQUESTS | OUTPUT | MEMORY, 0, FORMATS),
    SAME("plain, -v",            plain, "-v -D @/f.bin", 0),
    SAME("plain, -e",            plain, "-e", 0),
};
// clang-format on

Test(dfu_util_twin, every_option_does_what_dfu_utils_does)
{
    run_twins(options, COUNT(options));
}

Test(dfu_util_twin, downloads_send_what_dfu_util_sends)
{
    run_twins(downloads, COUNT(downloads));
}

Test(dfu_util_twin, dfu_files_are_sent_as_dfu_util_sends_them)
{
    run_twins(dfu_files, COUNT(dfu_files));
}

Test(dfu_util_twin, uploads_ask_for_and_save_what_dfu_util_does)
{
    run_twins(uploads, COUNT(uploads));
}

Test(dfu_util_twin, commands_leaving_and_detaching_are_dfu_utils)
{
    run_twins(commands, COUNT(commands));
}

Test(dfu_util_twin, devices_in_the_field_are_spoken_to_as_dfu_util_does)
{
    run_twins(devices, COUNT(devices));
}

/* --- at every request, every status --------------------------------------------------------------- */

static unsigned nth;

SCRIPT(unplugged, a->gone_after = nth;)
SCRIPT(fails, a->names[0] = "@RAM  /0x08000000/50*001Ke"; a->fails_at = ACTOR_BASE + 0x400;
       a->fails_with = (uint8_t)nth;)

Test(dfu_util_twin, unplugged_at_the_nth_request_both_give_up_at_it_with_the_same_code)
{
    enum { REQUESTS_OF_A_DOWNLOAD = 30 };
    char name[32];
    for (nth = 1; nth <= REQUESTS_OF_A_DOWNLOAD; nth++) {
        snprintf(name, sizeof name, "unplugged at request %u", nth + 1);
        run_twin(&(struct twin){
            .name = name, .script = unplugged, .arguments = AT " -D @/f.bin", .code = ANY});
    }
}

Test(dfu_util_twin, whatever_status_a_write_fails_with_both_give_up_with_the_same_code)
{
    char name[32];
    for (nth = DFU_ERR_TARGET; nth <= DFU_ERR_STALLEDPKT + 1; nth++) {
        snprintf(name, sizeof name, "status %u", nth);
        run_twin(&(struct twin){
            .name = name, .script = fails, .arguments = AT " -D @/f.bin", .code = 74});
    }
}

/* --- the simulated board -------------------------------------------------------------------------- */

TestSuite(dfu_util_board, .fini = session_end_all, .timeout = 600);

static const struct on_chip {
    const char *name, *arguments;
    bool runs; /* then */
} on_chips[] = {
    {"-l",                  "-l",                                                                     false},
    {"leave",               "-a 0 -s 0x08000000:leave -D build/examples/blinky.bin",                  true },
    {"-R",                  "-a 0 -s 0x08000000 -R -D build/examples/blinky.bin",                     true },
    {"leave and -R",        "-a 0 -s 0x08000000:leave -R -D build/examples/vectors.bin",              true },
    {"52 KB",               "-d 0483:df11 -a 0 -s 0x08000000:leave -D build/examples/large.bin",      true },
    {"mass-erase",          "-a 0 -s 0x08000000:mass-erase:force:leave -D build/examples/blinky.bin", true },
    {"mass-erase alone",    "-a 0 -s :mass-erase:force",                                              false},
    {"no leave",            "-a 0 -s 0x08000000 -D build/examples/blinky.bin",                        false},
    {"-e",                  "-e",                                                                     true },
    {"leave alone",         "-s :leave",                                                              true },
    {"into the bootloader", "-a 0 -s 0x0800f000:force -D build/examples/blinky.bin",                  false},
    {"behind the end",      "-a 0 -s 0x0800ec00 -D build/examples/blinky.bin",                        false},
    {"upload",              "-a 0 -s 0x08000000 -U @/up",                                             false},
    {"upload, -R",          "-a 0 -s 0x08000000:1000 -U @/up -R",                                     true },
};

struct left_behind {
    struct result result;
    uint8_t flash[SESSION_FLASH];
    char said[256];
    bool in_dfu;
};

/* On a board with a firmware, just reset into the bootloader. */
static void run_on_chip(const struct on_chip *c, const char *program, struct left_behind *l)
{
    char path[64];
    struct session *s = session_new("");
    struct outcome o = on_board(s, STOCK " -a 0 -s 0x08000000:leave -D build/examples/hsi.bin");
    cr_assert_eq(o.code, 0, "%s", o.err);
    session_sleep(s, "500ms");
    session_press_reset(s);
    session_forget(s);
    o = on_board(s, "%s %s", program, c->arguments);
    session_sleep(s, "900ms");
    l->result = (struct result){.code = o.code, .out = strdup(o.out), .err = strdup(o.err)};
    snprintf(path, sizeof path, "%s/up", s->dir);
    if (strstr(c->arguments, "@/up"))
        l->result.file = file_read(path, &l->result.file_size);
    l->in_dfu = session_in_dfu(s);
    snprintf(l->said, sizeof l->said, "%s", session_text(s));
    memcpy(l->flash, session_flash(s, 0), SESSION_FLASH);
    session_end(s);
}

Test(dfu_util_board, the_board_holds_and_runs_the_same_after_both)
{
    static struct left_behind stock, ours;
    for (size_t i = 0; i < COUNT(on_chips); i++) {
        const struct on_chip *c = &on_chips[i];
        run_on_chip(c, STOCK, &stock);
        run_on_chip(c, OURS, &ours);
        cr_expect_eq(ours.result.code, stock.result.code, "%s: %d, dfu-util %d\n%s", c->name,
            ours.result.code, stock.result.code, ours.result.err);
        cr_expect(same_output(&stock.result, &ours.result), "%s: it prints\n%s---\n%s", c->name,
            ours.result.out, stock.result.out);
        cr_expect(same_file(&stock.result, &ours.result), "%s: it reads another file", c->name);
        cr_expect_arr_eq(ours.flash, stock.flash, SESSION_FLASH, "%s: flash differs", c->name);
        cr_expect_str_eq(ours.said, stock.said, "%s", c->name);
        cr_expect_eq(ours.in_dfu, stock.in_dfu, "%s", c->name);
        cr_expect_eq(!ours.in_dfu, c->runs, "%s: runs: %d", c->name, !ours.in_dfu);
    }
}

Test(dfu_util_board, called_dfu_util_caboose_is_dfu_util)
{
    struct session *s = session_new("");
    run(s, "ln -s $PWD/build/bin/caboose @/dfu-util");
    struct outcome o = on_board(s, "@/dfu-util -l");
    cr_expect_eq(o.code, 0);
    cr_expect(strstr(o.out, "dfu-util 0.11 (caboose "), "%s", o.out);
    cr_expect(strstr(o.out, "Found DFU: [0483:df11] ver="), "%s", o.out);
}

Test(dfu_util_board, speaks_usbip_too)
{
    struct session *s = session_new("");
    struct outcome o = run(s, OURS " --usbip %s -l", s->usbip);
    cr_expect(strstr(o.out, ", path=\"1-1\", alt=0, name=\"@Internal Flash  /0x0800"), "%s", o.out);
    o = run(s, OURS " --usbip %s -s 0x08000000:leave -D build/examples/blinky.elf", s->usbip);
    cr_expect_eq(o.code, 0, "%s%s", o.out, o.err);
    session_sleep(s, "900ms");
    cr_expect(session_heard(s, "blinky 1: hello from 0x08000000"), "%s", session_text(s));
}
