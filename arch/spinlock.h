/* SPDX-License-Identifier: BSD-2-Clause */
/* A fair (ticket) lock for short critical sections, all zeros when free. */
#pragma once

#include "arch/cpu.h"

struct spinlock {
    uint32_t next, owner;
};

static inline void spinlock_lock(struct spinlock *lock)
{
    uint32_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&lock->owner, __ATOMIC_ACQUIRE) != ticket)
        cpu_pause();
}

/* Takes it if it is free; never waits. */
static inline bool spinlock_try(struct spinlock *lock)
{
    uint32_t free = __atomic_load_n(&lock->owner, __ATOMIC_ACQUIRE);
    return __atomic_compare_exchange_n(&lock->next, &free, free + 1, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static inline void spinlock_unlock(struct spinlock *lock)
{
    __atomic_store_n(&lock->owner, lock->owner + 1, __ATOMIC_RELEASE);
}
