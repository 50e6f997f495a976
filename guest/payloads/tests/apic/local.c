/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC by itself: its timer, priorities, IPIs, NMI, and waking up. */
#include "local.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define VECTOR_TIMER   0x61
#define ICR_PHYSICAL   0x4000u /* assert, fixed, to the ID in the destination */
#define ICR_NMI        0x4400u
#define ICR_EVERYBODY  0x84000u
#define DIVIDE_BY_1    0xbu
#define ONE_SHOT_COUNT 20000
#define LONG_COUNT     500000000u

static volatile uint64_t ppr_inside;
static volatile unsigned nmi_depth, nmi_deepest;

static void ipi(uint32_t command)
{
    apic_ipi(apic_read(APIC_ID), command);
}

/* In the middle of its work a more and a less urgent interrupt arrive. */
static void on_nesting(struct trap_frame *frame)
{
    irq_note(frame);
    ppr_inside = apic_read(APIC_PPR);
    apic_self_ipi(0x41);
    apic_self_ipi(0x81);
    interrupts_let_in();
    irq_note(frame);
    apic_eoi();
}

static void on_nmi(struct trap_frame *frame)
{
    if (++nmi_depth > nmi_deepest)
        nmi_deepest = nmi_depth;
    if (irq_hits[VECTOR_NMI]++ == 0)
        ipi(ICR_NMI); /* has to wait for our IRET */
    for (volatile unsigned i = 0; i < 100; i++)
        ;
    (void)frame;
    nmi_depth--;
}

static void check_count_timer(void)
{
    irq_forget();
    trap_set_handler(VECTOR_TIMER, irq_on_apic);
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    apic_write(APIC_TIMER_COUNT, LONG_COUNT);
    uint32_t first = apic_read(APIC_TIMER_NOW);
    for (volatile unsigned i = 0; i < 20; i++)
        ;
    uint32_t second = apic_read(APIC_TIMER_NOW);
    test_check(first <= LONG_COUNT && second < first && second > 0, "the count goes down",
               "APIC timer");
    apic_write(APIC_TIMER_COUNT, ONE_SHOT_COUNT);
    test_check(irq_wait(VECTOR_TIMER, 1), "one-shot timer", "APIC timer");
    irq_wait_some();
    test_equal(irq_hits[VECTOR_TIMER], 1, "it comes once", "APIC timer");
    test_equal(apic_read(APIC_TIMER_NOW), 0, "its count is 0", "APIC timer");

    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_PERIODIC);
    apic_write(APIC_TIMER_COUNT, ONE_SHOT_COUNT);
    irq_forget();
    test_check(irq_wait(VECTOR_TIMER, 3), "periodic timer", "APIC timer");
    apic_write(APIC_TIMER_COUNT, 0);
    interrupts_let_in();
    irq_forget();
    irq_wait_some();
    test_equal(irq_hits[VECTOR_TIMER], 0, "a count of 0 stops it", "APIC timer");

    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_MASKED);
    apic_write(APIC_TIMER_COUNT, 1000);
    irq_wait_some();
    test_equal(irq_hits[VECTOR_TIMER], 0, "a masked timer does not come", "local vector table");
    test_check(!apic_bit(APIC_IRR, VECTOR_TIMER), "nor does it wait in IRR", "local vector table");
}

/* Ticks to a deadline: more than some exits take, also where KVM runs Nadir. */
#define AHEAD 1000000

/* Arms a deadline and returns what the MSR then says; `disarm`: writes 0 behind it. All that before
 * the deadline comes: another VM may get the CPU in between, and then it is done once more. */
static uint64_t arm(bool disarm, uint64_t *deadline)
{
    uint64_t read_back;
    for (;;) {
        *deadline = rdtsc() + AHEAD;
        wrmsr(MSR_TSC_DEADLINE, *deadline);
        read_back = rdmsr(MSR_TSC_DEADLINE);
        if (disarm)
            wrmsr(MSR_TSC_DEADLINE, 0);
        if (rdtsc() < *deadline)
            return read_back;
        interrupts_let_in();
        irq_forget();
    }
}

