// link: tests/unit/fake_vmx.c tests/unit/vmx_fixture.c tests/unit/fake_exits.c vmx/state.c
// link: vmx/exit.c vmx/exit_apic.c vmx/exit_cr.c vmx/exit_ept.c vmx/exit_event.c vmx/exit_io.c
// link: vmx/step.c vmx/ept_overlay.c
// link: vmx/vmcs.c vmx/vm.c vmx/a20.c vmx/ept.c vmx/inject.c vmx/caps.c vmx/fields.c vmx/vmcs_check.c
// link: vmx/vmcs_check_guest.c arch/format.c guest/cpu/event.c guest/vm/vcpu_inject.c
// link: guest/cpu/control.c guest/vm/vcpu_cpuid.c guest/vm/breakpoint.c guest/vm/vlapic.c
// link: guest/vm/vlapic_bus.c guest/vm/vlapic_timer.c drivers/bus/bus.c drivers/bus/timers.c
// link: mm/page_alloc.c mm/guestmem.c guest/vm/vcpu_pv_eoi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* From a VM exit to its handler and back: the step over an instruction, instructions, control
 * registers, events. Accesses to ports and memory are in test_exit_access.c. */
#include "vmx/exit.h"

#include "arch/fault.h"
#include "tests/unit/fake_exits.h"
#include "tests/unit/vmx_fixture.h"
#include "vmx/inject.h"
#include "vmx/vmcs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define RFLAGS_BASE       0x202u
#define EXCEPTION(vector) (EVENT_VALID | EVENT_EXCEPTION | (vector))
#define GP0               (EXCEPTION(VECTOR_GENERAL_PROTECTION) | EVENT_ERROR_CODE)

enum { MOV_TO, MOV_FROM, CLTS, LMSW }; /* of an exit qualification */

static struct vcpu *const vcpu = &fixture.v.vcpu;

static int setup(void **state)
{
    (void)state;
    fake_vmx_reset();
    fake_exits_reset();
    fixture_make(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_end();
    return 0;
}

static void set_state(struct cpu_state s)
{
    s.rflags = RFLAGS_BASE;
    vmx_set_state(vcpu, STATE_ALL, &s);
    vcpu->attention = false;
}

static void set_long_mode(void)
{
    set_state(cpu_state_long_mode(0x1000, 0x5000));
}

static void set_protected_mode(void)
{
    set_state(cpu_state_protected_mode(0x1000));
}

static void expect_enterable(void)
{
    const char *why;
    if (fake_vmx_check(&why) != 0)
        fail_msg("%s", why);
}

/* An exit as the CPU makes it. */
static void take_exit(uint32_t reason, uint64_t qualification, unsigned length)
{
    fake_vmx_set(VMCS_EXIT_REASON, reason);
    fake_vmx_set(VMCS_EXIT_QUALIFICATION, qualification);
    fake_vmx_set(VMCS_EXIT_INSTRUCTION_LENGTH, length);
    exit_dispatch(vcpu, reason);
}

/* One by an event, which fake_vmx_set() has put there with its error code before. */
static void take_event_exit(uint32_t info, uint64_t qualification, unsigned length)
{
    fake_vmx_set(VMCS_EXIT_EVENT, info);
    take_exit(REASON_EXCEPTION_OR_NMI, qualification, length);
}

static uint64_t rip(void)
{
    return vmread(VMCS_GUEST_RIP);
}

static void expect_event(uint32_t info, uint32_t error)
{
    assert_int_equal(vcpu->event.info, info);
    if ((info & EVENT_ERROR_CODE) != 0)
        assert_int_equal(vcpu->event.error, error);
    assert_true(vcpu->attention);
}

static bool panics(void (*attempt)(void))
{
    jmp_buf escape;
    fake_vmx.escape = &escape;
    const bool panicked = setjmp(escape) != 0;
    if (!panicked)
        attempt();
    fake_vmx.escape = NULL;
    return panicked;
}

/* The step over an instruction. */

static void expect_step(uint64_t from, unsigned length, uint64_t to)
{
    vmwrite(VMCS_GUEST_RIP, from);
    take_exit(REASON_INVD, 0, length);
    assert_int_equal(rip(), to);
    expect_enterable();
}

static void test_step(void **state)
{
    (void)state;
    set_long_mode();
    expect_step(0x1000, 2, 0x1002);
    expect_step(0xfffffffe, 2, 0x100000000);
    expect_step(0x1fffffffe, 15, 0x20000000d);
    expect_step(0x7ffffffffffe, 2, 0x800000000000);      /* the next fetch faults, not the entry */
    struct cpu_state s = cpu_state_long_mode(0, 0x5000); /* compatibility mode */
    s.cs.access = SEGMENT_CODE32;
    set_state(s);
    expect_step(0xfffffffe, 2, 0);
    expect_step(0xffffffff, 3, 2);
    expect_step(0xfffffffd, 2, 0xffffffff);
    set_protected_mode();
    expect_step(0xfffffffe, 2, 0);
    expect_step(0x1000, 3, 0x1003);
    set_state(cpu_state_real_mode(0x7c00)); /* beyond the limit: the next fetch faults */
    expect_step(0xffff, 1, 0x10000);
}

static void test_step_ends_shadows(void **state)
{
    (void)state;
    set_long_mode();
    static const uint32_t shadow[] = {0, BLOCKED_BY_STI, BLOCKED_BY_MOV_SS};
    for (size_t i = 0; i < 3; i++) {
        for (uint32_t nmi = 0; nmi <= BLOCKED_BY_NMI; nmi += BLOCKED_BY_NMI) {
            vmwrite(VMCS_GUEST_INTERRUPTIBILITY, shadow[i] | nmi);
            take_exit(REASON_INVD, 0, 2);
            assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), nmi);
        }
    }
    /* What stays where it is keeps its shadow. */
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI);
    take_exit(REASON_PREEMPTION_TIMER, 0, 2);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKED_BY_STI);
}

static void test_step_flags(void **state)
{
    (void)state;
    set_long_mode();
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_BASE | RFLAGS_RF);
    take_exit(REASON_INVD, 0, 2);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_BASE);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0);

    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_BASE | RFLAGS_TF | RFLAGS_RF);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 1);
    take_exit(REASON_INVD, 0, 2);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_BASE | RFLAGS_TF);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), PENDING_DEBUG_BS | 1);

    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    vmwrite(VMCS_GUEST_DEBUGCTL, DEBUGCTL_BTF); /* after branches only */
    take_exit(REASON_INVD, 0, 2);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0);
}

