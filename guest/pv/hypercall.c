/* SPDX-License-Identifier: BSD-2-Clause */
/* SYSCALL of the guest's kernel: which call it is, in portions, and several in one. */
#include "guest/pv/pv.h"

#include "arch/log.h"
#include "arch/nospec.h"
#include "arch/string.h"
#include "guest/cpu/interpret.h"

#define FIRST_OF_NADIR 0x1000u /* guest/hypercall.h: those below are Xen's */

bool pv_works_long(const struct pv_vcpu *v)
{
    return v->vcpu.attention || cpu_rdtsc() - v->vcpu.tsc_exit > WORK_TICKS;
}

static int64_t vm_assist(struct pv_vcpu *v, struct pv_call *call)
{
    (void)v;
    (void)call;
    return 0; /* what a guest is helped with, it is helped with always */
}

/* What there is none of: kernels do without. */
static int64_t none(struct pv_vcpu *v, struct pv_call *call)
{
    (void)v;
    (void)call;
    return XEN_ENOSYS;
}

static pv_call_fn multicall;

struct row {
    pv_call_fn *call;
    uint8_t counter;
    bool of_tables; /* booked on the guest's page tables */
};
static const struct row calls[XEN_CALL_COUNT] = {
    [0] = {pv_set_trap_table, PV_CALL_set_trap_table, false},
    [1] = {pv_mmu_update, PV_CALL_mmu_update, true},
    [2] = {pv_set_gdt, PV_CALL_set_gdt, false},
    [3] = {pv_stack_switch, PV_CALL_stack_switch, false},
    [4] = {pv_set_callbacks, PV_CALL_set_callbacks, false},
    [5] = {pv_fpu_taskswitch, PV_CALL_fpu_taskswitch, false},
    [8] = {pv_set_debugreg, PV_CALL_set_debugreg, false},
    [9] = {pv_get_debugreg, PV_CALL_get_debugreg, false},
    [10] = {pv_update_descriptor, PV_CALL_update_descriptor, false},
    [12] = {pv_memory_op, PV_CALL_memory_op, false},
    [13] = {multicall, PV_CALL_multicall, true},
    [14] = {pv_update_va_mapping, PV_CALL_update_va_mapping, true},
    [15] = {pv_set_timer_op, PV_CALL_set_timer_op, false},
    [17] = {pv_xen_version, PV_CALL_xen_version, false},
    [18] = {pv_console_io, PV_CALL_console_io, false},
    [20] = {none, PV_CALL_grant_table_op,
            false}, /* grants: no other domain is there to share with */
    [21] = {vm_assist, PV_CALL_vm_assist, false},
    [23] = {pv_iret, PV_CALL_iret, false},
    [24] = {pv_vcpu_op, PV_CALL_vcpu_op, false},
    [25] = {pv_set_segment_base, PV_CALL_set_segment_base, false},
    [26] = {pv_mmuext_op, PV_CALL_mmuext_op, true},
    [29] = {pv_sched_op, PV_CALL_sched_op, false},
    [30] = {pv_callback_op, PV_CALL_callback_op, false},
    [32] = {pv_event_channel_op, PV_CALL_event_channel_op, false},
    [33] = {pv_physdev_op, PV_CALL_physdev_op, false},
    [34] = {none, PV_CALL_hvm_op, false},    /* of guests with VT-x */
    [40] = {none, PV_CALL_xenpmu_op, false}, /* performance counters */
};
enum { CALL_MULTICALL = 13, CALL_IRET = 23 };

static void __attribute__((cold)) tell_unknown(struct pv_vcpu *v, uint64_t number)
{
    struct vm *vm = v->vcpu.vm;
    const uint64_t bit = 1ull << (number < 63 ? number : 63);
    pv_count(v, PV_COUNT_CALLS, 1);
    if ((__atomic_fetch_or(&pv_vm(vm)->told, bit, __ATOMIC_RELAXED) & bit) == 0)
        log_line_of(vm->log, "%s: asks for hypercall %llu, which is not there: -ENOSYS", vm->name,
                    (unsigned long long)number);
}

