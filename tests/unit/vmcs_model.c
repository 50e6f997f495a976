/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes up guest states and exits. What a real CPU guarantees of both is guaranteed here. */
#include "tests/unit/vmcs_model.h"

#include "arch/fault.h"
#include "guest/cpu/control.h"
#include "guest/pc/cpuid_policy.h"
#include "guest/pc/msr_policy.h"
#include "guest/vm/step.h"
#include "tests/unit/vmx_fixture.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/vmcs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The guest's memory. */
enum { PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PD32 = 0x7000, GDT = 0x8000, CODE = 0x10000 };
#define ROM     0xf0000ull
#define MMIO    0xfed00000ull
#define IOAPIC  0xfec00000ull
#define NOTHING 0xd0000000ull

#define RFLAGS_ANY    0x3d7cd5ull /* what may be 1, without IF, VM and TF */
#define PENDING_MATCH 0x1001ull
#define UNDEFINED_BIT (1u << 12)
#define ERROR_VECTORS 0x227d00u /* exceptions that have an error code */

enum mode { REAL, PROTECTED, PAGED, PAE, VIRTUAL_8086, COMPATIBILITY, LONG, MODES };

static struct vcpu *const vcpu = &fixture.v.vcpu;
static struct vm *const vm = &fixture.vm;
static struct msr_policy msrs;
static enum mode mode;
static unsigned cpl;
static const char *made;

/* Choices: the data's bytes while there are any. */
static struct {
    const uint8_t *data;
    size_t left;
    uint64_t state;
} choice;

static uint64_t any(void)
{
    uint64_t bits = 0;
    if (choice.left >= 8) {
        memcpy(&bits, choice.data, 8);
        choice.data += 8;
        choice.left -= 8;
        return bits;
    }
    choice.state += 0x9e3779b97f4a7c15;
    bits = (choice.state ^ choice.state >> 30) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
    return bits ^ bits >> 31;
}

static unsigned below(unsigned n)
{
    if (choice.left > 0) {
        choice.left--;
        return *choice.data++ % n;
    }
    return (unsigned)((any() >> 32) % n);
}

static bool once_in(unsigned n)
{
    return below(n) == 0;
}

static uint64_t canonical(void)
{
    return (uint64_t)((int64_t)(any() << 16 >> below(47)) >> 16);
}

static uint64_t in_ram(void)
{
    return any() % FIXTURE_RAM;
}

/* A CPU of the kind that fake_vmx.c is. */
static struct cpuid_regs host_cpuid(uint32_t leaf, uint32_t subleaf)
{
    switch (leaf) {
    case 0: return (struct cpuid_regs){0xd, 0x756e6547, 0x6c65746e, 0x49656e69};
    case 1: return (struct cpuid_regs){0x50654, 0x00100800, 0x7ffefbff, 0xbfebfbff};
    case 7: return (struct cpuid_regs){0, subleaf == 0 ? 0xd39fffeb : 0, 0, 0};
    case 0xd:
        if (subleaf == 0)
            return (struct cpuid_regs){7, 832, 832, 0};
        if (subleaf == 1)
            return (struct cpuid_regs){0xf, 832, 0, 0};
        return subleaf == 2 ? (struct cpuid_regs){256, 576, 0, 0} : (struct cpuid_regs){0};
    case 0x80000000: return (struct cpuid_regs){0x80000008, 0, 0, 0};
    case 0x80000001: return (struct cpuid_regs){0, 0, 0x121, 0x2c100800};
    case 0x80000008: return (struct cpuid_regs){0x3027, 0, 0, 0};
    default: return (struct cpuid_regs){0};
    }
}

static uint64_t read_mmio(void *dev, gpa_t at, unsigned bytes)
{
    (void)dev, (void)at;
    return any() >> (64 - 8 * bytes);
}

static void write_mmio(void *dev, gpa_t at, unsigned bytes, uint64_t value)
{
    (void)dev, (void)at, (void)bytes, (void)value;
}

static uint32_t read_port(void *dev, uint16_t port, unsigned bytes)
{
    (void)dev, (void)port;
    return (uint32_t)any() >> (32 - 8 * bytes);
}

static unsigned acknowledge_pic(void *pic)
{
    (void)pic;
    return below(256);
}

/* guest/vm/'s functions that are not linked. */

enum exit_action vcpu_hypercall(struct vcpu *of, unsigned level)
{
    return vcpu_return(of, level != 0 ? VMCALL_NOT_PERMITTED : VMCALL_UNKNOWN);
}

void vector_move(void *memory, unsigned which);
void vector_move(void *memory, unsigned which)
{
    (void)which;
    (void)memory;
}

static void demand(bool holds)
{
    if (!holds)
        abort();
}

