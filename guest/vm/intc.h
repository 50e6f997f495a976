/* SPDX-License-Identifier: BSD-2-Clause */
/* The interrupt controller of one vCPU (its local APIC) as the run loop sees it: vmx calls these,
 * the device fills them in. Calls come from the CPU that runs the vCPU, with the VM's lock held
 * (vm_lock()) but for pending(), accept(), collect() and extint_pending(), unless said otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Interrupts on their way to a vCPU, from whatever CPU: the posted-interrupt descriptor (SDM,
 * "Posted-Interrupt Processing"), which the CPU itself may read where it has that feature. */
struct posted {
    uint64_t requests[4]; /* a bit for each vector */
    uint32_t outstanding; /* POSTED_...: atomic, as the CPU clears its bit in it */
    uint32_t reserved[7];
    /* The same for those that the CPU shall not take by itself: it must leave the guest first, so
     * that their EOI exits, or no longer does. */
    uint64_t held[4];
} __attribute__((aligned(64)));

#define POSTED_REQUESTS 1u         /* there may be requests */
#define POSTED_HELD     (1u << 31) /* there may be some held; software's bit */

_Static_assert(offsetof(struct posted, held) == 64, "the CPU knows the layout of what is before");

/* page is the APIC's register page in the layout of the SDM's "Local APIC Register Address Map"
 * (register at offset n is page[n / 4]); it is also the virtual-APIC page of the VMCS, so the CPU
 * may read and write it while the guest runs.
 *
 * assisted: set by vmx before the first entry, where the CPU has APIC-register virtualization and
 * virtual-interrupt delivery. Then the CPU itself evaluates IRR/PPR, moves IRR to ISR, handles EOI,
 * TPR and self-IPI, and the device only sets IRR (and TMR) bits and calls changed(); pending() and
 * accept() are not used. The CPU does not maintain PPR-dependent software state of the device, so
 * the device must derive everything from the page. Where not assisted, the device does it all. */
struct intc {
    void *chip;
    uint32_t *page;
    struct posted *posted; /* page-aligned */
    bool assisted;

    /* Moves what has been posted into the page. */
    void (*collect)(void *chip);
    /* The vCPU has taken an INIT: registers as after that. */
    void (*init)(void *chip);

    /* Highest vector that may be delivered now (IRR against PPR), or -1. Software delivery only. */
    int (*pending)(void *chip);
    /* The vector from pending() is being injected: IRR to ISR. Software delivery only. */
    void (*accept)(void *chip, unsigned vector);
    /* Whether the 8259's INTR reaches the CPU; then acknowledge it: returns the vector. */
    bool (*extint_pending)(void *chip);
    unsigned (*extint_acknowledge)(void *chip);
    /* Whether a device has a way to end a HLT without interrupts: by NMI or INIT. From any CPU. */
    bool (*device_may_wake)(void *chip);

    /* An access to the register page by memory, anything but xAPIC mode included. */
    uint64_t (*mmio_read)(void *chip, uint64_t gpa, unsigned bytes);
    void (*mmio_write)(void *chip, uint64_t gpa, unsigned bytes, uint64_t value);
    /* A register access by memory or MSR (offset = 0x10 * (msr - 0x800)); false: #GP, if by MSR. */
    bool (*read)(void *chip, unsigned offset, uint64_t *value);
    bool (*write)(void *chip, unsigned offset, uint64_t value);
    /* APIC-write VM exit: the CPU has put the value into the page already; act on it. */
    void (*written)(void *chip, unsigned offset);
    /* EOI-induced VM exit of a level-triggered vector, its ISR bit cleared: tell the IO-APIC. */
    void (*eoi)(void *chip, unsigned vector);
    /* IA32_APIC_BASE and IA32_TSC_DEADLINE; a write returns false for #GP. */
    uint64_t (*read_base)(void *chip);
    bool (*write_base)(void *chip, uint64_t value);
    uint64_t (*read_deadline)(void *chip);
    bool (*write_deadline)(void *chip, uint64_t guest_tsc);
};

/* Offsets of registers in the page. */
#define APIC_TPR 0x80u
#define APIC_PPR 0xa0u
#define APIC_ISR 0x100u
#define APIC_TMR 0x180u
#define APIC_IRR 0x200u

/* The highest vector of the 256 bits at an offset of the page, or -1. */
static inline int apic_highest_vector(const uint32_t *page, uint32_t offset)
{
#pragma GCC unroll 8
    for (int word = 7; word >= 0; word--) {
        uint32_t bits = __atomic_load_n(&page[offset / 4 + 4u * (uint32_t)word], __ATOMIC_RELAXED);
        if (bits != 0)
            return word * 32 + 31 - __builtin_clz(bits);
    }
    return -1;
}

/* What the device calls back. All but changed() may come from any CPU. */
struct vcpu_line {
    void (*changed)(void *vcpu); /* IRR, ISR, TPR, TMR, LINT0, mode: look before the next entry */
    /* A vector stands in the vCPU's struct posted. silent: among the requests, so the vCPU may take
     * it without an exit. */
    void (*posted)(void *vcpu, bool silent);
    void (*nmi)(void *vcpu);                      /* an NMI for this vCPU */
    void (*init)(void *vcpu);                     /* an INIT: it will call intc's init() */
    void (*startup)(void *vcpu, unsigned vector); /* a SIPI */
    void *vcpu;
};
