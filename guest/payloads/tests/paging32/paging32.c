/* SPDX-License-Identifier: BSD-2-Clause */
/* 32-bit and PAE paging: rights and reserved bits for the operand beside one in device memory,
 * which a hypervisor has to translate itself, and the PDPTE registers. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/mode32.h"
#include "guest/lib/test.h"

#define AREA     0x40000000u
#define CR4_PSE  (1u << 4)
#define EFER_NXE (1ull << 11)
#define NX       (1ull << 63)
enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80 };

void act_from_device(void);
void act_to_device(void);
void act_stale(void);
void act_load_cr3(void);
extern const char act_end[];
extern uint32_t new_cr3, stale_pdpte;

static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t table[1024] __attribute__((aligned(4096)));
static uint64_t pointers[4] __attribute__((aligned(32)));
static uint64_t bad_pointers[4] __attribute__((aligned(32)));
static uint64_t pae_directory[4][512] __attribute__((aligned(4096)));
static uint64_t pae_table[512] __attribute__((aligned(4096)));
static uint8_t target[4096] __attribute__((aligned(4096)));

static struct mode32 trip;
static uint64_t gdt[MODE32_GDT_ENTRIES], idt[0x41];
static uint32_t tss[26];

static void setup(bool pae)
{
    mode32_describe_basics(gdt, idt);
    mode32_describe(gdt, MODE32_TSS, address32(tss), sizeof(tss) - 1, 0x89, 0);
    for (uint32_t i = 0; i < 1024; i++)
        directory[i] = i << 22 | PS | W | P;
    directory[AREA >> 22] = address32(table) | U | W | P;
    table[0] = address32(target) | U | W | P;
    for (uint64_t i = 0; i < 4; i++) {
        pointers[i] = address32(pae_directory[i]) | P;
        for (uint64_t j = 0; j < 512; j++)
            pae_directory[i][j] = i << 30 | j << 21 | PS | W | P;
    }
    pae_directory[AREA >> 30][0] = address32(pae_table) | U | W | P;
    pae_table[0] = address32(target) | U | W | P;
    trip = (struct mode32){.cr4 = pae ? CR4_PAE : CR4_PSE,
                           .cr3 = pae ? address32(pointers) : address32(directory),
                           .gdt = address32(gdt),
                           .gdt_limit = sizeof(gdt) - 1,
                           .idt = address32(idt),
                           .idt_limit = sizeof(idt) - 1};
}

#define ALLOWED 0xffu

static void expect(void (*action)(void), unsigned error, const char *what, const char *rule)
{
    memset(&mode32_fault, 0, sizeof(mode32_fault));
    trip.action = address32((const void *)action);
    mode32_go(&trip);
    const struct mode32_fault *f = &mode32_fault;
    bool ok = f->came == 1;
    if (error == ALLOWED)
        ok = ok && f->vector == VECTOR_UD && f->eip == address32(act_end);
    else
        ok = ok && f->vector == VECTOR_PF && f->error == error && f->cr2 == AREA;
    if (!test_check(ok, what, rule))
        print("  vector %u, error %x, EIP %x, CR2 %x\n", f->vector, f->error, f->eip, f->cr2);
}

/* To the page, and from it. */
static void both(unsigned write_error, unsigned read_error, const char *what, const char *rule)
{
    expect(act_from_device, write_error, what, rule);
    expect(act_to_device, read_error, what, rule);
}

static void check_32(void)
{
    const char *rule = "32-bit paging";
    setup(false);
    both(ALLOWED, ALLOWED, "a writable page", rule);
    test_equal(table[0] & (A | D), A | D, "accessed and dirty flags", rule);
    test_equal(directory[AREA >> 22] & A, A, "accessed in the directory", rule);
    table[0] &= ~(uint32_t)W;
    both(3, ALLOWED, "a read-only page", rule);
    setup(false);
    directory[AREA >> 22] &= ~(uint32_t)W;
    both(3, ALLOWED, "a read-only table", rule);
    setup(false);
    table[0] = 0;
    both(2, 0, "an absent page", rule);
    setup(false);
    directory[AREA >> 22] = 0;
    both(2, 0, "an absent table", rule);
    setup(false);
    directory[AREA >> 22] = P | W | PS;
    both(ALLOWED, ALLOWED, "a 4 MiB page", rule);
    test_equal(directory[AREA >> 22] & (A | D), A | D, "its flags", rule);
    directory[AREA >> 22] = P | W | PS | 1u << 21;
    both(11, 9, "a 4 MiB page with bit 21", rule);
}

