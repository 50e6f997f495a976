/* SPDX-License-Identifier: BSD-2-Clause */
/* What in mm/ only the host's CPU in ring 0 can do: read its MTRRs, load CR3, take a page fault. */
#include "arch/cpu.h"
#include "mm/guestspace.h"
#include "mm/host_paging.h"
#include "mm/mtrr.h"

void mtrr_read(struct mtrr_state *out)
{
    static const uint32_t first[] = {MSR_IA32_MTRR_FIX64K_00000, MSR_IA32_MTRR_FIX16K_80000,
                                     MSR_IA32_MTRR_FIX16K_A0000};
    *out = (struct mtrr_state){.phys_bits = 36};
    if (cpu_cpuid(0x80000000, 0).eax >= 0x80000008)
        out->phys_bits = cpu_cpuid(0x80000008, 0).eax & 0xff;
    if ((cpu_cpuid(1, 0).edx & CPUID_1_EDX_MTRR) == 0)
        return;
    out->capability = cpu_rdmsr(MSR_IA32_MTRRCAP);
    out->default_type = cpu_rdmsr(MSR_IA32_MTRR_DEF_TYPE);
    for (unsigned i = 0; i < MTRR_FIXED_COUNT && (out->capability & MTRR_CAP_FIXED); i++)
        out->fixed[i] = cpu_rdmsr(i < 3 ? first[i] : MSR_IA32_MTRR_FIX4K_C0000 + i - 3);
    uint32_t count = out->capability & MTRR_CAP_COUNT;
    out->variable_count = count < MTRR_MAX_VARIABLE ? count : MTRR_MAX_VARIABLE;
    for (uint32_t i = 0; i < out->variable_count; i++) {
        out->variable[i].base = cpu_rdmsr(MSR_IA32_MTRR_PHYSBASE0 + 2 * i);
        out->variable[i].mask = cpu_rdmsr(MSR_IA32_MTRR_PHYSMASK0 + 2 * i);
    }
}

void host_paging_load(void)
{
    cpu_write_cr3(host_paging_root().v);
    physmap_base = HOST_PHYSMAP_BASE;
    guestspace_offset = HOST_GUESTS_BASE - HOST_PHYSMAP_BASE;
}

hpa_t guestspace_enter(hpa_t root)
{
    const hpa_t before = hpa(cpu_read_cr3());
    if (root.v == 0)
        root = host_paging_root();
    if (root.v != before.v)
        cpu_write_cr3(root.v);
    return before;
}

bool guestspace_is_readable(hpa_t frame)
{
    uint64_t word;
    return cpu_read_safe((uint64_t)(uintptr_t)hpa_to_ptr(frame), &word) ||
           cpu_read_safe((uint64_t)(uintptr_t)guestspace_ptr(frame), &word);
}
