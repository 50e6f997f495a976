/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a vCPU stands, for its user: when it ends badly, or is asked. Registers, the code that it
 * is about to execute, who called it, and what could not be delivered. */
#include "arch/bytes.h"
#include "arch/format.h"
#include "arch/log.h"
#include "guest/cpu/decode.h"
#include "guest/cpu/delivery.h"
#include "guest/vm/sched.h"

#define CODE_BYTES 16
#define MAX_FRAMES 8
#define LINE_BYTES 200 /* eight frames of 19 characters, sixteen bytes of three */

/* What is printed: a state, and the memory that belongs to it. */
struct report {
    const char *name;
    const struct vcpu *vcpu;
    const struct cpu_state *state;
    struct guest_paging paging;
    unsigned bits; /* 16, 32 or 64: of the code */
};

static unsigned code_bits(const struct cpu_state *s)
{
    const bool real = (s->cr0 & CR0_PE) == 0 || (s->rflags & RFLAGS_VM) != 0;
    if (!real && (s->efer & EFER_LMA) != 0 && (s->cs.access & ACCESS_L) != 0)
        return 64;
    return !real && (s->cs.access & ACCESS_DB) != 0 ? 32 : 16;
}

static const char *mode_name(const struct report *r)
{
    const struct cpu_state *s = r->state;
    if ((s->cr0 & CR0_PE) == 0)
        return "real mode";
    if ((s->rflags & RFLAGS_VM) != 0)
        return "virtual-8086 mode";
    if (r->bits == 64)
        return "64-bit mode";
    if ((s->efer & EFER_LMA) != 0)
        return r->bits == 32 ? "32-bit compatibility mode" : "16-bit compatibility mode";
    return r->bits == 32 ? "32-bit protected mode" : "16-bit protected mode";
}

static size_t read_linear(const struct report *r, uint64_t at, void *to, size_t bytes)
{
    uint32_t error;
    gva_t fault_at;
    if ((r->state->efer & EFER_LMA) == 0)
        at &= UINT32_MAX;
    return guestwalk_read(&r->vcpu->vm->mem, &r->paging, gva(at), WALK_READ, to, bytes, &error,
                          &fault_at);
}

static void print_registers(const struct report *r)
{
    static const char *const names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                        "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    const struct cpu_state *s = r->state;
    log_line_of(r->vcpu->vm->log, "%s: RIP %016lx  RFLAGS %08lx  %s, CPL %u, interrupts %s",
                r->name, s->rip, s->rflags, mode_name(r), s->ss.access >> 5 & 3,
                (s->rflags & RFLAGS_IF) != 0 ? "on" : "off");
    for (unsigned i = 0; i < GPR_COUNT; i += 4)
        log_line_of(r->vcpu->vm->log, "%s: %s %016lx  %s %016lx  %s %016lx  %s %016lx", r->name,
                    names[i], s->gpr[i], names[i + 1], s->gpr[i + 1], names[i + 2], s->gpr[i + 2],
                    names[i + 3], s->gpr[i + 3]);
    log_line_of(r->vcpu->vm->log, "%s: CR0 %lx  CR2 %lx  CR3 %lx  CR4 %lx  EFER %lx", r->name,
                s->cr0, s->cr2, s->cr3, s->cr4, s->efer);
}

static size_t format_segment(const struct report *r, unsigned number, char *to, size_t size)
{
    static const char *const names[STATE_SEGMENT_COUNT] = {"ES", "CS", "SS",  "DS",
                                                           "FS", "GS", "LDT", "TR"};
    const struct cpu_segment *s = &r->state->segment[number];
    if ((s->access & ACCESS_UNUSABLE) != 0)
        return format_text(to, size, "%-3s %04x not usable", names[number], s->selector);
    return format_text(to, size, "%-3s %04x base %lx limit %x access %x", names[number],
                       s->selector, s->base, s->limit, s->access);
}

static void print_segments(const struct report *r)
{
    const struct cpu_state *s = r->state;
    char left[LINE_BYTES / 2], right[LINE_BYTES / 2];
    for (unsigned i = 0; i < STATE_SEGMENT_COUNT; i += 2) {
        (void)format_segment(r, i, left, sizeof(left));
        (void)format_segment(r, i + 1, right, sizeof(right));
        log_line_of(r->vcpu->vm->log, "%s: %-52s  %s", r->name, left, right);
    }
    log_line_of(r->vcpu->vm->log, "%s: IDT %lx (limit %x)  GDT %lx (limit %x)", r->name,
                s->idtr.base, s->idtr.limit, s->gdtr.base, s->gdtr.limit);
}

/* The bytes at RIP. */
static void print_code(const struct report *r)
{
    uint8_t code[CODE_BYTES];
    char text[LINE_BYTES];
    const uint64_t at = r->state->rip + (r->bits == 64 ? 0 : r->state->cs.base);
    const size_t count = read_linear(r, at, code, sizeof(code));
    size_t length = 0;
    text[0] = 0;
    for (size_t i = 0; i < count; i++)
        length += format_text(text + length, sizeof(text) - length, " %02x", code[i]);
    log_line_of(r->vcpu->vm->log, "%s: code at RIP:%s%s", r->name, text,
                count == 0 ? " none, there is no memory at that address" : "");
}

