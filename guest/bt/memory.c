/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's linear memory for the software CPU: kept walks, then RAM or the VM's bus. */
#include "arch/bytes.h"
#include "arch/string.h"
#include "guest/bt/bt.h"
#include "guest/vm/access.h"

static struct bt_vcpu *of(void *env)
{
    return ((struct interpret_env *)env)->ctx;
}

/* Walks the guest's page tables, and keeps what has come of it; NULL: a page fault, with its error
 * code. implicit: the CPU's own access, whatever CPL there is. */
static struct ring3_tlb_entry *__attribute__((noinline))
try_walk(struct bt_vcpu *v, uint64_t linear, enum walk_access access, bool user, bool implicit,
         uint32_t *error)
{
    const struct guestmem *mem = &v->vcpu.vm->mem;
    struct guest_paging paging = bt_paging(v, user);
    paging.implicit = implicit;
    struct guest_translation found;
    if (!guestwalk_examine(mem, &paging, gva(linear), access, &found, error))
        return NULL;
    return ring3_tlb_keep(&v->tlb, mem, linear, access, user, &found);
}

static struct ring3_tlb_entry *__attribute__((noinline))
walk(struct bt_vcpu *v, uint64_t linear, enum walk_access access, bool user, bool implicit)
{
    uint32_t error;
    struct ring3_tlb_entry *entry = try_walk(v, linear, access, user, implicit, &error);
    if (entry == NULL)
        vcpu_inject_page_fault(&v->vcpu, linear, error);
    return entry;
}

static inline struct ring3_tlb_entry *find(struct bt_vcpu *v, uint64_t linear,
                                           enum walk_access access, bool user, bool implicit)
{
    struct ring3_tlb_entry *entry = ring3_tlb_slot(&v->tlb, access, linear);
    return entry->key == ring3_tlb_key(&v->tlb, linear, user)
               ? entry
               : walk(v, linear, access, user, implicit);
}

static inline bool find_operand(struct bt_vcpu *v, gva_t linear, unsigned bytes, bool write,
                                bool user, bool implicit, struct emulate_operand *out)
{
    const enum walk_access access = write ? WALK_WRITE : WALK_READ;
    const uint64_t offset = linear.v % PAGE_SIZE, room = PAGE_SIZE - offset;
    const struct ring3_tlb_entry *entry = find(v, linear.v, access, user, implicit);
    if (entry == NULL)
        return false;
    out->at[0] = gpa(entry->page.v + offset);
    out->bytes = out->first = bytes;
    if (__builtin_expect(bytes <= room, 1))
        return true;
    uint64_t second = linear.v + room;
    if ((v->state.efer & EFER_LMA) == 0)
        second &= UINT32_MAX; /* of what crosses 4 GiB */
    entry = find(v, second, access, user, implicit);
    if (entry == NULL)
        return false;
    out->at[1] = entry->page;
    out->first = (unsigned)room;
    return true;
}

bool bt_translate(void *env, gva_t linear, unsigned bytes, bool write, struct emulate_operand *out)
{
    struct bt_vcpu *v = of(env);
    return find_operand(v, linear, bytes, write, segment_cpl(&v->state) == 3, false, out);
}

bool bt_translate_as(struct interpret_env *env, gva_t linear, unsigned bytes, bool write, bool user,
                     struct emulate_operand *out)
{
    return find_operand(of(env), linear, bytes, write, user, !user, out);
}

bool __attribute__((hot)) bt_look(void *vcpu, uint64_t linear, void *to, unsigned bytes)
{
    struct bt_vcpu *v = vcpu;
    const struct ring3_tlb_entry *entry = ring3_tlb_slot(&v->tlb, WALK_READ, linear);
    uint32_t error;
    if (entry->key != ring3_tlb_key(&v->tlb, linear, false))
        entry = try_walk(v, linear, WALK_READ, false, true, &error);
    if (entry == NULL || entry->host == NULL)
        return false;
    memcpy(to, entry->host + linear % PAGE_SIZE, bytes);
    return true;
}

