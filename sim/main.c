/* SPDX-License-Identifier: MIT */
/*
 * caboose-sim: runs firmware on a simulated board and reports, or serves the board over USB/IP.
 * A thin program: everything that happens on the board happens in the library (board.h).
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "image/file.h"
#include "parts.h"
#include "pcap.h"
#include "server.h"
#include "usb_host.h"

#ifndef CABOOSE_VERSION
#define CABOOSE_VERSION "unknown"
#endif

/* sysexits.h, and 1 for firmware that broke a rule. */
enum {
    EXIT_RULE = 1,
    EXIT_USAGE = 64,
    EXIT_INPUT = 66,
    EXIT_SOFTWARE = 70,
    EXIT_OUTPUT = 73,
};
enum { UARTS = 3, MAX_LOADS = 16, MAX_EVENTS = 64, PAGE_LIMIT = 256 };
#define FLASH_BASE  UINT32_C(0x08000000)
#define OPTION_BASE UINT32_C(0x1FFFF800)
enum { OPTION_SIZE = 16 };

static const char usage_text[] =
    "Usage: caboose-sim [OPTION]...\n"
    "Runs compiled firmware on a simulated STM32F103 board.\n"
    "\n"
    "Board:\n"
    "  -b, --board PART        the chip (stm32f103c8); --list-parts shows all\n"
    "      --boot0, --boot1    level 1 on the BOOT pins\n"
    "      --hse HZ            the crystal (8000000)\n"
    "      --no-crystal        HSE never becomes ready\n"
    "      --usb-on-hsi        let USB work on the inaccurate internal clock\n"
    "      --pull-up PIN       that switches the pull-up of D+ on when low: PB9 on a Maple Mini\n"
    "                          (pulled up for good, as on a Blue Pill)\n"
    "      --timing WHICH      of flash: typical (default), fastest, slowest\n"
    "      --seed N            of all that is left to chance (0)\n"
    "      --lenient           report broken rules and go on\n"
    "\n"
    "Memory:\n"
    "  -l, --load FILE[@ADDR]  ELF, Intel HEX, DfuSe or raw file (at ADDR; 0x08000000);\n"
    "                          may be repeated\n"
    "      --flash-in FILE     the whole flash, as --flash-out wrote it\n"
    "      --flash-out FILE    writes the whole flash at the end\n"
    "      --options-in FILE   the 16 option bytes, complements and all (as shipped)\n"
    "      --options-out FILE  writes them at the end\n"
    "\n"
    "Run:\n"
    "  -r, --run MS            for so long in virtual time (1000; with --usbip for ever)\n"
    "      --press-reset AT_MS[:HOLD_MS]\n"
    "      --power-cycle AT_MS[:OFF_MS]\n"
    "      --cut N[:TORN]      cuts power in the Nth flash operation; TORN: not-begun,\n"
    "                          half (default), random, done, marginal\n"
    "      --flash-fault N:KIND[:MS]\n"
    "                          the Nth flash operation (0: each) fails; KIND: wrprterr, pgerr,\n"
    "                          no-op, weak, stuck, busy (for MS longer, or for ever)\n"
    "\n"
    "Output:\n"
    "  -u, --uart [N:]FILE     what USART N (or any) sends; - is standard output\n"
    "  -t, --trace WHAT        regs, usb, insn, flash, separated by commas\n"
    "      --trace-file FILE   instead of standard error\n"
    "      --pcap FILE         the USB transfers for Wireshark: pcap-ng, as Linux's usbmon\n"
    "  -j, --json FILE         a summary; - is standard output\n"
    "  -v, --verbose           events on standard error\n"
    "\n"
    "USB:\n"
    "      --usbip[=PORT]      serves the board's USB on 127.0.0.1 (3240; 0: any free port)\n"
    "      --control=PATH      Unix socket for commands; \"help\" there lists them\n"
    "      --clock=WHICH       virtual: time passes as the USB needs it; wall (default)\n"
    "\n"
    "      --list-parts, --help, --version\n"
    "\n"
    "Exit: 0 fine, 1 the firmware broke a rule of the hardware, 64 usage, 66 cannot read,\n"
    "70 internal error, 73 cannot write.\n";

struct event {
    uint64_t at;
    enum { PRESS_RESET, POWER_OFF, POWER_ON } kind;
    uint64_t hold;
};

struct pin_watch {
    bool seen, level;
    uint64_t changes;
};

