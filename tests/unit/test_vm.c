// link: guest/vm/vcpu_speculation.c
// link: guest/vm/vcpu.c guest/vm/vcpu_inject.c guest/vm/vcpu_signal.c guest/vm/vcpu_cpuid.c
// link: guest/vm/vcpu_msr.c guest/vm/vcpu_mtrr.c guest/vm/sched.c guest/vm/runqueue.c guest/vm/runqueue_init.c
// link: guest/vm/run_waiting.c guest/vm/run_balance.c
// link: guest/vm/run_alarm.c guest/vm/run_share.c guest/vm/vlapic.c guest/vm/vlapic_bus.c
// link: guest/vm/vlapic_timer.c guest/cpu/msr_table.c guest/cpu/control.c guest/cpu/event.c
// link: drivers/bus/timers.c mm/guestmem.c mm/page_alloc.c arch/format.c tests/unit/fake_engine.c tests/unit/fake_space.c
// link: tests/unit/fake_host.c guest/vm/vcpu_pv.c guest/vm/vcpu_pv_eoi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* VMs from start to end without VT-x: scripted guests on a second engine, which shows that what all
 * engines share needs nothing of the first. */
#include "tests/unit/vm_test.h"

#define ICR(mode, vector) ((mode) << 8 | (vector))
#define TO(apic_id)       ((uint64_t)(apic_id) << 32)

/*
 * What guests do.
 */

static void tick(void)
{
    fake_host.now += EXIT_TICKS;
    other_cpu();
}

static void wrmsr(struct fake_vcpu *fake, uint32_t msr, uint64_t value)
{
    uint64_t *gpr = fake->vcpu.regs.gpr;
    gpr[RCX] = msr;
    gpr[RAX] = (uint32_t)value;
    gpr[RDX] = value >> 32;
    assert_int_equal(vcpu_wrmsr(&fake->vcpu), EXIT_NEXT);
}

static void write_apic(struct fake_vcpu *fake, unsigned offset, uint64_t value)
{
    wrmsr(fake, MSR_IA32_X2APIC_BASE + offset / 16, value);
}

/* x2APIC mode, software-enabled, IF set. */
static void open_apic(struct fake_vcpu *fake)
{
    wrmsr(fake, MSR_IA32_APIC_BASE, fake->vcpu.apic.base | APIC_BASE_X2APIC);
    write_apic(fake, APIC_SVR, APIC_SVR_ENABLE | 0xff);
    fake->state.rflags |= RFLAGS_IF;
}

static enum exit_action halt(struct fake_vcpu *fake)
{
    return vcpu_halt(&fake->vcpu, (fake->state.rflags & RFLAGS_IF) != 0,
                     (fake->state.interruptibility & BLOCKED_BY_NMI) == 0, false);
}

static enum exit_action power_off(struct fake_vcpu *fake)
{
    vm_end_request(fake->vcpu.vm, VM_POWEROFF, 0, "powered off");
    return EXIT_NEXT;
}

static enum exit_action spin(struct fake_vcpu *fake)
{
    (void)fake;
    tick();
    return EXIT_NEXT;
}

static unsigned vector_of(const struct fake_vcpu *fake)
{
    return (fake->injected.info & EVENT_VALID) != 0 ? fake->injected.info & 0xff : 0;
}

/* Something for the CPU to run beside what is tested: it blocks instead of sleeping. */
static enum exit_action spin_while_others_live(struct fake_vcpu *fake)
{
    return alive > 1 ? spin(fake) : power_off(fake);
}

/*
 * Tests. Those of HLT run twice: with the CPU for themselves, and beside a busy VM.
 */

static const struct life *run_beside(struct vm *vm, bool busy)
{
    if (busy)
        vm_start(make_vm(1, spin_while_others_live, NULL));
    const struct life *l = run_vm(vm);
    if (busy) {
        assert_int_equal(life[1].stops, 1);
        assert_int_equal(life[1].end, VM_POWEROFF);
    }
    return l;
}

