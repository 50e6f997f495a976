/* SPDX-License-Identifier: BSD-2-Clause */
/* The system's instructions: operands and privilege as the SDM's volume 2 has them for each; what
 * they do beyond the registers is the engine's. */
#include "arch/bytes.h"
#include "guest/cpu/interpret_parts.h"

static bool is_privileged(const struct interpret_env *env)
{
    return env->integer.cpl == 0;
}

static bool is_canonical(const struct interpret_env *env, uint64_t address)
{
    return emulate_is_canonical(&env->integer, address);
}

static enum step done(bool good)
{
    return good ? STEP_NEXT : STEP_FAULT;
}

static uint64_t read_register(const struct interpret_env *env)
{
    return env->state->gpr[env->insn->rm & 15] & mask_of(env->insn->mem_bytes);
}

static enum step write_register(struct interpret_env *env, uint64_t value)
{
    set_part(&env->state->gpr[env->insn->rm & 15], env->insn->mem_bytes, value);
    return STEP_NEXT;
}

/* --- tables --- */

static unsigned base_bytes(const struct interpret_env *env)
{
    return env->integer.mode == INSN_64 ? 8 : 4;
}

static bool reach_table(struct interpret_env *env, bool write, struct emulate_operand *limit,
                        struct emulate_operand *base)
{
    const struct insn *in = env->insn;
    const uint64_t at = insn_address(in, env->integer.gpr, env->integer.rip);
    return emulate_reach(&env->integer, in->segment, at, 2, write, false, limit) &&
           emulate_reach(&env->integer, in->segment, (at + 2) & mask_of(in->addr_bytes),
                         base_bytes(env), write, false, base);
}

static enum step store_table(struct interpret_env *env, const struct cpu_table_register *table)
{
    struct emulate_operand limit, base;
    if ((env->state->cr4 & CR4_UMIP) != 0 && !is_privileged(env))
        return step_protection(env);
    if (!reach_table(env, true, &limit, &base))
        return STEP_FAULT;
    env->calls->write(env, &limit, &table->limit);
    env->calls->write(env, &base, &table->base);
    return STEP_NEXT;
}

static enum step load_table(struct interpret_env *env, struct cpu_table_register *table)
{
    struct emulate_operand limit, base;
    struct cpu_table_register new = {0, 0};
    if (!is_privileged(env))
        return step_protection(env);
    if (!reach_table(env, false, &limit, &base))
        return STEP_FAULT;
    env->calls->read(env, &limit, &new.limit);
    env->calls->read(env, &base, &new.base);
    if (env->integer.mode == INSN_64 && !is_canonical(env, new.base))
        return step_protection(env);
    if (env->integer.mode != INSN_64 && env->insn->reg_bytes == 2)
        new.base &= 0xffffff;
    *table = new;
    return STEP_NEXT;
}

/* --- control and debug registers --- */

static enum step store_status(struct interpret_env *env)
{
    struct emulate_operand operand;
    if ((env->state->cr4 & CR4_UMIP) != 0 && !is_privileged(env))
        return step_protection(env);
    if (!operand_reach(env->insn, &env->integer, true, &operand))
        return STEP_FAULT;
    operand_write(env->insn, &env->integer, &operand, env->state->cr0);
    return STEP_NEXT;
}

/* PE to TS; PE can be set, not cleared. */
static enum step load_status(struct interpret_env *env)
{
    const uint64_t low = CR0_PE | CR0_MP | CR0_EM | CR0_TS, cr0 = env->state->cr0;
    struct emulate_operand operand;
    if (!is_privileged(env))
        return step_protection(env);
    if (!operand_reach(env->insn, &env->integer, false, &operand))
        return STEP_FAULT;
    const uint64_t value = operand_read(env->insn, &env->integer, &operand);
    return done(env->calls->write_cr(env, 0, (cr0 & ~(low & ~CR0_PE)) | (value & low)));
}

static enum step clear_task_switched(struct interpret_env *env)
{
    if (!is_privileged(env))
        return step_protection(env);
    return done(env->calls->write_cr(env, 0, env->state->cr0 & ~CR0_TS));
}