/* What a handler answers is all that decides about RIP. */
static void test_actions(void **state)
{
    (void)state;
    set_long_mode();
    vmx_set_cr4(CR4_PAE | CR4_OSXSAVE);
    vcpu->insn_length = 7;
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_BASE | RFLAGS_TF);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, PENDING_DEBUG_BS);
    fake_exits.answer = EXIT_SAME;
    take_exit(REASON_XSETBV, 0, 3);
    assert_string_equal(fake_exits.last, "xsetbv");
    assert_int_equal(rip(), 0x1000);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_BASE | RFLAGS_TF);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKED_BY_MOV_SS);
    expect_enterable();

    fake_exits.answer = EXIT_NEXT;
    take_exit(REASON_RDMSR, 0, 3);
    assert_string_equal(fake_exits.last, "rdmsr");
    assert_int_equal(rip(), 0x1003);
    fake_exits.answer = EXIT_NEXT_DECODED;
    take_exit(REASON_WRMSR, 0, 3);
    assert_string_equal(fake_exits.last, "wrmsr");
    assert_int_equal(rip(), 0x100a);

    /* Between the iterations of a REP a trap or an interrupt saves RF set. */
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_BASE);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI);
    fake_exits.answer = EXIT_ITERATION;
    take_exit(REASON_XSETBV, 0, 3);
    assert_int_equal(rip(), 0x100a);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_BASE | RFLAGS_RF);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), 0);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_BASE | RFLAGS_TF);
    take_exit(REASON_XSETBV, 0, 3);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), PENDING_DEBUG_BS);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_BASE | RFLAGS_TF | RFLAGS_RF);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    vmwrite(VMCS_GUEST_DEBUGCTL, DEBUGCTL_BTF);
    take_exit(REASON_XSETBV, 0, 3);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0);
}

/* Exits that end the VM, or the machine. */

static void expect_end(enum vm_end end, const char *why)
{
    assert_int_equal(fixture.vm.end, end);
    if (strstr(fixture.vm.end_why, why) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", why, fixture.vm.end_why);
    fixture.vm.end = VM_RUNS;
}

static void test_reasons_not_asked_for(void **state)
{
    (void)state;
    static const uint32_t reasons[] = {
        REASON_SIPI,
        REASON_INVLPG,
        REASON_RDTSC,
        REASON_MOV_DR,
        35,
        38,
        42,
        REASON_GDTR_IDTR,
        REASON_LDTR_TR,
        REASON_RDTSCP,
        REASON_RDRAND,
        REASON_INVPCID,
        REASON_VMFUNC,
        REASON_RDSEED,
        REASON_PML_FULL,
        REASON_XSAVES,
        REASON_XRSTORS,
        REASON_PCONFIG,
        REASON_SPP,
        REASON_UMWAIT,
        REASON_TPAUSE,
        REASON_LOADIWKEY,
        REASON_ENCLV,
        71,
        REASON_ENQCMD_PASID,
        EXIT_REASON_COUNT,
        0xffff,
        0x7fffffff,
    };
    set_long_mode();
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        take_exit(reasons[i], 0, 2);
        assert_int_equal(fixture.vm.end_code, reasons[i]);
        expect_end(VM_CRASH, "was not asked for");
        assert_int_equal(rip(), 0x1000);
    }
}

static void take_machine_check_entry(void)
{
    take_exit(1u << 31 | REASON_ENTRY_MACHINE_CHECK, 0, 0);
}

static void take_machine_check(void)
{
    take_event_exit(EXCEPTION(VECTOR_MACHINE_CHECK), 0, 0);
}

static void take_misconfiguration(void)
{
    take_exit(REASON_EPT_MISCONFIGURATION, 0, 0);
}

static void test_failed_entries(void **state)
{
    (void)state;
    set_long_mode();
    take_exit(1u << 31 | REASON_ENTRY_GUEST_STATE, 0, 0);
    take_exit(1u << 31 | REASON_ENTRY_MSR_LOADING, 0, 0);
    assert_int_equal(fixture.failed_entries, 2);
    expect_end(VM_CRASH, "failed entry");
    assert_true(panics(take_misconfiguration)); /* that is the host's */
    assert_int_equal(fixture.failed_entries, 2);
}

/* The hardware failed while the guest used it: that VM ends, but where the CPU itself is damaged.
 */
static void test_machine_checks(void **state)
{
    (void)state;
    set_long_mode();
    fake_vmx.elsewhere = true; /* another CPU's: this one goes on */
    take_machine_check();
    assert_int_equal(fixture.vm.end, VM_RUNS);
    fake_vmx.elsewhere = false;
    take_machine_check();
    expect_end(VM_CRASH, "a machine check");
    fixture.vm.end = VM_RUNS;
    take_machine_check_entry();
    expect_end(VM_CRASH, "a machine check");
    fake_vmx.corrupt = true;
    assert_true(panics(take_machine_check_entry));
    assert_true(panics(take_machine_check));
    assert_int_equal(fixture.failed_entries, 0);
}

static void test_triple_fault(void **state)
{
    (void)state;
    set_long_mode();
    take_exit(REASON_TRIPLE_FAULT, 0, 0);
    expect_end(VM_TRIPLE_FAULT, "triple fault at RIP 0x1000");
}

static void test_reason_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EXIT_REASON_COUNT; i++) {
        const char *name = exit_reason_name(i);
        assert_non_null(name);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789"), strlen(name));
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(name, exit_reason_name(j));
        assert_in_range(exit_reason_class(i), 0, CLASS_COUNT - 1);
    }
    assert_int_equal(exit_reason_class(REASON_IO), CLASS_IO);
    assert_int_equal(exit_reason_class(REASON_EPT_VIOLATION), CLASS_MMIO);
    assert_int_equal(exit_reason_class(REASON_WRMSR), CLASS_CPU);
    assert_int_equal(exit_reason_class(REASON_PREEMPTION_TIMER), CLASS_TIMER);
    assert_non_null(exit_reason_name(EXIT_REASON_COUNT));
    assert_string_equal(exit_reason_name(REASON_TDCALL), "tdcall");
}

/* Instructions. */

