/* SPDX-License-Identifier: BSD-2-Clause */
/* An EOI by a word in the guest's memory, where the CPU does not virtualise the local APIC, so that
 * each EOI would be an exit. */
#include "guest/vm/vcpu.h"

#define EOI_BYTES 4u
#define EOI_BIT   1u /* of its first byte: no EOI is needed */

bool vcpu_pv_set_eoi(struct vcpu *vcpu, uint64_t value)
{
    const gpa_t at = gpa(value - VCPU_PV_ON);
    vlapic_take_offer(&vcpu->apic);
    vcpu->pv.eoi = 0;
    if ((value & VCPU_PV_ON) == 0)
        return true;
    if (at.v % EOI_BYTES != 0 || guestmem_writable_window(&vcpu->vm->mem, at, EOI_BYTES) == NULL)
        return false;
    vcpu->pv.eoi = value;
    return true;
}

/*
 * The guest's CPU A, at the end of its handler, clears the bit by one instruction, and writes no
 * EOI if it was set. This is the same CPU, outside of the guest: so A is before that instruction or
 * behind it, and the bit says which. Before: the offer is taken back, as something has come that
 * waits for the EOI, and A writes one. Behind: the interrupt is ended here. Left standing, an offer
 * would let A end an interrupt that another one waits for, which would then wait for the next exit;
 * looked at without being taken, it could be for another interrupt than A ends.
 */
bool vcpu_pv_take_eoi(struct vcpu *vcpu)
{
    const gpa_t at = gpa(vcpu->pv.eoi - VCPU_PV_ON);
    uint8_t *p = guestmem_writable_window(&vcpu->vm->mem, at, EOI_BYTES);
    vcpu->pv.eoi_offered = false;
    if (p == NULL)
        return false;
    const bool ended = (__atomic_fetch_and(p, (uint8_t)~EOI_BIT, __ATOMIC_SEQ_CST) & EOI_BIT) == 0;
    if (!ended)
        guestmem_note_written(&vcpu->vm->mem, at, 1);
    return ended;
}

void vcpu_pv_offer_eoi(struct vcpu *vcpu)
{
    const gpa_t at = gpa(vcpu->pv.eoi - VCPU_PV_ON);
    uint8_t *p = guestmem_writable_window(&vcpu->vm->mem, at, EOI_BYTES);
    if (p == NULL)
        return;
    (void)__atomic_fetch_or(p, EOI_BIT, __ATOMIC_SEQ_CST);
    guestmem_note_written(&vcpu->vm->mem, at, 1);
    vcpu->pv.eoi_offered = true;
}
