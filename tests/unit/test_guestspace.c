// link: mm/guestspace.c mm/host_paging.c mm/page_alloc.c mm/mtrr.c
/* SPDX-License-Identifier: BSD-2-Clause */
/* Which RAM each of the host's page tables has, walked in software: that of one VM and no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/log.h"
#include "arch/panic.h"
#include "arch/x86.h"
#include "mm/guestspace.h"
#include "mm/host_paging.h"

/* 1 MiB that has the hypervisor's tables, then blocks for guests. */
#define RAM_BASE  0x100000ull
#define RAM_BYTES (17ull << 20)
#define RAM_END   (RAM_BASE + RAM_BYTES)
#define GIB       (1ull << 30)
#define BLOCK     (PAGE_SIZE_2M / PAGE_SIZE)

static uint8_t *ram;
static hpa_t current;

void panic(const char *format, ...)
{
    fprintf(stderr, "panic: %s\n", format);
    abort();
}

void log_line(const char *format, ...)
{
    (void)format;
}

hpa_t guestspace_enter(hpa_t root)
{
    const hpa_t before = current;
    current = root;
    return before;
}

static int setup(void **s)
{
    (void)s;
    ram = aligned_alloc(PAGE_SIZE, RAM_BYTES);
    memset(ram, 0xcc, RAM_BYTES);
    physmap_base = (uint64_t)(uintptr_t)ram - RAM_BASE;
    guestspace_offset = 0;
    current = hpa(0);
    const struct page_range range = {RAM_BASE, RAM_BYTES / PAGE_SIZE};
    const struct host_map_request request = {
        .physmap_end = 6 * GIB,
        .image_base = 0x7c00000,
        .text_start = HOST_IMAGE_BASE,
        .text_end = HOST_IMAGE_BASE + 0x1000,
        .rodata_start = HOST_IMAGE_BASE + 0x1000,
        .rodata_end = HOST_IMAGE_BASE + 0x2000,
        .data_start = HOST_IMAGE_BASE + 0x2000,
        .data_end = HOST_IMAGE_BASE + 0x20000,
        .guard = HOST_IMAGE_BASE + 0x11000,
        .nx = true,
        .pages_1g = true,
    };
    return page_alloc_init(&range, 1) == OK && host_paging_init(&request) == OK ? 0 : -1;
}

static int teardown(void **s)
{
    (void)s;
    free(ram);
    return 0;
}

/* The entry that maps an address, and the size of its page; 0: none does. */
static uint64_t leaf(hpa_t root, uint64_t virt, uint64_t *size)
{
    const uint64_t *table = hpa_to_ptr(root);
    for (unsigned level = 4;; level--) {
        const uint64_t bytes = PAGE_SIZE << (9 * (level - 1));
        const uint64_t e = table[virt / bytes % 512];
        *size = bytes;
        if ((e & PTE_P) == 0)
            assert_int_equal(e, 0); /* no address for L1TF */
        if ((e & PTE_P) == 0 || level == 1 || (level < 4 && (e & PTE_PS) != 0))
            return e;
        table = hpa_to_ptr(hpa(e & PTE_ADDRESS));
    }
}

static bool has(hpa_t root, uint64_t virt)
{
    uint64_t size;
    return leaf(root, virt, &size) != 0;
}

static void expect(hpa_t root, hpa_t frame, uint64_t size)
{
    uint64_t is;
    const uint64_t e = leaf(root, HOST_GUESTS_BASE + frame.v, &is);
    assert_int_equal(is, size);
    assert_int_equal(e & PTE_ADDRESS & ~(size - 1), frame.v & ~(size - 1));
    assert_int_equal(e & (PTE_P | PTE_W | PTE_NX), PTE_P | PTE_W | PTE_NX);
    assert_int_equal(e & PTE_U, 0);
}

