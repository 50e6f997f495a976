/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest of two vCPUs whose tables change at random, the shadow of it, and two CPUs that run in
 * that: with a TLB and a paging-structure cache, which forget only what they are told to. Beside
 * them stands what a real CPU could have cached: for each vCPU and each page, all that the guest's
 * tables have said since its last flush (SDM, "Invalidation of TLBs and Paging-Structure Caches").
 * What the shadow has, and what a CPU that runs has, must be among that.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86.h"
#include "guest/cpu/guestwalk.h"
#include "mm/page_alloc.h"
#include "mm/shadow_parts.h"

#define MIB          (1ull << 20)
#define ARENA        (64 * MIB) /* host-physical, of which only what is used costs memory */
#define POOL_BASE    (2 * MIB)
#define POOL_END     (32 * MIB)
#define RAM_HPA      (40 * MIB)
#define HIGH_HPA     (48 * MIB) /* of what begins at 2 MiB: congruent */
#define ODD_HPA      (56 * MIB + PAGE_SIZE)
#define ROM_GPA      0xf0000ull
#define RAM_BYTES    0x80000ull
#define TABLES_GPA   0x10000ull
#define VCPUS        2
#define PAGES        48
#define RECORDS      600
#define MODEL_TABLES 13

#define demand(x)                                                   \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            abort();                                                \
        }                                                           \
    } while (0)

uint64_t guestspace_offset;

struct record {
    uint64_t frame, base, bytes, perms; /* base: of the guest's page, linear */
    bool global, dirty;
};

struct cached {
    uint64_t leaf; /* 0: none */
    bool large;
    uint64_t table; /* host-physical address of the level-1 table, or 0 */
};

struct model_vcpu {
    struct shadow_cpu cpu;
    struct guest_paging paging;
    uint64_t pdpte[4];
    uint64_t cr4; /* and mode, before the last change */
    unsigned mode;
    bool running;
    struct cached cache[SHADOW_ROOTS][PAGES];
    struct record record[PAGES][RECORDS];
    unsigned records[PAGES];
};

static struct {
    uint8_t *arena;
    struct guestmem mem;
    struct shadow *shadow;
    unsigned mode;                  /* that the tables are written for */
    uint64_t written[MODEL_TABLES]; /* when: shadow.clock, plus 1 */
    bool runs_kernel; /* code is fetched under SHADOW_KERNEL, too; before model_begin() */
    struct model_vcpu vcpu[VCPUS];
    const uint8_t *data; /* where choices come from; NULL: the generator */
    size_t left;
    uint64_t random;
    unsigned hot; /* where most accesses are */
    uint64_t touched, faulted, emulated, stopped_by_code, waited, walked_again, tlb_hits;
} m;

static unsigned choose(unsigned n)
{
    if (m.data != NULL) {
        if (m.left == 0)
            return 0;
        m.left--;
        return *m.data++ % n;
    }
    m.random ^= m.random << 13;
    m.random ^= m.random >> 7;
    m.random ^= m.random << 17;
    return (unsigned)(m.random >> 33) % n;
}

static bool chance(unsigned percent)
{
    return choose(100) < percent;
}

static void *ram(uint64_t at)
{
    void *p = guestmem_window(&m.mem, gpa(at), 8);
    demand(p != NULL);
    return p;
}

static uint64_t table_gpa(unsigned number)
{
    return TABLES_GPA + number * PAGE_SIZE;
}

/* --- the guest's linear addresses --- */

static unsigned mode_now(const struct model_vcpu *v)
{
    if ((v->paging.cr0 & CR0_PG) == 0)
        return MODE_FLAT;
    if (v->paging.efer & EFER_LMA)
        return MODE_LONG;
    return v->paging.cr4 & CR4_PAE ? MODE_PAE : MODE_32;
}

static unsigned some_page(void)
{
    if (chance(2))
        m.hot = choose(PAGES);
    return chance(80) ? (m.hot + choose(5)) % PAGES : choose(PAGES);
}

