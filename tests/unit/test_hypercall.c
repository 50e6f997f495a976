// link: guest/vm/hypercall.c guest/vm/hypercall_memory.c guest/cpu/guestwalk.c
// link: guest/vm/vcpu_speculation.c
// link: guest/vm/vcpu.c guest/vm/vcpu_inject.c guest/vm/vcpu_signal.c guest/vm/vcpu_cpuid.c
// link: guest/vm/vcpu_msr.c guest/vm/vcpu_mtrr.c guest/vm/sched.c guest/vm/runqueue.c guest/vm/runqueue_init.c
// link: guest/vm/run_waiting.c guest/vm/run_balance.c
// link: guest/vm/run_alarm.c guest/vm/run_share.c guest/vm/vlapic.c guest/vm/vlapic_bus.c
// link: guest/vm/vlapic_timer.c guest/cpu/msr_table.c guest/cpu/control.c guest/cpu/event.c
// link: drivers/bus/timers.c mm/guestmem.c mm/page_alloc.c arch/format.c tests/unit/fake_engine.c tests/unit/fake_space.c
// link: tests/unit/fake_host.c guest/vm/vcpu_pv.c guest/vm/vcpu_pv_eoi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Nadir's own hypercalls, made by scripted guests of one or two vCPUs: what guest/hypercall.h says
 * of each, and what hostile guests pass. */
#include "guest/hypercall.h"
#include "guest/vm/hypercall.h"
#include "tests/unit/vm_test.h"

/* Guest-physical memory: page tables for linear addresses from 0 on, and pages that they map at the
 * same address; the last page of RAM but one is read-only to the kernel. */
#define RAM     0x80000u
#define TABLES  0x1000u /* PML4, PDPT, PD, and one page table for 2 MiB */
#define LEAVES  (TABLES + 3 * PAGE_SIZE)
#define ARRAY   0x10000u
#define FREE    0x40000u /* linear addresses that the tests change */
#define BEYOND  0x100000u
#define NO_LEAF 0x400000u
#define HIGH    0xffff800000000000ull
#define MID     0x800000000000ull /* not canonical */

static uint8_t ram[RAM] __attribute__((aligned(4096)));
static unsigned parts; /* of the last call: how often it was executed */
static char console[300];
static unsigned console_length, console_room, console_waits;

static void put(uint64_t at, uint64_t value)
{
    memcpy(ram + at, &value, sizeof(value));
}

static uint64_t get(uint64_t at)
{
    uint64_t value;
    memcpy(&value, ram + at, sizeof(value));
    return value;
}

static uint64_t leaf(uint64_t linear)
{
    return get(LEAVES + linear / PAGE_SIZE * 8);
}

static void console_out(struct vm *vm, uint8_t byte)
{
    console[console_length++ % sizeof(console)] = (char)byte;
    if (console_room != 0 && --console_room == 0) {
        console_waits++;
        vm_wait_for_io(vm);
    }
}

static struct vm *make(guest_fn *first, guest_fn *second)
{
    struct vm *vm = make_vm(0, first, second);
    memset(ram, 0, sizeof(ram));
    for (unsigned i = 0; i < 3; i++)
        put(TABLES + i * PAGE_SIZE, (TABLES + (i + 1) * PAGE_SIZE) | 7);
    for (uint64_t at = 0; at < RAM; at += PAGE_SIZE)
        put(LEAVES + at / PAGE_SIZE * 8, at | (at == RAM - 2 * PAGE_SIZE ? 1 : 3));
    assert_int_equal(guestmem_add(&vm->mem, gpa(0), RAM, ram), OK);
    hypercall_open(vm);
    vm->console_out = console_out;
    console_length = console_room = console_waits = 0;
    fake_host.at_rdtsc = NULL;
    return vm;
}

/* 64-bit code at CPL 0, with an open local APIC, and interrupts on. */
static void begin(struct fake_vcpu *fake)
{
    struct cpu_state *s = &fake->state;
    struct vlapic *apic = &fake->vcpu.apic;
    *s = cpu_state_long_mode(0x8000, TABLES);
    s->cr0 |= CR0_WP;
    s->efer |= EFER_NXE;
    s->rflags |= RFLAGS_IF;
    assert_true(vlapic_write(apic, APIC_SVR, APIC_SVR_ENABLE | 0xff));
}

