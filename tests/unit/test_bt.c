// link: guest/bt/events.c guest/bt/memory.c guest/bt/state.c
// link: guest/cpu/interpret.c guest/cpu/interpret_debug.c guest/cpu/system.c guest/cpu/system_call.c
// link: guest/cpu/system_port.c guest/cpu/system_segment.c guest/cpu/system_decode.c guest/cpu/segment.c
// link: guest/cpu/transfer.c guest/cpu/deliver.c guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/alu.c
// link: guest/cpu/decode.c guest/cpu/event.c guest/cpu/guestwalk.c guest/vm/vcpu_inject.c guest/vm/vlapic.c
// link: guest/vm/vlapic_bus.c guest/vm/vlapic_timer.c drivers/bus/timers.c drivers/bus/bus.c mm/guestmem.c
// link: guest/cpu/operands.c guest/cpu/operand_table.c guest/vm/vcpu_pv_eoi.c
// libs: -lpthread
/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine bt around its software CPU: which event comes when, what is delivered, walks that are
 * kept, and memory as other vCPUs see it. */
#include "guest/bt/bt.h"

#include <pthread.h>

#include "arch/bytes.h"
#include "tests/unit/vlapic_test.h"

#define RAM    0x40000u
#define ROM    0x30000u /* in it */
#define DEVICE 0x80000u
#define VECTOR 0x31u
#define LOW    0x21u
#define PIC    0x70u
#define TABLES 0x10000u

static struct bt_vcpu v;
static uint8_t ram[RAM] __attribute__((aligned(4096)));
static uint64_t device_value, now;
static unsigned device_writes;
static unsigned ended;

uint64_t read_clock(void)
{
    return now;
}

uint64_t cpu_rdtsc(void)
{
    return now += 10;
}

void vm_end_format(struct vm *of, enum vm_end end, uint32_t code, const char *format, ...)
{
    (void)code;
    (void)format;
    of->end = end;
    ended++;
}

void vm_lock_shared(struct vm *of)
{
    (void)of;
}

void vm_unlock_shared(struct vm *of)
{
    (void)of;
}

void vm_arm_alarm(struct vm *of)
{
    (void)of;
}

enum exit_action vcpu_task_switch(struct vcpu *of, unsigned source, uint16_t selector,
                                  unsigned insn_length)
{
    (void)of;
    (void)source;
    (void)selector;
    (void)insn_length;
    fail();
    return EXIT_SAME;
}

/* As guest/vm/linear.c: RAM, or the bus. */
void linear_read_page(struct vcpu *of, gpa_t at, void *to, unsigned bytes)
{
    if (!guestmem_read(&of->vm->mem, at, to, bytes))
        put_le(to, bytes, bus_mmio_read(&of->vm->bus, at, bytes));
}

void linear_write_page(struct vcpu *of, gpa_t at, const void *from, unsigned bytes)
{
    if (!guestmem_write(&of->vm->mem, at, from, bytes))
        bus_mmio_write(&of->vm->bus, at, bytes, get_le(from, bytes));
}

/* The shadow page tables have a test of their own: here is what asks them to flush. */
static unsigned switches;
static uint64_t faulted_at;

void bt_space_switch(struct bt_vcpu *of, enum shadow_flush flush)
{
    (void)flush;
    ring3_tlb_flush(&of->tlb);
    switches++;
}

void bt_space_guest_fault(struct bt_vcpu *of, uint64_t linear)
{
    ring3_tlb_invalidate(&of->tlb, linear);
    faulted_at = linear;
}

/* Writes to RAM, which may have been to translated code. */
static uint64_t written_at[4], written_bytes;
static unsigned writes_told;

void bt_code_written(struct vm *of, struct vcpu *by, gpa_t at, uint64_t bytes)
{
    assert_ptr_equal(of, &vm);
    assert_ptr_equal(by, &v.vcpu);
    written_at[writes_told++ % 4] = at.v;
    written_bytes += bytes;
}

static uint64_t device_read(void *dev, gpa_t at, unsigned bytes)
{
    (void)dev;
    (void)at;
    (void)bytes;
    return device_value;
}

static void device_write(void *dev, gpa_t at, unsigned bytes, uint64_t value)
{
    (void)dev;
    (void)at;
    (void)bytes;
    device_value = value;
    device_writes++;
}

static void raise(struct interpret_env *env, unsigned vector, uint32_t error)
{
    (void)error;
    vcpu_inject_exception(&((struct bt_vcpu *)env->ctx)->vcpu, vector);
}

