/* SPDX-License-Identifier: MIT */
#include "host/plan.h"
#include "core/dfu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static int complain(
    char why[PLAN_ERROR_SIZE], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, PLAN_ERROR_SIZE, format, args);
    va_end(args);
    return -1;
}

static void add(struct plan *plan, struct plan_step step)
{
    if ((plan->count & (plan->count - 1)) == 0) { /* a power of two: full */
        size_t room = plan->count ? plan->count * 2 : 1;
        struct plan_step *grown = realloc(plan->steps, room * sizeof step);
        if (!grown)
            abort();
        plan->steps = grown;
    }
    plan->steps[plan->count++] = step;
    plan->bytes[step.kind] += step.size;
}

void plan_free(struct plan *plan)
{
    free(plan->steps);
    *plan = (struct plan){0};
}

/* Cuts a range into transfers. The first ends where a multiple of wTransferSize begins, so that none
 * of the full ones straddles two pages. */
static void add_transfers(struct plan *plan, uint32_t transfer_size, struct plan_step step)
{
    uint32_t left = step.size;
    while (left) {
        uint32_t room = transfer_size - step.addr % transfer_size;
        step.size = left < room ? left : room;
        add(plan, step);
        step.addr += step.size;
        step.data += step.data ? step.size : 0;
        step.into += step.into ? step.size : 0;
        left -= step.size;
    }
}

/* --- what is wrong with a range ------------------------------------------------------------------ */

/* 0x0800000 for 0x08000000 happens to everybody: a digit fewer, or one more. */
static bool mistyped(const struct device *device, uint32_t addr, uint32_t *meant)
{
    struct memory_sector sector;
    uint32_t candidates[] = {addr << 4, addr >> 4};
    for (size_t i = 0; i < 2; i++)
        for (size_t a = 0; a < device->alt_count; a++)
            if (addr >> 28 == 0 && addr &&
                memory_map_find(&device->alts[a].map, candidates[i], &sector)) {
                *meant = candidates[i];
                return true;
            }
    return false;
}

static int complain_outside(char why[PLAN_ERROR_SIZE], const struct device *device, uint32_t addr,
    uint8_t flags, const char *verb)
{
    char ranges[256];
    uint32_t meant;
    device_ranges(device, flags, ranges, sizeof ranges);
    if (mistyped(device, addr, &meant))
        return complain(why, "0x%07x is not an address of this board: did you mean 0x%08x? %s: %s",
            addr, meant, verb, ranges);
    return complain(why, "0x%08x is not %s on this board; %s: %s", addr, verb, verb, ranges);
}

/* Whether [addr, addr+size) can be written. */
static int check_writable(const struct device *device, const struct device_alt *alt, uint32_t addr,
    uint32_t size, char why[PLAN_ERROR_SIZE])
{
    uint64_t end = memory_map_reach(&alt->map, addr, MEMORY_WRITE);
    if (end == addr)
        return complain_outside(why, device, addr, MEMORY_WRITE, "writable");
    if (end - addr >= size)
        return 0;
    char ranges[256];
    device_ranges(device, MEMORY_WRITE, ranges, sizeof ranges);
    return complain(why,
        "too large by %llu bytes: %u bytes for 0x%08x, where %llu can be written; writable: %s",
        (unsigned long long)(size - (end - addr)), size, addr, (unsigned long long)(end - addr),
        ranges);
}

static int no_alt(char why[PLAN_ERROR_SIZE], const struct device *device, int wanted)
{
    return complain(why, "the board has no alternate setting %d (it has %u: 0 to %u)", wanted,
        device->alt_count, device->alt_count - 1u);
}

/* The alternate setting for a range: what the user says, else the file, else the address. */
static const struct device_alt *choose_alt(const struct device *device, int wanted, uint32_t addr,
    uint8_t flags, char why[PLAN_ERROR_SIZE])
{
    const struct device_alt *alt =
        wanted == PLAN_ANY_ALT ? device_alt_at(device, addr, flags) : device_alt(device, wanted);
    if (alt)
        return alt;
    if (wanted != PLAN_ANY_ALT)
        no_alt(why, device, wanted);
    else
        complain_outside(why, device, addr, flags, flags & MEMORY_WRITE ? "writable" : "readable");
    return NULL;
}

