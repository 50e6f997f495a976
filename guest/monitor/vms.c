/* SPDX-License-Identifier: BSD-2-Clause */
/* The lives of the VMs, and the score. */
#include "guest/monitor/vms.h"
#include "arch/cpu.h"
#include "arch/format.h"
#include "arch/log.h"
#include "arch/spinlock.h"
#include "arch/string.h"
#include "guest/load/kernel.h"
#include "guest/monitor/vm_console.h"
#include "guest/pc/pc_program.h"
#include "guest/vm/sched.h"
#include "mm/guestspace.h"
#include "mm/page_alloc.h"

/* A VM that fails at once, so often in a row, is not started again. */
#define MAX_QUICK_FAILURES 5

/* What an end and a beginning cost is more than a guest's time: the CPU's, and the console's. So
 * behind some lives of less than a second in a row, of whatever end, the next one waits, twice as
 * long each time. */
#define FREE_LIVES      8
#define LONGEST_WAIT_MS 2000u

/*
 * A section, from nadir.cfg or added since, and the VM that it stands for now.
 *
 *          vms_add()         vms_start_one()        begin()
 *   FREE ------------> IDLE -----------------> BUSY --------> RUNS
 *    ^                 |  ^                    |  ^             |
 *    '-----------------'  '--------------------'  '-------------'
 *       vms_remove()       close()                  vm_stopped()
 *
 * While it is BUSY, one CPU makes its VM or destroys it, and has the fields behind `vm` for itself.
 */
enum section_state {
    SECTION_FREE, /* there is none */
    SECTION_IDLE, /* has no VM */
    SECTION_BUSY, /* one CPU makes a VM for it, or destroys the one that has ended */
    SECTION_RUNS, /* its VM runs, or is on its way to the end */
};

struct section {
    uint32_t index;
    enum section_state state; /* with the lock held, as are the three below */
    bool destroyed;           /* vms_destroy(): this VM ends, and no other follows */
    const struct vm_config *config;
    struct vm *vm; /* in SECTION_RUNS, else NULL */
    hpa_t memory;  /* of an added one: vms_remove() gives it back */
    uint64_t pages;
    unsigned quick_failures; /* in a row */
    unsigned short_lives;    /* likewise, with good ends, too */
    uint64_t lived;   /* ticks of all its lives before, with the waits between them: its limit's */
    uint64_t tsc_end; /* of the life before; 0: none */
    uint64_t used_time;  /* virtual, that one's at its end: struct run_share */
    struct pc_kept kept; /* of it, for the one that follows a reset */
};

static struct {
    const struct nadir_config *config;
    const struct pc_host *host;
    uint64_t image_bytes;
    struct section section[CONFIG_MAX_VMS];
    struct spinlock lock; /* over what follows, too; run queues' locks may be taken with it held */
    uint32_t alive;       /* sections that are BUSY or RUN: VMs that exist, or are about to */
    bool starting;        /* vms_start() has not begun all of them yet */
    bool over;            /* the last one has ended, and with it the machine */
    enum vms_outcome outcome;
} vms;

void vms_init(const struct nadir_config *config, uint64_t image_bytes, const struct pc_host *host,
              const struct host_console *console)
{
    memset(&vms, 0, sizeof(vms));
    vms.config = config;
    vms.image_bytes = image_bytes;
    vms.host = host;
    vms.starting = true;
    vm_console_init(console);
    for (uint32_t i = 0; i < CONFIG_MAX_VMS; i++)
        vms.section[i].index = i;
    for (uint32_t i = 0; i < config->vm_count; i++) {
        vms.section[i].config = &config->vm[i];
        vms.section[i].state = SECTION_IDLE;
        if (config->vm[i].start)
            vm_console_expect(i);
    }
}

static bool ended_well(const struct vm *vm)
{
    switch (vm->end) {
    case VM_POWEROFF:
    case VM_RESET:
    case VM_DESTROYED: return true;
    case VM_DEBUG_EXIT: return vm->end_code == 0;
    default: return false;
    }
}

/* A PC's chip set answers these by a reset. What follows another end is a machine switched on. */
static bool is_reset(enum vm_end end)
{
    return end == VM_RESET || end == VM_TRIPLE_FAULT;
}

