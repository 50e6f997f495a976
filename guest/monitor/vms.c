/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs the configured VMs on the CPUs that are free, and keeps the score. */
#include "guest/monitor/vms.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/spinlock.h"
#include "guest/monitor/vm_console.h"
#include "guest/vm/sched.h"
#include "mm/page_alloc.h"

/* A VM that fails at once, so often in a row, is not started again. */
#define MAX_QUICK_FAILURES 5

/* What a CPU does for the VMs. */
struct member {
    struct vm *vm; /* it is to run a seat of this one; NULL: it waits for work */
    struct vm_seat *seat;
    bool free; /* may be given to a VM */
};

static struct {
    const struct nadir_config *config;
    const struct pc_host *host;
    uint64_t image_bytes;
    struct spinlock lock; /* over what follows */
    struct member member[CPU_MAX];
    uint32_t arrived; /* CPUs that have come to work, or never will */
    uint32_t next;    /* the first section that no CPU has looked at */
    uint32_t waiting; /* VMs from there on that are to start */
    uint32_t ended;
    enum vms_outcome outcome;
} vms;

/* The CPUs of one VM: the first leads. They meet where the VM has ended. */
struct team {
    struct cpu *cpu[VM_MAX_VCPUS];
    uint32_t count;
};

void vms_init(const struct nadir_config *config, uint64_t image_bytes, const struct pc_host *host)
{
    vms.config = config;
    vms.image_bytes = image_bytes;
    vms.host = host;
    vm_console_init(config->vm_count);
    for (uint32_t i = 0; i < config->vm_count; i++) {
        if (config->vm[i].start)
            vms.waiting++;
        else
            vm_console_close(i);
    }
    vms.ended = config->vm_count - vms.waiting;
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
}

/* Behind the end of a VM, on each CPU of its team: the one with the vCPU that ended it shows that.
 */
static void leave_vm(struct vm *vm, struct vm_seat *seat)
{
    struct vcpu *last = vm->end_vcpu != NULL ? vm->end_vcpu : vm->vcpu[0];
    if (vm->end == VM_CRASH && last->seat == seat) {
        vcpu_load(last);
        vcpu_dump(last);
    }
    vcpu_put_away();
}

/* Waits until *count is so many: for the others of the team, which are on their way. */
static void meet(const uint32_t *count, uint32_t all)
{
    while (__atomic_load_n(count, __ATOMIC_ACQUIRE) != all)
        cpu_pause();
}

static void arrive(uint32_t *count)
{
    __atomic_fetch_add(count, 1, __ATOMIC_ACQ_REL);
}

/* Runs the VM on the whole team, and says how it ended. Leader only. */
static void run_team(struct pc *pc, uint32_t index, const struct team *team)
{
    struct vm *vm = &pc->vm;
    for (uint32_t i = 0; i < team->count; i++)
        vm->seat[i].cpu = team->cpu[i];
    vm_console_begin(index, pc);
    vm->tsc_first_entry = cpu_rdtsc();
    spinlock_lock(&vms.lock);
    for (uint32_t i = 1; i < team->count; i++) {
        struct member *member = &vms.member[team->cpu[i]->index];
        member->seat = &vm->seat[i];
        member->vm = vm;
    }
    spinlock_unlock(&vms.lock);
    for (uint32_t i = 1; i < team->count; i++)
        smp_wake(team->cpu[i]);
    sched_run(vm, &vm->seat[0]);
    vm->tsc_end = cpu_rdtsc();
    meet(&vm->seats_stopped, team->count - 1);
    vm_console_end(index, pc);
    print_end(vm);
    __atomic_store_n(&vm->seats_may_leave, true, __ATOMIC_RELEASE);
    leave_vm(vm, &vm->seat[0]);
    meet(&vm->seats_left, team->count - 1);
    stats_print(vm);
}

/* A CPU's part in a VM that another one leads. */
static void run_member(struct vm *vm, struct vm_seat *seat)
{
    sched_run(vm, seat);
    arrive(&vm->seats_stopped);
    while (!__atomic_load_n(&vm->seats_may_leave, __ATOMIC_ACQUIRE))
        cpu_pause();
    leave_vm(vm, seat);
    arrive(&vm->seats_left); /* the last that is done with *vm */
}

