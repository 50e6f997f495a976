/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC switched off, in both modes, and moved. Rules are headings of the SDM. */
#include "bringup.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define BASE_ENABLE 0x800ull
#define BASE_X2     0x400ull
#define BASE_BSP    0x100ull
#define ELSEWHERE   0xfed40000u
#define VECTOR      0x55

static volatile unsigned hits;

static void on_elsewhere(struct trap_frame *frame)
{
    (void)frame;
    hits++;
    *(volatile uint32_t *)(uintptr_t)(ELSEWHERE + APIC_EOI) = 0;
}

static volatile uint32_t *at(uint32_t address)
{
    return (volatile uint32_t *)(uintptr_t)address;
}

static void set_mode(uint64_t mode)
{
    wrmsr(MSR_APIC_BASE, APIC_BASE_ADDRESS | BASE_BSP | mode);
}

static struct probe try_mode(uint64_t value)
{
    struct code code = {.rcx = MSR_APIC_BASE,
                        .rax = (uint32_t)value,
                        .rdx = value >> 32,
                        .length = 2,
                        .bytes = {0x0f, 0x30}};
    return code_probe(&code);
}

static bool cpuid_has_apic(void)
{
    return (cpuid(1, 0).edx >> 9 & 1) != 0;
}

/* Where no xAPIC listens; CR8 has a life of its own. */
static void check_deaf(const char *rule)
{
    memset((void *)(uintptr_t)APIC_BASE_ADDRESS, 0x5a, 4096);
    test_equal(*at(APIC_BASE_ADDRESS + APIC_VERSION), 0xffffffff, "its page reads as ones", rule);
    test_equal(read_cr8(), 0, "what was written to the page is not in CR8", rule);
    write_cr8(15);
    test_equal(read_cr8(), 15, "CR8 keeps what is written", rule);
    test_equal(*at(APIC_BASE_ADDRESS + APIC_TPR), 0xffffffff, "which the page does not show", rule);
    write_cr8(0);
}

static void check_off(void)
{
    const char *rule = "Enabling or Disabling the Local APIC";
    set_mode(BASE_ENABLE);
    const uint32_t version = *at(APIC_BASE_ADDRESS + APIC_VERSION);
    test_check((version & 0xff) >= 0x10 && (version & 0xff) <= 0x15, "an integrated APIC",
               "Local APIC Version Register");
    set_mode(0);
    test_check(!cpuid_has_apic(), "CPUID.1:EDX.APIC is 0 while it is off", rule);
    check_deaf(rule);
    set_mode(BASE_ENABLE);
    test_check(cpuid_has_apic(), "and 1 afterwards", rule);
    test_equal(*at(APIC_BASE_ADDRESS + APIC_VERSION), version, "it is back", rule);
    write_cr8(15);
    test_equal(*at(APIC_BASE_ADDRESS + APIC_TPR), 0xf0, "CR8 is the TPR again", rule);
    write_cr8(0);
    if (!apic_has_x2())
        return;
    set_mode(BASE_ENABLE | BASE_X2);
    test_check(cpuid_has_apic(), "CPUID.1:EDX.APIC is 1 in x2APIC mode", "x2APIC Mode");
    check_deaf("x2APIC Mode");
}

static void check_transitions(void)
{
    static const struct probe none = {PROBE_NONE, 0}, gp = {VECTOR_GP, 0};
    static const struct {
        uint64_t mode;
        bool refused;
        const char *what;
    } steps[] = {
        {BASE_X2, true, "x2APIC to invalid"},
        {BASE_ENABLE, true, "x2APIC to xAPIC"},
        {0, false, "x2APIC to off"},
        {BASE_X2, true, "off to invalid"},
        {BASE_ENABLE | BASE_X2, true, "off to x2APIC"},
        {BASE_ENABLE, false, "off to xAPIC"},
        {BASE_X2, true, "xAPIC to invalid"},
        {1ull << 48, true, "beyond the physical addresses"},
        {BASE_ENABLE | 1, true, "a reserved bit"},
        {BASE_ENABLE | BASE_X2, false, "xAPIC to x2APIC"},
    };
    if (!apic_has_x2())
        return;
    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        test_fault(try_mode(APIC_BASE_ADDRESS | BASE_BSP | steps[i].mode),
                   steps[i].refused ? gp : none, steps[i].what, "x2APIC State Transitions");
}

