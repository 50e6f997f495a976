/* SPDX-License-Identifier: BSD-2-Clause */
/* For the tests of the software CPU: a machine of 1 MiB of RAM, whose ports and MSRs are recorded,
 * and whose events are delivered until it halts. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/bytes.h"
#include "guest/cpu/control.h"
#include "guest/cpu/guestwalk.h"
#include "guest/cpu/interpret.h"

#define RAM_BYTES 0x100000u
#define NOTHING   99u /* as vector */

#define CR4_ALLOWED                                                                              \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCE | CR4_OSFXSR | \
     CR4_UMIP | CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_PKE)

static uint8_t ram[RAM_BYTES] __attribute__((aligned(4096)));
static struct guestmem mem;
static struct cpu_state s;
static struct interpret_env env;
static struct interpret_cache cache;

static struct {
    unsigned vector; /* of the last exception */
    uint32_t error;
    struct event event;   /* that is still to be delivered */
    unsigned invalidated; /* pages */
    unsigned flushed;
    uint64_t page;
    unsigned hypercalls;
    struct {
        uint16_t port;
        uint8_t bytes;
        uint32_t value;
    } out[128];
    unsigned outs;
    uint32_t in; /* what the next IN reads; counts up */
    uint64_t msr_efer, cr8;
    struct event undelivered; /* a triple fault */
} pc;

