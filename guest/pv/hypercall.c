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
    uint8_t counter, event;
};
static const struct row calls[XEN_CALL_COUNT] = {
    [0] = {pv_set_trap_table, PV_CALL_set_trap_table, PV_HYPERCALL},
    [1] = {pv_mmu_update, PV_CALL_mmu_update, PV_PAGE_TABLES},
    [2] = {pv_set_gdt, PV_CALL_set_gdt, PV_HYPERCALL},
    [3] = {pv_stack_switch, PV_CALL_stack_switch, PV_HYPERCALL},
    [4] = {pv_set_callbacks, PV_CALL_set_callbacks, PV_HYPERCALL},
    [5] = {pv_fpu_taskswitch, PV_CALL_fpu_taskswitch, PV_HYPERCALL},
    [6] = {pv_sched_op_compat, PV_CALL_sched_op_compat, PV_HYPERCALL},
    [8] = {pv_set_debugreg, PV_CALL_set_debugreg, PV_HYPERCALL},
    [9] = {pv_get_debugreg, PV_CALL_get_debugreg, PV_HYPERCALL},
    [10] = {pv_update_descriptor, PV_CALL_update_descriptor, PV_HYPERCALL},
    [12] = {pv_memory_op, PV_CALL_memory_op, PV_HYPERCALL},
    [13] = {multicall, PV_CALL_multicall, PV_PAGE_TABLES},
    [14] = {pv_update_va_mapping, PV_CALL_update_va_mapping, PV_PAGE_TABLES},
    [15] = {pv_set_timer_op, PV_CALL_set_timer_op, PV_HYPERCALL},
    [16] = {pv_event_channel_op_compat, PV_CALL_event_channel_op_compat, PV_HYPERCALL},
    [17] = {pv_xen_version, PV_CALL_xen_version, PV_HYPERCALL},
    [18] = {pv_console_io, PV_CALL_console_io, PV_HYPERCALL},
    [20] = {pv_grant_table_op, PV_CALL_grant_table_op, PV_HYPERCALL},
    [21] = {vm_assist, PV_CALL_vm_assist, PV_HYPERCALL},
    [23] = {pv_iret, PV_CALL_iret, PV_IRET},
    [24] = {pv_vcpu_op, PV_CALL_vcpu_op, PV_HYPERCALL},
    [25] = {pv_set_segment_base, PV_CALL_set_segment_base, PV_HYPERCALL},
    [26] = {pv_mmuext_op, PV_CALL_mmuext_op, PV_PAGE_TABLES},
    [29] = {pv_sched_op, PV_CALL_sched_op, PV_HYPERCALL},
    [30] = {pv_callback_op, PV_CALL_callback_op, PV_HYPERCALL},
    [32] = {pv_event_channel_op, PV_CALL_event_channel_op, PV_HYPERCALL},
    [33] = {pv_physdev_op, PV_CALL_physdev_op, PV_HYPERCALL},
    [34] = {none, PV_CALL_hvm_op, PV_HYPERCALL},    /* of guests with VT-x */
    [40] = {none, PV_CALL_xenpmu_op, PV_HYPERCALL}, /* performance counters */
};
enum { CALL_MULTICALL = 13, CALL_MAPPING = 14, CALL_IRET = 23 };

/* update_va_mapping is light where it asks for no flush. By itself it nearly always asks for one,
 * so that it would be tried in vain; in a multicall it seldom does. */
#define LIGHT_IN_BATCH (PV_LIGHT_CALLS | 1ull << CALL_MAPPING)

static void __attribute__((cold)) tell_unknown(struct pv_vcpu *v, uint64_t number)
{
    struct vm *vm = v->vcpu.vm;
    const uint64_t bit = 1ull << (number < 63 ? number : 63);
    pv_count(v, PV_COUNT_CALLS, 1);
    if ((__atomic_fetch_or(&pv_vm(vm)->told, bit, __ATOMIC_RELAXED) & bit) == 0)
        log_line_of(vm->log, "%s: asks for hypercall %llu, which is not there: -ENOSYS", vm->name,
                    (unsigned long long)number);
}

/* NULL: there is no such call. */
static inline const struct row *row_of(uint64_t number)
{
    const bool beyond = index_is_beyond(&number, XEN_CALL_COUNT - 1);
    return beyond || calls[number].call == NULL ? NULL : &calls[number];
}

/* A call by its number, which may be any; result: what the guest gets. */
static inline int64_t carry_out(struct pv_vcpu *v, uint64_t number, struct pv_call *call)
{
    const struct row *row = row_of(number);
    if (call->lightly && (number >= XEN_CALL_COUNT || (LIGHT_IN_BATCH >> number & 1) == 0)) {
        call->again = call->fully = true;
        return 0;
    }
    if (row == NULL) {
        tell_unknown(v, number);
        return XEN_ENOSYS;
    }
    const int64_t result = row->call(v, call);
    if (!call->fully) {
        v->counted[PV_COUNT_BATCHED]++;
        v->counted[row->counter]++;
    }
    return result;
}

