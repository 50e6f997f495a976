/* SPDX-License-Identifier: BSD-2-Clause */
/* What the engine counts beside events, for the accounts of a VM: gathered from where it is
 * counted.
 */
#include "guest/bt/bt.h"
#include "guest/bt/code.h"

const char *bt_counter_name(unsigned counter)
{
#define BT_COUNTER_NAME(number, name) [number] = (name),
    static const char *const names[BT_COUNTER_COUNT] = {BT_COUNTERS(BT_COUNTER_NAME)};
#undef BT_COUNTER_NAME
    return names[counter];
}

static uint64_t of_vcpu(const struct bt_vcpu *v, enum bt_counter counter)
{
    static const struct bt_cache_stats none;
    const struct bt_cache_stats *cache = v->code != NULL ? &v->code->cache.stats : &none;
    switch (counter) {
    case BT_BLOCKS: return cache->blocks;
    case BT_INSTRUCTIONS: return cache->insns;
    case BT_BYTES_IN: return cache->bytes_in;
    case BT_BYTES_OUT: return cache->bytes_out;
    case BT_LOOKUPS_MISSED: return cache->missed;
    case BT_LINKS: return cache->links;
    case BT_FLUSHES: return cache->flushes;
    case BT_PAGES_DROPPED: return cache->dropped_pages;
    default: return v->counted[counter];
    }
}

uint64_t bt_counter(const struct vm *vm, unsigned counter)
{
    static const struct shadow_stats none;
    const struct bt_vm *of = vm->engine_vm; /* NULL: it is not made, or gone */
    const struct shadow_stats *shadow =
        of != NULL && of->shadow != NULL ? &of->shadow->stats : &none;
    uint64_t sum = 0;
    switch ((enum bt_counter)counter) {
    case BT_SHADOW_FILLS: return shadow->fills;
    case BT_SHADOW_DROPS: return shadow->dropped_all;
    case BT_SWEEPS: return shadow->sweeps;
    default: break;
    }
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        sum += of_vcpu(bt_vcpu(vm->vcpu[i]), (enum bt_counter)counter);
    return sum;
}
