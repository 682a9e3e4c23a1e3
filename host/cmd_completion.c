/* SPDX-License-Identifier: MIT */
/* Completion scripts, made of the same tables as the command line. */
#include "host/cmd.h"
#include "host/commands.h"
#include "host/report.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define SHELLS "bash zsh fish"

static void put_name(
    void *context, char short_form, const char *name, const char *argument, const char *help)
{
    (void)context, (void)help;
    if (short_form)
        printf(" -%c", short_form);
    printf(" --%s%s", name, argument && argument[0] == '[' ? "=" : "");
}

/* The commands that main() knows besides those of the table. */
static const struct {
    const char *name, *summary;
} others[] = {
    {"dfu-util", "what dfu-util does" },
    {"help",     "a command's options"},
};
enum { OTHERS = sizeof others / sizeof others[0] };

static void put_commands(void)
{
    for (size_t i = 0; i < command_count; i++)
        printf("%s%s", i ? " " : "", commands[i].name);
    for (size_t i = 0; i < OTHERS; i++)
        printf(" %s", others[i].name);
}

static void bash(void)
{
    printf("# caboose completion bash >/etc/bash_completion.d/caboose\n"
           "_caboose()\n{\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} words\n"
           "    COMPREPLY=()\n"
           "    if [ \"$COMP_CWORD\" = 1 ] || [ \"${COMP_WORDS[1]}\" = help ]; then\n"
           "        words=\"");
    put_commands();
    printf("\"\n    else\n        case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < command_count; i++) {
        printf("        %s) words=\"", commands[i].name);
        options_each(commands[i].letters, put_name, NULL);
        printf("\" ;;\n");
    }
    printf("        esac\n"
           "        case $cur in -*) ;; *) words= ;; esac\n"
           "        [ \"${COMP_WORDS[1]}\" != completion ] || words=\"" SHELLS "\"\n"
           "    fi\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
           "    [ ${#COMPREPLY[@]} = 0 ] && COMPREPLY=($(compgen -f -- \"$cur\"))\n"
           "}\n"
           "complete -o filenames -F _caboose caboose\n");
}

/* In single quotes. */
static void put_quoted(const char *text)
{
    putchar('\'');
    for (; *text; text++)
        printf(*text == '\'' ? "'\\''" : "%c", *text);
    putchar('\'');
}

/* _arguments wants brackets and colons of a description escaped. */
static void put_zsh(
    void *context, char short_form, const char *name, const char *argument, const char *help)
{
    (void)context, (void)short_form;
    printf(" '--%s%s[", name, !argument ? "" : argument[0] == '[' ? "=-" : "=");
    for (; *help; help++)
        printf(strchr("[]:", *help) ? "\\%c" : *help == '\'' ? "'\\''" : "%c", *help);
    printf("]%s'", !argument                       ? ""
                   : strcmp(argument, "FILE") == 0 ? ":file:_files"
                   : argument[0] == '['            ? "::value:"
                                                   : ":value:");
}

static void put_described(const char *name, const char *summary)
{
    char text[160];
    snprintf(text, sizeof text, "%s:%s", name, summary);
    putchar(' ');
    put_quoted(text);
}

static void zsh(void)
{
    printf("#compdef caboose\n"
           "# caboose completion zsh >/usr/local/share/zsh/site-functions/_caboose\n"
           "_caboose() {\n"
           "    local -a commands=(");
    for (size_t i = 0; i < command_count; i++)
        put_described(commands[i].name, commands[i].summary);
    for (size_t i = 0; i < OTHERS; i++)
        put_described(others[i].name, others[i].summary);
    printf(")\n    if (( CURRENT == 2 )); then\n"
           "        _describe command commands\n        return\n    fi\n"
           "    case $words[2] in\n"
           "    help) _describe command commands ;;\n"
           "    completion) _values shell " SHELLS " ;;\n"
           "    dfu-util) _files ;;\n");
    for (size_t i = 0; i < command_count; i++) {
        if (commands[i].run == cmd_completion)
            continue;
        printf("    %s) _arguments", commands[i].name);
        options_each(commands[i].letters, put_zsh, NULL);
        /* Without a word for them, what stands behind an argument is not completed at all. */
        printf(" %s ;;\n",
            strstr(commands[i].arguments, "FILE") ? "'*:file:_files'" : "'*:argument:()'");
    }
    printf("    esac\n}\n_caboose \"$@\"\n");
}

static void put_fish(
    void *context, char short_form, const char *name, const char *argument, const char *help)
{
    const struct command *command = context;
    printf("complete -c caboose -n '__fish_seen_subcommand_from %s'", command->name);
    if (short_form)
        printf(" -s %c", short_form);
    printf(" -l %s%s -d ", name, argument && argument[0] != '[' ? " -r" : "");
    put_quoted(help);
    putchar('\n');
}

static void put_fish_command(const char *name, const char *summary)
{
    printf("complete -c caboose -n __fish_use_subcommand -f -a %s -d ", name);
    put_quoted(summary);
    putchar('\n');
}

static void fish(void)
{
    printf("# caboose completion fish >~/.config/fish/completions/caboose.fish\n");
    for (size_t i = 0; i < OTHERS; i++)
        put_fish_command(others[i].name, others[i].summary);
    for (size_t i = 0; i < command_count; i++) {
        struct command command = commands[i];
        put_fish_command(command.name, command.summary);
        options_each(command.letters, put_fish, &command);
        if (!strstr(command.arguments, "FILE"))
            printf("complete -c caboose -n '__fish_seen_subcommand_from %s' -f\n", command.name);
    }
    printf("complete -c caboose -n '__fish_seen_subcommand_from completion' -f -a '" SHELLS "'\n"
           "complete -c caboose -n '__fish_seen_subcommand_from help' -f -a '");
    put_commands();
    printf("'\n");
}

int cmd_completion(const struct options *options)
{
    const char *shell = options->args[0];
    if (strcmp(shell, "bash") == 0)
        bash();
    else if (strcmp(shell, "zsh") == 0)
        zsh();
    else if (strcmp(shell, "fish") == 0)
        fish();
    else {
        report_error("completion: %s is not bash, zsh or fish", shell);
        return EX_USAGE;
    }
    return 0;
}