static void check_pae(void)
{
    const char *rule = "PAE paging";
    unsigned width = cpuid(0x80000008, 0).eax & 0xff;
    setup(true);
    both(ALLOWED, ALLOWED, "a writable page", rule);
    test_equal(pae_table[0] & (A | D), A | D, "accessed and dirty flags", rule);
    test_equal(pointers[AREA >> 30] & A, 0, "none in a PDPTE", rule);
    pae_table[0] &= ~(uint64_t)W;
    both(3, ALLOWED, "a read-only page", rule);
    setup(true);
    pae_table[0] = 0;
    both(2, 0, "an absent page", rule);
    setup(true);
    pointers[AREA >> 30] = 0;
    both(2, 0, "an absent PDPTE", rule);
    setup(true);
    pae_table[0] |= 1ull << width;
    both(11, 9, "an address beyond the physical width", rule);
    setup(true);
    pae_table[0] |= 1ull << 62;
    both(11, 9, "bit 62", rule);
    setup(true);
    pae_table[0] |= NX;
    both(11, 9, "bit 63 without EFER.NXE", rule);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    both(ALLOWED, ALLOWED, "bit 63 with it", rule);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NXE);
    setup(true);
    pae_directory[AREA >> 30][0] = P | W | PS;
    both(ALLOWED, ALLOWED, "a 2 MiB page", rule);
    pae_directory[AREA >> 30][0] = P | W | PS | 1 << 13;
    both(11, 9, "a 2 MiB page with bit 13", rule);
}

static void check_pdptes(void)
{
    const char *rule = "SDM, PDPTE Registers";
    setup(true);
    stale_pdpte = address32(&pointers[AREA >> 30]);
    expect(act_stale, ALLOWED, "a PDPTE cleared in memory stays in its register", rule);
    setup(true);
    memcpy(bad_pointers, pointers, sizeof(pointers));
    new_cr3 = address32(bad_pointers);
    expect(act_load_cr3, ALLOWED, "MOV to CR3", rule);
    for (unsigned bit = 1; bit < 9; bit = bit == 2 ? 5 : bit + 1) {
        bad_pointers[2] = pointers[2] | 1ull << bit;
        memset(&mode32_fault, 0, sizeof(mode32_fault));
        mode32_go(&trip);
        test_check(mode32_fault.vector == VECTOR_GP && mode32_fault.error == 0,
                   "MOV to CR3 with a reserved bit in a PDPTE", rule);
    }
    bad_pointers[2] = (pointers[2] | 2) & ~(uint64_t)P;
    expect(act_load_cr3, ALLOWED, "not if the PDPTE is absent", rule);
}

/* The tables and the page by addresses that lose bit 20. */
static void check_a20(bool pae)
{
    enum { PORT_A = 0x92, A20 = 2, MIB = 1 << 20 };
    setup(pae);
    trip.cr3 |= MIB;
    directory[AREA >> 22] |= MIB;
    table[0] |= MIB;
    for (unsigned i = 0; i < 4; i++)
        pointers[i] |= MIB;
    pae_directory[AREA >> 30][0] |= MIB;
    pae_table[0] |= MIB;
    port_out8(PORT_A, 0);
    both(ALLOWED, ALLOWED, "a writable page with A20 off", pae ? "PAE paging" : "32-bit paging");
    port_out8(PORT_A, A20);
    test_equal((pae ? pae_table[0] : table[0]) & (A | D), A | D, "accessed and dirty flags then",
               pae ? "PAE paging" : "32-bit paging");
}

int main(void)
{
    test_begin("paging32", "32-bit and PAE paging, through devices too");
    check_32();
    check_pae();
    check_pdptes();
    check_a20(false);
    check_a20(true);
    return test_end();
}
