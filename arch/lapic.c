/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC's registers, by memory or MSR (SDM, "Local APIC Register Address Map"). */
#include "arch/lapic.h"
#include "arch/cpu.h"
#include "arch/fault.h"
#include "arch/log.h"
#include "arch/percpu.h"

#define DIVIDE_BY_1   0xbu
#define ICR_MAX_SPINS 1000000

static bool x2apic, x2apic_wanted;
static uint64_t mmio; /* host-physical, in xAPIC mode */
static bool timer_ready, deadline_mode;
static uint64_t counts_per_tsc; /* of the one-shot timer, 32.32 fixed point */

static volatile uint32_t *mmio_reg(unsigned offset)
{
    return (volatile uint32_t *)hpa_to_ptr(hpa(mmio + offset));
}

static uint32_t read_reg(unsigned offset)
{
    if (x2apic)
        return (uint32_t)cpu_rdmsr(MSR_IA32_X2APIC_BASE + offset / 16);
    return *mmio_reg(offset);
}

static void write_reg(unsigned offset, uint32_t value)
{
    if (x2apic)
        cpu_wrmsr(MSR_IA32_X2APIC_BASE + offset / 16, value);
    else
        *mmio_reg(offset) = value;
}

static void select_mode(void)
{
    uint64_t base = cpu_rdmsr(MSR_IA32_APIC_BASE);
    if (cpu_self()->index == 0) {
        x2apic = x2apic_wanted || ((base & APIC_BASE_ENABLE) && (base & APIC_BASE_X2APIC));
        mmio = base & APIC_BASE_ADDRESS;
        cpu_out8(0x21, 0xff); /* both 8259s: nothing of theirs is used by the host */
        cpu_out8(0xa1, 0xff);
    }
    if (!(base & APIC_BASE_ENABLE))
        cpu_wrmsr(MSR_IA32_APIC_BASE, base |= APIC_BASE_ENABLE);
    if (x2apic && !(base & APIC_BASE_X2APIC))
        cpu_wrmsr(MSR_IA32_APIC_BASE, base | APIC_BASE_X2APIC);
}

void lapic_timer_use_vector(uint8_t vector)
{
    write_reg(APIC_DIVIDE, DIVIDE_BY_1);
    write_reg(APIC_LVT_TIMER, vector | (deadline_mode ? APIC_LVT_TSC_DEADLINE : 0));
    /* The write by memory is to be seen before the first WRMSR of the deadline. */
    __asm__ volatile("mfence" : : : "memory");
}

void lapic_use_x2apic(void)
{
    x2apic_wanted = (cpu_cpuid(1, 0).ecx & CPUID_1_ECX_X2APIC) != 0;
}

bool lapic_can_reach(uint32_t apic_id)
{
    return x2apic || apic_id < APIC_XAPIC_EVERYBODY;
}

/* Firmware may have its own use of a source, by SMI: of the thermal sensor, to save the CPU. */
static void mask_source(unsigned offset)
{
    if ((read_reg(offset) & APIC_LVT_MODE) != APIC_LVT_SMI)
        write_reg(offset, APIC_LVT_MASKED);
}

void lapic_init(void)
{
    select_mode();
    unsigned last_lvt = read_reg(APIC_VERSION) >> 16 & 0xff;
    cpu_self()->apic_id = x2apic ? read_reg(APIC_ID) : read_reg(APIC_ID) >> 24;
    write_reg(APIC_SVR, APIC_SVR_ENABLE | VECTOR_SPURIOUS);
    write_reg(APIC_LVT_TIMER, APIC_LVT_MASKED);
    write_reg(APIC_LVT_LINT0, APIC_LVT_MASKED);
    write_reg(APIC_LVT_ERROR, APIC_LVT_MASKED | VECTOR_SPURIOUS);
    if (last_lvt >= 4)
        mask_source(APIC_LVT_PERF);
    if (last_lvt >= 5)
        mask_source(APIC_LVT_THERMAL);
    if (last_lvt >= 6)
        mask_source(APIC_LVT_CMCI);
    write_reg(APIC_TPR, 0);
    if (cpu_self()->index != 0)
        lapic_timer_use_vector(VECTOR_TIMER);
}

void lapic_timer_init(uint64_t tsc_hz)
{
    deadline_mode = (cpu_cpuid(1, 0).ecx & CPUID_1_ECX_TSC_DEADLINE) != 0;
    if (!deadline_mode) {
        write_reg(APIC_LVT_TIMER, APIC_LVT_MASKED | VECTOR_TIMER);
        write_reg(APIC_DIVIDE, DIVIDE_BY_1);
        write_reg(APIC_INITIAL_COUNT, UINT32_MAX);
        uint64_t start = cpu_rdtsc(), now;
        do {
            now = cpu_rdtsc();
        } while (now - start < tsc_hz / 200);
        uint64_t counted = UINT32_MAX - read_reg(APIC_CURRENT_COUNT);
        write_reg(APIC_INITIAL_COUNT, 0);
        counts_per_tsc = (counted << 32) / (now - start + 1);
    }
    log_line("local APIC %u: %s mode, timer %s", cpu_self()->apic_id, x2apic ? "x2APIC" : "xAPIC",
             deadline_mode ? "by TSC deadline" : "one-shot");
    lapic_timer_use_vector(VECTOR_TIMER);
    timer_ready = true;
}

bool lapic_timer_is_ready(void)
{
    return timer_ready;
}

void lapic_timer_arm(uint64_t tsc_deadline)
{
    if (deadline_mode) {
        cpu_wrmsr(MSR_IA32_TSC_DEADLINE, tsc_deadline != 0 ? tsc_deadline : 1);
        return;
    }
    uint64_t now = cpu_rdtsc();
    uint64_t delta = tsc_deadline > now ? tsc_deadline - now : 0;
    if (delta > UINT32_MAX)
        delta = UINT32_MAX;
    uint64_t ticks = (delta * counts_per_tsc) >> 32;
    if (ticks > UINT32_MAX)
        ticks = UINT32_MAX;
    write_reg(APIC_INITIAL_COUNT, ticks != 0 ? (uint32_t)ticks : 1);
}

void lapic_eoi(void)
{
    write_reg(APIC_EOI, 0);
}

void lapic_send(uint32_t apic_id, uint32_t message)
{
    uint32_t command = APIC_ICR_ASSERT | message;
    uint64_t flags = cpu_read_rflags();
    cpu_cli(); /* an interrupt between the two halves might send its own */
    if (x2apic) {
        /* WRMSR of x2APIC registers does not wait for earlier stores, which the receiver is to see.
         */
        __asm__ volatile("mfence; lfence" : : : "memory");
        cpu_wrmsr(MSR_IA32_X2APIC_ICR, (uint64_t)apic_id << 32 | command);
    } else {
        write_reg(APIC_ICR_HIGH, apic_id << 24);
        write_reg(APIC_ICR, command);
        for (unsigned i = 0; i < ICR_MAX_SPINS && (read_reg(APIC_ICR) & APIC_ICR_PENDING); i++)
            cpu_pause();
    }
    if (flags & RFLAGS_IF)
        cpu_sti();
}

void cpu_idle_until(uint64_t tsc_deadline)
{
    lapic_timer_arm(tsc_deadline);
    cpu_idle();
}
