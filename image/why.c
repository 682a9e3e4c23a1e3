/* SPDX-License-Identifier: MIT */
#include "image/why.h"

#include <stdarg.h>
#include <stdio.h>

/* Behind the first n characters, which snprintf counted and may have cut. */
__attribute__((format(printf, 3, 0))) static void append(
    char why[IMAGE_ERROR_SIZE], int n, const char *format, va_list args)
{
    if (n < IMAGE_ERROR_SIZE)
        vsnprintf(why + n, (size_t)(IMAGE_ERROR_SIZE - n), format, args);
}

int why_file(char why[IMAGE_ERROR_SIZE], const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append(why, snprintf(why, IMAGE_ERROR_SIZE, "%s ", name), format, args);
    va_end(args);
    return -1;
}

int why_byte(char why[IMAGE_ERROR_SIZE], const char *name, size_t offset, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append(why, snprintf(why, IMAGE_ERROR_SIZE, "%s, byte 0x%zx: ", name, offset), format, args);
    va_end(args);
    return -1;
}

int why_line(char why[IMAGE_ERROR_SIZE], const char *name, unsigned line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append(why, snprintf(why, IMAGE_ERROR_SIZE, "%s, line %u: ", name, line), format, args);
    va_end(args);
    return -1;
}

int why_memory(char why[IMAGE_ERROR_SIZE], const char *name)
{
    why_file(
        why, name, "does not fit into this computer's memory; end other programs and try again");
    return IMAGE_NO_MEMORY;
}
