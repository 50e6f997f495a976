/* SPDX-License-Identifier: BSD-2-Clause */
/* A domain's linear memory: by its kernel's page tables for the hypervisor, and by the shadow of
 * those and its user code's for the processor. */
#include "guest/pv/mmu.h"

#include "arch/string.h"
#include "guest/cpu/guestwalk.h"
#include "mm/guestspace.h"
#include "mm/host_paging.h"
#include "mm/page_alloc.h"

#define WINDOW_SLOT (HOST_WINDOW_BASE >> 39 & 511)
#define MAX_WALKS   8 /* for one fault, while other vCPUs flush */

/* Control registers that a walk goes by. The kernel's writes are held to what its tables say. */
#define WALK_CR0  (CR0_PE | CR0_PG | CR0_WP)
#define WALK_CR4  CR4_PAE
#define WALK_EFER (EFER_LME | EFER_LMA | EFER_NXE)

static struct guest_paging paging_of(const struct pv_vcpu *v, enum shadow_root root)
{
    return (struct guest_paging){
        .cr0 = WALK_CR0,
        .cr3 = root == SHADOW_USER ? v->user_cr3 : v->kernel_cr3,
        .cr4 = WALK_CR4,
        .efer = WALK_EFER,
        .cpl = root == SHADOW_USER ? 3 : 0,
        .phys_bits = v->vcpu.phys_bits,
    };
}

/*
 * The upper half of the kernel's address space is the same in all processes, and a kernel that has
 * global pages elsewhere counts on a load of CR3 for none of it. Xen's interface has no global
 * pages: their bit is not in the tables.
 */
static bool is_kernels(enum shadow_root root, gva_t linear)
{
    return root == SHADOW_KERNEL && linear.v >> 63 != 0;
}

static bool look(void *ctx, enum shadow_root root, gva_t linear, struct guest_translation *out)
{
    const struct pv_vcpu *v = ctx;
    const struct guest_paging paging = paging_of(v, root);
    if (paging.cr3 == 0 || !guestwalk_look(&v->vcpu.vm->mem, &paging, linear, out))
        return false;
    out->global = is_kernels(root, linear);
    return true;
}

static uint64_t top(void *ctx, enum shadow_root root, gva_t linear)
{
    const struct pv_vcpu *v = ctx;
    const struct guest_paging paging = paging_of(v, root);
    return paging.cr3 == 0 ? 0 : guestwalk_top(&v->vcpu.vm->mem, &paging, linear);
}

/* Nearly all of a domain's RAM is in one piece. */
static const uint64_t *table_at(const struct pv_vm *own, const struct guestmem *mem, uint64_t at)
{
    return at < own->low_bytes
               ? (const uint64_t *)(const void *)(own->low + index_nospec(at, own->low_bytes))
               : guestmem_window(mem, gpa(at), PAGE_SIZE);
}

/* The top level is not looked at for when it was written: its entry is the subtree's key. */
static bool table(void *ctx, enum shadow_root root, gva_t linear, struct shadow_table *out)
{
    const struct pv_vcpu *v = ctx;
    const struct guestmem *mem = &v->vcpu.vm->mem;
    struct pv_vm *own = pv_vm_of(v);
    uint64_t at = root == SHADOW_USER ? v->user_cr3 : v->kernel_cr3, all = UINT64_MAX, any = 0,
             last = v->has_unknown[root] ? UINT64_MAX : 0;
    for (unsigned shift = 39;; shift -= 9) {
        const uint64_t *entries = table_at(own, mem, at);
        const uint64_t written = shift < 39 ? pv_table_written(own, gpa(at)) : 0;
        last = written > last ? written : last;
        if (at == 0 || entries == NULL)
            return false;
        if (shift == 12) {
            *out = (struct shadow_table){entries, (all & ~PTE_NX) | (any & PTE_NX), last};
            return true;
        }
        const uint64_t entry = __atomic_load_n(&entries[linear.v >> shift & 511], __ATOMIC_RELAXED);
        if ((entry & PTE_P) == 0 || (entry & PTE_PS) != 0)
            return false;
        all &= entry;
        any |= entry;
        at = entry & PTE_ADDRESS;
    }
}

