/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks for what must not be in shadow page tables, and for lost pages: mm/shadow.h. */
#include "mm/shadow_parts.h"

struct check {
    const struct shadow *shadow;
    uint64_t pages; /* that something leads to */
    const char *wrong;
};

static void demand(struct check *c, bool holds, const char *wrong)
{
    if (!holds && c->wrong == NULL)
        c->wrong = wrong;
}

/* The guest memory that a host frame is; false: it is none. */
static bool guest_page(const struct guestmem *mem, uint64_t frame, gpa_t *at, bool *read_only)
{
    for (uint32_t i = 0; i < mem->count; i++) {
        const struct guestmem_slot *slot = &mem->slot[i];
        const uint64_t offset = frame - guestspace_frame(guestmem_slot_host(slot)).v;
        if (offset >= slot->size)
            continue;
        *at = gpa(slot->base.v + offset);
        *read_only = guestmem_slot_writable(slot) == NULL;
        return true;
    }
    return false;
}

static void check_leaf(struct check *c, const struct shadow_subtree *sub, uint64_t leaf,
                       unsigned level, unsigned flags)
{
    const bool writable = (leaf & PTE_W) != 0;
    demand(c, (leaf & LEAF_FLAGS) == LEAF_FLAGS && writable == ((leaf & PTE_D) != 0),
           "a leaf's flags");
    demand(c, level <= 2 && (level == 1 || (leaf & PTE_PS) != 0), "a leaf's level");
    demand(c, sub->root != SHADOW_KERNEL || (leaf & PTE_NX) != 0, "an executable kernel leaf");
    demand(c, (leaf & LEAF_GLOBAL) != 0 || (flags & PAGE_HAS_LOCAL) != 0, "a local leaf untold");
    demand(c, !writable || (flags & PAGE_HAS_WRITABLE) != 0, "a writable leaf untold");
    for (uint64_t at = 0; at < table_level_bytes(level) && c->wrong == NULL; at += PAGE_SIZE) {
        gpa_t page;
        bool read_only;
        if (!guest_page(c->shadow->mem, (leaf & PTE_ADDRESS) + at, &page, &read_only)) {
            demand(c, false, "a leaf to what is not guest memory");
            return;
        }
        const unsigned code = *shadow_code_byte(c->shadow, page);
        demand(c, !writable || !read_only, "ROM is writable");
        demand(c, !writable || (code & SHADOW_MAY_BE_WRITABLE) != 0, "a writable page unmarked");
        demand(c, !writable || (code & SHADOW_HAS_CODE) == 0 || c->shadow->sweep.active,
               "translated code is writable");
    }
}

/* sub NULL: what has been taken away, where only the pages count. */
static void check_table(struct check *c, const struct shadow_subtree *sub, uint32_t number,
                        unsigned level)
{
    const struct shadow_page *page = shadow_page(number);
    const uint64_t *table = page_table(number);
    demand(c, page->level == level, "a page's level");
    c->pages++;
    for (unsigned i = 0; i < TABLE_ENTRIES && c->wrong == NULL; i++) {
        const bool is_table = entry_is_table(table[i], level);
        if (is_table)
            check_table(c, sub, page_number(table[i]), level - 1);
        demand(c, table[i] == 0 || (page->used >> i / GROUP & 1) != 0, "an entry untold");
        if (table[i] == 0 || sub == NULL)
            continue;
        if (!is_table) {
            check_leaf(c, sub, table[i], level, page->flags);
            continue;
        }
        const unsigned below = page_of(table[i])->flags & PAGE_HAS_LOCAL;
        demand(c, (table[i] & ~(PTE_ADDRESS | HAS_PIECES)) == TABLE_FLAGS, "a table's flags");
        demand(c, below == 0 || (page->flags & PAGE_HAS_LOCAL) != 0, "a local leaf below untold");
    }
}

static void check_list(struct check *c, struct shadow_list list)
{
    for (uint32_t number = list.first; number != 0 && c->wrong == NULL;
         number = shadow_page(number)->next) {
        demand(c, c->pages <= c->shadow->taken, "a list without end");
        check_table(c, NULL, number, shadow_page(number)->level);
    }
}

static uint64_t expected_entry(const struct shadow_cpu *cpu, unsigned root, unsigned slot)
{
    const unsigned number = cpu->attached[root][slot];
    return number == 0 ? 0
                       : cpu->shadow->subtree[number - 1].table.v | TABLE_FLAGS |
                             (root == SHADOW_KERNEL ? PTE_NX : 0);
}

static void check_roots(struct check *c, const struct shadow_cpu *cpu)
{
    const bool is_long = (cpu->regime & MODE) == MODE_LONG;
    for (unsigned root = 0; root < SHADOW_ROOTS; root++) {
        const uint64_t *table = hpa_to_ptr(cpu->root[root]), *low = hpa_to_ptr(cpu->low[root]);
        for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
            const bool host = i >= HOST_FIRST && i < HOST_END;
            const uint64_t entry = expected_entry(cpu, root, i);
            if (host)
                demand(c,
                       (i == cpu->window && root == SHADOW_KERNEL) || (table[i] & PTE_P) == 0 ||
                           (table[i] & PTE_U) == 0,
                       "the hypervisor is within CPL 3's reach");
            else if (i != 0 || is_long)
                demand(c, table[i] == entry, "an entry of a root");
            demand(c, entry == 0 || (is_long && !host), "a slot of another mode");
            demand(c, low[i] == (i < 8 ? expected_entry(cpu, root, LEGACY_SLOTS + i % 4) : 0),
                   "an entry of the lowest 512 GiB");
        }
    }
}

const char *shadow_check(const struct shadow *shadow)
{
    struct check c = {.shadow = shadow};
    unsigned users[SHADOW_MAX_SUBTREES] = {0};
    for (unsigned i = 0; i < SHADOW_MAX_CPUS; i++) {
        const struct shadow_cpu *cpu = shadow->cpu[i];
        if (cpu == NULL)
            continue;
        check_roots(&c, cpu);
        for (unsigned slot = 0; slot < 2 * SHADOW_SLOTS; slot++) {
            const unsigned number = cpu->attached[slot % 2][slot / 2];
            if (number != 0)
                users[number - 1]++;
        }
    }
    for (unsigned i = 0; i < SHADOW_MAX_SUBTREES && c.wrong == NULL; i++) {
        const struct shadow_subtree *sub = &shadow->subtree[i];
        demand(&c, sub->users == users[i], "a subtree's users");
        if (sub->table.v != 0)
            check_table(&c, sub, page_number(sub->table.v), sub->level);
        else
            demand(&c, sub->users == 0, "a root with a subtree that is no more");
    }
    check_list(&c, shadow->free);
    check_list(&c, shadow->pending);
    check_list(&c, shadow->limbo);
    demand(&c, c.pages + shadow->spares == shadow->taken, "table pages are lost");
    return c.wrong;
}
