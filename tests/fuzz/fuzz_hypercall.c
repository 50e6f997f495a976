// link: guest/vm/hypercall.c guest/vm/hypercall_memory.c guest/cpu/guestwalk.c
// link: guest/vm/vcpu_speculation.c guest/vm/vcpu_pv.c guest/vm/vcpu_pv_eoi.c
// link: guest/vm/vcpu.c guest/vm/vcpu_inject.c guest/vm/vcpu_signal.c guest/vm/vcpu_cpuid.c
// link: guest/vm/vcpu_msr.c guest/vm/vcpu_mtrr.c guest/vm/sched.c guest/vm/runqueue.c guest/vm/runqueue_init.c
// link: guest/vm/run_waiting.c guest/vm/run_balance.c
// link: guest/vm/run_alarm.c guest/vm/run_share.c guest/vm/vlapic.c guest/vm/vlapic_bus.c
// link: guest/vm/vlapic_timer.c guest/cpu/msr_table.c guest/cpu/control.c guest/cpu/event.c
// link: drivers/bus/timers.c mm/guestmem.c mm/page_alloc.c arch/format.c tests/unit/fake_engine.c tests/unit/fake_space.c
// link: tests/unit/fake_host.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest of two vCPUs that calls Nadir with anything in its registers and memory, its page tables
 * included: each call ends in bounded portions that get on, with a result that there is, and
 * nothing but the guest's RAM is touched. */
#include "arch/log.h"
#include "arch/panic.h"
#include "guest/hypercall.h"
#include "guest/vm/hypercall.h"
#include "guest/vm/sched.h"
#include "mm/page_alloc.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/fake_host.h"
#include "tests/unit/fake_space.h"

#include <stdlib.h>
#include <string.h>

#define ARENA     (2ull << 20)
#define HZ        1000000000ull
#define RAM       0x10000u
#define TABLES    0x1000u /* four pages; those behind hold arrays */
#define STEP      12u     /* bytes of input */
#define LOOK      500u    /* ticks that pass at each look at the clock */
#define PORTION   (WORK_TICKS + 30 * LOOK)
#define MAX_STEPS 64u

static struct vm vm;
static uint8_t *arena, *ram;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void log_line(const char *format, ...)
{
    (void)format;
}

void log_line_of(unsigned of, const char *format, ...)
{
    (void)of;
    (void)format;
}

_Noreturn void panic(const char *format, ...)
{
    (void)format;
    abort();
}

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void time_passes(void)
{
    fake_host.now += LOOK;
}

static void console_out(struct vm *of, uint8_t byte)
{
    if (byte == 0xff)
        vm_wait_for_io(of);
}

static void put(uint64_t at, uint64_t value)
{
    memcpy(ram + at, &value, sizeof(value));
}

static void make_vm(void)
{
    const struct page_range range = {(uint64_t)(uintptr_t)arena, ARENA / PAGE_SIZE};
    demand(page_alloc_init(&range, 1) == OK);
    fake_host_reset(HZ);
    demand(sched_init(1, HZ) == OK);
    vm = (struct vm){.name = "fuzz", .engine = &fake_engine, .cpus.bits = {1}, .cpu_count = 1};
    vm.timers = (struct timers){.read = cpu_rdtsc, .hz = HZ, .next = TIMER_NEVER};
    vm.alarm_armed = TIMER_NEVER;
    vm.alarm = (struct run_alarm){.fire = vm_run_timers, .dev = &vm};
    vm.queues = sched_queues();
    vm.console_out = console_out;
    vm.cpuid.entry[1] = (struct cpuid_entry){.leaf = 0x80000008, .eax = 39};
    vm.cpuid.first[2 * CPUID_INDEX_LEAVES + 8] = 1;
    vm.cpuid.count = 2;
    run_share_init(&vm.share, 100, 0, vm.queues->turn, vm.queues->period, HZ);
    hypercall_open(&vm);
    demand(guestmem_add(&vm.mem, gpa(0), RAM, ram) == OK && vcpu_msr_open(&vm) == OK &&
           vm.engine->vm_create(&vm) == OK);
    for (uint32_t i = 0; i < 2; i++) {
        struct vcpu *vcpu;
        demand(vm.engine->vcpu_create(&vm, &vcpu) == OK);
        vcpu_init(vcpu, &vm, i);
        demand(vlapic_init(&vcpu->apic, NULL, NULL) == OK);
        demand(vlapic_write(&vcpu->apic, APIC_SVR, APIC_SVR_ENABLE | 0xff));
        fake_vcpu(vcpu)->state = cpu_state_long_mode(0x8000, TABLES);
        vcpu->activity = ACTIVITY_ACTIVE;
    }
    fake_host.at_rdtsc = time_passes;
}

