/* SPDX-License-Identifier: MIT */
/* A library to load in front of the C library: of all allocations that a program makes, in whatever library,
 * the n-th fails. STARVE_AT says which, from 1 on; the file STARVE_TOLD names is made when it does. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

void *__libc_malloc(size_t size), *__libc_calloc(size_t count, size_t size),
    *__libc_realloc(void *old, size_t size);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *old, size_t size);

static unsigned left; /* 0: none fails any more, or nothing was said yet */

/* Before main(), so that what the loader and constructors take is not counted. */
__attribute__((constructor)) static void begin(void)
{
    const char *at = getenv("STARVE_AT");
    left = at ? (unsigned)strtoul(at, NULL, 10) : 0;
}

static bool fails(void)
{
    if (left == 0 || --left)
        return false;
    const char *told = getenv("STARVE_TOLD");
    int fd = told ? open(told, O_WRONLY | O_CREAT, 0600) : -1;
    if (fd >= 0)
        close(fd);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}
