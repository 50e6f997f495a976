// link: guest/bt/check.c guest/bt/check_print.c
// link: guest/cpu/interpret.c guest/cpu/interpret_debug.c guest/cpu/system.c guest/cpu/system_call.c
// link: guest/cpu/system_port.c guest/cpu/system_segment.c guest/cpu/system_decode.c guest/cpu/segment.c
// link: guest/cpu/transfer.c guest/cpu/deliver.c guest/cpu/emulate.c guest/cpu/integer.c guest/cpu/alu.c
// link: guest/cpu/decode.c guest/cpu/event.c guest/cpu/guestwalk.c mm/guestmem.c
// link: guest/cpu/operands.c guest/cpu/operand_table.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* `bt = check`: what is found where the processor has done a block otherwise than the software CPU.
 * The processor is a function of the test here; the code is 32-bit code without paging. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/bytes.h"
#include "guest/bt/bt.h"
#include "guest/bt/code.h"
#include "mm/page_alloc.h"

#define RAM    0x10000u
#define PC     0x1000u
#define DATA   0x2000u
#define DEVICE 0x80000u

uint64_t physmap_base;
static struct bt_vcpu v;
static struct vm vm;
static struct bt_code code;
static struct bt_block block;
static struct translate_insn insn[TRANSLATE_MAX_INSNS];
static uint8_t ram[RAM] __attribute__((aligned(4096))), cache_code[64];
static char why[200], said[16000];
static unsigned shortened;

enum status page_alloc(uint64_t pages, uint64_t align_pages, hpa_t *out)
{
    (void)align_pages;
    *out = ptr_to_hpa(calloc(pages, PAGE_SIZE));
    return OK;
}

void page_free(hpa_t first, uint64_t pages)
{
    (void)pages;
    free(hpa_to_ptr(first));
}

void vm_end_format(struct vm *of, enum vm_end end, uint32_t number, const char *format, ...)
{
    va_list args;
    assert_ptr_equal(of, &vm);
    assert_int_equal(end, VM_CRASH);
    (void)number;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
}

void log_line_of(unsigned of, const char *format, ...)
{
    va_list args;
    const size_t at = strlen(said);
    (void)of;
    va_start(args, format);
    vsnprintf(said + at, sizeof(said) - at, format, args);
    va_end(args);
    strncat(said, "\n", sizeof(said) - strlen(said) - 1);
}

/* The block's instructions stay where they are. */
struct bt_block *bt_code_shorten(struct bt_vcpu *of, struct bt_block *old, unsigned insns)
{
    assert_ptr_equal(of, &v);
    assert_ptr_equal(old, &block);
    shortened = insns;
    block.insns = (uint8_t)insns;
    return &block;
}

static int setup(void **state)
{
    (void)state;
    const struct cpu_segment flat = {.limit = UINT32_MAX, .access = 0xc093, .selector = 0x10};
    memset(&v, 0, sizeof(v));
    memset(&vm, 0, sizeof(vm));
    memset(ram, 0, sizeof(ram));
    vm.name = "a";
    v.vcpu.vm = &vm;
    v.vcpu.phys_bits = 39;
    v.code = &code;
    code = (struct bt_code){.cache = {.mode = INSN_32, .insn = insn, .code = cache_code}};
    assert_int_equal(guestmem_add(&vm.mem, gpa(0), RAM, ram), OK);
    for (unsigned i = 0; i < 6; i++)
        v.state.segment[i] = flat;
    v.state.cs.access = 0xc09b;
    v.state.cr0 = CR0_PE;
    v.state.rflags = RFLAGS_FIXED;
    v.state.rip = PC;
    v.state.rsp = 0x8000;
    assert_int_equal(bt_check_create(&v), OK);
    assert_true(code.input.apart);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bt_check_destroy(&v);
    assert_null(v.check);
    return 0;
}

/* A block of instructions of that many bytes each, and the software CPU's part. Then the state is
 * what it is to be behind so many of them, and so is memory: the test may change it. */
