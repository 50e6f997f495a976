/* SPDX-License-Identifier: BSD-2-Clause */
/* Starts the other CPUs as the SDM's "MP Initialization Example" describes, and stops them. */
#include "arch/smp.h"
#include "arch/cpu.h"
#include "arch/fault.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/panic.h"
#include "arch/string.h"
#include "arch/tscsync.h"

/* The end of the trampoline page: what trampoline.asm reads. */
struct trampoline_data {
    uint64_t cr3;
    uint64_t efer;
    uint64_t cr0;
    uint64_t stack_top;
    uint64_t cpu;
    uint64_t entry;
    uint32_t long_mode_offset; /* operand of the far jump into 64-bit code */
    uint16_t long_mode_selector;
    uint16_t gdt_limit;
    uint32_t gdt_base;
    uint32_t allow_nx; /* IA32_MISC_ENABLE exists, and may forbid what efer asks for */
};
#define TRAMPOLINE_DATA 0xf00
#define TRAMPOLINE_CODE 8 /* in its own GDT */
#define TSC_ROUNDS      1000
_Static_assert(sizeof(struct trampoline_data) == 64, "trampoline.asm knows the layout");

extern const uint8_t trampoline_start[], trampoline_end[], trampoline_long[], trampoline_gdt[];

static const struct smp_env *environment;
static struct tsc_sync tsc_sync; /* of the CPU that is being started */
static uint64_t tsc_adjust;      /* the boot CPU's */
static uint32_t stopper;         /* index + 1 of the CPU that stops all others */

static void wait_us(const struct smp_env *env, uint64_t us, const bool *until)
{
    uint64_t start = cpu_rdtsc(), ticks = env->tsc_hz / 1000000 * us;
    while (cpu_rdtsc() - start < ticks) {
        if (until != NULL && __atomic_load_n(until, __ATOMIC_ACQUIRE))
            return;
        cpu_pause();
    }
}

static bool has_tsc_adjust(void)
{
    return cpu_cpuid(0, 0).eax >= 7 && (cpu_cpuid(7, 0).ebx & CPUID_7_EBX_TSC_ADJUST) != 0;
}

/* Firmware may have moved the counters apart, each by its own IA32_TSC_ADJUST. */
static bool join_clock(void)
{
    const bool can_adjust = has_tsc_adjust();
    if (can_adjust && cpu_rdmsr(MSR_IA32_TSC_ADJUST) != tsc_adjust)
        cpu_wrmsr(MSR_IA32_TSC_ADJUST, tsc_adjust);
    return tsc_sync_run(&tsc_sync, TSC_FOLLOWER, can_adjust);
}

/* The first C on a CPU that the trampoline has brought to 64-bit mode. */
static _Noreturn void smp_main(struct cpu *cpu)
{
    desc_init(cpu);
    cpu_enable_features();
    lapic_init();
    __atomic_store_n(&cpu->arrived, true, __ATOMIC_RELEASE);
    if (!join_clock())
        cpu_stop(); /* until the boot CPU's INIT */
    void (*entry)(struct cpu *) = environment->entry;
    __atomic_store_n(&cpu->online, true, __ATOMIC_RELEASE); /* from here on *environment may go */
    entry(cpu);
    panic("the work of CPU %u has returned", cpu->index);
}

static void write_trampoline(const struct smp_env *env, const struct cpu *cpu)
{
    uint8_t *page = hpa_to_ptr(env->trampoline);
    uint32_t base = (uint32_t)env->trampoline.v;
    uint64_t unused;
    struct trampoline_data data = {
        .cr3 = env->cr3.v,
        .efer = cpu_rdmsr(MSR_IA32_EFER) & (EFER_LME | EFER_NXE),
        .cr0 = cpu_read_cr0(),
        .stack_top = cpu->memory.stack_top,
        .cpu = (uint64_t)(uintptr_t)cpu,
        .entry = (uint64_t)(uintptr_t)smp_main,
        .long_mode_offset = base + (uint32_t)(trampoline_long - trampoline_start),
        .long_mode_selector = TRAMPOLINE_CODE,
        .gdt_limit = 2 * 8 - 1,
        .gdt_base = base + (uint32_t)(trampoline_gdt - trampoline_start),
        .allow_nx = cpu_rdmsr_safe(MSR_IA32_MISC_ENABLE, &unused),
    };
    memcpy(page, trampoline_start, (size_t)(trampoline_end - trampoline_start));
    memcpy(page + TRAMPOLINE_DATA, &data, sizeof(data));
}

/* By INIT: a late one must not run on the next one's trampoline. */
static enum status leave_out(uint32_t apic_id, const char *why, enum status s)
{
    lapic_send(apic_id, LAPIC_INIT);
    log_line("CPU with APIC ID %u %s: left out", apic_id, why);
    cpu_remove_last();
    return s;
}

enum status smp_start_cpu(const struct smp_env *env, uint32_t apic_id,
                          const struct cpu_memory *memory)
{
    if (!lapic_can_reach(apic_id)) {
        log_line("CPU with APIC ID %u left out: it needs x2APIC mode", apic_id);
        return ERR_UNSUPPORTED;
    }
    struct cpu *cpu = cpu_add(apic_id, memory);
    if (cpu == NULL) {
        log_line("CPU with APIC ID %u left out: more than %u", apic_id, CPU_MAX);
        return ERR_LIMIT;
    }
    environment = env;
    tsc_adjust = has_tsc_adjust() ? cpu_rdmsr(MSR_IA32_TSC_ADJUST) : 0;
    tsc_sync = (struct tsc_sync){.rounds = TSC_ROUNDS};
    write_trampoline(env, cpu);

    uint32_t page = (uint32_t)(env->trampoline.v / PAGE_SIZE);
    lapic_send(apic_id, LAPIC_INIT);
    wait_us(env, 10000, NULL);
    lapic_send(apic_id, LAPIC_STARTUP | page);
    wait_us(env, 200, &cpu->arrived);
    if (!__atomic_load_n(&cpu->arrived, __ATOMIC_ACQUIRE))
        lapic_send(apic_id, LAPIC_STARTUP | page);
    wait_us(env, 200000, &cpu->arrived);
    if (!__atomic_load_n(&cpu->arrived, __ATOMIC_ACQUIRE))
        return leave_out(apic_id, "did not start", ERR_TIMEOUT);
    if (!tsc_sync_run(&tsc_sync, TSC_LEADER, false))
        return leave_out(apic_id, "has a time-stamp counter of its own", ERR_UNSUPPORTED);
    while (!__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE))
        cpu_pause();
    return OK;
}

void smp_wake(const struct cpu *cpu)
{
    lapic_send(cpu->apic_id, VECTOR_WAKE);
}

bool smp_is_stopping(void)
{
    uint32_t by = __atomic_load_n(&stopper, __ATOMIC_ACQUIRE);
    return by != 0 && by != cpu_self()->index + 1;
}

void smp_stop_others(void)
{
    uint32_t self = cpu_self()->index;
    __atomic_store_n(&stopper, self + 1, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < cpu_count(); i++) {
        struct cpu *cpu = cpu_by_index(i);
        if (i != self && __atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE))
            lapic_send(cpu->apic_id, LAPIC_NMI);
    }
}
