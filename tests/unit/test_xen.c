// link: guest/load/xen.c guest/load/xen_notes.c guest/load/xen_tables.c guest/load/linux.c
// link: guest/load/segments.c guest/load/elf.c guest/load/program.c mm/guestmem.c arch/format.c
// link: guest/cpu/guestwalk.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The Xen PV entry: all that is in a domain's memory, for kernels that ask for this and that. */
#include "tests/unit/xen_test.h"

static void test_linux(void **state)
{
    (void)state;
    static uint8_t file[3 * PAGE_SIZE + 5];
    memset(file, 0x3c, sizeof(file));
    linux_like();
    program.file[0] = (struct program_file){file, sizeof(file), "r", ""};
    program.file_count = 1;
    assert_true(xen_recognize(&program));
    program_loads(xen_load);
    check_domain(ENTRY);
    assert_memory_equal(ram + LOAD, elf + 0x1000, IMAGE - 0x1800);
    for (unsigned i = IMAGE - 0x1800; i < IMAGE; i++)
        assert_int_equal(ram[LOAD + i], 0);
    const struct xen_domain *d = &program.xen;
    assert_int_equal(d->start_info.v, LOAD + IMAGE);
    assert_int_equal(d->mapped_bytes, 0x400000);
    assert_int_equal(info_at(48, 4), 8 | 16);
    assert_int_equal(info_at(112, 8), d->mapped_bytes / PAGE_SIZE); /* a frame, not mapped */
    assert_int_equal(info_at(120, 8), sizeof(file));
    assert_memory_equal(ram + d->mapped_bytes, file, sizeof(file));
    assert_int_equal(info_at(104, 8), P2M);
    assert_int_equal(info_at(1152, 8), d->mapped_bytes / PAGE_SIZE + 4);
    assert_int_equal(info_at(1160, 8), P2M_PAGES + 3);
    assert_int_equal(d->p2m_tables.first.v, d->mapped_bytes + (4 + P2M_PAGES) * PAGE_SIZE);
    assert_int_equal(walk(P2M, WALK_READ), d->mapped_bytes + 4 * PAGE_SIZE);
    assert_int_equal(walk(P2M - 1, WALK_READ), NEVER);
    assert_int_equal(walk(P2M + P2M_PAGES * PAGE_SIZE, WALK_READ), NEVER);
    assert_int_equal(d->hypercall_page.v, 0);
}

/* Without ramdisk, and with what an older kernel has: all in one mapping. */
static void test_all_mapped(void **state)
{
    (void)state;
    static uint8_t file[PAGE_SIZE + 1];
    linux_like();
    program_loads(xen_load);
    assert_int_equal(info_at(48, 4), 16);
    assert_int_equal(info_at(112, 8) | info_at(120, 8), 0);
    memset(file, 0x3d, sizeof(file));
    begin(ENTRY, BASE);
    program.file[0] = (struct program_file){file, sizeof(file), "r", ""};
    program.file_count = 1;
    program_loads(xen_load);
    check_domain(ENTRY);
    assert_int_equal(info_at(48, 4), 16);
    assert_int_equal(info_at(112, 8), BASE + LOAD + IMAGE);
    assert_memory_equal(ram + LOAD + IMAGE, file, sizeof(file));
    assert_int_equal(info_at(104, 8), BASE + LOAD + IMAGE + 2 * PAGE_SIZE);
    assert_int_equal(info_at(1152, 8) | info_at(1160, 8), 0);
    assert_int_equal(xen_table_pages(&program.xen.p2m_tables), 0);
}

