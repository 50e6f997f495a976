/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the FADT as the ACPI specification lays it out, every length and checksum looked at. */
#include "drivers/host/acpi.h"
#include "arch/bytes.h"
#include "arch/string.h"

enum { RSDP_BYTES = 36, RSDP_V1_BYTES = 20, HEADER_BYTES = 36, ENTRIES_MAX = 256 };
enum { TABLE_MAX_BYTES = 1 << 20, FADT_BYTES = 244 /* up to X_GPE1_BLK; shorter ones are older */ };
enum { FADT_PM_TIMER = 76, FADT_PM_TIMER_LEN = 91, FADT_X_PM_TIMER = 208 };
enum { FADT_FLAGS = 112, FLAG_RESET = 1 << 10, FADT_RESET = 116, FADT_RESET_VALUE = 128 };
enum { GAS_SPACE = 0, GAS_ADDRESS = 4 }; /* in a generic address structure */

/* Returns the length of a table whose signature and checksum are right, else 0. */
static uint32_t check_table(hpa_t address, const char *signature, acpi_read_fn *read)
{
    uint8_t chunk[64];
    if (!read(address, chunk, HEADER_BYTES) || memcmp(chunk, signature, 4) != 0)
        return 0;
    uint32_t length = get_le32(chunk + 4);
    if (length < HEADER_BYTES || length > TABLE_MAX_BYTES)
        return 0;
    uint8_t total = 0;
    for (uint32_t at = 0; at < length; at += (uint32_t)sizeof(chunk)) {
        size_t n = length - at < sizeof(chunk) ? length - at : sizeof(chunk);
        if (!read(hpa(address.v + at), chunk, n))
            return 0;
        total = (uint8_t)(total + sum_bytes(chunk, n));
    }
    return total == 0 ? length : 0;
}

static void read_fadt(hpa_t address, uint32_t length, acpi_read_fn *read, struct acpi_facts *out)
{
    uint8_t fadt[FADT_BYTES] = {0};
    if (!read(address, fadt, length < sizeof(fadt) ? length : sizeof(fadt)))
        return;
    uint64_t timer = get_le32(fadt + FADT_PM_TIMER);
    const uint8_t *extended = fadt + FADT_X_PM_TIMER;
    if (extended[GAS_SPACE] == ACPI_SPACE_IO && get_le64(extended + GAS_ADDRESS) != 0)
        timer = get_le64(extended + GAS_ADDRESS);
    if (fadt[FADT_PM_TIMER_LEN] == 4 && timer <= UINT16_MAX - 3)
        out->pm_timer_port = (uint16_t)timer;

    const uint8_t *reset = fadt + FADT_RESET;
    uint64_t where = get_le64(reset + GAS_ADDRESS);
    if (!(get_le32(fadt + FADT_FLAGS) & FLAG_RESET) || where == 0 ||
        reset[GAS_SPACE] > ACPI_SPACE_PCI ||
        (reset[GAS_SPACE] == ACPI_SPACE_IO && where > UINT16_MAX))
        return;
    out->has_reset = true;
    out->reset_space = reset[GAS_SPACE];
    out->reset_address = where;
    out->reset_value = fadt[FADT_RESET_VALUE];
}

bool acpi_read_facts(hpa_t rsdp, acpi_read_fn *read, struct acpi_facts *out)
{
    uint8_t root[RSDP_BYTES], entry[8];
    *out = (struct acpi_facts){0};
    if (rsdp.v == 0 || !read(rsdp, root, RSDP_V1_BYTES) || memcmp(root, "RSD PTR ", 8) != 0 ||
        sum_bytes(root, RSDP_V1_BYTES) != 0)
        return false;
    bool extended = root[15] >= 2 && read(rsdp, root, RSDP_BYTES) &&
                    sum_bytes(root, RSDP_BYTES) == 0 && get_le64(root + 24) != 0;
    unsigned width = extended ? 8 : 4;
    hpa_t table = hpa(extended ? get_le64(root + 24) : get_le32(root + 16));
    uint32_t length = check_table(table, extended ? "XSDT" : "RSDT", read);
    for (uint32_t i = 0; i < ENTRIES_MAX && HEADER_BYTES + (i + 1) * width <= length; i++) {
        if (!read(hpa(table.v + HEADER_BYTES + i * width), entry, width))
            return false;
        hpa_t fadt = hpa(get_le(entry, width));
        uint32_t fadt_length = check_table(fadt, "FACP", read);
        if (fadt_length != 0) {
            read_fadt(fadt, fadt_length, read, out);
            return true;
        }
    }
    return false;
}
