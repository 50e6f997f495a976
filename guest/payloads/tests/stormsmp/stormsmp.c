/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All CPUs ask for interrupts at random, each for one that has come since it was last asked for: of
 * their own timers and self-IPIs, IPIs to each other, NMIs, and devices that the IO-APIC sends to
 * any CPU. None may be lost, none come twice.
 */
#include "guest/payloads/tests/stormsmp/stormsmp.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/irq.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"
#include "guest/lib/test.h"

#define PIN_PIT    2
#define UART_IER   0x3f9
#define UART_IIR   0x3fa
#define UART_MCR   0x3fc
#define PATIENCE   3000000000u /* TSC ticks for what was asked for last */
#define ICR_ASSERT 0x4000u
#define ICR_NMI    0x4400u
#define RULE       "each comes once"

/* Of different priorities. IPIs have one for each sender. */
enum { VECTOR_RTC = 0x41, VECTOR_SELF = 0x51, VECTOR_TIMER = 0x61, VECTOR_UART = 0x71 };
enum { VECTOR_IPI = 0x80, VECTOR_PIT = 0xa1 };

/* How often something was asked for, and came. Asked for by one CPU at a time. */
struct tally {
    volatile unsigned asked, came;
};

static struct cpu {
    uint32_t random;
    struct tally timer, self, nmi, ipi[SMP_MAX_CPUS];
    uint32_t nmi_taken; /* by who has asked for one */
} cpu[SMP_MAX_CPUS];

static struct tally rtc, uart, pit;
static uint32_t devices_taken; /* the IO-APIC and the devices, by who asks for their interrupts */
static unsigned cpus, quota, uart_trigger;
static uint32_t unasked, blown;
static volatile uint32_t round, x2_turn, finished;

static unsigned self_index(void)
{
    const uint32_t id = apic_is_x2() ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
    unsigned i = 0;
    while (i < cpus - 1 && smp_apic_id(i) != id)
        i++;
    return i;
}

static uint32_t random(struct cpu *self, uint32_t below)
{
    self->random = self->random * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)self->random * below >> 32);
}

static void count(struct tally *tally)
{
    if (tally->came == tally->asked)
        __atomic_fetch_add(&unasked, 1, __ATOMIC_SEQ_CST);
    tally->came++;
}

static bool is_due(const struct tally *tally)
{
    return tally->came != tally->asked;
}

/* What is more urgent may interrupt these. */
static void on_ipi(struct trap_frame *frame)
{
    struct cpu *self = &cpu[self_index()];
    count(frame->vector == VECTOR_SELF ? &self->self : &self->ipi[frame->vector - VECTOR_IPI]);
    interrupts_let_in();
    apic_eoi();
}

static void on_timer(struct trap_frame *frame)
{
    (void)frame;
    count(&cpu[self_index()].timer);
    apic_eoi();
}

static void on_nmi(struct trap_frame *frame)
{
    (void)frame;
    struct cpu *self = &cpu[self_index()];
    count(&self->nmi);
    __atomic_store_n(&self->nmi_taken, 0, __ATOMIC_SEQ_CST);
}

/* A device is asked again, perhaps by another CPU, only once its interrupt is over. */
static void on_device(struct trap_frame *frame)
{
    if (frame->vector == VECTOR_RTC) {
        irq_lower(IRQ_RTC);
    } else if (frame->vector == VECTOR_UART) {
        port_in8(UART_IIR);
        port_out8(UART_IER, 0);
    }
    apic_eoi();
    count(frame->vector == VECTOR_RTC ? &rtc : frame->vector == VECTOR_UART ? &uart : &pit);
}

static void on_spurious(struct trap_frame *frame)
{
    (void)frame;
    __atomic_fetch_add(&unasked, 1, __ATOMIC_SEQ_CST);
}

static void route(unsigned pin, unsigned vector, uint32_t flags, unsigned to)
{
    ioapic_write(0x11 + 2 * pin, smp_apic_id(to) << 24);
    ioapic_write(0x10 + 2 * pin, vector | flags);
}

