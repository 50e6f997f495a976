/* SPDX-License-Identifier: BSD-2-Clause */
/* Takes the place of boot/efi_cpus.c in build/late.efi, for tests on an emulator without VT-x: the
 * loader does not look at the CPUs, and the hypervisor itself is who refuses. */
#include "boot/efi_loader.h"
#include "boot/efi_mp.h"

struct mp_services *mp_services_find(void)
{
    static EFI_GUID guid = MP_SERVICES_GUID;
    struct mp_services *services;
    return EFI_ERROR(BS->LocateProtocol(&guid, NULL, (void **)&services)) ? NULL : services;
}

bool cpus_check(struct handoff *h, bool vtx_is_needed)
{
    (void)vtx_is_needed;
    (void)h;
    return true;
}