struct program {
    struct board_config config;
    struct board *board;
    const char *loads[MAX_LOADS];
    size_t load_count;
    const char *flash_in, *flash_out, *options_in, *options_out, *json, *trace_path, *pcap_path,
        *control;
    struct event events[MAX_EVENTS];
    size_t event_count;
    bool run_given, verbose, usbip, virtual_clock;
    uint64_t run_ns;
    uint16_t port;
    uint64_t cut;
    enum board_torn torn;
    struct board_flash_failure failure;
    const char *uart_path[UARTS];
    FILE *uart[UARTS], *trace, *pcap;
    char *text[UARTS]; /* what each USART sent */
    size_t length[UARTS], room[UARTS];
    struct pin_watch pins[7][16];
};

/* --- messages ----------------------------------------------------------------------------------- */

static _Noreturn void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

static _Noreturn void fail(int code, const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fputs("caboose-sim: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(code);
}

/* --- what the board says ------------------------------------------------------------------------ */

static void on_uart(void *context, unsigned usart, uint8_t byte)
{
    struct program *p = context;
    unsigned i = usart - 1;
    if (p->uart[i])
        fputc(byte, p->uart[i]);
    if (p->length[i] == p->room[i]) {
        size_t room = p->room[i] ? p->room[i] * 2 : 256;
        char *text = realloc(p->text[i], room);
        if (!text)
            return;
        p->text[i] = text;
        p->room[i] = room;
    }
    p->text[i][p->length[i]++] = (char)byte;
}

static void on_pin(void *context, char port, unsigned pin, bool level)
{
    struct program *p = context;
    struct pin_watch *w = &p->pins[port - 'A'][pin];
    w->seen = true;
    w->level = level;
    w->changes++;
    uint64_t now = p->board ? board_now(p->board) : 0; /* none yet: board_new() tells of BOOT1 */
    if (p->verbose)
        fprintf(stderr, "%6" PRIu64 ".%03" PRIu64 " ms  P%c%u = %d\n", now / BOARD_MS,
            now / BOARD_US % 1000, port, pin, level);
}

static void on_log(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static void on_trace(void *context, const char *line)
{
    const struct program *p = context;
    fprintf(p->trace, "%s\n", line);
}

static void on_transfer(void *context, const struct usb_transfer *transfer)
{
    const struct program *p = context;
    pcap_write(p->pcap, transfer);
}

/* --- arguments ---------------------------------------------------------------------------------- */

enum { NO_END = 0 };

/* A number up to the character `end` (or the end of the text); where it stopped. */
static uint64_t number(const char *option, const char *text, char end, const char **rest)
{
    char *stop;
    errno = 0;
    unsigned long long value = strtoull(text, &stop, 0);
    bool good = stop != text && !errno && *text != '-' && (!*stop || (end && *stop == end));
    if (!good)
        fail(EXIT_USAGE, "--%s: '%s' is not a number; decimal, or hexadecimal after 0x", option,
            text);
    if (rest)
        *rest = *stop ? stop + 1 : NULL;
    return value;
}

/* Milliseconds, with a fraction if need be. */
static uint64_t duration(const char *option, const char *text, char end, const char **rest)
{
    char *stop;
    double ms = strtod(text, &stop);
    if (stop == text || !(ms >= 0 && ms < 1e12) || (*stop && (!end || *stop != end)))
        fail(EXIT_USAGE, "--%s: '%s' is not a time in milliseconds", option, text);
    if (rest)
        *rest = *stop ? stop + 1 : NULL;
    return (uint64_t)(ms * 1e6 + 0.5);
}

static unsigned choice(const char *option, const char *text, const char *const *names)
{
    for (unsigned i = 0; names[i]; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    fprintf(stderr, "caboose-sim: --%s: '%s' is none of", option, text);
    for (unsigned i = 0; names[i]; i++)
        fprintf(stderr, " %s", names[i]);
    fputc('\n', stderr);
    exit(EXIT_USAGE);
}

static void add_event(struct program *p, struct event event)
{
    if (p->event_count == MAX_EVENTS)
        fail(EXIT_USAGE, "more than %d events", MAX_EVENTS);
    size_t i = p->event_count++;
    for (; i && p->events[i - 1].at > event.at; i--) /* sorted by time */
        p->events[i] = p->events[i - 1];
    p->events[i] = event;
}

static void parse_press(struct program *p, const char *text)
{
    const char *rest;
    uint64_t at = duration("press-reset", text, ':', &rest);
    uint64_t hold = rest ? duration("press-reset", rest, NO_END, NULL) : 10 * BOARD_MS;
    add_event(p, (struct event){at, PRESS_RESET, hold});
}

static void parse_power_cycle(struct program *p, const char *text)
{
    const char *rest;
    uint64_t at = duration("power-cycle", text, ':', &rest);
    uint64_t off = rest ? duration("power-cycle", rest, NO_END, NULL) : 100 * BOARD_MS;
    add_event(p, (struct event){at, POWER_OFF, 0});
    add_event(p, (struct event){at + off, POWER_ON, 0});
}

static const char *const torn_names[] = {"not-begun", "half", "random", "done", "marginal", NULL};

static void parse_pull_up(struct program *p, const char *text)
{
    char port, extra;
    unsigned pin;
    if (sscanf(text, "P%c%2u%c", &port, &pin, &extra) != 2 || port < 'A' || port > 'G' || pin > 15)
        fail(EXIT_USAGE, "--pull-up: '%s' is not a pin; PA0 to PG15, as PB9", text);
    p->config.pull_up_port = port;
    p->config.pull_up_pin = pin;
}

static void parse_cut(struct program *p, const char *text)
{
    const char *rest;
    p->cut = number("cut", text, ':', &rest);
    p->torn = rest ? (enum board_torn)choice("cut", rest, torn_names) : BOARD_TORN_HALF;
    if (!p->cut)
        fail(EXIT_USAGE, "--cut: operations are counted from 1");
}

static const char *const fault_names[] = {
    "good", "wrprterr", "pgerr", "no-op", "weak", "stuck", "busy", NULL};

static void parse_flash_fault(struct program *p, const char *text)
{
    const char *rest;
    char kind[16];
    p->failure.nth = number("flash-fault", text, ':', &rest);
    size_t length = rest ? strcspn(rest, ":") : 0;
    snprintf(kind, sizeof kind, "%.*s", (int)length, rest ? rest : "");
    p->failure.fault = (enum board_flash_fault)choice("flash-fault", kind, fault_names);
    p->failure.busy_ns = BOARD_FOR_EVER;
    if (rest && rest[length])
        p->failure.busy_ns = duration("flash-fault", rest + length + 1, NO_END, NULL);
}

static void parse_uart(struct program *p, const char *text)
{
    bool one = text[0] >= '1' && text[0] <= '3' && text[1] == ':';
    for (unsigned i = 0; i < UARTS; i++)
        if (!one || i == (unsigned)(text[0] - '1'))
            p->uart_path[i] = one ? text + 2 : text;
}

static void parse_trace(struct program *p, const char *text)
{
    static const char *const names[] = {"regs", "usb", "insn", "flash", NULL};
    char copy[64];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strtok(copy, ","); word; word = strtok(NULL, ","))
        p->config.trace_what |= 1U << choice("trace", word, names);
}

static _Noreturn void list_parts(void)
{
    puts("part           flash KB  page B  RAM KB");
    for (size_t i = 0; i < part_count; i++)
        printf("%-14s %8u %7u %7u\n", parts[i].name, parts[i].flash_kb, parts[i].page_size,
            parts[i].ram_kb);
    exit(EXIT_SUCCESS);
}

enum option_code {
    OPT_BOOT0 = 256,
    OPT_BOOT1,
    OPT_HSE,
    OPT_NO_CRYSTAL,
    OPT_USB_ON_HSI,
    OPT_PULL_UP,
    OPT_TIMING,
    OPT_SEED,
    OPT_LENIENT,
    OPT_FLASH_IN,
    OPT_FLASH_OUT,
    OPT_OPTIONS_IN,
    OPT_OPTIONS_OUT,
    OPT_PRESS_RESET,
    OPT_POWER_CYCLE,
    OPT_CUT,
    OPT_FLASH_FAULT,
    OPT_TRACE_FILE,
    OPT_PCAP,
    OPT_USBIP,
    OPT_CONTROL,
    OPT_CLOCK,
    OPT_LIST_PARTS,
    OPT_HELP,
    OPT_VERSION,
};

// clang-format off
static const struct option options[] = {
    {"board",       required_argument, NULL, 'b'},
    {"part",        required_argument, NULL, 'b'},
    {"boot0",       no_argument,       NULL, OPT_BOOT0},
    {"boot1",       no_argument,       NULL, OPT_BOOT1},
    {"hse",         required_argument, NULL, OPT_HSE},
    {"no-crystal",  no_argument,       NULL, OPT_NO_CRYSTAL},
    {"usb-on-hsi",  no_argument,       NULL, OPT_USB_ON_HSI},
    {"pull-up",     required_argument, NULL, OPT_PULL_UP},
    {"timing",      required_argument, NULL, OPT_TIMING},
    {"seed",        required_argument, NULL, OPT_SEED},
    {"lenient",     no_argument,       NULL, OPT_LENIENT},
    {"load",        required_argument, NULL, 'l'},
    {"flash-in",    required_argument, NULL, OPT_FLASH_IN},
    {"flash-out",   required_argument, NULL, OPT_FLASH_OUT},
    {"options-in",  required_argument, NULL, OPT_OPTIONS_IN},
    {"options-out", required_argument, NULL, OPT_OPTIONS_OUT},
    {"run",         required_argument, NULL, 'r'},
    {"press-reset", required_argument, NULL, OPT_PRESS_RESET},
    {"power-cycle", required_argument, NULL, OPT_POWER_CYCLE},
    {"cut",         required_argument, NULL, OPT_CUT},
    {"flash-fault", required_argument, NULL, OPT_FLASH_FAULT},
    {"uart",        required_argument, NULL, 'u'},
    {"trace",       required_argument, NULL, 't'},
    {"trace-file",  required_argument, NULL, OPT_TRACE_FILE},
    {"pcap",        required_argument, NULL, OPT_PCAP},
    {"json",        required_argument, NULL, 'j'},
    {"verbose",     no_argument,       NULL, 'v'},
    {"usbip",       optional_argument, NULL, OPT_USBIP},
    {"control",     required_argument, NULL, OPT_CONTROL},
    {"clock",       required_argument, NULL, OPT_CLOCK},
    {"list-parts",  no_argument,       NULL, OPT_LIST_PARTS},
    {"help",        no_argument,       NULL, OPT_HELP},
    {"version",     no_argument,       NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};
// clang-format on

static void take_option(struct program *p, int code)
{
    static const char *const timings[] = {"typical", "fastest", "slowest", NULL};
    static const char *const clocks[] = {"wall", "virtual", NULL};
    uint64_t value;
    switch (code) {
    case 'b':
        p->config.part = optarg;
        break;
    case 'l':
        if (p->load_count == MAX_LOADS)
            fail(EXIT_USAGE, "--load: more than %d files", MAX_LOADS);
        p->loads[p->load_count++] = optarg;
        break;
    case 'r':
        p->run_ns = duration("run", optarg, NO_END, NULL);
        p->run_given = true;
        break;
    case 'u':
        parse_uart(p, optarg);
        break;
    case 't':
        parse_trace(p, optarg);
        break;
    case 'j':
        p->json = optarg;
        break;
    case 'v':
        p->verbose = true;
        break;
    case OPT_BOOT0:
        p->config.boot0 = true;
        break;
    case OPT_BOOT1:
        p->config.boot1 = true;
        break;
    case OPT_HSE:
        value = number("hse", optarg, NO_END, NULL);
        if (value < 4000000 || value > 16000000) /* DS5319: 4 … 16 MHz */
            fail(EXIT_USAGE, "--hse: a crystal of this chip has 4000000 to 16000000 Hz");
        p->config.hse_hz = (uint32_t)value;
        break;
    case OPT_NO_CRYSTAL:
        p->config.hse_hz = BOARD_NO_CRYSTAL;
        break;
    case OPT_USB_ON_HSI:
        p->config.usb_on_hsi = true;
        break;
    case OPT_PULL_UP:
        parse_pull_up(p, optarg);
        break;
    case OPT_TIMING:
        p->config.timing = (enum board_timing)choice("timing", optarg, timings);
        break;
    case OPT_SEED:
        p->config.seed = number("seed", optarg, NO_END, NULL);
        break;
    case OPT_LENIENT:
        p->config.lenient = true;
        break;
    case OPT_FLASH_IN:
        p->flash_in = optarg;
        break;
    case OPT_FLASH_OUT:
        p->flash_out = optarg;
        break;
    case OPT_OPTIONS_IN:
        p->options_in = optarg;
        break;
    case OPT_OPTIONS_OUT:
        p->options_out = optarg;
        break;
    case OPT_PRESS_RESET:
        parse_press(p, optarg);
        break;
    case OPT_POWER_CYCLE:
        parse_power_cycle(p, optarg);
        break;
    case OPT_CUT:
        parse_cut(p, optarg);
        break;
    case OPT_FLASH_FAULT:
        parse_flash_fault(p, optarg);
        break;
    case OPT_TRACE_FILE:
        p->trace_path = optarg;
        break;
    case OPT_PCAP:
        p->pcap_path = optarg;
        break;
    case OPT_USBIP:
        p->usbip = true;
        value = optarg ? number("usbip", optarg, NO_END, NULL) : 3240;
        if (value > UINT16_MAX)
            fail(EXIT_USAGE, "--usbip: a port is at most 65535");
        p->port = (uint16_t)value;
        break;
    case OPT_CONTROL:
        p->control = optarg;
        break;
    case OPT_CLOCK:
        p->virtual_clock = choice("clock", optarg, clocks) == 1;
        break;
    case OPT_LIST_PARTS:
        list_parts();
    case OPT_HELP:
        fputs(usage_text, stdout);
        exit(EXIT_SUCCESS);
    case OPT_VERSION:
        puts("caboose-sim " CABOOSE_VERSION);
        exit(EXIT_SUCCESS);
    default: /* getopt has said what is wrong */
        fputs("Try 'caboose-sim --help'.\n", stderr);
        exit(EXIT_USAGE);
    }
}

static void parse(struct program *p, int argc, char **argv)
{
    int code;
    while ((code = getopt_long(argc, argv, "b:l:r:u:t:j:v", options, NULL)) != -1)
        take_option(p, code);
    if (optind < argc)
        fail(EXIT_USAGE, "what is '%s'? A file is loaded with --load", argv[optind]);
    if (p->control && !p->usbip)
        fail(EXIT_USAGE, "--control needs --usbip");
    if (p->event_count && p->usbip)
        fail(EXIT_USAGE,
            "with --usbip the control channel presses the button and cuts the power: --control");
    if (!p->run_given && !p->usbip)
        p->run_ns = 1000 * BOARD_MS;
}

/* --- memory ------------------------------------------------------------------------------------- */

static void load_image(struct program *p, const char *path, uint32_t raw_addr)
{
    struct image image;
    char why[IMAGE_ERROR_SIZE];
    if (image_read(&image, path, raw_addr, why))
        fail(EXIT_INPUT, "%s", why);
    for (size_t i = 0; i < image.count; i++) {
        const struct image_segment *s = &image.segments[i];
        if (board_load(p->board, s->addr, s->data, s->size))
            fail(EXIT_INPUT,
                "%s: 0x%08" PRIx32 " to 0x%08" PRIx32
                " is not in the memory of %s, which has %u KB "
                "of flash at 0x08000000; choose another --board, or give the address with @",
                path, s->addr, s->addr + s->size - 1, p->config.part,
                (unsigned)board_flash_size(p->board) / 1024);
    }
    image_free(&image);
}

/* FILE or FILE@ADDR. */
static void load(struct program *p, const char *argument)
{
    const char *at = strrchr(argument, '@');
    uint32_t addr = FLASH_BASE;
    char *path = strdup(argument);
    if (!path)
        fail(EXIT_SOFTWARE, "no memory");
    if (at && at[1]) {
        uint64_t value = number("load", at + 1, NO_END, NULL);
        if (value > UINT32_MAX)
            fail(EXIT_USAGE, "--load: address %s has more than 32 bits", at + 1);
        addr = (uint32_t)value;
        path[at - argument] = '\0';
    }
    load_image(p, path, addr);
    free(path);
}

/* The option bytes as they stand in the chip: each followed by its complement. */
static void load_options(struct program *p, const char *path)
{
    uint8_t bytes[OPTION_SIZE + 1];
    FILE *f = fopen(path, "rb");
    if (!f)
        fail(EXIT_INPUT, "--options-in: %s: cannot read: %s", path, strerror(errno));
    size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    if (size != OPTION_SIZE)
        fail(EXIT_INPUT,
            "--options-in: %s has %s %d bytes, which is what the option bytes are with their "
            "complements, as --options-out writes them",
            path, size < OPTION_SIZE ? "less than" : "more than", OPTION_SIZE);
    board_load(p->board, OPTION_BASE, bytes, size);
}

static bool save(const struct program *p, const char *path, uint32_t addr, uint32_t size)
{
    uint8_t *copy = malloc(size);
    FILE *f = copy ? fopen(path, "wb") : NULL;
    bool good = f && !board_peek(p->board, addr, copy, size) && fwrite(copy, size, 1, f) == 1;
    if (f && fclose(f))
        good = false;
    free(copy);
    return good;
}

static bool save_flash(const struct program *p, const char *path)
{
    return save(p, path, FLASH_BASE, board_flash_size(p->board));
}

/* --- the summary -------------------------------------------------------------------------------- */

/* Bytes as text: each above 0x7E as the character of that number. */
static json_t *json_text(const char *bytes, size_t length)
{
    char *utf8 = malloc(length * 2 + 1);
    size_t n = 0;
    if (!utf8)
        return json_null();
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x80)
            utf8[n++] = (char)(0xC0 | c >> 6);
        utf8[n++] = (char)(c >= 0x80 ? 0x80 | (c & 0x3F) : c);
    }
    json_t *text = json_stringn(utf8, n);
    free(utf8);
    return text;
}

static json_t *json_counts(const struct board *b)
{
    struct board_counts c;
    board_counts(b, &c);
    uint32_t worn = 0;
    for (unsigned i = 0; i < PAGE_LIMIT; i++)
        if (board_page_wear(b, i) > worn)
            worn = board_page_wear(b, i);
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "instructions",
        (json_int_t)c.instructions, "cycles", (json_int_t)c.cycles, "flash_operations",
        (json_int_t)c.flash_operations, "page_erases", (json_int_t)c.page_erases, "mass_erases",
        (json_int_t)c.mass_erases, "option_erases", (json_int_t)c.option_erases, "halfwords",
        (json_int_t)c.halfwords, "resets", (json_int_t)c.resets, "watchdog_resets",
        (json_int_t)c.watchdog_resets, "complaints", (json_int_t)c.complaints, "page0_open_ns",
        (json_int_t)c.page0_open_ns, "page0_windows", (json_int_t)c.page0_windows, "flash_faults",
        (json_int_t)c.flash_faults, "page_wear_max", (json_int_t)worn);
}

