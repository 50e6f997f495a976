// link: guest/cpu/segment.c guest/cpu/transfer.c guest/cpu/deliver.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads of segment registers, far transfers, gates and deliveries, on a GDT, an IDT, a TSS and
 * stacks in 64 KiB of memory: what is pushed, what the registers become, and the fault and its
 * error code of each check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "arch/bytes.h"
#include "guest/cpu/segment.h"

/* Where things are, and the selectors. */
enum { GDT = 0x1000, IDT = 0x2000, TSS = 0x3000, STACK = 0x8000, STACK_0 = 0x9000, IST_1 = 0xa000 };
enum {
    CODE_0 = 0x08,
    DATA_0 = 0x10,
    CODE_3 = 0x1b,
    DATA_3 = 0x23,
    CODE_64 = 0x28,
    CODE_64_3 = 0x33,
    TR = 0x38, /* two entries */
    CONFORMING = 0x48,
    GATE = 0x50, /* two entries */
    LDT = 0x60,  /* two entries */
    ABSENT = 0x70,
    CODE_16 = 0x78,
    DATA_16 = 0x80,
    READ_ONLY = 0x88,
    LIMIT = 0x8f,
};

static uint8_t memory[0x10000];
static struct cpu_state s;
static unsigned vector;
static uint32_t error;
static uint64_t bad_page; /* its first byte; 0: none */

static void put_16(uint8_t *at, unsigned value)
{
    put_le(at, 2, value);
}

static void put_32(uint8_t *at, uint32_t value)
{
    put_le(at, 4, value);
}

static void put_64(uint8_t *at, uint64_t value)
{
    put_le(at, 8, value);
}

static bool touches(uint64_t linear, unsigned bytes)
{
    if (linear + bytes > sizeof(memory))
        fail_msg("%u bytes at %#lx", bytes, linear);
    if (bad_page != 0 && linear + bytes > bad_page && linear < bad_page + 4096) {
        vector = VECTOR_PAGE_FAULT;
        return false;
    }
    return true;
}

static bool memory_read(void *ctx, uint64_t linear, void *to, unsigned bytes, bool user)
{
    (void)ctx;
    (void)user;
    if (!touches(linear, bytes))
        return false;
    memcpy(to, memory + linear, bytes);
    return true;
}

static bool memory_write(void *ctx, uint64_t linear, const void *from, unsigned bytes, bool user)
{
    (void)ctx;
    assert_int_equal(user, linear >= STACK - 0x800 && linear < STACK); /* the stack of CPL 3 */
    if (!touches(linear, bytes))
        return false;
    memcpy(memory + linear, from, bytes);
    return true;
}

static bool memory_set_bits(void *ctx, uint64_t linear, uint32_t bits)
{
    uint32_t value;
    if (!memory_read(ctx, linear, &value, sizeof(value), false))
        return false;
    value |= bits;
    return memory_write(ctx, linear, &value, sizeof(value), false);
}

static void raise_fault(void *ctx, unsigned which, uint32_t code)
{
    (void)ctx;
    vector = which;
    error = code;
}

static struct segment_env env = {.state = &s,
                                 .read = memory_read,
                                 .write = memory_write,
                                 .set_bits = memory_set_bits,
                                 .raise = raise_fault};

static void set_descriptor(unsigned selector, uint32_t base, uint32_t limit, uint32_t access)
{
    uint8_t *at = memory + GDT + (selector & 0xfff8);
    put_32(at, base << 16 | (limit & 0xffff));
    put_32(at + 4,
           (base >> 16 & 0xff) | (access & 0xf0ff) << 8 | (limit & 0xf0000) | (base & 0xff000000));
}

static void set_gate(uint8_t *at, unsigned type, unsigned dpl, uint16_t selector, uint32_t offset,
                     unsigned low)
{
    put_32(at, (uint32_t)selector << 16 | (offset & 0xffff));
    put_32(at + 4, (offset & 0xffff0000) | 0x8000 | dpl << 13 | type << 8 | low);
    put_64(at + 8, 0);
}

