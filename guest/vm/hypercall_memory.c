/* SPDX-License-Identifier: BSD-2-Clause */
/* Nadir's own hypercalls on arrays in the guest's memory: changes of its page tables, text for the
 * console, and the accounts. Each element is read once, into a copy of our own. */
#include "arch/x86.h"
#include "guest/hypercall.h"
#include "guest/vm/hypercall.h"

/* --- the caller's memory --- */

static bool is_canonical(const struct hypercall *call, uint64_t linear)
{
    const unsigned unused = (call->ctx.paging.cr4 & CR4_LA57) != 0 ? 64 - 57 : 64 - 48;
    return (uint64_t)((int64_t)(linear << unused) >> unused) == linear;
}

/* One page of it. */
static bool reach(struct hypercall *call, uint64_t linear, bool write, gpa_t *at)
{
    const struct guestmem *mem = &call->vcpu->vm->mem;
    uint32_t error;
    if (!call->is_64bit)
        linear &= UINT32_MAX;
    else if (!is_canonical(call, linear))
        return false;
    if (!guestwalk_translate(mem, &call->ctx.paging, gva(linear), write ? WALK_WRITE : WALK_READ,
                             at, &error))
        return false;
    return write ? guestmem_is_writable(mem, *at) : guestmem_slot(mem, *at) != NULL;
}

int hypercall_area(struct hypercall *call, uint64_t linear, unsigned bytes, bool write,
                   struct emulate_operand *out)
{
    const uint64_t room = PAGE_SIZE - linear % PAGE_SIZE;
    out->bytes = bytes;
    out->first = bytes < room ? bytes : (unsigned)room;
    if (!reach(call, linear, write, &out->at[0]) ||
        (out->first != bytes && !reach(call, linear + room, write, &out->at[1])))
        return NADIR_BAD_ADDRESS;
    return 0;
}

void hypercall_read(const struct hypercall *call, const struct emulate_operand *area, void *to)
{
    const struct guestmem *mem = &call->vcpu->vm->mem;
    (void)guestmem_read(mem, area->at[0], to, area->first);
    if (area->first < area->bytes)
        (void)guestmem_read(mem, area->at[1], (uint8_t *)to + area->first,
                            area->bytes - area->first);
}

void hypercall_write(const struct hypercall *call, const struct emulate_operand *area,
                     const void *from, unsigned bytes)
{
    const struct guestmem *mem = &call->vcpu->vm->mem;
    const unsigned first = bytes < area->first ? bytes : area->first;
    (void)guestmem_write(mem, area->at[0], from, first);
    if (first < bytes)
        (void)guestmem_write(mem, area->at[1], (const uint8_t *)from + first, bytes - first);
}

/* --- page tables --- */

#define OPS          16u /* read, done and written back at once */
#define EXCHANGES    64u
#define FLAGS_STAY   ((uint64_t)(PTE_A | PTE_D)) /* the CPU's own, under NADIR_PROTECT */
#define PROTECT_BITS (~((uint64_t)PTE_ADDRESS | FLAGS_STAY))

/* The bits of an entry that are reserved (SDM, "4-Level Paging"): an entry with one would fault at
 * each access. One that is not present has none. */
static bool is_good_entry(const struct hypercall *call, uint64_t entry)
{
    const struct guest_paging *p = &call->ctx.paging;
    uint64_t reserved = PTE_ADDRESS & ~((1ull << p->phys_bits) - 1);
    if ((p->efer & EFER_NXE) == 0)
        reserved |= PTE_NX;
    return (entry & PTE_P) == 0 || (entry & reserved) == 0;
}

static bool is_ram(const struct hypercall *call, uint64_t entry)
{
    return (entry & PTE_P) == 0 ||
           guestmem_slot(&call->vcpu->vm->mem, gpa(entry & PTE_ADDRESS)) != NULL;
}

/* What the entry becomes. */
static uint64_t changed(const struct nadir_memory_op *op, uint64_t old)
{
    switch (op->op) {
    case NADIR_MAP: return op->entry;
    case NADIR_PROTECT: return (old & ~PROTECT_BITS) | (op->entry & PROTECT_BITS);
    default: return 0;
    }
}

/* In one access, since other CPUs of the guest may set flags in the entry meanwhile, or change it.
 * Who does that all the time loses what it has set at last. */
static uint64_t exchange(uint64_t *entry, const struct nadir_memory_op *op)
{
    uint64_t old = __atomic_load_n(entry, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < EXCHANGES; i++)
        if (__atomic_compare_exchange_n(entry, &old, changed(op, old), false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED))
            return old;
    return __atomic_exchange_n(entry, changed(op, old), __ATOMIC_SEQ_CST);
}

static void drop_translation(struct vcpu *vcpu, uint64_t linear)
{
    if (vcpu->engine->invalidate != NULL)
        vcpu->engine->invalidate(vcpu, gva(linear));
    else
        vcpu->engine->flush_tlb(vcpu);
}

static int change_entry(struct hypercall *call, struct nadir_memory_op *op)
{
    const struct guestmem *mem = &call->vcpu->vm->mem;
    gpa_t at;
    if (!guestwalk_find_entry(mem, &call->ctx.paging, gva(op->linear), &at))
        return NADIR_NO_TABLE;
    uint64_t *entry = guestmem_writable_window(mem, at, sizeof(*entry));
    if (entry == NULL)
        return NADIR_NO_TABLE;
    if (op->op == NADIR_PROTECT && (__atomic_load_n(entry, __ATOMIC_RELAXED) & PTE_P) == 0)
        return NADIR_NOT_MAPPED;
    op->entry = exchange(entry, op);
    if (mem->written != NULL)
        mem->written(mem->written_ctx, at, sizeof(*entry));
    return 0;
}

