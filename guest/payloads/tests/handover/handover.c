/* SPDX-License-Identifier: BSD-2-Clause */
/* What a boot loader hands over to a kernel: by multiboot 1 or 2, by PVH, or nothing to a flat
 * program. It is to be started with the cmdline `check=1`, a ramdisk that says `first`, and a
 * module `second` with the string `a=1 b`, in 32 MiB. */
#include "handover.h"

#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define MEMORY   (32ull << 20)
#define LOW_END  0x9fc00ull /* where the EBDA begins */
#define KIB_BASE 639u

#define MULTIBOOT "Multiboot Specification"
#define BIOS      "as a BIOS leaves it"

/* start.asm */
extern const volatile struct {
    uint32_t eax, ebx, cr0, cr4, cs_limit, ds_limit, ss_limit, eflags;
    uint32_t called_from;
    uint16_t cs, ds, ss, unused;
    uint32_t esp;
    uint16_t gdt_limit;
    uint32_t gdt;
} __attribute__((packed)) handover;
extern const uint8_t handover_start[];
extern const uint8_t image_start[], bss_end[];

int main(void);

static bool same(const char *a, const char *b)
{
    while (a != NULL && *a != 0 && *a == *b) {
        a++;
        b++;
    }
    return a != NULL && *a == *b;
}

static bool ends_with(const char *text, const char *end)
{
    for (; text != NULL && *text != 0; text++)
        if (same(text, end))
            return true;
    return false;
}

/* Where nobody says how it is to be: as QEMU has it, or GRUB 2. */
static void check_loader(bool grub2)
{
    const uint16_t code = grub2 ? 0x10 : 0x08;
    test_equal(handover.cs, code, "CS", "selectors of the boot loader");
    test_equal(handover.ds, code + 8u, "DS", "selectors of the boot loader");
    test_equal(handover.ss, code + 8u, "SS", "selectors of the boot loader");
}

static void check_state(void)
{
    test_equal(handover.called_from, (uint64_t)handover_start + 5, "a CALL comes first", "stack");
    test_check(handover.esp >= 0x1000 && handover.esp < LOW_END, "a page of stack", "stack");
    test_check(handover.cs < handover.gdt_limit && handover.ds < handover.gdt_limit &&
                   (get(handover.gdt + handover.cs, 8) & 0x00ff9affff0000ff) >> 32 == 0xcf9a00 &&
                   (get(handover.gdt + handover.ds, 8) & 0x00ff92ffff0000ff) >> 32 == 0xcf9200,
               "a GDT in memory, with CS and DS in it", "GDT");
    test_equal(handover.cr0 & 0x80000001, 1, "protected mode, no paging", MULTIBOOT ": CR0");
    test_equal(handover.cr4, 0, "nothing on in CR4", "PVH: CR4");
    test_equal(handover.eflags & 0x20200, 0, "interrupts off, no VM86", MULTIBOOT ": EFLAGS");
    test_equal(handover.cs_limit, 0xffffffff, "CS ends at 4 GiB", MULTIBOOT ": CS");
    test_equal(handover.ds_limit, 0xffffffff, "DS ends at 4 GiB", MULTIBOOT ": DS");
    test_equal(handover.ss_limit, 0xffffffff, "SS ends at 4 GiB", MULTIBOOT ": SS");
    volatile uint32_t *low = (volatile uint32_t *)0x6000, *high = low + 0x100000 / sizeof(*low);
    *low = 1;
    *high = 2;
    test_check(*low == 1, "A20 is on", MULTIBOOT ": A20 gate");
}

/* Whether all of [from, to) is told to be RAM, or to be something else. */
static bool is_told(const struct told *t, uint64_t from, uint64_t to, bool ram)
{
    for (unsigned i = 0; i < t->ranges; i++) {
        const struct range *r = &t->range[i];
        if (r->ram == ram && from >= r->from && to <= r->to)
            return true;
    }
    return false;
}

static void check_map(const struct told *t)
{
    const char *rule = "the memory map";
    test_check(is_told(t, 0, LOW_END, true), "RAM from page 0 to the EBDA", rule);
    test_check(is_told(t, 0x100000, MEMORY, true), "RAM from 1 MiB to the end", rule);
    test_check(!is_told(t, MEMORY, MEMORY + 1, true), "and not beyond", rule);
    test_check(is_told(t, LOW_END, 0xa0000, false), "the EBDA is reserved", rule);
    test_check(is_told(t, 0xe0000, 0x100000, false), "so is what holds the tables", rule);
    bool ordered = true;
    for (unsigned i = 1; i < t->ranges; i++)
        ordered = ordered && t->range[i - 1].to <= t->range[i].from;
    test_check(ordered, "ascending, without overlap", rule);
}

/* The file's name comes first, as in QEMU; GRUB 2 and PVH have no names. */
static void check_module(const struct told *t, unsigned i, const char *content, const char *string)
{
    const struct module *m = &t->module[i];
    bool equal = m->to - m->from == 64;
    for (unsigned k = 0; equal && content[k] != 0; k++)
        equal = get(m->from + k, 1) == (uint8_t)content[k];
    test_check(equal, i == 0 ? "the ramdisk's content" : "the module's content", "modules");
    test_check(same(m->string, string), i == 0 ? "the ramdisk's line" : "its line", "modules");
    test_equal(m->from % 4096, 0, "on a page of its own", "modules");
    test_check(m->from >= (uint64_t)bss_end && is_told(t, m->from, m->to, true),
               "in RAM, behind the kernel", "modules");
}