static void test_undefined_instructions(void **state)
{
    (void)state;
    static const uint32_t reasons[] = {
        REASON_GETSEC,  REASON_RSM,      REASON_VMCLEAR,  REASON_VMLAUNCH, REASON_VMPTRLD,
        REASON_VMPTRST, REASON_VMREAD,   REASON_VMRESUME, REASON_VMWRITE,  REASON_VMXOFF,
        REASON_VMXON,   REASON_MWAIT,    REASON_MONITOR,  REASON_INVEPT,   REASON_INVVPID,
        REASON_ENCLS,   REASON_SEAMCALL, REASON_TDCALL};
    set_long_mode();
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        vcpu->event.info = 0;
        take_exit(reasons[i], 0, 3);
        expect_event(EXCEPTION(VECTOR_INVALID_OPCODE), 0);
        assert_int_equal(rip(), 0x1000);
        assert_int_equal(fixture.vm.end, VM_RUNS);
    }
    vcpu->event.info = 0;
    take_exit(REASON_RDPMC, 0, 2);
    expect_event(GP0, 0);
    assert_int_equal(rip(), 0x1000);
}

/* What only CPL 0 may execute, on a CPU that exits for it without a look at the CPL. */
static void test_privilege(void **state)
{
    (void)state;
    enum { CR0_BY_CLTS = CLTS << 4, CR0_BY_LMSW = LMSW << 4 | 1 << 16 };
    static const struct {
        uint32_t reason;
        uint64_t qualification;
    } exits[] = {
        {REASON_HLT, 0},
        {REASON_INVD, 0},
        {REASON_WBINVD, 0},
        {REASON_RDMSR, 0},
        {REASON_WRMSR, 0},
        {REASON_XSETBV, 0},
        {REASON_RDPMC, 0},
        {REASON_CR_ACCESS, 0 | RBX << 8},
        {REASON_CR_ACCESS, 4 | RBX << 8},
        {REASON_CR_ACCESS, CR0_BY_CLTS},
        {REASON_CR_ACCESS, CR0_BY_LMSW},
    };
    for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++) {
        for (unsigned cpl = 1; cpl < 4; cpl++) {
            set_long_mode();
            vmx_set_cr0(vcpu, vmx_guest_cr0() | CR0_TS);
            vmx_set_cr4(CR4_PAE | CR4_OSXSAVE);
            const uint64_t cr0 = vmx_guest_cr0(), cr4 = vmx_guest_cr4(&fixture.vm);
            vmwrite(VMCS_GUEST_SS_ACCESS, SEGMENT_DATA32 | cpl << 5);
            vcpu->event.info = 0;
            vcpu->activity = ACTIVITY_ACTIVE;
            vcpu->regs.gpr[RBX] = 0x80000033 | CR4_PAE;
            fake_exits_reset();
            take_exit(exits[i].reason, exits[i].qualification, 3);
            expect_event(GP0, 0);
            assert_int_equal(fake_exits.calls, 0);
            assert_int_equal(vcpu->activity, ACTIVITY_ACTIVE);
            assert_int_equal(rip(), 0x1000);
            assert_int_equal(vmx_guest_cr0(), cr0);
            assert_int_equal(vmx_guest_cr4(&fixture.vm), cr4);
        }
    }
    /* Virtual-8086 mode is CPL 3, real mode 0. */
    set_state(cpu_state_real_mode(0x7c00));
    vcpu->event.info = 0;
    take_exit(REASON_WBINVD, 0, 2);
    assert_int_equal(vcpu->event.info, 0);
    assert_int_equal(rip(), 0x7c02);
}

static void test_xsetbv_without_osxsave(void **state)
{
    (void)state;
    for (unsigned cpl = 0; cpl <= 3; cpl += 3) { /* #UD comes before the look at the CPL */
        set_long_mode();
        vmwrite(VMCS_GUEST_SS_ACCESS, SEGMENT_DATA32 | cpl << 5);
        vcpu->event.info = 0;
        take_exit(REASON_XSETBV, 0, 3);
        expect_event(EXCEPTION(VECTOR_INVALID_OPCODE), 0);
        assert_int_equal(fake_exits.calls, 0);
        assert_int_equal(rip(), 0x1000);
    }
    set_long_mode();
    vmx_set_cr4(CR4_PAE | CR4_OSXSAVE);
    take_exit(REASON_XSETBV, 0, 3);
    assert_string_equal(fake_exits.last, "xsetbv");
}

static void test_instructions_without_effect(void **state)
{
    (void)state;
    set_long_mode();
    take_exit(REASON_INVD, 0, 2);
    take_exit(REASON_WBINVD, 0, 2);
    assert_int_equal(rip(), 0x1004);
    assert_false(vcpu->attention);
    take_exit(REASON_PAUSE, 0, 2); /* others may have their turn */
    assert_int_equal(rip(), 0x1006);
    assert_true(vcpu->attention && vcpu->yields);
}

static void expect_halt(uint64_t rflags, uint32_t blocked, uint64_t pending, bool trap)
{
    set_long_mode();
    vcpu->activity = ACTIVITY_ACTIVE;
    vmwrite(VMCS_GUEST_RFLAGS, rflags);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, blocked);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, pending);
    take_exit(REASON_HLT, 0, 1);
    assert_int_equal(vcpu->activity, ACTIVITY_HLT);
    assert_int_equal(vcpu->halted_open, (rflags & RFLAGS_IF) != 0);
    assert_int_equal(vcpu->halted_nmi, (blocked & BLOCKED_BY_NMI) == 0);
    assert_int_equal(vcpu->halted_trap, trap);
    assert_true(vcpu->attention);
    assert_int_equal(rip(), 0x1001);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), blocked & BLOCKED_BY_NMI);
    assert_int_equal(vmread(VMCS_GUEST_ACTIVITY), 0); /* it waits in root mode */
}

static void test_hlt(void **state)
{
    (void)state;
    expect_halt(0x202, 0, 0, false);
    expect_halt(0x202, BLOCKED_BY_STI, 0, false);
    expect_halt(0x002, 0, 0, false);
    expect_halt(0x002, BLOCKED_BY_NMI, 0, false);
    expect_halt(0x002, BLOCKED_BY_NMI, 1, true);
    expect_halt(0x302, 0, 0, true);
    set_long_mode();
    vmwrite(VMCS_GUEST_RFLAGS, 0x302);
    vmwrite(VMCS_GUEST_DEBUGCTL, DEBUGCTL_BTF);
    take_exit(REASON_HLT, 0, 1);
    assert_false(vcpu->halted_trap);
}

