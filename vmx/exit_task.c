/* SPDX-License-Identifier: BSD-2-Clause */
/* The exit of a hardware task switch: the vCPU's registers for task.c and back, and the event that
 * came through a task gate. */
#include "guest/cpu/task.h"

#include "arch/cpu.h"
#include "arch/fault.h"
#include "guest/vm/linear.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/insn.h"

#define DR7_LOCAL     0x155ull /* L0 to L3 and LE: cleared by a task switch */
#define DR6_BT        (1ull << 15)
#define PENDING_CAUSE 0xfull

_Static_assert((int)RSP == 4 && (int)RDI == 7, "a TSS has the registers in the hardware's order");

static struct linear *system_access(void *ctx)
{
    struct linear *linear = ctx;
    linear->paging.implicit = true;
    return linear;
}

static bool read_table(void *ctx, uint32_t at, void *to, unsigned bytes)
{
    struct emulate_place place;
    if (!linear_translate(system_access(ctx), at, bytes, false, &place))
        return false;
    vm_lock(((struct linear *)ctx)->vcpu->vm);
    linear_read(ctx, &place, to);
    vm_unlock(((struct linear *)ctx)->vcpu->vm);
    return true;
}

static bool probe_write(void *ctx, uint32_t at, unsigned bytes)
{
    struct emulate_place place;
    return linear_translate(system_access(ctx), at, bytes, true, &place);
}

static bool write_table(void *ctx, uint32_t at, uint32_t value, unsigned bytes, bool user)
{
    struct linear *linear = system_access(ctx);
    struct emulate_place place;
    if (user) {
        linear->paging.implicit = false;
        linear->paging.cpl = 3;
    }
    if (!linear_translate(linear, at, bytes, true, &place))
        return false;
    vm_lock(linear->vcpu->vm);
    linear_write(linear, &place, &value);
    vm_unlock(linear->vcpu->vm);
    return true;
}

/* CR3 of the new task: its page tables serve all that follows. */
static bool load_cr3(void *ctx, uint32_t cr3)
{
    struct linear *linear = ctx;
    vmwrite(VMCS_GUEST_CR3, cr3);
    linear->paging.cr3 = cr3;
    exit_flush_tlb(linear->vcpu);
    bool good = (linear->paging.cr4 & CR4_PAE) == 0 || exit_load_pdptes(linear->vcpu);
    linear_begin_rest(linear);
    return good;
}

static void load_cpu(const struct vcpu *vcpu, struct task_cpu *cpu)
{
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = (uint32_t)vcpu->regs.gpr[i];
    cpu->gpr[RSP] = (uint32_t)vmread(VMCS_GUEST_RSP);
    cpu->eip = (uint32_t)vmread(VMCS_GUEST_RIP);
    cpu->eflags = (uint32_t)vmread(VMCS_GUEST_RFLAGS);
    cpu->gdt_base = (uint32_t)vmread(VMCS_GUEST_GDTR_BASE);
    cpu->gdt_limit = (uint16_t)vmread(VMCS_GUEST_GDTR_LIMIT);
    cpu->paging = (vmread(VMCS_GUEST_CR0) & CR0_PG) != 0;
    for (unsigned i = 0; i < TASK_SEGMENTS; i++) {
        cpu->segment[i] = (struct task_segment){
            .selector = (uint16_t)vmread((enum vmcs_field)(VMCS_GUEST_ES + 2 * i)),
            .access = (uint32_t)vmread((enum vmcs_field)(VMCS_GUEST_ES_ACCESS + 2 * i)),
            .limit = (uint32_t)vmread((enum vmcs_field)(VMCS_GUEST_ES_LIMIT + 2 * i)),
            .base = (uint32_t)vmread((enum vmcs_field)(VMCS_GUEST_ES_BASE + 2 * i)),
        };
    }
}

