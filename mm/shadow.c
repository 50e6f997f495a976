/* SPDX-License-Identifier: BSD-2-Clause */
/* Shadow page tables: entries are made, checked against the guest's, and dropped (mm/shadow.h). */
#include "mm/shadow_parts.h"

#include "mm/page_alloc.h"

/* What of a top-level entry a walk goes by; PS is reserved in it. */
#define TOP_KEY (PTE_ADDRESS | PTE_P | PTE_W | PTE_U | PTE_PS | PTE_NX)

static unsigned mode_of(const struct shadow_cpu *cpu)
{
    return cpu->regime & MODE;
}

static unsigned slot_of(const struct shadow_cpu *cpu, uint64_t linear)
{
    return mode_of(cpu) == MODE_LONG ? linear >> 39 & (TABLE_ENTRIES - 1)
                                     : LEGACY_SLOTS + (linear >> 30 & 3);
}

/* CR0.WP is the kernel's alone. */
static uint8_t regime_for(const struct shadow_cpu *cpu, unsigned root)
{
    return root == SHADOW_KERNEL ? cpu->regime : cpu->regime & (uint8_t)~REGIME_WP;
}

/* --- which subtree is where --- */

static struct shadow_subtree *attached(const struct shadow_cpu *cpu, unsigned root, unsigned slot)
{
    const unsigned number = cpu->attached[root][slot];
    return number == 0 ? NULL : &cpu->shadow->subtree[number - 1];
}

static void set_entry(const struct shadow_cpu *cpu, unsigned root, unsigned slot, uint64_t value)
{
    if (value != 0 && root == SHADOW_KERNEL && !cpu->shadow->runs_kernel)
        value |= PTE_NX;
    if (slot < LEGACY_SLOTS) {
        entry_store((uint64_t *)hpa_to_ptr(cpu->root[root]) + slot, value);
        return;
    }
    /* Twice: what begins below 4 GiB and ends above wraps. */
    uint64_t *table = hpa_to_ptr(cpu->low[root]);
    entry_store(&table[slot - LEGACY_SLOTS], value);
    entry_store(&table[slot - LEGACY_SLOTS + 4], value);
}

static void detach(struct shadow_cpu *cpu, unsigned root, unsigned slot)
{
    attached(cpu, root, slot)->users--;
    cpu->attached[root][slot] = 0;
    cpu->used[root][slot / 64] &= ~(1ull << slot % 64);
    set_entry(cpu, root, slot, 0);
}

static void attach(struct shadow_cpu *cpu, unsigned root, struct shadow_subtree *sub)
{
    sub->users++;
    cpu->attached[root][sub->slot] = (uint16_t)(sub - cpu->shadow->subtree + 1);
    cpu->used[root][sub->slot / 64] |= 1ull << sub->slot % 64;
    set_entry(cpu, root, sub->slot, sub->table.v | TABLE_FLAGS);
}

/* The next slot at or above that has a subtree; SHADOW_SLOTS: none. */
static unsigned next_used(const struct shadow_cpu *cpu, unsigned root, unsigned slot)
{
    while (slot < SHADOW_SLOTS) {
        const uint64_t word = cpu->used[root][slot / 64] >> slot % 64;
        if (word != 0)
            return slot + (unsigned)__builtin_ctzll(word);
        slot = (slot / 64 + 1) * 64;
    }
    return SHADOW_SLOTS;
}

static void detach_all(struct shadow_cpu *cpu)
{
    for (unsigned root = 0; root < SHADOW_ROOTS; root++)
        for (unsigned slot = 0; (slot = next_used(cpu, root, slot)) < SHADOW_SLOTS;)
            detach(cpu, root, slot);
}

static uint16_t *hash_of(struct shadow *shadow, uint64_t top, unsigned slot, unsigned root)
{
    return &shadow->hash[(top / PAGE_SIZE + top / PAGE_SIZE / 256 + slot * 2 + root) % 256];
}

static struct shadow_subtree *find(struct shadow *shadow, uint64_t top, unsigned slot,
                                   unsigned root, uint8_t regime)
{
    for (unsigned i = *hash_of(shadow, top, slot, root); i != 0; i = shadow->subtree[i - 1].next) {
        struct shadow_subtree *sub = &shadow->subtree[i - 1];
        if (sub->top == top && sub->slot == slot && sub->root == root && sub->regime == regime)
            return sub;
    }
    return NULL;
}

