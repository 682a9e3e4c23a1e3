/* SPDX-License-Identifier: MIT */
#include "image/elf.h"
#include "image/bytes.h"
#include "image/why.h"

#include <errno.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MACHINE_AT = 18 }; /* e_machine */

static const char rebuild[] = "build or copy it again";

struct reader {
    struct image *image;
    const char *name;
    const uint8_t *data;
    size_t size;
    char *why;
    Elf *elf;
};

#define complain(reader, offset, ...) why_byte((reader)->why, (reader)->name, offset, __VA_ARGS__)

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

/* What can be told before libelf is asked. */
static int check_ident(const struct reader *r)
{
    const uint8_t *data = r->data;
    if (r->size < sizeof(Elf32_Ehdr))
        return complain(r, r->size, "the file is cut short in its ELF header; %s", rebuild);
    if (memcmp(data, ELFMAG, SELFMAG))
        return complain(r, 0, "not quite an ELF file's first bytes; %s", rebuild);
    unsigned machine = get16(data + MACHINE_AT);
    if (data[EI_DATA] == ELFDATA2MSB)
        machine = (unsigned)(data[MACHINE_AT] << 8 | data[MACHINE_AT + 1]);
    const char *other = machine_name(machine);
    if (machine != EM_ARM) {
        char number[24];
        snprintf(number, sizeof number, "machine %u", machine);
        return complain(r, MACHINE_AT,
            "a program for %s, not for a Cortex-M; build it with arm-none-eabi-gcc",
            other ? other : number);
    }
    if (data[EI_CLASS] != ELFCLASS32)
        return complain(r, EI_CLASS, "not a 32-bit ELF file: not for a Cortex-M");
    if (data[EI_DATA] != ELFDATA2LSB)
        return complain(r, EI_DATA, "not little-endian: not for an STM32");
    return 0;
}

static bool has_bytes(const Elf32_Shdr *h)
{
    return h->sh_flags & SHF_ALLOC && h->sh_type != SHT_NOBITS && h->sh_size;
}

/* Of a segment that begins with the file: the offset of its first section, or of its end if it has none. -1
 * if one lies elsewhere than its address says. */
static int64_t first_section(Elf *elf, const Elf32_Phdr *p)
{
    uint32_t first = p->p_filesz;
    for (Elf_Scn *s = elf_nextscn(elf, NULL); s; s = elf_nextscn(elf, s)) {
        const Elf32_Shdr *h = elf32_getshdr(s);
        if (!h || !has_bytes(h) || h->sh_offset >= p->p_filesz)
            continue;
        if (h->sh_addr - p->p_vaddr != h->sh_offset)
            return -1;
        if (h->sh_offset < first)
            first = h->sh_offset;
    }
    return first;
}

/*
 * How many bytes at a segment's beginning are not the program's, or -1. GNU ld lets the first segment start
 * with the file's headers if the addresses permit (they do at 0x08010000): bytes that no section covers and
 * nobody wants in flash, below the vector table; then zeros up to the first section.
 */
static int64_t count_headers(const struct reader *r, const Elf32_Phdr *p, size_t headers_end)
{
    const Elf32_Ehdr *header = elf32_getehdr(r->elf);
    if (p->p_offset != 0 ||
        header->e_shnum == 0) /* stripped of its sections: believe the segment */
        return 0;
    int64_t first = first_section(r->elf, p);
    size_t zeros = headers_end;
    while ((int64_t)zeros < first && r->data[zeros] == 0)
        zeros++;
    if ((int64_t)zeros < first || first < 0)
        return complain(r, header->e_shoff,
            "the section table does not match the segments; the file is damaged, %s", rebuild);
    return first;
}

static int add_segment(
    const struct reader *r, const Elf32_Phdr *p, size_t header_at, size_t headers_end)
{
    if (p->p_offset > r->size || p->p_filesz > r->size - p->p_offset)
        return complain(r, header_at,
            "a segment lies behind the end of the file, at byte 0x%zx; %s", r->size, rebuild);
    int64_t skip = count_headers(r, p, headers_end);
    if (skip < 0)
        return -1;
    const uint8_t *bytes = r->data + p->p_offset + skip;
    uint32_t addr = p->p_paddr + (uint32_t)skip, size = p->p_filesz - (uint32_t)skip;
    if (size > (uint64_t)UINT32_MAX + 1 - addr)
        return complain(r, header_at, "a segment ends behind the last address; %s", rebuild);
    if (image_add(r->image, IMAGE_ANY_ALT, addr, bytes, size))
        return why_memory(r->why, r->name);
    return 0;
}

static int add_segments(const struct reader *r, const Elf32_Ehdr *header)
{
    size_t count;
    /* libelf hands out pointers into the file: they are no good if the tables are not aligned. */
    if (header->e_phoff % 4 || header->e_shoff % 4 || elf_getphdrnum(r->elf, &count))
        return complain(r, 0, "the ELF header is damaged; %s", rebuild);
    const Elf32_Phdr *segments = count ? elf32_getphdr(r->elf) : NULL;
    if (count && (!segments || header->e_phentsize != sizeof *segments))
        return complain(
            r, header->e_phoff, "no segment table; the file is cut short or damaged, %s", rebuild);
    size_t headers_end = sizeof *header + sizeof *segments * count;
    int err = 0;
    for (size_t i = 0; i < count && !err; i++)
        if (segments[i].p_type == PT_LOAD && segments[i].p_filesz)
            err = add_segment(r, &segments[i], header->e_phoff + i * sizeof *segments, headers_end);
    if (!err && r->image->count == 0)
        return why_file(r->why, r->name,
            header->e_type == ET_REL ? "is an object file, not a program; link it first"
                                     : "has no loadable segments: nothing to write");
    return err;
}