static json_t *json_complaint(const struct board *b)
{
    const struct board_complaint *c = board_complaint(b);
    char pc[16], addr[16];
    if (!c)
        return json_null();
    snprintf(pc, sizeof pc, "0x%08" PRIx32, c->pc);
    snprintf(addr, sizeof addr, "0x%08" PRIx32, c->addr);
    return json_pack("{s:s,s:s,s:s,s:I}", "rule", c->rule, "pc", pc, "address", addr, "time_ns",
        (json_int_t)c->when_ns);
}

static const char *const stop_names[] = {[BOARD_DONE] = "done",
    [BOARD_ERROR] = "error",
    [BOARD_CUT] = "cut",
    [BOARD_BREAK] = "breakpoint"};

static json_t *summary(const struct program *p, enum board_stop stop)
{
    const struct board *b = p->board;
    char pc[16];
    snprintf(pc, sizeof pc, "0x%08" PRIx32, board_pc(b));
    json_t *all = json_pack("{s:s,s:s,s:I,s:s,s:b,s:o,s:o}", "part", p->config.part, "stop",
        stop_names[stop], "time_ns", (json_int_t)board_now(b), "pc", pc, "powered",
        board_powered(b), "counts", json_counts(b), "complaint", json_complaint(b));
    json_t *uart = json_object(), *pins = json_object();
    for (unsigned i = 0; i < UARTS; i++) {
        char name[8];
        snprintf(name, sizeof name, "%u", i + 1);
        if (p->length[i])
            json_object_set_new(uart, name, json_text(p->text[i], p->length[i]));
    }
    for (unsigned port = 0; port < 7; port++)
        for (unsigned pin = 0; pin < 16; pin++) {
            const struct pin_watch *w = &p->pins[port][pin];
            char name[8];
            snprintf(name, sizeof name, "P%c%u", 'A' + port, pin);
            if (w->seen)
                json_object_set_new(pins, name,
                    json_pack(
                        "{s:i,s:I}", "level", (int)w->level, "changes", (json_int_t)w->changes));
        }
    json_object_set_new(all, "uart", uart);
    json_object_set_new(all, "pins", pins);
    return all;
}