static const uint8_t argument[] = {ARG0, ARG1, ARG2, ARG3, ARG4, ARG5};

/* One of several calls, at that address. False: it cannot be read or written. */
static bool one_of_many(struct pv_vcpu *v, uint64_t at, struct pv_call *inner)
{
    struct xen_multicall apart;
    struct xen_multicall *entry =
        at % sizeof(uint64_t) == 0 ? pv_window(v, at, sizeof(apart), true) : NULL;
    if (entry == NULL) { /* it crosses a page, or is not aligned */
        if (!pv_read(v, at, &apart, sizeof(apart)))
            return false;
        entry = &apart;
    }
    const uint64_t op = __atomic_load_n(&entry->op, __ATOMIC_RELAXED);
#pragma GCC unroll 6
    for (unsigned i = 0; i < sizeof(argument); i++)
        inner->gpr[argument[i]] = __atomic_load_n(&entry->args[i], __ATOMIC_RELAXED);
    const int64_t result =
        op == CALL_MULTICALL || op == CALL_IRET ? XEN_EINVAL : carry_out(v, op, inner);
    if (!inner->again)
        entry->result = (uint64_t)result;
    for (unsigned i = 0; i < sizeof(argument) && inner->again; i++)
        entry->args[i] = inner->gpr[argument[i]];
    return entry != &apart || pv_write(v, at, &apart, sizeof(apart));
}

/*
 * Several calls in one. Each is read once, and its result is written to its place. Where one goes
 * on in another portion, what is left of it is written back as its arguments, and the whole begins
 * again with it.
 */
static int64_t multicall(struct pv_vcpu *v, struct pv_call *call)
{
    const uint64_t count = (uint32_t)call->gpr[ARG1];
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t at = call->gpr[ARG0] + i * sizeof(struct xen_multicall);
        uint64_t gpr[16];
        struct pv_call inner = {
            .gpr = gpr, .lightly = call->lightly, .again = i != 0 && pv_works_long(v)};
        if (!inner.again && !one_of_many(v, at, &inner))
            return XEN_EFAULT;
        if (inner.again) {
            call->again = true;
            call->fully = inner.fully;
            call->gpr[ARG0] = at;
            call->gpr[ARG1] = count - i;
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

/* Of a row of the table. A vCPU that is to wait for room in the console makes its call again then.
 * False: it is to be called otherwise than lightly. */
static inline __attribute__((always_inline)) bool call_by(struct pv_vcpu *v, const struct row *row,
                                                          bool lightly)
{
    struct ring3_frame *f = &v->frame;
    struct pv_call call = {.gpr = f->gpr, .lightly = lightly};
    pv_book(v, row->event);
    const uint64_t result = (uint64_t)row->call(v, &call);
    if (__builtin_expect(!call.again, 1)) {
        v->counted[row->counter]++;
        f->gpr[RAX] = result;
        return true;
    }
    if (call.fully)
        return false;
    v->counted[row->counter]++;
    f->rip -= SYSCALL_BYTES;
    return true;
}

/* SYSCALL forgets CS and SS. */
static inline uint64_t begin_call(struct pv_vcpu *v)
{
    v->frame.cs = XEN_CODE64;
    v->frame.ss = XEN_DATA;
    return (uint32_t)v->frame.gpr[RAX];
}

unsigned __attribute__((hot)) pv_answer(struct ring3_frame *frame)
{
    struct pv_vcpu *v =
        (struct pv_vcpu *)(void *)((uint8_t *)frame - offsetof(struct pv_vcpu, frame));
    pv_begin_exit(v);
    const struct row *row = row_of(begin_call(v));
    if (row == NULL || !call_by(v, row, true))
        return RING3_SYSCALL;
    pv_end_exit(v, v->event);
    return v->vcpu.attention || pv_event_waits(v) ? PV_ANSWERED : RING3_GO_ON;
}

void __attribute__((hot)) pv_hypercall(struct pv_vcpu *v)
{
    const uint64_t number = begin_call(v);
    const struct row *row = row_of(number);
    if (row != NULL) {
        (void)call_by(v, row, false);
        return;
    }
    pv_book(v, PV_HYPERCALL);
    if (number >= FIRST_OF_NADIR) {
        call_nadir(v);
        return;
    }
    tell_unknown(v, number);
    v->frame.gpr[RAX] = (uint64_t)XEN_ENOSYS;
}
