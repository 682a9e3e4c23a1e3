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

static int complain_memory(char why[PLAN_ERROR_SIZE])
{
    complain(why, "this computer's memory is full; end other programs and try again");
    return PLAN_NO_MEMORY;
}

/* Room for one more element in *array of count, which is as large as the next power of two. A lack of
 * memory is remembered and told at the end, so that it needs no attention in between. */
static bool grow(struct plan *plan, void *array, size_t count, size_t size)
{
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    if (plan->failed || (count & (count - 1)))
        return !plan->failed;
    grown = realloc(old, (count ? count * 2 : 1) * size);
    plan->failed = !grown;
    if (grown)
        memcpy(array, &grown, sizeof grown);
    return grown;
}

static void add(struct plan *plan, struct plan_step step)
{
    if (!grow(plan, &plan->steps, plan->count, sizeof step))
        return;
    plan->steps[plan->count++] = step;
    plan->bytes[step.kind] += step.size;
}

/* Memory that lives as long as the plan, or NULL. */
static void *own(struct plan *plan, size_t size)
{
    if (!grow(plan, &plan->owned, plan->owned_count, sizeof *plan->owned))
        return NULL;
    void *memory = calloc(1, size);
    if (memory)
        plan->owned[plan->owned_count++] = memory;
    plan->failed = !memory;
    return memory;
}

/* The last word of every function here. */
static int finish(struct plan *plan, int err, char why[PLAN_ERROR_SIZE])
{
    if (!err && plan->failed)
        err = complain_memory(why);
    if (err)
        plan_free(plan);
    return err;
}

void plan_free(struct plan *plan)
{
    for (size_t i = 0; i < plan->owned_count; i++)
        free(plan->owned[i]);
    free(plan->owned);
    free(plan->pages);
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

/* Sectors one after the other that the image touches, in one alternate setting. */
struct span {
    const struct device_alt *alt;
    uint32_t addr, size;
    uint8_t *wanted;      /* what it shall hold … */
    uint8_t *marks;       /* … and about each of its bytes: enum mark */
    const uint8_t *holds; /* what it holds, or NULL: not known */
};

enum mark {
    MARK_IMAGE = 1, /* the image's */
    MARK_WRITE = 2, /* to be written */
    MARK_CHECK = 4, /* to be compared after that */
};

/* Boards lie about the sizes of their sectors, so what lies beside a change may have suffered from it. */
enum { NEIGHBOURHOOD = 4096 };

enum {
    FLASH_WORD = 32
}; /* the H7's, and the longest of any STM32: what is programmed at once, and once */

static const uint8_t *contents_at(
    const struct image *contents, uint8_t alt, uint32_t addr, uint32_t size)
{
    for (size_t i = 0; contents && i < contents->count; i++) {
        const struct image_segment *s = &contents->segments[i];
        if (s->alt == alt && addr >= s->addr && addr - s->addr < s->size &&
            size <= s->size - (addr - s->addr))
            return s->data + (addr - s->addr);
    }
    return NULL;
}

static bool is_blank(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != 0xFF)
            return false;
    return true;
}

/* The last address (exclusive) of the sectors that a part touches. */
static uint64_t sectors_end(const struct part *part)
{
    struct memory_sector sector;
    uint32_t last = part->segment->addr + (part->segment->size - 1);
    memory_map_find(&part->alt->map, last, &sector);
    return (uint64_t)sector.addr + sector.size;
}

static uint32_t sectors_begin(const struct part *part)
{
    struct memory_sector sector;
    memory_map_find(&part->alt->map, part->segment->addr, &sector);
    return sector.addr;
}

/* How many of the parts lie in one span, and where it ends. */
static size_t span_parts(const struct part *parts, size_t count, uint64_t *end)
{
    size_t n = 1;
    *end = sectors_end(&parts[0]);
    for (; n < count && parts[n].alt == parts[0].alt && sectors_begin(&parts[n]) <= *end; n++)
        *end = sectors_end(&parts[n]);
    return n;
}

