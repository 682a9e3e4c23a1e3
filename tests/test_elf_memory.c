/* SPDX-License-Identifier: MIT */
/* libelf is given the file as it was read, without a copy of its own to write to: it must not write. Here the
 * file's memory cannot be written. */
#include "image/elf.h"
#include "image/image.h"
#include "tests/samples.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ROOM = 1 << 16 };

static uint8_t *memory;

/* at: where in memory the file begins, as tables that are not aligned are converted. */
static void parse_sealed(const struct sample *sample, size_t at, size_t damaged, uint8_t value)
{
    struct image image;
    char why[IMAGE_ERROR_SIZE];
    cr_assert(mprotect(memory, ROOM, PROT_READ | PROT_WRITE) == 0);
    memcpy(memory + at, sample->data, sample->size);
    memory[at + damaged] = value;
    cr_assert(mprotect(memory, ROOM, PROT_READ) == 0);
    image_init(&image, IMAGE_ELF);
    elf_parse(&image, "sealed", memory + at, sample->size, why);
    image_free(&image);
}

Test(elf_memory, libelf_writes_to_no_file_whole_or_damaged, .timeout = 120)
{
    static const uint8_t flips[] = {0x00, 0x01, 0x02, 0x80, 0xFF};
    memory = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(memory != MAP_FAILED);
    for (int kind = SAMPLE_ELF; kind <= SAMPLE_ELF_HEADERS; kind++) {
        struct sample sample = sample_make((enum sample_kind)kind);
        cr_assert(sample.size < ROOM - 4);
        for (size_t at = 0; at < 4; at++)
            for (size_t i = 0; i < sample.size; i++)
                for (size_t f = 0; f < sizeof flips; f++)
                    parse_sealed(&sample, at, i, sample.data[i] ^ flips[f]);
        free(sample.data);
    }
}
