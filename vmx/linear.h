/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's linear memory during one exit: page walk, then RAM, device or fault. */
#pragma once

#include "mm/guestwalk.h"
#include "vmx/emulate.h"
#include "vmx/insn.h"
#include "vmx/vcpu.h"

/* One exit's view. known: a translation reported by the CPU with the exit, which saves a walk. */
struct linear {
    struct vcpu *vcpu;
    struct guest_paging paging;
    uint64_t known_page; /* linear page number of the known translation, UINT64_MAX: none */
    uint64_t known_gpa;  /* and the guest-physical page number */
};

/* Reads the paging state from the VMCS. */
static inline void linear_begin(struct linear *linear, struct vcpu *vcpu)
{
    linear->vcpu = vcpu;
    linear->known_page = UINT64_MAX;
    linear->known_gpa = 0;
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
}

/* bytes is 1, 2, 4 or 8; the range may cross a page. False: #PF has been queued, nothing was
 * written. Device memory is reached through the VM's bus. */
bool linear_read(void *linear, uint64_t address, unsigned bytes, uint64_t *value);
bool linear_write(void *linear, uint64_t address, unsigned bytes, uint64_t value);

/* Whether a write there would succeed; queues #PF where not. */
bool linear_probe_write(struct linear *linear, uint64_t address, unsigned bytes);

/* Queues #PF for an address, with CR2. */
void linear_page_fault(struct vcpu *vcpu, uint64_t address, uint32_t error);

/* The mode in which the guest's code runs, by CS.L and CS.D; and its instruction bytes at RIP:
 * returns how many. */
enum insn_mode linear_code_mode(void);
unsigned linear_fetch(struct linear *linear, enum insn_mode mode, uint8_t bytes[INSN_MAX_BYTES],
                      uint32_t *fault, gva_t *fault_at);
