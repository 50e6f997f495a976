/* SPDX-License-Identifier: BSD-2-Clause */
/* Carries a block out on a copy, and compares: check.h. */
#include "guest/bt/check.h"

#include "arch/string.h"
#include "guest/bt/bt.h"
#include "guest/bt/code.h"
#include "guest/cpu/alu.h"
#include "guest/cpu/emulate_parts.h"
#include "mm/page_alloc.h"

#define PAGES       ((sizeof(struct bt_check) + PAGE_SIZE - 1) / PAGE_SIZE)
#define MAX_REPEATS 1024u /* calls for one REP, of EMULATE_MAX_REPEATS iterations each */
#define LEFT        (RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF) /* by a product */

static struct bt_vcpu *of(void *env)
{
    return ((struct interpret_env *)env)->ctx;
}

static void stop(struct interpret_env *env, enum bt_check_stop why)
{
    struct bt_check *c = of(env)->check;
    if (c->stop == BT_CHECK_GOES_ON)
        c->stop = why;
}

/* --- memory: the guest's, under the list of what has been written --- */

/* Where a linear address is; nothing of the guest's changes, no accessed flag either. NULL:
 * stopped. A part lies within a page. */
static const uint8_t *find(struct bt_vcpu *v, uint64_t linear, enum walk_access access, bool user,
                           bool implicit, gpa_t *at)
{
    const struct guestmem *mem = &v->vcpu.vm->mem;
    struct guest_paging paging = bt_paging(v, user);
    struct guest_translation found;
    uint32_t error;
    paging.implicit = implicit;
    paging.peek = true;
    if (!guestwalk_examine(mem, &paging, gva(linear), access, &found, &error)) {
        stop(&v->check->env, BT_CHECK_UNMAPPED);
        return NULL;
    }
    *at = found.at;
    const uint8_t *host =
        access == WALK_WRITE ? guestmem_writable_window(mem, *at, 1) : guestmem_window(mem, *at, 1);
    if (host == NULL)
        stop(&v->check->env, BT_CHECK_DEVICE);
    return host;
}

static bool find_operand(struct bt_vcpu *v, gva_t linear, unsigned bytes, bool write, bool user,
                         bool implicit, struct emulate_operand *out)
{
    const enum walk_access access = write ? WALK_WRITE : WALK_READ;
    const uint64_t room = PAGE_SIZE - linear.v % PAGE_SIZE;
    if (write && v->check->stores + 2 > BT_CHECK_STORES) {
        stop(&v->check->env, BT_CHECK_CUT);
        return false;
    }
    out->bytes = out->first = bytes;
    if (find(v, linear.v, access, user, implicit, &out->at[0]) == NULL)
        return false;
    if (bytes <= room)
        return true;
    out->first = (unsigned)room;
    const uint64_t second = linear.v + room;
    return find(v, (v->state.efer & EFER_LMA) != 0 ? second : (uint32_t)second, access, user,
                implicit, &out->at[1]) != NULL;
}

static bool translate_operand(void *env, gva_t linear, unsigned bytes, bool write,
                              struct emulate_operand *out)
{
    return find_operand(of(env), linear, bytes, write, false, false, out);
}

static bool translate_as(struct interpret_env *env, gva_t linear, unsigned bytes, bool write,
                         bool user, struct emulate_operand *out)
{
    return find_operand(of(env), linear, bytes, write, user, !user, out);
}

/* Bytes that a store of the list has, put over what was read from memory. */
static void overlay(const struct bt_check_store *store, gpa_t at, uint8_t *to, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        if (at.v + i - store->at.v < store->bytes)
            to[i] = store->data[at.v + i - store->at.v];
}

