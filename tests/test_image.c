/* SPDX-License-Identifier: MIT */
/* Files that toolchains make, and what becomes of them on the way. */
#include "image/crc32.h"
#include "image/dfuse.h"
#include "image/file.h"
#include "image/hex.h"
#include "image/srec.h"
#include "image/suffix.h"
#include "image/uf2.h"
#include "leaks.h"
#include "samples.h"

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

static void end(void)
{
    free_image();
    leaks_expect_none();
}

TestSuite(raw, .fini = end, .timeout = 20);
TestSuite(segments, .fini = end, .timeout = 20);
TestSuite(hex, .fini = end, .timeout = 20);
TestSuite(elf, .fini = end, .timeout = 20);
TestSuite(dfuse, .fini = end, .timeout = 60);
TestSuite(srec, .fini = end, .timeout = 20);
TestSuite(uf2, .fini = end, .timeout = 20);
TestSuite(suffix, .fini = end, .timeout = 20);
TestSuite(make, .fini = end, .timeout = 20);

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

Test(raw, a_name_may_be_longer_than_a_message)
{
    char name[1000];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    cr_expect(image_parse(&image, name, NULL, 0, 0, why) != 0 && strlen(why) == sizeof why - 1);
    cr_expect(image_parse(&image, name, (const uint8_t *)":", 1, 0, why) != 0);
    cr_expect(image_parse(&image, name, (const uint8_t *)"UF2\n", 4, 0, why) != 0);
}

Test(raw, an_end_behind_the_last_address_is_an_error)
{
    cr_expect(image_parse(&image, "FILE", (const uint8_t *)"12345", 5, 0xFFFFFFFC, why) != 0);
    expect_error("last address");
    cr_expect(
        image_parse(&image, "FILE", (const uint8_t *)"1234", 4, 0xFFFFFFFC, why) == 0, "%s", why);
}

Test(raw, standard_input_is_a_file_too)
{
    char path[] = "/tmp/test_image_XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, "S1050010616227\nS9030000FC\n", 26) == 26);
    close(fd);
    cr_assert(freopen(path, "rb", stdin));
    cr_expect(image_read(&image, "-", 0, why) == 0, "%s", why);
    expect_segment(0, 0x10, "ab");
    free_image();
    cr_expect(image_read(&image, "-", 0, why) != 0, "it was read to its end");
    expect_error("standard input is empty");
    unlink(path);
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
    cr_expect(
        image_add(&image, IMAGE_ANY_ALT, 0, (const uint8_t *)"", (size_t)UINT32_MAX + 1) != 0);
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
    free_image();
    cr_assert(parse_text(":020000021000EC\n:03000000616263D7\n" HEX_END) == 0, "%s", why);
    expect_segment(0, 0x10000, "abc");
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
    {":03000000616\n",                              "line 1: not pairs"},
    {":03000000\n",                                 "line 1: the record is too short"},
    {":03000000616263\n" HEX_END,                   "line 1"},
    {":0300000061626G3D\n" HEX_END,                 "line 1: not pairs of hexadecimal digits"},
    {":03000000616263D7\nrubbish\n" HEX_END,        "line 2: a record must begin with ':'"},
    {":0000000AF6\n" HEX_END,                       "record type 0a"},
    {":0100000400FB\n" HEX_END,                     "not 2"},
    {HEX_END ":03000000616263D7\n",                 "line 2: there is more after the end record"},
    {HEX_END,                                       "nothing to write"},
    {":03000000616263D7\n:03000100616263D6\n" HEX_END, "two parts at"},
    {":02000004FFFFFC\n:02FFFF0061623D\n" HEX_END,  "last address"},
    {";03000000616263D7\n:03000300646566CB\n" HEX_END, "line 1: a record must begin with ':'"},
    {"\x80" "03000000616263D7\n:03000300646566CB\n" HEX_END, "line 1: a record must begin with ':'"},
};
// clang-format on

Test(hex, damage_is_told_with_its_line_and_never_flashed_raw)
{
    for (size_t i = 0; i < sizeof bad_hex / sizeof bad_hex[0]; i++) {
        cr_expect(parse_text(bad_hex[i].text) != 0, "%s", bad_hex[i].text);
        expect_error(bad_hex[i].message);
    }
}

Test(hex, lines_end_as_on_any_system_and_are_counted_alike)
{
    cr_expect(parse_text(":03000000616263D7\r:03000300646566CB\r" HEX_END) == 0, "%s", why);
    expect_segment(0, 0, "abcdef");
    free_image();
    cr_expect(parse_text(":03000000616263D7\r\n:03000300646566CC\r\n" HEX_END) != 0);
    expect_error("line 2");
    cr_expect(parse_text(":03000000616263D7\r:03000300646566CC\r" HEX_END) != 0);
    expect_error("line 2");
}

