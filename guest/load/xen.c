/* SPDX-License-Identifier: BSD-2-Clause */
/* A domain as Xen's PV interface has it at entry. From guest-physical 0 on, mapped at VIRT_BASE:
 * the kernel, a ramdisk and a p2m list that have no place of their own, start_info, the store's and
 * the console's pages, page tables, a stack, and some room. Behind that, not mapped there: the
 * ramdisk, the p2m list and tables for it. Frames are guest-physical ones throughout, so the list
 * says of each that it is itself. */
#include "guest/load/xen.h"

#include "arch/bytes.h"
#include "arch/format.h"
#include "arch/string.h"
#include "guest/load/elf.h"
#include "guest/load/linux.h"
#include "guest/load/xen_notes.h"
#include "guest/load/xen_tables.h"

/* struct start_info of Xen's public header xen.h, for 64-bit kernels. */
#define INFO_MAGIC "xen-3.0-x86_64"
enum {
    INFO_PAGES = 32,
    INFO_SHARED = 40,
    INFO_FLAGS = 48,
    INFO_STORE = 56,
    INFO_CONSOLE = 72,
    INFO_CONSOLE_PORT = 80,
    INFO_TABLES = 88,
    INFO_TABLE_COUNT = 96,
    INFO_P2M = 104,
    INFO_MOD_START = 112,
    INFO_MOD_BYTES = 120,
    INFO_CMDLINE = 128,
    INFO_FIRST_P2M_PFN = 1152,
    INFO_P2M_COUNT = 1160,
    INFO_BYTES = 1168
};
enum { CMDLINE_BYTES = INFO_FIRST_P2M_PFN - INFO_CMDLINE };
enum { FLAG_MOD_START_PFN = 1 << 3, FLAG_VIRT_P2M_4TOOLS = 1 << 4 };

#define VCPU_INFO_MASK 1 /* the byte that holds events off while it is not 0 */

#define WINDOW       PAGE_SIZE_1G /* what one page directory maps: the kernel copies that one */
#define ROOM         0x80000ull   /* at least so much is mapped behind the stack... */
#define MAPPED_ALIGN 0x400000ull  /* ...and up to a multiple of this */
#define P2M_ENTRIES  (PAGE_SIZE / sizeof(uint64_t)) /* in a page */
#define P2M_PORTION  16                             /* pages */

enum { CALLS = 128, CALL_BYTES = 32, CALL_IRET = 23, NUMBER_AT = 4 };
_Static_assert(CALLS *CALL_BYTES == PAGE_SIZE, "a page of them");

/* Where the parts lie; the rest is in struct xen_domain. */
struct parts {
    struct xen_notes notes;
    gpa_t ramdisk, p2m, stack;
    uint64_t p2m_pages;
    uint64_t p2m_at, ramdisk_at; /* as the kernel is told: virtual, or the ramdisk's frame */
};

bool xen_recognize(struct program *p)
{
    return xen_has_notes(&p->kernel);
}

enum status xen_refuse(struct program *p)
{
    struct segments segments = {0};
    if (linux_recognize(p))
        return program_refuse(p, ERR_BAD_INPUT,
                              "a bzImage as it is: engine = pv needs the vmlinux in it, which "
                              "tools/nadir takes out when it makes an image, as "
                              "scripts/extract-vmlinux of Linux does");
    if (p->kernel.size < 4 || memcmp(p->kernel.data, "\177ELF", 4) != 0)
        return program_refuse(p, ERR_BAD_INPUT,
                              "not an ELF file, nor a bzImage: engine = pv starts Xen PV kernels "
                              "alone");
    const enum status s = elf_segments(p, &segments);
    if (s != OK)
        return s;
    return program_refuse(
        p, ERR_BAD_INPUT, "%s",
        elf_notes_are_whole(&p->kernel)
            ? "no Xen PV entry (note Xen, 1) in the ELF file, or in the one that a "
              "bzImage holds: engine = pv needs it, and a Linux has it by "
              "CONFIG_XEN_PV"
            : XEN_NOTES_CUT_SHORT);
}

