/* SPDX-License-Identifier: BSD-2-Clause */
/* The notes of Xen's public header elfnote.h, and the strings that came before them. */
#include "guest/load/xen_notes.h"

#include "arch/bytes.h"
#include "arch/string.h"
#include "guest/load/elf.h"
#include "guest/load/xen_domain.h"

#define NOTE_NAME  "Xen"
#define OLD_NAME   "__xen_guest"
#define OUR_XEN    "xen-3.0" /* the interface's version; it has had this name ever since */
#define SPACE_BITS 48        /* of linear addresses with four levels of tables */

enum { NOTE_ENTRY = 1, NOTE_HYPERCALL_PAGE, NOTE_VIRT_BASE, NOTE_PADDR_OFFSET, NOTE_XEN_VERSION };
enum { NOTE_INIT_P2M = 15, NOTE_MOD_START_PFN };

bool xen_has_notes(const struct program_file *file)
{
    uint64_t section;
    uint32_t note;
    return elf_note(file, NOTE_NAME, NOTE_ENTRY, &note) != NULL ||
           elf_section(file, OLD_NAME, &section) != NULL;
}

/* A note that is a number. *value stays as it is where there is none, and *there is false then. */
static enum status read_number(struct program *p, uint32_t type, uint64_t *value, bool *there)
{
    uint32_t bytes;
    const uint8_t *note = elf_note(&p->kernel, NOTE_NAME, type, &bytes);
    *there = note != NULL;
    if (note == NULL)
        return OK;
    if (bytes != 4 && bytes != 8)
        return program_refuse(p, ERR_BAD_INPUT, "the note Xen, %u has %u bytes, and not 8 or 4",
                              type, bytes);
    *value = get_le(note, bytes);
    return OK;
}

static enum status refuse_version(struct program *p)
{
    return program_refuse(p, ERR_UNSUPPORTED,
                          "the kernel is for another version of Xen's interface than " OUR_XEN);
}

static enum status read_elf_notes(struct program *p, struct xen_notes *out)
{
    const size_t version_bytes = sizeof(OUR_XEN);
    uint64_t by_pfn = 0;
    uint32_t bytes;
    bool there;
    if (!elf_notes_are_whole(&p->kernel))
        return program_refuse(p, ERR_BAD_INPUT, XEN_NOTES_CUT_SHORT);
    const uint8_t *version = elf_note(&p->kernel, NOTE_NAME, NOTE_XEN_VERSION, &bytes);
    if (version != NULL && (bytes != version_bytes || memcmp(version, OUR_XEN, version_bytes) != 0))
        return refuse_version(p);
    enum status s = read_number(p, NOTE_ENTRY, &out->entry, &there);
    if (s == OK)
        s = read_number(p, NOTE_VIRT_BASE, &out->virt_base, &there);
    if (s == OK)
        s = read_number(p, NOTE_PADDR_OFFSET, &out->paddr_offset, &there);
    if (s == OK)
        s = read_number(p, NOTE_HYPERCALL_PAGE, &out->hypercall_page, &out->has_hypercall_page);
    if (s == OK)
        s = read_number(p, NOTE_INIT_P2M, &out->init_p2m, &out->has_init_p2m);
    if (s == OK)
        s = read_number(p, NOTE_MOD_START_PFN, &by_pfn, &there);
    out->mod_start_pfn = by_pfn != 0;
    return s;
}

/* Whether `KEY=VALUE,` at `at` has that key; *value: where the value is, which ends at `end`. */
static bool is_key(const uint8_t *at, const uint8_t *end, const char *key, const uint8_t **value)
{
    const size_t bytes = strlen(key);
    if ((size_t)(end - at) <= bytes || memcmp(at, key, bytes) != 0 || at[bytes] != '=')
        return false;
    *value = at + bytes + 1;
    return true;
}

/* Hexadecimal with 0x before it, else decimal. False: no such number, or more than 64 bits. */
static bool parse_number(const uint8_t *at, const uint8_t *end, uint64_t *out)
{
    unsigned base = 10;
    uint64_t n = 0;
    if (end - at > 2 && at[0] == '0' && (at[1] | 0x20) == 'x') {
        base = 16;
        at += 2;
    }
    if (at == end)
        return false;
    for (; at < end; at++) {
        const unsigned c = *at | 0x20u; /* lower case; digits stay as they are */
        const unsigned digit = c >= '0' && c <= '9'   ? c - '0'
                               : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                      : base;
        if (digit >= base || n > (UINT64_MAX - digit) / base)
            return false;
        n = n * base + digit;
    }
    *out = n;
    return true;
}