static enum exit_action timer_guest(struct fake_vcpu *fake)
{
    uint64_t *gpr = fake->vcpu.regs.gpr;
    tick();
    switch (fake->entries) {
    case 1:
        assert_int_equal(fake->state.rip, 0x7c00);
        gpr[RAX] = 0;
        assert_true(vcpu_cpuid(&fake->vcpu));
        assert_int_equal(gpr[RBX], 0x6964614e);
        return EXIT_NEXT;
    case 2:
        gpr[RAX] = 1;
        assert_false(vcpu_cpuid(&fake->vcpu));
        assert_int_equal(vcpu_cpuid_dynamic(&fake->vcpu, CR4_OSXSAVE), EXIT_NEXT);
        assert_int_equal(gpr[RAX], 0x506e3);
        assert_int_equal(gpr[RCX], CPUID_1_ECX_OSXSAVE);
        open_apic(fake);
        return EXIT_NEXT;
    case 3:
        write_apic(fake, APIC_LVT_TIMER, 0x60);
        write_apic(fake, APIC_INITIAL_COUNT, HZ / 8); /* divisor 2: a quarter of a second */
        return halt(fake);
    default:
        assert_int_equal(fake->entries, 4);
        assert_int_equal(vector_of(fake), 0x60);
        assert_int_equal(fake->state.rip, 0x7c03);
        return power_off(fake);
    }
}

static void test_timer(void **state)
{
    (void)state;
    for (unsigned busy = 0; busy < 2; busy++) {
        set_up(NULL);
        const uint64_t before = fake_host.now;
        const struct life *l = run_beside(make_vm(0, timer_guest, NULL), busy);
        assert_int_equal(l->end, VM_POWEROFF);
        assert_true(fake_host.now - before >= HZ / 4 && fake_host.now - before < HZ / 3);
        assert_in_range(l->waited[0][ACTIVITY_HLT], HZ / 5, HZ / 3);
        assert_int_equal(sleeps == 0, busy);
        assert_int_equal(l->loads[0] > 1, busy);
        tear_down(NULL);
    }
}

/* A step's rest is done portion by portion before the guest goes on, with a look at what else there
 * is behind each: the other VM has turns meanwhile. */
static enum exit_action stepping_guest(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    tick();
    if (fake->entries > 1) {
        assert_int_equal(vcpu->step.pieces, 0);
        return power_off(fake);
    }
    vcpu->step.pieces = 4;
    vcpu->step.unfinished = vcpu->attention = true;
    vcpu->requests |= REQUEST_STEP;
    return EXIT_SAME;
}

static void test_unfinished_step(void **state)
{
    (void)state;
    for (unsigned busy = 0; busy < 2; busy++) {
        set_up(NULL);
        const struct life *l = run_beside(make_vm(0, stepping_guest, NULL), busy);
        assert_int_equal(l->end, VM_POWEROFF);
        assert_int_equal(l->entries[0], 2);
        tear_down(NULL);
    }
}

/* vCPU 0 starts vCPU 1 by INIT and SIPI, which tells that it runs by an IPI; then it is halted,
 * gets an NMI, and answers by another IPI; then INIT stops it. */
static enum exit_action starter(struct fake_vcpu *fake)
{
    const struct vcpu *other = fake->vcpu.vm->vcpu[1];
    tick();
    switch (fake->entries) {
    case 1:
        assert_int_equal(other->activity, ACTIVITY_WAIT_FOR_SIPI);
        open_apic(fake);
        write_apic(fake, APIC_ICR, TO(1) | ICR(5u, 0) | APIC_ICR_ASSERT);
        write_apic(fake, APIC_ICR, TO(1) | ICR(6u, 0x9f));
        return halt(fake);
    case 2:
        assert_int_equal(vector_of(fake), 0x71);
        write_apic(fake, APIC_EOI, 0);
        write_apic(fake, APIC_ICR, TO(1) | ICR(4u, 0));
        return halt(fake);
    case 3:
        assert_int_equal(vector_of(fake), 0x72);
        write_apic(fake, APIC_EOI, 0);
        write_apic(fake, APIC_ICR, TO(1) | ICR(5u, 0) | APIC_ICR_ASSERT);
        return EXIT_NEXT;
    default:
        if (other->activity != ACTIVITY_WAIT_FOR_SIPI || other->requests != 0) {
            assert_true(fake->entries < 100000);
            return EXIT_NEXT;
        }
        assert_true(cpus.count == 2 || other->run.state == VCPU_WAITS_FOR_SIPI);
        return power_off(fake);
    }
}

