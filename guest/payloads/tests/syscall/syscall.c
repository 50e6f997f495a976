/* SPDX-License-Identifier: BSD-2-Clause */
/* SYSCALL and SYSRET, SYSENTER and SYSEXIT: the MSRs that they go by, and what they load. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/user.h"

#define MSR_STAR         0xc0000081
#define MSR_LSTAR        0xc0000082
#define MSR_FMASK        0xc0000084
#define MSR_SYSENTER_CS  0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define EFER_SCE         1ull
#define RFLAGS_DF        0x400ull

/* entries.asm fills these in. */
extern uint64_t seen_cs, seen_ss, seen_rsp, seen_rcx, seen_r11, seen_rflags;
void entry_syscall(void);
void entry_sysret(void);
void entry_sysenter(void);

static const struct probe none = {PROBE_NONE, 0}, undefined = {VECTOR_UD, 0};
static uint8_t stack[256];

static struct code code_of(uint8_t a, uint8_t b)
{
    return (struct code){.rax = 0x1234, .rbx = 0x5678, .length = 2, .bytes = {a, b}};
}

static void check_syscall(void)
{
    const char *rule = "SDM, SYSCALL";
    struct code call = code_of(0x0f, 0x05);
    test_fault(user_probe(&call, 0), undefined, "SYSCALL without EFER.SCE", rule);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    wrmsr(MSR_STAR, (uint64_t)USER_CODE32 << 48 | (uint64_t)USER_KERNEL_CODE << 32);
    wrmsr(MSR_LSTAR, (uint64_t)entry_syscall);
    wrmsr(MSR_FMASK, RFLAGS_DF);
    test_fault(user_probe(&call, RFLAGS_DF), none, "SYSCALL comes to IA32_LSTAR", rule);
    test_check(seen_cs == USER_KERNEL_CODE && seen_ss == USER_KERNEL_DATA,
               "with CS and SS by IA32_STAR", rule);
    test_equal(seen_rflags & RFLAGS_DF, 0, "flags masked by IA32_FMASK", rule);
    test_equal(seen_r11 & RFLAGS_DF, RFLAGS_DF, "and the old ones in R11", rule);
    wrmsr(MSR_LSTAR, (uint64_t)entry_sysret);
    call = code_of(0x0f, 0x05);
    test_fault(user_probe(&call, 0), none, "SYSRET goes back behind it", "SDM, SYSRET");
    test_equal(call.rax, 0xabcd, "with what the entry put into RAX", "SDM, SYSRET");
    test_equal(call.rcx, seen_rcx, "and RCX the address", "SDM, SYSRET");
    struct code back = code_of(0x0f, 0x07);
    test_fault(user_probe(&back, 0), (struct probe){VECTOR_GP, 0}, "SYSRET at CPL 3",
               "SDM, SYSRET");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SCE);
}

static void check_sysenter(void)
{
    const char *rule = "SDM, SYSENTER";
    struct code enter = code_of(0x0f, 0x34);
    wrmsr(MSR_SYSENTER_ESP, (uint64_t)(stack + sizeof(stack)));
    wrmsr(MSR_SYSENTER_EIP, (uint64_t)entry_sysenter);
    if (cpuid(0, 0).ebx == 0x68747541) { /* "Auth" */
        wrmsr(MSR_SYSENTER_CS, USER_KERNEL_CODE);
        test_fault(user_probe(&enter, 0), undefined, "SYSENTER in long mode, on AMD's CPUs",
                   "APM, SYSENTER");
        return;
    }
    wrmsr(MSR_SYSENTER_CS, 0);
    test_fault(user_probe(&enter, 0), (struct probe){VECTOR_GP, 0},
               "SYSENTER with IA32_SYSENTER_CS = 0", rule);
    wrmsr(MSR_SYSENTER_CS, USER_KERNEL_CODE);
    test_fault(user_probe(&enter, 0), none, "SYSENTER comes to IA32_SYSENTER_EIP", rule);
    test_check(seen_cs == USER_KERNEL_CODE && seen_ss == USER_KERNEL_DATA,
               "with CS and SS by IA32_SYSENTER_CS", rule);
    test_equal(seen_rsp, (uint64_t)(stack + sizeof(stack)), "and RSP by IA32_SYSENTER_ESP", rule);
    wrmsr(MSR_SYSENTER_CS, 0);
}

int main(void)
{
    test_begin("syscall", "fast system calls");
    user_init();
    check_syscall();
    check_sysenter();
    return test_end();
}
