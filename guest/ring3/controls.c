/* SPDX-License-Identifier: BSD-2-Clause */
/* Control registers around code at CPL 3. */
#include "guest/ring3/controls.h"

#include "arch/cpu.h"

#define CPUID_FAULTING_HAS (1ull << 31) /* of MSR_PLATFORM_INFO */
#define CPUID_FAULTING     (1ull << 0)  /* of MSR_MISC_FEATURES_ENABLES */

static void write_cr0(struct ring3_controls *c, uint64_t value)
{
    if (c->cr0 != value)
        cpu_write_cr0(value);
    c->cr0 = value;
}

static void write_cr4(struct ring3_controls *c, uint64_t value)
{
    if (c->cr4 != value)
        cpu_write_cr4(value);
    c->cr4 = value;
}

static void __attribute__((cold)) switch_syscall(struct ring3_controls *c, bool allow)
{
    const uint64_t efer = cpu_rdmsr(MSR_IA32_EFER);
    cpu_wrmsr(MSR_IA32_EFER, allow ? efer | EFER_SCE : efer & ~EFER_SCE);
    c->system_calls = allow;
}

void __attribute__((hot)) ring3_controls_allow_syscall(struct ring3_controls *c, bool allow)
{
    if (c->system_calls != allow)
        switch_syscall(c, allow);
}

void ring3_controls_set_aux(struct ring3_controls *c, uint64_t aux)
{
    if (c->aux_known && c->aux == aux)
        return;
    c->aux = aux;
    c->aux_known = true;
    (void)cpu_wrmsr_safe(MSR_IA32_TSC_AUX, aux);
}

void __attribute__((hot)) ring3_controls_enter(struct ring3_controls *c, uint64_t cr0, uint64_t cr4)
{
    write_cr0(c, (c->host_cr0 & ~RING3_CR0_OF_GUEST) | (cr0 & RING3_CR0_OF_GUEST));
    write_cr4(c, (c->host_cr4 & ~(RING3_CR4_OF_GUEST | RING3_CR4_STAYS)) | cr4);
}

/* SYSCALL is also the way out of the window. */
void __attribute__((hot)) ring3_controls_leave(struct ring3_controls *c)
{
    write_cr0(c, (c->host_cr0 & ~RING3_CR0_STAYS) | (c->cr0 & RING3_CR0_STAYS));
    write_cr4(c, (c->host_cr4 & ~RING3_CR4_STAYS) | (c->cr4 & RING3_CR4_STAYS));
    ring3_controls_allow_syscall(c, true);
}

static void __attribute__((cold)) set_cpuid_faulting(bool on)
{
    uint64_t value;
    if (!cpu_rdmsr_safe(MSR_PLATFORM_INFO, &value) || (value & CPUID_FAULTING_HAS) == 0 ||
        !cpu_rdmsr_safe(MSR_MISC_FEATURES_ENABLES, &value))
        return;
    value = on ? value | CPUID_FAULTING : value & ~CPUID_FAULTING;
    (void)cpu_wrmsr_safe(MSR_MISC_FEATURES_ENABLES, value);
}

void ring3_controls_load(struct ring3_controls *c)
{
    c->host_cr0 = c->cr0 = cpu_read_cr0();
    c->host_cr4 = c->cr4 = cpu_read_cr4();
    c->system_calls = true; /* ring3_load() */
    c->aux_known = false;
    set_cpuid_faulting(true);
}

void ring3_controls_put(struct ring3_controls *c)
{
    set_cpuid_faulting(false);
    write_cr0(c, c->host_cr0);
    write_cr4(c, c->host_cr4);
}
