/* SPDX-License-Identifier: MIT */
#include "host/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define RED   "\033[31m"
#define GREEN "\033[32m"
#define PLAIN "\033[0m"

enum { BAR = 32, NARROW_BAR = 24, REDRAW_MS = 100 };

static struct {
    bool quiet, to_stderr;
    const char *verb; /* of the bar that is being drawn */
    int percent;
    struct timespec begin;
    unsigned bars; /* rows that stand on the terminal */
    struct timespec drawn;
    char error[512]; /* the last one */
} report;

static FILE *stream(void)
{
    return report.to_stderr ? stderr : stdout;
}

void report_setup(bool quiet, bool to_stderr)
{
    report.quiet = quiet;
    report.to_stderr = to_stderr;
}

static bool is_terminal(FILE *file)
{
    return isatty(fileno(file));
}

static const char *colour(FILE *file, const char *code)
{
    const char *no = getenv("NO_COLOR");
    return is_terminal(file) && !(no && no[0]) ? code : "";
}

void report_interrupted(void)
{
    report.bars = 0;
    if (report.verb)
        fputc('\n', stream());
    fflush(stream());
    report.verb = NULL;
}

static void line(FILE *file, const char *prefix, const char *format, va_list args)
{
    report_interrupted();
    fputs(prefix, file);
    vfprintf(file, format, args);
    fputc('\n', file);
    fflush(file);
}

void report_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(report.error, sizeof report.error, format, args);
    va_end(args);
    va_start(args, format);
    char prefix[32];
    snprintf(prefix, sizeof prefix, "%scaboose: %s", colour(stderr, RED), colour(stderr, PLAIN));
    line(stderr, prefix, format, args);
    va_end(args);
}

const char *report_last_error(void)
{
    return report.error;
}

void report_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!report.quiet)
        line(stderr, "", format, args);
    va_end(args);
}

void report_result(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!report.quiet)
        line(stream(), "", format, args);
    va_end(args);
}

void report_no_memory(void)
{
    report_error("this computer's memory is full; end other programs and try again");
    exit(EX_OSERR);
}

static double seconds_since(const struct timespec *then)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static void fill(char bar[BAR + 1], int width, int percent)
{
    int filled = percent * width / 100;
    memset(bar, '=', (size_t)filled);
    memset(bar + filled, ' ', (size_t)(width - filled));
    bar[width] = '\0';
}

/* Rate, and the time that is left, from the time that it took so far. */
static void draw(const char *verb, int percent, uint64_t done, uint64_t total)
{
    char bar[BAR + 1], left[32] = "";
    double s = seconds_since(&report.begin);
    fill(bar, BAR, percent);
    if (s > 0.5 && done && done < total)
        snprintf(left, sizeof left, "  %.0f s left", s * (double)(total - done) / (double)done);
    fprintf(stream(), "\r%-9s [%s] %3d%%  %6.1f KiB/s%-14s", verb, bar, percent,
        s > 0.01 ? (double)done / 1024 / s : 0.0, left);
    fflush(stream());
}

void report_bars(const struct report_bar *bars, unsigned count)
{
    bool unfinished = report.bars && seconds_since(&report.drawn) < REDRAW_MS / 1000.0;
    if (report.quiet || !is_terminal(stream()) || unfinished)
        return;
    clock_gettime(CLOCK_MONOTONIC, &report.drawn);
    if (report.bars)
        fprintf(stream(), "\033[%uA", report.bars); /* up */
    for (unsigned i = 0; i < count; i++) {
        char bar[BAR + 1];
        int percent = bars[i].total ? (int)(bars[i].done * 100 / bars[i].total) : 0;
        fill(bar, NARROW_BAR, percent);
        fprintf(stream(), "%-12.12s %-9s [%s] %3d%%\n", bars[i].name, bars[i].verb, bar, percent);
    }
    report.bars = count;
    fflush(stream());
}

void report_row(
    bool good, const char *server, const char *path, const char *serial, const char *text)
{
    FILE *file = stream();
    if (report.quiet && good)
        return;
    report_interrupted();
    fprintf(file, "%s%s%-8s %-24s %s%-6s%s %s\n", server, server[0] ? " " : "", path, serial,
        colour(file, good ? GREEN : RED), good ? "ok" : "FAILED", colour(file, PLAIN), text);
}

void report_progress(const char *verb, uint64_t done, uint64_t total)
{
    if (report.quiet || total == 0)
        return;
    bool terminal = is_terminal(stream());
    int percent = (int)(done * 100 / total);
    if (report.verb && strcmp(report.verb, verb))
        report_interrupted();
    if (!report.verb && terminal) {
        report.verb = verb;
        report.percent = -1;
        clock_gettime(CLOCK_MONOTONIC, &report.begin);
    }
    if (terminal && percent != report.percent)
        draw(verb, percent, done, total);
    report.percent = percent;
    if (done == total) {
        if (!terminal)
            fprintf(stream(), "%s: %llu bytes\n", verb, (unsigned long long)total);
        report_interrupted();
    }
}