static void begin(const char *bytes, const uint8_t *lengths, unsigned done)
{
    block = (struct bt_block){.pc = PC, .first_insn = 0};
    for (unsigned i = 0; lengths[i] != 0; i++) {
        insn[i].guest = block.guest_bytes;
        insn[i].at = (uint16_t)(4 * i);
        block.guest_bytes = (uint16_t)(block.guest_bytes + lengths[i]);
        block.insns++;
    }
    block.code_bytes = (uint16_t)(4 * block.insns);
    memcpy(ram + PC, bytes, block.guest_bytes);
    shortened = 0;
    said[0] = why[0] = '\0';
    v.counted[BT_CHECKED] = v.counted[BT_UNCHECKED] = 0;
    v.state.rip = PC;
    assert_ptr_equal(bt_check_begin(&v, &block), &block);
    const struct bt_check *c = v.check;
    if (done > c->known)
        return;
    memcpy(v.state.gpr, c->after[done].gpr, sizeof(v.state.gpr));
    v.state.rip = c->after[done].rip;
    v.state.rflags = c->after[done].rflags;
    for (unsigned i = 0; i < c->stores; i++)
        if (c->store[i].insn < done)
            memcpy(ram + c->store[i].at.v, c->store[i].data, c->store[i].bytes);
}

/* What ends the VM; "": nothing. */
static const char *end(bool behind)
{
    static const char start[] = "its translated code at 0x1000 does not do what the software CPU "
                                "does: ";
    v.check->behind = behind;
    bt_check_end(&v, &block);
    if (why[0] == '\0')
        return "";
    assert_memory_equal(why, start, sizeof(start) - 1);
    return why + sizeof(start) - 1;
}

/* INC EAX; ADD EBX, EAX; JMP to the beginning */
static const char adding[] = "\x40\x01\xc3\xeb\xfb";
static const uint8_t adding_lengths[] = {1, 2, 2, 0};

static void test_registers(void **state)
{
    (void)state;
    v.state.gpr[RAX] = 6;
    begin(adding, adding_lengths, 3);
    assert_int_equal(v.state.gpr[RBX], 7);
    assert_string_equal(end(true), "");
    assert_int_equal(v.counted[BT_CHECKED], 3);
    begin(adding, adding_lengths, 2);
    v.state.rip = PC + 3; /* an interrupt, before the jump */
    assert_string_equal(end(false), "");
    assert_int_equal(v.counted[BT_CHECKED], 2);
    begin(adding, adding_lengths, 3);
    v.state.gpr[RBX] ^= 1ull << 40; /* which 32-bit code does not have */
    assert_string_equal(end(true), "");
    v.state.gpr[RBX] = 15;
    begin(adding, adding_lengths, 3);
    v.state.gpr[RBX]++;
    assert_string_equal(end(true), "a register");
    assert_non_null(strstr(said, " 0 0x1000: 40\n     as 00 00 00 00\n"));
    assert_non_null(strstr(said, "rbx was 0xf, wanted 0x19, got 0x1a  <--\n"));
    assert_non_null(strstr(said, "rax was 0x9, wanted 0xa, got 0xa\n"));
    begin(adding, adding_lengths, 3);
    v.state.rip = PC + 5;
    assert_string_equal(end(true), "where it goes on");
    begin(adding, adding_lengths, 3);
    v.state.rip = PC + 2; /* in an instruction */
    assert_string_equal(end(false), "where it was left");
    begin(adding, adding_lengths, 3);
    v.state.interruptibility = BLOCKED_BY_STI;
    assert_string_equal(end(true), "what blocks events");
}

/* JZ away; INC EAX: the block has two ends. */
static void test_ends(void **state)
{
    (void)state;
    static const uint8_t lengths[] = {2, 1, 0};
    begin("\x74\x10\x40", lengths, 2);
    assert_string_equal(end(true), "");
    assert_int_equal(v.counted[BT_CHECKED], 2);
    v.state.rflags |= RFLAGS_ZF;
    begin("\x74\x10\x40", lengths, 1);
    assert_int_equal(v.state.rip, PC + 0x12);
    assert_string_equal(end(true), "");
    assert_int_equal(v.counted[BT_CHECKED], 1);
    begin("\x74\x10\x40", lengths, 1);
    v.state.rip = PC + 3; /* it has not jumped */
    assert_string_equal(end(true), "where it goes on");
    assert_int_equal(block.compared, 1);
    assert_false(v.check->comparing);
}