static uint64_t page_linear(const struct model_vcpu *v, unsigned page)
{
    static const uint64_t slot[] = {0, 255, 300, 511};
    static const uint64_t low[] = {0, 1, 3};
    if (mode_now(v) == MODE_LONG) {
        uint64_t at = slot[page / 12] << 39 | (uint64_t)(page / 6 % 2) << 30 |
                      (uint64_t)(page / 3 % 2) << 21 | low[page % 3] << 12;
        return at >> 47 & 1 ? at | 0xffffull << 48 : at;
    }
    page %= 36;
    return (uint64_t)(page / 9 % 2 ? 3 : 0) << 30 | (uint64_t)(page / 3 % 3) << 21 |
           low[page % 3] << 12;
}

/* --- what a CPU could have cached --- */

static void record_by_tables(struct model_vcpu *v, unsigned page)
{
    struct guest_translation t;
    hpa_t frame;
    const uint64_t linear = page_linear(v, page);
    if (!guestwalk_look(&m.mem, &v->paging, gva(linear), &t) ||
        !shadow_frame(&m.mem, t.at, false, &frame))
        return;
    if (!t.accessed && mode_now(v) == MODE_LONG) {
        /* Another vCPU with the same entry in its PML4 has set A in that. */
        uint64_t *entry = (uint64_t *)ram(v->paging.cr3) + (linear >> 39 & 511), before = *entry;
        *entry |= PTE_A;
        (void)guestwalk_look(&m.mem, &v->paging, gva(linear), &t);
        *entry = before;
    }
    if (!t.accessed)
        return;
    const struct record r = {frame.v, linear & ~(t.bytes - 1), t.bytes, t.perms, t.global, t.dirty};
    for (unsigned i = 0; i < v->records[page]; i++) {
        const struct record *o = &v->record[page][i];
        if (o->frame == r.frame && o->bytes == r.bytes && o->perms == r.perms &&
            o->global == r.global && o->dirty == r.dirty)
            return;
    }
    demand(v->records[page] < RECORDS);
    v->record[page][v->records[page]++] = r;
}

/* By what its tables say now, and by a PML4 entry that it has in its paging-structure caches, which
 * the guest has changed without a flush: through that it may walk to leaves that are new. */
static void record(struct model_vcpu *v, unsigned page)
{
    record_by_tables(v, page);
    if (mode_now(v) != MODE_LONG || m.shadow == NULL)
        return;
    const unsigned slot = page_linear(v, page) >> 39 & 511;
    uint64_t *entry = (uint64_t *)ram(v->paging.cr3) + slot, before = *entry;
    for (unsigned root = 0; root < SHADOW_ROOTS; root++) {
        const unsigned sub = v->cpu.attached[root][slot];
        if (sub == 0 || ((m.shadow->subtree[sub - 1].top ^ before) & ~(uint64_t)PTE_A) == 0)
            continue;
        *entry = m.shadow->subtree[sub - 1].top | PTE_A;
        record_by_tables(v, page);
        *entry = before;
    }
}

static void record_all(void)
{
    for (unsigned i = 0; i < VCPUS; i++)
        for (unsigned page = 0; page < PAGES; page++)
            record(&m.vcpu[i], page);
}

/* Forgets; of one address, or all, or all that is not global. */
static void forget(struct model_vcpu *v, bool all, bool global_too, uint64_t linear)
{
    for (unsigned page = 0; page < PAGES; page++) {
        unsigned kept = 0;
        for (unsigned i = 0; i < v->records[page]; i++) {
            const struct record *r = &v->record[page][i];
            const bool goes = all ? global_too || !r->global : linear - r->base < r->bytes;
            if (!goes)
                v->record[page][kept++] = *r;
        }
        v->records[page] = kept;
    }
    record_all();
}

/* Whether code is fetched in that root. */
static bool runs(unsigned root)
{
    return root == SHADOW_USER || m.runs_kernel;
}

