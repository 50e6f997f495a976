/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instructions that CPL 3 may not execute, and that a paravirtualised kernel executes all the same:
 * those for which Xen's interface has no call. User code gets its exception, but for CPUID.
 */
#include "guest/pv/pv.h"

#include "arch/bytes.h"
#include "guest/cpu/control.h"
#include "guest/cpu/system.h"
#include "guest/vm/access.h"

/* What of CR4 is the guest's, and what it always reads beside. */
#define CR4_ALWAYS (CR4_PAE | CR4_PSE)

/* Five bytes before CPUID, which raise #UD, where the CPU itself would not fault: "ud2; xen". */
static const uint8_t prefix[5] = {0x0f, 0x0b, 'x', 'e', 'n'};
static const uint8_t cpuid_bytes[2] = {0x0f, 0xa2};

static void copy_low(uint64_t *reg, uint64_t value)
{
    *reg = (uint32_t)value;
}

static void emulate_cpuid(struct pv_vcpu *v)
{
    static const uint8_t number[4] = {RAX, RBX, RCX, RDX};
    uint64_t *gpr = v->vcpu.regs.gpr;
    gpr[RAX] = v->frame.gpr[RAX];
    gpr[RCX] = v->frame.gpr[RCX];
    if (!vcpu_cpuid(&v->vcpu))
        (void)vcpu_cpuid_dynamic(&v->vcpu, v->cr4);
    for (unsigned i = 0; i < 4; i++)
        copy_low(&v->frame.gpr[number[i]], gpr[number[i]]);
}

/* --- MSRs --- */

static bool rdmsr(struct pv_vcpu *v, uint32_t msr, uint64_t *value)
{
    switch (msr) {
    case MSR_IA32_FS_BASE: *value = cpu_rdmsr(MSR_IA32_FS_BASE); return true;
    case MSR_IA32_GS_BASE: *value = cpu_rdmsr(MSR_IA32_KERNEL_GS_BASE); return true;
    case MSR_IA32_KERNEL_GS_BASE: *value = v->user_gs_base; return true;
    case MSR_IA32_TSC_AUX: *value = v->tsc_aux; return true;
    case MSR_IA32_TIME_STAMP_COUNTER: *value = cpu_rdtsc(); return true;
    case MSR_IA32_EFER: *value = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE; return true;
    /* The guest makes the cache bits of its page tables by it, which are the CPU's to interpret:
     * here all of its memory is write-back whatever they say. */
    case MSR_IA32_PAT: *value = PAT_RESET_VALUE; return true;
    case MSR_IA32_MCG_CAP: /* CPUID shows MCA: there are no banks, and there is no error ever */
    case MSR_IA32_MCG_STATUS: *value = 0; return true;
    default: return false;
    }
}

static bool wrmsr(struct pv_vcpu *v, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case MSR_IA32_FS_BASE:
    case MSR_IA32_GS_BASE:
    case MSR_IA32_KERNEL_GS_BASE:
        if (!pv_is_canonical(value))
            return false;
        if (msr == MSR_IA32_KERNEL_GS_BASE)
            v->user_gs_base = value;
        else
            cpu_wrmsr(msr == MSR_IA32_FS_BASE ? MSR_IA32_FS_BASE : MSR_IA32_KERNEL_GS_BASE, value);
        return true;
    case MSR_IA32_TSC_AUX:
        if (value > UINT32_MAX)
            return false;
        v->tsc_aux = value;
        ring3_controls_set_aux(&v->controls, value);
        return true;
    case MSR_IA32_EFER: /* what it would turn on is on */
        return (value & ~(uint64_t)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)) == 0;
    case MSR_IA32_PAT: return value == PAT_RESET_VALUE;
    case MSR_IA32_MCG_STATUS: return value == 0;
    default: return false;
    }
}

static bool access_msr(struct pv_vcpu *v, bool write)
{
    uint64_t *gpr = v->frame.gpr;
    const uint32_t msr = (uint32_t)gpr[RCX];
    uint64_t value = gpr[RDX] << 32 | (uint32_t)gpr[RAX];
    if (write)
        return wrmsr(v, msr, value);
    if (!rdmsr(v, msr, &value))
        return false;
    copy_low(&gpr[RAX], value);
    copy_low(&gpr[RDX], value >> 32);
    return true;
}

/* The kernel has set CR4.TSD, to keep the counter from its user code. The CPU keeps it from the
 * kernel as well, at CPL 3. */
static bool read_tsc(struct pv_vcpu *v, bool with_aux)
{
    uint64_t *gpr = v->frame.gpr;
    const uint64_t now = cpu_rdtsc();
    if ((v->cr4 & CR4_TSD) == 0) /* the fault has another reason */
        return false;
    copy_low(&gpr[RAX], now);
    copy_low(&gpr[RDX], now >> 32);
    if (with_aux)
        gpr[RCX] = v->tsc_aux;
    return true;
}

