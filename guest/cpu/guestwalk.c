/* SPDX-License-Identifier: BSD-2-Clause */
/* The page walk of a guest in each of its paging modes (SDM, "Paging"), every entry read once. */
#include "guest/cpu/guestwalk.h"

#include "arch/nospec.h"
#include "arch/string.h"
#include "arch/x86.h"

#define PAE_HIGH   (0x7ffull << 52)
#define MAX_LEVELS 5

/* What a walk goes by, and what it has found. */
struct walk {
    const struct guestmem *mem;
    const struct guest_paging *paging;
    uint64_t linear;
    unsigned levels;      /* of tables in memory: 2 to 5 */
    unsigned entry_bytes; /* 4 or 8 */
    bool pae;             /* the top level is in the PDPTE registers */
    unsigned level;       /* where it is: 1 = PTE */
    gpa_t at[MAX_LEVELS + 1];
    uint64_t entry[MAX_LEVELS + 1];
    uint64_t perms; /* W and U of all levels, and NX of any */
};

static void choose_mode(struct walk *w)
{
    const struct guest_paging *p = w->paging;
    w->pae = (p->cr4 & CR4_PAE) && !(p->efer & EFER_LMA);
    w->entry_bytes = p->cr4 & CR4_PAE ? 8 : 4;
    if (p->efer & EFER_LMA)
        w->levels = p->cr4 & CR4_LA57 ? 5 : 4;
    else
        w->levels = 2;
    if (!(p->efer & EFER_LMA))
        w->linear &= 0xffffffff;
}

static unsigned level_shift(const struct walk *w, unsigned level)
{
    return 12 + (level - 1) * (w->entry_bytes == 8 ? 9 : 10);
}

static uint64_t read_entry(const struct guestmem *mem, gpa_t at, unsigned bytes)
{
    const void *p = guestmem_window(mem, at, bytes);
    if (p == NULL)
        return bytes == 8 ? UINT64_MAX : UINT32_MAX; /* as unclaimed memory reads */
    return bytes == 8 ? *(const volatile uint64_t *)p : *(const volatile uint32_t *)p;
}

static bool is_leaf(const struct walk *w, unsigned level, uint64_t entry)
{
    if (level == 1)
        return true;
    if (w->entry_bytes == 4)
        return (entry & PTE_PS) && (w->paging->cr4 & CR4_PSE);
    return (entry & PTE_PS) && level <= 3;
}

/* The bits that must be 0 in a present entry (SDM, "Paging-Structure Entries" of each mode). */
static uint64_t reserved_bits(const struct walk *w, unsigned level, bool leaf)
{
    uint64_t high = PTE_ADDRESS & ~((1ull << w->paging->phys_bits) - 1);
    if (w->entry_bytes == 4) {
        if (!leaf || level == 1)
            return 0;
        unsigned bits = w->paging->phys_bits < 40 ? w->paging->phys_bits : 40;
        return 0x3fffffull & ~((1ull << (bits - 19)) - 1); /* above the part that bits 20:13 hold */
    }
    if (w->pae)
        high |= PAE_HIGH;
    if (!(w->paging->efer & EFER_NXE))
        high |= PTE_NX;
    if (leaf) /* none are in a PTE */
        high |= ((1ull << level_shift(w, level)) - 1) & PTE_ADDRESS & ~PTE_PAT;
    else if (level >= 4)
        high |= PTE_PS;
    return high;
}

/* From the root to the leaf; false with the P and RSVD bits of the error code. */
static bool descend(struct walk *w, uint32_t *error)
{
    uint64_t root = w->pae ? w->paging->pdpte[w->linear >> 30] : w->paging->cr3 | PTE_P;
    uint64_t table = root & PTE_ADDRESS;
    if (w->entry_bytes == 4)
        table &= 0xffffffff;
    *error = 0;
    if ((root & PTE_P) == 0)
        return false;
    w->perms = PTE_W | PTE_U;
    for (unsigned level = w->levels;; level--) {
        unsigned index_bits = w->entry_bytes == 8 ? 9 : 10;
        uint64_t index = w->linear >> level_shift(w, level) & ((1u << index_bits) - 1);
        w->at[level] = gpa((table + index * w->entry_bytes) & ~w->mem->absent);
        uint64_t entry = read_entry(w->mem, w->at[level], w->entry_bytes);
        w->entry[level] = entry;
        w->level = level;
        if ((entry & PTE_P) == 0)
            return false;
        bool leaf = is_leaf(w, level, entry);
        if (entry & reserved_bits(w, level, leaf)) {
            *error = PF_PRESENT | PF_RESERVED;
            return false;
        }
        w->perms = (w->perms & entry & (PTE_W | PTE_U)) | ((w->perms | entry) & PTE_NX);
        if (leaf) {
            *error = PF_PRESENT;
            return true;
        }
        table = entry & PTE_ADDRESS;
    }
}

