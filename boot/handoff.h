/* SPDX-License-Identifier: BSD-2-Clause */
/* The one struct that crosses from the UEFI loader to the hypervisor: plain data, no EFI types.
 * They are parts of one file, so neither needs to ask whether the other is of its version. */
#pragma once

#include <stdint.h>

#define NADIR_VERSION       "0.1"
#define HANDOFF_MAX_REGIONS 256
#define HANDOFF_MAX_CPUS    256

enum region_kind {
    REGION_FREE, /* usable RAM, nothing of value in it any more */
    REGION_KEPT, /* RAM with this struct, loaded files, the hypervisor image, boot page tables */
    REGION_RUNTIME_CODE, /* UEFI runtime services, to be identity-mapped while one is called */
    REGION_RUNTIME_DATA,
    REGION_RUNTIME_MMIO, /* a device of theirs, such as flash: not to be cached */
    REGION_ACPI,         /* tables and NVS */
    REGION_RESERVED,     /* RAM-like but not ours */
    REGION_MMIO,
};

struct handoff_region {
    uint64_t base;  /* host-physical, page-aligned */
    uint64_t pages; /* 4 KiB each */
    uint32_t kind;  /* enum region_kind */
    uint32_t reserved;
};

struct handoff_cpu {
    uint32_t apic_id;
    uint32_t is_boot_cpu; /* 0 or 1; exactly one */
};

/* A file of those that nadir.cfg names, page-aligned. */
struct handoff_file {
    uint64_t base; /* host-physical */
    uint64_t size; /* bytes */
};

struct handoff_framebuffer {
    uint64_t base;          /* host-physical */
    uint64_t size;          /* bytes */
    uint32_t width, height; /* both 0: there is no screen */
    uint32_t pixels_per_line;
    uint32_t red, green, blue; /* which of a pixel's 32 bits: masks */
};

/* State at the jump to nadir_entry: 64-bit mode, interrupts off, boot services left, RDI = physical
 * = linear address of this struct. CR3 = tables below 4 GiB, in kept memory, that identity-map the
 * first 4 GiB, all RAM and the framebuffer, and map the image (PT_LOAD segments) at
 * its link address, everything writable and executable. Stack, GDT and IDT are still the firmware's
 * and lie in memory that is listed as free: replace them before any of it is given out. */
struct handoff {
    uint64_t image_base;   /* host-physical, 2 MiB-aligned: where HOST_IMAGE_BASE is */
    uint64_t image_bytes;  /* to the end of .bss, page multiple */
    uint64_t trampoline;   /* one free page below 640 KiB, for starting the other CPUs; 0: none */
    uint64_t rsdp;         /* host-physical, 0 where the firmware has no ACPI */
    uint64_t reset_system; /* physical address of runtime service ResetSystem (Microsoft x64 ABI) */
    uint64_t epoch;        /* time of day by the firmware's clock: seconds since 1970 */
    struct handoff_framebuffer framebuffer;

    uint64_t config_base; /* host-physical: the text of nadir.cfg, which has no errors */
    uint64_t config_size; /* bytes */
    uint64_t file_base;   /* host-physical: an array of struct handoff_file, */
    uint32_t file_count;  /* in the order of config_next_file() (guest/config.h) */
    uint32_t serial_port; /* nadir.cfg's, which is needed before that can be parsed */

    uint32_t report_port; /* likewise */
    uint32_t cpu_count;
    uint32_t region_count; /* sorted by base, adjacent equal kinds merged, none overlapping */
    struct handoff_cpu cpu[HANDOFF_MAX_CPUS];
    struct handoff_region region[HANDOFF_MAX_REGIONS];
};
