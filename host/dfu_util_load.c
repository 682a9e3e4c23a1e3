/* SPDX-License-Identifier: MIT */
/* Downloads and uploads: DfuSe's, with its commands and addresses, and those of plain DFU 1.1. */
#include "core/dfu.h"
#include "host/dfu_util_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    DEFAULT_UPLOAD = 0x4000, /* of a DfuSe device that was given neither address nor length */
    LAST_BLOCK = 0xFFFF,     /* wValue has 16 bits */
    MANIFEST_MS = 1000,
    MANIFEST_TRIES = 60,
};

/* --- memory maps -------------------------------------------------------------------------------- */

static void tell_map(const struct dfu_util_alt *alt, const struct memory_map *map, int verbose)
{
    const char *name = alt->name + (alt->name[0] == '@');
    printf("DfuSe interface name: \"%.*s\"\n", (int)strcspn(name, "/"), name);
    for (size_t i = 0; i < map->count && verbose; i++)
        printf("Memory segment at 0x%08x %3u x %4u = %5u (%s%s%s)\n", map->runs[i].addr,
            map->runs[i].count, map->runs[i].size, map->runs[i].count * map->runs[i].size,
            map->runs[i].flags & MEMORY_READ ? "r" : "",
            map->runs[i].flags & MEMORY_ERASE ? "e" : "",
            map->runs[i].flags & MEMORY_WRITE ? "w" : "");
}

/* The alternate setting's memory; an exit code if that cannot be read. */
static int read_map(const struct dfu_util_alt *alt, struct memory_map *map, int verbose)
{
    if (memory_map_parse(map, alt->name) == MEMORY_MAP_OK) {
        tell_map(alt, map, verbose);
        return 0;
    }
    dfu_util_say(
        "Failed to parse memory layout for alternate interface %u: \"%s\"", alt->alt, alt->name);
    return EX_IOERR;
}

static bool has(const struct memory_map *map, uint64_t addr, uint8_t flags)
{
    struct memory_sector sector;
    return addr <= UINT32_MAX && memory_map_find(map, (uint32_t)addr, &sector) &&
           (sector.flags & flags) == flags;
}

/* What to do now: where there is such memory, and what was perhaps meant. */
static void advise(const struct memory_map *map, uint32_t addr, uint8_t flags)
{
    for (size_t i = 0; i < map->count; i++) {
        const struct memory_run *run = &map->runs[i];
        if ((run->flags & flags) == flags)
            dfu_util_say("%s is 0x%08x-0x%08x", flags & MEMORY_WRITE ? "writeable" : "readable",
                run->addr, run->addr + run->count * run->size - 1);
    }
    if (addr && has(map, (uint64_t)addr << 4, flags))
        dfu_util_say("was 0x%08x meant, with one more 0?", addr << 4);
}

/* --- DfuSe: download ---------------------------------------------------------------------------- */

struct download {
    struct dfu_util_wire *wire;
    const struct dfu_util_options *options;
    const struct memory_map *map;
    uint32_t erased; /* the sector that was erased last */
    bool any_erased;
};

/* The bytes that an erase will take from the first page, for which there is nothing in the file. */
static void warn_of_head(const struct download *d, const struct image_segment *segment)
{
    struct memory_sector sector;
    if (memory_map_find(d->map, segment->addr, &sector) && sector.flags & MEMORY_ERASE &&
        sector.addr != segment->addr && !d->options->mass_erase)
        dfu_util_say("Warning: 0x%08x-0x%08x is erased too: the page begins there", sector.addr,
            segment->addr - 1);
}

static int refuse(
    const struct download *d, const char *what, uint64_t addr, const struct image_segment *segment)
{
    dfu_util_say("%s at 0x%08x is not writeable", what, (uint32_t)addr);
    advise(d->map, segment->addr, MEMORY_WRITE);
    return EX_USAGE;
}

/* All that can be known to fail fails before anything is erased. */
static int check_element(const struct download *d, const struct image_segment *segment)
{
    uint64_t last = (uint64_t)segment->addr + segment->size - 1;
    if (d->options->force)
        return 0;
    if (!has(d->map, last, MEMORY_WRITE))
        return refuse(d, "Last page", last, segment);
    for (uint64_t at = segment->addr, end; at <= last; at = end) {
        end = memory_map_reach(d->map, (uint32_t)at, MEMORY_WRITE);
        if (end == at)
            return refuse(d, "Page", at, segment);
    }
    warn_of_head(d, segment);
    return 0;
}

