/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory where nothing is: reads are all ones, writes are dropped, in every width. */
#include "guest/lib/test.h"
#include "hostile.h"

#include <stddef.h>

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

void check_memory(void)
{
    check_hole(0xd0000000, "0xd0000000");
    check_hole(0xcffffffc, "across two pages, 0xcffffffc");
    check_hole(0xfeb00000, "between the chips, 0xfeb00000");
}
