/* SPDX-License-Identifier: MIT */
#include "host/load.h"
#include "host/report.h"
#include "image/file.h"
#include "image/uf2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { FLASH_BASE = 0x08000000 };

int load_code(int err, int code)
{
    return err == IMAGE_NO_MEMORY ? EX_OSERR : err ? code : 0;
}

int load_choose(const struct options *o, const char *name, uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE])
{
    bool uf2 = image_detect(data, size) == IMAGE_UF2;
    if (!o->family || (uf2 && uf2_choose(data, size, o->family)))
        return 0;
    if (uf2)
        snprintf(why, IMAGE_ERROR_SIZE, "%s holds no program for family 0x%08x", name, o->family);
    else
        snprintf(why, IMAGE_ERROR_SIZE, "%s is no UF2 file; leave --family away", name);
    return EX_DATAERR;
}

int load_image(struct image *image, const struct options *o)
{
    const char *path = o->args[0], *name = strcmp(path, "-") ? path : "standard input";
    char why[IMAGE_ERROR_SIZE];
    uint8_t *data;
    size_t size;
    int error = load_code(image_load(path, &data, &size, why), EX_NOINPUT);
    if (!error) {
        uint32_t addr = o->has_address ? o->address : FLASH_BASE;
        error = load_choose(o, name, data, size, why);
        if (!error)
            error = load_code(image_parse(image, name, data, size, addr, why), EX_DATAERR);
        free(data);
    }
    if (error) {
        report_error("%s", why);
        return error;
    }
    if (image->format != IMAGE_RAW && o->has_address) {
        report_error("%s is an %s file and says itself where it goes; leave --at away", path,
            image_format_name(image->format));
        image_free(image);
        return EX_USAGE;
    }
    return 0;
}
