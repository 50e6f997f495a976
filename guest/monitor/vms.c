/* SPDX-License-Identifier: BSD-2-Clause */
/* The lives of the VMs, and the score. */
#include "guest/monitor/vms.h"
#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/spinlock.h"
#include "guest/monitor/vm_console.h"
#include "guest/vm/sched.h"
#include "mm/page_alloc.h"

/* A VM that fails at once, so often in a row, is not started again. */
#define MAX_QUICK_FAILURES 5

/* A section of nadir.cfg and the VM that it stands for now. Only the CPU that makes the VM, or that
 * has stopped its last vCPU, uses it: there is one such CPU at a time. */
struct section {
    uint32_t index;
    unsigned quick_failures; /* in a row */
    uint64_t tsc_start;
};

static struct {
    const struct nadir_config *config;
    const struct pc_host *host;
    uint64_t image_bytes;
    struct section section[CONFIG_MAX_VMS];
    struct spinlock lock; /* over what follows */
    uint32_t alive;       /* sections whose VM runs, or is about to */
    enum vms_outcome outcome;
} vms;

void vms_init(const struct nadir_config *config, uint64_t image_bytes, const struct pc_host *host,
              const struct host_console *console)
{
    vms.config = config;
    vms.image_bytes = image_bytes;
    vms.host = host;
    vm_console_init(config->vm_count, console);
    for (uint32_t i = 0; i < config->vm_count; i++)
        vms.section[i].index = i;
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

static void print_end(const struct vm *vm)
{
    if (vm->end == VM_DEBUG_EXIT)
        log_line("%s: ended: %s, code %u", vm->name, vm->end_why, vm->end_code);
    else
        log_line("%s: ended: %s", vm->name, vm->end_why);
    if (vm->end == VM_CRASH)
        cpu_state_print(vm->name, &vm->end_state);
}

static void print_start(const struct pc *pc, const struct vm_config *config)
{
    struct engine_memory memory;
    pc->vm.engine->memory(&pc->vm, &memory);
    const uint64_t tables = memory.table_pages * PAGE_SIZE;
    log_line("%s: %lu MiB, %u vCPU%s, on CPU %u%s; the hypervisor's own memory: %lu KiB and %lu "
             "KiB of page tables",
             config->name, config->memory_mib, config->vcpus, config->vcpus == 1 ? "" : "s",
             pc->vm.vcpu[0]->run.home->index, pc->vm.cpu_count > 1 ? " and others" : "",
             (vms.image_bytes + page_alloc_used_by_hypervisor() - tables) / 1024, tables / 1024);
}

/* A section's VM will not run again. The last one ends the machine. */
static void close(const struct section *section, enum vms_outcome outcome)
{
    vm_console_close(section->index);
    spinlock_lock(&vms.lock);
    if (outcome > vms.outcome)
        vms.outcome = outcome;
    const bool last = --vms.alive == 0;
    spinlock_unlock(&vms.lock);
    if (last)
        sched_stop();
}

static void vm_stopped(struct vm *vm);

/* One more life. */
static bool begin(struct section *section)
{
    const struct vm_config *config = &vms.config->vm[section->index];
    const struct pc_console console = vm_console_of(section->index, config);
    struct pc *pc;
    section->tsc_start = cpu_rdtsc();
    if (pc_create(config, section->index, vms.host, &console, &pc) != OK) {
        close(section, VMS_CONFIG_ERROR);
        return false;
    }
    print_start(pc, config);
    vm_console_begin(section->index, pc);
    pc->vm.stopped = vm_stopped;
    pc->vm.owner = section;
    pc_start(pc);
    return true;
}

/* Whether the section asks for another life behind this one. */
static bool restarts(struct section *section, const struct vm *vm)
{
    const struct vm_config *config = &vms.config->vm[section->index];
    const bool quick = !ended_well(vm) && cpu_rdtsc() - section->tsc_start < vms.host->tsc_hz;
    section->quick_failures = quick ? section->quick_failures + 1 : 0;
    if (action_after(config, vm) != ACTION_RESTART)
        return false;
    if (section->quick_failures == MAX_QUICK_FAILURES) {
        log_line("%s: does not restart: %u ends within a second each", config->name,
                 section->quick_failures);
        return false;
    }
    log_line("%s: restarts", config->name);
    return true;
}

static void vm_stopped(struct vm *vm)
{
    struct section *section = vm->owner;
    struct pc *pc = pc_of(vm);
    vm->tsc_end = cpu_rdtsc();
    vm_console_end(section->index, pc);
    print_end(vm);
    stats_print(vm);
    const enum vms_outcome outcome = ended_well(vm) ? VMS_OK : VMS_FAILED;
    const bool again = restarts(section, vm);
    pc_destroy(pc);
    if (again)
        (void)begin(section);
    else
        close(section, outcome);
}

bool vms_start_one(uint32_t index)
{
    spinlock_lock(&vms.lock);
    vms.alive++;
    spinlock_unlock(&vms.lock);
    return begin(&vms.section[index]);
}

void vms_start(void)
{
    vms.alive = 1; /* this loop's own: the first VM may have ended before the last has begun */
    for (uint32_t i = 0; i < vms.config->vm_count; i++) {
        if (vms.config->vm[i].start)
            (void)vms_start_one(i);
        else
            vm_console_close(i);
    }
    spinlock_lock(&vms.lock);
    const bool none = --vms.alive == 0;
    spinlock_unlock(&vms.lock);
    if (none)
        sched_stop();
}

enum vms_outcome vms_outcome(void)
{
    return vms.outcome;
}