/* A field of a section header, by its place and width in the 32-bit and the 64-bit form. */
static uint64_t section_field(const struct told *t, unsigned i, unsigned at32, unsigned at64,
                              unsigned bytes64)
{
    const uint64_t h = t->sections + (uint64_t)i * t->section_bytes;
    return t->section_bytes == 40 ? get(h + at32, 4) : get(h + at64, bytes64);
}

/* Looks a function of this program up in the symbols that the boot loader has loaded; 0: none. */
static uint64_t find_symbol(const struct told *t, const char *name)
{
    const unsigned symbol_bytes = t->section_bytes == 40 ? 16 : 24;
    for (unsigned i = 0; i < t->section_count; i++) {
        if (section_field(t, i, 4, 4, 4) != 2)
            continue;
        const uint64_t symbols = section_field(t, i, 12, 16, 8);
        const uint64_t end = symbols + section_field(t, i, 20, 32, 8);
        const unsigned link = (unsigned)section_field(t, i, 24, 40, 4);
        const uint64_t names = section_field(t, link, 12, 16, 8);
        for (uint64_t s = symbols; s < end && names != 0; s += symbol_bytes)
            if (same((const char *)(names + get(s, 4)), name))
                return symbol_bytes == 16 ? get(s + 4, 4) : get(s + 8, 8);
    }
    return 0;
}

/* An image that its header's address fields place (bit 16) is no ELF file. */
static void check_sections(const struct told *t)
{
    const char *rule = "ELF section headers";
    if ((get((uint64_t)image_start + 4, 4) & 0x10000) != 0)
        test_check(t->sections == 0, "no sections where there is no ELF file", rule);
    else if (test_check(t->sections != 0, "there are sections", rule))
        test_equal(find_symbol(t, "main"), (uint64_t)&main, "main() in the symbols", rule);
}

static void check_told(const struct told *t)
{
    const bool multiboot = !same(t->protocol, "PVH");
    const bool grub2 = same(t->loader, "GRUB 2 (Nadir)");
    const bool named = multiboot && !grub2;
    print("handover: started by %s\n", t->protocol);
    print("handover: the command line is %s\n", t->cmdline);
    for (unsigned i = 0; i < t->modules; i++)
        print("handover: module %u is %s\n", i, t->module[i].string);
    check_loader(grub2);
    test_check(named ? ends_with(t->cmdline, " check=1") : same(t->cmdline, "check=1"),
               "the command line", "command line");
    if (multiboot) {
        test_check(grub2 || same(t->loader, "Nadir"), "the loader's name", "boot loader name");
        test_equal(t->lower_kib, KIB_BASE, "memory below 1 MiB", "mem_lower");
        test_equal(t->upper_kib, (MEMORY >> 10) - 1024, "memory from 1 MiB on", "mem_upper");
        test_check(t->text_screen, "a text screen of 80x25", "framebuffer info");
        check_sections(t);
    }
    if (test_equal(t->modules, 2, "ramdisk and module", "modules")) {
        check_module(t, 0, "first", named ? "first" : "");
        check_module(t, 1, "second", named ? "second a=1 b" : "a=1 b");
    }
    check_map(t);
}

static bool sums_to_0(uint64_t at, unsigned bytes)
{
    uint8_t sum = 0;
    while (bytes-- > 0)
        sum = (uint8_t)(sum + get(at++, 1));
    return sum == 0;
}

/* The address of a structure that begins with these letters and is right, or 0. */
static uint64_t scan(uint64_t from, const char *letters, unsigned count, unsigned bytes)
{
    for (uint64_t at = from; at < 0x100000; at += 16)
        if (memcmp((const void *)at, letters, count) == 0 && sums_to_0(at, bytes))
            return at;
    return 0;
}

/* How many of the entries of an MP configuration table are processors: they come first. */
static unsigned count_cpus(uint64_t table)
{
    unsigned cpus = 0;
    while (cpus < get(table + 34, 2) && get(table + 44 + 20ull * cpus, 1) == 0)
        cpus++;
    return cpus;
}

static void check_tables(const struct told *t)
{
    const uint64_t rsdp = scan(0xe0000, "RSD PTR ", 8, 20);
    if (test_check(rsdp != 0, "an RSDP from 0xe0000 on", "ACPI: finding the RSDP"))
        test_check(sums_to_0(rsdp, 36), "whole", "ACPI: RSDP, extended checksum");
    if (t->rsdp != 0)
        test_check(memcmp((const void *)t->rsdp, (const void *)rsdp, 36) == 0, "the same is told",
                   "ACPI: RSDP");
    const uint64_t mp = scan(0xf0000, "_MP_", 4, 16);
    if (test_check(mp != 0, "an MP floating pointer from 0xf0000 on", "MP Specification")) {
        const uint64_t table = get(mp + 4, 4);
        test_check(get(table, 4) == 0x504d4350 && sums_to_0(table, (unsigned)get(table + 4, 2)),
                   "its table", "MP Specification: configuration table");
        check_fwcfg(MEMORY, count_cpus(table));
    }
    test_equal(get(0x40e, 2) << 4, LOW_END, "the EBDA's segment at 0x40e", BIOS);
    test_equal(get(0x413, 2), KIB_BASE, "base memory at 0x413", BIOS);
}

int main(void)
{
    struct told told = {.protocol = NULL};
    test_begin("handover", "what a boot loader hands over");
    check_state();
    if (told_read(handover.eax, handover.ebx, &told))
        check_told(&told);
    else
        print("handover: started as a flat program\n");
    check_tables(&told);
    return test_end();
}