static uint64_t page_up(uint64_t bytes)
{
    return (bytes + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
}

/* The hypercall page has code for each call: number in EAX, RCX and R11 kept. IRET does not return,
 * and wants them on the stack, with RAX. */
static enum status write_hypercall_page(struct program *p, gpa_t page)
{
    static const uint8_t call[] = {0x51, 0x41, 0x53,            /* push rcx; push r11 */
                                   0xb8, 0,    0,    0,   0,    /* mov eax, number */
                                   0x0f, 0x05,                  /* syscall */
                                   0x41, 0x5b, 0x59, 0xc3};     /* pop r11; pop rcx; ret */
    static const uint8_t iret[] = {0x51, 0x41,      0x53, 0x50, /* and push rax */
                                   0xb8, CALL_IRET, 0,    0,    0, 0x0f, 0x05};
    bool ok = program_zero(p, page, PAGE_SIZE);
    for (unsigned i = 0; i < CALLS && ok; i++) {
        uint8_t code[CALL_BYTES] = {0};
        if (i == CALL_IRET) {
            memcpy(code, iret, sizeof(iret));
        } else {
            memcpy(code, call, sizeof(call));
            put_le(code + NUMBER_AT, 4, i);
        }
        ok = guestmem_write(p->mem, gpa(page.v + (uint64_t)i * CALL_BYTES), code, CALL_BYTES);
    }
    return ok ? OK : program_refuse(p, ERR_NO_MEMORY, "no memory for the hypercall page");
}

/* Within one segment, and a whole page. */
static enum status place_hypercall_page(struct program *p, const struct xen_notes *n,
                                        const struct segments *segments)
{
    const uint64_t at = n->hypercall_page - n->virt_base + n->paddr_offset;
    if (!n->has_hypercall_page)
        return OK;
    for (uint32_t i = 0; i < segments->count; i++) {
        const struct segment *s = &segments->segment[i];
        if (n->hypercall_page % PAGE_SIZE != 0 || at < s->at || s->memory_bytes < PAGE_SIZE ||
            at - s->at > s->memory_bytes - PAGE_SIZE)
            continue;
        p->xen.hypercall_page = gpa(at - n->paddr_offset);
        return write_hypercall_page(p, p->xen.hypercall_page);
    }
    return program_refuse(p, ERR_BAD_INPUT,
                          "the hypercall page, 0x%llx, is no page within a segment",
                          (unsigned long long)n->hypercall_page);
}

static enum status refuse_window(struct program *p, const char *what, uint64_t virt_base)
{
    return program_refuse(p, ERR_BAD_INPUT,
                          "%s does not fit behind VIRT_BASE, 0x%llx, into the 1 GiB that one page "
                          "directory maps",
                          what, (unsigned long long)virt_base);
}

/* The kernel's segments, and where its image ends. */
static enum status place_kernel(struct program *p, const struct xen_notes *n, uint64_t *end)
{
    struct segments segments = {0};
    uint64_t low;
    enum status s = elf_segments(p, &segments);
    if (s != OK)
        return s;
    segments.entry_above = n->virt_base - n->paddr_offset;
    segments.entry = n->entry - segments.entry_above;
    s = segments_check(p, &segments, &low, end);
    if (s != OK)
        return s;
    if (low < n->paddr_offset)
        return program_refuse(p, ERR_BAD_INPUT,
                              "a segment at 0x%llx lies below PADDR_OFFSET, 0x%llx",
                              (unsigned long long)low, (unsigned long long)n->paddr_offset);
    *end -= n->paddr_offset;
    if (*end > WINDOW - n->virt_base % WINDOW)
        return refuse_window(p, "the kernel", n->virt_base);
    s = segments_place(p, &segments, 0 - n->paddr_offset);
    return s == OK ? place_hypercall_page(p, n, &segments) : s;
}

static enum status place_ramdisk(struct xen_build *b, struct parts *parts)
{
    const struct program_file *file = &b->p->file[0];
    char what[64];
    format_text(what, sizeof(what), "the ramdisk %s", file->name);
    const enum status s = xen_take(b, what, file->size, &parts->ramdisk);
    if (s != OK)
        return s;
    return program_write(b->p, parts->ramdisk, file->data, file->size)
               ? OK
               : program_refuse(b->p, ERR_NO_MEMORY, "the ramdisk does not fit into the memory");
}

/* The list's last page is filled up with what stands for no frame. */
static enum status write_p2m(struct xen_build *b, struct parts *parts)
{
    struct program *p = b->p;
    const enum status s = xen_take(b, "the p2m list", parts->p2m_pages * PAGE_SIZE, &parts->p2m);
    if (s != OK)
        return s;
    for (uint64_t i = 0; i < parts->p2m_pages; i++) {
        uint64_t *list = guestmem_window(p->mem, gpa(parts->p2m.v + i * PAGE_SIZE), PAGE_SIZE);
        if (list == NULL)
            return program_refuse(p, ERR_NO_MEMORY, "no memory for the p2m list");
        for (uint64_t k = 0; k < P2M_ENTRIES; k++) {
            const uint64_t frame = i * P2M_ENTRIES + k;
            list[k] = frame < p->xen.pages ? frame : UINT64_MAX;
        }
        if (i % P2M_PORTION == 0 && p->between != NULL)
            p->between();
    }
    return OK;
}

/* A zeroed page. */
static enum status take_page(struct xen_build *b, const char *what, gpa_t *at)
{
    const enum status s = xen_take(b, what, PAGE_SIZE, at);
    if (s != OK)
        return s;
    return guestmem_zero(b->p->mem, *at, PAGE_SIZE)
               ? OK
               : program_refuse(b->p, ERR_NO_MEMORY, "no memory for %s", what);
}

/* How much of RAM is mapped at VIRT_BASE, if what is mapped ends there. */
static uint64_t mapped_bytes(uint64_t virt_base, uint64_t end)
{
    const uint64_t skew = virt_base % WINDOW;
    const uint64_t top = skew + end + ROOM;
    return ((top + MAPPED_ALIGN - 1) & ~(MAPPED_ALIGN - 1)) - skew;
}

/* The tables have to map themselves: each one more may need another one. Sets mapped_bytes. */
static enum status measure(struct xen_build *b)
{
    struct xen_domain *d = &b->p->xen;
    const uint64_t skew = d->virt_base % WINDOW, first = skew / PAGE_SIZE_2M;
    for (uint64_t leaves = 1, needed;; leaves = needed) {
        const uint64_t pages = 3 + leaves + 1; /* upper levels, the lowest, a stack */
        const uint64_t bytes = mapped_bytes(d->virt_base, b->next + pages * PAGE_SIZE);
        if (bytes > WINDOW - skew)
            return refuse_window(b->p, "the kernel with ramdisk and page tables", d->virt_base);
        needed = (skew + bytes) / PAGE_SIZE_2M - first;
        if (needed > leaves)
            continue;
        d->mapped_bytes = bytes;
        return OK;
    }
}

/* What lies behind the stack is mapped, and must be there. */
static enum status skip_room(struct xen_build *b)
{
    gpa_t at;
    return xen_take(b, "the room that is mapped behind the kernel",
                    b->p->xen.mapped_bytes - b->next, &at);
}

static enum status map_kernel(struct xen_build *b, struct parts *parts)
{
    struct xen_domain *d = &b->p->xen;
    enum status s = measure(b);
    if (s == OK)
        s = xen_tables_begin(b);
    if (s == OK)
        s = xen_tables_add(b, &d->kernel_tables, d->virt_base, d->mapped_bytes);
    if (s == OK)
        s = take_page(b, "the first stack", &parts->stack);
    if (s == OK)
        s = skip_room(b);
    if (s == OK)
        xen_tables_map(b, d->virt_base, gpa(0), d->mapped_bytes / PAGE_SIZE);
    return s;
}

static enum status map_p2m(struct xen_build *b, struct parts *parts)
{
    struct xen_domain *d = &b->p->xen;
    const uint64_t at = parts->notes.init_p2m, bytes = parts->p2m_pages * PAGE_SIZE;
    enum status s = xen_check_range(b->p, "INIT_P2M", at, bytes);
    if (s != OK)
        return s;
    if (at <= d->virt_base + (d->mapped_bytes - 1) && at + (bytes - 1) >= d->virt_base)
        return program_refuse(b->p, ERR_BAD_INPUT,
                              "INIT_P2M, 0x%llx, lies over what is mapped at VIRT_BASE, 0x%llx",
                              (unsigned long long)at, (unsigned long long)d->virt_base);
    s = write_p2m(b, parts);
    if (s == OK)
        s = xen_tables_add(b, &d->p2m_tables, at, bytes);
    if (s == OK)
        xen_tables_map(b, at, parts->p2m, parts->p2m_pages);
    parts->p2m_at = at;
    return s;
}

/* What the kernel finds mapped at VIRT_BASE, in its order. */
static enum status build_mapped(struct xen_build *b, struct parts *parts)
{
    struct xen_domain *d = &b->p->xen;
    enum status s = OK;
    if (b->p->file_count > 0 && !parts->notes.mod_start_pfn) {
        s = place_ramdisk(b, parts);
        parts->ramdisk_at = d->virt_base + parts->ramdisk.v;
    }
    if (s == OK && !parts->notes.has_init_p2m) {
        s = write_p2m(b, parts);
        parts->p2m_at = d->virt_base + parts->p2m.v;
    }
    if (s == OK)
        s = take_page(b, "start_info", &d->start_info);
    if (s == OK)
        s = take_page(b, "the store's page", &d->store);
    if (s == OK)
        s = take_page(b, "the console's page", &d->console);
    return s == OK ? map_kernel(b, parts) : s;
}

static enum status build_behind(struct xen_build *b, struct parts *parts)
{
    enum status s = OK;
    if (b->p->file_count > 0 && parts->notes.mod_start_pfn) {
        s = place_ramdisk(b, parts);
        parts->ramdisk_at = parts->ramdisk.v / PAGE_SIZE;
    }
    return s == OK && parts->notes.has_init_p2m ? map_p2m(b, parts) : s;
}

static enum status write_start_info(struct program *p, const struct parts *parts)
{
    const struct xen_domain *d = &p->xen;
    const struct xen_notes *n = &parts->notes;
    const size_t cmdline_bytes = strlen(p->cmdline) + 1;
    uint8_t out[INFO_BYTES] = INFO_MAGIC;
    if (cmdline_bytes > CMDLINE_BYTES)
        return program_refuse(p, ERR_BAD_INPUT,
                              "the command line is too long: Xen hands over %d characters at most",
                              CMDLINE_BYTES - 1);
    memcpy(out + INFO_CMDLINE, p->cmdline, cmdline_bytes);
    put_le(out + INFO_PAGES, 8, d->pages);
    put_le(out + INFO_SHARED, 8, d->shared_info.v);
    put_le(out + INFO_STORE, 8, d->store.v / PAGE_SIZE);
    put_le(out + INFO_CONSOLE, 8, d->console.v / PAGE_SIZE);
    put_le(out + INFO_CONSOLE_PORT, 4, XEN_CONSOLE_PORT);
    put_le(out + INFO_TABLES, 8, d->virt_base + d->kernel_tables.first.v);
    put_le(out + INFO_TABLE_COUNT, 8, xen_table_pages(&d->kernel_tables));
    put_le(out + INFO_P2M, 8, parts->p2m_at);
    uint32_t flags = FLAG_VIRT_P2M_4TOOLS;
    if (p->file_count > 0) {
        flags |= n->mod_start_pfn ? FLAG_MOD_START_PFN : 0;
        put_le(out + INFO_MOD_START, 8, parts->ramdisk_at);
        put_le(out + INFO_MOD_BYTES, 8, p->file[0].size);
    }
    put_le(out + INFO_FLAGS, 4, flags);
    if (n->has_init_p2m) {
        put_le(out + INFO_FIRST_P2M_PFN, 8, parts->p2m.v / PAGE_SIZE);
        put_le(out + INFO_P2M_COUNT, 8, parts->p2m_pages + xen_table_pages(&d->p2m_tables));
    }
    return guestmem_write(p->mem, d->start_info, out, sizeof(out))
               ? OK
               : program_refuse(p, ERR_NO_MEMORY, "no memory for start_info");
}

/* Zeros, and no vCPU takes events before it says so. */
static enum status write_shared_info(struct program *p)
{
    static const uint8_t masked = 1;
    const gpa_t at = p->xen.shared_info;
    bool ok = guestmem_zero(p->mem, at, XEN_BEHIND_PAGES * PAGE_SIZE);
    for (uint64_t i = 0; i < XEN_SHARED_VCPUS; i++)
        ok = ok && guestmem_write(p->mem, gpa(at.v + i * XEN_VCPU_INFO + VCPU_INFO_MASK), &masked,
                                  sizeof(masked));
    return ok ? OK : program_refuse(p, ERR_NO_MEMORY, "no memory for shared_info");
}

/* CPL 3, where such a kernel runs, with its flat segments. */
static struct cpu_state state_at_entry(const struct xen_domain *d, const struct parts *parts)
{
    const uint32_t user = 3u << ACCESS_DPL_SHIFT;
    const struct cpu_segment none = {0, SEGMENT_UNUSABLE, 0, 0};
    struct cpu_state state = cpu_state_long_mode(parts->notes.entry, d->kernel_tables.first.v);
    state.cr0 |= CR0_WP;
    state.efer |= EFER_SCE | EFER_NXE;
    state.rflags |= RFLAGS_IF;
    state.rsi = d->virt_base + d->start_info.v;
    state.rsp = d->virt_base + parts->stack.v + PAGE_SIZE;
    state.cs.selector = XEN_KERNEL_CS;
    state.cs.access |= user;
    state.ss.selector = XEN_KERNEL_SS;
    state.ss.access |= user;
    state.ds = state.es = state.fs = state.gs = none;
    return state;
}

enum status xen_load(struct program *p, struct cpu_state *state)
{
    struct xen_build b = {.p = p};
    struct parts parts = {.p2m_pages = 0};
    uint64_t end;
    if (!xen_recognize(p))
        return xen_refuse(p);
    if (!elf_is_x86_64(&p->kernel))
        return program_refuse(p, ERR_UNSUPPORTED,
                              "a Xen PV kernel of 32 bits: only 64-bit ones are started");
    enum status s = xen_read_notes(p, &parts.notes);
    if (s != OK)
        return s;
    p->xen = (struct xen_domain){.pages = p->memory_bytes / PAGE_SIZE,
                                 .virt_base = parts.notes.virt_base,
                                 .shared_info = xen_shared_info_at(p->memory_bytes)};
    p->xen.grants = gpa(p->xen.shared_info.v + PAGE_SIZE);
    parts.p2m_pages = (p->xen.pages + P2M_ENTRIES - 1) / P2M_ENTRIES;
    s = place_kernel(p, &parts.notes, &end);
    if (s != OK)
        return s;
    b.next = page_up(end);
    s = build_mapped(&b, &parts);
    if (s == OK)
        s = build_behind(&b, &parts);
    if (s == OK)
        s = write_start_info(p, &parts);
    if (s == OK)
        s = write_shared_info(p);
    if (s == OK)
        *state = state_at_entry(&p->xen, &parts);
    return s;
}
