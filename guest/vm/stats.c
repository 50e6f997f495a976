/* SPDX-License-Identifier: BSD-2-Clause */
/* The accounts of a VM: the table for its reader, and the report for programs. */
#include "guest/vm/stats.h"
#include "arch/format.h"
#include "arch/log.h"
#include "arch/report.h"
#include "arch/spinlock.h"
#include "guest/vm/sched.h"

static const char *end_name(enum vm_end end)
{
    static const char *const text[] = {[VM_RUNS] = "runs",           [VM_POWEROFF] = "poweroff",
                                       [VM_RESET] = "reset",         [VM_DEBUG_EXIT] = "debug-exit",
                                       [VM_CRASH] = "crash",         [VM_TRIPLE_FAULT] = "crash",
                                       [VM_DESTROYED] = "destroyed", [VM_LIMIT] = "limit"};
    return text[end];
}

struct exit_stat {
    uint64_t count, tsc_root;
};

/* All vCPUs' counts of one reason. */
static struct exit_stat sum_of(const struct vm *vm, unsigned reason)
{
    struct exit_stat sum = {0};
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        sum.count += vm->vcpu[i]->stats.count[reason];
        sum.tsc_root += vm->vcpu[i]->stats.tsc_root[reason];
    }
    return sum;
}

/* The same of all reasons, in portions, as a VM may have 64 vCPUs. Returns the ticks in root mode.
 */
static uint64_t sum_up(const struct vm *vm, struct exit_stat sum[STATS_EVENTS])
{
    uint64_t root = 0;
    for (unsigned i = 0; i < vm->engine->event_count; i++) {
        sum[i] = sum_of(vm, i);
        root += sum[i].tsc_root;
        sched_look();
    }
    return root;
}

static const char *class_name(enum event_class class)
{
    static const char *const text[CLASS_COUNT] = {
        [CLASS_IO] = "io",
        [CLASS_MMIO] = "mmio",
        [CLASS_CPU] = "cpu",
        [CLASS_PAGE_TABLES] = "page_tables",
        [CLASS_EXCEPTION] = "exception",
        [CLASS_INTERRUPT] = "interrupt",
        [CLASS_SYSCALL] = "syscall",
        [CLASS_TIMER] = "timer",
        [CLASS_IDLE] = "idle",
        [CLASS_TRANSLATE] = "translate",
        [CLASS_OTHER] = "other",
    };
    return text[class];
}

static void print_table(const struct vm *vm, const struct exit_stat sum[STATS_EVENTS])
{
    char head[40];
    format_text(head, sizeof(head), "VM exits by reason (%s)", vm->engine->name);
    log_line_of(vm->log, "%s: %-34s %10s %14s %8s  %s", vm->name, head, "count", "root ticks",
                "each", "class");
    for (unsigned i = 0; i < vm->engine->event_count; i++) {
        const struct exit_stat e = sum[i];
        if (e.count == 0)
            continue;
        log_line_of(vm->log, "%s: %-34s %10lu %14lu %8lu  %s", vm->name, vm->engine->event_name(i),
                    e.count, e.tsc_root, e.tsc_root / e.count,
                    class_name(vm->engine->event_class(i)));
        sched_look();
    }
}

/* What the engine counts beside events. */
static void print_counters(const struct vm *vm)
{
    char head[40];
    if (vm->engine->counter_count == 0)
        return;
    format_text(head, sizeof(head), "work of the engine (%s)", vm->engine->name);
    log_line_of(vm->log, "%s: %-34s %10s", vm->name, head, "count");
    for (unsigned i = 0; i < vm->engine->counter_count; i++) {
        const uint64_t count = vm->engine->counter(vm, i);
        if (count != 0)
            log_line_of(vm->log, "%s: %-34s %10lu", vm->name, vm->engine->counter_name(i), count);
        sched_look();
    }
}

/* A report is one line; 80 events of 80 bytes fit, and what else there is. */
struct line {
    size_t length;
    char text[8192];
};

static void __attribute__((format(printf, 2, 3))) append(struct line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line->length +=
        format_text_va(line->text + line->length, sizeof(line->text) - line->length, format, args);
    va_end(args);
}

/* Host TSC ticks that all vCPUs have waited for one thing. */
static uint64_t sum_of_waits(const struct vm *vm, enum vcpu_activity activity)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        sum += vm->vcpu[i]->tsc_waited[activity];
    return sum;
}

/* Whatever a vCPU may wait for has an account. */
static const struct wait {
    const char *key, *name; /* for programs, and for people */
    bool always;
} waits[] = {
    [ACTIVITY_HLT] = {"tsc_hlt", "in HLT", true},
    [ACTIVITY_WAIT_FOR_IO] = {"tsc_wait_io", "for a device to take more", false},
    [ACTIVITY_FROZEN] = {"tsc_wait_x87", "at x87 errors", false},
    [ACTIVITY_SLEEP] = {"tsc_wait_sleep", "by hypercall", false},
    [ACTIVITY_WAIT_FOR_SIPI] = {"tsc_wait_sipi", "for a start-up IPI", false},
};
_Static_assert(sizeof(waits) / sizeof(waits[0]) == ACTIVITY_COUNT && ACTIVITY_ACTIVE == 0,
               "each but the first is a wait");

/* Each tick of each vCPU between the first entry and the end: in root mode, in one of the waits, or
 * else in the guest, or ready without a CPU. */
