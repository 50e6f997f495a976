/* SPDX-License-Identifier: BSD-2-Clause */
/* The roots in which code of a guest's runs: made, entered, filled and flushed. */
#include "guest/bt/space.h"

#include "arch/log.h"
#include "guest/bt/bt.h"
#include "guest/cpu/guestwalk.h"
#include "mm/guestspace.h"

#define WINDOW_SLOT (HOST_WINDOW_BASE >> 39 & 511)
#define MAX_WALKS   8 /* for one fault, while other vCPUs flush */

static struct shadow *shadow_of(const struct vm *vm)
{
    return ((struct bt_vm *)vm->engine_vm)->shadow;
}

/* --- what the guest's tables say, for the shadow --- */

static bool look(void *ctx, enum shadow_root root, gva_t linear, struct guest_translation *out)
{
    (void)root;
    const struct bt_vcpu *v = ctx;
    const struct guest_paging paging = bt_paging(v, false);
    return guestwalk_look(&v->vcpu.vm->mem, &paging, linear, out);
}

static uint64_t top(void *ctx, enum shadow_root root, gva_t linear)
{
    (void)root;
    const struct bt_vcpu *v = ctx;
    const struct guest_paging paging = bt_paging(v, false);
    return guestwalk_top(&v->vcpu.vm->mem, &paging, linear);
}

/* --- it comes and goes --- */

/* A device has written to guest memory. */
static void note_written(void *ctx, gpa_t at, uint64_t bytes)
{
    bt_code_written(ctx, NULL, at, bytes);
}

static enum status create(struct bt_vcpu *v)
{
    struct vm *vm = v->vcpu.vm;
    const struct shadow_guest guest = {.translate = look, .top = top, .ctx = v};
    enum status s = OK;
    vm_lock(vm);
    if (shadow_of(vm) == NULL)
        s = shadow_create(&vm->mem, 0, &((struct bt_vm *)vm->engine_vm)->shadow);
    vm->mem.written = note_written;
    vm->mem.written_ctx = vm;
    if (s == OK)
        s = bt_code_create(v);
    if (s == OK && vm->checked)
        s = bt_check_create(v);
    if (s == OK)
        s = shadow_cpu_create(&v->space.roots.shadow, shadow_of(vm), v->vcpu.index, vm->root,
                              WINDOW_SLOT, &guest);
    if (s != OK)
        __atomic_store_n(&v->code, NULL, __ATOMIC_RELEASE); /* nothing could run it */
    vm_unlock(vm);
    return s;
}
_Static_assert(VM_MAX_VCPUS <= SHADOW_MAX_CPUS, "each has a number");

void bt_space_load(struct bt_vcpu *v)
{
    struct vm *vm = v->vcpu.vm;
    ring3_roots_forget_timer(&v->space.roots);
    if (v->filled || vm->interpreted)
        return;
    const enum status s = create(v);
    v->space.exists = s == OK;
    if (s != OK)
        log_line_of(vm->log, "vm %s: no shadow page tables, so vCPU %u is interpreted: %s",
                    vm->name, v->vcpu.index, status_text(s));
}

void bt_space_destroy(struct bt_vcpu *v)
{
    if (v->space.exists)
        shadow_cpu_destroy(&v->space.roots.shadow, v->vcpu.index);
    v->space.exists = false;
}

void bt_space_destroy_vm(struct vm *vm)
{
    struct bt_vm *own = vm->engine_vm;
    if (own->shadow != NULL)
        shadow_destroy(own->shadow);
    own->shadow = NULL;
}

/* --- running in it --- */

unsigned __attribute__((hot))
bt_space_run(struct bt_vcpu *v, enum shadow_root root, struct ring3_frame *frame)
{
    bt_count(v, root == SHADOW_USER ? BT_DIRECT_ENTRIES : BT_CACHE_ENTRIES, 1);
    return ring3_roots_run(&v->space.roots, &v->vcpu, root, frame);
}

void bt_space_need_window(struct bt_vcpu *v)
{
    if (v->space.exists && cpu_read_cr3() == v->space.roots.shadow.root[SHADOW_USER].v)
        cpu_write_cr3(v->vcpu.vm->root.v);
}