static bool is_allowed_leaf(const struct model_vcpu *v, unsigned root, unsigned page, uint64_t leaf)
{
    const bool writable = leaf & PTE_W, executable = !(leaf & PTE_NX);
    const bool wp = root == SHADOW_USER || (v->paging.cr0 & CR0_WP);
    if (mode_now(v) == MODE_LONG && (page_linear(v, page) >> 39 & 511) == 260)
        return false;
    for (unsigned i = 0; i < v->records[page]; i++) {
        const struct record *r = &v->record[page][i];
        if (r->frame == (leaf & PTE_ADDRESS) && (root == SHADOW_KERNEL || (r->perms & PTE_U)) &&
            (!executable || (runs(root) && !(r->perms & PTE_NX))) &&
            (!writable || (r->dirty && ((r->perms & PTE_W) || !wp))))
            return true;
    }
    return false;
}

/* --- the CPU --- */

static uint64_t at_page(uint64_t leaf, bool large, uint64_t linear)
{
    return large ? (leaf & ~PTE_PS) | (linear % PAGE_SIZE_2M & ~(PAGE_SIZE - 1)) : leaf;
}

/* Walks the shadow; 0: not mapped. *table: of level 1. */
static uint64_t walk_shadow(const struct model_vcpu *v, unsigned root, uint64_t linear, bool *large,
                            uint64_t *table)
{
    uint64_t at = v->cpu.root[root].v;
    *large = false;
    *table = 0;
    for (unsigned level = 4;; level--) {
        const uint64_t *entries = hpa_to_ptr(hpa(at & PTE_ADDRESS));
        const uint64_t entry = entries[linear >> (12 + 9 * (level - 1)) & 511];
        demand((entry & PTE_P) || entry == 0); /* L1TF: no address where nothing is present */
        if (entry == 0)
            return 0;
        demand((entry & (PTE_U | PTE_A)) == (PTE_U | PTE_A));
        *large = level == 2 && (entry & PTE_PS);
        if (level == 1 || *large)
            return at_page(entry, *large, linear);
        *table = level == 2 ? entry & PTE_ADDRESS : 0;
        at = entry;
    }
}

static void cpu_flush(struct model_vcpu *v)
{
    memset(v->cache, 0, sizeof(v->cache));
}

/* INVLPG: the page, and all of the paging-structure cache. */
static void model_invlpg(struct model_vcpu *v, uint64_t linear)
{
    for (unsigned root = 0; root < SHADOW_ROOTS; root++)
        for (unsigned page = 0; page < PAGES; page++) {
            struct cached *c = &v->cache[root][page];
            const uint64_t differs = page_linear(v, page) ^ linear;
            if (differs < (c->large ? PAGE_SIZE_2M : PAGE_SIZE))
                c->leaf = 0;
            c->table = 0;
        }
}

static void cpu_enter(struct model_vcpu *v)
{
    if (!v->running && shadow_enter(&v->cpu)) {
        demand(v->cpu.stales == 0);
        cpu_flush(v);
    }
    while (v->cpu.stales != 0)
        model_invlpg(v, v->cpu.stale[--v->cpu.stales]);
    v->running = true;
}

static void cpu_leave(struct model_vcpu *v)
{
    if (v->running)
        shadow_leave(&v->cpu);
    v->running = false;
}

static void kick_others(const struct model_vcpu *self)
{
    for (unsigned i = 0; i < VCPUS; i++)
        if (&m.vcpu[i] != self && m.vcpu[i].running) {
            cpu_leave(&m.vcpu[i]);
            cpu_enter(&m.vcpu[i]);
        }
}

/* The leaf by what the paging-structure cache has. */
static uint64_t through_table(const struct model_vcpu *v, const struct cached *c, unsigned page)
{
    const uint64_t *table = hpa_to_ptr(hpa(c->table));
    return c->table != 0 ? table[page_linear(v, page) >> 12 & 511] : 0;
}

