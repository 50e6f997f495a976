// link: guest/pv/hypercall.c guest/pv/mmu.c guest/pv/space.c guest/pv/traps.c guest/pv/segments.c guest/pv/time.c
// link: guest/pv/events.c guest/pv/vcpus.c guest/pv/console.c guest/pv/store.c guest/pv/domain.c guest/pv/privileged.c
// link: guest/cpu/guestwalk.c guest/cpu/control.c guest/cpu/system_decode.c guest/cpu/decode.c guest/cpu/operand_table.c
// link: mm/guestmem.c mm/page_alloc.c drivers/bus/timers.c arch/format.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* A domain's descriptors and selectors, and who sees a change of them. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/pv_test.h"

static int64_t mmuext(uint32_t cmd, uint64_t arg1, uint64_t arg2)
{
    put(ARGS, cmd);
    put(ARGS + 8, arg1);
    put(ARGS + 16, arg2);
    return call_once(26, ARGS, 1, 0, XEN_DOMID_SELF);
}

#define CODE64  0x00af9b000000ffffull /* of DPL 0 */
#define DATA    0x00cf93000000ffffull
#define TSS     0x0000890000000067ull
#define GATE    0x00008e0000000000ull
#define DPL3    (3ull << 45)
#define ABSENT  (DATA & ~(1ull << 47))
#define L_AND_D (CODE64 | 1ull << 54)

static void test_set_gdt(void **state)
{
    (void)state;
    put(GDT, CODE64); /* the null descriptor stays null */
    put(GDT + 8, CODE64);
    put(GDT + 16, DATA & ~(1ull << 40)); /* and the CPU has no A to set */
    put(GDT + 24, TSS);
    put(GDT + 32, GATE);
    put(GDT + 40, L_AND_D);
    put(GDT + 48, DATA | 1ull << 53); /* a data segment of that bit would be of 64 bits */
    put(ARGS, GDT / PAGE_SIZE);
    assert_int_equal(call_once(2, ARGS, 7, 0, 0), 0);
    static const uint64_t want[] = {0, CODE64 | DPL3, DATA | DPL3, 0, 0, 0, DATA | DPL3};
    assert_memory_equal(real_gdt, want, sizeof(want));
    assert_int_equal(real_gdt[XEN_CODE64 / 8], DESCRIPTOR_USER_CODE64);
    assert_int_equal(real_gdt[DESC_USER_CODE64 / 8], 0); /* the host's are hidden */
    put(ARGS, FRAMES);
    assert_int_equal(call_once(2, ARGS, 7, 0, 0), XEN_EINVAL);
    assert_int_equal(call_once(2, ARGS, 513, 0, 0), XEN_EINVAL);
    assert_int_equal(call_once(2, ARGS, UINT64_MAX, 0, 0), XEN_EINVAL);
    assert_int_equal(call_once(2, UNMAPPED, 7, 0, 0), XEN_EFAULT);
    assert_memory_equal(real_gdt, want, sizeof(want));
    assert_int_equal(call_once(2, UNMAPPED, 0, 0, 0), 0); /* none */
    assert_int_equal(real_gdt[1], 0);
}

