/* SPDX-License-Identifier: BSD-2-Clause */
/* Measures the TSC: what CPUID says of it is wrong in emulators, and absent on older CPUs. */
#include "drivers/host/tsc.h"
#include "arch/cpu.h"
#include "arch/log.h"

#define RUNS      3
#define RUN_HZ    125u         /* a run takes 8 ms */
#define RUN_BOUND (1ull << 28) /* TSC ticks after which a timer counts as dead */
#define MIN_HZ    10000000ull
#define MAX_HZ    20000000000ull
#define PIT_HZ    1193182u
#define PM_HZ     3579545u
#define PM_MASK   0xffffffu /* 24 bits are always there */

enum { PIT_CH2 = 0x42, PIT_MODE = 0x43, PORT_B = 0x61, GATE_2 = 1, SPEAKER = 2, OUT_2 = 0x20 };
enum { CH2_MODE_0 = 0xb0 }; /* channel 2, both bytes, interrupt on terminal count, binary */

/* TSC ticks of one run, scaled to a second; 0 where the timer does not behave. */
static uint64_t run_pit(uint16_t unused)
{
    uint32_t count = PIT_HZ / RUN_HZ;
    (void)unused;
    uint8_t b = (uint8_t)(cpu_in8(PORT_B) & ~(GATE_2 | SPEAKER));
    cpu_out8(PORT_B, b);
    cpu_out8(PIT_MODE, CH2_MODE_0);
    cpu_out8(PIT_CH2, (uint8_t)count);
    cpu_out8(PIT_CH2, (uint8_t)(count >> 8));
    if (cpu_in8(PORT_B) & OUT_2) /* must be low until the end */
        return 0;
    uint64_t start = cpu_rdtsc(), now = start;
    cpu_out8(PORT_B, b | GATE_2);
    bool done = false;
    while (!done && now - start < RUN_BOUND) {
        done = (cpu_in8(PORT_B) & OUT_2) != 0;
        now = cpu_rdtsc();
    }
    cpu_out8(PORT_B, b);
    return done ? (now - start) * PIT_HZ / count : 0;
}

static uint64_t run_pm_timer(uint16_t port)
{
    uint32_t first = cpu_in32(port), passed = 0;
    uint64_t start = cpu_rdtsc(), now = start;
    while (passed < PM_HZ / RUN_HZ && now - start < RUN_BOUND) {
        passed = (cpu_in32(port) - first) & PM_MASK;
        now = cpu_rdtsc();
    }
    return passed >= PM_HZ / RUN_HZ ? (now - start) * PM_HZ / passed : 0;
}

/* The median, so that one run that an SMI has stretched does no harm. */
static uint64_t measure(uint64_t (*run)(uint16_t), uint16_t port)
{
    uint64_t a[RUNS];
    for (unsigned i = 0; i < RUNS; i++) {
        a[i] = run(port);
        if (a[i] < MIN_HZ || a[i] > MAX_HZ)
            return 0;
    }
    uint64_t low = a[0] < a[1] ? a[0] : a[1], high = a[0] < a[1] ? a[1] : a[0];
    return a[2] < low ? low : a[2] > high ? high : a[2];
}

static uint64_t ask_cpuid(void)
{
    uint32_t last = cpu_cpuid(0, 0).eax;
    struct cpuid_regs ratio = last >= 0x15 ? cpu_cpuid(0x15, 0) : (struct cpuid_regs){0};
    if (ratio.eax != 0 && ratio.ebx != 0 && ratio.ecx != 0)
        return (uint64_t)ratio.ecx * ratio.ebx / ratio.eax;
    return last >= 0x16 ? (cpu_cpuid(0x16, 0).eax & 0xffff) * 1000000ull : 0;
}

uint64_t tsc_measure_hz(uint16_t pm_timer_port)
{
    const char *by = "the PIT";
    uint64_t hz = measure(run_pit, 0);
    if (hz == 0 && pm_timer_port != 0) {
        by = "the ACPI PM timer";
        hz = measure(run_pm_timer, pm_timer_port);
    }
    if (hz == 0) {
        by = "CPUID, unmeasured";
        hz = ask_cpuid();
    }
    log_line("TSC: %lu kHz by %s", hz / 1000, hz != 0 ? by : "nothing: no timer answers");
    return hz;
}
