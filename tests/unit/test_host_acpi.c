// SPDX-License-Identifier: BSD-2-Clause
// What the host believes of the firmware's ACPI tables, good and broken ones.
// link: drivers/host/acpi.c tools/warm/acpi.c
#include "drivers/host/acpi.h"
#include "tools/warm/acpi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RSDP = 0x10, RSDT = 0x100, XSDT = 0x200, FADT = 0x400, OTHER = 0x600 };
enum { HPET = 0x700, DSDT = 0x800, END = 0xc00 };

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
    put(XSDT + 52, HPET, 8);
    finish_table(XSDT, "XSDT", 60);
    finish_table(OTHER, "APIC", 44);
    put(HPET + 44, 0xfed00000, 8);
    finish_table(HPET, "HPET", 56);
    put(FADT + 40, DSDT, 4);
    put(FADT + 64, 0x604, 4);
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
    assert_int_equal(facts.reset.space, ACPI_SPACE_IO);
    assert_int_equal(facts.reset.address, 0xcf9);
    assert_int_equal(facts.reset_value, 6);

    memory[RSDP + 15] = 0; /* ACPI 1.0: the RSDT */
    fix_sum(RSDP, 20, RSDP + 8);
    memset(memory + XSDT, 0xff, 60);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.pm_timer_port, 0x608);

    memory[FADT + 208] = ACPI_SPACE_IO; /* the extended field wins */
    put(FADT + 212, 0xb008, 8);
    finish_table(FADT, "FACP", 244);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.pm_timer_port, 0xb008);
}

static void hpet(void **state)
{
    (void)state;
    struct acpi_facts facts;
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.hpet, 0xfed00000);
    put(HPET + 44, 1ull << 32, 8); /* nothing maps it there */
    finish_table(HPET, "HPET", 56);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.hpet, 0);
    put(HPET + 44, 0xfed00000, 8);
    memory[HPET + 40] = ACPI_SPACE_IO;
    finish_table(HPET, "HPET", 56);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.hpet, 0);
}

/* Puts AML at the end of a DSDT, so that windows end there, too. */
static struct acpi_facts with_aml(const char *aml, unsigned length, unsigned before)
{
    struct acpi_facts facts;
    memset(memory + DSDT, 0x10, END - DSDT);
    memcpy(memory + DSDT + 36 + before, aml, length);
    finish_table(DSDT, "DSDT", 36 + before + length);
    finish_table(FADT, "FACP", 244);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    return facts;
}

#define AML(text, before) with_aml(text, sizeof(text) - 1, before)

static void soft_off(void **state)
{
    (void)state;
    struct acpi_facts facts;
    for (unsigned before = 0; before < 600; before++) { /* wherever the reading is cut */
        facts = AML("\x08_S5_\x12\x06\x04\x0a\x05\x0a\x07\x00\x00", before);
        assert_true(facts.has_soft_off);
        assert_int_equal(facts.sleep_type_a, 5);
        assert_int_equal(facts.sleep_type_b, 7);
    }
    assert_int_equal(facts.pm1a_port, 0x604);
    assert_int_equal(facts.pm1b_port, 0);
    facts =
        AML("\x08\\_S5_\x12\x44\x00\x04\x01\x00\x00\x00", 3); /* root, longer length, constants */
    assert_true(facts.has_soft_off);
    assert_int_equal(facts.sleep_type_a, 1);
    assert_int_equal(facts.sleep_type_b, 0);
    facts = AML("\x08_S5_\x12\x04\x01\x0a\x06", 3); /* one element: for both */
    assert_int_equal(facts.sleep_type_a, 6);
    assert_int_equal(facts.sleep_type_b, 6);
    /* A method, an empty package, a name that is computed, another state, a reference to it. */
    assert_false(AML("\x14\x08_S5_\x00\xa4\x00", 3).has_soft_off);
    assert_false(AML("\x08_S5_\x12\x02\x00", 3).has_soft_off);
    assert_false(AML("\x08_S5_\x12\x06\x04_ABC\x00", 3).has_soft_off);
    assert_false(AML("\x08_S4_\x12\x06\x04\x0a\x05\x0a\x05\x00\x00", 3).has_soft_off);
    assert_false(AML("\x70_S5_\x12\x06\x04", 3).has_soft_off);
}

static void hardware_reduced(void **state)
{
    (void)state;
    struct acpi_facts facts;
    put(FADT + 112, 1u << 20, 4);
    memory[FADT + 244] = ACPI_SPACE_MEMORY;
    put(FADT + 248, 0xfed80800, 8);
    finish_table(FADT, "FACP", 268);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.sleep_control.address, 0xfed80800);
    assert_int_equal(facts.pm1a_port, 0); /* such a machine has none, whatever the field says */
    put(FADT + 112, 0, 4);
    put(FADT + 48, 0xb2, 4);
    memory[FADT + 52] = 0xa0;
    finish_table(FADT, "FACP", 268);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.sleep_control.address, 0);
    assert_int_equal(facts.pm1a_port, 0x604);
    assert_int_equal(facts.smi_port, 0xb2);
    assert_int_equal(facts.acpi_enable, 0xa0);
}

