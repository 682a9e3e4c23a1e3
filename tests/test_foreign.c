/* SPDX-License-Identifier: MIT */
/* Other people's tools as witnesses: what srecord, binutils, dfuse-pack and dfu-suffix write is read as it was
 * meant, and what we write they read. A tool that is not installed is left out. */
#include "image/file.h"
#include "samples.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(foreign, .timeout = 60);

static char directory[] = "/tmp/test_foreign_XXXXXX";
static struct image wanted, image;
static char why[IMAGE_ERROR_SIZE];

/* A shell's line in a directory of the test's own. Its exit code. */
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
    char line[1024], command[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    snprintf(command, sizeof command, "cd %s && { %s; } >log 2>&1", directory, line);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void put(const char *name, const void *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    cr_assert(image_write_raw(path, data, size, why) == 0, "%s", why);
}

static int read_back(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return image_read(&image, path, 0x08000000, why);
}

/* Leaves out the test if a tool is missing; else a.bin and b.bin are wanted's two parts, at 0x08000000 and
 * 0x08001010. */
static void begin(const char *tool)
{
    struct sample s = sample_make(SAMPLE_ELF);
    cr_assert(mkdtemp(directory));
    cr_assert(image_parse(&wanted, s.name, s.data, s.size, 0, why) == 0, "%s", why);
    put("sample.elf", s.data, s.size);
    free(s.data);
    if (run("command -v %s", tool)) {
        run("rm -rf %s", directory);
        cr_skip_test("%s is not installed", tool);
    }
    put("a.bin", wanted.segments[0].data, wanted.segments[0].size);
    put("b.bin", wanted.segments[1].data, wanted.segments[1].size);
}

static void end(void)
{
    image_free(&wanted);
    run("rm -rf %s", directory);
}

static void put_made(const char *name, enum image_format format)
{
    uint8_t *data;
    size_t size;
    cr_assert(image_make(&wanted, name, format, &data, &size, why) == 0, "%s", why);
    put(name, data, size);
    free(data);
}

static void expect_wanted(const char *name)
{
    int err = read_back(name);
    cr_assert(!err, "%s", why);
    cr_expect(image.count == wanted.count, "%s: %zu parts", name, image.count);
    for (size_t i = 0; i < image.count && i < wanted.count; i++) {
        const struct image_segment *a = &image.segments[i], *b = &wanted.segments[i];
        cr_expect(a->addr == b->addr && a->size == b->size && !memcmp(a->data, b->data, a->size),
            "%s: part %zu, 0x%08x", name, i, a->addr);
    }
    image_free(&image);
}

/* --- srecord --------------------------------------------------------------------------------------- */

Test(foreign, what_srec_cat_writes_is_read)
{
    // clang-format off
    static const struct { const char *name, *options; } files[] = {
        {"a.s37",  "-Motorola"},
        {"b.s37",  "-Motorola -address-length=4 -execution-start-address 0x08000101"},
        {"c.s37",  "-Motorola -line-length=250"},
        {"d.s37",  "-Motorola -line-length=30 -line-termination=crlf"},
        {"e.s37",  "-Motorola -header other -disable=header"},
        {"a.hex",  "-Intel"},
        {"b.hex",  "-Intel -obs=250 -execution-start-address 0x08000101"},
        {"c.hex",  "-Intel -obs=1 -line-termination=cr"},
    };
    // clang-format on
    begin("srec_cat");
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        cr_assert(run("srec_cat a.bin -binary -offset 0x08000000 b.bin -binary -offset 0x08001010 "
                      "-o %s %s",
                      files[i].name, files[i].options) == 0,
            "%s", files[i].options);
        expect_wanted(files[i].name);
    }
    end();
}

/* S19 and S28, and the record type by each address: below 64 KB S1, then S2. HEX with segments. */
Test(foreign, what_srec_cat_writes_for_low_addresses_is_read)
{
    static const char *const options[] = {"-Motorola", "-Motorola -address-length=3", "-Intel",
        "-Intel -address-length=3", "-Intel -address-length=2"};
    begin("srec_cat");
    wanted.segments[0].addr = 0xFF80; /* across 64 KB */
    wanted.segments[1].addr = 0x20000;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (run("srec_cat a.bin -binary -offset 0xFF80 b.bin -binary -offset 0x20000 -o low.txt %s",
                options[i]))
            continue; /* it refuses addresses that do not fit */
        expect_wanted("low.txt");
    }
    end();
}

