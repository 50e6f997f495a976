/* SPDX-License-Identifier: BSD-2-Clause */
/* EFI_MP_SERVICES_PROTOCOL, from the UEFI Platform Initialization specification: what is used. */
#pragma once

#include <efi.h>
#include <stdint.h>

#define MP_SERVICES_GUID                                   \
    {                                                      \
        0x3fdda605, 0xa76e, 0x4f46,                        \
        {                                                  \
            0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08 \
        }                                                  \
    }

struct processor_information {
    uint64_t apic_id;
    uint32_t status;
    uint32_t package, core, thread;
    uint32_t extended[6]; /* since version 1.7 */
};

enum { PROCESSOR_IS_BOOT_CPU = 1, PROCESSOR_IS_ENABLED = 2, PROCESSOR_IS_HEALTHY = 4 };

struct mp_services {
    EFI_STATUS(EFIAPI *count)(struct mp_services *self, UINTN *all, UINTN *enabled);
    EFI_STATUS(EFIAPI *information)
    (struct mp_services *self, UINTN number, struct processor_information *out);
    EFI_STATUS(EFIAPI *start_all)
    (struct mp_services *self, void(EFIAPI *procedure)(void *), BOOLEAN one_by_one, EFI_EVENT done,
     UINTN timeout_us, void *argument, UINTN **failed);
};

/* NULL where the firmware has none: then CPUs come from the MADT. */
struct mp_services *mp_services_find(void);
