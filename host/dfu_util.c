/* SPDX-License-Identifier: MIT */
#include "host/dfu_util.h"
#include "core/dfu.h"
#include "host/dfu_util_parts.h"
#include "host/load.h"
#include "image/file.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum {
    WAIT_STEP_MS = 20, /* -w */
    BAR = 25,          /* characters */
};

void dfu_util_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("dfu-util: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void dfu_util_sleep(uint32_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (ms && nanosleep(&left, &left) && errno == EINTR)
        ;
}

void dfu_util_bar(const char *what, uint64_t done, uint64_t total)
{
    static int shown = -1;
    char bar[BAR + 1];
    if (total == 0 || total < done) /* not known, or wrong */
        total = done + 1;
    int filled = (int)(BAR * done / total);
    if (filled == shown && filled != BAR)
        return;
    memset(bar, '=', (size_t)filled);
    memset(bar + filled, ' ', (size_t)(BAR - filled));
    bar[BAR] = '\0';
    printf("\r%s\t[%s] %3llu%% %12llu bytes", what, bar, (unsigned long long)(100 * done / total),
        (unsigned long long)done);
    if (filled == BAR)
        printf("\n%s done.\n", what);
    shown = filled == BAR ? -1 : filled;
}

bool dfu_util_is(const char *program)
{
    const char *slash = strrchr(program, '/');
    return strcmp(slash ? slash + 1 : program, "dfu-util") == 0;
}

/* --- the command line: help --------------------------------------------------------------------- */

enum { USBIP = 256 };

// clang-format off
static const struct {
    const char *name;
    int letter;
    const char *argument, *help;
} table[] = {
    {"help",          'h', NULL,                 "this text"},
    {"version",       'V', NULL,                 "the version"},
    {"verbose",       'v', NULL,                 "say more; twice: still more"},
    {"list",          'l', NULL,                 "list the DFU devices that there are"},
    {"detach",        'e', NULL,                 "switch from run-time to DFU mode, no more"},
    {"detach-delay",  'E', "SECONDS",            "how long to wait for it to come back (5)"},
    {"device",        'd', "VID:PID[,VID:PID]",  "in run-time, in DFU mode; * any, - none"},
    {"devnum",        'n', "NUMBER",             "the device of this number in -l"},
    {"path",          'p', "BUS-PORT[.PORT]…",   "the device that is plugged in there"},
    {"cfg",           'c', "NUMBER",             "configuration (only to select)"},
    {"configuration", 'c', NULL,                 NULL},
    {"intf",          'i', "NUMBER",             "DFU interface"},
    {"interface",     'i', NULL,                 NULL},
    {"serial",        'S', "TEXT[,TEXT]",        "serial number, and in DFU mode"},
    {"alt",           'a', "NUMBER or NAME",     "alternate setting: a memory"},
    {"altsetting",    'a', NULL,                 NULL},
    {"transfer-size", 't', "BYTES",              "per USB transfer; else as the device says"},
    {"upload",        'U', "FILE",               "read the device's memory into a new file"},
    {"upload-size",   'Z', "BYTES",              "how much that will be, for the bar"},
    {"download",      'D', "FILE",               "write a file of any kind; - is stdin"},
    {"reset",         'R', NULL,                 "reset the device's port at the end"},
    {"wait",          'w', NULL,                 "wait for the device to be plugged in"},
    {"dfuse-address", 's', "[ADDRESS][:WORD]…",  "where to write or read, and of DfuSe:"},
    {"usbip",         USBIP, "HOST[:PORT]",      "devices of a USB/IP server"},
};
// clang-format on

enum { TABLE = sizeof table / sizeof table[0] };

static const char *const words[][2] = {
    {"leave",      "start the program"                                },
    {"mass-erase", "erase everything first (needs force)"             },
    {"unprotect",  "remove the protection and erase all (needs force)"},
    {"will-reset", "the device resets itself at the last write"       },
    {"force",      "do what looks wrong"                              },
    {"BYTES",      "how much to upload"                               },
};

