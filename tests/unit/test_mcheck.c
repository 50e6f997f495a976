// SPDX-License-Identifier: BSD-2-Clause
// What is said of a machine check: the banks that hold errors, in words, and no others.
// link: arch/mcheck.c
#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/mcheck.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char text[4096];
static uint64_t cap, mcg_status, status[64];

void log_line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const size_t length = strlen(text);
    vsnprintf(text + length, sizeof(text) - length, format, args);
    va_end(args);
    strcat(text, "\n");
}

/* Only what the architecture says is there may be read: the rest faults, here too. */
bool cpu_rdmsr_safe(uint32_t msr, uint64_t *value)
{
    if (msr == MSR_IA32_MCG_CAP || msr == MSR_IA32_MCG_STATUS) {
        *value = msr == MSR_IA32_MCG_CAP ? cap : mcg_status;
        return true;
    }
    const unsigned bank = (msr - 0x400) / 4, which = (msr - 0x400) % 4;
    if (msr < 0x400 || bank >= (cap & 0xff) || which == 0 ||
        (which == 2 && (status[bank] >> 58 & 1) == 0) ||
        (which == 3 && (status[bank] >> 59 & 1) == 0))
        return false;
    *value = which == 1 ? status[bank] : which == 2 ? 0x123456780 : 0x86;
    return true;
}

bool cpu_wrmsr_safe(uint32_t msr, uint64_t value)
{
    if (msr == MSR_IA32_MCG_STATUS)
        mcg_status = value;
    else if (msr % 4 == 1)
        status[(msr - 0x400) / 4] = value;
    return true;
}

static void says(const char *words)
{
    if (strstr(text, words) == NULL)
        fail_msg("no \"%s\" in\n%s", words, text);
}

static void banks(void **state)
{
    (void)state;
    memset(text, 0, sizeof(text));
    cap = 0xc07;
    mcg_status = 5;
    status[0] = 0x7fffffffffffffff;  /* not valid */
    status[1] = 0xbe00000000800400;  /* an internal timer: uncorrected, context corrupt */
    status[4] = 0x8c00004000010090;  /* a corrected error of memory, with address and misc */
    status[6] = 0xf200000000800e0f;  /* a bus error; others were lost */
    status[20] = 0xb200000000000005; /* beyond what there is */
    mcheck_log();
    says("IA32_MCG_STATUS 5, 7 banks");
    says("bank 1: be00000000800400, internal timer or CPU, uncorrected, context corrupt, model's "
         "code 80");
    says("bank 4: 8c00004000010090, memory controller, corrected, model's code 1");
    says("bank 4: address 0000000123456780");
    says("bank 4: misc 0000000000000086");
    says(
        "bank 6: f200000000800e0f, bus or interconnect, uncorrected, context corrupt, others lost");
    assert_null(strstr(text, "bank 0:"));
    assert_null(strstr(text, "bank 20"));
    assert_null(strstr(text, "bank 6: address"));
}

static void codes(void **state)
{
    static const struct {
        unsigned code;
        const char *name;
    } given[] = {{1, "unclassified"},         {5, "internal parity"},
                 {0x000e, "cache hierarchy"}, {0x0019, "TLB"},
                 {0x1134, "cache"},           {0x009f, "memory controller"},
                 {0x0151, "cache"},           {0x0405, "internal timer or CPU"},
                 {0x0863, "bus or"},          {0x0007, "unknown"}};
    (void)state;
    cap = 1;
    for (unsigned i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        memset(text, 0, sizeof(text));
        status[0] = 1ull << 63 | given[i].code;
        mcheck_log();
        says(given[i].name);
    }
    cap = 0xff; /* more than an architecture has addresses for: bounded */
    mcheck_log();
}

/* Whether the host can go on behind one that hit a guest; the banks are empty then. */
static void taken(void **state)
{
    (void)state;
    memset(status, 0, sizeof(status));
    text[0] = 0;
    cap = 4;
    mcg_status = 5;
    status[2] = 0xb40000000000009f; /* memory that cannot be read */
    assert_true(mcheck_take());
    says("bank 2: b40000000000009f, memory controller");
    assert_true(status[2] == 0 && mcg_status == 0);
    assert_false(mcheck_take());    /* one that no bank explains */
    status[0] = 0xb20000000000009f; /* the CPU's context is corrupt */
    status[3] = 0xb40000000000009f;
    assert_false(mcheck_take());
    status[4] = 0xb40000000000009f; /* beyond what there is */
    assert_false(mcheck_take());
}

/* Of one that all CPUs are told of, those that it is not about go on, and leave shared banks to the
 * one that it is about. */
static void elsewhere(void **state)
{
    static const struct {
        uint64_t global, bank;
        bool elsewhere;
    } rows[] = {
        {5, 0, true}, /* can go on, its instruction is not involved; "in progress" */
        {5, 0xb40000000000009f, true},
        {5, 0x320000000000009f, true},  /* not valid */
        {5, 0xb20000000000009f, false}, /* some CPU's context is corrupt */
        {4, 0xb40000000000009f, false}, /* cannot go on */
        {7, 0xb40000000000009f, false}, /* its instruction is involved */
        {6, 0, false},
    };
    (void)state;
    cap = 4;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        memset(status, 0, sizeof(status));
        text[0] = 0;
        status[3] = rows[i].bank;
        mcg_status = rows[i].global;
        assert_int_equal(mcheck_is_elsewhere(), rows[i].elsewhere);
        assert_int_equal(mcg_status, rows[i].elsewhere ? 0 : rows[i].global);
        assert_true(status[3] == rows[i].bank && text[0] == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(banks), cmocka_unit_test(codes),
                                       cmocka_unit_test(taken), cmocka_unit_test(elsewhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