void vmcs_model_start(bool assisted)
{
    const struct mmio_range mmio = {
        gpa(MMIO), gpa(MMIO + PAGE_SIZE - 1), NULL, read_mmio, write_mmio, NULL};
    const struct mmio_range ioapic = {
        gpa(IOAPIC), gpa(IOAPIC + PAGE_SIZE - 1), NULL, read_mmio, write_mmio, NULL};
    const struct port_range ports = {0x10, 0xff0, 4, NULL, read_port, NULL};
    const struct cpuid_facts facts = {
        .vcpus = 1, .tsc_hz = 2000000000, .rdtscp = true, .invpcid = true, .xsaves = true};
    fake_vmx_reset();
    fake_vmx.tsc_passes = 1000; /* or string instructions would not end */
    fake_vmx.caps.proc2.may_be_1 |= PROC2_BUS_LOCK_DETECTION | PROC2_INSTRUCTION_TIMEOUT;
    fixture_make(assisted);
    demand(bus_add_mmio(&vm->bus, &mmio) == OK && bus_add_mmio(&vm->bus, &ioapic) == OK &&
           bus_add_ports(&vm->bus, &ports) == OK);
    demand(cpuid_policy_build(&vm->cpuid, host_cpuid, &facts) == OK);
    vm->xcr0_allowed = cpuid_policy_xcr0(&vm->cpuid);
    vm->cr4_allowed = control_cr4_allowed(&vm->cpuid) & fake_vmx.caps.cr4_fixed1;
    demand(msr_policy_init(&msrs, &vm->msrs, 1, facts.tsc_hz, 0) == OK && vcpu_msr_open(vm) == OK);
    fixture_make_rom(gpa(ROM));
    demand(vmx_protect(vm, gpa(ROM), FIXTURE_RAM - ROM, MAP_RX) == OK);
    vcpu->apic.pic_acknowledge = acknowledge_pic;
}

void vmcs_model_end(void)
{
    step_destroy(fixture_vcpu());
    fixture_end();
}

const char *vmcs_model_exit(void)
{
    return made;
}

/* All that an earlier run may have changed. */
static void begin_again(void)
{
    struct vmx_vcpu *v = &fixture.v;
    vm->end = VM_RUNS;
    (void)vmx_step(vcpu, false);
    step_done(vcpu);
    v->debug_stops = 0;
    vm->debug_stop = NULL;
    v->tpr_threshold = 0;
    memset(v->eoi_exit, 0, sizeof(v->eoi_exit));
    demand(vlapic_write_base(&vcpu->apic, 0xfee00100) &&
           vlapic_write_base(&vcpu->apic, 0xfee00900));
    vmx_apic_changed(vcpu);
    vlapic_reset(&vcpu->apic, true);
    memset(vcpu->apic.posted, 0, sizeof(*vcpu->apic.posted));
    vcpu->apic.lint0 = false;
    vcpu->event = (struct event){0};
    vcpu->nmis_pending = 0;
    vcpu->activity = ACTIVITY_ACTIVE;
    vcpu->requests = 0;
    vcpu->tsc_offset = vcpu->tsc_adjust = 0;
    vcpu->xcr0 = 1;
    vcpu->misc_enable = MISC_ENABLE_RESET;
    vcpu->memory_seen = vm->memory_changes;
    memset(fixture.ram, 0, FIXTURE_RAM);
    demand(vmclear(v->vmcs) && vmptrld(v->vmcs));
    vmcs_set_controls(v);
    vmcs_set_host();
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, 0);
    fake_vmx_set(VMCS_EXIT_EVENT, 0);
    /* An event that is injected without these is one that no CPU takes. */
    vmwrite(VMCS_CTRL_ENTRY_EVENT_ERROR, UINT32_MAX);
    vmwrite(VMCS_CTRL_ENTRY_EVENT_LENGTH, UINT32_MAX);
}

/* The state. */

static void put64(uint64_t at, uint64_t value)
{
    memcpy(fixture.ram + at, &value, 8);
}

/* 4 GiB, mapped to themselves by large pages, in the three formats; now and then a hole. */
static void fill_tables(void)
{
    const unsigned hole = below(0x600);
    put64(PML4, PDPT | 7);
    for (uint64_t i = 0; i < 4; i++)
        put64(PDPT + 8 * i, (PD + i * PAGE_SIZE) | (mode == PAE ? 1 : 7));
    for (uint64_t i = 0; i < 2048; i++)
        put64(PD + 8 * i, i == hole ? 0 : i << 21 | 0xe7);
    for (uint32_t i = 0; i < 1024; i++) {
        const uint32_t entry = i == hole ? 0 : i << 22 | 0xe7;
        memcpy(fixture.ram + PD32 + 4 * i, &entry, 4);
    }
}

