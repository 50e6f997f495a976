// link: tests/unit/fake_vmx.c tests/unit/vmx_fixture.c vmx/state.c vmx/vmcs.c vmx/vm.c vmx/a20.c vmx/ept.c
// link: vmx/step.c vmx/ept_overlay.c
// link: vmx/inject.c vmx/caps.c vmx/fields.c vmx/vmcs_check.c vmx/vmcs_check_guest.c arch/format.c
// link: guest/cpu/event.c guest/vm/vcpu_inject.c guest/vm/vlapic.c guest/vm/vlapic_bus.c
// link: guest/vm/vlapic_timer.c drivers/bus/timers.c mm/page_alloc.c mm/guestmem.c
// link: guest/vm/vcpu_pv_eoi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU's state into its VMCS and back, in parts; the controls of a new VMCS; and the fake CPU
 * itself, on which all tests of vmx/ stand. */
#include "mm/page_alloc.h"
#include "tests/unit/ept_lookup.h"
#include "tests/unit/vmx_fixture.h"

#include "arch/desc.h"
#include "arch/fault.h"
#include "vmx/exit.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define PARTS 9

static int setup(void **state)
{
    (void)state;
    fake_vmx_reset();
    fixture_make(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_end();
    return 0;
}

static void expect_enterable(void)
{
    const char *why;
    if (fake_vmx_check(&why) != 0)
        fail_msg("%s", why);
}

/* A state in which no two values are the same, and none as in another with a different seed. */
static struct cpu_state distinct(uint32_t seed)
{
    struct cpu_state s = {.rip = seed + 0x10, .rsp = seed + 0x11, .rflags = 0x202 | (seed & 0x40)};
    for (unsigned i = 0; i < GPR_COUNT; i++)
        if (i != RSP)
            s.gpr[i] = seed + i;
    s.cr0 = 0x80050031 | (seed & 8); /* TS differs */
    s.cr2 = seed + 0x12;
    s.cr3 = (seed + 0x13) * 0x1000ull;
    s.cr4 = 0x20 | (seed & 0x80); /* PGE differs */
    s.efer = 0xd00 | (seed & 1);
    for (unsigned i = 0; i < 4; i++) {
        s.pdpte[i] = (seed + 0x20 + i) * 0x1000ull + 1;
        s.dr[i] = seed + 0x30 + i;
    }
    for (unsigned i = 0; i < STATE_SEGMENT_COUNT; i++)
        s.segment[i] = (struct cpu_segment){(uint16_t)(seed + 8 * i), seed + 0x40 + i,
                                            seed + 0x50 + i, seed + 0x60 + i};
    s.gdtr = (struct cpu_table_register){seed + 0x70, (uint16_t)(seed + 0x71)};
    s.idtr = (struct cpu_table_register){seed + 0x72, (uint16_t)(seed + 0x73)};
    s.dr6 = seed + 0x74, s.dr7 = seed + 0x75, s.debugctl = seed + 0x76;
    s.pat = seed + 0x77, s.sysenter_cs = seed + 0x78, s.sysenter_esp = seed + 0x79;
    s.sysenter_eip = seed + 0x7a, s.interruptibility = seed & 8, s.pending_debug = seed + 0x7b;
    return s;
}

#define A 0x10000u
#define B (0x20c9u + 0x30000u)
#define C 0x70000u /* what is nowhere but in the struct that is read into */

/* The fields of a VMCS that each part is, from first on. */
static const struct {
    unsigned part;
    enum vmcs_field first;
    unsigned count;
} fields_of[] = {
    {STATE_IP, VMCS_GUEST_RSP, 3},
    {STATE_CONTROL, VMCS_GUEST_CR0, 3},
    {STATE_CONTROL, VMCS_CTRL_CR0_SHADOW, 2},
    {STATE_CONTROL, VMCS_GUEST_EFER, 1},
    {STATE_CONTROL, VMCS_GUEST_PDPTE0, 4},
    {STATE_SEGMENTS, VMCS_GUEST_ES, 8},
    {STATE_SEGMENTS, VMCS_GUEST_ES_LIMIT, 8},
    {STATE_SEGMENTS, VMCS_GUEST_ES_ACCESS, 8},
    {STATE_SEGMENTS, VMCS_GUEST_ES_BASE, 8},
    {STATE_TABLES, VMCS_GUEST_GDTR_LIMIT, 2},
    {STATE_TABLES, VMCS_GUEST_GDTR_BASE, 2},
    {STATE_DEBUG, VMCS_GUEST_DR7, 1},
    {STATE_DEBUG, VMCS_GUEST_DEBUGCTL, 1},
    {STATE_MSRS, VMCS_GUEST_PAT, 1},
    {STATE_MSRS, VMCS_GUEST_SYSENTER_CS, 1},
    {STATE_MSRS, VMCS_GUEST_SYSENTER_ESP, 2},
    {STATE_EVENTS, VMCS_GUEST_INTERRUPTIBILITY, 1},
    {STATE_EVENTS, VMCS_GUEST_PENDING_DEBUG, 1},
};

static unsigned part_of(uint32_t field)
{
    for (size_t i = 0; i < sizeof(fields_of) / sizeof(fields_of[0]); i++)
        if (field - fields_of[i].first < 2 * fields_of[i].count)
            return fields_of[i].part;
    return 0;
}

/* What struct cpu_state has of a part. */
static void copy_part(struct cpu_state *to, const struct cpu_state *from, unsigned part)
{
    switch (part) {
    case STATE_GPRS:
        for (unsigned i = 0; i < GPR_COUNT; i++)
            if (i != RSP)
                to->gpr[i] = from->gpr[i];
        break;
    case STATE_IP: to->rip = from->rip, to->rsp = from->rsp, to->rflags = from->rflags; break;
    case STATE_CONTROL:
        to->cr0 = from->cr0, to->cr3 = from->cr3, to->cr4 = from->cr4, to->efer = from->efer;
        memcpy(to->pdpte, from->pdpte, sizeof(to->pdpte));
        break;
    case STATE_SEGMENTS: memcpy(to->segment, from->segment, sizeof(to->segment)); break;
    case STATE_TABLES: to->gdtr = from->gdtr, to->idtr = from->idtr; break;
    case STATE_DEBUG:
        memcpy(to->dr, from->dr, sizeof(to->dr));
        to->dr6 = from->dr6, to->dr7 = from->dr7, to->debugctl = from->debugctl;
        break;
    case STATE_MSRS:
        to->pat = from->pat, to->sysenter_cs = from->sysenter_cs;
        to->sysenter_esp = from->sysenter_esp, to->sysenter_eip = from->sysenter_eip;
        break;
    case STATE_EVENTS:
        to->interruptibility = from->interruptibility;
        to->pending_debug = from->pending_debug;
        break;
    case STATE_CR2: to->cr2 = from->cr2; break;
    default: fail();
    }
}

static void expect_same(const struct cpu_state *got, const struct cpu_state *expected)
{
    assert_memory_equal(got, expected, sizeof(*got));
}

static struct cpu_state get_all(void)
{
    struct cpu_state s;
    memset(&s, 0, sizeof(s));
    vmx_get_state(fixture_vcpu(), STATE_ALL, &s);
    return s;
}

/* Nothing but its own is in the CPU when a part is written. */
static void expect_only(unsigned part, const uint64_t *before)
{
    const uint64_t *now = fake_vmx_fields();
    for (uint32_t f = 0; f < FAKE_VMX_FIELDS; f += 2)
        if ((now[f] != before[f]) != (part_of(f) == part && part_of(f) != 0))
            fail_msg("part 0x%x, %s: 0x%lx, was 0x%lx", part, vmcs_field_name(f), now[f],
                     before[f]);
}

static void test_each_part_alone(void **state)
{
    (void)state;
    static uint64_t before[FAKE_VMX_FIELDS];
    const struct cpu_state a = distinct(A), b = distinct(B);
    for (unsigned n = 0; n < PARTS; n++) {
        const unsigned part = 1u << n;
        vmx_set_state(fixture_vcpu(), STATE_ALL, &a);
        memcpy(before, fake_vmx_fields(), sizeof(before));
        vmx_set_state(fixture_vcpu(), part, &b);
        expect_only(part, before);
        struct cpu_state mixed = a, got = get_all();
        copy_part(&mixed, &b, part);
        expect_same(&got, &mixed);
        /* Reading a part writes nothing else of the struct. */
        struct cpu_state read = distinct(C), expected = read;
        copy_part(&expected, &b, part);
        vmx_get_state(fixture_vcpu(), part, &read);
        expect_same(&read, &expected);
    }
    assert_int_equal(STATE_ALL, (1u << PARTS) - 1);
}

static void test_all_parts_come_back(void **state)
{
    (void)state;
    const struct cpu_state a = distinct(A), b = distinct(B);
    for (unsigned parts = 0; parts <= STATE_ALL; parts++) {
        struct cpu_state mixed = a, read = distinct(C), expected = read;
        vmx_set_state(fixture_vcpu(), STATE_ALL, &a);
        vmx_set_state(fixture_vcpu(), parts, &b);
        for (unsigned n = 0; n < PARTS; n++) {
            if ((parts >> n & 1) != 0) {
                copy_part(&mixed, &b, 1u << n);
                copy_part(&expected, &b, 1u << n);
            }
        }
        const struct cpu_state got = get_all();
        expect_same(&got, &mixed);
        vmx_get_state(fixture_vcpu(), parts, &read);
        expect_same(&read, &expected);
    }
}

/* RSP is the VMCS's: the slot in struct guest_regs is the emulator's. */
static void test_rsp_has_one_place(void **state)
{
    (void)state;
    struct cpu_state a = distinct(A);
    fixture_vcpu()->regs.gpr[RSP] = 0x1234;
    vmx_set_state(fixture_vcpu(), STATE_ALL, &a);
    assert_int_equal(fixture_vcpu()->regs.gpr[RSP], 0x1234);
    assert_int_equal(vmread(VMCS_GUEST_RSP), a.rsp);
}

static void test_segments_in_order(void **state)
{
    (void)state;
    static const enum vmcs_field selector[] = {VMCS_GUEST_ES,   VMCS_GUEST_CS, VMCS_GUEST_SS,
                                               VMCS_GUEST_DS,   VMCS_GUEST_FS, VMCS_GUEST_GS,
                                               VMCS_GUEST_LDTR, VMCS_GUEST_TR};
    static const enum vmcs_field base[] = {
        VMCS_GUEST_ES_BASE, VMCS_GUEST_CS_BASE, VMCS_GUEST_SS_BASE,   VMCS_GUEST_DS_BASE,
        VMCS_GUEST_FS_BASE, VMCS_GUEST_GS_BASE, VMCS_GUEST_LDTR_BASE, VMCS_GUEST_TR_BASE};
    struct cpu_state s = distinct(A);
    s.es.selector = 0xe5, s.cs.selector = 0xc5, s.ss.selector = 0x55, s.ds.selector = 0xd5;
    s.fs.selector = 0xf5, s.gs.selector = 0x65, s.ldtr.selector = 0x1d, s.tr.selector = 0x74;
    vmx_set_state(fixture_vcpu(), STATE_SEGMENTS, &s);
    static const uint16_t expected[] = {0xe5, 0xc5, 0x55, 0xd5, 0xf5, 0x65, 0x1d, 0x74};
    for (unsigned i = 0; i < STATE_SEGMENT_COUNT; i++) {
        struct cpu_segment one;
        vmx_get_segment(fixture_vcpu(), i, &one);
        assert_int_equal(vmread(selector[i]), expected[i]);
        assert_int_equal(one.selector, expected[i]);
        assert_int_equal(one.base, vmread(base[i]));
        assert_int_equal(one.access, s.segment[i].access);
        assert_int_equal(one.limit, s.segment[i].limit);
    }
    assert_int_equal(STATE_TR, 7);
}

/* The guest reads what it has written; the CPU runs with what VMX and the host ask for. */
static void test_control_registers(void **state)
{
    (void)state;
    struct cpu_state s = cpu_state_protected_mode(0x1000);
    s.cr0 = 0x60000011; /* CD, NW; no NE */
    s.cr4 = 0x10;
    vmx_set_state(fixture_vcpu(), STATE_CONTROL, &s);
    assert_int_equal(vmread(VMCS_GUEST_CR0), 0x31); /* NE, and the caches on */
    assert_int_equal(vmread(VMCS_GUEST_CR4), 0x2050);
    assert_int_equal(vmx_guest_cr0(), 0x60000011);
    assert_int_equal(vmx_guest_cr4(&fixture.vm), 0x10);
    assert_int_equal(vmread(VMCS_CTRL_CR0_MASK), CR0_HOST_OWNED);
    assert_int_equal(CR0_HOST_OWNED & CR0_ET, 0); /* 1 in each CPU: a write of 0 is no change */
    assert_int_equal(vmread(VMCS_CTRL_CR4_MASK) & (CR4_MCE | CR4_VMXE), CR4_MCE | CR4_VMXE);
    assert_int_equal(vmread(VMCS_CTRL_CR4_MASK) & (CR4_PGE | CR4_PAE | CR4_SMEP), 0);
    /* What the guest owns it changes without an exit, and the shadow says nothing of it. */
    fake_vmx_set(VMCS_GUEST_CR0, vmread(VMCS_GUEST_CR0) | CR0_TS | CR0_WP);
    fake_vmx_set(VMCS_GUEST_CR4, vmread(VMCS_GUEST_CR4) | CR4_PGE);
    assert_int_equal(vmx_guest_cr0(), 0x60010019);
    assert_int_equal(vmx_guest_cr4(&fixture.vm), 0x90);
    vmx_set_cr4(CR4_MCE);
    assert_int_equal(vmx_guest_cr4(&fixture.vm), CR4_MCE);
}

static void test_efer_and_entry_control(void **state)
{
    (void)state;
    const uint64_t entry = vmread(VMCS_CTRL_ENTRY);
    assert_int_equal(entry & ENTRY_IA32E_GUEST, 0);
    vmx_set_efer(EFER_LME);
    assert_int_equal(vmread(VMCS_CTRL_ENTRY), entry);
    vmx_set_efer(EFER_LME | EFER_LMA | EFER_NXE);
    assert_int_equal(vmread(VMCS_CTRL_ENTRY), entry | ENTRY_IA32E_GUEST);
    assert_int_equal(vmread(VMCS_GUEST_EFER), EFER_LME | EFER_LMA | EFER_NXE);
    vmx_set_efer(0);
    assert_int_equal(vmread(VMCS_CTRL_ENTRY), entry);
}

/* Whoever writes CR3 or paging bits by software does what the MOV would have done. */
static void test_control_drops_translations(void **state)
{
    (void)state;
    struct cpu_state s = distinct(A);
    fake_vmx.invvpids = 0;
    vmx_set_state(fixture_vcpu(), STATE_ALL & ~STATE_CONTROL, &s);
    assert_int_equal(fake_vmx.invvpids, 0);
    vmx_set_state(fixture_vcpu(), STATE_CONTROL, &s);
    assert_int_equal(fake_vmx.invvpids, 1);
    assert_int_equal(fake_vmx.invvpid_of, fixture.v.vpid);
    fixture.v.proc2 &= ~PROC2_VPID; /* then each entry does */
    vmx_set_state(fixture_vcpu(), STATE_CONTROL, &s);
    assert_int_equal(fake_vmx.invvpids, 1);
}

/* What a hypercall has changed of the page tables, for one address, as far as the CPU can. */
static void test_one_translation(void **state)
{
    (void)state;
    fake_vmx.caps.ept_vpid |= EPTCAP_INVVPID_ADDRESS;
    fake_vmx.invvpids = 0;
    vmx_invalidate(fixture_vcpu(), gva(0xffff800012345000));
    assert_int_equal(fake_vmx.invvpids, 1);
    assert_int_equal(fake_vmx.invvpid_of, fixture.v.vpid);
    assert_int_equal(fake_vmx.invvpid_at, 0xffff800012345000);
    vmx_invalidate(fixture_vcpu(), gva(1ull << 50)); /* of 57 bits: all are dropped */
    assert_int_equal(fake_vmx.invvpid_at, 0);
    fake_vmx.caps.ept_vpid &= ~EPTCAP_INVVPID_ADDRESS;
    vmx_invalidate(fixture_vcpu(), gva(0x5000));
    assert_int_equal(fake_vmx.invvpids, 3);
    assert_int_equal(fake_vmx.invvpid_at, 0);
    fixture.v.proc2 &= ~PROC2_VPID; /* then each entry does */
    fake_vmx.caps.ept_vpid |= EPTCAP_INVVPID_ADDRESS;
    vmx_invalidate(fixture_vcpu(), gva(0x5000));
    assert_int_equal(fake_vmx.invvpids, 3);
}

static void expect_view(enum insn_mode mode, uint64_t cs_base)
{
    struct emulate_context ctx = {.cs_base = 0, .changed = true, .debug_hits = 1, .expected = 1};
    vmx_view(fixture_vcpu(), &ctx);
    assert_int_equal(ctx.mode, mode);
    assert_int_equal(ctx.cs_base, cs_base);
    assert_ptr_equal(ctx.vcpu, fixture_vcpu());
    assert_false(ctx.changed || ctx.debug_hits != 0 || ctx.expected != 0);
    assert_int_equal(ctx.paging.phys_bits, 39);
}

static void test_view(void **state)
{
    (void)state;
    struct emulate_context ctx;
    struct cpu_state s = cpu_state_long_mode(0x7000, 0x5000);
    s.rflags = 0x40202, s.dr7 = 0x401;
    s.ss.access |= 3 << 5;
    vmx_set_state(fixture_vcpu(), STATE_ALL, &s);
    expect_view(INSN_64, 0);
    vmx_view(fixture_vcpu(), &ctx);
    assert_int_equal(ctx.paging.cpl, 3);
    assert_int_equal(ctx.paging.cr3, 0x5000);
    assert_int_equal(ctx.paging.rflags, 0x40202);
    assert_int_equal(ctx.rip, 0x7000);
    assert_int_equal(ctx.dr7, 0x401);

    s.cs.access = SEGMENT_CODE32; /* compatibility mode */
    s.cs.base = 0x30000;
    vmx_set_state(fixture_vcpu(), STATE_SEGMENTS, &s);
    expect_view(INSN_32, 0x30000);
    s = cpu_state_real_mode(0x7c00);
    s.cs.base = 0x12340;
    vmx_set_state(fixture_vcpu(), STATE_ALL, &s);
    expect_view(INSN_16, 0x12340);

    s = cpu_state_protected_mode(0x7c00); /* PAE paging: the PDPTE registers count */
    s.cr0 |= CR0_PG, s.cr4 = CR4_PAE, s.cs.access |= 1 << 13; /* L is nothing outside long mode */
    for (unsigned i = 0; i < 4; i++)
        s.pdpte[i] = 0x1001 * (i + 1);
    vmx_set_state(fixture_vcpu(), STATE_ALL, &s);
    expect_view(INSN_32, 0);
    vmx_view(fixture_vcpu(), &ctx);
    assert_ptr_equal(ctx.paging.pdpte, ctx.pdpte);
    assert_int_equal(ctx.pdpte[3], 0x4004);

    s = cpu_state_long_mode(0x7000, 0x5000);
    s.cr4 |= CR4_PKE;
    fake_vmx.pkru = 0x55555554;
    vmx_set_state(fixture_vcpu(), STATE_ALL, &s);
    vmx_view(fixture_vcpu(), &ctx);
    assert_int_equal(ctx.paging.pkru, 0x55555554);
}

/* The modes that loaders and resets begin in, on a CPU with all that Nadir uses, and on the least
 * that it runs on. */
static void expect_modes_enterable(void)
{
    const struct cpu_state states[] = {
        cpu_state_reset(0x50654),
        cpu_state_real_mode(0x7c00),
        cpu_state_protected_mode(0x100000),
        cpu_state_long_mode(0x100000, 0x9000),
    };
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        vmx_set_state(fixture_vcpu(), STATE_ALL, &states[i]);
        expect_enterable();
        struct cpu_state got = get_all();
        assert_int_equal(got.cr0, states[i].cr0);
        assert_int_equal(got.cr4, states[i].cr4);
    }
    struct cpu_state wrong = cpu_state_protected_mode(0x100000);
    wrong.tr.access = SEGMENT_UNUSABLE;
    const char *why;
    vmx_set_state(fixture_vcpu(), STATE_ALL, &wrong);
    assert_true(fake_vmx_check(&why) > 0);
    assert_string_not_equal(why, "");
}

