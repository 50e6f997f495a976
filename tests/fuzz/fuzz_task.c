// SPDX-License-Identifier: BSD-2-Clause
// link: guest/cpu/task.c
/* A hardware task switch over tables that the guest has patched at will: whatever comes of it has
 * to be a state that the CPU can enter with (SDM, "Checks on Guest Segment Registers"). */
#include "guest/cpu/task.h"

#include <stdlib.h>
#include <string.h>

enum { SIZE = 0x1000, GDT = 0, OLD = 0x100, NEW = 0x200, LDT = 0x300, STACK = 0x800 };
enum { CODE = 0x08, DATA = 0x10, OLD_TSS = 0x18, NEW_TSS = 0x20, LDT_SEL = 0x28 };
#define EFLAGS_VM (1u << 17)

static uint8_t memory[SIZE];

/* All of the address space is this one page. */
static bool read_memory(void *ctx, uint32_t at, void *to, unsigned bytes)
{
    (void)ctx;
    for (unsigned i = 0; i < bytes; i++)
        ((uint8_t *)to)[i] = memory[(at + i) % SIZE];
    return true;
}

static bool probe_write(void *ctx, uint32_t at, unsigned bytes)
{
    (void)ctx, (void)at, (void)bytes;
    return true;
}

static bool write_memory(void *ctx, uint32_t at, uint32_t value, unsigned bytes, bool user)
{
    (void)ctx, (void)user;
    for (unsigned i = 0; i < bytes; i++)
        memory[(at + i) % SIZE] = (uint8_t)(value >> 8 * i);
    return true;
}

static bool load_cr3(void *ctx, uint32_t cr3)
{
    (void)ctx;
    return (cr3 & 1) == 0;
}

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static bool limit_fits(const struct task_segment *s)
{
    bool granular = (s->access >> 15 & 1) != 0;
    return (granular || s->limit >> 20 == 0) && (!granular || (s->limit & 0xfff) == 0xfff);
}

static void check_entry(const struct task_cpu *cpu)
{
    const struct task_segment *s = cpu->segment;
    uint32_t cs = s[TASK_CS].access, ss = s[TASK_SS].access, type = cs & 15;
    demand((cpu->eflags & ~0x3f7fd5u) == 2);
    for (unsigned i = TASK_ES; i <= TASK_GS; i++) {
        if ((cpu->eflags & EFLAGS_VM) != 0) {
            demand(s[i].access == 0xf3 && s[i].limit == 0xffff && s[i].base == s[i].selector * 16u);
            continue;
        }
        if ((s[i].access >> 16) != 0) {
            demand(i != TASK_CS);
            continue;
        }
        demand((s[i].access & 0x91) == 0x91 && (s[i].access & 0xf00) == 0 && limit_fits(&s[i]));
        if (i == TASK_SS)
            demand((s[i].access & 15) == 3 || (s[i].access & 15) == 7);
        else if (i != TASK_CS)
            demand((s[i].access & 8) == 0 || (s[i].access & 2) != 0);
    }
    if ((cpu->eflags & EFLAGS_VM) == 0) {
        demand((type & 9) == 9);
        demand(type < 13 ? (cs >> 5 & 3) == (ss >> 5 & 3) : (cs >> 5 & 3) <= (ss >> 5 & 3));
    }
    demand((s[TASK_TR].access & 0x10f97) == 0x83 && limit_fits(&s[TASK_TR]));
    demand((s[TASK_TR].selector & 4) == 0);
    if ((s[TASK_LDTR].access >> 16) == 0)
        demand((s[TASK_LDTR].access & 0x9f) == 0x82 && (s[TASK_LDTR].selector & 4) == 0 &&
               limit_fits(&s[TASK_LDTR]));
}

static void put(uint32_t at, uint64_t value, unsigned bytes)
{
    memcpy(memory + at, &value, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct task_env env = {NULL, read_memory, probe_write, write_memory, load_cr3};
    if (size < 4)
        return 0;
    memset(memory, 0, sizeof(memory));
    put(GDT + CODE, 0x00cf9a000000ffff, 8);
    put(GDT + DATA, 0x00cf92000000ffff, 8);
    put(GDT + OLD_TSS, 0x0000890001000067 | (uint64_t)2 << 40, 8);
    put(GDT + NEW_TSS, 0x0000890002000067, 8);
    put(GDT + LDT_SEL, 0x000082000300000f, 8);
    put(GDT + 0x30, 0x00cffa000000ffff, 8);
    put(GDT + 0x38, 0x00cff2000000ffff, 8);
    put(NEW + 56, STACK, 4);
    for (unsigned i = 0; i < 6; i++)
        put(NEW + 72 + 4 * i, i == 1 ? CODE : DATA, 4);
    for (size_t i = 4; i + 2 < size; i += 3)
        memory[(data[i] | data[i + 1] << 8) % SIZE] = data[i + 2];

    struct task_cpu cpu = {.gdt_base = GDT, .gdt_limit = 0x3f, .paging = (data[1] & 1) != 0};
    for (unsigned i = 0; i < TASK_SEGMENTS; i++)
        cpu.segment[i] = (struct task_segment){DATA, 0xc093, ~0u, 0};
    cpu.segment[TASK_TR] =
        (struct task_segment){OLD_TSS, (data[1] & 2) != 0 ? 0x83 : 0x8b, 0x67, OLD};
    cpu.segment[TASK_LDTR] = (struct task_segment){LDT_SEL, 0x82, 0xf, LDT};
    struct task_request request = {.source = (enum task_source)(data[0] & 3),
                                   .selector = (data[0] & 4) != 0 ? data[2] : NEW_TSS,
                                   .has_error = (data[0] & 8) != 0,
                                   .error = data[3]};
    if (request.source == TASK_IRET)
        memory[GDT + NEW_TSS + 5] |= 2;
    struct task_cpu before = cpu;
    struct task_result result = task_switch(&cpu, &env, &request);
    if (result.outcome == TASK_REFUSED)
        demand(memcmp(&before, &cpu, sizeof(cpu)) == 0);
    else
        check_entry(&cpu);
    return 0;
}
