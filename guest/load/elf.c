/* SPDX-License-Identifier: BSD-2-Clause */
/* ELF, as the System V ABI's chapter "Object Files" describes it. */
#include "guest/load/elf.h"
#include "arch/bytes.h"
#include "arch/string.h"

enum { CLASS_AT = 4, CLASS_32 = 1, CLASS_64 = 2, DATA_AT = 5, LITTLE_ENDIAN = 1 };
enum { TYPE_AT = 16, RELOCATABLE = 1, EXECUTABLE = 2, SHARED = 3, CORE = 4 };
enum { MACHINE_AT = 18, MACHINE_386 = 3, X86_64 = 62 };
enum { HEADER_BYTES = 64, NOTE_HEADER_BYTES = 12, NOTE_GNU_ABI = 1 };
enum { SEGMENT_LOAD = 1, SEGMENT_DYNAMIC, SEGMENT_INTERPRETER, SEGMENT_NOTE };

/* Where a field is in the 32-bit form and in the 64-bit form, and how wide. */
struct field {
    uint8_t at[2], bytes[2];
};

static const struct field e_entry = {{24, 24}, {4, 8}}, e_phoff = {{28, 32}, {4, 8}},
                          e_phentsize = {{42, 54}, {2, 2}}, e_phnum = {{44, 56}, {2, 2}},
                          p_type = {{0, 0}, {4, 4}}, p_offset = {{4, 8}, {4, 8}},
                          p_vaddr = {{8, 16}, {4, 8}}, p_paddr = {{12, 24}, {4, 8}},
                          p_filesz = {{16, 32}, {4, 8}}, p_memsz = {{20, 40}, {4, 8}};
static const uint8_t program_header_bytes[2] = {32, 56};

static const struct field e_shoff = {{32, 40}, {4, 8}}, e_shentsize = {{46, 58}, {2, 2}},
                          e_shnum = {{48, 60}, {2, 2}}, e_shstrndx = {{50, 62}, {2, 2}},
                          sh_type = {{4, 4}, {4, 4}}, sh_flags = {{8, 8}, {4, 8}},
                          sh_addr = {{12, 16}, {4, 8}}, sh_offset = {{16, 24}, {4, 8}},
                          sh_size = {{20, 32}, {4, 8}};
static const uint8_t section_header_bytes[2] = {40, 64};
enum { SECTION_NULL = 0, SECTION_NOBITS = 8, SECTION_IS_LOADED = 2 /* a flag */ };
enum { SECTION_HEADERS_MAX = 0x4000 }; /* bytes: what the boot information has room for */

/* The table of program headers, within the file. */
struct table {
    const uint8_t *at;
    uint32_t count, entry_bytes;
    bool is64;
};

static uint64_t get(const uint8_t *base, const struct field *f, bool is64)
{
    return get_le(base + f->at[is64], f->bytes[is64]);
}

/* The place of the program headers. What is wrong with it; NULL: nothing. */
static const char *read_table(const struct program_file *file, struct table *t)
{
    const uint8_t *h = file->data;
    t->is64 = h[CLASS_AT] == CLASS_64;
    const uint64_t offset = get(h, &e_phoff, t->is64);
    t->count = (uint32_t)get(h, &e_phnum, t->is64);
    t->entry_bytes = (uint32_t)get(h, &e_phentsize, t->is64);
    if (t->count == 0 || t->entry_bytes < program_header_bytes[t->is64])
        return "the ELF file has no program headers";
    if (offset > file->size || (uint64_t)t->count * t->entry_bytes > file->size - offset)
        return "the ELF file's program headers lie outside it";
    t->at = h + offset;
    return NULL;
}

static bool is_elf(const struct program_file *file)
{
    return file->size >= HEADER_BYTES && memcmp(file->data, "\177ELF", 4) == 0;
}

