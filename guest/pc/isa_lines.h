/* SPDX-License-Identifier: BSD-2-Clause */
/* The ISA interrupt lines of the virtual PC, once: which IO-APIC pin each leads to, and how it is
 * triggered. The wiring itself, the ACPI MADT, the MP table and the 8259s' ELCR are all made of it,
 * so that they agree on each line. The DSDT, which is another language, offers PCI the same two
 * lines: tests/system/test_build.py compares. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    ISA_TIMER = 0,
    ISA_CASCADE = 2, /* the second 8259's: no device's, and its pin is the timer's */
    ISA_SCI = 9,
    ISA_PCI_FIRST = 10, /* where PIRQA and PIRQB lead to; C and D to the next */
    ISA_PCI_SECOND = 11,
    ISA_LINES = 16,
};

#define ISA_LEVEL_LINES (1u << ISA_SCI | 1u << ISA_PCI_FIRST | 1u << ISA_PCI_SECOND)

/* All level-triggered ones are active high, as the wires are. */
static inline bool isa_line_is_level(unsigned irq)
{
    return (ISA_LEVEL_LINES >> irq & 1) != 0;
}

static inline unsigned isa_line_pin(unsigned irq)
{
    return irq == ISA_TIMER ? 2 : irq;
}

/* Whether the MADT has to tell of it: what is neither level nor elsewhere is as ISA has it. */
static inline bool isa_line_is_override(unsigned irq)
{
    return isa_line_is_level(irq) || isa_line_pin(irq) != irq;
}

#define ISA_OVERRIDES 4 /* the timer, and the level-triggered ones */
_Static_assert(__builtin_popcount(ISA_LEVEL_LINES) + 1 == ISA_OVERRIDES, "as counted");