/* --- it comes and goes --- */

/*
 * The array that says for each frame of the machine which one of the domain it is: itself, until
 * the guest says otherwise (XEN_MMU_M2P). The guest reads it (XENMEM_machphys_mapping), nobody
 * else.
 */
static enum status create_m2p(struct pv_vm *own, const struct vm *vm)
{
    const uint64_t frames = vm->domain->pages;
    own->frames = frames;
    own->m2p_pages = own->written_pages = (frames * sizeof(uint64_t) + PAGE_SIZE - 1) / PAGE_SIZE;
    enum status s = page_alloc(own->m2p_pages, 1, &own->m2p);
    if (s == OK)
        s = page_alloc(own->written_pages, 1, &own->written);
    if (s != OK)
        return s;
    uint64_t *entry = hpa_to_ptr(own->m2p);
    for (uint64_t i = 0; i < own->m2p_pages * (PAGE_SIZE / sizeof(uint64_t)); i++)
        entry[i] = i < frames ? i : UINT64_MAX;
    for (uint64_t i = 0; i < own->m2p_pages && s == OK; i++)
        s = host_map_user(vm->root, PV_M2P_BASE + i * PAGE_SIZE, hpa(own->m2p.v + i * PAGE_SIZE),
                          HOST_USER_READ);
    return s;
}

/* Of all vCPUs, those that were not loaded yet, too: the first may send them events, and give them
 * another place, before they have a CPU. */
static void share_info(const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        struct pv_vcpu *v = pv_vcpu(vm->vcpu[i]);
        v->info = &pv_vm(vm)->shared->vcpu[i];
        v->info->mask = 1;
        pv_time_write(vm, &v->info->time);
    }
}

/* What all vCPUs of the VM share: its memory is complete by now. */
static enum status create_vm(struct vm *vm)
{
    struct pv_vm *own = vm->engine_vm;
    const struct vm_domain *domain = vm->domain;
    if (domain == NULL)
        return ERR_UNSUPPORTED;
    enum status s = shadow_create(&vm->mem, 0, &own->shadow);
    if (s != OK)
        return s;
    own->shadow->runs_kernel = true;
    own->shared = guestmem_writable_window(&vm->mem, domain->shared_info, PAGE_SIZE);
    own->console = guestmem_writable_window(&vm->mem, domain->console, PAGE_SIZE);
    own->store = guestmem_writable_window(&vm->mem, domain->store, PAGE_SIZE);
    if (own->shared == NULL || own->console == NULL || own->store == NULL)
        return ERR_BAD_INPUT;
    vm->mem.written_ctx = own;
    vm->domain->drain = pv_console_drain;
    vm->domain->typed = pv_console_typed;
    vm->domain->print = pv_events_print;
    vm_clock_init(&vm->clock, vm->timers.hz, vm->tsc_first_entry);
    pv_clock_write(vm);
    share_info(vm);
    vm->mem.written = pv_memory_written;
    own->low = guestmem_slot_writable(&vm->mem.slot[0]);
    own->low_code = shadow_code_byte(own->shadow, gpa(0));
    own->low_bytes = vm->mem.slot[0].size < domain->pages * PAGE_SIZE ? vm->mem.slot[0].size
                                                                      : domain->pages * PAGE_SIZE;
    s = create_m2p(own, vm);
    if (s == OK)
        pv_tables_begin(own, vm);
    return s;
}

enum status pv_space_create(struct pv_vcpu *v)
{
    struct vm *vm = v->vcpu.vm;
    const struct shadow_guest guest = {.translate = look, .top = top, .table = table, .ctx = v};
    enum status s = OK;
    vm_lock(vm);
    if (pv_vm(vm)->shadow == NULL)
        s = create_vm(vm);
    if (s == OK)
        s = shadow_cpu_create(&v->roots.shadow, pv_vm(vm)->shadow, v->vcpu.index, vm->root,
                              WINDOW_SLOT, &guest);
    vm_unlock(vm);
    v->flush = SHADOW_FLUSH_ALL;
    return s;
}
_Static_assert(PV_MAX_VCPUS <= XEN_LEGACY_VCPUS, "each has a place in xen_shared_info");