static struct cpu_segment segment(uint16_t selector, uint32_t access, uint32_t limit, uint64_t base)
{
    return (struct cpu_segment){selector, access, limit, base};
}

static struct cpu_segment real_segment(bool code)
{
    const uint16_t selector = (uint16_t)any();
    const bool big = once_in(4); /* left from protected mode */
    return segment(selector,
                   (code && below(2) != 0 ? SEGMENT_CODE16 : SEGMENT_DATA16) | (big ? ACCESS_G : 0),
                   big ? 0xffffffff : 0xffff, (uint64_t)selector << 4);
}

static struct cpu_segment code_segment(void)
{
    uint32_t access = ACCESS_G | 0x99 | (below(2) != 0 ? 2 : 0) | cpl << 5;
    if (cpl != 0 && once_in(4)) /* conforming */
        access = (access & ~0x60u) | 4 | below(cpl + 1) << 5;
    if (mode == LONG)
        access |= ACCESS_L;
    else if (below(2) != 0)
        access |= ACCESS_DB;
    return segment((uint16_t)(8 | cpl), access, 0xffffffff,
                   mode == LONG || below(4) != 0 ? 0 : (uint32_t)any() & ~0xfu);
}

static struct cpu_segment stack_segment(void)
{
    if (mode == LONG && once_in(4))
        return segment((uint16_t)cpl, SEGMENT_UNUSABLE | cpl << 5, 0, 0);
    return segment((uint16_t)(0x10 | cpl), (once_in(8) ? 0xc097u : 0xc093u) | cpl << 5,
                   once_in(4) ? (uint32_t)any() | 0xfff : 0xffffffff,
                   below(4) != 0 ? 0 : (uint32_t)any());
}

static struct cpu_segment data_segment(unsigned number)
{
    static const uint8_t types[] = {0xf1, 0xf3, 0xf5, 0xf7, 0xfb, 0xff};
    if (once_in(3))
        return segment(0, SEGMENT_UNUSABLE, 0, 0);
    const bool wide = mode >= COMPATIBILITY && number >= STATE_FS;
    const uint64_t base = wide ? canonical() : below(4) != 0 ? 0 : (uint32_t)any();
    return segment((uint16_t)(0x18 | cpl), 0xc000u | types[below(6)],
                   once_in(4) ? (uint32_t)any() | 0xfff : 0xffffffff, base);
}

static void choose_segments(struct cpu_state *s)
{
    for (unsigned i = STATE_ES; i <= STATE_GS; i++) {
        const uint16_t selector = (uint16_t)any();
        if (mode == VIRTUAL_8086)
            s->segment[i] = segment(selector, 0xf3, 0xffff, (uint64_t)selector << 4);
        else if (mode == REAL)
            s->segment[i] = real_segment(i == STATE_CS);
        else
            s->segment[i] = i == STATE_CS   ? code_segment()
                            : i == STATE_SS ? stack_segment()
                                            : data_segment(i);
    }
    if (mode == REAL)
        s->ss.access = (s->ss.access & ACCESS_G) | SEGMENT_DATA16;
    const bool long_tss = mode >= COMPATIBILITY;
    s->ldtr = segment(0, once_in(2) ? SEGMENT_UNUSABLE : SEGMENT_LDT, 0xffff, in_ram());
    s->tr = segment(0x28, long_tss || once_in(2) ? 0x8b : 0x83, once_in(2) ? 0x67 : 0xfff,
                    long_tss ? canonical() : in_ram());
    s->gdtr = (struct cpu_table_register){GDT, once_in(2) ? 0xffff : (uint16_t)below(0x100)};
    s->idtr =
        (struct cpu_table_register){long_tss ? canonical() : (uint32_t)any(), (uint16_t)any()};
}

static void choose_control(struct cpu_state *s)
{
    const bool paging = mode >= PAGED && (mode != VIRTUAL_8086 || below(2) != 0);
    s->cr0 = CR0_ET | (any() & (CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM));
    if (once_in(8))
        s->cr0 |= once_in(2) ? CR0_CD : CR0_CD | CR0_NW;
    if (mode != REAL)
        s->cr0 |= CR0_PE;
    if (paging)
        s->cr0 |= CR0_PG;
    s->cr4 = any() & vm->cr4_allowed & ~(CR4_PAE | CR4_PCIDE);
    if (mode == PAE || mode >= COMPATIBILITY || (!paging && below(2) != 0))
        s->cr4 |= CR4_PAE;
    if (mode == PAGED)
        s->cr4 |= CR4_PSE;
    s->efer = once_in(2) ? EFER_NXE | EFER_SCE : 0;
    if (mode >= COMPATIBILITY) {
        s->efer |= EFER_LME | EFER_LMA;
        s->cr4 |= once_in(4) ? CR4_PCIDE & vm->cr4_allowed : 0;
    } else if (!paging && below(2) != 0) {
        s->efer |= EFER_LME;
    }
    s->cr3 = mode >= COMPATIBILITY ? PML4 : mode == PAE ? PDPT : PD32;
    if (mode == PAE)
        memcpy(s->pdpte, fixture.ram + PDPT, sizeof(s->pdpte));
}

