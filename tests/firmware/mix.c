/* SPDX-License-Identifier: MIT */
/*
 * What compiled programs do, in one image: hashing, sorting through a function pointer, 64-bit and
 * floating arithmetic in software, formatting, lists, a byte-code loop. It measures the core's
 * speed, and its digest must not depend on who runs it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef ROUNDS
#define ROUNDS 200
#endif

static uint32_t next_random(void)
{
    static uint32_t state = 0x1f123bb5;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static inline uint32_t rotl(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

/* The ChaCha20 core, for its adds, xors and rotations over sixteen live values. */
static void quarter_round(uint32_t *s, int a, int b, int c, int d)
{
    s[a] += s[b], s[d] = rotl(s[d] ^ s[a], 16);
    s[c] += s[d], s[b] = rotl(s[b] ^ s[c], 12);
    s[a] += s[b], s[d] = rotl(s[d] ^ s[a], 8);
    s[c] += s[d], s[b] = rotl(s[b] ^ s[c], 7);
}

static uint32_t chacha_block(uint32_t counter)
{
    uint32_t s[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, sum = 0;

    for (unsigned n = 4; n < 16; n++)
        s[n] = counter * n;
    for (int round = 0; round < 10; round++) {
        for (int n = 0; n < 4; n++)
            quarter_round(s, n, 4 + n, 8 + n, 12 + n);
        for (int n = 0; n < 4; n++)
            quarter_round(s, n, 4 + (n + 1) % 4, 8 + (n + 2) % 4, 12 + (n + 3) % 4);
    }
    for (int n = 0; n < 16; n++)
        sum = rotl(sum, 3) ^ s[n];
    return sum;
}

static uint32_t crc32(const uint8_t *data, size_t size)
{
    uint32_t crc = UINT32_MAX;
    while (size--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static int by_value(const void *a, const void *b)
{
    return *(const int16_t *)a - *(const int16_t *)b;
}

static uint32_t sort(void)
{
    static int16_t numbers[200];
    for (unsigned n = 0; n < 200; n++)
        numbers[n] = (int16_t)next_random();
    qsort(numbers, 200, sizeof *numbers, by_value);
    return (uint32_t)(numbers[0] * 31 + numbers[100] * 7 + numbers[199]);
}

static uint32_t long_arithmetic(void)
{
    static uint64_t state = 1;
    uint32_t sum = 0;
    for (int n = 0; n < 50; n++) {
        state = state * 6364136223846793005u + next_random();
        sum += (uint32_t)((int64_t)state / (int32_t)(next_random() | 1));
        sum ^= (uint32_t)(state % (next_random() | 1));
        sum += (uint32_t)((int32_t)next_random() / (int32_t)(next_random() | 1));
    }
    return sum;
}

static uint32_t floating(void)
{
    static double x = 1.0;
    for (int n = 0; n < 50; n++) {
        x = x * 1.0001 + (double)(int32_t)next_random() / 65537.0;
        if (x > 1e6 || x < -1e6)
            x /= 1000.0;
    }
    return (uint32_t)(int32_t)(x * 16.0);
}

struct entry {
    struct entry *next;
    uint32_t key;
    char name[20];
};

static uint32_t text_and_lists(void)
{
    static struct entry entries[20];
    struct entry *head = NULL;
    uint32_t sum = 0;

    for (unsigned n = 0; n < 20; n++) {
        entries[n] = (struct entry){.next = head, .key = next_random() % 1000};
        snprintf(entries[n].name, sizeof entries[n].name, "%u:%-4x|%+d", n,
            (unsigned)entries[n].key, (int)n - 10);
        head = &entries[n];
    }
    for (const struct entry *e = head; e; e = e->next)
        sum = sum * 33 + (uint32_t)strlen(e->name) * e->key +
              (uint32_t)(strchr(e->name, '|') - e->name);
    return sum;
}

static uint32_t byte_code(uint32_t x)
{
    uint32_t program = next_random();
    for (unsigned n = 0; n < 300; n++) {
        switch (rotl(program, n & 31) % 9) {
        case 0:
            x += n;
            break;
        case 1:
            x ^= x << 3;
            break;
        case 2:
            x = rotl(x, 25);
            break;
        case 3:
            x -= program;
            break;
        case 4:
            x *= 33;
            break;
        case 5:
            x = __builtin_bswap32(x);
            break;
        case 6:
            x = ~x;
            break;
        case 7:
            x += (uint32_t)__builtin_clz(x | 1);
            break;
        default:
            x |= 1;
        }
    }
    return x;
}

int main(void)
{
    static uint8_t data[1024];
    uint32_t digest = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t n = 0; n < sizeof data; n++)
            data[n] = (uint8_t)next_random();
        digest = rotl(digest, 1) ^ crc32(data, sizeof data);
        for (uint32_t block = 0; block < 16; block++)
            digest += chacha_block(round * 16 + block);
        digest = rotl(digest, 5) ^ sort();
        digest = rotl(digest, 5) ^ long_arithmetic();
        digest = rotl(digest, 5) ^ floating();
        digest = rotl(digest, 5) ^ text_and_lists();
        digest = byte_code(digest);
        if (round % 20 == 19)
            printf("%3u rounds: %08lx\n", round + 1, (unsigned long)digest);
    }
    return 0;
}