static void read_part(struct bt_vcpu *v, gpa_t at, uint8_t *to, unsigned bytes)
{
    const struct bt_check *c = v->check;
    if (!guestmem_read(&v->vcpu.vm->mem, at, to, bytes))
        stop(&v->check->env, BT_CHECK_DEVICE);
    for (unsigned i = 0; i < c->stores; i++)
        if (at.v - c->store[i].at.v < c->store[i].bytes || c->store[i].at.v - at.v < bytes)
            overlay(&c->store[i], at, to, bytes);
}

static void read_operand(void *env, const struct emulate_operand *operand, void *to)
{
    read_part(of(env), operand->at[0], to, operand->first);
    if (operand->first < operand->bytes)
        read_part(of(env), operand->at[1], (uint8_t *)to + operand->first,
                  operand->bytes - operand->first);
}

static void write_part(struct bt_vcpu *v, gpa_t at, const uint8_t *from, unsigned bytes)
{
    struct bt_check *c = v->check;
    if (c->stores == BT_CHECK_STORES) { /* several were translated, and then written */
        stop(&c->env, BT_CHECK_CUT);
        return;
    }
    struct bt_check_store *store = &c->store[c->stores++];
    store->at = at;
    store->bytes = (uint8_t)bytes;
    store->insn = (uint8_t)c->known;
    memcpy(store->data, from, bytes);
}

static void write_operand(void *env, const struct emulate_operand *operand, const void *from)
{
    write_part(of(env), operand->at[0], from, operand->first);
    if (operand->first < operand->bytes)
        write_part(of(env), operand->at[1], (const uint8_t *)from + operand->first,
                   operand->bytes - operand->first);
}

static bool fetch(struct interpret_env *env, uint64_t linear, uint8_t *to, unsigned bytes)
{
    gpa_t at;
    if (find(of(env), linear, WALK_FETCH, false, false, &at) == NULL)
        return false;
    read_part(of(env), at, to, bytes);
    return true;
}

/* --- what is not done on a copy --- */

static void raised(struct interpret_env *env, unsigned vector, uint32_t error)
{
    (void)vector;
    (void)error;
    stop(env, BT_CHECK_RAISED);
}

static bool refuse(struct interpret_env *env)
{
    stop(env, BT_CHECK_POLICY);
    return false;
}

static bool no_port_in(struct interpret_env *env, uint16_t port, unsigned bytes, uint32_t *value)
{
    (void)port;
    (void)bytes;
    *value = 0;
    return refuse(env);
}

static bool no_port_out(struct interpret_env *env, uint16_t port, unsigned bytes, uint32_t value)
{
    (void)port;
    (void)bytes;
    (void)value;
    return refuse(env);
}

static bool no_cpuid(struct interpret_env *env, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    (void)leaf;
    (void)subleaf;
    memset(out, 0, 4 * sizeof(out[0]));
    return refuse(env);
}

static bool no_rdmsr(struct interpret_env *env, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = 0;
    return refuse(env);
}

static bool no_wrmsr(struct interpret_env *env, uint32_t msr, uint64_t value)
{
    (void)msr;
    (void)value;
    return refuse(env);
}

static bool no_write_cr(struct interpret_env *env, unsigned number, uint64_t value)
{
    (void)number;
    (void)value;
    return refuse(env);
}

static bool no_value(struct interpret_env *env, uint64_t *value)
{
    *value = 0;
    return refuse(env);
}

static bool no_write_xcr0(struct interpret_env *env, uint64_t value)
{
    (void)value;
    return refuse(env);
}

static void no_invlpg(struct interpret_env *env, uint64_t linear)
{
    (void)linear;
    (void)refuse(env);
}

static void no_flush(struct interpret_env *env)
{
    (void)refuse(env);
}

static uint64_t no_time(struct interpret_env *env)
{
    stop(env, BT_CHECK_CUT);
    return 0;
}

