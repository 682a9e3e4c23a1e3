/* SPDX-License-Identifier: MIT */
#include "host/load.h"
#include "host/report.h"
#include "image/file.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { FLASH_BASE = 0x08000000 };

int load_image(struct image *image, const struct options *o)
{
    const char *path = o->args[0], *name = strcmp(path, "-") ? path : "standard input";
    char why[IMAGE_ERROR_SIZE];
    uint8_t *data;
    size_t size;
    if (image_load(path, &data, &size, why)) {
        report_error("%s", why);
        return EX_NOINPUT;
    }
    int error = image_parse(image, name, data, size, o->has_address ? o->address : FLASH_BASE, why);
    free(data);
    if (error) {
        report_error("%s", why);
        return EX_DATAERR;
    }
    if (image->format != IMAGE_RAW && o->has_address) {
        report_error("%s is an %s file and says itself where it goes; leave --at away", path,
            image_format_name(image->format));
        image_free(image);
        return EX_USAGE;
    }
    return 0;
}
