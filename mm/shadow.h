/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow page tables: what the CPU itself walks while a guest runs without EPT. They lead from a
 * guest's linear addresses to the frames of its RAM, and are kept as a TLB is kept: an entry is
 * made when a fault asks for it, of what the guest's tables say then, and has to be right again
 * only where the guest flushes (SDM, "Invalidation of TLBs and Paging-Structure Caches"). Nobody
 * looks at what the guest writes to its tables.
 *
 * Each vCPU has two roots, both run at CPL 3. SHADOW_KERNEL is for the guest's kernel: all that it
 * maps, for user code and not, writable as the kernel finds it (CR0.WP). It is never executable
 * where the kernel's code is translated elsewhere, and as the guest says where that runs as it is
 * (runs_kernel). SHADOW_USER is for code at the guest's CPL 3: user pages alone, writable and
 * executable as the guest says. The hypervisor is in both, out of CPL 3's reach, in
 * entries 256 to 271; what the guest maps there is not.
 *
 * Below the roots lie subtrees, which all vCPUs of a VM share: one for each top-level entry of the
 * guest's (a PML4E, a PDPTE register, or a quarter of what CR3 stands for), with the bits of CR0,
 * CR4 and EFER that a walk goes by. They are kept when a root loses them: kernels give the same
 * entry to each process, and processes come back. The guest's flushes catch up with a subtree when
 * a vCPU takes it up: bring_up_to_date() in shadow.c.
 *
 * A page is writable here only after a write, which has set D in the guest's entry. What is no RAM
 * is not mapped, and ROM not writable: an access to it is the software CPU's. Memory is write-back
 * whatever the guest's PAT says, as under EPT (vmx/ept.h): the hypervisor has the same frames
 * mapped as that, too.
 *
 * The code map has a byte for each page of guest memory. A page with translated code is not
 * writable in any root, so that a write to it is noticed.
 */
#pragma once

#include "arch/spinlock.h"
#include "arch/status.h"
#include "mm/guest_translation.h"
#include "mm/guestmem.h"

#include <stdbool.h>

#define SHADOW_MAX_CPUS     64
#define SHADOW_MAX_SUBTREES 512
#define SHADOW_NOTED        64 /* leaves, and pages, until an exit is checked */
#define SHADOW_STALE        16
#define SHADOW_SLOTS        516 /* 512 of a PML4, and four GiB of what is not in long mode */

enum shadow_root { SHADOW_KERNEL, SHADOW_USER, SHADOW_ROOTS };

enum shadow_result {
    SHADOW_DONE,
    SHADOW_WALK,    /* another vCPU has flushed meanwhile: walk the guest's tables again */
    SHADOW_AGAIN,   /* part of some longer work is done: look at what else waits, and call again */
    SHADOW_WAIT,    /* a vCPU may go by what has been taken away: kick those that run, so that
                     * they leave and enter, and call again */
    SHADOW_CODE,    /* a write to a page with translated code (shadow_code_remove()) */
    SHADOW_EMULATE, /* no RAM, or ROM to be written: the software CPU carries the access out */
};

/* What the guest flushes. */
enum shadow_flush { SHADOW_FLUSH_NONE, SHADOW_FLUSH_LOCAL, SHADOW_FLUSH_ALL };

/* Bits of the code map. */
enum shadow_code {
    SHADOW_HAS_CODE = 1,
    SHADOW_MAY_BE_WRITABLE = 2, /* a CPU may have it writable: some leaf, or its TLB */
};

struct shadow_table;

/* The guest's page tables as one vCPU has them, by which one root goes: they may be others for
 * each. Called with the shadow's lock held. */
struct shadow_guest {
    /* What they say now of a linear address. No flag in them is set. False: not mapped. */
    bool (*translate)(void *ctx, enum shadow_root root, gva_t linear,
                      struct guest_translation *out);
    /* guest_translation.top of a linear address, whatever it leads to. */
    uint64_t (*top)(void *ctx, enum shadow_root root, gva_t linear);
    /* For who knows when the guest's tables are written; else NULL. The table with the entries of
     * level 1 for an address. False: there is none, as nothing is mapped or a larger page is. */
    bool (*table)(void *ctx, enum shadow_root root, gva_t linear, struct shadow_table *out);
    void *ctx;
};

struct shadow_table {
    const uint64_t *entry; /* 512, in guest memory: each is read once */
    uint64_t perms;        /* of those above: PTE_W, PTE_U, PTE_A, where all have it; PTE_NX */
    /* shadow.clock when this table, or one on the way there, may have been written last, plus 1;
     * UINT64_MAX: at any time. */
    uint64_t written;
};

