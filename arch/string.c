/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory and string functions; also what the compiler itself calls for struct copies. */
#include "arch/string.h"

#include <stdint.h>

/*
 * Quadwords first: an emulator counts iterations, and real CPUs are at full speed with them too. In
 * pieces: an emulator of several CPUs lets an instruction end before it goes on with the next CPU,
 * whose time then has passed without it.
 */
#define PIECE 512

void *__attribute__((hot)) memcpy(void *restrict to, const void *restrict from, size_t n)
{
    void *d = to;
    size_t quads = n / 8, rest = n % 8;
    do {
        size_t piece = quads < PIECE ? quads : PIECE;
        quads -= piece;
        __asm__ volatile("rep movsq" : "+D"(d), "+S"(from), "+c"(piece) : : "memory");
    } while (quads != 0);
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(rest) : : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    if ((uintptr_t)to - (uintptr_t)from >= n)
        return memcpy(to, from, n);
    uint8_t *d = (uint8_t *)to + n - 1;
    const uint8_t *s = (const uint8_t *)from + n - 1;
    __asm__ volatile("std; rep movsb; cld" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    void *d = to;
    size_t quads = n / 8, rest = n % 8;
    uint64_t pattern = (uint8_t)byte * 0x0101010101010101ull;
    do {
        size_t piece = quads < PIECE ? quads : PIECE;
        quads -= piece;
        __asm__ volatile("rep stosq" : "+D"(d), "+c"(piece) : "a"(pattern) : "memory");
    } while (quads != 0);
    __asm__ volatile("rep stosb" : "+D"(d), "+c"(rest) : "a"(pattern) : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i])
            return x[i] - y[i];
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    for (; s[n] != 0; n++)
        __asm__(""); /* lest gcc makes a call of strlen of the loop */
    return n;
}
