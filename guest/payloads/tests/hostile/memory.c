/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory where nothing is: reads are all ones, writes are dropped, in every width. */
#include "guest/lib/cpu.h"
#include "guest/lib/test.h"
#include "hostile.h"

#include <stddef.h>

#define TABLE_GONE 0x40000000ull

static const char RULE[] = "unclaimed memory";

static void check_hole(uint64_t address, const char *what)
{
    volatile uint8_t *p1 = (volatile uint8_t *)address;
    volatile uint16_t *p2 = (volatile uint16_t *)address;
    volatile uint32_t *p4 = (volatile uint32_t *)address;
    volatile uint64_t *p8 = (volatile uint64_t *)address;

    test_equal(*p1, 0xff, what, RULE);
    test_equal(*p2, 0xffff, what, RULE);
    test_equal(*p4, 0xffffffff, what, RULE);
    test_equal(*p8, ~0ull, what, RULE);
    *p1 = 0x12;
    *p2 = 0x1234;
    *p4 = 0x12345678;
    *p8 = 0x123456789abcdef0;
    test_equal(*p8, ~0ull, what, "writes are dropped");
}

extern uint64_t page_tables[];

static void read_at(void *address)
{
    (void)*(volatile uint8_t *)address;
}

/* A page table where nothing is has entries of all ones. */
static void check_page_table(void)
{
    uint64_t *entry = &page_tables[2 * 512 + TABLE_GONE / 0x200000], old = *entry;
    *entry = 0xd0000000 | 7;
    write_cr3(read_cr3());
    test_fault(probe_call(read_at, (void *)TABLE_GONE), (struct probe){VECTOR_PF, 9},
               "a page table there: #PF for its reserved bits", RULE);
    *entry = old;
    write_cr3(read_cr3());
}

/* INT3 with a stack elsewhere; returns what it finds of its frame, the address behind INT3. */
uint64_t int3_on_stack(uint64_t top);
void int3_entry(void);
__asm__("int3_on_stack:\n"
        "    mov %rsp, %rcx\n"
        "    mov %rdi, %rsp\n"
        "    int3\n"
        "int3_entry:\n"
        "    mov (%rsp), %rax\n"
        "    mov %rcx, %rsp\n"
        "    ret\n");

static void check_stack(void)
{
    const uint64_t old[2] = {trap_gate(VECTOR_BP)[0], trap_gate(VECTOR_BP)[1]};
    trap_set_gate(VECTOR_BP, int3_entry);
    test_equal(int3_on_stack(0xd0000800), ~0ull, "INT3 with its stack there: the frame is lost",
               RULE);
    if (test_only(TEST_VM))
        test_equal(int3_on_stack(0xff000800), (uint64_t)int3_entry,
                   "INT3 on the test device's memory", "as on RAM");
    test_both();
    trap_gate(VECTOR_BP)[0] = old[0];
    trap_gate(VECTOR_BP)[1] = old[1];
}

void check_memory(void)
{
    check_hole(0xd0000000, "0xd0000000");
    check_hole(0xcffffffc, "across two pages, 0xcffffffc");
    check_hole(0xfeb00000, "between the chips, 0xfeb00000");
    check_page_table();
    check_stack();
}
