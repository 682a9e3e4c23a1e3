/* SPDX-License-Identifier: MIT */
#include "host/draw.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS = 80, ROW = 64, BAR = 22 };

void draw_text(const char *label, int indent, const char *text)
{
    int column = printf("%-*s", indent - 1, label);
    while (*text) {
        int word = (int)strcspn(text, " ");
        if (column >= indent && column + 1 + word > COLUMNS)
            column = printf("\n%*s", indent - 1, "") - 1;
        column += printf(" %.*s", word, text);
        text += word + (text[word] == ' ');
    }
    putchar('\n');
}

static void put_size(uint64_t size, char text[32])
{
    if (size % 1024 == 0 && size)
        snprintf(text, 32, "%llu KiB", (unsigned long long)size / 1024);
    else
        snprintf(text, 32, "%llu bytes", (unsigned long long)size);
}

/* A run's part of its memory, at least one character wide. */
static void put_bar(const struct memory_map *map, const struct memory_run *run, char bar[BAR + 1])
{
    uint64_t size = (uint64_t)run->count * run->size, before = 0, whole = 0;
    for (const struct memory_run *r = map->runs; r < map->runs + map->count; r++) {
        before += r < run ? (uint64_t)r->count * r->size : 0;
        whole += (uint64_t)r->count * r->size;
    }
    memset(bar, ' ', BAR);
    bar[BAR] = '\0';
    uint64_t begin = whole ? before * BAR / whole : 0;
    uint64_t end = whole ? (before + size) * BAR / whole : 0;
    for (uint64_t i = begin; i < BAR && (i < end || i == begin); i++)
        bar[i] = run->flags & MEMORY_WRITE ? '#' : '-';
}

static void draw_alt(const struct device_alt *alt)
{
    printf("memory %-8u %s%s\n", alt->number, alt->text,
        alt->map_error ? "  (cannot be understood)"
        : alt->map.odd ? "  (unusual, but understood)"
                       : "");
    for (size_t i = 0; i < alt->map.count; i++) {
        const struct memory_run *run = &alt->map.runs[i];
        uint64_t size = (uint64_t)run->count * run->size, end = run->addr + size;
        char whole[32], each[32], bar[BAR + 1];
        put_size(size, whole);
        put_size(run->size, each);
        put_bar(&alt->map, run, bar);
        printf("    0x%08x-0x%08llx [%s] %8s = %u x %s, %c%c%c\n", run->addr,
            (unsigned long long)end - 1, bar, whole, run->count, each,
            run->flags & MEMORY_READ ? 'r' : '-', run->flags & MEMORY_WRITE ? 'w' : '-',
            run->flags & MEMORY_ERASE ? 'e' : '-');
    }
}

void draw_memory(const struct device *device)
{
    for (size_t i = 0; i < device->alt_count; i++)
        draw_alt(&device->alts[i]);
}

static char letter_of(const struct plan_page *page)
{
    return page->erase ? 'E' : page->write ? 'w' : '.';
}

static bool continues(const struct plan *plan, size_t i)
{
    const struct plan_page *page = &plan->pages[i];
    return i && page->alt == page[-1].alt && page->addr == page[-1].addr + page[-1].size;
}

static void draw_pages(const struct plan *plan)
{
    for (size_t i = 0, column = 0; i < plan->page_count; i++, column++) {
        if (column == ROW || !continues(plan, i)) {
            printf("%s    0x%08x  ", i ? "\n" : "", plan->pages[i].addr);
            column = 0;
        }
        putchar(letter_of(&plan->pages[i]));
    }
    if (plan->page_count)
        printf("\n    (. right already   E is erased and written\n     w is written%s)\n",
            plan->habits & DEVICE_REWRITES ? ", the board erases what it must" : ": blank");
}

/* The bytes of partly covered sectors that are nobody's business, and what becomes of them. */
static void draw_rest(const struct plan_page *page)
{
    if (page->kept)
        printf("    0x%08x: %u bytes of this sector are not in the file, and are kept\n",
            page->addr, page->kept);
    if (page->lost)
        printf("    0x%08x: %u bytes of this sector are not in the file, and are erased\n",
            page->addr, page->lost);
}

void draw_plan(const struct plan *plan)
{
    draw_pages(plan);
    for (size_t i = 0; i < plan->page_count; i++)
        draw_rest(&plan->pages[i]);
}
