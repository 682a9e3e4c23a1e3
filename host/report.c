/* SPDX-License-Identifier: MIT */
#include "host/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 32 };

static struct {
    bool quiet, to_stderr;
    const char *verb; /* of the bar that is being drawn */
    int percent;
    struct timespec begin;
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

void report_interrupted(void)
{
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
    line(stderr, "caboose: ", format, args);
    va_end(args);
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

static double seconds_since(const struct timespec *then)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static void draw(const char *verb, int percent, uint64_t done)
{
    char bar[BAR + 1];
    int filled = percent * BAR / 100;
    double s = seconds_since(&report.begin);
    memset(bar, '=', (size_t)filled);
    memset(bar + filled, ' ', (size_t)(BAR - filled));
    bar[BAR] = '\0';
    fprintf(stream(), "\r%-9s [%s] %3d%%  %6.1f KiB/s", verb, bar, percent,
        s > 0.01 ? (double)done / 1024 / s : 0.0);
    fflush(stream());
}

void report_progress(const char *verb, uint64_t done, uint64_t total)
{
    if (report.quiet || total == 0)
        return;
    bool terminal = isatty(fileno(stream()));
    int percent = (int)(done * 100 / total);
    if (report.verb && strcmp(report.verb, verb))
        report_interrupted();
    if (!report.verb && terminal) {
        report.verb = verb;
        report.percent = -1;
        clock_gettime(CLOCK_MONOTONIC, &report.begin);
    }
    if (terminal && percent != report.percent)
        draw(verb, percent, done);
    report.percent = percent;
    if (done == total) {
        if (!terminal)
            fprintf(stream(), "%s: %llu bytes\n", verb, (unsigned long long)total);
        report_interrupted();
    }
}
