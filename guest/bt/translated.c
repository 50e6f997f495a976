/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs translated kernel code: enters a block at CPL 3, and sees to what ends that. Within
 * translated code the guest's general registers and flags are in the processor and the frame; what
 * else there is of them is in struct bt_shared. leave_at() makes struct cpu_state whole again.
 *
 * What the processor cannot do, the software CPU carries out, one instruction, when this has
 * returned; so each exception in a block is handled by going back to before the instruction.
 */
#include "guest/bt/bt.h"
#include "guest/bt/code.h"
#include "guest/bt/space.h"
#include "guest/cpu/system.h"

/* Flags that are in the processor while translated code runs. */
#define LIVE_FLAGS \
    (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_DF | RFLAGS_OF | RFLAGS_ID)
/* Those with which guest code is the software CPU's: what they do, the processor would do to the
 * translation. AC, because CPL 3 is checked for alignment. */
#define OTHER_FLAGS                                                                         \
    (RFLAGS_TF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC | RFLAGS_VIF | \
     RFLAGS_VIP)

#define MAX_STEPS 128 /* to the next boundary: a template, and what the look-up has */

/* LEAVE_INSN: the guest is before an instruction that the software CPU is to carry out. */
enum next { GO_ON, LEAVE, LEAVE_INSN };

/* --- which code is translated --- */

/* A segment whose offsets are linear addresses, all of them. */
static bool is_flat(const struct cpu_segment *s, bool code)
{
    const uint32_t type = s->access & 0xf;
    return (s->access & ACCESS_UNUSABLE) == 0 && s->base == 0 && s->limit == UINT32_MAX &&
           (s->access & ACCESS_DB) != 0 && (code || (type & 0xe) == 2 /* data, writable, up */);
}

/* Protected mode, or compatibility mode: R8 to R15 and what is above 4 GiB are not to be seen. */
static bool __attribute__((noinline)) is_flat_32(const struct cpu_state *s)
{
    return (s->cr0 & CR0_PE) != 0 && is_flat(&s->cs, true) && is_flat(&s->ds, false) &&
           is_flat(&s->es, false) && is_flat(&s->ss, false);
}

bool __attribute__((hot)) bt_translates(const struct bt_vcpu *v)
{
    const struct cpu_state *s = &v->state;
    if (v->code == NULL || v->code->window_used || v->watched || (s->rflags & OTHER_FLAGS) != 0 ||
        (s->interruptibility & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) != 0 ||
        s->pending_debug != 0 || (s->dr7 & 0xff) != 0 || segment_cpl(s) != 0)
        return false;
    return segment_is_64(s) || is_flat_32(s);
}

/* --- in and out --- */

/* An address in a slot of the hypervisor's where nothing is, for 4 GiB. */
#define NOWHERE (HOST_IMAGE_BASE + (1ull << 38))

static bool is_long(const struct bt_vcpu *v)
{
    return (v->state.efer & EFER_LMA) != 0;
}

/* What FS or GS base is to be for 32-bit code. In 64-bit code segments have no limits and rights,
 * and do not wrap at 4 GiB, where compatibility mode may have memory: one that would need any of
 * that is put to where each access faults, and is the software CPU's then. */
static uint64_t __attribute__((cold))
base_for_32(const struct bt_vcpu *v, const struct cpu_segment *s)
{
    const bool all = (s->access & ACCESS_UNUSABLE) == 0 && s->limit == UINT32_MAX &&
                     (s->access & 0xe) == 2 /* data, writable, up */;
    return all && (s->base == 0 || !is_long(v)) ? s->base : NOWHERE;
}

static inline uint64_t base_of(const struct bt_vcpu *v, const struct cpu_segment *s)
{
    return v->code->cache.mode == INSN_64 ? s->base : base_for_32(v, s);
}

/* 32-bit code has eight general registers of 32 bits. The others are the translation's meanwhile.
 */