static void write_summary(const struct program *p, enum board_stop stop)
{
    json_t *all = summary(p, stop);
    FILE *f = strcmp(p->json, "-") == 0 ? stdout : fopen(p->json, "w");
    bool good = f && all && json_dumpf(all, f, JSON_INDENT(2)) == 0 && fputc('\n', f) != EOF;
    if (f && f != stdout && fclose(f))
        good = false;
    json_decref(all);
    if (!good)
        fail(EXIT_OUTPUT, "%s: cannot write the summary: %s", p->json, strerror(errno));
}

/* --- running ------------------------------------------------------------------------------------ */

static void perform(struct program *p, const struct event *event)
{
    switch (event->kind) {
    case PRESS_RESET:
        board_press_reset(p->board, event->hold);
        break;
    case POWER_OFF:
        board_power(p->board, false);
        break;
    case POWER_ON:
        board_power(p->board, true);
        break;
    }
}

static enum board_stop run(struct program *p)
{
    enum board_stop stop = BOARD_DONE;
    for (size_t i = 0; i < p->event_count && stop == BOARD_DONE; i++) {
        if (p->events[i].at > p->run_ns)
            break;
        stop = board_run_until(p->board, p->events[i].at);
        if (stop == BOARD_DONE)
            perform(p, &p->events[i]);
    }
    return stop == BOARD_DONE ? board_run_until(p->board, p->run_ns) : stop;
}

