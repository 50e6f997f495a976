/* SPDX-License-Identifier: BSD-2-Clause */
/* The accounts of a VM: names of the exit reasons, the table, the JSON line. */
#include "vmx/stats.h"

#include "arch/log.h"
#include "vmx/exit.h"

static const char *const names[EXIT_REASON_COUNT] = {
    [REASON_EXCEPTION_OR_NMI] = "exception_or_nmi",
    [REASON_EXTERNAL_INTERRUPT] = "external_interrupt",
    [REASON_TRIPLE_FAULT] = "triple_fault",
    [REASON_INIT] = "init_signal",
    [REASON_SIPI] = "startup_ipi",
    [5] = "io_smi",
    [6] = "other_smi",
    [REASON_INTERRUPT_WINDOW] = "interrupt_window",
    [REASON_NMI_WINDOW] = "nmi_window",
    [REASON_TASK_SWITCH] = "task_switch",
    [REASON_CPUID] = "cpuid",
    [REASON_GETSEC] = "getsec",
    [REASON_HLT] = "hlt",
    [REASON_INVD] = "invd",
    [REASON_INVLPG] = "invlpg",
    [REASON_RDPMC] = "rdpmc",
    [REASON_RDTSC] = "rdtsc",
    [REASON_RSM] = "rsm",
    [REASON_VMCALL] = "vmcall",
    [REASON_VMCLEAR] = "vmclear",
    [REASON_VMLAUNCH] = "vmlaunch",
    [REASON_VMPTRLD] = "vmptrld",
    [REASON_VMPTRST] = "vmptrst",
    [REASON_VMREAD] = "vmread",
    [REASON_VMRESUME] = "vmresume",
    [REASON_VMWRITE] = "vmwrite",
    [REASON_VMXOFF] = "vmxoff",
    [REASON_VMXON] = "vmxon",
    [REASON_CR_ACCESS] = "control_register_accesses",
    [REASON_MOV_DR] = "mov_dr",
    [REASON_IO] = "io_instruction",
    [REASON_RDMSR] = "rdmsr",
    [REASON_WRMSR] = "wrmsr",
    [REASON_ENTRY_GUEST_STATE] = "entry_failure_guest_state",
    [REASON_ENTRY_MSR_LOADING] = "entry_failure_msr_loading",
    [35] = "reserved_35",
    [REASON_MWAIT] = "mwait",
    [REASON_MONITOR_TRAP_FLAG] = "monitor_trap_flag",
    [38] = "reserved_38",
    [REASON_MONITOR] = "monitor",
    [REASON_PAUSE] = "pause",
    [REASON_ENTRY_MACHINE_CHECK] = "entry_failure_machine_check",
    [42] = "reserved_42",
    [REASON_TPR_BELOW_THRESHOLD] = "tpr_below_threshold",
    [REASON_APIC_ACCESS] = "apic_access",
    [REASON_VIRTUALIZED_EOI] = "virtualized_eoi",
    [REASON_GDTR_IDTR] = "access_to_gdtr_or_idtr",
    [REASON_LDTR_TR] = "access_to_ldtr_or_tr",
    [REASON_EPT_VIOLATION] = "ept_violation",
    [REASON_EPT_MISCONFIGURATION] = "ept_misconfiguration",
    [REASON_INVEPT] = "invept",
    [REASON_RDTSCP] = "rdtscp",
    [REASON_PREEMPTION_TIMER] = "vmx_preemption_timer_expired",
    [REASON_INVVPID] = "invvpid",
    [REASON_WBINVD] = "wbinvd",
    [REASON_XSETBV] = "xsetbv",
    [REASON_APIC_WRITE] = "apic_write",
    [REASON_RDRAND] = "rdrand",
    [REASON_INVPCID] = "invpcid",
    [REASON_VMFUNC] = "vmfunc",
    [REASON_ENCLS] = "encls",
    [REASON_RDSEED] = "rdseed",
    [REASON_PML_FULL] = "page_modification_log_full",
    [REASON_XSAVES] = "xsaves",
    [REASON_XRSTORS] = "xrstors",
    [REASON_PCONFIG] = "pconfig",
    [REASON_SPP] = "spp_related_event",
    [REASON_UMWAIT] = "umwait",
    [REASON_TPAUSE] = "tpause",
    [REASON_LOADIWKEY] = "loadiwkey",
    [REASON_ENCLV] = "enclv",
    [71] = "reserved_71",
    [REASON_ENQCMD_PASID] = "enqcmd_pasid_translation_failure",
    [REASON_ENQCMDS_PASID] = "enqcmds_pasid_translation_failure",
    [REASON_BUS_LOCK] = "bus_lock",
    [REASON_INSTRUCTION_TIMEOUT] = "instruction_timeout",
    [REASON_SEAMCALL] = "seamcall",
    [REASON_TDCALL] = "tdcall",
};

