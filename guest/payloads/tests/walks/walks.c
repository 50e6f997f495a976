/* SPDX-License-Identifier: BSD-2-Clause */
/* Short programs of pieces in no order, many of which exit from a VM, with single-stepping, code,
 * data and port breakpoints, shadows of STI and MOV SS and a pending interrupt as it happens. Each
 * program's exceptions and interrupts are printed: vector@offset/DR6/RFLAGS, the last two masked;
 * and what it has computed: R8, R10, R11, R12, flags, memory. What they shall be, the bare machine
 * says. */
#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/test.h"

#define MAX_EVENTS 100
#define MAX_PIECES 14
#define VECTOR_INT 0x40
#define VECTOR_IPI 0x50
#define IOAPIC     0xfec00000ull
#define PORT       0x61ull
#define UNMAPPED   0x7fff00000000ull
#define RFLAGS_TF  0x100ull
#define RFLAGS_RF  0x10000ull
#define RFLAGS_IF  0x200ull
#define FLAGS      0x8c5ull /* that each instruction here defines: OF, SF, ZF, PF, CF */
#define DR6_NONE   0xffff0ff0ull
#define DR6_CAUSES 0xe00full
#define DR7_NONE   0x400ull
#define DR7_GD     (1ull << 13)
#define CR4_TSD    4ull
#define CR4_DE     8ull

/* Which programs: by hand others are written into the image, behind the mark. */
static volatile struct {
    char mark[12];
    uint32_t first, count;
    uint32_t brief; /* a program's line is a number, made of all that it would say */
} wanted = {"WALKS-WANTED", 1, 150, 0};

/* RBX is the IO-APIC, RSI the data, R9 the APIC's command register, R13 unmapped, R14 a value for
 * DR7, R15 the selector of SS. lengths: of the instructions. */
