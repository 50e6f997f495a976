/* SPDX-License-Identifier: BSD-2-Clause */
/* The checks of an event's delivery (SDM, "Exception and Interrupt Handling") as far as a kernel
 * that is being written is likely to fail them: gate, code segment, handler's page, stack. */
#include "guest/cpu/delivery.h"

#include "arch/bytes.h"
#include "arch/format.h"
#include "arch/x86.h"

#include <stdarg.h>

enum {
    GATE_TASK = 5,
    GATE_INTERRUPT_16 = 6,
    GATE_TRAP_16 = 7,
    GATE_INTERRUPT = 14,
    GATE_TRAP = 15
};
enum { GATE_PRESENT = 0x80, DESCRIPTOR_PRESENT = 0x80, DESCRIPTOR_CODE = 0x18 };

struct look {
    const struct guestmem *mem;
    const struct cpu_state *state;
    struct guest_paging paging;
    const struct event *event;
    bool long_mode;
    char *text;
    size_t size;
};

struct gate {
    uint16_t selector;
    uint8_t type, ist;
    bool present;
    uint64_t handler;
};

const char *delivery_exception_name(unsigned vector)
{
    static const char *const names[] = {
        "#DE", "#DB", "NMI", "#BP", "#OF",    "#BR", "#UD", "#NM", "#DF", "vector", "#TS",
        "#NP", "#SS", "#GP", "#PF", "vector", "#MF", "#AC", "#MC", "#XM", "#VE",    "#CP"};
    return vector < sizeof(names) / sizeof(names[0]) ? names[vector] : "vector";
}

struct guest_paging delivery_paging(const struct cpu_state *state, uint8_t phys_bits)
{
    return (struct guest_paging){.cr0 = state->cr0,
                                 .cr3 = state->cr3,
                                 .cr4 = state->cr4,
                                 .efer = state->efer,
                                 .rflags = state->rflags | RFLAGS_AC,
                                 .peek = true,
                                 .phys_bits = phys_bits,
                                 .pdpte = state->pdpte};
}

/* Always true: something has been found. */
static bool __attribute__((format(printf, 2, 3))) found(struct look *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    format_text_va(l->text, l->size, format, args);
    va_end(args);
    return true;
}

static bool read(const struct look *l, uint64_t at, void *to, size_t bytes)
{
    uint32_t error;
    gva_t fault_at;
    if (!l->long_mode)
        at &= UINT32_MAX;
    return guestwalk_read(l->mem, &l->paging, gva(at), WALK_READ, to, bytes, &error, &fault_at) ==
           bytes;
}

static bool is_reachable(const struct look *l, uint64_t linear, enum walk_access access)
{
    gpa_t at;
    uint32_t error;
    if (!l->long_mode)
        linear &= UINT32_MAX;
    else if ((int64_t)(linear << 16) >> 16 != (int64_t)linear && (l->paging.cr4 & CR4_LA57) == 0)
        return false;
    return guestwalk_translate(l->mem, &l->paging, gva(linear), access, &at, &error) &&
           guestmem_slot(l->mem, at) != NULL;
}

/* Why it cannot be read: by its page tables, or because a device is there, or nothing. */
static const char *lack_at(const struct look *l, uint64_t linear)
{
    gpa_t at;
    uint32_t error;
    if (!l->long_mode)
        linear &= UINT32_MAX;
    return guestwalk_translate(l->mem, &l->paging, gva(linear), WALK_READ, &at, &error)
               ? "not in memory"
               : "not mapped";
}

static struct gate parse_gate(const uint8_t *bytes, bool long_mode)
{
    const uint8_t type = bytes[5] & 0x1f;
    const bool narrow = type == GATE_INTERRUPT_16 || type == GATE_TRAP_16;
    return (struct gate){
        .selector = get_le16(bytes + 2),
        .type = type,
        .ist = long_mode ? bytes[4] & 7 : 0,
        .present = (bytes[5] & GATE_PRESENT) != 0,
        .handler = (uint64_t)get_le16(bytes) | (narrow ? 0 : (uint64_t)get_le16(bytes + 6) << 16) |
                   (long_mode ? (uint64_t)get_le32(bytes + 8) << 32 : 0),
    };
}