/* One that is in no root. */
static void discard(struct shadow *shadow, struct shadow_subtree *sub)
{
    uint16_t *link = hash_of(shadow, sub->top, sub->slot, sub->root);
    while (&shadow->subtree[*link - 1] != sub)
        link = &shadow->subtree[*link - 1].next;
    *link = sub->next;
    shadow_put_page(shadow, page_number(sub->table.v));
    sub->table = hpa(0);
}

void shadow_drop_subtrees(struct shadow *shadow)
{
    for (unsigned i = 0; i < SHADOW_MAX_CPUS; i++)
        if (shadow->cpu[i] != NULL)
            detach_all(shadow->cpu[i]);
    for (unsigned i = 0; i < SHADOW_MAX_SUBTREES; i++)
        if (shadow->subtree[i].table.v != 0)
            discard(shadow, &shadow->subtree[i]);
    shadow_raise_epoch(shadow);
}

/* A free one; for that one may have to go, or all, where all are in roots. */
static struct shadow_subtree *take_subtree(struct shadow *shadow)
{
    for (unsigned i = 0; i < SHADOW_MAX_SUBTREES; i++) {
        struct shadow_subtree *sub = &shadow->subtree[shadow->hand++ % SHADOW_MAX_SUBTREES];
        if (sub->users != 0)
            continue;
        if (sub->table.v != 0)
            discard(shadow, sub);
        return sub;
    }
    shadow->stats.dropped_all++;
    shadow_drop_subtrees(shadow);
    return &shadow->subtree[0];
}

static struct shadow_subtree *create(struct shadow_cpu *cpu, unsigned root, unsigned slot,
                                     uint64_t top)
{
    struct shadow *shadow = cpu->shadow;
    struct shadow_subtree *sub = take_subtree(shadow);
    uint16_t *link = hash_of(shadow, top, slot, root);
    const uint8_t level = slot < LEGACY_SLOTS ? 3 : 2;
    *sub = (struct shadow_subtree){
        .top = top,
        .table = ptr_to_hpa(page_table(shadow_take_page(shadow, level))),
        .verified = shadow->clock,
        .verified_all = shadow->clock,
        .serial = shadow->serial[slot],
        .slot = (uint16_t)slot,
        .next = *link,
        .regime = regime_for(cpu, root),
        .root = (uint8_t)root,
        .level = level,
        .maker = cpu,
    };
    *link = (uint16_t)(sub - shadow->subtree + 1);
    return sub;
}

/* --- filling --- */

static struct shadow_subtree *take_up(struct shadow_cpu *cpu, unsigned root, uint64_t linear,
                                      uint64_t top)
{
    const unsigned slot = slot_of(cpu, linear);
    struct shadow_subtree *sub = attached(cpu, root, slot);
    top &= TOP_KEY;
    if (sub != NULL && sub->top == top)
        return sub;
    if (sub != NULL) {
        detach(cpu, root, slot);
        cpu->flush = true;
    }
    sub = find(cpu->shadow, top, slot, root, regime_for(cpu, root));
    if (sub == NULL) {
        sub = create(cpu, root, slot, top);
    } else {
        int64_t budget = BUDGET_FILL;
        struct shadow_verify v = {.cpu = cpu, .root = root, .drop_rest = true, .budget = &budget};
        sub->shared = sub->shared || sub->maker != cpu;
        v.others = sub->shared;
        (void)shadow_bring_up_to_date(&v, sub);
        cpu->shadow->stats.kept++;
    }
    attach(cpu, root, sub);
    return sub;
}

/* Whether the 2 MiB around the address are one piece of guest memory, for the guest and here. */
static bool large_fits(const struct shadow *shadow, uint64_t linear, bool write,
                       const struct guest_translation *t, hpa_t *frame)
{
    const uint64_t offset = linear % PAGE_SIZE_2M;
    const gpa_t base = gpa(t->at.v - offset);
    if (t->bytes < PAGE_SIZE_2M || shadow->mem->absent != 0) /* A20 is below 2 MiB */
        return false;
    const void *p = write ? guestmem_writable_window(shadow->mem, base, PAGE_SIZE_2M)
                          : guestmem_window(shadow->mem, base, PAGE_SIZE_2M);
    *frame = guestspace_frame(p);
    return p != NULL && frame->v % PAGE_SIZE_2M == 0 &&
           !(write && shadow_has_code(shadow, base, PAGE_SIZE_2M));
}