static enum exit_action started(struct fake_vcpu *fake)
{
    tick();
    switch (fake->entries) {
    case 1:
        assert_int_equal(fake->state.cs.base, 0x9f000);
        assert_int_equal(fake->state.cs.selector, 0x9f00);
        assert_int_equal(fake->state.rip, 0);
        open_apic(fake);
        fake->state.rflags &= ~RFLAGS_IF;
        write_apic(fake, APIC_ICR, TO(0) | ICR(0u, 0x71));
        return halt(fake); /* an NMI alone ends it */
    case 2:
        assert_int_equal(vector_of(fake), VECTOR_NMI);
        assert_int_equal(fake->state.interruptibility, BLOCKED_BY_NMI);
        write_apic(fake, APIC_ICR, TO(0) | ICR(0u, 0x72));
        fake->state.interruptibility = 0;
        return halt(fake);
    default: fail_msg("runs behind INIT"); return EXIT_NEXT;
    }
}

static const struct cpu_segment odd_segment = {
    .selector = 0x1b, .access = 0xc0f3, .limit = 7, .base = 9};

/* Leaves nothing of its CPU as INIT would have it. */
static enum exit_action disturbed(struct fake_vcpu *fake)
{
    struct cpu_state *s = &fake->state;
    struct vcpu *vcpu = &fake->vcpu;
    tick();
    for (unsigned i = 0; i < 16; i++)
        vcpu->regs.gpr[i] = s->gpr[i] = 0x1111 * (i + 1);
    s->rip = s->rsp = 0x5555;
    s->rflags = RFLAGS_FIXED | 0x8d5;
    s->cr0 = CR0_PG | CR0_NW | CR0_NE | CR0_ET | CR0_MP | CR0_PE;
    s->cr2 = s->cr3 = 0x9000;
    s->cr4 = CR4_PAE;
    s->efer = EFER_LME | EFER_LMA;
    for (unsigned i = 0; i < STATE_SEGMENT_COUNT; i++)
        s->segment[i] = odd_segment;
    s->gdtr = s->idtr = (struct cpu_table_register){0x7777, 0x77};
    for (unsigned i = 0; i < 4; i++)
        s->dr[i] = s->pdpte[i] = 0x3333;
    s->dr6 = 0xffff4ff3;
    s->dr7 = 0x7ff;
    s->debugctl = 2;
    s->pat = 0x0606060606060606;
    s->sysenter_cs = s->sysenter_esp = s->sysenter_eip = 0x8888;
    s->interruptibility = BLOCKED_BY_NMI;
    vcpu->xcr0 = 7;
    vcpu->tsc_offset = 0x123400;
    vcpu->tsc_adjust = 0x123400;
    vcpu->misc_enable = MISC_ENABLE_RESET ^ 1;
    return EXIT_NEXT;
}