static unsigned madt_end;

static void madt_add(unsigned type, unsigned bytes, uint32_t id, uint32_t flags)
{
    const unsigned at = DSDT + madt_end; /* there is room */
    memory[at] = (uint8_t)type;
    memory[at + 1] = (uint8_t)bytes;
    if (type == 0) {
        memory[at + 3] = (uint8_t)id;
        put(at + 4, flags, 4);
    } else if (type == 9 || type == 1) {
        put(at + 4, id, 4);
        put(at + 8, flags, 4);
    }
    madt_end += bytes;
}

static void cpus(void **state)
{
    (void)state;
    uint32_t id[4];
    memset(memory + DSDT, 0, END - DSDT);
    madt_end = 44;
    madt_add(0, 8, 0, 1);
    madt_add(1, 12, 0xfec00000, 0); /* an IO-APIC */
    madt_add(0, 8, 2, 1);
    madt_add(0, 8, 4, 2);    /* could be plugged in */
    madt_add(0, 8, 255, 1);  /* everybody's address: no CPU */
    madt_add(9, 16, 2, 1);   /* the same as above */
    madt_add(9, 16, 300, 1); /* beyond what an xAPIC can name */
    madt_add(9, 16, 301, 0);
    madt_add(9, 16, 302, 1);
    madt_add(9, 16, 303, 1);
    madt_add(1, 12, 0xfec01000, 24);
    put(XSDT + 36, DSDT, 8);
    finish_table(XSDT, "XSDT", 60);
    finish_table(DSDT, "APIC", madt_end);
    assert_int_equal(acpi_list_cpus(hpa(RSDP), read_memory, id, 4), 5);
    assert_int_equal(id[0], 0);
    assert_int_equal(id[1], 2);
    assert_int_equal(id[2], 300);
    assert_int_equal(id[3], 302);
    assert_int_equal(acpi_list_io_apics(hpa(RSDP), read_memory, id, 4), 2);
    assert_true(id[0] == 0xfec00000 && id[1] == 0xfec01000);
    assert_int_equal(acpi_list_io_apics(hpa(RSDP), read_memory, id, 1), 1);
    for (unsigned bytes = 0; bytes < 300; bytes++) { /* entries that are cut, or have no length */
        memory[DSDT + 44 + 8 + 1] = (uint8_t)bytes;
        finish_table(DSDT, "APIC", madt_end - bytes % 20);
        assert_in_range(acpi_list_cpus(hpa(RSDP), read_memory, id, 4), 1, 9);
    }
    assert_int_equal(acpi_list_cpus(hpa(0), read_memory, id, 4), 0);
    assert_int_equal(acpi_list_io_apics(hpa(0), read_memory, id, 4), 0);
}

static void absent_or_odd_facts(void **state)
{
    (void)state;
    struct acpi_facts facts;
    put(FADT + 112, 0, 4);
    put(FADT + 76, 0x10000, 4);
    finish_table(FADT, "FACP", 244);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.reset.address, 0);
    assert_int_equal(facts.pm_timer_port, 0);

    put(FADT + 112, 1u << 10, 4);
    put(FADT + 120, 0x12345, 8); /* no such port */
    finish_table(FADT, "FACP", 244);
    assert_true(acpi_read_facts(hpa(RSDP), read_memory, &facts));
    assert_int_equal(facts.reset.address, 0);

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
    finish_table(XSDT, "XSDT", 60);
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
        uint32_t id[8];
        acpi_read_facts(hpa(RSDP), read_memory, &facts);
        acpi_list_cpus(hpa(RSDP), read_memory, id, 8);
    }
}

/* Those of a machine that has no firmware to make any, whose chipset is as QEMU's q35 is. */
static void tables_of_a_warm_start(void **state)
{
    enum { AT = 0x40 };
    (void)state;
    struct acpi_facts facts;
    uint32_t io_apic;
    memset(memory, 0, sizeof(memory));
    acpi_fill(memory + AT, AT);
    assert_true(acpi_read_facts(hpa(AT), read_memory, &facts));
    assert_int_equal(facts.pm_timer_port, 0x608);
    assert_int_equal(facts.hpet, 0xfed00000);
    assert_true(facts.has_soft_off && facts.pm1a_port == 0x604 && facts.pm1b_port == 0);
    assert_true(facts.sleep_type_a == 0 && facts.sleep_type_b == 0);
    assert_true(facts.smi_port == 0 && facts.reset.address == 0);
    assert_int_equal(acpi_list_io_apics(hpa(AT), read_memory, &io_apic, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_of_a_warm_start),
        cmocka_unit_test_setup(good_tables, build),
        cmocka_unit_test_setup(hpet, build),
        cmocka_unit_test_setup(soft_off, build),
        cmocka_unit_test_setup(hardware_reduced, build),
        cmocka_unit_test_setup(cpus, build),
        cmocka_unit_test_setup(absent_or_odd_facts, build),
        cmocka_unit_test_setup(broken_tables, build),
        cmocka_unit_test_setup(noise, build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