/* A call by its number, which may be any; result: what the guest gets. */
static int64_t carry_out(struct pv_vcpu *v, uint64_t number, struct pv_call *call)
{
    uint64_t row = number;
    if (index_is_beyond(&row, XEN_CALL_COUNT - 1) || calls[row].call == NULL) {
        tell_unknown(v, number);
        return XEN_ENOSYS;
    }
    v->counted[calls[row].counter]++;
    return calls[row].call(v, call);
}

/*
 * Several calls in one. Each is read once, and its result is written to its place. Where one goes
 * on in another portion, what is left of it is written back as its arguments, and the whole begins
 * again with it.
 */
static int64_t multicall(struct pv_vcpu *v, struct pv_call *call)
{
    const uint64_t count = (uint32_t)call->arg[1];
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t at = call->arg[0] + i * sizeof(struct xen_multicall);
        struct xen_multicall entry;
        struct pv_call inner = {.again = i != 0 && pv_works_long(v)};
        if (!inner.again) {
            if (!pv_read(v, at, &entry, sizeof(entry)))
                return XEN_EFAULT;
            memcpy(inner.arg, entry.args, sizeof(inner.arg));
            entry.result = (uint64_t)(entry.op == CALL_MULTICALL || entry.op == CALL_IRET
                                          ? XEN_EINVAL
                                          : carry_out(v, entry.op, &inner));
            memcpy(entry.args, inner.arg, sizeof(entry.args));
            v->counted[PV_COUNT_BATCHED]++;
            const bool put = inner.again ? pv_write(v, at, &entry, sizeof(entry))
                                         : pv_write(v, at + offsetof(struct xen_multicall, result),
                                                    &entry.result, sizeof(entry.result));
            if (!put)
                return XEN_EFAULT;
        }
        if (inner.again) {
            call->again = true;
            call->arg[0] = at;
            call->arg[1] = count - i;
            return 0;
        }
    }
    return 0;
}

static void __attribute__((noinline)) call_nadir(struct pv_vcpu *v)
{
    struct vcpu *vcpu = &v->vcpu;
    pv_count(v, PV_COUNT_NADIR, 1);
    memcpy(vcpu->regs.gpr, v->frame.gpr, sizeof(v->frame.gpr));
    const enum exit_action action = vcpu_hypercall(vcpu, 0);
    memcpy(v->frame.gpr, vcpu->regs.gpr, sizeof(v->frame.gpr));
    if (action == EXIT_ITERATION)
        v->frame.rip -= SYSCALL_BYTES;
}

/* A vCPU that is to wait for room in the console makes its call again then. */
void __attribute__((hot)) pv_hypercall(struct pv_vcpu *v)
{
    static const uint8_t argument[6] = {RDI, RSI, RDX, R10, R8, R9};
    struct ring3_frame *f = &v->frame;
    uint64_t number = (uint32_t)f->gpr[RAX];
    struct pv_call call;
    f->cs = XEN_CODE64; /* SYSCALL forgets both */
    f->ss = XEN_DATA;
    pv_book(v, PV_HYPERCALL);
    if (__builtin_expect(number >= FIRST_OF_NADIR, 0)) {
        call_nadir(v);
        return;
    }
    for (unsigned i = 0; i < 6; i++)
        call.arg[i] = f->gpr[argument[i]];
    call.again = false;
    if (number < XEN_CALL_COUNT && calls[index_nospec(number, XEN_CALL_COUNT)].of_tables)
        pv_book(v, PV_PAGE_TABLES);
    const uint64_t result = (uint64_t)carry_out(v, number, &call);
    if (__builtin_expect(call.again, 0)) {
        f->rip -= SYSCALL_BYTES;
        for (unsigned i = 0; i < 6; i++)
            f->gpr[argument[i]] = call.arg[i];
        return;
    }
    f->gpr[RAX] = result;
}