static void set_interrupt(unsigned which, unsigned type, unsigned dpl, uint16_t selector)
{
    const unsigned bytes = s.efer & EFER_LMA ? 16 : 8;
    uint8_t gate[16];
    set_gate(gate, type, dpl, selector, 0x4000, 0);
    memcpy(memory + IDT + which * bytes, gate, bytes);
}

static struct cpu_segment flat(uint16_t selector, uint32_t access)
{
    return (struct cpu_segment){selector, access, 0xffffffff, 0};
}

/* 32-bit protected mode, or 64-bit mode, at CPL 0 or 3. */
static void start(bool is_64, unsigned cpl)
{
    memset(memory, 0, sizeof(memory));
    memset(&s, 0, sizeof(s));
    bad_page = 0;
    vector = 99;
    env.external = false;
    set_descriptor(CODE_0, 0, 0xfffff, SEGMENT_CODE32);
    set_descriptor(DATA_0, 0, 0xfffff, SEGMENT_DATA32);
    set_descriptor(CODE_3, 0, 0xfffff, SEGMENT_CODE32 | 0x60);
    set_descriptor(DATA_3, 0, 0xfffff, SEGMENT_DATA32 | 0x60);
    set_descriptor(CODE_64, 0, 0xfffff, SEGMENT_CODE64);
    set_descriptor(CODE_64_3, 0, 0xfffff, SEGMENT_CODE64 | 0x60);
    set_descriptor(TR, TSS, 0x67, SEGMENT_TSS);
    set_descriptor(CONFORMING, 0, 0xfffff, SEGMENT_CODE32 | ACCESS_EXPAND_DOWN);
    set_descriptor(LDT, 0x6000, 0xff, SEGMENT_LDT);
    set_descriptor(ABSENT, 0, 0xfffff, (is_64 ? SEGMENT_CODE64 : SEGMENT_CODE32) & ~ACCESS_P);
    set_descriptor(CODE_16, 0, 0xffff, SEGMENT_CODE16);
    set_descriptor(DATA_16, 0, 0xffff, SEGMENT_DATA16);
    set_descriptor(READ_ONLY, 0, 0xfffff, SEGMENT_DATA32 & ~(uint32_t)ACCESS_WRITABLE);
    s.gdtr = (struct cpu_table_register){GDT, LIMIT};
    s.idtr = (struct cpu_table_register){IDT, 0x7ff};
    s.tr = (struct cpu_segment){TR, SEGMENT_TSS_BUSY, 0x67, TSS};
    s.ldtr.access = ACCESS_UNUSABLE;
    s.cr0 = CR0_PE | CR0_PG;
    s.rflags = RFLAGS_FIXED | RFLAGS_IF;
    if (is_64)
        s.efer = EFER_LMA | EFER_LME;
    const uint16_t code = is_64 ? (cpl ? CODE_64_3 : CODE_64) : cpl ? CODE_3 : CODE_0;
    s.cs = flat(code, (is_64 ? SEGMENT_CODE64 : SEGMENT_CODE32) | cpl << ACCESS_DPL_SHIFT);
    s.ss = flat(cpl ? DATA_3 : DATA_0, SEGMENT_DATA32 | cpl << ACCESS_DPL_SHIFT);
    s.ds = s.es = s.fs = s.gs = s.ss;
    s.rip = 0x5000;
    s.rsp = cpl ? STACK : STACK_0 - 0x100;
    if (is_64) {
        put_64(memory + TSS + 4, STACK_0);
        put_64(memory + TSS + 0x24, IST_1);
    } else {
        put_32(memory + TSS + 4, STACK_0);
        put_32(memory + TSS + 8, DATA_0);
    }
}

