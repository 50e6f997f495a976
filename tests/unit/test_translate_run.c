// link: guest/bt/translate.c guest/bt/translate_64.c guest/bt/translate_32.c
// link: guest/bt/translate_32_stack.c guest/ring3/encode.c guest/bt/translate_system.c
// link: guest/bt/translate_lookup.c
// link: guest/cpu/interpret.c guest/cpu/interpret_debug.c guest/cpu/system.c guest/cpu/system_segment.c
// link: guest/cpu/system_call.c guest/cpu/system_port.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/alu.c
// link: guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/segment.c guest/cpu/transfer.c guest/cpu/deliver.c
// link: guest/cpu/operands.c guest/cpu/operand_table.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* The translator's 64-bit blocks: which bytes some instructions become, where blocks end, and whole
 * programs of linked blocks, beside the software CPU. */
#include "tests/unit/translate_test.h"

static int setup(void **state)
{
    (void)state;
    start_translator();
    return 0;
}

/* --- bytes --- */

#define LINUX 0xffffffff81000000ull
#define MAP   0xffff888000000000ull
#define HLT   "\xf4"

/* What becomes of an instruction; of what follows it nothing is said. */
static void becomes(uint64_t pc, const char *bytes, unsigned count, const char *code,
                    unsigned code_count)
{
    struct translate_input in = input_at(pc, 1);
    memset(input_bytes, 0x90, 64);
    memcpy(input_bytes, bytes, count);
    in.count = in.page_bytes = 64;
    assert_true(translate(&block, &in));
    assert_int_equal(block.insns, 1);
    if (block.guest_bytes != count && code[0] != HLT[0])
        fail_msg("%02x %02x...: has %u bytes", (uint8_t)bytes[0], (uint8_t)bytes[1],
                 block.guest_bytes);
    if (block.code_bytes < code_count || memcmp(block.code, code, code_count) != 0)
        fail_msg("%02x %02x %02x...: became %02x %02x %02x %02x...", (uint8_t)bytes[0],
                 (uint8_t)bytes[1], (uint8_t)bytes[2], block.code[0], block.code[1], block.code[2],
                 block.code[3]);
    if (code[0] == HLT[0])
        assert_true(block.code_bytes == 1 && block.slots == 0 && block.insn[0].spilled == 0);
}

#define BECOMES(pc, bytes, code) becomes(pc, bytes, sizeof(bytes) - 1, code, sizeof(code) - 1)

static void test_bytes(void **state)
{
    (void)state;
    BECOMES(LINUX, "\x48\x8b\x05\x10\0\0\0", "\x48\x8b\x04\x25\x17\0\0\x81");
    BECOMES(LINUX, "\x65\x48\x8b\x05\x10\0\0\0", "\x65\x48\x8b\x04\x25\x18\0\0\x81");
    BECOMES(LINUX, "\x4e\x8b\x05\x10\0\0\0", "\x4c\x8b\x04\x25\x17\0\0\x81"); /* without X */
    BECOMES(LINUX, "\xc7\x05\x10\0\0\0\x78\x56\x34\x12",
            "\xc7\x04\x25\x1a\0\0\x81\x78\x56\x34\x12");
    BECOMES(LINUX, "\x48\x8d\x05\x10\0\0\0", "\x48\x8d\x04\x25\x17\0\0\x81");
    BECOMES(LINUX, "\xe8\x10\0\0\0", "\x68\x05\0\0\x81\xff\x25"); /* PUSH, JMP [] */
    BECOMES(LINUX, "\x67\x8b\x05\x10\0\0\0", "\x67\x8b\x04\x25\x17\0\0\x81");
    BECOMES(LINUX, "\xeb\xfe", "\xe9\xfb\xff\xff\xff"); /* to itself, without a slot */
    BECOMES(MAP, "\x4c\x8d\x05\x10\0\0\0", "\x49\xb8\x17\0\0\0\x80\x88\xff\xff");
    BECOMES(0x90000000, "\x8b\x05\x10\0\0\0", "\x67\x8b\x04\x25\x16\0\0\x90");
    BECOMES(LINUX, "\xf3\x90", "\xf3\x90\xff\x25");         /* PAUSE */
    BECOMES(LINUX, "\xdb\xe3", "\xdb\xe3\xff\x25");         /* FNINIT */
    BECOMES(LINUX, "\x0f\xae\x08", "\x0f\xae\x08\xff\x25"); /* FXRSTOR */
    BECOMES(LINUX, "\x0f\xae\x28", "\x0f\xae\x28\xff\x25"); /* XRSTOR */
}

