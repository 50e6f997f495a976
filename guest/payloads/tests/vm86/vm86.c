/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtual-8086 mode: what IOPL, the TSS's maps and CR4.VME let through, and how it is left. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/mode32.h"
#include "guest/lib/test.h"

#define EFLAGS_IF  0x200u
#define EFLAGS_VM  0x20000u
#define EFLAGS_VIF 0x80000u
#define IOPL(n)    ((n) << 12)
#define CR4_VME    1u
#define VECTOR_IRQ 0x40

struct piece {
    uint32_t start, at, end;
};
extern const struct piece piece_int, piece_int_redirected, piece_int3, piece_cli, piece_sti,
    piece_pushf, piece_iret, piece_in, piece_in_denied, piece_insb, piece_outsb, piece_cpuid,
    piece_hlt, piece_div, piece_mov_cr, piece_loop, piece_limit;
extern const char piece_iret_back[];
extern uint32_t vm86_flags, vm86_ip, vm86_mark;
extern uint8_t vm86_buffer[8];
void act_vm86(void);
void vm86_handler(void);

/* SDM, "Interrupt Redirection Bitmap": before the I/O permission bitmap. */
static struct __attribute__((packed)) {
    uint32_t link, esp0, ss0, others[22];
    uint16_t trap, bitmap_at;
    uint8_t redirection[32], ports[33];
} tss;
_Static_assert(__builtin_offsetof(__typeof__(tss), redirection) == 104, "behind the TSS proper");

static struct mode32 trip;
static uint64_t gdt[MODE32_GDT_ENTRIES], idt[VECTOR_IRQ + 1];
static uint8_t stack0[1024];

static void setup(void)
{
    mode32_describe_basics(gdt, idt);
    mode32_describe(gdt, MODE32_TSS, address32(&tss), sizeof(tss) - 1, 0x89, 0);
    mode32_gate(idt, 0x30, MODE32_CODE, mode32_stub(0x30), 0xee);
    mode32_gate(idt, 0x32, MODE32_CODE, mode32_stub(0x32), 0xee);
    mode32_gate(idt, 3, MODE32_CODE, mode32_stub(3), 0xee);
    mode32_gate(idt, VECTOR_IRQ, MODE32_CODE, mode32_stub(VECTOR_IRQ), 0x8e);
    tss.esp0 = address32(stack0 + sizeof(stack0));
    tss.ss0 = MODE32_DATA;
    tss.bitmap_at = 136;
    memset(tss.redirection, 0xff, sizeof(tss.redirection));
    memset(tss.ports, 0xff, sizeof(tss.ports));
    tss.ports[0x61 / 8] &= (uint8_t) ~(1u << 1);
    tss.redirection[0x32 / 8] &= (uint8_t) ~(1u << 2);
    /* The 8086's own table begins at 0, which C takes for no address. */
    __asm__ volatile("movl %0, 0x32 * 4" : : "r"(address32((const void *)vm86_handler)) : "memory");
    trip = (struct mode32){.action = address32((const void *)act_vm86),
                           .gdt = address32(gdt),
                           .gdt_limit = sizeof(gdt) - 1,
                           .idt = address32(idt),
                           .idt_limit = sizeof(idt) - 1};
}

/* Runs a piece; true if it ended there, by this vector, still in virtual-8086 mode. */
static bool ends(const struct piece *piece, uint32_t flags, uint32_t cr4, uint32_t vector,
                 uint32_t error, uint32_t at)
{
    memset(&mode32_fault, 0, sizeof(mode32_fault));
    vm86_mark = 0;
    vm86_flags = EFLAGS_VM | 2 | flags;
    vm86_ip = piece->start;
    trip.cr4 = cr4;
    mode32_go(&trip);
    const struct mode32_fault *f = &mode32_fault;
    bool ok = f->came == 1 && f->vector == vector && f->error == error && f->eip == at &&
              (f->eflags & EFLAGS_VM) != 0 && f->cs == 0;
    if (!ok)
        print("  %u exits: vector %u, error %x, EIP %x, EFLAGS %x; not vector %u at %x\n", f->came,
              f->vector, f->error, f->eip, f->eflags, vector, at);
    return ok;
}

static bool passes(const struct piece *piece, uint32_t flags, uint32_t cr4)
{
    return ends(piece, flags, cr4, VECTOR_UD, 0, piece->end);
}

static bool faults(const struct piece *piece, uint32_t flags, uint32_t cr4)
{
    return ends(piece, flags, cr4, VECTOR_GP, 0, piece->at);
}

