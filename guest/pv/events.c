/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Event channels: ports, each of which leads to a vCPU of the domain. An event is a bit in the
 * page that hypervisor and guest share; a vCPU with one gets an upcall (traps.c), unless it has
 * events masked. Only the ports of the domain itself are there: virtual interrupts, IPIs, the
 * console; nothing connects two domains.
 */
#include "guest/pv/pv.h"

#include "arch/format.h"
#include "arch/log.h"
#include "arch/nospec.h"

static bool test_and_set(uint64_t *word, unsigned bit)
{
    return (__atomic_fetch_or(word, 1ull << bit, __ATOMIC_SEQ_CST) >> bit & 1) != 0;
}

static bool test(const uint64_t *word, unsigned bit)
{
    return (__atomic_load_n(word, __ATOMIC_SEQ_CST) >> bit & 1) != 0;
}

bool pv_port_is_pending(const struct pv_vm *own, unsigned port)
{
    return test(&own->shared->pending[port / 64], port % 64);
}

/*
 * CPU A, here, has set what the vCPU is to see, then event_waits, and wakes it. CPU B, which has
 * the vCPU, takes event_waits back and then looks at what is to be seen (pv_run()), before the vCPU
 * goes to sleep. Without this order it could sleep with an event that nobody tells it of again.
 */
void pv_wake(struct pv_vcpu *v)
{
    __atomic_store_n(&v->vcpu.event_waits, true, __ATOMIC_SEQ_CST);
    vcpu_interrupts_changed(&v->vcpu);
}

/* The vCPU has an upcall to come. */
static void mark_pending(struct pv_vcpu *v)
{
    __atomic_store_n(&v->info->pending, 1, __ATOMIC_SEQ_CST);
    pv_wake(v);
}

/* Who waits for ports by themselves (SCHEDOP_poll) waits for those that are masked, too. */
static void wake_pollers(struct vm *vm)
{
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        struct pv_vcpu *v = pv_vcpu(vm->vcpu[i]);
        if (__atomic_load_n(&v->polls, __ATOMIC_SEQ_CST))
            pv_wake(v);
    }
}

static void show(struct pv_vcpu *v, const struct pv_vm *own, unsigned port)
{
    if (!test(&own->shared->mask[port / 64], port % 64) &&
        !test_and_set(&v->info->pending_words, port / 64))
        mark_pending(v);
}

void pv_event_set(struct vm *vm, unsigned port)
{
    struct pv_vm *own = vm->engine_vm;
    if (test_and_set(&own->shared->pending[port / 64], port % 64))
        return;
    show(pv_vcpu(vm->vcpu[own->port[port].vcpu]), own, port);
    wake_pollers(vm);
}

void pv_raise_virq(struct pv_vcpu *v, unsigned virq)
{
    vm_lock(v->vcpu.vm);
    if (v->virq_port[virq] != 0)
        pv_event_set(v->vcpu.vm, v->virq_port[virq]);
    vm_unlock(v->vcpu.vm);
}

/* --- ports, with the lock held --- */

/* One that is of some kind already, by its number as the guest gives it; NULL: there is none. */
static struct pv_port *find(struct pv_vm *own, uint64_t *number)
{
    if (index_is_beyond(number, PV_PORTS - 1) || own->port[*number].kind == PV_PORT_FREE ||
        own->port[*number].kind == PV_PORT_RESERVED)
        return NULL;
    return &own->port[*number];
}

static int64_t add(struct pv_vm *own, const struct pv_port *what)
{
    for (unsigned i = 1; i < PV_PORTS; i++) {
        if (own->port[i].kind != PV_PORT_FREE)
            continue;
        own->port[i] = *what;
        return i;
    }
    return XEN_ENOSPC;
}

static int64_t bind_virq(struct pv_vcpu *v, uint32_t arg[3])
{
    struct vm *vm = v->vcpu.vm;
    uint64_t virq = arg[0], vcpu = arg[1];
    if (index_is_beyond(&virq, XEN_VIRQS - 1))
        return XEN_EINVAL;
    if (index_is_beyond(&vcpu, vm->vcpu_count - 1))
        return XEN_ENOENT;
    uint16_t *port = &pv_vcpu(vm->vcpu[vcpu])->virq_port[virq];
    if (*port != 0)
        return XEN_EEXIST;
    const int64_t n = add(pv_vm(vm), &(struct pv_port){PV_PORT_VIRQ, (uint8_t)vcpu, (uint8_t)virq});
    if (n < 0)
        return n;
    *port = (uint16_t)n;
    arg[2] = (uint32_t)n;
    return 0;
}

