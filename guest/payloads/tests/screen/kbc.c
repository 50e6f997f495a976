/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8042 and its keyboard, by polling; nobody types meanwhile. */
#include "screen.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/test.h"

enum { DATA = 0x60, COMMAND = 0x64, PORT_A = 0x92, FULL = 1, BUSY = 2, FROM_MOUSE = 0x20 };
enum { PATIENCE = 100000000 }; /* ticks: a second at 100 MHz; a keyboard's self-test takes long */
enum { NOTHING = 0x100, PIC_BASE = 0x20, IRQ = 1, QUIET = 0x34 /* no interrupt, no mouse */ };

static const char RULE[] = "PS/2, keyboard controller", KEYBOARD_RULE[] = "PS/2, keyboard";
static volatile unsigned interrupts, byte_seen;

/* The next byte, or NOTHING. */
static unsigned receive(void)
{
    for (uint64_t start = rdtsc(); rdtsc() - start < PATIENCE;)
        if ((port_in8(COMMAND) & FULL) != 0)
            return port_in8(DATA);
    return NOTHING;
}

static void send(uint16_t port, uint8_t byte)
{
    for (uint64_t start = rdtsc(); rdtsc() - start < PATIENCE && (port_in8(COMMAND) & BUSY) != 0;)
        ;
    port_out8(port, byte);
}

static unsigned ask(uint8_t command)
{
    send(COMMAND, command);
    return receive();
}

static void configure(uint8_t value)
{
    send(COMMAND, 0x60);
    send(DATA, value);
}

/* What the keyboard answers to a byte, up to three bytes in one number. */
static unsigned keyboard(uint8_t byte, unsigned answers)
{
    unsigned all = 0;
    send(DATA, byte);
    while (answers-- > 0)
        all = all << 8 | receive();
    return all;
}

static void empty(void)
{
    while ((port_in8(COMMAND) & FULL) != 0)
        (void)port_in8(DATA);
}

static void check_controller(void)
{
    empty();
    test_equal(ask(0xaa), 0x55, "the self-test passes", RULE);
    configure(QUIET | 0x40);
    test_equal(ask(0x20), QUIET | 0x40, "the configuration reads back", RULE);
    test_equal(ask(0xab), 0, "the keyboard's lines are not stuck", RULE);
    send(COMMAND, 0xae);
    test_equal(ask(0x20) & 0x10, 0, "the keyboard's clock on", RULE);
    send(COMMAND, 0xad);
    test_equal(ask(0x20) & 0x10, 0x10, "and off", RULE);
    send(COMMAND, 0xae);
    test_equal(ask(0xd0) & 3, 3, "output port: no reset, A20 on", RULE);
    test_equal(port_in8(PORT_A) & 3, 2, "port 0x92: no reset, A20 on", RULE);
    send(COMMAND, 0xd2);
    send(DATA, 0x5c);
    test_equal(receive(), 0x5c, "a byte by way of the keyboard's buffer", RULE);
    test_equal(port_in8(COMMAND) & (FULL | FROM_MOUSE), 0, "nothing is left to read", RULE);
}

