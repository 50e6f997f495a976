/* SPDX-License-Identifier: BSD-2-Clause */
/* The IO-APIC: 24 interrupt pins that become messages to the local APICs. */
#pragma once

#include "arch/addr.h"
#include "drivers/bus/msi.h"

#define VIOAPIC_BASE 0xfec00000ull
#define VIOAPIC_SIZE 0x1000ull
#define VIOAPIC_PINS 24u

struct vioapic {
    uint64_t entry[VIOAPIC_PINS]; /* the redirection table */
    uint32_t asserted;            /* pins, one bit each */
    uint8_t select;               /* IOREGSEL */
    uint8_t id;
    struct msi_sink apics;
    uint32_t tells; /* pins whose last edge's end is to be told */
    void (*taken)(void *dev, unsigned pin);
    void *dev;
};

/* Power-up state: all pins masked. apics: the local APICs, which are to be told of vioapic_eoi()
 * and vioapic_may_send_nmi(). */
void vioapic_init(struct vioapic *ioapic, struct msi_sink apics);

/* An irq_line's set(). high means asserted, whatever the polarity bit says: these wires have no
 * voltage, so a guest's idea of polarity never inverts them. A pin beyond 23 is ignored. */
void vioapic_set(void *ioapic, unsigned pin, bool high);

/* As vioapic_set() with high, for an edge after which dev wants to know when a CPU has taken it:
 * taken() is called then, once, and may raise the pin again. Not called where the edge has been
 * lost, at a masked pin as elsewhere. One device for all pins. */
void vioapic_set_and_tell(struct vioapic *ioapic, unsigned pin,
                          void (*taken)(void *dev, unsigned pin), void *dev);

/* A local APIC has ended a vector, level-triggered or told: pins still asserted send again. */
void vioapic_eoi(void *ioapic, unsigned vector);

/* Whether the guest has set up a pin to send an NMI or INIT. Any CPU may ask, at any time. */
bool vioapic_may_send_nmi(const void *ioapic);

/* For a struct mmio_range of VIOAPIC_SIZE bytes at VIOAPIC_BASE. */
uint64_t vioapic_read(void *ioapic, gpa_t at, unsigned bytes);
void vioapic_write(void *ioapic, gpa_t at, unsigned bytes, uint64_t value);
