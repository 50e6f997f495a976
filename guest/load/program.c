/* SPDX-License-Identifier: BSD-2-Clause */
/* Places in guest memory for programs, their files, and what they are told at the start. */
#include "guest/load/program.h"
#include "arch/bytes.h"
#include "arch/format.h"
#include "arch/string.h"

enum status program_refuse(struct program *p, enum status s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    format_text_va(p->why, sizeof(p->why), format, args);
    va_end(args);
    return s;
}

unsigned program_put_memory_map(uint64_t memory_bytes, uint8_t *out, size_t entry_bytes)
{
    const struct {
        uint64_t from, to;
        bool ram;
    } all[PROGRAM_MAX_RANGES] = {
        {0, LAYOUT_EBDA, true},
        {LAYOUT_EBDA, LAYOUT_LOW_RAM_END, false},
        {LAYOUT_ACPI, LAYOUT_MIB, false}, /* ACPI and MP tables, never given back */
        {LAYOUT_MIB, layout_below_4g(memory_bytes), true},
        {LAYOUT_4GIB, LAYOUT_4GIB + layout_above_4g(memory_bytes), true},
    };
    unsigned count = 0;
    for (unsigned i = 0; i < PROGRAM_MAX_RANGES; i++) {
        if (all[i].from >= all[i].to)
            continue;
        uint8_t *entry = out + count++ * entry_bytes;
        put_le(entry, 8, all[i].from);
        put_le(entry + 8, 8, all[i].to - all[i].from);
        put_le(entry + 16, 4, all[i].ram ? 1 : 2);
    }
    return count;
}

enum status program_check_place(struct program *p, const char *what, gpa_t at, uint64_t bytes)
{
    const struct {
        uint64_t from, to;
        bool is_there;
        const char *name;
    } taken[] = {
        {0, LAYOUT_BIOS_DATA_END, true, "the interrupt vectors and the BIOS data area"},
        {LAYOUT_BOOT_INFO, LAYOUT_BOOT_END, p->keeps_info, "the boot information"},
        {LAYOUT_PAGE_TABLES, LAYOUT_PAGE_TABLES_END, p->keeps_tables, "the first page tables"},
        {LAYOUT_EBDA, LAYOUT_LOW_RAM_END, true, "the extended BIOS data area"},
        {LAYOUT_LOW_RAM_END, LAYOUT_SHADOW, true, "the screen's memory"},
        {LAYOUT_ACPI, LAYOUT_BIOS_END, true, "the PC's ACPI and MP tables"},
    };
    const uint64_t end = p->paravirtual ? p->memory_bytes : layout_below_4g(p->memory_bytes);
    if (at.v > end || bytes > end - at.v)
        return program_refuse(p, ERR_NO_MEMORY,
                              "%s, 0x%llx bytes at 0x%llx, does not fit into %llu MiB of memory",
                              what, (unsigned long long)bytes, (unsigned long long)at.v,
                              (unsigned long long)(p->memory_bytes / LAYOUT_MIB));
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]) && !p->paravirtual; i++) {
        if (taken[i].is_there && bytes > 0 && at.v < taken[i].to && at.v + bytes > taken[i].from)
            return program_refuse(p, ERR_BAD_INPUT,
                                  "%s, 0x%llx bytes at 0x%llx, lies over %s at 0x%llx", what,
                                  (unsigned long long)bytes, (unsigned long long)at.v,
                                  taken[i].name, (unsigned long long)taken[i].from);
    }
    return OK;
}