static int erase_at(struct download *d, uint32_t addr)
{
    struct memory_sector sector;
    if (!memory_map_find(d->map, addr, &sector) || !(sector.flags & MEMORY_ERASE) ||
        (d->any_erased && d->erased == sector.addr))
        return 0;
    if (d->options->verbose > 1)
        fprintf(stderr, "Erasing page size %u at address 0x%08x, page starting at 0x%08x\n",
            sector.size, addr, sector.addr);
    d->erased = sector.addr;
    d->any_erased = true;
    return wire_command(d->wire, DFU_UTIL_ERASE_PAGE, addr);
}

/* The sectors of a block. What is not in the map cannot be erased: its sectors are not known. */
static int erase_block(struct download *d, uint32_t addr, uint32_t size)
{
    struct memory_sector sector;
    uint32_t last = addr + size - 1;
    int error = 0;
    while (!error && memory_map_find(d->map, addr, &sector)) {
        error = erase_at(d, addr);
        if (addr == last)
            break;
        addr = last - addr < sector.size ? last : addr + sector.size;
    }
    return error;
}

static int erase_element(struct download *d, uint32_t addr, uint32_t size)
{
    uint32_t step = d->wire->transfer_size;
    int error = 0;
    dfu_util_bar("Erase   ", 0, size);
    for (uint32_t at = 0, n; !error && at < size; at += n) {
        n = size - at < step ? size - at : step;
        if (!d->options->mass_erase)
            error = erase_block(d, addr + at, n);
        if (!error)
            dfu_util_bar("Erase   ", at, size);
    }
    if (!error)
        dfu_util_bar("Erase   ", size, size);
    return error;
}

/* The pointer before each block: block 2 is where it points, whatever a device thinks of the others. */
static int write_element(struct download *d, uint32_t addr, const uint8_t *data, uint32_t size)
{
    uint32_t step = d->wire->transfer_size;
    int error = 0;
    dfu_util_bar("Download", 0, size);
    for (uint32_t at = 0, n; !error && at < size; at += n) {
        n = size - at < step ? size - at : step;
        if (d->options->verbose)
            fprintf(stderr, " Download from image offset %08x to memory %08x-%08x, size %u\n", at,
                addr + at, addr + at + n - 1, n);
        dfu_util_bar("Download", at, size);
        error = wire_command(d->wire, DFU_UTIL_SET_ADDRESS, addr + at);
        if (!error)
            error = wire_block(d->wire, DFUSE_FIRST_BLOCK, data + at, (uint16_t)n);
        if (error)
            dfu_util_say("Failed to write whole chunk: %u bytes at 0x%08x", n, addr + at);
    }
    if (!error)
        dfu_util_bar("Download", size, size);
    return error;
}

static int download_element(struct download *d, const struct image_segment *segment)
{
    int error = erase_element(d, segment->addr, segment->size);
    return error ? error : write_element(d, segment->addr, segment->data, segment->size);
}

static void tell_element(const struct image_segment *segment)
{
    printf("Downloading element to address = 0x%08x, size = %u\n", segment->addr, segment->size);
}

static int download_raw(struct download *d, const struct image *image)
{
    int error = 0;
    for (size_t i = 0; i < image->count && !error; i++) {
        error = check_element(d, &image->segments[i]);
        if (error)
            tell_element(&image->segments[i]);
    }
    for (size_t i = 0; i < image->count && !error; i++) {
        tell_element(&image->segments[i]);
        error = download_element(d, &image->segments[i]);
    }
    if (!error)
        printf("File downloaded successfully\n");
    return error;
}

/* --- DfuSe: .dfu files -------------------------------------------------------------------------- */

static const struct dfu_util_alt *find_alt(const struct dfu_util_list *list, uint8_t number)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->alts[i].alt == number)
            return &list->alts[i];
    return NULL;
}

/* How many of the segments from the first on are for the same alternate setting. */
static size_t target_count(const struct image *image, size_t first)
{
    size_t n = 1;
    while (first + n < image->count && image->segments[first + n].alt == image->segments[first].alt)
        n++;
    return n;
}

static size_t target_bytes(const struct image *image, size_t first, size_t count)
{
    size_t bytes = 0;
    for (size_t i = first; i < first + count; i++)
        bytes += 8 + image->segments[i].size; /* with its head: the number that is in the file */
    return bytes;
}

