/* SPDX-License-Identifier: BSD-2-Clause */
/* The gate of address line 20: switched by each way there is, and what it does to reads, writes,
 * instruction fetches, page walks and devices. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/smp.h"
#include "guest/lib/test.h"

#define MIB 0x100000ull
#define LOW 0x80000ull /* free memory of the first MiB */

enum { DATA = 0x60, COMMAND = 0x64, PORT_A = 0x92, FULL = 1, BUSY = 2, A20 = 2 };

static const char RULE[] = "PS/2 Technical Reference: A20 gate";

static volatile uint32_t *word(uint64_t at)
{
    __asm__("" : "+r"(at)); /* not to be known as an object's */
    return (volatile uint32_t *)at;
}

static void send(uint16_t port, uint8_t byte)
{
    while ((port_in8(COMMAND) & BUSY) != 0) {}
    port_out8(port, byte);
}

static void by_port_92(bool on)
{
    port_out8(PORT_A, (uint8_t)((port_in8(PORT_A) & 0xfc) | (on ? A20 : 0)));
}

static void by_output_port(bool on)
{
    send(COMMAND, 0xd1);
    send(DATA, on ? 0xdf : 0xdd);
    while ((port_in8(COMMAND) & BUSY) != 0) {}
}

static void by_command(bool on)
{
    send(COMMAND, on ? 0xdf : 0xdd);
    while ((port_in8(COMMAND) & BUSY) != 0) {}
}

static unsigned output_port(void)
{
    send(COMMAND, 0xd0);
    while ((port_in8(COMMAND) & FULL) == 0) {}
    return port_in8(DATA);
}

static void check_way(const char *name, void (*set)(bool on))
{
    volatile uint32_t *low = word(LOW), *high = word(LOW + MIB);
    *low = 0x11111111;
    *high = 0x22222222;
    set(false);
    uint32_t off = *high;
    unsigned bits = (output_port() & A20) | (port_in8(PORT_A) & A20) << 4;
    *high = 0x33333333;
    uint32_t written = *low;
    set(true);
    uint32_t on = *high;
    test_equal(off, 0x11111111, name, RULE);
    test_equal(bits, 0, "both ports say that it is off", RULE);
    test_equal(written, 0x33333333, "a write wraps, too", RULE);
    test_equal(on, 0x22222222, "on, each MiB is its own", RULE);
    test_check((output_port() & port_in8(PORT_A) & A20) != 0, "and both say so", RULE);
}

/* Every odd MiB, and no even one. */
static void check_addresses(void)
{
    for (uint64_t mib = 0; mib < 8; mib++)
        *word(LOW + mib * MIB) = (uint32_t)mib;
    by_port_92(false);
    bool wraps = true;
    for (uint64_t mib = 0; mib < 8; mib++)
        wraps = wraps && *word(LOW + mib * MIB) == (mib & ~1ull);
    volatile uint64_t *across = (volatile uint64_t *)word(4 * MIB - 4);
    *word(3 * MIB - 4) = 0xaaaaaaaa;
    *word(4 * MIB) = 0xbbbbbbbb;
    uint64_t both = *across;
    by_port_92(true);
    test_check(wraps, "each odd MiB is the one before, no even one is", RULE);
    test_equal(both, 0xbbbbbbbbaaaaaaaa, "an operand from an odd one into the next", RULE);
}

/* RET at the low address, UD2 at the high one. */
static void check_fetch(void)
{
    *(volatile uint8_t *)word(LOW) = 0xc3;
    *(volatile uint16_t *)word(LOW + MIB) = 0x0b0f;
    void (*function)(void *) = (void (*)(void *))(uintptr_t)word(LOW + MIB);
    by_port_92(false);
    uint32_t off = probe_call(function, NULL).vector;
    by_port_92(true);
    uint32_t on = probe_call(function, NULL).vector;
    test_equal(off, PROBE_NONE, "instructions are fetched from where it leads", RULE);
    test_equal(on, VECTOR_UD, "and from their own place then", RULE);
}

