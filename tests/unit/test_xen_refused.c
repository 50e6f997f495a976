// link: guest/load/xen.c guest/load/xen_notes.c guest/load/xen_tables.c guest/load/linux.c
// link: guest/load/segments.c guest/load/elf.c guest/load/program.c mm/guestmem.c arch/format.c
// link: guest/cpu/guestwalk.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Xen PV kernels that ask for what cannot be, up to the boundary; each refusal with its sentence.
 */
#include "tests/unit/xen_test.h"

#include <stdio.h>

static void test_notes(void **state)
{
    (void)state;
    for (uint32_t type = N_ENTRY; type <= N_BY_PFN; type++) { /* numbers of other lengths */
        if (type == N_VERSION || (type > N_VERSION && type < N_P2M))
            continue;
        for (uint32_t bytes = 0; bytes <= 9; bytes += 3) {
            char text[40];
            elf_begin(true, 0, 2);
            notes_bytes = 0;
            set_segments(LOAD);
            add_note(type, "\0\0\0\0\0\0\0\0", bytes);
            if (type != N_ENTRY)
                add_number(N_ENTRY, LOAD);
            set_up();
            snprintf(text, sizeof(text), "the note Xen, %u has %u bytes", type, bytes);
            program_refused(xen_load, ERR_BAD_INPUT, text);
        }
    }
    for (uint32_t cut = 1; cut <= 20; cut++) { /* the last one, BY_PFN, of 4 bytes */
        linux_like();
        put(elf_part_at(1) + 32, 8, notes_bytes - cut);
        if (cut > 8) /* what is left of it is less than a note, as padding is */
            program_loads(xen_load);
        else
            program_refused(xen_load, ERR_BAD_INPUT, "notes are cut short");
    }
    linux_like(); /* the first one: nothing is found behind it */
    put(elf + NOTE + 4, 4, 0xfffffff0);
    assert_false(xen_recognize(&program));
    program_refused(xen_load, ERR_BAD_INPUT, "notes are cut short");
    linux_like(); /* a segment of notes outside the file */
    put(elf + 56, 2, 3);
    elf_set_part(2, (struct elf_part){4, ELF_BYTES - 8, 0, 0, 9, 9});
    program_refused(xen_load, ERR_BAD_INPUT, "notes are cut short");
    for (unsigned i = 0; i < 3; i++) {
        static const struct {
            const char *text;
            uint32_t bytes;
        } wrong[] = {{"xen-4.0", 8}, {"xen-3.0", 7}, {"xen-3.0x", 9}};
        linux_like();
        notes_bytes = 0;
        add_note(N_VERSION, wrong[i].text, wrong[i].bytes);
        add_number(N_ENTRY, ENTRY);
        program_refused(xen_load, ERR_UNSUPPORTED, "another version of Xen's interface");
    }
}

static void test_kinds_of_files(void **state)
{
    (void)state;
    static uint8_t bzimage[0x2000];
    elf_begin(false, 0, 2);
    notes_bytes = 0;
    set_segments(LOAD);
    put(elf_part_at(1) + 4, 4, NOTE);
    put(elf_part_at(1) + 16, 4, 24);
    put(elf_part_at(1) + 0, 4, 4);
    const uint32_t entry = LOAD;
    uint8_t *n = elf + NOTE;
    put(n, 4, 4);
    put(n + 4, 4, 4);
    put(n + 8, 4, N_ENTRY);
    memcpy(n + 12, "Xen", 4);
    memcpy(n + 16, &entry, 4);
    set_up();
    assert_true(xen_recognize(&program));
    program_refused(xen_load, ERR_UNSUPPORTED, "a Xen PV kernel of 32 bits");
    elf_begin(true, 0, 1);
    set_up();
    assert_false(xen_recognize(&program));
    program_refused(xen_load, ERR_BAD_INPUT, "no Xen PV entry (note Xen, 1)");
    elf[0] = 0;
    program_refused(xen_load, ERR_BAD_INPUT, "not an ELF file, nor a bzImage: engine = pv");
    put(bzimage + 0x1fe, 2, 0xaa55);
    memcpy(bzimage + 0x202, "HdrS", 4);
    program.kernel = (struct program_file){bzimage, sizeof(bzimage), "k", ""};
    program_refused(xen_load, ERR_BAD_INPUT, "tools/nadir takes out");
}

