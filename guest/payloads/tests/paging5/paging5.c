/* SPDX-License-Identifier: BSD-2-Clause */
/* 5-level paging and linear addresses of 57 bits, where the CPU has them: accesses that the CPU
 * makes itself, and those beside a device, which a hypervisor has to translate; code, stack,
 * descriptor tables and segment bases beyond the 48 bits of 4-level paging, with exits there. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define DEVICE   0xfec00000ull
#define AREA     (3ull << 48)          /* not canonical in 48 bits; two pages: RAM, device */
#define TOP_HALF 0xff80000000000000ull /* the same in the upper half */
#define ALIAS    (AREA + (1ull << 39)) /* the payload's 4 GiB again */
#define OUTSIDE  (1ull << 56)          /* not canonical in 57 bits */
#define CR4_LA57 (1ull << 12)

#define MSR_FS_BASE 0xc0000100u

enum { P = 1, W = 2, A = 0x20, PS = 0x80 };

#define RULE "SDM, 5-Level Paging"

void levels_switch(uint32_t cr4, uint32_t cr3);

extern uint64_t page_tables[];
static uint64_t pml5[512] __attribute__((aligned(4096)));
static uint64_t pml4[512] __attribute__((aligned(4096)));
static uint64_t pointers[512] __attribute__((aligned(4096)));
static uint64_t directory[512] __attribute__((aligned(4096)));
static uint64_t table[512] __attribute__((aligned(4096)));
static uint32_t target[1024] __attribute__((aligned(4096)));

static const struct probe none = {PROBE_NONE, 0}, gp = {VECTOR_GP, 0}, ss = {VECTOR_SS, 0};

static void set_up(void)
{
    pml5[0] = (uint64_t)page_tables | P | W;
    pml5[AREA >> 48] = (uint64_t)pml4 | P | W;
    pml5[TOP_HALF >> 48 & 511] = (uint64_t)pml4 | P | W;
    pml4[0] = (uint64_t)pointers | P | W;
    pml4[1] = page_tables[0];
    pointers[0] = (uint64_t)directory | P | W;
    directory[0] = (uint64_t)table | P | W;
    table[0] = (uint64_t)target | P | W;
    table[1] = DEVICE | P | W;
    target[0] = 0x12345678;
}

/* MOV EAX, [RSI]; MOVSD, one side of which is the device; the same with a stack's default segment.
 */
static struct probe load(uint64_t from)
{
    struct code code = {.rsi = from, .length = 2, .bytes = {0x8b, 0x06}};
    struct probe probe = code_probe(&code);
    if (probe.vector == PROBE_NONE)
        test_equal((uint32_t)code.rax, 0x12345678, "and reads what is there", RULE);
    return probe;
}

static struct probe store(uint64_t to)
{
    struct code code = {.rax = 0x12345678, .rsi = to, .length = 2, .bytes = {0x89, 0x06}};
    return code_probe(&code);
}

static struct probe move(uint64_t from, uint64_t to)
{
    struct code code = {.rsi = from, .rdi = to, .length = 1, .bytes = {0xa5}};
    return code_probe(&code);
}

static struct probe load_by_rbp(uint64_t from)
{
    struct code code = {.rsi = from,
                        .length = 8, /* PUSH RBP; MOV RBP, RSI; MOV EAX, [RBP]; POP RBP */
                        .bytes = {0x55, 0x48, 0x89, 0xf5, 0x8b, 0x45, 0, 0x5d}};
    return code_probe(&code);
}

static struct probe load_fs(uint64_t offset)
{
    struct code code = {.rsi = offset, .length = 3, .bytes = {0x64, 0x8b, 0x06}};
    return code_probe(&code);
}

static void set_cr4(void *value)
{
    write_cr4((uint64_t)value);
}

static struct probe toggle_la57(void)
{
    return probe_call(set_cr4, (void *)(read_cr4() ^ CR4_LA57));
}

struct msr_write {
    uint32_t msr;
    uint64_t value;
};