static const struct piece {
    const char *name;
    uint8_t bytes[15], lengths[6];
} pieces[] = {
    {"tf", {0x9c, 0x48, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d}, {1, 8, 1}},
    {"notf", {0x9c, 0x48, 0x81, 0x24, 0x24, 0xff, 0xfe, 0xff, 0xff, 0x9d}, {1, 8, 1}},
    {"nop", {0x90}, {1}},
    {"cpuid", {0x53, 0x0f, 0xa2, 0x5b}, {1, 2, 1}},
    {"in", {0xe4, 0x61}, {2}},
    {"out", {0xe6, 0xed}, {2}},
    {"wrmsr", {0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0x0f, 0x30}, {5, 2, 2}},
    {"movss", {0x41, 0x8e, 0xd7}, {3}},
    {"movss[]", {0x8e, 0x16}, {2}},
    {"sti", {0xfb}, {1}},
    {"cli", {0xfa}, {1}},
    {"int1", {0xf1}, {1}},
    {"int3", {0xcc}, {1}},
    {"int40", {0xcd, VECTOR_INT}, {2}},
    {"ud2", {0x0f, 0x0b}, {2}},
    {"pf", {0x41, 0x8b, 0x45, 0x00}, {4}},
    {"device-read", {0x8b, 0x03}, {2}},
    {"device-write", {0x89, 0x03}, {2}},
    {"device-inc", {0xff, 0x03, 0x48, 0x39, 0xf6}, {2, 3}}, /* CMP: flags that are no device's */
    {"device-movs", {0x56, 0x48, 0x89, 0xde, 0xb9, 2, 0, 0, 0, 0xf3, 0xa5, 0x5e}, {1, 3, 5, 2, 1}},
    {"read", {0x8b, 0x06}, {2}},
    {"write", {0x44, 0x89, 0x7e, 0x00}, {4}},
    {"insb",
     {0x48, 0x8d, 0x7e, 64, 0xb9, 3, 0, 0, 0, 0x66, 0xba, 0x61, 0, 0xf3, 0x6c},
     {4, 5, 4, 2}},
    {"outsb", {0x56, 0xb9, 3, 0, 0, 0, 0x66, 0xba, 0xed, 0, 0xf3, 0x6e, 0x5e}, {1, 5, 4, 2, 1}},
    {"cr4", {0x0f, 0x20, 0xe0, 0x83, 0xf0, CR4_TSD, 0x0f, 0x22, 0xe0}, {3, 3, 3}},
    {"clts", {0x0f, 0x06}, {2}},
    {"lmsw", {0x0f, 0x01, 0xe0, 0x0f, 0x01, 0xf0}, {3, 3}},
    {"cr8", {0x44, 0x0f, 0x20, 0xc0}, {4}},
    {"dr7", {0x41, 0x0f, 0x23, 0xfe}, {4}},
    {"ipi", {0x41, 0xc7, 0x01, VECTOR_IPI, 0, 4, 0, 0x90}, {7, 1}},
    {"add", {0x4d, 0x01, 0xc2}, {3}},
    {"adc", {0x4d, 0x11, 0xd3}, {3}},
    {"sbb", {0x4d, 0x19, 0xdc}, {3}},
    {"neg", {0x49, 0xf7, 0xd8}, {3}},
    {"shl", {0x49, 0xd1, 0xe2}, {3}},
    {"imul, add", {0x4d, 0x0f, 0xaf, 0xc3, 0x4d, 0x01, 0xd8}, {4, 3}},
    {"cmovb", {0x4d, 0x0f, 0x42, 0xc2}, {4}},
    {"setb", {0x41, 0x0f, 0x92, 0xc3}, {4}},
    {"lock-xadd", {0xf0, 0x4c, 0x0f, 0xc1, 0x46, 0x20}, {6}},
    {"adc[]", {0x4c, 0x11, 0x5e, 0x28}, {4}},
    {"xchg[]", {0x4c, 0x87, 0x66, 0x30}, {4}},
    {"jb, inc", {0x72, 3, 0x49, 0xff, 0xc0}, {2, 3}},
    {"js, inc", {0x78, 3, 0x49, 0xff, 0xc4}, {2, 3}},
    {"call", {0xe8, 2, 0, 0, 0, 0xeb, 4, 0x49, 0xff, 0xc2, 0xc3}, {5, 2, 3, 1}},
    {"loop", {0xb9, 3, 0, 0, 0, 0x49, 0xff, 0xc3, 0xe2, 0xfb}, {5, 3, 2}},
    {"push, pop", {0x41, 0x50, 0x41, 0x5c}, {2, 2}},
    {"pushf, popf", {0x9c, 0x9d}, {1, 1}},
    {"bswap", {0x49, 0x0f, 0xca}, {3}},
    {"sse", {0x66, 0x49, 0x0f, 0x6e, 0xc0, 0x66, 0x49, 0x0f, 0x7e, 0xc2}, {5, 5}},
};
enum { PIECES = sizeof(pieces) / sizeof(pieces[0]), PIECE_TF = 0, PIECE_NO_TF };

static uint8_t code[256] __attribute__((aligned(64)));
static union {
    uint32_t word[64];
    uint64_t computed[32]; /* from 4 to 6 on */
} data __attribute__((aligned(64)));
static uint16_t start[128];
static unsigned size, starts;
static uint64_t seed;
static uint64_t digest;
static volatile unsigned events;
static struct event {
    uint64_t vector, offset, dr6, rflags;
} event[MAX_EVENTS];

static unsigned any(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)((seed >> 20) % n);
}

/* FNV-1a, by words. */
static void digest_add(uint64_t value)
{
    digest = (digest ^ value) * 0x100000001b3ull;
}

static void set_dr7(uint64_t v)
{
    __asm__ volatile("mov %0, %%dr7" : : "r"(v));
}

static void set_dr6(uint64_t v)
{
    __asm__ volatile("mov %0, %%dr6" : : "r"(v));
}

