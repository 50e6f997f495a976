/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupts of all kinds at once, each asked for exactly once: none may be lost, none come twice.
 */
#include "guest/payloads/tests/storm/storm.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define PIN_UART     IRQ_UART
#define PIN_RTC      IRQ_RTC
#define UART_IER     0x3f9
#define UART_IIR     0x3fa
#define UART_MCR     0x3fc
#define PATIENCE     200000000 /* TSC ticks for what was asked for last */
#define ICR_PHYSICAL 0x4000u   /* assert, fixed, to the ID in the destination */
#define ICR_NMI      0x4400u

enum source { PIT, RTC, UART, TIMER, SELF_IPI, IPI, NMI, SOURCES };

/* Of different priorities; that of the 8259 has none. */
static const uint8_t vector[SOURCES] = {PIC_BASE, 0x41, 0x71, 0x61, 0x51, 0x81, VECTOR_NMI};
static const char *const name[SOURCES] = {"PIT, 8259",  "RTC, IO-APIC", "serial port, IO-APIC",
                                          "APIC timer", "self-IPI",     "IPI to own ID",
                                          "NMI"};

/* How often each was asked for, and came. */
static volatile unsigned asked[SOURCES], came[SOURCES], unasked;
static uint32_t random_state = 1;

static uint32_t random(uint32_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)random_state * below >> 32);
}

static void count(enum source s)
{
    if (came[s] == asked[s])
        unasked++;
    came[s]++;
}

static void on_pit(struct trap_frame *frame)
{
    (void)frame;
    count(PIT);
    pic_eoi(IRQ_PIT);
}

static void on_rtc(struct trap_frame *frame)
{
    (void)frame;
    count(RTC);
    irq_lower(IRQ_RTC);
    apic_eoi();
}

static void on_uart(struct trap_frame *frame)
{
    (void)frame;
    count(UART);
    port_in8(UART_IIR);
    port_out8(UART_IER, 0);
    apic_eoi();
}

static void on_timer(struct trap_frame *frame)
{
    (void)frame;
    count(TIMER);
    apic_eoi();
}

/* What is more urgent may interrupt these two. */
static void on_ipi(struct trap_frame *frame)
{
    count(frame->vector == vector[IPI] ? IPI : SELF_IPI);
    interrupts_let_in();
    apic_eoi();
}

static void on_nmi(struct trap_frame *frame)
{
    (void)frame;
    count(NMI);
}

static void on_spurious(struct trap_frame *frame)
{
    (void)frame;
    unasked++;
}

static void ask_timer(void)
{
    if (apic_has_tsc_deadline() && random(2) == 0) {
        apic_write(APIC_LVT_TIMER, vector[TIMER] | LVT_TSC_DEADLINE);
        wrmsr(MSR_TSC_DEADLINE, rdtsc() + random(8000));
    } else {
        apic_write(APIC_LVT_TIMER, vector[TIMER]);
        apic_write(APIC_TIMER_COUNT, 1 + random(4000));
    }
}

static void ask(enum source s)
{
    asked[s]++;
    switch (s) {
    case PIT: pit_start(0, (uint16_t)(2 + random(100))); break;
    case RTC:
        cmos_read(0x0c);
        cmos_write(0x0b, 0x42);
        break;
    case UART: port_out8(UART_IER, 2); break;
    case TIMER: ask_timer(); break;
    case SELF_IPI: apic_self_ipi(vector[SELF_IPI]); break;
    case IPI: apic_ipi(apic_read(APIC_ID), ICR_PHYSICAL | vector[IPI]); break;
    default: apic_ipi(apic_read(APIC_ID), ICR_NMI); break;
    }
}

/* How many are still to come. */
static unsigned outstanding(void)
{
    unsigned n = 0;
    for (unsigned s = 0; s < SOURCES; s++)
        n += asked[s] != came[s];
    return n;
}

static void set_up(void)
{
    static trap_handler *const handler[SOURCES] = {on_pit, on_rtc, on_uart, on_timer,
                                                   on_ipi, on_ipi, on_nmi};
    for (unsigned s = 0; s < SOURCES; s++) {
        asked[s] = came[s] = 0;
        trap_set_handler(vector[s], handler[s]);
    }
    unasked = 0;
    for (unsigned v = PIC_BASE + 1; v < PIC_BASE + 16; v++)
        trap_set_handler(v, on_spurious);
    trap_set_handler(0xff, on_spurious);
    pic_init(PIC_BASE);
    pic_set_mask(0xfffe);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    cmos_write(0x0a, 0x23); /* 8192 Hz */
    irq_lower(IRQ_RTC);
    irq_lower(IRQ_PIT);
    serial_drain();
    port_out8(UART_MCR, 0x0b);
    ioapic_route(PIN_RTC, vector[RTC], 0);
    /* Bochs, when it is the bare machine, delivers no level. */
    ioapic_route(PIN_UART, vector[UART], test_only(TEST_VM) ? IOAPIC_LEVEL : 0);
    test_both();
}

static void tear_down(void)
{
    ioapic_route(PIN_RTC, vector[RTC], IOAPIC_MASKED);
    ioapic_route(PIN_UART, vector[UART], IOAPIC_MASKED);
    pic_set_mask(0xffff);
    cmos_write(0x0a, 0x26);
    serial_init();
}

static void blow(unsigned interrupts)
{
    for (unsigned n = 0; n < interrupts;) {
        enum source s = random(SOURCES);
        if (asked[s] == came[s]) {
            ask(s);
            n++;
        }
        switch (random(8)) {
        case 0: /* more gather */
        case 1: break;
        case 2: /* never for the last one: it may be lost, and nobody wake us */
            if (outstanding() - (asked[NMI] != came[NMI]) > 1)
                interrupt_wait();
            break;
        default: interrupts_let_in(); break;
        }
    }
    for (uint64_t start = rdtsc(); outstanding() != 0 && rdtsc() - start < PATIENCE;)
        interrupts_let_in();
    irq_wait_some();
}

void storm(const char *mode, unsigned interrupts)
{
    unsigned sum = 0;
    set_up();
    blow(interrupts);
    tear_down();
    print("-- %s\n", mode);
    for (unsigned s = 0; s < SOURCES; s++) {
        test_equal(came[s], asked[s], name[s], "each comes once");
        sum += came[s];
    }
    test_equal(unasked, 0, "none comes that was not asked for", "each comes once");
    test_equal(sum, interrupts, "all of them came", "each comes once");
}
