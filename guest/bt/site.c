/* SPDX-License-Identifier: BSD-2-Clause */
/* What is known of places where translated code is left for the software CPU. */
#include "guest/bt/site.h"

#include "guest/cpu/system.h"

/* CR2, CR3 and CR8 can be written without more than that; CR0 and CR4 cannot. */
static const bool is_light[SYSTEM_OPS] = {
    [SYSTEM_IN] = true,          [SYSTEM_OUT] = true,       [SYSTEM_CPUID] = true,
    [SYSTEM_RDMSR] = true,       [SYSTEM_WRMSR] = true,     [SYSTEM_RDTSCP] = true,
    [SYSTEM_MOV_FROM_CR] = true, [SYSTEM_MOV_TO_CR] = true, [SYSTEM_INVLPG] = true,
    [SYSTEM_MOV_FROM_DR] = true, [SYSTEM_RDPMC] = true,     [SYSTEM_RDPID] = true,
    [SYSTEM_INVD] = true,        [SYSTEM_WBINVD] = true,    [SYSTEM_SERIALIZE] = true,
};

bool bt_site_is_light(const struct interpret_known *known)
{
    const struct insn *in = &known->insn;
    if (in->op >= SYSTEM_OPS || !is_light[in->op])
        return false;
    if (in->op == SYSTEM_MOV_TO_CR)
        return in->reg != 0 && in->reg != 4;
    return in->op != SYSTEM_INVLPG || in->segment < SEG_FS;
}

void bt_sites_drop(struct bt_sites *sites)
{
    for (unsigned i = 0; i < BT_SITES; i++)
        sites->site[i].at = 0;
    sites->block = BT_NONE;
}

void __attribute__((noinline))
bt_sites_note(struct bt_sites *sites, const struct interpret_env *env)
{
    struct interpret_known known;
    const uint32_t block = sites->block;
    sites->block = BT_NONE;
    if (block == BT_NONE || !interpret_note(env, &known))
        return;
    *bt_sites_entry(sites, sites->at) = (struct bt_site){
        .at = sites->at,
        .pc = sites->pc,
        .block = block,
        .spilled = sites->spilled,
        .light = bt_site_is_light(&known),
        .known = known,
    };
}
