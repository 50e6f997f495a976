// SPDX-License-Identifier: BSD-2-Clause
// What the host believes of the firmware's ACPI tables, good and broken ones.
// link: drivers/host/acpi.c
#include "drivers/host/acpi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RSDP = 0x10, RSDT = 0x100, XSDT = 0x200, FADT = 0x400, OTHER = 0x600, END = 0x700 };

static uint8_t memory[END];

static bool read_memory(hpa_t address, void *to, size_t length)
{
    if (address.v > END || length > END - address.v)
        return false;
    memcpy(to, memory + address.v, length);
    return true;
}

static void put(unsigned at, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        memory[at + i] = (uint8_t)(v >> (8 * i));
}

static void fix_sum(unsigned at, unsigned length, unsigned where)
{
    uint8_t total = 0;
    memory[where] = 0;
    for (unsigned i = 0; i < length; i++)
        total = (uint8_t)(total + memory[at + i]);
    memory[where] = (uint8_t)-total;
}

static void finish_table(unsigned at, const char *signature, uint32_t length)
{
    memcpy(memory + at, signature, 4);
    put(at + 4, length, 4);
    fix_sum(at, length, at + 9);
}

static int build(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    memcpy(memory + RSDP, "RSD PTR ", 8);
    memory[RSDP + 15] = 2;
    put(RSDP + 16, RSDT, 4);
    put(RSDP + 20, 36, 4);
    put(RSDP + 24, XSDT, 8);
    fix_sum(RSDP, 20, RSDP + 8);
    fix_sum(RSDP, 36, RSDP + 32);
    put(RSDT + 36, OTHER, 4);
    put(RSDT + 40, FADT, 4);
    finish_table(RSDT, "RSDT", 44);
    put(XSDT + 36, OTHER, 8);
    put(XSDT + 44, FADT, 8);
    finish_table(XSDT, "XSDT", 52);
    finish_table(OTHER, "APIC", 44);
    put(FADT + 76, 0x608, 4);
    memory[FADT + 91] = 4;
    put(FADT + 112, 1u << 10, 4);
    memory[FADT + 116] = ACPI_SPACE_IO;
    put(FADT + 120, 0xcf9, 8);
    memory[FADT + 128] = 6;
    finish_table(FADT, "FACP", 244);
    return 0;
}

static void good_tables(void **state)
{
    (void)state;
    struct acpi_facts facts;
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.pm_timer_port, 0x608);
    assert_true(facts.has_reset);
    assert_int_equal(facts.reset_space, ACPI_SPACE_IO);
    assert_int_equal(facts.reset_address, 0xcf9);
    assert_int_equal(facts.reset_value, 6);

    memory[RSDP + 15] = 0; /* ACPI 1.0: the RSDT */
    fix_sum(RSDP, 20, RSDP + 8);
    memset(memory + XSDT, 0xff, 52);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.pm_timer_port, 0x608);

    memory[FADT + 208] = ACPI_SPACE_IO; /* the extended field wins */
    put(FADT + 212, 0xb008, 8);
    finish_table(FADT, "FACP", 244);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.pm_timer_port, 0xb008);
}

static void absent_or_odd_facts(void **state)
{
    (void)state;
    struct acpi_facts facts;
    put(FADT + 112, 0, 4);
    put(FADT + 76, 0x10000, 4);
    finish_table(FADT, "FACP", 244);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_false(facts.has_reset);
    assert_int_equal(facts.pm_timer_port, 0);

    put(FADT + 112, 1u << 10, 4);
    put(FADT + 120, 0x12345, 8); /* no such port */
    finish_table(FADT, "FACP", 244);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_false(facts.has_reset);

    finish_table(FADT, "FACP", 80); /* an old, short one: timer length is absent */
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.pm_timer_port, 0);
}

static void broken_tables(void **state)
{
    struct acpi_facts facts;
    assert_false(acpi_read_facts(hpa(0), read_memory, &facts));
    assert_false(acpi_read_facts(hpa(END - 4), read_memory, &facts));
    assert_false(acpi_read_facts(hpa(UINT64_MAX - 3), read_memory, &facts));
    const unsigned flip[] = {RSDP, RSDP + 9, XSDT, XSDT + 20, FADT, FADT + 200};
    for (unsigned i = 0; i < sizeof(flip) / sizeof(flip[0]); i++) {
        build(state);
        memory[flip[i]] ^= 1;
        assert_false(acpi_read_facts(hpa(RSDP), read_memory, &facts));
        assert_int_equal(facts.pm_timer_port, 0);
    }
    const uint32_t lengths[] = {0, 35, 0x10000, UINT32_MAX};
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        build(state);
        put(XSDT + 4, lengths[i], 4);
        assert_false(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    }
    build(state);
    put(XSDT + 36, UINT64_MAX - 10, 8); /* an entry that leads nowhere is passed over */
    finish_table(XSDT, "XSDT", 52);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
}

/* Any byte may be anything: no crash, no endless loop. */
static void noise(void **state)
{
    struct acpi_facts facts;
    srand(1);
    for (int i = 0; i < 20000; i++) {
        build(state);
        for (int k = 0; k < 4; k++)
            memory[rand() % END] = (uint8_t)rand();
        acpi_read_facts(hpa(RSDP), read_memory, &facts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(good_tables, build),
        cmocka_unit_test_setup(absent_or_odd_facts, build),
        cmocka_unit_test_setup(broken_tables, build),
        cmocka_unit_test_setup(noise, build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
