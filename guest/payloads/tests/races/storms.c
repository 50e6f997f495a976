/* SPDX-License-Identifier: BSD-2-Clause */
/* All CPUs send to each other without waiting for anybody: vectors, NMIs, and from APICs whose
 * registers each CPU has somewhere else. */
#include "races.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/smp.h"
#include "guest/lib/test.h"

#define FIRST      0x20u
#define LAST       0xfeu
#define ROUNDS     600u
#define NMI_ROUNDS 200u
#define ICR_FIXED  0x4000u
#define ICR_NMI    0x4400u
#define ICR_SELF   0x40000u
#define ICR_OTHERS 0xc0000u
#define ELSEWHERE  0xfef00000u
#define PATIENCE   1000000000u /* TSC ticks */

static uint32_t sent[256], came[256], nmis;
static volatile uint32_t arrived, finished;

static void on_vector(struct trap_frame *frame)
{
    __atomic_fetch_add(&came[frame->vector & 255], 1, __ATOMIC_SEQ_CST);
    apic_eoi();
}

static void on_nmi(struct trap_frame *frame)
{
    (void)frame;
    __atomic_fetch_add(&nmis, 1, __ATOMIC_SEQ_CST);
}

static void note_sent(unsigned vector, unsigned receivers)
{
    __atomic_fetch_add(&sent[vector], receivers, __ATOMIC_SEQ_CST);
}

/* Until all have sent, and nothing has come for a while: a CPU that has no turn now gets one
 * meanwhile. One that switched its interrupts off before the others have sent would keep what comes
 * then for the next round, and count it with what is sent there. */
static void settle(void)
{
    __atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
    while (finished % race_cpus() != 0)
        __asm__ volatile("pause");
    const uint64_t start = rdtsc();
    while (rdtsc() - start < 5000000)
        __asm__ volatile("pause");
}

static void send_all_vectors(unsigned cpu)
{
    interrupts_on();
    for (unsigned i = 0; i < ROUNDS; i++) {
        const unsigned vector = FIRST + (i * 7 + cpu * 31) % (LAST - FIRST + 1);
        const unsigned to = (cpu + 1 + i % (race_cpus() - 1)) % race_cpus();
        note_sent(vector, i % 4 == 0 ? race_cpus() - 1 : 1);
        if (i % 4 == 0)
            smp_send(0, ICR_OTHERS | ICR_FIXED | vector);
        else if (i % 4 == 1)
            smp_send(0, ICR_SELF | ICR_FIXED | vector);
        else
            smp_send(smp_apic_id(to), ICR_FIXED | vector);
    }
    settle();
    interrupts_off();
}

/* Different vectors are never one: each is to come at each CPU, whatever the order. */
static void receive_each_once(unsigned cpu)
{
    if (cpu == 0)
        for (unsigned vector = FIRST; vector <= LAST; vector++)
            smp_send(0, ICR_OTHERS | ICR_FIXED | vector);
    interrupts_on();
    const uint32_t all = (LAST - FIRST + 1) * (race_cpus() - 1);
    for (const uint64_t start = rdtsc(); rdtsc() - start < PATIENCE;) {
        uint32_t sum = 0;
        for (unsigned vector = FIRST; vector <= LAST; vector++)
            sum += __atomic_load_n(&came[vector], __ATOMIC_RELAXED);
        if (sum >= all)
            break;
    }
    interrupts_off();
}

static void send_nmis(unsigned cpu)
{
    for (unsigned i = 0; i < NMI_ROUNDS; i++)
        for (unsigned to = 0; to < race_cpus(); to++)
            if (to != cpu)
                smp_send(smp_apic_id(to), ICR_NMI);
    settle();
}

static void on_moved(struct trap_frame *frame)
{
    (void)frame;
    const uint64_t page = rdmsr(MSR_APIC_BASE) & ~0xfffull;
    __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
    *(volatile uint32_t *)(page + APIC_EOI) = 0;
}

/* Each CPU at another address, the first one at home; each sends to the next. */
static void send_from_elsewhere(unsigned cpu)
{
    const uint64_t home = rdmsr(MSR_APIC_BASE);
    const uint64_t page = cpu == 0 ? home & ~0xfffull : ELSEWHERE + cpu * 0x1000;
    wrmsr(MSR_APIC_BASE, page | (home & 0xfff));
    interrupts_on();
    *(volatile uint32_t *)(page + APIC_ICR_HIGH) = smp_apic_id((cpu + 1) % race_cpus()) << 24;
    *(volatile uint32_t *)(page + APIC_ICR) = ICR_FIXED | 0x41;
    for (const uint64_t start = rdtsc(); arrived < race_cpus() && rdtsc() - start < PATIENCE;)
        __asm__ volatile("pause");
    interrupts_off();
    wrmsr(MSR_APIC_BASE, home);
}

void check_storms(void)
{
    for (unsigned vector = FIRST; vector <= LAST; vector++)
        trap_set_handler(vector, on_vector);
    trap_set_handler(VECTOR_NMI, on_nmi);

    race(send_all_vectors);
    bool none_more = true, none_lost = true;
    for (unsigned vector = FIRST; vector <= LAST; vector++) {
        none_more = none_more && came[vector] <= sent[vector];
        none_lost = none_lost && (came[vector] != 0 || sent[vector] == 0);
        came[vector] = 0;
    }
    test_check(none_more, "IPIs of all vectors at once: none that was not sent",
               "interrupt command register");
    test_check(none_lost, "each vector has come", "interrupt acceptance");
    race(receive_each_once);
    bool each = true;
    for (unsigned vector = FIRST; vector <= LAST; vector++)
        each = each && came[vector] == race_cpus() - 1;
    test_check(each, "all vectors for all others: each comes once", "interrupt acceptance");

    const uint32_t most = NMI_ROUNDS * race_cpus() * (race_cpus() - 1);
    race(send_nmis);
    test_check(nmis >= race_cpus() && nmis <= most, "NMIs without end come, and end",
               "nonmaskable interrupt");
    const uint32_t before = nmis;
    smp_send(smp_apic_id(1), ICR_NMI);
    for (const uint64_t start = rdtsc(); *(volatile uint32_t *)&nmis == before;)
        if (rdtsc() - start > PATIENCE)
            break;
    test_equal(nmis, before + 1, "then one comes as one", "nonmaskable interrupt");

    trap_set_handler(0x41, on_moved);
    race(send_from_elsewhere);
    test_equal(arrived, race_cpus(), "IPIs between APICs at different addresses",
               "Relocating the Local APIC Registers");
}