static const struct interpret_calls calls = {.fetch = bt_fetch,
                                             .translate = bt_translate,
                                             .translate_as = bt_translate_as,
                                             .read = bt_read,
                                             .write = bt_write,
                                             .read_locked = bt_read_locked,
                                             .exchange = bt_exchange,
                                             .raise = raise};

static const struct engine engine = {
    .inject = bt_inject, .get_state = bt_get_state, .set_state = bt_set_state};

static unsigned acknowledge(void *pic)
{
    (void)pic;
    vlapic_set_lint0(&v.vcpu.apic, 0, false);
    return PIC;
}

/* Real mode at 0:1000, interrupts on; the handler of vector n is at 0:n00. */
static int setup(void **state)
{
    (void)state;
    const struct mmio_range range = {.first = gpa(DEVICE),
                                     .last = gpa(DEVICE + 0xfff),
                                     .read = device_read,
                                     .write = device_write};
    start_vm(1000000);
    memset(&v, 0, sizeof(v));
    memset(ram, 0x90, sizeof(ram)); /* NOP */
    for (unsigned i = 0; i < 256; i++)
        put_le(ram + 4 * i, 4, i << 8);
    ended = device_writes = 0;
    vm.engine = v.vcpu.engine = &engine;
    v.vcpu.vm = &vm;
    v.vcpu.phys_bits = 39;
    v.vcpu.apic_frame = VCPU_NO_APIC_FRAME;
    v.vcpu.timers = (struct timers){.read = read_clock, .hz = clock_hz, .next = TIMER_NEVER};
    vm.timers = v.vcpu.timers;
    vm.alarm_armed = TIMER_NEVER;
    vm.vcpu[vm.vcpu_count++] = &v.vcpu;
    assert_int_equal(guestmem_add(&vm.mem, gpa(0), ROM, ram), OK);
    assert_int_equal(guestmem_add(&vm.mem, gpa(ROM), RAM - ROM, ram + ROM), OK);
    guestmem_replace(&vm.mem, gpa(ROM), ram + ROM, true);
    assert_int_equal(bus_add_mmio(&vm.bus, &range), OK);
    interpret_init(&v.env, &v.state, &calls, &v);
    v.state = cpu_state_real_mode(0x1000);
    v.state.rsp = 0x8000;
    v.state.rflags |= RFLAGS_IF;
    assert_int_equal(vlapic_init(&v.vcpu.apic, acknowledge, NULL), OK);
    vlapic_set_virtual_wire(&v.vcpu.apic);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vlapic_destroy(&v.vcpu.apic);
    vm.vcpu_count = 0;
    end_vm();
    return 0;
}

/* An interrupt comes to the local APIC. */
static void interrupt(unsigned vector)
{
    const struct vlapic_message message = {.vector = (uint8_t)vector, .mode = DELIVERY_FIXED};
    assert_true(vlapic_take(&v.vcpu.apic, &message, NULL));
}

/* What bt_run() does before the next instruction. Returns where the guest goes on. */
static uint64_t next(void)
{
    bt_choose_event(&v);
    bt_deliver(&v);
    return v.state.rip;
}

static void run(uint8_t opcode)
{
    ram[v.state.rip] = opcode;
    assert_int_equal(interpret_one(&v.env), INTERPRET_DONE);
}

static void test_interrupts(void **state)
{
    (void)state;
    assert_int_equal(next(), 0x1000);
    assert_false(v.something_waits);
    interrupt(VECTOR);
    assert_int_equal(next(), VECTOR << 8);
    assert_int_equal(v.state.rflags & RFLAGS_IF, 0);
    assert_int_equal(get_le(ram + v.state.rsp, 2), 0x1000);
    assert_int_equal(v.vcpu.event.info, 0);
    /* One of a higher class waits for IF, one of a lower for EOI, which nobody has to look for. */
    interrupt(LOW);
    assert_int_equal(next(), VECTOR << 8);
    assert_false(v.something_waits);
    interrupt(VECTOR + 0x10);
    assert_int_equal(next(), VECTOR << 8);
    assert_true(v.something_waits);
    run(0xfb); /* STI: an instruction later */
    assert_false(bt_takes_interrupts(&v));
    assert_int_equal(next(), (VECTOR << 8) + 1);
    run(0x90);
    assert_true(bt_takes_interrupts(&v));
    assert_int_equal(next(), (VECTOR + 0x10) << 8);
}

