/* SPDX-License-Identifier: BSD-2-Clause */
/* Turns VT-x on: checklist, IA32_FEATURE_CONTROL, VMXON; and panics for failed instructions. */
#include "vmx/vmx.h"
#include "arch/cet.h"
#include "arch/cpu.h"
#include "arch/hardening.h"
#include "arch/log.h"
#include "arch/panic.h"
#include "mm/page_alloc.h"
#include "vmx/entry_work.h"
#include "vmx/exit.h"
#include "vmx/insn.h"
#include "vmx/vcpu.h"

static struct vmx_caps caps;

const struct vmx_caps *vmx_caps(void)
{
    return &caps;
}

bool vmx_has_apicv(void)
{
    return control_allowed(caps.proc2,
                           PROC2_APIC_REGISTER_VIRTUALIZATION | PROC2_VIRTUAL_INTERRUPT_DELIVERY |
                               PROC2_VIRTUALIZE_APIC_ACCESSES | PROC2_VIRTUALIZE_X2APIC);
}

struct ept_caps vmx_ept_caps(void)
{
    return (struct ept_caps){
        .pages_2m = !hardening_measures()->small_pages && (caps.ept_vpid & EPTCAP_2M) != 0,
        .pages_1g = !hardening_measures()->small_pages && (caps.ept_vpid & EPTCAP_1G) != 0,
        .phys_bits = (uint8_t)cpu_cpuid(0x80000008, 0).eax,
    };
}

static uint64_t read_msr_or_zero(uint32_t msr)
{
    uint64_t value = 0;
    return cpu_rdmsr_safe(msr, &value) ? value : 0;
}

static void log_missing(const char *what)
{
    log_line("vmx: this CPU's VT-x lacks: %s", what);
}

static void log_fallback(bool present, const char *feature, const char *fallback)
{
    if (!present)
        log_line("vmx: no %s: %s", feature, fallback);
}

/* SDM, "Enabling and Entering VMX Operation": VMXON faults unless it is locked with VMX set. */
static enum status feature_control_open(void)
{
    uint64_t value = read_msr_or_zero(MSR_IA32_FEATURE_CONTROL);
    if ((value & FEATURE_CONTROL_LOCK) == 0) {
        value |= FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX;
        if (!cpu_wrmsr_safe(MSR_IA32_FEATURE_CONTROL, value))
            return ERR_DENIED;
    }
    return (value & FEATURE_CONTROL_VMX) != 0 ? OK : ERR_DENIED;
}

static enum status vmx_probe(struct engine_facts *facts)
{
    if ((cpu_cpuid(1, 0).ecx & CPUID_1_ECX_VMX) == 0) {
        log_line("vmx: this CPU has no VT-x (CPUID.1:ECX.VMX is 0), or its hypervisor hides it");
        return ERR_UNSUPPORTED;
    }
    if (feature_control_open() != OK) {
        log_line("vmx: the firmware has locked VT-x off (IA32_FEATURE_CONTROL = 0x%lx): enable "
                 "\"Intel Virtualization Technology\" in its set-up",
                 read_msr_or_zero(MSR_IA32_FEATURE_CONTROL));
        return ERR_DENIED;
    }
    vmx_caps_read(&caps, read_msr_or_zero);
    vmx_caps_mend(&caps, cpu_cpuid(1, 0).eax);
    if (vmx_caps_check(&caps, log_missing) != 0)
        return ERR_UNSUPPORTED;

    log_fallback(control_allowed(caps.pin, PIN_PREEMPTION_TIMER), "preemption timer",
                 "deadlines by the host's APIC timer");
    log_fallback(control_allowed(caps.proc2, PROC2_VPID) && (caps.ept_vpid & EPTCAP_INVVPID) != 0,
                 "VPID", "TLB flushed at each entry and exit");
    log_fallback(vmx_has_apicv(), "APIC virtualization", "local APIC emulated in software");
    log_fallback((caps.ept_vpid & EPTCAP_2M) != 0, "2 MiB pages in EPT", "4 KiB pages");
    log_fallback((caps.ept_vpid & EPTCAP_1G) != 0, "1 GiB pages in EPT", "smaller pages");
    const bool cet =
        control_allowed(caps.exit, EXIT_LOAD_CET) && control_allowed(caps.entry, ENTRY_LOAD_CET);
    hardening_init(facts->threads_shared);
    vmx_harden_entries(cet && (cet_features() & S_CET_SHADOW_STACK) != 0);
    *facts = (struct engine_facts){
        .rdtscp = control_allowed(caps.proc2, PROC2_RDTSCP),
        .invpcid = control_allowed(caps.proc2, PROC2_INVPCID),
        .xsaves = control_allowed(caps.proc2, PROC2_XSAVES),
        .tsx = true,
        .atomics = true,
        .spec_control = hardening_measures()->barrier,
        .arch_capabilities = hardening_told_to_guests(),
        .virtual_apic = vmx_has_apicv(),
        .pages_1g = vmx_ept_caps().pages_1g,
        .cr4_allowed = caps.cr4_fixed1,
        .host_cet = cet && !hardening_measures()->thunks,
    };
    return OK;
}

