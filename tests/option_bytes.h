/* SPDX-License-Identifier: MIT */
/* The option bytes of boards (PM0075), as the eight that count; each has its complement behind it. */
#ifndef TESTS_OPTION_BYTES_H
#define TESTS_OPTION_BYTES_H

#include "dfu_host.h"

enum option { RDP, USER, DATA0, DATA1, WRP0, WRP1, WRP2, WRP3, OPTIONS };
enum { RDP_OFF = 0xA5, RDP_ON = 0x00 };
#define OPTIONS_SHIPPED                                                                            \
    {                                                                                              \
        RDP_OFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF                                          \
    }

/* As a host writes them, without complements: the chip adds them. */
void option_bytes(uint8_t bytes[OPTION_BYTES_SIZE], const uint8_t options[OPTIONS]);
/* With complements, by a probe; in force from the next reset on. */
void load_options(struct board *b, const uint8_t options[OPTIONS]);
/* The same, and a power cycle. */
void power_with_options(struct board *b, const uint8_t options[OPTIONS]);
/* The same, then the application runs, and the reset button has led to DFU. */
void dfu_with_options(struct host *h, const struct app *app, const uint8_t options[OPTIONS]);
/* They are these, and have their complements. */
#define check_options(b, options) check_options_at(__LINE__, b, options)
void check_options_at(int line, const struct board *b, const uint8_t options[OPTIONS]);

#endif
