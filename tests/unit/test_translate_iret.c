// link: guest/bt/translate.c guest/bt/translate_64.c guest/bt/translate_32.c
// link: guest/bt/translate_32_stack.c guest/ring3/encode.c guest/bt/translate_system.c
// link: guest/bt/translate_lookup.c
// link: guest/cpu/interpret.c guest/cpu/interpret_debug.c guest/cpu/system.c guest/cpu/system_segment.c
// link: guest/cpu/system_call.c guest/cpu/system_port.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/alu.c
// link: guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/segment.c guest/cpu/transfer.c guest/cpu/deliver.c
// link: guest/cpu/operands.c guest/cpu/operand_table.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* IRETQ in translated code: what it does within the level, and what it leaves to the software CPU,
 * with nothing changed. */
#include "tests/unit/translate_test.h"

#define TARGET  0xffffffff81234567ull
#define CODE    0x00af9b000000ffffull
#define STACK   0x00cf93000000ffffull
#define OF_ALL  (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_DF | RFLAGS_OF)
#define REFUSED (RFLAGS_TF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC)

enum { FRAME = 4096 + 64, GDT = 64, CODE_SELECTOR = 0x10, STACK_SELECTOR = 0x18 };
static struct translate_input in;
static uint64_t frame[5]; /* RIP, CS, RFLAGS, RSP, SS */

static int setup(void **state)
{
    (void)state;
    start_translator();
    return 0;
}

/* What enter_at() prepares, and a frame that fits. */
static void prepare(void)
{
    randomize(FAR);
    s.rip = code_at[FAR] + 0x100;
    s.rsp = data_at(FAR) + FRAME;
    s.rflags |= random64() % 2 != 0 ? RFLAGS_IF : 0;
    memcpy(find_bytes(s.rip, 2), "\x48\xcf", 2);
    shared->pending = 0;
    shared->iret_minus_cs = -(uint64_t)CODE_SELECTOR;
    shared->iret_ss = STACK_SELECTOR;
    shared->iret_descriptor[0] = CODE;
    shared->iret_descriptor[1] = STACK;
    for (unsigned i = 0; i < 2; i++) {
        shared->iret_at[i] = data_at(LOW) + GDT + (i == 0 ? CODE_SELECTOR : STACK_SELECTOR);
        put_le(find_bytes(shared->iret_at[i], 8), 8, shared->iret_descriptor[i]);
    }
    const uint64_t good[] = {TARGET, CODE_SELECTOR, RFLAGS_FIXED | (random64() & OF_ALL),
                             random64(), STACK_SELECTOR};
    memcpy(frame, good, sizeof(frame));
    frame[2] |= random64() % 2 != 0 ? RFLAGS_IF : 0;
    in = input_at(s.rip, 1);
    translate_at(&in);
}

static enum left execute_iret(void)
{
    memcpy(find_bytes(s.rsp, sizeof(frame)), frame, sizeof(frame));
    return execute_block(&in);
}

static void is_carried_out(void)
{
    struct cpu_state expected = s;
    expected.rip = frame[0];
    expected.rflags = frame[2];
    expected.rsp = frame[3];
    const enum left left = execute_iret();
    assert_int_equal(left, LEFT_BY_MISS);
    for (unsigned i = AX; i <= DX; i++) /* as after each look-up that finds nothing */
        s.gpr[i] = shared->spill[i];
    assert_memory_equal(&s, &expected, sizeof(s));
}

static void is_left(enum left as)
{
    const struct cpu_state before = s;
    const enum left left = execute_iret();
    assert_int_equal(left, as);
    assert_memory_equal(&s, &before, sizeof(s));
}

static void test_within_the_level(void **state)
{
    (void)state;
    native_init();
    for (unsigned n = 0; n < 200; n++) {
        prepare();
        is_carried_out();
    }
    prepare(); /* a null SS: no descriptor is looked at */
    shared->iret_ss = frame[4] = 0;
    shared->iret_descriptor[1] = 0;
    shared->iret_at[1] = in.shared + offsetof(struct bt_shared, iret_descriptor[1]);
    is_carried_out();
    prepare(); /* what waits does not come */
    shared->pending = 1;
    frame[2] &= ~(uint64_t)RFLAGS_IF;
    is_carried_out();
    prepare();
    frame[0] = 0x7fffffffffff;
    is_carried_out();
}

static void test_what_is_left(void **state)
{
    (void)state;
    native_init();
    for (unsigned i = 0; i < 32; i++) {
        prepare();
        if ((REFUSED >> i & 1) == 0)
            continue;
        frame[2] |= 1ull << i;
        is_left(LEFT_BY_WAY_OUT);
    }
    prepare(); /* what waits comes */
    shared->pending = 1;
    frame[2] |= RFLAGS_IF;
    is_left(LEFT_BY_WAY_OUT);
    prepare(); /* code has changed */
    shared->changed = 1;
    is_left(LEFT_BY_WAY_OUT);
    shared->changed = 0;
    for (unsigned i = 0; i < 2; i++) { /* NMIs are blocked, whatever the stack has */
        prepare();
        shared->iret_minus_cs = BT_NO_IRET;
        shared->iret_at[0] = in.shared + offsetof(struct bt_shared, iret_minus_cs);
        shared->iret_descriptor[0] = 0;
        frame[1] = i == 0 ? CODE_SELECTOR : -(uint64_t)BT_NO_IRET;
        is_left(LEFT_BY_WAY_OUT);
    }
    for (unsigned i = 1; i < 5; i += 3) { /* another selector */
        prepare();
        frame[i] ^= 3;
        is_left(LEFT_BY_WAY_OUT);
        prepare();
        frame[i] += 0x10000;
        is_left(LEFT_BY_WAY_OUT);
    }
    for (unsigned i = 0; i < 64; i++) { /* another descriptor */
        prepare();
        *find_bytes(shared->iret_at[i % 2] + i / 8, 1) ^= 1u << i % 8;
        is_left(LEFT_BY_WAY_OUT);
    }
    prepare(); /* not canonical */
    frame[0] = 0x800000000000;
    is_left(LEFT_BY_WAY_OUT);
}

/* Nothing has changed where a word of the stack or a descriptor is in a page that is not there. */
static void test_faults(void **state)
{
    (void)state;
    native_init();
    for (unsigned words = 0; words < 5; words++) {
        prepare();
        s.rsp = data_at(FAR) + AREA - 8 * words;
        memcpy(find_bytes(s.rsp, 8 * words), frame, 8 * words);
        const struct cpu_state before = s;
        const enum left left = execute_block(&in);
        assert_int_equal(left, LEFT_BY_FAULT);
        assert_memory_equal(&s, &before, sizeof(s));
    }
    for (unsigned i = 0; i < 2; i++) {
        prepare();
        shared->iret_at[i] = data_at(FAR) + AREA;
        is_left(LEFT_BY_FAULT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_within_the_level),
        cmocka_unit_test(test_what_is_left),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