static enum step move_from_control(struct interpret_env *env)
{
    const struct cpu_state *s = env->state;
    uint64_t value = 0;
    if (!is_privileged(env))
        return step_protection(env);
    switch (env->insn->reg) {
    case 0: value = s->cr0; break;
    case 2: value = s->cr2; break;
    case 3: value = s->cr3; break;
    case 4: value = s->cr4; break;
    default:
        if (!env->calls->read_cr8(env, &value))
            return STEP_FAULT;
    }
    return write_register(env, value);
}

static enum step move_to_control(struct interpret_env *env)
{
    if (!is_privileged(env))
        return step_protection(env);
    if (env->insn->reg != 2)
        return done(env->calls->write_cr(env, env->insn->reg, read_register(env)));
    env->state->cr2 = read_register(env);
    return STEP_NEXT;
}

/* DR4 and DR5 are other names of DR6 and DR7, unless CR4.DE is set. False: an exception has been
 * raised. */
static bool reach_debug(struct interpret_env *env, unsigned *number)
{
    const struct cpu_state *s = env->state;
    *number = env->insn->reg;
    if (*number == 4 || *number == 5) {
        if ((s->cr4 & CR4_DE) != 0) {
            (void)step_undefined(env);
            return false;
        }
        *number += 2;
    }
    if (!is_privileged(env)) {
        (void)step_protection(env);
        return false;
    }
    if ((s->dr7 & DR7_GD) != 0) {
        debug_raise(env, DR6_BD);
        return false;
    }
    return true;
}

static enum step move_from_debug(struct interpret_env *env)
{
    const struct cpu_state *s = env->state;
    unsigned number;
    if (!reach_debug(env, &number))
        return STEP_FAULT;
    return write_register(env, number < 4 ? s->dr[number] : number == 6 ? s->dr6 : s->dr7);
}

static enum step move_to_debug(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    const uint64_t value = read_register(env);
    unsigned number;
    if (!reach_debug(env, &number))
        return STEP_FAULT;
    if (number >= 6 && value >> 32 != 0)
        return step_protection(env);
    if (number < 4)
        s->dr[number] = value;
    else if (number == 6)
        s->dr6 = (value & DR6_WRITABLE) | DR6_RESET;
    else
        s->dr7 = (value & DR7_WRITABLE) | DR7_RESET;
    return STEP_NEXT;
}

/* --- the TLB --- */

static enum step invalidate_page(struct interpret_env *env)
{
    const struct insn *in = env->insn;
    const bool in_64 = env->integer.mode == INSN_64;
    uint64_t linear = insn_address(in, env->integer.gpr, env->integer.rip);
    if (!is_privileged(env))
        return step_protection(env);
    if (!in_64 || in->segment >= SEG_FS)
        linear += env->state->segment[in->segment].base;
    if (!in_64)
        linear &= UINT32_MAX;
    if (!in_64 || is_canonical(env, linear))
        env->calls->invlpg(env, linear);
    return STEP_NEXT;
}

static enum step invalidate_context(struct interpret_env *env)
{
    enum { ONE_ADDRESS, ONE_CONTEXT, ALL_AND_GLOBAL, ALL };
    const struct insn *in = env->insn;
    struct cpu_state *s = env->state;
    const uint64_t type = insn_get_reg(in, env->integer.gpr);
    struct emulate_operand operand;
    uint64_t descriptor[2];
    if ((env->features & INTERPRET_INVPCID) == 0)
        return step_undefined(env);
    if (!is_privileged(env))
        return step_protection(env);
    if (!emulate_reach(&env->integer, in->segment, insn_address(in, s->gpr, s->rip), 16, false,
                       false, &operand))
        return STEP_FAULT;
    env->calls->read(env, &operand, descriptor);
    const bool has_pcid = type <= ONE_CONTEXT, pcide = (s->cr4 & CR4_PCIDE) != 0;
    if (type > ALL || descriptor[0] >> 12 != 0 || (has_pcid && !pcide && descriptor[0] != 0) ||
        (type == ONE_ADDRESS && !is_canonical(env, descriptor[1])))
        return step_protection(env);
    if (type == ONE_ADDRESS && (!pcide || descriptor[0] == (s->cr3 & 0xfff)))
        env->calls->invlpg(env, descriptor[1]);
    else
        env->calls->flush_tlb(env);
    return STEP_NEXT;
}

