// link: guest/pv/hypercall.c guest/pv/mmu.c guest/pv/space.c guest/pv/traps.c guest/pv/segments.c guest/pv/time.c
// link: guest/pv/events.c guest/pv/vcpus.c guest/pv/console.c guest/pv/store.c guest/pv/domain.c guest/pv/privileged.c
// link: guest/cpu/guestwalk.c guest/cpu/control.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/operand_table.c
// link: mm/guestmem.c mm/page_alloc.c drivers/bus/timers.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* A domain's events, vCPUs, time and console. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/pv_test.h"

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    return call_once(number, a, b, c, 0);
}

static int64_t event_op(unsigned op, uint32_t first, uint32_t second)
{
    put(ARGS, (uint64_t)second << 32 | first);
    return call(32, op, ARGS, 0);
}

static uint32_t bind_ipi(uint32_t vcpu)
{
    assert_int_equal(event_op(XEN_EVENT_BIND_IPI, vcpu, 0), 0);
    return get32(ARGS + 4);
}

static void test_bind(void **state)
{
    (void)state;
    assert_int_equal(event_op(XEN_EVENT_BIND_VIRQ, XEN_VIRQ_TIMER, 1), 0);
    const uint32_t port = get32(ARGS + 8);
    assert_int_equal(port, 2);
    assert_int_equal(event_op(XEN_EVENT_BIND_VIRQ, XEN_VIRQ_TIMER, 1), XEN_EEXIST);
    assert_int_equal(event_op(XEN_EVENT_BIND_VIRQ, XEN_VIRQS, 0), XEN_EINVAL);
    assert_int_equal(event_op(XEN_EVENT_BIND_VIRQ, 0, 2), XEN_ENOENT);
    assert_int_equal(event_op(XEN_EVENT_BIND_IPI, 2, 0), XEN_ENOENT);
    put(ARGS + 4, port);
    assert_int_equal(event_op(XEN_EVENT_STATUS, XEN_DOMID_SELF, port), 0);
    assert_int_equal(get32(ARGS + 8), 4); /* a virtual interrupt, of vCPU 1 */
    assert_int_equal(get32(ARGS + 12), 1);
    assert_int_equal(event_op(XEN_EVENT_SEND, port, 0), XEN_EINVAL);
    assert_int_equal(event_op(XEN_EVENT_BIND_VCPU, port, 0), XEN_EINVAL);
    own.shared->pending[0] = 1 << port;
    assert_int_equal(event_op(XEN_EVENT_CLOSE, port, 0), 0);
    assert_int_equal(own.shared->pending[0], 0);
    assert_int_equal(event_op(XEN_EVENT_CLOSE, port, 0), XEN_EINVAL);
    assert_int_equal(event_op(XEN_EVENT_BIND_VIRQ, XEN_VIRQ_TIMER, 1), 0);
    assert_int_equal(event_op(XEN_EVENT_STATUS, XEN_DOMID_SELF, 500), 0);
    assert_int_equal(get32(ARGS + 8), 0); /* closed */
    static const uint32_t bad[] = {0, 3, PV_PORTS, XEN_PORTS, UINT32_MAX};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(event_op(XEN_EVENT_SEND, bad[i], 0), XEN_EINVAL);
        assert_int_equal(event_op(XEN_EVENT_CLOSE, bad[i], 0), XEN_EINVAL);
        assert_int_equal(event_op(XEN_EVENT_UNMASK, bad[i], 0), XEN_EINVAL);
        assert_int_equal(event_op(XEN_EVENT_BIND_VCPU, bad[i], 0), XEN_EINVAL);
    }
    assert_int_equal(event_op(XEN_EVENT_CLOSE, DOMAIN_CONSOLE_PORT, 0), XEN_EINVAL);
    static const unsigned none[] = {0, 2, 10, 11, 13, 1000};
    for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(event_op(none[i], 1, 0), XEN_ENOSYS);
    for (unsigned i = 0; i < PV_PORTS; i++)
        if (event_op(XEN_EVENT_ALLOC_UNBOUND, 0, 0) != 0)
            break;
    assert_int_equal(event_op(XEN_EVENT_BIND_IPI, 0, 0), XEN_ENOSPC);
}

