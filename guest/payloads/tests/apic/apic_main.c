/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupts by every way that a PC has: 8259, IO-APIC, local timer, IPIs; xAPIC and x2APIC. */
#include "apic.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define PATIENCE 60000000 /* TSC ticks: many timer periods of these tests, on any machine */
#define SOME     2000000

volatile unsigned hits[256];
volatile uint8_t order[16];
volatile unsigned order_count;

void forget(void)
{
    for (unsigned i = 0; i < 256; i++)
        hits[i] = 0;
    order_count = 0;
}

void take_note(const struct trap_frame *frame)
{
    hits[frame->vector]++;
    if (order_count < sizeof(order))
        order[order_count++] = (uint8_t)frame->vector;
}

void on_interrupt(struct trap_frame *frame)
{
    take_note(frame);
    apic_eoi();
}

bool wait_for(unsigned vector, unsigned n)
{
    uint64_t start = rdtsc();
    while (hits[vector] < n && rdtsc() - start < PATIENCE)
        interrupts_let_in();
    return hits[vector] >= n;
}

void wait_some(void)
{
    uint64_t start = rdtsc();
    while (rdtsc() - start < SOME)
        interrupts_let_in();
}

int main(void)
{
    test_begin("apic", "interrupts arrive, in the right order");
    pic_init(PIC_BASE);
    apic_enable(false);
    check_pc_interrupts();
    check_local_apic("xAPIC");
    if (apic_has_x2()) {
        test_check(apic_enable(true), "x2APIC mode is on", "IA32_APIC_BASE");
        check_local_apic("x2APIC");
        apic_enable(false);
        test_equal(apic_read(APIC_SVR), 0x1ff, "back in xAPIC mode", "by way of off");
    }
    return test_end();
}