static void test_update_descriptor(void **state)
{
    (void)state;
    put(ARGS, GDT / PAGE_SIZE);
    assert_int_equal(call_once(2, ARGS, 4, 0, 0), 0);
    assert_int_equal(call_once(10, GDT + 8, DATA, 0, 0), 0);
    assert_int_equal(get(GDT + 8), DATA); /* the guest finds what it has written */
    assert_int_equal(real_gdt[1], DATA | DPL3);
    assert_int_equal(call_once(10, GDT + 8, TSS, 0, 0), XEN_EINVAL);
    assert_int_equal(call_once(10, GDT + 8, GATE, 0, 0), XEN_EINVAL);
    assert_int_equal(call_once(10, GDT + 8, L_AND_D, 0, 0), XEN_EINVAL);
    assert_int_equal(real_gdt[1], DATA | DPL3);
    assert_int_equal(call_once(10, GDT + 8, ABSENT, 0, 0), 0);
    assert_int_equal(real_gdt[1], 0);
    assert_int_equal(call_once(10, GDT + 4 * 8, CODE64, 0, 0), 0); /* beyond its limit */
    assert_int_equal(get(GDT + 4 * 8), CODE64);
    assert_int_equal(real_gdt[4], 0);
    assert_int_equal(call_once(10, GDT, CODE64, 0, 0), 0);
    assert_int_equal(real_gdt[0], 0);
    assert_int_equal(call_once(10, RAM, DATA, 0, 0), XEN_EINVAL);
    assert_int_equal(call_once(10, UINT64_MAX, DATA, 0, 0), XEN_EINVAL);
    /* Another vCPU on this CPU has its own; the first finds its back. */
    assert_int_equal(call_once(10, GDT + 16, CODE64, 0, 0), 0);
    load_vcpu(1);
    assert_int_equal(real_gdt[2], 0);
    load_vcpu(0);
    assert_int_equal(real_gdt[2], CODE64 | DPL3);
}

static void test_set_ldt(void **state)
{
    (void)state;
    put(0x30000, DATA), put(0x30008, GATE);
    assert_int_equal(mmuext(XEN_SET_LDT, 0x30000, 2), 0);
    assert_int_equal(host.ldt_bytes, 16);
    assert_int_equal(host.ldt[0], DATA | DPL3);
    assert_int_equal(host.ldt[1], 0);
    assert_int_equal(mmuext(XEN_SET_LDT, 0x30008, 2), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_SET_LDT, 0x30000, 513), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_SET_LDT, 0x30000, UINT64_MAX), XEN_EINVAL);
    assert_int_equal(mmuext(XEN_SET_LDT, UNMAPPED, 512), 0); /* nothing is there */
    assert_int_equal(host.ldt[0] | host.ldt[511], 0);
    assert_int_equal(mmuext(XEN_SET_LDT, 0, 0), 0);
    assert_null(host.ldt);
}

/* Each vCPU whose table a frame is part of finds what is changed in it before it goes on. */
static void test_shared_frame(void **state)
{
    (void)state;
    const uint64_t frame = GDT / PAGE_SIZE;
    struct pv_vcpu *other = &vcpus[1];
    put(ARGS, frame);
    assert_int_equal(call_once(2, ARGS, 4, 0, 0), 0);
    assert_int_equal(call_once(10, GDT + 8, DATA, 0, 0), 0);
    assert_int_equal(other->asked, 0); /* it has another */
    assert_int_equal(pv_read_gdt(other, &frame, 4), 0);
    other->entered = true;
    assert_int_equal(call_once(10, GDT + 16, CODE64, 0, 0), 0);
    assert_int_equal(other->asked, PV_ASK_DESCRIPTORS);
    assert_int_equal(host.kicked, 2);
    assert_false(other->entered);
    assert_int_equal(real_gdt[2], CODE64 | DPL3);
    load_vcpu(1);
    assert_int_equal(real_gdt[2], 0);
    pv_descriptors_changed(other);
    assert_int_equal(real_gdt[2], CODE64 | DPL3);
    load_vcpu(0);
    /* An LDT likewise. */
    assert_int_equal(pv_set_ldt(other, 0x30000, 2), 0);
    other->asked = 0;
    assert_int_equal(call_once(10, 0x30000, DATA, 0, 0), 0);
    assert_int_equal(other->asked, PV_ASK_DESCRIPTORS);
    pv_descriptors_changed(other);
    assert_int_equal(other->ldt[0], DATA | DPL3);
    assert_null(host.ldt); /* the first one has none */
}

