// link: guest/vm/vcpu_speculation.c guest/pc/kvm_pv.c
// link: guest/vm/vcpu.c guest/vm/vcpu_inject.c guest/vm/vcpu_signal.c guest/vm/vcpu_cpuid.c
// link: guest/vm/vcpu_msr.c guest/vm/vcpu_mtrr.c guest/vm/sched.c guest/vm/runqueue.c guest/vm/runqueue_init.c
// link: guest/vm/run_waiting.c guest/vm/run_balance.c
// link: guest/vm/run_alarm.c guest/vm/run_share.c guest/vm/vlapic.c guest/vm/vlapic_bus.c
// link: guest/vm/vlapic_timer.c guest/cpu/msr_table.c guest/cpu/control.c guest/cpu/event.c
// link: drivers/bus/timers.c mm/guestmem.c mm/page_alloc.c arch/format.c tests/unit/fake_engine.c tests/unit/fake_space.c
// link: tests/unit/fake_host.c guest/vm/vcpu_pv.c guest/vm/vcpu_pv_eoi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* KVM's interface: what a guest asks for by MSRs and hypercalls, and what it finds in its memory.
 */
#include "guest/pc/kvm_pv.h"
#include "tests/unit/vm_test.h"

#define WALL_CLOCK  0x4b564d00u
#define SYSTEM_TIME 0x4b564d01u
#define STEAL_TIME  0x4b564d03u
#define EOI         0x4b564d04u
#define EPOCH       1700000000u

#define PREEMPTED 16u /* of the structure of steal time */

/* Two pieces of RAM that touch, so that a structure can reach from one into the other; then ROM. */
static uint8_t ram[2][PAGE_SIZE], rom[PAGE_SIZE];
#define RAM              0x10000u
#define ROM              (RAM + 2 * PAGE_SIZE)
#define NOTHING          (ROM + PAGE_SIZE)
#define AT(page, offset) (&ram[page][offset])

static gpa_t told_at; /* of the last write that the engine was told of */
static unsigned told;

static void note(void *ctx, gpa_t at, uint64_t bytes)
{
    const struct vm *vm = ctx;
    assert_int_equal(fake_space_root().v, vm->root.v); /* its memory was there to be written */
    assert_true(bytes <= 64);
    told_at = at;
    told++;
}

static uint64_t number(const void *at, unsigned bytes)
{
    uint64_t value = 0;
    memcpy(&value, at, bytes);
    return value;
}

static struct vm *make(guest_fn *first, guest_fn *second)
{
    struct vm *vm = make_vm(0, first, second);
    memset(ram, 0, sizeof(ram));
    memset(rom, 0x77, sizeof(rom));
    told = 0;
    assert_int_equal(guestmem_add(&vm->mem, gpa(RAM), PAGE_SIZE, ram[0]), OK);
    assert_int_equal(guestmem_add(&vm->mem, gpa(RAM + PAGE_SIZE), PAGE_SIZE, ram[1]), OK);
    assert_int_equal(guestmem_add(&vm->mem, gpa(ROM), PAGE_SIZE, rom), OK);
    guestmem_replace(&vm->mem, gpa(ROM), rom, true);
    vm->mem.written = note;
    vm->mem.written_ctx = vm;
    assert_int_equal(kvm_pv_open(vm, 5 * HZ / 2, EPOCH), OK);
    return vm;
}

static enum exit_action power_off(struct fake_vcpu *fake)
{
    vm_end_request(fake->vcpu.vm, VM_POWEROFF, 0, "powered off");
    return EXIT_NEXT;
}

static bool wrmsr(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    uint64_t *gpr = vcpu->regs.gpr;
    gpr[RCX] = msr;
    gpr[RAX] = (uint32_t)value;
    gpr[RDX] = value >> 32;
    const bool good = vcpu_wrmsr(vcpu) == EXIT_NEXT;
    vcpu->event.info = 0; /* a #GP has been seen */
    return good;
}