/* One top-level entry's part of the shadow. */
struct shadow_subtree {
    uint64_t top;                    /* with regime, root and slot: the key */
    hpa_t table;                     /* 0: free */
    uint64_t verified, verified_all; /* shadow.clock: when the leaves but global ones, and all of
                                      * them, were last what the guest's tables say */
    uint32_t serial;                 /* shadow.serial of the slot, up to which it is right */
    uint16_t slot, next;             /* next: of the same hash, plus 1 */
    uint16_t users;                  /* roots that it is in */
    uint8_t regime, root, level;
    bool shared;     /* others than maker have taken it up, too */
    bool has_global; /* a leaf of the guest's global pages has been put there */
    const struct shadow_cpu *maker;
};

struct shadow_stats {
    uint64_t fills, verified, kept, dropped_all, sweeps;
};

/* A list of table pages, by page numbers; 0: none. */
struct shadow_list {
    uint32_t first;
};

struct shadow {
    struct spinlock lock;
    const struct guestmem *mem;
    bool runs_kernel; /* the guest's kernel is run as it is: set before the first vCPU is made */
    struct shadow_cpu *cpu[SHADOW_MAX_CPUS];
    struct shadow_stats stats;
    uint64_t epoch;   /* what is taken away for each CPU makes it rise: shadow_enter(); atomic */
    uint64_t version; /* changes with each flush of the guest: shadow_fill(); atomic */
    uint64_t clock;   /* flushes of the guest but INVLPGs, counted; atomic */
    uint64_t changes; /* entries that were taken away, or have become others', counted */
    uint64_t fills;   /* leaves that were put there, counted before each is; atomic */
    uint32_t serial[SHADOW_SLOTS]; /* INVLPGs in that slot, counted */

    struct shadow_subtree subtree[SHADOW_MAX_SUBTREES];
    uint16_t hash[256]; /* the first subtree of each, plus 1 */
    uint16_t hand;      /* where the search for a free one begins */

    /* shadow_pool.c. Pages come in chunks of 2 MiB, the first of which describes the others. */
    uint32_t chunks,
        next_fresh;             /* page numbers: the list of chunks; the next never used; 0: none */
    uint64_t taken, limit;      /* pages */
    struct shadow_list free;    /* nobody uses them, with all that lies below */
    struct shadow_list pending; /* so once all CPUs have seen pending_epoch */
    struct shadow_list limbo;   /* taken away since */
    uint64_t pending_epoch;
    uint32_t spare[3]; /* for one fill */
    unsigned spares;

    /* shadow_code.c */
    uint8_t *code[GUESTMEM_MAX_SLOTS]; /* by guestmem's slots */
    uint64_t pages[GUESTMEM_MAX_SLOTS];
    struct {
        bool active;
        uint32_t chunk, index; /* tables to come */
        uint32_t slot;         /* behind the tables: the map */
        uint64_t page;
    } sweep;
    uint64_t sweep_epoch;

    /* What shadow_check_exit() is to look at; a number above SHADOW_NOTED: at all. */
    struct {
        uint64_t exits;
        unsigned leaves, pages;
        struct {
            uint64_t linear;
            uint16_t subtree;
        } leaf[SHADOW_NOTED];
        gpa_t page[SHADOW_NOTED]; /* that have got code */
    } news;
};

/* A vCPU's part. */
struct shadow_cpu {
    struct shadow *shadow;
    struct shadow_guest guest;
    hpa_t root[SHADOW_ROOTS];      /* for CR3 */
    hpa_t low[SHADOW_ROOTS];       /* the table of the lowest 512 GiB, while not in long mode */
    uint64_t running, seen;        /* atomic: shadow_enter() */
    uint64_t flushed, flushed_all; /* shadow.clock of its last flushes; flushed_all: atomic */
    bool flush;                    /* before the next entry, the host's TLB */
    uint64_t changes;              /* shadow.changes that the host's TLB has followed, or will */
    uint64_t stale[SHADOW_STALE];  /* addresses that it is to drop before the next entry */
    uint64_t fills;                /* shadow.fills when the first of them was noted */
    unsigned stales;
    uint8_t regime;
    uint16_t window; /* entry of SHADOW_KERNEL with what CPL 3 may reach; 0: none */
    uint16_t attached[SHADOW_ROOTS][SHADOW_SLOTS];      /* subtree, plus 1 */
    uint64_t used[SHADOW_ROOTS][SHADOW_SLOTS / 64 + 1]; /* slots with one; bits */
};

/* For a VM whose memory is complete: slots of mem change no more but by
 * guestmem_replace(). limit: of table pages; 0: a 64th of RAM, and 2 MiB. All is given back by
 * destroy(), after the vCPUs are destroyed. ERR_NO_MEMORY. */
enum status shadow_create(const struct guestmem *mem, uint64_t limit, struct shadow **out);
void shadow_destroy(struct shadow *shadow);

/* number: below SHADOW_MAX_CPUS. host_root: the tables of which entries 256 to 271 are copied;
 * window: which of these has pages for CPL 3, and is in SHADOW_KERNEL alone, or 0. The vCPU is as
 * after reset: paging is off. */
enum status shadow_cpu_create(struct shadow_cpu *cpu, struct shadow *shadow, unsigned number,
                              hpa_t host_root, unsigned window, const struct shadow_guest *guest);
