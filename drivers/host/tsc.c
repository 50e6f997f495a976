/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads what clockrate.c chooses from: CPUID, Hyper-V's MSR, and the PC's three timers. */
#include "drivers/host/tsc.h"
#include "arch/addr.h"
#include "arch/cpu.h"
#include "arch/log.h"
#include "drivers/host/clockrate.h"

#define PIT_HZ   1193182u
#define PM_HZ    3579545u
#define PM_MASK  0xffffffu /* 24 bits are always there */
#define FEMTO    1000000000000000ull
#define FEMTO_10 100000000u /* the longest period that the HPET's specification allows: 10 MHz */

enum { PIT_CH2 = 0x42, PIT_MODE = 0x43, PORT_B = 0x61, GATE_2 = 1, SPEAKER = 2 };
enum { CH2_LATCH = 0x80, CH2_MODE_0 = 0xb0 }; /* channel 2, both bytes, counts down and wraps */
enum { HPET_PERIOD = 0x04, HPET_CONFIG = 0x10, HPET_COUNTER = 0xf0, HPET_ON = 1 };
enum { HYPERVISOR_LEAF = 0x40000000, HYPERVISOR_TIMING = 0x40000010 };
enum { HYPERV_SIGNATURE = 0x31237648 /* "Hv#1" */, HYPERV_FREQUENCIES = 1 << 11 };

static uint16_t pm_port;
static volatile uint32_t *hpet;

static uint32_t read_pit(void)
{
    cpu_out8(PIT_MODE, CH2_LATCH);
    const uint32_t low = cpu_in8(PIT_CH2);
    return low | (uint32_t)cpu_in8(PIT_CH2) << 8;
}

static uint32_t read_pm_timer(void)
{
    return cpu_in32(pm_port);
}

static uint32_t read_hpet(void)
{
    return hpet[HPET_COUNTER / 4];
}

static uint64_t measure_pit(void)
{
    static const struct rate_timer timer = {read_pit, PIT_HZ, 0xffff, .counts_down = true};
    const uint8_t b = (uint8_t)(cpu_in8(PORT_B) & ~(GATE_2 | SPEAKER));
    cpu_out8(PORT_B, b | GATE_2);
    cpu_out8(PIT_MODE, CH2_MODE_0);
    cpu_out8(PIT_CH2, 0xff);
    cpu_out8(PIT_CH2, 0xff);
    const uint64_t hz = clock_rate_measure(&timer);
    cpu_out8(PORT_B, b);
    return hz;
}

static uint64_t measure_pm_timer(void)
{
    static const struct rate_timer timer = {read_pm_timer, PM_HZ, PM_MASK, .counts_down = false};
    return pm_port != 0 ? clock_rate_measure(&timer) : 0;
}

static uint64_t measure_hpet(void)
{
    uint64_t word;
    if (hpet == NULL || !cpu_read_safe((uint64_t)(uintptr_t)hpet, &word))
        return 0;
    const uint32_t period = hpet[HPET_PERIOD / 4]; /* in femtoseconds */
    if (period == 0 || period > FEMTO_10)
        return 0;
    const struct rate_timer timer = {read_hpet, FEMTO / period, UINT32_MAX, .counts_down = false};
    hpet[HPET_CONFIG / 4] |= HPET_ON;
    return clock_rate_measure(&timer);
}

/* Where the interface is Hyper-V's, further leaves mean something else. */
static bool is_hyperv(void)
{
    return (cpu_cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR) != 0 &&
           cpu_cpuid(HYPERVISOR_LEAF, 0).eax >= HYPERVISOR_LEAF + 3 &&
           cpu_cpuid(HYPERVISOR_LEAF + 1, 0).eax == HYPERV_SIGNATURE;
}

static uint64_t ask_hypervisor(void)
{
    if ((cpu_cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR) == 0 || is_hyperv() ||
        cpu_cpuid(HYPERVISOR_LEAF, 0).eax < HYPERVISOR_TIMING)
        return 0;
    return cpu_cpuid(HYPERVISOR_TIMING, 0).eax * 1000ull;
}

static uint64_t ask_hyperv(void)
{
    uint64_t hz = 0;
    if (!is_hyperv() || (cpu_cpuid(HYPERVISOR_LEAF + 3, 0).eax & HYPERV_FREQUENCIES) == 0)
        return 0;
    return cpu_rdmsr_safe(MSR_HYPERV_TSC_FREQUENCY, &hz) ? hz : 0;
}

static uint64_t ask_crystal(void)
{
    const struct cpuid_regs ratio =
        cpu_cpuid(0, 0).eax >= 0x15 ? cpu_cpuid(0x15, 0) : (struct cpuid_regs){0};
    return ratio.eax != 0 ? (uint64_t)ratio.ecx * ratio.ebx / ratio.eax : 0;
}

static uint64_t ask(enum rate_source source)
{
    switch (source) {
    case RATE_CRYSTAL: return ask_crystal();
    case RATE_HYPERVISOR: return ask_hypervisor();
    case RATE_HYPERV: return ask_hyperv();
    case RATE_PM_TIMER: return measure_pm_timer();
    case RATE_HPET: return measure_hpet();
    case RATE_PIT: return measure_pit();
    case RATE_NOMINAL:
        return cpu_cpuid(0, 0).eax >= 0x16 ? (cpu_cpuid(0x16, 0).eax & 0xffff) * 1000000ull : 0;
    default: return 0;
    }
}

uint64_t tsc_measure_hz(const struct acpi_facts *acpi)
{
    pm_port = acpi->pm_timer_port;
    hpet = acpi->hpet != 0 ? hpa_to_ptr(hpa(acpi->hpet)) : NULL;
    const struct clock_rate rate = clock_rate_choose(ask);
    if (rate.by == RATE_NOBODY)
        log_line("TSC: CPUID does not tell its rate, and neither PM timer nor HPET nor PIT runs");
    else if (rate.second != RATE_NOBODY)
        log_line("TSC: %lu kHz by %s, and %s agrees", rate.hz / 1000,
                 clock_rate_source_name(rate.by), clock_rate_source_name(rate.second));
    else
        log_line("TSC: %lu kHz by %s; no second source agrees", rate.hz / 1000,
                 clock_rate_source_name(rate.by));
    if (rate.odd != RATE_NOBODY)
        log_line("TSC: %s says %lu kHz, which is not believed", clock_rate_source_name(rate.odd),
                 rate.other_hz / 1000);
    return rate.hz;
}
