/* SPDX-License-Identifier: MIT */
/* Damaged files: every truncation, every value of every byte of every sample, and memory that is short at
 * every allocation. A file that is damaged is refused, or read as it stands; never taken for raw bytes,
 * which would be flashed as they are. */
#include "image/bytes.h"
#include "image/file.h"
#include "leaks.h"
#include "samples.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(damage, .fini = leaks_expect_none, .timeout = 300);
TestSuite(memory, .timeout = 60);

static struct image image;
static char why[IMAGE_ERROR_SIZE];

static int parse(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1); /* its own memory, so that a checker sees an overrun */
    memcpy(copy, data, size);
    memset(why, 0, sizeof why);
    int err = image_parse(&image, "FILE", copy, size, 0x08000000, why);
    free(copy);
    return err;
}

/* --- what a file says, told by other means -------------------------------------------------------- */

static const uint8_t *byte_at(uint32_t addr)
{
    for (size_t i = 0; i < image.count; i++)
        if (addr >= image.segments[i].addr &&
            addr - image.segments[i].addr < image.segments[i].size)
            return &image.segments[i].data[addr - image.segments[i].addr];
    return NULL;
}

static size_t image_bytes(void)
{
    size_t bytes = 0;
    for (size_t i = 0; i < image.count; i++)
        bytes += image.segments[i].size;
    return bytes;
}

static bool equals(const struct image *other)
{
    if (image.count != other->count)
        return false;
    for (size_t i = 0; i < image.count; i++) {
        const struct image_segment *a = &image.segments[i], *b = &other->segments[i];
        if (a->addr != b->addr || a->size != b->size || a->alt != b->alt ||
            memcmp(a->data, b->data, a->size))
            return false;
    }
    return true;
}

static bool is_raw(const uint8_t *data, size_t size)
{
    return image.format == IMAGE_RAW && image.count == 1 && image.segments[0].size == size &&
           memcmp(image.segments[0].data, data, size) == 0;
}

/* All that the segments have from their first byte on, but headers, is in the image. */
static bool is_elf(const uint8_t *data)
{
    size_t bytes = 0, left_out = 0;
    for (unsigned i = 0; i < get16(data + offsetof(Elf32_Ehdr, e_phnum)); i++) {
        Elf32_Phdr p;
        memcpy(&p, data + get32(data + offsetof(Elf32_Ehdr, e_phoff)) + i * sizeof p, sizeof p);
        if (p.p_type != PT_LOAD)
            continue;
        for (uint32_t at = 0; at < p.p_filesz; at++, bytes++) {
            const uint8_t *byte = byte_at(p.p_paddr + at);
            if (byte && *byte != data[p.p_offset + at])
                return false;
            left_out += !byte;
        }
    }
    return bytes - left_out == image_bytes() &&
           left_out <= sizeof(Elf32_Ehdr) + 2 * sizeof(Elf32_Phdr);
}

/* All blocks of the chip that it was read for, and no others. */
static bool is_uf2(const uint8_t *data, size_t size)
{
    size_t bytes = 0;
    for (const uint8_t *block = data; block < data + size; block += 512) {
        uint32_t flags = get32(block + 8), family = flags & 0x2000 ? get32(block + 28) : 0;
        if (flags & 1 || family != image.family)
            continue;
        for (uint32_t at = 0; at < get32(block + 16); at++, bytes++) {
            const uint8_t *byte = byte_at(get32(block + 12) + at);
            if (!byte || *byte != block[32 + at])
                return false;
        }
    }
    return bytes == image_bytes();
}

/* --- truncation and damage ------------------------------------------------------------------------ */

static struct image whole;

static struct sample begin(enum sample_kind kind)
{
    struct sample s = sample_make(kind);
    cr_assert(s.size <= 4096, "%s has %zu bytes", s.name, s.size);
    cr_assert(parse(s.data, s.size) == 0, "%s: %s", s.name, why);
    whole = image;
    return s;
}

static void end(struct sample *s)
{
    free(s->data);
    image_free(&whole);
}

/* Whether the error helps: which file, and where in it or what to do. */
static bool is_clear(void)
{
    return strncmp(why, "FILE", 4) == 0 && !strchr(why, '\n') && memchr(why, 0, sizeof why) &&
           (strstr(why, ", byte 0x") || strstr(why, ", line ") || strstr(why, "is empty") ||
               strstr(why, "nothing to write") || strstr(why, "puts two parts at"));
}

