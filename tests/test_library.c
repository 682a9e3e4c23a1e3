/* SPDX-License-Identifier: MIT */
/* libcaboose as a stranger gets it: the built archive and the built header. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARCHIVE "build/lib/libcaboose.a"
#define HEADER  "build/include/caboose.h"

/* What a shell command prints; the caller's to free. */
static char *output_of(const char *command)
{
    size_t room = 1 << 20, size;
    char *text = malloc(room);
    FILE *pipe = popen(command, "r");
    cr_assert(text && pipe);
    size = fread(text, 1, room - 1, pipe);
    text[size] = '\0';
    cr_assert(pclose(pipe) == 0 && size > 0, "%s: %s", command, text);
    return text;
}

static bool is_ours(const char *name)
{
    return !strncmp(name, "caboose_", 8) || !strncmp(name, "CABOOSE_", 8);
}

/* --- the archive ----------------------------------------------------------------------------------- */

Test(library, every_symbol_that_others_could_see_begins_with_caboose)
{
    char *text = output_of("nm -g --defined-only " ARCHIVE), name[128], type;
    unsigned count = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (line[strlen(line) - 1] != ':' && sscanf(line, "%*x %c %127s", &type, name) == 2) {
            cr_expect(is_ours(name), "%s", name);
            count++;
        }
    cr_expect(count > 50, "%u symbols", count);
    free(text);
}

/* All that it may want of its surroundings: memory, and what works on memory. Whatever prints, ends the
 * program, opens a file, asks a clock or the environment, or belongs to another library is not in here. */
static bool may_be_wanted(const char *name)
{
    static const char *const names[] = {"malloc", "calloc", "realloc", "free", "memcpy", "memmove",
        "memset", "memcmp", "memchr", "strlen", "strcmp", "strncmp", "strchr", "strstr",
        "strcasecmp", "snprintf", "vsnprintf", "qsort", "__stack_chk_fail"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(names[i], name))
            return true;
    return is_ours(name);
}

Test(library, it_wants_nothing_but_memory_and_so_prints_nothing_and_ends_nothing)
{
    char *text = output_of("nm -u " ARCHIVE), name[128];
    unsigned count = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (sscanf(line, " U %127s", name) == 1) {
            cr_expect(may_be_wanted(name), "%s", name);
            count++;
        }
    cr_expect(count > 10, "%u symbols", count);
    free(text);
}

/* Variables that live longer than a call stand in these sections; tables of constants do not. */
Test(library, it_keeps_no_state_between_calls)
{
    static const char *const kinds[] = {".data", ".bss", ".tdata", ".tbss", "COMMON"};
    char *text = output_of("size -A " ARCHIVE), section[128];
    unsigned long size;
    unsigned count = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            if (sscanf(line, "%127s %lu", section, &size) == 2 &&
                !strncmp(section, kinds[i], strlen(kinds[i])) &&
                strncmp(section, ".data.rel.ro", 12)) {
                cr_expect(size == 0, "%s of %lu bytes", section, size);
                count++;
            }
    cr_expect(count > 20, "%u sections", count);
    free(text);
}

/* --- the header ------------------------------------------------------------------------------------ */

/* The header's next word or sign, without comments; false at its end. */
static bool next_token(const char **at, char token[128])
{
    const char *p = *at;
    for (;;) {
        while (isspace((unsigned char)*p))
            p++;
        if (p[0] != '/' || p[1] != '*')
            break;
        p = strstr(p, "*/");
        cr_assert(p);
        p += 2;
    }
    size_t n = 0;
    while (n < 127 && (isalnum((unsigned char)p[n]) || p[n] == '_'))
        n++;
    n += !n && *p;
    memcpy(token, p, n);
    token[n] = '\0';
    *at = p + n;
    return n;
}

static bool is_of_the_language(const char *word)
{
    static const char *const words[] = {"struct", "enum", "const", "static", "inline", "void",
        "char", "int", "unsigned", "bool", "size_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t",
        "include", "stdbool", "stddef", "stdint", "h", "ifndef", "define", "endif"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strcmp(words[i], word))
            return true;
    return false;
}

/* Names of members, of parameters and of what is inside of a function are nobody else's business; those of
 * types, of enumerators, of functions and of macros are. */
Test(library, every_name_in_the_header_that_others_could_meet_begins_with_caboose)
{
    char *text = output_of("cat " HEADER), token[128], before[128] = "", kind[128] = "";
    bool enumerators[16] = {false};
    unsigned depth = 0, parentheses = 0, count = 0;
    for (const char *at = text; next_token(&at, token); strcpy(before, token)) {
        bool word = isalpha((unsigned char)token[0]) || token[0] == '_';
        bool tag = !strcmp(before, "struct") || !strcmp(before, "enum");
        bool macro = !strcmp(before, "define") || !strcmp(before, "ifndef");
        bool seen = tag || macro || enumerators[depth] || (depth == 0 && parentheses == 0);
        if (word && seen && !is_of_the_language(token)) {
            cr_expect(is_ours(token), "%s", token);
            count++;
        }
        if (!strcmp(token, "struct") || !strcmp(token, "enum") || *token == ')')
            strcpy(kind, token);
        if (*token == '{') {
            cr_assert(++depth < 16);
            enumerators[depth] = !strcmp(kind, "enum");
        }
        depth -= *token == '}';
        parentheses += *token == '(';
        parentheses -= *token == ')';
    }
    cr_expect(depth == 0 && parentheses == 0);
    cr_expect(count > 200, "%u names", count);
    free(text);
}
