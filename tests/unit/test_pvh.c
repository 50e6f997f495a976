// link: guest/load/pvh.c guest/load/segments.c guest/load/elf.c guest/load/program.c mm/guestmem.c
// link: arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The PVH entry: notes of every length, and struct hvm_start_info. */
#include "tests/unit/elf_build.h"

#include "guest/load/elf.h"
#include "guest/load/pvh.h"

#define LOAD 0x1000000u
#define NOTE 0x2000u

static uint32_t notes_bytes;

static void add_note(const char *name, uint32_t type, uint64_t data, uint32_t bytes)
{
    uint8_t *n = elf + NOTE + notes_bytes;
    const uint32_t name_bytes = (uint32_t)strlen(name) + 1;
    put(n, 4, name_bytes);
    put(n + 4, 4, bytes);
    put(n + 8, 4, type);
    strcpy((char *)n + 12, name);
    put(n + 12 + ((name_bytes + 3) & ~3u), 8, data);
    notes_bytes += 12 + ((name_bytes + 3) & ~3u) + ((bytes + 3) & ~3u);
}

/* Linux-like: virtual addresses far up, notes of others before the one that counts. */
static void make(bool is64, uint64_t entry, uint32_t entry_bytes)
{
    elf_begin(is64, LOAD, 2);
    notes_bytes = 0;
    add_note("GNU", 3, 0x12345678, 5);
    add_note("Xen", 6, 0, 0);
    add_note("Xenon", 18, 7, 4);
    add_note("Xen", 18, entry, entry_bytes);
    elf_set_part(0, (struct elf_part){1, 0x1000, 0x81000000, LOAD, 0x800, 0x2000});
    elf_set_part(1, (struct elf_part){4, NOTE, 0, 0, notes_bytes, notes_bytes});
    program_set_up(elf, sizeof(elf));
}

static void test_start_info(void **state)
{
    (void)state;
    static uint8_t file[3000] = {1, 2, 3};
    make(true, LOAD + 0x123, 8);
    program.file[0] = (struct program_file){file, sizeof(file), "a", ""};
    program.file[1] = (struct program_file){file, 77, "b", "more"};
    program.file_count = 2;
    assert_true(pvh_recognize(&program));
    program_loads(pvh_load);
    is_flat_protected_mode();
    assert_int_equal(boot.rip, LOAD + 0x123);
    assert_memory_equal(ram + LOAD, elf + 0x1000, 0x800);
    const uint8_t *info = ram + boot.rbx;
    assert_int_equal(get(info, 4), 0x336ec578);
    assert_int_equal(get(info + 4, 4), 1);
    assert_int_equal(get(info + 8, 4), 0);
    assert_int_equal(get(info + 12, 4), 2);
    const uint8_t *m = ram + get(info + 16, 8);
    assert_int_equal(get(m, 8), LOAD + 0x2000);
    assert_int_equal(get(m + 8, 8), sizeof(file));
    assert_string_equal((const char *)ram + get(m + 16, 8), "");
    assert_int_equal(get(m + 32, 8), LOAD + 0x3000);
    assert_int_equal(get(m + 40, 8), 77);
    assert_string_equal((const char *)ram + get(m + 48, 8), "more");
    assert_memory_equal(ram + LOAD + 0x2000, file, sizeof(file));
    assert_string_equal((const char *)ram + get(info + 24, 8), "one two");
    assert_int_equal(get(info + 32, 8), RSDP);
    assert_int_equal(get(info + 48, 4), 4);
    const uint8_t *last = ram + get(info + 40, 8) + 3 * 24;
    assert_int_equal(get(last, 8), 0x100000);
    assert_int_equal(get(last + 8, 8), MEMORY - 0x100000);
    assert_int_equal(get(last + 16, 8), 1);
}

static void test_notes(void **state)
{
    (void)state;
    make(false, LOAD + 4, 4);
    program_loads(pvh_load);
    assert_int_equal(boot.rip, LOAD + 4);
    make(false, LOAD, 2);
    program_refused(pvh_load, ERR_BAD_INPUT, "has 2 bytes");
    make(false, LOAD - 1, 4);
    program_refused(pvh_load, ERR_BAD_INPUT, "entry");
    make(true, LOAD + (1ull << 32), 8);
    program_refused(pvh_load, ERR_BAD_INPUT, "entry");
    for (uint32_t cut = 1; cut <= 20; cut++) { /* a segment that ends within the note */
        make(false, LOAD, 4);
        elf_set_part(1, (struct elf_part){4, NOTE, 0, 0, notes_bytes - cut, notes_bytes});
        assert_false(pvh_recognize(&program));
        program_refused(pvh_load, ERR_BAD_INPUT, "no PVH entry");
    }
    for (unsigned field = 0; field < 2; field++) { /* lengths that wrap */
        make(false, LOAD, 4);
        put(elf + NOTE + 4 * field, 4, 0xffffffff);
        program_refused(pvh_load, ERR_BAD_INPUT, "no PVH entry");
        put(elf + NOTE + 4 * field, 4, 0xfffffffc);
        program_refused(pvh_load, ERR_BAD_INPUT, "no PVH entry");
    }
    make(false, LOAD, 4); /* a segment of notes outside the file */
    elf_set_part(1, (struct elf_part){4, ELF_BYTES - 8, 0, 0, 9, 9});
    program_refused(pvh_load, ERR_BAD_INPUT, "no PVH entry");
    elf[0] = 0;
    assert_false(pvh_recognize(&program));
    program_refused(pvh_load, ERR_BAD_INPUT, "not an ELF file");
}

static void test_too_much(void **state)
{
    (void)state;
    static char line[70000];
    static uint8_t big[MEMORY];
    memset(line, 'x', sizeof(line) - 1);
    make(true, LOAD, 8);
    program.cmdline = line;
    program_refused(pvh_load, ERR_BAD_INPUT, "too long");
    make(true, LOAD, 8);
    program.file[0] = (struct program_file){big, MEMORY - LOAD - 0x2000 + 1, "big", ""};
    program.file_count = 1;
    program_refused(pvh_load, ERR_NO_MEMORY, "do not fit beside the kernel");
}

/* Segments that each name half of the file, before the one with the entry: all of it is searched
 * once, and no more. */
static void test_notes_that_overlap(void **state)
{
    (void)state;
    for (unsigned halves = 0; halves <= 2; halves++) {
        uint32_t bytes;
        make(false, LOAD, 4);
        put(elf + 44, 2, 4); /* as many program headers */
        for (unsigned i = 1; i <= halves; i++)
            elf_set_part(i, (struct elf_part){4, 0x800, 0, 0, ELF_BYTES / 2, 0});
        elf_set_part(3, (struct elf_part){4, NOTE, 0, 0, notes_bytes, notes_bytes});
        const bool found = elf_note(&program.kernel, "Xen", 18, &bytes) != NULL;
        assert_int_equal(found, halves < 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_info),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_notes_that_overlap),
        cmocka_unit_test(test_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
