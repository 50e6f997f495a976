// SPDX-License-Identifier: BSD-2-Clause
// Weaknesses and what is done against them, on what CPUs from 2008 to 2024 tell of themselves.
// link: arch/weakness.c arch/format.c arch/string.c
#include "arch/weakness.h"

#define GENU 0x756e6547u /* of "GenuineIntel" */

#include "arch/ring3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Values by public dumps, by Intel's list of affected processors, and by what QEMU shows of a
 * model; of microcode since 2023 the bits are those that advisories name. A CPU as its CPUID and
 * IA32_ARCH_CAPABILITIES have it; then what is expected: a letter for each weakness in the order of
 * their enum (- absent, m mended, O open), and the measures that are on: Barrier Thunks Returns
 * History reGisters L1d buFfers reWrite Tsx Microcode Small, then SPEC_CTRL. */
static const struct {
    const char *name;
    uint32_t signature, leaf7_ebx, leaf7_edx, leaf7_2_edx;
    uint64_t known;
    const char *verdicts, *measures;
    uint64_t spec_control;
} cpus[] = {
    /*                                               1 2 R H I S M L M T M R G S P */
    {"Bonnell, in order (2008)", 0x106ca, 0, 0, 0, 0, "---------------", "", 0},
    {"Nehalem as bought (2009)", 0x106a5, 0, 0, 0, 0, "mOO--OmOO-----m", "S", 0},
    {"Westmere-EP, 2018 microcode", 0x206c2, 0, 0x9c000000, 0, 0, "mmm--mmmO-----m", "BTRGLS", 0},
    {"Sandy Bridge (2011), 2019", 0x206a7, 0, 0x9c000400, 0, 0, "mmm--mmmm-----m", "BTRGLFS", 0},
    {"Ivy Bridge (2012), 2020", 0x306a9, 0x281, 0x9c000600, 0, 0, "mmm--mmmm----mm", "BTRGLFMS", 0},
    {"Haswell (2013), before SRBDS", 0x306c3, 0x27ab, 0x9c000400, 0, 0, "mmm--mmmm----Om",
     "BTRGLFS", 0},
    {"Silvermont (2013), 2019", 0x30679, 0x2282, 0x0c000400, 0, 0, "mmm---m-m------", "BTRGF", 0},
    {"Broadwell-EP (2016), TSX", 0x406f1, 0x21cbfbb, 0x9c000400, 0, 0, "mmm--mmmmmm---m", "BTRGLFS",
     0},
    {"Skylake-SP as bought (2017)", 0x50654, 0xd39ffffb, 0, 0, 0, "mOO--OmOOOm-O-m", "S", 0},
    {"Skylake-SP, 2023", 0x50654, 0xd39ffffb, 0xbc000400, 0, 0x2000c04, "mmm--mmmmmm-m-m",
     "BRGLFWMS", 1},
    {"Goldmont Plus (2017)", 0x706a1, 0x2294e283, 0xac000400, 0, 0x1000006b, "mmmm-m-----m---",
     "BTRGF", 1},
    {"Coffee Lake R (2018), 2019", 0x906ed, 0x29c6fbf, 0xbc000600, 0, 0xab, "mmmmmm---mm-Omm",
     "BTRGTMS", 1},
    {"Cascade Lake (2019), 2019", 0x50657, 0xd39ffffb, 0xbc000400, 0, 0xab, "mmmmmm---mm-O-m",
     "BTRGTS", 1},
    {"Ice Lake, client (2019)", 0x706e5, 0xf2bf27eb, 0xbc000410, 0, 0x6b, "mmmmmm----m-O--", "BTRG",
     1},
    {"Ice Lake-SP (2021)", 0x606a6, 0xf3bfbfeb, 0xbc040412, 0, 0x16b, "mmmmmm----m-O--", "BTRG", 1},
    {"Ice Lake-SP, 2023", 0x606a6, 0xf3bfbfeb, 0xbc040412, 0, 0x20f816b, "mmmmmm----m-m--", "BRHGM",
     1},
    {"Tiger Lake (2020)", 0x806c1, 0xf3bfa7eb, 0xfc100510, 0, 0x1eb, "mmmmmm------O--", "BTRG", 1},
    {"Alder Lake (2021), 2024", 0x90672, 0x239c27eb, 0xfc1cc410, 0x11, 0x1180fd6b,
     "mm-m-m-----m---", "BGF", 0x401},
    {"Sapphire Rapids (2023)", 0x806f8, 0xf3bfbfeb, 0xffc14412, 0x10, 0xe16b, "mmmm-m---------",
     "BRG", 0x401},
    {"Granite Rapids (2024)", 0xa06d1, 0xf3bfbfeb, 0xffd94432, 0x3f, 0xd00e17b, "mm-m-----------",
     "BG", 0x401},
    {"Whiskey Lake (2018), 2023", 0x806ec, 0x29c67af, 0xbc000600, 0, 0x20004ab, "mmmmmm---mm-m-m",
     "BTRGTMS", 1},
    {"Cascade Lake (2019), 2025", 0x50657, 0xd39ffffb, 0xbc000400, 0, 0xa00a0ab, "mmmmmm---mm-m-m",
     "BTRGTMS", 1},
    {"the same as a guest sees it", 0x50657, 0xd39ff7eb, 0xac000400, 0, 0x400000000000016b,
     "mmmm-m----m-O--", "BTRG", 1},
    {"Comet Lake (2020), 2023", 0xa0652, 0x29c67af, 0xbc000610, 0, 0x20004eb, "mmmmmm---mm-m--",
     "BTRGTM", 1},
    {"Rocket Lake (2021), 2023", 0xa0671, 0xf2bf27eb, 0xbc040510, 0, 0x2000c6b, "mmmmmm----m-m--",
     "BTRGM", 1},
    {"a CPU to come, with all bits", 0xb06d1, 0xf3bfbfeb, 0xffd94432, 0x3f, UINT64_MAX,
     "mm-------------", "BG", 1},
};

