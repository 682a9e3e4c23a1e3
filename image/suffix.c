/* SPDX-License-Identifier: MIT */
#include "image/suffix.h"
#include "image/bytes.h"
#include "image/crc32.h"
#include "image/why.h"

#include <string.h>

enum { /* DFU 1.1 appendix B, from the beginning of the last sixteen bytes */
    DEVICE = 0,
    PRODUCT = 2,
    VENDOR = 4,
    DFU = 6,
    SIGNATURE = 8,
    LENGTH = 11,
    CRC = 12,
};

static bool has_marks(const uint8_t *suffix)
{
    return memcmp(suffix + SIGNATURE, "UFD", 3) == 0 && suffix[LENGTH] >= SUFFIX_SIZE;
}

/* bcdDFU of 1.0, 1.1 or DfuSe, signature and bLength, with one of these six bytes wrong. */
static bool had_marks(const uint8_t *suffix)
{
    return resembles(suffix + DFU, "\x00\x01UFD\x10", 6) ||
           resembles(suffix + DFU, "\x10\x01UFD\x10", 6) ||
           resembles(suffix + DFU, "\x1A\x01UFD\x10", 6);
}

enum suffix_state suffix_read(struct image *image, const uint8_t *data, size_t size, size_t *length)
{
    if (size < SUFFIX_SIZE)
        return SUFFIX_NONE;
    const uint8_t *suffix = data + size - SUFFIX_SIZE;
    if (!has_marks(suffix))
        return had_marks(suffix) ? SUFFIX_DAMAGED : SUFFIX_NONE;
    *length = suffix[LENGTH];
    if (*length > size || crc32_dfu(data, size - 4) != get32(suffix + CRC))
        return SUFFIX_DAMAGED;
    image->suffix = true;
    image->device = get16(suffix + DEVICE);
    image->product = get16(suffix + PRODUCT);
    image->vendor = get16(suffix + VENDOR);
    return SUFFIX_GOOD;
}

int suffix_complain(const char *name, const uint8_t *data, size_t size, char why[IMAGE_ERROR_SIZE])
{
    size_t at = size - SUFFIX_SIZE;
    if (!has_marks(data + at))
        return why_byte(why, name, at + DFU,
            "the DFU suffix is damaged: not \"UFD\" and its length; copy the file again");
    if (data[at + LENGTH] > size)
        return why_byte(why, name, at + LENGTH,
            "the DFU suffix is longer than the file; it is damaged, copy it again");
    return why_byte(why, name, at + CRC,
        "the checksum is 0x%08x and should be 0x%08x; the file is damaged, copy it again",
        get32(data + at + CRC), crc32_dfu(data, size - 4));
}

void suffix_add(struct out *out, const struct image *image, uint16_t version)
{
    uint8_t suffix[SUFFIX_SIZE];
    put16(suffix + DEVICE, image->device);
    put16(suffix + PRODUCT, image->product);
    put16(suffix + VENDOR, image->vendor);
    put16(suffix + DFU, version);
    memcpy(suffix + SIGNATURE, "UFD", 3);
    suffix[LENGTH] = SUFFIX_SIZE;
    out_add(out, suffix, CRC);
    put32(suffix + CRC, crc32_dfu(out->data, out->size));
    out_add(out, suffix + CRC, sizeof suffix - CRC);
}
