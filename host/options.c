/* SPDX-License-Identifier: MIT */
#include "host/options.h"
#include "host/report.h"
#include "image/uf2.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

// clang-format off
static const struct row {
    char id;
    char short_form; /* 0: none */
    const char *name, *argument, *help; /* help NULL: another name of the row before */
} rows[] = {
    {'d', 'd', "device",    "WHICH",       "the board with this SERIAL, VID:PID or PATH"},
    {'D', 'd', "device",    "VID:PID",     "for which boards the file is; 0483:df11"},
    {'m', 0,   "all",       NULL,          "every board that is there, all at once"},
    {'w', 'w', "wait",      "[=SECONDS]",  "wait for the board, also if it goes half-way"},
    {'u', 0,   "usbip",     "HOST[:PORT]", "boards that a USB/IP server offers, port 3240"},
    {'a', 'a', "alt",       "NUMBER",      "this memory (alternate setting), as info shows"},
    {'A', 0,   "at",        "ADDR",        "where a raw file goes, or where to begin"},
    {'A', 0,   "address",   "ADDR",        NULL},
    {'s', 's', "size",      "BYTES",       "how much; K and M are understood"},
    {'n', 'n', "dry-run",   NULL,          "look and show the plan; change nothing"},
    {'r', 0,   "rewrite",   NULL,          "write what is there already, too"},
    {'V', 0,   "no-verify", NULL,          "do not read back and compare"},
    {'L', 0,   "no-leave",  NULL,          "stay in the bootloader; do not start the program"},
    {'f', 0,   "force",     NULL,          "although it looks wrong for the board"},
    {'o', 'o', "output",    "FILE",        "where to write; - is standard output"},
    {'t', 0,   "format",    "KIND",        "of what is made: dfu hex srec uf2 raw suffix"},
    {'y', 0,   "family",    "NAME",        "the chip that a UF2 file is for, as STM32F1"},
    {'j', 0,   "json",      NULL,          "for programs to read: an array"},
    {'J', 0,   "json",      NULL,          "for programs to read: an object"},
    {'q', 'q', "quiet",     NULL,          "say nothing but errors"},
    {'h', 'h', "help",      NULL,          "this help"},
};
// clang-format on

enum { ROWS = sizeof rows / sizeof rows[0], ID_BASE = 256 };

static bool is_optional(const struct row *row)
{
    return row->argument && row->argument[0] == '[';
}

/* getopt's two tables. A long option returns ID_BASE plus its id, so that a short one with the same letter
 * cannot slip in. */
static void make_tables(
    const char *letters, char shorts[3 * ROWS + 3], struct option longs[ROWS + 1])
{
    size_t count = 0;
    *shorts++ = ':';
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        if (!strchr(letters, row->id))
            continue;
        int kind = !row->argument     ? no_argument
                   : is_optional(row) ? optional_argument
                                      : required_argument;
        longs[count++] = (struct option){row->name, kind, NULL, ID_BASE + row->id};
        if (!row->short_form)
            continue;
        *shorts++ = row->short_form;
        for (int colons = kind; colons; colons--)
            *shorts++ = ':';
    }
    longs[count] = (struct option){0};
    *shorts = '\0';
}

bool options_address(const char *text, uint32_t *addr)
{
    char *end;
    if (text[0] != '0' || (text[1] != 'x' && text[1] != 'X') || !isxdigit((unsigned char)text[2]))
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 16);
    *addr = (uint32_t)value;
    return !errno && !*end && value <= UINT32_MAX;
}

static bool parse_size(const char *text, uint32_t *size)
{
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    unsigned shift = *end == 'K' || *end == 'k' ? 10 : *end == 'M' ? 20 : 0;
    end += shift ? 1 : 0;
    if (errno || *end || value == 0 || value > UINT32_MAX >> shift)
        return false;
    *size = (uint32_t)(value << shift);
    return true;
}

static bool parse_ids(const char *text, int *vendor, int *product)
{
    char *end;
    unsigned long v = strtoul(text, &end, 16);
    if (end == text || *end != ':' || v > 0xFFFF)
        return false;
    const char *second = end + 1;
    unsigned long p = strtoul(second, &end, 16);
    if (end == second || *end || p > 0xFFFF)
        return false;
    *vendor = (int)v;
    *product = (int)p;
    return true;
}

/* VID:PID is told from a serial number by its form. */
static bool take_device(struct options *o, const char *argument)
{
    o->device = argument;
    if (!parse_ids(argument, &o->vendor, &o->product))
        o->vendor = o->product = OPTIONS_ANY;
    return argument[0] != '\0';
}

static bool take_server(struct options *o, const char *argument)
{
    if (!argument[0] || argument[0] == ':' || o->usbip_count == OPTIONS_SERVERS)
        return false;
    o->usbip[o->usbip_count++] = argument;
    return true;
}

bool options_may_mean(const struct options *o, const struct link_device *d)
{
    return o->vendor == OPTIONS_ANY || (o->vendor == d->vendor && o->product == d->product);
}

