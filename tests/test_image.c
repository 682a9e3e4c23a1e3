/* SPDX-License-Identifier: MIT */
/* Files that toolchains make, and what becomes of them on the way. */
#include "image/dfuse.h"
#include "image/elf.h"
#include "image/hex.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static struct image image;
static char why[IMAGE_ERROR_SIZE];

static int parse(const void *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1); /* its own memory, so that a checker sees an overrun */
    memcpy(copy, data, size);
    why[0] = '\0';
    int err = image_parse(&image, "FILE", copy, size, 0x08000000, why);
    free(copy);
    cr_expect(!err || strncmp(why, "FILE", 4) == 0, "which file? \"%s\"", why);
    return err;
}

static int parse_text(const char *text)
{
    return parse(text, strlen(text));
}

static void expect_segment(size_t i, uint32_t addr, const char *bytes)
{
    cr_assert(i < image.count, "there are %zu segments", image.count);
    cr_expect(image.segments[i].addr == addr, "0x%08x", image.segments[i].addr);
    cr_expect(image.segments[i].size == strlen(bytes), "%u bytes", image.segments[i].size);
    cr_expect(memcmp(image.segments[i].data, bytes, strlen(bytes)) == 0);
}

static void expect_error(const char *part)
{
    cr_expect(strstr(why, part), "\"%s\" does not say \"%s\"", why, part);
    cr_expect(!strchr(why, '\n'));
    cr_expect(image.count == 0, "an image in spite of the error");
}

static void free_image(void)
{
    image_free(&image);
}

TestSuite(raw, .fini = free_image, .timeout = 20);
TestSuite(segments, .fini = free_image, .timeout = 20);
TestSuite(hex, .fini = free_image, .timeout = 20);
TestSuite(elf, .fini = free_image, .timeout = 20);
TestSuite(dfuse, .fini = free_image, .timeout = 60);

/* --- raw ----------------------------------------------------------------------------------------- */

Test(raw, bytes_of_no_known_format_go_where_the_caller_says)
{
    cr_assert(parse_text("\x01\x02\x03 anything") == 0, "%s", why);
    cr_expect(image.format == IMAGE_RAW && image.count == 1 && image.vendor == 0xFFFF);
    expect_segment(0, 0x08000000, "\x01\x02\x03 anything");
}

Test(raw, an_empty_file_is_an_error)
{
    cr_expect(parse("", 0) != 0);
    expect_error("empty");
}

Test(raw, a_file_that_cannot_be_read_says_why)
{
    cr_expect(image_read(&image, "/nonexistent/fw.bin", 0, why) != 0);
    expect_error("/nonexistent/fw.bin: No such file");
    cr_expect(image_read(&image, "/", 0, why) != 0);
    expect_error("directory");
}

Test(raw, an_end_behind_the_last_address_is_an_error)
{
    cr_expect(image_parse(&image, "FILE", (const uint8_t *)"12345", 5, 0xFFFFFFFC, why) != 0);
    expect_error("last address");
    cr_expect(
        image_parse(&image, "FILE", (const uint8_t *)"1234", 4, 0xFFFFFFFC, why) == 0, "%s", why);
}

Test(raw, a_dfu_suffix_is_taken_off)
{
    uint8_t file[4 + 16] = {
        1, 2, 3, 4, 0xFF, 0xFF, 0x11, 0xDF, 0x83, 0x04, 0, 1, 'U', 'F', 'D', 16};
    uint32_t crc = ~(uint32_t)crc32(0, file, 16);
    memcpy(file + 16, &crc, 4);
    cr_assert(parse(file, sizeof file) == 0);
    expect_segment(0, 0x08000000, "\1\2\3\4");
    cr_expect(image.vendor == 0x0483 && image.product == 0xDF11);
    file[0] ^= 1; /* then these bytes are no suffix */
    free_image();
    cr_assert(parse(file, sizeof file) == 0);
    cr_expect(image.segments[0].size == sizeof file);
}