/* --- flags --- */

/* CLI and STI. Where IF is not theirs, it is VIF with CR4.VME or PVI (SDM, "Virtual-8086 Mode
 * Extensions", "Protected-Mode Virtual Interrupts"). */
static enum step change_interrupts(struct interpret_env *env, bool on)
{
    struct cpu_state *s = env->state;
    const bool v86 = (s->rflags & RFLAGS_VM) != 0;
    const bool is_virtual = (s->cr4 & (v86 ? CR4_VME : CR4_PVI)) != 0 && env->integer.cpl == 3;
    uint64_t flag = RFLAGS_IF;
    if ((s->cr0 & CR0_PE) != 0 && (v86 ? 3 : env->integer.cpl) > iopl_of(s)) {
        if (!is_virtual || (on && (s->rflags & RFLAGS_VIP) != 0))
            return step_protection(env);
        flag = RFLAGS_VIF;
    }
    set_flags(&s->rflags, flag, on ? flag : 0);
    if (on && flag == RFLAGS_IF && (env->flags & RFLAGS_IF) == 0)
        s->interruptibility |= BLOCKED_BY_STI;
    return STEP_NEXT;
}

/* CLAC and STAC */
static enum step change_access(struct interpret_env *env, uint64_t value)
{
    if ((env->features & INTERPRET_SMAP) == 0 || !is_privileged(env))
        return step_undefined(env);
    set_flags(&env->state->rflags, RFLAGS_AC, value);
    return STEP_NEXT;
}

/* --- what is told, and model-specific registers --- */

static enum step identify(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    uint32_t out[4] = {0, 0, 0, 0};
    if (!env->calls->cpuid(env, (uint32_t)s->rax, (uint32_t)s->rcx, out))
        return STEP_FAULT;
    s->rax = out[0];
    s->rbx = out[1];
    s->rcx = out[2];
    s->rdx = out[3];
    return STEP_NEXT;
}

static bool has_tsc_aux(const struct interpret_env *env)
{
    return (env->features & (INTERPRET_RDTSCP | INTERPRET_RDPID)) != 0;
}

/* The MSRs that are kept here. NULL: it is none of them. */
static uint64_t *own_msr(struct interpret_env *env, uint32_t msr)
{
    switch (msr) {
    case MSR_IA32_SYSENTER_CS: return &env->state->sysenter_cs;
    case MSR_IA32_SYSENTER_ESP: return &env->state->sysenter_esp;
    case MSR_IA32_SYSENTER_EIP: return &env->state->sysenter_eip;
    case MSR_IA32_STAR: return &env->extra.star;
    case MSR_IA32_LSTAR: return &env->extra.lstar;
    case MSR_IA32_CSTAR: return &env->extra.cstar;
    case MSR_IA32_FMASK: return &env->extra.fmask;
    case MSR_IA32_FS_BASE: return &env->state->fs.base;
    case MSR_IA32_GS_BASE: return &env->state->gs.base;
    case MSR_IA32_KERNEL_GS_BASE: return &env->extra.kernel_gs_base;
    case MSR_IA32_TSC_AUX: return has_tsc_aux(env) ? &env->extra.tsc_aux : NULL;
    default: return NULL;
    }
}

static bool msr_allows(const struct interpret_env *env, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case MSR_IA32_STAR:
    case MSR_IA32_SYSENTER_CS: return true;
    case MSR_IA32_FMASK:
    case MSR_IA32_TSC_AUX: return value >> 32 == 0;
    default: return is_canonical(env, value);
    }
}

