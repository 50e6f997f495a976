/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI tables, byte by byte (ACPI specification, chapter "System Description Tables"). */
#include "guest/pc/acpi.h"
#include "arch/bytes.h"
#include "arch/string.h"
#include "drivers/virt/vioapic.h"
#include "drivers/virt/vpm.h"
#include "drivers/virt/vrtc.h"
#include "guest/pc/isa_lines.h"
#include "guest/vm/vlapic.h"

#define GAS_IO(b) (1u | (b) << 8) /* generic address: I/O space, width in bits */

/* Where each table stands, from the base; what follows the MADT depends on the number of CPUs. */
enum { RSDP = 0, RSDT = 0x40, XSDT = 0x80, FADT = 0xc0, FACS = 0x1c0 /* aligned */, MADT = 0x200 };
enum { HEADER_BYTES = 36, RSDP_V1_BYTES = 20, RSDP_BYTES = ACPI_RSDP_BYTES, FACS_BYTES = 64 };
enum { FADT_BYTES = 244 /* revision 3 */, MADT_FIXED_BYTES = 44, OVERRIDE_BYTES = 10 };
enum { MADT_OTHER_BYTES = 12 + ISA_OVERRIDES * OVERRIDE_BYTES + 6 }; /* IO-APIC, overrides, NMI */

/* A field of a table: where, how wide, and what; all others are 0. */
struct field {
    uint16_t offset;
    uint8_t bytes;
    uint64_t value;
};

/* Pointers to FACS and DSDT are added at run time. SMI_CMD 0: ACPI mode is always on. */
static const struct field fadt_fields[] = {
    {46, 2, ISA_SCI},
    {88, 1, 4},    /* PM1_EVT_LEN */
    {89, 1, 2},    /* PM1_CNT_LEN */
    {91, 1, 4},    /* PM_TMR_LEN */
    {96, 2, 101},  /* P_LVL2_LAT: no C2 */
    {98, 2, 1001}, /* P_LVL3_LAT: no C3 */
    {108, 1, VRTC_CENTURY},
    {109, 2, 0x03}, /* IAPC_BOOT_ARCH: legacy devices, an 8042 */
    /* Flags: WBINVD works, C1, no sleep button, RTC does not wake, 32-bit timer, reset register. */
    {112, 4, 1u << 0 | 1u << 2 | 1u << 5 | 1u << 6 | 1u << 8 | 1u << 10},
    {116, 4, GAS_IO(8) | 1u << 24}, /* RESET_REG, byte access */
    {120, 8, VPM_RESET_PORT},
    {128, 1, VPM_RESET_VALUE},
    {148, 4, GAS_IO(32) | 2u << 24}, /* PM blocks as generic addresses */
    {172, 4, GAS_IO(16) | 2u << 24},
    {208, 4, GAS_IO(32) | 3u << 24},
};

/* What lies at so many ports from the power management block's first. */
static const struct field fadt_pm_fields[] = {
    {56, 4, VPM_PM1A_EVT},  {64, 4, VPM_PM1A_CNT},  {76, 4, VPM_PM_TIMER},
    {152, 8, VPM_PM1A_EVT}, {176, 8, VPM_PM1A_CNT}, {212, 8, VPM_PM_TIMER},
};

/* Writes the common header around a body that is already there. */
static void finish_table(uint8_t *table, const char *signature, uint8_t revision, size_t bytes)
{
    put_text(table, signature);
    put_le(table + 4, 4, bytes);
    table[8] = revision;
    put_text(table + 10, "NADIR NADIRPC ");
    put_le(table + 24, 4, 1); /* OEM revision */
    put_text(table + 28, "NADR");
    put_le(table + 32, 4, 1);
    put_checksum(table, bytes, 9);
}