#define expect_fault(result, which, code)            \
    do {                                             \
        const struct cpu_state before = s;           \
        assert_int_equal(result, SEGMENT_FAULT);     \
        assert_int_equal(vector, which);             \
        assert_int_equal(error, code);               \
        assert_memory_equal(&before, &s, sizeof(s)); \
    } while (0)

static enum segment_result load(unsigned number, uint16_t selector)
{
    return segment_load(&env, number, selector) ? SEGMENT_DONE : SEGMENT_FAULT;
}

static void test_loads(void **state)
{
    (void)state;
    start(false, 3);
    expect_fault(load(STATE_DS, LIMIT + 1), VECTOR_GENERAL_PROTECTION, LIMIT + 1);
    expect_fault(load(STATE_DS, 0x0c), VECTOR_GENERAL_PROTECTION, 0x0c); /* no LDT */
    expect_fault(load(STATE_DS, DATA_0 | 3), VECTOR_GENERAL_PROTECTION, DATA_0);
    expect_fault(load(STATE_SS, DATA_0), VECTOR_GENERAL_PROTECTION, DATA_0);
    expect_fault(load(STATE_SS, 0), VECTOR_GENERAL_PROTECTION, 0);
    expect_fault(load(STATE_ES, TR), VECTOR_GENERAL_PROTECTION, TR);
    assert_int_equal(load(STATE_ES, CONFORMING | 3), SEGMENT_DONE);
    assert_int_equal(load(STATE_FS, 3), SEGMENT_DONE); /* null */
    assert_int_equal(s.fs.access & ACCESS_UNUSABLE, ACCESS_UNUSABLE);

    start(false, 0);
    set_descriptor(DATA_0, 0x1234, 0x10, SEGMENT_DATA32 & ~(uint32_t)(ACCESS_G | ACCESS_ACCESSED));
    assert_int_equal(load(STATE_GS, DATA_0), SEGMENT_DONE);
    assert_int_equal(s.gs.base, 0x1234);
    assert_int_equal(s.gs.limit, 0x10);
    assert_int_equal(memory[GDT + DATA_0 + 5] & 1, 1); /* accessed */
    set_descriptor(DATA_0, 0, 0, SEGMENT_DATA32 & ~ACCESS_P);
    expect_fault(load(STATE_DS, DATA_0), VECTOR_NOT_PRESENT, DATA_0);
    expect_fault(load(STATE_SS, DATA_0), VECTOR_STACK_FAULT, DATA_0);
    expect_fault(load(STATE_SS, READ_ONLY), VECTOR_GENERAL_PROTECTION, READ_ONLY);
    expect_fault(load(STATE_LDTR, TR), VECTOR_GENERAL_PROTECTION, TR);
    expect_fault(load(STATE_TR, 0), VECTOR_GENERAL_PROTECTION, 0);
    assert_int_equal(load(STATE_LDTR, LDT), SEGMENT_DONE);
    assert_int_equal(load(STATE_TR, TR), SEGMENT_DONE);
    assert_int_equal(memory[GDT + TR + 5] & ACCESS_TYPE, 11); /* busy */
    expect_fault(load(STATE_TR, TR), VECTOR_GENERAL_PROTECTION, TR);

    start(true, 0);
    assert_int_equal(load(STATE_SS, 0), SEGMENT_DONE);
    put_32(memory + GDT + TR + 8, 0xffff8000);
    assert_int_equal(load(STATE_TR, TR), SEGMENT_DONE);
    assert_int_equal(s.tr.base, 0xffff800000000000 | TSS);
}