/* The guest executes the instruction until it is done. */
static int64_t call(struct fake_vcpu *fake, uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t *gpr = fake->vcpu.regs.gpr, before[GPR_COUNT];
    gpr[RAX] = number, gpr[RDI] = a, gpr[RSI] = b, gpr[RDX] = c;
    memcpy(before, gpr, sizeof(before));
    for (parts = 1; vcpu_hypercall(&fake->vcpu, 0) == EXIT_ITERATION; parts++) {
        assert_int_equal(gpr[RAX], number);
        assert_true(parts < 10000);
    }
    for (unsigned i = 0; i < GPR_COUNT; i++)
        if (i != RAX && i != RDI && i != RSI && i != RDX)
            assert_int_equal(gpr[i], before[i]);
    return (int64_t)gpr[RAX];
}

static enum exit_action power_off(struct fake_vcpu *fake)
{
    vm_end_request(fake->vcpu.vm, VM_POWEROFF, 0, "powered off");
    return EXIT_NEXT;
}

static void tick(void)
{
    fake_host.now += EXIT_TICKS;
    other_cpu();
}

static enum exit_action halt(struct fake_vcpu *fake)
{
    return vcpu_halt(&fake->vcpu, (fake->state.rflags & RFLAGS_IF) != 0, true, false);
}

static unsigned vector_of(const struct fake_vcpu *fake)
{
    return (fake->injected.info & EVENT_VALID) != 0 ? fake->injected.info & 0xff : 0;
}

/* --- numbers --- */

