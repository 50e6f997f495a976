/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's ELF file, embedded in this program: loads it, maps it, enters it. */
#include "arch/addr.h"
#include "arch/x86.h"
#include "boot/efi_loader.h"

#include <elf.h>

#define HIGH_512G  0xffffff8000000000ull /* what the last entry of a PML4 maps */
#define LOW_HALF   (1ull << 47)
#define ENTRIES    512u
#define TABLE      (PTE_P | PTE_W)
#define LARGE_PAGE (TABLE | PTE_PS)

extern const uint8_t nadir_elf_start[] __attribute__((visibility("hidden")));
extern const uint8_t nadir_elf_end[] __attribute__((visibility("hidden")));

/* The addresses that the image spans once it is loaded. */
struct span {
    uint64_t low, high;
};

static const Elf64_Phdr *segment(const Elf64_Ehdr *elf, unsigned i)
{
    return (const Elf64_Phdr *)(nadir_elf_start + elf->e_phoff) + i;
}

static bool header_is_sound(const Elf64_Ehdr *elf, uint64_t size)
{
    return size >= sizeof(*elf) && CompareMem(elf->e_ident, ELFMAG, SELFMAG) == 0 &&
           elf->e_ident[EI_CLASS] == ELFCLASS64 && elf->e_ident[EI_DATA] == ELFDATA2LSB &&
           elf->e_machine == EM_X86_64 && elf->e_type == ET_EXEC &&
           elf->e_phentsize == sizeof(Elf64_Phdr) && elf->e_phoff % 8 == 0 &&
           elf->e_phoff <= size && elf->e_phnum <= (size - elf->e_phoff) / sizeof(Elf64_Phdr);
}

/* All must lie within the gigabyte that image_map() maps. */
static bool image_measure(const Elf64_Ehdr *elf, uint64_t size, struct span *out)
{
    *out = (struct span){UINT64_MAX, 0};
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        const Elf64_Phdr *s = segment(elf, i);
        if (s->p_type != PT_LOAD || s->p_memsz == 0)
            continue;
        if (s->p_offset > size || s->p_filesz > size - s->p_offset || s->p_filesz > s->p_memsz ||
            s->p_vaddr < HIGH_512G || s->p_memsz > UINT64_MAX - s->p_vaddr)
            return false;
        out->low = s->p_vaddr < out->low ? s->p_vaddr : out->low;
        out->high = s->p_vaddr + s->p_memsz > out->high ? s->p_vaddr + s->p_memsz : out->high;
    }
    return out->low < out->high && out->low % PAGE_SIZE_2M == 0 &&
           out->low / PAGE_SIZE_1G == (out->high - 1) / PAGE_SIZE_1G && elf->e_entry >= out->low &&
           elf->e_entry < out->high;
}

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
    const Elf64_Ehdr *elf = (const Elf64_Ehdr *)nadir_elf_start;
    uint64_t size = (uint64_t)(nadir_elf_end - nadir_elf_start);
    struct handoff *h = l->handoff;
    struct span span;
    if (!header_is_sound(elf, size) || !image_measure(elf, size, &span))
        return loader_refuse(L"the hypervisor embedded in this program is damaged");
    h->image_bytes = (span.high - span.low + EFI_PAGE_SIZE - 1) & ~(uint64_t)(EFI_PAGE_SIZE - 1);
    h->image_base = alloc_aligned(l, h->image_bytes);
    if (h->image_base == 0)
        return loader_refuse(L"no %ld KiB of memory below 4 GiB for the hypervisor",
                             h->image_bytes / 1024);
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        const Elf64_Phdr *s = segment(elf, i);
        if (s->p_type == PT_LOAD)
            BS->CopyMem((void *)(h->image_base + (s->p_vaddr - span.low)),
                        (void *)(uintptr_t)(nadir_elf_start + s->p_offset), s->p_filesz);
    }
    l->link_base = span.low;
    l->entry = elf->e_entry;
    Print(L"nadir: hypervisor at 0x%lx, %ld KiB\r\n", h->image_base, h->image_bytes / 1024);
    return true;
}

/* Maps by pages of 2 MiB; tables that are missing come from *pool. */
static void map(uint64_t *pml4, uint64_t **pool, uint64_t virt, uint64_t phys, uint64_t bytes)
{
    const uint64_t end = virt + bytes;
    phys -= virt % PAGE_SIZE_2M;
    for (virt &= ~(PAGE_SIZE_2M - 1); virt < end; virt += PAGE_SIZE_2M, phys += PAGE_SIZE_2M) {
        uint64_t *table = pml4;
        for (unsigned shift = 39; shift > 21; shift -= 9) {
            uint64_t *entry = &table[virt >> shift & (ENTRIES - 1)];
            if (*entry == 0) {
                *entry = (uint64_t)*pool | TABLE;
                *pool += ENTRIES;
            }
            table = (uint64_t *)(*entry & PTE_ADDRESS);
        }
        table[virt >> 21 & (ENTRIES - 1)] = phys | LARGE_PAGE;
    }
}

/* How many tables a range may need, wherever it begins. */
static uint64_t tables_for(uint64_t bytes)
{
    const uint64_t gigabytes = bytes / PAGE_SIZE_1G + 2;
    return gigabytes + gigabytes / ENTRIES + 2;
}

/* Page tables of our own for the first moments of the hypervisor: the firmware's lie in memory that
 * is free once boot services are left. RAM and the screen at their own addresses, at least 4 GiB,
 * and the image at its link address, all of it writable and executable until the hypervisor has
 * better tables. */
bool image_map(struct loader *l)
{
    uint64_t cr4, ram_end;
    const struct handoff *h = l->handoff;
    const struct handoff_framebuffer *screen = &h->framebuffer;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    if ((cr4 & CR4_LA57) != 0)
        return loader_refuse(L"the firmware uses 5-level paging, which is not supported yet");
    if (!memory_prepare(l, &ram_end))
        return false;
    if (ram_end < 4 * PAGE_SIZE_1G)
        ram_end = 4 * PAGE_SIZE_1G;
    if (ram_end > LOW_HALF)
        return loader_refuse(L"more memory than 4-level paging can map");
    const uint64_t tables =
        1 + tables_for(ram_end) + tables_for(screen->size) + tables_for(h->image_bytes);
    uint64_t *pml4 = loader_alloc(l, tables * EFI_PAGE_SIZE, LOADER_BELOW_4G);
    if (pml4 == NULL)
        return loader_refuse(L"no memory for page tables");
    uint64_t *pool = pml4 + ENTRIES;
    map(pml4, &pool, 0, 0, ram_end);
    map(pml4, &pool, screen->base, screen->base, screen->size);
    map(pml4, &pool, l->link_base, h->image_base, h->image_bytes);
    l->page_tables = (uint64_t)pml4;
    return true;
}

_Noreturn void image_enter(const struct loader *l)
{
    __asm__ volatile("cli\n\t"
                     "cld\n\t"
                     "mov %0, %%cr3\n\t"
                     "jmp *%1"
                     :
                     : "r"(l->page_tables), "r"(l->entry), "D"(l->handoff)
                     : "memory");
    __builtin_unreachable();
}