/* Whether a CPU that has the old entry in its TLB could do more by it, or find other memory. */
static bool takes_away(uint64_t old, uint64_t new)
{
    return (old & PTE_P) != 0 &&
           (((old ^ new) & ~(uint64_t)LEAF_WRITE) != 0 || (old & ~new &PTE_W) != 0);
}

/* Puts the leaf there; frame: of the page of 4 KiB. */
static void put_leaf(struct shadow *shadow, struct shadow_subtree *sub, uint64_t linear, bool write,
                     const struct guest_translation *t, hpa_t frame)
{
    const bool no_fetch =
        (sub->root == SHADOW_KERNEL && !shadow->runs_kernel) || (t->perms & PTE_NX) != 0;
    uint64_t flags = LEAF_FLAGS | (write ? LEAF_WRITE : 0) | (no_fetch ? PTE_NX : 0);
    uint64_t *table = table_of(sub->table.v);
    flags |= t->global ? LEAF_GLOBAL : 0;
    sub->has_global = sub->has_global || t->global;
    for (unsigned level = sub->level; level > 0; level--) {
        uint64_t *entry = table_entry(table, linear, level);
        struct shadow_page *page = shadow_page(page_number(ptr_to_hpa(table).v));
        const bool pieces = level > 1 && t->bytes >= table_level_bytes(level);
        hpa_t large;
        page->flags |= t->global ? 0 : PAGE_HAS_LOCAL;
        page->used |= (uint16_t)(1u << (linear / table_level_bytes(level) % TABLE_ENTRIES) / GROUP);
        const uint64_t old_pieces = *entry & HAS_PIECES; /* in some CPU's TLB */
        const bool is_table = entry_is_table(*entry, level);
        const bool here = level == 2 && !is_table && large_fits(shadow, linear, write, t, &large);
        if (here || level == 1) {
            const gpa_t at = gpa(t->at.v & ~(table_level_bytes(level) - 1));
            page->flags |= write ? PAGE_HAS_WRITABLE : 0;
            if (write)
                shadow_becomes_writable(shadow, at, table_level_bytes(level));
            if (here)
                flags |= large.v | PTE_PS | (t->bytes > PAGE_SIZE_2M ? HAS_PIECES : 0) | old_pieces;
            flags |= here ? 0 : frame.v;
            shadow->changes += takes_away(*entry, flags);
            __atomic_store_n(&shadow->fills, shadow->fills + 1, __ATOMIC_SEQ_CST);
            entry_store(entry, flags);
            if (CHECK_EXIT)
                shadow_note_leaf(shadow, sub, linear);
            return;
        }
        const uint64_t below =
            is_table ? *entry
                     : TABLE_FLAGS | old_pieces |
                           ptr_to_hpa(page_table(shadow_take_page(shadow, level - 1))).v;
        shadow->changes += !is_table && (*entry & PTE_P) != 0;
        if (!is_table || pieces)
            entry_store(entry, below | (pieces ? HAS_PIECES : 0));
        table = table_of(below);
    }
}

static enum shadow_result fill(struct shadow_cpu *cpu, unsigned root, uint64_t linear, bool write,
                               const struct guest_translation *t)
{
    struct shadow *shadow = cpu->shadow;
    const unsigned slot = slot_of(cpu, linear);
    const bool wp = root == SHADOW_USER || (cpu->regime & REGIME_WP) != 0;
    hpa_t frame;
    if ((slot >= HOST_FIRST && slot < HOST_END) ||
        (root == SHADOW_USER && (t->perms & PTE_U) == 0) ||
        (write && wp && (t->perms & PTE_W) == 0) ||
        !shadow_frame(shadow->mem, t->at, write, &frame))
        return SHADOW_EMULATE;
    if (write && shadow_has_code(shadow, t->at, 1))
        return SHADOW_CODE;
    if (write && shadow->sweep.active) { /* nothing becomes writable behind its back */
        shadow_sweep(shadow);
        return SHADOW_AGAIN;
    }
    const enum shadow_result result = shadow_reserve(shadow);
    if (result != SHADOW_DONE)
        return result;
    shadow->stats.fills++;
    put_leaf(shadow, take_up(cpu, root, linear, t->top), linear, write, t, frame);
    return SHADOW_DONE;
}

/*
 * CPU A has walked the guest's tables. The guest changes an entry, and CPU B flushes it; then A
 * puts what it has found before into the subtree that both have. B would see again what it has
 * flushed, so A begins anew where anybody has flushed since it began.
 */
