// link: guest/pv/hypercall.c guest/pv/mmu.c guest/pv/space.c guest/pv/traps.c guest/pv/segments.c guest/pv/time.c
// link: guest/pv/events.c guest/pv/vcpus.c guest/pv/console.c guest/pv/store.c guest/pv/domain.c guest/pv/privileged.c
// link: guest/cpu/guestwalk.c guest/cpu/control.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/operand_table.c
// link: mm/guestmem.c mm/page_alloc.c drivers/bus/timers.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* What comes to a domain's kernel as a frame on its stack, how it goes back, and the instructions
 * that it executes though it may not. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/pv_test.h"

#define HANDLER  0x21000ull
#define UPCALL   0x22000ull
#define SYSCALLS 0x23000ull
#define FAILSAFE 0x24000ull

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    return call_once(number, a, b, c, 0);
}

static void set_trap(unsigned vector, unsigned flags, uint64_t address)
{
    const struct xen_trap_info info[2] = {
        {.vector = (uint8_t)vector, .flags = (uint8_t)flags, .cs = 0x10, .address = address}};
    memcpy(ram + ARGS, info, sizeof(info));
    assert_int_equal(call(0, ARGS, 0, 0), 0);
}

static void test_set_trap_table(void **state)
{
    (void)state;
    const struct pv_trap *trap = vcpus[0].trap;
    set_trap(255, 7, HANDLER);
    assert_int_equal(trap[255].address, HANDLER);
    assert_int_equal(trap[255].flags, 7);
    set_trap(3, 0, HANDLER + 1); /* the others stay */
    assert_int_equal(trap[255].address, HANDLER);
    put(ARGS + 8, 1ull << 47);
    assert_int_equal(call(0, ARGS, 0, 0), XEN_EINVAL);
    assert_int_equal(call(0, UNMAPPED, 0, 0), XEN_EFAULT);
    for (uint64_t i = 0; i < 300; i++) { /* one without an end goes on in portions */
        put(ARGS + i * 16, 4);
        put(ARGS + i * 16 + 8, HANDLER + i);
    }
    const uint64_t rip = vcpus[0].frame.rip;
    call(0, ARGS, 0, 0);
    assert_int_equal(vcpus[0].frame.rip, rip);
    assert_int_equal(vcpus[0].frame.gpr[RDI], ARGS + 256 * 16);
    execute(&vcpus[0]);
    assert_int_equal(vcpus[0].frame.gpr[RAX], 0);
    assert_int_equal(trap[4].address, HANDLER + 299);
    assert_int_equal(call(0, 0, 0, 0), 0); /* none at all */
    assert_int_equal(trap[4].address | trap[255].address, 0);
}

static int64_t register_callback(unsigned type, unsigned flags, uint64_t address)
{
    const struct xen_callback_register r = {
        .type = (uint16_t)type, .flags = (uint16_t)flags, .address = address};
    memcpy(ram + ARGS, &r, sizeof(r));
    return call(30, 0, ARGS, 0);
}

static void test_callback_op(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    assert_int_equal(register_callback(XEN_CALLBACK_EVENT, 1, UPCALL), 0);
    assert_int_equal(v->callback[XEN_CALLBACK_EVENT], UPCALL);
    assert_int_equal(register_callback(XEN_CALLBACK_SYSCALL, 1, SYSCALLS), 0);
    assert_int_equal(v->callback_masks[XEN_CALLBACK_SYSCALL], 1);
    assert_int_equal(register_callback(XEN_CALLBACK_NMI, 0, HANDLER), 0);
    assert_int_equal(v->trap[VECTOR_NMI].address, HANDLER);
    assert_int_equal(call(30, 1, ARGS, 0), 0); /* it can do without that one */
    assert_int_equal(v->trap[VECTOR_NMI].address, 0);
    assert_int_equal(register_callback(XEN_CALLBACK_SYSENTER, 0, HANDLER), XEN_ENOSYS);
    assert_int_equal(register_callback(XEN_CALLBACK_SYSCALL32, 1, HANDLER), 0);
    assert_int_equal(v->callback[XEN_CALLBACK_SYSCALL32], HANDLER);
    assert_int_equal(v->callback_masks[XEN_CALLBACK_SYSCALL32], 1);
    assert_int_equal(register_callback(3, 0, HANDLER), XEN_ENOSYS);
    assert_int_equal(register_callback(0xffff, 0, HANDLER), XEN_ENOSYS);
    assert_int_equal(register_callback(XEN_CALLBACK_EVENT, 0, 1ull << 47), XEN_EFAULT);
    assert_int_equal(call(30, 1, ARGS, 0), XEN_EINVAL);
    assert_int_equal(call(30, 0, UNMAPPED, 0), XEN_EFAULT);
    assert_int_equal(call(30, 2, ARGS, 0), XEN_ENOSYS);
    assert_int_equal(call(4, UPCALL, FAILSAFE, SYSCALLS), 0);
    assert_int_equal(v->callback[XEN_CALLBACK_FAILSAFE], FAILSAFE);
    assert_int_equal(v->callback_masks[XEN_CALLBACK_SYSCALL], 0); /* that call says no flags */
    assert_int_equal(call(4, UPCALL, 1ull << 63, SYSCALLS), XEN_EINVAL);
    assert_int_equal(call(3, XEN_DATA, 1ull << 47, 0), XEN_EINVAL);
    assert_int_equal(v->kernel_sp, STACK);
    assert_int_equal(call(3, XEN_DATA, STACK - 256, 0), 0);
    assert_int_equal(v->kernel_sp, STACK - 256);
}

