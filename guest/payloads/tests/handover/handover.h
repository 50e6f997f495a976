/* SPDX-License-Identifier: BSD-2-Clause */
/* What a boot protocol has told, in one form for all protocols. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_MODULES 4
#define MAX_RANGES  16

struct module {
    uint64_t from, to;
    const char *string;
};

struct range {
    uint64_t from, to;
    bool ram;
};

struct told {
    const char *protocol;
    const char *cmdline, *loader; /* NULL: not told */
    uint32_t lower_kib, upper_kib;
    bool text_screen;  /* 80x25 at 0xb8000 */
    uint64_t rsdp;     /* 0: not told */
    uint64_t sections; /* ELF section headers; 0: not told */
    unsigned section_count, section_bytes;
    unsigned modules, ranges;
    struct module module[MAX_MODULES];
    struct range range[MAX_RANGES];
};

/* False: what the registers lead to is none of the three. */
bool told_read(uint32_t eax, uint32_t ebx, struct told *told);

/* fw_cfg, in a machine of so many bytes of RAM. */
void check_fwcfg(uint64_t memory, unsigned cpus);

/* At any alignment. */
static inline uint64_t get(uint64_t at, unsigned bytes)
{
    uint64_t value = 0;
    const volatile uint8_t *p = (const volatile uint8_t *)at;
    __asm__("" : "+r"(p)); /* lest gcc thinks that there is nothing so far down */
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}