/* SDM, "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT". */
static void expect_state_after_init(struct fake_vcpu *fake)
{
    const struct cpu_state *s = &fake->state;
    const struct vcpu *vcpu = &fake->vcpu;
    for (unsigned i = 0; i < 16; i++)
        if (i != RSP)
            assert_int_equal(vcpu->regs.gpr[i], i == RDX ? vcpu_signature(vcpu) : 0);
    assert_int_equal(s->rip, 0xfff0);
    assert_int_equal(s->rsp, 0);
    assert_int_equal(s->rflags, RFLAGS_FIXED);
    assert_int_equal(s->cr0, CR0_NW | CR0_ET); /* CD and NW stay */
    assert_int_equal(s->cr2 | s->cr3 | s->cr4 | s->efer, 0);
    for (unsigned i = 0; i < STATE_SEGMENT_COUNT; i++) {
        assert_int_equal(s->segment[i].selector, i == STATE_CS ? 0xf000 : 0);
        assert_int_equal(s->segment[i].base, i == STATE_CS ? 0xffff0000 : 0);
        assert_int_equal(s->segment[i].limit, 0xffff);
    }
    assert_int_equal(s->gdtr.base | s->idtr.base, 0);
    assert_int_equal(s->gdtr.limit, 0xffff);
    assert_int_equal(s->idtr.limit, 0xffff);
    assert_int_equal(s->dr[0] | s->dr[1] | s->dr[2] | s->dr[3], 0);
    assert_int_equal(s->dr6, 0xffff0ff0);
    assert_int_equal(s->dr7, 0x400);
    assert_int_equal(s->debugctl, 0);
    assert_int_equal(s->interruptibility, 0);
    assert_int_equal(s->pat, 0x0606060606060606); /* MSRs, XCR0 and the TSC stay */
    assert_int_equal(s->sysenter_cs & s->sysenter_esp & s->sysenter_eip, 0x8888);
    assert_int_equal(vcpu->xcr0, 7);
    assert_int_equal(vcpu->tsc_offset, 0x123400);
    assert_int_equal(vcpu->tsc_adjust, 0x123400);
    assert_int_equal(vcpu->misc_enable, MISC_ENABLE_RESET ^ 1);
}

static enum exit_action resets_other(struct fake_vcpu *fake)
{
    struct vcpu *other = fake->vcpu.vm->vcpu[1];
    tick();
    assert_true(fake->entries < 100000);
    if (fake->entries == 1) {
        open_apic(fake);
        write_apic(fake, APIC_ICR, TO(1) | ICR(6u, 0x9f));
    } else if (fake_vcpu(other)->entries == 1 && other->requests == 0 &&
               other->activity == ACTIVITY_ACTIVE) {
        write_apic(fake, APIC_ICR, TO(1) | ICR(5u, 0) | APIC_ICR_ASSERT);
    } else if (fake_vcpu(other)->entries != 0 && other->requests == 0 &&
               other->activity == ACTIVITY_WAIT_FOR_SIPI) {
        expect_state_after_init(fake_vcpu(other));
        return power_off(fake);
    }
    return EXIT_NEXT;
}

static void test_state_after_init(void **state)
{
    (void)state;
    cpus.count = 2;
    set_up(NULL);
    const struct life *l = run_vm(make_vm(0, resets_other, disturbed));
    assert_int_equal(l->end, VM_POWEROFF);
    tear_down(NULL);
    cpus.count = 1;
}

static void test_start_and_stop(void **state)
{
    (void)state;
    for (unsigned busy = 0; busy < 2; busy++) {
        set_up(NULL);
        const struct life *l = run_beside(make_vm(0, starter, started), busy);
        assert_int_equal(l->end, VM_POWEROFF);
        assert_int_equal(l->entries[1], 2);
        assert_true(busy || l->waited[1][ACTIVITY_WAIT_FOR_SIPI] > 0);
        assert_int_equal(l->waited[0][ACTIVITY_WAIT_FOR_SIPI], 0);
        assert_int_equal(l->waited[1][ACTIVITY_WAIT_FOR_IO], 0);
        tear_down(NULL);
    }
}

static enum exit_action halt_for_ever(struct fake_vcpu *fake)
{
    tick();
    assert_true(fake->entries <= 2);
    fake->state.interruptibility = BLOCKED_BY_NMI;
    return halt(fake);
}