static void help(void)
{
    fprintf(stderr, "Usage: dfu-util [options] ...\n");
    for (size_t i = 0; i < TABLE; i++) {
        char letter[8] = "   ";
        if (!table[i].help)
            continue;
        if (table[i].letter < USBIP)
            snprintf(letter, sizeof letter, "-%c,", table[i].letter);
        int n = fprintf(stderr, "  %s --%s %s", letter, table[i].name,
            table[i].argument ? table[i].argument : "");
        fprintf(stderr, "%*s%s\n", n < 38 ? 38 - n : 1, "", table[i].help);
        for (size_t w = 0; table[i].letter == 's' && w < sizeof words / sizeof words[0]; w++)
            fprintf(stderr, "%*s:%-10s %s\n", 12, "", words[w][0], words[w][1]);
    }
}

/* --- the command line: values ------------------------------------------------------------------- */

/* One id of a pair; what is not given is as before. */
static void take_id(int *id, const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 16);
    if (*text == '*')
        *id = DFU_UTIL_ANY;
    else if (*text == '-')
        *id = DFU_UTIL_NONE;
    else if (end != text)
        *id = value < DFU_UTIL_NONE ? (int)value : DFU_UTIL_NONE;
}

/* "vendor:product" up to a comma or the end. */
static void take_pair(struct dfu_util_ids *ids, const char *text)
{
    const char *colon = strchr(text, ':'), *comma = strchr(text, ',');
    take_id(&ids->vendor, text);
    if (colon && (!comma || colon < comma))
        take_id(&ids->product, colon + 1);
}

/* "run-time[,dfu]": the first alone leaves DFU mode open, the second alone excludes run-time mode, and
 * what the second leaves out is as in the first. */
static void take_ids(struct dfu_util_options *o, const char *text)
{
    const struct dfu_util_ids any = {DFU_UTIL_ANY, DFU_UTIL_ANY};
    const struct dfu_util_ids none = {DFU_UTIL_NONE, DFU_UTIL_NONE};
    const char *comma = strchr(text, ',');
    o->runtime = o->dfu = any;
    if (comma == text)
        o->runtime = none;
    else
        take_pair(&o->runtime, text);
    if (comma && comma != text)
        o->dfu = o->runtime;
    if (comma)
        take_pair(&o->dfu, comma + 1);
}

static void take_serials(struct dfu_util_options *o, char *text)
{
    char *comma = strchr(text, ',');
    o->serial = o->serial_dfu = text;
    if (comma) {
        *comma = '\0';
        o->serial_dfu = comma + 1;
    }
    if (!*o->serial)
        o->serial = NULL;
    if (!*o->serial_dfu)
        o->serial_dfu = NULL;
}

static int take_number(int *number, const char *option, const char *text)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 0);
    if (end == text)
        dfu_util_say("No digits were found from the argument of --%s", option);
    else if (errno || *end || value < 0 || value > INT32_MAX)
        dfu_util_say("Something went wrong with the argument of --%s: \"%s\" is not a number that "
                     "it can have",
            option, text);
    else {
        *number = (int)value;
        return 0;
    }
    return EX_USAGE;
}

static void take_alt(struct dfu_util_options *o, const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 0);
    o->alt_name = *end || end == text ? text : NULL;
    o->alt = o->alt_name ? DFU_UTIL_ANY : value < 256 ? (int)value : 256;
}

/* A whole word of -s as a number. */
static bool take_word_number(uint32_t *number, const char *word, size_t size)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(word, &end, 0);
    *number = (uint32_t)value;
    return size && end == word + size && !errno && value <= UINT32_MAX && *word != '-';
}

static bool is_word(const char *word, const char *text, size_t size)
{
    return strlen(word) == size && strncmp(word, text, size) == 0;
}