static void on_ready(void *context, const char *address, uint16_t port)
{
    const struct program *p = context;
    printf("USB/IP on %s port %u", address, port);
    if (p->control)
        printf(", control on %s", p->control);
    putchar('\n');
    fflush(stdout);
}

/* Bytes without line ends, for the one line that an answer is. */
static void escape(const char *bytes, size_t length, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < length && n + 5 < size; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c == '\\')
            n += (size_t)snprintf(out + n, size - n, "\\\\");
        else if (c >= ' ' && c < 0x7F)
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, size - n, "\\x%02x", c);
    }
    out[n] = '\0';
}

static bool command_uart(struct program *p, const char *line, char *answer, size_t size)
{
    unsigned n;
    int used = 0;
    if (sscanf(line, "uart %u%n", &n, &used) != 1 || n < 1 || n > UARTS)
        return false;
    if (strncmp(line + used, " send ", 6) == 0) {
        for (const char *c = line + used + 6; *c; c++)
            board_uart_send(p->board, n, (uint8_t)*c);
        board_uart_send(p->board, n, '\r');
        snprintf(answer, size, "ok");
        return true;
    }
    if (line[used] || size < 8)
        return false;
    memcpy(answer, "ok ", 3);
    /* The last part, if there is more than fits. */
    size_t most = (size - 8) / 4, length = p->length[n - 1];
    size_t skip = length > most ? length - most : 0;
    if (length)
        escape(p->text[n - 1] + skip, length - skip, answer + 3, size - 3);
    else
        answer[2] = '\0';
    return true;
}