static enum step read_msr(struct interpret_env *env)
{
    const uint32_t msr = (uint32_t)env->state->rcx;
    uint64_t value = 0;
    if (!is_privileged(env))
        return step_protection(env);
    const uint64_t *own = own_msr(env, msr);
    if (own != NULL)
        value = *own;
    else if (!env->calls->rdmsr(env, msr, &value))
        return STEP_FAULT;
    pair_set(env->state, value);
    return STEP_NEXT;
}

static enum step write_msr(struct interpret_env *env)
{
    const uint32_t msr = (uint32_t)env->state->rcx;
    const uint64_t value = pair_get(env->state);
    if (!is_privileged(env))
        return step_protection(env);
    uint64_t *own = own_msr(env, msr);
    if (own == NULL)
        return done(env->calls->wrmsr(env, msr, value));
    if (!msr_allows(env, msr, value))
        return step_protection(env);
    *own = msr == MSR_IA32_SYSENTER_CS ? value & UINT32_MAX : value;
    return STEP_NEXT;
}

static enum step read_tsc(struct interpret_env *env, bool with_aux)
{
    struct cpu_state *s = env->state;
    if (with_aux && (env->features & INTERPRET_RDTSCP) == 0)
        return step_undefined(env);
    if ((s->cr4 & CR4_TSD) != 0 && !is_privileged(env))
        return step_protection(env);
    pair_set(s, env->calls->rdtsc(env));
    if (with_aux)
        s->rcx = env->extra.tsc_aux;
    return STEP_NEXT;
}

static enum step read_pid(struct interpret_env *env)
{
    if ((env->features & INTERPRET_RDPID) == 0)
        return step_undefined(env);
    return write_register(env, env->extra.tsc_aux);
}

/* --- extended control registers, protection keys --- */

static enum step read_xcr(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    const uint32_t number = (uint32_t)s->rcx;
    if ((s->cr4 & CR4_OSXSAVE) == 0)
        return step_undefined(env);
    if (number > 1 || (number == 1 && (env->features & INTERPRET_XGETBV_1) == 0))
        return step_protection(env);
    pair_set(s, env->extra.xcr0); /* of 1: as if every component were in use */
    return STEP_NEXT;
}

static enum step write_xcr(struct interpret_env *env)
{
    const struct cpu_state *s = env->state;
    if ((s->cr4 & CR4_OSXSAVE) == 0)
        return step_undefined(env);
    if (!is_privileged(env) || (uint32_t)s->rcx != 0)
        return step_protection(env);
    return done(env->calls->write_xcr0(env, pair_get(s)));
}

static enum step protection_keys(struct interpret_env *env, bool write)
{
    struct cpu_state *s = env->state;
    if ((s->cr4 & CR4_PKE) == 0)
        return step_undefined(env);
    if ((uint32_t)s->rcx != 0 || (write && (uint32_t)s->rdx != 0))
        return step_protection(env);
    if (write)
        env->extra.pkru = (uint32_t)s->rax;
    else
        pair_set(s, env->extra.pkru);
    return STEP_NEXT;
}

/* --- bases of FS and GS --- */

static enum step access_base(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    const unsigned op = env->insn->op;
    uint64_t *base = op == SYSTEM_RDFSBASE || op == SYSTEM_WRFSBASE ? &s->fs.base : &s->gs.base;
    if ((s->cr4 & CR4_FSGSBASE) == 0)
        return step_undefined(env);
    if (op <= SYSTEM_RDGSBASE)
        return write_register(env, *base);
    if (!is_canonical(env, read_register(env)))
        return step_protection(env);
    *base = read_register(env);
    return STEP_NEXT;
}

static enum step swap_gs(struct interpret_env *env)
{
    const uint64_t base = env->state->gs.base;
    if (!is_privileged(env))
        return step_protection(env);
    env->state->gs.base = env->extra.kernel_gs_base;
    env->extra.kernel_gs_base = base;
    return STEP_NEXT;
}

/* --- the rest --- */

