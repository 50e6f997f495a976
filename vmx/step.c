/* SPDX-License-Identifier: BSD-2-Clause */
/* One instruction at a time: by the monitor trap flag, for a debugger, for x87 errors, and for
 * guest/vm/step.h on pages that this vCPU alone sees meanwhile. */
#include "arch/panic.h"
#include "arch/x86.h"
#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/vcpu.h"
#include "vmx/vmx.h"

/* The monitor trap flag, for any of them. */
static bool update_monitor_trap(struct vmx_vcpu *v)
{
    const bool on = v->stepping || v->watched || (v->debug_stops & DEBUG_STEP) != 0;
    if (!control_allowed(vmx_caps()->proc, PROC_MONITOR_TRAP))
        return !on;
    v->proc = on ? v->proc | PROC_MONITOR_TRAP : v->proc & ~PROC_MONITOR_TRAP;
    vmwrite(VMCS_CTRL_PROC, v->proc);
    return true;
}

/* With A20 off the CPU reaches the page by two addresses, which share all tables. */
enum status vmx_show(struct vcpu *vcpu, gpa_t page, hpa_t host, unsigned perms)
{
    struct ept_overlay *overlay = &vmx_vcpu(vcpu)->overlay;
    const hpa_t root = vmx_ept_root(vcpu->vm);
    const bool wraps = root.v == vmx_vm(vcpu->vm)->a20_off.root.v;
    enum status s = ept_overlay_show(overlay, root, page, host, perms);
    if (s == OK && wraps)
        s = ept_overlay_show(overlay, root, gpa(page.v | vcpu->vm->mem.absent), host, perms);
    if (s != OK)
        return s;
    vmwrite(VMCS_CTRL_EPTP, ept_root_pointer(overlay->table[0]));
    if (!invept(INVALIDATE_ALL, 0)) /* the root's page may have been another one's root */
        panic("INVEPT failed");
    return OK;
}

/* While pages are shown, inject_prepare() holds interrupts back, and what is posted exits.
 * Afterwards translations by the VM's own tables are what they were: the CPU keeps them by root
 * (SDM, "Information That May Be Cached"). */
bool vmx_step(struct vcpu *vcpu, bool on)
{
    struct vmx_vcpu *v = vmx_vcpu(vcpu);
    if (vcpu->posting && v->stepping != on) {
        const uint64_t pin = vmread(VMCS_CTRL_PIN) & ~(uint64_t)PIN_POSTED_INTERRUPTS;
        vmwrite(VMCS_CTRL_PIN, on ? pin : pin | PIN_POSTED_INTERRUPTS);
    }
    v->stepping = on;
    vcpu->attention = true;
    if (!on && v->overlay.count != 0) {
        vmwrite(VMCS_CTRL_EPTP, ept_root_pointer(vmx_ept_root(vcpu->vm)));
        ept_overlay_drop(&v->overlay);
    }
    return update_monitor_trap(v);
}

bool vmx_watch(struct vcpu *vcpu, bool on)
{
    vmx_vcpu(vcpu)->watched = on;
    return update_monitor_trap(vmx_vcpu(vcpu));
}

bool vmx_set_debug(struct vcpu *vcpu, unsigned stops)
{
    struct vmx_vcpu *v = vmx_vcpu(vcpu);
    const uint32_t breakpoint = 1u << VECTOR_BREAKPOINT;
    v->debug_stops = stops;
    v->exceptions =
        (stops & DEBUG_BREAKPOINT) != 0 ? v->exceptions | breakpoint : v->exceptions & ~breakpoint;
    vmwrite(VMCS_CTRL_EXCEPTION_BITMAP, v->exceptions);
    return update_monitor_trap(v);
}