const char *exit_reason_name(unsigned reason)
{
    return reason < EXIT_REASON_COUNT ? names[reason] : "a reason the SDM did not define";
}

static const char *end_name(enum vm_end end)
{
    static const char *const text[] = {[VM_RUNS] = "runs",
                                       [VM_POWEROFF] = "poweroff",
                                       [VM_RESET] = "reset",
                                       [VM_DEBUG_EXIT] = "debug-exit",
                                       [VM_CRASH] = "crash"};
    return text[end];
}

static void print_table(const struct vm *vm)
{
    const struct vm_stats *stats = &vm->stats;
    log_line("%s: %-34s %10s %14s %8s", vm->name, "VM exits by reason", "count", "root ticks",
             "each");
    for (unsigned i = 0; i < EXIT_REASON_COUNT; i++) {
        const struct exit_stat *e = &stats->exit[i];
        if (e->count != 0)
            log_line("%s: %-34s %10llu %14llu %8llu", vm->name, names[i],
                     (unsigned long long)e->count, (unsigned long long)e->tsc_root,
                     (unsigned long long)(e->tsc_root / e->count));
    }
}

void stats_print(const struct vm *vm)
{
    const struct vm_stats *stats = &vm->stats;
    uint64_t root = 0, total = stats->tsc_end - stats->tsc_first_entry;
    for (unsigned i = 0; i < EXIT_REASON_COUNT; i++)
        root += stats->exit[i].tsc_root;
    print_table(vm);
    if (total != 0)
        log_line("%s: %llu ticks from first entry to end: %llu.%02llu %% in root mode, %llu.%02llu "
                 "%% waiting in HLT",
                 vm->name, (unsigned long long)total,
                 (unsigned long long)(scale_u64(root, 100, total)),
                 (unsigned long long)(scale_u64(root, 10000, total) % 100),
                 (unsigned long long)scale_u64(stats->tsc_idle, 100, total),
                 (unsigned long long)(scale_u64(stats->tsc_idle, 10000, total) % 100));

    log_text("nadir-stats: {\"vm\": \"%s\", \"end\": \"%s\", \"code\": %u, \"vcpus\": 1, "
             "\"tsc_first_entry\": %llu, "
             "\"tsc_end\": %llu, \"tsc_root\": %llu, \"tsc_idle\": %llu, \"exits\": {",
             vm->name, end_name(vm->end), vm->end_code, (unsigned long long)stats->tsc_first_entry,
             (unsigned long long)stats->tsc_end, (unsigned long long)root,
             (unsigned long long)stats->tsc_idle);
    const char *comma = "";
    for (unsigned i = 0; i < EXIT_REASON_COUNT; i++) {
        const struct exit_stat *e = &stats->exit[i];
        if (e->count == 0)
            continue;
        log_text("%s\"%s\": {\"count\": %llu, \"tsc_root\": %llu}", comma, names[i],
                 (unsigned long long)e->count, (unsigned long long)e->tsc_root);
        comma = ", ";
    }
    log_text("}, \"ept_violations_ram\": %llu, \"ept_leaves\": {\"4k\": %llu, \"2m\": %llu, "
             "\"1g\": %llu}, "
             "\"memory_bytes\": %llu}\n",
             (unsigned long long)stats->ept_violations_ram,
             (unsigned long long)vm->ept.leaves[EPT_LEAF_4K],
             (unsigned long long)vm->ept.leaves[EPT_LEAF_2M],
             (unsigned long long)vm->ept.leaves[EPT_LEAF_1G], (unsigned long long)vm->memory_bytes);
}