/* The word of a frame, from the lowest one on. */
static uint64_t word(unsigned i)
{
    return get(vcpus[0].frame.gpr[RSP] + i * 8);
}

static void prepare_frame(bool user, uint64_t rsp)
{
    struct pv_vcpu *v = &vcpus[0];
    struct ring3_frame *f = &v->frame;
    v->user_cr3 = USER_TOP;
    if (user)
        pv_enter_user(v);
    else
        pv_enter_kernel(v);
    f->gpr[RCX] = 0x1111, f->gpr[R11] = 0x2222, f->gpr[RSP] = rsp;
    f->rip = CODE;
    f->cs = XEN_CODE64, f->ss = XEN_DATA;
    f->rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF | RFLAGS_DF | RFLAGS_AC | RFLAGS_CF | 0x3000;
    v->info->mask = 0;
}

static void test_frame_of_user(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    const uint32_t error = 0x18;
    set_trap(13, XEN_TRAP_MASKS_EVENTS, HANDLER);
    host.gs_base = 0x1000;
    v->user_gs_base = 0x2000;
    v->kernel_sp = STACK - 8; /* aligned down to 16 */
    prepare_frame(true, USER_SP);
    pv_exception(v, 13, &error);
    assert_false(v->user);
    assert_int_equal(host.gs_base, 0x1000);
    assert_int_equal(v->frame.gpr[RSP], STACK - 16 - 64);
    const uint64_t want[8] = {
        0x1111,  0x2222,  0x18,
        CODE,    0xe033,  RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF | RFLAGS_DF | RFLAGS_AC | RFLAGS_CF,
        USER_SP, XEN_DATA};
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(word(i), want[i]);
    assert_int_equal(v->frame.rip, HANDLER);
    assert_int_equal(v->frame.cs, XEN_CODE64);
    assert_int_equal(v->frame.rflags & (RFLAGS_TF | RFLAGS_AC | RFLAGS_DF | RFLAGS_IF),
                     RFLAGS_DF | RFLAGS_IF);
    assert_int_equal(v->info->mask, 1);
}

static void test_frame_of_kernel(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    set_trap(6, 0, HANDLER);
    prepare_frame(false, STACK - 0x101);
    v->info->mask = 1;
    pv_exception(v, 6, NULL);
    assert_int_equal(v->frame.gpr[RSP], STACK - 0x110 - 56);
    assert_int_equal(word(2), CODE);
    assert_int_equal(word(3), 0xe030 | 1ull << 32); /* of CPL 0, and events were masked */
    assert_int_equal(word(4) & (RFLAGS_IF | RFLAGS_IOPL), 0);
    assert_int_equal(word(5), STACK - 0x101);
    assert_int_equal(v->info->mask, 1);
    prepare_frame(false, STACK);
    pv_exception(v, 6, NULL);
    assert_int_equal(v->info->mask, 0); /* this one does not mask them */
    assert_int_equal(vm.end, VM_RUNS);
}