static int64_t bind_ipi(struct pv_vcpu *v, uint32_t arg[3])
{
    uint64_t vcpu = arg[0];
    if (index_is_beyond(&vcpu, v->vcpu.vm->vcpu_count - 1))
        return XEN_ENOENT;
    const int64_t n = add(pv_vm_of(v), &(struct pv_port){PV_PORT_IPI, (uint8_t)vcpu, 0});
    arg[1] = (uint32_t)n;
    return n < 0 ? n : 0;
}

/* For a peer that there is not: the port is there, and silent. */
static int64_t alloc_unbound(struct pv_vcpu *v, uint32_t arg[3])
{
    const int64_t n = add(pv_vm_of(v), &(struct pv_port){PV_PORT_UNBOUND, 0, 0});
    arg[1] = (uint32_t)n;
    return n < 0 ? n : 0;
}

static int64_t close(struct pv_vcpu *v, uint64_t number)
{
    struct vm *vm = v->vcpu.vm;
    struct pv_vm *own = pv_vm(vm);
    struct pv_port *port = find(own, &number);
    if (port == NULL || port->kind == PV_PORT_CONSOLE)
        return XEN_EINVAL;
    if (port->kind == PV_PORT_VIRQ)
        pv_vcpu(vm->vcpu[port->vcpu])->virq_port[port->virq] = 0;
    *port = (struct pv_port){.kind = PV_PORT_FREE};
    __atomic_fetch_and(&own->shared->pending[number / 64], ~(1ull << number % 64),
                       __ATOMIC_SEQ_CST);
    return 0;
}

static int64_t send(struct pv_vcpu *v, uint64_t number)
{
    struct vm *vm = v->vcpu.vm;
    const struct pv_port *port = find(pv_vm(vm), &number);
    if (port == NULL)
        return XEN_EINVAL;
    switch (port->kind) {
    case PV_PORT_IPI: pv_event_set(vm, (unsigned)number); return 0;
    case PV_PORT_CONSOLE:
        if (!pv_console_drain(vm))
            vm_wait_for_io(vm);
        return 0;
    case PV_PORT_UNBOUND: return 0; /* nobody hears it */
    default: return XEN_EINVAL;
    }
}

/* Where a port of the guest's leads to. Those of a vCPU (IPIs, its timer) stay there. */
static int64_t bind_vcpu(struct pv_vcpu *v, const uint32_t arg[3])
{
    uint64_t number = arg[0], vcpu = arg[1];
    struct pv_port *port = find(pv_vm_of(v), &number);
    if (port == NULL || port->kind == PV_PORT_IPI || port->kind == PV_PORT_VIRQ)
        return XEN_EINVAL;
    if (index_is_beyond(&vcpu, v->vcpu.vm->vcpu_count - 1))
        return XEN_ENOENT;
    port->vcpu = (uint8_t)vcpu;
    return 0;
}

/* A pending event of the port comes now. */
static int64_t unmask(struct pv_vcpu *v, uint64_t number)
{
    struct vm *vm = v->vcpu.vm;
    struct pv_vm *own = pv_vm(vm);
    const struct pv_port *port = find(own, &number);
    if (port == NULL)
        return XEN_EINVAL;
    const uint64_t bit = 1ull << number % 64;
    const uint64_t before =
        __atomic_fetch_and(&own->shared->mask[number / 64], ~bit, __ATOMIC_SEQ_CST);
    if ((before & bit) != 0 && pv_port_is_pending(own, (unsigned)number))
        show(pv_vcpu(vm->vcpu[port->vcpu]), own, (unsigned)number);
    return 0;
}

/* In: domain, port. Out: status, vCPU, and what it is bound to. */
static int64_t status(struct pv_vcpu *v, uint64_t number, uint32_t out[4])
{
    enum { CLOSED = 0, UNBOUND = 1, INTERDOMAIN = 2, VIRQ = 4, IPI = 5 };
    static const uint8_t of_kind[] = {[PV_PORT_UNBOUND] = UNBOUND,
                                      [PV_PORT_VIRQ] = VIRQ,
                                      [PV_PORT_IPI] = IPI,
                                      [PV_PORT_CONSOLE] = INTERDOMAIN};
    if (number >= PV_PORTS)
        return XEN_EINVAL;
    const struct pv_port *port = find(pv_vm_of(v), &number);
    out[0] = port == NULL ? CLOSED : of_kind[port->kind];
    out[1] = port == NULL ? 0 : port->vcpu;
    out[2] = port != NULL && port->kind == PV_PORT_VIRQ ? port->virq : 0;
    out[3] = 0;
    return 0;
}

/* --- for the user --- */

#define PRINTED 16u /* ports */

