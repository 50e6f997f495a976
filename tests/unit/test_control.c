// link: guest/cpu/control.c mm/guestmem.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Control registers, against the SDM's pages of MOV to CR, WRMSR and XSETBV. */
#include "guest/cpu/control.h"

#include "arch/x86.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define CR4_ALL                                                                               \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | \
     CR4_OSFXSR | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_LA57)
#define PROTECTED (CR0_PE | CR0_ET)

static struct control_state state_of(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (struct control_state){.cr0 = cr0, .cr4 = cr4, .efer = efer};
}

/* A write that must fail changes nothing. */
static void refuse_cr0(struct control_state s, uint64_t value)
{
    const struct control_state before = s;
    assert_int_equal(control_write_cr0(&s, value), CONTROL_FAULT);
    assert_memory_equal(&s, &before, sizeof(s));
}

static void refuse_cr4(struct control_state s, uint64_t value)
{
    const struct control_state before = s;
    assert_int_equal(control_write_cr4(&s, value, CR4_ALL), CONTROL_FAULT);
    assert_memory_equal(&s, &before, sizeof(s));
}

static void test_cr0_combinations(void **state)
{
    (void)state;
    struct control_state s = state_of(PROTECTED, 0, 0);
    refuse_cr0(s, 1ull << 32 | PROTECTED);
    refuse_cr0(s, CR0_PG);
    refuse_cr0(s, PROTECTED | CR0_NW);
    assert_int_equal(control_write_cr0(&s, CR0_PE | CR0_CD | CR0_NW | 1u << 6), 0);
    assert_int_equal(s.cr0, PROTECTED | CR0_CD | CR0_NW); /* ET stays, bit 6 is ignored */
    assert_int_equal(control_write_cr0(&s, 0), CONTROL_FLUSH_TLB);
    assert_int_equal(s.cr0, CR0_ET);
}

static void test_long_mode_goes_on_and_off(void **state)
{
    (void)state;
    struct control_state s = state_of(PROTECTED, CR4_PAE, EFER_LME);
    assert_int_equal(control_write_cr0(&s, PROTECTED | CR0_PG), CONTROL_FLUSH_TLB);
    assert_int_equal(s.efer, EFER_LME | EFER_LMA);
    s.cs_long = true;
    refuse_cr0(s, PROTECTED);
    s.cs_long = false;
    s.cr4 |= CR4_PCIDE;
    refuse_cr0(s, PROTECTED);
    s.cr4 &= ~CR4_PCIDE;
    assert_int_equal(control_write_cr0(&s, PROTECTED), CONTROL_FLUSH_TLB);
    assert_int_equal(s.efer, EFER_LME);

    refuse_cr0(state_of(PROTECTED, 0, EFER_LME), PROTECTED | CR0_PG);
    s.cs_long = true;
    refuse_cr0(s, PROTECTED | CR0_PG);
    s.cs_long = false;
    s.tss_is_286 = true;
    refuse_cr0(s, PROTECTED | CR0_PG);
}

/* CS.L counts where IA-32e mode is active only. */
static void test_cs_long_outside_long_mode(void **state)
{
    (void)state;
    struct control_state s = state_of(PROTECTED | CR0_PG, 0, 0);
    s.cs_long = true;
    assert_int_equal(control_write_cr0(&s, PROTECTED), CONTROL_FLUSH_TLB);
}

static void test_pdptes(void **state)
{
    (void)state;
    struct control_state s = state_of(PROTECTED, CR4_PAE, 0);
    assert_int_equal(control_write_cr0(&s, PROTECTED | CR0_PG),
                     CONTROL_FLUSH_TLB | CONTROL_LOAD_PDPTES);
    assert_int_equal(control_write_cr0(&s, PROTECTED | CR0_PG | CR0_CD), CONTROL_LOAD_PDPTES);
    assert_int_equal(control_write_cr0(&s, PROTECTED | CR0_PG | CR0_CD | CR0_NW),
                     CONTROL_LOAD_PDPTES);
    assert_int_equal(control_write_cr0(&s, s.cr0 | CR0_WP), CONTROL_FLUSH_TLB);
    static const uint64_t loads[] = {CR4_PGE, CR4_PSE, CR4_SMEP};
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
        assert_int_equal(control_write_cr4(&s, s.cr4 ^ loads[i], CR4_ALL),
                         CONTROL_FLUSH_TLB | CONTROL_LOAD_PDPTES);
    assert_int_equal(control_write_cr4(&s, s.cr4 | CR4_SMAP, CR4_ALL), CONTROL_FLUSH_TLB);
    assert_int_equal(control_write_cr4(&s, s.cr4 & ~CR4_PAE, CR4_ALL), CONTROL_FLUSH_TLB);
    assert_int_equal(control_write_cr4(&s, s.cr4 | CR4_PAE, CR4_ALL),
                     CONTROL_FLUSH_TLB | CONTROL_LOAD_PDPTES);
    s = state_of(PROTECTED | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA); /* 64-bit: there are none */
    assert_int_equal(control_write_cr0(&s, s.cr0 | CR0_CD), 0);
    assert_int_equal(control_write_cr4(&s, s.cr4 | CR4_PGE, CR4_ALL), CONTROL_FLUSH_TLB);
}