/* SDM, "Determination of Access Rights". */
static bool is_allowed(const struct guest_paging *p, uint64_t perms, enum walk_access access,
                       bool user)
{
    bool writable = (perms & PTE_W) != 0, user_page = (perms & PTE_U) != 0;
    if (access == WALK_FETCH && (perms & PTE_NX)) /* reserved unless EFER.NXE is set */
        return false;
    if (user)
        return user_page && (access != WALK_WRITE || writable);
    if (user_page && access == WALK_FETCH && (p->cr4 & CR4_SMEP))
        return false;
    if (user_page && access != WALK_FETCH && (p->cr4 & CR4_SMAP) &&
        (p->implicit || !(p->rflags & RFLAGS_AC)))
        return false;
    return access != WALK_WRITE || writable || !(p->cr0 & CR0_WP);
}

/* SDM, "Protection Keys": PKRU has two bits for each, access disable and write disable. */
static bool key_forbids(const struct walk *w, enum walk_access access, bool user)
{
    const struct guest_paging *p = w->paging;
    if (p->pkru == 0 || access == WALK_FETCH || (w->perms & PTE_U) == 0 || !(p->efer & EFER_LMA))
        return false;
    uint32_t rights = p->pkru >> (w->entry[w->level] >> 59 & 15) * 2;
    return (rights & 1) != 0 ||
           ((rights & 2) != 0 && access == WALK_WRITE && (user || (p->cr0 & CR0_WP)));
}

