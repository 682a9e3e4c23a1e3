/* SPDX-License-Identifier: MIT */
/* Small files of every kind, made by our own writers (the ELF files by hand), for tests of damage and as
 * what fuzzing begins with. Each holds the same bytes, as far as its kind can tell them. */
#ifndef TESTS_SAMPLES_H
#define TESTS_SAMPLES_H

#include "image/image.h"

enum sample_kind {
    SAMPLE_RAW,
    SAMPLE_SUFFIX, /* raw, with a DFU suffix */
    SAMPLE_ELF,
    SAMPLE_ELF_HEADERS, /* its first segment begins with the file's headers, as GNU ld does it */
    SAMPLE_HEX,
    SAMPLE_SREC,
    SAMPLE_SREC_COUNTED, /* as srec_cat writes it: a count at the end, no end record */
    SAMPLE_SREC_ENDED,   /* as objcopy writes it: no count */
    SAMPLE_DFUSE,        /* two alternate settings, three elements */
    SAMPLE_UF2,
    SAMPLE_UF2_NO_FAMILY,
    SAMPLE_UF2_SEVERAL, /* as SAMPLE_UF2, and behind it another program for another chip */
    SAMPLE_KINDS,
};

struct sample {
    const char *name;
    enum image_format format;
    uint8_t *data; /* the caller frees it */
    size_t size;   /* at most 4 KB */
};

struct sample sample_make(enum sample_kind kind);

#endif
