/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs the configured VMs on the CPUs that are free, and keeps the score. */
#include "boot/vms.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/spinlock.h"
#include "boot/vm_console.h"
#include "mm/page_alloc.h"
#include "vmx/vcpu.h"

/* A VM that fails at once, so often in a row, is not started again. */
#define MAX_QUICK_FAILURES 5

static struct {
    const struct nadir_config *config;
    const struct pc_host *host;
    uint64_t image_bytes;
    struct spinlock lock; /* over what follows */
    uint32_t next;        /* the first VM that no CPU has taken */
    uint32_t ended;
    enum vms_outcome outcome;
} vms;

void vms_init(const struct handoff *handoff, const struct pc_host *host)
{
    const struct nadir_config *config = &handoff->config;
    vms.config = config;
    vms.image_bytes = handoff->image_bytes;
    vms.host = host;
    vm_console_init(config->vm_count);
}

static bool ended_well(const struct vm *vm)
{
    switch (vm->end) {
    case VM_POWEROFF:
    case VM_RESET: return true;
    case VM_DEBUG_EXIT: return vm->end_code == 0;
    default: return false;
    }
}

static enum vm_action action_after(const struct vm_config *config, const struct vm *vm)
{
    switch (vm->end) {
    case VM_RESET: return config->on_reboot;
    case VM_CRASH: return config->on_crash;
    default: return config->on_poweroff;
    }
}

static void print_end(struct vcpu *vcpu)
{
    const struct vm *vm = vcpu->vm;
    log_line("%s: ended: %s", vm->name, vm->end_why);
    if (vm->end == VM_CRASH)
        vcpu_dump(vcpu);
    stats_print(vm);
}

/* One life of a VM. *again: its section asks for a restart. */
static enum vms_outcome run_once(uint32_t index, bool *again)
{
    const struct vm_config *config = &vms.config->vm[index];
    struct pc_console console = vm_console_of(index, config);
    struct pc *pc;
    struct vcpu vcpu = {.vm = NULL};
    *again = false;
    if (pc_create(config, index, vms.host, &console, &pc) != OK)
        return VMS_CONFIG_ERROR;
    enum status s = vcpu_create(&vcpu, &pc->vm, &pc->boot);
    if (s != OK) {
        log_line("%s: no vCPU: %s", config->name, status_text(s));
        pc_destroy(pc);
        return VMS_FAILED;
    }
    uint64_t ept = pc->vm.ept.table_pages * PAGE_SIZE;
    log_line("%s: %lu MiB, %u vCPU, on CPU %u; the hypervisor's own memory: %lu KiB and %lu KiB "
             "of EPT",
             config->name, config->memory_mib, config->vcpus, cpu_self()->index,
             (vms.image_bytes + page_alloc_used_by_hypervisor() - ept) / 1024, ept / 1024);
    vcpu_run(&vcpu);
    vm_console_end(index, pc);
    print_end(&vcpu);
    bool well = ended_well(&pc->vm);
    *again = action_after(config, &pc->vm) == ACTION_RESTART;
    vcpu_destroy(&vcpu);
    pc_destroy(pc);
    return well ? VMS_OK : VMS_FAILED;
}

static void vm_ended(enum vms_outcome outcome)
{
    spinlock_lock(&vms.lock);
    vms.ended++;
    if (outcome > vms.outcome)
        vms.outcome = outcome;
    spinlock_unlock(&vms.lock);
    smp_wake(cpu_by_index(0));
}

void vms_work(struct cpu *cpu)
{
    (void)cpu;
    for (;;) {
        spinlock_lock(&vms.lock);
        uint32_t index = vms.next;
        if (index < vms.config->vm_count)
            vms.next++;
        spinlock_unlock(&vms.lock);
        if (index >= vms.config->vm_count)
            return;
        enum vms_outcome outcome;
        bool again;
        unsigned quick_failures = 0; /* in a row */
        do {
            uint64_t start = cpu_rdtsc();
            outcome = run_once(index, &again);
            bool quick = outcome != VMS_OK && cpu_rdtsc() - start < vms.host->tsc_hz;
            quick_failures = quick ? quick_failures + 1 : 0;
            if (again && quick_failures == MAX_QUICK_FAILURES) {
                log_line("%s: does not restart: %u ends within a second each",
                         vms.config->vm[index].name, quick_failures);
                again = false;
            }
            if (again)
                log_line("%s: restarts", vms.config->vm[index].name);
        } while (again);
        vm_console_close(index);
        vm_ended(outcome);
    }
}

enum vms_outcome vms_wait_for_all(void)
{
    for (;;) {
        spinlock_lock(&vms.lock);
        bool all = vms.ended == vms.config->vm_count;
        enum vms_outcome outcome = vms.outcome;
        spinlock_unlock(&vms.lock);
        if (all)
            return outcome;
        cpu_idle_until(cpu_rdtsc() + vms.host->tsc_hz / 100);
    }
}
