/* SPDX-License-Identifier: BSD-2-Clause */
/* The IO-APIC with interrupt lines in the kernel's own hands: those of the test device. Rules are
 * of the 82093AA data sheet and the SDM. */
#include "bringup.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define LINE       14
#define LOWER_LINE 15
#define VECTOR     0x77
#define LOWER      0x66
#define ENTRY      (0x10 + 2 * LINE)
#define TO_LOGICAL 0x800u
#define LINE_PORT  0x2000
#define LATCH_PORT 0xe0
#define MEMORY     0xff000000u
#define PATIENCE   2000000000ull

static uint32_t hits; /* on all CPUs */
static volatile uint32_t lower_hits, lower_was_first, tmr;
static volatile uint32_t lower_at; /* the hit at which the handler takes the line back */
static volatile uint32_t pulses;   /* of the line, in the handler */
static volatile bool masks, moves; /* what else the handler does */

static void set_line(unsigned line, bool high)
{
    port_out8((uint16_t)(LINE_PORT + line), high);
}

static void eoi(void)
{
    wrmsr(MSR_X2APIC + APIC_EOI / 16, 0);
}

static void set_mask(bool on)
{
    const uint32_t entry = ioapic_read(ENTRY) & ~IOAPIC_MASKED;
    ioapic_write(ENTRY, entry | (on ? IOAPIC_MASKED : 0));
}

static void on_line(struct trap_frame *frame)
{
    const uint32_t hit = __atomic_add_fetch(&hits, 1, __ATOMIC_SEQ_CST);
    const uint32_t word = (uint32_t)frame->vector / 32;
    tmr = (uint32_t)rdmsr(MSR_X2APIC + APIC_TMR / 16 + word) >> frame->vector % 32 & 1;
    for (; pulses > 0; pulses--) {
        set_line(LINE, false);
        set_line(LINE, true);
    }
    if (hit >= lower_at)
        set_line(LINE, false);
    if (masks)
        set_mask(true);
    if (moves)
        ioapic_write(ENTRY + 1, 1u << 24);
    eoi();
}

static void on_lower(struct trap_frame *frame)
{
    (void)frame;
    lower_hits++;
    lower_was_first = hits == 0;
    eoi();
}

/* Routes the line to the first CPU, with the handler to take it back at a hit. */
static void begin(uint32_t flags, uint32_t at)
{
    set_line(LINE, false);
    hits = 0;
    lower_at = at;
    pulses = 0;
    masks = moves = false;
    ioapic_write(ENTRY, IOAPIC_MASKED);
    ioapic_write(ENTRY + 1, 0);
    ioapic_write(ENTRY, VECTOR | flags);
}

static void pulse(unsigned line)
{
    set_line(line, true);
    set_line(line, false);
}

static bool wait_for_hits(uint32_t count)
{
    for (const uint64_t start = rdtsc(); __atomic_load_n(&hits, __ATOMIC_SEQ_CST) < count;)
        if (rdtsc() - start > PATIENCE)
            return false;
    return true;
}

static void check_edges(void)
{
    const char *rule = "82093AA: edge sensitive";
    begin(0, 1);
    pulse(LINE);
    test_equal(hits, 1, "an edge is an interrupt", rule);
    interrupts_off();
    begin(0, 1);
    ioapic_write(0x10 + 2 * LOWER_LINE + 1, 0);
    ioapic_write(0x10 + 2 * LOWER_LINE, LOWER);
    pulse(LOWER_LINE);
    pulse(LINE);
    interrupts_on();
    __asm__ volatile("nop; nop");
    test_check(hits == 1 && lower_hits == 1 && !lower_was_first, "two come by priority",
               "SDM: interrupt priority");
    ioapic_write(0x10 + 2 * LOWER_LINE, IOAPIC_MASKED);
    begin(0, 1);
    set_mask(true);
    pulse(LINE);
    set_mask(false);
    test_equal(hits, 0, "an edge at a masked entry is lost", "82093AA: interrupt mask");
    set_line(LINE, true);
    test_equal(hits, 1, "the next one is not", "82093AA: interrupt mask");
}