static void test_8259(void **state)
{
    (void)state;
    v.state.rflags &= ~RFLAGS_IF;
    vlapic_set_lint0(&v.vcpu.apic, 0, true);
    interrupt(VECTOR);
    assert_int_equal(next(), 0x1000);
    assert_true(v.something_waits);
    v.state.rflags |= RFLAGS_IF;
    assert_int_equal(next(), PIC << 8);
    assert_true(v.something_waits); /* the APIC's, when IF is set again */
    v.state.rflags |= RFLAGS_IF;
    assert_int_equal(next(), VECTOR << 8);
}

static void test_nmis(void **state)
{
    (void)state;
    interrupt(VECTOR);
    v.vcpu.nmis_pending = 2;
    assert_int_equal(next(), VECTOR_NMI << 8); /* before interrupts */
    assert_int_equal(v.state.interruptibility, BLOCKED_BY_NMI);
    assert_int_equal(v.vcpu.nmis_pending, 1);
    assert_true(v.something_waits);
    assert_int_equal(next(), VECTOR_NMI << 8); /* neither: IF is 0, NMIs are blocked */
    run(0xcf);                                 /* IRET */
    assert_int_equal(v.state.rip, 0x1000);
    assert_true(bt_takes_nmis(&v));
    assert_int_equal(next(), VECTOR_NMI << 8);
    v.state.interruptibility = BLOCKED_BY_MOV_SS;
    v.vcpu.nmis_pending = 1;
    assert_false(bt_takes_nmis(&v));
    assert_int_equal(next(), VECTOR_NMI << 8);
    assert_int_equal(v.vcpu.nmis_pending, 1);
}

static void test_trap_comes_first(void **state)
{
    (void)state;
    interrupt(VECTOR);
    v.vcpu.nmis_pending = 1;
    v.state.pending_debug = PENDING_DEBUG_BS;
    assert_int_equal(next(), 0x1000); /* the software CPU raises it */
    assert_true(v.something_waits);
    run(0x90);
    assert_int_equal(next(), VECTOR_DEBUG << 8);
    assert_int_equal(next(), VECTOR_NMI << 8);
}

/* The stack of the first exception's handler is not there, nor is the double fault's. */
static void test_triple_fault(void **state)
{
    (void)state;
    v.state.idtr.limit = 3;
    vcpu_inject_exception(&v.vcpu, VECTOR_INVALID_OPCODE);
    for (unsigned i = 0; i < 3; i++) { /* #GP, #DF, and the end: one at a time */
        assert_int_equal(ended, 0);
        bt_deliver(&v);
    }
    assert_int_equal(ended, 1);
    assert_int_equal(vm.end, VM_TRIPLE_FAULT);
}

static struct emulate_operand operand(uint64_t linear, unsigned bytes, bool write)
{
    struct emulate_operand o;
    assert_true(bt_translate(&v.env, gva(linear), bytes, write, &o));
    return o;
}

static void test_memory(void **state)
{
    (void)state;
    uint64_t value = 0x1122334455667788, back[2] = {0};
    struct emulate_operand o = operand(0x6ffc, 8, true); /* across two pages */
    assert_int_equal(o.first, 4);
    bt_write(&v.env, &o, &value);
    assert_int_equal(get_le(ram + 0x6ffc, 8), value);
    bt_read(&v.env, &o, back);
    assert_int_equal(back[0], value);
    o = operand(0x7000, 16, true);
    const uint64_t pair[2] = {1, 2};
    bt_write(&v.env, &o, pair);
    bt_read(&v.env, &o, back);
    assert_memory_equal(back, pair, 16);

    o = operand(ROM, 4, true); /* writes are lost, and nobody takes them */
    bt_write(&v.env, &o, &value);
    assert_int_equal(get_le(ram + ROM, 4), 0x90909090);
    o = operand(DEVICE, 4, true);
    bt_write(&v.env, &o, &value);
    assert_int_equal(device_value, 0x55667788);
    device_value = 0xabcd;
    bt_read(&v.env, &o, back);
    assert_int_equal((uint32_t)back[0], 0xabcd);
    assert_int_equal(v.vcpu.stats.count[BT_DEVICE_MEMORY], 2);
    o = operand(DEVICE + 12, 8, true); /* two accesses, of what the bus has in a row */
    bt_write(&v.env, &o, &value);
    assert_int_equal(device_writes, 3);
    assert_int_equal(device_value, 0x11223344);
    bt_read(&v.env, &o, back);
    assert_int_equal(back[0], 0x1122334411223344);
    assert_int_equal(v.vcpu.stats.count[BT_DEVICE_MEMORY], 4);
}

