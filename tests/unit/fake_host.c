/* SPDX-License-Identifier: BSD-2-Clause */
/* CPUs without CPUs. */
#include "tests/unit/fake_host.h"

#include "arch/lapic.h"
#include "guest/vm/step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_host fake_host;

void fake_host_reset(uint64_t now)
{
    memset(&fake_host, 0, sizeof(fake_host));
    fake_host.now = now;
    for (uint32_t i = 0; i < FAKE_HOST_CPUS; i++) {
        fake_host.cpu[i].self = &fake_host.cpu[i];
        fake_host.cpu[i].index = fake_host.cpu[i].apic_id = i;
    }
}

uint64_t cpu_rdtsc(void)
{
    if (fake_host.at_rdtsc != NULL)
        fake_host.at_rdtsc();
    return fake_host.now;
}

/* No CPU that runs a unit test keeps a predictor for a guest. */
void cpu_wrmsr(uint32_t msr, uint64_t value)
{
    (void)msr, (void)value;
}

void cpu_xsetbv(uint32_t xcr, uint64_t value)
{
    (void)xcr;
    fake_host.xcr0 = value;
}

struct cpu *cpu_self(void)
{
    return &fake_host.cpu[fake_host.self];
}

struct cpu *cpu_by_index(uint32_t index)
{
    return index < FAKE_HOST_CPUS ? &fake_host.cpu[index] : NULL;
}

uint32_t cpu_count(void)
{
    return FAKE_HOST_CPUS;
}

void smp_wake(const struct cpu *cpu)
{
    fake_host.wakes[cpu->index]++;
    if (cpu->attention != NULL)
        *cpu->attention = true;
}

void lapic_send(uint32_t apic_id, uint32_t message)
{
    (void)message;
    fake_host.notifications++;
    if (fake_host.cpu[apic_id].attention != NULL)
        *fake_host.cpu[apic_id].attention = true;
}

void cpu_idle_until(uint64_t tsc_deadline)
{
    if (fake_host.idle != NULL) {
        fake_host.idle(tsc_deadline);
    } else if (tsc_deadline == UINT64_MAX) {
        fputs("fake CPU: sleeps for ever\n", stderr);
        abort();
    } else if (tsc_deadline > fake_host.now) {
        fake_host.now = tsc_deadline;
    }
}

struct cpuid_regs fake_host_cpuid(uint32_t leaf, uint32_t subleaf)
{
    (void)subleaf;
    if (leaf == 0x80000000u)
        return (struct cpuid_regs){0x80000008u, 0, 0, 0};
    if (leaf == 0x80000008u)
        return (struct cpuid_regs){0x3027, 0, 0, 0};
    return (struct cpuid_regs){leaf == 0 ? 0x16 : 0, 0, 0, 0};
}

/* Nobody steps here. */
void step_give_up(struct vcpu *vcpu)
{
    vcpu->step.count = 0;
}

bool step_continue(struct vcpu *vcpu)
{
    vcpu->step.unfinished = --vcpu->step.pieces != 0; /* so often */
    return vcpu->step.unfinished;
}

void step_destroy(struct vcpu *vcpu)
{
    (void)vcpu;
}

void vcpu_print(const struct vcpu *vcpu, const struct cpu_state *state)
{
    (void)vcpu;
    (void)state;
    fake_host.dumps++;
}

void vcpu_print_undelivered(const struct vcpu *vcpu, const struct cpu_state *state)
{
    (void)vcpu;
    (void)state;
}