static void test_new_vmcs(void **state)
{
    (void)state;
    expect_modes_enterable();
    assert_int_equal(vmread(VMCS_CTRL_PIN), 0x16 | PIN_EXTERNAL_INTERRUPT_EXITING |
                                                PIN_NMI_EXITING | PIN_VIRTUAL_NMIS |
                                                PIN_PREEMPTION_TIMER | PIN_POSTED_INTERRUPTS);
    assert_int_equal(vmread(VMCS_CTRL_POSTED_VECTOR), VECTOR_POSTED);
    assert_int_equal(vmread(VMCS_CTRL_VPID), 1);
    assert_int_equal(vmread(VMCS_CTRL_EXCEPTION_BITMAP), 1u << 1 | 1u << 16 | 1u << 17 | 1u << 18);
    assert_int_equal(vmread(VMCS_HOST_CR3), fake_vmx.cr3);
    assert_int_equal(vmread(VMCS_HOST_CR0), fake_vmx.cr0);
    assert_int_equal(vmread(VMCS_HOST_CR4), fake_vmx.cr4);
    assert_int_equal(vmread(VMCS_HOST_GS_BASE), (uint64_t)&fake_vmx.cpu);
    assert_int_equal(vmread(VMCS_HOST_GDTR_BASE), 0xffffffff80001000);
    assert_int_equal(vmread(VMCS_HOST_IDTR_BASE), 0xffffffff80002000);
    assert_int_equal(vmread(VMCS_HOST_TR), DESC_TSS);
}