static void test_send(void **state)
{
    (void)state;
    struct xen_shared_info *shared = own.shared;
    const uint32_t port = bind_ipi(1);
    struct pv_vcpu *v = &vcpus[1];
    assert_int_equal(event_op(XEN_EVENT_SEND, port, 0), 0);
    assert_int_equal(shared->pending[0], 1 << port);
    assert_int_equal(v->info->pending_words, 1);
    assert_int_equal(v->info->pending, 1);
    assert_int_equal(host.wakes[1], 1);
    assert_true(v->vcpu.event_waits);
    assert_int_equal(event_op(XEN_EVENT_SEND, port, 0), 0); /* it is pending already */
    assert_int_equal(host.wakes[1], 1);
    /* One that is masked stands there alone, until it is unmasked. */
    v->info->pending = 0, v->info->pending_words = 0, shared->pending[0] = 0;
    shared->mask[0] = 1 << port;
    assert_int_equal(event_op(XEN_EVENT_SEND, port, 0), 0);
    assert_int_equal(shared->pending[0], 1 << port);
    assert_int_equal(v->info->pending, 0);
    assert_int_equal(event_op(XEN_EVENT_UNMASK, port, 0), 0);
    assert_int_equal(shared->mask[0], 0);
    assert_int_equal(v->info->pending, 1);
    v->info->pending = 0, v->info->pending_words = 0;
    assert_int_equal(event_op(XEN_EVENT_UNMASK, port, 0), 0); /* it was not masked */
    assert_int_equal(v->info->pending, 0);
    assert_int_equal(vcpus[0].info->pending, 0);
}

static int64_t poll(uint64_t count, uint64_t timeout)
{
    put(ARGS, ARGS + 0x100);
    put(ARGS + 8, count);
    put(ARGS + 16, timeout);
    return call(29, XEN_SCHED_POLL, ARGS, 0);
}

static void test_poll(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    const uint32_t port = bind_ipi(0);
    put(ARGS + 0x100, port);
    assert_int_equal(poll(1, 0), 0);
    assert_int_equal(v->wait, PV_POLLS);
    assert_false(pv_wait_is_over(v));
    own.shared->mask[0] = UINT64_MAX;
    const unsigned wakes = host.wakes[0];
    pv_event_set(&vm, port);
    assert_int_equal(host.wakes[0], wakes + 1); /* though it is masked */
    assert_true(pv_wait_is_over(v));
    pv_wait_ends(v);
    assert_false(v->polls);
    own.shared->pending[0] = 0;
    assert_int_equal(poll(1, 1000000), 0); /* ns */
    assert_false(pv_wait_is_over(v));
    assert_true(v->vcpu.timers.next != TIMER_NEVER);
    host.tsc = v->vcpu.timers.next;
    assert_true(pv_time_now(&vm) >= 1000000);
    assert_true(pv_wait_is_over(v));
    pv_wait_ends(v);
    assert_int_equal(v->vcpu.timers.next, TIMER_NEVER);
    assert_int_equal(poll(PV_POLL_PORTS + 1, 0), XEN_EINVAL);
    assert_int_equal(poll(UINT32_MAX, 0), XEN_EINVAL);
    put(ARGS + 0x100, PV_PORTS);
    assert_int_equal(poll(1, 0), XEN_EINVAL);
    assert_int_equal(call(29, XEN_SCHED_POLL, UNMAPPED, 0), XEN_EFAULT);
    assert_int_equal(v->wait, PV_RUNS);
}

