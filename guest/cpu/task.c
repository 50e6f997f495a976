/* SPDX-License-Identifier: BSD-2-Clause */
/* What a hardware task switch checks, saves and loads (SDM, "Task Switching"). */
#include "guest/cpu/task.h"

#include "arch/bytes.h"
#include "arch/x86.h"

#define TSS_CR3         28
#define TSS_TRAP        100
#define TSS_MAX_BYTES   104
#define FIELDS_REG      10 /* EIP, EFLAGS and 8 registers; then the segments and the LDTR */
#define DESCRIPTOR_HIGH 5  /* the byte with type, DPL and P */

/* The two formats differ in where the fields begin, their size and how many segments there are. */
struct tss_format {
    unsigned first, word, segments, bytes;
};
static const struct tss_format tss16 = {14, 2, 4, 44}, tss32 = {32, 4, 6, TSS_MAX_BYTES};

static const struct tss_format *format_of(const struct task_segment *tr)
{
    return (tr->access & ACCESS_TSS32) != 0 ? &tss32 : &tss16;
}

/* One switch under way. */
struct task {
    struct task_cpu *cpu;
    const struct task_env *env;
    const struct task_request *request;
    struct task_result result;
};

/* Notes a fault; always false, for the caller to return. */
static bool fault(struct task *t, unsigned vector, uint16_t selector)
{
    t->result.vector = (uint8_t)vector;
    t->result.error = selector & 0xfffc;
    return false;
}

static bool fault_queued(struct task *t)
{
    return fault(t, TASK_FAULT_QUEUED, 0);
}

/* Where a selector's descriptor is; false: not within its table. */
static bool locate(const struct task_cpu *cpu, uint16_t selector, uint32_t *at)
{
    const struct task_segment *ldtr = &cpu->segment[TASK_LDTR];
    bool local = (selector & 4) != 0;
    if (local && (ldtr->access & ACCESS_UNUSABLE) != 0)
        return false;
    *at = (local ? ldtr->base : cpu->gdt_base) + (selector & 0xfff8u);
    return (selector | 7u) <= (local ? ldtr->limit : cpu->gdt_limit);
}

/* The descriptor as a segment register holds it. vector: the fault of a bad selector. */
static bool read_descriptor(struct task *t, uint16_t selector, unsigned vector,
                            struct task_segment *out)
{
    uint32_t at;
    uint8_t bytes[8];
    if (!locate(t->cpu, selector, &at))
        return fault(t, vector, selector);
    if (!t->env->read(t->env->ctx, at, bytes, sizeof(bytes)))
        return fault_queued(t);
    uint32_t low = get_le32(bytes), high = get_le32(bytes + 4);
    uint32_t limit = (low & 0xffff) | (high & 0xf0000);
    *out = (struct task_segment){
        .selector = selector,
        .access = high >> 8 & 0xf0ff,
        .limit = (high >> 23 & 1) != 0 ? limit << 12 | 0xfff : limit,
        .base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000),
    };
    return true;
}

/* Sets or clears bits of a descriptor's type in memory. */
static bool change_type(struct task *t, uint16_t selector, uint8_t clear, uint8_t set)
{
    uint32_t at;
    uint8_t byte;
    if (!locate(t->cpu, selector, &at))
        return true; /* the GDT has changed since LTR: there is nothing to mark */
    at += DESCRIPTOR_HIGH;
    return (t->env->read(t->env->ctx, at, &byte, 1) &&
            t->env->write(t->env->ctx, at, (byte & ~clear) | set, 1, false)) ||
           fault_queued(t);
}