static void test_least_cpu(void **state)
{
    (void)state;
    struct vmx_caps *caps = &fake_vmx.caps;
    fake_vmx_reset();
    caps->pin.may_be_1 = 0x3f;
    caps->proc.may_be_1 &= ~PROC_MONITOR_TRAP;
    caps->proc2.may_be_1 = PROC2_EPT | PROC2_UNRESTRICTED_GUEST;
    caps->ept_vpid &= ~(EPTCAP_INVVPID | EPTCAP_INVVPID_SINGLE | EPTCAP_INVVPID_ALL);
    fixture_make(false);
    expect_modes_enterable();
    assert_int_equal(vmread(VMCS_CTRL_PROC2), PROC2_EPT | PROC2_UNRESTRICTED_GUEST);
    assert_false(fixture.v.vcpu.posting);
    /* No monitor trap flag: stepping is refused, switching it off is not. */
    assert_false(vmx_step(fixture_vcpu(), true));
    assert_true(vmx_step(fixture_vcpu(), false));
    assert_false(vmx_set_debug(fixture_vcpu(), DEBUG_STEP));
    assert_true(vmx_set_debug(fixture_vcpu(), DEBUG_BREAKPOINT));
}

static int make_least(void **state)
{
    (void)state; /* the test makes its own */
    return 0;
}

