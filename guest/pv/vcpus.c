/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on vCPUs and their time: vcpu_op, sched_op, set_timer_op. */
#include "guest/pv/pv.h"

#include "arch/nospec.h"
#include "arch/string.h"
#include "mm/page_alloc.h"

/* --- a vCPU's start --- */

struct pv_start {
    uint64_t gpr[16], rip, cs, rflags, ss, flags; /* flags: enum xen_context_flags */
    uint16_t selector[4];                         /* DS, ES, FS, GS */
    uint64_t gdt_frame[2], gdt_count, ldt, ldt_count;
    uint64_t kernel_sp, kernel_cr3, user_cr3;
    uint64_t callback[3], fs_base, kernel_gs_base, user_gs_base;
    struct pv_trap trap[256];
};
#define START_PAGES ((sizeof(struct pv_start) + PAGE_SIZE - 1) / PAGE_SIZE)

static bool read_at(struct pv_vcpu *v, uint64_t context, enum xen_context at, void *to,
                    unsigned bytes)
{
    return pv_read(v, context + (uint64_t)at, to, bytes);
}

static bool read_registers(struct pv_vcpu *v, uint64_t context, struct pv_start *s)
{
    static const uint8_t order[15] = {R15, R14, R13, R12, RBP, RBX, R11, R10,
                                      R9,  R8,  RAX, RCX, RDX, RSI, RDI};
    static const uint8_t of_selector[4] = {1, 0, 2, 3}; /* there ES is before DS */
    uint64_t gpr[15], selector[4];
    if (!read_at(v, context, XEN_CONTEXT_REGISTERS, gpr, sizeof(gpr)) ||
        !read_at(v, context, XEN_CONTEXT_RIP, &s->rip, sizeof(s->rip)) ||
        !read_at(v, context, XEN_CONTEXT_CS, &s->cs, sizeof(s->cs)) ||
        !read_at(v, context, XEN_CONTEXT_RFLAGS, &s->rflags, sizeof(s->rflags)) ||
        !read_at(v, context, XEN_CONTEXT_RSP, &s->gpr[RSP], sizeof(s->gpr[RSP])) ||
        !read_at(v, context, XEN_CONTEXT_SS, &s->ss, sizeof(s->ss)) ||
        !read_at(v, context, XEN_CONTEXT_SELECTORS, selector, sizeof(selector)))
        return false;
    for (unsigned i = 0; i < 15; i++)
        s->gpr[order[i]] = gpr[i];
    for (unsigned i = 0; i < 4; i++)
        s->selector[of_selector[i]] = (uint16_t)selector[i];
    return true;
}

static bool read_traps(struct pv_vcpu *v, uint64_t context, struct pv_start *s)
{
    for (unsigned i = 0; i < 256; i++) {
        struct xen_trap_info info;
        if (!pv_read(v, context + XEN_CONTEXT_TRAPS + i * sizeof(info), &info, sizeof(info)))
            return false;
        s->trap[i] = (struct pv_trap){.address = info.address, .flags = info.flags};
    }
    return true;
}

static bool read_tables(struct pv_vcpu *v, uint64_t context, struct pv_start *s)
{
    uint64_t ldt[2], control[4], bases[3];
    if (!read_at(v, context, XEN_CONTEXT_LDT, ldt, sizeof(ldt)) ||
        !read_at(v, context, XEN_CONTEXT_FLAGS, &s->flags, sizeof(s->flags)) ||
        !read_at(v, context, XEN_CONTEXT_GDT, s->gdt_frame, sizeof(s->gdt_frame)) ||
        !read_at(v, context, XEN_CONTEXT_GDT_ENTRIES, &s->gdt_count, sizeof(s->gdt_count)) ||
        !read_at(v, context, XEN_CONTEXT_KERNEL_SP, &s->kernel_sp, sizeof(s->kernel_sp)) ||
        !read_at(v, context, XEN_CONTEXT_CONTROL, control, sizeof(control)) ||
        !read_at(v, context, XEN_CONTEXT_CALLBACKS, s->callback, sizeof(s->callback)) ||
        !read_at(v, context, XEN_CONTEXT_BASES, bases, sizeof(bases)))
        return false;
    s->ldt = ldt[0];
    s->ldt_count = (uint32_t)ldt[1];
    s->user_cr3 = control[1] & PTE_ADDRESS;
    s->kernel_cr3 = control[3] & PTE_ADDRESS;
    s->fs_base = bases[0];
    s->kernel_gs_base = bases[1];
    s->user_gs_base = bases[2];
    return true;
}

