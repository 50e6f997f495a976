/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's descriptors in the real tables, and its selectors in the real registers. */
#include "guest/ring3/segments.h"

#include "arch/cpu.h"
#include "arch/string.h"
#include "guest/cpu/descriptor.h"
#include "mm/page_alloc.h"

#define DESCRIPTOR_ACCESSED (1ull << 40)
#define DESCRIPTOR_L        (1ull << 53)
#define TABLE_BYTES         (RING3_DESCRIPTORS * 8)
_Static_assert(TABLE_BYTES == PAGE_SIZE && TABLE_BYTES < DESC_OWN, "an LDT is a page");

/* ring3_segments.loaded and its like. */
static const uint8_t register_of[4] = {STATE_DS, STATE_ES, STATE_FS, STATE_GS};

static struct descriptor unpack(uint64_t raw, uint16_t selector)
{
    const uint32_t high = (uint32_t)(raw >> 32);
    return (struct descriptor){
        .selector = selector, .low = (uint32_t)raw, .high = high, .access = high >> 8 & 0xf0ff};
}

/* Outside of long mode L has no meaning, where the processor would go by it. */
uint64_t ring3_descriptor(uint64_t guest, bool long_mode, unsigned held_by)
{
    const uint64_t marked = held_by != 0 ? guest | DESCRIPTOR_ACCESSED : guest;
    const struct descriptor d = unpack(marked, 0);
    const uint32_t needed = ACCESS_P | ACCESS_S | ACCESS_ACCESSED;
    const bool code = descriptor_is_code(&d), conforming = code && descriptor_is_conforming(&d);
    if ((d.access & needed) != needed || (descriptor_dpl(&d) != 3 && !conforming) ||
        (code && (held_by & RING3_HELD_BY_CS) == 0))
        return 0;
    if (code && (d.access & ACCESS_L) != 0 && long_mode)
        return (d.access & ACCESS_DB) != 0 ? 0 : marked;
    return marked & ~DESCRIPTOR_L;
}

/* --- the tables --- */

static uint64_t *real_of(const struct ring3_segments *segments, bool local)
{
    return local ? segments->ldt : segments->gdt;
}

static void __attribute__((cold)) put(struct ring3_segments *segments, bool local, unsigned index)
{
    const struct ring3_descriptors *table = local ? &segments->local : &segments->global;
    const unsigned selector = index << 3 | (local ? 4u : 0u);
    const unsigned held_by = (segments->code == selector ? RING3_HELD_BY_CS : 0u) |
                             (segments->stack == selector ? RING3_HELD_BY_SS : 0u);
    segments->chosen = false;
    real_of(segments, local)[index] =
        ring3_descriptor(table->seen[index], segments->long_mode, held_by);
}

static bool is_same(const uint64_t *a, const uint64_t *b, unsigned first, unsigned end)
{
    uint64_t differs = 0;
    for (unsigned i = first; i < end; i++)
        differs |= a[i] ^ b[i];
    return differs == 0;
}

/* count: of the guest's descriptors, which are in segments->now. The first of a GDT is none. */
static void update(struct ring3_segments *segments, bool local, unsigned count)
{
    struct ring3_descriptors *table = local ? &segments->local : &segments->global;
    const unsigned first = local ? 0 : 1, end = count > table->count ? count : table->count;
    if (count == table->count && is_same(segments->now, table->seen, first, count))
        return;
    for (unsigned i = first; i < end; i++) {
        const uint64_t now = i < count ? segments->now[i] : 0;
        if (now == table->seen[i])
            continue;
        table->seen[i] = now;
        put(segments, local, i);
    }
    table->count = count;
    segments->chosen = false;
}

static void __attribute__((cold)) clear(struct ring3_segments *segments, bool local)
{
    struct ring3_descriptors *table = local ? &segments->local : &segments->global;
    memset(real_of(segments, local), 0, table->count * sizeof(uint64_t));
    memset(table->seen, 0, table->count * sizeof(uint64_t));
    table->count = 0;
    segments->chosen = false;
}