static bool is_little_endian(const uint8_t *h)
{
    return (h[CLASS_AT] == CLASS_32 || h[CLASS_AT] == CLASS_64) && h[DATA_AT] == LITTLE_ENDIAN;
}

bool elf_is_x86_64(const struct program_file *file)
{
    return is_elf(file) && is_little_endian(file->data) &&
           get_le16(file->data + MACHINE_AT) == X86_64;
}

#define FOR(processor) "an ELF file for another processor: " processor

/* What is wrong with an ELF file's processor; NULL: it is ours. */
static const char *check_machine(const uint8_t *h)
{
    static const struct {
        uint16_t number;
        const char *wrong;
    } others[] = {
        {2, FOR("SPARC")},    {4, FOR("68000")},     {8, FOR("MIPS")},     {20, FOR("PowerPC")},
        {21, FOR("PowerPC")}, {22, FOR("S/390")},    {40, FOR("ARM")},     {43, FOR("SPARC")},
        {50, FOR("Itanium")}, {183, FOR("AArch64")}, {243, FOR("RISC-V")}, {258, FOR("LoongArch")},
    };
    const bool little = is_little_endian(h);
    const uint16_t machine =
        little ? get_le16(h + MACHINE_AT) : (uint16_t)(h[MACHINE_AT] << 8 | h[MACHINE_AT + 1]);
    if (little && (machine == MACHINE_386 || machine == X86_64))
        return NULL;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (others[i].number == machine)
            return others[i].wrong;
    return FOR("an unknown one");
}

/* What is wrong with the header; NULL: nothing. */
static const char *find_table(const struct program_file *file, struct table *t)
{
    const uint8_t *h = file->data;
    if (file->size < 4 || memcmp(h, "\177ELF", 4) != 0)
        return "not an ELF file";
    if (file->size < HEADER_BYTES)
        return "the ELF file is cut short";
    if (check_machine(h) != NULL)
        return check_machine(h);
    switch (get_le16(h + TYPE_AT)) {
    case EXECUTABLE:
    case SHARED: return read_table(file, t);
    case RELOCATABLE: return "an object file (ELF), which is not linked yet";
    case CORE: return "a core file (ELF), what is left of a program that crashed";
    default: return "an ELF file, but no executable one";
    }
}

/* What an operating system starts, and not a machine: it asks for an interpreter or for libraries,
 * or a note says which system. */
bool elf_explain(struct program *p)
{
    struct table t = {0};
    uint32_t bytes;
    if (p->kernel.size < 4 || memcmp(p->kernel.data, "\177ELF", 4) != 0)
        return false;
    const char *wrong = find_table(&p->kernel, &t);
    if (wrong != NULL) {
        (void)program_refuse(p, ERR_BAD_INPUT, "%s", wrong);
        return true;
    }
    bool hosted = elf_note(&p->kernel, "GNU", NOTE_GNU_ABI, &bytes) != NULL;
    for (uint32_t i = 0; i < t.count; i++) {
        const uint64_t type = get(t.at + (size_t)i * t.entry_bytes, &p_type, t.is64);
        hosted = hosted || type == SEGMENT_DYNAMIC || type == SEGMENT_INTERPRETER;
    }
    (void)program_refuse(p, ERR_BAD_INPUT, "%s, without multiboot header and PVH note (Xen, 18)%s",
                         hosted ? "a program that runs in an operating system, no kernel (ELF)"
                                : "an ELF file",
                         hosted ? ""
                                : "; as a plain image, made by objcopy -O binary, it starts "
                                  "with type = flat");
    return true;
}

