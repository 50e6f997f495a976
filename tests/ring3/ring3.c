/* SPDX-License-Identifier: BSD-2-Clause */
/* For build/ring3.efi, in the place of boot/main.c: a hypervisor that needs no VT-x and starts no
 * VMs, but executes code at CPL 3 and looks what comes back. tests/system/test_ring3.py reads the
 * lines. */
#define vms_start  check_ring3
#define vmx_engine no_engine
#define sched_run  send_nmis /* what the other CPUs do */
#include "boot/main.c"

#include "arch/fault.h"
#include "arch/ring3.h"
#include "arch/string.h"
#include "guest/cpu/interpret.h"
#include "mm/guestspace.h"
#include "tests/ring3/ring3.h"

static enum status probe(struct engine_facts *facts)
{
    facts->host_cet = true;
    return OK;
}

static enum status cpu_on(struct cpu *cpu)
{
    (void)cpu;
    return OK;
}

static void cpu_off(void)
{
}

const struct engine no_engine = {
    .name = "none", .probe = probe, .cpu_on = cpu_on, .cpu_off = cpu_off};

static unsigned checks, failed;

void check_line(bool good, const char *file, unsigned line)
{
    checks++;
    if (good)
        return;
    failed++;
    log_line("ring3: the check in %s:%u has failed", file, line);
}

/* --- the window --- */

#define CODE HOST_WINDOW_BASE
#define DATA (HOST_WINDOW_BASE + PAGE_SIZE)
#define LOW  0x10000ull /* where 16-bit and 32-bit code reaches */
/* Selectors of such code, in entries that are nobody's otherwise. */
#define CODE32 0x33
#define CODE16 0x3b

static uint8_t *code, *data; /* as the hypervisor reaches them */
static struct ring3_frame frame;

static hpa_t make_window(void)
{
    hpa_t root, page;
    require(guestspace_create(&root), "a root");
    require(page_alloc(2, 1, &page), "pages");
    code = hpa_to_ptr(page);
    data = code + PAGE_SIZE;
    require(host_map_user(root, CODE, page, HOST_USER_CODE), "code");
    require(host_map_user(root, DATA, hpa(page.v + PAGE_SIZE), HOST_USER_DATA), "data");
    require(host_map_user(root, LOW, page, HOST_USER_CODE), "code below");
    (void)guestspace_enter(root);
    return root;
}

