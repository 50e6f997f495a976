/* SPDX-License-Identifier: BSD-2-Clause */
/* A hardware task switch: the vCPU's registers for guest/cpu/task.c and back, and the event that
 * came through a task gate. */
#include "arch/x86.h"
#include "guest/cpu/control.h"
#include "guest/cpu/task.h"
#include "guest/vm/linear.h"

#define PARTS                                                                              \
    (STATE_GPRS | STATE_IP | STATE_CONTROL | STATE_SEGMENTS | STATE_TABLES | STATE_DEBUG | \
     STATE_EVENTS)

_Static_assert((int)RSP == 4 && (int)RDI == 7 && (int)TASK_TR == (int)STATE_TR,
               "a TSS has the registers in the hardware's order");

/* The world of one switch. */
struct switch_memory {
    struct emulate_context ctx;
    struct cpu_state *state;
};

static struct emulate_context *system_access(void *context)
{
    struct emulate_context *ctx = &((struct switch_memory *)context)->ctx;
    ctx->paging.implicit = true;
    return ctx;
}

static bool read_table(void *context, uint32_t at, void *to, unsigned bytes)
{
    struct emulate_context *ctx = system_access(context);
    struct emulate_operand operand;
    if (!linear_translate(ctx, gva(at), bytes, false, &operand))
        return false;
    vm_lock(ctx->vcpu->vm);
    linear_read(ctx, &operand, to);
    vm_unlock(ctx->vcpu->vm);
    return true;
}

static bool probe_write(void *context, uint32_t at, unsigned bytes)
{
    struct emulate_operand operand;
    return linear_translate(system_access(context), gva(at), bytes, true, &operand);
}

static bool write_table(void *context, uint32_t at, uint32_t value, unsigned bytes, bool user)
{
    struct emulate_context *ctx = system_access(context);
    struct emulate_operand operand;
    if (user) {
        ctx->paging.implicit = false;
        ctx->paging.cpl = 3;
    }
    if (!linear_translate(ctx, gva(at), bytes, true, &operand))
        return false;
    vm_lock(ctx->vcpu->vm);
    linear_write(ctx, &operand, &value);
    vm_unlock(ctx->vcpu->vm);
    return true;
}

/* CR3 of the new task: its page tables serve all that follows. */
static bool load_cr3(void *context, uint32_t cr3)
{
    struct switch_memory *memory = context;
    struct emulate_context *ctx = &memory->ctx;
    struct vcpu *vcpu = ctx->vcpu;
    uint64_t pdpte[4];
    memory->state->cr3 = ctx->paging.cr3 = cr3;
    if ((memory->state->cr4 & CR4_PAE) != 0) {
        if (!control_read_pdptes(&vcpu->vm->mem, cr3, vcpu->phys_bits, pdpte))
            return false;
        for (unsigned i = 0; i < 4; i++)
            memory->state->pdpte[i] = ctx->pdpte[i] = pdpte[i];
    }
    return true;
}

static void load_cpu(const struct cpu_state *state, struct task_cpu *cpu)
{
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = (uint32_t)state->gpr[i];
    cpu->eip = (uint32_t)state->rip;
    cpu->eflags = (uint32_t)state->rflags;
    cpu->gdt_base = (uint32_t)state->gdtr.base;
    cpu->gdt_limit = state->gdtr.limit;
    cpu->paging = (state->cr0 & CR0_PG) != 0;
    for (unsigned i = 0; i < TASK_SEGMENTS; i++) {
        const struct cpu_segment *s = &state->segment[i];
        cpu->segment[i] =
            (struct task_segment){s->selector, s->access, s->limit, (uint32_t)s->base};
    }
}

static void store_cpu(struct cpu_state *state, const struct task_cpu *cpu)
{
    for (unsigned i = 0; i < 8; i++)
        state->gpr[i] = cpu->gpr[i];
    state->rip = cpu->eip;
    state->rflags = cpu->eflags;
    for (unsigned i = 0; i < TASK_SEGMENTS; i++) {
        const struct task_segment *s = &cpu->segment[i];
        state->segment[i] = (struct cpu_segment){s->selector, s->access, s->limit, s->base};
    }
    state->cr0 |= CR0_TS;
    state->dr7 &= ~DR7_LOCAL;
}

/* What the switch does to shadows and NMIs: the event of a task gate has been delivered by it. */
static void update_interruptibility(struct cpu_state *state, unsigned source, uint32_t event)
{
    state->interruptibility &= ~(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
    if (source == TASK_IRET)
        state->interruptibility &= ~BLOCKED_BY_NMI;
    if ((event & EVENT_VALID) != 0 && (event & EVENT_TYPE_MASK) == EVENT_NMI)
        state->interruptibility |= BLOCKED_BY_NMI;
}

/* A fault, in the old task or in the new one. With the event that was being delivered it may make a
 * double fault: that is why vcpu->event still holds it. */
static void inject_fault(struct vcpu *vcpu, const struct task_result *result, uint32_t event)
{
    const uint32_t type = event & EVENT_TYPE_MASK;
    const bool software = type == EVENT_SOFTWARE_INTERRUPT || type == EVENT_SOFTWARE_EXCEPTION;
    const uint32_t external = (event & EVENT_VALID) != 0 && !software; /* EXT of the error code */
    if (result->vector != TASK_FAULT_QUEUED)
        vcpu_inject_exception_error(vcpu, result->vector, result->error | external);
}

/* Registers as the new task has them. */
static void commit(struct vcpu *vcpu, struct cpu_state *state, const struct task_cpu *cpu,
                   unsigned source, uint32_t event)
{
    store_cpu(state, cpu);
    update_interruptibility(state, source, event);
    vcpu->engine->set_state(vcpu, PARTS, state);
}

enum exit_action vcpu_task_switch(struct vcpu *vcpu, unsigned source, uint16_t selector,
                                  unsigned insn_length)
{
    const uint32_t event = vcpu->event.info;
    struct task_request request = {
        .source = (enum task_source)source,
        .selector = selector,
        .has_error = (event & EVENT_ERROR_CODE) != 0,
        .error = vcpu->event.error,
    };
    struct cpu_state state;
    struct task_cpu cpu;
    vcpu->engine->get_state(vcpu, PARTS, &state);
    load_cpu(&state, &cpu);
    request.next_eip = cpu.eip;
    /* An instruction goes on behind itself; what else comes through a gate, where it was. */
    if ((event & EVENT_VALID) == 0 || (event & EVENT_TYPE_MASK) >= EVENT_SOFTWARE_INTERRUPT) {
        request.next_eip += insn_length;
        cpu.eflags &= ~(uint32_t)RFLAGS_RF;
    }

    struct switch_memory memory = {.state = &state};
    vcpu->engine->view(vcpu, &memory.ctx);
    const struct task_env env = {&memory, read_table, probe_write, write_table, load_cr3};
    const struct task_result result = task_switch(&cpu, &env, &request);
    if (result.outcome != TASK_REFUSED)
        commit(vcpu, &state, &cpu, source, event);
    if (result.outcome != TASK_SWITCHED) {
        inject_fault(vcpu, &result, event);
        return EXIT_SAME;
    }
    const uint64_t causes = state.pending_debug & DR6_BREAKPOINTS;
    vcpu->event.info = 0;
    vcpu->attention = true;
    state.pending_debug = 0;
    vcpu->engine->set_state(vcpu, STATE_EVENTS, &state);
    if (result.trap || causes != 0)
        vcpu_inject_debug(vcpu, causes | (result.trap ? DR6_BT : 0));
    return EXIT_SAME;
}
