/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides which event enters the guest next, by the SDM's priorities, with and without
 * virtual-interrupt delivery. */
#include "vmx/inject.h"

#include "arch/x86.h"
#include "vmx/caps.h"
#include "vmx/insn.h"

void inject_event_again(struct vcpu *vcpu, uint32_t info)
{
    vcpu->event.info = info & ~(1u << 12); /* undefined here and reserved there */
    if ((info & EVENT_ERROR_CODE) != 0)
        vcpu->event.error = (uint32_t)vmread(VMCS_EXIT_IDT_VECTORING_ERROR);
    if ((info & EVENT_TYPE_MASK) >= EVENT_SOFTWARE_INTERRUPT)
        vcpu->event.length = (uint32_t)vmread(VMCS_EXIT_INSTRUCTION_LENGTH);
    struct cpu_state state;
    vmx_get_state(vcpu, STATE_CR2, &state);
    vcpu->first = (struct undelivered){vcpu->event, state.cr2}; /* as far as can be told now */
    /* The NMI is to be delivered by the entry; while it is blocked the entry would refuse it. */
    if ((info & EVENT_TYPE_MASK) == EVENT_NMI)
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY,
                vmread(VMCS_GUEST_INTERRUPTIBILITY) & ~(uint64_t)BLOCKED_BY_NMI);
    vcpu->attention = true;
}

void inject_iret_again(void)
{
    if ((vmread(VMCS_EXIT_IDT_VECTORING) & EVENT_VALID) == 0)
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKED_BY_NMI);
}

/* In real mode there are none (SDM, "VM-Entry Control Fields": event injection). */
static bool has_error_codes(void)
{
    return (vmread(VMCS_GUEST_CR0) & CR0_PE) != 0;
}

/* The saved RFLAGS of a fault have RF set, so that its instruction can be run again past an
 * instruction breakpoint (SDM, "Instruction-Breakpoint Exception Condition"). The CPU sets it for
 * its own exceptions, and saves it as it is for those that VM entry delivers. */
static void set_resume_flag(unsigned vector)
{
    if (vector != VECTOR_DEBUG && vector != VECTOR_DOUBLE_FAULT)
        vmwrite(VMCS_GUEST_RFLAGS, vmread(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
}

/* An interrupt that was acknowledged is lost where its delivery raises an exception, as on the bare
 * CPU; an NMI leaves NMIs blocked. */
void vmx_inject(struct vcpu *vcpu, const struct event *event)
{
    const struct event *before = &vcpu->event;
    if (before->info != 0 && (before->info & EVENT_TYPE_MASK) == EVENT_NMI)
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKED_BY_NMI);
    set_resume_flag(event->info & 0xff);
    vcpu->event = *event;
    if ((event->info & EVENT_ERROR_CODE) != 0 && !has_error_codes())
        vcpu->event.info &= ~EVENT_ERROR_CODE;
    vcpu->attention = true;
}

static void set_windows(struct vmx_vcpu *v, uint32_t windows)
{
    uint32_t proc = (v->proc & ~(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW)) | windows;
    if (proc != v->proc) {
        v->proc = proc;
        vmwrite(VMCS_CTRL_PROC, proc);
    }
}

/* The vector that is in service, or -1. The CPU keeps PPR in the page up to date: as long as that
 * has no priority class, nothing is (SDM, "PPR Virtualization"), and most of the time that is so.
 */
static int in_service(const uint32_t *page)
{
    const bool any = (page[APIC_PPR / 4] & 0xf0) != 0;
    return any ? vlapic_highest_vector(page, APIC_ISR) : -1;
}

/*
 * SDM, "Virtual-Interrupt Delivery": the highest requested vector goes into RVI (the low byte of
 * the guest interrupt status); the CPU does the rest. Level-triggered vectors (TMR) shall exit at
 * their EOI, for the IO-APIC. Both halves follow from the page, whoever has changed it: SVI is the
 * vector in service.
 */
static void update_virtual_interrupts(struct vmx_vcpu *v)
{
    const uint32_t *page = v->vcpu.apic.page;
    int irr = vlapic_highest_vector(page, APIC_IRR), isr = in_service(page);
    uint64_t status = (irr >= 0 ? (uint64_t)irr : 0) | (isr >= 0 ? (uint64_t)isr << 8 : 0);
    vmwrite(VMCS_GUEST_INTERRUPT_STATUS, status);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t level = page[(APIC_TMR + 0x20 * i) / 4] |
                         (uint64_t)page[(APIC_TMR + 0x20 * i + 0x10) / 4] << 32;
        if (level == v->eoi_exit[i])
            continue;
        v->eoi_exit[i] = level;
        vmwrite(field_of(VMCS_CTRL_EOI_EXIT0, i), level);
    }
}

/* Interrupts under software delivery: the vector to inject now, or -1; *wait where one waits for
 * the window. */
