// link: guest/cpu/interpret.c guest/cpu/interpret_debug.c guest/cpu/system.c guest/cpu/system_segment.c
// link: guest/cpu/system_call.c guest/cpu/system_port.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/alu.c
// link: guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/segment.c guest/cpu/transfer.c guest/cpu/deliver.c
// link: guest/cpu/operands.c guest/cpu/operand_table.c
// link: guest/cpu/event.c guest/cpu/control.c guest/cpu/guestwalk.c mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Programs on the software CPU, from their first instruction to HLT: real mode, protected mode with
 * gates, call gates, virtual-8086 mode, 64-bit mode with paging, SYSCALL and user code. */
#include "tests/unit/interpret_test.h"

/* Each program stands at this address, whatever the assembler says: ADDR() has it there. Results
 * are words at LOG. */
#define ORIGIN 0x7c00

__asm__(".section .rodata\n"
        ".set ORIGIN, 0x7c00\n"
        ".set LOG, 0x6000\n"
        "program:\n"
        ".code16\n"
        "  xorw %ax, %ax\n"
        "  movw %ax, %ds\n"
        "  movw %ax, %es\n"
        "  movw %ax, %ss\n"
        "  movw $0x7000, %sp\n"
        "  movw $(real_handler - program + ORIGIN), 0x100\n"
        "  movw %ax, 0x102\n"
        "  sti\n"
        "  int $0x40\n"
        "  pushf\n"
        "  popw LOG+2\n"
        "  call real_near\n"
        "  .byte 0x9a\n" /* CALL FAR 0x700:real_far */
        "  .word real_far - program + ORIGIN - 0x7000, 0x700\n"
        "  cli\n"
        "  lgdtw 0x5000\n"
        "  movl %cr0, %eax\n"
        "  orb $1, %al\n"
        "  movl %eax, %cr0\n"
        "  ljmpl $0x08, $(protected - program + ORIGIN)\n"
        "real_handler:\n"
        "  movw $0x4040, LOG\n"
        "  iret\n"
        "real_near:\n"
        "  movw $1, LOG+4\n"
        "  ret\n"
        "real_far:\n"
        "  movw %cs, LOG+6\n"
        "  lret\n"

        ".code32\n"
        "protected:\n"
        "  movw $0x10, %ax\n"
        "  movw %ax, %ds\n"
        "  movw %ax, %es\n"
        "  movw %ax, %ss\n"
        "  movl $0x6f00, %esp\n"
        "  lidtl 0x5010\n"
        "  movw $0x28, %ax\n"
        "  ltr %ax\n"
        "  int $0x30\n"
        "  pushl $0x23\n" /* to CPL 3 */
        "  pushl $0x5f00\n"
        "  pushl $0x202\n"
        "  pushl $0x1b\n"
        "  pushl $(user - program + ORIGIN)\n"
        "  iret\n"
        "user:\n"
        "  movw $0x23, %ax\n"
        "  movw %ax, %ds\n"
        "  pushl $1000\n"
        "  pushl $234\n"
        "  lcall $0x33, $0\n" /* the call gate takes both from the stack */
        "  movl %esp, LOG+0x18\n"
        "  int $0x31\n"

        "gate_30:\n"
        "  movl $0x30, LOG+8\n"
        "  iret\n"
        "call_gate:\n"
        "  movl 8(%esp), %eax\n"
        "  addl 12(%esp), %eax\n"
        "  movl %eax, LOG+0x10\n"
        "  movw %cs, LOG+0x14\n"
        "  lret $8\n"
        "gate_31:\n" /* stays at CPL 0, and goes to virtual-8086 mode */
        "  movw $0x10, %ax\n"
        "  movw %ax, %ds\n"
        "  movl $0x6f00, %esp\n"
        "  pushl $0\n"
        "  pushl $0\n"
        "  pushl $0x600\n" /* DS */
        "  pushl $0\n"
        "  pushl $0\n" /* SS:ESP */
        "  pushl $0x5e00\n"
        "  pushl $0x20202\n"
        "  pushl $0x700\n"
        "  pushl $(v86 - program + ORIGIN - 0x7000)\n"
        "  iret\n"
        ".code16\n"
        "v86:\n"
        "  movw $0x8686, 0x20\n" /* LOG + 0x20 by DS */
        "  cli\n"                /* with IOPL 0: #GP */
        ".code32\n"
        "gate_13:\n"
        "  movl 12(%esp), %eax\n" /* EFLAGS, behind error code, EIP and CS */
        "  movw $0x10, %bx\n"
        "  movw %bx, %ds\n"
        "  movl %eax, LOG+0x24\n"
        "  movl 28(%esp), %eax\n" /* its DS */
        "  movl %eax, LOG+0x28\n"

        /* Long mode. */
        "  movl %cr4, %eax\n"
        "  orl $0x10020, %eax\n" /* PAE, FSGSBASE */
        "  movl %eax, %cr4\n"
        "  movl $0x10000, %eax\n"
        "  movl %eax, %cr3\n"
        "  movl $0xc0000080, %ecx\n"
        "  rdmsr\n"
        "  orl $0x101, %eax\n"
        "  wrmsr\n"
        "  movl %cr0, %eax\n"
        "  orl $0x80000000, %eax\n"
        "  movl %eax, %cr0\n"
        "  ljmp $0x38, $(long_mode - program + ORIGIN)\n"
        ".code64\n"
        "long_mode:\n"
        "  movw $0x40, %ax\n"
        "  movw %ax, %ss\n"
        "  movl $0x6f00, %esp\n"
        "  lidtq 0x5020\n"
        "  movw $0x60, %ax\n"
        "  ltr %ax\n"
        "  movl $0xc0000081, %ecx\n" /* STAR */
        "  xorl %eax, %eax\n"
        "  movl $0x00480038, %edx\n"
        "  wrmsr\n"
        "  incl %ecx\n" /* LSTAR */
        "  movl $(system_call - program + ORIGIN), %eax\n"
        "  xorl %edx, %edx\n"
        "  wrmsr\n"
        "  movl $0xc0000084, %ecx\n" /* FMASK */
        "  movl $0x200, %eax\n"
        "  wrmsr\n"
        "  movl $0xc0000102, %ecx\n" /* KERNEL_GS_BASE */
        "  movl $0x6000, %eax\n"
        "  wrmsr\n"
        "  movl $(user_64 - program + ORIGIN), %ecx\n"
        "  movl $0x202, %r11d\n"
        "  movl $0x5f00, %esp\n"
        "  sysretq\n"
        "user_64:\n"
        "  movl $7, %eax\n"
        "  syscall\n"
        "  movl $0x6040, %ebx\n"
        "  wrfsbase %rbx\n"
        "  movq %rax, %fs:0\n"
        "  pushf\n"
        "  popq %fs:8\n"
        "  int $0x32\n"
        "  movq %rax, %fs:16\n"
        "  movl $8, %eax\n"
        "  hlt\n" /* #GP */
        "system_call:\n"
        "  swapgs\n"
        "  incl %gs:0x30\n"
        "  movw %cs, %gs:0x34\n"
        "  pushf\n"
        "  popq %gs:0x38\n"
        "  swapgs\n"
        "  leaq (%rax,%rax,2), %rax\n"
        "  sysretq\n"
        "gate_32_64:\n" /* on its IST */
        "  movq %rsp, %rax\n"
        "  iretq\n"
        "gate_13_64:\n"
        "  movq 8(%rsp), %rax\n" /* RIP */
        "  movq %rax, LOG+0x60\n"
        "  hlt\n"
        "program_end:\n"
        ".text\n"
        ".code64\n");