static void test_cpuid(void **state)
{
    (void)state;
    struct cpuid_table *table = &fixture.vm.cpuid;
    table->entry[1] = (struct cpuid_entry){0, 0, 0x16, 0x756e6547, 0x6c65746e, 0x49656e69, 0, 0};
    table->entry[2] = (struct cpuid_entry){.leaf = 1, .eax = 0x50654, .dynamic = CPUID_OSXSAVE};
    table->entry[3] =
        (struct cpuid_entry){.leaf = 0xb,
                             .subleaf = 2,
                             .ecx = 2,
                             .dynamic = CPUID_SUBLEAVES | CPUID_APIC_ID_B | CPUID_REST};
    table->first[0] = 1;
    table->first[1] = 2;
    table->first[0xb] = 3;
    table->count = 4;
    set_long_mode();
    memset(vcpu->regs.gpr, 0xff, sizeof(vcpu->regs.gpr));
    vcpu->regs.gpr[RAX] = 0xffffffff00000000;
    take_exit(REASON_CPUID, 0, 2);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x16); /* the upper halves become 0 */
    assert_int_equal(vcpu->regs.gpr[RBX], 0x756e6547);
    assert_int_equal(vcpu->regs.gpr[RCX], 0x6c65746e);
    assert_int_equal(vcpu->regs.gpr[RDX], 0x49656e69);
    assert_int_equal(vcpu->regs.gpr[RSI], UINT64_MAX);
    vcpu->regs.gpr[RAX] = 1;
    take_exit(REASON_CPUID, 0, 2);
    assert_int_equal(vcpu->regs.gpr[RAX], 0x50654);
    assert_int_equal(vcpu->regs.gpr[RCX], 0);
    vmwrite(VMCS_GUEST_CR4, vmread(VMCS_GUEST_CR4) | CR4_OSXSAVE);
    vcpu->regs.gpr[RAX] = 1;
    take_exit(REASON_CPUID, 0, 2);
    assert_int_equal(vcpu->regs.gpr[RCX], 1u << 27);
    assert_int_equal(rip(), 0x1006);
    static const uint32_t subleaf[] = {2, 3, 0xff, 0x100, 0x1234567f, UINT32_MAX};
    for (size_t i = 0; i < 6; i++) { /* each invalid one is told its number, and the APIC ID */
        vcpu->apic_id = 5;
        vcpu->regs.gpr[RAX] = 0xb;
        vcpu->regs.gpr[RCX] = subleaf[i];
        take_exit(REASON_CPUID, 0, 2);
        assert_int_equal(vcpu->regs.gpr[RAX] | vcpu->regs.gpr[RBX], 0);
        assert_int_equal(vcpu->regs.gpr[RCX], subleaf[i] & 0xff);
        assert_int_equal(vcpu->regs.gpr[RDX], 5);
    }
}

static void test_vmcall(void **state)
{
    (void)state;
    set_long_mode();
    fake_exits.answer = EXIT_NEXT;
    for (unsigned cpl = 0; cpl < 4; cpl++) {
        vmwrite(VMCS_GUEST_SS_ACCESS, SEGMENT_DATA32 | cpl << 5);
        take_exit(REASON_VMCALL, 0, 3);
        assert_string_equal(fake_exits.last, "hypercall");
        assert_int_equal(fake_exits.cpl, cpl);
    }
    assert_int_equal(rip(), 0x100c);
}

static void test_task_switch(void **state)
{
    (void)state;
    const uint32_t page_fault = EXCEPTION(VECTOR_PAGE_FAULT) | EVENT_ERROR_CODE;
    set_protected_mode();
    take_exit(REASON_TASK_SWITCH, 1ull << 30 | 0xfff8, 7);
    assert_string_equal(fake_exits.last, "task_switch");
    assert_int_equal(fake_exits.source, 1);
    assert_int_equal(fake_exits.selector, 0xfff8);
    assert_int_equal(fake_exits.length, 7);
    assert_int_equal(fake_exits.event.info, 0);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, page_fault | 1u << 12);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING_ERROR, 6);
    take_exit(REASON_TASK_SWITCH, 3ull << 30 | 0x30, 0);
    assert_int_equal(fake_exits.source, 3);
    assert_int_equal(fake_exits.selector, 0x30);
    assert_int_equal(fake_exits.event.info, page_fault);
    assert_int_equal(fake_exits.event.error, 6);
    assert_int_equal(rip(), 0x1000);
}

/* Control registers. */

static void access_cr(unsigned cr, unsigned access, unsigned reg, unsigned source)
{
    take_exit(REASON_CR_ACCESS, cr | access << 4 | reg << 8 | (uint64_t)source << 16, 3);
}

static void mov_to_cr(unsigned cr, uint64_t value)
{
    vcpu->regs.gpr[RBX] = value;
    access_cr(cr, MOV_TO, RBX, 0);
}

static void expect_crs(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    assert_int_equal(vcpu->event.info, 0);
    assert_int_equal(fixture.vm.end, VM_RUNS);
    assert_int_equal(vmx_guest_cr0(), cr0);
    assert_int_equal(vmx_guest_cr4(&fixture.vm), cr4);
    assert_int_equal(vmread(VMCS_GUEST_EFER), efer);
    assert_int_equal((vmread(VMCS_CTRL_ENTRY) & ENTRY_IA32E_GUEST) != 0, (efer & EFER_LMA) != 0);
    expect_enterable();
}

/* #GP(0), and all else as it was: RF apart, which belongs to the fault. */
static void expect_cr_fault(unsigned cr, uint64_t value)
{
    static uint64_t before[FAKE_VMX_FIELDS];
    const unsigned invvpids = fake_vmx.invvpids;
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_BASE | RFLAGS_RF);
    fake_vmx_set(VMCS_EXIT_REASON, REASON_CR_ACCESS);
    fake_vmx_set(VMCS_EXIT_QUALIFICATION, cr | RBX << 8);
    fake_vmx_set(VMCS_EXIT_INSTRUCTION_LENGTH, 3);
    memcpy(before, fake_vmx_fields(), sizeof(before));
    mov_to_cr(cr, value);
    const bool real_mode = (before[VMCS_GUEST_CR0] & CR0_PE) == 0;
    expect_event(real_mode ? GP0 & ~EVENT_ERROR_CODE : GP0, 0);
    assert_memory_equal(before, fake_vmx_fields(), sizeof(before));
    assert_int_equal(fake_vmx.invvpids, invvpids);
    vcpu->event.info = 0;
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_BASE);
    expect_enterable();
}