/* Copies a table of the guest's. */
static bool __attribute__((cold))
read_table(struct ring3_segments *segments, uint64_t base, uint32_t limit, bool long_mode,
           ring3_look_fn *look, void *ctx, unsigned *count)
{
    const uint64_t bytes = (uint64_t)limit + 1;
    *count = (unsigned)((bytes < TABLE_BYTES ? bytes : TABLE_BYTES) / 8);
    unsigned done = 0;
    while (done < *count * 8) {
        const uint64_t at = long_mode ? base + done : (base + done) & UINT32_MAX;
        const unsigned room = PAGE_SIZE - (unsigned)(at % PAGE_SIZE), left = *count * 8 - done;
        const unsigned now = left < room ? left : room;
        if (!look(ctx, at, (uint8_t *)segments->now + done, now))
            return false;
        done += now;
    }
    return true;
}

/* Tables are compared each time that user code is entered: those that have not changed, and most
 * have some 16 descriptors, without a copy of them. */
#define COMPARED 16u
static bool is_current(const struct ring3_descriptors *table, uint64_t base, uint32_t limit,
                       ring3_look_fn *look, void *ctx)
{
    const uint64_t offset = base % PAGE_SIZE;
    uint64_t now[COMPARED];
    if (limit >= PAGE_SIZE - offset || limit / 8 >= COMPARED || table->count != (limit + 1) / 8 ||
        !look(ctx, base, now, table->count * 8))
        return false;
    uint64_t differs = 0;
    for (unsigned i = 1; i < table->count; i++)
        differs |= now[i] ^ table->seen[i];
    return differs == 0;
}

/* CS or SS holds another selector. */
static inline void __attribute__((always_inline))
set_held(struct ring3_segments *segments, uint16_t *held, uint16_t selector)
{
    const uint16_t changed[2] = {*held, selector & 0xfffc};
    if (changed[0] == changed[1])
        return;
    *held = changed[1];
    for (unsigned i = 0; i < 2; i++)
        if (!selector_is_null(changed[i]) && changed[i] < TABLE_BYTES)
            put(segments, (changed[i] & 4) != 0, changed[i] >> 3);
}

/* They have to be read. */
static bool __attribute__((cold))
read_tables(struct ring3_segments *segments, const struct cpu_state *s, ring3_look_fn *look,
            void *ctx)
{
    const bool long_mode = segments->long_mode;
    unsigned count = 0;
    if (!read_table(segments, s->gdtr.base, s->gdtr.limit, long_mode, look, ctx, &count))
        return false;
    update(segments, false, count);
    if ((s->ldtr.access & ACCESS_UNUSABLE) != 0)
        count = 0;
    else if (!read_table(segments, s->ldtr.base, s->ldtr.limit, long_mode, look, ctx, &count))
        return false;
    update(segments, true, count);
    if (segments->ldt_used != count * 8) {
        segments->ldt_used = count * 8;
        desc_load_ldt(cpu_self(), segments->ldt, count * 8);
    }
    return true;
}

static bool update_tables(struct ring3_segments *segments, const struct cpu_state *s,
                          ring3_look_fn *look, void *ctx)
{
    const bool long_mode = (s->efer & EFER_LMA) != 0;
    if (__builtin_expect(segments->long_mode != long_mode, 0)) {
        clear(segments, false);
        clear(segments, true);
        segments->long_mode = long_mode;
    }
    set_held(segments, &segments->code, s->cs.selector);
    set_held(segments, &segments->stack, s->ss.selector);
    const bool current = segments->ldt_used == 0 && (s->ldtr.access & ACCESS_UNUSABLE) != 0 &&
                         is_current(&segments->global, s->gdtr.base, s->gdtr.limit, look, ctx);
    return current || read_tables(segments, s, look, ctx);
}