static void __attribute__((cold)) hide_high(struct bt_vcpu *v)
{
    for (unsigned i = 0; i < 8; i++) {
        v->state.gpr[i] &= UINT32_MAX;
        v->high[i] = v->state.gpr[8 + i];
    }
}

static void __attribute__((cold)) show_high(struct bt_vcpu *v)
{
    for (unsigned i = 0; i < 8; i++)
        v->state.gpr[8 + i] = v->high[i];
}

/* What a segment register has been loaded with, or 0: nothing that is in a table. */
static uint64_t descriptor_of(const struct cpu_segment *s)
{
    const uint64_t access = s->access, limit = access & ACCESS_G ? s->limit >> 12 : s->limit;
    if ((access & ACCESS_UNUSABLE) != 0 || ((access & ACCESS_G) != 0 && (~s->limit & 0xfff) != 0))
        return 0;
    return (limit & 0xffff) | (s->base & 0xffffff) << 16 | (access & 0xff) << 40 |
           (limit & 0xf0000) << 32 | (access & 0xf000) << 40 | (s->base & 0xff000000) << 32;
}

/* Whether IRET to the same segment finds it in the GDT, perhaps. */
static bool prepare_iret_to(const struct bt_vcpu *v, struct bt_shared *shared, unsigned which,
                            const struct cpu_segment *s)
{
    const struct cpu_table_register *gdtr = &v->state.gdtr;
    shared->iret_at[which] = gdtr->base + s->selector;
    shared->iret_descriptor[which] = descriptor_of(s);
    return (s->selector & 7) == 0 && s->selector != 0 && (s->selector | 7) <= gdtr->limit &&
           shared->iret_descriptor[which] != 0;
}

/* A null SS has no descriptor: the template compares a word with itself. While NMIs are blocked,
 * IRET does more. */
static void __attribute__((noinline)) prepare_iret(struct bt_vcpu *v)
{
    const struct cpu_state *s = &v->state;
    struct bt_shared *shared = v->code->cache.shared;
    const bool null = s->ss.selector == 0 && (s->ss.access & ACCESS_UNUSABLE) != 0;
    const uint64_t at = v->code->cache.shared_at;
    const bool to_cs = prepare_iret_to(v, shared, 0, &s->cs);
    const bool to_ss = prepare_iret_to(v, shared, 1, &s->ss) || null;
    v->code->iret = (struct bt_iret){s->cs, s->ss, s->gdtr, s->interruptibility};
    shared->iret_minus_cs = -(uint64_t)s->cs.selector;
    shared->iret_ss = s->ss.selector;
    if (null)
        shared->iret_at[1] = at + offsetof(struct bt_shared, iret_descriptor[1]);
    if (!to_cs || !to_ss || (s->interruptibility & BLOCKED_BY_NMI) != 0) {
        shared->iret_minus_cs = BT_NO_IRET;
        shared->iret_at[0] = at + offsetof(struct bt_shared, iret_minus_cs);
        shared->iret_descriptor[0] = 0;
    }
}

static inline uint64_t differs(const struct cpu_segment *a, const struct cpu_segment *b)
{
    return (a->base ^ b->base) | (a->limit ^ b->limit) | (a->access ^ b->access) |
           (unsigned)(a->selector ^ b->selector);
}

/* Whether it has been prepared for something else. */
static inline bool is_iret_new(const struct bt_iret *old, const struct cpu_state *s)
{
    return (differs(&old->cs, &s->cs) | differs(&old->ss, &s->ss) |
            (old->gdtr.base ^ s->gdtr.base) | (unsigned)(old->gdtr.limit ^ s->gdtr.limit) |
            (old->interruptibility ^ s->interruptibility)) != 0;
}