static enum status vmx_cpu_on(struct cpu *cpu)
{
    if (feature_control_open() != OK) {
        log_line("error: CPU %u: the firmware has locked VT-x off", cpu->index);
        return ERR_DENIED;
    }
    struct vmx_caps own;
    vmx_caps_read(&own, read_msr_or_zero);
    vmx_caps_mend(&own, cpu_cpuid(1, 0).eax);
    if (!vmx_caps_cover(&own, &caps)) {
        log_line("error: CPU %u: its VMX lacks what the boot CPU's has", cpu->index);
        return ERR_UNSUPPORTED;
    }
    if (cpu->vmxon_region.v == 0) {
        enum status s = page_alloc(1, 1, &cpu->vmxon_region);
        if (s != OK) {
            log_line("error: CPU %u: no page for VMXON: %s", cpu->index, status_text(s));
            return s;
        }
    }
    hardening_cpu_on();
    *(uint32_t *)hpa_to_ptr(cpu->vmxon_region) = vmx_revision(&caps);
    cpu_write_cr0((cpu_read_cr0() | caps.cr0_fixed0) & caps.cr0_fixed1);
    cpu_write_cr4((cpu_read_cr4() | CR4_VMXE | caps.cr4_fixed0) & caps.cr4_fixed1);
    if (!vmxon(cpu->vmxon_region)) {
        cpu_write_cr4(cpu_read_cr4() &
                      ~CR4_VMXE); /* for vmx_cpu_off(): there is nothing to leave */
        log_line("error: CPU %u: VMXON failed", cpu->index);
        return ERR_UNSUPPORTED;
    }
    /* What an earlier hypervisor left in the TLBs must not be met again. */
    bool clean = invept(INVALIDATE_ALL, 0);
    if ((caps.ept_vpid & EPTCAP_INVVPID_ALL) != 0)
        clean = invvpid(INVALIDATE_ALL, 0, 0) && clean;
    if (!clean)
        panic("INVEPT or INVVPID failed after VMXON");
    return OK;
}

static void vmx_cpu_off(void)
{
    if ((cpu_read_cr4() & CR4_VMXE) == 0)
        return;
    vmxoff();
    cpu_write_cr4(cpu_read_cr4() & ~CR4_VMXE);
}

void vmx_insn_failed(const char *insn, uint32_t field, uint64_t value)
{
    uint64_t error = 0;
    __asm__ volatile("vmread %1, %0"
                     : "+r"(error)
                     : "r"((uint64_t)VMCS_EXIT_INSTRUCTION_ERROR)
                     : "cc");
    panic("%s of %s (0x%x, value 0x%lx) failed, VM-instruction error %lu, caller %p", insn,
          vmcs_field_name(field), field, value, error, __builtin_return_address(0));
}

const struct engine vmx_engine = {
    .name = "vtx",
    .probe = vmx_probe,
    .cpu_on = vmx_cpu_on,
    .cpu_off = vmx_cpu_off,
    .vm_create = vmx_vm_create,
    .vm_destroy = vmx_vm_destroy,
    .map = vmx_map,
    .protect = vmx_protect,
    .redirect = vmx_redirect,
    .memory = vmx_memory,
    .vcpu_create = vmx_vcpu_create,
    .vcpu_destroy = vmx_vcpu_destroy,
    .load = vmx_load,
    .put = vmx_put,
    .run = vmx_run,
    .get_state = vmx_get_state,
    .set_state = vmx_set_state,
    .get_segment = vmx_get_segment,
    .flush_tlb = vmx_flush_tlb,
    .invalidate = vmx_invalidate,
    .view = vmx_view,
    .inject = vmx_inject,
    .apic_changed = vmx_apic_changed,
    .tsc_changed = vmx_tsc_changed,
    .open_spec_control = vmx_open_spec_control,
    .show = vmx_show,
    .step = vmx_step,
    .watch = vmx_watch,
    .set_debug = vmx_set_debug,
    .event_count = EXIT_REASON_COUNT,
    .event_name = exit_reason_name,
    .event_class = exit_reason_class,
};