/* --- control registers --- */

static bool read_control(const struct pv_vcpu *v, unsigned number, uint64_t *value)
{
    switch (number) {
    case 0: *value = v->cr0; return true;
    case 2: *value = v->info->cr2; return true;
    case 3: *value = v->kernel_cr3; return true;
    case 4: *value = v->cr4 | CR4_ALWAYS; return true;
    case 8: *value = 0; return true;
    default: return false;
    }
}

/* Of CR0 TS alone, of CR4 what user code can tell; what else is written has to be what is there. */
static bool write_control(struct pv_vcpu *v, unsigned number, uint64_t value)
{
    const uint64_t cr4 = v->vcpu.vm->cr4_allowed;
    if (number == 0) {
        if (((value ^ v->cr0) & ~(uint64_t)CR0_TS) != 0)
            return false;
        v->cr0 = value;
    } else if (number == 2) {
        v->info->cr2 = value;
        return true;
    } else if (number == 4) {
        if ((value & ~(cr4 | CR4_ALWAYS | CR4_PGE)) != 0)
            return false;
        v->cr4 = value & cr4;
    } else {
        return false;
    }
    pv_controls_changed(v);
    return true;
}

static bool access_control(struct pv_vcpu *v, const struct insn *insn, bool write)
{
    uint64_t *reg = &v->frame.gpr[insn->rm & 15];
    return write ? write_control(v, insn->reg, *reg) : read_control(v, insn->reg, reg);
}

static bool access_debug(struct pv_vcpu *v, const struct insn *insn, bool write)
{
    uint64_t *reg = &v->frame.gpr[insn->rm & 15];
    uint64_t arguments[16] = {[ARG0] = insn->reg, [ARG1] = *reg};
    struct pv_call call = {.gpr = arguments};
    if (write)
        return pv_set_debugreg(v, &call) == 0;
    *reg = (uint64_t)pv_get_debugreg(v, &call);
    return true;
}

/* The real CR4 has OSXSAVE as the guest has it (pv_controls_changed()): without it XSETBV would be
 * #UD here, at CPL 0, as it has been for the guest. */
static bool write_xcr0(struct pv_vcpu *v)
{
    const uint64_t *gpr = v->frame.gpr;
    const uint64_t value = gpr[RDX] << 32 | (uint32_t)gpr[RAX];
    if ((v->cr4 & CR4_OSXSAVE) == 0 || (uint32_t)gpr[RCX] != 0 ||
        !control_xcr0_is_valid(value, v->vcpu.vm->xcr0_allowed))
        return false;
    v->vcpu.xcr0 = value;
    cpu_xsetbv(0, value); /* the host uses no extended state: the guest's stays in the CPU */
    return true;
}

/* --- ports --- */

/* A domain has hardly any: what is read is all ones then. */
static void access_port(struct pv_vcpu *v, const struct insn *insn, bool write)
{
    uint64_t *gpr = v->frame.gpr;
    const uint16_t port = (uint16_t)(insn->form == INSN_IMM ? insn->imm & 0xff : gpr[RDX]);
    const unsigned bytes = insn->reg_bytes;
    const uint64_t mask = UINT64_MAX >> (64 - 8 * bytes);
    pv_book(v, PV_IO);
    if (write) {
        access_port_write(&v->vcpu, port, bytes, (uint32_t)(gpr[RAX] & mask));
        return;
    }
    const uint64_t value = access_port_read(&v->vcpu, port, bytes) & mask;
    gpr[RAX] = bytes == 4 ? value : (gpr[RAX] & ~mask) | value;
}

/* --- all --- */

/* In the guest's kernel. False: its exception. */
static bool emulate(struct pv_vcpu *v, const struct insn *insn)
{
    switch (insn->op) {
    case SYSTEM_CPUID: emulate_cpuid(v); return true;
    case SYSTEM_RDMSR:
    case SYSTEM_WRMSR: return access_msr(v, insn->op == SYSTEM_WRMSR);
    case SYSTEM_RDTSC: return read_tsc(v, false);
    case SYSTEM_RDTSCP: return read_tsc(v, true);
    case SYSTEM_MOV_FROM_CR:
    case SYSTEM_MOV_TO_CR: return access_control(v, insn, insn->op == SYSTEM_MOV_TO_CR);
    case SYSTEM_MOV_FROM_DR:
    case SYSTEM_MOV_TO_DR: return access_debug(v, insn, insn->op == SYSTEM_MOV_TO_DR);
    case SYSTEM_CLTS:
        v->cr0 &= ~(uint64_t)CR0_TS;
        pv_controls_changed(v);
        return true;
    case SYSTEM_XSETBV: return write_xcr0(v);
    case SYSTEM_IN:
    case SYSTEM_OUT: access_port(v, insn, insn->op == SYSTEM_OUT); return true;
    /* Nothing: all of the guest's memory is write-back, and no device's. */
    case SYSTEM_INVD:
    case SYSTEM_WBINVD:
    /* Nor these, as Xen has it: the POPF that is to end what CLI has begun cannot be seen. */
    case SYSTEM_CLI:
    case SYSTEM_STI: return true;
    default: return false;
    }
}

