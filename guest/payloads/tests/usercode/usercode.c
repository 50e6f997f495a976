/* SPDX-License-Identifier: BSD-2-Clause */
/* User code with interrupts on, as operating systems run it: what it can reach, what its segments,
 * flags and the control registers make of it, and how it comes back. */
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/user.h"

#define P    1ull
#define W    2ull
#define U    4ull
#define A    0x20ull
#define D    0x40ull
#define AREA 0x8000000000ull /* a top-level entry of its own */

#define MSR_STAR      0xc0000081
#define MSR_LSTAR     0xc0000082
#define MSR_FMASK     0xc0000084
#define MSR_FS_BASE   0xc0000100
#define RFLAGS_FIXED  2ull
#define RFLAGS_TF     0x100ull
#define RFLAGS_IF     0x200ull
#define RFLAGS_IOPL_1 0x1000ull
#define CR4_TSD       4ull
#define EFER_SCE      1ull
#define DR6_RESET     0xffff0ff0ull
#define PIT_MS        1193
#define GDT_FREE      5 /* an entry of user_init()'s GDT that is nobody's */

extern uint64_t page_tables[];
void entry_sysret_here(void);
/* As SYSRET wants it: to RCX, with the flags in R11. */
__asm__("entry_sysret_here: mov $0xabcd, %eax; sysretq\n");

static uint64_t table[4][512] __attribute__((aligned(4096)));
static uint64_t page[512] __attribute__((aligned(4096))), other[512] __attribute__((aligned(4096)));

static const struct probe none = {PROBE_NONE, 0};

static struct probe want(uint32_t vector, uint32_t error)
{
    return (struct probe){vector, error};
}

static struct probe run(struct code *code)
{
    return user_probe(code, RFLAGS_IF);
}

static void reload(void)
{
    write_cr3(read_cr3());
}

/* --- pages --- */

/* `where` leads to a page, by tables that user code has whole. */
static void map(uint64_t where, const void *to, uint64_t flags)
{
    for (unsigned level = 0; level < 3; level++)
        memset(table[level], 0, sizeof(table[level]));
    page_tables[where >> 39 & 511] = (uint64_t)table[0] | P | W | U;
    table[0][where >> 30 & 511] = (uint64_t)table[1] | P | W | U;
    table[1][where >> 21 & 511] = (uint64_t)table[2] | P | W | U;
    table[2][where >> 12 & 511] = (uint64_t)to | flags;
    reload();
}

static void unmap(uint64_t where)
{
    page_tables[where >> 39 & 511] = 0;
    reload();
}

static struct code load_from(uint64_t where)
{
    return (struct code){.rsi = where, .length = 3, .bytes = {0x48, 0x8b, 0x06}};
}

static struct code store_to(uint64_t where)
{
    return (struct code){.rax = 0x5a5a, .rsi = where, .length = 3, .bytes = {0x48, 0x89, 0x06}};
}

static struct code jump_to(uint64_t where)
{
    return (struct code){.rsi = where, .length = 2, .bytes = {0xff, 0xe6}};
}

static void check_pages(void)
{
    const char *rule = "SDM, Paging";
    uint64_t *leaf = &table[2][0];
    struct code load = load_from(AREA), store = store_to(AREA);
    page[0] = 0x1234;
    other[0] = 0x4321;
    map(AREA, page, P | U);
    test_fault(run(&load), none, "a load from a user page", rule);
    test_equal(load.rax, 0x1234, "and what it reads", rule);
    test_equal(*leaf & (A | D), A, "which sets A", rule);
    test_fault(run(&store), want(VECTOR_PF, 7), "a store to a read-only page", rule);
    test_equal(read_cr2(), AREA, "whose address is in CR2", rule);
    *leaf = (uint64_t)other | P | W | U; /* the fault has dropped what was cached of it */
    test_fault(run(&store), none, "the same, once it may be written to", rule);
    test_check(page[0] == 0x1234 && other[0] == 0x5a5a, "reaches the new page", rule);
    test_equal(*leaf & (A | D), A | D, "and sets D", rule);
    *leaf = (uint64_t)page | P | W;
    reload();
    test_fault(run(&load), want(VECTOR_PF, 5), "a load from the kernel's page", rule);
    *leaf = 0;
    reload();
    test_fault(run(&load), want(VECTOR_PF, 4), "a load from an absent page", rule);
    test_fault(run(&store), want(VECTOR_PF, 6), "a store to it", rule);
    *leaf = (uint64_t)page | P | U;
    load = load_from(AREA);
    test_fault(run(&load), none, "and once it is there", rule);
    test_equal(load.rax, 0x1234, "it is read", rule);
    unmap(AREA);
}