/* The shortest beginning of a file of this format that can be told from raw bytes. */
static size_t least_mark(enum image_format format)
{
    // clang-format off
    static const size_t least[] = {[IMAGE_RAW] = SIZE_MAX, [IMAGE_ELF] = 4, [IMAGE_HEX] = 1,
        [IMAGE_DFUSE] = 5, [IMAGE_SREC] = 2, [IMAGE_UF2] = 4};
    // clang-format on
    return least[format];
}

Test(damage, every_truncation_is_refused_or_read_as_it_stands)
{
    for (int kind = 0; kind < SAMPLE_KINDS; kind++) {
        struct sample s = begin((enum sample_kind)kind);
        for (size_t n = 0; n < s.size; n++) {
            int err = parse(s.data, n);
            if (err)
                cr_expect(is_clear(), "%s cut to %zu: \"%s\"", s.name, n, why);
            else if (n < least_mark(s.format))
                cr_expect(is_raw(s.data, n), "%s cut to %zu", s.name, n);
            else /* what is missing was an end of line, a count's companion, nothing's section table */
                cr_expect(equals(&whole), "%s cut to %zu", s.name, n);
            image_free(&image);
        }
        end(&s);
    }
}

/* What a damaged file may be read as. HEX and S-records: what they were, as each record has a checksum, but
 * not the space between them. .dfu files and suffixes have one over all. */
static bool is_right(enum sample_kind kind, const struct sample *s)
{
    switch (s->format) {
    case IMAGE_RAW:
        return kind == SAMPLE_RAW && is_raw(s->data, s->size);
    case IMAGE_ELF:
        return image.format == IMAGE_ELF && is_elf(s->data);
    case IMAGE_HEX:
    case IMAGE_SREC:
        return image.format == s->format && equals(&whole);
    case IMAGE_DFUSE:
        return false;
    case IMAGE_UF2:
        return image.format == IMAGE_UF2 && image.family == whole.family &&
               is_uf2(s->data, s->size);
    }
    return false;
}

/* Which values a byte is given: all, or, where that takes too long (-D), every n-th. */
#ifndef DAMAGE_STEP
#define DAMAGE_STEP 1
#endif

static void damage_every_byte(enum sample_kind kind)
{
    struct sample s = begin(kind);
    unsigned refused = 0, read = 0;
    for (size_t at = 0; at < s.size; at++) {
        uint8_t good = s.data[at];
        for (unsigned change = 1; change < 256; change += DAMAGE_STEP) {
            uint8_t value = (uint8_t)(good ^ change);
            s.data[at] = value;
            int err = parse(s.data, s.size);
            if (err ? !is_clear()
                    : !is_right(kind, &s)) /* only then: each assertion costs a message */
                cr_expect(false, "%s, byte %zu is %u and not %u: %s", s.name, at, value, good,
                    err ? why : image_format_name(image.format));
            refused += err != 0;
            read += err == 0;
            image_free(&image);
        }
        s.data[at] = good;
    }
    printf("%s: %zu bytes, %u damaged files refused, %u read\n", s.name, s.size, refused, read);
    end(&s);
}

Test(damage, every_value_of_every_byte_of_raw_bytes_is_just_that)
{
    damage_every_byte(SAMPLE_RAW);
}

Test(damage, every_damaged_byte_of_a_file_with_a_suffix_is_noticed)
{
    damage_every_byte(SAMPLE_SUFFIX);
}

Test(damage, every_damaged_byte_of_an_elf_file_is_noticed_or_shown)
{
    damage_every_byte(SAMPLE_ELF);
    damage_every_byte(SAMPLE_ELF_HEADERS);
}

Test(damage, every_damaged_byte_of_a_hex_file_is_noticed_or_means_nothing)
{
    damage_every_byte(SAMPLE_HEX);
}

Test(damage, every_damaged_byte_of_an_srecord_file_is_noticed_or_means_nothing)
{
    damage_every_byte(SAMPLE_SREC);
    damage_every_byte(SAMPLE_SREC_COUNTED);
    damage_every_byte(SAMPLE_SREC_ENDED);
}

Test(damage, every_damaged_byte_of_a_dfu_file_is_noticed)
{
    damage_every_byte(SAMPLE_DFUSE);
}

Test(damage, every_damaged_byte_of_a_uf2_file_is_noticed_or_shown)
{
    damage_every_byte(SAMPLE_UF2);
    damage_every_byte(SAMPLE_UF2_NO_FAMILY);
    damage_every_byte(SAMPLE_UF2_SEVERAL);
}

/* --- memory that is short ------------------------------------------------------------------------- */