static void test_bad_stack_ends_domain(void **state)
{
    (void)state;
    static const uint64_t bad[] = {READ_ONLY + 0x100, UNMAPPED + 0x100,   0,         8,
                                   0x800000000000,    0xffff800000000010, UINT64_MAX};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        vm.end = VM_RUNS;
        set_trap(6, 0, HANDLER);
        prepare_frame(false, bad[i]);
        pv_exception(&vcpus[0], 6, NULL);
        assert_int_equal(vm.end, VM_CRASH);
        assert_int_equal(vcpus[0].frame.rip, CODE);
    }
    vm.end = VM_RUNS;
    prepare_frame(false, STACK);
    pv_exception(&vcpus[0], 7, NULL); /* no handler */
    assert_int_equal(vm.end, VM_CRASH);
}

static void put_iret(uint64_t flags, uint64_t cs, uint64_t rflags)
{
    const struct xen_iret r = {.rax = 1,
                               .r11 = 2,
                               .rcx = 3,
                               .flags = flags,
                               .rip = 0x5555,
                               .cs = cs,
                               .rflags = rflags,
                               .rsp = USER_SP,
                               .ss = 0x2b};
    memcpy(ram + STACK - 0x200, &r, sizeof(r));
    vcpus[0].frame.gpr[RSP] = STACK - 0x200;
    vcpus[0].in_nmi = true;
    call(23, 0, 0, 0);
}

static void test_iret(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    struct ring3_frame *f = &v->frame;
    put_iret(0, 0xe030, RFLAGS_IF | RFLAGS_IOPL | RFLAGS_VM | RFLAGS_NT | RFLAGS_CF);
    assert_false(v->user);
    assert_int_equal(f->rip, 0x5555);
    assert_int_equal(f->cs, 0xe033);
    assert_int_equal(f->ss, 0x2b);
    assert_int_equal(f->gpr[RSP], USER_SP);
    assert_int_equal(f->gpr[RAX], 1);
    assert_int_equal(f->gpr[RCX], 3);
    assert_int_equal(f->gpr[R11], 2);
    assert_int_equal(f->rflags, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_CF);
    assert_int_equal(v->info->mask, 0);
    assert_false(v->in_nmi);
    f->gpr[RCX] = 7, f->gpr[R11] = 8;
    v->user_cr3 = USER_TOP;
    put_iret(XEN_IRET_IN_SYSCALL, 0x33, 0);
    assert_true(v->user);
    assert_int_equal(f->gpr[RCX], 7);
    assert_int_equal(f->gpr[R11], 8);
    assert_int_equal(v->info->mask, 1);
    assert_int_equal(f->rflags, RFLAGS_FIXED | RFLAGS_IF); /* the CPU's interrupts stay on */
    pv_enter_kernel(v);
    v->user_cr3 = 0;
    put_iret(0, 0x33, 0);
    assert_int_equal(vm.end, VM_CRASH);
    vm.end = VM_RUNS;
    f->gpr[RSP] = UNMAPPED - 8;
    call(23, 0, 0, 0);
    assert_int_equal(vm.end, VM_CRASH);
}

static void test_system_call(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    set_trap(6, 0, HANDLER);
    prepare_frame(true, USER_SP);
    v->frame.cs = 0x33;
    pv_bounce_syscall(v);
    assert_int_equal(v->frame.rip, HANDLER); /* without a callback it is #UD, a fault */
    assert_int_equal(word(2), CODE - SYSCALL_BYTES);
    v->callback[XEN_CALLBACK_SYSCALL] = SYSCALLS;
    v->callback_masks[XEN_CALLBACK_SYSCALL] = 1;
    prepare_frame(true, USER_SP);
    pv_bounce_syscall(v);
    assert_int_equal(v->frame.rip, SYSCALLS);
    assert_int_equal(v->frame.gpr[RSP], STACK - 7 * 8);
    assert_int_equal(v->frame.rflags & RFLAGS_DF, 0);
    assert_int_equal(v->info->mask, 1);
}

/* In 32-bit code, on AMD's CPUs: a callback of its own, or #UD. */
static void test_system_call_32(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    set_trap(6, 0, HANDLER);
    v->callback[XEN_CALLBACK_SYSCALL] = SYSCALLS;
    prepare_frame(true, USER_SP);
    v->frame.cs = 0x23;
    pv_bounce_syscall32(v);
    assert_int_equal(v->frame.rip, HANDLER);
    assert_int_equal(word(2), CODE - SYSCALL_BYTES);
    assert_int_equal(word(3), XEN_CODE32);
    assert_int_equal(register_callback(XEN_CALLBACK_SYSCALL32, 1, SYSCALLS + 1), 0);
    prepare_frame(true, USER_SP);
    pv_bounce_syscall32(v);
    assert_int_equal(v->frame.rip, SYSCALLS + 1);
    assert_int_equal(v->frame.cs, XEN_CODE64);
    assert_int_equal(word(2), CODE);
    assert_int_equal(word(3), XEN_CODE32);
    assert_int_equal(v->frame.rflags & RFLAGS_DF, 0);
    assert_int_equal(v->info->mask, 1);
    assert_false(v->user);
}