static enum vm_action action_after(const struct vm_config *config, const struct vm *vm)
{
    switch (vm->end) {
    case VM_RESET: return config->on_reboot;
    case VM_CRASH:
    case VM_TRIPLE_FAULT: return config->on_crash;
    default: return config->on_poweroff;
    }
}

static void print_end(struct vm *vm)
{
    if (vm->end == VM_DEBUG_EXIT)
        log_line_of(vm->log, "%s: ended: %s, code %u", vm->name, vm->end_why, vm->end_code);
    else
        log_line_of(vm->log, "%s: ended: %s%s", vm->name, vm->end_why,
                    pc_program_advice(pc_of(vm)));
    if (!vm_end_is_crash(vm->end))
        return;
    if (vm->end == VM_TRIPLE_FAULT)
        vcpu_print_undelivered(vm->end_vcpu, &vm->end_state);
    sched_look();
    vcpu_print(vm->end_vcpu, &vm->end_state);
    sched_look();
    vm->dump(vm, &vm->end_state);
}

static void print_start(const struct pc *pc, const struct vm_config *config)
{
    struct engine_memory memory;
    pc->vm.engine->memory(&pc->vm, &memory);
    const uint64_t tables = memory.table_pages * PAGE_SIZE;
    log_line_of(pc->vm.log,
                "%s: %lu MiB, %u vCPU%s, on CPU %u%s; the hypervisor's own memory: %lu KiB and %lu "
                "KiB of page tables",
                config->name, config->memory_mib, config->vcpus, config->vcpus == 1 ? "" : "s",
                pc->vm.vcpu[0]->run.home->index, pc->vm.cpu_count > 1 ? " and others" : "",
                (vms.image_bytes + page_alloc_used_by_hypervisor() - tables) / 1024, tables / 1024);
}

/* With the lock held. Whether nothing runs any more, nor is about to: the machine ends then. */
static bool is_over(void)
{
    vms.over = vms.over || (vms.alive == 0 && !vms.starting);
    return vms.over;
}

static void note_outcome(enum vms_outcome outcome)
{
    if (outcome > vms.outcome)
        vms.outcome = outcome;
}

/*
 * A section's VM will not run again. The last one ends the machine: CPU A, here, finds that none is
 * left, and says so in vms.over with the lock held. CPU B, which is about to start another one,
 * looks at vms.over with the lock held, before it counts its own (vms_start_one()). Without the
 * lock around both, B's VM could be made on a machine that A switches off.
 */
static void close(struct section *section, enum vms_outcome outcome)
{
    vm_console_close(section->index);
    spinlock_lock(&vms.lock);
    note_outcome(outcome);
    section->state = SECTION_IDLE;
    vms.alive--;
    const bool over = is_over();
    spinlock_unlock(&vms.lock);
    if (over)
        sched_stop();
}

/*
 * The VM can be found by others from here on, until withdraw(), and starts at this time. CPU A, in
 * vms_destroy(), asks a VM for its end with the lock held, where it finds one, and else leaves word
 * in `destroyed`. CPU B, here, looks at that word, publishes the VM and starts it with the lock
 * held once. Without it, B could look before A has left word, and A look before B has published it:
 * the VM would run on. And A could have it come to its end before B starts it, in memory that is
 * another VM's by then. False: it is not to run.
 */
static bool publish(struct section *section, struct pc *pc, uint64_t tsc)
{
    spinlock_lock(&vms.lock);
    const bool wanted = !section->destroyed;
    if (wanted) {
        section->vm = &pc->vm;
        section->state = SECTION_RUNS;
        pc_start(pc, tsc);
    }
    spinlock_unlock(&vms.lock);
    return wanted;
}

/*
 * The VM has ended, and can be found no longer. CPU A, in vms_destroy(), has found it, and kicks
 * its vCPUs with the lock held. CPU B, here, takes the lock before it gives the VM's memory back.
 * Without it, A could kick a vCPU whose memory is another VM's by now. True: no VM is to follow.
 */
