/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What comes to the guest's kernel by itself: exceptions, system calls of its user code, events. It
 * finds each as a frame on its stack, which the hypervisor writes there ("bounce frame"), and goes
 * back by the call iret.
 */
#include "guest/pv/pv.h"

#include "arch/string.h"
#include "guest/cpu/guestwalk.h"
#include "guest/cpu/interpret.h"
#include "guest/cpu/system.h"
#include "mm/host_paging.h"

/* Breakpoints, without protection of the debug registers themselves (GD), and RTM. */
#define DR7_OF_GUEST (DR7_WRITABLE & ~(DR7_GD | 1ull << 11))

/* What the guest's handler begins without. */
#define FLAGS_CLEARED (RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC)

/* GS base of what does not run is kept; that of what does is in the CPU. */
void __attribute__((hot)) pv_enter_user(struct pv_vcpu *v)
{
    if (v->user)
        return;
    v->kernel_gs_base = cpu_rdmsr(MSR_IA32_KERNEL_GS_BASE);
    cpu_wrmsr(MSR_IA32_KERNEL_GS_BASE, v->user_gs_base);
    v->user = true;
}

void __attribute__((hot)) pv_enter_kernel(struct pv_vcpu *v)
{
    if (!v->user)
        return;
    v->user_gs_base = cpu_rdmsr(MSR_IA32_KERNEL_GS_BASE);
    cpu_wrmsr(MSR_IA32_KERNEL_GS_BASE, v->kernel_gs_base);
    v->user = false;
}

/* --- frames --- */

/* What is written: RCX, R11, then (failsafe) four selectors, then (exceptions) an error code, then
 * RIP, CS, RFLAGS, RSP, SS, from the lowest address on. */
struct bounce {
    uint64_t handler;
    bool masks;            /* events are masked for the handler */
    const uint32_t *error; /* NULL: there is none */
    bool selectors;        /* those of v->selector */
};

static unsigned fill(const struct pv_vcpu *v, const struct bounce *b, uint64_t words[12])
{
    const struct ring3_frame *f = &v->frame;
    const uint64_t mask = v->info->mask != 0;
    unsigned n = 0;
    words[n++] = f->gpr[RCX];
    words[n++] = f->gpr[R11];
    for (unsigned i = 0; b->selectors && i < 4; i++)
        words[n++] = v->selector[i];
    if (b->error != NULL)
        words[n++] = *b->error;
    words[n++] = f->rip;
    words[n++] = (v->user ? f->cs & 0xffff : f->cs & 0xfffc) | mask << 32;
    words[n++] = (f->rflags & ~(RFLAGS_IF | RFLAGS_IOPL)) | (mask ? 0 : RFLAGS_IF);
    words[n++] = f->gpr[RSP];
    words[n++] = f->ss & 0xffff;
    return n;
}

/* False, and the domain has ended: the stack is not there. */
static bool __attribute__((hot)) bounce(struct pv_vcpu *v, const struct bounce *b)
{
    struct ring3_frame *f = &v->frame;
    uint64_t words[12];
    const unsigned bytes = fill(v, b, words) * (unsigned)sizeof(words[0]);
    const uint64_t top = (v->user ? v->kernel_sp : f->gpr[RSP]) & ~15ull, at = top - bytes;
    if (!pv_write(v, at, words, bytes)) {
        pv_crash(v, "its kernel's stack at 0x%llx is not mapped, or read-only",
                 (unsigned long long)at);
        return false;
    }
    pv_enter_kernel(v);
    f->gpr[RSP] = at;
    f->rip = b->handler;
    f->cs = XEN_CODE64;
    f->ss = XEN_DATA;
    f->rflags &= ~FLAGS_CLEARED;
    if (b->masks)
        v->info->mask = 1;
    return true;
}