/* --- page faults --- */

static enum bt_fault resolve(struct bt_vcpu *v, enum shadow_root root, gva_t linear,
                             enum walk_access access, bool user)
{
    struct shadow_cpu *shadow = &v->space.roots.shadow;
    const struct guest_paging paging = bt_paging(v, user);
    struct guest_translation found;
    for (unsigned n = 0; n < MAX_WALKS; n++) {
        const uint64_t version = shadow_version(shadow);
        if (!guestwalk_examine(&v->vcpu.vm->mem, &paging, linear, access, &found,
                               &v->space.fault_error)) {
            v->space.fault_at = linear.v;
            return BT_FAULT_GUEST;
        }
        switch (shadow_fill(shadow, root, linear, access == WALK_WRITE, &found, version)) {
        case SHADOW_DONE: return BT_FAULT_MAPPED;
        case SHADOW_WALK: break;
        case SHADOW_CODE: bt_code_give_up(v, found.at); return BT_FAULT_INTERPRET;
        case SHADOW_AGAIN: return BT_FAULT_LATER;
        case SHADOW_WAIT: /* they leave their roots, and drop what they have cached */
            vcpu_kick_all(v->vcpu.vm, bt_others(v->vcpu.vm, &v->vcpu));
            return BT_FAULT_LATER;
        case SHADOW_EMULATE: return BT_FAULT_INTERPRET;
        }
    }
    return BT_FAULT_LATER;
}

enum bt_fault bt_space_fault(struct bt_vcpu *v, enum shadow_root root, uint64_t linear,
                             uint32_t error, bool user)
{
    const enum walk_access access = (error & PF_FETCH) != 0   ? WALK_FETCH
                                    : (error & PF_WRITE) != 0 ? WALK_WRITE
                                                              : WALK_READ;
    if ((v->state.efer & EFER_LMA) == 0)
        linear &= UINT32_MAX; /* what begins below 4 GiB wraps: mm/shadow.c */
    bt_exit_begin(v);
    const enum bt_fault result = resolve(v, root, gva(linear), access, user);
    bt_exit_end(v, BT_SHADOW);
    return result;
}

void bt_space_raise(struct bt_vcpu *v)
{
    vcpu_inject_page_fault(&v->vcpu, v->space.fault_at, v->space.fault_error);
}

/* --- flushes --- */

void bt_space_switch(struct bt_vcpu *v, enum shadow_flush flush)
{
    const struct cpu_state *s = &v->state;
    ring3_tlb_flush(&v->tlb);
    if (v->space.exists)
        shadow_switch(&v->space.roots.shadow, s->cr0, s->cr4, s->efer, flush);
    if (flush != SHADOW_FLUSH_NONE)
        bt_code_check(v, flush == SHADOW_FLUSH_ALL);
}

/* The CPU may have the page in its TLB only while it is in one of the roots: coming back to one
 * drops all. */
static void invalidate(struct bt_vcpu *v, uint64_t linear)
{
    if (!v->space.exists)
        return;
    const bool is_long = (v->state.efer & EFER_LMA) != 0;
    if (!is_long)
        linear &= UINT32_MAX;
    shadow_invalidate(&v->space.roots.shadow, gva(linear));
    cpu_invlpg(linear);
    if (!is_long)
        cpu_invlpg(linear + (1ull << 32));
}

void bt_space_invalidate(struct bt_vcpu *v, uint64_t linear)
{
    ring3_tlb_invalidate(&v->tlb, linear);
    invalidate(v, linear);
    bt_code_check_one(v, gva(linear));
}

/* SDM, "Operations that Invalidate TLBs and Paging-Structure Caches": a page fault does, too, what
 * there is of its page, so that a handler may go on without an INVLPG. */
void bt_space_guest_fault(struct bt_vcpu *v, uint64_t linear)
{
    bt_space_invalidate(v, linear);
}

void bt_space_memory_changed(struct vm *vm)
{
    if (shadow_of(vm) != NULL)
        shadow_drop_all(shadow_of(vm));
}
