/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's x87, SSE and further vector registers. The hypervisor uses none, so they stay in the
 * CPU while the vCPU is loaded, and go to memory when another one gets the CPU. */
#pragma once

#include "arch/cpu.h"
#include "guest/vm/vcpu.h"

/* How many pages take them all, whatever of it the guest has enabled. */
static inline uint32_t vcpu_extended_pages(const struct vm *vm)
{
    const uint32_t bytes = cpuid_xsave_size(&vm->cpuid, vm->xcr0_allowed, false);
    return (uint32_t)((bytes + PAGE_SIZE - 1) / PAGE_SIZE);
}

/* Between the CPU and an area of that size; the vCPU is about to be loaded, or put away. */
static inline void vcpu_extended_restore(const struct vcpu *vcpu, const void *area)
{
    const uint64_t components = vcpu->vm->xcr0_allowed;
    if (components == 0) {
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
        return;
    }
    cpu_xsetbv(0, components);
    __asm__ volatile("xrstor64 (%0)"
                     :
                     : "r"(area), "a"((uint32_t)components), "d"((uint32_t)(components >> 32))
                     : "memory");
    if (vcpu->xcr0 != components)
        cpu_xsetbv(0, vcpu->xcr0);
}

static inline void vcpu_extended_save(const struct vcpu *vcpu, void *area)
{
    const uint64_t components = vcpu->vm->xcr0_allowed;
    if (components == 0) {
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
        return;
    }
    if (vcpu->xcr0 != components)
        cpu_xsetbv(0, components);
    __asm__ volatile("xsave64 (%0)"
                     :
                     : "r"(area), "a"((uint32_t)components), "d"((uint32_t)(components >> 32))
                     : "memory");
}

/* As after a reset, or as firmware leaves them. */
static inline void vcpu_extended_restore_initial(const struct vcpu *vcpu)
{
    /* XRSTOR puts each component that the header, at 512, does not name into its initial state,
     * which is FNINIT's; FXRSTOR takes x87 and SSE from the bytes before. MXCSR: 0x1f80 */
    static const uint8_t after_fninit[832] __attribute__((aligned(64))) = {
        [0] = 0x7f, [1] = 0x03, [24] = 0x80, [25] = 0x1f}; /* FCW 0x37f, all registers empty */
    static const uint8_t after_reset[832] __attribute__((aligned(64))) = {
        [0] = 0x40, [4] = 0xff, [24] = 0x80, [25] = 0x1f, [512] = 1}; /* FCW 0x40, all of them +0 */
    vcpu_extended_restore(vcpu, vcpu->vm->from_reset ? after_reset : after_fninit);
}
