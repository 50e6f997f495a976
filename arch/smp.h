/* SPDX-License-Identifier: BSD-2-Clause */
/* The other CPUs: starting, parking, waking and stopping them. */
#pragma once

#include "arch/cpu.h"
#include "arch/percpu.h"
#include "arch/status.h"

/* What is the same for every CPU to be started. */
struct smp_env {
    hpa_t trampoline;                /* a page below 1 MiB, identity-mapped and executable in cr3 */
    hpa_t cr3;                       /* root of our page tables, below 4 GiB */
    uint64_t tsc_hz;                 /* for the waits that the protocol asks for */
    void (*entry)(struct cpu *self); /* on each: own stack, GDT, APIC; interrupts off; no return */
};

/* Starts one CPU by INIT and two SIPIs and waits until it has reached entry. ERR_TIMEOUT after
 * 200 ms without an answer: the CPU is put back to waiting for SIPI, and is left out, as is one
 * that the APIC's mode cannot name, or whose TSC runs apart (ERR_UNSUPPORTED). ERR_LIMIT: more than
 * CPU_MAX. Boot CPU only, after lapic_init(); logs what went wrong. */
enum status smp_start_cpu(const struct smp_env *env, uint32_t apic_id,
                          const struct cpu_memory *memory);

/* Stops every other CPU for good, by NMI. */
void smp_stop_others(void);

/* Whether that has begun; the NMI handler asks. */
bool smp_is_stopping(void);

/* Sleeps until an interrupt has been handled (an IPI on VECTOR_WAKE, for one). Interrupts off
 * before and after. A wake-up between a check for work and this call is not lost. */
static inline void cpu_idle(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

/* Gives VECTOR_WAKE to that CPU. */
void smp_wake(const struct cpu *cpu);

/* This CPU does nothing more. */
static inline _Noreturn void cpu_stop(void)
{
    for (;;) {
        cpu_cli();
        cpu_hlt();
    }
}
