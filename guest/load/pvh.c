/* SPDX-License-Identifier: BSD-2-Clause */
/* Xen's "x86/HVM direct boot ABI", with struct hvm_start_info of version 1. */
#include "guest/load/pvh.h"

#include "arch/bytes.h"
#include "guest/load/elf.h"

#define NOTE_NAME "Xen"
enum { NOTE_PHYS32_ENTRY = 18, MAGIC = 0x336ec578, VERSION = 1 };
enum { INFO_BYTES = 56, MODULE_BYTES = 32, MAP_BYTES = 24 };
enum { INFO_VERSION = 4, INFO_FILE_COUNT = 12, INFO_FILES = 16, INFO_CMDLINE = 24, INFO_RSDP = 32 };
enum { INFO_MAP = 40, INFO_MAP_COUNT = 48 };

bool pvh_recognize(struct program *p)
{
    uint32_t bytes;
    return elf_note(&p->kernel, NOTE_NAME, NOTE_PHYS32_ENTRY, &bytes) != NULL;
}

static uint32_t add_files(const struct program *p, struct program_info *info, const gpa_t *at)
{
    uint8_t table[PROGRAM_MAX_FILES * MODULE_BYTES] = {0};
    for (uint32_t i = 0; i < p->file_count; i++) {
        uint8_t *m = table + (size_t)i * MODULE_BYTES;
        put_le(m, 8, at[i].v);
        put_le(m + 8, 8, p->file[i].size);
        put_le(m + 16, 8, program_info_add_string(info, p->file[i].string));
    }
    return program_info_add(info, 8, table, (size_t)p->file_count * MODULE_BYTES);
}

/* Returns the address of the start information, or 0. */
static uint32_t write_info(const struct program *p, const gpa_t *files_at)
{
    uint8_t out[INFO_BYTES] = {0}, map[PROGRAM_MAX_RANGES * MAP_BYTES] = {0};
    struct program_info info = program_info_begin(p);
    const unsigned count = program_put_memory_map(p->memory_bytes, map, MAP_BYTES);
    put_le(out, 4, MAGIC);
    put_le(out + INFO_VERSION, 4, VERSION);
    put_le(out + INFO_FILE_COUNT, 4, p->file_count);
    put_le(out + INFO_FILES, 8, add_files(p, &info, files_at));
    put_le(out + INFO_CMDLINE, 8, program_info_add_string(&info, p->cmdline));
    put_le(out + INFO_RSDP, 8, p->rsdp.v);
    put_le(out + INFO_MAP, 8, program_info_add(&info, 8, map, (size_t)count * MAP_BYTES));
    put_le(out + INFO_MAP_COUNT, 4, count);
    const uint32_t at = program_info_add(&info, 8, out, sizeof(out));
    return info.next != 0 ? at : 0;
}

enum status pvh_load(struct program *p, struct cpu_state *state)
{
    uint64_t low, end;
    gpa_t files_at[PROGRAM_MAX_FILES];
    struct segments segments = {0};
    uint32_t bytes;
    enum status s = elf_segments(p, &segments);
    if (s != OK)
        return s;
    const uint8_t *note = elf_note(&p->kernel, NOTE_NAME, NOTE_PHYS32_ENTRY, &bytes);
    if (note == NULL)
        return program_refuse(p, ERR_BAD_INPUT, "the ELF file has no PVH entry (note Xen, 18)");
    if (bytes != 4 && bytes != 8)
        return program_refuse(p, ERR_BAD_INPUT, "the note with the PVH entry has %u bytes, not 4",
                              bytes);
    segments.entry = get_le(note, bytes);
    s = segments_check(p, &segments, &low, &end);
    if (s == OK)
        s = segments_place(p, &segments, 0);
    if (s == OK)
        s = program_place_files(p, low, end, files_at);
    if (s != OK)
        return s;
    s = program_start_flat32(p, segments.entry, state);
    if (s != OK)
        return s;
    state->rbx = write_info(p, files_at);
    return state->rbx != 0
               ? OK
               : program_refuse(p, ERR_BAD_INPUT, "the command line or the modules' are too long");
}