static enum exit_action numbers_guest(struct fake_vcpu *fake)
{
    static const uint64_t unknown[] = {
        8, 0xfff, NADIR_CALL_END_OF_LIST, 1ull << 32 | NADIR_CALL_TIME, INT64_MAX, UINT64_MAX};
    begin(fake);
    assert_int_equal(call(fake, HYPERCALL_NOP, 0, 0, 0), 0);
    assert_int_equal(call(fake, 5, 0, 0, 0), HYPERCALL_UNKNOWN);
    for (unsigned i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_int_equal(call(fake, unknown[i], 0, 0, 0), HYPERCALL_UNKNOWN);
    assert_int_equal(call(fake, NADIR_CALL_VERSION, 0, 0, 0), NADIR_FEATURES << 8 | 1);
    for (unsigned cpl = 1; cpl < 4; cpl++) {
        fake->vcpu.regs.gpr[RAX] = NADIR_CALL_EXIT;
        assert_int_equal(vcpu_hypercall(&fake->vcpu, cpl), EXIT_NEXT);
        assert_int_equal((int64_t)fake->vcpu.regs.gpr[RAX], HYPERCALL_NOT_PERMITTED);
        assert_int_equal(fake->vcpu.vm->end, VM_RUNS);
    }
    /* Of a 32-bit caller's registers the high halves do not count. */
    fake->state.cs.access = SEGMENT_CODE32;
    assert_int_equal(call(fake, 1ull << 32 | NADIR_CALL_VERSION, 0, 0, 0), NADIR_FEATURES << 8 | 1);
    fake->state.cs.access = SEGMENT_CODE64;
    assert_int_equal(call(fake, NADIR_CALL_YIELD, 0, 0, 0), 0);
    assert_true(fake->vcpu.yields);
    assert_int_equal(call(fake, NADIR_CALL_EXIT, 0x100000007, 0, 0), 0);
    return EXIT_NEXT;
}

static void test_numbers(void **state)
{
    (void)state;
    const struct life *l = run_vm(make(numbers_guest, NULL));
    assert_int_equal(l->end, VM_DEBUG_EXIT);
    assert_int_equal(l->vm.end_code, 7);
}

/* --- page tables --- */

static struct nadir_memory_op *op_at(uint64_t at, unsigned i)
{
    return (struct nadir_memory_op *)(ram + at) + i;
}

static void set_op(uint64_t at, unsigned i, uint32_t op, uint64_t linear, uint64_t entry)
{
    *op_at(at, i) = (struct nadir_memory_op){op, 77, linear, entry};
}

static int64_t one_op(struct fake_vcpu *fake, uint32_t op, uint64_t linear, uint64_t entry)
{
    set_op(ARRAY, 0, op, linear, entry);
    const int64_t result = call(fake, NADIR_CALL_MEMORY, ARRAY, 1, 0);
    assert_int_equal(op_at(ARRAY, 0)->result, result);
    assert_int_equal(fake->vcpu.regs.gpr[RSI], result == 0 ? 0 : 1);
    assert_int_equal(fake->vcpu.regs.gpr[RDI],
                     ARRAY + (result == 0 ? sizeof(struct nadir_memory_op) : 0));
    return result;
}

/* An engine that has made something of the guest's code is told of what is written. */
static unsigned entries_told;

static void note_written(void *ctx, gpa_t at, uint64_t bytes)
{
    (void)ctx;
    if (at.v == LEAVES + FREE / PAGE_SIZE * 8 && bytes == 8)
        entries_told++;
}

static void check_changes(struct fake_vcpu *fake)
{
    fake->vcpu.vm->mem.written = note_written;
    entries_told = 0;
    const unsigned flushes = fake->flushes;
    assert_int_equal(one_op(fake, NADIR_MAP, FREE + 5, 0x5000 | 0x67), 0);
    assert_int_equal(op_at(ARRAY, 0)->entry, FREE | 3);
    assert_int_equal(leaf(FREE), 0x5000 | 0x67);
    assert_int_equal(fake->flushes, flushes + 1);
    /* The flags that the CPU sets stay, and the frame. */
    assert_int_equal(one_op(fake, NADIR_PROTECT, FREE, 0x9000 | 5 | PTE_NX), 0);
    assert_int_equal(op_at(ARRAY, 0)->entry, 0x5000 | 0x67);
    assert_int_equal(leaf(FREE), 0x5000 | 0x65 | PTE_NX);
    assert_int_equal(one_op(fake, NADIR_UNMAP, FREE + 4095, 0), 0);
    assert_int_equal(op_at(ARRAY, 0)->entry, 0x5000 | 0x65 | PTE_NX);
    assert_int_equal(leaf(FREE), 0);
    assert_int_equal(one_op(fake, NADIR_PROTECT, FREE, 3), NADIR_NOT_MAPPED);
    assert_int_equal(one_op(fake, NADIR_UNMAP, FREE, 0), 0);
    /* What is not present has no rules. */
    assert_int_equal(one_op(fake, NADIR_MAP, FREE, 0xfffffffffffffffe), 0);
    assert_int_equal(leaf(FREE), 0xfffffffffffffffe);
    assert_int_equal(one_op(fake, NADIR_FLUSH, FREE, 9), 0);
    assert_int_equal(leaf(FREE), 0xfffffffffffffffe);
    assert_int_equal(op_at(ARRAY, 0)->entry, 9);
    assert_int_equal(one_op(fake, NADIR_FLUSH, HIGH, 9), 0);
    assert_int_equal(entries_told, 5);
    fake->vcpu.vm->mem.written = NULL;
}

static void check_refusals(struct fake_vcpu *fake)
{
    put(TABLES + 2 * PAGE_SIZE + 8, 0x83); /* 2 MiB from 2 MiB on */
    put(TABLES + 2 * PAGE_SIZE + 24, BEYOND | 7);
    const unsigned flushes = fake->flushes;
    assert_int_equal(one_op(fake, 0, FREE, 3), NADIR_BAD_ARGUMENT);
    assert_int_equal(one_op(fake, NADIR_FLUSH + 1, FREE, 3), NADIR_BAD_ARGUMENT);
    assert_int_equal(one_op(fake, UINT32_MAX, FREE, 3), NADIR_BAD_ARGUMENT);
    for (uint32_t op = NADIR_MAP; op <= NADIR_FLUSH; op++)
        assert_int_equal(one_op(fake, op, MID, 3), NADIR_BAD_ADDRESS);
    for (uint32_t op = NADIR_MAP; op <= NADIR_PROTECT; op++) {
        assert_int_equal(one_op(fake, op, NO_LEAF, 3), NADIR_NO_TABLE);
        assert_int_equal(one_op(fake, op, 0x200000, 3), NADIR_NO_TABLE);
        assert_int_equal(one_op(fake, op, 0x600000, 3), NADIR_NO_TABLE);
        assert_int_equal(one_op(fake, op, HIGH, 3), NADIR_NO_TABLE);
    }
    assert_int_equal(one_op(fake, NADIR_MAP, FREE, BEYOND | 3), NADIR_BAD_FRAME);
    assert_int_equal(one_op(fake, NADIR_MAP, FREE, RAM | 3), NADIR_BAD_FRAME);
    assert_int_equal(one_op(fake, NADIR_MAP, FREE, 1ull << 39 | 3), NADIR_BAD_FRAME);
    fake->state.efer &= ~EFER_NXE;
    assert_int_equal(one_op(fake, NADIR_MAP, FREE, 0x5003 | PTE_NX), NADIR_BAD_FRAME);
    assert_int_equal(one_op(fake, NADIR_PROTECT, ARRAY, 3 | PTE_NX), NADIR_BAD_FRAME);
    fake->state.efer |= EFER_NXE;
    assert_int_equal(fake->flushes, flushes);
    fake->state.efer &= ~EFER_LMA;
    fake->state.cs.access = SEGMENT_CODE32;
    assert_int_equal(call(fake, NADIR_CALL_MEMORY, ARRAY, 1, 0), NADIR_BAD_MODE);
    begin(fake);
}

/* With five levels an address has 57 bits. */
static void check_five_levels(struct fake_vcpu *fake)
{
    put(0x6000, TABLES | 7);
    fake->state.cr3 = 0x6000;
    fake->state.cr4 |= CR4_LA57;
    assert_int_equal(one_op(fake, NADIR_MAP, FREE, 0x5003), 0);
    assert_int_equal(leaf(FREE), 0x5003);
    assert_int_equal(one_op(fake, NADIR_MAP, MID, 0x5003), NADIR_NO_TABLE);
    assert_int_equal(one_op(fake, NADIR_MAP, 1ull << 56, 0x5003), NADIR_BAD_ADDRESS);
    begin(fake);
}

/* Of an array that ends at a page that is not there, all elements but the last are done. */
static void check_borders(struct fake_vcpu *fake)
{
    const uint64_t size = sizeof(struct nadir_memory_op), at = FREE - 3 * size - 8;
    uint64_t *gpr = fake->vcpu.regs.gpr;
    put(LEAVES + FREE / PAGE_SIZE * 8, 0);
    for (unsigned i = 0; i < 4; i++)
        set_op(at, i, NADIR_MAP, ARRAY + (i + 4) * PAGE_SIZE, 0x7003);
    assert_int_equal(call(fake, NADIR_CALL_MEMORY, at, 4, 0), NADIR_BAD_ADDRESS);
    assert_int_equal(gpr[RSI], 1);
    assert_int_equal(gpr[RDI], at + 3 * size);
    assert_int_equal(op_at(at, 2)->result, 0);
    assert_int_equal(op_at(at, 3)->result, 77);
    assert_int_equal(leaf(ARRAY + 6 * PAGE_SIZE), 0x7003);
    assert_int_equal(leaf(ARRAY + 7 * PAGE_SIZE), (ARRAY + 7 * PAGE_SIZE) | 3);
    /* Two pages that are not neighbours in memory: what crosses is whole. */
    put(LEAVES + FREE / PAGE_SIZE * 8, 0x50003);
    const struct nadir_memory_op last = {NADIR_MAP, 77, ARRAY + 7 * PAGE_SIZE, 0x7003};
    memcpy(ram + at + 3 * size, &last, 8);
    memcpy(ram + 0x50000, (const uint8_t *)&last + 8, size - 8);
    assert_int_equal(call(fake, NADIR_CALL_MEMORY, at, 4, 0), 0);
    assert_int_equal(get(0x50008), (ARRAY + 7 * PAGE_SIZE) | 3);
    assert_int_equal(leaf(ARRAY + 7 * PAGE_SIZE), 0x7003);
    /* An array that the kernel cannot write, or that is nowhere. */
    static const uint64_t bad[] = {RAM - 2 * PAGE_SIZE, NO_LEAF, MID, HIGH, UINT64_MAX};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(call(fake, NADIR_CALL_MEMORY, bad[i], UINT64_MAX, 0), NADIR_BAD_ADDRESS);
        assert_int_equal(gpr[RDI], bad[i]);
        assert_int_equal(call(fake, NADIR_CALL_MEMORY, bad[i], 0, 0), 0);
    }
}