/* --- the registers --- */

/* The real descriptor of a selector; 0: there is none. */
static uint64_t descriptor_of(const struct ring3_segments *segments, uint16_t selector)
{
    const bool local = (selector & 4) != 0;
    const unsigned index = selector >> 3;
    const struct ring3_descriptors *table = local ? &segments->local : &segments->global;
    return selector_is_null(selector) || index >= table->count ? 0
                                                               : real_of(segments, local)[index];
}

/* Whether CPL 3 could load it into that register. */
static bool can_load(unsigned number, const struct descriptor *d)
{
    const bool code = descriptor_is_code(d), writable = (d->access & ACCESS_WRITABLE) != 0;
    if (d->access == 0)
        return false;
    if (number == STATE_CS)
        return code && (d->selector & 3) == 3;
    if (number == STATE_SS)
        return !code && writable && (d->selector & 3) == 3;
    return !code || writable; /* readable */
}

/* Whether the hidden part is what loading it would make of it now. FS and GS base are written
 * behind the load. */
static bool is_as_loaded(const struct cpu_state *s, unsigned number, const struct descriptor *d)
{
    const uint32_t looked_at = 0xe0ff; /* without AVL */
    const struct cpu_segment *held = &s->segment[number], is = descriptor_segment(s, d);
    const bool has_base = number == STATE_FS || number == STATE_GS;
    return ((held->access ^ is.access) & (looked_at | ACCESS_UNUSABLE)) == 0 &&
           held->limit == is.limit && (has_base || held->base == is.base);
}

/* What is to be in a register; false: it cannot be. */
static bool choose(const struct ring3_segments *segments, const struct cpu_state *s,
                   unsigned number, uint16_t *wanted)
{
    const struct cpu_segment *held = &s->segment[number];
    const bool is_64 = segment_is_64(s), stays = number == STATE_CS || number == STATE_SS;
    const struct descriptor d = unpack(descriptor_of(segments, held->selector), held->selector);
    *wanted = held->selector;
    if (selector_is_null(held->selector))
        return !stays && (is_64 || (held->access & ACCESS_UNUSABLE) != 0);
    if (!can_load(number, &d)) { /* as SYSRET leaves them: nobody but MOV from it can tell */
        *wanted = 0;
        return is_64 && !stays;
    }
    if (!is_64)
        return is_as_loaded(s, number, &d);
    return number != STATE_CS || (d.access & ACCESS_L) != 0;
}

static bool __attribute__((cold))
choose_all(struct ring3_segments *segments, const struct cpu_state *state)
{
    uint16_t other;
    if (!choose(segments, state, STATE_CS, &other) || !choose(segments, state, STATE_SS, &other))
        return false;
    for (unsigned i = 0; i < 4; i++)
        if (!choose(segments, state, register_of[i], &segments->wanted[i]))
            return false;
    return true;
}

/* What has been chosen last is right still. */
static bool is_chosen(const struct ring3_segments *segments, const struct cpu_state *state)
{
    unsigned differs = !segments->chosen || !segment_is_64(state);
    for (unsigned i = 0; i < 6; i++)
        differs |= segments->chosen_for[i] ^ state->segment[i].selector;
    return differs == 0;
}

bool __attribute__((hot))
ring3_segments_prepare(struct ring3_segments *segments, const struct cpu_state *state,
                       ring3_look_fn *look, void *ctx)
{
    if (!update_tables(segments, state, look, ctx))
        return false;
    if (is_chosen(segments, state))
        return true;
    segments->chosen = false;
    if (!choose_all(segments, state))
        return false;
    segments->chosen = segment_is_64(state);
    for (unsigned i = 0; i < 6; i++)
        segments->chosen_for[i] = state->segment[i].selector;
    return true;
}