static int take_modifier(struct dfu_util_options *o, const char *word, size_t size)
{
    if (is_word("leave", word, size))
        o->leave = true;
    else if (is_word("force", word, size))
        o->force = true;
    else if (is_word("mass-erase", word, size))
        o->mass_erase = true;
    else if (is_word("unprotect", word, size))
        o->unprotect = true;
    else if (is_word("will-reset", word, size))
        o->will_reset = true;
    else if (size && !take_word_number(&o->length, word, size)) {
        dfu_util_say("Invalid dfuse modifier: %.*s (there are leave, force, mass-erase, unprotect, "
                     "will-reset and a length)",
            (int)size, word);
        return EX_USAGE;
    }
    return 0;
}

/* "0x08000000:leave" */
static int take_dfuse(struct dfu_util_options *o, const char *text)
{
    size_t size = strcspn(text, ":");
    o->dfuse = true;
    o->has_address = size > 0;
    if (size && !take_word_number(&o->address, text, size)) {
        dfu_util_say(
            "Invalid dfuse address: %s (0x and hexadecimal digits, as in 0x08000000)", text);
        return EX_USAGE;
    }
    while (text[size] == ':') {
        text += size + 1;
        size = strcspn(text, ":");
        int error = take_modifier(o, text, size);
        if (error)
            return error;
    }
    return 0;
}

/* -D FILE and then another mode: dfu-util forgets the file, and exits with 0. */
static int take_mode(struct dfu_util_options *o, enum dfu_util_mode mode, const char *file)
{
    if (o->mode == DFU_UTIL_DOWNLOAD && mode != DFU_UTIL_DOWNLOAD && mode != DFU_UTIL_LIST) {
        dfu_util_say("-D %s and then %s: only one of them can be done; to start the program after "
                     "the download, use -s :leave (with a .dfu, ELF or HEX file) or -s "
                     "ADDRESS:leave",
            o->file, mode == DFU_UTIL_DETACH ? "-e" : "-U");
        return EX_USAGE;
    }
    o->mode = mode;
    o->file = file ? file : o->file;
    return 0;
}

static int take(struct dfu_util_options *o, int letter, char *value)
{
    switch (letter) {
    case 'V':
        o->mode = DFU_UTIL_VERSION;
        return 0;
    case 'v':
        o->verbose++;
        return 0;
    case 'l':
        return take_mode(o, DFU_UTIL_LIST, NULL);
    case 'e':
        return take_mode(o, DFU_UTIL_DETACH, NULL);
    case 'E':
        return take_number(&o->detach_delay_s, "detach-delay", value);
    case 'd':
        take_ids(o, value);
        return 0;
    case 'n':
        return take_number(&o->number, "devnum", value);
    case 'p':
        o->path = value;
        return 0;
    case 'c':
        return take_number(&o->configuration, "cfg", value);
    case 'i':
        return take_number(&o->interface, "intf", value);
    case 'S':
        take_serials(o, value);
        return 0;
    case 'a':
        take_alt(o, value);
        return 0;
    case 't':
        return take_number(&o->transfer_size, "transfer-size", value);
    case 'U':
        return take_mode(o, DFU_UTIL_UPLOAD, value);
    case 'Z':
        return take_number(&o->upload_size, "upload-size", value);
    case 'D':
        return take_mode(o, DFU_UTIL_DOWNLOAD, value);
    case 'R':
        o->reset = true;
        return 0;
    case 'w':
        o->wait = true;
        return 0;
    case 's':
        return take_dfuse(o, value);
    case USBIP:
        o->usbip = value;
        return 0;
    default:
        help();
        return EX_USAGE;
    }
}

/* What getopt wants, of the table. */
static void make_options(char *letters, struct option *options)
{
    for (size_t i = 0; i < TABLE; i++) {
        bool value = table[i].argument || !table[i].help;
        /* dfu-util's --wait takes an argument by mistake; --wait=1 is how some live with it. */
        int kind = table[i].letter == 'w' ? optional_argument
                   : value                ? required_argument
                                          : no_argument;
        options[i] = (struct option){table[i].name, kind, NULL, table[i].letter};
        if (table[i].letter < USBIP && table[i].help) {
            *letters++ = (char)table[i].letter;
            if (value)
                *letters++ = ':';
        }
    }
    options[TABLE] = (struct option){0};
    *letters = '\0';
}

