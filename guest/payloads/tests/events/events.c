/* SPDX-License-Identifier: BSD-2-Clause */
/* Exceptions, interrupts and NMIs: error codes, double faults, what blocks whom, and what code at
 * CPL 3 may not do. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/user.h"

#include <stddef.h>

#define COUNT(a)     (sizeof(a) / sizeof((a)[0]))
#define VECTOR       0x60
#define VECTOR_FREE  0x70
#define VECTOR_AC    17
#define PRESENT      (1ull << 47)
#define RFLAGS_AC    (1ull << 18)
#define RFLAGS_IF    (1ull << 9)
#define RFLAGS_RF    (1ull << 16)
#define RFLAGS_IOPL3 (3ull << 12)
#define CR0_AM       (1ull << 18)
#define CR4_TSD      4ull
#define CR4_UMIP     (1ull << 11)
#define APIC_ICR     0x300
#define APIC_ICR2    0x310
#define ICR_NMI      0x400

extern const char shadow_next[];
void shadow_run(void);

static uint64_t scratch[4] __attribute__((aligned(16)));
static volatile unsigned nmis, nmis_inside, nested;
static volatile uint64_t interrupt_rip, interrupt_cs;

static struct probe run(const uint8_t *bytes, unsigned length)
{
    struct code code = {.rsi = (uint64_t)scratch, .length = (uint8_t)length};
    memcpy(code.bytes, bytes, length);
    return code_probe(&code);
}

#define RUN(...) run((const uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))

static struct probe want(uint32_t vector, uint32_t error)
{
    return (struct probe){vector, error};
}

static void check_errors(void)
{
    const char *rule = "SDM, Error Code";
    test_fault(RUN(0xf7, 0xf1), want(VECTOR_DE, 0), "division by 0", "#DE, a fault");
    test_fault(RUN(0x0f, 0x0b), want(VECTOR_UD, 0), "UD2", "#UD");
    test_fault(RUN(0x66, 0xb8, 0xf8, 0x07, 0x8e, 0xe0), want(VECTOR_GP, 0x7f8),
               "a selector beyond the GDT", rule);
    test_fault(RUN(0x66, 0xb8, 0x0c, 0x00, 0x8e, 0xe0), want(VECTOR_GP, 0xc),
               "a selector of no LDT", rule);
    test_fault(RUN(0xcd, VECTOR_FREE), want(PROBE_NONE, 0), "INT", "a gate that is there");
    uint64_t *gate = trap_gate(VECTOR_FREE);
    *gate &= ~PRESENT;
    test_fault(RUN(0xcd, VECTOR_FREE), want(VECTOR_NP, VECTOR_FREE * 8 + 2),
               "INT through a gate that is not present", rule);
    *gate = (*gate | PRESENT) & ~(0xfull << 40);
    test_fault(RUN(0xcd, VECTOR_FREE), want(VECTOR_GP, VECTOR_FREE * 8 + 2),
               "INT through what is no gate", rule);
    *gate |= 0xeull << 40;

    gate = trap_gate(VECTOR_UD);
    *gate &= ~PRESENT;
    test_fault(RUN(0x0f, 0x0b), want(VECTOR_NP, VECTOR_UD * 8 + 3),
               "#UD through a gate that is not present: EXT is set", rule);
    *gate |= PRESENT;
}

/* What a hypervisor handles as well as what it never sees. */
static void check_resume_flag(void)
{
    static const struct {
        const char *title;
        uint8_t bytes[10];
        uint32_t vector;
    } fault[] = {
        {"UD2: the saved RF", {0x0f, 0x0b}, VECTOR_UD},
        {"RDMSR: the saved RF", {0xb9, 0xff, 0xff, 0, 0x40, 0x0f, 0x32}, VECTOR_GP},
        {"MOV to CR4: the saved RF",
         {0x48, 0xc7, 0xc0, 255, 255, 255, 255, 0x0f, 0x22, 0xe0},
         VECTOR_GP},
    };
    for (unsigned i = 0; i < COUNT(fault); i++) {
        struct probe p = run(fault[i].bytes, sizeof(fault[i].bytes));
        test_check(p.vector == fault[i].vector && (trap_last.rflags & RFLAGS_RF) != 0,
                   fault[i].title, "SDM, Instruction-Breakpoint Exception Condition: faults");
    }
}