static bool command_peek(struct program *p, const char *line, char *answer, size_t size)
{
    unsigned addr, length;
    uint8_t bytes[256];
    if (sscanf(line, "peek %x %u", &addr, &length) != 2)
        return false;
    if (length > sizeof bytes || size < length * 2 + 4 ||
        board_peek(p->board, addr, bytes, length)) {
        snprintf(answer, size, "error no memory there, or more than %zu bytes", sizeof bytes);
        return true;
    }
    int n = snprintf(answer, size, "ok ");
    for (unsigned i = 0; i < length; i++)
        n += snprintf(answer + n, size - (size_t)n, "%02x", bytes[i]);
    return true;
}

static bool command_flash_fault(struct program *p, const char *line, char *answer, size_t size)
{
    struct board_flash_failure failure = {.seed = p->config.seed, .busy_ns = BOARD_FOR_EVER};
    char kind[16];
    double ms;
    int got = sscanf(line, "flash-fault %" SCNu64 " %15s %lf", &failure.nth, kind, &ms);
    unsigned i = 0;
    while (got >= 2 && fault_names[i] && strcmp(fault_names[i], kind) != 0)
        i++;
    if (got < 2 || !fault_names[i] || (got == 3 && !(ms >= 0 && ms < 1e12))) {
        snprintf(
            answer, size, "error flash-fault N good|wrprterr|pgerr|no-op|weak|stuck|busy [MS]");
        return true;
    }
    failure.fault = (enum board_flash_fault)i;
    if (got == 3)
        failure.busy_ns = (uint64_t)(ms * 1e6 + 0.5);
    board_fail_flash(p->board, &failure);
    snprintf(answer, size, "ok");
    return true;
}