/* SMAP: a page of user code's is not the kernel's to use, unless AC is set. */
static void check_rights(struct fake_vcpu *fake)
{
    put(LEAVES + ARRAY / PAGE_SIZE * 8, ARRAY | 7);
    fake->state.cr4 |= CR4_SMAP;
    assert_int_equal(call(fake, NADIR_CALL_MEMORY, ARRAY, 1, 0), NADIR_BAD_ADDRESS);
    fake->state.rflags |= RFLAGS_AC;
    assert_int_equal(one_op(fake, NADIR_FLUSH, FREE, 0), 0);
    fake->state.cr4 &= ~CR4_SMAP;
}

static void time_passes(void)
{
    fake_host.now += 1000;
}

/* A long array is done in parts, each of at least one element; the first one with an error ends it.
 * The array itself may go by what it asks for. */
static void check_parts(struct fake_vcpu *fake)
{
    uint64_t *gpr = fake->vcpu.regs.gpr;
    for (unsigned i = 0; i < 100; i++)
        set_op(ARRAY, i, i == 70 ? 99 : NADIR_FLUSH, FREE, 0);
    fake_host.at_rdtsc = time_passes;
    assert_int_equal(call(fake, NADIR_CALL_MEMORY, ARRAY, 100, 0), NADIR_BAD_ARGUMENT);
    fake_host.at_rdtsc = NULL;
    assert_in_range(parts, 7, 10);
    assert_int_equal(gpr[RSI], 30);
    assert_int_equal(gpr[RDI], (uint64_t)ARRAY + 70 * sizeof(struct nadir_memory_op));
    assert_int_equal(op_at(ARRAY, 69)->result, 0);
    assert_int_equal(op_at(ARRAY, 70)->result, NADIR_BAD_ARGUMENT);
    assert_int_equal(op_at(ARRAY, 71)->result, 77);
    set_op(ARRAY, 0, NADIR_UNMAP, ARRAY, 0);
    set_op(ARRAY, 1, NADIR_FLUSH, ARRAY, 0);
    assert_int_equal(call(fake, NADIR_CALL_MEMORY, ARRAY, 2, 0), 0);
    assert_int_equal(op_at(ARRAY, 1)->result, 0);
    assert_int_equal(call(fake, NADIR_CALL_MEMORY, ARRAY, 2, 0), NADIR_BAD_ADDRESS);
}