/* Where nothing is, ones are read, as on a bus. */
bool bt_fetch(struct interpret_env *env, uint64_t linear, uint8_t *to, unsigned bytes)
{
    struct bt_vcpu *v = of(env);
    const struct ring3_tlb_entry *entry =
        find(v, linear, WALK_FETCH, segment_cpl(&v->state) == 3, false);
    if (entry == NULL)
        return false;
    if (entry->host != NULL) {
        const uint8_t *from = entry->host + linear % PAGE_SIZE;
        if (__builtin_expect(bytes == 16, 1)) /* which the compiler makes two moves of */
            memcpy(to, from, 16);
        else
            memcpy(to, from, bytes);
        return true;
    }
    vm_lock(v->vcpu.vm);
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)access_mmio_read_locked(&v->vcpu,
                                                 gpa(entry->page.v + linear % PAGE_SIZE + i), 1);
    vm_unlock(v->vcpu.vm);
    return true;
}

/* 1 to 16 bytes, a power of two. As they need not be aligned, it is no atomic of C. */
static bool exchange(void *at, const void *old, const void *new, unsigned bytes)
{
    uint64_t low = get_le(old, bytes < 8 ? bytes : 8), value = get_le(new, bytes < 8 ? bytes : 8);
    bool same;
    switch (bytes) {
    case 1:
        __asm__ volatile("lock cmpxchgb %b3, %0"
                         : "+m"(*(char(*)[1])at), "=@ccz"(same), "+a"(low)
                         : "q"(value)
                         : "memory");
        return same;
    case 2:
        __asm__ volatile("lock cmpxchgw %w3, %0"
                         : "+m"(*(char(*)[2])at), "=@ccz"(same), "+a"(low)
                         : "r"(value)
                         : "memory");
        return same;
    case 4:
        __asm__ volatile("lock cmpxchgl %k3, %0"
                         : "+m"(*(char(*)[4])at), "=@ccz"(same), "+a"(low)
                         : "r"(value)
                         : "memory");
        return same;
    case 8:
        __asm__ volatile("lock cmpxchgq %3, %0"
                         : "+m"(*(char(*)[8])at), "=@ccz"(same), "+a"(low)
                         : "r"(value)
                         : "memory");
        return same;
    default: {
        uint64_t high = get_le((const uint8_t *)old + 8, 8);
        __asm__ volatile("lock cmpxchg16b %0"
                         : "+m"(*(char(*)[16])at), "=@ccz"(same), "+a"(low), "+d"(high)
                         : "b"(value), "c"(get_le((const uint8_t *)new + 8, 8))
                         : "memory");
        return same;
    }
    }
}

/* A bus has room for 8 bytes in a row, from a multiple of 8 on: so a descriptor that begins between
 * two of a device's registers is read from both. */
static void access_piece(struct vcpu *vcpu, gpa_t at, void *to, const void *from, unsigned bytes)
{
    if (to != NULL)
        linear_read_page(vcpu, at, to, bytes);
    else
        linear_write_page(vcpu, at, from, bytes);
}

static void access_page(struct vcpu *vcpu, gpa_t at, void *to, const void *from, unsigned bytes)
{
    struct bt_vcpu *v = bt_vcpu(vcpu);
    const bool is_ram = guestmem_slot(&vcpu->vm->mem, at) != NULL;
    if (!is_ram)
        bt_exit_begin(v);
    vm_lock(vcpu->vm);
    for (unsigned n; bytes != 0; bytes -= n) {
        const unsigned room = 8 - at.v % 8;
        n = bytes < room ? bytes : room;
        access_piece(vcpu, at, to, from, n);
        at.v += n;
        to = to != NULL ? (uint8_t *)to + n : NULL;
        from = from != NULL ? (const uint8_t *)from + n : NULL;
    }
    vm_unlock(vcpu->vm);
    if (!is_ram)
        bt_exit_end(v, BT_DEVICE_MEMORY);
}

