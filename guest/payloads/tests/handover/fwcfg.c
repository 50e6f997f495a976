/* SPDX-License-Identifier: BSD-2-Clause */
/* What QEMU's fw_cfg device tells a kernel that knows it from there, by its ports and by DMA. */
#include "handover.h"

#include "guest/lib/cpu.h"
#include "guest/lib/test.h"

#define RULE      "QEMU docs/specs/fw_cfg"
#define SELECTOR  0x510
#define DATA      0x511
#define DMA_HIGH  0x514
#define DMA_LOW   0x518
#define QEMU      0x554d4551u /* its letters */
#define DIRECTORY 0x19
#define ENTRY     64 /* bytes of the directory, the name at 8 */

enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };

static struct {
    uint32_t control, length;
    uint64_t address;
} descriptor;
static uint8_t buffer[256];

static uint64_t read_port(uint16_t key, unsigned bytes)
{
    uint64_t value = 0;
    port_out16(SELECTOR, key);
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)port_in8(DATA) << (8 * i);
    return value;
}

/* The control word that comes back. */
static uint32_t dma(uint32_t control, uint32_t bytes, uint64_t to)
{
    descriptor.control = __builtin_bswap32(control);
    descriptor.length = __builtin_bswap32(bytes);
    descriptor.address = __builtin_bswap64(to);
    port_out32(DMA_HIGH, 0);
    port_out32(DMA_LOW, __builtin_bswap32((uint32_t)(uint64_t)&descriptor));
    return __builtin_bswap32(*(volatile uint32_t *)&descriptor.control);
}

static bool is_at(const uint8_t *at, const char *text)
{
    unsigned i = 0;
    while (text[i] != 0 && at[i] == (uint8_t)text[i])
        i++;
    return text[i] == at[i];
}

/* The number and length of a file; 0: there is none. */
static uint16_t find_file(const char *name, uint32_t *bytes)
{
    uint64_t count = __builtin_bswap32((uint32_t)read_port(DIRECTORY, 4));
    while (count-- > 0) {
        if (dma(DMA_READ, ENTRY, (uint64_t)buffer) == 0 && is_at(buffer + 8, name)) {
            *bytes = __builtin_bswap32((uint32_t)get((uint64_t)buffer, 4));
            return __builtin_bswap16((uint16_t)get((uint64_t)buffer + 4, 2));
        }
    }
    return 0;
}

static void check_e820(uint64_t memory)
{
    uint32_t bytes = 0;
    const uint32_t key = find_file("etc/e820", &bytes);
    if (!test_check(key >= 0x20 && bytes == 20, "a file etc/e820 of one entry", RULE))
        return;
    test_equal(dma(key << 16 | DMA_SELECT | DMA_READ, bytes + 4, (uint64_t)buffer), 0,
               "DMA reads it", RULE);
    test_equal(get((uint64_t)buffer, 8), 0, "RAM from 0 on", RULE);
    test_equal(get((uint64_t)buffer + 8, 8), memory, "so many bytes", RULE);
    test_equal(get((uint64_t)buffer + 16, 8), 1, "its type, and behind it zeros", RULE);
}

static void check_refusals(uint64_t memory)
{
    const uint32_t memory_size = 3u << 16 | DMA_SELECT;
    test_equal(dma(memory_size | DMA_WRITE, 1, (uint64_t)buffer), DMA_ERROR, "no item is written",
               RULE);
    test_equal(dma(memory_size | DMA_READ, 0xffffffff, (uint64_t)buffer), DMA_ERROR,
               "4 GiB do not fit", RULE);
    test_equal(dma(memory_size | DMA_READ, 8, memory - 4), DMA_ERROR, "nor 8 bytes in the last 4",
               RULE);
    test_equal(dma(memory_size | DMA_READ, 8, UINT64_MAX), DMA_ERROR, "nor an address that wraps",
               RULE);
    buffer[8] = 0xaa;
    dma(memory_size | DMA_SKIP, 1, 0);
    test_check(dma(DMA_READ, 8, (uint64_t)buffer) == 0 && get((uint64_t)buffer, 8) == memory >> 8 &&
                   buffer[8] == 0xaa,
               "it still answers", RULE);
}

void check_fwcfg(uint64_t memory, unsigned cpus)
{
    test_equal(read_port(0, 4), QEMU, "the signature", RULE);
    test_equal(read_port(1, 4), 3, "ports and DMA", RULE);
    test_equal(port_in32(DMA_HIGH), QEMU, "the signature of DMA", RULE);
    test_equal(read_port(3, 8), memory, "the size of RAM", RULE);
    test_equal(read_port(5, 2), cpus, "as many CPUs as the MP table has", RULE);
    test_equal(read_port(15, 2), cpus, "and no more", RULE);
    check_e820(memory);
    check_refusals(memory);
}