extern const uint8_t program[], program_end[], call_gate[], gate_30[], gate_31[], gate_13[],
    gate_32_64[], gate_13_64[];

#define ADDRESS(symbol) ((uint32_t)((symbol)-program) + ORIGIN)

static const uint64_t gdt[] = {
    0,
    0x00cf9a000000ffff, /* 08: code, data */
    0x00cf92000000ffff,
    0x00cffa000000ffff, /* 18: the same of CPL 3 */
    0x00cff2000000ffff,
    0x0000890090000067, /* 28: TSS */
    0,                  /* 30: a call gate */
    0x00af9a000000ffff, /* 38: 64-bit code, and SYSCALL's stack */
    0x00cf92000000ffff,
    0x00cffa000000ffff, /* 48: SYSRET's */
    0x00cff2000000ffff,
    0x00affa000000ffff,
    0x0000890091000067, /* 60: a 64-bit TSS */
    0,
};

static uint32_t log_at(unsigned offset)
{
    return get_le32(ram + 0x6000 + offset);
}

static void run_modes(struct interpret_cache *with)
{
    pc_start(cpu_state_real_mode(ORIGIN));
    env.cache = with;
    memcpy(ram + ORIGIN, program, (size_t)(program_end - program));
    memcpy(ram + 0x8000, gdt, sizeof(gdt));
    put_gate(0x8030, 12, 3, 0x08, ADDRESS(call_gate), 2);
    put_table(0x5000, sizeof(gdt) - 1, 0x8000);
    put_table(0x5010, 0x1ff, 0xa000);
    put_table(0x5020, 0x3ff, 0xb000);
    put_gate(0xa000 + 0x30 * 8, 14, 0, 0x08, ADDRESS(gate_30), 0);
    put_gate(0xa000 + 0x31 * 8, 14, 3, 0x08, ADDRESS(gate_31), 0);
    put_gate(0xa000 + 13 * 8, 14, 0, 0x08, ADDRESS(gate_13), 0);
    put_gate(0xb000 + 0x32 * 16, 14, 3, 0x38, ADDRESS(gate_32_64), 0);
    put_le(ram + 0xb000 + 0x32 * 16 + 4, 1, 1); /* IST 1 */
    put_gate(0xb000 + 13 * 16, 14, 0, 0x38, ADDRESS(gate_13_64), 0);
    put_le(ram + 0x9000 + 4, 4, 0x6800); /* the TSS's ESP0, SS0; the other's RSP0, IST1 */
    put_le(ram + 0x9000 + 8, 4, 0x10);
    put_le(ram + 0x9100 + 4, 8, 0x6800);
    put_le(ram + 0x9100 + 0x24, 8, 0x6700);
    put_le(ram + 0x10000, 8, 0x11007); /* one page of 2 MiB */
    put_le(ram + 0x11000, 8, 0x12007);
    put_le(ram + 0x12000, 8, 0x87);
    pc_run(1000);

    assert_int_equal(log_at(0) & 0xffff, 0x4040);
    assert_int_equal(log_at(2) & 0xff00, 0x0200); /* IF is back */
    assert_int_equal(log_at(4), 0x07000001);
    assert_int_equal(log_at(8), 0x30);
    assert_int_equal(log_at(0x10), 1234);
    assert_int_equal(log_at(0x14), 0x08);
    assert_int_equal(log_at(0x18), 0x5f00);
    assert_int_equal(log_at(0x20), 0x8686);
    assert_int_equal(log_at(0x24), 0x30202); /* VM, and RF of a fault */
    assert_int_equal(log_at(0x28), 0x600);
    assert_int_equal(log_at(0x30), 1); /* one SYSCALL */
    assert_int_equal(log_at(0x34), 0x38);
    assert_int_equal(log_at(0x38) & 0x202, 2); /* IF is masked by FMASK */
    assert_int_equal(log_at(0x40), 21);
    assert_int_equal(log_at(0x48) & 0x202, 0x202);
    assert_int_equal(log_at(0x50), 0x6700 - 40);
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);
    assert_int_equal(ram[log_at(0x60)], 0xf4); /* at the HLT of CPL 3 */
    assert_int_equal(s.cs.selector, 0x38);
    assert_int_equal(segment_cpl(&s), 0);
    assert_int_equal(s.efer, EFER_LMA | EFER_LME | EFER_SCE);
    assert_int_equal(s.gs.base, 0);
    assert_int_equal(env.extra.kernel_gs_base, 0x6000);
    assert_int_equal(ram[0x12000] & 0x60, 0x60); /* accessed, dirty */
}

