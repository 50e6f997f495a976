/* SPDX-License-Identifier: BSD-2-Clause */
/* A machine of one or two CPUs and two VMs at most on the fake engine, for tests of whole lives. */
#pragma once

#include "arch/log.h"
#include "mm/page_alloc.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/fake_space.h"
#include "tests/unit/two_cpus.h"

#include <string.h>

#define ARENA      (2ull << 20)
#define HZ         1000000000ull
#define EXIT_TICKS 1000u /* that an exit and what leads to it take */

typedef enum exit_action guest_fn(struct fake_vcpu *fake);

/* What is left of a VM, which is freed as soon as it has stopped. */
struct life {
    struct vm vm;
    unsigned stops; /* calls of stopped() */
    enum vm_end end;
    char why[160];
    unsigned entries[2], loads[2], puts[2];
    struct cpu_state end_state;
    uint64_t waited[2][ACTIVITY_COUNT];
};

static struct life life[2];
static unsigned alive;
static uint8_t *arena;
static uint64_t free_before;
static unsigned logged;

void log_line(const char *format, ...)
{
    (void)format;
    logged++;
}

void log_line_of(unsigned of, const char *format, ...)
{
    (void)of;
    (void)format;
    logged++;
}

/* As guest/monitor/ does: nothing of the VM is left when this returns. */
static void stopped(struct vm *vm)
{
    struct life *l = vm->owner;
    l->stops++;
    l->end = vm->end;
    l->end_state = vm->end_state;
    memcpy(l->why, vm->end_why, sizeof(l->why));
    assert_int_equal(vm->running, 0);
    assert_null(cpu_self()->vcpu);
    for (unsigned i = 0; i < FAKE_HOST_CPUS; i++) /* its page tables can be freed */
        assert_int_not_equal(fake_host.root[i].v, vm->root.v);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        const struct fake_vcpu *fake = fake_vcpu(vm->vcpu[i]);
        assert_int_equal(vm->vcpu[i]->run.state, VCPU_STOPPED);
        l->entries[i] = fake->entries;
        l->loads[i] = fake->loads;
        l->puts[i] = fake->puts;
        memcpy(l->waited[i], vm->vcpu[i]->tsc_waited, sizeof(l->waited[i]));
        vcpu_destroy(vm->vcpu[i]);
    }
    vm->engine->vm_destroy(vm);
    if (--alive == 0)
        sched_stop();
}

static void make_cpuid(struct cpuid_table *cpuid)
{
    cpuid->entry[1] = (struct cpuid_entry){.leaf = 0, .eax = 1, .ebx = 0x6964614e};
    cpuid->entry[2] =
        (struct cpuid_entry){.leaf = 1, .eax = 0x506e3, .dynamic = CPUID_APIC_ID_1 | CPUID_OSXSAVE};
    cpuid->entry[3] = (struct cpuid_entry){.leaf = 0x80000008, .eax = 39};
    cpuid->first[0] = 1;
    cpuid->first[1] = 2;
    cpuid->first[2 * CPUID_INDEX_LEAVES + 8] = 3;
    cpuid->count = 4;
}

/* A VM whose vCPU i does what guest[i] says; vCPU 1 is there if guest[1] is. Not started. */
static struct vm *make_vm(unsigned index, guest_fn *first, guest_fn *second)
{
    static struct cpu_state boot;
    guest_fn *const guest[2] = {first, second};
    struct vm *vm = &life[index].vm;
    memset(&life[index], 0, sizeof(life[index]));
    boot = cpu_state_real_mode(0x7c00);
    *vm = (struct vm){.name = "test",
                      .index = index,
                      .engine = &fake_engine,
                      .root = hpa((index + 1) * PAGE_SIZE),
                      .owner = &life[index]};
    vm->timers = (struct timers){.read = cpu_rdtsc, .hz = HZ, .next = TIMER_NEVER};
    vm->alarm_armed = TIMER_NEVER;
    vm->alarm = (struct run_alarm){.fire = vm_run_timers, .dev = vm};
    vm->queues = sched_queues();
    vm->cpus.bits[0] = (1ull << cpus.count) - 1;
    vm->cpu_count = cpus.count;
    vm->stopped = stopped;
    run_share_init(&vm->share, 100, 0, vm->queues->turn, vm->queues->period, cpu_rdtsc());
    make_cpuid(&vm->cpuid);
    assert_int_equal(vcpu_msr_open(vm), OK);
    assert_int_equal(vm->engine->vm_create(vm), OK);
    for (uint32_t i = 0; i < 2 && guest[i] != NULL; i++) {
        struct vcpu *vcpu;
        assert_int_equal(vm->engine->vcpu_create(vm, &vcpu), OK);
        vcpu_init(vcpu, vm, i);
        assert_int_equal(vlapic_init(&vcpu->apic, NULL, NULL), OK);
        fake_vcpu(vcpu)->guest = guest[i];
        vcpu_set_initial(vcpu, i == 0 ? &boot : NULL);
    }
    alive++;
    return vm;
}

static int set_up(void **state)
{
    (void)state;
    arena = aligned_alloc(PAGE_SIZE_2M, ARENA);
    memset(arena, 0xcc, ARENA);
    const struct page_range range = {(uint64_t)(uintptr_t)arena, ARENA / PAGE_SIZE};
    assert_int_equal(page_alloc_init(&range, 1), OK);
    fake_host_reset(HZ);
    fake_host.idle = idle;
    while_asleep = NULL;
    alive = sleeps = logged = 0;
    assert_int_equal(sched_init(cpus.count, HZ), OK);
    free_before = page_alloc_free_bytes();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(alive, 0);
    assert_null(fake_host.cpu[0].vcpu);
    assert_null(fake_host.cpu[1].vcpu);
    assert_int_equal(page_alloc_free_bytes(), free_before);
    free(arena);
    return 0;
}

/* Runs a VM to its end. */
static const struct life *run_vm(struct vm *vm)
{
    struct life *l = vm->owner;
    vm_start(vm);
    run_cpus();
    assert_int_equal(l->stops, 1);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(l->loads[i], l->puts[i]);
    return l;
}