/* A device of those whose last interrupt has come. */
static bool ask_device(struct cpu *self)
{
    if (__atomic_exchange_n(&devices_taken, 1, __ATOMIC_SEQ_CST) != 0)
        return false;
    const unsigned to = random(self, cpus), which = random(self, 3);
    struct tally *tally = which == 0 ? &rtc : which == 1 ? &uart : &pit;
    const bool can = !is_due(tally);
    if (can) {
        tally->asked++;
        switch (which) {
        case 0:
            route(IRQ_RTC, VECTOR_RTC, 0, to);
            cmos_read(0x0c);
            cmos_write(0x0b, 0x42);
            break;
        case 1:
            route(IRQ_UART, VECTOR_UART, uart_trigger, to);
            port_out8(UART_IER, 2);
            break;
        default:
            route(PIN_PIT, VECTOR_PIT, 0, to);
            pit_start(0, (uint16_t)(2 + random(self, 100)));
            break;
        }
    }
    __atomic_store_n(&devices_taken, 0, __ATOMIC_SEQ_CST);
    return can;
}

static bool ask_timer(struct cpu *self)
{
    if (is_due(&self->timer))
        return false;
    self->timer.asked++;
    if (apic_has_tsc_deadline() && random(self, 2) == 0) {
        apic_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_TSC_DEADLINE);
        wrmsr(MSR_TSC_DEADLINE, rdtsc() + random(self, 8000));
    } else {
        apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
        apic_write(APIC_TIMER_COUNT, 1 + random(self, 4000));
    }
    return true;
}

static uint32_t destination_of(unsigned index)
{
    return apic_is_x2() ? smp_apic_id(index) : smp_apic_id(index) << 24;
}

static bool ask_nmi(unsigned to)
{
    if (__atomic_exchange_n(&cpu[to].nmi_taken, 1, __ATOMIC_SEQ_CST) != 0)
        return false;
    cpu[to].nmi.asked++;
    apic_ipi(destination_of(to), ICR_NMI);
    return true;
}

static bool ask_ipi(unsigned from, unsigned to)
{
    struct tally *tally = &cpu[to].ipi[from];
    if (is_due(tally))
        return false;
    tally->asked++;
    apic_ipi(destination_of(to), ICR_ASSERT | (VECTOR_IPI + from));
    return true;
}

static bool ask(unsigned index)
{
    struct cpu *self = &cpu[index];
    switch (random(self, 8)) {
    case 0: return ask_device(self);
    case 1: return ask_timer(self);
    case 2: return ask_nmi(random(self, cpus));
    case 3:
        if (is_due(&self->self))
            return false;
        self->self.asked++;
        apic_self_ipi(VECTOR_SELF);
        return true;
    default: return ask_ipi(index, random(self, cpus));
    }
}

/* The other CPUs may need this one's time. */
static void let_in(void)
{
    interrupts_let_in();
    __asm__ volatile("pause");
}

static void blow(unsigned index)
{
    struct cpu *self = &cpu[index];
    for (unsigned n = 0; n < quota;) {
        n += ask(index);
        switch (random(self, 8)) {
        case 0: /* more gather */
        case 1: break;
        case 2: /* its own timer wakes it, whatever others do */
            if (is_due(&self->timer))
                interrupt_wait();
            break;
        default: let_in(); break;
        }
    }
    __atomic_fetch_add(&blown, 1, __ATOMIC_SEQ_CST);
}

/* The others' part: a storm for each round, and between them the change of the APIC's mode. */
static void other_cpu(unsigned index)
{
    for (uint32_t last = 0;;) {
        while (round == last && x2_turn != index)
            __asm__ volatile("pause");
        if (x2_turn == index) {
            apic_enable(true);
            x2_turn = index + 1;
            continue;
        }
        last = round;
        blow(index);
        while (finished != last)
            let_in();
    }
}

