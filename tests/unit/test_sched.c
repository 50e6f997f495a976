// link: guest/vm/vcpu_speculation.c
// link: guest/vm/vcpu.c guest/vm/vcpu_inject.c guest/vm/vcpu_signal.c guest/vm/vcpu_cpuid.c
// link: guest/vm/vcpu_msr.c guest/vm/vcpu_mtrr.c guest/vm/sched.c guest/vm/runqueue.c guest/vm/runqueue_init.c
// link: guest/vm/run_waiting.c guest/vm/run_balance.c
// link: guest/vm/run_alarm.c guest/vm/run_share.c guest/vm/vlapic.c guest/vm/vlapic_bus.c
// link: guest/vm/vlapic_timer.c guest/cpu/msr_table.c guest/cpu/control.c guest/cpu/event.c
// link: drivers/bus/timers.c mm/guestmem.c mm/page_alloc.c arch/format.c tests/unit/fake_engine.c tests/unit/fake_space.c
// link: tests/unit/fake_host.c guest/vm/vcpu_pv.c guest/vm/vcpu_pv_eoi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* What a CPU still has of a vCPU that it does not run any more: races with other CPUs, over the
 * fake engine. */
#include "guest/vm/vlapic.h"
#include "tests/unit/vm_test.h"

#include <sched.h>

#define WAKES 50

static void tick(void)
{
    fake_host.now += EXIT_TICKS;
}

static void write_apic(struct fake_vcpu *fake, unsigned reg, uint32_t value)
{
    vm_lock(fake->vcpu.vm);
    vlapic_write(&fake->vcpu.apic, reg, value);
    vm_unlock(fake->vcpu.vm);
}

/* Its TPR holds the timer's interrupt back: each period wakes it in vain. */
static enum exit_action sleeper(struct fake_vcpu *fake)
{
    tick();
    if (fake->entries == 1) {
        write_apic(fake, APIC_SVR, APIC_SVR_ENABLE | 0xff);
        write_apic(fake, APIC_TPR, 0xf0);
        write_apic(fake, APIC_LVT_TIMER, 0x60 | 0x20000);
        write_apic(fake, APIC_DIVIDE, 0xb);
        write_apic(fake, APIC_INITIAL_COUNT, HZ / 1000);
    }
    return vcpu_halt(&fake->vcpu, true, true, false);
}

static enum exit_action worker(struct fake_vcpu *fake)
{
    tick();
    if (fake->entries < WAKES * HZ / 1000 / EXIT_TICKS)
        return EXIT_NEXT;
    vm_end_request(&life[1].vm, VM_DESTROYED, 0, "destroyed");
    vm_end_request(fake->vcpu.vm, VM_POWEROFF, 0, "powered off");
    return EXIT_NEXT;
}

/* The CPU chooses the sleeper, and blocks it again without having loaded it. The worker, whose
 * registers it has, may be another CPU's by then, which waits for them. */
static void test_a_wake_in_vain_leaves_nothing_loaded(void **state)
{
    (void)state;
    vm_start(make_vm(1, sleeper, NULL));
    const struct life *l = run_vm(make_vm(0, worker, NULL));
    assert_int_equal(l->end, VM_POWEROFF);
    assert_in_range(l->loads[0], WAKES / 2, 3 * WAKES);
    assert_int_equal(life[1].entries[0], 1);
}

static struct vcpu *ended;

/* The CPU that had the vCPU before takes its time to put it away. */
static void *put_away_late(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++)
        sched_yield();
    const unsigned stops = __atomic_load_n(&life[0].stops, __ATOMIC_SEQ_CST);
    run_vcpu_unload(&ended->run);
    return (void *)(uintptr_t)stops;
}

static void test_the_end_waits_for_registers(void **state)
{
    (void)state;
    pthread_t other;
    void *early;
    struct vm *vm = make_vm(0, worker, NULL);
    ended = vm->vcpu[0];
    ended->run.on_cpu = true;
    vm_end_request(vm, VM_DESTROYED, 0, "destroyed");
    assert_int_equal(pthread_create(&other, NULL, put_away_late, NULL), 0);
    const struct life *l = run_vm(vm);
    assert_int_equal(pthread_join(other, &early), 0);
    assert_null(early);
    assert_int_equal(l->end, VM_DESTROYED);
    assert_int_equal(l->loads[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_wake_in_vain_leaves_nothing_loaded, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_end_waits_for_registers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
