// link: drivers/virt/vioapic.c guest/vm/vlapic.c guest/vm/vlapic_bus.c
// link: guest/vm/vlapic_timer.c drivers/bus/timers.c guest/vm/vcpu_pv_eoi.c mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The IO-APIC in front of two local APICs: redirection, edge and level, remote IRR. */
#include "drivers/virt/vioapic.h"

#include "tests/unit/vlapic_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEVEL      0x8000u
#define MASKED     0x10000u
#define LOGICAL    0x800u
#define REMOTE_IRR 0x4000u

static struct vioapic ioapic;

uint64_t read_clock(void)
{
    return 1000;
}

static unsigned pic_acknowledge(void *pic)
{
    (void)pic;
    return 0x30;
}

static uint32_t get(unsigned index)
{
    vioapic_write(&ioapic, gpa(VIOAPIC_BASE), 4, index);
    return (uint32_t)vioapic_read(&ioapic, gpa(VIOAPIC_BASE + 0x10), 4);
}

static void put(unsigned index, uint32_t value)
{
    vioapic_write(&ioapic, gpa(VIOAPIC_BASE), 4, index);
    vioapic_write(&ioapic, gpa(VIOAPIC_BASE + 0x10), 4, value);
}

static void route(unsigned pin, uint8_t destination, uint32_t low)
{
    put(0x11 + 2 * pin, (uint32_t)destination << 24);
    put(0x10 + 2 * pin, low);
}

static int pending(unsigned cpu)
{
    return vlapic_pending(APIC(cpu));
}

static void accept(unsigned cpu, int vector)
{
    assert_int_equal(pending(cpu), vector);
    vlapic_accept(APIC(cpu), (unsigned)vector);
    assert_int_equal(pending(cpu), -1);
}

static void end(unsigned cpu)
{
    assert_true(vlapic_write(APIC(cpu), 0xb0, 0));
}

static void pulse(unsigned pin)
{
    vioapic_set(&ioapic, pin, true);
    vioapic_set(&ioapic, pin, false);
}

static int setup(void **state)
{
    (void)state;
    start_vm(1000000);
    for (unsigned i = 0; i < 2; i++) {
        add_apic(i, i, pic_acknowledge, NULL);
        assert_true(vlapic_write(APIC(i), 0xf0, 0x1ff));
        assert_true(vlapic_write(APIC(i), 0xd0, 1u << (24 + i)));
    }
    vioapic_init(&ioapic, (struct msi_sink){vlapic_receive_msi, &vm});
    vm.ioapic = (struct msi_source){vioapic_eoi, vioapic_may_send_nmi, &ioapic};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    end_vm();
    return 0;
}

static void test_registers(void **state)
{
    (void)state;
    assert_int_equal(get(0), 0);
    assert_int_equal(get(1), 0x170020);
    put(0, 0xffffffff);
    assert_int_equal(get(0), 0x0f000000);
    assert_int_equal(get(2), 0x0f000000);
    put(1, 0);
    assert_int_equal(get(1), 0x170020);
    for (unsigned pin = 0; pin < 24; pin++) {
        assert_int_equal(get(0x10 + 2 * pin), MASKED);
        assert_int_equal(get(0x11 + 2 * pin), 0);
        route(pin, 0xff, 0xffffffff);
        assert_int_equal(get(0x10 + 2 * pin), 0x1afff);
        assert_int_equal(get(0x11 + 2 * pin), 0xff000000);
    }
    put(0x11, 0x00ffffff); /* reserved */
    assert_int_equal(get(0x11), 0);
    const unsigned none[] = {3, 0xf, 0x40, 0x41, 0xff};
    for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        put(none[i], 0x12345678);
        assert_int_equal(get(none[i]), 0xffffffff);
    }
    assert_int_equal(vioapic_read(&ioapic, gpa(VIOAPIC_BASE), 4), 0xff);
    assert_int_equal(vioapic_read(&ioapic, gpa(VIOAPIC_BASE + 0x20), 4), 0);
}

static void test_narrow_access(void **state)
{
    (void)state;
    vioapic_write(&ioapic, gpa(VIOAPIC_BASE), 1, 0x10);
    vioapic_write(&ioapic, gpa(VIOAPIC_BASE + 0x10), 1, 0x55);
    assert_int_equal(get(0x10), MASKED);
    vioapic_write(&ioapic, gpa(VIOAPIC_BASE + 0x10), 8, 0xffffffff00000000u | MASKED | 0x33);
    assert_int_equal(get(0x10), MASKED | 0x33);
    assert_int_equal(get(0x11), 0);
}

