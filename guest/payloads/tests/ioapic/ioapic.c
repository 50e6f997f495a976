/* SPDX-License-Identifier: BSD-2-Clause */
/* The IO-APIC, with the lines of PIT, serial port and RTC. Rules are headings of Intel's "82093AA"
 * data sheet, where nothing else is said. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define PIN_PIT              2 /* IRQ0 comes to this input */
#define VECTOR_PIT           0x50
#define VECTOR_UART          0x54
#define VECTOR_RTC           0x58
#define LOWEST               0x100u /* delivery modes and the like of an entry */
#define NMI                  0x400u
#define LOGICAL              0x800u
#define SVR_NO_EOI_BROADCAST 0x1000u
#define ENTRY(pin)           (0x10 + 2 * (unsigned)(pin))

static volatile uint32_t entry_inside; /* as the handler saw it */
static volatile bool tmr_inside;

static void let_in(void)
{
    for (unsigned i = 0; i < 4; i++)
        interrupts_let_in();
}

static void mask(unsigned pin)
{
    ioapic_write(ENTRY(pin), IOAPIC_MASKED);
}

static void check_registers(void)
{
    uint32_t version = ioapic_read(1);
    test_check((version & 0xf0) == 0x10 || (version & 0xf0) == 0x20, "version 1xH or 2xH",
               "IOAPICVER");
    test_equal(version >> 16 & 0xff, 23, "24 inputs", "IOAPICVER, Maximum Redirection Entry");
    if (test_only(TEST_VM)) { /* wider reads than the chip has are two of four bytes, as in QEMU */
        volatile uint32_t *at = (volatile uint32_t *)(uintptr_t)IOAPIC_ADDRESS;
        test_equal(*(volatile uint64_t *)at, at[0] | (uint64_t)at[1] << 32, "8 bytes at IOREGSEL",
                   "as 4 and 4");
        test_equal(*(volatile uint64_t *)(at + 4), at[4] | (uint64_t)at[5] << 32,
                   "8 bytes at IOWIN", "as 4 and 4");
        test_equal(at[1], 0, "where there is no register", "QEMU");
    }
    test_both();
    uint32_t id = ioapic_read(0);
    ioapic_write(0, 0xffffffff);
    uint32_t ones = ioapic_read(0);
    ioapic_write(0, 0x05000000);
    uint32_t five = ioapic_read(0), arbitration = ioapic_read(2);
    ioapic_write(0, id);
    test_equal(ones, 0x0f000000, "the ID has four bits", "IOAPICID");
    test_equal(five, 0x05000000, "and can be written", "IOAPICID");
    test_equal(arbitration, 0x05000000, "the arbitration ID follows it", "IOAPICARB");
    ioapic_write(1, 0);
    test_equal(ioapic_read(1), version, "the version cannot", "IOAPICVER");
    ioapic_write(ENTRY(20), 0xffff5fff);
    ioapic_write(ENTRY(20) + 1, 0xffffffff);
    uint32_t low = ioapic_read(ENTRY(20)), high = ioapic_read(ENTRY(20) + 1);
    mask(20);
    ioapic_write(ENTRY(20) + 1, 0);
    test_equal(low, IOAPIC_MASKED | 0xfff, "delivery status and remote IRR are read-only",
               "IOREDTBL");
    test_equal(high, 0xff000000, "a destination has eight bits", "IOREDTBL, xAPIC");
}

static void check_edge(void)
{
    irq_forget();
    trap_set_handler(VECTOR_PIT, irq_on_apic);
    pit_start(2, PIT_1MS);
    ioapic_route(PIN_PIT, VECTOR_PIT, 0);
    bool periodic = irq_wait(VECTOR_PIT, 3);
    ioapic_route(PIN_PIT, VECTOR_PIT, IOAPIC_MASKED);
    let_in();
    irq_forget();
    irq_wait_some();
    unsigned masked = irq_hits[VECTOR_PIT];
    ioapic_route(PIN_PIT, VECTOR_PIT, 0);
    pit_start(0, PIT_1MS);
    let_in();
    irq_forget();
    irq_wait(VECTOR_PIT, 1);
    irq_wait_some();
    unsigned once = irq_hits[VECTOR_PIT];
    mask(PIN_PIT);

    trap_set_handler(VECTOR_UART, irq_on_apic);
    irq_raise(IRQ_UART);
    irq_forget();
    ioapic_route(IRQ_UART, VECTOR_UART, 0);
    irq_wait_some();
    unsigned lost = irq_hits[VECTOR_UART];
    irq_lower(IRQ_UART);
    irq_raise(IRQ_UART);
    let_in();
    unsigned anew = irq_hits[VECTOR_UART];
    irq_lower(IRQ_UART);
    mask(IRQ_UART);
    test_check(periodic, "PIT at input 2, edge", "IOREDTBL, Trigger Mode");
    test_equal(masked, 0, "a masked input does not come", "IOREDTBL, Interrupt Mask");
    test_equal(once, 1, "one edge, one interrupt", "IOREDTBL, Trigger Mode");
    test_equal(lost, 0, "an edge at a masked input is lost", "IOREDTBL, Interrupt Mask");
    test_equal(anew, 1, "the next one comes", "IOREDTBL, Interrupt Mask");
}

static void on_rtc(struct trap_frame *frame)
{
    cmos_read(0x0c);
    irq_on_apic(frame);
}

static void check_rtc(void)
{
    irq_forget();
    trap_set_handler(VECTOR_RTC, on_rtc);
    ioapic_route(IRQ_RTC, VECTOR_RTC, 0);
    irq_raise(IRQ_RTC);
    test_check(irq_wait(VECTOR_RTC, 3), "RTC at input 8, edge", "IOREDTBL, Trigger Mode");
    mask(IRQ_RTC);
    irq_lower(IRQ_RTC);
}