static void store_cpu(struct vcpu *vcpu, const struct task_cpu *cpu)
{
    for (unsigned i = 0; i < 8; i++)
        vcpu->regs.gpr[i] = cpu->gpr[i];
    vmwrite(VMCS_GUEST_RSP, cpu->gpr[RSP]);
    vmwrite(VMCS_GUEST_RIP, cpu->eip);
    vmwrite(VMCS_GUEST_RFLAGS, cpu->eflags);
    for (unsigned i = 0; i < TASK_SEGMENTS; i++) {
        const struct task_segment *s = &cpu->segment[i];
        vmwrite((enum vmcs_field)(VMCS_GUEST_ES + 2 * i), s->selector);
        vmwrite((enum vmcs_field)(VMCS_GUEST_ES_ACCESS + 2 * i), s->access);
        vmwrite((enum vmcs_field)(VMCS_GUEST_ES_LIMIT + 2 * i), s->limit);
        vmwrite((enum vmcs_field)(VMCS_GUEST_ES_BASE + 2 * i), s->base);
    }
    vmwrite(VMCS_GUEST_CR0, vmread(VMCS_GUEST_CR0) | CR0_TS);
    vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~DR7_LOCAL);
}

/* What the switch does to shadows and NMIs: the event of a task gate has been delivered by it. */
static void update_interruptibility(enum task_source source, uint32_t event)
{
    uint64_t blocked = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    blocked &= ~(uint64_t)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
    if (source == TASK_IRET)
        blocked &= ~(uint64_t)BLOCKED_BY_NMI;
    if ((event & EVENT_VALID) != 0 && (event & EVENT_TYPE_MASK) == EVENT_NMI)
        blocked |= BLOCKED_BY_NMI;
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, blocked);
}

/* A fault, in the old task or in the new one. With the event that was being delivered it may make a
 * double fault: that is why vcpu->event still holds it. */
static void inject_fault(struct vcpu *vcpu, const struct task_result *result, uint32_t event)
{
    uint32_t type = event & EVENT_TYPE_MASK;
    bool software = type == EVENT_SOFTWARE_INTERRUPT || type == EVENT_SOFTWARE_EXCEPTION;
    uint32_t external = (event & EVENT_VALID) != 0 && !software; /* EXT of the error code */
    if (result->vector != TASK_FAULT_QUEUED)
        vcpu_inject_exception_error(vcpu, result->vector, result->error | external);
}

/* SDM, "Treatment of Task Switches": the CPU has checked the gate or the descriptor already. */
enum exit_action exit_task_switch(struct vcpu *vcpu)
{
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
    inject_again(vcpu);
    uint32_t event = vcpu->event;
    struct task_request request = {
        .source = (enum task_source)(qualification >> 30 & 3),
        .selector = (uint16_t)qualification,
        .has_error = (event & EVENT_ERROR_CODE) != 0,
        .error = vcpu->event_error,
    };
    struct task_cpu cpu;
    load_cpu(vcpu, &cpu);
    request.next_eip = cpu.eip;
    /* An instruction goes on behind itself; what else comes through a gate, where it was. */
    if ((event & EVENT_VALID) == 0 || (event & EVENT_TYPE_MASK) >= EVENT_SOFTWARE_INTERRUPT) {
        request.next_eip += (uint32_t)vmread(VMCS_EXIT_INSTRUCTION_LENGTH);
        cpu.eflags &= ~(uint32_t)RFLAGS_RF;
    }

    struct linear linear = {.expected = 0};
    linear_begin(&linear, vcpu);
    const struct task_env env = {&linear, read_table, probe_write, write_table, load_cr3};
    struct task_result result = task_switch(&cpu, &env, &request);
    if (result.outcome != TASK_REFUSED) {
        store_cpu(vcpu, &cpu);
        update_interruptibility(request.source, event);
    }
    if (result.outcome != TASK_SWITCHED) {
        inject_fault(vcpu, &result, event);
        return EXIT_SAME;
    }
    vcpu->event = 0;
    vcpu->attention = true;
    uint64_t causes = vmread(VMCS_GUEST_PENDING_DEBUG) & PENDING_CAUSE;
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    if (result.trap || causes != 0)
        vcpu_inject_debug(vcpu, causes | (result.trap ? DR6_BT : 0));
    return EXIT_SAME;
}
