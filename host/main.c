/* SPDX-License-Identifier: MIT */
/* caboose: flashes any DfuSe device. Exit codes are those of sysexits.h. */
#include "host/commands.h"
#include "host/dfu_util.h"
#include "host/json.h"
#include "host/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void help_all(void)
{
    printf("caboose " CABOOSE_VERSION ": flash STM32 boards and other DfuSe devices over USB\n\n");
    for (size_t i = 0; i < command_count; i++) /* "…" is three bytes, and one column */
        printf("  caboose %-10s %-*s %s\n", commands[i].name,
            strstr(commands[i].arguments, "…") ? 18 : 16, commands[i].arguments,
            commands[i].summary);
    printf("  caboose dfu-util   OPTIONS          what dfu-util does\n"
           "  caboose help       COMMAND          a command's options\n"
           "  caboose --version                   which version this is\n\n"
           "  caboose flash firmware.elf          is all that one board needs\n");
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
    char all[256] = "";
    for (size_t i = 0; i < command_count; i++) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, " %s", commands[i].name);
    }
    report_error("%s is not a command; there are:%s dfu-util help", name, all);
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
    if (!error && options.help)
        return help_one(command);
    if (!error && (options.arg_count < command->least || options.arg_count > command->most)) {
        report_error("usage: caboose %s [OPTIONS] %s (see caboose help %s)", command->name,
            command->arguments, command->name);
        error = EX_USAGE;
    }
    if (!error) {
        report_setup(options.quiet || options.json, false);
        error = command->run(&options);
    }
    if (error && options.json)
        json_print_failure(error, options.json_array);
    return error;
}

/* A full disk is told, however late the C library comes upon it. */
static int finish(int code)
{
    if (!fflush(stdout) && !ferror(stdout))
        return code;
    report_error("cannot write standard output: %s", strerror(errno));
    return code ? code : EX_CANTCREAT;
}

static int act(int argc, char **argv)
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

int main(int argc, char **argv)
{
    if (argc > 0 && dfu_util_is(argv[0]))
        return dfu_util(argc, argv);
    if (argc > 1 && strcmp(argv[1], "dfu-util") == 0)
        return dfu_util(argc - 1, argv + 1);
    json_setup();
    return finish(act(argc, argv));
}