static void test_real_mode(void **state)
{
    (void)state;
    start(false, 0);
    s.cr0 = 0;
    s.cs = (struct cpu_segment){0, SEGMENT_CODE16, 0xffff, 0};
    s.ss = (struct cpu_segment){0, SEGMENT_DATA16, 0xffff, 0};
    s.ds.limit = 0xffffffff;
    assert_int_equal(load(STATE_DS, 0x200), SEGMENT_DONE);
    assert_int_equal(s.ds.base, 0x2000);
    assert_int_equal(s.ds.limit, 0xffffffff); /* what protected mode has left stays */
    s.rsp = 0xabcd8800;
    assert_int_equal(segment_call(&env, 0x300, 0x10, 2, 0x123), SEGMENT_DONE);
    assert_int_equal(s.cs.base, 0x3000);
    assert_int_equal(s.rsp, 0xabcd87fc);
    assert_int_equal(get_le32(memory + 0x87fc), 0x123);
    assert_int_equal(segment_return(&env, 2, 4), SEGMENT_DONE);
    assert_int_equal(s.rip, 0x123);
    assert_int_equal(s.rsp, 0xabcd8804);
    s.idtr = (struct cpu_table_register){0, 0x3ff};
    put_32(memory + 8 * 4, 0x400 << 16 | 0x55);
    s.rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_CF;
    const struct event timer = {EVENT_VALID | EVENT_INTERRUPT | 8, 0, 0};
    assert_int_equal(segment_deliver(&env, &timer), SEGMENT_DONE);
    assert_int_equal(s.rip, 0x55);
    assert_int_equal(s.cs.selector, 0x400);
    assert_int_equal(s.rflags, RFLAGS_FIXED | RFLAGS_CF);
    assert_int_equal(segment_iret(&env, 2), SEGMENT_DONE);
    assert_int_equal(s.rip, 0x123);
    assert_int_equal(s.rflags, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_CF);
    s.idtr.limit = 8 * 4;
    expect_fault(segment_deliver(&env, &timer), VECTOR_GENERAL_PROTECTION, 0);
}

static void test_jumps(void **state)
{
    (void)state;
    start(false, 3);
    expect_fault(segment_jump(&env, 0, 0, 4), VECTOR_GENERAL_PROTECTION, 0);
    expect_fault(segment_jump(&env, CODE_0, 0, 4), VECTOR_GENERAL_PROTECTION, CODE_0);
    expect_fault(segment_jump(&env, DATA_3, 0, 4), VECTOR_GENERAL_PROTECTION, DATA_3 & ~3u);
    assert_int_equal(segment_jump(&env, CONFORMING, 0x77, 4), SEGMENT_DONE);
    assert_int_equal(s.cs.selector, CONFORMING | 3); /* at the same level */
    assert_int_equal(segment_cpl(&s), 3);
    start(false, 0);
    expect_fault(segment_jump(&env, ABSENT, 0, 4), VECTOR_NOT_PRESENT, ABSENT);
    expect_fault(segment_jump(&env, CODE_16, 0x10000, 4), VECTOR_GENERAL_PROTECTION, 0);
    assert_int_equal(segment_jump(&env, CODE_16, 0x10000, 2), SEGMENT_DONE); /* IP has 16 bits */
    assert_int_equal(s.rip, 0);
    assert_int_equal(segment_jump(&env, TR, 0, 4), SEGMENT_TASK);
    assert_int_equal(env.task.source, TASK_JMP);
    assert_int_equal(env.task.selector, TR);
    start(true, 0);
    expect_fault(segment_jump(&env, TR, 0, 4), VECTOR_GENERAL_PROTECTION, TR);
    expect_fault(segment_jump(&env, CODE_64, 1ull << 47, 8), VECTOR_GENERAL_PROTECTION, 0);
    set_descriptor(CODE_64, 0, 0xfffff, SEGMENT_CODE64 | ACCESS_DB);
    expect_fault(segment_jump(&env, CODE_64, 0, 4), VECTOR_GENERAL_PROTECTION, CODE_64);
    assert_int_equal(segment_jump(&env, CODE_0, 0x10, 4), SEGMENT_DONE); /* to compatibility mode */
    assert_false(segment_is_64(&s));
}