/* SDM, table "Exception Conditions Checked During a Task Switch": the TSS itself. */
static bool check_tss(struct task *t, struct task_segment *tss)
{
    uint16_t selector = t->request->selector;
    bool iret = t->request->source == TASK_IRET;
    unsigned vector = iret ? VECTOR_INVALID_TSS : VECTOR_GENERAL_PROTECTION;
    if ((selector & 4) != 0)
        return fault(t, vector, selector);
    if (!read_descriptor(t, selector, vector, tss))
        return false;
    bool is_tss = (tss->access & (ACCESS_S | 5)) == 1;
    if (!is_tss || ((tss->access & ACCESS_TSS_BUSY) != 0) != iret)
        return fault(t, vector, selector);
    if ((tss->access & ACCESS_P) == 0)
        return fault(t, VECTOR_NOT_PRESENT, selector);
    if (tss->limit < format_of(tss)->bytes - 1)
        return fault(t, VECTOR_INVALID_TSS, selector);
    return true;
}

static uint32_t old_fields_bytes(const struct tss_format *format)
{
    return (FIELDS_REG + format->segments - 1) * format->word + 2;
}

/* Whatever of the old task's side may fault does so before anything has changed. */
static bool check_memory(struct task *t, const struct task_segment *tss)
{
    const struct task_env *env = t->env;
    const struct task_segment *old = &t->cpu->segment[TASK_TR];
    const struct tss_format *format = format_of(old);
    uint8_t image[TSS_MAX_BYTES];
    uint32_t at;
    if (old->limit < format->first + old_fields_bytes(format) - 1)
        return fault(t, VECTOR_INVALID_TSS, old->selector);
    bool nests = t->request->source == TASK_CALL || t->request->source == TASK_GATE;
    bool ok = env->read(env->ctx, tss->base, image, format_of(tss)->bytes) &&
              (!nests || env->probe_write(env->ctx, tss->base, 2)) &&
              env->probe_write(env->ctx, old->base + format->first, old_fields_bytes(format));
    if (ok && t->request->source != TASK_IRET && locate(t->cpu, tss->selector, &at))
        ok = env->probe_write(env->ctx, at + DESCRIPTOR_HIGH, 1);
    if (ok && !nests && locate(t->cpu, old->selector, &at))
        ok = env->probe_write(env->ctx, at + DESCRIPTOR_HIGH, 1);
    return ok || fault_queued(t);
}

static bool save_old(struct task *t)
{
    const struct task_cpu *cpu = t->cpu;
    const struct tss_format *format = format_of(&cpu->segment[TASK_TR]);
    uint32_t eflags = cpu->eflags;
    if (t->request->source == TASK_IRET)
        eflags &= ~(uint32_t)RFLAGS_NT;
    for (unsigned i = 0; i < FIELDS_REG + format->segments; i++) {
        uint32_t value = i == 0           ? t->request->next_eip
                         : i == 1         ? eflags
                         : i < FIELDS_REG ? cpu->gpr[i - 2]
                                          : cpu->segment[i - FIELDS_REG].selector;
        uint32_t at = cpu->segment[TASK_TR].base + format->first + i * format->word;
        if (!t->env->write(t->env->ctx, at, value, i < FIELDS_REG ? format->word : 2, false))
            return fault_queued(t);
    }
    return true;
}

/* Busy flags and back link (SDM, table "Effect of a Task Switch on Busy Flag, NT Flag, Previous
 * Task Link Field, and TS Flag"). */
static bool mark_tasks(struct task *t, struct task_segment *tss)
{
    uint16_t old = t->cpu->segment[TASK_TR].selector;
    enum task_source source = t->request->source;
    if (source == TASK_JMP || source == TASK_IRET) {
        if (!change_type(t, old, ACCESS_TSS_BUSY, 0))
            return false;
    } else if (!t->env->write(t->env->ctx, tss->base, old, 2, false)) {
        return fault_queued(t);
    }
    tss->access |= ACCESS_TSS_BUSY;
    return source == TASK_IRET || change_type(t, tss->selector, 0, ACCESS_TSS_BUSY);
}

/* A segment register whose descriptor is still to be loaded, if it is ever. */
static struct task_segment unusable(uint16_t selector, unsigned dpl)
{
    return (struct task_segment){selector, ACCESS_UNUSABLE | dpl << ACCESS_DPL_SHIFT, 0, 0};
}

