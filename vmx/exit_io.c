/* SPDX-License-Identifier: BSD-2-Clause */
/* Port accesses: IN and OUT at once, INS and OUTS by guest/vm/exit_string_io.c. */
#include "guest/vm/access.h"
#include "guest/vm/breakpoint.h"
#include "guest/vm/exits.h"
#include "vmx/exit.h"

/* Exit qualification for I/O instructions. */
#define IO_IN     (1u << 3)
#define IO_STRING (1u << 4)
#define IO_REP    (1u << 5)

static enum exit_action __attribute__((noinline))
string_io(struct vcpu *vcpu, uint32_t qualification)
{
    /* SDM, "VM-Exit Instruction-Information Field as Used for INS and OUTS". */
    const uint32_t info = (uint32_t)vmread(VMCS_EXIT_INSTRUCTION_INFO);
    const bool in = (qualification & IO_IN) != 0;
    const struct string_access access = {
        .port = (uint16_t)(qualification >> 16),
        .bytes = (uint8_t)((qualification & 7) + 1),
        .in = in,
        .rep = (qualification & IO_REP) != 0,
        .segment = in ? SEG_ES : info >> 15 & 7,
        .addr_bytes = (uint8_t)(2u << (info >> 7 & 3)),
    };
    struct emulate_context ctx;
    if (access.addr_bytes > 8 || access.segment > SEG_GS) /* no CPU tells that */
        return EXIT_SAME;
    vmx_view_context(&ctx, vcpu);
    const enum exit_action action = exit_string_io(&ctx, &access);
    if (ctx.changed)
        exit_take_context(&ctx);
    return action;
}

/* An I/O breakpoint matches after the access. */
static void __attribute__((noinline, cold))
note_breakpoint(struct vcpu *vcpu, uint32_t qualification)
{
    struct emulate_context ctx;
    vmx_view_context(&ctx, vcpu);
    const uint64_t hits =
        breakpoint_match(&ctx, BREAKPOINT_IO, qualification >> 16, (qualification & 7) + 1);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | hits);
}

enum exit_action exit_io(struct vcpu *vcpu)
{
    uint32_t qualification = (uint32_t)vmread(VMCS_EXIT_QUALIFICATION);
    if ((qualification & IO_STRING) != 0)
        return string_io(vcpu, qualification);
    if (__builtin_expect((vmread(VMCS_GUEST_DR7) & 0xff) != 0, 0))
        note_breakpoint(vcpu, qualification);

    unsigned bytes = (qualification & 7) + 1;
    uint16_t port = (uint16_t)(qualification >> 16);
    uint64_t *rax = &vcpu->regs.gpr[RAX];
    if ((qualification & IO_IN) == 0) {
        access_port_write(vcpu, port, bytes, (uint32_t)*rax & UINT32_MAX >> (32 - 8 * bytes));
        return EXIT_NEXT;
    }
    uint32_t value = access_port_read(vcpu, port, bytes);
    if (bytes == 4)
        *rax = value;
    else if (bytes == 2)
        *rax = (*rax & ~0xffffull) | (value & 0xffff);
    else
        *rax = (*rax & ~0xffull) | (value & 0xff);
    return EXIT_NEXT;
}
