/* SPDX-License-Identifier: BSD-2-Clause */
/* Trips to 32-bit protected mode and back, with tables that the test lays out: GDT, IDT, task
 * register, page tables. One piece of assembly runs there, until an exception, an interrupt, or it
 * itself ends the trip. */
#pragma once

#include <stdint.h>

/* Selectors that a test's GDT has to hold; MODE32_HOME_TSS is one that mode32_describe_basics()
 * makes, and is used on the way back. */
enum { MODE32_CODE = 0x08, MODE32_DATA = 0x10, MODE32_TSS = 0x18, MODE32_HOME_TSS = 0x88 };
#define MODE32_GDT_ENTRIES 18
#define MODE32_VECTOR_HOME 0x31 /* INT of it ends a trip from any ring; its gate is of DPL 3 */

/* mode32.asm knows the layout. */
struct mode32 {
    uint32_t action;   /* a function of 32-bit code; ends by a jump to mode32_home */
    uint32_t cr4, cr3; /* CR3 0: no paging */
    uint16_t gdt_limit, idt_limit;
    uint32_t gdt, idt;
};

/* How the trip ended, if by an exception, an interrupt through a stub, or MODE32_VECTOR_HOME. */
struct mode32_fault {
    uint32_t came, vector, error, eip, eflags;
    uint16_t cs, tr, ds, es;
    uint32_t dr6, cr2, esp;
    uint32_t eax, ecx, edi; /* of the interrupted code */
};
extern struct mode32_fault mode32_fault;

/* Makes the trip; interrupts off before and after. Known values are in the registers at its start:
 * EAX 0x11111111, ECX 0x22222222, EDX, EBX, EBP, ESI, EDI 0x77777777. */
void mode32_go(const struct mode32 *trip);
void mode32_home(void);

/* The entry of a vector's gate that ends the trip: 0 to 31, 0x30 to 0x40. */
uint32_t mode32_stub(unsigned vector);

void mode32_describe(uint64_t *gdt, unsigned selector, uint32_t base, uint32_t limit,
                     unsigned access, unsigned flags);
void mode32_gate(uint64_t *idt, unsigned vector, unsigned selector, uint32_t entry,
                 unsigned access);

/* Code, data and the TSS for the way home; gates for all exceptions and MODE32_VECTOR_HOME. */
void mode32_describe_basics(uint64_t *gdt, uint64_t *idt);

/* The address of code or data, all of which is below 4 GiB. */
static inline uint32_t address32(const void *p)
{
    return (uint32_t)(uint64_t)p;
}
