/* SPDX-License-Identifier: MIT */
/*
 * Private to sim/: the board from inside, as its peripherals see it.
 *
 * Each peripheral keeps its state in one struct without pointers (so that a copy of the board is a
 * snapshot) and is one row of the table in board.c. Peripherals never run the CPU; they set state,
 * move interrupt lines and ask to be called at a time.
 */
#ifndef SIM_MACHINE_H
#define SIM_MACHINE_H

#include "board.h"
#include "cpu.h"

enum reset_kind { RESET_POWER, RESET_SYSTEM }; /* system: pin, watchdog or software */

/* A row of a device's register table. With a table the board itself refuses undefined offsets, joins
 * narrow accesses to words (on APB a byte or half-word store is replicated over the 32 lines, as
 * the bridge does; elsewhere it is merged) and names registers in traces. */
struct reg {
    const char *name;
    uint16_t offset;
    uint32_t reset, writable;
};

struct device {
    const char *name; /* as the manual has it: "USART1" */
    uint32_t base, size;
    /* Bit in RCC that clocks it, as (register offset << 8 | bit); 0: always clocked. The board
     * answers 0 to reads and drops writes while the clock is off (RM0008, RCC). */
    uint16_t clock;
    uint32_t (*read)(struct board *b, const struct device *d, uint32_t offset, unsigned size);
    void (*write)(
        struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value);
    void (*reset)(struct board *b, const struct device *d, enum reset_kind kind);
    void (*tick)(struct board *b, const struct device *d); /* its deadline has come */
    unsigned index; /* which of several: 0 for USART1, 1 for USART2 … */
    const struct reg *regs; /* NULL: read and write see every access as it is */
    unsigned reg_count;
    uint8_t density; /* parts that have it, DENSITY_… of sim/parts.h; 0: all */
};

/* What peripherals may ask of the board. */
uint64_t board_now(const struct board *b);
void board_set_deadline(struct board *b, const struct device *d, uint64_t when_ns); /* UINT64_MAX: none */
void board_irq(struct board *b, unsigned irq, bool level);
/* The firmware broke a rule of the hardware. printf-like; end with the manual's section. */
void board_break_rule(struct board *b, uint32_t addr, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The access under way becomes a bus fault. */
void board_bus_fault(struct board *b);
void board_log(struct board *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool board_tracing(const struct board *b, unsigned what);
void board_tell_transfer(struct board *b, const struct usb_transfer *transfer);
void board_trace(struct board *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint32_t board_hclk_hz(const struct board *b);
uint32_t board_pclk1_hz(const struct board *b);
uint32_t board_pclk2_hz(const struct board *b);
/* CPU cycles, and the time at which a count of them is reached: for what counts clocks. */
uint64_t board_cycles(const struct board *b);
uint64_t board_time_of(const struct board *b, uint64_t cycles);
/* 48 MHz for USB: running, from the crystal (or HSI where allowed), USBPRE right. NULL when so, else
 * what is wrong with it. */
const char *board_usb_clock_fault(const struct board *b);
uint64_t board_random(struct board *b); /* the board's seeded generator */

/* GPIO, to the USB model: is PA12 (D+) driven low by the firmware? Is D+ pulled up, for good or by the
 * pin that switches it? */
bool gpio_drives_low(const struct board *b, char port, unsigned pin);
bool gpio_pulls_up_usb(const struct board *b);

/* Is the device's clock on in RCC? (Without it the USB peripheral does not answer on the bus.) */
bool board_clocked(const struct board *b, const struct device *d);

/* sim/usb_host.c: D+ may have changed. Call it when the firmware changes what drives PA12 or its pull-up;
 * without the call the host sees it within 100 us. */
void usb_pin_changed(struct board *b);

/* sim/usb_device.c: the peripheral's end of the wire, called by the host at a transaction's time. */
extern const struct device usb_device_registers, usb_device_memory;

#endif
