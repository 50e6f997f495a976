/* SPDX-License-Identifier: BSD-2-Clause */
/* What the CPU itself reads and writes, in the IO-APIC's two registers: descriptors and the frame
 * of an event. Entry 10's low half, which is selected, is a descriptor's upper half, in the GDT
 * that begins 4 bytes into the device. */
#include "rows.h"

#include "guest/lib/apic.h"
#include "guest/lib/test.h"

#define WINDOW    (IOAPIC_ADDRESS + 0x10)
#define ENTRY_LOW 0x24u
#define SELECTOR  8u
#define PRESENT   0x8000u
#define MASKED    0x10000u
#define LDT       0x200u
#define TSS       0x900u /* available; with 0x200 busy */
#define BUSY      0x200u
#define BASE_16   0x25u /* bits 23:16 of its base: somewhere in memory */
#define VECTOR    0x70
#define RULE      "what the device answers"

struct pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

static uint32_t read_device(uint64_t at)
{
    return *(volatile uint32_t *)(uintptr_t)at;
}

static void write_device(uint64_t at, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)at = value;
}

/* The access byte and more of the descriptor, or 0. */
static uint32_t access_rights(void)
{
    uint32_t rights = 0;
    bool valid;
    __asm__ volatile("lar %2, %0" : "+r"(rights), "=@ccz"(valid) : "r"(SELECTOR));
    return valid ? rights : 0;
}

/* No instruction here may fault: the gates name selectors of another GDT. */
static void check_descriptors(void)
{
    const struct pointer there = {0x3f, IOAPIC_ADDRESS + 4};
    struct pointer before;
    uint16_t ldt, tr;
    __asm__ volatile("sgdt %0; lgdt %1" : "=m"(before) : "m"(there));
    write_device(IOAPIC_ADDRESS, ENTRY_LOW);
    write_device(WINDOW, PRESENT | MASKED | LDT | BASE_16);
    const uint32_t of_ldt = access_rights();
    __asm__ volatile("lldt %w1; sldt %0" : "=m"(ldt) : "r"(SELECTOR));
    write_device(WINDOW, MASKED | LDT);
    const uint32_t absent = access_rights();
    write_device(WINDOW, MASKED | PRESENT);
    const uint32_t none = access_rights();
    write_device(WINDOW, PRESENT | MASKED | TSS | BASE_16);
    __asm__ volatile("ltr %w1; str %0" : "=m"(tr) : "r"(SELECTOR));
    const uint32_t marked = read_device(WINDOW);
    __asm__ volatile("lldt %w0; lgdt %1" : : "r"(0), "m"(before));
    test_equal(of_ldt & 0xff00, PRESENT | LDT, "LAR of a descriptor in a device", RULE);
    test_equal(ldt, SELECTOR, "LLDT", RULE);
    test_equal(absent & 0xff00, LDT, "LAR of one that is not present", RULE);
    test_equal(none, 0, "LAR of a type that there is not", RULE);
    test_equal(tr, SELECTOR, "LTR", RULE);
    test_equal(marked & 0xff00, PRESENT | TSS | BUSY, "LTR marks it as busy", "in the device");
}

/* A handler that leaves its stack at once, for the one at RBX. */
void leave_stack(void);
__asm__("leave_stack: mov %rbx, %rsp; jmp *%rdx");

/* SS is at 0x18, RSP at 0x10, which the window takes, and CS at 0, of which the index register has
 * eight bits. */
static void check_frame(void)
{
    uint16_t cs;
    trap_set_gate(VECTOR, leave_stack);
    write_device(IOAPIC_ADDRESS, ENTRY_LOW);
    __asm__ volatile(
        "mov %%rsp, %%rbx; lea 1f(%%rip), %%rdx; mov %1, %%rsp; int %2; 1: mov %%cs, %0"
        : "=r"(cs)
        : "r"((uint64_t)IOAPIC_ADDRESS + 0x20), "i"(VECTOR)
        : "rbx", "rdx", "memory");
    test_equal(read_device(IOAPIC_ADDRESS), cs, "an event's frame on a stack in a device", "CS");
}

void check_tables(void)
{
    check_descriptors();
    check_frame();
}