/* One `KEY=VALUE`. False: its number is none. */
static bool take_string(const uint8_t *at, const uint8_t *end, struct xen_notes *out,
                        bool *other_version)
{
    const uint8_t *value;
    uint64_t page;
    if (is_key(at, end, "VIRT_BASE", &value))
        return parse_number(value, end, &out->virt_base);
    if (is_key(at, end, "VIRT_ENTRY", &value))
        return parse_number(value, end, &out->entry);
    if (is_key(at, end, "ELF_PADDR_OFFSET", &value))
        return parse_number(value, end, &out->paddr_offset);
    if (is_key(at, end, "HYPERCALL_PAGE", &value)) { /* its number, from VIRT_BASE on */
        out->has_hypercall_page = true;
        if (!parse_number(value, end, &page) || page > UINT64_MAX / PAGE_SIZE)
            return false;
        out->hypercall_page = page * PAGE_SIZE;
    }
    if (is_key(at, end, "XEN_VER", &value))
        *other_version = (size_t)(end - value) != strlen(OUR_XEN) ||
                         memcmp(value, OUR_XEN, strlen(OUR_XEN)) != 0;
    return true;
}

/* `KEY=VALUE,KEY=VALUE`, to the first byte that is 0, or to the end of the section. */
static enum status read_strings(struct program *p, struct xen_notes *out)
{
    const uint64_t unset = UINT64_MAX;
    uint64_t bytes;
    bool other_version = false;
    const uint8_t *at = elf_section(&p->kernel, OLD_NAME, &bytes), *const end = at + bytes;
    out->paddr_offset = unset;
    out->entry = elf_entry(&p->kernel);
    while (at < end && *at != 0) {
        const uint8_t *next = at;
        while (next < end && *next != 0 && *next != ',')
            next++;
        if (!take_string(at, next, out, &other_version))
            return program_refuse(p, ERR_BAD_INPUT,
                                  "the section " OLD_NAME " has a number that is none");
        at = next < end && *next == ',' ? next + 1 : next;
    }
    if (other_version)
        return refuse_version(p);
    if (out->paddr_offset == unset)
        out->paddr_offset = out->virt_base;
    out->hypercall_page += out->virt_base;
    return OK;
}

static bool is_canonical(uint64_t address)
{
    const uint64_t top = address >> (SPACE_BITS - 1);
    return top == 0 || top == UINT64_MAX >> (SPACE_BITS - 1);
}

enum status xen_check_range(struct program *p, const char *what, uint64_t at, uint64_t bytes)
{
    const uint64_t last = at + bytes - 1;
    const unsigned long long shown = at;
    if (at % PAGE_SIZE != 0)
        return program_refuse(p, ERR_BAD_INPUT, "%s, 0x%llx, is not the start of a page", what,
                              shown);
    if (!is_canonical(at) || !is_canonical(last) || at >> 63 != last >> 63 || last < at)
        return program_refuse(p, ERR_BAD_INPUT,
                              "%s, 0x%llx, is no canonical address, or no %llu KiB are behind it",
                              what, shown, (unsigned long long)(bytes / 1024));
    if (at <= XEN_HOLE_LAST && last >= XEN_HOLE_FIRST)
        return program_refuse(p, ERR_BAD_INPUT,
                              "%s, 0x%llx, lies where Xen keeps itself, from 0x%llx to 0x%llx",
                              what, shown, XEN_HOLE_FIRST, XEN_HOLE_LAST);
    return OK;
}

enum status xen_read_notes(struct program *p, struct xen_notes *out)
{
    uint32_t bytes;
    *out = (struct xen_notes){0};
    const enum status s = elf_note(&p->kernel, NOTE_NAME, NOTE_ENTRY, &bytes) != NULL
                              ? read_elf_notes(p, out)
                              : read_strings(p, out);
    return s == OK ? xen_check_range(p, "VIRT_BASE", out->virt_base, PAGE_SIZE) : s;
}