enum shadow_result shadow_fill(struct shadow_cpu *cpu, enum shadow_root root, gva_t linear,
                               bool write, const struct guest_translation *t, uint64_t version)
{
    spinlock_lock(&cpu->shadow->lock);
    const enum shadow_result result =
        version == cpu->shadow->version ? fill(cpu, root, linear.v, write, t) : SHADOW_WALK;
    spinlock_unlock(&cpu->shadow->lock);
    return result;
}

/* --- flushing --- */

static void next_version(struct shadow *shadow)
{
    __atomic_store_n(&shadow->version, shadow->version + 1, __ATOMIC_RELEASE);
}

uint64_t shadow_version(const struct shadow_cpu *cpu)
{
    return __atomic_load_n(&cpu->shadow->version, __ATOMIC_ACQUIRE);
}

/* Drops the page of an address. */
static void drop_page(struct shadow *shadow, const struct shadow_subtree *sub, uint64_t linear)
{
    uint64_t *table = table_of(sub->table.v);
    for (unsigned level = sub->level; level > 0; level--) {
        uint64_t *entry = table_entry(table, linear, level);
        /* Under 32-bit paging a large page has 4 MiB: two entries. */
        uint64_t *pair = level == 2 && (sub->regime & MODE) == MODE_32
                             ? table_entry(table, linear ^ PAGE_SIZE_2M, level)
                             : entry;
        if (((*entry | *pair) & HAS_PIECES) != 0) {
            shadow_drop_entry(shadow, entry, level);
            shadow_drop_entry(shadow, pair, level);
            return;
        }
        if (*entry == 0)
            return;
        if (!entry_is_table(*entry, level)) {
            entry_store(entry, 0);
            shadow->changes++;
            return;
        }
        table = table_of(*entry);
    }
}

void shadow_invalidate(struct shadow_cpu *cpu, gva_t linear)
{
    struct shadow *shadow = cpu->shadow;
    const unsigned slot = slot_of(cpu, linear.v);
    spinlock_lock(&shadow->lock);
    const uint32_t before = shadow->serial[slot]++;
    const uint64_t changes = shadow->changes;
    for (unsigned root = 0; root < SHADOW_ROOTS; root++) {
        struct shadow_subtree *sub = attached(cpu, root, slot);
        if (sub == NULL)
            continue;
        drop_page(shadow, sub, linear.v);
        if (sub->serial == before)
            sub->serial = shadow->serial[slot];
    }
    if (cpu->changes == changes) /* by the caller's INVLPG, or the epoch */
        cpu->changes = shadow->changes;
    next_version(shadow);
    spinlock_unlock(&shadow->lock);
}

static uint8_t regime_of(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    if ((cr0 & CR0_PG) == 0)
        return MODE_FLAT;
    unsigned regime = (efer & EFER_LMA) != 0 ? MODE_LONG
                      : (cr4 & CR4_PAE) != 0 ? MODE_PAE
                                             : MODE_32;
    regime |= (cr0 & CR0_WP) != 0 ? REGIME_WP : 0;
    regime |= (efer & EFER_NXE) != 0 ? REGIME_NXE : 0;
    regime |= (cr4 & CR4_PSE) != 0 ? REGIME_PSE : 0;
    regime |= (cr4 & CR4_PGE) != 0 ? REGIME_PGE : 0;
    return (uint8_t)regime;
}

/* What a root keeps over a flush: the subtrees that are the guest's still, as those of its kernel
 * are, if they are up to date at once. Others wait for the next fault in them. */
static void keep_attached(struct shadow_cpu *cpu)
{
    const struct shadow_guest *guest = &cpu->guest;
    int64_t budget = BUDGET_SWITCH;
    for (unsigned root = 0; root < SHADOW_ROOTS; root++) {
        struct shadow_verify v = {.cpu = cpu, .root = root, .budget = &budget};
        for (unsigned slot = 0; (slot = next_used(cpu, root, slot)) < SHADOW_SLOTS; slot++) {
            struct shadow_subtree *sub = attached(cpu, root, slot);
            const uint64_t top =
                guest->top(guest->ctx, (enum shadow_root)root, gva(shadow_slot_linear(slot)));
            /* A is set by the walk of the next fault: other vCPUs have set theirs. */
            const bool used = slot >= LEGACY_SLOTS || (top & PTE_A) != 0;
            if (!used || sub->regime != regime_for(cpu, root) || sub->top != (top & TOP_KEY) ||
                !shadow_bring_up_to_date(&v, sub)) {
                if (!cpu->flush)
                    shadow_note_stale(cpu, sub, shadow_slot_linear(slot));
                detach(cpu, root, slot);
            }
        }
    }
}