/* --- the half where kernels are, and hypervisors --- */

static void check_upper_half(void)
{
    const char *rule = "nothing is mapped there";
    unsigned reads = 0, writes = 0, fetches = 0;
    for (uint64_t slot = 256; slot < 512; slot++) {
        const uint64_t at = 0xffffull << 48 | slot << 39 | 0x201000;
        struct code load = load_from(at), store = store_to(at), jump = jump_to(at);
        const struct probe got[3] = {run(&load), run(&store), run(&jump)};
        reads += got[0].vector == VECTOR_PF && got[0].error == 4;
        writes += got[1].vector == VECTOR_PF && got[1].error == 6;
        /* Bit 4 of the error code depends on EFER.NXE. */
        fetches += got[2].vector == VECTOR_PF && (got[2].error & ~0x10u) == 4 && read_cr2() == at;
    }
    test_equal(reads, 256, "#PF for a load in each of its 256 parts", rule);
    test_equal(writes, 256, "and for a store", rule);
    test_equal(fetches, 256, "and for a jump", rule);
}

/* In the parts that a hypervisor may keep for itself, too, a kernel can have what it likes. */
static void check_mapped_there(void)
{
    const char *rule = "as the page tables say";
    unsigned right = 0;
    for (uint64_t slot = 256; slot < 272; slot++) {
        const uint64_t at = 0xffffull << 48 | slot << 39;
        struct code load = load_from(at), store = store_to(at + 8);
        page[0] = 0x1111 * slot;
        page[1] = 0;
        map(at, page, P | W | U);
        right += run(&load).vector == PROBE_NONE && load.rax == page[0];
        right += run(&store).vector == PROBE_NONE && page[1] == 0x5a5a;
        table[2][0] = (uint64_t)page | P | W;
        reload();
        const struct probe got = run(&load);
        right += got.vector == VECTOR_PF && got.error == 5;
        unmap(at);
    }
    test_equal(right, 48, "pages in 16 parts of the upper half", rule);
}

/* --- flags --- */

static trap_handler stepped;
static unsigned steps;
static uint64_t step_rip, step_dr6;

static void stepped(struct trap_frame *frame)
{
    const uint64_t reset = DR6_RESET;
    steps++;
    step_rip = frame->rip;
    __asm__ volatile("mov %%dr6, %0; mov %1, %%dr6" : "=&r"(step_dr6) : "r"(reset));
    frame->rflags &= ~RFLAGS_TF;
}

/* The timer asks for an interrupt each millisecond, and does not get it: a hypervisor that comes to
 * that in the middle of something may have to go on by single steps of its own. */
static void be_interrupted(void)
{
    port_out8(0x43, 0x34);
    port_out8(0x40, PIT_MS & 0xff);
    port_out8(0x40, PIT_MS >> 8);
    port_out8(0x21, 0xfe);
    for (unsigned i = 0; i < 300000; i++)
        __asm__ volatile("pushf; popf" : : : "memory", "cc");
    port_out8(0x21, 0xff);
}

/* PUSHFQ; POP RAX */
static void check_flags(void)
{
    const char *rule = "SDM, PUSHF";
    struct code push = {.length = 2, .bytes = {0x9c, 0x58}};
    test_fault(user_probe(&push, RFLAGS_IF | RFLAGS_IOPL_1), none, "PUSHF", rule);
    test_equal(push.rax & (RFLAGS_IF | 3 * RFLAGS_IOPL_1), RFLAGS_IF | RFLAGS_IOPL_1,
               "IF and IOPL are in it", rule);
    /* PUSH RAX; POPFQ; PUSHFQ; POP RAX: neither of them can be written. */
    struct code pop = {
        .rax = RFLAGS_FIXED | 3 * RFLAGS_IOPL_1, .length = 4, .bytes = {0x50, 0x9d, 0x9c, 0x58}};
    test_fault(run(&pop), none, "POPF", rule);
    test_equal(pop.rax & (RFLAGS_IF | 3 * RFLAGS_IOPL_1), RFLAGS_IF, "changes neither", rule);
    /* PUSH RAX; POPFQ; NOP; INC EBX */
    struct code trap = {
        .rax = RFLAGS_FIXED | RFLAGS_TF, .length = 5, .bytes = {0x50, 0x9d, 0x90, 0xff, 0xc3}};
    trap_set_handler(VECTOR_DB, stepped);
    steps = 0;
    test_fault(run(&trap), none, "TF, set by POPF", "SDM, Single-Step Exception");
    test_check(steps == 1 && trap.rbx == 1, "traps once, behind the next instruction",
               "SDM, Single-Step Exception");
    struct code int1 = {.length = 3, .bytes = {0xf1, 0xff, 0xc3}};
    steps = 0;
    be_interrupted();
    test_fault(run(&int1), none, "INT1", "SDM, INT1");
    test_check(steps == 1 && int1.rbx == 1, "comes behind the instruction", "SDM, INT1");
    test_equal(step_dr6, DR6_RESET, "and is no single step", "SDM, Debug Status Register (DR6)");
    trap_set_handler(VECTOR_DB, NULL);
}

