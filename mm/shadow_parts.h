/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the shadow page tables have in common. */
#pragma once

#include "mm/guestspace.h"
#include "mm/host_paging.h"
#include "mm/shadow.h"
#include "mm/table.h"

/* Entries of a root that are the hypervisor's. */
enum { HOST_FIRST = 256, HOST_END = 272 };
_Static_assert(HOST_PHYSMAP_BASE / (PAGE_SIZE_1G * TABLE_ENTRIES) % TABLE_ENTRIES == HOST_FIRST &&
                   HOST_IMAGE_BASE / (PAGE_SIZE_1G * TABLE_ENTRIES) % TABLE_ENTRIES == HOST_END - 1,
               "mm/host_paging.h says so");
/* Slots that stand for one GiB each. */
enum { LEGACY_SLOTS = 512 };

/* What a walk goes by beside the tables: struct shadow_subtree.regime. */
enum {
    MODE_FLAT = 0, /* paging off */
    MODE_32 = 1,
    MODE_PAE = 2,
    MODE_LONG = 3,
    MODE = 3,
    REGIME_WP = 4,
    REGIME_NXE = 8,
    REGIME_PSE = 16,
    REGIME_PGE = 32
};

/* The first address of a slot. */
static inline uint64_t shadow_slot_linear(unsigned slot)
{
    if (slot >= LEGACY_SLOTS)
        return (uint64_t)(slot - LEGACY_SLOTS) << 30;
    return (uint64_t)slot << 39 | (slot >= TABLE_ENTRIES / 2 ? 0xffffull << 48 : 0);
}

/* Bits of entries that the CPU ignores. */
#define LEAF_GLOBAL (1ull << 9)  /* the guest's page is global */
#define HAS_PIECES  (1ull << 10) /* of a guest's page as large as this entry maps, or larger */

/* A and D are set in all, so that no CPU ever writes to a table: one that goes by an old one of its
 * paging-structure cache would write to what it has become. Dirty and not writable is a shadow
 * stack's, so D comes with W. */
#define TABLE_FLAGS (PTE_P | PTE_W | PTE_U | PTE_A)
#define LEAF_FLAGS  (PTE_P | PTE_U | PTE_A)
#define LEAF_WRITE  (PTE_W | PTE_D)

/* What there is to know of a table page. The first page of a chunk has one for each, in the first
 * one's place that of the chunk: next is the next chunk's page number. */
struct shadow_page {
    uint32_t next; /* page number in a list */
    uint8_t level; /* as a table; 0: not used yet */
    uint8_t flags; /* enum page_flags */
    uint16_t used; /* of each GROUP entries a bit: one of them may be other than 0 */
};
enum page_flags {
    PAGE_HAS_LOCAL = 1,   /* below it, a leaf may be that is not global */
    PAGE_HAS_WRITABLE = 2 /* a leaf in it may be writable */
};
#define CHUNK_PAGES 512u
#define GROUP       (TABLE_ENTRIES / 16u)
_Static_assert(CHUNK_PAGES * sizeof(struct shadow_page) == PAGE_SIZE, "one page describes a chunk");

static inline struct shadow_page *shadow_page(uint32_t number)
{
    struct shadow_page *chunk =
        hpa_to_ptr(hpa((uint64_t)(number - number % CHUNK_PAGES) * PAGE_SIZE));
    return &chunk[number % CHUNK_PAGES];
}

static inline uint32_t page_number(uint64_t entry)
{
    return (uint32_t)((entry & PTE_ADDRESS) / PAGE_SIZE);
}

static inline uint64_t *page_table(uint32_t number)
{
    return hpa_to_ptr(hpa(number * PAGE_SIZE));
}

static inline struct shadow_page *page_of(uint64_t entry)
{
    return shadow_page(page_number(entry));
}

/* CPUs may be walking the table. */
static inline void entry_store(uint64_t *entry, uint64_t value)
{
    __atomic_store_n(entry, value, __ATOMIC_RELAXED);
}

/* The next entry at or above index that may be other than 0; TABLE_ENTRIES: none. Tables are mostly
 * empty, and gone through often. */