static void on_event(struct trap_frame *frame)
{
    const uint64_t offset = frame->rip - (uint64_t)code;
    const uint64_t flags = frame->rflags & (RFLAGS_TF | RFLAGS_IF | RFLAGS_RF);
    uint64_t dr6 = 0;
    if (frame->vector == VECTOR_DB) {
        __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
        set_dr6(DR6_NONE);
    }
    if (events < MAX_EVENTS)
        event[events] = (struct event){frame->vector, offset < size ? offset : sizeof(code),
                                       dr6 & DR6_CAUSES, flags};
    if (++events > MAX_EVENTS) {
        frame->rflags &= ~RFLAGS_TF;
        set_dr7(DR7_NONE);
    }
    if ((dr6 & 1) != 0) /* the breakpoint on code */
        frame->rflags |= RFLAGS_RF;
    if (frame->vector == VECTOR_IPI)
        apic_eoi();
    if (frame->vector != VECTOR_UD && frame->vector != VECTOR_GP && frame->vector != VECTOR_PF)
        return;
    for (unsigned i = 0; i < starts; i++) { /* the next instruction */
        if (start[i] > offset) {
            frame->rip = (uint64_t)code + start[i];
            return;
        }
    }
}

static void add(const struct piece *p)
{
    const unsigned from = size;
    for (unsigned i = 0; i < sizeof(p->lengths) && p->lengths[i] != 0; i++) {
        start[starts++] = (uint16_t)size;
        size += p->lengths[i];
    }
    memcpy(code + from, p->bytes, size - from);
}

static void make_program(void)
{
    const unsigned count = 3 + any(MAX_PIECES - 3);
    const bool brief = wanted.brief != 0;
    size = starts = 0;
    if (any(3) != 0)
        add(&pieces[PIECE_TF]);
    for (unsigned i = 0; i < count; i++) {
        const struct piece *p = &pieces[any(PIECES)];
        if (!brief)
            print(" %s", p->name);
        add(p);
    }
    add(&pieces[PIECE_NO_TF]);
    start[starts++] = (uint16_t)size;
    code[size++] = 0xfa; /* CLI, RET */
    code[size++] = 0xc3;
}

/* Breakpoint 0 on code, 1 on data, 2 on the port, 3 on the device. */
static uint64_t set_breakpoints(void)
{
    const uint64_t at = (uint64_t)code + start[any(starts - 1)];
    uint64_t dr7 = DR7_NONE | (any(2) != 0 ? 2 : 0);
    __asm__ volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3"
                     :
                     : "r"(at), "r"((uint64_t)&data), "r"(PORT), "r"(IOAPIC));
    if (any(3) == 0)
        dr7 |= 1ull << 3 | (any(2) != 0 ? 0xdull : 0xfull) << 20;
    if (any(3) == 0)
        dr7 |= 1ull << 5 | 2ull << 24;
    if (any(3) == 0)
        dr7 |= 1ull << 7 | (any(2) != 0 ? 0xdull : 0xfull) << 28;
    if (wanted.brief == 0)
        print("; DR0 %lu, DR7 %lx", at - (uint64_t)code, dr7);
    return dr7;
}

struct computed {
    uint64_t r8, r10, r11, r12, flags;
};

