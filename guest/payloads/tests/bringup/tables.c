/* SPDX-License-Identifier: BSD-2-Clause */
/* What fw_cfg (QEMU's docs/specs/fw_cfg) and ACPI say of the machine. */
#include "bringup.h"

#include "guest/lib/cpu.h"
#include "guest/lib/test.h"

enum { SELECTOR = 0x510, DATA = 0x511 };
enum {
    KEY_SIGNATURE = 0,
    KEY_ID = 1,
    KEY_RAM = 3,
    KEY_CPUS = 5,
    KEY_MAX_CPUS = 15,
    KEY_FILES = 25
};
enum { MADT_LOCAL_APIC = 0, MADT_HEADER = 44 };

uint64_t fwcfg_number(uint16_t key, unsigned bytes)
{
    uint64_t value = 0;
    port_out16(SELECTOR, key);
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)port_in8(DATA) << (8 * i);
    return value;
}

void check_fwcfg(void)
{
    const char *rule = "fw_cfg";
    test_equal(fwcfg_number(KEY_SIGNATURE, 4), 0x554d4551, "the signature QEMU", rule);
    test_equal(fwcfg_number(KEY_ID, 4) & 1, 1, "the port interface", rule);
    test_equal(fwcfg_number(KEY_CPUS, 2), setting("CPUS", 0), "the number of CPUs, 2 bytes", rule);
    test_equal(fwcfg_number(KEY_CPUS, 8), setting("CPUS", 0), "zeros behind", rule);
    test_equal(fwcfg_number(KEY_MAX_CPUS, 2), setting("CPUS", 0), "and of those at most", rule);
    test_equal(fwcfg_number(KEY_RAM, 8), setting("MEMORY", 0) << 20, "the memory, 8 bytes", rule);
    test_equal(fwcfg_number(0x7fff, 4), 0, "an unknown item is empty", rule);
    port_out16(SELECTOR, KEY_FILES);
    test_equal(port_in8(DATA), 0, "a directory of files, big-endian", rule);
}

static uint64_t find_rsdp(void)
{
    for (uint64_t at = 0xe0000; at < 0x100000; at += 16)
        if (peek(at, 8) == 0x2052545020445352) /* "RSD PTR " */
            return at;
    return 0;
}

static uint64_t find_table(uint64_t rsdt, uint32_t signature)
{
    for (uint64_t i = 36; i < peek(rsdt + 4, 4); i += 4)
        if (peek(peek(rsdt + i, 4), 4) == signature)
            return peek(rsdt + i, 4);
    return 0;
}

static void check_madt(uint64_t madt)
{
    uint64_t ids = 0, cpus = 0;
    const uint64_t end = madt + peek(madt + 4, 4);
    for (uint64_t e = madt + MADT_HEADER; e < end && peek(e + 1, 1) != 0; e += peek(e + 1, 1)) {
        if (peek(e, 1) != MADT_LOCAL_APIC || (peek(e + 4, 4) & 1) == 0)
            continue;
        cpus++;
        ids |= 1ull << peek(e + 3, 1);
    }
    test_equal(cpus, setting("CPUS", 0), "the MADT lists all CPUs", "ACPI: MADT");
    test_equal(ids, (1ull << cpus) - 1, "with the IDs from 0 on", "ACPI: MADT");
}

void check_acpi(void)
{
    const uint64_t rsdp = find_rsdp(), rsdt = rsdp != 0 ? peek(rsdp + 16, 4) : 0;
    if (!test_check(rsdp != 0 && peek(rsdt, 4) == 0x54445352, "an RSDP from 0xe0000 on, an RSDT",
                    "ACPI: Finding the RSDP"))
        return;
    const uint64_t fadt = find_table(rsdt, 0x50434146), madt = find_table(rsdt, 0x43495041);
    if (!test_check(fadt != 0 && madt != 0, "FADT and MADT in it", "ACPI: RSDT"))
        return;
    check_madt(madt);
    const uint64_t facs = peek(fadt + 36, 4);
    test_check(facs % 64 == 0 && peek(facs, 4) == 0x53434146, "an aligned FACS", "ACPI: FACS");
    const uint16_t timer = (uint16_t)peek(fadt + 76, 4);
    const uint32_t before = port_in32(timer);
    for (unsigned i = 0; i < 1000; i++)
        (void)port_in32(timer);
    test_check(port_in32(timer) - before - 1 < 0x100000, "the PM timer runs", "ACPI: PM timer");
    test_check(peek(fadt + 56, 4) != 0 && peek(fadt + 64, 4) != 0, "PM1a event and control blocks",
               "ACPI: FADT");
}
