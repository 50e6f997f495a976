/* SPDX-License-Identifier: BSD-2-Clause */
/* Debug exceptions: breakpoints on code, data, device memory and ports, single-step, INT1 and INT3,
 * and the debug registers. */
#include "debug.h"

#include "guest/lib/apic.h"
#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"
#include "guest/lib/user.h"

#include <stddef.h>

#define RFLAGS_TF    0x100ull
#define RFLAGS_RF    0x10000ull
#define DR6_CLEAR    0xffff0ff0ull
#define DR6_BD       (1ull << 13)
#define DR6_BS       (1ull << 14)
#define DR6_CAUSES   0xe00full
#define DR7_FIXED    0x400ull
#define DR7_GD       (1ull << 13)
#define CR4_DE       8ull
#define SCRATCH_OUT  0xed
#define MSR_DEBUGCTL 0x1d9u

/* DR7's R/W and LEN of a breakpoint. */
enum { ON_CODE, ON_WRITE, ON_PORT, ON_ACCESS };
enum { BYTES_1, BYTES_2, BYTES_8, BYTES_4 };

#define MAX_HITS 8
static volatile unsigned hits;
static volatile struct hit {
    uint64_t rip, rflags, dr6, dr7;
} hit[MAX_HITS];
static bool keep_stepping, step_on;

static uint64_t read_dr6(void)
{
    uint64_t v;
    __asm__ volatile("mov %%dr6, %0" : "=r"(v));
    return v;
}

static uint64_t read_dr7(void)
{
    uint64_t v;
    __asm__ volatile("mov %%dr7, %0" : "=r"(v));
    return v;
}

static void write_dr6(uint64_t v)
{
    __asm__ volatile("mov %0, %%dr6" : : "r"(v));
}

static void write_dr7(uint64_t v)
{
    __asm__ volatile("mov %0, %%dr7" : : "r"(v));
}

static void on_trap(struct trap_frame *frame)
{
    if (hits < MAX_HITS) {
        hit[hits].rip = frame->rip;
        hit[hits].rflags = frame->rflags;
        hit[hits].dr6 = read_dr6();
        hit[hits].dr7 = read_dr7();
    }
    hits++;
    write_dr6(DR6_CLEAR);
    if (!keep_stepping || hits >= MAX_HITS)
        frame->rflags &= ~RFLAGS_TF;
    if (step_on) {
        frame->rflags |= RFLAGS_RF | RFLAGS_TF;
        step_on = false;
    }
}

static void run(const struct piece *piece)
{
    hits = 0;
    write_dr6(DR6_CLEAR);
    piece->run();
    write_dr7(DR7_FIXED);
}

/* Breakpoint 1 on an address. */
static void break_at(uint64_t address, unsigned on, unsigned bytes)
{
    __asm__ volatile("mov %0, %%dr1" : : "r"(address));
    write_dr7(DR7_FIXED | 8 | on << 20 | bytes << 22);
}

static void check_hit(unsigned which, uint64_t rip, uint64_t causes, const char *what,
                      const char *rule)
{
    bool ok = hits > which && hit[which].rip == rip && (hit[which].dr6 & DR6_CAUSES) == causes;
    if (!test_check(ok, what, rule))
        print("  %u hits; RIP %lx, not %lx; DR6 %lx\n", hits, hit[which].rip, rip, hit[which].dr6);
}

static void check_software(void)
{
    hits = 0;
    write_dr6(DR6_CLEAR | 0x4003);
    piece_int1.run();
    test_check(hits == 1 && hit[0].rip == piece_int1.next, "INT1 traps behind itself", "SDM, INT1");
    test_equal(hit[0].dr6, DR6_CLEAR | 0x4003, "and leaves DR6 alone", "SDM, INT1");
    run(&piece_int3);
    test_check(hits == 1 && hit[0].rip == piece_int3.next, "INT3 traps behind itself", "SDM, INT3");
}