static bool withdraw(struct section *section)
{
    spinlock_lock(&vms.lock);
    const bool destroyed = section->destroyed;
    section->vm = NULL;
    section->state = SECTION_BUSY;
    spinlock_unlock(&vms.lock);
    return destroyed;
}

static void vm_stopped(struct vm *vm);

/* What a life before has used of the CPUs' time counts, and what its end and this beginning have
 * taken, too: else a VM that resets itself at once would come first with each life. */
static void inherit_time(const struct section *section, struct vm *vm)
{
    if (section->tsc_end == 0)
        return;
    vm->share.time = section->used_time;
    run_share_charge(&vm->share, cpu_rdtsc() - section->tsc_end);
}

/* Milliseconds until the next life may begin. */
static uint32_t wait_of(const struct section *section)
{
    uint32_t wait = section->short_lives > FREE_LIVES;
    for (unsigned i = section->short_lives; i > FREE_LIVES + 1 && wait < LONGEST_WAIT_MS; i--)
        wait *= 2;
    return wait < LONGEST_WAIT_MS ? wait : LONGEST_WAIT_MS;
}

/* Ticks until the next life may begin. */
static uint64_t wait_ticks(const struct section *section)
{
    return vms.host->tsc_hz / 1000 * wait_of(section);
}

/* Ticks that its next life may take, from its first turn on. What ending the one before and making
 * this one takes is the host's time, as it is for the first life. */
static uint64_t limit_left(const struct section *section)
{
    const uint64_t limit = section->config->limit * vms.host->tsc_hz;
    return limit > section->lived ? limit - section->lived : 0;
}

/* One more life of a section that is BUSY. ERR_DENIED: it has been destroyed before it ran. */
static enum status begin(struct section *section)
{
    const struct vm_config *config = section->config;
    const struct pc_console console = vm_console_of(section->index, config);
    struct pc *pc = NULL;
    const enum status s =
        pc_create(config, section->index, vms.host, &console, &section->kept, &pc);
    if (s != OK)
        return s;
    vm_console_begin(section->index, pc);
    pc->vm.stopped = vm_stopped;
    pc->vm.owner = section;
    if (config->limit != 0)
        pc_set_limit(pc, limit_left(section));
    print_start(pc, config);
    inherit_time(section, &pc->vm);
    if (!publish(section, pc, cpu_rdtsc() + wait_ticks(section))) {
        log_line_of(pc->vm.log, "%s: destroyed before it has run", config->name);
        pc_destroy(pc, NULL);
        return ERR_DENIED;
    }
    return OK;
}

/* Whether the section asks for another life behind this one. */
static bool restarts(struct section *section, const struct vm *vm)
{
    const struct vm_config *config = section->config;
    const uint64_t lived = vm->tsc_end - vm->tsc_first_entry;
    const bool quick = !ended_well(vm) && lived < vms.host->tsc_hz;
    section->quick_failures = quick ? section->quick_failures + 1 : 0;
    section->short_lives = lived < vms.host->tsc_hz ? section->short_lives + 1 : 0;
    section->lived += lived + wait_ticks(section);
    if (vm->end == VM_LIMIT || action_after(config, vm) != ACTION_RESTART)
        return false;
    if (section->quick_failures == MAX_QUICK_FAILURES) {
        log_line_of(vm->log, "%s: does not restart: %u ends within a second each", config->name,
                    section->quick_failures);
        return false;
    }
    if (wait_of(section) == 0)
        log_line_of(vm->log, "%s: restarts", config->name);
    else
        log_line_of(vm->log, "%s: restarts in %u ms, after %u ends within a second each",
                    config->name, wait_of(section), section->short_lives);
    return true;
}

static void vm_stopped(struct vm *vm)
{
    struct section *section = vm->owner;
    struct pc *pc = pc_of(vm);
    const bool destroyed = withdraw(section);
    vm->tsc_end = section->tsc_end = cpu_rdtsc();
    section->used_time = vm->share.time + vm->vcpu[0]->run.offset;
    const hpa_t before = guestspace_enter(vm->root);
    vm_lock(vm); /* its alarms may be on their way, on another CPU */
    vm_console_end(section->index, pc);
    vm_unlock(vm);
    print_end(vm);
    (void)guestspace_enter(before);
    sched_look();
    stats_print(vm);
    stats_report(vm);
    sched_look();
    enum vms_outcome outcome = ended_well(vm) ? VMS_OK : VMS_FAILED;
    const bool again = !destroyed && restarts(section, vm);
    pc_destroy(pc, again && is_reset(vm->end) ? &section->kept : NULL);
    if (again) {
        const enum status s = begin(section);
        if (s == OK)
            return;
        outcome = s == ERR_DENIED ? VMS_OK : VMS_CONFIG_ERROR;
    }
    close(section, outcome);
}

