// link: guest/pc/acpi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's ACPI tables: pointers, lengths, checksums, entries. With ACPI_DUMP=DIR in the
 * environment, writes each table to DIR/NAME.dat for `iasl -d`. */
#include "guest/pc/acpi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BASE 0xe0000u

static const uint8_t dsdt[48] = "DSDT\x30";
static uint8_t out[8192];
static size_t used;

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static uint8_t sum(const uint8_t *p, size_t bytes)
{
    uint8_t s = 0;
    while (bytes-- > 0)
        s = (uint8_t)(s + *p++);
    return s;
}

/* The table at a guest-physical address: in range, right signature and checksum. */
static const uint8_t *table(uint32_t address, const char *signature)
{
    assert_in_range(address, BASE, BASE + used - 36);
    const uint8_t *t = out + (address - BASE);
    assert_memory_equal(t, signature, 4);
    const uint32_t bytes = get32(t + 4);
    assert_in_range(bytes, 36, BASE + used - address);
    if (strcmp(signature, "FACS") != 0 && strcmp(signature, "DSDT") != 0)
        assert_int_equal(sum(t, bytes), 0);
    if (getenv("ACPI_DUMP") != NULL) {
        char path[300];
        snprintf(path, sizeof(path), "%s/%s.dat", getenv("ACPI_DUMP"), signature);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fwrite(t, 1, bytes, f);
        fclose(f);
    }
    return t;
}

static void build(uint32_t vcpus)
{
    memset(out, 0xa5, sizeof(out));
    assert_int_equal(acpi_build(out, sizeof(out), BASE, 0x600, vcpus, dsdt, sizeof(dsdt), &used),
                     OK);
    assert_true(used <= sizeof(out));
    assert_int_equal(out[used], 0xa5);
}

static void test_chain(void **state)
{
    (void)state;
    build(1);
    assert_memory_equal(out, "RSD PTR ", 8);
    assert_int_equal(sum(out, 20), 0);
    assert_int_equal(sum(out, 36), 0);
    const uint8_t *rsdt = table(get32(out + 16), "RSDT");
    const uint8_t *xsdt = table(get32(out + 24), "XSDT");
    assert_int_equal(get32(rsdt + 4), 36 + 2 * 4);
    assert_int_equal(get32(xsdt + 4), 36 + 2 * 8);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(get32(rsdt + 36 + 4 * i), get32(xsdt + 36 + 8 * i));

    const uint8_t *fadt = table(get32(rsdt + 36), "FACP");
    assert_int_equal(get32(fadt + 36) % 64, 0);
    table(get32(fadt + 36), "FACS");
    assert_ptr_equal(table(get32(fadt + 40), "DSDT"), table(get32(fadt + 140), "DSDT"));
    assert_int_equal(get32(fadt + 56), 0x600);
    assert_int_equal(get32(fadt + 56), get32(fadt + 152)); /* PM1a event block, both forms */
    assert_int_equal(get32(fadt + 76), 0x608);
    assert_int_equal(get32(fadt + 76), get32(fadt + 212)); /* PM timer */
    assert_int_equal(fadt[109], 3); /* there are legacy devices, a keyboard and a VGA */
    assert_int_equal(get32(fadt + 120), 0xcf9);
    assert_int_equal(fadt[128], 6);
}

static void test_madt(void **state)
{
    (void)state;
    for (uint32_t vcpus = 1; vcpus <= 255; vcpus += 127) {
        build(vcpus);
        const uint8_t *madt = table(get32(out + get32(out + 16) - BASE + 40), "APIC");
        unsigned seen[5] = {0};
        uint32_t at = 44;
        for (; at < get32(madt + 4); at += madt[at + 1]) {
            assert_in_range(madt[at], 0, 4);
            assert_in_range(madt[at + 1], 6, 12);
            if (madt[at] == 0)
                assert_int_equal(madt[at + 3], seen[0]); /* APIC IDs from 0 */
            if (madt[at] == 2 && madt[at + 3] == 0)
                assert_true(get32(madt + at + 4) == 2 && madt[at + 8] == 0);
            if (madt[at] == 2 && madt[at + 3] != 0)
                assert_int_equal(madt[at + 8], 0x0d);
            seen[madt[at]]++;
        }
        assert_int_equal(at, get32(madt + 4));
        assert_int_equal(seen[0], vcpus);
        assert_int_equal(seen[1], 1);
        assert_int_equal(seen[2], 4);
        assert_int_equal(seen[4], 1);
    }
}

