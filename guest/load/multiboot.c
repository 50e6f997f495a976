/* SPDX-License-Identifier: BSD-2-Clause */
/* The Multiboot Specification, version 0.6.96. */
#include "guest/load/multiboot.h"
#include "arch/bytes.h"
#include "arch/string.h"

enum { BOOTED = 0x2badb002 };
#define FIRST_HARD_DISK 0x8000ffffu /* as a whole: what QEMU says, with a disk and without */
static const struct multiboot_search search = {"multiboot", 0x1badb002, 12, 4, 8192, 8};
enum { ADDRESS_FIELDS_BYTES = 32 }; /* of a header with them */

/* Flags of the header; of the lower 16 bits, those that a loader does not know are to be refused.
 */
enum { WANTS_VIDEO = 1 << 2, KNOWN = 7, HAS_ADDRESSES = 1 << 16 };

/* The boot information, and the bits in its flags that say what is there. */
enum { INFO_BYTES = 116, MODULE_BYTES = 16, MAP_BYTES = 24 };
enum {
    HAS_MEMORY = 1,
    HAS_BOOT_DEVICE = 2,
    HAS_CMDLINE = 4,
    HAS_MODULES = 8,
    HAS_MAP = 64,
    HAS_NAME = 512
};
enum { HAS_SECTIONS = 32, HAS_FRAMEBUFFER = 4096 };
enum { INFO_FLAGS = 0, INFO_LOWER = 4, INFO_UPPER = 8, INFO_BOOT_DEVICE = 12 };
enum { INFO_CMDLINE = 16, INFO_MODULES = 20 };
enum { INFO_SECTIONS = 28, INFO_MAP_BYTES = 44, INFO_MAP = 48, INFO_NAME = 64, INFO_SCREEN = 88 };

/* What the words of a header at `at` add up to, if its magic number is there; else no sum at all.
 */
static bool add_up(const struct program_file *file, const struct multiboot_search *s, uint64_t at,
                   uint32_t *sum)
{
    *sum = 0;
    if (get_le32(file->data + at) != s->magic)
        return false;
    for (unsigned k = 0; k < s->bytes; k += 4)
        *sum += get_le32(file->data + at + k);
    return true;
}

bool multiboot_find_header(const struct program_file *file, const struct multiboot_search *s,
                           uint64_t *at)
{
    const uint64_t size = file->size < s->searched ? file->size : s->searched;
    uint32_t sum;
    for (*at = 0; *at + s->bytes <= size; *at += s->align)
        if (add_up(file, s, *at, &sum) && sum == 0)
            return true;
    return false;
}

bool multiboot_explain_header(struct program *p, const struct multiboot_search *s)
{
    const struct program_file *file = &p->kernel;
    const char *name = s->name;
    uint32_t sum;
    for (uint64_t at = 0; at + s->bytes <= file->size; at++) {
        const unsigned long long where = at;
        if (!add_up(file, s, at, &sum))
            continue;
        if (sum == 0 && at % s->align != 0)
            return program_refuse(p, ERR_BAD_INPUT,
                                  "the %s header is at offset 0x%llx, which is no multiple of %u",
                                  name, where, s->align) != OK;
        if (sum == 0)
            return program_refuse(p, ERR_BAD_INPUT,
                                  "the %s header is at offset 0x%llx, and only the first %u bytes "
                                  "of the file are searched for it: link it first",
                                  name, where, s->searched) != OK;
        if (at % s->align == 0 && at + s->bytes <= s->searched) {
            const uint32_t checksum = get_le32(file->data + at + s->sum_at);
            return program_refuse(p, ERR_BAD_INPUT,
                                  "the %s header's checksum is wrong: it is 0x%x, and with its "
                                  "other fields must be 0x%x",
                                  name, checksum, checksum - sum) != OK;
        }
    }
    return false;
}

enum status multiboot_refuse_header(struct program *p, const struct multiboot_search *s)
{
    if (multiboot_explain_header(p, s))
        return ERR_BAD_INPUT;
    return program_refuse(p, ERR_BAD_INPUT, "no %s header in the first %u bytes", s->name,
                          s->searched);
}

bool multiboot_recognize(struct program *p)
{
    uint64_t at;
    return multiboot_find_header(&p->kernel, &search, &at);
}

bool multiboot_explain(struct program *p)
{
    return multiboot_explain_header(p, &search);
}