enum status elf_segments(struct program *p, struct segments *out)
{
    struct table t = {0};
    const char *wrong = find_table(&p->kernel, &t);
    if (wrong != NULL)
        return program_refuse(p, ERR_BAD_INPUT, "%s", wrong);
    const uint64_t entry = get(p->kernel.data, &e_entry, t.is64);
    out->entry = entry;
    out->count = 0;
    for (uint32_t i = 0; i < t.count; i++) {
        const uint8_t *h = t.at + (size_t)i * t.entry_bytes;
        const uint64_t virtual = get(h, &p_vaddr, t.is64);
        const struct segment s = {
            .offset = get(h, &p_offset, t.is64),
            .file_bytes = get(h, &p_filesz, t.is64),
            .at = get(h, &p_paddr, t.is64),
            .memory_bytes = get(h, &p_memsz, t.is64),
        };
        if (get(h, &p_type, t.is64) != SEGMENT_LOAD || (s.memory_bytes | s.file_bytes) == 0)
            continue;
        if (out->count == SEGMENTS_MAX)
            return program_refuse(p, ERR_BAD_INPUT, "the ELF file has more than %d segments",
                                  SEGMENTS_MAX);
        if (entry >= virtual && entry - virtual < s.memory_bytes)
            out->entry = entry - virtual + s.at;
        out->segment[out->count++] = s;
    }
    return OK;
}

/* Whether a section has contents that no segment has loaded. */
static bool is_left_over(const uint8_t *header, bool is64)
{
    const uint64_t type = get(header, &sh_type, is64);
    return type != SECTION_NULL && type != SECTION_NOBITS && get(header, &sh_size, is64) != 0 &&
           (get(header, &sh_flags, is64) & SECTION_IS_LOADED) == 0;
}

/* Makes the piece so large that it holds these bytes of the file. False: they are outside it. */
static bool include(struct elf_sections *s, const struct program_file *file, uint64_t offset,
                    uint64_t bytes)
{
    if (offset > file->size || bytes > file->size - offset)
        return false;
    if (offset < s->from)
        s->from = offset & ~(PAGE_SIZE - 1);
    if (offset + bytes > s->to)
        s->to = offset + bytes;
    return true;
}

struct elf_sections elf_find_sections(const struct program_file *file)
{
    struct table t = {0};
    const struct elf_sections none = {.count = 0};
    if (find_table(file, &t) != NULL)
        return none;
    struct elf_sections s = {
        .from = UINT64_MAX,
        .headers = get(file->data, &e_shoff, t.is64),
        .count = (uint32_t)get(file->data, &e_shnum, t.is64),
        .entry_bytes = (uint32_t)get(file->data, &e_shentsize, t.is64),
        .names = (uint32_t)get(file->data, &e_shstrndx, t.is64),
        .is64 = t.is64,
    };
    const uint64_t bytes = (uint64_t)s.count * s.entry_bytes;
    if (s.entry_bytes < section_header_bytes[t.is64] || bytes > SECTION_HEADERS_MAX ||
        !include(&s, file, s.headers, bytes))
        return none;
    for (uint32_t i = 0; i < s.count; i++) {
        const uint8_t *h = file->data + s.headers + (size_t)i * s.entry_bytes;
        if (is_left_over(h, t.is64) &&
            !include(&s, file, get(h, &sh_offset, t.is64), get(h, &sh_size, t.is64)))
            return none;
    }
    return s;
}

enum status elf_place_sections(const struct program *p, const struct elf_sections *s, gpa_t at)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const uint64_t header = s->headers + (uint64_t)i * s->entry_bytes;
        const uint8_t *h = p->kernel.data + header;
        const uint64_t address = at.v + get(h, &sh_offset, s->is64) - s->from;
        if (is_left_over(h, s->is64) &&
            !guestmem_write(p->mem, gpa(at.v + header - s->from + sh_addr.at[s->is64]), &address,
                            sh_addr.bytes[s->is64]))
            return ERR_NO_MEMORY;
    }
    return OK;
}

uint64_t elf_entry(const struct program_file *file)
{
    return is_elf(file) ? get(file->data, &e_entry, file->data[CLASS_AT] == CLASS_64) : 0;
}

