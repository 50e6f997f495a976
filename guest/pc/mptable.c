/* SPDX-License-Identifier: BSD-2-Clause */
/* The MP table, byte by byte (MultiProcessor Specification 1.4, chapter "MP Configuration Table").
 * It says what the ACPI tables say. */
#include "guest/pc/mptable.h"
#include "arch/bytes.h"
#include "arch/string.h"
#include "drivers/virt/vioapic.h"
#include "guest/pc/isa_lines.h"
#include "guest/vm/vlapic.h"

enum { POINTER_BYTES = 16, HEADER_BYTES = 44, CPU_BYTES = 20, ENTRY_BYTES = 8, VERSION_1_4 = 4 };
enum { CPU, BUS, IO_APIC, IO_INTERRUPT, LOCAL_INTERRUPT }; /* kinds of entries */
enum { INT, NMI, SMI, EXTINT };                            /* kinds of interrupts */
enum { ACTIVE_HIGH = 1, LEVEL = 3 << 2, ALL_APICS = 0xff };
enum { CPU_APIC_VERSION = 0x14, IO_APIC_VERSION = 0x11, ENABLED = 1, BOOT_CPU = 2 };
enum { OTHER_ENTRIES = 1 + 1 + (ISA_LINES - 1) + 2 }; /* bus, IO-APIC, interrupts, LINT0 and 1 */

static uint8_t *add_interrupt(uint8_t *p, uint8_t kind, uint8_t type, uint8_t flags, uint8_t irq,
                              uint8_t apic, uint8_t pin)
{
    const uint8_t entry[ENTRY_BYTES] = {kind, type, flags, 0, 0, irq, apic, pin};
    memcpy(p, entry, sizeof(entry));
    return p + sizeof(entry);
}

static uint8_t *add_interrupts(uint8_t *p)
{
    for (unsigned irq = 0; irq < ISA_LINES; irq++) {
        if (irq == ISA_CASCADE)
            continue;
        p = add_interrupt(p, IO_INTERRUPT, INT, isa_line_is_level(irq) ? ACTIVE_HIGH | LEVEL : 0,
                          (uint8_t)irq, 0, (uint8_t)isa_line_pin(irq));
    }
    p = add_interrupt(p, LOCAL_INTERRUPT, EXTINT, 0, 0, ALL_APICS, 0);
    return add_interrupt(p, LOCAL_INTERRUPT, NMI, 0, 0, ALL_APICS, 1);
}

enum status mptable_build(uint8_t *out, size_t capacity, uint32_t base,
                          const struct mptable_facts *facts, size_t *used)
{
    const size_t entries = facts->vcpus + OTHER_ENTRIES;
    const size_t table_bytes =
        HEADER_BYTES + facts->vcpus * (size_t)CPU_BYTES + OTHER_ENTRIES * ENTRY_BYTES;
    if (facts->vcpus == 0 || facts->vcpus > 255 || base % 16 != 0)
        return ERR_BAD_INPUT;
    if (capacity < POINTER_BYTES + table_bytes)
        return ERR_LIMIT;
    *used = POINTER_BYTES + table_bytes;
    memset(out, 0, *used);
    put_text(out, "_MP_");
    put_le(out + 4, 4, base + POINTER_BYTES);
    out[8] = POINTER_BYTES / 16;
    out[9] = VERSION_1_4;
    put_checksum(out, POINTER_BYTES, 10);

    uint8_t *table = out + POINTER_BYTES, *p = table + HEADER_BYTES;
    for (uint32_t i = 0; i < facts->vcpus; i++, p += CPU_BYTES) {
        const uint8_t cpu[4] = {CPU, (uint8_t)i, CPU_APIC_VERSION,
                                i == 0 ? ENABLED | BOOT_CPU : ENABLED};
        memcpy(p, cpu, sizeof(cpu));
        put_le(p + 4, 4, facts->signature);
        put_le(p + 8, 4, facts->features);
    }
    p[0] = BUS; /* number 0 */
    put_text(p + 2, "ISA   ");
    p += ENTRY_BYTES;
    const uint8_t io_apic[4] = {IO_APIC, 0, IO_APIC_VERSION, ENABLED};
    memcpy(p, io_apic, sizeof(io_apic));
    put_le(p + 4, 4, VIOAPIC_BASE);
    add_interrupts(p + ENTRY_BYTES);

    put_text(table, "PCMP");
    put_le(table + 4, 4, table_bytes | VERSION_1_4 << 16); /* the checksum is above */
    put_text(table + 8, "NADIR   NADIR PC    ");
    put_le(table + 32, 4, entries << 16); /* after the OEM table's size, 0 */
    put_le(table + 36, 4, VLAPIC_DEFAULT_BASE);
    put_checksum(table, table_bytes, 7);
    return OK;
}
