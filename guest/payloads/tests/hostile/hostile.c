/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest must not do, or gets nothing from: instructions, MSRs and control registers, ports,
 * memory. */
#include "hostile.h"

#include "guest/hypercall.h"
#include "guest/lib/cpu.h"
#include "guest/lib/test.h"

static void check_cpuid(void)
{
    struct cpuid one = cpuid(1, 0);
    test_check((one.ecx >> 31 & 1) == 1, "CPUID.1:ECX[31] says hypervisor", "issue 2");
    test_check((one.ecx >> 5 & 1) == 0, "CPUID hides VMX", "not virtualised");
    test_check((one.ecx >> 6 & 1) == 0, "CPUID hides SMX", "not virtualised");
    test_check((one.ecx >> 3 & 1) == 0, "CPUID hides MONITOR/MWAIT", "not virtualised");
    test_check((cpuid(7, 0).ebx >> 2 & 1) == 0, "CPUID hides SGX", "not virtualised");
    struct cpuid own = cpuid(0x40000000, 0);
    test_check(own.eax >= 0x40000000 && own.eax < 0x40000200, "hypervisor leaves end somewhere",
               "own signature");
    test_check(own.ebx != 0, "the hypervisor signs", "own signature");
}

static uint64_t hypercall(uint64_t number)
{
    struct code code = {.rax = number,
                        .rbx = ~0ull,
                        .rcx = ~0ull,
                        .rdx = ~0ull,
                        .rsi = ~0ull,
                        .length = 3,
                        .bytes = {0x0f, 0x01, 0xc1}};
    struct probe p = code_probe(&code);
    return p.vector == PROBE_NONE ? code.rax : 0xdead0000u + p.vector;
}

static void check_hypercalls(void)
{
    test_equal(hypercall(HYPERCALL_NOP), 0, "VMCALL 0", "guest/hypercall.h");
    test_equal(hypercall(0x7fffffff), (uint64_t)HYPERCALL_UNKNOWN, "unknown VMCALL",
               "guest/hypercall.h");
    test_equal(hypercall(~0ull), (uint64_t)HYPERCALL_UNKNOWN, "VMCALL of all ones",
               "guest/hypercall.h");
    test_equal(hypercall(1ull << 32), (uint64_t)HYPERCALL_UNKNOWN, "VMCALL above 32 bits",
               "all of RAX counts");
}

int main(void)
{
    test_begin("hostile", "what a guest must not do");
    if (test_only(TEST_VM)) {
        check_cpuid();
        check_hypercalls();
        check_hidden();
    }
    test_both();
    check_instructions();
    check_memory();
    check_ports();
    return test_end();
}
