/* SPDX-License-Identifier: BSD-2-Clause */
/* The IO-APIC: Intel 82093AA data sheet, with the EOI register of version 0x20. */
#include "drivers/virt/vioapic.h"

#include "arch/nospec.h"

enum { SELECT = 0x00, WINDOW = 0x10, EOI = 0x40 };
enum { INDEX_ID = 0x00, INDEX_VERSION = 0x01, INDEX_ARB = 0x02, INDEX_ENTRY = 0x10 };

#define ENTRY_LOGICAL    (1ull << 11)
#define ENTRY_REMOTE_IRR (1ull << 14)
#define ENTRY_LEVEL      (1ull << 15)
#define ENTRY_MASKED     (1ull << 16)
#define ENTRY_WRITABLE   0xff0000000001afffull /* not delivery status and remote IRR */

static unsigned entry_mode(uint64_t entry)
{
    return entry >> 8 & 7;
}

/* Level-triggered is for the modes that end with an EOI; the others act on the edge. */
static bool is_level(uint64_t entry)
{
    return (entry & ENTRY_LEVEL) != 0 && entry_mode(entry) <= DELIVERY_LOWEST;
}

/* An edge whose end is to be told goes as a level-triggered message, since a local APIC tells of
 * those alone. Nobody but a reader of its TMR sees that. */
static void send(struct vioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->entry[pin];
    bool level = is_level(entry);
    bool tells = level || (entry_mode(entry) <= DELIVERY_LOWEST && (ioapic->tells & 1u << pin));
    uint64_t address = msi_address((uint8_t)(entry >> 56), (entry & ENTRY_LOGICAL) != 0);
    uint32_t data = msi_data((uint8_t)entry, entry_mode(entry), tells);
    if (msi_send(&ioapic->apics, address, data) && level)
        ioapic->entry[pin] |= ENTRY_REMOTE_IRR;
}

/* A level-triggered pin that is asserted sends, once until its EOI. */
static void evaluate_level(struct vioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->entry[pin];
    if (is_level(entry) && (entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)) == 0 &&
        (ioapic->asserted & 1u << pin) != 0)
        send(ioapic, pin);
}

void vioapic_set(void *chip, unsigned pin, bool high)
{
    struct vioapic *ioapic = chip;
    if (pin >= VIOAPIC_PINS)
        return;
    uint32_t bit = 1u << pin;
    bool rising = high && (ioapic->asserted & bit) == 0;
    ioapic->asserted = high ? ioapic->asserted | bit : ioapic->asserted & ~bit;
    if (is_level(ioapic->entry[pin]))
        evaluate_level(ioapic, pin);
    else if (rising && (ioapic->entry[pin] & ENTRY_MASKED) == 0)
        send(ioapic, pin); /* an edge at a masked pin is lost */
}

void vioapic_set_and_tell(struct vioapic *ioapic, unsigned pin,
                          void (*taken)(void *dev, unsigned pin), void *dev)
{
    ioapic->taken = taken;
    ioapic->dev = dev;
    ioapic->tells |= 1u << pin % VIOAPIC_PINS;
    vioapic_set(ioapic, pin, true);
}

void vioapic_eoi(void *chip, unsigned vector)
{
    struct vioapic *ioapic = chip;
    for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
        uint64_t entry = ioapic->entry[pin];
        if ((entry & 0xff) != vector)
            continue;
        if ((entry & ENTRY_REMOTE_IRR) != 0) {
            ioapic->entry[pin] &= ~ENTRY_REMOTE_IRR;
            evaluate_level(ioapic, pin);
        } else if ((ioapic->tells & 1u << pin) != 0) {
            ioapic->tells &= ~(1u << pin);
            ioapic->taken(ioapic->dev, pin);
        }
    }
}

bool vioapic_may_send_nmi(const void *chip)
{
    const struct vioapic *ioapic = chip;
    for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
        const uint64_t entry = __atomic_load_n(&ioapic->entry[pin], __ATOMIC_RELAXED);
        const unsigned mode = entry_mode(entry);
        if ((entry & ENTRY_MASKED) == 0 && (mode == DELIVERY_NMI || mode == DELIVERY_INIT))
            return true;
    }
    return false;
}

static uint32_t read_index(const struct vioapic *ioapic)
{
    unsigned index = ioapic->select;
    switch (index) {
    case INDEX_ID:
    case INDEX_ARB: return (uint32_t)ioapic->id << 24;
    case INDEX_VERSION: return (VIOAPIC_PINS - 1) << 16 | 0x20;
    default: break;
    }
    const unsigned pin = (index - INDEX_ENTRY) / 2; /* below the first: beyond the last */
    if (pin >= VIOAPIC_PINS)
        return UINT32_MAX;
    uint64_t entry = ioapic->entry[index_nospec(pin, VIOAPIC_PINS)];
    return (uint32_t)(index % 2 == 0 ? entry : entry >> 32);
}

static void write_index(struct vioapic *ioapic, uint32_t value)
{
    unsigned index = ioapic->select;
    if (index == INDEX_ID)
        ioapic->id = value >> 24 & 0xf;
    if (index < INDEX_ENTRY || index >= INDEX_ENTRY + 2 * VIOAPIC_PINS)
        return;
    unsigned pin = (unsigned)index_nospec((index - INDEX_ENTRY) / 2, VIOAPIC_PINS);
    unsigned shift = index % 2 * 32;
    uint64_t mask = ENTRY_WRITABLE & (0xffffffffull << shift);
    uint64_t *entry = &ioapic->entry[pin];
    *entry = (*entry & ~mask) | ((uint64_t)value << shift & mask);
    if (!is_level(*entry)) /* how Linux ends a level interrupt by hand: to edge and back */
        *entry &= ~ENTRY_REMOTE_IRR;
    evaluate_level(ioapic, pin);
}

uint64_t vioapic_read(void *chip, gpa_t at, unsigned bytes)
{
    const struct vioapic *ioapic = chip;
    (void)bytes; /* the bus cuts */
    switch (at.v % VIOAPIC_SIZE) {
    case SELECT: return ioapic->select;
    case WINDOW: return read_index(ioapic);
    default: return 0; /* as QEMU's: so the two halves of a wide read are what each is alone */
    }
}

void vioapic_write(void *chip, gpa_t at, unsigned bytes, uint64_t value)
{
    struct vioapic *ioapic = chip;
    unsigned offset = at.v % VIOAPIC_SIZE;
    if (offset == SELECT)
        ioapic->select = (uint8_t)value;
    else if (offset == WINDOW && bytes >= 4)
        write_index(ioapic, (uint32_t)value);
    else if (offset == EOI)
        vioapic_eoi(ioapic, (uint8_t)value);
}

void vioapic_init(struct vioapic *ioapic, struct msi_sink apics)
{
    *ioapic = (struct vioapic){.apics = apics};
    for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++)
        ioapic->entry[pin] = ENTRY_MASKED;
}