static void test_cr0(void **state)
{
    (void)state;
    set_state(cpu_state_real_mode(0x7c00));
    vmwrite(VMCS_GUEST_CR3, FIXTURE_RAM); /* no PDPTEs are looked for but under PAE paging */
    fake_vmx.invvpids = 0;
    mov_to_cr(0, 0x11);
    expect_crs(0x11, 0, 0);
    assert_int_equal(rip(), 0x7c03);
    assert_true(fake_vmx.invvpids > 0);
    fake_vmx.invvpids = 0;
    mov_to_cr(0, 0x60000011); /* caches off, as the guest sees it */
    expect_crs(0x60000011, 0, 0);
    assert_int_equal(vmread(VMCS_GUEST_CR0) & (CR0_CD | CR0_NW), 0);
    assert_int_equal(fake_vmx.invvpids, 0);
    mov_to_cr(0, 0x1); /* ET is 1 always; the upper half is not there outside 64-bit mode */
    expect_crs(0x11, 0, 0);
    mov_to_cr(0, 0xffffffff00000031);
    expect_crs(0x31, 0, 0);
    mov_to_cr(0, 0x1ffaffc0 | 0x31); /* reserved bits of the low half are ignored */
    expect_crs(0x31, 0, 0);
    mov_to_cr(0, 0x10);
    expect_crs(0x10, 0, 0);
    expect_cr_fault(0, 0x80000010); /* PG without PE */
    expect_cr_fault(0, 0x20000011); /* NW without CD */
    set_long_mode();
    expect_cr_fault(0, 0x180000033);
    expect_cr_fault(0, 0x00000033); /* paging off in 64-bit mode */
}

static void test_cr0_from_rsp(void **state)
{
    (void)state;
    set_protected_mode();
    vmwrite(VMCS_GUEST_RSP, 0x10000039);
    vcpu->regs.gpr[RSP] = 0;
    access_cr(0, MOV_TO, RSP, 0);
    expect_crs(0x39, 0, 0);
    vcpu->regs.gpr[R15] = 0x31;
    access_cr(0, MOV_TO, R15, 0);
    expect_crs(0x31, 0, 0);
}

static void test_long_mode_on_and_off(void **state)
{
    (void)state;
    struct cpu_state s = cpu_state_protected_mode(0x1000);
    s.cr4 = CR4_PAE, s.efer = EFER_LME, s.cr3 = 0x5000;
    set_state(s);
    mov_to_cr(0, 0x80000033);
    expect_crs(0x80000033, CR4_PAE, EFER_LME | EFER_LMA);
    expect_cr_fault(4, 0); /* PAE is what long mode stands on */
    mov_to_cr(4, CR4_PAE | CR4_PGE | CR4_PCIDE);
    expect_crs(0x80000033, CR4_PAE | CR4_PGE | CR4_PCIDE, EFER_LME | EFER_LMA);
    expect_cr_fault(0, 0x33); /* not with PCIDs */
    mov_to_cr(4, CR4_PAE);
    mov_to_cr(0, 0x33);
    expect_crs(0x33, CR4_PAE, EFER_LME);
    expect_cr_fault(4, CR4_PAE | CR4_PCIDE);
    mov_to_cr(4, 0);
    expect_crs(0x33, 0, EFER_LME);
    expect_cr_fault(0, 0x80000033); /* LME without PAE */
    /* With a 16-bit TSS long mode would not be entered. */
    mov_to_cr(4, CR4_PAE);
    vmwrite(VMCS_GUEST_TR_ACCESS, 0x83);
    expect_cr_fault(0, 0x80000033);
}

static void test_cr4(void **state)
{
    (void)state;
    set_long_mode();
    fake_vmx.invvpids = 0;
    mov_to_cr(4, CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_SMEP);
    expect_crs(0x80000033, CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_SMEP, EFER_LME | EFER_LMA);
    assert_true(fake_vmx.invvpids > 0);
    mov_to_cr(4, CR4_PAE); /* MCE stays on in the CPU */
    expect_crs(0x80000033, CR4_PAE, EFER_LME | EFER_LMA);
    assert_int_equal(vmread(VMCS_GUEST_CR4), CR4_PAE | CR4_VMXE | CR4_MCE);
    expect_cr_fault(4, CR4_PAE | CR4_VMXE);
    expect_cr_fault(4, CR4_PAE | CR4_LA57);
    expect_cr_fault(4, CR4_PAE | 1ull << 63);
    expect_cr_fault(4, CR4_PAE | 1ull << 15);
}

static void put_pdptes(uint64_t at, uint64_t first)
{
    const uint64_t pdpte[4] = {first, 0x7001, 0x8000, 0x9001};
    memcpy(fixture.ram + at, pdpte, sizeof(pdpte));
}

static void test_pae_paging(void **state)
{
    (void)state;
    struct cpu_state s = cpu_state_protected_mode(0x1000);
    s.cr4 = CR4_PAE, s.cr3 = 0x5020;
    set_state(s);
    put_pdptes(0x5020, 0x6001);
    mov_to_cr(0, 0x80000031);
    expect_crs(0x80000031, CR4_PAE, 0);
    assert_int_equal(vmread(VMCS_GUEST_PDPTE0), 0x6001);
    assert_int_equal(vmread(VMCS_GUEST_PDPTE3), 0x9001);
    put_pdptes(0x5020, 0xa001); /* in memory only, until they are loaded again */
    mov_to_cr(0, 0x80000031 | CR0_TS);
    assert_int_equal(vmread(VMCS_GUEST_PDPTE0), 0x6001);
    mov_to_cr(4, CR4_PAE | CR4_PGE);
    assert_int_equal(vmread(VMCS_GUEST_PDPTE0), 0xa001);
    put_pdptes(0x5020, 0xa003); /* a reserved bit */
    expect_cr_fault(4, CR4_PAE);
    expect_cr_fault(0, 0xe0000031);
    vmwrite(VMCS_GUEST_CR3, FIXTURE_RAM); /* no memory there */
    expect_cr_fault(4, CR4_PAE);
    assert_int_equal(vmread(VMCS_GUEST_PDPTE0), 0xa001);
}

static void test_clts_and_lmsw(void **state)
{
    (void)state;
    struct cpu_state s = cpu_state_protected_mode(0x1000);
    s.cr0 |= CR0_TS | CR0_MP | CR0_NE;
    set_state(s);
    access_cr(0, CLTS, 0, 0);
    expect_crs(0x33, 0, 0);
    access_cr(0, LMSW, 0, 0xc); /* TS and EM on, MP off; PE stays */
    expect_crs(0x3d, 0, 0);
    access_cr(0, LMSW, 0, 0x2);
    expect_crs(0x33, 0, 0);
    set_state(cpu_state_real_mode(0x7c00));
    access_cr(0, LMSW, 0, 0x1);
    expect_crs(0x11, 0, 0);
    assert_int_equal(rip(), 0x7c03);
}

