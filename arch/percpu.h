/* SPDX-License-Identifier: BSD-2-Clause */
/* What belongs to one host CPU, reached through its GS base. */
#pragma once

#include "arch/addr.h"
#include "arch/desc.h"

#include <stdbool.h>
#include <stddef.h>

#define CPU_MAX             256
#define CPU_STACK_BYTES     32768
#define CPU_IST_STACK_BYTES 8192

/* Interrupts that need a stack of their own, for the stack may be what is broken; or the guest's,
 * where SYSCALL has just come from CPL 3 (arch/ring3.asm). */
enum cpu_ist {
    CPU_IST_DOUBLE_FAULT,
    CPU_IST_NMI,
    CPU_IST_MACHINE_CHECK,
    CPU_IST_DEBUG,
    CPU_IST_COUNT
};

struct cpu;

/* What a CPU needs of memory, which the caller of smp_start_cpu() supplies: its struct, zeroed, its
 * GDT, and its stacks: the addresses just above each, 16-byte aligned, mapped on every CPU, with an
 * unmapped page below each where that can be. */
struct cpu_memory {
    struct cpu *cpu;
    uint64_t *gdt;                   /* DESC_GDT_ENTRIES, zeroed */
    uint64_t stack_top;              /* CPU_STACK_BYTES */
    uint64_t ist_top[CPU_IST_COUNT]; /* CPU_IST_STACK_BYTES each */
    /* The tokens on top of its shadow stacks, a page each; 0: it has none. */
    uint64_t shadow_token, ist_shadow_token[CPU_IST_COUNT];
};

struct cpu {
    struct cpu *self;   /* first: cpu_self() reads it at %gs:0 */
    uint64_t ring3_rsp; /* SYSCALL's caller's, for a moment: arch/ring3.asm knows where */
    uint32_t index;     /* 0 = boot CPU */
    struct tss tss;     /* likewise */
    uint32_t apic_id;
    bool arrived; /* it runs C, and compares its TSC with the boot CPU's */
    bool online;
    struct cpu_memory memory;

    hpa_t vmxon_region; /* the engine vtx's page for VMXON; 0 until it has been taken */
    void *vcpu;         /* the struct vcpu that is loaded here, or NULL */
    /* Of that vCPU: made true by a VECTOR_WAKE, and by a VECTOR_POSTED that the host takes, so that
     * the guest will not; or NULL. */
    bool *attention;
    uint64_t timer_interrupts; /* those of VECTOR_TIMER that have come, counted */
    uint64_t last_vm;          /* the number of the VM that it had last (struct vm: number) */
    uint8_t lending;           /* enum sched_lending: guest/vm/sched.h */

    uint64_t cet;             /* what guards it: bits of IA32_S_CET, 0 until cet_start() */
    uint64_t shadow_table[8]; /* the token for each IST entry; 0 is none */
};
_Static_assert(offsetof(struct cpu, ring3_rsp) == 8 &&
                   offsetof(struct cpu, tss) + offsetof(struct tss, rsp) == 24,
               "arch/ring3.asm counts on it");

extern struct cpu boot_cpu; /* index 0; the others come in the order of cpu_add() */

/* This CPU; valid from entry.asm (boot CPU) or the trampoline (others) on. */
#if __STDC_HOSTED__
struct cpu *cpu_self(void); /* a unit test's */
#else
static inline struct cpu *cpu_self(void)
{
    struct cpu *self;
    __asm__ volatile("movq %%gs:0, %0" : "=r"(self));
    return self;
}
#endif

/* CPUs known, online or not; the boot CPU alone until smp_start_cpu(). */
uint32_t cpu_count(void);

/* NULL where there is none of that index. */
struct cpu *cpu_by_index(uint32_t index);

/* How many low bits of an APIC ID tell the threads of one core from each other; 0: one each, or the
 * CPU does not say. */
unsigned cpu_thread_bits(void);

/* Takes the next index; NULL when there is none. Boot CPU only. */
struct cpu *cpu_add(uint32_t apic_id, const struct cpu_memory *memory);

/* Takes back the last cpu_add(), of a CPU that did not start. */
void cpu_remove_last(void);

/* Turns on, on this CPU, what the host uses where it is present: NX, WP, SMEP, SMAP, UMIP, OSXSAVE,
 * global pages, #MF for x87 errors, which are a guest's. CR4.VMXE is left to vmx. After
 * desc_init().
 */
void cpu_enable_features(void);