static enum exit_action memory_guest(struct fake_vcpu *fake)
{
    begin(fake);
    check_changes(fake);
    check_refusals(fake);
    check_five_levels(fake);
    check_borders(fake);
    check_rights(fake);
    check_parts(fake);
    return power_off(fake);
}

static void test_memory(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(memory_guest, NULL))->end, VM_POWEROFF);
}

/* --- interrupts --- */

static enum exit_action sends(struct fake_vcpu *fake)
{
    struct vcpu *other = fake->vcpu.vm->vcpu[1];
    tick();
    switch (fake->entries) {
    case 1:
        begin(fake);
        assert_int_equal(call(fake, NADIR_CALL_UNMASK, 0, 0, 0), 1);
        assert_int_equal(call(fake, NADIR_CALL_MASK, 0, 0, 0), 1);
        assert_int_equal(call(fake, NADIR_CALL_MASK, 0, 0, 0), 0);
        assert_int_equal(fake->state.rflags & RFLAGS_IF, 0);
        for (uint64_t vector = 0; vector < 16; vector++)
            assert_int_equal(call(fake, NADIR_CALL_SEND, vector, 0, 0), NADIR_BAD_ARGUMENT);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 256, 0, 0), NADIR_BAD_ARGUMENT);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 1ull << 32 | 0x40, 0, 0), NADIR_BAD_ARGUMENT);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0x40, 2, 0), NADIR_BAD_ARGUMENT);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0x40, 1ull << 32, 0), NADIR_BAD_ARGUMENT);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0x40, UINT32_MAX, 0), NADIR_BAD_ARGUMENT);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0x40, 1, 0), NADIR_NOT_TAKEN);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0x40, UINT64_MAX, 0), NADIR_NOT_TAKEN);
        assert_int_equal(call(fake, NADIR_CALL_END, 0, 0, 0), 0);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0x50, 0, 0), 0);
        return EXIT_NEXT;
    case 2: /* masked still */
        assert_int_equal(vector_of(fake), 0);
        assert_int_equal(call(fake, NADIR_CALL_UNMASK, 0, 0, 0), 0);
        return EXIT_NEXT;
    case 3:
        assert_int_equal(vector_of(fake), 0x50);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0x4f, 0, 0), 0); /* of lower priority */
        assert_int_equal(vlapic_pending(&fake->vcpu.apic), -1);
        assert_int_equal(call(fake, NADIR_CALL_END, 0, 0, 0), 0);
        return EXIT_NEXT;
    case 4:
        assert_int_equal(vector_of(fake), 0x4f);
        assert_int_equal(call(fake, NADIR_CALL_END, 0, 0, 0), 0);
        assert_true(vlapic_write(&fake->vcpu.apic, APIC_ICR + 0x10, 1u << 24));
        assert_true(vlapic_write(&fake->vcpu.apic, APIC_ICR, 6u << 8 | 0x9f)); /* SIPI */
        return halt(fake);
    case 5: /* the other one is ready */
        assert_int_equal(vector_of(fake), 0x61);
        assert_int_equal(call(fake, NADIR_CALL_END, 0, 0, 0), 0);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0xff, UINT64_MAX, 0), 0);
        fake->state.cs.access = SEGMENT_CODE32;
        assert_int_equal(call(fake, NADIR_CALL_SEND, 7ull << 32 | 0x80, UINT32_MAX, 0), 0);
        return halt(fake);
    default:
        assert_int_equal(vector_of(fake), 0x62);
        assert_true(fake_vcpu(other)->entries >= 2);
        return power_off(fake);
    }
}