static void test_exchange(void **state)
{
    (void)state;
    for (unsigned bytes = 1; bytes <= 16; bytes *= 2) {
        uint8_t old[16], new[16];
        memset(old, 0x90, sizeof(old));
        memset(new, 0x11, sizeof(new));
        memset(ram + 0x7000, 0x90, 32);
        const struct emulate_operand o = operand(0x7000, bytes, true);
        assert_true(bt_exchange(&v.env, &o, old, new));
        assert_memory_equal(ram + 0x7000, new, bytes);
        assert_int_equal(ram[0x7000 + bytes], 0x90);
        assert_false(bt_exchange(&v.env, &o, old, old)); /* another vCPU was there meanwhile */
        assert_memory_equal(ram + 0x7000, new, bytes);
    }
    uint32_t old = 0, new = 5;
    const struct emulate_operand o = operand(DEVICE, 4, true);
    assert_true(bt_exchange(&v.env, &o, &old, &new));
    assert_int_equal(device_value, 5);
}

/* Whoever keeps translations is told of each write to RAM, and of nothing else. */
static void test_writes_are_told(void **state)
{
    static struct bt_code code;
    uint64_t old = 0x9090909090909090, new = 0;
    (void)state;
    struct emulate_operand o = operand(0x6ffc, 8, true);
    bt_write(&v.env, &o, &new);
    assert_int_equal(writes_told, 0); /* nobody keeps any */
    v.code = &code;
    bt_write(&v.env, &o, &new);
    o = operand(0x7008, 8, true);
    assert_true(bt_exchange(&v.env, &o, &old, &new));
    assert_false(bt_exchange(&v.env, &o, &old, &new));
    o = operand(DEVICE, 4, true);
    bt_write(&v.env, &o, &new);
    o = operand(ROM, 4, true);
    bt_write(&v.env, &o, &new);
    o = operand(0x7008, 4, false);
    bt_read(&v.env, &o, &new);
    assert_int_equal(writes_told, 3); /* that in two pages twice, if each has a walk of its own */
    assert_int_equal(written_bytes, 16);
    assert_int_equal(written_at[0], 0x6ffc);
    assert_int_equal(written_at[1], 0x7000);
    assert_int_equal(written_at[2], 0x7008);
}

/* LOCK XADD [ESI], EAX of a vCPU of its own, for a while. */
enum { ADDS = 20000, STEP = 0x01010101 };

static void *add_often(void *of)
{
    struct bt_vcpu *other = of;
    for (unsigned done = 0; done < ADDS;) {
        other->state.rip = 0x1000;
        other->state.rax = STEP;
        assert_int_equal(interpret_one(&other->env), INTERPRET_DONE);
        done += other->state.rip != 0x1000; /* else it is to be tried again */
    }
    return NULL;
}

/* Two vCPUs add to the same word: within a cache line, aligned and not, across two, across two
 * pages, and in a device. No sum is lost. */
static void test_locked(void **state)
{
    (void)state;
    static const uint32_t places[] = {0x7000, 0x7001, 0x703a, 0x703d, 0x7ffe, DEVICE + 8};
    static struct bt_vcpu second;
    vm.vcpu_count = 2; /* the lock of devices counts */
    memcpy(ram + 0x1000, "\x67\x66\xf0\x0f\xc1\x06", 6);
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        pthread_t other;
        second = v;
        interpret_init(&second.env, &second.state, &calls, &second);
        v.state.rsi = second.state.rsi = places[i];
        v.state.segment[SEG_DS].limit = second.state.segment[SEG_DS].limit = UINT32_MAX;
        memset(ram + 0x7000, 0, 0x2000);
        device_value = 0;
        assert_int_equal(pthread_create(&other, NULL, add_often, &second), 0);
        (void)add_often(&v);
        assert_int_equal(pthread_join(other, NULL), 0);
        assert_int_equal(places[i] >= DEVICE ? device_value : get_le(ram + places[i], 4),
                         (uint32_t)(2u * ADDS * STEP));
        assert_int_equal(vm.locked_access.next, vm.locked_access.owner);
    }
    vm.vcpu_count = 1;
}