Test(hex, the_entry_is_kept)
{
    cr_assert(parse_text(":0400000508000145A9\n:03000000616263D7\n" HEX_END) == 0);
    cr_expect(image.entry == 0x08000145);
    free_image();
    cr_assert(parse_text(":0400000310000020C9\n:03000000616263D7\n" HEX_END) == 0, "%s", why);
    cr_expect(image.entry == 0x10020, "CS:IP, 0x%x", image.entry);
}

Test(hex, a_line_longer_than_any_record_is_an_error)
{
    char text[1200];
    memset(text, '0', sizeof text);
    memcpy(text, ":", 1);
    text[sizeof text - 1] = '\0';
    cr_expect(parse_text(text) != 0);
    expect_error("line 1: not pairs");
}

Test(hex, text_that_holds_no_record_is_no_hex_file)
{
    cr_expect(parse_text("nothing\n:but text\n") == 0);
    cr_expect(image.format == IMAGE_RAW);
    free_image();
    cr_expect(parse_text("\x80\x81\n:03000000616263D7\n" HEX_END) == 0);
    cr_expect(image.format == IMAGE_RAW, "bytes that happen to hold a record");
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
    expect_bad_elf(&f, sizeof f, "FILE, byte 0x12: a program for x86-64");
    f.header.e_machine = 12345;
    expect_bad_elf(&f, sizeof f, "machine 12345");
    f.header.e_machine = EM_ARM << 8;
    f.header.e_ident[EI_DATA] = ELFDATA2MSB;
    expect_bad_elf(&f, sizeof f, "byte 0x5: not little-endian");
    f.header.e_ident[EI_VERSION] = 9;
    expect_bad_elf(&f, sizeof f, "header is damaged");
    f.header.e_ident[EI_MAG2] = 'l';
    expect_bad_elf(&f, sizeof f, "byte 0x0: not quite an ELF file");
    f.header.e_phoff = 53;
    expect_bad_elf(&f, sizeof f, "header is damaged");
    f.header.e_phentsize = 31;
    expect_bad_elf(&f, sizeof f, "byte 0x34: no segment table");
    f.header.e_phoff = 0x10000;
    expect_bad_elf(&f, sizeof f, "header is damaged");
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
    expect_bad_elf(&f, sizeof f, "byte 0x54: a segment lies behind the end of the file");
    f.segments[0].p_filesz = 1000;
    expect_bad_elf(&f, sizeof f, "byte 0x34: a segment lies behind");
}

Test(elf, every_truncation_is_an_error)
{
    struct elf_file f = make_elf();
    for (size_t n = 4; n < sizeof f - 1; n++)
        cr_expect(parse(&f, n) != 0, "%zu of %zu bytes", n, sizeof f);
}

static void parse_sample(enum sample_kind kind)
{
    struct sample s = sample_make(kind);
    cr_assert(parse(s.data, s.size) == 0, "%s: %s", s.name, why);
    cr_expect(image.format == s.format, "%s", s.name);
    free(s.data);
}

Test(elf, headers_in_the_first_segment_are_left_out)
{
    struct elf_file f = make_elf();
    parse_sample(SAMPLE_ELF_HEADERS);
    cr_expect(image.segments[0].addr == 0x08000000 && image.segments[0].size == 300);
    free_image();
    f.segments[0].p_offset = 0; /* without a section table they cannot be told */
    f.segments[0].p_filesz = sizeof f.header;
    f.segments[1].p_paddr = 0x08001000;
    cr_assert(parse(&f, sizeof f) == 0, "%s", why);
    cr_expect(image.segments[0].size == sizeof f.header);
}

Test(elf, tells_its_entry_and_the_core_that_it_is_for)
{
    struct elf_file f = make_elf();
    parse_sample(SAMPLE_ELF);
    cr_expect_str_eq(image.target, "Cortex-M3");
    cr_expect(image.entry == 0x08000101);
    free_image();
    cr_assert(parse(&f, sizeof f) == 0);
    cr_expect_str_eq(image.target, "", "it has no attributes");
}

/* What is said of the sample with these attributes in place of its own, which are 35 bytes: 'A', 34 of a
 * vendor, in them 24 of a file. Zeros fill up. */
static const char *target_of(const char *attributes, size_t size)
{
    static char target[IMAGE_TARGET_SIZE];
    struct sample s = sample_make(SAMPLE_ELF);
    uint8_t *at = memmem(s.data, s.size, "aeabi", 6);
    cr_assert(at && size <= 35);
    memset(at - 5, 0, 35);
    memcpy(at - 5, attributes, size);
    cr_assert(parse(s.data, s.size) == 0, "%s", why);
    free(s.data);
    memcpy(target, image.target, sizeof target);
    free_image();
    return target;
}

#define expect_target(attributes, target)                                                          \
    cr_expect_str_eq(target_of(attributes, sizeof attributes - 1), target)

#define VENDOR          "A\x22\0\0\0aeabi\0"
#define FILE_ATTRIBUTES VENDOR "\x01\x18\0\0\0"
#define CORTEX_M3                                                                                  \
    "\x05"                                                                                         \
    "Cortex-M3\0"