static enum exit_action receives(struct fake_vcpu *fake)
{
    tick();
    switch (fake->entries) {
    case 1:
        begin(fake);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0x61, 0, 0), 0);
        return halt(fake);
    case 2:
        assert_int_equal(vector_of(fake), 0xff);
        assert_int_equal(call(fake, NADIR_CALL_END, 0, 0, 0), 0);
        return halt(fake);
    case 3:
        assert_int_equal(vector_of(fake), 0x80);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0x62, UINT64_MAX, 0), 0);
        return halt(fake);
    default: fail_msg("woken for nothing"); return EXIT_NEXT;
    }
}

static void test_interrupts(void **state)
{
    (void)state;
    for (cpus.count = 1; cpus.count <= 2; cpus.count++) {
        set_up(NULL);
        assert_int_equal(run_vm(make(sends, receives))->end, VM_POWEROFF);
        tear_down(NULL);
    }
    cpus.count = 1;
}

/* --- time --- */

#define MS 1000000ull /* of HZ, and in ns */

static uint64_t now_of(struct fake_vcpu *fake)
{
    return (uint64_t)call(fake, NADIR_CALL_TIME, 0, 0, 0);
}

static enum exit_action timed(struct fake_vcpu *fake)
{
    static uint64_t began;
    tick();
    switch (fake->entries) {
    case 1:
        begin(fake);
        began = now_of(fake);
        assert_true(began < MS);
        fake_host.now += 3 * MS;
        assert_int_equal(now_of(fake), began + 3 * MS);
        for (uint64_t vector = 0; vector < 16; vector++)
            assert_int_equal(call(fake, NADIR_CALL_TIMER, 1, vector, 0), NADIR_BAD_ARGUMENT);
        assert_int_equal(call(fake, NADIR_CALL_TIMER, 1, 256, 0), NADIR_BAD_ARGUMENT);
        assert_int_equal(fake->vcpu.timers.next, TIMER_NEVER);
        assert_int_equal(call(fake, NADIR_CALL_TIMER, UINT64_MAX, 0x40, 0), 0);
        assert_int_equal(fake->vcpu.timers.next, TIMER_NEVER);
        assert_int_equal(call(fake, NADIR_CALL_TIMER, began + 50 * MS, 0x40, 0), 0);
        assert_int_equal(call(fake, NADIR_CALL_TIMER, 0, 999, 0), 0);
        assert_int_equal(fake->vcpu.timers.next, TIMER_NEVER);
        began = now_of(fake);
        assert_int_equal(call(fake, NADIR_CALL_TIMER, began + 50 * MS, 0x40, 0), 0);
        assert_int_equal(call(fake, NADIR_CALL_TIMER, began + 20 * MS, 0x41, 0), 0);
        return halt(fake);
    case 2:
        assert_int_equal(vector_of(fake), 0x41);
        assert_in_range(now_of(fake) - began, 20 * MS, 21 * MS);
        assert_int_equal(call(fake, NADIR_CALL_END, 0, 0, 0), 0);
        assert_int_equal(fake->vcpu.timers.next, TIMER_NEVER);         /* once */
        assert_int_equal(call(fake, NADIR_CALL_TIMER, 1, 0x42, 0), 0); /* long past */
        return EXIT_NEXT;
    case 3:
        assert_int_equal(vector_of(fake), 0x42);
        assert_int_equal(call(fake, NADIR_CALL_END, 0, 0, 0), 0);
        began = now_of(fake);
        assert_int_equal(call(fake, NADIR_CALL_MASK, 0, 0, 0), 1);
        assert_int_equal(call(fake, NADIR_CALL_SLEEP, began + 30 * MS, 0, 0), 0);
        return EXIT_NEXT;
    case 4: /* by its time, with no interrupt, and interrupts are on */
        assert_int_equal(vector_of(fake), 0);
        assert_true((fake->state.rflags & RFLAGS_IF) != 0);
        assert_in_range(now_of(fake) - began, 30 * MS, 31 * MS);
        began = now_of(fake);
        assert_int_equal(call(fake, NADIR_CALL_TIMER, began + 10 * MS, 0x43, 0), 0);
        assert_int_equal(call(fake, NADIR_CALL_SLEEP, began + 20 * MS, 0, 0), 0);
        return EXIT_NEXT;
    case 5: /* by an interrupt; the time that has been left does not end a HLT */
        assert_int_equal(vector_of(fake), 0x43);
        assert_in_range(now_of(fake) - began, 10 * MS, 11 * MS);
        assert_int_equal(call(fake, NADIR_CALL_END, 0, 0, 0), 0);
        assert_int_equal(call(fake, NADIR_CALL_TIMER, began + 40 * MS, 0x44, 0), 0);
        return halt(fake);
    case 6:
        assert_int_equal(vector_of(fake), 0x44);
        assert_in_range(now_of(fake) - began, 40 * MS, 41 * MS);
        assert_int_equal(call(fake, NADIR_CALL_END, 0, 0, 0), 0);
        assert_int_equal(call(fake, NADIR_CALL_SLEEP, 1, 0, 0), 0); /* past: it goes on */
        assert_int_equal(fake->vcpu.activity, ACTIVITY_ACTIVE);
        /* An interrupt that waits ends the sleep before it begins, however long that is. */
        assert_int_equal(call(fake, NADIR_CALL_MASK, 0, 0, 0), 1);
        assert_int_equal(call(fake, NADIR_CALL_SEND, 0x45, 0, 0), 0);
        assert_int_equal(call(fake, NADIR_CALL_SLEEP, UINT64_MAX, 0, 0), 0);
        return EXIT_NEXT;
    default:
        assert_int_equal(vector_of(fake), 0x45);
        /* A 32-bit kernel's time has two halves; to a 64-bit one RDX is no part of it. */
        fake_host.now += 9 * HZ;
        began = (uint64_t)call(fake, NADIR_CALL_TIME, 0, 0, 77);
        assert_int_equal(fake->vcpu.regs.gpr[RDX], 77);
        fake->state.cs.access = SEGMENT_CODE32;
        assert_int_equal((uint32_t)call(fake, NADIR_CALL_TIME, 0, 0, 77), (uint32_t)began);
        assert_int_equal(fake->vcpu.regs.gpr[RDX], began >> 32);
        assert_true(began >> 32 != 0);
        assert_int_equal(call(fake, NADIR_CALL_TIMER, UINT64_MAX << 32, 0x46, 1), 0);
        assert_in_range(fake->vcpu.timers.next, 4 * HZ, 7 * HZ);
        return power_off(fake);
    }
}

