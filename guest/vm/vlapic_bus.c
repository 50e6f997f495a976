/* SPDX-License-Identifier: BSD-2-Clause */
/* The bus to a VM's local APICs: which of them a message is meant for, and which may come from
 * devices. */
#include "guest/vm/vlapic.h"

#include <stddef.h>

#define BASE_X2 (1ull << 10) /* IA32_APIC_BASE: x2APIC mode */

/* Indices of registers in the page. */
enum { TPR = 0x80 / 4, LDR = 0xd0 / 4, DFR = 0xe0 / 4, SVR = 0xf0 / 4, LVT_LINT0 = 0x350 / 4 };

#define SVR_ENABLE (1u << 8)
#define LVT_MASKED (1u << 16)

/* SDM, "Determining IPI Destination". */
static bool is_destination(const struct vlapic *apic, const struct vlapic_message *message)
{
    uint32_t to = message->destination, ldr = apic->w.page[LDR];
    if (!message->logical)
        return to == VLAPIC_BROADCAST || to == apic->w.id;
    if ((apic->base & BASE_X2) != 0)
        return to == VLAPIC_BROADCAST || (to >> 16 == ldr >> 16 && (to & ldr & 0xffff) != 0);
    to &= 0xff;
    ldr >>= 24;
    if (apic->w.page[DFR] >> 28 == 0xf) /* flat */
        return (to & ldr) != 0;
    return (to >> 4 == 0xf || to >> 4 == ldr >> 4) && (to & ldr & 0xf) != 0;
}

bool vlapic_deliver(struct vlapic_group *group, const struct vlapic_message *message)
{
    struct vlapic *lowest = NULL;
    bool taken = false;
    for (unsigned i = 0; i < group->count; i++) {
        struct vlapic *apic = group->peer[i];
        if (!is_destination(apic, message))
            continue;
        if (message->mode != VLAPIC_LOWEST)
            taken |= vlapic_take(apic, message);
        else if ((apic->w.page[SVR] & SVR_ENABLE) == 0)
            continue; /* another one will take it */
        else if (lowest == NULL || apic->w.page[TPR] < lowest->w.page[TPR])
            lowest = apic;
    }
    return lowest != NULL ? vlapic_take(lowest, message) : taken;
}

/* From a pin of the IO-APIC, or from the 8259 at LINT0. */
bool vlapic_device_may_wake(void *chip)
{
    const struct vlapic *apic = chip;
    const struct vlapic_group *group = apic->w.group;
    const uint32_t lvt = __atomic_load_n(&apic->w.page[LVT_LINT0], __ATOMIC_RELAXED);
    const unsigned mode = lvt >> 8 & 7;
    const bool lint0 = (lvt & LVT_MASKED) == 0 && (mode == VLAPIC_NMI || mode == VLAPIC_INIT);
    return (apic->w.pic_acknowledge != NULL && lint0) ||
           (group->sends_nmi != NULL && group->sends_nmi(group->ioapic));
}