static void test_modes(void **state)
{
    (void)state;
    run_modes(NULL);
    run_modes(&cache);
}

/* Code that changes, and the same bytes in another mode, are not what was there before. */
static void test_decoded_once(void **state)
{
    (void)state;
    pc_start(cpu_state_long_mode(0x4000, 0));
    s.cr0 &= ~CR0_PG;                        /* it is not paging that is tried here */
    memcpy(ram + 0x4000, "\x48\xff\xc0", 3); /* INC RAX */
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rax, 1);
    s.rip = 0x4000;
    ram[0x4002] = 0xc1; /* INC RCX */
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rcx, 1);
    s.rip = 0x4000; /* 32-bit code: DEC EAX */
    s.cs.access = SEGMENT_CODE32;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, 0x4001);
    assert_int_equal(s.rax, 0);
    s.rip = 0x4000;
    s.cs.access = SEGMENT_CODE64;
    s.cs.limit = 0;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rcx, 2);
    memcpy(ram + 0x5000, "\xf9", 1); /* one that is kept, behind a shorter one */
    s.rip = 0x5000;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    s.rip = 0x4000;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rip, 0x4003);
    s.rip = 0x4000; /* nor is a limit passed over */
    s.cs.access = SEGMENT_CODE32;
    memcpy(ram + 0x4000, "\xb8\x11\x22\x33\x44", 5);
    s.cs.limit = 0x4004;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(s.rax, 0x44332211);
    s.rip = 0x4000;
    s.cs.limit = 0x4003;
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_int_equal(pc.vector, VECTOR_GENERAL_PROTECTION);
    assert_int_equal(s.rip, 0x4000);
    s.cs.limit = UINT32_MAX; /* what computes, too */
    memcpy(ram + 0x4000, "\x66\x0f\xef\xc0\x90", 5);
    for (unsigned i = 0; i < 2; i++) {
        s.rip = 0x4000;
        s.cr4 |= CR4_OSFXSR;
        env.compute.length = 0;
        assert_int_equal(interpret_one(&env), INTERPRET_COMPUTE);
        assert_int_equal(env.length, 4);
        assert_int_equal(env.compute.class, COMPUTE_SSE);
    }
}