/* Bases at odd places of a page directory, and a p2m list among the same upper tables. */
static void test_bases(void **state)
{
    (void)state;
    static const struct {
        uint64_t base, p2m;
        uint32_t tables[5]; /* for the list, by level */
    } list[] = {
        {0, P2M, {0, 1, 1, 1, 0}},
        {0, 0x40000000, {0, 1, 1, 0, 0}},
        {0, 0x20000000, {0, 1, 0, 0, 0}},
        {0x1234000, 0x5000000, {0, 1, 0, 0, 0}},
        {0x1234000, 0x1233000 - P2M_PAGES * PAGE_SIZE, {0, 0, 0, 0, 0}},
        {0xffffffff801ff000, 0x7fffffe000 - P2M_PAGES * PAGE_SIZE, {0, 1, 1, 1, 0}},
        {0xffff880000000000, 0xffff890000000000, {0, 1, 1, 1, 0}},
    };
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        const uint64_t base = list[i].base;
        begin(base + LOAD, base);
        add_number(N_P2M, list[i].p2m);
        set_up();
        program_loads(xen_load);
        check_domain(base + LOAD);
        assert_memory_equal(program.xen.p2m_tables.count, list[i].tables, sizeof(list[i].tables));
    }
    begin(BASE + LOAD, BASE); /* over two page tables, and two page directories */
    add_number(N_P2M, 0x40000000 - PAGE_SIZE);
    set_up();
    program_loads(xen_load);
    check_domain(BASE + LOAD);
    assert_int_equal(program.xen.p2m_tables.count[1], 2);
    assert_int_equal(program.xen.p2m_tables.count[2], 2);
    assert_int_equal(program.xen.p2m_tables.count[3], 1);
}

/* p_paddr begins elsewhere. */
static void test_paddr_offset(void **state)
{
    (void)state;
    linux_like();
    add_number(N_OFFSET, 0x7000000);
    set_segments(0x7000000 + LOAD);
    set_up();
    program_loads(xen_load);
    check_domain(ENTRY);
    assert_memory_equal(ram + LOAD, elf + 0x1000, IMAGE - 0x1800);
    set_segments(0x7000000 - 0x1000);
    program_refused(xen_load, ERR_BAD_INPUT, "outside all segments");
    linux_like();
    add_number(N_OFFSET, LOAD + 0x1000);
    set_up();
    elf_set_part(0, (struct elf_part){1, 0x1000, 0, LOAD, 0x1000, 0x100000});
    put(elf + NOTE + 16 + 8 + 16, 8, BASE);
    program_refused(xen_load, ERR_BAD_INPUT,
                    "a segment at 0x100000 lies below PADDR_OFFSET, 0x101000");
}

/* Code for each hypercall, which ends where the kernel's begins again. */
static void test_hypercall_page(void **state)
{
    (void)state;
    static const uint8_t first[] = {0x51, 0x41, 0x53, 0xb8, 0,    0,    0, 0,
                                    0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3, 0};
    static const uint8_t iret[] = {0x51, 0x41, 0x53, 0x50, 0xb8, 23, 0, 0, 0, 0x0f, 0x05, 0};
    for (uint64_t at = LOAD; at < LOAD + IMAGE; at += PAGE_SIZE) {
        linux_like();
        add_number(N_HYPERCALL, BASE + at);
        set_up();
        program_loads(xen_load);
        assert_int_equal(program.xen.hypercall_page.v, at);
        assert_memory_equal(ram + at, first, sizeof(first));
        for (unsigned i = 0; i < 128; i++)
            assert_int_equal(get(ram + at + 32 * i + (i == 23 ? 5 : 4), 4), i);
        assert_memory_equal(ram + at + 23 * 32, iret, sizeof(iret));
        check_domain(ENTRY);
    }
    const uint64_t wrong[] = {
        BASE + LOAD - PAGE_SIZE,     BASE + LOAD + IMAGE, BASE + LOAD + 0x800, 0, LOAD,
        BASE + LOAD + PAGE_SIZE - 1, NEVER - 0xfff};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        linux_like();
        add_number(N_HYPERCALL, wrong[i]);
        set_up();
        program_refused(xen_load, ERR_BAD_INPUT, "is no page within a segment");
    }
}

/* One page directory for all: the mapping may end where it ends, and where addresses do. */
static unsigned portions;

static void count_portion(void)
{
    portions++;
}