/* False: the processor does not take FS or GS base. */
static bool __attribute__((hot)) enter_at(struct bt_vcpu *v, const struct bt_block *block)
{
    const struct cpu_state *s = &v->state;
    struct bt_shared *shared = v->code->cache.shared;
    struct ring3_frame *frame = &v->frame;
    if (!ring3_segments_load_bases(&v->direct.segments, base_of(v, &s->fs), base_of(v, &s->gs)))
        return false;
    if (v->code->cache.mode == INSN_32)
        hide_high(v);
    bt_direct_enter_kernel(v);
    interpret_settle(&v->env);
    frame->rflags = ring3_flags(s->rflags & LIVE_FLAGS);
    frame->rip = bt_cache_address(&v->code->cache, block);
    frame->cs = DESC_USER_CODE64;
    frame->ss = DESC_USER_DATA;
    shared->interrupts_off = (s->rflags & RFLAGS_IF) != 0 ? 0 : -(uint64_t)RFLAGS_IF;
    shared->pending = v->something_waits;
    shared->gs_base = s->gs.base;
    shared->kernel_gs_base = v->env.extra.kernel_gs_base;
    shared->tsc_offset = v->vcpu.tsc_offset;
    for (unsigned i = 0; i < 6; i++)
        shared->selector[i] = s->segment[i].selector;
    if (v->code->cache.mode == INSN_64 && is_iret_new(&v->code->iret, s))
        prepare_iret(v);
    return true;
}

static void take_base(uint64_t *to, uint64_t from)
{
    /* The guest can have written anything there, which no CPU takes for a base. */
    if ((uint64_t)((int64_t)(from << 16) >> 16) == from)
        *to = from;
}

static void __attribute__((hot)) take_flags(struct bt_vcpu *v)
{
    struct cpu_state *s = &v->state;
    s->rflags = (s->rflags & ~(LIVE_FLAGS | RFLAGS_IF)) | (v->frame.rflags & LIVE_FLAGS) |
                (v->code->cache.shared->interrupts_off == 0 ? RFLAGS_IF : 0);
}

/* The guest is before the instruction at rip. */
static void __attribute__((hot)) leave_at(struct bt_vcpu *v, uint64_t rip)
{
    struct cpu_state *s = &v->state;
    const struct bt_shared *shared = v->code->cache.shared;
    bt_direct_leave_kernel(v);
    take_flags(v);
    s->rip = rip;
    if (v->code->cache.mode == INSN_32)
        show_high(v);
    if (v->code->cache.mode == INSN_64) { /* SWAPGS */
        const uint64_t gs_base = __atomic_load_n(&shared->gs_base, __ATOMIC_RELAXED);
        ring3_segments_note_gs(&v->direct.segments, gs_base);
        take_base(&s->gs.base, gs_base);
        take_base(&v->env.extra.kernel_gs_base, shared->kernel_gs_base);
    }
}

static void take_back(struct bt_vcpu *v, unsigned registers)
{
    for (; registers != 0; registers &= registers - 1) {
        const unsigned number = (unsigned)__builtin_ctz(registers);
        v->frame.gpr[number] = v->code->cache.shared->spill[number];
    }
}

static void leave_before(struct bt_vcpu *v, const struct bt_block *block,
                         const struct translate_insn *insn)
{
    leave_at(v, block->pc + insn->guest);
    if (insn->shadow && (v->state.rflags & RFLAGS_IF) != 0)
        v->state.interruptibility |= BLOCKED_BY_STI;
}

/* An exception in that block, or none: the instruction is to be carried out by the software CPU. */
static enum next __attribute__((cold))
give_back_in(struct bt_vcpu *v, const struct bt_block *block, unsigned offset)
{
    if (block == NULL) { /* what the guest has made of its own tables */
        bt_direct_leave_kernel(v);
        vm_end_format(v->vcpu.vm, VM_CRASH, 0, "the guest has left its translated code for 0x%llx",
                      (unsigned long long)v->frame.rip);
        return LEAVE;
    }
    const struct translate_insn *insn = bt_cache_insn(&v->code->cache, block, offset);
    bt_sites_leave(&v->code->sites, &v->code->cache, v->frame.rip, block, insn);
    take_back(v, insn->spilled);
    leave_before(v, block, insn);
    return LEAVE_INSN;
}

