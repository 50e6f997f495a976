// SPDX-License-Identifier: BSD-2-Clause
// Capability arithmetic, on the MSRs of two machines that were met.
// link: vmx/caps.c
#include "vmx/caps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* MSRs 0x480 to 0x491: Bochs's corei7_skylake_x, and what Linux 6.1's KVM shows nested. */
static const uint64_t skylake[18] = {0x00d810000000002b,
                                     0x000000ff00000016,
                                     0xfff9fffe0401e172,
                                     0x407fffff00036dff,
                                     0x0000ffff000011ff,
                                     0x600401e0,
                                     0x80000021,
                                     0xffffffff,
                                     0x2000,
                                     0x3727ff,
                                     0x50,
                                     0x02577fff00000000,
                                     0x00000f0106734141,
                                     0x000000ff00000016,
                                     0xfff9fffe04006172,
                                     0x407fffff00036dfb,
                                     0x0000ffff000011fb,
                                     1};
static const uint64_t nested[18] = {0x00d8100011e57ed0,
                                    0x0000007f00000016,
                                    0xfff9fffe0401e172,
                                    0x007fffff00036dff,
                                    0x0000f3ff000011ff,
                                    0x20000165,
                                    0x80000021,
                                    0xffffffff,
                                    0x2000,
                                    0x372fff,
                                    0x32,
                                    0x02137bff00000000,
                                    0x00000f0106334041,
                                    0x0000007f00000016,
                                    0xfff9fffe04006172,
                                    0x007fffff00036dfb,
                                    0x0000f3ff000011fb,
                                    1};

enum { PINBASED = 1, PROCBASED = 2, PROCBASED2 = 11, EPT_VPID = 12, TRUE_PIN = 13, TRUE_PROC = 14 };
enum { TRUE_EXIT = 15, TRUE_ENTRY = 16 };

static uint64_t msr[18];
static char said[1024];
static struct vmx_caps caps;

static uint64_t read(uint32_t number)
{
    assert_in_range(number, 0x480, 0x491);
    return msr[number - 0x480];
}

static void missing(const char *what)
{
    strcat(strcat(said, what), "; ");
}

static unsigned check(void)
{
    said[0] = '\0';
    vmx_caps_read(&caps, read);
    return vmx_caps_check(&caps, missing);
}

static int renew(void **state)
{
    (void)state;
    memcpy(msr, skylake, sizeof(msr));
    return 0;
}

static void test_good_machines(void **state)
{
    (void)state;
    assert_int_equal(check(), 0);
    assert_int_equal(vmx_revision(&caps), 0x2b);
    assert_int_equal(vmx_preemption_shift(&caps), 0);
    assert_int_equal(caps.proc.must_be_1, 0x04006172); /* the TRUE one */
    memcpy(msr, nested, sizeof(msr));
    assert_int_equal(check(), 0);
    assert_int_equal(vmx_revision(&caps), 0x11e57ed0);
    assert_int_equal(vmx_preemption_shift(&caps), 5);
    assert_false(control_allowed(caps.pin, PIN_POSTED_INTERRUPTS));
}

/* Each thing that Nadir cannot do without is named when it alone is taken away. */
static void test_each_lack_is_named(void **state)
{
    static const struct {
        unsigned msr;
        uint64_t bits;
        const char *name;
    } lacks[] = {
        {TRUE_PIN, (uint64_t)PIN_EXTERNAL_INTERRUPT_EXITING << 32, "external-interrupt exiting"},
        {TRUE_PIN, (uint64_t)PIN_VIRTUAL_NMIS << 32, "virtual NMIs"},
        {TRUE_PROC, (uint64_t)PROC_TPR_SHADOW << 32, "TPR shadow"},
        {TRUE_PROC, (uint64_t)PROC_HLT_EXITING << 32, "HLT exiting"},
        {TRUE_PROC, (uint64_t)PROC_MSR_BITMAPS << 32, "MSR bitmaps"},
        {TRUE_PROC, (uint64_t)PROC_UNCONDITIONAL_IO << 32, "I/O exiting"},
        {PROCBASED2, (uint64_t)PROC2_UNRESTRICTED_GUEST << 32, "unrestricted guest"},
        {TRUE_EXIT, (uint64_t)EXIT_LOAD_PAT << 32, "IA32_PAT on exit"},
        {TRUE_EXIT, (uint64_t)EXIT_SAVE_EFER << 32, "IA32_EFER on exit"},
        {TRUE_ENTRY, (uint64_t)ENTRY_LOAD_EFER << 32, "on entry"},
        {EPT_VPID, EPTCAP_INVEPT_ALL, "write-back EPT"},
        {EPT_VPID, EPTCAP_WALK_4, "4-level"},
        {0, 1ull << 54, "INS and OUTS"},
        {0, 6ull << 50, "write-back memory for the VMCS"},
    };
    for (size_t i = 0; i < sizeof(lacks) / sizeof(lacks[0]); i++) {
        renew(state);
        msr[lacks[i].msr] &= ~lacks[i].bits;
        assert_int_equal(check(), 1);
        assert_non_null(strstr(said, lacks[i].name));
    }
}