/* Long work stops for others: once for each 64 KiB, and each page table. */
static void test_portions(void **state)
{
    (void)state;
    static uint8_t big[0x200000];
    linux_like();
    program.file[0] = (struct program_file){big, sizeof(big), "r", ""};
    program.file_count = 1;
    program.between = count_portion;
    portions = 0;
    program_loads(xen_load);
    assert_in_range(portions, sizeof(big) / 0x10000 + 2 * 2 + P2M_PAGES / 16, 100);
}

/* The strings that came before notes; `text` is the section's contents. */
static void old_style(const char *text, uint32_t bytes)
{
    static const char names[] = "\0.x\0__xen_guest\0__xen_guestx";
    elf_begin(true, LOAD + 0x10, 1);
    elf_set_part(0, (struct elf_part){1, 0x1000, 0, LOAD, IMAGE - 0x1800, IMAGE});
    memcpy(elf + 0x2800, text, bytes);
    memcpy(elf + 0x2a00, names, sizeof(names));
    const struct elf_section list[] = {
        {1, 0, 0, 0x2c00, 8}, {1, 0, 0, 0x2800, bytes}, {3, 0, 0, 0x2a00, sizeof(names)}};
    elf_set_sections(0x2b00, list, 3);
    put(elf + 0x2b40, 4, 16);
    put(elf + 0x2b80, 4, 4);
    put(elf + 0x2bc0, 4, 1);
    set_up();
}

static void test_old_style(void **state)
{
    (void)state;
    static const char mini[] =
        "GUEST_OS=Mini-OS,XEN_VER=xen-3.0,VIRT_BASE=0x0,ELF_PADDR_OFFSET=0x0,"
        "HYPERCALL_PAGE=0x101,LOADER=generic";
    old_style(mini, sizeof(mini));
    assert_true(xen_recognize(&program));
    program_loads(xen_load);
    check_domain(LOAD + 0x10); /* the header's entry */
    assert_int_equal(program.xen.hypercall_page.v, 0x101000);
    old_style(mini, sizeof(mini) - 1); /* without the 0 behind it */
    program_loads(xen_load);
    static const char far[] = "VIRT_ENTRY=18446744071563116544,VIRT_BASE=0xffffffff80000000,"
                              "ELF_PADDR_OFFSET=0,XEN_VER=xen-3.0\0VIRT_BASE=x";
    old_style(far, sizeof(far));
    program_loads(xen_load);
    check_domain(BASE + LOAD);
    static const char no_offset[] = "VIRT_BASE=0x100000"; /* p_paddr are virtual, then */
    old_style(no_offset, sizeof(no_offset));
    program_loads(xen_load);
    assert_int_equal(program.xen.virt_base, LOAD);
    assert_memory_equal(ram, elf + 0x1000, 0x100);
    static const char *const wrong[] = {"VIRT_BASE=",
                                        "VIRT_BASE=0x",
                                        "VIRT_BASE=1g",
                                        "VIRT_ENTRY=0xg",
                                        "VIRT_BASE=18446744073709551616",
                                        "ELF_PADDR_OFFSET=-1",
                                        "HYPERCALL_PAGE=0x10000000000000",
                                        "HYPERCALL_PAGE=z"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        old_style(wrong[i], (uint32_t)strlen(wrong[i]) + 1);
        program_refused(xen_load, ERR_BAD_INPUT, "has a number that is none");
    }
    old_style("XEN_VER=xen-3", 14);
    program_refused(xen_load, ERR_UNSUPPORTED, "another version");
    old_style("XEN_VER=xen-3.0x", 17);
    program_refused(xen_load, ERR_UNSUPPORTED, "another version");
    old_style(mini, sizeof(mini));
    elf[0x2a0e] = 'T';
    assert_false(xen_recognize(&program));
    old_style(mini, sizeof(mini));
    put(elf + 0x2b80 + 24, 8, ELF_BYTES - 3); /* outside the file */
    assert_false(xen_recognize(&program));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linux),          cmocka_unit_test(test_all_mapped),
        cmocka_unit_test(test_bases),          cmocka_unit_test(test_paddr_offset),
        cmocka_unit_test(test_hypercall_page), cmocka_unit_test(test_portions),
        cmocka_unit_test(test_old_style),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
