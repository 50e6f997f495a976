/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of the loaders share: a guest's memory, a program to place in it, and refusals. */
#pragma once

#include "guest/load/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY (64u << 20)
#define RSDP   LAYOUT_ACPI

uint64_t physmap_base;

static uint8_t *ram;
static struct guestmem mem;
static struct program program;
static struct cpu_state boot;

static inline void put(uint8_t *p, unsigned bytes, uint64_t v)
{
    memcpy(p, &v, bytes);
}

static inline uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, bytes);
    return v;
}

/* 64 MiB of memory with an RSDP, and a program without ramdisk and modules. */
static inline void program_set_up(const uint8_t *kernel, uint64_t size)
{
    free(ram);
    ram = calloc(1, MEMORY);
    mem = (struct guestmem){0};
    guestmem_add(&mem, gpa(0), MEMORY, ram);
    memcpy(ram + RSDP, "RSD PTR ", 8);
    program = (struct program){.mem = &mem,
                               .memory_bytes = MEMORY,
                               .rsdp = {RSDP},
                               .kernel = {kernel, size, "kernel", ""},
                               .type_named = true,
                               .cmdline = "one two",
                               .keeps_info = true,
                               .keeps_tables = true};
}

static inline void program_loads(program_loader *load)
{
    if (load(&program, &boot) != OK)
        fail_msg("refused: %s", program.why);
}

static inline void program_refused(program_loader *load, enum status expected, const char *text)
{
    assert_int_equal(load(&program, &boot), expected);
    if (strstr(program.why, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", program.why, text);
}

/* The state that multiboot and PVH ask for. */
static inline void is_flat_protected_mode(void)
{
    assert_int_equal(boot.cr0 & 0x80000001, 1); /* PE, no paging */
    assert_int_equal(boot.rflags, 2);
    assert_int_equal(boot.cs.access, 0xc09b);
    assert_int_equal(boot.ss.access, 0xc093);
    assert_int_equal(boot.cs.limit, 0xffffffff);
    assert_int_equal(boot.cs.base | boot.ds.base | boot.ss.base, 0);
    assert_int_equal(get(ram + boot.gdtr.base + boot.cs.selector, 8), 0x00cf9b000000ffff);
    assert_int_equal(get(ram + boot.gdtr.base + boot.ss.selector, 8), 0x00cf93000000ffff);
    assert_in_range(boot.rsp, 0x500 + 0x1000, 0x9fc00); /* room for a stack */
    assert_int_equal(boot.rsp % 16, 0);
}