static enum exit_action start_other_and_halt(struct fake_vcpu *fake)
{
    tick();
    if (fake->entries == 1) {
        wrmsr(fake, MSR_IA32_APIC_BASE, fake->vcpu.apic.base | APIC_BASE_X2APIC);
        write_apic(fake, APIC_ICR, TO(1) | ICR(6u, 1));
    }
    return halt_for_ever(fake);
}

static void test_stuck(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        set_up(NULL);
        struct vm *vm = make_vm(0, i / 2 == 2 ? start_other_and_halt : halt_for_ever,
                                i / 2 != 0 ? halt_for_ever : NULL);
        const struct life *l = run_beside(vm, i % 2);
        assert_int_equal(l->end, VM_CRASH);
        assert_non_null(strstr(l->why, "nothing can wake it"));
        assert_int_equal(l->entries[0], 1);
        assert_int_equal(l->entries[1], i / 2 == 2);
        assert_true(i / 2 == 2 || l->end_state.rip == 0x7c01);
        tear_down(NULL);
    }
}

/* Nothing of this gives one that waits anything to do: it is not woken, but looks when it is. */
static enum exit_action memory_changes(struct fake_vcpu *fake)
{
    struct vm *vm = fake->vcpu.vm;
    struct vcpu *other = vm->vcpu[1];
    tick();
    if (other->run.state != VCPU_WAITS_FOR_SIPI) {
        fake->vcpu.yields = true;
        return EXIT_NEXT;
    }
    const uint64_t picks = sched_queues()->queue[0].picks;
    other->attention = fake->vcpu.attention = false;
    vm_memory_changed(vm);
    vm_io_ready(vm);
    assert_int_equal(other->run.state, VCPU_WAITS_FOR_SIPI);
    assert_true(other->attention && !other->run.woken && fake->vcpu.attention);
    assert_int_equal(sched_queues()->queue[0].picks, picks);
    return power_off(fake);
}

static void test_memory_change_wakes_nobody(void **state)
{
    (void)state;
    set_up(NULL);
    assert_int_equal(run_vm(make_vm(0, memory_changes, spin))->end, VM_POWEROFF);
    tear_down(NULL);
}

/* A device that takes no more; the user makes room a while later. */
static void make_room(void *dev, uint64_t now)
{
    struct vm *vm = dev;
    (void)now;
    assert_int_equal(fake_space_root().v, vm->root.v); /* whichever vCPU is loaded */
    vm_io_ready(vm);
}

static struct timer room = {.fire = make_room};

static enum exit_action writer(struct fake_vcpu *fake)
{
    struct vm *vm = fake->vcpu.vm;
    tick();
    if (fake->entries == 3) {
        assert_int_equal(vm->io_waits, false);
        return power_off(fake);
    }
    vm_lock(vm);
    vm_wait_for_io(vm);
    timers_arm(&vm->timers, &room, fake_host.now + HZ / 10);
    vm_unlock(vm);
    return EXIT_NEXT;
}

static void test_hold(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        set_up(NULL);
        const uint64_t before = fake_host.now;
        struct vm *vm = make_vm(0, writer, i / 2 != 0 ? spin : NULL);
        room.dev = vm;
        timers_add(&vm->timers, &room);
        const struct life *l = run_beside(vm, i % 2);
        assert_int_equal(l->end, VM_POWEROFF);
        assert_int_equal(l->entries[0], 3);
        assert_true(fake_host.now - before >= HZ / 5 && fake_host.now - before < HZ / 4);
        /* Each wait on its own account. */
        assert_in_range(l->waited[0][ACTIVITY_WAIT_FOR_IO], HZ / 6, HZ / 4);
        assert_int_equal(l->waited[0][ACTIVITY_HLT], 0);
        tear_down(NULL);
    }
}

/* From another CPU, where nothing is loaded. */
static void elsewhere(void (*what)(struct vm *vm))
{
    fake_host.self = 1;
    what(&life[0].vm);
    fake_host.self = 0;
}

static void end_it(struct vm *vm)
{
    vm_end_request(vm, VM_POWEROFF, 0, "by the monitor");
}

