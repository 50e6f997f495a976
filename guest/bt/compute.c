/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions that only compute: the processor carries them out (guest/ring3/). */
#include "guest/ring3/compute.h"
#include "guest/bt/bt.h"

/* #MF, or with CR0.NE = 0 FERR#. */
static void x87_error(struct bt_vcpu *v)
{
    const struct cpu_state *s = &v->state;
    v->x87_again = true;
    if ((s->cr0 & CR0_NE) != 0)
        vcpu_inject_exception(&v->vcpu, VECTOR_X87_ERROR);
    else
        (void)vcpu_x87_error(&v->vcpu, (s->rflags & RFLAGS_IF) != 0,
                             (s->interruptibility & BLOCKED_BY_NMI) == 0);
}

/* Its linear address, its bytes, and what the processor has said of it; CR2 is a page fault's. */
static void __attribute__((noinline)) end_lost(struct bt_vcpu *v)
{
    char hex[3 * INSN_MAX_BYTES + 1] = "";
    static const char digits[] = "0123456789abcdef";
    const struct cpu_state *s = &v->state;
    const uint64_t linear = segment_is_64(s) ? s->rip : (s->cs.base + s->rip) & UINT32_MAX;
    for (unsigned i = 0; i < v->env.length; i++) {
        hex[3 * i] = ' ';
        hex[3 * i + 1] = digits[v->env.bytes[i] >> 4];
        hex[3 * i + 2] = digits[v->env.bytes[i] & 15];
    }
    vm_end_format(v->vcpu.vm, VM_CRASH, 0,
                  "bt cannot execute the instruction at 0x%llx:%s (exception %u, CR2 0x%llx)",
                  (unsigned long long)linear, hex, (unsigned)v->window.frame.vector,
                  (unsigned long long)v->window.frame.cr2);
}

void __attribute__((noinline)) bt_compute(struct bt_vcpu *v)
{
    struct interpret_env *env = &v->env;
    bt_exit_begin(v);
    bt_space_need_window(v);
    switch (ring3_compute(&v->window, &env->integer, &env->compute, env->bytes)) {
    case RING3_DONE: interpret_computed(env); break;
    case RING3_RAISED: break;
    case RING3_X87_ERROR: x87_error(v); break;
    case RING3_LOST: end_lost(v); break;
    }
    bt_exit_end(v, BT_COMPUTED);
}
