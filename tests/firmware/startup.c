/* SPDX-License-Identifier: MIT */
/*
 * Startup of the test images: vectors, data, a console on USART1 or CONSOLE, newlib's system calls. Every
 * handler can be replaced by defining it; what is not expected ends the run.
 */
#include "tests/firmware/guest.h"

#include <sys/stat.h>

#ifndef CONSOLE
#define CONSOLE 0x40013800u /* USART1 */
#endif
#define USART_SR  REG(CONSOLE)
#define USART_DR  REG(CONSOLE + 0x04)
#define USART_CR1 REG(CONSOLE + 0x0c)
#define AIRCR     REG(0xe000ed0c)

extern uint32_t stack_top, data_source, data_start, data_end, bss_start, bss_end;
extern char end;
int main(void);

void print_char(int c)
{
    while (!(USART_SR & 0x80)) /* TXE */
        continue;
    USART_DR = (uint32_t)c;
}

void print(const char *text)
{
    while (*text)
        print_char(*text++);
}

void print_hex(uint32_t value)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        print_char("0123456789abcdef"[value >> shift & 15]);
}

void finish(void)
{
    print("\nDONE\n");
    AIRCR = 0x05fa0004; /* SYSRESETREQ */
    for (;;)
        continue;
}

void reset(void)
{
    const uint32_t *source = &data_source;
    for (uint32_t *word = &data_start; word < &data_end;)
        *word++ = *source++;
    for (uint32_t *word = &bss_start; word < &bss_end;)
        *word++ = 0;
    USART_CR1 = 0x200c; /* UE, TE, RE */
    main();
    finish();
}

void unexpected(void)
{
    print("\nunexpected exception\n");
    finish();
}

#define HANDLER(name) void name(void) __attribute__((weak, alias("unexpected")))
HANDLER(nmi);
HANDLER(hard_fault);
HANDLER(mem_manage);
HANDLER(bus_fault);
HANDLER(usage_fault);
HANDLER(svc);
HANDLER(pendsv);
HANDLER(systick);
HANDLER(irq0);
HANDLER(irq1);
HANDLER(irq2);

__attribute__((section(".vectors"), used)) static const void *const vectors[16 + 60] = {
    [0] = &stack_top,
    [1] = reset,
    [2] = nmi,
    [3] = hard_fault,
    [4] = mem_manage,
    [5] = bus_fault,
    [6] = usage_fault,
    [11] = svc,
    [14] = pendsv,
    [15] = systick,
    [16] = irq0,
    [17] = irq1,
    [18] = irq2,
};

/* ---- newlib -----------------------------------------------------------------------------------*/

int _write(int file, const char *data, int size)
{
    (void)file;
    for (int n = 0; n < size; n++)
        print_char(data[n]);
    return size;
}

void *_sbrk(int size)
{
    static char *brk = &end;
    char *old = brk;
    brk += size;
    return old;
}

int _close(int file)
{
    (void)file;
    return -1;
}

int _read(int file, char *data, int size)
{
    (void)file, (void)data, (void)size;
    return 0;
}

int _lseek(int file, int offset, int whence)
{
    (void)file, (void)offset, (void)whence;
    return 0;
}

int _fstat(int file, struct stat *st)
{
    (void)file;
    st->st_mode = S_IFCHR;
    return 0;
}

int _isatty(int file)
{
    (void)file;
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

void _exit(int code)
{
    (void)code;
    finish();
}