static bool type_is_known(const struct look *l, uint8_t type)
{
    return type == GATE_INTERRUPT || type == GATE_TRAP ||
           (!l->long_mode &&
            (type == GATE_TASK || type == GATE_INTERRUPT_16 || type == GATE_TRAP_16));
}

/* The code segment that a gate names. *dpl and *base are set where nothing is wrong with it. */
static bool segment_fails(struct look *l, const struct gate *gate, unsigned *dpl, uint64_t *base)
{
    const struct cpu_state *s = l->state;
    const unsigned index = gate->selector & 0xfff8u;
    const bool local = (gate->selector & 4) != 0;
    const uint64_t table = local ? s->ldtr.base : s->gdtr.base;
    const uint32_t limit = local ? s->ldtr.limit : s->gdtr.limit;
    const char *const name = local ? "LDT" : "GDT";
    uint8_t d[8];
    if ((gate->selector & 0xfffcu) == 0)
        return found(l, "its gate has the null selector");
    if (index + 7u > limit)
        return found(l, "its gate names selector 0x%x, and the %s ends at 0x%x", gate->selector,
                     name, limit);
    if (!read(l, table + index, d, sizeof(d)))
        return found(l, "its gate names selector 0x%x, and the %s at 0x%lx is %s", gate->selector,
                     name, table, lack_at(l, table + index));
    if ((d[5] & DESCRIPTOR_CODE) != DESCRIPTOR_CODE || (d[5] & DESCRIPTOR_PRESENT) == 0)
        return found(l, "its gate names selector 0x%x, which is no present code segment",
                     gate->selector);
    if (l->long_mode && (d[6] & 0x20) == 0)
        return found(l, "its gate names selector 0x%x, which is no 64-bit code segment",
                     gate->selector);
    *dpl = (d[5] & 4) != 0 ? 3 : d[5] >> 5 & 3; /* conforming: the CPL stays */
    *base =
        l->long_mode ? 0 : (uint64_t)get_le16(d + 2) | (uint64_t)d[4] << 16 | (uint64_t)d[7] << 24;
    return false;
}

/* Where the CPU pushes: the gate's IST, the TSS's stack of an inner ring, or the current one. */
static bool stack_fails(struct look *l, const struct gate *gate, unsigned dpl)
{
    const struct cpu_state *s = l->state;
    const unsigned cpl = s->ss.access >> 5 & 3, bytes = l->long_mode ? 8 : 4;
    const char *of = "its stack";
    uint8_t field[8] = {0};
    uint64_t top = s->rsp + (l->long_mode ? 0 : s->ss.base);
    if (gate->ist != 0 || dpl < cpl) {
        const unsigned offset = gate->ist != 0 ? 0x24u + 8 * (gate->ist - 1u) : 4u;
        of = gate->ist != 0 ? "the stack of its IST" : "the stack of ring 0";
        if (offset + bytes - 1 > s->tr.limit || !read(l, s->tr.base + offset, field, bytes))
            return found(l, "%s is in no TSS: TR has base 0x%lx and limit 0x%x", of, s->tr.base,
                         s->tr.limit);
        top = l->long_mode ? get_le64(field) : get_le32(field);
    }
    if (l->long_mode)
        top &= ~15ull;
    if (!is_reachable(l, top - bytes, WALK_WRITE))
        return found(l, "%s (top at 0x%lx) is not memory that can be written", of, top);
    return false;
}

