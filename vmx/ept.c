/* SPDX-License-Identifier: BSD-2-Clause */
/* Builds and checks EPT: hides its format (SDM, "The Extended Page Table Mechanism (EPT)"). */
#include "vmx/ept.h"
#include "mm/page_alloc.h"
#include "mm/table.h"

#define PERMS       7ull
#define IGNORE_PAT  (1ull << 6)
#define LARGE       (1ull << 7)
#define TYPE_SHIFT  3
#define LINEAR_END  (1ull << 48) /* what 4 levels reach */
#define EPTP_WB     6ull
#define EPTP_WALK_4 (3ull << 3)

static bool is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || (entry & LARGE) != 0;
}

static bool has_table(uint64_t entry, unsigned level)
{
    return (entry & PERMS) != 0 && !is_leaf(entry, level);
}

static enum status add_table(struct ept *ept, uint64_t *entry)
{
    hpa_t page;
    enum status s = page_alloc(1, 1, &page);
    if (s != OK)
        return s;
    ept->table_pages++;
    *entry = page.v | EPT_RWX;
    return OK;
}

enum status ept_init(struct ept *ept, const struct ept_caps *caps)
{
    *ept = (struct ept){.caps = *caps};
    uint64_t root;
    enum status s = add_table(ept, &root);
    if (s == OK)
        ept->root = hpa(root & PTE_ADDRESS);
    return s;
}

static void free_tables(hpa_t table, unsigned level, void (*between)(void))
{
    const uint64_t *entry = hpa_to_ptr(table);
    for (unsigned i = 0; i < TABLE_ENTRIES && level > 1; i++)
        if (has_table(entry[i], level))
            free_tables(hpa(entry[i] & PTE_ADDRESS), level - 1, between);
    page_free(table, 1);
    between();
}

void ept_destroy(struct ept *ept, void (*between)(void))
{
    if (ept->root.v != 0)
        free_tables(ept->root, TABLE_TOP_LEVEL, between);
    *ept = (struct ept){.root = {0}};
}

uint64_t ept_root_pointer(hpa_t root)
{
    return root.v | EPTP_WB | EPTP_WALK_4;
}

static bool perms_are_valid(unsigned perms)
{
    return (perms & ~(unsigned)EPT_RWX) == 0 && (perms & EPT_R) != 0;
}

static bool type_is_valid(unsigned type)
{
    return type == MEMORY_UC || type == MEMORY_WC || (type >= MEMORY_WT && type <= MEMORY_WB);
}

static bool range_is_valid(uint64_t base, uint64_t bytes, uint64_t end)
{
    return (base | bytes) % PAGE_SIZE == 0 && bytes != 0 && base < end && bytes <= end - base;
}

static bool leaf_fits(const struct ept *ept, unsigned level, uint64_t both, uint64_t bytes)
{
    bool offered =
        level == 1 || (level == 2 && ept->caps.pages_2m) || (level == 3 && ept->caps.pages_1g);
    return offered && bytes >= table_level_bytes(level) && both % table_level_bytes(level) == 0;
}

enum status ept_map(struct ept *ept, gpa_t guest, hpa_t host, uint64_t bytes, unsigned perms,
                    enum memory_type type)
{
    if (!range_is_valid(guest.v, bytes, LINEAR_END) ||
        !range_is_valid(host.v, bytes, 1ull << ept->caps.phys_bits) || !perms_are_valid(perms) ||
        !type_is_valid(type))
        return ERR_BAD_INPUT;
    uint64_t flags = perms | (uint64_t)type << TYPE_SHIFT | IGNORE_PAT;
    while (bytes > 0) {
        uint64_t *table = hpa_to_ptr(ept->root);
        unsigned level = TABLE_TOP_LEVEL;
        uint64_t *entry = table_entry(table, guest.v, level);
        while (has_table(*entry, level) || !leaf_fits(ept, level, guest.v | host.v, bytes)) {
            enum status s = (*entry & PERMS) == 0 ? add_table(ept, entry) : OK;
            if (s != OK)
                return s;
            if (is_leaf(*entry, level))
                return ERR_BAD_INPUT;
            level--;
            entry = table_entry(table_of(*entry), guest.v, level);
        }
        const uint64_t size = table_level_bytes(level);
        do { /* and what follows in this table */
            if ((*entry & PERMS) != 0)
                return ERR_BAD_INPUT;
            *entry++ = host.v | flags | (level > 1 ? LARGE : 0);
            ept->leaves[level - 1]++;
            guest.v += size;
            host.v += size;
            bytes -= size;
        } while (bytes >= size && guest.v % table_level_bytes(level + 1) != 0);
    }
    return OK;
}

uint64_t ept_portion(const struct ept *ept, gpa_t guest, hpa_t host, uint64_t bytes)
{
    unsigned level = 3;
    while (level > 1 && !leaf_fits(ept, level, guest.v | host.v, bytes))
        level--;
    const uint64_t of_table = table_level_bytes(level + 1);
    const uint64_t most = level == 3 ? table_level_bytes(3) : of_table - guest.v % of_table;
    return bytes < most ? bytes : most;
}

