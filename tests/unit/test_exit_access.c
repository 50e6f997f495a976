// link: tests/unit/fake_vmx.c tests/unit/vmx_fixture.c tests/unit/fake_exits.c vmx/state.c
// link: vmx/exit.c vmx/exit_apic.c vmx/exit_cr.c vmx/exit_ept.c vmx/exit_event.c vmx/exit_io.c
// link: vmx/step.c vmx/ept_overlay.c
// link: vmx/vmcs.c vmx/vm.c vmx/a20.c vmx/ept.c vmx/inject.c vmx/caps.c vmx/fields.c vmx/vmcs_check.c
// link: vmx/vmcs_check_guest.c arch/format.c guest/cpu/event.c guest/vm/vcpu_inject.c
// link: guest/cpu/control.c guest/vm/vcpu_cpuid.c guest/vm/breakpoint.c guest/vm/vlapic.c
// link: guest/vm/vlapic_bus.c guest/vm/vlapic_timer.c drivers/bus/bus.c drivers/bus/timers.c
// link: mm/page_alloc.c mm/guestmem.c guest/vm/vcpu_pv_eoi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* What VT-x tells of accesses to ports and memory, decoded for guest/vm/: IN and OUT, INS and OUTS,
 * EPT violations, APIC accesses. */
#include "vmx/exit.h"

#include "arch/fault.h"
#include "tests/unit/fake_exits.h"
#include "tests/unit/vmx_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define IO_IN     8u
#define IO_STRING 16u
#define IO_REP    32u
#define PORT      0x1f0u

#define DEVICE     0xfed00010ull /* an address where no memory is */
#define ROM        0xf0000ull
#define READ       1u
#define WRITE      2u
#define FETCH      4u
#define LINEAR     0x80u
#define TRANSLATED 0x100u
#define BY_IRET    0x1000u

#define PAGE_FAULT (EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | VECTOR_PAGE_FAULT)

static struct vcpu *const vcpu = &fixture.v.vcpu;
static uint32_t port_value, port_written;
static unsigned port_bytes, port_accesses;

static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    assert_ptr_equal(dev, &port_value);
    assert_int_equal(port, PORT);
    port_bytes = bytes;
    port_accesses++;
    return port_value;
}

static void write_port(void *dev, uint16_t port, unsigned bytes, uint32_t value)
{
    assert_ptr_equal(dev, &port_value);
    assert_int_equal(port, PORT);
    port_bytes = bytes;
    port_accesses++;
    port_written = value;
}

static void set_long_mode(void)
{
    struct cpu_state s = cpu_state_long_mode(0x1000, 0x5000);
    s.rsp = 0x8000;
    vmx_set_state(vcpu, STATE_ALL, &s);
    vcpu->attention = false;
}

static int setup(void **state)
{
    (void)state;
    fake_vmx_reset();
    fake_exits_reset();
    fixture_make(true);
    fixture_make_rom(gpa(ROM));
    const struct port_range range = {PORT, PORT + 7, 4, &port_value, read_port, write_port};
    assert_int_equal(bus_add_ports(&fixture.vm.bus, &range), OK);
    set_long_mode();
    port_accesses = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_end();
    return 0;
}

static void take_exit(uint32_t reason, uint64_t qualification, unsigned length)
{
    fake_vmx_set(VMCS_EXIT_REASON, reason);
    fake_vmx_set(VMCS_EXIT_QUALIFICATION, qualification);
    fake_vmx_set(VMCS_EXIT_INSTRUCTION_LENGTH, length);
    exit_dispatch(vcpu, reason);
}

static uint64_t rip(void)
{
    return vmread(VMCS_GUEST_RIP);
}

/* IN and OUT. */

static void expect_in(unsigned bytes, uint64_t before, uint32_t value, uint64_t after)
{
    const uint64_t from = rip();
    port_value = value;
    vcpu->regs.gpr[RAX] = before;
    take_exit(REASON_IO, (bytes - 1) | IO_IN | PORT << 16, 2);
    assert_int_equal(port_bytes, bytes);
    assert_int_equal(vcpu->regs.gpr[RAX], after);
    assert_int_equal(rip(), from + 2);
}

