/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks for what must not be in shadow page tables, and for lost pages: mm/shadow.h. All of it
 * takes long; after an exit, what is new is enough. */
#include "mm/shadow_parts.h"

struct check {
    const struct shadow *shadow;
    uint64_t pages; /* that something leads to */
    const char *wrong;
    struct shadow_place at, where; /* what is being looked at, and what is wrong */
};

static void demand(struct check *c, bool holds, const char *wrong)
{
    if (holds || c->wrong != NULL)
        return;
    c->wrong = wrong;
    c->where = c->at;
}

static void look_at(struct check *c, unsigned root, uint64_t linear, uint64_t entry)
{
    c->at = (struct shadow_place){(enum shadow_root)root, linear, entry};
}

/* What is wrong, once all has been looked at. */
static const char *result(const struct check *c, struct shadow_place *where)
{
    if (where != NULL)
        *where = c->where;
    return c->wrong;
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
    demand(c, sub->root != SHADOW_KERNEL || c->shadow->runs_kernel || (leaf & PTE_NX) != 0,
           "an executable kernel leaf");
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
                        unsigned level, uint64_t linear)
{
    const struct shadow_page *page = shadow_page(number);
    const uint64_t *table = page_table(number);
    demand(c, page->level == level, "a page's level");
    c->pages++;
    for (unsigned i = 0; i < TABLE_ENTRIES && c->wrong == NULL; i++) {
        const bool is_table = entry_is_table(table[i], level);
        const uint64_t at = linear + i * table_level_bytes(level);
        if (is_table)
            check_table(c, sub, page_number(table[i]), level - 1, at);
        look_at(c, sub != NULL ? sub->root : 0, at, table[i]);
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
        check_table(c, NULL, number, shadow_page(number)->level, 0);
    }
}

static uint64_t expected_entry(const struct shadow_cpu *cpu, unsigned root, unsigned slot)
{
    const unsigned number = cpu->attached[root][slot];
    return number == 0 ? 0
                       : cpu->shadow->subtree[number - 1].table.v | TABLE_FLAGS |
                             (root == SHADOW_KERNEL && !cpu->shadow->runs_kernel ? PTE_NX : 0);
}

static void check_host_entries(struct check *c, const struct shadow_cpu *cpu)
{
    for (unsigned root = 0; root < SHADOW_ROOTS; root++) {
        const uint64_t *table = hpa_to_ptr(cpu->root[root]);
        for (unsigned i = HOST_FIRST; i < HOST_END; i++) {
            look_at(c, root, shadow_slot_linear(i), table[i]);
            demand(c,
                   (i == cpu->window && root == SHADOW_KERNEL) || (table[i] & PTE_P) == 0 ||
                       (table[i] & PTE_U) == 0,
                   "the hypervisor is within CPL 3's reach");
        }
    }
}

static void check_roots(struct check *c, const struct shadow_cpu *cpu)
{
    const bool is_long = (cpu->regime & MODE) == MODE_LONG;
    check_host_entries(c, cpu);
    for (unsigned root = 0; root < SHADOW_ROOTS; root++) {
        const uint64_t *table = hpa_to_ptr(cpu->root[root]), *low = hpa_to_ptr(cpu->low[root]);
        for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
            const bool host = i >= HOST_FIRST && i < HOST_END;
            const uint64_t entry = expected_entry(cpu, root, i);
            look_at(c, root, shadow_slot_linear(i), table[i]);
            demand(c, host || (i == 0 && !is_long) || table[i] == entry, "an entry of a root");
            demand(c, entry == 0 || (is_long && !host), "a slot of another mode");
            look_at(c, root, (uint64_t)i << 30, low[i]);
            demand(c, low[i] == (i < 8 ? expected_entry(cpu, root, LEGACY_SLOTS + i % 4) : 0),
                   "an entry of the lowest 512 GiB");
        }
    }
}

static void check_all(struct check *c)
{
    const struct shadow *shadow = c->shadow;
    unsigned users[SHADOW_MAX_SUBTREES] = {0};
    for (unsigned i = 0; i < SHADOW_MAX_CPUS; i++) {
        const struct shadow_cpu *cpu = shadow->cpu[i];
        if (cpu == NULL)
            continue;
        check_roots(c, cpu);
        for (unsigned slot = 0; slot < 2 * SHADOW_SLOTS; slot++) {
            const unsigned number = cpu->attached[slot % 2][slot / 2];
            if (number != 0)
                users[number - 1]++;
        }
    }
    for (unsigned i = 0; i < SHADOW_MAX_SUBTREES && c->wrong == NULL; i++) {
        const struct shadow_subtree *sub = &shadow->subtree[i];
        look_at(c, sub->root, shadow_slot_linear(sub->slot), sub->table.v);
        demand(c, sub->users == users[i], "a subtree's users");
        if (sub->table.v != 0)
            check_table(c, sub, page_number(sub->table.v), sub->level,
                        shadow_slot_linear(sub->slot));
        else
            demand(c, sub->users == 0, "a root with a subtree that is no more");
    }
    check_list(c, shadow->free);
    check_list(c, shadow->pending);
    check_list(c, shadow->limbo);
    look_at(c, SHADOW_KERNEL, 0, 0);
    demand(c, c->pages + shadow->spares == shadow->taken, "table pages are lost");
}

