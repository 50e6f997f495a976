/* SPDX-License-Identifier: BSD-2-Clause */
/* The accounts of a VM: the table, and the line of JSON. */
#include "vmx/stats.h"
#include "arch/format.h"
#include "arch/log.h"
#include "arch/spinlock.h"
#include "vmx/exit.h"

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
            log_line("%s: %-34s %10llu %14llu %8llu", vm->name, exit_reason_name(i),
                     (unsigned long long)e->count, (unsigned long long)e->tsc_root,
                     (unsigned long long)(e->tsc_root / e->count));
    }
}

/* The JSON line is made in one piece, as other CPUs print too; 80 reasons of 90 bytes fit. */
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

static void print_json(const struct vm *vm, uint64_t root)
{
    static struct line line;
    static struct spinlock lock;
    const struct vm_stats *stats = &vm->stats;
    spinlock_lock(&lock);
    line.length = 0;
    append(&line,
           "nadir-stats: {\"vm\": \"%s\", \"end\": \"%s\", \"code\": %u, \"vcpus\": 1, "
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
        append(&line, "%s\"%s\": {\"count\": %llu, \"tsc_root\": %llu}", comma, exit_reason_name(i),
               (unsigned long long)e->count, (unsigned long long)e->tsc_root);
        comma = ", ";
    }
    append(&line,
           "}, \"ept_violations_ram\": %llu, \"ept_leaves\": {\"4k\": %llu, \"2m\": %llu, \"1g\": "
           "%llu}, "
           "\"memory_bytes\": %llu}\n",
           (unsigned long long)stats->ept_violations_ram,
           (unsigned long long)vm->ept.leaves[EPT_LEAF_4K],
           (unsigned long long)vm->ept.leaves[EPT_LEAF_2M],
           (unsigned long long)vm->ept.leaves[EPT_LEAF_1G], (unsigned long long)vm->memory_bytes);
    log_bytes(line.text, line.length);
    spinlock_unlock(&lock);
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
    print_json(vm, root);
}
