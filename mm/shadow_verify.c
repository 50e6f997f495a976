/* SPDX-License-Identifier: BSD-2-Clause */
/* Shadow page tables: whether a subtree is what the guest's tables say (mm/shadow.h). */
#include "mm/shadow_parts.h"

/* As after a flush: what the CPU could cache again from the guest's tables, without setting a flag
 * in them, may as well stay. */
static bool leaf_holds(const struct shadow_verify *v, uint64_t linear, uint64_t leaf,
                       unsigned level)
{
    const struct shadow_guest *guest = &v->cpu->guest;
    struct guest_translation t;
    hpa_t frame;
    v->cpu->shadow->stats.verified++;
    if (!guest->translate(guest->ctx, (enum shadow_root)v->root, gva(linear), &t) || !t.accessed ||
        t.bytes < table_level_bytes(level) ||
        !shadow_frame(v->cpu->shadow->mem, t.at, (leaf & PTE_W) != 0, &frame) ||
        frame.v != (leaf & PTE_ADDRESS))
        return false;
    if ((v->root == SHADOW_USER && (t.perms & PTE_U) == 0) ||
        ((t.perms & PTE_NX) != 0 && (leaf & PTE_NX) == 0))
        return false;
    if ((leaf & PTE_W) == 0)
        return true;
    const bool ignored = v->root == SHADOW_KERNEL && (v->cpu->regime & REGIME_WP) == 0;
    return t.dirty && ((t.perms & PTE_W) != 0 || ignored);
}

/* The same, by the guest's entry of level 1 itself. */
static bool entry_holds(const struct shadow_verify *v, const struct shadow_table *t, uint64_t leaf,
                        uint64_t entry)
{
    const uint64_t all = entry & t->perms, needed = PTE_A | (v->root == SHADOW_USER ? PTE_U : 0);
    const bool writes = (leaf & PTE_W) != 0;
    hpa_t frame;
    return (entry & PTE_P) != 0 && (all & needed) == needed &&
           (((entry | t->perms) & PTE_NX) == 0 || (leaf & PTE_NX) != 0) &&
           (!writes || ((all & PTE_W) != 0 && (entry & PTE_D) != 0)) &&
           shadow_frame(v->cpu->shadow->mem, gpa(entry & PTE_ADDRESS), writes, &frame) &&
           frame.v == (leaf & PTE_ADDRESS);
}

void shadow_drop_entry(struct shadow *shadow, uint64_t *entry, unsigned level)
{
    const uint64_t old = *entry;
    entry_store(entry, 0);
    shadow->changes++;
    /* Another vCPU that flushes the same page finds nothing here then, and has to drop more than
     * one entry of its TLB all the same. */
    if ((old & HAS_PIECES) != 0)
        shadow_raise_epoch(shadow);
    if (entry_is_table(old, level))
        shadow_put_page(shadow, page_number(old));
}

/* A table of leaves, by the guest's one, which may not have been written since. False: there is no
 * such. */
static bool verify_leaves(const struct shadow_verify *v, uint64_t *table, uint64_t linear)
{
    const struct shadow_guest *guest = &v->cpu->guest;
    struct shadow_page *page = shadow_page(page_number(ptr_to_hpa(table).v));
    struct shadow_table t;
    if (guest->table == NULL ||
        !guest->table(guest->ctx, (enum shadow_root)v->root, gva(linear), &t))
        return false;
    --*v->budget;
    if (t.written <= v->since)
        return true;
    *v->budget -= BUDGET_TABLE;
    for (unsigned i = 0; (i = entry_next(table, page->used, i)) < TABLE_ENTRIES; i++) {
        const uint64_t entry = __atomic_load_n(&t.entry[i], __ATOMIC_RELAXED);
        v->cpu->shadow->stats.verified++;
        if (!entry_holds(v, &t, table[i], entry))
            shadow_drop_entry(v->cpu->shadow, &table[i], 1);
    }
    return true;
}

/* False: the budget is used up. */
static bool verify_table(const struct shadow_verify *v, uint64_t *table, unsigned level,
                         uint64_t linear)
{
    struct shadow_page *page = shadow_page(page_number(ptr_to_hpa(table).v));
    bool local = false; /* are there leaves that are not global */
    uint16_t used = 0;
    *v->budget -= BUDGET_TABLE;
    for (unsigned i = 0; (i = entry_next(table, page->used, i)) < TABLE_ENTRIES; i++) {
        const uint64_t entry = table[i], at = linear + i * table_level_bytes(level);
        const bool is_table = entry_is_table(entry, level);
        used |= (uint16_t)(1u << i / GROUP);
        if (!v->all &&
            (is_table ? (page_of(entry)->flags & PAGE_HAS_LOCAL) == 0 : (entry & LEAF_GLOBAL) != 0))
            continue;
        if (*v->budget <= 0 && !v->drop_rest)
            return false;
        if (!is_table)
            --*v->budget;
        if (*v->budget <= 0 || (!is_table && !leaf_holds(v, at, entry, level)))
            shadow_drop_entry(v->cpu->shadow, &table[i], level);
        else if (!is_table)
            local = local || (entry & LEAF_GLOBAL) == 0;
        else if (!(level == 2 && *v->budget > 0 && verify_leaves(v, table_of(entry), at)) &&
                 !verify_table(v, table_of(entry), level - 1, at))
            return false;
        else
            local = local || (page_of(entry)->flags & PAGE_HAS_LOCAL) != 0;
    }
    page->used = used;
    page->flags = (uint8_t)((page->flags & ~PAGE_HAS_LOCAL) | (local ? PAGE_HAS_LOCAL : 0));
    return true;
}

/*
 * Makes a subtree that a vCPU takes up what its flushes ask for. Each leaf was right when it was
 * made, by whichever vCPU, or verified: later is as good. So nothing is to be done where that was
 * after the vCPU's last flush. An INVLPG reaches only the subtrees that are in the vCPU's roots
 * then; another one of the same slot has missed it, which the serial number tells, and its global
 * leaves are no better than the others. Nor is any leaf of a subtree that the vCPU takes up and
 * that others have filled: the guest may have changed its entry since and not flushed it yet. Who
 * filled the leaf may go by it until then, as by a TLB; this vCPU's CPU could not have it cached.
 */
bool shadow_bring_up_to_date(struct shadow_verify *v, struct shadow_subtree *sub)
{
    struct shadow *shadow = v->cpu->shadow;
    v->all = (v->others && sub->has_global) || sub->serial != shadow->serial[sub->slot] ||
             sub->verified_all < v->cpu->flushed_all;
    v->since = v->all ? sub->verified_all : sub->verified;
    if (!v->all && !v->others && sub->verified >= v->cpu->flushed)
        return true;
    const bool has_local = (page_of(sub->table.v)->flags & PAGE_HAS_LOCAL) != 0;
    if ((v->all || has_local) &&
        !verify_table(v, table_of(sub->table.v), sub->level, shadow_slot_linear(sub->slot)))
        return false;
    sub->verified = shadow->clock;
    if (v->all) {
        sub->verified_all = shadow->clock;
        sub->serial = shadow->serial[sub->slot];
    }
    return true;
}
