/* SPDX-License-Identifier: MIT */
#include "host/options.h"
#include "host/report.h"

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
    bool has_short; /* the id is also its short form */
    const char *name, *argument, *help;
} rows[] = {
    {'u', false, "usbip",     "HOST[:PORT]", "a board that a USB/IP server offers (port 3240), such as caboose-sim"},
    {'d', true,  "device",    "VID:PID",     "only a board with these ids"},
    {'S', true,  "serial",    "SERIAL",      "only the board with this serial number"},
    {'p', true,  "path",      "PATH",        "only the board that is plugged in here, as list shows"},
    {'a', true,  "alt",       "NUMBER",      "this alternate setting (memory) instead of the one with the address"},
    {'A', false, "address",   "0xADDRESS",   "where a raw file goes, or where to begin"},
    {'s', true,  "size",        "BYTES",       "how much; K and M are understood"},
    {'V', false, "no-verify", NULL,          "do not read back and compare"},
    {'L', false, "no-leave",  NULL,          "stay in the bootloader; do not start the program"},
    {'f', false, "force",     NULL,          "although the file looks wrong for the board"},
    {'w', true,  "wait",      "[=SECONDS]",  "wait for the board to appear"},
    {'o', true,  "output",    "FILE",        "where to write; - is standard output"},
    {'j', false, "json",      NULL,          "for programs to read"},
    {'q', true,  "quiet",     NULL,          "say nothing but errors"},
    {'h', true,  "help",      NULL,          "this help"},
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
        if (!row->has_short)
            continue;
        *shorts++ = row->id;
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
        o->usbip = argument;
        return argument[0] && argument[0] != ':';
    case 'd':
        return parse_ids(argument, &o->vendor, &o->product);
    case 'S':
        o->serial = argument;
        return true;
    case 'p':
        o->path = argument;
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
    case 'j':
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
    const char *hint = id == 'A'   ? "an address is hexadecimal: 0x08000000"
                       : id == 'd' ? "the ids are hexadecimal: 0483:df11"
                                   : "see caboose help";
    report_error("%s: --%s %s is not %s; %s", command, row->name, argument, row->argument, hint);
    return EX_USAGE;
}

int options_parse(
    struct options *options, const char *command, const char *letters, int argc, char **argv)
{
    char shorts[3 * ROWS + 3];
    struct option longs[ROWS + 1];
    *options = (struct options){.vendor = OPTIONS_ANY,
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
        int id = c >= ID_BASE ? c - ID_BASE : c;
        if (!take(options, id, optarg))
            return complain_argument(command, id, optarg);
    }
    options->args = argv + optind;
    options->arg_count = argc - optind;
    return 0;
}

void options_help(const char *letters)
{
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        if (!strchr(letters, row->id))
            continue;
        char left[64], dash[8] = "   ";
        if (row->has_short)
            snprintf(dash, sizeof dash, "-%c,", row->id);
        snprintf(left, sizeof left, "%s --%s%s%s", dash, row->name,
            row->argument && !is_optional(row) ? " " : "", row->argument ? row->argument : "");
        printf("  %-27s %s\n", left, row->help);
    }
}