static int apply(struct hypercall *call, struct nadir_memory_op *op)
{
    int result = 0;
    if (op->op < NADIR_MAP || op->op > NADIR_FLUSH)
        return NADIR_BAD_ARGUMENT;
    if (!is_canonical(call, op->linear))
        return NADIR_BAD_ADDRESS;
    const bool has_entry = op->op == NADIR_MAP || op->op == NADIR_PROTECT;
    if ((has_entry && !is_good_entry(call, changed(op, 0))) ||
        (op->op == NADIR_MAP && !is_ram(call, op->entry)))
        return NADIR_BAD_FRAME;
    if (op->op != NADIR_FLUSH)
        result = change_entry(call, op);
    if (result == 0)
        drop_translation(call->vcpu, op->linear);
    return result;
}

/* Some of them, at least one. Returns the result of the last one; *ended: there is no more to be
 * done now. */
static int do_ops(struct hypercall *call, uint64_t count, bool *ended)
{
    struct nadir_memory_op ops[OPS];
    struct emulate_operand area;
    const uint64_t at = hypercall_argument(call, RDI);
    unsigned n = count < OPS ? (unsigned)count : OPS, done = 0;
    int result = hypercall_area(call, at, n * (unsigned)sizeof(ops[0]), true, &area);
    if (result != 0) { /* of several, the last ones may be what is not there */
        n = 1;
        result = hypercall_area(call, at, sizeof(ops[0]), true, &area);
    }
    if (result != 0)
        return result;
    hypercall_read(call, &area, ops);
    for (*ended = false; done < n && !*ended && result == 0; done++) {
        result = ops[done].result = apply(call, &ops[done]);
        *ended = hypercall_is_over(call);
    }
    hypercall_write(call, &area, ops, done * (unsigned)sizeof(ops[0]));
    if (result != 0)
        done--;
    hypercall_advance(call, RDI, done * sizeof(ops[0]));
    hypercall_advance(call, RSI, 0ull - done);
    return result;
}

enum exit_action hypercall_memory(struct hypercall *call)
{
    const struct guest_paging *p = &call->ctx.paging;
    int result = 0;
    bool ended = false;
    if ((p->cr0 & CR0_PG) == 0 || (p->efer & EFER_LMA) == 0)
        return vcpu_return(call->vcpu, NADIR_BAD_MODE);
    for (uint64_t left; result == 0 && (left = hypercall_argument(call, RSI)) != 0;) {
        if (ended)
            return EXIT_ITERATION;
        result = do_ops(call, left, &ended);
    }
    return vcpu_return(call->vcpu, result);
}

/* --- the console --- */

#define TEXT_BYTES 64u /* read at once */

/* With the VM's lock held, as from a serial port. Returns how many have gone. */
static unsigned write_text(struct hypercall *call, const uint8_t *text, unsigned bytes)
{
    struct vm *vm = call->vcpu->vm;
    unsigned done = 0;
    vm_lock(vm);
    do
        vm->console_out(vm, text[done++]);
    while (done < bytes && !hypercall_is_over(call));
    vm_unlock(vm);
    return done;
}

enum exit_action hypercall_console(struct hypercall *call)
{
    if (call->vcpu->vm->console_out == NULL)
        return vcpu_return(call->vcpu, VMCALL_UNKNOWN);
    for (uint64_t left; (left = hypercall_argument(call, RSI)) != 0;) {
        const uint64_t at = hypercall_argument(call, RDI), room = PAGE_SIZE - at % PAGE_SIZE;
        uint8_t text[TEXT_BYTES];
        struct emulate_operand area;
        unsigned n = left < TEXT_BYTES ? (unsigned)left : TEXT_BYTES;
        n = n < room ? n : (unsigned)room;
        const int result = hypercall_area(call, at, n, false, &area);
        if (result != 0)
            return vcpu_return(call->vcpu, result);
        hypercall_read(call, &area, text);
        n = write_text(call, text, n);
        hypercall_advance(call, RDI, n);
        hypercall_advance(call, RSI, 0ull - n);
        if (n != left && hypercall_is_over(call))
            return EXIT_ITERATION;
    }
    return vcpu_return(call->vcpu, 0);
}

/* --- accounts --- */

static struct nadir_stat sum_of_class(const struct vm *vm, uint64_t class)
{
    struct nadir_stat sum = {0};
    for (unsigned event = 0; event < vm->engine->event_count; event++) {
        if (vm->engine->event_class(event) != class)
            continue;
        for (uint32_t i = 0; i < vm->vcpu_count; i++) {
            sum.count += vm->vcpu[i]->stats.count[event];
            sum.ticks += vm->vcpu[i]->stats.tsc_root[event];
        }
    }
    return sum;
}

enum exit_action hypercall_stats(struct hypercall *call)
{
    for (uint64_t class; (class = hypercall_argument(call, RDX)) < CLASS_COUNT;) {
        struct emulate_operand area;
        if (hypercall_argument(call, RSI) == 0)
            break;
        const int result = hypercall_area(call, hypercall_argument(call, RDI),
                                          sizeof(struct nadir_stat), true, &area);
        if (result != 0)
            return vcpu_return(call->vcpu, result);
        const struct nadir_stat sum = sum_of_class(call->vcpu->vm, class);
        hypercall_write(call, &area, &sum, sizeof(sum));
        hypercall_advance(call, RDI, sizeof(sum));
        hypercall_advance(call, RSI, 0ull - 1);
        hypercall_advance(call, RDX, 1);
        if (hypercall_is_over(call))
            return EXIT_ITERATION;
    }
    return vcpu_return(call->vcpu, CLASS_COUNT);
}