/* In the opcode's order. */
static void test_ways_out(void **state)
{
    (void)state;
    BECOMES(LINUX, "\x66\xe8\0\0", HLT);
    BECOMES(LINUX, "\x66\xc3", HLT);
    BECOMES(LINUX, "\x66\xff\xe0", HLT);
    BECOMES(LINUX, "\x66\x74\x10", HLT);
    BECOMES(0x7ffffffffff0, "\xe9\x20\0\0\0", HLT); /* not canonical */
    BECOMES(0x7ffffffffff0, "\x74\x20", HLT);
    BECOMES(LINUX, "\xff\x2c\x24", HLT); /* JMP far */
    BECOMES(LINUX, "\xcb", HLT);
    BECOMES(LINUX, "\xcf", HLT); /* IRETD, IRETW */
    BECOMES(LINUX, "\x66\xcf", HLT);
    BECOMES(LINUX, "\xf4", HLT);
    BECOMES(LINUX, "\xcc", HLT);
    BECOMES(LINUX, "\xcd\x80", HLT);
    BECOMES(LINUX, "\x66\x9c", HLT); /* PUSHFW, POPFW */
    BECOMES(LINUX, "\x66\x9d", HLT);
    BECOMES(LINUX, "\xfb", HLT); /* nothing is behind it in the block */
    BECOMES(LINUX, "\x66\x8c\xd8", HLT);
    BECOMES(LINUX, "\x8c\x18", HLT);
    BECOMES(LINUX, "\x8e\xd8", HLT);
    BECOMES(LINUX, "\x6c", HLT);
    BECOMES(LINUX, "\xf3\x6f", HLT);
    BECOMES(LINUX, "\xec", HLT);
    BECOMES(LINUX, "\x0f\x01\x00", HLT); /* SGDT */
    BECOMES(LINUX, "\x0f\x01\xe0", HLT); /* SMSW */
    BECOMES(LINUX, "\x0f\x01\xd0", HLT); /* XGETBV */
    BECOMES(LINUX, "\x0f\x01\xf9", HLT); /* RDTSCP */
    BECOMES(LINUX, "\x0f\x00\xe8", HLT); /* VERW */
    BECOMES(LINUX, "\x0f\x02\xc1", HLT); /* LAR, LSL */
    BECOMES(LINUX, "\x0f\x03\xc1", HLT);
    BECOMES(LINUX, "\x0f\x05", HLT);
    BECOMES(LINUX, "\x0f\x20\xc0", HLT);
    BECOMES(LINUX, "\x0f\x32", HLT);
    BECOMES(LINUX, "\x0f\xa2", HLT);
    BECOMES(LINUX, "\xf3\x48\x0f\xae\xc0", HLT); /* RDFSBASE */
    BECOMES(LINUX, "\xc7\xf8\0\0\0\0", HLT);     /* XBEGIN */
    BECOMES(LINUX, "\x48\x0f\xc7\x28", HLT);     /* XSAVES, XRSTORS */
    BECOMES(LINUX, "\x48\x0f\xc7\x18", HLT);
    BECOMES(LINUX, "\x48\x0f\xc7\x20", HLT); /* XSAVEC, XSAVE, XSAVEOPT, FXSAVE: x87's pointers */
    BECOMES(LINUX, "\x48\x0f\xae\x20", HLT);
    BECOMES(LINUX, "\x48\x0f\xae\x30", HLT);
    BECOMES(LINUX, "\x0f\xae\x00", HLT);
    BECOMES(LINUX, "\xd9\xc0", HLT); /* FLD, FNSTENV */
    BECOMES(LINUX, "\xd9\x30", HLT);
    BECOMES(LINUX, "\x06", HLT); /* #UD */
    BECOMES(LINUX, "\x0f\x0b", HLT);
    BECOMES(LINUX, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", HLT);
    struct translate_input in = input_at(LINUX, 1);
    memcpy(input_bytes, "\x0f\x01\xf8", 3); /* SWAPGS where RDGSBASE is not to be had */
    in.count = in.page_bytes = 3;
    in.has_fsgsbase = false;
    assert_true(translate(&block, &in));
    assert_int_equal(block.code[0], 0xf4);
}

/* --- blocks --- */

/* A block of so many bytes that are known, of which the page has some. Whether there is one. */
static bool make(const char *bytes, unsigned count, unsigned page_bytes, unsigned max_insns)
{
    struct translate_input in = input_at(LINUX, max_insns);
    memcpy(input_bytes, bytes, count);
    in.count = count;
    in.page_bytes = page_bytes;
    return translate(&block, &in);
}

static void consists_of(unsigned insns, unsigned guest_bytes, unsigned slot_count)
{
    assert_int_equal(block.insns, insns);
    assert_int_equal(block.guest_bytes, guest_bytes);
    assert_int_equal(block.slots, slot_count);
}

/* One way out goes on behind the block. */
static void has(unsigned insns, unsigned guest_bytes, unsigned slot_count)
{
    consists_of(insns, guest_bytes, slot_count);
    if (slot_count == 1)
        assert_int_equal(block.slot[0].target, LINUX + guest_bytes);
}

static void test_ends(void **state)
{
    static char many[4096];
    (void)state;
    assert_true(make("\x90\x40\x90\x90\xc3", 5, 5, 64)); /* RET */
    has(4, 5, 0);
    assert_true(make("\x90\x40\x90\x90\xc3", 5, 5, 2)); /* as many as are wanted */
    has(2, 3, 1);
    assert_true(make("\x90\x90\xc3", 3, 2, 64)); /* the page */
    has(2, 2, 1);
    assert_true(make("\x90\xb8\x01\x02\x03\x04", 6, 4, 64)); /* one that reaches beyond it */
    has(1, 1, 1);
    assert_true(make("\x90\xb8\x01\x02", 4, 4, 64)); /* and where that is not known */
    has(1, 1, 1);
    assert_true(make("\xb8\x01\x02\x03\x04\x90", 6, 3, 64)); /* but for the first */
    has(1, 5, 1);
    assert_false(make("\xb8\x01\x02", 3, 3, 64));
    assert_true(make("\x90\x0f\xa2\x90", 4, 4, 64)); /* CPUID: a way out */
    has(2, 3, 0);
    assert_true(make("\x90\x74\x10\x90", 4, 4, 64)); /* JE goes on in both ways */
    has(3, 4, 2);
    assert_int_equal(block.slot[0].target, LINUX + 0x13);
    assert_int_equal(block.slot[1].target, LINUX + 4);
    assert_true(make("\x90\xfb\xf4", 3, 3, 64)); /* STI; HLT */
    has(3, 3, 0);
    assert_true(block.insn[2].shadow && !block.insn[1].shadow);
    assert_true(make("\x90\xfb\x90", 3, 2, 64)); /* STI at the end */
    has(2, 2, 0);
    assert_int_equal(block.code[block.insn[1].at], 0xf4);
    assert_int_equal(block.insn[1].spilled, 0);
    memset(many, 0x9d, sizeof(many)); /* POPF: more than there is room for */
    assert_true(make(many, sizeof(many), sizeof(many), 64));
    assert_true(block.insns < 64 && block.insns > 20 && block.code_bytes <= TRANSLATE_MAX_CODE);
    has(block.insns, block.insns, 1);
    memset(many, 0x90, sizeof(many));
    assert_true(make(many, sizeof(many), sizeof(many), 64));
    has(64, 64, 1);
}

/* The block has an instruction at that distance. */
static bool has_insn(unsigned guest)
{
    for (unsigned i = 0; i < block.insns; i++)
        if (block.insn[i].guest == guest)
            return true;
    return false;
}

/* Where a jump of 32 bits in the block's code leads to: the code at that offset ends with it. */
static unsigned jump_at(unsigned end)
{
    return end + get_le32(block.code + end - 4);
}

/* What jumps forward lead to is part of the block; what is between is not, where nothing leads to
 * it. */
static void test_inner_jumps(void **state)
{
    (void)state;
    /* JE 4; RET; NOP; 4: RET */
    assert_true(make("\x74\x02\xc3\x90\xc3", 5, 5, 64));
    consists_of(3, 5, 0);
    assert_true(has_insn(2) && !has_insn(3) && has_insn(4));
    assert_int_equal(jump_at(6), block.insn[2].at);
    /* JMP 4, and back to 2 from there */
    assert_true(make("\xeb\x02\x90\xc3\x74\xfc\xc3", 7, 7, 64));
    consists_of(3, 7, 1);
    assert_true(has_insn(4) && has_insn(6) && !has_insn(2)); /* 2 is behind it already */
    assert_int_equal(block.slot[0].target, LINUX + 2);
    /* a loop in the middle of a block */
    assert_true(make("\x90\xff\xc8\x75\xfc\xc3", 6, 6, 64));
    consists_of(4, 6, 0);
    assert_int_equal(jump_at(block.insn[2].at + 6), block.insn[1].at);
    /* two jumps to what is not part of it share their way out: JE 6; JNE 6; NOP; and no more */
    assert_true(make("\x74\x04\x75\x02\x90\x90\xc3", 7, 7, 3));
    consists_of(3, 5, 2);
    assert_int_equal(jump_at(6), jump_at(12));
    assert_int_equal(jump_at(6), block.slot[1].stub - 6);
    assert_int_equal(block.slot[1].target, LINUX + 6);
    /* into the middle of an instruction: JE 3; LOCK; 3: ADD [RAX], EAX */
    assert_true(make("\x74\x01\xf0\x01\x00\xc3", 6, 6, 64));
    consists_of(3, 6, 1);
    assert_int_equal(block.slot[0].target, LINUX + 3);
    /* LOOP and JRCXZ hop over a jump: LOOP 0; JRCXZ 4; 4: RET */
    assert_true(make("\xe2\xfe\xe3\x00\xc3", 5, 5, 64));
    consists_of(3, 5, 0);
    assert_memory_equal(block.code, "\xe2\x02\xeb\x05\xe9\xf7\xff\xff\xff", 9);
    /* what is called is another block's, but for the block itself: CALL 5 */
    assert_true(make("\xe8\0\0\0\0\xc3", 6, 6, 64));
    consists_of(1, 5, 1);
    assert_true(make("\x90\xe8\xfa\xff\xff\xff", 6, 6, 64));
    consists_of(2, 6, 0);
    /* a jump further than what is known of the page */
    assert_true(make("\x74\x10\xc3\x90", 4, 64, 64));
    consists_of(2, 3, 1);
    assert_int_equal(block.slot[0].target, LINUX + 0x12);
}

/* --- programs --- */

extern const uint8_t program[], program_end[];
__asm__(".section .rodata\n"
        "program:\n"
        "  xor %r12d, %r12d; mov %ebx, %edi; call fib; mov %rax, %r13\n"
        /* calls through registers and memory, by a table that is relative */
        "  lea functions(%rip), %rbx; xor %ebp, %ebp\n"
        "1: mov %ebp, %ecx; and $3, %ecx; movslq (%rbx,%rcx,4), %rax; add %rbx, %rax\n"
        "  mov %rax, pointer(%rip); mov %ebp, %edi\n"
        "  test $1, %bpl; jnz 2f; call *%rax; jmp 3f\n"
        "2: call *pointer(%rip)\n"
        "3: add %rax, %r12; inc %ebp; cmp $300, %ebp; jne 1b\n"
        /* moves, and loops of one block */
        "  lea from(%rip), %rsi; lea to(%rip), %rdi; mov $64, %ecx; rep movsb\n"
        "  lea to(%rip), %rsi; mov $64, %ecx; xor %eax, %eax\n"
        "4: add (%rsi,%rcx), %al; ror $3, %eax; loop 4b\n"
        "  add %rax, %r12; jrcxz 5f; ud2\n"
        /* the interrupt flag, and flags through the stack */
        "5: mov $50, %ecx\n"
        "6: pushf; cli; pushf; pop %rdx; add %rdx, %r12; stc; popf; jc 7f; inc %r12\n"
        "7: sti; adc $0, %r12; pushf; pop %rdx; add %rdx, %r12; dec %ecx; jnz 6b\n"
        "  mov %cs, %edx; add %rdx, %r12\n"
        "  movdqu from(%rip), %xmm0; paddb to(%rip), %xmm0; movdqu %xmm0, to(%rip)\n"
        "  mov to(%rip), %rdx; lea functions(%rip), %rax; add %rax, %rdx\n"
        "  hlt\n"
        "fib: cmp $2, %edi; jae 8f; mov %edi, %eax; ret\n"
        "8: push %rbx; push %rdi; dec %edi; call fib; mov %rax, %rbx; pop %rdi; sub $2, %edi\n"
        "  call fib; add %rbx, %rax; pop %rbx; ret\n"
        "9: lea 3(%rdi,%rdi,2), %eax; ret\n"
        "10: push $7; push %rdi; pop %rax; xor (%rsp), %rax; ret $8; nop\n"
        "11: cmp $100, %edi; sbb %eax, %eax; ret\n"
        "12: lea 13f(%rip), %rax; jmp *%rax; ud2; 13: not %rax; ret\n"
        "  .balign 8\n"
        "functions: .long 9b - functions, 11b - functions, 9b - functions, 12b - functions\n"
        "pointer: .quad 0\n"
        "from: .ascii \"A program that is moved about, to be found again where it was.  \"\n"
        "to: .fill 64\n"
        "program_end: .text\n");

enum { BLOCKS = SLOTS / TRANSLATE_MAX_SLOTS };
static struct kept {
    struct translate_input in;
    struct translation made;
} kept[BLOCKS];
static unsigned kept_count, ends;

static struct kept *keep(uint64_t pc)
{
    for (unsigned i = 0; i < kept_count; i++)
        if (kept[i].in.pc == pc)
            return &kept[i];
    assert_true(kept_count < BLOCKS);
    struct kept *k = &kept[kept_count];
    k->in = input_at(pc, TRANSLATE_MAX_INSNS);
    k->in.at += (uint64_t)kept_count * TRANSLATE_MAX_CODE % (CODE_ROOM - 8192);
    k->in.slots += 8ull * TRANSLATE_MAX_SLOTS * kept_count++;
    translate_at(&k->in);
    k->made = block;
    return k;
}

static struct kept *kept_at(uint64_t rip)
{
    for (unsigned i = 0; i < kept_count; i++)
        if (rip - kept[i].in.at < kept[i].made.code_bytes)
            return &kept[i];
    fail_msg("no block is at %#lx", rip);
    return NULL;
}

/* Until the guest halts. */
static void run_translated(void)
{
    ends = 0;
    for (struct kept *k = keep(s.rip);; ends++) {
        execute_translated(k->in.at);
        if (has_missed()) {
            k = keep(s.rip);
            table[s.rip % BT_LOOKUPS] = (struct bt_lookup){-s.rip, k->in.at};
            continue;
        }
        struct kept *last = kept_at(native_state.rip);
        const enum left left = see_end(&last->in, &last->made);
        if (left == LEFT_BY_SLOT) {
            k = keep(s.rip);
            for (unsigned i = 0; i < last->made.slots; i++)
                if (last->made.slot[i].target == s.rip)
                    ((uint64_t *)(uintptr_t)last->in.slots)[i] = k->in.at;
            continue;
        }
        assert_int_equal(left, LEFT_BY_WAY_OUT);
        if (*find_bytes(s.rip, 1) == 0xf4)
            return;
        interpret();
        assert_int_equal(raised, 0);
        k = keep(s.rip);
    }
}

static void prepare(unsigned place, unsigned n)
{
    memset(code_bytes[place], 0, AREA);
    memcpy(code_bytes[place] + 0x100, program, (size_t)(program_end - program));
    memset(data_bytes[place], 0, AREA);
    memset(s.gpr, 0, sizeof(s.gpr));
    s.rip = code_at[place] + 0x100;
    s.rsp = data_at(place) + AREA - 64;
    s.rbx = n;
    s.rflags = RFLAGS_FIXED | RFLAGS_IF;
    for (unsigned i = 0; i < 6; i++)
        shared->selector[i] = s.segment[i].selector;
}

/* As long as what a processor executes by itself is not in the way: the software CPU. */
static void run_software(void)
{
    while (*find_bytes(s.rip, 1) != 0xf4) {
        raised = 0;
        const enum interpret_result result = interpret_one(&env);
        assert_int_equal(raised, 0);
        if (result == INTERPRET_COMPUTE) {
            assert_true(execute_original(env.compute.length));
            s.interruptibility = 0;
        }
    }
}

static void test_program(void **state)
{
    static uint8_t data[AREA], code[AREA];
    (void)state;
    native_init();
    for (unsigned place = 0; place < PLACES; place++) {
        kept_count = 0;
        empty_table();
        prepare(place, 12);
        run_software();
        const struct cpu_state expected = s;
        memcpy(data, data_bytes[place], AREA);
        memcpy(code, code_bytes[place], AREA);
        for (unsigned again = 0; again < 2; again++) { /* then with all blocks known */
            prepare(place, 12);
            run_translated();
            assert_memory_equal(s.gpr, expected.gpr, sizeof(s.gpr));
            assert_int_equal(s.rip, expected.rip);
            assert_int_equal(s.rflags, expected.rflags);
            assert_memory_equal(data, data_bytes[place], AREA);
            assert_memory_equal(code, code_bytes[place], AREA);
        }
        printf("%u blocks; at its second run left %u times\n", kept_count, ends);
        assert_true(ends < 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),   cmocka_unit_test(test_ways_out),
        cmocka_unit_test(test_ends),    cmocka_unit_test(test_inner_jumps),
        cmocka_unit_test(test_program),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
