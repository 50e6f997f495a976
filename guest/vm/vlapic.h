/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC of a virtual CPU (xAPIC and x2APIC, with its timer), a part of struct vcpu; and
 * the bus between all of a VM's APICs, which are those of vm->vcpu[]. What it asks of its vCPU is
 * declared in vcpu.h: vcpu_interrupts_changed() and those below it.
 *
 * Calls come from the CPU that runs the vCPU, with the VM's lock held (vm_lock()), unless a comment
 * says otherwise.
 */
#pragma once

#include "arch/addr.h"
#include "arch/status.h"
#include "arch/x86.h"
#include "drivers/bus/msi.h"
#include "guest/vm/vlapic_timer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VLAPIC_DEFAULT_BASE 0xfee00000ull

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

/* An interrupt on its way from a device or another CPU. */
struct vlapic_message {
    uint32_t destination; /* APIC ID or logical set; physical 0xff is to come as VLAPIC_BROADCAST */
    uint8_t vector;
    uint8_t mode; /* enum delivery_mode */
    bool logical, level;
};

#define VLAPIC_BROADCAST 0xffffffffu /* physical destination: everybody, in either mode */

/* Where vcpu->assisted (APIC-register virtualization and virtual-interrupt delivery), the CPU
 * itself evaluates IRR and PPR, moves IRR to ISR, and handles EOI, TPR and self-IPI, all in the
 * page, while the guest runs: vlapic_pending() and vlapic_accept() are not used, and nothing that
 * depends on the page may be kept beside it. Where not, this does it all. */
struct vlapic {
    /* The registers in the layout of the SDM's "Local APIC Register Address Map" (the one at offset
     * n is page[n / 4]), in a page of their own, as a CPU that virtualizes the APIC works on it. */
    uint32_t *page;
    struct posted *posted; /* in a page of its own: Bochs wants more than the SDM's 64 bytes */
    uint64_t base;         /* IA32_APIC_BASE; any CPU may read it */
    struct vlapic_timer timer;
    uint8_t irr_words, isr_words; /* which words of IRR, ISR may be non-zero (not when assisted) */
    bool lint0;                   /* level of the pin */
    bool extint;                  /* an ExtINT message came from the IO-APIC */
    uint32_t errors;              /* since the last write to ESR */
    unsigned (*pic_acknowledge)(void *pic); /* NULL: no 8259 leads here */
    void *pic;
};

/* Makes the APIC of a vCPU, behind vcpu_init(), in its power-up state: allocates its two
 * pages. pic_acknowledge: how to acknowledge an interrupt of the 8259 that leads to its LINT0; NULL
 * where none does. Whoever changes vcpu->tsc_offset later calls vlapic_write_deadline() with
 * vlapic_deadline() then, to move an armed deadline. */
enum status vlapic_init(struct vlapic *apic, unsigned (*pic_acknowledge)(void *pic), void *pic);

/* Frees its pages. Also of one that vlapic_init() has failed on, or was never called for. */
void vlapic_destroy(struct vlapic *apic);

/* Registers back to their reset values. init: as after INIT, IA32_APIC_BASE stays. */
void vlapic_reset(struct vlapic *apic, bool init);

/* The state that firmware leaves (MultiProcessor Specification, "Virtual Wire Mode"): APIC enabled,
 * the 8259 through LINT0. For a boot CPU that starts in a kernel, after vlapic_init(). */
void vlapic_set_virtual_wire(struct vlapic *apic);

/* An irq_line's set(): the pin LINT0, where the 8259's INTR is connected. From any CPU. */
void vlapic_set_lint0(void *apic, unsigned pin, bool high);

/* The highest vector of the 256 bits at an offset of the page, or -1. */
static inline int vlapic_highest_vector(const uint32_t *page, uint32_t offset)
{
#pragma GCC unroll 8
    for (int word = 7; word >= 0; word--) {
        uint32_t bits = __atomic_load_n(&page[offset / 4 + 4u * (uint32_t)word], __ATOMIC_RELAXED);
        if (bits != 0)
            return word * 32 + 31 - __builtin_clz(bits);
    }
    return -1;
}