Test(foreign, what_we_write_srec_cmp_finds_equal)
{
    begin("srec_cmp");
    put_made("ours.hex", IMAGE_HEX);
    put_made("ours.s37", IMAGE_SREC);
    cr_assert(run("srec_cat a.bin -binary -offset 0x08000000 b.bin -binary -offset 0x08001010 "
                  "-o theirs.s37 -Motorola") == 0);
    cr_expect(run("srec_cmp ours.hex -Intel theirs.s37 -Motorola") == 0);
    cr_expect(run("srec_cmp ours.s37 -Motorola theirs.s37 -Motorola") == 0);
    cr_expect(run("srec_info ours.s37 -Motorola | grep -i '08000101'") == 0, "the entry");
    wanted.segments[0].data[7] ^= 1; /* and it would tell */
    put_made("ours.s37", IMAGE_SREC);
    cr_expect(run("srec_cmp ours.s37 -Motorola theirs.s37 -Motorola") != 0);
    end();
}

/* --- binutils -------------------------------------------------------------------------------------- */

#define OBJCOPY "arm-none-eabi-objcopy"

Test(foreign, what_objcopy_makes_of_an_elf_file_is_what_we_make_of_it)
{
    begin(OBJCOPY);
    image_free(&wanted);
    if (access("build/examples/blinky.elf", R_OK))
        cr_skip_test("build/examples/blinky.elf is missing: make examples");
    cr_assert(image_read(&wanted, "build/examples/blinky.elf", 0, why) == 0, "%s", why);
    cr_assert(run("cp %s/build/examples/blinky.elf .", getenv("PWD")) == 0);
    cr_assert(run(OBJCOPY " -O ihex blinky.elf their.hex") == 0);
    cr_assert(run(OBJCOPY " -O srec blinky.elf their.srec") == 0);
    cr_assert(run(OBJCOPY " -O srec --srec-len=64 --srec-forceS3 blinky.elf their.s37") == 0);
    expect_wanted("their.hex");
    expect_wanted("their.srec");
    expect_wanted("their.s37");
    cr_assert(read_back("their.srec") == 0 && image.entry == wanted.entry);
    image_free(&image);
    cr_assert(read_back("blinky.elf") == 0);
    cr_expect_str_eq(image.target, "ARMv7-M", "%s", image.target);
    image_free(&image);
    end();
}

Test(foreign, what_we_write_objcopy_reads)
{
    begin(OBJCOPY);
    put_made("ours.hex", IMAGE_HEX);
    put_made("ours.srec", IMAGE_SREC);
    cr_expect(run(OBJCOPY " -I ihex -O binary --gap-fill 0xA5 ours.hex hex.bin") == 0);
    cr_expect(run(OBJCOPY " -I srec -O binary --gap-fill 0xA5 ours.srec srec.bin") == 0);
    cr_expect(run("cmp hex.bin srec.bin && cmp -n 300 a.bin hex.bin && tail -c 40 hex.bin | cmp - "
                  "b.bin") == 0);
    end();
}

/* --- dfu-util's helpers ---------------------------------------------------------------------------- */

Test(foreign, what_dfuse_pack_writes_is_read)
{
    begin("dfuse-pack");
    cr_assert(run("dfuse-pack -b 0x08000000:a.bin -b 0x08001010:b.bin their.dfu") == 0);
    expect_wanted("their.dfu");
    cr_assert(read_back("their.dfu") == 0 && image.vendor == 0x0483 && image.product == 0xDF11);
    cr_expect(strstr(image.note, "DFUImageSize"), "\"%s\"", image.note);
    image_free(&image);
    cr_assert(
        run("dfuse-pack -D 0x1209:0x0001 -b 0x08000000@0:a.bin -b 0x1FFFF800@1:b.bin two.dfu") ==
        0);
    cr_assert(read_back("two.dfu") == 0, "%s", why);
    cr_expect(image.count == 2 && image.segments[1].alt == 1 && image.vendor == 0x1209);
    image_free(&image);
    end();
}

Test(foreign, what_we_write_dfuse_pack_reads)
{
    begin("dfuse-pack");
    wanted.vendor = 0x0483;
    wanted.product = 0xDF11;
    put_made("ours.dfu", IMAGE_DFUSE);
    cr_expect(run("dfuse-pack -d ours.dfu") == 0);
    cr_expect(run("! grep -i error log && cmp ours.dfu.target0.image0.bin a.bin && "
                  "cmp ours.dfu.target0.image1.bin b.bin") == 0);
    end();
}

Test(foreign, dfu_suffix_and_we_agree_on_suffixes)
{
    begin("dfu-suffix");
    wanted.count = 1;
    cr_assert(run("cp a.bin their.bin && dfu-suffix -v 0483 -p df11 -d ffff -a their.bin") == 0);
    expect_wanted("their.bin");
    cr_assert(read_back("their.bin") == 0 && image.suffix && image.vendor == 0x0483);
    image_free(&image);
    wanted.suffix = true;
    wanted.vendor = 0x1209;
    wanted.product = 1;
    put_made("ours.bin", IMAGE_RAW);
    cr_expect(run("dfu-suffix -c ours.bin") == 0);
    cr_expect(run("dfu-suffix -c ours.bin | grep 0x1209") == 0);
    wanted.count = 2;
    end();
}