/* What the CPU makes of an access: the leaf, or 0, a fault. */
static uint64_t cpu_access(struct model_vcpu *v, unsigned root, unsigned page,
                           enum walk_access access)
{
    struct cached *c = &v->cache[root][page];
    const uint64_t linear = page_linear(v, page);
    uint64_t leaf = c->leaf;
    if (leaf != 0 && chance(70)) {
        m.tlb_hits++;
    } else if (c->table != 0 && chance(70)) {
        leaf = through_table(v, c, page);
        if (leaf != 0) { /* nothing of a fault is cached */
            c->leaf = leaf;
            c->large = false;
        }
    } else {
        uint64_t table;
        bool large;
        leaf = walk_shadow(v, root, linear, &large, &table);
        if (leaf != 0) {
            c->leaf = leaf;
            c->large = large;
        }
        if (table != 0)
            c->table = table;
    }
    if (leaf != 0)
        demand(is_allowed_leaf(v, root, page, leaf));
    if (leaf != 0 && (access != WALK_WRITE || (leaf & PTE_W)) &&
        (access != WALK_FETCH || !(leaf & PTE_NX)))
        return leaf;
    model_invlpg(v, linear); /* a page fault does that */
    return 0;
}

/* --- what happens --- */

static bool look(void *ctx, enum shadow_root root, gva_t linear, struct guest_translation *out)
{
    const struct model_vcpu *v = ctx;
    (void)root;
    return guestwalk_look(&m.mem, &v->paging, linear, out);
}

static uint64_t top(void *ctx, enum shadow_root root, gva_t linear)
{
    const struct model_vcpu *v = ctx;
    (void)root;
    return guestwalk_top(&m.mem, &v->paging, linear);
}

/* Who runs a kernel as it is, knows when that writes to its tables. Those on the way are of levels
 * 3 to 1; others than table_gpa() gives are data, which anybody writes. */
static bool table(void *ctx, enum shadow_root root, gva_t linear, struct shadow_table *out)
{
    const struct model_vcpu *v = ctx;
    uint64_t at = v->paging.cr3 & PTE_ADDRESS, all = UINT64_MAX, any = 0;
    (void)root;
    out->written = 0;
    for (unsigned shift = 39;; shift -= 9) {
        const uint64_t number = (at - TABLES_GPA) / PAGE_SIZE;
        const uint64_t *entries = guestmem_window(&m.mem, gpa(at), PAGE_SIZE);
        if (entries == NULL)
            return false;
        if (shift < 39 && (number >= MODEL_TABLES || m.written[number] > out->written))
            out->written = number >= MODEL_TABLES ? UINT64_MAX : m.written[number];
        out->entry = entries;
        out->perms = (all & ~PTE_NX) | (any & PTE_NX);
        if (shift == 12)
            return true;
        const uint64_t entry = entries[linear.v >> shift & 511];
        if ((entry & PTE_P) == 0 || (shift < 39 && (entry & PTE_PS) != 0))
            return false;
        all &= entry;
        any |= entry;
        at = entry & PTE_ADDRESS;
    }
}

static uint64_t random_flags(void)
{
    return (chance(98) ? PTE_P : 0) | (chance(70) ? PTE_W : 0) | (chance(70) ? PTE_U : 0) |
           (chance(50) ? PTE_A : 0) | (chance(50) ? PTE_D : 0) | (chance(40) ? PTE_G : 0);
}

static uint64_t random_page(void)
{
    static const uint64_t page[] = {0x40000,  0x41000,  0x42000,  0x43000,  ROM_GPA,  0xa0000,
                                    0x200000, 0x201000, 0x203000, 0x400000, 0x800000, 0x803000};
    return chance(97) ? page[choose(12)] : table_gpa(choose(13));
}

static uint64_t random_entry(unsigned level)
{
    const bool wide = m.mode != MODE_32;
    uint64_t flags = random_flags();
    if (wide && chance(20))
        flags |= PTE_NX;
    if (level == 4)
        return (flags & ~PTE_G) | table_gpa(2 + choose(3));
    if (level == 3 && m.mode == MODE_LONG && chance(10))
        return flags | PTE_PS;
    if (level == 3)
        return (flags & ~PTE_G) | table_gpa(5 + choose(3));
    if (level == 2 && chance(35))
        return flags | PTE_PS | choose(5) * (wide ? 2 : 4) * MIB;
    if (level == 2)
        return (flags & ~PTE_G) | table_gpa(8 + choose(5));
    return flags | random_page();
}