Test(elf, attributes_are_read_as_the_abi_has_them_and_damaged_ones_left_alone)
{
    expect_target(FILE_ATTRIBUTES CORTEX_M3, "Cortex-M3");
    expect_target(FILE_ATTRIBUTES "\x06\x0D" CORTEX_M3, "Cortex-M3"); /* better than ARMv7E-M */
    expect_target(FILE_ATTRIBUTES CORTEX_M3 "\x06\x0D", "Cortex-M3");
    expect_target(FILE_ATTRIBUTES "\x05"
                                  "7-M\0\x06\x0A",
        "ARMv7-M"); /* the linker's, of several files */
    /* Text and numbers of other tags are passed, also tag 32's pair and long numbers. */
    expect_target(FILE_ATTRIBUTES "\x04raw\0\x20\x01n\0\x43\x32\0\x22\x81\x01\x06\x0D", "ARMv7E-M");
    expect_target(FILE_ATTRIBUTES "\x06\x09", "");
    expect_target(FILE_ATTRIBUTES "\x06\x63", "");
    expect_target(FILE_ATTRIBUTES "\x06\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"
                                  "\x80\x80\x80",
        "");
    expect_target(FILE_ATTRIBUTES "\x05name without end!!", "");
    expect_target(FILE_ATTRIBUTES "\x07"
                                  "an odd one: text\x05",
        "");
    expect_target(VENDOR "\x02\x18\0\0\0" CORTEX_M3, ""); /* of a section, not of the file */
    expect_target(VENDOR "\x01\x19\0\0\0" CORTEX_M3, "");
    expect_target(VENDOR "\x01\x04\0\0\0" CORTEX_M3, "");
    expect_target("A\x22\0\0\0other\0\x01\x18\0\0\0" CORTEX_M3, "");
    expect_target("A\x22\0\0\0no end of the vendor's name...", "");
    expect_target("A\x03\0\0\0aeabi\0\x01\x18\0\0\0" CORTEX_M3, "");
    expect_target("B\x22\0\0\0aeabi\0\x01\x18\0\0\0" CORTEX_M3, "");
}

/* --- .dfu ---------------------------------------------------------------------------------------- */

struct file {
    uint8_t data[1024];
    size_t size;
};

/* What dfuse_make() makes of two targets with three elements in all. */
static struct file make_dfu(void)
{
    struct file f;
    uint8_t *data;
    struct image_segment segments[] = {
        {0x08000000, 5, (uint8_t[]){'h', 'e', 'l', 'l', 'o'}, 0},
        {0x08001000, 3, (uint8_t[]){'a', 'n', 'd'},           0},
        {0x1FFFF800, 2, (uint8_t[]){'o', 'b'},                1},
    };
    struct image parts = {
        .segments = segments, .count = 3, .vendor = 0x1234, .product = 0x5678, .device = 0xFFFF};
    cr_assert(image_make(&parts, "FILE", IMAGE_DFUSE, &data, &f.size, why) == 0, "%s", why);
    cr_assert(f.size <= sizeof f.data);
    memcpy(f.data, data, f.size);
    free(data);
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
    uint8_t data[777];
    cr_expect(crc32_dfu((const uint8_t *)"123456789", 9) == 0x340BC6D9);
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * i * 31 + i / 3);
        cr_expect(crc32_dfu(data, i) == ~(uint32_t)crc32(0, data, (uInt)i), "of %zu bytes", i);
    }
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
    cr_expect(strstr(image.note, "DFUImageSize"), "it is said");
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
    {10,  0,    "byte 0xb: 582 bytes after the last element"},
    {10,  1,    "byte 0x135: 284 bytes after the last element"},
    {10,  3,    "byte 0x251: the file announces 3 targets"},
    {11,  't',  "byte 0xb: the file announces 2 targets"},
    {17,  0xFF, "byte 0x11: a target for alternate setting 255"},
    {277, 0x19, "byte 0x11d: a target of 25 bytes has elements of 24"},
    {281, 1,    "a target of 24 bytes has elements of 13"},
    {281, 3,    "damaged"},
    {284, 0xFF, "damaged"}, /* four billion elements */
    {289, 6,    "damaged"},
    {292, 0xFF, "byte 0x11d: an element of 4278190085 bytes for 0x08000000 ends behind the file's"},
    {0x24B, 0x07, "byte 0x247: an element of 7 bytes for 0x1ffff800 ends behind the file's"},
    {0x135 + 270, 4, "announces 4 elements and has fewer"},
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

Test(dfuse, its_first_bytes_may_be_damaged_and_it_is_still_no_raw_file)
{
    struct file f = make_dfu();
    f.data[2] ^= 0x20;
    cr_expect(parse(f.data, f.size) != 0);
    expect_error("checksum");
    sign(&f);
    cr_expect(parse(f.data, f.size) != 0);
    expect_error("byte 0x0: not quite \"DfuSe\"");
}