static void test_cr_exits_not_asked_for(void **state)
{
    (void)state;
    set_long_mode();
    access_cr(3, MOV_TO, RAX, 0);
    expect_end(VM_CRASH, "an exit of CR3");
    access_cr(8, MOV_FROM, RAX, 0);
    expect_end(VM_CRASH, "an exit of CR8");
    assert_int_equal(rip(), 0x1000);
}

/* Events. */

static void test_debug_exception(void **state)
{
    (void)state;
    set_long_mode();
    fake_vmx.dr6 = 0xffff0ff8;
    vmwrite(VMCS_GUEST_DR7, 0x2400);
    vmwrite(VMCS_GUEST_DEBUGCTL, DEBUGCTL_BTF);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_BASE | RFLAGS_TF);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI | BLOCKED_BY_NMI);
    take_event_exit(EXCEPTION(VECTOR_DEBUG), 0x14005, 0);
    expect_event(EXCEPTION(VECTOR_DEBUG), 0);
    assert_int_equal(fake_vmx.dr6, 0xffff4ff5); /* bit 16 of the qualification is not DR6's */
    assert_int_equal(vmread(VMCS_GUEST_DR7), 0x400);
    assert_int_equal(vmread(VMCS_GUEST_DEBUGCTL), 0);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKED_BY_NMI);
    assert_int_equal(rip(), 0x1000);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_BASE | RFLAGS_TF);
    expect_enterable();
}

static void test_int1(void **state)
{
    (void)state;
    set_long_mode();
    fake_vmx.dr6 = 0xfffe07f3;
    vmwrite(VMCS_GUEST_DR7, 0x2400);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS);
    take_event_exit(EVENT_VALID | EVENT_PRIVILEGED_SOFTWARE | VECTOR_DEBUG, 0, 2);
    expect_event(EVENT_VALID | EVENT_PRIVILEGED_SOFTWARE | VECTOR_DEBUG, 0);
    assert_int_equal(vcpu->event.length, 2);
    assert_int_equal(fake_vmx.dr6, 0xffff0ff3);
    assert_int_equal(vmread(VMCS_GUEST_DR7), 0x2400);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), 0);
    assert_int_equal(rip(), 0x1000); /* the entry steps over it */
}

static unsigned stops;
static bool stop_answer;

static bool debug_stop(struct vcpu *of, unsigned stop)
{
    assert_ptr_equal(of, vcpu);
    stops = stops << 4 | stop;
    return stop_answer;
}

/* CR0.NE as the guest has it decides, and nothing is intercepted where it is 1. */
static void test_x87_error(void **state)
{
    (void)state;
    const uint32_t bit = 1u << VECTOR_X87_ERROR;
    set_long_mode();
    assert_int_equal(vmread(VMCS_CTRL_EXCEPTION_BITMAP) & bit, 0);
    mov_to_cr(0, vmx_guest_cr0() & ~CR0_NE);
    assert_int_equal(vmread(VMCS_CTRL_EXCEPTION_BITMAP) & bit, bit);
    assert_int_equal(vmread(VMCS_GUEST_CR0) & CR0_NE, CR0_NE);
    for (unsigned i = 0; i < 4; i++) {
        vmwrite(VMCS_GUEST_RFLAGS, (i & 1) != 0 ? 0x202 : 0x2);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, (i & 2) != 0 ? BLOCKED_BY_NMI
                                             : i == 1     ? BLOCKED_BY_STI
                                                          : 0);
        take_event_exit(EXCEPTION(VECTOR_X87_ERROR), 0, 0);
        assert_string_equal(fake_exits.last, "x87_error");
        assert_int_equal(fake_exits.open, (i & 1) != 0);
        assert_int_equal(fake_exits.nmi, (i & 2) == 0);
        assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKED_BY_STI, 0);
        assert_int_equal(vcpu->event.info, 0);
        assert_int_equal(rip(), 0x1003);
    }
    mov_to_cr(0, vmx_guest_cr0() | CR0_NE);
    assert_int_equal(vmread(VMCS_CTRL_EXCEPTION_BITMAP) & bit, 0);
}

static void test_int3(void **state)
{
    (void)state;
    const uint32_t info = EVENT_VALID | EVENT_SOFTWARE_EXCEPTION | VECTOR_BREAKPOINT;
    set_long_mode();
    take_event_exit(info, 0, 1);
    expect_event(info, 0);
    assert_int_equal(vcpu->event.length, 1);
    vcpu->event = (struct event){0};
    stops = 0;
    fixture.vm.debug_stop = debug_stop;
    stop_answer = true; /* the debugger's */
    take_event_exit(info, 0, 1);
    assert_int_equal(vcpu->event.info, 0);
    assert_int_equal(rip(), 0x1000);
    stop_answer = false; /* the guest's own */
    take_event_exit(info, 0, 3);
    expect_event(info, 0);
    assert_int_equal(vcpu->event.length, 3);
    assert_int_equal(stops, DEBUG_BREAKPOINT << 4 | DEBUG_BREAKPOINT);
}

static void test_monitor_trap(void **state)
{
    (void)state;
    set_long_mode();
    stops = 0;
    fixture.vm.debug_stop = debug_stop;
    assert_true(vmx_step(vcpu, true));
    take_exit(REASON_MONITOR_TRAP_FLAG, 0, 0);
    assert_int_equal(fake_exits.steps_done, 1);
    assert_int_equal(vmread(VMCS_CTRL_PROC) & PROC_MONITOR_TRAP, 0);
    assert_int_equal(stops, 0);
    assert_true(vmx_set_debug(vcpu, DEBUG_STEP));
    take_exit(REASON_MONITOR_TRAP_FLAG, 0, 0);
    assert_int_equal(fake_exits.steps_done, 1);
    assert_int_equal(stops, DEBUG_STEP);
    assert_int_not_equal(vmread(VMCS_CTRL_PROC) & PROC_MONITOR_TRAP, 0);
    assert_true(vmx_step(vcpu, true)); /* both at once */
    take_exit(REASON_MONITOR_TRAP_FLAG, 0, 0);
    assert_int_equal(fake_exits.steps_done, 2);
    assert_int_equal(stops, DEBUG_STEP << 4 | DEBUG_STEP);
    assert_int_equal(rip(), 0x1000);
    assert_true(vmx_set_debug(vcpu, 0));
    assert_int_equal(vmread(VMCS_CTRL_PROC) & PROC_MONITOR_TRAP, 0);
    assert_true(vmx_watch(vcpu, true)); /* an x87 error: until it is switched off */
    for (unsigned i = 0; i < 2; i++) {
        fake_exits_reset();
        take_exit(REASON_MONITOR_TRAP_FLAG, 0, 0);
        assert_string_equal(fake_exits.last, "x87_stepped");
        assert_int_equal(fake_exits.calls, 1);
        assert_int_not_equal(vmread(VMCS_CTRL_PROC) & PROC_MONITOR_TRAP, 0);
    }
    assert_true(vmx_watch(vcpu, false));
    assert_int_equal(vmread(VMCS_CTRL_PROC) & PROC_MONITOR_TRAP, 0);
}

