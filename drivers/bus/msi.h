/* SPDX-License-Identifier: BSD-2-Clause */
/* Message-signalled interrupts: what a device or an IO-APIC writes to be heard by local APICs, and
 * whom these tell of the end. SDM, "Message Signalled Interrupts". */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* As in a message's data, the ICR, an LVT entry and the IO-APIC's redirection entries. */
enum delivery_mode {
    DELIVERY_FIXED,
    DELIVERY_LOWEST,
    DELIVERY_SMI,
    DELIVERY_RESERVED,
    DELIVERY_NMI,
    DELIVERY_INIT,
    DELIVERY_SIPI,
    DELIVERY_EXTINT,
};

/* The address: 0xfee in bits 31:20, the destination ID in bits 19:12. */
#define MSI_ADDRESS      0xfee00000ull
#define MSI_ADDRESS_MASK (~0xfffffull)
#define MSI_TO_LOWEST    (1u << 3)  /* redirection hint: to one of several, as DELIVERY_LOWEST */
#define MSI_LOGICAL      (1u << 2)  /* destination mode: a logical ID, not a physical one */
#define MSI_TO_EVERYBODY 0xffu      /* as a physical destination ID */
#define MSI_ASSERT       (1u << 14) /* in the data: a level-triggered one begins */
#define MSI_LEVEL        (1u << 15) /* trigger mode */

static inline uint64_t msi_address(uint8_t destination, bool logical)
{
    return MSI_ADDRESS | (uint64_t)destination << 12 | (logical ? MSI_LOGICAL : 0);
}

static inline uint32_t msi_data(uint8_t vector, enum delivery_mode mode, bool level)
{
    return (uint32_t)mode << 8 | vector | (level ? MSI_LEVEL | MSI_ASSERT : 0);
}

/* Where a device's messages go, connected at start. */
struct msi_sink {
    bool (*send)(void *receiver, uint64_t address, uint32_t data);
    void *receiver;
};

/* With the VM's lock held. False: no APIC has taken it. */
static inline bool msi_send(const struct msi_sink *sink, uint64_t address, uint32_t data)
{
    return sink->send(sink->receiver, address, data);
}

/* An interrupt controller that local APICs answer; its functions may be NULL. */
struct msi_source {
    /* A level-triggered vector has ended. With the VM's lock held. */
    void (*eoi)(void *chip, unsigned vector);
    /* Whether it may come to send an NMI or INIT. From any CPU, without the lock. */
    bool (*may_send_nmi)(const void *chip);
    void *chip;
};
