/* SPDX-License-Identifier: BSD-2-Clause */
/* The interrupt controllers and timers of a PC as a payload uses them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define APIC_BASE_ADDRESS 0xfee00000u
#define IOAPIC_ADDRESS    0xfec00000u

/* Register offsets of the local APIC; in x2APIC mode the MSR is 0x800 + offset / 16. */
enum apic_register {
    APIC_ID = 0x20,
    APIC_VERSION = 0x30,
    APIC_TPR = 0x80,
    APIC_PPR = 0xa0,
    APIC_EOI = 0xb0,
    APIC_LDR = 0xd0,
    APIC_DFR = 0xe0,
    APIC_SVR = 0xf0,
    APIC_ISR = 0x100,
    APIC_TMR = 0x180,
    APIC_IRR = 0x200,
    APIC_ESR = 0x280,
    APIC_ICR = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_COUNT = 0x380,
    APIC_TIMER_NOW = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
    APIC_SELF_IPI = 0x3f0,
};

#define LVT_MASKED       0x10000u
#define LVT_EXTINT       0x700u
#define LVT_NMI          0x400u
#define LVT_PERIODIC     0x20000u
#define LVT_TSC_DEADLINE 0x40000u

#define IOAPIC_LEVEL  0x8000u
#define IOAPIC_LOW    0x2000u
#define IOAPIC_RIRR   0x4000u
#define IOAPIC_EXTINT 0x700u
#define IOAPIC_MASKED 0x10000u

bool apic_has_x2(void);
bool apic_has_tsc_deadline(void);

/* Switches the local APIC on, in x2APIC mode if asked and possible; all of its LVT is masked.
 * Returns whether it is in x2APIC mode. From x2APIC mode it goes through "off", as the SDM demands.
 */
bool apic_enable(bool x2);
bool apic_is_x2(void);

uint32_t apic_read(enum apic_register offset);
void apic_write(enum apic_register offset, uint32_t value);
void apic_eoi(void);
void apic_self_ipi(unsigned vector);
/* The interrupt command register: destination as the mode's ID register shows it. */
void apic_ipi(uint32_t destination, uint32_t command);

/* Whether a vector's bit is set in APIC_ISR, APIC_IRR or APIC_TMR. */
bool apic_bit(enum apic_register bank, unsigned vector);

uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t value);

/* Sends an input pin to this CPU: flags of IOAPIC_*. */
void ioapic_route(unsigned pin, unsigned vector, uint32_t flags);

/* Programs both 8259s: vectors base to base + 15, all masked. */
void pic_init(unsigned base);
void pic_set_mask(uint16_t mask);
void pic_eoi(unsigned irq);

/* Channel 0 of the 8254: mode 2 with this divisor, or mode 0 once. */
void pit_start(unsigned mode, uint16_t count);
