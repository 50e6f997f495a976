// link: drivers/host/acpi.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Any memory as the firmware's ACPI tables: what is read of them ends, and stays within its limits.
 * Check sums are mended, since no fuzzer would find one. */
#include "drivers/host/acpi.h"

#include <stdlib.h>
#include <string.h>

enum { RSDP = 64, HEADER = 36, RSDP_BYTES = 36, MAX_IDS = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *memory;
static size_t memory_bytes;
static unsigned long reads;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool read_memory(hpa_t address, void *to, size_t length)
{
    require(++reads < 20000000); /* a table cannot make the host read for ever */
    if (address.v > memory_bytes || length > memory_bytes - address.v)
        return false;
    memcpy(to, memory + address.v, length);
    return true;
}

static void mend_sum(size_t at, size_t length, size_t where)
{
    uint8_t total = 0;
    if (length > memory_bytes || at > memory_bytes - length || where >= memory_bytes)
        return;
    memory[where] = 0;
    for (size_t i = 0; i < length; i++)
        total = (uint8_t)(total + memory[at + i]);
    memory[where] = (uint8_t)-total;
}

/* A table at each multiple of 64 bytes that begins with a known name. */
static void mend_tables(void)
{
    static const char *const names[] = {"RSDT", "XSDT", "FACP", "HPET", "APIC", "DSDT"};
    for (size_t at = memory_bytes / 64 * 64; at >= 64; at -= 64) {
        uint32_t length;
        if (at + HEADER > memory_bytes)
            continue;
        memcpy(&length, memory + at + 4, sizeof(length));
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            if (memcmp(memory + at, names[i], 4) == 0)
                mend_sum(at, length, at + 9);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct acpi_facts facts;
    uint32_t id[MAX_IDS + 1], address[MAX_IDS + 1];
    if (size < RSDP + RSDP_BYTES || size > 16384)
        return 0;
    memory = malloc(size);
    require(memory != NULL);
    memory_bytes = size;
    reads = 0;
    memcpy(memory, data, size);
    memcpy(memory + RSDP, "RSD PTR ", 8);
    mend_tables();
    mend_sum(RSDP, 20, RSDP + 8);
    mend_sum(RSDP, RSDP_BYTES, RSDP + 32);
    memset(&facts, 0, sizeof(facts));
    id[MAX_IDS] = address[MAX_IDS] = 0x5a5a5a5a;
    if (acpi_read_facts(hpa(RSDP), read_memory, &facts))
        require(facts.hpet < 1ull << 32);
    (void)acpi_list_cpus(hpa(RSDP), read_memory, id, MAX_IDS);
    (void)acpi_list_io_apics(hpa(RSDP), read_memory, address, MAX_IDS);
    require(id[MAX_IDS] == 0x5a5a5a5a && address[MAX_IDS] == 0x5a5a5a5a);
    free(memory);
    return 0;
}