static void append_times(struct line *line, const struct vm *vm, uint64_t root)
{
    const uint64_t end = vm->tsc_end != 0 ? vm->tsc_end : cpu_rdtsc(),
                   all = (end - vm->tsc_first_entry) * vm->vcpu_count;
    uint64_t idle = 0;
    append(line, "\"tsc_first_entry\": %lu, \"tsc_end\": %lu, ", vm->tsc_first_entry, end);
    for (unsigned i = ACTIVITY_ACTIVE + 1; i < ACTIVITY_COUNT; i++) {
        const uint64_t waited = sum_of_waits(vm, (enum vcpu_activity)i);
        idle += waited;
        append(line, "\"%s\": %lu, ", waits[i].key, waited);
    }
    append(line, "\"tsc_idle\": %lu, \"tsc_root\": %lu, \"tsc_guest_or_ready\": %lu, ", idle, root,
           all > root + idle ? all - root - idle : 0);
}

static void append_events(struct line *line, const struct vm *vm,
                          const struct exit_stat sum[STATS_EVENTS])
{
    struct exit_stat of[CLASS_COUNT] = {0};
    const char *comma = "";
    append(line, "\"exits\": {");
    for (unsigned i = 0; i < vm->engine->event_count; i++) {
        const struct exit_stat e = sum[i];
        if (e.count == 0)
            continue;
        append(line, "%s\"%s\": {\"count\": %lu, \"tsc_root\": %lu}", comma,
               vm->engine->event_name(i), e.count, e.tsc_root);
        comma = ", ";
        struct exit_stat *class = &of[vm->engine->event_class(i)];
        class->count += e.count;
        class->tsc_root += e.tsc_root;
    }
    append(line, "}, \"classes\": {");
    comma = "";
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        if (of[i].count == 0)
            continue;
        append(line, "%s\"%s\": {\"count\": %lu, \"tsc_root\": %lu}", comma,
               class_name((enum event_class)i), of[i].count, of[i].tsc_root);
        comma = ", ";
    }
    append(line, "}, ");
}

static void append_counters(struct line *line, const struct vm *vm)
{
    append(line, "\"counters\": {");
    for (unsigned i = 0; i < vm->engine->counter_count; i++)
        append(line, "%s\"%s\": %lu", i != 0 ? ", " : "", vm->engine->counter_name(i),
               vm->engine->counter(vm, i));
    append(line, "}, ");
}

void stats_report(const struct vm *vm)
{
    static struct line line;
    static struct spinlock lock;
    struct exit_stat sum[STATS_EVENTS];
    const uint64_t root = sum_up(vm, sum);
    uint64_t faults_on_ram = 0;
    struct engine_memory memory;
    vm->engine->memory(vm, &memory);
    for (uint32_t i = 0; i < vm->vcpu_count; i++)
        faults_on_ram += vm->vcpu[i]->stats.faults_on_ram;
    spinlock_lock(&lock);
    line.length = 0;
    append(&line,
           "{\"nadir-stats\": {\"vm\": \"%s\", \"engine\": \"%s\", \"end\": \"%s\", \"code\": %u, "
           "\"vcpus\": %u, \"cpus\": %u, ",
           vm->name, vm->engine->name, end_name(vm->end), vm->end_code, vm->vcpu_count,
           vm->cpu_count);
    append_times(&line, vm, root);
    append_events(&line, vm, sum);
    append_counters(&line, vm);
    const struct exit_stat vms = sum_of(vm, STATS_SWITCH_VM), own = sum_of(vm, STATS_SWITCH_VCPU);
    append(&line,
           "\"switches_from_vm\": {\"count\": %lu, \"ticks\": %lu}, "
           "\"switches_from_vcpu\": {\"count\": %lu, \"ticks\": %lu",
           vms.count, vms.tsc_root, own.count, own.tsc_root);
    append(&line,
           "}, \"ept_violations_ram\": %lu, \"ept_leaves\": {\"4k\": %lu, \"2m\": %lu, \"1g\": "
           "%lu}, \"memory_bytes\": %lu}}\n",
           faults_on_ram, memory.leaves[0], memory.leaves[1], memory.leaves[2], vm->memory_bytes);
    (void)report_line(vm->log, line.text, line.length);
    spinlock_unlock(&lock);
}

/* One sentence: where the time from the first entry to the end has gone, as far as it is known. */
static void print_times(const struct vm *vm, uint64_t root)
{
    const uint64_t elapsed = vm->tsc_end - vm->tsc_first_entry;
    const uint64_t on_cpus = elapsed * vm->cpu_count, of_vcpus = elapsed * vm->vcpu_count;
    char text[160] = "";
    size_t length = 0;
    if (elapsed == 0)
        return;
    for (unsigned i = ACTIVITY_ACTIVE + 1; i < ACTIVITY_COUNT; i++) {
        const uint64_t waited = sum_of_waits(vm, (enum vcpu_activity)i);
        if (waits[i].always || waited != 0)
            length += format_text(text + length, sizeof(text) - length, ", %lu.%02lu %% waiting %s",
                                  scale_u64(waited, 100, of_vcpus),
                                  scale_u64(waited, 10000, of_vcpus) % 100, waits[i].name);
    }
    log_line_of(vm->log,
                "%s: %lu ticks from first entry to end on %u CPU%s: %lu.%02lu %% in root mode%s",
                vm->name, elapsed, vm->cpu_count, vm->cpu_count == 1 ? "" : "s",
                scale_u64(root, 100, on_cpus), scale_u64(root, 10000, on_cpus) % 100, text);
}

void stats_print(const struct vm *vm)
{
    struct exit_stat sum[STATS_EVENTS];
    const uint64_t root = sum_up(vm, sum);
    print_table(vm, sum);
    print_counters(vm);
    print_times(vm, root);
}