/* Behind STI, MOV SS and single steps. */
static void choose_events(struct cpu_state *s)
{
    s->rflags = 2 | (any() & RFLAGS_ANY) | (below(2) != 0 ? RFLAGS_IF : 0);
    s->rflags |= mode == VIRTUAL_8086 ? RFLAGS_VM : 0;
    s->rflags |= once_in(4) ? RFLAGS_TF : 0;
    s->debugctl = once_in(6) ? DEBUGCTL_BTF : 0;
    s->interruptibility = once_in(4) ? BLOCKED_BY_NMI : 0;
    const unsigned shadow = below(4);
    if (shadow == 0 && (s->rflags & RFLAGS_IF) != 0)
        s->interruptibility |= BLOCKED_BY_STI;
    else if (shadow == 1)
        s->interruptibility |= BLOCKED_BY_MOV_SS;
    const bool shadowed = (s->interruptibility & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) != 0;
    const bool steps = (s->rflags & RFLAGS_TF) != 0 && s->debugctl == 0;
    s->pending_debug = once_in(6) ? PENDING_MATCH : 0;
    if (steps && (shadowed || once_in(4)))
        s->pending_debug |= PENDING_DEBUG_BS;
    s->dr6 = DR6_RESET;
    s->dr7 = DR7_RESET | (once_in(3) ? any() & 0xffff23ff : 0);
    for (unsigned i = 0; i < 4; i++)
        s->dr[i] = once_in(2) ? in_ram() : canonical();
}

static void choose_rip(struct cpu_state *s)
{
    s->rip = CODE + below(PAGE_SIZE);
    if (once_in(4))
        s->rip = mode == LONG ? (once_in(2) ? 0x7ffffffffffe : canonical())
                              : (once_in(2) ? 0xfffffffe : (uint32_t)any());
    s->rsp = once_in(4) ? any() : in_ram();
    if (mode != LONG)
        s->rsp = (uint32_t)s->rsp;
}

static void choose_state(void)
{
    struct cpu_state s = {.pat = PAT_RESET_VALUE};
    mode = below(MODES);
    cpl = mode == REAL ? 0 : mode == VIRTUAL_8086 ? 3 : below(2) != 0 ? 0 : below(4);
    fill_tables();
    for (unsigned i = 0; i < GPR_COUNT; i++)
        s.gpr[i] = once_in(3) ? in_ram() : any() >> below(64);
    choose_segments(&s);
    choose_control(&s);
    choose_events(&s);
    choose_rip(&s);
    vmx_set_state(vcpu, STATE_ALL, &s);
}

/* What waits to be delivered. */
static void choose_interrupts(void)
{
    struct vlapic *apic = &vcpu->apic;
    if (once_in(2))
        vlapic_set_virtual_wire(apic);
    if (vcpu->assisted && once_in(4)) {
        demand(vlapic_write_base(apic, 0xfee00d00));
        vmx_apic_changed(vcpu);
    }
    for (unsigned n = below(3); n > 0; n--) {
        const struct vlapic_message m = {.destination = VLAPIC_BROADCAST,
                                         .vector = (uint8_t)(16 + below(240)),
                                         .level = once_in(4)};
        (void)vlapic_take(apic, &m, NULL);
    }
    apic->extint = once_in(8);
    vcpu->nmis_pending = (uint8_t)(once_in(4) ? 1 + below(2) : 0);
    apic->page[APIC_TPR / 4] = once_in(2) ? below(256) : 0;
}

/* The exit. */

static uint64_t field(enum vmcs_field f)
{
    return vmread(f);
}