bool options_mean(const struct options *o, const struct link_device *d, const char *serial)
{
    if (!o->device || o->vendor != OPTIONS_ANY)
        return options_may_mean(o, d);
    return strcmp(o->device, d->path) == 0 || strcmp(o->device, serial) == 0;
}

static bool parse_count(const char *text, int *value)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    *value = (int)number;
    return !errno && end != text && !*end && number >= 0 && number <= 1000000;
}

/* False if the argument makes no sense. */
static bool take(struct options *o, int id, const char *argument)
{
    switch (id) {
    case 'u':
        return take_server(o, argument);
    case 'd':
        return take_device(o, argument);
    case 'D':
        return take_device(o, argument) && o->vendor != OPTIONS_ANY;
    case 'm':
        o->all = true;
        return true;
    case 'n':
        o->dry_run = true;
        return true;
    case 'r':
        o->rewrite = true;
        return true;
    case 'a':
        return parse_count(argument, &o->alt) && o->alt < 256;
    case 'A':
        o->has_address = true;
        return options_address(argument, &o->address);
    case 's':
        return parse_size(argument, &o->size);
    case 'V':
        o->no_verify = true;
        return true;
    case 'L':
        o->no_leave = true;
        return true;
    case 'f':
        o->force = true;
        return true;
    case 'w':
        o->wait = true;
        return !argument || parse_count(argument[0] == '=' ? argument + 1 : argument, &o->wait_s);
    case 'o':
        o->output = argument;
        return argument[0] != '\0';
    case 't':
        o->format = argument;
        return true;
    case 'y':
        o->family = uf2_family(argument);
        return o->family || (options_address(argument, &o->family) && o->family);
    case 'j':
        o->json = o->json_array = true;
        return true;
    case 'J':
        o->json = true;
        return true;
    case 'q':
        o->quiet = true;
        return true;
    default:
        o->help = true;
        return true;
    }
}

static const struct row *row_of(int id)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].id == id)
            return &rows[i];
    return NULL;
}

static int complain_argument(const char *command, int id, const char *argument)
{
    const struct row *row = row_of(id);
    if (!row)
        return EX_USAGE;
    const char *hint = id == 'A' ? "an address is hexadecimal: 0x08000000"
                       : id == 'y'
                           ? "give a UF2 family's name, as STM32F1, or its number, as 0x5ee21072"
                           : "see caboose help";
    report_error("%s: --%s %s is not %s; %s", command, row->name, argument, row->argument, hint);
    return EX_USAGE;
}

/* The option of the command that has this short form. */
static int id_of(const char *letters, int short_form)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].short_form == short_form && strchr(letters, rows[i].id))
            return rows[i].id;
    return short_form;
}

/* Whoever reads JSON is told in JSON also that the command line makes no sense, wherever in it that was said
 * and whatever was taken for its argument. */
static void look_for_json(struct options *o, const char *letters, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (strcmp(argv[i], "--json") == 0) {
            o->json_array |= strchr(letters, 'j') != NULL;
            o->json |= o->json_array || strchr(letters, 'J');
        }
}

static int parse(
    struct options *options, const char *command, const char *letters, int argc, char **argv)
{
    char shorts[3 * ROWS + 3];
    struct option longs[ROWS + 1];
    *options = (struct options){.command = command,
        .vendor = OPTIONS_ANY,
        .product = OPTIONS_ANY,
        .alt = OPTIONS_ANY,
        .wait_s = OPTIONS_FOREVER};
    make_tables(letters, shorts, longs);
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        if (c == '?' || c == ':') {
            report_error(c == ':' ? "%s: %s needs an argument; see caboose help %s"
                                  : "%s: %s is not an option of this command; see caboose help %s",
                command, argv[optind - 1], command);
            return EX_USAGE;
        }
        int id = c >= ID_BASE ? c - ID_BASE : id_of(letters, c);
        if (!take(options, id, optarg))
            return complain_argument(command, id, optarg);
    }
    options->args = argv + optind;
    options->arg_count = argc - optind;
    return 0;
}

int options_parse(
    struct options *options, const char *command, const char *letters, int argc, char **argv)
{
    int error = parse(options, command, letters, argc, argv);
    if (error)
        look_for_json(options, letters, argc, argv);
    return error;
}

void options_each(const char *letters, options_visit *visit, void *context)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].help && strchr(letters, rows[i].id))
            visit(context, rows[i].short_form, rows[i].name, rows[i].argument, rows[i].help);
}

void options_help(const char *letters)
{
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        if (!row->help || !strchr(letters, row->id))
            continue;
        char left[64], dash[8] = "   ";
        if (row->short_form)
            snprintf(dash, sizeof dash, "-%c,", row->short_form);
        snprintf(left, sizeof left, "%s --%s%s%s", dash, row->name,
            row->argument && !is_optional(row) ? " " : "", row->argument ? row->argument : "");
        printf("  %-27s %s\n", left, row->help);
    }
}
