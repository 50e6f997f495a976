/* SPDX-License-Identifier: BSD-2-Clause */
/* Builds and checks the hypervisor's page tables: hides their format (SDM, "4-Level Paging"). */
#include "mm/host_paging.h"
#include "arch/log.h"
#include "arch/panic.h"
#include "mm/table.h"

#define FOUR_GIB (1ull << 32)

/* Leaf permissions. Accessed and dirty are set at once, so that the CPU never writes the tables;
 * but dirty and not writable means a shadow stack. */
enum {
    READ_ONLY = PTE_P | PTE_A,
    SHADOW_STACK = READ_ONLY | PTE_D,
    READ_WRITE = SHADOW_STACK | PTE_W
};
/* Entry 1 of PAT_HOST_VALUE: pixels leave the CPU by the line and not one by one. */
enum { WRITE_COMBINING = PTE_PWT, UNCACHED = PTE_PCD | PTE_PWT };

static struct {
    hpa_t root, efi_root;
    bool nx, pages_1g;
    const struct mtrr_state *mtrr;
    uint64_t next_stack;
} state;

static bool leaf_fits(unsigned level, uint64_t virt, uint64_t phys, uint64_t bytes)
{
    uint64_t size = table_level_bytes(level);
    if (level == 1)
        return true;
    /* Of 1 GiB for guests' RAM alone: in the physmap, blocks of 2 MiB come and go one by one. */
    const bool is_guests = virt >= HOST_GUESTS_BASE && virt < HOST_WINDOW_BASE;
    if (level == TABLE_TOP_LEVEL || (level == 3 && !(state.pages_1g && is_guests)) ||
        bytes < size || (virt | phys) % size != 0)
        return false;
    /* A large page over several types is undefined (SDM, "Large Page Size Considerations"). */
    return state.mtrr == NULL || mtrr_range_type(state.mtrr, hpa(phys), size) != MEMORY_MIXED;
}

/* Maps in the largest pages that fit. Tables above the leaves allow all, but CPL 3 only where it
 * has a leaf: the leaf decides. */
static enum status map(hpa_t root, uint64_t virt, uint64_t phys, uint64_t bytes, uint64_t flags)
{
    while (bytes > 0) {
        uint64_t *table = hpa_to_ptr(root);
        unsigned level = TABLE_TOP_LEVEL;
        while (!leaf_fits(level, virt, phys, bytes)) {
            uint64_t *entry = table_entry(table, virt, level);
            if ((*entry & PTE_P) == 0) {
                hpa_t page;
                enum status s = page_alloc(1, 1, &page);
                if (s != OK)
                    return s;
                *entry = page.v | READ_WRITE | (flags & PTE_U);
            }
            if (*entry & PTE_PS)
                return ERR_BAD_INPUT;
            table = table_of(*entry);
            level--;
        }
        uint64_t *entry = table_entry(table, virt, level);
        if (*entry & PTE_P)
            return ERR_BAD_INPUT;
        *entry = phys | (state.nx ? flags : flags & ~PTE_NX) | (level > 1 ? PTE_PS : 0);
        uint64_t size = table_level_bytes(level);
        virt += size;
        phys += size;
        bytes -= size;
    }
    return OK;
}

enum status host_map_ram(hpa_t root, uint64_t virt, hpa_t base, uint64_t bytes)
{
    return map(root, virt, base.v, bytes, READ_WRITE | PTE_NX);
}

enum status host_map_user(hpa_t root, uint64_t virt, hpa_t page, enum host_user kind)
{
    const uint64_t flags =
        (kind == HOST_USER_DATA ? READ_WRITE : READ_ONLY) | (kind == HOST_USER_CODE ? 0 : PTE_NX);
    return map(root, virt, page.v, PAGE_SIZE, flags | PTE_U);
}

void host_unmap_user(hpa_t root, uint64_t virt)
{
    uint64_t *table = hpa_to_ptr(root);
    for (unsigned level = TABLE_TOP_LEVEL; level > 1; level--) {
        const uint64_t entry = *table_entry(table, virt, level);
        if ((entry & PTE_P) == 0)
            return;
        table = table_of(entry);
    }
    __atomic_store_n(table_entry(table, virt, 1), 0, __ATOMIC_RELEASE);
}

/* Blocks of the physmap, for the page allocator. An entry that is not present is 0: by L1TF, a CPU
 * might use the address in it. */