/* Which entry of which table; *level: what it is. */
static void *random_place(unsigned *level)
{
    static const unsigned low[] = {0, 1, 3}, slots[] = {0, 255, 300, 511, 260};
    static const unsigned legacy[] = {0, 1, 768, 769}, halves[] = {0, 1, 3, 512, 513, 515};
    *level = 1 + choose(m.mode == MODE_LONG ? 4 : m.mode == MODE_PAE ? 3 : 2);
    if (m.mode == MODE_32)
        return *level == 2 ? (uint32_t *)ram(table_gpa(choose(2))) + legacy[choose(4)]
                           : (uint32_t *)ram(table_gpa(8 + choose(5))) + halves[choose(6)];
    if (*level == 4)
        return (uint64_t *)ram(table_gpa(choose(2))) + slots[choose(5)];
    if (*level == 3)
        return m.mode == MODE_LONG ? (uint64_t *)ram(table_gpa(2 + choose(3))) + choose(2)
                                   : (uint64_t *)ram(table_gpa(choose(2))) + choose(2) * 3;
    if (*level == 2)
        return (uint64_t *)ram(table_gpa(5 + choose(3))) + choose(3);
    return (uint64_t *)ram(table_gpa(8 + choose(5))) + low[choose(3)];
}

/* An entry on the way to an address that is much in use; NULL: it is not in the usual mode. */
static void *place_on_the_way(unsigned *level)
{
    const struct model_vcpu *v = &m.vcpu[choose(VCPUS)];
    const uint64_t linear = page_linear(v, some_page());
    const unsigned stop = 1 + choose(chance(60) ? 1 : 4);
    unsigned bits = m.mode == MODE_32 ? 10 : 9;
    uint64_t table = v->paging.cr3;
    if (mode_now(v) != m.mode)
        return NULL;
    *level = m.mode == MODE_LONG ? 4 : m.mode == MODE_PAE ? 3 : 2;
    for (;; --*level) {
        const uint64_t index = linear >> (12 + bits * (*level - 1)) & ((1u << bits) - 1);
        uint8_t *at = guestmem_window(&m.mem, gpa(table & 0xffffff000), PAGE_SIZE);
        if (at == NULL)
            return NULL;
        at += index * (bits == 10 ? 4 : 8);
        const uint64_t entry = bits == 10 ? *(uint32_t *)(void *)at : *(uint64_t *)(void *)at;
        if (*level <= stop || !(entry & PTE_P) || (*level < 4 && (entry & PTE_PS)))
            return at;
        table = entry;
    }
}

/* anew: before anything runs. */
static void write_entry(bool anew)
{
    unsigned level;
    void *at = !anew && chance(75) ? place_on_the_way(&level) : random_place(&level);
    if (at == NULL)
        return;
    uint64_t entry;
    if (m.mode == MODE_32)
        entry = *(uint32_t *)at;
    else
        entry = *(uint64_t *)at;
    if (anew || chance(50))
        entry = random_entry(level);
    else
        entry ^= (uint64_t[]){PTE_A,
                              PTE_D,
                              PTE_W,
                              PTE_U,
                              PTE_G,
                              PTE_P,
                              m.mode == MODE_32 ? PTE_G : PTE_NX}[choose(level > 1 ? 4 : 7)];
    if (m.mode == MODE_PAE && level == 3)
        entry &= PTE_ADDRESS | PTE_P;
    if (m.mode == MODE_32)
        *(uint32_t *)at = (uint32_t)entry;
    else
        *(uint64_t *)at = entry;
    const uint64_t number = (uint64_t)((uint8_t *)at - (uint8_t *)ram(TABLES_GPA)) / PAGE_SIZE;
    demand(number < MODEL_TABLES);
    m.written[number] = m.shadow->clock + 1;
    if (!anew)
        record_all();
}

static void load_pdptes(struct model_vcpu *v)
{
    if (mode_now(v) == MODE_PAE)
        memcpy(v->pdpte, ram(v->paging.cr3), sizeof(v->pdpte));
}

