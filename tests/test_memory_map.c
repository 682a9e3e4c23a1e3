/* SPDX-License-Identifier: MIT */
/* Alternate settings' names as they are met: every spelling that some tool reads. */
#include "core/memory_map.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static struct memory_map map;

// clang-format off
static const struct {
    const char *text;
    enum memory_map_error error;
    bool odd;
    size_t runs;
    struct memory_run last; /* the last run */
} texts[] = {
    /* The grammar. */
    {"@Internal Flash  /0x08000000/64*0001Kg",                 MEMORY_MAP_OK, false, 1, {0x08000000, 64, 1024, 7}},
    {"@Internal Flash  /0x08000000/04*016Kg,01*064Kg,07*128Kg", MEMORY_MAP_OK, false, 3, {0x08020000, 7, 131072, 7}},
    {"@Internal Flash  /0x08000000/16*001Ka,48*001Kg",         MEMORY_MAP_OK, false, 2, {0x08004000, 48, 1024, 7}},
    {"@Option Bytes  /0x1FFFC000/01*016 e",                    MEMORY_MAP_OK, false, 1, {0x1FFFC000, 1, 16, 5}},
    {"@OTP Memory /0x1FFF7800/01*512 e,01*016 e",              MEMORY_MAP_OK, false, 2, {0x1FFF7A00, 1, 16, 5}},
    {"@Option Bytes   /0x1FFF7800/01*048 e/0x1FFFF800/01*048 e", MEMORY_MAP_OK, false, 2, {0x1FFFF800, 1, 48, 5}},
    {"@Flash2 /0xF000/4*100Ba/0xE000/3*8Kg/0x80000/2*24Kg",    MEMORY_MAP_OK, false, 3, {0x80000, 2, 24576, 7}},
    {"@Internal Flash   /0x08000000/16*128Kg",                 MEMORY_MAP_OK, false, 1, {0x08000000, 16, 131072, 7}},
    {"@RAM/0x20000000/1*1Mg",                                  MEMORY_MAP_OK, false, 1, {0x20000000, 1, 1048576, 7}},
    {"@a/0x0/1*1Ba,1*1Bb,1*1Bc,1*1Bd,1*1Be,1*1Bf,1*1Bg",       MEMORY_MAP_OK, false, 7, {6, 1, 1, 7}},
    {"@Flash/0x0800abCD/1*1Kg",                                MEMORY_MAP_OK, false, 1, {0x0800ABCD, 1, 1024, 7}},
    {"@End/0xFFFFFC00/1*1Kg",                                  MEMORY_MAP_OK, false, 1, {0xFFFFFC00, 1, 1024, 7}},
    /* ROMs that say the wrong letter. */
    {"@Device Feature/0xFFFF0000/01*004 g",                    MEMORY_MAP_OK, false, 1, {0xFFFF0000, 1, 4, 5}},
    /* Outside of the grammar, but some tool reads it. */
    {"@Flash/0x08000000/64*001kg",     MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@RAM/0x20000000/1*1mg",          MEMORY_MAP_OK, true, 1, {0x20000000, 1, 1048576, 7}},
    {"@Flash/0x08000000/64*1024g",     MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@Flash/0X08000000/64*001Kg",     MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@Flash/08000000/64*001Kg",       MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"Flash/0x08000000/64*001Kg",      MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@/0x08000000/64*001Kg",          MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@Flash/0x08000000/64 *001Kg",    MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@Flash/0x08000000/ 1*1Kg, 2* 2Kg", MEMORY_MAP_OK, true, 2, {0x08000400, 2, 2048, 7}},
    {"@Flash/0x08000000/64*001KG",     MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@Flash/0x08000000/64*001Kh",     MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 0}},
    {"@Flash/0x08000000/64*001Kgx",    MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@Flash/0x08000000/64*001K g",    MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@Flash/0x08000000/64*001 Kg",    MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@Flash/0x08000000/64*001Kg/",    MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@Flash/0x08000000-0x00000000/64*001Kg", MEMORY_MAP_OK, true, 1, {0x08000000, 64, 1024, 7}},
    {"@Flash/0x08000000/12*001g",      MEMORY_MAP_OK, true, 1, {0x08000000, 12, 1, 7}},
    /* What cannot be believed. */
    {"",                               MEMORY_MAP_NO_ZONE,  true,  0, {0}},
    {"@",                              MEMORY_MAP_NO_ZONE,  true,  0, {0}},
    {"@Flash3",                        MEMORY_MAP_NO_ZONE,  false, 0, {0}},
    {"UNKNOWN",                        MEMORY_MAP_NO_ZONE,  true,  0, {0}},
    {"@Internal Flash /0x08000000",    MEMORY_MAP_ADDRESS,  false, 0, {0}},
    {"@Flash/",                        MEMORY_MAP_ADDRESS,  true,  0, {0}},
    {"@Flash/0x/1*1Kg",                MEMORY_MAP_ADDRESS,  false, 0, {0}},
    {"@Flash/0xG/1*1Kg",               MEMORY_MAP_ADDRESS,  false, 0, {0}},
    {"@Flash/0xg/1*1Kg",               MEMORY_MAP_ADDRESS,  false, 0, {0}},
    {"@Flash/0x1080000000/1*1Kg",      MEMORY_MAP_ADDRESS,  false, 0, {0}},
    {"@Flash/0x108000000/1*1Kg",       MEMORY_MAP_ADDRESS,  false, 0, {0}},
    {"@Flash/0x08000000/",             MEMORY_MAP_RUN,      false, 0, {0}},
    {"@Flash/0x08000000/12*001",       MEMORY_MAP_RUN,      true,  0, {0}},
    {"@Flash/0x08000000/12*001K",      MEMORY_MAP_RUN,      false, 0, {0}},
    {"@Flash/0x08000000/12",           MEMORY_MAP_RUN,      false, 0, {0}},
    {"@Flash/0x08000000/*1Kg",         MEMORY_MAP_RUN,      false, 0, {0}},
    {"@Flash/0x08000000/1*Kg",         MEMORY_MAP_RUN,      false, 0, {0}},
    {"@Flash/0x08000000/-1*1Kg",       MEMORY_MAP_RUN,      false, 0, {0}},
    {"@Flash/0x08000000/1*1Kg,",       MEMORY_MAP_RUN,      false, 0, {0}},
    {"@Flash/0x08000000/1*1Kz",        MEMORY_MAP_RUN,      false, 0, {0}},
    {"@Flash/0x08000000/0*1Kg",        MEMORY_MAP_ZERO,     false, 0, {0}},
    {"@Flash/0x08000000/1*0Kg",        MEMORY_MAP_ZERO,     false, 0, {0}},
    {"@Flash/0xFFFFFC00/2*1Kg",        MEMORY_MAP_OVERFLOW, false, 0, {0}},
    {"@Flash/0xFFFFFFFF/2*1Bg",        MEMORY_MAP_OVERFLOW, false, 0, {0}},
    {"@Flash/0xFFFFFC00/1*1Kg,1*1Kg",  MEMORY_MAP_OVERFLOW, false, 0, {0}},
    {"@Flash/0x0/9999999999*9999999999Mg", MEMORY_MAP_OVERFLOW, true, 0, {0}},
    {"@Flash/0x0/1*9999999999Bg",      MEMORY_MAP_OVERFLOW, true,  0, {0}},
    {"@Flash/0x0/99999*1Bg",           MEMORY_MAP_OVERFLOW, true,  0, {0}},
    {"@Flash/0x0/99999999999*1Bg",     MEMORY_MAP_RUN,      true,  0, {0}},
};
// clang-format on

Test(memory_map, reads_every_spelling_and_refuses_what_misleads)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        enum memory_map_error error = memory_map_parse(&map, texts[i].text);
        cr_expect(error == texts[i].error, "%s: error %d", texts[i].text, (int)error);
        cr_expect(map.count == texts[i].runs, "%s: %zu runs", texts[i].text, map.count);
        cr_expect(map.odd == texts[i].odd, "%s: odd %d", texts[i].text, map.odd);
        if (error || !map.count)
            continue;
        const struct memory_run *run = &map.runs[map.count - 1], *want = &texts[i].last;
        cr_expect(run->addr == want->addr && run->count == want->count && run->size == want->size &&
                      run->flags == want->flags,
            "%s: 0x%x %u*%u %u", texts[i].text, run->addr, run->count, run->size, run->flags);
    }
}

Test(memory_map, more_runs_than_there_is_room_for_are_refused)
{
    char text[16 + MEMORY_MAP_RUNS * 6 + 8] = "@F/0x0/1*1Bg";
    for (int i = 1; i < MEMORY_MAP_RUNS; i++)
        strcat(text, ",1*1Bg");
    cr_expect(memory_map_parse(&map, text) == MEMORY_MAP_OK && map.count == MEMORY_MAP_RUNS);
    strcat(text, ",1*1Bg");
    cr_expect(memory_map_parse(&map, text) == MEMORY_MAP_TOO_MANY && map.count == 0);
}

Test(memory_map, any_prefix_of_a_name_is_read_or_refused_without_harm)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        for (size_t n = 0; n <= strlen(texts[i].text); n++) {
            char *text =
                strndup(texts[i].text, n); /* its own memory, so that a checker sees an overrun */
            memory_map_parse(&map, text);
            free(text);
        }
}