Test(dfuse, a_suffix_that_leaves_no_room_for_the_rest_is_refused)
{
    struct file f = {.data = "DfuSe\x01", .size = 26};
    memcpy(f.data + 10 + 6, "\x1A\x01UFD\x10", 6);
    sign(&f);
    cr_expect(parse(f.data, f.size) != 0);
    expect_error("byte 0x1a: the file ends here, too soon");
}

/* --- the DFU suffix ------------------------------------------------------------------------------- */

static struct file make_suffixed(void)
{
    struct file f = {
        .data = {1, 2, 3, 4, 0xFF, 0xFF, 0x11, 0xDF, 0x83, 0x04, 0, 1, 'U', 'F', 'D', 16},
        .size = 20
    };
    sign(&f);
    return f;
}

Test(suffix, is_taken_off_a_raw_file)
{
    struct file f = make_suffixed();
    cr_assert(parse(f.data, f.size) == 0, "%s", why);
    expect_segment(0, 0x08000000, "\1\2\3\4");
    cr_expect(image.suffix && image.vendor == 0x0483 && image.product == 0xDF11);
    cr_expect(image.device == 0xFFFF && image.format == IMAGE_RAW);
}

Test(suffix, damaged_is_an_error_and_not_flashed_as_bytes)
{
    struct file f = make_suffixed();
    f.data[0] ^= 1;
    cr_expect(parse(f.data, f.size) != 0);
    expect_error("byte 0x10: the checksum is");
    for (size_t i = 10; i < 16; i++) {
        f = make_suffixed();
        f.data[i] ^= 0xFF;
        cr_expect(parse(f.data, f.size) != 0, "byte %zu", i);
        cr_expect(strstr(why, "damaged"), "%s", why);
    }
    f = make_suffixed();
    f.data[15] = 21;
    sign(&f);
    cr_expect(parse(f.data, f.size) != 0);
    expect_error("byte 0xf: the DFU suffix is longer than the file");
}

Test(suffix, of_any_version_is_known_by_its_marks)
{
    static const uint8_t versions[][2] = {
        {0x00, 0x01},
        {0x10, 0x01},
        {0x1A, 0x01}
    };
    for (size_t i = 0; i < 3; i++) {
        struct file f = make_suffixed();
        memcpy(f.data + 10, versions[i], 2);
        f.data[13] = 'f';
        cr_expect(parse(f.data, f.size) != 0);
        expect_error("byte 0xa: the DFU suffix is damaged");
    }
}

Test(suffix, that_was_none_is_bytes)
{
    struct file f = make_suffixed();
    f.data[12] = f.data[13] = 0;
    cr_assert(parse(f.data, f.size) == 0, "%s", why);
    cr_expect(image.segments[0].size == f.size && !image.suffix);
    free_image();
    cr_assert(parse(f.data + 5, 15) == 0);
    cr_expect(image.segments[0].size == 15);
}

/* --- S-records ------------------------------------------------------------------------------------ */

#define S9 "S9030000FC\n"

Test(srec, addresses_of_two_three_and_four_bytes_are_read)
{
    cr_assert(parse_text("S00600004844521B\nS1050010616227\nS206000012636420\nS30700000014656619\n"
                         "S30708000000676821\nS5030004F8\nS70508000145AC\n") == 0,
        "%s", why);
    cr_expect(image.format == IMAGE_SREC && image.count == 2 && image.entry == 0x08000145);
    expect_segment(0, 0x10, "abcdef");
    expect_segment(1, 0x08000000, "gh");
}

Test(srec, an_end_record_or_a_count_says_that_it_is_whole)
{
    cr_expect(parse_text("S1050010616227\n" S9) == 0, "%s", why);
    free_image();
    cr_expect(
        parse_text("s1050010616227\n") == 0 && image.format == IMAGE_RAW, "not in lower case");
    free_image();
    cr_expect(parse_text("S1050010616227\nS5030001FB\n") == 0, "%s", why);
    free_image();
    cr_expect(parse_text("S1050010616227\nS604000001FA\n") == 0, "%s", why);
    free_image();
    cr_expect(parse_text("S1050010616227\nS804000145B5\n") == 0 && image.entry == 0x145);
    free_image();
    cr_expect(parse_text("S1050010616227\nS1030010EC\n" S9) == 0, "a record of nothing: %s", why);
}

