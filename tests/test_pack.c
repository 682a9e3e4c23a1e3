/* SPDX-License-Identifier: MIT */
/* The commands that work on files alone: inspect, pack, unpack. */
#include "image/file.h"
#include "samples.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[] = "/tmp/test_pack_XXXXXX", caboose[512];
static char said[8192]; /* by the last command, on both outputs */

/* A shell's line, in which caboose stands for the program, in a directory of the test's own. Its exit code. */
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
    char line[1024], command[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    snprintf(command, sizeof command, "caboose() { '%s' \"$@\"; }; cd %s && { %s; } 2>&1", caboose,
        directory, line);
    FILE *pipe = popen(command, "r");
    cr_assert(pipe);
    size_t size = fread(said, 1, sizeof said - 1, pipe);
    said[size] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Every sample under its name. */
static void begin(void)
{
    cr_assert(mkdtemp(directory) && getcwd(caboose, sizeof caboose - 32));
    strcat(caboose, "/build/bin/caboose");
    for (int kind = 0; kind < SAMPLE_KINDS; kind++) {
        struct sample s = sample_make((enum sample_kind)kind);
        char path[128], why[IMAGE_ERROR_SIZE];
        snprintf(path, sizeof path, "%s/%s", directory, s.name);
        cr_assert(image_write_raw(path, s.data, s.size, why) == 0, "%s", why);
        free(s.data);
    }
}

static void end(void)
{
    run("rm -rf %s", directory);
}

TestSuite(pack, .init = begin, .fini = end, .timeout = 60);
TestSuite(unpack, .init = begin, .fini = end, .timeout = 60);
TestSuite(inspect, .init = begin, .fini = end, .timeout = 60);

#define expect_said(text) cr_expect(strstr(said, text), "\"%s\" does not say \"%s\"", said, text)

/* --- pack ----------------------------------------------------------------------------------------- */

Test(pack, any_kind_becomes_any_other_and_comes_back_as_it_was)
{
    static const char *const kinds[] = {"dfu", "hex", "s37", "uf2"};
    cr_assert(run("caboose pack -q first.hex elf") == 0, "%s", said);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++) {
            cr_expect(run("caboose pack -q a.%s elf && caboose pack -q b.%s a.%s && "
                          "caboose pack -q again.hex b.%s",
                          kinds[i], kinds[k], kinds[i], kinds[k]) == 0,
                "%s", said);
            /* .dfu and UF2 have no entry: its record, and S7, are all that may differ */
            cr_expect(
                run("grep -v ^:04000005 first.hex >x; grep -v ^:04000005 again.hex | cmp - x") == 0,
                "%s, %s: %s", kinds[i], kinds[k], said);
        }
}

Test(pack, reads_standard_input_and_writes_standard_output)
{
    cr_expect(
        run("caboose pack --format uf2 -o - - <hex | caboose pack --format hex -o - - >out.hex") ==
            0,
        "%s", said);
    cr_expect(
        run("caboose pack -q direct.hex uf2-no-family && cmp out.hex direct.hex") == 0, "%s", said);
}

Test(pack, several_files_become_one)
{
    cr_expect(run("caboose pack all.dfu raw@0x08004000 hex -d 1209:0001") == 0, "%s", said);
    expect_said("packed 640 bytes in 3 parts for 1209:0001 into all.dfu (DfuSe)");
    cr_expect(run("caboose pack all.dfu elf hex") == 65);
    expect_said("two parts at 0x08000000");
}

Test(pack, the_family_of_a_uf2_file_is_kept_or_given)
{
    cr_expect(run("caboose pack -q a.uf2 uf2 && caboose inspect a.uf2") == 0);
    expect_said("STM32F1");
    cr_expect(run("caboose pack -q a.uf2 hex --family stm32f4 && caboose inspect a.uf2") == 0);
    expect_said("STM32F4");
    cr_expect(run("caboose pack -q a.uf2 hex --family 0x12345678 && caboose inspect a.uf2") == 0);
    expect_said("0x12345678");
    cr_expect(run("caboose pack -q a.uf2 hex --family STM32X") == 64);
    expect_said("give a UF2 family's name");
}