/* --- segments --- */

static void set_free_entry(uint64_t descriptor)
{
    struct {
        uint16_t limit;
        uint64_t *base;
    } __attribute__((packed)) gdtr;
    __asm__ volatile("sgdt %0" : "=m"(gdtr));
    gdtr.base[GDT_FREE] = descriptor;
}

static uint64_t free_entry(void)
{
    struct {
        uint16_t limit;
        uint64_t *base;
    } __attribute__((packed)) gdtr;
    __asm__ volatile("sgdt %0" : "=m"(gdtr));
    return gdtr.base[GDT_FREE];
}

#define DATA_3     0x00cff2000000ffffull /* not accessed yet */
#define ACCESSED   (1ull << 40)
#define SELECTOR   (GDT_FREE * 8 | 3)
#define BYTE_LIMIT 0x0040f30000000123ull

static void check_selectors(void)
{
    const char *rule = "SDM, MOV";
    /* MOV DS, EAX; MOV EBX, DS; XOR EAX, EAX; MOV DS, EAX */
    struct code load = {
        .rax = SELECTOR, .length = 8, .bytes = {0x8e, 0xd8, 0x8c, 0xdb, 0x31, 0xc0, 0x8e, 0xd8}};
    set_free_entry(0);
    test_fault(run(&load), want(VECTOR_GP, SELECTOR & ~3u), "a selector of nothing", rule);
    set_free_entry(DATA_3 & ~(1ull << 47));
    test_fault(run(&load), want(VECTOR_NP, SELECTOR & ~3u), "of a segment that is not present",
               rule);
    set_free_entry(DATA_3 & ~(3ull << 45));
    test_fault(run(&load), want(VECTOR_GP, SELECTOR & ~3u), "of the kernel's data", rule);
    set_free_entry(DATA_3);
    test_fault(run(&load), none, "of data at CPL 3", rule);
    test_equal(load.rbx, SELECTOR, "is loaded", rule);
    test_equal(free_entry(), DATA_3 | ACCESSED, "and marked as accessed", rule);
    load.rax = SELECTOR;
    test_fault(run(&load), none, "loaded again", rule);
    set_free_entry(0);
    load.rax = SELECTOR;
    test_fault(run(&load), want(VECTOR_GP, SELECTOR & ~3u), "and when it is gone", rule);
    /* LSL EBX, EAX; SETZ AL */
    struct code limit = {
        .rax = SELECTOR, .length = 6, .bytes = {0x0f, 0x03, 0xd8, 0x0f, 0x94, 0xc0}};
    set_free_entry(BYTE_LIMIT);
    test_fault(run(&limit), none, "LSL", "SDM, LSL");
    test_check((limit.rax & 0xff) == 1 && limit.rbx == 0x123, "says its limit", "SDM, LSL");
    set_free_entry(0);
    limit.rax = SELECTOR;
    test_fault(run(&limit), none, "LSL of nothing", "SDM, LSL");
    test_check((limit.rax & 0xff) == 0 && limit.rbx == 0x123, "says so", "SDM, LSL");
}

