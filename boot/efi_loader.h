/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the UEFI loader share: its state, its messages and its memory. */
#pragma once

#include "boot/handoff.h"
#include "guest/config.h"

#include <efi.h>
#include <efilib.h>

#define LOADER_MAX_ALLOCATIONS ((4 + CONFIG_MAX_MODULES + CONFIG_MAX_DISKS) * CONFIG_MAX_VMS + 8)
#define LOADER_ANYWHERE        UINT64_MAX
#define LOADER_BELOW_4G        0xffffffffull
#define LOADER_MAX_DIRECTORY   256

struct loader {
    EFI_HANDLE image;
    EFI_FILE_HANDLE directory; /* that of nadir.cfg; NULL until it is open */
    CHAR16 directory_name[LOADER_MAX_DIRECTORY];
    struct handoff *handoff;
    struct nadir_config config; /* what the loader makes of the text that it hands over */
    uint64_t page_tables;       /* physical address of the PML4 */
    bool config_error;          /* what went wrong is the configuration */
    unsigned allocation_count;
    struct {
        uint64_t base, pages;
    } allocation[LOADER_MAX_ALLOCATIONS];
};

/* Errors: these print one line and return false, for the caller to return in its turn. Formats are
 * those of GNU-EFI: %a is a char *, %s a CHAR16 *, %ld 64 bits, %r an EFI_STATUS in words. */
bool loader_refuse(const CHAR16 *format, ...);

/* The same for nadir.cfg and the files that it names; line 0 is the file as a whole. */
bool loader_config_error(struct loader *l, uint32_t line, const CHAR16 *format, ...);
bool loader_config_text(struct loader *l, uint32_t line, const char *text); /* that is UTF-8 */

/* Zeroed LoaderData pages ending at or below `highest`, freed if the loader gives up; or NULL. */
void *loader_alloc(struct loader *l, uint64_t bytes, uint64_t highest);

/* efi_files.c */
bool files_open_directory(struct loader *l);
void files_close_directory(struct loader *l);
/* Reads a file whole; file->path and, for messages, file->line and `what` are given. */
bool files_load(struct loader *l, const char *what, struct loaded_file *file);

/* efi_machine.c */
/* Seconds since 1970 by the firmware's clock, 0 where it has none. */
uint64_t machine_time(void);
void machine_find_acpi(struct handoff *h);
void machine_list_cpus(struct handoff *h);
uint32_t machine_own_apic_id(void); /* on any CPU */
/* Whether a 16550 answers at that I/O base; 0: none. */
bool machine_has_serial(uint32_t port);

/* efi_cpus.c */
/* Looks at each CPU's VT-x, and says where it is absent, locked off or too old. False: a VM needs
 * it, and the boot CPU is one of those. */
bool cpus_check(struct handoff *h, bool vtx_is_needed);

/* efi_kernels.c */
/* Whether each VM's kernel is one, and fits. */
bool kernels_check(struct loader *l);

/* efi_screen.c */
/* May change the screen's mode, where the present one has no framebuffer. */
void machine_find_framebuffer(struct handoff *h);

/* efi_image.c */
bool image_load(struct loader *l);
bool image_map(struct loader *l);
_Noreturn void image_enter(const struct loader *l);

/* efi_memory.c */
/* Allocates the buffer of the memory map and finds the end of RAM. */
bool memory_prepare(struct loader *l, uint64_t *ram_end);
/* Whether the VMs that start fit into what the map has as free; after memory_prepare(). */
bool memory_check(struct loader *l);
/* Leaves boot services; nothing of the firmware but ResetSystem may be called after success. */
bool memory_leave_firmware(struct loader *l);