/* Every MSR of the x2APIC's range: 1 can be read, 2 written. */
static unsigned x2_access(unsigned offset)
{
    switch (offset) {
    case APIC_ID:
    case APIC_VERSION:
    case APIC_PPR:
    case APIC_LDR:
    case APIC_TIMER_NOW: return 1;
    case APIC_TPR:
    case APIC_SVR:
    case APIC_ESR:
    case APIC_ICR:
    case APIC_TIMER_COUNT:
    case APIC_TIMER_DIVIDE: return 3;
    case APIC_EOI:
    case APIC_SELF_IPI: return 2;
    default:
        if (offset >= APIC_ISR && offset < APIC_ESR)
            return 1;
        return offset >= APIC_LVT_TIMER && offset <= APIC_LVT_ERROR ? 3 : 0;
    }
}

static struct probe access(unsigned offset, bool write, uint64_t *value)
{
    struct code code = {.rcx = MSR_X2APIC + offset / 16,
                        .rax = (uint32_t)*value,
                        .rdx = *value >> 32,
                        .length = 2,
                        .bytes = {0x0f, write ? 0x30 : 0x32}};
    const struct probe p = code_probe(&code);
    if (!write && p.vector == PROBE_NONE)
        *value = code.rdx << 32 | (uint32_t)code.rax;
    return p;
}

static bool faults(unsigned offset, bool write, uint64_t value)
{
    return access(offset, write, &value).vector == VECTOR_GP;
}

/* In x2APIC mode with `on`; else all fault. */
static void check_msrs(bool on, const char *what)
{
    unsigned wrong = 0, where = 0;
    for (unsigned offset = 0; offset < 0x1000; offset += 16) {
        const unsigned can = on ? x2_access(offset) : 0;
        uint64_t value = 0;
        bool right = access(offset, false, &value).vector ==
                     ((can & 1) != 0 ? (unsigned)PROBE_NONE : (unsigned)VECTOR_GP);
        if ((can & 2) == 0)
            right = right && faults(offset, true, 0);
        else
            right = right && !faults(offset, true, (can & 1) != 0 ? value : 0);
        if (!on || offset != APIC_ICR)
            right = right && faults(offset, true, UINT64_MAX);
        if (offset == APIC_SELF_IPI)
            right = right && faults(offset, true, 0x100) && faults(offset, true, 0xff000000);
        if (!right && wrong++ == 0)
            where = offset;
    }
    test_equal(wrong == 0 ? 0 : 0x800 + where / 16, 0, what, "x2APIC Register Address Space");
}

static void check_moved(void)
{
    const char *rule = "Relocating the Local APIC Registers";
    set_mode(0);
    wrmsr(MSR_APIC_BASE, ELSEWHERE | BASE_BSP | BASE_ENABLE);
    const uint32_t version = *at(ELSEWHERE + APIC_VERSION);
    test_check((version & 0xff) >= 0x10 && (version & 0xff) <= 0x15, "it answers where it is now",
               rule);
    test_equal(*at(APIC_BASE_ADDRESS + APIC_VERSION), 0xffffffff, "and not where it was", rule);
    *at(ELSEWHERE + APIC_SVR) = 0x1ff;
    trap_set_handler(VECTOR, on_elsewhere);
    *at(ELSEWHERE + APIC_ICR) = 0x44000 | VECTOR;
    interrupts_let_in();
    test_equal(hits, 1, "it works there", rule);
    *at(ELSEWHERE + APIC_TPR) = 0x50;
    test_equal(read_cr8(), 5, "its TPR is CR8", rule);
    *at(ELSEWHERE + APIC_TPR) = 0;
    set_mode(BASE_ENABLE);
    *at(APIC_BASE_ADDRESS + APIC_SVR) = 0x1ff;
    test_equal(*at(APIC_BASE_ADDRESS + APIC_VERSION), version, "and back", rule);
    test_equal(*at(ELSEWHERE + APIC_VERSION), 0xffffffff, "nothing is left behind", rule);
}

void check_apic_modes(void)
{
    if (apic_has_x2() && (rdmsr(MSR_APIC_BASE) & BASE_X2) != 0)
        set_mode(0);
    check_off();
    check_transitions();
    if (apic_has_x2()) {
        check_msrs(true, "each MSR of 0x800 to 0x8ff in x2APIC mode");
        set_mode(0);
        set_mode(BASE_ENABLE);
        check_msrs(false, "and in xAPIC mode");
    }
    check_moved();
}