/* --- the core that it was compiled for: "Addenda to the ABI for the Arm Architecture", build attributes - */

enum { TAG_FILE = 1, TAG_CPU_RAW_NAME = 4, TAG_CPU_NAME = 5, TAG_CPU_ARCH = 6 };
enum { TAG_COMPATIBILITY = 32, TAG_TEXT_FROM = 32 /* then odd ones have text */ };

struct attributes {
    const uint8_t *at, *end;
};

static uint32_t take_number(struct attributes *a) /* ULEB128; small in all that is of interest */
{
    uint32_t value = 0;
    for (unsigned shift = 0; a->at < a->end; shift += 7) {
        uint8_t byte = *a->at++;
        if (shift < 28)
            value |= (uint32_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            break;
    }
    return value;
}

/* Text up to its NUL; NULL if there is none. */
static const char *take_text(struct attributes *a)
{
    const uint8_t *text = a->at;
    const uint8_t *nul = text < a->end ? memchr(text, 0, (size_t)(a->end - text)) : NULL;
    a->at = nul ? nul + 1 : a->end;
    return nul ? (const char *)text : NULL;
}

/* A part that begins with its own size; what is left of it once skip bytes are behind. False if the size
 * makes no sense. */
static bool take_part(struct attributes *a, size_t skip, struct attributes *part)
{
    size_t left = (size_t)(a->end - a->at);
    if (left < skip + 4)
        return false;
    uint32_t size = get32(a->at + skip);
    if (size < skip + 4 || size > left)
        return false;
    *part = (struct attributes){a->at + skip + 4, a->at + size};
    a->at += size;
    return true;
}

static const char *arch_name(uint32_t arch)
{
    // clang-format off
    static const char *const names[] = {
        [10] = "ARMv7", [11] = "ARMv6-M", [12] = "ARMv6S-M", [13] = "ARMv7E-M",
        [16] = "ARMv8-M baseline", [17] = "ARMv8-M mainline", [21] = "ARMv8.1-M mainline",
    };
    // clang-format on
    return arch < sizeof names / sizeof names[0] ? names[arch] : NULL;
}

/* A processor's name is better than its architecture's. */
static void read_attributes(struct attributes a, char target[IMAGE_TARGET_SIZE])
{
    while (a.at < a.end) {
        uint32_t tag = take_number(&a);
        const char *text = NULL;
        if (tag == TAG_CPU_ARCH) {
            const char *arch = arch_name(take_number(&a));
            if (arch && !target[0])
                snprintf(target, IMAGE_TARGET_SIZE, "%s", arch);
            continue;
        }
        if (tag == TAG_COMPATIBILITY)
            take_number(&a);
        if (tag == TAG_CPU_RAW_NAME || tag == TAG_CPU_NAME || tag == TAG_COMPATIBILITY ||
            (tag > TAG_TEXT_FROM && tag % 2))
            text = take_text(&a);
        else
            take_number(&a);
        if (tag == TAG_CPU_NAME && text) /* "7-M" is what the linker makes of files that differ */
            snprintf(target, IMAGE_TARGET_SIZE, "%s%s",
                text[0] >= '0' && text[0] <= '9' ? "ARMv" : "", text);
    }
}

static void read_target(const struct reader *r, const Elf32_Shdr *section)
{
    if (section->sh_offset >= r->size || section->sh_size > r->size - section->sh_offset ||
        section->sh_size == 0 || r->data[section->sh_offset] != 'A')
        return;
    struct attributes whole = {
        r->data + section->sh_offset + 1, r->data + section->sh_offset + section->sh_size};
    struct attributes vendor, file;
    while (take_part(&whole, 0, &vendor)) {
        const char *name = take_text(&vendor);
        if (!name || strcmp(name, "aeabi"))
            continue;
        while (take_part(&vendor, 1, &file))
            if (file.at[-5] == TAG_FILE)
                read_attributes(file, r->image->target);
    }
}

static void find_target(const struct reader *r)
{
    for (Elf_Scn *s = elf_nextscn(r->elf, NULL); s; s = elf_nextscn(r->elf, s)) {
        const Elf32_Shdr *h = elf32_getshdr(s);
        if (h && h->sh_type == SHT_ARM_ATTRIBUTES)
            read_target(r, h);
    }
}

static int read_elf(const struct reader *r)
{
    const Elf32_Ehdr *header = r->elf ? elf32_getehdr(r->elf) : NULL;
    if (!header)
        return complain(r, 0, "the ELF header is damaged; %s", rebuild);
    int err = add_segments(r, header);
    if (err)
        return err;
    r->image->entry = header->e_entry;
    find_target(r);
    return 0;
}

int elf_parse(struct image *image, const char *name, const uint8_t *data, size_t size,
    char why[IMAGE_ERROR_SIZE])
{
    struct reader r = {.image = image, .name = name, .data = data, .size = size, .why = why};
    if (check_ident(&r))
        return -1;
    elf_version(EV_CURRENT);
    errno = 0;
    /* It takes what it may write to, but converts elsewhere what is not as this computer has it. */
    r.elf = elf_memory((char *)(uintptr_t)data, size);
    int err = read_elf(&r);
    if (err && errno == ENOMEM) /* libelf found none: what it then says of the file means nothing */
        err = why_memory(why, name);
    elf_end(r.elf);
    return err;
}