/* Two UF2 files joined are a UF2 file for both chips. */
Test(pack, of_a_uf2_file_for_several_chips_one_program_is_taken)
{
    cr_assert(run("caboose pack -q a.uf2 hex --family STM32F1 && "
                  "caboose pack -q b.uf2 raw@0x08000000 --family STM32F4 && "
                  "cat a.uf2 b.uf2 >both && caboose pack -q a.hex a.uf2 && "
                  "caboose pack -q b.hex b.uf2") == 0,
        "%s", said);
    cr_expect(run("caboose inspect both") == 65);
    expect_said("several chips (STM32F1, STM32F4); say for which, with --family");
    cr_expect(run("caboose inspect --family STM32F4 both") == 0, "%s", said);
    expect_said("STM32F4");
    cr_expect(run("caboose pack -q x.hex both --family stm32f1 && cmp x.hex a.hex && "
                  "caboose pack -q x.hex both --family 0x57755a57 && cmp x.hex b.hex") == 0,
        "%s", said);
    cr_expect(run("caboose unpack -q both --family STM32F4 -o - | cmp - raw") == 0, "%s", said);
    cr_expect(run("caboose inspect --family STM32G4 both") == 65);
    expect_said("no program for family 0x4c71240a");
    cr_expect(run("caboose inspect --family STM32F1 hex") == 65);
    expect_said("no UF2 file");
}

Test(pack, what_cannot_be_is_refused_with_the_reason_and_nothing_is_written)
{
    cr_expect(run("caboose pack out.bin elf") == 65);
    expect_said("2 parts");
    cr_expect(run("caboose pack out.hex dfuse") == 65);
    expect_said("alternate settings");
    cr_expect(run("caboose pack out.hex raw") == 64);
    expect_said("say where it goes");
    cr_expect(run("caboose pack out.hex hex@0x08000000") == 64);
    expect_said("leave the address away");
    cr_expect(run("caboose pack out.hex --format elf hex") == 64);
    expect_said("--format elf is none of");
    cr_expect(run("caboose pack out.hex") == 64);
    cr_expect(run("caboose pack out.hex missing.bin@0x08000000") == 66);
    cr_expect(run("! ls out.*") == 0, "%s", said);
    cr_expect(run("caboose pack /nonexistent/out.hex hex") == 73);
}

Test(pack, a_suffix_is_added_to_raw_bytes_and_taken_off)
{
    cr_expect(
        run("caboose pack -q --format suffix a.bin raw -d 0483:df11 && cmp a.bin raw-suffix") == 0,
        "%s", said);
    cr_expect(run("caboose pack -q b.bin a.bin && cmp b.bin raw") == 0, "%s", said);
}

/* --- unpack --------------------------------------------------------------------------------------- */

Test(unpack, each_part_has_its_own_file_named_for_its_address)
{
    cr_expect(run("caboose unpack hex && cmp -n 300 hex-08000000.bin raw && ls") == 0, "%s", said);
    expect_said("0x08001010-0x08001037  40 bytes  hex-08001010.bin");
    cr_expect(run("caboose unpack dfuse && ls") == 0, "%s", said);
    expect_said("dfuse-alt0-08000000.bin\n");
    expect_said("dfuse-alt1-1ffff800.bin\n");
    cr_expect(run("caboose unpack -q uf2 -o there --format srec && caboose inspect "
                  "there-08001010.srec") == 0);
    expect_said("0x08001010-0x08001037");
}

Test(unpack, what_was_unpacked_packs_again)
{
    cr_expect(
        run("caboose unpack -q elf && caboose pack -q a.hex elf-08000000.bin@0x08000000 "
            "elf-08001010.bin@0x08001010 && caboose pack -q b.hex uf2 && cmp a.hex b.hex") == 0,
        "%s", said);
}

Test(unpack, no_file_is_written_over_unasked)
{
    cr_expect(
        run("caboose unpack -q hex && echo mine >hex-08000000.bin && caboose unpack hex") == 73);
    expect_said("hex-08000000.bin is there already");
    cr_expect(run("grep mine hex-08000000.bin") == 0);
    cr_expect(
        run("caboose unpack --force -q hex && cmp -n 300 hex-08000000.bin raw") == 0, "%s", said);
}

