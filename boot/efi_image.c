/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's ELF file, embedded in this program: loads it, maps it, enters it. */
#include "arch/addr.h"
#include "arch/x86.h"
#include "boot/efi_elf.h"
#include "boot/efi_loader.h"

extern const uint8_t nadir_elf_start[] __attribute__((visibility("hidden")));
extern const uint8_t nadir_elf_end[] __attribute__((visibility("hidden")));

static struct elf_span span;

/* 2 MiB-aligned pages, by allocating too many and giving back what is before and behind. */
static uint64_t alloc_aligned(struct loader *l, uint64_t bytes)
{
    uint64_t slack = PAGE_SIZE_2M - EFI_PAGE_SIZE;
    uint64_t base = (uint64_t)loader_alloc(l, bytes + slack, LOADER_BELOW_4G);
    uint64_t aligned = (base + slack) & ~(PAGE_SIZE_2M - 1);
    uint64_t before = (aligned - base) / EFI_PAGE_SIZE;
    if (base == 0)
        return 0;
    if (before > 0)
        BS->FreePages(base, before);
    if (before < slack / EFI_PAGE_SIZE)
        BS->FreePages(aligned + bytes, slack / EFI_PAGE_SIZE - before);
    l->allocation[l->allocation_count - 1].base = aligned;
    l->allocation[l->allocation_count - 1].pages = bytes / EFI_PAGE_SIZE;
    return aligned;
}

bool image_load(struct loader *l)
{
    struct handoff *h = l->handoff;
    const Elf64_Phdr *s;
    if (!elf_measure(nadir_elf_start, (uint64_t)(nadir_elf_end - nadir_elf_start), &span))
        return loader_refuse(L"the hypervisor embedded in this program is damaged");
    h->image_bytes = (span.high - span.low + EFI_PAGE_SIZE - 1) & ~(uint64_t)(EFI_PAGE_SIZE - 1);
    h->image_base = alloc_aligned(l, h->image_bytes);
    if (h->image_base == 0)
        return loader_refuse(L"no %ld KiB of memory below 4 GiB for the hypervisor",
                             h->image_bytes / 1024);
    for (unsigned i = 0; (s = elf_segment(nadir_elf_start, i)) != NULL; i++)
        if (s->p_type == PT_LOAD)
            BS->CopyMem((void *)(h->image_base + (s->p_vaddr - span.low)),
                        (void *)(uintptr_t)(nadir_elf_start + s->p_offset), s->p_filesz);
    Print(L"nadir: hypervisor at 0x%lx, %ld KiB\r\n", h->image_base, h->image_bytes / 1024);
    return true;
}

/* Page tables of our own for the first moments of the hypervisor: the firmware's lie in memory that
 * is free once boot services are left. All that they map is writable and executable until the
 * hypervisor has better tables. */
bool image_map(struct loader *l)
{
    uint64_t cr4;
    const struct handoff *h = l->handoff;
    struct boot_map map = {
        .screen = h->framebuffer.base,
        .screen_bytes = h->framebuffer.size,
        .link_base = span.low,
        .image_base = h->image_base,
        .image_bytes = h->image_bytes,
    };
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    if ((cr4 & CR4_LA57) != 0)
        return loader_refuse(
            L"the firmware uses 5-level paging, which is not supported yet: turn it off "
            L"in its set-up (also: LA57, 57-bit addresses)");
    if (!memory_prepare(l, &map.ram_end) || !memory_check(l))
        return false;
    const uint64_t pages = boot_tables_pages(&map);
    if (pages == 0)
        return loader_refuse(L"more memory than 4-level paging can map");
    uint64_t *tables = loader_alloc(l, pages * EFI_PAGE_SIZE, LOADER_BELOW_4G);
    if (tables == NULL)
        return loader_refuse(L"no memory for page tables");
    boot_tables_fill(tables, (uint64_t)tables, &map);
    l->page_tables = (uint64_t)tables;
    return true;
}

_Noreturn void image_enter(const struct loader *l)
{
    __asm__ volatile("cli\n\t"
                     "cld\n\t"
                     "mov %0, %%cr3\n\t"
                     "jmp *%1"
                     :
                     : "r"(l->page_tables), "r"(span.entry), "D"(l->handoff)
                     : "memory");
    __builtin_unreachable();
}
