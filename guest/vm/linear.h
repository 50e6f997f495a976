/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's linear memory during one exit: page walk, then RAM, device or fault. */
#pragma once

#include "arch/cpu.h"
#include "guest/cpu/emulate.h"
#include "guest/cpu/guestwalk.h"
#include "guest/vm/vcpu.h"
#include "vmx/exit.h"
#include "vmx/insn.h"

/* One exit's view. */
struct linear {
    struct vcpu *vcpu;
    struct guest_paging paging;
    uint64_t pdpte[4]; /* under PAE paging */
    /* The page number of which an operand has to have a part, 0 for none. Else it is not
     * translated, and nothing is raised: the CPU shall see for itself. To be set before the first
     * translation: linear_begin() leaves it, as most exits come without any. */
    uint64_t expected;
};

/* What linear_begin() leaves out in the common case: PDPTE registers, protection keys. */
void linear_begin_rest(struct linear *linear);

/* Reads the paging state from the VMCS. */
static inline void linear_begin(struct linear *linear, struct vcpu *vcpu)
{
    linear->vcpu = vcpu;
    linear->paging = (struct guest_paging){
        .cr0 = vmread(VMCS_GUEST_CR0),
        .cr3 = vmread(VMCS_GUEST_CR3),
        .cr4 = vmread(VMCS_GUEST_CR4),
        .efer = vmread(VMCS_GUEST_EFER),
        .rflags = vmread(VMCS_GUEST_RFLAGS),
        .cpl = (uint8_t)(vmread(VMCS_GUEST_SS_ACCESS) >> 5 & 3),
        .implicit = false,
        .phys_bits = vcpu->phys_bits,
    };
    if ((linear->paging.cr4 & (CR4_PAE | CR4_PKE)) != CR4_PAE ||
        (linear->paging.efer & EFER_LMA) == 0)
        linear_begin_rest(linear);
}

/* What the emulator works on, after linear_begin(): the vCPU's registers (the slot of RSP included,
 * which the caller fills in and puts back), memory, and linear's copy of RFLAGS. */
struct emulate_env linear_environment(struct linear *linear, enum insn_mode mode);

/* Translates 1 to 4096 bytes at an address; they may cross a page. Device memory is translated as
 * well as RAM; breakpoints on it are noted. False: #PF has been queued. */
bool linear_translate(void *linear, uint64_t address, unsigned bytes, bool write,
                      struct emulate_place *out);

/* What has been translated: RAM, or the VM's bus. The VM's lock is held, so that what an
 * instruction reads and then writes is one access to other vCPUs. */
void linear_read(void *linear, const struct emulate_place *place, void *to);
void linear_write(void *linear, const struct emulate_place *place, const void *from);

/* Queues #PF for an address, with CR2. */
void linear_page_fault(struct vcpu *vcpu, uint64_t address, uint32_t error);

/* The mode in which the guest's code runs, by EFER.LMA, CS.L and CS.D. */
static inline enum insn_mode linear_code_mode(const struct linear *linear)
{
    uint64_t access = vmread(VMCS_GUEST_CS_ACCESS);
    if ((access & ACCESS_LONG) != 0 && (linear->paging.efer & EFER_LMA) != 0)
        return INSN_64;
    return (access & 1u << 14) != 0 ? INSN_32 : INSN_16;
}

/* Its instruction bytes at RIP: returns how many there are before a page fault (*fault is its error
 * code) or before what is not RAM (*fault is 0). */
static inline unsigned linear_fetch(const struct linear *linear, enum insn_mode mode,
                                    uint8_t bytes[INSN_MAX_BYTES], uint32_t *fault, gva_t *fault_at)
{
    uint64_t rip = vmread(VMCS_GUEST_RIP);
    if (mode != INSN_64)
        rip = (rip + vmread(VMCS_GUEST_CS_BASE)) & UINT32_MAX;
    return (unsigned)guestwalk_read(&linear->vcpu->vm->mem, &linear->paging, gva(rip), WALK_FETCH,
                                    bytes, INSN_MAX_BYTES, fault, fault_at);
}