// clang-format off
static const struct { const char *text, *message; } bad_srec[] = {
    {"S1050010616228\n" S9,                   "line 1: the checksum is 0x28 and should be 0x27"},
    {"S1050010616227\nS1050012636422\n" S9,   "line 2: the checksum"},
    {"S1050010616227\n",                      "line 1: neither an end record nor a count"},
    {"S1050010616227\nS5030001FB\nS1050012636421\n", "line 3: neither an end record nor a count"},
    {"S1050010616227\nS5030002FA\n" S9,       "line 2: there were 1 data records and should be 2"},
    {"S1050010616227\nS604000002F9\n" S9,     "lines are missing"},
    {"S1050010616227\n" S9 "S1050012636421\n", "line 3: there is more after the end record"},
    {"S10500106162\n" S9,                     "line 1: the record says 5 bytes and has 4"},
    {"S10500106162277\n" S9,                  "line 1: not pairs"},
    {"S105001061622G\n" S9,                   "line 1: not pairs"},
    {"S1FF\n" S9,                             "line 1: the record is too short"},
    {"S4050010616227\n" S9,                   "line 1: S4 is no record type"},
    {"S1050010616227\nT1050012636421\n" S9,   "line 2: a record must begin with S and a digit"},
    {"S1050010616227\nS\n" S9,                "line 2: a record must begin with S and a digit"},
    {"S1050010616227\nS:\n" S9,               "line 2: a record must begin with S and a digit"},
    {"S1050010616227\nS-\n" S9,               "line 2: a record must begin with S and a digit"},
    {"T1050010616227\nS1050012636421\n" S9,   "line 1: a record must begin with S and a digit"},
    {"S1",                                    "line 1: the record is too short"},
    {"S1050010616227\nS00600004844521B\n" S9, "line 2: an S0 comes first and for address 0"},
    {"S0050010616227\n" S9,                   "line 1: an S0 comes first and for address 0"},
    {"S1050010616227\nS5050010616227\n",     "line 2: an S5 holds no data"},
    {"S1050010616227\nS9050010616227\n",     "line 2: an S9 holds no data"},
    {"S30900000010616263645C\nS209000000146162636458\n" S9, "line 2: an S2 that goes on after an S3"},
    {"S20900000010616263645C\nS309000000146162636458\n" S9, "line 2: an S3 that goes on after line 1"},
    {S9,                                      "nothing to write"},
    {"S1050010616227\nS10400117872\n" S9,     "two parts at 0x00000011"},
    {"S307FFFFFFFF616239\n" S9,               "line 1: the data ends behind the last address"},
};
// clang-format on

Test(srec, damage_is_told_with_its_line_and_never_flashed_raw)
{
    for (size_t i = 0; i < sizeof bad_srec / sizeof bad_srec[0]; i++) {
        cr_expect(parse_text(bad_srec[i].text) != 0, "%s", bad_srec[i].text);
        expect_error(bad_srec[i].message);
    }
}

Test(srec, data_up_to_the_last_address_is_fine)
{
    cr_assert(parse_text("S307FFFFFFFE61623A\n" S9) == 0, "%s", why);
    expect_segment(0, 0xFFFFFFFE, "ab");
}

Test(srec, text_that_begins_with_s_and_a_digit_is_no_srecord_file)
{
    cr_expect(parse_text("S3 is a bucket\nS1 is a street\n") == 0 && image.format == IMAGE_RAW);
}

/* --- UF2 ------------------------------------------------------------------------------------------ */

struct uf2_block {
    uint32_t start, start_2, flags, addr, bytes, number, count, family;
    uint8_t data[476];
    uint32_t end;
};

enum { STM32F1 = 0x5EE21072, BLOCKS = 3 };

/* As github.com/microsoft/uf2 has it; the last block is not for flash. */
static void make_uf2(struct uf2_block file[BLOCKS])
{
    static const char *const texts[BLOCKS] = {"hello", " world", "source code"};
    memset(file, 0, BLOCKS * sizeof *file);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        file[i] = (struct uf2_block){0x0A324655, 0x9E5D5157, 0x2000, 0x08000000 + 5 * i,
            (uint32_t)strlen(texts[i]), i, BLOCKS, STM32F1, {0}, 0x0AB16F30};
        memcpy(file[i].data, texts[i], strlen(texts[i]));
    }
    file[2].flags |= 1;
}

Test(uf2, blocks_go_where_they_say_and_the_chip_is_told)
{
    struct uf2_block f[BLOCKS];
    make_uf2(f);
    cr_assert(parse(f, sizeof f) == 0, "%s", why);
    cr_expect(image.format == IMAGE_UF2 && image.count == 1 && image.family == STM32F1);
    expect_segment(0, 0x08000000, "hello world");
    cr_expect_str_eq(image.target, "STM32F1");
    cr_expect_str_eq(image.note, "");
    free_image();
    for (int i = 0; i < BLOCKS; i++)
        f[i].family = 0x12345678;
    cr_assert(parse(f, sizeof f) == 0);
    cr_expect_str_eq(image.target, "");
    cr_expect(image.family == 0x12345678);
    free_image();
    for (int i = 0; i < BLOCKS; i++)
        f[i].flags &= ~0x2000U;
    cr_assert(parse(f, sizeof f) == 0);
    cr_expect(image.family == 0, "a file's size, which it may be");
    cr_expect_str_eq(image.target, "");
}

