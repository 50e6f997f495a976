/* SPDX-License-Identifier: BSD-2-Clause */
/* Enough interrupts for a test that takes seconds; guest/payloads/stormsmp1m has a million. */
#include "guest/lib/test.h"
#include "guest/payloads/tests/stormsmp/stormsmp.h"

int main(void)
{
    test_begin("stormsmp", "no interrupt between CPUs is lost, none comes twice");
    stormsmp(20000);
    return test_end();
}
