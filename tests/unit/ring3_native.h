/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests of guest/ring3: code executed by the CPU that runs the test, on all registers, x87 and
 * vectors included, until something ends it: as ring3_enter() does it for the hypervisor, but by
 * signals. As 64-bit, 32-bit or 16-bit code. */
#pragma once

#define _GNU_SOURCE /* MAP_32BIT, REG_RIP */
#include <asm/ldt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/bytes.h"
#include "arch/cpu.h"
#include "guest/cpu/decode.h"
#include "tests/unit/native_32.h"

#define XSAVE_BYTES 4096

/* Registers; x87 and vectors as XSAVE has them. */
struct native {
    uint64_t gpr[16], rip, rflags;
    uint8_t xsave[XSAVE_BYTES] __attribute__((aligned(64)));
};

enum { DATA_SELECTOR = 0x2b, CODE32_SELECTOR = 0x23, CODE64_SELECTOR = 0x33 };
enum { CODE16_LDT = 0x07, DATA16_LDT = 0x0f };

/* What the stub reads and what the handler leaves; by name, for assembly. All code is in the low 2
 * GiB. */
struct native native_state;
struct __attribute__((packed)) {
    uint32_t offset;
    uint16_t selector;
} native_far;
uint64_t native_data_selector, native_host_rsp, native_components;
static unsigned native_vector, native_xsave_bytes;
static uint64_t native_error, native_address;
static volatile bool native_inside;
static bool __attribute__((unused)) native_has_more; /* components of XSAVE than those */

void native_go(void);
void native_back(void);
__asm__(".text\n"
        "native_go:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "  mov %rsp, native_host_rsp(%rip)\n"
        "  mov native_components(%rip), %eax; xor %edx, %edx\n"
        "  lea native_state(%rip), %rdi\n"
        "  xrstor64 192(%rdi)\n"
        "  mov native_data_selector(%rip), %eax; mov %eax, %ds; mov %eax, %es\n"
        "  pushq 136(%rdi); popfq\n"
        "  mov 0(%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
        "  mov 32(%rdi), %rsp; mov 40(%rdi), %rbp; mov 48(%rdi), %rsi\n"
        "  mov 64(%rdi), %r8; mov 72(%rdi), %r9; mov 80(%rdi), %r10; mov 88(%rdi), %r11\n"
        "  mov 96(%rdi), %r12; mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"
        "  mov 56(%rdi), %rdi\n"
        "  ljmp *native_far(%rip)\n"
        "native_back:\n"
        "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  ret\n");

static void native_on_signal(int signal, siginfo_t *info, void *context)
{
    static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                      REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                      REG_R12, REG_R13, REG_R14, REG_R15};
    ucontext_t *uc = context;
    greg_t *gregs = uc->uc_mcontext.gregs;
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    if (!native_inside) {
        fprintf(stderr, "signal %d at 0x%llx\n", signal, gregs[REG_RIP]);
        _exit(1);
    }
    native_inside = false;
    for (unsigned i = 0; i < 16; i++)
        native_state.gpr[i] = (uint64_t)gregs[order[i]];
    native_state.rip = (uint64_t)gregs[REG_RIP];
    native_state.rflags = (uint64_t)gregs[REG_EFL];
    native_vector = (unsigned)gregs[REG_TRAPNO];
    native_error = (uint64_t)gregs[REG_ERR];
    native_address = (uint64_t)(uintptr_t)info->si_addr;
    for (unsigned i = 0; i < XSAVE_BYTES; i++) /* not memcpy(): the rest may not be mapped */
        native_state.xsave[i] = i < 464 || (i >= 512 && i < native_xsave_bytes) ? fp[i] : 0;
    native_state.xsave[512] &= (uint8_t)native_components; /* in use, of those that are looked at */
    native_state.xsave[513] = 0;
    fp[0] = 0x7f; /* no errors are pending or unmasked in C */
    fp[1] = 0x03;
    fp[2] = fp[3] = 0;
    put_le(fp + 24, 4, 0x1f80);
    gregs[REG_RIP] = (greg_t)(uintptr_t)native_back;
    gregs[REG_RSP] = (greg_t)native_host_rsp;
    gregs[REG_EFL] = 0x202;
    gregs[REG_CSGSFS] = (gregs[REG_CSGSFS] & ~0xffffll) | CODE64_SELECTOR;
}

/* Makes a segment of the process's own LDT, of 64 KiB. */
static bool __attribute__((unused)) native_segment(unsigned entry, uint32_t base, bool code)
{
    struct user_desc desc = {.entry_number = entry,
                             .base_addr = base,
                             .limit = 0xffff,
                             .contents = code ? 2 : 0,
                             .useable = 1};
    return syscall(SYS_modify_ldt, 0x11, &desc, sizeof(desc)) == 0;
}

static void native_init(void)
{
    static uint8_t stack[1 << 17] __attribute__((aligned(64)));
    const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = native_on_signal,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    const int signals[] = {SIGILL, SIGSEGV, SIGFPE, SIGBUS, SIGTRAP};
    uint32_t low, high;
    sigaltstack(&alternate, NULL);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    native_components = low & 0xe7;
    native_has_more = low != native_components;
    native_xsave_bytes = 512 + 64;
    for (unsigned i = 2; i < 8; i++) { /* what lies behind, as PKRU, is not of these */
        const struct cpuid_regs part = cpu_cpuid(0xd, i);
        if ((native_components >> i & 1) != 0 && part.ebx + part.eax > native_xsave_bytes)
            native_xsave_bytes = part.ebx + part.eax;
    }
}

/* Whether native_run() may have this mode. */
static bool __attribute__((unused)) native_has(enum insn_mode mode)
{
    return mode == INSN_64 || native_has_32();
}

/* Executes native_state from its rip on; what has ended it is in native_vector. RSP is to be a
 * canonical address: a Linux that is a paravirtual guest (PVM) cannot go back to user code that has
 * another one, so that an interrupt or a page fault on the way ends as #UD or #GP. */
static void native_run(enum insn_mode mode, uint32_t base)
{
    native_far.offset = (uint32_t)native_state.rip - base;
    native_far.selector = mode == INSN_64   ? CODE64_SELECTOR
                          : mode == INSN_32 ? CODE32_SELECTOR
                                            : CODE16_LDT;
    native_data_selector = mode == INSN_16 ? DATA16_LDT : DATA_SELECTOR;
    native_inside = true;
    native_go();
    if (mode == INSN_16)
        native_state.rip += base;
}

/* In the form that XSAVE has for all components, whatever the kernel has left out. */
static void __attribute__((unused)) native_normalize(uint8_t *xsave)
{
    static uint8_t before[XSAVE_BYTES] __attribute__((aligned(64)));
    __asm__ volatile("xsave64 (%0); xrstor64 (%1); xsave64 (%1); xrstor64 (%0)"
                     :
                     : "r"(before), "r"(xsave), "a"((uint32_t)native_components), "d"(0)
                     : "memory");
}
