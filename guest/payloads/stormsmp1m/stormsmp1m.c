/* SPDX-License-Identifier: BSD-2-Clause */
/* A million interrupts, in a minute or two: run by hand. */
#include "guest/payloads/tests/stormsmp/stormsmp.c"

int main(void)
{
    test_begin("stormsmp1m", "no interrupt of a million between CPUs is lost, none comes twice");
    stormsmp(500000);
    return test_end();
}