bool __attribute__((hot))
ring3_segments_load_bases(struct ring3_segments *segments, uint64_t fs, uint64_t gs)
{
    const bool known = segments->bases_known;
    segments->bases_known = false;
    if (!(known && segments->fs_base == fs) && !cpu_wrmsr_safe(MSR_IA32_FS_BASE, fs))
        return false;
    if (!(known && segments->gs_base == gs) && !cpu_wrmsr_safe(MSR_IA32_KERNEL_GS_BASE, gs))
        return false;
    segments->fs_base = fs;
    segments->gs_base = gs;
    segments->bases_known = true;
    return true;
}

bool __attribute__((hot))
ring3_segments_load(struct ring3_segments *segments, const struct cpu_state *state)
{
    static bool (*const load[4])(uint16_t) = {ring3_load_ds, ring3_load_es, ring3_load_fs,
                                              ring3_load_gs};
    const bool known = segments->known;
    segments->known = false;
    for (unsigned i = 0; i < 4; i++) {
        if (known && segments->loaded[i] == segments->wanted[i])
            continue;
        if (!load[i](segments->wanted[i]))
            return false;
        segments->loaded[i] = segments->wanted[i];
        if (register_of[i] == STATE_FS)
            segments->bases_known = false;
    }
    segments->known = true;
    if (!ring3_segments_load_bases(segments, state->fs.base, state->gs.base))
        return false;
    desc_show_user(segments->gdt, false);
    return true;
}

/* What CPL 3 has loaded by itself. */
static struct cpu_segment taken(const struct ring3_segments *segments, const struct cpu_state *s,
                                uint16_t selector)
{
    const struct descriptor d = unpack(descriptor_of(segments, selector), selector);
    if (d.access == 0)
        return (struct cpu_segment){.selector = selector, .access = SEGMENT_UNUSABLE};
    return descriptor_segment(s, &d);
}

void __attribute__((hot)) ring3_segments_store(struct ring3_segments *segments,
                                               struct cpu_state *state, uint16_t ss, bool bases)
{
    uint16_t now[4];
    desc_show_user(segments->gdt, true);
    ring3_read_selectors(now);
    for (unsigned i = 0; i < 4; i++) {
        if (now[i] == segments->loaded[i])
            continue;
        state->segment[register_of[i]] = taken(segments, state, now[i]);
        segments->loaded[i] = now[i];
        bases = bases || register_of[i] == STATE_FS || register_of[i] == STATE_GS;
    }
    if (ss != state->ss.selector) {
        state->ss = taken(segments, state, ss);
        state->ss.access |= 3u << ACCESS_DPL_SHIFT; /* it is the CPL, whatever the tables have */
    }
    if (!bases)
        return;
    state->fs.base = segments->fs_base = cpu_rdmsr(MSR_IA32_FS_BASE);
    state->gs.base = segments->gs_base = cpu_rdmsr(MSR_IA32_KERNEL_GS_BASE);
}

/* --- it comes and goes --- */

enum status ring3_segments_create(struct ring3_segments *segments)
{
    hpa_t page;
    const enum status s = page_alloc(1, 1, &page);
    *segments = (struct ring3_segments){.ldt = s == OK ? hpa_to_ptr(page) : NULL};
    return s;
}

void ring3_segments_destroy(struct ring3_segments *segments)
{
    if (segments->ldt != NULL)
        page_free(ptr_to_hpa(segments->ldt), 1);
    segments->ldt = NULL;
}

void ring3_segments_attach(struct ring3_segments *segments)
{
    segments->gdt = cpu_self()->memory.gdt;
    segments->known = segments->bases_known = false;
    segments->ldt_used = 0;
}

void ring3_segments_detach(struct ring3_segments *segments)
{
    clear(segments, false);
    clear(segments, true);
    segments->code = segments->stack = 0;
    if (segments->ldt_used != 0)
        desc_load_ldt(cpu_self(), NULL, 0);
    (void)ring3_load_ds(0);
    (void)ring3_load_es(0);
    (void)ring3_load_fs(0);
    (void)ring3_load_gs(0);
}