Test(raw, formats_that_would_be_flashed_as_garbage_are_refused)
{
    cr_expect(parse_text("S0030000FC\nS1060000010203F3\nS9030000FC\n") != 0);
    expect_error("S-record");
    cr_expect(parse("UF2\n\x57\x51\x5D\x9E rest", 13) != 0);
    expect_error("UF2");
}

/* --- segments ------------------------------------------------------------------------------------ */

static void add(uint32_t addr, const char *bytes)
{
    cr_assert(image_add(&image, IMAGE_ANY_ALT, addr, (const uint8_t *)bytes, strlen(bytes)) == 0);
}

Test(segments, are_sorted_and_joined_where_they_touch)
{
    image_init(&image, IMAGE_HEX);
    add(0x30, "ggg");
    add(0x10, "aaaa");
    add(0x20, "eeee");
    add(0x14, "bbbb");
    add(0x1C, "dddd");
    add(0x18, "cccc");
    cr_assert(image_settle(&image, "FILE", why) == 0, "%s", why);
    cr_assert(image.count == 2);
    expect_segment(0, 0x10, "aaaabbbbccccddddeeee");
    expect_segment(1, 0x30, "ggg");
}

Test(segments, that_overlap_are_an_error)
{
    image_init(&image, IMAGE_HEX);
    add(0x10, "aaaa");
    add(0x13, "b");
    cr_expect(image_settle(&image, "FILE", why) != 0);
    cr_expect(strstr(why, "0x00000013"), "%s", why);
}

Test(segments, hidden_in_an_earlier_longer_one_overlap_too)
{
    image_init(&image, IMAGE_HEX);
    add(0x10, "aaaaaaaaaaaaaaaa");
    add(0x14, "b");
    add(0x18, "c");
    cr_expect(image_settle(&image, "FILE", why) != 0);
}

Test(segments, of_different_alternate_settings_are_kept_apart)
{
    image_init(&image, IMAGE_DFUSE);
    cr_assert(image_add(&image, 1, 0x10, (const uint8_t *)"aa", 2) == 0);
    cr_assert(image_add(&image, 0, 0x12, (const uint8_t *)"bb", 2) == 0);
    cr_assert(image_settle(&image, "FILE", why) == 0);
    cr_assert(image.count == 2);
    cr_expect(image.segments[0].alt == 0 && image.segments[1].alt == 1);
}

Test(segments, at_the_end_of_the_address_space_are_possible)
{
    image_init(&image, IMAGE_HEX);
    add(0xFFFFFFFE, "ab");
    add(0, "c");
    cr_assert(image_settle(&image, "FILE", why) == 0);
    cr_expect(image.count == 2);
    cr_expect(image_add(&image, IMAGE_ANY_ALT, 0xFFFFFFFF, (const uint8_t *)"xy", 2) != 0);
}

/* --- Intel HEX ----------------------------------------------------------------------------------- */

#define HEX_END ":00000001FF\n"

Test(hex, data_records_are_placed_by_linear_addresses)
{
    cr_assert(parse_text(":020000040800F2\n:03000000616263D7\n:03000300646566CB\n" HEX_END) == 0,
        "%s", why);
    cr_expect(image.format == IMAGE_HEX && image.count == 1);
    expect_segment(0, 0x08000000, "abcdef");
}

Test(hex, segment_addresses_wrap_at_64_kib)
{
    /* 0x1000 << 4 = 0x10000; two bytes at 0xFFFF: the second at offset 0. */
    cr_assert(parse_text(":020000021000EC\r\n:02FFFF0061623D\r\n" HEX_END) == 0, "%s", why);
    cr_assert(image.count == 2);
    expect_segment(0, 0x10000, "b");
    expect_segment(1, 0x1FFFF, "a");
}

Test(hex, entry_points_blank_lines_and_lower_case_are_fine)
{
    cr_assert(parse_text("\r\n:0400000508000145a9\r\n:0400000300003800c1\r\n\n:03000000616263d7\n:"
                         "00000001ff\n\n") == 0,
        "%s", why);
    expect_segment(0, 0, "abc");
}