static void do_switch(struct model_vcpu *v, enum shadow_flush flush)
{
    const bool all = ((v->paging.cr4 ^ v->cr4) & CR4_PGE) || mode_now(v) != v->mode;
    v->cr4 = v->paging.cr4;
    v->mode = mode_now(v);
    cpu_leave(v);
    load_pdptes(v);
    shadow_switch(&v->cpu, v->paging.cr0, v->paging.cr4, v->paging.efer, flush);
    if (flush != SHADOW_FLUSH_NONE || all)
        forget(v, true, flush == SHADOW_FLUSH_ALL || all, 0);
    record_all();
    cpu_enter(v);
    if (chance(50))
        cpu_leave(v);
}

static void move_to_cr3(struct model_vcpu *v)
{
    v->paging.cr3 = table_gpa(choose(2));
    do_switch(v, SHADOW_FLUSH_LOCAL);
}

static void change_regime(struct model_vcpu *v)
{
    switch (choose(8)) {
    case 0: v->paging.cr4 ^= CR4_PGE; break;
    case 4: /* as kernels do to flush global pages */
        v->paging.cr4 ^= CR4_PGE;
        do_switch(v, SHADOW_FLUSH_NONE);
        v->paging.cr4 ^= CR4_PGE;
        break;
    case 1:
        if (m.mode != MODE_32)
            v->paging.efer ^= EFER_NXE;
        break;
    case 2: v->paging.cr4 ^= CR4_PSE; break;
    case 3:
        v->paging.cr0 ^= CR0_PG; /* long mode and all */
        v->paging.efer &= ~EFER_LMA;
        if (m.mode == MODE_LONG && (v->paging.cr0 & CR0_PG))
            v->paging.efer |= EFER_LMA;
        break;
    default: v->paging.cr0 ^= CR0_WP;
    }
    do_switch(v, SHADOW_FLUSH_NONE);
}

static void invalidate(struct model_vcpu *v, unsigned page)
{
    const uint64_t linear = page_linear(v, page);
    cpu_leave(v);
    shadow_invalidate(&v->cpu, gva(linear));
    model_invlpg(v, linear);
    forget(v, false, true, linear);
}

static void something_elsewhere(const struct model_vcpu *self)
{
    struct model_vcpu *other = &m.vcpu[(self - m.vcpu + 1) % VCPUS];
    write_entry(false);
    if (chance(50))
        invalidate(other, choose(PAGES));
    else
        move_to_cr3(other);
}

/* What must come of filling, said anew. */
static void check_filled(const struct model_vcpu *v, unsigned root, uint64_t linear, bool write,
                         const struct guest_translation *t)
{
    uint64_t table;
    bool large;
    hpa_t frame;
    const uint64_t leaf = walk_shadow(v, root, linear, &large, &table);
    demand(shadow_frame(&m.mem, t->at, false, &frame));
    demand((leaf & PTE_ADDRESS) == frame.v);
    demand(((leaf & PTE_W) != 0) == write);
    demand(((leaf & PTE_NX) != 0) == (!runs(root) || (t->perms & PTE_NX)));
    demand(!large || t->bytes >= PAGE_SIZE_2M);
    if (mode_now(v) != MODE_LONG)
        demand(walk_shadow(v, root, linear + (4ull << 30), &large, &table) == leaf);
}