static bool protected_mode_fails(struct look *l, const struct cpu_table_register *first)
{
    const struct cpu_state *s = l->state;
    const unsigned vector = l->event->info & 0xff, bytes = l->long_mode ? 16 : 8;
    const bool never = s->idtr.base == first->base && s->idtr.limit == first->limit;
    const char *const lidt = never ? ": LIDT was never executed" : "";
    uint8_t entry[16];
    unsigned dpl = 0;
    uint64_t base = 0;
    if (vector * bytes + bytes - 1 > s->idtr.limit)
        return found(l, "the IDT at 0x%lx (limit 0x%x) has no entry for it%s", s->idtr.base,
                     s->idtr.limit, lidt);
    if (!read(l, s->idtr.base + vector * bytes, entry, bytes))
        return found(l, "the IDT at 0x%lx is %s%s", s->idtr.base,
                     lack_at(l, s->idtr.base + vector * bytes), lidt);
    const struct gate gate = parse_gate(entry, l->long_mode);
    if (!type_is_known(l, gate.type))
        return found(l, "its entry in the IDT at 0x%lx is no gate (type 0x%x)%s", s->idtr.base,
                     gate.type, lidt);
    if (!gate.present)
        return found(l, "its gate in the IDT at 0x%lx is not present%s", s->idtr.base, lidt);
    if (gate.type == GATE_TASK) /* its task has the stack and the rest */
        return false;
    if (segment_fails(l, &gate, &dpl, &base))
        return true;
    if (!is_reachable(l, base + gate.handler, WALK_FETCH))
        return found(l, "its handler at 0x%lx is not memory that can be executed", gate.handler);
    return stack_fails(l, &gate, dpl);
}

bool delivery_explain(const struct guestmem *mem, const struct cpu_state *state, uint8_t phys_bits,
                      const struct cpu_table_register *first, const struct event *event, char *text,
                      size_t size)
{
    struct look l = {.mem = mem,
                     .state = state,
                     .paging = delivery_paging(state, phys_bits),
                     .event = event,
                     .long_mode = (state->efer & EFER_LMA) != 0,
                     .text = text,
                     .size = size};
    text[0] = 0;
    if ((state->cr0 & CR0_PE) != 0)
        return protected_mode_fails(&l, first);
    if ((event->info & 0xff) * 4 + 3 > state->idtr.limit) /* SDM, "Real-Address Mode Operation" */
        return found(&l, "the IDT (limit 0x%x) has no entry for it", state->idtr.limit);
    return false;
}

uint16_t delivery_bad_selector(const struct guestmem *mem, const struct cpu_state *state,
                               uint8_t phys_bits, const struct event *event)
{
    char text[1];
    struct look l = {.mem = mem,
                     .state = state,
                     .paging = delivery_paging(state, phys_bits),
                     .long_mode = (state->efer & EFER_LMA) != 0,
                     .text = text,
                     .size = sizeof(text)};
    const unsigned bytes = l.long_mode ? 16 : 8, at = (event->info & 0xff) * bytes;
    uint8_t entry[16];
    unsigned dpl;
    uint64_t base;
    if ((state->cr0 & CR0_PE) == 0 || at + bytes - 1 > state->idtr.limit ||
        !read(&l, state->idtr.base + at, entry, bytes))
        return 0;
    const struct gate gate = parse_gate(entry, l.long_mode);
    const bool fails = type_is_known(&l, gate.type) && gate.type != GATE_TASK && gate.present &&
                       (gate.selector & 4) == 0 && segment_fails(&l, &gate, &dpl, &base);
    return fails ? gate.selector & 0xfff8u : 0;
}

/* The bits of an error code below the index. */
enum { ERROR_EXTERNAL = 1, ERROR_IDT = 2, ERROR_LDT = 4 };

static const char *system_name(unsigned type)
{
    static const char *const names[] = {[1] = "16-bit TSS",
                                        [2] = "LDT",
                                        [3] = "busy 16-bit TSS",
                                        [4] = "16-bit call gate",
                                        [GATE_TASK] = "task gate",
                                        [GATE_INTERRUPT_16] = "16-bit interrupt gate",
                                        [GATE_TRAP_16] = "16-bit trap gate",
                                        [9] = "TSS",
                                        [11] = "busy TSS",
                                        [12] = "call gate",
                                        [GATE_INTERRUPT] = "interrupt gate",
                                        [GATE_TRAP] = "trap gate"};
    return names[type] != NULL ? names[type] : "descriptor of a reserved type";
}

