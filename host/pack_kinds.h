/* SPDX-License-Identifier: MIT */
/* The kinds of file that pack and unpack can make, by the name that --format gives them or by what the
 * file's own name ends with. */
#ifndef HOST_PACK_KINDS_H
#define HOST_PACK_KINDS_H

#include "image/image.h"

struct pack_kind {
    const char *name; /* of --format */
    enum image_format format;
    bool suffix;            /* raw bytes with a DFU suffix */
    const char *endings[7]; /* of file names; unpack uses the first; NULL ends them */
};

/* "raw", "suffix", "hex", "srec", "uf2", "dfu". NULL if there is none of that name. */
const struct pack_kind *pack_kind_named(const char *name);
/* "firmware.s37" is "srec"; what ends otherwise is "dfu". */
const struct pack_kind *pack_kind_of_file(const char *path);

#endif