/* 0, an exit code, or -1: help was asked for. */
static int parse(struct dfu_util_options *o, int argc, char **argv)
{
    char letters[2 * TABLE + 1];
    struct option options[TABLE + 1];
    *o = (struct dfu_util_options){
        .runtime = {DFU_UTIL_ANY, DFU_UTIL_ANY},
        .dfu = {DFU_UTIL_ANY, DFU_UTIL_ANY},
        .number = DFU_UTIL_ANY,
        .configuration = DFU_UTIL_ANY,
        .interface = DFU_UTIL_ANY,
        .alt = DFU_UTIL_ANY,
        .detach_delay_s = DETACH_S
    };
    make_options(letters, options);
    for (int letter; (letter = getopt_long(argc, argv, letters, options, NULL)) != -1;) {
        if (letter == 'h') {
            help();
            return -1;
        }
        int error = take(o, letter, optarg);
        if (error)
            return error;
    }
    if (optind != argc) {
        fprintf(stderr, "Error: Unexpected argument: %s\n\n", argv[optind]);
        help();
        return EX_USAGE;
    }
    return 0;
}

/* --- the file ----------------------------------------------------------------------------------- */

static int load(struct dfu_util_options *o, struct image *image)
{
    char why[IMAGE_ERROR_SIZE];
    uint8_t *data;
    size_t size;
    int err = image_load(o->file, &data, &size, why);
    if (err) {
        dfu_util_say("Could not open file %s for reading: %s", o->file, why);
        return load_code(err, EX_NOINPUT);
    }
    err = image_parse(image, o->file, data, size, o->address, why);
    free(data);
    if (err) {
        dfu_util_say("%s", why);
        return load_code(err, EX_DATAERR);
    }
    /* Ids that the command line leaves open are those of the file. */
    if (o->runtime.vendor == DFU_UTIL_ANY && image->vendor != IMAGE_ANY_ID)
        printf("Match vendor ID from file: %04x\n", o->runtime.vendor = image->vendor);
    if (o->runtime.product == DFU_UTIL_ANY && image->product != IMAGE_ANY_ID)
        printf("Match product ID from file: %04x\n", o->runtime.product = image->product);
    return 0;
}

static bool is_id(uint16_t of_file, int id)
{
    return of_file == IMAGE_ANY_ID || of_file == id;
}

/* The file must be for the device as it is, or as it is in run-time mode, as far as somebody has said
 * what it is there: -d, or a detach. */
static int check_ids(const struct image *image, const struct dfu_util_options *o,
    const struct dfu_util_ids *runtime, const struct dfu_util_alt *device)
{
    if ((is_id(image->vendor, runtime->vendor) && is_id(image->product, runtime->product)) ||
        (is_id(image->vendor, device->vendor) && is_id(image->product, device->product)))
        return 0;
    dfu_util_say("Error: File ID %04x:%04x does not match device (%04x:%04x)", image->vendor,
        image->product, device->vendor, device->product);
    if (o->force)
        return 0;
    dfu_util_say("if these are the device's ids in run-time mode, say so: -d %04x:%04x,%04x:%04x",
        image->vendor, image->product, device->vendor, device->product);
    return EX_USAGE;
}

/* --- the device --------------------------------------------------------------------------------- */

struct run {
    struct dfu_util_options options;
    struct dfu_util_ids given; /* the ids of -d for run-time mode, or those that it had there */
    struct image image;        /* valid if has_image */
    bool has_image;
    struct link *link;
    struct dfu_util_list list;
    struct dfu_util_wire wire;
};

static int complain_several(void)
{
    dfu_util_say("More than one DFU capable USB device found! Try `--list' and specify the serial "
                 "number or disconnect all but one device");
    return EX_IOERR;
}

static bool is_one_device(const struct dfu_util_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->alts[i].where.path, list->alts[0].where.path) ||
            list->alts[i].interface != list->alts[0].interface)
            return false;
    return true;
}