static void test_sched_op(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    v->info->mask = 1;
    assert_int_equal(call(29, XEN_SCHED_BLOCK, 0, 0), 0);
    assert_int_equal(v->wait, PV_BLOCKED);
    assert_int_equal(v->info->mask, 0);
    assert_false(pv_wait_is_over(v));
    v->vector_waits = true; /* by NADIR_CALL_SEND */
    assert_true(pv_wait_is_over(v));
    v->vector_waits = false;
    v->info->pending = 1;
    assert_true(pv_wait_is_over(v));
    pv_wait_ends(v);
    assert_int_equal(call(29, XEN_SCHED_YIELD, 0, 0), 0);
    assert_true(v->vcpu.yields && v->vcpu.attention);
    assert_int_equal(call(29, 9, 0, 0), XEN_ENOSYS);
    assert_int_equal(call(29, XEN_SCHED_SHUTDOWN, UNMAPPED, 0), XEN_EFAULT);
    put(ARGS, XEN_SUSPEND);
    assert_int_equal(call(29, XEN_SCHED_SHUTDOWN, ARGS, 0), XEN_EINVAL);
    static const enum vm_end ends[] = {
        [XEN_POWEROFF] = VM_POWEROFF, [XEN_REBOOT] = VM_RESET, [XEN_CRASH] = VM_CRASH};
    for (unsigned i = 0; i <= XEN_CRASH; i++) {
        vm.end = VM_RUNS;
        put(ARGS, i);
        (void)call(29, XEN_SCHED_SHUTDOWN, ARGS, 0);
        assert_int_equal(vm.end, ends[i]);
    }
}

static int64_t register_info(uint32_t vcpu, uint64_t frame, uint64_t offset)
{
    put(ARGS, frame);
    put(ARGS + 8, offset);
    return call(24, XEN_VCPU_REGISTER_INFO, vcpu, ARGS);
}

static void test_register_info(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[1];
    const struct xen_vcpu_info *before = v->info;
    assert_int_equal(register_info(1, 0x30, PAGE_SIZE - 63), XEN_EINVAL);
    assert_int_equal(register_info(1, 0x30, PAGE_SIZE - 56), XEN_EINVAL);
    assert_int_equal(register_info(1, 0x30, UINT32_MAX - 7), XEN_EINVAL);
    assert_int_equal(register_info(1, 0x30, 4), XEN_EINVAL);
    assert_int_equal(register_info(1, FRAMES, 0), XEN_EINVAL);
    assert_int_equal(register_info(1, 1ull << 52, 0), XEN_EINVAL); /* wraps to frame 0 */
    assert_int_equal(register_info(2, 0x30, 0), XEN_ENOENT);
    assert_ptr_equal(v->info, before);
    assert_int_equal(register_info(1, 0x30, PAGE_SIZE - 64), 0);
    assert_ptr_equal(v->info, ram + 0x31000 - 64);
    assert_int_equal(v->info->mask, 1); /* as it was */
    assert_memory_equal(&v->info->time, &before->time, sizeof(before->time));
    assert_int_equal(v->info->pending, 1);
    assert_int_equal(v->info->pending_words, UINT64_MAX);
    assert_int_equal(register_info(1, 0x30, 0), XEN_EINVAL); /* once */
}

static void make_context(void)
{
    uint8_t *c = ram + 0x18f00; /* it lies across pages */
    memset(c, 0, XEN_CONTEXT_BYTES);
    put(0x18f00 + XEN_CONTEXT_REGISTERS + 14 * 8, 0xd1); /* RDI */
    put(0x18f00 + XEN_CONTEXT_RIP, CODE);
    put(0x18f00 + XEN_CONTEXT_FLAGS, XEN_CONTEXT_FAILSAFE_MASKS);
    put(0x18f00 + XEN_CONTEXT_CS, 0x10);
    put(0x18f00 + XEN_CONTEXT_RFLAGS, 0x3000);
    put(0x18f00 + XEN_CONTEXT_RSP, STACK);
    put(0x18f00 + XEN_CONTEXT_SS, 0x18);
    put(0x18f00 + XEN_CONTEXT_GDT, GDT / PAGE_SIZE);
    put(0x18f00 + XEN_CONTEXT_GDT_ENTRIES, 16);
    put(0x18f00 + XEN_CONTEXT_KERNEL_SP, STACK);
    put(0x18f00 + XEN_CONTEXT_CONTROL + 24, TABLES);
}

static int64_t initialise(uint32_t at, uint64_t value)
{
    make_context();
    put(0x18f00 + at, value);
    const int64_t result = call(24, XEN_VCPU_INITIALISE, 1, 0x18f00);
    return result;
}