/* SDM, "Segment Descriptors" and "System Descriptor Types". */
static void describe_descriptor(const uint8_t *d, bool long_mode, char *text, size_t size)
{
    const unsigned access = d[5];
    const bool code = (access & DESCRIPTOR_CODE) == DESCRIPTOR_CODE;
    const char *bits = "", *name = "data segment";
    if (get_le64(d) == 0) {
        format_text(text, size, "an empty descriptor");
        return;
    }
    if (code) {
        bits = long_mode && (d[6] & 0x20) != 0 ? "64-bit "
               : (d[6] & 0x40) != 0            ? "32-bit "
                                               : "16-bit ";
        name = "code segment";
    } else if ((access & 0x10) == 0) {
        name = system_name(access & 15);
    } else if ((access & 2) == 0) {
        name = "read-only data segment";
    }
    format_text(text, size, "a %s %s%s with DPL %u",
                (access & DESCRIPTOR_PRESENT) != 0 ? "present" : "not present", bits, name,
                access >> 5 & 3);
}

/* What stands in the table that the code names. */
static void describe_entry(const struct look *l, uint32_t error, char *text, size_t size)
{
    const struct cpu_state *s = l->state;
    const bool idt = (error & ERROR_IDT) != 0, local = !idt && (error & ERROR_LDT) != 0;
    const unsigned bytes = idt && l->long_mode ? 16 : 8;
    const uint64_t base = idt ? s->idtr.base : local ? s->ldtr.base : s->gdtr.base;
    const uint32_t limit = idt ? s->idtr.limit : local ? s->ldtr.limit : s->gdtr.limit;
    const uint64_t at = (uint64_t)(error >> 3 & 0x1fff) * bytes;
    uint8_t d[8];
    /* (After a reset it is at 0, with a limit of 64 KiB: nobody means that one.) */
    if (local && ((s->ldtr.access & ACCESS_UNUSABLE) != 0 || (s->ldtr.selector & 0xfffcu) == 0))
        format_text(text, size, ": there is no LDT");
    else if (at + bytes - 1 > limit)
        format_text(text, size, ", which ends at 0x%x", limit);
    else if (!read(l, base + at, d, sizeof(d)))
        format_text(text, size, ", whose memory at 0x%lx is not mapped", base + at);
    else {
        format_text(text, size, ": ");
        describe_descriptor(d, l->long_mode, text + 2, size - 2);
    }
}

bool delivery_explain_error(const struct guestmem *mem, const struct cpu_state *state,
                            uint8_t phys_bits, const struct event *event, char *text, size_t size)
{
    const unsigned vector = event->info & 0xff;
    const uint32_t error = event->error, index = error >> 3 & 0x1fff;
    const bool selector = vector >= VECTOR_INVALID_TSS && vector <= VECTOR_GENERAL_PROTECTION;
    const struct look l = {.mem = mem,
                           .state = state,
                           .paging = delivery_paging(state, phys_bits),
                           .long_mode = (state->efer & EFER_LMA) != 0};
    char entry[120];
    text[0] = 0;
    if ((event->info & EVENT_TYPE_MASK) != EVENT_EXCEPTION ||
        (event->info & EVENT_ERROR_CODE) == 0 || !selector ||
        (error | ERROR_EXTERNAL) == ERROR_EXTERNAL)
        return false;
    describe_entry(&l, error, entry, sizeof(entry));
    const char *const during =
        (error & ERROR_EXTERNAL) != 0 ? "; it came while another event was delivered" : "";
    if ((error & ERROR_IDT) != 0)
        format_text(text, size, "entry %u of the IDT%s%s", index, entry, during);
    else
        format_text(text, size, "selector 0x%x, entry %u of the %s%s%s", error & 0xfffcu, index,
                    (error & ERROR_LDT) != 0 ? "LDT" : "GDT", entry, during);
    return true;
}
