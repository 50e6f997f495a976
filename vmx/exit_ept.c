/* SPDX-License-Identifier: BSD-2-Clause */
/* EPT violations and APIC accesses: the guest has touched device memory, so its instruction is
 * emulated. */
#include "arch/fault.h"
#include "arch/panic.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/insn.h"
#include "vmx/linear.h"

/* Exit qualification for EPT violations. */
#define VIOLATION_FETCH        (1u << 2)
#define VIOLATION_LINEAR_VALID (1u << 7)
#define VIOLATION_NOT_WALK \
    (1u << 8) /* of the linear address's page itself, not of a paging-structure entry */

static uint64_t segment_base(void *ctx, enum insn_segment segment)
{
    (void)ctx;
    return vmread((enum vmcs_field)(VMCS_GUEST_ES_BASE + 2 * (unsigned)segment));
}

static enum exit_action not_emulated(struct vcpu *vcpu, const uint8_t *bytes, unsigned count,
                                     uint64_t address)
{
    char hex[3 * INSN_MAX_BYTES + 1] = "";
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < count; i++) {
        hex[3 * i] = digits[bytes[i] >> 4];
        hex[3 * i + 1] = digits[bytes[i] & 15];
        hex[3 * i + 2] = i + 1 < count ? ' ' : '\0';
    }
    vm_end_format(vcpu->vm, VM_CRASH, 0,
                  "an instruction on device memory at 0x%llx is not emulated: %s",
                  (unsigned long long)address, hex);
    return EXIT_SAME;
}

/*
 * MOV between a register or a constant and device memory, all of it in the page that the CPU has
 * reported: nearly every access that drivers make. The guest-physical address is known, so nothing
 * is left to compute.
 */
static inline void move_directly(struct vcpu *vcpu, const struct insn *insn, uint64_t address)
{
    struct bus *bus = &vcpu->vm->bus;
    uint64_t *gpr = vcpu->regs.gpr;
    if (insn->form == INSN_REG_MEM && insn->reg_bytes >= 4) /* clears the upper half */
        gpr[insn->reg] = bus_mmio_read(bus, address, insn->mem_bytes);
    else if (insn->form == INSN_REG_MEM)
        insn_set_reg(insn, gpr, bus_mmio_read(bus, address, insn->mem_bytes));
    else if (insn->form == INSN_MEM_REG)
        bus_mmio_write(bus, address, insn->mem_bytes, insn_get_reg(insn, gpr));
    else
        bus_mmio_write(bus, address, insn->mem_bytes, insn->imm);
}

/* linear_told: the CPU has reported the operand's linear address beside this guest-physical one. */
static enum exit_action emulate(struct vcpu *vcpu, uint64_t address, bool linear_told)
{
    struct linear linear;
    linear_begin(&linear, vcpu);
    uint8_t bytes[INSN_MAX_BYTES];
    uint32_t fault;
    gva_t fault_at;
    enum insn_mode mode = linear_code_mode();
    unsigned count = linear_fetch(&linear, mode, bytes, &fault, &fault_at);

    struct insn insn;
    bool in_page = address % PAGE_SIZE <= PAGE_SIZE - 8;
    if (!in_page || mode != INSN_64 || count < INSN_MAX_BYTES || !insn_decode_mov(&insn, bytes)) {
        enum insn_result result = insn_decode(&insn, bytes, count, mode);
        if (result == INSN_TOO_LONG)
            return exit_general_protection(vcpu);
        if (result == INSN_TRUNCATED && fault != 0) {
            /* Its page has gone since the CPU fetched it. */
            linear_page_fault(vcpu, fault_at.v, fault);
            return EXIT_SAME;
        }
        if (result != INSN_OK)
            return not_emulated(vcpu, bytes, count, address);
    }
    vcpu->insn_length = insn.length;
    if (in_page && insn.op == INSN_MOV && insn.reg != RSP) {
        move_directly(vcpu, &insn, address);
        return EXIT_NEXT_DECODED;
    }
    if (linear_told) {
        linear.known_page = vmread(VMCS_EXIT_GUEST_LINEAR) / PAGE_SIZE;
        linear.known_gpa = address / PAGE_SIZE;
    }
    const struct emulate_env env = {
        .gpr = vcpu->regs.gpr,
        .rflags = &linear.paging.rflags,
        .rip = vmread(VMCS_GUEST_RIP),
        .mode = mode,
        .ctx = &linear,
        .read = linear_read,
        .write = linear_write,
        .segment_base = segment_base,
    };
    uint64_t rflags = linear.paging.rflags;
    vcpu->regs.gpr[RSP] = vmread(VMCS_GUEST_RSP);
    uint64_t rsp = vcpu->regs.gpr[RSP];
    enum emulate_result result = insn_emulate(&insn, &env);
    if (linear.paging.rflags != rflags)
        vmwrite(VMCS_GUEST_RFLAGS, linear.paging.rflags);
    if (vcpu->regs.gpr[RSP] != rsp)
        vmwrite(VMCS_GUEST_RSP, vcpu->regs.gpr[RSP]);
    return result == EMULATE_DONE ? EXIT_NEXT_DECODED : EXIT_SAME;
}