/* One life of a VM. *again: its section asks for a restart. */
static enum vms_outcome run_once(uint32_t index, const struct team *team, bool *again)
{
    const struct vm_config *config = &vms.config->vm[index];
    struct pc_console console = vm_console_of(index, config);
    struct pc *pc;
    *again = false;
    if (pc_create(config, index, team->count, vms.host, &console, &pc) != OK)
        return VMS_CONFIG_ERROR;
    struct engine_memory memory;
    pc->vm.engine->memory(&pc->vm, &memory);
    const uint64_t tables = memory.table_pages * PAGE_SIZE;
    log_line("%s: %lu MiB, %u vCPU%s, on CPU %u%s; the hypervisor's own memory: %lu KiB and %lu "
             "KiB of page tables",
             config->name, config->memory_mib, config->vcpus, config->vcpus == 1 ? "" : "s",
             cpu_self()->index, team->count > 1 ? " and others" : "",
             (vms.image_bytes + page_alloc_used_by_hypervisor() - tables) / 1024, tables / 1024);
    run_team(pc, index, team);
    enum vms_outcome outcome = ended_well(&pc->vm) ? VMS_OK : VMS_FAILED;
    *again = action_after(config, &pc->vm) == ACTION_RESTART;
    pc_destroy(pc);
    return outcome;
}

static void vm_ended(enum vms_outcome outcome, const struct team *team)
{
    spinlock_lock(&vms.lock);
    vms.ended++;
    if (outcome > vms.outcome)
        vms.outcome = outcome;
    for (uint32_t i = 0; i < team->count; i++)
        vms.member[team->cpu[i]->index].free = true;
    spinlock_unlock(&vms.lock);
    for (uint32_t i = 0; i < cpu_count(); i++) /* they look for work, or for the end */
        if (i != cpu_self()->index)
            smp_wake(cpu_by_index(i));
}

/*
 * The next VM that waits, with CPUs for it; false: none waits. The lock is held. A VM gets a CPU
 * for each vCPU as long as one is left for each VM that still waits.
 */
static bool take_vm(struct cpu *self, uint32_t *index, struct team *team)
{
    if (vms.waiting == 0)
        return false;
    while (!vms.config->vm[vms.next].start)
        vms.next++;
    *index = vms.next++;
    const uint32_t waiting = --vms.waiting;
    uint32_t spare = 0;
    for (uint32_t i = 0; i < cpu_count(); i++)
        spare += vms.member[i].free && i != self->index;
    spare = spare > waiting ? spare - waiting : 0;
    *team = (struct team){.cpu = {self}, .count = 1};
    vms.member[self->index].free = false;
    for (uint32_t i = 0; i < cpu_count() && spare > 0; i++) {
        if (!vms.member[i].free || team->count == vms.config->vm[*index].vcpus)
            continue;
        vms.member[i].free = false;
        team->cpu[team->count++] = cpu_by_index(i);
        spare--;
    }
    return true;
}

/* All lives of a VM. */
static void lead(uint32_t index, const struct team *team)
{
    enum vms_outcome outcome;
    bool again;
    unsigned quick_failures = 0; /* in a row */
    do {
        uint64_t start = cpu_rdtsc();
        outcome = run_once(index, team, &again);
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
    vm_ended(outcome, team);
}

void vms_arrive(void)
{
    arrive(&vms.arrived);
}

void vms_work(struct cpu *cpu)
{
    struct member *self = &vms.member[cpu->index];
    vms.member[cpu->index].free = true;
    vms_arrive();
    while (__atomic_load_n(&vms.arrived, __ATOMIC_ACQUIRE) != cpu_count())
        cpu_pause();
    for (;;) {
        uint32_t index;
        struct team team;
        spinlock_lock(&vms.lock);
        struct vm *vm = self->vm;
        struct vm_seat *seat = self->seat;
        self->vm = NULL;
        bool leads = vm == NULL && self->free && take_vm(cpu, &index, &team);
        bool all_ended = vms.ended == vms.config->vm_count;
        spinlock_unlock(&vms.lock);
        if (vm != NULL)
            run_member(vm, seat);
        else if (leads)
            lead(index, &team);
        else if (all_ended)
            return;
        else
            cpu_idle();
    }
}

enum vms_outcome vms_outcome(void)
{
    return vms.outcome;
}
