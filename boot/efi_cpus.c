/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether the CPUs can run VMs by VT-x. What they lack, or the firmware keeps from them, is said
 * while its user can still go back to its set-up. */
#include "arch/x86.h"
#include "boot/efi_loader.h"
#include "boot/efi_mp.h"
#include "vmx/caps.h"

#include <cpuid.h>

#define AP_PATIENCE_US 1000000 /* for all of them */

/* What stands between a CPU and VMX, in the order in which it is noticed. */
enum obstacle { OBSTACLE_NONE, NO_VMX, LOCKED_OFF, LACKS };

struct cpu_report {
    uint32_t apic_id;
    enum obstacle obstacle;
    const char *lack; /* the first that it lacks */
};

static struct cpu_report *reporting; /* the CPU that runs judge() is the only one to do so */

struct mp_services *mp_services_find(void)
{
    static EFI_GUID guid = MP_SERVICES_GUID;
    struct mp_services *services;
    return EFI_ERROR(BS->LocateProtocol(&guid, NULL, (void **)&services)) ? NULL : services;
}

static uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

/* A capability MSR, 0 where an earlier one says that it does not exist: the firmware's handler of
 * #GP would end us. */
static uint64_t read_capability(uint32_t msr)
{
    const uint64_t proc = rdmsr(MSR_IA32_VMX_PINBASED_CTLS + 1);
    const bool has_second = (proc >> 32 & PROC_SECONDARY) != 0;
    const bool has_ept =
        has_second && (rdmsr(MSR_IA32_VMX_PROCBASED_CTLS2) >> 32 & (PROC2_EPT | PROC2_VPID)) != 0;
    if ((msr == MSR_IA32_VMX_PROCBASED_CTLS2 && !has_second) ||
        (msr == MSR_IA32_VMX_EPT_VPID_CAP && !has_ept))
        return 0;
    return rdmsr(msr);
}

static void note_lack(const char *what)
{
    if (reporting->lack == NULL)
        reporting->lack = what;
}

/* On each CPU, one after another. Nothing of the firmware may be called by those that are not the
 * boot CPU. */
static void EFIAPI judge(void *next_report)
{
    struct cpu_report **next = next_report;
    uint32_t eax, ebx, ecx = 0, edx;
    struct vmx_caps caps;
    reporting = (*next)++;
    reporting->apic_id = machine_own_apic_id();
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    if ((ecx & CPUID_1_ECX_VMX) == 0) {
        reporting->obstacle = NO_VMX;
        return;
    }
    const uint64_t control = rdmsr(MSR_IA32_FEATURE_CONTROL);
    if ((control & FEATURE_CONTROL_LOCK) != 0 && (control & FEATURE_CONTROL_VMX) == 0) {
        reporting->obstacle = LOCKED_OFF;
        return;
    }
    vmx_caps_read(&caps, read_capability);
    if (vmx_caps_check(&caps, note_lack) != 0)
        reporting->obstacle = LACKS;
}

/* Why the CPU that all start on has no VT-x to offer, and what may help; false where a VM needs it.
 */
static bool tell(const struct cpu_report *r, bool is_needed)
{
    static const CHAR16 *const text[] = {
        [NO_VMX] = L"this CPU has no VT-x (CPUID.1:ECX.VMX is 0), or its hypervisor hides it",
        [LOCKED_OFF] = L"the firmware has locked VT-x off (IA32_FEATURE_CONTROL)",
        [LACKS] = L"this CPU's VT-x lacks: "};
    const char *lack = r->obstacle == LACKS ? r->lack : "";
    if (is_needed)
        loader_refuse(L"%s%a", text[r->obstacle], lack);
    else
        Print(L"nadir: %s%a: VMs are executed by binary translation\r\n", text[r->obstacle], lack);
    if (r->obstacle == NO_VMX && is_needed)
        Print(L"nadir: engine = vtx needs an Intel CPU of 2010 or later; in a virtual machine, "
              L"nested virtualisation\r\n");
    if (r->obstacle == LOCKED_OFF)
        Print(
            L"nadir: in its set-up turn on \"Intel Virtualization Technology\" (also: VT-x, VMX, "
            L"SVM mode), often\r\nnadir: below Advanced, CPU or Security; then switch the machine "
            L"off and on again\r\n");
    return !is_needed;
}

bool cpus_check(struct handoff *h, bool vtx_is_needed)
{
    static struct cpu_report reports[HANDOFF_MAX_CPUS + 1];
    static const CHAR16 *const reason[] = {
        [NO_VMX] = L"has no VT-x", [LOCKED_OFF] = L"has VT-x locked off", [LACKS] = L"lacks"};
    struct cpu_report *next = reports;
    struct mp_services *services = mp_services_find();
    judge(&next);
    if (reports[0].obstacle != OBSTACLE_NONE)
        return tell(&reports[0], vtx_is_needed);
    if (services == NULL || h->cpu_count < 2 || h->cpu_count == HANDOFF_MAX_CPUS)
        return true; /* a CPU that cannot is left out later, too */
    (void)services->start_all(services, judge, true, NULL, AP_PATIENCE_US, &next, NULL);
    for (const struct cpu_report *r = reports + 1; r < next; r++)
        if (r->obstacle != OBSTACLE_NONE)
            Print(L"nadir: the CPU with APIC ID %d %s%s%a: no VM runs there\r\n", r->apic_id,
                  reason[r->obstacle], r->lack != NULL ? L" " : L"",
                  r->lack != NULL ? r->lack : "");
    return true;
}