Test(uf2, gaps_between_blocks_stay_gaps)
{
    struct uf2_block f[BLOCKS];
    make_uf2(f);
    f[1].addr = 0x08010000;
    cr_assert(parse(f, sizeof f) == 0, "%s", why);
    cr_assert(image.count == 2);
    expect_segment(0, 0x08000000, "hello");
    expect_segment(1, 0x08010000, " world");
}

Test(uf2, blocks_in_any_order_are_accepted_and_it_is_said)
{
    struct uf2_block f[BLOCKS], moved;
    make_uf2(f);
    moved = f[0];
    f[0] = f[2];
    f[2] = moved;
    cr_assert(parse(f, sizeof f) == 0, "%s", why);
    expect_segment(0, 0x08000000, "hello world");
    cr_expect(strstr(image.note, "order"), "\"%s\"", image.note);
}

// clang-format off
static const struct { size_t field; uint32_t value; const char *message; } bad_uf2[] = { /* of block 1 */
    {0,   0x0A324656, "byte 0x200: the mark is 0x0a324656 and should be 0x0a324655"},
    {4,   0,          "byte 0x204: the mark"},
    {508, 0,          "byte 0x3fc: the mark"},
    {8,   0x3000,     "byte 0x208: the block holds a file"},
    {8,   0,          "byte 0x18: the block says there are 3 and there are 2 of its family"},
    {28,  0x57755A57, "byte 0x18: the block says there are 3 and there are 2 of its family"},
    {24,  4,          "byte 0x218: the block says there are 4 and there are 3"},
    {20,  3,          "byte 0x214: block 3 of 3"},
    {20,  0,          "byte 0x214: block 0 comes again"},
    {16,  477,        "byte 0x210: a block of 477 bytes"},
    {12,  0xFFFFFFFF, "byte 0x20c: it ends behind the last address"},
    {12,  0x08000004, "two parts at 0x08000004"},
};
// clang-format on

Test(uf2, damage_is_told_with_its_byte)
{
    for (size_t i = 0; i < sizeof bad_uf2 / sizeof bad_uf2[0]; i++) {
        struct uf2_block f[BLOCKS];
        make_uf2(f);
        memcpy((uint8_t *)&f[1] + bad_uf2[i].field, &bad_uf2[i].value, 4);
        cr_expect(parse(f, sizeof f) != 0, "%s", bad_uf2[i].message);
        expect_error(bad_uf2[i].message);
    }
}

/* Each chip's blocks are numbered for themselves: such files are made by joining others. */
static void make_universal(struct uf2_block file[2 * BLOCKS], uint32_t family, uint32_t addr)
{
    make_uf2(file);
    make_uf2(file + BLOCKS);
    for (int i = BLOCKS; i < 2 * BLOCKS; i++) {
        file[i].family = family;
        file[i].addr += addr - 0x08000000;
        file[i].data[0] = '!';
    }
}

Test(uf2, of_programs_for_several_chips_the_one_that_dfuse_can_flash_is_taken)
{
    struct uf2_block f[2 * BLOCKS];
    make_universal(f, 0xE48BFF56, 0x10000000);
    cr_assert(parse(f, sizeof f) == 0, "%s", why);
    cr_expect(image.count == 1 && image.family == STM32F1);
    expect_segment(0, 0x08000000, "hello world");
    cr_expect_str_eq(image.note, "of the programs for STM32F1, RP2040 that for STM32F1 is taken");
}

Test(uf2, of_programs_for_several_chips_of_a_kind_one_must_be_chosen)
{
    struct uf2_block f[2 * BLOCKS];
    make_universal(f, 0x57755A57, 0x08000000);
    cr_expect(parse(f, sizeof f) != 0);
    expect_error(
        "holds programs for several chips (STM32F1, STM32F4); say for which, with --family");
    cr_expect(!uf2_choose((uint8_t *)f, sizeof f, 0x12345678));
    cr_expect(parse(f, sizeof f) != 0);
    cr_expect(uf2_choose((uint8_t *)f, sizeof f, 0x57755A57));
    cr_assert(parse(f, sizeof f) == 0, "%s", why);
    cr_expect(image.family == 0x57755A57);
    expect_segment(0, 0x08000000, "!ello!world");
}

Test(uf2, a_block_that_is_missing_of_one_of_several_programs_is_missed)
{
    struct uf2_block f[2 * BLOCKS];
    for (int lost = 0; lost < 2 * BLOCKS; lost++) {
        make_universal(f, 0xE48BFF56, 0x10000000);
        memmove(&f[lost], &f[lost + 1], (size_t)(2 * BLOCKS - 1 - lost) * sizeof f[0]);
        cr_expect(parse(f, sizeof f - sizeof f[0]) != 0, "block %d", lost);
        expect_error("there are 3 and there are 2 of its family");
    }
}

Test(uf2, blocks_for_more_chips_than_there_can_be_are_damage)
{
    struct uf2_block f[32 * BLOCKS];
    for (uint32_t i = 0; i < 32; i++) {
        make_uf2(f + i * BLOCKS);
        for (uint32_t k = 0; k < BLOCKS; k++)
            f[i * BLOCKS + k].family = i;
    }
    cr_expect(parse(f, sizeof f) != 0);
    expect_error("yet another family");
}

