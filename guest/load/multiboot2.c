/* SPDX-License-Identifier: BSD-2-Clause */
/* The Multiboot2 Specification, version 2.0, as a PC without EFI. */
#include "guest/load/multiboot2.h"
#include "arch/bytes.h"
#include "arch/string.h"
#include "guest/load/multiboot.h"

enum { BOOTED = 0x36d76289, HEADER_BYTES = 16, ARCHITECTURE_I386 = 0 };
static const struct multiboot_search search = {"multiboot 2", 0xe85250d6, HEADER_BYTES, 8,
                                               32768,         12};

/* Tags of the header. */
enum header_tag {
    TAG_END,
    TAG_REQUEST,
    TAG_ADDRESS,
    TAG_ENTRY,
    TAG_CONSOLE,
    TAG_FRAMEBUFFER,
    TAG_ALIGN_MODULES,
    TAG_EFI_KEEP_SERVICES, /* the kernel can live with them: there are none */
    TAG_EFI_I386_ENTRY,    /* these two count under EFI only */
    TAG_EFI_AMD64_ENTRY,
    TAG_RELOCATABLE,
    TAG_COUNT,
};
enum { TAG_HEADER_BYTES = 8, TAG_OPTIONAL = 1 };
enum { RELOCATE_LOWEST = 1, RELOCATE_HIGHEST = 2 };

/* How long a tag is at least, with its own header. */
static const uint8_t tag_bytes[TAG_COUNT] = {
    [TAG_END] = 8,
    [TAG_REQUEST] = 8,
    [TAG_ADDRESS] = 24,
    [TAG_ENTRY] = 12,
    [TAG_CONSOLE] = 12,
    [TAG_FRAMEBUFFER] = 20,
    [TAG_ALIGN_MODULES] = 8,
    [TAG_EFI_KEEP_SERVICES] = 8,
    [TAG_EFI_I386_ENTRY] = 12,
    [TAG_EFI_AMD64_ENTRY] = 12,
    [TAG_RELOCATABLE] = 24,
};

/* Tags of the boot information; a kernel may require one up to the last that the specification has,
 * and is to live without it if the machine does not have what it tells. */
enum {
    INFO_END,
    INFO_CMDLINE,
    INFO_NAME,
    INFO_MODULE,
    INFO_MEMORY,
    INFO_MAP = 6,
    INFO_FRAMEBUFFER = 8,
    INFO_SECTIONS = 9,
    INFO_RSDP_OLD = 14,
    INFO_RSDP_NEW = 15,
    INFO_LOAD_BASE = 21,
    INFO_LAST = INFO_LOAD_BASE,
};
enum { MAP_BYTES = 24, RSDP_OLD_BYTES = 20, RSDP_NEW_BYTES = 36 };

/* The header as read. */
struct header {
    uint64_t at; /* in the file */
    bool has_addresses, has_entry, relocatable;
    struct multiboot_addresses addresses;
    uint32_t entry;
    uint64_t min, max, align; /* of a relocatable kernel: lowest and highest byte it may use */
    uint32_t preference;
};

bool multiboot2_recognize(struct program *p)
{
    uint64_t at;
    return multiboot_find_header(&p->kernel, &search, &at);
}

bool multiboot2_explain(struct program *p)
{
    return multiboot_explain_header(p, &search);
}

static enum status read_relocation(struct program *p, const uint8_t *tag, struct header *h)
{
    h->relocatable = true;
    h->min = get_le32(tag + 8);
    h->max = get_le32(tag + 12);
    h->align = get_le32(tag + 16);
    h->preference = get_le32(tag + 20);
    if (h->align == 0)
        h->align = 1;
    return (h->align & (h->align - 1)) == 0 && h->min <= h->max
               ? OK
               : program_refuse(p, ERR_BAD_INPUT,
                                "the multiboot 2 header's relocatable tag is impossible");
}

/* size: the tag's own word for its length, which lies within the header. */
static enum status read_tag(struct program *p, const uint8_t *tag, uint64_t size, struct header *h)
{
    const unsigned type = get_le16(tag);
    if (type >= TAG_COUNT)
        return (get_le16(tag + 2) & TAG_OPTIONAL) != 0
                   ? OK
                   : program_refuse(p, ERR_UNSUPPORTED,
                                    "the kernel requires multiboot 2 header tag %u, which is "
                                    "unknown",
                                    type);
    if (size < tag_bytes[type])
        return program_refuse(p, ERR_BAD_INPUT, "multiboot 2 header tag %u is too short", type);
    switch (type) {
    case TAG_REQUEST:
        for (uint64_t i = TAG_HEADER_BYTES; i + 4 <= size; i += 4) {
            const uint32_t wanted = get_le32(tag + i);
            if (wanted > INFO_LAST && (get_le16(tag + 2) & TAG_OPTIONAL) == 0)
                return program_refuse(p, ERR_UNSUPPORTED,
                                      "the kernel requires multiboot 2 information tag %u, which "
                                      "is unknown",
                                      wanted);
        }
        return OK;
    case TAG_ADDRESS:
        h->has_addresses = true;
        h->addresses = (struct multiboot_addresses){get_le32(tag + 8), get_le32(tag + 12),
                                                    get_le32(tag + 16), get_le32(tag + 20)};
        return OK;
    case TAG_ENTRY:
        h->has_entry = true;
        h->entry = get_le32(tag + 8);
        return OK;
    case TAG_RELOCATABLE: return read_relocation(p, tag, h);
    default: return OK; /* modules are aligned, and the screen is as it is, for every kernel */
    }
}

