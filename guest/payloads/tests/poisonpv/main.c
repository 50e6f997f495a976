/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A paravirtual kernel that fills registers and memory with a pattern, or looks for it from its
 * first instruction on. Nothing of one domain is ever to be seen in another: neither where they
 * share a CPU, nor where one has the memory of another that has ended. By its command line:
 *   poison   registers are filled, then memory; the CPU is shared for a while
 *   find     it looks everywhere, then holds registers of its own while the CPU is shared
 *   again    it looks, then fills, then ends: for a domain that begins again and again
 *   planted  it looks for what it has put there itself
 */
#include "poisonpv.h"

enum { TIMES = 40, ROUNDS = 100000, YIELDS = 50 };

const struct xen_start_info *start;
static uint64_t seen[WORDS] __attribute__((aligned(4096)));

uint64_t *window(uint64_t frame)
{
    return xen_call(XEN_UPDATE_VA_MAPPING, (uint64_t)seen, frame * PAGE | PTE_P | PTE_W,
                    XEN_FLUSH_INVLPG, 0) == 0
               ? seen
               : NULL;
}

/* Five bytes before CPUID have the hypervisor answer. */
struct cpuid ask_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid c;
    __asm__ volatile("ud2; .ascii \"xen\"; cpuid"
                     : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx)
                     : "a"(leaf), "c"(subleaf));
    return c;
}

/* A round takes two instructions, and so two ticks in Bochs: more, and another one had the CPU. */
static unsigned share_cpu(uint64_t pattern)
{
    unsigned bad = 0, shared = 0;
    for (unsigned i = 0; i < TIMES; i++) {
        const uint64_t before = rdtsc();
        bad += hold(pattern, ROUNDS, false);
        shared += rdtsc() - before > 3 * ROUNDS;
        bad += hold(pattern, YIELDS, true);
        bad += pattern == PATTERN_POISON ? leave_lost() : 0;
        if (pattern == PATTERN_OWN && i % 8 == 0) {
            start_gpr[0] = i; /* where the other one has a breakpoint */
            find_meanwhile();
        }
    }
    print("poisonpv: held %u times, shared %u times, %u differ\n", 2 * TIMES, shared, bad);
    return bad;
}

static void make_trap(void)
{
    enum { PAGE_FAULT = 14 };
    static const struct xen_trap_info traps[] = {
        {PAGE_FAULT, 0, XEN_FLAT_CODE, (uint64_t)entry_page_fault}, {0, 0, 0, 0}};
    static uint8_t stack[PAGE] __attribute__((aligned(16)));
    (void)xen_call(XEN_SET_TRAP_TABLE, (uint64_t)traps, 0, 0, 0);
    (void)xen_call(XEN_STACK_SWITCH, XEN_FLAT_DATA, (uint64_t)stack + PAGE, 0, 0);
}

_Noreturn void pv_main(const struct xen_start_info *info);
_Noreturn void pv_main(const struct xen_start_info *info)
{
    const char how = info->command_line[0], second = info->command_line[1];
    unsigned bad = 0;
    start = info;
    xen_print();
    make_trap();
    if (how == 'p' && second == 'o') {
        hold_begin(ask_cpuid);
        bad += hold(PATTERN_POISON, ROUNDS, false);
        leave();
        bad += share_cpu(PATTERN_POISON);
    } else if (how == 'p') {
        hold_begin(ask_cpuid);
        plant();
        find();
        (void)find_meanwhile_end();
    } else if (how == 'f') {
        find();
        bad += share_cpu(PATTERN_OWN);
        bad += find_meanwhile_end();
    } else {
        find();
        bad += find_meanwhile_end();
        leave();
        bad += hold(PATTERN_POISON, YIELDS, true);
    }
    print("%s poisonpv: %s\n", bad == 0 ? "ok" : "FAIL", info->command_line);
    xen_end(bad == 0);
}