static void test_second_vcpu(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[1];
    assert_int_equal(call(24, XEN_VCPU_IS_UP, 0, 0), 1);
    assert_int_equal(call(24, XEN_VCPU_IS_UP, 1, 0), 0);
    assert_int_equal(call(24, XEN_VCPU_IS_UP, 2, 0), XEN_ENOENT);
    assert_int_equal(call(24, XEN_VCPU_UP, 1, 0), XEN_EINVAL);
    static const uint32_t linear[] = {XEN_CONTEXT_KERNEL_SP, XEN_CONTEXT_CALLBACKS,
                                      XEN_CONTEXT_BASES + 16, XEN_CONTEXT_TRAPS + 255 * 16 + 8};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(initialise(linear[i], 1ull << 47), XEN_EINVAL);
    assert_int_equal(initialise(XEN_CONTEXT_GDT_ENTRIES, 513), XEN_EINVAL);
    assert_int_equal(initialise(XEN_CONTEXT_CONTROL + 24, RAM), XEN_EINVAL);
    assert_int_equal(initialise(XEN_CONTEXT_CONTROL + 24, 0), XEN_EINVAL);
    assert_int_equal(initialise(XEN_CONTEXT_CONTROL + 8, RAM), XEN_EINVAL);
    assert_int_equal(call(24, XEN_VCPU_INITIALISE, 1, UNMAPPED - 0x1000), XEN_EFAULT);
    assert_int_equal(call(24, XEN_VCPU_INITIALISE, 0, 0x18f00), XEN_EINVAL);
    assert_int_equal(initialise(XEN_CONTEXT_SELECTORS, 0x2b), 0);
    assert_int_equal(call(24, XEN_VCPU_INITIALISE, 0, 0x18f00), XEN_EEXIST);
    assert_int_equal(call(24, XEN_VCPU_INITIALISE, 1, 0x18f00), XEN_EEXIST);
    assert_int_equal(call(24, XEN_VCPU_UP, 1, 0), 0);
    assert_int_equal(v->asked, PV_ASK_UP);
    v->asked = 0;
    assert_int_equal(call(24, XEN_VCPU_UP, 1, 0), 0); /* it is */
    assert_int_equal(v->asked, 0);
    load_vcpu(1);
    pv_start_take(v);
    assert_int_equal(v->frame.rip, CODE);
    assert_int_equal(v->frame.gpr[RDI], 0xd1);
    assert_int_equal(v->frame.cs, 0x13);
    assert_int_equal(v->frame.rflags, RFLAGS_FIXED | RFLAGS_IF);
    assert_int_equal(host.selector[1], 0x2b); /* ES */
    assert_int_equal(v->gdt_count, 16);
    assert_int_equal(v->callback_masks[XEN_CALLBACK_FAILSAFE], 1);
    assert_int_equal(v->callback_masks[XEN_CALLBACK_SYSCALL], 0);
    assert_null(v->start);
    v->flush = SHADOW_FLUSH_NONE;
    pv_start_take(v); /* up again, behind a down: it goes on */
    assert_int_equal(v->flush, SHADOW_FLUSH_ALL);
    assert_int_equal(v->frame.rip, CODE);
    load_vcpu(0);
    assert_int_equal(call(24, XEN_VCPU_DOWN, 1, 0), XEN_ENOSYS);
    assert_int_equal(call(24, XEN_VCPU_DOWN, 0, 0), 0);
    assert_int_equal(vcpus[0].wait, PV_IS_DOWN);
    vcpus[0].info->pending = 1, vcpus[0].info->mask = 0, vcpus[0].vector_waits = true;
    assert_false(pv_wait_is_over(&vcpus[0]));
    assert_int_equal(call(24, XEN_VCPU_IS_UP, 0, 0), 0);
    /* With the last one the domain is off. */
    assert_int_equal(vm.end, VM_RUNS);
    vcpus[0].up = true;
    vcpus[1].up = false;
    assert_int_equal(call(24, XEN_VCPU_DOWN, 0, 0), 0);
    assert_int_equal(vm.end, VM_POWEROFF);
}

