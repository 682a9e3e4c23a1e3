/* SPDX-License-Identifier: MIT */
/* The command's verbs on a scripted board: what `caboose info` finds out about protection, of option bytes,
 * where a memory map offers them, and of refusals; and what is no board in its senses. */
#include "host/cmd.h"
#include "host/protection.h"
#include "host/report.h"
#include "mock_link.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define MAP "@Internal Flash  /0x08000000/050*001Kg,014*001Ka"

static struct mock mock;
static uint8_t option_bytes[PROTECTION_BYTES];

/* --- a link to the board ---------------------------------------------------------------------------- */

static const struct link_table *through;
static bool at_option_bytes; /* the address pointer */

/* To the mock the option bytes are at its flash's beginning; what it gives is replaced. */
static int submit(
    struct link *link, const uint8_t setup[USB_SETUP_SIZE], uint8_t *data, unsigned timeout_ms)
{
    bool sets = setup[0] == 0x21 && setup[1] == 1 && setup[2] == 0 && setup[6] == 5;
    bool uploads = setup[0] == 0xA1 && setup[1] == 2 && setup[2] >= 2;
    uint8_t command[5];
    if (sets && data[0] == 0x21) {
        memcpy(command, data, sizeof command);
        at_option_bytes = command[4] == 0x1F;
        if (at_option_bytes)
            transfer_put32(command + 1, MOCK_BASE);
        data = command;
    }
    mock.now_ms += 1000; /* time passes nowhere else */
    int err = through->submit(link, setup, data, timeout_ms);
    if (!err && uploads && at_option_bytes)
        memcpy(data, option_bytes, transfer_get16(setup + 6));
    return err;
}

/* In the place of the one to this computer's USB. */
struct link *link_libusb(void)
{
    static struct link_table table;
    struct link *link = mock_link(&mock);
    through = link->table;
    table = *link->table;
    table.submit = submit;
    link->table = &table;
    return link;
}

/* --- what it says ----------------------------------------------------------------------------------- */

static char *said(const char *argument)
{
    static char text[16384];
    char *argv[] = {"info", (char *)(uintptr_t)argument, NULL};
    struct options options;
    FILE *file = tmpfile();
    int out = dup(STDOUT_FILENO);
    cr_assert(file && out >= 0);
    cr_assert(options_parse(&options, "info", "dwuaJh", argument ? 2 : 1, argv) == 0);
    report_setup(false, false);
    fflush(stdout);
    dup2(fileno(file), STDOUT_FILENO);
    int code = cmd_info(&options);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    for (char *wrap; (wrap = strstr(text, "\n                ")) != NULL;) /* what was wrapped */
        memmove(wrap + 1, wrap + 17, strlen(wrap + 16)), *wrap = ' ';
    cr_expect(code == 0, "exit code %d: %s", code, text);
    return text;
}

#define expect_said(part)                                                                          \
    do {                                                                                           \
        const char *text = said(NULL);                                                             \
        cr_expect(strstr(text, part), "%s does not say \"%s\"", text, part);                       \
    } while (0)

static void set_up(void)
{
    mock_init(&mock);
    transfer_put32(mock.flash, 0x20005000);
    transfer_put32(mock.flash + 4, MOCK_BASE + 0x101);
}

TestSuite(info, .init = set_up, .timeout = 30);

/* PM0075 §2.3.5: RDP, USER, Data0, Data1, WRP0 to WRP3, each with its complement. */
static void set_f1(uint8_t rdp, uint32_t wrp)
{
    const uint8_t bytes[8] = {rdp, 0xFF, 0xFF, 0xFF, (uint8_t)wrp, (uint8_t)(wrp >> 8),
        (uint8_t)(wrp >> 16), (uint8_t)(wrp >> 24)};
    mock.map = MAP "/0x1FFFF800/01*016 e";
    for (int i = 0; i < 8; i++) {
        option_bytes[2 * i] = bytes[i];
        option_bytes[2 * i + 1] = (uint8_t)~bytes[i];
    }
}