static void test_in(void **state)
{
    (void)state;
    const uint64_t rax = 0x1122334455667788;
    expect_in(1, rax, 0xab, 0x11223344556677ab);
    expect_in(2, rax, 0xabcd, 0x112233445566abcd);
    expect_in(4, rax, 0xabcdef01, 0xabcdef01);
    expect_in(1, rax, 0xffffff00, 0x1122334455667700); /* no more than was asked for */
    expect_in(2, rax, 0xffff0000, 0x1122334455660000);
    take_exit(REASON_IO, 3 | IO_IN | 0x7777u << 16, 1); /* nobody's port */
    assert_int_equal(vcpu->regs.gpr[RAX], 0xffffffff);
    assert_int_equal(port_accesses, 5);
}

static void expect_out(unsigned bytes, uint32_t value)
{
    const uint64_t from = rip();
    vcpu->regs.gpr[RAX] = 0x1122334455667788;
    take_exit(REASON_IO, (bytes - 1) | PORT << 16, 1);
    assert_int_equal(port_bytes, bytes);
    assert_int_equal(port_written, value);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x1122334455667788);
    assert_int_equal(rip(), from + 1);
}

static void test_out(void **state)
{
    (void)state;
    expect_out(1, 0x88);
    expect_out(2, 0x7788);
    expect_out(4, 0x55667788);
}

/* An I/O breakpoint is a trap: pending behind the instruction. */
static void test_port_breakpoint(void **state)
{
    (void)state;
    vmwrite(VMCS_GUEST_CR4, vmread(VMCS_GUEST_CR4) | CR4_DE);
    vmwrite(VMCS_GUEST_DR7, 0x60401); /* L0, I/O, two bytes */
    fake_vmx.dr[0] = PORT;
    expect_out(1, 0x88);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0x1001);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    fake_vmx.dr[0] = PORT + 2;
    expect_out(2, 0x7788);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0);
    expect_out(4, 0x55667788);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0x1001);
}

/* INS and OUTS. */

static void expect_string_io(uint32_t qualification, uint32_t info,
                             const struct string_access *expected)
{
    const struct string_access *got = &fake_exits.string;
    fake_vmx_set(VMCS_EXIT_INSTRUCTION_INFO, info);
    take_exit(REASON_IO, qualification | IO_STRING, 2);
    assert_string_equal(fake_exits.last, "string_io");
    assert_int_equal(got->port, expected->port);
    assert_int_equal(got->bytes, expected->bytes);
    assert_int_equal(got->in, expected->in);
    assert_int_equal(got->rep, expected->rep);
    assert_int_equal(got->segment, expected->segment);
    assert_int_equal(got->addr_bytes, expected->addr_bytes);
    assert_int_equal(port_accesses, 0);
}

static void test_string_io(void **state)
{
    (void)state;
    const struct string_access insb = {PORT, 1, true, false, SEG_ES, 8};
    const struct string_access rep_insd = {PORT, 4, true, true, SEG_ES, 4};
    const struct string_access outsw = {0xfffe, 2, false, false, SEG_DS, 2};
    const struct string_access rep_outsb = {PORT, 1, false, true, SEG_GS, 8};
    /* INS has no other segment than ES, whatever the field says. */
    expect_string_io(PORT << 16 | IO_IN, 2 << 7 | SEG_FS << 15, &insb);
    expect_string_io(PORT << 16 | IO_IN | IO_REP | 3, 1 << 7, &rep_insd);
    expect_string_io(0xfffeu << 16 | 1, SEG_DS << 15, &outsw);
    expect_string_io(PORT << 16 | IO_REP, 2 << 7 | SEG_GS << 15, &rep_outsb);
    assert_int_equal(rip(), 0x1000);
    assert_int_equal(fake_exits.mode, INSN_64);
    /* What no CPU tells leads nowhere. */
    fake_exits.calls = 0;
    fake_vmx_set(VMCS_EXIT_INSTRUCTION_INFO, 3 << 7);
    take_exit(REASON_IO, PORT << 16 | IO_STRING, 2);
    fake_vmx_set(VMCS_EXIT_INSTRUCTION_INFO, 6 << 15);
    take_exit(REASON_IO, PORT << 16 | IO_STRING, 2);
    assert_int_equal(fake_exits.calls, 0);
    assert_int_equal(rip(), 0x1000);
}

static void change(struct emulate_context *ctx)
{
    ctx->changed = true;
    ctx->paging.rflags |= RFLAGS_DF;
    ctx->rsp = 0x9000;
    ctx->debug_hits = 0x1002;
}

static void change_nothing(struct emulate_context *ctx)
{
    change(ctx);
    ctx->changed = false;
}