/* It has come in an event's delivery, which ends shadows; the event was one that could be. */
static void in_delivery(void)
{
    const bool real = (field(VMCS_GUEST_CR0) & CR0_PE) == 0;
    uint32_t info = EVENT_VALID;
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, field(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKED_BY_NMI);
    switch (below(6)) {
    case 0:
        info |= EVENT_INTERRUPT | (16 + below(240));
        vmwrite(VMCS_GUEST_RFLAGS, field(VMCS_GUEST_RFLAGS) | RFLAGS_IF);
        break;
    case 1:
        info |= EVENT_NMI | VECTOR_NMI;
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI);
        break;
    case 2:
    case 3: {
        static const uint8_t vectors[] = {0, 1, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 19};
        const unsigned vector = vectors[below(sizeof(vectors))];
        info |= EVENT_EXCEPTION | vector;
        if (!real && (ERROR_VECTORS >> vector & 1) != 0)
            info |= EVENT_ERROR_CODE;
        fake_vmx_set(VMCS_EXIT_IDT_VECTORING_ERROR, vector == 8 ? 0 : any() & 0x7fff);
        break;
    }
    case 4: info |= EVENT_SOFTWARE_INTERRUPT | below(256); break;
    default:
        info |= once_in(3) ? EVENT_PRIVILEGED_SOFTWARE | VECTOR_DEBUG
                           : EVENT_SOFTWARE_EXCEPTION | (3 + below(2));
        break;
    }
    fake_vmx_set(VMCS_EXIT_IDT_VECTORING, info | (once_in(2) ? UNDEFINED_BIT : 0));
}

static void in_delivery_sometimes(void)
{
    if (once_in(4))
        in_delivery();
}

static uint32_t undefined_bit_of_iret(void)
{
    return once_in(8) ? UNBLOCKED_BY_IRET : 0;
}

/* Each makes one exit and returns its reason, or NO_EXIT where this state has none such. */
#define NO_EXIT UINT32_MAX

static uint32_t make_debug_exception(void)
{
    in_delivery_sometimes();
    if (once_in(4)) {
        fake_vmx_set(VMCS_EXIT_EVENT, EVENT_VALID | EVENT_PRIVILEGED_SOFTWARE | VECTOR_DEBUG);
        fake_vmx_set(VMCS_EXIT_QUALIFICATION, 0);
    } else {
        fake_vmx_set(VMCS_EXIT_EVENT,
                     EVENT_VALID | EVENT_EXCEPTION | VECTOR_DEBUG | undefined_bit_of_iret());
        fake_vmx_set(VMCS_EXIT_QUALIFICATION, any() & 0x600f);
    }
    return REASON_EXCEPTION_OR_NMI;
}

static uint32_t make_alignment_check(void)
{
    if (cpl != 3 || mode == REAL)
        return NO_EXIT;
    in_delivery_sometimes();
    fake_vmx_set(VMCS_EXIT_EVENT, EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE |
                                      VECTOR_ALIGNMENT_CHECK | undefined_bit_of_iret());
    fake_vmx_set(VMCS_EXIT_EVENT_ERROR, below(2));
    return REASON_EXCEPTION_OR_NMI;
}

static uint32_t make_breakpoint(void)
{
    demand(vmx_set_debug(vcpu, DEBUG_BREAKPOINT));
    fake_vmx_set(VMCS_EXIT_EVENT, EVENT_VALID | EVENT_SOFTWARE_EXCEPTION | VECTOR_BREAKPOINT);
    return REASON_EXCEPTION_OR_NMI;
}

static uint32_t make_host_event(void)
{
    in_delivery_sometimes();
    if (once_in(2)) {
        fake_vmx_set(VMCS_EXIT_EVENT, EVENT_VALID | EVENT_INTERRUPT | VECTOR_WAKE);
        return REASON_EXTERNAL_INTERRUPT;
    }
    fake_vmx_set(VMCS_EXIT_EVENT, EVENT_VALID | EVENT_NMI | VECTOR_NMI);
    return REASON_EXCEPTION_OR_NMI;
}

static uint32_t make_nothing(void)
{
    static const uint32_t reasons[] = {REASON_INTERRUPT_WINDOW, REASON_NMI_WINDOW,
                                       REASON_PREEMPTION_TIMER, REASON_MONITOR_TRAP_FLAG};
    return reasons[below(4)];
}

static uint32_t make_hold_up(void)
{
    in_delivery_sometimes();
    fake_vmx_set(VMCS_EXIT_QUALIFICATION, undefined_bit_of_iret());
    return once_in(2) ? REASON_BUS_LOCK : REASON_INSTRUCTION_TIMEOUT;
}

static uint32_t make_simple(void)
{
    static const uint32_t reasons[] = {REASON_RSM,   REASON_VMXON,  REASON_MWAIT,  REASON_MONITOR,
                                       REASON_ENCLS, REASON_RDPMC,  REASON_INVEPT, REASON_INVVPID,
                                       REASON_INVD,  REASON_WBINVD, REASON_PAUSE,  REASON_VMCALL};
    return reasons[below(12)];
}

static uint32_t make_cpuid(void)
{
    vcpu->regs.gpr[RAX] = below(3) != 0 ? below(0x20) : 0x80000000 + below(10);
    vcpu->regs.gpr[RCX] = below(8);
    return REASON_CPUID;
}

static uint32_t make_hlt(void)
{
    return cpl == 0 ? REASON_HLT : NO_EXIT;
}