/* The word below RSP is where the next CALL or PUSH writes. */
static void print_stack(const struct report *r)
{
    uint8_t word[8];
    const unsigned bytes = r->bits / 8;
    const struct cpu_state *s = r->state;
    const uint64_t narrow = (s->ss.access & ACCESS_DB) != 0 ? UINT32_MAX : UINT16_MAX;
    const uint64_t mask = r->bits == 64 ? UINT64_MAX : narrow;
    const uint64_t below = ((s->rsp - bytes) & mask) + (r->bits == 64 ? 0 : s->ss.base);
    if (read_linear(r, below, word, bytes) != bytes)
        log_line_of(r->vcpu->vm->log,
                    "%s: there is no memory below RSP: a CALL, a PUSH or an interrupt cannot save "
                    "anything",
                    r->name);
}

/* By RBP, where it leads from frame to frame upwards: code that was compiled with frame pointers.
 */
static void print_callers(const struct report *r)
{
    const unsigned bytes = r->bits / 8;
    uint8_t frame[16];
    char text[LINE_BYTES];
    size_t length = 0;
    uint64_t rbp = r->state->rbp;
    if (r->bits == 16)
        return;
    for (unsigned i = 0; i < MAX_FRAMES && rbp != 0 && rbp % bytes == 0; i++) {
        uint8_t code;
        if (read_linear(r, rbp + (r->bits == 64 ? 0 : r->state->ss.base), frame, 2 * bytes) !=
            2 * bytes)
            break;
        const uint64_t next = get_le(frame, bytes), caller = get_le(frame + bytes, bytes);
        if (read_linear(r, caller + (r->bits == 64 ? 0 : r->state->cs.base), &code, 1) != 1)
            break;
        length += format_text(text + length, sizeof(text) - length, " %lx", caller);
        if (next <= rbp)
            break;
        rbp = next;
    }
    if (length != 0)
        log_line_of(r->vcpu->vm->log, "%s: called from (by RBP):%s", r->name, text);
}

/* Its local APIC: what the handler has, or has forgotten the EOI of, and what waits for it. */
static void print_apic(const struct report *r)
{
    const uint32_t *page = r->vcpu->apic.page;
    const int isr = vlapic_highest_vector(page, APIC_ISR);
    const int irr = vlapic_highest_vector(page, APIC_IRR);
    if (isr >= 0)
        log_line_of(r->vcpu->vm->log,
                    "%s: vector %d is in service at the local APIC, with no EOI yet", r->name, isr);
    if (irr >= 0)
        log_line_of(r->vcpu->vm->log, "%s: vector %d waits at the local APIC: %s", r->name, irr,
                    isr >> 4 >= irr >> 4                            ? "for that EOI"
                    : page[APIC_TPR / 4] >> 4 >= (uint32_t)irr >> 4 ? "the TPR holds it back"
                    : (r->state->rflags & RFLAGS_IF) == 0           ? "interrupts are off"
                                                                    : "the CPU takes it next");
}

void vcpu_print(const struct vcpu *vcpu, const struct cpu_state *state)
{
    struct report r = {vcpu->vm->name, vcpu, state, delivery_paging(state, vcpu->phys_bits),
                       code_bits(state)};
    static void (*const parts[])(const struct report *r) = {
        print_registers, print_segments, print_code, print_stack, print_callers, print_apic,
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        parts[i](&r);
        sched_look(); /* at a VM's end: its texts are some 60,000 instructions */
    }
}

/* What it was, with what the CPU tells of it. */
static void describe(const struct undelivered *u, char *to, size_t size)
{
    const unsigned vector = u->event.info & 0xff;
    const uint32_t error = u->event.error;
    const uint32_t type = u->event.info & EVENT_TYPE_MASK;
    if (type == EVENT_INTERRUPT || type == EVENT_SOFTWARE_INTERRUPT)
        format_text(to, size, "interrupt vector %u", vector);
    else if (vector == VECTOR_PAGE_FAULT)
        format_text(to, size, "#PF at 0x%lx (%s, %s)", u->address,
                    (error & PF_FETCH) != 0   ? "fetch"
                    : (error & PF_WRITE) != 0 ? "write"
                                              : "read",
                    (error & PF_RESERVED) != 0  ? "reserved bits are set"
                    : (error & PF_PRESENT) != 0 ? "not permitted"
                                                : "not present");
    else if ((u->event.info & EVENT_ERROR_CODE) != 0)
        format_text(to, size, "%s(0x%x)", delivery_exception_name(vector), error);
    else
        format_text(to, size, "%s", delivery_exception_name(vector));
}

void vcpu_print_undelivered(const struct vcpu *vcpu, const struct cpu_state *state)
{
    const struct undelivered *first = &vcpu->first;
    static const struct cpu_table_register reset = {0, 0xffff};
    const struct cpu_table_register *idtr = vcpu->initial != NULL ? &vcpu->initial->idtr : &reset;
    const char *name = vcpu->vm->name;
    char what[LINE_BYTES], why[LINE_BYTES];
    if ((first->event.info & EVENT_VALID) == 0)
        return;
    describe(first, what, sizeof(what));
    const bool known = delivery_explain(&vcpu->vm->mem, state, vcpu->phys_bits, idtr, &first->event,
                                        why, sizeof(why));
    log_line_of(vcpu->vm->log, "%s: first came %s, which was not delivered%s%s", name, what,
                known ? ": " : "", why);
    if (delivery_explain_error(&vcpu->vm->mem, state, vcpu->phys_bits, &first->event, why,
                               sizeof(why)))
        log_line_of(vcpu->vm->log, "%s: %s is about %s", name, what, why);
}