static uint64_t rdmsr(struct vcpu *vcpu, uint32_t msr)
{
    vcpu->regs.gpr[RCX] = msr;
    assert_int_equal(vcpu_rdmsr(vcpu), EXIT_NEXT);
    return vcpu->regs.gpr[RDX] << 32 | vcpu->regs.gpr[RAX];
}

static int64_t call(struct vcpu *vcpu, uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    uint64_t *gpr = vcpu->regs.gpr;
    gpr[RAX] = nr, gpr[RBX] = a, gpr[RCX] = b, gpr[RDX] = c, gpr[RSI] = d;
    assert_int_equal(vcpu_hypercall(vcpu, 0), EXIT_NEXT);
    return (int64_t)gpr[RAX];
}

/* What a guest makes of the clock's structure at a time of the host's TSC. */
static uint64_t time_by(const struct vcpu *vcpu, const uint8_t *clock)
{
    uint64_t ticks = cpu_rdtsc() + vcpu->tsc_offset - number(clock + 8, 8);
    const int shift = (int8_t)clock[28];
    ticks = shift < 0 ? ticks >> -shift : ticks << shift;
    return number(clock + 16, 8) +
           (uint64_t)((unsigned __int128)ticks * number(clock + 24, 4) >> 32);
}

static enum exit_action clock_guest(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    memset(AT(0, 0x100), 0xee, 32);
    assert_true(wrmsr(vcpu, SYSTEM_TIME, RAM + 0x100 + 1));
    assert_int_equal(rdmsr(vcpu, SYSTEM_TIME), RAM + 0x100 + 1);
    assert_int_equal(rdmsr(vcpu, 0x12), RAM + 0x100 + 1); /* the old pair is the same */
    const uint8_t *clock = AT(0, 0x100);
    assert_int_equal(number(clock, 4), 0xeeeeeef0u); /* one write, behind it even */
    assert_int_equal(clock[29], 1);
    assert_int_equal(number(clock + 4, 4) | clock[30] | clock[31], 0);
    fake_host.now = 5 * HZ / 2 + 12 * HZ;
    assert_in_range(time_by(vcpu, clock), 12000000000u - 10, 12000000000u);
    /* Its TSC is moved, by either MSR, and the time stays. */
    const uint64_t before = time_by(vcpu, clock);
    assert_true(wrmsr(vcpu, MSR_IA32_TIME_STAMP_COUNTER, 77));
    assert_int_equal(time_by(vcpu, clock), before);
    assert_true(wrmsr(vcpu, MSR_IA32_TSC_ADJUST, 1ull << 40));
    assert_int_equal(time_by(vcpu, clock), before);
    assert_int_equal(number(clock, 4), 0xeeeeeef4u);
    /* From one piece of RAM into the next. */
    assert_true(wrmsr(vcpu, 0x12, RAM + PAGE_SIZE - 12 + 1));
    uint8_t whole[32];
    memcpy(whole, AT(0, PAGE_SIZE - 12), 12);
    memcpy(whole + 12, AT(1, 0), 20);
    assert_int_equal(time_by(vcpu, whole), before);
    /* Where it cannot be: the end of RAM, ROM, nothing, odd places. Off then. */
    static const uint64_t bad[] = {ROM - 28, ROM, NOTHING, UINT64_MAX - 7, RAM + 2, 1ull << 63};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_true(wrmsr(vcpu, SYSTEM_TIME, RAM + 1));
        assert_false(wrmsr(vcpu, SYSTEM_TIME, bad[i] | 1));
        assert_int_equal(rdmsr(vcpu, SYSTEM_TIME), 0);
    }
    for (size_t i = 0; i < PAGE_SIZE; i++)
        assert_int_equal(rom[i], 0x77);
    /* Off, nothing is written any more. */
    assert_true(wrmsr(vcpu, SYSTEM_TIME, RAM + 0x200 + 1));
    assert_true(wrmsr(vcpu, SYSTEM_TIME, 0));
    memset(AT(0, 0x200), 0, 32);
    assert_true(wrmsr(vcpu, MSR_IA32_TSC_ADJUST, 5));
    assert_int_equal(number(AT(0, 0x200), 4), 0);
    return power_off(fake);
}

