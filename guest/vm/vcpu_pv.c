/* SPDX-License-Identifier: BSD-2-Clause */
/* Clock, steal time and EOI in a guest's memory. Each access finds its page anew by its
 * guest-physical address, as what lies there may have become ROM, or be a guest's idea alone. */
#include "guest/vm/vcpu_pv.h"

#include "arch/bytes.h"
#include "arch/cpu.h"
#include "guest/vm/vcpu.h"

/* The clock's structure: version, pad, guest TSC at that time, nanoseconds then, scale, flags. */
#define CLOCK_BYTES 32u
#define CLOCK_STABLE \
    1u /* the same for all vCPUs: a guest need not see to it that it never steps back */

/* The structure of steal time: one for each vCPU. A writer of it is behind a version that is odd.
 */
#define STEAL_BYTES     64u
#define STEAL_NS        0u
#define STEAL_VERSION   8u
#define STEAL_FLAGS     12u
#define STEAL_PREEMPTED 16u /* a byte: */
enum { VCPU_PREEMPTED = 1, VCPU_FLUSH_TLB = 2 };

static bool write_number(const struct guestmem *mem, gpa_t at, unsigned bytes, uint64_t value)
{
    uint8_t raw[8];
    put_le(raw, bytes, value);
    return guestmem_write(mem, at, raw, bytes);
}

/* Between two writes that other CPUs are to see in this order, which x86 keeps: nothing for the
 * compiler to move. */
