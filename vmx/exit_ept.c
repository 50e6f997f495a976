/* SPDX-License-Identifier: BSD-2-Clause */
/* EPT violations and APIC accesses: the guest has touched device memory, so its instruction is
 * emulated. */
#include "arch/fault.h"
#include "arch/panic.h"
#include "arch/string.h"
#include "guest/vm/access.h"
#include "guest/vm/breakpoint.h"
#include "guest/vm/linear.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/insn.h"

/* Exit qualification for EPT violations. */
#define VIOLATION_READ         (1u << 0)
#define VIOLATION_WRITE        (1u << 1)
#define VIOLATION_FETCH        (1u << 2)
#define VIOLATION_LINEAR_VALID (1u << 7)
#define VIOLATION_NOT_WALK \
    (1u << 8) /* of the linear address's page itself, not of a paging-structure entry */

/* How long and how often, both, something that is not emulated is tried again: 1/4 s. */
#define TRYING_PER_SECOND 4
#define ENOUGH_TRIES      1000

/* Not device memory, but memory of the guest: read-only, or all is not as it should be. */
static inline bool is_memory(const struct vcpu *vcpu, uint64_t address)
{
    return guestmem_slot(&vcpu->vm->mem, gpa(address)) != NULL;
}

/* Where no access has effects beyond memory: there is none, and no device either, or a device's.
 * The EPT is all vCPUs': what one has as its local APIC cannot be another's memory. */
static bool is_plain(const struct vcpu *vcpu, uint64_t address, void **memory)
{
    return !is_memory(vcpu, address) && !access_is_apic_of_any(vcpu->vm, address) &&
           bus_mmio_is_plain(&vcpu->vm->bus, address & ~(PAGE_SIZE - 1), memory);
}

static bool can_step(const struct vcpu *vcpu, uint64_t address)
{
    void *memory;
    return is_memory(vcpu, address) || is_plain(vcpu, address, &memory);
}

/*
 * An instruction that is not emulated may be another one than that which has exited: one that
 * another CPU has put there meanwhile, as debuggers do with INT3. Then the CPU, which executes the
 * new one, does not come here again; but for those that are changed back and forth, of which each
 * try has its chance to meet the same one twice. What comes again for long enough, and often
 * enough, is what is there. Only the end of the VM waits for that.
 */
static bool may_have_changed(struct vcpu *vcpu)
{
    const struct exit_stat *exit = vcpu->stats.exit;
    const uint64_t now = exit[REASON_EPT_VIOLATION].count + exit[REASON_APIC_ACCESS].count;
    if (now != vcpu->unknown_at + 1) {
        vcpu->unknown_since = vcpu->tsc_exit;
        vcpu->unknown_tries = 0;
    }
    vcpu->unknown_at = now;
    return vcpu->vm->vcpu_count > 1 &&
           (++vcpu->unknown_tries < ENOUGH_TRIES ||
            vcpu->tsc_exit - vcpu->unknown_since < vcpu->timers->hz / TRYING_PER_SECOND);
}