static void test_edge(void **state)
{
    (void)state;
    route(4, 0, 0x44);
    vioapic_set(&ioapic, 4, true);
    accept(0, 0x44);
    vioapic_set(&ioapic, 4, true); /* no edge */
    end(0);
    assert_int_equal(pending(0), -1);
    vioapic_set(&ioapic, 4, false);
    vioapic_set(&ioapic, 4, true);
    accept(0, 0x44);
    end(0);
    assert_int_equal(pending(0), -1);
    assert_int_equal(get(0x18), 0x44); /* no remote IRR */
    vioapic_set(&ioapic, 4, false);
    route(4, 0, MASKED | 0x44);
    pulse(4); /* lost */
    route(4, 0, 0x44);
    assert_int_equal(pending(0), -1);
    vioapic_set(&ioapic, 24, true);
    vioapic_set(&ioapic, ~0u, true);
}

static void test_level(void **state)
{
    (void)state;
    route(9, 0, LEVEL | 0x2000 | 0x59); /* active low: the same */
    vioapic_set(&ioapic, 9, true);
    assert_true(get(0x22) & REMOTE_IRR);
    accept(0, 0x59);
    vioapic_set(&ioapic, 9, false);
    vioapic_set(&ioapic, 9, true);
    assert_int_equal(pending(0), -1); /* once until EOI */
    end(0);
    accept(0, 0x59); /* still asserted: again */
    vioapic_set(&ioapic, 9, false);
    end(0);
    assert_int_equal(pending(0), -1);
    assert_false(get(0x22) & REMOTE_IRR);
}

static void test_level_mask(void **state)
{
    (void)state;
    route(9, 0, MASKED | LEVEL | 0x59);
    vioapic_set(&ioapic, 9, true);
    assert_int_equal(pending(0), -1);
    route(9, 0, LEVEL | 0x59);
    accept(0, 0x59);
    route(9, 0, MASKED | LEVEL | 0x59); /* masked in the handler: remote IRR is read-only */
    assert_true(get(0x22) & REMOTE_IRR);
    end(0);
    assert_int_equal(pending(0), -1);
    route(9, 0, LEVEL | 0x59);
    accept(0, 0x59);
    vioapic_set(&ioapic, 9, false);
    route(9, 0, MASKED | 0x59); /* to edge and back ends it by hand */
    route(9, 0, MASKED | LEVEL | 0x59);
    assert_false(get(0x22) & REMOTE_IRR);
}

static void test_eoi_register_and_shared_vector(void **state)
{
    (void)state;
    route(10, 0, LEVEL | 0x60);
    route(11, 0, LEVEL | 0x60);
    route(12, 0, LEVEL | 0x61);
    vioapic_set(&ioapic, 10, true);
    vioapic_set(&ioapic, 11, true);
    vioapic_set(&ioapic, 12, true);
    vioapic_set(&ioapic, 10, false);
    vioapic_set(&ioapic, 11, false);
    vioapic_set(&ioapic, 12, false);
    vioapic_write(&ioapic, gpa(VIOAPIC_BASE + 0x40), 4, 0x60);
    assert_false(get(0x24) & REMOTE_IRR);
    assert_false(get(0x26) & REMOTE_IRR);
    assert_true(get(0x28) & REMOTE_IRR);
    vioapic_eoi(&ioapic, 0x1000);
}

static unsigned edges_taken, edges_left;

static void on_taken(void *dev, unsigned pin)
{
    assert_ptr_equal(dev, &edges_taken);
    edges_taken++;
    if (edges_left == 0)
        return;
    edges_left--;
    vioapic_set(&ioapic, pin, false);
    vioapic_set_and_tell(&ioapic, pin, on_taken, dev);
}

/* The next edge comes as soon as the last one has ended, and none is lost. */
static void test_edges_that_are_told(void **state)
{
    (void)state;
    edges_taken = 0;
    edges_left = 2;
    route(2, 0, 0x50);
    vioapic_set_and_tell(&ioapic, 2, on_taken, &edges_taken);
    for (unsigned i = 1; i <= 3; i++) {
        accept(0, 0x50);
        assert_int_equal(edges_taken, i - 1);
        end(0);
        assert_int_equal(edges_taken, i);
    }
    assert_int_equal(pending(0), -1);
    vioapic_set(&ioapic, 2, false);
    pulse(2);
    accept(0, 0x50);
    end(0);
    assert_int_equal(edges_taken, 3); /* nobody asked any more */
    route(2, 0, MASKED | 0x50);
    vioapic_set_and_tell(&ioapic, 2, on_taken, &edges_taken);
    assert_int_equal(pending(0), -1);
}

static void test_not_taken(void **state)
{
    (void)state;
    vlapic_write(APIC(0), 0xf0, 0xff); /* disabled: nobody takes it, so no remote IRR */
    route(9, 0, LEVEL | 0x59);
    vioapic_set(&ioapic, 9, true);
    assert_false(get(0x22) & REMOTE_IRR);
    vlapic_write(APIC(0), 0xf0, 0x1ff);
    vioapic_set(&ioapic, 9, true);
    accept(0, 0x59);
    route(5, 0, LEVEL | 3); /* illegal vector */
    vioapic_set(&ioapic, 5, true);
    assert_false(get(0x1a) & REMOTE_IRR);
    vlapic_write(APIC(0), 0x280, 0);
    assert_int_equal(APIC(0)->page[0x280 / 4], 0x40);
}