static void check_iopl(void)
{
    const char *rule = "SDM, Sensitive Instructions in virtual-8086 mode";
    test_check(passes(&piece_cli, IOPL(3), 0), "CLI with IOPL 3", rule);
    test_check(faults(&piece_cli, IOPL(0), 0), "CLI with IOPL 0", rule);
    test_check(faults(&piece_sti, IOPL(2), 0), "STI with IOPL 2", rule);
    test_check(passes(&piece_pushf, IOPL(3), 0), "PUSHF with IOPL 3", rule);
    test_check(faults(&piece_pushf, IOPL(0), 0), "PUSHF with IOPL 0", rule);
    test_check(faults(&piece_iret, IOPL(0), 0), "IRET with IOPL 0", rule);
    test_check(ends(&piece_iret, IOPL(3), 0, VECTOR_UD, 0, address32(piece_iret_back)),
               "IRET with IOPL 3 stays in the mode", rule);
    test_check(ends(&piece_int, IOPL(3), 0, 0x30, 0, piece_int.end), "INT with IOPL 3 leaves it",
               "SDM, Class 3 - Software Interrupt Handling");
    test_check(faults(&piece_int, IOPL(0), 0), "INT with IOPL 0",
               "SDM, Class 3 - Software Interrupt Handling");
    test_check(ends(&piece_int3, IOPL(0), 0, VECTOR_BP, 0, piece_int3.end),
               "INT3 whatever the IOPL", "SDM, INT3");
    test_check(faults(&piece_hlt, IOPL(3), 0), "HLT", "not at CPL 3");
    test_check(faults(&piece_mov_cr, IOPL(3), 0), "MOV from CR0", "not at CPL 3");
}

static void check_vme(void)
{
    const char *rule = "SDM, Software Interrupt Handling Methods";
    if ((cpuid(1, 0).edx >> 1 & 1) == 0)
        return;
    test_check(passes(&piece_int_redirected, IOPL(0), CR4_VME) && vm86_mark == 1,
               "a redirected INT with IOPL 0 runs the 8086 handler", rule);
    test_check(passes(&piece_int_redirected, IOPL(3), CR4_VME) && vm86_mark == 1, "and with IOPL 3",
               rule);
    test_check(ends(&piece_int, IOPL(3), CR4_VME, 0x30, 0, piece_int.end),
               "another INT with IOPL 3 leaves the mode", rule);
    test_check(faults(&piece_int, IOPL(0), CR4_VME), "and with IOPL 0 faults", rule);
    test_check(passes(&piece_sti, IOPL(0), CR4_VME) && (mode32_fault.eflags & EFLAGS_VIF) != 0,
               "STI with IOPL 0 sets VIF", "SDM, VME");
    test_check(passes(&piece_cli, IOPL(0) | EFLAGS_VIF, CR4_VME) &&
                   (mode32_fault.eflags & EFLAGS_VIF) == 0,
               "CLI with IOPL 0 clears it", "SDM, VME");
}

static void check_io(void)
{
    const char *rule = "SDM, I/O Permission Bit Map";
    test_check(passes(&piece_in, IOPL(0), 0), "IN that the TSS permits", rule);
    test_check(faults(&piece_in_denied, IOPL(3), 0), "IN that it does not, whatever the IOPL",
               rule);
    memset(vm86_buffer, 0, sizeof(vm86_buffer));
    bool done = passes(&piece_insb, IOPL(0), 0);
    uint8_t value = port_in8(0x61) & 0xf;
    test_check(done && (vm86_buffer[0] & 0xf) == value && (vm86_buffer[2] & 0xf) == value &&
                   vm86_buffer[3] == 0,
               "REP INSB", rule);
    test_check((mode32_fault.ecx & 0xffff) == 0 &&
                   (mode32_fault.edi & 0xffff) == ((address32(vm86_buffer) + 3) & 0xffff),
               "counts in 16 bits", "SDM, INS");
    vm86_buffer[0] = port_in8(0x61);
    test_check(passes(&piece_outsb, IOPL(0), 0), "OUTSB", rule);
}

static void check_events(void)
{
    test_check(passes(&piece_cpuid, IOPL(0), 0) && mode32_fault.eax == cpuid(0, 0).eax, "CPUID",
               "in any mode");
    test_check(ends(&piece_div, IOPL(0), 0, VECTOR_DE, 0, piece_div.at), "#DE",
               "SDM, Class 1 - Hardware Interrupt and Exception Handling");
    test_check(ends(&piece_limit, IOPL(0), 0, VECTOR_GP, 0, piece_limit.at),
               "an operand beyond 64 KiB", "SDM, 8086 Emulation");
    apic_self_ipi(VECTOR_IRQ);
    test_check(ends(&piece_loop, IOPL(0) | EFLAGS_IF, 0, VECTOR_IRQ, 0, piece_loop.start),
               "an interrupt that waited",
               "SDM, Class 1 - Hardware Interrupt and Exception "
               "Handling");
    apic_eoi();
}

int main(void)
{
    test_begin("vm86", "virtual-8086 mode");
    apic_enable(false);
    setup();
    check_iopl();
    check_vme();
    check_io();
    check_events();
    return test_end();
}