/* A descriptor of some kind: code, data, TSS, LDT, gates, absent ones. */
static uint64_t descriptor(void)
{
    static const uint8_t access[] = {0x9b, 0x93, 0x89, 0x8b, 0x82, 0xfb, 0xf3, 0x9f,
                                     0x91, 0x12, 0x1a, 0x81, 0x83, 0x9a, 0x92, 0xdb};
    uint64_t d = (any() & 0xff0f00ff0000ffff) | (uint64_t)access[below(16)] << 40;
    d |= (uint64_t)(once_in(2) ? 0xc : below(16)) << 52;
    return once_in(3) ? d : (d | 0xffff) & ~0xff00000000000000;
}

static uint32_t make_task_switch(void)
{
    enum { SLOT = 0x30, TSS = 0x9000 };
    const unsigned source = below(4);
    if (mode == REAL || mode >= COMPATIBILITY || (mode == VIRTUAL_8086 && source != 3))
        return NO_EXIT;
    for (unsigned at = 0; at < 0x100; at += 8)
        put64(GDT + at, descriptor());
    const uint64_t type = (once_in(2) ? 0x89 : 0x81) | (source == 1 ? 2 : 0);
    if (!once_in(4))
        put64(GDT + SLOT, 0x67 | (uint64_t)TSS << 16 | type << 40);
    for (unsigned i = 0; i < 104; i += 8)
        put64(TSS + i, any());
    for (unsigned i = 72; i < 100; i += 4) /* segments of the new task */
        if (!once_in(4))
            put64(TSS + i, below(0x20) << 3 | (once_in(4) ? below(4) : 0));
    if (once_in(2))
        fixture.ram[TSS + 38] &= 0xfd; /* not to virtual-8086 mode */
    fake_vmx_set(VMCS_EXIT_QUALIFICATION,
                 (uint64_t)source << 30 | (once_in(4) ? any() & 0xfff8 : SLOT));
    if (source == 3)
        in_delivery();
    return REASON_TASK_SWITCH;
}

static uint32_t make_cr_access(void)
{
    static const uint64_t flips[] = {CR0_PE, CR0_PG, CR0_PE | CR0_PG, CR0_CD, CR0_CD | CR0_NW};
    if (cpl != 0)
        return NO_EXIT;
    const unsigned cr = once_in(2) ? 0 : 4, reg = below(GPR_COUNT);
    uint64_t value = cr == 0 ? vmx_guest_cr0() : vmx_guest_cr4(vm);
    for (unsigned n = below(4); n > 0; n--)
        value ^= 1ull << (once_in(8) ? below(64) : below(32));
    if (cr == 0 && once_in(2))
        value = vmx_guest_cr0() ^ flips[below(5)];
    if (once_in(8)) { /* LMSW, CLTS */
        fake_vmx_set(VMCS_EXIT_QUALIFICATION, (2 + below(2)) << 4 | below(16) << 16);
        return REASON_CR_ACCESS;
    }
    if (reg == RSP)
        vmwrite(VMCS_GUEST_RSP, mode == LONG ? value : (uint32_t)value);
    vcpu->regs.gpr[reg] = value;
    fake_vmx_set(VMCS_EXIT_QUALIFICATION, cr | reg << 8);
    return REASON_CR_ACCESS;
}

static uint32_t make_xsetbv(void)
{
    vcpu->regs.gpr[RCX] = once_in(8);
    vcpu->regs.gpr[RAX] = below(16);
    vcpu->regs.gpr[RDX] = 0;
    return cpl == 0 ? REASON_XSETBV : NO_EXIT;
}

static uint32_t make_rdmsr(void)
{
    static const uint32_t bases[] = {0, 0x800, 0xc0000080, 0x200, 0x1a0};
    vcpu->regs.gpr[RCX] = bases[below(5)] + below(0x40);
    return cpl == 0 ? REASON_RDMSR : NO_EXIT;
}

static uint32_t make_wrmsr(void)
{
    static const uint32_t msr[] = {0x10,  0x1b,  0x3b,  0x79,  0x1a0, 0x1d9,
                                   0x200, 0x2ff, 0x6e0, 0x808, 0x80b, 0x80f,
                                   0x830, 0x832, 0x838, 0x83f, 0xda0, 0xc0000080};
    uint64_t value = any() >> below(64);
    const uint32_t to = msr[below(18)];
    if (cpl != 0)
        return NO_EXIT;
    switch (to) {
    case 0x1b:
        value = (once_in(2) ? 0xfee00000 : NOTHING + below(64) * PAGE_SIZE) | (value & 0xd00);
        break;
    case 0x1d9: value = below(4); break;
    case 0x830: value = (value & 0xc40ff) | below(5) << 8; break;
    case 0xc0000080: value = field(VMCS_GUEST_EFER) ^ 1ull << below(13); break;
    default: break;
    }
    vcpu->regs.gpr[RCX] = to;
    vcpu->regs.gpr[RAX] = (uint32_t)value;
    vcpu->regs.gpr[RDX] = value >> 32;
    return REASON_WRMSR;
}