static void dump(struct vm *vm)
{
    vcpu_request_dump(vm->vcpu[0]);
}

static void show_then_end(void)
{
    const struct vcpu *vcpu = life[0].vm.vcpu[0];
    assert_int_equal(vcpu->activity, ACTIVITY_HLT);
    assert_int_equal(fake_vcpu(life[0].vm.vcpu[0])->entries, 1);
    elsewhere(fake_host.dumps == 0 ? dump : end_it);
}

static enum exit_action halt_open(struct fake_vcpu *fake)
{
    tick();
    fake->state.rflags |= RFLAGS_IF;
    return halt(fake);
}

static enum exit_action shown_twice(struct fake_vcpu *fake)
{
    struct vm *vm = &life[0].vm;
    tick();
    if (fake->entries % 20000 == 10000)
        dump(vm);
    if (fake->entries == 40000) {
        assert_int_equal(fake_host.dumps, 2);
        assert_int_equal(fake_vcpu(vm->vcpu[0])->entries, 1);
        assert_int_equal(vm->vcpu[0]->run.state, VCPU_HALTED);
        end_it(vm);
    }
    return spin_while_others_live(fake);
}

static void test_show(void **state)
{
    (void)state;
    while_asleep = show_then_end;
    const struct life *l = run_vm(make_vm(0, halt_open, NULL));
    assert_int_equal(l->end, VM_POWEROFF);
    assert_int_equal(l->entries[0], 1);
    assert_int_equal(fake_host.dumps, 1);
    assert_int_equal(logged, 1);
    tear_down(NULL);
    set_up(NULL); /* the same with another VM on the CPU */
    struct vm *vm = make_vm(0, halt_open, NULL);
    vm_start(make_vm(1, shown_twice, NULL));
    l = run_vm(vm);
    assert_int_equal(l->end, VM_POWEROFF);
    assert_int_equal(l->entries[0], 1);
}

/* What vCPU 1 is at when vCPU 0 ends the VM. */
static enum vcpu_state at_end;

static enum exit_action hold(struct fake_vcpu *fake)
{
    tick();
    vm_lock(fake->vcpu.vm);
    vm_wait_for_io(fake->vcpu.vm);
    vm_unlock(fake->vcpu.vm);
    return EXIT_NEXT;
}

static enum exit_action ender(struct fake_vcpu *fake)
{
    const struct vcpu *other = fake->vcpu.vm->vcpu[1];
    tick();
    if (fake->entries == 1 && at_end != VCPU_WAITS_FOR_SIPI) {
        wrmsr(fake, MSR_IA32_APIC_BASE, fake->vcpu.apic.base | APIC_BASE_X2APIC);
        write_apic(fake, APIC_ICR, TO(1) | ICR(6u, 1));
    }
    assert_true(fake->entries < 100000);
    const bool has_run = fake_vcpu(fake->vcpu.vm->vcpu[1])->entries != 0;
    return other->run.state == at_end && (has_run || at_end == VCPU_WAITS_FOR_SIPI)
               ? power_off(fake)
               : EXIT_NEXT;
}

static void test_end_in_each_state(void **state)
{
    (void)state;
    static const struct {
        enum vcpu_state state;
        guest_fn *guest;
    } cases[] = {{VCPU_READY, spin},
                 {VCPU_HALTED, halt_open},
                 {VCPU_WAITS_FOR_IO, hold},
                 {VCPU_WAITS_FOR_SIPI, spin}};
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        set_up(NULL);
        at_end = cases[i / 2].state;
        const struct life *l = run_beside(make_vm(0, ender, cases[i / 2].guest), i % 2);
        assert_int_equal(l->end, VM_POWEROFF);
        assert_int_equal(l->entries[1] != 0, at_end != VCPU_WAITS_FOR_SIPI);
        tear_down(NULL);
    }
}

static void end_while_asleep(void)
{
    elsewhere(end_it);
    assert_int_not_equal(fake_host.wakes[0], 0); /* or it would sleep on */
}