static void empty(void)
{
    while ((port_in8(COMMAND) & FULL) != 0)
        (void)port_in8(DATA);
}

/* Device memory that loses the bit: the IO-APIC by the address of the HPET's MiB. */
static void check_device(void)
{
    const uint64_t ioapic = IOAPIC_ADDRESS, odd = ioapic + MIB;
    *word(ioapic) = 0;
    *word(ioapic + 0x10) = 0x05000000;
    by_port_92(false);
    *word(odd) = 0;
    uint32_t off = *word(odd + 0x10);
    *word(odd) = 1;
    uint32_t version = *word(odd + 0x10), same = *word(ioapic + 0x10);
    by_port_92(true);
    if (test_only(TEST_VM)) {
        test_equal(off, 0x05000000, "a device answers there, too", RULE);
        test_equal(version, same, "as at its own place", RULE);
    }
    test_both();
    *word(ioapic) = 0;
    *word(ioapic + 0x10) = 0;
}

/* Instructions that no emulator knows, and the CPU itself executes: ROL and POPCNT. */
static void check_stepped(void)
{
    const uint64_t memory = 0xff000000, ioapic = IOAPIC_ADDRESS; /* drivers/virt/vtestdev.h */
    struct code rotate = {.rdi = memory + MIB, .length = 2, .bytes = {0xd1, 0x07}};
    struct code count = {
        .rsi = ioapic + MIB + 0x10, .length = 4, .bytes = {0xf3, 0x0f, 0xb8, 0x06}};
    *word(memory) = 0x40000001;
    *word(ioapic) = 0;
    *word(ioapic + 0x10) = 0x05000000;
    by_port_92(false);
    struct probe rotated = code_probe(&rotate), counted = code_probe(&count);
    by_port_92(true);
    test_check(rotated.vector == PROBE_NONE && *word(memory) == 0x80000002,
               "ROL of a device's memory", RULE);
    test_check(counted.vector == PROBE_NONE && count.rax == 2, "POPCNT of its registers", RULE);
    *word(ioapic + 0x10) = 0;
}

static volatile uint32_t asked, answered;

/* Another CPU, which looks when it is asked. */
static _Noreturn void look(unsigned index)
{
    (void)index;
    for (uint32_t seen = 0;;) {
        const uint32_t now = asked;
        if (now == seen)
            continue;
        seen = now;
        answered = *word(LOW + MIB) << 8 | now;
    }
}

static uint32_t seen_elsewhere(void)
{
    const uint32_t number = ++asked;
    while ((answered & 0xff) != number) {}
    return answered >> 8;
}

/* The gate is the machine's. */
static void check_cpus(void)
{
    bool off = true, on = true;
    apic_enable(false);
    if (!test_equal(smp_start_at_least(look, 2), 2, "there are two CPUs", "the test wants that"))
        return;
    *word(LOW) = 0x11;
    *word(LOW + MIB) = 0x22;
    for (unsigned i = 0; i < 50; i++) {
        by_port_92(false);
        off = off && seen_elsewhere() == 0x11;
        by_port_92(true);
        on = on && seen_elsewhere() == 0x22;
    }
    test_check(off, "off for another CPU, too", RULE);
    test_check(on, "and on again", RULE);
}

int main(void)
{
    test_begin("a20", "the A20 gate");
    empty();
    test_check((output_port() & port_in8(PORT_A) & A20) != 0, "it is on at the start", RULE);
    check_way("off by port 0x92, 1 MiB is 0", by_port_92);
    check_way("off by the output port", by_output_port);
    check_way("off by commands 0xDD and 0xDF", by_command);
    check_addresses();
    check_fetch();
    check_device();
    if (test_only(TEST_VM))
        check_stepped();
    test_both();
    check_cpus();
    return test_end();
}