static bool has(const uint8_t *bytes, unsigned count, const uint8_t *wanted, unsigned length)
{
    unsigned differs = count < length;
    for (unsigned i = 0; i < length && i < count; i++)
        differs |= bytes[i] ^ wanted[i];
    return differs == 0;
}

/* IRET or RETF of 64-bit code. */
struct far_return {
    bool iret;
    unsigned word; /* bytes of what it takes from the stack, by its prefixes */
    unsigned more; /* bytes that RETF leaves out behind that */
};

static bool decode_far_return(const uint8_t *bytes, unsigned count, struct far_return *out)
{
    unsigned i = 0;
    *out = (struct far_return){.word = 4};
    if (i < count && bytes[i] == 0x66) {
        out->word = 2;
        i++;
    }
    if (i < count && (bytes[i] & 0xf0) == 0x40) { /* REX; with W it goes before 66 */
        out->word = (bytes[i] & 8) != 0 ? 8 : out->word;
        i++;
    }
    out->iret = i < count && bytes[i] == 0xcf;
    if (i + 2 < count && bytes[i] == 0xca)
        out->more = (unsigned)get_le(&bytes[i + 1], 2);
    return out->iret || (i < count && bytes[i] == 0xcb) || (i + 2 < count && bytes[i] == 0xca);
}

enum { TO_RIP, TO_CS, TO_FLAGS, TO_RSP, TO_SS, TO_WORDS };

/* In 64-bit code IRET takes RSP and SS in each operand size. The smaller ones clear the upper bits,
 * but for 16 bits not those of the flags. */
static void finish_iret(struct ring3_frame *f, const uint64_t to[TO_WORDS], unsigned word)
{
    const uint64_t kept = word == 2 ? f->rflags & ~(uint64_t)(UINT16_MAX | RFLAGS_RF) : 0;
    f->rflags = ring3_flags(to[TO_FLAGS] | kept);
    f->gpr[RSP] = to[TO_RSP];
    f->ss = to[TO_SS] & 0xffff;
}

/*
 * A CPU reads what these return by with the rights of its CPL (SDM, IRET, RET). QEMU's emulation,
 * up to version 9, does it with the supervisor's, which SMAP keeps from a guest's stack. Linux
 * executes IRETQ each time that it has changed its own code.
 */
bool pv_emulate_far_return(struct pv_vcpu *v)
{
    struct ring3_frame *f = &v->frame;
    uint8_t bytes[5], stack[TO_WORDS * sizeof(uint64_t)];
    uint64_t to[TO_WORDS] = {0};
    struct far_return r;
    if (!decode_far_return(bytes, pv_fetch(v, bytes, sizeof(bytes)), &r) || !pv_is_code64(v, f->cs))
        return false;
    const unsigned words = r.iret ? TO_WORDS : TO_CS + 1;
    if (!pv_read_as(v, f->gpr[RSP], stack, words * r.word))
        return false;
    for (unsigned i = 0; i < words; i++)
        to[i] = get_le(&stack[i * r.word], r.word);
    pv_book(v, PV_PRIVILEGED);
    if ((to[TO_CS] & 3) != 3) {
        const uint32_t error = to[TO_CS] & 0xfffc;
        pv_exception(v, VECTOR_GENERAL_PROTECTION, &error);
        return true;
    }
    f->rip = to[TO_RIP];
    f->cs = to[TO_CS] & 0xffff;
    if (r.iret)
        finish_iret(f, to, r.word);
    else
        f->gpr[RSP] += words * r.word + r.more;
    return true;
}

bool pv_emulate(struct pv_vcpu *v)
{
    uint8_t bytes[INSN_MAX_BYTES];
    const unsigned count = pv_fetch(v, bytes, sizeof(bytes));
    struct insn insn;
    pv_book(v, PV_PRIVILEGED);
    if (has(bytes, count, prefix, sizeof(prefix)) &&
        has(bytes + sizeof(prefix), count - (unsigned)sizeof(prefix), cpuid_bytes,
            sizeof(cpuid_bytes))) {
        emulate_cpuid(v);
        v->frame.rip += sizeof(prefix) + sizeof(cpuid_bytes);
        return true;
    }
    if (v->user && !has(bytes, count, cpuid_bytes, sizeof(cpuid_bytes)))
        return false;
    if (system_decode(&insn, bytes, count, INSN_64) != INSN_OK || !emulate(v, &insn))
        return false;
    v->frame.rip += insn.length;
    return true;
}