/* What a handler has changed beside the registers. */
static void test_linear_taken_over(void **state)
{
    (void)state;
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 1);
    fake_vmx_set(VMCS_EXIT_INSTRUCTION_INFO, 0);
    fake_vmx_set(VMCS_EXIT_GUEST_PHYSICAL, DEVICE);
    fake_exits.during = change_nothing;
    take_exit(REASON_IO, PORT << 16 | IO_STRING, 2);
    take_exit(REASON_EPT_VIOLATION, READ | LINEAR | TRANSLATED, 2);
    assert_int_equal(vmread(VMCS_GUEST_RSP), 0x8000);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), 2);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 1);
    fake_exits.during = change;
    take_exit(REASON_IO, PORT << 16 | IO_STRING, 2);
    assert_int_equal(vmread(VMCS_GUEST_RSP), 0x9000);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), 2 | RFLAGS_DF);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0x1003);
    set_long_mode();
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0x4000);
    vcpu->insn_length = 5;
    fake_exits.answer = EXIT_NEXT_DECODED;
    take_exit(REASON_EPT_VIOLATION, READ | LINEAR | TRANSLATED, 2);
    assert_int_equal(vmread(VMCS_GUEST_RSP), 0x9000);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0x5002);
    assert_int_equal(rip(), 0x1005);
}

/* EPT violations. */

static void violate(uint64_t address, uint64_t qualification)
{
    fake_exits.last = "nothing";
    fake_vmx_set(VMCS_EXIT_GUEST_PHYSICAL, address);
    fake_vmx_set(VMCS_EXIT_GUEST_LINEAR, 0x7fff0010);
    take_exit(REASON_EPT_VIOLATION, qualification, 2);
}

static void expect_access(uint64_t address, bool read, bool write)
{
    assert_string_equal(fake_exits.last, "memory_access");
    assert_int_equal(fake_exits.memory.address.v, address);
    assert_int_equal(fake_exits.memory.read, read);
    assert_int_equal(fake_exits.memory.write, write);
}

static void test_device_memory(void **state)
{
    (void)state;
    violate(DEVICE, READ | LINEAR | TRANSLATED);
    expect_access(DEVICE, true, false);
    assert_false(fake_exits.memory.has_linear);
    violate(DEVICE + 4, WRITE | LINEAR | TRANSLATED);
    expect_access(DEVICE + 4, false, true);
    violate(DEVICE, READ | WRITE | LINEAR | TRANSLATED);
    expect_access(DEVICE, true, true);
    assert_int_equal(rip(), 0x1000);
    assert_int_equal(fixture.vm.end, VM_RUNS);
    /* Another vCPU may change the instruction: the address is told with it. */
    fixture.vm.vcpu_count = 2;
    violate(DEVICE, READ | LINEAR | TRANSLATED);
    fixture.vm.vcpu_count = 1;
    assert_true(fake_exits.memory.has_linear);
    assert_int_equal(fake_exits.memory.linear.v, 0x7fff0010);
}

static void test_fetch_and_walk(void **state)
{
    (void)state;
    violate(DEVICE, FETCH | LINEAR | TRANSLATED);
    assert_string_equal(fake_exits.last, "memory_fetch");
    assert_int_equal(fake_exits.address, DEVICE);
    violate(DEVICE + 8, READ | LINEAR); /* a paging-structure entry */
    assert_string_equal(fake_exits.last, "memory_walk");
    assert_int_equal(fake_exits.address, DEVICE + 8);
    violate(DEVICE, READ); /* no linear address: PDPTEs */
    assert_string_equal(fake_exits.last, "memory_walk");
    violate(DEVICE, READ | TRANSLATED); /* a bit that means nothing then */
    assert_string_equal(fake_exits.last, "memory_walk");
    violate(DEVICE, FETCH | LINEAR); /* the walk for a fetch */
    assert_string_equal(fake_exits.last, "memory_walk");
}

static void test_violation_in_delivery(void **state)
{
    (void)state;
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, PAGE_FAULT);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING_ERROR, 4);
    violate(DEVICE, WRITE | LINEAR | TRANSLATED);
    assert_string_equal(fake_exits.last, "memory_delivery");
    assert_int_equal(fake_exits.address, DEVICE);
    assert_int_equal(fake_exits.event.info, PAGE_FAULT); /* queued by then */
    assert_int_equal(vcpu->event.error, 4);
    assert_true(fake_exits.memory.write);
    violate(DEVICE, READ | LINEAR | TRANSLATED);
    assert_string_equal(fake_exits.last, "memory_delivery");
    assert_false(fake_exits.memory.write);
    vcpu->event.info = 0;
    violate(DEVICE, READ | LINEAR); /* the walk in a delivery */
    assert_string_equal(fake_exits.last, "memory_walk");
    assert_int_equal(fake_exits.event.info, PAGE_FAULT);
}