static struct span make_span(struct plan *plan, const struct part *parts, size_t count,
    uint64_t end, const struct image *contents)
{
    struct span span = {.alt = parts[0].alt, .addr = sectors_begin(&parts[0])};
    span.size = (uint32_t)(end - span.addr);
    span.wanted = own(plan, span.size);
    span.marks = own(plan, span.size);
    if (plan->failed) {
        span.size = 0;
        return span;
    }
    span.holds = contents_at(contents, span.alt->number, span.addr, span.size);
    if (span.holds)
        memcpy(span.wanted, span.holds, span.size);
    else
        memset(span.wanted, 0xFF, span.size);
    for (size_t i = 0; i < count; i++) {
        const struct image_segment *s = parts[i].segment;
        memcpy(span.wanted + (s->addr - span.addr), s->data, s->size);
        memset(span.marks + (s->addr - span.addr), MARK_IMAGE, s->size);
    }
    return span;
}

/* The gap [at, end) of a page that is erased is written from the first byte that holds something to the
 * last; the count of those bytes. */
static uint32_t keep_gap(struct span *span, uint32_t at, uint32_t end)
{
    uint32_t kept = 0;
    while (at < end && span->wanted[at] == 0xFF)
        at++;
    while (end > at && span->wanted[end - 1] == 0xFF)
        end--;
    for (uint32_t i = at; i < end; i++) {
        span->marks[i] |= MARK_WRITE;
        kept += span->wanted[i] != 0xFF;
    }
    return kept;
}

/* Two pieces in one flash word are one piece: the word cannot be programmed twice. */
static void join_words(struct span *span, uint32_t at, uint32_t end)
{
    uint32_t last = end; /* the last byte to be written so far; end: none */
    for (uint32_t i = at; i < end; i++) {
        if (!(span->marks[i] & MARK_WRITE))
            continue;
        if (last != end && (span->addr + last) / FLASH_WORD == (span->addr + i) / FLASH_WORD)
            for (uint32_t gap = last + 1; gap < i; gap++)
                span->marks[gap] |= MARK_WRITE;
        last = i;
    }
}

/* A blank page needs no block that is blank. */
static void skip_blank_blocks(struct span *span, uint32_t at, uint32_t end, uint32_t block)
{
    for (uint32_t next; at < end; at = next) {
        next = at + (block - (span->addr + at) % block);
        next = next < end ? next : end;
        bool blank_block = is_blank(span->wanted + at, next - at);
        for (uint32_t i = at; blank_block && i < next; i++)
            span->marks[i] &= (uint8_t)~MARK_WRITE;
    }
}

/* What the image leaves of an erased page is written back. */
static void keep_rest(struct span *span, struct plan_page *page)
{
    uint32_t at = page->addr - span->addr, end = at + page->size, gap = at;
    for (uint32_t i = at; i < end; i++)
        if (span->marks[i] & MARK_IMAGE) {
            page->kept += keep_gap(span, gap, i);
            gap = i + 1;
        }
    page->kept += keep_gap(span, gap, end);
    join_words(span, at, end);
}

/* Decides about one sector: [at, at + size) of the span. */
static struct plan_page judge(struct span *span, const struct memory_sector *sector, uint32_t at,
    const struct plan *plan, const struct device *device, const struct plan_options *options)
{
    struct plan_page page = {.addr = sector->addr, .size = sector->size, .alt = span->alt->number};
    uint32_t end = at + sector->size;
    for (uint32_t i = at; i < end; i++)
        page.covered += span->marks[i] & MARK_IMAGE;
    bool known = span->holds && !options->rewrite;
    if (known && !memcmp(span->holds + at, span->wanted + at, sector->size))
        return page;
    bool blank = known && !options->distrust_blank && is_blank(span->holds + at, sector->size);
    page.write = true;
    page.erase = sector->flags & MEMORY_ERASE && !blank && !(plan->habits & DEVICE_REWRITES);
    page.lost = page.erase && !span->holds ? sector->size - page.covered : 0;
    for (uint32_t i = at; i < end; i++)
        if (span->marks[i] & MARK_IMAGE)
            span->marks[i] |= MARK_WRITE;
    if (page.erase)
        keep_rest(span, &page);
    else if (sector->flags & MEMORY_ERASE)
        join_words(span, at, end);
    if (blank)
        skip_blank_blocks(span, at, end, device->transfer_size);
    return page;
}

