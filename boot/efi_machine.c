/* SPDX-License-Identifier: BSD-2-Clause */
/* What the firmware knows of the machine: the time, the ACPI root, the CPUs. */
#include "boot/efi_loader.h"
#include "boot/efi_mp.h"
#include "drivers/host/acpi.h"

#include <cpuid.h>

#define UART_SCRATCH 7

/* Days are counted by the civil calendar, with years that begin in March. */
uint64_t machine_time(void)
{
    EFI_TIME t;
    if (RT->GetTime(&t, NULL) != EFI_SUCCESS || t.Year < 1970)
        return 0;
    uint64_t year = t.Month > 2 ? t.Year : t.Year - 1u, month = (t.Month + 9u) % 12;
    uint64_t days =
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + t.Day - 1;
    const uint64_t days_to_1970 = 719468;
    return ((days - days_to_1970) * 24 + t.Hour) * 3600 + t.Minute * 60u + t.Second;
}

void machine_find_acpi(struct handoff *h)
{
    static EFI_GUID acpi20 = ACPI_20_TABLE_GUID, acpi10 = ACPI_TABLE_GUID;
    for (UINTN i = 0; i < ST->NumberOfTableEntries; i++) {
        EFI_CONFIGURATION_TABLE *table = &ST->ConfigurationTable[i];
        bool newer = CompareGuid(&table->VendorGuid, &acpi20) == 0;
        if (newer || (h->rsdp == 0 && CompareGuid(&table->VendorGuid, &acpi10) == 0))
            h->rsdp = (uint64_t)table->VendorTable;
        if (newer)
            break;
    }
    if (h->rsdp != 0)
        Print(L"nadir: ACPI tables at 0x%lx\r\n", h->rsdp);
    else
        Print(L"nadir: no ACPI tables\r\n");
}

uint32_t machine_own_apic_id(void)
{
    uint32_t eax, ebx, ecx, edx;
    /* Leaf 0BH has all 32 bits of it (SDM: Extended Topology Enumeration). */
    if (__get_cpuid_count(0xb, 0, &eax, &ebx, &ecx, &edx) != 0 && ebx != 0)
        return edx;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    return ebx >> 24;
}

static void cpu_add(struct handoff *h, uint32_t apic_id, bool is_boot_cpu)
{
    /* The boot CPU must be in the list, even if it is numbered last on a very large machine. */
    if (h->cpu_count == HANDOFF_MAX_CPUS && is_boot_cpu)
        h->cpu_count--;
    if (h->cpu_count < HANDOFF_MAX_CPUS)
        h->cpu[h->cpu_count++] =
            (struct handoff_cpu){.apic_id = apic_id, .is_boot_cpu = is_boot_cpu};
}

/* Returns how many there are, 0 where the firmware does not say which of them is the boot CPU. */
static UINTN list_by_services(struct handoff *h)
{
    const uint32_t usable = PROCESSOR_IS_ENABLED | PROCESSOR_IS_HEALTHY;
    UINTN all = 0, enabled = 0, listed = 0;
    bool boot_cpu_seen = false;
    struct mp_services *services = mp_services_find();
    if (services == NULL || EFI_ERROR(services->count(services, &all, &enabled)))
        all = 0;
    for (UINTN i = 0; i < all; i++) {
        struct processor_information cpu = {0};
        if (EFI_ERROR(services->information(services, i, &cpu)) || (cpu.status & usable) != usable)
            continue;
        bool is_boot_cpu = !boot_cpu_seen && (cpu.status & PROCESSOR_IS_BOOT_CPU) != 0;
        boot_cpu_seen |= is_boot_cpu;
        cpu_add(h, (uint32_t)cpu.apic_id, is_boot_cpu);
        listed++;
    }
    return boot_cpu_seen ? listed : 0;
}

static bool read_memory(hpa_t address, void *to, size_t length)
{
    CopyMem(to, (void *)address.v, length);
    return true;
}

/* The boot CPU is the one that runs this, whether the table lists it or not. */
static UINTN list_by_madt(struct handoff *h)
{
    static uint32_t id[HANDOFF_MAX_CPUS];
    const uint32_t listed = acpi_list_cpus(hpa(h->rsdp), read_memory, id, HANDOFF_MAX_CPUS);
    const uint32_t own = machine_own_apic_id();
    cpu_add(h, own, true);
    for (uint32_t i = 0; i < listed && i < HANDOFF_MAX_CPUS; i++)
        if (id[i] != own)
            cpu_add(h, id[i], false);
    return listed;
}

void machine_list_cpus(struct handoff *h)
{
    UINTN listed = list_by_services(h);
    if (listed == 0) {
        h->cpu_count = 0;
        listed = list_by_madt(h);
        Print(L"nadir: no MP services: CPUs by the MADT\r\n");
    }
    if (listed > h->cpu_count)
        Print(L"nadir: using %d of %ld CPUs\r\n", h->cpu_count, listed);
    else
        Print(L"nadir: %d CPU%a\r\n", h->cpu_count, h->cpu_count == 1 ? "" : "s");
}

/* The scratch register of a 16550 keeps what is written to it; where nothing is, nothing does. */
bool machine_has_serial(uint32_t port)
{
    uint8_t first = 0x5a, second = 0;
    if (port == 0)
        return false;
    __asm__ volatile("outb %0, %1" : : "a"(first), "Nd"((uint16_t)(port + UART_SCRATCH)));
    __asm__ volatile("inb %1, %0" : "=a"(second) : "Nd"((uint16_t)(port + UART_SCRATCH)));
    return first == second;
}