static void set_mapped(hpa_t base, uint64_t pages, bool mapped)
{
    const uint64_t flags = READ_WRITE | PTE_PS | (state.nx ? PTE_NX : 0);
    for (uint64_t at = base.v; at < base.v + pages * PAGE_SIZE; at += PAGE_SIZE_2M) {
        uint64_t *entry = hpa_to_ptr(state.root);
        for (unsigned level = TABLE_TOP_LEVEL; level > 2; level--)
            entry = table_of(*table_entry(entry, HOST_PHYSMAP_BASE + at, level));
        entry = table_entry(entry, HOST_PHYSMAP_BASE + at, 2);
        if (*entry != (mapped ? 0 : at | flags))
            panic("physmap: the entry of 0x%lx is 0x%lx", at, *entry);
        __atomic_store_n(entry, mapped ? at | flags : 0, __ATOMIC_RELEASE);
    }
}

static enum status map_parts(const struct host_map_request *r)
{
    uint64_t end = r->physmap_end > FOUR_GIB ? r->physmap_end : FOUR_GIB;
    uint64_t image = r->image_base - HOST_IMAGE_BASE; /* from virtual to physical addresses in it */
    uint64_t fixed_start = r->text_start + image, fixed_end = r->rodata_end + image;
    const uint64_t screen = r->screen & ~(PAGE_SIZE - 1);
    const uint64_t screen_end =
        r->screen_bytes != 0 ? (r->screen + r->screen_bytes + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)
                             : screen;
    const struct {
        uint64_t virt, phys, end, flags;
    } part[] = {
        /* All memory, but text and constants cannot be written by this alias either. */
        {HOST_PHYSMAP_BASE, 0, fixed_start, READ_WRITE | PTE_NX},
        {HOST_PHYSMAP_BASE + fixed_start, fixed_start, fixed_end, READ_ONLY | PTE_NX},
        {HOST_PHYSMAP_BASE + fixed_end, fixed_end, (end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1),
         READ_WRITE | PTE_NX},
        {r->text_start, r->text_start + image, r->text_end + image, READ_ONLY},
        {r->rodata_start, r->rodata_start + image, r->rodata_end + image, READ_ONLY | PTE_NX},
        {r->data_start, r->data_start + image, r->guard + image, READ_WRITE | PTE_NX},
        {r->guard + PAGE_SIZE, r->guard + PAGE_SIZE + image, r->data_end + image,
         READ_WRITE | PTE_NX},
        {r->trampoline, r->trampoline, r->trampoline != 0 ? r->trampoline + PAGE_SIZE : 0,
         READ_ONLY},
        {HOST_SCREEN_BASE, screen, screen_end, READ_WRITE | PTE_NX | WRITE_COMBINING},
    };
    enum status s = OK;
    for (unsigned i = 0; i < sizeof(part) / sizeof(part[0]) && s == OK; i++)
        s = map(state.root, part[i].virt, part[i].phys, part[i].end - part[i].phys, part[i].flags);
    return s;
}

/* The second root: the high half is shared by its PML4 entries, so later changes show in both. */
static enum status build_efi_root(const struct host_map_request *r)
{
    uint64_t *from = hpa_to_ptr(state.root);
    uint64_t *to = hpa_to_ptr(state.efi_root);
    for (unsigned i = TABLE_ENTRIES / 2; i < TABLE_ENTRIES; i++)
        to[i] = from[i];
    enum status s = OK;
    for (size_t i = 0; i < r->runtime_count && s == OK; i++) {
        uint64_t base = r->runtime[i].base;
        s = map(state.efi_root, base, base, r->runtime[i].pages * PAGE_SIZE,
                READ_WRITE | (r->runtime[i].uncached ? UNCACHED : 0));
    }
    return s;
}

static bool request_is_sound(const struct host_map_request *r)
{
    return ((r->image_base | r->text_start | r->text_end | r->rodata_start | r->rodata_end |
             r->data_start | r->data_end | r->trampoline) %
            PAGE_SIZE) == 0 &&
           HOST_IMAGE_BASE <= r->text_start && r->text_start < r->text_end &&
           r->text_end <= r->rodata_start && r->rodata_start < r->rodata_end &&
           r->rodata_end <= r->data_start && r->data_start <= r->guard && r->guard < r->data_end &&
           r->guard % PAGE_SIZE == 0 && r->physmap_end <= HOST_RAM_END &&
           r->image_base + (r->data_end - HOST_IMAGE_BASE) <=
               (r->physmap_end > FOUR_GIB ? r->physmap_end : FOUR_GIB);
}