/* Of each length, the last byte decides; and what has not changed is not decoded again. */
static void test_each_length(void **state)
{
    (void)state;
    pc_start(cpu_state_real_mode(0));
    for (unsigned length = 1; length <= INSN_MAX_BYTES; length++) {
        for (unsigned n = 0; n < 6; n++) {
            const bool set = n / 2 % 2 == 0; /* STC STC CLC CLC STC STC */
            memset(ram + 0x4000, 0x66, length);
            ram[0x4000 + length - 1] = set ? 0xf9 : 0xf8;
            ram[0x4000 + length] = (uint8_t)n;
            s.rip = 0x4000;
            memset(&env.decoded, 0, sizeof(env.decoded));
            assert_int_equal(interpret_one(&env), INTERPRET_DONE);
            assert_int_equal(s.rip, 0x4000 + length);
            assert_int_equal(s.rflags & RFLAGS_CF, set ? RFLAGS_CF : 0);
            assert_int_equal(env.decoded.length, n % 2 == 0 ? length : 0);
        }
    }
}

/* All registers behind an instruction that has been fetched; and behind one that is known, in
 * either way, where nothing is there to be fetched. */
static void carry_out(const char *code, unsigned length, unsigned way, struct cpu_state *after)
{
    struct interpret_known known;
    const struct cpu_state before = s;
    pc_start(before);
    memset(ram + 0x4000, 0x0f, 16);
    memcpy(ram + 0x4000, code, length);
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_true(interpret_note(&env, &known));
    if (way != 0) {
        pc_start(before);
        memset(ram + 0x4000, 0x0f, 16);
    }
    if (way == 1)
        assert_int_equal(interpret_known(&env, &known), INTERPRET_DONE);
    if (way == 2) {
        interpret_settle(&env);
        const bool done = interpret_light(&env, &known);
        assert_int_equal(done, pc.vector == NOTHING);
    }
    *after = s;
    s = before;
}