/* What IRETQ refuses is for the failsafe callback: with the selectors that are in the registers. */
static void test_bad_iret(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    v->callback[XEN_CALLBACK_FAILSAFE] = FAILSAFE;
    const uint16_t selectors[4] = {0x2b, 0x23, 0x33, 0x3b};
    memcpy(host.selector, selectors, sizeof(selectors));
    prepare_frame(true, USER_SP);
    v->frame.cs = 0x153;
    pv_bad_return(v);
    assert_int_equal(v->frame.rip, FAILSAFE);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(word(2 + i), selectors[i]);
    assert_int_equal(word(6), CODE);
    assert_int_equal(word(7), 0x153);
    assert_int_equal(v->info->mask, 0); /* as it is registered */
    v->callback_masks[XEN_CALLBACK_FAILSAFE] = 1;
    prepare_frame(true, USER_SP);
    pv_bad_return(v);
    assert_int_equal(v->info->mask, 1);
    v->callback[XEN_CALLBACK_FAILSAFE] = 0;
    pv_bad_return(v);
    assert_int_equal(vm.end, VM_CRASH);
}

static void test_what_waits(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    v->callback[XEN_CALLBACK_EVENT] = UPCALL;
    v->callback[XEN_CALLBACK_FAILSAFE] = FAILSAFE;
    prepare_frame(false, STACK);
    v->info->pending = 1;
    v->info->mask = 1;
    pv_deliver_waiting(v);
    assert_int_equal(v->frame.rip, CODE);
    v->info->mask = 0;
    pv_deliver_waiting(v);
    assert_int_equal(v->frame.rip, UPCALL);
    assert_int_equal(v->info->mask, 1);
    assert_int_equal(v->info->pending, 1); /* the kernel's to take back */
    pv_deliver_waiting(v);
    assert_int_equal(v->frame.gpr[RSP], STACK - 7 * 8);
    /* An NMI comes once until iret, and not before it has a handler. */
    v->info->pending = 0;
    prepare_frame(false, STACK);
    v->nmi_pending = true;
    pv_deliver_waiting(v);
    assert_int_equal(v->frame.rip, CODE);
    set_trap(VECTOR_NMI, 0, HANDLER);
    prepare_frame(false, STACK);
    pv_deliver_waiting(v);
    assert_int_equal(v->frame.rip, HANDLER);
    v->nmi_pending = true;
    prepare_frame(false, STACK);
    pv_deliver_waiting(v);
    assert_int_equal(v->frame.rip, CODE);
    /* Selectors that could not be loaded. */
    v->nmi_pending = false;
    v->selector[2] = host.refused = 0x1b;
    host.selector[2] = 0x1b;
    load_vcpu(1);
    load_vcpu(0);
    assert_int_equal(host.selector[2], 0);
    load_vcpu(1); /* before it was told */
    load_vcpu(0);
    pv_deliver_waiting(v);
    assert_int_equal(v->frame.rip, FAILSAFE);
    assert_int_equal(word(4), 0x1b); /* the one that it was to be: the kernel sees that it is not */
    assert_int_equal(word(5), 0);
    assert_int_equal(word(6), CODE);
    host.refused = 0;
    prepare_frame(false, STACK);
    load_vcpu(1);
    load_vcpu(0);
    pv_deliver_waiting(v);
    assert_int_equal(v->frame.rip, CODE);
}

