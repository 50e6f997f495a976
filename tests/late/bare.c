/* SPDX-License-Identifier: BSD-2-Clause */
/* The same in build/bare.efi, where the firmware seems to have no MP services, so that the list of
 * CPUs is the MADT's, and no ResetSystem, so that the machine is powered off by ACPI. */
#include "boot/efi_loader.h"
#include "boot/efi_mp.h"

struct mp_services *mp_services_find(void)
{
    return NULL;
}

bool cpus_check(struct handoff *h)
{
    h->reset_system = 0;
    return true;
}
