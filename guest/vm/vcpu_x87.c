/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x87 errors the way of MS-DOS, which CR0.NE = 0 asks for (SDM, "Handling x87 FPU Exceptions in
 * Software": the MS-DOS compatibility sub-mode). The next x87 instruction that waits for errors
 * asserts FERR#, which a PC makes IRQ 13 of, and freezes until an interrupt comes; with IGNNE#
 * asserted it is executed as if there were no error. FERR# goes when no error is pending any more.
 *
 * An engine runs the guest with CR0.NE = 1 and has #MF exit, so that only errors cost something.
 * From the first one on the guest is run step by step until it has cleared it, as nothing else
 * tells when FERR# goes: that is most of an interrupt handler. The guest's x87 state is in the CPU.
 */
#include "arch/cpu.h"
#include "guest/vm/vcpu.h"

/* The x87 control word. While errors are masked for one instruction, its infinity control is turned
 * over: that does nothing since the 80387, and tells a word that the instruction has loaded. */
#define CONTROL_MASKS    0x3fu /* no error is reported */
#define CONTROL_INFINITY 0x1000u

#define STATUS_ERROR 0x80u /* x87 status word: an unmasked one is pending */

static bool set_ferr(struct vcpu *vcpu, bool asserted)
{
    vcpu->x87.asserted = asserted;
    vm_lock(vcpu->vm);
    const bool ignored = ferr_line_set(&vcpu->vm->ferr, asserted);
    vm_unlock(vcpu->vm);
    return ignored;
}

static uint16_t masked(uint16_t control)
{
    return (uint16_t)((control | CONTROL_MASKS) ^ CONTROL_INFINITY);
}

enum exit_action vcpu_x87_error(struct vcpu *vcpu, bool open, bool nmi)
{
    if (!vcpu->engine->watch(vcpu, true)) /* then when FERR# goes is not seen: at the next error */
        (void)set_ferr(vcpu, false);
    if (!set_ferr(vcpu, true)) {
        vcpu_wait_for_interrupt(vcpu, ACTIVITY_FROZEN, open, nmi, false);
        return EXIT_SAME;
    }
    vcpu->x87.masked = true;
    vcpu->x87.control = cpu_fnstcw();
    cpu_mask_x87_errors();
    cpu_fldcw(masked(vcpu->x87.control));
    return EXIT_SAME;
}

void vcpu_x87_stepped(struct vcpu *vcpu)
{
    struct vcpu_x87 *x87 = &vcpu->x87;
    if (x87->masked && cpu_fnstcw() == masked(x87->control))
        cpu_fldcw(x87->control);
    x87->masked = false;
    if ((cpu_fnstsw() & STATUS_ERROR) != 0)
        return;
    (void)set_ferr(vcpu, false);
    (void)vcpu->engine->watch(vcpu, false);
}