static void decide(size_t i, struct weakness_verdict verdict[], struct weakness_measures *m)
{
    struct weakness_cpu cpu = {.avx = (cpus[i].leaf7_ebx & 1 << 5) != 0,
                               .leaf7_ebx = cpus[i].leaf7_ebx,
                               .leaf7_edx = cpus[i].leaf7_edx,
                               .leaf7_2_edx = cpus[i].leaf7_2_edx,
                               .known = cpus[i].known};
    weakness_identify(&cpu, GENU, cpus[i].signature);
    weakness_decide(&cpu, verdict, m);
}

static void test_cpus(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof(cpus) / sizeof(cpus[0]); i++) {
        struct weakness_verdict verdict[WEAKNESS_COUNT];
        struct weakness_measures m;
        char verdicts[WEAKNESS_COUNT + 1] = "", measures[24] = "";
        decide(i, verdict, &m);
        for (unsigned w = 0; w < WEAKNESS_COUNT; w++) {
            verdicts[w] = "-mO"[verdict[w].state];
            assert_true((verdict[w].how == NULL) == (verdict[w].state == WEAKNESS_ABSENT));
        }
        snprintf(measures, sizeof(measures), "%s%s%s%s%s%s%s%s%s%s%s", m.barrier ? "B" : "",
                 m.thunks ? "T" : "", m.fill_returns ? "R" : "", m.clear_history ? "H" : "",
                 m.clear_registers ? "G" : "", m.flush_l1d ? "L" : "", m.clear_buffers ? "F" : "",
                 m.rewrite_control ? "W" : "", m.tsx_off ? "T" : "", m.microcode_on ? "M" : "",
                 m.small_pages ? "S" : "");
        if (strcmp(verdicts, cpus[i].verdicts) == 0 && strcmp(measures, cpus[i].measures) == 0 &&
            m.spec_control == cpus[i].spec_control)
            continue;
        print_error("%s: %s %s 0x%lx\n", cpus[i].name, verdicts, measures,
                    (unsigned long)m.spec_control);
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

/* What is done around CPL 3 follows from the same measures; a CPU without weaknesses does nothing.
 */
static void test_ring3(void **state)
{
    (void)state;
    bool fills = false, clears = false;
    for (size_t i = 0; i < sizeof(cpus) / sizeof(cpus[0]); i++) {
        struct weakness_verdict verdict[WEAKNESS_COUNT];
        struct weakness_measures m;
        decide(i, verdict, &m);
        const unsigned work = ring3_work_of(&m);
        assert_int_equal((work & RING3_FILL_RETURNS) != 0, strchr(cpus[i].measures, 'R') != NULL);
        assert_int_equal((work & RING3_CLEAR_HISTORY) != 0, strchr(cpus[i].measures, 'H') != NULL);
        assert_int_equal((work & RING3_REWRITE_CONTROL) != 0,
                         strchr(cpus[i].measures, 'W') != NULL);
        assert_int_equal(m.reads_supervisor, verdict[WEAKNESS_MELTDOWN].state != WEAKNESS_ABSENT);
        fills = fills || (work & RING3_FILL_RETURNS) != 0;
        clears = clears || m.clear_buffers;
    }
    assert_true(fills && clears);
    assert_int_equal(ring3_work_of(&(struct weakness_measures){.barrier = true}), 0);
}

/* Two VMs on one core: what entries clean is filled anew by the other thread. */
static void test_threads(void **state)
{
    (void)state;
    struct weakness_verdict verdict[WEAKNESS_COUNT];
    struct weakness_measures m;
    struct weakness_cpu cpu = {.leaf7_edx = 0x9c000600, .threads_shared = true};
    weakness_identify(&cpu, GENU, 0x306a9);
    weakness_decide(&cpu, verdict, &m);
    assert_int_equal(verdict[WEAKNESS_L1TF].state, WEAKNESS_OPEN);
    assert_int_equal(verdict[WEAKNESS_MDS].state, WEAKNESS_OPEN);
    assert_true(m.flush_l1d && m.clear_buffers);
    assert_int_equal(verdict[WEAKNESS_TARGETS].state, WEAKNESS_MENDED);
}

/* A guest is told of weaknesses, not of switches (TSX_CTRL, GDS_CTRL), nor to flush for others. */
static void test_told(void **state)
{
    (void)state;
    struct weakness_cpu cpu = {.known = UINT64_MAX};
    assert_int_equal(weakness_told_to_guests(&cpu) & (1 << 3 | 1 << 7 | 1 << 25), 0);
    assert_true((weakness_told_to_guests(&cpu) & 0xe177) == 0xe177);
    cpu.known = 0;
    assert_int_equal(weakness_told_to_guests(&cpu), 1 << 6);
}

/* Of AMD's none has them, whatever is enumerated. */
static void test_amd(void **state)
{
    (void)state;
    static const uint32_t makers[] = {0x68747541, 0x6f677948}; /* "Auth", "Hygo" */
    static const enum weakness absent[] = {WEAKNESS_MELTDOWN, WEAKNESS_L1TF, WEAKNESS_MDS,
                                           WEAKNESS_RANDOM, WEAKNESS_PAGE_SIZE};
    for (size_t i = 0; i < 2; i++) {
        struct weakness_verdict verdict[WEAKNESS_COUNT];
        struct weakness_measures m;
        struct weakness_cpu cpu = {0};
        weakness_identify(&cpu, makers[i], 0x00800f12);
        assert_true(cpu.maker == MAKER_AMD && cpu.family == 0x17 && cpu.model == 1);
        weakness_decide(&cpu, verdict, &m);
        for (size_t j = 0; j < sizeof(absent) / sizeof(absent[0]); j++)
            assert_int_equal(verdict[absent[j]].state, WEAKNESS_ABSENT);
        assert_false(m.reads_supervisor || m.clear_buffers || m.flush_l1d || m.small_pages);
    }
}

/* Extended models, families, and other makers: no list of Intel's is asked for those. */
static void test_identity(void **state)
{
    (void)state;
    struct weakness_verdict verdict[WEAKNESS_COUNT];
    struct weakness_measures m;
    struct weakness_cpu cpu = {.leaf7_edx = 0x9c000600};
    weakness_identify(&cpu, GENU, 0x306a9);
    assert_true(cpu.family == 6 && cpu.model == 0x3a && cpu.stepping == 9 && cpu.speculates);
    weakness_identify(&cpu, GENU, 0x106ca);
    assert_true(cpu.model == 0x1c && cpu.stepping == 10 && !cpu.speculates);
    weakness_identify(&cpu, GENU, 0x00800f12);
    assert_int_equal(cpu.family, 0x17);
    weakness_identify(&cpu, 0x746e6543, 0x106ca); /* "Cent" */
    assert_true(cpu.maker == MAKER_OTHER && cpu.family == 6 && cpu.speculates);
    weakness_decide(&cpu, verdict, &m);
    assert_int_equal(verdict[WEAKNESS_MELTDOWN].state, WEAKNESS_MENDED);
    assert_int_equal(verdict[WEAKNESS_PAGE_SIZE].state, WEAKNESS_ABSENT);
    assert_int_equal(verdict[WEAKNESS_RANDOM].state, WEAKNESS_ABSENT);
}

/* What is printed: those that the same mends stand together, and no list is cut. */
static void test_lists(void **state)
{
    (void)state;
    struct weakness_verdict verdict[WEAKNESS_COUNT];
    struct weakness_measures m;
    char text[WEAKNESS_TEXT];
    for (size_t i = 0; i < sizeof(cpus) / sizeof(cpus[0]); i++) {
        decide(i, verdict, &m);
        size_t commas = 0;
        for (enum weakness_state of = WEAKNESS_ABSENT; of <= WEAKNESS_OPEN; of++) {
            assert_true(weakness_list(verdict, of, text, sizeof(text)) < sizeof(text) - 1);
            for (const char *c = text; *c != '\0'; c++)
                commas += *c == ',';
        }
        assert_true(commas >= WEAKNESS_COUNT - 3);
    }
    decide(1, verdict, &m);
    weakness_list(verdict, WEAKNESS_OPEN, text, sizeof(text));
    assert_string_equal(text,
                        "Spectre v2, return stack, SSB, L1TF, MDS (a firmware update with newer "
                        "microcode helps)");
    weakness_list(verdict, WEAKNESS_MENDED, text, sizeof(text));
    assert_string_equal(text, "Spectre v1 (indexes masked, RAM of others unmapped), Meltdown (page "
                              "tables apart), iTLB multihit (pages of 4 KiB)");
    for (unsigned i = 0; i < WEAKNESS_COUNT; i++)
        verdict[i] = (struct weakness_verdict){WEAKNESS_MENDED, "VERW at entries"};
    assert_int_equal(weakness_list(verdict, WEAKNESS_OPEN, text, sizeof(text)), 0);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpus),  cmocka_unit_test(test_ring3), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_lists), cmocka_unit_test(test_amd),   cmocka_unit_test(test_identity),
        cmocka_unit_test(test_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