static int check_target(struct download *d, const struct dfu_util_alt *alt,
    const struct image *image, size_t first, size_t count)
{
    struct memory_map map;
    if (memory_map_parse(&map, alt->name) != MEMORY_MAP_OK) {
        dfu_util_say("Failed to parse memory layout for alternate interface %u: \"%s\"", alt->alt,
            alt->name);
        return EX_IOERR;
    }
    int error = 0;
    d->map = &map;
    for (size_t i = first; i < first + count && !error; i++) {
        error = check_element(d, &image->segments[i]);
    }
    d->map = NULL;
    return error;
}

/* Every target that there is memory for; it is an error if that is none. */
static int check_targets(
    struct download *d, const struct dfu_util_list *list, const struct image *image)
{
    bool any = false;
    int error = 0;
    for (size_t i = 0, n; i < image->count && !error; i += n) {
        const struct dfu_util_alt *alt = find_alt(list, image->segments[i].alt);
        n = target_count(image, i);
        any |= alt != NULL;
        if (alt)
            error = check_target(d, alt, image, i, n);
    }
    if (error || any)
        return error;
    dfu_util_say("No alternate setting %u: nothing in the file is for this one; see dfu-util -l",
        image->segments[0].alt);
    return EX_USAGE;
}

/* alt NULL: the target is skipped. */
static int download_target(struct download *d, const struct dfu_util_alt *alt,
    const struct image *image, size_t first, size_t count)
{
    struct memory_map map = {0};
    int error = 0;
    if (alt) {
        memory_map_parse(&map, alt->name); /* was tried before */
        d->any_erased = false;
        error = wire_select(d->wire, alt->alt);
    } else {
        dfu_util_say("No alternate setting %u (skipping elements)", image->segments[first].alt);
    }
    d->map = &map;
    for (size_t i = 0; i < count && !error; i++) {
        const struct image_segment *segment = &image->segments[first + i];
        printf("Parsing element %zu, address = 0x%08x, size = %u\n", i + 1, segment->addr,
            segment->size);
        error = alt ? download_element(d, segment) : 0;
    }
    d->map = NULL;
    return error;
}

static int download_dfuse(
    struct download *d, const struct dfu_util_list *list, const struct image *image)
{
    unsigned targets = 0, number = 0;
    for (size_t i = 0; i < image->count; i += target_count(image, i))
        targets++;
    printf("File contains %u DFU images\n", targets);
    int error = check_targets(d, list, image);
    for (size_t i = 0, n; i < image->count && !error; i += n) {
        const struct dfu_util_alt *alt = find_alt(list, image->segments[i].alt);
        n = target_count(image, i);
        printf("Parsing DFU image %u\n", ++number);
        printf("Image for alternate setting %u, (%zu elements, total size = %zu)\n",
            image->segments[i].alt, n, target_bytes(image, i, n));
        error = download_target(d, alt, image, i, n);
    }
    if (!error)
        printf("Done parsing DfuSe file\n");
    return error;
}

/* --- DfuSe: all of it --------------------------------------------------------------------------- */

static int complain_file(const char *what, const char *instead)
{
    dfu_util_say("%s", what);
    dfu_util_say("%s", instead);
    return EX_USAGE;
}

/* What the options say must agree with the file. */
static int check_options(const struct dfu_util_options *o, const struct image *image)
{
    if (o->unprotect && !o->force)
        return complain_file("The read unprotect command will erase the flash memory",
            "and can only be used with force");
    if (o->mass_erase && !o->force)
        return complain_file("The mass erase command can only be used with force",
            "(it erases everything, perhaps the bootloader too)");
    if (image && image->format == IMAGE_DFUSE && o->has_address)
        return complain_file("This is a DfuSe file, not meant for raw download",
            "(it knows its addresses: leave out the one of -s, as in -s :leave)");
    if (image && image->format == IMAGE_RAW && !o->has_address)
        return complain_file("Only DfuSe file version 1.1a is supported",
            "(for raw binary download, use the --dfuse-address option)");
    return 0;
}

static int leave(
    struct dfu_util_wire *wire, const struct dfu_util_options *o, const struct image *image)
{
    /* ROMs start what the pointer points at: a program's first bytes are its vector table. */
    uint32_t start = o->has_address ? o->address : image ? image->segments[0].addr : 0;
    int error = 0;
    if (o->has_address || image)
        error = wire_command(wire, DFU_UTIL_SET_ADDRESS, start);
    return error ? error : wire_leave(wire);
}

static int download_image(
    struct download *d, const struct dfu_util_list *list, const struct image *image)
{
    if (!image) {
        printf("DfuSe command mode\n");
        return 0;
    }
    return image->format == IMAGE_DFUSE ? download_dfuse(d, list, image) : download_raw(d, image);
}