static uint64_t random64(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* Random registers, but for a stack in the window. */
static void prepare(uint64_t rip)
{
    for (unsigned i = 0; i < 16; i++)
        frame.gpr[i] = random64();
    frame.gpr[4] = DATA + 2048;
    frame.rip = rip;
    frame.cs = DESC_USER_CODE64;
    frame.ss = DESC_USER_DATA;
    frame.rflags = ring3_flags(random64() & ~(RFLAGS_TF | RFLAGS_AC));
}

/* Executes the frame, and looks at what is the host's own. */
static unsigned enter(void)
{
    const uint64_t rbp = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    const unsigned vector = ring3_enter(&frame);
    const uint64_t flags = cpu_read_rflags();
    check(cpu_self() == &boot_cpu && rbp == (uint64_t)(uintptr_t)__builtin_frame_address(0));
    check((flags & (RFLAGS_IF | RFLAGS_AC | RFLAGS_DF | RFLAGS_TF | RFLAGS_NT)) == 0);
    check(frame.vector == vector);
    return vector;
}

#define PIECE(name) extern const uint8_t piece_##name[], piece_##name##_end[]
#define put(name)   put_bytes(piece_##name, piece_##name##_end)
static void put_bytes(const uint8_t *from, const uint8_t *end)
{
    memcpy(code, from, (size_t)(end - from));
    prepare(CODE);
}
PIECE(add);
PIECE(syscall);
PIECE(syscalls);
PIECE(loop);
PIECE(load);
PIECE(store);
PIECE(jump);
PIECE(divide);
PIECE(undefined);
PIECE(int80);
PIECE(nops);
PIECE(align);
PIECE(gs);
PIECE(late_debug);
PIECE(sysenter);
PIECE(privileged);
PIECE(code32);
PIECE(code16);

/* --- checks --- */

/* The error code of INT n. QEMU 7.2's own emulation counts the 16 bytes of a gate. */
static bool is_gate(unsigned n)
{
    return frame.error == n * 8 + 2 || frame.error == n * 16 + 2;
}

static void check_registers(void)
{
    put(add);
    const struct ring3_frame before = frame;
    check(enter() == VECTOR_GENERAL_PROTECTION && is_gate(3));
    for (unsigned i = 0; i < 16; i++)
        check(frame.gpr[i] == before.gpr[i] + i);
    check(frame.rip == CODE + (uint64_t)(piece_add_end - piece_add) - 1);
    check(frame.cs == DESC_USER_CODE64 && frame.ss == DESC_USER_DATA);
    for (unsigned n = 0; n < 1000; n++) {
        put(syscall);
        const struct ring3_frame was = frame;
        const unsigned vector = enter();
        bool same = vector == RING3_SYSCALL && frame.rip == CODE + 2 &&
                    (frame.rflags & ~RFLAGS_RF) == (was.rflags & ~RFLAGS_RF);
        for (unsigned i = 0; i < 16; i++)
            same = same && (i == 1 || i == 11 || frame.gpr[i] == was.gpr[i]);
        if (!same || n == 0)
            check(same);
    }
}

static void check_faults(void)
{
    const uint64_t secret = (uint64_t)(uintptr_t)&boot_cpu, physmap = HOST_PHYSMAP_BASE + 0x100000;
    put(load);
    frame.gpr[0] = secret;
    check(enter() == VECTOR_PAGE_FAULT && frame.error == 5 && frame.cr2 == secret);
    check(frame.rip == CODE && frame.gpr[0] == secret);
    put(store);
    frame.gpr[0] = physmap;
    check(enter() == VECTOR_PAGE_FAULT && frame.error == 7 && frame.cr2 == physmap);
    put(store);
    frame.gpr[0] = CODE;
    check(enter() == VECTOR_PAGE_FAULT && frame.error == 7 && frame.cr2 == CODE);
    put(load);
    frame.gpr[0] = 0x1234567;
    check(enter() == VECTOR_PAGE_FAULT && frame.error == 4 && frame.cr2 == 0x1234567);
    put(jump);
    frame.gpr[0] = DATA;
    check(enter() == VECTOR_PAGE_FAULT && (frame.error & 7) == 5 && frame.cr2 == DATA);
    put(load);
    frame.gpr[0] = 1ull << 63;
    check(enter() == VECTOR_GENERAL_PROTECTION && frame.error == 0);
    put(divide);
    check(enter() == VECTOR_DIVIDE_ERROR && frame.rip == CODE + 2);
    put(undefined);
    check(enter() == VECTOR_INVALID_OPCODE && frame.rip == CODE);
    put(int80);
    check(enter() == VECTOR_GENERAL_PROTECTION && is_gate(0x80));
    put(nops);
    frame.rflags |= RFLAGS_TF;
    check(enter() == VECTOR_DEBUG && frame.rip == CODE + 1 && (frame.rflags & RFLAGS_TF) != 0);
    put(sysenter); /* #UD on a CPU of AMD's */
    const unsigned vector = enter();
    check(vector == VECTOR_GENERAL_PROTECTION || vector == VECTOR_INVALID_OPCODE);
    check(frame.rip == CODE);
}

static void check_privileged(void)
{
    memcpy(code, piece_privileged, (size_t)(piece_privileged_end - piece_privileged));
    const uint64_t cr0 = cpu_read_cr0(), cr4 = cpu_read_cr4();
    for (uint64_t at = CODE; at < CODE + (uint64_t)(piece_privileged_end - piece_privileged);
         at += 16) {
        prepare(at);
        const unsigned vector = enter();
        const bool refused = /* QEMU's own emulation has #UD for some */
            vector == VECTOR_GENERAL_PROTECTION || vector == VECTOR_INVALID_OPCODE;
        if (!refused || frame.rip != at)
            log_line("ring3: privileged instruction %lu: vector %u at 0x%lx",
                     (uint64_t)((at - CODE) / 16), vector, frame.rip);
        check(refused && frame.rip == at);
    }
    check(cr0 == cpu_read_cr0() && cr4 == cpu_read_cr4());
}

/* A RIP that is not canonical is found by IRETQ, or by the fetch. */
static bool is_bad_rip(unsigned vector)
{
    return (vector & ~RING3_REFUSED) == VECTOR_GENERAL_PROTECTION || vector == VECTOR_PAGE_FAULT;
}

/* What IRETQ refuses. */
static void check_refused(void)
{
    put(syscall);
    const unsigned refused = RING3_REFUSED + VECTOR_GENERAL_PROTECTION;
    struct ring3_frame before = frame;
    frame.cs = 0x153;
    check(enter() == refused && frame.error == 0x150);
    frame.cs = before.cs;
    frame.ss = 0x153;
    check(enter() == refused && frame.error == 0x150);
    frame.ss = DESC_USER_CODE64;
    check(enter() == refused);
    frame.ss = before.ss;
    frame.rip = 1ull << 63;
    const unsigned vector = enter();
    check(is_bad_rip(vector));
    frame.rip = before.rip;
    for (unsigned i = 0; i < 16; i++)
        check(frame.gpr[i] == before.gpr[i]);
    check(enter() == RING3_SYSCALL);
}

/* Answers four system calls, and changes what it may; the fifth ends it. */
enum { ANSWERED_FIFTH = RING3_SYSCALL + 44 };
static unsigned answers;
static uint64_t answer_rip;
static unsigned answer(struct ring3_frame *f)
{
    check(f == &frame && (cpu_read_rflags() & (RFLAGS_IF | RFLAGS_AC | RFLAGS_DF)) == 0);
    check(((uintptr_t)__builtin_frame_address(0) & 15) == 0);
    answers++;
    f->gpr[2] += 1;
    f->rip += answer_rip;
    return answers == 5 ? ANSWERED_FIFTH : RING3_GO_ON;
}

static void check_answers(void)
{
    if (!ring3_may_answer()) {
        log_line("ring3: this CPU answers no system call on the short way");
        return;
    }
    for (unsigned n = 0; n < 100; n++) {
        put(syscalls);
        const struct ring3_frame was = frame;
        frame.answer = answer;
        frame.answered = 1ull << (frame.gpr[0] & 63);
        answers = 0;
        check(enter() == ANSWERED_FIFTH && answers == 5 && frame.rip == CODE + 2);
        bool same = (frame.rflags & ~RFLAGS_RF) == (was.rflags & ~RFLAGS_RF);
        for (unsigned i = 0; i < 16; i++)
            same = same && (i == 1 || i == 11 || frame.gpr[i] == was.gpr[i] + (i == 2 ? 5 : 0));
        check(same);
        frame.answered = ~frame.answered; /* of all other numbers */
        check(enter() == RING3_SYSCALL && answers == 5);
        frame.answered = ~frame.answered;
        answers = 0;
        answer_rip = 1ull << 63; /* IRETQ refuses it, or the fetch does */
        const unsigned vector = enter();
        check(is_bad_rip(vector));
        check(answers == 1);
        answer_rip = 0;
        for (unsigned i = 0; i < 16; i++)
            same = same && (i == 1 || i == 11 || frame.gpr[i] == was.gpr[i] + (i == 2 ? 6 : 0));
        check(same);
    }
    frame.answered = 0;
}

/* Out of a loop comes an interrupt; NMIs, which another CPU sends all the time, do not show. */
static void check_interrupts(void)
{
    put(loop);
    const uint64_t rax = frame.gpr[0];
    for (unsigned i = 0; i < 20; i++) {
        const uint64_t rcx = frame.gpr[1];
        lapic_timer_arm(cpu_rdtsc() + 1000000);
        const unsigned vector = enter();
        check(vector == VECTOR_TIMER);
        if (vector >= VECTOR_FIRST_EXTERNAL)
            interrupt_handle((uint8_t)vector);
        check(frame.gpr[1] == rcx);
        check(frame.rip >= CODE && frame.rip < CODE + 5);
    }
    check(frame.gpr[0] != rax);
}

/* It is AMD's CPUs that have it there; no answer is for it. */
static void check_syscall32(void)
{
    const bool amd = cpu_cpuid(0, 0).ebx == CPUID_0_EBX_AMD;
    put(syscall);
    frame.cs = CODE32;
    frame.rip = LOW;
    frame.answer = answer;
    frame.answered = ring3_may_answer() ? UINT64_MAX : 0;
    answers = 0;
    const unsigned vector = enter();
    frame.answered = 0;
    check(vector == (amd ? RING3_SYSCALL32 : VECTOR_INVALID_OPCODE) && answers == 0);
    check(frame.rip == LOW + (amd ? SYSCALL_BYTES : 0));
}

static void check_segments(void)
{
    const uint64_t base = (uint64_t)(uintptr_t)&boot_cpu;
    put(align);
    check(enter() == RING3_SYSCALL && (frame.rflags & RFLAGS_AC) != 0);
    put(undefined);
    frame.rflags |= RFLAGS_AC;
    check(enter() == VECTOR_INVALID_OPCODE && (frame.rflags & RFLAGS_AC) != 0);
    ring3_load(DATA);
    memcpy(data + 8, &base, 8);
    put(gs);
    check(enter() == RING3_SYSCALL && frame.gpr[0] == base);
    ring3_load(base); /* the host's own */
    put(gs);
    check(enter() == VECTOR_PAGE_FAULT && frame.cr2 == base + 8);
    cpu_self()->memory.gdt[CODE32 / 8] = 0x00cffb000000ffff;
    cpu_self()->memory.gdt[CODE16 / 8] = 0x008ffb000000ffff;
    put(code32);
    frame.cs = CODE32;
    frame.rip = LOW;
    frame.gpr[0] = 0x80000001;
    check(enter() == VECTOR_GENERAL_PROTECTION && is_gate(3));
    check(frame.gpr[0] == 0x80000003 && frame.cs == CODE32);
    check_syscall32();
    put(code16);
    frame.cs = CODE16;
    frame.rip = LOW;
    frame.gpr[0] = 0x8001;
    check(enter() == VECTOR_GENERAL_PROTECTION && is_gate(3));
    check(frame.gpr[0] == 2 && frame.cs == CODE16);
}

/* Selectors of a guest's own, in its tables; one that the CPU refuses does no harm. */
static void check_selectors(void)
{
    static uint64_t ldt[4] __attribute__((aligned(8)));
    static bool (*const load[4])(uint16_t) = {ring3_load_ds, ring3_load_es, ring3_load_fs,
                                              ring3_load_gs};
    const uint64_t segment = 0x00cff3000000ffff, present = 1ull << 47;
    uint64_t *entry = &cpu_self()->memory.gdt[5];
    uint16_t now[4];
    desc_load_ldt(cpu_self(), ldt, sizeof(ldt));
    for (unsigned i = 0; i < 4; i++) {
        *entry = ldt[3] = 0;                                       /* #GP */
        check(!load[i](0x2b) && !load[i](0x1f) && !load[i](0x27)); /* the last: beyond the LDT */
        *entry = segment & ~present;                               /* #NP */
        check(!load[i](0x2b));
        *entry = ldt[3] = segment;
        check(load[i](0x2b));
        ring3_read_selectors(now);
        check(now[i] == 0x2b && load[i](0x1f));
    }
    check(cpu_self() == &boot_cpu);
    put(undefined);
    check(enter() == VECTOR_INVALID_OPCODE);
    ring3_read_selectors(now);
    check(now[0] == 0x1f && now[1] == 0x1f && now[2] == 0x1f && now[3] == 0x1f);
    for (unsigned i = 0; i < 4; i++)
        check(load[i](0));
    desc_load_ldt(cpu_self(), NULL, 0);
    check(!ring3_load_ds(0x1f));
    *entry = 0;
}

/* MOV SS holds a debug exception back until SYSCALL has been executed. */
static void check_late_debug(void)
{
    const uint16_t selector = DESC_USER_DATA;
    put(late_debug);
    memcpy(data, &selector, 2);
    frame.gpr[0] = DATA;
    __asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" : : "r"(DATA), "r"(0x70401ull)); /* R/W, 2 */
    const unsigned vector = enter();
    __asm__ volatile("mov %0, %%dr7" : : "r"(DR7_RESET));
    check(vector == RING3_SYSCALL || vector == VECTOR_DEBUG);
    check(enter() == RING3_SYSCALL || vector == RING3_SYSCALL);
}

static bool over;

void send_nmis(void)
{
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        lapic_send(boot_cpu.apic_id, LAPIC_NMI);
        for (unsigned i = 0; i < 2000; i++)
            cpu_pause();
    }
}

static void check_ways(void)
{
    ring3_load(0);
    check_registers();
    check_faults();
    check_privileged();
    check_refused();
    check_answers();
    check_interrupts();
    check_segments();
    check_selectors();
    check_late_debug();
}

/* All of it again as on a CPU with weaknesses: what that does beside changes nothing. Text that is
 * guarded by CET cannot be patched any more. */
static void check_hardened_ways(void)
{
    const struct weakness_measures all = {
        .clear_buffers = true,
        .fill_returns = true,
        .clear_history = true,
        .rewrite_control = (cpu_cpuid(7, 0).edx & CPUID_7_EDX_IBRS) != 0,
    };
    if ((cpu_read_cr4() & CR4_CET) != 0)
        return;
    ring3_harden(&all);
    check_ways();
    log_line("ring3: hardened ways checked");
}

void check_ring3(void)
{
    const hpa_t root = make_window();
    check_ways();
    check_hardened_ways();
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    ring3_load(0);
    check_compute(root);
    log_line("ring3: %u checks, %u failed", checks, failed);
    finish(failed == 0 ? "ok" : "vm-failed", 1, false);
}