static void test_software_interrupts(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    memcpy(ram + CODE, "\xcd\x80\xcc", 3);
    set_trap(0x80, 3, HANDLER);
    set_trap(13, 0, HANDLER + 1);
    prepare_frame(true, USER_SP);
    v->frame.error = 0x80 * 8 + 2;
    pv_trap(v, 13);
    assert_int_equal(v->frame.rip, HANDLER);
    assert_int_equal(word(2), CODE + 2);
    set_trap(0x80, 1, HANDLER); /* of the kernel alone */
    prepare_frame(true, USER_SP);
    pv_trap(v, 13);
    assert_int_equal(v->frame.rip, HANDLER + 1);
    assert_int_equal(word(2), 0x402);
    prepare_frame(false, STACK);
    pv_trap(v, 13);
    assert_int_equal(v->frame.rip, HANDLER);
    set_trap(3, 3, HANDLER + 2);
    prepare_frame(true, USER_SP);
    v->frame.rip = CODE + 2;
    pv_trap(v, 13);
    assert_int_equal(v->frame.rip, HANDLER + 2);
    assert_int_equal(word(2), CODE + 3);
    /* Another CPU has put its instruction back there: it is executed, and nothing delivered. */
    memcpy(ram + CODE, "\x66\x90\xce", 3);
    prepare_frame(false, STACK);
    pv_trap(v, 13);
    assert_int_equal(v->frame.rip, CODE);
    assert_int_equal(v->frame.gpr[RSP], STACK);
    v->frame.rip = CODE + 2; /* INTO */
    pv_trap(v, 13);
    assert_int_equal(v->frame.rip, HANDLER + 1);
}

/* Executes bytes of code that the CPU has refused. True: that came to the kernel's handler. */
static bool refused(const char *code, unsigned bytes, unsigned vector)
{
    struct pv_vcpu *v = &vcpus[0];
    v->trap[VECTOR_GENERAL_PROTECTION].address = v->trap[VECTOR_INVALID_OPCODE].address = HANDLER;
    v->frame.rip = CODE;
    v->frame.error = 0;
    v->frame.gpr[RSP] = STACK;
    memcpy(ram + CODE, code, bytes);
    pv_trap(v, vector);
    if (v->frame.rip == HANDLER)
        return true;
    assert_int_equal(v->frame.rip, CODE + bytes);
    return false;
}

/* What IRET takes, in that operand size. */
static void push_words(const uint64_t *words, unsigned bytes)
{
    for (unsigned i = 0; i < 5; i++)
        memcpy(ram + STACK - 64 + i * bytes, &words[i], bytes);
}

/* The bytes at CODE, by a page fault that is the supervisor's. */
static void fault_of_return(const char *code, unsigned bytes, uint64_t cs)
{
    struct pv_vcpu *v = &vcpus[0];
    memset(ram + CODE, 0x90, 8);
    memcpy(ram + CODE, code, bytes);
    v->frame.rip = CODE;
    v->frame.cs = cs;
    v->frame.ss = XEN_DATA;
    v->frame.rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_ID | RFLAGS_RF;
    v->frame.gpr[RSP] = STACK - 64;
    v->frame.error = 0;
    pv_trap(v, VECTOR_PAGE_FAULT);
}

/* Where IRET meets a page fault as if it were the supervisor's, it is carried out, in each size. */
static void test_iret_of_supervisor(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        unsigned length, word;
    } all[] = {{"\xcf", 1, 4},         {"\x66\xcf", 2, 2},     {"\x48\xcf", 2, 8},
               {"\x66\x48\xcf", 3, 8}, {"\x66\x40\xcf", 3, 2}, {"\x41\xcf", 2, 4}};
    struct pv_vcpu *v = &vcpus[0];
    v->gdt_count = 4;       /* as it would come from the kernel's frame */
    v->gdt[2] = 1ull << 54; /* D */
    v->gdt[3] = 1ull << 53; /* L */
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const uint64_t mask = UINT64_MAX >> (64 - 8 * all[i].word);
        uint64_t words[5] = {0x123456789abc, XEN_CODE64, RFLAGS_CF | RFLAGS_IOPL | RFLAGS_AC,
                             0x7edcba987650, XEN_DATA};
        push_words(words, all[i].word);
        fault_of_return(all[i].code, all[i].length, (i & 1) != 0 ? XEN_CODE64 : 0x1b);
        assert_int_equal(v->frame.rip, words[0] & mask);
        assert_int_equal(v->frame.cs, XEN_CODE64);
        assert_int_equal(v->frame.gpr[RSP], words[3] & mask);
        assert_int_equal(v->frame.ss, XEN_DATA);
        assert_int_equal(v->frame.rflags, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_CF |
                                              (all[i].word == 2 ? RFLAGS_ID : RFLAGS_AC));
        words[1] = 0xe030; /* to CPL 0 */
        v->trap[VECTOR_GENERAL_PROTECTION].address = HANDLER;
        push_words(words, all[i].word);
        fault_of_return(all[i].code, all[i].length, XEN_CODE64);
        assert_int_equal(v->frame.rip, HANDLER);
        assert_int_equal(word(2), 0xe030);
        assert_int_equal(host.fills, 0);
        /* Of another mode, and other instructions, which only look like it. */
        fault_of_return(all[i].code, all[i].length, i % 2 != 0 ? XEN_CODE32 : 0x13);
        fault_of_return("\x66\x66\xcf", 3, XEN_CODE64);
        fault_of_return("\xce", 1, XEN_CODE64);
        assert_int_equal(v->frame.rip, CODE);
        assert_int_equal(host.fills, 3);
        host.fills = 0;
    }
}

