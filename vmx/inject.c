/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides which event enters the guest next, by the SDM's priorities, with and without
 * virtual-interrupt delivery. */
#include "vmx/inject.h"

#include "arch/cpu.h"
#include "arch/fault.h"
#include "vmx/caps.h"
#include "vmx/insn.h"

#define APIC_PPR 0xa0u
#define APIC_ISR 0x100u
#define APIC_TMR 0x180u
#define APIC_IRR 0x200u

void inject_again(struct vcpu *vcpu)
{
    uint32_t info = (uint32_t)vmread(VMCS_EXIT_IDT_VECTORING);
    if ((info & EVENT_VALID) == 0)
        return;
    vcpu->event = info & ~(1u << 12); /* undefined here and reserved there */
    if ((info & EVENT_ERROR_CODE) != 0)
        vcpu->event_error = (uint32_t)vmread(VMCS_EXIT_IDT_VECTORING_ERROR);
    if ((info & EVENT_TYPE_MASK) >= EVENT_SOFTWARE_INTERRUPT)
        vcpu->event_length = (uint32_t)vmread(VMCS_EXIT_INSTRUCTION_LENGTH);
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

enum exception_class { BENIGN, CONTRIBUTORY, PAGE_FAULT };

/* SDM, "Interrupt 8—Double Fault Exception (#DF)". */
static enum exception_class class_of(unsigned vector)
{
    if (vector == VECTOR_PAGE_FAULT || vector == VECTOR_VIRTUALIZATION)
        return PAGE_FAULT;
    bool contributory =
        vector == 0 || (vector >= 10 && vector <= 13) || vector == VECTOR_CONTROL_PROTECTION;
    return contributory ? CONTRIBUTORY : BENIGN;
}

/* In real mode there are no error codes (SDM, "VM-Entry Control Fields": event injection). */
static uint32_t error_code_flag(void)
{
    return (vmread(VMCS_GUEST_CR0) & CR0_PE) != 0 ? EVENT_ERROR_CODE : 0;
}

/* The saved RFLAGS of a fault have RF set, so that its instruction can be run again past an
 * instruction breakpoint (SDM, "Instruction-Breakpoint Exception Condition"). The CPU sets it for
 * its own exceptions, and saves it as it is for those that VM entry delivers. */
static void set_resume_flag(unsigned vector)
{
    if (vector != VECTOR_DEBUG && vector != VECTOR_DOUBLE_FAULT)
        vmwrite(VMCS_GUEST_RFLAGS, vmread(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
}

/* What a fault in the delivery of another event makes of both. An interrupt that was acknowledged
 * is lost then, as on the bare CPU; an NMI leaves NMIs blocked. */
static void queue_exception(struct vcpu *vcpu, unsigned vector, uint32_t flags, uint32_t error)
{
    uint32_t type = vcpu->event & EVENT_TYPE_MASK;
    if (vcpu->event != 0 && type == EVENT_NMI)
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKED_BY_NMI);
    if (vcpu->event != 0 && type == EVENT_EXCEPTION) {
        unsigned first = vcpu->event & 0xff;
        if (first == VECTOR_DOUBLE_FAULT && class_of(vector) != BENIGN) {
            vm_end_request(vcpu->vm, VM_CRASH, 0, "triple fault");
            return;
        }
        bool twice = class_of(first) == CONTRIBUTORY && class_of(vector) == CONTRIBUTORY;
        if (twice || (class_of(first) == PAGE_FAULT && class_of(vector) != BENIGN)) {
            vector = VECTOR_DOUBLE_FAULT;
            flags = error_code_flag();
            error = 0;
        }
    }
    set_resume_flag(vector);
    vcpu->event = EVENT_VALID | EVENT_EXCEPTION | flags | vector;
    vcpu->event_error = error;
    vcpu->attention = true;
}

void vcpu_inject_exception(struct vcpu *vcpu, unsigned vector)
{
    queue_exception(vcpu, vector, 0, 0);
}

void vcpu_inject_exception_error(struct vcpu *vcpu, unsigned vector, uint32_t error)
{
    queue_exception(vcpu, vector, error_code_flag(), error);
}

static void set_windows(struct vcpu *vcpu, uint32_t windows)
{
    uint32_t proc = (vcpu->proc & ~(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW)) | windows;
    if (proc != vcpu->proc) {
        vcpu->proc = proc;
        vmwrite(VMCS_CTRL_PROC, proc);
    }
}

static int highest_vector(const uint32_t *page, uint32_t offset)
{
#pragma GCC unroll 8
    for (int word = 7; word >= 0; word--) {
        uint32_t bits = __atomic_load_n(&page[offset / 4 + 4u * (uint32_t)word], __ATOMIC_RELAXED);
        if (bits != 0)
            return word * 32 + 31 - __builtin_clz(bits);
    }
    return -1;
}

/*
 * SDM, "Virtual-Interrupt Delivery": the highest requested vector goes into RVI (the low byte of
 * the guest interrupt status); the CPU does the rest. Level-triggered vectors (TMR) shall exit at
 * their EOI, for the IO-APIC. Both halves follow from the page, whoever has changed it: SVI is the
 * vector in service.
 */
static void update_virtual_interrupts(struct vcpu *vcpu)
{
    const uint32_t *page = vcpu->intc.page;
    int irr = highest_vector(page, APIC_IRR), isr = highest_vector(page, APIC_ISR);
    uint64_t status = (irr >= 0 ? (uint64_t)irr : 0) | (isr >= 0 ? (uint64_t)isr << 8 : 0);
    vmwrite(VMCS_GUEST_INTERRUPT_STATUS, status);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t level = page[(APIC_TMR + 0x20 * i) / 4] |
                         (uint64_t)page[(APIC_TMR + 0x20 * i + 0x10) / 4] << 32;
        if (level == vcpu->eoi_exit[i])
            continue;
        vcpu->eoi_exit[i] = level;
        vmwrite((enum vmcs_field)(VMCS_CTRL_EOI_EXIT0 + 2 * i), level);
    }
}

/* Interrupts under software delivery: the vector to inject now, or -1; *wait where one waits for
 * the window. */
static int software_interrupt(struct vcpu *vcpu, bool open, bool *wait)
{
    const struct intc *intc = &vcpu->intc;
    int vector = intc->pending(intc->chip);
    int irr = vector >= 0 ? -1 : highest_vector(intc->page, APIC_IRR);
    /* What the TPR holds back comes when MOV to CR8 or a write of TPR lowers it below the
     * threshold. */
    uint32_t tpr_class = intc->page[0x80 / 4] >> 4 & 15;
    uint32_t threshold = irr >= 0 && (uint32_t)irr >> 4 <= tpr_class ? (uint32_t)irr >> 4 : 0;
    if (threshold != vcpu->tpr_threshold) {
        vcpu->tpr_threshold = threshold;
        vmwrite(VMCS_CTRL_TPR_THRESHOLD, threshold);
    }
    if (vector < 0)
        return -1;
    if (!open) {
        *wait = true;
        return -1;
    }
    intc->accept(intc->chip, (unsigned)vector);
    return vector;
}

/* The external interrupt to inject now, or -1. An ExtINT comes first, but what the CPU knows of the
 * APIC's interrupts (RVI, TPR threshold) is brought up to date in any case. */
static int next_interrupt(struct vcpu *vcpu, bool open, bool *wait)
{
    const struct intc *intc = &vcpu->intc;
    int extint = -1;
    if (intc->extint_pending(intc->chip)) {
        if (open) {
            vm_lock(vcpu->vm);
            extint = (int)intc->extint_acknowledge(intc->chip);
            vm_unlock(vcpu->vm);
        } else {
            *wait = true;
        }
        open = false;
    }
    if (vcpu->assisted) {
        if (intc->posted->outstanding != 0)
            intc->collect(intc->chip);
        update_virtual_interrupts(vcpu);
        return extint;
    }
    int vector = software_interrupt(vcpu, open, wait);
    return extint >= 0 ? extint : vector;
}

void inject_prepare(struct vcpu *vcpu)
{
    uint32_t windows = 0;
    uint32_t blocked = (uint32_t)vmread(VMCS_GUEST_INTERRUPTIBILITY);
    uint32_t event = vcpu->event;
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
        const struct intc *intc = &vcpu->intc;
        wait =
            intc->extint_pending(intc->chip) || (!vcpu->assisted && intc->pending(intc->chip) >= 0);
    }
    if (wait)
        windows |= PROC_INTERRUPT_WINDOW;
    set_windows(vcpu, windows);

    if (event != 0) {
        vmwrite(VMCS_CTRL_ENTRY_EVENT, event);
        if ((event & EVENT_ERROR_CODE) != 0)
            vmwrite(VMCS_CTRL_ENTRY_EVENT_ERROR, vcpu->event_error);
        if ((event & EVENT_TYPE_MASK) >= EVENT_SOFTWARE_INTERRUPT)
            vmwrite(VMCS_CTRL_ENTRY_EVENT_LENGTH, vcpu->event_length);
        vcpu->event = 0;
    }
}

bool inject_would_wake(const struct vcpu *vcpu, bool open)
{
    const struct intc *intc = &vcpu->intc;
    if (vcpu->event != 0)
        return true;
    if (!open)
        return false;
    if (intc->extint_pending(intc->chip))
        return true;
    if (!vcpu->assisted)
        return intc->pending(intc->chip) >= 0;
    intc->collect(intc->chip);
    int irr = highest_vector(intc->page, APIC_IRR);
    return irr >= 0 && (uint32_t)irr >> 4 > (intc->page[APIC_PPR / 4] >> 4 & 15);
}