// clang-format off
static const struct { const char *text, *message; } bad_hex[] = {
    {":03000000616263D8\n" HEX_END,                 "line 1: the checksum is 0xd8 and should be 0xd7"},
    {":03000000616263D7\n:03000300646566CC\n" HEX_END, "line 2: the checksum"},
    {":03000000616263D7\n",                         "end record is missing"},
    {":",                                           "line 1"},
    {":0",                                          "line 1"},
    {":03000000616\n",                              "impossible length"},
    {":03000000616263\n" HEX_END,                   "line 1"},
    {":0300000061626G3D\n" HEX_END,                 "no hexadecimal digit"},
    {":03000000616263D7\nrubbish\n" HEX_END,        "line 2: a record must begin with ':'"},
    {":0000000AF6\n" HEX_END,                       "record type 0a"},
    {":0100000400FB\n" HEX_END,                     "not 2"},
    {HEX_END ":03000000616263D7\n",                 "line 2: there is more after the end record"},
    {HEX_END,                                       "nothing to write"},
    {":03000000616263D7\n:03000100616263D6\n" HEX_END, "two parts at"},
    {":02000004FFFFFC\n:02FFFF0061623D\n" HEX_END,  "last address"},
};
// clang-format on

Test(hex, damage_is_told_with_its_line_and_never_flashed_raw)
{
    for (size_t i = 0; i < sizeof bad_hex / sizeof bad_hex[0]; i++) {
        cr_expect(parse_text(bad_hex[i].text) != 0, "%s", bad_hex[i].text);
        expect_error(bad_hex[i].message);
    }
}

Test(hex, every_changed_digit_is_noticed)
{
    static const char good[] = ":020000040800F2\n:03000000616263D7\n" HEX_END;
    for (size_t i = 0; i < sizeof good - 1; i++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        text[i] = text[i] == '1' ? '2' : '1';
        if (text[i] == good[i] || i == 0) /* without its colon it is another file */
            continue;
        cr_expect(parse_text(text) != 0, "position %zu", i);
        free_image();
    }
}

/* --- ELF ----------------------------------------------------------------------------------------- */

struct elf_file {
    Elf32_Ehdr header;
    Elf32_Phdr segments[2];
    char data[8];
};

