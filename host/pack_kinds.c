/* SPDX-License-Identifier: MIT */
#include "host/pack_kinds.h"

#include <string.h>
#include <strings.h>

// clang-format off
static const struct pack_kind kinds[] = {
    {"dfu",    IMAGE_DFUSE, false, {".dfu"}},
    {"hex",    IMAGE_HEX,   false, {".hex", ".ihex", ".ihx"}},
    {"srec",   IMAGE_SREC,  false, {".srec", ".s19", ".s28", ".s37", ".mot", ".s"}},
    {"uf2",    IMAGE_UF2,   false, {".uf2"}},
    {"raw",    IMAGE_RAW,   false, {".bin", ".raw", ".img"}},
    {"suffix", IMAGE_RAW,   true,  {".bin"}},
};
// clang-format on

enum { KINDS = sizeof kinds / sizeof kinds[0] };

const struct pack_kind *pack_kind_named(const char *name)
{
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

const struct pack_kind *pack_kind_of_file(const char *path)
{
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < KINDS; i++)
        for (size_t k = 0; kinds[i].endings[k]; k++)
            if (strcasecmp(kinds[i].endings[k], dot) == 0)
                return &kinds[i];
    return &kinds[0];
}
