/* SPDX-License-Identifier: MIT */
/* What newlib's printf() and malloc() ask of a system: a heap, output to USART1, and an end. */
#include <errno.h>
#include <stddef.h>
#include <sys/stat.h>

#include "stm32f103.h"
#include "uart.h"

extern char heap_start[];

#define STACK_RESERVE 2048

void *_sbrk(ptrdiff_t increment);
int _write(int fd, const char *data, int size);
int _read(int fd, char *data, int size);
int _close(int fd);
int _lseek(int fd, int offset, int whence);
int _fstat(int fd, struct stat *st);
int _isatty(int fd);
int _kill(int pid, int signal);
int _getpid(void);
_Noreturn void _exit(int status);

static char *stack_pointer(void)
{
    char *sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

void *_sbrk(ptrdiff_t increment)
{
    static char *end = heap_start;
    char *previous = end;
    if (stack_pointer() - end < increment + STACK_RESERVE) {
        errno = ENOMEM;
        return (void *)-1;
    }
    end += increment;
    return previous;
}

int _write(int fd, const char *data, int size)
{
    (void)fd;
    for (int i = 0; i < size; i++)
        uart_putc(data[i]);
    return size;
}

int _read(int fd, char *data, int size)
{
    (void)fd, (void)data, (void)size;
    return 0;
}

int _close(int fd)
{
    (void)fd;
    return -1;
}

int _lseek(int fd, int offset, int whence)
{
    (void)fd, (void)offset, (void)whence;
    return 0;
}

int _fstat(int fd, struct stat *st)
{
    (void)fd;
    st->st_mode = S_IFCHR;
    return 0;
}

int _isatty(int fd)
{
    (void)fd;
    return 1;
}

int _kill(int pid, int signal)
{
    (void)pid, (void)signal;
    return -1;
}

int _getpid(void)
{
    return 1;
}

void _exit(int status)
{
    (void)status;
    for (;;)
        ;
}