static void the_clock(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(clock_guest, NULL))->end, VM_POWEROFF);
}

/* Within a part in a thousand million of what it should be, whatever the rate. */
static void the_scale(void **state)
{
    static const uint64_t rates[] = {1000000,    99999991,   100000000,  999999999, 1000000000,
                                     1000000001, 2096000001, 3500000000, 8000000000};
    (void)state;
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct vm_clock clock;
        vm_clock_init(&clock, rates[i], 0);
        const uint64_t day = 86400, ns = vm_clock_ns(&clock, day * rates[i]);
        assert_in_range(ns, day * 1000000000 - 2 * day, day * 1000000000 + 2 * day);
        assert_true(clock.mul >= 1u << 31);
    }
}

static enum exit_action wall_guest(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    for (unsigned i = 0; i < 2; i++) {
        memset(AT(0, 0), 0, 16);
        assert_true(wrmsr(vcpu, i == 0 ? WALL_CLOCK : 0x11, RAM));
        assert_int_equal(number(AT(0, 0), 4), 2);
        assert_int_equal(number(AT(0, 4), 4), EPOCH + 2); /* when the clock was 0 */
        assert_int_equal(number(AT(0, 8), 4), 500000000);
        assert_int_equal(number(AT(0, 12), 4), 0);
    }
    assert_true(wrmsr(vcpu, WALL_CLOCK, 0));
    assert_false(wrmsr(vcpu, WALL_CLOCK, RAM + 1));
    assert_false(wrmsr(vcpu, WALL_CLOCK, ROM - 8));
    assert_false(wrmsr(vcpu, WALL_CLOCK, NOTHING));
    return power_off(fake);
}

static void the_wall_clock(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(wall_guest, NULL))->end, VM_POWEROFF);
}

/* --- steal time, and the flush that a guest leaves to it --- */

static void start_other(struct vcpu *vcpu)
{
    vcpu_request_init(vcpu->vm->vcpu[1], NULL);
    vcpu_request_sipi(vcpu->vm->vcpu[1], 8, NULL);
}

/* Each turn of the other is as long as this one, so that is what has been stolen from this one. */
static enum exit_action looks_at_other(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    uint8_t *theirs = AT(1, PREEMPTED);
    fake_host.now += EXIT_TICKS;
    if (fake->entries == 1) {
        static const uint64_t bad[] = {ROM, NOTHING, RAM + 32, RAM + 2, UINT64_MAX - 63};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
            assert_false(wrmsr(vcpu, STEAL_TIME, bad[i] | 1));
        assert_true(wrmsr(vcpu, STEAL_TIME, RAM + PAGE_SIZE - 64 + 1)); /* the page's last */
        assert_int_equal(rdmsr(vcpu, STEAL_TIME), RAM + PAGE_SIZE - 64 + 1);
        assert_int_equal(number(AT(0, PAGE_SIZE - 64), 8), 0);
        start_other(vcpu);
        return EXIT_NEXT;
    }
    assert_int_equal(ram[0][PAGE_SIZE - 64 + PREEMPTED], 0); /* this one runs */
    assert_int_equal(number(AT(0, PAGE_SIZE - 64 + 8), 4) % 2, 0);
    if (fake_vcpu(vcpu->vm->vcpu[1])->entries < 3) {
        vcpu->yields = vcpu->attention = true;
        return EXIT_NEXT;
    }
    if (*theirs == 1) {
        *theirs = 3; /* a flush is left to it */
        vcpu->yields = vcpu->attention = true;
        return EXIT_NEXT;
    }
    assert_in_range(number(AT(0, PAGE_SIZE - 64), 8), 2 * EXIT_TICKS, 100 * EXIT_TICKS);
    return power_off(fake);
}