/* One access to a page, until it is done, refused, or the software CPU's. */
static void touch(struct model_vcpu *v, unsigned page, enum walk_access access, unsigned root)
{
    const uint64_t linear = page_linear(v, page);
    const bool write = access == WALK_WRITE;
    m.touched++;
    for (unsigned tries = 0;; tries++) {
        demand(tries < 50);
        cpu_enter(v);
        const uint64_t leaf = cpu_access(v, root, page, access);
        if (leaf != 0)
            return;
        cpu_leave(v);
        struct guest_translation t;
        uint32_t error;
        const uint64_t version = shadow_version(&v->cpu);
        v->paging.cpl = root == SHADOW_USER ? 3 : 0;
        const bool mapped = guestwalk_examine(&m.mem, &v->paging, gva(linear), access, &t, &error);
        record_all();
        if (!mapped) {
            m.faulted++;
            invalidate(v, page);
            return;
        }
        const bool late = tries == 0 && chance(3);
        if (late)
            something_elsewhere(v);
        const enum shadow_result result =
            shadow_fill(&v->cpu, (enum shadow_root)root, gva(linear), write, &t, version);
        const uint8_t *code = shadow_code_byte(m.shadow, t.at);
        demand(!late || result == SHADOW_WALK);
        switch (result) {
        case SHADOW_DONE: check_filled(v, root, linear, write, &t); continue;
        case SHADOW_WALK:
            demand(late);
            m.walked_again++;
            continue;
        case SHADOW_AGAIN: continue;
        case SHADOW_WAIT:
            m.waited++;
            kick_others(v);
            continue;
        case SHADOW_CODE:
            demand(write && (*code & SHADOW_HAS_CODE));
            m.stopped_by_code++;
            return;
        case SHADOW_EMULATE:
            demand(code == NULL || (write && !guestmem_is_writable(&m.mem, t.at)) ||
                   (mode_now(v) == MODE_LONG && (linear >> 39 & 511) == 260));
            m.emulated++;
            return;
        }
    }
}

/* No CPU that runs can write to a page with code, by whatever it has cached. */
static void check_code(uint64_t at)
{
    hpa_t frame;
    demand(shadow_frame(&m.mem, gpa(at), false, &frame));
    for (unsigned i = 0; i < VCPUS; i++) {
        struct model_vcpu *v = &m.vcpu[i];
        for (unsigned root = 0; root < SHADOW_ROOTS && v->running; root++)
            for (unsigned page = 0; page < PAGES; page++) {
                const struct cached *c = &v->cache[root][page];
                const uint64_t by_table = through_table(v, c, page);
                demand((c->leaf & PTE_ADDRESS) != frame.v || !(c->leaf & PTE_W));
                demand((by_table & PTE_ADDRESS) != frame.v || !(by_table & PTE_W));
            }
    }
}

static void add_code(struct model_vcpu *v)
{
    const uint64_t at = random_page();
    cpu_leave(v);
    for (unsigned tries = 0;; tries++) {
        demand(tries < 50);
        const enum shadow_result result = shadow_code_add(m.shadow, gpa(at));
        if (result == SHADOW_EMULATE) {
            demand(guestmem_slot(&m.mem, gpa(at)) == NULL);
            return;
        }
        if (result == SHADOW_DONE)
            break;
        if (result == SHADOW_WAIT)
            kick_others(v);
    }
    check_code(at);
}

/* ROM becomes RAM, or RAM ROM. */
static void change_memory(void)
{
    const struct guestmem_slot *rom = guestmem_slot(&m.mem, gpa(ROM_GPA));
    guestmem_replace(&m.mem, gpa(ROM_GPA), guestmem_slot_host(rom),
                     guestmem_slot_writable(rom) != NULL);
    shadow_drop_all(m.shadow);
    kick_others(NULL);
    demand(shadow_is_settled(m.shadow));
}

static void check_all(void)
{
    for (unsigned i = 0; i < VCPUS; i++) {
        const struct model_vcpu *v = &m.vcpu[i];
        for (unsigned root = 0; root < SHADOW_ROOTS; root++)
            for (unsigned page = 0; page < PAGES; page++) {
                uint64_t table;
                bool large;
                const uint64_t leaf = walk_shadow(v, root, page_linear(v, page), &large, &table);
                demand(leaf == 0 || is_allowed_leaf(v, root, page, leaf));
                if (!v->running) /* it asks whether to forget when it enters */
                    continue;
                const struct cached *c = &v->cache[root][page];
                const uint64_t by_table = through_table(v, c, page);
                demand(c->leaf == 0 || is_allowed_leaf(v, root, page, c->leaf));
                demand(by_table == 0 || is_allowed_leaf(v, root, page, by_table));
            }
    }
}