static void judge_span(struct plan *plan, struct span *span, const struct device *device,
    const struct plan_options *options)
{
    struct memory_sector sector;
    for (uint32_t at = 0; at < span->size; at += sector.size) {
        memory_map_find(&span->alt->map, span->addr + at, &sector);
        if (grow(plan, &plan->pages, plan->page_count, sizeof *plan->pages))
            plan->pages[plan->page_count++] = judge(span, &sector, at, plan, device, options);
    }
}

/* A board that erases by itself is told of one erase: of what is written last, so that nothing but a finished
 * download looks like one. */
static void erase_last(struct plan *plan, size_t first_page, struct span *spans, size_t span_count)
{
    size_t page = plan->page_count, span = span_count;
    while (page > first_page && !plan->pages[page - 1].write)
        page--;
    if (page == first_page)
        return;
    struct plan_page *last = &plan->pages[page - 1];
    while (span > 1 && spans[span - 1].addr > last->addr)
        span--;
    last->erase = true;
    keep_rest(&spans[span - 1], last);
}

/* Steps for the bytes of the span that have one of the marks. */
static void add_marked(struct plan *plan, const struct device *device, const struct span *span,
    enum step_kind kind, uint8_t marks)
{
    for (uint32_t at = 0, end; at < span->size; at = end) {
        bool marked = span->marks[at] & marks;
        for (end = at + 1; end < span->size && !!(span->marks[end] & marks) == marked;)
            end++;
        if (marked)
            add_transfers(plan, device->transfer_size,
                (struct plan_step){.kind = kind,
                    .alt = span->alt->number,
                    .addr = span->addr + at,
                    .size = end - at,
                    .data = span->wanted + at});
    }
}

/* What is compared after all has been written: of the image, what lies in the neighbourhood of a sector that
 * is changed; all else was compared before. */
static void mark_checks(const struct plan *plan, struct span *span)
{
    for (size_t i = 0; i < plan->page_count; i++) {
        const struct plan_page *page = &plan->pages[i];
        if (!page->write || page->alt != span->alt->number || page->addr < span->addr ||
            page->addr - span->addr >= span->size)
            continue;
        uint64_t begin = page->addr / NEIGHBOURHOOD * NEIGHBOURHOOD;
        uint64_t end =
            ((uint64_t)page->addr + page->size + NEIGHBOURHOOD - 1) / NEIGHBOURHOOD * NEIGHBOURHOOD;
        begin = begin > span->addr ? begin - span->addr : 0;
        end = end - span->addr < span->size ? end - span->addr : span->size;
        for (uint64_t at = begin; at < end; at++)
            if (span->marks[at] & (MARK_IMAGE | MARK_WRITE))
                span->marks[at] |= MARK_CHECK;
    }
}

static bool can_read(const struct device *device, const struct span *span)
{
    return device->attributes & DFU_CAN_UPLOAD &&
           memory_map_reach(&span->alt->map, span->addr, MEMORY_READ) - span->addr >= span->size;
}

/* Habits may turn out to be hearsay: only with a comparison at the end, and once. */
static unsigned habits_for(const struct device *device, const struct plan_options *options)
{
    return options->verify && !options->rewrite ? device_habits(device) : 0;
}

/* All parts of one alternate setting: first all erases, then all writes, then all that is compared. */
static void add_group(struct plan *plan, const struct device *device, const struct part *parts,
    size_t count, const struct plan_options *options)
{
    struct span *spans = own(plan, count * sizeof *spans);
    size_t span_count = 0, first_page = plan->page_count;
    bool changes = false;
    uint64_t end;
    for (size_t i = 0, n; spans && i < count; i += n) {
        n = span_parts(parts + i, count - i, &end);
        spans[span_count] = make_span(plan, parts + i, n, end, options->contents);
        judge_span(plan, &spans[span_count++], device, options);
    }
    if (plan->habits & DEVICE_REWRITES && !plan->failed)
        erase_last(plan, first_page, spans, span_count);
    for (size_t i = first_page; i < plan->page_count; i++) {
        const struct plan_page *page = &plan->pages[i];
        changes |= page->write;
        if (page->erase)
            add(plan,
                (struct plan_step){
                    .kind = STEP_ERASE, .alt = page->alt, .addr = page->addr, .size = page->size});
    }
    for (size_t i = 0; i < span_count; i++)
        add_marked(plan, device, &spans[i], STEP_WRITE, MARK_WRITE);
    for (size_t i = 0; i < span_count && changes && options->verify; i++) {
        mark_checks(plan, &spans[i]);
        if (can_read(device, &spans[i]))
            add_marked(plan, device, &spans[i], STEP_VERIFY, MARK_CHECK);
        else
            plan->unverifiable = true;
    }
}

