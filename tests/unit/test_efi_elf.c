// SPDX-License-Identifier: BSD-2-Clause
// link: boot/efi_elf.c
/* The hypervisor's ELF file as the loader measures it, and the page tables of its first moments. */
#include "arch/addr.h"
#include "arch/x86.h"
#include "boot/efi_elf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LINK  0xffff878000200000ull
#define TABLE 0x7000000ull /* where the tables are said to stand */
#define IMAGE 0x200000ull

struct file {
    Elf64_Ehdr header;
    Elf64_Phdr segment[3];
    uint8_t content[64];
};

static struct file sound(void)
{
    struct file f = {
        .header = {.e_type = ET_EXEC,
                   .e_machine = EM_X86_64,
                   .e_entry = LINK + 0x10,
                   .e_phoff = offsetof(struct file, segment),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 3},
        .segment = {{.p_type = PT_LOAD,
                     .p_offset = offsetof(struct file, content),
                     .p_vaddr = LINK,
                     .p_filesz = 64,
                     .p_memsz = 64},
                    {.p_type = PT_NOTE, .p_vaddr = 5, .p_memsz = 1},
                    {.p_type = PT_LOAD,
                     .p_offset = offsetof(struct file, content),
                     .p_vaddr = LINK + 0x300000,
                     .p_filesz = 16,
                     .p_memsz = 0x1234}},
    };
    memcpy(f.header.e_ident, ELFMAG, SELFMAG);
    f.header.e_ident[EI_CLASS] = ELFCLASS64;
    f.header.e_ident[EI_DATA] = ELFDATA2LSB;
    return f;
}

/* In memory of exactly its size, so that the sanitizer sees a look behind its end. */
static bool measure(const struct file *f, size_t size, struct elf_span *span)
{
    void *copy = malloc(size);
    memcpy(copy, f, size);
    const bool good = elf_measure(copy, size, span);
    free(copy);
    return good;
}

static void test_measure(void **state)
{
    (void)state;
    struct elf_span span;
    const struct file f = sound();
    assert_true(measure(&f, sizeof(f), &span));
    assert_int_equal(span.low, LINK);
    assert_int_equal(span.high, LINK + 0x301234);
    assert_int_equal(span.entry, LINK + 0x10);
    assert_int_equal(elf_segment(&f, 2)->p_memsz, 0x1234);
    assert_null(elf_segment(&f, 3));
}

static void test_cut(void **state)
{
    (void)state;
    struct elf_span span;
    const struct file f = sound();
    for (size_t size = 1; size < sizeof(f); size++)
        assert_false(measure(&f, size, &span));
}

#define DAMAGED(statement)                           \
    do {                                             \
        struct elf_span span;                        \
        struct file f = sound();                     \
        statement;                                   \
        assert_false(measure(&f, sizeof(f), &span)); \
    } while (0)

static void test_damaged(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SELFMAG; i++)
        DAMAGED(f.header.e_ident[i]++);
    DAMAGED(f.header.e_ident[EI_CLASS] = ELFCLASS32);
    DAMAGED(f.header.e_ident[EI_DATA] = ELFDATA2MSB);
    DAMAGED(f.header.e_machine = EM_386);
    DAMAGED(f.header.e_type = ET_DYN);
    DAMAGED(f.header.e_phentsize--);
    DAMAGED(f.header.e_phoff++);
    DAMAGED(f.header.e_phoff = ~7ull);
    DAMAGED(f.header.e_phnum = 0xffff);
    DAMAGED(f.header.e_phnum = 0);
    DAMAGED(f.header.e_entry = LINK - 1);
    DAMAGED(f.header.e_entry = LINK + 0x301234);
    DAMAGED(f.segment[2].p_offset = sizeof(struct file) + 1);
    DAMAGED(f.segment[2].p_offset = ~0ull);
    DAMAGED(f.segment[2].p_filesz = f.segment[2].p_memsz + 1);
    DAMAGED(f.segment[2].p_memsz = ~0ull);
    DAMAGED(f.segment[0].p_vaddr += PAGE_SIZE; f.header.e_entry += PAGE_SIZE);
    DAMAGED(f.segment[0].p_vaddr = 0x200000; f.header.e_entry = 0x200000);
    DAMAGED(f.segment[2].p_vaddr = LINK + PAGE_SIZE_1G); /* beyond its gigabyte */
}

/* What the tables say of an address: the 2 MiB page, or ~0. */
static uint64_t walk(const uint64_t *tables, size_t pages, uint64_t address)
{
    uint64_t entry = TABLE | PTE_P;
    for (int shift = 39; shift >= 21; shift -= 9) {
        const uint64_t page = ((entry & ~0xfffull) - TABLE) / PAGE_SIZE;
        assert_true(page < pages);
        entry = tables[page * 512 + (address >> shift & 511)];
        if ((entry & PTE_P) == 0)
            return ~0ull;
        assert_true((entry & PTE_W) != 0);
        assert_int_equal((entry & PTE_PS) != 0, shift == 21);
    }
    return entry & ~0x1fffffull;
}

static void test_tables(void **state)
{
    (void)state;
    const uint64_t gib = PAGE_SIZE_1G, ends[] = {1, 4 * gib, 4 * gib + 1, 513 * gib};
    const uint64_t mapped[] = {4 * gib, 4 * gib, 4 * gib + PAGE_SIZE_2M, 513 * gib};
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t screen = 900 * gib + 0x1000;
        const struct boot_map map = {ends[i], screen, 0x201000, LINK, IMAGE, 0x301234};
        const size_t pages = boot_tables_pages(&map);
        uint64_t *tables = calloc(pages, PAGE_SIZE);
        boot_tables_fill(tables, TABLE, &map);
        for (uint64_t at = 0; at < mapped[i]; at += PAGE_SIZE_2M)
            assert_int_equal(walk(tables, pages, at), at);
        assert_int_equal(walk(tables, pages, mapped[i]), ~0ull);
        assert_int_equal(walk(tables, pages, screen), 900 * gib);
        assert_int_equal(walk(tables, pages, screen + PAGE_SIZE_2M), 900 * gib + PAGE_SIZE_2M);
        assert_int_equal(walk(tables, pages, screen + 2 * PAGE_SIZE_2M), ~0ull);
        assert_int_equal(walk(tables, pages, LINK), IMAGE);
        assert_int_equal(walk(tables, pages, LINK + PAGE_SIZE_2M), IMAGE + PAGE_SIZE_2M);
        assert_int_equal(walk(tables, pages, LINK + 2 * PAGE_SIZE_2M), ~0ull);
        assert_int_equal(walk(tables, pages, LINK - 1), ~0ull);
        free(tables);
    }
    const struct boot_map most = {.ram_end = 1ull << 47}, more = {.ram_end = (1ull << 47) + 1};
    assert_true(boot_tables_pages(&most) > 1ull << 17);
    assert_int_equal(boot_tables_pages(&more), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measure),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
