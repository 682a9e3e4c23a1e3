/* SPDX-License-Identifier: MIT */
/* What Intel HEX and S-records have in common: text, one record of hexadecimal digits a line. */
#ifndef IMAGE_RECORDS_H
#define IMAGE_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECORDS_BYTES = 1 + 2 + 2 + 255 }; /* more than a record of either kind can have */

struct records {
    const uint8_t *at, *end;
    unsigned line; /* of the record that was handed out last, from 1 on */
};

/* The next line that is not blank, without the space around it; false at the end. Lines end as on any
 * system: LF, CR LF, CR. */
bool records_next(struct records *records, const uint8_t **text, size_t *size);

/* Turns digits into bytes; how many, or -1 if there is a character that is no digit, an odd number of
 * them, or more than fit. */
int records_decode(const uint8_t *text, size_t size, uint8_t bytes[RECORDS_BYTES]);

/* Turns bytes into digits, upper case as is usual; returns where the text ends. */
char *records_encode(char *text, const uint8_t *bytes, size_t size);

/* Whether a file holds records that begin with mark and, if typed, a decimal digit: its first line
 * begins like one, or it is text (but for a damaged byte) of which a line is one. */
bool records_detect(const uint8_t *data, size_t size, char mark, bool typed);

#endif