static void write_it(void *arg)
{
    const struct msr_write *w = arg;
    wrmsr(w->msr, w->value);
}

static struct probe try_msr(uint32_t msr, uint64_t value)
{
    struct msr_write w = {msr, value};
    return probe_call(write_it, &w);
}

/* With 4 levels, too: registers hold what the CPU can use with either. */
static void check_msrs(void)
{
    static const uint32_t msrs[] = {0x175, 0x176, MSR_FS_BASE, 0xc0000101, 0xc0000102, 0xc0000082};
    for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
        const uint64_t old = rdmsr(msrs[i]);
        test_fault(try_msr(msrs[i], AREA), none, "an MSR takes an address of 57 bits",
                   "SDM, Canonical Addressing");
        cpuid(0, 0); /* a VM entry with it */
        test_equal(rdmsr(msrs[i]), AREA, "and keeps it", "SDM, Canonical Addressing");
        test_fault(try_msr(msrs[i], OUTSIDE), gp, "not one that is not canonical",
                   "SDM, Canonical Addressing");
        wrmsr(msrs[i], old);
    }
}

static void check_accesses(void)
{
    test_fault(load(AREA), none, "a load beyond 48 bits", RULE);
    test_fault(load(TOP_HALF), none, "one from the upper half", RULE);
    test_fault(store(AREA), none, "a store", RULE);
    test_fault(move(AREA, AREA + 4096), none, "a string move to a device there", RULE);
    test_fault(move(TOP_HALF + 4096, TOP_HALF), none, "and from it", RULE);
    target[0] = 0x12345678;
    test_equal(pml5[AREA >> 48] & A, A, "the accessed flag of the fifth level",
               "SDM, Accessed and Dirty Flags");
    test_fault(load(1ull << 50), (struct probe){VECTOR_PF, 0}, "what is not mapped", RULE);
    test_equal(read_cr2(), 1ull << 50, "CR2", RULE);
    struct code out = {.rdx = 0x80, .rsi = AREA, .length = 1, .bytes = {0x6e}};
    test_fault(code_probe(&out), none, "OUTSB from there", RULE);
    struct code in = {.rdx = 0x61, .rdi = TOP_HALF + 64, .length = 1, .bytes = {0x6c}};
    test_fault(code_probe(&in), none, "INSB to there", RULE);
}

static void check_canonical(void)
{
    const char *rule = "SDM, Canonical Addressing";
    test_fault(load(OUTSIDE), gp, "a load that is not canonical", rule);
    test_fault(load(OUTSIDE - 2), gp, "one that ends so", rule);
    test_fault(load(~OUTSIDE), gp, "one below the upper half", rule);
    test_fault(load_by_rbp(OUTSIDE), ss, "a load by RBP", rule);
    test_fault(move(AREA + 4096, OUTSIDE), gp, "from a device to what is not canonical", rule);
    test_fault(move(OUTSIDE - 2, AREA + 4096), gp, "to a device from what ends so", rule);
    struct code jump = {.rsi = OUTSIDE, .length = 2, .bytes = {0xff, 0xe6}};
    test_fault(code_probe(&jump), gp, "a jump", rule);
}

/* Rights in an entry of the fifth level. */
static void check_entry(uint64_t entry, struct probe read, struct probe write, const char *what)
{
    uint64_t *e = &pml5[AREA >> 48], old = *e;
    *e = entry;
    write_cr3(read_cr3());
    test_fault(load(AREA), read, what, "a load");
    test_fault(move(AREA, TOP_HALF + 4096), read, what, "a string move to a device");
    test_fault(store(AREA), write, what, "a store");
    test_fault(move(TOP_HALF + 4096, AREA), write, what, "a string move from a device");
    *e = old;
    write_cr3(read_cr3());
    target[0] = 0x12345678;
}