void pv_space_destroy(struct pv_vcpu *v)
{
    if (v->roots.shadow.shadow != NULL)
        shadow_cpu_destroy(&v->roots.shadow, v->vcpu.index);
    v->roots.shadow.shadow = NULL;
}

/* --- for the hypervisor --- */

/* Walks the kernel's page tables, and keeps what has come of it; NULL: a page fault. */
static const struct ring3_tlb_entry *__attribute__((noinline))
walk(struct pv_vcpu *v, uint64_t linear, enum walk_access access)
{
    const struct guestmem *mem = &v->vcpu.vm->mem;
    const struct guest_paging paging = paging_of(v, SHADOW_KERNEL);
    struct guest_translation found;
    uint32_t error;
    if (!pv_is_canonical(linear) ||
        !guestwalk_examine(mem, &paging, gva(linear), access, &found, &error))
        return NULL;
    return ring3_tlb_keep(&v->tlb, mem, linear, access, false, &found);
}

gpa_t pv_page_at(struct pv_vcpu *v, uint64_t linear)
{
    const struct ring3_tlb_entry *entry = walk(v, linear, WALK_READ);
    return entry != NULL ? entry->page : gpa(UINT64_MAX & ~(PAGE_SIZE - 1));
}

void *__attribute__((hot)) pv_window(struct pv_vcpu *v, uint64_t linear, unsigned bytes, bool write)
{
    const enum walk_access access = write ? WALK_WRITE : WALK_READ;
    const uint64_t offset = linear % PAGE_SIZE;
    const struct ring3_tlb_entry *entry = ring3_tlb_slot(&v->tlb, access, linear);
    if (entry->key != ring3_tlb_key(&v->tlb, linear, false))
        entry = walk(v, linear, access);
    if (entry == NULL || entry->host == NULL || bytes > PAGE_SIZE - offset)
        return NULL;
    return entry->host + offset;
}

/* Within a page, from linear on. */
static unsigned part_of(uint64_t linear, uint64_t bytes)
{
    const uint64_t room = PAGE_SIZE - linear % PAGE_SIZE;
    return (unsigned)(bytes < room ? bytes : room);
}

bool __attribute__((hot)) pv_read(struct pv_vcpu *v, uint64_t linear, void *to, uint64_t bytes)
{
    for (unsigned n; bytes != 0; bytes -= n) {
        n = part_of(linear, bytes);
        const void *from = pv_window(v, linear, n, false);
        if (from == NULL)
            return false;
        memcpy(to, from, n);
        to = (uint8_t *)to + n;
        linear += n;
    }
    return true;
}

bool __attribute__((hot))
pv_write(struct pv_vcpu *v, uint64_t linear, const void *from, uint64_t bytes)
{
    for (unsigned n; bytes != 0; bytes -= n) {
        n = part_of(linear, bytes);
        void *to = pv_window(v, linear, n, true);
        if (to == NULL)
            return false;
        memcpy(to, from, n);
        from = (const uint8_t *)from + n;
        linear += n;
    }
    return true;
}

unsigned pv_fetch(struct pv_vcpu *v, uint8_t *to, unsigned bytes)
{
    const struct guest_paging paging = paging_of(v, v->user ? SHADOW_USER : SHADOW_KERNEL);
    uint32_t error;
    gva_t at;
    return pv_is_canonical(v->frame.rip)
               ? (unsigned)guestwalk_read(&v->vcpu.vm->mem, &paging, gva(v->frame.rip), WALK_FETCH,
                                          to, bytes, &error, &at)
               : 0;
}

bool pv_read_as(struct pv_vcpu *v, uint64_t linear, void *to, unsigned bytes)
{
    const struct guest_paging paging = paging_of(v, v->user ? SHADOW_USER : SHADOW_KERNEL);
    uint32_t error;
    gva_t at;
    return pv_is_canonical(linear) && pv_is_canonical(linear + bytes - 1) &&
           guestwalk_read(&v->vcpu.vm->mem, &paging, gva(linear), WALK_READ, to, bytes, &error,
                          &at) == bytes;
}