static void check_double_faults(void)
{
    const char *rule = "SDM, Conditions for Generating a Double Fault";
    uint64_t *gate = trap_gate(VECTOR_GP);
    *gate &= ~PRESENT;
    test_fault(RUN(0x66, 0xb8, 0xf8, 0x07, 0x8e, 0xe0), want(VECTOR_DF, 0),
               "#NP in the delivery of #GP", rule);
    *gate |= PRESENT;
    gate = trap_gate(VECTOR_PF);
    *gate &= ~PRESENT;
    uint64_t far = 1ull << 40;
    struct code load = {.rsi = far, .length = 2, .bytes = {0x8b, 0x06}};
    test_fault(code_probe(&load), want(VECTOR_DF, 0), "#NP in the delivery of #PF", rule);
    *gate |= PRESENT;
    test_fault(code_probe(&load), want(VECTOR_PF, 0), "and without", "#PF");
    test_equal(read_cr2(), far, "CR2", "#PF");
}

static void send_nmi(void)
{
    apic_write(APIC_ICR2, 0);
    apic_write(APIC_ICR, ICR_NMI);
    for (volatile unsigned i = 0; i < 1000; i++)
        ;
}

static void on_nmi(struct trap_frame *frame)
{
    (void)frame;
    if (nested++ != 0)
        nmis_inside++;
    if (nmis++ == 0)
        send_nmi();
    nested--;
}

static void check_nmi(void)
{
    const char *rule = "SDM, Handling Multiple NMIs";
    trap_set_handler(VECTOR_NMI, on_nmi);
    send_nmi();
    test_equal(nmis, 2, "an NMI, and one sent in its handler", rule);
    test_equal(nmis_inside, 0, "which waits for IRET", rule);
    struct code code = {.length = 2, .bytes = {0x0f, 0x0b}};
    nmis = 1;
    send_nmi();
    code_probe(&code);
    test_equal(nmis, 2, "NMIs come with interrupts off", rule);
    trap_set_handler(VECTOR_NMI, NULL);
}

static void on_interrupt(struct trap_frame *frame)
{
    interrupt_rip = frame->rip;
    interrupt_cs = frame->cs;
    apic_eoi();
}

static void check_shadows(void)
{
    trap_set_handler(VECTOR, on_interrupt);
    apic_self_ipi(VECTOR);
    shadow_run();
    test_equal(interrupt_rip, (uint64_t)shadow_next, "STI; MOV SS; NOP: the interrupt comes behind",
               "SDM, Masking Exceptions and Interrupts When Switching Stacks");
    interrupt_cs = 0;
    struct code loop = {.rcx = 1000, .length = 2, .bytes = {0xe2, 0xfe}};
    apic_self_ipi(VECTOR);
    struct probe p = user_probe(&loop, RFLAGS_IF);
    test_check(p.vector == PROBE_NONE && interrupt_cs == USER_CODE64 && loop.rcx == 0,
               "an interrupt at CPL 3", "SDM, Interrupt- and Exception-Handler Procedures");
}

static void check_alignment(void)
{
    const char *rule = "SDM, Interrupt 17 - Alignment Check Exception (#AC)";
    struct code load = {.rsi = (uint64_t)scratch + 1, .length = 2, .bytes = {0x8b, 0x06}};
    uint64_t cr0 = read_cr0();
    write_cr0(cr0 | CR0_AM);
    test_fault(user_probe(&load, RFLAGS_AC), want(VECTOR_AC, 0), "a misaligned load at CPL 3",
               rule);
    test_fault(user_probe(&load, 0), want(PROBE_NONE, 0), "without EFLAGS.AC", rule);
    load.rsi = (uint64_t)scratch + 4;
    test_fault(user_probe(&load, RFLAGS_AC), want(PROBE_NONE, 0), "an aligned one", rule);
    load.rsi = 0xfec00001;
    test_fault(user_probe(&load, RFLAGS_AC), want(VECTOR_AC, 0), "device memory, misaligned", rule);
    write_cr0(cr0);
    load.rsi = (uint64_t)scratch + 1;
    test_fault(user_probe(&load, RFLAGS_AC), want(PROBE_NONE, 0), "without CR0.AM", rule);
}

static const struct {
    const char *name;
    uint8_t length;
    uint8_t bytes[4];
} privileged[] = {
    {"HLT", 1, {0xf4}},
    {"CLI", 1, {0xfa}},
    {"STI", 1, {0xfb}},
    {"IN without permission", 2, {0xe4, 0x60}},
    {"OUT without permission", 2, {0xe6, 0xed}},
    {"MOV to CR0", 3, {0x0f, 0x22, 0xc0}},
    {"MOV from CR0", 3, {0x0f, 0x20, 0xc0}},
    {"MOV to CR3", 3, {0x0f, 0x22, 0xd8}},
    {"MOV to CR4", 3, {0x0f, 0x22, 0xe0}},
    {"MOV to CR8", 4, {0x44, 0x0f, 0x22, 0xc0}},
    {"MOV to DR7", 3, {0x0f, 0x23, 0xf8}},
    {"CLTS", 2, {0x0f, 0x06}},
    {"LMSW", 3, {0x0f, 0x01, 0xf0}},
    {"RDMSR", 2, {0x0f, 0x32}},
    {"WRMSR", 2, {0x0f, 0x30}},
    {"INVD", 2, {0x0f, 0x08}},
    {"WBINVD", 2, {0x0f, 0x09}},
    {"INVLPG", 3, {0x0f, 0x01, 0x3e}},
    {"LGDT", 3, {0x0f, 0x01, 0x16}},
    {"LTR", 3, {0x0f, 0x00, 0xd8}},
    {"SWAPGS", 3, {0x0f, 0x01, 0xf8}},
};