static void test_stepping_controls(void **state)
{
    (void)state;
    const uint64_t proc = vmread(VMCS_CTRL_PROC), exceptions = vmread(VMCS_CTRL_EXCEPTION_BITMAP);
    assert_true(vmx_step(fixture_vcpu(), true));
    assert_int_equal(vmread(VMCS_CTRL_PROC), proc | PROC_MONITOR_TRAP);
    assert_true(vmx_set_debug(fixture_vcpu(), DEBUG_STEP | DEBUG_BREAKPOINT));
    assert_int_equal(vmread(VMCS_CTRL_EXCEPTION_BITMAP), exceptions | 1u << VECTOR_BREAKPOINT);
    assert_true(vmx_step(fixture_vcpu(), false)); /* the debugger still steps */
    assert_int_equal(vmread(VMCS_CTRL_PROC), proc | PROC_MONITOR_TRAP);
    assert_true(vmx_set_debug(fixture_vcpu(), 0));
    assert_int_equal(vmread(VMCS_CTRL_PROC), proc);
    assert_int_equal(vmread(VMCS_CTRL_EXCEPTION_BITMAP), exceptions);
}

/* The page is this vCPU's alone, and gone with the step. */
static void test_shown_page(void **state)
{
    (void)state;
    hpa_t page, host;
    struct vmx_vm *own = vmx_vm(&fixture.vm);
    const uint64_t eptp = vmread(VMCS_CTRL_EPTP), used = page_alloc_used_by_hypervisor();
    assert_int_equal(page_alloc(1, 1, &page), OK);
    assert_int_equal(eptp & ~0xfffull, own->ept.root.v);
    assert_int_equal(vmx_show(fixture_vcpu(), gpa(0xfec00000), page, MAP_RWX), OK);
    assert_true(vmx_step(fixture_vcpu(), true));
    const struct ept view = {.root = hpa(vmread(VMCS_CTRL_EPTP) & ~0xfffull)};
    assert_int_equal(vmread(VMCS_CTRL_EPTP) & 0xfff, eptp & 0xfff);
    assert_true(ept_lookup(&view, gpa(0xfec00000), &host, NULL));
    assert_int_equal(host.v, page.v);
    assert_true(ept_lookup(&view, gpa(0x1000), NULL, NULL));
    assert_false(ept_lookup(&own->ept, gpa(0xfec00000), NULL, NULL));
    assert_true(vmx_step(fixture_vcpu(), false));
    assert_int_equal(vmread(VMCS_CTRL_EPTP), eptp);
    page_free(page, 1);
    assert_int_equal(page_alloc_used_by_hypervisor(), used);
}