static inline void in_order(void)
{
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

/* Written when the guest asks for it, and when its TSC moves, but never else: the scale is the same
 * as long as the VM lives, and TSCs of all host CPUs are one. */
static bool write_clock(const struct vcpu *vcpu, gpa_t at)
{
    const struct guestmem *mem = &vcpu->vm->mem;
    const struct vm_clock *clock = &vcpu->vm->clock;
    uint8_t raw[CLOCK_BYTES] = {0};
    if (!guestmem_read(mem, at, raw, sizeof(uint32_t)))
        return false;
    const uint32_t version = (uint32_t)get_le(raw, 4) | 1;
    put_le(raw + 8, 8, clock->base + vcpu->tsc_offset);
    put_le(raw + 24, 4, clock->mul);
    raw[28] = (uint8_t)clock->shift;
    raw[29] = CLOCK_STABLE;
    if (!write_number(mem, at, 4, version))
        return false;
    in_order();
    if (!guestmem_write(mem, gpa(at.v + 4), raw + 4, CLOCK_BYTES - 4))
        return false;
    in_order();
    return write_number(mem, at, 4, version + 1);
}

/* Off, the others bits mean nothing. */
static bool is_off(uint64_t value)
{
    return (value & VCPU_PV_ON) == 0;
}

bool vcpu_pv_set_clock(struct vcpu *vcpu, uint64_t value)
{
    vcpu->pv.clock = 0;
    if (is_off(value))
        return true;
    if ((value & 2) != 0 || !write_clock(vcpu, gpa(value - VCPU_PV_ON)))
        return false;
    vcpu->pv.clock = value;
    return true;
}

void vcpu_pv_tsc_changed(struct vcpu *vcpu)
{
    if (vcpu->pv.clock != 0)
        (void)write_clock(vcpu, gpa(vcpu->pv.clock - VCPU_PV_ON));
}

static uint8_t *steal_window(const struct vcpu *vcpu, gpa_t at)
{
    return guestmem_writable_window(&vcpu->vm->mem, at, STEAL_BYTES);
}

static uint32_t *word(uint8_t *at)
{
    return (uint32_t *)(void *)at;
}

static void write_stolen(const struct vcpu *vcpu, uint8_t *p)
{
    const uint32_t version = __atomic_load_n(word(p + STEAL_VERSION), __ATOMIC_RELAXED) | 1;
    const uint64_t ns = vm_clock_ns(&vcpu->vm->clock, vcpu->pv.stolen);
    __atomic_store_n(word(p + STEAL_VERSION), version, __ATOMIC_RELAXED);
    in_order();
    __atomic_store_n((uint64_t *)(void *)(p + STEAL_NS), ns, __ATOMIC_RELAXED);
    __atomic_store_n(word(p + STEAL_FLAGS), 0, __ATOMIC_RELAXED);
    in_order();
    __atomic_store_n(word(p + STEAL_VERSION), version + 1, __ATOMIC_RELAXED);
}

/* Bits 1 to 5 are reserved: the structure stands at a multiple of 64, so within one page. */
bool vcpu_pv_set_steal(struct vcpu *vcpu, uint64_t value)
{
    struct vcpu_pv *pv = &vcpu->pv;
    const gpa_t at = gpa(value - VCPU_PV_ON);
    pv->steal = 0;
    if (is_off(value))
        return true;
    if (at.v % STEAL_BYTES != 0)
        return false;
    uint8_t *p = steal_window(vcpu, at);
    if (p == NULL)
        return false;
    __atomic_store_n(p + STEAL_PREEMPTED, 0, __ATOMIC_RELAXED);
    write_stolen(vcpu, p);
    guestmem_note_written(&vcpu->vm->mem, at, STEAL_BYTES);
    pv->steal = value;
    return true;
}

/*
 * A TLB shoot-down without an interrupt. CPU A, in the guest, has changed a page table and looks at
 * this vCPU's byte. It finds VCPU_PREEMPTED, and sets VCPU_FLUSH_TLB beside it by a compare and
 * exchange. CPU B, here, has the vCPU now: it takes the byte in one exchange with 0, and drops its
 * translations if the bit was there, before it enters the guest. Were it a read and a write, A's
 * bit could come between, and be lost: the vCPU would go on by translations that A takes for gone.
 * Where B was first, A's exchange fails, or A finds 0: it sends an interrupt. vcpu_pv_leaves() is
 * the other end.
 */
void vcpu_pv_loaded(struct vcpu *vcpu)
{
    struct vcpu_pv *pv = &vcpu->pv;
    const gpa_t at = gpa(pv->steal - VCPU_PV_ON);
    pv->stolen += cpu_rdtsc() - vcpu->run.since;
    uint8_t *p = steal_window(vcpu, at);
    if (p == NULL)
        return;
    if ((__atomic_exchange_n(p + STEAL_PREEMPTED, 0, __ATOMIC_SEQ_CST) & VCPU_FLUSH_TLB) != 0)
        vcpu->engine->flush_tlb(vcpu);
    write_stolen(vcpu, p);
    guestmem_note_written(&vcpu->vm->mem, at, STEAL_BYTES);
}

/*
 * CPU B, here, has left the guest, and nothing that it does for this vCPU from here on goes by a
 * translation: then it writes VCPU_PREEMPTED. CPU A, which sees that, leaves the flush to the next
 * vcpu_pv_loaded(), wherever that is. Said sooner, A could go on while B still reached a page by
 * the old way. An instruction that is being stepped has been translated in part: A is to wait for
 * that one, and gets an interrupt through.
 */
void vcpu_pv_leaves(struct vcpu *vcpu)
{
    const gpa_t at = gpa(vcpu->pv.steal - VCPU_PV_ON);
    uint8_t *p = vcpu->step.count == 0 && !vcpu->step.unfinished ? steal_window(vcpu, at) : NULL;
    if (p == NULL)
        return;
    __atomic_store_n(p + STEAL_PREEMPTED, VCPU_PREEMPTED, __ATOMIC_SEQ_CST);
    guestmem_note_written(&vcpu->vm->mem, gpa(at.v + STEAL_PREEMPTED), 1);
}

void vcpu_pv_reset(struct vcpu *vcpu)
{
    if (vcpu->pv.eoi_offered)
        (void)vcpu_pv_take_eoi(vcpu);
    vcpu->pv = (struct vcpu_pv){.eoi = 0};
}