static enum exit_action not_emulated(struct vcpu *vcpu, const uint8_t *bytes, unsigned count,
                                     uint64_t address)
{
    if (can_step(vcpu, address))
        return exit_step_on_copy(vcpu, address);
    if (may_have_changed(vcpu))
        return EXIT_SAME;
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

/* What the fetch has brought. */
struct fetched {
    enum insn_mode mode;
    unsigned count;
    uint32_t fault;
    gva_t fault_at;
    uint8_t bytes[INSN_MAX_BYTES];
};

/* Whether the operand is where the CPU has met the device: another CPU may have changed the
 * instruction since. What cannot be told in short is told by a translation. */
static bool __attribute__((noinline))
is_as_reported(const struct vcpu *vcpu, struct insn insn, enum insn_mode mode, uint64_t access)
{
    return mode == INSN_64 && insn.segment < SEG_FS && insn.base != RSP &&
           (access & VIOLATION_LINEAR_VALID) != 0 &&
           insn_address(&insn, vcpu->regs.gpr, vmread(VMCS_GUEST_RIP)) ==
               vmread(VMCS_EXIT_GUEST_LINEAR);
}

/*
 * MOV between a register or a constant and device memory: nearly every access that drivers make.
 * The CPU has made all checks for the access that it has reported, and the guest-physical address
 * is known, so nothing is left to compute. False: not such an instruction, or one that the CPU has
 * not checked, as the code has been changed since.
 */
static inline bool move_directly(struct vcpu *vcpu, const struct insn *insn, uint64_t address,
                                 uint64_t access)
{
    uint64_t *gpr = vcpu->regs.gpr;
    uint64_t wanted = insn->form == INSN_REG_MEM ? VIOLATION_READ : VIOLATION_WRITE;
    if ((access & wanted) == 0 || (address & (insn->mem_bytes - 1u)) != 0 || breakpoints_on())
        return false;
    if (insn->form == INSN_REG_MEM && insn->reg_bytes >= 4) /* clears the upper half */
        gpr[insn->reg] = access_mmio_read(vcpu, address, insn->mem_bytes);
    else if (insn->form == INSN_REG_MEM)
        insn_set_reg(insn, gpr, access_mmio_read(vcpu, address, insn->mem_bytes));
    else if (insn->form == INSN_MEM_REG)
        access_mmio_write(vcpu, address, insn->mem_bytes, insn_get_reg(insn, gpr));
    else
        access_mmio_write(vcpu, address, insn->mem_bytes, insn->imm);
    vcpu->insn_length = insn->length;
    return true;
}

/* Everything else, with the whole of the checks. */
static enum exit_action emulate_whole(struct linear *linear, const struct insn *insn,
                                      enum insn_mode mode, uint64_t address)
{
    struct vcpu *vcpu = linear->vcpu;
    const bool one_operand =
        insn->form != INSN_STRING && insn->op != INSN_PUSH && insn->op != INSN_POP;
    linear->expected = one_operand && vcpu->vm->vcpu_count > 1 ? address / PAGE_SIZE : 0;
    const struct emulate_env env = linear_environment(linear, mode);
    uint64_t rflags = linear->paging.rflags, rsp = vmread(VMCS_GUEST_RSP);
    uint64_t pending = vmread(VMCS_GUEST_PENDING_DEBUG);
    vcpu->regs.gpr[RSP] = rsp;
    vcpu->insn_length = insn->length;
    vm_lock(vcpu->vm);
    enum emulate_result result = insn_emulate(insn, &env);
    vm_unlock(vcpu->vm);
    if (linear->paging.rflags != rflags)
        vmwrite(VMCS_GUEST_RFLAGS, linear->paging.rflags);
    if (vcpu->regs.gpr[RSP] != rsp)
        vmwrite(VMCS_GUEST_RSP, vcpu->regs.gpr[RSP]);
    if (result == EMULATE_FAULT) /* what breakpoints have met then has not come about */
        vmwrite(VMCS_GUEST_PENDING_DEBUG, pending);
    if (result == EMULATE_REPEAT)
        exit_iteration_done();
    return result == EMULATE_DONE ? EXIT_NEXT_DECODED : EXIT_SAME;
}

static enum exit_action __attribute__((noinline))
decode_and_emulate(struct linear *linear, struct fetched *code, uint64_t address, uint64_t access)
{
    struct vcpu *vcpu = linear->vcpu;
    struct insn insn;
    if (code->count < INSN_MAX_BYTES && code->fault == 0) { /* beyond RAM, where ones are read */
        memset(code->bytes + code->count, 0xff, INSN_MAX_BYTES - code->count);
        code->count = INSN_MAX_BYTES;
    }
    switch (insn_decode(&insn, code->bytes, code->count, code->mode)) {
    case INSN_OK: break;
    case INSN_TOO_LONG: return exit_general_protection(vcpu);
    case INSN_UNDEFINED: vcpu_inject_exception(vcpu, VECTOR_INVALID_OPCODE); return EXIT_SAME;
    case INSN_TRUNCATED: /* its page has gone since the CPU fetched it */
        linear_page_fault(vcpu, code->fault_at.v, code->fault);
        return EXIT_SAME;
    case INSN_UNKNOWN: return not_emulated(vcpu, code->bytes, code->count, address);
    }
    if (insn.op == INSN_MOV && insn.reg != RSP &&
        (vcpu->vm->vcpu_count == 1 || is_as_reported(vcpu, insn, code->mode, access)) &&
        move_directly(vcpu, &insn, address, access))
        return EXIT_NEXT_DECODED;
    return emulate_whole(linear, &insn, code->mode, address);
}

/* access: VIOLATION_READ and VIOLATION_WRITE as far as the CPU wanted to do that at the address,
 * VIOLATION_LINEAR_VALID. By the time that the instruction is fetched, another CPU of the guest may
 * have put another there: it is carried out if it, too, is about this address. */
static enum exit_action emulate(struct vcpu *vcpu, uint64_t address, uint64_t access)
{
    struct linear linear;
    struct fetched code;
    struct insn insn;
    linear_begin(&linear, vcpu);
    code.mode = linear_code_mode(&linear);
    code.count = linear_fetch(&linear, code.mode, code.bytes, &code.fault, &code.fault_at);
    /* The quick decoder tells no operand. Where other CPUs may have changed the instruction, that
     * is needed, to see whether it is still about this address. */
    if (code.mode == INSN_64 && code.count == INSN_MAX_BYTES && vcpu->vm->vcpu_count == 1 &&
        insn_decode_mov(&insn, code.bytes) && move_directly(vcpu, &insn, address, access))
        return EXIT_NEXT_DECODED;
    return decode_and_emulate(&linear, &code, address, access);
}

/* An event's delivery (stack, IDT, TSS) has met a device: no kernel can mean that. Where nothing
 * is, the CPU goes through with it. */
static bool ended_by_delivery(struct vcpu *vcpu, uint64_t address)
{
    inject_again(vcpu);
    if (vcpu->event == 0)
        return false;
    if (can_step(vcpu, address)) {
        (void)exit_step_on_copy(vcpu, address);
        return true;
    }
    vm_end_format(vcpu->vm, VM_CRASH, 0,
                  "an event was to be delivered through 0x%llx, which is a device",
                  (unsigned long long)address);
    return true;
}

/* A violation on memory of the guest. False: a write to what is read-only, by an instruction. */
static bool __attribute__((noinline))
ended_on_memory(struct vcpu *vcpu, uint64_t qualification, uint64_t address, bool of_walk)
{
    struct vm *vm = vcpu->vm;
    vm_lock(vm); /* a change is made piece by piece, and counted at its end */
    const bool changed = vcpu->ept_seen != vm->ept_changes;
    const bool writable = guestmem_is_writable(&vm->mem, gpa(address));
    vm_unlock(vm);
    if (changed) { /* by permissions that have changed meanwhile, perhaps */
        vcpu->attention = true;
        inject_again(vcpu);
        return true;
    }
    if (writable) {
        vcpu->stats.ept_violations_ram++;
        vm_end_format(vm, VM_CRASH, 0, "EPT violation (0x%llx) on RAM at 0x%llx",
                      (unsigned long long)qualification, (unsigned long long)address);
        return true;
    }
    if (!of_walk && (vmread(VMCS_EXIT_IDT_VECTORING) & EVENT_VALID) == 0)
        return false;
    inject_again(vcpu);
    (void)exit_step_on_copy(vcpu, address);
    return true;
}

/* As where nothing answers: the bytes read as ones, and FF FF is no instruction. */
static enum exit_action fetched_from_device(struct vcpu *vcpu, uint64_t address)
{
    void *memory;
    if (is_plain(vcpu, address, &memory) && memory != NULL)
        return exit_step_on_copy(vcpu, address);
    vcpu_inject_exception(vcpu, VECTOR_INVALID_OPCODE);
    return EXIT_SAME;
}

enum exit_action exit_ept_violation(struct vcpu *vcpu)
{
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
    uint64_t address = vmread(VMCS_EXIT_GUEST_PHYSICAL);
    if ((qualification & UNBLOCKED_BY_IRET) != 0)
        inject_iret_again();
    const bool of_walk =
        (qualification & VIOLATION_LINEAR_VALID) == 0 || (qualification & VIOLATION_NOT_WALK) == 0;
    if (is_memory(vcpu, address) && ended_on_memory(vcpu, qualification, address, of_walk))
        return EXIT_SAME;
    if (ended_by_delivery(vcpu, address))
        return EXIT_SAME;
    if (of_walk && can_step(vcpu, address))
        return exit_step_on_copy(vcpu, address);
    if (of_walk) {
        vm_end_format(vcpu->vm, VM_CRASH, 0, "page tables at 0x%llx, which is a device",
                      (unsigned long long)address);
        return EXIT_SAME;
    }
    if ((qualification & VIOLATION_FETCH) != 0)
        return fetched_from_device(vcpu, address);
    return emulate(vcpu, address, qualification);
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
    if (type == LINEAR_FETCH)
        return fetched_from_device(vcpu, address);
    if (type != LINEAR_READ && type != LINEAR_WRITE) {
        vm_end_format(vcpu->vm, VM_CRASH, 0, "an access of type %u to the local APIC's page", type);
        return EXIT_SAME;
    }
    return emulate(vcpu, address, type == LINEAR_READ ? VIOLATION_READ : VIOLATION_WRITE);
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