static uint32_t make_io(void)
{
    static const uint8_t size[] = {0, 1, 3};
    fake_vmx_set(VMCS_EXIT_QUALIFICATION,
                 size[below(3)] | below(2) << 3 | (uint64_t)below(0x1000) << 16);
    return REASON_IO;
}

static uint32_t make_string_io(void)
{
    static const uint8_t size[] = {0, 1, 3};
    fake_vmx_set(VMCS_EXIT_QUALIFICATION, size[below(3)] | below(2) << 3 | 1u << 4 | below(2) << 5 |
                                              (uint64_t)below(0x1000) << 16);
    fake_vmx_set(VMCS_EXIT_INSTRUCTION_INFO, (below(2) + (mode == LONG ? 1 : 0)) << 7 | below(6)
                                                                                            << 15);
    if (once_in(2))
        vcpu->regs.gpr[RCX] &= 0x3ff;
    return REASON_IO;
}

/* Instructions that the emulator meets, where the code is in RAM. */
static void put_code(uint64_t operand)
{
    static const char *const code[] = {
        "\x8b\x06",     "\x89\x06",         "\xf3\xa5", "\xf3\xaa",
        "\xff\x36",     "\x8f\x06",         "\x01\x06", "\x0f\x7f\x06",
        "\x0f\xc7\x0e", "\xf0\x0f\xb1\x06", "\xd1\x26", "\xa1",
        "\xf0\x8b\x06", "\x66\x0f\x7f\x06", "\xac",     "\x48\x87\x06"};
    const uint64_t base = mode == LONG ? 0 : field(VMCS_GUEST_CS_BASE);
    const uint64_t at = (field(VMCS_GUEST_RIP) + base) % FIXTURE_RAM;
    const char *text = code[below(16)];
    if (at >= CODE && at + 15 < ROM && !once_in(8))
        memcpy(fixture.ram + at, text, strlen(text));
    vcpu->regs.gpr[RSI] = vcpu->regs.gpr[RDI] = operand;
}

static uint32_t make_ept_violation(void)
{
    static const uint64_t places[] = {MMIO, IOAPIC, NOTHING, 0xfee00000, ROM};
    const unsigned place = below(5);
    uint64_t qualification = place == 4 ? 2 : 1ull << below(3);
    if (place == 3 && vcpu->assisted)
        return NO_EXIT;
    qualification |= once_in(8) ? (once_in(2) ? 0x80 : 0) : 0x180;
    const uint64_t address = places[place] + below(PAGE_SIZE);
    if (once_in(8))
        in_delivery();
    fake_vmx_set(VMCS_EXIT_QUALIFICATION, qualification | undefined_bit_of_iret());
    fake_vmx_set(VMCS_EXIT_GUEST_PHYSICAL, address);
    fake_vmx_set(VMCS_EXIT_GUEST_LINEAR, address);
    put_code(address);
    return REASON_EPT_VIOLATION;
}

static uint32_t make_apic_access(void)
{
    if ((field(VMCS_CTRL_PROC2) & PROC2_VIRTUALIZE_APIC_ACCESSES) == 0 || !vcpu->assisted)
        return NO_EXIT;
    uint64_t type = below(3);
    if (once_in(8)) {
        in_delivery();
        type = 3;
    }
    const unsigned offset = below(PAGE_SIZE);
    fake_vmx_set(VMCS_EXIT_QUALIFICATION, offset | type << 12);
    put_code(0xfee00000 + offset);
    return REASON_APIC_ACCESS;
}

static uint32_t make_apic_exit(void)
{
    if (!vcpu->assisted) {
        vcpu->apic.page[APIC_TPR / 4] = below(256);
        return REASON_TPR_BELOW_THRESHOLD;
    }
    const bool write = once_in(2);
    fake_vmx_set(VMCS_EXIT_QUALIFICATION, write ? below(64) << 4 : below(256));
    return write ? REASON_APIC_WRITE : REASON_VIRTUALIZED_EOI;
}

