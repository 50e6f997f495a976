/* SPDX-License-Identifier: BSD-2-Clause */
/* A clock that a guest makes of the time-stamp counter by itself, by numbers that KVM's and Xen's
 * interfaces hand over in the same form. Pure. */
#pragma once

#include <stdint.h>

#define NS_PER_SECOND 1000000000ull

/* Of all of a VM's vCPUs: nanoseconds since the host's TSC was `base`, which are
 * (ticks << shift) * mul >> 32; a negative shift is one to the right. */
struct vm_clock {
    uint64_t base;
    uint32_t mul;
    int8_t shift;
};

static inline uint64_t vm_clock_shifted(uint64_t value, int by)
{
    return by < 0 ? value >> -by : value << by;
}

/* hz: of the host's TSC, above 0. The scale has as many bits as there are: rate << shift is above a
 * GHz, and at most two. */
static inline void vm_clock_init(struct vm_clock *clock, uint64_t hz, uint64_t base)
{
    uint64_t rate = hz;
    int8_t shift = 0;
    for (; rate > 2 * NS_PER_SECOND; rate >>= 1)
        shift--;
    for (; rate <= NS_PER_SECOND; rate <<= 1)
        shift++;
    *clock = (struct vm_clock){base, (uint32_t)((NS_PER_SECOND << 32) / rate), shift};
}

/* So many ticks in nanoseconds. */
static inline uint64_t vm_clock_ns(const struct vm_clock *clock, uint64_t ticks)
{
    const uint64_t scaled = vm_clock_shifted(ticks, clock->shift);
    return (uint64_t)((unsigned __int128)scaled * clock->mul >> 32);
}