/* Why nothing comes of it. */
static const char *why_pending(const struct pv_vm *own, const struct pv_vcpu *v, unsigned port)
{
    if (test(&own->shared->mask[port / 64], port % 64))
        return "the port is masked";
    if (v->info->mask != 0)
        return "the vCPU has all events masked";
    if (v->info->pending != 0)
        return "the vCPU takes it next";
    return "its bit was not cleared by the kernel, and no other event comes by it until then";
}

static void print_port(const struct vm *vm, unsigned number)
{
    const struct pv_vm *own = pv_vm(vm);
    const struct pv_port *port = &own->port[number];
    char what[32];
    format_text(what, sizeof(what), "virtual interrupt %u", port->virq);
    log_line_of(vm->log, "%s: event port %u (%s of vCPU %u) is pending: %s", vm->name, number,
                port->kind == PV_PORT_VIRQ      ? what
                : port->kind == PV_PORT_IPI     ? "IPI"
                : port->kind == PV_PORT_CONSOLE ? "console"
                                                : "bound to nobody",
                port->vcpu, why_pending(own, pv_vcpu(vm->vcpu[port->vcpu]), number));
}

void pv_events_print(const struct vm *vm)
{
    const struct pv_vm *own = pv_vm(vm);
    unsigned left = PRINTED;
    for (unsigned i = 1; i < PV_PORTS && left != 0; i++) {
        if (own->port[i].kind <= PV_PORT_RESERVED || !pv_port_is_pending(own, i))
            continue;
        print_port(vm, i);
        left--;
    }
}

/* --- the call --- */

/* arg: the first words of what the guest has passed, each a word; *out: how many of them, from the
 * last one that is an argument on, are results: bytes from, to. */
struct result_words {
    uint8_t first, count;
};

static int64_t carry_out(struct pv_vcpu *v, uint32_t op, uint32_t arg[6], struct result_words *out)
{
    switch (op) {
    case XEN_EVENT_BIND_VIRQ: *out = (struct result_words){2, 1}; return bind_virq(v, arg);
    case XEN_EVENT_BIND_IPI: *out = (struct result_words){1, 1}; return bind_ipi(v, arg);
    case XEN_EVENT_ALLOC_UNBOUND: *out = (struct result_words){1, 1}; return alloc_unbound(v, arg);
    case XEN_EVENT_CLOSE: return close(v, arg[0]);
    case XEN_EVENT_SEND: return send(v, arg[0]);
    case XEN_EVENT_BIND_VCPU: return bind_vcpu(v, arg);
    case XEN_EVENT_UNMASK: return unmask(v, arg[0]);
    case XEN_EVENT_STATUS: *out = (struct result_words){2, 4}; return status(v, arg[1], &arg[2]);
    default: return XEN_ENOSYS;
    }
}

/* Words that each operation takes; 0: there is no such operation. */
static unsigned words_of(uint32_t op)
{
    static const uint8_t words[] = {
        [XEN_EVENT_BIND_VIRQ] = 3, [XEN_EVENT_CLOSE] = 1,         [XEN_EVENT_SEND] = 1,
        [XEN_EVENT_STATUS] = 6,    [XEN_EVENT_ALLOC_UNBOUND] = 2, [XEN_EVENT_BIND_IPI] = 2,
        [XEN_EVENT_BIND_VCPU] = 2, [XEN_EVENT_UNMASK] = 1,
    };
    uint64_t number = op;
    return index_is_beyond(&number, sizeof(words) - 1) ? 0 : words[number];
}

static int64_t call_with(struct pv_vcpu *v, uint32_t op, uint64_t at)
{
    const unsigned words = words_of(op);
    struct result_words out = {0, 0};
    uint32_t arg[6] = {0};
    if (words == 0)
        return XEN_ENOSYS;
    /* Of alloc_unbound the first word has two domain numbers; the second is the result. */
    if (!pv_read(v, at, arg, words * sizeof(arg[0])))
        return XEN_EFAULT;
    vm_lock(v->vcpu.vm);
    const int64_t result = carry_out(v, op, arg, &out);
    vm_unlock(v->vcpu.vm);
    if (result != 0 || out.count == 0)
        return result;
    return pv_write(v, at + out.first * sizeof(arg[0]), &arg[out.first], out.count * sizeof(arg[0]))
               ? 0
               : XEN_EFAULT;
}

int64_t pv_event_channel_op(struct pv_vcpu *v, struct pv_call *call)
{
    return call_with(v, (uint32_t)call->gpr[ARG0], call->gpr[ARG1]);
}

/* As it was before: the operation is the first word of what is passed. */
int64_t pv_event_channel_op_compat(struct pv_vcpu *v, struct pv_call *call)
{
    const uint64_t at = call->gpr[ARG0];
    uint32_t op;
    return pv_read(v, at, &op, sizeof(op)) ? call_with(v, op, at + sizeof(op)) : XEN_EFAULT;
}