static void make_tables(void)
{
    memset(ram, 0, RAM);
    for (unsigned i = 0; i < 3; i++)
        put(TABLES + i * PAGE_SIZE, (TABLES + (i + 1) * PAGE_SIZE) | 7);
    for (uint64_t at = 0; at < RAM; at += PAGE_SIZE)
        put(TABLES + 3 * PAGE_SIZE + at / PAGE_SIZE * 8, at | (at == 0xe000 ? 1 : 3));
}

/* A value that means something: near an address, a border, or small. */
static uint64_t value_of(const uint8_t *data)
{
    const uint64_t small = (uint64_t)data[1] << 8 | data[2];
    switch (data[0] & 7) {
    case 0: return small;
    case 1: return small & 31;
    case 2: return 0ull - small;
    case 3: return small << (data[0] >> 3) * 2;
    case 4: return 0x800000000000ull - 0x8000 + small;
    case 5: return 0xffff800000000000ull + small;
    case 6: return (uint64_t)UINT32_MAX << 32 | small;
    default: return HZ + small * 1000;
    }
}

/* How much is left of an array, in elements; other calls have none. */
static uint64_t left_of(const struct vcpu *vcpu)
{
    return vcpu->regs.gpr[RSI];
}

static void call(struct vcpu *vcpu, const uint8_t *data)
{
    uint64_t *gpr = vcpu->regs.gpr;
    gpr[RAX] = NADIR_CALL_VERSION + (data[1] & 15);
    gpr[RDI] = value_of(data + 2);
    gpr[RSI] = value_of(data + 5);
    gpr[RDX] = value_of(data + 8);
    fake_vcpu(vcpu)->state.cs.access = (data[1] & 0x80) != 0 ? SEGMENT_CODE32 : SEGMENT_CODE64;
    fake_vcpu(vcpu)->state.rflags = RFLAGS_FIXED | (uint64_t)(data[11] & 3) << 8;
    fake_host.cpu[0].vcpu = vcpu;
    for (unsigned parts = 0; parts < 100; parts++) {
        const uint64_t before = fake_host.now, left = left_of(vcpu);
        vcpu->activity = ACTIVITY_ACTIVE;
        const enum exit_action action = vcpu_hypercall(vcpu, data[1] >> 4 & 3 & data[11] >> 2);
        demand(fake_host.now - before < PORTION);
        if (action == EXIT_NEXT)
            break;
        demand(action == EXIT_ITERATION && (uint32_t)left_of(vcpu) != (uint32_t)left);
    }
    fake_host.cpu[0].vcpu = NULL;
    demand((int64_t)gpr[RAX] >= NADIR_NOT_TAKEN || (int64_t)gpr[RAX] == HYPERCALL_UNKNOWN);
    vcpu->yields = false;
    timers_run(&vcpu->timers, fake_host.now);
}

/* The first byte of each step says what it is: a call, or a change of memory. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (arena == NULL) {
        arena = aligned_alloc(PAGE_SIZE_2M, ARENA);
        ram = aligned_alloc(PAGE_SIZE, RAM);
    }
    make_tables();
    make_vm();
    for (unsigned n = 0; n < MAX_STEPS && size >= STEP && !vm_has_ended(&vm); n++) {
        const uint64_t at = ((uint64_t)data[1] << 8 | data[2]) & (RAM - 8);
        switch (data[0] & 7) {
        case 0: put(at, value_of(data + 3)); break;
        case 1: /* an operation in the first array, of which value_of() has the address */
            put(0x5000 + (data[1] & 15) * 24u, 77ull << 32 | (data[2] & 7));
            put(0x5008 + (data[1] & 15) * 24u, value_of(data + 3));
            put(0x5010 + (data[1] & 15) * 24u, value_of(data + 6));
            break;
        default: call(vm.vcpu[data[0] >> 3 & 1], data); break;
        }
        data += STEP;
        size -= STEP;
    }
    fake_host.at_rdtsc = NULL;
    for (uint32_t i = 0; i < vm.vcpu_count; i++)
        vcpu_destroy(vm.vcpu[i]);
    vm.engine->vm_destroy(&vm);
    return 0;
}