/* What is for guests is in no physmap, free or not; what the hypervisor takes, is. */
static void test_physmap(void **s)
{
    (void)s;
    const hpa_t root = host_paging_root(), efi = host_paging_efi_root();
    hpa_t g, own;
    for (uint64_t at = 0x200000; at < RAM_END; at += PAGE_SIZE_2M) {
        assert_false(has(root, HOST_PHYSMAP_BASE + at));
        assert_false(has(efi, HOST_PHYSMAP_BASE + at));
    }
    assert_true(has(root, HOST_PHYSMAP_BASE + 0x1ff000));
    assert_true(has(root, HOST_PHYSMAP_BASE + RAM_END));
    assert_int_equal(page_alloc_guest(BLOCK, BLOCK, &g), OK);
    assert_false(has(root, HOST_PHYSMAP_BASE + g.v));
    assert_int_equal(page_alloc(BLOCK, BLOCK, &own), OK);
    uint64_t size;
    const uint64_t e = leaf(root, HOST_PHYSMAP_BASE + own.v, &size);
    assert_int_equal(e, own.v | PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS | PTE_NX);
    assert_int_equal(size, PAGE_SIZE_2M);
    assert_true(has(efi, HOST_PHYSMAP_BASE + own.v));
    page_free(own, BLOCK);
    assert_true(has(root, HOST_PHYSMAP_BASE + own.v));
    assert_int_equal(host_paging_check_wx(), 0);
}

static void test_two(void **s)
{
    (void)s;
    hpa_t a, b, of_a, of_b, part;
    const uint64_t used = page_alloc_used_by_hypervisor(), free_bytes = page_alloc_free_bytes();
    assert_int_equal(guestspace_create(&a), OK);
    assert_int_equal(guestspace_create(&b), OK);
    assert_int_equal(page_alloc_guest(2 * BLOCK, BLOCK, &of_a), OK);
    assert_int_equal(page_alloc_guest(BLOCK, BLOCK, &of_b), OK);
    assert_int_equal(page_alloc_guest(64, 1, &part), OK);
    assert_int_equal(guestspace_map(a, of_a, 2 * BLOCK), OK);
    assert_int_equal(guestspace_map(b, of_b, BLOCK), OK);
    assert_int_equal(guestspace_map(b, part, 64), OK);
    assert_int_equal(guestspace_map(b, part, 1), ERR_BAD_INPUT);
    expect(a, of_a, PAGE_SIZE_2M);
    expect(a, hpa(of_a.v + PAGE_SIZE_2M), PAGE_SIZE_2M);
    expect(b, of_b, PAGE_SIZE_2M);
    expect(b, part, PAGE_SIZE);
    expect(b, hpa(part.v + 63 * PAGE_SIZE), PAGE_SIZE);
    assert_false(has(a, HOST_GUESTS_BASE + of_b.v));
    assert_false(has(a, HOST_GUESTS_BASE + part.v));
    assert_false(has(b, HOST_GUESTS_BASE + of_a.v));
    assert_false(has(host_paging_root(), HOST_GUESTS_BASE + of_a.v));
    assert_false(has(host_paging_efi_root(), HOST_GUESTS_BASE + of_a.v));
    for (uint64_t at = 0x200000; at < RAM_END; at += PAGE_SIZE_2M)
        assert_false(has(a, HOST_PHYSMAP_BASE + at));
    /* What the hypervisor has, and comes by later, is in each. */
    hpa_t own;
    assert_int_equal(page_alloc(BLOCK, 1, &own), OK);
    const uint64_t stack = (uint64_t)(uintptr_t)host_map_stack(hpa(0x200000), 1);
    for (unsigned i = 0; i < 2; i++) {
        const hpa_t root = i == 0 ? a : b;
        assert_true(has(root, HOST_IMAGE_BASE));
        assert_true(has(root, HOST_PHYSMAP_BASE + a.v));
        assert_true(has(root, HOST_PHYSMAP_BASE + own.v));
        assert_true(has(root, stack));
        assert_false(has(root, 0));
    }
    page_free(own, BLOCK);
    guestspace_destroy(a);
    guestspace_destroy(b);
    guestspace_destroy(hpa(0));
    page_free_guest(of_a, 2 * BLOCK);
    page_free_guest(of_b, BLOCK);
    page_free_guest(part, 64);
    assert_int_equal(page_alloc_used_by_hypervisor(), used + 2 * PAGE_SIZE); /* of the stack */
    assert_int_equal(page_alloc_free_bytes(), free_bytes - 2 * PAGE_SIZE);
}

/* Pages of 1 GiB, where frames are such. */
static void test_large(void **s)
{
    (void)s;
    hpa_t root;
    assert_int_equal(guestspace_create(&root), OK);
    assert_int_equal(guestspace_map(root, hpa(2 * GIB), GIB / PAGE_SIZE + 3 * BLOCK), OK);
    expect(root, hpa(2 * GIB), GIB);
    expect(root, hpa(3 * GIB + PAGE_SIZE_2M), PAGE_SIZE_2M);
    assert_false(has(root, HOST_GUESTS_BASE + 2 * GIB - 1));
    assert_false(has(root, HOST_GUESTS_BASE + 3 * GIB + 3 * PAGE_SIZE_2M));
    guestspace_destroy(root);
}