/* Behind the end of the GDT, where a hypervisor may have selectors of its own in the real one. */
static void check_selectors_behind(void)
{
    const char *rule = "SDM, Limit Checking";
    unsigned loads = 0, stacks = 0, jumps = 0, rights = 0;
    static struct __attribute__((packed)) {
        uint32_t offset;
        uint16_t selector;
    } target;
    memset(page, 0xcc, sizeof(page)); /* INT3 */
    for (uint32_t selector = 0xfe03; selector <= UINT16_MAX; selector += 8) {
        /* MOV DS, EAX; MOV SS, EAX; JMP FAR [RSI]; LAR EBX, EAX and SETZ AL */
        struct code load = {.rax = selector, .length = 2, .bytes = {0x8e, 0xd8}};
        struct code stack = {.rax = selector, .length = 2, .bytes = {0x8e, 0xd0}};
        struct code jump = {.rsi = (uint64_t)&target, .length = 2, .bytes = {0xff, 0x2e}};
        struct code right = {
            .rax = selector, .length = 6, .bytes = {0x0f, 0x02, 0xd8, 0x0f, 0x94, 0xc0}};
        const uint32_t error = selector & ~3u;
        target.offset = (uint32_t)(uint64_t)page;
        target.selector = (uint16_t)selector;
        const struct probe got[3] = {run(&load), run(&stack), run(&jump)};
        loads += got[0].vector == VECTOR_GP && got[0].error == error;
        stacks += got[1].vector == VECTOR_GP && got[1].error == error;
        jumps += got[2].vector == VECTOR_GP && got[2].error == error;
        rights += run(&right).vector == PROBE_NONE && (right.rax & 0xff) == 0;
    }
    test_equal(loads, 64, "#GP for DS, with each of 64 selectors behind the GDT", rule);
    test_equal(stacks, 64, "and for SS", rule);
    test_equal(jumps, 64, "and for a far jump", rule);
    test_equal(rights, 64, "and LAR knows none of them", rule);
}

/* FS base as the kernel has set it, and what a load of FS makes of it. */
static void check_bases(void)
{
    const char *rule = "SDM, FS and GS base";
    /* MOV RAX, FS:[0] */
    struct code read = {.length = 9, .bytes = {0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0}};
    page[0] = 0x7777;
    map(AREA, page, P | U);
    wrmsr(MSR_FS_BASE, AREA);
    test_fault(run(&read), none, "FS base that the kernel has written", rule);
    test_equal(read.rax, 0x7777, "leads there", rule);
    set_free_entry(BYTE_LIMIT | ACCESSED | 0x20ull << 56);
    /* MOV FS, EAX; XOR EAX, EAX */
    struct code load = {.rax = SELECTOR, .length = 4, .bytes = {0x8e, 0xe0, 0x31, 0xc0}};
    test_fault(run(&load), none, "FS, loaded at CPL 3", rule);
    test_equal(rdmsr(MSR_FS_BASE), 0x20000000, "has the descriptor's base", rule);
    set_free_entry(0);
    __asm__ volatile("mov %0, %%fs" : : "r"(0));
    unmap(AREA);
}

/* A far jump to 32-bit code. */
static void check_compatibility(void)
{
    const char *rule = "SDM, Compatibility Mode";
    static const uint8_t bytes32[] = {0x40, 0x89, 0xc3, 0x0f, 0x05}; /* INC EAX; MOV EBX, EAX */
    static uint8_t code32[16];
    static struct __attribute__((packed)) {
        uint32_t offset;
        uint16_t selector;
    } target;
    memcpy(code32, bytes32, sizeof(bytes32));
    target.offset = (uint32_t)(uint64_t)code32;
    target.selector = USER_CODE32;
    /* JMP FAR [RSI]; SYSCALL is #UD there */
    struct code jump = {
        .rax = 0x7fffffff, .rsi = (uint64_t)&target, .length = 2, .bytes = {0xff, 0x2e}};
    const struct probe got = run(&jump);
    if (cpuid(0, 0).ebx == 0x756e6547) /* "Genu": AMD's CPUs have SYSCALL there */
        test_fault(got, want(VECTOR_UD, 0), "SYSCALL in 32-bit code", rule);
    test_check(trap_last.cs == USER_CODE32 && (uint32_t)trap_last.rbx == 0x80000000,
               "40h is INC EAX there", rule);
}

/* --- control registers --- */