static bool holds(const struct dfu_util_alt *alt, uint32_t addr)
{
    struct memory_map map;
    struct memory_sector sector;
    return memory_map_parse(&map, alt->name) == MEMORY_MAP_OK &&
           memory_map_find(&map, addr, &sector);
}

/* One board with several memories: the address says which one is meant, and a mere command is for any. */
static bool pick_memory(struct run *r)
{
    const struct dfu_util_options *o = &r->options;
    bool has_addr = o->has_address || (r->has_image && r->image.format != IMAGE_RAW);
    uint32_t addr = o->has_address ? o->address : r->has_image ? r->image.segments[0].addr : 0;
    for (size_t i = r->list.count; i-- > 0;) {
        bool fits = has_addr ? holds(&r->list.alts[i], addr)
                             : o->mode == DFU_UTIL_DOWNLOAD && !r->has_image;
        if (!fits)
            continue;
        r->list.alts[0] = r->list.alts[i];
        r->list.count = 1;
        return true;
    }
    return false;
}

/* Down to one device; of one with several memories, to one of these, unless a .dfu file is for all. */
static int choose(struct run *r)
{
    if (r->has_image && r->image.format == IMAGE_DFUSE && is_one_device(&r->list))
        return 0;
    if (r->list.count == 1 || (is_one_device(&r->list) && pick_memory(r)))
        return 0;
    return complain_several();
}

static int search(struct run *r)
{
    if (r->options.wait)
        printf("Waiting for device, exit with ctrl-C\n");
    for (;;) {
        dfu_util_free(&r->list);
        int error = dfu_util_find(r->link, &r->options, &r->list);
        if (error || r->list.count)
            return error;
        if (!r->options.wait) {
            dfu_util_say("No DFU capable USB device available");
            return EX_IOERR;
        }
        r->options.silent = true;
        dfu_util_sleep(WAIT_STEP_MS);
    }
}

static int open_device(struct run *r)
{
    const struct dfu_util_alt *a = &r->list.alts[0];
    int error = link_open(r->link, &a->where);
    if (error) {
        dfu_util_say("Cannot open device: %s", link_why(r->link));
        return EX_IOERR;
    }
    r->wire = (struct dfu_util_wire){.link = r->link,
        .interface = a->interface,
        .attributes = a->attributes,
        .verbose = r->options.verbose,
        .will_reset = r->options.will_reset};
    return 0;
}

static void describe(const struct dfu_util_alt *a, bool verbose)
{
    printf("Device ID %04x:%04x\n", a->vendor, a->product);
    printf("Device DFU version %04x\n", a->dfu_version);
    if (!verbose)
        return;
    printf("DFU attributes: (0x%02x)%s%s%s%s\n", a->attributes,
        a->attributes & DFU_CAN_DNLOAD ? " bitCanDnload" : "",
        a->attributes & DFU_CAN_UPLOAD ? " bitCanUpload" : "",
        a->attributes & DFU_MANIFESTATION_TOLERANT ? " bitManifestationTolerant" : "",
        a->attributes & DFU_WILL_DETACH ? " bitWillDetach" : "");
    printf("Detach timeout %u ms\n", a->detach_timeout_ms);
}

/* --- from run-time to DFU mode ------------------------------------------------------------------ */