static void check_privileges(void)
{
    for (size_t i = 0; i < COUNT(privileged); i++) {
        struct code code = {
            .rsi = (uint64_t)scratch, .rcx = MSR_TSC, .length = privileged[i].length};
        memcpy(code.bytes, privileged[i].bytes, sizeof(privileged[i].bytes));
        test_fault(user_probe(&code, 0), want(VECTOR_GP, 0), privileged[i].name, "not at CPL 3");
    }
    struct code in61 = {.length = 2, .bytes = {0xe4, 0x61}};
    test_fault(user_probe(&in61, 0), want(PROBE_NONE, 0), "IN that the TSS permits",
               "SDM, I/O Permission Bit Map");
    struct code in16 = {.length = 3, .bytes = {0x66, 0xe5, 0x61}};
    test_fault(user_probe(&in16, 0), want(VECTOR_GP, 0), "IN of two ports, one permitted",
               "SDM, I/O Permission Bit Map");
    struct code in60 = {.length = 2, .bytes = {0xe4, 0x64}};
    test_fault(user_probe(&in60, RFLAGS_IOPL3), want(PROBE_NONE, 0), "IN with IOPL 3",
               "SDM, I/O Privilege Level");
    struct code gate = {.length = 2, .bytes = {0xcd, VECTOR_FREE}};
    test_fault(user_probe(&gate, 0), want(VECTOR_GP, VECTOR_FREE * 8 + 2),
               "INT through a gate of DPL 0", "SDM, Protection of Handler Procedures");
    struct code read_tsc = {.length = 2, .bytes = {0x0f, 0x31}};
    struct code ids = {.length = 2, .bytes = {0x0f, 0xa2}};
    test_fault(user_probe(&ids, 0), want(PROBE_NONE, 0), "CPUID", "at any CPL");
    test_fault(user_probe(&read_tsc, 0), want(PROBE_NONE, 0), "RDTSC", "at any CPL");
    uint64_t cr4 = read_cr4();
    write_cr4(cr4 | CR4_TSD);
    test_fault(user_probe(&read_tsc, 0), want(VECTOR_GP, 0), "RDTSC with CR4.TSD", "not at CPL 3");
    test_fault(code_probe(&read_tsc), want(PROBE_NONE, 0), "RDTSC at CPL 0", "with CR4.TSD too");
    write_cr4(cr4);
    struct code sgdt = {.rsi = (uint64_t)scratch, .length = 3, .bytes = {0x0f, 0x01, 0x06}};
    test_fault(user_probe(&sgdt, 0), want(PROBE_NONE, 0), "SGDT", "at any CPL");
    if ((cpuid(7, 0).ecx >> 2 & 1) != 0 && cpuid(0, 0).eax >= 7) {
        write_cr4(cr4 | CR4_UMIP);
        test_fault(user_probe(&sgdt, 0), want(VECTOR_GP, 0), "SGDT with CR4.UMIP", "not at CPL 3");
        write_cr4(cr4);
    }
    struct code load = {.rsi = 1ull << 40, .length = 2, .bytes = {0x8b, 0x06}};
    test_fault(user_probe(&load, 0), want(VECTOR_PF, 4), "#PF at CPL 3",
               "SDM, Page-Fault Exceptions");
    if (test_only(TEST_VM)) {
        struct code call = {.length = 3, .bytes = {0x0f, 0x01, 0xc1}};
        struct probe p = user_probe(&call, 0);
        test_check(p.vector == PROBE_NONE && call.rax == ~0ull, "VMCALL at CPL 3 is refused",
                   "guest/hypercall.h");
    }
    test_both();
}

static void on_free(struct trap_frame *frame)
{
    (void)frame;
}

int main(void)
{
    test_begin("events", "exceptions, interrupts and privileges");
    apic_enable(false);
    user_init();
    trap_set_handler(VECTOR_FREE, on_free);
    check_errors();
    check_resume_flag();
    check_double_faults();
    check_nmi();
    check_shadows();
    check_alignment();
    check_privileges();
    return test_end();
}
