/* SPDX-License-Identifier: MIT */
#include "samples.h"
#include "image/bytes.h"
#include "image/uf2.h"

#include <elf.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BASE = 0x08000000, SECOND = 0x08001010, OPTIONS = 0x1FFFF800, OTHER_BASE = 0x10000000 };
enum { FIRST_SIZE = 300, VECTORS_SIZE = 64, SECOND_SIZE = 40, OPTIONS_SIZE = 16 };

/* A vector table, then bytes that repeat late. */
static void fill(uint8_t *bytes, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(seed >> 24);
    }
}

static void fill_first(uint8_t bytes[FIRST_SIZE])
{
    fill(bytes, FIRST_SIZE, 1);
    put32(bytes, 0x20005000);
    put32(bytes + 4, BASE + 0x101);
}

static void add(struct image *image, uint8_t alt, uint32_t addr, const uint8_t *data, size_t size)
{
    if (image_add(image, alt, addr, data, size))
        abort();
}

static struct image make_image(enum sample_kind kind)
{
    struct image image;
    uint8_t first[FIRST_SIZE], second[SECOND_SIZE], options[OPTIONS_SIZE];
    uint8_t alt = kind == SAMPLE_DFUSE ? 0 : IMAGE_ANY_ALT;
    char why[IMAGE_ERROR_SIZE];
    image_init(&image, IMAGE_RAW);
    fill_first(first);
    fill(second, sizeof second, 2);
    fill(options, sizeof options, 3);
    add(&image, alt, BASE, first, sizeof first);
    if (kind != SAMPLE_RAW && kind != SAMPLE_SUFFIX)
        add(&image, alt, SECOND, second, sizeof second);
    if (kind == SAMPLE_DFUSE)
        add(&image, 1, OPTIONS, options, sizeof options);
    if (image_settle(&image, "sample", why))
        abort();
    image.vendor = 0x0483;
    image.product = 0xDF11;
    image.suffix = kind == SAMPLE_SUFFIX;
    image.entry = BASE + 0x101;
    image.family = kind == SAMPLE_UF2 || kind == SAMPLE_UF2_SEVERAL ? uf2_family("STM32F1") : 0;
    return image;
}

/* --- ELF ----------------------------------------------------------------------------------------- */

struct elf_file {
    Elf32_Ehdr header;
    Elf32_Phdr segments[2];
    uint8_t first[FIRST_SIZE];
    uint8_t second[SECOND_SIZE];
    uint8_t attributes[35];
    Elf32_Shdr sections[4]; /* nothing, .text, .vectors before it, .ARM.attributes */
};

/* What gcc -mcpu=cortex-m3 says, shortened: one vendor, one file, name and architecture. */
static const uint8_t attributes[35] = "A\x22\0\0\0aeabi\0\x01\x18\0\0\0"
                                      "\x05"
                                      "Cortex-M3\0\x06\x0A\x07\x4D\x09\x02\x22\x01";