/* Asks the application to give way to the bootloader. *is_dfu: that is what answered. */
static int give_way(struct run *r, bool *is_dfu)
{
    struct dfu_util_wire *w = &r->wire;
    uint8_t setup[USB_SETUP_SIZE] = {USB_INTERFACE, USB_SET_INTERFACE, 0, 0, w->interface};
    printf("Claiming USB DFU (Run-Time) Interface...\nSetting Alternate Interface zero...\n");
    int error = link_control(r->link, setup, NULL, 1000);
    if (error < 0) {
        dfu_util_say("Cannot set alternate interface zero: %s", wire_error(error));
        return EX_IOERR;
    }
    printf("Determining device status...\n");
    error = wire_status(w);
    if (error == TRANSFER_STALL) {
        printf("Device does not implement get_status, assuming appIDLE\n");
        w->state = DFU_APP_IDLE;
    } else if (error) {
        dfu_util_say("error get_status: %s", wire_error(error));
        return EX_IOERR;
    } else {
        wire_tell(w, false);
    }
    *is_dfu = w->state > DFU_APP_DETACH;
    if (*is_dfu) {
        dfu_util_say("WARNING: Device already in DFU mode? (bState=%u)", w->state);
        return 0;
    }
    printf("Device really in Run-Time Mode, send DFU detach request...\n");
    bool by_itself = w->attributes & DFU_WILL_DETACH;
    error = detach(r->link, w->interface, w->attributes);
    if (error && by_itself)
        dfu_util_say("error detaching");
    printf(by_itself ? "Device will detach and reattach...\n" : "Resetting USB...\n");
    if (!error || by_itself)
        return 0;
    dfu_util_say("error resetting after detach: %s", wire_error(error));
    return EX_IOERR;
}

/* Waits for the device to come back as a bootloader. */
static int find_again(struct run *r)
{
    struct dfu_util_ids none = {DFU_UTIL_NONE, DFU_UTIL_NONE};
    uint32_t left_ms = (uint32_t)r->options.detach_delay_s * 1000;
    link_close(r->link);
    r->options.runtime = none;
    r->options.silent = true;
    r->options.number = DFU_UTIL_ANY; /* it comes back with another one */
    for (;;) {
        uint32_t step = left_ms < DETACH_STEP_MS ? left_ms : DETACH_STEP_MS;
        dfu_util_sleep(step);
        left_ms -= step;
        dfu_util_free(&r->list);
        int error = dfu_util_find(r->link, &r->options, &r->list);
        if (error)
            return error;
        if (r->list.count)
            break;
        if (!left_ms) {
            dfu_util_say("Lost device after RESET?");
            return EX_IOERR;
        }
    }
    int error = choose(r);
    if (error)
        return error;
    printf("Opening DFU USB Device...\n");
    return open_device(r);
}

/* --- the work ----------------------------------------------------------------------------------- */

/* wTransferSize, or -t, within what Linux and the device can move. */
static int settle_transfer_size(struct run *r)
{
    const struct dfu_util_alt *a = &r->list.alts[0];
    int size = r->options.transfer_size;
    if (a->transfer_size)
        printf("Device returned transfer size %u\n", a->transfer_size);
    if (a->transfer_size && size)
        printf("Warning: Overriding device-reported transfer size\n");
    if (!size)
        size = a->transfer_size;
    if (!size) {
        dfu_util_say("Transfer size must be specified");
        return EX_USAGE;
    }
    if (size > TRANSFER_MAX)
        printf("Limited transfer size to %i\n", size = TRANSFER_MAX);
    if (size < a->max_packet)
        printf("Adjusted transfer size to %i\n", size = a->max_packet);
    r->wire.transfer_size = (uint16_t)size;
    return 0;
}

static int prepare(struct run *r)
{
    const struct dfu_util_alt *a = &r->list.alts[0];
    printf("Claiming USB DFU Interface...\n");
    int error = wire_select(&r->wire, a->alt);
    if (!error)
        error = wire_ready(&r->wire);
    if (error)
        return error;
    printf("DFU mode device DFU version %04x\n", a->dfu_version);
    if (a->dfu_version != DFU_VERSION_DFUSE && r->options.dfuse)
        printf("Warning: DfuSe option used on non-DfuSe device\n");
    return settle_transfer_size(r);
}

static bool speaks_dfuse(const struct run *r)
{
    return r->list.alts[0].dfu_version == DFU_VERSION_DFUSE || r->options.dfuse;
}