static enum status read_header(struct program *p, struct header *h)
{
    *h = (struct header){0};
    if (!multiboot_find_header(&p->kernel, &search, &h->at))
        return multiboot_refuse_header(p, &search);
    const uint8_t *header = p->kernel.data + h->at;
    const uint64_t length = get_le32(header + 8);
    if (get_le32(header + 4) != ARCHITECTURE_I386)
        return program_refuse(p, ERR_UNSUPPORTED, "a multiboot 2 kernel for another processor");
    if (length > p->kernel.size - h->at)
        return program_refuse(p, ERR_BAD_INPUT, "the multiboot 2 header is cut short");
    for (uint64_t i = HEADER_BYTES; i + TAG_HEADER_BYTES <= length;) {
        const uint8_t *tag = header + i;
        const uint64_t size = get_le32(tag + 4);
        if (size < TAG_HEADER_BYTES || size > length - i)
            return program_refuse(p, ERR_BAD_INPUT, "a multiboot 2 header tag is cut short");
        if (get_le16(tag) == TAG_END)
            break;
        const enum status s = read_tag(p, tag, size, h);
        if (s != OK)
            return s;
        i += (size + 7) & ~7ull;
    }
    return OK;
}

/* How far up (modulo 2^64) a kernel at [low, end) is to be moved. */
static enum status find_delta(struct program *p, const struct header *h, uint64_t low, uint64_t end,
                              uint64_t *delta)
{
    *delta = 0;
    if (!h->relocatable)
        return OK;
    const uint64_t bytes = end - low, memory = layout_below_4g(p->memory_bytes);
    const uint64_t mask = h->align - 1, top = h->max + 1 < memory ? h->max + 1 : memory;
    /* Below 1 MiB there is our own data. */
    const uint64_t first = ((h->min > LAYOUT_MIB ? h->min : LAYOUT_MIB) + mask) & ~mask;
    if (bytes > top || first > top - bytes)
        return program_refuse(p, ERR_NO_MEMORY,
                              "no room for the kernel's %llu KiB where its relocatable tag allows",
                              (unsigned long long)(bytes / 1024));
    const uint64_t last = (top - bytes) & ~mask;
    if (h->preference == RELOCATE_HIGHEST)
        *delta = last - low;
    else if (h->preference == RELOCATE_LOWEST || low < first || low > last || (low & mask) != 0)
        *delta = first - low;
    return OK;
}

/* Adds a tag; what it holds is `bytes` long. */
static void add_tag(struct program_info *info, uint32_t type, const void *data, size_t bytes)
{
    uint8_t tag[TAG_HEADER_BYTES];
    put_le(tag, 4, type);
    put_le(tag + 4, 4, sizeof(tag) + bytes);
    program_info_add(info, 8, tag, sizeof(tag));
    program_info_add(info, 1, data, bytes);
}

static bool add_modules(const struct program *p, struct program_info *info, const gpa_t *at)
{
    for (uint32_t i = 0; i < p->file_count; i++) {
        char line[MULTIBOOT_MAX_LINE];
        if (!multiboot_line(p, p->file[i].name, p->file[i].string, line))
            return false;
        const size_t string_bytes = strlen(line) + 1;
        uint8_t tag[TAG_HEADER_BYTES + 8];
        put_le(tag, 4, INFO_MODULE);
        put_le(tag + 4, 4, sizeof(tag) + string_bytes);
        put_le(tag + 8, 4, at[i].v);
        put_le(tag + 12, 4, at[i].v + p->file[i].size);
        program_info_add(info, 8, tag, sizeof(tag));
        program_info_add(info, 1, line, string_bytes);
    }
    return true;
}

static void add_map(const struct program *p, struct program_info *info)
{
    uint8_t map[8 + PROGRAM_MAX_RANGES * MAP_BYTES] = {MAP_BYTES}; /* then the version, 0 */
    const unsigned count = program_put_memory_map(p->memory_bytes, map + 8, MAP_BYTES);
    add_tag(info, INFO_MAP, map, 8 + (size_t)count * MAP_BYTES);
}