static uint32_t choose_exit(void)
{
    static const struct {
        uint32_t (*make)(void);
        const char *name;
    } exits[] = {
        {make_debug_exception, "#DB"},
        {make_alignment_check, "#AC"},
        {make_breakpoint, "INT3"},
        {make_host_event, "host event"},
        {make_nothing, "no instruction"},
        {make_hold_up, "bus lock or timeout"},
        {make_simple, "simple instruction"},
        {make_cpuid, "CPUID"},
        {make_hlt, "HLT"},
        {make_task_switch, "task switch"},
        {make_task_switch, "task switch"},
        {make_cr_access, "CR access"},
        {make_cr_access, "CR access"},
        {make_xsetbv, "XSETBV"},
        {make_rdmsr, "RDMSR"},
        {make_wrmsr, "WRMSR"},
        {make_wrmsr, "WRMSR"},
        {make_io, "IN or OUT"},
        {make_string_io, "INS or OUTS"},
        {make_string_io, "INS or OUTS"},
        {make_ept_violation, "EPT violation"},
        {make_ept_violation, "EPT violation"},
        {make_apic_access, "APIC access"},
        {make_apic_exit, "APIC exit"},
    };
    uint32_t reason;
    fake_vmx_set(VMCS_EXIT_INSTRUCTION_LENGTH, 1 + below(15));
    do {
        const unsigned i = below(sizeof(exits) / sizeof(exits[0]));
        made = exits[i].name;
        reason = exits[i].make();
    } while (reason == NO_EXIT);
    fake_vmx_set(VMCS_EXIT_REASON, reason);
    return reason;
}

/* What is right of the entry beside the entry checks: nothing is lost, and what waits has something
 * that will end the guest's run for it. NULL: all. */
static const char *find_loss(uint32_t reason)
{
    const uint32_t windows = (uint32_t)field(VMCS_CTRL_PROC);
    const uint32_t *page = vcpu->apic.page;
    const bool injects = (field(VMCS_CTRL_ENTRY_EVENT) & EVENT_VALID) != 0;
    if ((field(VMCS_EXIT_IDT_VECTORING) & EVENT_VALID) != 0 && !injects &&
        reason != REASON_TASK_SWITCH) /* which has delivered it */
        return "an event whose delivery was interrupted is lost";
    if (vcpu->event.info != 0)
        return "an event is left behind";
    if (vcpu->step.count != 0 && !injects) /* one instruction first, and then all that waits */
        return (windows & PROC_MONITOR_TRAP) == 0 ||
                       (windows & (PROC_NMI_WINDOW | PROC_INTERRUPT_WINDOW)) != 0 ||
                       (vcpu->assisted && (field(VMCS_GUEST_INTERRUPT_STATUS) & 0xff) != 0)
                   ? "what waits would come before the instruction that is stepped"
                   : NULL;
    if (vcpu->nmis_pending != 0 && (windows & (PROC_NMI_WINDOW | PROC_INTERRUPT_WINDOW)) == 0)
        return "an NMI waits, and no window is open";
    if (vlapic_extint_pending(&vcpu->apic) && (windows & PROC_INTERRUPT_WINDOW) == 0)
        return "an ExtINT waits, and no window is open";
    const int irr = vlapic_highest_vector(page, APIC_IRR);
    if (vcpu->assisted)
        return (field(VMCS_GUEST_INTERRUPT_STATUS) & 0xff) != (irr < 0 ? 0 : (uint64_t)irr)
                   ? "RVI is not the highest vector requested"
                   : NULL;
    if (vlapic_pending(&vcpu->apic) >= 0 && (windows & PROC_INTERRUPT_WINDOW) == 0)
        return "an interrupt waits, and no window is open";
    if (field(VMCS_CTRL_TPR_THRESHOLD) > (page[APIC_TPR / 4] >> 4 & 15))
        return "TPR threshold above the virtual TPR"; /* refused, by what stands in memory */
    return NULL;
}

enum model_outcome vmcs_model_run(const uint8_t *data, size_t size, uint64_t seed, const char **why)
{
    choice.data = data;
    choice.left = size;
    choice.state = seed;
    made = "none";
    begin_again();
    choose_state();
    choose_interrupts();
    if (fake_vmx_check(why) != 0)
        return MODEL_NO_STATE;
    const uint32_t reason = choose_exit();
    if (fake_vmx_check(why) != 0)
        return MODEL_NO_STATE;
    exit_dispatch(vcpu, reason);
    if (vm->end != VM_RUNS)
        return MODEL_ENDED;
    vcpu->activity = ACTIVITY_ACTIVE; /* whatever it waits for has come */
    fake_vmx_set(VMCS_CTRL_ENTRY_EVENT, 0);
    inject_prepare(vcpu);
    if (fake_vmx_check(why) != 0)
        return MODEL_BROKEN;
    const char *loss = find_loss(reason);
    if (loss != NULL) {
        *why = loss;
        return MODEL_BROKEN;
    }
    return (field(VMCS_CTRL_ENTRY_EVENT) & EVENT_VALID) != 0 ? MODEL_INJECTS : MODEL_ENTERS;
}