static int64_t singleshot(uint64_t ns, uint64_t flags)
{
    put(ARGS, ns);
    put(ARGS + 8, flags);
    return call(24, XEN_VCPU_SET_SINGLESHOT, 0, ARGS);
}

static void test_singleshot(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    const struct timers *timers = &v->vcpu.timers;
    host.tsc += HZ; /* a second has passed */
    assert_int_equal(singleshot(1000, 0), 0);
    assert_true(timers->next <= host.tsc);
    assert_int_equal(singleshot(0, 0), 0);
    assert_true(timers->next <= host.tsc);
    assert_int_equal(singleshot(1000, 1), XEN_ETIME);
    assert_int_equal(singleshot(3000000000, 1), 0);
    assert_in_range(timers->next, 4 * HZ, 4 * HZ + 16);
    assert_int_equal(singleshot(UINT64_MAX, 0), 0);
    assert_true(timers->next > 1ull << 55);
    assert_int_equal(singleshot(1ull << 63, 1), 0);
    assert_true(timers->next > 1ull << 55);
    assert_int_equal(call(24, XEN_VCPU_STOP_SINGLESHOT, 0, 0), 0);
    assert_int_equal(timers->next, TIMER_NEVER);
    assert_int_equal(call(24, XEN_VCPU_SET_SINGLESHOT, 1, ARGS), XEN_EINVAL); /* its own alone */
    assert_int_equal(call(24, XEN_VCPU_SET_SINGLESHOT, 0, UNMAPPED), XEN_EFAULT);
    assert_int_equal(call(15, 2000000000, 0, 0), 0);
    timers_run(&v->vcpu.timers, 3 * HZ + 16);
    assert_int_equal(v->asked, PV_ASK_TIMER);
}

/* By the numbers as the guest reads them, against exact arithmetic: no rate is off by more than
 * 1 ns in a millisecond, time never goes back, and a timer never fires before its time. */
static void check_clock(uint64_t hz)
{
    const struct xen_time *t = &vcpus[0].info->time;
    uint64_t before = 0;
    assert_true(t->version % 2 == 0 && t->mul != 0);
    for (uint64_t ticks = 0; ticks < hz * 20; ticks += hz / 7 + 1) {
        const unsigned __int128 exact = (unsigned __int128)ticks * 1000000000 / hz;
        const uint64_t moved = t->shift < 0 ? ticks >> -t->shift : ticks << t->shift;
        const uint64_t ns = t->ns + (uint64_t)((unsigned __int128)moved * t->mul >> 32);
        const uint64_t right = (uint64_t)exact;
        assert_true(ns >= before);
        assert_in_range(ns, right - right / 1000000 - (right != 0), right + right / 1000000);
        host.tsc = t->tsc + ticks;
        assert_int_equal(pv_time_now(&vm), ns);
        host.tsc = pv_time_tsc(&vm, ns + 12345);
        assert_true(pv_time_now(&vm) >= ns + 12345);
        before = ns;
    }
}

static void test_clock(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1000000,    999999999,  1000000000, 1000000001, 1999999999,
                                     2000000000, 2000000001, 2893437000, 4000000000, 10000000000};
    for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        destroy_domain();
        make_domain(2, rates[i]);
        check_clock(rates[i]);
    }
    assert_int_equal(own.shared->clock_seconds, 1700000001);
    put(ARGS, 0x30000);
    assert_int_equal(call(24, XEN_VCPU_REGISTER_TIME, 0, ARGS), 0);
    assert_memory_equal(ram + 0x30008, &vcpus[0].info->time.tsc, 24);
    put(ARGS, READ_ONLY);
    assert_int_equal(call(24, XEN_VCPU_REGISTER_TIME, 0, ARGS), XEN_EFAULT);
}