enum status multiboot_segment(struct program *p, const struct multiboot_addresses *a,
                              uint64_t header_offset, struct segments *out)
{
    const bool whole = a->load == MULTIBOOT_LOAD_WHOLE;
    if (whole ? a->header < header_offset
              : a->load > a->header || a->header - a->load > header_offset)
        return program_refuse(p, ERR_BAD_INPUT,
                              "the multiboot header's load address lies before the file's begin");
    const uint64_t load = whole ? a->header - header_offset : a->load;
    const uint64_t offset = header_offset - (a->header - load);
    const uint64_t end = a->load_end != 0 ? a->load_end : load + (p->kernel.size - offset);
    const uint64_t bss_end = a->bss_end != 0 ? a->bss_end : end;
    if (end < load || bss_end < end)
        return program_refuse(p, ERR_BAD_INPUT,
                              "the multiboot header's addresses are not in ascending order");
    out->count = 1;
    out->segment[0] = (struct segment){offset, end - load, load, bss_end - load};
    return OK;
}

/* Without the terminator; returns where it ends. */
static size_t append(char *out, size_t at, const char *text)
{
    while (*text != '\0')
        out[at++] = *text++;
    return at;
}

bool multiboot_line(const struct program *p, const char *name, const char *text,
                    char out[MULTIBOOT_MAX_LINE])
{
    const char *first = p->loader == LOADER_GRUB2 ? "" : name;
    if (strlen(first) + 1 + strlen(text) + 1 > MULTIBOOT_MAX_LINE)
        return false;
    size_t at = append(out, 0, first);
    if (at != 0 && *text != '\0')
        out[at++] = ' ';
    out[append(out, at, text)] = '\0';
    return true;
}

enum status multiboot_place_files(struct program *p, uint64_t low, uint64_t end,
                                  gpa_t at[PROGRAM_MAX_FILES], struct elf_sections *sections,
                                  gpa_t *headers)
{
    const uint32_t files = p->file_count;
    enum status s = ERR_NO_MEMORY;
    if (sections->count != 0) {
        p->file[p->file_count++] = (struct program_file){p->kernel.data + sections->from,
                                                         sections->to - sections->from, "", ""};
        s = program_place_files(p, low, end, at);
        p->file_count = files;
    }
    if (s == OK) {
        *headers = gpa(at[files].v + sections->headers - sections->from);
        return elf_place_sections(p, sections, at[files]);
    }
    sections->count = 0;
    return program_place_files(p, low, end, at);
}

/* Returns the address of the list, or 0. */
static uint32_t add_modules(const struct program *p, struct program_info *info, const gpa_t *at)
{
    uint8_t table[PROGRAM_MAX_FILES * MODULE_BYTES] = {0};
    for (uint32_t i = 0; i < p->file_count; i++) {
        uint8_t *m = table + (size_t)i * MODULE_BYTES;
        char line[MULTIBOOT_MAX_LINE];
        if (!multiboot_line(p, p->file[i].name, p->file[i].string, line))
            return 0;
        put_le(m, 4, at[i].v);
        put_le(m + 4, 4, at[i].v + p->file[i].size);
        put_le(m + 8, 4, program_info_add_string(info, line));
    }
    return program_info_add(info, 8, table, (size_t)p->file_count * MODULE_BYTES);
}

static uint32_t add_map(const struct program *p, struct program_info *info, uint32_t *bytes)
{
    uint8_t table[PROGRAM_MAX_RANGES * MAP_BYTES];
    const unsigned count = program_put_memory_map(p->memory_bytes, table + 4, MAP_BYTES);
    for (unsigned i = 0; i < count; i++)
        put_le(table + (size_t)i * MAP_BYTES, 4, MAP_BYTES - 4); /* a size that leaves itself out */
    *bytes = count * MAP_BYTES;
    return program_info_add(info, 8, table, *bytes);
}

void multiboot_put_screen(uint8_t out[22])
{
    put_le(out, 8, 0xb8000);
    put_le(out + 8, 4, 80 * 2); /* bytes a row */
    put_le(out + 12, 4, 80);
    put_le(out + 16, 4, 25);
    out[20] = 16; /* bits a character */
    out[21] = 2;  /* EGA text */
}