static void test_cr4(void **state)
{
    (void)state;
    struct control_state s = state_of(PROTECTED, 0, 0);
    refuse_cr4(s, CR4_VMXE);
    refuse_cr4(s, 1ull << 63);
    refuse_cr4(s, CR4_PCIDE | CR4_PAE);
    assert_int_equal(control_write_cr4(&s, CR4_OSFXSR | CR4_DE, CR4_ALL), 0);
    assert_int_equal(s.cr4, CR4_OSFXSR | CR4_DE);
    assert_int_equal(control_write_cr4(&s, CR4_LA57, CR4_ALL), CONTROL_FLUSH_TLB);

    s = state_of(PROTECTED | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA);
    refuse_cr4(s, 0);
    refuse_cr4(s, CR4_PAE | CR4_LA57);
    s.cr3 = 0x1001; /* the PCID must be 0 when it comes into use */
    refuse_cr4(s, CR4_PAE | CR4_PCIDE);
    s.cr3 = 0x1000;
    assert_int_equal(control_write_cr4(&s, CR4_PAE | CR4_PCIDE, CR4_ALL), CONTROL_FLUSH_TLB);
    s.cr3 = 0x1001;
    assert_int_equal(control_write_cr4(&s, CR4_PAE | CR4_PCIDE | CR4_DE, CR4_ALL), 0);
    assert_int_equal(control_write_cr4(&s, CR4_PAE, CR4_ALL), CONTROL_FLUSH_TLB);
}

static void test_efer(void **state)
{
    (void)state;
    const uint64_t allowed = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    struct control_state s = state_of(PROTECTED, 0, 0);
    assert_int_equal(control_write_efer(&s, EFER_SCE | EFER_LMA, allowed), 0);
    assert_int_equal(s.efer, EFER_SCE); /* LMA cannot be written */
    assert_int_equal(control_write_efer(&s, EFER_NXE, allowed), CONTROL_FLUSH_TLB);
    assert_int_equal(control_write_efer(&s, EFER_NXE | EFER_LME, allowed & ~EFER_NXE),
                     CONTROL_FAULT);
    assert_int_equal(control_write_efer(&s, 1 << 1, allowed), CONTROL_FAULT);
    s = state_of(PROTECTED | CR0_PG, CR4_PAE, EFER_LME | EFER_LMA);
    assert_int_equal(control_write_efer(&s, 0, allowed), CONTROL_FAULT);
    assert_int_equal(control_write_efer(&s, EFER_LME | EFER_SCE, allowed), 0);
    assert_int_equal(s.efer, EFER_LME | EFER_LMA | EFER_SCE);
}

static void test_xcr0(void **state)
{
    (void)state;
    assert_true(control_xcr0_is_valid(1, 0xe7));
    assert_true(control_xcr0_is_valid(3, 0xe7));
    assert_true(control_xcr0_is_valid(7, 0xe7));
    assert_true(control_xcr0_is_valid(0xe7, 0xe7));
    assert_false(control_xcr0_is_valid(0, 0xe7)); /* x87 is always there */
    assert_false(control_xcr0_is_valid(2, 0xe7));
    assert_false(control_xcr0_is_valid(5, 0xe7));    /* AVX without SSE */
    assert_false(control_xcr0_is_valid(0xe3, 0xe7)); /* AVX-512 without AVX */
    assert_false(control_xcr0_is_valid(0x67, 0xe7)); /* a part of AVX-512 */
    assert_false(control_xcr0_is_valid(0x107, 0xe7));
    assert_false(control_xcr0_is_valid(7, 3));
}

static void test_reading_pdptes(void **state)
{
    (void)state;
    static uint8_t ram[4096] __attribute__((aligned(4096)));
    struct guestmem mem = {0};
    uint64_t read[4];
    const uint64_t good[4] = {0x1001, 0xffe, 0x3019, 0};
    assert_int_equal(guestmem_add(&mem, gpa(0), sizeof(ram), ram), OK);
    memcpy(ram + 0x20, good, sizeof(good));
    assert_true(control_read_pdptes(&mem, 0x3f, 36, read)); /* bits 4:0 of CR3 are no address */
    assert_memory_equal(read, good, sizeof(good));
    static const uint64_t bad[] = {0x1003, 0x1005, 0x1021, 0x1101, 1ull << 36 | 1, 1ull << 63 | 1};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memcpy(ram + 0x38, &bad[i], 8);
        assert_false(control_read_pdptes(&mem, 0x20, 36, read));
    }
    assert_false(control_read_pdptes(&mem, 0x1000, 36, read));
}

static void test_allowed_bits(void **state)
{
    (void)state;
    static struct cpuid_table table = {.count = 4};
    table.entry[1] = (struct cpuid_entry){.leaf = 1, .ecx = 1u << 17, .edx = 1u << 6 | 1u << 1};
    table.entry[2] = (struct cpuid_entry){.leaf = 7, .ebx = 1u << 20, .ecx = 1u << 16};
    table.entry[3] = (struct cpuid_entry){.leaf = 0x80000001, .edx = 1u << 20 | 1u << 29};
    table.first[1] = 1;
    table.first[7] = 2;
    table.first[2 * CPUID_INDEX_LEAVES + 1] = 3;
    assert_int_equal(control_cr4_allowed(&table),
                     CR4_PCE | CR4_PCIDE | CR4_PAE | CR4_VME | CR4_PVI | CR4_SMAP | CR4_LA57);
    assert_int_equal(control_efer_allowed(&table, false), EFER_NXE | EFER_LME | EFER_LMA);
    assert_int_equal(control_efer_allowed(&table, true), EFER_LME | EFER_LMA);
    table.entry[3].edx = 1u << 11;
    assert_int_equal(control_efer_allowed(&table, false), EFER_SCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cr0_combinations),
        cmocka_unit_test(test_long_mode_goes_on_and_off),
        cmocka_unit_test(test_cs_long_outside_long_mode),
        cmocka_unit_test(test_pdptes),
        cmocka_unit_test(test_cr4),
        cmocka_unit_test(test_efer),
        cmocka_unit_test(test_xcr0),
        cmocka_unit_test(test_reading_pdptes),
        cmocka_unit_test(test_allowed_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