/* CALL through a gate of 32 bits to CPL 0, with two parameters, and back. */
static void test_call_gate(void **state)
{
    (void)state;
    start(false, 3);
    set_gate(memory + GDT + GATE, 12, 3, CODE_0, 0x4000, 2);
    put_32(memory + STACK - 8, 0x11111111);
    put_32(memory + STACK - 4, 0x22222222);
    s.rsp = STACK - 8;
    expect_fault(segment_jump(&env, GATE, 0, 4), VECTOR_GENERAL_PROTECTION, CODE_0);
    assert_int_equal(segment_call(&env, GATE | 3, 0x1234, 4, 0x5007), SEGMENT_DONE);
    assert_int_equal(s.rip, 0x4000);
    assert_int_equal(s.cs.selector, CODE_0);
    assert_int_equal(segment_cpl(&s), 0);
    assert_int_equal(s.rsp, STACK_0 - 24);
    static const uint32_t pushed[] = {0x5007, CODE_3, 0x11111111, 0x22222222, STACK - 8, DATA_3};
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(get_le32(memory + s.rsp + 4 * i), pushed[i]);

    s.ds = flat(DATA_0, SEGMENT_DATA32);
    assert_int_equal(segment_return(&env, 4, 8), SEGMENT_DONE);
    assert_int_equal(s.rip, 0x5007);
    assert_int_equal(s.rsp, STACK); /* the parameters are gone there too */
    assert_int_equal(segment_cpl(&s), 3);
    assert_int_equal(s.ds.access & ACCESS_UNUSABLE, ACCESS_UNUSABLE); /* not for CPL 3 */
    assert_int_equal(s.es.selector, DATA_3);

    set_gate(memory + GDT + GATE, 12, 0, CODE_0, 0x4000, 0);
    expect_fault(segment_call(&env, GATE | 3, 0, 4, 0), VECTOR_GENERAL_PROTECTION, GATE);
    set_gate(memory + GDT + GATE, 12, 3, CODE_0, 0x4000, 0);
    put_32(memory + TSS + 8, DATA_3);
    expect_fault(segment_call(&env, GATE | 3, 0, 4, 0), VECTOR_INVALID_TSS, DATA_3 & ~3u);
    s.tr.limit = 8;
    expect_fault(segment_call(&env, GATE | 3, 0, 4, 0), VECTOR_INVALID_TSS, TR);
}

static void test_return_faults(void **state)
{
    (void)state;
    start(false, 3);
    s.rsp = STACK - 16;
    put_32(memory + STACK - 12, CODE_0);
    expect_fault(segment_return(&env, 4, 0), VECTOR_GENERAL_PROTECTION, CODE_0);
    put_32(memory + STACK - 12, 0);
    expect_fault(segment_return(&env, 4, 0), VECTOR_GENERAL_PROTECTION, 0);
    bad_page = STACK - 0x1000;
    assert_int_equal(segment_return(&env, 4, 0), SEGMENT_FAULT);
    assert_int_equal(vector, VECTOR_PAGE_FAULT);
    start(false, 0);
    s.rsp = STACK_0 - 16;
    put_32(memory + STACK_0 - 12, CODE_3);
    put_32(memory + STACK_0 - 4, DATA_0);
    expect_fault(segment_return(&env, 4, 0), VECTOR_GENERAL_PROTECTION, DATA_0);
}