static uint64_t page_up(uint64_t bytes)
{
    return (bytes + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
}

enum status program_place_files(struct program *p, uint64_t low, uint64_t end,
                                gpa_t at[PROGRAM_MAX_FILES])
{
    const uint64_t top = layout_below_4g(p->memory_bytes);
    uint64_t from = page_up(end > LAYOUT_MIB ? end : LAYOUT_MIB), bytes = 0;
    for (uint32_t i = 0; i < p->file_count; i++)
        bytes += page_up(p->file[i].size);
    if (from > top || bytes > top - from) {
        if (low < LAYOUT_MIB || bytes > low - LAYOUT_MIB)
            return program_refuse(p, ERR_NO_MEMORY,
                                  "ramdisk and modules, %llu KiB, do not fit beside the kernel in "
                                  "%llu MiB of memory",
                                  (unsigned long long)(bytes / 1024),
                                  (unsigned long long)(p->memory_bytes / LAYOUT_MIB));
        from = LAYOUT_MIB;
    }
    for (uint32_t i = 0; i < p->file_count; i++) {
        at[i] = gpa(from);
        if (!program_write(p, at[i], p->file[i].data, p->file[i].size))
            return program_refuse(p, ERR_NO_MEMORY, "a module does not fit into the memory");
        from += page_up(p->file[i].size);
    }
    return OK;
}

#define PORTION 0x10000u /* bytes */

static uint64_t portion(const struct program *p, uint64_t left)
{
    if (p->between != NULL)
        p->between();
    return left < PORTION ? left : PORTION;
}

bool program_write(const struct program *p, gpa_t to, const void *from, uint64_t bytes)
{
    const uint8_t *data = from;
    for (uint64_t done = 0, n; done < bytes; done += n) {
        n = portion(p, bytes - done);
        if (!guestmem_write(p->mem, gpa(to.v + done), data + done, n))
            return false;
    }
    return true;
}

bool program_zero(const struct program *p, gpa_t to, uint64_t bytes)
{
    for (uint64_t done = 0, n; done < bytes; done += n) {
        n = portion(p, bytes - done);
        if (!guestmem_zero(p->mem, gpa(to.v + done), n))
            return false;
    }
    return true;
}

enum { GDT_ENTRIES = 5 };

static enum status write_gdt(struct program *p, const uint64_t gdt[GDT_ENTRIES],
                             struct cpu_state *state)
{
    const uint16_t bytes = GDT_ENTRIES * sizeof(gdt[0]);
    if (!guestmem_write(p->mem, gpa(LAYOUT_GDT), gdt, bytes))
        return program_refuse(p, ERR_NO_MEMORY, "no memory for a GDT");
    state->gdtr = (struct cpu_table_register){LAYOUT_GDT, (uint16_t)(bytes - 1)};
    return OK;
}

enum status program_write_gdt(struct program *p, struct cpu_state *state)
{
    const uint64_t gdt[GDT_ENTRIES] = {
        [2] = cpu_segment_descriptor(&state->cs), [3] = cpu_segment_descriptor(&state->ds)};
    return write_gdt(p, gdt, state);
}

/* QEMU's option ROM has flat segments at 0x08 and 0x10, as GRUB legacy does, and behind them those
 * for the way back to real mode. GRUB 2's come one entry later, with 64-bit code behind them. */
static const struct {
    uint16_t code, data;
    uint64_t gdt[GDT_ENTRIES];
} loaders[] = {
    [LOADER_QEMU] = {0x08,
                     0x10,
                     {0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00009e000000ffff,
                      0x000092000000ffff}},
    [LOADER_GRUB2] = {0x10,
                      0x18,
                      {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9a000000ffff}},
};

enum status program_start_flat32(struct program *p, uint64_t entry, struct cpu_state *state)
{
    *state = cpu_state_protected_mode((uint32_t)entry);
    state->cs.selector = loaders[p->loader].code;
    state->ds.selector = loaders[p->loader].data;
    state->es = state->fs = state->gs = state->ss = state->ds;
    state->rsp = LAYOUT_BOOT_STACK;
    return write_gdt(p, loaders[p->loader].gdt, state);
}

/* In 2 MiB pages, which any CPU has. */
enum status program_write_page_tables(struct program *p)
{
    uint64_t *table = guestmem_window(p->mem, gpa(LAYOUT_PAGE_TABLES), 6 * PAGE_SIZE);
    if (table == NULL)
        return program_refuse(p, ERR_NO_MEMORY, "no memory for page tables");
    const uint64_t present_writable = PTE_P | PTE_W;
    memset(table, 0, 2 * PAGE_SIZE);
    table[0] = (LAYOUT_PAGE_TABLES + PAGE_SIZE) | present_writable;
    for (uint64_t i = 0; i < 4; i++)
        table[512 + i] = (LAYOUT_PAGE_TABLES + (2 + i) * PAGE_SIZE) | present_writable;
    for (uint64_t i = 0; i < 4 * 512; i++)
        table[1024 + i] = i * PAGE_SIZE_2M | PTE_PS | present_writable;
    return OK;
}

uint32_t program_info_add(struct program_info *info, uint32_t align, const void *data, size_t bytes)
{
    const uint32_t at = (info->next + align - 1) & ~(align - 1);
    if (info->next == 0 || at > LAYOUT_BOOT_INFO_END || bytes > LAYOUT_BOOT_INFO_END - at ||
        !guestmem_write(info->mem, gpa(at), data, bytes)) {
        info->next = 0;
        return 0;
    }
    info->next = at + (uint32_t)bytes;
    return at;
}

uint32_t program_info_add_string(struct program_info *info, const char *string)
{
    return program_info_add(info, 1, string, strlen(string) + 1);
}