static bool all_came(void)
{
    bool due = is_due(&rtc) || is_due(&uart) || is_due(&pit);
    for (unsigned i = 0; i < cpus; i++) {
        due = due || is_due(&cpu[i].timer) || is_due(&cpu[i].self) || is_due(&cpu[i].nmi);
        for (unsigned from = 0; from < cpus; from++)
            due = due || is_due(&cpu[i].ipi[from]);
    }
    return !due;
}

static void set_up(void)
{
    for (unsigned i = 0; i < cpus; i++)
        trap_set_handler(VECTOR_IPI + i, on_ipi);
    trap_set_handler(VECTOR_SELF, on_ipi);
    trap_set_handler(VECTOR_TIMER, on_timer);
    trap_set_handler(VECTOR_NMI, on_nmi);
    trap_set_handler(VECTOR_RTC, on_device);
    trap_set_handler(VECTOR_UART, on_device);
    trap_set_handler(VECTOR_PIT, on_device);
    trap_set_handler(0xff, on_spurious);
    pic_init(PIC_BASE);
    cmos_write(0x0a, 0x23); /* 8192 Hz */
    /* Bochs, when it is the bare machine, delivers no level. */
    uart_trigger = test_only(TEST_VM) ? IOAPIC_LEVEL : 0;
    test_both();
}

/* How many came of one kind against how many were asked for, over all CPUs. */
static unsigned check_kind(size_t offset, unsigned tallies, const char *what)
{
    unsigned asked = 0, came = 0;
    for (unsigned i = 0; i < cpus; i++) {
        const struct tally *tally = (const struct tally *)((const char *)&cpu[i] + offset);
        for (unsigned n = 0; n < tallies; n++) {
            asked += tally[n].asked;
            came += tally[n].came;
        }
    }
    test_equal(came, asked, what, RULE);
    return came;
}

static void storm_of_all(const char *mode, unsigned interrupts)
{
    memset(cpu, 0, sizeof(cpu));
    for (unsigned i = 0; i < cpus; i++)
        cpu[i].random = round * SMP_MAX_CPUS + i;
    rtc = uart = pit = (struct tally){0, 0};
    unasked = blown = 0;
    quota = interrupts / cpus;
    irq_lower(IRQ_RTC);
    irq_lower(IRQ_PIT);
    serial_drain();
    port_out8(UART_MCR, 0x0b);
    round++;
    blow(0);
    const uint64_t start = rdtsc();
    while ((blown != cpus || !all_came()) && rdtsc() - start < PATIENCE)
        let_in();
    irq_wait_some();
    finished = round;
    serial_init();
    print("-- %s\n", mode);
    unsigned sum = check_kind(offsetof(struct cpu, timer), 1, "APIC timers");
    sum += check_kind(offsetof(struct cpu, self), 1, "self-IPIs");
    sum += check_kind(offsetof(struct cpu, nmi), 1, "NMIs from any CPU to any");
    sum += check_kind(offsetof(struct cpu, ipi), SMP_MAX_CPUS, "IPIs from each CPU to each");
    test_equal(rtc.came, rtc.asked, "RTC, IO-APIC", RULE);
    test_equal(uart.came, uart.asked, "serial port, IO-APIC", RULE);
    test_equal(pit.came, pit.asked, "PIT, IO-APIC", RULE);
    sum += rtc.came + uart.came + pit.came;
    test_equal(unasked, 0, "none comes that was not asked for", RULE);
    test_equal(sum, quota * cpus, "all of them came", RULE);
}

void stormsmp(unsigned interrupts)
{
    apic_enable(false);
    x2_turn = SMP_MAX_CPUS;
    cpus = SMP_MAX_CPUS;
    cpus = smp_start(other_cpu);
    set_up();
    storm_of_all("xAPIC", interrupts);
    if (!apic_has_x2())
        return;
    apic_enable(true);
    x2_turn = 1;
    while (x2_turn != cpus)
        __asm__ volatile("pause");
    storm_of_all("x2APIC", interrupts);
}