/* An odd address is one that code is called at: from a linker's map, where it stands as Reset_Handler. */
static int complain_function(char why[PLAN_ERROR_SIZE], const struct device *device, uint32_t base)
{
    char likely[64] = "";
    struct memory_sector sector;
    uint32_t begin;
    if (device_first(device, MEMORY_WRITE, &begin) && device_alt_at(device, base, 0) &&
        memory_map_find(&device_alt_at(device, base, 0)->map, base, &sector))
        snprintf(likely, sizeof likely, ": did you mean 0x%08x?", begin);
    return complain(why,
        "0x%08x looks like a function's address; give the start of the program, where its vector "
        "table is%s",
        base, likely);
}

static int add_leave(struct plan *plan, const struct device *device, int wanted, uint32_t base,
    char why[PLAN_ERROR_SIZE])
{
    if (base % 4)
        return complain_function(why, device, base);
    /* A leave is never refused for a bad map: the alternate setting hardly matters to it. */
    const struct device_alt *alt =
        wanted == PLAN_ANY_ALT ? device_alt_at(device, base, 0) : device_alt(device, wanted);
    if (!alt && wanted != PLAN_ANY_ALT)
        return no_alt(why, device, wanted);
    uint8_t number = alt ? alt->number : device->alts[0].number;
    add(plan, (struct plan_step){.kind = STEP_LEAVE, .alt = number, .addr = base});
    return 0;
}

/* Finds the place of every segment. The parts are the caller's to free. */
static int place_all(struct part **parts, const struct device *device, const struct image *image,
    int alt, char why[PLAN_ERROR_SIZE])
{
    int err = check_map(device, why);
    *parts = calloc(image->count, sizeof **parts);
    if (!err && !*parts)
        err = complain_memory(why);
    for (size_t i = 0; i < image->count && !err; i++)
        err = place(&(*parts)[i], device, &image->segments[i], alt, why);
    return err;
}

/* The parts from here on that go to the same alternate setting. */
static size_t group_size(const struct part *parts, size_t count)
{
    size_t n = 1;
    while (n < count && parts[n].alt == parts[0].alt)
        n++;
    return n;
}

static int flash_dfuse(struct plan *plan, const struct device *device, const struct image *image,
    const struct plan_options *options, char why[PLAN_ERROR_SIZE])
{
    struct part *parts;
    int err = place_all(&parts, device, image, options->alt, why);
    plan->habits = options->contents ? habits_for(device, options) : 0;
    for (size_t i = 0, n; i < image->count && !err; i += n) {
        n = group_size(parts + i, image->count - i);
        add_group(plan, device, parts + i, n, options);
    }
    free(parts);
    if (!err && options->leave)
        err = add_leave(plan, device, options->alt, options->start, why);
    return err;
}

/* --- DFU 1.1 without DfuSe ----------------------------------------------------------------------- */

enum { PLAIN_BLOCKS = 65536, PLAIN_READ_MAX = 4 << 20 };

static void begin_plain(struct plan *plan, const struct device *device, int alt, uint8_t *number)
{
    const struct device_alt *found = alt == PLAN_ANY_ALT ? NULL : device_alt(device, alt);
    plan->plain = true;
    *number = found ? found->number : device->alts[0].number;
}