static void check_keyboard(void)
{
    configure(QUIET & ~0x10u);
    test_equal(keyboard(0xff, 2), 0xfaaa, "reset and self-test", KEYBOARD_RULE);
    test_equal(keyboard(0xf5, 1), 0xfa, "it stops scanning", KEYBOARD_RULE);
    test_equal(keyboard(0xf2, 3), 0xfaab83, "it identifies itself", KEYBOARD_RULE);
    test_equal(keyboard(0xee, 1), 0xee, "echo", KEYBOARD_RULE);
    test_equal(keyboard(0xed, 1), 0xfa, "LEDs", KEYBOARD_RULE);
    test_equal(keyboard(0x07, 1), 0xfa, "all of them", KEYBOARD_RULE);
    test_equal(keyboard(0xed, 1), 0xfa, "LEDs", KEYBOARD_RULE);
    test_equal(keyboard(0x00, 1), 0xfa, "none", KEYBOARD_RULE);
    test_equal(keyboard(0xf3, 1), 0xfa, "typematic rate", KEYBOARD_RULE);
    test_equal(keyboard(0x20, 1), 0xfa, "a slow one", KEYBOARD_RULE);
    test_equal(keyboard(0xf0, 1), 0xfa, "scan-code set", KEYBOARD_RULE);
    test_equal(keyboard(0x00, 2), 0xfa02, "it is set 2", KEYBOARD_RULE);
    test_equal(keyboard(0xf0, 1), 0xfa, "scan-code set", KEYBOARD_RULE);
    test_equal(keyboard(0x01, 1), 0xfa, "set 1", KEYBOARD_RULE);
    test_equal(keyboard(0xf0, 1), 0xfa, "scan-code set", KEYBOARD_RULE);
    test_equal(keyboard(0x00, 2), 0xfa01, "it is set 1", KEYBOARD_RULE);
    test_equal(keyboard(0xf0, 1), 0xfa, "scan-code set", KEYBOARD_RULE);
    test_equal(keyboard(0x03, 1), 0xfa, "set 3", KEYBOARD_RULE);
    test_equal(keyboard(0xf0, 1), 0xfa, "scan-code set", KEYBOARD_RULE);
    test_equal(keyboard(0x00, 2), 0xfa03, "it is set 3", KEYBOARD_RULE);
    test_equal(keyboard(0xf0, 1), 0xfa, "scan-code set", KEYBOARD_RULE);
    test_equal(keyboard(0x04, 1), 0xfe, "there is no set 4", KEYBOARD_RULE);
    if (test_only(TEST_VM)) { /* Bochs knows no key types */
        test_equal(keyboard(0xfa, 1), 0xfa, "all keys repeat and tell their release",
                   KEYBOARD_RULE);
        test_equal(keyboard(0xfc, 1), 0xfa, "some keys do not repeat", KEYBOARD_RULE);
        test_equal(keyboard(0x1c, 1), 0xfa, "namely A", KEYBOARD_RULE);
        test_equal(keyboard(0x32, 1), 0xfa, "and B", KEYBOARD_RULE);
    }
    test_both();
    test_equal(keyboard(0xf6, 1), 0xfa, "defaults", KEYBOARD_RULE);
    test_equal(keyboard(0xf0, 1), 0xfa, "scan-code set", KEYBOARD_RULE);
    test_equal(keyboard(0x00, 2), 0xfa02, "it is set 2 again", KEYBOARD_RULE);
    configure((QUIET & ~0x10u) | 0x40);
    test_equal(keyboard(0xf2, 3), 0xfaab41, "its identity, translated", KEYBOARD_RULE);
    test_equal(keyboard(0xf4, 1), 0xfa, "it scans again", KEYBOARD_RULE);
}

static void on_key(struct trap_frame *frame)
{
    (void)frame;
    interrupts++;
    byte_seen = port_in8(DATA);
    pic_eoi(IRQ);
}

static void check_interrupt(void)
{
    trap_set_handler(PIC_BASE + IRQ, on_key);
    pic_init(PIC_BASE);
    pic_set_mask((uint16_t) ~(1u << IRQ));
    apic_enable(false);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    configure((QUIET & ~0x10u) | 0x41);
    __asm__ volatile("sti");
    send(DATA, 0xee);
    for (uint64_t start = rdtsc(); rdtsc() - start < PATIENCE && interrupts == 0;)
        ;
    __asm__ volatile("cli");
    test_check(interrupts == 1 && byte_seen == 0xee, "a byte from the keyboard raises IRQ1", RULE);
    pic_set_mask(0xffff);
    configure(QUIET & ~0x10u);
}

void check_8042(void)
{
    check_controller();
    check_keyboard();
    check_interrupt();
}
