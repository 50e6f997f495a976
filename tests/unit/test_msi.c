// link: guest/vm/vlapic.c guest/vm/vlapic_bus.c guest/vm/vlapic_timer.c drivers/bus/timers.c
// link: guest/vm/vcpu_pv_eoi.c mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Message-signalled interrupts: what a device writes, and which local APIC takes it as what. */
#include "drivers/bus/msi.h"

#include "tests/unit/vlapic_test.h"

#define VECTOR 0x41
#define X2     0x400ull

enum { TPR = 0x80, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, TMR = 0x180 };

uint64_t read_clock(void)
{
    return 0;
}

static unsigned pic_acknowledge(void *pic)
{
    (void)pic;
    return 0x30;
}

static int setup(void **state)
{
    (void)state;
    start_vm(1000000);
    for (unsigned i = 0; i < CPUS; i++) {
        add_apic(i, i, pic_acknowledge, NULL);
        assert_true(vlapic_write(APIC(i), SVR, 0x1ff));
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    end_vm();
    return 0;
}

static bool send(uint64_t address, uint32_t data)
{
    const struct msi_sink sink = {vlapic_receive_msi, &vm};
    return msi_send(&sink, address, data);
}

/* Which CPUs have the vector pending, one bit each; it is taken and ended there. */
static unsigned takers(void)
{
    unsigned cpus = 0;
    for (unsigned i = 0; i < CPUS; i++) {
        if (vlapic_pending(APIC(i)) < 0)
            continue;
        assert_int_equal(vlapic_pending(APIC(i)), VECTOR);
        vlapic_accept(APIC(i), VECTOR);
        assert_true(vlapic_write(APIC(i), EOI, 0));
        cpus |= 1u << i;
    }
    return cpus;
}

/* The bits, as the SDM draws them. */
static void test_format(void **state)
{
    (void)state;
    assert_int_equal(msi_address(0, false), 0xfee00000);
    assert_int_equal(msi_address(0x12, false), 0xfee12000);
    assert_int_equal(msi_address(0xff, true), 0xfeeff004);
    assert_int_equal(msi_address(1, false) | MSI_TO_LOWEST, 0xfee01008);
    assert_int_equal(msi_data(0x41, DELIVERY_FIXED, false), 0x41);
    assert_int_equal(msi_data(0xff, DELIVERY_LOWEST, true), 0xc1ff);
    assert_int_equal(msi_data(0, DELIVERY_SMI, false), 0x200);
    assert_int_equal(msi_data(0, DELIVERY_NMI, false), 0x400);
    assert_int_equal(msi_data(0, DELIVERY_INIT, false), 0x500);
    assert_int_equal(msi_data(0, DELIVERY_EXTINT, false), 0x700);
}

/* Whom each destination ID reaches, told from the SDM without the code's help. ldr: each CPU's
 * logical ID as eight bits; cluster: in the cluster model. */
static unsigned expected(unsigned to, bool logical, const uint8_t *ldr, bool cluster)
{
    unsigned cpus = 0;
    for (unsigned i = 0; i < CPUS; i++) {
        bool hit = to == i || to == 0xff;
        if (logical && cluster)
            hit = (to / 16 == 15 || to / 16 == ldr[i] / 16u) && (to % 16 & ldr[i] % 16) != 0;
        else if (logical)
            hit = (to & ldr[i]) != 0;
        cpus |= (unsigned)hit << i;
    }
    return cpus;
}

static void check_all_destinations(const uint8_t *ldr, bool cluster)
{
    for (unsigned to = 0; to < 256; to++)
        for (unsigned logical = 0; logical < 2; logical++) {
            const unsigned cpus = expected(to, logical != 0, ldr, cluster);
            const uint64_t address = msi_address((uint8_t)to, logical != 0);
            assert_int_equal(send(address, msi_data(VECTOR, DELIVERY_FIXED, false)), cpus != 0);
            assert_int_equal(takers(), cpus);
            /* One of them, the first where their priorities are the same. */
            assert_int_equal(send(address, msi_data(VECTOR, DELIVERY_LOWEST, false)), cpus != 0);
            assert_int_equal(takers(), cpus & -cpus);
            assert_int_equal(send(address | MSI_TO_LOWEST, msi_data(VECTOR, DELIVERY_FIXED, false)),
                             cpus != 0);
            assert_int_equal(takers(), cpus & -cpus);
        }
}

static void test_flat(void **state)
{
    (void)state;
    static const uint8_t ldr[CPUS] = {0x01, 0x02, 0x84, 0x00};
    for (unsigned i = 0; i < CPUS; i++)
        assert_true(vlapic_write(APIC(i), LDR, (uint32_t)ldr[i] << 24));
    check_all_destinations(ldr, false);
}

static void test_cluster(void **state)
{
    (void)state;
    static const uint8_t ldr[CPUS] = {0x11, 0x12, 0x21, 0xe8};
    for (unsigned i = 0; i < CPUS; i++) {
        assert_true(vlapic_write(APIC(i), DFR, 0));
        assert_true(vlapic_write(APIC(i), LDR, (uint32_t)ldr[i] << 24));
    }
    check_all_destinations(ldr, true);
}

/* Eight bits of a message name the first eight IDs of the first cluster. */
static void test_x2apic(void **state)
{
    (void)state;
    static const uint8_t ldr[CPUS] = {0x01, 0x02, 0x04, 0x08};
    for (unsigned i = 0; i < CPUS; i++)
        assert_true(vlapic_write_base(APIC(i), APIC(i)->base | X2));
    check_all_destinations(ldr, false);
    add_apic(CPUS, 0x20, NULL, NULL); /* in another cluster */
    assert_true(vlapic_write_base(APIC(CPUS), APIC(CPUS)->base | X2));
    assert_true(vlapic_write(APIC(CPUS), SVR, 0x1ff));
    assert_true(send(msi_address(0xff, true), VECTOR));
    assert_int_equal(vlapic_pending(APIC(CPUS)), -1);
    assert_true(send(msi_address(0x20, false), VECTOR));
    assert_int_equal(vlapic_pending(APIC(CPUS)), VECTOR);
}

static void test_delivery_modes(void **state)
{
    (void)state;
    const uint64_t to_2 = msi_address(2, false), to_all = msi_address(0xff, false);
    assert_true(send(to_2, msi_data(0, DELIVERY_NMI, false)));
    assert_int_equal(nmis[2], 1);
    assert_true(send(to_all | MSI_TO_LOWEST, msi_data(0, DELIVERY_NMI, false)));
    assert_int_equal(nmis[0] + nmis[1] + nmis[2] + nmis[3], 5); /* the hint is for vectors */
    assert_true(send(to_2, msi_data(0x99, DELIVERY_SIPI, false)));
    assert_int_equal(sipi[2], 0x99);
    assert_false(send(to_2, msi_data(VECTOR, DELIVERY_SMI, false)));
    assert_false(send(to_2, msi_data(VECTOR, DELIVERY_RESERVED, false)));
    assert_int_equal(takers(), 0);
    assert_true(send(to_2, msi_data(VECTOR, DELIVERY_EXTINT, false)));
    assert_true(vlapic_extint_pending(APIC(2)));
    assert_false(vlapic_extint_pending(APIC(1)));
    assert_int_equal(takers(), 0);
    assert_true(send(to_2, msi_data(0, DELIVERY_INIT, false)));
    assert_int_equal(inits[2], 1);
    assert_int_equal(inits[0] + inits[1] + inits[3], 0);
    assert_false(send(to_2, VECTOR)); /* INIT has disabled it */
}

static void test_lowest_priority(void **state)
{
    (void)state;
    static const uint8_t tpr[CPUS] = {0x30, 0x20, 0x10, 0x20};
    for (unsigned i = 0; i < CPUS; i++)
        assert_true(vlapic_write(APIC(i), TPR, tpr[i]));
    const uint64_t address = msi_address(0xff, false);
    assert_true(send(address, msi_data(VECTOR, DELIVERY_LOWEST, false)));
    assert_int_equal(takers(), 4);
    assert_true(vlapic_write(APIC(2), SVR, 0xff)); /* another one takes it */
    assert_true(send(address | MSI_TO_LOWEST, VECTOR));
    assert_int_equal(takers(), 2);
    assert_true(send(address, VECTOR)); /* and all others what is for all */
    assert_int_equal(takers(), 11);
}

static void test_trigger_mode(void **state)
{
    (void)state;
    const uint64_t address = msi_address(1, false);
    const uint32_t bit = 1u << VECTOR % 32, *tmr = &APIC(1)->page[(TMR + VECTOR / 32 * 16) / 4];
    assert_true(send(address, msi_data(VECTOR, DELIVERY_FIXED, true)));
    assert_int_equal(*tmr, bit);
    assert_int_equal(takers(), 2);
    assert_true(send(address, msi_data(VECTOR, DELIVERY_FIXED, false)));
    assert_int_equal(*tmr, 0);
    assert_int_equal(takers(), 2);
    assert_false(send(address, MSI_LEVEL | VECTOR)); /* de-assert: nothing begins */
    assert_int_equal(takers(), 0);
    assert_true(send(address, MSI_ASSERT | VECTOR)); /* of no meaning for an edge */
    assert_int_equal(*tmr, 0);
    assert_int_equal(takers(), 2);
}

static void test_what_is_none(void **state)
{
    (void)state;
    static const uint64_t elsewhere[] = {0,          0xfed00000,           0xfef00000, 0xfec00000,
                                         0xffe00000, 0x1fee00000,          0xee00000,  0xfedff000,
                                         0xfef00004, 0xfffffffffee00000ull};
    for (unsigned i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
        assert_false(send(elsewhere[i], VECTOR));
    assert_int_equal(takers(), 0);
    assert_true(send(0xfee01ff3, 0xffff3800 | VECTOR)); /* reserved bits are ignored */
    assert_int_equal(takers(), 2);
    assert_false(send(msi_address(1, false), 0x0f)); /* an illegal vector */
    assert_false(send(msi_address(CPUS, false), VECTOR));
    assert_int_equal(takers(), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_format),       TEST(test_flat),           TEST(test_cluster),
        TEST(test_x2apic),       TEST(test_delivery_modes), TEST(test_lowest_priority),
        TEST(test_trigger_mode), TEST(test_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