static int check_plain(
    const struct device *device, const struct image *image, char why[PLAN_ERROR_SIZE])
{
    if (image->count != 1)
        return complain(why,
            "the board speaks plain DFU, which knows no addresses, and the file has %zu parts; "
            "give one raw file",
            image->count);
    if (image->segments[0].size > (uint64_t)PLAIN_BLOCKS * device->transfer_size)
        return complain(why, "too large: plain DFU counts %d blocks of %u bytes", PLAIN_BLOCKS,
            device->transfer_size);
    return 0;
}

/* A download, its end (which makes the board keep it), and, where the board is there after that, a
 * comparison. */
static int flash_plain(struct plan *plan, const struct device *device, const struct image *image,
    const struct plan_options *options, char why[PLAN_ERROR_SIZE])
{
    uint8_t alt;
    const struct image_segment *s = &image->segments[0];
    uint32_t size = device->transfer_size;
    if (check_plain(device, image, why))
        return -1;
    begin_plain(plan, device, options->alt, &alt);
    struct plan_step step = {STEP_WRITE, alt, false, 0, s->size, s->data, NULL, 0};
    add_transfers(plan, size, step);
    add(plan, (struct plan_step){
                  .kind = STEP_LEAVE, .alt = alt, .addr = (s->size + size - 1) / size * size});
    step.kind = STEP_VERIFY;
    if (!options->verify)
        return 0;
    if (device->attributes & DFU_MANIFESTATION_TOLERANT && device->attributes & DFU_CAN_UPLOAD)
        add_transfers(plan, size, step);
    else
        plan->unverifiable = true;
    return 0;
}

int plan_flash(struct plan *plan, const struct device *device, const struct image *image,
    const struct plan_options *options, char why[PLAN_ERROR_SIZE])
{
    *plan = (struct plan){0};
    if (!(device->attributes & DFU_CAN_DNLOAD))
        return complain(why, "the board says that it cannot be written (bitCanDnload is clear)");
    int err = device_is_dfuse(device) ? flash_dfuse(plan, device, image, options, why)
                                      : flash_plain(plan, device, image, options, why);
    return finish(plan, err, why);
}

/* Room for what the board holds, as an image; before the steps, as segments move. */
static void make_room(struct plan *plan, struct image *contents, const struct device *device,
    const struct part *parts, size_t count)
{
    uint64_t end;
    for (size_t i = 0, n; i < count && !plan->failed; i += n) {
        n = span_parts(parts + i, count - i, &end);
        struct span span = {.alt = parts[i].alt, .addr = sectors_begin(&parts[i])};
        span.size = (uint32_t)(end - span.addr);
        uint8_t *room = calloc(1, span.size);
        plan->failed = !room || (can_read(device, &span) && image_add(contents, span.alt->number,
                                                                span.addr, room, span.size));
        free(room);
    }
}

/* What the image wants of [addr, addr + *size), as long as that is all of a sector or nothing (NULL: the
 * image has not all of it); *size is cut to where that ends. */
static const uint8_t *wanted_there(
    const struct part *parts, size_t count, uint32_t addr, uint32_t *size)
{
    struct memory_sector sector;
    const struct part *first = NULL;
    for (uint32_t at = addr; at - addr < *size; at = sector.addr + sector.size) {
        const struct part *whole = NULL;
        memory_map_find(&parts[0].alt->map, at, &sector);
        for (size_t i = 0; i < count && !whole; i++)
            if (parts[i].segment->addr <= at &&
                (uint64_t)at + sector.size <=
                    (uint64_t)parts[i].segment->addr + parts[i].segment->size)
                whole = &parts[i];
        if (at == addr)
            first = whole;
        else if (whole != first)
            *size = at - addr;
    }
    return first ? first->segment->data + (addr - first->segment->addr) : NULL;
}

/* What is not read afterwards holds something else than what is wanted, and is not blank. */
static void presume(uint8_t *holds, const uint8_t *wanted, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        holds[i] = !wanted[i];
}

/* In a large sector one look may tell enough; to skip less than that would cost more than to read it. */
enum { LARGE = 16 /* blocks */, LOOKS = 8, LOOKS_REWRITES = 2 };

