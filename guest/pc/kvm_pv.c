/* SPDX-License-Identifier: BSD-2-Clause */
/* KVM's interface: what it shows, its MSRs and its hypercalls. What lies in the guest's memory is
 * guest/vm/vcpu_pv.c's. */
#include "guest/pc/kvm_pv.h"

#include "arch/bytes.h"
#include "arch/nospec.h"
#include "guest/vm/vcpu.h"

#include <stddef.h>

/* Bits of the feature leaf. */
enum {
    FEATURE_CLOCK = 1u << 0, /* the clock, by the first pair of MSRs, which old kernels know */
    FEATURE_NO_IO_DELAY = 1u << 1, /* devices need no pause between two accesses */
    FEATURE_CLOCK_2 = 1u << 3,     /* the clock, by the second pair */
    FEATURE_STEAL_TIME = 1u << 5,
    FEATURE_EOI = 1u << 6,
    FEATURE_UNHALT = 1u << 7, /* who waits for a lock halts, and is woken by a hypercall */
    FEATURE_TLB_FLUSH = 1u << 9,
    FEATURE_SEND_IPI = 1u << 11,
    FEATURE_YIELD = 1u << 13,
    FEATURE_CLOCK_STABLE = 1u << 24,
};

enum {
    MSR_KVM_WALL_CLOCK_OLD = 0x11,
    MSR_KVM_SYSTEM_TIME_OLD = 0x12,
    MSR_KVM_WALL_CLOCK = 0x4b564d00,
    MSR_KVM_SYSTEM_TIME = 0x4b564d01,
    MSR_KVM_STEAL_TIME = 0x4b564d03,
    MSR_KVM_EOI = 0x4b564d04,
};

enum { CALL_KICK = 5, CALL_SEND_IPI = 10, CALL_YIELD = 11 };
#define CALL_INVALID (-22) /* as of EINVAL */

uint32_t kvm_pv_features(const struct engine_facts *facts)
{
    /* Where the CPU itself takes EOIs, these exit for nobody, and the word in memory would be one
     * access more for each. */
    const uint32_t eoi = facts->virtual_apic ? 0 : FEATURE_EOI;
    return FEATURE_CLOCK | FEATURE_NO_IO_DELAY | FEATURE_CLOCK_2 | FEATURE_STEAL_TIME | eoi |
           FEATURE_UNHALT | FEATURE_TLB_FLUSH | FEATURE_SEND_IPI | FEATURE_YIELD |
           FEATURE_CLOCK_STABLE;
}

/* The time of day when the clock was 0: version, seconds, nanoseconds. It is written once for each
 * time the MSR is; an address of 0 asks for nothing. */
static bool write_wall_clock(void *dev, uint32_t msr, uint64_t value)
{
    struct vm *vm = ((struct vcpu *)dev)->vm;
    const uint64_t hz = vm->timers.hz, base = vm->clock.base;
    uint8_t raw[12] = {0};
    (void)msr;
    if (value % 4 != 0 || (value != 0 && !guestmem_read(&vm->mem, gpa(value), raw, 4)))
        return false;
    const uint32_t version = (uint32_t)get_le(raw, 4) | 1;
    put_le(raw, 4, version);
    put_le(raw + 4, 4, vm->epoch + base / hz);
    put_le(raw + 8, 4, base % hz * NS_PER_SECOND / hz);
    if (value != 0 && !guestmem_write(&vm->mem, gpa(value), raw, sizeof(raw)))
        return false;
    put_le(raw, 4, version + 1);
    __atomic_thread_fence(__ATOMIC_RELEASE); /* the odd version before, the even one behind */
    return value == 0 || guestmem_write(&vm->mem, gpa(value), raw, 4);
}

static bool write_system_time(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    return vcpu_pv_set_clock(dev, value);
}

static bool write_steal_time(void *dev, uint32_t msr, uint64_t value)
{
    (void)msr;
    return vcpu_pv_set_steal(dev, value);
}

static bool write_eoi(void *dev, uint32_t msr, uint64_t value)
{
    struct vcpu *vcpu = dev;
    (void)msr;
    vm_lock(vcpu->vm);
    const bool good = vcpu_pv_set_eoi(vcpu, value);
    vm_unlock(vcpu->vm);
    return good;
}

/* The wall clock's is not kept: it is an order. */
static bool read_back(void *dev, uint32_t msr, uint64_t *value)
{
    const struct vcpu_pv *pv = &((const struct vcpu *)dev)->pv;
    switch (msr) {
    case MSR_KVM_SYSTEM_TIME_OLD:
    case MSR_KVM_SYSTEM_TIME: *value = pv->clock; break;
    case MSR_KVM_STEAL_TIME: *value = pv->steal; break;
    case MSR_KVM_EOI: *value = pv->eoi; break;
    default: *value = 0;
    }
    return true;
}

