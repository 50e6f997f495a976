/* SPDX-License-Identifier: BSD-2-Clause */
/* Sleeps until a time, again and again, and tells how late it woke at the most; then how late the
 * interrupt is in the mean that comes while it computes. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"
#include "guest/lib/trap.h"

enum { VECTOR = 0x61, TIMES = 4000, PERIOD = 50000, COMPUTES = 64 };

static volatile uint64_t late;
static volatile bool came;

static uint64_t due;

static void on_timer(struct trap_frame *frame)
{
    (void)frame;
    late = rdtsc() - due;
    came = true;
    apic_eoi();
}

static uint64_t compute_until(uint64_t when)
{
    due = when;
    came = false;
    wrmsr(MSR_TSC_DEADLINE, due);
    interrupts_on();
    while (!came)
        ;
    interrupts_off();
    return late;
}

int main(void)
{
    uint64_t latest = 0, sum = 0;
    apic_enable(false);
    trap_set_handler(VECTOR, on_timer);
    apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR);
    for (unsigned i = 0; i < TIMES; i++) {
        due = rdtsc() + PERIOD;
        wrmsr(MSR_TSC_DEADLINE, due);
        interrupt_wait();
        latest = late > latest ? late : latest;
    }
    print("punctual: at most %lu ticks late\n", latest);
    for (unsigned i = 0; i < COMPUTES; i++)
        sum += compute_until(rdtsc() + PERIOD);
    print("punctual: in the mean %lu ticks late where it computes\n", sum / COMPUTES);
    return 0;
}
