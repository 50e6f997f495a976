// link: guest/pv/hypercall.c guest/pv/mmu.c guest/pv/space.c guest/pv/traps.c guest/pv/segments.c guest/pv/time.c
// link: guest/pv/events.c guest/pv/vcpus.c guest/pv/console.c guest/pv/store.c guest/pv/domain.c guest/pv/privileged.c
// link: guest/cpu/guestwalk.c guest/cpu/control.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/operand_table.c
// link: mm/guestmem.c mm/page_alloc.c drivers/bus/timers.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* What a domain is told of where it is: version, features, memory; and with what a vCPU begins. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/pv_test.h"

static int64_t version(uint32_t what, uint64_t at)
{
    memset(ram + ARGS, 0xaa, 2048);
    return call_once(17, what, at, 0, 0);
}

static bool is_text(const char *text, unsigned bytes)
{
    char wanted[1025] = {0};
    memcpy(wanted, text, strlen(text));
    wanted[bytes] = (char)0xaa; /* and no more */
    return memcmp(ram + ARGS, wanted, bytes + 1) == 0;
}

static void test_version(void **state)
{
    (void)state;
    vm.name = "a name of more than 16";
    assert_int_equal(version(0, 0), 4 << 16 | 17);
    assert_int_equal(version(1, ARGS), 0);
    assert_true(is_text(".0-nadir", 16));
    assert_int_equal(version(3, ARGS), 0);
    assert_true(is_text("xen-3.0-x86_64 ", 1024));
    assert_int_equal(version(4, ARGS), 0);
    assert_true(is_text("unavailable", 64));
    assert_int_equal(version(5, ARGS), 0);
    assert_int_equal(get(ARGS), HOST_PHYSMAP_BASE);
    assert_int_equal(version(7, 0), PAGE_SIZE);
    assert_int_equal(version(8, ARGS), 0);
    assert_true(is_text("a name of more ", 16)); /* the last byte is 0 */
    assert_int_equal(version(9, ARGS), 0);
    assert_true(is_text("", 1024));
    assert_int_equal(version(2, ARGS), XEN_ENOSYS);
    static const uint32_t writes[] = {1, 3, 4, 5, 6, 8, 9};
    for (unsigned i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
        assert_int_equal(version(writes[i], UNMAPPED), XEN_EFAULT);
}

static void test_features(void **state)
{
    (void)state;
    put(ARGS, 0xdeadull << 32);
    assert_int_equal(call_once(17, 6, ARGS, 0, 0), 0);
    assert_int_equal(get(ARGS), (1ull << 5 | 1ull << 7) << 32);
    put(ARGS, 0xdeadull << 32 | 1);
    assert_int_equal(call_once(17, 6, ARGS, 0, 0), 0);
    assert_int_equal(get(ARGS), 1);
    put(UNMAPPED - 8, 0);
    assert_int_equal(call_once(17, 6, UNMAPPED - 4, 0, 0),
                     XEN_EFAULT); /* half of it is not there */
}

static void test_memory(void **state)
{
    (void)state;
    assert_int_equal(call_once(12, XEN_MEMORY_MAXIMUM_RAM_PAGE, 0, 0, 0), FRAMES - 1);
    assert_int_equal(call_once(12, XEN_MEMORY_CURRENT_RESERVATION, 0, 0, 0), FRAMES);
    assert_int_equal(call_once(12, XEN_MEMORY_MAXIMUM_RESERVATION, 0, 0, 0), FRAMES);
    put(ARGS, 0);
    put(ARGS + 8, ARGS + 64);
    assert_int_equal(call_once(12, XEN_MEMORY_MAP, ARGS, 0, 0), XEN_EINVAL); /* no entry has room */
    put(ARGS, 1);
    put(ARGS + 64 + 16, ~0ull);
    assert_int_equal(call_once(12, XEN_MEMORY_MAP, ARGS, 0, 0), 0);
    assert_int_equal(get(ARGS), 1);
    assert_int_equal(get(ARGS + 64), 0);
    assert_int_equal(get(ARGS + 72), RAM);
    assert_int_equal(get(ARGS + 80), 0xffffffff00000001); /* 20 bytes each */
    put(ARGS, 128);
    assert_int_equal(call_once(12, XEN_MEMORY_MAP, ARGS, 0, 0), 0);
    assert_int_equal((uint32_t)get(ARGS), 1);
    assert_int_equal(call_once(12, XEN_MEMORY_MAP, UNMAPPED, 0, 0), XEN_EFAULT);
    put(ARGS + 8, UNMAPPED);
    assert_int_equal(call_once(12, XEN_MEMORY_MAP, ARGS, 0, 0), XEN_EFAULT);
    assert_int_equal(call_once(12, XEN_MEMORY_MACHPHYS_MAPPING, ARGS, 0, 0), 0);
    assert_int_equal(get(ARGS), PV_M2P_BASE);
    assert_int_equal(get(ARGS + 8), PV_M2P_BASE + own.m2p_pages * PAGE_SIZE);
    assert_int_equal(get(ARGS + 16), FRAMES - 1);
    assert_int_equal(call_once(12, XEN_MEMORY_MACHPHYS_MAPPING, UNMAPPED, 0, 0), XEN_EFAULT);
}

/* SYSCALL leaves neither CS nor SS, whatever the kernel had in them. */
static void test_selectors_of_a_call(void **state)
{
    (void)state;
    struct ring3_frame *f = &vcpus[0].frame;
    f->cs = f->ss = 0x1234;
    assert_int_equal(call_once(17, 0, 0, 0, 0), 4 << 16 | 17);
    assert_int_equal(f->cs, XEN_CODE64);
    assert_int_equal(f->ss, XEN_DATA);
}

static void test_bases_of_a_vcpu(void **state)
{
    (void)state;
    memset(ram + 0x18000, 0, XEN_CONTEXT_BYTES);
    put(0x18000 + XEN_CONTEXT_RIP, CODE);
    put(0x18000 + XEN_CONTEXT_RSP, STACK);
    put(0x18000 + XEN_CONTEXT_GDT, GDT / PAGE_SIZE);
    put(0x18000 + XEN_CONTEXT_GDT_ENTRIES, 16);
    put(0x18000 + XEN_CONTEXT_KERNEL_SP, STACK);
    put(0x18000 + XEN_CONTEXT_CONTROL + 24, TABLES);
    for (unsigned i = 0; i < 3; i++)
        put(0x18000 + XEN_CONTEXT_BASES + i * 8u, 0x1000 + i);
    assert_int_equal(call_once(24, XEN_VCPU_INITIALISE, 1, 0x18000, 0), 0);
    assert_int_equal(call_once(24, XEN_VCPU_UP, 1, 0, 0), 0);
    load_vcpu(1);
    pv_start_take(&vcpus[1]);
    assert_int_equal(vcpus[1].fs_base, 0x1000);
    assert_int_equal(vcpus[1].kernel_gs_base, 0x1001);
    assert_int_equal(vcpus[1].user_gs_base, 0x1002);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_version),         TEST(test_features),
        TEST(test_memory),          TEST(test_selectors_of_a_call),
        TEST(test_bases_of_a_vcpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