static void test_time(void **state)
{
    (void)state;
    const struct life *l = run_vm(make(timed, NULL));
    assert_int_equal(l->end, VM_POWEROFF);
    assert_in_range(l->waited[0][ACTIVITY_SLEEP], 39 * MS, 42 * MS);
    assert_in_range(l->waited[0][ACTIVITY_HLT], 49 * MS, 52 * MS);
}

/* A vCPU that INIT has stopped gets no interrupt of the timer that it had asked for. */
static enum exit_action is_reset(struct fake_vcpu *fake)
{
    tick();
    begin(fake);
    assert_int_equal(call(fake, NADIR_CALL_TIMER, now_of(fake) + MS, 0x40, 0), 0);
    vcpu_request_init(&fake->vcpu, NULL);
    return EXIT_NEXT;
}

static enum exit_action resets(struct fake_vcpu *fake)
{
    const struct vcpu *other = fake->vcpu.vm->vcpu[1];
    tick();
    if (fake->entries == 1) {
        begin(fake);
        vcpu_request_sipi(fake->vcpu.vm->vcpu[1], 0x9f, NULL);
    }
    if (fake->entries < 20)
        return EXIT_NEXT;
    assert_int_equal(fake_vcpu(fake->vcpu.vm->vcpu[1])->entries, 1);
    assert_int_equal(other->activity, ACTIVITY_WAIT_FOR_SIPI);
    assert_int_equal(other->timers.next, TIMER_NEVER);
    return power_off(fake);
}

static void test_reset(void **state)
{
    (void)state;
    cpus.count = 2;
    set_up(NULL);
    assert_int_equal(run_vm(make(resets, is_reset))->end, VM_POWEROFF);
    tear_down(NULL);
    cpus.count = 1;
}

/* --- console and accounts --- */