/* This program's own allocator, in front of the C library's, libelf's calls included: the n-th allocation
 * fails, and what is not given back is counted. A sanitizer has its own. */
#if !defined(__SANITIZE_ADDRESS__)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void __libc_free(void *memory);

static bool armed;
static unsigned until_failure; /* 0: none fails */
static long live;

static bool fails(void)
{
    if (!armed || until_failure == 0 || --until_failure)
        return false;
    errno = ENOMEM;
    return true;
}

static void *given(void *memory)
{
    live += armed && memory;
    return memory;
}

void *malloc(size_t size)
{
    return fails() ? NULL : given(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : given(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
    if (!memory)
        return malloc(size);
    return fails() ? NULL : __libc_realloc(memory, size);
}

void free(void *memory)
{
    live -= armed && memory;
    __libc_free(memory);
}

/* True if the n-th allocation was reached. */
static bool fail_at(unsigned n, int (*run)(void *context), void *context, const char *name)
{
    memset(why, 0, sizeof why);
    until_failure = n;
    live = 0;
    armed = true;
    int err = run(context);
    armed = false;
    bool reached = until_failure == 0;
    cr_expect(live == 0, "%s: allocation %u failed, %ld are lost", name, n, live);
    cr_expect(reached || !err, "%s: %s", name, why);
    if (err)
        cr_expect(err == IMAGE_NO_MEMORY && strstr(why, "memory") && !strchr(why, '\n'),
            "%s: allocation %u failed: %d, \"%s\"", name, n, err, why);
    return reached;
}

static int run_parse(void *context)
{
    const struct sample *s = context;
    int err = image_parse(&image, "FILE", s->data, s->size, 0x08000000, why);
    image_free(&image);
    return err;
}

Test(memory, parsers_survive_each_allocation_that_fails)
{
    for (int kind = 0; kind < SAMPLE_KINDS; kind++) {
        struct sample s = sample_make((enum sample_kind)kind);
        unsigned n = 1;
        while (fail_at(n, run_parse, &s, s.name))
            n++;
        cr_expect(n > 2, "%s", s.name);
        printf("%s: %u allocations, each failed once\n", s.name, n - 1);
        free(s.data);
    }
}

struct making {
    struct image image;
    enum image_format format;
};

static int run_make(void *context)
{
    const struct making *m = context;
    uint8_t *data = NULL;
    size_t size;
    int err = image_make(&m->image, "FILE", m->format, &data, &size, why);
    if (!err)
        free(data);
    return err;
}

Test(memory, writers_survive_each_allocation_that_fails)
{
    static const enum image_format formats[] = {
        IMAGE_RAW, IMAGE_HEX, IMAGE_DFUSE, IMAGE_SREC, IMAGE_UF2};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        static uint8_t bytes[20000]; /* so that what is made grows several times */
        struct making m = {.format = formats[i]};
        image_init(&m.image, IMAGE_RAW);
        m.image.suffix = true;
        cr_assert(image_add(&m.image, IMAGE_ANY_ALT, 0, bytes, sizeof bytes) == 0);
        unsigned n = 1;
        while (fail_at(n, run_make, &m, image_format_name(formats[i])))
            n++;
        cr_expect(n > 1);
        image_free(&m.image);
    }
}

static int run_read(void *context)
{
    int err = image_read(&image, context, 0x08000000, why);
    image_free(&image);
    return err;
}

Test(memory, a_file_is_read_or_not_but_nothing_is_lost)
{
    char path[] = "/tmp/test_file_damage_XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    cr_assert(file);
    for (int i = 0; i < 200000; i++)
        fputc(i, file);
    fclose(file);
    unsigned n = 1;
    while (fail_at(n, run_read, path, path))
        n++;
    cr_expect(n > 4, "%u", n);
    remove(path);
}

static int run_settle(void *context)
{
    (void)context;
    image_init(&image, IMAGE_HEX);
    int err = 0;
    for (uint32_t i = 0; i < 100 && !err;
         i++) /* backwards, so that all of it is joined at the end */
        err = image_add(&image, IMAGE_ANY_ALT, 1000 - 10 * i, (const uint8_t *)"0123456789", 10);
    if (err) {
        snprintf(why, sizeof why, "image_add() says nothing; memory is full");
        err = IMAGE_NO_MEMORY;
    } else
        err = image_settle(&image, "FILE", why);
    image_free(&image);
    return err;
}

Test(memory, joining_survives_each_allocation_that_fails)
{
    unsigned n = 1;
    while (fail_at(n, run_settle, NULL, "settle"))
        n++;
    cr_expect(n > 100);
}

#endif
