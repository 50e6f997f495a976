/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the hypervisor's ELF file, and fills the page tables of its first moments. */
#include "boot/efi_elf.h"
#include "arch/addr.h"
#include "arch/x86.h"

#include <stddef.h>

#define HIGH_HALF  0xffff800000000000ull
#define LOW_HALF   (1ull << 47)
#define ENTRIES    512u
#define TABLE      (PTE_P | PTE_W)
#define LARGE_PAGE (TABLE | PTE_PS)

static bool header_is_sound(const Elf64_Ehdr *elf, uint64_t size)
{
    return size >= sizeof(*elf) && elf->e_ident[EI_MAG0] == ELFMAG0 &&
           elf->e_ident[EI_MAG1] == ELFMAG1 && elf->e_ident[EI_MAG2] == ELFMAG2 &&
           elf->e_ident[EI_MAG3] == ELFMAG3 && elf->e_ident[EI_CLASS] == ELFCLASS64 &&
           elf->e_ident[EI_DATA] == ELFDATA2LSB && elf->e_machine == EM_X86_64 &&
           elf->e_type == ET_EXEC && elf->e_phentsize == sizeof(Elf64_Phdr) &&
           elf->e_phoff % 8 == 0 && elf->e_phoff <= size &&
           elf->e_phnum <= (size - elf->e_phoff) / sizeof(Elf64_Phdr);
}

const Elf64_Phdr *elf_segment(const void *file, unsigned i)
{
    const Elf64_Ehdr *elf = file;
    const uint8_t *headers = (const uint8_t *)file + elf->e_phoff;
    return i < elf->e_phnum ? (const Elf64_Phdr *)(const void *)headers + i : NULL;
}

/* All must lie within the gigabyte that boot_tables_fill() maps. */
bool elf_measure(const void *file, uint64_t size, struct elf_span *out)
{
    const Elf64_Ehdr *elf = file;
    const Elf64_Phdr *s;
    if (!header_is_sound(elf, size))
        return false;
    *out = (struct elf_span){UINT64_MAX, 0, elf->e_entry};
    for (unsigned i = 0; (s = elf_segment(file, i)) != NULL; i++) {
        if (s->p_type != PT_LOAD || s->p_memsz == 0)
            continue;
        if (s->p_offset > size || s->p_filesz > size - s->p_offset || s->p_filesz > s->p_memsz ||
            s->p_vaddr < HIGH_HALF || s->p_memsz > UINT64_MAX - s->p_vaddr)
            return false;
        out->low = s->p_vaddr < out->low ? s->p_vaddr : out->low;
        out->high = s->p_vaddr + s->p_memsz > out->high ? s->p_vaddr + s->p_memsz : out->high;
    }
    return out->low < out->high && out->low % PAGE_SIZE_2M == 0 &&
           out->low / PAGE_SIZE_1G == (out->high - 1) / PAGE_SIZE_1G && elf->e_entry >= out->low &&
           elf->e_entry < out->high;
}

/* The tables that are being filled: where they are here and in the machine, and how many are used.
 */
struct pool {
    uint64_t *tables;
    uint64_t base, used;
};

/* Maps by pages of 2 MiB; tables that are missing come from the pool. */
static void map_range(struct pool *pool, uint64_t virt, uint64_t phys, uint64_t bytes)
{
    const uint64_t end = virt + bytes;
    phys -= virt % PAGE_SIZE_2M;
    for (virt &= ~(PAGE_SIZE_2M - 1); virt < end; virt += PAGE_SIZE_2M, phys += PAGE_SIZE_2M) {
        uint64_t *table = pool->tables;
        for (unsigned shift = 39; shift > 21; shift -= 9) {
            uint64_t *entry = &table[virt >> shift & (ENTRIES - 1)];
            if (*entry == 0)
                *entry = (pool->base + pool->used++ * PAGE_SIZE) | TABLE;
            table = pool->tables + ((*entry & PTE_ADDRESS) - pool->base) / sizeof(*table);
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

static uint64_t low_end(const struct boot_map *map)
{
    return map->ram_end > 4 * PAGE_SIZE_1G ? map->ram_end : 4 * PAGE_SIZE_1G;
}

uint64_t boot_tables_pages(const struct boot_map *map)
{
    if (low_end(map) > LOW_HALF)
        return 0;
    return 1 + tables_for(low_end(map)) + tables_for(map->screen_bytes) +
           tables_for(map->image_bytes);
}

void boot_tables_fill(uint64_t *tables, uint64_t base, const struct boot_map *map)
{
    struct pool pool = {tables, base, 1};
    map_range(&pool, 0, 0, low_end(map));
    map_range(&pool, map->screen, map->screen, map->screen_bytes);
    map_range(&pool, map->link_base, map->image_base, map->image_bytes);
}