bool pv_find_entry(struct pv_vcpu *v, uint64_t linear, gpa_t *out)
{
    const struct guestmem *mem = &v->vcpu.vm->mem;
    uint64_t table = v->kernel_cr3;
    const uint64_t offset = (linear >> 12 & 511) * sizeof(uint64_t);
    if ((linear >> 21) + 1 == v->leaf_key) {
        *out = gpa(v->leaf_table.v + offset);
        return true;
    }
    if (!pv_is_canonical(linear))
        return false;
    for (unsigned shift = 39;; shift -= 9) {
        if (shift == 12) {
            v->leaf_key = (linear >> 21) + 1;
            v->leaf_table = gpa(table);
            *out = gpa(table + offset);
            return true;
        }
        *out = gpa(table + (linear >> shift & 511) * sizeof(uint64_t));
        const void *at = guestmem_window(mem, *out, sizeof(uint64_t));
        if (at == NULL)
            return false;
        const uint64_t entry = *(const volatile uint64_t *)at;
        if ((entry & PTE_P) == 0 || (entry & PTE_PS) != 0)
            return false;
        table = entry & PTE_ADDRESS;
    }
}

/* --- for the processor: page faults --- */

/*
 * A kernel writes to its leaf tables with plain instructions, too (to take an entry away at one go,
 * or its write right), although it has made them read-only as it has to. Xen carries out such a
 * write in software. Here nothing depends on what is in them, so that the table simply becomes
 * writable for it until the next flush, and the processor repeats the write. What it changes is
 * followed by a flush, as with any table. The table that maps it says less than the shadow has by
 * then: it counts as written, so that the flush finds that.
 */
static bool opens_table(struct pv_vcpu *v, gva_t linear, struct guest_translation *found)
{
    const struct guest_paging paging = paging_of(v, SHADOW_KERNEL);
    uint32_t error;
    gpa_t by;
    if (!guestwalk_examine(&v->vcpu.vm->mem, &paging, linear, WALK_READ, found, &error) ||
        !guestwalk_find_entry(&v->vcpu.vm->mem, &paging, linear, &by) ||
        !pv_open_table(pv_vm_of(v), found->at, by))
        return false;
    found->perms |= PTE_W;
    pv_count(v, PV_COUNT_TABLE_WRITES, 1);
    return true;
}

/* Whether the guest goes on; false: the fault is its own, with *error. */
static bool resolve(struct pv_vcpu *v, enum shadow_root root, gva_t linear, enum walk_access access,
                    uint32_t *error)
{
    struct vm *vm = v->vcpu.vm;
    struct shadow_cpu *shadow = &v->roots.shadow;
    const struct guest_paging paging = paging_of(v, root);
    const uint32_t denied = PF_PRESENT | PF_WRITE;
    struct guest_translation found;
    for (unsigned n = 0; n < MAX_WALKS; n++) {
        const uint64_t version = shadow_version(shadow);
        if (!guestwalk_examine(&vm->mem, &paging, linear, access, &found, error) &&
            !(root == SHADOW_KERNEL && *error == denied && opens_table(v, linear, &found)))
            return false;
        found.global = is_kernels(root, linear);
        switch (shadow_fill(shadow, root, linear, access == WALK_WRITE, &found, version)) {
        case SHADOW_WALK: break;
        case SHADOW_DONE:
        case SHADOW_CODE: /* nothing is ever translated */
        case SHADOW_AGAIN: return true;
        case SHADOW_WAIT: /* they leave their roots, and drop what they have cached */
            vcpu_kick_all(vm, (UINT64_MAX >> (64 - vm->vcpu_count)) & ~(1ull << v->vcpu.index));
            return true;
        case SHADOW_EMULATE: /* a frame that is not the domain's: as if nothing were mapped */
            *error &= ~(uint32_t)PF_PRESENT;
            *error |= (access == WALK_WRITE ? PF_WRITE : 0) |
                      (access == WALK_FETCH ? PF_FETCH : 0) | (root == SHADOW_USER ? PF_USER : 0);
            return false;
        }
    }
    return true;
}