static int upload(struct run *r)
{
    const struct dfu_util_options *o = &r->options;
    int fd = open(o->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        dfu_util_say("Cannot open file %s for writing: %s", o->file, strerror(errno));
        return EX_CANTCREAT;
    }
    int error = speaks_dfuse(r) ? dfuse_upload(&r->wire, &r->list.alts[0], o, fd)
                                : plain_upload(&r->wire, o, fd);
    if (close(fd) && !error) {
        dfu_util_say("Could not write %s: %s", o->file, strerror(errno));
        error = EX_IOERR;
    }
    if (error)
        unlink(o->file); /* else the next try fails because it exists */
    return error;
}

static int download(struct run *r)
{
    const struct image *image = r->has_image ? &r->image : NULL;
    int error = image ? check_ids(image, &r->options, &r->given, &r->list.alts[0]) : 0;
    if (error)
        return error;
    if (speaks_dfuse(r) || (image && image->format == IMAGE_DFUSE))
        return dfuse_download(&r->wire, &r->list, &r->options, image);
    return plain_download(&r->wire, image);
}

static int work(struct run *r)
{
    switch (r->options.mode) {
    case DFU_UTIL_UPLOAD:
        return upload(r);
    case DFU_UTIL_DOWNLOAD:
        return download(r);
    case DFU_UTIL_DETACH:
        if (wire_request(&r->wire, DFU_DETACH, DETACH_MS, NULL, 0) < 0)
            dfu_util_say("can't detach (it is in DFU mode already; -s :leave starts its program)");
        return 0;
    case DFU_UTIL_NOTHING:
    case DFU_UTIL_VERSION:
    case DFU_UTIL_LIST:
        break;
    }
    return EX_SOFTWARE;
}

/* With a device in list. */
static int converse(struct run *r)
{
    bool is_dfu = true;
    printf("Opening DFU capable USB device...\n");
    int error = open_device(r);
    if (error)
        return error;
    describe(&r->list.alts[0], r->options.verbose);
    if (!r->list.alts[0].dfu_mode) {
        r->given = (struct dfu_util_ids){r->list.alts[0].vendor, r->list.alts[0].product};
        error = give_way(r, &is_dfu);
        if (error || (!is_dfu && r->options.mode == DFU_UTIL_DETACH))
            return error;
        if (!is_dfu)
            error = find_again(r);
    }
    if (!error)
        error = prepare(r);
    if (!error)
        error = work(r);
    return !error && r->options.reset ? wire_reset(&r->wire) : error;
}

static int list(struct run *r)
{
    int error = dfu_util_find(r->link, &r->options, &r->list);
    if (!error)
        dfu_util_print(&r->list);
    return error;
}

static int run(struct run *r)
{
    if (r->options.mode == DFU_UTIL_LIST)
        return list(r);
    r->given = r->options.runtime;
    if (r->options.mode == DFU_UTIL_DOWNLOAD) {
        int error = load(&r->options, &r->image);
        if (error)
            return error;
        r->has_image = true;
    } else if (r->options.mode == DFU_UTIL_NOTHING) {
        r->options.mode = DFU_UTIL_DOWNLOAD; /* of commands only */
    }
    int error = search(r);
    if (!error)
        error = choose(r);
    if (!error && r->has_image && r->image.format == IMAGE_DFUSE)
        printf("Multiple alternate interfaces for DfuSe file\n"); /* even if there is one */
    return error ? error : converse(r);
}

int dfu_util(int argc, char **argv)
{
    struct run r = {0};
    setvbuf(stdout, NULL, _IONBF, 0); /* programs watch the progress through a pipe */
    int error = parse(&r.options, argc, argv);
    if (error)
        return error < 0 ? 0 : error;
    printf("dfu-util 0.11 (caboose " CABOOSE_VERSION ")\n\n");
    if (r.options.mode == DFU_UTIL_VERSION)
        return 0;
    if (r.options.mode == DFU_UTIL_NOTHING && !r.options.dfuse) {
        fprintf(stderr, "You need to specify one of -D or -U\n");
        help();
        return EX_USAGE;
    }
    r.link = r.options.usbip ? link_usbip(r.options.usbip) : link_libusb();
    error = run(&r);
    link_free(r.link);
    dfu_util_free(&r.list);
    if (r.has_image)
        image_free(&r.image);
    return error;
}