static enum exit_action is_looked_at(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    fake_host.now += EXIT_TICKS;
    if (fake->entries == 1)
        assert_true(wrmsr(vcpu, STEAL_TIME, RAM + PAGE_SIZE + 1));
    assert_int_equal(*AT(1, PREEMPTED), 0);
    if (fake->entries == 2)
        fake->guest_ctx = (void *)(uintptr_t)fake->flushes;
    if (fake->entries >= 4) { /* what was left has been done, once, before this entry */
        assert_int_equal(fake->flushes, (uintptr_t)fake->guest_ctx + 1);
        assert_true(wrmsr(vcpu, STEAL_TIME, 0));
    }
    vcpu->yields = vcpu->attention = true;
    return EXIT_NEXT;
}

static void steal_time(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(looks_at_other, is_looked_at))->end, VM_POWEROFF);
    assert_int_equal(*AT(1, PREEMPTED), 0); /* off, it is not written any more */
    assert_int_equal(ram[0][PAGE_SIZE - 64 + PREEMPTED], 1);
    assert_true(told > 10);
}

/* A step has been translated in part: the others are not told that a flush can wait. */
static enum exit_action in_a_step(struct fake_vcpu *fake)
{
    assert_true(wrmsr(&fake->vcpu, STEAL_TIME, RAM + 1));
    vcpu_pv_leaves(&fake->vcpu);
    assert_int_equal(*AT(0, PREEMPTED), 1);
    vcpu_pv_loaded(&fake->vcpu);
    fake->vcpu.step.count = 1;
    vcpu_pv_leaves(&fake->vcpu);
    assert_int_equal(*AT(0, PREEMPTED), 0);
    fake->vcpu.step.count = 0;
    /* What was RAM when it was asked for may be ROM now. */
    guestmem_replace(&fake->vcpu.vm->mem, gpa(RAM), ram[0], true);
    vcpu_pv_leaves(&fake->vcpu);
    vcpu_pv_loaded(&fake->vcpu);
    assert_int_equal(*AT(0, PREEMPTED), 0);
    return power_off(fake);
}

static void no_flush_waits_for_a_step(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(in_a_step, NULL))->end, VM_POWEROFF);
}

/* --- EOI --- */

static void send(struct vcpu *vcpu, uint8_t vector, bool level)
{
    const struct vlapic_message message = {
        .destination = 0, .vector = vector, .mode = DELIVERY_FIXED, .level = level};
    assert_true(vlapic_take(&vcpu->apic, &message, NULL));
}

static void deliver(struct vcpu *vcpu, unsigned vector)
{
    assert_int_equal(vlapic_pending(&vcpu->apic), vector);
    vlapic_accept(&vcpu->apic, vector);
}

static bool in_service(const struct vcpu *vcpu, unsigned vector)
{
    return (vcpu->apic.page[(APIC_ISR + vector / 32 * 16) / 4] >> vector % 32 & 1) != 0;
}

static void write_eoi(struct vcpu *vcpu)
{
    assert_true(wrmsr(vcpu, MSR_IA32_X2APIC_BASE + APIC_EOI / 16, 0));
}