static const struct interpret_calls calls = {
    .fetch = fetch,
    .translate = translate_operand,
    .translate_as = translate_as,
    .read = read_operand,
    .write = write_operand,
    .raise = raised,
    .port_in = no_port_in,
    .port_out = no_port_out,
    .cpuid = no_cpuid,
    .rdmsr = no_rdmsr,
    .wrmsr = no_wrmsr,
    .write_cr = no_write_cr,
    .read_cr8 = no_value,
    .write_xcr0 = no_write_xcr0,
    .invlpg = no_invlpg,
    .flush_tlb = no_flush,
    .rdtsc = no_time,
    .hypercall = refuse,
};

/* --- flags that are nobody's --- */

/* Which flags an instruction leaves undefined, by the SDM's volume 2; those of before that it
 * leaves as they are with them. A shift by 0 may keep all. */
static uint64_t undefined_behind(const struct insn *in, uint64_t before)
{
    switch (in->op) {
    case INSN_AND:
    case INSN_OR:
    case INSN_XOR:
    case INSN_TEST: return RFLAGS_AF;
    case INSN_ADD:
    case INSN_ADC:
    case INSN_SUB:
    case INSN_SBB:
    case INSN_CMP:
    case INSN_NEG:
    case INSN_XADD:
    case INSN_CMPXCHG:
    case INSN_POPCNT:
    case INSN_POPF: return 0;
    case INSN_INC:
    case INSN_DEC: return before & RFLAGS_CF;
    case INSN_ROL:
    case INSN_ROR:
    case INSN_RCL:
    case INSN_RCR: return before | RFLAGS_OF;
    case INSN_SHL:
    case INSN_SHR:
    case INSN_SAL:
    case INSN_SAR: return before | RFLAGS_AF | RFLAGS_OF | (in->mem_bytes < 4 ? RFLAGS_CF : 0);
    case INSN_SHLD:
    case INSN_SHRD:
        return before | RFLAGS_AF | RFLAGS_OF | (in->mem_bytes < 4 ? ARITHMETIC_FLAGS : 0);
    case INSN_MUL:
    case INSN_IMUL:
    case INSN_IMUL_TO: return LEFT;
    case INSN_DIV:
    case INSN_IDIV: return ARITHMETIC_FLAGS;
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC: return (before & RFLAGS_ZF) | RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
    case INSN_BSF:
    case INSN_BSR: return ARITHMETIC_FLAGS & ~RFLAGS_ZF;
    case INSN_TZCNT:
    case INSN_LZCNT: return RFLAGS_OF | RFLAGS_SF | RFLAGS_PF | RFLAGS_AF;
    case INSN_DAA:
    case INSN_DAS: return RFLAGS_OF;
    case INSN_AAA:
    case INSN_AAS: return RFLAGS_OF | RFLAGS_SF | RFLAGS_ZF | RFLAGS_PF;
    case INSN_AAM:
    case INSN_AAD: return RFLAGS_OF | RFLAGS_AF | RFLAGS_CF;
    case INSN_SAHF: return before & RFLAGS_OF;
    case INSN_CLC:
    case INSN_STC: return before & ~RFLAGS_CF;
    default: return before;
    }
}

/* Flags that it looks at, as far as they end up anywhere else than in flags. */
static uint64_t looked_at(const struct insn *in)
{
    switch (in->op) {
    case INSN_PUSHF:
    case INSN_LAHF: return ARITHMETIC_FLAGS;
    case INSN_DAA:
    case INSN_DAS:
    case INSN_AAA:
    case INSN_AAS: return RFLAGS_CF | RFLAGS_AF;
    case INSN_ADC:
    case INSN_SBB:
    case INSN_RCL:
    case INSN_RCR:
    case INSN_SALC:
    case INSN_CMC: return RFLAGS_CF;
    case INSN_SET:
    case INSN_CMOV:
    case INSN_JCC: return ARITHMETIC_FLAGS & ~RFLAGS_AF;
    case INSN_LOOPE:
    case INSN_LOOPNE: return RFLAGS_ZF;
    case SYSTEM_INTO: return RFLAGS_OF;
    default: return 0;
    }
}