/* What a section header says of its place; NULL: outside the file. */
static const uint8_t *section_data(const struct program_file *file, const struct elf_sections *s,
                                   uint32_t i, uint64_t *bytes)
{
    const uint8_t *h = file->data + s->headers + (size_t)i * s->entry_bytes;
    const uint64_t offset = get(h, &sh_offset, s->is64);
    *bytes = get(h, &sh_size, s->is64);
    return offset <= file->size && *bytes <= file->size - offset &&
                   get(h, &sh_type, s->is64) != SECTION_NOBITS
               ? file->data + offset
               : NULL;
}

const uint8_t *elf_section(const struct program_file *file, const char *name, uint64_t *bytes)
{
    const struct elf_sections s = elf_find_sections(file);
    const size_t name_bytes = strlen(name) + 1;
    uint64_t names_bytes;
    const uint8_t *names = s.names < s.count ? section_data(file, &s, s.names, &names_bytes) : NULL;
    for (uint32_t i = 0; i < s.count && names != NULL; i++) {
        const uint32_t at = get_le32(file->data + s.headers + (size_t)i * s.entry_bytes);
        if (at < names_bytes && name_bytes <= names_bytes - at &&
            memcmp(names + at, name, name_bytes) == 0)
            return section_data(file, &s, i, bytes);
    }
    return NULL;
}

/* A note to look for, and what has come of it. */
struct search {
    const char *name; /* NULL: none, all are walked over */
    uint32_t type;
    uint32_t bytes; /* of the one that was found */
    bool cut_short; /* one is, or a segment of them is outside the file */
};

/* The same among the notes of one segment; each part of a note is padded to a multiple of 4. */
static const uint8_t *find_note(const uint8_t *notes, uint64_t size, struct search *search)
{
    const size_t name_bytes = search->name != NULL ? strlen(search->name) + 1 : 0;
    while (size >= NOTE_HEADER_BYTES) {
        const uint64_t name_size = get_le32(notes), data_size = get_le32(notes + 4);
        const uint64_t data_at = NOTE_HEADER_BYTES + ((name_size + 3) & ~3ull);
        const uint64_t end = data_at + ((data_size + 3) & ~3ull);
        if (data_at > size || data_size > size - data_at) {
            search->cut_short = true;
            return NULL;
        }
        if (search->name != NULL && get_le32(notes + 8) == search->type &&
            name_size == name_bytes &&
            memcmp(notes + NOTE_HEADER_BYTES, search->name, name_bytes) == 0) {
            search->bytes = (uint32_t)data_size;
            return notes + data_at;
        }
        if (end >= size)
            return NULL;
        notes += end;
        size -= end;
    }
    return NULL;
}

/* No more is searched than the file is long: in one that was made to keep its loader busy, each of
 * 65535 segments may name all of it. */
static const uint8_t *find_in_segments(const struct program_file *file, struct search *search)
{
    struct table t = {0};
    uint64_t left = file->size;
    if (find_table(file, &t) != NULL)
        return NULL;
    for (uint32_t i = 0; i < t.count; i++) {
        const uint8_t *h = t.at + (size_t)i * t.entry_bytes;
        const uint64_t offset = get(h, &p_offset, t.is64), size = get(h, &p_filesz, t.is64);
        if (get(h, &p_type, t.is64) != SEGMENT_NOTE)
            continue;
        if (offset > file->size || size > file->size - offset) {
            search->cut_short = true;
            continue;
        }
        if (size > left)
            return NULL;
        left -= size;
        const uint8_t *found = find_note(file->data + offset, size, search);
        if (found != NULL)
            return found;
    }
    return NULL;
}

const uint8_t *elf_note(const struct program_file *file, const char *name, uint32_t type,
                        uint32_t *bytes)
{
    struct search search = {.name = name, .type = type};
    const uint8_t *found = find_in_segments(file, &search);
    *bytes = search.bytes;
    return found;
}

bool elf_notes_are_whole(const struct program_file *file)
{
    struct search search = {.name = NULL};
    (void)find_in_segments(file, &search);
    return !search.cut_short;
}