/* MONITOR and MWAIT, which may end at once. */
static enum step monitor(struct interpret_env *env)
{
    const struct insn *in = env->insn;
    const uint64_t at = env->state->rax & mask_of(in->addr_bytes);
    const bool waits = in->op == SYSTEM_MWAIT;
    struct emulate_operand operand;
    if ((env->features & INTERPRET_MONITOR) == 0 || !is_privileged(env))
        return step_undefined(env);
    if ((uint32_t)env->state->rcx > (waits ? 1 : 0))
        return step_protection(env);
    if (waits)
        return STEP_NEXT;
    return done(emulate_reach(&env->integer, in->segment, at, 1, false, false, &operand));
}

static enum step privileged(struct interpret_env *env, enum step step)
{
    return is_privileged(env) ? step : step_protection(env);
}

/* What has no operand, or one in a register. */
static enum step execute_rest(struct interpret_env *env)
{
    switch (env->insn->op) {
    case SYSTEM_HLT: return privileged(env, STEP_HALT);
    case SYSTEM_CLI: return change_interrupts(env, false);
    case SYSTEM_STI: return change_interrupts(env, true);
    case SYSTEM_CLAC: return change_access(env, 0);
    case SYSTEM_STAC: return change_access(env, RFLAGS_AC);
    case SYSTEM_CPUID: return identify(env);
    case SYSTEM_WRMSR: return write_msr(env);
    case SYSTEM_RDTSC: return read_tsc(env, false);
    case SYSTEM_RDMSR: return read_msr(env);
    case SYSTEM_RDPMC: return step_protection(env); /* there are no counters */
    case SYSTEM_RDTSCP: return read_tsc(env, true);
    case SYSTEM_RDPID: return read_pid(env);
    case SYSTEM_XGETBV: return read_xcr(env);
    case SYSTEM_XSETBV: return write_xcr(env);
    case SYSTEM_SWAPGS: return swap_gs(env);
    case SYSTEM_INVD:
    case SYSTEM_WBINVD: return privileged(env, STEP_NEXT);
    case SYSTEM_SERIALIZE:
        return env->features & INTERPRET_SERIALIZE ? STEP_NEXT : step_undefined(env);
    case SYSTEM_RDPKRU: return protection_keys(env, false);
    case SYSTEM_WRPKRU: return protection_keys(env, true);
    case SYSTEM_MONITOR:
    case SYSTEM_MWAIT: return monitor(env);
    case SYSTEM_VMMCALL:
        if ((env->features & INTERPRET_VMMCALL) == 0)
            return step_undefined(env);
        return env->calls->hypercall(env) ? STEP_NEXT : STEP_REPEAT;
    case SYSTEM_VMCALL: return env->calls->hypercall(env) ? STEP_NEXT : STEP_REPEAT;
    default: return env->insn->op >= SYSTEM_SYSCALL ? system_call(env) : access_base(env);
    }
}

enum step system_execute(struct interpret_env *env)
{
    struct cpu_state *s = env->state;
    if (env->insn->op < INSN_OPS || env->insn->op == SYSTEM_IN || env->insn->op == SYSTEM_OUT)
        return system_port(env); /* the most frequent ones */
    if (env->insn->op <= SYSTEM_VERW)
        return system_segment(env);
    switch (env->insn->op) {
    case SYSTEM_SGDT: return store_table(env, &s->gdtr);
    case SYSTEM_SIDT: return store_table(env, &s->idtr);
    case SYSTEM_LGDT: return load_table(env, &s->gdtr);
    case SYSTEM_LIDT: return load_table(env, &s->idtr);
    case SYSTEM_SMSW: return store_status(env);
    case SYSTEM_LMSW: return load_status(env);
    case SYSTEM_INVLPG: return invalidate_page(env);
    case SYSTEM_MOV_FROM_CR: return move_from_control(env);
    case SYSTEM_MOV_FROM_DR: return move_from_debug(env);
    case SYSTEM_MOV_TO_CR: return move_to_control(env);
    case SYSTEM_MOV_TO_DR: return move_to_debug(env);
    case SYSTEM_CLTS: return clear_task_switched(env);
    case SYSTEM_INVPCID: return invalidate_context(env);
    default: return execute_rest(env);
    }
}