static void check_levels(void)
{
    const char *rule = "82093AA: level sensitive, remote IRR";
    begin(IOAPIC_LEVEL, 1);
    set_line(LINE, true);
    test_equal(hits, 1, "a level is an interrupt", rule);
    begin(IOAPIC_LEVEL, 1);
    pulses = 1;
    set_line(LINE, true);
    test_equal(hits, 1, "a pulse before EOI is none", rule);
    begin(IOAPIC_LEVEL, 1);
    set_line(LINE, true);
    set_line(LINE, true);
    test_equal(hits, 2, "one after the other are two", rule);
    begin(IOAPIC_LEVEL, 2);
    interrupts_off();
    set_line(LINE, true);
    for (unsigned i = 0; i < 10 && hits < 2; i++)
        interrupt_wait();
    interrupts_on();
    test_equal(hits, 2, "a level that stays comes again at EOI", rule);
    begin(IOAPIC_LEVEL | IOAPIC_MASKED, 1);
    set_line(LINE, true);
    test_equal(hits, 0, "a masked level is held", "82093AA: interrupt mask");
    set_mask(false);
    test_equal(hits, 1, "until it is unmasked", "82093AA: interrupt mask");
    begin(IOAPIC_LEVEL, 9);
    masks = true;
    set_line(LINE, true);
    set_mask(false);
    test_equal(hits, 2, "one that the handler has masked comes when unmasked", rule);
    begin(IOAPIC_MASKED, 1);
}

static void check_trigger_mode(void)
{
    static const uint32_t modes[] = {0, IOAPIC_LEVEL, IOAPIC_LEVEL, 0};
    bool right = true;
    for (unsigned i = 0; i < 4; i++) {
        begin(modes[i], 1);
        set_line(LINE, true);
        right = right && hits == 1 && tmr == (modes[i] != 0);
    }
    test_check(right, "TMR tells an edge from a level", "SDM: trigger mode register");
}

static void check_destinations(uint32_t cpus)
{
    begin(IOAPIC_LEVEL, 1);
    moves = true;
    set_line(LINE, true);
    test_check(hits == 1 && (ioapic_read(ENTRY) & IOAPIC_RIRR) == 0,
               "EOI ends one whose destination has changed meanwhile", "82093AA: remote IRR");
    if (cpus > 1) {
        begin(IOAPIC_LEVEL, 1);
        ioapic_write(ENTRY + 1, 1u << 24);
        set_line(LINE, true);
        test_check(wait_for_hits(1), "to another CPU by its ID", "82093AA: destination field");
    }
    if (cpus > 3) {
        begin(IOAPIC_LEVEL | TO_LOGICAL, 3);
        set_mask(true);
        ioapic_write(ENTRY + 1, 0xdu << 24);
        set_mask(false);
        set_line(LINE, true);
        test_check(wait_for_hits(3), "to three CPUs by a logical set", "SDM: logical x2APIC ID");
    }
    begin(IOAPIC_MASKED, 1);
}

/* Device memory that keeps what is written, and a latch. */
static void check_memory(void)
{
    volatile uint64_t *at = (volatile uint64_t *)(uintptr_t)MEMORY;
    uint64_t word = 3;
    uint8_t copy[16];
    at[0] = 0x123456789abcdef0;
    test_equal(at[0], 0x123456789abcdef0, "device memory keeps eight bytes", "the test device");
    __asm__ volatile("lock xaddq %0, %1" : "+r"(word), "+m"(at[0]));
    test_check(word == 0x123456789abcdef0 && at[0] == 0x123456789abcdef3, "XADD on it",
               "SDM: XADD");
    /* Not emulated: the CPU does these by itself. */
    uint64_t shifted = 0, product = 3;
    at[1] = 0x8000000000000001;
    __asm__ volatile("rolq $1, %0" : "+m"(at[1]) : : "cc");
    __asm__ volatile("shldl %%cl, %2, %0; movl %0, %k1"
                     : "+m"(*(volatile uint32_t *)&at[2]), "=r"(shifted)
                     : "r"(0x80000000), "c"(1)
                     : "cc");
    __asm__ volatile("imulq %1, %0" : "+r"(product) : "m"(at[1]) : "cc");
    test_check(at[1] == 3 && shifted == 1 && product == 9, "ROL, SHLD, IMUL on it", "SDM: ROL");
    memset((void *)(uintptr_t)(MEMORY + 4088), 0x5a, 8);
    memcpy(copy, (const void *)(uintptr_t)(MEMORY + 4088), 8);
    test_equal(peek((uint64_t)copy, 8), 0x5a5a5a5a5a5a5a5a, "REP STOS and MOVS", "SDM: REP");
    port_out32(LATCH_PORT, 0x12345678);
    port_out8(LATCH_PORT + 1, 0x9a);
    test_equal(port_in32(LATCH_PORT), 0x12349a78, "the latch takes all sizes", "the test device");
}

void check_lines(void)
{
    trap_set_handler(VECTOR, on_line);
    trap_set_handler(LOWER, on_lower);
    check_memory();
    if ((rdmsr(MSR_APIC_BASE) & 0x400) == 0)
        return;
    interrupts_on();
    check_edges();
    check_levels();
    check_trigger_mode();
    check_destinations((uint32_t)setting("CPUS", 0));
    interrupts_off();
}