/* An exception with an error code out of CPL 3, in 32-bit and in 64-bit mode, and back. */
static void test_exceptions(void **state)
{
    (void)state;
    const struct event fault = {EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | 14, 7, 0};
    start(false, 3);
    set_interrupt(14, 14, 0, CODE_0);
    s.rflags |= RFLAGS_TF | RFLAGS_RF | RFLAGS_NT;
    const uint64_t flags = s.rflags;
    assert_int_equal(segment_deliver(&env, &fault), SEGMENT_DONE);
    const uint32_t pushed[] = {7, 0x5000, CODE_3, (uint32_t)flags, STACK, DATA_3};
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(get_le32(memory + s.rsp + 4 * i), pushed[i]);
    assert_int_equal(s.rip, 0x4000);
    assert_int_equal(s.rflags, RFLAGS_FIXED); /* an interrupt gate */
    s.rsp += 4;
    assert_int_equal(segment_iret(&env, 4), SEGMENT_DONE);
    assert_int_equal(s.rflags, flags);
    assert_int_equal(s.rsp, STACK);
    assert_int_equal(s.ss.selector, DATA_3);

    start(true, 3);
    set_interrupt(14, 15, 0, CODE_64);
    s.rsp = STACK - 3;
    assert_int_equal(segment_deliver(&env, &fault), SEGMENT_DONE);
    assert_int_equal(s.rsp, STACK_0 - 48);
    const uint64_t pushed_64[] = {7,         0x5000, CODE_64_3, RFLAGS_FIXED | RFLAGS_IF,
                                  STACK - 3, DATA_3};
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(get_le64(memory + s.rsp + 8 * i), pushed_64[i]);
    assert_int_equal(s.ss.selector, 0);
    assert_int_equal(segment_cpl(&s), 0);
    assert_int_equal(s.rflags, RFLAGS_FIXED | RFLAGS_IF); /* a trap gate */
    s.rsp += 8;
    assert_int_equal(segment_iret(&env, 8), SEGMENT_DONE);
    assert_int_equal(s.rsp, STACK - 3);
    assert_int_equal(segment_cpl(&s), 3);

    start(true, 0); /* by its IST, at the same level: SS stays */
    set_interrupt(14, 14, 0, CODE_64);
    memory[IDT + 14 * 16 + 4] = 1;
    assert_int_equal(segment_deliver(&env, &fault), SEGMENT_DONE);
    assert_int_equal(s.rsp, IST_1 - 48);
    assert_int_equal(s.ss.selector, DATA_0);
}

static void test_gate_faults(void **state)
{
    (void)state;
    const struct event timer = {EVENT_VALID | EVENT_INTERRUPT | 32, 0, 0};
    const struct event int_32 = {EVENT_VALID | EVENT_SOFTWARE_INTERRUPT | 32, 0, 2};
    start(false, 3);
    expect_fault(segment_deliver(&env, &timer), VECTOR_GENERAL_PROTECTION, 32 << 3 | 3);
    set_interrupt(32, 14, 0, CODE_0);
    expect_fault(segment_deliver(&env, &int_32), VECTOR_GENERAL_PROTECTION, 32 << 3 | 2);
    memory[IDT + 32 * 8 + 5] &= 0x7f;
    expect_fault(segment_deliver(&env, &timer), VECTOR_NOT_PRESENT, 32 << 3 | 3);
    set_interrupt(32, 14, 0, ABSENT);
    expect_fault(segment_deliver(&env, &timer), VECTOR_NOT_PRESENT, ABSENT | 1);
    set_interrupt(32, 14, 0, DATA_0);
    expect_fault(segment_deliver(&env, &timer), VECTOR_GENERAL_PROTECTION, DATA_0 | 1);
    set_interrupt(32, 14, 0, 0);
    expect_fault(segment_deliver(&env, &timer), VECTOR_GENERAL_PROTECTION, 1);
    set_interrupt(32, 5, 0, TR);
    assert_int_equal(segment_deliver(&env, &timer), SEGMENT_TASK);
    assert_int_equal(env.task.source, TASK_GATE);
    s.idtr.limit = 0xff;
    expect_fault(segment_deliver(&env, &timer), VECTOR_GENERAL_PROTECTION, 32 << 3 | 3);
    start(false, 0); /* the stack ends */
    set_interrupt(32, 14, 0, CODE_0);
    s.ss.limit = 0x1000;
    expect_fault(segment_deliver(&env, &timer), VECTOR_STACK_FAULT, 1);
    start(true, 0);
    set_interrupt(32, 14, 0, CODE_0); /* no 64-bit code */
    expect_fault(segment_deliver(&env, &timer), VECTOR_GENERAL_PROTECTION, CODE_0 | 1);
    set_interrupt(32, 5, 0, TR); /* no task gates */
    expect_fault(segment_deliver(&env, &timer), VECTOR_GENERAL_PROTECTION, 32 << 3 | 3);
}