static enum exit_action eoi_guest(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    uint8_t *word = AT(0, 0x40);
    assert_true(wrmsr(vcpu, MSR_IA32_APIC_BASE, vcpu->apic.base | APIC_BASE_X2APIC));
    assert_true(wrmsr(vcpu, MSR_IA32_X2APIC_BASE + APIC_SVR / 16, APIC_SVR_ENABLE | 0xff));
    assert_false(wrmsr(vcpu, EOI, (RAM + 2) | 1));
    assert_false(wrmsr(vcpu, EOI, ROM | 1));
    assert_false(wrmsr(vcpu, EOI, NOTHING | 1));
    send(vcpu, 0x50, false);
    deliver(vcpu, 0x50);
    write_eoi(vcpu);
    assert_int_equal(*word, 0); /* not asked for yet */
    assert_true(wrmsr(vcpu, EOI, (RAM + 0x40) | 1));
    assert_int_equal(rdmsr(vcpu, EOI), (RAM + 0x40) | 1);
    *word = 0xe0; /* the other bits are the guest's */

    send(vcpu, 0x50, false);
    deliver(vcpu, 0x50);
    assert_int_equal(*word, 0xe1);
    assert_int_equal(vlapic_pending(&vcpu->apic), -1); /* an exit in the handler; nothing waits */
    assert_int_equal(*word, 0xe1);
    *word = 0xe0; /* the guest ends it, without an exit */
    send(vcpu, 0x50, false);
    deliver(vcpu, 0x50); /* so the same one can come again */
    assert_int_equal(*word, 0xe1);
    /* One of the same class comes before that: the offer is taken back, and the EOI exits. */
    send(vcpu, 0x51, false);
    assert_int_equal(vlapic_pending(&vcpu->apic), -1);
    assert_int_equal(*word, 0xe0);
    assert_true(in_service(vcpu, 0x50));
    write_eoi(vcpu);
    assert_false(in_service(vcpu, 0x50));
    deliver(vcpu, 0x51);
    assert_int_equal(*word, 0xe1);
    /* A higher one interrupts; the guest ends that by its word, and the lower one by an EOI. */
    send(vcpu, 0x80, false);
    deliver(vcpu, 0x80);
    assert_int_equal(*word, 0xe1);
    *word = 0xe0;
    write_eoi(vcpu);
    assert_false(in_service(vcpu, 0x80) || in_service(vcpu, 0x51));
    /* Where another one waits behind it, or the IO-APIC does, it is not offered. */
    send(vcpu, 0x60, false);
    send(vcpu, 0x61, false);
    deliver(vcpu, 0x61);
    assert_int_equal(*word, 0xe0);
    write_eoi(vcpu);
    deliver(vcpu, 0x60);
    write_eoi(vcpu);
    *word = 0xe0;
    send(vcpu, 0x70, true);
    deliver(vcpu, 0x70);
    assert_int_equal(*word, 0xe0);
    write_eoi(vcpu);
    /* Who looks at ISR sees what has been ended. */
    send(vcpu, 0x50, false);
    deliver(vcpu, 0x50);
    *word = 0xe0;
    assert_int_equal(rdmsr(vcpu, MSR_IA32_X2APIC_BASE + (APIC_ISR + 0x20) / 16), 0);
    /* Off: what has been offered is not, any more. */
    send(vcpu, 0x50, false);
    deliver(vcpu, 0x50);
    assert_true(wrmsr(vcpu, EOI, 0));
    assert_int_equal(*word, 0xe0);
    assert_true(in_service(vcpu, 0x50));
    write_eoi(vcpu);
    send(vcpu, 0x50, false);
    deliver(vcpu, 0x50);
    assert_int_equal(*word, 0xe0);
    return power_off(fake);
}

/* A vCPU that waits has no offer: who looks whether it has an interrupt is in other page tables. */
static enum exit_action eoi_then_halt(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    const uint8_t *word = AT(0, 0x40);
    if (fake->entries == 1) {
        assert_true(vlapic_write(&vcpu->apic, APIC_SVR, APIC_SVR_ENABLE | 0xff));
        assert_true(wrmsr(vcpu, EOI, (RAM + 0x40) | 1));
        send(vcpu, 0x50, false);
        deliver(vcpu, 0x50);
        assert_int_equal(*word, 1);
        vcpu_request_unhalt(vcpu);
        return vcpu_halt(vcpu, true, true, false);
    }
    assert_int_equal(*word, 0);
    assert_true(in_service(vcpu, 0x50));
    return power_off(fake);
}

static void eoi_of_a_waiting_vcpu(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(eoi_then_halt, NULL))->end, VM_POWEROFF);
}

static void eoi(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(eoi_guest, NULL))->end, VM_POWEROFF);
}

static enum exit_action reset_by_init(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    if (fake->entries == 1) {
        assert_true(wrmsr(vcpu, SYSTEM_TIME, RAM + 1));
        assert_true(wrmsr(vcpu, STEAL_TIME, RAM + 0x40 + 1));
        assert_true(wrmsr(vcpu, EOI, RAM + 0x80 + 1));
        vcpu_request_init(vcpu, NULL);
        return EXIT_NEXT;
    }
    assert_int_equal(rdmsr(vcpu, SYSTEM_TIME) | rdmsr(vcpu, STEAL_TIME) | rdmsr(vcpu, EOI), 0);
    return power_off(fake);
}