/* Sets flags in an entry. False: another CPU of the guest has changed it since it was read. */
static bool set_flags(const struct walk *w, unsigned level, uint64_t flags)
{
    uint64_t old = w->entry[level];
    if ((old & flags) == flags)
        return true;
    void *p = guestmem_writable_window(w->mem, w->at[level], w->entry_bytes);
    if (p == NULL) /* ROM */
        return true;
    uint32_t old32 = (uint32_t)old;
    if (w->entry_bytes == 8)
        return __atomic_compare_exchange_n((uint64_t *)p, &old, old | flags, false,
                                           __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return __atomic_compare_exchange_n((uint32_t *)p, &old32, old32 | (uint32_t)flags, false,
                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static bool mark_used(const struct walk *w, enum walk_access access)
{
    bool all = true;
    for (unsigned level = w->levels; level > w->level; level--)
        all = set_flags(w, level, PTE_A) && all;
    return set_flags(w, w->level, access == WALK_WRITE ? PTE_A | PTE_D : PTE_A) && all;
}

static gpa_t leaf_address(const struct walk *w)
{
    uint64_t entry = w->entry[w->level];
    uint64_t offset = (1ull << level_shift(w, w->level)) - 1;
    uint64_t frame = entry & PTE_ADDRESS & ~offset;
    if (w->entry_bytes == 4 && w->level == 2)
        frame |= (entry >> 13 & 0xff) << 32; /* PSE-36 */
    return gpa(frame | (w->linear & offset));
}

/* What a quick descent has met. */
struct quick {
    uint64_t top, leaf; /* entries */
    uint64_t all, any;  /* of all entries, bits that each has, and that one has */
    uint64_t page;      /* bytes - 1 */
};

/* What an entry of 8 bytes must not have, with 4 levels. */
static inline uint64_t unwanted_bits(const struct guest_paging *paging)
{
    return (PTE_ADDRESS & ~((1ull << paging->phys_bits) - 1)) |
           (paging->efer & EFER_NXE ? 0 : PTE_NX);
}

/*
 * The common case in few instructions: 4 levels with all tables in one slot, every entry present
 * and without unwanted bits. False for all else: then the full walk begins anew and decides. What
 * it reads meanwhile may be nonsense, but never lies outside of RAM.
 */
static inline bool __attribute__((always_inline))
descend_quickly(const struct guestmem *mem, const struct guest_paging *paging, uint64_t linear,
                uint64_t unwanted, struct quick *q)
{
    uint64_t entry = paging->cr3 & PTE_ADDRESS;
    const struct guestmem_slot *slot = guestmem_slot(mem, gpa(entry));
    if (slot == NULL || slot->size < PAGE_SIZE || mem->absent != 0)
        return false;
    uint64_t last = slot->size - sizeof(entry), slot_base = slot->base.v;
    const uint8_t *host = guestmem_slot_host(slot);
    /* RAM ends below 2^phys_bits: a table's address with an unwanted bit lies outside the slot. */
    const uint64_t mask = PTE_ADDRESS | unwanted;
    *q = (struct quick){.all = UINT64_MAX};
#pragma GCC unroll 4
    for (unsigned shift = 39; shift >= 12; shift -= 9) {
        uint64_t offset = (entry & mask) + (linear >> shift) % 512 * sizeof(entry) - slot_base;
        if (index_is_beyond(&offset, last))
            return false;
        entry = *(const volatile uint64_t *)(const volatile void *)(host + offset);
        q->top = shift == 39 ? entry : q->top;
        q->all &= entry;
        q->any |= entry;
        q->page = (1ull << shift) - 1; /* of the last level looked at */
        if ((entry & PTE_PS) && shift > 12)
            break;
    }
    q->leaf = entry;
    return (q->all & PTE_P) && (entry & unwanted) == 0 && q->page < 1ull << 30 &&
           (entry & q->page & PTE_ADDRESS & ~PTE_PAT) == 0; /* none are in a PTE */
}

/* Access granted, accessed and dirty flags set already. */
static inline bool __attribute__((always_inline))
walk_quickly(const struct guestmem *mem, const struct guest_paging *paging, uint64_t linear,
             enum walk_access access, bool user, gpa_t *out)
{
    struct quick q;
    if (!descend_quickly(mem, paging, linear,
                         unwanted_bits(paging) | (access == WALK_FETCH ? PTE_NX : 0), &q))
        return false;
    uint64_t wanted = PTE_A | (user ? PTE_U : 0);
    if (access == WALK_WRITE)
        wanted |= PTE_W;
    if ((q.all & wanted) != wanted || (access == WALK_WRITE && !(q.leaf & PTE_D)))
        return false;
    if ((q.all & PTE_U) && (paging->pkru != 0 || (!user && (paging->cr4 & (CR4_SMEP | CR4_SMAP)))))
        return false;
    *out = gpa((q.leaf & PTE_ADDRESS & ~q.page) | (linear & q.page));
    return true;
}

/* The number of a page's memory type in the PAT: the high bit's place in a PTE is PS's. */
static uint8_t pat_number(uint64_t leaf, bool large)
{
    return (uint8_t)((leaf / PTE_PWT & 3) | ((leaf & (large ? PTE_PAT : PTE_PS)) != 0 ? 4 : 0));
}

static bool look_quickly(const struct guestmem *mem, const struct guest_paging *paging,
                         uint64_t linear, struct guest_translation *out)
{
    struct quick q;
    if (!(paging->efer & EFER_LMA) || (paging->cr4 & CR4_LA57) ||
        !descend_quickly(mem, paging, linear, unwanted_bits(paging), &q))
        return false;
    *out = (struct guest_translation){
        .at = gpa((q.leaf & PTE_ADDRESS & ~q.page) | (linear & q.page)),
        .bytes = q.page + 1,
        .perms = (q.all & (PTE_W | PTE_U)) | (q.any & PTE_NX),
        .top = q.top,
        .pat = pat_number(q.leaf, q.page >= PAGE_SIZE),
        .global = (paging->cr4 & CR4_PGE) != 0 && (q.leaf & PTE_G) != 0,
        .accessed = (q.all & PTE_A) != 0,
        .dirty = (q.leaf & PTE_D) != 0,
    };
    return true;
}

static inline void begin(struct walk *w, const struct guestmem *mem,
                         const struct guest_paging *paging, uint64_t linear)
{
    w->mem = mem;
    w->paging = paging;
    w->linear = linear;
    choose_mode(w);
}

/* The whole of it; *w: what has been found, before flags are set; *marked: whether all were. */
static inline bool __attribute__((always_inline))
walk_with(struct walk *w, enum walk_access access, bool user, gpa_t *out, uint32_t *error_code,
          bool *marked)
{
    const struct guest_paging *paging = w->paging;
    uint32_t error;
    if (descend(w, &error)) {
        bool by_key = key_forbids(w, access, user);
        if (!by_key && is_allowed(paging, w->perms, access, user)) {
            *marked = paging->peek || mark_used(w, access);
            *out = gpa(leaf_address(w).v & ~w->mem->absent);
            return true;
        }
        error |= by_key ? (uint32_t)PF_KEY : 0u;
    }
    bool fetch_told =
        (paging->cr4 & CR4_SMEP) || ((paging->cr4 & CR4_PAE) && (paging->efer & EFER_NXE));
    if (access == WALK_FETCH && fetch_told)
        error |= PF_FETCH;
    *error_code =
        error | (access == WALK_WRITE ? (uint32_t)PF_WRITE : 0u) | (user ? (uint32_t)PF_USER : 0u);
    return false;
}

static bool __attribute__((noinline))
walk_fully(const struct guestmem *mem, const struct guest_paging *paging, uint64_t linear,
           enum walk_access access, bool user, gpa_t *out, uint32_t *error_code)
{
    struct walk w;
    bool marked;
    begin(&w, mem, paging, linear);
    return walk_with(&w, access, user, out, error_code, &marked);
}

bool guestwalk_translate(const struct guestmem *mem, const struct guest_paging *paging,
                         gva_t linear, enum walk_access access, gpa_t *out, uint32_t *error_code)
{
    bool user = paging->cpl == 3 && !paging->implicit;
    if ((paging->efer & EFER_LMA) && !(paging->cr4 & CR4_LA57) &&
        walk_quickly(mem, paging, linear.v, access, user, out))
        return true;
    if ((paging->cr0 & CR0_PG) == 0) {
        *out = gpa(linear.v & 0xffffffff & ~mem->absent);
        return true;
    }
    return walk_fully(mem, paging, linear.v, access, user, out, error_code);
}

/* With paging off: what there is of it, everywhere. */
static struct guest_translation identity(const struct guestmem *mem, uint64_t linear)
{
    return (struct guest_translation){
        .at = gpa(linear & 0xffffffff & ~mem->absent),
        .bytes = 4ull << 30,
        .perms = PTE_W | PTE_U,
        .global = true,
        .accessed = true,
        .dirty = true,
    };
}

/* guest_translation.top, where there is no entry that has been read: not with 4 or 5 levels. */
static uint64_t top_register(const struct walk *w)
{
    return w->pae ? w->paging->pdpte[w->linear >> 30] : w->paging->cr3 & 0xfffff000;
}

bool guestwalk_find_entry(const struct guestmem *mem, const struct guest_paging *paging,
                          gva_t linear, gpa_t *at)
{
    struct walk w;
    uint32_t error;
    if ((paging->cr0 & CR0_PG) == 0)
        return false;
    begin(&w, mem, paging, linear.v);
    w.level = 0; /* a PDPTE register that is not present ends it before any table */
    (void)descend(&w, &error);
    if (w.level != 1)
        return false;
    *at = w.at[1];
    return true;
}

uint64_t guestwalk_top(const struct guestmem *mem, const struct guest_paging *paging, gva_t linear)
{
    if ((paging->cr0 & CR0_PG) == 0)
        return 0;
    struct walk w;
    begin(&w, mem, paging, linear.v);
    if (w.levels == 2)
        return top_register(&w);
    const uint64_t index = linear.v >> level_shift(&w, w.levels) & 511;
    const gpa_t at = gpa(((paging->cr3 & PTE_ADDRESS) + index * 8) & ~mem->absent);
    return read_entry(mem, at, 8);
}

static void describe(const struct walk *w, struct guest_translation *out)
{
    const uint64_t leaf = w->entry[w->level];
    bool accessed = true;
    for (unsigned level = w->levels; level >= w->level; level--)
        accessed = accessed && (w->entry[level] & PTE_A) != 0;
    *out = (struct guest_translation){
        .at = gpa(leaf_address(w).v & ~w->mem->absent),
        .bytes = 1ull << level_shift(w, w->level),
        .perms = w->perms,
        .top = w->levels == 2 ? top_register(w) : w->entry[w->levels],
        .pat = pat_number(leaf, w->level > 1),
        .global = (w->paging->cr4 & CR4_PGE) != 0 && (leaf & PTE_G) != 0,
        .accessed = accessed,
        .dirty = (leaf & PTE_D) != 0,
    };
}

bool guestwalk_examine(const struct guestmem *mem, const struct guest_paging *paging, gva_t linear,
                       enum walk_access access, struct guest_translation *out, uint32_t *error_code)
{
    if ((paging->cr0 & CR0_PG) == 0) {
        *out = identity(mem, linear.v);
        return true;
    }
    const bool user = paging->cpl == 3 && !paging->implicit;
    if (look_quickly(mem, paging, linear.v, out) && out->accessed &&
        (out->dirty || access != WALK_WRITE) && paging->pkru == 0 &&
        is_allowed(paging, out->perms, access, user))
        return true;
    struct walk w;
    gpa_t at;
    bool marked;
    do { /* what is kept has to have its flags: who takes an entry away looks at them once */
        begin(&w, mem, paging, linear.v);
        if (!walk_with(&w, access, user, &at, error_code, &marked))
            return false;
    } while (!marked);
    describe(&w, out);
    if (!paging->peek) { /* what the walk has set */
        out->accessed = true;
        out->dirty = out->dirty || access == WALK_WRITE;
    }
    return true;
}

bool guestwalk_look(const struct guestmem *mem, const struct guest_paging *paging, gva_t linear,
                    struct guest_translation *out)
{
    if ((paging->cr0 & CR0_PG) == 0) {
        *out = identity(mem, linear.v);
        return true;
    }
    if (look_quickly(mem, paging, linear.v, out))
        return true;
    struct walk w;
    uint32_t error;
    begin(&w, mem, paging, linear.v);
    if (!descend(&w, &error))
        return false;
    describe(&w, out);
    return true;
}

bool guestwalk_fetch(const struct guestmem *mem, const struct guest_paging *paging, gva_t rip,
                     uint8_t to[GUESTWALK_FETCH_BYTES])
{
    gpa_t from;
    if (rip.v % PAGE_SIZE > PAGE_SIZE - GUESTWALK_FETCH_BYTES || (paging->cr4 & CR4_LA57) != 0 ||
        !walk_quickly(mem, paging, rip.v, WALK_FETCH, paging->cpl == 3, &from))
        return false;
    const void *p = guestmem_window(mem, from, GUESTWALK_FETCH_BYTES);
    if (p == NULL)
        return false;
    __builtin_memcpy(to, p, GUESTWALK_FETCH_BYTES);
    return true;
}

static size_t read_across(const struct guestmem *mem, const struct guest_paging *paging,
                          gva_t linear, enum walk_access access, void *to, size_t bytes,
                          uint32_t *error_code, gva_t *fault_at)
{
    size_t room = PAGE_SIZE - linear.v % PAGE_SIZE;
    size_t first = guestwalk_read(mem, paging, linear, access, to, room, error_code, fault_at);
    if (first < room)
        return first;
    return room + guestwalk_read(mem, paging, gva(linear.v + room), access, (uint8_t *)to + room,
                                 bytes - room, error_code, fault_at);
}

size_t guestwalk_read(const struct guestmem *mem, const struct guest_paging *paging, gva_t linear,
                      enum walk_access access, void *to, size_t bytes, uint32_t *error_code,
                      gva_t *fault_at)
{
    if (bytes > PAGE_SIZE - linear.v % PAGE_SIZE)
        return read_across(mem, paging, linear, access, to, bytes, error_code, fault_at);
    gpa_t from;
    *fault_at = linear;
    *error_code = 0;
    if (!guestwalk_translate(mem, paging, linear, access, &from, error_code))
        return 0;
    const void *p = guestmem_window(mem, from, bytes);
    if (p == NULL)
        return 0;
    memcpy(to, p, bytes);
    return bytes;
}