/* IRET to a virtual-8086 task, an interrupt out of it, its own INT n by the redirection map. */
static void test_virtual_8086(void **state)
{
    (void)state;
    const struct event timer = {EVENT_VALID | EVENT_INTERRUPT | 32, 0, 0};
    const struct event int_33 = {EVENT_VALID | EVENT_SOFTWARE_INTERRUPT | 33, 0, 2};
    start(false, 0);
    s.rsp = STACK_0 - 36;
    static const uint32_t image[] = {
        0x40, 0x500, RFLAGS_VM | RFLAGS_IF, 0x100, 0x7f0, 0x111, 0x222, 0x333, 0x444};
    for (unsigned i = 0; i < 9; i++)
        put_32(memory + s.rsp + 4 * i, image[i]);
    assert_int_equal(segment_iret(&env, 4), SEGMENT_DONE);
    assert_int_equal(s.rflags, RFLAGS_VM | RFLAGS_IF | RFLAGS_FIXED);
    assert_int_equal(s.cs.base, 0x5000);
    assert_int_equal(s.gs.base, 0x4440);
    assert_int_equal(s.es.base, 0x1110);
    assert_int_equal(s.ds.base, 0x2220);
    assert_int_equal(segment_cpl(&s), 3);
    const struct cpu_state task = s;

    set_interrupt(32, 14, 0, CODE_0);
    assert_int_equal(segment_deliver(&env, &timer), SEGMENT_DONE);
    assert_int_equal(s.rsp, STACK_0 - 36);
    assert_int_equal(get_le32(memory + s.rsp + 8), task.rflags);
    assert_int_equal(get_le32(memory + s.rsp + 32), 0x444);
    assert_int_equal(s.gs.access & ACCESS_UNUSABLE, ACCESS_UNUSABLE);
    assert_int_equal(segment_iret(&env, 4), SEGMENT_DONE);
    assert_int_equal(s.rip, task.rip);
    assert_int_equal(s.rsp, task.rsp);
    assert_int_equal(s.rflags, task.rflags);
    for (unsigned i = STATE_ES; i <= STATE_GS; i++)
        assert_int_equal(s.segment[i].base, task.segment[i].base);

    expect_fault(segment_deliver(&env, &int_33), VECTOR_GENERAL_PROTECTION, 0);
    expect_fault(segment_iret(&env, 2), VECTOR_GENERAL_PROTECTION, 0);
    set_interrupt(32, 14, 0, CONFORMING);
    expect_fault(segment_deliver(&env, &timer), VECTOR_GENERAL_PROTECTION, CONFORMING | 1);

    s.cr4 = CR4_VME;
    s.tr.limit = 0x200;
    put_16(memory + TSS + 0x66, 0x88); /* the map is in the 32 bytes before, all 0: redirect */
    s.rflags |= RFLAGS_VIF;
    put_32(memory + 33 * 4, 0x600 << 16 | 0x70);
    assert_int_equal(segment_deliver(&env, &int_33), SEGMENT_DONE);
    assert_int_equal(s.cs.base, 0x6000);
    assert_int_equal(s.rip, 0x70);
    assert_int_equal(s.rflags & (RFLAGS_IF | RFLAGS_VIF), RFLAGS_IF);
    assert_int_equal(get_le16(memory + s.ss.base + s.rsp + 4),
                     RFLAGS_FIXED | RFLAGS_IF | RFLAGS_IOPL);
    assert_int_equal(segment_iret(&env, 2), SEGMENT_DONE);
    assert_int_equal(s.rflags & (RFLAGS_IF | RFLAGS_VIF), RFLAGS_IF | RFLAGS_VIF);
    memory[TSS + 0x68 + 33 / 8] = 1 << 33 % 8; /* not that one */
    expect_fault(segment_deliver(&env, &int_33), VECTOR_GENERAL_PROTECTION, 0);
}