static void add_looks(
    struct plan *plan, const struct device *device, const struct part *part, struct plan_step step)
{
    struct memory_sector sector;
    size_t at = plan->count;
    add_transfers(plan, device->transfer_size, step);
    for (; at < plan->count; at++) {
        struct plan_step *look = &plan->steps[at];
        memory_map_find(&part->alt->map, look->addr, &sector);
        look->unit = sector.size >= LARGE * device->transfer_size ? sector.addr : look->addr;
    }
}

static void survey_span(struct plan *plan, const struct device *device, const struct part *parts,
    size_t count, const struct image_segment *room, const struct plan_options *options)
{
    for (uint32_t at = 0, size; at < room->size; at += size) {
        size = room->size - at;
        const uint8_t *wanted = wanted_there(parts, count, room->addr + at, &size);
        struct plan_step step = {.kind = STEP_READ,
            .alt = room->alt,
            .addr = room->addr + at,
            .size = size,
            .data = options->thorough ? NULL : wanted,
            .into = room->data + at};
        if (wanted)
            presume(step.into, wanted, size);
        if (step.data && !options->rewrite)
            add_looks(plan, device, &parts[0], step);
        else if (!wanted || !options->rewrite)
            add_transfers(plan, device->transfer_size, step);
    }
}

static void survey(struct plan *plan, struct image *contents, const struct device *device,
    const struct part *parts, size_t count, const struct plan_options *options)
{
    uint64_t end;
    size_t room = 0;
    plan->habits = habits_for(device, options);
    plan->lookahead = plan->habits & DEVICE_REWRITES ? LOOKS_REWRITES : LOOKS;
    make_room(plan, contents, device, parts, count);
    for (size_t i = 0, n; i < count && room < contents->count && !plan->failed; i += n) {
        n = span_parts(parts + i, count - i, &end);
        if (contents->segments[room].addr == sectors_begin(&parts[i]) &&
            contents->segments[room].alt == parts[i].alt->number)
            survey_span(plan, device, parts + i, n, &contents->segments[room++], options);
    }
}

int plan_survey(struct plan *plan, struct image *contents, const struct device *device,
    const struct image *image, const struct plan_options *options, char why[PLAN_ERROR_SIZE])
{
    struct part *parts;
    *plan = (struct plan){0};
    image_init(contents, IMAGE_RAW);
    if (!device_is_dfuse(device))
        return check_plain(device, image, why);
    int err = place_all(&parts, device, image, options->alt, why);
    if (!err)
        survey(plan, contents, device, parts, image->count, options);
    free(parts);
    err = finish(plan, err, why);
    if (err)
        image_free(contents);
    return err;
}

/* --- the other commands -------------------------------------------------------------------------- */

static int check_upload(const struct device *device, char why[PLAN_ERROR_SIZE])
{
    if (device->attributes & DFU_CAN_UPLOAD)
        return 0;
    return complain(why, "the board says that it cannot be read (bitCanUpload is clear)");
}

static void read_plain(struct plan *plan, const struct device *device, int alt, uint32_t *size)
{
    uint8_t number;
    bool whole = *size == 0;
    uint64_t most = (uint64_t)PLAIN_BLOCKS * device->transfer_size;
    begin_plain(plan, device, alt, &number);
    if (whole)
        *size = most < PLAIN_READ_MAX ? (uint32_t)most : PLAIN_READ_MAX;
    add_transfers(plan, device->transfer_size,
        (struct plan_step){STEP_READ, number, whole, 0, *size, NULL, NULL, 0});
}

int plan_read(struct plan *plan, const struct device *device, int alt_wanted, uint32_t addr,
    uint32_t *size, char why[PLAN_ERROR_SIZE])
{
    *plan = (struct plan){0};
    if (check_upload(device, why))
        return -1;
    if (!device_is_dfuse(device)) {
        read_plain(plan, device, alt_wanted, size);
        return finish(plan, 0, why);
    }
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
        (struct plan_step){STEP_READ, alt->number, whole, addr, *size, NULL, NULL, 0});
    return finish(plan, 0, why);
}

void plan_read_into(struct plan *plan, uint8_t *into)
{
    for (size_t i = 0; i < plan->count; i++) {
        plan->steps[i].into = into;
        into += plan->steps[i].size;
    }
}