static void test_console(void **state)
{
    (void)state;
    struct xen_console *ring = own.console;
    memcpy(ring->out + XEN_CONSOLE_OUT - 2, "ab", 2);
    memcpy(ring->out, "cd", 2);
    ring->out_taken = 0u - 2;
    ring->out_put = 2;
    assert_int_equal(event_op(XEN_EVENT_SEND, DOMAIN_CONSOLE_PORT, 0), 0);
    assert_memory_equal(host.console, "abcd", 4);
    assert_int_equal(ring->out_taken, 2);
    assert_int_equal(host.waits, 0);
    ring->out_put = 12;
    host.console_room = 3;
    assert_int_equal(call(29, XEN_SCHED_YIELD, 0, 0), 0); /* its user takes no more */
    assert_int_equal(ring->out_taken, 5);
    assert_int_equal(host.waits, 1);
    host.console_room = SIZE_MAX;
    host.console_bytes = 0;
    ring->out_taken = 0x12345678; /* nonsense: one ring full at most */
    ring->out_put = 0x80000001;
    assert_true(pv_console_drain(&vm));
    assert_int_equal(host.console_bytes, XEN_CONSOLE_OUT);
    assert_int_equal(ring->out_taken, 0x80000001);
    for (unsigned i = 0; i < XEN_CONSOLE_IN; i++)
        assert_true(pv_console_typed(&vm, (uint8_t)i));
    assert_false(pv_console_typed(&vm, 'x'));
    assert_int_equal((uint8_t)ring->in[255], 255);
    ring->in_taken = 0xdeadbeef;
    assert_false(pv_console_typed(&vm, 'x'));
    assert_int_equal(ring->in_put, XEN_CONSOLE_IN);
    /* Text by a call, as much as there is room for. */
    memcpy(ram + ARGS, "hello", 5);
    host.console_bytes = 0, host.console_room = 2;
    const uint64_t rip = vcpus[0].frame.rip;
    (void)call(18, 0, 5, ARGS);
    assert_int_equal(vcpus[0].frame.rip, rip); /* the rest once there is room */
    host.console_room = SIZE_MAX;
    execute(&vcpus[0]);
    assert_memory_equal(host.console, "hello", 5);
    assert_int_equal(call(18, 0, 5, UNMAPPED), XEN_EFAULT);
}

/* A table of four pages for grants, of version 1, as each domain of Xen's has it. */
static void test_grants(void **state)
{
    (void)state;
    struct xen_grant_setup setup = {.domain = XEN_DOMID_SELF, .frames = 4, .list = ARGS + 64};
    struct xen_grant_size size = {.domain = XEN_DOMID_SELF, .status = 1};
    memcpy(ram + ARGS, &setup, sizeof(setup));
    assert_int_equal(call(20, XEN_GRANT_SETUP_TABLE, ARGS, 1), 0);
    memcpy(&setup, ram + ARGS, sizeof(setup));
    assert_int_equal(setup.status, XEN_GRANT_OKAY);
    assert_int_equal(get(ARGS + 64), GRANTS / PAGE_SIZE);
    assert_int_equal(get(ARGS + 88), GRANTS / PAGE_SIZE + 3);
    assert_int_equal(get(ARGS + 96), 0);
    assert_int_equal(call(20, XEN_GRANT_SETUP_TABLE, ARGS, 2), XEN_EINVAL);
    assert_int_equal(call(20, XEN_GRANT_SETUP_TABLE, UNMAPPED, 1), XEN_EFAULT);
    setup.frames = 5;
    memcpy(ram + ARGS, &setup, sizeof(setup));
    put(ARGS + 64, 0x77);
    assert_int_equal(call(20, XEN_GRANT_SETUP_TABLE, ARGS, 1), 0);
    memcpy(&setup, ram + ARGS, sizeof(setup));
    assert_int_equal(setup.status, XEN_GRANT_ERROR);
    assert_int_equal(get(ARGS + 64), 0x77);
    setup.domain = 1;
    memcpy(ram + ARGS, &setup, sizeof(setup));
    assert_int_equal(call(20, XEN_GRANT_SETUP_TABLE, ARGS, 1), 0);
    memcpy(&setup, ram + ARGS, sizeof(setup));
    assert_int_equal(setup.status, XEN_GRANT_BAD_DOMAIN);
    setup = (struct xen_grant_setup){.domain = XEN_DOMID_SELF, .frames = 1, .list = READ_ONLY};
    memcpy(ram + ARGS, &setup, sizeof(setup));
    assert_int_equal(call(20, XEN_GRANT_SETUP_TABLE, ARGS, 1), XEN_EFAULT);
    memcpy(ram + ARGS, &size, sizeof(size));
    assert_int_equal(call(20, XEN_GRANT_QUERY_SIZE, ARGS, 1), 0);
    memcpy(&size, ram + ARGS, sizeof(size));
    assert_true(size.status == XEN_GRANT_OKAY && size.frames == 4 && size.max_frames == 4);
    put(ARGS, 1);
    assert_int_equal(call(20, XEN_GRANT_SET_VERSION, ARGS, 1), 0);
    put(ARGS, 2);
    assert_int_equal(call(20, XEN_GRANT_SET_VERSION, ARGS, 1), XEN_ENOSYS);
    assert_int_equal(get(ARGS), 1); /* which it has */
    put(ARGS, 0);
    assert_int_equal(call(20, XEN_GRANT_SET_VERSION, ARGS, 1), XEN_EINVAL);
    put(ARGS, XEN_DOMID_SELF);
    assert_int_equal(call(20, XEN_GRANT_GET_VERSION, ARGS, 1), 0);
    assert_int_equal(get(ARGS), 1ull << 32 | XEN_DOMID_SELF);
    assert_int_equal(call(20, 0, ARGS, 1), XEN_ENOSYS); /* to map a grant: whose? */
}

