/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a vCPU: made, run from entry to exit until its VM ends, put away. The run loop is
 * vcpu_run(). */
#include "vmx/vcpu.h"

#include "arch/cpu.h"
#include "arch/format.h"
#include "arch/lapic.h"
#include "arch/msr.h"
#include "arch/panic.h"
#include "arch/string.h"
#include "mm/page_alloc.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/insn.h"
#include "vmx/vmcs.h"
#include "vmx/vmx.h"

#include <stdarg.h>

/*
 * Enters the guest and returns when it exits: 0 after an exit, 1 for VMfailInvalid, 2 for
 * VMfailValid. An ordinary function but for the registers that it does not keep (vmenter.asm).
 */
static inline unsigned vmx_enter(struct guest_regs *regs, bool launched)
{
    unsigned result;
    __asm__ volatile("call vmx_enter_guest"
                     : "=a"(result), "+S"(launched)
                     : "D"(regs)
                     : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                       "cc", "memory");
    return result;
}

void vm_end_request(void *dev, enum vm_end end, uint32_t code, const char *why)
{
    vm_end_format(dev, end, code, "%s", why);
}

void vm_end_format(struct vm *vm, enum vm_end end, uint32_t code, const char *format, ...)
{
    if (vm->end != VM_RUNS)
        return;
    vm->end = end;
    vm->end_code = code;
    va_list args;
    va_start(args, format);
    format_text_va(vm->end_why, sizeof(vm->end_why), format, args);
    va_end(args);
    if (vm->vcpu != NULL)
        vm->vcpu->attention = true;
}

static void vcpu_changed(void *dev)
{
    ((struct vcpu *)dev)->attention = true;
}

static void vcpu_nmi(void *dev)
{
    struct vcpu *vcpu = dev;
    vcpu->nmi_pending = true;
    vcpu->attention = true;
}

static enum status allocate(struct vcpu *vcpu)
{
    enum status s = page_alloc(1, 1, &vcpu->vmcs);
    if (s == OK)
        s = page_alloc(1, 1, &vcpu->msr_bitmap);
    if (s == OK)
        *(uint32_t *)hpa_to_ptr(vcpu->vmcs) = vmx_revision(vmx_caps());
    return s;
}

enum status vcpu_create(struct vcpu *vcpu, struct vm *vm, const struct boot_state *state)
{
    vcpu->vm = vm;
    vm->vcpu = vcpu;
    vm->vcpu_line = (struct vcpu_line){vcpu_changed, vcpu_nmi, vcpu};
    vcpu->attention = true;
    vcpu->xcr0 = 1;
    vcpu->phys_bits = (uint8_t)cpuid_table_find(&vm->cpuid, 0x80000008, 0)->eax;
    vcpu->assisted = vmx_has_apicv();
    vm->intc.assisted = vcpu->assisted;

    enum status s = allocate(vcpu);
    if (s == OK)
        s = exit_msr_open(vcpu);
    if (s == OK && (!vmclear(vcpu->vmcs) || !vmptrld(vcpu->vmcs)))
        panic("VMCLEAR or VMPTRLD failed on a new VMCS at 0x%llx",
              (unsigned long long)vcpu->vmcs.v);
    if (s != OK) {
        vcpu_destroy(vcpu);
        return s;
    }
    cpu_self()->vcpu = vcpu; /* from here on the CPU may write to the VMCS's page */
    vmcs_set_controls(vcpu);
    vmcs_set_host();
    vmcs_set_guest(vcpu, state);
    return OK;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    if (cpu_self()->vcpu == vcpu) {
        cpu_self()->vcpu = NULL;
        /* Nothing of this VM may be met by the next one with the same VPID or EPT root. */
        bool clean = vmclear(vcpu->vmcs) && invept(INVALIDATE_ALL, 0);
        if ((vmx_caps()->ept_vpid & EPTCAP_INVVPID_ALL) != 0)
            clean = invvpid(INVALIDATE_ALL, 0) && clean;
        if (!clean)
            panic("VMCLEAR, INVEPT or INVVPID failed at the end of a VM");
    }
    if (vcpu->vmcs.v != 0)
        page_free(vcpu->vmcs, 1);
    if (vcpu->msr_bitmap.v != 0)
        page_free(vcpu->msr_bitmap, 1);
    vcpu->vmcs = vcpu->msr_bitmap = hpa(0);
}

/* What an earlier VM has taught the branch predictors and left in the first-level cache is not for
 * this one. */
static void forget_earlier_vm(void)
{
    uint32_t features = cpu_cpuid(0, 0).eax >= 7 ? cpu_cpuid(7, 0).edx : 0;
    if ((features >> 26 & 1) != 0)
        cpu_wrmsr(MSR_IA32_PRED_CMD, 1); /* IBPB */
    if ((features >> 28 & 1) != 0)
        cpu_wrmsr(MSR_IA32_FLUSH_CMD, 1); /* L1D_FLUSH */
}

/*
 * The registers that neither the VMCS nor struct guest_regs holds: the host uses none of them, so
 * the guest's values stay in the CPU. They start as after a reset, with nothing of an earlier VM.
 */
