/* SPDX-License-Identifier: BSD-2-Clause */
/* What test kernels share: counting checks, and running instructions that may fault. */
#include "guest/lib/test.h"

#include "guest/lib/cpu.h"
#include "guest/lib/lib.h"

#define RET 0xc3

struct code_call {
    struct code *code;
    uint8_t *entry;
};

void code_call(struct code_call *call);

static const char *test_name;
static const char *side = ""; /* whose checks these are */
static unsigned passed, passed_on_one, failed;

void test_begin(const char *name, const char *title)
{
    test_name = name;
    print("test %s: %s\n", name, title);
}

static bool count(bool ok)
{
    if (!ok)
        failed++;
    else if (*side == 0)
        passed++;
    else
        passed_on_one++;
    print("%s %s: %s", ok ? "ok" : "FAIL", test_name, side);
    return ok;
}

bool test_only(enum test_machine machine)
{
    const bool in_vm = (cpuid(1, 0).ecx >> 31 & 1) != 0;
    side = machine == TEST_VM ? "vm-only: " : "native-only: ";
    return in_vm == (machine == TEST_VM);
}

void test_both(void)
{
    side = "";
}

bool test_check(bool ok, const char *what, const char *rule)
{
    count(ok);
    print("%s (%s)\n", what, rule);
    return ok;
}

bool test_equal(uint64_t got, uint64_t want, const char *what, const char *rule)
{
    if (count(got == want))
        print("%s (%s)\n", what, rule);
    else
        print("%s (%s): got %lx, not %lx\n", what, rule, got, want);
    return got == want;
}

bool test_fault(struct probe got, struct probe want, const char *what, const char *rule)
{
    bool ok = count(got.vector == want.vector && got.error == want.error);
    print("%s (%s)", what, rule);
    if (!ok && got.vector == PROBE_NONE)
        print(": no fault");
    else if (!ok)
        print(": vector %u, error %x", got.vector, got.error);
    print("\n");
    return ok;
}

int test_end(void)
{
    print("test %s: %u passed, %u failed\n", test_name, passed, failed);
    return failed == 0 && passed + passed_on_one > 0 ? 0 : 1;
}

static void code_enter(void *call)
{
    code_call(call);
}

struct probe code_probe(struct code *code)
{
    static uint8_t buffer[sizeof(code->bytes) + 1];
    struct code_call call = {code, buffer};
    memcpy(buffer, code->bytes, code->length);
    buffer[code->length] = RET;
    return probe_call(code_enter, &call);
}