static int software_interrupt(struct vcpu *vcpu, bool open, bool *wait)
{
    struct vlapic *apic = &vcpu->apic;
    int vector = vlapic_pending(apic);
    int irr = vector >= 0 ? -1 : vlapic_highest_vector(apic->page, APIC_IRR);
    /* What the TPR holds back comes when MOV to CR8 or a write of TPR lowers it below the
     * threshold. */
    uint32_t tpr_class = apic->page[APIC_TPR / 4] >> 4 & 15;
    uint32_t threshold = irr >= 0 && (uint32_t)irr >> 4 <= tpr_class ? (uint32_t)irr >> 4 : 0;
    if (threshold != vmx_vcpu(vcpu)->tpr_threshold) {
        vmx_vcpu(vcpu)->tpr_threshold = threshold;
        vmwrite(VMCS_CTRL_TPR_THRESHOLD, threshold);
    }
    if (vector < 0)
        return -1;
    if (!open) {
        *wait = true;
        return -1;
    }
    vlapic_accept(apic, (unsigned)vector);
    return vector;
}

/* The external interrupt to inject now, or -1. An ExtINT comes first, but what the CPU knows of the
 * APIC's interrupts (RVI, TPR threshold) is brought up to date in any case. */
static int next_interrupt(struct vcpu *vcpu, bool open, bool *wait)
{
    struct vlapic *apic = &vcpu->apic;
    int extint = -1;
    if (vlapic_extint_pending(apic)) {
        if (open) {
            vm_lock(vcpu->vm);
            extint = (int)vlapic_extint_acknowledge(apic);
            vm_unlock(vcpu->vm);
        } else {
            *wait = true;
        }
        open = false;
    }
    if (vcpu->assisted) {
        vlapic_collect(apic);
        update_virtual_interrupts(vmx_vcpu(vcpu));
        return extint;
    }
    int vector = software_interrupt(vcpu, open, wait);
    return extint >= 0 ? extint : vector;
}

/* One instruction is to be executed first, on what has been read for it from a device: whatever
 * came before it would have it read again. What is in service stays so. */
static void hold_back(struct vcpu *vcpu)
{
    set_windows(vmx_vcpu(vcpu), 0);
    if (vcpu->assisted)
        vmwrite(VMCS_GUEST_INTERRUPT_STATUS, vmread(VMCS_GUEST_INTERRUPT_STATUS) & 0xff00);
}

void inject_prepare(struct vcpu *vcpu)
{
    if (vcpu->step.count != 0 && vcpu->event.info == 0) {
        hold_back(vcpu);
        return;
    }
    uint32_t windows = 0;
    uint32_t blocked = (uint32_t)vmread(VMCS_GUEST_INTERRUPTIBILITY);
    uint32_t event = vcpu->event.info;
    /* A debug trap goes first: an event that is injected would make the CPU forget it (SDM,
     * "Delivery of Pending Debug Exceptions after VM Entry"). */
    bool trap = vmread(VMCS_GUEST_PENDING_DEBUG) != 0;
    if (event == 0 && vcpu->nmis_pending != 0 && !trap &&
        (blocked & (BLOCKED_BY_NMI | BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) == 0) {
        vcpu->nmis_pending--;
        event = EVENT_VALID | EVENT_NMI | VECTOR_NMI;
    }
    /* Behind STI the NMI window may open at once, again and again (SDM, "Other Causes of VM
     * Exits"): the interrupt window opens an instruction later. */
    if (vcpu->nmis_pending != 0)
        windows |=
            event == 0 && (blocked & BLOCKED_BY_STI) != 0 ? PROC_INTERRUPT_WINDOW : PROC_NMI_WINDOW;

    bool open = event == 0 && !trap && (blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) == 0 &&
                (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF) != 0;
    bool wait = false;
    int vector = next_interrupt(vcpu, open, &wait);
    if (vector >= 0) {
        event = EVENT_VALID | EVENT_INTERRUPT | (uint32_t)vector;
        struct vlapic *apic = &vcpu->apic;
        wait = vlapic_extint_pending(apic) || (!vcpu->assisted && vlapic_pending(apic) >= 0);
    }
    if (wait)
        windows |= PROC_INTERRUPT_WINDOW;
    set_windows(vmx_vcpu(vcpu), windows);

    if (event != 0) {
        vmwrite(VMCS_CTRL_ENTRY_EVENT, event);
        if ((event & EVENT_ERROR_CODE) != 0)
            vmwrite(VMCS_CTRL_ENTRY_EVENT_ERROR, vcpu->event.error);
        if ((event & EVENT_TYPE_MASK) >= EVENT_SOFTWARE_INTERRUPT)
            vmwrite(VMCS_CTRL_ENTRY_EVENT_LENGTH, vcpu->event.length);
        vcpu->event.info = 0;
    }
}