void pv_exception(struct pv_vcpu *v, unsigned vector, const uint32_t *error)
{
    const struct pv_trap *trap = &v->trap[vector & 0xff];
    const struct bounce b = {.handler = trap->address,
                             .masks = (trap->flags & XEN_TRAP_MASKS_EVENTS) != 0,
                             .error = error};
    pv_book(v, PV_EXCEPTION);
    if (trap->address == 0) {
        pv_crash(v, "exception %u at 0x%llx (error code 0x%x, CR2 0x%llx), and no handler for it",
                 vector, (unsigned long long)v->frame.rip, error != NULL ? *error : 0,
                 (unsigned long long)v->frame.cr2);
        return;
    }
    (void)bounce(v, &b);
}

static bool has_error_code(unsigned vector)
{
    const uint32_t with = 1u << VECTOR_DOUBLE_FAULT | 0xfu << VECTOR_INVALID_TSS |
                          1u << VECTOR_PAGE_FAULT | 1u << VECTOR_ALIGNMENT_CHECK | 1u << 21;
    return vector < 32 && (with >> vector & 1) != 0;
}

/* From code that all engines share. */
void pv_inject(struct vcpu *vcpu, const struct event *event)
{
    pv_exception(pv_vcpu(vcpu), event->info & 0xff,
                 (event->info & EVENT_ERROR_CODE) != 0 ? &event->error : NULL);
}

/* SYSCALL has left RIP in RCX and RFLAGS in R11, and the flags of the handler are IA32_FMASK's. It
 * forgets CS and SS. Without a callback it is #UD. */
static inline __attribute__((always_inline)) void bounce_syscall(struct pv_vcpu *v,
                                                                 enum xen_callback which,
                                                                 uint64_t cs)
{
    const struct bounce b = {.handler = v->callback[which], .masks = v->callback_masks[which] != 0};
    v->frame.cs = cs;
    v->frame.ss = XEN_DATA;
    pv_book(v, PV_SYSCALL);
    if (b.handler == 0) {
        v->frame.rip -= SYSCALL_BYTES;
        pv_exception(v, VECTOR_INVALID_OPCODE, NULL);
        return;
    }
    if (bounce(v, &b))
        v->frame.rflags &= ~(uint64_t)RFLAGS_DF;
}

void __attribute__((hot)) pv_bounce_syscall(struct pv_vcpu *v)
{
    bounce_syscall(v, XEN_CALLBACK_SYSCALL, XEN_CODE64);
}

void __attribute__((noinline)) pv_bounce_syscall32(struct pv_vcpu *v)
{
    bounce_syscall(v, XEN_CALLBACK_SYSCALL32, XEN_CODE32);
}

/*
 * What a return to guest code would load and cannot: the frame has its CS, RIP and SS. With the
 * selectors that were to be loaded it is one of these, and its register is null; with those that
 * are in the registers CS, RIP or SS are bad. The kernel tells by that what to do.
 */
static void __attribute__((noinline)) call_failsafe(struct pv_vcpu *v)
{
    const struct bounce b = {.handler = v->callback[XEN_CALLBACK_FAILSAFE],
                             .masks = v->callback_masks[XEN_CALLBACK_FAILSAFE] != 0,
                             .selectors = true};
    pv_book(v, PV_EXCEPTION);
    if (b.handler == 0)
        pv_crash(v, "its state at 0x%llx cannot be loaded, and no failsafe callback",
                 (unsigned long long)v->frame.rip);
    else
        (void)bounce(v, &b);
}

void __attribute__((noinline)) pv_bad_return(struct pv_vcpu *v)
{
    ring3_read_selectors(v->selector);
    call_failsafe(v);
}

/* An interrupt of the vCPU's local APIC, which only Nadir's own calls make: it comes by the trap of
 * its number. While events are masked, the kernel sees that something is pending, and asks for it
 * when it unmasks them. */
