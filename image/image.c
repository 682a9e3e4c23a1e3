/* SPDX-License-Identifier: MIT */
#include "image/image.h"
#include "image/why.h"

#include <stdlib.h>
#include <string.h>

void image_init(struct image *image, enum image_format format)
{
    *image = (struct image){
        .format = format, .vendor = IMAGE_ANY_ID, .product = IMAGE_ANY_ID, .device = IMAGE_ANY_ID};
}

void image_free(struct image *image)
{
    for (size_t i = 0; i < image->count; i++)
        free(image->segments[i].data);
    free(image->segments);
    image->segments = NULL;
    image->count = 0;
}

/* A segment's memory is a power of two, so that many small pieces cost few copies; its size tells which. */
static size_t room_for(size_t size)
{
    size_t room = 64;
    while (room < size)
        room *= 2;
    return room;
}

/* Appends to a segment; -1 when memory is short. */
static int extend(struct image_segment *segment, const uint8_t *data, size_t size)
{
    size_t room = room_for(segment->size + size);
    if (!segment->data || room != room_for(segment->size)) {
        uint8_t *grown = realloc(segment->data, room);
        if (!grown)
            return -1;
        segment->data = grown;
    }
    memcpy(segment->data + segment->size, data, size);
    segment->size += (uint32_t)size;
    return 0;
}

static bool continues(const struct image_segment *s, uint8_t alt, uint32_t addr)
{
    return s->alt == alt && (uint64_t)s->addr + s->size == addr;
}

int image_add(struct image *image, uint8_t alt, uint32_t addr, const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (size > UINT32_MAX || addr > UINT32_MAX - (uint32_t)(size - 1))
        return -1;
    if (image->count && continues(&image->segments[image->count - 1], alt, addr))
        return extend(&image->segments[image->count - 1], data, size);
    struct image_segment *grown =
        realloc(image->segments, room_for(image->count + 1) * sizeof image->segments[0]);
    if (!grown)
        return -1;
    image->segments = grown;
    struct image_segment *segment = &grown[image->count];
    *segment = (struct image_segment){.addr = addr, .alt = alt};
    if (extend(segment, data, size))
        return -1;
    image->count++;
    return 0;
}

static int by_alt_and_address(const void *left, const void *right)
{
    const struct image_segment *a = left, *b = right;
    if (a->alt != b->alt)
        return a->alt < b->alt ? -1 : 1;
    return (a->addr > b->addr) - (a->addr < b->addr);
}

/* Joins next to the end of last, or moves it behind. -1 when memory is short. */
static int join_or_move(struct image *image, size_t *last, size_t next)
{
    struct image_segment *to = &image->segments[*last], *from = &image->segments[next];
    if (!continues(to, from->alt, from->addr)) {
        struct image_segment moved = *from;
        from->data = NULL;
        image->segments[++*last] = moved;
        return 0;
    }
    if (extend(to, from->data, from->size))
        return -1;
    free(from->data);
    from->data = NULL;
    return 0;
}

int image_settle(struct image *image, const char *name, char why[IMAGE_ERROR_SIZE])
{
    if (image->count == 0)
        return why_file(why, name, "holds nothing to write");
    qsort(image->segments, image->count, sizeof image->segments[0], by_alt_and_address);
    size_t last = 0;
    for (size_t i = 1; i < image->count; i++) {
        const struct image_segment *a = &image->segments[last], *b = &image->segments[i];
        if (a->alt == b->alt && (uint64_t)a->addr + a->size > b->addr)
            return why_file(why, name,
                "puts two parts at 0x%08x (0x%08x-0x%08x and 0x%08x-0x%08x); build it again",
                b->addr, a->addr, a->addr + a->size - 1, b->addr, b->addr + b->size - 1);
        if (join_or_move(image, &last, i))
            return why_memory(why, name);
    }
    image->count = last + 1;
    return 0;
}