void pv_space_fault(struct pv_vcpu *v)
{
    const uint64_t linear = v->frame.cr2;
    const uint32_t given = (uint32_t)v->frame.error;
    const enum walk_access access = (given & PF_FETCH) != 0   ? WALK_FETCH
                                    : (given & PF_WRITE) != 0 ? WALK_WRITE
                                                              : WALK_READ;
    uint32_t error = 0;
    if (resolve(v, v->user ? SHADOW_USER : SHADOW_KERNEL, gva(linear), access, &error)) {
        pv_book(v, PV_SHADOW);
        return;
    }
    v->info->cr2 = linear;
    pv_exception(v, VECTOR_PAGE_FAULT, &error);
    pv_book(v, PV_PAGE_FAULT);
}

/* --- flushes --- */

void pv_flush(struct pv_vcpu *v, enum shadow_flush what)
{
    ring3_tlb_flush(&v->tlb);
    v->leaf_key = PV_NO_LEAF;
    if (what > v->flush)
        v->flush = (uint8_t)what;
}

void pv_invalidate(struct pv_vcpu *v, uint64_t linear)
{
    ring3_tlb_invalidate(&v->tlb, linear);
    v->leaf_key = PV_NO_LEAF;
    if (v->flush == SHADOW_FLUSH_ALL || !pv_is_canonical(linear))
        return;
    shadow_invalidate(&v->roots.shadow, gva(linear));
    cpu_invlpg(linear);
}

/* Of those that are in guest code: one that is down, or was not there yet, flushes before it is. */
static void note_flushed(const struct vm *vm)
{
    uint64_t all = UINT64_MAX;
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        const struct pv_vcpu *v = pv_vcpu(vm->vcpu[i]);
        const uint64_t at = __atomic_load_n(&v->roots.shadow.flushed_all, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&v->up, __ATOMIC_SEQ_CST) && at != 0 && at < all)
            all = at;
    }
    __atomic_store_n(&pv_vm(vm)->flushed, all, __ATOMIC_RELEASE);
}

void pv_space_flush_now(struct pv_vcpu *v)
{
    shadow_switch(&v->roots.shadow, WALK_CR0, WALK_CR4, WALK_EFER, (enum shadow_flush)v->flush);
    if (v->flush == SHADOW_FLUSH_ALL)
        note_flushed(v->vcpu.vm);
    v->flush = SHADOW_FLUSH_NONE;
}

static bool has_not_done(const struct pv_vcpu *other, enum pv_ask ask)
{
    return __atomic_load_n(&other->entered, __ATOMIC_SEQ_CST) &&
           (__atomic_load_n(&other->asked, __ATOMIC_SEQ_CST) & ask) != 0;
}

/*
 * CPU A, here, sets a bit in asked, and then looks whether the vCPU is in guest code. CPU B, which
 * runs that, says that it enters, and then looks at asked (pv_run()). Without this order A could
 * see B outside, and B no bit: the guest's kernel, which has got an answer, would use memory for
 * something else that user code on B still writes to by what its CPU has cached. What B needs to
 * leave is A's interrupt alone, and B does the same with A meanwhile outside, so nobody waits for
 * ever.
 */
void pv_ask_others(struct pv_vcpu *v, uint64_t vcpus, enum pv_ask ask)
{
    struct vm *vm = v->vcpu.vm;
    vcpus &= (UINT64_MAX >> (64 - vm->vcpu_count)) & ~(1ull << v->vcpu.index);
    for (uint64_t left = vcpus; left != 0; left &= left - 1)
        __atomic_or_fetch(&pv_vcpu(vm->vcpu[__builtin_ctzll(left)])->asked, ask, __ATOMIC_SEQ_CST);
    uint64_t inside = 0;
    for (uint64_t left = vcpus; left != 0; left &= left - 1)
        if (has_not_done(pv_vcpu(vm->vcpu[__builtin_ctzll(left)]), ask))
            inside |= left & -left;
    vcpu_kick_all(vm, inside);
    for (; inside != 0; inside &= inside - 1)
        while (has_not_done(pv_vcpu(vm->vcpu[__builtin_ctzll(inside)]), ask))
            cpu_pause();
}
