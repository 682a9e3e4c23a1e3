/* SPDX-License-Identifier: MIT */
#include "image/raw.h"
#include "image/suffix.h"
#include "image/why.h"

int raw_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    uint32_t addr, char why[IMAGE_ERROR_SIZE])
{
    size_t length = 0;
    if (suffix_read(image, data, size, &length) == SUFFIX_DAMAGED)
        return suffix_complain(name, data, size, why);
    size -= length;
    if (size > (uint64_t)UINT32_MAX + 1 - addr)
        return why_file(
            why, name, "(%zu bytes) at 0x%08x ends behind the last address", size, addr);
    if (image_add(image, IMAGE_ANY_ALT, addr, data, size))
        return why_memory(why, name);
    return 0;
}

int raw_make(
    const struct image *image, const char *name, struct out *out, char why[IMAGE_ERROR_SIZE])
{
    if (image->count != 1)
        return why_file(why, name,
            "would need %zu parts and a raw file has one; use another format, or unpack",
            image->count);
    out_add(out, image->segments[0].data, image->segments[0].size);
    if (image->suffix)
        suffix_add(out, image, SUFFIX_DFU_1_0);
    return 0;
}