/* The whole VM waits, and the end comes from elsewhere; or before it has started. */
static void test_end_from_elsewhere(void **state)
{
    (void)state;
    while_asleep = end_while_asleep;
    const struct life *l = run_vm(make_vm(0, halt_open, halt_open));
    assert_int_equal(l->entries[0], 1);
    tear_down(NULL);
    set_up(NULL);
    while_asleep = end_while_asleep;
    l = run_vm(make_vm(0, hold, NULL));
    assert_int_equal(l->entries[0], 1);
    tear_down(NULL);
    set_up(NULL);
    struct vm *vm = make_vm(0, spin, spin);
    end_it(vm);
    l = run_vm(vm);
    assert_int_equal(l->entries[0] + l->entries[1], 0);
    assert_string_equal(l->why, "by the monitor");
}

static enum exit_action faulty(struct fake_vcpu *fake)
{
    struct vcpu *vcpu = &fake->vcpu;
    tick();
    switch (fake->entries) {
    case 1: /* a page fault of a life before, which has been delivered */
        vcpu->event.info = 0;
        vcpu_inject_page_fault(vcpu, 0x5000, 2);
        assert_int_equal(vcpu->first.address, 0x5000);
        return EXIT_SAME;
    case 2: /* the delivery of #GP, and so of the interrupt before, meets a page fault: that goes by
               itself */
        vcpu->event = (struct event){.info = EVENT_VALID | EVENT_INTERRUPT | 0x33};
        vcpu_inject_exception_error(vcpu, 13, 0x10);
        vcpu_inject_page_fault(vcpu, 0x1000, 2);
        return EXIT_SAME;
    case 3:
        assert_int_equal(vector_of(fake), VECTOR_PAGE_FAULT);
        assert_int_equal(fake->injected.error, 2);
        vcpu->event = fake->injected; /* its delivery meets one */
        vcpu_inject_page_fault(vcpu, 0x2000, 2);
        return EXIT_SAME;
    case 4:
        assert_int_equal(vector_of(fake), VECTOR_DOUBLE_FAULT);
        assert_int_equal(fake->injected.error, 0);
        vcpu->event = fake->injected;
        vcpu_inject_page_fault(vcpu, 0x3000, 2);
        assert_int_equal(vcpu->first.event.info, EVENT_VALID | EVENT_INTERRUPT | 0x33);
        assert_int_equal(vcpu->first.address, 0);
        return EXIT_SAME;
    default: fail_msg("runs behind a triple fault"); return EXIT_NEXT;
    }
}

/* Halted, and the end comes from another VM's turn; then begun again, as a restart does. */
static unsigned lives;

static enum exit_action end_other(struct fake_vcpu *fake)
{
    struct vm *vm = &life[0].vm;
    tick();
    if (life[0].stops == 0 && vm->vcpu[0]->run.state == VCPU_HALTED)
        end_it(vm);
    return spin_while_others_live(fake);
}

static void begin_again(struct vm *vm)
{
    stopped(vm);
    assert_int_equal(life[0].entries[0], 1);
    if (++lives == 3)
        return;
    vm = make_vm(0, halt_open, NULL);
    vm->stopped = begin_again;
    vm_start(vm);
}

static void test_restart(void **state)
{
    (void)state;
    lives = 0;
    struct vm *vm = make_vm(0, halt_open, NULL);
    vm->stopped = begin_again;
    vm_start(make_vm(1, end_other, NULL));
    (void)run_vm(vm);
    assert_int_equal(lives, 3);
    assert_int_equal(life[1].stops, 1);
}

static void test_faults(void **state)
{
    (void)state;
    const struct life *l = run_vm(make_vm(0, faulty, NULL));
    assert_int_equal(l->end, VM_TRIPLE_FAULT);
    assert_string_equal(l->why, "triple fault at RIP 0x7c00");
    assert_int_equal(l->end_state.rip, 0x7c00);
    assert_int_equal(l->end_state.cr2, 0x3000);
}