/* Makes a section that has no VM BUSY, if one more VM may be. */
static enum status claim(uint32_t index)
{
    enum status s = OK;
    spinlock_lock(&vms.lock);
    struct section *section = index < CONFIG_MAX_VMS ? &vms.section[index] : NULL;
    if (section == NULL || section->state != SECTION_IDLE) {
        s = ERR_BAD_INPUT;
    } else if (vms.over) {
        s = ERR_DENIED;
    } else if (vms.alive >= vms.config->max_vms) {
        s = ERR_LIMIT;
    } else {
        section->state = SECTION_BUSY;
        section->destroyed = false;
        section->quick_failures = 0;
        section->short_lives = 0;
        section->tsc_end = 0;
        section->lived = 0;
        vms.alive++;
    }
    spinlock_unlock(&vms.lock);
    return s;
}

enum status vms_start_one(uint32_t index)
{
    enum status s = claim(index);
    if (s == ERR_LIMIT)
        log_line("error: no further VM starts: max_vms = %u run", vms.config->max_vms);
    if (s != OK)
        return s;
    s = vm_console_open(index);
    if (s == OK)
        s = begin(&vms.section[index]);
    else
        log_line("vm %s: no memory for its console", vms.section[index].config->name);
    if (s != OK)
        close(&vms.section[index], VMS_OK);
    return s;
}

enum status vms_destroy(uint32_t index)
{
    enum status s = ERR_BAD_INPUT;
    spinlock_lock(&vms.lock);
    struct section *section = index < CONFIG_MAX_VMS ? &vms.section[index] : NULL;
    if (section != NULL && (section->state == SECTION_BUSY || section->state == SECTION_RUNS)) {
        section->destroyed = true;
        if (section->vm != NULL) /* it may have asked for its end by itself: the first one counts */
            vm_end_request(section->vm, VM_DESTROYED, 0, "destroyed");
        if (section->vm != NULL) /* which it comes to by running */
            pc_start_now(pc_of(section->vm));
        s = OK;
    }
    spinlock_unlock(&vms.lock);
    return s;
}

static bool fail(struct config_error *error, uint32_t line, const char *what, const char *name)
{
    error->line = line;
    format_text(error->text, sizeof(error->text), "%s: %s", name, what);
    return false;
}

static bool same_text(const char *a, const char *b)
{
    const size_t length = strlen(a);
    return length == strlen(b) && memcmp(a, b, length) == 0;
}

static bool is_firmware(const struct loaded_file *file)
{
    bool is = false;
    for (uint32_t i = 0; i < vms.config->vm_count; i++)
        is = is || file == &vms.config->vm[i].firmware;
    return is;
}

/* The kernel of a VM of the engine pv, which starts no bzImage as it is. */
static bool may_be_unpacked(const struct vm_config *vm, const struct loaded_file *file)
{
    return file == &vm->kernel && vm->engine == CONFIG_ENGINE_PV;
}

/* The file of this path that nadir.cfg's VMs have; of two kinds, the unpacked one, if it may be. */
static const struct loaded_file *find_loaded(const struct loaded_file *file, bool unpacked)
{
    struct config_files loaded = {.config = vms.config};
    const struct loaded_file *other, *found = NULL;
    while ((other = config_next_file(&loaded)) != NULL) {
        if (loaded.is_disk || is_firmware(other) || !same_text(other->path, file->path))
            continue;
        if (other->unpacked ? unpacked : found == NULL)
            found = other;
    }
    return found;
}