/* NULL: it has none of that number. APIC IDs are the vCPUs' numbers. */
static struct vcpu *vcpu_by_apic_id(const struct vm *vm, uint64_t id)
{
    return index_is_beyond(&id, vm->vcpu_count - 1) ? NULL : vm->vcpu[id];
}

/* RBX: flags, of which none is defined; RCX: whose HLT ends. */
static enum exit_action call_kick(struct vcpu *vcpu)
{
    struct vcpu *target = vcpu_by_apic_id(vcpu->vm, vcpu->regs.gpr[RCX]);
    if (target != NULL)
        vcpu_request_unhalt(target);
    return vcpu_return(vcpu, 0);
}

/* To each whose bit is set, of APIC IDs from `first` on. Returns how many have taken it. */
static unsigned send_to(const struct vm *vm, uint64_t bits, uint64_t first,
                        const struct vlapic_message *message, uint64_t *woken)
{
    unsigned taken = 0;
    for (; bits != 0; bits &= bits - 1) {
        struct vcpu *target = vcpu_by_apic_id(vm, first + (unsigned)__builtin_ctzll(bits));
        if (target != NULL && vlapic_take(&target->apic, message, woken))
            taken++;
    }
    return taken;
}

/* RBX, RCX: the bits of the receivers, from the APIC ID in RDX on; RSI: vector and delivery mode,
 * as in the ICR. Outside of 64-bit code the registers have 32 bits, and so have the sets. */
static enum exit_action call_send_ipi(struct vcpu *vcpu)
{
    const uint64_t *gpr = vcpu->regs.gpr;
    struct vm *vm = vcpu->vm;
    struct cpu_segment cs;
    vcpu->engine->get_segment(vcpu, STATE_CS, &cs);
    const unsigned width = (cs.access & ACCESS_L) != 0 ? 64 : 32;
    const uint64_t mask = UINT64_MAX >> (64 - width), first = gpr[RDX] & mask;
    const uint64_t icr = gpr[RSI] & mask;
    const struct vlapic_message message = {.vector = (uint8_t)icr, .mode = icr >> 8 & 7};
    if ((icr & ~0x7ffull) != 0 || (message.mode != DELIVERY_FIXED && message.mode != DELIVERY_NMI))
        return vcpu_return(vcpu, CALL_INVALID);
    uint64_t woken = 0;
    unsigned taken = 0;
    if (first < VM_MAX_VCPUS) {
        vm_lock(vm);
        taken = send_to(vm, gpr[RBX] & mask, first, &message, &woken) +
                send_to(vm, gpr[RCX] & mask, first + width, &message, &woken);
        vcpu_kick_all(vm, woken);
        vm_unlock(vm);
    }
    return vcpu_return(vcpu, taken);
}

/* RBX: the APIC ID of one that the caller waits for, and that seems to wait for a CPU. Only where
 * it waits for this one: by another CPU it would come no sooner. */
static enum exit_action call_yield(struct vcpu *vcpu)
{
    const struct vcpu *target = vcpu_by_apic_id(vcpu->vm, vcpu->regs.gpr[RBX]);
    if (target != NULL && __atomic_load_n(&target->run.state, __ATOMIC_RELAXED) == VCPU_READY &&
        __atomic_load_n(&target->run.home, __ATOMIC_RELAXED) == vcpu->run.home) {
        vcpu->yields = true;
        vcpu->attention = true;
    }
    return vcpu_return(vcpu, 0);
}

enum status kvm_pv_open(struct vm *vm, uint64_t now, uint64_t epoch)
{
    static const struct msr_range rows[] = {
        {MSR_KVM_WALL_CLOCK_OLD, MSR_KVM_WALL_CLOCK_OLD, NULL, read_back, write_wall_clock},
        {MSR_KVM_SYSTEM_TIME_OLD, MSR_KVM_SYSTEM_TIME_OLD, NULL, read_back, write_system_time},
        {MSR_KVM_WALL_CLOCK, MSR_KVM_WALL_CLOCK, NULL, read_back, write_wall_clock},
        {MSR_KVM_SYSTEM_TIME, MSR_KVM_SYSTEM_TIME, NULL, read_back, write_system_time},
        {MSR_KVM_STEAL_TIME, MSR_KVM_STEAL_TIME, NULL, read_back, write_steal_time},
        {MSR_KVM_EOI, MSR_KVM_EOI, NULL, read_back, write_eoi},
    };
    enum status s = OK;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && s == OK; i++)
        s = msr_table_add(&vm->msrs, &rows[i]);
    vm_clock_init(&vm->clock, vm->timers.hz, now);
    vm->epoch = epoch;
    vm->hypercall[CALL_KICK] = call_kick;
    vm->hypercall[CALL_SEND_IPI] = call_send_ipi;
    vm->hypercall[CALL_YIELD] = call_yield;
    return s;
}