/* The same, where it is known. */
static enum next give_back_known(struct bt_vcpu *v, const struct bt_site *site)
{
    leave_at(v, site->pc);
    v->known = &site->known;
    return LEAVE_INSN;
}

/* The same, wherever it was. */
static enum next give_back(struct bt_vcpu *v)
{
    const struct bt_site *site = bt_sites_find(&v->code->sites, &v->code->cache, v->frame.rip);
    unsigned offset;
    if (site != NULL) {
        take_back(v, site->spilled);
        return give_back_known(v, site);
    }
    const struct bt_block *block = bt_cache_at(&v->code->cache, v->frame.rip, &offset);
    return give_back_in(v, block, offset);
}

/* An exception that the guest gets: of the instruction, which has not been carried out. */
static enum next step_back(struct bt_vcpu *v)
{
    const enum next next = give_back(v);
    v->known = NULL;
    v->code->sites.block = BT_NONE;
    return next == LEAVE_INSN ? LEAVE : next;
}

/* Goes on with that block, the guest's registers being in the frame. */
static enum next go_to(struct bt_vcpu *v, const struct bt_block *block)
{
    v->frame.rip = bt_cache_address(&v->code->cache, block);
    return GO_ON;
}

/* The guest goes to an address whose block was not known. */
static enum next find_target(struct bt_vcpu *v, uint64_t target, struct bt_block **to)
{
    *to = bt_code_find(v, target);
    if (*to != NULL && !bt_check_wants(v->check, *to))
        return go_to(v, *to);
    leave_at(v, target);
    if (*to != NULL) { /* it is begun anew, by itself */
        v->check->behind = true;
        *to = NULL;
        return LEAVE;
    }
    if (v->check != NULL)
        v->check->behind = true;
    return v->code->stale ? LEAVE : LEAVE_INSN;
}

static enum next look_up(struct bt_vcpu *v)
{
    struct bt_cache *cache = &v->code->cache;
    struct bt_block *to;
    uint64_t target = cache->shared->target;
    if (cache->mode == INSN_64)
        take_back(v, 1u << RAX | 1u << RCX | 1u << RDX);
    else
        target = (uint32_t)target;
    const enum next next = find_target(v, target, &to);
    if (to != NULL)
        bt_cache_publish(cache, to);
    return next;
}

static bool is_light(const struct bt_vcpu *v, const struct bt_site *site)
{
    const bool is_msr = site->known.insn.op == SYSTEM_RDMSR || site->known.insn.op == SYSTEM_WRMSR;
    return site->light && (!is_msr || (uint32_t)v->state.rcx < BT_LIGHT_MSRS);
}

static enum next __attribute__((noinline)) find_behind(struct bt_vcpu *v, struct bt_site *site)
{
    struct bt_block *to;
    const enum next next = find_target(v, v->state.rip, &to);
    if (to != NULL)
        site->next = (uint32_t)(to - v->code->cache.block);
    return next;
}

/* A way out that is known. What an instruction has done to the code, or to what it goes by, is seen
 * to before the guest goes on. */
static enum next carry_out(struct bt_vcpu *v, struct bt_site *site)
{
    struct bt_code *code = v->code;
    struct cpu_state *s = &v->state;
    take_back(v, site->spilled);
    if (bt_check_is_comparing(v->check) || !is_light(v, site))
        return give_back_known(v, site);
    take_flags(v);
    s->rip = site->pc;
    bt_count(v, BT_INTERPRETED, 1);
    if (!interpret_light(&v->env, &site->known)) {
        leave_at(v, site->pc);
        return LEAVE;
    }
    code->cache.shared->tsc_offset = v->vcpu.tsc_offset;
    if (code->window_used || (code->stale && !bt_code_catch_up(v, code->cache.mode))) {
        leave_at(v, s->rip);
        return LEAVE;
    }
    if (site->next != BT_NONE && !code->cache.block[site->next].dead)
        return go_to(v, &code->cache.block[site->next]);
    return find_behind(v, site);
}

