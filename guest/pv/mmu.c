/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The calls on page tables: mmu_update, update_va_mapping, mmuext_op. As the processor goes by a
 * shadow, an update is a checked write to the guest's memory, and no table has to be examined
 * before it is used. What Xen refuses, a frame that is not the domain's or reserved bits in an
 * entry, is refused here as well, where the guest asks for it: in an update, and of a table that is
 * pinned, or loaded without that.
 */
#include "guest/pv/mmu.h"

#include "arch/nospec.h"
#include "mm/host_paging.h"

#define PORTION 128u /* elements of a guest's array between two looks at the time */

/* --- which pages are tables --- */

/*
 * A page that is a table is read-only to the guest, and each write to it comes here; so what the
 * shadow has made of it stays right until then (mm/shadow.h: struct shadow_table). Of a page that
 * is not known as one, anybody may have written anything. The level is in the page's byte of the
 * code map; own->written says when: shadow.clock then, plus 1, and IS_OPEN.
 *
 * A table is open while some CPU may have it writable still, so that a write to it is not noticed:
 * from when it begins, as its page was writable before, and the guest need not flush in between;
 * and from when a write opens it (space.c). What is writable goes from the shadow, and from a CPU's
 * TLB, when its vCPU flushes all. So a table is closed once all vCPUs have done that: own->flushed.
 * One that leads to tables which nobody has been told of stays open for good.
 */
#define IS_OPEN  (1ull << 63)
#define OPEN_ALL UINT64_MAX /* for good */

static inline unsigned level_of(const struct pv_vm *own, gpa_t at)
{
    const uint8_t *byte = at.v < own->low_bytes
                              ? &own->low_code[index_nospec(at.v, own->low_bytes) / PAGE_SIZE]
                              : shadow_code_byte(own->shadow, at);
    return byte == NULL ? 0 : __atomic_load_n(byte, __ATOMIC_RELAXED) / PV_TABLE_LEVEL & 7;
}

