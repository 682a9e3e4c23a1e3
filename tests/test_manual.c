/* SPDX-License-Identifier: MIT */
/* docs/caboose.1 tells of every command and option that there is, and of no other. */
#include "host/commands.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define MANUAL "docs/caboose.1"

enum { LINES = 1000, LINE = 256 };

static char lines[LINES][LINE];
static size_t line_count;

static void read_manual(void)
{
    FILE *file = fopen(MANUAL, "r");
    cr_assert(file, MANUAL);
    while (line_count < LINES && fgets(lines[line_count], LINE, file)) {
        char *line = lines[line_count++];
        cr_assert(strchr(line, '\n'), "a line too long: %s", line);
        line[strcspn(line, "\n")] = '\0';
    }
    cr_assert(line_count > 100 && feof(file));
    fclose(file);
}

TestSuite(manual, .init = read_manual);

/* Whether a line begins so and then has nothing more, or a space. */
static bool is_there(const char *beginning)
{
    size_t size = strlen(beginning);
    for (size_t i = 0; i < line_count; i++)
        if (strncmp(lines[i], beginning, size) == 0 && strchr(" ", lines[i][size]))
            return true;
    return false;
}

/* --- commands -------------------------------------------------------------------------------------- */

static bool is_command(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].name, name) == 0)
            return true;
    return strcmp(name, "help") == 0 || strcmp(name, "dfu-util") == 0;
}

Test(manual, every_command_is_in_it)
{
    char item[64];
    for (size_t i = 0; i < command_count; i++) {
        snprintf(item, sizeof item, ".It Cm %s", commands[i].name);
        cr_expect(is_there(item), "%s", commands[i].name);
    }
}

Test(manual, every_command_in_it_exists)
{
    unsigned names = 0;
    for (size_t i = 0; i < line_count; i++) {
        char name[LINE], *at = strstr(lines[i], "Cm ");
        if (lines[i][0] != '.' || !at || sscanf(at, "Cm %s", name) != 1)
            continue;
        cr_expect(is_command(name), "%s", lines[i]);
        names++;
    }
    cr_expect(names > command_count, "%u", names);
}

/* --- options --------------------------------------------------------------------------------------- */

static void expect_item(
    void *context, char short_form, const char *name, const char *argument, const char *help)
{
    char item[64];
    (void)help;
    if (short_form)
        snprintf(item, sizeof item, ".It Fl %c , Fl -%s", short_form, name);
    else
        snprintf(item, sizeof item, ".It Fl -%s", name);
    cr_expect(is_there(item), "%s --%s%s", (const char *)context, name, argument ? " …" : "");
}

Test(manual, every_option_of_every_command_is_in_it)
{
    for (size_t i = 0; i < command_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "%s", commands[i].name);
        options_each(commands[i].letters, expect_item, name);
    }
}

struct wanted {
    const char *name; /* without its first hyphen */
    bool found;
};

static void compare(
    void *context, char short_form, const char *name, const char *argument, const char *help)
{
    struct wanted *w = context;
    (void)argument, (void)help;
    w->found |= w->name[0] == '-' ? strcmp(w->name + 1, name) == 0
                                  : w->name[0] == short_form && !w->name[1];
}

/* --address is another name of --at, --version stands in place of a command. */
static bool is_option(const char *name)
{
    struct wanted w = {
        name, !strcmp(name, "-address") || !strcmp(name, "-version") || !strcmp(name, "V")};
    for (size_t i = 0; i < command_count; i++)
        options_each(commands[i].letters, compare, &w);
    return w.found;
}

Test(manual, every_option_in_it_exists)
{
    unsigned names = 0;
    for (size_t i = 0; i < line_count; i++)
        for (char *at = lines[i]; lines[i][0] == '.' && (at = strstr(at, "Fl ")) != NULL; at++) {
            char name[LINE];
            cr_assert(sscanf(at, "Fl %s", name) == 1, "%s", lines[i]);
            cr_expect(is_option(name), "%s", lines[i]);
            names++;
        }
    cr_expect(names > 30, "%u", names);
}
