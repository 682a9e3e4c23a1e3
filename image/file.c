/* SPDX-License-Identifier: MIT */
#include "image/file.h"
#include "image/elf.h"
#include "image/why.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_SIZE_MAX = 256 << 20 }; /* nothing that is flashed is larger; keeps /dev/zero away */

int image_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    uint32_t raw_addr, char why[IMAGE_ERROR_SIZE])
{
    if (image_detect(data, size) != IMAGE_ELF)
        return image_parse_plain(image, name, data, size, raw_addr, why);
    image_init(image, IMAGE_ELF);
    int err = elf_parse(image, name, data, size, why);
    if (!err)
        err = image_settle(image, name, why);
    if (err)
        image_free(image);
    return err;
}

/* Reads to the end of the file. A file that grows past all bounds is given up. */
static int slurp(FILE *file, uint8_t **data, size_t *size)
{
    size_t room = 1 << 16, used = 0;
    uint8_t *buffer = malloc(room);
    while (buffer) {
        used += fread(buffer + used, 1, room - used, file);
        if (used < room)
            break;
        errno = EFBIG;
        uint8_t *grown = room < FILE_SIZE_MAX ? realloc(buffer, room *= 2) : NULL;
        if (!grown)
            free(buffer);
        buffer = grown;
    }
    if (buffer && ferror(file)) {
        free(buffer);
        buffer = NULL;
    }
    *data = buffer;
    *size = used;
    return buffer ? 0 : -1;
}

int image_load(const char *path, uint8_t **data, size_t *size, char why[IMAGE_ERROR_SIZE])
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    int err = file ? slurp(file, data, size) : -1;
    if (err)
        snprintf(why, IMAGE_ERROR_SIZE, "cannot read %s: %s", standard ? "standard input" : path,
            strerror(errno));
    if (err && errno == ENOMEM)
        err = why_memory(why, standard ? "standard input" : path);
    if (file && !standard)
        fclose(file);
    return err;
}

int image_read(struct image *image, const char *path, uint32_t raw_addr, char why[IMAGE_ERROR_SIZE])
{
    uint8_t *data;
    size_t size;
    image_init(image, IMAGE_RAW);
    int err = image_load(path, &data, &size, why);
    if (err)
        return err;
    const char *name = strcmp(path, "-") ? path : "standard input";
    err = image_parse(image, name, data, size, raw_addr, why);
    free(data);
    return err;
}

int image_write_raw(const char *path, const uint8_t *data, size_t size, char why[IMAGE_ERROR_SIZE])
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdout : fopen(path, "wb");
    bool good = file && fwrite(data, 1, size, file) == size && fflush(file) == 0;
    int error = errno;
    if (file && !standard && fclose(file) && good) {
        good = false;
        error = errno;
    }
    if (good)
        return 0;
    if (error == ENOMEM)
        return why_memory(why, standard ? "standard output" : path);
    snprintf(why, IMAGE_ERROR_SIZE, "cannot write %s: %s", standard ? "standard output" : path,
        strerror(error));
    return -1;
}