static void init_switches_all_off(void **state)
{
    (void)state;
    struct vm *vm = make(reset_by_init, NULL);
    static uint8_t code[PAGE_SIZE]; /* where INIT leads the boot processor */
    assert_int_equal(guestmem_add(&vm->mem, gpa(0xfffff000), PAGE_SIZE, code), OK);
    assert_int_equal(run_vm(vm)->end, VM_POWEROFF);
}

/* --- hypercalls --- */

static enum exit_action calls_guest(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    static const uint64_t unknown[] = {1, 4, 6, 9, 12, 99, 1ull << 32 | 5, UINT64_MAX};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_int_equal(call(vcpu, unknown[i], 0, 0, 0, 0), -1000);
    vcpu->regs.gpr[RAX] = 10;
    assert_int_equal(vcpu_hypercall(vcpu, 3), EXIT_NEXT);
    assert_int_equal(vcpu->regs.gpr[RAX], -1);
    assert_int_equal(call(vcpu, 5, 0, 2, 0, 0), 0); /* nobody of that number: nothing */
    assert_int_equal(call(vcpu, 5, 0, UINT64_MAX, 0, 0), 0);
    assert_int_equal(call(vcpu, 11, UINT64_MAX, 0, 0, 0), 0);
    assert_false(vcpu->yields);

    struct vlapic *apic = &vcpu->vm->vcpu[1]->apic;
    assert_true(vlapic_write(apic, APIC_SVR, APIC_SVR_ENABLE | 0xff));
    /* In 64-bit code there are 64 in the first set, so vCPU 1 is never in the second. */
    fake->state.cs.access = ACCESS_L;
    assert_int_equal(call(vcpu, 10, 2, 0, 0, 0x41), 1);
    assert_int_equal(apic->posted->requests[1], 1u << 1);
    assert_int_equal(call(vcpu, 10, 1, UINT64_MAX, 1, 0x42), 1);
    assert_int_equal(call(vcpu, 10, 0, UINT64_MAX, 0, 0x43), 0);
    assert_int_equal(call(vcpu, 10, 0, 1ull << 33, 0, 0x43), 0);
    assert_int_equal(call(vcpu, 10, UINT64_MAX, UINT64_MAX, 2, 0x43), 0);
    assert_int_equal(call(vcpu, 10, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0x43), 0);
    assert_int_equal(call(vcpu, 10, UINT64_MAX, UINT64_MAX, UINT64_MAX - 63, 0x43), 0);
    assert_int_equal(apic->posted->requests[1], 3u << 1);
    /* Without, 32, and what is above is not looked at. */
    fake->state.cs.access = 0;
    assert_int_equal(call(vcpu, 10, ~2ull << 32 | 2, ~0ull << 32, 1ull << 32, 1ull << 32 | 0x44),
                     1);
    assert_int_equal(call(vcpu, 10, ~0ull << 32, 0, 0, 0x45), 0);
    assert_int_equal(apic->posted->requests[1], 3u << 1 | 1u << 4);
    assert_int_equal(call(vcpu, 10, 2, 0, 0, 0x400), 1); /* an NMI */
    assert_true((vcpu->vm->vcpu[1]->requests & REQUEST_NMI) != 0);
    /* Shorthands, logical destinations, levels and other modes: not by this way. */
    static const uint64_t bad[] = {0x800, 0x8041, 0x40041, 0x500, 0x600, 0x141, 0x700, 1u << 31};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(call(vcpu, 10, 3, 0, 0, bad[i]), -22);
    return power_off(fake);
}

static enum exit_action never(struct fake_vcpu *fake)
{
    (void)fake;
    fail();
    return EXIT_NEXT;
}

