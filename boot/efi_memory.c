/* SPDX-License-Identifier: BSD-2-Clause */
/* The firmware's memory map: reads it, leaves boot services with it, hands it on. */
#include "boot/efi_loader.h"
#include "boot/efi_regions.h"

#define EXIT_TRIES    8
#define PAGES_A_MIB   256
#define SPARE_ENTRIES 64 /* the map may grow between being measured and being read */

static EFI_MEMORY_DESCRIPTOR *map;
static UINTN map_capacity, map_bytes, map_key, descriptor_bytes;

static EFI_MEMORY_DESCRIPTOR *map_at(UINTN i)
{
    return (EFI_MEMORY_DESCRIPTOR *)((uint8_t *)map + i * descriptor_bytes);
}

static enum region_kind descriptor_kind(const EFI_MEMORY_DESCRIPTOR *d)
{
    const bool cached = (d->Attribute & EFI_MEMORY_WB) != 0;
    if ((d->Attribute & EFI_MEMORY_RUNTIME) != 0 && d->Type != EfiRuntimeServicesCode)
        return cached ? REGION_RUNTIME_DATA : REGION_RUNTIME_MMIO;
    switch (d->Type) {
    case EfiLoaderCode:
    case EfiLoaderData: return REGION_KEPT;
    case EfiBootServicesCode:
    case EfiBootServicesData:
    case EfiConventionalMemory: return cached ? REGION_FREE : REGION_RESERVED;
    case EfiRuntimeServicesCode: return REGION_RUNTIME_CODE;
    case EfiRuntimeServicesData: return REGION_RUNTIME_DATA;
    case EfiACPIReclaimMemory:
    case EfiACPIMemoryNVS: return REGION_ACPI;
    case EfiMemoryMappedIO:
    case EfiMemoryMappedIOPortSpace: return REGION_MMIO;
    default: return REGION_RESERVED;
    }
}

static EFI_STATUS map_read(void)
{
    UINT32 version;
    map_bytes = map_capacity;
    return BS->GetMemoryMap(&map_bytes, map, &map_key, &descriptor_bytes, &version);
}

bool memory_prepare(struct loader *l, uint64_t *ram_end)
{
    EFI_STATUS status = map_read();
    if (status == EFI_BUFFER_TOO_SMALL) {
        map_capacity = map_bytes + SPARE_ENTRIES * descriptor_bytes;
        map = loader_alloc(l, map_capacity, LOADER_ANYWHERE);
        if (map == NULL)
            return loader_refuse(L"no memory for the memory map");
        status = map_read();
    }
    if (EFI_ERROR(status) || descriptor_bytes < sizeof(*map))
        return loader_refuse(L"the firmware gives no memory map: %r", status);
    *ram_end = 0;
    for (UINTN i = 0; i < map_bytes / descriptor_bytes; i++) {
        EFI_MEMORY_DESCRIPTOR *d = map_at(i);
        uint64_t end = d->PhysicalStart + d->NumberOfPages * EFI_PAGE_SIZE;
        enum region_kind kind = descriptor_kind(d);
        if (kind != REGION_MMIO && kind != REGION_RUNTIME_MMIO && kind != REGION_RESERVED &&
            end > *ram_end)
            *ram_end = end;
    }
    return true;
}

bool memory_check(struct loader *l)
{
    uint64_t free_mib = 0, wanted_mib = 0;
    for (UINTN i = 0; i < map_bytes / descriptor_bytes; i++)
        if (descriptor_kind(map_at(i)) == REGION_FREE)
            free_mib += map_at(i)->NumberOfPages;
    free_mib /= PAGES_A_MIB;
    for (uint32_t i = 0; i < l->config.vm_count; i++) {
        const struct vm_config *vm = &l->config.vm[i];
        wanted_mib += vm->start ? vm->memory_mib : 0;
        if (wanted_mib > free_mib)
            return loader_config_error(l, vm->line,
                                       L"the VMs up to here want %ld MiB of memory, and this "
                                       L"machine has %ld MiB free",
                                       wanted_mib, free_mib);
    }
    return true;
}

/* Firmware need not sort its map, though nearly all does. */
static void map_sort(void)
{
    for (UINTN i = 1; i < map_bytes / descriptor_bytes; i++)
        for (UINTN j = i; j > 0 && map_at(j - 1)->PhysicalStart > map_at(j)->PhysicalStart; j--) {
            EFI_MEMORY_DESCRIPTOR saved = *map_at(j);
            *map_at(j) = *map_at(j - 1);
            *map_at(j - 1) = saved;
        }
}

bool memory_leave_firmware(struct loader *l)
{
    EFI_STATUS status = EFI_SUCCESS;
    /* An event handler may change the map in between; then both calls are to be repeated, and none
     * but these two is allowed any more (UEFI: ExitBootServices). */
    for (unsigned tries = 0; tries < EXIT_TRIES; tries++) {
        status = map_read();
        if (EFI_ERROR(status))
            break;
        status = BS->ExitBootServices(l->image, map_key);
        if (!EFI_ERROR(status))
            break;
    }
    if (EFI_ERROR(status))
        return loader_refuse(L"the firmware does not let go: %r", status);
    __asm__ volatile("cli");
    map_sort();
    for (UINTN i = 0; i < map_bytes / descriptor_bytes; i++)
        regions_add(l->handoff, map_at(i)->PhysicalStart, map_at(i)->NumberOfPages,
                    descriptor_kind(map_at(i)));
    /* Only now: the firmware may have had all of it. */
    l->handoff->trampoline = regions_low_page(l->handoff);
    return true;
}
