/* SPDX-License-Identifier: BSD-2-Clause */
/* What one operation costs a guest: TSC ticks from one round of a tight loop to the next, nothing
 * subtracted.
 */
#include "guest/hypercall.h"
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/trap.h"
#include "guest/payloads/bench/disk.h"
#include "guest/payloads/bench/kernel.h"

#define ROUNDS 1000
#define WARM   10
#define VECTOR 0x60

typedef void rounds_fn(uint32_t *stamps, uint64_t rounds);

rounds_fn rounds_nothing, rounds_cpuid, rounds_vmcall, rounds_port_in, rounds_port_out,
    rounds_wrmsr, rounds_rdmsr, rounds_ioapic_read, rounds_eoi_x2, rounds_eoi_x1,
    rounds_tsc_deadline, rounds_self_ipi_x2, rounds_self_ipi_x1, rounds_self_ipi_hlt_x2,
    rounds_self_ipi_hlt_x1, rounds_hlt_timer, rounds_rdtsc, rounds_mov_cr3, rounds_mov_from_cr8,
    rounds_mov_to_cr8, rounds_cr0_wp, rounds_cr4_pge, rounds_invlpg, rounds_mov_dr, rounds_loop,
    rounds_call_ret, rounds_irq_save, rounds_ptemod, rounds_syscall, rounds_pgfault, rounds_divzero;
void interrupt_x2(void);
void interrupt_x1(void);
void interrupt_stamp_x2(void);
void interrupt_stamp_x1(void);

extern volatile uint32_t bench_interrupts;
uint32_t bench_vector = VECTOR;

static uint32_t stamp[ROUNDS + 1];

/* FAULT and USER: at CPL 3; each round of the former is a fault. LONG: a round is a loop. */
enum need { NOTHING, INTERRUPT, DEADLINE, LATENCY, VMCALL, ADJUST, DISK, LONG, PAGE, USER, FAULT };

struct row {
    const char *name;
    rounds_fn *x1, *x2; /* x2: with the APIC in x2APIC mode, where that differs */
    enum need need;
};

static const struct row rows[] = {
    {"nothing", rounds_nothing, NULL, NOTHING}, /* the loop alone */
    {"cpuid", rounds_cpuid, NULL, NOTHING},
    {"vmcall", rounds_vmcall, NULL, VMCALL},
    {"port-in", rounds_port_in, NULL, NOTHING},
    {"port-out", rounds_port_out, NULL, NOTHING},
    {"wrmsr", rounds_wrmsr, NULL, ADJUST},
    {"rdmsr", rounds_rdmsr, NULL, ADJUST},
    {"ioapic-read", rounds_ioapic_read, NULL, NOTHING},
    {"eoi", rounds_eoi_x1, rounds_eoi_x2, NOTHING},
    {"tsc-deadline", rounds_tsc_deadline, NULL, DEADLINE},
    {"self-ipi", rounds_self_ipi_x1, rounds_self_ipi_x2, INTERRUPT},
    {"self-ipi-hlt", rounds_self_ipi_hlt_x1, rounds_self_ipi_hlt_x2, INTERRUPT},
    {"hlt-timer", rounds_hlt_timer, NULL, LATENCY},
    {"rdtsc", rounds_rdtsc, NULL, NOTHING},
    {"mov-cr3", rounds_mov_cr3, NULL, NOTHING},
    {"mov-from-cr8", rounds_mov_from_cr8, NULL, NOTHING},
    {"mov-to-cr8", rounds_mov_to_cr8, NULL, NOTHING},
    {"cr0-wp", rounds_cr0_wp, NULL, NOTHING},
    {"cr4-pge", rounds_cr4_pge, NULL, NOTHING},
    {"invlpg", rounds_invlpg, NULL, NOTHING},
    {"mov-dr", rounds_mov_dr, NULL, NOTHING},
    {"ata-pio", rounds_ata_pio, NULL, DISK}, /* a sector */
    {"ata-dma", rounds_ata_dma, NULL, DISK},
    {"loop", rounds_loop, NULL, LONG},            /* 10,000 turns of DEC, JNZ */
    {"call-ret", rounds_call_ret, NULL, LONG},    /* 1,000 of CALL, RET, DEC, JNZ */
    {"irq-save", rounds_irq_save, NULL, NOTHING}, /* PUSHF, CLI, POPF */
    {"ptemod", rounds_ptemod, NULL, PAGE},        /* a PTE written, INVLPG, the page read */
    {"syscall", rounds_syscall, NULL, USER},      /* SYSCALL and SYSRET */
    {"pgfault", rounds_pgfault, NULL, FAULT},     /* from CPL 3 to the handler, and back by IRET */
    {"divzero", rounds_divzero, NULL, FAULT},     /* likewise */
};