static void test_alignment_check(void **state)
{
    (void)state;
    set_long_mode();
    fake_vmx_set(VMCS_EXIT_EVENT_ERROR, 1);
    take_event_exit(EXCEPTION(VECTOR_ALIGNMENT_CHECK) | EVENT_ERROR_CODE, 0, 0);
    expect_event(EXCEPTION(VECTOR_ALIGNMENT_CHECK) | EVENT_ERROR_CODE, 1);
    assert_int_not_equal(vmread(VMCS_GUEST_RFLAGS) & RFLAGS_RF, 0);
}

/* An IRET that faults has let NMIs in already. */
static void test_exception_in_iret(void **state)
{
    (void)state;
    set_long_mode();
    take_event_exit(EXCEPTION(VECTOR_ALIGNMENT_CHECK) | EVENT_ERROR_CODE | UNBLOCKED_BY_IRET, 0, 0);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKED_BY_NMI);
}

static void test_host_events(void **state)
{
    (void)state;
    set_long_mode();
    take_event_exit(EVENT_VALID | EVENT_NMI | VECTOR_NMI, 0, 0);
    assert_int_equal(fixture.nmis, 1);
    fake_vmx_set(VMCS_EXIT_EVENT, EVENT_VALID | EVENT_INTERRUPT | VECTOR_WAKE);
    take_exit(REASON_EXTERNAL_INTERRUPT, 0, 0);
    assert_int_equal(fixture.eois, 1);
    assert_int_equal(vcpu->event.info, 0); /* no business of the guest's */
    assert_false(vcpu->attention);
    assert_int_equal(rip(), 0x1000);
    /* Without a vector, by a hypervisor below: nothing to acknowledge. */
    fake_vmx_set(VMCS_EXIT_EVENT, 0);
    take_exit(REASON_EXTERNAL_INTERRUPT, 0, 0);
    assert_int_equal(fixture.eois, 1);
    /* A wake is for the vCPU that is loaded; one that is gone again has no EOI. */
    bool attention = false;
    cpu_self()->attention = &attention;
    fake_vmx_set(VMCS_EXIT_EVENT, EVENT_VALID | EVENT_INTERRUPT | VECTOR_WAKE);
    take_exit(REASON_EXTERNAL_INTERRUPT, 0, 0);
    assert_true(attention);
    fake_vmx_set(VMCS_EXIT_EVENT, EVENT_VALID | EVENT_INTERRUPT | VECTOR_SPURIOUS);
    take_exit(REASON_EXTERNAL_INTERRUPT, 0, 0);
    assert_int_equal(fixture.rare_interrupt, VECTOR_SPURIOUS);
    assert_int_equal(fixture.eois, 2);
    cpu_self()->attention = NULL;
    /* What nobody asked for, and means nothing to the guest, does nothing to it. */
    const uint32_t harmless[] = {REASON_INIT, 5, 6};
    for (unsigned i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
        fake_vmx_set(VMCS_EXIT_IDT_VECTORING, EVENT_VALID | EVENT_INTERRUPT | 0x31);
        take_exit(harmless[i], 0, 0);
        expect_event(EVENT_VALID | EVENT_INTERRUPT | 0x31, 0);
        vcpu->event.info = 0;
        assert_int_equal(rip(), 0x1000);
        assert_false(vm_has_ended(vcpu->vm));
    }
    fake_vmx_set(VMCS_EXIT_EVENT, EVENT_VALID | EVENT_INTERRUPT | VECTOR_WAKE);
    /* In a delivery: that is done again. */
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, EVENT_VALID | EVENT_INTERRUPT | 0x44);
    take_exit(REASON_EXTERNAL_INTERRUPT, 0, 0);
    expect_event(EVENT_VALID | EVENT_INTERRUPT | 0x44, 0);
    vcpu->event.info = 0;
    take_event_exit(EVENT_VALID | EVENT_NMI | VECTOR_NMI, 0, 0);
    expect_event(EVENT_VALID | EVENT_INTERRUPT | 0x44, 0);
}

/* A guest that locks the bus gives its turn to another one, whether that is why it has left or not;
 * the other exit is what it is without. */
static void test_bus_locks(void **state)
{
    (void)state;
    set_long_mode();
    take_exit(REASON_CPUID, 0, 2);
    assert_false(vcpu->yields || vcpu->attention);
    take_exit(REASON_CPUID | 1u << 26, 0, 2);
    assert_int_equal(rip(), 0x1004);
    assert_true(vcpu->yields && vcpu->attention);
    vcpu->yields = vcpu->attention = false;
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, EVENT_VALID | EVENT_INTERRUPT | 0x31);
    take_exit(REASON_BUS_LOCK, 0, 0);
    expect_event(EVENT_VALID | EVENT_INTERRUPT | 0x31, 0);
    assert_int_equal(rip(), 0x1004);
    assert_true(vcpu->yields && vcpu->attention);
    assert_false(vm_has_ended(vcpu->vm));
    take_exit(REASON_SIPI | 1u << 26, 0, 0);
    expect_end(VM_CRASH, "was not asked for");
}

static void test_instruction_timeouts(void **state)
{
    (void)state;
    set_long_mode();
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, EVENT_VALID | EVENT_INTERRUPT | 0x31);
    take_exit(REASON_INSTRUCTION_TIMEOUT, 1u << 12, 0); /* bit 12 means nothing then */
    expect_event(EVENT_VALID | EVENT_INTERRUPT | 0x31, 0);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), 0);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, 0);
    vcpu->event.info = 0;
    take_exit(REASON_INSTRUCTION_TIMEOUT, 1u << 12, 0); /* in an IRET */
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKED_BY_NMI);
    assert_int_equal(vcpu->event.info, 0);
    assert_int_equal(rip(), 0x1000);
    assert_false(vm_has_ended(vcpu->vm));
    take_exit(REASON_INSTRUCTION_TIMEOUT, 1, 0);
    expect_end(VM_CRASH, "an instruction that does not end");
}