Test(unpack, standard_output_takes_one_part)
{
    cr_expect(run("caboose unpack -q -o - raw | cmp - raw") == 0, "%s", said);
    cr_expect(run("caboose unpack -o - hex") == 64);
    expect_said("2 parts");
    cr_expect(run("caboose unpack --format pdf hex") == 64);
}

Test(unpack, programs_can_read_what_was_made)
{
    cr_expect(run("caboose pack --json a.dfu hex") == 0);
    json_t *object = json_loads(said, 0, NULL);
    cr_assert(object, "nothing but JSON: %s", said);
    cr_expect(json_is_true(json_object_get(object, "ok")));
    cr_expect_str_eq(json_string_value(json_object_get(object, "file")), "a.dfu");
    json_decref(object);
    cr_expect(run("caboose unpack --json a.dfu") == 0);
    object = json_loads(said, 0, NULL);
    json_t *parts = json_object_get(object, "parts");
    cr_assert(json_array_size(parts) == 2, "%s", said);
    const char *file = json_string_value(json_object_get(json_array_get(parts, 1), "file"));
    cr_expect_str_eq(file, "a-08001010.bin");
    cr_expect(json_integer_value(json_object_get(json_array_get(parts, 1), "size")) == 40);
    json_decref(object);
    cr_expect(run("cp hex 'h\351x' && caboose inspect --json 'h\351x'") == 0); /* no UTF-8 */
    object = json_loads(said, 0, NULL);
    cr_assert(object, "nothing but JSON: %s", said);
    cr_expect_str_eq(json_string_value(json_object_get(object, "file")), "h?x");
    json_decref(object);
}

/* --- inspect -------------------------------------------------------------------------------------- */

Test(inspect, tells_what_a_file_is_for_and_holds)
{
    cr_expect(run("caboose inspect elf") == 0);
    expect_said("elf: ELF, ");
    expect_said("Cortex-M3");
    expect_said("entry     0x08000101");
    expect_said("0x08001010-0x08001037         40 bytes");
    expect_said("stack 0x20005000, reset 0x08000101");
    expect_said("program   starts at 0x08000100");
    cr_expect(run("caboose inspect dfuse") == 0);
    expect_said("vendor 0483 product df11 any version");
    expect_said("alternate setting 1");
    cr_expect(run("caboose inspect - <raw-suffix") == 0);
    expect_said("standard input: raw, with a DFU suffix, 316 bytes");
    cr_expect(run("printf 'nothing of the kind' >text && caboose inspect text") == 0);
    expect_said("there is no program");
}

Test(inspect, tells_what_is_wrong_with_a_damaged_file_and_where)
{
    cr_expect(run("head -c 600 hex | caboose inspect -") == 65);
    expect_said("standard input: Intel HEX, 600 bytes\n");
    expect_said("standard input, line 15: ");
    cr_expect(run("head -c 700 uf2 >cut && caboose inspect cut") == 65);
    expect_said("cut, byte 0x200: the last block has 188 of 512 bytes");
    cr_expect(run("tr S T <srec >cut && caboose inspect cut") == 0);
    expect_said("cut: raw");
    cr_expect(run("caboose inspect missing") == 66);
    expect_said("missing: No such file");
}

Test(inspect, programs_can_read_it)
{
    cr_expect(run("caboose inspect --json uf2") == 0);
    json_t *object = json_loads(said, 0, NULL);
    cr_assert(object, "%s", said);
    cr_expect_str_eq(json_string_value(json_object_get(object, "format")), "UF2");
    cr_expect_str_eq(json_string_value(json_object_get(object, "target")), "STM32F1");
    json_t *parts = json_object_get(object, "parts");
    cr_expect(json_array_size(parts) == 2);
    cr_expect(
        json_integer_value(json_object_get(json_array_get(parts, 1), "address")) == 0x08001010);
    cr_expect(json_is_true(json_object_get(json_object_get(object, "program"), "fits")));
    json_decref(object);
    cr_expect(run("head -c 100 uf2 >cut; caboose inspect --json cut") == 65);
    object = json_loads(said, 0, NULL);
    cr_assert(object, "nothing but JSON: %s", said);
    cr_expect(strstr(json_string_value(json_object_get(object, "error")), "cut short"));
    json_decref(object);
}
