/* SPDX-License-Identifier: BSD-2-Clause */
/* The same in build/bare.efi, where the firmware seems to have no MP services, so that the list of
 * CPUs is the MADT's, and a ResetSystem that hangs, so that the machine is powered off by ACPI. */
#include "boot/efi_loader.h"
#include "boot/efi_mp.h"

struct mp_services *mp_services_find(void)
{
    return NULL;
}

bool cpus_check(struct handoff *h, bool vtx_is_needed)
{
    (void)vtx_is_needed;
    static const UINT8 jump_to_itself[] = {0xeb, 0xfe};
    EFI_PHYSICAL_ADDRESS code;
    if (EFI_ERROR(BS->AllocatePages(AllocateAnyPages, EfiRuntimeServicesCode, 1, &code)))
        return false;
    CopyMem((void *)code, jump_to_itself, sizeof(jump_to_itself));
    h->reset_system = code;
    return true;
}