/* Whether it goes by none of those of before, and leaves none of them as it is: all are its own,
 * whatever they are while the software CPU has not carried it out. */
static bool loads_flags(const struct insn *in)
{
    return looked_at(in) == 0 &&
           ((undefined_behind(in, 0) ^ undefined_behind(in, ARITHMETIC_FLAGS)) &
            ARITHMETIC_FLAGS) == 0;
}

/* --- the software CPU's part --- */

static void note_state(struct bt_check *c, uint64_t undefined)
{
    const struct cpu_state *s = &c->state;
    struct bt_check_state *to = &c->after[c->known];
    memcpy(to->gpr, s->gpr, sizeof(to->gpr));
    to->rip = s->rip;
    to->rflags = s->rflags;
    to->undefined = undefined;
    to->gs_base = s->gs.base;
    to->kernel_gs_base = c->env.extra.kernel_gs_base;
    to->interruptibility = s->interruptibility;
}

/* One instruction, with all its iterations. False: stopped; before it was decoded, maybe. */
static bool carry_out(struct bt_check *c)
{
    const uint64_t rip = c->state.rip, undefined = c->after[c->known].undefined;
    struct interpret_known done;
    unsigned repeats = 0;
    do {
        if (interpret_one(&c->env) != INTERPRET_DONE || repeats++ == MAX_REPEATS)
            stop(&c->env, BT_CHECK_CUT);
        if (!interpret_note(&c->env, &done))
            return false;
        if (done.insn.rep != 0)
            c->repeats |= 1ull << c->known;
    } while (done.insn.rep != 0 && c->state.rip == rip && c->stop == BT_CHECK_GOES_ON);
    if (loads_flags(&done.insn))
        c->loads_flags |= 1ull << c->known;
    if ((looked_at(&done.insn) & undefined) != 0)
        stop(&c->env, BT_CHECK_CUT);
    if (c->stop != BT_CHECK_GOES_ON)
        return false;
    c->known++;
    note_state(c, undefined_behind(&done.insn, undefined));
    return true;
}

uint64_t bt_check_mask(const struct bt_vcpu *v)
{
    return v->code->cache.mode == INSN_64 ? UINT64_MAX : UINT32_MAX;
}

/* Whether the copy has not jumped away, to where the block is left. */
static bool is_next(const struct bt_vcpu *v, const struct bt_block *block)
{
    const struct bt_check *c = v->check;
    const uint64_t next = block->pc + v->code->cache.insn[block->first_insn + c->known].guest;
    return ((next ^ c->state.rip) & bt_check_mask(v)) == 0;
}

struct bt_block *bt_check_begin(struct bt_vcpu *v, struct bt_block *block)
{
    struct bt_check *c = v->check;
    c->state = v->state;
    c->env.extra = v->env.extra;
    c->env.features = v->env.features;
    c->stop = BT_CHECK_GOES_ON;
    c->behind = false;
    c->comparing = true;
    c->known = c->stores = 0;
    c->repeats = c->loads_flags = 0;
    note_state(c, 0);
    while (c->known < block->insns && is_next(v, block) && carry_out(c))
        ;
    const unsigned wanted = c->known != 0 ? c->known : 1;
    if (c->stop != BT_CHECK_CUT || block->insns <= wanted)
        return block;
    return bt_code_shorten(v, block, wanted);
}

/* --- the comparison --- */

uint64_t bt_check_flags(const struct bt_check *c, unsigned done)
{
    const bool loaded =
        !c->behind && done < TRANSLATE_MAX_INSNS && (c->loads_flags >> done & 1) != 0;
    return ~(c->after[done].undefined | (loaded ? ARITHMETIC_FLAGS : 0));
}