static void step(void)
{
    struct model_vcpu *v = &m.vcpu[choose(VCPUS)];
    const unsigned page = some_page(), what = choose(100);
    if (what < 15)
        write_entry(false);
    else if (what < 45)
        touch(v, page, (enum walk_access)choose(3), SHADOW_USER);
    else if (what < 80)
        touch(v, page, (enum walk_access)choose(m.runs_kernel ? 3 : 2), SHADOW_KERNEL);
    else if (what < 84)
        invalidate(v, page);
    else if (what < 89)
        move_to_cr3(v);
    else if (what < 92)
        change_regime(v);
    else if (what < 94)
        add_code(v);
    else if (what < 97)
        shadow_code_remove(m.shadow, gpa(random_page()));
    else if (what < 98)
        change_memory();
    else
        cpu_leave(v);
    check_all();
}

/* --- beginning and end --- */

static void add_ram(uint64_t base, uint64_t bytes, uint64_t frame)
{
    demand(guestmem_add(&m.mem, gpa(base), bytes, hpa_to_ptr(hpa(frame))) == OK);
}

static void model_begin(unsigned mode, uint64_t limit)
{
    if (m.arena == NULL)
        m.arena = aligned_alloc(PAGE_SIZE_2M, ARENA);
    demand(m.arena != NULL);
    physmap_base = (uint64_t)(uintptr_t)m.arena;
    memset(hpa_to_ptr(hpa(RAM_HPA)), 0, RAM_BYTES);
    const struct page_range range = {POOL_BASE, (POOL_END - POOL_BASE) / PAGE_SIZE};
    demand(page_alloc_init(&range, 1) == OK);
    memset(&m.mem, 0, sizeof(m.mem));
    add_ram(0, RAM_BYTES, RAM_HPA);
    add_ram(ROM_GPA, 0x10000, RAM_HPA + RAM_BYTES);
    add_ram(2 * MIB, 4 * MIB, HIGH_HPA);
    add_ram(8 * MIB, 4 * MIB, ODD_HPA);
    guestmem_replace(&m.mem, gpa(ROM_GPA), hpa_to_ptr(hpa(RAM_HPA + RAM_BYTES)), true);
    demand(shadow_create(&m.mem, limit, &m.shadow) == OK);
    m.shadow->runs_kernel = m.runs_kernel;
    m.mode = mode;
    hpa_t host;
    demand(page_alloc(1, 1, &host) == OK);
    for (unsigned i = 0; i < VCPUS; i++) {
        struct model_vcpu *v = &m.vcpu[i];
        memset(v, 0, sizeof(*v));
        v->paging = (struct guest_paging){
            .cr0 = CR0_PE | CR0_PG | CR0_WP,
            .cr3 = table_gpa(0),
            .cr4 = CR4_PGE | (mode == MODE_32 ? CR4_PSE : CR4_PAE),
            .efer = mode == MODE_LONG  ? EFER_LMA | EFER_LME | EFER_NXE
                    : mode == MODE_PAE ? EFER_NXE
                                       : 0,
            .phys_bits = 36,
            .pdpte = v->pdpte,
        };
        const struct shadow_guest guest = {
            .translate = look, .top = top, .table = m.runs_kernel ? table : NULL, .ctx = v};
        demand(shadow_cpu_create(&v->cpu, m.shadow, i, host, 0, &guest) == OK);
        do_switch(v, SHADOW_FLUSH_ALL);
    }
    page_free(host, 1);
}

static void model_end(void)
{
    for (unsigned i = 0; i < VCPUS; i++) {
        cpu_leave(&m.vcpu[i]);
        shadow_cpu_destroy(&m.vcpu[i].cpu, i);
    }
    const char *wrong = shadow_check(m.shadow, NULL);
    if (wrong != NULL)
        fprintf(stderr, "%s\n", wrong);
    demand(wrong == NULL);
    shadow_destroy(m.shadow);
    demand(page_alloc_used_by_hypervisor() == 0);
}

static void check_structure(void)
{
    demand(shadow_check_exit(&m.vcpu[0].cpu, NULL) == NULL);
    const char *wrong = shadow_check(m.shadow, NULL);
    if (wrong != NULL)
        fprintf(stderr, "%s\n", wrong);
    demand(wrong == NULL);
}
