/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC of one virtual CPU (xAPIC and x2APIC, with its timer), and the bus between all of
 * a VM's APICs. */
#pragma once

#include "arch/status.h"
#include "drivers/bus/timers.h"
#include "guest/vm/intc.h"
#include "guest/vm/vlapic_timer.h"

#include <stdbool.h>
#include <stdint.h>

#define VLAPIC_DEFAULT_BASE 0xfee00000ull
#define VLAPIC_MAX_PEERS    32u

/* Delivery modes as in ICR, LVT and the IO-APIC's redirection entries. */
enum vlapic_mode {
    VLAPIC_FIXED,
    VLAPIC_LOWEST,
    VLAPIC_SMI,
    VLAPIC_RESERVED,
    VLAPIC_NMI,
    VLAPIC_INIT,
    VLAPIC_SIPI,
    VLAPIC_EXTINT,
};

#define VLAPIC_BROADCAST 0xffffffffu /* physical destination: everybody, in either mode */

/* An interrupt on its way from an IO-APIC, a device (MSI) or another CPU. */
struct vlapic_message {
    uint32_t destination; /* APIC ID or logical set; physical 0xff is to come as VLAPIC_BROADCAST */
    uint8_t vector;
    uint8_t mode; /* enum vlapic_mode */
    bool logical, level;
};

struct vlapic;

/* All APICs of a VM. Zeroed at start; vlapic_init() adds itself, vioapic_init() sets eoi. */
struct vlapic_group {
    struct vlapic *peer[VLAPIC_MAX_PEERS];
    unsigned count;
    void (*eoi)(void *ioapic, unsigned vector); /* a level-triggered vector has ended */
    bool (*sends_nmi)(const void *ioapic);      /* whether a pin may send an NMI or INIT */
    void *ioapic;
};

/* What an APIC is wired to; every pointer but the marked ones is needed. */
struct vlapic_wiring {
    uint32_t *page; /* register page = virtual-APIC page: 4 KiB, aligned, owned by this APIC */
    struct posted *posted; /* where interrupts from elsewhere wait for intc's collect() */
    struct timers *timers;
    struct vlapic_group *group;
    struct vcpu_line line;
    unsigned (*pic_acknowledge)(void *pic); /* may be NULL: no 8259 */
    void *pic;
    const uint64_t *tsc_offset; /* guest TSC = clock of timers + this */
    uint32_t id;                /* APIC ID, below 255 */
    uint8_t phys_bits;          /* width of guest-physical addresses */
    bool boot_cpu;
};

struct vlapic {
    struct vlapic_wiring w;
    struct intc *intc;
    uint64_t base; /* IA32_APIC_BASE */
    struct vlapic_timer timer;
    uint8_t irr_words, isr_words; /* which words of IRR, ISR may be non-zero (not when assisted) */
    uint32_t errors;              /* since the last write to ESR */
    bool lint0;                   /* level of the pin */
    bool extint;                  /* an ExtINT message came from the IO-APIC */
};

/*
 * Wires an APIC up in its power-up state and fills in *intc, which must stay where it is. The
 * register routines of intc act by the current mode, so the caller sends memory accesses only in
 * xAPIC mode and MSR accesses only in x2APIC mode (bits 11:10 of read_base). Whoever changes
 * *tsc_offset calls write_deadline(chip, read_deadline(chip)) then, to move an armed deadline.
 */
enum status vlapic_init(struct vlapic *apic, struct intc *intc, const struct vlapic_wiring *wiring);

/* Registers back to their reset values. init: as after INIT, IA32_APIC_BASE stays. */
void vlapic_reset(struct vlapic *apic, bool init);

/* The state that firmware leaves (MultiProcessor Specification, "Virtual Wire Mode"): APIC enabled,
 * the 8259 through LINT0. For a boot CPU that starts in a kernel, after vlapic_init(). */
void vlapic_set_virtual_wire(struct vlapic *apic);

/* An irq_line's set(): the pin LINT0, where the 8259's INTR is connected. */
void vlapic_set_lint0(void *apic, unsigned pin, bool high);

/* One message at one APIC that it is meant for; false: not taken. */
bool vlapic_take(struct vlapic *apic, const struct vlapic_message *message);

/* Sends a message to the APIC(s) it is meant for; false when nobody took it. What it changes of
 * them, their own CPUs may be changing too: see struct posted. */
bool vlapic_deliver(struct vlapic_group *group, const struct vlapic_message *message);

/* For struct intc: whether a device may send an NMI or INIT to a local APIC. From any CPU. */
bool vlapic_device_may_wake(void *apic);
