/* SPDX-License-Identifier: BSD-2-Clause */
/* Port accesses: IN and OUT at once, INS and OUTS in bounded pieces through the guest's page
 * tables. */
#include "arch/fault.h"
#include "vmx/exit.h"
#include "vmx/insn.h"
#include "vmx/linear.h"

/* Exit qualification for I/O instructions. */
#define IO_IN     (1u << 3)
#define IO_STRING (1u << 4)
#define IO_REP    (1u << 5)

#define MAX_REPEATS 64 /* per exit: a guest cannot hold the hypervisor with one instruction */
#define RFLAGS_DF   (1ull << 10)

static void write_register(uint64_t *reg, uint64_t value, uint64_t mask)
{
    /* SDM, "Address Size": 32-bit results are zero-extended, 16-bit ones leave the rest alone. */
    *reg = mask == 0xffff ? (*reg & ~mask) | (value & mask) : value & mask;
}

/* 48 bits of linear address: CPUID hides 5-level paging. */
static bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* One element; false: a fault has been queued. */
static bool string_step(struct linear *linear, uint32_t qualification, uint64_t address)
{
    if (!is_canonical(address)) {
        vcpu_inject_exception_error(linear->vcpu, VECTOR_GENERAL_PROTECTION, 0);
        return false;
    }
    struct bus *bus = &linear->vcpu->vm->bus;
    unsigned bytes = (qualification & 7) + 1;
    uint16_t port = (uint16_t)(qualification >> 16);
    if ((qualification & IO_IN) != 0) {
        /* Reading a port has effects: look first whether the result can be stored. */
        return linear_probe_write(linear, address, bytes) &&
               linear_write(linear, address, bytes, bus_port_read(bus, port, bytes));
    }
    uint64_t value;
    if (!linear_read(linear, address, bytes, &value))
        return false;
    bus_port_write(bus, port, bytes, (uint32_t)value);
    return true;
}

static enum exit_action string_io(struct vcpu *vcpu, uint32_t qualification)
{
    /* SDM, "VM-Exit Instruction-Information Field as Used for INS and OUTS": address size in bits
     * 9:7. */
    static const uint64_t masks[] = {0xffff, 0xffffffff, UINT64_MAX, UINT64_MAX};
    uint64_t mask = masks[vmread(VMCS_EXIT_INSTRUCTION_INFO) >> 7 & 3];
    uint64_t *gpr = vcpu->regs.gpr;
    uint64_t *index = &gpr[(qualification & IO_IN) != 0 ? RDI : RSI];
    uint64_t base = vmread(VMCS_EXIT_GUEST_LINEAR) - (*index & mask);
    uint64_t count = (qualification & IO_REP) != 0 ? gpr[RCX] & mask : 1;
    uint64_t linear_mask = linear_code_mode() == INSN_64 ? UINT64_MAX : UINT32_MAX;

    struct linear linear;
    linear_begin(&linear, vcpu);
    uint64_t step = (qualification & 7) + 1;
    if ((linear.paging.rflags & RFLAGS_DF) != 0)
        step = -step;
    for (unsigned i = 0; i < MAX_REPEATS && count > 0; i++) {
        if (!string_step(&linear, qualification, (base + (*index & mask)) & linear_mask))
            return EXIT_SAME;
        write_register(index, *index + step, mask);
        count--;
        if ((qualification & IO_REP) != 0)
            write_register(&gpr[RCX], count, mask);
        if (vcpu->vm->end != VM_RUNS)
            break;
    }
    return count == 0 ? EXIT_NEXT : EXIT_SAME;
}

enum exit_action exit_io(struct vcpu *vcpu)
{
    uint32_t qualification = (uint32_t)vmread(VMCS_EXIT_QUALIFICATION);
    if ((qualification & IO_STRING) != 0)
        return string_io(vcpu, qualification);

    struct bus *bus = &vcpu->vm->bus;
    unsigned bytes = (qualification & 7) + 1;
    uint16_t port = (uint16_t)(qualification >> 16);
    uint64_t *rax = &vcpu->regs.gpr[RAX];
    if ((qualification & IO_IN) == 0) {
        bus_port_write(bus, port, bytes,
                       bytes == 4 ? (uint32_t)*rax : (uint32_t)*rax & ((1u << 8 * bytes) - 1));
        return EXIT_NEXT;
    }
    uint32_t value = bus_port_read(bus, port, bytes);
    if (bytes == 4)
        *rax = value;
    else if (bytes == 2)
        *rax = (*rax & ~0xffffull) | (value & 0xffff);
    else
        *rax = (*rax & ~0xffull) | (value & 0xff);
    return EXIT_NEXT;
}