static void test_far_return_of_supervisor(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        unsigned length, word, more;
    } all[] = {{"\xcb", 1, 4, 0},
               {"\x66\xcb", 2, 2, 0},
               {"\x48\xcb", 2, 8, 0},
               {"\xca\x10\x01", 3, 4, 0x110},
               {"\x66\xca\xf8\xff", 4, 2, 0xfff8},
               {"\x66\x48\xca\x08\0", 5, 8, 8}};
    struct pv_vcpu *v = &vcpus[0];
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const uint64_t mask = UINT64_MAX >> (64 - 8 * all[i].word);
        uint64_t words[5] = {0x123456789abc, XEN_CODE64, 0, 0, 0};
        push_words(words, all[i].word);
        fault_of_return(all[i].code, all[i].length, XEN_CODE64);
        assert_int_equal(v->frame.rip, words[0] & mask);
        assert_int_equal(v->frame.cs, XEN_CODE64);
        assert_int_equal(v->frame.gpr[RSP], STACK - 64 + 2 * all[i].word + all[i].more);
        assert_int_equal(v->frame.ss, XEN_DATA);
        assert_true((v->frame.rflags & RFLAGS_ID) != 0); /* they stay */
        words[1] = 0xe030;                               /* to CPL 0 */
        v->trap[VECTOR_GENERAL_PROTECTION].address = HANDLER;
        push_words(words, all[i].word);
        fault_of_return(all[i].code, all[i].length, XEN_CODE64);
        assert_int_equal(v->frame.rip, HANDLER);
        assert_int_equal(host.fills, 0);
        fault_of_return(all[i].code, all[i].length, XEN_CODE32);
        assert_int_equal(v->frame.rip, CODE);
        assert_int_equal(host.fills, 1);
        host.fills = 0;
    }
}

static bool rdmsr(uint32_t msr, uint64_t *value)
{
    uint64_t *gpr = vcpus[0].frame.gpr;
    gpr[RCX] = 0xffffffff00000000 | msr;
    gpr[RAX] = gpr[RDX] = UINT64_MAX;
    const bool good = !refused("\x0f\x32", 2, 13);
    *value = gpr[RDX] << 32 | gpr[RAX];
    assert_true(!good || (gpr[RAX] >> 32 == 0 && gpr[RDX] >> 32 == 0));
    return good;
}

static bool wrmsr(uint32_t msr, uint64_t value)
{
    uint64_t *gpr = vcpus[0].frame.gpr;
    gpr[RCX] = msr, gpr[RAX] = (uint32_t)value, gpr[RDX] = value >> 32;
    return !refused("\x0f\x30", 2, 13);
}

static void test_msrs(void **state)
{
    (void)state;
    static const uint32_t base[] = {MSR_IA32_FS_BASE, MSR_IA32_GS_BASE, MSR_IA32_KERNEL_GS_BASE};
    uint64_t value;
    for (unsigned i = 0; i < 3; i++) {
        assert_true(wrmsr(base[i], 0xffff888812340000 + i));
        assert_false(wrmsr(base[i], 1ull << 47));
    }
    for (unsigned i = 0; i < 3; i++)
        assert_true(rdmsr(base[i], &value) && value == 0xffff888812340000 + i);
    assert_int_equal(host.gs_base, 0xffff888812340001);
    assert_int_equal(vcpus[0].user_gs_base, 0xffff888812340002);
    assert_true(wrmsr(MSR_IA32_TSC_AUX, 5));
    assert_false(wrmsr(MSR_IA32_TSC_AUX, 1ull << 32));
    assert_true(rdmsr(MSR_IA32_TSC_AUX, &value) && value == 5 && host.aux == 5);
    assert_true(rdmsr(MSR_IA32_PAT, &value) && value == PAT_RESET_VALUE);
    assert_true(wrmsr(MSR_IA32_PAT, PAT_RESET_VALUE));
    assert_false(wrmsr(MSR_IA32_PAT, 0));
    assert_true(rdmsr(MSR_IA32_EFER, &value) && wrmsr(MSR_IA32_EFER, value));
    assert_false(wrmsr(MSR_IA32_EFER, 1 << 12));
    host.tsc = 0x123456789a;
    assert_true(rdmsr(MSR_IA32_TIME_STAMP_COUNTER, &value) && value == 0x123456789a);
    static const uint32_t none[] = {0xc0000081, 0xc0000082, 0x174, 0x1d9, 0x38f, 0x48, 0x3a, 0};
    for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_false(rdmsr(none[i], &value));
        assert_false(wrmsr(none[i], 0));
    }
}