/* Keeps its line up for three interrupts. */
static void on_level(struct trap_frame *frame)
{
    irq_note(frame);
    entry_inside = ioapic_read(ENTRY(IRQ_UART));
    tmr_inside = apic_bit(APIC_TMR, VECTOR_UART);
    if (irq_hits[VECTOR_UART] == 3)
        irq_lower(IRQ_UART);
    apic_eoi();
}

static void check_level(void)
{
    irq_forget();
    trap_set_handler(VECTOR_UART, on_level);
    irq_raise(IRQ_UART);
    ioapic_route(IRQ_UART, VECTOR_UART, IOAPIC_LEVEL);
    bool came = irq_wait(VECTOR_UART, 3);
    irq_wait_some();
    unsigned count = irq_hits[VECTOR_UART];
    uint32_t after = ioapic_read(ENTRY(IRQ_UART));
    irq_lower(IRQ_UART);
    mask(IRQ_UART);
    test_check(came, "a level is seen when unmasked, and again at each EOI",
               "IOREDTBL, Remote IRR");
    test_equal(count, 3, "and not when it is down", "IOREDTBL, Remote IRR");
    test_check((entry_inside & IOAPIC_RIRR) != 0, "remote IRR is set until EOI",
               "IOREDTBL, Remote IRR");
    test_check((after & IOAPIC_RIRR) == 0, "remote IRR is clear afterwards",
               "IOREDTBL, Remote IRR");
    test_check(tmr_inside, "TMR says level", "SDM: Trigger Mode Register");
}

/* Ends itself at the IO-APIC only, or first masks it there and makes it an edge. */
static void on_level_by_hand(struct trap_frame *frame)
{
    irq_note(frame);
    irq_lower(IRQ_UART);
    apic_eoi();
    entry_inside = ioapic_read(ENTRY(IRQ_UART));
}

static void check_directed_eoi(void)
{
    volatile uint32_t *eoi = (volatile uint32_t *)(uintptr_t)(IOAPIC_ADDRESS + 0x40);
    if ((apic_read(APIC_VERSION) >> 24 & 1) == 0 || (ioapic_read(1) & 0xff) < 0x20)
        return;
    irq_forget();
    trap_set_handler(VECTOR_UART, on_level_by_hand);
    apic_write(APIC_SVR, apic_read(APIC_SVR) | SVR_NO_EOI_BROADCAST);
    irq_raise(IRQ_UART);
    ioapic_route(IRQ_UART, VECTOR_UART, IOAPIC_LEVEL);
    irq_wait_some();
    uint32_t kept = entry_inside;
    *eoi = VECTOR_UART + 1;
    uint32_t other = ioapic_read(ENTRY(IRQ_UART));
    *eoi = VECTOR_UART;
    uint32_t ended = ioapic_read(ENTRY(IRQ_UART));
    apic_write(APIC_SVR, apic_read(APIC_SVR) & ~SVR_NO_EOI_BROADCAST);
    mask(IRQ_UART);
    test_check((kept & IOAPIC_RIRR) != 0, "no EOI arrives while broadcasts are suppressed",
               "SDM: Signaling Interrupt Servicing Completion");
    test_check((other & IOAPIC_RIRR) != 0, "another vector's EOI does not end it", "EOI Register");
    test_check((ended & IOAPIC_RIRR) == 0, "its own does", "EOI Register");
}

static void check_destinations(void)
{
    irq_forget();
    trap_set_handler(VECTOR_PIT, irq_on_apic);
    static const struct {
        const char *what;
        uint32_t flags, destination;
        unsigned want;
    } rows[] = {
        {"to nobody's ID", 0, 0x0e, 0},
        {"to all", 0, 0xff, 1},
        {"logical, flat, to our bit", LOGICAL, 0x01, 1},
        {"logical, flat, to another bit", LOGICAL, 0x80, 0},
        {"lowest priority among one", LOGICAL | LOWEST, 0x01, 1},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        irq_lower(IRQ_PIT);
        irq_forget();
        ioapic_write(ENTRY(PIN_PIT) + 1, rows[i].destination << 24);
        ioapic_write(ENTRY(PIN_PIT), VECTOR_PIT | rows[i].flags);
        irq_raise(IRQ_PIT);
        let_in();
        mask(PIN_PIT);
        test_equal(irq_hits[VECTOR_PIT], rows[i].want, rows[i].what, "IOREDTBL, Destination");
    }
    irq_lower(IRQ_PIT);
}

static void on_nmi(struct trap_frame *frame)
{
    irq_note(frame);
}

static void check_modes(void)
{
    irq_forget();
    trap_set_handler(VECTOR_NMI, on_nmi);
    ioapic_route(PIN_PIT, VECTOR_PIT, NMI);
    irq_raise(IRQ_PIT);
    let_in();
    test_equal(irq_hits[VECTOR_NMI], 1, "NMI comes with interrupts off", "Delivery Mode, NMI");
    test_equal(irq_hits[VECTOR_PIT], 0, "and its vector does not count", "Delivery Mode, NMI");
    pit_start(2, 5 * PIT_1MS); /* again and again: the first may come before the HLT */
    __asm__ volatile("cli; hlt" : : : "memory");
    test_check(irq_hits[VECTOR_NMI] >= 2, "and ends HLT then, too", "SDM, HLT");
    mask(PIN_PIT);
    irq_lower(IRQ_PIT);
}

int main(void)
{
    test_begin("ioapic", "the IO-APIC as its data sheet says");
    pic_init(PIC_BASE);
    apic_enable(false);
    check_registers();
    check_edge();
    check_rtc();
    check_level();
    check_directed_eoi();
    check_destinations();
    check_modes();
    return test_end();
}