/* An MSR's bit in the bitmap: an exit for reads or writes. */
static bool exits(uint32_t msr, bool write)
{
    const uint8_t *bitmap = hpa_to_ptr(fixture.v.msr_bitmap);
    const uint32_t at = (msr & 0x1fff) / 8 + (msr >= 0xc0000000 ? 1024 : 0) + (write ? 2048 : 0);
    return (bitmap[at] >> (msr & 7) & 1) != 0;
}

static void test_msr_bitmap(void **state)
{
    (void)state;
    assert_false(exits(MSR_IA32_FS_BASE, false) || exits(MSR_IA32_FS_BASE, true));
    assert_false(exits(MSR_IA32_LSTAR, false) || exits(MSR_IA32_LSTAR, true));
    assert_false(exits(MSR_IA32_EFER, false));
    assert_true(exits(MSR_IA32_EFER, true));
    assert_false(exits(MSR_IA32_TIME_STAMP_COUNTER, false));
    assert_true(exits(MSR_IA32_TIME_STAMP_COUNTER, true));
    assert_false(exits(MSR_IA32_TSC_AUX, true));
    assert_true(exits(MSR_IA32_DEBUGCTL, false) && exits(MSR_IA32_APIC_BASE, true));
    unsigned open = 0;
    for (uint32_t i = 0; i < 0x2000; i++)
        for (unsigned write = 0; write < 2; write++)
            open += !exits(i, write) + !exits(0xc0000000 + i, write);
    assert_int_equal(open, 2 * 12 + 2); /* TSC_AUX included; EFER and TSC for reads */
}