static enum exit_action writes(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    tick();
    if (fake->entries == 1) {
        begin(fake);
        memset(ram + ARRAY, 'x', 200);
        assert_int_equal(call(fake, NADIR_CALL_WRITE, ARRAY, 200, 0), 0);
        assert_int_equal(parts, 1);
        assert_int_equal(console_length, 200);
        put(LEAVES + FREE / PAGE_SIZE * 8, 0);
        assert_int_equal(call(fake, NADIR_CALL_WRITE, FREE - 3, 5, 0), NADIR_BAD_ADDRESS);
        assert_int_equal(vcpu->regs.gpr[RDI], FREE);
        assert_int_equal(vcpu->regs.gpr[RSI], 2);
        assert_int_equal(console_length, 203);
        assert_int_equal(call(fake, NADIR_CALL_WRITE, MID, UINT64_MAX, 0), NADIR_BAD_ADDRESS);
        assert_int_equal(call(fake, NADIR_CALL_WRITE, MID, 0, 0), 0);
        fake_host.at_rdtsc = time_passes;
        assert_int_equal(call(fake, NADIR_CALL_WRITE, RAM - 2 * PAGE_SIZE, 50, 0), 0);
        fake_host.at_rdtsc = NULL;
        assert_in_range(parts, 5, 8);
        /* The console takes two: the vCPU waits behind them, and goes on then. */
        console_length = 0;
        console_room = 2;
        memcpy(ram + ARRAY, "abcd", 4);
        vcpu->regs.gpr[RAX] = NADIR_CALL_WRITE;
        vcpu->regs.gpr[RDI] = ARRAY;
        vcpu->regs.gpr[RSI] = 4;
        assert_int_equal(vcpu_hypercall(vcpu, 0), EXIT_ITERATION);
        assert_int_equal(vcpu->activity, ACTIVITY_WAIT_FOR_IO);
        assert_int_equal(console_length, 2);
        vm_io_ready(vcpu->vm);
        return EXIT_SAME;
    }
    assert_int_equal(vcpu_hypercall(vcpu, 0), EXIT_NEXT);
    assert_int_equal(vcpu->regs.gpr[RAX], 0);
    assert_memory_equal(console, "abcd", 4);
    vcpu->vm->console_out = NULL;
    assert_int_equal(call(fake, NADIR_CALL_WRITE, ARRAY, 1, 0), HYPERCALL_UNKNOWN);
    return power_off(fake);
}

static void test_console(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(writes, NULL))->end, VM_POWEROFF);
    assert_int_equal(console_waits, 1);
}

/* The fake engine has one event, of the last class. */
static enum exit_action asks(struct fake_vcpu *fake)
{
    uint64_t *gpr = fake->vcpu.regs.gpr;
    const unsigned bytes = sizeof(struct nadir_stat);
    tick();
    begin(fake);
    fake->vcpu.stats.count[0] = 5;
    fake->vcpu.stats.tsc_root[0] = 50;
    fake->vcpu.vm->vcpu[1]->stats.count[0] = 7;
    fake->vcpu.vm->vcpu[1]->stats.tsc_root[0] = 60;
    memset(ram + ARRAY, 0xff, 4096);
    assert_int_equal(call(fake, NADIR_CALL_STATS, ARRAY, 100, 0), NADIR_CLASS_COUNT);
    assert_int_equal(gpr[RDX], NADIR_CLASS_COUNT);
    assert_int_equal(gpr[RSI], 100 - NADIR_CLASS_COUNT);
    assert_int_equal(get(ARRAY), 0);
    assert_int_equal(get(ARRAY + NADIR_CLASS_OTHER * bytes), 12);
    assert_int_equal(get(ARRAY + NADIR_CLASS_OTHER * bytes + 8), 110);
    assert_int_equal(get(ARRAY + NADIR_CLASS_COUNT * bytes), UINT64_MAX);
    memset(ram + ARRAY, 0xff, 4096);
    assert_int_equal(call(fake, NADIR_CALL_STATS, ARRAY, 1, NADIR_CLASS_OTHER), NADIR_CLASS_COUNT);
    assert_int_equal(get(ARRAY), 12);
    assert_int_equal(get(ARRAY + bytes), UINT64_MAX);
    assert_int_equal(call(fake, NADIR_CALL_STATS, MID, 9, UINT64_MAX), NADIR_CLASS_COUNT);
    assert_int_equal(call(fake, NADIR_CALL_STATS, MID, 0, 0), NADIR_CLASS_COUNT);
    assert_int_equal(call(fake, NADIR_CALL_STATS, MID, 1, 0), NADIR_BAD_ADDRESS);
    assert_int_equal(call(fake, NADIR_CALL_STATS, RAM - 2 * PAGE_SIZE, 1, 0), NADIR_BAD_ADDRESS);
    fake_host.at_rdtsc = time_passes;
    assert_int_equal(call(fake, NADIR_CALL_STATS, ARRAY, 100, 0), NADIR_CLASS_COUNT);
    fake_host.at_rdtsc = NULL;
    assert_int_equal(parts, 2);
    return power_off(fake);
}

static void test_stats(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(asks, numbers_guest))->end, VM_POWEROFF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
        cmocka_unit_test(test_interrupts),
        cmocka_unit_test_setup_teardown(test_time, set_up, tear_down),
        cmocka_unit_test(test_reset),
        cmocka_unit_test_setup_teardown(test_console, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stats, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