Test(memory_map, the_name_is_given_without_its_padding)
{
    const char *text = "@Internal Flash  /0x08000000/64*0001Kg";
    memory_map_parse(&map, text);
    cr_expect(map.name_size == 14 && strncmp(text + map.name_at, "Internal Flash", 14) == 0);
}

Test(memory_map, finds_the_sector_of_every_address)
{
    struct memory_sector s;
    memory_map_parse(&map, "@Internal Flash  /0x08000000/04*016Kg,01*064Kg,07*128Kg");
    cr_expect(!memory_map_find(&map, 0x07FFFFFF, &s));
    cr_expect(memory_map_find(&map, 0x08000000, &s) && s.addr == 0x08000000 && s.size == 0x4000);
    cr_expect(memory_map_find(&map, 0x0800FFFF, &s) && s.addr == 0x0800C000 && s.size == 0x4000);
    cr_expect(memory_map_find(&map, 0x08010000, &s) && s.addr == 0x08010000 && s.size == 0x10000);
    cr_expect(memory_map_find(&map, 0x080FFFFF, &s) && s.addr == 0x080E0000 && s.size == 0x20000);
    cr_expect(!memory_map_find(&map, 0x08100000, &s));
}

Test(memory_map, where_zones_overlap_the_first_counts)
{
    struct memory_sector s;
    memory_map_parse(&map, "@F/0x1000/2*1Ka/0x1400/2*1Kg");
    cr_expect(memory_map_find(&map, 0x1400, &s) && s.addr == 0x1400 && s.flags == MEMORY_READ);
    cr_expect(memory_map_find(&map, 0x1800, &s) && s.addr == 0x1800 && s.flags == 7);
    cr_expect(memory_map_reach(&map, 0x1000, MEMORY_READ) == 0x1C00);
    cr_expect(memory_map_reach(&map, 0x1400, MEMORY_WRITE) == 0x1400);
}

Test(memory_map, reach_ends_where_the_flags_or_the_memory_end)
{
    memory_map_parse(&map, "@F/0x08000000/4*1Kg,4*1Ka,4*1Kg/0x08003000/1*1Kg/0xFFFFFC00/1*1Kg");
    cr_expect(memory_map_reach(&map, 0x08000010, MEMORY_WRITE) == 0x08001000);
    cr_expect(memory_map_reach(&map, 0x08001000, MEMORY_WRITE) == 0x08001000);
    cr_expect(
        memory_map_reach(&map, 0x08000010, MEMORY_READ) == 0x08003400, "zones that touch are one");
    cr_expect(memory_map_reach(&map, 0x07000000, MEMORY_READ) == 0x07000000);
    cr_expect(memory_map_reach(&map, 0x08001000, MEMORY_READ | MEMORY_WRITE) == 0x08001000);
    cr_expect(memory_map_reach(&map, 0xFFFFFFFF, MEMORY_WRITE) == UINT64_C(0x100000000));
}
