/* SPDX-License-Identifier: MIT */
/*
 * A simulated board: an STM32F1 with its memories, peripherals, power switch and reset button, and
 * what hangs on it. A library: no threads, no host clock, no I/O of its own. Everything happens in
 * virtual time, in nanoseconds since the board was made, and two runs that are asked the same do
 * the same to the byte.
 *
 *     struct board *b = board_new(&(struct board_config){.part = "stm32f103c8"});
 *     board_load(b, 0x08000000, image, size);      // as an SWD probe would: power may be off
 *     board_power(b, true);
 *     board_run_for(b, 100 * BOARD_MS);
 *     board_free(b);
 *
 * The functions of struct board_config are called while the board works: they may look at it
 * (board_now(), board_pin(), board_peek() …), not change it.
 *
 * Firmware that does what silicon would punish stops the run: board_run_until() returns BOARD_ERROR
 * and board_complaint() says which rule was broken, where. With .lenient it is only reported.
 */
#ifndef SIM_BOARD_H
#define SIM_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct board;
struct usb_transfer; /* sim/usb_host.h */

#define BOARD_US UINT64_C(1000)
#define BOARD_MS UINT64_C(1000000)
#define BOARD_S  UINT64_C(1000000000)

enum board_timing { BOARD_TYPICAL, BOARD_FASTEST, BOARD_SLOWEST }; /* of flash: DS5319 table 28 */

struct board_config {
    const char *part;         /* a row of sim/parts.c: "stm32f103c8", "stm32f103cb" … */
    enum board_timing timing; /* typical: 52.5 µs a half-word, 30 ms a page */
    uint64_t seed;            /* of everything that silicon leaves to chance; RAM at power-up too */
    uint32_t hse_hz;          /* crystal, 4 to 16 MHz; 0 means 8 MHz, BOARD_NO_CRYSTAL none */
    char pull_up_port;    /* 'A' … 'G' of the pin that, driven low, pulls D+ up; 0: pulled up */
    unsigned pull_up_pin; /* … for good, as on a Blue Pill; 0 … 15 */
    bool lenient;         /* report broken rules, go on */
    bool usb_on_hsi;      /* let USB work on the inaccurate HSI clock */
    bool boot0, boot1;    /* levels of the BOOT pins */
    void *context;        /* handed to the functions below; each may be NULL */
    void (*uart)(void *context, unsigned usart, uint8_t byte);       /* usart: 1, 2, 3 */
    void (*pin)(void *context, char port, unsigned pin, bool level); /* an output changed */
    void (*log)(void *context, const char *line); /* events: reset, broken rule, USB attach … */
    void (*trace)(void *context, const char *line);
    unsigned trace_what;                                             /* BOARD_TRACE_… */
    void (*usb)(void *context, const struct usb_transfer *transfer); /* its begin, its end */
};
#define BOARD_NO_CRYSTAL UINT32_MAX

enum {
    BOARD_TRACE_REGISTERS = 1, /* each access to a peripheral register */
    BOARD_TRACE_USB = 2,       /* each transaction, by the packets' names */
    BOARD_TRACE_INSTRUCTIONS = 4,
    BOARD_TRACE_FLASH = 8, /* each erase and half-word programmed */
};

/* NULL when there is no such part, or no memory. The board is made without power, its flash blank,
 * option bytes as shipped (not protected), the USB cable unplugged. */
struct board *board_new(const struct board_config *config);
void board_free(struct board *b);

/* A copy that goes on by itself; and putting a board back to where a copy of it was (cheap: only
 * pages that differ are copied). Both boards must have been made with the same part. */
struct board *board_copy(const struct board *b);
void board_restore(struct board *b, const struct board *saved);

enum board_stop {
    BOARD_DONE,  /* the time asked for was reached */
    BOARD_ERROR, /* a rule was broken: board_complaint() */
    BOARD_CUT,   /* the power cut that was ordered has happened; the board is without power */
    BOARD_BREAK, /* BKPT */
};

/* Runs to a virtual time, or for a while. Resets happen as the firmware asks for them. A board
 * without power lets time pass. */
enum board_stop board_run_until(struct board *b, uint64_t when_ns);
enum board_stop board_run_for(struct board *b, uint64_t ns);
uint64_t board_now(const struct board *b);

/* Power. RAM, registers and (without VBAT, as on a Blue Pill) backup registers are lost. */
void board_power(struct board *b, bool on);
bool board_powered(const struct board *b);
/* Presses the reset button and lets go after hold_ns. */
void board_press_reset(struct board *b, uint64_t hold_ns);
/* The BOOT pins, sampled at each reset. */
void board_set_boot(struct board *b, bool boot0, bool boot1);