static void calls(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(calls_guest, never))->end, VM_POWEROFF);
}

/* --- a lock: one halts for it with interrupts off, another frees it and kicks --- */

static bool kicked_first, free_lock;

static enum exit_action kicker(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    const struct vcpu *other = vcpu->vm->vcpu[1];
    fake_host.now += EXIT_TICKS;
    if (fake->entries == 1)
        start_other(vcpu);
    const bool now =
        kicked_first ? fake_vcpu(vcpu->vm->vcpu[1])->entries == 1 : other->run.state == VCPU_HALTED;
    if (now && !free_lock) {
        free_lock = true;
        assert_int_equal(call(vcpu, 5, 0, 1, 0, 0), 0);
    }
    vcpu->yields = vcpu->attention = true;
    return EXIT_NEXT;
}

static enum exit_action waiter(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    fake_host.now += EXIT_TICKS;
    if (fake->entries == 1 && kicked_first) { /* it has seen the lock taken, and loses its CPU */
        vcpu->yields = vcpu->attention = true;
        return EXIT_NEXT;
    }
    if (fake->entries == (kicked_first ? 2u : 1u))
        return vcpu_halt(vcpu, false, false, false);
    assert_true(free_lock);
    assert_int_equal(vcpu->requests, 0); /* it was for one HLT */
    return power_off(fake);
}

static void kicks(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        set_up(NULL);
        kicked_first = i != 0;
        free_lock = false;
        assert_int_equal(run_vm(make(kicker, waiter))->end, VM_POWEROFF);
        tear_down(NULL);
    }
}

/* Not kicked, nothing can wake it; and a kick is for HLT alone. */
static enum exit_action halts_for_good(struct fake_vcpu *fake)
{
    if (fake->entries == 1)
        assert_int_equal(call(&fake->vcpu, 5, 0, 0, 0, 0), 0); /* itself */
    return vcpu_halt(&fake->vcpu, false, false, false);
}

static void one_kick_ends_one_halt(void **state)
{
    (void)state;
    const struct life *l = run_vm(make(halts_for_good, NULL));
    assert_int_equal(l->end, VM_CRASH);
    assert_int_equal(l->entries[0], 2);
}

static enum exit_action yields_to_other(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    fake_host.now += EXIT_TICKS;
    if (fake->entries == 1) {
        start_other(vcpu);
        assert_int_equal(call(vcpu, 11, 0, 0, 0, 0), 0); /* to itself: nothing */
        assert_false(vcpu->yields);
    }
    if (vcpu->vm->vcpu[1]->run.state == VCPU_READY) {
        assert_int_equal(call(vcpu, 11, 1, 0, 0, 0), 0);
        assert_true(vcpu->yields && vcpu->attention);
    }
    return EXIT_NEXT;
}

static enum exit_action ends_soon(struct fake_vcpu *fake)
{
    assert_true(fake_host.now < HZ + 20 * EXIT_TICKS); /* long before the other's turn is over */
    return power_off(fake);
}

static void yields(void **state)
{
    (void)state;
    assert_int_equal(run_vm(make(yields_to_other, ends_soon))->end, VM_POWEROFF);
}

static void features(void **state)
{
    (void)state;
    const struct engine_facts with = {.virtual_apic = true}, without = {.virtual_apic = false};
    assert_int_equal(kvm_pv_features(&without), 0x1002aeb);
    assert_int_equal(kvm_pv_features(&with), kvm_pv_features(&without) & ~(1u << 6));
}

#define WITH_VM(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_VM(the_clock),
        cmocka_unit_test(the_scale),
        WITH_VM(the_wall_clock),
        WITH_VM(steal_time),
        WITH_VM(no_flush_waits_for_a_step),
        WITH_VM(eoi),
        WITH_VM(eoi_of_a_waiting_vcpu),
        WITH_VM(init_switches_all_off),
        WITH_VM(calls),
        cmocka_unit_test(kicks),
        WITH_VM(one_kick_ends_one_halt),
        WITH_VM(yields),
        cmocka_unit_test(features),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
