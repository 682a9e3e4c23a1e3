/* SPDX-License-Identifier: MIT */
/* docs/pains.md says of each answer which test shows it: they exist, and no row is without one. */
#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAINS "docs/pains.md"

static char *text_of(const char *path)
{
    enum { ROOM = 1 << 20 };
    char *text = malloc(ROOM);
    FILE *file = fopen(path, "r");
    cr_assert(text && file, "%s", path);
    text[fread(text, 1, ROOM - 1, file)] = '\0';
    fclose(file);
    return text;
}

static glob_t sources;
static char *texts[256];

static void read_tests(void)
{
    cr_assert(glob("tests/test_*.c", 0, NULL, &sources) == 0 && sources.gl_pathc < 256);
    for (size_t i = 0; i < sources.gl_pathc; i++)
        texts[i] = text_of(sources.gl_pathv[i]);
}

TestSuite(pains, .init = read_tests);

static bool is_test(const char *suite, const char *name)
{
    char wanted[320];
    snprintf(wanted, sizeof wanted, "Test(%s, %s", suite, name);
    for (size_t i = 0; i < sources.gl_pathc; i++)
        for (const char *at = texts[i]; (at = strstr(at, wanted)) != NULL; at++)
            if (strchr("),", at[strlen(wanted)]))
                return true;
    return false;
}

/* `suite::test` or `strangers: check`. False if it is neither: an option, a file. */
static bool names_something(const char *quoted)
{
    char suite[64], name[192], path[256];
    if (sscanf(quoted, "strangers: %191[a-z-]", name) == 1) {
        snprintf(path, sizeof path, "strangers/guest/checks/%s", name);
        cr_expect(access(path, F_OK) == 0, "%s", path);
        return true;
    }
    if (sscanf(quoted, "%63[a-z0-9_]::%191[A-Za-z0-9_]", suite, name) != 2)
        return false;
    cr_expect(is_test(suite, name), "there is no test %s::%s", suite, name);
    return true;
}

Test(pains, every_answer_is_shown_by_a_test_that_exists)
{
    char *text = text_of(PAINS);
    unsigned rows = 0, names = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        bool row = line[0] == '|' && strncmp(line, "|--", 3) && !strstr(line, "shown by |");
        unsigned here = 0;
        char *rest = line;
        strsep(&rest, "`");
        for (char *quoted; row && (quoted = strsep(&rest, "`")) != NULL; strsep(&rest, "`"))
            here += names_something(quoted);
        cr_expect(!row || here, "nothing is shown: %.60s", line);
        rows += row;
        names += here;
    }
    cr_expect(rows >= 25 + 7 + 10 && names > rows, "%u rows, %u tests", rows, names);
    free(text);
}