static void try_vmcall(void *unused)
{
    (void)unused;
    uint64_t result = HYPERCALL_NOP;
    __asm__ volatile("vmcall" : "+a"(result) : : "memory");
}

static void try_adjust(void *unused)
{
    (void)unused;
    wrmsr(MSR_TSC_ADJUST, rdmsr(MSR_TSC_ADJUST));
}

static bool is_possible(enum need need)
{
    switch (need) {
    case DEADLINE:
    case LATENCY: return apic_has_tsc_deadline();
    case VMCALL: return probe_call(try_vmcall, NULL).vector == PROBE_NONE;
    case ADJUST: return probe_call(try_adjust, NULL).vector == PROBE_NONE;
    case DISK: return disk_is_there();
    default: return true;
    }
}

/* Shell's: with insertion alone an interpreted guest sorts longer than it measures. */
static void sort(uint32_t *v, unsigned n)
{
    static const unsigned gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};
    for (unsigned g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++) {
        const unsigned gap = gaps[g];
        for (unsigned i = gap; i < n; i++) {
            const uint32_t x = v[i];
            unsigned at = i;
            for (; at >= gap && v[at - gap] > x; at -= gap)
                v[at] = v[at - gap];
            v[at] = x;
        }
    }
}

static bool run(const struct row *row, unsigned count)
{
    rounds_fn *rounds = row->x2 != NULL && apic_is_x2() ? row->x2 : row->x1;
    if (row->need == USER || row->need == FAULT)
        return kernel_run_user(rounds, stamp, count);
    rounds(stamp, count);
    return true;
}

/* False: an interrupt or a fault was lost or came twice, or there was one too many, so the figures
 * would mean nothing. */
static bool measure(const struct row *row)
{
    const unsigned count = row->need == LONG ? ROUNDS / 10 : ROUNDS;
    bool is_interrupt = row->need == INTERRUPT || row->need == DEADLINE || row->need == LATENCY ||
                        row->need == FAULT;

    if (row->need == LATENCY)
        trap_set_gate(VECTOR, apic_is_x2() ? interrupt_stamp_x2 : interrupt_stamp_x1);
    if (row->need == PAGE && !kernel_map_page()) {
        print("bench: %s: a page is not what its entry says\n", row->name);
        return false;
    }
    bool whole = run(row, WARM);
    uint32_t before = bench_interrupts;
    whole = whole && run(row, count);
    if (!whole || (is_interrupt && bench_interrupts - before != count + 1)) {
        print("bench: %s took %u interrupts for %u rounds\n", row->name, bench_interrupts - before,
              count + 1);
        return false;
    }
    for (unsigned i = 0; i < count && row->need != LATENCY; i++)
        stamp[i] = stamp[i + 1] - stamp[i];
    sort(stamp, count);
    print("bench: %s %u %u %u\n", row->name, stamp[0], stamp[count / 2], stamp[count - 1]);
    return true;
}

int main(void)
{
    pic_init(0x20);
    print("bench: the local APIC is in %s mode\n", apic_enable(true) ? "x2APIC" : "xAPIC");
    trap_set_gate(VECTOR, apic_is_x2() ? interrupt_x2 : interrupt_x1);
    if (apic_has_tsc_deadline())
        apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR);

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!is_possible(rows[i].need))
            print("bench: %s is not possible here\n", rows[i].name);
        else if (!measure(&rows[i]))
            return 1;
    }
    print("bench: done\n");
    return 0;
}