static void __attribute__((noinline)) deliver_vector(struct pv_vcpu *v)
{
    struct vlapic *apic = &v->vcpu.apic;
    const int vector = vlapic_pending(apic);
    v->vector_waits = false;
    if (vector < 0)
        return;
    if (v->info->mask != 0) {
        v->vector_waits = true;
        v->info->pending = 1;
        return;
    }
    vlapic_accept(apic, (unsigned)vector);
    v->vector_waits = vlapic_pending(apic) >= 0;
    pv_exception(v, (unsigned)vector, NULL);
}

void pv_deliver_waiting(struct pv_vcpu *v)
{
    if (v->failsafe_due) {
        v->failsafe_due = false;
        call_failsafe(v);
    }
    if (v->nmi_pending && !v->in_nmi && v->trap[VECTOR_NMI].address != 0) {
        v->nmi_pending = false;
        v->in_nmi = true;
        pv_exception(v, VECTOR_NMI, NULL);
    }
    if (v->vector_waits)
        deliver_vector(v);
    if (!pv_event_waits(v))
        return;
    const struct bounce b = {.handler = v->callback[XEN_CALLBACK_EVENT], .masks = true};
    pv_count(v, PV_COUNT_UPCALLS, 1);
    if (b.handler == 0)
        pv_crash(v, "an event, and no callback for events");
    else
        (void)bounce(v, &b);
}

/* --- exceptions that code at CPL 3 has met --- */

/* INT n and INT3, which have no gates for CPL 3 in the real IDT: #GP. Its error code would say
 * which vector it was (SDM, "Error Code"), but QEMU's emulation says another one, so the
 * instruction is looked at. CPU A may execute an INT3 that CPU B has put there for a moment, as
 * Linux does to change its code, and B may have replaced it before it is looked at here: then A
 * executes what is there now. Otherwise its kernel would get a #GP by an instruction that cannot
 * raise one. False: it is INTO, or the gate is not for this code, as its kernel has said. */
#define INTO 0xceu
static bool software_interrupt(struct pv_vcpu *v)
{
    uint8_t bytes[INSN_MAX_BYTES] = {0};
    struct insn insn;
    if (system_decode(&insn, bytes, pv_fetch(v, bytes, sizeof(bytes)), INSN_64) != INSN_OK ||
        (insn.op != SYSTEM_INT && insn.op != SYSTEM_INT3))
        return bytes[0] != INTO;
    const unsigned vector = insn.op == SYSTEM_INT3 ? VECTOR_BREAKPOINT : insn.imm & 0xff,
                   dpl = v->trap[vector].flags & XEN_TRAP_DPL;
    if (v->trap[vector].address == 0 || (v->user ? dpl != 3 : dpl == 0))
        return false;
    v->frame.rip += insn.length;
    pv_exception(v, vector, NULL);
    return true;
}

static void debug_exception(struct pv_vcpu *v)
{
    uint64_t dr[4], dr6;
    cpu_read_debug(dr, &dr6);
    cpu_write_dr6(DR6_RESET);
    v->dr6 |= dr6 & ~DR6_RESET;
    pv_exception(v, VECTOR_DEBUG, NULL);
}

/* #GP of a selector in the IDT, by no external event (SDM, "Error Code"). */
enum { ERROR_EXT = 1, ERROR_IDT = 2 };

void pv_trap(struct pv_vcpu *v, unsigned vector)
{
    const uint32_t error = (uint32_t)v->frame.error;
    switch (vector) {
    case VECTOR_PAGE_FAULT:
        if ((error & PF_USER) != 0 || !pv_emulate_far_return(v))
            pv_space_fault(v);
        return;
    case VECTOR_DEBUG: debug_exception(v); return;
    case VECTOR_DEVICE_NOT_AVAILABLE:
        v->cr0 &= ~(uint64_t)CR0_TS; /* Xen's interface says so */
        pv_controls_changed(v);
        break;
    case VECTOR_GENERAL_PROTECTION:
        if ((error & (ERROR_EXT | ERROR_IDT)) == ERROR_IDT ? software_interrupt(v)
                                                           : error == 0 && pv_emulate(v))
            return;
        break;
    case VECTOR_INVALID_OPCODE:
        if (pv_emulate(v))
            return;
        break;
    default: break;
    }
    pv_exception(v, vector, has_error_code(vector) ? &error : NULL);
}