static void test_wrong_addresses(void **state)
{
    (void)state;
    const uint64_t bytes = P2M_PAGES * PAGE_SIZE;
    const struct {
        uint64_t entry, base, p2m;
        const char *text; /* NULL: it is fine */
    } list[] = {
        {BASE + LOAD - 1, BASE, P2M, "the entry 0xffffffff800fffff is outside all segments"},
        {BASE + LOAD + IMAGE, BASE, P2M, "outside all segments"},
        {BASE + LOAD + IMAGE - 1, BASE, P2M, NULL},
        {BASE + LOAD, BASE, P2M, NULL},
        {LOAD, BASE, P2M, "outside all segments"},
        {ENTRY, BASE + 1, P2M, "VIRT_BASE, 0xffffffff80000001, is not the start of a page"},
        {ENTRY, 0x800000000000, P2M, "VIRT_BASE, 0x800000000000, is no canonical address"},
        {ENTRY, 0xffff7ffffffff000, P2M, "no canonical"},
        {ENTRY, 0xffff800000000000, P2M, "lies where Xen keeps itself"},
        {ENTRY, 0xffff87fffffff000, P2M, "lies where Xen keeps itself"},
        {ENTRY, BASE, P2M + 8, "INIT_P2M, 0x8000000008, is not the start"},
        {ENTRY, BASE, 0xffff800000000000, "INIT_P2M, 0xffff800000000000, lies where Xen"},
        {ENTRY, BASE, 0xffff87fffffff000, "lies where Xen"},
        {ENTRY, BASE, 0xffff880000000000, NULL},
        {ENTRY, BASE, 0x800000000000 - bytes, NULL},
        {ENTRY, BASE, 0x800000000000 - bytes + PAGE_SIZE, "no canonical address"},
        {ENTRY, BASE, 0xffff7ffffffff000, "no canonical address"},
        {ENTRY, BASE, 0x800000000000, "no canonical address"},
        {ENTRY, BASE, 0 - bytes, NULL},
        {ENTRY, BASE, 0 - bytes + PAGE_SIZE, "no canonical address"},
        {ENTRY, BASE, BASE, "lies over what is mapped at VIRT_BASE"},
        {ENTRY, BASE, BASE + 0x400000 - PAGE_SIZE, "lies over what is mapped"},
        {ENTRY, BASE, BASE + 0x400000, NULL},
        {ENTRY, BASE, BASE - bytes, NULL},
        {ENTRY, BASE, BASE - bytes + PAGE_SIZE, "lies over what is mapped"},
    };
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        begin(list[i].entry, list[i].base);
        add_number(N_P2M, list[i].p2m);
        set_up();
        if (list[i].text != NULL) {
            program_refused(xen_load, ERR_BAD_INPUT, list[i].text);
            continue;
        }
        program_loads(xen_load);
        check_state(list[i].entry);
        check_p2m(FRAMES);
    }
}