static void set_level(struct shadow *shadow, gpa_t at, unsigned level)
{
    uint8_t *byte = shadow_code_byte(shadow, at);
    if (byte == NULL)
        return;
    uint8_t old = __atomic_load_n(byte, __ATOMIC_RELAXED), new; /* other bits are the shadow's */
    do
        new = (uint8_t)((old & ~(7 * PV_TABLE_LEVEL)) | level * PV_TABLE_LEVEL);
    while (
        !__atomic_compare_exchange_n(byte, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

static inline uint64_t *written_at(struct pv_vm *own, gpa_t at)
{
    uint64_t *all = hpa_to_ptr(own->written);
    return &all[index_nospec(at.v / PAGE_SIZE, own->frames)];
}

/*
 * CPU A, here, has written to the table, and then looks at the shadow's clock. CPU B flushes: it
 * moves the clock on, and then looks at the table. Without this order A could note an old time, and
 * B see the old table; nobody would look at it again. Where it is opened meanwhile, it stays open.
 */
static inline void note(const struct pv_vm *own, uint64_t *written)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t old = __atomic_load_n(written, __ATOMIC_RELAXED);
    while ((old & IS_OPEN) == 0 &&
           !__atomic_compare_exchange_n(written, &old,
                                        __atomic_load_n(&own->shadow->clock, __ATOMIC_RELAXED) + 1,
                                        false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
}

static inline void note_written(struct pv_vm *own, gpa_t at)
{
    note(own, written_at(own, at));
}

static void open_table(struct pv_vm *own, gpa_t at, bool for_good)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    const uint64_t now = __atomic_load_n(&own->shadow->clock, __ATOMIC_RELAXED) + 1;
    __atomic_store_n(written_at(own, at), for_good ? OPEN_ALL : now | IS_OPEN, __ATOMIC_RELEASE);
}

static uint64_t __attribute__((noinline))
close_table(const struct pv_vm *own, uint64_t *written, uint64_t when)
{
    const uint64_t now = own->shadow->clock + 1;
    const bool closes =
        when != OPEN_ALL && (when & ~IS_OPEN) <= __atomic_load_n(&own->flushed, __ATOMIC_ACQUIRE) &&
        __atomic_compare_exchange_n(written, &when, now, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    return closes ? now : UINT64_MAX;
}

/* Closed, it counts as written just now. */
uint64_t pv_table_written(struct pv_vm *own, gpa_t at)
{
    if (level_of(own, at) == 0 || at.v / PAGE_SIZE >= own->frames)
        return UINT64_MAX;
    uint64_t *written = written_at(own, at);
    const uint64_t when = __atomic_load_n(written, __ATOMIC_ACQUIRE);
    return (when & IS_OPEN) == 0 ? when : close_table(own, written, when);
}

/* Whether it is a table, and those that it leads to are known as well. */
static bool is_known(struct pv_vm *own, gpa_t at)
{
    return level_of(own, at) != 0 && at.v / PAGE_SIZE < own->frames &&
           __atomic_load_n(written_at(own, at), __ATOMIC_ACQUIRE) != OPEN_ALL;
}

bool pv_open_table(struct pv_vm *own, gpa_t at, gpa_t by)
{
    const unsigned level = level_of(own, at);
    if (level == 0 || at.v / PAGE_SIZE >= own->frames)
        return false;
    open_table(own, at, level > 1);
    if (by.v / PAGE_SIZE < own->frames)
        note_written(own, by);
    return true;
}

void pv_memory_written(void *ctx, gpa_t at, uint64_t bytes)
{
    struct pv_vm *own = ctx;
    for (uint64_t frame = at.v / PAGE_SIZE; frame <= (at.v + bytes - 1) / PAGE_SIZE; frame++)
        if (bytes != 0 && frame < own->frames && level_of(own, gpa(frame * PAGE_SIZE)) != 0)
            note_written(own, gpa(frame * PAGE_SIZE));
}

/* Becomes a table, or is one anew. */
static void begin_table(struct pv_vm *own, gpa_t at, unsigned level)
{
    open_table(own, at, false);
    set_level(own->shadow, at, level);
}

/*
 * A table of an upper level is in use from now on, and with it those that it leads to. What belongs
 * to the kernel, in the upper half, is the same for all processes, and known already. budget: so
 * many entries are looked at.
 */
static void begin_below(struct pv_vm *own, const struct guestmem *mem, gpa_t at, unsigned level,
                        bool upper_half, unsigned *budget)
{
    const uint64_t *table = guestmem_window(mem, at, PAGE_SIZE);
    const unsigned count = PAGE_SIZE / sizeof(*table);
    for (unsigned i = 0; i < count && table != NULL && *budget != 0; i++) {
        const uint64_t entry = __atomic_load_n(&table[i], __ATOMIC_RELAXED);
        const gpa_t below = gpa(entry & PTE_ADDRESS);
        const bool upper = upper_half || (level == 4 && i >= count / 2);
        --*budget;
        if ((entry & (PTE_P | PTE_PS)) != PTE_P || below.v / PAGE_SIZE >= own->frames ||
            (upper && level_of(own, below) != 0))
            continue;
        begin_table(own, below, level - 1);
        if (level > 2)
            begin_below(own, mem, below, level - 1, upper, budget);
    }
}
#define BEGIN_BUDGET 16384u

static void begin_tree(struct pv_vm *own, const struct guestmem *mem, gpa_t at, unsigned level,
                       bool upper_half)
{
    unsigned budget = BEGIN_BUDGET;
    begin_table(own, at, level);
    if (level > 1)
        begin_below(own, mem, at, level, upper_half, &budget);
    if (budget == 0)
        open_table(own, at, true);
}

/* False: it is so already, or no page of the domain's. */
static bool set_pinned(struct shadow *shadow, gpa_t at, bool pinned)
{
    uint8_t *byte = shadow_code_byte(shadow, at);
    if (byte == NULL)
        return false;
    const uint8_t old = pinned
                            ? __atomic_fetch_or(byte, PV_TABLE_PINNED, __ATOMIC_RELAXED)
                            : __atomic_fetch_and(byte, (uint8_t)~PV_TABLE_PINNED, __ATOMIC_RELAXED);
    return ((old & PV_TABLE_PINNED) != 0) != pinned;
}

/* The loader has pinned it, as Xen's does. */
void pv_tables_begin(struct pv_vm *own, const struct vm *vm)
{
    (void)set_pinned(own->shadow, vm->domain->tables, true);
    begin_tree(own, &vm->mem, vm->domain->tables, 4, false);
}

/* --- entries --- */

static bool is_own_frame(const struct vm_domain *domain, uint64_t frame)
{
    return frame < domain->pages || frame == domain->shared_info.v / PAGE_SIZE ||
           frame - domain->grants.v / PAGE_SIZE < DOMAIN_GRANT_PAGES;
}

/* What an entry of any level may be. Reserved bits of the address lie above any frame. */
static inline bool is_good_entry(const struct pv_vcpu *v, uint64_t entry)
{
    return (entry & PTE_P) == 0 || (entry & PTE_ADDRESS) < pv_vm_of(v)->frames * PAGE_SIZE ||
           is_own_frame(v->vcpu.vm->domain, (entry & PTE_ADDRESS) / PAGE_SIZE);
}

/* An upper table has got another entry: it leads to new tables. */
static void __attribute__((noinline))
upper_changed(struct pv_vcpu *v, unsigned level, uint64_t old, uint64_t value)
{
    struct pv_vm *own = pv_vm_of(v);
    const gpa_t below = gpa(value & PTE_ADDRESS);
    v->leaf_key = PV_NO_LEAF;
    if ((value & (PTE_P | PTE_PS)) == PTE_P && below.v / PAGE_SIZE < own->frames &&
        ((old & PTE_P) == 0 || ((old ^ value) & PTE_ADDRESS) != 0))
        begin_tree(own, &v->vcpu.vm->mem, below, level - 1, false);
}

/* Behind a change of an entry. What was not there before, nobody has made anything of. */
static inline void changed(struct pv_vcpu *v, gpa_t at, uint64_t old, uint64_t value)
{
    struct pv_vm *own = pv_vm_of(v);
    if (at.v / PAGE_SIZE >= own->frames)
        return;
    if ((old & PTE_P) != 0)
        note_written(own, at);
    const unsigned level = level_of(own, at);
    if (level > 1)
        upper_changed(v, level, old, value);
}

/* Nearly all of a domain's RAM is in one piece, or all. */
static inline uint64_t *entry_at(const struct pv_vcpu *v, gpa_t at)
{
    const struct pv_vm *own = pv_vm_of(v);
    return at.v < own->low_bytes
               ? (uint64_t *)(void *)(own->low + index_nospec(at.v, own->low_bytes))
               : guestmem_writable_window(&v->vcpu.vm->mem, at, sizeof(uint64_t));
}

static inline int64_t write_entry(struct pv_vcpu *v, gpa_t at, uint64_t value)
{
    uint64_t *entry = entry_at(v, at);
    if (entry == NULL || !is_good_entry(v, value))
        return XEN_EINVAL;
    const uint64_t old = __atomic_load_n(entry, __ATOMIC_RELAXED);
    __atomic_store_n(entry, value, __ATOMIC_RELAXED);
    changed(v, at, old, value);
    return 0;
}

/* The flags accessed and dirty stay, whatever a walk makes of them meanwhile. */
static int64_t write_entry_keeping(struct pv_vcpu *v, gpa_t at, uint64_t value)
{
    uint64_t *entry = entry_at(v, at);
    if (entry == NULL || !is_good_entry(v, value))
        return XEN_EINVAL;
    uint64_t old = __atomic_load_n(entry, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(entry, &old, value | (old & (PTE_A | PTE_D)), true,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    changed(v, at, old, value);
    return 0;
}

/* The guest gives a frame another number of its own. */
static int64_t write_m2p(const struct pv_vm *own, uint64_t frame, uint64_t value)
{
    uint64_t *m2p = hpa_to_ptr(own->m2p);
    if (index_is_beyond(&frame, own->frames - 1))
        return XEN_EINVAL;
    m2p[frame] = value;
    return 0;
}

static int64_t __attribute__((noinline))
update_otherwise(struct pv_vcpu *v, uint64_t where, uint64_t value)
{
    switch (where & XEN_MMU_TYPE) {
    case XEN_MMU_PTE: return write_entry(v, gpa(where & ~7ull), value);
    case XEN_MMU_PTE_KEEP_AD: return write_entry_keeping(v, gpa(where & ~7ull), value);
    case XEN_MMU_M2P: return write_m2p(pv_vm_of(v), where / PAGE_SIZE, value);
    default: return XEN_ENOSYS;
    }
}

/* How many were done, where the guest wants to know: added, as a call may come in portions. */
static int64_t put_done(struct pv_vcpu *v, uint64_t at, uint32_t more)
{
    uint32_t done;
    if (at == 0 || more == 0)
        return 0;
    if (!pv_read(v, at, &done, sizeof(done)))
        return XEN_EFAULT;
    done += more;
    return pv_write(v, at, &done, sizeof(done)) ? 0 : XEN_EFAULT;
}

/* The second argument of the first portion has the count alone; of a later one, this bit as well,
 * which Xen uses for the same. */
#define IS_LATER 0x80000000ull

/* Before the first portion the guest's counter is 0. */
static int64_t begin_array(struct pv_vcpu *v, struct pv_call *call, uint64_t *count)
{
    const uint32_t none = 0;
    *count = (uint32_t)call->gpr[ARG1] & ~IS_LATER;
    if (((uint32_t)call->gpr[ARG3] & 0xffff) != XEN_DOMID_SELF)
        return XEN_EPERM; /* another domain's */
    if ((call->gpr[ARG1] & IS_LATER) == 0 && call->gpr[ARG2] != 0 &&
        !pv_write(v, call->gpr[ARG2], &none, sizeof(none)))
        return XEN_EFAULT;
    return 0;
}

/* Behind a portion: so many elements of a size are done. */
static int64_t end_portion(struct pv_vcpu *v, struct pv_call *call, uint64_t done, size_t size,
                           uint64_t count, int64_t result)
{
    const int64_t put = put_done(v, call->gpr[ARG2], (uint32_t)done);
    if (result != 0 || put != 0)
        return result != 0 ? result : put;
    if (done < count) {
        call->again = true;
        call->gpr[ARG0] += done * size;
        call->gpr[ARG1] = (count - done) | IS_LATER;
    }
    return 0;
}

/* A table of level 1, or one that is not known, whose entries are written at a run: in the first
 * piece of RAM, at that guest-physical address. */
struct run {
    uint64_t base;
    uint8_t *table;
    uint64_t *written; /* of it: note_written() */
};

#define UPPER_LEVELS (6 * PV_TABLE_LEVEL) /* 2 to 4 have one of these bits */

static inline bool begin_run(struct pv_vm *own, uint64_t where, struct run *out)
{
    const uint64_t at = index_nospec(where, own->low_bytes);
    if (where >= own->low_bytes || (own->low_code[at / PAGE_SIZE] & UPPER_LEVELS) != 0)
        return false;
    out->base = where & ~(PAGE_SIZE - 1);
    out->table = own->low + (at & ~(PAGE_SIZE - 1));
    out->written = written_at(own, gpa(at));
    return true;
}

/* The first elements that are about entries of that table; returns how many they are. The writes
 * are noted when they are done, once: the guest counts on none of them before it has flushed. */
static inline uint64_t update_run(struct pv_vm *own, const struct run *run,
                                  const struct xen_mmu_update *u, uint64_t count)
{
    const uint64_t ram = own->frames * PAGE_SIZE;
    uint64_t i = 0, before = 0;
    for (; i < count; i++) {
        uint64_t offset = __atomic_load_n(&u[i].ptr, __ATOMIC_RELAXED) ^ run->base;
        const uint64_t value = __atomic_load_n(&u[i].val, __ATOMIC_RELAXED);
        if ((offset & ~(PAGE_SIZE - sizeof(uint64_t))) != 0 || (value & PTE_ADDRESS) >= ram)
            break;
        offset = bits_nospec(offset, PAGE_SIZE - sizeof(uint64_t));
        uint64_t *entry = (uint64_t *)(void *)(run->table + offset);
        before |= __atomic_load_n(entry, __ATOMIC_RELAXED);
        __atomic_store_n(entry, value, __ATOMIC_RELAXED);
    }
    if ((before & PTE_P) != 0)
        note(own, run->written);
    return i;
}

/*
 * Elements within one page of the guest's are read where they are, each value once. Returns how
 * many were carried out; *result: why no more. This is the loop that batches are for: entries of
 * the same table, which follow one another, are written at a run, and what does not fit in is done
 * otherwise: of an upper level, beyond RAM's first piece, or another kind of update.
 */
static uint64_t __attribute__((hot))
update_some(struct pv_vcpu *v, const struct xen_mmu_update *u, uint64_t count, int64_t *result)
{
    struct pv_vm *own = pv_vm_of(v);
    uint64_t i = 0;
    *result = 0;
    while (i < count) {
        const uint64_t where = __atomic_load_n(&u[i].ptr, __ATOMIC_RELAXED);
        struct run run;
        const uint64_t n =
            begin_run(own, where, &run) ? update_run(own, &run, u + i, count - i) : 0;
        i += n;
        if (n != 0)
            continue;
        *result = update_otherwise(v, where, __atomic_load_n(&u[i].val, __ATOMIC_RELAXED));
        if (*result != 0)
            break;
        i++;
        if (pv_works_long(v)) /* an entry of an upper level has begun a whole tree, perhaps */
            break;
    }
    return i;
}

int64_t pv_mmu_update(struct pv_vcpu *v, struct pv_call *call)
{
    uint64_t count, done = 0;
    int64_t result = begin_array(v, call, &count);
    while (result == 0 && done < count && !(done != 0 && pv_works_long(v))) {
        const uint64_t at = call->gpr[ARG0] + done * sizeof(struct xen_mmu_update),
                       room = at % sizeof(uint64_t) != 0
                                  ? 0
                                  : (PAGE_SIZE - at % PAGE_SIZE) / sizeof(struct xen_mmu_update),
                       left = count - done < PORTION ? count - done : PORTION,
                       n = left < room ? left : room;
        struct xen_mmu_update apart;
        const struct xen_mmu_update *u = &apart; /* one that crosses a page, or is not aligned */
        if (n != 0)
            u = pv_window(v, at, (unsigned)(n * sizeof(*u)), false);
        else if (!pv_read(v, at, &apart, sizeof(apart)))
            u = NULL;
        if (u == NULL)
            result = XEN_EFAULT;
        else
            done += update_some(v, u, n != 0 ? n : 1, &result);
    }
    pv_count(v, PV_COUNT_UPDATES, done);
    return end_portion(v, call, done, sizeof(struct xen_mmu_update), count, result);
}

/* --- flushes --- */

/* The vCPUs of a bitmap in guest memory; false: it cannot be read. */
static bool read_vcpus(struct pv_vcpu *v, uint64_t at, uint64_t *out)
{
    const unsigned bytes = (v->vcpu.vm->vcpu_count + 7) / 8;
    *out = 0;
    return pv_read(v, at, out, bytes);
}

/* What this vCPU flushes of it, and what others do. address: 0: all. */
static void flush_on(struct pv_vcpu *v, uint64_t vcpus, bool all, uint64_t address)
{
    if ((vcpus >> v->vcpu.index & 1) != 0) {
        if (all)
            pv_flush(v, SHADOW_FLUSH_ALL);
        else
            pv_invalidate(v, address);
    }
    if (v->vcpu.vm->vcpu_count > 1)
        pv_flush_others(v, vcpus);
}

/* The flush that update_va_mapping has asked for. */
static int64_t __attribute__((noinline))
flush_mapping(struct pv_vcpu *v, uint64_t linear, uint64_t flags)
{
    const unsigned what = flags & XEN_UVMF_WHAT;
    const uint64_t list = flags & ~(uint64_t)XEN_UVMF_WHAT;
    uint64_t vcpus = 1ull << v->vcpu.index;
    if (list == XEN_UVMF_ALL)
        vcpus = UINT64_MAX;
    else if (list != 0 && !read_vcpus(v, list, &vcpus))
        return XEN_EFAULT;
    if (what == XEN_UVMF_WHAT)
        return XEN_ENOSYS;
    flush_on(v, vcpus, what == XEN_UVMF_TLB_FLUSH, linear);
    return 0;
}

int64_t pv_update_va_mapping(struct pv_vcpu *v, struct pv_call *call)
{
    const uint64_t linear = call->gpr[ARG0], flags = call->gpr[ARG2];
    const bool flushes = (flags & XEN_UVMF_WHAT) != XEN_UVMF_NONE;
    gpa_t at;
    if (call->lightly && flushes) {
        call->again = call->fully = true;
        return 0;
    }
    if (!pv_find_entry(v, linear, &at))
        return XEN_EINVAL;
    const int64_t result = write_entry(v, at, call->gpr[ARG1]);
    return result != 0 || !flushes ? result : flush_mapping(v, linear, flags);
}

/* --- mmuext_op --- */

/* Whether a frame is the domain's, and holds what a table may. */
static bool __attribute__((noinline)) is_good_table(const struct pv_vcpu *v, uint64_t frame)
{
    const uint64_t *table = guestmem_window(&v->vcpu.vm->mem, gpa(frame * PAGE_SIZE), PAGE_SIZE);
    if (frame >= v->vcpu.vm->domain->pages || table == NULL)
        return false;
    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*table); i++)
        if (!is_good_entry(v, __atomic_load_n(&table[i], __ATOMIC_RELAXED)))
            return false;
    return true;
}

static int64_t pin(struct pv_vcpu *v, uint64_t frame, unsigned level)
{
    if (!is_good_table(v, frame) || !set_pinned(pv_vm_of(v)->shadow, gpa(frame * PAGE_SIZE), true))
        return XEN_EINVAL;
    begin_tree(pv_vm_of(v), &v->vcpu.vm->mem, gpa(frame * PAGE_SIZE), level, false);
    return 0;
}

static int64_t unpin(struct pv_vcpu *v, uint64_t frame)
{
    const gpa_t at = gpa(frame * PAGE_SIZE);
    if (frame >= v->vcpu.vm->domain->pages || !set_pinned(pv_vm_of(v)->shadow, at, false))
        return XEN_EINVAL;
    set_level(pv_vm_of(v)->shadow, at, 0);
    return 0;
}

void pv_take_root(struct pv_vcpu *v, enum shadow_root root, gpa_t tables)
{
    *(root == SHADOW_USER ? &v->user_cr3 : &v->kernel_cr3) = tables.v;
    v->has_unknown[root] = !is_known(pv_vm_of(v), tables);
}

/* What is known as a top table has been examined. Of the user's, 0 is none. */
static int64_t set_base(struct pv_vcpu *v, enum shadow_root root, uint64_t frame)
{
    if (frame >= v->vcpu.vm->domain->pages ||
        (frame != 0 && level_of(pv_vm_of(v), gpa(frame * PAGE_SIZE)) != 4 &&
         !is_good_table(v, frame)))
        return XEN_EINVAL;
    pv_take_root(v, root, gpa(frame * PAGE_SIZE));
    pv_flush(v, SHADOW_FLUSH_LOCAL);
    return 0;
}

static int64_t flush_multi(struct pv_vcpu *v, const struct xen_mmuext_op *op)
{
    uint64_t vcpus;
    if (!read_vcpus(v, op->arg2, &vcpus))
        return XEN_EFAULT;
    flush_on(v, vcpus, op->cmd == XEN_TLB_FLUSH_MULTI, op->arg1);
    return 0;
}

static int64_t extended(struct pv_vcpu *v, const struct xen_mmuext_op *op)
{
    switch (op->cmd) {
    case XEN_PIN_L1:
    case XEN_PIN_L1 + 1:
    case XEN_PIN_L1 + 2:
    case XEN_PIN_L4: return pin(v, op->arg1, op->cmd + 1);
    case XEN_UNPIN: return unpin(v, op->arg1);
    case XEN_NEW_BASEPTR: return op->arg1 == 0 ? XEN_EINVAL : set_base(v, SHADOW_KERNEL, op->arg1);
    case XEN_NEW_USER_BASEPTR: return set_base(v, SHADOW_USER, op->arg1); /* 0: none */
    case XEN_TLB_FLUSH_LOCAL: pv_flush(v, SHADOW_FLUSH_ALL); return 0;
    case XEN_INVLPG_LOCAL: pv_invalidate(v, op->arg1); return 0;
    case XEN_TLB_FLUSH_MULTI:
    case XEN_INVLPG_MULTI: return flush_multi(v, op);
    case XEN_TLB_FLUSH_ALL: flush_on(v, UINT64_MAX, true, 0); return 0;
    case XEN_INVLPG_ALL: flush_on(v, UINT64_MAX, false, op->arg1); return 0;
    case XEN_FLUSH_CACHE: return 0; /* all of the guest's memory is write-back, and no device's */
    case XEN_SET_LDT: return pv_set_ldt(v, op->arg1, op->arg2);
    default: return XEN_ENOSYS;
    }
}

int64_t pv_mmuext_op(struct pv_vcpu *v, struct pv_call *call)
{
    uint64_t count, done = 0;
    int64_t result = begin_array(v, call, &count);
    while (result == 0 && done < count && !(done != 0 && pv_works_long(v))) {
        struct xen_mmuext_op op;
        result = pv_read(v, call->gpr[ARG0] + done * sizeof(op), &op, sizeof(op)) ? extended(v, &op)
                                                                                  : XEN_EFAULT;
        done += result == 0;
    }
    pv_count(v, PV_COUNT_MMUEXT, done);
    return end_portion(v, call, done, sizeof(struct xen_mmuext_op), count, result);
}
