/* SPDX-License-Identifier: MIT */
/* Writes what fuzzing begins with into the directory that it is given: one directory a target, in it files
 * that our own writers make. */
#include "image/file.h"
#include "targets.h"
#include "tests/samples.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void put(
    const char *directory, const char *target, const char *name, const void *data, size_t size)
{
    char path[512];
    char why[IMAGE_ERROR_SIZE];
    snprintf(path, sizeof path, "%s/%s", directory, target);
    if (mkdir(path, 0777) && errno != EEXIST) {
        perror(path);
        exit(1);
    }
    snprintf(path, sizeof path, "%s/%s/%s", directory, target, name);
    if (image_write_raw(path, data, size, why)) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
}

static const char *target_of(const struct sample *sample)
{
    static const char *const targets[] = {
        [IMAGE_RAW] = "suffix",
        [IMAGE_ELF] = "elf",
        [IMAGE_HEX] = "hex",
        [IMAGE_DFUSE] = "dfuse",
        [IMAGE_SREC] = "srec",
        [IMAGE_UF2] = "uf2",
    };
    return targets[sample->format];
}

int main(int argc, char **argv)
{
    static const char *const maps[] = {
        "@Internal Flash  /0x08000000/04*016Kg,01*064Kg,07*128Kg",
        "@Option Bytes   /0x1FFF7800/01*048 e/0x1FFFF800/01*048 e",
        "@Device Feature/0xFFFF0000/01*004 g",
        "@F/0x08000000-0x00000000/ 4* 1Kg,99999*1Mh/",
    };
    /* a download and its end; a read; an error and the way out of it */
    static const uint8_t sessions[][14] = {
        {0, 1, 1, 3, 1, 3, 0, 1, 0, 3, 0, 3, 0, 0},
        {0, 2, 1, 2, 0, 6, 0, 5, 0, 1, 1, 2, 0, 4},
        {8, 6, 0, 4, 0, 1, 1, 3, 1, 6, 0, 7, 1, 2},
    };
    if (argc != 2) {
        fprintf(stderr, "usage: seeds DIRECTORY\n");
        return 64;
    }
    for (int kind = 0; kind < SAMPLE_KINDS; kind++) {
        struct sample s = sample_make((enum sample_kind)kind);
        put(argv[1], target_of(&s), s.name, s.data, s.size);
        put(argv[1], "any", s.name, s.data, s.size);
        free(s.data);
    }
    for (unsigned i = 0; i < sizeof maps / sizeof maps[0]; i++)
        put(argv[1], "memory_map", (char[]){(char)('a' + i), '\0'}, maps[i], strlen(maps[i]));
    for (unsigned i = 0; i < sizeof sessions / sizeof sessions[0]; i++)
        put(argv[1], "dfu_state", (char[]){(char)('a' + i), '\0'}, sessions[i], sizeof sessions[i]);
    return 0;
}