/* Controls of newer CPUs are on where there are any, and pass the entry checks. */
static void test_newer_controls(void **state)
{
    (void)state;
    const uint32_t newer = PROC2_BUS_LOCK_DETECTION | PROC2_INSTRUCTION_TIMEOUT;
    assert_int_equal(vmread(VMCS_CTRL_PROC2) & newer, 0);
    fake_vmx.caps.proc2.may_be_1 |= newer;
    vmcs_set_controls(&fixture.v);
    set_long_mode();
    assert_int_equal(vmread(VMCS_CTRL_PROC2) & newer, newer);
    assert_in_range(vmread(VMCS_CTRL_INSTRUCTION_TIMEOUT), 1, 100000);
    expect_enterable();
}

/* The host's CET state comes back at each exit, and none of it gets into the guest. */
static void test_host_has_cet(void **state)
{
    (void)state;
    fake_vmx.caps.exit.may_be_1 |= EXIT_LOAD_CET;
    fake_vmx.caps.entry.may_be_1 |= ENTRY_LOAD_CET;
    fake_vmx.caps.cr4_fixed1 |= CR4_CET;
    fake_vmx.cr4 |= CR4_CET;
    fake_vmx.s_cet = S_CET_SHADOW_STACK | S_CET_ENDBRANCH;
    fake_vmx.ssp_table = 0xffff800000001000;
    vmcs_set_controls(&fixture.v);
    vmcs_set_host();
    set_long_mode();
    assert_int_equal(vmread(VMCS_HOST_S_CET), S_CET_SHADOW_STACK | S_CET_ENDBRANCH);
    assert_int_equal(vmread(VMCS_HOST_INTERRUPT_SSP_TABLE), 0xffff800000001000);
    assert_int_equal(vmread(VMCS_HOST_CR4) & CR4_CET, CR4_CET);
    assert_int_equal(vmread(VMCS_CTRL_EXIT) & EXIT_LOAD_CET, EXIT_LOAD_CET);
    assert_int_equal(vmread(VMCS_CTRL_ENTRY) & ENTRY_LOAD_CET, ENTRY_LOAD_CET);
    assert_int_equal(vmread(VMCS_GUEST_S_CET), 0);
    assert_int_equal(vmread(VMCS_GUEST_CR4) & CR4_CET, 0);
    expect_enterable();
}

/* An exception in a delivery takes its place: those that exit make no double fault. */
static void test_exception_in_delivery(void **state)
{
    (void)state;
    const uint32_t check = EXCEPTION(VECTOR_ALIGNMENT_CHECK) | EVENT_ERROR_CODE;
    set_long_mode();
    fake_vmx_set(VMCS_EXIT_EVENT_ERROR, 0);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, EVENT_VALID | EVENT_SOFTWARE_INTERRUPT | 0x80);
    take_event_exit(check, 0, 2);
    expect_event(check, 0);
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, EXCEPTION(VECTOR_PAGE_FAULT) | EVENT_ERROR_CODE);
    take_event_exit(EXCEPTION(VECTOR_DEBUG), 1, 0);
    expect_event(EXCEPTION(VECTOR_DEBUG), 0);
}

static void test_windows(void **state)
{
    (void)state;
    static const uint32_t reasons[] = {REASON_INTERRUPT_WINDOW, REASON_NMI_WINDOW,
                                       REASON_TPR_BELOW_THRESHOLD};
    set_long_mode();
    for (size_t i = 0; i < 3; i++) {
        vcpu->attention = false;
        take_exit(reasons[i], 0, 2);
        assert_true(vcpu->attention);
    }
    vcpu->attention = false;
    take_exit(REASON_PREEMPTION_TIMER, 0, 2);
    assert_false(vcpu->attention);
    assert_int_equal(rip(), 0x1000);
}

/* APIC virtualization: the CPU has done its part. */

static unsigned ended_vector;

static void eoi(void *chip, unsigned vector)
{
    assert_ptr_equal(chip, &ended_vector);
    ended_vector = vector;
}

static void test_virtualized_apic(void **state)
{
    (void)state;
    set_long_mode();
    ended_vector = 0;
    fixture.vm.ioapic.chip = &ended_vector;
    fixture.vm.ioapic.eoi = eoi;
    take_exit(REASON_VIRTUALIZED_EOI, 0x9c, 0);
    assert_int_equal(ended_vector, 0x9c);
    vcpu->apic.page[0xf0 / 4] = 0x1ff;
    vcpu->apic.page[0x300 / 4] = 0x40061; /* a self-IPI */
    take_exit(REASON_APIC_WRITE, 0x300, 0);
    assert_int_equal(vlapic_highest_vector(vcpu->apic.page, APIC_IRR), 0x61);
    assert_int_equal(rip(), 0x1000); /* behind the write already */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_step),
        TEST(test_step_ends_shadows),
        TEST(test_step_flags),
        TEST(test_actions),
        TEST(test_reasons_not_asked_for),
        TEST(test_failed_entries),
        TEST(test_machine_checks),
        TEST(test_triple_fault),
        TEST(test_reason_names),
        TEST(test_undefined_instructions),
        TEST(test_privilege),
        TEST(test_xsetbv_without_osxsave),
        TEST(test_instructions_without_effect),
        TEST(test_hlt),
        TEST(test_cpuid),
        TEST(test_vmcall),
        TEST(test_task_switch),
        TEST(test_cr0),
        TEST(test_cr0_from_rsp),
        TEST(test_long_mode_on_and_off),
        TEST(test_cr4),
        TEST(test_pae_paging),
        TEST(test_clts_and_lmsw),
        TEST(test_cr_exits_not_asked_for),
        TEST(test_debug_exception),
        TEST(test_int1),
        TEST(test_x87_error),
        TEST(test_int3),
        TEST(test_monitor_trap),
        TEST(test_alignment_check),
        TEST(test_exception_in_iret),
        TEST(test_host_events),
        TEST(test_bus_locks),
        TEST(test_instruction_timeouts),
        TEST(test_newer_controls),
        TEST(test_host_has_cet),
        TEST(test_exception_in_delivery),
        TEST(test_windows),
        TEST(test_virtualized_apic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