bool bt_check_store_differs(const struct bt_vcpu *v, unsigned number, unsigned done, uint8_t is[32])
{
    const struct bt_check *c = v->check;
    const struct bt_check_store *store = &c->store[number];
    if (store->insn >= done || !guestmem_read(&v->vcpu.vm->mem, store->at, is, store->bytes) ||
        memcmp(is, store->data, store->bytes) == 0)
        return false;
    uint8_t wanted[32];
    memcpy(wanted, store->data, store->bytes);
    for (unsigned i = number + 1; i < c->stores && c->store[i].insn < done; i++)
        overlay(&c->store[i], store->at, wanted, store->bytes);
    return memcmp(is, wanted, store->bytes) != 0;
}

static const char *what_differs(const struct bt_vcpu *v, unsigned done)
{
    const struct bt_check *c = v->check;
    const struct bt_check_state *wanted = &c->after[done];
    const struct cpu_state *s = &v->state;
    const uint64_t mask = bt_check_mask(v);
    uint8_t is[32];
    for (unsigned i = 0; i < (mask == UINT64_MAX ? 16 : 8); i++)
        if (((s->gpr[i] ^ wanted->gpr[i]) & mask) != 0)
            return "a register";
    if (((s->rip ^ wanted->rip) & mask) != 0)
        return "where it goes on";
    if (((s->rflags ^ wanted->rflags) & bt_check_flags(c, done)) != 0)
        return "a flag";
    if (s->gs.base != wanted->gs_base || v->env.extra.kernel_gs_base != wanted->kernel_gs_base)
        return "a base of GS";
    if (s->interruptibility != wanted->interruptibility)
        return "what blocks events";
    for (unsigned i = 0; i < c->stores; i++)
        if (bt_check_store_differs(v, i, done, is))
            return "memory";
    return NULL;
}

/* Instructions of the block that have been carried out; TRANSLATE_MAX_INSNS + 1: it was left in
 * between two of them. */
static unsigned instructions_done(const struct bt_vcpu *v, const struct bt_block *block)
{
    const struct translate_insn *insn = &v->code->cache.insn[block->first_insn];
    if (v->check->behind && v->check->stop == BT_CHECK_GOES_ON)
        return v->check->known;
    if (v->check->behind)
        return block->insns;
    for (unsigned i = 0; i < block->insns; i++)
        if (((block->pc + insn[i].guest - v->state.rip) & bt_check_mask(v)) == 0)
            return i;
    return TRANSLATE_MAX_INSNS + 1;
}

void bt_check_end(struct bt_vcpu *v, struct bt_block *block)
{
    struct bt_check *c = v->check;
    const unsigned done = instructions_done(v, block);
    const char *what = NULL;
    c->comparing = false;
    if (vm_has_ended(v->vcpu.vm))
        return;
    block->compared++;
    const bool astray = c->behind && v->code->cache.mode == INSN_64 &&
                        !emulate_is_canonical(&v->env.integer, v->state.rip);
    const bool half = !c->behind && done < TRANSLATE_MAX_INSNS && (c->repeats >> done & 1) != 0;
    if (astray || half ||
        (done > c->known && (c->stop == BT_CHECK_CUT || c->stop == BT_CHECK_UNMAPPED))) {
        bt_count(v, BT_UNCHECKED, 1);
        return;
    }
    if (done > block->insns)
        what = "where it was left";
    else if (done > c->known)
        what = "an instruction that is not to be done";
    else
        what = what_differs(v, done);
    if (what == NULL)
        bt_count(v, BT_CHECKED, done);
    else
        bt_check_print(v, block, done < c->known ? done : c->known, what);
}

/* --- its life --- */

enum status bt_check_create(struct bt_vcpu *v)
{
    hpa_t page;
    const enum status s = page_alloc(PAGES, 1, &page);
    if (s != OK)
        return s;
    v->check = hpa_to_ptr(page);
    v->code->input.apart = true;
    interpret_init(&v->check->env, &v->check->state, &calls, v);
    return OK;
}

void bt_check_destroy(struct bt_vcpu *v)
{
    if (v->check != NULL)
        page_free(ptr_to_hpa(v->check), PAGES);
    v->check = NULL;
}