/* Long mode: the page at 0x400000 is that at frame. */
static void map(uint64_t frame, uint64_t flags)
{
    uint64_t *table = (uint64_t *)(ram + TABLES);
    for (unsigned level = 0; level < 3; level++)
        table[level * 512 + (level == 2 ? 2 : 0)] = (TABLES + (level + 1) * 4096) | 7;
    table[3 * 512] = frame | flags;
}

static void test_walks_are_kept(void **state)
{
    (void)state;
    memset(ram + TABLES, 0, 4 * 4096);
    map(0x6000, 7);
    v.state = cpu_state_long_mode(0x1000, TABLES);
    uint64_t *const leaf = (uint64_t *)(ram + TABLES + 3 * 4096);
    assert_int_equal(operand(0x400010, 4, false).at[0].v, 0x6010);
    assert_int_equal(*leaf & (1 << 5 | 1 << 6), 1 << 5); /* accessed; not dirty before a write */
    assert_int_equal(operand(0x400010, 4, true).at[0].v, 0x6010);
    assert_int_equal(*leaf & 1 << 6, 1 << 6);
    map(0x7000, 7); /* not seen before the guest flushes */
    assert_int_equal(operand(0x400010, 4, false).at[0].v, 0x6010);
    bt_flush_tlb(&v.vcpu);
    assert_int_equal(operand(0x400010, 4, false).at[0].v, 0x7010);

    /* The supervisor's walk is nothing to CPL 3. */
    struct emulate_operand o;
    map(0x7000, 3);
    bt_flush_tlb(&v.vcpu);
    assert_int_equal(operand(0x400010, 4, false).at[0].v, 0x7010);
    v.state.ss.access |= 3 << 5;
    assert_false(bt_translate(&v.env, gva(0x400010), 4, false, &o));
    assert_int_equal(v.vcpu.event.info & 0xff, VECTOR_PAGE_FAULT);
    assert_int_equal(v.vcpu.event.error, PF_PRESENT | PF_USER);
    assert_int_equal(v.state.cr2, 0x400010);
    v.vcpu.event.info = 0;
    assert_true(bt_translate_as(&v.env, gva(0x400010), 4, true, false, &o)); /* the CPU's own */
}

/* A page fault drops what is kept of its page, for all kinds of accesses: the handler of a write to
 * what is shared gives another page, and goes on without an INVLPG. */
static void test_page_fault_flushes(void **state)
{
    (void)state;
    struct emulate_operand o;
    memset(ram + TABLES, 0, 4 * 4096);
    map(0x6000, 5);
    v.state = cpu_state_long_mode(0x1000, TABLES);
    v.state.ss.access |= 3 << 5;
    assert_int_equal(operand(0x400010, 4, false).at[0].v, 0x6010);
    assert_false(bt_translate(&v.env, gva(0x400010), 4, true, &o));
    assert_int_equal(v.vcpu.event.info & 0xff, VECTOR_PAGE_FAULT);
    assert_int_equal(faulted_at, 0x400010);
    v.vcpu.event.info = 0;
    map(0x7000, 7);
    assert_int_equal(operand(0x400010, 4, false).at[0].v, 0x7010);
    assert_int_equal(operand(0x400010, 4, true).at[0].v, 0x7010);
}

/* The short way is open where a walk is kept, within one page of RAM, and tells of writes. */
static void test_quick_accesses(void **state)
{
    (void)state;
    struct emulate_operand o;
    uint64_t value = 0;
    memset(ram + TABLES, 0, 4 * 4096);
    map(0x6000, 3);
    v.state = cpu_state_long_mode(0x1000, TABLES);
    put_le(ram + 0x6ff8, 8, 0x1122334455667788);
    assert_false(bt_read_quickly(&v.env, 0x400ff8, &value, 8, false));
    assert_true(bt_translate_as(&v.env, gva(0x400000), 4, false, false, &o));
    assert_true(bt_read_quickly(&v.env, 0x400ff8, &value, 8, false));
    assert_int_equal(value, 0x1122334455667788);
    assert_false(bt_read_quickly(&v.env, 0x400ff9, &value, 8, false));
    assert_false(bt_read_quickly(&v.env, 0x400ff8, &value, 8, true));
    assert_false(bt_read_quickly(&v.env, 0x800000400ff8, &value, 8, false));
    assert_false(bt_write_quickly(&v.env, 0x400010, &value, 8, false));
    assert_true(bt_translate_as(&v.env, gva(0x400000), 4, true, false, &o));
    static struct bt_code code;
    const unsigned told = writes_told;
    v.code = &code;
    assert_true(bt_write_quickly(&v.env, 0x400010, &value, 8, false));
    assert_int_equal(get_le(ram + 0x6010, 8), value);
    assert_int_equal(writes_told, told + 1);
    assert_int_equal(written_at[told % 4], 0x6010);
    v.code = NULL;
    writes_told = told;
    written_bytes -= 8;
    ring3_tlb_invalidate(&v.tlb, 0x400000);
    assert_false(bt_read_quickly(&v.env, 0x400ff8, &value, 8, false));
    map(DEVICE, 3);
    assert_true(bt_translate_as(&v.env, gva(0x400000), 4, false, false, &o));
    assert_false(bt_read_quickly(&v.env, 0x400ff8, &value, 8, false));
}