/* IRET changes what its level may, and by NT goes to another task. */
static void test_iret(void **state)
{
    (void)state;
    start(false, 3);
    s.rsp = STACK - 12;
    put_32(memory + STACK - 12, 0x5555);
    put_32(memory + STACK - 8, CODE_3);
    put_32(memory + STACK - 4, RFLAGS_IOPL | RFLAGS_AC | RFLAGS_CF);
    assert_int_equal(segment_iret(&env, 4), SEGMENT_DONE);
    assert_int_equal(s.rip, 0x5555);
    assert_int_equal(s.rflags, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_AC | RFLAGS_CF);
    start(false, 0);
    s.rflags |= RFLAGS_NT;
    put_16(memory + TSS, 0x98);
    assert_int_equal(segment_iret(&env, 4), SEGMENT_TASK);
    assert_int_equal(env.task.source, TASK_IRET);
    assert_int_equal(env.task.selector, 0x98);
    start(true, 0);
    s.rflags |= RFLAGS_NT;
    expect_fault(segment_iret(&env, 8), VECTOR_GENERAL_PROTECTION, 0);
    start(false, 0); /* to a stack of 16 bits: the upper half of ESP stays */
    set_descriptor(DATA_16, 0, 0xffff, SEGMENT_DATA16 | 0x60);
    s.rsp = STACK_0 - 20;
    put_32(memory + s.rsp + 4, CODE_3);
    put_32(memory + s.rsp + 8, RFLAGS_FIXED);
    put_32(memory + s.rsp + 12, 0x7770010);
    put_32(memory + s.rsp + 16, DATA_16 | 3);
    s.rsp |= 0xabc0000;
    s.ss.base = 0u - 0xabc0000u;
    assert_int_equal(segment_iret(&env, 4), SEGMENT_DONE);
    assert_int_equal(s.rsp, 0xabc0010);
}

static void test_queries(void **state)
{
    (void)state;
    uint32_t value;
    bool fault;
    start(false, 3);
    assert_true(segment_query(&env, SEGMENT_LAR, CODE_3, &value, &fault));
    assert_int_equal(value, 0xc0fb00);
    assert_true(segment_query(&env, SEGMENT_LSL, DATA_3, &value, &fault));
    assert_int_equal(value, 0xffffffff);
    assert_false(segment_query(&env, SEGMENT_LAR, CODE_0, &value, &fault));
    assert_true(segment_query(&env, SEGMENT_LAR, CONFORMING, &value, &fault));
    assert_true(segment_query(&env, SEGMENT_VERR, DATA_3, &value, &fault));
    assert_false(segment_query(&env, SEGMENT_VERW, CODE_3, &value, &fault));
    assert_false(segment_query(&env, SEGMENT_VERR, 0, &value, &fault));
    assert_false(segment_query(&env, SEGMENT_LSL, LIMIT + 1, &value, &fault));
    start(false, 0);
    set_gate(memory + GDT + GATE, 12, 3, CODE_0, 0x4000, 0);
    assert_true(segment_query(&env, SEGMENT_LAR, GATE, &value, &fault));
    assert_false(segment_query(&env, SEGMENT_LSL, GATE, &value, &fault));
    assert_true(segment_query(&env, SEGMENT_LSL, TR, &value, &fault));
    assert_int_equal(value, 0x67);
    bad_page = GDT;
    assert_false(segment_query(&env, SEGMENT_LSL, TR, &value, &fault));
    assert_true(fault);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loads),         cmocka_unit_test(test_real_mode),
        cmocka_unit_test(test_jumps),         cmocka_unit_test(test_call_gate),
        cmocka_unit_test(test_return_faults), cmocka_unit_test(test_exceptions),
        cmocka_unit_test(test_gate_faults),   cmocka_unit_test(test_virtual_8086),
        cmocka_unit_test(test_iret),          cmocka_unit_test(test_queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