static void test_live_ldt(void **state)
{
    (void)state;
    assert_int_equal(mmuext(XEN_SET_LDT, UPPER + 0x30000, 2), 0);
    assert_int_equal(call_once(10, 0x30008, DATA, 0, 0), 0);
    assert_int_equal(get(0x30008), DATA);
    assert_int_equal(host.ldt[1], DATA | DPL3);
    assert_int_equal(call_once(10, 0x30008, ABSENT, 0, 0), 0);
    assert_int_equal(host.ldt[1], 0);
    assert_int_equal(call_once(10, 0x30010, DATA, 0, 0), 0); /* beyond its limit */
    assert_int_equal(host.ldt[2], 0);
    assert_int_equal(mmuext(XEN_SET_LDT, 0, 0), 0);
    assert_int_equal(call_once(10, 0x30000, DATA, 0, 0), 0);
    assert_int_equal(vcpus[0].ldt[0], 0); /* no part of it any more */
}

static void test_segment_base(void **state)
{
    (void)state;
    put(GDT + 8, DATA | 0x12ull << 56 | 0x345678ull << 16);
    put(ARGS, GDT / PAGE_SIZE);
    assert_int_equal(call_once(2, ARGS, 4, 0, 0), 0);
    assert_int_equal(call_once(25, XEN_BASE_FS, 0xffff800012345678, 0, 0), 0);
    assert_int_equal(host.fs_base, 0xffff800012345678);
    for (unsigned which = 0; which < 3; which++)
        assert_int_equal(call_once(25, which, 1ull << 47, 0, 0), XEN_EINVAL);
    assert_int_equal(call_once(25, XEN_BASE_GS_KERNEL, 0x1000, 0, 0), 0);
    assert_int_equal(call_once(25, XEN_BASE_GS_USER, 0x2000, 0, 0), 0);
    assert_int_equal(host.gs_base, 0x1000);
    pv_enter_user(&vcpus[0]);
    assert_int_equal(host.gs_base, 0x2000);
    pv_enter_kernel(&vcpus[0]);
    assert_int_equal(host.gs_base, 0x1000);
    assert_int_equal(call_once(25, XEN_BASE_GS_USER_SELECTOR, 0xb, 0, 0), 0);
    assert_int_equal(host.selector[3], 0xb);
    assert_int_equal(vcpus[0].user_gs_base, 0x12345678);
    host.refused = 0x1b;
    assert_int_equal(call_once(25, XEN_BASE_GS_USER_SELECTOR, 0x1b, 0, 0), XEN_EFAULT);
    assert_int_equal(host.selector[3], 0);
    assert_int_equal(vcpus[0].user_gs_base, 0);
    assert_int_equal(call_once(25, 4, 0, 0, 0), XEN_EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
/* Xen makes of them selectors of RPL 3, which the CPU refuses. At CPL 0 it would load them. */
static void test_hosts_selectors(void **state)
{
    (void)state;
    static const uint16_t hosts[] = {DESC_CODE, DESC_DATA, DESC_DATA | 3, DESC_USER_DATA, 0xfff8};
    for (unsigned i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        assert_int_equal(call_once(25, XEN_BASE_GS_USER_SELECTOR, hosts[i], 0, 0), XEN_EFAULT);
        assert_int_equal(host.selector[3], 0);
        vcpus[1].selector[i % 4] = hosts[i];
        load_vcpu(1);
        assert_int_equal(host.selector[i % 4], 0);
        assert_true(vcpus[1].failsafe_due);
        vcpus[1].failsafe_due = false;
        load_vcpu(0);
    }
    assert_int_equal(call_once(25, XEN_BASE_GS_USER_SELECTOR, XEN_DATA, 0, 0), 0);
    assert_int_equal(call_once(25, XEN_BASE_GS_USER_SELECTOR, DESC_DATA | 4, 0, 0),
                     0); /* of an LDT */
    assert_int_equal(host.selector[3], DESC_DATA | 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_set_gdt),         TEST(test_update_descriptor), TEST(test_set_ldt),
        TEST(test_shared_frame),    TEST(test_live_ldt),          TEST(test_segment_base),
        TEST(test_hosts_selectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