/* A page of flash a character: '.' blank, '-' less than half programmed, '#' more. */
static void flash_map(struct program *p, char *answer, size_t size)
{
    uint32_t page = board_page_size(p->board), n = 3;
    snprintf(answer, size, "ok ");
    for (uint32_t at = 0; at < board_flash_size(p->board) && n + 1 < size; at += page) {
        uint32_t programmed = 0;
        for (uint32_t i = 0; i < page; i++) {
            uint8_t byte = 0xFF;
            board_peek(p->board, FLASH_BASE + at + i, &byte, 1);
            programmed += byte != 0xFF;
        }
        answer[n++] = !programmed ? '.' : programmed < page / 2 ? '-' : '#';
    }
    answer[n] = '\0';
}

/* Beside the server's own commands:
 *     uart N              what USART N has sent, escaped
 *     uart N send TEXT    sends TEXT and a carriage return to it
 *     peek ADDR N         N bytes of memory; ADDR is hexadecimal
 *     save FILE           the whole flash
 *     flash-fault N KIND [MS]  the Nth flash operation from now (0: each) fails
 *     map                 a page of flash a character: . blank, - less than half programmed, #
 *     summary             as --json, on one line */
static bool on_command(void *context, const char *line, char *answer, size_t size)
{
    struct program *p = context;
    if (strncmp(line, "save ", 5) == 0) {
        bool good = save_flash(p, line + 5);
        snprintf(answer, size, good ? "ok" : "error cannot write: %s", strerror(errno));
        return true;
    }
    if (strncmp(line, "flash-fault ", 12) == 0)
        return command_flash_fault(p, line, answer, size);
    if (strcmp(line, "map") == 0) {
        flash_map(p, answer, size);
        return true;
    }
    if (strcmp(line, "summary") == 0) {
        json_t *all = summary(p, BOARD_DONE);
        char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
        if (text && strlen(text) + 4 <= size)
            snprintf(answer, size, "ok %s", text);
        else
            snprintf(answer, size, "error too long; use --json");
        free(text);
        json_decref(all);
        return true;
    }
    return command_uart(p, line, answer, size) || command_peek(p, line, answer, size);
}