/* Requests are answered when their vCPU waits, in order, as far as there is room for replies. */
static void test_store(void **state)
{
    (void)state;
    struct xen_store *ring = own.store;
    const struct xen_store_header directory = {1, 7, 3, 11};
    struct xen_store_header error;
    ring->requests_taken = ring->requests_put = 0u - 16;
    ring->replies_put = ring->replies_taken = 0x1234;
    memcpy(ring->requests + XEN_STORE_RING - 16, &directory, 16);
    memcpy(ring->requests, "device/vbd", 11);
    ring->requests_put += 16; /* its text comes later */
    assert_int_equal(call(29, XEN_SCHED_YIELD, 0, 0), 0);
    assert_int_equal(ring->requests_taken, 0);
    assert_int_equal(ring->replies_put, 0x1234 + 23);
    memcpy(&error, ring->replies + 0x234, sizeof(error));
    assert_true(error.type == XEN_STORE_ERROR && error.request == 7 && error.transaction == 3);
    assert_int_equal(error.bytes, 7);
    assert_string_equal(ring->replies + 0x234 + 16, "ENOENT");
    ring->requests_put += 11 + 15; /* and the next one not whole */
    memset(ring->requests + 11, 0, 16);
    assert_int_equal(call(29, XEN_SCHED_YIELD, 0, 0), 0);
    assert_int_equal(ring->requests_taken, 11);
    assert_int_equal(ring->replies_put, 0x1234 + 23);
    ring->requests_put++;
    ring->replies_taken = ring->replies_put - XEN_STORE_RING + 22; /* a byte too little */
    assert_int_equal(call(29, XEN_SCHED_YIELD, 0, 0), 0);
    assert_int_equal(ring->requests_taken, 11);
    ring->replies_taken++;
    assert_int_equal(call(29, XEN_SCHED_YIELD, 0, 0), 0);
    assert_int_equal(ring->requests_taken, 27);
    assert_int_equal(ring->replies_put, 0x1234 + 46);
    /* Nonsense: one ring full at most, and as many replies as there is room for. */
    memset(ring->requests, 0, sizeof(ring->requests));
    ring->replies_taken = ring->replies_put;
    ring->requests_put = 0x80000000;
    assert_int_equal(call(29, XEN_SCHED_YIELD, 0, 0), 0);
    assert_int_equal(ring->replies_put - ring->replies_taken, XEN_STORE_RING / 23 * 23);
    assert_int_equal(ring->requests_taken, 0x80000000 - XEN_STORE_RING + XEN_STORE_RING / 23 * 16);
}