static void test_known(void **state)
{
    static const struct {
        const char *code;
        unsigned length, vector;
    } insn[] = {
        {"\x0f\xa2", 2, NOTHING},         {"\xec", 1, NOTHING},
        {"\xe7\x80", 2, NOTHING},         {"\x44\x0f\x20\xc0", 4, NOTHING},
        {"\x41\x0f\x20\xd1", 4, NOTHING}, {"\x0f\x33", 2, VECTOR_GENERAL_PROTECTION},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(insn) / sizeof(insn[0]); i++) {
        struct cpu_state first, after;
        pc_start(cpu_state_long_mode(0x4000, 0));
        s.cr0 &= ~CR0_PG;
        s.cr2 = 0x123456789a;
        for (unsigned r = 0; r < 16; r++)
            s.gpr[r] = 0x1111111100000000ull * r;
        carry_out(insn[i].code, insn[i].length, 0, &first);
        assert_int_equal(pc.vector, insn[i].vector);
        assert_int_equal(first.rip, 0x4000 + (insn[i].vector == NOTHING ? insn[i].length : 0));
        for (unsigned way = 1; way < 3; way++) {
            carry_out(insn[i].code, insn[i].length, way, &after);
            assert_int_equal(pc.vector, insn[i].vector);
            assert_memory_equal(&after, &first, sizeof(first));
        }
    }
    struct interpret_known known;
    memcpy(ram + 0x4000, "\x0f\x0b", 2); /* UD2, and what only computes: they are fetched again */
    assert_int_equal(interpret_one(&env), INTERPRET_DONE);
    assert_false(interpret_note(&env, &known));
    memcpy(ram + 0x4000, "\x66\x0f\xef\xc0\x90", 5);
    s.cr4 |= CR4_OSFXSR;
    assert_int_equal(interpret_one(&env), INTERPRET_COMPUTE);
    assert_false(interpret_note(&env, &known));
}

/* SYSCALL by itself, and as it is fetched: with and without EFER.SCE, from CPL 3 and CPL 0. */
static void test_syscall(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        struct cpu_state before = cpu_state_long_mode(0x4000, 0), first;
        before.cr0 &= ~CR0_PG;
        before.efer |= i & 1 ? EFER_SCE : 0;
        before.ss.access |= i & 2 ? 3 << 5 : 0;
        before.rflags |= RFLAGS_RF | RFLAGS_IF | (i & 4 ? RFLAGS_TF : 0) | RFLAGS_DF;
        before.interruptibility = i & 8 ? BLOCKED_BY_STI : 0;
        for (unsigned way = 0; way < 2; way++) {
            pc_start(before);
            env.extra.star = 0x0023001000000000;
            env.extra.lstar = 0xffffffff81000000;
            env.extra.fmask = RFLAGS_DF | RFLAGS_IF;
            memcpy(ram + 0x4000, "\x0f\x05", 2);
            if (way == 0)
                assert_int_equal(interpret_one(&env), INTERPRET_DONE);
            else
                interpret_syscall(&env);
            assert_int_equal(pc.vector, i & 1 ? NOTHING : VECTOR_INVALID_OPCODE);
            assert_int_equal(s.rip, i & 1 ? env.extra.lstar : 0x4000);
            if (way == 0)
                first = s;
        }
        assert_memory_equal(&s, &first, sizeof(first));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),       cmocka_unit_test(test_syscall),
        cmocka_unit_test(test_modes),       cmocka_unit_test(test_decoded_once),
        cmocka_unit_test(test_each_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