/* The local APIC's modes: as registers in memory, as MSRs, switched off or moved. */
static void test_apic_modes(void **state)
{
    (void)state;
    const uint32_t all = PROC2_VIRTUALIZE_APIC_ACCESSES | PROC2_VIRTUALIZE_X2APIC |
                         PROC2_APIC_REGISTER_VIRTUALIZATION | PROC2_VIRTUAL_INTERRUPT_DELIVERY;
    const uint32_t registers =
        PROC2_APIC_REGISTER_VIRTUALIZATION | PROC2_VIRTUAL_INTERRUPT_DELIVERY;
    struct vlapic *apic = &fixture_vcpu()->apic;
    assert_int_equal(vmread(VMCS_CTRL_PROC2) & all, registers | PROC2_VIRTUALIZE_APIC_ACCESSES);
    assert_true(exits(0x808, true) && exits(0x802, false));
    const unsigned invepts = fake_vmx.invepts;

    assert_true(vlapic_write_base(apic, 0xfee00d00));
    vmx_apic_changed(fixture_vcpu());
    assert_int_equal(vmread(VMCS_CTRL_PROC2) & all, registers | PROC2_VIRTUALIZE_X2APIC);
    assert_false(exits(0x808, true) || exits(0x80b, true) || exits(0x83f, true));
    assert_false(exits(0x802, false) || exits(0x828, false));
    assert_true(exits(0x830, true));  /* ICR: other CPUs are to be told */
    assert_true(exits(0x839, false)); /* the current count runs */
    assert_true(exits(0x802, true) && exits(0x80b, false) && exits(0x80e, false));
    assert_true(fake_vmx.invepts > invepts);
    expect_enterable();

    assert_true(vlapic_write_base(apic, 0xfee00100)); /* off */
    vmx_apic_changed(fixture_vcpu());
    assert_int_equal(vmread(VMCS_CTRL_PROC2) & all, PROC2_VIRTUAL_INTERRUPT_DELIVERY);
    assert_true(exits(0x808, true) && exits(0x802, false));
    assert_true(vlapic_write_base(apic, 0xfec10900)); /* elsewhere */
    vmx_apic_changed(fixture_vcpu());
    assert_int_equal(vmread(VMCS_CTRL_PROC2) & all, PROC2_VIRTUAL_INTERRUPT_DELIVERY);
    expect_enterable();
    assert_true(vlapic_write_base(apic, 0xfee00900));
    vmx_apic_changed(fixture_vcpu());
    assert_int_equal(vmread(VMCS_CTRL_PROC2) & all, registers | PROC2_VIRTUALIZE_APIC_ACCESSES);
    assert_int_equal(fixture.vm.end, VM_RUNS);
}