static void check_data(void)
{
    const char *rule = "SDM, Data Memory and I/O Breakpoint Exception Conditions";
    uint64_t at = (uint64_t)piece_variable;
    break_at(at, ON_WRITE, BYTES_4);
    run(&piece_write);
    check_hit(0, piece_write.next, 2, "a write traps behind itself", rule);
    break_at(at, ON_WRITE, BYTES_4);
    run(&piece_read);
    test_equal(hits, 0, "a read does not", rule);
    break_at(at + 3, ON_ACCESS, BYTES_1);
    run(&piece_read);
    check_hit(0, piece_read.next, 2, "a read that covers the byte", rule);
    break_at(at + 4, ON_ACCESS, BYTES_4);
    run(&piece_read);
    test_equal(hits, 0, "one beside it does not", rule);
}

static void check_devices(void)
{
    const char *rule = "SDM, Data Memory and I/O Breakpoint Exception Conditions";
    uint64_t ioapic = 0xfec00000;
    break_at(ioapic, ON_ACCESS, BYTES_4);
    run(&piece_device_read);
    check_hit(0, piece_device_read.next, 2, "a read of device memory", rule);
    break_at(ioapic, ON_WRITE, BYTES_4);
    run(&piece_device_write);
    check_hit(0, piece_device_write.next, 2, "a write to device memory", rule);
    break_at(ioapic, ON_WRITE, BYTES_4);
    run(&piece_device_read);
    test_equal(hits, 0, "a read is no write", rule);
    break_at(ioapic, ON_ACCESS, BYTES_4);
    run(&piece_device_cmp);
    check_hit(0, piece_device_cmp.next, 2, "CMP with device memory", rule);
    break_at(ioapic + 4, ON_ACCESS, BYTES_4);
    run(&piece_device_read);
    test_equal(hits, 0, "the address beside it", rule);
    break_at(0xfee00030, ON_ACCESS, BYTES_4);
    run(&piece_apic_read);
    check_hit(0, piece_apic_read.next, 2, "a read of the local APIC", rule);
}

static void check_ports_broken(void)
{
    const char *rule = "SDM, Debug Control Register (DR7): CR4.DE";
    uint64_t cr4 = read_cr4();
    write_cr4(cr4 | CR4_DE);
    break_at(0x61, ON_PORT, BYTES_1);
    run(&piece_in);
    check_hit(0, piece_in.next, 2, "IN from a port", rule);
    break_at(0x60, ON_PORT, BYTES_2);
    run(&piece_in);
    check_hit(0, piece_in.next, 2, "IN from the second of two ports", rule);
    break_at(SCRATCH_OUT, ON_PORT, BYTES_1);
    run(&piece_out);
    check_hit(0, piece_out.next, 2, "OUT to a port", rule);
    break_at(SCRATCH_OUT, ON_PORT, BYTES_1);
    run(&piece_out_string);
    check_hit(0, piece_out_string.next, 2, "OUTSB to a port", rule);
    break_at((uint64_t)piece_variable, ON_ACCESS, BYTES_1);
    run(&piece_out_string);
    check_hit(0, piece_out_string.next, 2, "OUTSB from memory", rule);
    break_at(0x62, ON_PORT, BYTES_1);
    run(&piece_in);
    test_equal(hits, 0, "another port", rule);
    write_cr4(cr4);
}

static void check_steps(void)
{
    run(&piece_mov_ss);
    check_hit(0, piece_mov_ss.next, DR6_BS, "no trap right behind MOV SS",
              "SDM, Single-Step Exception Condition");
    test_equal(hits, 1, "but one behind the next", "SDM, Single-Step Exception Condition");

    static const struct {
        const struct piece *piece;
        unsigned iterations;
        const char *name;
    } strings[] = {{&piece_movs, 3, "REP MOVSB in memory"},
                   {&piece_insb, 3, "REP INSB"},
                   {&piece_device_stos, 2, "REP STOSD to device memory"}};
    const char *rule = "each iteration traps";
    keep_stepping = true;
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        run(strings[i].piece);
        unsigned n = strings[i].iterations;
        for (unsigned j = 0; j < n; j++)
            check_hit(j, j + 1 < n ? strings[i].piece->at : strings[i].piece->next, DR6_BS,
                      strings[i].name, rule);
    }
    keep_stepping = false;

    break_at(piece_cpuid.at, ON_CODE, BYTES_1);
    step_on = true;
    run(&piece_cpuid);
    check_hit(0, piece_cpuid.at, 2, "a breakpoint on CPUID comes before it",
              "SDM, Instruction-Breakpoint Exception Condition");
    check_hit(1, piece_cpuid.next, DR6_BS, "RF lets it run, then the step", "SDM, RFLAGS.RF");
    test_equal(hit[1].rflags & RFLAGS_RF, 0, "RF is clear behind it", "SDM, RFLAGS.RF");
}