/* What code at CPL 3 may reach is in the window of one VM, each page to be executed or written. */
static void test_window(void **s)
{
    (void)s;
    hpa_t a, b, page;
    uint64_t size;
    const uint64_t used = page_alloc_used_by_hypervisor();
    assert_int_equal(guestspace_create(&a), OK);
    assert_int_equal(guestspace_create(&b), OK);
    assert_int_equal(page_alloc(2, 1, &page), OK);
    assert_int_equal(host_map_user(a, HOST_WINDOW_BASE, page, HOST_USER_CODE), OK);
    assert_int_equal(
        host_map_user(a, HOST_WINDOW_BASE + 0x5000, hpa(page.v + PAGE_SIZE), HOST_USER_DATA), OK);
    assert_int_equal(host_map_user(a, HOST_WINDOW_BASE + 0x5000, page, HOST_USER_DATA),
                     ERR_BAD_INPUT);
    assert_int_equal(leaf(a, HOST_WINDOW_BASE, &size) & ~(PTE_A | PTE_D), page.v | PTE_P | PTE_U);
    assert_int_equal(leaf(a, HOST_WINDOW_BASE + 0x5000, &size) & ~(PTE_A | PTE_D),
                     (page.v + PAGE_SIZE) | PTE_P | PTE_U | PTE_W | PTE_NX);
    assert_false(has(a, HOST_WINDOW_BASE + 0x1000));
    assert_false(has(b, HOST_WINDOW_BASE));
    host_unmap_user(b, HOST_WINDOW_BASE);          /* no table is there */
    host_unmap_user(a, HOST_WINDOW_BASE + 0x1000); /* no page */
    host_unmap_user(a, HOST_WINDOW_BASE + 0x5000);
    assert_false(has(a, HOST_WINDOW_BASE + 0x5000));
    assert_true(has(a, HOST_WINDOW_BASE));
    assert_int_equal(host_map_user(a, HOST_WINDOW_BASE + 0x5000, page, HOST_USER_DATA), OK);
    assert_false(has(host_paging_root(), HOST_WINDOW_BASE));
    /* CPL 3 reaches nothing else: U/S counts at each level. */
    unsigned user = 0;
    for (unsigned i = 0; i < 512; i++)
        user += (((const uint64_t *)hpa_to_ptr(a))[i] & PTE_U) != 0;
    assert_int_equal(user, 1);
    guestspace_destroy(a);
    guestspace_destroy(b);
    page_free(page, 2);
    assert_int_equal(page_alloc_used_by_hypervisor(), used);
}

static hpa_t zeroed_in;
static unsigned portions;
static uint64_t zeroed;

static void between(uint64_t done)
{
    assert_int_equal(current.v, zeroed_in.v);
    assert_in_range(done - zeroed, 1, 128 << 10);
    zeroed = done;
    portions++;
}

static void test_zero(void **s)
{
    (void)s;
    hpa_t frames;
    assert_int_equal(page_alloc_guest(2 * BLOCK, BLOCK, &frames), OK);
    const uint8_t *bytes = guestspace_ptr(frames);
    zeroed_in = hpa(0x5000);
    current = hpa(0x6000);
    guestspace_zero(zeroed_in, frames, BLOCK + 1, between);
    assert_int_equal(current.v, 0x6000);
    assert_int_equal(portions, 17);
    assert_int_equal(zeroed, PAGE_SIZE_2M + PAGE_SIZE);
    for (uint64_t i = 0; i < PAGE_SIZE_2M + PAGE_SIZE; i++)
        assert_int_equal(bytes[i], 0);
    assert_int_equal(bytes[PAGE_SIZE_2M + PAGE_SIZE], 0xcc);
    assert_int_equal(guestspace_hpa(bytes).v, frames.v);
}

static void test_out_of_memory(void **s)
{
    (void)s;
    hpa_t root, page;
    assert_int_equal(guestspace_create(&root), OK);
    while (page_alloc(1, 1, &page) == OK)
        ;
    assert_int_equal(guestspace_map(root, hpa(2 * GIB), BLOCK), ERR_NO_MEMORY);
    guestspace_destroy(root);
    assert_int_equal(guestspace_create(&root), OK);
    assert_int_equal(guestspace_create(&page), ERR_NO_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_physmap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two, setup, teardown),
        cmocka_unit_test_setup_teardown(test_window, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
