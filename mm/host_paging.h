/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's own page tables: nothing is writable and executable, stacks have guard pages. */
#pragma once

#include "mm/mtrr.h"
#include "mm/page_alloc.h"

#include <stdbool.h>

/*
 * All of it is in entries 256 to 271 of the top table, which kernels for x86-64 leave to a
 * hypervisor: Linux keeps them free for Xen. So an engine that runs a guest's code in page tables
 * of the hypervisor's can have both in them (HOST_WINDOW_BASE: what code at CPL 3 reaches there).
 */
#define HOST_PHYSMAP_BASE 0xffff800000000000ull /* host-physical memory but guests', RW + NX */
#define HOST_GUESTS_BASE  0xffff830000000000ull /* guests' RAM: mm/guestspace.h */
#define HOST_WINDOW_BASE  0xffff860000000000ull /* the only pages there that CPL 3 may reach */
#define HOST_SCREEN_BASE  0xffff868000000000ull /* the framebuffer, write-combining */
#define HOST_STACKS_BASE  0xffff870000000000ull /* stacks between unmapped pages */
#define HOST_IMAGE_BASE   0xffff878000200000ull /* the link address (boot/nadir.ld) */
#define HOST_HOLE_END     0xffff880000000000ull /* behind all of it */

/* The addresses of RAM that it can use: 3 TiB. */
#define HOST_RAM_END (HOST_GUESTS_BASE - HOST_PHYSMAP_BASE)

struct host_runtime {
    uint64_t base, pages;
    bool uncached; /* a device */
};

/* What to map. The *_start and *_end are addresses of the linker's symbols, page-aligned. */
struct host_map_request {
    uint64_t physmap_end; /* top of RAM, in bytes; 4 GiB are always mapped */
    uint64_t image_base;  /* host-physical, where HOST_IMAGE_BASE lies */
    uint64_t text_start, text_end, rodata_start, rodata_end, data_start, data_end;
    uint64_t guard;      /* page within the data to leave unmapped: below the boot stack */
    uint64_t trampoline; /* page below 1 MiB for starting CPUs, RX; 0: none */
    uint64_t screen, screen_bytes; /* host-physical, anywhere; 0 bytes: none */
    bool nx;                       /* EFER.NXE is set; else data can be executed */
    bool pages_1g;                 /* CPUID.80000001H:EDX.Page1GB */
    /* Large pages only where the type is uniform; NULL: it is everywhere. Must stay. */
    const struct mtrr_state *mtrr;
    /* What UEFI's runtime services need, identity-mapped in the EFI root. */
    const struct host_runtime *runtime;
    size_t runtime_count;
};

/* Builds both sets of tables, while the firmware's identity map is still in use; from then on the
 * page allocator has what it gives out mapped. Once, on the boot CPU. ERR_NO_MEMORY also where no
 * root below 4 GiB can be had (the trampoline loads it in 32-bit mode). */
enum status host_paging_init(const struct host_map_request *request);

/* Switches this CPU to the tables and sets physmap_base: pointers into the identity map die here.
 * The stack must be in the image. Boot CPU only, ring 0, EFER.NXE set before: mm/host_cpu.c. */
void host_paging_load(void);

/* Where the pixels of the framebuffer at that host-physical address are mapped. */
static inline volatile void *host_screen(uint64_t base)
{
    return (volatile void *)(uintptr_t)(HOST_SCREEN_BASE +
                                        base % PAGE_SIZE); /* NOLINT(performance-no-int-to-ptr) */
}

hpa_t host_paging_root(void); /* below 4 GiB */

/* The same high half, and UEFI runtime regions identity-mapped, RWX: to call ResetSystem only. */
hpa_t host_paging_efi_root(void);

/* Maps RAM read-write at an address of the high half, in the largest pages that fit; root: of any
 * page tables. ERR_BAD_INPUT: something is mapped there; ERR_NO_MEMORY. Any CPU; the range is
 * nobody else's to map. */
enum status host_map_ram(hpa_t root, uint64_t virt, hpa_t base, uint64_t bytes);

/* Maps a page of host memory for code at CPL 3, in the window (HOST_WINDOW_BASE): to be executed,
 * to be written, or to be read. It is in the physmap as well, for the hypervisor: what is writable
 * here stays so there, and SMAP and SMEP keep it from using this address. As host_map_ram(). */
enum host_user { HOST_USER_CODE, HOST_USER_DATA, HOST_USER_READ };
enum status host_map_user(hpa_t root, uint64_t virt, hpa_t page, enum host_user kind);

/* Takes such a page away again, if there is one. No CPU uses the address now, and each that comes
 * into these tables later does so by MOV to CR3; who is in them drops its own translation. */
void host_unmap_user(hpa_t root, uint64_t virt);

/* Drops the trampoline's identity mapping, once all CPUs run; the caller flushes their TLBs. */
void host_unmap_low(void);

/* Maps pages (page_alloc()ed) as a stack with an unmapped page beneath and above. Returns its
 * lowest address (the stack pointer starts at that + pages * PAGE_SIZE), NULL when out of memory.
 * Boot CPU, at start, after host_paging_init(); usable from host_paging_load() on. */
void *host_map_stack(hpa_t base, uint64_t pages);

/* Likewise a page as a shadow stack, which the physmap lets nobody write to any more, once the
 * caller has flushed the TLB. Returns the address of its token, at the top, or 0. */
uint64_t host_map_shadow_stack(hpa_t page);

/* Walks host_paging_root() and counts pages that are writable and executable at once: must be 0. */
uint64_t host_paging_check_wx(void);