static bool has_error_code(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static void pc_raise(struct interpret_env *e, unsigned vector, uint32_t error)
{
    (void)e;
    pc.vector = vector;
    pc.error = error;
    pc.event = (struct event){.info = EVENT_VALID | EVENT_EXCEPTION | vector |
                                      (has_error_code(vector) ? EVENT_ERROR_CODE : 0),
                              .error = error};
}

static bool walk(uint64_t linear, enum walk_access access, bool implicit, unsigned cpl, gpa_t *out)
{
    const struct guest_paging paging = {.cr0 = s.cr0,
                                        .cr3 = s.cr3,
                                        .cr4 = s.cr4,
                                        .efer = s.efer,
                                        .rflags = s.rflags,
                                        .cpl = (uint8_t)cpl,
                                        .implicit = implicit,
                                        .phys_bits = 36,
                                        .pdpte = s.pdpte};
    uint32_t error;
    if (guestwalk_translate(&mem, &paging, gva(linear), access, out, &error)) {
        if (out->v >= RAM_BYTES)
            fail_msg("%#lx is beyond RAM, at CS:RIP %x:%lx", out->v, s.cs.selector, s.rip);
        return true;
    }
    s.cr2 = linear;
    pc_raise(&env, VECTOR_PAGE_FAULT, error);
    return false;
}

static bool pc_fetch(struct interpret_env *e, uint64_t linear, uint8_t *to, unsigned bytes)
{
    gpa_t at;
    (void)e;
    assert_true(bytes >= 1 && linear / 4096 == (linear + bytes - 1) / 4096);
    if (!walk(linear, WALK_FETCH, false, segment_cpl(&s), &at))
        return false;
    memcpy(to, ram + at.v, bytes);
    return true;
}

static bool translate_any(gva_t linear, unsigned bytes, bool write, bool implicit, unsigned cpl,
                          struct emulate_operand *out)
{
    const enum walk_access access = write ? WALK_WRITE : WALK_READ;
    const unsigned room = 4096 - (unsigned)(linear.v % 4096);
    *out = (struct emulate_operand){.first = bytes < room ? bytes : room, .bytes = bytes};
    assert_in_range(bytes, 1, 32);
    return walk(linear.v, access, implicit, cpl, &out->at[0]) &&
           (bytes <= room || walk(linear.v + room, access, implicit, cpl, &out->at[1]));
}

static bool pc_translate(void *e, gva_t linear, unsigned bytes, bool write,
                         struct emulate_operand *out)
{
    (void)e;
    return translate_any(linear, bytes, write, false, segment_cpl(&s), out);
}

static bool pc_translate_as(struct interpret_env *e, gva_t linear, unsigned bytes, bool write,
                            bool user, struct emulate_operand *out)
{
    (void)e;
    return translate_any(linear, bytes, write, !user, user ? 3 : 0, out);
}

static void pc_read(void *e, const struct emulate_operand *o, void *to)
{
    (void)e;
    memcpy(to, ram + o->at[0].v, o->first);
    memcpy((uint8_t *)to + o->first, ram + o->at[1].v, o->bytes - o->first);
}

static void pc_write(void *e, const struct emulate_operand *o, const void *from)
{
    (void)e;
    memcpy(ram + o->at[0].v, from, o->first);
    memcpy(ram + o->at[1].v, (const uint8_t *)from + o->first, o->bytes - o->first);
}

static bool pc_port_in(struct interpret_env *e, uint16_t port, unsigned bytes, uint32_t *value)
{
    (void)e;
    (void)port;
    (void)bytes;
    *value = pc.in++;
    return true;
}

static bool pc_port_out(struct interpret_env *e, uint16_t port, unsigned bytes, uint32_t value)
{
    (void)e;
    assert_true(pc.outs < sizeof(pc.out) / sizeof(pc.out[0]));
    pc.out[pc.outs].port = port;
    pc.out[pc.outs].bytes = (uint8_t)bytes;
    pc.out[pc.outs++].value = value;
    return true;
}

static bool pc_cpuid(struct interpret_env *e, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    (void)e;
    for (unsigned i = 0; i < 4; i++)
        out[i] = leaf + subleaf * 16 + i * 256;
    return true;
}

/* EFER alone. */
static bool pc_rdmsr(struct interpret_env *e, uint32_t msr, uint64_t *value)
{
    *value = s.efer;
    if (msr != MSR_IA32_EFER)
        pc_raise(e, VECTOR_GENERAL_PROTECTION, 0);
    return msr == MSR_IA32_EFER;
}

static struct control_state control(void)
{
    return (struct control_state){.cr0 = s.cr0,
                                  .cr4 = s.cr4,
                                  .efer = s.efer,
                                  .cr3 = s.cr3,
                                  .cs_long = (s.cs.access & ACCESS_L) != 0};
}

static bool control_done(struct interpret_env *e, const struct control_state *c, unsigned effects)
{
    if ((effects & CONTROL_FAULT) != 0) {
        pc_raise(e, VECTOR_GENERAL_PROTECTION, 0);
        return false;
    }
    s.cr0 = c->cr0;
    s.cr4 = c->cr4;
    s.efer = c->efer;
    return true;
}

static bool pc_wrmsr(struct interpret_env *e, uint32_t msr, uint64_t value)
{
    struct control_state c = control();
    if (msr != MSR_IA32_EFER) {
        pc_raise(e, VECTOR_GENERAL_PROTECTION, 0);
        return false;
    }
    const unsigned effects =
        control_write_efer(&c, value, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    return control_done(e, &c, effects);
}

static bool pc_write_cr(struct interpret_env *e, unsigned number, uint64_t value)
{
    struct control_state c = control();
    switch (number) {
    case 0: return control_done(e, &c, control_write_cr0(&c, value));
    case 4: return control_done(e, &c, control_write_cr4(&c, value, CR4_ALLOWED));
    case 8: pc.cr8 = value; return true;
    default:
        assert_int_equal(number, 3);
        s.cr3 = value;
        return true;
    }
}

static bool pc_read_cr8(struct interpret_env *e, uint64_t *value)
{
    (void)e;
    *value = pc.cr8;
    return true;
}

static bool pc_write_xcr0(struct interpret_env *e, uint64_t value)
{
    const bool good = control_xcr0_is_valid(value, 7);
    if (good)
        e->extra.xcr0 = value;
    else
        pc_raise(e, VECTOR_GENERAL_PROTECTION, 0);
    return good;
}

static void pc_invlpg(struct interpret_env *e, uint64_t linear)
{
    (void)e;
    pc.page = linear;
    pc.invalidated++;
}

static void pc_flush(struct interpret_env *e)
{
    (void)e;
    pc.flushed++;
}

static uint64_t pc_rdtsc(struct interpret_env *e)
{
    (void)e;
    return 0x123456789a;
}

static bool pc_hypercall(struct interpret_env *e)
{
    (void)e;
    pc.hypercalls++;
    return true;
}

static const struct interpret_calls calls = {
    .fetch = pc_fetch,
    .translate = pc_translate,
    .translate_as = pc_translate_as,
    .read = pc_read,
    .write = pc_write,
    .raise = pc_raise,
    .port_in = pc_port_in,
    .port_out = pc_port_out,
    .cpuid = pc_cpuid,
    .rdmsr = pc_rdmsr,
    .wrmsr = pc_wrmsr,
    .write_cr = pc_write_cr,
    .read_cr8 = pc_read_cr8,
    .write_xcr0 = pc_write_xcr0,
    .invlpg = pc_invlpg,
    .flush_tlb = pc_flush,
    .rdtsc = pc_rdtsc,
    .hypercall = pc_hypercall,
};

/* A machine with empty RAM; the state is the caller's. */
static void __attribute__((unused)) pc_start(struct cpu_state state)
{
    memset(ram, 0, sizeof(ram));
    memset(&mem, 0, sizeof(mem));
    memset(&pc, 0, sizeof(pc));
    pc.vector = NOTHING;
    assert_int_equal(guestmem_add(&mem, gpa(0), RAM_BYTES, ram), OK);
    s = state;
    interpret_init(&env, &s, &calls, NULL);
    memset(&cache, 0, sizeof(cache));
    env.cache = &cache;
}

/* Delivers what has been raised, with the rules of double faults. False: a triple fault. */
static bool __attribute__((unused)) pc_deliver(void)
{
    struct event event = pc.event;
    bool fault;
    pc.event.info = 0;
    const enum interpret_result result = interpret_deliver(&env, &event, &fault);
    assert_int_equal(result, INTERPRET_DONE);
    if (fault && !event_combine(&event, &pc.event)) {
        pc.undelivered = event;
        return false;
    }
    return true;
}

/* Until it halts, at most so many instructions. */
static void __attribute__((unused)) pc_run(unsigned most)
{
    for (unsigned i = 0; i < most; i++) {
        enum interpret_result result = INTERPRET_DONE;
        if (pc.event.info == 0)
            result = interpret_one(&env);
        else if (!pc_deliver())
            fail_msg("triple fault at %x:%lx", s.cs.selector, s.rip);
        if (result == INTERPRET_HALT)
            return;
        if (result != INTERPRET_DONE)
            fail_msg("result %d at %x:%lx", result, s.cs.selector, s.rip);
    }
    fail_msg("not at its end after %u instructions, at %x:%lx, last exception %u (%x)", most,
             s.cs.selector, s.rip, pc.vector, pc.error);
}

static inline void put_gate(unsigned at, unsigned type, unsigned dpl, uint16_t selector,
                            uint32_t offset, unsigned low)
{
    put_le(ram + at, 4, (uint32_t)selector << 16 | (offset & 0xffff));
    put_le(ram + at + 4, 4, (offset & 0xffff0000) | 0x8000 | dpl << 13 | type << 8 | low);
}

static inline void put_table(unsigned at, unsigned limit, uint64_t base)
{
    put_le(ram + at, 2, limit);
    put_le(ram + at + 2, 8, base);
}