static void test_flags(void **state)
{
    (void)state;
    /* AND EAX, EBX; INC ECX; JMP */
    static const uint8_t lengths[] = {2, 1, 2, 0};
    begin("\x21\xd8\x41\xeb\xfb", lengths, 3);
    v.state.rflags ^= RFLAGS_ZF;
    assert_string_equal(end(true), "a flag");
    assert_non_null(strstr(said, "rflags was "));
    /* AF, behind AND alone. */
    static const uint8_t alone[] = {2, 0};
    begin("\x21\xd8", alone, 1);
    v.state.rflags ^= RFLAGS_AF;
    assert_string_equal(end(true), "");
    begin("\x01\xd8", alone, 1); /* ADD */
    v.state.rflags ^= RFLAGS_AF;
    assert_string_equal(end(true), "a flag");
    /* PUSHF looks at it, and so is not in the block with the AND; behind ADD it is. */
    static const uint8_t pushed[] = {2, 1, 0};
    begin("\x21\xd8\x9c", pushed, 1);
    assert_int_equal(shortened, 1);
    assert_string_equal(end(true), "");
    begin("\x01\xd8\x9c", pushed, 2);
    assert_int_equal(shortened, 0);
    assert_string_equal(end(true), "");
    /* All of them are POPF's, where the software CPU is to do it. */
    begin("\x01\xd8\x9d", pushed, 1);
    v.state.rflags ^= RFLAGS_PF;
    assert_string_equal(end(false), "");
    /* And the ADD's, the AND's, the LOCK XADD's to a device; but not the INC's, and not the ADC's,
     * which goes by one. */
    static const char to_device[][8] = {
        "\x90\x01\x05\x00\x00\x08\x00", "\x90\x21\x05\x00\x00\x08\x00",
        "\x90\xff\x05\x00\x00\x08\x00", "\x90\x11\x05\x00\x00\x08\x00"};
    static const uint8_t one[] = {1, 6, 0}, locked[] = {1, 8, 0};
    for (unsigned i = 0; i < 4; i++) {
        begin(to_device[i], one, 1);
        v.state.rflags ^= RFLAGS_PF;
        assert_string_equal(end(false), i < 2 ? "" : "a flag");
    }
    begin("\x90\xf0\x0f\xc1\x05\x00\x00\x08\x00", locked, 1);
    v.state.rflags ^= RFLAGS_PF;
    assert_string_equal(end(false), "");
}

/* MOV [2000], EAX; INC EAX; MOV [2002], EAX; MOV EBX, [2000] */
static const char storing[] =
    "\xa3\x00\x20\x00\x00\x40\xa3\x02\x20\x00\x00\x8b\x1d\x00\x20\x00\x00";
static const uint8_t storing_lengths[] = {5, 1, 5, 6, 0};

static void test_memory(void **state)
{
    (void)state;
    v.state.gpr[RAX] = 0x11223344;
    begin(storing, storing_lengths, 4);
    assert_int_equal(v.state.gpr[RBX], 0x33453344); /* from the list: nothing is written */
    assert_string_equal(end(true), "");
    v.state.gpr[RAX] = 0x55667788;
    begin(storing, storing_lengths, 2);                      /* left before the second store */
    assert_int_equal(get_le(ram + DATA, 8), 0x112255667788); /* the first, and the one of before */
    assert_string_equal(end(false), "");
    begin(storing, storing_lengths, 4);
    ram[DATA + 1]++;
    assert_string_equal(end(true), "memory");
    assert_non_null(strstr(said, "guest memory 0x2000, instruction 0: wanted 89 77 66 55, got "));
    /* It is the second one's byte. */
    begin(storing, storing_lengths, 4);
    ram[DATA + 3]++;
    assert_string_equal(end(true), "memory");
    assert_non_null(strstr(said, "guest memory 0x2002, instruction 2: "));
}

