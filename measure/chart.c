/* SPDX-License-Identifier: MIT */
/*
 * Draws bars: chart TITLE < rows > file.svg
 *
 * A row is GROUP, NAME, SECONDS, LIMIT between tabs; rows of one group follow each other. LIMIT is
 * what the flash cells alone take, drawn as a line across the bar; 0: none.
 * Colours follow the reader's choice of light or dark.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_ROWS = 32,
    TEXT = 80,
    WIDTH = 760,
    BAR_LEFT = 250,
    BAR_WIDTH = 420, /* of the longest */
    BAR_HEIGHT = 18,
    ROW = 28,
    GROUP_HEAD = 34,
    TOP = 44,
    BOTTOM = 34,
};

struct row {
    char group[TEXT], name[TEXT];
    double seconds, limit;
};

static size_t read_rows(struct row *rows)
{
    size_t count = 0;
    while (count < MAX_ROWS && scanf(" %79[^\t]\t%79[^\t]\t%lf\t%lf", rows[count].group,
                                   rows[count].name, &rows[count].seconds, &rows[count].limit) == 4)
        count++;
    return count;
}

static void put_text(double x, int y, const char *class, const char *text)
{
    printf("<text x=\"%.1f\" y=\"%d\" class=\"%s\">", x, y, class);
    for (; *text; text++) {
        if (*text == '&' || *text == '<')
            printf("&#%d;", *text);
        else
            putchar(*text);
    }
    printf("</text>\n");
}

static void put_bar(const struct row *row, int y, double scale, int ours)
{
    double end = BAR_LEFT + row->seconds * scale, limit = BAR_LEFT + row->limit * scale;
    char value[TEXT];

    put_text(BAR_LEFT - 10, y + 14, "name", row->name);
    printf("<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" class=\"%s\"/>\n", BAR_LEFT, y,
        end - BAR_LEFT, BAR_HEIGHT, ours ? "ours" : "bar");
    if (row->limit > 0)
        printf("<path d=\"M%.1f %d v%d\" class=\"limit\"/>\n", limit, y - 4, BAR_HEIGHT + 8);
    snprintf(value, sizeof value, "%.2f s", row->seconds);
    put_text((limit > end ? limit : end) + 8, y + 14, "value", value);
}

int main(int argc, char **argv)
{
    static struct row rows[MAX_ROWS];
    size_t count = read_rows(rows);
    double longest = 0;
    int y = TOP, height = TOP + BOTTOM;

    if (argc != 2 || count == 0) {
        fprintf(stderr,
            "usage: chart TITLE < rows > file.svg; a row: GROUP\\tNAME\\tSECONDS\\tLIMIT\n");
        return 64;
    }
    for (size_t n = 0; n < count; n++) {
        if (rows[n].seconds > longest)
            longest = rows[n].seconds;
        height += n == 0 || strcmp(rows[n].group, rows[n - 1].group) != 0 ? ROW + GROUP_HEAD : ROW;
    }
    printf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
           "height=\"%d\" "
           "role=\"img\" aria-label=\"%s\">\n",
        WIDTH, height, WIDTH, height, argv[1]);
    printf("<style>\n"
           "text { font: 14px system-ui, sans-serif; fill: #1f2328 }\n"
           ".title { font-size: 16px; font-weight: 600 } .group { font-weight: 600 }\n"
           ".name { text-anchor: end } .note { font-size: 12px; fill: #59636e }\n"
           ".bar { fill: #9aa4af } .ours { fill: #1f6feb }\n"
           ".limit { stroke: #cf222e; stroke-width: 2 }\n"
           "@media (prefers-color-scheme: dark) {\n"
           "text { fill: #e6edf3 } .note { fill: #9198a1 }\n"
           ".bar { fill: #6e7781 } .ours { fill: #58a6ff } .limit { stroke: #ff7b72 }\n"
           "}\n</style>\n");
    put_text(10, 24, "title", argv[1]);
    for (size_t n = 0; n < count; n++) {
        if (n == 0 || strcmp(rows[n].group, rows[n - 1].group) != 0) {
            put_text(10, y + 22, "group", rows[n].group);
            y += GROUP_HEAD;
        }
        put_bar(&rows[n], y, BAR_WIDTH / longest, strcmp(rows[n].name, "caboose") == 0);
        y += ROW;
    }
    printf("<path d=\"M10 %d v12\" class=\"limit\"/>\n", y + 8);
    put_text(18, y + 18, "note",
        "what the flash cells alone take: 30 ms a page of 1 KB, 52.5 µs a half-word");
    printf("</svg>\n");
    return 0;
}