int dfuse_download(struct dfu_util_wire *wire, const struct dfu_util_list *list,
    const struct dfu_util_options *o, const struct image *image)
{
    struct memory_map map = {0};
    struct download d = {.wire = wire, .options = o, .map = &map};
    int error = 0;
    for (size_t i = 0; i < list->count && !error; i++)
        error = read_map(&list->alts[i], &map, o->verbose);
    if (!image)
        error = 0; /* commands need no map */
    if (!error)
        error = check_options(o, image);
    if (!error && o->unprotect) {
        error = wire_command(wire, DFU_UTIL_READ_UNPROTECT, 0);
        if (!error)
            printf("Device disconnects, erases flash and resets now\n");
        wire->left = true;
        return error;
    }
    if (!error && o->mass_erase) {
        printf("Performing mass erase, this can take a moment\n");
        error = wire_command(wire, DFU_UTIL_MASS_ERASE, 0);
    }
    if (!error)
        error = download_image(&d, list, image);
    if (!error && !o->will_reset)
        error = wire_abort(wire);
    if (!error && o->leave)
        error = leave(wire, o, image);
    return error;
}

/* --- uploads ------------------------------------------------------------------------------------ */

static int save(int fd, const uint8_t *data, size_t size)
{
    if (write(fd, data, size) == (ssize_t)size)
        return 0;
    dfu_util_say("Could not write %zu bytes to the file: %s", size, strerror(errno));
    return EX_IOERR;
}

static int complain_upload(int error)
{
    dfu_util_say("Error during upload (%s)", wire_error(error));
    return EX_IOERR;
}

/* Where the run of equal sectors around addr ends, as dfu-util has it: not as far as one could read. */
static uint32_t run_end(const struct memory_map *map, uint32_t addr)
{
    for (size_t i = 0; i < map->count; i++) {
        uint32_t size = map->runs[i].count * map->runs[i].size;
        if (addr - map->runs[i].addr < size)
            return map->runs[i].addr + size;
    }
    return addr;
}

/* How much is to be read; the pointer is set. */
static int begin_upload(struct dfu_util_wire *wire, const struct dfu_util_alt *alt,
    const struct dfu_util_options *o, uint32_t *limit)
{
    struct memory_map map;
    *limit = o->length;
    if (!o->has_address) {
        if (!*limit) {
            dfu_util_say("Unbound upload not supported on DfuSe devices");
            *limit = DEFAULT_UPLOAD;
        }
        printf("Limiting default upload to %u bytes\n", *limit);
        return 0;
    }
    int error = read_map(alt, &map, o->verbose);
    if (!error && !o->force && !has(&map, o->address, MEMORY_READ)) {
        dfu_util_say("Page at 0x%08x is not readable", o->address);
        advise(&map, o->address, MEMORY_READ);
        error = EX_USAGE;
    }
    if (!error && !*limit && (*limit = run_end(&map, o->address) - o->address) != 0) {
        printf("Limiting upload to end of memory segment, %u bytes\n", *limit);
    } else if (!error && !*limit) {
        *limit = DEFAULT_UPLOAD;
        printf("Limiting upload to %u bytes\n", *limit);
    }
    if (!error)
        error = wire_command(wire, DFU_UTIL_SET_ADDRESS, o->address);
    return error ? error : wire_abort(wire);
}

/* Block numbers end at 65535; what comes after 0 again is no data. Sets the pointer anew. */
static int continue_upload(
    struct dfu_util_wire *wire, const struct dfu_util_options *o, uint32_t done, uint16_t *block)
{
    if (!o->has_address) {
        dfu_util_say("Error during upload: no more than %u blocks without an address; give -s "
                     "ADDRESS",
            LAST_BLOCK - DFUSE_FIRST_BLOCK + 1);
        return EX_USAGE;
    }
    *block = DFUSE_FIRST_BLOCK;
    int error = wire_abort(wire);
    if (!error)
        error = wire_command(wire, DFU_UTIL_SET_ADDRESS, o->address + done);
    return error ? error : wire_abort(wire);
}