static void test_window(void **state)
{
    (void)state;
    const uint64_t top = 0 - 0x400000ull, directory = 0x40000000 - 0x400000;
    begin(top + LOAD, top);
    program_loads(xen_load);
    check_domain(top + LOAD);
    begin(directory + LOAD, directory);
    program_loads(xen_load);
    check_domain(directory + LOAD);
    begin(directory + PAGE_SIZE + LOAD, directory + PAGE_SIZE);
    program_loads(xen_load);
    begin(top + 0x300000 + LOAD, top + 0x300000);
    program_refused(xen_load, ERR_BAD_INPUT, "does not fit behind VIRT_BASE, 0xffffffffff");
    begin(top + 0x2f0000 + LOAD, top + 0x2f0000);
    program_refused(xen_load, ERR_BAD_INPUT,
                    "the kernel with ramdisk and page tables does not fit behind VIRT_BASE");
    linux_like(); /* so large that it would wrap */
    elf_set_part(0, (struct elf_part){1, 0x1000, 0, LOAD, 16, 0x40000000 - LOAD + 1});
    program_refused(xen_load, ERR_BAD_INPUT, "the kernel does not fit behind VIRT_BASE");
    elf_set_part(0, (struct elf_part){1, 0x1000, 0, LOAD, 16, NEVER - LOAD});
    program_refused(xen_load, ERR_BAD_INPUT, "the kernel does not fit behind VIRT_BASE");
    elf_set_part(0, (struct elf_part){1, 0x1000, 0, LOAD, 16, 0x40000000 - LOAD});
    program_refused(xen_load, ERR_NO_MEMORY, "does not fit into 64 MiB");
}

static void test_memory(void **state)
{
    (void)state;
    static uint8_t big[MEMORY];
    linux_like(); /* what is mapped, and the list */
    give_memory(0x405000);
    program_refused(xen_load, ERR_NO_MEMORY, "a page table, 4 KiB, does not fit into 4 MiB");
    give_memory(0x406000);
    program_loads(xen_load);
    check_info(0x406);
    check_p2m(0x406);
    give_memory(0x400000 - PAGE_SIZE);
    program_refused(xen_load, ERR_NO_MEMORY, "the room that is mapped behind the kernel");
    give_memory(LOAD + IMAGE);
    program_refused(xen_load, ERR_NO_MEMORY, "start_info, 4 KiB, does not fit into 1 MiB");
    give_memory(LOAD + IMAGE - 1);
    program_refused(xen_load, ERR_NO_MEMORY, "a segment");
    linux_like();
    program.file[0] = (struct program_file){big, MEMORY - 0x400000 + 1, "r", ""};
    program.file_count = 1;
    program_refused(xen_load, ERR_NO_MEMORY, "the ramdisk r, 61441 KiB, does not fit into 64 MiB");
    program.file[0].size -= (P2M_PAGES + 3) * PAGE_SIZE + 1;
    program_loads(xen_load);
    program.file[0].size++;
    program_refused(xen_load, ERR_NO_MEMORY, "a page table");
    begin(ENTRY, BASE);
    program.file[0] = (struct program_file){big, MEMORY - LOAD - IMAGE + 1, "r", ""};
    program.file_count = 1;
    program_refused(xen_load, ERR_NO_MEMORY, "the ramdisk");
    linux_like(); /* no page for shared_info */
    mem.count--;
    program_refused(xen_load, ERR_NO_MEMORY, "shared_info");
}

static void test_shared_info_place(void **state)
{
    (void)state;
    assert_int_equal(xen_shared_info_at(MEMORY).v, MEMORY);
    assert_int_equal(xen_shared_info_at(MEMORY + 1).v, MEMORY + 0x200000);
    assert_int_equal(xen_shared_info_at(17 << 20).v, 18 << 20);
}

static void test_command_line(void **state)
{
    (void)state;
    static char line[1025];
    memset(line, 'x', 1023);
    linux_like();
    program.cmdline = line;
    program_loads(xen_load);
    check_info(FRAMES);
    line[1023] = 'x';
    program_refused(xen_load, ERR_BAD_INPUT, "1023 characters at most");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notes),           cmocka_unit_test(test_kinds_of_files),
        cmocka_unit_test(test_wrong_addresses), cmocka_unit_test(test_window),
        cmocka_unit_test(test_memory),          cmocka_unit_test(test_shared_info_place),
        cmocka_unit_test(test_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