static void check_controls(void)
{
    const char *rule = "at CPL 3";
    struct code sse = {.length = 3, .bytes = {0x0f, 0x57, 0xc0}}; /* XORPS XMM0, XMM0 */
    struct code x87 = {.length = 2, .bytes = {0xd9, 0xee}};       /* FLDZ */
    struct code tsc = {.length = 2, .bytes = {0x0f, 0x31}};       /* RDTSC */
    const uint64_t cr0 = read_cr0(), cr4 = read_cr4();
    write_cr4(cr4 | CR4_OSFXSR);
    test_fault(run(&sse), none, "SSE", rule);
    write_cr4(cr4 & ~CR4_OSFXSR);
    test_fault(run(&sse), want(VECTOR_UD, 0), "SSE without CR4.OSFXSR", rule);
    write_cr4(cr4 | CR4_OSFXSR);
    write_cr0(cr0 | CR0_TS);
    test_fault(run(&sse), want(VECTOR_NM, 0), "SSE with CR0.TS", rule);
    test_fault(run(&x87), want(VECTOR_NM, 0), "x87 with CR0.TS", rule);
    write_cr0(cr0 & ~CR0_TS);
    test_fault(run(&x87), none, "x87", rule);
    __asm__ volatile("fninit");
    write_cr4(cr4 | CR4_TSD);
    test_fault(run(&tsc), want(VECTOR_GP, 0), "RDTSC with CR4.TSD", rule);
    write_cr4(cr4);
    test_fault(run(&tsc), none, "RDTSC", rule);
    write_cr0(cr0);
}

static void check_refused(void)
{
    static const struct {
        const char *what;
        uint32_t vector, error;
        uint8_t length, bytes[4];
    } rows[] = {
        {"CLI", VECTOR_GP, 0, 1, {0xfa}},
        {"STI", VECTOR_GP, 0, 1, {0xfb}},
        {"HLT", VECTOR_GP, 0, 1, {0xf4}},
        {"IN from a port that the TSS keeps", VECTOR_GP, 0, 2, {0xe4, 0x60}},
        {"MOV from CR3", VECTOR_GP, 0, 3, {0x0f, 0x20, 0xd8}},
        {"SYSRET", VECTOR_UD, 0, 2, {0x0f, 0x07}},
        {"INT of the kernel's", VECTOR_GP, 0x80 * 8 + 2, 2, {0xcd, 0x80}},
        {"INT3 of the kernel's", VECTOR_GP, VECTOR_BP * 8 + 2, 1, {0xcc}},
        {"UD2", VECTOR_UD, 0, 2, {0x0f, 0x0b}},
        {"DIV by zero", VECTOR_DE, 0, 2, {0xf7, 0xf1}},
        {"a load at what is not canonical", VECTOR_GP, 0, 3, {0x48, 0x8b, 0x07}},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct code code = {.rdi = 1ull << 56, .length = rows[i].length};
        memcpy(code.bytes, rows[i].bytes, sizeof(rows[i].bytes));
        test_fault(run(&code), want(rows[i].vector, rows[i].error), rows[i].what, "at CPL 3");
    }
    struct code in61 = {.length = 2, .bytes = {0xe4, 0x61}};
    test_fault(run(&in61), none, "IN from a port that the TSS permits", "at CPL 3");
}

/* SYSCALL and back, often, with a sum in between: nothing gets lost on the way. */
static void check_system_calls(void)
{
    const char *rule = "SDM, SYSCALL";
    struct code call = {
        .rbx = 0x1111222233334444,
        .rdx = 5000,
        .rsi = 3,
        .rdi = 7,
        .length = 11,
        /* SYSCALL; ADD RDI, RSI; DEC EDX; JNZ */
        .bytes = {0x0f, 0x05, 0x48, 0x01, 0xf7, 0xff, 0xca, 0x75, 0xf7, 0x90, 0x90}};
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    wrmsr(MSR_STAR, (uint64_t)USER_CODE32 << 48 | (uint64_t)USER_KERNEL_CODE << 32);
    wrmsr(MSR_LSTAR, (uint64_t)entry_sysret_here);
    wrmsr(MSR_FMASK, RFLAGS_IF);
    test_fault(run(&call), none, "5000 system calls", rule);
    test_check(call.rax == 0xabcd && call.rdi == 7 + 3 * 5000 && call.rdx == 0 &&
                   call.rbx == 0x1111222233334444,
               "leave the other registers alone", rule);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SCE);
    struct code without = {.rcx = 0x12, .length = 2, .bytes = {0x0f, 0x05}};
    test_fault(run(&without), want(VECTOR_UD, 0), "SYSCALL without EFER.SCE", rule);
    test_equal(trap_last.rcx, 0x12, "keeps RCX", rule);
}

int main(void)
{
    test_begin("usercode", "user code with interrupts on");
    port_out8(0x21, 0xff); /* none is to come */
    port_out8(0xa1, 0xff);
    user_init();
    check_pages();
    check_upper_half();
    check_mapped_there();
    check_flags();
    check_selectors();
    check_selectors_behind();
    check_bases();
    check_compatibility();
    check_controls();
    check_refused();
    check_system_calls();
    return test_end();
}