static bool is_valid(const struct pv_vcpu *v, const struct pv_start *s)
{
    const uint64_t end = v->vcpu.vm->domain->pages * PAGE_SIZE;
    const uint64_t linear[] = {s->kernel_sp, s->callback[0],    s->callback[1], s->callback[2],
                               s->fs_base,   s->kernel_gs_base, s->user_gs_base};
    for (unsigned i = 0; i < sizeof(linear) / sizeof(linear[0]); i++)
        if (!pv_is_canonical(linear[i]))
            return false;
    for (unsigned i = 0; i < 256; i++)
        if (!pv_is_canonical(s->trap[i].address))
            return false;
    return s->kernel_cr3 != 0 && s->kernel_cr3 < end && s->user_cr3 < end &&
           s->gdt_count <= PV_DESCRIPTORS;
}

/* What the other is to start with: it takes that over at VCPUOP_up, on its own CPU. */
static int64_t initialise(struct pv_vcpu *v, struct pv_vcpu *other, uint64_t context)
{
    hpa_t pages;
    if (page_alloc(START_PAGES, 1, &pages) != OK)
        return XEN_ENOSPC;
    struct pv_start *s = hpa_to_ptr(pages);
    int64_t result = 0;
    if (!read_registers(v, context, s) || !read_traps(v, context, s) || !read_tables(v, context, s))
        result = XEN_EFAULT;
    else if (!is_valid(v, s))
        result = XEN_EINVAL;
    vm_lock(v->vcpu.vm);
    if (result == 0 && (other->initialised || other->up))
        result = XEN_EEXIST;
    if (result == 0) {
        other->start = s;
        other->initialised = true;
    }
    vm_unlock(v->vcpu.vm);
    if (result != 0)
        page_free(pages, START_PAGES);
    return result;
}

void pv_start_forget(struct pv_vcpu *v)
{
    if (v->start != NULL)
        page_free(ptr_to_hpa(v->start), START_PAGES);
    v->start = NULL;
}

static void take_selectors_and_bases(struct pv_vcpu *v, const struct pv_start *s)
{
    pv_segments_put(v);
    memcpy(v->selector, s->selector, sizeof(v->selector));
    v->fs_base = s->fs_base;
    v->kernel_gs_base = s->kernel_gs_base;
    v->user_gs_base = s->user_gs_base;
    v->user = false;
    (void)pv_read_gdt(v, s->gdt_frame, s->gdt_count);
    pv_segments_load(v);
    (void)pv_set_ldt(v, s->ldt, s->ldt_count);
}

void pv_start_take(struct pv_vcpu *v)
{
    const struct pv_start *s = v->start;
    struct ring3_frame *f = &v->frame;
    pv_flush(v, SHADOW_FLUSH_ALL); /* nobody has counted on it for that while it was down */
    if (s == NULL)
        return;
    memcpy(f->gpr, s->gpr, sizeof(f->gpr));
    f->rip = s->rip;
    f->cs = (s->cs & 0xffff) | 3;
    f->ss = (s->ss & 0xffff) | 3;
    f->rflags = ring3_flags(s->rflags);
    v->kernel_sp = s->kernel_sp;
    pv_take_root(v, SHADOW_KERNEL, gpa(s->kernel_cr3));
    pv_take_root(v, SHADOW_USER, gpa(s->user_cr3));
    memcpy(v->callback, s->callback, sizeof(s->callback));
    v->callback_masks[XEN_CALLBACK_FAILSAFE] = (s->flags & XEN_CONTEXT_FAILSAFE_MASKS) != 0;
    v->callback_masks[XEN_CALLBACK_SYSCALL] = (s->flags & XEN_CONTEXT_SYSCALL_MASKS) != 0;
    memcpy(v->trap, s->trap, sizeof(v->trap));
    take_selectors_and_bases(v, s);
    pv_start_forget(v);
}