/* Does what firmware does with the loader script: every command is one that it knows, and the
 * tables then are as if they had been built for their place. */
static void test_loader_script(void **state)
{
    (void)state;
    static uint8_t script[ACPI_SCRIPT_BYTES], placed[sizeof(out)], rsdp[ACPI_RSDP_BYTES];
    enum { NAME = 56 };
    unsigned allocated = 0;
    memset(out, 0xa5, sizeof(out));
    assert_int_equal(acpi_build_unplaced(out, sizeof(out), 0xb000, 3, dsdt, sizeof(dsdt), &used),
                     OK);
    acpi_loader_script(script);
    memcpy(placed, out, used);
    memcpy(rsdp, out, sizeof(rsdp));
    for (const uint8_t *p = script; p < script + sizeof(script); p += 128) {
        const bool tables = strcmp((const char *)p + 4, "etc/acpi/tables") == 0;
        uint8_t *file = tables ? placed : rsdp;
        const uint32_t bytes = tables ? (uint32_t)used : ACPI_RSDP_BYTES;
        const uint8_t *arg = p + 4 + NAME;
        assert_true(tables || strcmp((const char *)p + 4, "etc/acpi/rsdp") == 0);
        switch (get32(p)) {
        case 1:
            assert_int_equal(get32(arg), 64);
            assert_int_equal(arg[4], tables ? 1 : 2);
            allocated++;
            break;
        case 2: {
            assert_int_equal(allocated, 2);
            assert_string_equal((const char *)arg, "etc/acpi/tables");
            const uint32_t at = get32(arg + NAME);
            assert_in_range(arg[NAME + 4], 4, 8);
            assert_in_range(at, 16, bytes - arg[NAME + 4]);
            assert_in_range(get32(file + at), 1, used - 1);
            const uint32_t pointer = get32(file + at) + BASE;
            memcpy(file + at, &pointer, 4);
            break;
        }
        case 3: {
            const uint32_t at = get32(arg), start = get32(arg + 4), length = get32(arg + 8);
            assert_in_range(at, start, start + length - 1);
            assert_in_range(start + length, 1, bytes);
            assert_int_equal(file[at], 0);
            file[at] = (uint8_t)-sum(file + start, length);
            break;
        }
        default: fail_msg("command %u", get32(p));
        }
    }
    assert_int_equal(acpi_build(out, sizeof(out), BASE, 0xb000, 3, dsdt, sizeof(dsdt), &used), OK);
    assert_memory_equal(rsdp, out, sizeof(rsdp));
    assert_memory_equal(placed + sizeof(rsdp), out + sizeof(rsdp), used - sizeof(rsdp));
    assert_int_equal(get32(out + get32(out + get32(out + 16) - BASE + 36) - BASE + 76), 0xb008);
}

static void test_refused(void **state)
{
    (void)state;
    assert_int_equal(acpi_build(out, sizeof(out), BASE, 0x600, 0, dsdt, 48, &used), ERR_BAD_INPUT);
    assert_int_equal(acpi_build(out, sizeof(out), BASE, 0x600, 256, dsdt, 48, &used),
                     ERR_BAD_INPUT);
    assert_int_equal(acpi_build(out, sizeof(out), BASE + 8, 0x600, 1, dsdt, 48, &used),
                     ERR_BAD_INPUT);
    assert_int_equal(acpi_build(out, sizeof(out), BASE, 0x600, 1, dsdt, 35, &used), ERR_BAD_INPUT);
    build(1);
    uint8_t *exact = malloc(used);
    const size_t enough = used;
    assert_int_equal(acpi_build(exact, enough, BASE, 0x600, 1, dsdt, sizeof(dsdt), &used), OK);
    assert_int_equal(acpi_build(exact, enough - 1, BASE, 0x600, 1, dsdt, sizeof(dsdt), &used),
                     ERR_LIMIT);
    assert_int_equal(acpi_build(exact, 8, BASE, 0x600, 1, dsdt, sizeof(dsdt), &used), ERR_LIMIT);
    free(exact);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_madt),
        cmocka_unit_test(test_loader_script),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