static int serve(struct program *p)
{
    struct server_options o = {.port = p->port,
        .control_path = p->control,
        .virtual_clock = p->virtual_clock,
        .until_ns = p->run_ns,
        .ready = on_ready,
        .command = on_command,
        .context = p};
    usb_plug(p->board);
    return server_run(p->board, &o);
}

/* --- main --------------------------------------------------------------------------------------- */

static FILE *open_output(const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "wb");
    if (!f)
        fail(EXIT_OUTPUT, "%s: cannot write: %s", path, strerror(errno));
    return f;
}

static void open_outputs(struct program *p)
{
    p->trace = p->trace_path ? open_output(p->trace_path) : stderr;
    if (p->pcap_path) {
        p->pcap = open_output(p->pcap_path);
        pcap_begin(p->pcap);
    }
    for (unsigned i = 0; i < UARTS; i++) {
        for (unsigned k = 0; k < i; k++)
            if (p->uart_path[i] && p->uart_path[i] == p->uart_path[k])
                p->uart[i] = p->uart[k];
        if (p->uart_path[i] && !p->uart[i]) {
            p->uart[i] = open_output(p->uart_path[i]);
            setvbuf(p->uart[i], NULL, _IOLBF, 0); /* somebody follows it: each line at once */
        }
    }
}

static void make_board(struct program *p)
{
    if (!part_find(p->config.part))
        fail(EXIT_USAGE, "--board: there is no '%s'; --list-parts shows what there is",
            p->config.part);
    p->config.context = p;
    p->config.uart = on_uart;
    p->config.pin = on_pin;
    p->config.log = p->verbose ? on_log : NULL;
    p->config.trace = p->config.trace_what ? on_trace : NULL;
    p->config.usb = p->pcap ? on_transfer : NULL;
    p->board = board_new(&p->config);
    if (!p->board)
        fail(EXIT_SOFTWARE, "no memory for a board");
    if (p->flash_in)
        load_image(p, p->flash_in, FLASH_BASE);
    if (p->options_in)
        load_options(p, p->options_in);
    for (size_t i = 0; i < p->load_count; i++)
        load(p, p->loads[i]);
    p->failure.seed = p->config.seed;
    board_fail_flash(p->board, &p->failure);
    board_cut_at(p->board, p->cut, p->torn, p->config.seed);
}

static void report(const struct program *p)
{
    const struct board_complaint *c = board_complaint(p->board);
    if (c && !p->verbose)
        fprintf(stderr,
            "caboose-sim: the firmware broke a rule of the hardware at pc 0x%08" PRIx32
            ", address 0x%08" PRIx32 ", after %" PRIu64 ".%06" PRIu64 " ms:\n  %s\n",
            c->pc, c->addr, c->when_ns / BOARD_MS, c->when_ns % BOARD_MS, c->rule);
}

int main(int argc, char **argv)
{
    static struct program program = {.config = {.part = "stm32f103c8"}};
    struct program *p = &program;
    parse(p, argc, argv);
    open_outputs(p);
    make_board(p);
    board_power(p->board, true);
    enum board_stop stop = p->usbip ? BOARD_DONE : run(p);
    int code = EXIT_SUCCESS;
    if (stop == BOARD_DONE && p->usbip && serve(p))
        code = EXIT_SOFTWARE;
    if (board_complaint(p->board) && !p->config.lenient) {
        code = EXIT_RULE;
        stop = BOARD_ERROR;
    }
    fflush(NULL);
    report(p);
    if (p->json)
        write_summary(p, stop);
    if (p->pcap && ferror(p->pcap))
        fail(EXIT_OUTPUT, "%s: the capture is not whole: the disk is full, or nobody read on",
            p->pcap_path);
    if (p->flash_out && !save_flash(p, p->flash_out))
        fail(EXIT_OUTPUT, "%s: cannot write: %s", p->flash_out, strerror(errno));
    if (p->options_out && !save(p, p->options_out, OPTION_BASE, OPTION_SIZE))
        fail(EXIT_OUTPUT, "%s: cannot write: %s", p->options_out, strerror(errno));
    board_free(p->board);
    for (unsigned i = 0; i < UARTS; i++)
        free(p->text[i]);
    return code;
}