/* Moves what has been posted into the page. Without the lock. */
void vlapic_collect_posted(struct vlapic *apic);
static inline void vlapic_collect(struct vlapic *apic)
{
    if (__atomic_load_n(&apic->posted->outstanding, __ATOMIC_ACQUIRE) != 0)
        vlapic_collect_posted(apic);
}

/* Highest vector that may be delivered now (IRR against PPR), or -1. Software delivery only.
 * Without the lock. */
int vlapic_pending(struct vlapic *apic);

/* The vector from vlapic_pending() is being injected: IRR to ISR. Software delivery only. Without
 * the lock. */
void vlapic_accept(struct vlapic *apic, unsigned vector);

/* Whether the 8259's INTR reaches the CPU (without the lock); then acknowledge it: returns the
 * vector. */
bool vlapic_lets_extint_through(const struct vlapic *apic);
static inline bool vlapic_extint_pending(const struct vlapic *apic)
{
    return (apic->lint0 || apic->extint) && vlapic_lets_extint_through(apic);
}
unsigned vlapic_extint_acknowledge(struct vlapic *apic);

/* Whether a device has a way to end a HLT without interrupts: by NMI or INIT. From any CPU, without
 * the lock. */
bool vlapic_device_may_wake(const struct vlapic *apic);

/* An access to the register page by memory. Outside xAPIC mode all ones are read and writes are
 * dropped; writes that are not 32 bits, aligned, are dropped too. */
uint64_t vlapic_mmio_read(struct vlapic *apic, gpa_t at, unsigned bytes);
void vlapic_mmio_write(struct vlapic *apic, gpa_t at, unsigned bytes, uint64_t value);

/* A register access by memory or MSR (offset = 0x10 * (msr - 0x800)), by the rules of the current
 * mode, so MSRs come here only in x2APIC mode. False: #GP, if by MSR. */
bool vlapic_read(struct vlapic *apic, unsigned offset, uint64_t *value);
bool vlapic_write(struct vlapic *apic, unsigned offset, uint64_t value);

/* APIC-write VM exit: the CPU has put the value into the page already; act on it. */
void vlapic_written(struct vlapic *apic, unsigned offset);

/* Takes back that the guest may end the interrupt in service by its memory (guest/vm/vcpu_pv.h),
 * and ends it, if the guest has. */
void vlapic_take_offer(struct vlapic *apic);

/* A level-triggered vector has ended, its ISR bit cleared (as at an EOI-induced VM exit): tells the
 * IO-APIC. */
void vlapic_eoi(struct vlapic *apic, unsigned vector);

/* A write of IA32_APIC_BASE; false: #GP. */
bool vlapic_write_base(struct vlapic *apic, uint64_t value);

/* IA32_TSC_DEADLINE, in guest TSC. Reading needs no lock. */
static inline uint64_t vlapic_deadline(const struct vlapic *apic)
{
    return apic->timer.deadline;
}
static inline void vlapic_write_deadline(struct vlapic *apic, uint64_t guest_tsc)
{
    vlapic_timer_set_deadline(&apic->timer, guest_tsc);
}

struct vm;

/* One message at one APIC that it is meant for; false: not taken. What it changes of the APIC, its
 * own CPU may be changing too: see struct posted. later: see vcpu_posted(). From any CPU, as are
 * those below. */
bool vlapic_take(struct vlapic *apic, const struct vlapic_message *message, uint64_t *later);

/* Sends a message to the APIC(s) it is meant for; false when nobody took it. */
bool vlapic_deliver(struct vm *vm, const struct vlapic_message *message);

/* An msi_sink's send(), of which the VM is the receiver. Any other address is nobody's. */
bool vlapic_receive_msi(void *vm, uint64_t address, uint32_t data);