void shadow_cpu_destroy(struct shadow_cpu *cpu, unsigned number);

/* Around each stretch in which guest code may run in one of the roots, on the vCPU's own CPU with
 * interrupts off. All else here is called by it outside. True: all translations but the
 * hypervisor's have to be dropped before the guest runs, of both roots. False: those of the
 * addresses in stale[], each by an INVLPG, and then there are none in it any more; but again all,
 * where shadow_stale_is_all() is false behind these.
 *
 * The race, at both ends: CPU A takes a subtree from its root, and notes the leaves that it has.
 * CPU B, in whose root it still is, puts another one there. Until its first INVLPG, A may still
 * have the way to the subtree in its paging-structure caches, and walk to that leaf on its own
 * account (SDM, "Details of TLB Use"): its guest could go by it then, in another address space. */
static inline bool shadow_enter(struct shadow_cpu *cpu)
{
    __atomic_store_n(&cpu->running, 1, __ATOMIC_SEQ_CST);
    const uint64_t epoch = __atomic_load_n(&cpu->shadow->epoch, __ATOMIC_SEQ_CST);
    const bool flush = cpu->flush || epoch != cpu->seen;
    cpu->flush = false;
    if (flush)
        cpu->stales = 0;
    __atomic_store_n(&cpu->seen, epoch, __ATOMIC_RELEASE);
    return flush;
}
static inline bool shadow_stale_is_all(const struct shadow_cpu *cpu)
{
    return __atomic_load_n(&cpu->shadow->fills, __ATOMIC_ACQUIRE) == cpu->fills;
}

static inline void shadow_leave(struct shadow_cpu *cpu)
{
    __atomic_store_n(&cpu->running, 0, __ATOMIC_RELEASE);
}

/* Whether no vCPU runs by what was taken away before this call. */
bool shadow_is_settled(struct shadow *shadow);

/* MOV to CR3, and each change of CR0.PG, WP, CR4.PAE, PSE, PGE, EFER.NXE, LMA, with the new values;
 * guest.top() and translate() go by them already. What the CPU flushes then: a MOV to CR3 all but
 * global pages; a change of paging mode or of PGE all, whatever flush says. */
void shadow_switch(struct shadow_cpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer,
                   enum shadow_flush flush);

/* INVLPG, and what a page fault does that the guest gets: drops what there is of the page of that
 * address. The caller does the same with the host's TLB, outside of long mode at that address plus
 * 4 GiB as well; where more has to go, shadow_enter() says so. */
void shadow_invalidate(struct shadow_cpu *cpu, gva_t linear);

/* After a fault that the guest's tables do not account for: maps the page as they say, by *t, the
 * result of a walk that has set A, and for a write D, and has allowed the access. version: what
 * shadow_version() was before that walk. */
uint64_t shadow_version(const struct shadow_cpu *cpu);
enum shadow_result shadow_fill(struct shadow_cpu *cpu, enum shadow_root root, gva_t linear,
                               bool write, const struct guest_translation *t, uint64_t version);

/* Guest memory has become another's, or read-only; A20 has changed: everything goes. What was true
 * before is no more once shadow_is_settled(). */
void shadow_drop_all(struct shadow *shadow);

/* From SHADOW_DONE on the page at is writable for no vCPU: code in it may be translated now. May
 * be called again for a page that has code. SHADOW_EMULATE: not RAM. */
enum shadow_result shadow_code_add(struct shadow *shadow, gpa_t at);
/* Its translations are gone: it may become writable again. */
void shadow_code_remove(struct shadow *shadow, gpa_t at);
/* The byte of a page in the code map; NULL: not RAM. Bits 2 to 7 are the translator's own. */
uint8_t *shadow_code_byte(const struct shadow *shadow, gpa_t at);

/* Where something is that must not be: in which root, at which linear address, and its entry. */
struct shadow_place {
    enum shadow_root root;
    uint64_t linear, entry;
};

/* Walks all of it: no leaf for CPL 3 but to guest memory, none writable that is ROM or has
 * translated code, none executable under SHADOW_KERNEL, the hypervisor's entries out of CPL 3's
 * reach, all table pages accounted for. NULL, or what is wrong; *where (may be NULL) then: zeros
 * where it has no place. With the lock held, or before others have the shadow. */
const char *shadow_check(const struct shadow *shadow, struct shadow_place *where);

/* `make check-entry` builds with 1: shadow_check_exit() is then called after each exit. */
#ifndef CHECK_EXIT
#define CHECK_EXIT 0
#endif

/* After guest code has run in a root of that vCPU's, with CHECK_EXIT: looks at the leaves that have
 * been put there since the last look, of all vCPUs; for leaves to pages that have got code since;
 * at the hypervisor's entries in the vCPU's roots; and, where there is more than is noted, and each
 * SHADOW_CHECK_ALL exits, at all. As shadow_check(). */
#define SHADOW_CHECK_ALL 4096
const char *shadow_check_exit(struct shadow_cpu *cpu, struct shadow_place *where);
