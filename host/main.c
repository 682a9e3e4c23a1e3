/* SPDX-License-Identifier: MIT */
/* caboose: flashes any DfuSe device. Exit codes are those of sysexits.h. */
#include "host/cmd.h"
#include "host/report.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define WHICH "udSpa" /* options that choose a board */

// clang-format off
static const struct command {
    const char *name;
    int (*run)(const struct options *options);
    const char *arguments;
    int least, most; /* how many arguments */
    const char *letters;
    const char *summary;
} commands[] = {
    {"list",  cmd_list,  "",                 0, 0,   "udSpjh",         "show the boards that are there"},
    {"info",  cmd_info,  "",                 0, 0,   "udSpwh",         "show one board and its memory"},
    {"flash", cmd_flash, "FILE",             1, 1,   WHICH "AVLfwqh",  "write a program (ELF, Intel HEX, .dfu or raw), verify it and start it"},
    {"read",  cmd_read,  "FILE",             0, 1,   WHICH "Asowqh",   "read memory into a file"},
    {"erase", cmd_erase, "",                 0, 0,   WHICH "Aswqh",    "erase everything that can be written, or a range"},
    {"leave", cmd_leave, "",                 0, 0,   WHICH "Awqh",     "start the program that is on the board"},
    {"pack",  cmd_pack,  "OUT FILE[@ADDR]…", 1, 255, "dAoaqh",         "make a .dfu file"},
};
// clang-format on

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void help_all(void)
{
    printf("caboose " CABOOSE_VERSION ": flash STM32 boards and other DfuSe devices over USB\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  caboose %-6s %-18s %s\n", commands[i].name, commands[i].arguments,
            commands[i].summary);
    printf("  caboose help   COMMAND            a command's options\n\n"
           "  caboose flash firmware.elf        is all that one board needs\n");
}

static int help_one(const struct command *command)
{
    printf("caboose %s%s%s: %s\n\n", command->name, command->arguments[0] ? " " : "",
        command->arguments, command->summary);
    options_help(command->letters);
    return 0;
}

static int complain_command(const char *name)
{
    report_error(
        "%s is not a command; there are: list info flash read erase leave pack help", name);
    return EX_USAGE;
}

static int help(int argc, char **argv)
{
    if (argc < 2) {
        help_all();
        return 0;
    }
    const struct command *command = find(argv[1]);
    return command ? help_one(command) : complain_command(argv[1]);
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    int error = options_parse(&options, command->name, command->letters, argc, argv);
    if (error)
        return error;
    if (options.help)
        return help_one(command);
    if (options.arg_count < command->least || options.arg_count > command->most) {
        report_error("usage: caboose %s [OPTIONS] %s (see caboose help %s)", command->name,
            command->arguments, command->name);
        return EX_USAGE;
    }
    report_setup(options.quiet, false);
    return command->run(&options);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help_all();
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("caboose " CABOOSE_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0)
        return help(argc - 1, argv + 1);
    const struct command *command = find(argv[1]);
    return command ? run(command, argc - 1, argv + 1) : complain_command(argv[1]);
}
