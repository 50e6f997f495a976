/* SPDX-License-Identifier: BSD-2-Clause */
/* What a vCPU keeps up to date in memory of a guest that knows that it is one, in the layouts of
 * KVM's interface: its clock, the time that others have taken from it, and whether an EOI can be
 * done without. guest/pc/kvm_pv.c opens the MSRs by which a guest asks for them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

#define VCPU_PV_ON                                                                \
    1ull /* bit 0 of what a guest writes: it is there; the others are the address \
          */

/* The MSRs' values, as the guest has written them; 0: off. */
struct vcpu_pv {
    uint64_t clock, steal, eoi;
    uint64_t stolen;  /* ticks that it was ready and had no CPU, since steal is on */
    bool eoi_offered; /* the guest may end the interrupt in service by its word of memory */
};

/* What a guest writes to the MSRs. False: #GP, as bits are set that are reserved, or no memory that
 * the guest can write to is at the address. The vCPU is loaded; the last with the VM's lock held.
 */
bool vcpu_pv_set_clock(struct vcpu *vcpu, uint64_t value);
bool vcpu_pv_set_steal(struct vcpu *vcpu, uint64_t value);
bool vcpu_pv_set_eoi(struct vcpu *vcpu, uint64_t value);

/* Its TSC has moved against the host's: the clock stays. The vCPU is loaded. */
void vcpu_pv_tsc_changed(struct vcpu *vcpu);

/* All is off, as after a reset and INIT. */
void vcpu_pv_reset(struct vcpu *vcpu);

/* Where steal is not 0, around the vCPU's time on a CPU: behind engine->load(), and before
 * engine->put(), in the VM's page tables. */
void vcpu_pv_loaded(struct vcpu *vcpu);
void vcpu_pv_leaves(struct vcpu *vcpu);

/* An edge-triggered interrupt, behind which nothing waits, is in service: tells the guest that it
 * may end it by its word. On the vCPU's CPU, outside of the guest. */
void vcpu_pv_offer_eoi(struct vcpu *vcpu);
/* Takes that back, and returns whether the guest has ended it. */
bool vcpu_pv_take_eoi(struct vcpu *vcpu);