static void check_deadline_timer(void)
{
    if (!apic_has_tsc_deadline())
        return;
    irq_forget();
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_TSC_DEADLINE);
    uint64_t deadline;
    uint64_t read_back = arm(false, &deadline);
    irq_wait(VECTOR_TIMER, 1);
    test_equal(read_back, deadline, "the deadline can be read", "TSC-deadline mode");
    irq_forget();
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + AHEAD);
    test_check(irq_wait(VECTOR_TIMER, 1), "a deadline to come", "TSC-deadline mode");
    test_equal(rdmsr(MSR_TSC_DEADLINE), 0, "the deadline is 0 afterwards", "TSC-deadline mode");
    irq_forget();
    wrmsr(MSR_TSC_DEADLINE, rdtsc());
    test_check(irq_wait(VECTOR_TIMER, 1), "a deadline that has passed", "TSC-deadline mode");
    irq_forget();
    arm(true, &deadline);
    while (rdtsc() < deadline)
        interrupts_let_in();
    irq_wait_some();
    test_equal(irq_hits[VECTOR_TIMER], 0, "0 disarms it", "TSC-deadline mode");

    wrmsr(MSR_TSC_DEADLINE, rdtsc() + AHEAD);
    interrupt_wait();
    test_equal(irq_hits[VECTOR_TIMER], 1, "it ends HLT", "HLT");
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

static void check_priorities(void)
{
    static const uint8_t vector[] = {0x31, 0x41, 0x51, 0x81, 0x82, 0x91};
    for (unsigned i = 0; i < sizeof(vector); i++)
        trap_set_handler(vector[i], irq_on_apic);

    irq_forget();
    apic_self_ipi(0x31);
    apic_self_ipi(0x81);
    apic_self_ipi(0x82);
    apic_self_ipi(0x41);
    test_check(apic_bit(APIC_IRR, 0x31) && apic_bit(APIC_IRR, 0x81), "self-IPIs wait in IRR",
               "interrupts off");
    for (unsigned i = 0; i < 4; i++)
        interrupts_let_in();
    test_check(irq_order_count == 4 && irq_order[0] == 0x82 && irq_order[1] == 0x81 &&
                   irq_order[2] == 0x41 && irq_order[3] == 0x31,
               "they come by priority", "interrupt priority");
    test_check(!apic_bit(APIC_IRR, 0x31) && !apic_bit(APIC_ISR, 0x31), "IRR and ISR are clear",
               "EOI");

    irq_forget();
    trap_set_handler(0x51, on_nesting);
    apic_self_ipi(0x51);
    for (unsigned i = 0; i < 4; i++)
        interrupts_let_in();
    test_check(irq_order_count == 4 && irq_order[0] == 0x51 && irq_order[1] == 0x81 &&
                   irq_order[2] == 0x51 && irq_order[3] == 0x41,
               "the more urgent interrupts, the less urgent waits", "processor priority");
    test_equal(ppr_inside, 0x50, "PPR is the class in service", "processor priority");
}

static void check_task_priority(void)
{
    irq_forget();
    write_cr8(8);
    test_equal(apic_read(APIC_TPR), 0x80, "CR8 sets TPR", "task priority");
    apic_self_ipi(0x81);
    apic_self_ipi(0x91);
    for (unsigned i = 0; i < 4; i++)
        interrupts_let_in();
    test_check(irq_hits[0x91] == 1 && irq_hits[0x81] == 0, "CR8 = 8 holds class 8 back, not 9",
               "task priority");
    write_cr8(7);
    interrupts_let_in();
    test_equal(irq_hits[0x81], 1, "a lower CR8 lets it in", "task priority");
    apic_write(APIC_TPR, 0x93);
    test_equal(read_cr8(), 9, "TPR shows in CR8", "task priority");
    apic_self_ipi(0x91);
    interrupts_let_in();
    test_equal(irq_hits[0x91], 1, "TPR = 0x93 holds class 9 back", "task priority");
    apic_write(APIC_TPR, 0);
    interrupts_let_in();
    test_equal(irq_hits[0x91], 2, "TPR = 0 lets it in", "task priority");
}

static void check_ipis(void)
{
    irq_forget();
    ipi(ICR_PHYSICAL | 0x31);
    ipi(ICR_EVERYBODY | 0x41);
    for (unsigned i = 0; i < 2; i++)
        interrupts_let_in();
    test_equal(irq_hits[0x31], 1, "IPI to the own ID", "interrupt command register");
    test_equal(irq_hits[0x41], 1, "IPI to all including self", "interrupt command register");

    irq_forget();
    apic_self_ipi(0x31);
    interrupt_wait();
    test_equal(irq_hits[0x31], 1, "a pending interrupt ends HLT at once", "STI; HLT");

    irq_forget();
    trap_set_handler(VECTOR_NMI, on_nmi);
    nmi_deepest = 0;
    ipi(ICR_NMI);
    for (unsigned i = 0; i < 4; i++)
        __asm__ volatile("nop");
    test_equal(irq_hits[VECTOR_NMI], 2, "NMI to self, twice", "interrupts off or not");
    test_equal(nmi_deepest, 1, "the second waited for IRET", "NMI blocking");
}

void check_local_apic(const char *mode)
{
    print("-- %s\n", mode);
    check_count_timer();
    check_deadline_timer();
    check_priorities();
    check_task_priority();
    check_ipis();
}