const char *shadow_check(const struct shadow *shadow, struct shadow_place *where)
{
    struct check c = {.shadow = shadow};
    check_all(&c);
    return result(&c, where);
}

/* --- what is new --- */

void shadow_note_leaf(struct shadow *shadow, const struct shadow_subtree *sub, uint64_t linear)
{
    const unsigned number = shadow->news.leaves++;
    if (number >= SHADOW_NOTED)
        return;
    shadow->news.leaf[number].linear = linear;
    shadow->news.leaf[number].subtree = (uint16_t)(sub - shadow->subtree);
}

void shadow_note_code(struct shadow *shadow, gpa_t page)
{
    const unsigned number = shadow->news.pages++;
    if (number < SHADOW_NOTED)
        shadow->news.page[number] = page;
}

/* What is there now: it may be gone again, and the subtree be another one. */
static void check_new_leaf(struct check *c, unsigned subtree, uint64_t linear)
{
    const struct shadow_subtree *sub = &c->shadow->subtree[subtree];
    if (sub->table.v == 0)
        return;
    uint32_t number = page_number(sub->table.v);
    for (unsigned level = sub->level; level > 0; level--) {
        const uint64_t entry = *table_entry(page_table(number), linear, level);
        if (entry == 0)
            return;
        if (!entry_is_table(entry, level)) {
            look_at(c, sub->root, linear & ~(table_level_bytes(level) - 1), entry);
            check_leaf(c, sub, entry, level, shadow_page(number)->flags);
            return;
        }
        number = page_number(entry);
    }
}

/* A frame of 4 KiB with code: none of the leaves below that are writable leads there. */
static void check_writers(struct check *c, const struct shadow_subtree *sub, uint32_t number,
                          unsigned level, uint64_t linear, uint64_t frame)
{
    const uint64_t *table = page_table(number);
    const unsigned used = shadow_page(number)->used;
    for (unsigned i = 0; (i = entry_next(table, used, i)) < TABLE_ENTRIES; i++) {
        const uint64_t at = linear + i * table_level_bytes(level);
        if (entry_is_table(table[i], level)) {
            check_writers(c, sub, page_number(table[i]), level - 1, at, frame);
            continue;
        }
        look_at(c, sub->root, at, table[i]);
        demand(c,
               (table[i] & PTE_W) == 0 ||
                   frame - (table[i] & PTE_ADDRESS) >= table_level_bytes(level),
               "translated code is writable");
    }
}

/* It may have lost its code again, and then be writable. */
static void check_new_code(struct check *c, gpa_t page)
{
    const struct shadow *shadow = c->shadow;
    hpa_t frame;
    if (shadow->sweep.active || !shadow_has_code(shadow, page, 1) ||
        !shadow_frame(shadow->mem, page, false, &frame))
        return;
    for (unsigned i = 0; i < SHADOW_MAX_SUBTREES; i++) {
        const struct shadow_subtree *sub = &shadow->subtree[i];
        if (sub->table.v != 0)
            check_writers(c, sub, page_number(sub->table.v), sub->level,
                          shadow_slot_linear(sub->slot), frame.v);
    }
}

static void check_news(struct check *c)
{
    const struct shadow *shadow = c->shadow;
    for (unsigned i = 0; i < shadow->news.leaves; i++)
        check_new_leaf(c, shadow->news.leaf[i].subtree, shadow->news.leaf[i].linear);
    for (unsigned i = 0; i < shadow->news.pages; i++)
        check_new_code(c, shadow->news.page[i]);
}

/* Others that run meanwhile change no entry: A and D are set in all. */
const char *shadow_check_exit(struct shadow_cpu *cpu, struct shadow_place *where)
{
    struct shadow *shadow = cpu->shadow;
    struct check c = {.shadow = shadow};
    spinlock_lock(&shadow->lock);
    if (++shadow->news.exits % SHADOW_CHECK_ALL == 0 || shadow->news.leaves > SHADOW_NOTED ||
        shadow->news.pages > SHADOW_NOTED) {
        check_all(&c);
    } else {
        check_host_entries(&c, cpu);
        check_news(&c);
    }
    shadow->news.leaves = shadow->news.pages = 0;
    spinlock_unlock(&shadow->lock);
    return result(&c, where);
}