enum status host_paging_init(const struct host_map_request *request)
{
    if (!request_is_sound(request))
        return ERR_BAD_INPUT;
    state.nx = request->nx;
    state.pages_1g = request->pages_1g;
    state.mtrr = request->mtrr;
    state.next_stack = HOST_STACKS_BASE;
    hpa_t stacks;
    enum status s = page_alloc(1, 1, &state.root);
    if (s == OK)
        s = page_alloc(1, 1, &state.efi_root);
    if (s == OK)
        s = page_alloc(1, 1, &stacks);
    if (s != OK)
        return s;
    if (state.root.v >= FOUR_GIB)
        return ERR_NO_MEMORY;
    *table_entry(hpa_to_ptr(state.root), HOST_STACKS_BASE, TABLE_TOP_LEVEL) = stacks.v | READ_WRITE;
    s = map_parts(request);
    if (s == OK)
        s = build_efi_root(request);
    if (s == OK)
        page_alloc_unmap_guests(set_mapped);
    else
        log_line("host page tables: %s", status_text(s));
    return s;
}

hpa_t host_paging_root(void)
{
    return state.root;
}

hpa_t host_paging_efi_root(void)
{
    return state.efi_root;
}

void host_unmap_low(void)
{
    uint64_t *root = hpa_to_ptr(state.root);
    root[0] = 0; /* its few tables stay allocated, they are never freed one by one */
}

void *host_map_stack(hpa_t base, uint64_t pages)
{
    uint64_t virt = state.next_stack + PAGE_SIZE;
    for (uint64_t i = 0; i < pages; i++) /* by the page: a large one could swallow the guards */
        if (map(state.root, virt + i * PAGE_SIZE, base.v + i * PAGE_SIZE, PAGE_SIZE,
                READ_WRITE | PTE_NX) != OK)
            return NULL;
    state.next_stack = virt + pages * PAGE_SIZE;
    return (void *)(uintptr_t)virt; /* NOLINT(performance-no-int-to-ptr) */
}

/* In the physmap the page can be read still, but not written. The block of 2 MiB that it lies in is
 * the hypervisor's, so set_mapped() never asks for it whole. */
static enum status protect_alias(hpa_t page)
{
    const uint64_t virt = HOST_PHYSMAP_BASE + page.v;
    uint64_t *entry = table_entry(hpa_to_ptr(state.root), virt, TABLE_TOP_LEVEL);
    for (unsigned level = TABLE_TOP_LEVEL; level > 1; level--) {
        if ((*entry & PTE_PS) != 0) {
            hpa_t table;
            const enum status s = page_alloc(1, 1, &table);
            if (s != OK)
                return s;
            uint64_t *small = hpa_to_ptr(table);
            for (unsigned i = 0; i < TABLE_ENTRIES; i++)
                small[i] = (*entry & ~PTE_PS) + i * PAGE_SIZE;
            __atomic_store_n(entry, table.v | READ_WRITE, __ATOMIC_RELEASE);
        }
        entry = table_entry(table_of(*entry), virt, level - 1);
    }
    *entry &= ~(PTE_W | PTE_D);
    return OK;
}

uint64_t host_map_shadow_stack(hpa_t page)
{
    const uint64_t virt = state.next_stack + PAGE_SIZE, token = virt + PAGE_SIZE - 8;
    if (map(state.root, virt, page.v, PAGE_SIZE, SHADOW_STACK | PTE_NX) != OK)
        return 0;
    state.next_stack = virt + PAGE_SIZE;
    ((uint64_t *)hpa_to_ptr(page))[PAGE_SIZE / 8 - 1] = token;
    return protect_alias(page) == OK ? token : 0;
}

static uint64_t count_wx(const uint64_t *table, unsigned level, bool writable, bool executable)
{
    uint64_t bad = 0;
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        uint64_t e = table[i];
        if ((e & PTE_P) == 0)
            continue;
        bool w = writable && (e & PTE_W) != 0;
        bool x = executable && (e & PTE_NX) == 0;
        if (level > 1 && (e & PTE_PS) == 0)
            bad += count_wx(table_of(e), level - 1, w, x);
        else if (w && x)
            bad++;
    }
    return bad;
}

uint64_t host_paging_check_wx(void)
{
    return count_wx(hpa_to_ptr(state.root), TABLE_TOP_LEVEL, true, true);
}