/* All that is handed over. Returns the address of the boot information, or 0. */
static uint32_t write_info(const struct program *p, const gpa_t *modules_at,
                           const struct elf_sections *sections, gpa_t headers, bool video)
{
    uint8_t out[INFO_BYTES] = {0};
    struct program_info info = program_info_begin(p);
    char line[MULTIBOOT_MAX_LINE];
    uint32_t map_bytes;
    const uint32_t modules = add_modules(p, &info, modules_at);
    if (modules == 0 || !multiboot_line(p, p->kernel.name, p->cmdline, line))
        return 0;
    const uint32_t map = add_map(p, &info, &map_bytes);
    put_le(out + INFO_LOWER, 4, MULTIBOOT_LOWER_KIB);
    put_le(out + INFO_UPPER, 4, multiboot_upper_kib(p->memory_bytes));
    put_le(out + INFO_CMDLINE, 4, program_info_add_string(&info, line));
    put_le(out + INFO_MODULES, 4, p->file_count);
    put_le(out + INFO_MODULES + 4, 4, modules);
    put_le(out + INFO_MAP_BYTES, 4, map_bytes);
    put_le(out + INFO_MAP, 4, map);
    put_le(out + INFO_NAME, 4, program_info_add_string(&info, multiboot_loader_name(p)));
    put_le(out + INFO_BOOT_DEVICE, 4, FIRST_HARD_DISK);
    uint32_t flags = HAS_MEMORY | HAS_BOOT_DEVICE | HAS_CMDLINE | HAS_MODULES | HAS_MAP | HAS_NAME;
    if (sections->count != 0) {
        put_le(out + INFO_SECTIONS, 4, sections->count);
        put_le(out + INFO_SECTIONS + 4, 4, sections->entry_bytes);
        put_le(out + INFO_SECTIONS + 8, 4, headers.v);
        put_le(out + INFO_SECTIONS + 12, 4, sections->names);
        flags |= HAS_SECTIONS;
    }
    if (video) {
        multiboot_put_screen(out + INFO_SCREEN);
        flags |= HAS_FRAMEBUFFER;
    }
    put_le(out + INFO_FLAGS, 4, flags);
    const uint32_t at = program_info_add(&info, 8, out, sizeof(out));
    return info.next != 0 ? at : 0;
}

/* The kernel's segments: the header's address fields win over what an ELF header says. */
static enum status find_segments(struct program *p, uint64_t at, struct segments *out)
{
    const uint8_t *h = p->kernel.data + at;
    if ((get_le32(h + 4) & HAS_ADDRESSES) == 0) {
        /* QEMU refuses these all, GRUB 2 starts them: mostly their entry is 64-bit code. */
        if (elf_is_x86_64(&p->kernel) && p->loader == LOADER_QEMU && !p->type_named)
            return program_refuse(p, ERR_UNSUPPORTED,
                                  "a 64-bit ELF file, which multiboot starts in 32-bit mode, and "
                                  "QEMU refuses; if its entry is 32-bit code, say type = "
                                  "multiboot");
        return elf_segments(p, out);
    }
    if (p->kernel.size - at < ADDRESS_FIELDS_BYTES)
        return program_refuse(p, ERR_BAD_INPUT, "the multiboot header is cut short");
    const struct multiboot_addresses a = {
        .header = get_le32(h + 12),
        .load = get_le32(h + 16),
        .load_end = get_le32(h + 20),
        .bss_end = get_le32(h + 24),
    };
    out->entry = get_le32(h + 28);
    return multiboot_segment(p, &a, at, out);
}

enum status multiboot_load(struct program *p, struct cpu_state *state)
{
    uint64_t at, low, end;
    gpa_t modules_at[PROGRAM_MAX_FILES], headers = gpa(0);
    struct elf_sections sections = {.count = 0};
    struct segments segments = {0};
    if (!multiboot_find_header(&p->kernel, &search, &at))
        return multiboot_refuse_header(p, &search);
    const uint32_t flags = get_le32(p->kernel.data + at + 4);
    const uint32_t unknown = flags & 0xffff & ~(uint32_t)KNOWN;
    if (unknown != 0)
        return program_refuse(p, ERR_UNSUPPORTED,
                              "the multiboot header demands unknown features: flags 0x%x", unknown);
    if ((flags & HAS_ADDRESSES) == 0)
        sections = elf_find_sections(&p->kernel);
    enum status s = find_segments(p, at, &segments);
    if (s == OK)
        s = segments_check(p, &segments, &low, &end);
    if (s == OK)
        s = segments_place(p, &segments, 0);
    if (s == OK)
        s = multiboot_place_files(p, low, end, modules_at, &sections, &headers);
    if (s != OK)
        return s;
    s = program_start_flat32(p, segments.entry, state);
    if (s != OK)
        return s;
    state->rax = BOOTED;
    state->rbx = write_info(p, modules_at, &sections, headers, (flags & WANTS_VIDEO) != 0);
    return state->rbx != 0
               ? OK
               : program_refuse(p, ERR_BAD_INPUT, "the command line or the modules' are too long");
}
