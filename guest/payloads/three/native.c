/* SPDX-License-Identifier: BSD-2-Clause */
/* The native column: what a kernel does that has the CPU for itself. Under a hypervisor each of
 * these instructions is either the CPU's own affair (VT-x), or is translated into something else
 * (binary translation), or ends in the hypervisor. */
#include "three.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"

/* --- the operations --- */

static uint64_t *entry_of(uint64_t linear)
{
    const bool second = read_cr3() == (uint64_t)space[1].root;
    return &space[second].table[linear / PAGE % 512];
}

static void map(uint64_t linear, uint64_t entry)
{
    *entry_of(linear) = entry;
    __asm__ volatile("invlpg %0" : : "m"(*(char *)linear) : "memory");
}

static void map_all(change *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        map(list[i].linear, list[i].entry);
}

static void switch_space(unsigned n)
{
    write_cr3((uint64_t)space[n].root);
}

/* Port 0x61, whose bit 4 changes with a clock of the PC's. */
static uint64_t clock(void)
{
    return port_in8(0x61);
}

static void start_timer(void)
{
    apic_write(APIC_TIMER_COUNT, 1000);
}

static void send(unsigned cpu, unsigned vector)
{
    smp_send(smp_apic_id(cpu), vector);
}

static void native_write(const char *text, unsigned count)
{
    enum { COM1 = 0x3f8, STATUS = COM1 + 5, HAS_ROOM = 0x20 };
    for (unsigned i = 0; i < count; i++) {
        while ((port_in8(STATUS) & HAS_ROOM) == 0) {}
        port_out8(COM1, (uint8_t)text[i]);
    }
}

const struct ops native_ops = {
    .name = "native",
    .map = map,
    .map_all = map_all,
    .switch_space = switch_space,
    .fault_address = read_cr2,
    .clock = clock,
    .start_timer = start_timer,
    .send = send,
    .end_interrupt = apic_eoi,
    .wait = interrupt_wait,
    .write = native_write,
    .exit = exit,
};

/* --- how the CPU is told of all this --- */

enum { KERNEL_CODE = 0x08, KERNEL_DATA = 0x10, USER_BEFORE = 0x1b, TASK = 0x30 };
#define MSR_STAR   0xc0000081u
#define MSR_LSTAR  0xc0000082u
#define MSR_FMASK  0xc0000084u
#define SYSCALL_ON 1u
#define RFLAGS_OFF 0x700u /* SYSCALL clears IF, TF and DF */

uint64_t user_cs = 0x2b, user_ss = 0x23;

/* Descriptors in the order that SYSCALL and SYSRET want: kernel code and data, then (behind one
 * for 32-bit code, which is not used) user data and code. */
static uint64_t gdt[8] = {
    0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0, 0x00cff3000000ffff, 0x00affb000000ffff, 0, 0};

static struct __attribute__((packed)) {
    uint32_t reserved;
    uint64_t rsp0; /* the stack on which user code enters the kernel */
    uint8_t rest[92];
} tss;

static struct {
    uint16_t offset_low, selector, type, offset_middle;
    uint32_t offset_high, reserved;
} idt[256];

static void load_tables(void)
{
    const struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } gdt_at = {sizeof(gdt) - 1, (uint64_t)gdt}, idt_at = {sizeof(idt) - 1, (uint64_t)idt};
    __asm__ volatile("lgdt %0\n\t"
                     "lidt %1\n\t"
                     "push %q2\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "push %%rax\n\t"
                     "lretq\n"
                     "1: mov %w3, %%ss\n\t"
                     "mov %w3, %%ds\n\t"
                     "mov %w3, %%es"
                     :
                     : "m"(gdt_at), "m"(idt_at), "i"(KERNEL_CODE), "r"(KERNEL_DATA)
                     : "rax", "memory");
}

static void build_tables(void)
{
    enum { INTERRUPT_GATE = 0x8e00 };
    for (unsigned i = 0; i < STUBS; i++) {
        const uint64_t entry = (uint64_t)stubs + i * STUB_BYTES;
        const unsigned vector = i < EXCEPTIONS ? i : TIMER + i - EXCEPTIONS;
        idt[vector].offset_low = (uint16_t)entry;
        idt[vector].selector = KERNEL_CODE;
        idt[vector].type = INTERRUPT_GATE;
        idt[vector].offset_middle = (uint16_t)(entry >> 16);
    }
    const uint64_t base = (uint64_t)&tss;
    tss.rsp0 = (uint64_t)trap_stack + TRAP_STACK_BYTES;
    gdt[TASK / 8] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40;
}

static void open_system_calls(void)
{
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | SYSCALL_ON);
    wrmsr(MSR_STAR, (uint64_t)USER_BEFORE << 48 | (uint64_t)KERNEL_CODE << 32);
    wrmsr(MSR_LSTAR, (uint64_t)system_call_entry);
    wrmsr(MSR_FMASK, RFLAGS_OFF);
}

static volatile bool second_is_there;

static void start_second(unsigned index)
{
    if (index != 1)
        return;
    load_tables();
    second_is_there = true;
    second_cpu();
}

void native_start(void)
{
    extern uint64_t page_tables[]; /* guest/lib/start.asm's: addresses are as they are, to 4 GiB */
    build_tables();
    load_tables();
    __asm__ volatile("ltr %w0" : : "r"(TASK));
    open_system_calls();
    spaces_build(page_tables[0]);
    apic_enable(false);
    apic_write(APIC_TIMER_DIVIDE, 0xb); /* by 1 */
    apic_write(APIC_LVT_TIMER, TIMER);  /* once for each count */
    pic_set_mask(0xffff);
    if (smp_start_at_least(start_second, 2) < 2)
        lack_second();
    while (!second_is_there)
        __asm__ volatile("pause");
}
