/* SPDX-License-Identifier: BSD-2-Clause */
/* The bus to a VM's local APICs: which of them a message is meant for, how it comes from a device,
 * and what may come. */
#include "guest/vm/vcpu.h"

/* SDM, "Determining IPI Destination". */
static bool is_destination(const struct vcpu *vcpu, const struct vlapic_message *message)
{
    const struct vlapic *apic = &vcpu->apic;
    uint32_t to = message->destination, ldr = apic->page[APIC_LDR / 4];
    if (!message->logical)
        return to == VLAPIC_BROADCAST || to == vcpu->apic_id;
    if ((apic->base & APIC_BASE_X2APIC) != 0)
        return to == VLAPIC_BROADCAST || (to >> 16 == ldr >> 16 && (to & ldr & 0xffff) != 0);
    to &= 0xff;
    ldr >>= 24;
    if (apic->page[APIC_DFR / 4] >> 28 == 0xf) /* flat */
        return (to & ldr) != 0;
    return (to >> 4 == 0xf || to >> 4 == ldr >> 4) && (to & ldr & 0xf) != 0;
}

bool vlapic_deliver(struct vm *vm, const struct vlapic_message *message)
{
    struct vlapic *lowest = NULL;
    bool taken = false;
    uint64_t woken = 0;
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        struct vlapic *apic = &vm->vcpu[i]->apic;
        if (!is_destination(vm->vcpu[i], message))
            continue;
        if (message->mode != DELIVERY_LOWEST)
            taken |= vlapic_take(apic, message, &woken);
        else if ((apic->page[APIC_SVR / 4] & APIC_SVR_ENABLE) == 0)
            continue; /* another one will take it */
        else if (lowest == NULL || apic->page[APIC_TPR / 4] < lowest->page[APIC_TPR / 4])
            lowest = apic;
    }
    if (lowest != NULL)
        return vlapic_take(lowest, message, NULL);
    vcpu_kick_all(vm, woken);
    return taken;
}

bool vlapic_receive_msi(void *vm, uint64_t address, uint32_t data)
{
    struct vlapic_message message = {.destination = address >> 12 & 0xff,
                                     .vector = (uint8_t)data,
                                     .mode = data >> 8 & 7,
                                     .logical = (address & MSI_LOGICAL) != 0,
                                     .level = (data & MSI_LEVEL) != 0};
    if ((address & MSI_ADDRESS_MASK) != MSI_ADDRESS || (message.level && (data & MSI_ASSERT) == 0))
        return false;
    if (!message.logical && message.destination == MSI_TO_EVERYBODY)
        message.destination = VLAPIC_BROADCAST;
    if ((address & MSI_TO_LOWEST) != 0 && message.mode == DELIVERY_FIXED)
        message.mode = DELIVERY_LOWEST;
    return vlapic_deliver(vm, &message);
}

/* From a pin of the IO-APIC, or from the 8259 at LINT0. */
bool vlapic_device_may_wake(const struct vlapic *apic)
{
    const struct msi_source *ioapic = &vlapic_vcpu(apic)->vm->ioapic;
    const uint32_t lvt = __atomic_load_n(&apic->page[APIC_LVT_LINT0 / 4], __ATOMIC_RELAXED);
    const unsigned mode = lvt >> 8 & 7;
    const bool lint0 =
        (lvt & APIC_LVT_MASKED) == 0 && (mode == DELIVERY_NMI || mode == DELIVERY_INIT);
    return (apic->pic_acknowledge != NULL && lint0) ||
           (ioapic->may_send_nmi != NULL && ioapic->may_send_nmi(ioapic->chip));
}