static void test_what_cannot_be_compared(void **state)
{
    (void)state;
    /* INC EAX; RDTSC; CPUID */
    static const uint8_t lengths[] = {1, 2, 2, 0};
    begin("\x40\x0f\x31\x0f\xa2", lengths, 1);
    assert_int_equal(shortened, 1);
    assert_string_equal(end(true), "");
    assert_int_equal(v.counted[BT_CHECKED], 1);
    static const uint8_t rest[] = {2, 2, 0};
    begin("\x0f\x31\x0f\xa2", rest, 0);
    assert_int_equal(shortened, 1); /* that one, unlooked at */
    v.state.rip = PC + 2;
    assert_string_equal(end(true), "");
    assert_int_equal(v.counted[BT_UNCHECKED], 1);
    /* CPUID is no CPU's alone: the block has to be left before it. */
    begin("\x0f\xa2\x0f\x31", rest, 0);
    assert_int_equal(shortened, 0);
    assert_string_equal(end(false), "");
    begin("\x0f\xa2\x0f\x31", rest, 0);
    v.state.rip = PC + 2;
    assert_string_equal(end(false), "an instruction that is not to be done");
    /* So before a store to a device, and before UD2. */
    static const uint8_t store[] = {1, 5, 0};
    begin("\x40\xa3\x00\x00\x08\x00", store, 1);
    assert_string_equal(end(false), "");
    assert_int_equal(v.counted[BT_CHECKED], 1);
    begin("\x40\xa3\x00\x00\x08\x00", store, 1);
    assert_string_equal(end(true), "an instruction that is not to be done");
    static const uint8_t undefined[] = {1, 2, 0};
    begin("\x40\x0f\x0b", undefined, 1);
    assert_string_equal(end(true), "an instruction that is not to be done");
}

/* REP STOSB; and behind it nothing can be fetched: that is no REP, and no reason not to compare. */
static void test_no_instruction(void **state)
{
    (void)state;
    begin("\xf3\xaa", (const uint8_t[]){2, 0}, 1);
    assert_int_equal(v.check->repeats, 1);
    assert_string_equal(end(true), "");
    block = (struct bt_block){.pc = RAM, .insns = 1, .guest_bytes = 1, .code_bytes = 1};
    insn[0] = (struct translate_insn){.at = 0, .guest = 0};
    v.counted[BT_UNCHECKED] = 0;
    v.state.rip = RAM;
    assert_ptr_equal(bt_check_begin(&v, &block), &block);
    assert_int_equal(v.check->known, 0);
    v.state.gpr[RBX]++;
    v.check->behind = false;
    bt_check_end(&v, &block);
    assert_non_null(strstr(why, "a register"));
    assert_int_equal(v.counted[BT_UNCHECKED], 0);
}

/* REP STOSB; INC EAX */
static void test_repeated(void **state)
{
    (void)state;
    static const uint8_t lengths[] = {2, 1, 0};
    v.state.gpr[RCX] = 500;
    v.state.gpr[RDI] = DATA;
    v.state.gpr[RAX] = 0x7e;
    begin("\xf3\xaa\x40", lengths, 2);
    assert_int_equal(v.state.gpr[RCX], 0);
    assert_int_equal(ram[DATA + 499], 0x7e);
    assert_string_equal(end(true), "");
    assert_int_equal(v.counted[BT_CHECKED], 2);
    /* It has been left half the way. */
    v.state.gpr[RCX] = 500;
    begin("\xf3\xaa\x40", lengths, 0);
    v.state.gpr[RCX] = 20;
    assert_string_equal(end(false), "");
    assert_int_equal(v.counted[BT_UNCHECKED], 1);
    /* More than the list holds. */
    v.state.gpr[RCX] = 2 * BT_CHECK_STORES;
    begin("\xf3\xaa\x40", lengths, 0);
    assert_int_equal(shortened, 1);
    assert_string_equal(end(true), "");
    assert_int_equal(v.counted[BT_UNCHECKED], 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registers),
        TEST(test_ends),
        TEST(test_flags),
        TEST(test_memory),
        TEST(test_what_cannot_be_compared),
        TEST(test_no_instruction),
        TEST(test_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