static void check_entries(void)
{
    const uint64_t entry = pml5[AREA >> 48];
    check_entry(entry & ~(uint64_t)P, (struct probe){VECTOR_PF, 0}, (struct probe){VECTOR_PF, 2},
                "a PML5 entry that is not present");
    check_entry(entry & ~(uint64_t)W, none, (struct probe){VECTOR_PF, 3}, "a read-only PML5 entry");
    check_entry(entry | PS, (struct probe){VECTOR_PF, 9}, (struct probe){VECTOR_PF, 11},
                "bit 7 of a PML5 entry is reserved");
}

/* Called at ALIAS: exits of several kinds with that RIP. */
static __attribute__((noinline)) void from_above(void *seen)
{
    cpuid(0, 0);
    port_in8(0x61);
    uint64_t here;
    uint32_t register_select;
    __asm__ volatile("lea 0(%%rip), %0" : "=r"(here));
    __asm__ volatile("mov (%1), %0" : "=r"(register_select) : "r"(AREA + 4096) : "memory");
    *(uint64_t *)seen = here >> 48;
}

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

static void check_code_and_tables(void)
{
    uint64_t seen = 0;
    void (*high)(void *) = (void (*)(void *))((uint64_t)from_above + ALIAS);
    test_fault(probe_call(high, &seen), none, "code beyond 48 bits, with exits", RULE);
    test_equal(seen, AREA >> 48, "it was there", RULE);

    struct table_pointer gdt, idt, moved;
    __asm__ volatile("sgdt %0; sidt %1" : "=m"(gdt), "=m"(idt));
    moved = (struct table_pointer){gdt.limit, gdt.base + ALIAS};
    __asm__ volatile("lgdt %0" : : "m"(moved));
    moved = (struct table_pointer){idt.limit, idt.base + ALIAS};
    __asm__ volatile("lidt %0" : : "m"(moved));
    cpuid(0, 0);
    test_fault(load(OUTSIDE), gp, "a fault through tables beyond 48 bits", RULE);
    test_fault(move(AREA + 4096, OUTSIDE), gp, "likewise", RULE);
    __asm__ volatile("lgdt %0; lidt %1" : : "m"(gdt), "m"(idt));
}

int main(void)
{
    test_begin("paging5", "5-level paging");
    const uint64_t cr4 = read_cr4(), cr3 = read_cr3();
    const bool has = cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ecx >> 16 & 1) != 0;
    const unsigned bits =
        cpuid(0x80000000, 0).eax >= 0x80000008 ? cpuid(0x80000008, 0).eax >> 8 & 0xff : 48;
    test_equal(bits, has ? 57 : 48, "CPUID tells the width of linear addresses", "SDM, CPUID");
    test_fault(toggle_la57(), gp, "CR4.LA57 cannot be set in long mode", "SDM, Control Registers");
    test_fault(load(AREA), gp, "addresses have 48 bits with 4 levels", "SDM, Canonical Addressing");
    if (!has)
        return test_end();
    check_msrs();
    set_up();
    levels_switch((uint32_t)(cr4 | CR4_LA57), (uint32_t)(uint64_t)pml5);
    test_equal(read_cr4() & CR4_LA57, CR4_LA57, "CR4.LA57 is set", RULE);
    test_fault(toggle_la57(), gp, "and cannot be cleared in long mode", "SDM, Control Registers");
    check_msrs();
    check_accesses();
    check_canonical();
    check_entries();
    check_code_and_tables();
    wrmsr(MSR_FS_BASE, AREA);
    test_fault(load_fs(0), none, "a base beyond 48 bits", RULE);
    test_fault(load_fs(4096), none, "for a device, too", RULE);
    levels_switch((uint32_t)cr4, (uint32_t)cr3);
    cpuid(0, 0);
    test_equal(rdmsr(MSR_FS_BASE), AREA, "which is kept with 4 levels", RULE);
    test_fault(load_fs(0), gp, "and of no use there", "SDM, Canonical Addressing");
    test_fault(move(DEVICE, AREA), gp, "nor is another such address, from a device",
               "SDM, Canonical Addressing");
    return test_end();
}