static int no_dfuse(const struct device *device, char why[PLAN_ERROR_SIZE])
{
    if (device_is_dfuse(device))
        return 0;
    return complain(why, "the board speaks plain DFU, which cannot do that; it needs DfuSe (bcdDFU "
                         "1.1a)");
}

/* A segment's alternate setting for reading, and whether all of it can be read. */
static int verify_segment(struct plan *plan, const struct device *device,
    const struct image_segment *s, int wanted, char why[PLAN_ERROR_SIZE])
{
    if (wanted == PLAN_ANY_ALT && s->alt != IMAGE_ANY_ALT)
        wanted = s->alt;
    const struct device_alt *alt = choose_alt(device, wanted, s->addr, MEMORY_READ, why);
    if (!alt)
        return -1;
    if (memory_map_reach(&alt->map, s->addr, MEMORY_READ) - s->addr < s->size)
        return complain_outside(why, device, s->addr, MEMORY_READ, "readable that far");
    add_transfers(plan, device->transfer_size,
        (struct plan_step){STEP_VERIFY, alt->number, false, s->addr, s->size, s->data, NULL, 0});
    return 0;
}

static int verify_plain(struct plan *plan, const struct device *device, const struct image *image,
    int alt, char why[PLAN_ERROR_SIZE])
{
    uint8_t number;
    if (check_plain(device, image, why))
        return -1;
    begin_plain(plan, device, alt, &number);
    add_transfers(plan, device->transfer_size,
        (struct plan_step){STEP_VERIFY, number, false, 0, image->segments[0].size,
            image->segments[0].data, NULL, 0});
    return finish(plan, 0, why);
}

int plan_verify(struct plan *plan, const struct device *device, const struct image *image, int alt,
    char why[PLAN_ERROR_SIZE])
{
    *plan = (struct plan){0};
    int err = check_upload(device, why);
    if (!err && !device_is_dfuse(device))
        return verify_plain(plan, device, image, alt, why);
    if (!err)
        err = check_map(device, why);
    for (size_t i = 0; i < image->count && !err; i++)
        err = verify_segment(plan, device, &image->segments[i], alt, why);
    return finish(plan, err, why);
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
    if (no_dfuse(device, why) || check_map(device, why))
        return -1;
    if (size == 0 && !device_first(device, MEMORY_ERASE | MEMORY_WRITE, &addr))
        return complain(why, "the board has no memory that can be erased");
    const struct device_alt *alt =
        choose_alt(device, alt_wanted, addr, MEMORY_ERASE | MEMORY_WRITE, why);
    if (!alt)
        return -1;
    if (size == 0) {
        add_erase_all(plan, alt);
        return finish(plan, 0, why);
    }
    if (memory_map_reach(&alt->map, addr, MEMORY_ERASE | MEMORY_WRITE) - addr < size)
        return complain_outside(
            why, device, addr, MEMORY_ERASE | MEMORY_WRITE, "erasable that far");
    uint64_t erased = 0;
    add_erases(plan, alt, addr, (uint64_t)addr + size, &erased);
    return finish(plan, 0, why);
}

int plan_leave(struct plan *plan, const struct device *device, int alt, uint32_t base,
    char why[PLAN_ERROR_SIZE])
{
    *plan = (struct plan){0};
    if (no_dfuse(device, why))
        return -1;
    return finish(plan, add_leave(plan, device, alt, base, why), why);
}

int plan_unprotect(
    struct plan *plan, const struct device *device, int alt, char why[PLAN_ERROR_SIZE])
{
    *plan = (struct plan){0};
    if (no_dfuse(device, why))
        return -1;
    if (alt != PLAN_ANY_ALT && !device_alt(device, alt))
        return no_alt(why, device, alt);
    uint32_t addr = 0;
    device_first(device, 0, &addr);
    uint8_t number = alt == PLAN_ANY_ALT ? device->alts[0].number : (uint8_t)alt;
    add(plan, (struct plan_step){.kind = STEP_UNPROTECT, .alt = number, .addr = addr});
    return finish(plan, 0, why);
}
