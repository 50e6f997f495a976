/* SPDX-License-Identifier: BSD-2-Clause */
/* The record of calls. */
#include "tests/unit/fake_exits.h"

#include "guest/vm/step.h"

struct fake_exits fake_exits;

void fake_exits_reset(void)
{
    fake_exits = (struct fake_exits){.answer = EXIT_SAME, .last = "nothing"};
}

static enum exit_action note(const struct vcpu *vcpu, const char *name)
{
    fake_exits.calls++;
    fake_exits.last = name;
    fake_exits.event = vcpu->event;
    return fake_exits.answer;
}

static void work_on(struct emulate_context *ctx)
{
    fake_exits.mode = ctx->mode;
    if (fake_exits.during != NULL)
        fake_exits.during(ctx);
}

enum exit_action vcpu_hypercall(struct vcpu *vcpu, unsigned cpl)
{
    fake_exits.cpl = cpl;
    return note(vcpu, "hypercall");
}

enum exit_action vcpu_x87_error(struct vcpu *vcpu, bool open, bool nmi)
{
    fake_exits.open = open;
    fake_exits.nmi = nmi;
    return note(vcpu, "x87_error");
}

void vcpu_x87_stepped(struct vcpu *vcpu)
{
    (void)note(vcpu, "x87_stepped");
}

enum exit_action vcpu_rdmsr(struct vcpu *vcpu)
{
    return note(vcpu, "rdmsr");
}

enum exit_action vcpu_wrmsr(struct vcpu *vcpu)
{
    return note(vcpu, "wrmsr");
}

enum exit_action vcpu_xsetbv(struct vcpu *vcpu)
{
    return note(vcpu, "xsetbv");
}

enum exit_action vcpu_task_switch(struct vcpu *vcpu, unsigned source, uint16_t selector,
                                  unsigned insn_length)
{
    fake_exits.source = source;
    fake_exits.selector = selector;
    fake_exits.length = insn_length;
    return note(vcpu, "task_switch");
}

enum exit_action exit_memory_access(struct emulate_context *ctx, const struct memory_access *access)
{
    fake_exits.memory = *access;
    work_on(ctx);
    return note(ctx->vcpu, "memory_access");
}

enum exit_action exit_memory_fetch(struct vcpu *vcpu, gpa_t address)
{
    fake_exits.address = address.v;
    return note(vcpu, "memory_fetch");
}

void exit_memory_delivery(struct vcpu *vcpu, gpa_t address, bool write)
{
    fake_exits.address = address.v;
    fake_exits.memory.write = write;
    (void)note(vcpu, "memory_delivery");
}

enum exit_action exit_memory_walk(struct vcpu *vcpu, gpa_t address)
{
    fake_exits.address = address.v;
    return note(vcpu, "memory_walk");
}

enum exit_action exit_string_io(struct emulate_context *ctx, const struct string_access *access)
{
    fake_exits.string = *access;
    work_on(ctx);
    return note(ctx->vcpu, "string_io");
}

bool step_begin(struct vcpu *vcpu, gpa_t address)
{
    fake_exits.address = address.v;
    (void)note(vcpu, "step_begin");
    return true;
}

void step_done(struct vcpu *vcpu)
{
    (void)vcpu;
    fake_exits.steps_done++;
}