static int check_map(const struct device *device, char why[PLAN_ERROR_SIZE])
{
    for (size_t i = 0; i < device->alt_count; i++)
        if (device->alts[i].map.count)
            return 0;
    return complain(why,
        "the board's memory map cannot be read (\"%.120s\"): nothing can be written safely",
        device->alt_count ? device->alts[0].text : "");
}

/* --- flash --------------------------------------------------------------------------------------- */

struct part { /* a segment and the alternate setting that it goes to */
    const struct image_segment *segment;
    const struct device_alt *alt;
};

static int place(struct part *part, const struct device *device,
    const struct image_segment *segment, int wanted, char why[PLAN_ERROR_SIZE])
{
    if (wanted == PLAN_ANY_ALT && segment->alt != IMAGE_ANY_ALT)
        wanted = segment->alt;
    part->segment = segment;
    part->alt = choose_alt(device, wanted, segment->addr, MEMORY_WRITE, why);
    if (!part->alt)
        return -1;
    return check_writable(device, part->alt, segment->addr, segment->size, why);
}

/* erased: the end of the last sector that is in the plan, so that two segments can share one. */
static void add_erases(
    struct plan *plan, const struct device_alt *alt, uint32_t addr, uint64_t end, uint64_t *erased)
{
    struct memory_sector sector;
    for (uint64_t at = addr; at < end && memory_map_find(&alt->map, (uint32_t)at, &sector);
         at = (uint64_t)sector.addr + sector.size) {
        if (!(sector.flags & MEMORY_ERASE) || (uint64_t)sector.addr + sector.size <= *erased)
            continue;
        add(plan,
            (struct plan_step){
                .kind = STEP_ERASE, .alt = alt->number, .addr = sector.addr, .size = sector.size});
        *erased = (uint64_t)sector.addr + sector.size;
    }
}

static void add_verify(struct plan *plan, const struct device *device, const struct part *part)
{
    const struct image_segment *s = part->segment;
    uint64_t end = memory_map_reach(&part->alt->map, s->addr, MEMORY_READ);
    if (!(device->attributes & DFU_CAN_UPLOAD) || end - s->addr < s->size) {
        plan->unverifiable = true;
        return;
    }
    add_transfers(plan, device->transfer_size,
        (struct plan_step){STEP_VERIFY, part->alt->number, false, s->addr, s->size, s->data, NULL});
}

/* All parts of one alternate setting. */
static void add_group(struct plan *plan, const struct device *device, const struct part *parts,
    size_t count, bool verify)
{
    uint64_t erased = 0;
    for (size_t i = 0; i < count; i++)
        add_erases(plan, parts[i].alt, parts[i].segment->addr,
            (uint64_t)parts[i].segment->addr + parts[i].segment->size, &erased);
    for (size_t i = 0; i < count; i++) {
        const struct image_segment *s = parts[i].segment;
        add_transfers(plan, device->transfer_size,
            (struct plan_step){
                STEP_WRITE, parts[i].alt->number, false, s->addr, s->size, s->data, NULL});
    }
    for (size_t i = 0; i < count && verify; i++)
        add_verify(plan, device, &parts[i]);
}

static int add_leave(struct plan *plan, const struct device *device, int wanted, uint32_t base,
    char why[PLAN_ERROR_SIZE])
{
    if (base % 4)
        return complain(why,
            "0x%08x looks like a function's address; give the start of the program, where its "
            "vector table is",
            base);
    /* A leave is never refused for a bad map: the alternate setting hardly matters to it. */
    const struct device_alt *alt =
        wanted == PLAN_ANY_ALT ? device_alt_at(device, base, 0) : device_alt(device, wanted);
    if (!alt && wanted != PLAN_ANY_ALT)
        return no_alt(why, device, wanted);
    uint8_t number = alt ? alt->number : device->alts[0].number;
    add(plan, (struct plan_step){.kind = STEP_LEAVE, .alt = number, .addr = base});
    return 0;
}