/* --- calls --- */

int64_t pv_set_trap_table(struct pv_vcpu *v, struct pv_call *call)
{
    if (call->gpr[ARG0] == 0) {
        memset(v->trap, 0, sizeof(v->trap));
        return 0;
    }
    for (unsigned i = 0; i < 256; i++) {
        struct xen_trap_info info;
        if (!pv_read(v, call->gpr[ARG0] + i * sizeof(info), &info, sizeof(info)))
            return XEN_EFAULT;
        if (info.address == 0)
            return 0;
        if (!pv_is_canonical(info.address))
            return XEN_EINVAL;
        v->trap[info.vector] = (struct pv_trap){.address = info.address, .flags = info.flags};
    }
    call->again = true;
    call->gpr[ARG0] += 256 * sizeof(struct xen_trap_info);
    return 0;
}

int64_t pv_set_callbacks(struct pv_vcpu *v, struct pv_call *call)
{
    const uint64_t address[XEN_CALLBACK_SYSCALL + 1] = {call->gpr[ARG0], call->gpr[ARG1],
                                                        call->gpr[ARG2]};
    for (unsigned i = 0; i <= XEN_CALLBACK_SYSCALL; i++)
        if (!pv_is_canonical(address[i]))
            return XEN_EINVAL;
    memcpy(v->callback, address, sizeof(address));
    memset(v->callback_masks, 0, sizeof(address) / sizeof(address[0]));
    return 0;
}

static int64_t register_callback(struct pv_vcpu *v, const struct xen_callback_register *r)
{
    switch (r->type) {
    case XEN_CALLBACK_EVENT:
    case XEN_CALLBACK_FAILSAFE:
    case XEN_CALLBACK_SYSCALL:
    case XEN_CALLBACK_SYSCALL32: break;
    case XEN_CALLBACK_NMI: /* the handler of vector 2 */
        v->trap[VECTOR_NMI] = (struct pv_trap){.address = r->address};
        return 0;
    default: return XEN_ENOSYS; /* SYSENTER is never one */
    }
    v->callback[r->type] = r->address;
    v->callback_masks[r->type] = (r->flags & XEN_CALLBACK_MASKS_EVENTS) != 0;
    return 0;
}

int64_t pv_callback_op(struct pv_vcpu *v, struct pv_call *call)
{
    enum { REGISTER = 0, UNREGISTER = 1 };
    struct xen_callback_register r = {0};
    const uint32_t op = (uint32_t)call->gpr[ARG0];
    if (op != REGISTER && op != UNREGISTER)
        return XEN_ENOSYS;
    if (!pv_read(v, call->gpr[ARG1], &r, op == REGISTER ? sizeof(r) : sizeof(r.type)))
        return XEN_EFAULT;
    if (op == UNREGISTER) /* only what could do without */
        return r.type == XEN_CALLBACK_NMI ? register_callback(v, &r) : XEN_EINVAL;
    return pv_is_canonical(r.address) ? register_callback(v, &r) : XEN_EFAULT;
}

int64_t pv_stack_switch(struct pv_vcpu *v, struct pv_call *call)
{
    if (!pv_is_canonical(call->gpr[ARG1]))
        return XEN_EINVAL;
    v->kernel_sp = call->gpr[ARG1];
    return 0;
}

/* Back to what a frame on the kernel's stack says. What the processor refuses of it (RIP, CS, SS)
 * is for the failsafe callback. */