/* One that is not: to another block, mostly. */
static enum next __attribute__((noinline)) new_way_out(struct bt_vcpu *v)
{
    struct bt_cache *cache = &v->code->cache;
    unsigned offset;
    if (v->frame.rip == cache->miss_at)
        return look_up(v);
    const struct bt_block *block = bt_cache_at(cache, v->frame.rip, &offset);
    const uint32_t slot = block != NULL ? bt_cache_slot_of(cache, block, v->frame.rip) : BT_NONE;
    if (slot == BT_NONE)
        return give_back_in(v, block, offset);
    struct bt_block *to;
    const enum next next = find_target(v, cache->slot[slot].target, &to);
    if (to != NULL)
        bt_cache_link(cache, block, slot, to);
    return next;
}

/* #GP: a way out, mostly. */
static inline enum next way_out(struct bt_vcpu *v)
{
    struct bt_site *site = bt_sites_find(&v->code->sites, &v->code->cache, v->frame.rip);
    return site != NULL ? carry_out(v, site) : new_way_out(v);
}

/* Carrying the instruction out is right whatever the page is; and where some longer work is under
 * way, it is a step forward meanwhile. What is fetched at CPL 3 is no code of the guest's. */
static enum next __attribute__((noinline)) page_fault(struct bt_vcpu *v)
{
    /* Without long mode the first 4 GiB are there twice, so that they wrap: mm/shadow.c. */
    const unsigned bits = is_long(v) ? 32 : 33;
    const uint32_t error = (uint32_t)v->frame.error;
    enum next next;
    if ((error & PF_FETCH) != 0 || (v->code->cache.mode == INSN_32 && v->frame.cr2 >> bits != 0))
        return give_back(v);
    switch (bt_space_fault(v, SHADOW_KERNEL, v->frame.cr2, error, false)) {
    case BT_FAULT_MAPPED: return GO_ON;
    case BT_FAULT_GUEST:
        next = step_back(v);
        bt_space_raise(v);
        return next;
    default: return give_back(v);
    }
}

/* The CPU leaves in DR6 what was set there before: direct.c tells by it what the next #DB is. */
static void forget_step(void)
{
    cpu_write_dr6(DR6_RESET);
}

static enum next __attribute__((cold)) exception(struct bt_vcpu *v, unsigned vector)
{
    if (vector == VECTOR_DEBUG)
        forget_step();
    if (!bt_direct_is_of_guest(vector))
        return give_back(v);
    const enum next next = step_back(v);
    vcpu_inject_exception(&v->vcpu, vector);
    return next;
}

/* What has ended translated code; a host's interrupt has been handled. */
static enum next __attribute__((hot)) see_to(struct bt_vcpu *v, unsigned vector)
{
    if (vector == VECTOR_GENERAL_PROTECTION)
        return way_out(v);
    if (vector == VECTOR_PAGE_FAULT)
        return page_fault(v);
    return vector >= VECTOR_FIRST_EXTERNAL && vector < RING3_SYSCALL ? GO_ON : exception(v, vector);
}

/* --- to a boundary between instructions --- */

static bool at_boundary(struct bt_vcpu *v)
{
    unsigned offset;
    const struct bt_block *block = bt_cache_at(&v->code->cache, v->frame.rip, &offset);
    if (block == NULL)
        return false;
    const struct translate_insn *insn = bt_cache_insn(&v->code->cache, block, offset);
    if (insn->at != offset)
        return false;
    leave_before(v, block, insn);
    return true;
}

/* A PUSHFQ of a template's own has stored the flags of a single step: with TF, and without IF,
 * which the template counts on. */