static struct elf_file make_elf(void)
{
    struct elf_file f = {
        .header = {.e_ident = {0x7F, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_ARM,
                   .e_version = EV_CURRENT,
                   .e_phoff = sizeof(Elf32_Ehdr),
                   .e_ehsize = sizeof(Elf32_Ehdr),
                   .e_phentsize = sizeof(Elf32_Phdr),
                   .e_phnum = 2,
                   .e_shentsize = sizeof(Elf32_Shdr)},
        .segments = {{.p_type = PT_LOAD,
                         .p_offset = offsetof(struct elf_file, data),
                         .p_vaddr = 0x08000000,
                         .p_paddr = 0x08000000,
                         .p_filesz = 4,
                         .p_memsz = 4},
                   {.p_type = PT_LOAD,
                .p_offset = offsetof(struct elf_file, data) + 4,
                .p_vaddr = 0x20000000,
                .p_paddr = 0x08000004,
                .p_filesz = 3,
                .p_memsz = 100}},
        .data = "codedat"
    };
    return f;
}

Test(elf, segments_go_to_their_physical_addresses)
{
    struct elf_file f = make_elf();
    cr_assert(parse(&f, sizeof f) == 0, "%s", why);
    cr_expect(image.format == IMAGE_ELF && image.count == 1);
    expect_segment(0, 0x08000000, "codedat");
}

Test(elf, segments_without_bytes_are_left_out)
{
    struct elf_file f = make_elf();
    f.segments[1].p_filesz = 0;
    cr_assert(parse(&f, sizeof f) == 0, "%s", why);
    expect_segment(0, 0x08000000, "code");
}

static void expect_bad_elf(struct elf_file *f, size_t size, const char *message)
{
    cr_expect(parse(f, size) != 0, "%s", message);
    expect_error(message);
    *f = make_elf();
}

Test(elf, what_is_not_for_a_cortex_m_is_refused_with_the_reason)
{
    struct elf_file f = make_elf();
    f.header.e_machine = EM_X86_64;
    f.header.e_ident[EI_CLASS] = ELFCLASS64;
    expect_bad_elf(&f, sizeof f, "x86-64");
    f.header.e_machine = EM_RISCV;
    expect_bad_elf(&f, sizeof f, "RISC-V");
    f.header.e_ident[EI_CLASS] = ELFCLASS64;
    expect_bad_elf(&f, sizeof f, "32-bit");
    f.segments[0].p_type = f.segments[1].p_type = PT_NOTE;
    expect_bad_elf(&f, sizeof f, "no loadable segments");
    f.header.e_type = ET_REL;
    f.header.e_phnum = 0;
    f.header.e_phoff = 0;
    expect_bad_elf(&f, sizeof f, "link it first");
    f.segments[1].p_paddr = 0x08000002;
    expect_bad_elf(&f, sizeof f, "two parts");
    f.segments[0].p_paddr = 0xFFFFFFFE;
    expect_bad_elf(&f, sizeof f, "last address");
    f.segments[1].p_offset = 0x7FFFFFFF;
    expect_bad_elf(&f, sizeof f, "cut short");
}

Test(elf, every_truncation_is_an_error)
{
    struct elf_file f = make_elf();
    for (size_t n = 4; n < sizeof f - 1; n++)
        cr_expect(parse(&f, n) != 0, "%zu of %zu bytes", n, sizeof f);
}

/* --- .dfu ---------------------------------------------------------------------------------------- */

struct file {
    uint8_t data[1024];
    size_t size;
};

/* What dfuse_write() makes of two targets with three elements in all. */
static struct file make_dfu(void)
{
    struct file f;
    char path[] = "/tmp/test_image_XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    close(fd);
    struct image_segment segments[] = {
        {0x08000000, 5, (uint8_t[]){'h', 'e', 'l', 'l', 'o'}, 0},
        {0x08001000, 3, (uint8_t[]){'a', 'n', 'd'},           0},
        {0x1FFFF800, 2, (uint8_t[]){'o', 'b'},                1},
    };
    cr_assert(dfuse_write(path, 0x1234, 0x5678, segments, 3, why) == 0, "%s", why);
    FILE *file = fopen(path, "rb");
    f.size = fread(f.data, 1, sizeof f.data, file);
    fclose(file);
    unlink(path);
    return f;
}

static void sign(struct file *f)
{
    uint32_t crc = ~(uint32_t)crc32(0, f->data, (uInt)(f->size - 4));
    for (int i = 0; i < 4; i++)
        f->data[f->size - 4 + (size_t)i] = (uint8_t)(crc >> 8 * i);
}

Test(dfuse, the_checksum_is_the_published_one)
{
    cr_expect(~(uint32_t)crc32(0, (const Bytef *)"123456789", 9) == 0x340BC6D9);
}

Test(dfuse, what_was_written_is_read)
{
    struct file f = make_dfu();
    cr_assert(parse(f.data, f.size) == 0, "%s", why);
    cr_expect(image.format == IMAGE_DFUSE && image.vendor == 0x1234 && image.product == 0x5678);
    cr_assert(image.count == 3);
    expect_segment(0, 0x08000000, "hello");
    expect_segment(1, 0x08001000, "and");
    expect_segment(2, 0x1FFFF800, "ob");
    cr_expect(image.segments[1].alt == 0 && image.segments[2].alt == 1);
}

Test(dfuse, every_byte_is_where_um0391_has_it)
{
    struct file f = make_dfu();
    cr_expect(f.size == 11 + 274 + 8 + 5 + 8 + 3 + 274 + 8 + 2 + 16);
    cr_expect(memcmp(f.data, "DfuSe\x01", 6) == 0);
    cr_expect(f.data[6] == ((f.size - 16) & 0xFF) && f.data[7] == (f.size - 16) >> 8,
        "without the suffix");
    cr_expect(f.data[10] == 2);
    cr_expect(memcmp(f.data + 11, "Target\0\1\0\0\0", 11) == 0);
    cr_expect(memcmp(f.data + 11 + 266, "\x18\0\0\0\2\0\0\0", 8) == 0, "24 bytes, 2 elements");
    cr_expect(memcmp(f.data + 285, "\0\0\0\x08\5\0\0\0hello\0\x10\0\x08\3\0\0\0and", 24) == 0);
    cr_expect(memcmp(f.data + f.size - 16, "\xFF\xFF\x78\x56\x34\x12\x1A\x01UFD\x10", 12) == 0);
}

Test(dfuse, the_size_with_the_suffix_is_accepted_too)
{
    struct file f = make_dfu();
    f.data[6] = (uint8_t)f.size;
    f.data[7] = (uint8_t)(f.size >> 8);
    sign(&f);
    cr_expect(parse(f.data, f.size) == 0, "%s", why);
}

Test(dfuse, a_longer_suffix_is_accepted)
{
    struct file f = make_dfu();
    memmove(f.data + f.size - 12, f.data + f.size - 16, 16);
    memset(f.data + f.size - 16, 0, 4);
    f.size += 4;
    f.data[f.size - 5] = 20;
    sign(&f);
    cr_expect(parse(f.data, f.size) == 0, "%s", why);
}

// clang-format off
static const struct { size_t at; uint8_t value; const char *message; } bad_dfu[] = {
    {5,   2,    "version 2"},
    {6,   0x00, "announces"},
    {8,   0x01, "announces"},
    {10,  0,    "bytes after its last element"},
    {10,  1,    "bytes after its last element"},
    {10,  3,    "announces 3 targets"},
    {11,  't',  "targets"},
    {277, 0x19, "a target of 25 bytes"},
    {281, 1,    "a target of 24 bytes"},
    {281, 3,    "damaged"},
    {284, 0xFF, "damaged"}, /* four billion elements */
    {289, 6,    "damaged"},
    {292, 0xFF, "ends behind the file's"},
};
// clang-format on

Test(dfuse, what_does_not_fit_together_is_refused_though_the_checksum_is_right)
{
    for (size_t i = 0; i < sizeof bad_dfu / sizeof bad_dfu[0]; i++) {
        struct file f = make_dfu();
        f.data[bad_dfu[i].at] = bad_dfu[i].value;
        sign(&f);
        cr_expect(parse(f.data, f.size) != 0, "byte %zu", bad_dfu[i].at);
        expect_error(bad_dfu[i].message);
    }
}

Test(dfuse, an_element_that_wraps_is_refused)
{
    struct file f = make_dfu();
    memset(f.data + 285, 0xFF, 4);
    sign(&f);
    cr_expect(parse(f.data, f.size) != 0);
    expect_error("last address");
}

Test(dfuse, every_changed_bit_is_noticed)
{
    struct file good = make_dfu();
    for (size_t i = 0; i < good.size; i++) {
        struct file f = good;
        if (i < 5) /* then it does not claim to be a .dfu file */
            continue;
        f.data[i] ^= (uint8_t)(1 << i % 8);
        cr_expect(parse(f.data, f.size) != 0, "byte %zu", i);
        free_image();
    }
}

Test(dfuse, every_truncation_is_an_error)
{
    struct file f = make_dfu();
    for (size_t n = 5; n < f.size; n++) {
        cr_expect(parse(f.data, n) != 0, "%zu of %zu bytes", n, f.size);
        free_image();
    }
}

Test(dfuse, an_image_of_nothing_is_not_written)
{
    cr_expect(dfuse_write("/tmp/never", 0, 0, NULL, 0, why) != 0);
    struct image_segment s = {0, 1, (uint8_t[]){1}, 0};
    cr_expect(dfuse_write("/nonexistent/x.dfu", 0, 0, &s, 1, why) != 0);
    cr_expect(strstr(why, "/nonexistent/x.dfu"), "%s", why);
}
