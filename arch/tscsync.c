/* SPDX-License-Identifier: BSD-2-Clause */
/* Each reads its counter in turn, and compares it with what the other has read just before: a value
 * that is lower shows by how much its counter is behind, but for the time in between. */
#include "arch/tscsync.h"
#include "arch/cpu.h"

#define TRIES 6

/* CPU A says that it is here, and waits until B has said so; B does the same. Without this one
 * would look at what the other has not finished. */
static void meet(struct tsc_sync *s, enum tsc_side side)
{
    const uint32_t here = s->meeting[side] + 1;
    __atomic_store_n(&s->meeting[side], here, __ATOMIC_RELEASE);
    while (__atomic_load_n(&s->meeting[1 - side], __ATOMIC_ACQUIRE) < here)
        cpu_pause();
}

static void compare(struct tsc_sync *s, enum tsc_side side)
{
    for (uint32_t i = 0; i < s->rounds; i++) {
        while (__atomic_load_n(&s->turn, __ATOMIC_ACQUIRE) != side)
            cpu_pause();
        const uint64_t now = cpu_rdtsc();
        if (now < s->last && s->last - now > s->behind[side])
            s->behind[side] = s->last - now;
        s->last = now;
        __atomic_store_n(&s->turn, 1 - side, __ATOMIC_RELEASE);
    }
}

bool tsc_sync_run(struct tsc_sync *s, enum tsc_side side, bool can_adjust)
{
    bool together = false;
    for (unsigned i = 0; i < TRIES && !together; i++) {
        if (side == TSC_LEADER) {
            s->last = 0;
            s->behind[TSC_LEADER] = s->behind[TSC_FOLLOWER] = 0;
        }
        meet(s, side);
        compare(s, side);
        meet(s, side);
        const uint64_t late = s->behind[TSC_FOLLOWER], early = s->behind[TSC_LEADER];
        together = late == 0 && early == 0;
        if (side == TSC_FOLLOWER && !together && can_adjust)
            cpu_wrmsr(MSR_IA32_TSC_ADJUST, cpu_rdmsr(MSR_IA32_TSC_ADJUST) + late - early);
        meet(s, side);
    }
    return together;
}