/* The entry that maps an address, or would; *level: whose. */
static uint64_t *find_leaf(const struct ept *ept, uint64_t guest, unsigned *level)
{
    *level = TABLE_TOP_LEVEL;
    uint64_t *entry = table_entry(hpa_to_ptr(ept->root), guest, *level);
    while (has_table(*entry, *level))
        entry = table_entry(table_of(*entry), guest, --*level);
    return entry;
}

/* In one store, as CPUs may be walking the tables. */
static void replace_leaf(struct ept *ept, uint64_t *entry, unsigned level, uint64_t value)
{
    ept->leaves[level - 1] += (uint64_t)((value & PERMS) != 0) - ((*entry & PERMS) != 0);
    __atomic_store_n(entry, value, __ATOMIC_RELAXED);
}

enum status ept_protect(struct ept *ept, gpa_t guest, uint64_t bytes, unsigned perms)
{
    if (!range_is_valid(guest.v, bytes, LINEAR_END) || (perms != 0 && !perms_are_valid(perms)))
        return ERR_BAD_INPUT;
    while (bytes > 0) {
        unsigned level;
        uint64_t *entry = find_leaf(ept, guest.v, &level);
        uint64_t size = table_level_bytes(level);
        if (*entry == 0 || guest.v % size != 0 || bytes < size)
            return ERR_BAD_INPUT;
        replace_leaf(ept, entry, level, (*entry & ~PERMS) | perms);
        guest.v += size;
        bytes -= size;
    }
    return OK;
}

enum status ept_redirect(struct ept *ept, gpa_t guest, hpa_t host, unsigned perms)
{
    unsigned level;
    if (!range_is_valid(guest.v, PAGE_SIZE, LINEAR_END) ||
        !range_is_valid(host.v, PAGE_SIZE, 1ull << ept->caps.phys_bits) || !perms_are_valid(perms))
        return ERR_BAD_INPUT;
    uint64_t *entry = find_leaf(ept, guest.v, &level);
    if (*entry == 0 || level != 1)
        return ERR_BAD_INPUT;
    replace_leaf(ept, entry, level, (*entry & ~(PTE_ADDRESS | PERMS)) | host.v | perms);
    return OK;
}

bool ept_find(const struct ept *ept, gpa_t guest, hpa_t *host, unsigned *perms)
{
    unsigned level;
    const uint64_t entry = *find_leaf(ept, guest.v, &level);
    const uint64_t offset = (table_level_bytes(level) - 1) & PTE_ADDRESS;
    *host = hpa((entry & PTE_ADDRESS & ~offset) | (guest.v & offset));
    *perms = (unsigned)(entry & PERMS);
    return *perms != 0;
}

void ept_unmap(struct ept *ept, gpa_t guest)
{
    unsigned level;
    uint64_t *entry = find_leaf(ept, guest.v, &level);
    if (level == 1)
        replace_leaf(ept, entry, level, 0);
}

/* Whether a present entry makes the CPU report an EPT misconfiguration. */
static bool entry_is_valid(const struct ept *ept, uint64_t entry, unsigned level)
{
    uint64_t reserved = PTE_ADDRESS & ~((1ull << ept->caps.phys_bits) - 1);
    bool leaf = is_leaf(entry, level);
    if (level == TABLE_TOP_LEVEL)
        reserved |= 0xf8;
    else if (!leaf)
        reserved |= 0x78;
    else if (level > 1)
        reserved |= (table_level_bytes(level) - 1) & PTE_ADDRESS;
    if ((entry & reserved) != 0 || !perms_are_valid((unsigned)(entry & PERMS)))
        return false;
    if (!leaf || level == TABLE_TOP_LEVEL)
        return true;
    return leaf_fits(ept, level, 0, UINT64_MAX) && type_is_valid((entry >> TYPE_SHIFT) & 7);
}

struct walk {
    const struct ept *ept;
    struct ept_error error;
    uint64_t leaves[3];
};

static bool check_table(struct walk *w, hpa_t base, unsigned level, uint64_t guest)
{
    const uint64_t *table = hpa_to_ptr(base);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        uint64_t entry = table[i], at = guest + i * table_level_bytes(level);
        if ((entry & PERMS) == 0)
            continue;
        if (!entry_is_valid(w->ept, entry, level)) {
            w->error = (struct ept_error){{at}, entry, level};
            return false;
        }
        if (is_leaf(entry, level))
            w->leaves[level - 1]++;
        else if (!check_table(w, hpa(entry & PTE_ADDRESS), level - 1, at))
            return false;
    }
    return true;
}

bool ept_check(const struct ept *ept, struct ept_error *where)
{
    struct walk w = {.ept = ept};
    bool good = check_table(&w, ept->root, TABLE_TOP_LEVEL, 0);
    for (unsigned i = 0; i < 3 && good; i++)
        good = w.leaves[i] == ept->leaves[i];
    if (where != NULL)
        *where = w.error;
    return good;
}