static bool load_ldtr(struct task *t)
{
    struct task_segment *ldtr = &t->cpu->segment[TASK_LDTR], new;
    uint16_t selector = ldtr->selector;
    if ((selector & 0xfffc) == 0)
        return true;
    /* One that is of the LDT is found nowhere: LDTR is still unusable. */
    if (!read_descriptor(t, selector, VECTOR_INVALID_TSS, &new))
        return false;
    if ((new.access &(ACCESS_S | ACCESS_TYPE | ACCESS_P)) != SEGMENT_LDT)
        return fault(t, VECTOR_INVALID_TSS, selector);
    *ldtr = new;
    return true;
}

/* The vector that loading a segment register gives with this descriptor; 0: none. */
static unsigned segment_fault(unsigned index, const struct task_segment *s, unsigned cpl)
{
    bool code = (s->access & ACCESS_CODE) != 0, present = (s->access & ACCESS_P) != 0;
    bool second = (s->access & ACCESS_WRITABLE) != 0,
         conforming = (s->access & ACCESS_EXPAND_DOWN) != 0;
    unsigned dpl = access_dpl(s->access), rpl = s->selector & 3;
    if ((s->access & ACCESS_S) == 0)
        return VECTOR_INVALID_TSS;
    if (index == TASK_SS) {
        if (code || !second)
            return VECTOR_INVALID_TSS;
        if (!present)
            return VECTOR_STACK_FAULT;
        return dpl != cpl || dpl != rpl ? VECTOR_INVALID_TSS : 0;
    }
    if (index == TASK_CS) {
        if (!code || (conforming ? dpl > rpl : dpl != rpl))
            return VECTOR_INVALID_TSS;
    } else if ((code && !second) || (!(code && conforming) && (dpl < cpl || dpl < rpl))) {
        return VECTOR_INVALID_TSS;
    }
    return present ? 0 : VECTOR_NOT_PRESENT;
}

static bool load_segment(struct task *t, unsigned index, unsigned cpl)
{
    struct task_segment *segment = &t->cpu->segment[index], new;
    uint16_t selector = segment->selector;
    if ((selector & 0xfffc) == 0)
        return (index != TASK_SS && index != TASK_CS) || fault(t, VECTOR_INVALID_TSS, selector);
    if (!read_descriptor(t, selector, VECTOR_INVALID_TSS, &new))
        return false;
    unsigned vector = segment_fault(index, &new, cpl);
    if (vector != 0)
        return fault(t, vector, selector);
    if ((new.access &ACCESS_ACCESSED) == 0) {
        new.access |= ACCESS_ACCESSED;
        if (!change_type(t, selector, 0, ACCESS_ACCESSED))
            return false;
    }
    *segment = new;
    return true;
}

/* Errors from here on belong to the new task. The stack first: with it, a handler can run. */
static bool load_segments(struct task *t)
{
    static const uint8_t order[] = {TASK_SS, TASK_DS, TASK_ES, TASK_FS, TASK_GS, TASK_CS};
    struct task_cpu *cpu = t->cpu;
    if (!load_ldtr(t))
        return false;
    if ((cpu->eflags & RFLAGS_VM) != 0)
        return true;
    unsigned cpl = cpu->segment[TASK_CS].selector & 3;
    for (unsigned i = 0; i < sizeof(order); i++)
        if (!load_segment(t, order[i], cpl))
            return false;
    return true;
}

/* Registers and selectors; descriptors come later, one by one, but in virtual-8086 mode, which has
 * none. */
