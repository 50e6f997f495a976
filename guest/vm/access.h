/* SPDX-License-Identifier: BSD-2-Clause */
/* One access of a vCPU to a port or to device memory: under the VM's lock, and with the page of the
 * local APIC leading to the vCPU's own. */
#pragma once

#include "guest/vm/vcpu.h"

static inline uint32_t access_port_read(struct vcpu *vcpu, uint16_t port, unsigned bytes)
{
    vm_lock(vcpu->vm);
    const uint32_t value = bus_port_read(&vcpu->vm->bus, port, bytes);
    vm_unlock(vcpu->vm);
    return value;
}

static inline void access_port_write(struct vcpu *vcpu, uint16_t port, unsigned bytes,
                                     uint32_t value)
{
    vm_lock(vcpu->vm);
    bus_port_write(&vcpu->vm->bus, port, bytes, value);
    vm_unlock(vcpu->vm);
}

static inline bool access_is_apic(const struct vcpu *vcpu, gpa_t at)
{
    return at.v / PAGE_SIZE == vcpu->apic_frame;
}

/* For an instruction of several accesses, which holds the lock over all of them. bytes: 1, 2, 4 or
 * 8. */
static inline uint64_t access_mmio_read_locked(struct vcpu *vcpu, gpa_t at, unsigned bytes)
{
    return access_is_apic(vcpu, at) ? vlapic_mmio_read(&vcpu->apic, at, bytes)
                                    : bus_mmio_read(&vcpu->vm->bus, at, bytes);
}

static inline void access_mmio_write_locked(struct vcpu *vcpu, gpa_t at, unsigned bytes,
                                            uint64_t value)
{
    if (access_is_apic(vcpu, at))
        vlapic_mmio_write(&vcpu->apic, at, bytes, value);
    else
        bus_mmio_write(&vcpu->vm->bus, at, bytes, value);
}

static inline uint64_t access_mmio_read(struct vcpu *vcpu, gpa_t at, unsigned bytes)
{
    vm_lock(vcpu->vm);
    const uint64_t value = access_mmio_read_locked(vcpu, at, bytes);
    vm_unlock(vcpu->vm);
    return value;
}

static inline void access_mmio_write(struct vcpu *vcpu, gpa_t at, unsigned bytes, uint64_t value)
{
    vm_lock(vcpu->vm);
    access_mmio_write_locked(vcpu, at, bytes, value);
    vm_unlock(vcpu->vm);
}