/* The fake's own rules. */

static bool is_refused(void (*attempt)(void))
{
    jmp_buf escape;
    fake_vmx.escape = &escape;
    const bool refused = setjmp(escape) != 0;
    if (!refused)
        attempt();
    fake_vmx.escape = NULL;
    return refused;
}

static void write_exit_reason(void)
{
    vmwrite(VMCS_EXIT_REASON, 0);
}

static void write_qualification(void)
{
    vmwrite(VMCS_EXIT_QUALIFICATION, 0);
}

static void read_unknown(void)
{
    (void)vmread((enum vmcs_field)0x6f00);
}

static void read_encls(void)
{
    (void)vmread(VMCS_CTRL_ENCLS_EXITING);
}

static void read_rip(void)
{
    (void)vmread(VMCS_GUEST_RIP);
}

static void test_fake_fields(void **state)
{
    (void)state;
    vmwrite(VMCS_GUEST_CS, 0x12345);
    vmwrite(VMCS_GUEST_CS_LIMIT, 0x123456789);
    vmwrite(VMCS_GUEST_PAT, UINT64_MAX);
    vmwrite(VMCS_GUEST_RIP, 0xfedcba9876543210);
    assert_int_equal(vmread(VMCS_GUEST_CS), 0x2345);
    assert_int_equal(vmread(VMCS_GUEST_CS_LIMIT), 0x23456789);
    assert_int_equal(vmread(VMCS_GUEST_PAT), UINT64_MAX);
    assert_int_equal(vmread(VMCS_GUEST_RIP), 0xfedcba9876543210);
    assert_true(is_refused(write_exit_reason));
    assert_true(is_refused(write_qualification));
    assert_true(is_refused(read_unknown));
    assert_true(is_refused(read_encls) ==
                !control_allowed(fake_vmx.caps.proc2, PROC2_ENCLS_EXITING));
    fake_vmx_set(VMCS_EXIT_REASON, 0x180000000);
    assert_int_equal(vmread(VMCS_EXIT_REASON), 0x80000000);
}