/*
 * What the guest flushes, the host's TLB need not: what it has of the shadow is as right as the
 * leaves that stay, which have just been looked at. Those that go are dropped from it one by one,
 * if they are few, as where a kernel loads CR3 to change its own text by another mapping: behind a
 * load of the real CR3 all that the guest and the hypervisor go by is to be walked again. Where
 * others have changed something since this CPU's last flush, nobody knows what it has.
 */
void shadow_switch(struct shadow_cpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer,
                   enum shadow_flush flush)
{
    struct shadow *shadow = cpu->shadow;
    const uint8_t regime = regime_of(cr0, cr4, efer), changed = regime ^ cpu->regime;
    spinlock_lock(&shadow->lock);
    if ((changed & (MODE | REGIME_PGE)) != 0)
        flush = SHADOW_FLUSH_ALL;
    if (changed != 0 || flush != SHADOW_FLUSH_LOCAL || mode_of(cpu) != MODE_LONG)
        cpu->flush = true;
    if (flush != SHADOW_FLUSH_NONE)
        cpu->flushed = __atomic_add_fetch(&shadow->clock, 1, __ATOMIC_SEQ_CST);
    if (flush == SHADOW_FLUSH_ALL)
        __atomic_store_n(&cpu->flushed_all, shadow->clock, __ATOMIC_RELEASE);
    if ((changed & MODE) != 0)
        detach_all(cpu);
    cpu->regime = regime;
    for (unsigned root = 0; root < SHADOW_ROOTS && (changed & MODE) != 0; root++)
        set_entry(cpu, root, 0, mode_of(cpu) == MODE_LONG ? 0 : cpu->low[root].v | TABLE_FLAGS);
    keep_attached(cpu);
    cpu->flush |= cpu->changes != shadow->changes;
    cpu->changes = shadow->changes;
    next_version(shadow);
    spinlock_unlock(&shadow->lock);
}

void shadow_drop_all(struct shadow *shadow)
{
    spinlock_lock(&shadow->lock);
    shadow->stats.dropped_all++;
    shadow_drop_subtrees(shadow);
    next_version(shadow);
    spinlock_unlock(&shadow->lock);
}

/* --- a vCPU comes and goes --- */

enum status shadow_cpu_create(struct shadow_cpu *cpu, struct shadow *shadow, unsigned number,
                              hpa_t host_root, unsigned window, const struct shadow_guest *guest)
{
    *cpu = (struct shadow_cpu){
        .shadow = shadow, .guest = *guest, .flush = true, .window = (uint16_t)window};
    const uint64_t *host = hpa_to_ptr(host_root);
    for (unsigned root = 0; root < SHADOW_ROOTS; root++) {
        enum status s = page_alloc(1, 1, &cpu->root[root]);
        if (s == OK)
            s = page_alloc(1, 1, &cpu->low[root]);
        if (s != OK) {
            shadow_cpu_destroy(cpu, number);
            return s;
        }
        uint64_t *table = hpa_to_ptr(cpu->root[root]);
        for (unsigned i = HOST_FIRST; i < HOST_END; i++)
            table[i] = i == window && root == SHADOW_USER ? 0 : host[i];
        set_entry(cpu, root, 0, cpu->low[root].v | TABLE_FLAGS);
    }
    spinlock_lock(&shadow->lock);
    shadow->cpu[number] = cpu;
    spinlock_unlock(&shadow->lock);
    return OK;
}

void shadow_cpu_destroy(struct shadow_cpu *cpu, unsigned number)
{
    struct shadow *shadow = cpu->shadow;
    spinlock_lock(&shadow->lock);
    if (shadow->cpu[number] == cpu)
        detach_all(cpu);
    shadow->cpu[number] = NULL;
    spinlock_unlock(&shadow->lock);
    for (unsigned root = 0; root < SHADOW_ROOTS; root++) {
        if (cpu->root[root].v != 0)
            page_free(cpu->root[root], 1);
        if (cpu->low[root].v != 0)
            page_free(cpu->low[root], 1);
        cpu->root[root] = cpu->low[root] = hpa(0);
    }
}