static size_t write_madt(uint8_t *table, uint32_t vcpus)
{
    put_le(table + 36, 4, VLAPIC_DEFAULT_BASE);
    put_le(table + 40, 4, 1); /* there is a pair of 8259 too */
    uint8_t *p = table + MADT_FIXED_BYTES;
    for (uint32_t i = 0; i < vcpus; i++, p += 8) { /* local APIC: UID, ID, enabled */
        put_le(p, 4, 0 | 8u << 8 | i << 16 | i << 24);
        put_le(p + 4, 4, 1);
    }
    put_le(p, 4, 1 | 12u << 8); /* IO-APIC, ID 0, first interrupt 0 */
    put_le(p + 4, 4, VIOAPIC_BASE);
    put_le(p + 8, 4, 0);
    p += 12;
    for (unsigned irq = 0; irq < ISA_LINES; irq++) {
        if (!isa_line_is_override(irq))
            continue;
        put_le(p, 4, 2 | OVERRIDE_BYTES << 8 | irq << 24);
        put_le(p + 4, 4, isa_line_pin(irq));
        put_le(p + 8, 2, isa_line_is_level(irq) ? 1 | 3u << 2 : 0); /* active high, level */
        p += OVERRIDE_BYTES;
    }
    put_le(p, 6, 4 | 6u << 8 | 0xffu << 16 | 1ull << 40); /* NMI on LINT1 of every CPU */
    p += 6;
    const size_t bytes = (size_t)(p - table);
    finish_table(table, "APIC", 3, bytes);
    return bytes;
}

static void write_fadt(uint8_t *table, uint32_t facs, uint32_t dsdt, uint16_t pm_base)
{
    for (size_t i = 0; i < sizeof(fadt_fields) / sizeof(fadt_fields[0]); i++) {
        const struct field *f = &fadt_fields[i];
        put_le(table + f->offset, f->bytes, f->value);
    }
    for (size_t i = 0; i < sizeof(fadt_pm_fields) / sizeof(fadt_pm_fields[0]); i++) {
        const struct field *f = &fadt_pm_fields[i];
        put_le(table + f->offset, f->bytes, pm_base + f->value);
    }
    put_le(table + 36, 4, facs);
    put_le(table + 40, 4, dsdt);
    put_le(table + 140, 8, dsdt);
    finish_table(table, "FACP", 3, FADT_BYTES);
}

enum status acpi_build(uint8_t *out, size_t capacity, uint32_t base, uint16_t pm_base,
                       uint32_t vcpus, const uint8_t *dsdt, size_t dsdt_size, size_t *used)
{
    if (vcpus == 0 || vcpus > 255 || base % 64 != 0 || dsdt_size < HEADER_BYTES)
        return ERR_BAD_INPUT;
    const size_t madt_bytes = MADT_FIXED_BYTES + 8 * (size_t)vcpus + MADT_OTHER_BYTES;
    const size_t dsdt_at = (MADT + madt_bytes + 15) & ~(size_t)15;
    if (capacity < dsdt_at || capacity - dsdt_at < dsdt_size)
        return ERR_LIMIT;
    *used = dsdt_at + dsdt_size;
    memset(out, 0, dsdt_at);
    memcpy(out + dsdt_at, dsdt, dsdt_size);
    write_madt(out + MADT, vcpus);
    put_text(out + FACS, "FACS");
    put_le(out + FACS + 4, 4, FACS_BYTES);
    out[FACS + 32] = 1; /* version */
    write_fadt(out + FADT, base + FACS, base + (uint32_t)dsdt_at, pm_base);
    put_le(out + RSDT + HEADER_BYTES, 4, base + FADT);
    put_le(out + RSDT + HEADER_BYTES + 4, 4, base + MADT);
    finish_table(out + RSDT, "RSDT", 1, HEADER_BYTES + 8);
    put_le(out + XSDT + HEADER_BYTES, 8, base + FADT);
    put_le(out + XSDT + HEADER_BYTES + 8, 8, base + MADT);
    finish_table(out + XSDT, "XSDT", 1, HEADER_BYTES + 16);

    put_text(out + RSDP, "RSD PTR ");
    put_text(out + RSDP + 9, "NADIR ");
    out[RSDP + 15] = 2; /* revision */
    put_le(out + RSDP + 16, 4, base + RSDT);
    put_le(out + RSDP + 20, 4, RSDP_BYTES);
    put_le(out + RSDP + 24, 8, base + XSDT);
    put_checksum(out + RSDP, RSDP_V1_BYTES, 8);
    put_checksum(out + RSDP, RSDP_BYTES, 32);
    return OK;
}