int dfuse_upload(struct dfu_util_wire *wire, const struct dfu_util_alt *alt,
    const struct dfu_util_options *o, int fd)
{
    uint8_t data[TRANSFER_MAX];
    uint32_t limit, done = 0;
    uint16_t block = DFUSE_FIRST_BLOCK;
    int error = begin_upload(wire, alt, o, &limit);
    if (!error)
        dfu_util_bar("Upload", 0, limit);
    for (bool more = true; more && !error;) {
        uint16_t n =
            limit - done < wire->transfer_size ? (uint16_t)(limit - done) : wire->transfer_size;
        int size = wire_request(wire, DFU_UPLOAD, block, data, n);
        if (size < 0)
            return complain_upload(size);
        error = save(fd, data, (size_t)size);
        done += (uint32_t)size;
        more = size == n && done < limit;
        dfu_util_bar("Upload", done, more ? limit : done);
        if (more && block++ == LAST_BLOCK)
            error = continue_upload(wire, o, done, &block);
    }
    if (!error)
        error = wire_abort(wire);
    return !error && o->leave ? leave(wire, o, NULL) : error;
}

/* Reads until a block is not full. */
static int receive_all(struct dfu_util_wire *wire, uint64_t expected, int fd, uint64_t *done)
{
    uint8_t data[TRANSFER_MAX];
    int error = 0, size = wire->transfer_size;
    for (uint16_t block = 0; size == wire->transfer_size && !error; block++) {
        dfu_util_bar("Upload", *done, expected > *done ? expected : *done + 1);
        size = wire_request(wire, DFU_UPLOAD, block, data, wire->transfer_size);
        if (size < 0)
            return complain_upload(size);
        error = save(fd, data, (size_t)size);
        *done += (uint64_t)size;
    }
    return error;
}

int plain_upload(struct dfu_util_wire *wire, const struct dfu_util_options *o, int fd)
{
    uint64_t done = 0, expected = (uint64_t)o->upload_size;
    printf("Copying data from DFU device to PC\n");
    int error = receive_all(wire, expected, fd, &done);
    if (error)
        printf("\n");
    else
        dfu_util_bar("Upload", done, done);
    if (done == 0)
        printf("\nFailed.\n");
    else
        printf("Received a total of %llu bytes\n", (unsigned long long)done);
    if (!error && expected && done != expected)
        dfu_util_say("Unexpected number of bytes uploaded from device");
    return error;
}

/* --- plain DFU 1.1: download -------------------------------------------------------------------- */

/* After the empty DNLOAD: to dfuIDLE, or through a reset. */
static int manifest(struct dfu_util_wire *wire)
{
    for (unsigned i = 0; i < MANIFEST_TRIES; i++) {
        int error = wire_status(wire);
        if (error) {
            dfu_util_say("unable to read DFU status after completion (%s)", wire_error(error));
            return wire->attributes & DFU_MANIFESTATION_TOLERANT ? EX_IOERR : 0;
        }
        wire_tell(wire, false);
        dfu_util_sleep(wire->poll_ms);
        if (wire->state == DFU_MANIFEST_WAIT_RESET) {
            printf("Resetting USB to switch back to runtime mode\n");
            link_reset(wire->link);
        }
        if (wire->state != DFU_MANIFEST_SYNC && wire->state != DFU_MANIFEST) {
            if (wire->status == DFU_OK)
                printf("Done!\n");
            return wire->status == DFU_OK ? 0 : EX_IOERR;
        }
        dfu_util_sleep(MANIFEST_MS);
    }
    dfu_util_say("the board is still in dfuMANIFEST; unplug it, plug it in and look what it runs");
    return EX_IOERR;
}

int plain_download(struct dfu_util_wire *wire, const struct image *image)
{
    const struct image_segment *all = &image->segments[0];
    uint16_t block = 0;
    int error = 0;
    if (image->count != 1) {
        dfu_util_say("the file has %zu parts, and this device (DFU 1.1, no addresses) takes one; "
                     "objcopy -O binary fills the gaps",
            image->count);
        return EX_DATAERR;
    }
    wire->plain = true;
    printf("Copying data from PC to DFU device\n");
    dfu_util_bar("Download", 0, all->size);
    for (uint32_t at = 0, n; at < all->size && !error; at += n) {
        n = all->size - at < wire->transfer_size ? all->size - at : wire->transfer_size;
        error = wire_block(wire, block++, all->data + at, (uint16_t)n);
        if (!error && at + n < all->size)
            dfu_util_bar("Download", at + n, all->size);
    }
    if (error)
        return error;
    int result = wire_request(wire, DFU_DNLOAD, block, NULL, 0);
    if (result < 0) {
        dfu_util_say("Error sending completion packet (%s)", wire_error(result));
        return EX_IOERR;
    }
    dfu_util_bar("Download", all->size, all->size);
    if (wire->verbose)
        printf("Sent a total of %u bytes\n", all->size);
    return manifest(wire);
}
