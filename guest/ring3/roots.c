/* SPDX-License-Identifier: BSD-2-Clause */
/* Into a shadow root, and back. */
#include "guest/ring3/roots.h"

#include "arch/fault.h"
#include "arch/panic.h"
#include "guest/vm/vcpu.h"

#define ARMED_FOR (1u << 24) /* ticks: a one-shot timer that has come before may be far away */

/* Whatever the guest does, the CPU comes back when the vCPU's next timer is due. A timer that
 * counts may come early, and at CPL 0 as well: then it is armed anew. Otherwise a guest that waits
 * for its own, and needs nothing of the hypervisor meanwhile, would wait for ever. */
static inline __attribute__((always_inline)) void arm_timer(struct ring3_roots *roots,
                                                            const struct vcpu *vcpu, uint64_t now)
{
    const uint64_t next = vcpu->timers.next, behind = cpu_self()->timer_interrupts;
    if (next == TIMER_NEVER || (next == roots->armed && behind == roots->armed_behind &&
                                now - roots->armed_at < ARMED_FOR))
        return;
    roots->armed = next;
    roots->armed_at = now;
    roots->armed_behind = behind;
    lapic_timer_arm(next);
}

/* What guest code could have reached that is not its own. */
static void __attribute__((cold)) check_exit(struct ring3_roots *roots, const struct vcpu *vcpu)
{
    struct shadow_place where;
    const char *wrong = shadow_check_exit(&roots->shadow, &where);
    if (wrong != NULL)
        panic("vm %s, vCPU %u: %s: in its root for %s code, at 0x%llx, the entry 0x%llx",
              vcpu->vm->name, vcpu->index, wrong, where.root == SHADOW_KERNEL ? "kernel" : "user",
              (unsigned long long)where.linear, (unsigned long long)where.entry);
}

static void __attribute__((cold)) drop_stale(struct shadow_cpu *shadow, enum shadow_root root)
{
    while (shadow->stales != 0)
        cpu_invlpg(shadow->stale[--shadow->stales]);
    if (!shadow_stale_is_all(shadow))
        cpu_write_cr3(shadow->root[root].v);
}

static inline __attribute__((always_inline)) void enter(struct ring3_roots *roots,
                                                        const struct vcpu *vcpu,
                                                        enum shadow_root root, uint64_t now)
{
    struct shadow_cpu *shadow = &roots->shadow;
    arm_timer(roots, vcpu, now);
    const bool flush = shadow_enter(shadow);
    if (flush || cpu_read_cr3() != shadow->root[root].v) {
        cpu_write_cr3(shadow->root[root].v);
        shadow->stales = 0;
    }
    if (__builtin_expect(shadow->stales != 0, 0))
        drop_stale(shadow, root);
}

static inline __attribute__((always_inline)) void leave(struct ring3_roots *roots,
                                                        const struct vcpu *vcpu, unsigned vector)
{
    shadow_leave(&roots->shadow);
    if (CHECK_EXIT)
        check_exit(roots, vcpu);
    if (vector >= VECTOR_FIRST_EXTERNAL && vector < RING3_SYSCALL)
        interrupt_handle((uint8_t)vector);
}

void ring3_roots_enter(struct ring3_roots *roots, const struct vcpu *vcpu, enum shadow_root root)
{
    enter(roots, vcpu, root, vcpu->tsc_exit);
}

void ring3_roots_leave(struct ring3_roots *roots, const struct vcpu *vcpu, unsigned vector)
{
    leave(roots, vcpu, vector);
}

unsigned __attribute__((hot)) ring3_roots_run(struct ring3_roots *roots, const struct vcpu *vcpu,
                                              enum shadow_root root, struct ring3_frame *frame)
{
    enter(roots, vcpu, root, cpu_rdtsc());
    const unsigned vector = ring3_enter(frame);
    leave(roots, vcpu, vector);
    return vector;
}