/* Calls by the numbers that they had first: Xen still has them. */
static void test_old_numbers(void **state)
{
    (void)state;
    put(ARGS, XEN_EVENT_BIND_IPI);
    put(ARGS + 4, 1);
    assert_int_equal(call(16, ARGS, 0, 0), 0);
    const uint32_t port = get32(ARGS + 8);
    assert_int_equal(own.port[port].kind, PV_PORT_IPI);
    assert_int_equal(own.port[port].vcpu, 1);
    put(ARGS, 77);
    assert_int_equal(call(16, ARGS, 0, 0), XEN_ENOSYS);
    assert_int_equal(call(16, UNMAPPED, 0, 0), XEN_EFAULT);
    put(UNMAPPED - 8, (uint64_t)XEN_EVENT_BIND_IPI << 32); /* what it is about is not there */
    assert_int_equal(call(16, UNMAPPED - 4, 0, 0), XEN_EFAULT);
    assert_int_equal(call(6, XEN_SCHED_YIELD, 0, 0), 0);
    assert_true(vcpus[0].vcpu.yields);
    assert_int_equal(call(6, XEN_SCHED_POLL, ARGS, 0), XEN_ENOSYS);
    vcpus[0].info->mask = 1;
    assert_int_equal(call(6, XEN_SCHED_BLOCK, 0, 0), 0);
    assert_int_equal(vcpus[0].wait, PV_BLOCKED);
    assert_int_equal(vcpus[0].info->mask, 0);
    assert_int_equal(call(6, XEN_SCHED_SHUTDOWN, XEN_CRASH, 0), 0);
    assert_int_equal(vm.end, VM_CRASH);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
/* A vCPU may be loaded for the first time behind all that others do to it. */
static void test_loaded_late(void **state)
{
    (void)state;
    struct xen_vcpu_info *moved = (struct xen_vcpu_info *)(void *)(ram + 0x30000);
    vcpus[1].info = moved;
    moved->mask = 0;
    assert_int_equal(pv_space_create(&vcpus[1]), OK);
    assert_ptr_equal(vcpus[1].info, moved);
    assert_int_equal(moved->mask, 0);
}

static const char *told(void)
{
    host.told[0] = 0;
    domain.print(&vm);
    return host.told;
}

/* Where a domain hangs: which events wait, and for what. */
static void test_print(void **state)
{
    (void)state;
    struct xen_shared_info *shared = own.shared;
    struct xen_vcpu_info *info = vcpus[1].info;
    assert_int_equal(event_op(XEN_EVENT_BIND_VIRQ, XEN_VIRQ_TIMER, 1), 0);
    const uint32_t port = bind_ipi(1);
    info->mask = 1;
    shared->pending[1] = ~0ull; /* ports that are bound to nothing */
    assert_string_equal(told(), "");
    assert_int_equal(event_op(XEN_EVENT_SEND, port, 0), 0);
    assert_string_equal(told(), "pv: event port 3 (IPI of vCPU 1) is pending: the vCPU has all "
                                "events masked\n");
    info->mask = 0;
    assert_non_null(strstr(told(), "is pending: the vCPU takes it next\n"));
    info->pending = 0, info->pending_words = 0; /* a kernel that has forgotten the port's bit */
    assert_non_null(strstr(told(),
                           "is pending: its bit was not cleared by the kernel, and no other "
                           "event comes by it until then\n"));
    shared->mask[0] = 1 << port | 1 << 2;
    shared->pending[0] |= 1 << 2;
    assert_string_equal(told(), "pv: event port 2 (virtual interrupt 0 of vCPU 1) is pending: the "
                                "port is masked\n"
                                "pv: event port 3 (IPI of vCPU 1) is pending: the port is "
                                "masked\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bind),        TEST(test_send),          TEST(test_poll),
        TEST(test_sched_op),    TEST(test_register_info), TEST(test_second_vcpu),
        TEST(test_singleshot),  TEST(test_clock),         TEST(test_console),
        TEST(test_loaded_late), TEST(test_print),         TEST(test_grants),
        TEST(test_store),       TEST(test_old_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
