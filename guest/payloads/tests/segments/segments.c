/* SPDX-License-Identifier: BSD-2-Clause */
/* Device memory and string ports in 16- and 32-bit code: address sizes, segment limits and types,
 * the right fault with the registers of the right iteration. The operand on which a string
 * instruction exits is one, the operand that faults mostly the other, or a later iteration. */
#include "segments.h"

#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#include <stddef.h>

extern struct registers legacy_registers;
extern uint8_t legacy_code[64];
extern char legacy_back[], gdt_pointer[];
extern uint64_t page_tables[];
void legacy_call(void *unused);

extern char vm86_tss[];

uint8_t ram[0x10000] __attribute__((aligned(4096)));
static uint64_t gdt[GDT_BYTES / 8];

/* Access rights as they stand in bits 55:40 of a descriptor. */
static uint64_t descriptor(uint64_t base, uint64_t limit, uint64_t access)
{
    return (limit & 0xffff) | (base & 0xffffff) << 16 | access << 40 | (limit >> 16 & 15) << 48 |
           (base >> 24 & 0xff) << 56;
}

static void load_gdt(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) old, new = {sizeof(gdt) - 1, (uint64_t)gdt};
    __asm__ volatile("sgdt %0" : "=m"(old));
    memcpy(gdt, (const void *)old.base, SMALL);
    const uint64_t base = (uint64_t)ram;
    gdt[SMALL / 8] = descriptor(base, 0xfff, 0x4093);
    gdt[RAM64K / 8] = descriptor(base, 0xffff, 0x4093);
    gdt[READ_ONLY / 8] = descriptor(base, 0xffff, 0x4091);
    gdt[DOWN / 8] = descriptor(base, 0xfff, 0x0097);
    gdt[HOLE64K / 8] = descriptor(HOLE, 0xffff, 0x4093);
    gdt[CODE_READ / 8] = descriptor(base, 0xffff, 0x409b);
    gdt[WRAP / 8] = descriptor(0xfffff000, 0xfffff, 0xc093);
    gdt[TSS / 8] = descriptor((uint64_t)vm86_tss, 0xe8, 0x0089);
    __asm__ volatile("lgdt %0" : : "m"(new) : "memory");
}

/* The bytes of a row and the far jump back, in code of either size. */
static void place_code(const struct row *row)
{
    uint8_t *p = legacy_code;
    memcpy(p, row->bytes, row->length);
    p += row->length;
    if (row->cs == CODE16)
        *p++ = 0x66;
    *p++ = 0xea;
    const uint32_t back = (uint32_t)(uintptr_t)legacy_back;
    memcpy(p, &back, 4);
    p[4] = 0x18;
    p[5] = 0;
}

static void flat_segments(void)
{
    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%ss" : : "r"(FLAT));
}

struct probe run_row(const struct row *row, struct registers *r)
{
    static uint8_t stack[512] __attribute__((aligned(16)));
    place_code(row);
    legacy_registers = (struct registers){
        .eax = row->eax,
        .ecx = row->ecx,
        .edx = SCRATCH,
        .esi = row->esi,
        .edi = row->edi,
        .esp = (uint32_t)(uintptr_t)(stack + sizeof(stack)),
        .es = row->es,
        .cs = row->cs,
        .ss = row->ss,
        .ds = row->ds,
        .fs = row->fs,
        .start = (uint32_t)(uintptr_t)legacy_code,
    };
    struct probe p = probe_call(legacy_call, NULL);
    flat_segments();
    *r = legacy_registers;
    if (p.vector != PROBE_NONE) {
        r->eax = (uint32_t)trap_last.rax;
        r->ecx = (uint32_t)trap_last.rcx;
        r->esi = (uint32_t)trap_last.rsi;
        r->edi = (uint32_t)trap_last.rdi;
    }
    return p;
}

static void check_row(const struct row *row)
{
    struct registers r;
    memset(ram, 0, 0x2000);
    port_out8(SCRATCH, 0x5a);
    struct probe p = run_row(row, &r);
    bool same = r.eax == row->eax_after && r.ecx == row->ecx_after && r.esi == row->esi_after &&
                r.edi == row->edi_after;
    if (!test_check(p.vector == row->vector && same, row->what, row->rule))
        print("  vector %u error %x eax %x ecx %x esi %x edi %x\n", p.vector, p.error, r.eax, r.ecx,
              r.esi, r.edi);
}

void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_row(&rows[i]);
}

int main(void)
{
    test_begin("segments", "device memory and string ports in 16- and 32-bit code");
    load_gdt();
    page_tables[2 * 512 + UNMAPPED / 0x200000] &= ~1ull;
    write_cr3(read_cr3());
    check_moves();
    check_operands();
    check_port_strings();
    check_unmapped();
    check_port_data();
    check_modes();
    return test_end();
}