static bool load_registers(struct task *t, const uint8_t *image, const struct task_segment *tss)
{
    struct task_cpu *cpu = t->cpu;
    const struct tss_format *format = format_of(tss);
    const uint8_t *field = image + format->first;
    unsigned word = format->word;
    cpu->segment[TASK_TR] = *tss;
    cpu->eip = (uint32_t)get_le(field, word);
    cpu->eflags = (uint32_t)((get_le(field + word, word) & RFLAGS_DEFINED) | RFLAGS_FIXED);
    if (t->request->source == TASK_CALL || t->request->source == TASK_GATE)
        cpu->eflags |= RFLAGS_NT;
    for (unsigned i = 0; i < 8; i++) /* the upper halves are undefined; ones is what CPUs leave */
        cpu->gpr[i] =
            (uint32_t)get_le(field + (2 + i) * word, word) | (word == 2 ? 0xffff0000u : 0);
    const uint8_t *selectors = field + FIELDS_REG * word;
    bool vm86 = (cpu->eflags & RFLAGS_VM) != 0;
    for (unsigned i = TASK_ES; i <= TASK_GS; i++) {
        uint16_t selector = i < format->segments ? get_le16(selectors + i * word) : 0;
        cpu->segment[i] =
            vm86 ? (struct task_segment){selector, SEGMENT_VM86, 0xffff, selector * 16u}
                 : unusable(selector, 3);
    }
    cpu->segment[TASK_LDTR] = unusable(get_le16(selectors + format->segments * word), 0);
    t->result.trap = format == &tss32 && (image[TSS_TRAP] & 1) != 0;
    if (format == &tss32 && cpu->paging &&
        !t->env->load_cr3(t->env->ctx, get_le32(image + TSS_CR3)))
        return fault(t, VECTOR_INVALID_TSS, 0);
    return true;
}

/* Whether bytes at an offset lie within the stack segment. */
static bool in_stack(const struct task_segment *ss, uint32_t offset, unsigned bytes)
{
    uint32_t last = offset + bytes - 1;
    if (last < offset)
        return false;
    if ((ss->access & ACCESS_EXPAND_DOWN) == 0)
        return last <= ss->limit;
    return offset > ss->limit && ((ss->access & ACCESS_DB) != 0 || last <= 0xffff);
}

static bool push_error(struct task *t)
{
    struct task_cpu *cpu = t->cpu;
    const struct task_segment *ss = &cpu->segment[TASK_SS];
    unsigned bytes = format_of(&cpu->segment[TASK_TR])->word;
    uint32_t mask = (ss->access & ACCESS_DB) != 0 ? UINT32_MAX : 0xffff;
    uint32_t esp = (cpu->gpr[4] - bytes) & mask;
    if (!in_stack(ss, esp, bytes))
        return fault(t, VECTOR_STACK_FAULT, 0);
    if (!t->env->write(t->env->ctx, ss->base + esp, t->request->error, bytes,
                       access_dpl(ss->access) == 3))
        return fault_queued(t);
    cpu->gpr[4] = (cpu->gpr[4] & ~mask) | esp;
    return true;
}

static bool enter_new(struct task *t, const uint8_t *image, const struct task_segment *tss)
{
    struct task_cpu *cpu = t->cpu;
    if (!load_registers(t, image, tss) || !load_segments(t))
        return false;
    if (t->request->has_error && !push_error(t))
        return false;
    if (cpu->eip > cpu->segment[TASK_CS].limit)
        return fault(t, VECTOR_GENERAL_PROTECTION, 0);
    return true;
}

struct task_result task_switch(struct task_cpu *cpu, const struct task_env *env,
                               const struct task_request *request)
{
    struct task t = {.cpu = cpu, .env = env, .request = request};
    struct task_segment tss;
    uint8_t image[TSS_MAX_BYTES];
    t.result.outcome = TASK_REFUSED;
    if (!check_tss(&t, &tss) || !check_memory(&t, &tss) || !save_old(&t) || !mark_tasks(&t, &tss))
        return t.result;
    if (!env->read(env->ctx, tss.base, image, format_of(&tss)->bytes)) {
        fault_queued(&t);
        return t.result;
    }
    t.result.outcome = enter_new(&t, image, &tss) ? TASK_SWITCHED : TASK_FAULTED;
    struct task_segment *cs = &cpu->segment[TASK_CS];
    if (t.result.outcome == TASK_FAULTED && (cs->access & ACCESS_UNUSABLE) != 0) {
        /* The fault is delivered before any code of the segment runs, but the CPU demands one. */
        cs->access = SEGMENT_CODE32 | access_dpl(cpu->segment[TASK_SS].access) << ACCESS_DPL_SHIFT;
        cs->limit = UINT32_MAX;
    }
    return t.result;
}