static inline unsigned entry_next(const uint64_t *table, unsigned used, unsigned index)
{
    while (index < TABLE_ENTRIES) {
        const unsigned groups = used >> index / GROUP;
        if (groups == 0)
            break;
        if ((groups & 1) == 0)
            index = (index / GROUP + (unsigned)__builtin_ctz(groups)) * GROUP;
        for (const unsigned end = (index / GROUP + 1) * GROUP; index < end; index++)
            if (table[index] != 0)
                return index;
    }
    return TABLE_ENTRIES;
}

static inline bool entry_is_table(uint64_t entry, unsigned level)
{
    return level > 1 && (entry & PTE_P) != 0 && (entry & PTE_PS) == 0;
}

/* The frame behind a guest-physical page; false: not a whole page of guest memory, or none that can
 * be written. */
static inline bool shadow_frame(const struct guestmem *mem, gpa_t page, bool write, hpa_t *frame)
{
    const gpa_t base = gpa(page.v & ~(PAGE_SIZE - 1));
    const void *p = write ? guestmem_writable_window(mem, base, PAGE_SIZE)
                          : guestmem_window(mem, base, PAGE_SIZE);
    *frame = guestspace_frame(p);
    return p != NULL && frame->v % PAGE_SIZE == 0;
}

/* shadow_pool.c: with the lock held. */

/* Has pages ready for one fill; may drop everything for it. SHADOW_DONE or SHADOW_WAIT. */
enum shadow_result shadow_reserve(struct shadow *shadow);
/* One of these, empty. */
uint32_t shadow_take_page(struct shadow *shadow, unsigned level);
/* A table that no entry leads to any more, with all that lies below. */
void shadow_put_page(struct shadow *shadow, uint32_t number);
bool shadow_has_seen(struct shadow *shadow, uint64_t epoch);

/* shadow_code.c: with the lock held. */
enum status shadow_code_create(struct shadow *shadow);
void shadow_code_destroy(struct shadow *shadow);
/* A portion of the sweep that is under way. */
void shadow_sweep(struct shadow *shadow);
/* Whether a page of this size may become writable, and that it does. */
bool shadow_has_code(const struct shadow *shadow, gpa_t at, uint64_t bytes);
void shadow_becomes_writable(struct shadow *shadow, gpa_t at, uint64_t bytes);

/* shadow_check.c: for shadow_check_exit(), with the lock held. A leaf has been put there; from now
 * on no leaf to the page is writable. */
void shadow_note_leaf(struct shadow *shadow, const struct shadow_subtree *sub, uint64_t linear);
void shadow_note_code(struct shadow *shadow, gpa_t page);

/* shadow_stale.c: with the lock held. That subtree, which begins at linear, leaves a root: what a
 * CPU may have of it is in cpu->stale[] now, or cpu->flush is set. */
void shadow_note_stale(struct shadow_cpu *cpu, const struct shadow_subtree *sub, uint64_t linear);

/* Each vCPU drops its CPU's translations before it runs again. */
static inline void shadow_raise_epoch(struct shadow *shadow)
{
    __atomic_add_fetch(&shadow->epoch, 1, __ATOMIC_SEQ_CST);
}

/* shadow_verify.c: with the lock held. */

/* Leaves that are walked again, a table counting as eight, at most for one fault, and for one MOV
 * to CR3. What is left is dropped, or waits for the fault. */
enum { BUDGET_FILL = 8192, BUDGET_SWITCH = 1024, BUDGET_TABLE = 8 };

struct shadow_verify {
    struct shadow_cpu *cpu;
    unsigned root;
    bool others;    /* the root takes the subtree up, and another vCPU may have filled it */
    bool all;       /* global leaves, too */
    bool drop_rest; /* where the budget is used up: else give up */
    uint64_t since; /* clock: what has not been written since then holds */
    int64_t *budget;
};

/* Has the subtree be what the guest's flushes ask for. False: the budget is used up. */
bool shadow_bring_up_to_date(struct shadow_verify *v, struct shadow_subtree *sub);
/* Takes a leaf away, or a table with all below it. */
void shadow_drop_entry(struct shadow *shadow, uint64_t *entry, unsigned level);

/* shadow.c: with the lock held. Takes all subtrees away from all roots. */
void shadow_drop_subtrees(struct shadow *shadow);