int plan_flash(struct plan *plan, const struct device *device, const struct image *image,
    const struct plan_options *options, char why[PLAN_ERROR_SIZE])
{
    *plan = (struct plan){0};
    if (!(device->attributes & DFU_CAN_DNLOAD))
        return complain(why, "the board says that it cannot be written (bitCanDnload is clear)");
    if (check_map(device, why))
        return -1;
    struct part *parts = calloc(image->count, sizeof *parts);
    if (!parts)
        abort();
    int err = 0;
    for (size_t i = 0; i < image->count && !err; i++)
        err = place(&parts[i], device, &image->segments[i], options->alt, why);
    for (size_t i = 0, n; i < image->count && !err; i += n) {
        for (n = 1; i + n < image->count && parts[i + n].alt == parts[i].alt;)
            n++;
        add_group(plan, device, parts + i, n, options->verify);
    }
    free(parts);
    if (!err && options->leave)
        err = add_leave(plan, device, options->alt, options->start, why);
    if (err)
        plan_free(plan);
    return err;
}

/* --- the other commands -------------------------------------------------------------------------- */

int plan_read(struct plan *plan, const struct device *device, int alt_wanted, uint32_t addr,
    uint32_t *size, char why[PLAN_ERROR_SIZE])
{
    *plan = (struct plan){0};
    if (!(device->attributes & DFU_CAN_UPLOAD))
        return complain(why, "the board says that it cannot be read (bitCanUpload is clear)");
    if (check_map(device, why))
        return -1;
    const struct device_alt *alt = choose_alt(device, alt_wanted, addr, MEMORY_READ, why);
    if (!alt)
        return -1;
    uint64_t room = memory_map_reach(&alt->map, addr, MEMORY_READ) - addr;
    if (room == 0)
        return complain_outside(why, device, addr, MEMORY_READ, "readable");
    if (*size > room) {
        char ranges[256];
        device_ranges(device, MEMORY_READ, ranges, sizeof ranges);
        return complain(why, "only %llu of %u bytes from 0x%08x on can be read; readable: %s",
            (unsigned long long)room, *size, addr, ranges);
    }
    bool whole = *size == 0;
    if (whole)
        *size = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
    add_transfers(plan, device->transfer_size,
        (struct plan_step){STEP_READ, alt->number, whole, addr, *size, NULL, NULL});
    return 0;
}

void plan_read_into(struct plan *plan, uint8_t *into)
{
    for (size_t i = 0; i < plan->count; i++) {
        plan->steps[i].into = into;
        into += plan->steps[i].size;
    }
}

static void add_erase_all(struct plan *plan, const struct device_alt *alt)
{
    uint8_t both = MEMORY_ERASE | MEMORY_WRITE;
    uint64_t erased = 0;
    for (size_t i = 0; i < alt->map.count; i++) {
        const struct memory_run *run = &alt->map.runs[i];
        if ((run->flags & both) == both)
            add_erases(plan, alt, run->addr, run->addr + (uint64_t)run->count * run->size, &erased);
    }
}

int plan_erase(struct plan *plan, const struct device *device, int alt_wanted, uint32_t addr,
    uint32_t size, char why[PLAN_ERROR_SIZE])
{
    *plan = (struct plan){0};
    if (check_map(device, why))
        return -1;
    if (size == 0 && !device_first(device, MEMORY_ERASE | MEMORY_WRITE, &addr))
        return complain(why, "the board has no memory that can be erased");
    const struct device_alt *alt =
        choose_alt(device, alt_wanted, addr, MEMORY_ERASE | MEMORY_WRITE, why);
    if (!alt)
        return -1;
    if (size == 0) {
        add_erase_all(plan, alt);
        return 0;
    }
    if (memory_map_reach(&alt->map, addr, MEMORY_ERASE | MEMORY_WRITE) - addr < size)
        return complain_outside(
            why, device, addr, MEMORY_ERASE | MEMORY_WRITE, "erasable that far");
    uint64_t erased = 0;
    add_erases(plan, alt, addr, (uint64_t)addr + size, &erased);
    return 0;
}

int plan_leave(struct plan *plan, const struct device *device, int alt, uint32_t base,
    char why[PLAN_ERROR_SIZE])
{
    *plan = (struct plan){0};
    int err = add_leave(plan, device, alt, base, why);
    if (err)
        plan_free(plan);
    return err;
}