static void correct_pushed_flags(struct bt_vcpu *v, uint8_t executed)
{
    const struct bt_cache *cache = &v->code->cache;
    const uint64_t offset = v->frame.gpr[RSP] - cache->shared_at;
    if (executed != 0x9c || offset > sizeof(struct bt_shared) - 8)
        return;
    uint8_t *second = (uint8_t *)cache->shared + offset + 1;
    *second = (uint8_t)((*second & ~(RFLAGS_TF >> 8)) | RFLAGS_IF >> 8);
}

static uint8_t code_byte(const struct bt_vcpu *v)
{
    const uint64_t offset = v->frame.rip - v->code->cache.code_at;
    return offset < v->code->cache.code_used ? v->code->cache.code[offset] : 0;
}

/* Within a template, or a jump between blocks: single steps to where the guest is between two
 * instructions. With the host's interrupts off, as one may be pending all the time. */
static enum next __attribute__((cold)) leave(struct bt_vcpu *v)
{
    for (unsigned i = 0; i < MAX_STEPS; i++) {
        const uint8_t byte = code_byte(v);
        enum next next = GO_ON;
        if (at_boundary(v))
            return LEAVE;
        v->frame.rflags = (v->frame.rflags & ~(uint64_t)RFLAGS_IF) | RFLAGS_TF;
        const unsigned vector = bt_space_run(v, SHADOW_KERNEL, &v->frame);
        v->frame.rflags = (v->frame.rflags & ~(uint64_t)RFLAGS_TF) | RFLAGS_IF;
        if (vector == VECTOR_DEBUG) {
            correct_pushed_flags(v, byte);
            forget_step();
        } else {
            next = see_to(v, vector);
        }
        if (next != GO_ON)
            return next;
    }
    bt_direct_leave_kernel(v);
    vm_end_format(v->vcpu.vm, VM_CRASH, 0, "the guest has changed its translated code's tables");
    return LEAVE;
}

/* --- the loop --- */

static bool is_wanted(const struct bt_vcpu *v)
{
    return v->vcpu.attention || cpu_rdtsc() >= v->vcpu.timers.next;
}

/* The guest's registers are in the frame: until something is wanted, or the guest is to be left. */
static inline __attribute__((always_inline)) enum next run(struct bt_vcpu *v)
{
    enum next next;
    do
        next = see_to(v, bt_space_run(v, SHADOW_KERNEL, &v->frame));
    while (next == GO_ON && !is_wanted(v));
    if (next != GO_ON)
        return next;
    v->batch_is_over = true; /* or it would be entered again before anyone looks */
    return leave(v);
}

/* One block, or as much of it as there is time for. As bt_run_translated(). */
static bool __attribute__((cold)) run_checked(struct bt_vcpu *v, struct bt_block *block)
{
    block = bt_check_begin(v, block);
    if (block == NULL || !enter_at(v, block)) {
        v->check->comparing = false;
        return !v->code->stale;
    }
    bt_cache_hide(&v->code->cache, v->check->state.rip); /* or it would not come back */
    const enum next next = run(v);
    bt_check_end(v, block);
    return next == LEAVE_INSN;
}

/* Another CPU that has changed code sets vcpu->attention, and then sends an interrupt, which ends
 * what runs here: so a change that is_wanted() has not seen yet ends the next entry at once. */
bool __attribute__((hot)) bt_run_translated(struct bt_vcpu *v)
{
    if (!bt_code_catch_up(v, segment_is_64(&v->state) ? INSN_64 : INSN_32))
        return false; /* the caller looks at what else there is, and calls again */
    struct bt_block *block = bt_code_find(v, v->state.rip);
    if (block != NULL && bt_check_wants(v->check, block))
        return run_checked(v, block);
    if (block == NULL || !enter_at(v, block))
        return !v->code->stale;
    return run(v) == LEAVE_INSN;
}