/* Both VMs want all of the CPU, for two seconds. */
static enum exit_action half(struct fake_vcpu *fake)
{
    return fake_host.now < 3 * HZ ? spin(fake) : power_off(fake);
}

static void test_two_vms(void **state)
{
    (void)state;
    vm_start(make_vm(1, half, NULL));
    (void)run_vm(make_vm(0, half, NULL));
    assert_int_equal(life[1].stops, 1);
    const double a = life[0].entries[0], b = life[1].entries[0];
    assert_true(a / b > 0.98 && a / b < 1.02);
    for (unsigned i = 0; i < 2; i++) /* turns of 2 ms */
        assert_true(life[i].loads[0] > 400 && life[i].loads[0] < 600);
    assert_int_equal(sleeps, 0);
}

/* vCPU 1 has a CPU to itself: what it does when vCPU 0 ends the VM. */
static enum exit_action ender_beside(struct fake_vcpu *fake)
{
    const struct vcpu *other = fake->vcpu.vm->vcpu[1];
    tick();
    assert_true(fake->entries < 100000);
    if (fake->entries == 1 && at_end != VCPU_WAITS_FOR_SIPI) {
        wrmsr(fake, MSR_IA32_APIC_BASE, fake->vcpu.apic.base | APIC_BASE_X2APIC);
        write_apic(fake, APIC_ICR, TO(1) | ICR(6u, 1));
    }
    const uint8_t wanted = at_end == VCPU_RUNNING        ? ACTIVITY_ACTIVE
                           : at_end == VCPU_HALTED       ? ACTIVITY_HLT
                           : at_end == VCPU_WAITS_FOR_IO ? ACTIVITY_WAIT_FOR_IO
                                                         : ACTIVITY_WAIT_FOR_SIPI;
    return fake->entries > 20 && other->activity == wanted ? power_off(fake) : EXIT_NEXT;
}

static void test_two_cpus(void **state)
{
    (void)state;
    static const struct {
        enum vcpu_state state;
        guest_fn *guest;
    } cases[] = {{VCPU_RUNNING, spin},
                 {VCPU_HALTED, halt_open},
                 {VCPU_WAITS_FOR_IO, hold},
                 {VCPU_WAITS_FOR_SIPI, spin}};
    cpus.count = 2;
    for (unsigned busy = 0; busy < 2; busy++) {
        set_up(NULL);
        const struct life *l = run_beside(make_vm(0, starter, started), busy);
        assert_int_equal(l->end, VM_POWEROFF);
        assert_int_equal(l->entries[1], 2);
        tear_down(NULL);
        set_up(NULL);
        l = run_beside(make_vm(0, start_other_and_halt, halt_for_ever), busy);
        assert_int_equal(l->end, VM_CRASH);
        assert_non_null(strstr(l->why, "nothing can wake it"));
        tear_down(NULL);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            set_up(NULL);
            at_end = cases[i].state;
            l = run_beside(make_vm(0, ender_beside, cases[i].guest), busy);
            assert_int_equal(l->end, VM_POWEROFF);
            assert_int_equal(l->entries[1] != 0, at_end != VCPU_WAITS_FOR_SIPI);
            tear_down(NULL);
        }
    }
    cpus.count = 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timer),
        cmocka_unit_test(test_unfinished_step),
        cmocka_unit_test(test_start_and_stop),
        cmocka_unit_test(test_state_after_init),
        cmocka_unit_test(test_stuck),
        cmocka_unit_test(test_memory_change_wakes_nobody),
        cmocka_unit_test(test_hold),
        cmocka_unit_test_setup_teardown(test_show, set_up, tear_down),
        cmocka_unit_test(test_end_in_each_state),
        cmocka_unit_test_setup_teardown(test_end_from_elsewhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_faults, set_up, tear_down),
        cmocka_unit_test(test_two_cpus),
        cmocka_unit_test_setup_teardown(test_two_vms, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