/* A20 off: a step's page is there by both addresses, and what its instruction touches next, too. */
static void test_a20_off_step(void **state)
{
    (void)state;
    struct vm *vm = &fixture.vm;
    const struct vmx_vm *own = vmx_vm(vm);
    const uint64_t a20 = 1ull << 20, page = 0x8000, next = 0x9000;
    hpa_t host, copy = ptr_to_hpa(fixture.ram);
    unsigned perms;
    vm->mem.absent = a20;
    vmx_use_ept(vcpu);
    assert_int_equal(vmx_show(vcpu, gpa(page), copy, EPT_RWX), OK);
    const struct ept view = {.root = fixture.v.overlay.table[0], .caps = own->ept.caps};
    assert_true(ept_find(&view, gpa(page), &host, &perms));
    assert_int_equal(host.v, copy.v);
    assert_true(ept_find(&view, gpa(page | a20), &host, &perms));
    assert_int_equal(host.v, copy.v);
    assert_false(ept_find(&view, gpa(next | a20), &host, &perms));
    violate(next | a20, READ | LINEAR | TRANSLATED);
    assert_int_equal(fake_exits.calls, 0);
    assert_true(ept_find(&view, gpa(next | a20), &host, &perms));
    assert_int_equal(host.v, copy.v + next);
    assert_true(ept_find(&own->a20_off, gpa(next | a20), &host, &perms));
    assert_false(ept_find(&own->a20_off, gpa(page | a20), &host, &perms));
}

/* A20 off: memory is found where the address without bit 20 leads, page by page, and what the
 * handlers are told of has not that bit. */
static void test_a20_off(void **state)
{
    (void)state;
    struct vm *vm = &fixture.vm;
    const struct vmx_vm *own = vmx_vm(vm);
    const uint64_t a20 = 1ull << 20;
    vm->mem.absent = a20;
    vm->memory_changes++;
    violate(0x3000, READ | LINEAR | TRANSLATED); /* it ran by the other tables still */
    assert_int_equal(fake_exits.calls, 0);
    assert_true(vcpu->attention);
    vcpu->memory_seen = vm->memory_changes;
    vmx_use_ept(vcpu);
    assert_int_equal(vmread(VMCS_CTRL_EPTP), ept_root_pointer(own->a20_off.root));
    hpa_t host, even;
    unsigned perms;
    static const uint64_t places[] = {0x3008, 0x103010, 0x5000};
    for (size_t i = 0; i < 3; i++) {
        const uint64_t at = places[i];
        violate(at, WRITE | LINEAR | TRANSLATED);
        assert_int_equal(fake_exits.calls, 0);
        assert_true(ept_find(&own->a20_off, gpa(at), &host, &perms));
        assert_true(ept_find(&own->ept, gpa(at & ~a20), &even, &perms));
        assert_int_equal(host.v, even.v);
        assert_int_equal(perms, EPT_RWX);
    }
    assert_int_equal(fixture.vm.end, VM_RUNS);
    violate(DEVICE, READ | LINEAR | TRANSLATED);
    expect_access(DEVICE & ~a20, true, false);
    /* What has changed below is forgotten at both addresses, and nothing else is. */
    assert_true(ept_find(&own->a20_off, gpa(0x3000), &host, &perms));
    assert_true(ept_find(&own->a20_off, gpa(0x103000), &host, &perms));
    vmx_a20_forget(vm, gpa(0x2000), 2 * PAGE_SIZE);
    assert_false(ept_find(&own->a20_off, gpa(0x3000), &host, &perms));
    assert_false(ept_find(&own->a20_off, gpa(0x103000), &host, &perms));
    assert_true(ept_find(&own->a20_off, gpa(0x5000), &host, &perms));
    assert_true(ept_check(&own->a20_off, NULL));
    vm->mem.absent = 0;
    vmx_use_ept(vcpu);
    assert_int_equal(vmread(VMCS_CTRL_EPTP), ept_root_pointer(own->ept.root));
}

static void test_violation_of_iret(void **state)
{
    (void)state;
    violate(DEVICE, READ | LINEAR | TRANSLATED | BY_IRET);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKED_BY_NMI);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
    violate(DEVICE, READ | LINEAR | TRANSLATED);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, PAGE_FAULT);
    violate(DEVICE, READ | LINEAR | TRANSLATED | BY_IRET);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), 0);
}