/* INVLPG is of one page, but of all pieces of a large one; a flush is of all, however often. */
static void test_walks_are_dropped(void **state)
{
    (void)state;
    const uint64_t large = 0x600000, small = 0x400000;
    memset(ram + TABLES, 0, 4 * 4096);
    map(0x6000, 3);
    put_le(ram + TABLES + 2 * 4096 + 3 * 8, 8, 0x200000 | PTE_PS | 3);
    v.state = cpu_state_long_mode(0x1000, TABLES);
    assert_int_equal(operand(small, 4, false).at[0].v, 0x6000);
    map(0x7000, 3);
    ring3_tlb_invalidate(&v.tlb, small + 0x1000);
    assert_int_equal(operand(small, 4, false).at[0].v, 0x6000);
    ring3_tlb_invalidate(&v.tlb, small + 0xfff);
    assert_int_equal(operand(small, 4, false).at[0].v, 0x7000);
    assert_int_equal(operand(large + 0x1000, 4, false).at[0].v, 0x201000);
    put_le(ram + TABLES + 2 * 4096 + 3 * 8, 8, 0x400000 | PTE_PS | 3);
    ring3_tlb_invalidate(&v.tlb, large + 0x5000);
    assert_int_equal(operand(large + 0x1000, 4, false).at[0].v, 0x401000);
    for (unsigned i = 0; i < 5000; i++) {
        map(0x6000 + i % 2 * 0x1000, 3);
        ring3_tlb_flush(&v.tlb);
        assert_int_equal(operand(small, 4, false).at[0].v, 0x6000 + i % 2 * 0x1000);
        assert_int_equal(operand(small, 4, true).at[0].v, 0x6000 + i % 2 * 0x1000);
    }
}

static void test_state(void **state)
{
    (void)state;
    struct cpu_state in, out;
    memset(&in, 0x5a, sizeof(in));
    memset(&out, 0, sizeof(out));
    v.tlb.entry[0][1].key = ring3_tlb_key(&v.tlb, 0x1000, false);
    bt_set_state(&v.vcpu, STATE_ALL & ~STATE_CONTROL, &in);
    assert_int_equal(v.tlb.entry[0][1].key, ring3_tlb_key(&v.tlb, 0x1000, false));
    bt_set_state(&v.vcpu, STATE_CONTROL, &in);
    assert_int_not_equal(v.tlb.entry[0][1].key, ring3_tlb_key(&v.tlb, 0x1000, false));
    bt_get_state(&v.vcpu, STATE_ALL, &out);
    assert_int_equal(out.rip, in.rip);
    assert_memory_equal(out.segment, in.segment, sizeof(in.segment));
    assert_memory_equal(out.gpr, in.gpr, sizeof(in.gpr));
    assert_memory_equal(v.vcpu.regs.gpr, in.gpr, sizeof(in.gpr));
    assert_int_equal(out.cr3 ^ in.cr3, 0);
    assert_int_equal(out.pending_debug, in.pending_debug);
    memset(&out, 0, sizeof(out));
    bt_get_state(&v.vcpu, STATE_IP, &out);
    assert_int_equal(out.rsp, in.rsp);
    assert_int_equal(out.rax | out.cr0, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_interrupts),
        TEST(test_8259),
        TEST(test_nmis),
        TEST(test_trap_comes_first),
        TEST(test_triple_fault),
        TEST(test_memory),
        TEST(test_exchange),
        TEST(test_walks_are_kept),
        TEST(test_walks_are_dropped),
        TEST(test_quick_accesses),
        TEST(test_state),
        TEST(test_locked),
        TEST(test_page_fault_flushes),
        TEST(test_writes_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