static struct sample make_elf(bool headers)
{
    struct elf_file *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    f->header = (Elf32_Ehdr){
        .e_ident = {0x7F, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_ARM,
        .e_version = EV_CURRENT,
        .e_entry = BASE + 0x101,
        .e_phoff = offsetof(struct elf_file, segments),
        .e_shoff = offsetof(struct elf_file, sections),
        .e_ehsize = sizeof(Elf32_Ehdr),
        .e_phentsize = sizeof(Elf32_Phdr),
        .e_phnum = 2,
        .e_shentsize = sizeof(Elf32_Shdr),
        .e_shnum = 4,
    };
    uint32_t first = offsetof(struct elf_file, first), skipped = headers ? first : 0;
    f->segments[0] = (Elf32_Phdr){.p_type = PT_LOAD,
        .p_offset = first - skipped,
        .p_vaddr = BASE - skipped,
        .p_paddr = BASE - skipped,
        .p_filesz = FIRST_SIZE + skipped,
        .p_memsz = FIRST_SIZE + skipped};
    f->segments[1] = (Elf32_Phdr){.p_type = PT_LOAD,
        .p_offset = offsetof(struct elf_file, second),
        .p_vaddr = 0x20000000,
        .p_paddr = SECOND,
        .p_filesz = SECOND_SIZE,
        .p_memsz = SECOND_SIZE + 100};
    f->sections[1] = (Elf32_Shdr){.sh_type = SHT_PROGBITS,
        .sh_flags = SHF_ALLOC,
        .sh_addr = BASE + VECTORS_SIZE,
        .sh_offset = first + VECTORS_SIZE,
        .sh_size = FIRST_SIZE - VECTORS_SIZE};
    f->sections[2] = f->sections[1];
    f->sections[2].sh_addr = BASE;
    f->sections[2].sh_offset = first;
    f->sections[2].sh_size = VECTORS_SIZE;
    f->sections[3] = (Elf32_Shdr){.sh_type = SHT_ARM_ATTRIBUTES,
        .sh_offset = offsetof(struct elf_file, attributes),
        .sh_size = sizeof attributes};
    fill_first(f->first);
    fill(f->second, SECOND_SIZE, 2);
    memcpy(f->attributes, attributes, sizeof attributes);
    return (struct sample){.data = (uint8_t *)f, .size = sizeof *f};
}

/* --- several chips -------------------------------------------------------------------------------- */

static struct sample make(const struct image *image, enum image_format format)
{
    struct sample sample;
    char why[IMAGE_ERROR_SIZE];
    if (image_make(image, "sample", format, &sample.data, &sample.size, why))
        abort();
    return sample;
}

/* Behind the program in the sample one for a chip whose bootloader does not speak DfuSe. */
static void add_other_chip(struct sample *sample)
{
    struct image image;
    uint8_t bytes[FIRST_SIZE];
    image_init(&image, IMAGE_RAW);
    fill(bytes, sizeof bytes, 4);
    add(&image, IMAGE_ANY_ALT, OTHER_BASE, bytes, sizeof bytes);
    image.family = uf2_family("RP2040");
    struct sample other = make(&image, IMAGE_UF2);
    image_free(&image);
    sample->data = realloc(sample->data, sample->size + other.size);
    if (!sample->data)
        abort();
    memcpy(sample->data + sample->size, other.data, other.size);
    sample->size += other.size;
    free(other.data);
}

/* --- all of them --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum image_format format;
} kinds[SAMPLE_KINDS] = {
    [SAMPLE_RAW] = {"raw",           IMAGE_RAW  },
    [SAMPLE_SUFFIX] = {"raw-suffix",    IMAGE_RAW  },
    [SAMPLE_ELF] = {"elf",           IMAGE_ELF  },
    [SAMPLE_ELF_HEADERS] = {"elf-headers",   IMAGE_ELF  },
    [SAMPLE_HEX] = {"hex",           IMAGE_HEX  },
    [SAMPLE_SREC] = {"srec",          IMAGE_SREC },
    [SAMPLE_SREC_COUNTED] = {"srec-counted",  IMAGE_SREC },
    [SAMPLE_SREC_ENDED] = {"srec-ended",    IMAGE_SREC },
    [SAMPLE_DFUSE] = {"dfuse",         IMAGE_DFUSE},
    [SAMPLE_UF2] = {"uf2",           IMAGE_UF2  },
    [SAMPLE_UF2_NO_FAMILY] = {"uf2-no-family", IMAGE_UF2  },
    [SAMPLE_UF2_SEVERAL] = {"uf2-several",   IMAGE_UF2  },
};

static const char srec_count[] = "S5030016E6\n", srec_end[] = "S70508000101F0\n";

struct sample sample_make(enum sample_kind kind)
{
    struct sample sample;
    if (kind == SAMPLE_ELF || kind == SAMPLE_ELF_HEADERS) {
        sample = make_elf(kind == SAMPLE_ELF_HEADERS);
    } else {
        struct image image = make_image(kind);
        sample = make(&image, kinds[kind].format);
        image_free(&image);
    }
    if (kind == SAMPLE_UF2_SEVERAL)
        add_other_chip(&sample);
    if (kind == SAMPLE_SREC_COUNTED)
        sample.size -= strlen(srec_end);
    if (kind == SAMPLE_SREC_ENDED) {
        sample.size -= strlen(srec_count);
        memcpy(sample.data + sample.size - strlen(srec_end), srec_end, strlen(srec_end));
    }
    sample.name = kinds[kind].name;
    sample.format = kinds[kind].format;
    return sample;
}