static void test_control_registers(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    uint64_t *gpr = v->frame.gpr;
    assert_false(refused("\x0f\x20\xd8", 3, 13)); /* MOV RAX, CR3 */
    assert_int_equal(gpr[RAX], TABLES);
    assert_true(refused("\x0f\x22\xd8", 3, 13)); /* by a call alone */
    assert_false(refused("\x0f\x20\xc0", 3, 13));
    assert_int_equal(gpr[RAX], v->cr0);
    gpr[RAX] = v->cr0 | CR0_TS;
    assert_false(refused("\x0f\x22\xc0", 3, 13));
    assert_int_equal(host.controls, 1);
    assert_true((v->cr0 & CR0_TS) != 0);
    assert_false(refused("\x0f\x06", 2, 13)); /* CLTS */
    assert_true((v->cr0 & CR0_TS) == 0);
    gpr[RAX] = v->cr0 & ~(uint64_t)CR0_WP;
    assert_true(refused("\x0f\x22\xc0", 3, 13));
    gpr[RAX] = CR4_PAE | CR4_OSFXSR | CR4_PGE;
    assert_false(refused("\x0f\x22\xe0", 3, 13));
    assert_int_equal(v->cr4, CR4_OSFXSR);
    gpr[RAX] = CR4_PAE | CR4_SMEP;
    assert_true(refused("\x0f\x22\xe0", 3, 13));
    vm.xcr0_allowed = XCR0_X87 | XCR0_SSE;
    gpr[RAX] = XCR0_X87 | XCR0_SSE, gpr[RCX] = gpr[RDX] = 0;
    assert_true(refused("\x0f\x01\xd1", 3, 6)); /* XSETBV without CR4.OSXSAVE */
    v->cr4 |= CR4_OSXSAVE;
    assert_false(refused("\x0f\x01\xd1", 3, 13));
    assert_int_equal(host.xcr0, XCR0_X87 | XCR0_SSE);
    gpr[RAX] = XCR0_SSE;
    assert_true(refused("\x0f\x01\xd1", 3, 13)); /* x87 cannot be off */
    v->info->cr2 = 0x77;
    assert_false(refused("\x0f\x20\xd0", 3, 13));
    assert_int_equal(gpr[RAX], 0x77);
    v->info->mask = 0;
    assert_false(refused("\xfa", 1, 13)); /* CLI, STI: nothing, as POPF is native */
    assert_int_equal(v->info->mask, 0);
    v->info->mask = 1;
    assert_false(refused("\xfb", 1, 13));
    assert_int_equal(v->info->mask, 1);
    assert_true(refused("\xf4", 1, 13)); /* HLT: there is a call for it */
    assert_true(refused("\x0f\x01\xf8", 3, 6));
}

/* prctl(PR_SET_TSC): while such a process runs the CPU has CR4.TSD, and faults in the kernel, too.
 */
static void test_counter_kept_from_user_code(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    uint64_t *gpr = v->frame.gpr;
    host.tsc = 0x123456789a;
    v->tsc_aux = 5;
    vm.cr4_allowed |= CR4_TSD;
    assert_true(refused("\x0f\x31", 2, 13)); /* RDTSC faults for another reason */
    gpr[RAX] = CR4_PAE | CR4_TSD;
    assert_false(refused("\x0f\x22\xe0", 3, 13));
    assert_int_equal(v->cr4, CR4_TSD);
    assert_int_equal(host.controls, 1);
    gpr[RAX] = gpr[RDX] = gpr[RCX] = UINT64_MAX;
    assert_false(refused("\x0f\x31", 2, 13));
    assert_int_equal(gpr[RAX], 0x3456789a);
    assert_int_equal(gpr[RDX], 0x12);
    assert_int_equal(gpr[RCX], UINT64_MAX);
    assert_false(refused("\x0f\x01\xf9", 3, 13)); /* RDTSCP */
    assert_int_equal(gpr[RCX], 5);
    v->user = true;
    assert_true(refused("\x0f\x31", 2, 13));
}

