/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers in bytes, at any alignment: little-endian as the CPU has them, big-endian for fw_cfg; and
 * checksums. No instruction of ring 0: the loader and host tests use it too. */
#pragma once

#include <stddef.h>
#include <stdint.h>

static inline uint16_t get_le16(const void *from)
{
    uint16_t value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}

static inline uint32_t get_le32(const void *from)
{
    uint32_t value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}

static inline uint64_t get_le64(const void *from)
{
    uint64_t value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
}

/* bytes: 1 to 8, here and below. The usual sizes go without a loop, and without a call of memcpy(),
 * which for so few bytes would be the largest part. */
static inline uint64_t get_le(const void *from, unsigned bytes)
{
    const uint8_t *p = from;
    uint64_t value = 0;
    switch (bytes) {
    case 1: return *p;
    case 2: return get_le16(from);
    case 4: return get_le32(from);
    case 8: return get_le64(from);
    default: break;
    }
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

/* The lowest bytes of the value. */
static inline void put_le(void *to, unsigned bytes, uint64_t value)
{
    uint8_t *p = to;
    switch (bytes) {
    case 1: *p = (uint8_t)value; return;
    case 2: __builtin_memcpy(to, &value, 2); return;
    case 4: __builtin_memcpy(to, &value, 4); return;
    case 8: __builtin_memcpy(to, &value, 8); return;
    default: break;
    }
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

static inline uint64_t get_be(const void *from, unsigned bytes)
{
    return __builtin_bswap64(get_le(from, bytes)) >> (64 - 8 * bytes);
}

static inline void put_be(void *to, unsigned bytes, uint64_t value)
{
    put_le(to, bytes, __builtin_bswap64(value) >> (64 - 8 * bytes));
}

/* Characters without the terminator. */
static inline void put_text(uint8_t *to, const char *text)
{
    while (*text != '\0')
        *to++ = (uint8_t)*text++;
}

static inline uint8_t sum_bytes(const uint8_t *from, size_t bytes)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum = (uint8_t)(sum + from[i]);
    return sum;
}

/* Sets the byte at `at` such that all bytes add up to 0. */
static inline void put_checksum(uint8_t *table, size_t bytes, size_t at)
{
    table[at] = 0;
    table[at] = (uint8_t)-sum_bytes(table, bytes);
}