static void test_read_only_memory(void **state)
{
    (void)state;
    violate(ROM + 8, WRITE | LINEAR | TRANSLATED);
    expect_access(ROM + 8, false, true);
    violate(ROM + 8, WRITE | LINEAR); /* the walk marks an entry as accessed */
    assert_string_equal(fake_exits.last, "step_begin");
    assert_int_equal(fake_exits.address, ROM + 8);
    assert_int_equal(fake_exits.event.info, 0);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, PAGE_FAULT);
    violate(ROM + 16, WRITE | LINEAR | TRANSLATED); /* a push on ROM */
    assert_string_equal(fake_exits.last, "step_begin");
    assert_int_equal(fake_exits.event.info, PAGE_FAULT);
    assert_int_equal(rip(), 0x1000);
    assert_int_equal(vcpu->stats.faults_on_ram, 0);
}

static void test_ram(void **state)
{
    (void)state;
    violate(0x2000, READ | LINEAR | TRANSLATED);
    assert_string_equal(fake_exits.last, "nothing");
    assert_int_equal(fixture.vm.end, VM_CRASH);
    assert_non_null(strstr(fixture.vm.end_why, "on RAM at 0x2000"));
    assert_int_equal(vcpu->stats.faults_on_ram, 1);
    fixture.vm.end = VM_RUNS;
    fixture.vm.memory_changes = vcpu->memory_seen = 1; /* seen, so it is no excuse */
    violate(0x2000, READ | LINEAR | TRANSLATED);
    assert_int_equal(fixture.vm.end, VM_CRASH);
}

/* The mappings have just been changed: the CPU shall try again by the new ones. */
static void test_memory_has_changed(void **state)
{
    (void)state;
    fixture.vm.memory_changes = vcpu->memory_seen + 1;
    violate(0x2000, READ | LINEAR | TRANSLATED);
    assert_true(vcpu->attention);
    assert_int_equal(vcpu->event.info, 0);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, PAGE_FAULT);
    violate(0x2000, READ | LINEAR | TRANSLATED);
    assert_string_equal(fake_exits.last, "nothing");
    assert_int_equal(fixture.vm.end, VM_RUNS);
    assert_true(vcpu->attention);
    assert_int_equal(vcpu->event.info, PAGE_FAULT);
    vcpu->event.info = 0;
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, 0);
    violate(DEVICE, READ | LINEAR | TRANSLATED); /* not of devices */
    expect_access(DEVICE, true, false);
}

/* APIC accesses. */

static void test_apic_access(void **state)
{
    (void)state;
    take_exit(REASON_APIC_ACCESS, 0x390 | 0 << 12, 2);
    expect_access(0xfee00390, true, false);
    take_exit(REASON_APIC_ACCESS, 0x310 | 1 << 12, 2);
    expect_access(0xfee00310, false, true);
    take_exit(REASON_APIC_ACCESS, 0xff0 | 2 << 12, 2);
    assert_string_equal(fake_exits.last, "memory_fetch");
    assert_int_equal(fake_exits.address, 0xfee00ff0);
    assert_int_equal(fixture.vm.end, VM_RUNS);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, PAGE_FAULT);
    take_exit(REASON_APIC_ACCESS, 0x20 | 3 << 12, 2); /* in a delivery */
    assert_string_equal(fake_exits.last, "memory_delivery");
    assert_int_equal(fake_exits.address, 0xfee00020);
    assert_int_equal(fixture.vm.end, VM_RUNS);
    assert_int_equal(rip(), 0x1000);
}

static void test_apic_access_by_no_instruction(void **state)
{
    (void)state;
    static const unsigned types[] = {3, 4, 10, 15};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        take_exit(REASON_APIC_ACCESS, 0x20 | types[i] << 12, 2);
        assert_string_equal(fake_exits.last, "memory_walk");
        assert_int_equal(fake_exits.address, 0xfee00000);
        assert_int_equal(fixture.vm.end, VM_RUNS);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_in),
        TEST(test_out),
        TEST(test_port_breakpoint),
        TEST(test_string_io),
        TEST(test_linear_taken_over),
        TEST(test_device_memory),
        TEST(test_fetch_and_walk),
        TEST(test_violation_in_delivery),
        TEST(test_a20_off),
        TEST(test_a20_off_step),
        TEST(test_violation_of_iret),
        TEST(test_read_only_memory),
        TEST(test_ram),
        TEST(test_memory_has_changed),
        TEST(test_apic_access),
        TEST(test_apic_access_by_no_instruction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