/* An event's delivery (stack, IDT, TSS) has met device memory: no kernel can mean that. */
static bool ended_by_delivery(struct vcpu *vcpu, uint64_t address)
{
    inject_again(vcpu);
    if (vcpu->event == 0)
        return false;
    vm_end_format(vcpu->vm, VM_CRASH, 0,
                  "an event was to be delivered through 0x%llx, which is not RAM",
                  (unsigned long long)address);
    return true;
}

enum exit_action exit_ept_violation(struct vcpu *vcpu)
{
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
    uint64_t address = vmread(VMCS_EXIT_GUEST_PHYSICAL);
    if (guestmem_window(&vcpu->vm->mem, gpa(address), 1) != NULL) {
        vcpu->vm->stats.ept_violations_ram++;
        vm_end_format(vcpu->vm, VM_CRASH, 0, "EPT violation (0x%llx) on RAM at 0x%llx",
                      (unsigned long long)qualification, (unsigned long long)address);
        return EXIT_SAME;
    }
    if (ended_by_delivery(vcpu, address))
        return EXIT_SAME;
    if ((qualification & VIOLATION_LINEAR_VALID) == 0 ||
        (qualification & VIOLATION_NOT_WALK) == 0) {
        vm_end_format(vcpu->vm, VM_CRASH, 0, "page tables at 0x%llx, which is not RAM",
                      (unsigned long long)address);
        return EXIT_SAME;
    }
    if ((qualification & VIOLATION_FETCH) != 0) {
        /* Nothing answers: the bytes read as ones, and FF FF is no instruction. */
        vcpu_inject_exception(vcpu, VECTOR_INVALID_OPCODE);
        return EXIT_SAME;
    }
    return emulate(vcpu, address, true);
}

/* What the CPU does not virtualize of the APIC page (SDM, "Virtualizing Memory-Mapped APIC
 * Accesses"). */
enum exit_action exit_apic_access(struct vcpu *vcpu)
{
    enum { LINEAR_READ, LINEAR_WRITE, LINEAR_FETCH };
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
    uint64_t address = VM_APIC_PAGE_GPA | (qualification & 0xfff);
    unsigned type = qualification >> 12 & 15;
    if (ended_by_delivery(vcpu, address))
        return EXIT_SAME;
    if (type != LINEAR_READ && type != LINEAR_WRITE) {
        vm_end_format(vcpu->vm, VM_CRASH, 0, "an access of type %u to the local APIC's page", type);
        return EXIT_SAME;
    }
    return emulate(vcpu, address, false);
}

enum exit_action exit_ept_misconfiguration(struct vcpu *vcpu)
{
    struct ept_error where = {gpa(0), 0, 0};
    bool right = ept_check(&vcpu->vm->ept, &where);
    panic("EPT misconfiguration at 0x%llx; tables %s, entry 0x%llx at level %u for 0x%llx",
          (unsigned long long)vmread(VMCS_EXIT_GUEST_PHYSICAL),
          right ? "pass the check" : "are wrong", (unsigned long long)where.entry, where.level,
          (unsigned long long)where.guest.v);
}