/* Memory as a probe sees it, without side effects and without time passing. Return 0, or -1 when
 * the range is not in flash, RAM, system memory or the option bytes. */
int board_load(struct board *b, uint32_t addr, const void *data, size_t size);
int board_peek(const struct board *b, uint32_t addr, void *data, size_t size);
/* The bits there, as a mask, that BOARD_TORN_MARGINAL left undecided; flash and option bytes only. */
int board_peek_marginal(const struct board *b, uint32_t addr, void *mask, size_t size);
uint32_t board_flash_size(const struct board *b);
uint32_t board_page_size(const struct board *b);
uint32_t board_ram_size(const struct board *b);
/* How often the page was erased since the board was made; 0 for pages that do not exist. */
uint32_t board_page_wear(const struct board *b, unsigned page);
bool board_pin(const struct board *b, char port, unsigned pin); /* the level on the pin */
void board_drive_pin(struct board *b, char port, unsigned pin, bool level); /* from outside */
void board_uart_send(struct board *b, unsigned usart, uint8_t byte);

struct board_counts {
    uint64_t instructions, cycles;
    uint64_t flash_operations; /* erases of any kind + half-words programmed, begun */
    uint64_t page_erases, mass_erases, option_erases, halfwords;
    uint64_t resets; /* starts of the CPU: after power-up too */
    uint64_t watchdog_resets, complaints;
    uint64_t page0_open_ns; /* time that a power cut would have left no vector at 0x08000004 */
    uint64_t page0_windows; /* how often */
    uint64_t flash_faults;  /* operations that failed by order: board_fail_flash() */
};
void board_counts(const struct board *b, struct board_counts *counts);

/* A rule of the hardware that the firmware broke. */
struct board_complaint {
    uint64_t when_ns;
    uint32_t pc, addr;
    char rule[160]; /* "byte store to flash with PG set: only half-words (PM0075 §2.3.3)" */
};
const struct board_complaint *board_complaint(const struct board *b); /* NULL: none */

/* Cuts the power at the n-th flash operation from now (1: the next one). What it leaves: */
enum board_torn {
    BOARD_TORN_NOT_BEGUN, /* the cells are as they were */
    BOARD_TORN_HALF,      /* an erase: the first half of the page; a half-word: the low byte */
    BOARD_TORN_RANDOM,    /* each bit that would change has or has not, by chance (seed) */
    BOARD_TORN_DONE,      /* complete, but the firmware never learnt of it */
    BOARD_TORN_MARGINAL,  /* the bits that would change read as one of these at each power-up: all
                              0, all 1, each by chance; until they are erased or programmed */
};
enum { BOARD_TORN_KINDS = BOARD_TORN_MARGINAL + 1 };
void board_cut_at(struct board *b, uint64_t nth, enum board_torn torn, uint64_t seed);

/* Flash that fails. What an operation does, main flash or option bytes: */
enum board_flash_fault {
    BOARD_FLASH_GOOD,
    BOARD_FLASH_WRPRTERR, /* the flag; nothing is done */
    BOARD_FLASH_PGERR,    /* the same */
    BOARD_FLASH_NO_OP,    /* EOP after the usual time; the cells are as they were */
    BOARD_FLASH_WEAK,     /* EOP; of the bits that should change one in 16 does not, one at least */
    BOARD_FLASH_STUCK,    /* EOP; some bits stay as they are from now on: a 1 is not programmed, a 0
                             not erased any more */
    BOARD_FLASH_BUSY,     /* done, but BSY stays for longer. A core that fetches from flash stands
                             still meanwhile and takes no interrupt (PM0075 §1.1): if BSY stays for
                             ever, only a reset helps, which a watchdog can cause */
};
enum { BOARD_FLASH_FAULTS = BOARD_FLASH_BUSY + 1 };
#define BOARD_FOR_EVER UINT64_MAX

struct board_flash_failure {
    enum board_flash_fault fault;
    uint64_t nth;        /* of the operations from now on the n-th (1: the next); 0: each … */
    uint32_t addr, size; /* … that is about these cells; size 0: any */
    uint16_t bits;    /* STUCK: of each half-word there; 0: one by chance, of the first operation */
    uint64_t busy_ns; /* BUSY: longer by; or BOARD_FOR_EVER */
    uint64_t seed;    /* of what is left to chance */
};
/* From now on flash fails like that, power cycles or not. One failure at a time: another replaces
 * it, NULL or BOARD_FLASH_GOOD makes flash good again. */
void board_fail_flash(struct board *b, const struct board_flash_failure *failure);

/* 32-bit address of the program counter, for reports. */
uint32_t board_pc(const struct board *b);

#endif