static void test_fake_regions(void **state)
{
    (void)state;
    const hpa_t first = fixture.v.vmcs, second = ptr_to_hpa(fixture.ram);
    const uint32_t revision = vmx_revision(&fake_vmx.caps);
    vmwrite(VMCS_GUEST_RIP, 1);
    assert_false(vmptrld(second)); /* not cleared */
    assert_true(vmclear(second));
    memcpy(fixture.ram, "\xff\xff\xff", 4);
    assert_false(vmptrld(second)); /* another revision */
    memcpy(fixture.ram, &revision, 4);
    assert_true(vmptrld(second));
    vmwrite(VMCS_GUEST_RIP, 2);
    assert_true(vmptrld(first));
    assert_int_equal(vmread(VMCS_GUEST_RIP), 1);
    assert_true(vmclear(first));
    assert_true(is_refused(read_rip)); /* none is current */
    assert_true(vmptrld(second));
    assert_int_equal(vmread(VMCS_GUEST_RIP), 2);
    assert_false(vmclear(hpa(0x1008)));
    assert_false(vmxon(first)); /* it is on */
    assert_false(invvpid(INVALIDATE_SINGLE, 0, 0));
    vmxoff();
    assert_false(vmptrld(first));
    assert_true(vmxon(first));
    assert_true(vmptrld(first));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fake_fields),
        TEST(test_fake_regions),
        TEST(test_each_part_alone),
        TEST(test_all_parts_come_back),
        TEST(test_rsp_has_one_place),
        TEST(test_segments_in_order),
        TEST(test_control_registers),
        TEST(test_efer_and_entry_control),
        TEST(test_control_drops_translations),
        TEST(test_one_translation),
        TEST(test_view),
        TEST(test_new_vmcs),
        cmocka_unit_test_setup_teardown(test_least_cpu, make_least, teardown),
        TEST(test_stepping_controls),
        TEST(test_shown_page),
        TEST(test_msr_bitmap),
        TEST(test_apic_modes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