int64_t __attribute__((hot)) pv_iret(struct pv_vcpu *v, struct pv_call *call)
{
    struct ring3_frame *f = &v->frame;
    struct xen_iret r;
    (void)call;
    if (!pv_read(v, f->gpr[RSP], &r, sizeof(r))) {
        pv_crash(v, "iret by a stack at 0x%llx that is not mapped",
                 (unsigned long long)f->gpr[RSP]);
        return 0;
    }
    f->rip = r.rip;
    f->cs = (r.cs & 0xffff) | 3;
    f->ss = (r.ss & 0xffff) | 3;
    f->rflags = ring3_flags(r.rflags);
    f->gpr[RSP] = r.rsp;
    if ((r.flags & XEN_IRET_IN_SYSCALL) == 0) {
        f->gpr[RCX] = r.rcx;
        f->gpr[R11] = r.r11;
    }
    v->info->mask = (r.rflags & RFLAGS_IF) == 0;
    v->in_nmi = false;
    if ((r.cs & 3) != 3)
        return (int64_t)r.rax;
    if (v->user_cr3 == 0)
        pv_crash(v, "iret to user code at 0x%llx without user page tables",
                 (unsigned long long)r.rip);
    pv_enter_user(v);
    return (int64_t)r.rax;
}

/* --- x87's TS, and debug registers --- */

int64_t pv_fpu_taskswitch(struct pv_vcpu *v, struct pv_call *call)
{
    v->cr0 = call->gpr[ARG0] != 0 ? v->cr0 | CR0_TS : v->cr0 & ~(uint64_t)CR0_TS;
    pv_controls_changed(v);
    return 0;
}

void pv_debug_put(struct pv_vcpu *v)
{
    const uint64_t none[4] = {0};
    if (!v->debug_armed)
        return;
    cpu_write_dr7(DR7_RESET);
    cpu_write_debug(none, DR6_RESET);
    v->debug_armed = false;
}

/* Addresses are not the hypervisor's; so nothing that it does itself meets them. */
void pv_debug_load(struct pv_vcpu *v)
{
    pv_debug_put(v);
    if ((v->dr7 & DR7_ENABLED) == 0)
        return;
    cpu_write_debug(v->dr, DR6_RESET);
    cpu_write_dr7(v->dr7);
    v->debug_armed = true;
}

static bool is_in_hole(uint64_t linear)
{
    return linear >= HOST_PHYSMAP_BASE && linear < HOST_HOLE_END;
}

int64_t pv_set_debugreg(struct pv_vcpu *v, struct pv_call *call)
{
    const uint64_t value = call->gpr[ARG1];
    switch (call->gpr[ARG0]) {
    case 0:
    case 1:
    case 2:
    case 3:
        if (!pv_is_canonical(value) || is_in_hole(value))
            return XEN_EPERM;
        v->dr[call->gpr[ARG0]] = value;
        break;
    case 4:
    case 6: v->dr6 = (value & 0xe00f) | DR6_RESET; return 0;
    case 5:
    case 7: /* no I/O breakpoints, no protection of these registers themselves */
        if ((value & ~(DR7_OF_GUEST | DR7_RESET)) != 0)
            return XEN_EPERM;
        for (unsigned i = 0; i < 4; i++)
            if ((value >> (16 + 4 * i) & 3) == 2)
                return XEN_EPERM;
        v->dr7 = (value & DR7_OF_GUEST) | DR7_RESET;
        break;
    default: return XEN_EINVAL;
    }
    pv_debug_load(v);
    return 0;
}

int64_t pv_get_debugreg(struct pv_vcpu *v, struct pv_call *call)
{
    switch (call->gpr[ARG0]) {
    case 0:
    case 1:
    case 2:
    case 3: return (int64_t)v->dr[call->gpr[ARG0]];
    case 4:
    case 6: return (int64_t)v->dr6;
    case 5:
    case 7: return (int64_t)v->dr7;
    default: return XEN_EINVAL;
    }
}