static void test_timers_that_count_wrong(void **state)
{
    static const struct {
        uint32_t signature;
        bool good;
    } cpu[] = {{0x106a5, false}, {0x20655, false}, {0x22652, false}, {0x206e6, false},
               {0x306a8, false}, {0x306a9, true},  {0x206a7, true},  {0x50654, true},
               {0x106a2, true},  {0x90672, true}};
    (void)state;
    for (size_t i = 0; i < sizeof(cpu) / sizeof(cpu[0]); i++) {
        assert_int_equal(check(), 0);
        vmx_caps_mend(&caps, cpu[i].signature);
        assert_int_equal(control_allowed(caps.pin, PIN_PREEMPTION_TIMER), cpu[i].good);
        assert_true(control_allowed(caps.pin, PIN_EXTERNAL_INTERRUPT_EXITING));
    }
}

/* Another core of a hybrid CPU may lack, or have, what nobody uses; nothing else. */
static void test_cores_that_differ(void **state)
{
    static const struct {
        unsigned msr;
        uint64_t flip;
        bool good;
    } other[] = {
        {TRUE_PROC, 0, true},
        {5, 1ull << 14, true},                 /* MISC: Intel PT in VMX operation */
        {5, 1, false},                         /* the rate of the preemption timer */
        {0, 1, false},                         /* another revision of the VMCS */
        {0, 1ull << 49, true},                 /* dual monitor: not ours */
        {PROCBASED2, 1ull << (32 + 13), true}, /* VM functions, which we do not use */
        {TRUE_PROC, (uint64_t)PROC_MWAIT_EXITING << 32, false},
        {TRUE_PROC, PROC_CR3_LOAD_EXITING, false}, /* demands what the boot CPU does not */
        {PROCBASED2, (uint64_t)PROC2_XSAVES << 32, false},
        {EPT_VPID, EPTCAP_1G, false},
        {EPT_VPID, 1ull << 21, true}, /* accessed and dirty flags of EPT */
        {7, 1ull << 30, false},       /* CR0.CD may not be 1 */
        {8, 1ull << 14, false},       /* CR4.SMXE must be 1 */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        struct vmx_caps boot, own;
        renew(state);
        msr[TRUE_PIN] &= ~(1ull << 39); /* posted interrupts, which a core may have more */
        vmx_caps_read(&boot, read);
        assert_true(vmx_caps_cover(&boot, &boot));
        msr[TRUE_PIN] |= 1ull << 39;
        msr[other[i].msr] ^= other[i].flip;
        vmx_caps_read(&own, read);
        assert_int_equal(vmx_caps_cover(&own, &boot), other[i].good);
    }
}

/* What the boot CPU's later model has, and is used there. */
static void test_cores_that_lack(void **state)
{
    static const uint32_t bits[] = {PROC2_BUS_LOCK_DETECTION, PROC2_INSTRUCTION_TIMEOUT};
    struct vmx_caps boot, own;
    (void)state;
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        renew(state);
        vmx_caps_read(&own, read);
        msr[PROCBASED2] |= (uint64_t)bits[i] << 32;
        vmx_caps_read(&boot, read);
        assert_false(vmx_caps_cover(&own, &boot));
        assert_true(vmx_caps_cover(&boot, &own));
    }
}

static void test_old_cpus(void **state)
{
    (void)state;
    msr[TRUE_PROC] &= ~((uint64_t)PROC_SECONDARY << 32);
    msr[PROCBASED2] = msr[EPT_VPID] = 0; /* they do not exist */
    assert_true(check() >= 3);
    assert_non_null(strstr(said, "EPT (extended page tables)"));
    assert_non_null(strstr(said, "unrestricted guest"));
}

/* Without the TRUE MSRs (bit 55) CR3 accesses have to exit, which Nadir does not want. */
static void test_without_true_msrs(void **state)
{
    (void)state;
    msr[0] &= ~(1ull << 55);
    assert_int_equal(check(), 1);
    assert_non_null(strstr(said, "CR3"));
    assert_int_equal(caps.proc.must_be_1, (uint32_t)skylake[PROCBASED]);
    assert_int_equal(caps.pin.must_be_1, (uint32_t)skylake[PINBASED]);
}

static void test_control_word(void **state)
{
    (void)state;
    const struct control_caps word = {.must_be_1 = 0x16, .may_be_1 = 0x7f};
    uint32_t lost;
    assert_int_equal(control_word(word, 0x29, &lost), 0x3f);
    assert_int_equal(lost, 0);
    assert_int_equal(control_word(word, 0x80000080, &lost), 0x16);
    assert_int_equal(lost, 0x80000080);
    assert_true(control_allowed(word, 0x41));
    assert_false(control_allowed(word, 0x81));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_good_machines, renew),
        cmocka_unit_test_setup(test_each_lack_is_named, renew),
        cmocka_unit_test_setup(test_timers_that_count_wrong, renew),
        cmocka_unit_test_setup(test_cores_that_differ, renew),
        cmocka_unit_test_setup(test_cores_that_lack, renew),
        cmocka_unit_test_setup(test_old_cpus, renew),
        cmocka_unit_test_setup(test_without_true_msrs, renew),
        cmocka_unit_test(test_control_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
