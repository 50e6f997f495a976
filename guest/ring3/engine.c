/* SPDX-License-Identifier: BSD-2-Clause */
/* Functions of an engine's table that the engines without VT-x share: most do nothing. */
#include "guest/ring3/engine.h"

#include "arch/cpu.h"
#include "arch/hardening.h"
#include "arch/log.h"

enum status ring3_probe(const char *name, uint64_t cr4_allowed, struct engine_facts *facts)
{
    hardening_init(facts->threads_shared);
    if (hardening_measures()->reads_supervisor)
        log_line("%s: Meltdown is OPEN for its guests, which run in tables that map the "
                 "hypervisor, but no other guest's RAM",
                 name);
    *facts = (struct engine_facts){
        .rdtscp = (cpu_cpuid(0x80000001, 0).edx & CPUID_80000001_EDX_RDTSCP) != 0,
        .cr4_allowed = cr4_allowed,
        .host_cet = !hardening_measures()->thunks,
    };
    return OK;
}

enum status ring3_cpu_on(struct cpu *cpu)
{
    (void)cpu;
    hardening_cpu_on();
    return OK;
}

void ring3_cpu_off(void)
{
}

enum status ring3_map(struct vm *vm, gpa_t guest, hpa_t host, uint64_t bytes, unsigned perms)
{
    (void)vm;
    (void)guest;
    (void)host;
    (void)bytes;
    (void)perms;
    return OK;
}

enum status ring3_protect(struct vm *vm, gpa_t guest, uint64_t bytes, unsigned perms)
{
    return ring3_map(vm, guest, hpa(0), bytes, perms);
}

enum status ring3_redirect(struct vm *vm, gpa_t page, hpa_t host, unsigned perms)
{
    return ring3_map(vm, page, host, PAGE_SIZE, perms);
}

void ring3_memory(const struct vm *vm, struct engine_memory *out)
{
    (void)vm;
    *out = (struct engine_memory){0};
}

enum status ring3_show(struct vcpu *vcpu, gpa_t page, hpa_t host, unsigned perms)
{
    (void)vcpu;
    (void)page;
    (void)host;
    (void)perms;
    return ERR_UNSUPPORTED;
}

bool ring3_step(struct vcpu *vcpu, bool on)
{
    (void)vcpu;
    return !on;
}

bool ring3_set_debug(struct vcpu *vcpu, unsigned stops)
{
    (void)vcpu;
    return stops == 0;
}

void ring3_nothing_changed(struct vcpu *vcpu)
{
    (void)vcpu;
}