/*
 * Gives each file that an added section names its place: it is one that the loader has read for
 * nadir.cfg. It has read them once, so that what a VM writes to (a disk, firmware with its
 * variables) belongs to the VM that it was read for.
 */
static bool find_files(struct vm_config *vm, struct config_error *error)
{
    const struct nadir_config added = {.vm = vm, .vm_count = 1};
    struct config_files walk = {.config = &added};
    struct loaded_file *file;
    while ((file = config_next_file(&walk)) != NULL) {
        if (walk.is_disk || file == &vm->firmware)
            return fail(error, file->line, "a VM that is added cannot have disks and firmware",
                        file->path);
        const struct loaded_file *other = find_loaded(file, may_be_unpacked(vm, file));
        if (other == NULL)
            return fail(error, file->line,
                        find_loaded(file, true) != NULL
                            ? "a bzImage that is loaded unpacked only, for engine = pv"
                            : "not loaded: nadir.cfg does not name it",
                        file->path);
        file->base = other->base;
        file->size = other->size;
    }
    return kernel_settle_engine(vm, error) &&
           config_check_cpus(&added, vms.host->queues->count, error);
}

/* With the lock held. NULL: there is none, and *error says why. */
static struct section *find_free(const struct vm_config *config, struct config_error *error)
{
    struct section *free = NULL;
    for (uint32_t i = CONFIG_MAX_VMS; i-- > 0;) {
        struct section *section = &vms.section[i];
        if (section->state == SECTION_FREE) {
            free = section;
        } else if (same_text(section->config->name, config->name)) {
            fail(error, config->line, "a VM of this name is there already", config->name);
            return NULL;
        }
    }
    if (free == NULL)
        fail(error, config->line, "too many VMs: the table of sections is full", config->name);
    return free;
}

static enum status take_section(const struct vm_config *config, hpa_t memory, uint64_t pages,
                                uint32_t *index, struct config_error *error)
{
    spinlock_lock(&vms.lock);
    struct section *section = find_free(config, error);
    if (section != NULL) {
        section->config = config;
        section->memory = memory;
        section->pages = pages;
        section->state = SECTION_IDLE;
        *index = section->index;
    }
    spinlock_unlock(&vms.lock);
    return section != NULL ? OK : ERR_LIMIT;
}

enum status vms_add(const char *text, size_t length, uint32_t *index, struct config_error *error)
{
    const uint64_t pages = (config_memory(text, length) + PAGE_SIZE - 1) / PAGE_SIZE;
    struct vm_config *config;
    hpa_t memory;
    *error = (struct config_error){0};
    enum status s = page_alloc(pages, 1, &memory);
    if (s != OK) {
        fail(error, 0, status_text(s), "the section");
        return s;
    }
    if (!config_parse_vm(text, length, hpa_to_ptr(memory), &config, error) ||
        !find_files(config, error))
        s = ERR_BAD_INPUT;
    if (s == OK)
        s = take_section(config, memory, pages, index, error);
    if (s != OK)
        page_free(memory, pages);
    return s;
}

enum status vms_remove(uint32_t index)
{
    struct section *section = index < CONFIG_MAX_VMS ? &vms.section[index] : NULL;
    hpa_t memory = hpa(0);
    uint64_t pages = 0;
    spinlock_lock(&vms.lock);
    if (section != NULL && section->state == SECTION_IDLE && section->pages != 0) {
        memory = section->memory;
        pages = section->pages;
        *section = (struct section){.index = index};
    }
    spinlock_unlock(&vms.lock);
    if (pages == 0)
        return ERR_BAD_INPUT;
    page_free(memory, pages);
    return OK;
}

void vms_start(void)
{
    enum vms_outcome outcome = VMS_OK;
    for (uint32_t i = 0; i < vms.config->vm_count; i++)
        if (vms.config->vm[i].start && vms_start_one(i) != OK)
            outcome = VMS_CONFIG_ERROR;
    spinlock_lock(&vms.lock);
    note_outcome(outcome);
    vms.starting = false; /* until here, the first VM may have ended before the last has begun */
    const bool over = is_over();
    spinlock_unlock(&vms.lock);
    if (over)
        sched_stop();
}

enum vms_outcome vms_outcome(void)
{
    return vms.outcome;
}