/* Bytes of RAM, 1 to 8 of them in one access, as another vCPU may look on; more by eight. */
static inline void copy(void *to, const void *from, unsigned bytes)
{
    for (; bytes >= 8; bytes -= 8) {
        __atomic_store_n((uint64_t *)to, __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
        to = (uint8_t *)to + 8;
        from = (const uint8_t *)from + 8;
    }
    if (bytes == 4)
        __atomic_store_n((uint32_t *)to, __atomic_load_n((const uint32_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
    else if (bytes == 2)
        __atomic_store_n((uint16_t *)to, __atomic_load_n((const uint16_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
    else if (bytes != 0) /* 1, or a part of what lies in two pages */
        memcpy(to, from, bytes);
}

static void read_part(struct vcpu *vcpu, gpa_t at, void *to, unsigned bytes)
{
    const void *from = guestmem_window(&vcpu->vm->mem, at, bytes);
    if (from != NULL)
        copy(to, from, bytes);
    else
        access_page(vcpu, at, to, NULL, bytes);
}

/* Behind a write to RAM. */
static void written(struct vcpu *vcpu, gpa_t at, unsigned bytes)
{
    if (bt_vcpu(vcpu)->code != NULL)
        bt_code_written(vcpu->vm, vcpu, at, bytes);
}

static void write_part(struct vcpu *vcpu, gpa_t at, const void *from, unsigned bytes)
{
    void *to = guestmem_writable_window(&vcpu->vm->mem, at, bytes);
    if (to == NULL) {
        access_page(vcpu, at, NULL, from, bytes);
        return;
    }
    copy(to, from, bytes);
    written(vcpu, at, bytes);
}

void bt_read(void *env, const struct emulate_operand *operand, void *to)
{
    struct vcpu *vcpu = &of(env)->vcpu;
    read_part(vcpu, operand->at[0], to, operand->first);
    if (operand->first < operand->bytes)
        read_part(vcpu, operand->at[1], (uint8_t *)to + operand->first,
                  operand->bytes - operand->first);
}

void bt_write(void *env, const struct emulate_operand *operand, const void *from)
{
    struct vcpu *vcpu = &of(env)->vcpu;
    write_part(vcpu, operand->at[0], from, operand->first);
    if (operand->first < operand->bytes)
        write_part(vcpu, operand->at[1], (const uint8_t *)from + operand->first,
                   operand->bytes - operand->first);
}

/* What the CPU does by itself is mostly to a page of RAM that it has been to before. */
static const struct ring3_tlb_entry *kept(struct bt_vcpu *v, enum walk_access access,
                                          uint64_t linear, unsigned bytes, bool user)
{
    const struct ring3_tlb_entry *entry = ring3_tlb_slot(&v->tlb, access, linear);
    return entry->key == ring3_tlb_key(&v->tlb, linear, user) && entry->host != NULL &&
                   linear % PAGE_SIZE + bytes <= PAGE_SIZE
               ? entry
               : NULL;
}

bool bt_read_quickly(struct interpret_env *env, uint64_t linear, void *to, unsigned bytes,
                     bool user)
{
    const struct ring3_tlb_entry *entry = kept(of(env), WALK_READ, linear, bytes, user);
    if (entry == NULL)
        return false;
    copy(to, entry->host + linear % PAGE_SIZE, bytes);
    return true;
}

bool bt_write_quickly(struct interpret_env *env, uint64_t linear, const void *from, unsigned bytes,
                      bool user)
{
    struct bt_vcpu *v = of(env);
    const struct ring3_tlb_entry *entry = kept(v, WALK_WRITE, linear, bytes, user);
    if (entry == NULL)
        return false;
    write_part(&v->vcpu, gpa(entry->page.v + linear % PAGE_SIZE), from, bytes);
    return true;
}

/* Where one instruction of the processor reaches it: in one page of RAM. NULL: nowhere. */
static void *one_access(const struct bt_vcpu *v, const struct emulate_operand *operand)
{
    return operand->first == operand->bytes
               ? guestmem_writable_window(&v->vcpu.vm->mem, operand->at[0], operand->bytes)
               : NULL;
}

/*
 * LOCK. In one page of RAM the processor makes it, aligned or not, and it is atomic whatever other
 * vCPUs do, at CPL 3 or here. What lies in two pages, or is a device's, is read and written by
 * itself, with a lock of the VM's held in between: so it is atomic for all others that are executed
 * in software. A store, or a LOCK of code at CPL 3 across the same two pages, does not wait for it,
 * and may be lost where it comes in between.
 */
void bt_read_locked(struct interpret_env *env, const struct emulate_operand *operand, void *to)
{
    struct bt_vcpu *v = of(env);
    v->locked_access = one_access(v, operand) == NULL;
    if (v->locked_access)
        spinlock_lock(&v->vcpu.vm->locked_access);
    bt_read(env, operand, to);
}

bool bt_exchange(struct interpret_env *env, const struct emulate_operand *operand, const void *old,
                 const void *new)
{
    struct bt_vcpu *v = of(env);
    void *at = v->locked_access ? NULL : one_access(v, operand);
    if (at != NULL) {
        if (!exchange(at, old, new, operand->bytes))
            return false;
        written(&v->vcpu, operand->at[0], operand->bytes);
        return true;
    }
    bt_write(env, operand, new); /* or ROM has come into the place of RAM meanwhile */
    if (v->locked_access)
        spinlock_unlock(&v->vcpu.vm->locked_access);
    v->locked_access = false;
    return true;
}
