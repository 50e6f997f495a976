/* SPDX-License-Identifier: BSD-2-Clause */
/* As few tables as drivers/host/acpi.c asks for, of the first version, laid out as the ACPI
 * specification has it. Everything is below 4 GiB. */
#include "tools/warm/acpi.h"

#include "arch/bytes.h"

#include <string.h>

#define HPET_BASE 0xfed00000u

enum { RSDP_BYTES = 20, RSDP_SUM = 8, RSDP_RSDT = 16 };
enum { HEADER_BYTES = 36, TABLE_LENGTH = 4, TABLE_SUM = 9 };
enum { FADT_BYTES = 116, FADT_DSDT = 40, FADT_PM1A_CONTROL = 64, FADT_PM_TIMER = 76 };
enum { FADT_PM1_CONTROL_LENGTH = 89, FADT_PM_TIMER_LENGTH = 91 };
enum { PM_CONTROL = PM_BASE + 4, PM_TIMER = PM_BASE + 8 };
enum { HPET_BYTES = 56, HPET_ADDRESS = 44 }; /* in memory: so says the 0 in front of it */

/* Name (\_S5_, Package {0, 0}): the value that switches off. */
static const uint8_t soft_off[] = {0x08, '_', 'S', '5', '_', 0x12, 0x04, 2, 0, 0};

static const char rsdp_signature[8] = "RSD PTR "; /* with no 0 behind it */

/* Where the tables are in the page. */
enum { RSDT = 0x40, FADT = 0x80, HPET = 0x100, DSDT = 0x140 };

static void sum_up(uint8_t *table, size_t bytes, unsigned sum)
{
    table[sum] = (uint8_t)-sum_bytes(table, bytes);
}

static void finish(uint8_t *table, const char *signature, uint32_t bytes)
{
    memcpy(table, signature, 4);
    put_le(table + TABLE_LENGTH, 4, bytes);
    sum_up(table, bytes, TABLE_SUM);
}

void acpi_fill(uint8_t *page, uint64_t at)
{
    memcpy(page, rsdp_signature, sizeof(rsdp_signature));
    put_le(page + RSDP_RSDT, 4, at + RSDT);
    sum_up(page, RSDP_BYTES, RSDP_SUM);
    put_le(page + RSDT + HEADER_BYTES, 4, at + FADT);
    put_le(page + RSDT + HEADER_BYTES + 4, 4, at + HPET);
    finish(page + RSDT, "RSDT", HEADER_BYTES + 8);
    put_le(page + FADT + FADT_DSDT, 4, at + DSDT);
    put_le(page + FADT + FADT_PM1A_CONTROL, 4, PM_CONTROL);
    put_le(page + FADT + FADT_PM_TIMER, 4, PM_TIMER);
    page[FADT + FADT_PM1_CONTROL_LENGTH] = 2;
    page[FADT + FADT_PM_TIMER_LENGTH] = 4;
    finish(page + FADT, "FACP", FADT_BYTES);
    put_le(page + HPET + HPET_ADDRESS, 8, HPET_BASE);
    finish(page + HPET, "HPET", HPET_BYTES);
    memcpy(page + DSDT + HEADER_BYTES, soft_off, sizeof(soft_off));
    finish(page + DSDT, "DSDT", HEADER_BYTES + sizeof(soft_off));
}