Test(uf2, is_known_by_any_two_of_its_marks)
{
    struct uf2_block f[BLOCKS];
    make_uf2(f);
    f[0].start ^= 1;
    cr_expect(parse(f, sizeof f) != 0);
    expect_error("byte 0x0: the mark");
    f[0].start_2 ^= 1;
    cr_expect(parse(f, sizeof f) == 0 && image.format == IMAGE_RAW);
    free_image();
    f[0].start_2 ^= 1;
    f[0].end ^= 1;
    cr_expect(parse(f, sizeof f) == 0 && image.format == IMAGE_RAW);
}

Test(uf2, every_truncation_is_an_error)
{
    struct uf2_block f[BLOCKS];
    make_uf2(f);
    for (size_t n = 4; n < sizeof f; n++)
        cr_expect(parse(f, n) != 0, "%zu of %zu bytes", n, sizeof f);
    cr_expect(parse(f, 700) != 0);
    expect_error("byte 0x200: the last block has 188 of 512 bytes");
}

Test(uf2, empty_blocks_and_nothing_else_are_nothing_to_write)
{
    struct uf2_block f[BLOCKS];
    make_uf2(f);
    for (int i = 0; i < BLOCKS; i++)
        f[i].bytes = 0;
    cr_expect(parse(f, sizeof f) != 0);
    expect_error("nothing to write");
}

Test(uf2, families_have_names)
{
    cr_expect_str_eq(uf2_family_name(0x57755A57), "STM32F4");
    cr_expect(uf2_family("stm32f4") == 0x57755A57 && uf2_family("STM32X9") == 0);
    cr_expect(!uf2_family_name(1));
}

/* --- making files --------------------------------------------------------------------------------- */

static struct image parts(struct image_segment *segments, size_t count)
{
    return (struct image){.segments = segments,
        .count = count,
        .vendor = 0x0483,
        .product = 0xDF11,
        .device = 0xFFFF};
}

static char *make_text(const struct image *from, enum image_format format)
{
    uint8_t *data;
    size_t size;
    cr_assert(image_make(from, "FILE", format, &data, &size, why) == 0, "%s", why);
    data = realloc(data, size + 1);
    data[size] = '\0';
    return (char *)data;
}

Test(make, hex_has_linear_addresses_and_no_record_across_64_kib)
{
    struct image_segment s[] = {
        {0x0800FFFE, 4, (uint8_t *)"abcd", IMAGE_ANY_ALT},
        {0x0801FFF0, 1, (uint8_t *)"e",    IMAGE_ANY_ALT}
    };
    struct image from = parts(s, 2);
    from.entry = 0x08000145;
    char *text = make_text(&from, IMAGE_HEX);
    cr_expect_str_eq(text, ":020000040800F2\n:02FFFE0061623E\n:020000040801F1\n:0200000063643"
                           "7\n"
                           ":01FFF00065AB\n:0400000508000145A9\n:00000001FF\n");
    free(text);
}