/* What has pointers, and therefore a checksum that firmware has to add; the RSDP has two. */
static const struct {
    uint16_t table, bytes, checksum;
} unsummed[] = {
    {RSDT, HEADER_BYTES + 8, RSDT + 9}, {XSDT, HEADER_BYTES + 16, XSDT + 9},
    {FADT, FADT_BYTES, FADT + 9},       {RSDP, RSDP_V1_BYTES, RSDP + 8},
    {RSDP, RSDP_BYTES, RSDP + 32},
};
#define UNSUMMED (sizeof(unsummed) / sizeof(unsummed[0]))

static const struct {
    uint16_t offset;
    uint8_t bytes;
} pointers[] = {
    {RSDT + HEADER_BYTES, 4}, {RSDT + HEADER_BYTES + 4, 4},
    {XSDT + HEADER_BYTES, 8}, {XSDT + HEADER_BYTES + 8, 8},
    {FADT + 36, 4},           {FADT + 40, 4},
    {FADT + 140, 8},          {RSDP + 16, 4},
    {RSDP + 24, 8},
};
#define POINTERS (sizeof(pointers) / sizeof(pointers[0]))

enum status acpi_build_unplaced(uint8_t *out, size_t capacity, uint16_t pm_base, uint32_t vcpus,
                                const uint8_t *dsdt, size_t dsdt_size, size_t *used)
{
    const enum status s = acpi_build(out, capacity, 0, pm_base, vcpus, dsdt, dsdt_size, used);
    for (size_t i = 0; i < UNSUMMED && s == OK; i++)
        out[unsummed[i].checksum] = 0;
    return s;
}

void acpi_loader_script(uint8_t out[ACPI_SCRIPT_BYTES])
{
    enum { COMMAND = 128, NAME = 56, ALLOCATE = 1, ADD_POINTER, ADD_CHECKSUM };
    enum { ANYWHERE = 1, BELOW_1_MIB = 2 };
    static const char tables[] = "etc/acpi/tables", rsdp[] = "etc/acpi/rsdp";
    _Static_assert((2 + POINTERS + UNSUMMED) * COMMAND == ACPI_SCRIPT_BYTES, "all commands");
    uint8_t *p = out;
    memset(out, 0, ACPI_SCRIPT_BYTES);
    for (unsigned i = 0; i < 2; i++, p += COMMAND) {
        put_le(p, 4, ALLOCATE);
        put_text(p + 4, i == 0 ? tables : rsdp);
        put_le(p + 4 + NAME, 4, 64); /* alignment */
        p[8 + NAME] = i == 0 ? ANYWHERE : BELOW_1_MIB;
    }
    for (size_t i = 0; i < POINTERS; i++, p += COMMAND) {
        put_le(p, 4, ADD_POINTER);
        put_text(p + 4, pointers[i].offset < RSDT ? rsdp : tables);
        put_text(p + 4 + NAME, tables);
        put_le(p + 4 + 2 * NAME, 4, pointers[i].offset);
        p[8 + 2 * NAME] = pointers[i].bytes;
    }
    for (size_t i = 0; i < UNSUMMED; i++, p += COMMAND) {
        put_le(p, 4, ADD_CHECKSUM);
        put_text(p + 4, unsummed[i].table == RSDP ? rsdp : tables);
        put_le(p + 4 + NAME, 4, unsummed[i].checksum);
        put_le(p + 8 + NAME, 4, unsummed[i].table);
        put_le(p + 12 + NAME, 4, unsummed[i].bytes);
    }
}
