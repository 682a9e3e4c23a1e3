/* SPDX-License-Identifier: MIT */
#include "image/elf.h"

#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool elf_detect(const uint8_t *data, size_t size)
{
    return size >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0;
}

static int complain(char why[IMAGE_ERROR_SIZE], const char *name, const char *what)
{
    snprintf(why, IMAGE_ERROR_SIZE, "%s %s", name, what);
    return -1;
}

/* Names for the machines that one is likely to have built for by mistake. */
static const char *machine_name(unsigned machine)
{
    // clang-format off
    static const struct { unsigned machine; const char *name; } names[] = {
        {EM_386, "x86"}, {EM_X86_64, "x86-64"}, {EM_AARCH64, "64-bit ARM"}, {EM_RISCV, "RISC-V"},
        {EM_AVR, "AVR"}, {EM_XTENSA, "Xtensa"}, {EM_MIPS, "MIPS"}, {EM_MSP430, "MSP430"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].machine == machine)
            return names[i].name;
    return NULL;
}

/* ident has been seen to be complete. */
static int check_ident(const char *name, const uint8_t *data, char why[IMAGE_ERROR_SIZE])
{
    unsigned machine = (unsigned)(data[18] | data[19] << 8);
    if (data[EI_DATA] == ELFDATA2MSB)
        machine = (unsigned)(data[18] << 8 | data[19]);
    const char *other = machine_name(machine);
    if (machine != EM_ARM) {
        char number[24];
        snprintf(number, sizeof number, "machine %u", machine);
        snprintf(why, IMAGE_ERROR_SIZE,
            "%s is a program for %s, not for a Cortex-M; build it with arm-none-eabi-gcc", name,
            other ? other : number);
        return -1;
    }
    if (data[EI_CLASS] != ELFCLASS32)
        return complain(why, name, "is not a 32-bit ELF file: not for a Cortex-M");
    if (data[EI_DATA] != ELFDATA2LSB)
        return complain(why, name, "is big-endian: not for an STM32");
    return 0;
}

/*
 * Where a segment's own bytes begin. GNU ld lets the first segment start with the file's headers if
 * the addresses permit (they do at 0x08010000): bytes that no section covers and nobody wants in
 * flash, below the vector table.
 */
static uint32_t first_section(Elf *elf, const Elf32_Phdr *p, uint32_t headers_end)
{
    if (p->p_offset >= headers_end)
        return p->p_offset;
    uint32_t first = p->p_offset + p->p_filesz;
    size_t sections = 0;
    for (Elf_Scn *s = elf_nextscn(elf, NULL); s; s = elf_nextscn(elf, s)) {
        const Elf32_Shdr *h = elf32_getshdr(s);
        sections++;
        if (h && h->sh_flags & SHF_ALLOC && h->sh_type != SHT_NOBITS &&
            h->sh_offset >= p->p_offset && h->sh_offset < first && h->sh_size)
            first = h->sh_offset;
    }
    return sections ? first : p->p_offset; /* stripped of its section table: believe the segment */
}

static int add_segment(struct image *image, Elf *elf, const Elf32_Phdr *p, uint32_t headers_end,
    const char *name, const uint8_t *data, size_t size, char why[IMAGE_ERROR_SIZE])
{
    if (p->p_offset > size || p->p_filesz > size - p->p_offset)
        return complain(
            why, name, "is cut short: a segment lies behind its end; build or copy it again");
    uint32_t skip = first_section(elf, p, headers_end) - p->p_offset;
    if (p->p_filesz - skip > (uint64_t)UINT32_MAX + 1 - p->p_paddr - skip)
        return complain(why, name, "has a segment that ends behind the last address");
    if (image_add(
            image, IMAGE_ANY_ALT, p->p_paddr + skip, data + p->p_offset + skip, p->p_filesz - skip))
        return complain(why, name, ": out of memory");
    return 0;
}

static int add_segments(struct image *image, Elf *elf, const char *name, const uint8_t *data,
    size_t size, char why[IMAGE_ERROR_SIZE])
{
    const Elf32_Ehdr *header = elf32_getehdr(elf);
    size_t count;
    /* libelf hands out pointers into the file: they are no good if the tables are not aligned. */
    if (!header || header->e_phoff % 4 || header->e_shoff % 4 || elf_getphdrnum(elf, &count))
        return complain(why, name, "has a damaged ELF header; build or copy it again");
    const Elf32_Phdr *segments = count ? elf32_getphdr(elf) : NULL;
    if (count && !segments)
        return complain(
            why, name, "is cut short or damaged: no segment table; build or copy it again");
    uint32_t headers_end = header->e_ehsize + (uint32_t)(header->e_phentsize * count);
    int err = 0;
    for (size_t i = 0; i < count && !err; i++)
        if (segments[i].p_type == PT_LOAD && segments[i].p_filesz)
            err = add_segment(image, elf, &segments[i], headers_end, name, data, size, why);
    if (!err && image->count == 0)
        return complain(why, name,
            header->e_type == ET_REL ? "is an object file, not a program; link it first"
                                     : "has no loadable segments: nothing to write");
    return err;
}

int elf_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE])
{
    if (size < EI_NIDENT + 4)
        return complain(why, name, "is cut short in its ELF header; build or copy it again");
    if (check_ident(name, data, why))
        return -1;
    char *copy = malloc(size); /* libelf may write to what it is given */
    if (!copy || elf_version(EV_CURRENT) == EV_NONE) {
        free(copy);
        return complain(why, name, ": out of memory");
    }
    memcpy(copy, data, size);
    Elf *elf = elf_memory(copy, size);
    int err = elf ? add_segments(image, elf, name, data, size, why)
                  : complain(why, name, "has a damaged ELF header; build or copy it again");
    elf_end(elf);
    free(copy);
    return err;
}