static void test_destinations(void **state)
{
    (void)state;
    route(3, 1, 0x43);
    pulse(3);
    assert_int_equal(pending(0), -1);
    accept(1, 0x43);
    end(1);
    route(3, 0xff, 0x43); /* broadcast */
    pulse(3);
    accept(0, 0x43);
    accept(1, 0x43);
    end(0);
    end(1);
    route(3, 2, LOGICAL | 0x43);
    pulse(3);
    assert_int_equal(pending(0), -1);
    accept(1, 0x43);
    end(1);
    route(3, 3, LOGICAL | 0x100 | 0x43); /* lowest priority: one of them */
    pulse(3);
    assert_int_equal(pending(0) + pending(1), 0x43 - 1);
    route(3, 7, 0x44);
    pulse(3);
    assert_int_equal(pending(0) + pending(1), 0x43 - 1);
}

static void test_other_modes(void **state)
{
    (void)state;
    route(0, 0, LEVEL | 0x400); /* NMI acts on the edge, whatever the trigger bit */
    pulse(0);
    assert_int_equal(nmis[0], 1);
    assert_false(get(0x10) & REMOTE_IRR);
    route(0, 0, 0x700);
    pulse(0);
    assert_true(vlapic_extint_pending(APIC(0)));
    for (unsigned mode = 0; mode < 8; mode++) {
        route(0, 0, mode << 8 | 0x50);
        pulse(0);
        assert_int_equal(vlapic_device_may_wake(APIC(1)), mode == 4 || mode == 5);
        route(0, 0, MASKED | mode << 8 | 0x50);
        assert_false(vlapic_device_may_wake(APIC(1)));
    }
}

static uint64_t sent_address;
static uint32_t sent_data;

static bool record(void *receiver, uint64_t address, uint32_t data)
{
    assert_ptr_equal(receiver, &sent_address);
    sent_address = address;
    sent_data = data;
    return true;
}

/* What stands in a redirection entry is what the message says. */
static void test_messages(void **state)
{
    (void)state;
    vioapic_init(&ioapic, (struct msi_sink){record, &sent_address});
    for (unsigned mode = 0; mode < 8; mode++)
        for (unsigned other = 0; other < 4; other++) {
            const bool logical = other % 2 != 0, level = other / 2 != 0;
            const uint8_t to = (uint8_t)(0x12 + 0x21 * mode);
            const uint32_t entry =
                (level ? LEVEL : 0) | (logical ? LOGICAL : 0) | mode << 8 | (0x40 + mode);
            route(5, to, 0x2000 | entry); /* the polarity is no part of it */
            pulse(5);
            assert_int_equal(sent_address, 0xfee00000 | to << 12 | (logical ? 4 : 0));
            /* Trigger mode and assert, for the modes that are ended by an EOI. */
            assert_int_equal(sent_data,
                             (mode << 8 | (0x40 + mode)) | (level && mode <= 1 ? 0xc000 : 0));
            vioapic_eoi(&ioapic, 0x40 + mode);
        }
}

static void test_random(void **state)
{
    (void)state;
    srand(2);
    for (unsigned i = 0; i < 200000; i++) {
        uint32_t r = (uint32_t)rand();
        uint64_t value = (uint64_t)rand() << 32 ^ (uint64_t)rand() << 1;
        unsigned bytes = 1u << (r & 3);
        switch (r >> 4 & 7) {
        case 0: vioapic_set(&ioapic, r >> 8 & 31, r >> 7 & 1); break;
        case 1: vioapic_eoi(&ioapic, (unsigned)value); break;
        case 2: vioapic_read(&ioapic, gpa(VIOAPIC_BASE + (r >> 8 & 0xfff)), bytes); break;
        case 3: vioapic_write(&ioapic, gpa(VIOAPIC_BASE + (r >> 8 & 0xfff)), bytes, value); break;
        case 4: vioapic_write(&ioapic, gpa(VIOAPIC_BASE), bytes, value); break;
        case 5: end(r >> 8 & 1); break;
        case 6:
            if (pending(0) >= 0)
                vlapic_accept(APIC(0), (unsigned)pending(0));
            break;
        default: vioapic_write(&ioapic, gpa(VIOAPIC_BASE + 0x10), bytes, value & ~0x700ull); break;
        }
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_registers),
        TEST(test_narrow_access),
        TEST(test_edge),
        TEST(test_level),
        TEST(test_level_mask),
        TEST(test_eoi_register_and_shared_vector),
        TEST(test_edges_that_are_told),
        TEST(test_not_taken),
        TEST(test_destinations),
        TEST(test_other_modes),
        TEST(test_messages),
        TEST(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
