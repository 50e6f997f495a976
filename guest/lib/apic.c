/* SPDX-License-Identifier: BSD-2-Clause */
/* The interrupt controllers and timers of a PC as a payload uses them. */
#include "guest/lib/apic.h"

#include "guest/lib/cpu.h"

#define BASE_ENABLE  0x800u
#define BASE_X2      0x400u
#define SVR_ON       0x100u
#define SPURIOUS     0xffu
#define ICR_TO_SELF  0x40000u
#define PIC1         0x20
#define PIC2         0xa0
#define PIT_CHANNEL0 0x40
#define PIT_CONTROL  0x43
#define PIT_LOW_HIGH 0x30

static bool in_x2_mode;

bool apic_has_x2(void)
{
    return (cpuid(1, 0).ecx >> 21 & 1) != 0;
}

bool apic_has_tsc_deadline(void)
{
    return (cpuid(1, 0).ecx >> 24 & 1) != 0;
}

bool apic_is_x2(void)
{
    return in_x2_mode;
}

static volatile uint32_t *at(uint32_t address)
{
    return (volatile uint32_t *)(uintptr_t)address;
}

uint32_t apic_read(enum apic_register offset)
{
    return in_x2_mode ? (uint32_t)rdmsr(MSR_X2APIC + offset / 16) : *at(APIC_BASE_ADDRESS + offset);
}

void apic_write(enum apic_register offset, uint32_t value)
{
    if (in_x2_mode)
        wrmsr(MSR_X2APIC + offset / 16, value);
    else
        *at(APIC_BASE_ADDRESS + offset) = value;
}

bool apic_enable(bool x2)
{
    uint64_t base = rdmsr(MSR_APIC_BASE) & ~(uint64_t)(BASE_ENABLE | BASE_X2);
    in_x2_mode = (rdmsr(MSR_APIC_BASE) & BASE_X2) != 0;
    x2 = x2 && apic_has_x2();
    if (in_x2_mode && !x2)
        wrmsr(MSR_APIC_BASE, base);
    if (!in_x2_mode || !x2)
        wrmsr(MSR_APIC_BASE, base | BASE_ENABLE);
    if (x2)
        wrmsr(MSR_APIC_BASE, base | BASE_ENABLE | BASE_X2);
    in_x2_mode = x2;
    apic_write(APIC_SVR, SVR_ON | SPURIOUS);
    apic_write(APIC_TPR, 0);
    if (!x2) {
        apic_write(APIC_DFR, 0xffffffffu);
        apic_write(APIC_LDR, 0x01000000u);
    }
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    apic_write(APIC_LVT_LINT1, LVT_MASKED);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    return x2;
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

void apic_self_ipi(unsigned vector)
{
    if (in_x2_mode)
        apic_write(APIC_SELF_IPI, vector);
    else
        apic_write(APIC_ICR, ICR_TO_SELF | vector);
}

void apic_ipi(uint32_t destination, uint32_t command)
{
    if (in_x2_mode) {
        wrmsr(MSR_X2APIC + APIC_ICR / 16, (uint64_t)destination << 32 | command);
    } else {
        apic_write(APIC_ICR_HIGH, destination);
        apic_write(APIC_ICR, command);
    }
}

bool apic_bit(enum apic_register bank, unsigned vector)
{
    uint32_t word = apic_read((enum apic_register)(bank + vector / 32 * 16));
    return (word >> (vector % 32) & 1) != 0;
}

uint32_t ioapic_read(unsigned reg)
{
    *at(IOAPIC_ADDRESS) = reg;
    return *at(IOAPIC_ADDRESS + 0x10);
}

void ioapic_write(unsigned reg, uint32_t value)
{
    *at(IOAPIC_ADDRESS) = reg;
    *at(IOAPIC_ADDRESS + 0x10) = value;
}

void ioapic_route(unsigned pin, unsigned vector, uint32_t flags)
{
    uint32_t id = in_x2_mode ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
    ioapic_write(0x10 + 2 * pin, IOAPIC_MASKED);
    ioapic_write(0x11 + 2 * pin, id << 24);
    ioapic_write(0x10 + 2 * pin, vector | flags);
}

void pic_init(unsigned base)
{
    port_out8(PIC1, 0x11); /* ICW1: edge-triggered, cascaded, ICW4 follows */
    port_out8(PIC2, 0x11);
    port_out8(PIC1 + 1, (uint8_t)base);
    port_out8(PIC2 + 1, (uint8_t)(base + 8));
    port_out8(PIC1 + 1, 4); /* the slave is on IR2 */
    port_out8(PIC2 + 1, 2);
    port_out8(PIC1 + 1, 1); /* ICW4: 8086 mode */
    port_out8(PIC2 + 1, 1);
    pic_set_mask(0xffff);
}

void pic_set_mask(uint16_t mask)
{
    port_out8(PIC1 + 1, (uint8_t)mask);
    port_out8(PIC2 + 1, (uint8_t)(mask >> 8));
}

void pic_eoi(unsigned irq)
{
    if (irq >= 8)
        port_out8(PIC2, 0x20);
    port_out8(PIC1, 0x20);
}

void pit_start(unsigned mode, uint16_t count)
{
    port_out8(PIT_CONTROL, (uint8_t)(PIT_LOW_HIGH | mode << 1));
    port_out8(PIT_CHANNEL0, (uint8_t)count);
    port_out8(PIT_CHANNEL0, (uint8_t)(count >> 8));
}