static void test_cpuid_and_ports(void **state)
{
    (void)state;
    struct pv_vcpu *v = &vcpus[0];
    uint64_t *gpr = v->frame.gpr;
    vm.cpuid.entry[1] = (struct cpuid_entry){.leaf = 0, .eax = 1, .ebx = 0x6964614e};
    vm.cpuid.first[0] = 1;
    vm.cpuid.count = 2;
    gpr[RAX] = 0xffffffff00000000;
    gpr[RBX] = UINT64_MAX;
    assert_false(refused("\x0f\x0bxen\x0f\xa2", 7, 6));
    assert_int_equal(gpr[RBX], 0x6964614e);
    assert_true(refused("\x0f\x0bxem\x0f\xa2", 7, 6));
    assert_true(refused("\x0f\x0b", 2, 6));
    gpr[RAX] = 0;
    assert_false(refused("\x0f\xa2", 2, 13));
    assert_int_equal(gpr[RAX], 1);
    gpr[RAX] = UINT64_MAX, gpr[RDX] = 0x60;
    assert_false(refused("\xec", 1, 13)); /* IN AL, DX */
    assert_int_equal(gpr[RAX], 0xffffffffffffff60);
    assert_false(refused("\x66\xe5\x21", 3, 13));
    assert_int_equal(gpr[RAX], 0xffffffffffff0021);
    assert_false(refused("\xed", 1, 13));
    assert_int_equal(gpr[RAX], 0xa5000060); /* 32 bits clear the upper ones */
    gpr[RAX] = 0x1234;
    assert_false(refused("\xe6\x80", 2, 13));
    assert_int_equal(host.port_written, 0x34);
    /* The last bytes before a page that is not mapped are enough. */
    memcpy(ram + UNMAPPED - 2, "\x0f\xa2", 2);
    v->frame.rip = UNMAPPED - 2;
    gpr[RAX] = 0;
    pv_trap(v, 13);
    assert_int_equal(v->frame.rip, UNMAPPED);
    /* User code has CPUID alone. */
    prepare_frame(true, USER_SP);
    gpr[RAX] = 0;
    assert_false(refused("\x0f\xa2", 2, 13));
    assert_true(v->user);
    assert_true(refused("\xec", 1, 13));
    assert_false(v->user);
}

static void test_debug_registers(void **state)
{
    (void)state;
    assert_int_equal(call(8, 0, 0x1000, 0), 0);
    assert_int_equal(call(9, 0, 0, 0), 0x1000);
    assert_int_equal(call(8, 3, 1ull << 47, 0), XEN_EPERM);
    assert_int_equal(call(8, 3, 0xffff800000000000, 0), XEN_EPERM); /* the hypervisor's */
    assert_int_equal(call(8, 8, 0, 0), XEN_EINVAL);
    assert_int_equal(call(8, 1ull << 32, 0, 0), XEN_EINVAL);
    assert_int_equal(call(9, UINT64_MAX, 0, 0), XEN_EINVAL);
    assert_int_equal(host.dr7, 0);
    assert_int_equal(call(8, 7, 1, 0), 0);
    assert_int_equal(host.dr[0], 0x1000);
    assert_int_equal(host.dr7, DR7_RESET | 1);
    assert_int_equal(call(8, 7, 1 << 13 | 1, 0), XEN_EPERM); /* GD */
    assert_int_equal(call(8, 7, 2 << 16 | 1, 0), XEN_EPERM); /* I/O */
    assert_int_equal(call(9, 7, 0, 0), DR7_RESET | 1);
    assert_int_equal(call(8, 7, 0, 0), 0);
    assert_int_equal(host.dr7, DR7_RESET);
    assert_int_equal(host.dr[0], 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_set_trap_table),
        TEST(test_callback_op),
        TEST(test_frame_of_user),
        TEST(test_frame_of_kernel),
        TEST(test_bad_stack_ends_domain),
        TEST(test_iret),
        TEST(test_system_call),
        TEST(test_system_call_32),
        TEST(test_bad_iret),
        TEST(test_what_waits),
        TEST(test_software_interrupts),
        TEST(test_iret_of_supervisor),
        TEST(test_far_return_of_supervisor),
        TEST(test_msrs),
        TEST(test_control_registers),
        TEST(test_counter_kept_from_user_code),
        TEST(test_cpuid_and_ports),
        TEST(test_debug_registers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