/* --- vcpu_op --- */

static int64_t bring_up(struct pv_vcpu *other)
{
    if (!other->initialised)
        return XEN_EINVAL;
    if (__atomic_exchange_n(&other->up, true, __ATOMIC_SEQ_CST))
        return 0;
    __atomic_or_fetch(&other->asked, PV_ASK_UP, __ATOMIC_SEQ_CST);
    pv_wake(other);
    return 0;
}

/* Of itself alone: a kernel takes another CPU away by asking that to go. With the last one the
 * domain is off; the lock, lest two go at once and each takes the other for one that stays. */
static int64_t take_down(struct pv_vcpu *v, struct pv_vcpu *other)
{
    struct vm *vm = v->vcpu.vm;
    bool any = false;
    if (v != other)
        return XEN_ENOSYS;
    vm_lock(vm);
    __atomic_store_n(&v->up, false, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        any = any || __atomic_load_n(&pv_vcpu(vm->vcpu[i])->up, __ATOMIC_SEQ_CST);
    vm_unlock(vm);
    v->wait = PV_IS_DOWN;
    if (!any)
        vm_end_request(vm, VM_POWEROFF, 0, "powered off (VCPUOP_down of its last vCPU)");
    return 0;
}

/* {frame, offset}: from now on that is where the vCPU's events, and its time, are. */
static int64_t register_info(struct pv_vcpu *v, struct pv_vcpu *other, uint64_t at)
{
    uint64_t arg[2];
    if (!pv_read(v, at, arg, sizeof(arg)))
        return XEN_EFAULT;
    const uint64_t offset = (uint32_t)arg[1];
    const uint64_t frame = arg[0];
    struct vm *vm = v->vcpu.vm;
    if (frame >= vm->domain->pages || offset > PAGE_SIZE - sizeof(struct xen_vcpu_info) ||
        offset % sizeof(uint64_t) != 0 || other->info_moved)
        return XEN_EINVAL;
    struct xen_vcpu_info *to =
        guestmem_writable_window(&vm->mem, gpa(frame * PAGE_SIZE + offset), sizeof(*to));
    if (to == NULL)
        return XEN_EINVAL;
    vm_lock(vm);
    *to = *other->info;
    to->pending = 1; /* what has come before is looked at in the new place */
    to->pending_words = UINT64_MAX;
    __atomic_store_n(&other->info, to, __ATOMIC_RELEASE);
    other->info_moved = true;
    vm_unlock(vm);
    return 0;
}

static int64_t runstate(struct pv_vcpu *v, const struct pv_vcpu *other, uint64_t at)
{
    enum { RUNNING = 0, RUNNABLE = 1, BLOCKED = 2, OFFLINE = 3 };
    uint64_t out[XEN_RUNSTATE_BYTES / sizeof(uint64_t)] = {0};
    out[0] = !__atomic_load_n(&other->up, __ATOMIC_RELAXED) ? OFFLINE
             : v == other                                   ? RUNNING
                                                            : RUNNABLE;
    out[1] = pv_time_now(v->vcpu.vm);
    out[2] = out[1];
    return pv_write(v, at, out, sizeof(out)) ? 0 : XEN_EFAULT;
}

static int64_t set_singleshot(struct pv_vcpu *v, uint64_t at)
{
    uint64_t arg[2]; /* ns, flags: if that is past, an error is asked for or not */
    enum { ONLY_FUTURE = 1 };
    if (!pv_read(v, at, arg, sizeof(arg)))
        return XEN_EFAULT;
    if (((uint32_t)arg[1] & ONLY_FUTURE) != 0 && arg[0] < pv_time_now(v->vcpu.vm))
        return XEN_ETIME;
    pv_timer_set(v, arg[0] != 0 ? arg[0] : 1);
    return 0;
}

/* The same numbers for ever: they are written once. */
static int64_t register_time(struct pv_vcpu *v, uint64_t at)
{
    struct xen_time time = {0};
    uint64_t where;
    pv_time_write(v->vcpu.vm, &time);
    if (!pv_read(v, at, &where, sizeof(where)))
        return XEN_EFAULT;
    return pv_write(v, where, &time, sizeof(time)) ? 0 : XEN_EFAULT;
}

/* Of another vCPU, or this one. */
static int64_t on_any(struct pv_vcpu *v, struct pv_vcpu *other, uint32_t op, uint64_t at)
{
    switch (op) {
    case XEN_VCPU_INITIALISE: return initialise(v, other, at);
    case XEN_VCPU_UP: return bring_up(other);
    case XEN_VCPU_DOWN: return take_down(v, other);
    case XEN_VCPU_IS_UP: return __atomic_load_n(&other->up, __ATOMIC_RELAXED);
    case XEN_VCPU_RUNSTATE: return runstate(v, other, at);
    case XEN_VCPU_REGISTER_RUNSTATE: return 0; /* zeros, which are there: it runs */
    case XEN_VCPU_REGISTER_INFO: return register_info(v, other, at);
    case XEN_VCPU_SEND_NMI:
        __atomic_or_fetch(&other->asked, PV_ASK_NMI, __ATOMIC_SEQ_CST);
        pv_wake(other);
        return 0;
    default: return XEN_ENOSYS;
    }
}

int64_t pv_vcpu_op(struct pv_vcpu *v, struct pv_call *call)
{
    const uint32_t op = (uint32_t)call->gpr[ARG0];
    uint64_t number = (uint32_t)call->gpr[ARG1];
    if (index_is_beyond(&number, v->vcpu.vm->vcpu_count - 1))
        return XEN_ENOENT;
    struct pv_vcpu *other = pv_vcpu(v->vcpu.vm->vcpu[number]);
    switch (op) {
    case XEN_VCPU_STOP_PERIODIC:
    case XEN_VCPU_SET_SINGLESHOT:
    case XEN_VCPU_STOP_SINGLESHOT:
    case XEN_VCPU_REGISTER_TIME:
        if (other != v)
            return XEN_EINVAL;
        break;
    default: return on_any(v, other, op, call->gpr[ARG2]);
    }
    if (op == XEN_VCPU_SET_SINGLESHOT)
        return set_singleshot(v, call->gpr[ARG2]);
    if (op == XEN_VCPU_REGISTER_TIME)
        return register_time(v, call->gpr[ARG2]);
    if (op == XEN_VCPU_STOP_SINGLESHOT)
        pv_timer_set(v, 0);
    return 0;
}

int64_t pv_set_timer_op(struct pv_vcpu *v, struct pv_call *call)
{
    pv_timer_set(v, call->gpr[ARG0]);
    return 0;
}

/* --- sched_op --- */

static int64_t poll(struct pv_vcpu *v, uint64_t at)
{
    struct {
        uint64_t ports;
        uint32_t count, pad;
        uint64_t timeout; /* ns of system time; 0: none */
    } arg;
    if (!pv_read(v, at, &arg, sizeof(arg)))
        return XEN_EFAULT;
    if (arg.count > PV_POLL_PORTS)
        return XEN_EINVAL;
    for (uint32_t i = 0; i < arg.count; i++) {
        uint32_t port;
        if (!pv_read(v, arg.ports + i * sizeof(port), &port, sizeof(port)))
            return XEN_EFAULT;
        if (port >= PV_PORTS)
            return XEN_EINVAL;
        v->polled[i] = (uint16_t)port;
    }
    v->polled_count = (uint16_t)arg.count;
    v->poll_until = arg.timeout != 0 ? pv_time_tsc(v->vcpu.vm, arg.timeout) : TIMER_NEVER;
    timers_arm(&v->vcpu.timers, &v->poll_timer, v->poll_until);
    __atomic_store_n(&v->polls, true, __ATOMIC_SEQ_CST); /* before the ports are looked at */
    v->wait = PV_POLLS;
    return 0;
}

/* The call itself is over: what ends the wait is seen in pv_run(). */
bool pv_wait_is_over(struct pv_vcpu *v)
{
    if (v->wait == PV_IS_DOWN)
        return false;
    if (v->nmi_pending || v->vector_waits || pv_event_waits(v))
        return true;
    if (v->wait == PV_BLOCKED)
        return false;
    if (v->poll_until <= cpu_rdtsc())
        return true;
    for (unsigned i = 0; i < v->polled_count; i++)
        if (pv_port_is_pending(pv_vm_of(v), v->polled[i]))
            return true;
    return false;
}

void pv_wait_ends(struct pv_vcpu *v)
{
    if (v->wait == PV_POLLS) {
        __atomic_store_n(&v->polls, false, __ATOMIC_SEQ_CST);
        timers_arm(&v->vcpu.timers, &v->poll_timer, TIMER_NEVER);
    }
    v->wait = PV_RUNS;
}

static int64_t shut_down(struct pv_vcpu *v, uint32_t reason)
{
    struct vm *vm = v->vcpu.vm;
    switch (reason) {
    case XEN_POWEROFF: vm_end_request(vm, VM_POWEROFF, 0, "powered off (SCHEDOP_shutdown)"); break;
    case XEN_REBOOT: vm_end_request(vm, VM_RESET, 0, "reset (SCHEDOP_shutdown)"); break;
    case XEN_CRASH:
        vm_end_request(vm, VM_CRASH, 0, "its kernel has crashed (SCHEDOP_shutdown)");
        break;
    default: return XEN_EINVAL;
    }
    return 0;
}

static int64_t read_reason(struct pv_vcpu *v, uint64_t at)
{
    uint32_t reason;
    return pv_read(v, at, &reason, sizeof(reason)) ? shut_down(v, reason) : XEN_EFAULT;
}

int64_t pv_sched_op(struct pv_vcpu *v, struct pv_call *call)
{
    switch ((uint32_t)call->gpr[ARG0]) {
    case XEN_SCHED_YIELD:
        pv_console_look(v); /* who waits for room in its ring yields, or for the store */
        pv_store_look(v);
        v->vcpu.yields = true;
        v->vcpu.attention = true;
        return 0;
    case XEN_SCHED_BLOCK:
        v->info->mask = 0;
        v->wait = PV_BLOCKED;
        return 0;
    case XEN_SCHED_POLL: return poll(v, call->gpr[ARG1]);
    case XEN_SCHED_SHUTDOWN: return read_reason(v, call->gpr[ARG1]);
    default: return XEN_ENOSYS;
    }
}

/* As it was before poll: the reason of a shutdown is an argument itself. */
int64_t pv_sched_op_compat(struct pv_vcpu *v, struct pv_call *call)
{
    switch ((uint32_t)call->gpr[ARG0]) {
    case XEN_SCHED_YIELD:
    case XEN_SCHED_BLOCK: return pv_sched_op(v, call);
    case XEN_SCHED_SHUTDOWN: return shut_down(v, (uint32_t)call->gpr[ARG1]);
    default: return XEN_ENOSYS;
    }
}
