/* SPDX-License-Identifier: BSD-2-Clause */
/* A million interrupts, in a minute or two: run by hand. */
#include "guest/payloads/tests/storm/storm.c"

int main(void)
{
    test_begin("storm1m", "no interrupt of a million is lost, none comes twice");
    apic_enable(false);
    storm("xAPIC", 500000);
    if (apic_enable(true))
        storm("x2APIC", 500000);
    return test_end();
}
