/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest-linear accesses for the emulator: translation by guestwalk, then RAM or the bus. */
#include "vmx/linear.h"

#include "arch/cpu.h"
#include "arch/fault.h"
#include "vmx/insn.h"

#define ACCESS_LONG        (1u << 13)
#define ACCESS_DEFAULT_BIG (1u << 14)

void linear_page_fault(struct vcpu *vcpu, uint64_t address, uint32_t error)
{
    cpu_write_cr2(address); /* the guest's CR2 stays in the CPU: the host takes no page faults */
    vcpu_inject_exception_error(vcpu, VECTOR_PAGE_FAULT, error);
}

static bool translate(struct linear *linear, uint64_t address, enum walk_access access, gpa_t *out)
{
    if (address / PAGE_SIZE == linear->known_page) {
        *out = gpa(linear->known_gpa * PAGE_SIZE + address % PAGE_SIZE);
        return true;
    }
    uint32_t error;
    if (guestwalk_translate(&linear->vcpu->vm->mem, &linear->paging, gva(address), access, out,
                            &error))
        return true;
    linear_page_fault(linear->vcpu, address, error);
    return false;
}

/* The bytes of an access that lie in its first page. */
static unsigned first_part(uint64_t address, unsigned bytes)
{
    uint64_t room = PAGE_SIZE - address % PAGE_SIZE;
    return bytes < room ? bytes : (unsigned)room;
}

/* Within one page, already translated. A device access that crosses a page comes in odd sizes: byte
 * by byte then. */
static uint64_t physical_read(struct vm *vm, gpa_t at, unsigned bytes)
{
    uint64_t value = 0;
    if (guestmem_read(&vm->mem, at, &value, bytes))
        return value;
    if ((bytes & (bytes - 1)) == 0)
        return bus_mmio_read(&vm->bus, at.v, bytes);
    for (unsigned i = 0; i < bytes; i++)
        value |= bus_mmio_read(&vm->bus, at.v + i, 1) << 8 * i;
    return value;
}

static void physical_write(struct vm *vm, gpa_t at, unsigned bytes, uint64_t value)
{
    if (guestmem_write(&vm->mem, at, &value, bytes))
        return;
    if ((bytes & (bytes - 1)) == 0) {
        bus_mmio_write(&vm->bus, at.v, bytes, value);
        return;
    }
    for (unsigned i = 0; i < bytes; i++)
        bus_mmio_write(&vm->bus, at.v + i, 1, value >> 8 * i & 0xff);
}

/* Both pages are translated before either is touched, so that a fault leaves nothing half done. */
static bool translate_both(struct linear *linear, uint64_t address, unsigned bytes,
                           enum walk_access access, gpa_t out[2])
{
    if (!translate(linear, address, access, &out[0]))
        return false;
    unsigned first = first_part(address, bytes);
    return first == bytes || translate(linear, address + first, access, &out[1]);
}

bool linear_read(void *ctx, uint64_t address, unsigned bytes, uint64_t *value)
{
    struct linear *linear = ctx;
    gpa_t at[2];
    if (!translate_both(linear, address, bytes, WALK_READ, at))
        return false;
    unsigned first = first_part(address, bytes);
    *value = physical_read(linear->vcpu->vm, at[0], first);
    if (first < bytes)
        *value |= physical_read(linear->vcpu->vm, at[1], bytes - first) << 8 * first;
    return true;
}

bool linear_write(void *ctx, uint64_t address, unsigned bytes, uint64_t value)
{
    struct linear *linear = ctx;
    gpa_t at[2];
    if (!translate_both(linear, address, bytes, WALK_WRITE, at))
        return false;
    unsigned first = first_part(address, bytes);
    physical_write(linear->vcpu->vm, at[0], first, value);
    if (first < bytes)
        physical_write(linear->vcpu->vm, at[1], bytes - first, value >> 8 * first);
    return true;
}

bool linear_probe_write(struct linear *linear, uint64_t address, unsigned bytes)
{
    gpa_t at[2];
    return translate_both(linear, address, bytes, WALK_WRITE, at);
}

enum insn_mode linear_code_mode(void)
{
    uint64_t access = vmread(VMCS_GUEST_CS_ACCESS);
    if ((access & ACCESS_LONG) != 0)
        return INSN_64;
    return (access & ACCESS_DEFAULT_BIG) != 0 ? INSN_32 : INSN_16;
}

unsigned linear_fetch(struct linear *linear, enum insn_mode mode, uint8_t bytes[INSN_MAX_BYTES],
                      uint32_t *fault, gva_t *fault_at)
{
    uint64_t rip = vmread(VMCS_GUEST_RIP);
    if (mode != INSN_64)
        rip = (rip + vmread(VMCS_GUEST_CS_BASE)) & UINT32_MAX;
    return (unsigned)guestwalk_read(&linear->vcpu->vm->mem, &linear->paging, gva(rip), WALK_FETCH,
                                    bytes, INSN_MAX_BYTES, fault, fault_at);
}