Test(info, of_a_board_without_protection_it_says_so)
{
    set_f1(0xA5, 0xFFFFFFFF);
    expect_said("protection      reading is allowed; writing is, too, everywhere\n");
    set_f1(0xAA, 0xFFFFFFFF); /* an F0 */
    expect_said("protection      reading is allowed; writing is, too, everywhere\n");
}

Test(info, pages_that_are_write_protected_are_named)
{
    set_f1(0xA5,
        ~UINT32_C(0x80000206)); /* pages 4 to 11, 36 to 39 and, if there were any, from 124 on */
    expect_said("reading is allowed; writing is not to 0x08001000-0x08002fff, "
                "0x08009000-0x08009fff\n");
    set_f1(0xA5, 0);
    expect_said("writing is not to 0x08000000-0x0800ffff\n");
}

Test(info, an_option_byte_without_its_complement_is_taken_for_erased)
{
    set_f1(0xA5, 0);
    option_bytes[8] ^= 1;
    expect_said("writing is not to 0x08008000-0x0800ffff\n");
    option_bytes[0] ^= 1;
    expect_said("reading is not allowed (caboose unprotect");
}

Test(info, read_protection_and_the_one_for_ever_are_told_apart)
{
    set_f1(0x00, 0xFFFFFFFF);
    expect_said("reading is not allowed (caboose unprotect");
    set_f1(0xCC, 0xFFFFFFFF);
    expect_said("reading is not allowed, for ever");
}

/* RM0090 §3.9.1: RDP in bits 15:8 of the first word, nWRP in bits 11:0 of the third. */
Test(info, sectors_of_an_f4_are_those_of_its_map)
{
    memset(option_bytes, 0xFF, sizeof option_bytes);
    mock.map = "@Internal Flash  /0x08000000/04*016Kg,01*064Kg,03*128Kg/0x1FFFC000/01*016 e";
    option_bytes[1] = 0xAA;
    option_bytes[9] = 0x0F;
    expect_said("protection      reading is allowed; writing is, too, everywhere\n");
    option_bytes[8] = (uint8_t)~0x32; /* sectors 1, 4, 5 */
    expect_said("writing is not to 0x08004000-0x08007fff, 0x08010000-0x0803ffff\n");
    option_bytes[9] = 0x8F; /* SPRMOD */
    expect_said("reading is allowed; writing is, too, everywhere\n");
    option_bytes[1] = 0x55;
    expect_said("reading is not allowed (caboose unprotect");
}

Test(info, without_option_bytes_it_says_what_it_saw)
{
    expect_said("protection      reading is allowed; of writing the board does not tell\n");
    mock.protects = true;
    expect_said("protection      reading is not allowed (errVENDOR; caboose unprotect");
}

Test(info, programs_can_read_it)
{
    set_f1(0xA5, ~UINT32_C(6));
    json_t *all = json_loads(said("--json"), 0, NULL), *p = json_object_get(all, "protection");
    cr_assert(p);
    cr_expect_str_eq(json_string_value(json_object_get(p, "reading")), "allowed");
    json_t *range = json_array_get(json_object_get(p, "writeProtected"), 0);
    cr_expect(json_integer_value(json_object_get(range, "address")) == 0x08001000);
    cr_expect(json_integer_value(json_object_get(range, "size")) == 0x2000);
    json_decref(all);
}

/* --- what makes no sense ---------------------------------------------------------------------------- */

Test(protocol, a_board_that_keeps_to_no_protocol_has_an_exit_code_of_its_own)
{
    char *argv[] = {"leave", NULL};
    struct options options;
    mock_init(&mock);
    mock.state = 99;
    cr_assert(options_parse(&options, "leave", "dwuaAnfjqh", 1, argv) == 0);
    cr_redirect_stderr();
    cr_expect_eq(cmd_leave(&options), EX_PROTOCOL);
}