static void add_screen(struct program_info *info)
{
    uint8_t screen[24] = {0};
    multiboot_put_screen(screen);
    add_tag(info, INFO_FRAMEBUFFER, screen, sizeof(screen));
}

/* headers: where they are in the guest's memory. */
static void add_sections(const struct program *p, struct program_info *info,
                         const struct elf_sections *s, gpa_t headers)
{
    const size_t bytes = (size_t)s->count * s->entry_bytes;
    const void *window = guestmem_window(p->mem, headers, bytes);
    uint8_t tag[TAG_HEADER_BYTES + 12];
    if (s->count == 0 || window == NULL)
        return;
    put_le(tag, 4, INFO_SECTIONS);
    put_le(tag + 4, 4, sizeof(tag) + bytes);
    put_le(tag + 8, 4, s->count);
    put_le(tag + 12, 4, s->entry_bytes);
    put_le(tag + 16, 4, s->names);
    program_info_add(info, 8, tag, sizeof(tag));
    program_info_add(info, 1, window, bytes);
}

/* All that is handed over, at LAYOUT_BOOT_INFO. False: it does not fit. */
static bool write_info(const struct program *p, const struct header *h, const gpa_t *modules_at,
                       const struct elf_sections *sections, gpa_t headers, uint64_t load_base)
{
    uint8_t fixed[8] = {0}, word[4], rsdp[RSDP_NEW_BYTES];
    struct program_info info = program_info_begin(p);
    const uint32_t start = program_info_add(&info, 8, fixed, sizeof(fixed));
    char line[MULTIBOOT_MAX_LINE];
    if (!multiboot_line(p, p->kernel.name, p->cmdline, line))
        return false;
    add_tag(&info, INFO_CMDLINE, line, strlen(line) + 1);
    const char *name = multiboot_loader_name(p);
    add_tag(&info, INFO_NAME, name, strlen(name) + 1);
    if (!add_modules(p, &info, modules_at))
        return false;
    put_le(fixed, 4, MULTIBOOT_LOWER_KIB);
    put_le(fixed + 4, 4, multiboot_upper_kib(p->memory_bytes));
    add_tag(&info, INFO_MEMORY, fixed, sizeof(fixed));
    add_map(p, &info);
    add_screen(&info);
    add_sections(p, &info, sections, headers);
    if (guestmem_read(p->mem, p->rsdp, rsdp, sizeof(rsdp))) {
        add_tag(&info, INFO_RSDP_OLD, rsdp, RSDP_OLD_BYTES);
        add_tag(&info, INFO_RSDP_NEW, rsdp, RSDP_NEW_BYTES);
    }
    if (h->relocatable) {
        put_le(word, 4, load_base);
        add_tag(&info, INFO_LOAD_BASE, word, sizeof(word));
    }
    add_tag(&info, INFO_END, NULL, 0);
    put_le(fixed, 4, info.next - start);
    put_le(fixed + 4, 4, 0);
    return info.next != 0 && guestmem_write(p->mem, gpa(start), fixed, sizeof(fixed));
}

static enum status find_segments(struct program *p, const struct header *h, struct segments *out)
{
    if (h->has_addresses && !h->has_entry)
        return program_refuse(p, ERR_BAD_INPUT,
                              "the multiboot 2 header has addresses but no entry address");
    const enum status s =
        h->has_addresses ? multiboot_segment(p, &h->addresses, h->at, out) : elf_segments(p, out);
    if (h->has_entry)
        out->entry = h->entry;
    return s;
}

enum status multiboot2_load(struct program *p, struct cpu_state *state)
{
    struct header h;
    struct segments segments = {0};
    struct elf_sections sections = {.count = 0};
    uint64_t low, end, delta;
    gpa_t modules_at[PROGRAM_MAX_FILES], headers = gpa(0);
    enum status s = read_header(p, &h);
    if (s == OK && !h.has_addresses)
        sections = elf_find_sections(&p->kernel);
    if (s == OK)
        s = find_segments(p, &h, &segments);
    if (s == OK)
        s = segments_check(p, &segments, &low, &end);
    if (s == OK)
        s = find_delta(p, &h, low, end, &delta);
    if (s == OK)
        s = segments_place(p, &segments, delta);
    if (s == OK)
        s = multiboot_place_files(p, low + delta, end + delta, modules_at, &sections, &headers);
    if (s != OK)
        return s;
    if (!write_info(p, &h, modules_at, &sections, headers, low + delta))
        return program_refuse(p, ERR_BAD_INPUT, "the command line or the modules' are too long");
    s = program_start_flat32(p, segments.entry + delta, state);
    state->rax = BOOTED;
    state->rbx = LAYOUT_BOOT_INFO;
    return s;
}