/* The program, with all that it counts on. r14: what it writes to DR7. */
static void run(uint16_t ss, uint64_t dr7, uint64_t to_dr7, struct computed *c)
{
    uint64_t rax = 0, rbx = IOAPIC, rdx = (uint64_t)code, rsi = (uint64_t)&data, rdi = dr7;
    register uint64_t r8 __asm__("r8") = c->r8;
    register uint64_t r9 __asm__("r9") = APIC_BASE_ADDRESS + APIC_ICR;
    register uint64_t r10 __asm__("r10") = c->r10;
    register uint64_t r11 __asm__("r11") = c->r11;
    register uint64_t r12 __asm__("r12") = c->r12;
    register uint64_t r13 __asm__("r13") = UNMAPPED;
    register uint64_t r14 __asm__("r14") = to_dr7;
    register uint64_t r15 __asm__("r15") = ss;
    __asm__ volatile("mov %%rdi, %%dr7; cmp %%rsi, %%rsi; call *%%rdx; pushfq; pop %%rax;"
                     "mov %[none], %%rcx; mov %%rcx, %%dr7"
                     : "+a"(rax), "+b"(rbx), "+d"(rdx), "+S"(rsi), "+D"(rdi), "+r"(r8), "+r"(r9),
                       "+r"(r10), "+r"(r11), "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15)
                     : [none] "i"(DR7_NONE)
                     : "rcx", "memory", "cc");
    *c = (struct computed){r8, r10, r11, r12, rax & FLAGS};
}

static void tell(const struct computed *c)
{
    for (unsigned i = 0; i < events && i < MAX_EVENTS; i++)
        print("%s %lu@%lu/%lx/%lx", i % 8 == 0 ? "\nwalks:" : "", event[i].vector, event[i].offset,
              event[i].dr6, event[i].rflags);
    print("\nwalks: R8 %lx, R10 %lx, R11 %lx, R12 %lx, flags %lx, memory %lx %lx %lx\n", c->r8,
          c->r10, c->r11, c->r12, c->flags, data.computed[4], data.computed[5], data.computed[6]);
}

static void tell_briefly(const struct computed *c)
{
    digest = 0xcbf29ce484222325ull;
    for (unsigned i = 0; i < events && i < MAX_EVENTS; i++) {
        digest_add(event[i].vector);
        digest_add(event[i].offset);
        digest_add(event[i].dr6);
        digest_add(event[i].rflags);
    }
    digest_add(c->r8);
    digest_add(c->r10);
    digest_add(c->r11);
    digest_add(c->r12);
    digest_add(c->flags);
    for (unsigned i = 4; i <= 6; i++)
        digest_add(data.computed[i]);
    print(" %lx\n", digest);
}

static void walk(uint16_t ss)
{
    make_program();
    const uint64_t dr7 = set_breakpoints();
    struct computed c = {.r8 = seed, .r10 = seed * 3, .r11 = ~seed, .r12 = seed << 32};
    for (unsigned i = 0; i < sizeof(data.word) / sizeof(data.word[0]); i++)
        data.word[i] = ss;
    events = 0;
    if (any(3) == 0)
        apic_self_ipi(VECTOR_IPI);
    set_dr6(DR6_NONE);
    run(ss, dr7, dr7 | (any(2) != 0 ? DR7_GD : 0), &c);
    interrupts_let_in();
    write_cr4((read_cr4() | CR4_DE) & ~CR4_TSD);
    if (wanted.brief != 0)
        tell_briefly(&c);
    else
        tell(&c);
}

int main(void)
{
    static const uint8_t vectors[] = {VECTOR_DB, VECTOR_BP,  VECTOR_UD, VECTOR_GP,
                                      VECTOR_PF, VECTOR_INT, VECTOR_IPI};
    uint16_t ss;
    bool more = false;
    test_begin("walks", "events in programs of no plan, as on the bare machine");
    apic_enable(false);
    for (unsigned i = 0; i < sizeof(vectors); i++)
        trap_set_handler(vectors[i], on_event);
    __asm__ volatile("mov %%ss, %0" : "=r"(ss));
    write_cr4(read_cr4() | CR4_DE);
    for (uint32_t i = wanted.first, left = wanted.count; left > 0; i++, left--) {
        seed = i * 0x9e3779b97f4a7c15ull;
        print("walks: %u:", i);
        walk(ss);
        more = more || events > MAX_EVENTS;
    }
    test_check(!more, "each program came to its end", "SDM, Debug Exceptions");
    return test_end();
}