/* A breakpoint on the second of three bytes. */
static void check_repeated(void)
{
    const char *rule = "SDM, Data Memory and I/O Breakpoint Exception Conditions";
    static const struct {
        const struct piece *piece;
        unsigned on;
        const char *what;
    } rows[] = {{&piece_rep_insb, ON_WRITE, "REP INSB traps behind the iteration that hits"},
                {&piece_rep_outsb, ON_ACCESS, "so does REP OUTSB"},
                {&piece_rep_movsb, ON_WRITE, "and REP MOVSB from device memory"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        break_at((uint64_t)piece_variable + 1, rows[i].on, BYTES_1);
        run(rows[i].piece);
        check_hit(0, rows[i].piece->at, 2, rows[i].what, rule);
        test_check(hits == 1 && (hit[0].rflags & RFLAGS_RF) != 0, rows[i].what,
                   "once, with RF set, and goes on");
    }
}

/* Debug exceptions in the shadow of MOV SS. */
static void check_shadow(void)
{
    const char *rule = "SDM, Masking Exceptions and Interrupts When Switching Stacks";
    run(&piece_shadow_int1);
    check_hit(0, piece_shadow_int1.next, 0, "INT1 behind MOV SS, single-stepped: its own #DB",
              rule);
    test_equal(hits, 1, "and no other", rule);

    uint16_t ss;
    __asm__ volatile("mov %%ss, %0" : "=r"(ss));
    piece_variable[0] = ss;
    static const struct {
        const struct piece *piece;
        unsigned hits;
        uint64_t causes;
        const char *what;
    } rows[] = {{&piece_watch_nop, 1, 2, "its own breakpoint traps behind NOP"},
                {&piece_watch_cpuid, 1, 2, "behind CPUID"},
                {&piece_watch_int1, 1, 0, "and not beside INT1's"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        break_at((uint64_t)piece_variable, ON_ACCESS, BYTES_2);
        run(rows[i].piece);
        check_hit(0, rows[i].piece->next, rows[i].causes, rows[i].what, rule);
        test_equal(hits, rows[i].hits, rows[i].what, "once");
    }
}

static void check_more_steps(void)
{
    hits = 0;
    write_dr6(0);
    piece_mov_ss.run();
    test_equal(hit[0].dr6, DR6_CLEAR | DR6_BS, "#DB sets bits that are always 1, or mean none",
               "SDM, Debug Status Register (DR6)");
    hits = 0;
    write_dr6(DR6_CLEAR | DR6_BS | 1);
    break_at((uint64_t)piece_variable, ON_WRITE, BYTES_4);
    piece_write.run();
    write_dr7(DR7_FIXED);
    test_equal(hit[0].dr6, DR6_CLEAR | DR6_BS | 2, "it clears B0 to B3 and no other",
               "SDM, Debug Status Register (DR6)");
}

/* The same at CPL 3: RFLAGS.TF is set from the first instruction on. */
static void check_user(void)
{
    static const struct {
        const char *what, *rule;
        uint64_t rflags, causes;
        uint8_t length, bytes[2];
    } rows[] = {
        {"CPUID, single-stepped", "at CPL 3", RFLAGS_TF, DR6_BS, 2, {0x0f, 0xa2}},
        {"IN, single-stepped", "at CPL 3", RFLAGS_TF, DR6_BS, 2, {0xe4, 0x61}},
        {"INT1 asks for no privilege", "SDM, INT1", 0, 0, 1, {0xf1}},
    };
    user_init();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct code code = {.length = rows[i].length};
        memcpy(code.bytes, rows[i].bytes, rows[i].length);
        hits = 0;
        write_dr6(DR6_CLEAR);
        test_fault(user_probe(&code, rows[i].rflags), (struct probe){PROBE_NONE, 0}, rows[i].what,
                   rows[i].rule);
        const uint8_t *behind = (const uint8_t *)hit[0].rip - rows[i].length;
        test_check(hits == 1 && memcmp(behind, rows[i].bytes, rows[i].length) == 0 &&
                       (hit[0].dr6 & DR6_CAUSES) == rows[i].causes,
                   rows[i].what, "one trap, behind it");
    }
    struct code int3 = {.length = 1, .bytes = {0xcc}};
    test_fault(user_probe(&int3, 0), (struct probe){VECTOR_GP, VECTOR_BP << 3 | 2},
               "INT3 asks for the gate's", "SDM, INT n/INTO/INT3/INT1");
}

/* Bochs sleeps in HLT through a trap, and does not know BTF: but what exits is the VM's to do. */
static void check_steps_in_vm(void)
{
    keep_stepping = true;
    run(&piece_hlt);
    keep_stepping = false;
    interrupts_off();
    check_hit(0, piece_hlt.at, DR6_BS, "STI does not hold a step back",
              "SDM, Single-Step Exception Condition");
    check_hit(1, piece_hlt.next, DR6_BS, "one behind HLT ends it", "SDM, HLT");

    run(&piece_branch);
    check_hit(0, piece_branch.next, DR6_BS, "with BTF only a branch traps, not CPUID",
              "SDM, Single-Stepping on Branches");
    test_equal(rdmsr(MSR_DEBUGCTL), 0, "which clears BTF", "SDM, Single-Stepping on Branches");
}

static struct probe run_bytes(struct code *code)
{
    write_dr7(DR7_FIXED);
    return code_probe(code);
}

static void check_registers(void)
{
    const char *rule = "SDM, Debug Registers";
    write_dr7(DR7_FIXED | DR7_GD);
    piece_mov_dr.run();
    check_hit(0, piece_mov_dr.at, DR6_BD, "DR7.GD stops MOV to a debug register before it", rule);
    test_equal(hit[0].dr7 & DR7_GD, 0, "and is clear in the handler", rule);

    uint64_t cr4 = read_cr4();
    struct code from_dr4 = {.length = 3, .bytes = {0x0f, 0x21, 0xe0}};
    write_cr4(cr4 & ~CR4_DE);
    write_dr6(DR6_CLEAR | 1);
    test_check(code_probe(&from_dr4).vector == PROBE_NONE && from_dr4.rax == (DR6_CLEAR | 1),
               "DR4 is DR6 without CR4.DE", rule);
    write_cr4(cr4 | CR4_DE);
    test_fault(code_probe(&from_dr4), (struct probe){VECTOR_UD, 0}, "and undefined with it", rule);
    write_cr4(cr4);

    struct code to_dr6 = {.rax = 1ull << 32, .length = 3, .bytes = {0x0f, 0x23, 0xf0}};
    struct code to_dr7 = {.rax = 1ull << 63, .length = 3, .bytes = {0x0f, 0x23, 0xf8}};
    test_fault(run_bytes(&to_dr6), (struct probe){VECTOR_GP, 0}, "DR6 bit 32", rule);
    test_fault(run_bytes(&to_dr7), (struct probe){VECTOR_GP, 0}, "DR7 bit 63", rule);
    write_dr7(0);
    test_equal(read_dr7(), DR7_FIXED, "DR7 bit 10 is always set", rule);
    write_dr6(DR6_CLEAR);
    test_equal(read_dr6(), DR6_CLEAR, "DR6's fixed bits", rule);
}

int main(void)
{
    test_begin("debug", "debug exceptions and registers");
    apic_enable(false);
    trap_set_handler(VECTOR_DB, on_trap);
    trap_set_handler(VECTOR_BP, on_trap);
    check_software();
    check_data();
    check_devices();
    check_ports_broken();
    check_steps();
    check_repeated();
    check_shadow();
    check_more_steps();
    if (test_only(TEST_VM))
        check_steps_in_vm();
    test_both();
    check_user();
    hits = 0;
    check_registers();
    return test_end();
}