static void load_initial_state(const struct vcpu *vcpu)
{
    static const uint32_t zeroed[] = {MSR_IA32_STAR, MSR_IA32_LSTAR, MSR_IA32_CSTAR, MSR_IA32_FMASK,
                                      MSR_IA32_KERNEL_GS_BASE};
    for (size_t i = 0; i < sizeof(zeroed) / sizeof(zeroed[0]); i++)
        cpu_wrmsr(zeroed[i], 0);
    if ((vcpu->proc2 & PROC2_RDTSCP) != 0)
        cpu_wrmsr(MSR_IA32_TSC_AUX, 0);
    if ((vcpu->proc2 & PROC2_XSAVES) != 0)
        cpu_wrmsr(MSR_IA32_XSS, 0); /* what the guest is told; XSAVES goes by the CPU's own */
    __asm__ volatile("mov %0, %%dr0; mov %0, %%dr1; mov %0, %%dr2; mov %0, %%dr3; mov %1, %%dr6"
                     :
                     : "r"(0ull), "r"(0xffff0ff0ull));
    cpu_write_cr2(0);

    /* XRSTOR of a header that names no component puts each into its initial state; FXRSTOR likewise
     * has x87 and SSE. */
    static const uint8_t initial[832] __attribute__((aligned(64))) = {
        [0] = 0x7f, [1] = 0x03, [24] = 0x80, [25] = 0x1f}; /* FCW 0x37f, MXCSR 0x1f80 */
    uint64_t components = vcpu->vm->xcr0_allowed;
    if (components != 0) {
        cpu_xsetbv(0, components);
        __asm__ volatile("xrstor64 %0"
                         :
                         : "m"(initial), "a"((uint32_t)components),
                           "d"((uint32_t)(components >> 32)));
        cpu_xsetbv(0, 1);
    } else {
        __asm__ volatile("fxrstor64 %0" : : "m"(initial));
    }
}

/* HLT: the host's CPU sleeps until a timer of the VM or an interrupt of the host. A pending
 * single-step ends it at once. */
static void vcpu_wait(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    while (vm->end == VM_RUNS && !inject_would_wake(vcpu) &&
           vmread(VMCS_GUEST_PENDING_DEBUG) == 0) {
        if ((vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF) == 0) {
            vm_end_request(vm, VM_CRASH, 0, "halted with interrupts disabled: nothing can wake it");
            return;
        }
        uint64_t before = cpu_rdtsc();
        cpu_idle_until(vm->timers.next);
        uint64_t now = cpu_rdtsc();
        vm->stats.tsc_idle += now - before;
        vcpu->tsc_exit += now - before; /* waiting is not work */
        if (now >= vm->timers.next)
            timers_run(&vm->timers, now);
    }
    vcpu->halted = false;
}

/* What is to be done before the next entry beside the exit itself. False: the VM has ended. */
static bool vcpu_prepare(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    uint64_t now = cpu_rdtsc();
    if (now >= vm->timers.next)
        timers_run(&vm->timers, now);
    if (!vcpu->attention)
        return true;
    vcpu->attention = false;
    if (vcpu->halted)
        vcpu_wait(vcpu);
    if (vm->end != VM_RUNS)
        return false;
    inject_prepare(vcpu);
    return true;
}

/* Books the time in root mode since the exit on its reason. */
static void account(struct vcpu *vcpu, uint32_t reason, uint64_t now)
{
    struct exit_stat *stat = &vcpu->vm->stats.exit[reason % EXIT_REASON_SLOTS];
    stat->count++;
    stat->tsc_root += now - vcpu->tsc_exit;
}

static uint64_t ticks_left(const struct vm *vm, uint64_t now)
{
    return vm->timers.next > now ? vm->timers.next - now : 0;
}

/*
 * Makes the CPU leave the guest after so many TSC ticks: by the preemption timer, which counts at
 * TSC rate >> shift, or else (shift < 0) by an interrupt of the host's APIC.
 */
static void arm_deadline(uint64_t ticks, uint64_t now, int shift)
{
    /* The field takes 32 bits and VMWRITE drops the others: then the CPU comes too early, never too
     * late. */
    if (shift >= 0)
        vmwrite(VMCS_GUEST_PREEMPTION_TIMER, ticks >> shift);
    else
        lapic_timer_arm(now + ticks);
}

void vcpu_run(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    const bool timer = control_allowed(vmx_caps()->pin, PIN_PREEMPTION_TIMER);
    const int shift = timer ? (int)vmx_preemption_shift(vmx_caps()) : -1;
    forget_earlier_vm();
    load_initial_state(vcpu);

    bool runs = vcpu_prepare(vcpu);
    uint64_t now = cpu_rdtsc(), ticks = ticks_left(vm, now);
    vm->stats.tsc_first_entry = now;
    while (runs) {
        arm_deadline(ticks, now, shift);
        unsigned failed = vmx_enter(&vcpu->regs, vcpu->launched);
        if (failed != 0) {
            vcpu_report_failed_entry(vcpu, failed);
            break;
        }
        vcpu->tsc_exit = cpu_rdtsc();
        vcpu->launched = true;
        uint32_t reason = (uint32_t)vmread(VMCS_EXIT_REASON);
        exit_dispatch(vcpu, reason);

        now = cpu_rdtsc();
        if (!vcpu->attention && now < vm->timers.next) {
            account(vcpu, reason, now);
            ticks = vm->timers.next - now;
            continue;
        }
        runs = vcpu_prepare(vcpu);
        now = cpu_rdtsc();
        account(vcpu, reason, now);
        ticks = ticks_left(vm, now);
    }
    vm->stats.tsc_end = cpu_rdtsc();
}