Test(make, srecords_are_as_short_as_their_addresses_allow)
{
    // clang-format off
    static const struct { uint32_t addr, entry; const char *text; } cases[] = {
        {0x10,       0,          "S0030000FC\nS1050010616227\nS5030001FB\nS9030000FC\n"},
        {0xFFFE,     0,          "S0030000FC\nS105FFFE61623A\nS5030001FB\nS9030000FC\n"},
        {0x10000,    0,          "S0030000FC\nS206010000616235\nS5030001FB\nS804000000FB\n"},
        {0x10,       0x10000,    "S0030000FC\nS206000010616226\nS5030001FB\nS804010000FA\n"},
        {0x08000000, 0x08000145, "S0030000FC\nS3070800000061622D\nS5030001FB\nS70508000145AC\n"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct image_segment s = {cases[i].addr, 2, (uint8_t *)"ab", IMAGE_ANY_ALT};
        struct image from = parts(&s, 1);
        from.entry = cases[i].entry;
        char *text = make_text(&from, IMAGE_SREC);
        cr_expect_str_eq(text, cases[i].text);
        free(text);
    }
}

Test(make, more_srecords_than_two_bytes_count_are_counted_with_three)
{
    struct image_segment s = {0, 0x10000 * 16, calloc(0x10000, 16), IMAGE_ANY_ALT};
    struct image from = parts(&s, 1);
    char *text = make_text(&from, IMAGE_SREC);
    cr_expect(strstr(text, "\nS604010000FA\nS8"));
    cr_expect(parse_text(text) == 0, "%s", why);
    free(text);
    free(s.data);
}

Test(make, uf2_blocks_stand_at_multiples_of_256)
{
    struct image_segment s[] = {
        {0x080000FF, 258, calloc(1, 258),                IMAGE_ANY_ALT},
        {0x08001000,          4,    (uint8_t *)"abcd",  IMAGE_ANY_ALT}
    };
    struct image from = parts(s, 2);
    struct uf2_block *f = (struct uf2_block *)(void *)make_text(&from, IMAGE_UF2);
    cr_expect(f[0].addr == 0x080000FF && f[0].bytes == 1 && f[0].number == 0 && f[0].count == 4);
    cr_expect(f[1].addr == 0x08000100 && f[1].bytes == 256 && f[1].number == 1);
    cr_expect(f[2].addr == 0x08000200 && f[2].bytes == 1 && f[2].flags == 0);
    cr_expect(f[3].addr == 0x08001000 && f[3].bytes == 4 && f[3].end == 0x0AB16F30);
    free(f);
    free(s[0].data);
}

Test(make, any_kind_is_read_again_as_it_was)
{
    static const enum image_format formats[] = {IMAGE_HEX, IMAGE_SREC, IMAGE_DFUSE, IMAGE_UF2};
    for (size_t i = 0; i < 4; i++) {
        uint8_t *data;
        size_t size;
        struct image first;
        parse_sample(SAMPLE_ELF);
        first = image;
        cr_assert(image_make(&first, "FILE", formats[i], &data, &size, why) == 0, "%s", why);
        cr_assert(parse(data, size) == 0, "%s", why);
        cr_expect(image.format == formats[i] && image.count == first.count);
        for (size_t n = 0; n < image.count; n++)
            cr_expect(image.segments[n].addr == first.segments[n].addr &&
                      image.segments[n].size == first.segments[n].size &&
                      memcmp(image.segments[n].data, first.segments[n].data,
                          first.segments[n].size) == 0);
        free(data);
        image_free(&first);
        free_image();
    }
}

static void expect_refusal(const struct image *from, enum image_format format, const char *message)
{
    uint8_t *data;
    size_t size;
    cr_expect(image_make(from, "FILE", format, &data, &size, why) != 0);
    expect_error(message);
}

Test(make, what_a_format_cannot_tell_is_refused)
{
    struct image_segment s[] = {
        {0,    1, (uint8_t *)"a", 0},
        {0x10, 1, (uint8_t *)"b", 0},
        {0,    1, (uint8_t *)"c", 1},
    };
    struct image from = parts(s, 3), two = parts(s, 2), none = parts(s, 0);
    expect_refusal(&two, IMAGE_RAW, "2 parts");
    expect_refusal(&from, IMAGE_HEX, "several alternate settings");
    expect_refusal(&two, IMAGE_ELF, "come from the linker");
    expect_refusal(&none, IMAGE_DFUSE, "of nothing");
    struct image_segment huge = {0, UINT32_MAX, NULL, 0};
    struct image large = parts(&huge, 1);
    expect_refusal(&large, IMAGE_DFUSE, "too large for a .dfu file");
}

Test(make, every_alternate_setting_is_possible_but_the_last)
{
    struct image_segment s[256];
    for (unsigned i = 0; i < 256; i++)
        s[i] = (struct image_segment){0, 1, (uint8_t *)"a", (uint8_t)i};
    struct image from = parts(s, 255), more = parts(s, 256);
    uint8_t *data;
    size_t size;
    cr_assert(image_make(&from, "FILE", IMAGE_DFUSE, &data, &size, why) == 0, "%s", why);
    cr_expect(parse(data, size) == 0 && image.count == 255, "%s", why);
    free(data);
    free_image();
    expect_refusal(&more, IMAGE_DFUSE, "too large for a .dfu file");
}

Test(make, elf_files_need_the_edge)
{
    struct sample s = sample_make(SAMPLE_ELF);
    cr_expect(image_parse_plain(&image, "FILE", s.data, s.size, 0, why) != 0);
    expect_error("ELF");
    free(s.data);
}

Test(make, what_is_written_to_a_file_is_read_from_it)
{
    char path[] = "/tmp/test_image_XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && close(fd) == 0);
    cr_expect(image_write_raw(path, (const uint8_t *)"abc", 3, why) == 0, "%s", why);
    cr_expect(image_read(&image, path, 0x20000000, why) == 0, "%s", why);
    expect_segment(0, 0x20000000, "abc");
    unlink(path);
}

Test(make, a_file_that_cannot_be_written_says_why)
{
    cr_expect(image_write_raw("/nonexistent/x.dfu", (const uint8_t *)"", 0, why) != 0);
    cr_expect(strstr(why, "cannot write /nonexistent/x.dfu: No such file"), "%s", why);
    cr_expect(image_write_raw("/dev/full", (const uint8_t *)"a", 1, why) != 0);
    cr_expect(strstr(why, "No space left"), "%s", why);
}

Test(make, a_file_without_end_is_given_up)
{
    uint8_t *data;
    size_t size;
    cr_expect(image_load("/dev/zero", &data, &size, why) != 0);
    cr_expect(strstr(why, "cannot read /dev/zero: File too large"), "%s", why);
}
