/* SPDX-License-Identifier: BSD-2-Clause */
/* Enough interrupts for a test that takes seconds; guest/payloads/storm1m has a million. */
#include "guest/lib/apic.h"
#include "guest/lib/test.h"
#include "guest/payloads/tests/storm/storm.h"

#define INTERRUPTS 20000u /* in each mode of the local APIC */

int main(void)
{
    test_begin("storm", "no interrupt is lost, none comes twice");
    apic_enable(false);
    storm("xAPIC", INTERRUPTS);
    if (apic_enable(true))
        storm("x2APIC", INTERRUPTS);
    return test_end();
}
